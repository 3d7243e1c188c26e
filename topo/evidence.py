"""How sure a shape is: loops over grids of filtrations, their spread over draws of networks, peaks of the density.

Knows point clouds and barcodes; must not know which network or layer a cloud comes from, nor how to draw.
"""
from math import isfinite
from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from topo.density import densest, kept_count, kth_neighbor_distance
from topo.filters import as_points, check_whole
from topo.neighbors import climb
from topo.persistence import bar_lengths, lazy_witness_barcode, loop_gap

PAPER_POINTS = 6400  # first-layer filters of a hundred networks of 64, which the paper's k = 200 is meant for


def scaled_k(k, n, reference=PAPER_POINTS):
    """The neighbour among n points that stands for the k-th among `reference`: the same share of the cloud.

    k, n, reference: whole numbers, n 2 or more, the others 1 or more. Returns an int within 1..n - 1.
    Raises TypeError or ValueError for others.
    """
    check_whole(k, "k", 1)
    check_whole(n, "n", 2)
    check_whole(reference, "reference", 1)
    return min(n - 1, max(1, round(k * n / reference)))


def _check_number(value, name, low, meaning):
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not (low <= value and isfinite(value)):
        raise ValueError(f"{name} = {value} must be {meaning}, finite and {low} or more")


# Grids of density filtrations

def gap(barcode, loops=1, floor=0.05):
    """How much longer the `loops`-th longest bar of dimension 1 is than the next, or than `floor` if that is longer.

    `topo.persistence.loop_gap` with a floor under its divisor. A few points may have one short bar and no other, whose
    ratio is infinite; here it is small. A ratio of 3 asks for bars of at least 3 * floor, with 0.05 that is 0.15 for
    points of norm 1, which is about as long as the longest bars of untrained filters.

    barcode: as `topo.persistence.lazy_witness_barcode` returns it; loops: 1 or more; floor: in the unit of the points,
    0 for `loop_gap` itself.
    Returns a float without unit, 0 where there are fewer than `loops` bars.
    Raises TypeError or ValueError for arguments out of range.
    """
    _check_number(floor, "floor", 0, "a length")
    ratio = loop_gap(barcode, loops)
    if not ratio or not floor:
        return ratio
    return min(ratio, float(bar_lengths(barcode, 1)[loops - 1] / floor))


def count_loops(barcode, most=5, least=3, floor=0.05):
    """How many bars of dimension 1 stand out: the number, up to `most`, whose `gap` is largest, and 0 if that is less
    than `least`.

    barcode, floor: as for `gap`; most: 1 or more; least: the smallest ratio that counts.
    Returns the number, an int, and the largest gap, a float. Raises as `gap` does.

    >>> count_loops({1: np.array([[0.0, 0.45], [0.0, 0.39], [0.0, 0.36], [0.0, 0.03]])})[0]
    3
    """
    check_whole(most, "most", 1)
    gaps = [gap(barcode, loops, floor) for loops in range(1, most + 1)]
    best_gap = max(gaps)
    return (gaps.index(best_gap) + 1 if best_gap >= least else 0), best_gap


def barcode_grid(points, ks, ps, landmarks=100, nu=1):
    """Barcodes of the density filtrations rho(k, p) of one cloud, for every k and p.

    One search for neighbours serves every k, and the points are sorted by density once for each; a p cuts that order.

    points: (n, d), as `topo.filters.as_points` takes them; ks, ps: as `topo.density.densest` takes k and p;
    landmarks: of the lazy witness complex, all the points where a filtration keeps fewer; nu: as for
    `topo.persistence.lazy_witness_times`.
    Returns (len(ks), len(ps)) object array of barcodes in dimensions 0 and 1.
    Raises TypeError or ValueError for an empty grid, and as the functions it is made of.
    """
    points = as_points(points)
    check_whole(landmarks, "landmarks", 1)
    if not len(ks) or not len(ps):
        raise ValueError(f"ks = {ks!r} and ps = {ps!r} must hold one value or more")
    grid = np.empty((len(ks), len(ps)), object)
    for i, rho in enumerate(kth_neighbor_distance(points, ks)):
        by_density = points[np.argsort(rho, kind="stable")]
        for j, p in enumerate(ps):
            core = by_density[: kept_count(p, len(points))]
            grid[i, j] = lazy_witness_barcode(core, min(landmarks, len(core)), nu)
    return grid


