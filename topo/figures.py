"""Static matplotlib pictures of barcodes, patches, clouds and Mapper graphs; the only module that plots.

Knows arrays, barcodes and graphs; must not know where they come from, nor compute the results that it shows.
"""
from math import floor, isqrt, log10, sqrt

import matplotlib
import numpy as np
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from scipy import ndimage

from topo import models
from topo.filters import as_points, check_whole

# Every function that draws takes `ax`, the matplotlib Axes to draw on, and makes a Figure of its own where it is
# None; every one returns the Figure. Figures are made without pyplot: a notebook shows one once, as a cell's result,
# and nothing has to be closed.

WIDTH = 7.2  # inches: the book's column
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, YELLOW = PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442"
)  # Okabe & Ito 2008: told apart by colour-blind readers
_MARKERS = "o^sDvPX"
_INK, _FAINT = "0.25", "0.55"
_COUNTS = "RdYlBu_r"  # blue to red, as in the paper
_AMOUNTS = "cividis"


def use_style():
    """Set matplotlib's defaults to the book's: once a chapter, before the first figure."""
    matplotlib.rcParams.update({
        "figure.dpi": 120,
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


def _axes(ax, width, height):
    return Figure((width, height), layout="constrained").subplots() if ax is None else ax


def _picture(ax):
    """An Axes for shapes, not for numbers: equal units, nothing but what is drawn on it."""
    ax.set_aspect("equal")
    ax.set_axis_off()


# Barcodes

def barcode(bars, *, dimensions=(0, 1), max_bars=30, limit=None, label="lazy witness parameter $t$", ax=None):
    """A barcode: one group of bars a homology dimension, longest first, the longest lengths beside it (section 2).

    A bar that never dies ends in an arrow and has length ∞.

    bars: {dimension: (b, 2)} births and deaths, as `topo.persistence.lazy_witness_barcode` returns them.
    dimensions: which to draw, from the top; max_bars: the most bars to draw of each, the rest are counted;
    limit: right end of the axis, just beyond the last birth or death where None; label: of the axis.
    Returns the Figure. Raises TypeError or ValueError for a barcode without those dimensions or of another form.
    """
    bars = _check_barcode(bars, dimensions)
    check_whole(max_bars, "max_bars", 1)
    rows = _barcode_rows([bars], max_bars)
    ax = _axes(ax, WIDTH, _barcode_height(rows))
    _draw_barcode(ax, bars, rows, max_bars, _barcode_limit([bars]) if limit is None else limit)
    ax.set_xlabel(label)
    return ax.figure


def barcodes(labelled, *, dimensions=(0, 1), max_bars=30, columns=3, label="lazy witness parameter $t$"):
    """Barcodes side by side on one scale, so that their bars compare.

    labelled: {text: barcode} or pairs (text, barcode); columns: panels to a row; the rest as for `barcode`.
    Returns the Figure. Raises as `barcode` does, and ValueError where there is none.
    """
    labelled = [(text, _check_barcode(bars, dimensions)) for text, bars in dict(labelled).items()]
    if not labelled:
        raise ValueError("labelled must hold one barcode or more")
    check_whole(max_bars, "max_bars", 1)
    check_whole(columns, "columns", 1)
    columns = min(columns, len(labelled))
    texts, every = zip(*labelled)
    rows, limit = _barcode_rows(every, max_bars), _barcode_limit(every)
    lines = -(-len(labelled) // columns)
    figure, axes = panels(lines, columns, height=_barcode_height(rows))
    for ax in axes[len(labelled):]:
        ax.remove()
    for ax, text, bars in zip(axes, texts, every):
        _draw_barcode(ax, bars, rows, max_bars, limit)
        ax.set_title(text)
    figure.supxlabel(label, fontsize=matplotlib.rcParams["axes.labelsize"])
    return figure


_NOTED = 3  # lengths written beside a group
_GROUP_ROWS = 8  # the least height of a group: room for what is written beside it


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
    return 0.75 + 0.055 * (sum(rows.values()) + 2 * len(rows))


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
        y = top + np.arange(len(births))
        ends = np.minimum(deaths, limit)
        ax.barh(y, ends - births, left=births, height=0.62, color=colour, linewidth=0)
        endless = y[np.isinf(deaths)]
        ax.plot(np.full(len(endless), limit), endless, ">", color=colour, markersize=5, clip_on=False, zorder=3)
        for line, note in enumerate(_barcode_notes(pairs, max_bars, decimals)):
            ax.text(
                1.03, top + 2.5 * line - 0.5, note, transform=ax.get_yaxis_transform(), va="top", fontsize=7.5, color=_INK
            )
        centres.append(top + (rows[dimension] - 1) / 2)
        top += rows[dimension] + 2
    ax.set_xlim(0, limit)
    ax.set_ylim(top - 2, -1)
    ax.set_yticks(centres, [f"$H_{dimension}$" for dimension in bars])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _barcode_notes(pairs, max_bars, decimals):
    lengths = pairs[:, 1] - pairs[:, 0]
    notes = ["∞" if np.isinf(length) else f"{length:.{decimals}f}" for length in lengths[:_NOTED]]
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
    if labels is not None and len(labels) != len(vectors):
        raise ValueError(f"there are {len(labels)} labels for {len(vectors)} patches")
    columns = min(columns, len(vectors))
    rows = -(-len(vectors) // columns)
    across, down = 1.25, 1.25 if labels is None else 1.6
    side = min(0.75, WIDTH / (columns * across))
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


def _as_patches(vectors, name="patches"):
    vectors = as_points(vectors, name).astype(float)
    width = isqrt(vectors.shape[1])
    if width**2 != vectors.shape[1]:
        raise ValueError(f"{name} must be square, of shape (n, w*w), not {vectors.shape}")
    return vectors


def _draw_patches(ax, vectors, centres, side, limit=None, frame=_INK, width=0.6, zorder=4):
    """Patches (n, w*w) with their centres at (n, 2) and sides in the unit of the axes; frame: one colour or n."""
    n, cells = vectors.shape
    limits = np.abs(vectors).max(axis=1, keepdims=True) if limit is None else limit
    grays = np.clip(0.5 + 0.5 * np.divide(vectors, limits, out=np.zeros_like(vectors), where=limits != 0), 0, 1)
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]) * side
    down, across = np.divmod(np.arange(cells), isqrt(cells))
    offsets = (np.column_stack([across, -down]) / isqrt(cells) + [-0.5, 0.5]) * side
    offsets += np.array([0.5, -0.5]) * side / isqrt(cells)
    squares = centres[:, None, None] + offsets[:, None] + corners / isqrt(cells)
    colours = np.repeat(grays.reshape(-1, 1), 3, axis=1)
    ax.add_collection(
        PolyCollection(squares.reshape(-1, 4, 2), facecolors=colours, linewidths=0, antialiased=False, zorder=zorder),
        autolim=False,
    )
    ax.add_collection(
        PolyCollection(centres[:, None] + corners, facecolors="none", edgecolors=frame, linewidths=width, zorder=zorder),
        autolim=False,
    )


def circle_of_patches(vectors, angles, *, label=None, colour=_FAINT, ax=None):
    """Patches around a ring.

    vectors: (n, w*w); angles: (n,) in radians, from the right and clockwise, as y points downwards in a patch: so
    every patch of the primary circle brightens outwards. label: a text at the centre; colour: of the ring.
    Returns the Figure. Raises TypeError or ValueError for another shape.
    """
    vectors, angles = _as_patches(vectors), np.asarray(angles, float)
    if angles.shape != (len(vectors),):
        raise ValueError(f"angles must have shape ({len(vectors)},), one a patch, not {angles.shape}")
    ax = _axes(ax, 3.2, 3.2)
    side = min(0.42, 0.8 * 2 * np.pi / len(vectors))
    _ring(ax, np.ones(2), colour)
    _draw_patches(ax, vectors, _on_ring(angles), side)
    if label is not None:
        ax.text(0, 0, label, ha="center", va="center", fontsize=9, color=_INK)
    reach = 1.02 + side / 2
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    _picture(ax)
    return ax.figure


def _on_ring(angles):
    return np.column_stack([np.cos(angles), -np.sin(angles)])


def _ring(ax, radii, colour, **style):
    ax.plot(*(_on_ring(np.linspace(0, 2 * np.pi, 361)) * radii).T, color=colour, **{"linewidth": 1.5, "zorder": 1, **style})


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
    ax = _axes(ax, WIDTH, 4.6)
    theta = np.arange(steps) * 2 * np.pi / steps
    phi = np.array([-0.23, 0, 0.23, 0.77, 1, 1.23]) * np.pi  # away from the primary circle and from the crossings
    vertical, horizontal = models.secondary_circles(phi)
    _ring(ax, np.ones(2), BLUE)
    for patches, radii, turn, colour, name in [
        (vertical, (1, 0.42), np.pi / 2, ORANGE, "vertical"),
        (horizontal, (0.42, 1), 0, GREEN, "horizontal"),
    ]:
        _ring(ax, radii, "white", linewidth=7)
        _ring(ax, radii, colour)
        _draw_patches(ax, patches, _on_ring(phi - turn) * radii, 0.17, frame=colour, width=1.2)
    _draw_patches(ax, models.primary_circle(theta), _on_ring(theta), 0.21, frame=BLUE, width=1.2)
    ax.set(xlim=(-1.9, 1.9), ylim=(-1.15, 1.15))
    _picture(ax)
    return ax.figure


# Mapper graphs

def mapper(graph, points, *, thumbnails=20, layout="lens", smallest=0.01, side=0.09, colorbar=True, ax=None):
    pass
