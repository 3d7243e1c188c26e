"""How sure a shape is: loops over grids of filtrations, their spread over draws of networks, peaks of the density.

Knows point clouds and barcodes; must not know which network or layer a cloud comes from, nor how to draw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isinf
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from topo.checks import as_points, check_fraction, check_number, check_whole
from topo.density import densest, filtrations
from topo.filters import normalize
from topo.neighbors import merge_peaks
from topo.persistence import bar_lengths, lazy_witness_barcode, lazy_witness_cycles, maxmin_landmarks
from topo.types import Barcode, CloudsLike, Number, Points, PointsLike, Real, Row, Rows, Seed, Whole

PAPER_POINTS = 6400  # first-layer filters of a hundred networks of 64, which the paper's k = 200 is meant for


def scaled_k(k: Whole, n: Whole, reference: Whole = PAPER_POINTS) -> int:
    """The neighbour among n points that stands for the k-th among `reference`: the same share of the cloud.

    n is 2 or more, the others 1 or more. Returns a number from 1 to n - 1. Raises TypeError or ValueError for others.
    """
    check_whole(k, "k", 1)
    check_whole(n, "n", 2)
    check_whole(reference, "reference", 1)
    return int(min(n - 1, max(1, round(k * n / reference))))


# Loops


class Verdict(NamedTuple):
    """What `Loops.hold_out` returns.

    grid: the ratios of the cloud that chose the filtration, by k and p; k, p: the filtration that it chose.
    core, barcode, ratio: those of the other cloud at that filtration.
    """

    grid: Float64[np.ndarray, "ks ps"]
    k: Whole
    p: Number
    core: Points
    barcode: Barcode
    ratio: float


class Judged(NamedTuple):
    """One half of a cloud, at the filtration that the other half chose: what `Loops.judged` returns.

    k, p: the filtration, where k is for the whole cloud; loops: of the judged half; ratio: its ratio there.
    """

    k: Whole
    p: Number
    loops: int
    ratio: float


@dataclass(frozen=True)
class Loops:
    """How loops are measured: the one definition of a barcode, a ratio and a number of loops in the whole book.

    The ratio for m loops is the length of the m-th longest bar of dimension 1, divided by the length of the next bar,
    or by `floor` where the next bar is shorter or missing. The floor is needed because a few points may have one short
    bar and no other. With a floor of 0.05, a ratio of 3 asks for bars of 0.15, for points of norm 1; that is about as
    long as the longest bars of untrained filters.

    landmarks: how many the lazy witness complex has (section 2), 1 or more; a cloud of fewer points takes all of them.
    nu: as for `topo.persistence.lazy_witness_times`, or the number of landmarks where that is smaller.
    floor: the least length that a bar is compared with, in the unit of the points, 0 or more; 0 compares with the next
    bar only.
    least: the smallest ratio that counts as a loop, 1 or more; most: how many loops are counted at most, 1 or more.
    Raises TypeError or ValueError for a value out of range.

    >>> circle = np.stack([np.cos(np.arange(300)), np.sin(np.arange(300))], axis=1)
    >>> loops = Loops(landmarks=20)
    >>> loops.count(circle), loops.grid(circle, ks=[5, 10], ps=[1.0]).shape
    (1, (2, 1))
    """

    landmarks: Whole = 100
    nu: Whole = 1
    floor: Number = 0.05
    least: Number = 3.0
    most: Whole = 5

    def __post_init__(self) -> None:
        check_whole(self.landmarks, "landmarks", 1)
        check_whole(self.nu, "nu", 0)
        check_number(self.floor, "floor", 0, "a length")
        check_number(self.least, "least", 1, "a ratio")
        check_whole(self.most, "most", 1)

    def barcode(self, points: PointsLike, first: Whole = 0) -> Barcode:
        """Barcode of a cloud in dimensions 0 and 1: `topo.persistence.lazy_witness_barcode`, whose errors it raises.

        first: row of the first landmark, from which `topo.persistence.maxmin_landmarks` chooses the others.
        """
        return lazy_witness_barcode(points, *self._landmarks(points, first))

    def cycles(self, points: PointsLike, first: Whole = 0) -> list[Int64[np.ndarray, "_cycle"]]:
        """Where the loop of each bar of dimension 1 of `barcode` runs, as rows of the points along a cycle.

        `topo.persistence.lazy_witness_cycles` says which cycle, and raises the errors; first: as for `barcode`.
        """
        return lazy_witness_cycles(points, *self._landmarks(points, first))

    def _landmarks(self, points: PointsLike, first: Whole) -> tuple[Int64[np.ndarray, "landmarks"], Whole]:
        landmarks = min(self.landmarks, len(points))
        return maxmin_landmarks(points, landmarks, first), min(self.nu, landmarks)

    def _bars(self, cloud: PointsLike | Barcode) -> Barcode:
        return cloud if isinstance(cloud, dict) else self.barcode(cloud)

    def ratio(self, cloud: PointsLike | Barcode, loops: Whole = 1) -> float:
        """How much longer the `loops`-th longest bar of dimension 1 is than the next one, or than the floor.

        cloud: points, or their barcode; loops: 1 or more.
        Returns a number without unit: 0 where there are fewer than `loops` bars, 1 where both bars never die, infinity
        where only the longer never dies or, with a floor of 0, there is no next bar.
        Raises TypeError or ValueError for another `loops`, and as `barcode` does.
        """
        check_whole(loops, "loops", 1)
        lengths = bar_lengths(self._bars(cloud), 1)
        if len(lengths) < loops:
            return 0.0
        following = max(lengths[loops] if len(lengths) > loops else 0.0, self.floor)
        if isinf(following):
            return 1.0  # both never die
        return float(lengths[loops - 1] / following) if following else inf

    def clearest(self, cloud: PointsLike | Barcode) -> tuple[int, float]:
        """The number of loops, from 1 to `most`, whose ratio is largest, and that ratio.

        Of several numbers with the same ratio it is the smallest. cloud, errors: as for `ratio`.
        """
        bars = self._bars(cloud)
        ratios = [self.ratio(bars, loops) for loops in range(1, self.most + 1)]
        return ratios.index(max(ratios)) + 1, max(ratios)

    def count(self, cloud: PointsLike | Barcode) -> int:
        """How many loops a cloud has: the number whose ratio is largest, and 0 where that ratio is below `least`.

        cloud, errors: as for `ratio`.

        >>> Loops().count({1: np.array([[0.0, 0.45], [0.0, 0.39], [0.0, 0.36], [0.0, 0.03]])})
        3
        """
        loops, ratio = self.clearest(cloud)
        return loops if ratio >= self.least else 0

    def longest(self, cloud: PointsLike | Barcode) -> tuple[float, float]:
        """Birth and length of the longest bar of dimension 1, in the unit of the points, or (inf, 0.0) without a bar.

        cloud, errors: as for `ratio`.
        """
        bars = self._bars(cloud)[1]
        return (float(bars[0, 0]), float(bars[0, 1] - bars[0, 0])) if len(bars) else (inf, 0.0)

    def barcodes(self, points: PointsLike, ks: Sequence[Whole], ps: Sequence[Number]) -> Shaped[np.ndarray, "ks ps"]:
        """Barcodes of the density filtrations rho(k, p) of one cloud, for every k and p: an array of objects.

        ks, ps: as `topo.density.filtrations` takes them. Raises as that and `barcode` do.
        """
        points, grid = as_points(points), np.empty((len(ks), len(ps)), object)
        for i, j, rows in filtrations(points, ks, ps):
            grid[i, j] = self.barcode(points[rows])
        return grid

    def grid(
        self, points: PointsLike, ks: Sequence[Whole], ps: Sequence[Number], loops: Whole = 1
    ) -> Float64[np.ndarray, "ks ps"]:
        """`ratio` of every filtration of a grid. Arguments and errors as in `barcodes`; loops: as for `ratio`."""
        bars = self.barcodes(points, ks, ps)
        return np.vectorize(lambda each: self.ratio(each, loops), otypes=[float])(bars)

    def counts(self, points: PointsLike, ks: Sequence[Whole], ps: Sequence[Number]) -> Int64[np.ndarray, "ks ps"]:
        """`count` of every filtration of a grid. Arguments and errors as in `barcodes`."""
        return np.vectorize(self.count, otypes=[int])(self.barcodes(points, ks, ps))

    def hold_out(
        self,
        choosing: PointsLike,
        judging: Real[np.ndarray, "others dim"] | Sequence[Row],
        ks: Sequence[Whole],
        ps: Sequence[Number],
        loops: Whole = 1,
    ) -> Verdict:
        """Choose the filtration on the cloud of some networks, and judge the cloud of others at that filtration.

        The largest of many ratios is large by chance, too. A cloud that did not choose the filtration has no such
        advantage.

        choosing, judging: the two clouds; ks, ps: the grid to choose from, where the ks are for `choosing` and the one
        chosen is scaled to `judging` by `scaled_k`; loops: as for `ratio`.
        Raises TypeError or ValueError as `barcodes` and `ratio` do.
        """
        choosing, judging = as_points(choosing, "choosing"), as_points(judging, "judging")
        grid = self.grid(choosing, ks, ps, loops)
        k, p = best(grid, ks, ps)
        core = densest(judging, scaled_k(k, len(judging), len(choosing)), p)
        bars = self.barcode(core)
        return Verdict(grid, k, p, core, bars, self.ratio(bars, loops))

    def hold_outs(
        self,
        clouds: CloudsLike,
        ks: Sequence[Whole],
        ps: Sequence[Number],
        loops: Whole = 1,
        draws: Whole = 5,
        seed: Seed = 0,
    ) -> list[Verdict]:
        """`hold_out` for random halves of the networks: one half chooses the filtration, the other half is judged.

        clouds: one for each network, two or more; ks: for all the points together, scaled to each half by `scaled_k`;
        draws: how many times the networks are halved, 1 or more; seed: of the draws; the rest as for `hold_out`.
        Returns a verdict for each draw. Raises TypeError or ValueError as `over_networks` and `hold_out` do.
        """
        clouds = [as_points(cloud, f"cloud {i}") for i, cloud in enumerate(clouds)]
        total = sum(map(len, clouds))

        def judged(chosen: Bool[np.ndarray, "networks"]) -> Verdict:
            halves = np.flatnonzero(chosen), np.flatnonzero(~chosen)
            choosing, judging = (np.concatenate([clouds[i] for i in half]) for half in halves)
            scaled = [scaled_k(k, len(choosing), total) for k in ks]
            return self.hold_out(choosing, judging, scaled, ps, loops)

        return [judged(np.isin(np.arange(len(clouds)), rows)) for rows in _drawn(len(clouds), draws, 0.5, seed)]

    def halves(
        self, points: PointsLike, ks: Sequence[Whole], ps: Sequence[Number], draws: Whole = 2, seed: Seed = 0
    ) -> Shaped[np.ndarray, "draws 2 ks ps"]:
        """`barcodes` of random halves of one cloud, for `judged`: an array of objects.

        ks: for the whole cloud, scaled to a half by `scaled_k`; draws: how many times the cloud is halved, 1 or more
        (of an odd number of points one is left out); seed: of the draws; the rest, and the errors, as for `barcodes`.
        """
        points = as_points(points)
        check_whole(draws, "draws", 1)
        half, generator = len(points) // 2, np.random.default_rng(seed)
        scaled = [scaled_k(k, half, len(points)) for k in ks]
        orders = [generator.permutation(len(points)) for _ in range(draws)]
        grids = np.empty((draws, 2, len(ks), len(ps)), object)
        for i, order in enumerate(orders):
            grids[i] = [self.barcodes(points[rows], scaled, ps) for rows in (order[:half], order[half : 2 * half])]
        return grids

    def judged(
        self,
        halves: Shaped[np.ndarray, "_draws 2 ks ps"],
        ks: Sequence[Whole],
        ps: Sequence[Number],
        loops: Whole | None = None,
    ) -> list[Judged]:
        """Let every half choose the filtration with its largest ratio, and judge the other half there.

        The choice does not look at which loops there are, and, where `loops` is None, not at how many.

        halves: of `halves`, with the same ks and ps; loops: the ratio is that of `ratio`, or of `clearest` where None.
        Returns two for each draw: the second half judged by the choice of the first, then the first by the second.
        Raises TypeError or ValueError as `ratio` and `best` do.
        """

        def measure(bars: Barcode) -> float:
            return self.clearest(bars)[1] if loops is None else self.ratio(bars, loops)

        ks, ps, found = list(ks), list(ps), []
        for pair in halves:
            ratios = [np.vectorize(measure, otypes=[float])(grid) for grid in pair]
            for mine, other in ((0, 1), (1, 0)):
                k, p = best(ratios[mine], ks, ps)
                at = ks.index(k), ps.index(p)
                found.append(Judged(k, p, self.count(pair[other][at]), float(ratios[other][at])))
        return found


STANDARD = Loops()


def best(
    grid: Real[np.ndarray, "ks ps"] | Sequence[Row], ks: Sequence[Whole], ps: Sequence[Number]
) -> tuple[Whole, Number]:
    """The filtration at which a grid of ratios is largest: a pair (k, p).

    grid: a ratio for each k and p; NaN is ignored. With a floor of 0 a lone bar of any length has an infinite ratio
    and wins; use a floor above 0 to choose from a grid. Of equal ratios the first in reading order wins: that of the
    smallest k, then of the smallest p, where both ascend.
    Raises ValueError for another shape, or where every ratio is NaN.
    """
    grid, ks, ps = np.asarray(grid, float), list(ks), list(ps)
    if grid.shape != (len(ks), len(ps)) or not grid.size:
        raise ValueError(f"grid must have shape ({len(ks)}, {len(ps)}), one for each k and p, not {grid.shape}")
    if np.isnan(grid).all():
        raise ValueError("grid holds nothing but NaN")
    i, j = np.unravel_index(np.nanargmax(grid), grid.shape)
    return ks[i], ps[j]


# Draws of networks


def over_networks(
    clouds: CloudsLike,
    statistic: Callable[[Points], Any],
    draws: Whole = 20,
    share: Number = 0.5,
    seed: Seed = 0,
) -> Float64[np.ndarray, "draws *values"]:
    """A statistic of the clouds of randomly drawn networks: how far it depends on which networks were trained.

    Every draw takes a share of the networks without replacement, with all their points. A bootstrap would draw with
    replacement: a network drawn twice puts each of its points on top of a copy, and the k-th neighbour then measures
    the copies. Means of halves of a population spread as much as the mean of the whole population is uncertain. Other
    statistics of a half may also lie lower or higher than those of the whole. A statistic that filters by
    density should scale k with its points, as `scaled_k` does.

    clouds: one for each network, two or more, which may differ in their number of points.
    statistic: a function of one cloud, the points of the drawn networks in ascending order of the networks, to a number
    or an array.
    draws: 1 or more; share: of the networks, above 0 and below 1, rounded to one network at least and to all but one
    at most; seed: of the draws.
    Returns the statistic of each draw.
    Raises TypeError or ValueError for arguments out of range, and what `statistic` raises.

    >>> clouds = np.random.default_rng(0).normal(size=(10, 50, 2))
    >>> over_networks(clouds, lambda points: points.mean(axis=0), draws=4).shape
    (4, 2)
    """
    clouds = [as_points(cloud, f"cloud {i}") for i, cloud in enumerate(clouds)]
    drawn = _drawn(len(clouds), draws, share, seed)
    return np.array([statistic(np.concatenate([clouds[i] for i in rows])) for rows in drawn], float)


def _drawn(networks: int, draws: Whole, share: Number, seed: Seed) -> list[Int64[np.ndarray, "drawn"]]:
    """Random shares of the networks: the numbers of those drawn, ascending, for each draw."""
    if networks < 2:
        raise ValueError(f"clouds must be those of two networks or more, not {networks}")
    check_whole(draws, "draws", 1)
    check_fraction(share, "share", whole=False)
    count = min(networks - 1, max(1, round(share * networks)))
    generator = np.random.default_rng(seed)
    return [np.sort(generator.choice(networks, count, replace=False)) for _ in range(draws)]


# Clusters


def density_peaks(points: PointsLike, k: Whole) -> tuple[Int64[np.ndarray, "peaks"], Float64[np.ndarray, "peaks"]]:
    """The peaks of a cloud's density, and how deep the valley is that divides each from a denser one.

    This is zero-dimensional persistence of the density filtration (ToMATo: Chazal, Guibas, Oudot & Skraba 2013). Points
    enter densest first. Two points are joined where one is among the k nearest neighbours of the other. A point that is
    joined to none of those that entered before is a new peak; a point that is joined to several peaks ends all of them
    but the densest. The depth of a peak is rho_k of the point that ends it over rho_k of the peak, the factor by which
    distances grow from the peak to the pass: it changes neither with the scale of the cloud nor with a fraction p.

    points: n of them, as `topo.checks.as_points` takes them; k: 1 <= k < n. Memory grows as n k.
    Returns the rows of the peaks and their depths, deepest first, and of equal depths densest first. The depth of the
    densest point of each connected part is infinite.
    Raises TypeError or ValueError for a k that is no whole number in that range, and as `as_points` does.
    """
    rho, _, depths = _merged_peaks(points, k, np.inf)
    peaks = np.flatnonzero(depths)
    peaks = peaks[np.lexsort((peaks, rho[peaks], -depths[peaks]))]
    return peaks, depths[peaks]


def density_clusters(
    points: PointsLike, k: Whole, depth: Number = 1.2
) -> tuple[Int64[np.ndarray, "points"], Int64[np.ndarray, "clusters"]]:
    """The clusters of a cloud: its `density_peaks` whose depth is at least `depth`, with the points around each.

    The points of a peak that is less deep belong to the densest of the peaks which it meets first.

    points, k: as for `density_peaks`; depth: 1 or more. The peaks of untrained filters mean nothing; they are up to
    1.05 deep where k is 50 of 3,840 points or more, and deeper for smaller k.
    Returns labels and peaks: point i belongs to the cluster of the point `peaks[labels[i]]`. Clusters are numbered
    from the one with the most points; of clusters with as many points, the one whose peak has the lower row is first.
    Raises TypeError or ValueError for arguments out of range, and as `density_peaks` does.
    """
    check_number(depth, "depth", 1, "a factor")
    _, peak_of, _ = _merged_peaks(points, k, depth)
    peaks, labels, sizes = np.unique(peak_of, return_inverse=True, return_counts=True)
    by_size = np.argsort(-sizes, kind="stable")
    return np.argsort(by_size)[labels], peaks[by_size]


def peak_means(points: PointsLike, peaks: Rows, k: Whole) -> Float[np.ndarray, "peaks dim"]:
    """The mean filter at each peak of a density: of the point and its k nearest, centred and normalised.

    points: n of them, centred and of unit norm; peaks: rows of `points`; k: 1 <= k < n.
    A mean without contrast is left out, as by `topo.filters.normalize`.
    Raises TypeError or ValueError for another k, and as `topo.checks.as_points` does.
    """
    points = as_points(points)
    check_whole(k, "k", 1, len(points) - 1, f"there are {len(points)} points, and none is its own neighbour")
    nearest = cKDTree(points).query(points[np.asarray(peaks)], k + 1, workers=-1)[1]
    return normalize(points[nearest].mean(axis=1))


def _merged_peaks(
    points: PointsLike, k: Whole, least: Number
) -> tuple[Float64[np.ndarray, "points"], Int64[np.ndarray, "points"], Float64[np.ndarray, "points"]]:
    """Let the points enter densest first, and end every peak that meets a denser one at a depth below `least`.

    Returns rho_k of the points, the peak that each belongs to in the end, and the depths of the peaks: infinite for
    those that were not ended, 0 where a point is no peak.
    """
    points = as_points(points)
    check_whole(k, "k", 1, len(points) - 1, f"there are {len(points)} points, and none is its own neighbour")
    distances, nearest = cKDTree(points, leafsize=64).query(points, k + 1, workers=-1)
    starts = np.arange(0, nearest.size + 1, k + 1)
    joined = csr_matrix((np.ones(nearest.size, bool), nearest.ravel(), starts), shape=(len(points),) * 2)
    joined += joined.T  # where either is among the k nearest of the other
    rho = distances[:, -1].copy()
    return rho, *merge_peaks(rho, joined.indptr, joined.indices, least)
