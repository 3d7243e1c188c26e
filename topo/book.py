"""The book: check a chapter's parameters, execute chapters through papermill, render them with Jupyter Book.

Knows notebooks, processes and folders; must not know what a chapter computes.
"""

import hashlib
import logging
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

from topo.checks import check_whole
from topo.files import brief, check_folder, locked, replace_folder, write_atomically
from topo.freshness import PACKAGE, Store, stamps
from topo.machine import processors, share_of_threads, shares_locks
from topo.parameters import (
    ParameterError,
    cells_of,
    chapter_parameters,
    check,
    declarations,
    declares_parameters,
    nearest,
    one_line,
)
from topo.results import escaped, ran_with, results

# jsonschema, by which notebooks are checked, would build parsers of IRIs with it: 1.5 of 2 seconds of every import.
_UNUSED = "rfc3987_syntax"
sys.modules.setdefault(_UNUSED, None)  # type: ignore[arg-type]

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = "_template"

READS_CHAPTERS = "reads-chapters"  # the tag of a chapter that is executed after those whose outputs it reads

_MADE_OF = ".made-of"  # in a rendered book: a checksum of what its pages are made of
TOOK = "took"  # in an executed notebook's metadata: {"seconds": in tens, "processors": how many there were}

_NOTE = "other-parameters"  # the id of the cell that says them
_WHOSE = "The text describes the book's own run; numbers, tables and figures are of this one."
_CALLED_FROM = "TOPO_CALLED_FROM"  # an environment variable of a chapter's kernel
_STARTS = 3  # of a kernel: another program may take the ports that were free when they were chosen for it
_changed: tuple[str, ...] = ()  # in a chapter's kernel, what `check_parameters` found


class BookError(RuntimeError):
    """The book could not be made.

    A chapter raised, its kernel died, it was edited while it was executed, or Jupyter Book had a warning.
    """


def pages(root: str | Path = ROOT) -> list[str]:
    """The pages of the table of contents, in order, such as "book/05-mnist"; not those that the build generates.

    Raises FileNotFoundError where `root` holds no _toc.yml.
    """
    import yaml

    def files(entry: Mapping[str, Any]) -> Iterator[str]:
        if "file" in entry or "root" in entry:
            yield entry.get("file") or entry["root"]
        for part in (*entry.get("parts", ()), *entry.get("chapters", ()), *entry.get("sections", ())):
            yield from files(part)

    toc = Path(root) / "_toc.yml"
    if not toc.exists():
        raise FileNotFoundError(f"{toc} is missing: the book is made from a checkout of the repository")
    return list(files(yaml.safe_load(toc.read_text("utf-8"))))


def chapters(root: str | Path = ROOT) -> dict[str, Path]:
    """The chapters of the table of contents, in order: {name: path of the notebook}; pages in Markdown are no chapters.

    Raises FileNotFoundError where `root` holds no _toc.yml.
    """
    notebooks = [Path(root) / f"{page}.ipynb" for page in pages(root)]
    return {path.stem: path for path in notebooks if not path.with_suffix(".md").exists()}


def chapter(name: str, root: str | Path = ROOT) -> Path:
    """The path of the chapter called `name`, such as "05-mnist"; the path of its notebook is taken for a name, too.

    "_template" is the notebook that a new chapter starts from; it is no chapter of the table of contents.
    Raises ValueError for an unknown name, with the nearest one and all that there are.
    """
    known = chapters(root)
    if name in known:
        return known[name]
    if name == TEMPLATE and (Path(root) / "book" / f"{TEMPLATE}.ipynb").exists():
        return Path(root) / "book" / f"{TEMPLATE}.ipynb"
    for path in known.values():
        if name.endswith(".ipynb") and Path(name).resolve() == path.resolve():
            return path
    raise ValueError(f"there is no chapter {name!r}{nearest(name, known)}; the chapters are {', '.join(known)}")


