"""Parameters and operations of a network, counted from the shapes that it really has."""

import numpy as np
from mindspore import Tensor, nn

from ocrnet.models.heads import PixelRegionAttention


def count_parameters(network: nn.Cell) -> int:
    """Trainable numbers; BatchNorm's running statistics are not among them."""
    return sum(parameter.size for parameter in network.trainable_params())


def count_flops(network: nn.Cell, height: int, width: int) -> int:
    """Floating-point operations of one (1, 3, height, width) forward: 2 for each multiply-add of the convolutions and
    of the three products between pixels and regions, as the published counts have it. PyNative mode.

    Two small forwards are enough: all counts but those over regions grow with the pixels, so the sum is a straight
    line. `height` and `width` are multiples of 32, where every feature map has its exact share.
    """
    small, large = (_count_forward(network, 64, side) for side in (64, 128))
    per_tile = large - small  # a tile is 64 x 64 pixels
    return small - per_tile + per_tile * height * width // 64**2


def _count_forward(network: nn.Cell, height: int, width: int) -> int:
    counts: list[int] = []

    def convolution(cell: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(2 * output.size * cell.weight.size // cell.weight.shape[0])

    def attention(cell: PixelRegionAttention, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        pixels, regions = inputs
        batch, channels, rows, columns = pixels.shape
        # pixels x regions: gathering over all channels, then relation and context over the keys'
        counts.append(2 * batch * rows * columns * regions.shape[2] * (channels + 2 * cell.key_channels))

    hooks = []
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.Conv2d):
            hooks.append(cell.register_forward_hook(convolution))
        elif isinstance(cell, PixelRegionAttention):
            hooks.append(cell.register_forward_hook(attention))
    network.set_train(False)
    network(Tensor(np.zeros((1, 3, height, width), np.float32)))
    for hook in hooks:
        hook.remove()
    return sum(counts)
