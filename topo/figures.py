"""Pictures of barcodes, patches, clouds and Mapper graphs, and tables; the only module that plots.

Knows arrays, barcodes and graphs; must not know where they come from, nor compute the results that it shows.
"""
import random
from base64 import b64encode
from html import escape
from io import BytesIO
from itertools import cycle
from math import ceil, floor, isqrt, log10, sqrt
from numbers import Integral, Real

import igraph
import matplotlib.figure
import numpy as np
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter
from PIL import Image
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from topo import models
from topo.filters import as_points, check_whole
from topo.mapper import Lens, node_means, node_sizes

# Every function that draws one picture takes `ax`, the matplotlib Axes to draw on, and makes a Figure of its own where
# it is None; every one returns the Figure.

WIDTH = 7.2  # inches: the book's column
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, YELLOW = PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442"
)  # Okabe & Ito 2008: told apart by colour-blind readers
_MARKERS = "o^sDvPX"
_INK, _FAINT = "0.25", "0.55"
_COUNTS = "RdYlBu_r"  # blue to red, as in the paper
_AMOUNTS = "cividis"
_DENSITY = ListedColormap(matplotlib.colormaps["YlGnBu"](np.linspace(0.2, 1, 256)))  # even few stand out from white


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that pyplot knows nothing of: a notebook shows it once, where it is the result of a cell,
    and it need not be closed.
    """

    def _repr_png_(self):
        buffer = BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()


def use_style():
    """Set matplotlib's defaults to the book's: once a chapter, before the first figure."""
    matplotlib.rcParams.update({
        "figure.dpi": 110,
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.labelsize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
    })


def panels(rows, columns, *, height=2.4, labels=None, share=False):
    """A figure of the book's width with several Axes, for the `ax` of the other functions.

    rows, columns: int; height: of a row, in inches; labels: a short text above each panel, in reading order;
    share: whether all panels have the same limits.
    Returns the Figure and its Axes, a list of rows * columns in reading order.
    Raises TypeError or ValueError for numbers out of range or another number of labels.
    """
    check_whole(rows, "rows", 1)
    check_whole(columns, "columns", 1)
    if labels is not None and len(labels) != rows * columns:
        raise ValueError(f"there are {len(labels)} labels for {rows} x {columns} panels")
    figure = Figure((WIDTH, rows * height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share).flat)
    for ax, label in zip(axes, () if labels is None else labels):
        ax.set_title(label)
    return figure, axes


def _wrapped(labels, columns, height, share=False):
    """As `panels`, with a panel a label and no more than `columns` to a row."""
    check_whole(columns, "columns", 1)
    columns = min(columns, len(labels))
    rows = ceil(len(labels) / columns)
    figure, axes = panels(rows, columns, height=height, share=share)
    for ax in axes[len(labels) :]:
        ax.remove()
    for ax, label in zip(axes, labels):
        ax.set_title(label)
    return figure, axes[: len(labels)]


def _axes(ax, width, height):
    return Figure((width, height), layout="constrained").subplots() if ax is None else ax


def _texts_and_values(labelled, name):
    """The texts and the values of a dict or of pairs, at least one."""
    pairs = list(labelled.items() if isinstance(labelled, dict) else labelled)
    if not pairs:
        raise ValueError(f"{name} must not be empty")
    return zip(*pairs)


def _positive(value, name):
    if not value > 0:
        raise ValueError(f"{name} = {value!r} must be positive")
    return value


def _short(value):
    return "∞" if value == np.inf else f"{value:.3g}"


def _picture(ax):
    """An Axes for shapes, not for numbers: equal units, nothing but what is drawn on it."""
    ax.set_aspect("equal")
    ax.set_axis_off()


# Barcodes

def barcode(bars, *, dimensions=(0, 1), max_bars=30, limit=None, label="lazy witness parameter $t$", ax=None):
    """A barcode: one group of bars a homology dimension, longest first, the longest lengths beside it (section 2).

    A bar that goes on beyond the axis ends in an arrow; the length of one that never dies is ∞.

    bars: {dimension: (b, 2)} births and deaths, as `topo.persistence.lazy_witness_barcode` returns them.
    dimensions: which to draw, from the top; max_bars: the most bars to draw of each, the rest are counted;
    limit: right end of the axis, just beyond the last birth or death where None; label: of the axis.
    Returns the Figure. Raises TypeError or ValueError for a barcode without those dimensions or of another form.
    """
    bars = _check_barcode(bars, dimensions)
    check_whole(max_bars, "max_bars", 1)
    limit = _barcode_limit([bars]) if limit is None else _positive(limit, "limit")
    rows = _barcode_rows([bars], max_bars)
    ax = _axes(ax, WIDTH, _barcode_height(rows))
    _draw_barcode(ax, bars, rows, max_bars, limit)
    ax.set_xlabel(label)
    return ax.figure


def barcodes(labelled, *, dimensions=(0, 1), max_bars=30, columns=3, label="lazy witness parameter $t$"):
    """Barcodes side by side on one scale, so that their bars compare.

    labelled: {text: barcode} or pairs (text, barcode); columns: panels to a row; the rest as for `barcode`.
    Returns the Figure. Raises as `barcode` does, and ValueError where there is none.
    """
    texts, every = _texts_and_values(labelled, "labelled")
    every = [_check_barcode(bars, dimensions) for bars in every]
    check_whole(max_bars, "max_bars", 1)
    rows, limit = _barcode_rows(every, max_bars), _barcode_limit(every)
    figure, axes = _wrapped(texts, columns, _barcode_height(rows))
    for ax, bars in zip(axes, every):
        _draw_barcode(ax, bars, rows, max_bars, limit)
    figure.supxlabel(label, fontsize=matplotlib.rcParams["axes.labelsize"])
    return figure


_NOTED = 6  # the most lengths written beside a group
_ROW = 0.042  # inches from bar to bar
_NOTE_ROWS = 3.3  # from line to line of what is written beside a group
_GROUP_ROWS = 13  # the least height of a group: room for four notes


def _check_barcode(bars, dimensions):
    """The wanted dimensions of a barcode, longest bars first."""
    if not isinstance(bars, dict):
        raise TypeError(f"a barcode is a dict of arrays (b, 2) by dimension, not {type(bars).__name__}")
    checked = {}
    for dimension in dimensions:
        if dimension not in bars:
            raise ValueError(f"dimension {dimension!r} is not in the barcode, which has {sorted(bars)}")
        pairs = np.asarray(bars[dimension], float)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"bars of dimension {dimension} must have shape (b, 2), not {pairs.shape}")
        if not (np.isfinite(pairs[:, 0]).all() and (pairs[:, 1] >= pairs[:, 0]).all()):
            raise ValueError(f"bars of dimension {dimension} must be born at a finite time and die at or after it")
        checked[dimension] = pairs[np.argsort(pairs[:, 0] - pairs[:, 1], kind="stable")]
    return checked


def _barcode_rows(every, max_bars):
    """Rows of each group, the same in all barcodes: {dimension: int}."""
    return {
        dimension: max(_GROUP_ROWS, min(max_bars, max(len(bars[dimension]) for bars in every)))
        for dimension in every[0]
    }


def _barcode_height(rows):
    return 0.75 + _ROW * (sum(rows.values()) + 2 * len(rows))


def _barcode_limit(every):
    times = np.concatenate([pairs.ravel() for bars in every for pairs in bars.values()] + [np.zeros(0)])
    times = times[np.isfinite(times)]
    return 1.05 * times.max() if len(times) and times.max() > 0 else 1.0


def _draw_barcode(ax, bars, rows, max_bars, limit):
    decimals = max(0, 2 - floor(log10(limit)))
    top, centres = 0, []
    for dimension, pairs in bars.items():
        colour = PALETTE[dimension % len(PALETTE)]
        births, deaths = pairs[:max_bars].T
        births = np.minimum(births, limit)
        y = top + np.arange(len(births))
        ax.barh(y, np.minimum(deaths, limit) - births, left=births, height=0.62, color=colour, linewidth=0)
        on = y[deaths > limit]
        ax.scatter(np.full(len(on), limit), on, marker=">", s=25, color=colour, clip_on=False, zorder=3)
        for line, note in enumerate(_barcode_notes(pairs, rows[dimension], max_bars, decimals)):
            beside = {"transform": ax.get_yaxis_transform(), "va": "top", "fontsize": 7.5, "color": _INK}
            ax.text(1.03, top + _NOTE_ROWS * line - 0.5, note, **beside)
        centres.append(top + (rows[dimension] - 1) / 2)
        top += rows[dimension] + 2
    ax.text(1.03, 1.0, "longest", transform=ax.transAxes, va="bottom", fontsize=7.5, color=_FAINT)
    ax.set_xlim(0, limit)
    ax.set_ylim(top - 2, -1)
    ax.set_yticks(centres, [f"$H_{dimension}$" for dimension in bars])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _barcode_notes(pairs, rows, max_bars, decimals):
    lengths = (pairs[:, 1] - pairs[:, 0])[: min(_NOTED, int(rows / _NOTE_ROWS))]
    notes = ["∞" if np.isinf(length) else f"{length:.{decimals}f}" for length in lengths]
    if len(pairs) > max_bars:
        notes.append(f"{len(pairs) - max_bars} not drawn")
    return notes or ["no bars"]


# Patches

def patch(vector, *, limit=None, ax=None):
    """One patch as a gray picture: black is negative, white positive, zero half-way.

    vector: (w*w,) values row by row, x to the right and y downwards; limit: the value drawn white, the patch's
    largest absolute value where None.
    Returns the Figure. Raises TypeError or ValueError where it is no square patch of finite numbers.
    """
    return patch_row([vector], limit=limit, ax=ax)


def patch_row(vectors, labels=None, *, columns=12, limit=None, ax=None):
    """Patches side by side, as `patch` draws them, `columns` to a row.

    vectors: (n, w*w); labels: a text under each; limit: one for all, or None for each patch's own.
    Returns the Figure. Raises as `patch` does, and ValueError for another number of labels.
    """
    vectors = _as_patches(vectors)
    check_whole(columns, "columns", 1)
    if limit is not None:
        _positive(limit, "limit")
    if labels is not None and len(labels) != len(vectors):
        raise ValueError(f"there are {len(labels)} labels for {len(vectors)} patches")
    columns = min(columns, len(vectors))
    rows = ceil(len(vectors) / columns)
    across = 1.25
    side = min(0.75, WIDTH / (columns * across))
    lines = max(str(label).count("\n") + 1 for label in labels) if labels is not None and len(labels) else 0
    down = max(1.6, 1.2 + lines * 0.16 / side) if lines else 1.25
    ax = _axes(ax, side * columns * across, side * rows * down)
    row, column = np.divmod(np.arange(len(vectors)), columns)
    centres = np.column_stack([column * across, -row * down])
    _draw_patches(ax, vectors, centres, 1.0, limit)
    for centre, label in zip(centres, () if labels is None else labels):
        ax.text(*(centre - [0, 0.58]), label, ha="center", va="top", fontsize=8, color=_INK)
    ax.set_xlim(-0.6, centres[:, 0].max() + 0.6)
    ax.set_ylim(centres[:, 1].min() - (down - 0.6), 0.6)
    _picture(ax)
    return ax.figure


def _as_patches(vectors):
    vectors = as_points(vectors, "patches").astype(float)
    if isqrt(vectors.shape[1]) ** 2 != vectors.shape[1]:
        raise ValueError(f"patches must be square, of shape (n, w*w), not {vectors.shape}")
    return vectors


def _draw_patches(ax, vectors, centres, side, limit=None, frame=_INK, width=0.6, zorder=4):
    """Patches (n, w*w) with their centres at (n, 2) and sides in the unit of the axes; frame: one colour or n."""
    w = isqrt(vectors.shape[1])
    limits = np.abs(vectors).max(axis=1, keepdims=True) if limit is None else np.full((len(vectors), 1), limit)
    relative = np.divide(vectors, limits, out=np.zeros_like(vectors), where=limits > 0)
    grays = np.clip(0.5 + 0.5 * relative, 0, 1)
    corners = side * np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    row, column = np.divmod(np.arange(w * w), w)
    pixels = side * np.column_stack([(column + 0.5) / w - 0.5, 0.5 - (row + 0.5) / w])  # their centres in the patch
    squares = centres[:, None, None] + pixels[:, None] + corners / w
    colours = np.repeat(grays.reshape(-1, 1), 3, axis=1)
    fill = PolyCollection(squares.reshape(-1, 4, 2), facecolors=colours, linewidths=0, antialiased=False, zorder=zorder)
    edge = {"facecolors": "none", "edgecolors": frame, "linewidths": width, "zorder": zorder}
    ax.add_collection(fill, autolim=False)
    ax.add_collection(PolyCollection(centres[:, None] + corners, **edge), autolim=False)


def circle_of_patches(vectors, angles, *, label=None, colour=_FAINT, side=None, ax=None):
    """Patches around a ring.

    vectors: (n, w*w); angles: (n,) in radians, from the right and clockwise, as y points downwards in a patch: so
    every patch of the primary circle brightens outwards. label: a text at the centre; colour: of the ring; side: of a
    patch in radii of the ring, so that n patches all around have room where None.
    Returns the Figure. Raises TypeError or ValueError for another shape or a side that is not positive.
    """
    vectors, angles = _as_patches(vectors), np.asarray(angles, float)
    if angles.shape != (len(vectors),):
        raise ValueError(f"angles must have shape ({len(vectors)},), one a patch, not {angles.shape}")
    ax = _axes(ax, 3.2, 3.2)
    side = _ring_side(len(vectors), 0.42) if side is None else _positive(side, "side")
    _ring(ax, np.ones(2), colour)
    _draw_patches(ax, vectors, _on_ring(angles), side)
    if label is not None:
        ax.text(0, 0, label, ha="center", va="center", fontsize=9, color=_INK)
    reach = 1.02 + side / 2
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    _picture(ax)
    return ax.figure


def rings(labelled, *, starts=None, count=True):
    """Rings of patches side by side, such as the mean filters along several circles; in the middle, how many are missing.

    labelled: {text: (n, w*w)} or pairs, the patches at even angles, clockwise; a patch of NaN is left out.
    starts: the angle of each ring's first patch in radians, from the right, 0 where None; count: whether to say so.
    Returns the Figure. Raises TypeError or ValueError for another shape, or another number of starts.
    """
    texts, every = _texts_and_values(labelled, "labelled")
    starts = np.zeros(len(texts)) if starts is None else starts
    if len(starts) != len(texts):
        raise ValueError(f"there are {len(starts)} starts for {len(texts)} rings")
    figure, axes = panels(1, len(texts), height=0.2 + WIDTH / max(3, len(texts)), labels=texts)
    for ax, patches, start in zip(axes, map(np.asarray, every), starts):
        there = ~np.isnan(patches).any(axis=1)
        angles = start + np.arange(len(patches)) * 2 * np.pi / len(patches)
        label = f"{(~there).sum()} hole{'s' * ((~there).sum() != 1)}" if count else ""
        side = _ring_side(len(patches), 0.42)
        if there.any():
            circle_of_patches(patches[there], angles[there], label=label, side=side, ax=ax)
        else:
            ax.text(0.5, 0.5, label, transform=ax.transAxes, ha="center", va="center", fontsize=9, color=_INK)
            _picture(ax)
    return figure


def _on_ring(angles):
    return np.column_stack([np.cos(angles), -np.sin(angles)])


def _ring_side(n, most):
    """Side of n patches around the unit circle: neighbours on a diagonal, the closest, do not touch."""
    return min(most, 4.2 / n)


def _ring(ax, radii, colour, **style):
    around = _on_ring(np.linspace(0, 2 * np.pi, 361)) * radii
    ax.plot(*around.T, color=colour, **{"linewidth": 1.5, "zorder": 1, **style})


def three_circles(*, steps=16, ax=None):
    """The primary circle and both secondary circles, drawn as patches: the paper's Figure 1.

    Each secondary circle meets the primary circle in two opposite edges, and they do not meet each other: where
    they cross in the picture, one passes over the other.

    steps: patches on the primary circle, a multiple of 4, so that those where circles meet are among them.
    Returns the Figure. Raises TypeError or ValueError for other steps.
    """
    check_whole(steps, "steps", 4)
    if steps % 4:
        raise ValueError(f"steps = {steps} must be a multiple of 4")
    ax = _axes(ax, WIDTH, 3.8)
    theta = np.arange(steps) * 2 * np.pi / steps
    phi = np.array([-0.23, 0, 0.23, 0.77, 1, 1.23]) * np.pi  # away from the primary circle and from the crossings
    vertical, horizontal = models.secondary_circles(phi)
    _ring(ax, np.ones(2), BLUE)
    for patches, radii, turn, colour in [
        (vertical, (1, 0.42), np.pi / 2, ORANGE),
        (horizontal, (0.42, 1), 0, GREEN),
    ]:
        _ring(ax, radii, "white", linewidth=7)
        _ring(ax, radii, colour)
        _draw_patches(ax, patches, _on_ring(phi - turn) * radii, 0.17, frame=colour, width=1.2)
    _draw_patches(ax, models.primary_circle(theta), _on_ring(theta), _ring_side(steps, 0.21), frame=BLUE, width=1.2)
    key = np.stack([models.primary_circle(-0.6), *models.secondary_circles(0)])
    heights = np.array([0.35, 0.0, -0.35])
    _draw_patches(ax, key, np.column_stack([np.full(3, 1.55), heights]), 0.21, frame=(BLUE, ORANGE, GREEN), width=1.2)
    for height, text in zip(heights, [
        "primary circle:\nedges in every direction",
        "secondary circle:\nvertical edges and vertical lines",
        "secondary circle:\nhorizontal edges and horizontal lines",
    ]):
        ax.text(1.75, height, text, va="center", color=_INK)
    ax.set(xlim=(-1.15, 3.2), ylim=(-1.15, 1.15))
    _picture(ax)
    return ax.figure


# Mapper graphs

def mapper(graph, points, *, thumbnails=20, layout="lens", smallest=0.01, side=0.09, colorbar=True, note=True, ax=None):
    """A Mapper graph with filters beside it: nodes coloured and sized by their points, blue few, red many (section 3).

    Beside the graph are the mean filters of nodes along its rim, each over the node and its adjacent nodes, as in
    Figure 3: as many as asked for, or as have room without covering the graph or one another.

    graph: an igraph.Graph as `topo.mapper.mapper_graph` makes it of points; points: (n, d).
    thumbnails: the most filters drawn, 0 for none, which is all that points that are no square patches allow.
    layout: "lens", nodes at the mean of their first two principal components; "force", from there by the
    Fruchterman-Reingold algorithm; or positions (nodes, 2).
    smallest: share of the points below which a connected component is not drawn, but counted in a note.
    side: of a filter, as a share of the graph's extent; colorbar, note: whether to draw them.
    Returns the Figure. Raises TypeError or ValueError for a number out of range, a graph that is no Mapper graph, or
    one that is of other points.
    """
    points = as_points(points)
    check_whole(thumbnails, "thumbnails", 0)
    if not 0 <= smallest <= 1:
        raise ValueError(f"smallest = {smallest!r} must be a share of the points, from 0 to 1")
    if not 0 < side <= 1:
        raise ValueError(f"side = {side!r} must be a share of the graph's extent, above 0 and at most 1")
    if not hasattr(graph, "vs") or "node_elements" not in graph.vs.attributes():
        raise TypeError('graph must be a Mapper graph: an igraph.Graph with the vertex attribute "node_elements"')
    if thumbnails and isqrt(points.shape[1]) ** 2 != points.shape[1]:
        raise ValueError(f"points {points.shape} are no square patches (n, w*w) to draw: thumbnails must be 0")
    places = _layout(graph, points, layout)
    nodes, left_out = _large_components(graph, len(points), smallest)
    positions, sizes = places[nodes], node_sizes(graph)[nodes]
    ends = places[_edges_within(graph, nodes)]
    extent = np.ptp(positions, axis=0).max() or 1.0
    radii = _radii(sizes) * extent

    ax = _axes(ax, 6.4, 4.9)
    within = [np.array([ax.get_xlim(), ax.get_ylim()]).T] if ax.has_data() else []  # what others drew stays in view
    discs = _draw_graph(ax, positions, sizes, radii, ends)
    margin = radii.max() if np.ptp(positions, axis=0).any() else extent / 2  # a single node does not fill the picture
    within += [positions - margin, positions + margin]
    if thumbnails:
        anchors, centres = _beside(positions, radii, ends, thumbnails, side * extent)
        leaders = np.stack([positions[anchors], centres], axis=1)
        ax.add_collection(LineCollection(leaders, colors=_INK, linewidths=0.7, zorder=2))
        _draw_patches(ax, node_means(graph, points, hops=1)[nodes[anchors]], centres, side * extent)
        within += [centres - 0.55 * side * extent, centres + 0.55 * side * extent]
    within = np.concatenate(within)
    (left, bottom), (right, top) = within.min(axis=0), within.max(axis=0)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    _picture(ax)
    if note and left_out:
        ax.text(0.5, -0.02, left_out, transform=ax.transAxes, ha="center", va="top", fontsize=7.5, color=_INK)
    if colorbar:
        bar = ax.figure.colorbar(discs, ax=ax, shrink=0.5, aspect=25, pad=0.01, label="points in the node")
        bar.outline.set_visible(False)
        ticks = _count_ticks(discs.norm)
        bar.set_ticks(ticks, labels=ticks)
        bar.minorticks_off()
    return ax.figure


def mappers(labelled, *, columns=4, height=1.9, thumbnails=8, side=0.16, **style):
    """Mapper graphs side by side, such as those of one layer at several times.

    labelled: {text: (graph, points)} or pairs; columns: panels to a row, each `height` inches high; the rest as for
    `mapper`. There is no colour bar: blue is few and red many in each graph by itself.
    Returns the Figure. Raises as `mapper` does, and ValueError where there is no graph.
    """
    texts, graphs = _texts_and_values(labelled, "labelled")
    figure, axes = _wrapped(texts, columns, height)
    for ax, (graph, points) in zip(axes, graphs):
        mapper(graph, points, thumbnails=thumbnails, side=side, colorbar=False, note=False, ax=ax, **style)
    return figure


def _draw_graph(ax, positions, sizes, radii, ends):
    """Nodes as discs, the largest on top, over edges; returns the discs."""
    # antialiased, edges would double the bytes of the picture
    edges = LineCollection(ends, colors="0.86", linewidths=0.3, antialiased=False, zorder=1)
    order = np.argsort(sizes, kind="stable")
    across = 2 * radii[order]
    discs = EllipseCollection(
        across, across, np.zeros(len(order)), units="xy", offsets=positions[order], offset_transform=ax.transData,
        cmap=_COUNTS, norm=LogNorm(sizes.min(), max(sizes.max(), sizes.min() + 1)), edgecolors=_INK, linewidths=0.3,
        zorder=3,
    )
    discs.set_array(sizes[order])
    ax.add_collection(edges)
    ax.add_collection(discs)
    return discs


def _layout(graph, points, layout):
    if isinstance(layout, str):
        if layout not in ("lens", "force"):
            raise ValueError(f"layout = {layout!r} must be 'lens', 'force' or positions of shape (nodes, 2)")
        positions = Lens().fit(points).transform(node_means(graph, points))
        if layout == "force":
            rounds = min(200, max(50, 100_000 // graph.vcount()))  # 2 s for 5,000 nodes
            igraph.set_random_number_generator(random.Random(0))  # else no two runs agree
            positions = np.array(graph.layout_fruchterman_reingold(seed=positions.tolist(), niter=rounds).coords)
            igraph.set_random_number_generator(random)
        return positions
    positions = as_points(layout, "layout").astype(float)
    if positions.shape != (graph.vcount(), 2):
        raise ValueError(f"layout must have shape ({graph.vcount()}, 2), one position a node, not {positions.shape}")
    return positions


def _large_components(graph, n, smallest):
    """Nodes (m,) of the components that hold enough of n points, the largest always; and a note on the others."""
    elements = graph.vs["node_elements"]
    components = [np.array(nodes) for nodes in graph.connected_components()]
    held = np.array([len(np.unique(np.concatenate([elements[i] for i in nodes]))) for nodes in components])
    large = (held >= smallest * n) | (held == held.max())
    nodes = np.sort(np.concatenate([nodes for nodes, is_large in zip(components, large) if is_large]))
    if large.all():
        return nodes, ""
    small = (~large).sum()
    hidden = held[~large].sum()
    return nodes, f"not drawn: {hidden} point{'s' * (hidden > 1)} in {small} small component{'s' * (small > 1)}"


def _edges_within(graph, nodes):
    edges = np.array(graph.get_edgelist(), int).reshape(-1, 2)
    drawn = np.zeros(graph.vcount(), bool)
    drawn[nodes] = True
    return edges[drawn[edges].all(axis=1)]


def _radii(sizes):
    """Radii of nodes as a share of the graph's extent: between a third and the whole of one that suits their number."""
    largest = np.clip(0.3 / sqrt(len(sizes)), 0.006, 0.025)
    return largest * (1 + 2 * np.log(sizes) / np.log(max(2, sizes.max()))) / 3


