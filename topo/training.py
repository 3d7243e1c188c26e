"""A population of networks trained by one compiled program, resumable at any iteration.

Knows gradients, random streams, devices and checkpoints; must not know which populations the paper needs, or where
results go.
"""
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from topo import datasets, networks
from topo.archive import write_atomically
from topo.filters import check_whole
from topo.notation import Architecture, DeepArchitecture

CHECKPOINTS = Path(os.environ.get("TOPO_CHECKPOINTS") or Path(__file__).resolve().parent.parent / "data" / "cache" / "training")
_MEASUREMENTS = "measurements.json"
_EVALUATION_BATCH = 200
_SPAN = 10  # iterations to a call of the compiled program, and so between two reports
_INITIALISE, _SHUFFLE, _DROPOUT, _AUGMENT = range(4)

# What the paper does not give. M: Kingma and Ba's defaults. C: TensorFlow 1's CIFAR-10 tutorial, whose words the
# paper's description follows. D: not the paper's; Adam, as it trains thirteen layers without normalisation.
_RECIPES = {
    "M": dict(optimizer="adam", learning_rate=1e-3, decay=1.0, decay_epochs=350, l2=0.0, crop=0, pad=0),
    "C": dict(optimizer="sgd", learning_rate=0.1, decay=0.1, decay_epochs=350, l2=0.004, crop=24, pad=0),
    "D": dict(optimizer="adam", learning_rate=5e-4, decay=0.1, decay_epochs=16, l2=0.0, crop=32, pad=4),
}
_NEUTRAL = dict(decay=1.0, l2=0.0, crop=0, pad=0, max_pooling=True, momentum=0.0, anneal=0, hold_out=0)
_OPTIMIZERS = {"adam": optax.adam, "sgd": optax.sgd}


