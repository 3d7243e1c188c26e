"""Pictures of Mapper graphs, with filters beside them.

Knows graphs and the points in their nodes; must not know how the graphs were made, nor where thumbnails find room.
"""

import random
from collections.abc import Callable, Sequence
from math import ceil, isqrt, sqrt
from typing import Any, NamedTuple

import igraph
import numpy as np
from jaxtyping import Float, Float64, Int64, Integer, Shaped
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm
from matplotlib.figure import FigureBase

from topo.checks import as_points, check_whole
from topo.figures.barcodes import barcode
from topo.figures.patches import draw_patches
from topo.figures.placement import places_beside
from topo.figures.style import (
    INK,
    NARROW,
    WIDTH,
    Figure,
    Labelled,
    axes_for,
    hide_scales,
    texts_and_values,
    wrapped_panels,
)
from topo.mapper import Lens, node_means, node_sizes
from topo.types import Barcode, Number, Points, PointsLike, Real, Row, Whole

COUNTS = "RdYlBu_r"  # from blue to red, as in the paper
ALONE = NARROW, 4.9  # inches: width and height of a figure with one graph

Layout = str | Callable[[Points], Real[np.ndarray, "_nodes 2"]] | Real[np.ndarray, "_nodes 2"] | Sequence[Row]


def mapper(
    graph: igraph.Graph,
    points: PointsLike,
    *,
    thumbnails: Whole = 20,
    layout: Layout = "lens",
    smallest: Number = 0.01,
    side: Number = 0.09,
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
    continues with the Fruchterman-Reingold algorithm; a function takes the nodes' means to positions; an array gives
    the positions themselves.
    smallest: the share of the points that a connected component must hold to be drawn; a note counts the others. The
    largest component is always drawn.
    side: of a filter, as a share of the graph's extent; colorbar, note: whether to draw them.
    Raises TypeError or ValueError for a number out of range, a graph that is no Mapper graph, or a graph of other
    points.
    """
    return draw_plan(plan(graph, points, thumbnails, layout, smallest, side), colorbar, note, ax)


class Scale(NamedTuple):
    """What the graphs of one picture have in common.

    extent: of a graph, in the unit of the layout; nodes: of the graph that has the most; most: points in a node.
    """

    extent: float
    nodes: int
    most: int

    @property
    def colours(self) -> LogNorm:
        """The scale of numbers of points, from 1 on: a node that stands alone is not the fewest but the most."""
        return LogNorm(1, max(2, self.most))


class Plan(NamedTuple):
    """Where a picture of a Mapper graph has what, in the unit of the layout.

    nodes: those that are drawn, by their number in the graph; positions, sizes, radii: of each of them, sizes being
    numbers of points; edges: pairs of places in `nodes`; anchors: places in `nodes` of those with a filter beside them;
    centres: of these filters; thumbnails: their values; side: their width; left_out: a note that counts what is not
    drawn; scale: of this graph, or of all in the picture.
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
    scale: Scale

    @property
    def corners(self) -> Float64[np.ndarray, "2 2"]:
        """Lower left and upper right corner of a picture that holds nodes and filters."""
        lone = not np.ptp(self.positions, axis=0).any()  # a single node does not fill the picture
        margin = 0.5 if lone else self.radii.max()
        beside = 0.55 * self.side
        around = self.positions - margin, self.positions + margin, self.centres - beside, self.centres + beside
        return corners_of(np.concatenate(around))


def corners_of(places: Float[np.ndarray, "places 2"]) -> Float[np.ndarray, "2 2"]:
    """The lower left and the upper right corner of the box around some places."""
    return np.stack([places.min(axis=0), places.max(axis=0)])


def plan(
    graph: igraph.Graph,
    points: PointsLike,
    thumbnails: Whole = 20,
    layout: Layout = "lens",
    smallest: Number = 0.01,
    side: Number = 0.09,
    scale: Scale | None = None,
) -> Plan:
    """What `mapper` draws. scale: of the picture, of this graph where None; the rest, and errors, as for `mapper`."""
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
    scale = scale or Scale(float(np.ptp(positions, axis=0).max()) or 1.0, len(nodes), int(sizes.max()))
    radii = _radii(sizes, scale) * scale.extent
    anchors, centres, beside = np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, points.shape[1]))
    if thumbnails:
        anchors, centres = places_beside(positions, radii, positions[edges], thumbnails, side * scale.extent)
        beside = node_means(graph, points, hops=1)[nodes[anchors]]
    side = float(side * scale.extent)
    return Plan(nodes, positions, sizes, radii, edges, anchors, centres, beside, side, left_out, scale)


