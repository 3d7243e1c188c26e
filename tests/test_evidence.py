"""Evidence: grids against one filtration at a time, draws without replacement, peaks against all paths between them."""

import numpy as np
import pytest
from conftest import refused

from topo import density, evidence, filters, persistence, spaces
from topo.evidence import Loops


@pytest.fixture(scope="module")
def circle():
    """A noisy circle of edges in a background that has none."""
    generator = np.random.default_rng(0)
    edges = spaces.primary_circle(generator.uniform(0, 2 * np.pi, 300)) + 0.1 * generator.standard_normal((300, 9))
    return filters.normalize(np.concatenate([edges, generator.standard_normal((500, 9))]))


def blobs(centres, n=80, spread=0.1, seed=0):
    generator = np.random.default_rng(seed)
    return np.concatenate([centre + spread * generator.standard_normal((n, len(centre))) for centre in centres])


# k that follows n


def test_k_is_the_same_share_of_the_cloud():
    assert [evidence.scaled_k(200, n) for n in (6400, 3200, 800)] == [200, 100, 25]
    assert evidence.scaled_k(1, 100) == 1 and evidence.scaled_k(200, 3, reference=200) == 2


@pytest.mark.parametrize("arguments", [(0, 10), (1.5, 10), (1, 1), (1, 10, 0), (True, 10)])
def test_a_k_out_of_range_is_an_error(arguments):
    with refused((TypeError, ValueError), match="must be a whole number"):
        evidence.scaled_k(*arguments)


# Grids


def bars(*lengths):
    return {0: np.array([[0.0, np.inf]]), 1: np.array([[0.1, 0.1 + length] for length in lengths]).reshape(-1, 2)}


def test_the_ratio_is_that_of_the_bars_where_the_next_bar_is_longer_than_the_floor():
    assert Loops().ratio(bars(0.6, 0.2, 0.1)) == pytest.approx(3)
    assert Loops().ratio(bars(0.6, 0.2, 0.1), loops=2) == pytest.approx(2)


def test_one_tiny_bar_has_a_small_ratio_and_one_long_bar_a_large_one():
    assert Loops().ratio(bars(0.02)) < 1 < 10 < Loops().ratio(bars(0.6)) == pytest.approx(12)
    assert Loops().ratio(bars()) == Loops().ratio(bars(0.6), loops=2) == 0


@pytest.mark.parametrize("lengths, ratio", [((0.6, 0.2), 3), ((0.6,), np.inf), ((0.02, 0.001), 20), ((), 0)])
def test_with_a_floor_of_0_only_the_next_bar_counts(lengths, ratio):
    assert Loops(floor=0).ratio(bars(*lengths)) == pytest.approx(ratio)


def test_the_number_of_loops_is_the_one_with_the_largest_ratio_and_0_where_that_is_small():
    assert (
        Loops().clearest(bars(0.6, 0.55, 0.1)) == (2, pytest.approx(5.5)) and Loops().count(bars(0.6, 0.55, 0.1)) == 2
    )
    assert Loops().count(bars(0.3, 0.25, 0.2)) == 3 and Loops(least=5).count(bars(0.3, 0.25, 0.2)) == 0
    assert Loops(most=2).count(bars(0.6, 0.55, 0.5)) == 0 and Loops().count(bars(0.6, 0.55, 0.5)) == 3
    assert Loops().clearest(bars()) == (1, 0) and Loops().count(bars(0.3, 0.1)) == 1


def test_a_cloud_is_measured_as_its_barcode_is(circle):
    loops, core = Loops(landmarks=40, nu=0), density.densest(circle, 20, 0.3)
    bars_of = persistence.lazy_witness_barcode(core, 40, 0)
    assert all(np.array_equal(loops.barcode(core)[each], bars_of[each]) for each in (0, 1))
    assert loops.ratio(core, 2) == loops.ratio(bars_of, 2) and loops.count(core) == loops.count(bars_of)
    birth, length = loops.longest(core)
    assert (birth, birth + length) == pytest.approx(tuple(bars_of[1][0])) and loops.longest(bars()) == (np.inf, 0)


