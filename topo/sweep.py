"""Runs of a chapter over a grid of parameters, side by side, and the page that compares them.

Knows runs, processes and folders of results; must not know what a chapter computes.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import product
from math import prod
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any
from urllib.parse import quote

from topo.book import READS_CHAPTERS, ROOT, BookError, default_output, run_chapter
from topo.checks import check_whole, shown, spreadsheet_cell
from topo.files import brief, check_folder, replace_folder, write_atomically
from topo.freshness import PACKAGE
from topo.machine import share_of_threads
from topo.parameters import Parameter, cells_of, chapter_parameters, check, one_line
from topo.results import Results, results

MOST = 10_000  # runs of a sweep
_TABLE, _PAGE = "runs.csv", "index.html"
_CHILD = "from topo import sweep; sweep._answer()"


@dataclass(frozen=True)
class Run:
    """A run of a sweep: its parameters, where its executed copy lies, and why it failed, "" where it did not."""

    values: dict[str, Any]
    out: Path
    failed: str = ""


def plan(declared: Sequence[Parameter], choices: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The values of all runs of a sweep: the product of the choices, the last parameter first to change.

    choices: values by name. Equal runs are one. Raises ValueError for more than MOST runs, and, as
    `topo.parameters.check` does, where a single one of them is not allowed.
    """
    if (count := prod(map(len, choices.values()))) > MOST:
        raise ValueError(f"the sweep would be {count:,} runs; at most {MOST:,} are allowed")
    runs = [check(declared, dict(zip(choices, values))) for values in product(*choices.values())]
    return list({repr(values): values for values in runs}.values())


def sweep(
    path: str | Path,
    choices: Mapping[str, Sequence[Any]],
    out: str | Path | None = None,
    workers: int = 2,
    scheduler: str | None = None,
    root: str | Path = ROOT,
    report: Callable[[str], object] = print,
) -> tuple[Path, list[Run]]:
    """Execute the chapter at `path` with all combinations of the choices, and write a page that compares the results.

    choices: values by parameter. out: the folder of the page, of a table of all results and of the figures; where None,
    below _build/runs and named after the choices. What a sweep wrote there before is replaced, whole or not at all.
    workers: runs at a time, each in processes of its own. scheduler: the address of a Dask cluster to execute them
    instead, such as "tcp://host:8786", whose workers need this package.
    report: called with a line of text for each run.

    A run's executed copy lies below _build/runs, under a name with a checksum of the parameters, of the chapter without
    its outputs and of all that it is computed with: this package, the pins, and the manifests of the data. Such a
    copy is not made again: a sweep that was stopped goes on. A run that fails is a row with its reason, and is tried
    again the next time.
    Returns the page and all runs. Raises ValueError before anything runs where an argument or a single combination is
    not allowed, and as `topo.campaign.spread` does; OSError where `out` cannot be written.
    """
    path, root = Path(path).resolve(), Path(root).resolve()
    check_whole(workers, "workers", 1)
    plans = plan(chapter_parameters(path), choices)
    given = {name: values[0] if len(values) == 1 else list(values) for name, values in choices.items()}
    out = Path(out or default_output(path, given, root).with_suffix("")).resolve()
    if out.exists() and not (out / _TABLE).exists() and (out.is_file() or any(out.iterdir())):
        raise ValueError(f"{out} holds something other than a sweep; name an empty or a new folder")
    check_folder(out.parent)

    runs = [Run(values, _place(path, values, root)) for values in plans]
    swept = [name for name, values in choices.items() if len(values) > 1]
    failures = {}
    for run, why in _executed([run for run in runs if not run.out.exists()], path, workers, scheduler):
        report(f"{_label(run, swept) or path.stem}: {shown(why) or 'executed'}")
        failures[run.out] = why
    if kept := len(runs) - len(failures):
        report(f"{kept} of {len(runs)} runs were executed before")
    runs = [Run(run.values, run.out, failures.get(run.out, "")) for run in runs]
    with tempfile.TemporaryDirectory(dir=_made(out.parent), prefix=".sweep-") as scratch:
        made = _made(Path(scratch) / out.name)
        _write(made, out, path, runs, swept)
        replace_folder(out, made)
    return out / _PAGE, runs


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _label(run: Run, names: Iterable[str]) -> str:
    return ", ".join(f"{name} = {one_line(run.values[name], 60)}" for name in names)


