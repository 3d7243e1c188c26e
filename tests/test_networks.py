import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from topo import networks
from topo.notation import Architecture


def draw(shape, seed=0, scale=1.0):
    return scale * jax.random.normal(jax.random.key(seed), shape)


PLAIN = ((2, 2), False)
# image shape, kernel shape, (pool, normalized): thin and wide kernels, every pooling of Tables 1 and 2, batches that do
# not divide by eight, images small enough for larger groups, a wide 5x5 and a kernel that is not square
CASES = [
    ((8, 28, 28, 1), (3, 3, 1, 6), PLAIN),
    ((16, 14, 14, 5), (3, 3, 5, 4), PLAIN),
    ((6, 8, 8, 1), (3, 3, 1, 3), PLAIN),
    ((3, 8, 6, 2), (5, 5, 2, 3), PLAIN),
    ((2, 6, 8, 1), (3, 5, 1, 2), PLAIN),
    ((8, 24, 24, 1), (3, 3, 1, 12), ((3, 2), True)),
    ((5, 24, 24, 3), (3, 3, 3, 12), ((3, 2), True)),
    ((4, 10, 12, 6), (3, 3, 6, 5), ((3, 2), False)),
    ((8, 12, 12, 12), (3, 3, 12, 10), ((2, 1), True)),
    ((4, 12, 12, 3), (3, 3, 3, 11), ((1, 1), True)),
    ((4, 12, 12, 6), (3, 3, 6, 11), ((1, 1), True)),
    ((64, 2, 2, 6), (3, 3, 6, 4), ((1, 1), False)),
]


def pulled_back(operation, image_shape, kernel_shape, options):
    arguments = draw(image_shape), draw(kernel_shape, 1, 0.3), draw(kernel_shape[-1:], 2)

    @jax.jit
    def both_ways(*arguments):
        output, pullback = jax.vjp(lambda *arguments: operation(*arguments, *options), *arguments)
        return output, pullback(draw(output.shape, 3))

    return both_ways(*arguments)


@pytest.mark.parametrize("image_shape, kernel_shape, options", CASES)
def test_blocks_equal_their_plain_definition_forward_and_backward(image_shape, kernel_shape, options):
    expected, plain_gradients = pulled_back(networks.block_reference, image_shape, kernel_shape, options)
    for operation in (networks.block, networks.block_of_products):
        output, gradients = pulled_back(operation, image_shape, kernel_shape, options)
        np.testing.assert_allclose(output, expected, atol=1e-5)
        for ours, plain in zip(gradients, plain_gradients):
            np.testing.assert_allclose(ours, plain, atol=2e-6 * float(jnp.abs(plain).max()) + 1e-6)


@pytest.mark.parametrize("pool", [(2, 2), (3, 2), (2, 1)])
def test_ties_send_the_gradient_to_the_first_input(pool):
    arguments = jnp.ones((1, 6, 6, 2)), jnp.ones((3, 3, 2, 3)), jnp.ones(3)
    output, pullback = jax.vjp(lambda *arguments: networks.block(*arguments, pool), *arguments)
    _, expected_pullback = jax.vjp(lambda *arguments: networks.block_reference(*arguments, pool), *arguments)
    for ours, plain in zip(pullback(jnp.ones_like(output)), expected_pullback(jnp.ones_like(output))):
        np.testing.assert_array_equal(ours, plain)


