from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from topo import coordinates, spaces
from topo.coordinates import (
    aligned,
    circular_coordinates,
    circular_correlation,
    circular_ranks,
    integer_cocycle,
    sector_means,
)
from topo.evidence import Loops
from topo.persistence import lazy_witness_times, maxmin_landmarks

REFERENCE = Path(__file__).parent / "reference" / "dreimac"


def around(n, seed=0, concentration=0.0):
    return np.random.default_rng(seed).vonmises(0, concentration, n)


def noisy_circle(angles, noise=0.05, seed=1):
    edges = spaces.primary_circle(angles)
    return edges + noise * np.random.default_rng(seed).normal(size=edges.shape)


def apart(left, right):
    """How far apart angles are, from 0 to pi."""
    return np.abs(np.angle(np.exp(1j * (left - right))))


# --- Coordinates ----------------------------------------------------------------------------------------------


def test_the_coordinate_of_a_noisy_circle_is_its_angle():
    angles = around(1000)
    found = circular_coordinates(noisy_circle(angles))
    assert found.min() >= 0 and found.max() < 2 * np.pi
    assert abs(circular_correlation(found, angles)) > 0.99
    assert np.median(apart(aligned(found, angles), angles)) < 0.1


def test_it_is_the_angle_where_one_side_has_seven_times_as_many_points():
    angles = around(1000, concentration=1.0)
    found = circular_coordinates(noisy_circle(angles))
    assert abs(circular_correlation(found, angles)) > 0.96
    assert abs(circular_correlation(circular_ranks(found), circular_ranks(angles))) > 0.99


def test_it_turns_once_and_never_jumps():
    angles = np.sort(around(1000))
    found = circular_coordinates(spaces.primary_circle(angles))
    steps = np.angle(np.exp(1j * (np.append(found[1:], found[0]) - found)))
    assert abs(abs(steps.sum()) - 2 * np.pi) < 1e-9 and np.abs(steps).max() < 0.2


def test_it_does_not_depend_on_rotation_scale_or_the_order_of_the_points():
    points = noisy_circle(around(300))
    found = circular_coordinates(points)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(9, 9)))[0]
    order = np.random.default_rng(3).permutation(300)
    first = int(np.flatnonzero(order == 0)[0])
    for changed, expected in (
        (circular_coordinates(points @ rotation), found),
        (circular_coordinates(3 * points, Loops(floor=0.15)), found),
        (circular_coordinates(points[order], first=first), found[order]),
    ):
        assert apart(aligned(changed, expected), expected).max() < 1e-5


