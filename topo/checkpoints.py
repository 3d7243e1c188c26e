"""A trained population, and chunks of its members while they are trained: snapshots and checkpoint files.

Knows states, members and files; must not know how a network is trained, nor which populations the paper needs.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, Integer, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from topo.checks import check_whole
from topo.files import write_atomically
from topo.filters import spatial_filters
from topo.machine import accelerated, hardware
from topo.recipes import Training
from topo.types import Whole

if TYPE_CHECKING:
    from topo.training import Trainer

CHECKPOINTS = Path(
    os.environ.get("TOPO_CHECKPOINTS") or Path(__file__).resolve().parent.parent / "data" / "cache" / "training"
)
Report = Callable[[int, np.ndarray], object]  # called with the iteration reached, and the losses of the members


class Population(NamedTuple):
    """A trained population, or a part of one.

    members: their numbers. kernels: by layer and iteration. accuracy: from 0 to 1, by iteration, of the test images or
    of those held out.
    left_out: {member: iteration} of the members that are not in the population, and when this was found out: their loss
    was no longer finite, or a weight was too large for float16, in which archives are kept.
    hardware: what computed it, in words.
    seconds: what the training took, summed over chunks: of processor time or, where accelerators trained, of real time.
    """

    members: Integer[np.ndarray, "networks"]
    kernels: dict[int, dict[int, Float32[np.ndarray, "networks _height _width _inputs _outputs"]]]
    accuracy: dict[int, Float64[np.ndarray, "networks"]]
    left_out: dict[int, int]
    hardware: str
    seconds: float

    def filters(self, layer: Whole = 1, iteration: Whole | None = None) -> Float32[np.ndarray, "filters pixels"]:
        """Spatial filters, network by network, not normalised.

        iteration: one that was kept, the last one where None. Raises KeyError for a layer or iteration that was not.
        """
        snapshots = self.kernels[int(layer)]
        kernels = snapshots[max(snapshots) if iteration is None else int(iteration)]
        return np.concatenate([spatial_filters(kernel) for kernel in kernels])


class Chunk:
    """Some members of a population while they are trained: states, snapshots and accuracies, kept in a checkpoint file.

    Whenever a checkpoint is due, members whose loss is not finite or whose weights are too large for float16 are noted
    in `left_out`, as {member: iteration}; the others go on. A checkpoint is never replaced by one of an earlier
    iteration: a run to fewer iterations than it has reached takes the snapshots that it holds.

    trainer: what trains them; members: their numbers; checkpoint: the file, from which training goes on where it is
    there; None for no file.
    Raises ValueError where the checkpoint is damaged, or was written with another configuration or other members.
    """

    iteration: int
    states: Any  # topo.training's; stacked along a leading axis of members
    snapshots: dict[int, dict[int, np.ndarray]]  # kernels by iteration and layer
    accuracies: dict[int, np.ndarray]
    seconds: dict[int, float]  # spent until each snapshot and until now, see Population
    left_out: dict[int, int]

    def __init__(self, trainer: "Trainer", members: Iterable[Whole], checkpoint: str | Path | None = None) -> None:
        self.trainer, self.members = trainer, list(map(int, members))
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        if self.checkpoint is not None and self.checkpoint.exists():
            self._read(self.checkpoint)
        else:
            self.iteration, self.states = 0, trainer.initial(self.members)
            self.snapshots, self.accuracies, self.seconds, self.left_out = {}, {}, {0: 0.0}, {}

    def _identity(self) -> dict[str, Any]:
        return {**self.trainer.training.describe(), "members": self.members, "jax": jax.__version__}

    def _read(self, path: Path) -> None:
        def damaged(how: object) -> ValueError:
            return ValueError(f"checkpoint {path} is damaged ({how}); delete it and this chunk starts over")

        try:
            with safe_open(path, "numpy") as file:
                written = json.loads(file.metadata()["identity"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
            raise damaged(error) from None
        wanted = json.loads(json.dumps(self._identity()))
        wanted["formulation"] = self.trainer.formulation
        written["formulation"] = formulation_of(path) or self.trainer.formulation
        differences = [key for key in sorted({*written, *wanted}) if written.get(key) != wanted.get(key)]
        if differences:
            said = ", ".join(f"{key} = {written.get(key)!r} instead of {wanted.get(key)!r}" for key in differences)
            raise ValueError(f"checkpoint {path} was written with {said}; move it away and this chunk starts over")
        if not np.array_equal(tensors.pop("sha256", None), _digest(tensors)):
            raise damaged("its content is not what was written")
        self._restore(tensors)

    def _restore(self, tensors: dict[str, np.ndarray]) -> None:
        self.iteration = int(tensors.pop("iteration"))
        self.snapshots, self.accuracies, self.seconds, self.left_out = {}, {}, {}, {}
        structure: Any = jax.tree.structure(jax.eval_shape(lambda: self.trainer.initial(self.members)))
        leaves = [jnp.asarray(tensors.pop(f"state/{i:03d}")) for i in range(structure.num_leaves)]
        self.states = jax.tree.unflatten(structure, leaves)
        for key, value in tensors.items():
            kind, number, *layer = key.split("/")
            if kind == "accuracy":
                self.accuracies[int(number)] = value
            elif kind == "seconds":
                self.seconds[int(number)] = float(value)
            elif kind == "left_out":
                self.left_out[int(number)] = int(value)
            else:
                self.snapshots.setdefault(int(number), {})[int(layer[0])] = value

    def write(self) -> None:
        """Write the checkpoint atomically; nothing happens where the chunk has none.

        Raises OSError, naming the file, where it cannot be written; the last checkpoint is then still whole.
        """
        if self.checkpoint is None:
            return
        tensors = {f"state/{i:03d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(self.states))}
        tensors["iteration"] = np.array(self.iteration)
        tensors |= {f"accuracy/{iteration}": value for iteration, value in self.accuracies.items()}
        tensors |= {f"seconds/{iteration}": np.array(value) for iteration, value in self.seconds.items()}
        tensors |= {f"left_out/{member}": np.array(iteration) for member, iteration in self.left_out.items()}
        tensors |= {f"kernel/{t}/{layer}": value for t, kept in self.snapshots.items() for layer, value in kept.items()}
        tensors["sha256"] = _digest(tensors)
        metadata = {
            "identity": json.dumps(self._identity(), sort_keys=True),
            "formulation": self.trainer.formulation,
            "iteration": str(self.iteration),
        }
        write_atomically(self.checkpoint, save(tensors, metadata=metadata))

    def missed(self, snapshots: Iterable[Whole]) -> list[int]:
        """Those of the snapshots that were passed without being kept, ascending."""
        return sorted(int(s) for s in snapshots if s < self.iteration and s not in self.snapshots)

    def run(
        self,
        iterations: Whole,
        snapshots: Sequence[Whole],
        every: Whole = 200,
        report: Report = lambda iteration, loss: None,
    ) -> "Chunk":
        """Train on to `iterations`, keep kernels and test accuracies at `snapshots`, and return this chunk.

        A checkpoint is written at snapshots, multiples of `every` iterations, and the end. Snapshots that were passed
        without being kept are computed once more from the start, beside what is there. report: as for
        `topo.training.Trainer.advance`. Raises OSError as `write` does.
        """
        if self.missed(snapshots):
            self._catch_up(self.missed(snapshots), every, report)
        clock = time.perf_counter if accelerated() else time.process_time
        for stop in sorted(map(int, {*snapshots, iterations, *range(every, iterations, every)})):
            new = stop in snapshots and stop not in self.snapshots
            if stop < self.iteration or (stop == self.iteration > 0 and not new):
                continue
            start, spent = clock(), self.seconds.get(self.iteration, math.nan)
            self.states = self.trainer.advance(self.states, self.members, self.iteration, stop, report)
            if new:
                self.snapshots[stop] = self.trainer.kernels(self.states)
                self.accuracies[stop] = self.trainer.accuracy(self.states)
            self.seconds = {s: self.seconds[s] for s in self.seconds if s in self.snapshots}
            self.seconds[stop], self.iteration = spent + clock() - start, stop
            self._look_for_failures()
            self.write()
        return self

    def _catch_up(self, snapshots: Sequence[int], every: Whole, report: Report) -> None:
        path = None if self.checkpoint is None else self.checkpoint.with_suffix(".again.safetensors")
        again = Chunk(self.trainer, self.members, path).run(snapshots[-1], snapshots, every, report)
        self.snapshots |= {s: again.snapshots[s] for s in snapshots}
        self.accuracies |= {s: again.accuracies[s] for s in snapshots}
        self.seconds |= {s: again.seconds[s] for s in snapshots}
        self.left_out |= again.left_out
        self.write()
        if path is not None:
            path.unlink(missing_ok=True)  # another process that trains the same may have been faster

    def _look_for_failures(self) -> None:
        largest = np.finfo(np.float16).max
        leaves = map(np.asarray, jax.tree.leaves(self.states.params))
        weights = [(np.abs(leaf) <= largest).reshape(len(leaf), -1).all(1) for leaf in leaves]
        finite = np.logical_and.reduce(weights)
        if self.iteration:
            finite &= np.isfinite(np.asarray(self.states.loss))
        for member in np.array(self.members)[~finite]:
            self.left_out.setdefault(int(member), self.iteration)

    def population(self, snapshots: Sequence[Whole]) -> Population:
        """The Population of this chunk's members at `snapshots`, which were kept; the last is the end of training."""
        left_out = {member: iteration for member, iteration in self.left_out.items() if iteration <= max(snapshots)}
        whole = np.array([member not in left_out for member in self.members])
        layers = self.trainer.training.architecture.layers
        kept = sorted(map(int, snapshots))
        kernels = {layer: {s: self.snapshots[s][layer][whole] for s in kept} for layer in layers}
        accuracy = {s: self.accuracies[s][whole] for s in kept if s in self.accuracies}
        seconds = self.seconds.get(kept[-1], math.nan)
        return Population(np.array(self.members)[whole], kernels, accuracy, left_out, hardware(), seconds)


