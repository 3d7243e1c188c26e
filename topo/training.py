"""A population of networks trained by one compiled program, resumable at any iteration.

Knows gradients, random streams and devices; must not know which populations the paper needs, or where results go.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Float32, Float64, Int, Integer, Key

from topo import datasets, networks
from topo.checkpoints import CHECKPOINTS, Chunk, Population, Report, check_left, check_snapshots
from topo.checks import check_whole
from topo.files import write_atomically
from topo.machine import accelerated, hardware
from topo.notation import Architecture, DeepArchitecture
from topo.recipes import OPTIMIZERS, Training, check_fits, learning_rate
from topo.starts import starting_filters
from topo.types import Real, Whole

_MEASUREMENTS = "measurements.json"
_EVALUATION_BATCH = 200
_SPAN = 25  # iterations to a call of the compiled program, and so between two reports
_INITIALISE, _SHUFFLE, _DROPOUT, _AUGMENT, _FILTERS = range(5)


class _State(NamedTuple):
    params: Any
    optimizer: Any
    loss: Float[Array, "*members"]


class Formulation(NamedTuple):
    """How one program advances many members.

    operation: the convolution block. over: applies a function of one member to all, one after the other or at once.
    """

    operation: Callable[..., Array]
    over: Callable[..., Any]


def _one_by_one(function: Callable[..., Any], *stacked: Any) -> Any:
    return lax.map(lambda arguments: function(*arguments), stacked)


def _side_by_side(function: Callable[..., Any], *stacked: Any) -> Any:
    return jax.vmap(function)(*stacked)


# Fused blocks, a member at a time, keep a processor's cache warm; operations on all members at once fill an
# accelerator. `measure` finds out which is the fastest here.
FORMULATIONS = {
    "fused": Formulation(networks.block, _one_by_one),
    "plain": Formulation(networks.block_reference, _side_by_side),
    "products": Formulation(networks.block_of_products, _side_by_side),
}


def candidates() -> tuple[str, ...]:
    """The names of the FORMULATIONS that may be the fastest on the devices at hand."""
    return ("plain", "products") if accelerated() else ("fused", "plain")


class Trainer:
    """The compiled programs of a population: initialisation, training, test accuracy.

    data: the data set; the one that `training` names where None. formulation: a name of FORMULATIONS.
    devices: JAX devices that share the members through a mesh; the first one where None.
    Raises ValueError where the images are too few for a batch or too small for the crop, or where a label is none of
    the classes, or for another formulation; and as `topo.datasets.load` does where data is None.
    """

    def __init__(
        self,
        training: Training,
        data: datasets.Dataset | None = None,
        formulation: str = "fused",
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        if formulation not in FORMULATIONS:
            raise ValueError(f"formulation = {formulation!r} is not one of {', '.join(FORMULATIONS)}")
        recipe = training.recipe
        self.training, self._side = training, recipe.crop
        self.data = datasets.load(training.dataset) if data is None else data
        check_fits(training, self.data.name, self.data.train_images.shape)
        datasets.check_labels(self.data)
        self.formulation = formulation
        operation, self._over = FORMULATIONS[formulation]
        self._network = networks.build(training.architecture, training.max_pooling, operation, self.data.classes)
        count = len(self.data.train_images) - int(training.hold_out)
        learned = int(training.images) or count
        self._starts = jnp.asarray(starting_filters(training.first)) if training.first else None
        self._epoch = learned // int(training.batch)
        options = {"momentum": training.momentum} if training.momentum else {}
        self._optimizer = OPTIMIZERS[recipe.optimizer](learning_rate(training, self._epoch), **options)
        border = ((0, 0), (recipe.pad,) * 2, (recipe.pad,) * 2, (0, 0))
        self._images = jnp.pad(jnp.asarray(self.data.train_images[:learned]), border)
        self._labels = jnp.asarray(self.data.train_labels[:learned], jnp.int32)
        if training.hold_out:
            self._judged = self.data.train_images[count:], self.data.train_labels[count:]
        else:
            self._judged = self.data.test_images, self.data.test_labels
        self._mesh = Mesh(np.array(jax.local_devices()[:1] if devices is None else devices), ("members",))
        self._initial = self._program(self._initial_of_one)
        self._order = self._program(self._order_of_one, shared=1)
        self._advance = self._program(self._advance_one, shared=4, donate=True)
        self._correct = self._program(self._correct_of_one, shared=2)

    def _program(self, function: Callable[..., Any], shared: int = 0, donate: bool = False) -> Any:
        """Compile a function of one member for all.

        shared: how many of the last arguments are the same for every member; donate: whether the first is used up.
        """

        def together(*arguments: Any) -> Any:
            own, common = arguments[: len(arguments) - shared], arguments[len(arguments) - shared :]
            return self._over(lambda *one: function(*one, *common), *own)

        def spread(*arguments: Any) -> Any:
            members = PartitionSpec("members")
            specs = (members,) * (len(arguments) - shared) + (PartitionSpec(),) * shared
            mapped = jax.shard_map(together, mesh=self._mesh, in_specs=specs, out_specs=members, check_vma=False)
            return mapped(*arguments)

        return jax.jit(spread if self._mesh.size > 1 else together, donate_argnums=0 if donate else ())

    def _stream(self, member: Int[Array, ""], purpose: int) -> Key[Array, ""]:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(int(self.training.seed)), member), purpose)

    def _initial_of_one(self, member: Int[Array, ""]) -> _State:
        side = self._side
        image = jnp.zeros((1, side, side, self._images.shape[-1]) if side else self._images[:1].shape)
        params = self._network.init(self._stream(member, _INITIALISE), image)
        if self._starts is not None:
            weights = params["params"]["conv1"]
            weights["kernel"] = _drawn(self._starts, weights["kernel"], self._stream(member, _FILTERS))
        return _State(params, self._optimizer.init(params), jnp.float32(jnp.nan))

    def _order_of_one(self, member: Int[Array, ""], epoch: Int[Array, ""]) -> Int[Array, "images"]:
        return jax.random.permutation(jax.random.fold_in(self._stream(member, _SHUFFLE), epoch), len(self._images))

    def _inputs(
        self, images: Real[Array, "images _height _width channels"], chosen: Int[Array, "batch"], key: Key[Array, ""]
    ) -> Float32[Array, "batch height width channels"]:
        """Training images as the network sees them."""
        side = self._side
        return standardize(random_crops(images, chosen, side, key)) if side else _scaled(images[chosen])

    def _test_inputs(
        self, images: Real[Array, "batch _height _width channels"]
    ) -> Float32[Array, "batch height width channels"]:
        side = self._side
        if not side:
            return _scaled(images)
        top, left = ((size - side) // 2 for size in images.shape[1:3])
        return standardize(images[:, top : top + side, left : left + side])

    def _loss(
        self,
        params: Any,
        inputs: Float32[Array, "batch height width channels"],
        labels: Int[Array, "batch"],
        key: Key[Array, ""],
    ) -> Float32[Array, ""]:
        logits: Any = self._network.apply(params, inputs, train=True, rngs={"dropout": key})
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        if self.training.l2 and "dense" in params["params"]:
            loss += self.training.l2 / 2 * (params["params"]["dense"]["kernel"] ** 2).sum()
        return loss

    def _advance_one(
        self,
        state: _State,
        member: Int[Array, ""],
        order: Int[Array, "images"],
        start: Int[Array, ""],
        stop: Int[Array, ""],
        images: Real[Array, "images height width channels"],
        labels: Int[Array, "images"],
    ) -> _State:
        augment, dropout = self._stream(member, _AUGMENT), self._stream(member, _DROPOUT)
        batch = int(self.training.batch)

        def step(iteration: Int[Array, ""], state: _State) -> _State:
            chosen = lax.dynamic_slice_in_dim(order, iteration % self._epoch * batch, batch)
            inputs = self._inputs(images, chosen, jax.random.fold_in(augment, iteration))
            key = jax.random.fold_in(dropout, iteration)
            loss, gradient = jax.value_and_grad(self._loss)(state.params, inputs, labels[chosen], key)
            if self.training.fixed:
                first = gradient["params"]["conv1"]
                first["kernel"] = jnp.zeros_like(first["kernel"])
            updates, optimizer = self._optimizer.update(gradient, state.optimizer, state.params)
            return _State(optax.apply_updates(state.params, updates), optimizer, loss)

        return lax.fori_loop(start, stop, step, state)

    def _correct_of_one(
        self, state: _State, images: Real[Array, "tests height width channels"], labels: Real[Array, "tests"]
    ) -> Int[Array, ""]:
        logits: Any = self._network.apply(state.params, self._test_inputs(images))
        return (logits.argmax(-1) == labels).sum()

    def _whole(self, members: Sequence[Whole]) -> Int[Array, "filled"]:
        """The members as an array, filled up with the last one so that every device of the mesh gets as many."""
        missing = -len(members) % self._mesh.size
        return jnp.array([*members, *[members[-1]] * missing], jnp.int32)

    def initial(self, members: Sequence[Whole]) -> _State:
        """States of the members before their first iteration, stacked along a leading axis."""
        return self._cut(self._initial(self._whole(members)), len(members))

    def _cut(self, stacked: _State, networks: int) -> _State:
        return stacked if networks % self._mesh.size == 0 else jax.tree.map(lambda leaf: leaf[:networks], stacked)

    def _fill(self, states: _State, networks: int) -> _State:
        missing = -networks % self._mesh.size
        repeat = lambda leaf: jnp.concatenate([leaf, jnp.repeat(leaf[-1:], missing, axis=0)])
        return jax.tree.map(repeat, states) if missing else states

    def advance(
        self,
        states: _State,
        members: Sequence[Whole],
        start: Whole,
        stop: Whole,
        report: Report = lambda iteration, loss: None,
    ) -> _State:
        """Train members from iteration `start` to `stop`; each member draws a new order of the images for every epoch.

        states: of these members, as `initial` or this method returns them; no longer usable afterwards. report: called
        with the iteration reached and each member's loss of the last minibatch. Returns the new states.
        """
        networks, at = len(members), int(start)
        states, every = self._fill(states, networks), self._whole(members)
        orders, epoch = None, -1
        while at < stop:
            if at // self._epoch != epoch:
                epoch = at // self._epoch
                orders = self._order(every, epoch)
            end = min(int(stop), at + _SPAN, (epoch + 1) * self._epoch)
            states = self._advance(states, every, orders, at, end, self._images, self._labels)
            at = end
            report(end, np.asarray(states.loss)[:networks])
        return self._cut(states, networks)

    def accuracy(
        self,
        states: _State,
        images: Real[np.ndarray, "tests height width channels"] | None = None,
        labels: Integer[np.ndarray, "tests"] | None = None,
    ) -> Float64[np.ndarray, "networks"]:
        """Fraction of images that each member classifies correctly.

        images, labels: what is classified; the test images, or those held out, where None.
        """
        if images is None or labels is None:
            images, labels = self._judged
        networks = len(states.loss)
        states = self._fill(states, networks)
        pieces = [slice(i, i + _EVALUATION_BATCH) for i in range(0, len(images), _EVALUATION_BATCH)]
        correct = np.sum([np.asarray(self._correct(states, images[piece], labels[piece])) for piece in pieces], axis=0)
        return correct[:networks] / len(images)

    def kernels(self, states: _State) -> dict[int, Float32[np.ndarray, "networks _height _width _inputs _outputs"]]:
        """The kernels of every convolutional layer, by its number from 1."""
        params = states.params["params"]
        blocks = sorted((name for name in params if name.startswith("conv")), key=lambda name: int(name[4:]))
        return {layer: np.asarray(params[name]["kernel"]) for layer, name in enumerate(blocks, start=1)}

    def memory(self, members: int) -> int:
        """Bytes that training so many members at once takes on a device, data set included, by the compiler's count."""

        def shapes(*arguments: Any) -> Any:
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)

        one = jnp.zeros(members, jnp.int32)
        states = jax.eval_shape(self._initial, one)
        orders = jax.eval_shape(self._order, one, 0)
        compiled = self._advance.lower(states, *shapes(one, orders), 0, 1, self._images, self._labels).compile()
        used = compiled.memory_analysis()
        arguments, results = used.argument_size_in_bytes, used.output_size_in_bytes - used.alias_size_in_bytes
        return arguments + results + used.temp_size_in_bytes


