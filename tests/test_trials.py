"""Trials against clouds whose shape is known, and against chance itself."""

import numpy as np
import pytest
from conftest import refused
from scipy.stats import kstest

from topo import evidence, filters, spaces, trials

LOOPS = evidence.Loops(landmarks=30)


def noise(n, seed):
    return trials.untrained_filters(n, seed)


def networks(count, each, seed, share=0.6, width=0.15, circle=spaces.primary_circle):
    """Clouds of networks, `share` of whose filters lie along a circle, the others anywhere."""
    generator = np.random.default_rng(seed)
    on = round(share * each)
    clouds = []
    for _ in range(count):
        ring = circle(generator.uniform(0, 2 * np.pi, on)) + width * generator.standard_normal((on, 9))
        clouds.append(np.concatenate([filters.normalize(ring), noise(each - on, generator)]))
    return clouds


def vertical(angles):
    return spaces.secondary_circles(angles)[0]


def test_untrained_filters_are_centred_unit_and_of_their_law():
    for law in ("truncated normal", "normal", "uniform"):
        points = trials.untrained_filters(2000, 0, law)
        assert points.dtype == np.float32 and points.shape == (2000, 9)
        np.testing.assert_allclose(points.mean(axis=1), 0, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-6)
        assert np.abs(points.mean(axis=0)).max() < 0.05  # no direction is preferred
        assert np.array_equal(points, trials.untrained_filters(2000, 0, law))
    kurtosis = {
        law: (trials.untrained_filters(20_000, 1, law) ** 4).mean() for law in ("normal", "truncated normal", "uniform")
    }
    assert kurtosis["normal"] > kurtosis["truncated normal"] > kurtosis["uniform"]


def test_a_circle_is_found_named_and_beyond_chance():
    clouds = networks(6, 200, 0)
    found = trials.try_out(clouds, trials.loop_of("primary", LOOPS), [30, 60], [0.3, 0.5], draws=19, halvings=2)
    assert found.halves.tolist() == [True] * 4 and found.region == 1
    assert found.value >= 3 and found.p_value == 1 / 20 and len(found.null) == 19
    assert found.k in (30, 60) and found.p in (0.3, 0.5)
    other = trials.try_out(clouds, trials.loop_of("vertical", LOOPS), [30, 60], [0.3, 0.5], draws=0, halvings=2)
    assert not other.halves.any() and other.region == 0 and other.p_value is None


def test_another_circle_is_told_from_the_primary_one():
    clouds = networks(6, 200, 1, circle=vertical)
    primary, secondary = (
        trials.try_out(clouds, trials.loop_of(circle, LOOPS), [30], [0.3, 0.5], draws=0, halvings=2)
        for circle in ("primary", "vertical")
    )
    assert not primary.halves.any() and secondary.halves.all()


def test_untrained_filters_have_no_loop():
    clouds = [noise(200, seed) for seed in range(6)]
    found = trials.try_out(clouds, trials.loop_of(None, LOOPS), [10, 30, 60], [0.2, 0.5, 1.0], draws=19, halvings=2)
    assert not found.halves.any() and found.region == 0 and found.p_value > 0.05
    absent = trials.try_out(clouds, trials.denied(trials.loop_of(None, LOOPS)), [30], [0.5], draws=0, halvings=2)
    assert absent.halves.all() and absent.region == 1


def test_a_trial_is_the_same_for_one_seed():
    clouds = networks(4, 100, 3)
    again = [trials.try_out(clouds, trials.loop_of(None, LOOPS), [20], [0.5], draws=3, seed=5) for _ in range(2)]
    assert np.array_equal(again[0].halves, again[1].halves) and np.array_equal(again[0].null, again[1].null)
    other = trials.try_out(clouds, trials.loop_of(None, LOOPS), [20], [0.5], draws=3, seed=6)
    assert not np.array_equal(other.null, again[0].null)


def test_the_judged_half_did_not_choose():
    """Networks of two kinds: what one half chooses is seen in the other half's answers only."""
    seen = []

    def statement(core):
        seen.append(len(core))
        return float(len(core)), len(core) == 30

    clouds = [noise(20, seed) for seed in range(4)]
    found = trials.try_out(clouds, statement, [5, 9], [0.25, 0.75], draws=2, halvings=1)
    assert found.p == 0.75 and found.value == 30 and found.halves.tolist() == [True, True]
    assert found.region == 0.5 and found.null.tolist() == [30, 30]
    assert seen == [10, 30] * 4 + [30, 30]


