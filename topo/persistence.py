"""Persistent homology of point clouds: max-min landmarks, the lazy witness filtration of JavaPlex, barcodes.

Knows points and distances; must not know what they stand for, nor judge which bars are significant.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
from gph import ripser_parallel
from gtda.homology import VietorisRipsPersistence
from jaxtyping import Float, Float64, Int64, Integer
from numba import config
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, TransformerMixin

from topo.checks import as_points, check_whole
from topo.compiled import approach, witness
from topo.machine import threads
from topo.types import Barcode, CloudsLike, Points, PointsLike, Rows, Whole

_BLOCK = 1024  # witnesses at a time: their distances to 100 landmarks fit in the cache


def _check_landmarks(landmarks: Rows, n: int) -> Integer[np.ndarray, "landmarks"]:
    landmarks = np.asarray(landmarks)
    if landmarks.dtype.kind not in "iu":
        raise TypeError(f"landmarks must be row indices of points, not an array of {landmarks.dtype}")
    if landmarks.ndim != 1 or not len(landmarks):
        raise ValueError(f"landmarks must have shape (L,) with L >= 1, not {landmarks.shape}")
    if landmarks.min() < 0 or landmarks.max() >= n:
        raise ValueError(f"landmarks lie in {landmarks.min()}..{landmarks.max()}, outside 0..{n - 1} for {n} points")
    values, counts = np.unique(landmarks, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"landmark {values[counts.argmax()]} occurs {counts.max()} times: landmarks must be distinct")
    return landmarks


def maxmin_landmarks(points: PointsLike, n_landmarks: Whole, first: Whole = 0) -> Int64[np.ndarray, "landmarks"]:
    """Landmarks chosen greedily, each as far as can be from those before it (JavaPlex's MaxMinLandmarkSelector).

    On ties the lowest row is taken. No row is taken twice; a point that coincides with a landmark is taken only when
    all others are.

    points: n of them, as `topo.checks.as_points` takes them; n_landmarks: 1..n; first: row of the first landmark.
    Returns rows of `points`, in the order chosen.
    Raises TypeError or ValueError for a number outside its range, and as `as_points` does.
    """
    points = as_points(points).astype(np.float64, copy=False)
    n = len(points)
    check_whole(n_landmarks, "n_landmarks", 1, n, f"there are {n} points")
    check_whole(first, "first", 0, n - 1, f"there are {n} points")
    landmarks = np.empty(n_landmarks, np.int64)
    landmarks[0] = first
    columns = np.ascontiguousarray(points.T)
    nearest = np.full(n, np.inf)  # squared distance to the landmarks so far
    for i in range(1, n_landmarks):
        approach(columns, landmarks[i - 1], nearest)
        nearest[landmarks[i - 1]] = -1  # below every distance: never chosen again
        landmarks[i] = nearest.argmax()
    return landmarks


def lazy_witness_times(
    points: PointsLike, landmarks: Rows, nu: Whole = 1
) -> Float64[np.ndarray, "landmarks landmarks"]:
    """The parameter at which each edge of the lazy witness filtration appears (de Silva & Carlsson 2004, section 2.3).

    With D(l, z) the distance from landmark l to witness z, and m(z) the nu-th smallest entry of D(., z), or 0
    for nu = 0, edge {a, b} appears at the minimum over all points z of max(0, max(D(a, z), D(b, z)) - m(z)).
    Vertices appear at 0. The points are taken in blocks, so that memory beyond that of the points themselves does not
    grow with their number.

    points: as `topo.checks.as_points` takes them; landmarks: L distinct rows of `points`; nu: 0..L.
    Returns a symmetric matrix in the unit of the points, with zeros on the diagonal.
    Raises TypeError or ValueError for other landmarks or another nu, and as `as_points` does.
    """
    points = as_points(points)
    landmarks = _check_landmarks(landmarks, len(points))
    check_whole(nu, "nu", 0, len(landmarks), f"there are {len(landmarks)} landmarks")
    held = points[landmarks]
    shares = min(config.NUMBA_NUM_THREADS, -(-len(points) // _BLOCK))
    of_share = lambda first: _witnessed(points[first::shares], held, nu)
    times = np.minimum.reduce(list(threads(config.NUMBA_NUM_THREADS).map(of_share, range(shares))))
    times = np.maximum(np.triu(times, 1), 0)
    return times + times.T


def _witnessed(
    witnesses: Points, landmarks: Float[np.ndarray, "landmarks dim"], nu: Whole
) -> Float64[np.ndarray, "landmarks landmarks"]:
    """Edge times that some of the witnesses give, above the diagonal and not yet cut off at 0."""
    times = np.full((len(landmarks),) * 2, np.inf)
    for start in range(0, len(witnesses), _BLOCK):
        excess = cdist(witnesses[start : start + _BLOCK], landmarks)
        if nu:  # max(D(a) - m, D(b) - m) is max(D(a), D(b)) - m
            excess -= np.partition(excess, nu - 1, axis=1)[:, nu - 1 : nu]
        witness(excess, times)
    return times


def lazy_witness_barcode(
    points: PointsLike, landmarks: Whole | Rows, nu: Whole = 1, max_dimension: Whole = 1, n_threads: int = 1
) -> Barcode:
    """Barcode of the lazy witness filtration over Z/2 (sections 2 and 5), computed by giotto-ph.

    giotto-ph works in float32. It is given the ranks of the edge times, whole numbers that float32 holds exactly
    (up to 5,793 landmarks), and its bars are translated back: the bars are those of the float64 times.

    points, nu: as for `lazy_witness_times`; landmarks: likewise, or how many `maxmin_landmarks` shall choose;
    max_dimension: 0 or more, highest homology dimension; n_threads: threads of giotto-ph.
    Returns the bars of each dimension: birth and death in the unit of the points, inf where the bar never dies, longest
    first. Bars of zero length are left out.
    Raises TypeError or ValueError for a number outside its range, and as `lazy_witness_times` does.
    """
    check_whole(max_dimension, "max_dimension", 0)
    rows = _chosen(points, landmarks)
    times, ranks = np.unique(lazy_witness_times(points, rows, nu), return_inverse=True)
    ranks = ranks.reshape(len(rows), -1)
    diagrams = ripser_parallel(ranks, maxdim=max_dimension, metric="precomputed", n_threads=n_threads)["dgms"]
    return {dimension: _sorted_bars(_bars(diagram, times)) for dimension, diagram in enumerate(diagrams)}


def lazy_witness_cycles(
    points: PointsLike, landmarks: Whole | Rows, nu: Whole = 1, n_threads: int = 1
) -> list[Int64[np.ndarray, "_cycle"]]:
    """A cycle of landmarks for each bar of dimension 1: where its loop runs.

    A bar is born when an edge closes a cycle. The cycle given is the shortest one, by the distances between its
    landmarks, of that edge and of edges that came before it. It is not filled before its bar ends. It may be filled
    later, as the edges before may have taken it around another hole, too.
    Edges of the same time come one after the other here, those between earlier landmarks first.

    Arguments and errors as for `lazy_witness_barcode`.
    Returns, in the order of that function's bars of dimension 1, rows of `points` along the cycle; the last of them is
    joined to the first.
    """
    points = as_points(points)
    rows = np.asarray(_chosen(points, landmarks))
    times = lazy_witness_times(points, rows, nu)
    low, high = np.triu_indices(len(rows), 1)
    order = np.argsort(times[low, high], kind="stable")
    low, high = low[order], high[order]  # of the edges, as they come
    ranks = np.zeros(times.shape, np.int64)
    ranks[low, high] = ranks[high, low] = np.arange(1, len(order) + 1)
    diagram = ripser_parallel(ranks, maxdim=1, metric="precomputed", n_threads=n_threads)["dgms"][1]
    bars = _bars(diagram, np.append(0, times[low, high]))
    lengths = np.linalg.norm(points[rows[low]] - points[rows[high]], axis=1)
    cycles = []
    for born in diagram[_lasting(bars), 0].astype(int) - 1:
        before = csr_array((lengths[:born], (low[:born], high[:born])), times.shape)
        came_from = dijkstra(before, directed=False, indices=low[born], return_predecessors=True)[1]
        cycle = [high[born]]
        while cycle[-1] != low[born]:
            cycle.append(came_from[cycle[-1]])
        cycles.append(rows[cycle].astype(np.int64))
    return cycles


def _chosen(points: PointsLike, landmarks: Whole | Rows) -> Rows:
    """Rows of landmarks as they are given, or as many as are asked for."""
    several = np.asarray(landmarks).ndim > 0
    return cast(Rows, landmarks) if several else maxmin_landmarks(points, cast(Whole, landmarks))


def _bars(diagram: Float[np.ndarray, "bars 2"], times: Float64[np.ndarray, "times"]) -> Float64[np.ndarray, "bars 2"]:
    finite = np.isfinite(diagram)
    return np.where(finite, times[np.where(finite, diagram, 0).astype(int)], np.inf)


def _sorted_bars(bars: Float64[np.ndarray, "bars 2"]) -> Float64[np.ndarray, "kept 2"]:
    return bars[_lasting(bars)]


def _lasting(bars: Float64[np.ndarray, "bars 2"]) -> Int64[np.ndarray, "kept"]:
    """Which bars have a length, the longest first."""
    kept = np.flatnonzero(bars[:, 1] > bars[:, 0])
    births, deaths = bars[kept].T
    return kept[np.lexsort((births, births - deaths))]


class LazyWitnessPersistence(BaseEstimator, TransformerMixin):
    """Point clouds to lazy witness persistence diagrams, with the conventions of giotto-tda's VietorisRipsPersistence.

    A diagram has rows (birth, death, dimension); clouds with fewer bars than others are padded with rows whose
    birth and death are equal. Times are rounded to float32, as everywhere in giotto-tda; `lazy_witness_barcode`
    is exact.

    n_landmarks, first: as for `maxmin_landmarks`, for each cloud by itself; nu: as for `lazy_witness_times`;
    homology_dimensions: which to compute; reduced_homology: leave out the bar of dimension 0 that never dies;
    n_jobs: clouds reduced at the same time, as in joblib.

    >>> clouds = np.random.default_rng(0).normal(size=(2, 50, 3))
    >>> LazyWitnessPersistence(n_landmarks=20).fit_transform(clouds).shape[::2]
    (2, 3)
    """

    def __init__(
        self,
        n_landmarks: Whole = 100,
        nu: Whole = 1,
        homology_dimensions: Sequence[int] = (0, 1),
        first: Whole = 0,
        reduced_homology: bool = True,
        n_jobs: int | None = None,
    ) -> None:
        self.n_landmarks = n_landmarks
        self.nu = nu
        self.homology_dimensions = homology_dimensions
        self.first = first
        self.reduced_homology = reduced_homology
        self.n_jobs = n_jobs

    def _edge_times(self, cloud: PointsLike) -> Float64[np.ndarray, "landmarks landmarks"]:
        return lazy_witness_times(cloud, maxmin_landmarks(cloud, self.n_landmarks, self.first), self.nu)

    def fit(self, X: CloudsLike, y: object = None) -> "LazyWitnessPersistence":
        """Nothing is learned. X: clouds, which may differ in their number of points; y is ignored."""
        return self

    def transform(self, X: CloudsLike, y: object = None) -> Float[np.ndarray, "clouds bars 3"]:
        """The diagrams of the clouds X. Raises TypeError or ValueError as the functions it is made of."""
        rips = VietorisRipsPersistence(
            metric="precomputed",
            homology_dimensions=self.homology_dimensions,
            reduced_homology=self.reduced_homology,
            n_jobs=self.n_jobs,
        )
        return rips.fit_transform([self._edge_times(cloud) for cloud in X])


def bar_lengths(barcode: Barcode, dimension: Whole) -> Float[np.ndarray, "bars"]:
    """Lengths of the bars of one dimension, longest first; inf for a bar that never dies.

    barcode: as `lazy_witness_barcode` returns it; dimension: one of its keys.
    Raises ValueError for a dimension that was not computed.
    """
    if dimension not in barcode:
        raise ValueError(f"dimension {dimension!r} is not in the barcode, which has {sorted(barcode)}")
    bars = barcode[int(dimension)]
    return np.sort(bars[:, 1] - bars[:, 0])[::-1]
