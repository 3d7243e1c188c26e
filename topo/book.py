"""The book: check a chapter's parameters, execute chapters through papermill, render them with Jupyter Book.

Knows notebooks, processes and folders; must not know what a chapter computes.
"""
import ast
import difflib
import io
import json
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
import tokenize
import types
from base64 import b64decode
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import get_args, get_origin

from topo.archive import write_atomically

ROOT = Path(__file__).resolve().parent.parent

_CALLED_FROM = "TOPO_CALLED_FROM"  # environment variable of a chapter's kernel
_SCALARS = {"int": int, "float": float, "bool": bool, "str": str}
_FUNCTIONS = {function.__name__: function for function in (abs, all, any, len, max, min, set, sum)}
_CONSTRAINT_NODES = (
    ast.Expression, ast.BoolOp, ast.boolop, ast.UnaryOp, ast.unaryop, ast.Compare, ast.cmpop,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod,
    ast.Name, ast.expr_context, ast.Constant, ast.Tuple, ast.List, ast.Set,
    ast.Call, ast.GeneratorExp, ast.comprehension,
)  # fmt: skip


class BookError(RuntimeError):
    """The book could not be made: a chapter raised, its kernel died, or Jupyter Book had a warning."""


@dataclass(frozen=True)
class Parameter:
    """One line of a chapter's `parameters` cell: `name: type = default  # comment; constraint`.

    type: the annotation as text: int, float, bool, str, list[...] of these, each perhaps `| None`.
    constraint: Python expression over the chapter's parameters that must hold; "" where the type says it all.
    """

    name: str
    type: str
    default: object
    comment: str
    constraint: str

    @property
    def kind(self):
        """The type itself, such as list[int]."""
        return _kind(ast.parse(self.type, mode="eval").body)

    def allowed(self, values):
        """What the parameter may be, as text, with the values of the other parameters that this depends on."""
        if not self.constraint:
            return self.type
        names = {node.id: None for node in ast.walk(ast.parse(self.constraint, mode="eval")) if isinstance(node, ast.Name)}
        others = ", ".join(f"{name} = {_short(values[name])}" for name in names if name in values and name != self.name)
        return f"{self.type} with {self.constraint}" + (f" (where {others})" if others else "")


def chapters(root=ROOT):
    """The chapters of the table of contents, in order: {name: path of the notebook}; pages in Markdown are no chapters.

    Raises FileNotFoundError where `root` holds no _toc.yml.
    """
    import yaml

    def files(entry):
        if "file" in entry or "root" in entry:
            yield entry.get("file") or entry["root"]
        for part in (*entry.get("parts", ()), *entry.get("chapters", ()), *entry.get("sections", ())):
            yield from files(part)

    toc = Path(root) / "_toc.yml"
    if not toc.exists():
        raise FileNotFoundError(f"{toc} is missing: the book is made from a checkout of the repository")
    notebooks = [Path(root) / f"{file}.ipynb" for file in files(yaml.safe_load(toc.read_text("utf-8")))]
    return {path.stem: path for path in notebooks if not path.with_suffix(".md").exists()}


def chapter(name, root=ROOT):
    """The path of the chapter called `name`, such as "05-mnist", which may also be given as its file.

    Raises ValueError for an unknown name, with the nearest one and all that there are.
    """
    known = chapters(root)
    if name in known:
        return known[name]
    for path in known.values():
        if name.endswith(".ipynb") and Path(name).resolve() == path.resolve():
            return path
    raise ValueError(f"there is no chapter {name!r}{_nearest(name, known)}; the chapters are {', '.join(known)}")


def chapter_parameters(path):
    """The parameters of the chapter at `path`, in order: a list of Parameter.

    A chapter has one code cell tagged `parameters`; its lines read `k: int = 200  # what it is; 1 <= k < 6400`.
    Raises FileNotFoundError where there is no notebook, ValueError where the cell is not of that form, where a
    constraint is no expression over the parameters, or where a default violates one; both name what is wrong.
    """
    path = Path(path)
    cells = [cell for cell in _cells(path) if "parameters" in cell.get("metadata", {}).get("tags", ())]
    if len(cells) != 1 or cells[0]["cell_type"] != "code":
        raise ValueError(f"{path.stem}: one code cell must be tagged `parameters`; there are {len(cells)}")
    try:
        source = "".join(cells[0]["source"])
        statements = ast.parse(source, "parameters").body
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
        parameters = [_parameter(statement, comments.get(statement.end_lineno, "")) for statement in statements]
        names = [parameter.name for parameter in parameters]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{min(repeated)} is declared more than once")
        for parameter in parameters:
            _check_constraint(parameter, names)
        check(parameters, {parameter.name: parameter.default for parameter in parameters})
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path.stem}: the parameters cell is malformed: {error}") from None
    return parameters


