import os
import subprocess
import sys
import tracemalloc
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from conftest import refused
from gtda.mapper import CubicalCover, ParallelClustering, make_mapper_pipeline, plot_static_mapper_graph
from gtda.mapper.nerve import Nerve
from igraph import Graph
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import DBSCAN
from sklearn.decomposition import PCA

from topo import spaces
from topo.filters import normalize
from topo.mapper import (
    IntervalCover,
    Lens,
    RefinedCover,
    SingleLinkage,
    SparseNerve,
    VarianceNormalizer,
    betti_numbers,
    graph_loops,
    graph_summary,
    isomap_lens,
    largest_component,
    linkage_threshold,
    mapper_graph,
    mapper_pipeline,
    merge_heights,
    node_means,
    node_sizes,
    spectral_lens,
)


def cloud(n, d=9, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)) * np.linspace(1, 2, d)


def noisy_circle(n, noise, seed=0):
    generator = np.random.default_rng(seed)
    circle = spaces.primary_circle(generator.uniform(0, 2 * np.pi, n))
    return normalize(circle + noise * generator.normal(size=circle.shape))


def assert_same_graph(graph, other):
    assert graph.vcount() == other.vcount()
    assert graph.get_edgelist() == other.get_edgelist()
    assert graph.vs.attributes() == other.vs.attributes() and graph.es.attributes() == other.es.attributes()
    for name in ("pullback_set_label", "partial_cluster_label"):
        assert graph.vs[name] == other.vs[name]
    assert graph.es["weight"] == other.es["weight"]
    for items, name in ((lambda g: g.vs, "node_elements"), (lambda g: g.es, "edge_elements")):
        if name in items(graph).attributes():
            for ours, theirs in zip(items(graph)[name], items(other)[name], strict=True):
                assert ours.dtype == theirs.dtype
                np.testing.assert_array_equal(ours, theirs)


# The variance-normalised metric


def test_vne_divides_by_the_variance_not_the_standard_deviation():
    points = cloud(200, 4)
    scaled = VarianceNormalizer().fit_transform(points)
    np.testing.assert_allclose(scaled, points / np.mean((points - points.mean(axis=0)) ** 2, axis=0))
    np.testing.assert_allclose(VarianceNormalizer().fit_transform(4 * points), scaled / 4)


@pytest.mark.parametrize("value", [0.0, 3.0, 0.1])
def test_vne_names_constant_columns(value):
    points = cloud(50, 5)
    points[:, [1, 3]] = value
    with pytest.raises(ValueError, match=r"constant columns, \[1, 3\] of 0\.\.4.*metric='euclidean'"):
        mapper_graph(points)
    assert mapper_graph(points, 5, 2, metric="euclidean").vcount()


def test_vne_calls_a_column_constant_up_to_a_millionth_of_the_largest_coordinate():
    points = cloud(50, 3)
    points[0, 0] = 10 * np.abs(points).max()
    points[:, 1] = 5 + 2e-6 * points[0, 0] * np.linspace(0, 1, 50)
    assert VarianceNormalizer().fit(points).variance_[1] > 0
    points[:, 1] = 5 + 0.5e-6 * points[0, 0] * np.linspace(0, 1, 50)
    with pytest.raises(ValueError, match=r"^points have constant columns, \[1\] of 0\.\.2"):
        VarianceNormalizer().fit(points)
    with pytest.raises(ValueError, match=r"\[0, 1\] of 0\.\.1"):
        VarianceNormalizer().fit(np.zeros((5, 2)))


def test_vne_calls_a_column_of_rounding_errors_constant():
    circle = spaces.primary_circle(np.linspace(0, 6, 100))
    circle[:, 4] = 1e-17 * np.arange(100)  # the centre pixel of an edge
    with pytest.raises(ValueError, match=r"\[4\]"):
        mapper_graph(circle)


# Lenses


def test_pca_lens_is_pca_with_signs_that_rounding_and_order_do_not_change():
    points = cloud(300, 9)
    values = Lens().fit_transform(points)
    theirs = PCA(2).fit_transform(points)
    np.testing.assert_allclose(values, theirs * np.sign((values * theirs).sum(axis=0)), atol=1e-10)
    order = np.random.default_rng(1).permutation(300)
    np.testing.assert_allclose(Lens().fit_transform(points[order]), values[order], atol=1e-10)
    np.testing.assert_allclose(Lens().fit_transform(points + 1e-9 * cloud(300, 9, 2)), values, atol=1e-6)


def test_pca_sign_is_stable_where_the_largest_loadings_are_equal_and_opposite():
    edges = spaces.primary_circle(np.random.default_rng(0).normal(0, 0.3, 500))  # about the edge along x
    for seed in range(10):
        lens = Lens().fit(edges + 1e-3 * np.random.default_rng(seed).normal(size=edges.shape))
        assert (lens.components_[:, 0] > 0).all()


