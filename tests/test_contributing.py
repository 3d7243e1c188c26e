"""What CONTRIBUTING.md says of the package is so: its modules, which way imports go, and the files that it names."""

import ast
import re

import pytest
import yaml

from topo.book import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
LISTED = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
SOURCES = {path.stem: [path] for path in (ROOT / "topo").glob("*.py") if path.stem != "__init__"}
SOURCES["figures"] = sorted((ROOT / "topo" / "figures").glob("*.py"))


def imported(paths):
    """Names of the modules of topo that some files import when they run; not what only a type checker imports."""
    for path in paths:
        tree = ast.parse(path.read_text("utf-8"))
        for_types = [
            node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ]
        skipped = {node for each in for_types for node in ast.walk(each)}
        for node in set(ast.walk(tree)) - skipped:
            if isinstance(node, ast.ImportFrom) and node.module == "topo":
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("topo."):
                yield node.module.split(".")[1]


def test_every_module_is_listed_once():
    assert sorted(LISTED) == sorted(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_imports_only_those_that_are_listed_below_it(name):
    below = LISTED[LISTED.index(name) + 1 :]
    assert set(imported(SOURCES[name])) - {name} <= set(below)


def test_no_module_of_figures_imports_another_that_imports_it():
    assert not [name for name in imported([ROOT / "topo" / "figures" / "style.py"]) if name == "figures"]


def test_the_files_that_it_names_are_there():
    named = set(re.findall(r"`((?:topo|tests|book|data|benchmarks)/[\w/.-]+\.\w+)`", TEXT)) - {
        "book/NN-short-name.ipynb"
    }
    assert len(named) >= 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_front_page_cites_what_the_citation_file_says():
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    page, (paper,) = (ROOT / "book" / "intro.md").read_text("utf-8"), said["references"]
    entries = dict(re.findall(r"@misc\{(\w+),\n(.*?)\n\}", page, re.DOTALL))
    own, theirs = (dict(re.findall(r"(\w+) += \{(.*)\}", entries[key])) for key in ("topo", "gabrielsson2018look"))
    year = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["copyright"]
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)[1]
    assert said["version"] == version
    author = "{" + said["authors"][0]["name"] + "}"
    assert own == {"title": said["title"], "author": author, "year": year, "note": f"Version {version}"}
    names = " and ".join(f"{each['family-names']}, {each['given-names']}" for each in paper["authors"])
    assert theirs == {"title": paper["title"], "author": names, "year": str(paper["year"]), "note": paper["notes"]}


def test_binder_installs_the_pins():
    folder = ROOT / "binder"
    (line,) = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert (folder / line.removeprefix("-r ")).resolve() == ROOT / "requirements.txt"
    assert (folder / "runtime.txt").read_text().strip().removeprefix("python-") in ("3.10", "3.11", "3.12")
    assert (folder / "postBuild").stat().st_mode & 0o111 and "--no-deps" in (folder / "postBuild").read_text()
