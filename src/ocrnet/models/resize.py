"""Bilinear and nearest resize of feature maps, and the convolution of resized maps.

Bilinear mode multiplies by two interpolation matrices with two non-zeros per row. The gradient is two products as well,
while MindSpore's operator takes 20 ns per pixel and channel on a CPU.
"""

import numpy as np
from mindspore import Tensor, float32, int32, nn, ops
from mindspore.ops import constexpr, functional

Size = tuple[int, int]
"""(height, width)."""

MAX_MATRIX_SIZE = 2**25
"""Elements of an interpolation matrix; reached by images about 11,000 pixels wide."""


def resize(
    x: Tensor,
    size: Size,
    mode: str = "bilinear",
    align_corners: bool = False,
    through: Size | None = None,
    in_graph: bool = False,
) -> Tensor:
    """Resize (N, C, H, W) to (N, C, *size); `mode` is bilinear or nearest.

    With `through`, bilinear mode resizes twice: to `through`, then to `size`. The cost is that of one resize.

    MindSpore's operator is used in graphs with dynamic sizes, and for images so large that the matrices would exhaust
    the memory. With `in_graph`, a graph with dynamic sizes computes the matrices, with dozens of small operators:
    faster for large maps that are resized twice.
    """
    if mode == "nearest":
        if functional.is_sequence_value_unknown(x.shape):
            # ops.interpolate would compare sizes in Python, which cannot be exported
            return ops.ResizeNearestNeighborV2()(x, size)
        return x if x.shape[2:] == tuple(size) else ops.interpolate(x, size=size, mode="nearest")
    middle = (None, None) if through is None else through
    height, width = x.shape[2:]
    if functional.is_sequence_value_unknown(x.shape):
        if not in_graph:
            return _resize_without_matrices(x, size, align_corners, through)
        down = _resize_in_graph(size[0], middle[0], height, align_corners)
        across = _resize_in_graph(size[1], middle[1], width, align_corners)
        return _multiply(down, x, across)
    if x.shape[2:] == tuple(size) and (through is None or tuple(through) == tuple(size)):
        return x
    if max(size[0] * height, size[1] * width) > MAX_MATRIX_SIZE:
        return _resize_without_matrices(x, size, align_corners, through)
    down = _resize_matrix(size[0], middle[0], height, align_corners)
    across = _resize_matrix(size[1], middle[1], width, align_corners)
    return _multiply(down, x, across)


def convolve_resized(convolution: nn.Conv2d, maps: list[Tensor], first: int, align_corners: bool) -> Tensor:
    """Resize feature maps to the size of the first one, concatenate and convolve them with stride 1 and same padding.

    Resize and convolution are linear, so they can be exchanged for small maps: a 1x1 convolution multiplies the map
    with all taps of the kernel; then interpolation matrices, shifted by the place of each tap, resize and add the
    products. For a map of 1/8 of the height and width this takes 1/12 of the multiply-adds, for 1/4 less than half.

    Args:
        convolution: has a square kernel of odd size and as many input channels as all maps together.
        maps: (N, C, h, w) each, the first one with the largest size.
        first: index of the first map that is resized after the convolution instead of before it.

    Returns:
        (N, out channels, *maps[0].shape[2:]); equal to resize, concatenation and convolution up to rounding.
    """
    size = maps[0].shape[2:]
    before = [maps[0]] + [resize(x, size, "bilinear", align_corners) for x in maps[1:first]]
    joined = ops.cat(before, axis=1) if first > 1 else maps[0]
    weight, start = convolution.weight, joined.shape[1]
    total = convolution.conv2d(joined, weight[:, :start])
    for x in maps[first:]:
        total = total + _convolve_and_resize(x, weight[:, start : start + x.shape[1]], size, align_corners)
        start = start + x.shape[1]
    return ops.bias_add(total, convolution.bias) if convolution.has_bias else total


def _convolve_and_resize(x: Tensor, weight: Tensor, size: Size, align_corners: bool) -> Tensor:
    """Returns the convolution of x (N, C, h, w), resized to `size`, with weight (O, C, k, k): (N, O, *size)."""
    batch, channels, height, width = x.shape
    out_channels, _, kernel, _ = weight.shape
    if functional.is_sequence_value_unknown(x.shape):
        down = _taps_in_graph(size[0], height, align_corners, kernel)
        across = _taps_in_graph(size[1], width, align_corners, kernel)
    else:
        down = _tap_matrix(size[0], height, align_corners, kernel)
        across = _tap_matrix(size[1], width, align_corners, kernel)
    convolve = ops.Conv2D(out_channels * kernel, 1)
    taps = weight.transpose(3, 0, 2, 1).reshape(kernel * out_channels * kernel, channels, 1, 1)
    columns = [convolve(x, column) for column in ops.Split(0, kernel)(taps)]
    # each row of the image next to itself, once for each column of the kernel; the rows once for each of its rows
    products = ops.cat(columns, axis=3).reshape(batch, out_channels, kernel * height, kernel * width)
    return _multiply(down, products, across)


