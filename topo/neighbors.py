"""Exact nearest neighbours, the spanning tree, chains and witnesses of a point cloud, compiled by numba.

Knows distances in a float64 array; must not know what the points stand for. Callers check their input.

The points are sorted into leaves of 64 by a balanced kd-tree and kept coordinate by coordinate, so that one query
against one leaf is a few vector instructions. A leaf of queries visits the other leaves from the nearest box on,
while it is in the cache, and leaves out those whose box is beyond what the query still needs.
"""
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import config, njit

_LEAF = 64
_AT_ONCE = 512  # points whose coordinates and distances fit in the cache
_PAIRS_AT_ONCE = 2**25  # distances that an accelerator holds: 256 MiB
_compiled = njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc", "contract"})  # infinity pads a leaf
_compiled_in_order = njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})  # sums round alike on every processor


class _Leaves(NamedTuple):
    """order (n,): the points leaf by leaf; blocks (leaves, d, 64): their coordinates, the last leaf filled with
    infinity; low, high (d, leaves): the box of every leaf."""

    order: np.ndarray
    blocks: np.ndarray
    low: np.ndarray
    high: np.ndarray


def kth_distances(points, ks):
    """Distance of every point to the k-th nearest of the others, for every k: (len(ks), n) float64; points (n, d).

    Exact: coordinate differences in float64. On a GPU or TPU that JAX finds, all pairs, a block at a time; on the
    CPU the leaves above. Memory grows linearly in n, whatever the ks are, each of which is 1 <= k < n.
    """
    points, exponent = _scaled(points)
    descending, place = np.unique(-np.asarray(ks), return_inverse=True)
    squared = (_kth_by_pairs if _accelerated() else _kth_by_leaves)(points, -descending)
    return np.ldexp(np.sqrt(squared), exponent)[place]


def spanning_tree_lengths(points):
    """Edge lengths of the Euclidean minimum spanning tree: (n - 1,) float64, ascending; points (n, d), n >= 1.

    Borůvka's algorithm: in every round each component, but for the largest, joins the one nearest to it. What was
    found for a point stays a lower bound in later rounds, and leaves that lie in the same component are left out.
    """
    points, exponent = _scaled(points)
    leaves = _in_leaves(points)
    component = np.arange(len(points))
    squared, partner = np.zeros(len(points)), np.full(len(points), -1)
    joined, largest = [np.empty(0)], -1
    while component.any():  # its number is its lowest row: all are 0 when one is left
        of_leaf = np.append(component, np.full(-len(points) % _LEAF, component[-1])).reshape(-1, _LEAF)
        whole = np.where((of_leaf == of_leaf[:, :1]).all(axis=1), of_leaf[:, 0], -1)
        best = np.full(len(points), np.inf)
        apart = (partner >= 0) & (component[partner] != component)
        np.minimum.at(best, component[apart], squared[apart])
        _in_threads(_nearest_elsewhere, leaves, of_leaf.ravel(), whole, largest, squared, partner, best)
        rows = np.flatnonzero((partner >= 0) & (component[partner] != component) & (component != largest))
        rows = rows[np.lexsort((squared[rows], component[rows]))]
        rows = rows[np.diff(component[rows], prepend=-1) > 0]
        rows = rows[np.argsort(squared[rows], kind="stable")]  # ascending: with ties the tree is minimal all the same
        joined.append(squared[rows[_unite(component, rows, partner)]])
        largest = np.bincount(component).argmax()
    return np.ldexp(np.sqrt(np.sort(np.concatenate(joined))), exponent)


def chains(points, sets, step):
    """Within each of some sets of points, which are joined by chains of steps up to `step`: single linkage, cut there.

    points: (n, d); sets: a sequence of (m,) int arrays of rows, m >= 1; step: distance, 0 or more.
    Returns a list of (m,) int64 labels: 0 for a set's first point and what it is joined to, and so on.
    """
    points, exponent = _scaled(points)
    step = min(np.ldexp(step, -exponent), 4 * np.sqrt(points.shape[1]))  # beyond that all are joined
    near = np.abs(step * step + np.spacing(step * step) * np.arange(-2, 3))
    limit = near[np.sqrt(near) <= step].max(initial=0)  # a distance is within the step where its square is within this
    with ThreadPoolExecutor(config.NUMBA_NUM_THREADS) as pool:
        return list(pool.map(lambda rows: _chained(points[rows].T.copy(), limit), sets))


