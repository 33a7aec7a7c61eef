"""When a cell is compiled for inference, and for which input sizes."""

from collections import Counter
from collections.abc import Hashable

import mindspore as ms
from mindspore import Tensor, nn

from ocrnet.runtime import device


class FrequentSizes:
    """Selects the sizes that occur `COMPILE_AT` times for compilation, at most `most` sizes.

    Args:
        first: select the very first size immediately.
        most: maximum number of sizes. Later sizes are never selected: replacing an earlier one would recompile again
            and again when many sizes alternate.
    """

    COMPILE_AT = 5

    def __init__(self, first: bool, most: int) -> None:
        self.first, self.most = first, most
        self.seen: Counter = Counter()
        self.chosen: set = set()

    def __call__(self, size: Hashable) -> bool:
        """Count a use of `size`. Returns whether to use its own graph."""
        self.seen[size] += 1
        repeats = self.seen[size] >= self.COMPILE_AT and len(self.chosen) < self.most
        if repeats or (self.first and not self.chosen):
            self.chosen.add(size)
        return size in self.chosen


class CompileFrequentSizes:
    """Calls a cell. In graph mode, compiles a graph for each frequent size; other sizes run in PyNative mode.

    For accelerators. The very first size is compiled immediately: most data sets have only one size, and then all
    scores of a training come from the same graph.
    """

    MOST_GRAPHS = 32  # each takes 20 to 50 MiB for W18-small; their activations share a pool

    def __init__(self, cell: nn.Cell, first: bool) -> None:
        self.cell = cell
        self.compiled = FrequentSizes(first, self.MOST_GRAPHS)

    def __call__(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.compiled(tuple(value.shape for value in inputs)):
            return self.cell(*inputs)
        with device.pynative():
            return self.cell(*inputs)


class CompileAllSizes:
    """Calls a cell. In graph mode, compiles one graph for inputs of any size.

    For a CPU, where such a graph is as fast as one of a fixed size.

    Args:
        inputs: the shapes and types of the inputs, with None for dynamic sizes.
        first: compile for the first call; otherwise for the fifth one, because a few images are faster without.
    """

    def __init__(self, cell: nn.Cell, inputs: tuple[Tensor, ...], first: bool) -> None:
        self.cell = cell
        self.inputs = inputs
        self.compile_at = 1 if first else FrequentSizes.COMPILE_AT
        self.calls = 0

    def __call__(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.calls += 1
        if self.calls < self.compile_at or max(inputs[0].shape[2:]) > _LARGEST_SIDE:
            with device.pynative():
                return self.cell(*inputs)
        if ms.get_context("mode") == ms.GRAPH_MODE:
            self.cell.set_inputs(*self.inputs)
        return self.cell(*inputs)


_LARGEST_SIDE = (
    8192  # larger images are resized without matrices, see `resize`, which a graph of any size cannot decide
)
