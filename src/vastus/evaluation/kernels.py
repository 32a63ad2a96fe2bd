"""Compiled loops over two label maps, their borders, and the distances between these.

They take arrays, not objects, and import nothing but numpy: they are compiled while Vastus is installed.
"""

from __future__ import annotations

import numpy as np

from vastus.loops import njit

VALUE_COUNT = 256
WORD = 8
"""Voxels that are looked at as one number."""
_EACH = np.uint64(0x0101010101010101)
_ROOM = 1 << 14
"""Positions that a list of border voxels has room for at first."""
CELL = 8
"""Edge of a cell in voxels."""
_ROUNDING_MM2 = 1e-6
"""More than squares of distances are off by."""


@njit(cache=True, nogil=True)
def joint_histogram(prediction, reference, first, second, start, stop):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count eight voxels at a time where they are all alike: nearly everywhere."""
    counts = np.zeros((256, 256), np.int64)
    background = 0
    for word in range(start, stop):
        if first[word] | second[word] == 0:
            background += WORD
            continue
        p, r = prediction[WORD * word], reference[WORD * word]
        if first[word] == _EACH * np.uint64(p) and second[word] == _EACH * np.uint64(r):
            counts[p, r] += WORD
        else:
            for voxel in range(WORD * word, WORD * word + WORD):
                counts[prediction[voxel], reference[voxel]] += 1
    counts[0, 0] += background
    return counts


@njit(cache=True, nogil=True)
def occupied(prediction, reference):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Tell which planes along each axis hold a label of either map."""
    n_a, n_b, n_c = prediction.shape
    hit_a, hit_b, columns = np.zeros(n_a, np.bool_), np.zeros(n_b, np.bool_), np.zeros(n_c, np.uint8)
    row = np.empty(n_c, np.uint8)
    for a in range(n_a):
        for b in range(n_b):
            seen = np.uint8(0)
            for c in range(n_c):
                row[c] = prediction[a, b, c] | reference[a, b, c]
                seen |= row[c]
            if seen:
                hit_a[a] = True
                hit_b[b] = True
                for c in range(n_c):
                    columns[c] |= row[c]
    return hit_a, hit_b, columns != 0


@njit(cache=True, nogil=True)
def mark_borders(labels, low, marked, words, first, last):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mark the borders of some planes; return the flat positions of what is marked, and their number by label."""
    _, n_b, n_c = marked.shape
    flat = marked.reshape(-1)
    counts = np.zeros(VALUE_COUNT, np.int64)
    found = np.empty(_ROOM, np.int64)
    n = 0
    for a in range(first, last):
        for b in range(n_b):
            mark_row(labels, low, marked, a, b)
        # While the plane is in the processor's cache. Few voxels are marked: eight are looked at at a time.
        place, stop = a * n_b * n_c, (a + 1) * n_b * n_c
        while place < stop:
            width = 1
            if place % WORD == 0 and place + WORD <= stop:
                width = WORD
                while place + WORD <= stop and words[place // WORD] == 0:
                    place += WORD
                if place + WORD > stop:
                    continue
            if n + width > len(found):
                longer = np.empty(2 * len(found), np.int64)
                longer[:n] = found[:n]
                found = longer
            for position in range(place, place + width):
                if flat[position]:
                    counts[flat[position]] += 1
                    found[n] = position
                    n += 1
            place += width
    return found[:n], counts


@njit(cache=True, nogil=True)
def mark_row(labels, low, marked, a, b):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Write the border voxels of one row: those with another value beside them, or at the edge of the box."""
    n_a, n_b, n_c = marked.shape
    low_a, low_b, low_c = low[0] + a, low[1] + b, low[2]
    out = marked[a, b]
    here = labels[low_a, low_b, low_c : low_c + n_c]
    if a == 0 or a == n_a - 1 or b == 0 or b == n_b - 1 or n_c < 3:
        out[:] = here
        return
    left, right = labels[low_a, low_b - 1, low_c : low_c + n_c], labels[low_a, low_b + 1, low_c : low_c + n_c]
    under, above = labels[low_a - 1, low_b, low_c : low_c + n_c], labels[low_a + 1, low_b, low_c : low_c + n_c]
    out[0] = here[0]
    out[n_c - 1] = here[n_c - 1]
    # Without a branch: the compiler takes many voxels at a time.
    for c in range(1, n_c - 1):
        v = here[c]
        differs = (
            (here[c - 1] ^ v) | (here[c + 1] ^ v) | (left[c] ^ v) | (right[c] ^ v) | (under[c] ^ v) | (above[c] ^ v)
        )
        out[c] = v if differs else np.uint8(0)


