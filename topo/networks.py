"""Flax modules of the paper's networks, and the fused convolution block they are made of.

Knows shapes and arithmetic; must not know about data sets, populations or files.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

_WINDOWS = [(row, column) for row in range(2) for column in range(2)]


def convolve(images, kernel):
    """3x3-style convolution, stride 1, zero padding that keeps height and width.

    images: (batch, height, width, channels) float32; kernel: (h, w, channels, filters) float32.
    Returns (batch, height, width, filters) float32.
    """
    return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def block_reference(images, kernel, bias):
    """The plain definition of `block`: convolution, bias, ReLU, 2x2 max-pooling (Table 1)."""
    return nn.max_pool(nn.relu(convolve(images, kernel) + bias), (2, 2), (2, 2))


def _winner(phases):
    """Maximum of the four phases of a pooling window and, in 8 bits, which one it is (the first on a tie)."""
    a, b, c, d = phases
    top, bottom = jnp.maximum(a, b), jnp.maximum(c, d)
    index = jnp.where(top >= bottom, jnp.where(a >= b, 0, 1), jnp.where(c >= d, 2, 3)).astype(jnp.int8)
    return jnp.maximum(top, bottom), index


def _patches(images):
    """(batch, height, width, 1) -> (batch, height/2, width/2, 16): the 4x4 inputs that one pooled output sees."""
    _, height, width, _ = images.shape
    padded = jnp.pad(images[..., 0], ((0, 0), (1, 1), (1, 1)))
    return jnp.stack([padded[:, i : i + height : 2, j : j + width : 2] for i in range(4) for j in range(4)], axis=-1)


def _embed(kernel):
    """(3, 3, 1, filters) -> (4, 16, filters): the kernel at its four places inside a 4x4 patch."""
    shifted = [jnp.pad(kernel[:, :, 0], ((i, 1 - i), (j, 1 - j), (0, 0))) for i, j in _WINDOWS]
    return jnp.stack(shifted).reshape(4, 16, kernel.shape[-1])


def _unpool(gradient, winner):
    """Send the gradient of each pooled output to the input that won; the others get nothing."""
    batch, height, width, filters = gradient.shape
    phases = jnp.stack([jnp.where(winner == k, gradient, 0) for k in range(4)])
    phases = phases.reshape(2, 2, batch, height, width, filters)
    return phases.transpose(2, 3, 0, 4, 1, 5).reshape(batch, 2 * height, 2 * width, filters)


def _shifts(gradient, kernel_height, kernel_width):
    """(batch, height, width, filters) -> (batch, height, width, kernel_height * kernel_width * filters).

    Column block (i, j) at an input position holds the gradient of the output that this input reaches through
    kernel entry (i, j); zero beyond the border.
    """
    _, height, width, _ = gradient.shape
    up, left = kernel_height // 2, kernel_width // 2
    padded = jnp.pad(gradient, ((0, 0), (kernel_height - 1 - up, up), (kernel_width - 1 - left, left), (0, 0)))
    rows, columns = range(kernel_height)[::-1], range(kernel_width)[::-1]
    return jnp.concatenate([padded[:, i : i + height, j : j + width] for i in rows for j in columns], axis=-1)


def _grouped(*arrays):
    """Split the batch axis into groups of up to 8 images, whose activations stay in a processor's cache."""
    group = math.gcd(len(arrays[0]), 8)
    return tuple(array.reshape(-1, group, *array.shape[1:]) for array in arrays)


def _ungrouped(array):
    return array.reshape(-1, *array.shape[2:])


@jax.custom_vjp
def block(images, kernel, bias):
    """Convolution, bias, ReLU and 2x2 max-pooling as one operation (Table 1), with its own backward pass.

    A few images at a time go through, so that the unpooled activations never leave the cache; the winner of each
    pooling window is kept in 8 bits. With one input channel and a 3x3 kernel the four pooling phases are one matrix
    product, and their gradient is never unpooled. On a tie the first input of the window wins, as in
    `block_reference`.

    images: (batch, height, width, channels) float32 with even height and width;
    kernel: (h, w, channels, filters) float32 with odd h and w; bias: (filters,) float32.
    Returns (batch, height/2, width/2, filters) float32. Raises ValueError for an odd height or width.
    """
    return _block_forward(images, kernel, bias)[0]


def _is_thin(kernel):
    return kernel.shape[:3] == (3, 3, 1)


