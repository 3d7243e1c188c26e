"""The loops of `neighbors` and `persistence`, compiled by Numba.

Knows arrays of floats in memory; must not know what is computed with them. Callers check their input.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int32, Int64
from numba import njit

from topo.types import Number

if TYPE_CHECKING:
    from topo.neighbors import _Leaves, _Rounded

# Numba ignores the annotations of this module, and the tests do not enforce them: Numba compiles no wrapped functions.

LEAF = 64
EIGHT = 8 * LEAF  # what eight coordinates of a leaf take up
_AT_ONCE = 512  # points whose coordinates and distances fit in the cache
# Without "ninf", because leaves are filled up with infinity.
_compiled = njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc", "contract"})
_compiled_in_order = njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})  # sums round alike on every processor


@_compiled_in_order
def approach(columns: Float64[np.ndarray, "dim points"], row: int, squared: Float64[np.ndarray, "points"]) -> None:
    """Lower `squared` to the squared distance of each point to point `row`, where that is less."""
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
def witness(
    excess: Float64[np.ndarray, "witnesses landmarks"], times: Float64[np.ndarray, "landmarks landmarks"]
) -> None:
    """Lower times[a, b], for a < b, to the least max(excess[z, a], excess[z, b]) over all witnesses z, if that is less.

    Four witnesses are taken at a time, so that times are fetched and stored a quarter as often.
    """
    count, landmarks = excess.shape
    for z in range(0, count - 3, 4):
        for a in range(landmarks - 1):
            s, t, u, v = excess[z, a], excess[z + 1, a], excess[z + 2, a], excess[z + 3, a]
            to_s, to_t = excess[z, a + 1 :], excess[z + 1, a + 1 :]
            to_u, to_v = excess[z + 2, a + 1 :], excess[z + 3, a + 1 :]
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


@_compiled
def boxes_to_boxes(leaves: "_Leaves", a: int, squared: Float64[np.ndarray, "leaves"]) -> None:
    """Fill `squared` with the squared distances from the box of leaf `a` to the boxes of all leaves."""
    squared[:] = 0
    for axis in range(len(leaves.low)):
        low, high = leaves.low[axis, a], leaves.high[axis, a]
        for b in range(len(squared)):
            apart = max(max(leaves.low[axis, b] - high, low - leaves.high[axis, b]), 0.0)
            squared[b] += apart * apart


@_compiled
def points_to_box(leaves: "_Leaves", a: int, b: int, squared: Float64[np.ndarray, "64"]) -> None:
    """Fill `squared` with the squared distances from the points of leaf `a` to the box of leaf `b`."""
    points = leaves.blocks[a]
    squared[:] = 0
    for axis in range(len(points)):
        low, high = leaves.low[axis, b], leaves.high[axis, b]
        for i in range(LEAF):
            apart = max(max(low - points[axis, i], points[axis, i] - high), 0.0)
            squared[i] += apart * apart


@_compiled
def point_to_points(
    points: Float64[np.ndarray, "dim 64"],
    i: int,
    others: Float64[np.ndarray, "dim 64"],
    squared: Float64[np.ndarray, "64"],
) -> float:
    """Fill `squared` with the squared distances of point i to the others, and return the least.

    Four coordinates are taken at a time, which saves memory traffic.
    """
    d = len(points)
    axis = d % 4
    squared[:] = 0
    for lone in range(axis):
        x = points[lone, i]
        for j in range(LEAF):
            step = others[lone, j] - x
            squared[j] += step * step
    while axis < d:
        x, y, z, w = points[axis, i], points[axis + 1, i], points[axis + 2, i], points[axis + 3, i]
        for j in range(LEAF):
            dx, dy = others[axis, j] - x, others[axis + 1, j] - y
            dz, dw = others[axis + 2, j] - z, others[axis + 3, j] - w
            squared[j] += (dx * dx + dy * dy) + (dz * dz + dw * dw)
        axis += 4
    least = squared[0]
    for j in range(LEAF):
        least = min(least, squared[j])
    return least


@_compiled
def smallest(values: Float64[np.ndarray, "values"], count: int, k: int) -> float:
    """Move the k smallest of the first `count` values to the front, and return the largest of them (quickselect).

    Every value is moved, whether it is below the pivot or not: a processor guesses the way at a branch, and would guess
    half of these wrong.
    """
    first, last = 0, count
    while last - first > 1:
        a, b, c = values[first], values[(first + last) // 2], values[last - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        below = first
        for j in range(first, last):
            value = values[j]
            values[j] = values[below]
            values[below] = value
            below += value < pivot
        if k <= below:
            last = below
            continue
        equal = below
        for j in range(below, last):
            value = values[j]
            values[j] = values[equal]
            values[equal] = value
            equal += value == pivot
        if k <= equal:
            return pivot
        first = equal
    return values[k - 1]


@_compiled
def split(keys: Float32[np.ndarray, "rows"], rows: Int64[np.ndarray, "rows"], at: int) -> None:
    """Move rows and their keys until none before place `at` has a larger key than one from there on.

    Quickselect, in Hoare's way, which takes no harm from equal keys.
    """
    left, right = 0, len(rows) - 1
    while left < right:
        a, b, c = keys[left], keys[(left + right) // 2], keys[right]
        pivot = max(min(a, b), min(max(a, b), c))
        low, high = left, right
        while low <= high:
            while keys[low] < pivot:
                low += 1
            while keys[high] > pivot:
                high -= 1
            if low <= high:
                keys[low], keys[high] = keys[high], keys[low]
                rows[low], rows[high] = rows[high], rows[low]
                low += 1
                high -= 1
        if at >= low:
            left = low
        elif at <= high:
            right = high
        else:
            break


@_compiled
def halve(points: Float32[np.ndarray, "points dim"], order: Int64[np.ndarray, "points"]) -> None:
    """Sort the rows in `order` into leaves: halve them along the axis of most extent, and each half again.

    Every leaf but the last is full.
    """
    n, d = points.shape
    keys, parts, left = np.empty(n, np.float32), np.empty((64, 2), np.int64), 1
    parts[0, 0], parts[0, 1] = 0, -(-n // LEAF)
    while left:
        left -= 1
        first, last = parts[left, 0], parts[left, 1]
        if last - first < 2:
            continue
        middle, begin, end = (first + last) // 2, first * LEAF, min(last * LEAF, n)
        most, along = np.float32(-1), 0
        for axis in range(d):
            low = high = points[order[begin], axis]
            for i in range(begin, end):
                low, high = min(low, points[order[i], axis]), max(high, points[order[i], axis])
            if high - low > most:
                most, along = high - low, axis
        for i in range(begin, end):
            keys[i - begin] = points[order[i], along]
        split(keys, order[begin:end], middle * LEAF - begin)
        parts[left, 0], parts[left, 1], parts[left + 1, 0], parts[left + 1, 1] = first, middle, middle, last
        left += 2


@_compiled
def kth_nearest(
    leaves: "_Leaves",
    first: int,
    last: int,
    ks: Int64[np.ndarray, "ks"],
    result: Float64[np.ndarray, "ks points"],
    wanted: Bool[np.ndarray, "leaves"],
) -> None:
    """Fill `result` for the wanted leaves from `first` to `last`: each point's k-th smallest squared distance.

    The columns of `result` are in the order of the leaves. A point counts among its own neighbours. ks descend.
    """
    k = ks[0]
    full = 2 * k + 2 * LEAF
    nearest, held = np.empty((LEAF, full + LEAF)), np.empty(LEAF, np.int64)
    to_boxes, to_box, to_points = np.empty(len(leaves.blocks)), np.empty(LEAF), np.empty(LEAF)
    limit = np.empty(LEAF)
    for a in range(first, last):
        if not wanted[a]:
            continue
        queries = min(LEAF, result.shape[1] - a * LEAF)
        held[:] = 0
        limit[:] = 0
        limit[:queries] = np.inf
        widest = np.inf
        boxes_to_boxes(leaves, a, to_boxes)
        for b in np.argsort(to_boxes):
            if to_boxes[b] >= widest:
                break
            points_to_box(leaves, a, b, to_box)
            for i in range(queries):
                if to_box[i] >= limit[i]:
                    continue
                if point_to_points(leaves.blocks[a], i, leaves.blocks[b], to_points) >= limit[i]:
                    continue
                count = held[i]
                for j in range(LEAF):
                    nearest[i, count] = to_points[j]  # overwritten by the next unless it is kept
                    count += to_points[j] < limit[i]
                if count >= full:
                    limit[i] = smallest(nearest[i], count, k)
                    count = k
                held[i] = count
            widest = limit.max()
        for i in range(queries):
            count = held[i]
            for rank in range(len(ks)):
                result[rank, a * LEAF + i] = smallest(nearest[i], count, ks[rank])
                count = ks[rank]


@_compiled
def point_reaches(
    points: Float32[np.ndarray, "values"],
    i: int,
    others: Float32[np.ndarray, "values"],
    sums: Float32[np.ndarray, "64"],
    limit: float,
) -> bool:
    """Whether one of the others is nearer to point i than `limit`, a square; sums: the part of squares to begin with.

    Takes the eight coordinates that come first. Nothing is stored, which halves the time; few leaves need distances.
    """
    reaches = False
    for j in range(LEAF):
        total = sums[j]
        for axis in range(0, EIGHT, LEAF):
            step = others[axis + j] - points[axis + i]
            total += step * step
        reaches |= total < limit
    return reaches


@_compiled
def add_eight(
    points: Float32[np.ndarray, "values"],
    i: int,
    others: Float32[np.ndarray, "values"],
    sums: Float32[np.ndarray, "64"],
) -> None:
    """Add to `sums` what the first eight coordinates contribute to the squared distances of point i to the others."""
    for j in range(LEAF):
        total = sums[j]
        for axis in range(0, EIGHT, LEAF):
            step = others[axis + j] - points[axis + i]
            total += step * step
        sums[j] = total


@_compiled
def rounded_points_to_box(
    points: Float32[np.ndarray, "values"],
    low: Float32[np.ndarray, "dim"],
    high: Float32[np.ndarray, "dim"],
    squared: Float32[np.ndarray, "64"],
) -> None:
    """As `points_to_box`, for the points of one leaf of `_Rounded` and the corners of a box."""
    squared[:] = 0
    for first in range(0, len(low), 8):
        of_points, least, most = points[first * LEAF :], low[first:], high[first:]
        for i in range(LEAF):
            total = squared[i]
            for axis in range(8):
                x = of_points[axis * LEAF + i]
                apart = max(max(least[axis] - x, x - most[axis]), np.float32(0))
                total += apart * apart
            squared[i] = total


@_compiled
def leaves_by_distance(
    rounded: "_Rounded",
    a: int,
    squared: Float32[np.ndarray, "leaves"],
    starts: Int64[np.ndarray, "8192"],
    order: Int64[np.ndarray, "leaves"],
) -> None:
    """Fill `squared` as `boxes_to_boxes` does, and `order` with the leaves, ascending up to steps of three percent.

    Floats that are not negative are ordered as their bits are: leaves are counted by sign, exponent and five more bits.
    """
    squared[:] = 0
    for axis in range(len(rounded.low)):
        low, high = rounded.low[axis, a], rounded.high[axis, a]
        for b in range(len(squared)):
            apart = max(max(rounded.low[axis, b] - high, low - rounded.high[axis, b]), np.float32(0))
            squared[b] += apart * apart
    bits = squared.view(np.int32)
    starts[:] = 0
    for b in range(len(bits)):
        starts[(bits[b] >> 18) + 1] += 1
    total = 0
    for key in range(len(starts)):
        total += starts[key]
        starts[key] = total
    for b in range(len(bits)):
        key = bits[b] >> 18
        order[starts[key]] = b
        starts[key] += 1


@_compiled
def kth_of_bits(values: Int32[np.ndarray, "values"], count: int, k: int, most: int) -> np.int32:
    """The k-th smallest of the first `count` values; at least k of them are 0 to `most`.

    Bisection: to count the values up to a threshold takes few vector instructions, and no value is moved.
    """
    low, high = np.int32(0), np.int32(most)
    while low < high:
        middle = np.int32((low + high) >> 1)
        within = np.int32(0)
        for j in range(count):
            within = np.int32(within + (values[j] <= middle))
        if within < k:
            low = np.int32(middle + 1)
            continue
        high = middle
        if within == k:
            break
    kth = np.int32(0)
    for j in range(count):
        kth = max(kth, values[j] if values[j] <= high else np.int32(0))
    return kth


@_compiled
def keep_below(values: Int32[np.ndarray, "values"], rows: Int32[np.ndarray, "values"], count: int, limit: int) -> int:
    """Move those of the first `count` values that are below `limit` to the front, and their rows; return how many."""
    kept = 0
    for j in range(count):
        value = values[j]
        values[kept], rows[kept] = value, rows[j]
        kept += value < limit
    return kept


@_compiled
def around(squared: float, slack: float, relative: float) -> tuple[float, float]:
    """Squares between which the square of a distance lies if a rounded one is `squared`, and more than that.

    A distance d in the cloud and what float32 makes of it, r, differ by `slack` + `relative` r at most. So what was
    the k-th smallest r is within that of the k-th smallest d, and the r of the point that is k-th by d is within twice
    that. Boxes have their own rounding, which the factor of 6 also covers.
    """
    reach = np.sqrt(squared)
    more = 6 * (slack + relative * reach)
    least = max(reach - more, 0.0)
    return least * least * (1 - 1e-6), (reach + more) * (reach + more) * (1 + 1e-6)


@_compiled
def kth_nearest_by_rounded(
    leaves: "_Leaves",
    first: int,
    last: int,
    rounded: "_Rounded",
    ks: Int64[np.ndarray, "ks"],
    result: Float64[np.ndarray, "ks points"],
    in_doubt: Bool[np.ndarray, "leaves"],
) -> None:
    """As `kth_nearest`, to the last bit, where float32 can tell most points apart; `in_doubt` is set elsewhere.

    The search is done in float32, and all points are kept that may be k-th. In the end those certainly nearer than the
    k-th are counted, and the distances of the others, few, are compared as `point_to_points` finds them in float64. A
    leaf is in doubt, and its columns of `result` are not filled, where more points come into question than are kept.
    """
    k, d = ks[0], len(rounded.low)
    full = k + k // 2 + 2 * LEAF
    nearest, rows = np.empty((LEAF, full + LEAF), np.int32), np.empty((LEAF, full + LEAF), np.int32)
    held, active = np.empty(LEAF, np.int64), np.empty(LEAF + 1, np.int64)
    to_boxes, order = np.empty(len(rounded.blocks), np.float32), np.empty(len(rounded.blocks), np.int64)
    starts = np.empty(8192, np.int64)
    to_box, to_points, sums = np.empty(LEAF, np.float32), np.empty(LEAF, np.float32), np.zeros(LEAF, np.float32)
    limit, bound = np.empty(LEAF, np.float32), np.empty(2, np.float32)
    bits, limit_bits, bound_bits = to_points.view(np.int32), limit.view(np.int32), bound.view(np.int32)
    exact, candidates = np.empty(LEAF), np.empty(full + LEAF)
    end = (d - 8) * LEAF  # where the last eight coordinates begin
    for a in range(first, last):
        points = rounded.blocks[a]
        own = points[end:]
        queries = min(LEAF, result.shape[1] - a * LEAF)
        held[:] = 0
        limit[:] = 0
        limit[:queries] = np.inf
        widest = limit.max()
        leaves_by_distance(rounded, a, to_boxes, starts, order)
        for b in order:
            if to_boxes[b] >= widest:
                continue
            rounded_points_to_box(points, rounded.low[:, b], rounded.high[:, b], to_box)
            count = 0
            for i in range(LEAF):
                active[count] = i
                count += to_box[i] < limit[i]
            others, lowered = rounded.blocks[b], False
            near = others[end:]
            for i in active[:count]:
                if end:
                    sums[:] = 0
                    for start in range(0, end, EIGHT):
                        add_eight(points[start:], i, others[start:], sums)
                if not point_reaches(own, i, near, sums, limit[i]):
                    continue
                # As in `add_eight`, written out: to call it here would take as long as all that it does.
                p, q, r, s = own[i], own[64 + i], own[128 + i], own[192 + i]
                t, u, v, w = own[256 + i], own[320 + i], own[384 + i], own[448 + i]
                for j in range(LEAF):
                    dp, dq, dr, ds = near[j] - p, near[64 + j] - q, near[128 + j] - r, near[192 + j] - s
                    dt, du, dv, dw = near[256 + j] - t, near[320 + j] - u, near[384 + j] - v, near[448 + j] - w
                    to_points[j] = sums[j] + (
                        ((dp * dp + dq * dq) + (dr * dr + ds * ds)) + ((dt * dt + du * du) + (dv * dv + dw * dw))
                    )
                count, values, of, most, row = held[i], nearest[i], rows[i], limit_bits[i], np.int32(b * LEAF)
                for j in range(LEAF):
                    value = bits[j]
                    values[count], of[count] = value, row + j  # overwritten by the next unless it is kept
                    count += value < most
                if count >= full:
                    bound_bits[0] = kth_of_bits(values, count, k, most)
                    limit[i] = min(limit[i], around(bound[0], rounded.slack, rounded.relative)[1])
                    count, lowered = keep_below(values, of, count, limit_bits[i]), True
                    if count >= full:
                        in_doubt[a] = True
                        break
                held[i] = count
            if in_doubt[a]:
                break
            if lowered:
                widest = limit.max()
        if in_doubt[a]:
            continue
        for i in range(queries):
            count, values, of, most = held[i], nearest[i], rows[i], limit_bits[i]
            for rank in range(len(ks)):
                bound_bits[0] = kth_of_bits(values, count, ks[rank], most)
                bound[0], bound[1] = around(bound[0], rounded.slack, rounded.relative)
                count, most = keep_below(values, of, count, bound_bits[1]), bound_bits[1]
                nearer = unsure = 0
                for j in range(count):
                    if values[j] < bound_bits[0]:
                        nearer += 1
                        continue
                    point_to_points(leaves.blocks[a], i, leaves.blocks[of[j] // LEAF], exact)
                    candidates[unsure] = exact[of[j] % LEAF]
                    unsure += 1
                result[rank, a * LEAF + i] = smallest(candidates, unsure, ks[rank] - nearer)


@_compiled
def nearest_elsewhere(
    leaves: "_Leaves",
    first: int,
    last: int,
    component: Int64[np.ndarray, "padded"],
    whole: Int64[np.ndarray, "leaves"],
    largest: int,
    squared: Float64[np.ndarray, "points"],
    partner: Int64[np.ndarray, "points"],
    best: Float64[np.ndarray, "points"],
) -> None:
    """Find the nearest point of another component for each point whose distance to it may be its component's least.

    first, last: the range of leaves whose points are looked at. component: of every row in the order of the leaves,
    padded; whole: the component of every leaf, -1 where a leaf holds several; largest: the component that is left out.
    squared, partner: by row, what earlier rounds found, a lower bound and the row where it was reached, or -1.
    best: by component, the nearest so far. The last three arguments are brought up to date. Threads share `best`: where
    one overwrites the value of another, a bound is looser and nothing else changes.
    """
    to_boxes, to_box, to_points = np.empty(len(leaves.blocks)), np.empty(LEAF), np.empty(LEAF)
    limit = np.empty(LEAF)
    for a in range(first, last):
        rows = range(a * LEAF, min((a + 1) * LEAF, len(squared)))
        limit[:] = 0
        for i, row in enumerate(rows):
            own = component[row]
            known = partner[row] >= 0 and component[partner[row]] != own
            if own != largest and not known and squared[row] < best[own]:
                limit[i], partner[row] = best[own], -1
        widest = limit.max()
        if widest == 0:
            continue
        boxes_to_boxes(leaves, a, to_boxes)
        for b in np.argsort(to_boxes):
            if to_boxes[b] >= widest:
                break
            if whole[b] >= 0 and whole[b] == whole[a]:
                continue
            points_to_box(leaves, a, b, to_box)
            for i, row in enumerate(rows):
                own = component[row]
                if best[own] < limit[i]:
                    limit[i], partner[row] = best[own], -1
                if whole[b] == own or to_box[i] >= limit[i]:
                    continue
                if point_to_points(leaves.blocks[a], i, leaves.blocks[b], to_points) >= limit[i]:
                    continue
                for j in range(LEAF):
                    if to_points[j] < limit[i] and component[b * LEAF + j] != own:
                        limit[i], partner[row] = to_points[j], b * LEAF + j
                best[own] = min(best[own], limit[i])
            widest = limit.max()
        for i, row in enumerate(rows):
            squared[row] = max(squared[row], limit[i])


@_compiled
def root(parent: Int64[np.ndarray, "points"], row: int) -> int:
    """The row at the end of the chain of parents from `row` on; the chain is shortened on the way."""
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


@_compiled
def merge_in_order(
    rho: Float64[np.ndarray, "points"],
    order: Int64[np.ndarray, "points"],
    rank: Int64[np.ndarray, "points"],
    starts: Int[np.ndarray, "points+1"],
    neighbours: Int[np.ndarray, "pairs"],
    least: Number,
) -> tuple[Int64[np.ndarray, "points"], Float64[np.ndarray, "points"]]:
    """The loop of `topo.neighbors.merge_peaks`; order: the points by rho; rank: the place of each in that order."""
    above, ratios = np.full(len(rho), -1), np.zeros(len(rho))
    for point in order:
        lowest = -1
        for other in neighbours[starts[point] : starts[point + 1]]:
            if above[other] >= 0:
                peak = root(above, other)
                if lowest < 0 or rank[peak] < rank[lowest]:
                    lowest = peak
        if lowest < 0:
            above[point], ratios[point] = point, np.inf
            continue
        above[point] = lowest
        for other in neighbours[starts[point] : starts[point + 1]]:
            if above[other] >= 0:
                peak = root(above, other)
                if peak != lowest:
                    ratio = 1.0 if rho[point] == rho[peak] else rho[point] / rho[peak] if rho[peak] > 0 else np.inf
                    if ratio < least:
                        above[peak], ratios[peak] = lowest, ratio
    for point in range(len(rho)):
        above[point] = root(above, point)
    return above, ratios


@_compiled
def unite(
    component: Int64[np.ndarray, "points"], rows: Int64[np.ndarray, "rows"], partner: Int64[np.ndarray, "points"]
) -> Bool[np.ndarray, "rows"]:
    """Join the components of each row and its partner, in this order; return for which rows the two were different."""
    joins = np.zeros(len(rows), np.bool_)
    for number, row in enumerate(rows):
        a, b = root(component, row), root(component, partner[row])
        component[max(a, b)] = min(a, b)
        joins[number] = a != b
    for row in range(len(component)):
        component[row] = root(component, row)
    return joins


@_compiled
def chained(points: Float64[np.ndarray, "dim points"], limit: float) -> Int64[np.ndarray, "points"]:
    """Label the points by cluster: points are joined whose squared distance is at most `limit`.

    One cluster grows at a time, and distances are measured only to the points that are in no cluster yet, which are in
    `columns`. A point that is reached is moved to infinity there, and once half of `columns` is at infinity, that half
    is taken out.
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
