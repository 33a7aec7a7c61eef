"""Parses mmengine configs (version 1, .py), as used by mmsegmentation, without running them.

Supported: numbers, strings, lists, dict(...), sum([...]), list comprehensions with one `for`, variables, and _base_.
"""

import ast
import operator
import re
from pathlib import Path
from typing import Any

from ocrnet.errors import UserError

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def read_config(path: Path, notes: list[str], chain: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Returns the variables of a config, merged with those of its bases. Adds unsupported statements to `notes`."""
    if path.resolve() in chain:
        raise UserError(f"{path}: _base_ refers back to this file")
    try:
        statements = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: cannot read this config: {error}") from None
    base: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=value):
                try:
                    own[name] = evaluate(value, {**own, "_base_": base})
                except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError):
                    notes.append(f"not read: {path.name}:{statement.lineno}: {ast.unparse(statement)[:100]}")
                    continue
                if name == "_base_":
                    for other in [own[name]] if isinstance(own[name], str) else own[name]:
                        base = merge(base, read_config(path.parent / other, notes, (*chain, path.resolve())))
            case ast.Expr(ast.Constant()):
                pass
            case _:
                notes.append(f"not read: {path.name}:{statement.lineno}: {ast.unparse(statement)[:100]}")
    own.pop("_base_", None)
    return merge(base, own)


def evaluate(node: ast.AST, names: dict[str, Any]) -> Any:
    """Evaluates an expression without running it. Raises ValueError for unsupported kinds of expressions."""
    match node:
        case ast.Constant(value):
            placeholder = re.fullmatch(r"\{\{_base_\.(\w+)\}\}", value) if isinstance(value, str) else None
            return names["_base_"][placeholder[1]] if placeholder else value
        case ast.Name(name):
            return names[name]
        case ast.Attribute(ast.Name("_base_"), name) | ast.Set([ast.Set([ast.Attribute(ast.Name("_base_"), name)])]):
            return names["_base_"][name]
        case ast.List(parts) | ast.Tuple(parts):
            return [evaluate(part, names) for part in parts]
        case ast.Dict(keys, values) if None not in keys:
            return {evaluate(key, names): evaluate(value, names) for key, value in zip(keys, values, strict=True)}
        case ast.Call(ast.Name("dict"), [], keywords) if all(keyword.arg for keyword in keywords):
            return {keyword.arg: evaluate(keyword.value, names) for keyword in keywords}
        case ast.Call(ast.Name("sum"), [numbers], []):
            return sum(evaluate(numbers, names))
        case ast.UnaryOp(ast.USub(), operand):
            return -evaluate(operand, names)
        case ast.BinOp(left, kind, right) if type(kind) in _OPERATORS:
            values = evaluate(left, names), evaluate(right, names)
            if all(isinstance(value, int | float) for value in values):  # 'x' * 10**9 would fill the memory
                return _OPERATORS[type(kind)](*values)
        case ast.ListComp(element, [ast.comprehension(ast.Name(name), members, [], 0)]):
            return [evaluate(element, {**names, name: member}) for member in evaluate(members, names)]
        case ast.Subscript(container, index):
            return evaluate(container, names)[evaluate(index, names)]
    raise ValueError(f"line {getattr(node, 'lineno', 0)}")


def merge(base: Any, own: Any) -> Any:
    """Merges as mmengine does: dicts key by key unless `_delete_` is set; other values replace those of the base."""
    if not isinstance(own, dict):
        return own
    if not isinstance(base, dict) or own.get("_delete_"):
        base = {}
    merged = {key: merge(base.get(key), value) for key, value in own.items() if key != "_delete_"}
    return {**base, **merged}