@dataclass(frozen=True)
class Training:
    """Everything that decides a population's weights, but for which members and how far.

    architecture: Architecture (section 5, Tables 1 and 2) or DeepArchitecture.
    dataset: a name of datasets.LOADERS.
    batch: images per iteration; 128 in section 5.1 (124 elsewhere in the paper).
    seed: member i draws everything random from fold_in(key(seed), i); below 2**32.
    max_pooling: whether a network of the C family pools (section 5.2.2 has one that does not).

    The rest is what the paper leaves open; where None, the family decides:

    optimizer: "adam" (Table 1; its other settings are Kingma and Ba's) or "sgd" (Table 2).
    momentum: of "sgd", at least 0 and below 1; 0 is plain gradient descent.
    learning_rate: M 1e-3 (Adam's default), C 0.1 (TensorFlow 1's CIFAR-10 tutorial), D 5e-4 (ours).
    decay, decay_epochs: the learning rate is multiplied by `decay` after every so many epochs, or at the end of each
        of the epochs listed in a tuple: M 1 (never), C 0.1 after 350 (the tutorial), D 0.1 after 16 (ours).
    anneal: where it is not 0, the learning rate falls along half a cosine from `learning_rate` to 0 at this iteration,
        and stays there; `decay` is then 1.
    l2: weight of half the squared norm of the dense layer's kernel in the loss: C 0.004 (the tutorial), else 0.
    crop: side in pixels of a random crop, after which the image is flipped left to right half of the time, centred
        and divided by its standard deviation; tests see the middle of the image. C 24 (the tutorial), D 32.
        0 leaves the image as it is, divided by 255: M.
    pad: zeros put around the image before it is cropped: D 4, else 0.
    hold_out: how many training images, the last ones of the data set, are never trained on; accuracies are then of
        these images instead of the test images.

    Raises TypeError or ValueError for a value out of range, naming it.
    """

    architecture: Architecture | DeepArchitecture
    dataset: str = "mnist"
    batch: int = 128
    learning_rate: float = None
    seed: int = 0
    optimizer: str = None
    decay: float = None
    decay_epochs: int | tuple = None
    l2: float = None
    crop: int = None
    pad: int = None
    max_pooling: bool = True
    momentum: float = 0.0
    anneal: int = 0
    hold_out: int = 0

    def __post_init__(self):
        if self.anneal and self.decay is None:
            object.__setattr__(self, "decay", 1.0)
        for name, value in _RECIPES[self.architecture.family].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.dataset not in datasets.LOADERS:
            raise ValueError(f"data set {self.dataset!r} is not one of {', '.join(datasets.LOADERS)}")
        for name, least in (("batch", 1), ("seed", 0), ("crop", 0), ("pad", 0), ("anneal", 0), ("hold_out", 0)):
            check_whole(getattr(self, name), name, least, 2**32 - 1)
            object.__setattr__(self, name, int(getattr(self, name)))
        self._check_decay()
        _check_fits(self, self.dataset, datasets.SHAPES[self.dataset])
        if not 0 <= self.l2 < math.inf:
            raise ValueError(f"l2 = {self.l2} is not allowed: at least 0, and finite")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate = {self.learning_rate} is not allowed: it must be positive and finite")
        if not 0 <= self.momentum < 1 or (self.momentum and self.optimizer != "sgd"):
            raise ValueError(f"momentum = {self.momentum} is not allowed: at least 0 and below 1, and 0 unless the optimizer is sgd")
        if self.optimizer not in _OPTIMIZERS:
            raise ValueError(f"optimizer = {self.optimizer!r} is not one of {', '.join(_OPTIMIZERS)}")
        if self.architecture.family != "C" and not self.max_pooling:
            raise ValueError(f"max_pooling = False is not allowed: only networks of family C go without, not {self.architecture}")

    def _check_decay(self):
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay = {self.decay} is not allowed: above 0, at most 1")
        if self.anneal and self.decay < 1:
            raise ValueError(f"anneal = {self.anneal} and decay = {self.decay} are not allowed together: a cosine has no steps, decay must be 1")
        several = isinstance(self.decay_epochs, (list, tuple))
        epochs = tuple(self.decay_epochs) if several else (self.decay_epochs,)
        for epoch in epochs:
            check_whole(epoch, "decay_epochs", 1, 2**32 - 1)
        if not epochs or list(epochs) != sorted(set(epochs)):
            raise ValueError(f"decay_epochs = {self.decay_epochs} is not allowed: one epoch or more, ascending")
        object.__setattr__(self, "decay_epochs", tuple(map(int, epochs)) if several else int(epochs[0]))

    def describe(self):
        """The same as a dict for JSON, without what has no effect."""
        description = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        description["architecture"] = str(self.architecture)
        unused = {name for name, neutral in _NEUTRAL.items() if description[name] == neutral}
        unused |= {"decay_epochs"} if self.decay == 1 else set()
        return {name: value for name, value in description.items() if name not in unused}


def _check_fits(training, name, shape):
    count, *size, _ = shape
    if count - training.hold_out < training.batch:
        held = f", of which {training.hold_out} are held out" if training.hold_out else ""
        raise ValueError(f"batch = {training.batch} is not allowed: {name} has {count} training images{held}")
    if training.crop > min(size):
        raise ValueError(f"crop = {training.crop} is not allowed: the images of {name} are {size[0]} x {size[1]}")


class Population(NamedTuple):
    """What training leaves.

    members: (networks,) int; kernels: {layer: {iteration: (networks, h, w, in, out) float32}};
    accuracy: {iteration: (networks,) float64}, of the test images;
    left_out: {member: iteration} of those whose loss was no longer finite, or a weight beyond float16, in which
    archives are kept, when they were looked at then;
    hardware: what computed it, in words.
    """

    members: np.ndarray
    kernels: dict
    accuracy: dict
    left_out: dict
    hardware: str

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


class Formulation(NamedTuple):
    """How one program advances many members: what a convolution block is, and how the members follow each other."""

    operation: Callable
    over: Callable


