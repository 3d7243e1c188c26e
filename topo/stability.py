"""How far the shape of a Mapper graph hangs on Mapper's settings: its Betti numbers over a grid of them.

Knows point clouds, lenses, bins, clusters and their nerve; must not know what a point stands for, nor how to draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from topo.checks import as_points, check_number, check_whole
from topo.mapper import (
    COVERS,
    METRICS,
    IntervalCover,
    Lens,
    LensLike,
    SingleLinkage,
    VarianceNormalizer,
    check_settings,
    isomap_lens,
    linkage_threshold,
    spectral_lens,
)
from topo.nerve import betti_numbers
from topo.types import Number, PointsLike, Whole

LENSES: dict[str, LensLike] = {"PCA": "pca", "Isomap": isomap_lens, "spectral": spectral_lens}


@dataclass(frozen=True)
class Settings:
    """Values of each of Mapper's settings. The grid is their product, with an axis for each field, in this order.

    resolutions, gains, covers, metrics: as `topo.mapper.mapper_graph` takes them one by one, every gain with every
    resolution. thresholds: factors, above 0, that `topo.mapper.linkage_threshold` of the cloud is multiplied by.
    lenses: what `topo.mapper.Lens` takes, each with a name.
    Raises TypeError or ValueError for a setting without values, and for a value that `mapper_graph` does not take.
    """

    resolutions: Sequence[Whole] = (10, 20, 30)
    gains: Sequence[Number] = (2, 3, 4)
    covers: Sequence[str] = COVERS
    metrics: Sequence[str] = METRICS
    thresholds: Sequence[Number] = (0.5, 1, 2)
    lenses: Mapping[str, LensLike] = field(default_factory=LENSES.copy)

    def __post_init__(self) -> None:
        for name, values in self.values().items():
            if not len(values):
                raise ValueError(f"{name} must hold one value or more")
        for factor in self.thresholds:
            check_number(factor, "threshold", 0, "a factor", above=True)
        for resolution, gain, cover, metric, lens in product(
            self.resolutions, self.gains, self.covers, self.metrics, self.lenses.values()
        ):
            check_settings(resolution, gain, lens, cover, metric, None)

    def values(self) -> "dict[str, list[Number | str]]":
        """The values of each setting by its name, in the order of the axes; those of the lenses are their names."""
        return {each.name: list(getattr(self, each.name)) for each in fields(self)}


def betti_grid(
    points: PointsLike, settings: Settings, min_points: Whole = 3
) -> Int64[np.ndarray, "2 resolutions gains covers metrics thresholds lenses"]:
    """How many pieces and loops the Mapper graph of a cloud has at every cell of a grid of settings.

    points: two or more; min_points: nodes of fewer points are left out, 1 or more.
    Returns `topo.nerve.betti_numbers`: first the pieces, then the loops.
    Raises TypeError or ValueError for another min_points, and as `topo.mapper.mapper_graph` does.
    """
    points = as_points(points).astype(np.float64, copy=False)
    check_whole(min_points, "min_points", 1)
    scaled = [VarianceNormalizer().fit_transform(points) if each == "vne" else points for each in settings.metrics]
    limits = [[factor * linkage_threshold(each) for factor in settings.thresholds] for each in scaled]
    betti = np.empty((2, *map(len, settings.values().values())), np.int64)
    for number, lens in enumerate(settings.lenses.values()):
        values = Lens(lens).fit_transform(points)
        for r, g, c in np.ndindex(betti.shape[1:4]):
            cover = IntervalCover(settings.resolutions[r], settings.gains[g], settings.covers[c])
            bins = cover.fit_transform(values)
            for m, t in np.ndindex(betti.shape[4:6]):
                clusters = SingleLinkage(limits[m][t]).fit_transform([scaled[m], bins])
                betti[:, r, g, c, m, t, number] = betti_numbers(clusters, min_points)
    return betti


def sample(points: PointsLike, most: Whole, seed: Whole = 0) -> Float[np.ndarray, "drawn dim"]:
    """At most `most` of the points, 1 or more: a random sample of a larger cloud, in the order in which they come.

    Raises TypeError or ValueError for another `most`, and as `topo.checks.as_points` does.
    """
    points = as_points(points)
    check_whole(most, "most", 1)
    if len(points) <= most:
        return points
    return points[np.sort(np.random.default_rng(seed).choice(len(points), most, replace=False))]


def shares(holds: Bool[np.ndarray, "*settings"]) -> list[Float64[np.ndarray, "_values"]]:
    """In which share of a grid something holds, for every value of every setting, whatever the others are.

    holds: whether it holds in each cell. Returns an array for each axis.
    """
    return [holds.mean(axis=tuple(other for other in range(holds.ndim) if other != axis)) for axis in range(holds.ndim)]


def changes(holds: Bool[np.ndarray, "*settings"]) -> Float64[np.ndarray, "axes"]:
    """How often a setting alone decides whether something holds in a grid.

    holds: whether it holds in each cell.
    Returns for every axis the share of the pairs of cells that differ along this axis alone in which it holds in one
    cell and not in the other; 0 for an axis with one value.
    """
    found = []
    for axis, size in enumerate(holds.shape):
        yes = holds.sum(axis=axis)
        found.append((yes * (size - yes)).mean() / (size * (size - 1) / 2) if size > 1 else 0.0)
    return np.array(found)