def _count_ticks(norm):
    """1, 2, 5, 10, 20, 50, … as far as the norm reaches."""
    ticks = np.outer(10 ** np.arange(10), [1, 2, 5]).ravel()
    ticks = ticks[(ticks >= norm.vmin) & (ticks <= norm.vmax)]
    return ticks if len(ticks) > 1 else np.array([norm.vmin, norm.vmax], int)


def _beside(positions, radii, ends, count, side):
    """Nodes (m,) well spread over the rims of a drawing, and centres (m, 2) for a box beside each: m <= count.

    A box covers no node, edge, box or leader. It lies near its node, rather outwards than inwards.
    """
    reach, free = _free_places(positions, radii, ends, side)
    rim = np.flatnonzero(reach <= side + radii.max())
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
    anchors, centres = [], np.zeros((0, 2))
    for anchor in rim[_spread(positions[rim], middle, count, 1.4 * side)]:
        start = positions[anchor]
        centre = _best_place(free, start, start - middle, centres, side)
        if centre is None:
            continue
        anchors.append(anchor)
        centres = np.vstack([centres, centre])
        free = free[_chebyshev(free, centre[None]) > 1.15 * side]
        free = free[_chebyshev(free, _along(start, centre)) > 0.6 * side]
    return np.array(anchors, int), centres


