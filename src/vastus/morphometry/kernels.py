"""Compiled loops over the voxels of a label map and its CT, and over the voxels of one bone.

They take arrays, not objects, and import nothing but numpy: they are compiled while Vastus is installed.
"""

from __future__ import annotations

import numpy as np

from vastus.loops import njit

_FAR = 1e12
"""Squared distance in mm2 of a pixel with nothing in its slice."""


@njit(cache=True, nogil=True)
def tally(labels, hu, with_hu, row_of, block):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count voxels, HU and histogram of each label, and find its box.

    ``block``: number of rows, first plane, and the one after the last.
    """
    n_rows, start, stop = block
    voxels = np.zeros(n_rows, np.int64)
    moments = np.zeros((n_rows, 3), np.float64)
    histogram = np.zeros((n_rows, 4096), np.int64)
    first = np.full((n_rows, 3), 2**31, np.int64)
    last = np.full((n_rows, 3), -1, np.int64)
    for a in range(start, stop):
        for b in range(labels.shape[1]):
            for c in range(labels.shape[2]):
                value = labels[a, b, c]
                if value == 0:
                    continue
                row = row_of[value]
                voxels[row] += 1
                first[row, 0] = min(first[row, 0], a)
                last[row, 0] = a
                first[row, 1] = min(first[row, 1], b)
                last[row, 1] = max(last[row, 1], b)
                first[row, 2] = min(first[row, 2], c)
                last[row, 2] = max(last[row, 2], c)
                if with_hu:
                    v = float(hu[a, b, c])
                    if not np.isnan(v):
                        moments[row, 0] += 1.0
                        moments[row, 1] += v
                        moments[row, 2] += v * v
                        histogram[row, min(max(int(np.floor(v + 0.5)) + 1024, 0), 4095)] += 1
    return voxels, moments, histogram, first, last


@njit(cache=True, nogil=True, inline="always")
def spread(profile, position, footprint):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add one voxel, spread evenly over ``footprint`` bins around ``position`` (in bins)."""
    low, high = position - footprint / 2, position + footprint / 2
    first, last = int(low), int(high)
    if first == last:
        profile[first] += 1.0
    elif last == first + 1:
        below = (last - low) / footprint
        profile[first] += below
        profile[last] += 1.0 - below
    else:
        for b in range(first, last + 1):
            profile[b] += (min(high, b + 1.0) - max(low, float(b))) / footprint


@njit(cache=True, nogil=True)
def profile(labels, row_of, line_of, lines, block):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count voxels per label and bin along the line of each label, and find their lowest and highest position."""
    offsets, steps, starts = lines
    n_rows, n_bins, start, stop = block
    counts = np.zeros((n_rows, n_bins), np.float64)
    low, high = np.full(n_rows, np.inf), np.full(n_rows, -np.inf)
    for a in range(start, stop):
        for b in range(labels.shape[1]):
            for c in range(labels.shape[2]):
                value = labels[a, b, c]
                if value == 0:
                    continue
                line = line_of[value]
                if line < 0:
                    continue
                row = row_of[value]
                position = offsets[line] + a * steps[line, 0] + b * steps[line, 1] + c * steps[line, 2]
                low[row] = min(low[row], position)
                high[row] = max(high[row], position)
                footprint = max(abs(steps[line, 0]), abs(steps[line, 1]), abs(steps[line, 2]))
                spread(counts[row], position - starts[line], footprint)
    return counts, low, high


@njit(cache=True, nogil=True)
def profile_fat(arrays, lookup, limits, line, block):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Do the same as ``profile`` for fat between the muscles, by the zones of a coarse map."""
    labels, hu = arrays
    coarse, index_a, index_b, index_c, spans = lookup
    offset, step, first_bin = line
    n_rows, n_bins, start, stop = block
    counts = np.zeros((n_rows, n_bins), np.float64)
    low, high = np.full(n_rows, np.inf), np.full(n_rows, -np.inf)
    footprint = max(abs(step[0]), abs(step[1]), abs(step[2]))
    fattest, leanest, nearest, farthest = limits[0], limits[1], limits[2], limits[3]
    along = step[2]
    half = footprint / 2
    for a in range(start, stop):
        for b in range(labels.shape[1]):
            held, first, last = 0, 0, 0  # the zone and the bins whose sums are at hand: neighbours mostly share them
            below, above, lowest, highest = 0.0, 0.0, 0.0, 0.0
            zones, named, values = coarse[index_a[a], index_b[b]], labels[a, b], hu[a, b]
            row_start = offset + a * step[0] + b * step[1]
            for c in range(spans[index_a[a], index_b[b], 0], spans[index_a[a], index_b[b], 1]):
                zone = zones[index_c[c]]
                if zone == 0 or named[c] != 0:
                    continue
                v = float(values[c])
                if not fattest <= v <= leanest:
                    continue
                position = row_start + c * along
                if position < nearest or position > farthest:
                    continue
                at = position - first_bin
                bottom, top = at - half, at + half
                if zone != held or int(bottom) != first or int(top) != last:
                    if held > 0:
                        counts[held, first], counts[held, last] = below, above if last > first else below
                        low[held], high[held] = lowest, highest
                    held, first, last = zone, int(bottom), int(top)
                    below, above = counts[held, first], counts[held, last]
                    lowest, highest = low[held], high[held]
                lowest, highest = min(lowest, position), max(highest, position)
                if last == first:
                    below += 1.0
                elif last == first + 1:
                    share = (last - bottom) / footprint
                    below += share
                    above += 1.0 - share
                else:
                    counts[held, first], counts[held, last] = below, above
                    spread(counts[held], at, footprint)
                    below, above = counts[held, first], counts[held, last]
            if held > 0:
                counts[held, first], counts[held, last] = below, above if last > first else below
                low[held], high[held] = lowest, highest
    return counts, low, high


