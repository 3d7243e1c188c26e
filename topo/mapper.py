"""Mapper as the paper uses it: lenses, bins, clusters in every bin, their nerve; or all as a giotto-tda pipeline.

Knows point clouds and graphs of overlapping sets; must not know what the points stand for, nor how to draw a graph.
"""
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise, product
from math import ceil, inf, isfinite
from numbers import Real

import numpy as np
from igraph import Graph
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix, eye, triu
from sklearn.base import BaseEstimator, TransformerMixin

from topo.filters import as_points, check_whole
from topo.neighbors import chains, spanning_tree_lengths

COVERS = "uniform", "balanced"
METRICS = "vne", "euclidean"


def mapper_graph(points, resolution=30, gain=3, *, lens="pca", cover="uniform", metric="vne", threshold=None):
    """The Mapper graph of a point cloud, Mapper(resolution, gain) in the paper's notation (section 3).

    A node is a cluster of the points in one bin; an edge joins clusters that share points. Lenses see the points
    as they are, distances are those of `metric`.

    points: (n, d), n >= 2, as `topo.filters.as_points` takes them.
    resolution, gain: how the range of each lens is cut into overlapping bins, see `IntervalCover`.
    lens: "pca" for the first two principal components, or what `Lens` takes.
    cover: "uniform", bins of equal width, or "balanced", of equal count.
    metric: "vne", the variance-normalised Euclidean metric of the paper, or "euclidean".
    threshold: distance, in the metric, up to which points of a bin are joined; `linkage_threshold` where None.
    Returns an igraph.Graph as giotto-tda's: vertex attributes "pullback_set_label" (the bin, int),
    "partial_cluster_label" (the cluster in the bin, int), "node_elements" (rows of its points, ascending int64
    array), edge attribute "weight" (points shared, int).
    Raises TypeError or ValueError for an argument out of range, and as `Lens`, `VarianceNormalizer` and
    `as_points` do.
    """
    lens, bins, scale, clusters, nerve = _steps(resolution, gain, lens, cover, metric, threshold)
    points = _as_cloud(points)
    membership = bins.fit_transform(lens.fit_transform(points))
    return nerve.fit_transform(clusters.fit_transform([scale.fit_transform(points), membership]))


def mapper_pipeline(resolution=30, gain=3, *, lens="pca", cover="uniform", metric="vne", threshold=None):
    """The steps of `mapper_graph` as a gtda.mapper.MapperPipeline, for giotto-tda's plots and `set_params`.

    Arguments and errors as in `mapper_graph`; `fit_transform(points)` gives its graph. Steps of giotto-tda can take
    the place of those before the clusters: `set_params(filter_func=..., cover=CubicalCover(...))`.
    """
    from gtda.mapper import make_mapper_pipeline

    lens, bins, scale, clusters, nerve = _steps(resolution, gain, lens, cover, metric, threshold)
    pipeline = make_mapper_pipeline(filter_func=lens, cover=bins, clustering_preprocessing=scale)
    return pipeline.set_params(clustering=clusters, nerve=nerve)


def _steps(resolution, gain, lens, cover, metric, threshold):
    _check_cover(resolution, gain, cover)
    _check_lens(lens)
    _check_choice(metric, "metric", METRICS)
    _check_threshold(threshold)
    scale = VarianceNormalizer() if metric == "vne" else _Unscaled()
    return Lens(lens), IntervalCover(resolution, gain, cover), scale, SingleLinkage(threshold), SparseNerve()


def _as_cloud(points):
    points = as_points(points).astype(np.float64, copy=False)
    if len(points) < 2:
        raise ValueError("points must be 2 or more: a cloud of one point has neither variance nor distances")
    return points


def _check_choice(value, name, allowed):
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} = {value!r} must be one of {', '.join(map(repr, allowed))}")


def _check_number(value, name, allowed):
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} = {value!r} must be {allowed}")


def _check_cover(resolution, gain, kind):
    check_whole(resolution, "resolution", 1)
    _check_number(gain, "gain", "a number")
    if not 1 < gain <= resolution:
        raise ValueError(f"gain = {gain} must be above 1, for bins to overlap, and at most resolution = {resolution}")
    _check_choice(kind, "cover", COVERS)


def _check_threshold(threshold):
    if threshold is None:
        return
    _check_number(threshold, "threshold", "a distance or None")
    if not (isfinite(threshold) and threshold >= 0):
        raise ValueError(f"threshold = {threshold} must be a distance, finite and not negative, or None")


