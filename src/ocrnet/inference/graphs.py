"""Selects which input sizes get their own compiled graph."""

from collections import Counter
from collections.abc import Hashable

import numpy as np
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
    """Calls a cell. In graph mode, compiles only frequent sizes; the others run in PyNative mode.

    A graph is compiled for one input size. Compiling the demo's network takes 4 s and saves 1 s per image (W18-small:
    7 s and 2.5 s), so it pays off from the fifth image of a size on. The very first size is compiled immediately: most
    data sets have only one size, and then all scores of a training come from the same graph.
    """

    MOST_GRAPHS = 32  # each takes 20 to 50 MiB for W18-small; their activations share a pool

    def __init__(self, cell: nn.Cell, first: bool) -> None:
        self.cell = cell
        self.compiled = FrequentSizes(first, self.MOST_GRAPHS)

    def __call__(self, images: np.ndarray, size: tuple[int, int]) -> Tensor:
        if self.compiled((images.shape, size)):
            return self.cell(Tensor(images), size)
        with device.pynative():
            return self.cell(Tensor(images), size)