def run_chapter(
    path: str | Path,
    overrides: Mapping[str, Any],
    out: str | Path,
    cwd: str | Path | None = None,
    trace: str | Path | None = None,
) -> Path:
    """Execute the chapter at `path` with changed parameters into the notebook `out`, never touching `path`.

    overrides: values by name, checked as in `topo.parameters.check` before anything runs.
    cwd: the folder that it runs in; where None, a copy of the chapter's own that is thrown away. trace: a file into
    which `topo.freshness.watch` writes what the chapter depends on; None where nobody asks.
    Returns `out`, which is written whole or not at all; its metadata say how long it took (TOOK).
    Raises ValueError for a parameter or an `out` that is not allowed, and as `chapter_parameters` does; BookError,
    naming chapter and cell, where a cell raises or the kernel dies. Where a cell raises, what was executed is kept
    beside `out` as *.failed.ipynb.
    """
    path, out, here = Path(path).resolve(), Path(out).resolve(), os.getcwd()  # papermill changes the working directory
    declared = chapter_parameters(path)
    values = check(declared, overrides)
    changed = [each.name for each in declared if each.name in values and values[each.name] != each.default]
    if out.suffix != ".ipynb" or out.is_dir() or out.parent == path.parent:
        raise ValueError(f"{out} is not allowed as output: it must be a file *.ipynb outside {path.parent}")
    check_folder(out.parent)

    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of annotated parameters that it cannot parse
    out.parent.mkdir(parents=True, exist_ok=True)
    failed = out.with_suffix(".failed.ipynb")
    reached: list[int] = []
    with tempfile.TemporaryDirectory() as scratch:
        executed = Path(scratch) / "executed.ipynb"
        if cwd is None:
            cwd = _copy_folder(path.parent, Path(scratch) / "cwd")
        template = str(path).replace("{", "{{").replace("}", "}}")  # papermill formats the paths it is given
        variables = {_CALLED_FROM: here}
        options = ["--log-level=CRITICAL"]
        if trace is not None:
            inside = [str(folder) for folder in (ROOT / "data", cwd)]
            begin = f"from topo import freshness; freshness.watch({str(trace)!r}, {inside!r}); del freshness"
            options.append(f"--IPKernelApp.exec_lines={[begin]!r}")
        execute = partial(
            papermill.execute_notebook, template, executed, values, kernel_name="python3", language="python", cwd=cwd,
            progress_bar=False, request_save_on_cell_execute=False, extra_arguments=options,
            kernel_manager_class=_kernel_manager_class(variables),
            on_cell_start=lambda cell, cell_index: reached.append(cell_index),
        )  # fmt: skip
        for attempts_left in reversed(range(_STARTS)):
            try:
                notebook = execute()
                break
            except papermill.PapermillExecutionError as error:
                write_atomically(failed, executed.read_bytes())
                where = f"cell {error.cell_index + 1}, `{one_line(error.source.strip().splitlines()[0], 60)}`,"
                what = one_line(f"{error.ename}: {error.evalue}".removesuffix(": "))
                raise BookError(f"{path.stem}: {where} raised {what}; see {failed}") from None
            except RuntimeError as error:
                if attempts_left and not reached:
                    continue
                what = f"cell {reached[-1] + 1} did not end" if reached else "its kernel did not start"
                raise BookError(f"{path.stem}: {what}: {one_line(error)}") from None
    notebook.metadata.papermill.update(input_path=path.name, output_path=out.name)
    tens = max(1, round(notebook.metadata.papermill.duration / 10))  # two runs seldom agree in more
    notebook.metadata[TOOK] = {"seconds": 10 * tens, "processors": processors()}
    if changed:
        _say_what_changed(
            notebook, {each.name: (values[each.name], each.default) for each in declared if each.name in changed}
        )
    write_atomically(out, _encode(notebook))
    failed.unlink(missing_ok=True)
    return out


def _say_what_changed(notebook: Any, changed: Mapping[str, tuple[Any, Any]]) -> None:
    """Below the title, name the parameters that differ from the chapter's own; shorten what speaks of its results.

    changed: {name: (value, default)}. Of a caption only the first sentence stays, which says what a figure shows; it
    becomes the alternative text, too.
    """
    from nbformat.v4 import new_markdown_cell

    named = ", ".join(f"`{name} = {value!r}` instead of `{default!r}`" for name, (value, default) in changed.items())
    notebook.cells.insert(1, new_markdown_cell(f"**A run with other parameters:** {named}. {_WHOSE}", id=_NOTE))
    for cell in notebook.cells:
        shown = cell.metadata.get("mystnb", {})
        if caption := shown.get("figure", {}).get("caption"):
            shown["figure"]["caption"] = re.split(r"(?<=[.?!])\s", caption, maxsplit=1)[0]
            shown.setdefault("image", {})["alt"] = shown["figure"]["caption"]


