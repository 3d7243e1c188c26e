"""Where the time of one training step goes: its parts, one by one, on one thread.

Knows what a step consists of; must not know how a block computes. `benchmarks.populations` measures with it.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import optax

from topo import datasets, networks, training
from topo.notation import Architecture

_TURN = 25  # steps that are timed together
_SIDE = 1024  # of the matrices whose product says what the processor can do


def _seconds(function, *arguments):
    """The median of seven timings of a compiled function, each of some calls that take a tenth of a second together."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))

    def spent(calls):
        start = time.perf_counter()
        for _ in range(calls):
            result = compiled(*arguments)
        jax.block_until_ready(result)
        return (time.perf_counter() - start) / calls

    calls = max(1, round(0.1 / spent(1)))
    return median(spent(calls) for _ in range(7))


def _noise(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def _block(images, kernel, pool, normalized, first):
    """{"seconds", "operations": multiplications and additions of its products} of a block with its gradient.

    images, kernel: shapes; first: whether nobody asks for the gradient of its images, as they are data.
    """
    count, height, width, _ = images
    out = count, height // pool[1], width // pool[1], kernel[-1]
    weights = _noise(*kernel), _noise(kernel[-1])

    def both(images, kernel, bias, upstream):
        if first:
            _, back = jax.vjp(lambda *weights: networks.block(images, *weights, pool, normalized), kernel, bias)
        else:
            _, back = jax.vjp(lambda *all: networks.block(*all, pool, normalized), images, kernel, bias)
        return back(upstream)

    products = 2 if first else 3
    return {
        "seconds": _seconds(both, _noise(*images), *weights, _noise(*out)),
        "operations": products * 2 * count * height * width * int(np.prod(kernel)),
    }


def _step(trainer):
    """(seconds of a whole step, as the engine trains a network; how many of them go into products)."""
    states, turns = trainer.advance(trainer.initial([0]), [0], 0, _TURN), []
    for first in range(_TURN, 6 * _TURN, _TURN):
        start = time.perf_counter()
        states = trainer.advance(states, [0], first, first + _TURN)
        turns.append((time.perf_counter() - start) / _TURN)
    options = jax.profiler.ProfileOptions()
    options.host_tracer_level, options.python_tracer_level = 3, 0  # 3: every operation of the compiled program
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            trainer.advance(states, [0], 6 * _TURN, 7 * _TURN)
        (written,) = Path(folder).rglob("*.xplane.pb")
        planes = jax.profiler.ProfileData.from_file(str(written)).planes
        events = [event for plane in planes for line in plane.lines for event in line.events]
    products = [event.duration_ns for event in events if event.name.startswith(("dot", "conv_general"))]
    return median(turns), sum(products) / 1e9 / _TURN


def measure(architecture, dataset, max_pooling):
    """The parts of a step of one network on noise, and how fast the processor is at large matrix products.

    Returns {"parts": {part: {"seconds"} and, for a block, "operations" in floating point}, "step": seconds of a whole
    one as the engine trains, "products": those in which it multiplies matrices or convolves, "product": operations a
    second of a product of two matrices of 1,024 x 1,024 numbers}.
    What is neither crops, a block nor the update is the difference to the step: dense layers, loss and what joins them.
    """
    chosen = training.Training(Architecture.parse(architecture), dataset, max_pooling=max_pooling)
    trainer = training.Trainer(chosen, datasets.stand_in(dataset), "fused")
    state, key, batch = trainer._initial_of_one(jnp.int32(0)), jax.random.key(0), jnp.arange(chosen.batch)
    take = lambda images, key: trainer._inputs(images, batch, key)
    inputs, seen = jax.jit(take)(trainer._images, key), []

    def noted(images, kernel, bias, pool, normalized):
        seen.append((images.shape, kernel.shape, pool, normalized))
        return networks.block_reference(images, kernel, bias, pool, normalized)

    jax.eval_shape(trainer._network.clone(operation=noted).apply, state.params, inputs)
    parts = {"crops": {"seconds": _seconds(take, trainer._images, key)}}
    for number, block in enumerate(seen, start=1):
        parts[f"block {number}"] = _block(*block, first=number == 1)

    def update(gradient, optimizer, params):
        changes, optimizer = trainer._optimizer.update(gradient, optimizer, params)
        return optax.apply_updates(params, changes), optimizer

    parts["update"] = {"seconds": _seconds(update, state.params, state.optimizer, state.params)}
    step, products = _step(trainer)
    parts["the rest"] = {"seconds": step - sum(part["seconds"] for part in parts.values())}
    square = _noise(_SIDE, _SIDE)
    product = 2 * _SIDE**3 / _seconds(jnp.matmul, square, square)
    return {"parts": parts, "step": step, "products": products, "product": product}
