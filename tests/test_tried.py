"""The page "What was tried" lists the tests that are marked, all of them and no other."""

import ast
import json

from topo import book


def marked(path):
    """Names of the tests in a file that are marked `tried`, with the kind: the whole module's, or their own."""
    tree = ast.parse(path.read_text("utf-8"))

    def kind(nodes):
        for call in (node for node in nodes if isinstance(node, ast.Call)):
            if ast.unparse(call.func) == "pytest.mark.tried":
                return call.args[0].value

    whole = kind(node.value for node in tree.body if isinstance(node, ast.Assign))
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    kinds = {test.name: kind(test.decorator_list) or whole for test in tests}
    return {(each, name.removeprefix("test_").replace("_", " ")) for name, each in kinds.items() if each}


def test_the_page_lists_the_tests_that_are_marked():
    known = set().union(*map(marked, (book.ROOT / "tests").glob("test_*.py")))
    listed = json.loads((book.ROOT / "data" / "tried.json").read_text())
    assert len(known) > 60 and {(each["kind"], each["case"]) for each in listed} == known, "`make tried` writes it anew"
    assert all(each["count"] >= 1 and each["result"] in ("held", "skipped") for each in listed)
