"""When a cell is compiled for inference, and for which input sizes."""

from collections import Counter
from collections.abc import Hashable

import mindspore as ms
from mindspore import Tensor, nn

from ocrnet.runtime import device


class FrequentSizes:
    """Selects the sizes that occur `compile_at` times for compilation, at most `most` sizes.

    Args:
        first: select the very first size immediately.
        most: maximum number of sizes. Later sizes are never selected: replacing an earlier one would recompile again
            and again when many sizes alternate.
    """

    def __init__(self, first: bool, most: int, compile_at: int = 5) -> None:
        self.first, self.most, self.compile_at = first, most, compile_at
        self.seen: Counter = Counter()
        self.chosen: set = set()

    def __call__(self, size: Hashable) -> bool:
        """Count a use of `size`. Returns whether to use its own graph."""
        self.seen[size] += 1
        repeats = self.seen[size] >= self.compile_at and len(self.chosen) < self.most
        if repeats or (self.first and not self.chosen):
            self.chosen.add(size)
        return size in self.chosen


class CompileFrequentSizes:
    """Calls a cell. In graph mode, compiles a graph for each frequent size; the others run as `otherwise` does.

    Args:
        first: compile for the very first size immediately: most data sets have only one size.
        otherwise: calls such a cell; default: in PyNative mode.
        compile_at: uses of a size, from which on it has its own graph. Compiling the demo's network takes 4 s and saves
            1 s per image compared with PyNative mode (W18-small: 7 s and 2.5 s), so it pays off from the fifth image
            on. A graph for all sizes costs 0.03 s more per image of 360 x 480 and 0.1 s more per image of 630 x 840.
    """

    MOST_GRAPHS = 32  # each takes 20 to 50 MiB for W18-small; their activations share a pool

    def __init__(
        self, cell: nn.Cell, first: bool, otherwise: "CompileAllSizes | None" = None, compile_at: int = 5
    ) -> None:
        self.cell = cell
        self.otherwise = otherwise
        self.compiled = FrequentSizes(first, self.MOST_GRAPHS, compile_at)

    def __call__(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.compiled(tuple(value.shape for value in inputs)):
            return self.cell(*inputs)
        if self.otherwise:
            return self.otherwise(*inputs)
        with device.pynative():
            return self.cell(*inputs)


class CompileAllSizes:
    """Calls a cell. In graph mode, compiles one graph for inputs of all sizes.

    For a CPU. It takes 3 to 10 % more time than a graph of a fixed size, and half of that of PyNative mode.

    Args:
        inputs: the shapes and types of the inputs, with None for dynamic sizes.
        compile_at: number of the call for which it is compiled; those before run in PyNative mode.
    """

    LARGEST_SIDE = 8192  # larger images are resized without matrices, which a graph of all sizes cannot decide

    def __init__(self, cell: nn.Cell, inputs: tuple[Tensor, ...], compile_at: int) -> None:
        self.cell = cell
        self.inputs = inputs
        self.compile_at = compile_at
        self.calls = 0

    def __call__(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.calls += 1
        if self.calls < self.compile_at or max(inputs[0].shape[2:]) > self.LARGEST_SIDE:
            with device.pynative():
                return self.cell(*inputs)
        if ms.get_context("mode") == ms.GRAPH_MODE:
            self.cell.set_inputs(*self.inputs)
        return self.cell(*inputs)