def crossed(*axes):
    """Points whose principal axes are the given ones, the first with the largest variance."""
    axes = [np.array(axis) / np.linalg.norm(axis) for axis in axes]
    return np.concatenate([sign * (len(axes) - i) * axis[None] for i, axis in enumerate(axes) for sign in (1, -1)])


@pytest.mark.parametrize("loading, sign", [(0.4, -1), (0.6, 1)])
def test_the_first_loading_that_is_at_least_half_the_largest_is_positive(loading, sign):
    first, second = np.array([loading, -1, 0, 0.0]), np.array([0, 0, loading, -1.0])
    for points in (crossed(first, second), crossed(-first, -second)):
        components = Lens().fit(points).components_
        expected = sign * np.array([first, second]) / np.hypot(loading, 1)
        np.testing.assert_allclose(components, expected, atol=1e-12)


def test_a_loading_is_large_beside_the_others_of_its_own_axis():
    steep, wide = np.eye(9)[8], np.array([-0.1, 1, 1, 1, 1, 1, 1, 1, 0])
    components = Lens().fit(crossed(steep, wide)).components_
    np.testing.assert_allclose(components, [steep, wide / np.linalg.norm(wide)], atol=1e-12)


def test_points_are_on_a_line_where_the_second_variance_is_a_trillionth_of_the_first():
    assert Lens().fit_transform(cloud(50, 2)).shape == (50, 2)
    line = np.linspace(-1, 1, 1000)[:, None] * [1.0, 0.0, 0.0]
    bent = np.tile([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], (500, 1))
    assert Lens().fit(line + 3e-6 * bent).components_.shape == (2, 3)
    for points in (line + 0.1e-6 * bent, np.ones((5, 3))):
        with pytest.raises(ValueError, match="^points lie on a line, so that PCA 2 is constant: give another lens$"):
            Lens().fit(points)


def test_a_lens_is_a_function_or_values():
    points = cloud(80, 3)
    for lens in (points[:, 0], points[:, :1], points[:, :3], lambda p: p[:, 1], lambda p: p[:, :2].astype(np.float32)):
        values = Lens(lens).fit_transform(points)
        expected = lens(points) if callable(lens) else lens
        np.testing.assert_array_equal(values, np.reshape(expected, (80, -1)))
        assert values.dtype == np.float64


@pytest.mark.parametrize("lens", [np.zeros(79), np.zeros((80, 4)), np.zeros((80, 2, 2)), lambda p: p.sum(), 1.0])
def test_a_lens_of_another_shape_is_refused(lens):
    with refused(ValueError, match=r"lens must give 80 points 1, 2 or 3 values each; its shape is \("):
        mapper_graph(cloud(80), lens=lens)


# Bins


@pytest.mark.parametrize("kind", ["uniform", "balanced"])
@pytest.mark.parametrize(
    "resolution, gain, lenses", [(30, 3, 2), (10, 2, 1), (9, 5, 2), (6, 2, 3), (4, 4, 2), (7, 2.5, 2)]
)
def test_cover_is_giottos_cubical_cover(kind, resolution, gain, lenses):
    lens = cloud(400, lenses)
    lens[::7] = lens[0]  # points that coincide
    ours = IntervalCover(resolution, gain, kind).fit_transform(lens)
    intervals = int(np.ceil(resolution - gain)) + 1
    theirs = CubicalCover(kind=kind, n_intervals=intervals, overlap_frac=1 - 1 / gain).fit_transform(lens)
    np.testing.assert_array_equal(ours.toarray(), theirs)


@pytest.mark.parametrize("resolution, gain", [(30, 3), (30, 1.5), (10, 2), (12, 4.25), (5, 5), (100, 10)])
def test_convention_of_resolution_and_gain(resolution, gain):
    values = np.linspace(-2, 5, 20_001)
    cover = IntervalCover(resolution, gain).fit(values)
    left, right = cover.left_[0].copy(), cover.right_[0].copy()
    assert (left[0], right[-1]) == (-np.inf, np.inf)
    assert len(left) == np.ceil(resolution - gain) + 1
    left[0], right[-1] = -2, 5
    widths, steps = right - left, np.diff(left)
    np.testing.assert_allclose(widths, widths[0])
    np.testing.assert_allclose(steps, widths[0] / gain)
    np.testing.assert_allclose(right[:-1] - left[1:], (1 - 1 / gain) * widths[0])  # overlap = 1 - 1/gain
    if gain == int(gain):  # KeplerMapper: radius = range / (2 n_cubes (1 - perc_overlap)), step = range / n_cubes
        np.testing.assert_allclose(widths[0], 7 / (resolution * (1 / gain)))
        np.testing.assert_allclose(steps, 7 / resolution)
    inner = (values > -2 + widths[0]) & (values < 5 - widths[0])
    if inner.any():
        multiplicity = cover.transform(values).sum(axis=1).A1[inner]
        assert multiplicity.mean() == pytest.approx(gain, rel=0.02)