def check(parameters, overrides):
    """The values in `overrides`, {name: value}, as the chapter will get them: whole numbers become floats where floats belong.

    parameters: list of Parameter. Values left out are at their defaults.
    Raises ValueError naming the first parameter that is unknown, of the wrong type or out of range, its value,
    and what is allowed.
    """
    declared = {parameter.name: parameter for parameter in parameters}
    defaults = {parameter.name: parameter.default for parameter in parameters}
    checked = {}
    for name, value in overrides.items():
        if name not in declared:
            names = ", ".join(declared) or "none"
            raise ValueError(f"there is no parameter {name!r} to set to {_short(value)}{_nearest(name, declared)}; the parameters are {names}")
        try:
            checked[name] = _fit(value, declared[name].kind)
        except TypeError:
            allowed = declared[name].allowed({**defaults, **overrides})
            raise ValueError(f"{name} = {_short(value)} is not allowed: it must be {allowed}") from None
    values = defaults | checked
    for parameter in parameters:
        if not _holds(parameter.constraint, values):
            raise ValueError(f"{parameter.name} = {_short(values[parameter.name])} is not allowed: it must be {parameter.allowed(values)}")
    return checked


def parse_value(text, kind):
    """The value that `text` looks like, for a parameter of type `kind`; white space around it is ignored.

    A Python literal (1e-3 is a float, [1, 2] a list) or true, false, null; where that is not of the type and text is,
    the text as it stands, and so for all that is no literal.
    """
    text = text.strip()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        value = {"true": True, "false": False, "null": None}.get(text, text)
    return text if not _fits(value, kind) and _fits(text, kind) else value


def run_chapter(path, overrides, out, cwd=None):
    """Execute the chapter at `path` with changed parameters into the notebook `out`, never touching `path`.

    overrides: {name: value}, checked as in `check` before anything runs.
    cwd: the folder that it runs in; where None, a copy of the chapter's own that is thrown away.
    Returns `out`, which is written whole or not at all. Raises ValueError for a parameter or an `out` that is not
    allowed; BookError naming chapter and cell where one raises, with what was executed beside `out` as *.failed.ipynb.
    """
    path, out, here = Path(path).resolve(), Path(out).resolve(), os.getcwd()  # papermill changes the working directory
    values = check(chapter_parameters(path), overrides)
    if out.suffix != ".ipynb" or out.is_dir() or out.parent == path.parent:
        raise ValueError(f"{out} is not allowed as output: it must be a file *.ipynb outside {path.parent}")

    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of annotated parameters that it cannot parse
    out.parent.mkdir(parents=True, exist_ok=True)
    failed = out.with_suffix(".failed.ipynb")
    reached = []
    with tempfile.TemporaryDirectory() as scratch:
        executed = Path(scratch) / "executed.ipynb"
        if cwd is None:
            cwd = _copy_folder(path.parent, Path(scratch) / "cwd")
        template = str(path).replace("{", "{{").replace("}", "}}")  # papermill formats the paths it is given
        try:
            notebook = papermill.execute_notebook(
                template, executed, values, kernel_name="python3", language="python", cwd=cwd, progress_bar=False,
                request_save_on_cell_execute=False, kernel_manager_class=_kernel_manager_class(here),
                extra_arguments=["--log-level=CRITICAL"],
                on_cell_start=lambda cell, cell_index: reached.append(cell_index),
            )  # fmt: skip
        except papermill.PapermillExecutionError as error:
            write_atomically(failed, executed.read_bytes())
            where = f"cell {error.cell_index + 1}, `{_one_line(error.source.strip().splitlines()[0], 60)}`,"
            what = _one_line(f"{error.ename}: {error.evalue}".removesuffix(": "))
            raise BookError(f"{path.stem}: {where} raised {what}; see {failed}") from None
        except RuntimeError as error:
            what = f"cell {reached[-1] + 1} did not end" if reached else "its kernel did not start"
            raise BookError(f"{path.stem}: {what}: {_one_line(error)}") from None
    notebook.metadata.papermill.update(input_path=path.name, output_path=out.name)
    write_atomically(out, _encode(notebook))
    failed.unlink(missing_ok=True)
    return out