def _spread(places, middle, count, apart):
    """Rows (m,) of places (p, 2) spread evenly whatever their density, m <= count, not much nearer than `apart`.

    Farthest-point sampling finds how many fit, and thins the places out; Lloyd's algorithm evens the gaps.
    """
    if not len(places):
        return np.zeros(0, int)
    rows, gaps = [np.linalg.norm(places - middle, axis=1).argmax()], [np.inf]
    nearest = np.linalg.norm(places - places[rows[0]], axis=1)
    while nearest.max() > apart / 12:
        rows.append(nearest.argmax())
        gaps.append(nearest.max())
        nearest = np.minimum(nearest, np.linalg.norm(places - places[rows[-1]], axis=1))
    thinned = places[rows]
    seeds = thinned[: min(count, np.searchsorted(-np.array(gaps), -apart))]
    means, _ = kmeans2(thinned, seeds, iter=100, minit="matrix")
    return np.unique(cKDTree(places).query(means)[1])


def _free_places(positions, radii, ends, side):
    """How far (nodes,) each node is from a place for a box, in the larger coordinate, and all such places (p, 2)."""
    cell = side / 8
    low, high = positions.min(axis=0) - 2.5 * side, positions.max(axis=0) + 2.5 * side
    blank = np.ones(np.ceil((high - low) / cell).astype(int) + 1, bool)

    def cells(places):
        return tuple(np.rint((places - low) / cell).astype(int).T)

    steps = min(64, 2 + int(np.abs(ends[:, 1] - ends[:, 0]).max(initial=0) / cell))
    blank[cells(_along(ends[:, 0], ends[:, 1], steps).reshape(-1, 2))] = False
    blank[cells(positions)] = False
    drawn = ndimage.distance_transform_edt(blank) * cell <= radii.max() + cell
    box = 2 * round(side / cell / 2) + 3
    free = ~ndimage.maximum_filter(drawn, box)
    reach = ndimage.distance_transform_cdt(~free, "chessboard")[cells(positions)] * cell
    return reach, np.argwhere(free) * cell + low


