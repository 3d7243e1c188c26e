"""Mapper graphs that answer in a page: what is in a node, and colours by several measures.

Knows graphs, the points in their nodes, and the script graph.js beside it; must not know which page shows them.
"""

import json
from math import isqrt
from pathlib import Path
from typing import Any

import igraph
import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_hex

from topo import spaces
from topo.checks import as_points
from topo.figures.graphs import COUNTS, Plan, draw_plan, plan
from topo.figures.style import AMOUNTS, Figure
from topo.mapper import node_means
from topo.types import PointsLike, Row, Rows

MIMETYPE = "application/vnd.topo.graph"
SCRIPT, STYLE = Path(__file__).with_name("graph.js"), Path(__file__).with_name("graph.css")

_WIDTH = 1000  # of the drawing, in its own unit
_GRAYS = 99  # of a filter: whole numbers from -99, black, to 99, white


class Explorer(Figure):
    """The picture that `explorer` makes; a notebook's output holds what graph.js draws, too.

    data: what graph.js draws.
    """

    data: dict[str, Any]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {MIMETYPE: json.dumps(self.data, separators=(",", ":"))}  # IPython adds the picture and plain text

    def embedded(self, picture: str) -> str:
        """The data as HTML, for a page that has SCRIPT and STYLE in it, and the picture in the element `picture`."""
        data = self._repr_mimebundle_()[MIMETYPE].replace("<", r"\u003c")
        return f'<script type="application/json" class="mapper-graph" data-picture="{picture}">{data}</script>'


def explorer(
    graph: igraph.Graph,
    points: PointsLike,
    *,
    distances: Row | None = None,
    networks: Rows | None = None,
    **style: Any,
) -> Explorer:
    """The picture that `mapper` makes, which in a page also answers: point at a node, tap it or go there by arrow keys.

    It then shows the mean filter of the node's points, how many these are and, where they are 3x3 patches, their angle
    on the primary circle and their mean distance to it. A switch colours the nodes by any of these.

    graph: as `topo.mapper.mapper_graph` makes it of `points`, which are square patches; distances: of each point to its
    k-th neighbour, small where the cloud is dense, to show and to colour by, too; networks: the number of the network
    that each point is from, to show how many networks a node has; the other arguments are as for `mapper`.
    Raises as `mapper` does, and ValueError where the points are no square patches, or distances or networks are too
    many or too few.
    """
    points = as_points(points)
    if isqrt(points.shape[1]) ** 2 != points.shape[1]:
        raise ValueError(f"points {points.shape} are no square patches (n, w*w) to show")
    for name, row in (("distances", distances), ("networks", networks)):
        if row is not None and len(row) != len(points):
            raise ValueError(f"there are {len(row)} {name} for {len(points)} points")
    drawing = {name: style.pop(name) for name in ("colorbar", "note") if name in style}
    planned = plan(graph, points, **style)
    figure = Explorer((6.4, 4.9), layout="constrained")
    draw_plan(planned, ax=figure.subplots(), **drawing)
    means = node_means(graph, points)[planned.nodes]
    figure.data = _geometry(planned) | {"filters": _grays(means), "measures": [_sizes(planned)]}
    figure.data["note"] = planned.left_out
    if networks is not None:
        known, numbers = np.unique(np.asarray(networks), return_inverse=True)
        held = [len(np.unique(numbers[rows])) for rows in graph.vs[planned.nodes.tolist()]["node_elements"]]
        figure.data |= {"networks": held, "of": len(known)}
    by_point = {}
    if distances is not None:
        by_point["distance to the k-th neighbour, small where it is dense"] = np.asarray(distances, float)
    if points.shape[1] == 9:
        circle = spaces.primary_circle(np.arange(720) * 2 * np.pi / 720)
        by_point["distance to the primary circle"] = spaces.distance_to(points, circle)
        angles = np.degrees(spaces.primary_angle(means)) % 360
        ring = {"values": np.round(angles).astype(int).tolist(), "low": 0, "high": 360, "unit": "°"}
        figure.data["measures"].append({"label": "angle on the primary circle", "colors": _colors("twilight"), **ring})
    for label, row in by_point.items():
        values = [float(f"{value:.3g}") for value in node_means(graph, row[:, None])[planned.nodes, 0]]
        span = {"values": values, "low": min(values), "high": max(values)}
        figure.data["measures"].append({"label": label, "colors": _colors(AMOUNTS), **span})
    return figure


def _geometry(planned: Plan) -> dict[str, Any]:
    """Places and sizes for graph.js, in a drawing that is _WIDTH wide and whose y goes down."""
    corners = planned.extent
    (left, bottom), (right, top) = corners.min(axis=0), corners.max(axis=0)
    scale = _WIDTH / (right - left)
    placed = lambda positions: np.round((positions - [left, top]) * [scale, -scale]).astype(int).tolist()
    neighbors: list[list[int]] = [[] for _ in planned.nodes]
    for low, high in np.sort(planned.edges, axis=1).tolist():
        neighbors[low].append(high)
    return {
        "width": _WIDTH,
        "height": round((top - bottom) * scale),
        "nodes": placed(planned.positions),
        "radii": np.round(planned.radii * scale, 1).tolist(),
        "neighbors": neighbors,
        "anchors": planned.anchors.tolist(),
        "beside": placed(planned.centres),
        "thumbnails": _grays(planned.thumbnails),
        "side": round(planned.side * scale),
    }


def _sizes(planned: Plan) -> dict[str, Any]:
    sizes = planned.sizes.tolist()
    span = {"values": sizes, "low": 1, "high": max(*sizes, 2), "logarithmic": True}
    return {"label": "points in the node", "colors": _colors(COUNTS), **span}


def _grays(filters: Float[np.ndarray, "filters pixels"]) -> list[list[int]]:
    """Filters as whole numbers from -_GRAYS to _GRAYS, each relative to its own largest absolute value."""
    largest = np.abs(filters).max(axis=1, keepdims=True)
    relative = np.divide(filters, largest, out=np.zeros(filters.shape), where=largest > 0)
    return np.round(_GRAYS * relative).astype(int).tolist()


def _colors(name: str, steps: int = 11) -> list[str]:
    return [to_hex(color) for color in matplotlib.colormaps[name](np.linspace(0, 1, steps))]
