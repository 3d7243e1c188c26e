"""Mapper as the paper uses it: lenses, bins, clusters in every bin, their nerve; or all as a giotto-tda pipeline.

Knows point clouds and graphs of overlapping sets; must not know what the points stand for, nor how to draw a graph.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from math import ceil, inf
from typing import TYPE_CHECKING, Any

import numpy as np
from igraph import Graph
from jaxtyping import Float64
from scipy.sparse import csc_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.base import BaseEstimator, TransformerMixin

from topo.checks import as_points, check_number, check_whole
from topo.neighbors import chains, spanning_tree_lengths
from topo.nerve import (
    RefinedCover,
    SparseNerve,
    betti_numbers,
    graph_loops,
    graph_summary,
    largest_component,
    node_means,
    node_sizes,
)
from topo.types import Number, Points, PointsLike, Real, Whole

if TYPE_CHECKING:
    from gtda.mapper.pipeline import MapperPipeline  # takes a second to import, which only `mapper_pipeline` needs

__all__ = [
    "IntervalCover", "Lens", "SingleLinkage", "VarianceNormalizer", "check_settings", "isomap_lens",
    "linkage_threshold", "mapper_graph", "mapper_pipeline", "merge_heights", "spectral_lens",
    # these live in nerve
    "RefinedCover", "SparseNerve", "betti_numbers", "graph_loops", "graph_summary", "largest_component", "node_means",
    "node_sizes",
]  # fmt: skip

COVERS = "uniform", "balanced"
METRICS = "vne", "euclidean"

Values = Real[np.ndarray, "points"] | Real[np.ndarray, "points lenses"] | Sequence[Any]
LensLike = str | Callable[[Points], Values] | Values  # "pca", a function of the points, or values


def mapper_graph(
    points: PointsLike,
    resolution: Whole = 30,
    gain: Number = 3,
    *,
    lens: LensLike = "pca",
    cover: str = "uniform",
    metric: str = "vne",
    threshold: Number | None = None,
) -> Graph:
    """The Mapper graph of a point cloud, Mapper(resolution, gain) in the paper's notation (section 3).

    A node is a cluster of the points in one bin; an edge joins clusters that share points. The lenses are functions of
    the points as they are; distances between points are those of `metric`.

    points: two or more, as `topo.checks.as_points` takes them.
    resolution, gain: how the range of each lens is cut into overlapping bins, see `IntervalCover`.
    lens: "pca" for the first two principal components, or what `Lens` takes.
    cover: "uniform", bins of equal width, or "balanced", of equal count.
    metric: "vne", the variance-normalised Euclidean metric of the paper, or "euclidean".
    threshold: distance, in the metric, up to which points of a bin are joined; `linkage_threshold` where None.
    Returns a graph with giotto-tda's attributes: of vertices "pullback_set_label" (the bin, int),
    "partial_cluster_label" (the cluster in the bin, int) and "node_elements" (rows of its points, an ascending int64
    array); of edges "weight" (the number of points shared, int).
    Raises TypeError or ValueError for an argument out of range, and as `Lens`, `IntervalCover`, `VarianceNormalizer`
    and `topo.checks.as_points` do.
    """
    view, bins, scale, clusters, nerve = _steps(resolution, gain, lens, cover, metric, threshold)
    points = _as_cloud(points)
    membership = bins.fit_transform(view.fit_transform(points))
    return nerve.fit_transform(clusters.fit_transform([scale.fit_transform(points), membership]))


def mapper_pipeline(
    resolution: Whole = 30,
    gain: Number = 3,
    *,
    lens: LensLike = "pca",
    cover: str = "uniform",
    metric: str = "vne",
    threshold: Number | None = None,
) -> "MapperPipeline":
    """The steps of `mapper_graph` as a gtda.mapper.MapperPipeline, for giotto-tda's plots and `set_params`.

    Arguments and errors as in `mapper_graph`; `fit_transform(points)` gives its graph. Steps of giotto-tda can take
    the place of those before the clusters: `set_params(filter_func=..., cover=CubicalCover(...))`.
    """
    from gtda.mapper import make_mapper_pipeline

    view, bins, scale, clusters, nerve = _steps(resolution, gain, lens, cover, metric, threshold)
    pipeline = make_mapper_pipeline(filter_func=view, cover=bins, clustering_preprocessing=scale)
    return pipeline.set_params(clustering=clusters, nerve=nerve)


def _steps(
    resolution: Whole, gain: Number, lens: LensLike, cover: str, metric: str, threshold: Number | None
) -> "tuple[Lens, IntervalCover, VarianceNormalizer | _Unscaled, SingleLinkage, SparseNerve]":
    check_settings(resolution, gain, lens, cover, metric, threshold)
    scale = VarianceNormalizer() if metric == "vne" else _Unscaled()
    return Lens(lens), IntervalCover(resolution, gain, cover), scale, SingleLinkage(threshold), SparseNerve()


def check_settings(
    resolution: Whole, gain: Number, lens: LensLike, cover: str, metric: str, threshold: Number | None
) -> None:
    """Raise TypeError or ValueError for a setting that `mapper_graph` does not take, whatever the points are."""
    _check_cover(resolution, gain, cover)
    _check_lens(lens)
    _check_choice(metric, "metric", METRICS)
    _check_threshold(threshold)


def _as_cloud(points: PointsLike) -> Float64[np.ndarray, "points dim"]:
    points = as_points(points).astype(np.float64, copy=False)
    if len(points) < 2:
        raise ValueError("points must be 2 or more: a cloud of one point has neither variance nor distances")
    return points


def _check_choice(value: object, name: str, allowed: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} = {value!r} must be one of {', '.join(map(repr, allowed))}")


def _check_cover(resolution: Whole, gain: Number, kind: str) -> None:
    check_whole(resolution, "resolution", 1)
    check_number(gain, "gain")
    if not 1 < gain <= resolution:
        raise ValueError(f"gain = {gain} must be above 1, for bins to overlap, and at most resolution = {resolution}")
    _check_choice(kind, "cover", COVERS)


def _check_threshold(threshold: Number | None) -> None:
    if threshold is None:
        return
    check_number(threshold, "threshold", 0, "None or a distance")


def _check_lens(lens: LensLike) -> None:
    if isinstance(lens, str) and lens != "pca":
        raise ValueError(f"lens = {lens!r} must be 'pca', a function of the points or an array of values")


class VarianceNormalizer(BaseEstimator, TransformerMixin):
    """Divide every column by its variance: Euclidean distances become the paper's VNE metric (section 3).

    The divisor is the variance, not the standard deviation: a column that is c times as large comes out as 1/c of it.
    After `fit`: variance_, the mean squared deviation of each column from its mean.
    """

    variance_: Float64[np.ndarray, "dim"]

    def fit(self, points: PointsLike, y: object = None) -> "VarianceNormalizer":
        """Take the variances of two points or more.

        Raises ValueError where a column is constant, or nearly so: where its range is a millionth of the largest
        coordinate or less, so that dividing by its variance would blow up rounding errors.
        """
        points = _as_cloud(points)
        constant = np.flatnonzero(np.ptp(points, axis=0) <= 1e-6 * np.abs(points).max())
        if len(constant):
            raise ValueError(
                f"points have constant columns, {constant.tolist()} of 0..{points.shape[1] - 1}, and the VNE metric "
                f"divides by the variance: drop them, or use metric='euclidean'"
            )
        self.variance_ = points.var(axis=0)
        return self

    def transform(self, points: PointsLike) -> Float64[np.ndarray, "points dim"]:
        """The points, every column divided by its variance. Raises as `topo.checks.as_points` does."""
        return as_points(points) / self.variance_


class _Unscaled(BaseEstimator, TransformerMixin):
    def fit(self, points: PointsLike, y: object = None) -> "_Unscaled":
        return self

    def transform(self, points: PointsLike) -> Points:
        return as_points(points)


class Lens(BaseEstimator, TransformerMixin):
    """One, two or three real functions on the points, by which they are put into bins (section 3).

    lens: "pca" for the coordinates along the first two principal axes; a function of all the points to one, two or
    three values for each; or the values themselves, for the points in the order they come.
    A principal axis points so that its first large loading, at least half the largest, is positive: the sign does
    not change with rounding.
    After `fit` with "pca": mean_ and components_, the mean of the points and the two axes.
    """

    mean_: Float64[np.ndarray, "dim"]
    components_: Float64[np.ndarray, "2 dim"]

    def __init__(self, lens: LensLike = "pca") -> None:
        self.lens = lens

    def fit(self, points: PointsLike, y: object = None) -> "Lens":
        """Find the principal axes of two points or more.

        Raises ValueError where "pca" finds the points on a line, for another text, and for one point.
        """
        _check_lens(self.lens)
        points = _as_cloud(points)
        if isinstance(self.lens, str):
            self.mean_ = points.mean(axis=0)
            variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(points.T)))
            if len(variances) < 2 or variances[-2] <= 1e-12 * variances[-1]:
                raise ValueError("points lie on a line, so that PCA 2 is constant: give another lens")
            axes = axes.T[:-3:-1]
            large = np.abs(axes) >= np.abs(axes).max(axis=1, keepdims=True) / 2
            first = large.argmax(axis=1)
            self.components_ = axes * np.sign(axes[[0, 1], first])[:, None]
        return self

    def transform(self, points: PointsLike) -> Float64[np.ndarray, "points lenses"]:
        """The values of the points. Raises ValueError where there are not one, two or three for each."""
        points = as_points(points).astype(np.float64, copy=False)
        if isinstance(self.lens, str):
            return (points - self.mean_) @ self.components_.T
        values = np.asarray(self.lens(points) if callable(self.lens) else self.lens)
        columns = values[:, None] if values.ndim == 1 else values
        if columns.ndim != 2 or len(columns) != len(points) or columns.shape[1] not in (1, 2, 3):
            raise ValueError(f"lens must give {len(points)} points 1, 2 or 3 values each; its shape is {values.shape}")
        return as_points(columns, "lens").astype(np.float64, copy=False)


def isomap_lens(points: PointsLike, neighbors: Whole = 15) -> Float64[np.ndarray, "points 2"]:
    """Two coordinates that keep the lengths of shortest paths in a graph of nearest neighbours, for `Lens` to take.

    Isomap (Tenenbaum, de Silva & Langford 2000), as scikit-learn computes it. A point is joined to its `neighbors`
    nearest; where that graph falls into pieces, the number is doubled until it does not.

    points: four or more; neighbors: 1 or more, and at most all other points are taken.
    Raises TypeError or ValueError for other neighbors or too few points, and as `topo.checks.as_points` does.
    """
    from sklearn.manifold import Isomap

    points = as_points(points)
    return Isomap(n_neighbors=_joining(points, neighbors)).fit_transform(points).astype(np.float64, copy=False)


def spectral_lens(points: PointsLike, neighbors: Whole = 15) -> Float64[np.ndarray, "points 2"]:
    """Two coordinates by eigenvectors of the Laplacian of a graph of nearest neighbours, for `Lens` to take.

    The spectral embedding (Belkin & Niyogi 2003), as scikit-learn computes it. A point is among its own `neighbors`
    here, as scikit-learn counts them. Arguments and errors as for `isomap_lens`.
    """
    from sklearn.manifold import SpectralEmbedding

    points = as_points(points)
    count = _joining(points, neighbors, itself=True)
    embedding = SpectralEmbedding(affinity="nearest_neighbors", n_neighbors=count, random_state=0)
    return embedding.fit_transform(points).astype(np.float64, copy=False)


def _joining(points: Points, neighbors: Whole, itself: bool = False) -> int:
    """How many nearest neighbours, `neighbors` times a power of two or all others, join the points to one piece.

    itself: whether a point is the first of its own neighbours.
    """
    from sklearn.neighbors import kneighbors_graph

    check_whole(neighbors, "neighbors", 1)
    if len(points) < 4:
        raise ValueError(f"points must be 4 or more to be laid out in two coordinates, not {len(points)}")

    def pieces(count: int) -> int:
        graph = kneighbors_graph(points, count, include_self=itself)
        return int(connected_components(graph, directed=False, return_labels=False))

    count = min(int(neighbors), len(points) - 1)
    while pieces(count) > 1:
        count = min(2 * count, len(points) - 1)
    return count


class IntervalCover(BaseEstimator, TransformerMixin):
    """Bins: products of overlapping intervals, one along each lens; Ayasdi's resolution and gain (section 3).

    The range of a lens is cut into `resolution` steps, and an interval is `gain` successive steps wide: neighbours
    share 1 - 1/gain of their width, a value falls into `gain` intervals on average (fewer within an interval's
    width of the ends), and there are resolution - gain + 1 intervals. Steps are of equal length for "uniform", of
    equal count for "balanced", where every distinct value counts once. Where resolution - gain is no whole number
    it is rounded up, and the steps shrink to fit. The intervals are open and the outermost unbounded.

    gtda.mapper.CubicalCover makes the same intervals with n_intervals = resolution - gain + 1 and overlap_frac =
    1 - 1/gain. KeplerMapper's have the same width and step with n_cubes = resolution and perc_overlap = 1 - 1/gain; it
    has two or more further intervals, which reach out over the ends.

    resolution: 1 or more; gain: 1 < gain <= resolution; kind: "uniform" or "balanced".
    After `fit`: left_ and right_, the ends of the intervals, in the unit of the lens or, where balanced, of the rank.
    """

    left_: Float64[np.ndarray, "lenses intervals"]
    right_: Float64[np.ndarray, "lenses intervals"]

    def __init__(self, resolution: Whole = 30, gain: Number = 3, kind: str = "uniform") -> None:
        self.resolution, self.gain, self.kind = resolution, gain, kind

    def fit(self, lens: Values, y: object = None) -> "IntervalCover":
        """Cut the range of each lens. Raises TypeError or ValueError for a constant lens or parameters out of range."""
        _check_cover(self.resolution, self.gain, self.kind)
        columns = self._as_lens(lens)
        self._values = [np.unique(values) for values in columns.T]
        for number, values in enumerate(self._values, 1):
            if len(values) == 1:
                constant = f"lens {number} of {columns.shape[1]} is constant at {values[0]}"
                raise ValueError(f"{constant}: it has no range to cut")
        positions = self._positions(columns)
        low, high = positions.min(axis=0), positions.max(axis=0)
        if self.kind == "balanced":
            low, high = low - 0.5, high + 0.5
        intervals = ceil(self.resolution - self.gain) + 1
        overlap = 1 - 1 / self.gain
        width = (high - low) / (intervals - (intervals - 1) * overlap)
        self.left_ = np.linspace(low, low + (intervals - 1) * (1 - overlap) * width, intervals, axis=1)
        self.right_ = self.left_ + width[:, None]
        self.left_[:, 0], self.right_[:, -1] = -inf, inf
        return self

    def transform(self, lens: Values) -> csc_matrix:
        """Which points lie in which bin: a sparse matrix of bool with a row for each point and a column for each bin.

        Bins are in lexicographic order. Empty bins, and bins with the same points as an earlier one, are left out.
        """
        positions = self._positions(self._as_lens(lens))
        first, last = np.empty((2, *positions.shape), np.int64)
        for k, values in enumerate(positions.T):
            first[:, k] = np.searchsorted(self.right_[k], values, side="right")
            last[:, k] = np.searchsorted(self.left_[k], values, side="left")
        points, bins = [], []
        for offset in product(*map(range, (last - first).max(axis=0))):
            reached = first + offset
            inside = (reached < last).all(axis=1)
            points.append(np.flatnonzero(inside))
            bins.append(np.ravel_multi_index(reached[inside].T, (self.left_.shape[1],) * len(self.left_)))
        rows = np.concatenate(points)
        occupied, columns = np.unique(np.concatenate(bins), return_inverse=True)
        return _distinct_columns(csc_matrix((np.ones(len(rows), bool), (rows, columns)), (len(lens), len(occupied))))

    @staticmethod
    def _as_lens(lens: Values) -> Points:
        return as_points(np.reshape(lens, (len(lens), -1)), "lens")

    def _positions(self, lens: Points) -> Points:
        if self.kind == "uniform":
            return lens
        ranks = [np.interp(values, known, np.arange(len(known))) for values, known in zip(lens.T, self._values)]
        return np.stack(ranks, axis=1)


def _distinct_columns(columns: csc_matrix) -> csc_matrix:
    columns.sort_indices()
    earliest: dict[bytes, int] = {}
    for column, (start, stop) in enumerate(pairwise(columns.indptr)):
        earliest.setdefault(columns.indices[start:stop].tobytes(), column)
    return columns[:, list(earliest.values())]


def merge_heights(points: PointsLike) -> Float64[np.ndarray, "heights"]:
    """The distances at which single linkage joins the clusters of a whole cloud: the edges of its spanning tree.

    points: two or more, already divided by `VarianceNormalizer` where the metric is VNE.
    Returns distances in ascending order. Exact; memory grows linearly in the number of points, time a little faster:
    seconds for 200,000 points. Raises ValueError for one point, and as `topo.checks.as_points` does.
    """
    return spanning_tree_lengths(_as_cloud(points))


def linkage_threshold(points: PointsLike, gap: Number = 1.75) -> float:
    """One distance at which to cut single linkage in every bin, from the merge heights of the whole cloud.

    After Singh, Mémoli & Carlsson 2007, who cut at the first empty bin in the histogram of the heights: clusters
    that lie apart leave a gap there. Here the gap is the first height, among the upper quarter, that the next one
    exceeds by the factor `gap`; where there is none the cloud is one cluster, and the largest height stands in. The
    threshold is `gap` times that height, which is still in the gap. The factor serves two purposes: it says how wide a
    gap must be, and it makes up for the points outside a bin, which would link those inside. Points that coincide count
    once.

    One threshold for all bins keeps sparse bins from falling into single points; a threshold from the gap in each bin's
    own heights would not. The paper's heuristic is not published. This one is ours: on noisy circles, clusters, natural
    patches and VGG19's filters, small holes appear in the graph towards 1.5, and clusters run together towards 2.

    points: as for `merge_heights`; gap: above 1.
    Returns a distance in the unit of the points, 0 where all of them coincide.
    Raises TypeError or ValueError for another gap, and as `merge_heights` does.
    """
    check_number(gap, "gap", 1, "a factor", above=True)
    heights = merge_heights(points)
    heights = heights[heights > 0]
    if not len(heights):
        return 0.0
    upper = heights[3 * len(heights) // 4 :]
    gaps = np.flatnonzero(upper[1:] > gap * upper[:-1])
    return float(gap * upper[gaps[0] if len(gaps) else -1])


class SingleLinkage(BaseEstimator, TransformerMixin):
    """Single linkage inside every bin, cut at one distance, the same for all bins.

    Two points of a bin are in one cluster where a chain of its points leads from one to the other in steps up to the
    threshold.

    threshold: distance, 0 or more, or None for `linkage_threshold` of the whole cloud.
    After `fit`: threshold_, the distance.
    """

    threshold_: float

    def __init__(self, threshold: Number | None = None) -> None:
        self.threshold = threshold

    def fit(self, X: Sequence[Any], y: object = None) -> "SingleLinkage":
        """Find the threshold for X.

        X: a pair, the points and a matrix of bool, sparse or not, with a row for each point and a column for each bin.
        Raises TypeError or ValueError for a threshold out of range, and as `linkage_threshold` does.
        """
        _check_threshold(self.threshold)
        self.threshold_ = linkage_threshold(X[0]) if self.threshold is None else float(self.threshold)
        return self

    def transform(self, X: Sequence[Any]) -> RefinedCover:
        """The clusters of X, which is as in `fit`; those of a bin are numbered by their lowest row."""
        points, bins = as_points(X[0]), csc_matrix(X[1])
        bins.sort_indices()
        sets = np.split(bins.indices.astype(np.int64), bins.indptr[1:-1])
        labels: list[tuple[int, int]] = []
        elements: list[np.ndarray] = []
        for label, (rows, clusters) in enumerate(zip(sets, chains(points, sets, self.threshold_))):
            if clusters.any():
                by_cluster = np.argsort(clusters, kind="stable")
                parts = np.split(rows[by_cluster], np.flatnonzero(np.diff(clusters[by_cluster])) + 1)
            else:  # one cluster, as in most bins
                parts = [rows]
            labels += [(label, cluster) for cluster in range(len(parts))]
            elements += parts
        return RefinedCover(len(points), labels, elements)