def _drawn(
    filters: Float[Array, "filters 9"], kernel: Float[Array, "3 3 inputs outputs"], key: Key[Array, ""]
) -> Float[Array, "3 3 inputs outputs"]:
    """A kernel of randomly chosen filters, alike in all inputs, of the norm that `kernel` has in the mean square."""
    chosen = jax.random.choice(key, filters, (kernel.shape[-1],)).T.reshape(3, 3, 1, -1)
    norm = jnp.sqrt((kernel**2).sum((0, 1)).mean())
    return norm * jnp.broadcast_to(chosen, kernel.shape)


def _scaled(images: Real[Array, "batch height width channels"]) -> Float32[Array, "batch height width channels"]:
    return images.astype(jnp.float32) / 255


def random_crops(
    images: Real[Array, "images height width channels"], chosen: Int[Array, "batch"], side: Whole, key: Key[Array, ""]
) -> Real[Array, "batch {side} {side} channels"]:
    """Random square windows of some images, each mirrored left to right half of the time (section 5.2).

    chosen: which images; side: of the windows, in pixels; key: from which windows and mirroring are drawn.
    Returns an array of the images' dtype.
    """
    corner_key, flip_key = jax.random.split(key)
    _, height, width, channels = images.shape
    ends = jnp.array([height, width]) - side + 1
    corners = jax.random.randint(corner_key, (len(chosen), 2), 0, ends)
    cut = lambda image, corner: lax.dynamic_slice(images, (image, *corner, 0), (1, side, side, channels))[0]
    crops = jax.vmap(cut)(chosen, corners)
    flipped = jax.random.bernoulli(flip_key, shape=(len(chosen), 1, 1, 1))
    return jnp.where(flipped, crops[:, :, ::-1], crops)


