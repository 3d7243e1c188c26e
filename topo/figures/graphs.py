"""Pictures of Mapper graphs, with filters beside them.

Knows graphs and the points in their nodes; must not know how the graphs were made, nor where thumbnails find room.
"""

import random
from collections.abc import Sequence
from math import ceil, isqrt, sqrt
from typing import Any, NamedTuple

import igraph
import numpy as np
from jaxtyping import Float, Float64, Int64, Integer
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import FigureBase

from topo.checks import as_points, check_whole
from topo.figures.barcodes import barcode
from topo.figures.patches import draw_patches
from topo.figures.placement import places_beside
from topo.figures.style import INK, WIDTH, Figure, Labelled, axes_for, hide_scales, texts_and_values, wrapped_panels
from topo.mapper import Lens, node_means, node_sizes
from topo.types import Barcode, Number, Points, PointsLike, Real, Row, Whole

COUNTS = "RdYlBu_r"  # from blue to red, as in the paper


def mapper(
    graph: igraph.Graph,
    points: PointsLike,
    *,
    thumbnails: Whole = 20,
    layout: str | Real[np.ndarray, "nodes 2"] | Sequence[Row] = "lens",
    smallest: Number = 0.01,
    side: Number = 0.09,
    fullest: Whole | None = None,
    colorbar: bool = True,
    note: bool = True,
    ax: Axes | None = None,
) -> FigureBase:
    """A Mapper graph with filters beside it (the paper's section 3).

    The size and the colour of a node say how many points it holds: blue is few, red is many. Beside the graph are
    filters for some nodes along its rim, as in the paper's Figure 3. Each is the mean of all points in the node and the
    nodes adjacent to it. There are as many as asked for, or as many as have room without covering the graph or one
    another.

    graph: as `topo.mapper.mapper_graph` makes it of `points`.
    thumbnails: the most filters to draw, 0 for none; it must be 0 where the points are not square patches.
    layout: "lens" puts each node at the mean of its points' first two principal components; "force" starts there and
    continues with the Fruchterman-Reingold algorithm; an array gives the positions themselves.
    smallest: the share of the points that a connected component must hold to be drawn; a note counts the others. The
    largest component is always drawn.
    side: of a filter, as a share of the graph's extent; fullest: the number of points at which the scale of colours
    ends, which begins at 1; None takes that of the fullest node; colorbar, note: whether to draw them.
    Raises TypeError or ValueError for a number out of range, a graph that is no Mapper graph, or a graph of other
    points.
    """
    return draw_plan(plan(graph, points, thumbnails, layout, smallest, side), colorbar, note, fullest, ax)


class Plan(NamedTuple):
    """Where a picture of a Mapper graph has what, in the unit of the layout.

    nodes: those that are drawn, by their number in the graph; positions, sizes, radii: of each of them, sizes being
    numbers of points; edges: pairs of places in `nodes`; anchors: places in `nodes` of those with a filter beside them;
    centres: of these filters; thumbnails: their values; side: their width; left_out: a note that counts what is not
    drawn.
    """

    nodes: Int64[np.ndarray, "drawn"]
    positions: Float64[np.ndarray, "drawn 2"]
    sizes: Integer[np.ndarray, "drawn"]
    radii: Float64[np.ndarray, "drawn"]
    edges: Int64[np.ndarray, "edges 2"]
    anchors: Int64[np.ndarray, "beside"]
    centres: Float64[np.ndarray, "beside 2"]
    thumbnails: Float64[np.ndarray, "beside pixels"]
    side: float
    left_out: str

    @property
    def extent(self) -> Float64[np.ndarray, "corners 2"]:
        """Points that the picture must hold: its margins around nodes and filters."""
        lone = not np.ptp(self.positions, axis=0).any()  # a single node does not fill the picture
        margin = 0.5 if lone else self.radii.max()
        beside = 0.55 * self.side
        around = self.positions - margin, self.positions + margin, self.centres - beside, self.centres + beside
        return np.concatenate(around)


def plan(
    graph: igraph.Graph,
    points: PointsLike,
    thumbnails: Whole = 20,
    layout: str | Real[np.ndarray, "_nodes 2"] | Sequence[Row] = "lens",
    smallest: Number = 0.01,
    side: Number = 0.09,
) -> Plan:
    """What `mapper` draws. Arguments and errors as for `mapper`."""
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
    edges = np.searchsorted(nodes, _edges_within(graph, nodes))
    extent = float(np.ptp(positions, axis=0).max()) or 1.0
    radii = _radii(sizes) * extent
    anchors, centres, beside = np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, points.shape[1]))
    if thumbnails:
        anchors, centres = places_beside(positions, radii, positions[edges], thumbnails, side * extent)
        beside = node_means(graph, points, hops=1)[nodes[anchors]]
    return Plan(nodes, positions, sizes, radii, edges, anchors, centres, beside, float(side * extent), left_out)


