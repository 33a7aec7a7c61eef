"""Maps the tensor names of published networks to those of this program, with one table of rules per source."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ocrnet.errors import UserError
from ocrnet.weights.ckpt import mismatches

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
"""(pattern at the start of the source's name, replacement). The first matching rule is used."""


def _from_one(replacement: str) -> Callable[[re.Match[str]], str]:
    """Returns a replacement in which {2} is the number in group 2 minus 1, for a source that counts from 1."""
    return lambda match: re.sub(
        r"\{(\d)\}", lambda group: str(int(match[int(group[1])]) - 1), match.expand(replacement)
    )


_BACKBONE: Rules = (
    # stem, layers and stages have the same names in all sources; HRNet-OCR and ImageNet files have no prefix
    (r"(?:backbone\.|backbone_net\.)?(?=(?:conv|bn|layer|transition|stage)\d\.|stem\.)", "backbone."),
)

RULES: dict[str, Rules] = {
    # mmsegmentation: a ConvModule has conv and bn, as here
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
    # HRNet-OCR: two layers are four entries of a sequence (.0 convolution, .1.0 BatchNorm, .2, .3.0)
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
    # mindspore-lab: a ConvModule is a sequence named conv
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
    # PaddleSeg: names of its own in the backbone, numbers from 1
    "paddleseg": (
        (r"backbone\.conv_layer1_(?=[12]\.)", "backbone.conv"),
        (r"backbone\.la1\.bb_layer2_(\d)\.conv_down\.", _from_one("backbone.layer1.{1}.down_sample.")),
        (r"backbone\.la1\.bb_layer2_(\d)\.", _from_one("backbone.layer1.{1}.")),
        (r"backbone\.tr1\.transition_tr1_layer_1\.", "backbone.transition1.0."),
        (r"backbone\.tr(\d)\.transition_tr\d_layer_(\d)\.", _from_one(r"backbone.transition\1.{2}.0.")),
        (
            r"backbone\.st(\d)\.stage_st\d_(\d)\.branches_func\.bb_st\d_\d_branch_layer_(\d)_(\d)\.",
            _from_one(r"backbone.stage\1.{2}.branches.{3}.{4}."),
        ),
        (
            r"backbone\.st(\d)\.stage_st\d_(\d)\.fuse_func\.residual_st\d_\d_layer_(\d)_(\d)\.",
            _from_one(r"backbone.stage\1.{2}.fuse_layers.{3}.{4}."),
        ),
        (
            r"backbone\.st(\d)\.stage_st\d_(\d)\.fuse_func\.residual_st\d_\d_layer_(\d)_(\d)_(\d)\.",
            _from_one(r"backbone.stage\1.{2}.fuse_layers.{3}.{4}.{5}."),
        ),
        (r"head\.aux_head\.0\.", "aux_head.conv."),
        (r"head\.aux_head\.1\.", "aux_head.classifier."),
        (r"head\.conv3x3_ocr\.", "ocr_head.pixels."),
        (r"head\.spatial_ocr\.attention_block\.f_pixel\.([01])\.", r"ocr_head.attention.query.\1."),
        (r"head\.spatial_ocr\.attention_block\.f_object\.([01])\.", r"ocr_head.attention.key.\1."),
        (r"head\.spatial_ocr\.attention_block\.f_down\.", "ocr_head.attention.value."),
        (r"head\.spatial_ocr\.attention_block\.f_up\.", "ocr_head.attention.out."),
        (r"head\.spatial_ocr\.conv1x1\.0\.", "ocr_head.attention.join."),
        (r"head\.cls_head\.", "ocr_head.classifier."),
    ),
    "mindcv": _BACKBONE,
}

_PREFIXES = re.compile(r"^(?:(?:module|model|student|_?network|_?net)\.)+")  # DataParallel, distillation, train cells
_SEQUENCE = re.compile(r"^((?:aux|ocr)_head\..*)\.([01])(?=\.[a-z_]+$)")  # .0 or .1 in a sequence of a head
_BLOCK = re.compile(r"\.conv(\d)\.([01])(?=\.[a-z_]+$)")  # PaddleSeg's blocks: conv1 is a sequence, not conv1 and bn1
_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
    "_mean": "moving_mean",
    "_variance": "moving_variance",
}

_UNUSED: Rules = (
    # (pattern of a name that is not needed, reason)
    (r"(?:.*\.)?num_batches_tracked$", "PyTorch's batch counter, not needed with a fixed momentum"),
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
    (r"data_preprocessor\.", "mean and standard deviation, which are in the config"),
)


@dataclass
class Conversion:
    """The result of a conversion."""

    weights: dict[str, np.ndarray] = field(default_factory=dict)
    """{our tensor name: values}"""
    used: dict[str, str] = field(default_factory=dict)
    """{name in the source: our name}"""
    unused: dict[str, str] = field(default_factory=dict)
    """{name in the source: reason}"""
    problems: list[str] = field(default_factory=list)
    """Result of `mismatches`: tensors of the network that are missing or have another shape. Also one line for each
    tensor that a larger network would have, at most 20."""


def convert(source: str, tensors: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]]) -> Conversion:
    """Renames the tensors of a source to our names.

    Args:
        source: a key of RULES.
        tensors: {name in the source: values}.
        expected: {our name: shape} of all tensors of the network, or of its backbone (names starting with `backbone.`).
    """
    if source not in RULES:
        raise UserError(f"unknown source {source}; supported: {', '.join(RULES)}")
    names = {_PREFIXES.sub("", name): name for name in tensors}
    variances = (".running_var", "._variance")  # PyTorch, PaddlePaddle
    norms = {name.rpartition(".")[0] for name in names if name.endswith(variances)}
    result, parts, more = Conversion(), {name.split(".")[0] for name in expected}, []
    for bare, name in names.items():
        ours = _our_name(RULES[source], bare, norms)
        reason = next((reason for pattern, reason in _UNUSED if re.match(pattern, bare)), None)
        if ours in expected:
            result.used[name] = ours
            result.weights[ours] = tensors[name]
        elif ours is None:
            result.unused[name] = reason or f"not in {source}'s OCRNet"
        else:
            result.unused[name] = f"corresponds to {ours}, which this network does not have"
            if ours.split(".")[0] in parts:  # without it the layers of a deeper network, or biases, would be left out
                more.append(f"{name}: in the file, but {ours} is not in the network")
    result.problems = [*mismatches(expected, result.weights), *more[:20]]
    return result


def _our_name(rules: Rules, name: str, norms: set[str]) -> str | None:
    """Returns our name of a tensor; `norms` are the file's names of the BatchNorm modules, empty in MindSpore's."""
    module, _, tensor = name.rpartition(".")
    if tensor == "num_batches_tracked":
        return None
    if module in norms and tensor in _NORM:
        name = f"{module}.{_NORM[tensor]}"
    name = name.replace("._conv.", ".0.").replace("._batch_norm.", ".1.")  # PaddleSeg
    for pattern, replacement in rules:
        ours, found = re.subn(rf"^{pattern}", replacement, name)
        if found:
            ours = _SEQUENCE.sub(lambda match: f"{match[1]}.{('conv', 'bn')[int(match[2])]}", ours)
            ours = _BLOCK.sub(lambda match: f".{('conv', 'bn')[int(match[2])]}{match[1]}", ours)
            return ours.replace(".downsample.", ".down_sample.")
    return None