def _block_forward(images, kernel, bias):
    height, width = images.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(f"2x2 pooling needs an even height and width, not {height} x {width}")
    if _is_thin(kernel):
        inputs = _patches(images)
        weights = jnp.concatenate(_embed(kernel), axis=-1)
        phases = lambda group: jnp.split(group @ weights, 4, axis=-1)
    else:
        inputs = images

        def phases(group):
            response = convolve(group, kernel)
            return [response[:, i::2, j::2] for i, j in _WINDOWS]

    def pooled(group):
        top, winner = _winner(phases(group[0]))
        output = nn.relu(top + bias)
        return output, jnp.where(output > 0, winner, jnp.int8(-1))

    output, winner = map(_ungrouped, lax.map(pooled, _grouped(inputs)))
    return output, (images, kernel, winner)


def _block_backward(residuals, gradient):
    images, kernel, winner = residuals
    if _is_thin(kernel):
        return _thin_backward(images, kernel, winner, gradient)
    height, width, channels, filters = kernel.shape
    weights = kernel.transpose(0, 1, 3, 2).reshape(-1, channels)

    def group_backward(d_weights, group):
        images, winner, gradient = group
        shifts = _shifts(_unpool(gradient, winner), height, width)
        d_images = shifts @ weights
        return d_weights + jnp.tensordot(images, shifts, ((0, 1, 2), (0, 1, 2))), d_images

    start = jnp.zeros((channels, height * width * filters), kernel.dtype)
    d_weights, d_images = lax.scan(group_backward, start, _grouped(images, winner, gradient))
    d_kernel = d_weights.reshape(channels, height, width, filters).transpose(1, 2, 0, 3)
    return _ungrouped(d_images), d_kernel, _bias_gradient(winner, gradient)


def _bias_gradient(winner, gradient):
    return jnp.where(winner >= 0, gradient, 0).sum((0, 1, 2))


def _thin_backward(images, kernel, winner, gradient):
    def group_backward(d_embedded, group):
        patches, winner, gradient = group
        phases = [jnp.where(winner == k, gradient, 0) for k in range(4)]
        return d_embedded + jnp.stack([jnp.tensordot(patches, g, ((0, 1, 2), (0, 1, 2))) for g in phases]), None

    patches, unpatch = jax.vjp(_patches, images)
    start = jnp.zeros((4, 16, kernel.shape[-1]), kernel.dtype)
    d_embedded, _ = lax.scan(group_backward, start, _grouped(patches, winner, gradient))
    (d_kernel,) = jax.linear_transpose(_embed, kernel)(d_embedded)
    # Outside the loop, so that it costs nothing where the images are data and nobody asks for their gradient.
    d_patches = sum(jnp.where(winner == k, gradient, 0) @ weights.T for k, weights in enumerate(_embed(kernel)))
    return *unpatch(d_patches), d_kernel, _bias_gradient(winner, gradient)


block.defvjp(_block_forward, _block_backward)


class ConvolutionBlock(nn.Module):
    """One column of Table 1: 3x3 convolution, ReLU, 2x2 max-pooling."""

    filters: int
    kernel_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, images):
        kernel = self.param("kernel", self.kernel_init, (3, 3, images.shape[-1], self.filters))
        return block(images, kernel, self.param("bias", self.bias_init, (self.filters,)))


class MNetwork(nn.Module):
    """A network of type M(conv1, conv2, dense) (Table 1); a width of 0 removes the block.

    Weights start as truncated normals of standard deviation 0.1, biases at 0.1, as in TensorFlow 1's MNIST
    tutorial; the paper does not give them.

    >>> network = MNetwork(64, 32, 64)
    """

    conv1: int
    conv2: int
    dense: int
    classes: int = 10
    dropout: float = 0.5

    @nn.compact
    def __call__(self, images, train=False):
        """images (batch, height, width, channels) float32 in [0, 1] -> logits (batch, classes) float32.

        With train=True the "dropout" random stream is needed.
        """
        init = dict(kernel_init=nn.initializers.truncated_normal(0.1), bias_init=nn.initializers.constant(0.1))
        hidden = images
        for name, width in (("conv1", self.conv1), ("conv2", self.conv2)):
            if width:
                hidden = ConvolutionBlock(width, name=name, **init)(hidden)
        hidden = hidden.reshape(len(hidden), -1)
        if self.dense:
            hidden = nn.relu(nn.Dense(self.dense, name="dense", **init)(hidden))
            hidden = nn.Dropout(self.dropout)(hidden, deterministic=not train)
        return nn.Dense(self.classes, name="readout", **init)(hidden)


def build(architecture):
    """The Flax module of an Architecture. Raises ValueError for a family that is not built yet."""
    if architecture.family != "M":
        raise ValueError(f"networks of family {architecture.family!r} are not built; 'M' is")
    return MNetwork(architecture.conv1, architecture.conv2, architecture.dense)
