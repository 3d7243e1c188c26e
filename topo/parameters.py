"""The parameters of a chapter: read from its notebook, checked, and parsed from text.

Knows notebooks and Python literals; must not know how a chapter is executed or what it computes.
"""

import ast
import difflib
import io
import json
import sys
import tokenize
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from topo import constraints

_SCALARS: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}


class ParameterError(ValueError):
    """A parameter of a running chapter is not allowed. A notebook shows its one line, and no traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


@dataclass(frozen=True)
class Parameter:
    """One line of a chapter's `parameters` cell: `name: type = default  # comment; constraint`.

    type: the annotation as text: int, float, bool, str, list[...] of these, each perhaps `| None`.
    constraint: Python expression over the chapter's parameters that must hold; "" where the type says it all.
    """

    name: str
    type: str
    default: object
    comment: str
    constraint: str

    @property
    def kind(self) -> Any:
        """The type itself, such as list[int]."""
        return _kind(ast.parse(self.type, mode="eval").body)

    def allowed(self, values: Mapping[str, Any]) -> str:
        """What the parameter may be, as text, with the values of the other parameters that its constraint names."""
        if not self.constraint:
            return self.type
        names = constraints.names_of(constraints.parse(self.constraint, values))
        others = ", ".join(f"{name} = {_short(values[name])}" for name in names if name in values and name != self.name)
        return f"{self.type} with {self.constraint}" + (f" (where {others})" if others else "")


def chapter_parameters(path: str | Path) -> list[Parameter]:
    """The parameters of the chapter at `path`, in order.

    A chapter has one code cell tagged `parameters`; its lines read `k: int = 200  # what it is; 1 <= k < 6400`.
    Raises FileNotFoundError where there is no notebook, ValueError where the cell is not of that form, where a
    constraint is no expression over the parameters, or where a default violates one; both name what is wrong.
    """
    path = Path(path)
    cells = [cell for cell in cells_of(path) if "parameters" in cell.get("metadata", {}).get("tags", ())]
    if len(cells) != 1 or cells[0]["cell_type"] != "code":
        raise ValueError(f"{path.stem}: one code cell must be tagged `parameters`; there are {len(cells)}")
    try:
        return declarations("".join(cells[0]["source"]))
    except ValueError as error:
        raise ValueError(f"{path.stem}: {error}") from None


def declarations(source: str) -> list[Parameter]:
    """The parameters that the source of a parameters cell declares. Raises ValueError as `chapter_parameters` does.

    Comments may write <= and >= as signs of one character, and the chapters do: papermill lists no line with a second
    "=".

    >>> declarations("p: float = 0.3  # fraction of points kept; 0 < p ≤ 1")[0].constraint
    '0 < p <= 1'
    """
    try:
        statements = ast.parse(source, "parameters").body
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
        parameters = [_parameter(statement, comments.get(statement.end_lineno or 0, "")) for statement in statements]
        names = [parameter.name for parameter in parameters]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{min(repeated)} is declared more than once")
        for parameter in parameters:
            _check_constraint(parameter, names)
        check(parameters, {parameter.name: parameter.default for parameter in parameters})
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the parameters cell is malformed: {error}") from None
    return parameters


def declares_parameters(source: str) -> bool:
    """Whether a cell's source looks like a parameters cell: nothing but variables with types, values and comments."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return False
    return bool(statements) and all(isinstance(each, ast.AnnAssign) for each in statements) and "#" in source


