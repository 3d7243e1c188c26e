"""Pictures of patches: single, in rows, around rings, and the three circles of the Klein bottle.

Knows patches as vectors of their values; must not know which layer or cloud they are from.
"""

from collections.abc import Sequence
from math import ceil, isqrt
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import FigureBase

from topo import spaces
from topo.checks import as_points, check_whole
from topo.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    NARROW,
    ORANGE,
    WIDTH,
    Figure,
    Labelled,
    axes_for,
    check_positive,
    hide_scales,
    texts_and_values,
    wrapped_panels,
)
from topo.types import Number, PointsLike, Real, Row, Whole


def patch(vector: Row, *, limit: Number | None = None, ax: Axes | None = None) -> FigureBase:
    """One patch as a gray picture: zero is mid-gray, negative values are darker and positive ones lighter.

    vector: the values of a square patch row by row, x to the right and y downwards; limit: the value that is white, and
    black with a minus sign; the largest absolute value of the patch where None.
    Raises TypeError or ValueError where `vector` is no square patch of finite numbers.
    """
    return patch_row([vector], limit=limit, ax=ax)


def patch_row(
    vectors: PointsLike,
    labels: Sequence[object] | None = None,
    *,
    columns: Whole = 12,
    limit: Number | None = None,
    width: Number = WIDTH,
    ax: Axes | None = None,
) -> FigureBase:
    """Patches side by side, drawn as `patch` draws one, with at most `columns` in a row.

    vectors: a square patch a row, as for `patch`; labels: a text under each patch; limit: one for all patches, or None
    for each patch's own; width: the most that a figure without `ax` takes, in inches.
    Raises as `patch` does, and ValueError where labels are too many or too few.
    """
    vectors = _as_patches(vectors)
    check_whole(columns, "columns", 1)
    if limit is not None:
        check_positive(limit, "limit")
    if labels is not None and len(labels) != len(vectors):
        raise ValueError(f"there are {len(labels)} labels for {len(vectors)} patches")
    columns = min(int(columns), len(vectors))
    rows = ceil(len(vectors) / columns)
    across = 1.25
    side = min(0.75, width / (columns * across))
    lines = max(str(label).count("\n") + 1 for label in labels) if labels is not None and len(labels) else 0
    down = max(1.6, 1.2 + lines * 0.16 / side) if lines else 1.25
    ax = axes_for(ax, side * columns * across, side * rows * down)
    row, column = np.divmod(np.arange(len(vectors)), columns)
    centres = np.column_stack([column * across, -row * down])
    draw_patches(ax, vectors, centres, 1.0, limit)
    for centre, label in zip(centres, () if labels is None else labels):
        ax.text(centre[0], centre[1] - 0.58, str(label), ha="center", va="top", fontsize=8, color=INK)
    ax.set_xlim(-0.6, centres[:, 0].max() + 0.6)
    ax.set_ylim(centres[:, 1].min() - (down - 0.6), 0.6)
    hide_scales(ax)
    return ax.figure


def circle_of_patches(
    vectors: PointsLike,
    angles: Row,
    *,
    label: str | None = None,
    colour: str = FAINT,
    side: Number | None = None,
    ax: Axes | None = None,
) -> FigureBase:
    """Patches around a ring, each at its own angle.

    Angles run clockwise from the right, because y points downwards in a patch. Every patch of the primary circle
    therefore brightens outwards.

    vectors: as for `patch_row`; angles: of each patch, in radians; label: a text at the centre; colour: of the ring;
    side: of a patch, as a multiple of the ring's radius; where None, so small that the patches, spread evenly over the
    whole ring, would not touch.
    Raises TypeError or ValueError for another shape or a side that is not positive.
    """
    vectors, angles = _as_patches(vectors), np.asarray(angles, float)
    if angles.shape != (len(vectors),):
        raise ValueError(f"angles must have shape ({len(vectors)},), one a patch, not {angles.shape}")
    ax = axes_for(ax, 3.2, 3.2)
    side = _ring_side(len(vectors), 0.42) if side is None else check_positive(side, "side")
    draw_ring(ax, np.ones(2), colour)
    draw_patches(ax, vectors, on_ring(angles), side)
    if label is not None:
        ax.text(0, 0, label, ha="center", va="center", fontsize=9, color=INK)
    reach = 1.02 + side / 2
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    hide_scales(ax)
    return ax.figure


