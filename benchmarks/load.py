"""Loads: a million filters, a file of a hundred sizes of layers, two hundred runs of chapters. Time and memory of each.

Knows what is loaded and the report; must not know how any of it is computed. `make bench` leaves it out:
`.venv/bin/python -m benchmarks.load` takes minutes, and longer for the runs; `--help` lists its options.
"""

import argparse
import json
import re
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks import OUT, afresh, circumstances, peak_memory, positive, some_of
from benchmarks.contestants import KERNELS
from topo import book, sweep
from topo.__main__ import main as topo
from topo.files import write_atomically
from topo.parameters import Parameter, chapter_parameters

LOADS = "filters", "sizes", "runs"
SIZES = 100
SWEPT = "02-persistent-homology", "04-density-filtration"  # chapters that take seconds
GRID = 10  # values of each of two parameters


def inspect_sizes(count, limit):
    """Inspect a file of `count` convolutional layers, no two alike in size: {"seconds", "memory": bytes}."""
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sizes.npz"
        sizes = [(16 + i, 16, 3, 3) for i in range(count)]
        np.savez(path, **{f"layer{i}": generator.normal(size=size) for i, size in enumerate(sizes)})
        signal.alarm(limit)
        start = time.perf_counter()
        failed = topo(["inspect", str(path), "--layout", "OIHW", "--out", folder])
        seconds = time.perf_counter() - start
        signal.alarm(0)
    if failed:
        raise RuntimeError(f"inspect ended with {failed}")
    return {"seconds": seconds, "memory": peak_memory()}


def drawn(declared, generator):
    """GRID values at random, by name, for two of the parameters that are numbers, such that all pairs are allowed.

    Raises ValueError where a thousand draws find none.
    """
    numbers = [each for each in declared if type(each.default) in (int, float)]
    for _ in range(1000):
        two = generator.choice(len(numbers), 2, replace=False)
        choices = {numbers[i].name: _around(numbers[i], generator) for i in two}
        try:
            if len(sweep.plan(declared, choices)) == GRID**2:
                return choices
        except ValueError:
            continue
    raise ValueError(f"no {GRID} values of two of {', '.join(each.name for each in numbers)} are allowed together")


def _around(parameter: Parameter, generator):
    """Numbers from half the default to twice that; where it is 0, up to 1,000."""
    values = (
        generator.uniform(0.5, 2, GRID) * parameter.default if parameter.default else generator.uniform(0, 1e3, GRID)
    )
    return [type(parameter.default)(value) for value in values]


def sweep_chapters(limit):
    """Sweep the chapters of SWEPT over random values: {"seconds", "memory": bytes, "note": what became of the runs}.

    The memory is this process's, which looks after the runs; each run has processes of its own.
    """
    generator, runs, memory = np.random.default_rng(0), [], []
    signal.alarm(limit)
    start = time.perf_counter()

    def note(line):
        memory.append(psutil.Process().memory_info().rss)

    for name in SWEPT:
        path = book.chapters()[name]
        choices = drawn(chapter_parameters(path), generator)
        with tempfile.TemporaryDirectory() as folder:
            runs += sweep.sweep(path, choices, Path(folder) / "sweep", report=note)[1]
    signal.alarm(0)
    failed = [run.failed for run in runs if run.failed]
    reasons = "".join(f" ({count}: {why})" for why, count in _kinds(failed))
    early, late = (memory[i] / 2**20 for i in (len(memory) // 10, -1))
    told = f"{len(runs) - len(failed)} done, {len(failed)} refused{reasons}; {early:,.0f} MiB after a tenth of them"
    return {"seconds": time.perf_counter() - start, "memory": max(memory), "note": f"{told}, {late:,.0f} at the end"}


def _kinds(reasons):
    """Reasons that differ in more than numbers, without the file that each names: the first of a kind, and how many."""
    kinds = {}
    for reason in reasons:
        why = reason.partition("; see ")[0]
        kinds.setdefault(re.sub(r"\d[\d.,]*", "0", why), []).append(why)
    return [(alike[0], len(alike)) for alike in kinds.values()]


def measure(load, filters, limit):
    """The rows of one load of LOADS: [{"case", "result", "count", "seconds", "memory": bytes}].

    filters: how many, for "filters". limit: seconds after which one is stopped; its result then says so.
    """
    if load == "filters":
        called = {f"filters: {kernel}": ("contestants.measure", kernel, "topo", filters) for kernel in KERNELS}
    else:
        sizes = {"sizes of layers in one file, inspected": ("load.inspect_sizes", SIZES)}
        called = sizes if load == "sizes" else {"runs of chapters, values at random": ("load.sweep_chapters",)}
    count = {"filters": filters, "sizes": SIZES, "runs": len(SWEPT) * GRID**2}[load]
    rows = []
    for case, (function, *arguments) in called.items():
        row = {"kind": "loads", "case": case, "count": count}
        try:
            found = afresh(f"benchmarks.{function}", *arguments, limit)
        except TimeoutError:
            rows.append({**row, "result": f"not done within {limit:,} s"})
            continue
        rows.append({**row, **_told(found)})
    return rows


def _told(found):
    """What a load took, with its "result" as text."""
    result = f"{found['seconds']:,.0f} s, {found['memory'] / 2**20:,.0f} MiB"
    if note := found.get("note"):
        result += f"; {note}"
    return {"result": result, "seconds": found["seconds"], "memory": found["memory"]}


def main(arguments=None):
    """Measure, print, and keep the rows, beside those of other loads, in _build/bench."""
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m benchmarks.load", description=__doc__.splitlines()[0])
    many, longest, where = 1_000_000, 3600, "where the figures go (default: %(default)s)"
    some = f"the loads, joined by commas (default: {','.join(LOADS)})"
    parser.add_argument("--only", type=some_of(LOADS), default=LOADS, metavar="LOADS", help=some)
    parser.add_argument(
        "--filters", type=positive(int), default=many, metavar="N", help=f"how many (default: {many:,})"
    )
    seconds = f"seconds after which one is stopped (default: {longest})"
    parser.add_argument("--limit", type=positive(int), default=longest, metavar="S", help=seconds)
    parser.add_argument("--out", type=Path, default=OUT / "loads.json", metavar="FILE", help=where)
    chosen = parser.parse_args(arguments)
    rows = {row["case"]: row for row in (json.loads(chosen.out.read_text()) if chosen.out.exists() else [])}
    for load in chosen.only:
        now = circumstances()
        for row in measure(load, chosen.filters, chosen.limit):
            rows[row["case"]] = {**row, "date": now["date"], "machine": now["machine"]}
            print(f"{row['count']:,} {row['case']}: {row['result']}", flush=True)
        write_atomically(chosen.out, (json.dumps(list(rows.values()), indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
