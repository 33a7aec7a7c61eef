"""Which input sizes get a compiled graph of their own."""

from collections import Counter
from collections.abc import Hashable

import numpy as np
from mindspore import Tensor, nn

from ocrnet.runtime import device


class FrequentSizes:
    """Which sizes are worth a compiled graph of their own: those that come `COMPILE_AT` times, `most` at most.

    Args:
        first: the first size of all is worth it at once.
        most: sizes in all. The later ones never are: giving up an earlier one would cost its compilation again and
            again where many sizes take turns.
    """

    COMPILE_AT = 5

    def __init__(self, first: bool, most: int) -> None:
        self.first, self.most = first, most
        self.seen: Counter = Counter()
        self.chosen: set = set()

    def __call__(self, size: Hashable) -> bool:
        """Count one more use of `size`; whether it has a graph from now on."""
        self.seen[size] += 1
        repeats = self.seen[size] >= self.COMPILE_AT and len(self.chosen) < self.most
        if repeats or (self.first and not self.chosen):
            self.chosen.add(size)
        return size in self.chosen


class CompileFrequentSizes:
    """Calls a cell; in graph mode only sizes that come often are compiled, the others run in PyNative mode.

    A graph is compiled for one size of its input. Compiling the demo's network takes 4 s and saves 1 s an image
    (W18-small: 7 s and 2.5 s), so a size is worth it from its fifth image on, and before that nobody knows whether
    there will be one. The first size of all is compiled at once: most data sets have no other, and the scores of a
    training then all come from one graph.
    """

    MOST_GRAPHS = 32  # each keeps 20 to 50 MiB of W18-small; their activations share a pool

    def __init__(self, cell: nn.Cell, first: bool) -> None:
        self.cell = cell
        self.compiled = FrequentSizes(first, self.MOST_GRAPHS)

    def __call__(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if self.compiled((images.shape, size)):
            return self.cell(Tensor(images), size).asnumpy()
        with device.pynative():
            return self.cell(Tensor(images), size).asnumpy()