def draw_plan(
    planned: Plan, colorbar: bool = True, note: bool = True, fullest: Whole | None = None, ax: Axes | None = None
) -> FigureBase:
    """Draw what `plan` planned. Arguments and errors as for `mapper`."""
    fullest = int(planned.sizes.max()) if fullest is None else fullest
    check_whole(fullest, "fullest", 1)
    positions, side = planned.positions, planned.side
    ax = axes_for(ax, 6.4, 4.9)
    within = [np.array([ax.get_xlim(), ax.get_ylim()]).T] if ax.has_data() else []  # earlier drawings stay in view
    norm = _scale(fullest)
    _draw_graph(ax, positions, planned.sizes, planned.radii, positions[planned.edges], norm)
    if len(planned.anchors):
        leaders = np.stack([positions[planned.anchors], planned.centres], axis=1)
        ax.add_collection(LineCollection(leaders, colors=INK, linewidths=0.7, zorder=2))
        draw_patches(ax, planned.thumbnails, planned.centres, side)
    shown = np.concatenate([*within, planned.extent])
    (left, bottom), (right, top) = shown.min(axis=0), shown.max(axis=0)
    ax.set(xlim=(left, right), ylim=(bottom, top))
    hide_scales(ax)
    if note and planned.left_out:
        ax.text(0.5, -0.02, planned.left_out, transform=ax.transAxes, ha="center", va="top", fontsize=7.5, color=INK)
    if colorbar:
        _draw_scale(norm, [ax], shrink=0.5, aspect=25, pad=0.01)
    return ax.figure


def mappers(
    labelled: Labelled[tuple[igraph.Graph, PointsLike]],
    *,
    columns: Whole = 4,
    height: Number = 1.9,
    thumbnails: Whole = 8,
    side: Number = 0.16,
    note: bool = False,
    **style: Any,
) -> Figure:
    """Mapper graphs side by side, such as those of one layer at several times.

    All have one scale of colours, from one point (blue) to as many as the fullest node of all graphs has (red).

    labelled: each graph with its points; columns: panels in a row, each `height` inches high; the other arguments are
    as for `mapper`.
    Raises as `mapper` does, and ValueError where there is no graph.
    """
    texts, graphs = texts_and_values(labelled, "labelled")
    plans = [plan(graph, points, thumbnails=thumbnails, side=side, **style) for graph, points in graphs]
    figure, axes = wrapped_panels(texts, columns, height)
    norm = _draw_alike(plans, axes, WIDTH / min(columns, len(texts)) / height, note)
    _draw_scale(norm, axes, shrink=min(1, 2 / figure.get_figheight()), aspect=25, pad=0.01)
    return figure


def layers(
    labelled: Labelled[tuple[igraph.Graph, PointsLike, Barcode]],
    *,
    columns: Whole = 2,
    height: Number = 2.0,
    thumbnails: Whole = 12,
    side: Number = 0.13,
    max_bars: Whole = 8,
) -> Figure:
    """Layers side by side: of each the Mapper graph and, to its right, the bars of dimension 1, all on one scale.

    The graphs have one scale of colours, too, as in `mappers`.

    labelled: of each layer its graph with the graph's points, and its barcode; columns: layers in a row, each `height`
    inches high; thumbnails, side: as for `mapper`; max_bars: as for `barcode`.
    Raises as `mapper` and `barcode` do, and ValueError where there is no layer.
    """
    texts, given = texts_and_values(labelled, "labelled")
    check_whole(columns, "columns", 1)
    columns = min(int(columns), len(texts))
    rows = ceil(len(texts) / columns)
    figure = Figure((WIDTH, rows * height), layout="constrained")
    pairs = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[2, 1] * columns).reshape(-1, 2)
    ends = np.concatenate([bars[1].ravel() for _, _, bars in given])
    plans = [plan(graph, points, thumbnails, side=side) for graph, points, _ in given]
    limit = 1.05 * max(ends[np.isfinite(ends)], default=1.0)
    norm = _draw_alike(plans, list(pairs[:, 0]), 1.2, False)
    for (left, right), text, (_, _, bars) in zip(pairs, texts, given):
        left.set_title(text)
        barcode(bars, dimensions=(1,), max_bars=max_bars, limit=limit, label="$t$", ax=right)
    for left, right in pairs[len(texts) :]:
        left.remove()
        right.remove()
    _draw_scale(norm, list(pairs[: len(texts)].flat), location="bottom", shrink=0.4, aspect=40, pad=0.02)
    return figure


