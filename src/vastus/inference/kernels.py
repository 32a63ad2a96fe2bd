"""The compiled loops of inference, gathered. Each is called from one place, where its arrays are explained.

They are compiled by numba on first use and kept on disk; they free the interpreter while they run. Parallel ones split
the outermost axis and no two threads add to the same number, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

TIE = 1e-4  # scores closer than this are equal


@njit(parallel=True, cache=True, nogil=True)
def add_float32(sums, weights, scores, fx, fy, fz, start):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add one window of logits, weighted, to the ring."""
    depth, count = sums.shape[2], sums.shape[3]
    for i in prange(len(fx)):
        for j in range(len(fy)):
            row = scores[i, j]
            for k in range(len(fz)):
                weight = fx[i] * fy[j] * fz[k]
                ring = (start[2] + k) % depth
                weights[start[0] + i, start[1] + j, ring] += weight
                into = sums[start[0] + i, start[1] + j, ring]
                for c in range(count):
                    into[c] += weight * row[k * count + c]


@njit(parallel=True, cache=True, nogil=True)
def add_bfloat16(sums, weights, scores, fx, fy, fz, start):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The same for bfloat16 given as raw ``uint16``."""
    depth, count = sums.shape[2], sums.shape[3]
    for i in prange(len(fx)):
        bits = np.empty(scores.shape[2], np.uint32)
        row = bits.view(np.float32)  # the upper half of a float32 is a bfloat16
        for j in range(len(fy)):
            source = scores[i, j]
            for n in range(len(source)):
                bits[n] = np.uint32(source[n]) << np.uint32(16)
            for k in range(len(fz)):
                weight = fx[i] * fy[j] * fz[k]
                ring = (start[2] + k) % depth
                weights[start[0] + i, start[1] + j, ring] += weight
                into = sums[start[0] + i, start[1] + j, ring]
                for c in range(count):
                    into[c] += weight * row[k * count + c]


@njit(parallel=True, cache=True, nogil=True)
def reduce(sums, weights, kept, scores, z_from, z_to, steps_per_logit):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Best classes and their scores of finished planes, which are then emptied for the ring's next round."""
    depth, count = sums.shape[2], sums.shape[3]
    wanted = min(kept.shape[3], count)
    for i in prange(sums.shape[0]):
        best = np.empty(wanted, np.float32)
        which = np.empty(wanted, np.uint8)
        for j in range(sums.shape[1]):
            for z in range(z_from, z_to):
                ring = z % depth
                weight = weights[i, j, ring]
                if weight == 0.0:
                    continue
                row = sums[i, j, ring]
                best[:] = -np.inf
                which[:] = 0
                for c in range(count):
                    value = row[c]
                    if value > best[wanted - 1]:
                        place = wanted - 1
                        while place > 0 and value > best[place - 1]:
                            best[place] = best[place - 1]
                            which[place] = which[place - 1]
                            place -= 1
                        best[place] = value
                        which[place] = c
                    row[c] = 0.0
                weights[i, j, ring] = 0.0
                for n in range(wanted):
                    behind = (best[0] - best[n]) / weight * steps_per_logit
                    kept[z, j, i, n] = which[n]
                    scores[z, j, i, n] = np.uint8(255.0 - min(behind, np.float32(255.0)) + 0.5)