def standardize(
    images: Real[Array, "batch height width channels"],
) -> Float32[Array, "batch height width channels"]:
    """Each image centred and divided by its standard deviation, or by 1 / sqrt(numbers in the image) if that is more.

    As TensorFlow's per_image_standardization; the paper says mean-centring and normalising (section 5.2).
    """
    images = images.astype(jnp.float32)
    axes, numbers = (1, 2, 3), math.prod(images.shape[1:])
    centred = images - images.mean(axes, keepdims=True)
    return centred / jnp.maximum(jnp.sqrt((centred**2).mean(axes, keepdims=True)), 1 / math.sqrt(numbers))


def measure(training: Training, members: int = 2, data: datasets.Dataset | None = None) -> dict[str, Any]:
    """The time and the memory that training takes here, measured now.

    One iteration is timed, then up to three times eight, until a timing takes more than 0.4 s; the fastest counts.

    members: how many are trained together; data: noise where None, so that nothing has to be downloaded.
    Returns a dict of

    "seconds": {one of `candidates`: seconds for a network-iteration}, after the program is compiled;
    "formulation": the fastest one's name;
    "bytes": [for the program and the data set, for each further member] of the fastest one.
    """
    data = datasets.stand_in(training.dataset) if data is None else data
    seconds: dict[str, float] = {}
    trainers = {name: Trainer(training, data, name) for name in candidates()}
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
    fastest = min(seconds, key=lambda name: seconds[name])
    few, many = (trainers[fastest].memory(count) for count in (1, 3))
    slope = (many - few) // 2
    return {"seconds": seconds, "formulation": fastest, "bytes": [few - slope, slope]}


