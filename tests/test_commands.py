"""Commands that README, guides, pages and messages print run as printed, from the project's folder."""

import re
import shlex
import subprocess

import nbformat
import papermill
import pytest

from topo import book, datasets, parameters, populations, sweep
from topo.__main__ import _keep_negative_values, command_line

PYTHON = ".venv/bin/python"
PAGES = [book.ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/samples/README.md")]
PAGES += sorted((book.ROOT / "book").glob("*.md"))
CHAPTERS = {**book.chapters(), book.TEMPLATE: book.chapter(book.TEMPLATE)}
TARGETS = set(re.findall(r"^(\w+):", (book.ROOT / "Makefile").read_text(), re.MULTILINE))
each_chapter = pytest.mark.parametrize("name", CHAPTERS)


def texts():
    """{name: text} of all that readers read, where commands may stand."""
    found = {path.name: path.read_text("utf-8") for path in PAGES}
    for name, path in CHAPTERS.items():
        found[name] = "\n\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    return found


def commands(text):
    """The commands of a text, as lists of words: lines of fenced blocks, and code in lines."""
    blocks = re.findall(r"^```(?:text|bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [" ".join(each.split()) for each in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    return [
        shlex.split(line, comments=True) for line in lines if re.match(r"make \w|papermill|\.?[\w./]*python3? ", line)
    ]


PRINTED = [(name, words) for name, text in texts().items() for words in commands(text)]


def test_they_are_found():
    assert len(PRINTED) > 80 and all(any(name == each for each, _ in PRINTED) for name in ("README.md", "05-mnist"))


@pytest.mark.parametrize("name, words", PRINTED, ids=[f"{name}: {shlex.join(words)}" for name, words in PRINTED])
def test_a_command_runs_as_printed(name, words):
    if words[0] == "make":
        assert words[1] in TARGETS
        return
    if words == ["python3", "-m", "venv", ".venv"]:
        return
    assert words[:2] == [PYTHON, "-m"], "every command is written as the README writes it"
    module, *rest = words[2:]
    if module == "topo":
        check_topo(rest)
    elif module.startswith("benchmarks."):
        assert (book.ROOT / f"{module.replace('.', '/')}.py").exists()
    elif module == "pytest":
        paths = [word for word in rest if word.startswith(("tests", "book"))]
        assert all((book.ROOT / path).exists() for path in paths)
    else:
        assert module in ("ruff", "mypy", "bandit", "pip", "papermill")


def check_topo(words):
    """Parse the words of a command, and check what it names where nothing stands for something else."""
    if words[-1] == "--help" or words == ["COMMAND"]:
        return
    given = command_line().parse_args(_keep_negative_values(words))
    if any(re.search(r"\b[A-Z]{2,}\b", word) for word in words):  # NAME, FILE
        return
    if words[0] == "run":
        declared = parameters.chapter_parameters(book.chapter(given.chapter))
        kinds = {each.name: each.kind for each in declared}
        assert sweep.plan(declared, {n: parameters.parse_values(text, kinds[n]) for n, text in given.parameters})
    elif words[0] == "train":
        assert all(populations.plan(each) for each in given.names)
    elif words[0] == "data":
        assert set(given.names) <= {*datasets.COLLECTIONS, "verify", "sample"}
    elif words[0] == "book":
        assert all(book.chapter(each) for each in given.chapters or ())


def test_nothing_prints_another_form_of_a_command():
    listed = subprocess.run(["git", "ls-files"], cwd=book.ROOT, capture_output=True, text=True)
    files = listed.stdout.split() or pytest.skip("this is no checkout of Git")
    bare = re.compile(
        r"(?<!\.venv/bin/)(?<!\$\(run\) -m )(python -m (topo|benchmarks)|`topo (run|train|data|book|inspect)\b)"
    )
    shown = [name for name in files if name.endswith((".md", ".py", ".yml")) and not name.startswith("tests/")]
    found = [name for name in shown if bare.search((book.ROOT / name).read_text("utf-8"))]
    assert found + [name for name, text in texts().items() if bare.search(text)] == []


@each_chapter
def test_papermill_lists_all_parameters_with_their_meaning(name, caplog):
    listed = papermill.inspect_notebook(str(CHAPTERS[name]))
    declared = parameters.chapter_parameters(CHAPTERS[name])
    assert list(listed) == [each.name for each in declared] and not caplog.records
    assert all(listed[each.name]["help"].startswith(each.comment) for each in declared)


@each_chapter
def test_a_chapter_checks_its_parameters_before_it_uses_them(name):
    code = [cell.source for cell in nbformat.read(CHAPTERS[name], 4).cells if cell.cell_type == "code"]
    (checking,) = [i for i, source in enumerate(code) if "book.check_parameters()\n" in source]
    assert checking == 1, "the first cell after the parameters"
    before = code[1].split("book.check_parameters()")[0]
    assert all(re.match(r"import |from |$", line) for line in before.splitlines())
