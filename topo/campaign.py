"""The training of a population in chunks of members, here or on a Dask cluster, and the listing of what is left.

Knows plans and workers; must not know gradients or topology.
"""

import logging
import os
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from topo import archive, datasets, training
from topo.checkpoints import (
    CHECKPOINTS,
    Chunk,
    Population,
    Report,
    check_left,
    checkpoint_path,
    formulation_of,
    iteration_of,
    join,
)
from topo.checks import check_whole
from topo.files import check_folder, write_atomically
from topo.machine import accelerated, processors, shares_locks
from topo.populations import POPULATIONS, Plan, check_replaces, keep, members_held, plan, trained_members
from topo.progress import Bar
from topo.recipes import Training
from topo.types import Number, Whole

if TYPE_CHECKING:
    import jax
    from distributed import Client, Future

# Several networks side by side, with one thread each, are faster than threads that share one network: 23 against 35 ms
# for a network-iteration of M(64,32,64) on two cores. NPROC is what XLA reads as the number of processors. Several
# workers cannot share an accelerator, hence the platform. With the MALLOC_ variables the C library keeps freed memory
# instead of returning and requesting it again, which saves a tenth of the time, and a fifth against Dask's own setting.
WORKER_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "NPROC": "1",
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip(),
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_MMAP_MAX_": "0",
}
_THREADS = WORKER_ENVIRONMENT["NPROC"]  # named, as Dask changes the environment of this process while it has workers
_Answer = TypeVar("_Answer")
_PATIENCE = 60  # seconds without any worker after which a cluster is given up
CHUNK = 5  # members to a unit of work on processors; few, because a lost worker loses its unit


def obtain_archive(name: str, source: str = "archive", progress: bool = False, **changes: Any) -> archive.Archive:
    """The Archive of the population `name`: the committed one, or one that is trained now.

    source: "archive", or "train" to train it with `changes` of `topo.populations.plan`, such as networks=4,
    iterations=200, dataset="digits". A population that was trained before with the same changes goes on from its
    checkpoints; the archive is kept apart from the committed ones, below data/cache. progress: as for `train`.
    Raises ValueError for another source, and as `topo.populations.plan`, `train` and `topo.archive.load` do.
    """
    if source == "archive":
        return archive.load(name)
    if source != "train":
        raise ValueError(f"source = {source!r} is not allowed: 'archive' or 'train'")
    wanted = plan(name, **changes)
    folder = checkpoint_path(wanted.training, range(int(wanted.networks))).parent
    folder /= f"{wanted.networks}x{wanted.iterations}"
    return complete(name, wanted, folder, progress=progress)


def complete(name: str, wanted: Plan, folder: str | Path = archive.DATA, **how: Any) -> archive.Archive:
    """Train those members of a Plan that the archive `name` in `folder` lacks, and write it. Returns the Archive.

    how: arguments of `train`. Nothing is trained where the archive holds all members as they are wanted.
    Raises ValueError where the archive holds more or other networks, which would be lost, and as
    `topo.files.check_folder` and `train` do.
    """
    check_replaces(name, wanted, folder)
    check_folder(folder)
    first = members_held(name, wanted, folder)
    if first < wanted.networks:
        keep(name, wanted, train(wanted, first=first, **how), folder)
    return archive.load(name, folder)


@dataclass(frozen=True)
class _Unit:
    """A unit of work: a chunk of members, and how far it is trained.

    path: where its checkpoint lies. formulation: in which of training.FORMULATIONS it is trained, unless its checkpoint
    was begun in another. content: the bytes of the checkpoint that the client has, for a worker that keeps its own
    checkpoints in its own CHECKPOINTS; b"" where the client has none; None where both use the same folder.
    """

    training: Training
    members: range
    path: Path
    iterations: Whole
    snapshots: tuple[Whole, ...]
    every: Whole
    formulation: str
    content: bytes | None = None


_trainer = lru_cache(maxsize=1)(training.Trainer)  # a worker compiles once and trains many chunks