def gap_grid(points, ks, ps, landmarks=100, nu=1, loops=1, floor=0.05):
    """`gap` of every barcode of a `barcode_grid`: where among the filtrations there are just so many loops.

    Returns (len(ks), len(ps)) float64. Arguments and errors as in `barcode_grid` and `gap`.

    >>> circle = np.stack([np.cos(np.arange(300)), np.sin(np.arange(300))], axis=1)
    >>> gap_grid(circle, ks=[5, 10], ps=[1.0]).shape
    (2, 1)
    """
    grid = barcode_grid(points, ks, ps, landmarks, nu)
    return np.vectorize(lambda barcode: gap(barcode, loops, floor), otypes=[float])(grid)


def best(grid, ks, ps):
    """The filtration at which a `gap_grid` is largest: a pair (k, p).

    grid: (len(ks), len(ps)); NaN never wins, and infinity only where its bar is no matter how short, that is with a
    floor of 0, so choose from a grid that has one. Of equal cells the first in reading order wins: the smallest k,
    then the smallest p, where both ascend.
    Raises ValueError for another shape, or where every cell is NaN.
    """
    grid, ks, ps = np.asarray(grid, float), list(ks), list(ps)
    if grid.shape != (len(ks), len(ps)) or not grid.size:
        raise ValueError(f"grid must have shape ({len(ks)}, {len(ps)}), one for each k and p, not {grid.shape}")
    if np.isnan(grid).all():
        raise ValueError("grid holds nothing but NaN")
    i, j = np.unravel_index(np.nanargmax(grid), grid.shape)
    return ks[i], ps[j]


class Verdict(NamedTuple):
    """What `hold_out` returns: `grid` of the gaps that chose k and p; `core`, `barcode` and `gap` of the other cloud."""

    grid: np.ndarray
    k: int
    p: float
    core: np.ndarray
    barcode: dict
    gap: float


def hold_out(choosing, judging, ks, ps, landmarks=100, nu=1, loops=1, floor=0.05):
    """Choose the filtration on one cloud, and look at another one there: that of networks which had no say.

    The largest of many cells is large by chance, too; a cloud that did not choose it has no such advantage.

    choosing, judging: (n, d) and (m, d); the rest as for `gap_grid`, the ks for the n points.
    Returns a Verdict: grid, (len(ks), len(ps)) float64 gaps of `choosing`, its `best` k and p, and of `judging` at that
    p and k scaled to m points the core (floor(p*m), d), its barcode and its gap.
    Raises TypeError or ValueError as `gap_grid` does.
    """
    choosing, judging = as_points(choosing, "choosing"), as_points(judging, "judging")
    grid = gap_grid(choosing, ks, ps, landmarks, nu, loops, floor)
    k, p = best(grid, ks, ps)
    core = densest(judging, scaled_k(k, len(judging), len(choosing)), p)
    barcode = lazy_witness_barcode(core, min(landmarks, len(core)), nu)
    return Verdict(grid, k, p, core, barcode, gap(barcode, loops, floor))


# Draws of networks

def over_networks(clouds, statistic, draws=20, share=0.5, seed=0):
    """A statistic of the clouds of randomly drawn networks: how far it depends on which networks were trained.

    Every draw takes a share of the networks without replacement, with all their points. A bootstrap would draw with
    replacement: a network drawn twice puts each of its points on top of a copy, and the k-th neighbour then measures
    the copies. For a mean, halves of a population spread as much as the mean of the whole population is uncertain;
    other statistics of a half may also lie lower or higher than those of the whole. A statistic that filters by
    density should scale k with its points, as `scaled_k` does.

    clouds: (networks, n, d), or a list of (n, d) whose n may differ, a network each, two or more.
    statistic: function of one cloud (points, d), the networks' in ascending order, to a number or an array.
    draws: 1 or more; share: of the networks, above 0 and below 1, rounded to one network at least and to all but one
    at most; seed: int.
    Returns (draws, ...) float64.
    Raises TypeError or ValueError for arguments out of range, and what `statistic` raises.

    >>> clouds = np.random.default_rng(0).normal(size=(10, 50, 2))
    >>> over_networks(clouds, lambda points: points.mean(axis=0), draws=4).shape
    (4, 2)
    """
    clouds = [as_points(cloud, f"cloud {i}") for i, cloud in enumerate(clouds)]
    drawn = _drawn(len(clouds), draws, share, seed)
    return np.array([statistic(np.concatenate([clouds[i] for i in rows])) for rows in drawn], float)