def _check_lens(lens):
    if isinstance(lens, str) and lens != "pca":
        raise ValueError(f"lens = {lens!r} must be 'pca', a function of the points or an array of values")


class VarianceNormalizer(BaseEstimator, TransformerMixin):
    """Divide every column by its variance: Euclidean distances become the paper's VNE metric (section 3).

    By the variance, not the standard deviation: scaling a column by c scales it by 1/c here.
    After `fit`: variance_ (d,) float64, the mean squared deviation from the mean.
    """

    def fit(self, points, y=None):
        """points: (n, d), n >= 2. Raises ValueError where a column is constant, or as good as: where its range is
        a millionth of the largest coordinate or less, and dividing by its variance would blow up rounding errors.
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

    def transform(self, points):
        """points: (n, d). Returns (n, d) float64."""
        return as_points(points) / self.variance_


class _Unscaled(BaseEstimator, TransformerMixin):
    def fit(self, points, y=None):
        return self

    def transform(self, points):
        return as_points(points)


class Lens(BaseEstimator, TransformerMixin):
    """One, two or three real functions on the points, by which they are put into bins (section 3).

    lens: "pca" for the coordinates along the first two principal axes; a function of all the points, (n, d), to
    values (n,) or (n, k); or the values themselves, for the points in the order they come; k = 1, 2 or 3.
    A principal axis points so that its first large loading, at least half the largest, is positive: the sign does
    not change with rounding.
    After `fit` with "pca": mean_ (d,), components_ (2, d) float64.
    """

    def __init__(self, lens="pca"):
        self.lens = lens

    def fit(self, points, y=None):
        """points: (n, d), n >= 2. Raises ValueError where "pca" finds the points on a line."""
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

    def transform(self, points):
        """points: (n, d). Returns (n, k) float64. Raises ValueError where the values have another shape."""
        points = as_points(points).astype(np.float64, copy=False)
        if isinstance(self.lens, str):
            return (points - self.mean_) @ self.components_.T
        values = np.asarray(self.lens(points) if callable(self.lens) else self.lens)
        columns = values[:, None] if values.ndim == 1 else values
        if columns.ndim != 2 or len(columns) != len(points) or columns.shape[1] not in (1, 2, 3):
            raise ValueError(f"lens must give {len(points)} points 1, 2 or 3 values each; its shape is {values.shape}")
        return as_points(columns, "lens").astype(np.float64, copy=False)


class IntervalCover(BaseEstimator, TransformerMixin):
    """Bins: products of overlapping intervals, one along each lens; Ayasdi's resolution and gain (section 3).

    The range of a lens is cut into `resolution` steps, and an interval is `gain` successive steps wide: neighbours
    share 1 - 1/gain of their width, a value falls into `gain` intervals on average (fewer within an interval's
    width of the ends), and there are resolution - gain + 1 intervals. Steps are of equal length for "uniform", of
    equal count for "balanced", where every distinct value counts once. Where resolution - gain is no whole number
    it is rounded up, and the steps shrink to fit. The intervals are open and the outermost unbounded.

    The same as gtda.mapper.CubicalCover with n_intervals = resolution - gain + 1, overlap_frac = 1 - 1/gain; the
    width and step of KeplerMapper's n_cubes = resolution, perc_overlap = 1 - 1/gain, whose two or more further
    intervals reach out over the ends.

    resolution: int >= 1; gain: float, 1 < gain <= resolution; kind: "uniform" or "balanced".
    After `fit`: left_, right_ (k, intervals) float64, in the unit of the lens or, where balanced, of the rank.
    """

    def __init__(self, resolution=30, gain=3, kind="uniform"):
        self.resolution, self.gain, self.kind = resolution, gain, kind

    def fit(self, lens, y=None):
        """lens: (n,) or (n, k) real values. Raises ValueError for a constant lens, and for parameters out of range."""
        _check_cover(self.resolution, self.gain, self.kind)
        lens = self._as_lens(lens)
        self._values = [np.unique(values) for values in lens.T]
        for number, values in enumerate(self._values, 1):
            if len(values) == 1:
                raise ValueError(f"lens {number} of {lens.shape[1]} is constant at {values[0]}: it has no range to cut")
        low, high = self._positions(lens).min(axis=0), self._positions(lens).max(axis=0)
        if self.kind == "balanced":
            low, high = low - 0.5, high + 0.5
        intervals = ceil(self.resolution - self.gain) + 1
        overlap = 1 - 1 / self.gain
        width = (high - low) / (intervals - (intervals - 1) * overlap)
        self.left_ = np.linspace(low, low + (intervals - 1) * (1 - overlap) * width, intervals, axis=1)
        self.right_ = self.left_ + width[:, None]
        self.left_[:, 0], self.right_[:, -1] = -inf, inf
        return self

    def transform(self, lens):
        """lens: (n,) or (n, k). Returns the points of every bin as columns of a sparse (n, bins) bool matrix, bins
        in lexicographic order; empty bins, and bins with the same points as an earlier one, are left out.
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
        points = np.concatenate(points)
        occupied, bins = np.unique(np.concatenate(bins), return_inverse=True)
        return _distinct_columns(csc_matrix((np.ones(len(points), bool), (points, bins)), (len(lens), len(occupied))))

    @staticmethod
    def _as_lens(lens):
        return as_points(np.reshape(lens, (len(lens), -1)), "lens")

    def _positions(self, lens):
        if self.kind == "uniform":
            return lens
        ranks = [np.interp(values, known, np.arange(len(known))) for values, known in zip(lens.T, self._values)]
        return np.stack(ranks, axis=1)