def _best_place(free, start, outward, centres, side):
    """Of the places (p, 2) the best near `start` whose leader crosses no box at centres (m, 2), if any."""
    free = free[_chebyshev(free, start[None]) < 2.5 * side]
    offsets = free - start
    distances = np.linalg.norm(offsets, axis=1)
    cosines = offsets @ outward / (distances * np.linalg.norm(outward) + 1e-12)
    costs = distances * (3 - cosines)
    for place in free[np.argsort(costs)[:200]]:
        if _chebyshev(_along(start, place), centres).min(initial=np.inf) > 0.6 * side:
            return place
    return None


def _along(start, end, steps=16):
    """Points (steps, ..., d) from start to end, both (..., d)."""
    share = np.linspace(0, 1, steps).reshape(-1, *[1] * np.ndim(start))
    return start * (1 - share) + end * share


def _chebyshev(places, others):
    """Largest coordinate difference from each place (p, 2) to the nearest of the others (m, 2); inf for none."""
    return np.abs(places[:, None] - others).max(axis=2).min(axis=1, initial=np.inf)


# Point clouds

def plane(points, *, rim=8, limit=None, ax=None):
    """The density of a cloud of patches on the plane of the primary circle, with edges around it for orientation.

    A patch lies where it brightens to: rightwards to the right, upwards to the top. The primary circle is the unit
    circle; patches inside it have other parts, such as lines.

    points: (n, 9), centred and of unit norm; rim: edges drawn around, 0 for none; limit: the share in per cent of the
    points that has the last colour, that of the fullest cell where None.
    Returns the Figure. Raises TypeError or ValueError for another shape.
    """
    ax = _axes(ax, 4.4, 3.6)
    cells = _draw_plane(ax, points, rim)
    cells.set_clim(0, None if limit is None else _positive(limit, "limit"))
    _plane_bar(cells, ax)
    return ax.figure


