"""Whole numbers as short text, for the data of pictures that answer; the function unpack of answers.js reads it.

Knows numbers and their digits; must not know what they stand for.
"""

import string
from math import floor, log

import numpy as np
from jaxtyping import Float, Int64

from topo.types import Real, Row, Whole

LEVELS = 64  # numbers that a digit tells apart, and shades of gray
_SIGNS = np.array(list(string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"))


def packed(numbers: Row | Real[np.ndarray, "..."], digits: Whole) -> str:
    """Whole numbers, of an array row by row, to base 64, each with so many digits, the highest first.

    Raises ValueError for a number below 0 or with more digits.

    >>> packed([0, 1, 63, 64], 2)
    'AAABA/BA'
    """
    whole = np.asarray(numbers).astype(np.int64).ravel()
    if len(whole) and not 0 <= whole.min() <= whole.max() < LEVELS**digits:
        raise ValueError(f"numbers from {whole.min()} to {whole.max()} do not fit {digits} digits to base {LEVELS}")
    places = whole[:, None] // LEVELS ** np.arange(digits)[::-1] % LEVELS
    return "".join(_SIGNS[places.ravel()])


def digits_of(most: Whole) -> int:
    """How many digits `packed` needs for whole numbers up to `most`, which is 0 or more.

    >>> digits_of(0), digits_of(63), digits_of(64), digits_of(4096)
    (1, 1, 2, 3)
    """
    return 1 + floor(log(max(1, most) + 0.5, LEVELS))


def gray_levels(filters: Float[np.ndarray, "filters pixels"]) -> Int64[np.ndarray, "filters pixels"]:
    """Filters as shades from 0, black, to 63, white, each relative to its own largest absolute value."""
    largest = np.abs(filters).max(axis=1, keepdims=True, initial=0)
    relative = np.divide(filters, largest, out=np.zeros(filters.shape), where=largest > 0)
    return np.round((1 + relative) / 2 * (LEVELS - 1)).astype(np.int64)
