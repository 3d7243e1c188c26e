"""A population of networks trained member by member with one compiled program, resumable at any iteration.

Knows gradients, random streams and checkpoints; must not know which populations the paper needs, or where results go.
"""
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from topo import datasets, networks
from topo.archive import write_atomically
from topo.notation import Architecture

_EVALUATION_BATCH = 200
_INITIALISE, _SHUFFLE, _DROPOUT = range(3)


@dataclass(frozen=True)
class Training:
    """Everything that decides a population's weights, but for which members and how far.

    architecture: Architecture (section 5, Table 1).
    dataset: "mnist" or "digits".
    batch: images per iteration; 128 in section 5.1 (124 elsewhere in the paper).
    learning_rate: of Adam, whose other settings are Kingma and Ba's; the paper does not give it, 1e-3 is their default.
    seed: member i draws everything random from fold_in(key(seed), i).

    Raises ValueError for a batch below 1, a learning rate that is not positive, or a negative seed.
    """

    architecture: Architecture
    dataset: str = "mnist"
    batch: int = 128
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self):
        if self.batch < 1:
            raise ValueError(f"batch = {self.batch} is not allowed: at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate = {self.learning_rate} is not allowed: it must be positive")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed} is not allowed: it must not be negative")

    def describe(self):
        """The same as a dict for JSON."""
        return {
            "architecture": str(self.architecture),
            "dataset": self.dataset,
            "batch": self.batch,
            "optimizer": "adam",
            "learning_rate": self.learning_rate,
            "seed": self.seed,
        }


class Population(NamedTuple):
    """What training leaves.

    members: (networks,) int; kernels: {layer: {iteration: (networks, h, w, in, out) float32}};
    accuracy: {iteration: (networks,) float64}, of the test images; loss: (networks,) float32, of the last minibatch.
    """

    members: np.ndarray
    kernels: dict
    accuracy: dict
    loss: np.ndarray

    def filters(self, layer=1, iteration=None):
        """Spatial filters (networks * in * out, h * w) float32 at `iteration`, the last one where None."""
        from topo.filters import spatial_filters

        snapshots = self.kernels[layer]
        kernels = snapshots[max(snapshots) if iteration is None else iteration]
        return np.concatenate([spatial_filters(kernel) for kernel in kernels])


class _State(NamedTuple):
    params: dict
    optimizer: tuple
    loss: jax.Array


