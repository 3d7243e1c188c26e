"""Evidence: grids against one filtration at a time, draws without replacement, peaks against all paths between them."""

from itertools import permutations

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
    assert evidence.scaled_k(1, 2) == 1 and evidence.scaled_k(1, 10, reference=1) == 9


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((0, 10), ValueError, "k = 0 must be a whole number, 1 or more"),
        ((1.5, 10), TypeError, "k = 1.5 must be a whole number, 1 or more"),
        ((True, 10), TypeError, "k = True must be a whole number, 1 or more"),
        ((1, 1), ValueError, "n = 1 must be a whole number, 2 or more"),
        ((1, 10, 0), ValueError, "reference = 0 must be a whole number, 1 or more"),
    ],
)
def test_a_k_out_of_range_is_an_error(arguments, error, message):
    with refused(error, match=f"^{message}$"):
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
    with np.errstate(all="raise"):
        assert Loops(floor=0).ratio(bars(*lengths)) == pytest.approx(ratio)


def test_the_least_ratio_counts():
    barcode = {1: np.array([[0.0, 0.75], [0.0, 0.25]])}
    assert Loops().ratio(barcode) == 3 and Loops(most=1).count(barcode) == 1


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
    "name, value, error, allowed",
    [
        ("floor", -0.1, ValueError, "a length, finite and 0 or more"),
        ("floor", np.nan, ValueError, "a length, finite and 0 or more"),
        ("floor", np.inf, ValueError, "a length, finite and 0 or more"),
        ("floor", "0", TypeError, "a length, finite and 0 or more"),
        ("landmarks", 0, ValueError, "a whole number, 1 or more"),
        ("nu", -1, ValueError, "a whole number, 0 or more"),
        ("nu", 1.5, TypeError, "a whole number, 0 or more"),
        ("least", 0.5, ValueError, "a ratio, finite and 1 or more"),
        ("most", 0, ValueError, "a whole number, 1 or more"),
    ],
)
def test_what_loops_cannot_be_measured_by_is_an_error(name, value, error, allowed):
    with refused(error, match=f"^{name} = {value!r} must be {allowed}$"):
        Loops(**{name: value})
    with pytest.raises(ValueError, match="^loops = 0 must be a whole number, 1 or more$"):
        Loops().ratio(bars(0.6), 0)


def test_loops_are_measured_at_the_ends_of_what_is_allowed():
    loops = Loops(landmarks=1, nu=0, floor=0, least=1, most=1)
    assert loops.count(bars(0.6, 0.6)) == 1 and loops.count(bars()) == 0
    assert loops.clearest(blobs([[0, 0]], n=5)) == (1, 0)


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
    asked, found = [], density.kth_neighbor_distance
    monkeypatch.setattr(density, "kth_neighbor_distance", lambda points, k: asked.append(k) or found(points, k))
    Loops(landmarks=20).grid(circle, [5, 10], [0.1, 0.2, 0.3])
    assert asked == [[5, 10]]


def test_a_filtration_of_fewer_points_than_landmarks_takes_them_all(circle):
    found = Loops().barcodes(circle, [5], [0.02])[0, 0]
    alone = persistence.lazy_witness_barcode(density.densest(circle, 5, 0.02), 16)
    assert all(np.array_equal(found[dimension], alone[dimension]) for dimension in (0, 1))


def test_a_grid_takes_of_points_as_dense_as_each_other_those_that_densest_takes():
    lattice = np.stack(np.meshgrid(*[np.arange(20.0)] * 2), -1).reshape(-1, 2)
    loops, ps = Loops(landmarks=40, nu=0), [0.3, 0.6]
    found = loops.barcodes(lattice, [2], ps)[0]
    for each, p in zip(found, ps):
        expected = loops.barcode(density.densest(lattice, 2, p))
        assert all(np.array_equal(each[dimension], expected[dimension]) for dimension in (0, 1))


def test_a_grid_is_of_one_loop_unless_told_otherwise(circle):
    loops = Loops(landmarks=40)
    one, two = (loops.grid(circle, [20], [0.3], number) for number in (1, 2))
    assert np.array_equal(loops.grid(circle, [20], [0.3]), one) and not np.array_equal(one, two)


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


