import json
import time
import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import refused
from sklearn.base import clone

from topo import persistence, spaces
from topo.persistence import (
    LazyWitnessPersistence,
    bar_lengths,
    lazy_witness_barcode,
    lazy_witness_cycles,
    lazy_witness_times,
    maxmin_landmarks,
)

REFERENCE = Path(__file__).parent / "reference" / "javaplex"
CACHE = Path(__file__).parent.parent / "data" / "cache" / "reference" / "javaplex"


def cloud(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def lattice(side):
    """Integer points, on which all distances are exact and ties abound."""
    return np.stack(np.meshgrid(*[np.arange(float(side))] * 2), -1).reshape(-1, 2)


# --- JavaPlex -----------------------------------------------------------------------------------------------


def javaplex_runs():
    for path in sorted(REFERENCE.glob("*.json")):
        case = json.loads(path.read_text())
        for run in case["runs"]:
            yield pytest.param(path.stem, case, run, id=f"{path.stem}-nu{run['nu']}")


def javaplex_points(name):
    """The points are kept out of the repository where they come from photographs or from VGG's weights."""
    for folder in (REFERENCE, CACHE):
        if (folder / f"{name}.npz").exists():
            return np.load(folder / f"{name}.npz")["points"]
    pytest.skip(f"the points of {name} are not part of the repository: put {name}.npz into {CACHE}")


def in_divisions(bars, run):
    """Bars as JavaPlex reports them: times rounded down to whole divisions, edges after the last division absent."""
    divisions = np.floor(bars / (run["max_filtration_value"] / run["num_divisions"]) + 1e-9)
    divisions[divisions > run["num_divisions"]] = np.inf
    return sorted((birth, death) for birth, death in divisions.tolist() if birth < death)


def test_every_javaplex_case_is_here():
    assert len(list(javaplex_runs())) == 8


@pytest.mark.parametrize("name, case, run", list(javaplex_runs()))
def test_landmarks_and_barcode_equal_javaplex(name, case, run):
    """Rounded as JavaPlex rounds, the bars are the same: so each is within one division, and as many exceed five."""
    points = javaplex_points(name)
    landmarks = maxmin_landmarks(points, case["num_landmarks"], first=case["first_point"])
    np.testing.assert_array_equal(landmarks, run["landmarks"])
    barcode = lazy_witness_barcode(points, landmarks, run["nu"], run["max_dimension"] - 1)
    assert sorted(barcode) == sorted(map(int, run["intervals"]))
    for dimension, bars in barcode.items():
        intervals = run["intervals"][str(dimension)]
        theirs = np.array([[birth, np.inf if death is None else death] for birth, death in intervals]).reshape(-1, 2)
        assert in_divisions(bars, run) == in_divisions(theirs, run)


# --- Landmarks ----------------------------------------------------------------------------------------------


def brute_force_landmarks(points, n_landmarks, first):
    chosen = [first]
    while len(chosen) < n_landmarks:
        best, best_distance = None, -1.0
        for row in range(len(points)):
            distance = min(((points[row] - points[landmark]) ** 2).sum() for landmark in chosen)
            if row not in chosen and distance > best_distance:
                best, best_distance = row, distance
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("points", [cloud(40, 3), lattice(6), np.repeat(lattice(3), 3, axis=0), np.zeros((9, 2))])
@pytest.mark.parametrize("first", [0, 5])
def test_landmarks_equal_brute_force(points, first):
    for n_landmarks in (1, 2, 7, len(points)):
        landmarks = maxmin_landmarks(points, n_landmarks, first)
        assert landmarks.dtype == np.int64
        assert landmarks.tolist() == brute_force_landmarks(points, n_landmarks, first)


# --- Edge times ---------------------------------------------------------------------------------------------


def brute_force_times(points, landmarks, nu):
    """The definition, one triple loop."""
    times = np.zeros((len(landmarks), len(landmarks)))
    for i, a in enumerate(landmarks):
        for j, b in enumerate(landmarks):
            if i == j:
                continue
            candidates = []
            for z in points:
                to_landmarks = sorted(np.linalg.norm(points[landmark] - z) for landmark in landmarks)
                m = to_landmarks[nu - 1] if nu else 0
                longer = max(np.linalg.norm(points[a] - z), np.linalg.norm(points[b] - z))
                candidates.append(max(0, longer - m))
            times[i, j] = min(candidates)
    return times


@pytest.mark.parametrize("nu", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("points", [cloud(30, 2), cloud(25, 5, 1), lattice(5)])
def test_times_equal_the_definition(points, nu):
    landmarks = maxmin_landmarks(points, 8)
    times = lazy_witness_times(points, landmarks, nu)
    assert times.dtype == np.float64
    np.testing.assert_allclose(times, brute_force_times(points, landmarks, nu), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("nu", [0, 1, 2])
def test_times_do_not_depend_on_blocks_and_threads(nu, monkeypatch):
    points = cloud(200, 4)
    landmarks = maxmin_landmarks(points, 20)
    expected = lazy_witness_times(points, landmarks, nu)
    for block, threads in ((1, 3), (7, 2), (199, 2), (200, 1), (201, 4)):
        monkeypatch.setattr(persistence, "_BLOCK", block)
        monkeypatch.setattr(persistence.config, "NUMBA_NUM_THREADS", threads)
        np.testing.assert_array_equal(lazy_witness_times(points, landmarks, nu), expected)


def test_memory_does_not_grow_with_the_witnesses(monkeypatch):
    monkeypatch.setattr(persistence.config, "NUMBA_NUM_THREADS", 2)
    points, a_block = cloud(40_000, 3), 8 * 50 * persistence._BLOCK
    tracemalloc.start()
    lazy_witness_times(points, np.arange(50))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * 3.5 * a_block < 8 * 50 * len(points) / 4


@pytest.mark.parametrize("nu", [0, 1, 2])
def test_times_under_isometry_scaling_and_permutation(nu):
    points = cloud(120, 4)
    landmarks = maxmin_landmarks(points, 15)
    times = lazy_witness_times(points, landmarks, nu)
    rotation = np.linalg.qr(cloud(4, 4, 1))[0]
    moved = lazy_witness_times(2.5 * points @ rotation - 3, landmarks, nu)
    np.testing.assert_allclose(moved, 2.5 * times, atol=1e-12)
    order = np.random.default_rng(2).permutation(120)
    places = np.argsort(order)[landmarks]
    np.testing.assert_array_equal(lazy_witness_times(points[order], places, nu), times)
    reordered = np.random.default_rng(3).permutation(15)
    shuffled = lazy_witness_times(points, landmarks[reordered], nu)
    np.testing.assert_array_equal(shuffled, times[np.ix_(reordered, reordered)])


def test_times_shrink_as_nu_or_the_witnesses_grow():
    points = cloud(150, 3)
    landmarks = np.arange(12)
    few = lazy_witness_times(points[:60], landmarks)
    assert (lazy_witness_times(points, landmarks) <= few).all()
    by_nu = [lazy_witness_times(points, landmarks, nu) for nu in range(13)]
    assert all((later <= earlier).all() for earlier, later in zip(by_nu, by_nu[1:], strict=False))
    assert (by_nu[12] == 0).all()


# --- Barcodes -----------------------------------------------------------------------------------------------


def brute_force_barcode(times, max_dimension):
    """Textbook reduction of the boundary matrix of the flag complex, over Z/2."""
    simplices = []
    for size in range(1, max_dimension + 3):
        for simplex in combinations(range(len(times)), size):
            time = max((times[a, b] for a, b in combinations(simplex, 2)), default=0.0)
            simplices.append((time, size, simplex))
    simplices.sort()
    place = {simplex: i for i, (_, _, simplex) in enumerate(simplices)}
    columns, bars, paired = {}, {dimension: [] for dimension in range(max_dimension + 1)}, set()
    for i, (death, size, simplex) in enumerate(simplices):
        column = {place[simplex[:k] + simplex[k + 1 :]] for k in range(size)} if size > 1 else set()
        while column and max(column) in columns:
            column = column ^ columns[max(column)]
        if column:
            low = max(column)
            columns[low] = column
            paired |= {low, i}
            birth = simplices[low][0]
            if birth < death:
                bars[size - 2].append((birth, death))
    for i, (birth, size, _) in enumerate(simplices):
        if i not in paired and size <= max_dimension + 1:
            bars[size - 1].append((birth, np.inf))
    return {dimension: sorted(found) for dimension, found in bars.items()}


@pytest.mark.parametrize("nu", [0, 1, 2])
@pytest.mark.parametrize("points", [cloud(60, 2), cloud(60, 3, 1), spaces.sample_circle(60, 2, noise=0.05), lattice(6)])
def test_barcode_equals_brute_force_in_float64(points, nu):
    landmarks = maxmin_landmarks(points, 12)
    barcode = lazy_witness_barcode(points, landmarks, nu, max_dimension=2)
    expected = brute_force_barcode(lazy_witness_times(points, landmarks, nu), 2)
    for dimension in range(3):
        assert barcode[dimension].dtype == np.float64 and barcode[dimension].shape[1:] == (2,)
        assert sorted(map(tuple, barcode[dimension].tolist())) == expected[dimension]  # to the last bit


def test_bars_are_sorted_and_none_has_zero_length():
    points = cloud(300, 3)
    for bars in lazy_witness_barcode(points, maxmin_landmarks(points, 40), max_dimension=2).values():
        lengths = bars[:, 1] - bars[:, 0]
        assert (lengths > 0).all()
        assert (lengths[:-1] >= lengths[1:]).all()


def test_barcode_does_not_depend_on_order_of_landmarks_or_threads():
    points = cloud(200, 3)
    landmarks = maxmin_landmarks(points, 30)
    barcode = lazy_witness_barcode(points, landmarks)
    for other in (
        lazy_witness_barcode(points, landmarks[::-1]),
        lazy_witness_barcode(points, landmarks.tolist()),
        lazy_witness_barcode(points, landmarks, n_threads=2),
    ):
        for dimension in barcode:
            np.testing.assert_array_equal(other[dimension], barcode[dimension])


@pytest.mark.parametrize(
    "points, betti",
    [
        (spaces.sample_circle(500, 0, noise=0.03), {0: 1, 1: 1}),
        (spaces.sample_circle(500, 0, dim=9), {0: 1, 1: 1}),
        (spaces.sample_torus(3000, 0), {0: 1, 1: 2, 2: 1}),
        (spaces.sample_three_circles(1500, 0, noise=0.02), {0: 1, 1: 5}),
        (spaces.sample_klein_bottle(4000, 0), {0: 1, 1: 2, 2: 1}),
    ],
    ids=["circle", "circle in R9", "torus", "three circles", "klein bottle"],
)
def test_known_topology_over_the_field_of_two(points, betti):
    barcode = lazy_witness_barcode(points, maxmin_landmarks(points, 60), max_dimension=max(betti))
    assert np.isinf(bar_lengths(barcode, 0)).sum() == betti[0]
    for dimension in range(1, max(betti) + 1):
        lengths = np.append(bar_lengths(barcode, dimension), 0)
        assert lengths[betti[dimension] - 1] > 2 * lengths[betti[dimension]]
        assert np.isfinite(barcode[dimension]).all()


def test_two_far_components_merge_last():
    points = np.concatenate([spaces.sample_circle(300, 0), spaces.sample_circle(300, 1) + 20])
    barcode = lazy_witness_barcode(points, maxmin_landmarks(points, 40))
    components, loops = bar_lengths(barcode, 0), bar_lengths(barcode, 1)
    assert np.isinf(components[0]) and components[1] > 10 * components[2]
    assert loops[1] > 3 * max(loops[2:], default=0)


def test_unless_told_otherwise_there_is_one_witness_neighbour_and_no_dimension_above_1():
    points = cloud(60, 3)
    landmarks = maxmin_landmarks(points, 12, 0)
    np.testing.assert_array_equal(maxmin_landmarks(points, 12), landmarks)
    np.testing.assert_array_equal(lazy_witness_times(points, landmarks), lazy_witness_times(points, landmarks, 1))
    barcode, expected = lazy_witness_barcode(points, landmarks), lazy_witness_barcode(points, landmarks, 1, 1)
    assert sorted(barcode) == sorted(expected) == [0, 1]
    assert all(np.array_equal(barcode[dimension], expected[dimension]) for dimension in (0, 1))


def test_one_and_two_landmarks():
    points = cloud(30, 2)
    np.testing.assert_array_equal(lazy_witness_barcode(points, [3])[0], [[0, np.inf]])
    barcode = lazy_witness_barcode(points, [3, 4], nu=0)
    np.testing.assert_array_equal(barcode[0], [[0, np.inf], [0, lazy_witness_times(points, [3, 4], nu=0)[0, 1]]])
    assert barcode[1].shape == (0, 2)


@pytest.mark.seconds
def test_a_hundred_landmarks_take_less_than_two_seconds():
    points = spaces.sample_three_circles(1920, 0, noise=0.1).astype(np.float32)
    start = time.perf_counter()
    lazy_witness_barcode(points, maxmin_landmarks(points, 100))
    assert time.perf_counter() - start < 2


# --- Estimator ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduced", [True, False])
@pytest.mark.parametrize("nu", [0, 1])
def test_estimator_gives_the_same_bars_as_the_function(reduced, nu):
    points = spaces.sample_circle(200, 0, noise=0.05)
    estimator = LazyWitnessPersistence(n_landmarks=30, nu=nu, first=2, reduced_homology=reduced)
    diagrams = estimator.fit_transform([points])
    assert diagrams.ndim == 3 and diagrams.shape[0] == 1 and diagrams.shape[2] == 3
    barcode = lazy_witness_barcode(points, maxmin_landmarks(points, 30, first=2), nu)
    if reduced:
        barcode[0] = barcode[0][np.isfinite(barcode[0][:, 1])]
    for dimension, bars in barcode.items():
        found = diagrams[0][(diagrams[0][:, 2] == dimension) & (diagrams[0][:, 0] < diagrams[0][:, 1]), :2]
        by_birth_and_death = [ends[np.lexsort(ends.T)] for ends in (found, bars)]
        np.testing.assert_allclose(*by_birth_and_death, atol=1e-6)


def test_estimator_pads_clouds_of_different_size():
    clouds = [spaces.sample_circle(100, 0), spaces.sample_torus(150, 1)[:, :2], spaces.sample_circle(80, 2)]
    diagrams = LazyWitnessPersistence(n_landmarks=20).fit_transform(clouds)
    assert diagrams.shape[::2] == (3, 3)
    alone = LazyWitnessPersistence(n_landmarks=20).fit_transform(clouds[:1])[0]
    lasting = [diagram[diagram[:, 0] < diagram[:, 1]] for diagram in (diagrams[0], alone)]
    np.testing.assert_array_equal(*lasting)


def test_estimator_has_a_hundred_landmarks_from_the_first_row_unless_told_otherwise():
    expected = dict(n_landmarks=100, nu=1, homology_dimensions=(0, 1), first=0, reduced_homology=True, n_jobs=None)
    assert LazyWitnessPersistence().get_params() == expected
    assert LazyWitnessPersistence(n_jobs=2).get_params() == {**expected, "n_jobs": 2}


def test_estimator_is_one_for_scikit_learn():
    estimator = LazyWitnessPersistence(n_landmarks=12, nu=2, homology_dimensions=(1,))
    assert clone(estimator).get_params() == estimator.get_params()
    diagrams = estimator.fit_transform(cloud(60, 2).reshape(1, 60, 2))
    assert (diagrams[..., 2] == 1).all()


# --- Summaries of barcodes ----------------------------------------------------------------------------------


def test_bar_lengths_come_longest_first():
    barcode = {
        0: np.array([[0, np.inf], [0, np.inf], [0, 1]]),
        1: np.array([[1, 1.5], [0, 4], [2, 4]]),
        2: np.zeros((0, 2)),
    }
    np.testing.assert_array_equal(bar_lengths(barcode, 1), [4, 2, 0.5])
    np.testing.assert_array_equal(bar_lengths(barcode, 0), [np.inf, np.inf, 1])
    assert bar_lengths(barcode, 2).shape == (0,)
    with pytest.raises(ValueError, match=r"dimension 3 .* \[0, 1, 2\]"):
        bar_lengths(barcode, 3)


# --- Bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "landmarks, error, message",
    [
        ([0, 1, 0], ValueError, "landmark 0 occurs 2 times"),
        ([0, 3, 1, 3, 2, 3, 0], ValueError, "landmark 3 occurs 3 times: landmarks must be distinct"),
        ([0, 20], ValueError, r"landmarks lie in 0\.\.20, outside 0\.\.19 for 20 points"),
        ([-1, 2], ValueError, r"landmarks lie in -1\.\.2, outside 0\.\.19 for 20 points"),
        ([], TypeError, "landmarks must be row indices"),
        (np.zeros(0, int), ValueError, r"landmarks must have shape \(L,\) with L >= 1, not \(0,\)"),
        ([[0, 1]], ValueError, r"landmarks must have shape \(L,\) with L >= 1, not \(1, 2\)"),
        ([0.0, 1.0], TypeError, "landmarks must be row indices of points, not an array of float64"),
        (np.ones(20, bool), TypeError, "bool"),
    ],
)
@pytest.mark.parametrize("function", [lazy_witness_times, lazy_witness_barcode])
def test_bad_landmarks(function, landmarks, error, message):
    with refused(error, match=message):
        function(cloud(20, 2), landmarks)


def test_bad_numbers():
    points, whole = cloud(20, 2), "must be a whole number"
    for call, error, message in (
        (
            lambda: maxmin_landmarks(points, 21),
            ValueError,
            f"n_landmarks = 21 {whole} from 1 to 20: there are 20 points",
        ),
        (lambda: maxmin_landmarks(points, 0), ValueError, f"n_landmarks = 0 {whole} from 1 to 20"),
        (lambda: maxmin_landmarks(points, 5.0), TypeError, "n_landmarks = 5.0"),
        (lambda: maxmin_landmarks(points, 5, 20), ValueError, f"first = 20 {whole} from 0 to 19: there are 20 points"),
        (lambda: maxmin_landmarks(points, 5, -1), ValueError, "first = -1"),
        (lambda: maxmin_landmarks(points[:, 0], 5), ValueError, "points must have shape"),
        (
            lambda: lazy_witness_times(points, [0, 1], 3),
            ValueError,
            f"nu = 3 {whole} from 0 to 2: there are 2 landmarks",
        ),
        (lambda: lazy_witness_times(points, [0, 1], -1), ValueError, f"nu = -1 {whole} from 0 to 2"),
        (lambda: lazy_witness_barcode(points, [0, 1], 1, -1), ValueError, f"max_dimension = -1 {whole}, 0 or more"),
        (lambda: LazyWitnessPersistence(n_landmarks=30).fit_transform([points]), ValueError, "n_landmarks = 30"),
    ):
        with refused(error, match=f"^{message}"):
            call()


def test_a_number_of_landmarks_stands_for_the_maxmin_ones():
    points = spaces.sample_circle(300, seed=0, noise=0.05)
    chosen = persistence.lazy_witness_barcode(points, persistence.maxmin_landmarks(points, 25))
    counted = persistence.lazy_witness_barcode(points, 25)
    for dimension in (0, 1):
        np.testing.assert_array_equal(counted[dimension], chosen[dimension])
    for wrong, error in ((301, ValueError), (0, ValueError), (2.5, TypeError)):
        with refused(error, match="n_landmarks"):
            persistence.lazy_witness_barcode(points, wrong)


# --- Cycles -------------------------------------------------------------------------------------------------


def turns(around):
    """How many times a closed path in the plane goes around the origin."""
    angles = np.arctan2(around[:, 1], around[:, 0])
    return round(np.diff(np.unwrap(np.append(angles, angles[0]))).sum() / (2 * np.pi))


@pytest.mark.parametrize("seed", range(3))
def test_the_cycle_of_a_noisy_circle_goes_around_it_once(seed):
    points = spaces.sample_circle(500, seed=seed, noise=0.1)
    cycles, bars = lazy_witness_cycles(points, 40), lazy_witness_barcode(points, 40)[1]
    assert len(cycles) == len(bars) and bars[0, 1] - bars[0, 0] > 3 * (bars[1, 1] - bars[1, 0])
    assert abs(turns(points[cycles[0]])) == 1 and len(cycles[0]) >= 10
    assert all(turns(points[cycle]) == 0 for cycle, (birth, death) in zip(cycles[1:], bars[1:]) if death < bars[0, 1])


def test_each_loop_of_an_eight_has_its_own_cycle():
    circles = [spaces.sample_circle(400, seed=i, noise=0.05) + [2 * i - 1, 0] for i in range(2)]
    points = np.concatenate(circles)
    around = [[abs(turns(points[cycle] - [x, 0])) for x in (-1, 1)] for cycle in lazy_witness_cycles(points, 60)[:2]]
    assert sorted(around) == [[0, 1], [1, 0]]


def in_span(columns, target):
    """Whether a set is a sum modulo 2 of other sets, all of whole numbers as bits."""
    pivots = {}
    for column in columns:
        while column and (top := column.bit_length()) in pivots:
            column ^= pivots[top]
        if column:
            pivots[column.bit_length()] = column
    while target and (top := target.bit_length()) in pivots:
        target ^= pivots[top]
    return not target


@pytest.mark.parametrize("points", [cloud(120, 3), cloud(120, 2, 1), lattice(8)])
@pytest.mark.parametrize("nu", [0, 1, 2])
def test_a_cycle_closes_when_its_bar_is_born_and_is_not_filled_before_the_bar_ends(points, nu):
    rows = maxmin_landmarks(points, 18)
    times, bars = lazy_witness_times(points, rows, nu), lazy_witness_barcode(points, rows, nu)[1]
    cycles = lazy_witness_cycles(points, rows, nu)
    assert len(cycles) == len(bars) > 0
    where = {row: i for i, row in enumerate(rows)}
    numbers = {pair: i for i, pair in enumerate(combinations(range(18), 2))}
    bits = lambda pairs: sum(1 << numbers[min(pair), max(pair)] for pair in pairs)
    for cycle, (birth, death) in zip(cycles, bars):
        assert len(set(cycle)) == len(cycle) >= 4  # a triangle is filled at once
        path = [where[row] for row in cycle]
        edges = list(zip(path, [*path[1:], path[0]]))
        assert max(times[edge] for edge in edges) == birth
        filled = [
            bits(combinations(triple, 2))
            for triple in combinations(range(18), 3)
            if max(times[pair] for pair in combinations(triple, 2)) < death
        ]
        assert not in_span(filled, bits(edges))


def test_cycles_are_those_of_the_landmarks_in_any_dimension_and_refuse_bad_input():
    assert lazy_witness_cycles(cloud(30, 2), 2) == []
    points = spaces.sample_circle(300, seed=0, noise=0.05)
    rows = maxmin_landmarks(points, 25)
    assert all(np.isin(cycle, rows).all() for cycle in lazy_witness_cycles(points, rows))
    with pytest.raises(ValueError, match="n_landmarks"):
        lazy_witness_cycles(points, 301)