def test_bins_of_a_balanced_cover_hold_equally_many_points():
    values = np.random.default_rng(0).exponential(size=3000)
    counts = np.diff(IntervalCover(30, 3, "balanced").fit_transform(values).indptr)
    assert len(counts) == 28 and counts.min() == counts.max() == 300
    assert np.diff(IntervalCover(30, 3, "uniform").fit_transform(values).indptr).std() > 200


@pytest.mark.parametrize("kind", ["uniform", "balanced"])
@pytest.mark.parametrize("gain", [1.01, 1.7, 3, 6.5, 20])
def test_every_point_is_in_a_bin(kind, gain):
    lens = np.round(cloud(500, 2), 1)  # many values on or near the ends of intervals
    membership = IntervalCover(20, gain, kind).fit_transform(lens)
    assert membership.sum(axis=1).min() >= 1
    assert membership.dtype == bool


def test_a_fitted_cover_places_other_points():
    lens = cloud(500, 2)
    for kind in ("uniform", "balanced"):
        cover = IntervalCover(10, 2, kind).fit(lens)
        some = cover.transform(lens[:50]).toarray()
        whole = cover.transform(lens).toarray()[:50]
        assert {column.tobytes() for column in some.T} <= {column.tobytes() for column in whole.T}
        assert cover.transform(100 + lens[:3]).shape == (3, 1)  # beyond the range: in the last bin


def test_cover_is_never_a_dense_matrix():
    lens = np.random.default_rng(0).normal(size=(20_000, 3))
    tracemalloc.start()
    membership = IntervalCover(30, 3).fit_transform(lens)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert membership.shape[1] > 5000 and peak < membership.shape[0] * membership.shape[1] / 2


def test_a_constant_lens_is_refused():
    with pytest.raises(ValueError, match=r"lens 2 of 2 is constant at 4\.0"):
        mapper_graph(cloud(50), lens=np.column_stack([np.arange(50), np.full(50, 4.0)]))
    line = np.outer(np.arange(50), [1.0, 2.0, -1.0])
    with pytest.raises(ValueError, match="points lie on a line"):
        mapper_graph(line)
    with pytest.raises(ValueError, match="points lie on a line"):
        mapper_graph(np.arange(50.0)[:, None])


# Clusters


@pytest.mark.parametrize("n", [2, 3, 200])
def test_merge_heights_are_those_of_single_linkage(n):
    points = cloud(n)
    np.testing.assert_allclose(merge_heights(points), linkage(points, "single")[:, 2])


def test_threshold_lies_in_the_gap_between_clusters():
    generator = np.random.default_rng(0)
    centres = 10 * np.eye(5, 6)
    points = np.concatenate([centre + 0.3 * generator.normal(size=(200, 6)) for centre in centres])
    heights = merge_heights(points)
    threshold = linkage_threshold(points)
    assert heights[-5] < threshold < heights[-4]  # 5 clusters: 4 merges above it
    assert threshold == pytest.approx(1.75 * heights[-5])
    assert linkage_threshold(points, gap=50) == pytest.approx(50 * heights[-1])


def test_threshold_of_one_cluster_is_above_all_its_heights():
    points = noisy_circle(500, 0.1)
    assert linkage_threshold(points) == pytest.approx(1.75 * merge_heights(points)[-1])
    assert linkage_threshold(3 * points) == pytest.approx(3 * linkage_threshold(points))


def test_a_gap_is_wider_than_its_factor():
    line = np.cumsum([0, 1, 1, 1, 1, 1, 1, 1, 2])[:, None]
    assert linkage_threshold(line, gap=1.9) == pytest.approx(1.9) and linkage_threshold(line, gap=2) == 4


@pytest.mark.parametrize("heights, height", [([1, 1, 1, 1, 1, 2, 2, 2], 2), ([1, 1, 1, 1, 1, 1, 1, 2], 1)])
def test_threshold_looks_for_its_gap_in_the_upper_quarter_of_the_heights(heights, height):
    line = np.cumsum([0, *heights])[:, None]
    assert linkage_threshold(line) == pytest.approx(1.75 * height)


def test_threshold_counts_points_that_coincide_once():
    points = cloud(60)
    assert linkage_threshold(np.repeat(points, 20, axis=0)) == pytest.approx(linkage_threshold(points), rel=0.2)
    assert linkage_threshold(np.ones((5, 2))) == 0.0


def test_an_outlier_does_not_raise_the_threshold():
    points = noisy_circle(500, 0.1)
    assert linkage_threshold(np.concatenate([points, [np.full(9, 50.0)]])) == linkage_threshold(points)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 2.0, 2.5, 9.0])