def test_few_draws_are_made_where_the_null_decides_nothing():
    clouds = [noise(20, seed) for seed in range(4)]
    always, never = lambda core: (1.0, True), lambda core: (1.0, False)
    for statement, expected in ((always, 7), (never, 2)):
        found = trials.try_out(clouds, statement, [5], [0.5], draws=7, halvings=1, few=2)
        assert len(found.null) == expected
    whole = trials.try_out(clouds, trials.loop_of(None, LOOPS), [5], [0.5], draws=7, halvings=1)
    part = trials.try_out(clouds, trials.loop_of(None, LOOPS), [5], [0.5], draws=7, halvings=1, few=2)
    assert np.array_equal(part.null, whole.null[:2]) and np.array_equal(part.halves, whole.halves)


def test_a_large_half_is_sampled():
    clouds = [noise(300, seed) for seed in range(2)]
    found = trials.try_out(clouds, lambda core: (float(len(core)), True), [5], [0.5], draws=1, halvings=1, most=100)
    assert found.value == 50 and found.null.tolist() == [50]


def test_the_p_value_of_nothing_is_uniform():
    """200 populations of untrained filters: their p-values must not be smaller, nor larger, than chance has it."""
    chances = []
    for seed in range(200):
        clouds = [noise(30, 1000 + 4 * seed + i) for i in range(4)]
        found = trials.try_out(clouds, trials.loop_of(None, LOOPS), [8], [0.5], draws=9, halvings=1, seed=seed)
        chances.append(found.p_value)
    spread = np.random.default_rng(0).uniform(-1 / 10, 0, 200)  # p-values are multiples of 1/10
    assert kstest(np.array(chances) + spread, "uniform").pvalue > 0.01
    assert np.mean(np.array(chances) <= 0.1) < 0.16


def test_power_and_false_loops():
    """A noisy circle is found in more than 95 % of populations, a loop in clouds without any in fewer than 5 %."""
    statement = trials.loop_of(None, LOOPS)

    def found(clouds, seed):
        trial = trials.try_out(clouds, statement, [10, 20], [0.3, 0.5], draws=19, halvings=1, seed=seed)
        return bool(trial.halves.all() and trial.p_value <= 0.05)

    generator = np.random.default_rng(0)
    centres = filters.normalize(generator.standard_normal((5, 9)))

    def clumps(n):
        return filters.normalize(centres[generator.integers(5, size=n)] + 0.2 * generator.standard_normal((n, 9)))

    def arc(n):
        ring = spaces.primary_circle(generator.uniform(0, np.pi, n)) + 0.15 * generator.standard_normal((n, 9))
        return filters.normalize(ring)

    assert np.mean([found(networks(4, 200, seed), seed) for seed in range(40)]) > 0.95
    for nothing in (lambda n: noise(n, generator), clumps, arc):
        assert np.mean([found([nothing(100) for _ in range(4)], seed) for seed in range(40)]) < 0.05


def test_of_several_populations_the_weakest_counts():
    def made(held, region, value):
        return trials.Trials(np.arange(4) < held, region, 5, 0.5, value, np.arange(3.0))

    several = [made(3, 0.5, 9.0), made(2, 0.75, 9.0), made(2, 0.25, 8.0), made(4, 1.0, 1.5)]
    found = trials.weakest(several)
    assert found.halves.sum() == 2 and found.region == 0.25
    assert found.value == 1.5 and found.p_value == 2 / 4
    assert trials.weakest(several[:1]) is not None and trials.weakest(several[:1]).region == 0.5
    with refused(ValueError, "one population or more"):
        trials.weakest([])


def test_settings_are_tried_in_every_half_and_the_first_is_judged():
    """A statement that holds for the settings above 1 only; its statistic is how many points it is given."""
    clouds = [noise(20 + i, i) for i in range(4)]

    def statement(points, least, other):
        assert other == "fixed"
        return float(len(points)), least > 1

    settings = [(2, "fixed"), (1, "fixed"), (3, "fixed"), (0, "fixed")]
    found = trials.try_settings(clouds, statement, settings, draws=3, halvings=2)
    assert found.halves.tolist() == [True] * 4 and found.region == 0.5
    assert found.null.tolist() == [found.value] * 3 and 20 * 2 < found.value < 23 * 2
    assert found.p_value == 1 and (found.k, found.p) == (0, 1)
    other = trials.try_settings(clouds, statement, settings[1:], draws=0, halvings=1)
    assert other.halves.tolist() == [False] * 2 and other.p_value is None


