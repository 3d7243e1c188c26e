"""Density, lazy witness barcodes and Mapper, from 1,000 points on: seconds and memory, beside other libraries.

Knows the order of measurements and the report; must not know how a contestant is called. Its options:
`.venv/bin/python -m benchmarks.topology --help`
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

from tqdm import tqdm

from benchmarks import OUT, afresh, aligned, circumstances, heading, installed, positive, some_of
from benchmarks.contestants import GAIN, KERNELS, LANDMARKS, NEIGHBOR, NU, RESOLUTION
from topo.files import write_atomically

SIZES = (1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 204_800, 500_000)
REPEATED = (20_000, 204_800)  # sizes of the table: all have their turn in every round
TASKS = {
    "density": f"distance of every point to its {NEIGHBOR}th nearest neighbour",
    "lazy witness": f"barcode of dimensions 0 to 2 with {LANDMARKS} landmarks, nu = {NU}",
    "Mapper": f"Mapper({RESOLUTION}, {GAIN}) with the mean filter of every node; the others get its bins and threshold",
}
_MIB = 2**20


def run(kernels, sizes, rounds, limit):
    """Measure everything, each in a process of its own, contestants in turn so that what disturbs one disturbs all.

    kernels: of KERNELS; sizes: numbers of points, ascending; rounds: how often each contestant has its turn at the
    REPEATED sizes; limit: seconds after which a contestant is stopped. One that was stopped or failed, or that would be
    stopped if its cost grew in proportion to the points, is not run on larger clouds.
    Returns what `report` prints and JSON holds; a result is a list of `contestants.measure`, or why there is none.
    """
    results = {}
    chosen = [(kernel, name) for kernel in kernels for name in KERNELS[kernel][2]]
    with tqdm(total=sum(rounds if n in REPEATED else 1 for n in sizes) * len(chosen), unit="measurement") as bar:
        for kernel in kernels:
            contestants = {name: {} for name in KERNELS[kernel][2]}
            for n in sizes:
                turns = rounds if n in REPEATED else 1
                for name in contestants:
                    contestants[name][n] = _spared(kernel, name, contestants[name], n, limit) or []
                for _ in range(turns):
                    for name, of in contestants.items():
                        if isinstance(of[n], list):
                            bar.set_postfix_str(f"{kernel}, {name}, {n:,} points")
                            of[n] = _measured(of[n], kernel, name, n, limit)
                        bar.update()
            results[kernel] = {
                "task": TASKS[kernel],
                "contestants": contestants,
                "table": table(contestants),
                "curves": curves(contestants),
            }
    packages = {package for kernel in kernels for package, _ in KERNELS[kernel][2].values() if package}
    return {**circumstances("numpy", "numba", *sorted(packages)), "rounds": rounds, "limit": limit, "results": results}


def _spared(kernel, name, so_far, n, limit):
    """Why a contestant is not run on n points, or None."""
    package = KERNELS[kernel][2][name][0]
    if package and not installed(package):
        return "not installed"
    if so_far:
        smaller, last = max(so_far.items())
        if isinstance(last, str):
            return "not run"
        if _seconds(last) * n / smaller > limit:
            return f"over {limit} s"
    return None


def _measured(before, kernel, name, n, limit):
    try:
        return [*before, afresh("benchmarks.contestants.measure", kernel, name, n, limit)]
    except TimeoutError:
        return f"over {limit} s"
    except RuntimeError as error:
        tqdm.write(str(error).splitlines()[-1], file=sys.stderr)
        return "failed"


def _seconds(result):
    return median(each["seconds"] for each in result)


def difference(result, ours):
    """The largest relative difference of a contestant's answers from ours; None where they are not comparable."""
    pairs = [(a, b) for each, own in zip(result, ours) if each["answer"] for a, b in zip(each["answer"], own["answer"])]
    return max((abs(a - b) / abs(b) for a, b in pairs if a != b), default=0.0) if pairs else None


def table(contestants):
    """{"header", "rows"} of one kernel: text, a row for each size of the table and contestant.

    contestants: {name: {points: a list of what `contestants.measure` returned, or a text that says why there is none}},
    ours first. REPEATED sizes are shown, or else the largest. A ratio is the median over rounds of the ratio within a
    round; the difference is the largest relative difference of an answer from ours.
    """
    header = ("points", "by", "seconds", "times ours", "peak memory", "difference")
    own, rows = contestants["topo"], []
    for n in [n for n in own if n in REPEATED] or [max(own)]:
        for name, of in contestants.items():
            if isinstance(of[n], str):
                rows.append((f"{n:,}", name, of[n], "", "", ""))
                continue
            times = [each["seconds"] for each in of[n]]
            memory = max(each["memory"] for each in of[n]) / _MIB
            ratio = apart = ""
            if isinstance(own[n], list):
                ratio = f"{median(each['seconds'] / ours['seconds'] for each, ours in zip(of[n], own[n])):.1f}"
                apart = difference(of[n], own[n])
                apart = "another complex" if apart is None else f"{apart:.0e}" if apart else "0"
            rows.append(
                (
                    f"{n:,}",
                    name,
                    f"{median(times):.2f} ({min(times):.2f}-{max(times):.2f})",
                    ratio,
                    f"{memory:,.0f} MiB",
                    apart,
                )
            )
    return {"header": header, "rows": rows}


def curves(contestants):
    """{name: (points, seconds)} of all that ran, ascending in points: what the log-log plot shows."""
    ran = {
        name: [(n, _seconds(each)) for n, each in of.items() if isinstance(each, list)]
        for name, of in contestants.items()
    }
    return {name: tuple(zip(*pairs)) for name, pairs in ran.items() if pairs}


def report(measured):
    """What `run` returned, as text."""
    lines = [heading(measured), f"{measured['rounds']} rounds, at most {measured['limit']} s each"]
    for kernel, result in measured["results"].items():
        lines += ["", f"{kernel}: {result['task']}", aligned(result["table"], "<<>>>>")]
    return "\n".join(lines)


def plot(measured, path):
    """Write an image file to `path`: for each kernel a log-log plot of seconds against the number of points."""
    from topo import figures

    figures.use_style()
    figures.costs({kernel: result["curves"] for kernel, result in measured["results"].items()}).savefig(path)


def main(arguments=None):
    """Measure, print the table, and keep the figures and the plots in _build/bench."""
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m benchmarks.topology", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--rounds",
        type=positive(int),
        default=3,
        metavar="N",
        help="turns of all at the sizes of the table (default: 3)",
    )
    parser.add_argument(
        "--limit",
        type=positive(int),
        default=120,
        metavar="S",
        help="seconds after which one is stopped (default: 120)",
    )
    parser.add_argument(
        "--largest", type=positive(int), default=max(SIZES), metavar="N", help=f"points at most (default: {max(SIZES)})"
    )
    parser.add_argument(
        "--only", type=some_of(KERNELS), default=list(KERNELS), metavar="A,B", help=f"some of {','.join(KERNELS)}"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT / "topology.json",
        metavar="FILE",
        help="where the figures go (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    if chosen.largest < SIZES[0]:
        parser.error(f"--largest {chosen.largest} is not allowed: the smallest cloud has {SIZES[0]} points")
    measured = run(chosen.only, [n for n in SIZES if n <= chosen.largest], chosen.rounds, chosen.limit)
    write_atomically(chosen.out, (json.dumps(measured, indent=1) + "\n").encode())
    plot(measured, chosen.out.with_suffix(".svg"))
    print(report(measured), f"The same as JSON: {chosen.out}; plots: {chosen.out.with_suffix('.svg')}", sep="\n\n")


if __name__ == "__main__":
    main()