@pytest.mark.parametrize(
    "grid, message",
    [
        ([[1, 2]], r"grid must have shape \(2, 3\), one for each k and p, not \(1, 2\)"),
        ([1, 2, 3], r"grid must have shape \(2, 3\), one for each k and p, not \(3,\)"),
        ([[np.nan] * 3] * 2, "grid holds nothing but NaN"),
    ],
)
def test_a_grid_without_a_best_cell_is_an_error(grid, message):
    with refused(ValueError, match=f"^{message}$"):
        evidence.best(grid, [10, 20], [0.1, 0.2, 0.3])


def test_an_empty_grid_has_no_best_cell():
    with pytest.raises(ValueError, match=r"^grid must have shape \(0, 2\)"):
        evidence.best(np.zeros((0, 2)), [], [0.1, 0.2])


def test_the_other_cloud_is_looked_at_where_the_first_is_best(circle):
    first, other, ks, ps = circle[::4], np.delete(circle, np.s_[::4], axis=0), [5, 10], [0.2, 0.3]
    loops = Loops(landmarks=50)
    found = loops.hold_out(first, other, ks, ps)
    np.testing.assert_array_equal(found.grid, loops.grid(first, ks, ps))
    assert (found.k, found.p) == evidence.best(found.grid, ks, ps)
    np.testing.assert_array_equal(found.core, density.densest(other, 3 * found.k, found.p))
    assert found.ratio == loops.ratio(found.core) > 3


def test_as_many_loops_as_asked_for_are_chosen_by_and_judged(circle):
    loops = Loops(landmarks=40)
    found = loops.hold_out(circle[::2], circle[1::2], [5, 40], [0.1, 0.3], loops=2)
    np.testing.assert_array_equal(found.grid, loops.grid(circle[::2], [5, 40], [0.1, 0.3], loops=2))
    bars_of = loops.barcode(found.core)
    assert all(np.array_equal(found.barcode[dimension], bars_of[dimension]) for dimension in (0, 1))
    assert found.ratio == loops.ratio(bars_of, 2) != loops.ratio(bars_of, 1)
    alone = loops.hold_out(circle[::2], circle[1::2], [5, 40], [0.1, 0.3])
    assert alone.ratio == loops.ratio(alone.core, 1)


@pytest.mark.parametrize("name", ["choosing", "judging"])
def test_the_cloud_that_is_no_cloud_is_named(circle, name):
    with pytest.raises(ValueError, match=f"^{name} must be finite; 1 entries"):
        Loops().hold_out(**{"choosing": circle, "judging": circle, name: [[0.0], [np.nan]]}, ks=[5], ps=[0.5])


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


def test_unless_told_otherwise_there_are_20_draws_of_half_of_the_networks_from_seed_0():
    clouds = np.random.default_rng(0).standard_normal((8, 5, 2))
    expected = evidence.over_networks(clouds, np.mean, draws=20, share=0.5, seed=0)
    np.testing.assert_array_equal(evidence.over_networks(clouds, np.mean), expected)
    assert (evidence.over_networks(clouds, len) == 4 * 5).all()


def test_a_statistic_gets_the_networks_in_ascending_order():
    clouds = np.arange(30.0).reshape(30, 1, 1)
    assert (np.diff(evidence.over_networks(clouds, np.ravel, draws=10)) > 0).all()


def test_of_two_networks_one_is_drawn():
    drawn = evidence.over_networks([[[1.0]], [[2.0]]], np.sum, draws=30)
    assert set(drawn) == {1, 2}