def test_a_point_may_start_from_any_landmark_that_it_belongs_to():
    points = noisy_circle(around(400))
    rows = maxmin_landmarks(points, 60)
    cocycle = integer_cocycle(lazy_witness_times(points, rows, 1))
    shares = 1 / (1 + cocycle.edges.sum(axis=1))
    angles, steps = coordinates._smoothed(cocycle, shares)
    expected = coordinates._extended(points, points[rows], 1, cocycle.time, shares, angles, steps)
    distances = np.linalg.norm(points[:, None] - points[rows], axis=2)
    weights = shares * np.maximum(distances.min(axis=1, keepdims=True) + cocycle.time - distances, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    for z, row in enumerate(weights):
        for a in np.flatnonzero(row):
            turns = angles[a] + row @ steps[a] - expected[z]
            assert abs(turns - round(turns)) < 1e-9


def test_points_apart_from_the_loop_have_no_angle():
    angles = around(300)
    blob = 5 + 0.05 * np.random.default_rng(4).normal(size=(50, 9))
    found = circular_coordinates(np.concatenate([noisy_circle(angles), blob]))
    assert np.isnan(found[300:]).all() and abs(circular_correlation(found[:300], angles)) > 0.95


def test_of_two_loops_the_longer_has_the_angle():
    angles = around(300)
    small, large = noisy_circle(angles, 0.02), 8 + 3 * noisy_circle(angles, 0.02)
    found = circular_coordinates(np.concatenate([small, large]), Loops(least=1))
    assert np.isnan(found[:300]).all() and abs(circular_correlation(found[300:], angles)) > 0.95


def test_a_cloud_without_a_loop_is_refused():
    blob = np.random.default_rng(0).normal(size=(400, 9))
    with pytest.raises(ValueError, match=r"^the cloud of 400 points has no loop: the largest ratio .* asks for 3$"):
        circular_coordinates(blob)


def test_a_point_must_belong_to_a_landmark():
    with pytest.raises(ValueError, match="nu = 0 must be a whole number, 1 or more: every point must belong"):
        circular_coordinates(noisy_circle(around(100)), Loops(nu=0))


def test_points_come_in_the_order_that_dreimac_finds():
    """DREiMac has another complex, no weights and another partition of unity, so that its angles are stretched."""
    *points, angles = np.loadtxt(REFERENCE / "ellipse.csv", delimiter=",").T
    found = circular_coordinates(np.column_stack(points))
    assert abs(circular_correlation(circular_ranks(found), circular_ranks(angles))) > 0.999


# --- Cocycles -------------------------------------------------------------------------------------------------


def hexagon():
    times = np.full((6, 6), 3.0)
    np.fill_diagonal(times, 0)
    for a, b in pairwise([0, 1, 2, 3, 4, 5, 0]):
        times[a, b] = times[b, a] = 1
    return times


def test_the_cocycle_of_a_hexagon_adds_up_to_one_turn():
    cocycle = integer_cocycle(hexagon())
    assert (cocycle.birth, cocycle.death, cocycle.time) == (1, 3, 2)
    assert abs(sum(cocycle.values[a, b] for a, b in pairwise([0, 1, 2, 3, 4, 5, 0]))) == 1
    np.testing.assert_array_equal(cocycle.values, -cocycle.values.T)
    np.testing.assert_array_equal(cocycle.edges, hexagon() == 1)


def test_a_cocycle_adds_up_to_nothing_around_triangles_and_to_a_turn_around_the_loop():
    angles = np.sort(around(200))
    points = spaces.primary_circle(angles)
    rows = np.arange(0, 200, 5)
    cocycle = integer_cocycle(lazy_witness_times(points, rows, 1))
    triangles = [each for each in combinations(range(40), 3) if cocycle.edges[np.ix_(each, each)].sum() == 6]
    assert len(triangles) > 50 and cocycle.values.any()
    assert all(cocycle.values[a, b] + cocycle.values[b, c] + cocycle.values[c, a] == 0 for a, b, c in triangles)
    assert abs(sum(cocycle.values[i, (i + 1) % 40] for i in range(40))) == 1


def test_a_filtration_without_a_bar_has_no_cocycle():
    with pytest.raises(ValueError, match="no bar of dimension 1"):
        integer_cocycle(1 - np.eye(5))


def projective_plane():
    """Edge times of the barycentric subdivision of the six vertices' projective plane, a flag complex."""
    text = "012 023 034 045 051 124 235 341 452 513"
    triangles = [frozenset(map(int, each)) for each in text.split()]
    faces = sorted({frozenset(face) for t in triangles for i in (1, 2, 3) for face in combinations(t, i)}, key=sorted)
    times = np.array([[0.0 if a == b else 1.0 if a < b or b < a else 2.0 for b in faces] for a in faces])
    assert len(faces) == 6 + 15 + 10
    return times


def test_a_cocycle_that_is_none_over_the_integers_is_refused(monkeypatch):
    """The projective plane has a cocycle over Z/2 and none over the integers, nor over Z/47."""
    with pytest.raises(ValueError, match="no bar of dimension 1"):
        integer_cocycle(projective_plane())
    monkeypatch.setattr(coordinates, "_PRIME", 2)
    with pytest.raises(ValueError, match="the cocycle over Z/2 is none over the integers"):
        integer_cocycle(projective_plane())


# --- Angles ---------------------------------------------------------------------------------------------------


def test_circular_correlation_is_the_sum_over_pairs():
    a, b = np.random.default_rng(0).uniform(-9, 9, (2, 30))
    pairs = list(combinations(range(30), 2))
    left, right = (np.array([np.sin(each[i] - each[j]) for i, j in pairs]) for each in (a, b))
    expected = (left * right).sum() / np.sqrt((left**2).sum() * (right**2).sum())
    assert circular_correlation(a, b) == pytest.approx(expected, abs=1e-12)


def test_circular_correlation_knows_neither_zero_nor_turns_but_the_sense():
    a, b = np.random.default_rng(0).uniform(-9, 9, (2, 200))
    assert circular_correlation(a, a + 2.5) == pytest.approx(1) and circular_correlation(a, 1 - a) == pytest.approx(-1)
    assert circular_correlation(a + 1, b + 2 * np.pi) == pytest.approx(circular_correlation(a, b))
    assert abs(circular_correlation(a, b)) < 0.2


def test_angles_that_do_not_vary_have_no_correlation():
    with pytest.raises(ValueError, match="up to half a turn"):
        circular_correlation([1.0, 1.0, 1.0 + np.pi], [0.0, 1.0, 2.0])
    with refused(ValueError, match=r"angles \(2,\) and others \(3,\) must be as many"):
        circular_correlation([1.0, 2.0], [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="others must be finite; 1 entries"):
        circular_correlation([1.0, 2.0], [0.0, np.nan])


def test_ranks_keep_the_order_and_nothing_else():
    angles = np.array([0.1, 6.0, 0.2, -0.1])
    np.testing.assert_allclose(circular_ranks(angles), np.array([0, 2, 1, 3]) * np.pi / 2)
    stretched = around(500) % (2 * np.pi)
    bent = stretched**3 / (2 * np.pi) ** 2
    assert circular_correlation(circular_ranks(stretched), circular_ranks(bent)) == pytest.approx(1)
    assert circular_correlation(stretched, bent) < 0.8


def test_aligned_undoes_a_turn_and_a_reversal():
    angles = around(100) % (2 * np.pi)
    for changed in (angles + 2, 1 - angles):
        assert apart(aligned(changed, angles), angles).max() < 1e-9


def test_sector_means_are_those_of_the_points_there():
    points, angles = np.arange(8.0).reshape(4, 2), np.array([0.1, -0.1, np.pi / 2, 2 * np.pi])
    means = sector_means(points, angles, 4)
    np.testing.assert_allclose(means[:2], [points[[0, 1, 3]].mean(axis=0), points[2]])
    assert np.isnan(means[2:]).all()
    with refused(ValueError, match="3 angles for 4 points"):
        sector_means(points, angles[:3])
