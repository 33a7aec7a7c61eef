import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, float32, nn, ops

from ocrnet.config import OptimizerConfig
from ocrnet.training.optimizer import make_optimizer


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


def adamw_steps(config, values, steps):
    """AdamW in float64 on {name: value}; `steps` has (learning rate, {name: gradient})."""
    values = {name: np.array(value, np.float64) for name, value in values.items()}
    means, squares = ({name: np.zeros_like(value) for name, value in values.items()} for _ in range(2))
    beta1, beta2 = config.betas
    for t, (lr, gradients) in enumerate(steps, 1):
        for name, gradient in gradients.items():
            factor = 0.1 if name == "beta" else 1.0
            decay = 0.0 if name == "beta" else config.weight_decay
            means[name] = beta1 * means[name] + (1 - beta1) * gradient
            squares[name] = beta2 * squares[name] + (1 - beta2) * gradient.astype(np.float64) ** 2
            unbiased = means[name] / (1 - beta1**t) / (np.sqrt(squares[name] / (1 - beta2**t)) + config.eps)
            values[name] = values[name] * (1 - lr * factor * decay) - lr * factor * unbiased
    return values


class Vectors(nn.Cell):
    def __init__(self, weight: list[list[float]], beta: list[float]) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(weight, float32), name="weight")
        self.beta = Parameter(Tensor(beta, float32), name="beta")


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-8), ((0.5, 0.9), 0.1)])
def test_adamw_equals_its_definition(in_graph, betas, eps):
    rng = np.random.default_rng(0)
    start = {"weight": rng.normal(size=(7, 5)).tolist(), "beta": rng.normal(size=5).tolist()}
    network = Vectors(**start)
    groups = [{"name": "beta", "lr_factor": 0.1, "decay_factor": 0}]
    config = OptimizerConfig(kind="adamw", betas=betas, eps=eps, weight_decay=0.5, groups=groups)
    steps = []
    for step in range(30):
        size = 10.0 ** rng.integers(-5, 3)  # gradients of very different sizes
        gradients = {
            name: (size * rng.normal(size=np.shape(value))).astype(np.float32) for name, value in start.items()
        }
        steps.append((0.1 / (1 + step), gradients))
    ms.set_context(mode=ms.GRAPH_MODE if in_graph else ms.PYNATIVE_MODE)
    try:
        optimizer = make_optimizer(config, network)
        for count, (lr, gradients) in enumerate(steps, 1):
            optimizer(
                tuple(Tensor(gradients[parameter.name]) for parameter in optimizer.parameters), Tensor(lr, float32)
            )
            if count in (1, 2, 30):
                for name, expected in adamw_steps(config, start, steps[:count]).items():
                    found = getattr(network, name).asnumpy()
                    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=f"{name}, step {count}")
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)


ADAMW_STEPS = [(0.1, [0.5, -1.0, 0.0], [2.0]), (0.05, [0.25, 3.0, 1e-3], [-1.0]), (0.02, [-1.0, 0.5, 1e-3], [0.5])]
"""(learning rate, gradient of the weight, gradient of beta)"""


def test_adamw_equals_pytorch():
    network = Vectors([[1.0, -2.0, 0.5]], [0.25])
    config = OptimizerConfig(
        kind="adamw", betas=(0.9, 0.99), eps=1e-3, weight_decay=0.1, decay_norm_and_bias=False,
        groups=[{"name": "beta", "lr_factor": 0.1}],
    )  # fmt: skip
    optimizer = make_optimizer(config, network)
    for lr, weight, beta in ADAMW_STEPS:
        optimizer((Tensor([weight], float32), Tensor(beta, float32)), Tensor(lr, float32))
    # torch.optim.AdamW of torch 2.13 in float64
    expected = [0.8416260578110378, -1.9011034694964732, 0.4684606735902118, 0.2379897935888201]
    found = [*network.weight.asnumpy()[0], *network.beta.asnumpy()]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_pytorch_at_hand_still_gives_these_values():
    torch = pytest.importorskip("torch")
    weight, beta = (torch.tensor(value, dtype=torch.float64) for value in ([1.0, -2.0, 0.5], [0.25]))
    groups = [{"params": [weight], "weight_decay": 0.1}, {"params": [beta], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-3)
    for lr, weight_gradient, beta_gradient in ADAMW_STEPS:
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = lr, 0.1 * lr
        weight.grad, beta.grad = torch.tensor(weight_gradient).double(), torch.tensor(beta_gradient).double()
        optimizer.step()
    expected = [0.8416260578110378, -1.9011034694964732, 0.4684606735902118, 0.2379897935888201]
    np.testing.assert_allclose([*weight.tolist(), *beta.tolist()], expected, rtol=1e-6)


def test_default_weight_decay_depends_on_the_optimizer():
    assert OptimizerConfig().weight_decay == 5e-4 and OptimizerConfig(kind="adamw").weight_decay == 0.01
    assert OptimizerConfig(kind="adamw", weight_decay=0.0).weight_decay == 0