def planes(labelled, *, rim=8):
    """Clouds side by side as `plane` draws them, on one colour scale: {text: (n, 9)} or pairs. Returns the Figure."""
    texts, clouds = _texts_and_values(labelled, "labelled")
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


def _draw_plane(ax, points, rim):
    points = as_points(points)
    check_whole(rim, "rim", 0)
    if points.shape[1] != 9:
        raise ValueError(f"points must be 3x3 patches of shape (n, 9), not {points.shape}")
    right, down = (points @ models.primary_circle([0, np.pi / 2]).T).T
    cells = ax.hexbin(
        right, -down, C=np.full(len(points), 100 / len(points)), reduce_C_function=np.sum, gridsize=40,
        extent=(-1.05, 1.05, -1.05, 1.05), cmap=_DENSITY, linewidths=0.2, zorder=2,
    )
    cells.set_clim(0)
    _ring(ax, np.ones(2), _FAINT, linewidth=0.8)
    reach = 1.05
    if rim:
        angles = np.arange(rim) * 2 * np.pi / rim
        _draw_patches(ax, models.primary_circle(angles), 1.26 * _on_ring(angles), 0.24)
        reach = 1.42
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    ax.set(xlabel="brighter on the right", ylabel="brighter at the top")
    for side in ("left", "bottom"):
        ax.spines[side].set_bounds(-1, 1)
    ax.set_aspect("equal")
    return cells


def _plane_bar(cells, axes):
    bar = cells.axes.figure.colorbar(cells, ax=axes, shrink=0.7, aspect=25, pad=0.02, label="% of the points in a cell")
    bar.outline.set_visible(False)