def plans(graphs: Sequence[tuple[igraph.Graph, PointsLike]], layout: Layout, **style: Any) -> list[Plan]:
    """What `mappers` draws, on one scale: colours are, and where the layout is a function, so are places and sizes.

    graphs: one or more, each with its points. The other arguments, and errors, are as for `plan`.
    """
    apart = [plan(graph, points, layout=layout, **style | {"thumbnails": 0}) for graph, points in graphs]
    most = max(each.scale.most for each in apart)
    scales = [each.scale._replace(most=most) for each in apart]
    if callable(layout):
        extent = float(np.ptp(np.concatenate([each.positions for each in apart]), axis=0).max()) or 1.0
        scales = [Scale(extent, max(each.nodes for each in scales), most)] * len(scales)
    return [plan(*each, layout=layout, scale=scale, **style) for each, scale in zip(graphs, scales)]


def draw_plan(planned: Plan, colorbar: bool = True, note: bool = True, ax: Axes | None = None) -> FigureBase:
    """Draw what `plan` planned. Arguments as for `mapper`."""
    positions, side = planned.positions, planned.side
    ax = axes_for(ax, *ALONE)
    within = [np.array([ax.get_xlim(), ax.get_ylim()]).T] if ax.has_data() else []  # earlier drawings stay in view
    _draw_graph(ax, planned)
    if len(planned.anchors):
        leaders = np.stack([positions[planned.anchors], planned.centres], axis=1)
        ax.add_collection(LineCollection(leaders, colors=INK, linewidths=0.7, zorder=2))
        draw_patches(ax, planned.thumbnails, planned.centres, side)
    (left, bottom), (right, top) = corners_of(np.concatenate([*within, planned.corners]))
    ax.set(xlim=(left, right), ylim=(bottom, top))
    hide_scales(ax)
    if note and planned.left_out:
        ax.text(0.5, -0.02, planned.left_out, transform=ax.transAxes, ha="center", va="top", fontsize=7.5, color=INK)
    if colorbar:
        _draw_colorbar(planned.scale, [ax], location="bottom", shrink=0.6, aspect=30, pad=0.02)
    return ax.figure


def draw_plans(texts: Sequence[str], planned: Sequence[Plan], columns: Whole, height: Number, note: bool) -> Figure:
    """Draw what `plans` planned, a text above each. Arguments as for `mappers`."""
    figure, axes = wrapped_panels(texts, columns, height)
    for ax, each in zip(axes, planned):
        narrow = each._replace(left_out=each.left_out.replace(" in ", "\nin "))  # a panel has little width
        draw_plan(narrow, False, note, ax)
    if len({each.scale for each in planned}) == 1:
        (left, bottom), (right, top) = corners_of(np.concatenate([each.corners for each in planned]))
        for ax in axes:
            ax.set(xlim=(left, right), ylim=(bottom, top))
    _shape_alike(axes, WIDTH / min(columns, len(texts)) / height)
    _draw_colorbar(planned[0].scale, axes, location="bottom", shrink=0.4, aspect=40, pad=0.02)
    return figure


def mappers(
    labelled: Labelled[tuple[igraph.Graph, PointsLike]],
    *,
    columns: Whole = 4,
    height: Number = 1.9,
    thumbnails: Whole = 8,
    side: Number = 0.16,
    layout: Layout = "lens",
    smallest: Number = 0.01,
    note: bool = False,
) -> Figure:
    """Mapper graphs side by side, such as those of one layer at several times, with one colour bar for all.

    Where the layout is a function, places and sizes are on one scale, too: what lies at one place in two panels is
    alike.

    labelled: each graph with its points; columns: panels in a row, each `height` inches high; the other arguments are
    as for `mapper`.
    Raises as `mapper` does, and ValueError where there is no graph.
    """
    texts, graphs = texts_and_values(labelled, "labelled")
    planned = plans(graphs, layout, thumbnails=thumbnails, smallest=smallest, side=side)
    return draw_plans(texts, planned, columns, height, note)


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
    limit = 1.05 * max(ends[np.isfinite(ends)], default=1.0)
    planned = plans([(graph, points) for graph, points, _ in given], "lens", thumbnails=thumbnails, side=side)
    for (left, right), text, each, (_, _, bars) in zip(pairs, texts, planned, given):
        left.set_title(text)
        draw_plan(each, colorbar=False, note=False, ax=left)
        barcode(bars, dimensions=(1,), max_bars=max_bars, limit=limit, label="$t$", ax=right)
    for left, right in pairs[len(texts) :]:
        left.remove()
        right.remove()
    _shape_alike(pairs[: len(texts), 0], 1.2)
    _draw_colorbar(planned[0].scale, pairs[: len(texts)].ravel(), location="bottom", shrink=0.4, aspect=40, pad=0.02)
    return figure