def measurement_key(training: Training, threads: str | None = None) -> str:
    """Under which name the time of such networks is kept: optimiser, rate and images hardly change it, threads do.

    threads: of the process that trains, "all" or as NPROC has it; those of this process where None.
    """
    threads = threads or os.environ.get("NPROC", "all")
    parts = training.architecture, training.dataset, training.batch, training.crop, training.max_pooling
    return " ".join(map(str, (*parts, "jax", jax.__version__, hardware(), "threads", threads)))


def _records(folder: str | Path) -> dict[str, dict[str, Any]]:
    try:
        return json.loads((Path(folder) / _MEASUREMENTS).read_text())
    except (OSError, ValueError):  # there is none yet, or it is damaged: cached_measurement measures anew
        return {}


def read_measurement(
    training: Training, folder: str | Path = CHECKPOINTS, threads: str | None = None
) -> dict[str, Any] | None:
    """What `cached_measurement` kept on this machine, or None where it has not been called for such networks yet.

    threads: as for `measurement_key`.
    """
    return _records(folder).get(measurement_key(training, threads))


@lru_cache
def cached_measurement(training: Training, folder: str | Path = CHECKPOINTS) -> dict[str, Any]:
    """The answer of `measure`, which is called once for such networks on a machine; the answer is kept in `folder`."""
    record = read_measurement(training, folder)
    if record is None:
        record = measure(training)
        keep_measurement(training, record, folder)
    return record


