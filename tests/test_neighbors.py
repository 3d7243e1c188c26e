import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from topo import compiled, neighbors

SIZES = [(2, 1), (3, 3), (63, 1), (64, 9), (65, 9), (500, 2), (1500, 9), (700, 25), (300, 49)]


def clouds(n, d):
    points = np.random.default_rng(n + d).normal(size=(n, d))
    return {
        "in general position": points,
        "with ties": np.round(points),
        "with coincident points": np.resize(points[: max(1, n // 20)], (n, d)),
        "tiny": 1e-200 * points,
        "huge": 1e200 * points,
        "far from the origin": 1e6 + 1e-3 * points,
    }


def power_of_two(points):
    return 2.0 ** np.floor(np.log2(np.abs(points).max() or 1))  # divides without rounding


def brute_force(points, k):
    scale = power_of_two(points)
    points = points / scale
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(axis=-1))
    np.fill_diagonal(distances, np.inf)
    return scale * np.sort(distances, axis=1)[:, k - 1]


@pytest.mark.parametrize("n, d", SIZES)
def test_kth_distances_equal_brute_force(n, d):
    for kind, points in clouds(n, d).items():
        for k in {1, min(7, n - 1), n - 1}:
            expected = brute_force(points, k)
            np.testing.assert_allclose(neighbors.kth_distances(points, [k])[0], expected, rtol=1e-9, err_msg=kind)


def in_float64(points, ks):
    """What the search in float64 alone finds: squares of distances of points that are scaled."""
    leaves = neighbors._in_leaves(points)
    squared, in_order = np.empty((2, len(ks), len(points)))
    compiled.kth_nearest(leaves, 0, len(leaves.blocks), ks + 1, in_order, np.ones(len(leaves.blocks), bool))
    squared[:, leaves.order] = in_order
    return squared


def hard_for_float32(n, d):
    generator = np.random.default_rng(n + d)
    points = generator.normal(size=(n, d))
    return {
        **clouds(n, d),
        "centred": points - points.mean(axis=1, keepdims=True),
        "all the same": np.ones((n, d)),
        "with an outlier": np.concatenate([points[1:], 1e6 * points[:1]]),
        "of all scales": points * 10.0 ** generator.uniform(-30, 0, size=(n, 1)),
        "nearly equal distances": np.eye(d)[np.arange(n) % d] + 1e-9 * points,
    }


@pytest.mark.parametrize("n, d", [(2, 1), (65, 9), (700, 2), (1500, 9), (900, 25), (300, 200)])
def test_the_search_in_float32_gives_the_bits_of_float64(monkeypatch, n, d):
    monkeypatch.setattr(neighbors, "_FEW", 0)
    ks = np.array(sorted({1, min(7, n - 1), min(150, n - 1), n - 1}, reverse=True))
    for kind, points in hard_for_float32(n, d).items():
        points, _ = neighbors._scaled(points)
        for several in (ks, ks[-1:], ks[-2:]):
            found = neighbors._kth_by_leaves(points, several)
            np.testing.assert_array_equal(found, in_float64(points, several), err_msg=kind)


@pytest.mark.parametrize("kind, searches", [("centred", 1), ("with an outlier", 2), ("with coincident points", 1)])
def test_float64_searches_only_where_float32_cannot_tell_points_apart(monkeypatch, kind, searches):
    called = []
    in_threads = neighbors._in_threads
    monkeypatch.setattr(
        neighbors, "_in_threads", lambda kernel, *rest: [called.append(kernel), in_threads(kernel, *rest)]
    )
    points, _ = neighbors._scaled(hard_for_float32(1500, 9)[kind])
    neighbors._kth_by_leaves(points, np.array([30]))
    assert called == [compiled.kth_nearest_by_rounded, compiled.kth_nearest][:searches]
    neighbors._kth_by_leaves(points[: neighbors._FEW - 1], np.array([30]))
    assert called[searches:] == [compiled.kth_nearest]


def test_turning_leaves_out_the_axis_of_the_mean_and_moves_distances_less_than_it_says():
    points, _ = neighbors._scaled(hard_for_float32(400, 9)["centred"])
    turned, slack = neighbors._turned(points)
    assert turned.shape == (400, 8) and turned.dtype == np.float32 and slack < 1e-6
    apart = [np.sqrt(((each[:, None] - each) ** 2).sum(axis=-1)) for each in (points, turned.astype(np.float64))]
    assert 0 < np.abs(apart[0] - apart[1]).max() < slack


@pytest.mark.parametrize("search", ["_kth_by_leaves", "_kth_by_pairs"])
def test_several_neighbours_at_once_are_those_one_by_one_in_the_order_asked_for(monkeypatch, search):
    monkeypatch.setattr(neighbors, "accelerated", lambda: search == "_kth_by_pairs")
    points = clouds(300, 9)["in general position"]
    ks = [7, 299, 1, 7, 64]
    several = neighbors.kth_distances(points, ks)
    np.testing.assert_array_equal(several, [neighbors.kth_distances(points, [k])[0] for k in ks])
    np.testing.assert_allclose(several[1], brute_force(points, 299), rtol=1e-9)


@pytest.mark.parametrize("n, d", [(2, 1), (65, 9), (300, 2)])
def test_an_accelerator_finds_the_same_distances(n, d, monkeypatch):
    monkeypatch.setattr(neighbors, "accelerated", lambda: True)
    monkeypatch.setattr(neighbors, "_PAIRS_AT_ONCE", 2_000)  # several blocks, the last one partly filled
    for kind, points in clouds(n, d).items():
        k = min(7, n - 1)
        (distances,) = neighbors.kth_distances(points.astype(np.float64), [k])
        assert distances.dtype == np.float64
        np.testing.assert_allclose(distances, brute_force(points, k), rtol=1e-9, err_msg=kind)


@pytest.mark.parametrize("n, d", SIZES)
def test_the_spanning_tree_has_the_heights_of_single_linkage(n, d):
    for kind, points in clouds(n, d).items():
        scale = power_of_two(points)
        expected = scale * linkage(points / scale, "single")[:, 2]
        lengths = neighbors.spanning_tree_lengths(points)
        np.testing.assert_allclose(lengths, expected, rtol=1e-6, atol=1e-12 * scale, err_msg=kind)


def test_the_spanning_tree_of_separate_clusters():
    centres = 100 * np.random.default_rng(0).normal(size=(40, 5))
    points = np.concatenate([centre + clouds(150, 5)["in general position"] for centre in centres])
    np.testing.assert_allclose(neighbors.spanning_tree_lengths(points), linkage(points, "single")[:, 2], rtol=1e-9)


def test_the_spanning_tree_of_one_point_has_no_edge():
    assert neighbors.spanning_tree_lengths(np.ones((1, 3))).shape == (0,)


def test_threads_do_not_change_the_bits(monkeypatch):
    points = clouds(1500, 9)["in general position"]
    several = neighbors.kth_distances(points, [30, 5]), neighbors.spanning_tree_lengths(points)
    monkeypatch.setattr(neighbors.config, "NUMBA_NUM_THREADS", 1)
    np.testing.assert_array_equal(neighbors.kth_distances(points, [30, 5]), several[0])
    np.testing.assert_array_equal(neighbors.spanning_tree_lengths(points), several[1])


IN_A_FORK = """
import os, sys
import numpy as np
from topo import neighbors
points = np.random.default_rng(0).normal(size=(1500, 3))
neighbors.config.NUMBA_NUM_THREADS = 2
expected = neighbors.kth_distances(points, [5])
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os._exit(int(not np.array_equal(neighbors.kth_distances(points, [5]), expected)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked here")
def test_a_forked_process_starts_threads_of_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", IN_A_FORK], check=True, timeout=120)


@pytest.mark.parametrize("n, d", SIZES)
def test_leaves_are_halves_along_the_axis_of_most_extent(n, d):
    for kind, points in clouds(n, d).items():
        points = neighbors._scaled(points)[0]
        order = neighbors._order(points)
        np.testing.assert_array_equal(np.sort(order), np.arange(n), err_msg=kind)
        parts = [order]
        while parts:
            rows = parts.pop()
            count = -(-len(rows) // neighbors.LEAF)
            if count < 2:
                continue
            rounded = (points - points.mean(axis=0)).astype(np.float32)
            low, high = rows[: count // 2 * neighbors.LEAF], rows[count // 2 * neighbors.LEAF :]
            axis = np.ptp(rounded[rows], axis=0).argmax()
            assert rounded[low, axis].max() <= rounded[high, axis].min(), kind
            parts += [low, high]


def by_first_row(labels):
    """The same clusters, numbered as `chains` does."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


@pytest.mark.parametrize("step", [0.0, 1e-300, 1.0, 2**0.5, 3**0.5, 2.0, 2.7, 1e308])
@pytest.mark.parametrize("n, d", [(2, 1), (65, 9), (500, 2), (800, 4)])
def test_chains_are_the_clusters_of_single_linkage(n, d, step):
    points = np.round(2 * clouds(n, d)["in general position"])  # whole numbers: many distances equal the step
    expected = by_first_row(fcluster(linkage(points, "single"), step, "distance"))
    np.testing.assert_array_equal(neighbors.chains(points, [np.arange(n)], step)[0], expected)


@pytest.mark.parametrize("d", [1, 4, 16, 64])
def test_opposite_corners_of_a_cube_are_joined_by_a_step_as_long_as_its_diagonal(d):
    corners, diagonal = np.stack([-np.ones(d), np.ones(d)]), 2 * np.sqrt(d)
    np.testing.assert_equal(neighbors.chains(corners, [np.arange(2)], diagonal), [[0, 0]])
    np.testing.assert_equal(neighbors.chains(corners, [np.arange(2)], np.nextafter(diagonal, 0)), [[0, 1]])


def test_chains_do_not_leave_their_set():
    points = np.arange(12.0)[:, None]
    sets = [np.array([0, 2, 4]), np.array([5]), np.array([11, 10, 3, 4])]
    np.testing.assert_equal(neighbors.chains(points, sets, 1.5), [[0, 1, 2], [0], [0, 0, 1, 1]])
    assert neighbors.chains(points, [], 1.5) == []


@pytest.mark.parametrize("n, d", [(1, 1), (7, 9), (511, 3), (513, 9), (1500, 2)])
def test_approaching_a_point_leaves_the_nearer_of_the_distances(n, d):
    points = np.round(4 * np.random.default_rng(n).normal(size=(n, d)))  # whole numbers: no sum is rounded
    to_first, to_last = (((points - each) ** 2).sum(axis=1) for each in (points[0], points[-1]))
    squared = np.full(n, np.inf)
    compiled.approach(np.ascontiguousarray(points.T), 0, squared)
    np.testing.assert_array_equal(squared, to_first)
    compiled.approach(np.ascontiguousarray(points.T), n - 1, squared)
    np.testing.assert_array_equal(squared, np.minimum(to_first, to_last))


@pytest.mark.parametrize("witnesses", [1, 3, 4, 9, 200])
@pytest.mark.parametrize("landmarks", [1, 2, 7, 40])
def test_witnesses_bring_every_pair_of_landmarks_to_its_least(witnesses, landmarks):
    generator = np.random.default_rng(witnesses)
    excess = generator.normal(size=(witnesses, landmarks))
    before = generator.normal(size=(landmarks, landmarks)) + 1
    expected = np.where(
        np.triu(np.ones_like(before), 1),
        np.minimum(before, np.maximum(excess[:, :, None], excess[:, None]).min(axis=0)),
        before,
    )
    times = before.copy()
    compiled.witness(excess, times)
    np.testing.assert_array_equal(times, expected)


def test_of_points_as_dense_as_each_other_the_lower_row_enters_first():
    neighbours = [[i - 1, i + 1] for i in range(1, 99)]  # a path of 100 points
    starts = np.concatenate([[0], np.cumsum([1, *map(len, neighbours), 1])])
    ends, ratios = neighbors.merge_peaks(np.ones(100), starts, np.concatenate([[1], *neighbours, [98]]), 1.2)
    assert (ends == 0).all() and ratios.tolist() == [np.inf] + [0] * 99


@pytest.mark.parametrize("between, ratio", [(0.0, 1.0), (3.0, np.inf)])
def test_where_peaks_of_zero_meet_at_zero_they_are_one(between, ratio):
    rho = np.array([0.0, 0.0, between])  # two peaks, and a point that neighbours both
    starts, neighbours = np.array([0, 1, 2, 4]), np.array([2, 2, 0, 1])
    ends, ratios = neighbors.merge_peaks(rho, starts, neighbours, 1.2)
    assert ends.tolist() == ([0, 0, 0] if between == 0 else [0, 1, 0])
    assert ratios.tolist() == [np.inf, ratio, 0]


@pytest.mark.parametrize("levels", [1, 2, 7, 10**6])
def test_the_smallest_values_come_to_the_front_with_many_ties_and_with_none(levels):
    generator = np.random.default_rng(levels)
    for count in (1, 2, 3, 50, 301):
        values = generator.integers(levels, size=count + 5).astype(float)
        for k in {1, (count + 1) // 2, count}:
            moved = values.copy()
            assert compiled.smallest(moved, count, k) == np.sort(values[:count])[k - 1]
            np.testing.assert_array_equal(np.sort(moved[:k]), np.sort(values[:count])[:k])
            np.testing.assert_array_equal(np.sort(moved[:count]), np.sort(values[:count]))
            np.testing.assert_array_equal(moved[count:], values[count:])
