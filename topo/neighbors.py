"""Exact nearest neighbours, spanning tree, single linkage and density peaks of a point cloud, compiled by Numba.

Knows distances in a float64 array; must not know what the points stand for. Callers check their input.

The points are sorted into leaves of 64 by a balanced kd-tree and kept coordinate by coordinate, so that one query
against one leaf is a few vector instructions. The queries of one leaf are answered together, while it is in the cache.
Other leaves are visited in the order of the distance between the boxes around them; a leaf farther away than the
distance found so far is skipped. The k-th neighbours of many points are searched in float32 first, with a known error,
and only those candidates are compared in float64 that the error leaves open.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int64, Integer
from numba import config

from topo import compiled
from topo.compiled import LEAF
from topo.machine import accelerated, threads
from topo.types import Number, Points, Whole

_FEW = 1000  # points for which float32 is no faster: to turn them takes longer than it saves
_PAIRS_AT_ONCE = 2**25  # distances that an accelerator holds: 256 MiB


class _Leaves(NamedTuple):
    """The points of a cloud, sorted into leaves.

    order: the rows of the points, leaf by leaf; blocks: their coordinates, the last leaf filled up with infinity;
    low, high: the corners of the box around every leaf.
    """

    order: Int64[np.ndarray, "points"]
    blocks: Float[np.ndarray, "leaves dim 64"]
    low: Float[np.ndarray, "dim leaves"]
    high: Float[np.ndarray, "dim leaves"]


class _Rounded(NamedTuple):
    """The same points in the same leaves, centred, turned and rounded to float32; the coordinates are a multiple of 8.

    blocks, low, high: as in `_Leaves`, a leaf in one row; slack, relative: a distance and what float32 makes of it, r,
    differ by slack + relative * r at most.
    """

    blocks: Float32[np.ndarray, "leaves dim*64"]
    low: Float32[np.ndarray, "dim leaves"]
    high: Float32[np.ndarray, "dim leaves"]
    slack: float
    relative: float


def kth_distances(points: Points, ks: Sequence[Whole]) -> Float64[np.ndarray, "ks points"]:
    """Distance of every point to the k-th nearest of the others, for every k.

    Exact: coordinate differences in float64. On a GPU or TPU that JAX finds, all pairs are compared, a block at a time;
    on a processor, the leaves that the module's docstring describes are searched, in float32 where its error is known
    to change nothing. Memory grows linearly in the number of points, whatever the ks are. Each of the n points has
    n - 1 others, and 1 <= k < n.
    """
    points, exponent = _scaled(points)
    descending, place = np.unique(-np.asarray(ks), return_inverse=True)
    squared = (_kth_by_pairs if accelerated() else _kth_by_leaves)(points, -descending)
    return np.ldexp(np.sqrt(squared), exponent)[place]


def spanning_tree_lengths(points: Points) -> Float64[np.ndarray, "points-1"]:
    """Edge lengths of the Euclidean minimum spanning tree of one point or more, ascending.

    Borůvka's algorithm: in every round each component, but for the largest, joins the one nearest to it. The distance
    that was found for a point stays a lower bound in later rounds, and leaves that lie in the same component are left
    out. Returns lengths in the unit of the points.
    """
    points, exponent = _scaled(points)
    leaves = _in_leaves(points)
    component = np.arange(len(points))
    squared, partner = np.zeros(len(points)), np.full(len(points), -1)
    joined, largest = [np.empty(0)], -1
    while component.any():  # its number is its lowest row: all are 0 when one is left
        of_leaf = np.append(component, np.full(-len(points) % LEAF, component[-1])).reshape(-1, LEAF)
        whole = np.where((of_leaf == of_leaf[:, :1]).all(axis=1), of_leaf[:, 0], -1)
        best = np.full(len(points), np.inf)
        apart = (partner >= 0) & (component[partner] != component)
        np.minimum.at(best, component[apart], squared[apart])
        _in_threads(compiled.nearest_elsewhere, leaves, of_leaf.ravel(), whole, largest, squared, partner, best)
        rows = np.flatnonzero((partner >= 0) & (component[partner] != component) & (component != largest))
        rows = rows[np.lexsort((squared[rows], component[rows]))]
        rows = rows[np.diff(component[rows], prepend=-1) > 0]
        rows = rows[np.argsort(squared[rows], kind="stable")]  # ascending: with ties the tree is minimal all the same
        joined.append(squared[rows[compiled.unite(component, rows, partner)]])
        largest = int(np.bincount(component).argmax())
    return np.ldexp(np.sqrt(np.sort(np.concatenate(joined))), exponent)


def chains(
    points: Points, sets: Sequence[Integer[np.ndarray, "_members"]], step: Number
) -> list[Int64[np.ndarray, "_members"]]:
    """Single linkage inside each of several sets of points, cut at the distance `step`.

    Two points of a set are joined where a chain of its points leads from one to the other in steps up to `step`.

    sets: the rows of the points of each set, one or more; step: distance, 0 or more.
    Returns labels for each set: 0 for its first point and the points that it is joined to, 1 for the first of the
    others, and so on.
    """
    points, exponent = _scaled(points)
    step = min(np.ldexp(step, -exponent), 4 * np.sqrt(points.shape[1]))  # beyond that all are joined
    near = np.abs(step * step + np.spacing(step * step) * np.arange(-2, 3))
    limit = near[np.sqrt(near) <= step].max(initial=0)  # a distance is within the step where its square is within this

    def labels(several: Sequence[Integer[np.ndarray, "_members"]]) -> list[Int64[np.ndarray, "_members"]]:
        return [compiled.chained(points[rows].T.copy(), limit) for rows in several]

    # To hand over a small set takes longer than to label it.
    batches = [sets[i : i + 16] for i in range(0, len(sets), 16)]
    return list(chain.from_iterable(threads(config.NUMBA_NUM_THREADS).map(labels, batches)))


def merge_peaks(
    rho: Float64[np.ndarray, "points"],
    starts: Int[np.ndarray, "points+1"],
    neighbours: Int[np.ndarray, "pairs"],
    least: Number,
) -> tuple[Int64[np.ndarray, "points"], Float64[np.ndarray, "points"]]:
    """Let points enter in the order of rho, and end every peak that meets a lower one at a ratio below `least`.

    A point none of whose neighbours has entered is a new peak. Any other point belongs to the lowest of the peaks that
    its neighbours belong to. Of those peaks, the point ends each other one whose ratio, rho of the point over rho of
    the peak, is below `least`; the points of a peak that was ended belong to the lowest from then on.

    rho: 0 or more; starts, neighbours: the neighbours of point i are neighbours[starts[i]:starts[i + 1]].
    Returns the peak that each point belongs to in the end, and the ratios of the peaks: infinite for those that were
    not ended, 0 where a point is no peak. A ratio of 0 to 0 is 1.
    """
    order = np.argsort(rho, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return compiled.merge_in_order(rho, order, rank, starts, neighbours, least)


def _scaled(points: Points) -> tuple[Float64[np.ndarray, "points dim"], int]:
    """The points in float64, divided by a power of two so that no square leaves the float range; and its exponent."""
    exponent = int(np.frexp(np.abs(points).max())[1])
    return np.ldexp(points.astype(np.float64), -exponent), exponent


def _kth_by_pairs(points: Points, ks: Int64[np.ndarray, "ks"]) -> Float64[np.ndarray, "ks points"]:
    import jax
    from jax.experimental import enable_x64

    with enable_x64():

        @jax.jit
        def kth(points: jax.Array) -> jax.Array:
            def of_one(point: jax.Array) -> jax.Array:
                return -jax.lax.top_k(-((points - point) ** 2).sum(axis=1), int(ks[0]) + 1)[0][ks]

            return jax.lax.map(of_one, points, batch_size=min(len(points), max(1, _PAIRS_AT_ONCE // len(points)))).T

        return np.asarray(kth(points))


def _kth_by_leaves(points: Points, ks: Int64[np.ndarray, "ks"]) -> Float64[np.ndarray, "ks points"]:
    ks = ks + 1  # the point itself is among its k + 1 nearest
    in_order, squared = np.empty((2, len(ks), len(points)))
    if len(points) < _FEW:
        leaves = _in_leaves(points)
        in_doubt = np.ones(len(leaves.blocks), bool)
    else:
        turned, slack = _turned(points)
        order = _order(turned)
        leaves, (_, blocks, low, high) = _boxed(points, order), _boxed(turned, order)
        relative = (turned.shape[1] + 4) * np.finfo(np.float32).eps  # squares are summed with errors of half of that
        rounded = _Rounded(blocks.reshape(len(blocks), -1), low, high, slack, float(relative))
        in_doubt = np.zeros(len(leaves.blocks), bool)
        _in_threads(compiled.kth_nearest_by_rounded, leaves, rounded, ks, in_order, in_doubt)
    if in_doubt.any():
        _in_threads(compiled.kth_nearest, leaves, ks, in_order, in_doubt)
    squared[:, leaves.order] = in_order
    return squared


def _turned(points: Points) -> tuple[Float32[np.ndarray, "points turned"], float]:
    """The points in float32, centred and turned to their principal axes, and by how much distances differ at most.

    Axes along which the points do not differ are left out, and coordinates of 0 make their number a multiple of 8. The
    distance of two points differs by no more than each is moved by this, which is measured.
    """
    centred, axes = points - points.mean(axis=0), np.eye(points.shape[1])
    if len(axes) <= LEAF:  # with more, finding them may take longer than the search
        spread, axes = np.linalg.eigh(centred.T @ centred / len(points))
        axes = axes[:, np.sqrt(np.maximum(spread, 0)) > np.finfo(np.float32).eps]
    turned = (centred @ axes).astype(np.float32)
    moved = np.sqrt(((turned @ axes.T - centred) ** 2).sum(axis=1).max())
    turned = np.pad(turned, ((0, 0), (0, -turned.shape[1] % 8 or 8 * (turned.shape[1] == 0))))
    return turned, 2 * float(moved) + 1e-18  # squares below 1e-38 vanish in float32


def _in_leaves(points: Points) -> _Leaves:
    return _boxed(points, _order(points))


def _order(points: Points) -> Int64[np.ndarray, "points"]:
    """The rows of the points, sorted into leaves by a balanced kd-tree."""
    order = np.arange(len(points))
    compiled.halve((points - points.mean(axis=0)).astype(np.float32), order)
    return order


def _boxed(points: Points, order: Int64[np.ndarray, "points"]) -> _Leaves:
    n, d = points.shape
    count, size = -(-n // LEAF), points.itemsize
    padded = np.full((count * LEAF, d), np.inf, points.dtype)
    padded[:n] = points[order]
    memory = np.empty(padded.size + 64 // size, points.dtype)
    start = -memory.ctypes.data % 64 // size  # whole cache lines: a vector that straddles two costs double
    blocks = memory[start : start + padded.size].reshape(count, d, LEAF)
    blocks[:] = padded.reshape(count, LEAF, d).transpose(0, 2, 1)
    padded[n:] = points[order[-1]]
    boxed = padded.reshape(count, LEAF, d)
    return _Leaves(order, blocks, np.ascontiguousarray(boxed.min(axis=1).T), np.ascontiguousarray(boxed.max(axis=1).T))


def _in_threads(kernel: Callable[..., None], leaves: _Leaves, *arguments: Any) -> None:
    pieces = min(16 * config.NUMBA_NUM_THREADS, len(leaves.blocks) // 8)
    if pieces < 2:  # to hand them to threads takes longer than so few leaves
        return kernel(leaves, 0, len(leaves.blocks), *arguments)
    cuts = np.linspace(0, len(leaves.blocks), pieces + 1).astype(int)
    run = lambda first, last: kernel(leaves, first, last, *arguments)
    list(threads(config.NUMBA_NUM_THREADS).map(run, cuts[:-1], cuts[1:]))
