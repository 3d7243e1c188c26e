"""The look that all figures share: palette, Figure, panels, and small helpers that every drawing module uses.

Knows matplotlib; must not know any particular kind of picture, nor import another module of this package.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from topo.checks import check_number, check_whole
from topo.tiles import tiles
from topo.types import Number, Whole

_T = TypeVar("_T")
Labelled = Mapping[str, _T] | Iterable[tuple[str, _T]]  # {text: value}, or pairs (text, value)

WIDTH = 7.2  # inches: the book's column
NARROW = 4.5  # inches that a phone shows whole, in letters that can be read: for a panel that is alone
SHARPNESS = 2  # pixels of a picture to one of the page, in each direction
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, YELLOW = PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#F0E442",
)  # Okabe & Ito 2008: colour-blind readers can tell them apart
MARKERS = "o^sDvPX"
INK, FAINT = "0.25", "0.55"
AMOUNTS = "cividis"

MIMETYPE = "application/vnd.topo.answers"
SCRIPTS = tuple(Path(__file__).with_name(name) for name in ("answers.js", "graph.js", "bars.js"))
STYLE = Path(__file__).with_name("answers.css")


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that pyplot does not know of.

    A notebook therefore shows it once, where it is the result of a cell, and nobody has to close it.

    answers: what SCRIPTS draw of it in a page, for readers to point at; None where the picture is all.
    """

    answers: dict[str, Any] | None = None

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        known = self.answers is not None  # IPython adds the picture and plain text
        return {MIMETYPE: json.dumps(self.answers, separators=(",", ":"))} if known else {}

    def embedded(self, picture: str) -> str:
        """`answers` as HTML, for a page that has SCRIPTS and STYLE in it, and the picture in the element `picture`."""
        data = json.dumps(self.answers, separators=(",", ":")).replace("<", r"\u003c")
        return f'<script type="application/json" class="answers" data-picture="{picture}">{data}</script>'

    def png(self) -> bytes:
        """The figure as a PNG picture, sharp where pixels are small: SHARPNESS pixels where it is to have one."""
        return small_png(self, SHARPNESS * self.dpi, cut=True, bbox_inches="tight")

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        png = self.png()
        return png, dict(zip(("width", "height"), shown_size(png)))  # a notebook shows it at this size


def small_png(figure: matplotlib.figure.Figure, dpi: Number, cut: bool = False, **options: Any) -> bytes:
    """A PNG picture of a figure in 256 colours, which takes about a third of the bytes; no eye tells it from the whole.

    dpi: pixels an inch; cut: whether texts in the picture say how a narrow page may show it: "tiles", how it is cut
    into panels, as JSON of what `topo.tiles.tiles` returns, or "wordless", that there is nothing in it to be read;
    options: of `Figure.savefig`.
    """
    whole, small = BytesIO(), BytesIO()
    figure.savefig(whole, format="png", dpi=dpi, pil_kwargs={"compress_level": 1}, **options)
    colours = Image.open(whole).convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE)
    palette = np.array(colours.getpalette()).reshape(-1, 3)
    palette[(palette == 254) | (palette >= 252).all(axis=1, keepdims=True)] = 255  # full is full, and white is white
    colours.putpalette(palette.ravel().tolist())
    said = PngInfo()
    if cut and (found := tiles(figure, colours, dpi)):
        said.add_text("tiles", json.dumps(found, separators=(",", ":")))
    elif cut and not _has_words(figure):
        said.add_text("wordless", "true")
    colours.save(small, "png", optimize=True, dpi=(dpi, dpi), pnginfo=said)
    return small.getvalue()


def _has_words(figure: matplotlib.figure.Figure) -> bool:
    titles = [ax.get_title(place) for ax in figure.axes for place in ("left", "center", "right")]
    known = [ax.axison or ax.texts or ax.get_legend() for ax in figure.axes]  # axes that are off have no tick labels
    return any(titles) or any(known) or bool(figure.texts or figure.legends)


def shown_size(png: bytes) -> tuple[int, int]:
    """Width and height at which a picture of `Figure.png` is to be shown, in pixels of a page."""
    width, height = Image.open(BytesIO(png)).size
    return round(width / SHARPNESS), round(height / SHARPNESS)


def use_style() -> None:
    """Set matplotlib's defaults to those of the book. A chapter calls this once, before its first figure."""
    matplotlib.rcParams.update(
        {
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
        }
    )


def panels(
    rows: Whole,
    columns: Whole,
    *,
    height: Number | Sequence[Number] = 2.4,
    labels: Sequence[str] | None = None,
    share: bool = False,
    width: Number = WIDTH,
) -> tuple[Figure, list[Axes]]:
    """A figure with several Axes, each to be handed to another function as its `ax`.

    height: of a row, or of each row, in inches; labels: a short text above each panel, in reading order; share: whether
    all panels have the same limits; width: of the figure, the book's WIDTH or NARROW, which a phone shows whole.
    Returns the Figure and its Axes, rows * columns of them in reading order.
    Raises TypeError or ValueError where rows or columns is no whole number above 0, or labels or heights are too many
    or too few.
    """
    check_whole(rows, "rows", 1)
    check_whole(columns, "columns", 1)
    if labels is not None and len(labels) != rows * columns:
        raise ValueError(f"there are {len(labels)} labels for {rows} x {columns} panels")
    heights = np.array(height if isinstance(height, Sequence) else [height] * rows, float)
    if heights.shape != (rows,):
        raise ValueError(f"there are {len(heights)} heights for {rows} rows")
    figure = Figure((width, heights.sum()), layout="constrained")
    alike: dict[str, Any] = dict(sharex=share, sharey=share, height_ratios=heights)
    axes = list(figure.subplots(rows, columns, squeeze=False, **alike).flat)
    for ax, label in zip(axes, () if labels is None else labels):
        ax.set_title(label)
    return figure, axes


def wrapped_panels(
    labels: Sequence[str], columns: Whole, height: Number, share: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a Figure and its Axes, as `panels` does: one for each label, and at most `columns` in a row."""
    check_whole(columns, "columns", 1)
    columns = min(columns, len(labels))
    rows = ceil(len(labels) / columns)
    figure, axes = panels(rows, columns, height=height, share=share)
    for ax in axes[len(labels) :]:
        ax.remove()
    for ax, label in zip(axes, labels):
        ax.set_title(label)
    return figure, axes[: len(labels)]


def axes_for(ax: Axes | None, width: Number, height: Number) -> Axes:
    """Return `ax`, or the Axes of a new Figure of this width and height in inches where `ax` is None."""
    return Figure((width, height), layout="constrained").subplots() if ax is None else ax


def hide_scales(ax: Axes) -> None:
    """Give both axes the same unit and hide them, where a picture shows shapes and its coordinates mean nothing."""
    ax.set_aspect("equal")
    ax.set_axis_off()


def texts_and_values(labelled: Labelled[_T], name: str) -> tuple[tuple[str, ...], tuple[_T, ...]]:
    """Split a dict or pairs into texts and values; raise ValueError, calling them `name`, where there are none."""
    pairs = list(labelled.items() if isinstance(labelled, Mapping) else labelled)
    if not pairs:
        raise ValueError(f"{name} must not be empty")
    return tuple(text for text, _ in pairs), tuple(value for _, value in pairs)


def check_positive(value: Number, name: str) -> Number:
    """Return `value`; raise TypeError or ValueError, calling it `name`, where it is no positive, finite number."""
    check_number(value, name, 0, above=True)
    return value


def short_number(value: object) -> str:
    """Write a number with three significant digits, or infinity as ∞."""
    return "∞" if value == np.inf else f"{value:.3g}"
