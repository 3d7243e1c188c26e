"""Model spaces: circles and the Klein bottle of 3x3 patches, and plain shapes to try a barcode on.

Knows formulas and samples of them; must not know about networks, filters of networks or homology.
"""
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from topo.filters import as_points, check_whole, normalize


@lru_cache
def _polynomials(side):
    """x and y, orthonormal (2, side^2), and x^2, y^2 and xy, centred and pairwise orthogonal (3, side^2), on a patch.

    It is read row by row: x grows to the right over the columns, y grows downwards over the rows, both from -1 to 1.
    """
    check_whole(side, "side", 2)
    y, x = (axis.ravel() for axis in np.meshgrid(*[np.linspace(-1.0, 1.0, side)] * 2, indexing="ij"))
    square = (x**2).mean()
    return np.stack([x, y]) / np.linalg.norm(x), np.stack([x**2 - square, y**2 - square, x * y])


_LINEAR = _polynomials(3)[0]


def klein_bottle(theta, phi, side=3):
    """Patches of the Klein bottle of degree-2 polynomials (Carlsson, Ishkhanov, de Silva & Zomorodian 2008).

    The patch is cos(phi) Q + sin(phi) L, where Q and L are (ax + by)^2 and ax + by at x, y in {-1, 0, 1}, centred
    and scaled to unit norm, with a = cos(theta), b = sin(theta). As Q and L are orthogonal, it has unit norm.
    (theta, phi) and (theta + pi, -phi) are the same patch. Edges, the primary circle, lie at phi = pi/2 and -pi/2;
    dark lines on bright ground at phi = 0, bright lines at phi = pi.

    theta, phi: arrays in radians that broadcast to shape (...); side: of the patch, 3 or more pixels, evenly spaced
    from -1 to 1: two are too few for a line. Returns (..., side * side) float64, centred unit patches.
    """
    check_whole(side, "side", 3)
    first, second = _polynomials(side)
    theta, phi = np.broadcast_arrays(np.asarray(theta, float), np.asarray(phi, float))
    a, b = np.cos(theta), np.sin(theta)
    linear = np.stack([a, b], -1) @ first
    quadratic = np.stack([a**2, b**2, 2 * a * b], -1) @ second
    quadratic /= np.linalg.norm(quadratic, axis=-1, keepdims=True)
    return np.cos(phi)[..., None] * quadratic + np.sin(phi)[..., None] * linear


def primary_circle(theta, side=3):
    """Rotating edges cos(theta) x + sin(theta) y, as centred unit patches: the gradient points along theta.

    theta: (...) in radians; side: of the patch, 2 pixels or more. Returns (..., side * side) float64.
    """
    theta = np.asarray(theta, float)
    return np.stack([np.cos(theta), np.sin(theta)], -1) @ _polynomials(side)[0]


def secondary_circles(phi):
    """The circles that join lines to edges: of x^2 and x, and of y^2 and y, as `klein_bottle` mixes them.

    Each meets the primary circle at phi = pi/2 and -pi/2; the two do not meet.

    phi: (...) in radians. Returns the vertical and the horizontal circle, named after their lines: two (..., 9)
    float64 of centred unit patches.
    """
    return klein_bottle(0.0, phi), klein_bottle(np.pi / 2, phi)


def point_circles(phi):
    """The circles that join points to edges: of x^2 + y^2 and x, and of x^2 + y^2 and y.

    They are the secondary circles with a point in the place of the line: dark on bright ground at phi = 0, bright at
    phi = pi. Each meets the primary circle at phi = pi/2 and -pi/2; both pass through the same points. No patch of the
    Klein bottle is nearer to a point than sqrt(2 - sqrt(2)), where lines are.

    phi: (...) in radians. Returns the vertical and the horizontal circle, named after their edges: two (..., 9)
    float64 of centred unit patches.
    """
    point = normalize(_polynomials(3)[1][:2].sum(axis=0, keepdims=True))[0]
    phi = np.asarray(phi, float)[..., None]
    vertical, horizontal = (np.cos(phi) * point + np.sin(phi) * edge for edge in _LINEAR)
    return vertical, horizontal