@njit(cache=True, nogil=True)
def group(marked, found, places, index):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Write positions to where those of their label begin, in their order."""
    place = places.copy()
    for position in found:
        v = marked[position]
        index[place[v]] = position
        place[v] += 1


@njit(cache=True, nogil=True)
def shell_search(index, here, there, offsets, lengths_mm, distances):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Write the distance to the nearest voxel of the same value in ``there``, where the shell holds one."""
    n_a, n_b, n_c = here.shape
    values = here.reshape(-1)
    targets = there.reshape(-1)
    reach_a, reach_b, reach_c = offsets[:, 0].max(), offsets[:, 1].max(), offsets[:, 2].max()
    # An index without a sign: it need not be asked whether it counts from the end.
    jumps = (offsets[:, 0] * n_b + offsets[:, 1]) * n_c + offsets[:, 2]
    count, one = np.uint64(len(jumps)), np.uint64(1)
    for point in range(len(index)):
        place = index[point]
        v = values[place]
        c = place % n_c
        b = (place // n_c) % n_b
        a = place // (n_b * n_c)
        step = np.uint64(0)
        if reach_a <= a < n_a - reach_a and reach_b <= b < n_b - reach_b and reach_c <= c < n_c - reach_c:
            while step < count and targets[np.uint64(place + jumps[step])] != v:
                step += one
        else:
            while step < count and not (
                0 <= a + offsets[step, 0] < n_a
                and 0 <= b + offsets[step, 1] < n_b
                and 0 <= c + offsets[step, 2] < n_c
                and targets[np.uint64(place + jumps[step])] == v
            ):
                step += one
        if step < count:
            distances[point] = lengths_mm[step]


@njit(cache=True, nogil=True)
def sorted_into_cells(others, low, counts, spacing_mm):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Return positions in mm, sorted by cell, and where those of each cell begin (and those of the last one end)."""
    start = np.zeros(counts[0] * counts[1] * counts[2] + 1, np.int64)
    cells = np.empty(len(others), np.int64)
    for n in range(len(others)):
        cell = (others[n, 0] - low[0]) // CELL
        cell = cell * counts[1] + (others[n, 1] - low[1]) // CELL
        cells[n] = cell * counts[2] + (others[n, 2] - low[2]) // CELL
        start[cells[n] + 1] += 1
    for cell in range(len(start) - 1):
        start[cell + 1] += start[cell]
    place = start[:-1].copy()
    at = np.empty((len(others), 3))
    for n in range(len(others)):
        for axis in range(3):
            at[place[cells[n]], axis] = others[n, axis] * spacing_mm[axis]
        place[cells[n]] += 1
    return start, at


@njit(cache=True, nogil=True)
def nearest(voxels, start, at, low, counts, spacing_mm):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Find the distance in mm of each voxel to the nearest position of ``sorted_into_cells``."""
    s_a, s_b, s_c = spacing_mm
    low_a, low_b, low_c = low
    n_a, n_b, n_c = counts
    distances = np.empty(len(voxels))
    found = 0
    for n in range(len(voxels)):
        v_a, v_b, v_c = voxels[n, 0], voxels[n, 1], voxels[n, 2]
        x_a, x_b, x_c = v_a * s_a, v_b * s_b, v_c * s_c
        best = (x_a - at[found, 0]) ** 2 + (x_b - at[found, 1]) ** 2 + (x_c - at[found, 2]) ** 2
        reach = np.sqrt(best)
        r_a, r_b, r_c = int(reach / s_a) + 1, int(reach / s_b) + 1, int(reach / s_c) + 1
        for i in range(max(0, (v_a - r_a - low_a) // CELL), min(n_a - 1, (v_a + r_a - low_a) // CELL) + 1):
            gap = max(0, low_a + i * CELL - v_a, v_a - low_a - i * CELL - CELL + 1) * s_a
            away_a = gap * gap
            if away_a > best + _ROUNDING_MM2:
                continue
            for j in range(max(0, (v_b - r_b - low_b) // CELL), min(n_b - 1, (v_b + r_b - low_b) // CELL) + 1):
                gap = max(0, low_b + j * CELL - v_b, v_b - low_b - j * CELL - CELL + 1) * s_b
                away_b = away_a + gap * gap
                if away_b > best + _ROUNDING_MM2:
                    continue
                for k in range(max(0, (v_c - r_c - low_c) // CELL), min(n_c - 1, (v_c + r_c - low_c) // CELL) + 1):
                    cell = (i * n_b + j) * n_c + k
                    if start[cell] == start[cell + 1]:
                        continue
                    gap = max(0, low_c + k * CELL - v_c, v_c - low_c - k * CELL - CELL + 1) * s_c
                    if away_b + gap * gap > best + _ROUNDING_MM2:
                        continue
                    for row in range(start[cell], start[cell + 1]):
                        square = (x_a - at[row, 0]) ** 2 + (x_b - at[row, 1]) ** 2 + (x_c - at[row, 2]) ** 2
                        if square < best:
                            best, found = square, row
        distances[n] = np.sqrt(best)
    return distances
