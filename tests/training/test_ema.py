"""The moving average of the weights against NumPy, in graph and PyNative mode; its place in checkpoints."""

import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ocrnet.config import LossScaleConfig, OptimizerConfig
from ocrnet.training.ema import ExponentialMovingAverage
from ocrnet.training.optimizer import make_optimizer
from ocrnet.training.step import TrainOneStep, make_loss_scaler

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import operator_report


class ConvolutionAndNorm(nn.Cell):
    """The gradient overflows for labels of 1e9."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.bn = nn.BatchNorm2d(2)
        self.frozen = ms.Parameter(Tensor([2.0], ms.float32), name="frozen", requires_grad=False)

    def construct(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        factor = labels.astype(ms.float32).mean() ** 4
        loss = (self.frozen * self.bn(self.conv(images)) ** 2 * images[:, :2]).mean() * factor
        return loss, loss, loss


def make_step(decay: float, accumulate_steps: int = 1) -> TrainOneStep:
    network = ConvolutionAndNorm()
    scaler = make_loss_scaler(LossScaleConfig(kind="dynamic", value=1024))
    ema = ExponentialMovingAverage(network, decay)
    return TrainOneStep(network, make_optimizer(OptimizerConfig(), network), scaler, 0.0, accumulate_steps, ema)


def batch(rng: np.random.Generator, label: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    images, labels = rng.normal(size=(2, 3, 4, 4)).astype(np.float32), np.full((2, 4, 4), label, np.int32)
    return Tensor(images), Tensor(labels), Tensor(0.1, ms.float32)


def values(parameters) -> list[np.ndarray]:
    return [parameter.asnumpy().copy() for parameter in parameters]


def assert_same_bits(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    assert all(first.tobytes() == second.tobytes() for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
@pytest.mark.parametrize("accumulate_steps", [1, 2])
def test_each_update_moves_the_average_and_an_overflow_does_not(mode, accumulate_steps):
    """The network has the average between the updates too, as in an evaluation, without an effect on the next ones."""
    ms.set_context(mode=mode)
    try:
        step, rng = make_step(0.15, accumulate_steps).set_train(True), np.random.default_rng(0)
        ema = step.ema
        expected = [value.astype(np.float64) for value in values(ema.weights)]
        decays = iter([1 / 10, 0.15, 0.15])  # (1 + 0) / (10 + 0), then (1 + 1) / (10 + 1) > 0.15
        for overflows in (False, True, False, False):
            for _ in range(accumulate_steps):
                updated = step(*batch(rng, 10**9 if overflows else 1))[2]
            assert updated.asnumpy() == (not overflows)
            if not overflows:
                decay = next(decays)
                expected = [decay * e + (1 - decay) * w for e, w in zip(expected, values(ema.weights), strict=True)]
            for reference, average in zip(expected, values(ema.averages), strict=True):
                np.testing.assert_allclose(average, reference, rtol=1e-5, atol=1e-7)
            weights, averages = values(ema.weights), values(ema.averages)
            assert any((weight != average).any() for weight, average in zip(weights, averages, strict=True))
            with pytest.raises(KeyboardInterrupt), step.averaged_weights():
                assert_same_bits(values(ema.weights), averages)
                raise KeyboardInterrupt
            assert_same_bits(values(ema.weights), weights)
            assert_same_bits(values(ema.averages), averages)
        assert ema.updates.asnumpy() == 3
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)


def test_a_checkpoint_has_the_average_under_the_names_of_the_network():
    step = make_step(0.9)
    step(*batch(np.random.default_rng(0)))
    state, names = step.state(), list(step.loss_network.parameters_dict())
    trained = {"conv.weight", "bn.gamma", "bn.beta", "bn.moving_mean", "bn.moving_variance"}
    assert {name for name in state if name.startswith("raw.")} == {f"raw.{name}" for name in trained}
    assert set(names) == trained | {"frozen"} and set(names) < set(state)
    for weight, average in zip(step.ema.weights, step.ema.averages, strict=True):
        assert state[f"raw.{weight.name}"] is weight and state[weight.name] is average
    assert not any(name.startswith("ema.") and name != "ema.updates" for name in state)
    assert make_step(0.9).ema.updates.asnumpy() == 0


def test_every_device_has_the_operators_of_the_update():
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        found = operator_report.operators(operator_report.graph_text(ExponentialMovingAverage(nn.Dense(2, 3), 0.5)))
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
    assert found["Assign"] == 3 and not any(operator_report.missing(name) for name in found)