def cloud(points, *, values=None, label=None, clusters=None, kept=None, ax=None):
    """A cloud in the plane, its points coloured by a value, marked by their cluster, or faint but for those kept.

    points: (n, 2); values: (n,) real, with `label` beside their colour bar; clusters: (n,) int, of which the largest
    seven have a colour and a marker each, and the others are gray crosses, counted above; kept: (m,) rows.
    Returns the Figure. Raises TypeError or ValueError for another shape, or for two of values, clusters and kept.
    """
    points = _as_plane(points)
    if sum(given is not None for given in (values, clusters, kept)) > 1:
        raise ValueError("points are coloured by values, by clusters or by what is kept, not by two of them")
    ax = _axes(ax, 3.6, 3.4)
    if clusters is not None:
        _draw_clusters(ax, points, _one_each(clusters, "clusters", len(points)))
    elif values is not None:
        values = _one_each(values, "values", len(points))
        dots = ax.scatter(*points.T, c=values, s=8, cmap=_AMOUNTS, linewidths=0)
        bar = ax.figure.colorbar(dots, ax=ax, shrink=0.7, aspect=25, pad=0.02, label=label)
        bar.outline.set_visible(False)
    elif kept is not None:
        ax.scatter(*points.T, s=4, color="0.75", linewidths=0, zorder=0)
        ax.scatter(*points[np.asarray(kept, int)].T, s=6, color=BLUE, linewidths=0)
    else:
        ax.scatter(*points.T, s=6, color=_INK, linewidths=0)
    ax.set_aspect("equal")
    ax.set(xlabel="$x$", ylabel="$y$")
    return ax.figure


def _as_plane(points):
    points = as_points(points)
    if points.shape[1] != 2:
        raise ValueError(f"points must lie in the plane, shape (n, 2), not {points.shape}")
    return points


def _one_each(values, name, n):
    values = np.asarray(values)
    if values.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one a point, not {values.shape}")
    return values


def _draw_clusters(ax, points, clusters):
    names, members, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    rank = np.empty(len(names), int)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(names))
    rank = rank[members]
    for place, (colour, marker) in enumerate(zip(PALETTE, _MARKERS)):
        if place < len(names):
            ax.scatter(*points[rank == place].T, s=12, color=colour, marker=marker, linewidths=0)
    others = len(names) - len(_MARKERS)
    if others > 0:
        small = points[rank >= len(_MARKERS)]
        ax.scatter(*small.T, s=10, color=_FAINT, marker="x", linewidths=0.7)
        ax.set_title(f"× {others} smaller", loc="right", fontsize=7.5, color=_INK)


def cover(lens, left, right, *, labels=("lens 1", "lens 2"), ax=None):
    """The overlapping bins of one lens or two, over the points that they sort (section 3).

    One lens: a bar an interval, in rows so that none covers another, with the number of its points, above a tick a
    point. Two lenses: the bins that hold points as rectangles, the fullest outlined.

    lens: (n,) or (n, k), k = 1 or 2; left, right: (k, intervals) ends of the open intervals along each lens, as
    `topo.mapper.IntervalCover` has them after `fit`; the outermost may be infinite. labels: of the lenses.
    Returns the Figure. Raises TypeError or ValueError for another shape.
    """
    lens = as_points(np.asarray(lens)[:, None] if np.ndim(lens) == 1 else lens, "lens")
    left, right = np.atleast_2d(np.asarray(left, float)), np.atleast_2d(np.asarray(right, float))
    k = lens.shape[1]
    if k not in (1, 2) or left.shape != right.shape or left.ndim != 2 or len(left) != k:
        raise ValueError(
            f"lens must have shape (n, k) with k = 1 or 2, not {lens.shape}, and left and right (k, intervals), "
            f"not {left.shape} and {right.shape}"
        )
    if not (left < right).all():
        raise ValueError("every interval's left end must lie below its right end")
    inside = (lens[:, :, None] > left) & (lens[:, :, None] < right)
    margin = 0.03 * np.ptp(lens, axis=0)[:, None]
    left = np.maximum(left, lens.min(axis=0)[:, None] - margin)
    right = np.minimum(right, lens.max(axis=0)[:, None] + margin)
    if k == 1:
        return _cover_of_one(lens[:, 0], left[0], right[0], inside[:, 0].sum(axis=0), labels[0], ax)
    return _cover_of_two(lens, left, right, inside, labels, ax)


def _cover_of_one(lens, left, right, counts, label, ax):
    rows, ends = np.zeros(len(left), int), []
    for i in np.argsort(left, kind="stable"):
        rows[i] = next((row for row, end in enumerate(ends) if end < left[i]), len(ends))
        ends[rows[i] : rows[i] + 1] = [right[i]]
    ax = _axes(ax, WIDTH, 0.9 + 0.3 * len(ends))
    bars = ax.barh(rows + 1, right - left, left=left, height=0.72, color=SKY, edgecolor=BLUE, linewidth=0.8)
    ax.bar_label(bars, counts, label_type="center", fontsize=7.5, color=_INK)
    ax.plot(lens, np.zeros(len(lens)), "|", color=_INK, markersize=9, markeredgewidth=0.4)
    ax.set(xlabel=label, ylim=(-0.5, len(ends) + 0.6), yticks=(0, (len(ends) + 1) / 2))
    ax.set_yticklabels(["points", "bins"])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return ax.figure


def _cover_of_two(lens, left, right, inside, labels, ax):
    ax = _axes(ax, 4.2, 3.8)
    counts = inside[:, 0].T.astype(int) @ inside[:, 1].astype(int)
    ax.scatter(*lens.T, s=4, color=_INK, linewidths=0, zorder=2)
    i, j = np.nonzero(counts)
    corners = np.stack([
        np.column_stack(corner)
        for corner in [
            (left[0, i], left[1, j]), (right[0, i], left[1, j]), (right[0, i], right[1, j]), (left[0, i], right[1, j])
        ]
    ], axis=1)
    ax.add_collection(PolyCollection(corners, facecolors=(BLUE, 0.05), edgecolors=SKY, linewidths=0.6))
    fullest = corners[counts[i, j].argmax()]
    ax.add_collection(PolyCollection([fullest], facecolors="none", edgecolors=ORANGE, linewidths=2, zorder=3))
    ax.annotate(
        f"{counts.max()} points", fullest[2], (0, 3), textcoords="offset points", ha="right", va="bottom",
        fontsize=8, color=_INK, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85}, zorder=4,
    )
    ax.set(xlabel=labels[0], ylabel=labels[1], aspect="equal")
    ax.autoscale_view()
    return ax.figure