def _draw_alike(plans: Sequence[Plan], axes: Sequence[Axes], ratio: Number, note: bool) -> LogNorm:
    """Draw plans with one scale of colours, which is returned, in panels of one ratio of width to height.

    Panels of one ratio are of one size, so that the texts above and below them stand at one height.
    """
    fullest = int(max(planned.sizes.max() for planned in plans))
    for ax, planned in zip(axes, plans):
        planned = planned._replace(left_out=planned.left_out.replace(" in ", "\nin "))  # a panel has little width
        draw_plan(planned, colorbar=False, note=note, fullest=fullest, ax=ax)
        width, height = np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())
        wider, higher = max(0, ratio * height - width) / 2, max(0, width / ratio - height) / 2
        ax.set(xlim=np.add(ax.get_xlim(), (-wider, wider)), ylim=np.add(ax.get_ylim(), (-higher, higher)))
    return _scale(fullest)


def _scale(fullest: Whole) -> LogNorm:
    return LogNorm(1, max(int(fullest), 2))


def _draw_scale(norm: LogNorm, axes: Sequence[Axes], **look: Any) -> None:
    bar = axes[0].figure.colorbar(ScalarMappable(norm, COUNTS), ax=axes, label="points in the node", **look)
    bar.outline.set_visible(False)
    ticks = _count_ticks(norm)
    bar.set_ticks(ticks, labels=ticks)
    bar.minorticks_off()


def _draw_graph(
    ax: Axes,
    positions: Float[np.ndarray, "nodes 2"],
    sizes: Integer[np.ndarray, "nodes"],
    radii: Float[np.ndarray, "nodes"],
    ends: Float[np.ndarray, "edges 2 2"],
    norm: LogNorm,
) -> None:
    """Draw the nodes as discs, larger ones over smaller ones, and the edges below them."""
    # antialiased edges would double the bytes of the picture
    edges = LineCollection(ends, colors="0.86", linewidths=0.3, antialiased=False, zorder=1)
    order = np.argsort(sizes, kind="stable")
    across = 2 * radii[order]
    discs = EllipseCollection(
        across,
        across,
        np.zeros(len(order)),
        units="xy",
        offsets=positions[order],
        offset_transform=ax.transData,
        cmap=COUNTS,
        norm=norm,
        edgecolors=INK,
        linewidths=0.3,
        zorder=3,
    )
    discs.set_array(sizes[order])
    ax.add_collection(edges)
    ax.add_collection(discs)


def _layout(
    graph: igraph.Graph, points: Points, layout: str | Real[np.ndarray, "_nodes 2"] | Sequence[Row]
) -> Float64[np.ndarray, "nodes 2"]:
    """The positions of all nodes, for a `layout` as `mapper` takes it."""
    if isinstance(layout, str):
        if layout not in ("lens", "force"):
            raise ValueError(f"layout = {layout!r} must be 'lens', 'force' or positions of shape (nodes, 2)")
        positions = Lens().fit(points).transform(node_means(graph, points))
        if layout == "force":
            rounds = min(200, max(50, 100_000 // graph.vcount()))  # about 2 s for 5,000 nodes
            igraph.set_random_number_generator(random.Random(0))  # noqa: S311 -- without it no two runs agree
            positions = np.array(graph.layout_fruchterman_reingold(seed=positions.tolist(), niter=rounds).coords)
            igraph.set_random_number_generator(random)
        return positions
    positions = as_points(layout, "layout").astype(float)
    if positions.shape != (graph.vcount(), 2):
        raise ValueError(f"layout must have shape ({graph.vcount()}, 2), one position a node, not {positions.shape}")
    return positions


def _large_components(graph: igraph.Graph, n: int, smallest: Number) -> tuple[Int64[np.ndarray, "drawn"], str]:
    """The nodes of the components to draw, and a note that counts the others.

    A component is drawn where it holds at least the share `smallest` of the n points. The largest is always drawn.
    """
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


def _edges_within(graph: igraph.Graph, nodes: Int64[np.ndarray, "drawn"]) -> Int64[np.ndarray, "edges 2"]:
    """The edges that have both ends among `nodes`."""
    edges = np.array(graph.get_edgelist(), int).reshape(-1, 2)
    drawn = np.zeros(graph.vcount(), bool)
    drawn[nodes] = True
    return edges[drawn[edges].all(axis=1)]


def _radii(sizes: Integer[np.ndarray, "nodes"]) -> Float64[np.ndarray, "nodes"]:
    """The radii of nodes of these sizes, as shares of the graph's extent.

    The fullest node has the largest radius, which shrinks as the number of nodes grows. A node of one point has a third
    of it.
    """
    largest = np.clip(0.3 / sqrt(len(sizes)), 0.006, 0.025)
    return largest * (1 + 2 * np.log(sizes) / np.log(max(2, sizes.max()))) / 3


def _count_ticks(norm: LogNorm) -> Int64[np.ndarray, "ticks"]:
    """Those of 1, 2, 5, 10, 20, 50, … within the norm's limits, or the two limits where fewer than two are."""
    ticks = np.outer(10 ** np.arange(10), [1, 2, 5]).ravel()
    ticks = ticks[(ticks >= norm.vmin) & (ticks <= norm.vmax)]
    return ticks if len(ticks) > 1 else np.array([norm.vmin, norm.vmax], int)