def test_clusters_of_a_bin_are_single_linkage_cut_at_the_threshold(threshold):
    points = cloud(300)
    bins = IntervalCover(6, 2).fit_transform(Lens().fit_transform(points))
    refined = SingleLinkage(threshold).fit_transform([points, bins])
    clusters = dict(zip(refined.labels, refined.elements))
    for label, column in enumerate(bins.T.toarray()):
        rows = np.flatnonzero(column)
        tree = linkage(points[rows], "single") if len(rows) > 1 else None
        expected = fcluster(tree, threshold, "distance") if len(rows) > 1 else np.array([1])
        ours = {tuple(e) for (a, _), e in clusters.items() if a == label}
        assert ours == {tuple(rows[expected == c]) for c in np.unique(expected)}


def test_bins_of_one_point_and_dense_masks():
    points = np.array([[0.0], [1.0], [5.0]])
    masks = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0]], bool)
    refined = SingleLinkage(2.0).fit_transform([points, masks])
    assert refined.labels == [(0, 0), (0, 1), (1, 0), (2, 0)]
    assert [e.tolist() for e in refined.elements] == [[0, 1], [2], [2], [0]]


def test_points_in_no_bin_have_no_cluster():
    refined = SingleLinkage(2.0).fit_transform([[[0.0], [1.0], [5.0], [9.0]], np.array([[0], [1], [1], [0]], bool)])
    assert list(refined) == [(), ((0, 0),), ((0, 1),), ()]


def test_refined_cover_reads_as_giottos_parallel_clustering():
    points = cloud(250)
    bins = IntervalCover(8, 2).fit_transform(Lens().fit_transform(points))
    refined = SingleLinkage(2.5).fit_transform([points, bins])
    theirs = ParallelClustering(DBSCAN(eps=2.5, min_samples=1)).fit_transform([points, bins.toarray()])
    assert isinstance(refined, RefinedCover)
    assert list(refined) == list(theirs) and refined[-1] == theirs[-1]
    with pytest.raises(IndexError):
        refined[250]


# The nerve


