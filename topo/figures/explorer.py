"""Mapper graphs that answer in a page: what is in a node, colours by several measures, one time after another.

Knows graphs, the points in their nodes, and what the script graph.js draws; must not know which page shows them.
"""

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import igraph
import matplotlib
import numpy as np
from jaxtyping import Float64
from matplotlib.colors import to_hex

from topo import spaces
from topo.checks import as_points
from topo.figures.graphs import (
    ALONE,
    COUNTS,
    Layout,
    Plan,
    corners_of,
    draw_plan,
    draw_plans,
    largest_radius,
    plan,
    plans,
)
from topo.figures.packing import LEVELS, digits_of, gray_levels, packed
from topo.figures.style import AMOUNTS, Figure, Labelled, texts_and_values
from topo.mapper import node_means
from topo.types import Number, Points, PointsLike, Row, Rows, Whole

_WIDTH = 1000  # of the drawing, in its own unit
_STEPS = LEVELS**2 - 1  # from the lowest to the highest value of a measure

Values = Float64[np.ndarray, "_nodes"]


def explorer(
    graph: igraph.Graph,
    points: PointsLike,
    *,
    distances: Row | None = None,
    networks: Rows | None = None,
    measures: Mapping[str, Row] | None = None,
    **style: Any,
) -> Figure:
    """The picture that `mapper` makes, which in a page also answers: point at a node, tap it or go there by arrow keys.

    It then shows the mean filter of the node's points, how many these are and, where they are 3x3 patches, their angle
    on the primary circle and their mean distance to it. A switch colours the nodes by any of these.

    graph: as `topo.mapper.mapper_graph` makes it of `points`, which are square patches; distances: of each point to its
    k-th neighbour, small where the cloud is dense, to show and to colour by, too; networks: the number of the network
    that each point is from, to show how many networks a node has; measures: other numbers to show and to colour by, one
    for each point, by what they are called; the other arguments are as for `mapper`.
    Raises as `mapper` does, and ValueError where the points are no square patches, or distances, networks or measures
    are too many or too few.
    """
    points = _patches(points)
    rows = {"distances": distances, "networks": networks}
    rows |= {f"values of {label!r}": row for label, row in (measures or {}).items()}
    for name, row in rows.items():
        if row is not None and len(row) != len(points):
            raise ValueError(f"there are {len(row)} {name} for {len(points)} points")
    drawing = {name: style.pop(name) for name in ("colorbar", "note") if name in style}
    planned = plan(graph, points, **style)
    figure = Figure(ALONE, layout="constrained")
    draw_plan(planned, ax=figure.subplots(), **drawing)
    nearest = {} if distances is None else {"distance to the k-th neighbour, small where it is dense": distances}
    figure.answers = _answers([""], [graph], [points], [planned], nearest | dict(measures or {}))
    if networks is not None:
        known, numbers = np.unique(np.asarray(networks), return_inverse=True)
        held = [len(np.unique(numbers[rows])) for rows in graph.vs[planned.nodes.tolist()]["node_elements"]]
        figure.answers |= {"of": len(known), "digits": digits_of(len(known))}
        figure.answers["frames"][0]["networks"] = packed(held, digits_of(len(known)))
    return figure