@njit(cache=True, nogil=True)
def neighbours_of(index, labels, rank, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """For each island the number of faces it shares with voxels of each label that are not islands."""
    around = np.zeros((count, 256), np.int64)
    n_x, n_y, n_z = labels.shape
    for k in range(n_z):
        for j in range(n_y):
            for i in range(n_x):
                island = rank[index[i, j, k]]
                if island == 0:
                    continue
                for axis in range(3):
                    for step in (-1, 1):
                        x = i + step * (axis == 0)
                        y = j + step * (axis == 1)
                        z = k + step * (axis == 2)
                        if 0 <= x < n_x and 0 <= y < n_y and 0 <= z < n_z and rank[index[x, y, z]] == 0:
                            around[island, labels[x, y, z]] += 1
    return around


@njit(cache=True, nogil=True)
def replace(index, labels, rank, replacement):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Give each island its new label."""
    n_x, n_y, n_z = labels.shape
    for k in range(n_z):
        for j in range(n_y):
            for i in range(n_x):
                island = rank[index[i, j, k]]
                if island != 0:
                    labels[i, j, k] = replacement[island]


@njit(cache=True, nogil=True)
def sums(index, row, n_rows):  # type: ignore[no-untyped-def]  # pragma: no cover
    """For each followed part and slice: voxels, sums of i and j, smallest and largest i."""
    n_x, n_y, n_z = index.shape
    sums = np.zeros((n_rows, n_z, 5))
    sums[:, :, 3] = n_x
    sums[:, :, 4] = -1.0
    for k in range(n_z):
        for j in range(n_y):
            for i in range(n_x):
                r = row[index[i, j, k]]
                if r >= 0:
                    sums[r, k, 0] += 1.0
                    sums[r, k, 1] += i
                    sums[r, k, 2] += j
                    sums[r, k, 3] = min(sums[r, k, 3], i)
                    sums[r, k, 4] = max(sums[r, k, 4], i)
    return sums


@njit(cache=True, nogil=True)
def beside(index, line, n_parts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """For each part: voxels right and left of the surface, and how deep it reaches on either side in mm."""
    n_x, n_y, n_z = index.shape
    count = np.zeros((n_parts, 2), np.int64)
    depth = np.zeros((n_parts, 2))
    for k in range(n_z):
        for j in range(n_y):
            for i in range(n_x):
                part = index[i, j, k]
                if part != 0:
                    distance = line[k, 0] * i + line[k, 1] * j + line[k, 2]
                    hand = 0 if distance >= 0 else 1
                    count[part, hand] += 1
                    depth[part, hand] = max(depth[part, hand], abs(distance))
    return count, depth


@njit(cache=True, nogil=True)
def label(index, value, sign, line):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Label values from class ids and the side of each part; 0 in ``sign`` means: cut along the surface."""
    n_x, n_y, n_z = index.shape
    labels = np.zeros((n_z, n_y, n_x), np.uint8)
    for k in range(n_z):
        for j in range(n_y):
            for i in range(n_x):
                part = index[i, j, k]
                if part != 0:
                    hand = sign[part]
                    if hand == 0:
                        hand = 1 if line[k, 0] * i + line[k, 1] * j + line[k, 2] >= 0 else -1
                    labels[k, j, i] = value[part] + (100 if hand > 0 else 200)
    return labels.transpose(2, 1, 0)


@njit(parallel=True, cache=True, nogil=True)
def restore(target, labels, channel_of, kept, scores, low_a, part_a, low_b, part_b, low_c, part_c):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Labels of the original grid; axes as (slow, middle, fast) of the target."""
    n_a, n_b, n_c = labels.shape
    for a in prange(target.shape[0]):
        a_at = np.array([low_a[a], min(low_a[a] + 1, n_a - 1)])
        a_share = np.array([np.float32(1.0) - part_a[a], part_a[a]])
        same = np.empty(n_c, np.bool_)
        corner = np.empty(8, np.uint8)
        share = np.empty(8, np.float32)
        at = np.empty((8, 3), np.int64)
        for b in range(target.shape[1]):
            b_at = np.array([low_b[b], min(low_b[b] + 1, n_b - 1)])
            b_share = np.array([np.float32(1.0) - part_b[b], part_b[b]])
            row0, row1 = labels[a_at[0], b_at[0]], labels[a_at[0], b_at[1]]
            row2, row3 = labels[a_at[1], b_at[0]], labels[a_at[1], b_at[1]]
            for c in range(n_c):
                d = min(c + 1, n_c - 1)
                v = row0[c]
                same[c] = (
                    row1[c] == v and row2[c] == v and row3[c] == v
                    and row0[d] == v and row1[d] == v and row2[d] == v and row3[d] == v
                )  # fmt: skip
            out = target[a, b]
            for c in range(len(out)):
                low = low_c[c]
                if same[low]:
                    out[c] = row0[low]
                    continue
                n = 0
                for p in range(2):
                    for q in range(2):
                        for r in range(2):
                            weight = a_share[p] * b_share[q] * (part_c[c] if r else np.float32(1.0) - part_c[c])
                            if weight > 0.0:
                                place = min(low + r, n_c - 1)
                                at[n, 0], at[n, 1], at[n, 2] = a_at[p], b_at[q], place
                                corner[n] = labels[a_at[p], b_at[q], place]
                                share[n] = weight
                                n += 1
                winner = np.uint8(0)
                best = np.float32(-1.0)
                for m in range(n):
                    label = corner[m]
                    seen = False
                    for earlier in range(m):
                        seen = seen or corner[earlier] == label
                    if seen:
                        continue
                    channel = channel_of[label]
                    total = np.float32(0.0)
                    for other in range(n):
                        # The same structure on the other side is a rival, not support.
                        if corner[other] != label and channel_of[corner[other]] == channel:
                            continue
                        ids = kept[at[other, 0], at[other, 1], at[other, 2]]
                        values = scores[at[other, 0], at[other, 1], at[other, 2]]
                        for t in range(len(ids)):
                            if ids[t] == channel and values[t] > 0:
                                total += share[other] * np.float32(values[t])
                                break
                    if total > best + TIE or (total > best - TIE and label < winner):
                        best = max(best, total)
                        winner = label
                out[c] = winner