class Trainer:
    """Compiled initialisation, training step and test accuracy of one member; the members share the program."""

    def __init__(self, training, data=None):
        self.training = training
        self.data = datasets.load(training.dataset) if data is None else data
        if len(self.data.train_images) < training.batch:
            raise ValueError(f"batch = {training.batch} is not allowed: {self.data.name} has {len(self.data.train_images)} training images")
        self._network = networks.build(training.architecture)
        self._optimizer = optax.adam(training.learning_rate)
        self._images = jnp.asarray(self.data.train_images)
        self._labels = jnp.asarray(self.data.train_labels, jnp.int32)
        self._epoch = len(self._images) // training.batch
        self._step = jax.jit(self._step, donate_argnums=0)
        self._order = jax.jit(lambda key, epoch: jax.random.permutation(jax.random.fold_in(key, epoch), len(self._images)))
        self._correct = jax.jit(lambda params, images, labels: (self._network.apply(params, _pixels(images)).argmax(-1) == labels).sum())

    def _stream(self, member, purpose):
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.training.seed), member), purpose)

    def initial(self, member):
        """State of a member before its first iteration."""
        params = self._network.init(self._stream(member, _INITIALISE), _pixels(self._images[:1]))
        return _State(params, self._optimizer.init(params), jnp.float32(jnp.nan))

    def _step(self, state, images, labels, order, start, key):
        chosen = jax.lax.dynamic_slice_in_dim(order, start, self.training.batch)

        def loss(params):
            logits = self._network.apply(params, _pixels(images[chosen]), train=True, rngs={"dropout": key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels[chosen]).mean()

        value, gradient = jax.value_and_grad(loss)(state.params)
        updates, optimizer = self._optimizer.update(gradient, state.optimizer, state.params)
        return _State(optax.apply_updates(state.params, updates), optimizer, value)

    def advance(self, state, member, start, stop, report=lambda iterations: None):
        """Train a member from iteration `start` to `stop`; each epoch visits the images in a new order, drawn by the member."""
        shuffle, dropout = self._stream(member, _SHUFFLE), self._stream(member, _DROPOUT)
        order, epoch = None, None
        for iteration in range(start, stop):
            if iteration // self._epoch != epoch:
                epoch = iteration // self._epoch
                order = self._order(shuffle, epoch)
            place = iteration % self._epoch * self.training.batch
            state = self._step(state, self._images, self._labels, order, place, jax.random.fold_in(dropout, iteration))
            if iteration % 10 == 9:
                jax.block_until_ready(state.loss)
                report(10)
        report((stop - start) % 10)
        return state

    def accuracy(self, state):
        """Fraction of the test images that the member classifies correctly."""
        images, labels = self.data.test_images, self.data.test_labels
        pieces = range(0, len(images), _EVALUATION_BATCH)
        correct = sum(int(self._correct(state.params, images[i : i + _EVALUATION_BATCH], labels[i : i + _EVALUATION_BATCH])) for i in pieces)
        return correct / len(images)

    def kernels(self, state):
        """{layer: (h, w, in, out) float32}, layers numbered from 1."""
        blocks = sorted(name for name in state.params["params"] if name.startswith("conv"))
        return {layer: np.asarray(state.params["params"][name]["kernel"]) for layer, name in enumerate(blocks, start=1)}


def _pixels(images):
    return images.astype(jnp.float32) / 255


class Chunk:
    """Some members of a population on their way: states, snapshots and accuracies, kept in one checkpoint file."""

    def __init__(self, trainer, members, checkpoint=None):
        self.trainer, self.members = trainer, list(members)
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        if self.checkpoint is not None and self.checkpoint.exists():
            self._read()
        else:
            self._restart()

    def _restart(self):
        self.iteration = 0
        self.states = [self.trainer.initial(member) for member in self.members]
        self.snapshots, self.accuracies = {}, {}

    def _identity(self):
        return json.dumps({**self.trainer.training.describe(), "members": self.members, "jax": jax.__version__}, sort_keys=True)

    def _read(self):
        try:
            with safe_open(self.checkpoint, "numpy") as file:
                if file.metadata().get("identity") != self._identity():
                    raise ValueError(f"checkpoint {self.checkpoint} belongs to another population; delete it, or name another folder")
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"checkpoint {self.checkpoint} is damaged ({error}); delete it and this chunk starts over") from None
        self.iteration = int(tensors.pop("iteration"))
        self.snapshots, self.accuracies = {}, {}
        structure = jax.tree.structure(jax.eval_shape(self.trainer.initial, self.members[0]))
        stacked = [tensors.pop(f"state/{i:03d}") for i in range(structure.num_leaves)]
        self.states = [jax.tree.unflatten(structure, [jnp.asarray(leaf[i]) for leaf in stacked]) for i in range(len(self.members))]
        for key, value in tensors.items():
            kind, iteration, *layer = key.split("/")
            if kind == "accuracy":
                self.accuracies[int(iteration)] = value
            else:
                self.snapshots.setdefault(int(iteration), {})[int(layer[0])] = value

    def write(self):
        """Write the checkpoint atomically; nothing happens where the chunk has none."""
        if self.checkpoint is None:
            return
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        leaves = zip(*(jax.tree.leaves(state) for state in self.states))
        tensors = {f"state/{i:03d}": np.stack([np.asarray(leaf) for leaf in group]) for i, group in enumerate(leaves)}
        tensors["iteration"] = np.array(self.iteration)
        tensors |= {f"accuracy/{iteration}": value for iteration, value in self.accuracies.items()}
        tensors |= {f"kernel/{t}/{layer}": value for t, kept in self.snapshots.items() for layer, value in kept.items()}
        write_atomically(self.checkpoint, save(tensors, metadata={"identity": self._identity()}))

    def lacks(self, iterations, snapshots):
        """How many iterations are still to do, per member."""
        if any(s not in self.snapshots for s in snapshots if s <= self.iteration) and self.iteration > 0:
            return iterations
        return max(0, iterations - self.iteration)

    def run(self, iterations, snapshots, every=200, report=lambda iterations: None):
        """Train on to `iterations`, keeping the kernels at `snapshots`; a checkpoint every so many iterations.

        Starts over where a snapshot is asked for that the chunk has passed without keeping it.
        """
        if self.iteration > 0 and self.lacks(iterations, snapshots) == iterations:
            self._restart()
        stops = sorted({*snapshots, iterations, *range(every, iterations, every)})
        for stop in (s for s in stops if s >= self.iteration):
            if stop > self.iteration:
                advance = partial(self.trainer.advance, start=self.iteration, stop=stop, report=report)
                self.states = [advance(state, member) for state, member in zip(self.states, self.members)]
                self.iteration = stop
            if stop in snapshots and stop not in self.snapshots:
                kernels = [self.trainer.kernels(state) for state in self.states]
                self.snapshots[stop] = {layer: np.stack([k[layer] for k in kernels]) for layer in kernels[0]}
            if stop == iterations and stop not in self.accuracies:
                self.accuracies[stop] = np.array([self.trainer.accuracy(state) for state in self.states])
            self.write()
        return self

    def population(self, snapshots):
        """The Population of this chunk's members, with the kernels at `snapshots`."""
        layers = self.trainer.training.architecture.layers
        kernels = {layer: {s: self.snapshots[s][layer] for s in sorted(snapshots)} for layer in layers}
        loss = np.array([state.loss for state in self.states], np.float32)
        return Population(np.array(self.members), kernels, dict(self.accuracies), loss)


