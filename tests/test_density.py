import tracemalloc

import numpy as np
import pytest
from conftest import refused

from topo.density import densest, densest_indices, kth_neighbor_distance


def brute_force(points, k):
    points = np.asarray(points, np.float64)
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1))
    np.fill_diagonal(distances, np.inf)
    return np.sort(distances, axis=1)[:, k - 1]


def cloud(n, d, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)


@pytest.mark.parametrize("n, d, k", [(2, 1, 1), (50, 1, 7), (200, 3, 1), (300, 9, 40), (300, 9, 299), (100, 49, 10)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_brute_force(n, d, k, dtype):
    points = cloud(n, d, dtype)
    distances = kth_neighbor_distance(points, k)
    assert distances.shape == (n,) and distances.dtype == np.float64
    np.testing.assert_allclose(distances, brute_force(points, k), rtol=1e-12)


def test_a_point_never_counts_itself_but_coincident_points_count():
    points = np.array([[0.0], [0.0], [0.0], [1.0], [3.0]])
    np.testing.assert_array_equal(kth_neighbor_distance(points, 1), [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(kth_neighbor_distance(points, 2), [0, 0, 0, 1, 3])
    np.testing.assert_array_equal(kth_neighbor_distance(points, 3), [1, 1, 1, 1, 3])
    np.testing.assert_array_equal(kth_neighbor_distance(points, 4), [3, 3, 3, 2, 3])
    np.testing.assert_array_equal(kth_neighbor_distance(points, (4, 1)), [[3, 3, 3, 2, 3], [0, 0, 0, 1, 2]])
    for ks in ([4, 1], np.array([4, 1]), range(4, 0, -3)):
        np.testing.assert_array_equal(kth_neighbor_distance(points, ks), [[3, 3, 3, 2, 3], [0, 0, 0, 1, 2]])
    np.testing.assert_array_equal(kth_neighbor_distance(points, np.int64(1)), [0, 0, 0, 1, 2])
    with pytest.raises(ValueError, match=r"^k = \[\] must hold one value"):
        kth_neighbor_distance(points, [])
    with pytest.raises(ValueError, match="k = 5 must be a whole number from 1 to 4"):
        kth_neighbor_distance(points, [4, 5])


def test_many_coincident_points():
    points = np.repeat(cloud(20, 9), 150, axis=0)
    distances = kth_neighbor_distance(points, 149)
    assert (distances == 0).all()
    np.testing.assert_allclose(kth_neighbor_distance(points, 150), np.repeat(brute_force(points[::150], 1), 150))
    assert (kth_neighbor_distance(np.ones((500, 9)), 200) == 0).all()


def test_small_distances_far_from_the_origin_are_not_cancelled():
    points = 1e6 + 1e-3 * cloud(200, 9)
    np.testing.assert_allclose(kth_neighbor_distance(points, 5), brute_force(points, 5), rtol=1e-9)


def test_invariance():
    points = cloud(300, 5)
    distances = kth_neighbor_distance(points, 12)
    order = np.random.default_rng(1).permutation(300)
    np.testing.assert_array_equal(kth_neighbor_distance(points[order], 12), distances[order])
    rotation = np.linalg.qr(cloud(5, 5, seed=2))[0]
    np.testing.assert_allclose(kth_neighbor_distance(3 * points @ rotation + 7, 12), 3 * distances, rtol=1e-12)
    assert (kth_neighbor_distance(points, 13) >= distances).all()


def test_no_matrix_of_all_pairs_is_made():
    points = cloud(6_000, 4, np.float32)
    tracemalloc.start()
    kth_neighbor_distance(points, 200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * points.nbytes  # k neighbours a point would be 50 times and all pairs 1,500 times as much


@pytest.mark.parametrize(
    "n, p, count",
    [
        (6400, 0.3, 1920),
        (100, 0.29, 29),
        (10, 0.1, 1),
        (100, 0.57, 57),
        (1000, 1 / 3, 333),
        (3, 1 / 3, 1),
        (7, 0.99, 6),
        (50, 1, 50),
        (8192, 0.1, 819),
        (300, np.float64(0.07), 21),
    ],
)
def test_densest_keeps_floor_p_n(n, p, count):
    assert densest_indices(np.arange(n, dtype=float)[:, None], 1, p).shape == (count,)


def test_floor_p_n_for_every_percentage():
    points = np.arange(1000.0)[:, None]
    for percent in range(1, 101):
        assert len(densest_indices(points[:100], 1, percent / 100)) == percent
        assert len(densest_indices(points, 1, percent / 1000)) == percent


def test_densest_first():
    points = cloud(400, 9, np.float32)
    distances = brute_force(points, 20)
    indices = densest_indices(points, 20, 0.25)
    assert len(indices) == 100
    assert (np.diff(distances[indices]) >= 0).all()
    assert distances[indices].max() <= np.delete(distances, indices).min()
    kept = densest(points, 20, 0.25)
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, points[indices])


@pytest.mark.parametrize("side", [6, 20])
def test_ties_keep_the_order_of_the_rows(side):
    lattice = np.stack(np.meshgrid(*[np.arange(float(side))] * 2), -1).reshape(-1, 2)  # integers: all ties are exact
    distances = brute_force(lattice, 4)
    expected = sorted(range(side**2), key=lambda row: (distances[row], row))
    np.testing.assert_array_equal(densest_indices(lattice, 4, 1), expected)


@pytest.mark.parametrize(
    "k, p, error, message",
    [
        (0, 0.5, ValueError, r"k = 0 must be a whole number from 1 to 9"),
        (10, 0.5, ValueError, r"k = 10 .* 10 points"),
        (-3, 0.5, ValueError, "k = -3"),
        (2.0, 0.5, TypeError, "k = 2.0"),
        (True, 0.5, TypeError, "k = True"),
        (2, 0, ValueError, r"p = 0 is outside \(0, 1\]"),
        (2, 1.0001, ValueError, r"p = 1.0001 is outside"),
        (2, -0.1, ValueError, "p = -0.1"),
        (2, float("nan"), ValueError, "p = nan"),
        (2, 0.09, ValueError, "p = 0.09 of 10 points keeps none"),
        (2, "0.5", TypeError, "p must be a number"),
    ],
)
@pytest.mark.parametrize("function", [densest, densest_indices])
def test_bad_k_and_p(function, k, p, error, message):
    with refused(error, match=message):
        function(cloud(10, 2), k, p)


def test_bad_points():
    with pytest.raises(ValueError, match="points must be finite"):
        kth_neighbor_distance([[0.0], [np.nan], [1.0]], 1)
    with pytest.raises(ValueError, match="there are 1 points"):
        kth_neighbor_distance([[0.0]], 1)
