"""Which populations the book needs, and their training in chunks of members on worker processes.

Knows names, scales and processes; must not know gradients or topology.
"""
import hashlib
import json
import multiprocessing
import os
import platform
import threading
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from topo import archive, training
from topo.notation import Architecture

CHECKPOINTS = Path(__file__).resolve().parent.parent / "data" / "cache" / "training"
# One thread to a network, and several networks side by side, beats threads that share one network: 23 against 35 ms
# for a network-iteration of M(64,32,64) on two cores. NPROC is what XLA reads as the number of processors.
_SINGLE_THREAD = {"NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
_FIRST_THOUSAND = (0, 50, 100, 200, 300, 400, 500, 700, 1000)


@dataclass(frozen=True)
class Population:
    """A population of the paper: what is trained, and how much of it is kept.

    networks, iterations: the scale trained here; the paper's own is in `paper`, (networks, iterations).
    snapshots: iterations kept of the first layer; of the deeper ones the first and the last are.
    """

    training: training.Training
    networks: int
    iterations: int
    paper: tuple
    snapshots: tuple = _FIRST_THOUSAND


def _mnist(text, networks, iterations=1000, paper=(100, 40_000), **settings):
    return Population(training.Training(Architecture.parse(text)), networks, iterations, paper, **settings)


# The paper's text lost its three further MNIST configurations; these three are ours, chosen to differ from
# M(64,32,64) in the width of either layer, in both, and in the fully connected block.
POPULATIONS = {
    "mnist-M-64-32-64": _mnist("M(64,32,64)", 100),
    "mnist-M-64-0-64": _mnist("M(64,0,64)", 40),
    "mnist-M-32-16-32": _mnist("M(32,16,32)", 40),
    "mnist-M-64-16-128": _mnist("M(64,16,128)", 40),
    "mnist-M-32-32-0": _mnist("M(32,32,0)", 40),
}


def population(name, networks=None, iterations=None, snapshots=None, **settings):
    """The Population called `name` in POPULATIONS, at another scale or with other settings where given.

    settings: fields of training.Training, such as seed or learning_rate. Raises ValueError for an unknown name or
    a value out of range.
    """
    if name not in POPULATIONS:
        raise ValueError(f"population {name!r} is not one of {', '.join(POPULATIONS)}")
    known = POPULATIONS[name]
    networks = known.networks if networks is None else networks
    iterations = known.iterations if iterations is None else iterations
    if snapshots is None:
        snapshots = [s for s in known.snapshots if s <= iterations]
    snapshots = training.check_run(networks, iterations, snapshots)
    changed = training.Training(**{**vars(known.training), **settings})
    return Population(changed, networks, iterations, known.paper, snapshots)


def obtain(name, source="archive", progress=False, **changes):
    """The Archive of the population `name`: the committed one, or one that is trained now.

    source: "archive", or "train" to train it with `changes` of `population`, such as networks=4, iterations=200,
    dataset="digits"; what was trained before with the same changes goes on from its checkpoints, and the archive is
    kept apart from the committed ones, below data/cache. Raises ValueError for another source, and as `population`,
    `train` and `archive.load` do.
    """
    if source == "archive":
        return archive.load(name)
    if source != "train":
        raise ValueError(f"source = {source!r} is not allowed: 'archive' or 'train'")
    wanted = population(name, **changes)
    folder = checkpoint(wanted.training, range(wanted.networks)).parent / f"{wanted.networks}x{wanted.iterations}"
    keep(name, wanted, train(wanted, progress=progress), folder)
    return archive.load(name, folder)


def check_replaces(name, wanted, folder=archive.DATA):
    """Raise ValueError where `folder` holds an archive `name` that `wanted` would replace with less, or with something else."""
    held = archive.manifest(folder).get(name)
    if held is None:
        return
    differences = [key for key, value in wanted.training.describe().items() if held[key] != value]
    if differences or wanted.networks < len(held["members"]) or wanted.iterations < held["iterations"]:
        scale = f"{len(held['members'])} networks x {held['iterations']} iterations"
        other = f" with other {', '.join(differences)}" if differences else ""
        raise ValueError(f"archive {name} in {folder} holds {scale}{other} and would be lost: choose another folder with --out")


def checkpoint(wanted, members, folder=CHECKPOINTS):
    """Path of the checkpoint file of some members; its name is made of the configuration and the members."""
    identity = hashlib.sha256(json.dumps(wanted.describe(), sort_keys=True).encode()).hexdigest()[:12]
    name = f"{wanted.dataset}-{wanted.architecture.slug}-{identity}"
    return Path(folder) / name / f"members-{members[0]:04d}-{members[-1]:04d}.safetensors"


def _chunks(networks, size):
    return [range(first, min(first + size, networks)) for first in range(0, networks, size)]


_reports = None
_trainer = lru_cache(maxsize=1)(training.Trainer)  # a worker compiles once and trains many chunks


def _enter_worker(reports):
    global _reports
    _reports = reports
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """A worker whose parent was killed must not train on, unseen, over the checkpoints of the next run."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _train_chunk(wanted, members, path, iterations, snapshots, every):
    chunk = training.Chunk(_trainer(wanted), members, path)
    _reports.put(len(members) * (iterations - chunk.lacks(iterations, snapshots)))
    chunk.run(iterations, snapshots, every, report=_reports.put)
    return chunk.population(snapshots)


def train(wanted, workers=None, chunk=5, every=200, folder=CHECKPOINTS, progress=True):
    """Train a Population in worker processes of one thread each, resuming from the checkpoints in `folder`.

    workers: processes; as many as processors where None. chunk: members to a unit of work and to a checkpoint.
    every: iterations between checkpoints. Returns a training.Population. Kill it at any moment: the same call goes
    on from the checkpoints and ends with the same bytes. Raises ValueError for a checkpoint that cannot be used.
    """
    from tqdm import tqdm

    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()
    parts = []
    with (
        _environment(**_SINGLE_THREAD),
        ProcessPoolExecutor(workers or _processors(), context, _enter_worker, (reports,)) as pool,
        tqdm(total=wanted.networks * wanted.iterations, unit="step", disable=not progress, smoothing=0.02) as bar,
    ):
        pending = set()
        for members in _chunks(wanted.networks, chunk):
            path = checkpoint(wanted.training, members, folder)
            pending.add(pool.submit(_train_chunk, wanted.training, members, path, wanted.iterations, wanted.snapshots, every))
        try:
            while pending:
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                while not reports.empty():
                    bar.update(reports.get())
                parts += [future.result() for future in done]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    return training.join(parts)


def _processors():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@contextmanager
def _environment(**changes):
    """Variables that the processes started meanwhile inherit."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _hardware():
    """What trained the population, in words."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{_processors()} x {model} ({platform.machine()}), CPU"


def keep(name, wanted, trained, folder=archive.DATA):
    """Write the archive `name` of a trained population, and its manifest entry. Returns the path.

    All kept iterations of layer 1, the first and the last of the deeper layers.
    """
    kernels = {
        layer: snapshots if layer == 1 else {s: snapshots[s] for s in (min(snapshots), max(snapshots))}
        for layer, snapshots in trained.kernels.items()
    }
    description = {
        **wanted.training.describe(),
        "iterations": wanted.iterations,
        "paper": dict(zip(("networks", "iterations"), wanted.paper)),
        "members": trained.members.tolist(),
        "accuracy": {str(s): np.round(values, 4).tolist() for s, values in trained.accuracy.items()},
        "hardware": _hardware(),
        "versions": {package: version(package) for package in ("jax", "flax", "optax", "numpy")},
    }
    return archive.write(name, kernels, description, folder)
