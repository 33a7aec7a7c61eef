"""The published networks' tensor names, in this program's terms: one table of rules for each source."""

import re
from dataclasses import dataclass, field

import numpy as np

from ocrnet.errors import UserError
from ocrnet.weights.ckpt import misfits

Rules = tuple[tuple[str, str], ...]
"""(pattern at the start of the source's name, what stands there in ours). The first that fits counts."""

_BACKBONE: Rules = (
    # stem, layers and stages are called the same everywhere; HRNet-OCR and ImageNet files have no prefix
    (r"(?:backbone\.|backbone_net\.)?(?=(?:conv|bn|layer|transition|stage)\d\.|stem\.)", "backbone."),
)

RULES: dict[str, Rules] = {
    # mmsegmentation: a ConvModule is (conv, bn), as here
    "mmseg": (
        *_BACKBONE,
        (r"decode_head\.0\.convs\.0\.", "aux_head.conv."),
        (r"decode_head\.0\.conv_seg\.", "aux_head.classifier."),
        (r"decode_head\.1\.bottleneck\.", "ocr_head.pixels."),
        (r"decode_head\.1\.object_context_block\.(query|key)_project\.(\d)\.", r"ocr_head.attention.\1.\2."),
        (r"decode_head\.1\.object_context_block\.(value|out)_project\.", r"ocr_head.attention.\1."),
        (r"decode_head\.1\.object_context_block\.bottleneck\.", "ocr_head.attention.join."),
        (r"decode_head\.1\.conv_seg\.", "ocr_head.classifier."),
    ),
    # sssegmentation: .0 is the convolution, .1 the BatchNorm
    "ssseg": (
        *_BACKBONE,
        (r"auxiliary_decoder\.(?=[01]\.)", "aux_head.conv."),
        (r"auxiliary_decoder\.4\.", "aux_head.classifier."),
        (r"bottleneck\.", "ocr_head.pixels."),
        (r"object_context_block\.(query|key)_project\.(\d)\.", r"ocr_head.attention.\1.\2."),
        (r"object_context_block\.(value|out)_project\.", r"ocr_head.attention.\1."),
        (r"object_context_block\.bottleneck\.", "ocr_head.attention.join."),
        (r"decoder\.1\.", "ocr_head.classifier."),
    ),
    # HRNet-OCR: a pair of layers is four entries in a row (.0 convolution, .1.0 BatchNorm, .2, .3.0)
    "hrnet-ocr": (
        *_BACKBONE,
        (r"aux_head\.(?=[01]\.)", "aux_head.conv."),
        (r"aux_head\.3\.", "aux_head.classifier."),
        (r"conv3x3_ocr\.(?=[01]\.)", "ocr_head.pixels."),
        (r"ocr_distri_head\.object_context_block\.f_pixel\.0\.", "ocr_head.attention.query.0.0."),
        (r"ocr_distri_head\.object_context_block\.f_pixel\.1\.0\.", "ocr_head.attention.query.0.1."),
        (r"ocr_distri_head\.object_context_block\.f_pixel\.2\.", "ocr_head.attention.query.1.0."),
        (r"ocr_distri_head\.object_context_block\.f_pixel\.3\.0\.", "ocr_head.attention.query.1.1."),
        (r"ocr_distri_head\.object_context_block\.f_object\.0\.", "ocr_head.attention.key.0.0."),
        (r"ocr_distri_head\.object_context_block\.f_object\.1\.0\.", "ocr_head.attention.key.0.1."),
        (r"ocr_distri_head\.object_context_block\.f_object\.2\.", "ocr_head.attention.key.1.0."),
        (r"ocr_distri_head\.object_context_block\.f_object\.3\.0\.", "ocr_head.attention.key.1.1."),
        (r"ocr_distri_head\.object_context_block\.f_down\.0\.", "ocr_head.attention.value.0."),
        (r"ocr_distri_head\.object_context_block\.f_down\.1\.0\.", "ocr_head.attention.value.1."),
        (r"ocr_distri_head\.object_context_block\.f_up\.0\.", "ocr_head.attention.out.0."),
        (r"ocr_distri_head\.object_context_block\.f_up\.1\.0\.", "ocr_head.attention.out.1."),
        (r"ocr_distri_head\.conv_bn_dropout\.0\.", "ocr_head.attention.join.0."),
        (r"ocr_distri_head\.conv_bn_dropout\.1\.0\.", "ocr_head.attention.join.1."),
        (r"cls_head\.", "ocr_head.classifier."),
    ),
    # mindspore-lab: a ConvModule is one sequence called conv
    "mindspore-lab": (
        *_BACKBONE,
        (r"fcn_head\.convs\.0\.conv\.", "aux_head.conv."),
        (r"fcn_head\.conv_seg\.", "aux_head.classifier."),
        (r"ocr_head\.bottleneck\.conv\.", "ocr_head.pixels."),
        (
            r"ocr_head\.object_context_block\.self_att\.(query|key)_project\.(\d)\.conv\.",
            r"ocr_head.attention.\1.\2.",
        ),
        (r"ocr_head\.object_context_block\.self_att\.(value|out)_project\.conv\.", r"ocr_head.attention.\1."),
        (r"ocr_head\.object_context_block\.bottleneck\.conv\.", "ocr_head.attention.join."),
        (r"ocr_head\.conv_seg\.", "ocr_head.classifier."),
    ),
    "mindcv": _BACKBONE,
}

