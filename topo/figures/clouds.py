"""Pictures of point clouds: their density on the plane of the primary circle, clusters, bins and complexes.

Knows coordinates and what is said of each point; must not know how clusters, bins or complexes were computed.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import FigureBase

from topo import spaces
from topo.checks import as_points, check_whole
from topo.figures.patches import draw_patches, draw_ring, on_ring
from topo.figures.style import (
    AMOUNTS,
    BLUE,
    FAINT,
    INK,
    MARKERS,
    NARROW,
    ORANGE,
    PALETTE,
    SKY,
    WIDTH,
    Figure,
    Labelled,
    axes_for,
    check_positive,
    hide_scales,
    panels,
    texts_and_values,
    wrapped_panels,
)
from topo.spaces import PatchesLike
from topo.types import Number, Real, Row, Rows, Whole

Plane = Real[np.ndarray, "points 2"] | Sequence[Row]

_DENSITY = ListedColormap(matplotlib.colormaps["YlGnBu"](np.linspace(0.2, 1, 256)))  # even few stand out from white


def plane(points: PatchesLike, *, rim: Whole = 8, limit: Number | None = None, ax: Axes | None = None) -> FigureBase:
    """The density of a cloud of patches on the plane of the primary circle, with patches of edges around it as a guide.

    A patch that brightens to the right lies on the right, one that brightens to the top lies at the top. The primary
    circle is the unit circle. A patch inside it is partly something else, such as a line.

    points: centred and of unit norm; rim: how many edges to draw around the plane, 0 for none; limit: the percentage of
    the points in a cell at which the colours end, that of the fullest cell where None.
    Raises TypeError or ValueError for another shape, or a number out of range.
    """
    ax = axes_for(ax, 4.4, 3.6)
    cells = _draw_plane(ax, points, rim)
    cells.set_clim(0, None if limit is None else check_positive(limit, "limit"))
    _plane_bar(cells, ax)
    return ax.figure


def planes(labelled: Labelled[Real[np.ndarray, "_points 9"] | Sequence[Row]], *, rim: Whole = 8) -> Figure:
    """Clouds side by side, drawn as `plane` draws one, with the same colour scale for all.

    labelled: each cloud with the text above it; rim: as for `plane`.
    Raises as `plane` does, and ValueError where there is no cloud.
    """
    texts, clouds = texts_and_values(labelled, "labelled")
    figure, axes = panels(1, len(texts), height=0.5 + WIDTH / (len(texts) + 0.3), labels=texts, share=True)
    cells = [_draw_plane(ax, points, rim) for ax, points in zip(axes, clouds)]
    most = max(collection.norm.vmax for collection in cells)
    for collection in cells:
        collection.set_clim(0, most)
    for ax in axes:
        ax.set_xlabel("")
    figure.supxlabel("brighter on the right", fontsize=matplotlib.rcParams["axes.labelsize"])
    for ax in axes[1:]:
        ax.set_ylabel("")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
    _plane_bar(cells[0], axes)
    return figure


def klein_squares(
    labelled: Labelled[Real[np.ndarray, "_phis _thetas"]],
    *,
    label: str,
    limits: tuple[Number, Number],
    columns: Whole = 4,
) -> Figure:
    """Clouds on the fundamental square of the Klein bottle, as `klein_square` draws it, with one colour scale for all.

    labelled: a number above or at 0 for each phi and theta, with the text above its panel, such as
    `topo.spaces.klein_bottle_shares` divided by those of another cloud; label: of the numbers, with their unit; limits:
    the numbers above 0 at which the colours, which are logarithmic, begin and end; columns: panels in a row.
    Raises TypeError or ValueError for another shape, or limits that are not positive and ascending.
    """
    texts, squares = texts_and_values(labelled, "labelled")
    low, high = limits
    if not 0 < low < high:
        raise ValueError(f"limits = {limits!r} must be positive and ascending")
    figure, axes = wrapped_panels(texts, columns, 0.5 + WIDTH / (columns + 1), share=True)
    for i, (ax, square) in enumerate(zip(axes, squares)):
        phis, thetas = np.shape(square)
        if phis != 2 * thetas:
            raise ValueError(f"values must have shape (2 * steps, steps), not {(phis, thetas)}")
        shown = np.clip(square, low, high)
        image = ax.imshow(shown, norm=LogNorm(low, high), cmap=AMOUNTS, aspect=0.5)
        ax.set_xticks([0, thetas / 2], ["0", "π/2"])
        ax.set_yticks(np.arange(4) * phis / 4, ["0", "π/2", "π", "3π/2"])
        ax.tick_params(length=2)
        ax.spines[:].set_visible(False)
        if i % columns == 0:
            ax.set_ylabel("mixture $\\phi$")
        if i >= len(texts) - columns:
            ax.set_xlabel("direction $\\theta$")
    ticks = 2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=30, pad=0.02, label=label, format="%g", ticks=ticks)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    return figure


def angle_pairs(
    labelled: Labelled[tuple[Row, Row]], *, xlabel: str, ylabel: str, columns: Whole = 4, most: Whole = 1000
) -> Figure:
    """One angle of every point against another, with a panel for each cloud: where they are the same, on the diagonal.

    labelled: two angles of each cloud in radians, with the text above its panel; xlabel, ylabel: of the first and the
    second; columns: panels in a row; most: points of a cloud that are drawn, evenly spread over its rows.
    Raises TypeError or ValueError where two angles are not as many.
    """
    texts, every = texts_and_values(labelled, "labelled")
    check_whole(most, "most", 1)
    figure, axes = wrapped_panels(texts, columns, 0.3 + WIDTH / (columns + 0.5), share=True)
    for i, (ax, (angles, others)) in enumerate(zip(axes, every)):
        if len(angles) != len(others):
            raise ValueError(f"{texts[i]!r} has {len(angles)} angles and {len(others)} others")
        rows = np.unique(np.linspace(0, len(angles) - 1, most).astype(int))
        pairs = np.degrees(np.column_stack([np.asarray(angles), np.asarray(others)])[rows]) % 360
        ax.plot([0, 360], [0, 360], color=ORANGE, linewidth=1, linestyle="--", zorder=1)
        ax.scatter(*pairs.T, s=3, color=BLUE, alpha=0.35, linewidths=0, zorder=2)
        ax.set(xlim=(0, 360), ylim=(0, 360), xticks=(0, 180, 360), yticks=(0, 180, 360), aspect="equal")
    figure.supxlabel(xlabel, fontsize=matplotlib.rcParams["axes.labelsize"])
    figure.supylabel(ylabel, fontsize=matplotlib.rcParams["axes.labelsize"])
    return figure


def cloud(
    points: Plane,
    *,
    values: Row | None = None,
    label: str | None = None,
    clusters: Shaped[np.ndarray, "_points"] | Sequence[Whole] | None = None,
    kept: Rows | None = None,
    ax: Axes | None = None,
) -> FigureBase:
    """A cloud in the plane; one of `values`, `clusters` and `kept` may be given to tell its points apart.

    values: of each point, shown as colours; label: of their colour bar. clusters: the cluster of each point; the seven
    largest clusters have a colour and a marker each, the points of the others are gray crosses, and the number of these
    clusters is written above. kept: rows of the points to stand out, the others are faint.
    Raises TypeError or ValueError for another shape, or where two of the three are given.
    """
    points = _as_plane(points)
    if sum(given is not None for given in (values, clusters, kept)) > 1:
        raise ValueError("points are coloured by values, by clusters or by what is kept, not by two of them")
    ax = axes_for(ax, 3.6, 3.4)
    if clusters is not None:
        _draw_clusters(ax, points, _one_each(clusters, "clusters", len(points)))
    elif values is not None:
        values = _one_each(values, "values", len(points))
        dots = ax.scatter(*points.T, c=values, s=8, cmap=AMOUNTS, linewidths=0)
        bar = ax.figure.colorbar(dots, ax=ax, shrink=0.7, aspect=25, pad=0.02, label=label)
        bar.outline.set_visible(False)
    elif kept is not None:
        ax.scatter(*points.T, s=4, color="0.75", linewidths=0, zorder=0)
        chosen = points[np.asarray(kept, int)]
        ax.scatter(*chosen.T, s=6, color=BLUE, linewidths=0)
    else:
        ax.scatter(*points.T, s=6, color=INK, linewidths=0)
    ax.set_aspect("equal")
    ax.set(xlabel="$x$", ylabel="$y$")
    return ax.figure


def cover(
    lens: Row | Real[np.ndarray, "points lenses"] | Sequence[Row],
    left: Row | Real[np.ndarray, "_lenses _intervals"] | Sequence[Row],
    right: Row | Real[np.ndarray, "_lenses _intervals"] | Sequence[Row],
    *,
    labels: Sequence[str] = ("lens 1", "lens 2"),
    ax: Axes | None = None,
) -> FigureBase:
    """The overlapping bins that one lens or two sort the points into (the paper's section 3).

    With one lens, each interval is a bar with the number of its points, in a row where it covers no other bar. Below
    the bars is a tick for each point. With two lenses, each bin that holds points is a rectangle over the points; the
    fullest bin is outlined, and above the panel is the number of its points.

    lens: the values of each point along one lens or two; left, right: the ends of the open intervals along each lens,
    as `topo.mapper.IntervalCover` has them after `fit`; the outermost may be infinite. labels: of the lenses.
    Raises TypeError or ValueError for another shape, or an interval that ends before it begins.
    """
    values = np.asarray(lens)
    lens = as_points(values[:, None] if values.ndim == 1 else lens, "lens")
    starts, ends = (np.atleast_2d(np.asarray(side, float)) for side in (left, right))
    k = lens.shape[1]
    if k not in (1, 2) or starts.shape != ends.shape or starts.ndim != 2 or len(starts) != k:
        raise ValueError(
            f"lens must have shape (n, k) with k = 1 or 2, not {lens.shape}, and left and right (k, intervals), "
            f"not {starts.shape} and {ends.shape}"
        )
    if not (starts < ends).all():
        raise ValueError("every interval's left end must lie below its right end")
    inside = (lens[:, :, None] > starts) & (lens[:, :, None] < ends)
    margin = 0.03 * np.ptp(lens, axis=0)[:, None]
    starts = np.maximum(starts, lens.min(axis=0)[:, None] - margin)
    ends = np.minimum(ends, lens.max(axis=0)[:, None] + margin)
    if k == 1:
        return _cover_of_one(lens[:, 0], starts[0], ends[0], inside[:, 0].sum(axis=0), labels[0], ax)
    return _cover_of_two(lens, starts, ends, inside, labels, ax)


def complex_at(
    points: Plane,
    landmarks: Rows,
    times: Real[np.ndarray, "_landmarks _landmarks"] | Sequence[Row],
    t: Number,
    *,
    ax: Axes | None = None,
) -> FigureBase:
    """The lazy witness complex of a cloud in the plane at parameter t: edges, and triangles that have all their edges.

    points: in the plane; landmarks: rows of `points`; times: the parameters at which edges appear, as
    `topo.persistence.lazy_witness_times` returns them; t: in the unit of the points.
    Raises TypeError or ValueError for another shape.
    """
    points, landmarks, times = _as_plane(points), np.asarray(landmarks), np.asarray(times, float)
    if times.shape != (len(landmarks),) * 2:
        raise ValueError(f"times must have shape ({len(landmarks)}, {len(landmarks)}), one an edge, not {times.shape}")
    ax = axes_for(ax, 3.2, 3.2)
    places = points[landmarks]
    joined = np.triu(times <= t, 1)
    a, b = np.nonzero(joined)
    edge, c = np.nonzero(joined[a] & joined[b])  # c comes after a and b, so each triangle counts once
    triangles = places[np.column_stack([a[edge], b[edge], c])]
    ax.scatter(*points.T, s=4, color="0.75", linewidths=0, zorder=1)
    ax.add_collection(PolyCollection(triangles, facecolors=SKY, linewidths=0, alpha=0.35, zorder=2))
    ax.add_collection(LineCollection(places[np.column_stack([a, b])], colors=BLUE, linewidths=0.8, zorder=3))
    ax.scatter(*places.T, s=14, color=ORANGE, edgecolors="white", linewidths=0.4, zorder=4)
    hide_scales(ax)
    return ax.figure


def complexes(
    points: Plane,
    landmarks: Rows,
    times: Real[np.ndarray, "_landmarks _landmarks"] | Sequence[Row],
    ts: Row | Number,
    *,
    columns: Whole = 4,
) -> Figure:
    """Lazy witness complexes at several parameters side by side, drawn as `complex_at` draws one.

    ts: the parameters; columns: panels in a row; the other arguments are as for `complex_at`.
    Raises as `complex_at` does, and ValueError where there is no parameter.
    """
    parameters = np.atleast_1d(np.asarray(ts, float))
    if not parameters.size:
        raise ValueError("ts must hold one parameter or more")
    height = 0.25 + WIDTH / max(3, min(columns, len(parameters)))
    figure, axes = wrapped_panels([f"$t = {t:g}$" for t in parameters], columns, height, share=True)
    for ax, t in zip(axes, parameters):
        complex_at(points, landmarks, times, t, ax=ax)
    return figure


def _draw_plane(ax: Axes, points: PatchesLike, rim: Whole) -> PolyCollection:
    """Draw the cells of `plane` and the edges around them; return the cells."""
    points = as_points(points)
    check_whole(rim, "rim", 0)
    if points.shape[1] != 9:
        raise ValueError(f"points must be 3x3 patches of shape (n, 9), not {points.shape}")
    right, down = (points @ spaces.primary_circle(np.array([0, np.pi / 2])).T).T
    cells = ax.hexbin(
        right,
        -down,
        C=np.full(len(points), 100 / len(points)),
        reduce_C_function=np.sum,
        gridsize=40,
        extent=(-1.05, 1.05, -1.05, 1.05),
        cmap=_DENSITY,
        linewidths=0.2,
        zorder=2,
    )
    cells.set_clim(0)
    draw_ring(ax, np.ones(2), FAINT, linewidth=0.8)
    reach = 1.05
    if rim:
        angles = np.arange(rim) * 2 * np.pi / rim
        draw_patches(ax, spaces.primary_circle(angles), 1.26 * on_ring(angles), 0.24)
        reach = 1.42
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    ax.set(xlabel="brighter on the right", ylabel="brighter at the top")
    for side in ("left", "bottom"):
        ax.spines[side].set_bounds(-1, 1)
    ax.set_aspect("equal")
    return cells


def _plane_bar(cells: PolyCollection, axes: Axes | Sequence[Axes]) -> None:
    bar = cells.axes.figure.colorbar(cells, ax=axes, shrink=0.7, aspect=25, pad=0.02, label="% of the points in a cell")
    bar.outline.set_visible(False)


def _as_plane(points: Plane) -> Float[np.ndarray, "points 2"]:
    points = as_points(points)
    if points.shape[1] != 2:
        raise ValueError(f"points must lie in the plane, shape (n, 2), not {points.shape}")
    return points


def _one_each(values: object, name: str, n: int) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one a point, not {values.shape}")
    return values


def _draw_clusters(ax: Axes, points: Float[np.ndarray, "points 2"], clusters: Shaped[np.ndarray, "points"]) -> None:
    names, members, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    rank = np.empty(len(names), int)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(names))
    rank = rank[members]
    for place, (colour, marker) in enumerate(zip(PALETTE, MARKERS)):
        if place < len(names):
            ax.scatter(*points[rank == place].T, s=12, color=colour, marker=marker, linewidths=0)
    others = len(names) - len(MARKERS)
    if others > 0:
        small = points[rank >= len(MARKERS)]
        ax.scatter(*small.T, s=10, color=FAINT, marker="x", linewidths=0.7)
        ax.set_title(f"× {others} smaller", loc="right", fontsize=7.5, color=INK)


def _cover_of_one(
    lens: Float[np.ndarray, "points"],
    left: Float[np.ndarray, "intervals"],
    right: Float[np.ndarray, "intervals"],
    counts: Integer[np.ndarray, "intervals"],
    label: str,
    ax: Axes | None,
) -> FigureBase:
    rows: np.ndarray = np.zeros(len(left), int)
    ends: list[float] = []
    for i in np.argsort(left, kind="stable"):
        rows[i] = next((row for row, end in enumerate(ends) if end < left[i]), len(ends))
        ends[rows[i] : rows[i] + 1] = [right[i]]
    ax = axes_for(ax, NARROW, 0.9 + 0.3 * len(ends))
    bars = ax.barh(rows + 1, right - left, left=left, height=0.72, color=SKY, edgecolor=BLUE, linewidth=0.8)
    ax.bar_label(bars, counts, label_type="center", fontsize=7.5, color=INK)
    ax.plot(lens, np.zeros(len(lens)), "|", color=INK, markersize=9, markeredgewidth=0.4)
    ax.set(xlabel=label, ylim=(-0.5, len(ends) + 0.6), yticks=(0, (len(ends) + 1) / 2))
    ax.set_yticklabels(["points", "bins"])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return ax.figure


def _cover_of_two(
    lens: Float[np.ndarray, "points 2"],
    left: Float[np.ndarray, "2 intervals"],
    right: Float[np.ndarray, "2 intervals"],
    inside: Bool[np.ndarray, "points 2 intervals"],
    labels: Sequence[str],
    ax: Axes | None,
) -> FigureBase:
    ax = axes_for(ax, 4.2, 3.8)
    counts = inside[:, 0].T.astype(int) @ inside[:, 1].astype(int)
    ax.scatter(*lens.T, s=4, color=INK, linewidths=0, zorder=2)
    i, j = np.nonzero(counts)
    corners = np.stack(
        [
            np.column_stack(corner)
            for corner in [
                (left[0, i], left[1, j]),
                (right[0, i], left[1, j]),
                (right[0, i], right[1, j]),
                (left[0, i], right[1, j]),
            ]
        ],
        axis=1,
    )
    ax.add_collection(PolyCollection(corners, facecolors=(BLUE, 0.05), edgecolors=SKY, linewidths=0.6))
    fullest = corners[counts[i, j].argmax()]
    ax.add_collection(PolyCollection([fullest], facecolors="none", edgecolors=ORANGE, linewidths=2, zorder=3))
    told = f"in the outlined bin: {counts.max()} points"
    ax.text(1, 1, told, transform=ax.transAxes, ha="right", va="bottom", fontsize=8, color=INK)
    ax.set(xlabel=labels[0], ylabel=labels[1], aspect="equal")
    ax.autoscale_view()
    return ax.figure