def keep_measurement(
    training: Training, record: Mapping[str, Any], folder: str | Path = CHECKPOINTS, threads: str | None = None
) -> None:
    """Write a record, as `read_measurement` reads it; where `folder` cannot be written, every process measures anew."""
    known = {**_records(folder), measurement_key(training, threads): record}
    with suppress(OSError):
        write_atomically(Path(folder) / _MEASUREMENTS, (json.dumps(known, indent=1) + "\n").encode())


def train_population(
    architecture: str | Architecture | DeepArchitecture,
    networks: Whole = 100,
    iterations: Whole = 40_000,
    snapshots: Iterable[Whole] = (),
    seed: Whole = 0,
    *,
    members: Iterable[Whole] | None = None,
    progress: bool = False,
    formulation: str | None = None,
    **settings: Any,
) -> Population:
    """Train a population in this process, on all devices that JAX sees (section 5.1).

    architecture: text such as "M(64,32,64)", or what `Architecture.parse` makes of it.
    networks: members 0 .. networks - 1, unless `members` lists others; each is trained as in any other population of
        the same seed.
    iterations: minibatches; snapshots: iterations at which kernels and test accuracies are kept, the last always
        among them.
    settings: fields of `Training`, such as dataset, batch or learning_rate.
    progress: whether to show a bar of iterations.
    formulation: a name of FORMULATIONS; where None, the one that `cached_measurement` found to be the fastest here.

    Raises TypeError or ValueError for values out of range, naming them, before anything is trained; as
    `topo.datasets.load` does; and ValueError where all networks lost their weights to overflow.
    """
    from tqdm import tqdm

    snapshots = check_snapshots(networks, iterations, snapshots)
    training = Training(Architecture.parse(architecture), seed=seed, **settings)
    chosen = list(range(int(networks)) if members is None else members)
    for member in chosen:
        check_whole(member, "member", 0, 2**31 - 1)
    if len(set(chosen)) < max(1, len(chosen)):
        raise ValueError(f"members = {chosen} are not allowed: one or more, all different")
    data = datasets.load(training.dataset)  # before anything is compiled: what is wrong with it is said at once
    formulation = formulation or cached_measurement(training)["formulation"]
    chunk = Chunk(Trainer(training, data, formulation, jax.local_devices()), chosen)
    with tqdm(total=iterations, unit="iteration", disable=not progress) as bar:

        def report(iteration: int, loss: np.ndarray) -> None:
            if progress:
                bar.set_postfix(members=len(chunk.members), loss=f"{loss.mean():.3f}", refresh=False)
                bar.update(iteration - bar.n)

        chunk.run(iterations, snapshots, every=max(iterations, 1), report=report)
    population = chunk.population(snapshots)
    check_left(population)
    return population
