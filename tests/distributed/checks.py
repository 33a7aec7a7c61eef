"""Checks that run inside the ranks; test_several_ranks.py starts them under mpirun with training flags."""

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "scripts")]

import mindspore as ms
import numpy as np
import yaml
from mindspore import Tensor, amp, float32, nn, ops

import operator_report
from ocrnet.config import OptimizerConfig
from ocrnet.distributed import launcher
from ocrnet.distributed.collectives import all_gather_object, all_reduce_max, barrier, broadcast_parameters
from ocrnet.models.sync_batch_norm import convert_sync_batch_norm
from ocrnet.runtime import device
from ocrnet.training.optimizer import make_optimizer
from ocrnet.training.step import TrainOneStep

ranks = launcher.ranks()
lr = Tensor(1.0, float32)
PLAIN_SGD = OptimizerConfig(momentum=0.0, weight_decay=0.0)


class Slope(nn.Cell):
    """BatchNorm and a scalar whose gradient varies over the pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.bn.gamma.set_data(Tensor(np.linspace(0.5, 2, channels), float32))
        self.bn.beta.set_data(Tensor(np.linspace(-1, 1, channels), float32))

    def construct(self, x: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        y = self.bn(x)
        return (ops.square(y.astype(float32)) * factors).sum(), y


def outcome(net: nn.Cell, x: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Returns the output, the gradient of x, and the gradients of gamma and beta."""
    step = ops.value_and_grad(net.set_train(), 0, net.trainable_params(), has_aux=True)
    (_, y), (grad_x, grad_weights) = step(Tensor(x), Tensor(factors))
    return y.asnumpy(), grad_x.asnumpy(), [gradient.asnumpy() for gradient in grad_weights]


