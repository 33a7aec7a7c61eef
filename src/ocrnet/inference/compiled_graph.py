"""The graph that MindSpore compiles from a cell, as a list of operations.

MindSpore serialises it as MindIR (mindspore/core/proto/mind_ir.proto): one function of operators, such as Conv2D, whose
inputs are parameters, constants and results of other operators.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ocrnet.errors import UserError
from ocrnet.runtime import device

NUMPY_TYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}
"""{number of a data type in MindIR and ONNX: its type in NumPy}."""


@dataclass(frozen=True)
class Operation:
    """A call of an operator."""

    operator: str
    inputs: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    """-1 for dynamic sides."""
    input_types: tuple[int, ...]
    """Keys of NUMPY_TYPES; 0 for what is no tensor. ONNX has the same numbers."""
    only_use: tuple[bool, ...]
    """Whether no other operation has this input."""
    output: str
    type: int
    attributes: Mapping[str, object]
    cell: str
    """Where it comes from: the names and classes of the cells."""


@dataclass(frozen=True)
class CompiledGraph:
    """Operations in their order, without those that the output does not need."""

    inputs: tuple[str, ...]
    input_types: tuple[int, ...]
    output: str
    operations: tuple[Operation, ...]
    constants: Mapping[str, object]
    """{name: number, string, tuple or array}."""
    parameters: Mapping[str, str]
    """{name: name of the cell's parameter}."""


def compile_graph(cell: nn.Cell, *inputs: Tensor) -> CompiledGraph:
    """Compile a cell with one output.

    Args:
        inputs: `Tensor(shape=...)` with None for dynamic sides, or tensors of fixed sizes.

    Raises:
        UserError: the graph has branches or loops.
    """
    from mindspore.common.api import _cell_graph_executor
    from mindspore.train.mind_ir_pb2 import ModelProto

    with device.execution_mode(ms.GRAPH_MODE):
        phase, _ = _cell_graph_executor.compile(cell, *inputs, phase="export.mindir", do_convert=False)
        # the values of the parameters are not part of it
        text = _cell_graph_executor._get_func_graph_proto(cell, phase, "mind_ir")
    model = ModelProto.FromString(text)
    if model.functions:
        raise UserError(f"{type(cell).__name__}: its graph has branches or loops, which cannot be exported")
    return _read(model)


def _read(model) -> CompiledGraph:
    graph = model.graph
    primitives = {primitive.name: primitive for primitive in model.primitives}
    constants, nodes, same = {}, {}, {}
    tensors = {value.name: value.tensor[0] for value in (*graph.input,)} | {
        value.name: value for value in graph.parameter
    }
    for node in graph.node:
        output = node.output[0]
        primitive = primitives.get(node.op_type.removeprefix("REF::"))
        if primitive is None:
            constants[output] = _value(node.attribute[0])
        elif primitive.op_type in ("Load", "Depend"):  # its second input is an order of execution
            same[output] = same.get(node.input[0], node.input[0])
        else:
            nodes[output] = node, primitive, tuple(same.get(name, name) for name in node.input)
            if len(node.attribute[0].tensors) == 1:  # the type and the shape of the output
                tensors[output] = node.attribute[0].tensors[0]
    output = same.get(graph.output[0].name, graph.output[0].name)
    needed, uses = {output}, Counter()
    for name in reversed(nodes):
        if name in needed:
            needed.update(nodes[name][2])
            uses.update(nodes[name][2])
    operations = tuple(
        Operation(
            primitive.op_type,
            inputs,
            tuple(tuple(tensors[value].dims) if value in tensors else () for value in inputs),
            tuple(tensors[value].data_type if value in tensors else 0 for value in inputs),
            tuple(uses[value] == 1 for value in inputs),
            name,
            tensors[name].data_type if name in tensors else 0,
            {attribute.name: _value(attribute) for attribute in primitive.attribute},
            node.domain,
        )
        for name, (node, primitive, inputs) in nodes.items()
        if name in needed
    )
    parameters = {parameter.name: parameter.ref_key for parameter in graph.parameter}
    inputs = tuple(value.name for value in graph.input)
    types = tuple(tensors[name].data_type for name in inputs)
    return CompiledGraph(inputs, types, output, operations, constants, parameters)


def _value(attribute) -> object:
    """Returns the value of an attribute or a constant; None for what has no value, such as an order of execution."""
    kind = attribute.AttributeType.Name(attribute.type)
    if kind in ("TUPLE", "LIST"):
        return tuple(map(_value, attribute.values))
    if kind in ("TENSOR", "TENSORS") and attribute.tensors:
        (tensor,) = attribute.tensors
        return np.frombuffer(tensor.raw_data, NUMPY_TYPES[tensor.data_type]).reshape(tuple(tensor.dims))
    if kind == "STRING":  # an entry of a tuple is in the repeated field
        return (attribute.strings[0] if attribute.strings else attribute.s).decode()
    if kind == "FLOAT":
        return attribute.floats[0] if attribute.floats else attribute.f
    if kind == "DOUBLE":
        return attribute.doubles[0] if attribute.doubles else attribute.d
    if kind == "BOOL":
        return bool(attribute.ints[0] if attribute.ints else attribute.i)
    if kind.startswith(("INT", "UINT")):
        return attribute.ints[0] if attribute.ints else attribute.i
    return None
