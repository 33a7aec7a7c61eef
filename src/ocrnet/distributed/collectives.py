"""What the ranks of a job do together. Alone, every one of these gives back what it was given."""

import pickle
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops.auto_generate import SplitWithSize

from ocrnet.distributed import launcher

Value = TypeVar("Value")


def all_gather_object(value: Value) -> list[Value]:
    """The values of all ranks, in their order: any picklable object, such as counts in int64."""
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
    """int32 (n,) of each rank to (ranks, n): of the whole numbers, a CPU gathers int32 but sums none."""
    return ops.AllGather()(Tensor(values)).asnumpy().reshape(size, -1)


def all_reduce_max(number: int) -> int:
    """The largest of the ranks' numbers."""
    size = launcher.ranks().size
    return number if size == 1 else int(_all_gather(np.array([number], np.int32), size).max())


def barrier() -> None:
    """Wait until all ranks are here."""
    all_gather_object(None)


def broadcast_parameters(parameters: Mapping[str, Parameter]) -> None:
    """Give every rank the values that rank 0 has."""
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
    """The mean of all ranks' gradients in one collective; MindSpore's own takes one for each tensor on a CPU.

    Maps and one operator, because the compiler takes half a minute longer for comprehensions and slices.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        super().__init__()
        self.ranks = launcher.ranks().size
        self.sizes = tuple(parameter.size for parameter in parameters)
        self.sum, self.concat, self.split, self.map = ops.AllReduce(), ops.Concat(), SplitWithSize(), ops.HyperMap()

    def construct(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        flat = self.sum(self.concat(self.map(_flatten, gradients))) / self.ranks
        return self.map(_restore, self.split(flat, self.sizes, 0), gradients)


class MeanOverRanks(nn.Cell):
    """The mean of a tensor's values on all ranks, element by element."""

    def __init__(self) -> None:
        super().__init__()
        self.ranks = launcher.ranks().size
        if self.ranks > 1:
            self.sum = ops.AllReduce()

    def construct(self, x: Tensor) -> Tensor:
        return x if self.ranks == 1 else self.sum(x) / self.ranks
