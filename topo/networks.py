"""Flax modules of the paper's networks, and the fused convolution block they are made of.

Knows shapes and arithmetic; must not know about data sets, populations or files.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from topo.notation import Architecture, DeepArchitecture

Images = Float[Array, "batch height width channels"]
Kernel = Float[Array, "rows columns channels filters"]
_Pool = tuple[int, int]  # the width of a window, and the stride

_RADIUS, _ALPHA, _BETA = 4, 0.001 / 9, 0.75
_LINE = 16  # numbers to a line of a processor's cache
_PIXELS = 1568  # to a group of images: what keeps a group's activations in a processor's cache


def convolve(images: Images, kernel: Kernel) -> Float[Array, "batch height width filters"]:
    """Convolution with stride 1 and zero padding that keeps height and width."""
    return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _around_channels(values: Float[Array, "numbers"], channels: int) -> Float[Array, "numbers"]:
    """The sum over the channels within the radius of each channel, of images whose numbers stand in one row.

    A processor computes up to twice as fast with one long row as with many short ones.
    """
    window, border = (1, 2 * _RADIUS + 1), ((0, 0), (_RADIUS, _RADIUS))
    zero = np.zeros((), values.dtype)
    return lax.reduce_window(values.reshape(-1, channels), zero, lax.add, window, (1, 1), border).ravel()


def _normalizer(activations: Float[Array, "numbers"], channels: int) -> tuple[Array, Array]:
    """u^-1/2 and u^-3/4, where u is 1 + alpha * (sum of squares over the channels within the radius)."""
    inverse_root = lax.rsqrt(1 + _ALPHA * _around_channels(activations * activations, channels))
    return inverse_root, inverse_root * lax.sqrt(inverse_root)


@jax.custom_vjp
def normalize_responses(activations: Float[Array, "*batch channels"]) -> Float[Array, "*batch channels"]:
    """Local response normalisation of depth radius 4 (Table 2): x / (1 + alpha * sum of x^2 over 9 channels)^0.75.

    The nine are the channel itself and four on either side, fewer at the ends. The paper gives the radius alone;
    bias 1, alpha = 0.001 / 9 and the power 0.75 are those of TensorFlow 1's CIFAR-10 tutorial.
    """
    flat = activations.ravel()
    return (flat * _normalizer(flat, activations.shape[-1])[1]).reshape(activations.shape)


def _normalize_backward(
    activations: Float[Array, "*batch channels"], gradient: Float[Array, "*batch channels"]
) -> tuple[Float[Array, "*batch channels"]]:
    flat, upstream, channels = activations.ravel(), gradient.ravel(), activations.shape[-1]
    inverse_root, scale = _normalizer(flat, channels)
    spread = _around_channels(upstream * flat * scale * (inverse_root * inverse_root), channels)
    return ((upstream * scale - (2 * _ALPHA * _BETA) * flat * spread).reshape(activations.shape),)


normalize_responses.defvjp(lambda x: (normalize_responses(x), x), _normalize_backward)


def block_reference(
    images: Images, kernel: Kernel, bias: Float[Array, "filters"], pool: _Pool = (2, 2), normalized: bool = False
) -> Float[Array, "batch _height _width filters"]:
    """The plain definition of `block`: convolution, bias, ReLU, max-pooling, normalisation, one after the other."""
    return _activated(convolve(images, kernel), bias, pool, normalized)


def block_of_products(
    images: Images, kernel: Kernel, bias: Float[Array, "filters"], pool: _Pool = (2, 2), normalized: bool = False
) -> Float[Array, "batch _height _width filters"]:
    """`block_reference` with the convolution written as one matrix product of patches.

    Accelerators are fast at such products, also at those of many networks at once, and slow at the grouped convolution
    that convolutions of many networks become. The patches take as much memory as the images times the kernel's pixels.
    """
    patches = _around(images, kernel.shape[0], kernel.shape[1])
    return _activated(patches @ kernel.reshape(-1, kernel.shape[-1]), bias, pool, normalized)


def _activated(
    responses: Images, bias: Float[Array, "filters"], pool: _Pool, normalized: bool
) -> Float[Array, "batch _height _width filters"]:
    window, stride = pool
    responses = nn.relu(responses + bias)
    if window > 1:
        responses = nn.max_pool(responses, (window, window), (stride, stride), "SAME")
    return normalize_responses(responses) if normalized else responses


def _taps(window: int, stride: int) -> list[tuple[int, int, int]]:
    """Where the entries of a pooling window lie, row by row: (phase, rows ahead, columns ahead).

    The positions (stride * r + i, stride * c + j) for fixed i, j < stride are the phase (i, j).
    """
    entries = [(i, j) for i in range(window) for j in range(window)]
    return [(i % stride * stride + j % stride, i // stride, j // stride) for i, j in entries]


def _split(images: Array, stride: int) -> list[Array]:
    """(batch, height, width, channels) -> stride^2 phases (batch, height/stride, width/stride, channels)."""
    return [images[:, i::stride, j::stride] for i in range(stride) for j in range(stride)]


def _interleave(phases: Sequence[Array], stride: int) -> Array:
    """The inverse of `_split`."""
    batch, height, width, channels = phases[0].shape
    stacked = jnp.stack(phases).reshape(stride, stride, batch, height, width, channels)
    return stacked.transpose(2, 3, 0, 4, 1, 5).reshape(batch, stride * height, stride * width, channels)


def _pool(phases: Sequence[Array], window: int, stride: int) -> tuple[Array, Array]:
    """Maximum of each pooling window and, in 8 bits, which entry it is (the first on a tie)."""
    height, width = phases[0].shape[1:3]
    reach = (window - 1) // stride
    border = ((0, 0), (0, reach), (0, reach), (0, 0))
    phases = [jnp.pad(phase, border, constant_values=-jnp.inf) for phase in phases] if reach else phases
    taps = _taps(window, stride)
    entries = [phases[phase][:, down : down + height, right : right + width] for phase, down, right in taps]
    maximum, winner = entries[0], jnp.zeros(entries[0].shape, jnp.int8)
    for index, entry in enumerate(entries[1:], start=1):
        above = entry > maximum
        maximum, winner = jnp.where(above, entry, maximum), jnp.where(above, jnp.int8(index), winner)
    return maximum, winner


def _unpool(gradient: Array, winner: Array, window: int, stride: int) -> list[Array]:
    """Phases of the gradient before pooling: each pooled output sends its gradient to the entry that won."""
    height, width = gradient.shape[1:3]
    reach = (window - 1) // stride
    if reach:
        border = ((0, 0), (reach, 0), (reach, 0), (0, 0))
        gradient, winner = jnp.pad(gradient, border), jnp.pad(winner, border, constant_values=-1)
    phases: list[Any] = [0] * stride**2
    for index, (phase, down, right) in enumerate(_taps(window, stride)):
        behind = np.s_[:, reach - down : reach - down + height, reach - right : reach - right + width]
        phases[phase] += jnp.where(winner[behind] == index, gradient[behind], 0)
    return phases


def _around(images: Array, kernel_height: int, kernel_width: int, mirrored: bool = False) -> Array:
    """(batch, height, width, channels) -> (batch, height, width, kernel_height * kernel_width * channels).

    For each position: the entries of `images` that a kernel centred there covers, zero beyond the border. With
    `mirrored`, the entries at whose positions a kernel would have to be centred to cover this one.
    """
    _, height, width, _ = images.shape
    up, left = kernel_height // 2, kernel_width // 2
    rows, columns = range(kernel_height), range(kernel_width)
    if mirrored:
        rows, columns = rows[::-1], columns[::-1]
    padded = jnp.pad(images, ((0, 0), (up, up), (left, left), (0, 0)))
    return jnp.concatenate([padded[:, i : i + height, j : j + width] for i in rows for j in columns], axis=-1)


def _grouped(*arrays: Array) -> tuple[Array, ...]:
    """Split the batch axis into groups of images, whose activations stay in a processor's cache."""
    batch, height, width = arrays[0].shape[:3]
    group = math.gcd(batch, 1 << int(math.log2(max(1, _PIXELS / (height * width)))))
    return tuple(array.reshape(-1, group, *array.shape[1:]) for array in arrays)


