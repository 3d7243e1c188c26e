"""Rank correlations over networks, with intervals and p-values: does one measure of a network go with another?

Knows numbers and point clouds of networks, at one time or at several; must not know what they are measures of.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.stats import bootstrap, permutation_test, rankdata

from topo.checks import as_numbers, as_points, check_fraction, check_whole
from topo.types import CloudsLike, Number, Points, Real, Row, Seed, Whole

Measures = Row | Real[np.ndarray, "_networks _times"]  # one number for each network, or one at each time

FEWEST = 4  # networks, or times, that a rank correlation is computed of


class Correlation(NamedTuple):
    """What `rank_correlation` returns.

    value: between -1 and 1; low, high: its bootstrap interval. null: the mean of the same where each network's x is
    paired with the y of a network drawn by lot; p_value: how often such pairs are as far from that mean as the value,
    two-sided. networks: how many there are.
    """

    value: float
    low: float
    high: float
    null: float
    p_value: float
    networks: int


def rank_correlation(
    x: Measures,
    y: Measures,
    over: Literal["networks", "times"] = "networks",
    draws: Whole = 1999,
    level: Number = 0.95,
    seed: Whole = 0,
) -> Correlation:
    """Spearman's rank correlation of two measures of networks, over the networks or over time.

    Over networks it is the correlation at each time, and of several times their mean: what all networks share at a time
    does not count. Over times it is the correlation within each network, and its mean over the networks: what all
    networks share, such as that training goes on, counts in the value and in the null, which pairs the x of a network
    with the y of another at the same times.

    The interval is by the percentile bootstrap: networks are drawn with replacement, each with all its times. A network
    that is drawn twice is two equal pairs of numbers, whose ranks are averaged. Its filters are measured once, before,
    so that no distance between a filter and its copy enters. A draw without ranks, such as of one network many times,
    counts as 0. The p-value is by permutation: networks change partners, each with all its times. Both take networks to
    be independent, and not times, nor filters.

    x, y: (networks,) or (networks, times), alike, with FEWEST networks or more, and FEWEST times or more for "times".
    draws: of the bootstrap and of the permutations, 1 or more (all permutations where there are fewer); level: of the
    interval, above 0 and below 1; seed: of the draws.
    Raises TypeError or ValueError for arguments out of range, other shapes, or measures that are all alike along what
    they are correlated over.

    >>> x = np.arange(10.0)
    >>> rank_correlation(x, x**3).value
    1.0
    """
    if over not in ("networks", "times"):
        raise ValueError(f"over = {over!r} is not allowed: 'networks' or 'times'")
    first, second = _as_measures(x, "x"), _as_measures(y, "y")
    if first.shape != second.shape:
        raise ValueError(f"x and y must have one shape, not {first.shape} and {second.shape}")
    over_axis = {"networks": -2, "times": -1}[over]
    for name, values in (("x", first), ("y", second)):
        if len(values) < FEWEST:
            raise ValueError(f"{name} is of {len(values)} networks; a correlation needs {FEWEST} or more")
        if values.shape[over_axis] < FEWEST:
            raise ValueError(f"{name} is at {values.shape[1]} times; a correlation over times needs {FEWEST} or more")
        if (np.ptp(values, axis=over_axis) == 0).any():
            raise ValueError(f"{name} is the same for all {over}: it has no ranks to correlate")
    check_whole(draws, "draws", 1)
    check_fraction(level, "level", whole=False)
    check_whole(seed, "seed", 0)
    ranks = rankdata(first, axis=over_axis), rankdata(second, axis=over_axis)
    within = _pearson(*ranks, over_axis)  # one for each time, or for each network

    def drawn(rows: Float64[np.ndarray, "*draws networks"], axis: int) -> float | Float64[np.ndarray, "*draws"]:
        rows = rows.astype(int)
        if over == "times":
            return within[rows].mean(axis=axis)
        return _pearson(rankdata(first[rows], axis=-2), rankdata(second[rows], axis=-2), -2).mean(axis=-1)

    def paired(rows: Float64[np.ndarray, "*draws networks"], axis: int) -> float | Float64[np.ndarray, "*draws"]:
        return _pearson(ranks[0][rows.astype(int)], ranks[1], over_axis).mean(axis=-1)

    numbers = (np.arange(len(first), dtype=float),)
    options = dict(n_resamples=int(draws), vectorized=True, batch=max(1, 10**6 // first.size))
    interval = bootstrap(
        numbers, drawn, method="percentile", confidence_level=level, rng=np.random.default_rng(seed), **options
    ).confidence_interval
    null = permutation_test(numbers, paired, permutation_type="pairings", rng=np.random.default_rng(seed), **options)
    low, high = float(interval.low), float(interval.high)
    mean = float(null.null_distribution.mean())
    far = np.abs(null.null_distribution - mean) >= abs(null.statistic - mean) - 1e-12
    p_value = float((1 + far.sum()) / (1 + len(far)))
    return Correlation(float(within.mean()), low, high, mean, p_value, len(first))


def split_half_reliability(
    clouds: CloudsLike, statistic: Callable[[Points], float], draws: Whole = 20, seed: Seed = 0
) -> float:
    """How far a statistic of a network is one of the network and not of the few filters that it has.

    The filters of every network are halved at random. The correlation of both halves' statistics over networks,
    corrected for their length by the formula of Spearman and Brown, 2r / (1 + r), says how well as many filters would
    tell it again: 1 where networks differ and halves agree, 0 where a half tells nothing of the other.

    clouds: one for each network, FEWEST or more, of two filters or more; statistic: of a cloud; draws: halvings, of
    which r is the mean; seed: of the draws. Returns a number from 0 to 1; a negative r counts as 0.
    Raises TypeError or ValueError for arguments out of range, and what `statistic` raises.
    """
    each = [as_points(cloud, f"cloud {i}") for i, cloud in enumerate(clouds)]
    if len(each) < FEWEST or min(map(len, each)) < 2:
        raise ValueError(f"clouds must be those of {FEWEST} networks or more, each of two points or more")
    check_whole(draws, "draws", 1)
    generator, found = np.random.default_rng(seed), []
    for _ in range(draws):
        halves = [np.array_split(cloud[generator.permutation(len(cloud))], 2) for cloud in each]
        found.append(np.corrcoef([[statistic(half) for half in pair] for pair in halves], rowvar=False)[0, 1])
    r = max(0.0, float(np.mean(found)))
    return 2 * r / (1 + r)


def share_reliability(shares: Row, trials: Whole) -> float:
    """How far shares of successes, such as accuracies, differ by more than so many independent trials would make them.

    It is the part of their variance that is not binomial, 1 - mean(s (1 - s)) / trials / variance(s), and 0 where the
    binomial variance is the larger. All networks are tried on the same images; the number says how far their order
    would be the same on other images.

    shares: of networks, two or more, from 0 to 1, not all alike; trials: images that each share is of, 1 or more.
    Raises TypeError or ValueError for others.
    """
    values = as_numbers(shares, "shares", 1, "(networks,)").astype(float)
    check_whole(trials, "trials", 1)
    if values.min() < 0 or values.max() > 1 or np.ptp(values) == 0:
        raise ValueError(f"shares must lie from 0 to 1 and differ, not be from {values.min()} to {values.max()}")
    return float(max(0.0, 1 - (values * (1 - values)).mean() / trials / values.var(ddof=1)))


def _as_measures(values: object, name: str) -> Float64[np.ndarray, "networks times"]:
    one_time = np.ndim(np.asarray(values)) == 1
    axes = "(networks,)" if one_time else "(networks, times)"
    numbers = as_numbers(values, name, 1 if one_time else 2, axes).astype(float)
    return numbers[:, None] if one_time else numbers


def _pearson(a: np.ndarray, b: np.ndarray, axis: int) -> Float64[np.ndarray, "*others"]:
    """Pearson's correlation along an axis, 0 where either is constant there."""
    a, b = (values - values.mean(axis=axis, keepdims=True) for values in (a, b))
    scale = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
    return np.divide((a * b).sum(axis=axis), scale, out=np.zeros_like(scale), where=scale > 0)
