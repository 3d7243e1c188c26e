"""Density filtration rho(k, p): keep the fraction p of a point cloud whose k-th neighbours are nearest.

Knows distances between points; must not know what the points stand for.
"""

import math
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
from jaxtyping import Float, Float64, Int64, Integer

from topo.checks import as_points, check_fraction, check_whole
from topo.neighbors import kth_distances
from topo.types import Number, PointsLike, Whole


def kept_count(p: Number, n: Whole) -> int:
    """How many of n points a fraction p keeps: floor(p*n).

    A product within float rounding of a whole number counts as that number: 0.29 of 100 points are 29.
    Raises TypeError or ValueError for a p outside (0, 1], or a p that keeps no point.
    """
    check_fraction(p)
    count = math.floor(float(p) * int(n) * (1 + 4 * np.finfo(float).eps))
    if not count:
        raise ValueError(f"p = {p} of {n} points keeps none: p must be at least 1/{n}")
    return count


def kth_neighbor_distance(
    points: PointsLike, k: Whole | Sequence[Whole] | Integer[np.ndarray, "ks"]
) -> Float64[np.ndarray, "points"] | Float64[np.ndarray, "ks points"]:
    """Euclidean distance of every point to its k-th nearest neighbour (section 4).

    Exact: coordinate differences in float64, no |x|^2 + |y|^2 - 2xy. A point is not its own neighbour, but
    points that coincide with it are. Memory grows linearly in n, whatever k is.

    points: n of them, as `topo.checks.as_points` takes them; k: 1 <= k < n, or a list of such numbers, which together
    take little longer than the largest of them.
    Returns distances in the unit of the points, small where the cloud is dense; for a list of k, a row for each.
    Raises TypeError or ValueError for a k that is no whole number in that range, and as `as_points` does.
    """
    points = as_points(points)
    several = isinstance(k, (list, tuple, range)) or getattr(k, "ndim", 0) == 1
    ks = list(cast(Sequence[Whole], k)) if several else [cast(Whole, k)]
    if not ks:
        raise ValueError(f"k = {k!r} must hold one value or more")
    for each in ks:
        check_whole(each, "k", 1, len(points) - 1, f"there are {len(points)} points, and none is its own neighbour")
    distances = kth_distances(points, ks)
    return distances if several else distances[0]


def densest_indices(points: PointsLike, k: Whole, p: Number) -> Int64[np.ndarray, "kept"]:
    """Row numbers of the floor(p*n) densest points, densest first; on ties the lower row comes first.

    Arguments and errors as for `densest`.
    """
    points = as_points(points)
    count = kept_count(p, len(points))
    return np.argsort(kth_neighbor_distance(points, k), kind="stable")[:count]


def densest(points: PointsLike, k: Whole, p: Number) -> Float[np.ndarray, "kept dim"]:
    """The density filtration rho(k, p): the floor(p*n) points whose k-th neighbours are nearest (section 4).

    points: n of them, as `topo.checks.as_points` takes them; k: 1 <= k < n; p: fraction to keep, 0 < p <= 1, counted as
    in `kept_count`.
    Returns the densest point first; on ties the lower row comes first.
    Raises TypeError or ValueError for a k or p outside its range or a p that keeps no point, and as `as_points` does.

    >>> densest([[0.0], [9.0], [1.0], [1.5]], k=1, p=0.5).ravel()
    array([1. , 1.5])
    """
    points = as_points(points)
    return points[densest_indices(points, k, p)]


def filtrations(
    points: PointsLike, ks: Sequence[Whole], ps: Sequence[Number]
) -> Iterator[tuple[int, int, Int64[np.ndarray, "_kept"]]]:
    """The density filtrations rho(k, p) of one cloud, for every k and p of a grid.

    One search for neighbours serves every k. The points are sorted by density once for each k; a p cuts that order.

    Yields the number of k, the number of p, and the rows that `densest_indices` returns for them.
    Raises ValueError for an empty grid, and as `densest` does.
    """
    points = as_points(points)
    if not len(ks) or not len(ps):
        raise ValueError(f"ks = {ks!r} and ps = {ps!r} must hold one value or more")
    for i, rho in enumerate(kth_neighbor_distance(points, ks)):
        order = np.argsort(rho, kind="stable")
        for j, p in enumerate(ps):
            yield i, j, order[: kept_count(p, len(points))]