def complex_at(points, landmarks, times, t, *, ax=None):
    """The lazy witness complex of a cloud in the plane at one parameter: edges, and triangles with all their edges.

    points: (n, 2); landmarks: (L,) rows of it; times: (L, L) as `topo.persistence.lazy_witness_times` returns them;
    t: in the unit of the points.
    Returns the Figure. Raises TypeError or ValueError for another shape.
    """
    points, landmarks, times = _as_plane(points), np.asarray(landmarks), np.asarray(times, float)
    if times.shape != (len(landmarks),) * 2:
        raise ValueError(f"times must have shape ({len(landmarks)}, {len(landmarks)}), one an edge, not {times.shape}")
    ax = _axes(ax, 3.2, 3.2)
    places = points[landmarks]
    joined = np.triu(times <= t, 1)
    a, b = np.nonzero(joined)
    edge, c = np.nonzero(joined[a] & joined[b])  # c joined to both ends, and after them
    triangles = places[np.column_stack([a[edge], b[edge], c])]
    ax.scatter(*points.T, s=4, color="0.75", linewidths=0, zorder=1)
    ax.add_collection(PolyCollection(triangles, facecolors=SKY, linewidths=0, alpha=0.35, zorder=2))
    ax.add_collection(LineCollection(places[np.column_stack([a, b])], colors=BLUE, linewidths=0.8, zorder=3))
    ax.scatter(*places.T, s=14, color=ORANGE, edgecolors="white", linewidths=0.4, zorder=4)
    _picture(ax)
    return ax.figure


def complexes(points, landmarks, times, ts, *, columns=4):
    """`complex_at` for several parameters ts, side by side. Returns the Figure."""
    ts = np.atleast_1d(np.asarray(ts, float))
    if not ts.size:
        raise ValueError("ts must hold one parameter or more")
    height = 0.25 + WIDTH / max(3, min(columns, len(ts)))
    figure, axes = _wrapped([f"$t = {t:g}$" for t in ts], columns, height, share=True)
    for ax, t in zip(axes, ts):
        complex_at(points, landmarks, times, t, ax=ax)
    return figure


# Numbers

def density_grid(values, ks, ps, *, label, mark=None, limits=None, ax=None):
    """A statistic over the density filtrations rho(k, p): a cell a filtration, its number written in it (section 4).

    values: (len(ks), len(ps)); inf is written ∞, NaN is left blank; ks, ps: the filtrations' parameters;
    label: of the statistic, with its unit; mark: a pair (k, p) to outline, such as the paper's; limits: the least and
    the largest value of the colours, to compare grids, those of the finite values where None.
    Returns the Figure. Raises ValueError for another shape, or a mark that is not on the grid.
    """
    values, ks, ps = np.asarray(values, float), list(ks), list(ps)
    if values.shape != (len(ks), len(ps)) or not values.size:
        raise ValueError(f"values must have shape ({len(ks)}, {len(ps)}), one for each k and p, not {values.shape}")
    if mark is not None and not (mark[0] in ks and mark[1] in ps):
        raise ValueError(f"mark = {mark!r} must be one of the pairs of ks = {ks} and ps = {ps}")
    ax = _axes(ax, min(WIDTH, 1.8 + 0.62 * len(ps)), 0.9 + 0.36 * len(ks))
    if limits is None:
        finite = values[np.isfinite(values)]
        limits = (finite.min(), finite.max()) if len(finite) else (0, 1)
    norm = Normalize(limits[0], limits[1] if limits[1] > limits[0] else limits[0] + 1)
    shown = np.clip(values, norm.vmin, norm.vmax)
    image = ax.imshow(np.ma.masked_invalid(shown), norm=norm, cmap=_AMOUNTS, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        light = norm(shown[row, column]) > 0.55
        ax.text(column, row, _short(value), ha="center", va="center", fontsize=8, color="black" if light else "white")
    if mark is not None:
        corner = ps.index(mark[1]) - 0.5, ks.index(mark[0]) - 0.5
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ORANGE, linewidth=2.5, clip_on=False, zorder=3))
    ax.set_xticks(range(len(ps)), [f"{p:g}" for p in ps])
    ax.set_yticks(range(len(ks)), [f"{k:g}" for k in ks])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="share of the points kept, $p$", ylabel="neighbour, $k$")
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, label=label)
    bar.outline.set_visible(False)
    return ax.figure


def histogram(values, *, label, bins=40, mark=None, mark_label=None, ax=None):
    """How many values fall into each of equal bins, on a logarithmic count axis: single far ones stay visible.

    values: (n,) finite; label: of the values, with their unit; mark: a value to draw a line at, mark_label: its text.
    Returns the Figure. Raises TypeError or ValueError for values of another form.
    """
    values = as_points(np.asarray(values)[None], "values")[0]
    ax = _axes(ax, 4.8, 2.4)
    ax.hist(values, bins=bins, color=SKY, edgecolor=BLUE, linewidth=0.5, log=True)
    ax.set(xlabel=label, ylabel="count", ylim=(0.7, None))
    if mark is not None:
        ax.axvline(mark, color=ORANGE, linewidth=1.5, linestyle="--")
        far = mark > np.mean(ax.get_xlim())
        ax.annotate(
            mark_label or f"{mark:.3g}", (mark, 1), (-4 if far else 4, 0), ax.get_xaxis_transform(),
            textcoords="offset points", ha="right" if far else "left", va="top", fontsize=8, color=_INK,
        )
    return ax.figure


def strip(groups, *, label, ax=None):
    """Every value of several groups as a dot, a row a group, with a line and a number at the median.

    groups: {text: (n,)} or pairs, such as test accuracies of a population; label: of the values, with their unit.
    Returns the Figure. Raises TypeError or ValueError for values of another form, or for no group.
    """
    texts, groups = _texts_and_values(groups, "groups")
    groups = [as_points(np.asarray(values)[None], "values")[0] for values in groups]
    ax = _axes(ax, 5.2, 0.7 + 0.42 * len(groups))
    for row, (values, colour, marker) in enumerate(zip(groups, cycle(PALETTE), cycle(_MARKERS))):
        spread = 0.4 * ((np.arange(len(values)) * 0.6180339887) % 1 - 0.5)  # the golden ratio: even, never random
        ax.scatter(values, row + spread, s=12, color=colour, marker=marker, alpha=0.6, linewidths=0)
        median = np.median(values)
        ax.plot([median, median], [row - 0.32, row + 0.32], color=_INK, linewidth=1.5)
        ax.text(1.02, row, f"{median:.3g}", transform=ax.get_yaxis_transform(), va="center", fontsize=8, color=_INK)
    ax.text(1.02, 1, "median", transform=ax.transAxes, va="bottom", fontsize=7.5, color=_FAINT)
    ax.set_yticks(range(len(groups)), texts)
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(label)
    return ax.figure