def rings(
    labelled: Labelled[Real[np.ndarray, "_patches _pixels"]],
    *,
    starts: Row | None = None,
    count: bool = True,
    columns: Whole | None = None,
) -> Figure:
    """Rings of patches side by side, such as the mean filters along several circles.

    A patch that holds NaN is left out as a hole, and the number of holes is written in the middle of its ring.

    labelled: the patches of each ring, at even angles, clockwise; starts: the angle of each ring's first patch in
    radians, clockwise from the right, 0 where None; count: whether to write the number of holes; columns: rings in a
    row, all of them where None.
    Raises TypeError or ValueError for another shape, or where starts are too many or too few.
    """
    texts, every = texts_and_values(labelled, "labelled")
    starts = np.zeros(len(texts)) if starts is None else starts
    if len(starts) != len(texts):
        raise ValueError(f"there are {len(starts)} starts for {len(texts)} rings")
    columns = len(texts) if columns is None else columns
    figure, axes = wrapped_panels(texts, columns, 0.2 + WIDTH / max(3, min(columns, len(texts))))
    for ax, patches, start in zip(axes, map(np.asarray, every), starts):
        there = ~np.isnan(patches).any(axis=1)
        angles = start + np.arange(len(patches)) * 2 * np.pi / len(patches)
        label = f"{(~there).sum()} hole{'s' * ((~there).sum() != 1)}" if count else ""
        side = _ring_side(len(patches), 0.42)
        if there.any():
            circle_of_patches(patches[there], angles[there], label=label, side=side, ax=ax)
        else:
            ax.text(0.5, 0.5, label, transform=ax.transAxes, ha="center", va="center", fontsize=9, color=INK)
            hide_scales(ax)
    return figure


def three_circles(*, steps: Whole = 16, ax: Axes | None = None) -> FigureBase:
    """The primary circle and both secondary circles, drawn as patches: the paper's Figure 1.

    Each secondary circle meets the primary circle in two opposite edges. The secondary circles do not meet each other:
    where they cross in the picture, one passes over the other.

    steps: patches on the primary circle, a multiple of 4, so that there is a patch wherever two circles meet.
    Raises TypeError or ValueError for other steps.
    """
    check_whole(steps, "steps", 4)
    if steps % 4:
        raise ValueError(f"steps = {steps} must be a multiple of 4")
    ax = axes_for(ax, NARROW, 5.4)
    theta = np.arange(steps) * 2 * np.pi / steps
    phi = np.array([-0.23, 0, 0.23, 0.77, 1, 1.23]) * np.pi  # clear of the primary circle and of the crossings
    vertical, horizontal = spaces.secondary_circles(phi)
    draw_ring(ax, np.ones(2), BLUE)
    for patches, radii, turn, colour in [
        (vertical, (1, 0.42), np.pi / 2, ORANGE),
        (horizontal, (0.42, 1), 0, GREEN),
    ]:
        draw_ring(ax, radii, "white", linewidth=7)
        draw_ring(ax, radii, colour)
        draw_patches(ax, patches, on_ring(phi - turn) * radii, 0.17, frame=colour, width=1.2)
    draw_patches(ax, spaces.primary_circle(theta), on_ring(theta), _ring_side(steps, 0.21), frame=BLUE, width=1.2)
    key = np.stack([spaces.primary_circle(-0.6), *spaces.secondary_circles(0)])
    heights = np.array([-1.4, -1.66, -1.92])
    draw_patches(ax, key, np.column_stack([np.full(3, -0.95), heights]), 0.19, frame=(BLUE, ORANGE, GREEN), width=1.2)
    for height, text in zip(
        heights,
        [
            "primary circle: edges in every direction",
            "secondary circle: vertical edges and vertical lines",
            "secondary circle: horizontal edges and horizontal lines",
        ],
    ):
        ax.text(-0.78, height, text, va="center", color=INK)
    ax.set(xlim=(-1.15, 1.15), ylim=(-2.05, 1.15))
    hide_scales(ax)
    return ax.figure