_batch_matmul, _matmul, _matmul_transpose_b = ops.BatchMatMul(), ops.MatMul(), ops.MatMul(transpose_b=True)


def _multiply(down: Tensor, x: Tensor, across: Tensor) -> Tensor:
    """Returns down (H, h) times x (N, C, h, w) times the transpose of across (W, w): (N, C, H, W)."""
    batch, channels, height, width = x.shape
    rows, maps = down.shape[0], batch * channels
    x = _matmul_transpose_b(x.reshape(maps * height, width), across.astype(x.dtype))
    # one copy of `down` for each map: on a CPU, this product takes half the time of BroadcastTo
    copies = _matmul(ops.ones((maps, 1), x.dtype), down.astype(x.dtype).reshape(1, rows * height))
    x = _batch_matmul(copies.reshape(maps, rows, height), x.reshape(maps, height, across.shape[0]))
    return x.reshape(batch, channels, rows, across.shape[0])


def _resize_without_matrices(x: Tensor, size: Size, align_corners: bool, through: Size | None) -> Tensor:
    bilinear = ops.ResizeBilinearV2(align_corners, not align_corners)
    return bilinear(x if through is None else bilinear(x, through), size)


@constexpr
def _resize_matrix(out_size: int, middle: int | None, in_size: int, align_corners: bool) -> Tensor:
    """Returns (out_size, in_size) float32: the weights of the inputs of each output, over both steps of a resize.

    Args:
        middle: size after the first of two steps; None for one step.
    """
    if middle is None:
        return Tensor(_weights(out_size, in_size, align_corners).astype(np.float32))
    both = _weights(out_size, middle, align_corners) @ _weights(middle, in_size, align_corners)
    return Tensor(both.astype(np.float32))


@constexpr
def _tap_matrix(out_size: int, in_size: int, align_corners: bool, kernel: int) -> Tensor:
    """Returns (out_size, kernel * in_size) float32: row i has the weights for the outputs i - kernel // 2 to
    i + kernel // 2, one after another; those for outputs outside of the image are 0."""
    padded = np.pad(_weights(out_size, in_size, align_corners), ((kernel // 2, kernel // 2), (0, 0)))
    return Tensor(np.hstack([padded[tap : tap + out_size] for tap in range(kernel)]).astype(np.float32))


def _weights(out_size: int, in_size: int, align_corners: bool) -> np.ndarray:
    """Returns (out_size, in_size) float64: the weights of the inputs of each output, as in PyTorch's bilinear mode."""
    position = np.arange(out_size, dtype=np.float64)
    if align_corners:
        position *= (in_size - 1) / max(1, out_size - 1)
    else:
        position = np.clip((position + 0.5) * in_size / out_size - 0.5, 0, None)
    low = np.minimum(position.astype(np.int64), in_size - 1)
    weights = np.zeros((out_size, in_size))
    for index, weight in ((low, 1 - (position - low)), (np.minimum(low + 1, in_size - 1), position - low)):
        weights[np.arange(out_size), index] += weight
    return weights


def _resize_in_graph(out_size: int, middle: int | None, in_size: int, align_corners: bool) -> Tensor:
    """`_resize_matrix` for dynamic sizes."""
    if middle is None:
        return _weights_in_graph(out_size, in_size, align_corners, 0)
    first = _weights_in_graph(middle, in_size, align_corners, 0)
    return ops.matmul(_weights_in_graph(out_size, middle, align_corners, 0), first)


def _taps_in_graph(out_size: int, in_size: int, align_corners: bool, kernel: int) -> Tensor:
    """`_tap_matrix` for dynamic sizes."""
    taps = [_weights_in_graph(out_size, in_size, align_corners, tap - kernel // 2) for tap in range(kernel)]
    return ops.cat(taps, axis=1)


def _arange(size: int) -> Tensor:
    return ops.Range()(Tensor(0, int32), ops.scalar_to_tensor(size, int32), Tensor(1, int32))


def _weights_in_graph(out_size: int, in_size: int, align_corners: bool, offset: int) -> Tensor:
    """Returns (out_size, in_size) float32: the weights of the inputs of output i + `offset`; 0 outside of the image.

    The weight of an input is 1 minus its distance, if that is positive. Positions are fractions of integers, without
    rounding errors.
    """
    size, inputs = ops.scalar_to_tensor(out_size, int32), ops.scalar_to_tensor(in_size, int32)
    output = _arange(out_size) + offset
    if align_corners:
        position, unit = output * (inputs - 1), ops.maximum(size - 1, Tensor(1, int32))
    else:
        position, unit = (2 * output + 1) * inputs - size, 2 * size
    position = ops.maximum(ops.minimum(position, (inputs - 1) * unit), Tensor(0, int32))
    distance = ops.abs(position.expand_dims(1) - unit * _arange(in_size)).astype(float32) / unit.astype(float32)
    weights = ops.relu(1 - distance)
    inside = ops.logical_and(output >= 0, output < size).astype(float32)
    return weights * inside.expand_dims(1)