def random_refined_cover(seed, n=60, sets=12):
    """Clusters of random sets, many nested or equal, in giotto-tda's form."""
    generator = np.random.default_rng(seed)
    samples = [[] for _ in range(n)]
    for label in range(sets):
        rows = np.flatnonzero(generator.random(n) < generator.choice([0.05, 0.3, 0.7]))
        if label % 4 == 3:
            rows = rows[: len(rows) // 2]
        clusters = generator.integers(0, generator.integers(1, 4), len(rows))
        for row, cluster in zip(rows, clusters):
            samples[row].append((label, cluster))
            if label % 5 == 4:
                samples[row].append((sets + label, cluster))  # an equal set under another label
    return [tuple(sample) for sample in samples]


@pytest.mark.parametrize("contract_nodes", [False, True])
@pytest.mark.parametrize("store_edge_elements", [False, True])
@pytest.mark.parametrize("min_intersection", [1, 2, 5, 100])
def test_nerve_is_giottos(min_intersection, store_edge_elements, contract_nodes):
    options = dict(
        min_intersection=min_intersection, store_edge_elements=store_edge_elements, contract_nodes=contract_nodes
    )
    for seed in range(8):
        cover = random_refined_cover(seed)
        theirs = Nerve(**options).fit_transform(cover)
        assert_same_graph(SparseNerve(**options).fit_transform(cover), theirs)
    assert theirs.vcount() < Nerve().fit_transform(cover).vcount() or not contract_nodes


@pytest.mark.parametrize("contract_nodes", [False, True])
def test_nerve_of_a_mapper_cover_is_giottos(contract_nodes):
    points = noisy_circle(400, 0.1)
    scaled = VarianceNormalizer().fit_transform(points)
    bins = IntervalCover(12, 3).fit_transform(Lens().fit_transform(points))
    refined = SingleLinkage().fit_transform([scaled, bins])
    ours = SparseNerve(store_edge_elements=True, contract_nodes=contract_nodes).fit(refined).graph_
    assert_same_graph(ours, Nerve(store_edge_elements=True, contract_nodes=contract_nodes).fit_transform(refined))
    assert ours.ecount() > 100


def test_nerve_takes_any_labels_and_no_edges():
    cover = [(("a", "x"),), (("a", "x"), ("b", 1.5)), ((None, 2),), ()]
    assert_same_graph(SparseNerve().fit_transform(cover), Nerve().fit_transform(cover))
    apart = [((0, 0),), ((1, 0),)]
    assert_same_graph(SparseNerve().fit_transform(apart), Nerve().fit_transform(apart))


def test_nerve_has_no_edge_inside_a_bin():
    cover = [((0, 0), (0, 1)), ((0, 1), (1, 0))]  # clusters of bin 0 that share a point
    graph = SparseNerve().fit_transform(cover)
    assert graph.get_edgelist() == [(1, 2)]
    assert_same_graph(graph, Nerve().fit_transform(cover))


def test_nerve_of_nothing_is_refused():
    for cover in ([], [(), ()]):
        with pytest.raises(ValueError, match="^the cover has no nodes: no point lies in any of its sets$"):
            SparseNerve().fit_transform(cover)
    for wrong, error in ((0, ValueError), (1.5, TypeError)):
        with refused(error, match=f"^min_intersection = {wrong} must be a whole number, 1 or more$"):
            SparseNerve(min_intersection=wrong).fit_transform([((0, 0),)])


# The whole


@pytest.mark.parametrize("cover", ["uniform", "balanced"])
def test_graph_is_that_of_a_pipeline_of_giottos_own_steps(cover):
    points = noisy_circle(400, 0.15)
    threshold = linkage_threshold(VarianceNormalizer().fit_transform(points))
    theirs = make_mapper_pipeline(
        filter_func=Lens(),
        cover=CubicalCover(kind=cover, n_intervals=8, overlap_frac=2 / 3),
        clustering_preprocessing=VarianceNormalizer(),
        clusterer=DBSCAN(eps=threshold, min_samples=1),
    )
    assert_same_graph(mapper_graph(points, 10, 3, cover=cover), theirs.fit_transform(points))


@pytest.mark.parametrize(
    "options",
    [{}, {"lens": lambda p: p[:, 0]}, {"cover": "balanced"}, {"metric": "euclidean"}, {"threshold": 3.0, "gain": 2.5}],
)
def test_pipeline_gives_the_same_graph(options):
    points = noisy_circle(300, 0.1)
    options = {"resolution": 12, **options}
    assert_same_graph(mapper_pipeline(**options).fit_transform(points), mapper_graph(points, **options))


def test_pipeline_is_giottos():
    points = noisy_circle(150, 0.1)
    pipeline = mapper_pipeline(8, 2)
    assert type(pipeline).__name__ == "MapperPipeline"
    assert isinstance(pipeline.steps[-1][1], SparseNerve)
    assert pipeline.get_mapper_params()["cover__resolution"] == 8
    pipeline.set_params(cover__resolution=10, clustering__threshold=4.0, min_intersection=2)
    graph = pipeline.fit_transform(points)
    assert min(graph.es["weight"]) == 2
    nodes = mapper_graph(points, 10, 2, threshold=4.0).vs["node_elements"]
    assert [e.tolist() for e in graph.vs["node_elements"]] == [e.tolist() for e in nodes]
    pipeline.set_params(cover=CubicalCover(n_intervals=9, overlap_frac=0.5))
    assert_same_graph(pipeline.fit_transform(points), graph)
    figure = plot_static_mapper_graph(pipeline, points)
    assert len(figure.data[1].x) == graph.vcount()


def test_graph_does_not_depend_on_the_order_or_kind_of_the_points():
    points = noisy_circle(300, 0.1).astype(np.float32)
    graph = mapper_graph(points, 12, 3)
    order = np.random.default_rng(0).permutation(300)
    shuffled = mapper_graph(points[order], 12, 3)
    nodes, shuffled_nodes = graph.vs["node_elements"], shuffled.vs["node_elements"]
    assert sorted(e.tolist() for e in nodes) == sorted(sorted(order[e].tolist()) for e in shuffled_nodes)
    assert graph.ecount() == shuffled.ecount()
    for same in (points.tolist(), np.asfortranarray(points), points.astype(np.float64)):
        assert_same_graph(mapper_graph(same, 12, 3), graph)
    whole = np.round(100 * points)
    assert_same_graph(mapper_graph(whole.astype(np.int8), 12, 3), mapper_graph(whole, 12, 3))


def test_unless_told_otherwise_it_is_the_mapper_of_the_paper():
    points = noisy_circle(150, 0.1)
    options = dict(resolution=30, gain=3, lens="pca", cover="uniform", metric="vne", threshold=None)
    expected = mapper_graph(points, **options)
    assert_same_graph(mapper_graph(points), expected)
    assert_same_graph(mapper_pipeline().fit_transform(points), expected)
    assert IntervalCover().get_params() == dict(resolution=30, gain=3, kind="uniform")
    assert SparseNerve().get_params() == dict(min_intersection=1, store_edge_elements=False, contract_nodes=False)


def test_a_graph_has_whole_numbers_and_ascending_rows():
    graph = mapper_graph(noisy_circle(300, 0.1), 12, 3)
    numbers = graph.vs["pullback_set_label"] + graph.vs["partial_cluster_label"] + graph.es["weight"]
    assert {type(number) for number in numbers} == {int}
    for rows in graph.vs["node_elements"]:
        assert rows.dtype == np.int64 and (np.diff(rows) > 0).all()
    sizes = node_sizes(graph)
    assert sizes.dtype == np.int64 and {type(graph_summary(graph)[name]) for name in ("largest_node", "loops")} == {int}


@pytest.mark.parametrize("cover", ["uniform", "balanced"])
@pytest.mark.parametrize("noise", [0.1, 0.15])
def test_noisy_primary_circle_is_one_component_with_one_loop(noise, cover):
    for seed in range(2):
        points = noisy_circle(1920, noise, seed)
        graph = mapper_graph(points, 30, 3, cover=cover)
        summary = graph_summary(graph)
        assert summary["largest_share"] > 0.995
        assert summary["one_point_nodes"] < 0.35 * summary["nodes"] and summary["nodes"] < 600
        assert graph_loops(graph, min_points=4) == 1
        # The loop goes once around: nodes lie at all angles, and adjacent ones at nearly the same.
        angles = spaces.primary_angle(node_means(graph, points))
        assert np.histogram(angles, 36, (-np.pi, np.pi))[0].min() > 0
        turns = np.diff(angles[graph.get_edgelist()], axis=1)
        assert np.abs(np.angle(np.exp(1j * turns))).max() < np.pi / 3


def test_three_circles_have_five_loops():
    for seed in range(2):
        graph = mapper_graph(spaces.sample_three_circles(1920, seed, 0.05), 30, 3)
        summary = graph_summary(graph)
        assert (summary["components"], summary["largest_share"], summary["loops"]) == (1, 1.0, 5)


@pytest.mark.parametrize("seed", range(3))
def test_two_circles_apart_are_two_components_of_one_loop(seed):
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, (2, 960))
    points = np.concatenate([spaces.secondary_circles(angles[0])[0], spaces.secondary_circles(angles[1])[1]])
    points = normalize(points + 0.03 * np.random.default_rng(100 + seed).normal(size=points.shape))
    graph = mapper_graph(points, 30, 3)
    vertical = set(range(960))
    assert all(len({row in vertical for row in rows}) == 1 for rows in graph.vs["node_elements"])
    assert len(graph.connected_components()) == 2
    assert [graph_loops(component) for component in graph.decompose()] == [1, 1]


