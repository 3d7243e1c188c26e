"""Model spaces: circles and the Klein bottle of 3x3 patches, and plain shapes to try a barcode on.

Knows formulas and samples of them; must not know about networks, filters of networks or homology.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial import cKDTree
from scipy.stats import wasserstein_distance_nd

from topo.checks import as_points, check_number, check_whole
from topo.filters import normalize
from topo.types import Number, Points, PointsLike, Real, Row, Seed, Whole

Angles = Number | Real[np.ndarray, "*angles"] | Sequence[Number]  # in radians
PatchesLike = Real[np.ndarray, "points 9"] | Sequence[Row]
_Circle = Real[np.ndarray, "steps 9"] | Sequence[Row]
_Square = Real[np.ndarray, "_phis _thetas"]


@lru_cache
def _polynomials(side: Whole) -> tuple[Float64[np.ndarray, "2 pixels"], Float64[np.ndarray, "3 pixels"]]:
    """On a patch of side * side pixels: x and y, orthonormal, and x^2, y^2 and xy, centred and pairwise orthogonal.

    A patch is read row by row: x grows to the right over the columns, y grows downwards over the rows, both from -1
    to 1.
    """
    check_whole(side, "side", 2)
    y, x = (axis.ravel() for axis in np.meshgrid(*[np.linspace(-1.0, 1.0, side)] * 2, indexing="ij"))
    square = (x**2).mean()
    return np.stack([x, y]) / np.linalg.norm(x), np.stack([x**2 - square, y**2 - square, x * y])


_LINEAR = _polynomials(3)[0]
_STRAIGHT = _polynomials(3)[1][:2] / np.linalg.norm(_polynomials(3)[1][:2], axis=1, keepdims=True)  # x^2 and y^2


def klein_bottle(theta: Angles, phi: Angles, side: Whole = 3) -> Float64[np.ndarray, "*angles pixels"]:
    """Patches of the Klein bottle of degree-2 polynomials (Carlsson, Ishkhanov, de Silva & Zomorodian 2008).

    The patch is cos(phi) Q + sin(phi) L, where Q and L are (ax + by)^2 and ax + by at x, y in {-1, 0, 1}, centred
    and scaled to unit norm, with a = cos(theta), b = sin(theta). As Q and L are orthogonal, it has unit norm.
    (theta, phi) and (theta + pi, -phi) are the same patch. Edges, the primary circle, lie at phi = pi/2 and -pi/2;
    dark lines on bright ground at phi = 0, bright lines at phi = pi.

    theta, phi: in radians, arrays that broadcast; side: of the patch, 3 or more pixels, evenly spaced from -1 to 1: two
    are too few for a line. Returns centred unit patches. Raises TypeError or ValueError for another side.
    """
    check_whole(side, "side", 3)
    first, second = _polynomials(side)
    theta, phi = np.broadcast_arrays(np.asarray(theta, float), np.asarray(phi, float))
    a, b = np.cos(theta), np.sin(theta)
    linear = np.stack([a, b], -1) @ first
    quadratic = np.stack([a**2, b**2, 2 * a * b], -1) @ second
    quadratic /= np.linalg.norm(quadratic, axis=-1, keepdims=True)
    return np.cos(phi)[..., None] * quadratic + np.sin(phi)[..., None] * linear


def klein_bottle_grid(steps: Whole = 60, side: Whole = 3) -> Float64[np.ndarray, "points pixels"]:
    """Patches all over the Klein bottle, to measure distances to it: 2 * steps * steps of them.

    steps: of theta, over half a turn, which with all phi meets every patch; phi has twice as many over a whole turn.
    side: of the patch, 3 or more pixels.
    Raises TypeError or ValueError for steps below 1, and as `klein_bottle` does.
    """
    check_whole(steps, "steps", 1)
    theta, phi = np.meshgrid(np.arange(steps) * np.pi / steps, np.arange(2 * steps) * np.pi / steps)
    return klein_bottle(theta, phi, side).reshape(-1, side * side)


def klein_bottle_shares(
    points: PatchesLike, steps: Whole = 8, near: Number = 0.6
) -> Float64[np.ndarray, "phis thetas"]:
    """The share of a cloud at each patch of a grid on the Klein bottle, cut open to its fundamental square.

    A point belongs to the nearest patch of `klein_bottle_grid(steps)`, or to none where that is farther than `near`.
    points: centred and of unit norm; steps: of theta, half as many as of phi; near: a distance.
    Returns a row for each phi and a column for each theta, from 0 on; the sum is the share of points near the bottle.
    Raises TypeError or ValueError for another shape, steps below 1, or a distance that is not positive.
    """
    points = _as_patches(points)
    check_number(near, "near", 0, "a distance", above=True)
    distance, nearest = cKDTree(klein_bottle_grid(steps)).query(points, workers=-1)
    counts = np.bincount(nearest[distance <= near], minlength=2 * steps * steps)
    return counts.reshape(2 * int(steps), int(steps)) / len(points)


def klein_bottle_move(shares: _Square, others: _Square) -> float:
    """The earth mover's distance between two clouds on the Klein bottle: how far a point moves from one to the other.

    Each is scaled to a sum of 1. Of all ways to turn one into the other, it is the least mean distance by which the
    points are moved, measured between patches in R^9; computed by `scipy.stats.wasserstein_distance_nd`.
    shares, others: as `klein_bottle_shares` returns them, with the same steps. More than 8 steps take seconds.
    Returns a distance, in norms of a patch. Raises ValueError for other shapes, or where no point is near the bottle.
    """
    first, second = (np.asarray(each, float) for each in (shares, others))
    steps = first.shape[-1]
    if first.shape != second.shape or first.shape != (2 * steps, steps):
        raise ValueError(f"shares {first.shape} and others {second.shape} must both have shape (2 * steps, steps)")
    if not (first.sum() > 0 and second.sum() > 0):
        raise ValueError("no point is near the Klein bottle, so that there is nothing to move")
    patches = klein_bottle_grid(steps)
    first, second = first.ravel() / first.sum(), second.ravel() / second.sum()
    return float(wasserstein_distance_nd(patches, patches, first, second))


_WAYS = "right", "below right", "below", "below left", "left", "above left", "above", "above right"
_LINES = "vertical", "rising", "horizontal", "falling"


def named_patches() -> dict[str, Float64[np.ndarray, "9"]]:
    """Sixteen patches of the Klein bottle that have names: edges in eight directions, dark and bright lines in four.

    A name is such as "edge, bright below right" or "dark rising line".
    """
    tones = (("dark", 0.0), ("bright", np.pi))
    edges = {f"edge, bright {way}": (i * np.pi / 4, np.pi / 2) for i, way in enumerate(_WAYS)}
    lines = {f"{tone} {line} line": (i * np.pi / 4, phi) for i, line in enumerate(_LINES) for tone, phi in tones}
    return {name: klein_bottle(*angles) for name, angles in {**edges, **lines}.items()}


def primary_circle(theta: Angles, side: Whole = 3) -> Float64[np.ndarray, "*angles pixels"]:
    """Rotating edges cos(theta) x + sin(theta) y, as centred unit patches: the gradient points along theta.

    theta: in radians; side: of the patch, 2 pixels or more. Raises TypeError or ValueError for another side.
    """
    theta = np.asarray(theta, float)
    return np.stack([np.cos(theta), np.sin(theta)], -1) @ _polynomials(side)[0]


def secondary_circles(phi: Angles) -> tuple[Float64[np.ndarray, "*angles 9"], Float64[np.ndarray, "*angles 9"]]:
    """The circles that join lines to edges: of x^2 and x, and of y^2 and y, as `klein_bottle` mixes them.

    Each meets the primary circle at phi = pi/2 and -pi/2; the two do not meet.

    phi: in radians. Returns the vertical and the horizontal circle, named after their lines: centred unit patches.
    """
    return klein_bottle(0.0, phi), klein_bottle(np.pi / 2, phi)


def point_circles(phi: Angles) -> tuple[Float64[np.ndarray, "*angles 9"], Float64[np.ndarray, "*angles 9"]]:
    """The circles that join points to edges: of x^2 + y^2 and x, and of x^2 + y^2 and y.

    A point is here a patch that is darkest or brightest in its middle. The circles are the secondary circles with a
    point in the place of the line: dark on bright ground at phi = 0, bright at phi = pi. Each meets the primary circle
    at phi = pi/2 and -pi/2; both pass through the same two points. Of the Klein bottle's patches, vertical and
    horizontal lines are nearest to these points, at the distance sqrt(2 - sqrt(2)).

    phi: in radians. Returns the vertical and the horizontal circle, named after their edges: centred unit patches.
    """
    return crossing_circles(np.pi / 4, phi)


def crossing_circles(
    pole: Number, phi: Angles
) -> tuple[Float64[np.ndarray, "*angles 9"], Float64[np.ndarray, "*angles 9"]]:
    """The circles that lead from edges over a blend of the two lines to the opposite edges.

    The blend is cos(pole) x^2 + sin(pole) y^2, of unit norm: at pole 0 the dark vertical line, at pi/4 a dark point, at
    pi/2 the dark horizontal line. `secondary_circles` and `point_circles` are special cases.

    pole, phi: in radians. Returns the circle of vertical and that of horizontal edges, which meet the primary circle at
    phi = pi/2 and -pi/2: centred unit patches.
    """
    phi, blend = np.asarray(phi, float)[..., None], np.array([np.cos(pole), np.sin(pole)]) @ _STRAIGHT
    vertical, horizontal = (np.cos(phi) * blend + np.sin(phi) * edge for edge in _LINEAR)
    return vertical, horizontal


class Pole(NamedTuple):
    """What `pole` measures: the share of the patches that count, their mean angle in radians, NaN without any, and how
    far their angles agree, from 0, where they point everywhere, to 1, where all point alike.
    """

    share: float
    angle: float
    agreement: float


def pole(points: PatchesLike) -> Pole:
    """The blend of vertical and horizontal lines that the patches of a cloud are: the pole of `crossing_circles`.

    Patches count which have at least half of their squared contrast in the plane of both lines. Their angles in it are
    averaged as directions, so that a dark patch and its bright negative point alike.
    points: of any mean and norm. Raises ValueError for another shape or a constant patch.
    """
    across, along = _STRAIGHT @ _unit_patches(points).T
    counts = across**2 + along**2 >= 0.5
    if not counts.any():
        return Pole(0.0, np.nan, 0.0)
    mean = np.exp(2j * np.arctan2(along[counts], across[counts])).mean()
    return Pole(float(counts.mean()), float(np.angle(mean) / 2 % np.pi), float(abs(mean)))


def three_circles(n_points: Whole) -> Float64[np.ndarray, "points 9"]:
    """Evenly spaced patches on the primary circle and both secondary circles (Figure 1), to draw or measure against.

    Returns n_points patches: the primary, the vertical, then the horizontal circle. Where n_points is no multiple of 3,
    the first circle, or the first two, have one patch more. Raises TypeError or ValueError for n_points below 3.
    """
    check_whole(n_points, "n_points", 3)
    sizes = [(n_points + 2) // 3, (n_points + 1) // 3, n_points // 3]
    primary, vertical, horizontal = (np.arange(size) * (2 * np.pi / size) for size in sizes)
    return np.concatenate([primary_circle(primary), secondary_circles(vertical)[0], secondary_circles(horizontal)[1]])


def _angles(n: Whole, count: int, seed: Seed) -> tuple[np.random.Generator, Float64[np.ndarray, "count n"]]:
    """The generator of `seed`, and `count` arrays of n uniform angles in [0, 2 pi)."""
    check_whole(n, "n", 1)
    generator = np.random.default_rng(seed)
    return generator, generator.uniform(0, 2 * np.pi, (count, n))


def _noisy(points: Points, noise: Number, generator: np.random.Generator) -> Points:
    return points + noise * generator.standard_normal(points.shape) if noise else points


def _noisy_patches(patches: Points, noise: Number, generator: np.random.Generator) -> Points:
    return normalize(_noisy(patches, noise, generator)) if noise else patches


def sample_circle(n: Whole, seed: Seed, dim: Whole = 2, noise: Number = 0.0) -> Float64[np.ndarray, "points dim"]:
    """n random points of the unit circle in the first two coordinates of R^dim.

    noise: standard deviation of the Gaussian noise added to every coordinate.
    Raises TypeError or ValueError for n < 1 or dim < 2.
    """
    check_whole(dim, "dim", 2)
    generator, (theta,) = _angles(n, 1, seed)
    points = np.zeros((n, dim))
    points[:, 0], points[:, 1] = np.cos(theta), np.sin(theta)
    return _noisy(points, noise, generator)


def sample_torus(n: Whole, seed: Seed, noise: Number = 0.0) -> Float64[np.ndarray, "points 4"]:
    """n random points of the flat torus in R^4, the product of two unit circles, uniform in area.

    noise: as for `sample_circle`. Raises TypeError or ValueError for n < 1.
    """
    generator, (theta, phi) = _angles(n, 2, seed)
    points = np.stack([np.cos(theta), np.sin(theta), np.cos(phi), np.sin(phi)], -1)
    return _noisy(points, noise, generator)


def sample_klein_bottle(n: Whole, seed: Seed, noise: Number = 0.0) -> Float64[np.ndarray, "points 9"]:
    """n random patches of the Klein bottle, uniform in both angles, centred and of unit norm.

    noise: standard deviation of the Gaussian noise added to every pixel, before the patches are centred and normalised
    again. Raises TypeError or ValueError for n < 1.
    """
    generator, (theta, phi) = _angles(n, 2, seed)
    return _noisy_patches(klein_bottle(theta, phi), noise, generator)


def sample_three_circles(n: Whole, seed: Seed, noise: Number = 0.0) -> Float64[np.ndarray, "points 9"]:
    """n random patches of the three circles, each circle as likely as the others, centred and of unit norm.

    noise, errors: as for `sample_klein_bottle`.
    """
    generator, (angle,) = _angles(n, 1, seed)
    circle = generator.integers(3, size=n)
    theta = np.choose(circle, [angle, 0.0, np.pi / 2])
    phi = np.where(circle == 0, np.pi / 2, angle)
    return _noisy_patches(klein_bottle(theta, phi), noise, generator)


def three_circles_noise(points: PatchesLike, seed: Whole = 0) -> float:
    """The noise at which a sample of the three circles lies as far from them as these points do, by the median.

    points: centred and of unit norm; seed: of the samples, which have as many patches.
    Returns one of 0.02, 0.03, ..., 0.39: a standard deviation as in `sample_three_circles`.
    Raises ValueError for another shape.
    """
    points, model = _as_patches(points), three_circles(3000)
    wanted = np.median(distance_to(points, model))

    def difference(noise: Number) -> float:
        return abs(np.median(distance_to(sample_three_circles(len(points), seed, noise), model)) - wanted)

    return float(min(np.arange(0.02, 0.4, 0.01), key=difference))


def _as_patches(points: PatchesLike) -> Float64[np.ndarray, "points 9"]:
    points = as_points(points)
    if points.shape[1] != 9:
        raise ValueError(f"points must be 3x3 patches of shape (n, 9), not {points.shape}")
    return points.astype(np.float64, copy=False)


def _unit_patches(points: PatchesLike) -> Float64[np.ndarray, "points 9"]:
    points = _as_patches(points)
    unit = normalize(points)
    if len(unit) < len(points):
        raise ValueError(f"{len(points) - len(unit)} of {len(points)} patches are constant: drop them by normalize")
    return unit


def primary_angle(points: PatchesLike) -> Float64[np.ndarray, "points"]:
    """The angle at which each patch projects to the plane of the primary circle: the direction of its gradient.

    points: of any mean and norm.
    Returns radians in (-pi, pi], the inverse of `primary_circle`. Raises ValueError for another shape.
    """
    x, y = _LINEAR @ _as_patches(points).T
    return np.arctan2(y, x)


def circle_angle(points: PatchesLike, circle: _Circle) -> Float64[np.ndarray, "points"]:
    """The angle at which each patch projects to the plane of a circle around the origin, such as one of `circles`.

    points: of any mean and norm; circle: in even steps, three or more, the first of which has angle 0.
    Returns radians in (-pi, pi]. Raises ValueError for another shape, or where there are fewer steps.
    """
    points, circle = _as_patches(points), _as_patches(circle)
    if len(circle) < 3:
        raise ValueError(f"circle must have three steps or more, not {len(circle)}")
    around = np.arange(len(circle)) * 2 * np.pi / len(circle)
    across, along = np.stack([np.cos(around), np.sin(around)]) @ circle @ points.T
    return np.arctan2(along, across)


def primary_energy(points: PatchesLike) -> Float64[np.ndarray, "points"]:
    """The share of each patch's squared contrast that lies in the plane of the primary circle.

    points: of any mean and norm.
    Returns shares in [0, 1], 1 on the circle. Raises ValueError for another shape or a constant patch.
    """
    return np.minimum(((_unit_patches(points) @ _LINEAR.T) ** 2).sum(axis=1), 1)


def primary_distance(points: PatchesLike) -> Float64[np.ndarray, "points"]:
    """The distance of each patch, once centred and scaled to unit norm, to the nearest patch of the primary circle.

    It is sqrt(2 - 2 sqrt(e)), where e is the patch's `primary_energy`, whose arguments and errors it has.
    """
    return np.sqrt(2 - 2 * np.sqrt(primary_energy(points)))


def thin_sectors(points: PatchesLike, sectors: Whole = 12, least: Number = 0.01) -> int:
    """How many sectors of the primary circle hold at most the share `least` of all the points.

    Only patches with at least half of their squared contrast in the plane of edges are counted in a sector.

    points: of any mean and norm; sectors: even parts of the circle, from angle 0 on.
    Raises TypeError or ValueError for sectors below 1, another shape or a constant patch.
    """
    check_whole(sectors, "sectors", 1)
    angles = primary_angle(points)[primary_energy(points) >= 0.5] % (2 * np.pi)
    return int((np.histogram(angles, sectors, (0, 2 * np.pi))[0] <= least * len(points)).sum())


def distance_to(
    points: PointsLike, model_points: Real[np.ndarray, "model dim"] | Sequence[Row]
) -> Float64[np.ndarray, "points"]:
    """Euclidean distance of every point to the nearest of the model's.

    Raises ValueError where the points and the model's differ in dimension.
    """
    points, model_points = as_points(points), as_points(model_points, "model_points")
    if points.shape[1] != model_points.shape[1]:
        raise ValueError(f"points {points.shape} and model_points {model_points.shape} differ in dimension")
    return cKDTree(model_points).query(points, workers=-1)[0]


def circles(steps: Whole = 720, points: bool = False) -> dict[str, Float64[np.ndarray, "steps 9"]]:
    """The circles called "primary", "vertical" and "horizontal", each in so many even steps, to measure against.

    points: whether the two `point_circles` are among them, as "vertical point" and "horizontal point".
    The first patch of each circle is that of angle 0: x, x^2 and y^2, and x^2 + y^2 for the last two.
    Raises TypeError or ValueError for steps below 1.
    """
    check_whole(steps, "steps", 1)
    angles = np.arange(steps) * 2 * np.pi / steps
    around = {"primary": primary_circle(angles), **dict(zip(("vertical", "horizontal"), secondary_circles(angles)))}
    return around | (dict(zip(("vertical point", "horizontal point"), point_circles(angles))) if points else {})


def circle_sectors(
    points: PatchesLike, circle: _Circle, sectors: Whole = 16, near: Number = 0.6
) -> Int64[np.ndarray, "points"]:
    """Which patches lie on a circle, and in which sector of it.

    points: centred and of unit norm; circle: a closed curve in even steps; sectors: even parts that the circle is cut
    into, of which the first has the circle's first patch in its middle; near: the largest distance from the circle at
    which a patch still counts as on it.
    Returns numbers from 0 to sectors - 1, and -1 for a patch that is not on the circle.
    Raises TypeError or ValueError for another shape, sectors below 1, or a distance that is not positive.
    """
    points, circle = _as_patches(points), _as_patches(circle)
    check_whole(sectors, "sectors", 1)
    check_number(near, "near", 0, "a distance", above=True)
    distance, nearest = cKDTree(circle).query(points, workers=-1)
    sector = np.rint(nearest * sectors / len(circle)).astype(np.int64) % sectors
    return np.where(distance <= near, sector, -1)


def circle_means(
    points: PatchesLike, circle: _Circle, sectors: Whole = 16, near: Number = 0.6, least: Number = 0.1
) -> Float64[np.ndarray, "sectors 9"]:
    """The mean patch in every sector of a circle, NaN in sectors that are holes.

    A hole is a sector that holds no patch, or fewer than the share `least` of what a sector holds on average. The other
    arguments and the errors are those of `circle_sectors`.
    """
    points = _as_patches(points)
    sector = circle_sectors(points, circle, sectors, near)
    counts = np.bincount(sector[sector >= 0], minlength=sectors)
    means = np.full((sectors, 9), np.nan)
    for i in np.flatnonzero(counts >= max(1, least * counts.mean())):
        means[i] = points[sector == i].mean(axis=0)
    return means


def circle_holes(
    points: PatchesLike, circle: _Circle, sectors: Whole = 16, near: Number = 0.6, least: Number = 0.1
) -> int:
    """How many sectors of a circle are holes, as `circle_means` takes them. A loop along the circle has none."""
    return sector_holes(circle_sectors(points, circle, sectors, near), sectors, least)


def sector_holes(sector: Int64[np.ndarray, "points"], sectors: Whole = 16, least: Number = 0.1) -> int:
    """`circle_holes` of a cloud whose `circle_sectors` are known, such as of the densest of its points."""
    counts = np.bincount(sector[sector >= 0], minlength=sectors)
    return int((counts < max(1, least * counts.mean())).sum())


class OnCircle(NamedTuple):
    """How a cloud lies on a circle: the share of its patches that are on it, and how many of its sectors are holes."""

    share: float
    holes: int


def on_circles(
    points: PatchesLike, circles: Mapping[str, _Circle], sectors: Whole = 16, near: Number = 0.6
) -> dict[str, OnCircle]:
    """How a cloud lies on each of several circles, by their names.

    points: centred and of unit norm; circles: such as `circles` returns; sectors, near: as for `circle_sectors`.
    Raises as `circle_holes` does.
    """
    found = {}
    for name, circle in circles.items():
        sector = circle_sectors(points, circle, sectors, near)
        found[name] = OnCircle(float((sector >= 0).mean()), sector_holes(sector, sectors))
    return found


def plane_means(points: PatchesLike, sectors: Whole = 16) -> Float64[np.ndarray, "sectors 9"]:
    """The mean patch in every sector of the plane of a cloud's first two principal components.

    points: two or more; sectors: even parts, of which the first has the first component in its middle.
    The mean is NaN in sectors without a patch. Raises TypeError or ValueError for another shape or sectors below 1.
    """
    points = _as_patches(points)
    check_whole(sectors, "sectors", 1)
    centred = points - points.mean(axis=0)
    first, second = np.linalg.svd(centred, full_matrices=False)[2][:2] @ centred.T
    sector = np.rint(np.arctan2(second, first) * sectors / (2 * np.pi)).astype(int) % sectors
    means = np.full((sectors, 9), np.nan)
    for i in np.unique(sector):
        means[i] = points[sector == i].mean(axis=0)
    return means


def dct_basis() -> Float64[np.ndarray, "9 8"]:
    """The basis e1 … e8 of centred 3x3 patches that the natural patches are stored in (Lee, Pedersen & Mumford 2003).

    It is a discrete cosine basis, orthonormal for the D-norm: |p|_D^2 is the sum of (p_i - p_j)^2 over horizontal and
    vertical neighbours i, j. e1 and e2 are -x and -y at scale 1/sqrt(6): they span the plane of the primary circle.

    Returns one patch a column.
    """
    edge, line, flat = np.array([1.0, 0, -1]), np.array([1.0, -2, 1]), np.ones(3)
    down = flat, edge, flat, line, edge, line, edge, line
    across = edge, flat, line, flat, edge, edge, line, line
    patches = np.stack([np.outer(*each).ravel() for each in zip(down, across)], axis=1)
    return patches / np.sqrt([6, 6, 54, 54, 8, 48, 48, 216])  # their squared D-norms


def from_dct(coordinates: Real[np.ndarray, "points 8"] | Sequence[Row]) -> Float64[np.ndarray, "points 9"]:
    """Centred unit patches from their coordinates in `dct_basis`.

    coordinates: no row zero, of any norm.
    Raises ValueError for another shape or a zero row, and as `topo.checks.as_points` does.
    """
    coordinates = as_points(coordinates, "coordinates").astype(np.float64, copy=False)
    if coordinates.shape[1] != 8:
        raise ValueError(f"coordinates must have shape (n, 8), not {coordinates.shape}")
    if not coordinates.any(axis=1).all():
        raise ValueError(f"coordinates must not be zero; row {coordinates.any(axis=1).argmin()} is")
    return normalize(coordinates @ dct_basis().T)


def to_dct(patches: PatchesLike) -> Float64[np.ndarray, "points 8"]:
    """Coordinates of patches in `dct_basis`, scaled to unit D-norm: the inverse of `from_dct` on unit coordinates.

    patches: of any mean and norm. Returns rows of unit Euclidean norm.
    Raises ValueError for another shape or a constant patch, and as `topo.checks.as_points` does.
    """
    basis = dct_basis()
    coordinates = _unit_patches(patches) @ (basis / (basis**2).sum(axis=0))  # columns orthogonal, not of unit norm
    return coordinates / np.linalg.norm(coordinates, axis=1, keepdims=True)
