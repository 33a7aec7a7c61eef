"""`cv2.resize` of a uint8 image as MindSpore operators, so that an exported file resizes as `eval.py` does.

OpenCV computes `INTER_LINEAR` of 8-bit images in fixed point: weights have 11 bits, and intermediate values lose bits
(`resize.cpp`, HResizeLinear and VResizeLinear). An exact bilinear interpolation differs by 1 in 6 % of the values.
"""

import mindspore as ms
from mindspore import Tensor, ops

_ONE = 2048  # the weight 1 in fixed point


def resize_uint8(image: Tensor, size: Tensor) -> Tensor:
    """(1, H, W, C) uint8 and (2,) int64 (h, w) to (1, h, w, C) int32, equal to cv2.resize with INTER_LINEAR."""
    pixels, shape = image.astype(ms.int32), ops.TensorShape()(image)
    left, right, left_weight, right_weight = _taps(size[1], shape[2])
    top, bottom, top_weight, bottom_weight = _taps(size[0], shape[1])
    gather = ops.Gather()
    rows = gather(pixels, left, 2) * left_weight.reshape(-1, 1) + gather(pixels, right, 2) * right_weight.reshape(-1, 1)
    rows = rows // 16
    upper = gather(rows, top, 1) * top_weight.reshape(-1, 1, 1) // 65536
    lower = gather(rows, bottom, 1) * bottom_weight.reshape(-1, 1, 1) // 65536
    return (upper + lower + 2) // 4


def _taps(out_size: Tensor, in_size: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the indices of the first and the second input of each output, int64, and their weights, int32, each
    (out_size,).

    OpenCV's position is a float32, rounded once. This quotient is as well for sides with a product below 2**23; for
    larger ones a weight may differ by 1 of 2048.
    """
    output = ops.Range()(Tensor(0, ms.int64), out_size, Tensor(1, ms.int64))
    position = ((2 * output + 1) * in_size - out_size).astype(ms.float32) / (2 * out_size).astype(ms.float32)
    start = ops.floor(position)
    second_weight = position - start
    first = start.astype(ms.int64)
    inside = [ops.maximum(ops.minimum(index, in_size - 1), Tensor(0, ms.int64)) for index in (first, first + 1)]
    weights = [ops.round(weight * _ONE).astype(ms.int32) for weight in (1 - second_weight, second_weight)]
    return *inside, *weights