def _drawn(networks, draws, share, seed):
    """Random shares of the networks: a list of sorted rows."""
    if networks < 2:
        raise ValueError(f"clouds must be those of two networks or more, not {networks}")
    check_whole(draws, "draws", 1)
    _check_number(share, "share", 0, "a share of the networks")
    if not 0 < share < 1:
        raise ValueError(f"share = {share} is outside (0, 1)")
    count = min(networks - 1, max(1, round(share * networks)))
    generator = np.random.default_rng(seed)
    return [np.sort(generator.choice(networks, count, replace=False)) for _ in range(draws)]


def hold_outs(clouds, ks, ps, landmarks=100, nu=1, loops=1, floor=0.05, draws=5, seed=0):
    """`hold_out` for random halves of the networks: one half of them chooses the filtration, the other is judged.

    clouds: a list of (n, d), a network each, two or more; ks: for all the points together; draws: 1 or more; the rest
    as for `hold_out`.
    Returns a list of `draws` Verdicts.
    Raises TypeError or ValueError as `over_networks` and `hold_out` do.
    """
    clouds = [as_points(cloud, f"cloud {i}") for i, cloud in enumerate(clouds)]
    total = sum(map(len, clouds))

    def judged(chosen):
        choosing, judging = (np.concatenate([clouds[i] for i in np.flatnonzero(rows)]) for rows in (chosen, ~chosen))
        scaled = [scaled_k(k, len(choosing), total) for k in ks]
        return hold_out(choosing, judging, scaled, ps, landmarks, nu, loops, floor)

    return [judged(np.isin(np.arange(len(clouds)), rows)) for rows in _drawn(len(clouds), draws, 0.5, seed)]


# Clusters

def density_peaks(points, k):
    """The peaks of a cloud's density, and how deep the valley is that divides each from a denser one.

    Zero-dimensional persistence of the density filtration (ToMATo: Chazal, Guibas, Oudot & Skraba 2013). Points
    enter densest first and join those of their k nearest neighbours, and those whose k nearest they are among, that
    are already there. A point that joins none is a new peak; one that joins several ends all of them but the densest.
    The depth of a peak is rho_k of the point that ends it over rho_k of its own, the factor by which distances grow
    from the peak to the pass: it changes neither with the scale of the cloud nor with a fraction p.

    points: (n, d), as `topo.filters.as_points` takes them; k: 1 <= k < n. Memory grows as n k.
    Returns rows (peaks,) int64 and depths (peaks,) float64, infinite for the densest point of each connected part,
    deepest first; equal depths densest first.
    Raises TypeError or ValueError for a k that is no whole number in that range, and as `as_points` does.
    """
    rho, _, depths = _climb(points, k, np.inf)
    peaks = np.flatnonzero(depths)
    peaks = peaks[np.lexsort((peaks, rho[peaks], -depths[peaks]))]
    return peaks, depths[peaks]


def density_clusters(points, k, depth=1.2):
    """The clusters of a cloud: its `density_peaks` whose depth is at least `depth`, with the points around each.

    A peak that is less deep belongs to the densest one which it meets first.

    points, k: as for `density_peaks`; depth: above 1. The peaks of untrained filters, which have none that mean
    anything, are up to 1.05 deep where k is 50 of 3,840 or more, and deeper for smaller k.
    Returns labels (n,) int64 and peaks (clusters,) int64: point i belongs to the cluster of the point
    `peaks[labels[i]]`. Clusters are numbered from the one with the most points; of equal ones that of the lower row is first.
    Raises TypeError or ValueError for arguments out of range, and as `density_peaks` does.
    """
    _check_number(depth, "depth", 1, "a factor")
    _, peak_of, _ = _climb(points, k, depth)
    peaks, labels, sizes = np.unique(peak_of, return_inverse=True, return_counts=True)
    by_size = np.argsort(-sizes, kind="stable")
    return np.argsort(by_size)[labels], peaks[by_size]


def _climb(points, k, least):
    """Let the points enter densest first, and end every peak that meets a denser one at a depth below `least`.

    Returns rho_k of the points (n,) float64, the peak that each ends up with (n,) int64, and the depths (n,) float64
    of the peaks: infinite for those that were not ended, 0 where a point is no peak.
    """
    points = as_points(points)
    check_whole(k, "k", 1, len(points) - 1, f"there are {len(points)} points, and none is its own neighbour")
    distances, nearest = cKDTree(points, leafsize=64).query(points, k + 1, workers=-1)
    starts = np.arange(0, nearest.size + 1, k + 1)
    joined = csr_matrix((np.ones(nearest.size, bool), nearest.ravel(), starts), shape=(len(points),) * 2)
    joined += joined.T  # among each other's k nearest, one way or the other
    rho = distances[:, -1].copy()
    return rho, *climb(rho, joined.indptr, joined.indices, least)