def formulation_of(checkpoint: str | Path) -> str | None:
    """The name in `topo.training.FORMULATIONS` by which a checkpoint was computed.

    None where there is no checkpoint, or it does not say.
    """
    try:
        with safe_open(checkpoint, "numpy") as file:
            return (file.metadata() or {}).get("formulation")
    except (SafetensorError, OSError):
        return None


def iteration_of(checkpoint: bytes) -> int:
    """The iteration at which a checkpoint, given as bytes, was written; -1 where it does not say."""
    length = int.from_bytes(checkpoint[:8], "little")
    try:
        return int(json.loads(checkpoint[8 : 8 + length])["__metadata__"]["iteration"])
    except (ValueError, KeyError):
        return -1


def _digest(tensors: Mapping[str, np.ndarray]) -> UInt8[np.ndarray, "32"]:
    digest = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        digest.update(key.encode() + np.ascontiguousarray(value).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def join(populations: Iterable[Population]) -> Population:
    """One Population out of those of disjoint chunks, one or more, members ascending; empty where no member is left."""
    populations = list(populations)
    left_out = dict(sorted(pair for population in populations for pair in population.left_out.items()))
    machines = " and ".join(sorted({population.hardware for population in populations}))
    seconds = math.fsum(population.seconds for population in populations)
    whole = [population for population in populations if len(population.members)]
    populations = sorted(whole, key=lambda population: population.members[0]) or populations[:1]

    def stack(arrays: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(arrays))

    first = populations[0]
    kernels = {
        layer: {s: stack(p.kernels[layer][s] for p in populations) for s in snapshots}
        for layer, snapshots in first.kernels.items()
    }
    shared = set.intersection(*(set(p.accuracy) for p in populations))
    accuracy = {s: stack(p.accuracy[s] for p in populations) for s in sorted(shared)}
    return Population(stack(p.members for p in populations), kernels, accuracy, left_out, machines, seconds)


def check_left(population: Population) -> None:
    """Raise ValueError where no member of a population is left."""
    if not len(population.members):
        left_out = population.left_out
        raise ValueError(
            f"no network is left: all {len(left_out)} lost their weights to overflow, the last at iteration "
            f"{max(left_out.values())}; try a smaller learning_rate"
        )


def checkpoint_path(training: Training, members: Sequence[int], folder: str | Path = CHECKPOINTS) -> Path:
    """Path of the checkpoint file of some members, named after the configuration and the first and the last of them."""
    identity = hashlib.sha256(json.dumps(training.describe(), sort_keys=True).encode()).hexdigest()[:12]
    name = f"{training.dataset}-{training.architecture.slug}-{identity}"
    return Path(folder) / name / f"members-{members[0]:04d}-{members[-1]:04d}.safetensors"


def check_snapshots(networks: Whole, iterations: Whole, snapshots: Iterable[Whole]) -> tuple[Whole, ...]:
    """Snapshots as an ascending tuple, the last iteration among them.

    Raises TypeError where one of them is no whole number, ValueError for networks < 1, negative iterations, or a
    snapshot outside 0..iterations.
    """
    check_whole(networks, "networks", 1)
    check_whole(iterations, "iterations", 0)
    snapshots = list(snapshots)
    for snapshot in snapshots:
        check_whole(snapshot, "snapshot", 0, iterations)
    return tuple(sorted({*snapshots, iterations}))
