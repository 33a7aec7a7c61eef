"""Collects the nodes and constants of an ONNX graph."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


class Name(str):
    """The name of an ONNX tensor."""

    __slots__ = ()


@dataclass(frozen=True)
class Side:
    """`factor` times the length of axis `axis` of a tensor: a number that is known when the graph runs."""

    tensor: Name
    axis: int
    factor: int = 1


class OnnxNodes:
    """Methods add nodes and return the name of the output."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes: dict[str, object] = {}
        """{output: its onnx.NodeProto}, in the order of execution."""
        self.constants: list = []
        self.sizes: dict[Name, tuple[int | Side, ...]] = {}
        """{resized tensor: (height, width)}."""

    def add(self, operator: str, *inputs: str, **attributes: object) -> Name:
        output = Name(f"{operator}_{len(self.nodes)}")
        self.nodes[output] = self._helper.make_node(operator, inputs, [output], name=output, **attributes)
        return output

    def constant(self, values: object, name: str = "") -> Name:
        name = Name(name or f"constant_{len(self.constants)}")
        self.constants.append(self._numpy_helper.from_array(np.asarray(values), name))
        return name

    def vector(self, numbers: Name | Sequence[int | Side]) -> Name:
        """Returns numbers as an int64 tensor (count,)."""
        if isinstance(numbers, Name):
            return numbers
        parts, rest = [], list(numbers)
        while rest:
            count = _count_for_one_node(rest)
            parts.append(self._part(rest[:count]))
            rest = rest[count:]
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=0)

    def _part(self, numbers: list[int | Side]) -> Name:
        first = numbers[0]
        if not isinstance(first, Side):
            return self.constant(np.array(numbers, np.int64))
        lengths = self.add("Shape", first.tensor, start=first.axis, end=first.axis + len(numbers))
        return lengths if first.factor == 1 else self.add("Mul", lengths, self.constant(np.int64(first.factor)))


def _count_for_one_node(numbers: list[int | Side]) -> int:
    """Returns how many of the first numbers are constants, or neighbouring sides of one tensor."""
    first = numbers[0]
    for count, number in enumerate(numbers):
        if isinstance(first, Side):
            if number != Side(first.tensor, first.axis + count, first.factor):
                return count
        elif isinstance(number, Side):
            return count
    return len(numbers)
