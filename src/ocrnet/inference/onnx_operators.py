"""The ONNX nodes of each MindSpore operator.

A function takes the nodes, the operation and its inputs, and returns the output. Inputs and outputs are names of ONNX
tensors, numbers, strings, or tuples of these.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ocrnet.inference.compiled_graph import NUMPY_TYPES, Operation
from ocrnet.inference.onnx_nodes import Name, OnnxNodes, Side


def _same(operator: str) -> Callable:
    """An operator of tensors that ONNX defines in the same way; numbers become constants."""

    def nodes(onnx: OnnxNodes, operation: Operation, *inputs: object) -> Name:
        dtype = NUMPY_TYPES[next(filter(None, operation.input_types), operation.type)]  # 0: a number, no tensor
        tensors = [x if isinstance(x, Name) else onnx.constant(np.asarray(x, dtype)) for x in inputs]
        return onnx.add(operator, *tensors)

    return nodes


def _shape(onnx: OnnxNodes, operation: Operation, x: Name) -> tuple[int | Side, ...]:
    known = dict(enumerate(onnx.sizes.get(x, ()), 2))
    sides = enumerate(operation.input_shapes[0])
    return tuple(known.get(axis, Side(x, axis)) if side < 0 else side for axis, side in sides)


def _tensor_shape(onnx: OnnxNodes, operation: Operation, x: Name) -> Name:
    return onnx.add("Shape", x)


def _multiply_scalars(onnx: OnnxNodes, operation: Operation, one: int | Side, other: int | Side) -> Side:
    side, factor = (one, other) if isinstance(one, Side) else (other, one)
    if isinstance(factor, Side):
        raise NotImplementedError
    return Side(side.tensor, side.axis, side.factor * factor)


def _pads(mode: str, pads: Sequence[int] = ()) -> dict[str, object]:
    """`pads`: top, bottom, left, right."""
    if mode.lower() == "same":  # pads the last row, as in TensorFlow
        return {"auto_pad": "SAME_UPPER"}
    return {"pads": [pads[0], pads[2], pads[1], pads[3]]} if mode.lower() == "pad" else {}


def _conv2d(onnx: OnnxNodes, operation: Operation, x: Name, weight: Name) -> Name:
    how = operation.attributes
    kernel = how["kernel_size"]
    return onnx.add(
        "Conv", x, weight, kernel_shape=kernel, strides=how["stride"][2:], dilations=how["dilation"][2:],
        group=how["group"], **({} if tuple(kernel) == (1, 1) else _pads(how["pad_mode"], how["pad"])),
    )  # fmt: skip


def _bias_add(onnx: OnnxNodes, operation: Operation, x: Name, bias: Name, *_: object) -> Name:
    node = onnx.nodes.get(x)
    if node is not None and node.op_type == "Conv" and len(node.input) == 2 and operation.only_use[0]:
        node.input.append(bias)
        return x
    rank = len(operation.input_shapes[0])
    column = onnx.add("Unsqueeze", bias, onnx.constant(np.arange(1, rank - 1)))
    return onnx.add("Add", x, column)


def _batch_norm(onnx: OnnxNodes, operation: Operation, *inputs: object) -> tuple[Name]:
    """Inputs: x, scale, bias, mean, variance, is_training, epsilon, ..."""
    return (onnx.add("BatchNormalization", *inputs[:5], epsilon=float(inputs[6])),)


def _max_pool(onnx: OnnxNodes, operation: Operation, x: Name) -> Name:
    how = operation.attributes
    return onnx.add(
        "MaxPool", x, kernel_shape=how["kernel_size"][2:], strides=how["strides"][2:], **_pads(how["pad_mode"])
    )


def _pad(onnx: OnnxNodes, operation: Operation, x: Name) -> Name:
    pads = np.array(operation.attributes["paddings"], np.int64)
    return onnx.add("Pad", x, onnx.constant(pads.T.ravel()))


def _resize(onnx: OnnxNodes, x: Name, size: Name | tuple[int | Side, ...], **how: object) -> Name:
    if not isinstance(size, Name):
        if size == onnx.sizes.get(x):
            return x
        factors = [side.factor for side in size if isinstance(side, Side)]
        if size == tuple(Side(x, axis, factor) for axis, factor in zip((2, 3), factors, strict=False)):
            return onnx.add("Resize", x, "", onnx.constant(np.array([1, 1, *factors], np.float32)), **how)
    sizes = onnx.add("Concat", onnx.add("Shape", x, end=2), onnx.vector(size), axis=0)
    resized = onnx.add("Resize", x, "", "", sizes, **how)
    if not isinstance(size, Name):
        onnx.sizes[resized] = size
    return resized


def _resize_bilinear(
    onnx: OnnxNodes, operation: Operation, x: Name, size: Name | tuple[int | Side, ...], align_corners: bool, _: bool
) -> Name:
    mode = "align_corners" if align_corners else "half_pixel"
    return _resize(onnx, x, size, mode="linear", coordinate_transformation_mode=mode)


def _resize_nearest(
    onnx: OnnxNodes, operation: Operation, x: Name, size: Name | tuple[int | Side, ...], *_: bool
) -> Name:
    return _resize(onnx, x, size, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def _concat(onnx: OnnxNodes, operation: Operation, tensors: tuple[Name, ...], axis: int) -> Name:
    return onnx.add("Concat", *tensors, axis=axis)


def _reshape(onnx: OnnxNodes, operation: Operation, x: Name, shape: tuple[int | Side, ...]) -> Name:
    # 0 is the length of the same axis of x
    sides = [0 if number == Side(x, axis) else number for axis, number in enumerate(shape)]
    return onnx.add("Reshape", x, onnx.vector(sides))


def _transpose(onnx: OnnxNodes, operation: Operation, x: Name, order: tuple[int, ...]) -> Name:
    return onnx.add("Transpose", x, perm=order)


def _expand_dims(onnx: OnnxNodes, operation: Operation, x: Name, axis: int) -> Name:
    return onnx.add("Unsqueeze", x, onnx.constant(np.array([axis])))


def _softmax(onnx: OnnxNodes, operation: Operation, x: Name, axes: tuple[int, ...]) -> Name:
    (axis,) = axes
    return onnx.add("Softmax", x, axis=axis)


def _matmul(onnx: OnnxNodes, operation: Operation, a: Name, b: Name, transpose_a: bool, transpose_b: bool) -> Name:
    factors = []
    for x, transposed, shape in zip((a, b), (transpose_a, transpose_b), operation.input_shapes, strict=False):
        axes = list(range(len(shape)))
        factors.append(onnx.add("Transpose", x, perm=[*axes[:-2], axes[-1], axes[-2]]) if transposed else x)
    return onnx.add("MatMul", *factors)


def _reduce(operator: str) -> Callable:
    def nodes(onnx: OnnxNodes, operation: Operation, x: Name, axes: tuple[int, ...] = (), keep: bool = False) -> Name:
        axes = (axes,) if isinstance(axes, int) else axes
        if operator == "ReduceSum" and axes:  # the only one with axes as an input in opset 17
            return onnx.add(operator, x, onnx.constant(np.array(axes)), keepdims=int(keep))
        return onnx.add(operator, x, keepdims=int(keep), **({"axes": axes} if axes else {}))

    return nodes


def _argmax(onnx: OnnxNodes, operation: Operation, x: Name, axis: int, _: int) -> Name:
    return onnx.add("Cast", onnx.add("ArgMax", x, axis=axis, keepdims=0), to=operation.type)


def _cast(onnx: OnnxNodes, operation: Operation, x: Name, _: int) -> Name:
    before = onnx.nodes.get(x)
    if before is not None and before.op_type == "Cast" and not _is_float(operation.input_types[0]):
        x = Name(before.input[0])  # the index of a class fits into both types
    return onnx.add("Cast", x, to=operation.type)


def _is_float(kind: int) -> bool:
    return np.issubdtype(NUMPY_TYPES[kind], np.floating)


def _floor_divide(onnx: OnnxNodes, operation: Operation, *inputs: object) -> Name:
    """ONNX divides integers towards 0: the same for the sizes that are divided here."""
    quotient = _same("Div")(onnx, operation, *inputs)
    return onnx.add("Floor", quotient) if _is_float(operation.type) else quotient


def _gather(onnx: OnnxNodes, operation: Operation, x: Name, indices: Name, axis: int, batch_dims: int) -> Name:
    if batch_dims:
        raise NotImplementedError
    return onnx.add("Gather", x, indices, axis=axis)


def _range(onnx: OnnxNodes, operation: Operation, *limits: object) -> Name:
    """`limits`: start, end, step, and the largest length, which ONNX does not need."""
    limits = (x if isinstance(x, Name) else onnx.constant(NUMPY_TYPES[operation.type](x)) for x in limits[:3])
    return onnx.add("Range", *limits)


def _strided_slice(onnx: OnnxNodes, operation: Operation, x: Name, *how: object) -> Name:
    """`how`: starts, ends, steps, and masks with a bit for each axis: no start, no end, two that must be 0, and an axis
    of which one index is taken.
    """
    starts, ends, steps, begin_mask, end_mask, ellipsis, new_axes, indexed = how
    if ellipsis or new_axes or min(steps) < 1:
        raise NotImplementedError
    starts = [0 if begin_mask >> axis & 1 else start for axis, start in enumerate(starts)]
    ends = [np.iinfo(np.int64).max if end_mask >> axis & 1 else end for axis, end in enumerate(ends)]
    limits = (onnx.constant(np.array(values, np.int64)) for values in (starts, ends, range(len(starts)), steps))
    part = onnx.add("Slice", x, *limits)
    axes = [axis for axis in range(len(starts)) if indexed >> axis & 1]
    return onnx.add("Squeeze", part, onnx.constant(np.array(axes))) if axes else part


OPERATORS: dict[str, Callable] = {
    "Abs": _same("Abs"),
    "Add": _same("Add"),
    "Argmax": _argmax,
    "BatchMatMul": _matmul,
    "BatchNorm": _batch_norm,
    "BiasAdd": _bias_add,
    "Cast": _cast,
    "Concat": _concat,
    "Conv2D": _conv2d,
    "Div": _same("Div"),
    "Divs": _same("Div"),
    "Exp": _same("Exp"),
    "ExpandDims": _expand_dims,
    "Floor": _same("Floor"),
    "FloorDiv": _floor_divide,
    "Gather": _gather,
    "MakeTuple": lambda onnx, operation, *values: values,
    "MatMul": _matmul,
    "Max": _reduce("ReduceMax"),
    "MaxPool": _max_pool,
    "Maximum": _same("Max"),
    "Min": _reduce("ReduceMin"),
    "Minimum": _same("Min"),
    "Mul": _same("Mul"),
    "Muls": _same("Mul"),
    "Neg": _same("Neg"),
    "Pad": _pad,
    "Range": _range,
    "ReLU": _same("Relu"),
    "ReduceMax": _reduce("ReduceMax"),
    "ReduceMean": _reduce("ReduceMean"),
    "ReduceSum": _reduce("ReduceSum"),
    "Reshape": _reshape,
    "ResizeBilinearV2": _resize_bilinear,
    "ResizeNearestNeighborV2": _resize_nearest,
    "Round": lambda onnx, operation, x, *_: onnx.add("Round", x),
    "ScalarMul": _multiply_scalars,
    "Shape": _shape,
    "Sigmoid": _same("Sigmoid"),
    "Softmax": _softmax,
    "Sqrt": _same("Sqrt"),
    "StridedSlice": _strided_slice,
    "Sub": _same("Sub"),
    "Tanh": _same("Tanh"),
    "TensorShape": _tensor_shape,
    "TensorToScalar": lambda onnx, operation, x: x,
    "TensorToTuple": lambda onnx, operation, x: x,
    "Transpose": _transpose,
    "TupleGetItem": lambda onnx, operation, values, index: values[index],
}
"""{MindSpore's operator: function}."""