@njit(cache=True, nogil=True)
def collect(box, value, most):  # type: ignore[no-untyped-def]  # pragma: no cover
    """List the indices of all voxels with one value, (n, 3); ``most`` is the room for them."""
    index = np.empty((most, 3), np.int32)
    n = 0
    for a in range(box.shape[0]):
        for b in range(box.shape[1]):
            for c in range(box.shape[2]):
                if box[a, b, c] == value:
                    index[n, 0] = a
                    index[n, 1] = b
                    index[n, 2] = c
                    n += 1
    return index[:n].copy()


@njit(cache=True, nogil=True)
def moments(index):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sum the indices, (3,), and their products, (3, 3)."""
    first = np.zeros(3, np.int64)
    second = np.zeros((3, 3), np.int64)
    for n in range(len(index)):
        for a in range(3):
            first[a] += index[n, a]
            for b in range(a + 1):
                second[a, b] += np.int64(index[n, a]) * index[n, b]
    for a in range(3):
        for b in range(a):
            second[b, a] = second[a, b]
    return first.astype(np.float64), second.astype(np.float64)


@njit(cache=True, nogil=True)
def extent(index, along):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Find the lowest and the highest position of voxels along a line."""
    low, high = np.inf, -np.inf
    for n in range(len(index)):
        position = along[0] + index[n, 0] * along[1] + index[n, 1] * along[2] + index[n, 2] * along[3]
        low = min(low, position)
        high = max(high, position)
    return low, high


@njit(cache=True, nogil=True)
def sections(index, along, low, step, bins):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count voxels in bins along a line, and sum their indices in each."""
    count = np.zeros(bins, np.int64)
    sums = np.zeros((bins, 3), np.int64)
    for n in range(len(index)):
        position = along[0] + index[n, 0] * along[1] + index[n, 1] * along[2] + index[n, 2] * along[3]
        at = int((position - low) / step)
        count[at] += 1
        for a in range(3):
            sums[at, a] += index[n, a]
    return count, sums


@njit(cache=True, nogil=True)
def farthest(index, along, across, reach, bins):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Find in each bin of 1 mm along a line how far the voxels reach across it."""
    result = np.full(bins, -np.inf)
    for n in range(len(index)):
        position = along[0] + index[n, 0] * along[1] + index[n, 1] * along[2] + index[n, 2] * along[3]
        if reach[0] < position < reach[1]:
            at = int(position - reach[0])
            far = across[0] + index[n, 0] * across[1] + index[n, 1] * across[2] + index[n, 2] * across[3]
            result[at] = max(result[at], far)
    return result


@njit(cache=True, nogil=True)
def grow(mask, reach):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Grow each slice of a mask by ``reach``: pixels along j at each distance along i."""
    n_k, n_i, n_j = mask.shape
    out = np.zeros((n_k, n_i, n_j), np.uint8)
    gap = np.empty((n_i, n_j), np.uint16)
    too_far = reach[0] + 1
    for k in range(n_k):
        for i in range(n_i):
            # pixels along j to the nearest one that is True, by two sweeps
            last = too_far
            for j in range(n_j):
                last = 0 if mask[k, i, j] else min(last + 1, too_far)
                gap[i, j] = last
            last = too_far
            for j in range(n_j - 1, -1, -1):
                last = 0 if mask[k, i, j] else min(last + 1, too_far)
                gap[i, j] = min(gap[i, j], last)
        for i in range(n_i):
            row = out[k, i]
            for d in range(-len(reach) + 1, len(reach)):
                if 0 <= i + d < n_i:
                    near, far = gap[i + d], reach[abs(d)]
                    for j in range(n_j):
                        row[j] |= near[j] <= far
    return out


@njit(cache=True, nogil=True)
def squared_distance(mask, x2, y2):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Compute the squared distance in mm2 to the nearest True pixel of the same slice.

    ``x2`` and ``y2``: squared sides of a pixel.
    """
    n_k, n_i, n_j = mask.shape
    out = np.empty((n_k, n_i, n_j), np.float32)
    for k in range(n_k):
        column = np.empty((n_i, n_j), np.float64)
        for i in range(n_i):
            # distance along j by two sweeps
            last = -1
            for j in range(n_j):
                if mask[k, i, j]:
                    last = j
                column[i, j] = (j - last) * (j - last) * y2 if last >= 0 else _FAR
            last = -1
            for j in range(n_j - 1, -1, -1):
                if mask[k, i, j]:
                    last = j
                if last >= 0:
                    column[i, j] = min(column[i, j], (last - j) * (last - j) * y2)
        corner = np.empty(n_i, np.int64)
        border = np.empty(n_i + 1, np.float64)
        for j in range(n_j):
            top = 0
            corner[0] = 0
            border[0], border[1] = -_FAR, _FAR
            for i in range(1, n_i):
                while True:
                    p = corner[top]
                    s = ((column[i, j] + x2 * i * i) - (column[p, j] + x2 * p * p)) / (2 * x2 * (i - p))
                    if s <= border[top] and top > 0:
                        top -= 1
                    else:
                        break
                top += 1
                corner[top] = i
                border[top] = s
                border[top + 1] = _FAR
            p = 0
            for i in range(n_i):
                while border[p + 1] < i:
                    p += 1
                d = i - corner[p]
                value = x2 * d * d + column[corner[p], j]
                out[k, i, j] = value if value < _FAR / 2 else np.inf
    return out