def climb(rho, starts, neighbours, least):
    """Let points enter in the order of rho, and end every peak that meets a lower one at a ratio below `least`.

    A point that has no neighbour there is a new peak; any other belongs to the lowest peak that it meets. It ends each
    other one whose ratio, rho of the point over rho of the peak, is below `least`; what belonged to that one belongs
    to the lowest from then on.

    rho: (n,) non-negative; starts (n + 1,), neighbours: those of point i are neighbours[starts[i]:starts[i + 1]].
    Returns the peak that each point ends up with (n,) int64, and the ratios (n,) float64 of the peaks: infinite for
    those that were not ended, 0 where a point is no peak. A ratio of 0 to 0 is 1.
    """
    order = np.argsort(rho, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return _climb(rho, order, rank, starts, neighbours, least)


@_compiled_in_order
def approach(columns, row, squared):
    """Bring squared distances (n,) of points to the nearest of some down to those to the one in `row`; columns (d, n)."""
    sums = np.empty(_AT_ONCE)
    for start in range(0, len(squared), _AT_ONCE):
        nearest = squared[start : start + _AT_ONCE]
        sums[:] = 0
        for axis in range(len(columns)):
            x, others = columns[axis, row], columns[axis, start : start + _AT_ONCE]
            for j in range(len(others)):
                step = others[j] - x
                sums[j] += step * step
        for j in range(len(nearest)):
            nearest[j] = min(nearest[j], sums[j])


@_compiled
def witness(excess, times):
    """Bring times[a, b], a < b, down to the least max(excess[z, a], excess[z, b]) over all z; excess (witnesses, landmarks).

    Four witnesses at a time, so that times are fetched and stored a quarter as often.
    """
    count, landmarks = excess.shape
    for z in range(0, count - 3, 4):
        for a in range(landmarks - 1):
            s, t, u, v = excess[z, a], excess[z + 1, a], excess[z + 2, a], excess[z + 3, a]
            to_s, to_t, to_u, to_v = excess[z, a + 1 :], excess[z + 1, a + 1 :], excess[z + 2, a + 1 :], excess[z + 3, a + 1 :]
            least = times[a, a + 1 :]
            for b in range(len(least)):
                one = min(max(s, to_s[b]), max(t, to_t[b]))
                other = min(max(u, to_u[b]), max(v, to_v[b]))
                least[b] = min(least[b], min(one, other))
    for z in range(count - count % 4, count):
        for a in range(landmarks - 1):
            s, to_s, least = excess[z, a], excess[z, a + 1 :], times[a, a + 1 :]
            for b in range(len(least)):
                least[b] = min(least[b], max(s, to_s[b]))


def _scaled(points):
    """The points in float64, divided by a power of two so that no square leaves the float range; and its exponent."""
    exponent = int(np.frexp(np.abs(points).max())[1])
    return np.ldexp(points.astype(np.float64), -exponent), exponent


def _accelerated():
    import jax

    return jax.default_backend() != "cpu"


def _kth_by_pairs(points, ks):
    import jax
    from jax.experimental import enable_x64

    with enable_x64():

        @jax.jit
        def kth(points):
            def of_one(point):
                return -jax.lax.top_k(-((points - point) ** 2).sum(axis=1), int(ks[0]) + 1)[0][ks]

            return jax.lax.map(of_one, points, batch_size=min(len(points), max(1, _PAIRS_AT_ONCE // len(points)))).T

        return np.asarray(kth(points))


def _kth_by_leaves(points, ks):
    leaves = _in_leaves(points)
    in_order, squared = np.empty((2, len(ks), len(points)))
    _in_threads(_kth_nearest, leaves, ks + 1, in_order)  # the point itself is among its k + 1 nearest
    squared[:, leaves.order] = in_order
    return squared


def _in_leaves(points):
    n, d = points.shape
    count = -(-n // _LEAF)
    order = np.arange(n)
    parts = [(0, count)]
    while parts:
        first, last = parts.pop()
        if last - first > 1:
            middle = (first + last) // 2
            rows = order[first * _LEAF : last * _LEAF]
            axis = np.ptp(points[rows], axis=0).argmax()
            rows[:] = rows[np.argpartition(points[rows, axis], (middle - first) * _LEAF)]
            parts += [(first, middle), (middle, last)]
    padded = np.full((count * _LEAF, d), np.inf)
    padded[:n] = points[order]
    memory = np.empty(padded.size + 8)
    start = -memory.ctypes.data % 64 // 8  # whole cache lines: a vector that straddles two costs double
    blocks = memory[start : start + padded.size].reshape(count, d, _LEAF)
    blocks[:] = padded.reshape(count, _LEAF, d).transpose(0, 2, 1)
    padded[n:] = points[order[-1]]
    boxed = padded.reshape(count, _LEAF, d)
    return _Leaves(order, blocks, np.ascontiguousarray(boxed.min(axis=1).T), np.ascontiguousarray(boxed.max(axis=1).T))


def _in_threads(kernel, leaves, *arguments):
    threads = config.NUMBA_NUM_THREADS
    cuts = np.linspace(0, len(leaves.blocks), 16 * threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first, last: kernel(leaves, first, last, *arguments), cuts[:-1], cuts[1:]))


@_compiled
def _boxes_to_boxes(leaves, a, squared):
    squared[:] = 0
    for axis in range(len(leaves.low)):
        low, high = leaves.low[axis, a], leaves.high[axis, a]
        for b in range(len(squared)):
            gap = max(max(leaves.low[axis, b] - high, low - leaves.high[axis, b]), 0.0)
            squared[b] += gap * gap


@_compiled
def _points_to_box(leaves, a, b, squared):
    points = leaves.blocks[a]
    squared[:] = 0
    for axis in range(len(points)):
        low, high = leaves.low[axis, b], leaves.high[axis, b]
        for i in range(_LEAF):
            gap = max(max(low - points[axis, i], points[axis, i] - high), 0.0)
            squared[i] += gap * gap


@_compiled
def _point_to_points(points, i, others, squared):
    """Squared distances of point i to the others; returns the least. Four coordinates a pass save memory traffic."""
    d = len(points)
    axis = d % 4
    squared[:] = 0
    for lone in range(axis):
        x = points[lone, i]
        for j in range(_LEAF):
            step = others[lone, j] - x
            squared[j] += step * step
    while axis < d:
        x, y, z, w = points[axis, i], points[axis + 1, i], points[axis + 2, i], points[axis + 3, i]
        for j in range(_LEAF):
            dx, dy = others[axis, j] - x, others[axis + 1, j] - y
            dz, dw = others[axis + 2, j] - z, others[axis + 3, j] - w
            squared[j] += (dx * dx + dy * dy) + (dz * dz + dw * dw)
        axis += 4
    least = squared[0]
    for j in range(_LEAF):
        least = min(least, squared[j])
    return least


@_compiled
def _smallest(values, count, k):
    """Move the k smallest of the first `count` values to the front, and return the largest of them (quickselect)."""
    first, last = 0, count - 1
    while first < last:
        a, b, c = values[first], values[(first + last) // 2], values[last]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = first, last
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            last = j
        elif k - 1 >= i:
            first = i
        else:
            break
    return values[k - 1]


@_compiled
def _kth_nearest(leaves, first, last, ks, result):
    """result[:, row]: the k-th smallest squared distances of the point in that row of the order, itself included, for
    every k; ks descend."""
    k = ks[0]
    full = 2 * k + 2 * _LEAF
    nearest, held = np.empty((_LEAF, full + _LEAF)), np.empty(_LEAF, np.int64)
    to_boxes, to_box, to_points = np.empty(len(leaves.blocks)), np.empty(_LEAF), np.empty(_LEAF)
    limit = np.empty(_LEAF)
    for a in range(first, last):
        queries = min(_LEAF, result.shape[1] - a * _LEAF)
        held[:] = 0
        limit[:] = 0
        limit[:queries] = np.inf
        widest = np.inf
        _boxes_to_boxes(leaves, a, to_boxes)
        for b in np.argsort(to_boxes):
            if to_boxes[b] >= widest:
                break
            _points_to_box(leaves, a, b, to_box)
            for i in range(queries):
                if to_box[i] >= limit[i]:
                    continue
                if _point_to_points(leaves.blocks[a], i, leaves.blocks[b], to_points) >= limit[i]:
                    continue
                count = held[i]
                for j in range(_LEAF):
                    nearest[i, count] = to_points[j]  # overwritten by the next unless it is kept
                    count += to_points[j] < limit[i]
                if count >= full:
                    limit[i] = _smallest(nearest[i], count, k)
                    count = k
                held[i] = count
            widest = limit.max()
        for i in range(queries):
            count = held[i]
            for rank in range(len(ks)):
                result[rank, a * _LEAF + i] = _smallest(nearest[i], count, ks[rank])
                count = ks[rank]


@_compiled
def _nearest_elsewhere(leaves, first, last, component, whole, largest, squared, partner, best):
    """The nearest point of another component, where it may be the nearest to the whole component.

    component: of every row of the order, padded; whole: of every leaf, -1 where it holds several; largest: the one
    that is left out. squared, partner: by row, what earlier rounds found, a lower bound and where it was reached, or
    -1. best: by component, the nearest so far. The last three are brought up to date. Threads share `best`: one may
    overwrite another's, which loosens a bound and no more.
    """
    to_boxes, to_box, to_points = np.empty(len(leaves.blocks)), np.empty(_LEAF), np.empty(_LEAF)
    limit = np.empty(_LEAF)
    for a in range(first, last):
        rows = range(a * _LEAF, min((a + 1) * _LEAF, len(squared)))
        limit[:] = 0
        for i, row in enumerate(rows):
            own = component[row]
            known = partner[row] >= 0 and component[partner[row]] != own
            if own != largest and not known and squared[row] < best[own]:
                limit[i], partner[row] = best[own], -1
        widest = limit.max()
        if widest == 0:
            continue
        _boxes_to_boxes(leaves, a, to_boxes)
        for b in np.argsort(to_boxes):
            if to_boxes[b] >= widest:
                break
            if whole[b] >= 0 and whole[b] == whole[a]:
                continue
            _points_to_box(leaves, a, b, to_box)
            for i, row in enumerate(rows):
                own = component[row]
                if best[own] < limit[i]:
                    limit[i], partner[row] = best[own], -1
                if whole[b] == own or to_box[i] >= limit[i]:
                    continue
                if _point_to_points(leaves.blocks[a], i, leaves.blocks[b], to_points) >= limit[i]:
                    continue
                for j in range(_LEAF):
                    if to_points[j] < limit[i] and component[b * _LEAF + j] != own:
                        limit[i], partner[row] = to_points[j], b * _LEAF + j
                best[own] = min(best[own], limit[i])
            widest = limit.max()
        for i, row in enumerate(rows):
            squared[row] = max(squared[row], limit[i])


@_compiled
def _root(parent, row):
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


@_compiled
def _climb(rho, order, rank, starts, neighbours, least):
    above, ratios = np.full(len(rho), -1), np.zeros(len(rho))
    for point in order:
        lowest = -1
        for other in neighbours[starts[point] : starts[point + 1]]:
            if above[other] >= 0:
                peak = _root(above, other)
                if lowest < 0 or rank[peak] < rank[lowest]:
                    lowest = peak
        if lowest < 0:
            above[point], ratios[point] = point, np.inf
            continue
        above[point] = lowest
        for other in neighbours[starts[point] : starts[point + 1]]:
            if above[other] >= 0:
                peak = _root(above, other)
                if peak != lowest:
                    ratio = 1.0 if rho[point] == rho[peak] else rho[point] / rho[peak] if rho[peak] > 0 else np.inf
                    if ratio < least:
                        above[peak], ratios[peak] = lowest, ratio
    for point in range(len(rho)):
        above[point] = _root(above, point)
    return above, ratios


@_compiled
def _unite(component, rows, partner):
    """Join the components of every row and its partner, in this order; which of them were still two: (rows,) bool."""
    joins = np.zeros(len(rows), np.bool_)
    for number, row in enumerate(rows):
        a, b = _root(component, row), _root(component, partner[row])
        component[max(a, b)] = min(a, b)
        joins[number] = a != b
    for row in range(len(component)):
        component[row] = _root(component, row)
    return joins


@_compiled
def _chained(points, limit):
    """Labels of the points (d, m): grows one cluster at a time, and measures only to those that no cluster has yet.

    Those lie in `columns`; one that is reached is sent to infinity, and half of them at a time are taken out.
    """
    d, count = points.shape
    labels, reached, hits = np.full(count, -1), np.empty(count, np.int64), np.empty(count + 1, np.int64)
    columns, rows, squared = points.copy(), np.arange(count), np.empty(count)
    width, gone, cluster = count, 0, -1
    for seed in range(count):
        if labels[seed] >= 0:
            continue
        cluster += 1
        hits[0], hit = np.searchsorted(rows[:width], seed), 1
        found = at = 0
        while True:
            for o in hits[:hit]:
                labels[rows[o]], reached[found] = cluster, rows[o]
                columns[0, o] = np.inf
                found += 1
            gone += hit
            if 2 * gone > width:
                kept = 0
                for o in range(width):
                    if columns[0, o] < np.inf:
                        columns[:, kept], rows[kept] = columns[:, o], rows[o]
                        kept += 1
                width, gone = kept, 0
            if at == found or gone == width:
                break
            squared[:width] = 0
            for axis in range(d):
                x = points[axis, reached[at]]
                for o in range(width):
                    step = columns[axis, o] - x
                    squared[o] += step * step
            at += 1
            hit = 0
            for o in range(width):
                hits[hit] = o
                hit += squared[o] <= limit
    return labels
