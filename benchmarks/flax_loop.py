"""The loop that one would write in Flax and optax, after Flax's own examples.

One network, one jitted step, minibatches from numpy.

Knows Flax, optax and the recipe of a Training; must not use what this project computes with.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training.train_state import TrainState
from jax import lax

from benchmarks import minibatches, peak_memory, steady
from topo import datasets
from topo.notation import Architecture
from topo.training import Training


class MNetwork(nn.Module):
    """Table 1; images (batch, height, width, channels) float32 -> logits (batch, 10)."""

    conv1: int
    conv2: int
    dense: int
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(self.conv1, (3, 3))(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(self.conv2, (3, 3))(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(self.dense)(x.reshape(len(x), -1)))
        x = nn.Dropout(self.dropout, deterministic=False)(x)
        return nn.Dense(10)(x)


class CNetwork(nn.Module):
    """Table 2; images (batch, height, width, channels) float32 -> logits (batch, 10)."""

    conv1: int
    conv2: int
    dense: int
    max_pooling: bool = True

    @nn.compact
    def __call__(self, x):
        pool = nn.max_pool if self.max_pooling else lambda x, *_: x
        x = nn.relu(nn.Conv(self.conv1, (3, 3))(x))
        x = normalize_responses(pool(x, (3, 3), (2, 2), "SAME"))
        x = nn.relu(nn.Conv(self.conv2, (3, 3))(x))
        x = normalize_responses(pool(x, (2, 2), (1, 1), "SAME"))
        x = nn.relu(nn.Dense(self.dense)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x)


def normalize_responses(x, radius=4, alpha=0.001 / 9, beta=0.75):
    """Local response normalisation: x / (1 + alpha * sum of x^2 over the channels within the radius)^beta."""
    window = (1, 1, 1, 2 * radius + 1)
    return x / (1 + alpha * lax.reduce_window(x**2, 0.0, lax.add, window, (1, 1, 1, 1), "SAME")) ** beta


def augment(images, side, key):
    """A random crop of each image, flipped half of the time, centred and divided by its standard deviation."""

    def one(image, key):
        corner_key, flip_key = jax.random.split(key)
        height, width, channels = image.shape
        top, left = jax.random.randint(corner_key, (2,), 0, jnp.array([height, width]) - side + 1)
        crop = lax.dynamic_slice(image, (top, left, 0), (side, side, channels)).astype(jnp.float32)
        crop = jnp.where(jax.random.bernoulli(flip_key), crop[:, ::-1], crop)
        return (crop - crop.mean()) / jnp.maximum(crop.std(), crop.size**-0.5)

    return jax.vmap(one)(images, jax.random.split(key, len(images)))


def network(architecture, **settings):
    """The Flax module of an Architecture with both convolutions and a dense layer; settings: of the module."""
    family = {"M": MNetwork, "C": CNetwork}[architecture.family]
    return family(architecture.conv1, architecture.conv2, architecture.dense, **settings)


def loss(params, apply, inputs, labels, l2, key):
    """Mean cross entropy, and `l2` times half the squared norm of the dense layer's kernel."""
    logits = apply({"params": params}, inputs, rngs={"dropout": key})
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return entropy + l2 / 2 * jnp.sum(params["Dense_0"]["kernel"] ** 2) if l2 else entropy


def measure(architecture, dataset, max_pooling, seconds):
    """{"rate": iterations per second, "memory": bytes at most} of a network trained on noise, shaped as a data set."""
    training = Training(Architecture.parse(architecture), dataset, max_pooling=max_pooling)
    data = datasets.stand_in(dataset)
    optimizer = {"adam": optax.adam, "sgd": optax.sgd}[training.optimizer](training.learning_rate)
    side = training.crop

    def prepare(images, key):
        return augment(images, side, key) if side else images.astype(jnp.float32) / 255

    @jax.jit
    def train_step(state, images, labels, key):
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        inputs = prepare(images, augment_key)
        value, gradient = jax.value_and_grad(loss)(
            state.params, state.apply_fn, inputs, labels, training.l2, dropout_key
        )
        return state.apply_gradients(grads=gradient), value

    key, init_key = jax.random.split(jax.random.key(0))
    module = network(training.architecture, **({} if max_pooling else {"max_pooling": False}))
    variables = module.init(init_key, prepare(data.train_images[:1], init_key))
    state = TrainState.create(apply_fn=module.apply, params=variables["params"], tx=optimizer)
    stream = minibatches(data.train_images, data.train_labels.astype("int32"), training.batch)

    def run(iterations):
        nonlocal state
        for _ in range(iterations):
            images, labels = next(stream)
            state, value = train_step(state, images, labels, key)
        value.block_until_ready()

    return {"rate": steady(run, seconds), "memory": peak_memory()}