def _advance(
    unit: _Unit,
    devices: "tuple[jax.Device, ...] | None" = None,
    report: Report = lambda iteration, loss: None,
) -> tuple[Population, bytes | None]:
    """Train a unit to its end. Returns its members, and the checkpoint's content where the unit brought one."""
    path = unit.path
    if unit.content is not None:
        path = CHECKPOINTS / path.parent.name / path.name
        here = iteration_of(path.read_bytes()) if path.exists() else -1
        if iteration_of(unit.content) > here:
            write_atomically(path, unit.content)
    trainer = _trainer(unit.training, formulation=formulation_of(path) or unit.formulation, devices=devices)
    chunk = Chunk(trainer, unit.members, path)
    reached = 0 if chunk.missed(unit.snapshots) else min(chunk.iteration, int(unit.iterations))
    report(reached, np.asarray(chunk.states.loss))
    chunk.run(unit.iterations, unit.snapshots, unit.every, report)
    return chunk.population(unit.snapshots), None if unit.content is None else path.read_bytes()


def _advance_on_worker(unit: _Unit, topic: str) -> tuple[Population, bytes | None]:
    from distributed import get_worker

    worker, first = get_worker(), unit.members[0]

    def report(iteration: int, loss: np.ndarray) -> None:
        worker.log_event(topic, (first, int(iteration), np.asarray(loss).tolist()))

    return _advance(unit, report=report)


