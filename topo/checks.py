"""Checks of what a caller gives: arrays of numbers, point clouds, whole numbers, numbers and fractions.

Knows how a bad value is named in one clear error; must not know what the values are for.
"""

from math import inf, isfinite
from numbers import Integral, Real

import numpy as np

from topo.types import Number, Points, Whole


def shown(text: str) -> str:
    r"""A text of somebody else as a terminal may show it: what is not printable is escaped.

    >>> shown("red\x1b[31m")
    'red\\x1b[31m'
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


_FORMULA = "=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"  # the last four are wide


def spreadsheet_cell(value: object) -> object:
    """A value as a cell of a CSV file: a text that a spreadsheet would take for a formula begins with an apostrophe.

    >>> spreadsheet_cell("=1+1"), spreadsheet_cell(-1)
    ("'=1+1", -1)
    """
    if not isinstance(value, str):
        return value
    return f"'{shown(value)}" if value.startswith(_FORMULA) else shown(value)


def as_numbers(values: object, name: str, ndim: int, axes: str) -> np.ndarray:
    """`values` as a numeric array of `ndim` axes, none of them empty, every entry finite.

    name, axes: how messages call the array and its axes, such as "points" and "(n, d)".
    Raises TypeError for what is no array of real numbers, ValueError for another shape, NaN or infinity.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise TypeError(f"{name} must be an array of numbers: {error}") from None
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise TypeError(f"{name} must be an array of real numbers, not {type(values).__name__} of {array.dtype}")
    if array.ndim != ndim or 0 in array.shape:
        raise ValueError(f"{name} must have shape {axes} with no axis empty, not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; {np.count_nonzero(~np.isfinite(array))} entries are NaN or infinite")
    return array


def working_dtype(dtype: np.dtype) -> type[np.floating]:
    """The dtype of a cloud that is made of numbers of `dtype`: float32 for floats of 4 bytes or fewer, else float64."""
    return np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64


def as_points(points: object, name: str = "points") -> Points:
    """A point cloud, checked and made contiguous; the functions of topo that take points begin with it.

    points: (n, d) array-like of real numbers, n >= 1, d >= 1, all finite; name: how messages call it.
    Returns a C-contiguous array: float32 for float32 and float16 input, float64 for everything else.
    Raises TypeError for what is no array of real numbers, ValueError for another shape, NaN or infinity.
    """
    array = as_numbers(points, name, 2, "(n, d)")
    return np.ascontiguousarray(array, working_dtype(array.dtype))


def check_whole(value: object, name: str, low: Whole, high: Whole | None = None, because: str = "") -> None:
    """Raise TypeError unless `value` is a whole number, ValueError unless low <= value <= high (None: no bound).

    name: how messages call it; because: a reason that messages end with, such as where the bounds come from.
    """
    allowed = f"a whole number, {low} or more" if high is None else f"a whole number from {low} to {high}"
    message = f"{name} = {value!r} must be {allowed}" + (f": {because}" if because else "")
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(message)
    if value < low or (high is not None and not value <= high):
        raise ValueError(message)


def check_number(value: object, name: str, low: Number = -inf, meaning: str = "a number", above: bool = False) -> None:
    """Raise TypeError unless `value` is a real number, ValueError unless it is finite and at least `low`.

    name: how messages call it; meaning: what it is, such as "a length"; above: whether `low` itself is not allowed.
    """
    bound = "" if low == -inf else f" and above {low}" if above else f" and {low} or more"
    message = f"{name} = {value!r} must be {meaning}, finite{bound}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(message)
    if not isfinite(value) or value < low or (above and value == low):
        raise ValueError(message)


def check_fraction(value: object, name: str = "p", whole: bool = True) -> None:
    """Raise TypeError unless `value` is a real number, ValueError unless it lies in (0, 1].

    name: how messages call it; whole: whether 1 itself is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if value <= 0 or not value <= 1 or (value == 1 and not whole):
        raise ValueError(f"{name} = {value} is outside (0, 1{']' if whole else ')'}")
