"""Benchmarks: this project beside what one would otherwise use, in one run.

Here is what they share: how something is timed, in a process of its own, and reported. Must not know what is measured.
"""

import argparse
import io
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import contextmanager
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "_build" / "bench"
CPUINFO = Path("/proc/cpuinfo")  # what Linux says of the processor


def steady(run, seconds):
    """Iterations per second of `run(iterations)`.

    A first call compiles and is not timed; a second one tells how many iterations fill `seconds`.
    """
    run(2)
    start = time.perf_counter()
    run(2)
    iterations = max(2, round(2 * seconds / (time.perf_counter() - start)))
    start = time.perf_counter()
    run(iterations)
    return iterations / (time.perf_counter() - start)


def peak_memory():
    """The most bytes of memory that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss begins with what the process that started this one held
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def minibatches(images, labels, batch, seed=0):
    """Endless minibatches (images, labels) out of NumPy arrays, in a new order every epoch.

    batch: images in each; what is left over at the end of an epoch is not used. seed: of the orders.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(images))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            yield images[chosen], labels[chosen]


def afresh(function, *arguments, root=ROOT, **environment):
    """What a function returns in a process of its own.

    function: its module and name, such as "benchmarks.flax_loop.measure". arguments, and what it returns, are JSON.
    root: the folder whose packages are imported. environment: variables of the process besides the present ones.
    Raises TimeoutError for a process that SIGALRM ended, RuntimeError with the error output of one that failed
    otherwise.
    """
    module, _, name = function.rpartition(".")
    program = f"import json, sys, {module}; print(json.dumps({function}(*json.loads(sys.argv[1]))))"
    command = [sys.executable, "-c", program, json.dumps(arguments)]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True)  # noqa: S603 -- our own code
    if done.returncode == -signal.SIGALRM:
        raise TimeoutError(f"{function}{arguments} was out of time")
    if done.returncode:
        raise RuntimeError(f"{function}{arguments} failed: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def earlier(revision):
    """A folder with the package `topo` as it was at a revision of Git, beside these benchmarks, while it is needed.

    None, instead of a folder, where the revision is not in this copy of the repository, or where this is none.
    """
    command = ["git", "-C", str(ROOT), "archive", revision, "topo"]
    try:
        packed = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603 -- no shell
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            files.extractall(folder, filter="data")
        shutil.copytree(ROOT / "benchmarks", Path(folder, "benchmarks"))
        yield folder


def multiplies_bfloat16():
    """Whether the processor has instructions for products of bfloat16 (AMX or AVX-512), by Linux's list of features."""
    return CPUINFO.exists() and not {"amx_bf16", "avx512_bf16"}.isdisjoint(CPUINFO.read_text().split())


def circumstances(*packages):
    """{"date", "machine", "versions": of Python and the packages, "not installed" where they are not}."""
    numbers = {"python": python_version(), **{package: installed(package) or "not installed" for package in packages}}
    return {"date": date.today().isoformat(), "machine": afresh("topo.machine.hardware"), "versions": numbers}


def installed(package):
    """The version of a distribution, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def heading(measured):
    """Two lines of text: when and where, and with which versions."""
    versions = ", ".join(f"{package} {number}" for package, number in measured["versions"].items())
    return f"{measured['date']}, {measured['machine']}\n{versions}"


def aligned(table, sides):
    """A table {"header", "rows"} of str as text; sides: "<" or ">" for each column."""
    lines = [table["header"], *table["rows"]]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths)).rstrip() for line in lines
    )


def positive(kind):
    """A parser of positive numbers for argparse; kind: int or float."""

    def parse(text):
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not allowed: it must be positive")
        return value

    parse.__name__ = kind.__name__
    return parse


def some_of(allowed):
    """A parser of names out of `allowed`, joined by commas, for argparse."""

    def parse(text):
        names = text.split(",")
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: only {', '.join(allowed)} are measured")
        return names

    return parse
