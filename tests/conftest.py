"""Annotations enforced, and a small checkout: package and configuration around a book of two short chapters."""

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from pkgutil import iter_modules

import jaxtyping
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
if "PYTEST_XDIST_WORKER" not in os.environ:  # pytest-xdist's workers inherit it
    os.environ["TOPO_CHECKPOINTS"] = tempfile.mkdtemp(prefix="topo-tests-")  # not among those of a real training
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = tempfile.mkdtemp(prefix="topo-tests-hypothesis-")
    # Most of a training test is compilation: a program that one test has compiled is ready for all others.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="topo-tests-jax-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # And most of a compilation is LLVM's optimisation, which programs that run for a moment do not earn back.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as chapters have it that a build executes two at a time

APART = ("test_variants.py",)  # its tests take a minute each and share nothing

# numba compiles the functions of topo.compiled and would not compile a check around them.
HOOKED = [f"topo.{module.name}" for module in iter_modules([str(ROOT / "topo")]) if module.name != "compiled"]
jaxtyping.install_import_hook(HOOKED, "beartype.beartype")

PARAMETERS = """k: int = 200               # neighbour whose distance estimates density; 1 <= k < 64 * networks
networks: int = 100        # networks looked at; 1 <= networks <= 100
p: float = 0.3             # fraction of points kept; 0 < p <= 1
snapshots: list[int] = [100, 400]  # iterations shown; min(snapshots) >= 0
source: str = "archive"    # where filters come from; source in ("archive", "train")
seed: int | None = None    # of the bootstrap; seed is None or seed >= 0
quiet: bool = False        # whether to say less"""
DERIVED = """kept = int(p * 64 * networks)
print(k, p, snapshots, repr(source), seed, quiet, kept)"""
SURROUNDINGS = """import os, sys
import topo
open("left-behind.txt", "w").close()
print("to be", "dropped", file=sys.stderr)
assert os.path.exists("references.bib")
assert os.path.samefile(sys.prefix, os.environ.get("EXPECTED_PREFIX", sys.prefix))"""
FIGURE = """import matplotlib.pyplot as plt
plt.plot([k, networks]);"""
ABOUT_THE_FIGURE = {
    "figure": {"name": "fig-01-line", "caption": "A line. It goes from k to the networks."},
    "image": {"alt": "One straight line that falls."},
}


def without_zeromq(err):
    """Error output without the line that ZeroMQ can leave where a kernel ends; the run is over then, and whole."""
    return "".join(line for line in err.splitlines(keepends=True) if ".cpp:" not in line)


@contextmanager
def refused(error, match=None):
    """`pytest.raises` for input of another type or shape than is annotated, which then meets topo's own error."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(error, match=match) as caught:
            yield caught
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def write_chapter(path, cells):
    """Write a notebook of markdown (text) and code ((source, metadata)) cells."""
    made = [
        new_markdown_cell(cell, id=f"cell-{i}")
        if isinstance(cell, str)
        else new_code_cell(cell[0], metadata=cell[1], id=f"cell-{i}")
        for i, cell in enumerate(cells)
    ]
    nbformat.write(new_notebook(cells=made), path)
    return path


def make_checkout(root):
    """A checkout at `root` whose book is small."""
    shutil.copytree(ROOT / "topo", root / "topo", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "book" / "_extensions", root / "book" / "_extensions", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "_config.yml", root)
    shutil.copy(ROOT / "book" / "references.bib", root / "book")
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nchapters:\n  - file: book/01-first\n  - file: book/02-second\n"
    )
    (root / "book" / "intro.md").write_text(
        "# A book\n\n![The line](images/fig-01-line.png)\n\n```{bibliography}\n```\n"
    )
    parameters = (PARAMETERS, {"tags": ["parameters"]})
    figure = (FIGURE, {"mystnb": ABOUT_THE_FIGURE})
    formula = (
        "$$\n\\rho(k, p) = \\left\\{x : d_k(x) \\le q_p\\right\\}\n$$ (rho)\n\nand $\\mathbb{R}^9$, see {eq}`rho`."
    )
    question = "# First\n\nWhat is it {cite:t}`lee2003patches`?"
    write_chapter(
        root / "book" / "01-first.ipynb", [question, parameters, (DERIVED, {}), (SURROUNDINGS, {}), figure, formula]
    )
    second = ("n: int = 1  # a count; n >= 1\nfail: bool = False  # whether to raise", {"tags": ["parameters"]})
    raising = ("if fail:\n    raise RuntimeError(f'no luck\\nwith {n}')\nn + 1", {})
    write_chapter(
        root / "book" / "02-second.ipynb",
        ["# Second\n\nSee {numref}`fig-01-line`.\n\n## Exercises\n\nCount.", second, raising],
    )
    return root


@pytest.fixture
def checkout(tmp_path):
    return make_checkout(tmp_path / "{checkout} with braces")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """The folder of the whole book's pages, of committed outputs but for one short chapter, which is executed.

    Rendering takes a minute, so that the first process that needs it does it for all.
    """
    from topo import book, files

    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root, done = base / "whole-book", base / "whole-book-is-rendered"
    with files.locked(base / "whole-book.lock"):
        if not done.exists():
            shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("__pycache__"))
            for name in ("_config.yml", "_toc.yml"):
                shutil.copy(ROOT / name, root)
            book.build(root=root, names=["performance"], report=lambda line: None)
            done.touch()
    return root / "_build" / "html"


def pytest_addoption(parser):
    parser.addoption("--tried", metavar="FILE", help="write what the tests marked `tried` found, as a list in JSON")


tried = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Note the result of a test marked tried("kind"); one that records a property "count" stands for so many cases."""
    report, mark = (yield).get_result(), item.get_closest_marker("tried")
    if mark and (report.when == "call" or not report.passed):
        case = item.originalname.removeprefix("test_").replace("_", " ")
        entry = tried.setdefault(
            (mark.args[0], case),
            {"kind": mark.args[0], "case": case, "result": "held", "count": 0, "date": date.today().isoformat()},
        )
        entry["count"] += dict(report.user_properties).get("count", 1)
        if not report.passed:
            entry["result"] = report.outcome


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give the tests of a file to one process, files with most tests first; each test of APART by itself, last."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return nodeid if Path(file).name in APART else file

    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_sessionfinish(session):
    if path := session.config.getoption("--tried"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(sorted(tried.values(), key=lambda row: row["kind"]), indent=1) + "\n")


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        for folder in ("TOPO_CHECKPOINTS", "HYPOTHESIS_STORAGE_DIRECTORY", "JAX_COMPILATION_CACHE_DIR"):
            shutil.rmtree(os.environ[folder], ignore_errors=True)