def _distinct_columns(columns):
    columns.sort_indices()
    earliest = {}
    for column, (start, stop) in enumerate(pairwise(columns.indptr)):
        earliest.setdefault(columns.indices[start:stop].tobytes(), column)
    return columns[:, list(earliest.values())]


def merge_heights(points):
    """The distances at which single linkage joins the clusters of a whole cloud: the edges of its spanning tree.

    points: (n, d), n >= 2, in the metric's scale. Returns (n - 1,) float64, ascending.
    Exact; memory grows linearly in n, time a little faster: seconds for 200,000 points.
    """
    return spanning_tree_lengths(_as_cloud(points))


def linkage_threshold(points, gap=1.75):
    """One distance at which to cut single linkage in every bin, from the merge heights of the whole cloud.

    After Singh, Mémoli & Carlsson 2007, who cut at the first empty bin in the histogram of the heights: clusters
    that lie apart leave a gap there. Here the gap is the first height, among the upper quarter, that the next one
    exceeds by the factor `gap`; where there is none the cloud is one cluster, and the largest height stands in. The
    threshold is `gap` times that height, which is still in the gap. The factor so serves twice: it says how wide a
    gap must be, and it makes up for what a bin lacks, the points outside it that link those inside. Points that
    coincide count once.

    One threshold for all bins keeps sparse bins from falling into single points, which a gap in each bin's own
    heights does not. The paper's heuristic is not published. This one is ours: on noisy circles, clusters, natural
    patches and VGG19's filters, small holes appear in the graph towards 1.5, and clusters run together towards 2.

    points: (n, d), n >= 2, in the metric's scale; gap: above 1.
    Returns a float in the unit of the points. Raises TypeError or ValueError for another gap, and as `as_points`.
    """
    _check_number(gap, "gap", "a number")
    if not 1 < gap < inf:
        raise ValueError(f"gap = {gap} must be a factor above 1")
    heights = merge_heights(points)
    heights = heights[heights > 0]
    if not len(heights):
        return 0.0
    upper = heights[3 * len(heights) // 4 :]
    gaps = np.flatnonzero(upper[1:] > gap * upper[:-1])
    return float(gap * upper[gaps[0] if len(gaps) else -1])


class SingleLinkage(BaseEstimator, TransformerMixin):
    """Single linkage inside every bin, cut at one distance: in a bin, chains of steps up to it make a cluster.

    threshold: distance, or None for `linkage_threshold` of the whole cloud.
    After `fit`: threshold_ (float).
    """

    def __init__(self, threshold=None):
        self.threshold = threshold

    def fit(self, X, y=None):
        """X: [points, bins], points (n, d), bins (n, bins) bool, sparse or not: the points of a bin in a column."""
        _check_threshold(self.threshold)
        self.threshold_ = linkage_threshold(X[0]) if self.threshold is None else float(self.threshold)
        return self

    def transform(self, X):
        """X: as in `fit`. Returns a RefinedCover; the clusters of a bin are numbered by their lowest row."""
        points, bins = as_points(X[0]), csc_matrix(X[1])
        bins.sort_indices()
        sets = np.split(bins.indices.astype(np.int64), bins.indptr[1:-1])
        labels, elements = [], []
        for label, (rows, clusters) in enumerate(zip(sets, chains(points, sets, self.threshold_))):
            by_cluster = np.argsort(clusters, kind="stable")
            parts = np.split(rows[by_cluster], np.flatnonzero(np.diff(clusters[by_cluster])) + 1)
            labels += [(label, cluster) for cluster in range(len(parts))]
            elements += parts
        return RefinedCover(len(points), labels, elements)


class RefinedCover(Sequence):
    """The clusters of all bins, as giotto-tda's Nerve reads them: item i is the tuple of labels of point i.

    n_points: how many points; labels: a pair (bin, cluster) a cluster, in ascending order; elements: its points'
    rows, an ascending int64 array a cluster.
    """

    def __init__(self, n_points, labels, elements):
        self.n_points, self.labels, self.elements = n_points, labels, elements

    @cached_property
    def _by_point(self):
        return _incidence(self.elements, self.n_points).T.tocsr()

    def __len__(self):
        return self.n_points

    def __getitem__(self, point):
        point = range(self.n_points)[point]
        start, stop = self._by_point.indptr[point : point + 2]
        return tuple(self.labels[node] for node in self._by_point.indices[start:stop])


def _incidence(elements, n_points):
    """Which node holds which point: (nodes, n_points) sparse int64 of ones."""
    sizes = [len(rows) for rows in elements]
    points = np.concatenate(elements)
    ends = np.cumsum([0, *sizes])
    return csr_matrix((np.ones(len(points), np.int64), points, ends), shape=(len(elements), n_points))


class SparseNerve(BaseEstimator, TransformerMixin):
    """The nerve of a refined cover as a graph: a drop-in for gtda.mapper.nerve.Nerve, and the same graph.

    giotto-tda's compares every pair of nodes; here a product of sparse matrices counts the points that nodes share.

    min_intersection: points that two nodes must share for an edge, at least 1.
    store_edge_elements: keep the rows they share in the edge attribute "edge_elements".
    contract_nodes: drop every node whose points all lie in another one. As in giotto-tda 0.6.2, the node that stays
    takes its attributes from the first of those merged, edges are not merged, and nodes that are nested have none.
    After `fit`: graph_, the igraph.Graph.
    """

    def __init__(self, min_intersection=1, store_edge_elements=False, contract_nodes=False):
        self.min_intersection = min_intersection
        self.store_edge_elements = store_edge_elements
        self.contract_nodes = contract_nodes

    def fit(self, X, y=None):
        """Keep the graph of `fit_transform` in graph_."""
        self.graph_ = self.fit_transform(X)
        return self

    def fit_transform(self, X, y=None):
        """X: a RefinedCover, or any sequence that has for every point a tuple of pairs (pullback set, cluster).

        Returns an igraph.Graph; its attributes are those of `mapper_graph`. Nodes come in the order in which they
        first occur in X, edges in lexicographic order.
        Raises ValueError where X has no node, ValueError or TypeError for a min_intersection out of range.
        """
        check_whole(self.min_intersection, "min_intersection", 1)
        labels, elements = _nodes(X)
        if not labels:
            raise ValueError("the cover has no nodes: no point lies in any of its sets")
        incidence = _incidence(elements, len(X))
        shared = triu(incidence @ incidence.T, k=1, format="csr")
        shared.sort_indices()
        shared = shared.tocoo()
        codes = {}
        pullback = np.array([codes.setdefault(label, len(codes)) for label, _ in labels])
        between = pullback[shared.row] != pullback[shared.col]
        low, high, weights = shared.row[between], shared.col[between], shared.data[between]
        joined = weights >= self.min_intersection
        if self.contract_nodes:
            sizes = np.array([len(rows) for rows in elements])
            nested = (weights == sizes[low]) | (weights == sizes[high])
            target = _maximal(sizes, low[nested], high[nested], weights[nested])
            joined &= ~nested
        low, high, weights = low[joined], high[joined], weights[joined]

        graph = Graph(len(labels), np.column_stack([low, high]).tolist())
        graph.vs["pullback_set_label"], graph.vs["partial_cluster_label"] = zip(*labels)
        graph.vs["node_elements"] = elements
        graph.es["weight"] = weights.tolist()
        if self.store_edge_elements:
            graph.es["edge_elements"] = [
                np.intersect1d(elements[a], elements[b], assume_unique=True) for a, b in zip(low, high)
            ]
        if self.contract_nodes:
            graph.contract_vertices(target, combine_attrs="first")
            graph.delete_vertices([node for node in graph.vs.indices if node != target[node]])
        return graph


def _nodes(X):
    """Labels and rows of the nodes of a refined cover, in the order in which the points name them."""
    if isinstance(X, RefinedCover):
        order = sorted(range(len(X.labels)), key=lambda node: (X.elements[node][0], node))
        return [X.labels[node] for node in order], [X.elements[node] for node in order]
    nodes = defaultdict(list)
    for point, labels in enumerate(X):
        for label in labels:
            nodes[label].append(point)
    return list(nodes), [np.array(rows) for rows in nodes.values()]


def _maximal(sizes, low, high, shared):
    """For every node the one that it is contracted into, itself where it lies in no other: (nodes,) int.

    low, high, shared: the nested pairs in lexicographic order and the size of the smaller. Of equal nodes the first
    stays; of several that hold a node the last pair decides, as in giotto-tda.
    """
    target = np.arange(len(sizes))
    high_is_inside = shared == sizes[high]
    for node, holder in zip(np.where(high_is_inside, high, low), np.where(high_is_inside, low, high)):
        target[node] = holder
    while (target[target] != target).any():
        target = target[target]
    return target


def node_sizes(graph):
    """How many points each node of a Mapper graph holds: (nodes,) int64."""
    return np.array([len(rows) for rows in graph.vs["node_elements"]], np.int64)


def node_means(graph, points, hops=0):
    """The mean point of every node and of the nodes up to `hops` edges away, every point counted once.

    graph: a Mapper graph of `points`; points: (n, d), the cloud or any values on it; hops: 0 for the node alone, 1
    with its adjacent nodes, as beside the graph in Figure 3.
    Returns (nodes, d) float64. Raises ValueError where the graph has points that `points` has not.
    """
    points = as_points(points)
    check_whole(hops, "hops", 0)
    elements = graph.vs["node_elements"]
    last = max(rows[-1] for rows in elements)
    if last >= len(points):
        raise ValueError(f"the graph holds point {last}, but there are {len(points)} points: it is of another cloud")
    held = _incidence(elements, len(points))
    step = _adjacency(graph) + eye(len(elements), dtype=np.int64, format="csr")
    for _ in range(hops):
        held = step @ held
        held.data[:] = 1
    return (held @ points) / np.diff(held.indptr)[:, None]


def _adjacency(graph):
    """Which nodes are joined: (nodes, nodes) sparse symmetric int64 of ones, the diagonal empty."""
    edges = np.array(graph.get_edgelist(), np.int64).reshape(-1, 2)
    low, high = edges[edges[:, 0] != edges[:, 1]].T
    joined = coo_matrix((np.ones(len(low), np.int64), (low, high)), shape=(graph.vcount(),) * 2).tocsr()
    joined = joined + joined.T
    joined.data[:] = 1
    return joined


def largest_component(graph):
    """The connected component that holds the most points, as a graph with the same attributes; the first of equals."""
    elements = graph.vs["node_elements"]
    components = graph.connected_components()
    return graph.subgraph(max(components, key=lambda nodes: len(_union(elements[node] for node in nodes))))


def _union(elements):
    return np.unique(np.concatenate(list(elements)))


def graph_loops(graph, min_points=1):
    """Independent loops of a Mapper graph whose triangles are filled: the first Betti number of its clique complex.

    Two lenses make bins overlap by fours and more, so that the graph itself has thousands of cycles; filled, a
    graph along a circle has one. A hole between four nodes still counts as much as the circle does.

    min_points: leave out nodes of fewer points, and the small holes between them. Coefficients are in Z/2.
    """
    from gph import ripser_parallel

    check_whole(min_points, "min_points", 1)
    joined = _adjacency(graph.subgraph(np.flatnonzero(node_sizes(graph) >= min_points)))
    if not joined.nnz:
        return 0
    edges = joined.astype(np.float32).tocoo()
    loops = ripser_parallel(edges, maxdim=1, thresh=1.0, metric="precomputed")["dgms"][1]
    return int(np.isinf(loops[:, 1]).sum())


def graph_summary(graph):
    """What a Mapper graph looks like in numbers: a dict.

    nodes, edges, components: int; points: int, all that the graph holds; one_point_nodes: int; largest_node: int,
    its points; largest_share: float, the share of the points in the component that holds the most; loops: int, of
    that component, as `graph_loops` counts them.
    """
    sizes, main = node_sizes(graph), largest_component(graph)
    points = len(_union(graph.vs["node_elements"]))
    return {
        "nodes": graph.vcount(),
        "edges": graph.ecount(),
        "components": len(graph.connected_components()),
        "points": points,
        "one_point_nodes": int((sizes == 1).sum()),
        "largest_node": int(sizes.max()),
        "largest_share": len(_union(main.vs["node_elements"])) / points,
        "loops": graph_loops(main),
    }
