"""The compiled loops of inference, gathered. Each is called from one place, where its arrays are explained.

They are compiled by numba on first use and kept on disk; they free the interpreter while they run. Some are given a
``block`` of the outermost axis and run in several threads (``vastus.blocks``); no two blocks add to the same number, so
that results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np

from vastus.loops import njit

TIE = 1e-4  # scores closer than this are equal


@njit(cache=True, nogil=True)
def add_float32(sums, weights, scores, fx, fy, fz, start, block):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add one weighted window of logits to the ring.

    Args:
        sums: (X, Y, D, C) float32, the ring; plane z lies at z modulo D.
        weights: (X, Y, D) float32, sum of weights.
        scores: logits of the window, (x, y, z times C).
        fx, fy, fz: weight along each axis of the window.
        start: first voxel of the window.
        block: first index along the first axis, and the one after the last.
    """
    depth, count = sums.shape[2], sums.shape[3]
    for i in range(block[0], block[1]):
        for j in range(len(fy)):
            row = scores[i, j]
            for k in range(len(fz)):
                weight = fx[i] * fy[j] * fz[k]
                ring = (start[2] + k) % depth
                weights[start[0] + i, start[1] + j, ring] += weight
                into = sums[start[0] + i, start[1] + j, ring]
                for c in range(count):
                    into[c] += weight * row[k * count + c]