def _place(path: Path, values: Mapping[str, Any], root: Path) -> Path:
    """Where the executed copy of a run lies."""
    cells = cells_of(path)
    files = [*sorted(PACKAGE.rglob("*.py")), root / "requirements.txt"]
    files += [
        each
        for folder in (".", "samples", "benchmarks", "tried")
        for each in sorted((ROOT / "data" / folder).glob("*.json"))
    ]
    if any(READS_CHAPTERS in cell["metadata"].get("tags", ()) for cell in cells):
        files += sorted(path.parent.glob("*.ipynb"))
    told = [[each[key] for key in ("cell_type", "metadata", "source")] for each in cells]
    named = [Path(each) for each in values.values() if isinstance(each, str)]
    stamps = [(str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in named if each.is_file()]
    whole = hashlib.sha256(json.dumps([told, repr(values), sys.version, stamps]).encode())
    for file in files:
        whole.update(file.read_bytes() if file.exists() else b"")
    place = default_output(path, values, root)
    return place.with_name(f"{brief(place.stem, whole.hexdigest(), 200)}.ipynb")


# Execution


def _executed(runs: Sequence[Run], path: Path, workers: int, scheduler: str | None) -> Iterator[tuple[Run, str]]:
    """Execute runs. Yields each when it is done, with the reason why it failed, "" where it did not."""
    if not runs:
        return
    if scheduler is None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = shutil.copytree(path.parent, Path(scratch) / "book")
            jobs = [dict(path=str(path), values=run.values, out=str(run.out), cwd=str(folder)) for run in runs]
            for i, why in _side_by_side(jobs, workers):
                yield runs[i], why
        return
    from topo import campaign

    calls = [(path.name, path.read_bytes(), run.values) for run in runs]
    for i, answer in campaign.spread(_execute_elsewhere, calls, scheduler):
        content, why = answer or (b"", "its workers died again and again: was their memory enough?")
        if content:
            write_atomically(runs[i].out, content)
        yield runs[i], why


def _side_by_side(jobs: Sequence[Mapping[str, Any]], workers: int) -> Iterator[tuple[int, str]]:
    """Execute jobs in processes of their own, `workers` at a time, which end when this process does.

    Yields the number of each job when it is done, with the reason why it failed, "" where it did not.
    """
    waiting = deque(enumerate(jobs))
    running: dict[Any, tuple[int, Any, Any]] = {}  # by standard output: the job's number, its process, its errors
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                i, job = waiting.popleft()
                said = tempfile.TemporaryFile("w+", errors="replace")
                pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True)
                process = subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603 -- a fixed command
                    [sys.executable, "-c", _CHILD],
                    env=_environment() | share_of_threads(workers),
                    **pipes,
                )
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
                running[process.stdout] = i, process, said
            for answers in wait(list(running)):
                i, process, said = running.pop(answers)
                yield i, _reason(process, said)
    finally:
        for _, process, said in running.values():
            process.stdin.close()  # which ends it
            process.wait()
            process.stdout.close()
            said.close()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def _reason(process: Any, said: Any) -> str:
    with process, said:
        answer = process.stdout.read()
        process.stdin.close()
        process.wait()
        if answer:
            return json.loads(answer)
        said.seek(0)
        last = (said.read().strip().splitlines() or [""])[-1]
        return f"its process ended with status {process.returncode}" + (f": {one_line(last)}" if last else "")


def _answer() -> None:
    """In a process of its own: execute the job that standard input describes, and write why it failed, or ""."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a kernel may print
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run_chapter(job["path"], job["values"], job["out"], cwd=job["cwd"])
        why = ""
    except (BookError, ValueError, OSError) as error:
        why = one_line(error, 500)
    with answers:
        json.dump(why, answers)


def _end_with_parent() -> None:
    while os.read(0, 1):  # nothing comes: the parent closes it, or has ended
        pass
    os._exit(1)


def _execute_elsewhere(name: str, content: bytes, values: Mapping[str, Any]) -> tuple[bytes, str]:
    """On a worker of a cluster: execute a chapter. Returns the executed copy, and the reason why it failed."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "book"
        if (ROOT / "book").exists():
            shutil.copytree(ROOT / "book", folder)
        write_atomically(folder / name, content)
        out = _made(Path(scratch) / "out") / name
        job = dict(path=str(folder / name), values=values, out=str(out), cwd=str(folder))
        ((_, why),) = _side_by_side([job], 1)
        return (b"" if why else out.read_bytes()), why.partition("; see ")[0]  # what it names is gone


# The page


@dataclass(frozen=True)
class _Row:
    """A run, its results without the pictures themselves, and where those lie: {name: (file, size, alt)}."""

    run: Run
    found: Results
    pictures: dict[str, tuple[str, tuple[int, int], str]] = field(default_factory=dict)


def _write(folder: Path, final: Path, path: Path, runs: Sequence[Run], swept: Sequence[str]) -> None:
    """Write page, table and figures into `folder`, which will be called `final`."""
    book = results(path)
    captions: dict[str, str] = {}
    rows = []
    for i, run in enumerate(runs, 1):
        if run.failed:
            rows.append(_Row(run, Results({}, {}, {}, [])))
            continue
        found = results(run.out)
        pictures = {}
        for each in found.pictures:
            file = Path("figures") / f"{each.name}-{i:0{len(str(len(runs)))}}.png"
            _made(folder / "figures").joinpath(file.name).write_bytes(each.png)
            width, height = struct.unpack(">II", each.png[16:24])
            pictures[each.name] = (str(file), (width, height), each.alt)
            captions.setdefault(each.name, each.caption)
        rows.append(_Row(run, Results(found.values, found.formats, found.verdicts, []), pictures))
    (folder / _TABLE).write_text(_table(rows), "utf-8")
    (folder / _PAGE).write_text(_page(path.stem, final, book, rows, swept, captions), "utf-8")