def batch_norm() -> None:
    """SyncBatchNorm equals BatchNorm of all values in one batch, with a different image size on each rank."""
    channels = 5

    def line(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([part.swapaxes(0, 1).reshape(1, channels, 1, -1) for part in parts], axis=3)

    for dtype in (np.float32, np.float16):
        rng = np.random.default_rng(0)
        shapes = [(2 + rank, channels, 6 + rank, 7) for rank in range(ranks.size)]
        x = [rng.normal(3 * rank, 1 + rank, shape).astype(dtype) for rank, shape in enumerate(shapes)]
        factors = [rng.normal(0, 1, shape).astype(np.float32) for shape in shapes]
        whole, own = Slope(channels), Slope(channels)
        expected = outcome(whole, line(x), line(factors))
        convert_sync_batch_norm(own)
        y, grad_x, grad_weights = outcome(own, x[ranks.rank], factors[ranks.rank])
        pairs = [
            (expected[0], line(all_gather_object(y))),
            (expected[1], line(all_gather_object(grad_x))),
            *zip(
                expected[2], [sum(parts) for parts in zip(*all_gather_object(grad_weights), strict=True)], strict=True
            ),
            (whole.bn.moving_mean.asnumpy(), own.bn.moving_mean.asnumpy()),
            (whole.bn.moving_variance.asnumpy(), own.bn.moving_variance.asnumpy()),
        ]
        for name, (one, other) in zip(
            ["y", "grad_x", "grad_gamma", "grad_beta", "mean", "variance"], pairs, strict=True
        ):
            error = np.abs(one.astype(np.float64) - other).max() / np.abs(one).max()
            # float16 has 11 significant bits: half a unit in the last place is 2.4e-4 of a value, and both sides round
            assert error < (1e-5 if dtype == np.float32 or name not in ("y", "grad_x") else 5e-4), (name, dtype, error)


class Gradients(nn.Cell):
    def __init__(self, layer: nn.Cell) -> None:
        super().__init__()
        self.gradients = ops.value_and_grad(layer, 0, layer.trainable_params())

    def construct(self, x: Tensor) -> tuple:
        return self.gradients(x)


def batch_norm_operators() -> None:
    """SyncBatchNorm has two collectives, and docs/operators.yml has all of its operators."""
    layer = nn.SequentialCell(nn.BatchNorm2d(5)).set_train()
    convert_sync_batch_norm(layer)
    x = Tensor(np.zeros((2, 5, 6, 7), np.float32))
    counts = operator_report.operators(operator_report.graph_text(Gradients(layer), x))
    assert (counts["AllGather"], counts["AllReduce"]) == (1, 1), counts
    reported = yaml.safe_load(operator_report.REPORT.read_text(encoding="utf-8"))["operators"]
    assert not set(counts) - set(reported), set(counts) - set(reported)


class Line(nn.Cell):
    """Loss network with one weight: the mean of weight * x."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Dense(3, 1, weight_init="ones", has_bias=False)

    def construct(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss = self.layer(images).mean()
        return loss, loss, loss


def overflow() -> None:
    """An overflow on one rank: no rank updates, all reduce a dynamic loss scale; afterwards all apply the mean."""
    for scaler in (amp.StaticLossScaler(8.0), amp.DynamicLossScaler(8.0, 2, 100)):
        net = Line()
        step = TrainOneStep(net, make_optimizer(PLAIN_SGD, net), scaler).set_train()
        good = np.full((2, 3), 1.0 + ranks.rank, np.float32)
        bad = np.full((2, 3), np.inf, np.float32) if ranks.rank == ranks.size - 1 else good
        labels = Tensor(np.zeros(2, np.int32))
        for images, updates, weight in ((bad, False, 1.0), (good, True, 1.0 - np.mean(np.arange(ranks.size) + 1))):
            loss, _, updated = step(Tensor(images), labels, lr)
            assert bool(updated.asnumpy()) == updates
            assert np.allclose(net.layer.weight.asnumpy(), weight), net.layer.weight.asnumpy()
        assert np.isclose(loss.asnumpy(), 3 * np.mean(np.arange(ranks.size) + 1))
        assert step.loss_scale() == (8.0 if isinstance(scaler, amp.StaticLossScaler) else 4.0)


def overflow_of_one_device() -> None:
    """Only the last rank's device reports an overflow, as Ascend 910A does: no rank updates."""
    net = Line()
    step = TrainOneStep(net, make_optimizer(PLAIN_SGD, net), amp.StaticLossScaler(8.0)).set_train()
    finite, original = Tensor(ranks.rank < ranks.size - 1), amp.all_finite
    amp.all_finite = lambda gradients: finite
    try:
        _, _, updated = step(Tensor(np.ones((2, 3), np.float32)), Tensor(np.zeros(2, np.int32)), lr)
    finally:
        amp.all_finite = original
    assert not updated.asnumpy() and (net.layer.weight.asnumpy() == 1).all(), net.layer.weight.asnumpy()


def collectives() -> None:
    """Integers beyond float32's range, objects of different size, the maximum, rank 0's weights."""
    rows = all_gather_object({"count": np.int64(2**40 + ranks.rank), "text": "x" * (10 * ranks.rank)})
    assert [int(row["count"]) - 2**40 for row in rows] == list(range(ranks.size))
    assert [len(row["text"]) for row in rows] == [10 * rank for rank in range(ranks.size)]
    assert all_reduce_max(3 if ranks.rank == 1 else 0) == 3
    net = nn.Dense(3, 2, weight_init=float(ranks.rank + 1))
    broadcast_parameters(net.parameters_dict())
    assert (net.weight.asnumpy() == 1).all()


def training() -> None:
    """The trained weights are bitwise identical on all ranks."""
    from ocrnet.config import command_line
    from ocrnet.data.splits import open_dataset
    from ocrnet.models.ocrnet import OCRNet
    from ocrnet.training.losses import OCRLoss
    from ocrnet.training.step import make_loss_scaler
    from ocrnet.training.trainer import Trainer

    _, config = command_line.parse(command_line.config_parser(""), sys.argv[1:])
    network = OCRNet(config.model, len(config.data.classes))
    convert_sync_batch_norm(network)
    loss_network = OCRLoss(network, config.loss, len(config.data.classes), False)
    optimizer = make_optimizer(config.optimizer, loss_network)
    step = TrainOneStep(loss_network, optimizer, make_loss_scaler(config.train.loss_scale))
    trainer = Trainer(config, step, open_dataset(config.data, "train"), None)
    trainer.prepare(None)
    trainer.train()
    digest = hashlib.sha256()
    for value in step.state().values():
        digest.update(value.asnumpy().tobytes())
    assert len(set(all_gather_object(digest.hexdigest()))) == 1


if __name__ == "__main__":
    device.init("CPU", seed=0)
    for mode in (ms.PYNATIVE_MODE, ms.GRAPH_MODE):
        ms.set_context(mode=mode)
        for check in (collectives, batch_norm, overflow, overflow_of_one_device):
            check()
    batch_norm_operators()
    ms.set_context(mode=ms.PYNATIVE_MODE)
    training()
    print("10 checks passed")
    barrier()
    launcher.exit_process(0)