@njit(cache=True, nogil=True)
def add_bfloat16(sums, weights, scores, fx, fy, fz, start, block):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Do the same as ``add_float32`` for bfloat16, given as raw ``uint16``.

    Args:
        sums, weights: as ``add_float32``.
        scores: (x, y, z times C) uint16.
        fx, fy, fz, start, block: as ``add_float32``.
    """
    depth, count = sums.shape[2], sums.shape[3]
    for i in range(block[0], block[1]):
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


@njit(cache=True, nogil=True)
def reduce(sums, weights, kept, scores, z_from, z_to, steps_per_logit, block):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Keep the best classes and their scores of finished planes, and empty these planes for the ring's next round.

    Args:
        sums, weights: as ``add_float32``.
        kept: (Z, Y, X, K) uint8, gets the best channels, best first.
        scores: (Z, Y, X, K) uint8, gets their scores, 255 for the best.
        z_from, z_to: first finished plane, and the one after the last.
        steps_per_logit: resolution of the scores.
        block: as ``add_float32``.
    """
    depth, count = sums.shape[2], sums.shape[3]
    wanted = min(kept.shape[3], count)
    for i in range(block[0], block[1]):
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
def count_parts(index, labels, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Find the label and the number of voxels of each part.

    Args:
        index: (N,) part of each voxel, 0 for the background.
        labels: (N,) uint8.
        count: number of parts + 1.

    Returns:
        Labels and numbers, each (count,); 0 for the background.
    """
    value, size = np.zeros(count, np.uint8), np.zeros(count, np.int64)
    for n in range(len(index)):
        part = index[n]
        if part != 0:
            value[part] = labels[n]
            size[part] += 1
    return value, size


@njit(cache=True, nogil=True)
def neighbours_of(index, labels, rank, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count the faces that each island shares with voxels of each label that are not islands.

    Args:
        index: (X, Y, Z) part of each voxel.
        labels: (X, Y, Z) uint8.
        rank: number of each part's island; 0 for parts that are none.
        count: number of islands + 1.

    Returns:
        (count, 256) faces.
    """
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
def slices_of(index, n_parts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Find the first and last slice of each part."""
    n_x, n_y, n_z = index.shape
    first = np.full(n_parts, n_z)
    last = np.full(n_parts, -1)
    for k in range(n_z):
        for j in range(n_y):
            for i in range(n_x):
                part = index[i, j, k]
                first[part] = min(first[part], k)
                last[part] = k
    return first, last


@njit(cache=True, nogil=True)
def sums(index, row, n_rows):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sum for each followed part and slice: voxels, sums of i and j, smallest and largest i.

    Args:
        index: (X, Y, Z) part of each voxel.
        row: row of each part; -1 for parts that are not followed.
        n_rows: number of followed parts.

    Returns:
        (n_rows, Z, 5).
    """
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
    """Count the voxels of each part right and left of the surface, and how deep it reaches on either side in mm.

    Args:
        index: (X, Y, Z) part of each voxel.
        line: (Z, 3) factors of i and j and the offset that give the distance to the right in mm.
        n_parts: number of parts + 1.

    Returns:
        Counts and depths, each (n_parts, 2): right, left.
    """
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
def label(index, value, sign, line, moved, offsets):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Make label values from class ids and the side of each part; 0 in ``sign``: cut along the surface, ``moved``.

    ``offsets`` are added to the class id on the right and on the left. As (z, y, x): numba's own ``transpose`` takes
    more than three seconds to compile.
    """
    n_x, n_y, n_z = index.shape
    labels = np.zeros((n_z, n_y, n_x), np.uint8)
    for k in range(n_z):
        for j in range(n_y):
            for i in range(n_x):
                part = index[i, j, k]
                if part != 0:
                    hand = sign[part]
                    if hand == 0:
                        hand = 1 if line[k, 0] * i + line[k, 1] * j + line[k, 2] >= moved[part] else -1
                    labels[k, j, i] = value[part] + (offsets[0] if hand > 0 else offsets[1])
    return labels


@njit(cache=True, nogil=True)
def sum_probabilities(labels, channel_of, kept, scores, odds):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sum the probability of each label value over its voxels, and count them; arrays as (z, y, x).

    Args:
        labels: (Z, Y, X) uint8.
        channel_of: output channel of each label value.
        kept, scores: (Z, Y, X, K) best channels and their scores.
        odds: odds of each of the 256 scores.

    Returns:
        Sums and counts, each (256,).
    """
    sums, counts = np.zeros(256), np.zeros(256, np.int64)
    n_z, n_y, n_x = labels.shape
    for k in range(n_z):
        for j in range(n_y):
            for i in range(n_x):
                label = labels[k, j, i]
                if label == 0:
                    continue
                channel = channel_of[label]
                total, own = 0.0, 0.0
                for t in range(kept.shape[3]):
                    odd = odds[scores[k, j, i, t]]
                    total += odd
                    if kept[k, j, i, t] == channel:
                        own = odd
                sums[label] += own / total
                counts[label] += 1
    return sums, counts


@njit(cache=True, nogil=True)
def gather_evidence(labels, class_of, hand_of, row_of, own_channel, row_at, kept, scores, odds, hu, n_rows, n_contacts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count the evidence on each label in each slice, and its contacts; see ``vastus.inference.evidence``.

    Arrays as (z, y, x). ``class_of`` and ``hand_of`` (right 0, left 1, unknown 2) are of the 256 label values. The last
    two columns of the contacts are the same structure on the other side, and the edge. ``row_at[channel, hand]`` is the
    row of a channel's label.
    """
    n_z, n_y, n_x = labels.shape
    found = np.zeros((n_rows, n_z, 20))
    touch = np.zeros((n_rows, n_z, n_contacts), np.int32)
    other_side, edge = n_contacts - 2, n_contacts - 1
    for k in range(n_z):
        seen, place = np.zeros(3), np.zeros(3)
        for j in range(n_y):
            for i in range(n_x):
                label = labels[k, j, i]
                if label != 0:
                    hand = hand_of[label]
                    seen[hand] += 1.0
                    place[hand] += i
        both = seen[0] > 0 and seen[1] > 0
        middle = 0.5 * (place[0] / seen[0] + place[1] / seen[1]) if both else 0.0
        alone = 0 if seen[0] > 0 else (1 if seen[1] > 0 else 2)
        odd, share = np.zeros(kept.shape[3]), np.zeros(kept.shape[3])
        for j in range(n_y):
            for i in range(n_x):
                label = labels[k, j, i]
                if label == 0 and scores[k, j, i, 1] == 0:
                    continue
                total = 0.0
                for t in range(kept.shape[3]):
                    odd[t] = odds[scores[k, j, i, t]]
                    total += odd[t]
                row, own, entropy = row_of[label], 0.0, 0.0
                if label != 0:
                    hand = hand_of[label]
                elif both:
                    hand = 0 if i > middle else 1
                else:
                    hand = alone
                for t in range(kept.shape[3]):
                    if odd[t] == 0.0:
                        continue
                    share[t] = odd[t] / total
                    entropy -= share[t] * np.log(share[t])
                    channel = kept[k, j, i, t]
                    if row >= 0 and channel == own_channel[row]:
                        own = share[t]
                    elif channel != 0:
                        found[row_at[channel, hand], k, 16] += share[t]
                if row < 0:
                    continue
                out = found[row, k]
                border = False
                for side in range(4):
                    y, x = j + (side == 0) - (side == 1), i + (side == 2) - (side == 3)
                    if y < 0 or x < 0 or y >= n_y or x >= n_x:
                        touch[row, k, edge] += 1
                        border = True
                        continue
                    other = labels[k, y, x]
                    if other == label:
                        continue
                    border = True
                    same = other != 0 and class_of[other] == class_of[label]
                    touch[row, k, other_side if same else class_of[other]] += 1
                value = hu[k, j, i]
                out[0] += 1.0
                out[1] += own
                out[2] += entropy
                out[3] += own < 0.5
                out[4] += own < 0.8
                if border:
                    out[5] += 1.0
                    out[6] += own
                    out[11] += value
                out[7] += value
                out[8] += value * value
                out[9] += value < -30.0
                out[10] += value > 140.0
                out[12] += i
                out[13] += j
                out[14] += i * i
                out[15] += j * j
                if i + 1 < n_x and labels[k, j, i + 1] == label:
                    step = hu[k, j, i + 1] - value
                    out[17] += step * step
                    out[18] += 1.0
                out[19] += odd[0] / total - odd[1] / total
    return found, touch


@njit(cache=True, nogil=True)
def restore(target, labels, channel_of, kept, scores, starts_a, low_a, part_a, low_b, part_b, low_c, part_c, block):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill in the labels of the original grid; axes as (slow, middle, fast) of the target.

    A cell is the space between eight neighbours of the network grid. What the corners say is gathered once a cell and
    used for all voxels in it. ``starts_a`` are the ``run_starts`` of ``low_a``; the block is one of its runs.
    """
    n_c = labels.shape[2]
    starts_b = run_starts(low_b)
    for run in range(block[0], block[1]):
        candidate = np.empty((n_c, 8), np.uint8)
        count = np.empty(n_c, np.int64)
        table = np.empty((n_c, 8, 8), np.float32)
        own = np.empty((n_c, 8, 8), np.bool_)
        share = np.empty(8, np.float32)
        # Where all corners agree, the rows of a run are the same: they are made once. The other places are listed.
        same = np.empty(len(low_c), np.uint8)
        mixed = np.empty(len(low_c), np.int64)
        for run_b in range(len(starts_b) - 1):
            first_a, first_b = starts_a[run], starts_b[run_b]
            at = (low_a[first_a], low_b[first_b])
            for c in range(n_c):
                count[c] = gather_cell(labels, channel_of, kept, scores, at, c, candidate[c], table[c], own[c])
            n_mixed = 0
            for c in range(len(low_c)):
                same[c] = candidate[low_c[c], 0]
                if count[low_c[c]] != 1:
                    mixed[n_mixed] = c
                    n_mixed += 1
            for a in range(first_a, starts_a[run + 1]):
                for b in range(first_b, starts_b[run_b + 1]):
                    out = target[a, b]
                    for c in range(len(out)):
                        out[c] = same[c]
                    low_a_share, low_b_share = np.float32(1.0) - part_a[a], np.float32(1.0) - part_b[b]
                    for place in range(n_mixed):
                        c = mixed[place]
                        cell = low_c[c]
                        low_c_share = np.float32(1.0) - part_c[c]
                        share[0] = low_a_share * low_b_share * low_c_share
                        share[1] = low_a_share * low_b_share * part_c[c]
                        share[2] = low_a_share * part_b[b] * low_c_share
                        share[3] = low_a_share * part_b[b] * part_c[c]
                        share[4] = part_a[a] * low_b_share * low_c_share
                        share[5] = part_a[a] * low_b_share * part_c[c]
                        share[6] = part_a[a] * part_b[b] * low_c_share
                        share[7] = part_a[a] * part_b[b] * part_c[c]
                        best = np.float32(-1.0)
                        winner = np.uint8(0)
                        for m in range(count[cell]):
                            total = np.float32(0.0)
                            touches = False
                            for n in range(8):
                                total += share[n] * table[cell, m, n]
                                touches = touches or (own[cell, m, n] and share[n] > 0.0)
                            label = candidate[cell, m]
                            if touches and (total > best + TIE or (total > best - TIE and label < winner)):
                                best = max(best, total)
                                winner = label
                        out[c] = winner


@njit(cache=True, nogil=True)
def gather_cell(labels, channel_of, kept, scores, at, c, candidate, table, own):  # type: ignore[no-untyped-def]  # pragma: no cover
    """List the different labels at the corners of a cell, with their score at each corner; return their number."""
    a1, b1 = min(at[0] + 1, labels.shape[0] - 1), min(at[1] + 1, labels.shape[1] - 1)
    c1 = min(c + 1, labels.shape[2] - 1)
    first = labels[at[0], at[1], c]
    candidate[0] = first
    if (
        labels[at[0], at[1], c1] == first
        and labels[at[0], b1, c] == first
        and labels[at[0], b1, c1] == first
        and labels[a1, at[1], c] == first
        and labels[a1, at[1], c1] == first
        and labels[a1, b1, c] == first
        and labels[a1, b1, c1] == first
    ):
        return 1
    count = 0
    for n in range(8):
        label = labels[a1 if n & 4 else at[0], b1 if n & 2 else at[1], c1 if n & 1 else c]
        known = False
        for m in range(count):
            known = known or candidate[m] == label
        if not known:
            candidate[count] = label
            count += 1
    for n in range(8):
        i, j, k = a1 if n & 4 else at[0], b1 if n & 2 else at[1], c1 if n & 1 else c
        label = labels[i, j, k]
        # A voxel whose label was changed since (an island) is sure of its new one.
        sure = channel_of[label] != kept[i, j, k, 0]
        for m in range(count):
            own[m, n] = candidate[m] == label
            table[m, n] = 0.0
            channel = channel_of[candidate[m]]
            if sure or (not own[m, n] and channel == channel_of[label]):
                # The same structure on the other side is a rival, not support.
                table[m, n] = 255.0 if own[m, n] else 0.0
                continue
            for t in range(kept.shape[3]):
                if kept[i, j, k, t] == channel and scores[i, j, k, t] > 0:
                    table[m, n] = scores[i, j, k, t]
                    break
    return count


@njit(cache=True, nogil=True)
def run_starts(low):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Find where runs of equal values begin, and the end of the last run."""
    starts = [0]
    for n in range(1, len(low)):
        if low[n] != low[n - 1]:
            starts.append(n)
    starts.append(len(low))
    return np.array(starts)


@njit(cache=True, nogil=True)
def trim_fat(labels, hu, soft, weights_0, weights_1, below, depth):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set fat at the borders of one slice to background, in place, ring after ring from outside.

    Args:
        labels: (I, J) uint8.
        hu: (I, J) float32.
        soft: (256,) bool, which labels lose their fat.
        weights_0, weights_1: odd numbers of weights of the smoothing along the two axes; the sum of each is 1.
        below: HU under which a smoothed voxel is fat.
        depth: number of rings.
    """
    rows, columns = labels.shape
    reach_0, reach_1 = len(weights_0) // 2, len(weights_1) // 2
    judged = np.zeros((rows, columns), np.bool_)
    front = np.empty((rows * columns, 2), np.int64)
    count = 0
    for i in range(rows):
        for j in range(columns):
            own = labels[i, j]
            if soft[own] and (
                (i > 0 and labels[i - 1, j] != own)
                or (i + 1 < rows and labels[i + 1, j] != own)
                or (j > 0 and labels[i, j - 1] != own)
                or (j + 1 < columns and labels[i, j + 1] != own)
            ):
                front[count, 0], front[count, 1] = i, j
                judged[i, j] = True
                count += 1
    begin = 0
    for _ in range(depth):
        end = count
        for n in range(begin, end):
            i, j = front[n, 0], front[n, 1]
            total, weight = np.float32(0), np.float32(0)
            for a in range(max(0, i - reach_0), min(rows, i + reach_0 + 1)):
                for b in range(max(0, j - reach_1), min(columns, j + reach_1 + 1)):
                    w = weights_0[a - i + reach_0] * weights_1[b - j + reach_1]
                    total += w * hu[a, b]
                    weight += w
            if total >= below * weight:
                front[n, 0] = -1
        for n in range(begin, end):
            i, j = front[n, 0], front[n, 1]
            if i < 0:
                continue
            labels[i, j] = 0
            for step in range(4):
                a = i + (step == 0) - (step == 1)
                b = j + (step == 2) - (step == 3)
                if 0 <= a < rows and 0 <= b < columns and not judged[a, b] and soft[labels[a, b]]:
                    judged[a, b] = True
                    front[count, 0], front[count, 1] = a, b
                    count += 1
        begin = end
