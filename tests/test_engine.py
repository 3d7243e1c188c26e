"""The training engine from outside: against a plain loop of Flax and optax that shares neither code nor numbers.

Networks, recipes and random streams are written out here once more: Tables 1 and 2 of the paper, and what the package
says that it adds to them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from topo.datasets import Dataset, digits
from topo.notation import Architecture
from topo.training import Trainer, Training

SEED, MEMBER = 5, 3
IMAGES, BATCH, ITERATIONS = 20, 8, 5  # an epoch is two iterations, and leaves four images out
INITIALISE, SHUFFLE, DROPOUT, AUGMENT = range(4)
RECIPES = {
    "M": dict(optimizer="adam", learning_rate=0.001, decay=1.0, decay_epochs=350, l2=0.0, crop=0, pad=0),
    "C": dict(optimizer="sgd", learning_rate=0.1, decay=0.1, decay_epochs=350, l2=0.004, crop=24, pad=0),
    "D": dict(optimizer="adam", learning_rate=0.0005, decay=0.1, decay_epochs=16, l2=0.0, crop=32, pad=4),
}


@pytest.fixture(scope="module", autouse=True)
def compiled_in_half_the_time():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def convolution(name, filters, deviation, bias):
    start = nn.initializers.truncated_normal(deviation), nn.initializers.constant(bias)
    return nn.Conv(filters, (3, 3), padding="SAME", kernel_init=start[0], bias_init=start[1], name=name)


def dense(name, nodes, deviation, bias):
    start = nn.initializers.truncated_normal(deviation), nn.initializers.constant(bias)
    return nn.Dense(nodes, kernel_init=start[0], bias_init=start[1], name=name)


def normalized(x):
    squares = jnp.pad(x**2, ((0, 0), (0, 0), (0, 0), (4, 4)))
    return x / (1 + 0.001 / 9 * sum(squares[..., i : i + x.shape[-1]] for i in range(9))) ** 0.75


class M(nn.Module):
    widths: tuple

    @nn.compact
    def __call__(self, x, train):
        for name, width in zip(("conv1", "conv2"), self.widths):
            x = nn.max_pool(nn.relu(convolution(name, width, 0.1, 0.1)(x)), (2, 2), (2, 2), "SAME")
        x = nn.relu(dense("dense", self.widths[2], 0.1, 0.1)(x.reshape(len(x), -1)))
        return dense("readout", 10, 0.1, 0.1)(nn.Dropout(0.5, deterministic=not train)(x))


class C(nn.Module):
    widths: tuple
    pooled: bool = True

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(convolution("conv1", self.widths[0], 0.05, 0.0)(x))
        x = normalized(nn.max_pool(x, (3, 3), (2, 2), "SAME") if self.pooled else x)
        x = nn.relu(convolution("conv2", self.widths[1], 0.05, 0.1)(x))
        x = normalized(nn.max_pool(x, (2, 2), (1, 1), "SAME") if self.pooled else x)
        x = nn.relu(dense("dense", self.widths[2], 0.04, 0.1)(x.reshape(len(x), -1)))
        return dense("readout", 10, 1 / 192, 0.0)(x)


class D(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, train):
        start = dict(kernel_init=nn.initializers.he_normal(), bias_init=nn.initializers.zeros)
        for layer, multiple in enumerate((1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8), start=1):
            x = nn.relu(nn.Conv(multiple * self.width, (3, 3), padding="SAME", name=f"conv{layer}", **start)(x))
            if layer in (2, 4, 7, 10, 13):
                x = nn.max_pool(x, (2, 2), (2, 2), "SAME")
        return nn.Dense(10, name="readout", **start)(x.reshape(len(x), -1))


def scaled(images):
    return images.astype(np.float32) / 255


def standardized(x):
    x = x.astype(np.float32) - x.mean((1, 2, 3), keepdims=True)
    return x / np.maximum(x.std((1, 2, 3), keepdims=True), 1 / np.sqrt(x[0].size))


def augmented(images, side, key):
    corner_key, flip_key = jax.random.split(key)
    most = images.shape[1] - side
    corners = np.asarray(jax.random.randint(corner_key, (len(images), 2), 0, np.array([most, most]) + 1))
    crops = np.stack([image[top : top + side, left : left + side] for image, (top, left) in zip(images, corners)])
    flipped = np.asarray(jax.random.bernoulli(flip_key, shape=(len(images), 1, 1, 1)))
    return standardized(np.where(flipped, crops[:, :, ::-1], crops))


def train(network, recipe, images, labels, begin):
    """One member's parameters as they are drawn, and as training leaves them that starts from `begin` of those."""
    member = jax.random.fold_in(jax.random.key(SEED), MEMBER)
    stream = lambda purpose, time: jax.random.fold_in(jax.random.fold_in(member, purpose), time)
    side, pad, epoch = recipe["crop"], recipe["pad"], IMAGES // BATCH
    rate = lambda t: recipe["learning_rate"] * recipe["decay"] ** (t // (epoch * recipe["decay_epochs"]))
    optimizer = {"adam": optax.adam, "sgd": optax.sgd}[recipe["optimizer"]](rate)

    def loss(params, inputs, labels, key):
        logits = network.apply(params, inputs, True, rngs={"dropout": key})
        right = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        penalty = recipe["l2"] and recipe["l2"] / 2 * (params["params"]["dense"]["kernel"] ** 2).sum()
        return penalty - right.mean()

    @jax.jit
    def step(params, state, *batch):
        updates, state = optimizer.update(jax.grad(loss)(params, *batch), state)
        return optax.apply_updates(params, updates), state

    inputs = jnp.zeros((1, side, side, images.shape[-1]) if side else images[:1].shape)
    drawn = jax.jit(lambda key: network.init(key, inputs, False))(jax.random.fold_in(member, INITIALISE))
    params, state = begin(drawn), optimizer.init(drawn)
    bordered = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    for t in range(ITERATIONS):
        order = np.asarray(jax.random.permutation(stream(SHUFFLE, t // epoch), IMAGES))
        chosen = order[t % epoch * BATCH :][:BATCH]
        inputs = augmented(bordered[chosen], side, stream(AUGMENT, t)) if side else scaled(images[chosen])
        params, state = step(params, state, inputs, labels[chosen].astype(np.int32), stream(DROPOUT, t))
    return drawn, params


def predictions(network, recipe, params, images):
    side = recipe["crop"]
    border = (images.shape[1] - side) // 2
    inputs = standardized(images[:, border:, border:][:, :side, :side]) if side else scaled(images)
    return np.asarray(jax.jit(lambda inputs: network.apply(params, inputs, False))(inputs)).argmax(-1)


def small_data(scale, channels, kind):
    """Images to train on, their labels, and images to test on: digits, enlarged, under noise, other in every colour."""
    known = digits()
    images = np.concatenate([known.train_images[:IMAGES], known.test_images[:100]]) // 2
    images = np.kron(images, np.ones((1, scale, scale, channels), np.uint8))
    images = (images + np.random.default_rng(0).integers(0, 128, images.shape)).astype(kind)
    return images[:IMAGES], known.train_labels[:IMAGES], images[IMAGES:]


def ten_times_the_convolutions(params):
    grown = {name: jax.tree.map(lambda leaf: 10 * leaf, layer) for name, layer in params["params"].items()}
    return {"params": {name: grown[name] if name.startswith("conv") else params["params"][name] for name in grown}}


CASES = {  # a network, its name, what else topo is told; how large a digit is, in how many colours, as which numbers
    "M": (M((6, 5, 7)), "M(6,5,7)", {"dataset": "digits"}, (1, 1, np.uint8)),
    "C, gray": (C((12, 6, 7)), "C(12,6,7)", {"dataset": "cifar10-gray"}, (4, 1, np.float32)),
    "C, colour": (C((12, 6, 7)), "C(12,6,7)", {"dataset": "cifar10"}, (4, 3, np.uint8)),
    "C, unpooled": (
        C((6, 12, 7), pooled=False), "C(6,12,7)", {"dataset": "cifar10", "max_pooling": False}, (4, 3, np.uint8)
    ),
    "D": (D(3), "D(3)", {"dataset": "cifar10"}, (4, 3, np.uint8)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_member_is_trained_as_by_a_plain_loop(case):
    network, text, settings, kind = CASES[case]
    family = text[0]
    recipe = {**RECIPES[family], "decay_epochs": 2}  # so early that the last of the iterations is after it
    # From the small weights of its start, family C's normalisation changes too little to be seen in five iterations.
    begin = ten_times_the_convolutions if family == "C" else lambda params: params
    images, labels, tests = small_data(*kind)
    drawn, trained = train(network, recipe, images, labels, begin)
    predicted = predictions(network, recipe, trained, tests)
    answers = (predicted + (np.arange(100) % 3 == 0)) % 10  # every third one is wrong
    data = Dataset("small", images, labels, tests, answers.astype(np.uint8))

    wanted = Training(Architecture.parse(text), batch=BATCH, seed=SEED, decay_epochs=2, **settings)
    trainer = Trainer(wanted, data, "plain" if family == "D" else "fused")  # D's is compiled in half the time
    states = trainer.initial([MEMBER])
    jax.tree.map(lambda ours, plain: np.testing.assert_allclose(ours[0], plain, atol=1e-7), states.params, drawn)
    states = trainer.advance(states._replace(params=begin(states.params)), [MEMBER], 0, ITERATIONS)
    assert trainer.accuracy(states).tolist() == [0.66]

    ours = flatten_dict(jax.tree.map(lambda leaf: np.asarray(leaf[0]), states.params))
    plain, before = (flatten_dict(jax.tree.map(np.asarray, params)) for params in (trained, begin(drawn)))
    assert ours.keys() == plain.keys()
    for path in plain:
        assert np.abs(plain[path] - before[path]).max() > 5e-4, path  # it was trained at all
        # Where a gradient is nothing but rounding, Adam takes a whole step all the same.
        exempt = plain[path].size // 1000 if recipe["optimizer"] == "adam" else 0
        assert (np.abs(ours[path] - plain[path]) > 3e-6).sum() <= exempt, path


@pytest.mark.parametrize("text", ["M(8,0,0)", "C(8,0,0)", "D(4)"])
def test_what_the_paper_leaves_open_is_as_written_here(text):
    wanted, recipe = Training(Architecture.parse(text), "cifar10"), RECIPES[text[0]]
    assert {name: getattr(wanted, name) for name in recipe} == recipe
    assert (wanted.momentum, wanted.anneal, wanted.hold_out, wanted.max_pooling) == (0, 0, 0, True)
