"""One training step: update, overflow check and loss scale, in graph and PyNative mode."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from ocrnet.config import LossScaleConfig, OptimizerConfig
from ocrnet.training.optimizer import make_optimizer
from ocrnet.training.step import TrainOneStep, make_loss_scaler

MODES = [ms.GRAPH_MODE, ms.PYNATIVE_MODE]


@pytest.fixture
def in_mode(request):
    ms.set_context(mode=request.param)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


class Product(nn.Cell):
    """Loss = weight * mean(images). The gradient is mean(images) and overflows for large images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = Parameter(Tensor([1.0], ms.float32), name="weight")

    def construct(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss = (self.weight * images.mean()).sum()
        return loss, loss, ops.zeros_like(loss)


def make_step(
    kind: str, clip_grad: float = 0.0, accumulate_steps: int = 1, momentum: float = 0.0, **scale
) -> TrainOneStep:
    network = Product()
    optimizer = make_optimizer(OptimizerConfig(momentum=momentum, weight_decay=0.0), network)
    scaler = make_loss_scaler(LossScaleConfig(kind=kind, **scale))
    return TrainOneStep(network, optimizer, scaler, clip_grad, accumulate_steps).set_train(True)


def batch(value: float, lr: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    images, labels = np.full((1, 3, 2, 2), value, np.float32), np.zeros((1, 2, 2), np.int32)
    return Tensor(images), Tensor(labels), Tensor(lr, ms.float32)


@pytest.mark.parametrize("in_mode", MODES, indirect=True)
@pytest.mark.parametrize("kind", ["none", "static", "dynamic"])
def test_every_step_uses_its_own_learning_rate(in_mode, kind):
    step = make_step(kind)
    for lr, expected in ((0.5, 0.0), (0.125, -0.25)):  # the gradient is 2
        _, auxiliary, updated = step(*batch(2.0, lr))
        assert updated.asnumpy() and auxiliary.asnumpy() == 0
        assert step.loss_network.weight.asnumpy() == expected


@pytest.mark.parametrize("in_mode", MODES, indirect=True)
@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_an_overflowed_step_changes_no_weight(in_mode, kind):
    step = make_step(kind, value=1024, window=2)
    _, _, updated = step(*batch(1e36))  # times the scale: beyond float32
    assert not updated.asnumpy()
    assert step.loss_network.weight.asnumpy() == 1.0
    assert step.loss_scale() == (1024 if kind == "static" else 512)
    for _ in range(2):
        assert step(*batch(1.0))[2].asnumpy()
    assert step.loss_network.weight.asnumpy() == 0.0
    assert step.loss_scale() == 1024  # dynamic: doubled after `window` finite steps
    expected = {"loss_scale.scale_value"} | ({"loss_scale.counter"} if kind == "dynamic" else set())
    assert {name for name in step.state() if name.startswith("loss_scale.")} == expected


@pytest.mark.parametrize("in_mode", MODES, indirect=True)
def test_gradients_are_clipped_by_their_global_norm_after_unscaling(in_mode):
    step = make_step("static", clip_grad=1.0, value=256)
    step(*batch(4.0))
    assert step.loss_network.weight.asnumpy() == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("in_mode", MODES, indirect=True)
@pytest.mark.parametrize("kind", ["none", "dynamic"])
def test_accumulated_batches_make_one_update_with_their_mean(in_mode, kind):
    step = make_step(kind, accumulate_steps=3, momentum=0.5, window=2)
    weight, velocity = 1.0, 0.0
    assert not any("accumulated" in name for name in step.parameters_dict())  # not in checkpoints
    for lr, values in ((0.5, (1.0, 2.0, 6.0)), (0.25, (4.0, 0.0, -1.0))):
        for number, value in enumerate(values):
            assert step.loss_network.weight.asnumpy() == pytest.approx(weight, rel=1e-6), "before the step is complete"
            main = step(*batch(value, lr))[0]
            assert main.asnumpy() == pytest.approx(weight * value, rel=1e-6)
            assert number == 2 or step.loss_scale() in (1, 256)
        velocity = 0.5 * velocity + sum(values) / 3
        weight -= lr * velocity
    assert step.loss_network.weight.asnumpy() == pytest.approx(weight, rel=1e-6)
    assert step.loss_scale() == (1 if kind == "none" else 512)  # two finite steps, not six


@pytest.mark.parametrize("in_mode", MODES, indirect=True)
def test_an_overflow_in_one_accumulated_batch_skips_only_that_step(in_mode):
    step = make_step("dynamic", accumulate_steps=2, value=1024)
    step(*batch(1e36))
    assert not step(*batch(1.0))[2].asnumpy()
    assert step.loss_network.weight.asnumpy() == 1.0 and step.loss_scale() == 512
    step(*batch(1.0))
    assert step(*batch(3.0))[2].asnumpy()
    assert step.loss_network.weight.asnumpy() == 0.0


def test_the_momentum_of_the_config_applies_after_a_resume():
    """It is not in the checkpoint, whose value would replace it."""
    step = make_step("none", momentum=0.5)
    assert "moments.weight" in step.state() and not any(name.endswith("momentum") for name in step.state())


@pytest.mark.parametrize("in_mode", MODES, indirect=True)
def test_a_skipped_step_does_not_count_for_the_bias_correction_of_adamw(in_mode):
    network = Product()
    optimizer = make_optimizer(OptimizerConfig(kind="adamw", weight_decay=0.0, eps=1e-30), network)
    step = TrainOneStep(network, optimizer, make_loss_scaler(LossScaleConfig(kind="static", value=1024)), 0.0)
    assert not step.set_train(True)(*batch(1e36))[2].asnumpy()
    assert optimizer.correction1.asnumpy() == optimizer.correction2.asnumpy() == 0
    assert network.weight.asnumpy() == 1.0 and not optimizer.exp_avg[0].asnumpy().any()
    for lr, expected in ((0.5, 0.5), (0.25, 0.25)):  # of equal gradients, each step is the learning rate
        assert step(*batch(3.0, lr))[2].asnumpy()
        assert network.weight.asnumpy() == pytest.approx(expected, rel=1e-5)
    assert optimizer.correction1.asnumpy() == pytest.approx(1 - 0.9**2, rel=1e-6)
    saved = {"correction1", "correction2", "exp_avg.weight", "exp_avg_sq.weight"}
    assert saved <= step.state().keys()
