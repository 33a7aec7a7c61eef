"""Learning-rate factors and weight decays of the parameters of both backbones."""

import pytest
from mindspore import nn

from ocrnet.config import ModelConfig, OptimizerConfig
from ocrnet.errors import UserError
from ocrnet.models.layers import freeze
from ocrnet.models.ocrnet import OCRNet
from ocrnet.training.parameter_groups import describe, parameter_options, stage_depth

NARROW = {"head_channels": 16, "key_channels": 8, "context_channels": 16}


@pytest.fixture(scope="module")
def network() -> OCRNet:
    return OCRNet(ModelConfig(backbone="hrnet_tiny", **NARROW), 3)


def options(network: nn.Cell, **config) -> dict[str, tuple[float, float]]:
    found = parameter_options(OptimizerConfig(weight_decay=0.5, **config), network)
    assert [option.parameter.name for option in found] == [parameter.name for parameter in network.trainable_params()]
    return {parameter.name: (factor, decay) for parameter, factor, decay in found}


def test_defaults_are_a_factor_of_1_and_one_weight_decay(network):
    assert set(options(network).values()) == {(1.0, 0.5)}
    assert describe(parameter_options(OptimizerConfig(), network)) == []


def test_the_longest_matching_name_applies_and_factors_multiply(network):
    groups = [
        {"name": "backbone", "lr_factor": 0.1, "decay_factor": 0.5},
        {"name": "backbone.stage4", "lr_factor": 0.2},
        {"name": "classifier", "lr_factor": 4, "decay_factor": 0},
        {"name": ".bn.", "lr_factor": 3},
    ]
    found = options(network, groups=groups, head_lr_factor=10, backbone_lr_factor=0.5, decay_norm_and_bias=False)
    for name, (factor, decay) in found.items():
        vector = name.endswith((".gamma", ".beta", ".bias"))
        if name.startswith("backbone.stage4"):
            expected = (0.5 * 0.2, 0.0 if vector else 0.5)
        elif name.startswith("backbone."):  # "backbone" is longer than ".bn."
            expected = (0.5 * 0.1, 0.0 if vector else 0.25)
        elif "classifier" in name:
            expected = (10 * 4, 0.0)
        else:
            expected = (10 * (3 if ".bn." in name else 1), 0.0 if vector else 0.5)
        assert (factor, decay) == pytest.approx(expected), name


def test_layer_decay_of_hrnet(network):
    found = options(network, layer_decay=0.5, head_lr_factor=10)
    for prefix, factor in {
        "aux_head.": 10, "ocr_head.": 10, "backbone.stage4.": 0.5, "backbone.transition3.": 0.5,
        "backbone.stage3.": 0.25, "backbone.transition2.": 0.25, "backbone.stage2.": 0.125,
        "backbone.transition1.": 0.125, "backbone.layer1.": 0.0625, "backbone.conv1.": 0.03125,
        "backbone.bn1.": 0.03125, "backbone.conv2.": 0.03125, "backbone.bn2.": 0.03125,
    }.items():  # fmt: skip
        mine = {name: found.pop(name)[0] for name in list(found) if name.startswith(prefix)}
        assert mine and set(mine.values()) == {factor}, prefix
    assert not found


@pytest.mark.parametrize("stem", ["stem.0.weight", "conv1.weight", "bn1.gamma"])
def test_layer_decay_of_resnet(stem):
    names = [f"backbone.{stem}", *(f"backbone.layer{stage}.0.conv1.weight" for stage in (1, 2, 3, 4)), "ocr_head.x"]
    assert [stage_depth(name) for name in names] == [5, 4, 3, 2, 1, 0]


def test_groups_are_described(network):
    found = parameter_options(OptimizerConfig(groups=[{"name": "stage4", "lr_factor": 0.1}]), network)
    inside = sum("stage4" in parameter.name for parameter in network.trainable_params())
    rest = len(found) - inside
    first, second = describe(found)
    assert first.startswith(f"learning rate x 1, weight decay 0.0005: {rest} parameters of backbone.conv1, ")
    assert first.endswith(", aux_head, ocr_head") and "stage4" not in first
    assert second == f"learning rate x 0.1, weight decay 0.0005: {inside} parameters of backbone.stage4"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["backbone.stage5"],
            "'backbone.stage5' is in the name of no parameter that is trained. Did you mean backbone.",
        ),
        (["clasifier"], "Did you mean"),
        (["xyz"], "Names: backbone.conv1, backbone.bn1, .*, aux_head, ocr_head."),
        (
            ["stage4", "backbone.stage4"],
            "'stage4' has no effect: longer names of other groups match all its parameters",
        ),
    ],
)
def test_a_group_without_parameters_is_an_error(network, names, message):
    with pytest.raises(UserError, match=f"optimizer.groups: .*{message}"):
        options(network, groups=[{"name": name} for name in names])


def test_a_group_of_frozen_parameters_is_an_error():
    network = nn.CellDict({"backbone": nn.Dense(1, 1), "ocr_head": nn.Dense(1, 1)})
    freeze(network, "backbone", False)
    with pytest.raises(UserError, match="'backbone' is in the name of no parameter that is trained"):
        options(network, groups=[{"name": "backbone"}])


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="groups: 'bn' is given twice"):
        OptimizerConfig(groups=[{"name": "bn"}, {"name": "bn", "lr_factor": 2}])