def _names(parts: Iterable[Mapping[str, Any]]) -> list[str]:
    return list({name: None for part in parts for name in part})


def _table(rows: Sequence[_Row]) -> str:
    """All runs as CSV: parameters, the numbers as they are, verdicts, the executed copy, and why a run failed."""
    numbers, verdicts = _names(row.found.values for row in rows), _names(row.found.verdicts for row in rows)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*rows[0].run.values, *numbers, *verdicts, "notebook", "failed"])
    for row in rows:
        cells = [*row.run.values.values(), *(row.found.values.get(name, "") for name in numbers)]
        cells += [row.found.verdicts.get(name, "") for name in verdicts]
        cells += ["" if row.run.failed else row.run.out.name, row.run.failed]
        writer.writerow([spreadsheet_cell(each) for each in cells])
    return stream.getvalue()


_STYLE = """:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:90em;margin:2em auto;padding:0 1em}
.wide{overflow-x:auto}table{border-collapse:collapse}caption{text-align:left}
th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #8888;white-space:nowrap}
thead th{vertical-align:bottom;white-space:normal}td.text{text-align:left}.book{font-style:italic}
.grid{display:grid;gap:1em}figure{margin:0}img{background:#fff;height:auto;width:100%}"""


def _page(
    chapter: str, final: Path, book: Results, rows: Sequence[_Row], swept: Sequence[str], captions: Mapping[str, str]
) -> str:
    """The page that compares runs; numbers that are the same in all, and in the book, stand once below the table."""
    found = [row.found for row in rows if not row.run.failed]
    verdicts, numbers = _names(each.verdicts for each in found), _names(each.values for each in found)
    same = [name for name in numbers if len({each.shown(name) for each in (book, *found)}) == 1]
    numbers = [name for name in numbers if name not in same]

    def texts(of: Results) -> str:
        each = [of.verdicts.get(name, "") for name in verdicts] + [of.shown(name) for name in numbers]
        return "".join(f"<td>{escape(text)}</td>" for text in each)

    heads = "".join(f'<th scope="col">{escape(each)}</th>' for each in (*swept, *verdicts, *numbers, "notebook"))
    own = f'<th scope="row" colspan="{len(swept)}">the book</th>' if swept else ""
    lines = [f'<tr class="book">{own}{texts(book)}<td>{escape(chapter)}</td></tr>']
    for row in rows:
        values = "".join(f'<th scope="row">{escape(one_line(row.run.values[name], 60))}</th>' for name in swept)
        if row.run.failed:
            columns = len(verdicts) + len(numbers) + 1
            lines.append(f'<tr>{values}<td class="text" colspan="{columns}">{escape(shown(row.run.failed))}</td></tr>')
        else:
            link = quote(os.path.relpath(row.run.out, final))
            lines.append(f'<tr>{values}{texts(row.found)}<td><a href="{link}">executed copy</a></td></tr>')
    fixed = [f"{name} = {value!r}" for name, value in rows[0].run.values.items() if name not in swept]
    about = [f"{len(rows)} run{'s' * (len(rows) > 1)} of the chapter {chapter}"]
    about += [f"{len(rows) - len(found)} failed"] * (len(found) < len(rows))
    about += [f"in all of them {', '.join(fixed)}"] * bool(fixed)
    once = ", ".join(f"{name} {book.shown(name)}" for name in same)
    title = f"{chapter}: {' and '.join(swept) or 'one run'}"
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>\n<main><h1>{escape(title)}</h1>\n'
        f'<p>{escape("; ".join(about))}. All numbers are in <a href="{_TABLE}">{_TABLE}</a>.</p>\n'
        f'<div class="wide" tabindex="0"><table><thead><tr>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>\n"
        + (f"<p>The same in all, and in the book: {escape(once)}.</p>\n" if once else "")
        + "\n".join(_multiples(name, caption, rows, swept) for name, caption in captions.items())
        + "\n</main></html>\n"
    )


def _multiples(name: str, caption: str, rows: Sequence[_Row], swept: Sequence[str]) -> str:
    """One figure of all runs, in columns by the last of several parameters where those are few."""
    last = len({repr(row.run.values[swept[-1]]) for row in rows}) if len(swept) > 1 else 0
    columns = f"repeat({last},minmax(14em,24em))" if 1 < last <= 8 else "repeat(auto-fill,minmax(min(18em,100%),1fr))"
    parts = []
    for row in rows:
        label = escape(_label(row.run, swept))
        if name in row.pictures:
            file, (width, height), alt = row.pictures[name]
            size = f'width="{width}" height="{height}"'
            picture = f'<img loading="lazy" alt="{escape(alt)} {label}" {size} src="{file}">'
            parts.append(f'<figure><a href="{file}">{picture}</a><figcaption>{label}</figcaption></figure>')
        else:
            why = "failed" if row.run.failed else "not drawn"
            parts.append(f"<figure><figcaption>{label}: {why}</figcaption></figure>")
    grid = f'<div class="grid" style="grid-template-columns:{columns}">{"".join(parts)}</div>'
    return f'<h2>{escape(caption)}</h2>\n<div class="wide" tabindex="0">{grid}</div>'
