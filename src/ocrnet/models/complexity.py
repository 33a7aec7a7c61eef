"""Counts the parameters and floating-point operations of a network from its actual shapes."""

import numpy as np
from mindspore import Tensor, nn

from ocrnet.models.heads import PixelRegionAttention


def count_parameters(network: nn.Cell) -> int:
    """Returns the number of trainable parameters, without BatchNorm's running statistics."""
    return sum(parameter.size for parameter in network.trainable_params())


def count_flops(network: nn.Cell, height: int, width: int) -> int:
    """Returns the floating-point operations of a forward pass with a (1, 3, height, width) input, in PyNative mode.

    Counts 2 per multiply-add of the convolutions and of the three products between pixels and regions, as published.
    Two small forward passes suffice: all counts except those of the regions are proportional to the pixels, so the sum
    is linear. `height` and `width` must be multiples of 32, so that every feature map has its exact size.
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
        # pixels x regions: gathering over all channels, then relation and context over the key channels
        counts.append(2 * batch * rows * columns * regions.shape[2] * (channels + 2 * cell.key_channels))
        # published: the last convolution of the attention is for pixels; ours, for regions, was counted as such
        counts.append(2 * batch * (rows * columns - regions.shape[2]) * cell.key_channels * channels)

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