def explorers(
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
    """The picture that `mappers` makes, below which a page has one of its graphs, a slider to go through all of them.

    The graph answers as that of `explorer` does. Colours have one scale for all graphs; where the layout is a function,
    so have places and sizes. A node that was chosen gives way to the one nearest to its place.

    Arguments and errors as for `mappers`, and ValueError where the points are no square patches.
    """
    texts, given = texts_and_values(labelled, "labelled")
    graphs, clouds = [graph for graph, _ in given], [_patches(points) for _, points in given]
    planned = plans(list(zip(graphs, clouds)), layout, thumbnails=thumbnails, smallest=smallest, side=side)
    figure = draw_plans(texts, planned, columns, height, note)
    figure.answers = _answers(texts, graphs, clouds, planned, {}) | {"stays": True}
    return figure


def _patches(points: PointsLike) -> Points:
    points = as_points(points)
    if isqrt(points.shape[1]) ** 2 != points.shape[1]:
        raise ValueError(f"points {points.shape} are no square patches (n, w*w) to show")
    return points


def _answers(
    texts: Sequence[str],
    graphs: Sequence[igraph.Graph],
    clouds: Sequence[Points],
    planned: Sequence[Plan],
    by_point: Mapping[str, Row],
) -> dict[str, Any]:
    """What graph.js draws, of one graph or of several on one scale. by_point: measures of the points, of one graph."""
    means = [node_means(graph, points)[each.nodes] for graph, points, each in zip(graphs, clouds, planned)]
    by_node = {
        label: [node_means(graphs[0], np.asarray(row, float)[:, None])[planned[0].nodes, 0]]
        for label, row in by_point.items()
    }
    measures = [_sizes(planned)]
    if clouds[0].shape[1] == 9:
        circle = spaces.primary_circle(np.arange(720) * 2 * np.pi / 720)
        measures.append(_angles([np.degrees(spaces.primary_angle(each)) for each in means]))
        by_node["distance to the primary circle"] = [
            node_means(graph, spaces.distance_to(points, circle)[:, None])[each.nodes, 0]
            for graph, points, each in zip(graphs, clouds, planned)
        ]
    measures += [_amounts(label, values) for label, values in by_node.items()]
    several = len({each.scale for each in planned}) == 1
    corners = [each.corners for each in planned]
    if several:
        corners = [corners_of(np.concatenate(corners))] * len(planned)
    sizes = np.ptp(np.array(corners), axis=1)
    drawing_height = round(_WIDTH * (sizes[:, 1] / sizes[:, 0]).max())
    units = [min(_WIDTH / width, drawing_height / tall) for width, tall in sizes]
    return {
        "kind": "graph",
        "width": _WIDTH,
        "height": drawing_height,
        "pixels": clouds[0].shape[1],
        "measures": [measure for measure, _ in measures],
        "frames": [
            _frame(texts[i], planned[i], means[i], corners[i], units[i], [values[i] for _, values in measures])
            for i in range(len(texts))
        ],
    }


def _frame(
    text: str,
    planned: Plan,
    means: Float64[np.ndarray, "nodes pixels"],
    corners: Float64[np.ndarray, "2 2"],
    unit: float,
    values: Sequence[str],
) -> dict[str, Any]:
    """One graph, in a drawing whose y goes down; unit: of the drawing, one of the layout is so many."""
    placed = lambda positions: packed(np.round((positions - corners[[0, 1], [0, 1]]) * [unit, -unit]), 2)
    largest = largest_radius(planned.scale) * planned.scale.extent
    return {
        "label": text,
        "note": planned.left_out,
        "nodes": placed(planned.positions),
        "largest": round(largest * unit, 2),
        "radii": packed(np.round(planned.radii / largest * (LEVELS - 1)), 1),
        "neighbors": packed(_steps(planned), 1),
        "filters": packed(gray_levels(means), 1),
        "values": values,
        "anchors": packed(planned.anchors, 3),
        "beside": placed(planned.centres),
        "thumbnails": packed(gray_levels(planned.thumbnails), 1),
        "side": round(planned.side * unit, 1),
    }


def _steps(planned: Plan) -> list[int]:
    """Of each node the steps to its neighbours of a higher number, each from the one before, and 0 for their end.

    A step has one digit: 63 says that it is 62 and what follows.
    """
    steps: list[list[int]] = [[] for _ in planned.nodes]
    last = list(range(len(steps)))
    for low, high in np.unique(np.sort(planned.edges, axis=1), axis=0).tolist():
        more, rest = divmod(high - last[low] - 1, LEVELS - 2)
        steps[low] += [LEVELS - 1] * more + [rest + 1]
        last[low] = high
    return [step for each in steps for step in [*each, 0]]


Measure = tuple[dict[str, Any], list[str]]  # what it is, and its values for the nodes of each graph


def _sizes(planned: Sequence[Plan]) -> Measure:
    most = planned[0].scale.most
    span = {"low": 1, "high": max(2, most), "base": 0, "step": 1, "digits": digits_of(most), "logarithmic": True}
    return _measure("points in the node", COUNTS, span, [each.sizes for each in planned])


def _angles(degrees: Sequence[Values]) -> Measure:
    span = {"low": 0, "high": 360, "base": 0, "step": 1, "digits": 2, "unit": "°"}
    return _measure("angle on the primary circle", "twilight", span, [np.round(each) % 360 for each in degrees])


def _amounts(label: str, values: Sequence[Values]) -> Measure:
    low, high = (float(f"{of(np.concatenate(values)):.4g}") for of in (np.min, np.max))
    step = (high - low) / _STEPS or 1e-9
    span = {"low": low, "high": high, "base": low, "step": step, "digits": 2}
    return _measure(label, AMOUNTS, span, [np.clip(np.round((each - low) / step), 0, _STEPS) for each in values])


def _measure(label: str, colors: str, span: dict[str, Any], numbers: Sequence[np.ndarray]) -> Measure:
    shades = [to_hex(color) for color in matplotlib.colormaps[colors](np.linspace(0, 1, 11))]
    return {"label": label, "colors": shades, **span}, [packed(each, span["digits"]) for each in numbers]