def klein_square(*, steps: Whole = 8, ax: Axes | None = None) -> FigureBase:
    """The Klein bottle, cut open to its fundamental square, as patches; frames show which lie on one of three circles.

    The direction theta runs over half a turn from the left to the right, the mixture phi over a whole turn from the top
    to the bottom. The lower side continues at the upper one, the right side at the left one read upwards.

    steps: of theta, an even number, half as many as of phi. Raises TypeError or ValueError for other steps.
    """
    check_whole(steps, "steps", 2)
    if steps % 2:
        raise ValueError(f"steps = {steps} must be even")
    ax = axes_for(ax, 4.2, 7.2)
    row, column = np.divmod(np.arange(2 * steps * steps), steps)
    centres = np.column_stack([column, -row]).astype(float)
    left, right, bottom, top = -0.5, steps - 0.5, 0.5 - 2 * steps, 0.5
    ax.hlines([-steps / 2, -3 * steps / 2], left, right, BLUE, "solid", linewidth=2, label="primary circle")
    ax.vlines([0], bottom, top, ORANGE, "dashed", linewidth=2, label="vertical circle")
    ax.vlines([steps / 2], bottom, top, GREEN, "dotted", linewidth=2, label="horizontal circle")
    on = [row % steps == steps // 2, column == 0, column == steps // 2]
    frames = np.select(on, [BLUE, ORANGE, GREEN], INK).tolist()
    draw_patches(ax, spaces.klein_bottle_grid(steps), centres, 0.72, frame=frames, width=1.2)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    ax.set_xticks([0, steps / 2], ["0", "π/2"])
    ax.set_yticks(-np.arange(4) * steps / 2, ["0", "π/2", "π", "3π/2"])
    ax.set(xlabel="direction $\\theta$", ylabel="mixture $\\phi$", aspect="equal")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1, handlelength=1.5)
    return ax.figure


def _as_patches(vectors: PointsLike) -> Float64[np.ndarray, "patches pixels"]:
    vectors = as_points(vectors, "patches").astype(float)
    if isqrt(vectors.shape[1]) ** 2 != vectors.shape[1]:
        raise ValueError(f"patches must be square, of shape (n, w*w), not {vectors.shape}")
    return vectors


def draw_patches(
    ax: Axes,
    vectors: Float[np.ndarray, "patches pixels"],
    centres: Float[np.ndarray, "patches 2"],
    side: Number,
    limit: Number | None = None,
    frame: str | Sequence[str] = INK,
    width: Number = 0.6,
    zorder: Number = 4,
) -> None:
    """Draw square patches around their centres.

    side: in the unit of the centres; limit: as for `patch`; frame: one colour or one for each patch; width: of the
    frame, in typographic points.
    """
    w = isqrt(vectors.shape[1])
    limits = np.abs(vectors).max(axis=1, keepdims=True) if limit is None else np.full((len(vectors), 1), limit)
    relative = np.divide(vectors, limits, out=np.zeros_like(vectors), where=limits > 0)
    grays = np.clip(0.5 + 0.5 * relative, 0, 1)
    corners = side * np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    row, column = np.divmod(np.arange(w * w), w)
    pixels = side * np.column_stack([(column + 0.5) / w - 0.5, 0.5 - (row + 0.5) / w])  # centres of the pixels
    squares = centres[:, None, None] + pixels[:, None] + corners / w
    colours = np.repeat(grays.reshape(-1, 1), 3, axis=1)
    fill = PolyCollection(squares.reshape(-1, 4, 2), facecolors=colours, linewidths=0, antialiased=False, zorder=zorder)
    edge = {"facecolors": "none", "edgecolors": frame, "linewidths": width, "zorder": zorder}
    ax.add_collection(fill, autolim=False)
    ax.add_collection(PolyCollection(centres[:, None] + corners, **edge), autolim=False)


def on_ring(angles: Real[np.ndarray, "angles"]) -> Float64[np.ndarray, "angles 2"]:
    """Return the places on the unit circle at these angles, which run clockwise from the right."""
    return np.column_stack([np.cos(angles), -np.sin(angles)])


def _ring_side(n: Whole, most: Number) -> Number:
    """The side of n patches around the unit circle, at most `most`.

    It is so small that patches on a diagonal, where two neighbours come closest, do not touch.
    """
    return min(most, 4.2 / n)


def draw_ring(ax: Axes, radii: Row, colour: str, **style: Any) -> None:
    """Draw an ellipse around the origin with the given radii, the horizontal and the vertical one."""
    around = on_ring(np.linspace(0, 2 * np.pi, 361)) * radii
    ax.plot(*around.T, color=colour, **{"linewidth": 1.5, "zorder": 1, **style})
