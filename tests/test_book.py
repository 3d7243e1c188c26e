import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import nbformat
import pytest
from conftest import DERIVED, make_checkout, write_chapter

from topo import book, freshness, machine, parameters


def chapter_of(source, folder):
    return write_chapter(folder / "chapter.ipynb", ["# A chapter", (source, {"tags": ["parameters"]})])


def outputs(path):
    cells = nbformat.read(path, 4).cells
    return [
        "".join(o.get("text") or o.data["text/plain"] for o in cell.outputs)
        for cell in cells
        if cell.cell_type == "code"
    ]


# Parameters


def test_chapters_are_the_notebooks_of_the_table_of_contents(checkout):
    assert book.chapters(checkout) == {name: checkout / "book" / f"{name}.ipynb" for name in ("01-first", "02-second")}
    (checkout / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nparts:\n"
        "  - caption: One\n    chapters:\n      - file: book/01-first\n"
        "        sections:\n          - file: book/02-second\n"
    )
    assert list(book.chapters(checkout)) == ["01-first", "02-second"]
    assert book.chapter("02-second", checkout) == book.chapter(str(checkout / "book/02-second.ipynb"), checkout)
    with pytest.raises(FileNotFoundError, match="_toc.yml is missing"):
        book.chapters(checkout / "book")


def test_parameters_are_read_as_the_cell_declares_them(checkout):
    declared = parameters.chapter_parameters(checkout / "book" / "01-first.ipynb")
    assert declared[0] == parameters.Parameter(
        "k", "int", 200, "neighbour whose distance estimates density", "1 <= k < 64 * networks"
    )
    assert [each.name for each in declared] == ["k", "networks", "p", "snapshots", "source", "seed", "quiet"]
    assert [each.kind for each in declared] == [int, int, float, list[int], str, int | None, bool]
    assert [each.default for each in declared] == [200, 100, 0.3, [100, 400], "archive", None, False]
    assert declared[-1].constraint == ""


def test_the_constraint_is_what_follows_the_last_semicolon(tmp_path):
    (parameter,) = parameters.chapter_parameters(chapter_of("k: int = 2  # a count; as in (5); k > 1", tmp_path))
    assert (parameter.comment, parameter.constraint) == ("a count; as in (5)", "k > 1")


@pytest.mark.parametrize(
    "source, words",
    [
        ("k = 2  # a count", "`k = 2` is not of the form"),
        ("k: int  # a count", "`k: int` is not of the form"),
        ("import os", "`import os` is not of the form"),
        ("k: int = 2", "k has no comment"),
        ("k: int = 2  # ; k > 1", "k has no comment"),
        ("k: int = 1 + n  # a count", "the default 1 \\+ n is no literal"),
        ("k: dict = {}  # a count", "k: the type dict is none of int, float"),
        ("k: tuple[int] = (1,)  # a count", "k: the type tuple"),
        ("k: int = 2.0  # a count", "k = 2.0 is not allowed: it must be int"),
        ("k: int = True  # a count", "k = True is not allowed"),
        ("k: int = 2  # a count; k >", "k: the constraint `k >` is no expression"),
        ("k: int = 2  # a count; k > 2", "k = 2 is not allowed: it must be int with k > 2"),
        ("k: int = 2  # a count; k", "k = 2 is not allowed"),
        ("k: int = 2  # a count; k < n", "the constraint `k < n` uses n"),
        ("k: int = 2  # a count; 1 < 2", "is not about it"),
        ("k: int = 2  # a count; k.real == 2", "is not simple"),
        ("k: int = 2  # a count; (lambda: k)() == 2", "is not simple"),
        ("k: int = 2  # a count; k ** k == 4", "is not simple"),
        ("k: int = 2  # a count; __import__('os') and k", "uses __import__"),
        ("k: int = 2  # a count\nk: int = 3  # a count", "k is declared more than once"),
        ("k: int = (  # a count", "line 1"),
        ("def k():\n    return 1", "`def k.*` is not of the form"),
    ],
)
def test_a_malformed_parameters_cell_is_named(tmp_path, source, words):
    with pytest.raises(ValueError, match=f"chapter: the parameters cell is malformed: .*{words}"):
        parameters.chapter_parameters(chapter_of(source, tmp_path))


