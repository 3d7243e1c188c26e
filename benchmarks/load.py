"""Many filters through density, lazy witness and Mapper: time and memory, each in a process of its own.

Knows the order of measurements and the report; must not know how a computation is called. `make bench` leaves it out:
`.venv/bin/python -m benchmarks.load` takes minutes on a quiet machine; `--help` lists its options.
"""

import argparse
import json
from pathlib import Path

from benchmarks import OUT, afresh, aligned, circumstances, heading, positive
from benchmarks.contestants import KERNELS
from topo.files import write_atomically


def run(filters, limit):
    """Measure our computation of every kernel on `filters` filters. Returns what `report` prints and JSON holds.

    limit: seconds after which one is stopped; its result is then a text that says so.
    """
    results = {}
    for kernel in KERNELS:
        try:
            measured = afresh("benchmarks.contestants.measure", kernel, "topo", filters, limit)
            results[kernel] = {name: measured[name] for name in ("seconds", "memory")}
        except TimeoutError:
            results[kernel] = f"over {limit} s"
    return {**circumstances("numpy", "numba"), "filters": filters, "results": results}


def report(measured):
    """What `run` returned, as text."""
    rows = [
        (kernel, of, "")
        if isinstance(of, str)
        else (kernel, f"{of['seconds']:.0f} s", f"{of['memory'] / 2**20:,.0f} MiB")
        for kernel, of in measured["results"].items()
    ]
    table = {"header": ("computation", "time", "peak memory"), "rows": rows}
    return "\n".join([heading(measured), f"{measured['filters']:,} filters", "", aligned(table, "<>>")])


def main(arguments=None):
    """Measure, print, and keep the figures in _build/bench."""
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m benchmarks.load", description=__doc__.splitlines()[0])
    many, longest, where = 1_000_000, 3600, "where the figures go (default: %(default)s)"
    parser.add_argument(
        "--filters", type=positive(int), default=many, metavar="N", help=f"how many (default: {many:,})"
    )
    seconds = f"seconds after which a computation is stopped (default: {longest})"
    parser.add_argument("--limit", type=positive(int), default=longest, metavar="S", help=seconds)
    parser.add_argument("--out", type=Path, default=OUT / "load.json", metavar="FILE", help=where)
    chosen = parser.parse_args(arguments)
    measured = run(chosen.filters, chosen.limit)
    write_atomically(chosen.out, (json.dumps(measured, indent=1) + "\n").encode())
    print(report(measured), f"The same as JSON: {chosen.out}", sep="\n\n")


if __name__ == "__main__":
    main()