def test_responses_are_normalised_by_their_nine_neighbours():
    x = 30 * np.asarray(draw((2, 3, 12)))
    expected = np.empty_like(x)
    for channel in range(12):
        energy = (x[..., max(0, channel - 4) : channel + 5] ** 2).sum(-1)
        expected[..., channel] = x[..., channel] / (1 + 0.001 / 9 * energy) ** 0.75
    np.testing.assert_allclose(networks.normalize_responses(jnp.asarray(x)), expected, rtol=1e-6)

    def plain(x):
        energy = sum(jnp.pad(x**2, ((0, 0), (0, 0), (4, 4)))[..., i : i + 12] for i in range(9))
        return x / (1 + 0.001 / 9 * energy) ** 0.75

    x, gradient = jnp.asarray(x), draw(x.shape, 1)
    (ours,), (theirs,) = (jax.vjp(function, x)[1](gradient) for function in (networks.normalize_responses, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("inputs", [5, 64])
def test_the_product_of_a_dense_layer_has_the_plain_gradients(inputs):
    arguments, gradient = (draw((7, inputs)), draw((inputs, 3), 1)), draw((7, 3), 2)
    (ours, pullback), (plain, expected) = (jax.vjp(f, *arguments) for f in (networks._product, jnp.matmul))
    np.testing.assert_array_equal(ours, plain)
    for one, other in zip(pullback(gradient), expected(gradient)):
        np.testing.assert_allclose(one, other, atol=1e-6)


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
        (
            "M(4,3,5)",
            {
                "conv1/kernel": (3, 3, 1, 4),
                "conv2/kernel": (3, 3, 4, 3),
                "dense/kernel": (147, 5),
                "readout/kernel": (5, 10),
            },
        ),
        ("M(4,0,5)", {"conv1/kernel": (3, 3, 1, 4), "dense/kernel": (784, 5), "readout/kernel": (5, 10)}),
        ("M(0,3,5)", {"conv2/kernel": (3, 3, 1, 3), "dense/kernel": (588, 5), "readout/kernel": (5, 10)}),
        ("M(4,3,0)", {"conv1/kernel": (3, 3, 1, 4), "conv2/kernel": (3, 3, 4, 3), "readout/kernel": (147, 10)}),
    ],
)
def test_zero_removes_a_block(text, shapes):
    assert kernels_of(text, (1, 28, 28, 1)) == shapes


def test_initial_weights_are_truncated_at_two_deviations_and_biases_constant():
    params = networks.build(Architecture.parse("M(64,32,64)")).init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))[
        "params"
    ]
    kernel = np.asarray(params["dense"]["kernel"])
    assert np.abs(kernel).max() <= 0.2 and 0.08 < kernel.std() < 0.095
    assert np.all(np.asarray(params["conv1"]["bias"]) == np.float32(0.1))


@pytest.mark.parametrize(
    "text, constants",
    [
        ("M(4,3,5)", {"conv1": 0.1, "conv2": 0.1, "dense": 0.1, "readout": 0.1}),
        ("C(4,3,5)", {"conv1": 0, "conv2": 0.1, "dense": 0.1, "readout": 0}),
        ("D(1)", {**{f"conv{layer}": 0 for layer in range(1, 14)}, "readout": 0}),
    ],
)
def test_every_bias_starts_at_its_constant(text, constants):
    network = networks.build(Architecture.parse(text))
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))["params"]
    assert {name: set(np.asarray(layer["bias"]).tolist()) for name, layer in params.items()} == {
        name: {float(np.float32(constant))} for name, constant in constants.items()
    }


def test_half_of_the_dense_layer_is_dropped_and_the_rest_doubled():
    network = networks.build(Architecture.parse("M(4,0,400)"))
    images = draw((1, 8, 8, 1))
    params = jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0), images))
    params["params"]["dense"]["bias"] += 1
    params["params"]["readout"]["kernel"] += 1
    assert network.apply(params, images)[0, 0] == 400
    dropped = network.apply(params, images, train=True, rngs={"dropout": jax.random.key(1)})[0, 0]
    assert 300 < dropped < 500 and dropped != 400 and dropped % 2 == 0


def test_dropout_acts_in_training_only():
    network = networks.build(Architecture.parse("M(4,0,32)"))
    images = draw((2, 28, 28, 1))
    params = network.init(jax.random.key(0), images)
    still = network.apply(params, images)
    np.testing.assert_array_equal(still, network.apply(params, images))
    one, two = (network.apply(params, images, train=True, rngs={"dropout": jax.random.key(i)}) for i in (1, 2))
    assert not np.allclose(one, two)