@contextmanager
def dask_client(workers: Whole, scheduler: str | None) -> "Iterator[Client]":
    """A Dask client of the cluster at `scheduler`, or, where None, of new worker processes on this machine.

    workers: how many processes, of one thread each. Raises ValueError where the scheduler does not answer, or goes
    meanwhile; OSError where processes cannot share locks.
    """
    import dask
    from distributed import Client, LocalCluster
    from distributed.comm.addressing import parse_address, parse_host_port
    from distributed.comm.core import CommClosedError
    from distributed.comm.registry import get_backend

    if scheduler is not None:
        try:
            protocol, place = parse_address(scheduler)
            get_backend(protocol)
            parse_host_port(place)
            client = Client(scheduler, timeout=10, set_as_default=False)
        except (OSError, ValueError) as error:
            form = "it is an address such as tcp://host:8786"
            raise ValueError(f"scheduler {scheduler!r} does not answer ({error}); {form}") from None
        for name in ("distributed", "distributed.client"):  # a cluster that goes is said in one line, not in their logs
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with client:
            try:
                yield client
            except Exception as error:
                if isinstance(error, CommClosedError) or client.status != "running":
                    raise ValueError("the cluster has gone; the same command goes on") from None
                raise
        return
    if not shares_locks():
        raise OSError("this machine has no working /dev/shm, without which worker processes cannot be started")
    options = dict(n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0, env=WORKER_ENVIRONMENT)
    quiet = dict(host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL)
    with dask.config.set({"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}):
        with _interrupts_ignored():
            cluster = LocalCluster(**options, **quiet)
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Make processes that are started meanwhile ignore Ctrl-C: this process ends them, and they print nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _units(
    wanted: Plan, first: Whole, size: Whole, every: Whole, formulation: str, folder: str | Path, ship: bool
) -> Iterator[_Unit]:
    for start in range(int(first), int(wanted.networks), int(size)):
        members = range(start, min(start + int(size), int(wanted.networks)))
        path = checkpoint_path(wanted.training, members, folder)
        content = None if not ship else path.read_bytes() if path.exists() else b""
        yield _Unit(wanted.training, members, path, wanted.iterations, wanted.snapshots, every, formulation, content)


def _members_at_once(record: dict[str, Any], networks: Whole, workers: int, preferred: Whole, memory: Number) -> int:
    """How many members a chunk has: `preferred`, or fewer where half of the memory holds no more.

    record: of `training.measure`; memory: bytes that the workers share.
    """
    fixed, each = record["bytes"]
    room = int(memory / 2 / workers - fixed) // max(each, 1)
    return int(max(1, min(preferred, room, networks)))


def train(
    wanted: Plan,
    workers: Whole | None = None,
    scheduler: str | None = None,
    chunk: Whole | None = None,
    every: Whole = 200,
    folder: str | Path = CHECKPOINTS,
    progress: bool = True,
    first: Whole = 0,
) -> Population:
    """Train a Plan, resuming from the checkpoints in `folder`.

    Where JAX finds accelerators, and neither `workers` nor `scheduler` is given, the members share all of them, in this
    process. Otherwise chunks of members go to Dask workers; where none can be started, because the machine has no
    working /dev/shm, they are trained in this process, one after the other.

    workers: processes of one thread each on this machine; as many as processors where None.
    scheduler: address of a running Dask cluster to use instead, such as "tcp://host:8786". Its workers need this
        package, one thread each and WORKER_ENVIRONMENT; they find or fetch the data set, and keep checkpoints of their
        own in topo.checkpoints.CHECKPOINTS, which $TOPO_CHECKPOINTS moves. Finished chunks are brought back into
        `folder`.
    chunk: members to a unit of work and to a checkpoint; where None, 5 on processors and all of them on
        accelerators, fewer where half of the memory would not hold them.
    every: iterations between checkpoints. progress: whether to show a bar with iteration, members, loss and time left.
    first: the member to begin with, below `wanted.networks`; those before it are not trained.

    The training, or any of its workers, may be killed at any moment: the same call goes on from the checkpoints and, on
    processors of the same kind, ends with the same bytes. Raises TypeError or ValueError for a number out of range, a
    checkpoint that cannot be used, a scheduler that does not answer or has no workers, or where all members lost their
    weights and `first` is 0; OSError where a checkpoint cannot be written or the data set cannot be had.
    """
    for name, value in (("workers", workers), ("chunk", chunk), ("every", every)):
        if value is not None:
            check_whole(value, name, 1)
    check_whole(first, "first", 0)
    if first >= wanted.networks:
        raise ValueError(f"first = {first} must be less than networks = {wanted.networks}")
    Path(folder).mkdir(parents=True, exist_ok=True)
    with Bar(wanted, first, progress) as bar:
        if scheduler is None and (workers is None and accelerated() or not shares_locks()):
            trained = join(_train_here(wanted, first, chunk, every, folder, bar))
        else:
            with dask_client(workers or processors(), scheduler) as client:
                ship = scheduler is not None
                trained = join(_train_there(client, wanted, first, chunk, every, folder, bar, ship))
    if not first:
        check_left(trained)
    return trained


def _train_here(
    wanted: Plan, first: Whole, chunk: Whole | None, every: Whole, folder: str | Path, bar: Bar
) -> Iterator[Population]:
    import jax

    devices = tuple(jax.local_devices())
    record, memory_here = _prepare(wanted.training)
    if chunk is None and accelerated():
        memory = sum(device.memory_stats()["bytes_limit"] for device in devices)
        chunk = _members_at_once(record, wanted.networks, 1, wanted.networks, memory)
    elif chunk is None:
        chunk = _members_at_once(record, wanted.networks, 1, CHUNK, memory_here)
    for unit in _units(wanted, first, chunk, every, record["formulation"], folder, ship=False):
        bar.expect(unit.members)
        yield _advance(unit, devices, partial(bar.show, unit.members[0]))[0]


def _train_there(
    client: "Client",
    wanted: Plan,
    first: Whole,
    chunk: Whole | None,
    every: Whole,
    folder: str | Path,
    bar: Bar,
    ship: bool,
) -> list[Population]:
    machines = _machines(client)
    here = dict(allow_other_workers=True, pure=False)  # as a worker that dies comes back at another address
    prepared = {client.submit(_prepare, wanted.training, workers=[addresses[0]], **here) for addresses in machines}
    answers = [_result(future, "measured") for future in _completed(client, prepared)]
    record, memory = answers[0][0], min(memory for _, memory in answers)
    if chunk is None:
        chunk = _members_at_once(record, wanted.networks, max(map(len, machines)), CHUNK, memory)
    reports: queue.SimpleQueue[tuple[int, int, list[float]]] = queue.SimpleQueue()
    topic = f"topo-{uuid.uuid4()}"
    client.subscribe_topic(topic, lambda event: reports.put(event[1]))

    def show() -> None:
        while not reports.empty():
            bar.show(*reports.get())

    units = list(_units(wanted, first, chunk, every, record["formulation"], folder, ship))
    for unit in units:
        bar.expect(unit.members)
    futures = {client.submit(_advance_on_worker, unit, topic, pure=False): unit for unit in units}
    parts = []
    for future in _completed(client, set(futures), show):
        unit = futures.pop(future)
        part, content = _result(future, f"trained members {unit.members[0]} to {unit.members[-1]}")
        if content is not None:
            write_atomically(unit.path, content)
        parts.append(part)
        future.release()  # what is held is computed again when its worker is lost
    for unit in units:
        bar.show(unit.members[0], wanted.iterations, None)
    return parts


def spread(
    function: Callable[..., _Answer], calls: Sequence[tuple[Any, ...]], scheduler: str
) -> Iterator[tuple[int, _Answer | None]]:
    """Call a function with each of some tuples of arguments, on the workers of the Dask cluster at `scheduler`.

    Yields the number of each call when it is done, with what it returned, or None where its workers died. Raises
    ValueError where the scheduler does not answer or has gone, or where there has been no worker for a minute.
    """
    from distributed import KilledWorker

    with dask_client(1, scheduler) as client:
        futures = {client.submit(function, *call, pure=False): i for i, call in enumerate(calls)}
        for future in _completed(client, set(futures)):
            died = future.status == "error" and isinstance(future.exception(), KilledWorker)
            yield futures.pop(future), None if died else _result(future, "worked")
            future.release()


def _machines(client: "Client") -> list[list[str]]:
    """The addresses of the workers, in one list for each machine. Raises ValueError where there is no worker."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        raise ValueError(f"the cluster has had no worker for {_PATIENCE} seconds") from None
    machines: dict[str, list[str]] = {}
    for address in sorted(client.nthreads()):
        machines.setdefault(address.rsplit(":", 1)[0], []).append(address)
    return list(machines.values())


def _completed(
    client: "Client", pending: "set[Future]", meanwhile: Callable[[], object] = lambda: None
) -> "Iterator[Future]":
    """Yield each pending future as soon as it is done, and call `meanwhile` again and again.

    Raises ValueError where there has been no worker for a minute.
    """
    alive = time.monotonic()
    while pending:
        done = {future for future in pending if future.done()}
        yield from done
        pending -= done
        meanwhile()
        if done or client.nthreads():
            alive = time.monotonic()
        elif time.monotonic() > alive + _PATIENCE:
            raise ValueError(
                f"the cluster has had no worker for {_PATIENCE} seconds; do its workers have this package? "
                "The same command goes on"
            )
        if pending and not done:
            time.sleep(0.1)


def _result(future: "Future", work: str) -> Any:
    from distributed import CancelledError, KilledWorker

    try:
        return future.result()
    except KilledWorker:
        question = "was their memory enough? The same command goes on"
        raise ValueError(f"workers that {work} died again and again: {question}") from None
    except CancelledError:
        raise ValueError("the cluster has gone; the same command goes on") from None


def _prepare(wanted: Training) -> tuple[dict[str, Any], int]:
    """What one worker of every machine does first: fetch the data set and check it, measure, and look up the memory.

    Returns the answer of `training.cached_measurement`, and bytes of memory.
    """
    import psutil

    datasets.load(wanted.dataset)
    return training.cached_measurement(wanted), psutil.virtual_memory().total


def listing(
    names: Iterable[str] = POPULATIONS, folder: str | Path = archive.DATA, workers: Whole | None = None
) -> list[dict[str, str]]:
    """The rows of a table: what of each population is archived, how accurate it is, and what the rest would cost here.

    Accuracies are means over the networks, in percent; the manifest says of which images they are.

    The cost is measured: as many workers as would train measure the time of a few iterations, all at once. Where
    members share accelerators, the time is that of two members on the first of them. What was measured is kept in
    `measurements.json` among the checkpoints; without that file it is measured anew.

    names: of POPULATIONS; folder: of the archives; workers: as many as processors where None.
    All rows have the same keys.
    """
    names, held = list(names), archive.manifest(folder)
    workers = 1 if accelerated() else int(workers or processors())
    seconds = _seconds_each([POPULATIONS[name].training for name in names], workers)
    rows = []
    for name in names:
        goal, entry = POPULATIONS[name], held.get(name)
        have = (trained_members(entry), entry["iterations"]) if entry else (0, 0)
        ours, cost = (goal.networks, goal.iterations), partial(_cost, seconds[goal.training], workers, have)
        rows.append({
            "population": name,
            "archived": _scale(*have) if entry else "nothing",
            "ours": _scale(*ours),
            "the paper's": _scale(*goal.paper[:2]) if goal.paper else "none",
            "accuracy, %": _mean_accuracy(entry) if entry else "",
            "the paper's, %": f"{goal.paper[2]:g}" if goal.paper and len(goal.paper) > 2 else "",
            "ms an iteration": f"{1e3 * seconds[goal.training]:.1f}",
            "left to ours": _duration(cost(ours)),
            "left to the paper's": _duration(cost(goal.paper[:2]) if goal.paper else 0),
        })  # fmt: skip
    return rows


def _seconds_each(trainings: Sequence[Training], workers: int) -> dict[Training, float]:
    """Seconds that a network-iteration takes a worker while all are busy, or an accelerator, where there is one.

    Trainings that `topo.training.measurement_key` does not tell apart are measured once, and the answers are kept.
    """
    if accelerated():
        records = {wanted: training.cached_measurement(wanted) for wanted in trainings}
        return {wanted: min(record["seconds"].values()) for wanted, record in records.items()}
    keys = {wanted: training.measurement_key(wanted) for wanted in trainings}
    each = {key: wanted for wanted, key in keys.items()}
    kept = ((key, _kept_time(wanted, workers)) for key, wanted in each.items())
    seconds = {key: known for key, known in kept if known is not None}
    missing = [key for key in each if key not in seconds]
    if missing:
        from tqdm import tqdm

        with dask_client(workers, None) as client:
            for key in tqdm(missing, "kinds of networks timed", leave=False, disable=None):
                seconds[key] = _time_all(client, each[key], workers)
    return {wanted: seconds[key] for wanted, key in keys.items()}


def _kept_time(wanted: Training, workers: int) -> float | None:
    record = training.read_measurement(wanted, threads=_THREADS) or {}
    return record.get("seconds beside", {}).get(str(workers))


def _time_all(client: "Client", wanted: Training, workers: int) -> float:
    """Time a few iterations on all workers at once, and keep the answer beside the measurement of these networks."""
    measured = client.submit(training.cached_measurement, wanted, pure=False).result()
    record = training.read_measurement(wanted, threads=_THREADS) or measured  # a worker may remember an older one
    addresses = enumerate(client.nthreads())
    here = dict(allow_other_workers=True, pure=False)
    futures = [client.submit(_time_one, wanted, n, workers=[address], **here) for n, address in addresses]
    seconds = float(np.median([future.result() for future in futures]))
    beside = {**record.get("seconds beside", {}), str(workers): seconds}
    training.keep_measurement(wanted, {**record, "seconds beside": beside}, threads=_THREADS)
    return seconds


def _time_one(wanted: Training, member: int, iterations: int = 8) -> float:
    formulation = training.cached_measurement(wanted)["formulation"]
    trainer = training.Trainer(wanted, datasets.stand_in(wanted.dataset), formulation)
    states = trainer.advance(trainer.initial([member]), [member], 0, 1)
    start = time.perf_counter()
    trainer.advance(states, [member], 1, 1 + iterations)
    return (time.perf_counter() - start) / iterations


def _cost(seconds: float, workers: int, have: tuple[int, int], goal: tuple[Whole, Whole]) -> float:
    """Seconds to train from the scale `have`, (networks, iterations), to the scale `goal`.

    seconds: for a network-iteration. No more workers can help than there are chunks.
    """
    missing = max(0, goal[0] * goal[1] - min(have[0], goal[0]) * min(have[1], goal[1]))
    return missing * seconds / min(workers, ceil(goal[0] / CHUNK))


def _scale(networks: Whole, iterations: Whole) -> str:
    return f"{networks} x {iterations}"


def _mean_accuracy(entry: dict[str, Any]) -> str:
    return f"{100 * np.mean(entry['accuracy'][max(entry['accuracy'], key=int)]):.1f}"


def _duration(seconds: Number) -> str:
    """Seconds in words: "none", "12 min", "3.4 h", "5.1 days"."""
    if seconds == 0:
        return "none"
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
