"""The examples in docstrings, run as they stand. `np` is NumPy in all of them."""

import doctest
import pkgutil
from importlib import import_module

import numpy as np
import pytest

import topo

MODULES = [module.name for module in pkgutil.walk_packages(topo.__path__, "topo.") if module.name != "topo.__main__"]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_say(name):
    failed, _ = doctest.testmod(import_module(name), extraglobs={"np": np})
    assert not failed


def test_examples_are_found():
    """Without this, a finder that overlooks a module would let the test above pass."""
    find = doctest.DocTestFinder(exclude_empty=True).find
    count = {name: sum(len(found.examples) for found in find(import_module(name))) for name in MODULES}
    assert count["topo.notation"] >= 2 and count["topo.networks"] >= 3 and sum(count.values()) >= 13