def test_a_loop_that_never_dies_has_an_infinite_ratio():
    endless = {0: np.array([[0.0, np.inf]]), 1: np.array([[0.1, np.inf], [0.0, 0.3]])}
    assert Loops().ratio(endless) == np.inf and Loops().ratio(endless, loops=2) == pytest.approx(6)
    assert Loops().ratio({1: np.array([[0.1, np.inf], [0.0, np.inf]])}) == 1


@pytest.mark.parametrize(
    "name, value, error",
    [
        ("floor", -0.1, ValueError),
        ("floor", np.nan, ValueError),
        ("floor", np.inf, ValueError),
        ("floor", "0", TypeError),
        ("landmarks", 0, ValueError),
        ("nu", 1.5, TypeError),
        ("least", 0.5, ValueError),
        ("most", 0, ValueError),
    ],
)
def test_what_loops_cannot_be_measured_by_is_an_error(name, value, error):
    with refused(error, match=name):
        Loops(**{name: value})
    with pytest.raises(ValueError, match="loops = 0"):
        Loops().ratio(bars(0.6), 0)


def test_a_grid_is_what_each_filtration_gives_by_itself(circle):
    ks, ps = [1, 20, 100], [0.1, 0.29, 1.0]
    loops = Loops(landmarks=40, nu=0)
    found = loops.barcodes(circle, ks, ps)
    for i, k in enumerate(ks):
        for j, p in enumerate(ps):
            each = persistence.lazy_witness_barcode(density.densest(circle, k, p), 40, 0)
            assert all(np.array_equal(found[i, j][dimension], each[dimension]) for dimension in (0, 1))
    ratios = loops.grid(circle, ks, ps, loops=2)
    assert ratios.dtype == np.float64
    np.testing.assert_array_equal(ratios, [[loops.ratio(each, 2) for each in row] for row in found])
    np.testing.assert_array_equal(loops.counts(circle, ks, ps), [[loops.count(each) for each in row] for row in found])


def test_neighbours_are_searched_once_for_a_grid(circle, monkeypatch):
    asked = []
    search = lambda points, k: asked.append(k) or density.kth_neighbor_distance(points, k)
    monkeypatch.setattr(evidence, "kth_neighbor_distance", search)
    Loops(landmarks=20).grid(circle, [5, 10], [0.1, 0.2, 0.3])
    assert asked == [[5, 10]]


def test_a_filtration_of_fewer_points_than_landmarks_takes_them_all(circle):
    found = Loops().barcodes(circle, [5], [0.02])[0, 0]
    alone = persistence.lazy_witness_barcode(density.densest(circle, 5, 0.02), 16)
    assert all(np.array_equal(found[dimension], alone[dimension]) for dimension in (0, 1))


def test_the_circle_is_found_where_the_background_is_gone(circle):
    ks, ps = [5, 20, 80], [0.1, 0.3, 1.0]
    grid = Loops().grid(circle, ks, ps)
    k, p = evidence.best(grid, ks, ps)
    assert grid.max() > 3 > grid[:, -1].max() and (k, p) in [(k, 0.3) for k in ks]


@pytest.mark.parametrize("change", [{"ks": []}, {"ps": []}, {"ks": [0]}, {"ks": [800]}, {"ps": [0.0]}, {"ps": [1e-4]}])
def test_a_grid_out_of_range_is_an_error(circle, change):
    with pytest.raises(ValueError, match="ks|k =|p ="):
        Loops().grid(circle, **{"ks": [5], "ps": [0.5], **change})


def test_the_best_cell_is_the_largest_and_the_first_of_equals():
    ks, ps = [10, 20], [0.1, 0.2, 0.3]
    assert evidence.best([[1, 2, 3], [4, 6, 5]], ks, ps) == (20, 0.2)
    assert evidence.best([[1, 6, 3], [6, 6, np.nan]], ks, ps) == (10, 0.2)


@pytest.mark.parametrize("grid", [[[1, 2]], [[np.nan] * 3] * 2, [1, 2, 3]])
def test_a_grid_without_a_best_cell_is_an_error(grid):
    with refused(ValueError, match="grid"):
        evidence.best(grid, [10, 20], [0.1, 0.2, 0.3])


