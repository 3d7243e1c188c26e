"""Rank correlations over networks: against SciPy, their calibration on made networks, and what is refused."""

import numpy as np
import pytest
from conftest import refused
from scipy.stats import kstest, spearmanr

from topo.correlation import rank_correlation, share_reliability, split_half_reliability


def pairs(generator, networks, rho):
    """Two normal measures of as many networks, correlated as rho."""
    x, noise = generator.standard_normal((2, networks))
    return x, rho * x + np.sqrt(1 - rho**2) * noise


def test_the_value_is_spearmans_over_networks_and_over_times():
    x, y = np.random.default_rng(0).integers(0, 6, (2, 9, 7))  # with ties
    at = [spearmanr(a, b).statistic for a, b in zip(x.T, y.T)]
    within = [spearmanr(a, b).statistic for a, b in zip(x, y)]
    assert rank_correlation(x[:, 0], y[:, 0]).value == pytest.approx(at[0])
    assert rank_correlation(x, y).value == pytest.approx(np.mean(at))
    assert rank_correlation(x, y, "times").value == pytest.approx(np.mean(within))


@pytest.mark.parametrize("networks, rho", [(20, 0.0), (60, 0.0), (40, 0.6)])
def test_the_interval_holds_the_true_correlation_in_about_95_of_100_populations(networks, rho):
    generator, true = np.random.default_rng(1), 6 / np.pi * np.arcsin(rho / 2)  # Spearman's rho of normal variables
    found = [rank_correlation(*pairs(generator, networks, rho), draws=299) for _ in range(250)]
    assert 0.9 <= np.mean([each.low <= true <= each.high for each in found]) <= 0.98


def test_without_dependence_p_values_are_uniform_and_with_it_they_are_small():
    generator = np.random.default_rng(2)
    null = [rank_correlation(*pairs(generator, 30, 0.0), draws=299, seed=i).p_value for i in range(250)]
    assert kstest(null, "uniform").pvalue > 0.01
    planted = [rank_correlation(*pairs(generator, 40, 0.7), draws=399, seed=i) for i in range(100)]
    assert np.mean([each.p_value <= 0.01 and each.low > 0 for each in planted]) > 0.95


def curves(generator, networks, shared, own, times=10):
    """Measures that rise together in all networks, and others' deviations, of which `own` are in both measures."""
    clock, common = np.arange(times), generator.standard_normal((networks, times))
    return [shared * clock + own * common + generator.standard_normal((networks, times)) for _ in range(2)]


def test_what_all_networks_share_counts_over_times_and_in_their_null_and_not_over_networks():
    generator = np.random.default_rng(3)
    x, y = curves(generator, 40, shared=2.0, own=0.0)
    over_times, over_networks = rank_correlation(x, y, "times"), rank_correlation(x, y)
    assert over_times.value > 0.9 and over_times.null == pytest.approx(over_times.value, abs=0.02)
    assert over_times.p_value > 0.05 and over_networks.low < 0 < over_networks.high
    x, y = curves(generator, 40, shared=2.0, own=1.5)
    over_times, over_networks = rank_correlation(x, y, "times"), rank_correlation(x, y)
    assert over_times.p_value < 0.01 and over_networks.p_value < 0.01 and over_networks.low > 0.3


@pytest.mark.parametrize("over", ["networks", "times"])
def test_with_several_times_too_the_interval_covers_zero_and_the_p_value_is_uniform(over):
    generator = np.random.default_rng(4)
    walks = lambda: generator.standard_normal((20, 6)).cumsum(
        axis=1
    )  # a network at one time is like itself at the next
    found = [rank_correlation(walks(), walks(), over, draws=199, seed=i) for i in range(200)]
    assert 0.9 <= np.mean([each.low <= 0 <= each.high for each in found]) <= 0.99
    assert kstest([each.p_value for each in found], "uniform").pvalue > 0.01


def test_the_seed_decides_and_few_networks_have_all_their_permutations():
    x, y = pairs(np.random.default_rng(5), 12, 0.5)
    assert rank_correlation(x, y, seed=1) == rank_correlation(x, y, seed=1) != rank_correlation(x, y, seed=2)
    perfect = rank_correlation(np.arange(4.0), np.arange(4.0))
    assert perfect.networks == 4 and perfect.p_value == pytest.approx(3 / 25)  # itself and its reverse, of 24, and one


def test_draws_of_equal_networks_count_as_zero():
    found = rank_correlation([0, 0, 0, 0, 0, 0, 0, 1], np.arange(8))
    assert found.low <= 0 <= found.high and np.isfinite([found.low, found.high]).all()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((np.arange(3), np.arange(3)), "x is of 3 networks; a correlation needs 4 or more"),
        ((np.ones((6, 2)), np.ones((6, 2)), "times"), "x is at 2 times; a correlation over times needs 4 or more"),
        ((np.arange(5), np.ones(5)), "y is the same for all networks"),
        ((np.arange(5), np.arange(6)), r"must have one shape, not \(5, 1\) and \(6, 1\)"),
        ((np.arange(5), np.arange(5), "layers"), "over = 'layers' is not allowed: 'networks' or 'times'"),
        ((np.arange(5), [1, 2, 3, np.nan, 4]), "y must be finite"),
        ((np.arange(5), np.arange(5), "networks", 0), "draws = 0"),
    ],
)
def test_what_has_no_rank_correlation_is_named(arguments, words):
    with refused(ValueError, match=words):
        rank_correlation(*arguments)


def test_halves_agree_where_networks_differ_and_not_where_they_are_alike():
    generator = np.random.default_rng(6)
    alike = generator.standard_normal((60, 64, 2))
    differ = alike + 0.25 * generator.standard_normal((60, 1, 1))
    mean = lambda points: float(points[:, 0].mean())
    true = 0.25**2 / (0.25**2 + 1 / 64)  # variance of the networks over that of what is measured
    assert split_half_reliability(differ, mean) == pytest.approx(true, abs=0.1)
    assert split_half_reliability(alike, mean) < 0.3
    with refused(ValueError, match="of 4 networks or more"):
        split_half_reliability(alike[:3], mean)


def test_accuracies_that_differ_by_chance_alone_are_not_reliable():
    generator = np.random.default_rng(7)
    assert share_reliability(generator.binomial(2000, 0.75, 400) / 2000, 2000) < 0.15
    true = np.clip(0.75 + 0.03 * generator.standard_normal(400), 0, 1)
    assert share_reliability(generator.binomial(2000, true) / 2000, 2000) == pytest.approx(0.9, abs=0.05)
    with refused(ValueError, match="from 0 to 1 and differ"):
        share_reliability([0.5, 0.5], 100)