def test_a_share_is_rounded_to_one_network_at_least_and_all_but_one_at_most():
    clouds = np.arange(4.0).reshape(4, 1, 1)
    for share, count in ((0.01, 1), (0.5, 2), (0.99, 3)):
        assert (evidence.over_networks(clouds, len, draws=3, share=share) == count).all()


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"clouds": [np.ones((3, 2))]}, ValueError, "clouds must be those of two networks or more, not 1"),
        ({"clouds": [[[1, 2]], [3, 4]]}, ValueError, r"cloud 1 must have shape \(n, d\)"),
        ({"draws": 0}, ValueError, "draws = 0 must be a whole number, 1 or more"),
        ({"share": 0}, ValueError, r"share = 0 is outside \(0, 1\)$"),
        ({"share": 1}, ValueError, r"share = 1 is outside \(0, 1\)$"),
        ({"share": "half"}, TypeError, "share must be a number, not 'half'"),
        ({"share": np.nan}, ValueError, "share = nan is outside"),
    ],
)
def test_draws_out_of_range_are_an_error(change, error, message):
    with refused(error, match=f"^{message}"):
        evidence.over_networks(**{"clouds": np.ones((4, 3, 2)), "statistic": np.mean, **change})
    if "share" not in change:
        with refused(error, match=f"^{message}"):
            Loops().hold_outs(**{"clouds": np.ones((4, 3, 2)), "ks": [2], "ps": [0.5], **change})


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
    verdict = lambda _, *arguments: seen.append(arguments) or evidence.Verdict(None, 1, 1.0, None, None, 2.0)
    monkeypatch.setattr(Loops, "hold_out", verdict)
    clouds = [np.full((10, 2), float(network)) for network in range(7)]
    assert [verdict.ratio for verdict in Loops().hold_outs(clouds, [7, 70], [1.0], draws=9)] == [2.0] * 9
    for choosing, judging, ks, ps, loops in seen:
        choose, judge = (set(points[:, 0]) for points in (choosing, judging))
        assert not choose & judge and choose | judge == set(range(7)) and abs(len(choose) - len(judge)) == 1
        assert ks == [evidence.scaled_k(k, len(choosing), 70) for k in (7, 70)] and (ps, loops) == ([1.0], 1)


def test_the_networks_that_choose_depend_on_the_seed_which_is_0_unless_told_otherwise(monkeypatch):
    verdict = lambda _, choosing, judging, ks, ps, loops: evidence.Verdict(None, 1, 1.0, choosing, None, float(loops))
    monkeypatch.setattr(Loops, "hold_out", verdict)
    clouds = np.arange(8.0).reshape(8, 1, 1)
    drawn = lambda **options: [set(v.core[:, 0]) for v in Loops().hold_outs(clouds, [1], [1.0], **options)]
    assert drawn() == drawn(loops=1, draws=5, seed=0) and len(drawn()) == 5
    assert drawn(seed=1) != drawn()
    assert {verdict.ratio for verdict in Loops().hold_outs(clouds, [1], [1.0], 2)} == {2}


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


