"""Benchmarks: this project beside what one would otherwise use, in one run.

Here is what they share: how something is timed, and in a process of its own. Must not know what is measured.
"""
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "_build" / "bench"


def steady(run, seconds):
    """Iterations per second of `run(iterations)`, after one call that compiles and another that tells how many fill `seconds`."""
    run(2)
    start = time.perf_counter()
    run(2)
    iterations = max(2, round(2 * seconds / (time.perf_counter() - start)))
    start = time.perf_counter()
    run(iterations)
    return iterations / (time.perf_counter() - start)


def peak_memory():
    """Bytes of memory that this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss begins with what the process that started this one held
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def minibatches(images, labels, batch, seed=0):
    """Endless minibatches (images, labels) out of numpy arrays, in a new order every epoch, as a training loop reads them."""
    import numpy as np

    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(images))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            yield images[chosen], labels[chosen]


def afresh(function, *arguments, **environment):
    """What a function returns in a process of its own.

    function: its module and name, such as "benchmarks.flax_loop.measure". arguments, and what it returns, are JSON.
    environment: variables of the process besides the present ones. Raises RuntimeError with the last words of a process that fails.
    """
    module, _, name = function.rpartition(".")
    program = f"import json, sys, {module}; print(json.dumps({function}(*json.loads(sys.argv[1]))))"
    command = [sys.executable, "-c", program, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{function}{arguments} failed: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