def join(populations):
    """One Population out of those of disjoint chunks, members ascending."""
    populations = sorted(populations, key=lambda population: population.members[0])
    stack = lambda arrays: np.concatenate(list(arrays))
    first = populations[0]
    kernels = {
        layer: {s: stack(p.kernels[layer][s] for p in populations) for s in first.kernels[layer]} for layer in first.kernels
    }
    shared = set.intersection(*(set(p.accuracy) for p in populations))
    accuracy = {s: stack(p.accuracy[s] for p in populations) for s in sorted(shared)}
    return Population(stack(p.members for p in populations), kernels, accuracy, stack(p.loss for p in populations))


def check_run(networks, iterations, snapshots):
    """Snapshots as an ascending tuple, the last iteration among them.

    Raises ValueError for networks < 1, negative iterations, or a snapshot outside 0..iterations.
    """
    if networks < 1:
        raise ValueError(f"networks = {networks} is not allowed: at least 1")
    if iterations < 0:
        raise ValueError(f"iterations = {iterations} is not allowed: it must not be negative")
    outside = [s for s in snapshots if not 0 <= s <= iterations]
    if outside:
        raise ValueError(f"snapshots = {outside} are not allowed: from 0 to iterations = {iterations}")
    return tuple(sorted({*snapshots, iterations}))


def train_population(architecture, networks=100, iterations=40_000, snapshots=(), seed=0, *, members=None, progress=False, **settings):
    """Train a population in this process (section 5.1).

    architecture: Architecture or text such as "M(64,32,64)".
    networks: members 0 .. networks - 1, unless `members` lists others (whole numbers; each is trained as in any
        other population of the same seed).
    iterations: minibatches; snapshots: iterations at which kernels are kept, the last always among them.
    settings: dataset, batch, learning_rate of `Training`.
    progress: whether to show a bar of network-iterations.

    Returns a Population. Raises ValueError for values out of range, naming them, before anything is trained.
    """
    from tqdm import tqdm

    snapshots = check_run(networks, iterations, snapshots)
    training = Training(Architecture.parse(architecture), seed=seed, **settings)
    members = range(networks) if members is None else members
    chunk = Chunk(Trainer(training), members)
    with tqdm(total=len(chunk.members) * iterations, unit="step", disable=not progress) as bar:
        chunk.run(iterations, snapshots, every=max(iterations, 1), report=bar.update)
    return chunk.population(snapshots)