def called_from() -> Path:
    """In a chapter, the folder that its parameters' relative paths start from.

    It is the working directory of the process that called `run_chapter`, such as that of the shell in which
    `.venv/bin/python -m topo run` was called; in Jupyter, it is the chapter's own. The chapter itself runs in a copy of
    its folder that is thrown away.
    """
    return Path(os.environ.get(_CALLED_FROM) or os.getcwd())


def check_parameters() -> None:
    """In a chapter, after its imports: refuse parameters that are not allowed, and note which ones were changed.

    `run_chapter` checks them before it starts a kernel; papermill itself and Jupyter do not. The declarations are found
    among the cells that this kernel has executed, the values among its variables, in which whole numbers become floats
    where the type says so. Nothing happens outside a notebook, nor where a kernel remembers no cells, as under nbval.
    Raises ParameterError, which a notebook shows as one line.
    """
    from IPython import get_ipython

    global _changed
    if (shell := get_ipython()) is None:
        return
    remembered = [source for source in shell.user_ns["In"] if source]
    if not remembered:
        return
    cells = [source for source in remembered if declares_parameters(source)]
    if not cells:
        raise ParameterError("the cell tagged `parameters` must be executed first")
    try:
        declared = declarations(cells[-1])
        values = check(declared, {each.name: shell.user_ns[each.name] for each in declared})
    except ValueError as error:
        raise ParameterError(str(error)) from None
    shell.user_ns.update(values)
    _changed = tuple(each.name for each in declared if values[each.name] != each.default)


def overridden() -> tuple[str, ...]:
    """In a chapter, the names of the parameters whose values `check_parameters` found changed from their defaults.

    A chapter asserts its findings where no parameter was changed. A default that is edited in the parameters cell, such
    as in Jupyter, does not count as changed.
    """
    return _changed


def glue(**values: object) -> None:
    """In a chapter, give values to its text, which names them as {glue:text}`name`."""
    from myst_nb import glue

    for name, value in values.items():
        glue(name, value, display=False)


def default_output(path: str | Path, overrides: Mapping[str, Any], root: str | Path = ROOT) -> Path:
    """Where a run of a chapter goes, named after its parameters: `_build/runs/05-mnist-k=100-p=0.2.ipynb`.

    Where that would be long, or has characters that a file's name should not have, it ends in a checksum of all.
    """
    whole = "-".join([Path(path).stem, *(f"{name}={value}" for name, value in overrides.items())])
    plain = re.sub(r"[\[\]']|(?<=,) ", "", whole)
    name = re.sub(r"[^\w.=,-]+", "", plain)
    if name != plain or len(name) > 200:
        name = brief(name, whole, 200)
    return Path(root) / "_build" / "runs" / f"{name}.ipynb"


