"""Point clouds out of convolution kernels: spatial filters, centred and normalised.

Knows arrays of numbers; must not know which network, layer or file they come from.
"""

import numpy as np
from jaxtyping import Float

from topo.checks import as_numbers, as_points, check_whole, working_dtype
from topo.types import PointsLike, Real

__all__ = ["as_points", "check_whole", "normalize", "spatial_filters"]  # the first two live in checks


def spatial_filters(
    kernel: Real[np.ndarray, "height width inputs outputs"],
) -> Real[np.ndarray, "inputs*outputs height*width"]:
    """The spatial filters of a convolution kernel: its slices at a fixed input and output channel (section 1).

    Returns an array of the kernel's dtype. Its row i * outputs + o is the slice of input channel i and output channel
    o, read row by row.
    Raises TypeError for what is no array of real numbers, ValueError for another shape, NaN or infinity.

    >>> spatial_filters(np.ones((3, 3, 32, 64))).shape
    (2048, 9)
    """
    kernel = as_numbers(kernel, "kernel", 4, "(h, w, in, out)")
    height, width, inputs, outputs = kernel.shape
    return np.ascontiguousarray(kernel.reshape(height * width, inputs * outputs).T)


def normalize(points: PointsLike) -> Float[np.ndarray, "varying dim"]:
    """Subtract from every point the mean of its own entries, and scale it to unit Euclidean norm (section 5).

    A point whose entries are all alike, up to rounding, has no contrast and is left out: its norm after centring is at
    most its norm before, times the machine epsilon of the input's dtype (of float64 for integers).

    points: as `topo.checks.as_points` takes them; the errors and the dtype returned are those of `as_points`.
    Returns the points that are kept, in the order given; none where every point is constant.
    """
    points = as_numbers(points, "points", 2, "(n, d)")
    return np.concatenate([_normalized(points[i : i + _ROWS]) for i in range(0, max(1, len(points)), _ROWS)])


_ROWS = 2**18  # normalised at a time: float64 of all at once would take several times the memory of the points


def _normalized(points: Real[np.ndarray, "points dim"]) -> Float[np.ndarray, "varying dim"]:
    """`normalize` of checked points."""
    epsilon = np.finfo(points.dtype if points.dtype.kind == "f" else np.float64).eps
    rows = points[points.any(axis=1)].astype(np.float64)
    rows /= np.abs(rows).max(axis=1, keepdims=True)  # squares of very small or large entries leave the float range
    centred = rows - rows[:, :1]  # makes a constant row exactly zero, which its rounded mean might not
    centred -= centred.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    keep = norms > epsilon * np.linalg.norm(rows, axis=1)
    return (centred[keep] / norms[keep, None]).astype(working_dtype(points.dtype))