def test_the_other_cloud_is_looked_at_where_the_first_is_best(circle):
    first, other, ks, ps = circle[::4], np.delete(circle, np.s_[::4], axis=0), [5, 10], [0.2, 0.3]
    loops = Loops(landmarks=50)
    found = loops.hold_out(first, other, ks, ps)
    np.testing.assert_array_equal(found.grid, loops.grid(first, ks, ps))
    assert (found.k, found.p) == evidence.best(found.grid, ks, ps)
    np.testing.assert_array_equal(found.core, density.densest(other, 3 * found.k, found.p))
    assert found.ratio == loops.ratio(found.core) > 3


def test_a_loop_of_the_choosing_cloud_alone_does_not_convince(circle):
    noise = filters.normalize(np.random.default_rng(1).standard_normal((800, 9)))
    found = Loops().hold_out(circle, noise, [20], [0.3])
    assert found.grid.max() > 3 > 2 > found.ratio


# Draws


def test_every_draw_has_each_network_once_and_all_its_points():
    clouds = [np.full((3 + network, 1), network) for network in range(6)]
    drawn = evidence.over_networks(clouds, lambda points: np.bincount(points[:, 0].astype(int), minlength=6), draws=40)
    assert drawn.shape == (40, 6) and drawn.dtype == np.float64
    for network in range(6):
        assert set(drawn[:, network]) == {0, 3 + network}
    assert ((drawn > 0).sum(axis=1) == 3).all()


