"""Converts a cell to an ONNX graph.

The cells are the only definition of a network: MindSpore compiles them, and each operator of its graph becomes ONNX
nodes. (MindSpore's own exporter does not support bilinear resize.) Batch, height and width are fixed or dynamic.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from mindspore import Tensor, nn

from ocrnet.errors import UserError
from ocrnet.inference.compiled_graph import CompiledGraph, compile_graph
from ocrnet.inference.onnx_nodes import Name, OnnxNodes
from ocrnet.inference.onnx_operators import OPERATORS

OPSET = 17


class Port(NamedTuple):
    """An input or the output of a file."""

    name: str
    shape: tuple[int | str, ...]
    """A dynamic side has a name."""


def onnx_model(cell: nn.Cell, sources: Mapping[Port, Tensor], target: Port):
    """Convert a cell with one output to an onnx.ModelProto. Fold BatchNorm before: `fold_batch_norm`.

    Args:
        sources: the inputs, whose sides may be fixed, and their types and shapes as MindSpore compiles them: batch,
            height and width are None, since a graph of fixed sizes would have interpolation matrices.
        target: the output.

    Raises:
        UserError: onnx is not installed, or an operator is not in OPERATORS.
    """
    try:
        from onnx import checker, helper
    except ImportError:
        raise UserError("ONNX needs a package that is not installed: in the clone, pip install '.[onnx]'") from None
    compiled = compile_graph(cell, *sources.values())
    onnx, output = _translate(compiled, cell, [Name(port.name) for port in sources])
    onnx.nodes[output].output[0] = target.name
    inputs, outputs = (
        [helper.make_tensor_value_info(port.name, kind, port.shape) for port, kind in zip(ports, types, strict=True)]
        for ports, types in ((sources, compiled.input_types), ([target], [compiled.operations[-1].type]))
    )
    graph = helper.make_graph(list(onnx.nodes.values()), "OCRNet", inputs, outputs, onnx.constants)
    if not any(isinstance(side, str) for port in sources for side in port.shape):
        _leave_out_equal_resizes(graph)
    _leave_out_unused(graph)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="ocrnet"
    )
    checker.check_model(model)
    return model


def _translate(compiled: CompiledGraph, cell: nn.Cell, inputs: list[Name]) -> tuple[OnnxNodes, Name]:
    """Returns the nodes and the name of the output."""
    onnx, parameters = OnnxNodes(), cell.parameters_dict()
    values: dict[str, object] = {
        name: onnx.constant(value) if isinstance(value, np.ndarray) else value
        for name, value in compiled.constants.items()
    }
    values.update(zip(compiled.inputs, inputs, strict=True))
    for operation in compiled.operations:
        for name in operation.inputs:
            if name not in values:
                parameter = compiled.parameters[name]
                values[name] = onnx.constant(parameters[parameter].asnumpy(), parameter)
        try:
            nodes = OPERATORS[operation.operator]
            values[operation.output] = nodes(onnx, operation, *(values[name] for name in operation.inputs))
        except (KeyError, NotImplementedError):
            place = f"MindSpore's operator {operation.operator} in {operation.cell}"
            raise UserError(f"ONNX: {place} cannot be converted; see inference/onnx_operators.py") from None
    return onnx, values[compiled.output]


def _leave_out_equal_resizes(graph) -> None:
    """Remove resizes to the size that a tensor has: of HRNet's branches, if the sides are multiples of 32."""
    from onnx import helper, shape_inference

    opset = helper.make_opsetid("", OPSET)
    inferred = shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[opset]), data_prop=True).graph
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in inferred.value_info
    }
    same: dict[str, str] = {}
    for node in list(graph.node):
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
        source, resized = shapes.get(node.input[0]), shapes.get(node.output[0])
        if node.op_type == "Resize" and source == resized and source and all(source):
            same[node.output[0]] = node.input[0]
            graph.node.remove(node)


def _leave_out_unused(graph) -> None:
    needed = {graph.output[0].name}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for constant in list(graph.initializer):
        if constant.name not in needed:
            graph.initializer.remove(constant)