def timeline(x, bands, *, label, marks=None, line=None, xlabel="batch iteration", ax=None):
    """Values against time as lines with bands: the median of several draws, between the lowest and the highest.

    x: (times,) ascending; bands: {text: (draws, times)} or pairs, one row where nothing varies; label: of the values,
    with their unit; marks: {text: time}, each a vertical line; line: a value to compare with, a horizontal one.
    Returns the Figure. Raises TypeError or ValueError for another shape, or for no band.
    """
    texts, bands = _texts_and_values(bands, "bands")
    bands = [as_points(np.atleast_2d(values), f"bands[{text!r}]") for text, values in zip(texts, bands)]
    for text, values in zip(texts, bands):
        if values.shape[1] != len(x):
            raise ValueError(f"bands[{text!r}] has {values.shape[1]} times, x has {len(x)}")
    ax = _axes(ax, WIDTH, 2.4)
    for text, values, colour, marker in zip(texts, bands, cycle(PALETTE), cycle(_MARKERS)):
        ax.plot(x, np.median(values, axis=0), color=colour, marker=marker, markersize=4, linewidth=1.5, label=text)
        if len(values) > 1:
            ax.fill_between(x, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.18, linewidth=0)
    if line is not None:
        ax.axhline(line, color=_FAINT, linewidth=0.8, linestyle="--", zorder=1)
    for text, time in (marks or {}).items():
        ax.axvline(time, color=_FAINT, linewidth=0.8, linestyle=":", zorder=1)
        ax.annotate(
            text, (time, 1), xycoords=("data", "axes fraction"), xytext=(1, -2), textcoords="offset points",
            rotation=90, ha="left", va="top", fontsize=7, color=_INK,
        )
    ax.set(xlabel=xlabel, ylabel=label)
    if marks:
        low, high = ax.get_ylim()
        ax.set_ylim(low, low + (high - low) / 0.65)  # the labels of the marks stand above the curves
    if len(bands) > 1:
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=len(bands))
    return ax.figure


def costs(panels_of_curves, *, columns=3):
    """What a computation costs against the number of points, both logarithmic, a panel for each computation.

    panels_of_curves: {text above the panel: {name: (points, seconds)}}, points and seconds positive and of one length.
    The first name of a panel is drawn thick. The grey line has cost in proportion to the points, for the eye.
    Raises ValueError where there is nothing to draw or a value is not positive.
    """
    labels, curves = _texts_and_values(panels_of_curves, "panels_of_curves")
    figure, axes = _wrapped(labels, columns, 3.6, share=True)
    for ax, each in zip(axes, curves):
        names, pairs = _texts_and_values(each, "curves")
        for number, (name, (points, seconds), marker) in enumerate(zip(names, pairs, cycle(_MARKERS))):
            _positive(min(*points, *seconds), f"the least value of {name}")
            style = dict(linewidth=2.4, zorder=5) if number == 0 else dict(linewidth=1.0)
            ax.loglog(points, seconds, marker=marker, markersize=4, color=PALETTE[number % len(PALETTE)], label=name, **style)
        points, seconds = (np.asarray(values, float) for values in pairs[0])
        ax.loglog(points, seconds[-1] * points / points[-1], color=_FAINT, linewidth=0.8, linestyle=":", label="in proportion", zorder=1)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("points")
        ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2))
    for ax in axes[::columns]:
        ax.set_ylabel("seconds")
    return figure


class Slides:
    """Pictures of which a page shows one at a time, with a slider and a button that plays them; `slides` makes it.

    All of it is in the page: nothing is fetched, and where scripts are off the first picture stays.
    """

    _SHOW = (
        "const box = this.closest('figure'), images = [...box.querySelectorAll('img')];"
        "images.forEach((image, i) => {image.hidden = i != this.value});"
        "box.querySelector('output').value = images[this.value].alt"
    )
    _PLAY = (
        "const slider = this.parentNode.querySelector('input'), last = Number(slider.max);"
        "const go = i => {slider.value = i; slider.oninput()};"
        "if (this.timer) {clearInterval(this.timer); this.timer = 0; return}"
        "if (slider.value == last) go(0);"
        "this.timer = setInterval(() => {"
        "if (slider.value == last || !this.isConnected) {clearInterval(this.timer); this.timer = 0; return}"
        "go(Number(slider.value) + 1)}, 700)"
    )

    def __init__(self, texts, pictures):
        self.texts, self._pictures = texts, pictures

    def _repr_html_(self):
        images = "\n".join(
            f'<img alt="{escape(text)}" src="data:image/png;base64,{b64encode(picture).decode()}"{" hidden" * (i > 0)}>'
            for i, (text, picture) in enumerate(zip(self.texts, self._pictures))
        )
        return (
            f'<figure style="margin: 0">\n{images}\n<div style="display: flex; gap: 0.7em; align-items: center">'
            f'<button type="button" aria-label="play or stop" onclick="{escape(self._PLAY)}">▶</button>'
            f'<input type="range" min="0" max="{len(self.texts) - 1}" value="0" step="1" aria-label="picture" '
            f'style="flex: 1; max-width: 24em" oninput="{escape(self._SHOW)}">'
            f"<output>{escape(self.texts[0])}</output></div>\n</figure>"
        )

    def __repr__(self):
        return f"{len(self.texts)} pictures: {', '.join(self.texts)}"


def slides(labelled):
    """Pictures to slide through, such as one a time of training: {text: Figure} or pairs, in order.

    Returns Slides. Raises ValueError where there is no picture.
    """
    texts, drawn = _texts_and_values(labelled, "labelled")
    pictures = []
    for figure in drawn:
        whole, small = BytesIO(), BytesIO()
        figure.savefig(whole, format="png")  # not cut to what is drawn: all must be of one size
        Image.open(whole).convert("RGB").quantize(128).save(small, "png", optimize=True)  # a third of the bytes
        pictures.append(small.getvalue())
    return Slides(texts, pictures)


class Table:
    """A table that a notebook shows in HTML, and everything else as plain text; `table` makes it."""

    def __init__(self, header, rows):
        self.header, self.rows = header, rows

    def _repr_html_(self):
        def line(cells, tag):
            return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "\n".join(line(row, "td") for row in self.rows)
        head = line(self.header, "th")
        return f'<table class="dataframe">\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>'

    def __repr__(self):
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def table(header, rows):
    """A table, such as "paper / ours / difference"; whole numbers are grouped by thousands, others have three digits.

    header: (columns,) texts; rows: lists of as many cells, texts or numbers.
    Returns a Table. Raises ValueError where a row has another number of cells.
    """
    header, rows = list(header), [list(row) for row in rows]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"row {row} has {len(row)} cells for {len(header)} columns")
    return Table(list(map(_cell, header)), [list(map(_cell, row)) for row in rows])


def _cell(value):
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    return f"{value:,}" if isinstance(value, Integral) else _short(value)
