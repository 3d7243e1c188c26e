"""Runs side by side, their names and their page; and a run as a page of the book."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from urllib.parse import unquote

import nbformat
import pytest
from conftest import make_checkout, write_chapter

from topo import book, parameters, results, sweep

PARAMETERS = """n: int = 1  # a count, of things; n ≥ 1
name: str = "a"  # what it is called
scale: float = 0.5  # of the line; 0 < scale ≤ n"""
COMPUTING = f"""import matplotlib.pyplot as plt
from IPython.display import display

from topo import book

book.check_parameters()
if n == 3:
    raise RuntimeError("no luck")
book.glue(ratio=n / 3, label="=" + name, most=7)
display({{"{results.RULINGS}": [dict(claim="of-it", verdict="yes" if n > 1 else "no")]}}, raw=True)"""
ABOUT = {"figure": {"name": "fig-02-line", "caption": "A line. It falls."}, "image": {"alt": "One line."}}
SECOND = [
    "# Second\n\nWhat is it {cite:t}`lee2003patches`? See [the first](01-first.ipynb), and {numref}`fig-02-line`.",
    (PARAMETERS, {"tags": ["parameters"]}),
    (COMPUTING, {}),
    ("plt.plot([n, scale]);", {"mystnb": ABOUT}),
    "The ratio is {glue:text}`ratio:.1f`.",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkout of two chapters, the second of which has outputs."""
    root = make_checkout(tmp_path_factory.mktemp("sweep") / "checkout")
    (root / "book" / "intro.md").write_text("# A book\n\n```{bibliography}\n```\n")
    write_chapter(root / "book" / "01-first.ipynb", ["# First"])
    path = write_chapter(root / "book" / "02-second.ipynb", SECOND)
    book._save_outputs(book.run_chapter(path, {}, root / "_build" / "second.ipynb"), path)
    return root


@pytest.fixture(scope="module")
def swept(made):
    """A sweep of two runs, the second of which fails: the page, the runs, and what was reported."""
    lines = []
    choices = {"n": [2, 3], "name": ["<b>"]}
    return *sweep.sweep(made / "book" / "02-second.ipynb", choices, root=made, report=lines.append), lines


class _Page(HTMLParser):
    """Texts of cells, and what a page would fetch or lead to."""

    def __init__(self, path):
        super().__init__()
        self.rows, self.addresses, self.ended = [], [], False
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.addresses += [unquote(value) for name, value in attributes if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1] and not self.ended:
            self.rows[-1][-1] += data.strip()

    def handle_endtag(self, tag):
        self.ended |= tag == "table"


# What is run


@pytest.mark.parametrize(
    "text, kind, values",
    [
        ("50,100,200", int, [50, 100, 200]),
        ("0.2, 1e-3", float, [0.2, 1e-3]),
        ("100", int, [100]),
        ("50,010", int, [50, "010"]),
        ("true,False", bool, [True, False]),
        ("null,3", int | None, [None, 3]),
        ("[1, 2]", list[int], [[1, 2]]),
        ("[1, 2],[3]", list[int], [[1, 2], [3]]),
        ("['a,b'],[]", list[str], [["a,b"], []]),
        ("a,b", str, ["a,b"]),
        ("1,2", str, ["1,2"]),
        ("'a,b'", str, ["a,b"]),
        ("'a','b,c'", str, ["a", "b,c"]),
        ("it's, so", str, ["it's, so"]),
        ("x,y", None, ["x", "y"]),
        ("", int, [""]),
        ("(" * 100_000, int, ["(" * 100_000]),
    ],
)
def test_several_values_are_separated_by_commas_and_a_text_keeps_its_own(text, kind, values):
    assert parameters.parse_values(text, kind) == values


def test_a_sweep_is_the_product_and_is_refused_for_a_single_combination():
    declared = parameters.declarations(PARAMETERS)
    runs = sweep.plan(declared, {"n": [1, 2], "scale": [0.5, 1], "name": ["x"]})
    assert [(run["n"], run["scale"]) for run in runs] == [(1, 0.5), (1, 1.0), (2, 0.5), (2, 1.0)]
    assert sweep.plan(declared, {"scale": [1, 1.0]}) == [{"scale": 1.0}]
    with pytest.raises(ValueError, match=r"^scale = 2.0 is not allowed: it must be float with .* \(where n = 1\)$"):
        sweep.plan(declared, {"scale": [0.5, 2], "n": [2, 1]})
    with pytest.raises(ValueError, match="the sweep would be 10,100 runs; at most 10,000 are allowed"):
        sweep.plan(declared, {"n": list(range(1, 102)), "name": list(map(str, range(100)))})


def test_a_sweep_is_refused_before_anything_runs(made, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "_executed", lambda *_: pytest.fail("something ran"))
    path = made / "book" / "02-second.ipynb"
    (tmp_path / "thesis.tex").touch()
    for choices, how, words in [
        ({"n": [1, 0]}, {}, "n = 0 is not allowed"),
        ({"m": [1, 2]}, {}, "there is no parameter 'm'"),
        ({"n": [1, 2]}, {"workers": 0}, "workers = 0 must be a whole number, 1 or more"),
        ({"n": [1, 2]}, {"out": tmp_path}, "holds something other than a sweep"),
    ]:
        with pytest.raises(ValueError, match=words):
            sweep.sweep(path, choices, root=made, **how)
    with pytest.raises(NotADirectoryError, match="is a file"):
        sweep.sweep(path, {"n": [1, 2]}, tmp_path / "thesis.tex" / "sweep", root=made)


def test_the_name_of_a_run_depends_on_parameters_chapter_and_what_computes_it(made, tmp_path, monkeypatch):
    path = made / "book" / "02-second.ipynb"
    place = lambda **values: sweep._place(path, values, made)
    first = place(n=2)
    assert first.name.startswith("02-second-n=2-") and first.parent == made / "_build" / "runs"
    assert place(n=2) == first != place(n=3)
    before = path.read_text()
    for old, new, same in [("One line.", "A line.", False), ('"execution_count": 3', '"execution_count": 4', True)]:
        assert old in before
        path.write_text(before.replace(old, new))
        assert (place(n=2) == first) == same
    path.write_text(before)
    (tmp_path / "net.npz").write_bytes(b"1")
    named = place(name=str(tmp_path / "net.npz"))
    (tmp_path / "net.npz").write_bytes(b"12")
    assert place(name=str(tmp_path / "net.npz")) != named
    (made / "requirements.txt").write_text("numpy==1")
    assert place(n=2) != first
    (made / "requirements.txt").unlink()
    (tmp_path / "module.py").touch()
    monkeypatch.setattr(sweep, "PACKAGE", tmp_path)
    assert place(n=2) != first


# Runs and their page


def test_runs_are_compared_on_a_page_and_are_not_executed_again(made, swept):
    path, (page, runs, lines) = made / "book" / "02-second.ipynb", swept
    assert page.parent.parent == made / "_build" / "runs"
    why = f"02-second: cell 4, `import matplotlib.pyplot as plt`, raised RuntimeError: no luck; see {runs[1].out}"
    assert sorted(lines) == ["n = 2: executed", f"n = 3: {why[: -len('.ipynb')]}.failed.ipynb"]
    assert [bool(run.failed) for run in runs] == [False, True] and not runs[1].out.exists()

    with open(page.parent / "runs.csv", newline="") as stream:
        good, bad = csv.DictReader(stream)
    assert (good["n"], good["name"], good["ratio"], good["most"]) == ("2", "<b>", repr(2 / 3), "7")
    assert (good["label"], good["of-it"], good["notebook"]) == ("'=<b>", "yes", runs[0].out.name)
    assert bad["ratio"] == "" and "no luck" in bad["failed"]

    shown = _Page(page)
    assert shown.rows[0] == ["n", "of-it", "ratio", "label", "notebook"]
    assert shown.rows[1:3] == [
        ["the book", "no", "0.3", "=a", "02-second"],
        ["2", "yes", "0.7", "=<b>", "executed copy"],
    ]
    assert shown.rows[3][0] == "3" and "no luck" in shown.rows[3][1]
    text = page.read_text()
    assert (
        "The same in all, and in the book: most 7." in text and "<h2>A line.</h2>" in text and "n = 3: failed" in text
    )
    assert all((page.parent / address).exists() for address in shown.addresses)
    assert (page.parent / "figures" / "fig-02-line-1.png").read_bytes().startswith(b"\x89PNG")

    executed, lines = runs[0].out.stat().st_mtime_ns, []
    again, runs = sweep.sweep(path, {"n": [2], "name": ["<b>"]}, page.parent, root=made, report=lines.append)
    assert (again, lines) == (page, ["1 of 1 runs were executed before"])
    assert runs[0].out.stat().st_mtime_ns == executed and "1 run of the chapter 02-second" in page.read_text()
    assert sorted(os.listdir(page.parent)) == ["figures", "index.html", "runs.csv"]


def test_a_sweep_runs_on_a_cluster(made, monkeypatch):
    distributed = pytest.importorskip("distributed")
    child = "import json, shutil, sys; job = json.loads(sys.stdin.readline()); good = job['values']['n'] == 4; "
    child += (
        "good and shutil.copy(job['path'], job['out']); json.dump('' if good else 'no luck; see elsewhere', sys.stdout)"
    )
    monkeypatch.setattr(sweep, "_CHILD", child)
    path, where = made / "book" / "02-second.ipynb", dict(protocol="tcp", host="127.0.0.1")
    with distributed.LocalCluster(1, processes=False, dashboard_address="127.0.0.1:0", **where) as cluster:
        how = dict(scheduler=cluster.scheduler_address, report=lambda line: None)
        _, (bad, good) = sweep.sweep(path, {"n": [3, 4]}, root=made, **how)
    assert (bad.failed, good.failed) == ("no luck", "") and not bad.out.exists()
    assert good.out.read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="scheduler 'nowhere' does not answer"):
        sweep.sweep(path, {"n": [5, 6]}, scheduler="nowhere", root=made)


def test_many_processes_end_one_by_one_and_leave_nothing(monkeypatch):
    ends = 'import json, os, sys; i = json.loads(sys.stdin.readline())["i"]; '
    ends += 'os.kill(os.getpid(), 9) if i == 7 else sys.exit("no\\nreason") if i == 8 else json.dump("", sys.stdout)'
    monkeypatch.setattr(sweep, "_CHILD", ends)
    before = set(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else set()
    answers = dict(sweep._side_by_side([{"i": i} for i in range(60)], 4))
    assert sorted(answers) == list(range(60)) and {i for i, why in answers.items() if why} == {7, 8}
    assert answers[7] == "its process ended with status -9"
    assert answers[8] == "its process ended with status 1: reason"
    assert not before or set(os.listdir("/proc/self/fd")) <= before


def test_runs_end_with_the_sweep_and_the_same_command_goes_on(tmp_path):
    root = make_checkout(tmp_path / "checkout")
    wait = f"import os, time\nopen({str(tmp_path)!r} + f'/{{n}}', 'w').write(str(os.getpid()))\n"
    wait += f"while n > 1 and not os.path.exists({str(tmp_path / 'go')!r}):\n    time.sleep(0.1)\nn + 1"
    tagged = ("n: int = 1  # a count; n ≥ 1", {"tags": ["parameters"]})
    write_chapter(root / "book" / "02-second.ipynb", ["# Second", tagged, (wait, {})])
    command = [sys.executable, "-m", "topo", "run", "02-second", "-p", "n", "1,2", "--workers", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    how = dict(cwd=root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process = subprocess.Popen(command, **how)
    mark = tmp_path / "2"
    while not (mark.exists() and mark.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{mark.read_text()}") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{mark.read_text()}")
    kept = [each for each in os.listdir(root / "_build" / "runs") if not each.startswith(".")]
    assert len(kept) == 1 and kept[0].startswith("02-second-n=1-")
    (tmp_path / "go").touch()
    done = subprocess.run(command, **how | dict(stdout=None, stderr=None), capture_output=True)
    page = root / "_build" / "runs" / "02-second-n=1,2" / "index.html"
    assert (done.stdout, done.stderr) == (f"n = 2: executed\n1 of 2 runs were executed before\n{page}\n", "")


# A run as a page


def test_a_run_is_a_page_of_the_book(made, swept):
    path = made / "book" / "02-second.ipynb"
    out = shutil.copy(swept[1][0].out, made / "_build" / "runs" / "out.ipynb")
    page = book.render_run(path, out, made)
    assert page == made / "_build" / "runs" / "out" / "book" / "02-second.html" == book.page_of(path, out, made)
    text = page.read_text()
    head = text[text.index("<h1>") :].partition("What is it")[0]
    assert "A run with other parameters" in head and "of the line" not in head
    for told in (">2<", "a count, of things", "instead of"):
        assert told in head
    rows = _Page(page).rows
    assert rows == [
        ["", "the book’s", "this run’s"],
        ["ratio", "0.3", "0.7"],
        ["label", "=a", "=<b>"],
        ["most", "7", "7"],
        ["of-it", "no", "yes"],
    ]
    assert "Lee" in text and 'href="01-first.html"' in text and "Fig. 1" in text.replace("\u00a0", " ")
    assert "The ratio is 0.7." in re.sub(r"<[^>]+>", "", text) and "It falls." not in text
    assert not any(each.startswith("rerun-") for each in os.listdir(made / "_build"))
    template = made / "book" / "_template.ipynb"
    with pytest.raises(ValueError, match="_template is no page of the book"):
        book.page_of(template, out, made)
    (made / "_build" / "runs" / "other").mkdir()
    (made / "_build" / "runs" / "other" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="other holds something other than a book"):
        book.page_of(path, made / "_build" / "runs" / "other.ipynb", made)


# Plain papermill


def test_papermill_itself_ends_at_the_first_cell_for_what_is_not_allowed(made, tmp_path):
    import papermill

    path = made / "book" / "02-second.ipynb"
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook(str(path), str(tmp_path / "out.ipynb"), {"n": 0}, progress_bar=False)
    assert caught.value.evalue == "n = 0 is not allowed: it must be int with n >= 1"
    assert caught.value.traceback == [caught.value.evalue] and caught.value.exec_count == 3


def test_a_chapter_finds_its_parameters_among_the_cells_that_were_executed(monkeypatch):
    class Shell:
        user_ns = {
            "In": ["", "import os", PARAMETERS, "n = 2\nscale = 1", "%matplotlib"],
            "n": 2,
            "scale": 1,
            "name": "a",
        }

    shell = Shell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr(book, "_changed", ())
    book.check_parameters()
    assert book.overridden() == ("n", "scale") and type(shell.user_ns["scale"]) is float
    shell.user_ns |= {"n": 1, "scale": 0.5}
    book.check_parameters()
    assert book.overridden() == ()
    shell.user_ns["n"] = "two"
    with pytest.raises(parameters.ParameterError, match="n = 'two' is not allowed: it must be int with n >= 1"):
        book.check_parameters()
    shell.user_ns["In"] = ["n = 2"]
    with pytest.raises(parameters.ParameterError, match="the cell tagged `parameters` must be executed first"):
        book.check_parameters()
    shell.user_ns["In"] = [""]  # the kernels of nbval remember no cells
    book.check_parameters()


def test_results_are_read_as_the_text_writes_them(tmp_path):
    output = lambda name, text: nbformat.v4.new_output(
        "display_data", {"application/papermill.record/text/plain": text}, metadata={"scrapbook": {"name": name}}
    )
    path = write_chapter(tmp_path / "chapter.ipynb", ["{glue:text}`a:.2f` {glue:text}`b`", ("1", {})])
    notebook = nbformat.read(path, 4)
    notebook.cells[1].outputs = [output(*each) for each in (("a", "1.0"), ("b", "'x'"), ("c", "nan"), ("d", "<X>"))]
    nbformat.write(notebook, path)
    found = results.results(path)
    assert [found.shown(name) for name in "abcde"] == ["1.00", "x", "nan", "<X>", ""]
    assert results.ran_with(path) == {} and json.loads(path.read_text())["cells"]


def test_runs_side_by_side_share_the_threads_of_blas(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    started = []

    def start(*_, env, **__):
        started.append(env)
        raise OSError("seen enough")

    monkeypatch.setattr(sweep.subprocess, "Popen", start)
    with pytest.raises(OSError, match="seen enough"):
        list(sweep._side_by_side([{}], 10**6))
    assert started[0]["OMP_NUM_THREADS"] == "1"
