"""What a layer goes through while it learns, on made populations whose answer is known."""

import numpy as np
import pytest

from topo import archive, density, evidence, filters, learning, persistence, spaces
from topo.evidence import Loops
from topo.mapper import Lens, mapper_graph


def networks_on(circle, seed, count=6, each=80, noise=0.1):
    """`count` networks of `each` patches, on a circle or, where it is None, scattered evenly."""
    generator = np.random.default_rng(seed)
    patches = generator.standard_normal((count, each, 9))
    if circle is not None:
        patches = circle[generator.integers(len(circle), size=(count, each))] + noise * patches
    return [filters.normalize(network) for network in patches]


@pytest.fixture(scope="module")
def clouds():
    horizontal = spaces.circles()["horizontal"]
    return {0: networks_on(None, 0), 100: networks_on(horizontal, 1), 200: networks_on(None, 2)}


class Kept(archive.Archive):
    """A population that kept two iterations of layer 1, and what it was asked for."""

    def __init__(self):
        pass

    def iterations(self, layer=1):
        return [0, 50, 100]

    def clouds(self, layer=1, iteration=None, networks=None):
        return [np.array([[layer, iteration, networks or 0]], np.float32)]


def test_clouds_are_those_of_the_iterations_that_were_kept_up_to_the_last_one_asked_for():
    found = learning.clouds_by_iteration(Kept(), 1, 60, 7)
    assert {iteration: clouds[0].tolist() for iteration, clouds in found.items()} == {0: [[1, 0, 7]], 50: [[1, 50, 7]]}
    assert list(learning.clouds_by_iteration(Kept())) == [0, 50, 100]
    assert list(learning.clouds_by_iteration(Kept(), at=[50, 70])) == [50]


def test_the_clouds_of_an_archive_are_its_filters_network_by_network():
    population = archive.load("mnist-M-64-0-64")
    found = learning.clouds_by_iteration(population, 1, 100, 3)
    assert list(found) == [t for t in population.iterations(1) if t <= 100] and {
        len(each) for each in found.values()
    } == {3}
    np.testing.assert_array_equal(np.concatenate(found[100]), filters.normalize(population.filters(1, 100, 3)))


def test_cores_and_graphs_are_of_all_networks_together(clouds):
    cores = learning.dense_cores(clouds, 20, 0.5)
    np.testing.assert_array_equal(cores[100], density.densest(np.concatenate(clouds[100]), 20, 0.5))
    turned = cores[100] @ np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))[0]
    graphs, lens = learning.graphs({1000: cores[100], 2000: turned}, 10, 2)
    assert list(graphs) == ["iteration 1,000", "iteration 2,000"] and graphs["iteration 1,000"][1] is cores[100]
    axes = Lens().fit(np.concatenate([cores[100], turned]))
    np.testing.assert_allclose(lens(turned), axes.transform(turned))
    for (graph, core), expected in zip(graphs.values(), (cores[100], turned)):
        alone = mapper_graph(expected, 10, 2, lens=axes.transform(expected))
        assert [rows.tolist() for rows in graph.vs["node_elements"]] == [
            rows.tolist() for rows in alone.vs["node_elements"]
        ]
        assert core is expected


def test_halves_confirm_a_loop_when_it_is_there_and_only_then(clouds):
    judged = learning.judge(clouds, [10, 20], [0.5, 1.0], Loops(landmarks=40), draws=4)
    assert judged.ratios.shape == (4, 3) and judged.lengths.shape == (2, 4, 3)
    assert judged.confirmed() == [100] and judged.clearest == 100 and set(judged.at) == {0, 100, 200}
    assert judged.confirmed(least=judged.at[100].max() + 1) == []
    assert (judged.lengths[0] >= judged.lengths[1]).all()
    alone = Loops(landmarks=40).hold_outs(clouds[100], [10, 20], [0.5, 1.0], draws=4)
    np.testing.assert_array_equal(judged.at[100], [verdict.ratio for verdict in alone])
    lengths = [persistence.bar_lengths(verdict.barcode, 1)[0] for verdict in alone]
    np.testing.assert_allclose(judged.lengths[0, :, 1], lengths)


def test_a_statistic_of_halves_has_a_row_a_draw_and_a_column_an_iteration(clouds):
    found = learning.in_halves(clouds, len, draws=3)
    assert found.shape == (3, 3) and (found == 240).all()
    pairs = learning.in_halves(clouds, lambda points: (len(points), 1.0), draws=2)
    assert pairs.shape == (2, 3, 2)


def test_a_course_has_the_iterations_at_which_filters_and_accuracies_are_there():
    population = archive.load("mnist-M-64-32-64")  # accuracies at 1,000 and 2,000; layer 2 of 20 and of 40 networks
    statistic = lambda points: float(points[:, 0].mean())
    found = learning.course(population, statistic, 2)
    assert found.iterations.tolist() == [1000, 2000] and found.values.shape == found.accuracy.shape == (20, 2)
    assert found.values[7, 1] == statistic(population.clouds(2, 2000)[7])
    np.testing.assert_array_equal(found.accuracy[:, 1], population.accuracy(2000)[:20])
    assert learning.course(population, statistic, 2, at=[2000]).values.shape == (40, 1)
    gray = archive.load("cifar-gray-C-64-32-64-trained")
    assert 0 in gray.iterations(1) and 0 not in learning.course(gray, statistic).iterations
    with pytest.raises(ValueError, match="mnist-M-64-32-64 has no iteration with filters of layer 1 and accuracies"):
        learning.course(population, statistic, at=[50])


def test_the_loop_of_a_core_is_on_the_circle_that_carries_it(clouds):
    core, around = np.concatenate(clouds[100]), spaces.circles()
    (birth, length), on, off = learning.loop_of_circle(core, around["horizontal"], near=0.7)
    assert length > 0.4 and abs(on[1] - length) < 0.25 and on[0] < 0.3 and (off is None or off[1] < length / 2)
    other = learning.loop_of_circle(core, around["vertical"], near=0.3)
    assert other[1] is None or other[1][1] < length


def test_holes_are_counted_of_every_circle_at_every_iteration():
    around = spaces.circles()
    cores = {0: around["horizontal"], 50: around["vertical"][:180]}
    found = learning.circle_holes(cores, around, sectors=8, near=0.5)
    assert {t: list(each) for t, each in found.items()} == {t: list(around) for t in cores}
    assert found[0]["horizontal"] == 0 < found[0]["vertical"]
    assert found[50]["vertical"] == spaces.circle_holes(cores[50], around["vertical"], 8, 0.5) > 0
    assert found[50]["vertical"] != learning.circle_holes(cores, around, near=0.5)[50]["vertical"]


def test_clusters_at_the_straight_edges_are_counted():
    generator = np.random.default_rng(0)
    edges = spaces.primary_circle(np.repeat(np.array([0, 0.5, 1]) * np.pi, 200))
    lines = np.repeat(spaces.secondary_circles(0.0)[0][None], 200, axis=0)
    points = np.concatenate([edges, lines])
    points = filters.normalize(points + 0.08 * generator.standard_normal(points.shape))
    assert learning.straight_edge_clusters(points, k=80) == (4, 3)
    assert learning.straight_edge_clusters(points, k=80, alike=0.99999) == (4, 0)
    assert evidence.scaled_k(80, len(points)) == 10
