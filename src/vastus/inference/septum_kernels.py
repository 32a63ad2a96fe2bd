"""The compiled loops of ``vastus.inference.septa``: one slice at a time."""

from __future__ import annotations

import numpy as np

from vastus.loops import njit

FREE, FIXED, OUTSIDE = 0, 1, 2
"""State of a pixel: between muscles and to be named anew; named for good; not muscle."""


@njit(cache=True, nogil=True)
def follow(labels, hu, muscle, weights, half_box, spacing, limits, steps):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Move the borders between muscles of one slice to the dark lines beside them, in place.

    Args:
        labels: (I, J) uint8.
        hu: (I, J) float32.
        muscle: (256,) bool, which labels are muscles.
        weights: two float32 arrays of odd length, the smoothing along each axis; the sum of each is 1.
        half_box: pixels to each side of the square mean, along each axis.
        spacing: mm along each axis, float32.
        limits: reach and least depth in mm, float32.
        steps: HU of a step of darkness, number of these steps, and mm of a step of depth.
    """
    squared = _squared_distances(labels, muscle, spacing, limits[0])
    if squared.shape[0] == 0:
        return
    state = _states(labels, muscle, squared, limits)
    rank = _ranks(hu, state, squared, weights, half_box, limits[0], steps)
    tiers = int(limits[0] / steps[2]) + 2
    _flood(labels, state, rank, tiers * (int(steps[1]) + 1))


@njit(cache=True, nogil=True)
def _squared_distances(labels, muscle, spacing, reach):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Squared distance (mm2) of each muscle pixel from the next border between two muscles; far: beyond the reach.

    Returns:
        (I, J) float32; of no rows where no two muscles touch.
    """
    rows, columns = labels.shape
    far = np.float32(4) * reach * reach
    count = 0
    edges = np.empty((rows * columns, 2), np.int32)
    for i in range(rows):
        for j in range(columns):
            own = labels[i, j]
            if not muscle[own]:
                continue
            if (
                (i > 0 and labels[i - 1, j] != own and muscle[labels[i - 1, j]])
                or (i + 1 < rows and labels[i + 1, j] != own and muscle[labels[i + 1, j]])
                or (j > 0 and labels[i, j - 1] != own and muscle[labels[i, j - 1]])
                or (j + 1 < columns and labels[i, j + 1] != own and muscle[labels[i, j + 1]])
            ):
                edges[count, 0], edges[count, 1] = i, j
                count += 1
    if count == 0:
        return np.empty((0, 0), np.float32)
    squared = np.full((rows, columns), far, np.float32)
    wide_0, wide_1 = int(reach / spacing[0]), int(reach / spacing[1])
    for n in range(count):
        i, j = edges[n, 0], edges[n, 1]
        for a in range(max(0, i - wide_0), min(rows, i + wide_0 + 1)):
            down = np.float32(a - i) * spacing[0]
            for b in range(max(0, j - wide_1), min(columns, j + wide_1 + 1)):
                across = np.float32(b - j) * spacing[1]
                squared[a, b] = min(squared[a, b], down * down + across * across)
    return squared