def build(
    out: str | Path | None = None,
    names: Sequence[str] | None = None,
    jobs: int = 2,
    refresh: bool = False,
    anew: bool = False,
    root: str | Path = ROOT,
    report: Callable[[str], object] = print,
) -> Path:
    """Execute chapters and render the book as HTML.

    out: folder of the pages, `_build/html` where None; a book that is there is replaced, at the very end.
    names: the chapters to execute, all where None; the others keep the outputs that they are committed with. A chapter
    with a cell tagged READS_CHAPTERS is executed after all others.
    jobs: chapters executed at a time. refresh: whether to save the outputs into the chapters themselves, too. anew:
    whether to execute also what did not change since it was executed the last time: the chapter, the modules, archives
    and files that it reads, the versions of packages, and the data sets that are at hand; and whether to render pages
    of which nothing changed since, neither their content nor the settings, this package or the commit.
    report: called with a line of text for each chapter, and one for the pages.

    Copies are executed, in `_build/executed`, and kept in `_build/fresh` with what they depend on; the chapters
    themselves change only with `refresh`. Where a page in Markdown shows images/NAME.png and a chapter has a figure of
    that name, the picture is that figure. A build waits for another one of the same checkout, and says so.
    Returns `out`. Raises ValueError before anything runs where an argument or a chapter's parameters are not allowed,
    FileNotFoundError as `chapters` does, BookError where a chapter fails (one line each) or Jupyter Book has a warning.
    """
    root = Path(root).resolve()
    out = _check_pages(out or root / "_build" / "html")
    check_whole(jobs, "jobs", 1)
    paths = list(chapters(root).values()) if names is None else [chapter(name, root) for name in names]
    for path in paths:
        chapter_parameters(path)

    (root / "_build").mkdir(exist_ok=True)
    waiting = partial(report, f"another build works in {root / '_build'}: waiting until it ends")
    with locked(root / "_build" / "lock", waiting):
        return _build(out, paths, jobs, refresh, anew, root, report)


def _build(
    out: Path,
    paths: Sequence[Path],
    jobs: int,
    refresh: bool,
    anew: bool,
    root: Path,
    report: Callable[[str], object],
) -> Path:
    staged = root / "_build" / "executed"
    shutil.rmtree(staged, ignore_errors=True)
    book = _copy_folder(root / "book", staged / "book")
    store = Store(root / "_build" / "fresh", _surroundings(root), book)
    for last in (False, True):
        wanted = [path for path in paths if _reads_chapters(path) == last]
        changed = [path for path in wanted if anew or not store.recall(path, book / path.name)]
        for path in wanted:
            if path not in changed:
                report(f"{path.stem} has not changed")
        _execute(changed, book, jobs, report, store)
    _save_pictures(book)
    if refresh:
        for path in paths:
            _save_outputs(book / path.name, path)
        _save_pictures(root / "book")

    start, page, made_of = time.perf_counter(), out / "index.html", _made_of(staged, root, store.always)
    if not anew and page.exists() and (out / _MADE_OF).exists() and (out / _MADE_OF).read_text() == made_of:
        report(f"the pages have not changed: {page}")
        return out
    _render(staged, root, out, made_of)
    report(f"rendered in {time.perf_counter() - start:.0f} s: {page}")
    return out