def _ungrouped(array: Array) -> Array:
    return array.reshape(-1, *array.shape[2:])


def _sum_over_positions(images: Images) -> Float[Array, "channels"]:
    """The sum of each channel; in two steps, because long rows are added up to eight times as fast as short ones."""
    _, _, width, channels = images.shape
    return images.reshape(-1, width * channels).sum(0).reshape(width, channels).sum(0)


def _is_thin(kernel: Kernel) -> bool:
    """Whether a kernel covers 32 numbers or fewer, so that to copy them for each position is cheap."""
    height, width, channels, _ = kernel.shape
    return height * width * channels <= 32


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def block(
    images: Images, kernel: Kernel, bias: Float[Array, "filters"], pool: _Pool = (2, 2), normalized: bool = False
) -> Float[Array, "batch _height _width filters"]:
    """Convolution, bias, ReLU, max-pooling and local response normalisation as one operation (Tables 1 and 2).

    A few images at a time go through, so that the unpooled activations never leave the cache; the winner of each
    pooling window is kept in 8 bits, and where the kernel covers few numbers the gradient is not put together to images
    before it is used. On a tie the first entry of the window wins, as in `block_reference`.

    kernel: of odd height and width; pool: window and stride, (1, 1) for none; normalized: whether
    `normalize_responses` follows. Pooling windows reach over the border only below and to the right. For the pools of
    Tables 1 and 2, (2, 2), (3, 2) and (2, 1), this is TensorFlow's padding "SAME".
    Returns images whose height and width are divided by the stride. Raises ValueError where it does not divide them.
    """
    return _block_forward(images, kernel, bias, pool, normalized)[0]


