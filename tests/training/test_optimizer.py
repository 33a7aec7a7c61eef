import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, float32, nn, ops

from ocrnet.config import OptimizerConfig, ScheduleConfig
from ocrnet.training.optimizer import learning_rate, make_optimizer


def test_poly_matches_the_published_formula_and_ends_near_min_lr():
    config = ScheduleConfig(kind="poly", lr=0.01, min_lr=1e-4, power=0.9)
    assert learning_rate(config, 0, 40000) == 0.01
    assert learning_rate(config, 20000, 40000) == pytest.approx(1e-4 + (0.01 - 1e-4) * 0.5**0.9)
    assert 1e-4 < learning_rate(config, 39999, 40000) < 1.01e-4


def test_linear_warms_up_then_decays_to_min_lr():
    config = ScheduleConfig(kind="linear", lr=0.01, min_lr=1e-6, warmup_steps=500, warmup_lr=1e-6)
    assert learning_rate(config, 0, 160000) == 1e-6
    assert learning_rate(config, 250, 160000) == pytest.approx((0.01 + 1e-6) / 2)
    assert learning_rate(config, 500, 160000) == 0.01
    assert learning_rate(config, 80250, 160000) == pytest.approx((0.01 + 1e-6) / 2)


class Layer(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.full((1, 1), 2.0, np.float32)), name="weight")
        self.beta = Parameter(Tensor(np.full(1, 2.0, np.float32)), name="beta")


@pytest.mark.parametrize("decay_bias", [True, False])
def test_momentum_and_weight_decay_match_pytorch(decay_bias):
    layer = Layer()
    config = OptimizerConfig(momentum=0.9, weight_decay=0.1, decay_norm_and_bias=decay_bias)
    optimizer = make_optimizer(config, layer)
    expected = {"weight": 2.0, "beta": 2.0}
    velocity = {"weight": 0.0, "beta": 0.0}
    for lr in (0.5, 0.25):  # v = momentum * v + gradient + decay * w;  w = w - lr * v
        optimizer((Tensor(np.ones((1, 1), np.float32)), Tensor(np.ones(1, np.float32))), Tensor(lr, ms.float32))
        for name in expected:
            decay = 0.1 if name == "weight" or decay_bias else 0.0
            velocity[name] = 0.9 * velocity[name] + 1 + decay * expected[name]
            expected[name] -= lr * velocity[name]
    assert layer.weight.asnumpy().item() == pytest.approx(expected["weight"], rel=1e-6)
    assert layer.beta.asnumpy().item() == pytest.approx(expected["beta"], rel=1e-6)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("decay", [5e-4, 0.0])
def test_weights_have_the_bits_of_separate_operators(momentum, decay):
    rng = np.random.default_rng(0)
    layer = nn.Conv2d(7, 5, 3, has_bias=True)
    optimizer = make_optimizer(OptimizerConfig(momentum=momentum, weight_decay=decay), layer)
    weights = [Parameter(weight.clone(), f"copy{i}") for i, weight in enumerate(optimizer.parameters)]
    moments = [Parameter(ops.zeros_like(weight), f"moment{i}") for i, weight in enumerate(weights)]
    apply = ops.ApplyMomentum()
    for lr in (0.1, 0.05, 0.02):
        gradients = [Tensor(rng.normal(size=weight.shape).astype(np.float32)) for weight in weights]
        optimizer(tuple(gradients), Tensor(lr, ms.float32))
        for weight, moment, gradient in zip(weights, moments, gradients, strict=True):
            apply(weight, moment, Tensor(lr, float32), gradient + decay * weight, Tensor(momentum, float32))
    for found, weight in zip(optimizer.parameters, weights, strict=True):
        np.testing.assert_array_equal(found.asnumpy(), weight.asnumpy())


class Branch(nn.Cell):
    """A backbone and a head of one weight and one BatchNorm shift each."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = Layer(), Layer()


@pytest.mark.parametrize("decay_bias", [True, False])
def test_backbone_and_heads_use_their_learning_rate_factors(decay_bias):
    network = Branch()
    config = OptimizerConfig(
        momentum=0.9,
        weight_decay=0.1,
        decay_norm_and_bias=decay_bias,
        head_lr_factor=10,
        backbone_lr_factor=0.5,
    )
    optimizer = make_optimizer(config, network)
    names = [parameter.name for parameter in network.trainable_params()]
    assert names == ["backbone.weight", "backbone.beta", "head.weight", "head.beta"]
    expected, velocity = dict.fromkeys(names, 2.0), dict.fromkeys(names, 0.0)
    for lr in (0.05, 0.02):
        optimizer(
            tuple(Tensor(np.ones(p.shape, np.float32)) for p in network.trainable_params()), Tensor(lr, ms.float32)
        )
        for name in names:
            decay = 0.1 if name.endswith("weight") or decay_bias else 0.0
            velocity[name] = 0.9 * velocity[name] + 1 + decay * expected[name]
            expected[name] -= lr * (10 if name.startswith("head") else 0.5) * velocity[name]
    for parameter in network.trainable_params():
        assert parameter.asnumpy().item() == pytest.approx(expected[parameter.name], rel=1e-6), parameter.name