def kernels_of(text, image=(1, 24, 24, 3), **options):
    params = jax.eval_shape(
        networks.build(Architecture.parse(text), **options).init, jax.random.key(0), jnp.zeros(image)
    )["params"]
    return {name: value.shape for name, value in flatten_dict(params, sep="/").items() if name.endswith("kernel")}


@pytest.mark.parametrize("text", ["M(4,0,5)", "C(4,0,5)", "D(4)"])
def test_every_family_reads_out_as_many_classes_as_it_is_told(text):
    assert [kernels_of(text, (1, 32, 32, 3), **options)["readout/kernel"][1] for options in ({}, {"classes": 15})] == [
        10,
        15,
    ]


def test_the_c_family_is_table_2():
    assert kernels_of("C(4,3,5)") == {
        "conv1/kernel": (3, 3, 3, 4),
        "conv2/kernel": (3, 3, 4, 3),
        "dense/kernel": (432, 5),
        "readout/kernel": (5, 10),
    }
    assert kernels_of("C(4,0,5)") == {"conv1/kernel": (3, 3, 3, 4), "dense/kernel": (576, 5), "readout/kernel": (5, 10)}
    assert kernels_of("C(4,3,5)", max_pooling=False)["dense/kernel"] == (1728, 5)
    params = networks.build(Architecture.parse("C(64,32,64)")).init(jax.random.key(0), jnp.zeros((1, 24, 24, 1)))[
        "params"
    ]
    limits = {name: float(np.abs(layer["kernel"]).max()) for name, layer in params.items()}
    biases = {name: float(layer["bias"][0]) for name, layer in params.items()}
    for name, deviation in {"conv1": 0.05, "conv2": 0.05, "dense": 0.04, "readout": 1 / 192}.items():
        assert 1.8 * deviation < limits[name] <= 2 * deviation + 1e-6
    assert biases == pytest.approx({"conv1": 0, "conv2": 0.1, "dense": 0.1, "readout": 0})


def test_the_deep_network_has_vgg16s_thirteen_layers():
    kernels = kernels_of("D(2)", (1, 32, 32, 3))
    assert kernels.pop("readout/kernel") == (16, 10)
    widths = [kernels[f"conv{layer}/kernel"][-1] for layer in range(1, 14)]
    assert len(kernels) == 13 and widths == [2, 2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16]
    assert widths == list(Architecture.parse("D(2)").layers.values())


def test_the_deep_network_pools_after_layers_2_4_7_10_and_13(monkeypatch):
    pools = []
    known = networks.block_reference

    def noted(images, kernel, bias, pool, normalized):
        pools.append((pool, normalized))
        return known(images, kernel, bias, pool, normalized)

    network = networks.build(Architecture.parse("D(1)"), operation=noted)
    jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert [layer for layer, (pool, _) in enumerate(pools, start=1) if pool == (2, 2)] == [2, 4, 7, 10, 13]
    assert len(pools) == 13 and {pool for pool, _ in pools} == {(1, 1), (2, 2)} and not any(each for _, each in pools)


@pytest.mark.parametrize("text", ["M(6,4,8)", "C(6,4,8)", "D(2)"])
def test_both_formulations_are_the_same_network(text):
    architecture = Architecture.parse(text)
    images = draw((4, 32, 32, 1))
    fused, plain = (
        networks.build(architecture, operation=operation) for operation in (networks.block, networks.block_reference)
    )
    params = jax.jit(fused.init)(jax.random.key(0), images)

    def gradient(network):
        return jax.jit(
            jax.grad(
                lambda params: (
                    network.apply(params, images, train=True, rngs={"dropout": jax.random.key(1)}) ** 2
                ).sum()
            )
        )(params)

    ours, theirs = gradient(fused), gradient(plain)
    for left, right in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
        np.testing.assert_allclose(left, right, atol=1e-5 * float(jnp.abs(right).max()) + 1e-7)