def test_settings_halve_the_networks_as_a_grid_does():
    clouds, seen = [np.concatenate([noise(5, i), noise(i + 1, i)]) for i in range(6)], []

    def statement(points):
        seen.append(len(points))
        return float(len(points)), True

    trials.try_settings(clouds, statement, [()], draws=0)
    mine, seen[:] = list(seen), []
    trials.try_out(clouds, statement, [2], [1.0], draws=0, halvings=1)
    assert mine[:2] == seen


def test_each_network_is_judged_at_the_filtration_of_the_other_half():
    values = [(5, 1), (5, 1), (2, 3), (2, 3)]  # of four networks, for p = 0.5 and p = 0.8

    def statement(core):
        value = values[int(core[0, 1])][int(len(core) == 8)]
        return float(value), value > 1.5

    clouds = [np.column_stack([np.arange(10), np.full(10, network)]) for network in range(4)]
    found = trials.each_alone(clouds, statement, [2], [0.5, 0.8], draws=0, halvings=12)
    assert found.values.shape == (12, 4) and (found.ks == 2).all()
    splits = set()
    for ps, judged in zip(found.ps, found.values):
        assert judged.tolist() == [each[int(p == 0.8)] for each, p in zip(values, ps)]
        # By hand: the last two choose 0.8 (medians 2 and 3), the first two 0.5, one of each 0.5 (3.5 and 2).
        assert ps.tolist() in ([0.8, 0.8, 0.5, 0.5], [0.5] * 4)
        splits.add(tuple(ps))
    assert len(splits) == 2
    assert found.trials.halves.tolist() == (found.values > 1.5).ravel().tolist()
    assert found.trials.region == 6 / 8 and (found.trials.k, found.trials.p) == (2, 0.5)  # medians 3.5 and 2
    assert found.trials.value == np.median(found.values[0])
    assert len(found.untrained) == 0 and found.trials.p_value is None


def test_networks_with_a_circle_are_beyond_chance_one_by_one():
    clouds = networks(3, 300, 2)
    found = trials.each_alone(clouds, trials.loop_of("primary", LOOPS), [20, 40], [0.3, 0.5], draws=19)
    assert found.trials.halves.all() and (found.values >= 3).all()
    assert len(found.untrained) == len(found.trials.null) == 19 and found.trials.p_value == 1 / 20
    assert found.trials.counted == "judgements of single networks"
    again = trials.each_alone(clouds, trials.loop_of("primary", LOOPS), [20, 40], [0.3, 0.5], draws=19)
    np.testing.assert_array_equal(again.untrained, found.untrained)


def test_bad_arguments_are_refused():
    clouds, statement = [noise(20, 0), noise(20, 1)], trials.loop_of(None, LOOPS)
    with refused(ValueError, "two networks or more, not 1"):
        trials.try_out(clouds[:1], statement, [5], [0.5])
    with refused(ValueError, "must hold one value or more"):
        trials.try_out(clouds, statement, [], [0.5])
    with refused(ValueError, "halvings = 0"):
        trials.try_out(clouds, statement, [5], [0.5], halvings=0)
    with refused(TypeError, "draws = 1.5"):
        trials.try_out(clouds, statement, [5], [0.5], draws=1.5)
    with refused(ValueError, "circle = 'round' is not one of primary, vertical, horizontal"):
        trials.loop_of("round")
    with refused(ValueError, "law = 'even'"):
        trials.untrained_filters(3, 0, "even")
    with pytest.raises(ValueError, match="outside"):
        trials.try_out(clouds, statement, [5], [1.5])
    with refused(ValueError, "two networks or more, not 1"):
        trials.try_settings(clouds[:1], statement, [()])
    with refused(ValueError, "settings must hold one or more"):
        trials.try_settings(clouds, statement, [])
    with refused(ValueError, "halvings = 0"):
        trials.try_settings(clouds, statement, [()], halvings=0)
    with refused(ValueError, "two networks or more"):
        trials.each_alone(clouds[:1], statement, [5], [0.5])
    with refused(ValueError, "must hold one value or more"):
        trials.each_alone(clouds, statement, [], [0.5])
    with refused(ValueError, "halvings = 0"):
        trials.each_alone(clouds, statement, [5], [0.5], halvings=0)
