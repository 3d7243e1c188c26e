import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from topo import networks
from topo.notation import Architecture


def draw(shape, seed=0, scale=1.0):
    return scale * jax.random.normal(jax.random.key(seed), shape)


# thin 3x3, wide 3x3, batches that do not divide by eight, a wide 5x5 and a kernel that is not square
CASES = [((8, 28, 28, 1), (3, 3, 1, 6)), ((16, 14, 14, 5), (3, 3, 5, 4)), ((6, 8, 8, 1), (3, 3, 1, 3)), ((3, 8, 6, 2), (5, 5, 2, 3)), ((2, 6, 8, 1), (3, 5, 1, 2))]


@pytest.mark.parametrize("image_shape, kernel_shape", CASES)
def test_block_equals_its_plain_definition_forward_and_backward(image_shape, kernel_shape):
    arguments = draw(image_shape), draw(kernel_shape, 1, 0.3), draw(kernel_shape[-1:], 2)
    output, pullback = jax.vjp(networks.block, *arguments)
    expected, expected_pullback = jax.vjp(networks.block_reference, *arguments)
    np.testing.assert_allclose(output, expected, atol=1e-5)
    gradient = draw(output.shape, 3)
    for ours, plain in zip(pullback(gradient), expected_pullback(gradient)):
        np.testing.assert_allclose(ours, plain, atol=2e-6 * float(jnp.abs(plain).max()) + 1e-6)


def test_ties_send_the_gradient_to_the_first_input():
    arguments = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 3)), jnp.ones(3)
    output, pullback = jax.vjp(networks.block, *arguments)
    _, expected_pullback = jax.vjp(networks.block_reference, *arguments)
    for ours, plain in zip(pullback(jnp.ones_like(output)), expected_pullback(jnp.ones_like(output))):
        np.testing.assert_array_equal(ours, plain)


def test_block_works_under_vmap():
    kernels = draw((3, 3, 3, 2, 4))
    images, bias = draw((4, 6, 6, 2), 1), jnp.zeros(4)
    together = jax.vmap(networks.block, (None, 0, None))(images, kernels, bias)
    for kernel, one in zip(kernels, together):
        np.testing.assert_allclose(one, networks.block(images, kernel, bias), atol=1e-5)


def test_odd_images_are_refused():
    with pytest.raises(ValueError, match="7 x 8"):
        networks.block(draw((1, 7, 8, 1)), draw((3, 3, 1, 2)), jnp.zeros(2))


@pytest.mark.parametrize(
    "text, shapes",
    [
        ("M(4,3,5)", {"conv1/kernel": (3, 3, 1, 4), "conv2/kernel": (3, 3, 4, 3), "dense/kernel": (147, 5), "readout/kernel": (5, 10)}),
        ("M(4,0,5)", {"conv1/kernel": (3, 3, 1, 4), "dense/kernel": (784, 5), "readout/kernel": (5, 10)}),
        ("M(0,3,5)", {"conv2/kernel": (3, 3, 1, 3), "dense/kernel": (588, 5), "readout/kernel": (5, 10)}),
        ("M(4,3,0)", {"conv1/kernel": (3, 3, 1, 4), "conv2/kernel": (3, 3, 4, 3), "readout/kernel": (147, 10)}),
    ],
)
def test_zero_removes_a_block(text, shapes):
    params = networks.build(Architecture.parse(text)).init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    kernels = {name: value.shape for name, value in flatten_dict(params, sep="/").items() if name.endswith("kernel")}
    assert kernels == shapes


def test_initial_weights_are_truncated_at_two_deviations_and_biases_constant():
    params = networks.build(Architecture.parse("M(64,32,64)")).init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    kernel = np.asarray(params["dense"]["kernel"])
    assert np.abs(kernel).max() <= 0.2 and 0.08 < kernel.std() < 0.095
    assert np.all(np.asarray(params["conv1"]["bias"]) == np.float32(0.1))


def test_dropout_acts_in_training_only():
    network = networks.build(Architecture.parse("M(4,0,32)"))
    images = draw((2, 28, 28, 1))
    params = network.init(jax.random.key(0), images)
    still = network.apply(params, images)
    np.testing.assert_array_equal(still, network.apply(params, images))
    one, two = (network.apply(params, images, train=True, rngs={"dropout": jax.random.key(i)}) for i in (1, 2))
    assert not np.allclose(one, two)


def test_a_family_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="'C'"):
        networks.build(Architecture.parse("C(64,32,64)"))