def _made_of(staged: Path, root: Path, always: str) -> str:
    """A checksum of all that pages are made of: the executed book, its settings, this package, the commit, `always`."""
    command = "git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"
    try:
        commit = subprocess.run(command, capture_output=True).stdout  # noqa: S603 -- no shell reads it
    except OSError:
        commit = b""  # pages name none then
    book = [staged / path.relative_to(root) for path in (root / "book").rglob("*")]  # not what a chapter leaves behind
    files = [*book, *PACKAGE.rglob("*"), root / "_config.yml", root / "_toc.yml"]
    sums = [
        (str(path), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(files)
        if path.is_file() and "__pycache__" not in path.parts
    ]
    return hashlib.sha256(repr((always, commit, sums)).encode()).hexdigest()


def page_of(path: str | Path, out: str | Path, root: str | Path = ROOT) -> Path:
    """Where `render_run` writes the page of a run of the chapter at `path` into `out`: in a folder beside that.

    Raises ValueError for a notebook that is no page of the book, and where the folder holds something other than a
    book, OSError where nothing can be written into it.
    """
    if Path(path).resolve() not in [each.resolve() for each in chapters(root).values()]:
        raise ValueError(f"{Path(path).stem} is no page of the book")
    folder = _check_pages(Path(out).with_suffix(""))
    return folder / Path(path).resolve().relative_to(Path(root).resolve()).with_suffix(".html")


def render_run(path: str | Path, executed: str | Path, root: str | Path = ROOT) -> Path:
    """Render the book with an executed copy in the place of the chapter at `path`. Returns the path of its page.

    executed: as `run_chapter` writes it. Below the title of the page stand the parameters that differ, and the numbers
    of the run beside those that the chapter is committed with. The other pages are the book's, as they are committed.
    All go into the folder beside `executed` that `page_of` names, whole or not at all; what a run rendered there before
    is replaced. Raises as `page_of` does; BookError where Jupyter Book had a warning, which a parameter may cause, such
    as a number that the text lacks.
    """
    import nbformat

    path, executed, root = Path(path).resolve(), Path(executed).resolve(), Path(root).resolve()
    page = page_of(path, executed, root)
    notebook = nbformat.read(executed, 4)
    notebook.cells = [cell for cell in notebook.cells if cell.get("id") != _NOTE]
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n{_banner(path, executed)}\n{rest}"
    (root / "_build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root / "_build", prefix="rerun-") as scratch:
        book = _copy_folder(root / "book", Path(scratch) / "book")
        write_atomically(book / path.name, _encode(notebook))
        _render(Path(scratch), root, executed.with_suffix(""))
    return page


def _banner(path: Path, executed: Path) -> str:
    """In MyST: what differs between a run and the chapter, parameters and numbers."""
    ours, theirs = results(path), results(executed)
    changed = ran_with(executed)
    code = lambda value: "`" + repr(value).replace("`", "'") + "`"
    lines = [
        f"- `{each.name}` = {code(changed[each.name])} instead of {code(each.default)} ({escaped(each.comment)})"
        for each in chapter_parameters(path)
        if each.name in changed and changed[each.name] != each.default
    ]
    title = "A run with other parameters" if lines else "A run with the book's own parameters"
    pairs = {name: (ours.shown(name), theirs.shown(name)) for name in {**theirs.values, **ours.values}}
    for claim in {**theirs.verdicts, **ours.verdicts}:
        pairs[claim] = ours.verdicts.get(claim, ""), theirs.verdicts.get(claim, "")
    bold = lambda text, other: escaped(text) if text == other or not text else f"**{escaped(text)}**"
    rows = [f"| `{name}` | {escaped(own)} | {bold(new, own)} |" for name, (own, new) in pairs.items()]
    numbers = ["", ":::{dropdown} Its numbers and verdicts beside the book's", "| | the book's | this run's |"]
    numbers += ["|:---|---:|---:|", *rows, ":::"]
    about = ["", _WHOSE] if lines else []
    return "\n".join([f"::::{{admonition}} {title}", ":class: important", *lines, *about, *(rows and numbers), "::::"])


def _check_pages(out: str | Path) -> Path:
    """`out` as an absolute path, if pages may be written there: a book that is there would be replaced."""
    out = Path(out).resolve()
    if out.exists() and not (out / ".buildinfo").exists() and (out.is_file() or any(out.iterdir())):
        raise ValueError(f"{out} holds something other than a book; name an empty or a new folder")
    check_folder(out.parent)
    return out


def _render(staged: Path, root: Path, out: Path, made_of: str = "") -> None:
    """Render the book of the notebooks and pages in staged/book, and put it into the place of `out` at the very end.

    made_of: the checksum that is kept with the pages, as `_made_of` has it.
    """
    main = f"import sys; sys.modules['{_UNUSED}'] = None; from jupyter_book.cli.main import main; main()"
    jupyter_book = sys.executable, "-c", main
    options = "--config", root / "_config.yml", "--toc", root / "_toc.yml", "--path-output", staged
    command: list[str | Path] = [*jupyter_book, "build", "-q", "-W", "--keep-going", staged, *options]
    if subprocess.run(command, cwd=root, stdout=subprocess.DEVNULL).returncode:  # noqa: S603 -- a command of our own
        raise BookError("Jupyter Book stopped, or had warnings, which count as errors: see above")
    (staged / "_build" / "html" / _MADE_OF).write_text(made_of)
    replace_folder(out, staged / "_build" / "html")


def _surroundings(root: Path) -> str:
    """What all chapters depend on, as a text: this Python, the versions of packages, the data sets that are at hand."""
    from topo.remote import folders

    pins = root / "requirements.txt"
    training = root / "data" / "cache" / "training"  # what goes on there in the background changes no chapter
    files = [each for each in stamps(folders()) if training not in Path(each[0]).parents]
    at_hand = [str(folder) for folder in folders()], files
    return repr((sys.version, pins.read_text("utf-8") if pins.exists() else "", at_hand))


def _execute(paths: Iterable[Path], folder: Path, jobs: int, report: Callable[[str], object], store: Store) -> None:
    """Execute chapters, `jobs` at a time, each in its own process because papermill changes the working directory.

    Large notebooks come first, because they tend to take longest: one that comes last keeps only one process busy.
    """
    failures = []
    paths = sorted(paths, key=lambda path: path.stat().st_size, reverse=True)
    pool: Executor = (
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin_worker, (share_of_threads(jobs),))
        if shares_locks()
        else ThreadPoolExecutor(1)  # processes need locks to share
    )
    with pool:
        futures = {pool.submit(_timed_run, path, folder, store): path for path in paths}
        for future in as_completed(futures):
            try:
                report(f"{futures[future].stem} executed in {future.result():.0f} s")
            except BookError as error:
                failures.append(str(error))
            except BrokenProcessPool:
                failures.append(f"{futures[future].stem}: a process that executes chapters was killed")
    if failures:
        raise BookError("\n".join(failures))


def _reads_chapters(path: Path) -> bool:
    return any(READS_CHAPTERS in cell.get("metadata", {}).get("tags", ()) for cell in cells_of(path))


def _begin_worker(environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def _timed_run(path: Path, folder: Path, store: Store) -> float:
    start, since = time.perf_counter(), time.time()
    with tempfile.TemporaryDirectory() as scratch:
        trace = Path(scratch) / "trace"
        run_chapter(path, {}, folder / path.name, cwd=folder, trace=trace)
        store.remember(path, folder / path.name, trace, since)
    return time.perf_counter() - start


def _save_outputs(executed: Path, path: Path) -> None:
    """Put the outputs of the executed copy into the chapter at `path`, without what changes from run to run."""
    import nbformat

    notebook, copy = nbformat.read(path, 4), nbformat.read(executed, 4)
    if [cell.source for cell in notebook.cells] != [cell.source for cell in copy.cells]:
        raise BookError(f"{path.stem}: it was edited while it was executed; its outputs are left as they are")
    for cell, done in zip(notebook.cells, copy.cells):
        if cell.cell_type == "code":
            cell.execution_count = done.execution_count
            cell.outputs = [output for output in done.outputs if output.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    write_atomically(path, _encode(notebook))


def _save_pictures(folder: Path) -> None:
    """Write the figures that pages in Markdown show, as images/NAME.png, out of the chapters in `folder`."""
    pages = "".join(page.read_text("utf-8") for page in sorted(folder.glob("*.md")))
    cells = [cell for path in sorted(folder.glob("*.ipynb")) for cell in cells_of(path)]
    for cell in cells:
        name = cell.get("metadata", {}).get("mystnb", {}).get("figure", {}).get("name")
        outputs = [output.get("data", {}) for output in cell.get("outputs", ())]
        pictures = [data["image/png"] for data in outputs if "image/png" in data]
        if pictures and f"images/{name}.png" in pages:
            (folder / "images").mkdir(exist_ok=True)
            write_atomically(folder / "images" / f"{name}.png", b64decode("".join(pictures[0])))


def _encode(notebook: Any) -> bytes:
    import nbformat

    return (nbformat.writes(notebook) + "\n").encode()


def _kernel_manager_class(variables: Mapping[str, str]) -> type:
    """A kernel manager that starts the interpreter that runs now, whichever one is registered as python3.

    The kernel has topo on its path, and these environment variables.
    """
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class ThisPython(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _native_only(self) -> KernelSpecManager:
            return KernelSpecManager(kernel_dirs=[])

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
            await super().start_kernel(env={**os.environ, "PYTHONPATH": path, **variables}, **options)

    return ThisPython


def _copy_folder(source: Path, target: Path) -> Path:
    """Copy a folder, which may be read-only; the copy is not."""
    ignored = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
    shutil.copytree(source, target, ignore=ignored, copy_function=shutil.copyfile)
    for folder, _, _ in os.walk(target):
        os.chmod(folder, 0o700)
    return target
