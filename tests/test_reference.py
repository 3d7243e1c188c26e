"""The pages of the package: everything public is there, as it is written."""

import ast
import importlib.util
import re

import pytest

from topo import book, figures

spec = importlib.util.spec_from_file_location("reference", book.ROOT / "book" / "_extensions" / "reference.py")
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
MODULES = reference.modules()


def described(name):
    return re.findall(
        r"^ *\.\. py:(\w+):: (\w+)", "\n".join(reference.page(f"topo.{name}", MODULES[name])), re.MULTILINE
    )


def test_every_module_has_a_page():
    files = {path.stem for path in (book.ROOT / "topo").glob("*.py")} - {"__init__", "__main__"}
    assert set(MODULES) == files | {"figures"}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"figures", "types"}))
def test_what_is_public_and_has_a_docstring_is_described(name):
    tree = ast.parse(MODULES[name].read_text("utf-8"))
    defined = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    public = [node.name for node in defined if ast.get_docstring(node) and not node.name.startswith("_")]
    kinds = ("function", "class")
    assert [each for kind, each in described(name) if kind in kinds] == public


def test_of_figures_it_is_what_the_package_exports():
    listed = {name for kind, name in described("figures") if kind in ("function", "class")}
    assert listed == {name for name in figures.__all__ if callable(getattr(figures, name))}


def test_signatures_have_the_types_and_axes_that_are_written():
    lines = list(reference.page("topo.density", MODULES["density"]))
    assert ".. py:function:: densest(points: PointsLike, k: Whole, p: Number) -> Float[np.ndarray, 'kept dim']" in lines
    lines = list(reference.page("topo.evidence", MODULES["evidence"]))
    fields = "landmarks: Whole=100, nu: Whole=1, floor: Number=0.05, least: Number=3.0, most: Whole=5"
    assert f".. py:class:: Loops({fields})".replace(" ", "") in [line.replace(" ", "") for line in lines]
    method = "   .. py:method:: ratio(cloud: PointsLike | Barcode, loops: Whole=1) -> float"
    assert (
        method in lines
        and "   >>> circle = np.stack([np.cos(np.arange(300)), np.sin(np.arange(300))], axis=1)" in lines
    )


def test_docstrings_are_plain_sentences():
    said = "Take x_ and *y*, |z| of `topo.density`, `2n + 1`."
    said += "\n\nfirst: a thing,\n    at length.\nsecond: another.\n\n>>> a_\n1"
    marked = "\n".join(reference._prose(said))
    assert marked.startswith(r"Take x\_ and \*y\*, \|z\| of :py:obj:`topo.density`, ``2n + 1``.")
    assert "\n* first: a thing,\n    at length.\n* second: another.\n\n>>> a_\n1" in marked