def _patch_phases(images: Images, kernel: Kernel, stride: int) -> Array:
    return jnp.stack(_split(_around(images, kernel.shape[0], kernel.shape[1]), stride), axis=3)


def _block_forward(
    images: Images, kernel: Kernel, bias: Float[Array, "filters"], pool: _Pool, normalized: bool
) -> tuple[Float[Array, "batch _height _width filters"], tuple[Array | None, ...]]:
    window, stride = pool
    height, width = images.shape[1:3]
    if height % stride or width % stride:
        needed = "needs a height and width that it divides"
        raise ValueError(f"pooling with stride {stride} {needed}, not {height} x {width}")
    if _is_thin(kernel):
        inputs, weights = _patch_phases(images, kernel, stride), kernel.reshape(-1, kernel.shape[-1])
        responses = lambda group: [group[..., phase, :] @ weights for phase in range(stride**2)]
    else:
        inputs = images
        responses = lambda group: _split(convolve(group, kernel), stride)

    def pooled(group: tuple[Array]) -> tuple[Array, Array | None, Array | None]:
        maximum, winner = _pool(responses(group[0]), window, stride)
        activations = nn.relu(maximum + bias)
        kept = jnp.where(activations > 0, winner, jnp.int8(-1)) if window > 1 else None
        return activations, kept, normalize_responses(activations) if normalized else None

    activations, winner, output = jax.tree.map(_ungrouped, lax.map(pooled, _grouped(inputs)))
    return output if normalized else activations, (inputs, kernel, winner, activations)


