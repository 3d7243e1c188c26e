"""Point clouds out of convolution kernels: spatial filters, centred and normalised.

Knows arrays of numbers; must not know which network, layer or file they come from.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Float64

from topo.checks import as_numbers, working_dtype
from topo.types import PointsLike, Real


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
    return np.concatenate([_normalized(part) for part in _parts(points)])


_NUMBERS = 2**21  # that are computed with at a time: float64 of all would take several times the memory of the points


def _parts(points: Real[np.ndarray, "points dim"]) -> Iterator[Real[np.ndarray, "_rows dim"]]:
    rows = max(1, _NUMBERS // max(1, points.shape[1]))
    return (points[i : i + rows] for i in range(0, max(1, len(points)), rows))


def blocks(kernel: Real[np.ndarray, "height width inputs outputs"]) -> Iterator[Float32[np.ndarray, "_rows pixels"]]:
    """The rows of `spatial_filters` in float32, in this order, but only a few MiB at a time.

    kernel: in any number format, and in any order in memory. What float32 cannot hold becomes infinite.
    """
    height, width, inputs, outputs = kernel.shape
    most = max(1, _NUMBERS // (height * width))
    step = max(1, most // outputs)
    with np.errstate(over="ignore"):
        for i in range(0, inputs, step):
            for o in range(0, outputs, most):
                block = kernel[:, :, i : i + step, o : o + most].astype(np.float32)
                yield np.ascontiguousarray(block.reshape(height * width, -1).T)


def varies(points: PointsLike) -> Bool[np.ndarray, "points"]:
    """Which points `normalize` keeps: those whose entries are not all alike, up to rounding. Raises as it does."""
    points = as_numbers(points, "points", 2, "(n, d)")
    return np.concatenate([_centred(part)[2] for part in _parts(points)])


def to_half(filters: Float[np.ndarray, "filters pixels"]) -> Float16[np.ndarray, "filters pixels+1"]:
    """Filters in float16, each as its deviations from its mean and then the mean.

    Most of a filter may be its mean, which `normalize` subtracts; rounded by itself it takes no digits from the rest.
    """
    means = filters.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float16)
    return np.hstack([(filters - means.astype(filters.dtype)).astype(np.float16), means])


def from_half(halves: Float[np.ndarray, "filters values"]) -> Float32[np.ndarray, "filters values-1"]:
    """The filters that `to_half` has split. halves: of any float type."""
    return halves[:, :-1].astype(np.float32) + halves[:, -1:].astype(np.float32)


def _normalized(points: Real[np.ndarray, "points dim"]) -> Float[np.ndarray, "varying dim"]:
    """`normalize` of checked points."""
    centred, norms, _ = _centred(points)
    return (centred / norms[:, None]).astype(working_dtype(points.dtype))


def _centred(
    points: Real[np.ndarray, "points dim"],
) -> tuple[Float64[np.ndarray, "varying dim"], Float64[np.ndarray, "varying"], Bool[np.ndarray, "points"]]:
    """The points that vary, each scaled and centred; their norms; and which points of all they are."""
    epsilon = np.finfo(points.dtype if points.dtype.kind == "f" else np.float64).eps
    varying = points.any(axis=1)
    rows = points[varying].astype(np.float64)
    rows /= np.abs(rows).max(axis=1, keepdims=True)  # squares of very small or large entries leave the float range
    centred = rows - rows[:, :1]  # makes a constant row exactly zero, which its rounded mean might not
    centred -= centred.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    keep = norms > epsilon * np.linalg.norm(rows, axis=1)
    varying[np.flatnonzero(varying)] = keep
    return centred[keep], norms[keep], varying
