"""The filters of a population while it learns: clouds, graphs, loops, circles and clusters at each iteration.

Knows clouds by iteration and the measures of `evidence` and `spaces`; must not know which population it is.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from igraph import Graph
from jaxtyping import Float, Float64, Int64

from topo import spaces
from topo.archive import Archive
from topo.density import densest
from topo.evidence import STANDARD, Loops, density_clusters, over_networks, peak_means, scaled_k
from topo.mapper import Lens, mapper_graph
from topo.persistence import bar_lengths
from topo.types import Clouds, CloudsLike, Number, Points, Whole

Cores = dict[int, Float[np.ndarray, "_points dim"]]


def clouds_by_iteration(
    population: Archive,
    layer: Whole = 1,
    iterations: Whole | None = None,
    networks: Whole | None = None,
    at: Container[int] | None = None,
) -> dict[int, Clouds]:
    """The clouds of a layer, one for each network, at every iteration that was kept, in ascending order.

    iterations: the last one looked at, all where None; networks: only the first so many; at: only these iterations.
    Raises ValueError as `topo.archive.Archive.clouds` does.
    """
    kept = [t for t in population.iterations(layer) if iterations is None or t <= iterations]
    return {t: population.clouds(layer, t, networks) for t in kept if at is None or t in at}


def dense_cores(clouds: Mapping[int, Clouds], k: Whole, p: Number) -> Cores:
    """The dense core of all networks together at every iteration.

    clouds: of `clouds_by_iteration`; k, p: as for `topo.density.densest`, which raises the errors.
    """
    return {t: densest(np.concatenate(each), k, p) for t, each in clouds.items()}


def graphs(
    cores: Cores, resolution: Whole = 30, gain: Number = 3
) -> tuple[dict[str, tuple[Graph, Points]], Callable[[Points], Float64[np.ndarray, "_points 2"]]]:
    """Mapper graphs through one lens, for `topo.figures.explorers`, and the lens, for its layout.

    The lens is the coordinates along the first two principal axes of all the cores together. What lies at one place at
    two times is alike, as far as two axes tell, and nothing turns that the points do not turn.

    cores: of `dense_cores`; resolution, gain: as for `topo.mapper.mapper_graph`, which raises the errors.
    Returns {"iteration 1,000": (graph, core)}, and the function of the points that is the lens.
    """
    lens = Lens().fit(np.concatenate(list(cores.values()))).transform
    drawn = {t: mapper_graph(core, resolution, gain, lens=lens) for t, core in cores.items()}
    return {f"iteration {t:,}": (graph, cores[t]) for t, graph in drawn.items()}, lens


class Judgement(NamedTuple):
    """How clear a loop is in random halves of the networks, at filtrations that the other halves chose.

    ratios: of the halves that did not choose, see `topo.evidence.Loops.ratio`; lengths: of the longest and of the next
    bar of dimension 1 of these halves, in the unit of the points, 0 where there is none.
    """

    iterations: Int64[np.ndarray, "times"]
    ratios: Float64[np.ndarray, "draws times"]
    lengths: Float64[np.ndarray, "2 draws times"]

    @property
    def at(self) -> dict[int, Float64[np.ndarray, "draws"]]:
        """The ratios at each iteration."""
        return dict(zip(self.iterations.tolist(), self.ratios.T))

    def confirmed(self, least: Number = STANDARD.least) -> list[int]:
        """The iterations at which the median ratio is `least` or more, ascending."""
        return [t for t, ratios in self.at.items() if np.median(ratios) >= least]

    @property
    def clearest(self) -> int:
        """The iteration at which the median ratio is largest."""
        return max(self.at, key=lambda t: np.median(self.at[t]))


def judge(
    clouds: Mapping[int, Clouds],
    ks: Sequence[Whole],
    ps: Sequence[Number],
    loops: Loops = STANDARD,
    draws: Whole = 5,
) -> Judgement:
    """At every iteration random halves of the networks choose the filtration, and the other halves are judged there.

    clouds: of `clouds_by_iteration`; ks, ps, draws: as for `topo.evidence.Loops.hold_outs`, whose errors it raises;
    loops: how ratios are measured.
    """
    verdicts = [loops.hold_outs(each, ks, ps, draws=draws) for each in clouds.values()]
    ratios = np.array([[verdict.ratio for verdict in each] for each in verdicts]).T
    bars = [[np.append(bar_lengths(verdict.barcode, 1), [0, 0])[:2] for verdict in each] for each in verdicts]
    return Judgement(np.array(list(clouds)), ratios, np.array(bars).transpose(2, 1, 0))


def in_halves(
    clouds: Mapping[int, CloudsLike], statistic: Callable[[Points], Any], draws: Whole = 5
) -> Float64[np.ndarray, "draws times *values"]:
    """A statistic of random halves of the networks at every iteration.

    clouds: of `clouds_by_iteration`; the rest as for `topo.evidence.over_networks`, which raises the errors.
    """
    return np.stack([over_networks(each, statistic, draws) for each in clouds.values()], axis=1)


class Course(NamedTuple):
    """A measure of each network and its accuracy, from 0 to 1, at several iterations: what `course` returns."""

    iterations: Int64[np.ndarray, "times"]
    values: Float64[np.ndarray, "networks times"]
    accuracy: Float64[np.ndarray, "networks times"]


def course(
    population: Archive, statistic: Callable[[Points], float], layer: Whole = 1, at: Container[int] | None = None
) -> Course:
    """A statistic of the filters of each network, beside the network's accuracy, while it learns.

    statistic: of the cloud of a network's filters in a layer. at: the iterations looked at, all after the first weights
    where None; of them, those at which both the filters were kept and the accuracy was measured. Networks are those of
    which the layer was kept at all of these.
    Raises ValueError for a layer that was not kept, or where there is no such iteration, and what `statistic` raises.
    """
    known = {int(t) for t in population.description["accuracy"]}
    times = [t for t in population.iterations(layer) if t in known and (t > 0 if at is None else t in at)]
    if not times:
        raise ValueError(f"archive {population.name} has no iteration with filters of layer {layer} and accuracies")
    clouds = [population.clouds(layer, t) for t in times]
    networks = min(map(len, clouds))
    values = [[statistic(cloud) for cloud in each[:networks]] for each in clouds]
    accuracy = [population.accuracy(t)[:networks] for t in times]
    return Course(np.array(times), np.array(values, float).T, np.array(accuracy, float).T)


def loop_of_circle(
    core: Float[np.ndarray, "points 9"],
    circle: Float[np.ndarray, "steps 9"],
    loops: Loops = STANDARD,
    sectors: Whole = 16,
    near: Number = 0.6,
) -> list[tuple[float, float] | None]:
    """The longest bar of a core, of its patches on a circle, and of its other patches.

    If a loop lies along the circle, its bar is found in the second, too, and not in the third. A bar is birth and
    length, as `topo.evidence.Loops.longest` returns it, and None where there are fewer than two patches.

    core: centred and of unit norm; loops: how bars are measured; circle, sectors, near: as for
    `topo.spaces.circle_sectors`, which raises the errors.
    """
    on = spaces.circle_sectors(core, circle, sectors, near) >= 0
    return [loops.longest(part) if len(part) > 1 else None for part in (core, core[on], core[~on])]


def circle_holes(
    cores: Mapping[int, Float[np.ndarray, "_points 9"]],
    circles: Mapping[str, Float[np.ndarray, "_steps 9"]],
    sectors: Whole = 16,
    near: Number = 0.6,
) -> dict[int, dict[str, int]]:
    """How many holes each of several circles has at every iteration, as `topo.spaces.circle_holes` counts them.

    cores: of `dense_cores`; circles: such as `topo.spaces.circles` returns; sectors, near: as for
    `topo.spaces.circle_holes`, which raises the errors. Returns {iteration: {name of the circle: holes}}.
    """
    return {
        t: {name: spaces.circle_holes(core, circle, sectors, near) for name, circle in circles.items()}
        for t, core in cores.items()
    }


def straight_edge_clusters(
    points: Float[np.ndarray, "points 9"], k: Whole, depth: Number = 1.3, alike: Number = 0.9
) -> tuple[int, int]:
    """How many clusters a cloud has, and how many of the four straight edges are among them.

    points: centred and of unit norm; k: for 6,400 filters, scaled to the cloud; depth: as for
    `topo.evidence.density_clusters`, which raises the errors; alike: the least cosine between the mean of a cluster's
    peak and an edge.
    """
    k = scaled_k(k, len(points))
    peaks = density_clusters(points, k, depth)[1]
    edges = spaces.primary_circle(np.arange(4) * np.pi / 2)
    cosines = peak_means(points, peaks, k) @ edges.T
    return len(peaks), int((cosines.max(axis=0) >= alike).sum())
