"""A picture of several panels as tiles, one for each panel with all that belongs to it, for pages that are too narrow.

Knows matplotlib and pixels; must not know what a figure shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import permutations
from math import ceil, floor
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import BboxBase
from PIL import Image

from topo.types import Number

_SPACE = 8  # pixels by which a line may reach over its bounding box
_GAP = 6  # pixels between a panel and what is put to its left


class Piece(NamedTuple):
    """A part of a picture and where its upper left corner lies in a tile, in pixels of the picture."""

    left: int
    top: int
    width: int
    height: int
    x: int
    y: int


Tile = list[Piece]


def tiles(figure: Figure, picture: Image.Image, dpi: Number) -> list[Tile]:
    """Cut the picture of a figure, as `Figure.savefig` with bbox_inches="tight" drew it, into its panels.

    picture: with a white background; dpi: its pixels an inch.
    A tile is a panel with its title, tick labels, axis labels, legend and colour bar; what only the panel at the end of
    its row or column has, and the labels of the whole figure, are pieces beside it. Panels that overlap are one tile,
    and so is a colour bar of several panels. Tiles are in the order of the panels.
    Returns a list that is empty where there are not two panels to be told apart, where a cut would go through something
    that is drawn, and where a part of the picture would be in no tile.
    """
    drawn = (np.asarray(picture.convert("RGB")) < 255).any(axis=2)
    before = figure.dpi
    figure.dpi = dpi
    try:
        found = _Cutter(figure, drawn).tiles()
    finally:
        figure.dpi = before
    return found if len(found) > 1 and _shows_all(found, drawn) else []


def _shows_all(found: Sequence[Tile], drawn: Bool[np.ndarray, "_height _width"]) -> bool:
    """Whether all that is drawn lies in a piece, and nothing lies on the rim of one."""
    left_out = drawn.copy()
    for left, top, width, height, *_ in (piece for tile in found for piece in tile):
        part = drawn[top : top + height, left : left + width]
        if not part.size or part[[0, -1]].any() or part[:, [0, -1]].any():
            return False
        left_out[top : top + height, left : left + width] = False
    return not left_out.any()


class _Box(NamedTuple):
    """A part of a picture, in pixels from its upper left corner."""

    left: int
    top: int
    right: int
    bottom: int

    def around(self, other: "_Box") -> "_Box":
        return _Box(*map(min, self[:2], other[:2]), *map(max, self[2:], other[2:]))

    def overlaps(self, other: "_Box") -> bool:
        return self.common_rows(other) > 0 and self.common_columns(other) > 0

    def common_rows(self, other: "_Box") -> int:
        return min(self.bottom, other.bottom) - max(self.top, other.top)

    def common_columns(self, other: "_Box") -> int:
        return min(self.right, other.right) - max(self.left, other.left)

    def piece(self, x: Number, y: Number) -> Piece:
        return Piece(self.left, self.top, self.right - self.left, self.bottom - self.top, round(x), round(y))


@dataclass
class _Panel:
    """Axes that stay together, and the part of the picture with all that belongs to them."""

    axes: list[Axes]
    box: _Box


class _Cutter:
    """Where the parts of a figure are in its picture, of whose pixels `drawn` says which are not background."""

    def __init__(self, figure: Figure, drawn: Bool[np.ndarray, "_height _width"]) -> None:
        self.figure, self.drawn = figure, drawn
        self.renderer = RendererAgg(*figure.bbox.size, figure.dpi)
        whole, pad = figure.get_tightbbox(self.renderer), matplotlib.rcParams["savefig.pad_inches"]
        self.left, self.top = figure.dpi * (whole.x0 - pad), figure.dpi * (whole.y1 + pad)
        bars = {ax: info["parents"] for ax in figure.axes if (info := getattr(ax, "_colorbar_info", None))}
        self.shared = [*(ax for ax, parents in bars.items() if len(parents) > 1), *figure.legends]
        self.panels: list[_Panel] = []
        self.frames: dict[Axes, _Box] = {}  # between the spines
        for ax in figure.axes:
            if ax in bars or (extent := ax.get_tightbbox(self.renderer)) is None:
                continue
            self.frames[ax] = self.box(ax.get_window_extent(self.renderer))
            own = [bar.get_tightbbox(self.renderer) for bar, parents in bars.items() if parents == [ax]]
            self.panels.append(_Panel([ax], reduce(_Box.around, map(self.cut, [extent, *own]))))
        self.join(lambda panel, other: panel.box.overlaps(other.box))
        self.join(lambda panel, other: self.is_titled_by(panel, other) or panel.box.overlaps(other.box))

    def is_titled_by(self, panel: _Panel, other: _Panel) -> bool:
        """Whether a panel has no title and belongs to the other, to its left, as a barcode does to its graph."""
        titled = [each for each in self.before(panel.axes[0]) if _titles(each)]
        return not any(map(_titles, panel.axes)) and any(each in other.axes for each in titled[:1])

    def join(self, belong: Callable[[_Panel, _Panel], bool]) -> None:
        """Make one panel of any two that belong together."""
        pairs = permutations(self.panels, 2)
        while pair := next((pair for pair in pairs if belong(*pair)), None):
            panel, other = sorted(pair, key=self.panels.index)
            panel.axes, panel.box = panel.axes + other.axes, panel.box.around(other.box)
            self.panels.remove(other)
            pairs = permutations(self.panels, 2)

    def box(self, extent: BboxBase) -> _Box:
        """The pixels of a bounding box of matplotlib."""
        left, right = extent.x0 - self.left, extent.x1 - self.left
        top, bottom = self.top - extent.y1, self.top - extent.y0
        height, width = self.drawn.shape
        return _Box(max(0, floor(left)), max(0, floor(top)), min(width, ceil(right)), min(height, ceil(bottom)))

    def cut(self, extent: BboxBase) -> _Box:
        """The pixels of a bounding box, and as many more at each side as its lines are wider than matplotlib has it."""
        edges = list(self.box(extent))
        height, width = self.drawn.shape
        for side, (step, end) in enumerate([(-1, 0), (-1, 0), (1, width), (1, height)]):
            for _ in range(_SPACE):
                left, top, right, bottom = edges
                part = self.drawn[top:bottom, left:right]
                rims = part[:, :1], part[:1], part[:, -1:], part[-1:]
                if edges[side] == end or not rims[side].any():
                    break
                edges[side] += step
        return _Box(*edges)

    def before(self, ax: Axes) -> list[Axes]:
        """The panels to the left in the same row, the nearest first."""
        mine, frames = self.frames[ax], self.frames
        row = [each for each, frame in frames.items() if mine.common_rows(frame) > 0 and frame.left < mine.left]
        return sorted(row, key=lambda each: -frames[each].left)

    def below(self, ax: Axes) -> list[Axes]:
        """The panels in the same column farther down, the nearest first."""
        mine, frames = self.frames[ax], self.frames
        column = [each for each, frame in frames.items() if mine.common_columns(frame) > 0 and frame.top > mine.top]
        return sorted(column, key=lambda each: frames[each].top)

    def is_level(self, ax: Axes, other: Axes, name: str) -> bool:
        """Whether the axes "x" or "y" of both span about the same columns or rows of the picture."""
        one, two = self.frames[ax], self.frames[other]
        if name == "x":
            return one.common_columns(two) > 0.6 * max(one.right - one.left, two.right - two.left)
        return one.common_rows(two) > 0.6 * max(one.bottom - one.top, two.bottom - two.top)

    def tiles(self) -> list[Tile]:
        """A tile for each panel, and for each thing that several panels share."""
        boxes = [self.cut(artist.get_tightbbox(self.renderer)) for artist in self.shared]
        top = min((panel.box.top for panel in self.panels), default=0)
        above = [[box.piece(0, 0)] for box in boxes if box.top <= top]
        rest = [[box.piece(0, 0)] for box in boxes if box.top > top]
        made = [self.tile(panel) for panel in self.panels]
        return [] if len(made) < 2 else [*above, *made, *rest]

    def tile(self, panel: _Panel) -> Tile:
        """The pieces of a panel: from it outwards what its axes lack, its title, and the labels of the figure."""
        left, top, _, _ = panel.box
        pieces = [panel.box.piece(0, 0)]
        frame = self.frames[panel.axes[0]]
        for ax in panel.axes:
            mine = self.frames[ax]
            frame = frame.around(mine)
            if found := self.labels(ax, "y", [each for each in self.before(ax) if each not in panel.axes]):
                lender, labels = found
                _put_left(pieces, labels, labels.top - self.frames[lender].top + mine.top - top)
            if found := self.labels(ax, "x", [each for each in self.below(ax) if each not in panel.axes]):
                lender, labels = found
                _put_below(pieces, labels, labels.left - self.frames[lender].left + mine.left - left)
        if found := self.title(panel):
            lender, title = found
            x = title.left - self.frames[lender].left + frame.left - left
            pieces.append(title.piece(x, min(piece.y for piece in pieces) - (title.bottom - title.top)))
        for text in self.figure.texts:
            label = self.cut(text.get_window_extent(self.renderer))
            if text.get_text() == self.figure.get_supylabel():
                _put_left(pieces, label, (frame.top + frame.bottom - (label.bottom - label.top)) / 2 - top)
            elif text.get_text() == self.figure.get_supxlabel():
                _put_below(pieces, label, (frame.left + frame.right - (label.right - label.left)) / 2 - left)
        x, y = min(piece.x for piece in pieces), min(piece.y for piece in pieces)
        return [piece._replace(x=piece.x - x, y=piece.y - y) for piece in pieces]

    def labels(self, ax: Axes, name: str, others: Sequence[Axes]) -> tuple[Axes, _Box] | None:
        """What an axis ("x" or "y") lacks as another one in its row or column has it: tick labels, or only a label.

        Returns the Axes that have it and where it is.
        """
        axis = _axis(ax, name)
        if axis is None:
            return None
        level = [each for each in others if self.is_level(ax, each, name)]
        axes = [(each, other) for each in level if (other := _axis(each, name)) is not None]
        shown = [(each, other) for each, other in axes if other.get_label_position() in ("left", "bottom")]
        if not _has_tick_labels(axis):
            for each, other in shown:
                if _has_tick_labels(other) and _limits(each, name) == _limits(ax, name):
                    return each, self.cut(other.get_tightbbox(self.renderer))
        alike = [(each, other) for each, other in shown if _agree(ax, each, "x" if name == "y" else "y")]
        named = [(each, other.label) for each, other in alike if other.get_label_text()]
        if axis.get_label_text() or len({label.get_text() for _, label in named}) != 1:
            return None
        return named[0][0], self.cut(named[0][1].get_window_extent(self.renderer))

    def title(self, panel: _Panel) -> tuple[Axes, _Box] | None:
        """The title of a column, as only the panel at its top has one: the Axes of that, and where it is."""
        if any(map(_titles, panel.axes)):
            return None
        first = panel.axes[0]
        titled = [each for each in self.frames if _titles(each) and self.is_level(first, each, "x")]
        above = [each for each in titled if first in self.below(each)]
        if not above:
            return None
        lender = max(above, key=lambda each: self.frames[each].top)
        return lender, reduce(
            _Box.around, (self.cut(text.get_window_extent(self.renderer)) for text in _titles(lender))
        )


def _titles(ax: Axes) -> list[Text]:
    """The titles of Axes, of which there are up to three."""
    written = {ax.get_title(place) for place in ("left", "center", "right")} - {""}
    return [each for each in ax.get_children() if isinstance(each, Text) and each.get_text() in written]


def _axis(ax: Axes, name: str) -> Any:
    """The axis "x" or "y" where it is drawn, else None."""
    axis = {"x": ax.xaxis, "y": ax.yaxis}[name]
    return axis if ax.axison and axis.get_visible() else None


def _agree(ax: Axes, other: Axes, name: str) -> bool:
    """Whether the labels of both on an axis are the same, or one has none."""
    labels = {axis.get_label_text() for each in (ax, other) if (axis := _axis(each, name)) is not None}
    return len(labels - {""}) < 2


def _has_tick_labels(axis: Any) -> bool:
    return any(label.get_visible() and label.get_text() for label in axis.get_ticklabels())


def _limits(ax: Axes, name: str) -> tuple[float, float]:
    return {"x": ax.get_xlim, "y": ax.get_ylim}[name]()


def _put_left(pieces: Tile, box: _Box, y: Number) -> None:
    edge = min(piece.x for piece in pieces) - _GAP
    pieces.append(box.piece(edge - (box.right - box.left), y))


def _put_below(pieces: Tile, box: _Box, x: Number) -> None:
    pieces.append(box.piece(x, max(piece.y + piece.height for piece in pieces)))
