"""Constraints of parameters, such as "1 <= k < 64 * networks": expressions that are read, and computed without Python.

Knows a small part of Python's expressions; must not know what a name stands for. Nothing here runs code: no attribute,
no power, no text that grows, and of functions only eight.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

LONGEST = 300  # characters of a constraint
DEEPEST = 12  # of expressions within expressions
_BUILT_IN: tuple[Callable[..., Any], ...] = (abs, all, any, len, max, min, set, sum)
_FUNCTIONS = {function.__name__: function for function in _BUILT_IN}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda item, items: item in items, ast.NotIn: lambda item, items: item not in items,
}  # fmt: skip


def parse(text: str, names: Iterable[str]) -> ast.expr:
    """The expression that `text` is, over `names`.

    It may have numbers, texts, lists, comparisons, and/or/not, + - * / // % of numbers, the functions abs, all, any,
    len, max, min, set and sum, and one `... for name in ...` in a call. `is` and `is not` compare with None only.
    Raises ValueError, which begins with "is", or "uses" and the names that are unknown, for anything else, for more
    than LONGEST characters, and for one that is deeper than DEEPEST.
    """
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("is no expression") from None
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.comprehension)]
    bound = {node.target.id for node in loops if isinstance(node.target, ast.Name)}
    if unknown := names_of(tree).keys() - {*names, *bound, *_FUNCTIONS}:
        raise ValueError(f"uses {', '.join(sorted(unknown))}")
    if len(loops) > 1 or not _is_simple(tree, DEEPEST):
        raise ValueError("is not simple")
    return tree


def names_of(tree: ast.expr) -> dict[str, None]:
    """The names in an expression, each once, those of functions among them."""
    return {node.id: None for node in ast.walk(tree) if isinstance(node, ast.Name)}


def holds(tree: ast.expr, values: Mapping[str, Any]) -> bool:
    """Whether an expression that `parse` returned is True of `values`; False where it cannot be computed."""
    try:
        return _value(tree, values) is True
    except (ArithmeticError, LookupError, TypeError, ValueError):  # such as min([]) or 1 % 0
        return False


def _is_simple(node: ast.expr, depth: int) -> bool:
    """Whether `_value` can compute an expression that has `depth` levels at most."""
    match node:
        case ast.Constant(value=int() | float() | str() | None):
            parts: list[ast.expr] = []
        case ast.Name(id=name):
            return depth > 0 and name not in _FUNCTIONS  # which are called only
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts) | ast.BoolOp(values=parts):
            pass
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
            parts = [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            parts = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            parts = [left, *comparators]
            identities = [i for i, op in enumerate(ops) if isinstance(op, (ast.Is, ast.IsNot))]
            if not all(_is_none(parts[i]) or _is_none(parts[i + 1]) for i in identities):
                return False  # which other values are the same object is up to Python
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in _FUNCTIONS:
            pass
        case ast.GeneratorExp(elt=part, generators=[ast.comprehension(target=ast.Name(), iter=items, ifs=[])]):
            parts = [part, items]
        case _:
            return False
    return depth > 0 and all(_is_simple(part, depth - 1) for part in parts)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.Tuple(elts=parts):
            return tuple(_value(part, values) for part in parts)
        case ast.List(elts=parts):
            return [_value(part, values) for part in parts]
        case ast.Set(elts=parts):
            return {_value(part, values) for part in parts}
        case ast.BoolOp(op=op, values=parts):
            for part in parts:
                value = _value(part, values)
                if bool(value) is isinstance(op, ast.Or):
                    break
            return value
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_value(operand, values))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_number(left, values), _number(right, values))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            first = _value(left, values)
            for comparison, comparator in zip(ops, comparators):
                second = _value(comparator, values)
                if not _OPERATORS[type(comparison)](first, second):
                    return False
                first = second
            return True
        case ast.Call(func=ast.Name(id=name), args=parts):
            return _FUNCTIONS[name](*(_value(part, values) for part in parts))
        case ast.GeneratorExp(elt=part, generators=[ast.comprehension(target=ast.Name(id=name), iter=items)]):
            return _each(part, name, _value(items, values), values)
    raise TypeError(f"{ast.unparse(node)} is no part of a constraint")


def _each(part: ast.expr, name: str, items: Iterable[Any], values: Mapping[str, Any]) -> Iterator[Any]:
    return (_value(part, {**values, name: item}) for item in items)


def _number(node: ast.expr, values: Mapping[str, Any]) -> int | float:
    """A number: `%` of a text would format it, `*` would repeat it."""
    value = _value(node, values)
    if not isinstance(value, (int, float)):
        raise TypeError(f"{ast.unparse(node)} is no number")
    return value