def test_one_cell_is_tagged_parameters(tmp_path):
    tagged = ("k: int = 2  # a count", {"tags": ["parameters"]})
    for cells in ([], [tagged, tagged]):
        with pytest.raises(ValueError, match=f"one code cell must be tagged `parameters`; there are {len(cells)}"):
            parameters.chapter_parameters(write_chapter(tmp_path / "chapter.ipynb", cells))
    (tmp_path / "broken.ipynb").write_text("{")
    with pytest.raises(ValueError, match="broken.ipynb is no notebook"):
        parameters.chapter_parameters(tmp_path / "broken.ipynb")
    with pytest.raises(FileNotFoundError, match="gone: .*gone.ipynb is missing"):
        parameters.chapter_parameters(tmp_path / "gone.ipynb")


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("100", int, 100),
        ("1e-3", float, 1e-3),
        ("-1e-3", float, -1e-3),
        ("010", int, "010"),
        ("0x10", int, 16),
        ("[1, 2]", list[int], [1, 2]),
        ("['a', 'b']", list[str], ["a", "b"]),
        ("true", bool, True),
        ("False", bool, False),
        ("null", int | None, None),
        ("None", int | None, None),
        ("archive", str, "archive"),
        ("'archive'", str, "archive"),
        ("12", str, "12"),
        ("true", str, "true"),
        ("12", int | str, 12),
        ("[" * 100_000, list[int], "[" * 100_000),
        ("1; import os", int, "1; import os"),
    ],
)
def test_values_are_read_as_what_they_look_like(text, kind, value):
    read = parameters.parse_value(text, kind)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    "overrides",
    [
        {"k": 1},
        {"k": 6399},
        {"p": 1e-3},
        {"k": 127, "networks": 2},
        {"snapshots": [0]},
        {"source": "train"},
        {"seed": 0},
        {"seed": None},
    ],
)
def test_allowed_values_pass_unchanged(checkout, overrides):
    assert parameters.check(parameters.chapter_parameters(checkout / "book" / "01-first.ipynb"), overrides) == overrides


def test_whole_numbers_become_floats_where_floats_belong(tmp_path):
    declared = parameters.chapter_parameters(
        chapter_of("p: float = 0.5  # a\nq: list[float] = [0.5]  # b\nr: float | None = None  # c", tmp_path)
    )
    checked = parameters.check(declared, {"p": 1, "q": [1, 2.5], "r": 3})
    assert checked == {"p": 1.0, "q": [1.0, 2.5], "r": 3.0}
    assert {type(x) for x in (checked["p"], *checked["q"], checked["r"])} == {float}


