"""What this machine computes with: processors, accelerators, and their names.

Knows JAX's devices; must not know what is computed on them.
"""

import multiprocessing
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path


def accelerated() -> bool:
    """Whether JAX computes on an accelerator, and not on the processor."""
    import jax  # takes half a second, which those who never ask should not wait for

    return jax.default_backend() != "cpu"


def hardware() -> str:
    """What computes here, in words: "2 x AMD EPYC (x86_64), CPU" or the accelerators' names."""
    import jax

    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        return f"{len(devices)} x {devices[0].device_kind}"
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    return f"{processors()} x {model} ({platform.machine()}), CPU"


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_threads(jobs: int) -> dict[str, str]:
    """The environment of each of `jobs` processes side by side, with its share of the threads of BLAS and OpenMP.

    Each would start a thread for every processor, and threads that wait for work keep a processor from the others:
    chapters executed two at a time took a tenth longer. What the user has set stays.
    """
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, processors() // jobs))}


@lru_cache(maxsize=1)
def threads(count: int) -> ThreadPoolExecutor:
    """So many threads of this process, kept for the next call: to start them takes as long as a small search.

    They must not wait for tasks that they are given themselves.
    """
    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=threads.cache_clear)  # of all threads, a forked process has only one


def shares_locks() -> bool:
    """Whether processes of Python can share locks here, which Linux keeps in /dev/shm; some containers have none."""
    try:
        multiprocessing.get_context("spawn").Lock()
    except (OSError, ImportError):
        return False
    return True