def check(parameters: Sequence[Parameter], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `overrides`, by name, as a chapter gets them: whole numbers become floats where the type is float.

    Parameters that `overrides` leaves out are not returned; constraints are checked with their defaults.
    Raises ValueError naming the first parameter that is unknown, of the wrong type or out of range, its value,
    and what is allowed.
    """
    declared = {parameter.name: parameter for parameter in parameters}
    defaults = {parameter.name: parameter.default for parameter in parameters}
    checked: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in declared:
            there = f"the parameters are {', '.join(declared) or 'none'}"
            meant = nearest(name, declared)
            raise ValueError(f"there is no parameter {name!r} to set to {_short(value)}{meant}; {there}")
        try:
            checked[name] = _fit(value, declared[name].kind)
        except TypeError:
            allowed = declared[name].allowed({**defaults, **overrides})
            raise ValueError(f"{name} = {_short(value)} is not allowed: it must be {allowed}") from None
    values = defaults | checked
    for parameter in parameters:
        if not _holds(parameter.constraint, values):
            value, allowed = _short(values[parameter.name]), parameter.allowed(values)
            raise ValueError(f"{parameter.name} = {value} is not allowed: it must be {allowed}")
    return checked


def parse_value(text: str, kind: Any) -> Any:
    """The value that `text` looks like, for a parameter of type `kind`; white space around it is ignored.

    Python literals (1e-3 is a float, [1, 2] a list), true, false and null become values; any other text stays text. The
    text "100" also stays text where `kind` is str, because the number 100 does not fit.
    """
    text = text.strip()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        value = {"true": True, "false": False, "null": None}.get(text, text)
    return text if not _fits(value, kind) and _fits(text, kind) else value


def parse_values(text: str, kind: Any) -> list[Any]:
    """The values, separated by commas, that `text` looks like, for a parameter of type `kind`, each as `parse_value`.

    Where the type takes texts, commas belong to the text, and several texts are in quotes: 'a','b'.

    >>> parse_values("50, 100", int), parse_values("[1, 2],[3]", list[int])
    ([50, 100], [[1, 2], [3]])
    >>> parse_values("china, flower", str), parse_values("'china', 'flower'", str)
    (['china, flower'], ['china', 'flower'])
    """
    listed = f"({text.strip()},)"
    try:
        tree = ast.parse(listed, mode="eval").body
        items = tree.elts if isinstance(tree, ast.Tuple) else []
        parts = [ast.get_source_segment(listed, item) or "" for item in items]
        quoted = all(isinstance(item, ast.Constant) and isinstance(item.value, str) for item in items)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        parts, quoted = text.split(","), False
    if len(parts) < 2 or (_fits("", kind) and not quoted):
        return [parse_value(text, kind)]
    return [parse_value(part, kind) for part in parts]


def cells_of(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook. Raises FileNotFoundError where there is none, ValueError where it is no notebook."""
    try:
        return json.loads(path.read_text("utf-8"))["cells"]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.stem}: {path} is missing") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path.stem}: {path} is no notebook ({error})") from None


def _parameter(statement: ast.stmt, comment: str) -> Parameter:
    if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
        raise ValueError(f"`{one_line(ast.unparse(statement), 60)}` is not of the form `name: type = literal`")
    name, kind = statement.target.id, ast.unparse(statement.annotation)
    try:
        _kind(statement.annotation)
    except TypeError:
        allowed = "int, float, bool, str, a list of these, or one of them `| None`"
        raise ValueError(f"{name}: the type {kind} is none of {allowed}") from None
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        raise ValueError(f"{name}: the default {ast.unparse(statement.value)} is no literal") from None
    meaning, _, constraint = comment.rpartition(";") if ";" in comment else (comment, "", "")
    if not meaning.strip():
        raise ValueError(f"{name} has no comment that says what it is")
    plain = constraint.strip().replace("≤", "<=").replace("≥", ">=")
    return Parameter(name, kind, default, meaning.strip(), plain)


def _kind(annotation: ast.expr) -> Any:
    match annotation:
        case ast.Name(id=name) if name in _SCALARS:
            return _SCALARS[name]
        case ast.Constant(value=None):
            return types.NoneType
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return types.GenericAlias(list, (_kind(item),))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _kind(left) | _kind(right)
    raise TypeError


def _fit(value: Any, kind: Any) -> Any:
    """`value` as a `kind`, whole numbers turned into floats where those belong; TypeError where it is none."""
    if isinstance(kind, types.UnionType):
        for option in get_args(kind):
            if _fits(value, option):
                return _fit(value, option)
    elif get_origin(kind) is list and isinstance(value, list):
        return [_fit(item, *get_args(kind)) for item in value]
    elif kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    elif type(value) is kind:
        return value
    raise TypeError


def _fits(value: Any, kind: Any) -> bool:
    try:
        _fit(value, kind)
    except TypeError:
        return False
    return True


def _check_constraint(parameter: Parameter, names: Sequence[str]) -> None:
    if not parameter.constraint:
        return
    try:
        if parameter.name not in constraints.names_of(constraints.parse(parameter.constraint, names)):
            raise ValueError("is not about it")
    except ValueError as error:
        constraint = one_line(parameter.constraint)
        raise ValueError(f"{parameter.name}: the constraint `{constraint}` {error}") from None


def _holds(constraint: str, values: Mapping[str, Any]) -> bool:
    return not constraint or constraints.holds(constraints.parse(constraint, values), values)


def nearest(name: str, known: Iterable[str]) -> str:
    """The text " (did you mean NAME?)" with the name among `known` most like `name`, or "" where none is like it."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f" (did you mean {near[0]}?)" if near else ""


def one_line(text: object, longest: int = 200) -> str:
    """What `text` says, on one line, cut to `longest` characters."""
    text = " ".join(str(text).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _short(value: object) -> str:
    return one_line(repr(value), 80)
