"""Point clouds out of convolution kernels: spatial filters, centred and normalised; and the check of any point cloud.

Knows arrays of numbers; must not know which network, layer or file they come from.
"""
from numbers import Integral

import numpy as np


def _as_numbers(values, name, ndim, axes):
    """`values` as a numeric array with the named axes, none of them empty, every entry finite."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise TypeError(f"{name} must be an array of numbers: {error}") from None
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise TypeError(f"{name} must be an array of real numbers, not {type(values).__name__} of {array.dtype}")
    if array.ndim != ndim or 0 in array.shape:
        raise ValueError(f"{name} must have shape {axes} with no axis empty, not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; {np.count_nonzero(~np.isfinite(array))} entries are NaN or infinite")
    return array


def _working_dtype(dtype):
    return np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64


def as_points(points, name="points"):
    """A point cloud checked and made contiguous; every function of topo that takes points begins with it.

    points: (n, d) array-like of real numbers, n >= 1, d >= 1, all finite; name: how messages call it.
    Returns (n, d), C-contiguous: float32 for float32 and float16 input, float64 for everything else.
    Raises TypeError for what is no array of real numbers, ValueError for another shape, NaN or infinity.
    """
    array = _as_numbers(points, name, 2, "(n, d)")
    return np.ascontiguousarray(array, _working_dtype(array.dtype))


def check_whole(value, name, low, high=None, because=""):
    """Raise TypeError unless `value` is a whole number, ValueError unless low <= value <= high (None: no bound).

    name: how messages call it; because: what they add, such as where the bounds come from.
    """
    allowed = f"a whole number, {low} or more" if high is None else f"a whole number from {low} to {high}"
    message = f"{name} = {value!r} must be {allowed}" + (f": {because}" if because else "")
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(message)
    if value < low or (high is not None and value > high):
        raise ValueError(message)


def spatial_filters(kernel):
    """The spatial filters of a convolution kernel: its h x w slices at a fixed input and output channel (section 1).

    kernel: (h, w, in, out), real and finite.
    Returns (in*out, h*w) of the kernel's dtype; row i*out + o is the slice of input channel i and output
    channel o, read row by row.
    Raises TypeError for what is no array of real numbers, ValueError for another shape, NaN or infinity.

    >>> spatial_filters(np.ones((3, 3, 32, 64))).shape
    (2048, 9)
    """
    kernel = _as_numbers(kernel, "kernel", 4, "(h, w, in, out)")
    height, width, inputs, outputs = kernel.shape
    return np.ascontiguousarray(kernel.reshape(height * width, inputs * outputs).T)


def normalize(points):
    """Centre every point by itself and scale it to unit Euclidean norm (section 5).

    A row has zero contrast, and is dropped, where its centred norm is at most the machine epsilon of the input's
    dtype (float64 for integers) times its norm: entries that differ by no more than rounding.

    points: (n, d), as `as_points` takes them.
    Returns (m, d), m <= n, float32 or float64 as `as_points` decides, in the order given; (0, d) where every row
    is constant. Raises as `as_points` does.
    """
    points = _as_numbers(points, "points", 2, "(n, d)")
    return np.concatenate([_normalized(points[i : i + _ROWS]) for i in range(0, max(1, len(points)), _ROWS)])


_ROWS = 2**18  # normalised at a time: float64 of all at once would take several times the memory of the points


def _normalized(points):
    """`normalize` of checked points."""
    epsilon = np.finfo(points.dtype if points.dtype.kind == "f" else np.float64).eps
    rows = points[points.any(axis=1)].astype(np.float64)
    rows /= np.abs(rows).max(axis=1, keepdims=True)  # squares of very small or large entries leave the float range
    centred = rows - rows[:, :1]  # makes a constant row exactly zero, which its rounded mean might not
    centred -= centred.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    keep = norms > epsilon * np.linalg.norm(rows, axis=1)
    return (centred[keep] / norms[keep, None]).astype(_working_dtype(points.dtype))
