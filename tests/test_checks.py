"""Checks: what passes, and how the error names the value and what is allowed."""

from fractions import Fraction
from math import inf, nan

import numpy as np
import pytest

from topo.checks import as_points, check_fraction, check_number, check_whole, working_dtype


@pytest.mark.parametrize("given, kept", [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("i2", "f8"), ("u4", "f8")])
def test_only_short_floats_are_computed_in_float32(given, kept):
    assert working_dtype(np.dtype(given)) == np.dtype(kept)


def test_points_are_called_points_unless_told_otherwise():
    for name, options in (("points", {}), ("lens", {"name": "lens"})):
        with pytest.raises(ValueError, match=rf"^{name} must have shape \(n, d\) with no axis empty, not \(3,\)$"):
            as_points([1, 2, 3], **options)


def test_what_is_no_array_of_numbers_is_named_by_its_type():
    with pytest.raises(TypeError, match="^points must be an array of real numbers, not str of <U6$"):
        as_points("points")
    with pytest.raises(TypeError, match="^points must be an array of numbers: "):
        as_points([[1.0, 2.0], [3.0]])


def test_a_whole_number_between_its_bounds_passes():
    for value in (2, np.uint8(3), 5):
        check_whole(value, "k", 2, 5)
    check_whole(2, "k", 2)


@pytest.mark.parametrize(
    "value, bounds, message",
    [
        (1, (2,), "k = 1 must be a whole number, 2 or more"),
        (1, (2, 5), "k = 1 must be a whole number from 2 to 5"),
        (6, (2, 5, "as said"), "k = 6 must be a whole number from 2 to 5: as said"),
    ],
)
def test_a_whole_number_out_of_range_is_named_with_what_is_allowed(value, bounds, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_whole(value, "k", *bounds)
    with pytest.raises(TypeError, match=message.replace(str(value), f"{value}.0", 1)):
        check_whole(float(value), "k", *bounds)


@pytest.mark.parametrize("value", [0, 1, 2.5, np.float32(3), np.int8(4), Fraction(1, 2)])
def test_a_finite_number_of_any_kind_passes(value):
    check_number(value, "x", 0)
    check_number(value, "x", -1, above=True)
    check_number(-value, "x")


@pytest.mark.parametrize(
    "value, options, message",
    [
        (-0.5, {"low": 0}, "x = -0.5 must be a number, finite and 0 or more"),
        (inf, {"low": 0, "meaning": "a length"}, "x = inf must be a length, finite and 0 or more"),
        (nan, {"low": 0}, "x = nan must be a number, finite and 0 or more"),
        (1, {"low": 1, "above": True}, "x = 1 must be a number, finite and above 1"),
        (0.5, {"low": 1, "above": True, "meaning": "a factor"}, "x = 0.5 must be a factor, finite and above 1"),
        (-inf, {}, "x = -inf must be a number, finite"),
    ],
)
def test_a_number_out_of_range_is_named_with_what_is_allowed(value, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_number(value, "x", **options)


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1]])
def test_what_is_no_real_number_is_named(value):
    with pytest.raises(TypeError) as caught:
        check_number(value, "x", 0, "a length")
    assert str(caught.value) == f"x = {value!r} must be a length, finite and 0 or more"
    with pytest.raises(TypeError) as caught:
        check_fraction(value)
    assert str(caught.value) == f"p must be a number, not {value!r}"


@pytest.mark.parametrize("value", [1e-300, 0.5, Fraction(1, 3), np.float32(0.25)])
def test_a_fraction_passes(value):
    check_fraction(value)
    check_fraction(value, whole=False)
    check_fraction(1)


@pytest.mark.parametrize("value", [0, -0.5, 1.5, 2, inf, nan])
def test_a_number_that_is_no_fraction_is_named_with_what_is_allowed(value):
    with pytest.raises(ValueError, match=rf"^p = {value} is outside \(0, 1\]$"):
        check_fraction(value)
    with pytest.raises(ValueError, match=rf"^share = {value} is outside \(0, 1\)$"):
        check_fraction(value, "share", whole=False)


def test_the_whole_is_a_fraction_only_where_it_may_be():
    with pytest.raises(ValueError, match=r"^p = 1 is outside \(0, 1\)$"):
        check_fraction(1, whole=False)
