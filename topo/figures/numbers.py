"""Pictures of plain numbers: a grid of a statistic, counts, groups, values over time and costs.

Knows arrays of numbers with their labels; must not know how they were measured.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import FigureBase
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from topo.checks import as_points, check_whole
from topo.claims import CLAIMS, MOST, REGION, SOME, VERDICTS, Ruling
from topo.figures.style import (
    AMOUNTS,
    BLUE,
    FAINT,
    GREEN,
    INK,
    MARKERS,
    NARROW,
    ORANGE,
    PALETTE,
    SKY,
    WIDTH,
    YELLOW,
    Figure,
    Labelled,
    axes_for,
    check_positive,
    panels,
    short_number,
    texts_and_values,
    wrapped_panels,
)
from topo.learning import Judgement
from topo.types import Number, Real, Row, Whole


def density_grid(
    values: Real[np.ndarray, "ks ps"] | Sequence[Row],
    ks: Sequence[Whole],
    ps: Sequence[Number],
    *,
    label: str,
    mark: tuple[Whole, Number] | None = None,
    limits: tuple[Number, Number] | None = None,
    ax: Axes | None = None,
) -> FigureBase:
    """A statistic of each density filtration rho(k, p): a grid of coloured cells with numbers (the paper's section 4).

    values: for each k and p; inf is written ∞, NaN is left blank; ks, ps: the parameters of the filtrations;
    label: of the statistic, with its unit; mark: a pair (k, p) to outline, such as the paper's; limits: the values at
    which the colours begin and end, to be given where grids are compared; where None, the least and the largest of the
    finite values.
    Raises ValueError for another shape, or a mark that is not on the grid.
    """
    values, ks, ps = np.asarray(values, float), list(ks), list(ps)
    if values.shape != (len(ks), len(ps)) or not values.size:
        raise ValueError(f"values must have shape ({len(ks)}, {len(ps)}), one for each k and p, not {values.shape}")
    if mark is not None and not (mark[0] in ks and mark[1] in ps):
        raise ValueError(f"mark = {mark!r} must be one of the pairs of ks = {ks} and ps = {ps}")
    ax = axes_for(ax, min(WIDTH, 1.8 + 0.62 * len(ps)), 0.9 + 0.36 * len(ks))
    if limits is None:
        finite = values[np.isfinite(values)]
        limits = (finite.min(), finite.max()) if len(finite) else (0, 1)
    norm = Normalize(limits[0], limits[1] if limits[1] > limits[0] else limits[0] + 1)
    shown = np.clip(values, norm.vmin, norm.vmax)
    image = _draw_cells(ax, shown, norm)
    _write_cells(ax, values, norm, short_number, 8)
    if mark is not None:
        _outline_cell(ax, ks.index(mark[0]), ps.index(mark[1]), 2.5)
    ax.set_xticks(range(len(ps)), [f"{p:g}" for p in ps])
    ax.set_yticks(range(len(ks)), [f"{k:g}" for k in ks])
    ax.set(xlabel="share of the points kept, $p$", ylabel="neighbour, $k$")
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, label=label)
    bar.outline.set_visible(False)
    return ax.figure


def density_grids(
    labelled: Labelled[Real[np.ndarray, "_ks _ps"] | Sequence[Row]],
    ks: Sequence[Whole] | Mapping[str, Sequence[Whole]],
    ps: Sequence[Number],
    *,
    label: str,
    mark: tuple[Whole, Number] | Mapping[str, tuple[Whole, Number]] | None = None,
    limits: tuple[Number, Number] | None = None,
    columns: Whole = 2,
) -> Figure:
    """Grids as `density_grid` draws them, side by side, such as of trained and of untrained networks.

    labelled: a grid for each panel, with the text above it; values are rounded to one decimal. ks: of all grids, or
    {text: those of its panel};
    mark: the pair (k, p) to outline in all grids, or {text: that of its panel}; columns: panels in a row; limits: of
    all grids, from the least to the largest value of any where None; the rest as for `density_grid`.
    Raises as `density_grid` does, and ValueError where there is no grid, or a mark is of no panel.
    """
    texts, grids = texts_and_values(labelled, "labelled")
    marks = dict(mark) if isinstance(mark, Mapping) else dict.fromkeys(texts, mark)
    if not set(marks) <= set(texts):
        raise ValueError(f"marks are given for {', '.join(marks)}; the panels are {', '.join(texts)}")
    rounded = [np.round(np.asarray(values, float), 1) for values in grids]
    finite = np.concatenate([values[np.isfinite(values)] for values in rounded])
    limits = limits or ((finite.min(), finite.max()) if len(finite) else (0, 1))
    figure, axes = wrapped_panels(texts, columns, 2.2)
    for ax, text, values in zip(axes, texts, rounded):
        each = ks[text] if isinstance(ks, Mapping) else ks
        density_grid(values, each, ps, label=label, mark=marks.get(text), limits=limits, ax=ax)
    return figure


def layer_grids(
    labelled: Labelled[Real[np.ndarray, "_layers _ps"] | Sequence[Row]],
    layers: Sequence[str],
    ps: Sequence[Number],
    *,
    decimals: Whole = 0,
    marks: Mapping[str, Mapping[str, Number]] | None = None,
) -> Figure:
    """Values of several layers against the share p that is kept: panels side by side, with a row for each layer.

    labelled: for each panel a value for each layer and p, with the text above it; NaN is left blank. Each panel has
    colours of its own. layers: names of the rows; ps: of the columns; decimals: of the values; marks: the cells
    to outline, {panel: {layer: p}}.
    Raises TypeError or ValueError for another shape, or a mark that is not on the grid.
    """
    texts, grids = texts_and_values(labelled, "labelled")
    layers, ps, marks = list(layers), list(ps), marks or {}
    figure, axes = panels(1, len(texts), height=0.8 + 0.19 * len(layers), labels=texts)
    for i, (ax, text, grid) in enumerate(zip(axes, texts, grids)):
        values = np.asarray(grid, float)
        if values.shape != (len(layers), len(ps)) or not values.size:
            raise ValueError(f"values of {text!r} must have shape ({len(layers)}, {len(ps)}), not {values.shape}")
        norm = Normalize(0, max(1, np.nanmax(values, initial=0)))
        _draw_cells(ax, values, norm)
        _write_cells(ax, values, norm, lambda value: f"{value:.{decimals}f}", 7.5)
        for layer, p in marks.get(text, {}).items():
            if layer not in layers or p not in ps:
                raise ValueError(f"marks of {text!r} must be cells of the grid, not {layer!r}: {p!r}")
            _outline_cell(ax, layers.index(layer), ps.index(p), 2)
        ax.set_xticks(range(len(ps)), [f"{p:g}" for p in ps])
        ax.set_yticks(range(len(layers)), [""] * len(layers) if i else layers)
        ax.set_xlabel("share kept, $p$")
    return figure


def share_grids(
    labelled: Labelled[Real[np.ndarray, "_rows _columns"] | Sequence[Row]],
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    label: str,
    axes: tuple[str, str],
    mark: tuple[object, object] | None = None,
    across: Whole = 3,
) -> Figure:
    """Shares over two settings: panels with a heat map each, in per cent, on one scale from 0 to 100.

    labelled: for each panel a share from 0 to 1 for each row and column, with the text above it; rows, columns: the
    values of the two settings; label: what the shares are of; axes: names of the rows and of the columns; mark: the
    values of the cell to outline in every panel; across: panels in a row.
    Raises TypeError or ValueError for another shape, for what is no share, for a mark that is not on the grid, and
    where there is no panel.
    """
    texts, grids = texts_and_values(labelled, "labelled")
    rows, columns = list(rows), list(columns)
    check_whole(across, "across", 1)
    if mark is not None and not (mark[0] in rows and mark[1] in columns):
        raise ValueError(f"mark = {mark!r} must be one of the pairs of rows = {rows} and columns = {columns}")
    for text, grid in zip(texts, grids):
        values = as_points(grid, f"values of {text!r}")
        if values.shape != (len(rows), len(columns)):
            raise ValueError(f"values of {text!r} must have shape ({len(rows)}, {len(columns)}), not {values.shape}")
        if values.min() < 0 or values.max() > 1:
            raise ValueError(f"values of {text!r} must be shares from 0 to 1, not {values.min():g} to {values.max():g}")
    norm, across = Normalize(0, 100), min(across, len(texts))
    down = -(-len(texts) // across)
    size = 0.9 + across * (0.25 + 0.42 * len(columns)), down * (0.6 + 0.36 * len(rows))
    figure = Figure(size, layout="constrained")  # no wider than it must be, to be read on a narrow screen
    places = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for ax in places.flat[len(texts) :]:
        ax.remove()
    for ax, text, grid in zip(places.flat, texts, grids):
        values = 100 * np.asarray(grid, float)
        image = _draw_cells(ax, values, norm)
        _write_cells(ax, values, norm, lambda value: f"{value:.0f}", 12)
        if mark is not None:
            _outline_cell(ax, rows.index(mark[0]), columns.index(mark[1]), 2.5)
        ax.set_xticks(range(len(columns)), [str(each) for each in columns])
        ax.set_yticks(range(len(rows)), [str(each) for each in rows])
        ax.tick_params(labelsize=10)
        ax.set_title(text, fontsize=11)
    figure.supylabel(axes[0], fontsize=11)
    figure.supxlabel(axes[1], fontsize=11)
    bar = figure.colorbar(image, ax=list(places.flat[: len(texts)]), pad=0.02)
    bar.set_label(f"{label} (%)", fontsize=11)
    bar.outline.set_visible(False)
    return figure


def _outline_cell(ax: Axes, row: Whole, column: Whole, linewidth: Number) -> None:
    corner = column - 0.5, row - 0.5
    ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ORANGE, linewidth=linewidth, clip_on=False, zorder=3))


def _draw_cells(ax: Axes, values: Real[np.ndarray, "rows columns"], norm: Normalize) -> AxesImage:
    """A cell for each value, coloured by it; NaN is left blank. The axes lose their ticks and spines."""
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax.imshow(np.ma.masked_invalid(values), norm=norm, cmap=AMOUNTS, aspect="auto")


def _write_cells(
    ax: Axes, values: Real[np.ndarray, "rows columns"], norm: Normalize, written: Callable[[Number], str], size: Number
) -> None:
    """Write each value but NaN into its cell, in black on light colours and in white on dark ones."""
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "black" if norm(np.clip(value, norm.vmin, norm.vmax)) > 0.55 else "white"
            ax.text(column, row, written(value), ha="center", va="center", fontsize=size, color=colour)


def histogram(
    values: Row,
    *,
    label: str,
    bins: Whole = 40,
    mark: Number | None = None,
    mark_label: str | None = None,
    ax: Axes | None = None,
) -> FigureBase:
    """How many values fall into each of several equal bins. The counts are logarithmic, so that a single value shows.

    values: finite; label: of the values, with their unit; bins: how many; mark: a value to draw a line at; mark_label:
    the text beside that line, the value itself where None.
    Raises TypeError or ValueError for values of another form.
    """
    row = as_points(np.asarray(values)[None], "values")[0]
    ax = axes_for(ax, 4.8, 2.4)
    counts = ax.hist(row, bins=bins, color=SKY, edgecolor=BLUE, linewidth=0.5, log=True)[0]
    ax.set(xlabel=label, ylabel="count", ylim=(0.7, None))
    if mark is not None:
        if row.min() <= mark <= row.max():  # the text has room above the bars
            ax.set_ylim(top=max(ax.get_ylim()[1], 3 * np.max(counts)))
        ax.axvline(mark, color=ORANGE, linewidth=1.5, linestyle="--")
        far = mark > np.mean(ax.get_xlim())
        ax.annotate(
            mark_label or f"{mark:.3g}",
            (mark, 1),
            (-4 if far else 4, 0),
            ax.get_xaxis_transform(),
            textcoords="offset points",
            ha="right" if far else "left",
            va="top",
            fontsize=8,
            color=INK,
        )
    return ax.figure


def strip(groups: Labelled[Row], *, label: str, ax: Axes | None = None) -> FigureBase:
    """Every value of several groups as a dot, with a row for each group. A line and a number show its median.

    groups: such as the test accuracies of a population; label: of the values, with their unit.
    Raises TypeError or ValueError for values of another form, or where there is no group.
    """
    texts, rows = texts_and_values(groups, "groups")
    every = [as_points(np.asarray(values)[None], "values")[0] for values in rows]
    ax = axes_for(ax, NARROW, 0.7 + 0.42 * len(every))
    few = max(map(len, every)) <= 10  # a single small dot would be lost beside the line
    look = {"s": 30, "alpha": 0.9, "zorder": 3} if few else {"s": 12, "alpha": 0.6}
    for row, (values, colour, marker) in enumerate(zip(every, cycle(PALETTE), cycle(MARKERS))):
        spread = 0.4 * ((np.arange(len(values)) * 0.6180339887) % 1 - 0.5)  # the golden ratio spreads dots evenly
        ax.scatter(values, row + spread, color=colour, marker=marker, linewidths=0, **look)
        median = np.median(values)
        ax.plot([median, median], [row - 0.32, row + 0.32], color=INK, linewidth=1.5)
        ax.text(1.02, row, f"{median:.3g}", transform=ax.get_yaxis_transform(), va="center", fontsize=8, color=INK)
    ax.text(1.02, 1, "median", transform=ax.transAxes, va="bottom", fontsize=7.5, color=FAINT)
    ax.set_yticks(range(len(every)), texts)
    ax.set_ylim(len(every) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(label)
    return ax.figure


def verdict_bars(recorded: Mapping[str, Ruling], *, ax: Axes | None = None) -> FigureBase:
    """How many claims of each chapter have which verdict: a bar for each chapter, a part of it for each verdict.

    recorded: as `topo.claims.recorded` returns them.
    """
    chapters = list(dict.fromkeys(claim.chapter for claim in CLAIMS.values()))
    ax = axes_for(ax, NARROW, 0.9 + 0.3 * len(chapters))
    start = np.zeros(len(chapters))
    for verdict, colour in zip(VERDICTS, _VERDICT_COLOURS):
        given = [CLAIMS[name].chapter for name, each in recorded.items() if each.verdict == verdict]
        counts = np.array([given.count(chapter) for chapter in chapters])
        ax.barh(range(len(chapters)), counts, left=start, height=0.7, color=colour, label=f"{verdict} ({len(given)})")
        for row, (left, count) in enumerate(zip(start, counts)):
            if count:
                ax.text(left + count / 2, row, str(count), ha="center", va="center", fontsize=8, color="black")
        start += counts
    ax.set_yticks(range(len(chapters)), chapters)
    ax.set_ylim(len(chapters) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("claims")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, fontsize=7.5, columnspacing=1)
    return ax.figure


_VERDICT_COLOURS = (GREEN, SKY, ORANGE, YELLOW, FAINT)


def agreement(recorded: Mapping[str, Ruling], *, ax: Axes | None = None) -> FigureBase:
    """The claims that have a grid: the share of the grid in which each held, against the share of the judged halves.

    recorded: as `topo.claims.recorded` returns them. A mark stands for all claims of one verdict at one place, and says
    how many where they are several; marks of several verdicts at one place are drawn beside each other. Lines show the
    bounds of the rule.
    """
    ax = axes_for(ax, NARROW, 3.4)
    places: dict[tuple[float, float], Counter[str]] = {}
    for each in recorded.values():
        if each.region is not None:
            place = round(each.region, 2), round(each.held / each.tried, 2)
            places.setdefault(place, Counter())[each.verdict] += 1
    for verdict, colour, marker in zip(VERDICTS, _VERDICT_COLOURS, MARKERS):
        drawn = []
        for (x, y), counts in places.items():
            if verdict in counts:
                beside = [each for each in VERDICTS if each in counts].index(verdict) - (len(counts) - 1) / 2
                drawn.append((x + 0.03 * beside, y))
                if counts[verdict] > 1:
                    ax.annotate(
                        str(counts[verdict]), drawn[-1], (0, 4), textcoords="offset points", ha="center", fontsize=7
                    )
        if drawn:
            ax.scatter(*zip(*drawn), s=28, color=colour, marker=marker, label=verdict, linewidths=0, zorder=3)
    for bound in (SOME, MOST):
        ax.axhline(bound, color=FAINT, linewidth=0.6, linestyle="--")
    ax.axvline(REGION, color=FAINT, linewidth=0.6, linestyle="--")
    ax.set(xlim=(-0.04, 1.04), ylim=(-0.06, 1.06), xlabel="share of the grid", ylabel="share of the judged halves")
    if places:
        ax.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, fontsize=7.5)
    return ax.figure


def timeline(
    x: Row,
    bands: Labelled[Row | Real[np.ndarray, "_draws _times"] | Sequence[Row]],
    *,
    label: str,
    marks: Mapping[str, Number] | None = None,
    line: Number | None = None,
    xlabel: str = "batch iteration",
    legend: bool = True,
    ax: Axes | None = None,
) -> FigureBase:
    """Values against time: lines are medians of several draws, bands reach from the lowest to the highest draw.

    x: the times, ascending; bands: for each text of the legend the values at these times, (draws, times), or (times,)
    for a single draw; label: of the values, with their unit; marks: {text: time}, each a vertical line; line: a value
    to compare with, drawn as a horizontal line; legend: whether to have one, where there is more than one band.
    Raises TypeError or ValueError for another shape, or where there is no band.
    """
    texts, draws = texts_and_values(bands, "bands")
    every = [as_points(np.atleast_2d(np.asarray(values)), f"bands[{text!r}]") for text, values in zip(texts, draws)]
    for text, values in zip(texts, every):
        if values.shape[1] != len(x):
            raise ValueError(f"bands[{text!r}] has {values.shape[1]} times, x has {len(x)}")
    ax = axes_for(ax, NARROW, 2.4)
    for text, values, colour, marker in zip(texts, every, cycle(PALETTE), cycle(MARKERS)):
        ax.plot(x, np.median(values, axis=0), color=colour, marker=marker, markersize=4, linewidth=1.5, label=text)
        if len(values) > 1:
            ax.fill_between(x, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.18, linewidth=0)
    if line is not None:
        ax.axhline(line, color=FAINT, linewidth=0.8, linestyle="--", zorder=1)
    for text, time in (marks or {}).items():
        ax.axvline(time, color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
        ax.annotate(
            text,
            (time, 1),
            xycoords=("data", "axes fraction"),
            xytext=(1, -2),
            textcoords="offset points",
            rotation=90,
            ha="left",
            va="top",
            fontsize=7,
            color=INK,
        )
    ax.set(xlabel=xlabel, ylabel=label)
    if marks:
        low, high = ax.get_ylim()
        ax.set_ylim(low, low + (high - low) / 0.65)  # the labels of the marks stand above the curves
    if legend and len(every) > 1:
        columns = len(every) if sum(9 + len(text) for text in texts) <= 75 else 2  # no wider than the axes
        if len(texts) <= 4 and max(map(len, texts)) <= 22:
            ax.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=columns)
        else:
            ax.legend(loc="best")
    return ax.figure


def scatters(
    labelled: Labelled[tuple[Row | Real[np.ndarray, "_networks _times"], Row | Real[np.ndarray, "_networks _times"]]],
    *,
    xlabel: str,
    label: str,
    line: Number | None = None,
    columns: Whole = 2,
) -> Figure:
    """Two measures of networks against each other, with a panel for each population.

    A measure at one time is a dot for each network. Of measures at several times the dots are faint, and the medians
    over the networks are joined in the order of time, from a hollow circle to a filled one.

    labelled: {text above the panel: (x, y)}, both (networks,) or (networks, times); xlabel, label: of x and of y, with
    their units; line: a y to compare with, drawn as a horizontal line; columns: panels in a row.
    Raises TypeError or ValueError for other shapes, or where there is no panel.
    """
    texts, pairs = texts_and_values(labelled, "labelled")
    figure, axes = wrapped_panels(texts, columns, 2.0)
    figure.set_figwidth(min(WIDTH, 2.7 * min(columns, len(texts))))  # narrow, for letters that a phone can show
    for ax, text, pair in zip(axes, texts, pairs):
        x, y = (as_points(np.asarray(each).reshape(len(each), -1), text) for each in pair)
        if x.shape != y.shape:
            raise ValueError(f"x and y of {text!r} must have one shape, not {x.shape} and {y.shape}")
        course = x.shape[1] > 1
        ax.scatter(x, y, s=7 if course else 16, color=SKY if course else BLUE, alpha=0.45, linewidths=0)
        if course:
            middle = np.median(x, axis=0), np.median(y, axis=0)
            ax.plot(*middle, color=INK, linewidth=1.2, marker=".", markersize=4)
            for end, face in ((0, "white"), (-1, ORANGE)):
                ax.plot(middle[0][end], middle[1][end], "o", color=face, markeredgecolor=INK, markersize=6)
        if line is not None:
            ax.axhline(line, color=FAINT, linewidth=0.8, linestyle="--", zorder=1)
    for ax in axes[-columns:]:
        ax.set_xlabel(xlabel)
    for ax in axes[::columns]:
        ax.set_ylabel(label)
    return figure


def intervals(
    rows: Labelled[Labelled[tuple[Number, Number, Number]]],
    *,
    label: str,
    line: Number | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> FigureBase:
    """Numbers with their intervals: a row for each thing that was measured, a marker for each way of measuring it.

    rows: {text beside the row: {text of the legend: (value, low, high)}}; label: of the numbers, with their unit; line:
    a value to compare with, drawn as a vertical line; legend: whether to have one, where there is more than one way. A
    row may lack some of the ways.
    Raises ValueError where there is no row, a row is empty, or a number is NaN.
    """
    texts, measured = texts_and_values(rows, "rows")
    ways = list(dict.fromkeys(way for each in measured for way, _ in _pairs(each)))
    ax = axes_for(ax, NARROW, 0.9 + 0.34 * len(texts))
    for i, (way, colour, marker) in enumerate(zip(ways, cycle(PALETTE), cycle(MARKERS))):
        shift = 0.24 * (i - (len(ways) - 1) / 2)
        found = [(row, *values) for row, each in enumerate(measured) for name, values in _pairs(each) if name == way]
        at, value, low, high = np.array(found, float).T
        if np.isnan([value, low, high]).any():
            raise ValueError(f"{way!r} has a value or an interval that is NaN")
        ax.hlines(at + shift, low, high, color=colour, linewidth=1.4)
        ax.plot(value, at + shift, marker, color=colour, markersize=4.5, label=way)
    if line is not None:
        ax.axvline(line, color=FAINT, linewidth=0.8, linestyle="--", zorder=1)
    ax.set_yticks(range(len(texts)), texts)
    ax.set_ylim(len(texts) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(label, loc="right")  # beside long texts the axes may be narrower than it
    if legend and len(ways) > 1:
        close = dict(handlelength=1, handletextpad=0.3, columnspacing=1)
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=len(ways), **close)
    return ax.figure


def _pairs(labelled: Labelled[tuple[Number, Number, Number]]) -> list[tuple[str, tuple[Number, Number, Number]]]:
    return list(zip(*texts_and_values(labelled, "a row")))


def judgements(
    judged: Mapping[str, Judgement],
    *,
    marks: Mapping[str, Mapping[str, Number]] | None = None,
    beside: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    line: Number = 3,
) -> Figure:
    """How clear loops are in halves of the networks, with a column for each layer: lengths of bars above, ratios below.

    judged: {layer: Judgement}, the layer as a text; marks: {layer: {text: iteration}}, vertical lines at the ratios;
    beside: {layer: {text: (draws, times)}}, further ratios of the same iterations; line: the ratio to compare with.
    Raises TypeError or ValueError as `timeline` does.
    """
    marks, beside = marks or {}, beside or {}
    figure, axes = panels(2, len(judged), height=2.3, labels=[*judged, *[""] * len(judged)])
    for above, below, (layer, each) in zip(axes, axes[len(judged) :], judged.items()):
        bars = dict(zip(("longest bar", "next bar"), each.lengths))
        timeline(each.iterations, bars, label="length of a bar of $H_1$", ax=above)
        bands = {"dense core": each.ratios, **beside.get(layer, {})}
        timeline(each.iterations, bands, label="ratio of the bars", line=line, marks=marks.get(layer), ax=below)
    return figure


def costs(panels_of_curves: Labelled[Labelled[tuple[Row, Row]]], *, columns: Whole = 3) -> Figure:
    """What a computation costs against the number of points, both logarithmic, with a panel for each computation.

    The first curve of a panel is thick. The dotted gray line shows how a cost in proportion to the points would grow.

    panels_of_curves: {text above the panel: {name: (points, seconds)}}; there are as many seconds as points, and all
    are positive. columns: panels in a row.
    Raises ValueError where there is nothing to draw or a value is not positive.
    """
    labels, curves = texts_and_values(panels_of_curves, "panels_of_curves")
    figure, axes = wrapped_panels(labels, columns, 3.6, share=True)
    for ax, each in zip(axes, curves):
        names, pairs = texts_and_values(each, "curves")
        for number, (name, (points, seconds), marker) in enumerate(zip(names, pairs, cycle(MARKERS))):
            check_positive(min(*points, *seconds), f"the least value of {name}")
            style = dict(linewidth=2.4, zorder=5) if number == 0 else dict(linewidth=1.0)
            colour = PALETTE[number % len(PALETTE)]
            ax.loglog(points, seconds, marker=marker, markersize=4, color=colour, label=name, **style)
        xs, ys = (np.asarray(values, float) for values in pairs[0])
        ax.loglog(xs, ys[-1] * xs / xs[-1], color=FAINT, linewidth=0.8, linestyle=":", label="in proportion", zorder=1)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("points")
        ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2))
    for ax in axes[::columns]:
        ax.set_ylabel("seconds")
    return figure
