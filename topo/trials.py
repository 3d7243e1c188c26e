"""Trials of a statement about a cloud: in networks that did not choose the filtration, over a grid, and against chance.

Knows point clouds, circles and draws; must not know which claim is tried, nor which network a cloud comes from.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from topo.checks import as_points, check_whole
from topo.density import densest, filtrations
from topo.evidence import STANDARD, Loops, best, scaled_k
from topo.filters import normalize
from topo.spaces import circles, on_circles
from topo.types import Clouds, CloudsLike, Number, Points, Seed, Whole

Statement = Callable[[Points], tuple[float, bool]]  # of a dense core: a statistic, and whether the statement holds
Law = Literal["normal", "truncated normal", "uniform"]

SOME = 1 / 3  # share of the judged halves below which the null changes no verdict


class Trials(NamedTuple):
    """How often a statement held, and how its statistic compares with chance.

    halves: whether it held in each half of the networks, at the filtration that the other half chose.
    region: the share of all cells of the grid, in all halves, in which it held; None where there is no grid.
    k, p: the filtration that the first half chose, where k is for all points together; 0 and 1 where there is none.
    value: the statistic of the half that was judged there; NaN where there is none.
    null: the same of untrained filters, as many and at the same filtration; empty where chance is no alternative.
    counted: what each of `halves` is, in words.
    """

    halves: Bool[np.ndarray, "halves"]
    region: float | None = None
    k: Whole = 0
    p: Number = 1.0
    value: float = np.nan
    null: Float64[np.ndarray, "draws"] = np.empty(0)
    counted: str = "judged halves"

    @property
    def p_value(self) -> float | None:
        """(1 + how many of the null are as large as the value) / (1 + how many there are), or None."""
        if not len(self.null):
            return None
        return float((1 + (self.null >= self.value).sum()) / (1 + len(self.null)))


class Alone(NamedTuple):
    """Every network by itself, at filtrations that other networks chose: what `each_alone` returns.

    ks, ps: the filtration at which each network is judged, in each halving; values: its statistic there.
    trials: a half is one network in one halving here; k, p, the filtration with the largest median in all networks;
    value, the median of the first halving; null, medians of as many of `untrained` as there are networks.
    untrained: the statistics of untrained networks at that k and p.
    """

    ks: Int64[np.ndarray, "halvings networks"]
    ps: Float64[np.ndarray, "halvings networks"]
    values: Float64[np.ndarray, "halvings networks"]
    trials: Trials
    untrained: Float64[np.ndarray, "draws"]


def weakest(several: Sequence[Trials]) -> Trials:
    """A statement about each of several populations: its trials are those of the one where it held least.

    several: one or more. Returns halves and region of the population with the smallest share of halves, of equal
    ones the one with the smallest region; and filtration, value and null of the population with the largest p-value.
    Raises ValueError where there is none.
    """
    if not several:
        raise ValueError("several must hold the trials of one population or more")
    least = min(several, key=lambda each: (each.halves.mean(), 1.0 if each.region is None else each.region))
    chancy = max(several, key=lambda each: each.p_value or 0.0)
    return chancy._replace(halves=least.halves, region=least.region)


def untrained_filters(
    n: Whole, seed: Seed, law: Law = "truncated normal", size: Whole = 9
) -> Float[np.ndarray, "n size"]:
    """Filters of networks that have learned nothing, centred and of unit norm: independent weights of one law.

    n: how many, 1 or more; seed: of the draws. law: "truncated normal", at two standard deviations, as the networks of
    this book begin; "normal", after He; "uniform", after Glorot. The width of the law does not matter, as filters are
    scaled. size: pixels of a filter, 2 or more.
    Returns float32. Raises TypeError or ValueError for another n, law or size.
    """
    check_whole(n, "n", 1)
    check_whole(size, "size", 2)
    generator = np.random.default_rng(seed)
    if law == "uniform":
        weights = generator.uniform(-1, 1, (n, size))
    elif law in ("normal", "truncated normal"):
        weights = generator.standard_normal((n, size))
        while law != "normal" and (beyond := np.abs(weights) > 2).any():
            weights[beyond] = generator.standard_normal(beyond.sum())
    else:
        raise ValueError(f"law = {law!r} is not allowed: 'truncated normal', 'normal' or 'uniform'")
    return normalize(weights.astype(np.float32))


def loop_of(
    circle: str | None = None, loops: Loops = STANDARD, count: Whole = 1, near: Number = 0.6, sectors: Whole = 16
) -> Statement:
    """The statement that a core has `count` loops, as `Loops.ratio` sees them, and that they are along a circle.

    circle: "primary", "vertical" or "horizontal": the one of the three on which the core has the fewest holes, of
    equal ones the first; None where any will do. count: 1 or more. near, sectors: as for `topo.spaces.circle_sectors`.
    The statistic is the ratio. Raises ValueError for another circle.
    """
    around = circles()
    if circle is not None and circle not in around:
        raise ValueError(f"circle = {circle!r} is not one of {', '.join(around)}")

    def loop(core: Points) -> tuple[float, bool]:
        ratio = loops.ratio(core, count)
        holds = ratio >= loops.least
        if holds and circle is not None:
            found = on_circles(core, around, sectors, near)
            holds = min(found, key=lambda name: found[name].holes) == circle
        return ratio, bool(holds)

    return loop


def denied(statement: Statement) -> Statement:
    """The statement that another one does not hold, with the statistic of that one."""

    def denial(core: Points) -> tuple[float, bool]:
        value, holds = statement(core)
        return value, not holds

    return denial


def try_out(
    clouds: CloudsLike,
    statement: Statement,
    ks: Sequence[Whole],
    ps: Sequence[Number],
    draws: Whole = 99,
    halvings: Whole = 3,
    most: Whole = 8192,
    law: Law = "truncated normal",
    seed: Seed = 0,
    few: Whole | None = None,
) -> Trials:
    """Try a statement in random halves of the networks, at the density filtrations of a grid.

    Each half chooses the filtration at which its statistic is largest, and the other half is judged there: the choice
    does not see what is judged, nor whether the statement holds. Every core is shuffled first, so that it has other
    first landmarks each time. The null is drawn at the filtration of the first choice, from `untrained_filters`.

    clouds: one for each network, two or more; ks: for all points together, scaled to what is looked at by `scaled_k`;
    ps: fractions. draws: of the null; 0 where chance is no alternative, as for what the untrained have, too.
    halvings: how many times the networks are halved, 1 or more; most: points of a half that are looked at, a random
    sample of larger ones; law: of the null; seed: of all that is drawn. few: draws of the null where the statement held
    in less than SOME of the judged halves, which saves time; as many as `draws` where None.
    Raises TypeError or ValueError for arguments out of range, and what `statement` raises.
    """
    each = _networks(clouds, draws, halvings)
    check_whole(most, "most", 2)
    check_whole(0 if few is None else few, "few", 0)
    generator, total = np.random.default_rng(seed), sum(map(len, each))

    def at(k: Whole, points: Points) -> int:
        return scaled_k(k, len(points), total)

    def judged(points: Points) -> np.ndarray:
        answers = np.empty((len(ks), len(ps), 2))
        for i, j, rows in filtrations(points, [at(k, points) for k in ks], ps):
            answers[i, j] = statement(points[generator.permutation(rows)])
        return answers

    halves, cells, firsts = [], [], []
    for _ in range(halvings):
        order = generator.permutation(len(each))
        parts = [_sample([each[i] for i in rows], most, generator) for rows in np.array_split(order, 2)]
        both = [judged(points) for points in parts]
        for mine, other in ((0, 1), (1, 0)):
            k, p = best(both[mine][..., 0], ks, ps)
            value, holds = both[other][list(ks).index(k), list(ps).index(p)]
            firsts.append((k, p, float(value), len(parts[other])))
            halves.append(bool(holds))
        cells.append(both)
    k, p, value, n = firsts[0]
    size = each[0].shape[1]
    if few is not None and np.mean(halves) < SOME:
        draws = few
    drawn = (untrained_filters(n, generator, law, size) for _ in range(draws))
    null = [statement(densest(points, at(k, points), p))[0] for points in drawn]
    return Trials(np.array(halves), float(np.mean(np.array(cells)[..., 1])), k, p, value, np.array(null, float))


def each_alone(
    clouds: CloudsLike,
    statement: Statement,
    ks: Sequence[Whole],
    ps: Sequence[Number],
    draws: Whole = 99,
    halvings: Whole = 3,
    law: Law = "truncated normal",
    seed: Seed = 0,
) -> Alone:
    """Try a statement in every network by itself, at a filtration that other networks chose.

    The networks are halved at random; each half chooses the filtration of the grid at which its statistic has the
    largest median, and every network of the other half is judged there. (Were all others to choose, a network with a
    large statistic at one filtration would more often be judged at another one, as it is missing from the median.)

    clouds: one for each network, two or more; ks: for a cloud; ps: fractions. draws: untrained networks, as large as
    the first cloud, and as many medians of them; 0 where chance is no alternative. halvings: 1 or more; law: of
    `untrained_filters`; seed: of all that is drawn.
    Raises TypeError or ValueError for arguments out of range, and what `statement` raises.
    """
    each = _networks(clouds, draws, halvings)
    generator, n = np.random.default_rng(seed), len(each)
    answers = np.empty((n, len(ks), len(ps), 2))
    for points, of_one in zip(each, answers):
        for i, j, rows in filtrations(points, ks, ps):
            of_one[i, j] = statement(points[rows])
    chosen, judged = np.empty((halvings, n, 2)), np.empty((halvings, n, 2))
    for halving in range(halvings):
        parts = np.array_split(generator.permutation(n), 2)
        for mine, others in (parts, parts[::-1]):
            k, p = best(np.median(answers[mine, ..., 0], axis=0), ks, ps)
            chosen[halving, others] = k, p
            judged[halving, others] = answers[others, list(ks).index(k), list(ps).index(p)]
    k, p = best(np.median(answers[..., 0], axis=0), ks, ps)
    size, values = each[0].shape, judged[..., 0]
    drawn = (untrained_filters(size[0], generator, law, size[1]) for _ in range(draws))
    untrained = np.array([statement(densest(points, k, p))[0] for points in drawn], float)
    medians = np.median(generator.choice(untrained, (draws, n)), axis=1) if draws else untrained
    region, value = float(answers[..., 1].mean()), float(np.median(values[0]))
    counted = "judgements of single networks"
    found = Trials(judged[..., 1].ravel().astype(bool), region, k, p, value, medians, counted)
    return Alone(chosen[..., 0].astype(np.int64), chosen[..., 1], values, found, untrained)


def try_settings(
    clouds: CloudsLike,
    statement: Callable[..., tuple[float, bool]],
    settings: Sequence[Sequence[Any]],
    draws: Whole = 99,
    halvings: Whole = 3,
    law: Law = "truncated normal",
    seed: Seed = 0,
) -> Trials:
    """Try a statement that needs no density filtration, as of clusters, in random halves of the networks.

    Nothing is chosen: every half is judged at the first of the settings, which has to be fixed beforehand. The region
    is the share of all settings, in all halves, and the null is of the first setting, as many filters as a half.

    clouds: one for each network, two or more; statement: of all points of a half and of a setting, as
    `statement(points, *setting)`: a statistic, and whether it holds; settings: one or more; the rest as for `try_out`.
    Raises TypeError or ValueError for arguments out of range, and what `statement` raises.
    """
    each = _networks(clouds, draws, halvings)
    if not len(settings):
        raise ValueError("settings must hold one or more")
    generator, answers, sizes = np.random.default_rng(seed), [], []
    for _ in range(halvings):
        for rows in np.array_split(generator.permutation(len(each)), 2):
            points = np.concatenate([each[i] for i in rows])
            answers.append([statement(points, *setting) for setting in settings])
            sizes.append(len(points))
    values = np.array(answers, float)
    drawn = [untrained_filters(sizes[0], generator, law, each[0].shape[1]) for _ in range(draws)]
    null = [statement(points, *settings[0])[0] for points in drawn]
    halves, region = values[:, 0, 1].astype(bool), float(values[..., 1].mean())
    return Trials(halves, region, value=float(values[0, 0, 0]), null=np.array(null, float))


def _networks(clouds: CloudsLike, draws: Whole, halvings: Whole) -> list[Points]:
    each = [as_points(cloud, f"cloud {i}") for i, cloud in enumerate(clouds)]
    if len(each) < 2:
        raise ValueError(f"clouds must be those of two networks or more, not {len(each)}")
    check_whole(draws, "draws", 0)
    check_whole(halvings, "halvings", 1)
    return each


def _sample(clouds: Clouds, most: Whole, generator: np.random.Generator) -> Points:
    points = np.concatenate(clouds)
    return points if len(points) <= most else points[np.sort(generator.choice(len(points), most, replace=False))]
