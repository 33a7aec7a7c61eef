"""Pieces that the backbones and heads share."""

import math

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal, initializer
from mindspore.ops import constexpr, functional
from numpy.random import Generator, Philox


def resize(
    x: Tensor, size: tuple[int, int], mode: str = "bilinear", align_corners: bool = False, factor: int = 1
) -> Tensor:
    """Resize (N, C, H, W) to (N, C, *size); `mode` is bilinear or nearest.

    With a `factor`, bilinear means two resizes: to `factor` times the height and width, then to `size`. It costs the
    same as one, and is the same as one where the enlarged map has that size.

    Bilinear is two products with matrices of two non-zeros a row: its gradient is two products as well, where the
    framework's own takes 20 ns a pixel and channel on a CPU. Where a graph is exported for any size, and where the
    matrices of a large image would fill the memory, it is the framework's.
    """
    if mode == "bilinear" and functional.is_sequence_value_unknown(x.shape):
        return _resize_without_matrices(x, size, align_corners, factor)
    if x.shape[2:] == tuple(size):
        return x
    if mode == "nearest":
        return ops.interpolate(x, size=size, mode="nearest")
    batch, channels, height, width = x.shape
    if max(size[0] * height, size[1] * width) > _LARGEST:
        return _resize_without_matrices(x, size, align_corners, factor)
    down = _interpolation(size[0], height, align_corners, factor).astype(x.dtype)
    across = _interpolation(size[1], width, align_corners, factor).astype(x.dtype)
    x = _by_transposed(ops.reshape(x, (batch * channels * height, width)), across)
    return ops.matmul(down, ops.reshape(x, (batch, channels, height, size[1])))


_LARGEST = 2**25  # numbers of a matrix: an image some 11,000 pixels wide; beyond, matrices would fill the memory


def _resize_without_matrices(x: Tensor, size: tuple[int, int], align_corners: bool, factor: int) -> Tensor:
    bilinear = ops.ResizeBilinearV2(align_corners, not align_corners)
    if factor > 1:
        x = bilinear(x, (x.shape[2] * factor, x.shape[3] * factor))
    return bilinear(x, size)


_by_transposed = ops.MatMul(transpose_b=True)


@constexpr
def _interpolation(out_size: int, in_size: int, align_corners: bool, factor: int) -> Tensor:
    """(out_size, in_size) float32: row i holds the weights that make output i, of both steps of `resize`."""
    parts = _neighbours(out_size, in_size * factor, align_corners)
    if factor > 1:
        enlarged = _neighbours(in_size * factor, in_size, align_corners)
        parts = [(index[place], weight * share[place]) for place, weight in parts for index, share in enlarged]
    matrix = np.zeros((out_size, in_size))
    for index, weight in parts:
        matrix[np.arange(out_size), index] += weight
    return Tensor(matrix.astype(np.float32))


def _neighbours(out_size: int, in_size: int, align_corners: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """(index, weight) of the two inputs that each output is made of, as PyTorch's bilinear defines them."""
    place = np.arange(out_size, dtype=np.float64)
    if align_corners:
        place *= (in_size - 1) / max(1, out_size - 1)
    else:
        place = np.clip((place + 0.5) * in_size / out_size - 0.5, 0, None)
    low = np.minimum(place.astype(np.int64), in_size - 1)
    return [(low, 1 - (place - low)), (np.minimum(low + 1, in_size - 1), place - low)]


class BatchNorm2d(nn.BatchNorm2d):
    """MindSpore's for (N, C, H, W) alone: its look at other shapes costs the compiler a tenth of its time."""

    def construct(self, x: Tensor) -> Tensor:
        if self.training and self.use_batch_statistics is None:
            return self.bn_train(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]
        return self.bn_infer(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]


class ConvBNReLU(nn.Cell):
    """Convolution (same size), BatchNorm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, has_bias: bool = False, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        same = dict(pad_mode="pad", padding=kernel_size // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, has_bias=has_bias, bias_init="zeros", **same)
        self.bn = nn.BatchNorm2d(out_channels, norm_eps)
        self.relu = nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


def classifier(in_channels: int, num_classes: int) -> nn.Conv2d:
    """The 1x1 convolution that ends a head, started from Normal(0, 0.01) as the published heads are."""
    return nn.Conv2d(in_channels, num_classes, 1, has_bias=True, weight_init=Normal(0.01), bias_init="zeros")


def init_weights(cell: nn.Cell) -> None:
    """Start every convolution of `cell` from He et al.'s normal distribution by fan-out, as published."""
    for _, part in cell.cells_and_names():
        if isinstance(part, nn.Conv2d):
            out_channels, _, height, width = part.weight.shape
            sigma = math.sqrt(2.0 / (out_channels * height * width))
            part.weight.set_data(initializer(Normal(sigma), part.weight.shape, part.weight.dtype))


def freeze(network: nn.Cell, part: str, norm: bool) -> None:
    """Take the `backbone` (or "none") out of training, weights and BatchNorm statistics; with `norm` all statistics."""
    for name, parameter in network.parameters_and_names():
        if part != "none" and name.startswith(f"{part}."):
            parameter.requires_grad = False
    for name, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d) and (norm or (part != "none" and name.startswith(f"{part}."))):
            cell.use_batch_statistics = False


class Dropout2d(nn.Cell):
    """Sets whole channels of (N, C, H, W) to 0 in training, each with probability `rate`, and scales the rest.

    `nn.Dropout2d` draws from a generator of the process, which starts anew when a run is resumed. Here `draw_dropout`
    decides before each step what is dropped; until its first call nothing is.
    """

    def __init__(self, rate: float, channels: int, name: str) -> None:
        super().__init__()
        self.rate = rate
        self.channels = channels
        factors = Parameter(Tensor(np.ones((1, channels, 1, 1), np.float32)), f"{name}.factors", requires_grad=False)
        # not registered with the cell: what one step drops is no weight, and no checkpoint should ask for it
        object.__setattr__(self, "factors", factors)

    def construct(self, x: Tensor) -> Tensor:
        if self.training and self.rate > 0:
            return x * self.factors.astype(x.dtype)
        return x


def dropout_layers(network: nn.Cell) -> list[Dropout2d]:
    """Those that drop anything."""
    return [cell for _, cell in network.cells_and_names() if isinstance(cell, Dropout2d) and cell.rate > 0]


def draw_dropout(layers: list[Dropout2d], seed: int, samples: range) -> None:
    """Decide what `layers` drop in the next step for each of a run's `samples` (their numbers), one an image.

    As in the data, a sample's number alone decides: neither rank nor an interruption changes it.
    """
    if not layers:
        return
    # keys that the data never has: its own lie below 2**62 and from 2**63 on
    generators = [Generator(Philox(key=np.array([seed, 2**62 + number], np.uint64))) for number in samples]
    for layer in layers:
        kept = np.stack([generator.random(layer.channels) >= layer.rate for generator in generators])
        factors = (kept / (1 - layer.rate)).astype(np.float32)[:, :, None, None]
        layer.factors.set_data(Tensor(factors), slice_shape=True)
