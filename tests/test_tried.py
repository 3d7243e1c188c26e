"""What the page "What was tried" shows: rows of tests that there are, all of them, and none that failed."""

import ast
import json
from pathlib import Path

import fuzzing

from topo import book

FOLDER = book.ROOT / "data" / "tried"


def rows(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def marks(nodes):
    """The kinds of the marks tried(...) among expressions."""
    calls = [each for node in nodes for each in ast.walk(node) if isinstance(each, ast.Call)]
    return [each.args[0].value for each in calls if ast.unparse(each.func) == "pytest.mark.tried"]


def marked():
    """(kind, case) of every test that is marked."""
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        body = ast.parse(path.read_text()).body
        whole = marks(
            each for each in body if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "pytestmark"
        )
        for test in body:
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                case = test.name.removeprefix("test_").replace("_", " ")
                found |= {(kind, case) for kind in whole + marks(test.decorator_list)}
    return found


def test_the_tests_that_are_marked_are_those_of_the_page_and_none_failed():
    shown = rows("tests")
    assert {(row["kind"], row["case"]) for row in shown} == marked(), "run `make tried`"
    assert {row["kind"] for row in shown} == {"faults", "downloads", "files"}
    assert {row["result"] for row in shown} <= {"held", "skipped"} and all(row["count"] >= 1 for row in shown)


def test_every_kind_of_input_was_tried_and_all_were_read_or_refused():
    shown = {row["case"]: row for row in rows("inputs")}
    assert set(shown) == set(fuzzing.targets()), "run `make fuzz`"
    assert all(row["read"] + row["refused"] == row["count"] >= 1_000 for row in shown.values())


def test_every_load_was_held():
    shown = {row["case"]: row for row in rows("loads")}
    for kernel in ("density", "lazy witness", "Mapper"):
        assert shown[f"filters: {kernel}"]["count"] == 1_000_000
    assert not [row["case"] for row in shown.values() if row["result"].startswith("not done")]