def test_draws_depend_on_the_seed_and_on_nothing_else():
    clouds = np.random.default_rng(0).standard_normal((8, 5, 2))
    first, same, other = (evidence.over_networks(clouds, np.mean, draws=5, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)
    assert np.array_equal(first[:3], evidence.over_networks(clouds, np.mean, draws=3, seed=1))


def test_means_of_halves_spread_as_the_mean_of_all_is_uncertain():
    clouds = np.random.default_rng(0).standard_normal((60, 1, 1))
    halves = evidence.over_networks(clouds, np.mean, draws=2000)
    assert halves.std() == pytest.approx(clouds.std() / np.sqrt(60), rel=0.1)


def test_a_share_is_rounded_to_one_network_at_least_and_all_but_one_at_most():
    clouds = np.arange(4.0).reshape(4, 1, 1)
    for share, count in ((0.01, 1), (0.5, 2), (0.99, 3)):
        assert (evidence.over_networks(clouds, len, draws=3, share=share) == count).all()


@pytest.mark.parametrize(
    "change, error",
    [
        ({"clouds": [np.ones((3, 2))]}, ValueError),
        ({"clouds": [[1, 2], [3, 4]]}, ValueError),
        ({"draws": 0}, ValueError),
        ({"share": 0}, ValueError),
        ({"share": 1}, ValueError),
        ({"share": "half"}, TypeError),
        ({"share": np.nan}, ValueError),
    ],
)
def test_draws_out_of_range_are_an_error(change, error):
    with refused(error, match="cloud|draws|share"):
        evidence.over_networks(**{"clouds": np.ones((4, 3, 2)), "statistic": np.mean, **change})


def circles_and_noise():
    """Six networks on a circle, and six whose points are scattered."""
    generator = np.random.default_rng(0)
    circle = lambda: spaces.sample_circle(60, int(generator.integers(2**31)), noise=0.05)
    return [circle() for _ in range(6)], [generator.uniform(-1, 1, (60, 2)) for _ in range(6)]


def test_half_of_the_networks_confirms_what_the_other_half_has_and_noise_it_does_not():
    circles, noise = circles_and_noise()
    ratios = lambda clouds: [verdict.ratio for verdict in Loops(landmarks=40).hold_outs(clouds, [5, 10], [0.5, 1.0])]
    assert len(ratios(circles)) == 5 and min(ratios(circles)) >= 3
    assert np.median(ratios(noise)) < 2


def test_a_network_chooses_or_is_judged_never_both(monkeypatch):
    seen = []
    verdict = lambda _, choosing, judging, ks, *__: (
        seen.append((choosing, judging, ks)) or evidence.Verdict(None, 1, 1.0, None, None, 2.0)
    )
    monkeypatch.setattr(Loops, "hold_out", verdict)
    clouds = [np.full((10, 2), float(network)) for network in range(7)]
    assert [verdict.ratio for verdict in Loops().hold_outs(clouds, [7, 70], [1.0], draws=9)] == [2.0] * 9
    for choosing, judging, ks in seen:
        choose, judge = (set(points[:, 0]) for points in (choosing, judging))
        assert not choose & judge and choose | judge == set(range(7)) and abs(len(choose) - len(judge)) == 1
        assert ks == [evidence.scaled_k(k, len(choosing), 70) for k in (7, 70)]


# Peaks


def depths_over_all_paths(points, k):
    """For every point: the lowest pass to a denser one, over its own rho_k. The lowest passes by Floyd and Warshall."""
    rho = density.kth_neighbor_distance(points, k)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = distances <= (1 + 1e-12) * rho[:, None]
    height = np.where(near | near.T, np.maximum(rho[:, None], rho), np.inf)
    for via in range(len(points)):
        height = np.minimum(height, np.maximum(height[:, [via]], height[[via]]))
    rank = np.argsort(np.argsort(rho, kind="stable"))
    denser = rank[None] < rank[:, None]
    return np.where(denser, height, np.inf).min(axis=1) / rho


@pytest.mark.parametrize("k", [3, 8, 30])
def test_depths_are_those_of_the_lowest_passes(k):
    points = blobs([[0, 0], [1, 0], [0.4, 0.7]], n=40, spread=0.2)
    peaks, depths = evidence.density_peaks(points, k)
    expected = depths_over_all_paths(points, k)
    np.testing.assert_allclose(depths, expected[peaks])
    others = np.delete(expected, peaks)
    np.testing.assert_allclose(others, 1)  # a point that is no peak has a denser neighbour
    assert (np.diff(depths[np.isfinite(depths)]) <= 0).all()


@pytest.mark.parametrize("depth", [1.05, 1.2, 1.5, 3.0])
def test_there_are_as_many_clusters_as_peaks_so_deep(depth):
    points = blobs([[0, 0], [1, 0], [0.4, 0.7], [2, 2]], spread=0.25)
    peaks, depths = evidence.density_peaks(points, 10)
    labels, deep = evidence.density_clusters(points, 10, depth)
    assert set(deep) == set(peaks[depths >= depth])
    assert labels.shape == (len(points),) and np.array_equal(labels[deep], np.arange(len(deep)))
    assert (np.diff(np.bincount(labels)) <= 0).all()


@pytest.mark.parametrize("k", [10, 20, 40])
def test_blobs_are_clusters_whatever_k_is(k):
    centres = np.eye(5)
    points = blobs(centres, spread=0.05)
    labels, _ = evidence.density_clusters(points, k)
    assert len(np.unique(labels)) == 5
    for rows in np.split(np.arange(400), 5):
        assert len(np.unique(labels[rows])) == 1


def test_noise_on_a_sphere_and_a_line_are_one_cluster():
    noise = filters.normalize(np.random.default_rng(0).standard_normal((2000, 9)))
    assert (
        len(evidence.density_clusters(noise, 60)[1])
        == len(evidence.density_clusters(np.arange(30.0)[:, None], 4)[1])
        == 1
    )


def test_clusters_change_neither_with_the_order_nor_with_the_scale():
    points = blobs([[0, 0], [1, 0], [0.4, 0.7]], spread=0.2)
    order = np.random.default_rng(1).permutation(len(points))
    labels, peaks = evidence.density_clusters(points, 15)
    again, others = evidence.density_clusters(7 * points[order], 15)
    assert len(peaks) == 3 and np.array_equal(labels[order], again) and np.array_equal(order[others], peaks)


def test_points_that_coincide_are_no_trouble():
    copies = np.repeat([[0.0, 0.0], [1.0, 0.0]], 10, axis=0)
    peaks, depths = evidence.density_peaks(np.concatenate([copies, [[0.5, 0.1]]]), 12)
    assert len(peaks) == 1 and depths[0] == np.inf
    labels, peaks = evidence.density_clusters(copies, 4)
    assert len(peaks) == 2 and len(set(labels[:10])) == len(set(labels[10:])) == 1
    _, depths = evidence.density_peaks(np.zeros((5, 2)), 2)
    assert np.isinf(depths).all()


@pytest.mark.parametrize(
    "arguments", [{"k": 0}, {"k": 400}, {"k": 1.5}, {"depth": 0.9}, {"depth": np.inf}, {"depth": "deep"}]
)
def test_clusters_out_of_range_are_an_error(arguments):
    with refused((TypeError, ValueError), match="k =|depth"):
        evidence.density_clusters(blobs(np.eye(5)), **{"k": 10, **arguments})