@njit(cache=True, nogil=True)
def _states(labels, muscle, squared, limits):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Say which pixels keep their name: those deep in a muscle; of a slim muscle the inner half; of a sliver none."""
    rows, columns = labels.shape
    reach = limits[0] * limits[0]
    deepest = np.zeros(256, np.float32)
    for i in range(rows):
        for j in range(columns):
            if muscle[labels[i, j]]:
                deepest[labels[i, j]] = max(deepest[labels[i, j]], squared[i, j])
    kept = np.empty(256, np.float32)
    for value in range(256):
        if deepest[value] > reach:
            kept[value] = reach
        elif deepest[value] >= limits[1] * limits[1]:
            kept[value] = deepest[value] / np.float32(4)
        else:
            kept[value] = np.float32(np.inf)
    state = np.empty((rows, columns), np.uint8)
    for i in range(rows):
        for j in range(columns):
            own = labels[i, j]
            if not muscle[own]:
                state[i, j] = OUTSIDE
            elif squared[i, j] > kept[own]:
                state[i, j] = FIXED
            else:
                state[i, j] = FREE
    return state


@njit(cache=True, nogil=True)
def _ranks(hu, state, squared, weights, half_box, reach, steps):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Say in which order pixels are named: bright before dark, then deep before shallow.

    Darkness is how far a pixel (smoothed) lies below the mean of the muscle in the square around it.
    """
    rows, columns = hu.shape
    tiers = int(reach / steps[2]) + 2
    first, last = rows, -1
    for i in range(rows):
        for j in range(columns):
            if state[i, j] == FREE:
                first, last = min(first, i), max(last, i)
                break
    rank = np.zeros((rows, columns), np.int32)
    if last < 0:
        return rank
    reach_0, box_0 = len(weights[0]) // 2, half_box[0]
    low, high = max(0, first - max(reach_0, box_0)), min(rows, last + max(reach_0, box_0) + 1)
    smoothed = np.zeros((rows, columns), np.float32)
    sums = np.zeros((rows, columns), np.float32)
    counts = np.zeros((rows, columns), np.float32)
    for i in range(low, high):
        _along_row(hu[i], state[i], weights[1], half_box[1], smoothed[i], sums[i], counts[i])
    total, count = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    for i in range(max(0, first - box_0), min(first + box_0, high)):
        for j in range(columns):
            total[j] += sums[i, j]
            count[j] += counts[i, j]
    smooth = np.empty(columns, np.float32)
    for i in range(first, last + 1):
        if i + box_0 < high:
            for j in range(columns):
                total[j] += sums[i + box_0, j]
                count[j] += counts[i + box_0, j]
        if i > first and i - box_0 - 1 >= 0:
            for j in range(columns):
                total[j] -= sums[i - box_0 - 1, j]
                count[j] -= counts[i - box_0 - 1, j]
        smooth[:] = np.float32(0)
        for w in range(2 * reach_0 + 1):
            weight = weights[0][w]
            a = min(max(i + w - reach_0, 0), rows - 1)
            for j in range(columns):
                smooth[j] += weight * smoothed[a, j]
        for j in range(columns):
            if state[i, j] == FREE:
                dark = (total[j] / count[j] - smooth[j]) / steps[0]
                level = int(min(max(dark, np.float32(0)), steps[1]))
                tier = int((reach - np.sqrt(min(squared[i, j], reach * reach))) / steps[2])
                rank[i, j] = level * tiers + 1 + tier
    return rank


@njit(cache=True, nogil=True)
def _along_row(hu, state, weights, half, smoothed, sums, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Smooth one row of HU (clipped to -150..150); sum and count the muscle pixels within ``half`` pixels of each."""
    columns, reach = len(hu), len(weights) // 2
    clipped = np.empty(columns + 2 * reach, np.float32)
    for j in range(columns):
        clipped[j + reach] = min(max(hu[j], np.float32(-150)), np.float32(150))
    for j in range(reach):
        clipped[j] = clipped[reach]
        clipped[columns + reach + j] = clipped[columns + reach - 1]
    for w in range(len(weights)):
        for j in range(columns):
            smoothed[j] += weights[w] * clipped[j + w]
    total, count = np.float32(0), np.float32(0)
    for j in range(-half, columns):
        if j + half < columns and state[j + half] != OUTSIDE:
            total += clipped[j + half + reach]
            count += np.float32(1)
        if j - half - 1 >= 0 and state[j - half - 1] != OUTSIDE:
            total -= clipped[j - half - 1 + reach]
            count -= np.float32(1)
        if j >= 0:
            sums[j], counts[j] = total, count


@njit(cache=True, nogil=True)
def _flood(labels, state, rank, ranks):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Give each free pixel the name of the neighbour that reaches it first, in the order of the ranks (Meyer 1991)."""
    rows, columns = labels.shape
    pixels = rows * columns
    after = np.empty(pixels, np.int32)
    head = np.full(ranks, -1, np.int32)
    tail = np.full(ranks, -1, np.int32)
    for i in range(rows):
        for j in range(columns):
            if state[i, j] != FIXED:
                continue
            if (
                (i > 0 and state[i - 1, j] == FREE)
                or (i + 1 < rows and state[i + 1, j] == FREE)
                or (j > 0 and state[i, j - 1] == FREE)
                or (j + 1 < columns and state[i, j + 1] == FREE)
            ):
                p = i * columns + j
                after[p] = -1
                if head[0] < 0:
                    head[0] = p
                else:
                    after[tail[0]] = p
                tail[0] = p
    now = 0
    while now < ranks:
        p = head[now]
        if p < 0:
            now += 1
            continue
        head[now] = after[p]
        i, j = p // columns, p % columns
        for step in range(4):
            a = i + (step == 0) - (step == 1)
            b = j + (step == 2) - (step == 3)
            if 0 <= a < rows and 0 <= b < columns and state[a, b] == FREE:
                state[a, b] = FIXED
                labels[a, b] = labels[i, j]
                q, r = a * columns + b, rank[a, b]
                after[q] = -1
                if head[r] < 0:
                    head[r] = q
                else:
                    after[tail[r]] = q
                tail[r] = q
                now = min(now, r)