def called_from():
    """In a chapter, the folder that its parameters' relative paths start from: a Path.

    It is the working directory of the process that called `run_chapter`, such as the shell's of `python -m topo run`, or
    the chapter's own where it runs in Jupyter. The chapter itself runs in a copy of its folder that is thrown away.
    """
    return Path(os.environ.get(_CALLED_FROM) or os.getcwd())


def default_output(path, overrides, root=ROOT):
    """Where a run of the chapter at `path` goes: `_build/runs/05-mnist-k=100-p=0.2.ipynb`, named after {name: value}."""
    name = "-".join([Path(path).stem, *(f"{name}={value}" for name, value in overrides.items())])
    return Path(root) / "_build" / "runs" / (re.sub(r"[^\w.=,-]+", "", name)[:200] + ".ipynb")


def build(out=None, names=None, jobs=2, refresh=False, root=ROOT, report=print):
    """Execute chapters and render the book as HTML.

    out: folder of the pages, `_build/html` where None; a book that is there is replaced, at the very end.
    names: the chapters to execute, all where None; the others keep the outputs that they are committed with.
    jobs: chapters executed at a time. refresh: whether to save the outputs into the chapters themselves, too.
    report: called with a line of text per chapter.

    Copies are executed, in `_build/executed`; the chapters are read only, unless refreshed. Where a page in Markdown
    shows images/NAME.png and a chapter has a figure of that name, the picture is that figure.
    Returns `out`. Raises ValueError before anything runs where an argument or a chapter's parameters are not allowed,
    BookError where a chapter fails (one line each) or Jupyter Book has a warning.
    """
    root = Path(root).resolve()
    out = Path(out or root / "_build" / "html").resolve()
    if out.exists() and not (out / ".buildinfo").exists() and (out.is_file() or any(out.iterdir())):
        raise ValueError(f"{out} holds something other than a book; name an empty or a new folder")
    if jobs < 1:
        raise ValueError(f"jobs = {jobs} is not allowed: it must be at least 1")
    paths = list(chapters(root).values()) if names is None else [chapter(name, root) for name in names]
    for path in paths:
        chapter_parameters(path)

    staged = root / "_build" / "executed"
    shutil.rmtree(staged, ignore_errors=True)
    book = _copy_folder(root / "book", staged / "book")
    _execute(paths, book, jobs, report)
    _save_pictures(book)
    if refresh:
        for path in paths:
            _save_outputs(book / path.name, path)
        _save_pictures(root / "book")

    arguments = [staged, "--config", root / "_config.yml", "--toc", root / "_toc.yml", "--path-output", staged]
    start = time.perf_counter()
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "-q", "-W", "--keep-going", *arguments]
    if subprocess.run(command, cwd=root, stdout=subprocess.DEVNULL).returncode:
        raise BookError("Jupyter Book stopped, or had warnings, which count as errors: see above")
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(staged / "_build" / "html", out)
    report(f"rendered in {time.perf_counter() - start:.0f} s: {out / 'index.html'}")
    return out


def _execute(paths, folder, jobs, report):
    """Execute chapters, `jobs` at a time, each in a process of its own because papermill changes the working directory."""
    failures = []
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _watch_parent) as pool:
        futures = {pool.submit(_timed_run, path, folder): path for path in paths}
        for future in as_completed(futures):
            try:
                report(f"{futures[future].stem} executed in {future.result():.0f} s")
            except BookError as error:
                failures.append(str(error))
            except BrokenProcessPool:
                failures.append(f"{futures[future].stem}: a process that executes chapters was killed")
    if failures:
        raise BookError("\n".join(failures))


def _watch_parent():
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _timed_run(path, folder):
    start = time.perf_counter()
    run_chapter(path, {}, folder / path.name, cwd=folder)
    return time.perf_counter() - start


def _save_outputs(executed, path):
    """Put the outputs of the executed copy into the chapter at `path`, and nothing else that would change from run to run."""
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


