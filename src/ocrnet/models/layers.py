"""Layers and helpers shared by the backbones and heads."""

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

    With a `factor`, bilinear mode resizes twice: to `factor` times the height and width, then to `size`. The cost is
    that of one resize. The result equals one resize if `factor` times the input size is `size`.

    Bilinear mode multiplies by two interpolation matrices with two non-zeros per row. The gradient is two products as
    well, while MindSpore's operator takes 20 ns per pixel and channel on a CPU. MindSpore's operator is used for graphs
    with dynamic sizes, and for images so large that the matrices would exhaust the memory.
    """
    if mode == "bilinear" and functional.is_sequence_value_unknown(x.shape):
        return _resize_without_matrices(x, size, align_corners, factor)
    if x.shape[2:] == tuple(size):
        return x
    if mode == "nearest":
        return ops.interpolate(x, size=size, mode="nearest")
    height, width = x.shape[2:]
    if max(size[0] * height, size[1] * width) > _MAX_MATRIX_SIZE:
        return _resize_without_matrices(x, size, align_corners, factor)
    down = _interpolation(size[0], height, align_corners, factor).astype(x.dtype)
    return ops.matmul(down, _resize_width(x, size[1], align_corners, factor))


def _resize_width(x: Tensor, out_width: int, align_corners: bool, factor: int = 1) -> Tensor:
    batch, channels, height, width = x.shape
    across = _interpolation(out_width, width, align_corners, factor).astype(x.dtype)
    x = _matmul_transpose_b(ops.reshape(x, (batch * channels * height, width)), across)
    return ops.reshape(x, (batch, channels, height, out_width))


_MAX_MATRIX_SIZE = 2**25  # elements; reached by images about 11,000 pixels wide


def has_matrices(shape: tuple[int, ...]) -> bool:
    """Returns whether the maps of images (N, 3, H, W) have known sizes that are small enough for matrices.

    The largest, of three shifts, resizes from 1/12 of a side to 1/4.
    """
    return not functional.is_sequence_value_unknown(shape) and max(shape[2:]) ** 2 // 16 <= _MAX_MATRIX_SIZE


def _resize_without_matrices(x: Tensor, size: tuple[int, int], align_corners: bool, factor: int) -> Tensor:
    bilinear = ops.ResizeBilinearV2(align_corners, not align_corners)
    if factor > 1:
        x = bilinear(x, (x.shape[2] * factor, x.shape[3] * factor))
    return bilinear(x, size)


_matmul_transpose_b = ops.MatMul(transpose_b=True)


@constexpr
def _interpolation(out_size: int, in_size: int, align_corners: bool, factor: int, shifts: int = 1) -> Tensor:
    """Returns (out_size, in_size) float32: row i has the input weights of output i, over both steps of `resize`.

    With `shifts` k, returns k of them side by side: row i of the j-th has the input weights of output i + j - k // 2,
    and zeros where there is no such output, as a convolution pads.
    """
    taps = _neighbours(out_size, in_size * factor, align_corners)
    if factor > 1:
        upsampled = _neighbours(in_size * factor, in_size, align_corners)
        taps = [(index[middle], weight * share[middle]) for middle, weight in taps for index, share in upsampled]
    matrix = np.zeros((out_size, in_size))
    for index, weight in taps:
        matrix[np.arange(out_size), index] += weight
    padded = np.pad(matrix, ((shifts // 2, shifts // 2), (0, 0)))
    matrix = np.concatenate([padded[shift : shift + out_size] for shift in range(shifts)], axis=1)
    return Tensor(matrix.astype(np.float32))


def _neighbours(out_size: int, in_size: int, align_corners: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (index, weight) of the two inputs of each output, as in PyTorch's bilinear mode."""
    position = np.arange(out_size, dtype=np.float64)
    if align_corners:
        position *= (in_size - 1) / max(1, out_size - 1)
    else:
        position = np.clip((position + 0.5) * in_size / out_size - 0.5, 0, None)
    low = np.minimum(position.astype(np.int64), in_size - 1)
    return [(low, 1 - (position - low)), (np.minimum(low + 1, in_size - 1), position - low)]


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d without the support of other shapes, which takes a tenth of the compilation time."""

    def construct(self, x: Tensor) -> Tensor:
        if self.training and self.use_batch_statistics is None:
            return self.bn_train(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]
        return self.bn_infer(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]


class MultiScaleConv2d(nn.Conv2d):
    """Convolution of (N, C, H, W), or of a list of maps that are resized bilinearly to the first and concatenated.

    Resizing and convolution are linear. So a map with a third of the height or less is convolved at its own height: its
    columns are resized, a convolution computes the part of each row of the kernel, and one product resizes, shifts and
    adds these rows. For the four maps of an HRNet, which have 1, 1/2, 1/4 and 1/8 of the height, this takes a third of
    the operations. The results are equal up to rounding.
    """

    def __init__(self, *args, align_corners: bool, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.align_corners = align_corners
        rows, columns = self.kernel_size
        padding = (0, 0, columns // 2, columns // 2)
        self.conv_rows = ops.Conv2D(self.out_channels * rows, (1, columns), pad_mode="pad", pad=padding)

    def construct(self, x: Tensor | list[Tensor]) -> Tensor:
        out = self.conv2d(x, self.weight) if isinstance(x, Tensor) else self._convolve_maps(x)
        return self.bias_add(out, self.bias) if self.has_bias else out

    def _convolve_maps(self, maps: list[Tensor]) -> Tensor:
        height, width = maps[0].shape[2:]
        first = [maps[0]] + [
            resize(x, (height, width), "bilinear", self.align_corners) for x in maps[1:] if 3 * x.shape[2] > height
        ]
        small = [x for x in maps[1:] if 3 * x.shape[2] <= height]
        joined = ops.cat(first, axis=1)
        weights = ops.split(self.weight, [joined.shape[1]] + [x.shape[1] for x in small], axis=1)
        out = self.conv2d(joined, weights[0])
        for i in range(len(small)):
            out = out + self._convolve_small(small[i], weights[i + 1], (height, width))
        return out

    def _convolve_small(self, x: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
        batch, channels, height, _ = x.shape
        rows, columns = self.kernel_size
        weight = ops.reshape(ops.transpose(weight, (0, 2, 1, 3)), (self.out_channels * rows, channels, 1, columns))
        x = self.conv_rows(_resize_width(x, size[1], self.align_corners), weight)
        down = _interpolation(size[0], height, self.align_corners, 1, rows)
        return ops.matmul(down, ops.reshape(x, (batch, self.out_channels, rows * height, size[1])))


class ConvBNReLU(nn.Cell):
    """Convolution ("same" padding), BatchNorm, ReLU.

    Args:
        align_corners: None for a tensor as input; True or False for a list of maps too, see `MultiScaleConv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        has_bias: bool = False,
        norm_eps: float = 1e-5,
        align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        how = dict(pad_mode="pad", padding=kernel_size // 2, has_bias=has_bias, bias_init="zeros")
        if align_corners is None:
            self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, **how)
        else:
            self.conv = MultiScaleConv2d(in_channels, out_channels, kernel_size, align_corners=align_corners, **how)
        self.bn = nn.BatchNorm2d(out_channels, norm_eps)
        self.relu = nn.ReLU()

    def construct(self, x: Tensor | list[Tensor]) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


def classifier(in_channels: int, num_classes: int) -> nn.Conv2d:
    """Create the final 1x1 convolution of a head, initialized from Normal(0, 0.01) as in the published heads."""
    return nn.Conv2d(in_channels, num_classes, 1, has_bias=True, weight_init=Normal(0.01), bias_init="zeros")


def init_weights(cell: nn.Cell) -> None:
    """Initialize every convolution of `cell` with the Kaiming (He) normal distribution, mode fan_out, as published."""
    for _, layer in cell.cells_and_names():
        if isinstance(layer, nn.Conv2d):
            out_channels, _, height, width = layer.weight.shape
            sigma = math.sqrt(2.0 / (out_channels * height * width))
            layer.weight.set_data(initializer(Normal(sigma), layer.weight.shape, layer.weight.dtype))


def pad_same(convolution: nn.Conv2d) -> None:
    """Change the padding of a convolution to "same", as MindSpore, TensorFlow and PaddlePaddle define it.

    The output has the size of the input divided by the stride, rounded up. An odd row or column of padding is at the
    bottom or right.
    """
    convolution.pad_mode, convolution.padding = "same", 0
    convolution.conv2d = ops.Conv2D(
        convolution.out_channels,
        convolution.kernel_size,
        pad_mode="same",
        stride=convolution.stride,
        dilation=convolution.dilation,
        group=convolution.group,
    )


def freeze(network: nn.Cell, part: str, norm: bool) -> None:
    """Freeze weights and BatchNorm statistics of `part` ("backbone", "none"); with `norm` all BatchNorm statistics."""
    for name, parameter in network.parameters_and_names():
        if part != "none" and name.startswith(f"{part}."):
            parameter.requires_grad = False
    for name, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d) and (norm or (part != "none" and name.startswith(f"{part}."))):
            cell.use_batch_statistics = False


class Dropout2d(nn.Cell):
    """Sets whole channels of (N, C, H, W) to 0 in training, each with probability `rate`, and scales the others.

    `nn.Dropout2d` uses a generator of the process, which restarts when a run resumes. Here `draw_dropout` sets the mask
    before each step; before its first call nothing is dropped.
    """

    def __init__(self, rate: float, channels: int, name: str) -> None:
        super().__init__()
        self.rate = rate
        self.channels = channels
        factors = Parameter(Tensor(np.ones((1, channels, 1, 1), np.float32)), f"{name}.factors", requires_grad=False)
        # not registered with the cell: the mask of a step is no weight and does not belong in a checkpoint
        object.__setattr__(self, "factors", factors)

    def construct(self, x: Tensor) -> Tensor:
        if self.training and self.rate > 0:
            return x * self.factors.astype(x.dtype)
        return x


def dropout_layers(network: nn.Cell) -> list[Dropout2d]:
    """Returns the dropout layers of `network` with rate > 0."""
    return [cell for _, cell in network.cells_and_names() if isinstance(cell, Dropout2d) and cell.rate > 0]


def draw_dropout(layers: list[Dropout2d], seed: int, samples: range) -> None:
    """Draw the dropout masks of the next step.

    As in the data pipeline, the random numbers depend only on the seed and the sample number, not on the rank or on
    interruptions.

    Args:
        samples: numbers of the samples in the batch.
    """
    if not layers:
        return
    # keys that the data pipeline never uses: it uses keys below 2**62 and from 2**63 on
    generators = [Generator(Philox(key=np.array([seed, 2**62 + number], np.uint64))) for number in samples]
    for layer in layers:
        kept = np.stack([generator.random(layer.channels) >= layer.rate for generator in generators])
        factors = (kept / (1 - layer.rate)).astype(np.float32)[:, :, None, None]
        layer.factors.set_data(Tensor(factors), slice_shape=True)