def test_clusters_that_the_lens_lays_over_each_other_stay_apart():
    points = cloud(400, 3) * 0.1
    points[200:, 2] += 5
    graph = mapper_graph(points, 8, 2, lens=points[:, :2], metric="euclidean")
    below, above = set(range(200)), set(range(200, 400))
    assert all(set(e) <= below or set(e) <= above for e in graph.vs["node_elements"])
    assert graph_summary(graph)["components"] >= 2


@pytest.mark.seconds
def test_1920_points_in_under_three_seconds_after_import():
    code = (
        "import time, numpy as np; from topo.mapper import mapper_graph; from topo.spaces import sample_three_circles;"
        "points = sample_three_circles(1920, 0, 0.1); start = time.perf_counter(); mapper_graph(points, 30, 3);"
        "print(time.perf_counter() - start)"
    )
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 3


def test_importing_mapper_does_not_import_giotto():
    code = "import sys, topo.mapper; sys.exit(any(name in sys.modules for name in ('gtda', 'gph', 'jax')))"
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}, check=True)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"resolution": 0}, ValueError, "resolution = 0 must be a whole number, 1 or more"),
        ({"resolution": -3}, ValueError, "resolution = -3 must be a whole number, 1 or more"),
        ({"resolution": 30.0}, TypeError, "resolution = 30.0 must be a whole number, 1 or more"),
        ({"gain": 1}, ValueError, "gain = 1 must be above 1"),
        ({"gain": 0.5}, ValueError, "gain = 0.5 must be above 1"),
        ({"gain": float("nan")}, ValueError, "gain = nan must be a number, finite"),
        ({"gain": "3"}, TypeError, "gain = '3' must be a number"),
        ({"gain": 31}, ValueError, "gain = 31 .* at most resolution = 30"),
        ({"lens": "tsne"}, ValueError, "lens = 'tsne' must be 'pca', a function"),
        ({"lens": np.full(40, np.nan)}, ValueError, "lens must be finite"),
        ({"lens": np.array(["a"] * 40)}, TypeError, "lens must be an array of real numbers"),
        ({"cover": "cubical"}, ValueError, "cover = 'cubical' must be one of 'uniform', 'balanced'"),
        ({"cover": 3}, ValueError, "cover = 3 must be one of 'uniform', 'balanced'"),
        ({"metric": "cosine"}, ValueError, "metric = 'cosine' must be one of 'vne', 'euclidean'"),
        ({"threshold": -1.0}, ValueError, "threshold = -1.0 must be None or a distance, finite and 0 or more"),
        ({"threshold": float("inf")}, ValueError, "threshold = inf must be None or a distance"),
        ({"threshold": "auto"}, TypeError, "threshold = 'auto' must be None or a distance"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with refused(error, match=f"^{message}"):
        mapper_graph(cloud(40), **options)
    if "lens must be" not in message:
        with refused(error, match=f"^{message}"):
            mapper_pipeline(**options)


def test_each_step_names_what_it_cannot_be_made_with():
    points, bins = cloud(40), np.ones((40, 1), bool)
    for fit, error, message in (
        (lambda: Lens("tsne").fit(points), ValueError, "lens = 'tsne' must be 'pca'"),
        (lambda: IntervalCover(0).fit(points), ValueError, "resolution = 0 must be a whole number, 1 or more"),
        (lambda: IntervalCover(5, 6).fit(points), ValueError, "gain = 6 must be above 1.* at most resolution = 5"),
        (lambda: IntervalCover(5, 2, "cubical").fit(points), ValueError, "cover = 'cubical' must be one of"),
        (lambda: IntervalCover(5, 2).fit([[1.0], [np.nan]]), ValueError, "lens must be finite; 1 entries"),
        (lambda: IntervalCover(5, 2).fit([1.0, 1.0]), ValueError, r"lens 1 of 1 is constant at 1\.0: it has no range"),
        (lambda: SingleLinkage(-1).fit([points, bins]), ValueError, "threshold = -1 must be None or a distance"),
        (lambda: SparseNerve(0).fit([((0, 0),)]), ValueError, "min_intersection = 0 must be a whole number, 1 or more"),
    ):
        with pytest.raises(error, match=f"^{message}"):
            fit()


@pytest.mark.parametrize(
    "points, error, message",
    [
        (np.ones((1, 9)), ValueError, "points must be 2 or more: a cloud of one point has neither variance nor"),
        (np.array([[0.0, 1.0], [np.nan, 1.0]]), ValueError, "points must be finite"),
        (np.zeros(9), ValueError, r"points must have shape \(n, d\)"),
        ("points", TypeError, "points must be an array of real numbers"),
    ],
)
def test_bad_points_are_named(points, error, message):
    for function in (mapper_graph, linkage_threshold, merge_heights, VarianceNormalizer().fit, Lens().fit):
        with refused(error, match=f"^{message}"):
            function(points)


@pytest.mark.parametrize("gap, error", [(1, ValueError), (np.inf, ValueError), (np.nan, ValueError), ("2", TypeError)])
def test_a_gap_that_is_no_factor_is_named(gap, error):
    with refused(error, match=f"^gap = {gap!r} must be a factor, finite and above 1$"):
        linkage_threshold(cloud(9), gap)


# What is read off a graph


def mean_by_definition(graph, points, node, hops):
    nodes = graph.neighborhood(node, order=hops)
    return points[sorted(set().union(*(graph.vs["node_elements"][n].tolist() for n in nodes)))].mean(axis=0)


def test_node_means_and_sizes():
    points = noisy_circle(300, 0.1)
    graph = mapper_graph(points, 12, 3)
    np.testing.assert_array_equal(node_sizes(graph), [len(e) for e in graph.vs["node_elements"]])
    for hops in (0, 1, 3):
        expected = [mean_by_definition(graph, points, node, hops) for node in range(graph.vcount())]
        np.testing.assert_allclose(node_means(graph, points, hops), expected, atol=1e-12)
    np.testing.assert_array_equal(node_means(graph, points), node_means(graph, points, 0))
    for count in (200, 299):
        with pytest.raises(ValueError, match=f"^the graph holds point 299, but there are {count} points: it is of"):
            node_means(graph, points[:count])
    with pytest.raises(ValueError, match="^hops = -1 must be a whole number, 0 or more$"):
        node_means(graph, points, -1)


def test_a_point_that_two_nodes_share_counts_once_in_their_mean():
    graph = Graph(2, [(0, 1)], vertex_attrs={"node_elements": [np.array([0, 1]), np.array([1, 2])]})
    points = [[0.0], [5.0], [1.0]]
    np.testing.assert_array_equal(node_means(graph, points), [[2.5], [3.0]])
    np.testing.assert_array_equal(node_means(graph, points, 1), [[2.0], [2.0]])


def betti_1(graph):
    """First Betti number of the clique complex, by ranks over Z/2."""
    edges = sorted({tuple(sorted(e)) for e in graph.get_edgelist() if e[0] != e[1]})
    number = {edge: i for i, edge in enumerate(edges)}
    triangles = [t for t in combinations(range(graph.vcount()), 3) if all(e in number for e in combinations(t, 2))]
    boundary = np.zeros((len(edges), len(triangles)), bool)
    for column, triangle in enumerate(triangles):
        for edge in combinations(triangle, 2):
            boundary[number[edge], column] = True
    rank = 0
    for column in range(len(triangles)):
        pivots = np.flatnonzero(boundary[rank:, column]) + rank
        if len(pivots):
            boundary[[rank, pivots[0]]] = boundary[[pivots[0], rank]]
            others = np.flatnonzero(boundary[:, column])
            boundary[others[others != rank]] ^= boundary[rank]
            rank += 1
    return len(edges) - graph.vcount() + len(graph.connected_components()) - rank


def with_sizes(graph, sizes):
    ends = np.cumsum(sizes)
    graph.vs["node_elements"] = [np.arange(end - size, end) for end, size in zip(ends, sizes)]
    return graph


def test_loops_are_those_of_the_clique_complex():
    assert [graph_loops(with_sizes(Graph.Ring(n), [1] * n)) for n in (3, 4, 30)] == [0, 1, 1]
    assert graph_loops(with_sizes(Graph(5), [1] * 5)) == 0
    generator = np.random.default_rng(0)
    found = set()
    for _ in range(30):
        upper = np.triu(generator.random((14, 14)) < generator.uniform(0.15, 0.5), 1)
        graph = with_sizes(Graph(14, np.argwhere(upper).tolist()), [1] * 14)
        assert graph_loops(graph) == betti_1(graph)
        found.add(graph_loops(graph))
    assert len(found) > 4
    multiple = with_sizes(Graph(4, [(0, 1), (0, 1), (1, 2), (2, 3), (3, 0), (2, 2)]), [1] * 4)
    assert graph_loops(multiple) == 1


def test_loops_without_small_nodes():
    graph = with_sizes(Graph.Ring(10), [5] * 9 + [2])
    assert [graph_loops(graph, k) for k in (1, 2, 3, 99)] == [1, 1, 0, 0]
    with pytest.raises(ValueError, match="^min_points = 0 must be a whole number, 1 or more$"):
        graph_loops(graph, 0)


def test_summary_and_largest_component():
    graph = with_sizes(Graph.Ring(6) + Graph(2, [(0, 1)]), [1, 2, 1, 1, 1, 1, 20, 13])
    graph.vs[1]["node_elements"] = np.array([0, 1])  # shares point 0 with node 0
    graph.vs["node_elements"] = [np.array([0]), np.array([0, 1])] + [e - 1 for e in graph.vs["node_elements"][2:]]
    assert graph_summary(graph) == {
        "nodes": 8,
        "edges": 7,
        "components": 2,
        "points": 39,
        "one_point_nodes": 5,
        "largest_node": 20,
        "largest_share": 33 / 39,
        "loops": 0,
    }
    main = largest_component(graph)
    assert main.vcount() == 2 and [len(e) for e in main.vs["node_elements"]] == [20, 13]


@pytest.mark.parametrize("lens", [isomap_lens, spectral_lens])
def test_lenses_of_neighbourhoods_unroll_a_helix_which_principal_components_do_not(lens):
    t = np.linspace(0, 4 * np.pi, 400)
    helix = np.column_stack([np.cos(t), np.sin(t), 0.1 * t])
    along = [abs(np.corrcoef(t, values[:, 0])[0, 1]) for values in (lens(helix, 6), Lens().fit_transform(helix))]
    assert lens(helix, 6).shape == (400, 2) and along[0] > 0.95 > 0.8 > along[1]


@pytest.mark.parametrize("lens", [isomap_lens, spectral_lens])
def test_lenses_of_neighbourhoods_take_more_neighbours_where_the_graph_is_in_pieces(lens, recwarn):
    apart = np.concatenate([noisy_circle(30, 0.1), 5 + noisy_circle(30, 0.1, seed=1)])
    values = lens(apart, 3)
    assert np.isfinite(values).all() and not recwarn.list
    np.testing.assert_array_equal(values, lens(apart, 48))  # 3, 6, 12 and 24 join at most the 30 of one circle
    assert lens(apart[:4], 15).shape == (4, 2)


@pytest.mark.parametrize("lens", [isomap_lens, spectral_lens])
def test_lenses_of_neighbourhoods_refuse_bad_input(lens):
    with refused(ValueError, match="neighbors = 0 must be a whole number, 1 or more"):
        lens(cloud(9), 0)
    with refused(ValueError, match="points must be 4 or more"):
        lens(cloud(3))


def test_betti_numbers_of_a_cover_are_those_of_its_graph():
    for seed, least in product(range(3), (1, 3)):
        points = noisy_circle(300, 0.4, seed)
        graph = mapper_graph(points, 12, 2)
        bins = IntervalCover(12, 2).fit_transform(Lens().fit_transform(points))
        clusters = SingleLinkage().fit_transform([VarianceNormalizer().fit_transform(points), bins])
        kept = graph.subgraph(np.flatnonzero(node_sizes(graph) >= least))
        expected = len(kept.connected_components()), graph_loops(graph, least)
        assert betti_numbers(clusters, least) == expected and min(expected) > 0
    assert betti_numbers(clusters, 301) == (0, 0)
