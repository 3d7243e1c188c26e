"""Circular coordinates: an angle for every point of a cloud that has a loop, by persistent cohomology.

Knows points and their loops; must not know what the points stand for, nor which circle they may lie on.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from ripser import ripser
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from topo.checks import as_numbers, as_points, check_whole
from topo.evidence import STANDARD, Loops
from topo.persistence import lazy_witness_times, maxmin_landmarks
from topo.types import Number, Points, PointsLike, Row, Whole

_PRIME = 47  # cohomology is over Z/47, as in de Silva, Morozov & Vejdemo-Johansson 2011
_BLOCK = 1024  # points at a time: their distances to 100 landmarks fit in the cache


class Cocycle(NamedTuple):
    """A loop as a cocycle: what `integer_cocycle` returns.

    birth, death: of the loop; time: the middle between them, at which the cocycle is taken; values: a whole number for
    every pair of landmarks, values[a, b] = -values[b, a], which is 0 where there is no edge at that time; edges: which
    pairs have one.
    """

    birth: float
    death: float
    time: float
    values: Int64[np.ndarray, "landmarks landmarks"]
    edges: Bool[np.ndarray, "landmarks landmarks"]


def integer_cocycle(times: Float64[np.ndarray, "landmarks landmarks"]) -> Cocycle:
    """The cocycle of the longest bar of dimension 1 of a flag filtration, lifted from Z/47 to the integers.

    Persistent cohomology is computed by ripser.py. A value v of its cocycle becomes the whole number between -23 and 23
    that is congruent to v. That the sum around every triangle is 0, and not only a multiple of 47, is checked.

    times: at which every edge appears, symmetric, zeros on the diagonal, such as `lazy_witness_times` returns.
    Raises ValueError where there is no bar of dimension 1, or where the lift is no cocycle.
    """
    known, ranks = np.unique(times, return_inverse=True)  # ripser works in float32, which holds ranks exactly
    ranks = ranks.reshape(times.shape)
    found = ripser(ranks.astype(np.float32), distance_matrix=True, coeff=_PRIME, do_cocycles=True)
    bars = known[found["dgms"][1].astype(int)].reshape(-1, 2)  # all end: the full complex has no loop
    lengths = bars[:, 1] - bars[:, 0]
    if not (lengths > 0).any():
        raise ValueError("the filtration has no bar of dimension 1, so that there is no loop to go around")
    longest = int(lengths.argmax())
    birth, death = bars[longest]
    time = (birth + death) / 2
    edges = (times <= time) & ~np.eye(len(times), dtype=bool)
    first, second, value = found["cocycles"][1][longest].T
    values = np.zeros(times.shape, np.int64)
    values[first, second] = (value + _PRIME // 2) % _PRIME - _PRIME // 2
    values = np.where(edges, values - values.T, 0)
    around = values[:, :, None] + values[None] - values[:, None]  # a to b to c and back
    if around[edges[:, :, None] & edges[None] & edges[:, None]].any():
        raise ValueError(f"the cocycle over Z/{_PRIME} is none over the integers: the complex has torsion")
    return Cocycle(float(birth), float(death), float(time), values, edges)


def circular_coordinates(
    points: PointsLike, loops: Loops = STANDARD, first: Whole = 0
) -> Float64[np.ndarray, "points"]:
    """An angle for every point, which turns once along the longest loop of a cloud.

    The landmarks and their lazy witness filtration are those of `Loops.barcode`. A cocycle alpha of the longest bar, at
    the time t in the middle of the bar, is made as small as it can be by least squares: the angles f of the landmarks
    minimise the sum over edges {a, b} of s_a s_b (alpha_ab + f_b - f_a)^2 (de Silva, Morozov & Vejdemo-Johansson 2011,
    section 2). What is left, theta_ab = alpha_ab + f_b - f_a, is the step from a to b. There s_a is 1 over the number
    of landmarks that a is joined to, itself among them, so that the angle does not grow faster where there are fewer
    landmarks (Coifman & Lafon 2006, with their alpha = 1).

    A point z belongs to landmark a in proportion to s_a max(0, m(z) + t - D(a, z)), where m(z) is as in
    `lazy_witness_times`. The landmarks of z are joined pairwise at t, because z is a witness of them. From its nearest
    landmark a the angle of z is therefore f_a plus the weighted mean of theta_ab (Perea 2020, with the lazy witness
    complex in the place of balls).

    points: as `topo.checks.as_points` takes them; loops: how the loop is measured, with nu >= 1; first: row of the
    first landmark.
    Returns radians in [0, 2 pi), and NaN for points in a piece of the complex at t that is apart from the loop. Which
    point has angle 0, and which way angles grow, is arbitrary: see `aligned`.
    Raises ValueError where the cloud has no loop, as `loops` counts them, or for nu = 0, and as `Loops.barcode` does.

    >>> circle = np.stack([np.cos(np.arange(300)), np.sin(np.arange(300))], axis=1)
    >>> abs(circular_correlation(circular_coordinates(circle), np.arange(300))) > 0.99
    True
    """
    points = as_points(points).astype(np.float64, copy=False)
    check_whole(loops.nu, "nu", 1, because="every point must belong to a landmark")
    barcode = loops.barcode(points, first)
    if not loops.count(barcode):
        raise ValueError(
            f"the cloud of {len(points)} points has no loop: the largest ratio of its bars is "
            f"{loops.clearest(barcode)[1]:.1f}, and a loop asks for {loops.least:g}"
        )
    landmarks = min(loops.landmarks, len(points))
    rows, nu = maxmin_landmarks(points, landmarks, first), min(loops.nu, landmarks)
    cocycle = integer_cocycle(lazy_witness_times(points, rows, nu))
    shares = 1 / (1 + cocycle.edges.sum(axis=1))
    angles, steps = _smoothed(cocycle, shares)
    blocks = [points[i : i + _BLOCK] for i in range(0, len(points), _BLOCK)]
    turns = [_extended(block, points[rows], nu, cocycle.time, shares, angles, steps) for block in blocks]
    return 2 * np.pi * (np.concatenate(turns) % 1) % (2 * np.pi)  # a remainder just below 1 may round to 2 pi


def _smoothed(
    cocycle: Cocycle, shares: Float64[np.ndarray, "landmarks"]
) -> tuple[Float64[np.ndarray, "landmarks"], Float64[np.ndarray, "landmarks landmarks"]]:
    """Angles of the landmarks, NaN in pieces apart from the loop, and steps along edges, in turns."""
    weights = cocycle.edges * shares * shares[:, None]
    laplacian = np.diag(weights.sum(axis=1)) - weights
    angles = np.linalg.lstsq(laplacian, (weights * cocycle.values).sum(axis=1), rcond=None)[0]
    steps = np.where(cocycle.edges, cocycle.values + angles - angles[:, None], 0)
    pieces = connected_components(cocycle.edges)[1]
    turning = np.unique(pieces[np.abs(steps).max(axis=1) > 1e-9])  # all steps vanish in a piece without the loop
    return np.where(np.isin(pieces, turning), angles, np.nan), steps


def _extended(
    points: Points,
    landmarks: Float64[np.ndarray, "landmarks dim"],
    nu: Whole,
    time: Number,
    shares: Float64[np.ndarray, "landmarks"],
    angles: Float64[np.ndarray, "landmarks"],
    steps: Float64[np.ndarray, "landmarks landmarks"],
) -> Float64[np.ndarray, "points"]:
    """Angles of points that are witnesses, in turns, from the angles of the landmarks and the steps between them."""
    distances = cdist(points, landmarks)
    reach = np.partition(distances, nu - 1, axis=1)[:, nu - 1 : nu] + time
    weights = shares * np.maximum(reach - distances, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    nearest = distances.argmin(axis=1)
    return angles[nearest] + (weights * steps[nearest]).sum(axis=1)


def _both(angles: Row, others: Row) -> tuple[Float64[np.ndarray, "angles"], Float64[np.ndarray, "angles"]]:
    both = [as_numbers(each, name, 1, "(n,)") for each, name in ((angles, "angles"), (others, "others"))]
    if both[0].shape != both[1].shape:
        raise ValueError(f"angles {both[0].shape} and others {both[1].shape} must be as many")
    return both[0].astype(np.float64), both[1].astype(np.float64)


def circular_correlation(angles: Row, others: Row) -> float:
    """The correlation of two angles of the same points (Fisher & Lee 1983, the T-linear association).

    It is the sum over all pairs of points of sin(a_i - a_j) sin(b_i - b_j), divided by the square root of the product
    of the sums of sin(a_i - a_j)^2 and of sin(b_i - b_j)^2. It is 1 where b is a plus a constant, -1 where b is a
    constant minus a, and near 0 where they have nothing to do with each other.

    angles, others: in radians, as many of one as of the other, two or more.
    Returns a number from -1 to 1. Raises TypeError or ValueError for another shape, or where all angles are equal up to
    half a turn.

    >>> round(circular_correlation([0, 1, 2, 4], [0.5, 1.5, 2.5, 4.5]), 6)
    1.0
    """
    a, b = _both(angles, others)
    vectors = [np.stack([np.cos(each), np.sin(each)]) for each in (a, b)]
    # Cauchy and Binet: the sum of products of 2x2 minors is a determinant.
    between, within_a, within_b = (
        np.linalg.det(left @ right.T)
        for left, right in ((vectors[0], vectors[1]), (vectors[0], vectors[0]), (vectors[1], vectors[1]))
    )
    if min(within_a, within_b) <= 1e-12 * len(a) ** 2:
        raise ValueError("angles that are all equal, up to half a turn, have no correlation")
    return float(np.clip(between / np.sqrt(within_a * within_b), -1, 1))


def circular_ranks(angles: Row) -> Float64[np.ndarray, "angles"]:
    """Angles at even distances, in the order of those given: their ranks around the circle.

    The correlation of two angles' ranks asks only for their order (Fisher & Lee 1982), so that a stretch of the circle
    on which one of them hurries does not count. Equal angles have ranks in the order in which they are given.
    angles: in radians, of any number of turns. Returns radians in [0, 2 pi). Raises TypeError or ValueError for another
    shape.
    """
    order = np.argsort(as_numbers(angles, "angles", 1, "(n,)") % (2 * np.pi), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order)) * 2 * np.pi / len(order)
    return ranks


def aligned(angles: Row, others: Row) -> Float64[np.ndarray, "angles"]:
    """The first angles, turned and perhaps reversed so that they agree best with the second.

    The mean of cos(turned - others) is made as large as it can be. Arguments as for `circular_correlation`.
    Returns radians in [0, 2 pi). Raises TypeError or ValueError for another shape.
    """
    a, b = _both(angles, others)
    means = {sign: np.exp(1j * (b - sign * a)).mean() for sign in (1, -1)}
    sign = max(means, key=lambda each: abs(means[each]))
    return (sign * a + np.angle(means[sign])) % (2 * np.pi) % (2 * np.pi)


def sector_means(points: PointsLike, angles: Row, sectors: Whole = 16) -> Float64[np.ndarray, "sectors dim"]:
    """The mean point in every sector of an angle, such as a circular coordinate.

    points: as `topo.checks.as_points` takes them; angles: in radians, one a point; sectors: even parts of a turn, of
    which the first has angle 0 in its middle.
    The mean is NaN in a sector without a point. Raises TypeError or ValueError for another shape or sectors below 1.
    """
    points, angles = as_points(points), as_numbers(angles, "angles", 1, "(n,)")
    check_whole(sectors, "sectors", 1)
    if len(angles) != len(points):
        raise ValueError(f"there are {len(angles)} angles for {len(points)} points")
    sector = np.rint(angles * sectors / (2 * np.pi)).astype(int) % sectors
    means = np.full((sectors, points.shape[1]), np.nan)
    for i in np.unique(sector):
        means[i] = points[sector == i].mean(axis=0)
    return means