def _block_backward(
    pool: _Pool, normalized: bool, residuals: tuple[Any, ...], gradient: Array
) -> tuple[Array, Array, Array]:
    inputs, kernel, winner, activations = residuals
    height, width, channels, filters = kernel.shape

    if normalized and winner is not None:
        # In a loop of its own, or the compiler computes it anew for each entry of a pooling window.
        gradient = _ungrouped(lax.map(lambda group: _normalize_backward(*group)[0], _grouped(activations, gradient)))
    above = activations if winner is None else winner, gradient

    def phases(kept: Array, gradient: Array) -> tuple[list[Array], Array]:
        if winner is not None:
            return _unpool(gradient, kept, *pool), _sum_over_positions(jnp.where(kept >= 0, gradient, 0))
        if normalized:
            (gradient,) = _normalize_backward(kept, gradient)
        gradient = jnp.where(kept > 0, gradient, 0)
        return [gradient], _sum_over_positions(gradient)

    total = lambda left, right: jnp.tensordot(left, right, ((0, 1, 2), (0, 1, 2)))
    if _is_thin(kernel):

        def thin_backward(sums: Any, group: Any) -> tuple[Any, None]:
            patches, *rest = group
            unpooled, d_bias = phases(*rest)
            d_weights = sum(total(patches[..., phase, :], part) for phase, part in enumerate(unpooled))
            return jax.tree.map(jnp.add, sums, (d_weights, d_bias)), None

        shape = inputs.shape[0], inputs.shape[1] * pool[1], inputs.shape[2] * pool[1], channels
        images = jax.ShapeDtypeStruct(shape, inputs.dtype)
        unpatch = jax.linear_transpose(lambda images: _patch_phases(images, kernel, pool[1]), images)
        start = jnp.zeros((height * width * channels, filters), kernel.dtype), jnp.zeros(filters, kernel.dtype)
        (d_weights, d_bias), _ = lax.scan(thin_backward, start, _grouped(inputs, *above))
        # Outside the loop, so that it costs nothing where the images are data and nobody asks for their gradient.
        d_patches = [part @ kernel.reshape(-1, filters).T for part in phases(*above)[0]]
        (d_images,) = unpatch(jnp.stack(d_patches, axis=3))
        return d_images, d_weights.reshape(kernel.shape), d_bias

    weights = kernel.transpose(0, 1, 3, 2).reshape(-1, channels)

    def group_backward(sums: Any, group: Any) -> tuple[Any, Array]:
        images, *rest = group
        unpooled, d_bias = phases(*rest)
        reached = _around(_interleave(unpooled, pool[1]), height, width, mirrored=True)
        return jax.tree.map(jnp.add, sums, (total(images, reached), d_bias)), reached @ weights

    start = jnp.zeros((channels, height * width * filters), kernel.dtype), jnp.zeros(filters, kernel.dtype)
    (d_weights, d_bias), d_images = lax.scan(group_backward, start, _grouped(inputs, *above))
    d_kernel = d_weights.reshape(channels, height, width, filters).transpose(1, 2, 0, 3)
    return _ungrouped(d_images), d_kernel, d_bias


block.defvjp(_block_forward, _block_backward)


@jax.custom_vjp
def _product(
    rows: Float[Array, "rows inputs"], weights: Float[Array, "inputs outputs"]
) -> Float[Array, "rows outputs"]:
    """`rows @ weights`, whose gradient is not slowed down by the length of the rows.

    For the gradient the rows are transposed. Where their length is a multiple of a large power of two, the entries of a
    column lie in few places of a processor's cache and drive each other out; a few zeros at the ends prevent it.
    """
    return rows @ weights


def _product_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    rows, weights = residuals
    longer = jnp.pad(rows, ((0, 0), (0, _LINE)))
    return gradient @ weights.T, (longer.T @ gradient)[: len(weights)]


_product.defvjp(lambda rows, weights: (rows @ weights, (rows, weights)), _product_backward)


def _dense(inputs: Array, kernel: Array, *_: Any, **__: Any) -> Array:
    """`lax.dot_general` as a dense layer of Flax calls it."""
    return _product(inputs, kernel)


class ConvolutionBlock(nn.Module):
    """One column of Table 1 or 2: 3x3 convolution, ReLU, max-pooling, perhaps local response normalisation.

    kernel_init, bias_init: how weights start; pool, normalized: as for `block`; operation: as for `build`.
    """

    filters: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer
    pool: _Pool = (2, 2)
    normalized: bool = False
    operation: Callable[..., Array] = block

    @nn.compact
    def __call__(self, images: Images) -> Float[Array, "batch _height _width filters"]:
        kernel = self.param("kernel", self.kernel_init, (3, 3, images.shape[-1], self.filters))
        bias = self.param("bias", self.bias_init, (self.filters,))
        return self.operation(images, kernel, bias, self.pool, self.normalized)


def _init(deviation: float, bias: float) -> dict[str, Any]:
    return dict(kernel_init=nn.initializers.truncated_normal(deviation), bias_init=nn.initializers.constant(bias))