def three_circles(n_points):
    """Evenly spaced patches on the primary circle and both secondary circles (Figure 1), to draw or measure against.

    Returns (n_points, 9) float64: the primary, the vertical, then the horizontal circle; the earlier have one
    point more where n_points is no multiple of 3. Raises TypeError or ValueError for n_points below 3.
    """
    check_whole(n_points, "n_points", 3)
    sizes = [(n_points + 2) // 3, (n_points + 1) // 3, n_points // 3]
    primary, vertical, horizontal = (np.arange(size) * (2 * np.pi / size) for size in sizes)
    return np.concatenate([primary_circle(primary), secondary_circles(vertical)[0], secondary_circles(horizontal)[1]])


def _angles(n, count, seed):
    """The generator of `seed`, and `count` arrays of n uniform angles in [0, 2 pi)."""
    check_whole(n, "n", 1)
    generator = np.random.default_rng(seed)
    return generator, generator.uniform(0, 2 * np.pi, (count, n))


def _noisy(points, noise, generator):
    return points + noise * generator.standard_normal(points.shape) if noise else points


def _noisy_patches(patches, noise, generator):
    return normalize(_noisy(patches, noise, generator)) if noise else patches


def sample_circle(n, seed, dim=2, noise=0.0):
    """n random points of the unit circle in the first two coordinates of R^dim.

    seed: int or numpy Generator; noise: standard deviation of the Gaussian noise added to every coordinate.
    Returns (n, dim) float64. Raises TypeError or ValueError for n < 1 or dim < 2.
    """
    check_whole(dim, "dim", 2)
    generator, (theta,) = _angles(n, 1, seed)
    points = np.zeros((n, dim))
    points[:, 0], points[:, 1] = np.cos(theta), np.sin(theta)
    return _noisy(points, noise, generator)


def sample_torus(n, seed, noise=0.0):
    """n random points of the flat torus in R^4, the product of two unit circles, uniform in area.

    seed, noise: as for `sample_circle`. Returns (n, 4) float64.
    """
    generator, (theta, phi) = _angles(n, 2, seed)
    points = np.stack([np.cos(theta), np.sin(theta), np.cos(phi), np.sin(phi)], -1)
    return _noisy(points, noise, generator)


def sample_klein_bottle(n, seed, noise=0.0):
    """n random patches of the Klein bottle, uniform in both angles.

    seed: int or numpy Generator; noise: standard deviation of the Gaussian noise added to every pixel, before the
    patches are centred and normalised again.
    Returns (n, 9) float64, centred unit patches.
    """
    generator, (theta, phi) = _angles(n, 2, seed)
    return _noisy_patches(klein_bottle(theta, phi), noise, generator)


def sample_three_circles(n, seed, noise=0.0):
    """n random patches of the three circles, each circle as likely as the others.

    seed, noise: as for `sample_klein_bottle`. Returns (n, 9) float64, centred unit patches.
    """
    generator, (angle,) = _angles(n, 1, seed)
    circle = generator.integers(3, size=n)
    theta = np.choose(circle, [angle, 0.0, np.pi / 2])
    phi = np.where(circle == 0, np.pi / 2, angle)
    return _noisy_patches(klein_bottle(theta, phi), noise, generator)


def _as_patches(points):
    points = as_points(points)
    if points.shape[1] != 9:
        raise ValueError(f"points must be 3x3 patches of shape (n, 9), not {points.shape}")
    return points.astype(np.float64, copy=False)


def _unit_patches(points):
    points = _as_patches(points)
    unit = normalize(points)
    if len(unit) < len(points):
        raise ValueError(f"{len(points) - len(unit)} of {len(points)} patches are constant: drop them by normalize")
    return unit


def primary_angle(points):
    """The angle at which each patch projects to the plane of the primary circle: the direction of its gradient.

    points: (n, 9), of any mean and norm.
    Returns (n,) float64 in (-pi, pi], the inverse of `primary_circle`. Raises ValueError for another shape.
    """
    x, y = _LINEAR @ _as_patches(points).T
    return np.arctan2(y, x)


def primary_energy(points):
    """The share of each patch's squared contrast that lies in the plane of the primary circle.

    points: (n, 9), of any mean and norm.
    Returns (n,) float64 in [0, 1], 1 on the circle. Raises ValueError for another shape or a constant patch.
    """
    return np.minimum(((_unit_patches(points) @ _LINEAR.T) ** 2).sum(axis=1), 1)


def distance_to(points, model_points):
    """Euclidean distance of every point to the nearest of the model's.

    points: (n, d); model_points: (m, d). Returns (n,) float64. Raises ValueError where their dimensions differ.
    """
    points, model_points = as_points(points), as_points(model_points, "model_points")
    if points.shape[1] != model_points.shape[1]:
        raise ValueError(f"points {points.shape} and model_points {model_points.shape} differ in dimension")
    return cKDTree(model_points).query(points, workers=-1)[0]


def circles(steps=720):
    """The primary and both secondary circles, each in so many even steps, to measure against.

    Returns {"primary", "vertical", "horizontal": (steps, 9) float64}: from x, x^2 and y^2 on, as `primary_circle` and
    `secondary_circles` have them. Raises TypeError or ValueError for steps below 1.
    """
    check_whole(steps, "steps", 1)
    angles = np.arange(steps) * 2 * np.pi / steps
    vertical, horizontal = secondary_circles(angles)
    return {"primary": primary_circle(angles), "vertical": vertical, "horizontal": horizontal}


def circle_sectors(points, circle, sectors=16, near=0.6):
    """Which patches lie on a circle, and where on it.

    points: (n, 9), centred and of unit norm; circle: (steps, 9), a closed curve in even steps; sectors: even parts
    that it is cut into, of which the first has the circle's first patch in its middle; near: the farthest that a patch
    on the circle may be from it.
    Returns (n,) int64, from 0 to sectors - 1, and -1 for a patch that is not on the circle.
    Raises TypeError or ValueError for another shape, sectors below 1, or a distance that is not positive.
    """
    points, circle = _as_patches(points), _as_patches(circle)
    check_whole(sectors, "sectors", 1)
    if not near > 0:
        raise ValueError(f"near = {near!r} must be a distance above 0")
    distance, nearest = cKDTree(circle).query(points, workers=-1)
    sector = np.rint(nearest * sectors / len(circle)).astype(np.int64) % sectors
    return np.where(distance <= near, sector, -1)


def circle_means(points, circle, sectors=16, near=0.6, least=0.1):
    """The mean patch in every sector of a circle, where the circle is not a hole.

    A hole is a sector with less than the share `least` of an even share of the circle's patches, or with none. The
    rest as for `circle_sectors`.
    Returns (sectors, 9) float64, NaN in the holes. Raises as `circle_sectors` does.
    """
    points = _as_patches(points)
    sector = circle_sectors(points, circle, sectors, near)
    counts = np.bincount(sector[sector >= 0], minlength=sectors)
    means = np.full((sectors, 9), np.nan)
    for i in np.flatnonzero(counts >= max(1, least * counts.mean())):
        means[i] = points[sector == i].mean(axis=0)
    return means


def circle_holes(points, circle, sectors=16, near=0.6, least=0.1):
    """How many sectors of a circle are holes, of which a loop along it has none: as for `circle_means`, an int."""
    return int(np.isnan(circle_means(points, circle, sectors, near, least)[:, 0]).sum())


def dct_basis():
    """The basis e1 … e8 of centred 3x3 patches that the natural patches are stored in (Lee, Pedersen & Mumford 2003).

    Orthonormal for the D-norm, |p|_D^2 = sum of (p_i - p_j)^2 over horizontal and vertical neighbours i, j: a
    discrete cosine basis. e1 and e2 are -x and -y at scale 1/sqrt(6): they span the plane of the primary circle.

    Returns (9, 8) float64, one patch a column.
    """
    edge, line, flat = np.array([1.0, 0, -1]), np.array([1.0, -2, 1]), np.ones(3)
    down_and_across = [
        (flat, edge), (edge, flat), (flat, line), (line, flat), (edge, edge), (line, edge), (edge, line), (line, line)
    ]
    patches = np.stack([np.outer(down, across).ravel() for down, across in down_and_across], axis=1)
    return patches / np.sqrt([6, 6, 54, 54, 8, 48, 48, 216])  # their squared D-norms


def from_dct(coordinates):
    """Patches from their coordinates in `dct_basis`.

    coordinates: (n, 8), no row zero, of any norm. Returns (n, 9) float64, centred unit patches.
    Raises ValueError for another shape or a zero row, and as `topo.filters.as_points` does.
    """
    coordinates = as_points(coordinates, "coordinates").astype(np.float64, copy=False)
    if coordinates.shape[1] != 8:
        raise ValueError(f"coordinates must have shape (n, 8), not {coordinates.shape}")
    if not coordinates.any(axis=1).all():
        raise ValueError(f"coordinates must not be zero; row {coordinates.any(axis=1).argmin()} is")
    return normalize(coordinates @ dct_basis().T)


def to_dct(patches):
    """Coordinates of patches in `dct_basis`, scaled to unit D-norm: the inverse of `from_dct` on unit coordinates.

    patches: (n, 9), of any mean and norm. Returns (n, 8) float64 of unit Euclidean norm.
    Raises ValueError for another shape or a constant patch, and as `topo.filters.as_points` does.
    """
    basis = dct_basis()
    coordinates = _unit_patches(patches) @ (basis / (basis**2).sum(axis=0))  # columns orthogonal, not of unit norm
    return coordinates / np.linalg.norm(coordinates, axis=1, keepdims=True)
