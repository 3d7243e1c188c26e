"""What a user would take for a computation of this project: ours, and other libraries at their best setting.

Knows how each is called; must not know how often, nor what the report says. A kernel is here one of the computations
density, lazy witness and Mapper, and a contestant is a function that does it with one library. Every import of another
library is inside its function.
"""

import signal
import time
from itertools import chain

import numpy as np

from benchmarks import peak_memory

NEIGHBOR, LANDMARKS, NU, RESOLUTION, GAIN = 200, 100, 1, 30, 3
_POPULATIONS = "cifar-gray-C-64-32-64", "cifar-color-C-64-32-64"


def cloud(n):
    """n normalised spatial filters of trained second layers, the latest iterations first: (n, 9) float32.

    Those of the last iterations are shuffled among themselves, so that a smaller cloud is a sample of a larger one.
    Beyond 770,000 they come from all other archives. Raises ValueError where those have too few.
    """
    from topo import archive, filters

    archives = [archive.load(name) for name in _POPULATIONS]
    last = np.concatenate([filters.normalize(each.filters(2)) for each in archives])
    parts = [last[np.random.default_rng(0).permutation(len(last))]]
    times = sorted(set(archives[0].iterations(2)), reverse=True)
    earlier = ((each, t) for t in times for each in archives if t in each.iterations(2)[:-1])
    others = (archive.load(name) for name in archive.manifest() if name not in _POPULATIONS)
    further = ((each, t) for each in others if 2 in each.layers for t in each.iterations(2))
    for each, iteration in chain(earlier, further):
        if sum(map(len, parts)) >= n:
            break
        parts.append(filters.normalize(each.filters(2, iteration)))
    points = np.concatenate(parts)[:n].astype(np.float32)
    if len(points) < n:
        raise ValueError(f"the archives have {len(points)} filters of second layers, not {n}")
    return points


def density_topo(points):
    """Distance of every point to its NEIGHBOR-th nearest neighbour, with this project: (n,) float64."""
    from topo.density import kth_neighbor_distance

    return kth_neighbor_distance(points, NEIGHBOR)


def density_scipy(points):
    """As `density_topo`, with SciPy's kd-tree."""
    from scipy.spatial import cKDTree

    return cKDTree(points).query(points, k=[NEIGHBOR + 1], workers=-1)[0][:, 0]


def _density_scikit(points, algorithm):
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(algorithm=algorithm, n_jobs=-1).fit(points).kneighbors(points, NEIGHBOR + 1)[0][:, -1]


def density_scikit_brute(points):
    """As `density_topo`, with scikit-learn, which compares all pairs."""
    return _density_scikit(points, "brute")


def density_scikit_tree(points):
    """As `density_topo`, with scikit-learn's kd-tree."""
    return _density_scikit(points, "kd_tree")


def density_faiss(points):
    """As `density_topo`, with FAISS, which compares all pairs in float32: (n,) float32."""
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    return np.sqrt(np.maximum(index.search(points, NEIGHBOR + 1)[0][:, -1], 0))


def quantiles(distances):
    """What must agree between contestants for the density: eleven quantiles of the distances."""
    return np.quantile(distances, np.linspace(0, 1, 11)).tolist()


def witness_topo(points):
    """The barcode of dimensions 0 to 2, with this project: {dimension: (bars, 2)}."""
    from topo.persistence import lazy_witness_barcode

    return lazy_witness_barcode(points, LANDMARKS, NU, max_dimension=2)


def witness_numpy(points):
    """The definition, for one pair of landmarks after the other, on the whole table of distances.

    giotto-tda computes the barcode of the edge times. Returns {dimension: (bars, 2)}.
    """
    from gtda.homology import VietorisRipsPersistence
    from scipy.spatial.distance import cdist

    rows, nearest = [0], np.full(len(points), np.inf)
    while len(rows) < LANDMARKS:
        nearest = np.minimum(nearest, cdist(points, points[rows[-1:]])[:, 0])
        rows.append(nearest.argmax())
    table = cdist(points, points[rows])
    table -= np.sort(table, axis=1)[:, NU - 1 : NU]
    times = np.zeros((LANDMARKS, LANDMARKS))
    for a in range(LANDMARKS):
        for b in range(a):
            times[a, b] = times[b, a] = max(0, np.maximum(table[:, a], table[:, b]).min())
    diagram = VietorisRipsPersistence(metric="precomputed", homology_dimensions=(0, 1, 2)).fit_transform([times])[0]
    return {dimension: diagram[diagram[:, 2] == dimension][:, :2] for dimension in range(3)}


def witness_gudhi(points):
    """GUDHI's witness complex, weak instead of lazy, with squared relaxation up to 0.2.

    It is another complex, so that its barcode is not compared; returns None.
    """
    from gudhi import EuclideanWitnessComplex
    from gudhi.subsampling import choose_n_farthest_points

    landmarks = choose_n_farthest_points(points, nb_points=LANDMARKS, starting_point=0)
    tree = EuclideanWitnessComplex(witnesses=points.tolist(), landmarks=landmarks).create_simplex_tree(
        0.2, limit_dimension=3
    )
    tree.persistence()


def longest(barcode):
    """What must agree for the barcode: the three longest finite bars of every dimension."""
    if barcode is None:
        return None
    lengths = [np.sort(np.subtract(*barcode[dimension].T[::-1])) for dimension in range(3)]
    return [float(length) for each in lengths for length in each[np.isfinite(each)][-3:]]


def mapper_topo(points):
    """The Mapper graph with this project, and the mean of every node. Returns how many nodes and edges it has."""
    from topo.mapper import mapper_graph, node_means

    graph = mapper_graph(points, RESOLUTION, GAIN)
    node_means(graph, points)
    return graph.vcount(), graph.ecount()