@pytest.mark.parametrize(
    "overrides, message",
    [
        (
            {"kk": 1},
            "there is no parameter 'kk' to set to 1 (did you mean k?); "
            "the parameters are k, networks, p, snapshots, source, seed, quiet",
        ),
        ({"k": 0}, "k = 0 is not allowed: it must be int with 1 <= k < 64 * networks (where networks = 100)"),
        ({"k": 6400}, "k = 6400 is not allowed: it must be int with 1 <= k < 64 * networks (where networks = 100)"),
        ({"networks": 3}, "k = 200 is not allowed: it must be int with 1 <= k < 64 * networks (where networks = 3)"),
        ({"k": 2.0}, "k = 2.0 is not allowed: it must be int with 1 <= k < 64 * networks (where networks = 100)"),
        ({"k": True}, "k = True is not allowed: it must be int with 1 <= k < 64 * networks (where networks = 100)"),
        ({"p": 0.0}, "p = 0.0 is not allowed: it must be float with 0 < p <= 1"),
        ({"p": "half"}, "p = 'half' is not allowed: it must be float with 0 < p <= 1"),
        ({"p": float("nan")}, "p = nan is not allowed: it must be float with 0 < p <= 1"),
        ({"p": 10**400}, "p = 1" + 78 * "0" + "… is not allowed: it must be float with 0 < p <= 1"),
        (
            {"snapshots": [100, -1]},
            "snapshots = [100, -1] is not allowed: it must be list[int] with min(snapshots) >= 0",
        ),
        ({"snapshots": []}, "snapshots = [] is not allowed: it must be list[int] with min(snapshots) >= 0"),
        (
            {"snapshots": [100, 0.5]},
            "snapshots = [100, 0.5] is not allowed: it must be list[int] with min(snapshots) >= 0",
        ),
        ({"snapshots": 100}, "snapshots = 100 is not allowed: it must be list[int] with min(snapshots) >= 0"),
        ({"source": "web"}, "source = 'web' is not allowed: it must be str with source in ('archive', 'train')"),
        ({"seed": -1}, "seed = -1 is not allowed: it must be int | None with seed is None or seed >= 0"),
        ({"quiet": 1}, "quiet = 1 is not allowed: it must be bool"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_is(checkout, overrides, message):
    with pytest.raises(ValueError) as caught:
        parameters.check(parameters.chapter_parameters(checkout / "book" / "01-first.ipynb"), overrides)
    assert str(caught.value).replace('"', "'") == message


# Running a chapter


def test_a_run_takes_the_parameters_and_leaves_the_source_alone(checkout, tmp_path, monkeypatch):
    rogue = tmp_path / "rogue" / "kernels" / "python3"
    rogue.mkdir(parents=True)
    (rogue / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "rogue"))
    monkeypatch.setenv("EXPECTED_PREFIX", sys.prefix)
    before = {path: path.read_bytes() for path in (checkout / "book").rglob("*") if path.is_file()}

    source = checkout / "book" / "01-first.ipynb"
    overrides = {"k": 7, "p": 1, "snapshots": [1, 2], "source": "train", "quiet": True, "seed": 5}
    out = book.run_chapter(source, overrides, tmp_path / "new" / "out.ipynb")

    assert "7 1.0 [1, 2] 'train' 5 True 6400\n" in outputs(out)
    injected = [cell for cell in nbformat.read(out, 4).cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert len(injected) == 1 and "k = 7\n" in injected[0].source
    note, figure = (nbformat.read(out, 4).cells[i] for i in (1, -2))
    assert note.cell_type == "markdown" and "`k = 7` instead of `200`" in note.source and "networks" not in note.source
    assert "`source = 'train'` instead of `'archive'`" in note.source
    about = figure.metadata["mystnb"]
    assert (about["figure"]["caption"], about["image"]["alt"]) == ("A line.", "A line.")
    assert {path: path.read_bytes() for path in (checkout / "book").rglob("*") if path.is_file()} == before
    assert os.listdir(out.parent) == ["out.ipynb"]
    assert str(tmp_path) not in json.dumps(nbformat.read(out, 4).metadata)


def test_a_chapter_that_raises_is_named_with_its_cell(checkout, tmp_path):
    source, out = checkout / "book" / "02-second.ipynb", tmp_path / "out.ipynb"
    out.write_text("an earlier run")
    with pytest.raises(book.BookError) as caught:
        book.run_chapter(source, {"fail": True, "n": 3}, out)
    failed = tmp_path / "out.failed.ipynb"
    assert str(caught.value) == f"02-second: cell 4, `if fail:`, raised RuntimeError: no luck with 3; see {failed}"
    assert out.read_text() == "an earlier run"
    assert any(o.output_type == "error" for cell in nbformat.read(failed, 4).cells for o in cell.get("outputs", []))
    book.run_chapter(source, {"n": 3}, out)
    assert outputs(out)[-1] == "4" and not failed.exists()


@pytest.mark.tried("faults")
def test_a_kernel_that_dies_is_named_with_its_cell(tmp_path, monkeypatch):
    cells = ["# A chapter", ("n: int = 1  # a count", {"tags": ["parameters"]}), ("import os\nos._exit(9)", {})]
    with pytest.raises(book.BookError, match="^chapter: cell 3 did not end: Kernel died"):
        book.run_chapter(write_chapter(tmp_path / "chapter.ipynb", cells), {}, tmp_path / "runs" / "out.ipynb")
    assert os.listdir(tmp_path / "runs") == []

    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(book.BookError, match="^chapter: its kernel did not start: Kernel died"):
        book.run_chapter(tmp_path / "chapter.ipynb", {}, tmp_path / "runs" / "out.ipynb")


def test_notebooks_are_imported_without_parsers_that_nobody_needs():
    source = "import sys; from topo import book; import papermill; print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], cwd=book.ROOT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("False\n", 0)


def test_a_kernel_whose_ports_were_taken_starts_again(tmp_path, monkeypatch):
    cells = [("k: int = 1  # a count; k >= 1", {"tags": ["parameters"]}), ("k + 41", {})]
    chapter, mark = write_chapter(tmp_path / "chapter.ipynb", cells), tmp_path / "started"
    (tmp_path / "ipykernel_launcher.py").write_text(
        f"import pathlib\nmark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists():\n    mark.touch()\n    raise SystemExit(1)\n"
        "from ipykernel import kernelapp\nkernelapp.launch_new_instance()"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    out = book.run_chapter(chapter, {}, tmp_path / "runs" / "out.ipynb")
    assert mark.exists() and outputs(out) == ["", "42"]


def test_a_run_checks_everything_before_it_starts(checkout, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "papermill", None)
    source = checkout / "book" / "02-second.ipynb"
    for out in (source, checkout / "book" / "new.ipynb", tmp_path / "out.html", tmp_path):
        with pytest.raises(
            ValueError, match=re.escape(f"{out} is not allowed as output: it must be a file *.ipynb outside")
        ):
            book.run_chapter(source, {}, out)
    with pytest.raises(ValueError, match="n = 0 is not allowed"):
        book.run_chapter(source, {"n": 0}, tmp_path / "out.ipynb")
    assert not (tmp_path / "out.ipynb").exists()


def test_a_run_is_named_after_its_parameters(checkout):
    name = lambda **overrides: book.default_output("05-mnist.ipynb", overrides, checkout).name
    out = book.default_output("05-mnist.ipynb", {"k": 100, "p": 1e-3, "snapshots": [1, 2]}, checkout)
    assert out == checkout / "_build" / "runs" / "05-mnist-k=100-p=0.001-snapshots=1,2.ipynb"
    assert name() == "05-mnist.ipynb"
    assert re.fullmatch(r"05-mnist-source=\.\.x-[0-9a-f]{8}\.ipynb", name(source="../x"))
    long = [name(archive="x" * 999 + last) for last in "ab"]
    assert long[0] != long[1] and max(map(len, long)) < 255
    assert len({name(source=text) for text in ("a b", "ab", "a/b", "a, b", "a,b")}) >= 4


# The book


class _Page(HTMLParser):
    """Pictures, formulas, and what the page would fetch from elsewhere when it is opened."""

    def __init__(self, path):
        super().__init__()
        self.pictures, self.formulas, self.fetched = {}, 0, []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.formulas += tag == "math"
        if tag == "img":
            self.pictures[attributes.get("alt")] = attributes["src"]
        address = (
            attributes.get("src")
            if tag in ("script", "img", "iframe")
            else attributes.get("href")
            if tag == "link"
            else None
        )
        if address and re.match(r"(https?:)?//", address):
            self.fetched.append(address)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A checkout whose book was built with its outputs refreshed."""
    root = make_checkout(tmp_path_factory.mktemp("built") / "checkout")
    lines = []
    assert book.build(refresh=True, root=root, report=lines.append) == root / "_build" / "html"
    assert sorted(line.split(" in ")[0] for line in lines) == ["01-first executed", "02-second executed", "rendered"]
    return root


def test_the_pages_show_pictures_and_formulas_without_a_network(built):
    html = built / "_build" / "html"
    first, intro = _Page(html / "book" / "01-first.html"), _Page(html / "book" / "intro.html")
    assert first.formulas == 2
    assert (html / "book" / first.pictures["One straight line that falls."]).resolve().exists()
    assert (html / "book" / intro.pictures["The line"]).resolve().exists()
    assert first.fetched == intro.fetched == []
    text = (html / "book" / "01-first.html").read_text("utf-8")
    assert "to be dropped" not in text and "A line. It goes from k to the networks." in text


def test_a_page_with_exercises_says_how_long_its_chapter_ran(built):
    second, first = (
        (built / "_build" / "html" / "book" / f"0{n}.html").read_text("utf-8") for n in ("2-second", "1-first")
    )
    heading, said = re.search(r'<section id="exercises">\s*(<h2>.*?</h2>)\s*<p>(.*?)</p>', second, re.DOTALL).groups()
    processors = machine.processors()
    on = f"{processors} processors" if processors > 1 else "one processor"
    assert "Exercises" in heading and said == f"When this page was made, its code ran for about 10 seconds on {on}."
    assert "When this page was made" not in first


@pytest.mark.parametrize("jobs", [1, 2])
def test_chapters_executed_side_by_side_share_the_threads_of_blas(tmp_path, monkeypatch, jobs):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    printing = "import os\nprint(os.environ['OMP_NUM_THREADS'])"
    cells = [("n: int = 1  # of nothing", {"tags": ["parameters"]}), (printing, {})]
    path = write_chapter(tmp_path / "chapter.ipynb", cells)
    (out := tmp_path / "out").mkdir()
    store = freshness.Store(tmp_path / "fresh", "", tmp_path)
    book._execute([path], out, jobs, lambda line: None, store)
    (printed,) = nbformat.read(out / path.name, 4).cells[-1].outputs
    assert int(printed.text) == max(1, machine.processors() // jobs)
    assert machine.share_of_threads(10**6) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert machine.share_of_threads(jobs) == {"OMP_NUM_THREADS": "7"}


@pytest.fixture(scope="module")
def twice(built, tmp_path_factory):
    """A checkout with an address, of which two builds were started at once."""
    root = tmp_path_factory.mktemp("twice") / "checkout"
    shutil.copytree(built, root, ignore=shutil.ignore_patterns("_build"))
    config = root / "_config.yml"
    address = 'url: "https://github.com/someone/topo"'
    config.write_text(re.sub(r'url: ""', address, config.read_text("utf-8")))
    outs, lines = [root / "one", root / "two"], [[], []]
    with ThreadPoolExecutor() as pool:
        builds = [pool.submit(book.build, out, [], root=root, report=said.append) for out, said in zip(outs, lines)]
        assert [build.result() for build in builds] == outs
    return root, lines


def test_of_two_builds_at_once_one_waits_and_both_are_whole(twice):
    root, lines = twice
    waited = [any("another build works" in line for line in said) for said in lines]
    assert sorted(waited) == [False, True] and all(said[-1].startswith("rendered") for said in lines)
    one, two = (sorted(path.relative_to(root / out) for path in (root / out).rglob("*")) for out in ("one", "two"))
    assert one == two and len(one) > 50
    assert [path.name for path in root.glob(".*")] == []


def test_pages_lead_to_the_repository_where_one_is_named(twice, built):
    root, _ = twice
    page = (root / "one" / "book" / "01-first.html").read_text("utf-8")
    assert 'href="https://github.com/someone/topo"' in page
    path = "book/01-first.ipynb"
    assert f'href="https://mybinder.org/v2/gh/someone/topo/main?urlpath=lab/tree/{path}"' in page
    assert f'href="https://colab.research.google.com/github/someone/topo/blob/main/{path}"' in page
    for nowhere in (built / "_build" / "html").rglob("*.html"):
        assert not re.search("mybinder|colab|github.com/someone", nowhere.read_text("utf-8"))


def test_refreshed_outputs_do_not_change_from_run_to_run(built, tmp_path):
    source = built / "book" / "01-first.ipynb"
    notebook = nbformat.read(source, 4)
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [1, 2, 3, 4]
    assert outputs(source)[1:3] == ["200 0.3 [100, 400] 'archive' None False 1920\n", ""]
    assert set(notebook.metadata) == {"kernelspec", "language_info"} and all(
        "papermill" not in cell.metadata for cell in notebook.cells
    )
    assert not (built / "book" / "left-behind.txt").exists()
    assert (built / "book" / "images" / "fig-01-line.png").read_bytes().startswith(b"\x89PNG")

    unchanged = nbformat.read(source, 4).cells
    assert "other parameters" not in unchanged[1].source
    assert unchanged[-2].metadata["mystnb"]["image"]["alt"] == "One straight line that falls."
    copy = shutil.copy(source, tmp_path / "01-first.ipynb")
    book._save_outputs(book.run_chapter(source, {}, tmp_path / "again" / "01-first.ipynb"), tmp_path / "01-first.ipynb")
    assert copy.read_bytes() == source.read_bytes()


def test_nbval_compares_numbers_and_not_times(tmp_path):
    show = "class Thing:\n    pass\nprint(Thing(), f'{n} networks in {time.perf_counter():.3f} s')"
    table = "HTML(f'<table><tr><td>{n / 3:.4f}</td></tr></table>')"
    imports = "import time\nfrom IPython.display import HTML"
    source = write_chapter(
        tmp_path / "chapter.ipynb",
        ["# A chapter", ("n: int = 100  # networks", {"tags": ["parameters"]}), (imports, {}), (show, {}), (table, {})],
    )
    book._save_outputs(book.run_chapter(source, {}, tmp_path / "runs" / "chapter.ipynb"), source)
    settings = book.ROOT / "tests" / "nbval.cfg"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        f"--nbval-sanitize-with={settings}",
        "chapter.ipynb",
    ]
    saved = source.read_text()
    for text, failures in (
        (saved, 0),
        (saved.replace("33.3333<", "33.3334<"), 1),
        (saved.replace("100 networks in", "101 networks in"), 1),
    ):
        assert (text != saved) == bool(failures)
        source.write_text(text)
        result = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
        assert result.returncode == bool(failures) and f"{4 - failures} passed" in result.stdout, result.stdout


def test_outputs_are_not_saved_over_a_chapter_that_was_edited(built, tmp_path):
    executed = built / "_build" / "executed" / "book" / "01-first.ipynb"
    edited = tmp_path / "01-first.ipynb"
    edited.write_text(executed.read_text().replace(DERIVED.splitlines()[0], "kept = 1"))
    before = edited.read_bytes()
    with pytest.raises(book.BookError, match="01-first: it was edited while it was executed"):
        book._save_outputs(executed, edited)
    assert edited.read_bytes() == before


def test_a_chapter_that_fails_stops_the_book_and_leaves_the_last_one(checkout):
    html = checkout / "_build" / "html"
    html.mkdir(parents=True)
    (html / ".buildinfo").touch()
    source = checkout / "book" / "02-second.ipynb"
    source.write_text(source.read_text().replace("fail: bool = False", "fail: bool = True"))
    before = source.read_bytes()
    with pytest.raises(
        book.BookError,
        match=r"^02-second: cell 3, `if fail:`, raised RuntimeError: no luck with 1; see \S.*failed.ipynb$",
    ):
        book.build(names=["02-second"], refresh=True, root=checkout)
    assert os.listdir(html) == [".buildinfo"] and source.read_bytes() == before


def test_a_warning_stops_the_book(checkout, capfd):
    with open(checkout / "book" / "intro.md", "a") as page:
        page.write("\n{cite}`nobody2000`, $\\nosuchcommand$\n")
    with pytest.raises(book.BookError, match="had warnings"):
        book.build(names=[], root=checkout)
    warnings = capfd.readouterr().err
    assert "nobody2000" in warnings and "nosuchcommand" in warnings and "fig-01-line.png" in warnings
    assert not (checkout / "_build" / "html").exists()


def test_a_book_is_refused_before_anything_runs(checkout, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "draft.tex").touch()
    with pytest.raises(ValueError, match="thesis holds something other than a book"):
        book.build(out=tmp_path / "thesis", root=checkout)
    with pytest.raises(ValueError, match="jobs = 0 must be a whole number, 1 or more"):
        book.build(jobs=0, root=checkout)
    with pytest.raises(
        ValueError,
        match=r"there is no chapter '2-second' \(did you mean 02-second\?\); the chapters are 01-first, 02-second",
    ):
        book.build(names=["2-second"], root=checkout)
    chapter_of("k = 1", checkout / "book").replace(checkout / "book" / "02-second.ipynb")
    with pytest.raises(ValueError, match="02-second: the parameters cell is malformed"):
        book.build(root=checkout)
    assert not (checkout / "_build").exists()


PARAMETERS_OF_SECOND = (
    "n: int = 1  # a count; n >= 1\nfail: bool = False  # whether to raise",
    {"tags": ["parameters"]},
)
ASSERTING = """from topo import book
book.check_parameters()
changed = book.overridden()
assert changed or n == 1, "the finding"
print("changed:", *changed)"""


def test_a_chapter_knows_which_parameters_were_changed(checkout, tmp_path):
    path = write_chapter(checkout / "book" / "02-second.ipynb", ["# Second", PARAMETERS_OF_SECOND, (ASSERTING, {})])
    told = lambda overrides: (
        nbformat.read(book.run_chapter(path, overrides, tmp_path / "out.ipynb"), 4).cells[-1].outputs[0].text
    )
    assert told({}).split() == ["changed:"] == told({"n": 1}).split()  # a value that is the default changes nothing
    assert told({"n": 2}).split() == ["changed:", "n"] and told({"fail": True, "n": 3}).split() == [
        "changed:",
        "n",
        "fail",
    ]


def test_another_default_does_not_switch_the_assertions_off(checkout, tmp_path):
    changed = ("n: int = 2  # a count; n >= 1\nfail: bool = False  # whether to raise", {"tags": ["parameters"]})
    path = write_chapter(checkout / "book" / "02-second.ipynb", ["# Second", changed, (ASSERTING, {})])
    with pytest.raises(book.BookError, match="the finding"):
        book.run_chapter(path, {}, tmp_path / "out.ipynb")


def test_outside_a_run_no_parameter_counts_as_changed():
    assert book.overridden() == ()
