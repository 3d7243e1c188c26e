"""Where thumbnails find room beside a drawing of nodes and edges, so that none covers the drawing or another.

Knows positions, radii and the ends of edges; must not know what a thumbnail shows, nor draw anything.
"""

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from topo.types import Number, Whole


def places_beside(
    positions: Float[np.ndarray, "nodes 2"],
    radii: Float[np.ndarray, "nodes"],
    ends: Float[np.ndarray, "edges 2 2"],
    count: Whole,
    side: Number,
) -> tuple[Int64[np.ndarray, "boxes"], Float64[np.ndarray, "boxes 2"]]:
    """Choose nodes spread evenly over the rim of a drawing, and a place for a box beside each.

    No box covers a node, an edge, another box or a leader, which is the line from a node to its box. Each box is near
    its node, and preferably outwards from it.

    positions, radii: of the discs drawn; ends: both ends of each edge; count: the most boxes; side: of a box, in the
    unit of the positions.
    Returns the nodes and the centres of their boxes, fewer than `count` where there is too little room.
    """
    reach, free = _free_places(positions, radii, ends, side)
    rim = np.flatnonzero(reach <= side + radii.max())
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
    anchors, centres = [], np.zeros((0, 2))
    for anchor in rim[_spread(positions[rim], middle, count, 1.4 * side)]:
        start = positions[anchor]
        centre = _best_place(free, start, start - middle, centres, side)
        if centre is None:
            continue
        anchors.append(anchor)
        centres = np.vstack([centres, centre])
        free = free[_chebyshev(free, centre[None]) > 1.15 * side]
        free = free[_chebyshev(free, _along(start, centre)) > 0.6 * side]
    return np.array(anchors, int), centres


def _spread(
    places: Float[np.ndarray, "places 2"], middle: Float[np.ndarray, "2"], count: Whole, apart: Number
) -> Int64[np.ndarray, "chosen"]:
    """Choose at most `count` of the places, evenly spread however dense the places are, and return their rows.

    Farthest-point sampling, from the place farthest from `middle`, thins the places out. How many it takes before its
    gaps fall to `apart` is how many fit. Lloyd's algorithm then evens out the gaps; it may bring two places slightly
    nearer than `apart`.
    """
    if not len(places):
        return np.zeros(0, int)
    rows, gaps = [int(np.linalg.norm(places - middle, axis=1).argmax())], [np.inf]
    nearest = np.linalg.norm(places - places[rows[0]], axis=1)
    while nearest.max() > apart / 12:
        rows.append(int(nearest.argmax()))
        gaps.append(float(nearest.max()))
        nearest = np.minimum(nearest, np.linalg.norm(places - places[rows[-1]], axis=1))
    thinned = places[rows]
    seeds = thinned[: min(count, np.searchsorted(-np.array(gaps), -apart))]
    means, _ = kmeans2(thinned, seeds, iter=100, minit="matrix")
    return np.unique(cKDTree(places).query(means)[1])


def _free_places(
    positions: Float[np.ndarray, "nodes 2"],
    radii: Float[np.ndarray, "nodes"],
    ends: Float[np.ndarray, "edges 2 2"],
    side: Number,
) -> tuple[Float[np.ndarray, "nodes"], Float[np.ndarray, "places 2"]]:
    """Find the places where a box covers nothing that is drawn, on a grid of eight cells to the side of a box.

    Returns the Chebyshev distance from each node to the nearest such place, and all such places.
    """
    cell = side / 8
    low, high = positions.min(axis=0) - 2.5 * side, positions.max(axis=0) + 2.5 * side
    blank = np.ones(np.ceil((high - low) / cell).astype(int) + 1, bool)

    def cells(places: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.rint((places - low) / cell).astype(int).T)

    steps = min(64, 2 + int(np.abs(ends[:, 1] - ends[:, 0]).max(initial=0) / cell))
    blank[cells(_along(ends[:, 0], ends[:, 1], steps).reshape(-1, 2))] = False
    blank[cells(positions)] = False
    drawn = ndimage.distance_transform_edt(blank) * cell <= radii.max() + cell
    box = 2 * round(side / cell / 2) + 3
    free = ~ndimage.maximum_filter(drawn, box)
    reach = ndimage.distance_transform_cdt(~free, "chessboard")[cells(positions)] * cell
    return reach, np.argwhere(free) * cell + low


def _best_place(
    free: Float[np.ndarray, "places 2"],
    start: Float[np.ndarray, "2"],
    outward: Float[np.ndarray, "2"],
    centres: Float[np.ndarray, "boxes 2"],
    side: Number,
) -> Float[np.ndarray, "2"] | None:
    """Choose the best of the free places for the box of the node at `start`, or None where none will do.

    A place is the better the nearer it is to the node and the closer its direction is to `outward`. The leader to it
    must not cross a box at one of the centres. Only the best 200 places within 2.5 sides are tried.
    """
    free = free[_chebyshev(free, start[None]) < 2.5 * side]
    offsets = free - start
    distances = np.linalg.norm(offsets, axis=1)
    cosines = offsets @ outward / (distances * np.linalg.norm(outward) + 1e-12)
    costs = distances * (3 - cosines)
    for place in free[np.argsort(costs)[:200]]:
        if _chebyshev(_along(start, place), centres).min(initial=np.inf) > 0.6 * side:
            return place
    return None


def _along(
    start: Float[np.ndarray, "*many dim"], end: Float[np.ndarray, "*many dim"], steps: int = 16
) -> Float[np.ndarray, "{steps} *many dim"]:
    """Evenly spaced points from start to end."""
    share = np.linspace(0, 1, steps).reshape(-1, *[1] * np.ndim(start))
    return start * (1 - share) + end * share


def _chebyshev(
    places: Float[np.ndarray, "places 2"], others: Float[np.ndarray, "others 2"]
) -> Float[np.ndarray, "places"]:
    """The Chebyshev distance from each place to the nearest of the others, inf where there are none.

    It is the largest difference of a coordinate: boxes of one side overlap where it is less than that side.
    """
    return cdist(places, others, "chebyshev").min(axis=1, initial=np.inf)