def prepare_mapper(points):
    """The arguments of the other libraries, made before the time is taken: our lens, scaled points, bins, threshold."""
    from topo import mapper

    lens, scaled = mapper.Lens().fit_transform(points), mapper.VarianceNormalizer().fit_transform(points)
    bins = mapper.IntervalCover(RESOLUTION, GAIN).fit_transform(lens)
    bins.sort_indices()
    bins = np.split(bins.indices, bins.indptr[1:-1])
    return {
        "points": points,
        "lens": lens,
        "scaled": scaled,
        "bins": bins,
        "threshold": mapper.linkage_threshold(scaled),
    }


def _single_linkage(threshold):
    """Single linkage cut at a distance, as an estimator: the quickest that scikit-learn has, and for one point, too."""
    from sklearn.base import BaseEstimator, ClusterMixin
    from sklearn.cluster import AgglomerativeClustering

    class SingleLinkage(ClusterMixin, BaseEstimator):
        def __init__(self, threshold, min_samples=1):  # KeplerMapper leaves out bins of fewer than min_samples points
            self.threshold, self.min_samples = threshold, min_samples

        def fit(self, X, y=None):
            linkage = AgglomerativeClustering(None, linkage="single", distance_threshold=self.threshold)
            self.labels_ = linkage.fit_predict(X) if len(X) > 1 else np.zeros(1, int)
            return self

    return SingleLinkage(threshold)


def _thumbnails(points, nodes):
    return [points[rows].mean(axis=0) for rows in nodes]


def mapper_giotto(points, lens, scaled, bins, threshold):
    """As `mapper_topo`, with giotto-tda, which makes the bins itself. Arguments as `prepare_mapper` returns them."""
    from gtda.mapper import CubicalCover, make_mapper_pipeline
    from sklearn.preprocessing import FunctionTransformer

    cover = CubicalCover(n_intervals=RESOLUTION - GAIN + 1, overlap_frac=1 - 1 / GAIN)
    given = FunctionTransformer(lambda _: lens)
    pipeline = make_mapper_pipeline(filter_func=given, cover=cover, clusterer=_single_linkage(threshold))
    graph = pipeline.fit_transform(scaled)
    _thumbnails(points, graph.vs["node_elements"])
    return graph.vcount(), graph.ecount()


def mapper_kepler(points, lens, scaled, bins, threshold):
    """As `mapper_topo`, with KeplerMapper. Arguments as `prepare_mapper` returns them."""
    import kmapper

    class Given(kmapper.Cover):
        def transform(self, data, centers=None):
            return (data[rows] for rows in bins)

    graph = kmapper.KeplerMapper().map(lens, scaled, cover=Given(1, 0.5), clusterer=_single_linkage(threshold))
    _thumbnails(points, graph["nodes"].values())
    return len(graph["nodes"]), sum(map(len, graph["links"].values()))


def mapper_tda(points, lens, scaled, bins, threshold):
    """As `mapper_topo`, with tda-mapper. Arguments as `prepare_mapper` returns them."""
    from tdamapper.core import ATTR_IDS, Cover
    from tdamapper.learn import MapperAlgorithm

    class Given(Cover):
        def apply(self, X):
            return iter(bins)

    graph = MapperAlgorithm(Given(), _single_linkage(threshold), n_jobs=-1).fit_transform(scaled, lens)
    _thumbnails(points, [rows for _, rows in graph.nodes(data=ATTR_IDS)])
    return graph.number_of_nodes(), graph.number_of_edges()


# kernel -> (what the others are given, what must agree, {name: (distribution on the package index, function)})
KERNELS = {
    "density": (
        lambda points: {"points": points},
        quantiles,
        {
            "topo": (None, density_topo),
            "SciPy cKDTree": ("scipy", density_scipy),
            "FAISS flat": ("faiss-cpu", density_faiss),
            "scikit-learn brute": ("scikit-learn", density_scikit_brute),
            "scikit-learn kd-tree": ("scikit-learn", density_scikit_tree),
        },
    ),
    "lazy witness": (
        lambda points: {"points": points},
        longest,
        {
            "topo": (None, witness_topo),
            "NumPy, giotto-tda": ("giotto-tda", witness_numpy),
            "GUDHI (weak)": ("gudhi", witness_gudhi),
        },
    ),
    "Mapper": (
        prepare_mapper,
        list,
        {
            "topo": (None, mapper_topo),
            "giotto-tda": ("giotto-tda", mapper_giotto),
            "KeplerMapper": ("kmapper", mapper_kepler),
            "tda-mapper": ("tda-mapper", mapper_tda),
        },
    ),
}


def measure(kernel, name, n, limit):
    """One contestant on the first n points: {"seconds", "memory": bytes that the process held at most, "answer"}.

    A run on 1,000 points comes first and is not timed, because some things are compiled or loaded only once. Runs are
    repeated until they have taken a second, and the fastest counts. SIGALRM ends the process after `limit` seconds.
    """
    prepare, essence, contestants = KERNELS[kernel]
    function = contestants[name][1]
    given = (lambda points: {"points": points}) if name == "topo" else prepare
    function(**given(cloud(1000)))
    arguments, seconds = given(cloud(n)), []
    signal.alarm(limit)
    while sum(seconds) < 1:
        start = time.perf_counter()
        answer = function(**arguments)
        seconds.append(time.perf_counter() - start)
    signal.alarm(0)
    return {"seconds": min(seconds), "memory": peak_memory(), "answer": essence(answer)}
