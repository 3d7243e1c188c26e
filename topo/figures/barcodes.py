"""Pictures of barcodes, one or several on the same scale.

Knows births and deaths by dimension; must not know how they were computed.
"""

from collections.abc import Iterable, Mapping, Sequence, Sized
from math import floor, isqrt, log10
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from topo.checks import as_points, check_whole
from topo.figures.packing import gray_levels, packed
from topo.figures.style import (
    FAINT,
    INK,
    NARROW,
    PALETTE,
    Figure,
    Labelled,
    axes_for,
    check_positive,
    texts_and_values,
    wrapped_panels,
)
from topo.types import Barcode, Number, Real, Whole

Cycles = Sequence[Real[np.ndarray, "_landmarks _pixels"]]  # patches along a cycle, for each bar of dimension 1

_NOTED = 6  # the most lengths written beside a group
_ROW = 0.042  # inches from bar to bar
_NOTE_ROWS = 3.3  # rows that a line of text beside a group takes
_GROUP_ROWS = 13  # the fewest rows of a group, which leave room for four lines of text
_NOTED_BELOW = 3  # the most lengths written below a small barcode
_BELOW_ROWS = 7  # the rows that they take there, with the number of the bars that are not drawn


def barcode(
    bars: Barcode,
    *,
    dimensions: Sequence[int] = (0, 1),
    max_bars: Whole = 30,
    limit: Number | None = None,
    label: str = "lazy witness parameter $t$",
    ax: Axes | None = None,
) -> FigureBase:
    """A barcode: one group of bars for each homology dimension, the longest bar first (the paper's section 2).

    The lengths of the longest bars are written beside each group; where no more than 13 bars of one dimension are asked
    for, they are written in one line below the bars. A bar that goes on beyond the end of the axis has an arrow there;
    the length of a bar that never dies is written ∞.

    bars: as `topo.persistence.lazy_witness_barcode` returns them.
    dimensions: which to draw, from top to bottom; max_bars: the most bars to draw of each dimension, the number of the
    others is written beside them; limit: right end of the axis, a little beyond the last finite birth or death where
    None; label: of the axis.
    Raises TypeError or ValueError for a barcode without those dimensions or of another form.
    """
    bars = _check_barcode(bars, dimensions)
    check_whole(max_bars, "max_bars", 1)
    limit = _barcode_limit([bars]) if limit is None else check_positive(limit, "limit")
    rows = _barcode_rows([bars], max_bars)
    ax = axes_for(ax, NARROW, _barcode_height(rows))
    _draw_barcode(ax, bars, rows, max_bars, limit)
    ax.set_xlabel(label)
    return ax.figure


def barcodes(
    labelled: Labelled[Barcode],
    *,
    dimensions: Sequence[int] = (0, 1),
    max_bars: Whole = 30,
    columns: Whole = 3,
    label: str = "lazy witness parameter $t$",
) -> Figure:
    """Barcodes side by side on the same scale, so that their bars can be compared.

    labelled: each barcode with the text above it; columns: panels in a row; the other arguments are as for `barcode`.
    Raises as `barcode` does, and ValueError where there is no barcode.
    """
    texts, given = texts_and_values(labelled, "labelled")
    every = [_check_barcode(bars, dimensions) for bars in given]
    check_whole(max_bars, "max_bars", 1)
    rows, limit = _barcode_rows(every, max_bars), _barcode_limit(every)
    figure, axes = wrapped_panels(texts, columns, _barcode_height(rows))
    for ax, bars in zip(axes, every):
        _draw_barcode(ax, bars, rows, max_bars, limit)
    figure.supxlabel(label, fontsize=matplotlib.rcParams["axes.labelsize"])
    return figure


def loop_explorer(
    labelled: Labelled[tuple[Barcode, Cycles]],
    *,
    max_bars: Whole = 30,
    columns: Whole = 3,
    label: str = "lazy witness parameter $t$",
) -> Figure:
    """The picture that `barcodes` makes, which in a page also answers: point at a bar of a loop, tap it or go there.

    It then shows the filters that the bar's loop goes through, when the bar is born and how long it is.

    labelled: each barcode, of dimensions 0 and 1, with a cycle for each bar of dimension 1, in their order: the square
    patches along it, which are the rows of `topo.evidence.Loops.cycles`; of the bars that have none nothing is shown
    but their times. The other arguments are as for `barcodes`.
    Raises as `barcodes` does, and ValueError where there are more cycles than bars, or points are no square patches.
    """
    texts, given = texts_and_values(labelled, "labelled")
    figure = barcodes(
        [(text, bars) for text, (bars, _) in zip(texts, given)], max_bars=max_bars, columns=columns, label=label
    )
    limit = _barcode_limit([bars for bars, _ in given])
    figure.answers = {
        "kind": "bars",
        "limit": limit,
        "ticks": [float(f"{tick:.6g}") for tick in MaxNLocator(5).tick_values(0, limit) if 0 <= tick <= limit],
        "label": label.replace("$", ""),
        "pixels": next((as_points(cycle, "cycle").shape[1] for _, cycles in given for cycle in cycles), 1),
        "panels": [
            {"label": text, "groups": _groups(bars, cycles, max_bars, limit)}
            for text, (bars, cycles) in zip(texts, given)
        ],
    }
    return figure


