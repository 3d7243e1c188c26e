"""Betti numbers over a grid of Mapper's settings: known shapes, single graphs, and brute force over the cells."""

from itertools import combinations, product

import numpy as np
import pytest
from conftest import refused

from topo import spaces, stability
from topo.mapper import VarianceNormalizer, graph_loops, linkage_threshold, mapper_graph, node_sizes
from topo.stability import Settings


def disc(n, seed=0):
    generator = np.random.default_rng(seed)
    angle, radius = generator.uniform(0, 2 * np.pi, n), np.sqrt(generator.uniform(0, 1, n))
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def figure_eight(n, seed=0):
    points = spaces.sample_circle(n, seed, noise=0.05)
    return points + np.where(np.arange(n) < n / 2, 1, -1)[:, None] * [1, 0]


SHAPES = {"circle": (spaces.sample_circle(800, 0, noise=0.05), 1), "disc": (disc(800), 0)}
SHAPES["figure eight"] = figure_eight(800), 2


@pytest.mark.parametrize("name", SHAPES)
def test_a_known_shape_has_its_loops_nearly_wherever_it_is_cut(name):
    points, loops = SHAPES[name]
    pieces, found = stability.betti_grid(points, Settings(resolutions=(8, 10, 12), gains=(3, 4), thresholds=(1, 1.5)))
    assert found.shape == (3, 2, 2, 2, 2, 3)
    assert (pieces == 1).mean() > 0.9 and (found == loops).mean() > 0.9


def test_every_cell_is_what_the_graph_of_its_settings_has():
    points = spaces.sample_three_circles(300, 0, noise=0.3)
    settings = Settings(resolutions=(6, 12), gains=(2, 3.5), thresholds=(0.5, 1.5))
    betti = stability.betti_grid(points, settings, min_points=2)
    for cell in np.ndindex(betti.shape[1:]):
        r, g, cover, metric, factor, name = (values[i] for values, i in zip(settings.values().values(), cell))
        scaled = VarianceNormalizer().fit_transform(points) if metric == "vne" else points
        options = dict(cover=cover, metric=metric, threshold=factor * linkage_threshold(scaled))
        graph = mapper_graph(points, r, g, lens=settings.lenses[name], **options)
        pieces = len(graph.subgraph(np.flatnonzero(node_sizes(graph) >= 2)).connected_components())
        assert tuple(betti[(slice(None), *cell)]) == (pieces, graph_loops(graph, 2))
    assert len(np.unique(betti[0])) > 2 and len(np.unique(betti[1])) > 2


def test_a_grid_does_not_depend_on_the_order_of_its_values():
    points = spaces.sample_circle(200, 0, dim=3, noise=0.2)
    grid = stability.betti_grid(points, Settings(resolutions=(5, 9), gains=(2, 3)))
    turned = stability.betti_grid(points, Settings(resolutions=(9, 5), gains=(3, 2)))
    np.testing.assert_array_equal(grid, turned[:, ::-1, ::-1])


def test_a_grid_without_a_node_left_has_neither_pieces_nor_loops():
    points = spaces.sample_circle(20, 0)
    grid = stability.betti_grid(points, Settings((5,), (2,), lenses={"PCA": "pca"}), min_points=21)
    assert not grid.any()


def some_answers(shape, seed=0):
    return np.random.default_rng(seed).random(shape) < np.linspace(0.1, 0.9, shape[0])[:, None, None]


def test_shares_are_means_over_the_cells_with_a_value():
    holds = some_answers((4, 3, 2))
    found = stability.shares(holds)
    for axis, shares in enumerate(found):
        expected = [np.mean([holds[c] for c in np.ndindex(holds.shape) if c[axis] == i]) for i in range(len(shares))]
        np.testing.assert_allclose(shares, expected)


def test_changes_count_pairs_of_cells_that_differ_in_one_setting():
    holds = some_answers((4, 3, 2))
    for axis, share in enumerate(stability.changes(holds)):
        pairs = [
            (a, b)
            for a, b in combinations(list(np.ndindex(holds.shape)), 2)
            if [i for i in range(3) if a[i] != b[i]] == [axis]
        ]
        assert share == pytest.approx(np.mean([holds[a] != holds[b] for a, b in pairs]))


def test_only_the_setting_that_decides_changes_the_answer():
    holds = np.broadcast_to(np.array([True, False])[:, None, None], (2, 3, 1))
    np.testing.assert_allclose(stability.changes(holds), [1, 0, 0])


def test_a_sample_is_part_of_the_cloud_in_its_order():
    points = np.arange(60.0).reshape(30, 2)
    drawn = stability.sample(points, 10, seed=1)
    assert drawn.shape == (10, 2) and (np.diff(drawn[:, 0]) > 0).all() and set(drawn[:, 0]) <= set(points[:, 0])
    assert (drawn != stability.sample(points, 10, seed=2)).any()
    np.testing.assert_array_equal(stability.sample(points, 30), points)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gains": (2, 11)}, "gain = 11 must be above 1, for bins to overlap, and at most resolution = 10"),
        ({"resolutions": ()}, "resolutions must hold one value or more"),
        ({"lenses": {}}, "lenses must hold one value or more"),
        ({"lenses": {"mine": "umap"}}, "lens = 'umap' must be 'pca'"),
        ({"covers": ("round",)}, "cover = 'round' must be one of 'uniform', 'balanced'"),
        ({"metrics": ("cosine",)}, "metric = 'cosine' must be one of"),
        ({"thresholds": (1, 0)}, "threshold = 0 must be a factor, finite and above 0"),
    ],
)
def test_settings_that_mapper_does_not_take_are_refused_before_anything_runs(wrong, message):
    with refused(ValueError, match=message):
        Settings(**wrong)


def test_every_combination_is_a_cell():
    values = Settings().values()
    assert list(values) == ["resolutions", "gains", "covers", "metrics", "thresholds", "lenses"]
    assert len(list(product(*values.values()))) == 324