class MNetwork(nn.Module):
    """A network of type M(conv1, conv2, dense) (Table 1); a width of 0 removes the block.

    Weights start as truncated normals of standard deviation 0.1, biases at 0.1, as in TensorFlow 1's MNIST
    tutorial; the paper does not give them.

    dropout: share of the dense layer's outputs that is dropped in training; classes, operation: as for `build`.

    >>> network = MNetwork(64, 32, 64)
    """

    conv1: int
    conv2: int
    dense: int
    classes: int = 10
    dropout: float = 0.5
    operation: Callable[..., Array] = block

    @nn.compact
    def __call__(self, images: Images, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits of images whose values lie in [0, 1].

        train: whether to drop outputs of the dense layer, for which the random stream "dropout" is needed.
        """
        hidden = images
        for name, width in (("conv1", self.conv1), ("conv2", self.conv2)):
            if width:
                hidden = ConvolutionBlock(width, name=name, operation=self.operation, **_init(0.1, 0.1))(hidden)
        hidden = hidden.reshape(len(hidden), -1)
        if self.dense:
            hidden = nn.relu(nn.Dense(self.dense, name="dense", dot_general=_dense, **_init(0.1, 0.1))(hidden))
            hidden = nn.Dropout(self.dropout)(hidden, deterministic=not train)
        return nn.Dense(self.classes, name="readout", **_init(0.1, 0.1))(hidden)


class CNetwork(nn.Module):
    """A network of type C(conv1, conv2, dense) (Table 2); a width of 0 removes the block.

    Weights start as truncated normals of standard deviation 0.05 (convolutions), 0.04 (dense) and 1/192 (readout),
    biases at 0 (first convolution and readout) and 0.1 (second convolution and dense), as in TensorFlow 1's CIFAR-10
    tutorial; the paper does not give them.

    max_pooling: False leaves out both poolings (section 5.2.2); classes, operation: as for `build`.

    >>> network = CNetwork(64, 32, 64)
    """

    conv1: int
    conv2: int
    dense: int
    classes: int = 10
    max_pooling: bool = True
    operation: Callable[..., Array] = block

    @nn.compact
    def __call__(self, images: Images, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits of standardised images; `train` has no effect, because nothing is dropped."""
        hidden = images
        for name, width, pool, bias in (("conv1", self.conv1, (3, 2), 0.0), ("conv2", self.conv2, (2, 1), 0.1)):
            if width:
                pool = pool if self.max_pooling else (1, 1)
                options = dict(name=name, operation=self.operation, **_init(0.05, bias))
                hidden = ConvolutionBlock(width, pool=pool, normalized=True, **options)(hidden)
        hidden = hidden.reshape(len(hidden), -1)
        if self.dense:
            hidden = nn.relu(nn.Dense(self.dense, name="dense", dot_general=_dense, **_init(0.04, 0.1))(hidden))
        return nn.Dense(self.classes, name="readout", **_init(1 / 192, 0.0))(hidden)


class DNetwork(nn.Module):
    """The thirteen 3x3 convolutions of VGG16 (Simonyan & Zisserman 2015) over small images.

    2x2 max-pooling follows layers 2, 4, 7, 10 and 13; one dense layer reads out. Weights start as He's normals: with
    others, a network that is so deep and has no normalisation does not begin to learn.

    widths: filters of the thirteen layers; classes, operation: as for `build`.

    >>> network = DNetwork((16, 16, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128, 128))
    """

    widths: tuple[int, ...]
    classes: int = 10
    operation: Callable[..., Array] = block

    @nn.compact
    def __call__(self, images: Images, train: bool = False) -> Float[Array, "batch classes"]:
        """The logits of standardised images; `train` has no effect, because nothing is dropped."""
        init: dict[str, Any] = dict(kernel_init=nn.initializers.he_normal(), bias_init=nn.initializers.zeros)
        hidden = images
        for layer, filters in enumerate(self.widths, start=1):
            pool = (2, 2) if layer in (2, 4, 7, 10, 13) else (1, 1)
            hidden = ConvolutionBlock(filters, pool=pool, name=f"conv{layer}", operation=self.operation, **init)(hidden)
        hidden = hidden.reshape(len(hidden), -1)
        return nn.Dense(self.classes, name="readout", **init)(hidden)


def build(
    architecture: Architecture | DeepArchitecture,
    max_pooling: bool = True,
    operation: Callable[..., Array] = block,
    classes: int = 10,
) -> MNetwork | CNetwork | DNetwork:
    """The Flax module of an architecture.

    max_pooling: whether a network of the C family pools; the others always do. operation: `block`, or `block_reference`
    for the plain formulation.
    classes: outputs of the network.
    """
    if isinstance(architecture, DeepArchitecture):
        return DNetwork(tuple(architecture.layers.values()), classes, operation=operation)
    widths = architecture.conv1, architecture.conv2, architecture.dense
    if architecture.family == "M":
        return MNetwork(*widths, classes, operation=operation)
    return CNetwork(*widths, classes, max_pooling=max_pooling, operation=operation)
