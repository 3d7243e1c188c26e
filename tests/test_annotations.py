"""The annotations of topo are enforced while tests run, and `refused` lets bad input through to topo's own errors."""

import inspect
import pkgutil
from importlib import import_module

import numpy as np
import pytest
from conftest import refused
from jaxtyping import TypeCheckError

import topo
from topo.filters import normalize

MODULES = [module.name for module in pkgutil.walk_packages(topo.__path__, "topo.") if module.name != "topo.compiled"]
FLAT = np.arange(9.0)  # one point without the axis of points


def assert_enforced():
    with pytest.raises(TypeCheckError, match="parameter 'points'"):
        normalize(FLAT)


def test_an_array_of_another_shape_does_not_fit_its_annotation():
    assert normalize(FLAT[None]).shape == (1, 9)
    assert_enforced()


@pytest.mark.parametrize("name", MODULES)
def test_every_function_is_wrapped_in_a_check(name):
    functions = [each for _, each in inspect.getmembers(import_module(name), inspect.isfunction)]
    own = [function for function in functions if function.__module__ == name]
    assert [function.__name__ for function in own if not hasattr(function, "__wrapped__")] == []


def test_refused_meets_the_error_that_a_user_sees():
    with refused(ValueError, match=r"^points must have shape \(n, d\)"):
        normalize(FLAT)
    assert_enforced()


def test_types_are_enforced_again_after_a_block_that_fails():
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        with refused(ValueError):
            normalize(FLAT[None])
    assert_enforced()
    with pytest.raises(KeyError):
        with refused(ValueError):
            raise KeyError
    assert_enforced()
