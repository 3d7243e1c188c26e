"""The nerve of a refined cover as a graph, and what a Mapper graph looks like in numbers.

Knows sets of points that overlap; must not know how the sets were found, nor how to draw a graph.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from igraph import Graph
from jaxtyping import Float64, Int64, Integer
from scipy.sparse import coo_matrix, csr_matrix, eye, triu
from scipy.sparse.csgraph import connected_components
from sklearn.base import BaseEstimator, TransformerMixin

from topo.checks import as_points, check_whole
from topo.types import PointsLike, Whole

Label = tuple[Any, Any]  # a bin, and a cluster in it
Elements = Sequence[Integer[np.ndarray, "_members"]]  # the rows of the points of each node, ascending


class RefinedCover(Sequence):
    """The clusters of all bins, as giotto-tda's Nerve reads them: item i is the tuple of labels of point i.

    n_points: how many points; labels: the bin and the number of each cluster, in ascending order; elements: the rows of
    its points.
    """

    def __init__(self, n_points: int, labels: Sequence[Label], elements: Elements) -> None:
        self.n_points, self.labels, self.elements = n_points, labels, elements

    @cached_property
    def _by_point(self) -> csr_matrix:
        return _incidence(self.elements, self.n_points).T.tocsr()

    def __len__(self) -> int:
        return self.n_points

    def __getitem__(self, point: Any) -> tuple[Label, ...]:
        point = range(self.n_points)[point]
        start, stop = self._by_point.indptr[point : point + 2]
        return tuple(self.labels[node] for node in self._by_point.indices[start:stop])


def _incidence(elements: Elements, n_points: int) -> csr_matrix:
    """Which node holds which point: a sparse matrix of int64, with a one for each of its points in a node's row."""
    sizes = [len(rows) for rows in elements]
    points = np.concatenate(elements)
    ends = np.cumsum([0, *sizes])
    return csr_matrix((np.ones(len(points), np.int64), points, ends), shape=(len(elements), n_points))


class SparseNerve(BaseEstimator, TransformerMixin):
    """The nerve of a refined cover as a graph: takes the place of gtda.mapper.nerve.Nerve, and makes the same graph.

    giotto-tda's compares every pair of nodes; here a product of sparse matrices counts the points that nodes share.

    min_intersection: points that two nodes must share for an edge, at least 1.
    store_edge_elements: keep the rows they share in the edge attribute "edge_elements".
    contract_nodes: drop every node whose points all lie in another one. As in giotto-tda 0.6.2, the node that stays
    takes its attributes from the first of those merged, parallel edges are not merged, and there is no edge between two
    nodes one of which holds all points of the other.
    After `fit`: graph_.
    """

    graph_: Graph

    def __init__(
        self, min_intersection: Whole = 1, store_edge_elements: bool = False, contract_nodes: bool = False
    ) -> None:
        self.min_intersection = min_intersection
        self.store_edge_elements = store_edge_elements
        self.contract_nodes = contract_nodes

    def fit(self, X: Sequence[Iterable[Label]], y: object = None) -> "SparseNerve":
        """Keep the graph of `fit_transform` in graph_."""
        self.graph_ = self.fit_transform(X)
        return self

    def fit_transform(self, X: Sequence[Iterable[Label]], y: object = None) -> Graph:
        """The nerve of X, which is a RefinedCover or has for every point a tuple of pairs (pullback set, cluster).

        The graph's attributes are those of `topo.mapper.mapper_graph`. Nodes come in the order in which they first
        occur in X, edges in lexicographic order.
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
        codes: dict[Any, int] = {}
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


def _nodes(X: Sequence[Iterable[Label]]) -> tuple[list[Label], list[np.ndarray]]:
    """Labels and rows of the nodes of a refined cover, in the order in which the points name them."""
    if isinstance(X, RefinedCover):
        order = sorted(range(len(X.labels)), key=lambda node: (X.elements[node][0], node))
        return [X.labels[node] for node in order], [X.elements[node] for node in order]
    nodes: defaultdict[Label, list[int]] = defaultdict(list)
    for point, labels in enumerate(X):
        for label in labels:
            nodes[label].append(point)
    return list(nodes), [np.array(rows) for rows in nodes.values()]


def _maximal(
    sizes: Integer[np.ndarray, "nodes"],
    low: Integer[np.ndarray, "pairs"],
    high: Integer[np.ndarray, "pairs"],
    shared: Integer[np.ndarray, "pairs"],
) -> Int64[np.ndarray, "nodes"]:
    """For every node the one that it is contracted into, itself where it lies in no other.

    low, high, shared: the nested pairs in lexicographic order, and how many points the smaller of the two holds. Of
    equal nodes the first stays; where several nodes hold a node, the last pair decides, as in giotto-tda.
    """
    target = np.arange(len(sizes))
    high_is_inside = shared == sizes[high]
    for node, holder in zip(np.where(high_is_inside, high, low), np.where(high_is_inside, low, high)):
        target[node] = holder
    while (target[target] != target).any():
        target = target[target]
    return target


def node_sizes(graph: Graph) -> Int64[np.ndarray, "nodes"]:
    """How many points each node of a Mapper graph holds."""
    return np.array([len(rows) for rows in graph.vs["node_elements"]], np.int64)


def node_means(graph: Graph, points: PointsLike, hops: Whole = 0) -> Float64[np.ndarray, "nodes dim"]:
    """The mean point of every node and of the nodes up to `hops` edges away, every point counted once.

    graph: a Mapper graph of `points`; points: the cloud, or any values for each of its points; hops: 0 for the node
    alone, 1 with its adjacent nodes, as beside the graph in Figure 3.
    Raises TypeError or ValueError for other hops, ValueError where the graph has points that `points` has not, and as
    `topo.checks.as_points` does.
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