def _save_pictures(folder):
    """Write the figures that pages in Markdown show, as images/NAME.png, out of the chapters in `folder`."""
    pages = "".join(page.read_text("utf-8") for page in sorted(folder.glob("*.md")))
    cells = [cell for path in sorted(folder.glob("*.ipynb")) for cell in _cells(path)]
    for cell in cells:
        name = cell.get("metadata", {}).get("mystnb", {}).get("figure", {}).get("name")
        pictures = [output["data"]["image/png"] for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
        if pictures and f"images/{name}.png" in pages:
            (folder / "images").mkdir(exist_ok=True)
            write_atomically(folder / "images" / f"{name}.png", b64decode("".join(pictures[0])))


def _encode(notebook):
    import nbformat

    return (nbformat.writes(notebook) + "\n").encode()


def _kernel_manager_class(called_from):
    """Starts the interpreter that runs now, whichever one is registered as python3, with topo on its path."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class ThisPython(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _native_only(self):
            return KernelSpecManager(kernel_dirs=[])

        async def start_kernel(self, **options):
            path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
            await super().start_kernel(env={**os.environ, "PYTHONPATH": path, _CALLED_FROM: called_from}, **options)

    return ThisPython


def _copy_folder(source, target):
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")))


def _cells(path):
    try:
        return json.loads(path.read_text("utf-8"))["cells"]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.stem}: {path} is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.stem}: {path} is no notebook ({error})") from None


def _parameter(statement, comment):
    if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
        raise ValueError(f"`{_one_line(ast.unparse(statement), 60)}` is not of the form `name: type = literal`")
    name, kind = statement.target.id, ast.unparse(statement.annotation)
    try:
        _kind(statement.annotation)
    except TypeError:
        raise ValueError(f"{name}: the type {kind} is none of int, float, bool, str, a list of these, or one of them `| None`") from None
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        raise ValueError(f"{name}: the default {ast.unparse(statement.value)} is no literal") from None
    meaning, _, constraint = comment.rpartition(";") if ";" in comment else (comment, "", "")
    if not meaning.strip():
        raise ValueError(f"{name} has no comment that says what it is")
    return Parameter(name, kind, default, meaning.strip(), constraint.strip())


def _kind(annotation):
    match annotation:
        case ast.Name(id=name) if name in _SCALARS:
            return _SCALARS[name]
        case ast.Constant(value=None):
            return types.NoneType
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return list[_kind(item)]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _kind(left) | _kind(right)
    raise TypeError


def _fit(value, kind):
    """`value` as a `kind`, whole numbers turned into floats where those belong; TypeError where it is none."""
    if isinstance(kind, types.UnionType):
        for option in get_args(kind):
            if _fits(value, option):
                return _fit(value, option)
    elif get_origin(kind) is list and isinstance(value, list):
        return [_fit(item, *get_args(kind)) for item in value]
    elif kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    elif type(value) is kind:
        return value
    raise TypeError


def _fits(value, kind):
    try:
        _fit(value, kind)
    except TypeError:
        return False
    return True


def _check_constraint(parameter, names):
    if not parameter.constraint:
        return
    try:
        nodes = list(ast.walk(ast.parse(parameter.constraint, mode="eval")))
    except SyntaxError:
        raise ValueError(f"{parameter.name}: the constraint `{parameter.constraint}` is no expression") from None
    loops = {node.target.id for node in nodes if isinstance(node, ast.comprehension) and isinstance(node.target, ast.Name)}
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    unknown = used - {*names, *loops, *_FUNCTIONS}
    if unknown or parameter.name not in used or not all(isinstance(node, _CONSTRAINT_NODES) for node in nodes):
        reason = f"uses {', '.join(sorted(unknown))}" if unknown else "is not about it" if parameter.name not in used else "is not simple"
        raise ValueError(f"{parameter.name}: the constraint `{parameter.constraint}` {reason}")


def _holds(constraint, values):
    """Whether a constraint that `_check_constraint` found harmless is true of `values`."""
    if not constraint:
        return True
    try:
        return eval(constraint, {"__builtins__": {}, **_FUNCTIONS, **values}) is True
    except Exception:  # of whatever the values cannot do, such as min([])
        return False


def _nearest(name, known):
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f" (did you mean {near[0]}?)" if near else ""


def _one_line(text, longest=200):
    text = " ".join(str(text).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _short(value):
    return _one_line(repr(value), 80)