def _groups(bars: Barcode, cycles: Cycles, max_bars: Whole, limit: Number) -> list[dict[str, Any]]:
    """What bars.js draws of a barcode: a group for each dimension, cycles beside the bars of dimension 1."""
    if len(cycles) > len(bars[1]):
        raise ValueError(f"there are {len(cycles)} cycles for {len(bars[1])} bars of dimension 1")
    groups = []
    for dimension, pairs in _check_barcode(bars, (0, 1)).items():
        shown = [[float(f"{time:.4g}") if np.isfinite(time) else None for time in pair] for pair in pairs[:max_bars]]
        notes = _barcode_notes(pairs, _GROUP_ROWS, max_bars, max(0, 2 - floor(log10(limit))))
        group: dict[str, Any] = {
            "name": "H" + "₀₁"[dimension],
            "color": PALETTE[dimension],
            "bars": shown,
            "notes": notes,
        }
        groups.append(group)
    through = [as_points(cycle, "cycle") for cycle in cycles]
    for cycle in through:
        if isqrt(cycle.shape[1]) ** 2 != cycle.shape[1]:
            raise ValueError(f"a cycle {cycle.shape} has no square patches (n, w*w) to show")
    told: list[str | None] = [packed(gray_levels(cycle.astype(float)), 1) for cycle in through]
    told += [None] * (len(bars[1]) - len(told))
    births, deaths = np.asarray(bars[1], float).T
    groups[1]["cycles"] = [told[i] for i in np.argsort(births - deaths, kind="stable")[:max_bars]]
    return groups


def _check_barcode(bars: Barcode, dimensions: Iterable[int]) -> Barcode:
    """The bars of the wanted dimensions, checked, with the longest first."""
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


def _barcode_rows(every: Sequence[Barcode], max_bars: Whole) -> dict[int, int]:
    """How many rows the group of each dimension takes, the same in all barcodes."""
    most = {dim: min(int(max_bars), max(len(bars[dim]) for bars in every)) for dim in every[0]}
    below = _BELOW_ROWS if _is_small(most, max_bars) else 0
    return {dim: max(_GROUP_ROWS, drawn + below) for dim, drawn in most.items()}


def _is_small(groups: Sized, max_bars: Whole) -> bool:
    """Whether a barcode has one group of few bars, which lines of text beside it would seem to be labels of."""
    return len(groups) == 1 and int(max_bars) <= _GROUP_ROWS


def _barcode_height(rows: Mapping[int, int]) -> float:
    return 0.75 + _ROW * (sum(rows.values()) + 2 * len(rows))


def _barcode_limit(every: Sequence[Barcode]) -> float:
    """The right end of an axis for all barcodes: 5 % beyond the last finite birth or death."""
    times = np.concatenate([pairs.ravel() for bars in every for pairs in bars.values()] + [np.zeros(0)])
    times = times[np.isfinite(times)]
    return 1.05 * times.max() if len(times) and times.max() > 0 else 1.0


def _draw_barcode(ax: Axes, bars: Barcode, rows: Mapping[int, int], max_bars: Whole, limit: Number) -> None:
    decimals = max(0, 2 - floor(log10(limit)))
    small, top, centres = _is_small(bars, max_bars), 0, []
    for dimension, pairs in bars.items():
        colour = PALETTE[dimension % len(PALETTE)]
        births, deaths = pairs[:max_bars].T
        births = np.minimum(births, limit)
        y = top + np.arange(len(births))
        ax.barh(y, np.minimum(deaths, limit) - births, left=births, height=0.62, color=colour, linewidth=0)
        on = y[deaths > limit]
        ax.scatter(np.full(len(on), limit), on, marker=">", s=25, color=colour, clip_on=False, zorder=3)
        if small:
            below = _below(pairs, max_bars, decimals)
            ax.text(0, 0.02, below, transform=ax.transAxes, va="bottom", fontsize=7.5, color=INK)
        for line, note in enumerate([] if small else _barcode_notes(pairs, rows[dimension], max_bars, decimals)):
            beside = {"transform": ax.get_yaxis_transform(), "va": "top", "fontsize": 7.5, "color": INK}
            ax.text(1.03, top + _NOTE_ROWS * line - 0.5, note, **beside)
        centres.append(top + (rows[dimension] - 1) / 2)
        top += rows[dimension] + 2
    if not small:
        ax.text(1.03, 1.0, "longest", transform=ax.transAxes, va="bottom", fontsize=7.5, color=FAINT)
    ax.set_xlim(0, limit)
    ax.set_ylim(top - 2, -1)
    ax.set_yticks(centres, [f"$H_{dimension}$" for dimension in bars])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _barcode_notes(pairs: Float[np.ndarray, "bars 2"], rows: int, max_bars: Whole, decimals: int) -> list[str]:
    """The texts beside a group: the longest lengths, and how many bars are not drawn."""
    notes = _lengths(pairs[: min(_NOTED, int(rows / _NOTE_ROWS))], decimals)
    return notes + _not_drawn(pairs, max_bars) or ["no bars"]


def _below(pairs: Float[np.ndarray, "bars 2"], max_bars: Whole, decimals: int) -> str:
    """The text below a small barcode: the longest lengths in one line, and how many bars are not drawn in the next."""
    longest = "longest: " + ", ".join(_lengths(pairs[: min(_NOTED_BELOW, int(max_bars))], decimals))
    return "\n".join([longest, *_not_drawn(pairs, max_bars)]) if len(pairs) else "no bars"


def _lengths(pairs: Float[np.ndarray, "bars 2"], decimals: int) -> list[str]:
    return ["∞" if np.isinf(length) else f"{length:.{decimals}f}" for length in pairs[:, 1] - pairs[:, 0]]


def _not_drawn(pairs: Float[np.ndarray, "bars 2"], max_bars: Whole) -> list[str]:
    return [f"{len(pairs) - max_bars} not drawn"] if len(pairs) > max_bars else []