def _shape_alike(axes: Sequence[Axes] | Shaped[np.ndarray, "axes"], ratio: Number) -> None:
    """Widen limits to one ratio of width to height: such panels have one size, and their texts stand at one height."""
    for ax in axes:
        width, height = np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())
        wider, higher = max(0, ratio * height - width) / 2, max(0, width / ratio - height) / 2
        ax.set(xlim=np.add(ax.get_xlim(), (-wider, wider)), ylim=np.add(ax.get_ylim(), (-higher, higher)))


def _draw_colorbar(scale: Scale, axes: Sequence[Axes] | Shaped[np.ndarray, "axes"], **place: Any) -> None:
    mappable = ScalarMappable(scale.colours, COUNTS)
    bar: Colorbar = axes[0].figure.colorbar(mappable, ax=axes, label="points in the node", **place)
    bar.outline.set_visible(False)
    ticks = _count_ticks(scale.most)
    bar.set_ticks(ticks, labels=ticks)
    bar.minorticks_off()


def _draw_graph(ax: Axes, planned: Plan) -> None:
    """Draw the nodes as discs, larger ones over smaller ones, and the edges below them."""
    positions, sizes = planned.positions, planned.sizes
    # antialiased edges would double the bytes of the picture
    ends = positions[planned.edges]
    edges = LineCollection(ends, colors="0.86", linewidths=0.3, antialiased=False, zorder=1)
    order = np.argsort(sizes, kind="stable")
    across = 2 * planned.radii[order]
    discs = EllipseCollection(
        across,
        across,
        np.zeros(len(order)),
        units="xy",
        offsets=positions[order],
        offset_transform=ax.transData,
        cmap=COUNTS,
        norm=planned.scale.colours,
        edgecolors=INK,
        linewidths=0.3,
        zorder=3,
    )
    discs.set_array(sizes[order])
    ax.add_collection(edges)
    ax.add_collection(discs)


def _layout(graph: igraph.Graph, points: Points, layout: Layout) -> Float64[np.ndarray, "nodes 2"]:
    """The positions of all nodes, for a `layout` as `mapper` takes it."""
    if isinstance(layout, str):
        if layout not in ("lens", "force"):
            raise ValueError(f"layout = {layout!r} must be 'lens', 'force' or positions of shape (nodes, 2)")
        positions = Lens().fit(points).transform(node_means(graph, points))
        if layout == "force":
            rounds = min(200, max(50, 100_000 // graph.vcount()))  # about 2 s for 5,000 nodes
            igraph.set_random_number_generator(random.Random(0))  # noqa: S311 -- else no two runs agree
            positions = np.array(graph.layout_fruchterman_reingold(seed=positions.tolist(), niter=rounds).coords)
            igraph.set_random_number_generator(random)
        return positions
    positions = as_points(layout(node_means(graph, points)) if callable(layout) else layout, "layout").astype(float)
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


def _radii(sizes: Integer[np.ndarray, "nodes"], scale: Scale) -> Float64[np.ndarray, "nodes"]:
    """The radii of nodes of these sizes, as shares of the scale's extent.

    The fullest node has the largest radius, which shrinks as the number of nodes grows. A node of one point has a third
    of it.
    """
    return largest_radius(scale) * (1 + 2 * np.log(sizes) / np.log(max(2, scale.most))) / 3


def largest_radius(scale: Scale) -> float:
    """The radius of the fullest node, as a share of the scale's extent."""
    return float(np.clip(0.3 / sqrt(scale.nodes), 0.006, 0.025))


def _count_ticks(most: Whole) -> Int64[np.ndarray, "ticks"]:
    """Those of 1, 2, 5, 10, 20, 50, … that are not above `most`, and 1 and 2 at least."""
    ticks = np.outer(10 ** np.arange(10), [1, 2, 5]).ravel()
    return ticks[ticks <= max(2, most)]
