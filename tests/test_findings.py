"""What the chapters claim of the committed archives, as properties with margins."""
import time

import numpy as np
import pytest

from topo import archive, density, filters, mapper, models, persistence

MNIST = [name for name in archive.manifest() if name.startswith("mnist-")]
PAPER_K, PAPER_P, PAPER_POINTS = 200, 0.3, 6400


def core(name, iteration=None, p=PAPER_P):
    """Dense core of a first layer at the paper's k, scaled to the number of filters."""
    points = filters.normalize(archive.load(name).filters(1, iteration))
    return density.densest(points, round(PAPER_K * len(points) / PAPER_POINTS), p)


def gap(points):
    return persistence.loop_gap(persistence.lazy_witness_barcode(points, 100))


def test_the_populations_of_the_book_are_committed():
    assert {"mnist-M-64-32-64", "mnist-M-64-0-64"} < set(MNIST) and len(MNIST) >= 5


def test_the_trained_first_layer_is_one_loop_at_the_papers_filtration_and_the_untrained_one_is_not():
    assert gap(core("mnist-M-64-32-64")) >= 3
    assert gap(core("mnist-M-64-32-64", 0)) < 2


@pytest.mark.parametrize("name", MNIST)
def test_every_trained_first_layer_is_a_loop_of_edges_and_no_untrained_one_is(name):
    trained, untrained = core(name, p=0.4), core(name, 0, 0.4)
    assert gap(trained) >= 3 and gap(untrained) < 2
    assert np.median(models.primary_energy(trained)) > 0.6 > 0.4 > np.median(models.primary_energy(untrained))


@pytest.mark.parametrize("name", MNIST)
def test_every_network_reads_digits(name):
    assert archive.load(name).accuracy().min() > 0.9


def test_the_second_layer_has_a_loop_where_it_is_densest():
    points = {t: filters.normalize(archive.load("mnist-M-64-32-64").filters(2, t, 10)) for t in (0, 2000)}
    gaps = {t: persistence.loop_gap(persistence.lazy_witness_barcode(density.densest(x, 200, 0.05), 100)) for t, x in points.items()}
    assert gaps[2000] >= 3 and gaps[0] < 2


def test_the_mapper_graph_closes_with_two_fifths_of_the_filters():
    points = core("mnist-M-64-32-64", p=0.4)
    summary = mapper.graph_summary(mapper.mapper_graph(points, 30, 3))
    assert summary["loops"] == 1 and summary["largest_share"] > 0.99


def test_the_graph_and_the_barcode_take_seconds():
    points = core("mnist-M-64-32-64")
    assert len(points) == 1920
    start = time.perf_counter()
    graph = mapper.mapper_graph(points, 30, 3)
    mapper.node_means(graph, points, hops=1)
    middle = time.perf_counter()
    persistence.lazy_witness_barcode(points, 100)
    end = time.perf_counter()
    assert middle - start < 3 and end - middle < 2
    assert mapper.graph_summary(graph)["largest_share"] > 0.9