_WRAPPING = re.compile(r"^(?:(?:module|model|student|_?network|_?net)\.)+")  # DataParallel, distillation, train cells
_SEQUENCE = re.compile(r"^((?:aux|ocr)_head\..*)\.([01])(?=\.[a-z_]+$)")  # .0, .1 of a head's sequence
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}

_UNUSED: Rules = (
    # (pattern of a name without a place here, why)
    (r"(?:.*\.)?num_batches_tracked$", "PyTorch's counter of batches; a fixed momentum needs none"),
    (r"(?:moments|accum|stat|momentum)\.", "state of the optimizer"),
    (
        r"(?:learning_rate|momentum|global_step|epoch_num|step_num|scale_sense|current_iterator_step"
        r"|last_overflow_iterator_step|loss_scale)$",
        "state of the training",
    ),
    (
        r"(?:backbone\.|backbone_net\.)?(?:classifier|fc|head|final_layer|last_layer|incre_modules|downsamp_modules|downsample_modules)\.",
        "part of an ImageNet classification head",
    ),
    (r"(?:loss|criterion)\.", "part of the loss"),
    (r"(?:teacher|ema)\.", "a second network"),
    (r"data_preprocessor\.", "mean and deviation; the config has them"),
)


@dataclass
class Conversion:
    """What became of a source's tensors."""

    weights: dict[str, np.ndarray] = field(default_factory=dict)
    """{our tensor name: values}"""
    used: dict[str, str] = field(default_factory=dict)
    """{name in the source: our name}"""
    unused: dict[str, str] = field(default_factory=dict)
    """{name in the source: why not}"""
    problems: list[str] = field(default_factory=list)
    """What `misfits` says: tensors of the network that stay empty or have another shape."""


def convert(source: str, tensors: dict[str, np.ndarray], wanted: dict[str, tuple[int, ...]]) -> Conversion:
    """Give a source's tensors our names.

    Args:
        source: a key of RULES.
        tensors: {name in the source: values}.
        wanted: {our name: shape} of every tensor of the network; of a backbone alone, its names with `backbone.`.
    """
    if source not in RULES:
        raise UserError(f"source {source}: known are {', '.join(RULES)}")
    names = {_WRAPPING.sub("", name): name for name in tensors}
    norms = {name.removesuffix(".running_var") for name in names if name.endswith(".running_var")}
    result = Conversion()
    for bare, name in names.items():
        ours = _our_name(RULES[source], bare, norms)
        reason = next((why for pattern, why in _UNUSED if re.match(pattern, bare)), None)
        if reason or ours is None:
            result.unused[name] = reason or f"not in {source}'s OCRNet"
        elif ours not in wanted:
            result.unused[name] = f"would be {ours}, which this network does not have"
        else:
            result.used[name] = ours
            result.weights[ours] = tensors[name]
    result.problems = misfits(wanted, result.weights)
    return result


def _our_name(rules: Rules, name: str, norms: set[str]) -> str | None:
    """Our name of a tensor; `norms` are the modules that are BatchNorms in a PyTorch file."""
    module, _, tensor = name.rpartition(".")
    if module in norms and tensor in _NORM:
        name = f"{module}.{_NORM[tensor]}"
    for pattern, replacement in rules:
        ours, found = re.subn(rf"^{pattern}", replacement, name)
        if found:
            ours = _SEQUENCE.sub(lambda match: f"{match[1]}.{('conv', 'bn')[int(match[2])]}", ours)
            return ours.replace(".downsample.", ".down_sample.")
    return None
