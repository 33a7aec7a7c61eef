"""Collective operations of the ranks. With one rank, all of them return their input."""

import pickle
from collections.abc import Mapping, Sequence
from typing import TypeVar

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, float32, nn, ops
from mindspore.ops.auto_generate import SplitWithSize

from ocrnet.distributed import launcher

Value = TypeVar("Value")


def all_gather_object(value: Value) -> list[Value]:
    """Gather a picklable object from each rank. Returns the list in rank order."""
    ranks = launcher.ranks()
    if ranks.size == 1:
        return [value]
    data = pickle.dumps(value)
    sizes = _all_gather(np.array([len(data)], np.int32), ranks.size)
    room = np.zeros(-(-int(sizes.max()) // 4) * 4, np.uint8)
    room[: len(data)] = np.frombuffer(data, np.uint8)
    rows = _all_gather(room.view(np.int32), ranks.size).view(np.uint8)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes[:, 0], strict=True)]


def _all_gather(values: np.ndarray, size: int) -> np.ndarray:
    """Gather int32 (n,) to (ranks, n). A CPU supports int32 in AllGather, but no integers in AllReduce."""
    return ops.AllGather()(Tensor(values)).asnumpy().reshape(size, -1)


def all_reduce_max(number: int) -> int:
    """Returns the maximum of the ranks' numbers."""
    size = launcher.ranks().size
    return number if size == 1 else int(_all_gather(np.array([number], np.int32), size).max())


def barrier() -> None:
    """Wait until all ranks reach this call."""
    all_gather_object(None)


def broadcast_parameters(parameters: Mapping[str, Parameter]) -> None:
    """Broadcast the values of rank 0 to all ranks, in place."""
    if launcher.ranks().size == 1:
        return
    broadcast = ops.Broadcast(0)
    for parameter in parameters.values():
        (value,) = broadcast((Tensor(parameter.asnumpy()),))
        parameter.set_data(value)


_flatten = ops.MultitypeFuncGraph("flatten")
_restore = ops.MultitypeFuncGraph("restore")


@_flatten.register("Tensor")
def _flatten_one(gradient: Tensor) -> Tensor:
    return ops.reshape(gradient, (-1,))


@_restore.register("Tensor", "Tensor")
def _restore_one(part: Tensor, gradient: Tensor) -> Tensor:
    return ops.reshape(part, gradient.shape)


class MeanGradients(nn.Cell):
    """Averages the gradients over the ranks with one collective; MindSpore uses one per tensor on a CPU.

    Uses HyperMap and one split operator, because comprehensions and slices take half a minute longer to compile.
    MindSpore 2.7 has no split operator for a CPU: there, each gradient has a collective of its own.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        super().__init__()
        self.ranks = launcher.ranks().size
        self.joined = not (ms.__version__.startswith("2.7.") and ms.get_context("device_target") == "CPU")
        self.mean = MeanOverRanks()
        self.sizes = tuple(parameter.size for parameter in parameters)
        self.sum, self.concat, self.split, self.map = ops.AllReduce(), ops.Concat(), SplitWithSize(), ops.HyperMap()

    def construct(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not self.joined:
            return self.map(self.mean, gradients)
        flat = self.sum(self.concat(self.map(_flatten, gradients))) / self.ranks
        return self.map(_restore, self.split(flat, self.sizes, 0), gradients)


class MeanOverRanks(nn.Cell):
    """Averages a tensor over the ranks, element by element."""

    def __init__(self) -> None:
        super().__init__()
        self.ranks = launcher.ranks().size
        if self.ranks > 1:
            self.sum = ops.AllReduce()

    def construct(self, x: Tensor) -> Tensor:
        return x if self.ranks == 1 else self.sum(x) / self.ranks


class TrueOnAllRanks(nn.Cell):
    """Whether a flag, a bool tensor (), is true on all ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.mean_over_ranks = MeanOverRanks()

    def construct(self, flag: Tensor) -> Tensor:
        if self.mean_over_ranks.ranks == 1:
            return flag
        return self.mean_over_ranks(flag.astype(float32).reshape((1,))).sum() == 1  # a CPU sums float32 only