def _one_by_one(function, *stacked):
    return lax.map(lambda arguments: function(*arguments), stacked)


def _side_by_side(function, *stacked):
    return jax.vmap(function)(*stacked)


# Fused blocks, a member at a time, keep a processor's cache warm; plain operations on all members at once fill an
# accelerator. `measure` finds out which is better here.
FORMULATIONS = {
    "fused": Formulation(networks.block, _one_by_one),
    "plain": Formulation(networks.block_reference, _side_by_side),
}


class Trainer:
    """The compiled programs of a population: initialisation, training, test accuracy.

    data: a datasets.Dataset, else the one that `training` names. formulation: a name of FORMULATIONS.
    devices: JAX devices that share the members through a mesh; the first one where None.
    Raises ValueError where the images are too few for a batch or too small for the crop.
    """

    def __init__(self, training, data=None, formulation="fused", devices=None):
        self.training = training
        self.data = datasets.load(training.dataset) if data is None else data
        _check_fits(training, self.data.name, self.data.train_images.shape)
        self.formulation = formulation
        operation, self._over = FORMULATIONS[formulation]
        self._network = networks.build(training.architecture, training.max_pooling, operation)
        count = len(self.data.train_images) - training.hold_out
        self._epoch = count // training.batch
        options = {"momentum": training.momentum} if training.momentum else {}
        self._optimizer = _OPTIMIZERS[training.optimizer](_learning_rate(training, self._epoch), **options)
        border = ((0, 0), (training.pad,) * 2, (training.pad,) * 2, (0, 0))
        self._images = jnp.pad(jnp.asarray(self.data.train_images[:count]), border)
        self._labels = jnp.asarray(self.data.train_labels[:count], jnp.int32)
        if training.hold_out:
            self._judged = self.data.train_images[count:], self.data.train_labels[count:]
        else:
            self._judged = self.data.test_images, self.data.test_labels
        self._mesh = Mesh(np.array(jax.local_devices()[:1] if devices is None else devices), ("members",))
        self._initial = self._program(self._initial_of_one)
        self._order = self._program(self._order_of_one, shared=1)
        self._advance = self._program(self._advance_one, shared=4, donate=True)
        self._correct = self._program(self._correct_of_one, shared=2)

    def _program(self, function, shared=0, donate=False):
        """Compile a function of one member for all: `shared` last arguments are the same for every member."""

        def together(*arguments):
            own, common = arguments[: len(arguments) - shared], arguments[len(arguments) - shared :]
            return self._over(lambda *one: function(*one, *common), *own)

        def spread(*arguments):
            members = PartitionSpec("members")
            specs = (members,) * (len(arguments) - shared) + (PartitionSpec(),) * shared
            return jax.shard_map(together, mesh=self._mesh, in_specs=specs, out_specs=members, check_vma=False)(*arguments)

        return jax.jit(spread if self._mesh.size > 1 else together, donate_argnums=0 if donate else ())

    def _stream(self, member, purpose):
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.training.seed), member), purpose)

    def _initial_of_one(self, member):
        side = self.training.crop
        image = jnp.zeros((1, side, side, self._images.shape[-1]) if side else self._images[:1].shape)
        params = self._network.init(self._stream(member, _INITIALISE), image)
        return _State(params, self._optimizer.init(params), jnp.float32(jnp.nan))

    def _order_of_one(self, member, epoch):
        return jax.random.permutation(jax.random.fold_in(self._stream(member, _SHUFFLE), epoch), len(self._images))

    def _inputs(self, images, chosen, key):
        """Training images as the network sees them."""
        side = self.training.crop
        return standardize(random_crops(images, chosen, side, key)) if side else _scaled(images[chosen])

    def _test_inputs(self, images):
        side = self.training.crop
        if not side:
            return _scaled(images)
        top, left = ((size - side) // 2 for size in images.shape[1:3])
        return standardize(images[:, top : top + side, left : left + side])

    def _loss(self, params, inputs, labels, key):
        logits = self._network.apply(params, inputs, train=True, rngs={"dropout": key})
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        if self.training.l2 and "dense" in params["params"]:
            loss += self.training.l2 / 2 * (params["params"]["dense"]["kernel"] ** 2).sum()
        return loss

    def _advance_one(self, state, member, order, start, stop, images, labels):
        augment, dropout = self._stream(member, _AUGMENT), self._stream(member, _DROPOUT)

        def step(iteration, state):
            chosen = lax.dynamic_slice_in_dim(order, iteration % self._epoch * self.training.batch, self.training.batch)
            inputs = self._inputs(images, chosen, jax.random.fold_in(augment, iteration))
            key = jax.random.fold_in(dropout, iteration)
            loss, gradient = jax.value_and_grad(self._loss)(state.params, inputs, labels[chosen], key)
            updates, optimizer = self._optimizer.update(gradient, state.optimizer, state.params)
            return _State(optax.apply_updates(state.params, updates), optimizer, loss)

        return lax.fori_loop(start, stop, step, state)

    def _correct_of_one(self, state, images, labels):
        logits = self._network.apply(state.params, self._test_inputs(images))
        return (logits.argmax(-1) == labels).sum()

    def _whole(self, members):
        """Members as an array that every device of the mesh gets as many of; the last is repeated."""
        missing = -len(members) % self._mesh.size
        return jnp.array([*members, *[members[-1]] * missing], jnp.int32)

    def initial(self, members):
        """States of the members before their first iteration, stacked along a leading axis."""
        return self._cut(self._initial(self._whole(members)), len(members))

    def _cut(self, stacked, networks):
        return stacked if networks % self._mesh.size == 0 else jax.tree.map(lambda leaf: leaf[:networks], stacked)

    def _fill(self, states, members):
        missing = -len(members) % self._mesh.size
        repeat = lambda leaf: jnp.concatenate([leaf, jnp.repeat(leaf[-1:], missing, axis=0)])
        return jax.tree.map(repeat, states) if missing else states

    def advance(self, states, members, start, stop, report=lambda iteration, loss: None):
        """Train members from iteration `start` to `stop`; each epoch visits the images in a new order, drawn by the member.

        states: of `initial`, and no longer usable afterwards. report: called with the iteration reached and the
        losses (networks,) of its minibatches. Returns the new states.
        """
        networks = len(members)
        states, members = self._fill(states, members), self._whole(members)
        orders, epoch = None, None
        while start < stop:
            if start // self._epoch != epoch:
                epoch = start // self._epoch
                orders = self._order(members, epoch)
            end = min(stop, start + _SPAN, (epoch + 1) * self._epoch)
            states = self._advance(states, members, orders, start, end, self._images, self._labels)
            start = end
            report(end, np.asarray(states.loss)[:networks])
        return self._cut(states, networks)

    def accuracy(self, states):
        """Fraction of the test images, or of those held out, that each member classifies correctly, (networks,) float64."""
        images, labels = self._judged
        networks = len(states.loss)
        states = self._fill(states, range(networks))
        pieces = [slice(i, i + _EVALUATION_BATCH) for i in range(0, len(images), _EVALUATION_BATCH)]
        correct = sum(np.asarray(self._correct(states, images[piece], labels[piece])) for piece in pieces)
        return correct[:networks] / len(images)

    def kernels(self, states):
        """{layer: (networks, h, w, in, out) float32}, layers numbered from 1."""
        params = states.params["params"]
        blocks = sorted((name for name in params if name.startswith("conv")), key=lambda name: int(name[4:]))
        return {layer: np.asarray(params[name]["kernel"]) for layer, name in enumerate(blocks, start=1)}

    def memory(self, members):
        """Bytes that training so many members at once takes on a device, data set included, as the compiler counts them."""
        shapes = lambda *arguments: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
        one = jnp.zeros(members, jnp.int32)
        states = jax.eval_shape(self._initial, one)
        orders = jax.eval_shape(self._order, one, 0)
        compiled = self._advance.lower(states, *shapes(one, orders), 0, 1, self._images, self._labels).compile()
        used = compiled.memory_analysis()
        return used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes + used.temp_size_in_bytes


def _learning_rate(training, epoch):
    """The learning rate, a number or an optax schedule over iterations, of which `epoch` are an epoch."""
    rate, decay, epochs = training.learning_rate, training.decay, training.decay_epochs
    if training.anneal:
        return optax.cosine_decay_schedule(rate, training.anneal)
    if decay == 1:
        return rate
    if isinstance(epochs, tuple):
        return optax.piecewise_constant_schedule(rate, {each * epoch: decay for each in epochs})
    return optax.exponential_decay(rate, epochs * epoch, decay, staircase=True)


def _scaled(images):
    return images.astype(jnp.float32) / 255


def random_crops(images, chosen, side, key):
    """Random square windows of some images, each mirrored left to right half of the time (section 5.2).

    images: (n, height, width, channels); chosen: (batch,) int, which images; side: pixels; key: a JAX random key.
    Returns (batch, side, side, channels) of the same dtype.
    """
    corner_key, flip_key = jax.random.split(key)
    _, height, width, channels = images.shape
    ends = jnp.array([height, width]) - side + 1
    corners = jax.random.randint(corner_key, (len(chosen), 2), 0, ends)
    cut = lambda image, corner: lax.dynamic_slice(images, (image, *corner, 0), (1, side, side, channels))[0]
    crops = jax.vmap(cut)(chosen, corners)
    flipped = jax.random.bernoulli(flip_key, shape=(len(chosen), 1, 1, 1))
    return jnp.where(flipped, crops[:, :, ::-1], crops)


def standardize(images):
    """Each image centred and divided by its standard deviation, which counts at least 1 / sqrt(numbers in the image).

    images: (batch, height, width, channels). Returns the same shape in float32. As TensorFlow's
    per_image_standardization; the paper says mean-centring and normalising (section 5.2).
    """
    images = images.astype(jnp.float32)
    axes, numbers = (1, 2, 3), math.prod(images.shape[1:])
    centred = images - images.mean(axes, keepdims=True)
    return centred / jnp.maximum(jnp.sqrt((centred**2).mean(axes, keepdims=True)), 1 / math.sqrt(numbers))


class Chunk:
    """Some members of a population on their way: states, snapshots and accuracies, kept in one checkpoint file.

    A member whose loss is not finite, or whose weights are beyond float16, when a checkpoint is due is noted in
    `left_out`, as {member: iteration}; the others go on. A longer run keeps what a shorter one needs, so that a
    checkpoint never goes back.
    """

    def __init__(self, trainer, members, checkpoint=None):
        self.trainer, self.members = trainer, list(members)
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        if self.checkpoint is not None and self.checkpoint.exists():
            self._read()
        else:
            self.iteration, self.states = 0, trainer.initial(self.members)
            self.snapshots, self.accuracies, self.left_out = {}, {}, {}

    def _identity(self):
        return {**self.trainer.training.describe(), "members": self.members, "jax": jax.__version__}

    def _read(self):
        damaged = lambda how: ValueError(f"checkpoint {self.checkpoint} is damaged ({how}); delete it and this chunk starts over")
        try:
            with safe_open(self.checkpoint, "numpy") as file:
                written = json.loads(file.metadata()["identity"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
            raise damaged(error) from None
        wanted = json.loads(json.dumps(self._identity()))
        wanted["formulation"] = self.trainer.formulation
        written["formulation"] = formulation_of(self.checkpoint) or self.trainer.formulation
        differences = [key for key in sorted({*written, *wanted}) if written.get(key) != wanted.get(key)]
        if differences:
            said = ", ".join(f"{key} = {written.get(key)!r} instead of {wanted.get(key)!r}" for key in differences)
            raise ValueError(f"checkpoint {self.checkpoint} was written with {said}; move it away and this chunk starts over")
        if not np.array_equal(tensors.pop("sha256", None), _digest(tensors)):
            raise damaged("its content is not what was written")
        self._restore(tensors)

    def _restore(self, tensors):
        self.iteration = int(tensors.pop("iteration"))
        self.snapshots, self.accuracies, self.left_out = {}, {}, {}
        structure = jax.tree.structure(jax.eval_shape(self.trainer.initial, self.members))
        self.states = jax.tree.unflatten(structure, [jnp.asarray(tensors.pop(f"state/{i:03d}")) for i in range(structure.num_leaves)])
        for key, value in tensors.items():
            kind, number, *layer = key.split("/")
            if kind == "accuracy":
                self.accuracies[int(number)] = value
            elif kind == "left_out":
                self.left_out[int(number)] = int(value)
            else:
                self.snapshots.setdefault(int(number), {})[int(layer[0])] = value

    def write(self):
        """Write the checkpoint atomically; nothing happens where the chunk has none.

        Raises OSError, naming the file, where it cannot be written; the last checkpoint is then still whole.
        """
        if self.checkpoint is None:
            return
        tensors = {f"state/{i:03d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(self.states))}
        tensors["iteration"] = np.array(self.iteration)
        tensors |= {f"accuracy/{iteration}": value for iteration, value in self.accuracies.items()}
        tensors |= {f"left_out/{member}": np.array(iteration) for member, iteration in self.left_out.items()}
        tensors |= {f"kernel/{t}/{layer}": value for t, kept in self.snapshots.items() for layer, value in kept.items()}
        tensors["sha256"] = _digest(tensors)
        metadata = {"identity": json.dumps(self._identity(), sort_keys=True), "formulation": self.trainer.formulation, "iteration": str(self.iteration)}
        write_atomically(self.checkpoint, save(tensors, metadata=metadata))

    def missed(self, snapshots):
        """Those of the snapshots that were passed without being kept, ascending."""
        return sorted(s for s in snapshots if s < self.iteration and s not in self.snapshots)

    def run(self, iterations, snapshots, every=200, report=lambda iteration, loss: None):
        """Train on to `iterations`, keeping kernels and test accuracies at `snapshots`; a checkpoint every so many iterations.

        Snapshots that were passed without being kept are computed once more from the start, beside what is there.
        """
        if self.missed(snapshots):
            self._catch_up(self.missed(snapshots), every, report)
        for stop in sorted({*snapshots, iterations, *range(every, iterations, every)}):
            new = stop in snapshots and stop not in self.snapshots
            if stop < self.iteration or (stop == self.iteration > 0 and not new):
                continue
            self.states = self.trainer.advance(self.states, self.members, self.iteration, stop, report)
            self.iteration = stop
            if new:
                self.snapshots[stop] = self.trainer.kernels(self.states)
                self.accuracies[stop] = self.trainer.accuracy(self.states)
            self._look_for_failures()
            self.write()
        return self

    def _catch_up(self, snapshots, every, report):
        path = None if self.checkpoint is None else self.checkpoint.with_suffix(".again.safetensors")
        again = Chunk(self.trainer, self.members, path).run(snapshots[-1], snapshots, every, report)
        self.snapshots |= {s: again.snapshots[s] for s in snapshots}
        self.accuracies |= {s: again.accuracies[s] for s in snapshots}
        self.left_out |= again.left_out
        self.write()
        if path is not None:
            path.unlink()

    def _look_for_failures(self):
        largest = np.finfo(np.float16).max
        weights = [(np.abs(leaf) <= largest).reshape(len(leaf), -1).all(1) for leaf in map(np.asarray, jax.tree.leaves(self.states.params))]
        finite = np.logical_and.reduce(weights)
        if self.iteration:
            finite &= np.isfinite(np.asarray(self.states.loss))
        for member in np.array(self.members)[~finite]:
            self.left_out.setdefault(int(member), self.iteration)

    def population(self, snapshots):
        """The Population of this chunk's members, as it was at `snapshots`, the last of which was the end."""
        left_out = {member: iteration for member, iteration in self.left_out.items() if iteration <= max(snapshots)}
        whole = np.array([member not in left_out for member in self.members])
        layers = self.trainer.training.architecture.layers
        kernels = {layer: {s: self.snapshots[s][layer][whole] for s in sorted(snapshots)} for layer in layers}
        accuracy = {s: self.accuracies[s][whole] for s in sorted(snapshots) if s in self.accuracies}
        return Population(np.array(self.members)[whole], kernels, accuracy, left_out, hardware())


def formulation_of(checkpoint):
    """The name of FORMULATIONS by which a checkpoint was computed; None where there is none or it does not say."""
    try:
        with safe_open(checkpoint, "numpy") as file:
            return (file.metadata() or {}).get("formulation")
    except (SafetensorError, OSError):
        return None


def iteration_of(checkpoint):
    """The iteration at which a checkpoint, given as bytes, was written; -1 where it does not say."""
    length = int.from_bytes(checkpoint[:8], "little")
    try:
        return int(json.loads(checkpoint[8 : 8 + length])["__metadata__"]["iteration"])
    except (ValueError, KeyError):
        return -1


def _digest(tensors):
    digest = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        digest.update(key.encode() + np.ascontiguousarray(value).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def join(populations):
    """One Population out of those of disjoint chunks, members ascending.

    Raises ValueError where no member is left.
    """
    populations = list(populations)
    left_out = dict(sorted(pair for population in populations for pair in population.left_out.items()))
    machines = " and ".join(sorted({population.hardware for population in populations}))
    populations = sorted((p for p in populations if len(p.members)), key=lambda population: population.members[0])
    if not populations:
        raise ValueError(f"no network is left: all {len(left_out)} lost their weights to overflow, the last at iteration {max(left_out.values())}; try a smaller learning_rate")
    stack = lambda arrays: np.concatenate(list(arrays))
    first = populations[0]
    kernels = {
        layer: {s: stack(p.kernels[layer][s] for p in populations) for s in first.kernels[layer]} for layer in first.kernels
    }
    shared = set.intersection(*(set(p.accuracy) for p in populations))
    accuracy = {s: stack(p.accuracy[s] for p in populations) for s in sorted(shared)}
    return Population(stack(p.members for p in populations), kernels, accuracy, left_out, machines)


def check_run(networks, iterations, snapshots):
    """Snapshots as an ascending tuple, the last iteration among them.

    Raises ValueError for networks < 1, negative iterations, or a snapshot outside 0..iterations.
    """
    check_whole(networks, "networks", 1)
    check_whole(iterations, "iterations", 0)
    outside = [s for s in snapshots if not 0 <= s <= iterations]
    if outside:
        raise ValueError(f"snapshots = {outside} are not allowed: from 0 to iterations = {iterations}")
    return tuple(sorted({*snapshots, iterations}))


def measure(training, members=2, data=None):
    """What training takes here, as measured: a dict of

    "seconds": {name of FORMULATIONS: seconds for a network-iteration}, after the program is compiled;
    "formulation": the faster one's name;
    "bytes": [for the program and the data set, for each member more] of the faster one.

    members: how many advance together while eight iterations are timed, up to three times, the fastest of which counts,
    or one iteration where it takes long.
    data: a datasets.Dataset; noise in its place where None, so that nothing has to be downloaded.
    """
    data = datasets.stand_in(training.dataset) if data is None else data
    seconds, trainers = {}, {name: Trainer(training, data, name) for name in FORMULATIONS}
    for name, trainer in trainers.items():
        states = trainer.advance(trainer.initial(range(members)), range(members), 0, 1)
        seconds[name] = math.inf
        for first, last in ((1, 2), (2, 10), (10, 18), (18, 26)):  # short ones again: a busy machine must not decide
            start = time.perf_counter()
            states = trainer.advance(states, range(members), first, last)
            spent = time.perf_counter() - start
            seconds[name] = min(seconds[name], spent / (members * (last - first)))
            if spent > 0.4:
                break
    faster = min(seconds, key=seconds.get)
    few, many = (trainers[faster].memory(count) for count in (1, 3))
    slope = (many - few) // 2
    return {"seconds": seconds, "formulation": faster, "bytes": [few - slope, slope]}


def hardware():
    """What computes here, in words: "2 x AMD EPYC (x86_64), CPU" or the accelerators' names."""
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        return f"{len(devices)} x {devices[0].device_kind}"
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{processors()} x {model} ({platform.machine()}), CPU"


def processors():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _measurement_key(training):
    parts = training.architecture, training.dataset, training.batch, training.crop, training.max_pooling
    return " ".join(map(str, (*parts, "jax", jax.__version__, hardware(), "threads", os.environ.get("NPROC", "all"))))


def _records(folder):
    try:
        return json.loads((Path(folder) / _MEASUREMENTS).read_text())
    except (OSError, ValueError):  # none yet, or damaged: it is measured again
        return {}


def recorded(training, folder=CHECKPOINTS):
    """The `measure` of an earlier call of `measured` on this machine, or None."""
    return _records(folder).get(_measurement_key(training))


@lru_cache
def measured(training, folder=CHECKPOINTS):
    """`measure`, done once on a machine and kept in `folder`."""
    record = recorded(training, folder)
    if record is None:
        record = measure(training)
        known = {**_records(folder), _measurement_key(training): record}
        with suppress(OSError):  # a read-only installation measures anew in every process
            write_atomically(Path(folder) / _MEASUREMENTS, (json.dumps(known, indent=1) + "\n").encode())
    return record


def train_population(architecture, networks=100, iterations=40_000, snapshots=(), seed=0, *, members=None, progress=False, formulation=None, **settings):
    """Train a population in this process, on all devices that JAX sees (section 5.1).

    architecture: Architecture or text such as "M(64,32,64)".
    networks: members 0 .. networks - 1, unless `members` lists others (whole numbers; each is trained as in any
        other population of the same seed).
    iterations: minibatches; snapshots: iterations at which kernels and test accuracies are kept, the last always
        among them.
    settings: fields of `Training`, such as dataset, batch or learning_rate.
    progress: whether to show a bar of network-iterations.
    formulation: a name of FORMULATIONS; where None, the one that `measured` found to be faster here.

    Returns a Population. Raises TypeError or ValueError for values out of range, naming them, before anything is trained.
    """
    from tqdm import tqdm

    snapshots = check_run(networks, iterations, snapshots)
    training = Training(Architecture.parse(architecture), seed=seed, **settings)
    members = range(networks) if members is None else list(members)
    for member in members:
        check_whole(member, "member", 0, 2**31 - 1)
    if len(set(members)) < max(1, len(members)):
        raise ValueError(f"members = {members} are not allowed: one or more, all different")
    trainer = Trainer(training, formulation=formulation or measured(training)["formulation"], devices=jax.local_devices())
    chunk = Chunk(trainer, members)
    with tqdm(total=iterations, unit="iteration", disable=not progress) as bar:

        def report(iteration, loss):
            if progress:
                bar.set_postfix(members=len(chunk.members), loss=f"{loss.mean():.3f}", refresh=False)
                bar.update(iteration - bar.n)

        chunk.run(iterations, snapshots, every=max(iterations, 1), report=report)
    return join([chunk.population(snapshots)])