def test_of_peaks_as_deep_as_each_other_the_densest_is_first():
    spreads = [0.3, 0.1, 0.4, 0.2]
    apart = np.concatenate([blobs([[100 * i, 0]], spread=spread, seed=i) for i, spread in enumerate(spreads)])
    peaks, depths = evidence.density_peaks(apart, 40)
    assert (peaks // 80).tolist() == [1, 3, 0, 2] and np.isinf(depths).all()


@pytest.mark.parametrize("depth", [1.05, 1.2, 1.5, 3.0])
def test_there_are_as_many_clusters_as_peaks_so_deep(depth):
    points = blobs([[0, 0], [1, 0], [0.4, 0.7], [2, 2]], spread=0.25)
    peaks, depths = evidence.density_peaks(points, 10)
    labels, deep = evidence.density_clusters(points, 10, depth)
    assert set(deep) == set(peaks[depths >= depth])
    assert labels.shape == (len(points),) and np.array_equal(labels[deep], np.arange(len(deep)))
    assert (np.diff(np.bincount(labels)) <= 0).all()


def test_a_peak_is_a_cluster_from_a_depth_of_1_point_2_unless_told_otherwise():
    points = blobs([[0, 0], [1, 0], [0.4, 0.7], [2, 2]], spread=0.25)
    _, depths = evidence.density_peaks(points, 10)
    counts = [len(evidence.density_clusters(points, 10, depth)[1]) for depth in (1.0, 1.2, 1.5)]
    assert len(evidence.density_clusters(points, 10)[1]) == counts[1] and counts[0] == len(depths) > counts[1]
    assert counts[1] > counts[2]


def test_of_clusters_as_large_as_each_other_that_of_the_lower_row_is_first():
    sizes = np.random.default_rng(0).integers(3, 5, 40)
    groups = [100 * i + np.array([0, 1, 2.5, 4.5])[:size, None] for i, size in enumerate(sizes)]
    order = sorted(range(40), key=lambda i: (-sizes[i], i))
    labels, peaks = evidence.density_clusters(np.concatenate(groups), 2)
    np.testing.assert_array_equal(labels, np.repeat(np.argsort(order), sizes))
    np.testing.assert_array_equal(peaks, (np.cumsum(sizes) - sizes + 1)[order])


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


@pytest.mark.parametrize("line", permutations([0.0, 1.0, 2.0]))
def test_a_point_is_joined_to_those_whose_nearest_it_is(line):
    """The point in the middle is the nearest of both others, and has only one of them as its own nearest."""
    _, peaks = evidence.density_clusters(np.array(line)[:, None], 1)
    assert len(peaks) == 1


@pytest.mark.parametrize("depth, error", [(0.9, ValueError), (np.inf, ValueError), ("deep", TypeError)])
def test_a_depth_out_of_range_is_an_error(depth, error):
    with refused(error, match=f"^depth = {depth!r} must be a factor, finite and 1 or more$"):
        evidence.density_clusters(blobs(np.eye(5)), 10, depth)


@pytest.mark.parametrize("k, error", [(0, ValueError), (400, ValueError), (1.5, TypeError)])
@pytest.mark.parametrize(
    "function",
    [evidence.density_peaks, evidence.density_clusters, lambda points, k: evidence.peak_means(points, [0], k)],
)
def test_a_peak_has_at_least_one_neighbour_and_at_most_all_others(function, k, error):
    allowed = "a whole number from 1 to 399: there are 400 points, and none is its own neighbour"
    with refused(error, match=f"^k = {k} must be {allowed}$"):
        function(blobs(np.eye(5)), k)


@pytest.mark.parametrize("k", [1, 7, 59])
def test_the_mean_at_a_peak_is_that_of_the_point_and_its_k_nearest(k):
    points = filters.normalize(np.random.default_rng(0).standard_normal((60, 9)))
    peaks = [41, 3]
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    means = np.array([points[np.argsort(distances[peak])[: k + 1]].mean(axis=0) for peak in peaks])
    means -= means.mean(axis=1, keepdims=True)
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(evidence.peak_means(points.tolist(), peaks, k), expected, atol=1e-12)


def test_halves_of_a_cloud_choose_and_judge_each_other(circle):
    cloud = np.concatenate([circle, np.random.default_rng(5).normal(size=circle.shape)])
    ks, ps, loops = [4, 10], [0.3, 0.6], Loops(landmarks=20)
    grids = loops.halves(cloud, ks, ps, draws=2, seed=3)
    assert grids.shape == (2, 2, 2, 2)
    order = np.random.default_rng(3).permutation(len(cloud))
    half = len(cloud) // 2
    for rows, grid in zip((order[:half], order[half : 2 * half]), grids[0]):
        alone = loops.barcodes(cloud[rows], [evidence.scaled_k(k, half, len(cloud)) for k in ks], ps)
        for one, other in zip(grid.flat, alone.flat):
            np.testing.assert_array_equal(one[1], other[1])
    for count in (None, 2):
        found = loops.judged(grids, ks, ps, count)
        assert len(found) == 4
        ratios = [
            [[loops.clearest(each)[1] if count is None else loops.ratio(each, count) for each in row] for row in grid]
            for grid in grids[1]
        ]
        for each, mine, other, bars in zip(found[2:], ratios, ratios[::-1], grids[1][::-1]):
            assert (each.k, each.p) == evidence.best(mine, ks, ps)
            at = ks.index(each.k), ps.index(each.p)
            assert (each.ratio, each.loops) == (other[at[0]][at[1]], loops.count(bars[at]))


def test_a_circle_is_one_loop_in_every_half_and_noise_in_none(circle):
    noise = np.random.default_rng(1).normal(size=(600, 5))
    for cloud, expected in ((circle, 1), (noise, 0)):
        judged = Loops(landmarks=30).judged(Loops(landmarks=30).halves(cloud, [6], [0.5, 0.9]), [6], [0.5, 0.9])
        assert {each.loops for each in judged} == {expected}


def test_draws_of_halves_out_of_range_are_an_error(circle):
    with refused(ValueError, match="draws = 0"):
        Loops().halves(circle, [5], [0.5], draws=0)


def test_the_first_landmark_may_be_any_point(circle):
    loops = Loops(landmarks=10)
    rows = persistence.maxmin_landmarks(circle, 10, 7)
    np.testing.assert_array_equal(loops.barcode(circle, 7)[1], persistence.lazy_witness_barcode(circle, rows, 1)[1])
