"""The learning-rate factor and the weight decay of each parameter."""

from collections.abc import Sequence
from typing import NamedTuple

from mindspore import Parameter, nn

from ocrnet.config import OptimizerConfig, ParameterGroup
from ocrnet.errors import UserError, did_you_mean

_STAGES = (
    ("stage4", "transition3", "layer4"),
    ("stage3", "transition2", "layer3"),
    ("stage2", "transition1", "layer2"),
)
"""Parts of the backbones at depth 1, 2, 3 below the heads. HRNet's and ResNet's layer1 has depth 4, the stem 5."""


class ParameterOptions(NamedTuple):
    """How the optimizer treats one parameter."""

    parameter: Parameter
    lr_factor: float
    weight_decay: float


def parameter_options(config: OptimizerConfig, network: nn.Cell) -> list[ParameterOptions]:
    """Returns the options of each trainable parameter: the product of the factors of all keys that apply to it.

    Raises:
        UserError: a group of `optimizer.groups` applies to no trainable parameter.
    """
    parameters = network.trainable_params()
    groups = _find_groups(config.groups, [parameter.name for parameter in parameters])
    options = []
    for parameter, group in zip(parameters, groups, strict=True):
        in_backbone = parameter.name.startswith("backbone.")
        factor = config.backbone_lr_factor if in_backbone else config.head_lr_factor
        factor *= config.layer_decay ** stage_depth(parameter.name) * group.lr_factor
        decays = config.decay_norm_and_bias or parameter.ndim > 1
        options.append(ParameterOptions(parameter, factor, config.weight_decay * group.decay_factor if decays else 0.0))
    return options


def stage_depth(name: str) -> int:
    """Returns the stages from the heads down to a parameter: 0 heads, 1 stage 4, ..., 4 stage 1, 5 stem.

    A transition of HRNet belongs to the stage that follows it.
    """
    parts = name.split(".")
    if parts[0] != "backbone":
        return 0
    for depth, stage in enumerate(_STAGES, 1):
        if parts[1] in stage:
            return depth
    return 4 if parts[1] == "layer1" else 5


def _find_groups(groups: Sequence[ParameterGroup], names: Sequence[str]) -> list[ParameterGroup]:
    """Returns the group of each parameter: the one with the longest matching name, or one without factors."""
    longest_first = sorted(groups, key=lambda group: (-len(group.name), group.name))
    rest = ParameterGroup(name="the rest")
    found = [next((group for group in longest_first if group.name in name), rest) for name in names]
    for group in groups:
        if group in found:
            continue
        if any(group.name in name for name in names):
            raise UserError(
                f"optimizer.groups: {group.name!r} has no effect: longer names of other groups match all its parameters"
            )
        parts = {".".join(name.split(".")[:count]) for name in names for count in range(1, 5)}
        fix = did_you_mean(group.name, sorted(parts)) or " Names: " + ", ".join(_prefixes(names)) + "."
        raise UserError(f"optimizer.groups: {group.name!r} is in the name of no parameter that is trained.{fix}")
    return found


def _prefixes(names: Sequence[str]) -> list[str]:
    """Returns the parts of the network that have these parameters, such as backbone.stage4 and ocr_head."""
    parts = (name.split(".") for name in names)
    return list(dict.fromkeys(".".join(part[: 2 if part[0] == "backbone" else 1]) for part in parts))


def describe(options: Sequence[ParameterOptions]) -> list[str]:
    """Returns one line for each pair of learning-rate factor and weight decay; [] if all factors are 1."""
    if all(option.lr_factor == 1 for option in options):
        return []
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for parameter, factor, decay in options:
        groups.setdefault((factor, decay), []).append(parameter)
    return [
        f"learning rate x {factor:g}, weight decay {decay:g}: {len(members)} parameters of "
        + ", ".join(_prefixes([member.name for member in members]))
        for (factor, decay), members in groups.items()
    ]