def _adjacency(graph: Graph) -> csr_matrix:
    """Which nodes are joined: a sparse symmetric matrix of int64 with a one for each pair, the diagonal empty."""
    edges = np.array(graph.get_edgelist(), np.int64).reshape(-1, 2)
    low, high = edges[edges[:, 0] != edges[:, 1]].T
    joined = coo_matrix((np.ones(len(low), np.int64), (low, high)), shape=(graph.vcount(),) * 2).tocsr()
    joined = joined + joined.T
    joined.data[:] = 1
    return joined


def largest_component(graph: Graph) -> Graph:
    """The connected component that holds the most points, as a graph with the same attributes; the first of equals."""
    elements = graph.vs["node_elements"]
    components = graph.connected_components()
    return graph.subgraph(max(components, key=lambda nodes: len(_union(elements[node] for node in nodes))))


def _union(elements: Iterable[Integer[np.ndarray, "_members"]]) -> Integer[np.ndarray, "points"]:
    return np.unique(np.concatenate(list(elements)))


def graph_loops(graph: Graph, min_points: Whole = 1) -> int:
    """Independent loops of a Mapper graph whose triangles are filled: the first Betti number of its clique complex.

    Two lenses make bins overlap by fours and more, so that the graph itself has thousands of cycles; filled, a
    graph along a circle has one. A hole between four nodes still counts as much as the circle does.

    min_points: leave out nodes of fewer points, and the small holes between them; 1 or more. Coefficients are in Z/2.
    Raises TypeError or ValueError for another min_points.
    """
    check_whole(min_points, "min_points", 1)
    return _loops(_adjacency(graph.subgraph(np.flatnonzero(node_sizes(graph) >= min_points))))


def _loops(joined: csr_matrix) -> int:
    """The first Betti number of the clique complex of a graph, of which `joined` is the adjacency matrix."""
    from gph import ripser_parallel

    if not joined.nnz:
        return 0
    edges = joined.astype(np.float32).tocoo()
    loops = ripser_parallel(edges, maxdim=1, thresh=1.0, metric="precomputed")["dgms"][1]
    return int(np.isinf(loops[:, 1]).sum())


def betti_numbers(cover: RefinedCover, min_points: Whole = 1) -> tuple[int, int]:
    """How many pieces and loops the Mapper graph of a refined cover has, its triangles filled.

    These are the Betti numbers of dimensions 0 and 1 of the graph's clique complex, for which the graph itself need not
    be made: `graph_loops` counts the same loops.

    cover: clusters of which two share a point only where they are of different bins; min_points: leave out nodes of
    fewer points, 1 or more. Returns (0, 0) where no node is left. Raises TypeError or ValueError for another
    min_points.
    """
    check_whole(min_points, "min_points", 1)
    elements = [rows for rows in cover.elements if len(rows) >= min_points]
    if not elements:
        return 0, 0
    incidence = _incidence(elements, cover.n_points)
    joined = incidence @ incidence.T
    joined.setdiag(0)
    joined.eliminate_zeros()
    joined.data[:] = 1
    return int(connected_components(joined, directed=False, return_labels=False)), _loops(joined)


def graph_summary(graph: Graph) -> dict[str, int | float]:
    """A Mapper graph in numbers.

    nodes, edges, components: how many there are; points: how many the graph holds; one_point_nodes: how many nodes
    hold a single point; largest_node: how many points the fullest node holds; largest_share: the share of the points
    in the component that holds the most; loops: of that component, as `graph_loops` counts them.
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
