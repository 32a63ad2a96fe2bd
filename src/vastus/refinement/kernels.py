"""The compiled loops of refinement: the shortest-path forest behind ``SeedGrower``.

All arrays are flat views of a volume with one voxel of padding on every face. The queue is one list a distance (Dial's
algorithm): distances are whole numbers, so that no heap is needed. The lists are linked through ``after`` and
``before``; -1 ends a list.
"""

from __future__ import annotations

import numpy as np

from vastus.loops import njit

FAR = 1 << 30
NO_PARENT = 255
BLOCKED = 254
"""In ``parent``: a voxel of the padding, never entered."""


@njit(cache=True, nogil=True, inline="always")
def _put(lists, voxel, distance):  # type: ignore[no-untyped-def]  # pragma: no cover
    head, after, before = lists
    place = min(distance, len(head) - 1)
    first = head[place]
    after[voxel] = first
    before[voxel] = -2 - place  # the first of a list points to its head
    if first >= 0:
        before[first] = voxel
    head[place] = voxel


@njit(cache=True, nogil=True, inline="always")
def _drop(lists, voxel):  # type: ignore[no-untyped-def]  # pragma: no cover
    head, after, before = lists
    ahead, behind = before[voxel], after[voxel]
    if ahead == -1:
        return
    if ahead <= -2:
        head[-2 - ahead] = behind
    else:
        after[ahead] = behind
    if behind >= 0:
        before[behind] = ahead
    before[voxel] = -1


@njit(cache=True, nogil=True)
def grow(hu, state, lists, steps, added, values):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set new seeds and let every voxel that comes nearer to one of them take its value.

    Args:
        hu: int16, the intensities that paths climb over.
        state: distance (int32), value (uint8), parent (uint8: which step leads back) of each voxel.
        lists: head of the list of each distance, next and previous voxel in a list.
        steps: flat offset of each of the 26 neighbours, and what a step there costs at least.
        added: voxels to start from; those with a ``values`` of 0 are kept as they are and only look around again.
        values: their seed values.
    """
    distance, value, parent = state
    head = lists[0]
    offset, penalty = steps
    lowest = len(head)
    for n in range(len(added)):
        voxel = added[n]
        if values[n]:
            distance[voxel] = 0
            value[voxel] = values[n]
            parent[voxel] = NO_PARENT
        _drop(lists, voxel)
        _put(lists, voxel, distance[voxel])
        lowest = min(lowest, distance[voxel], len(head) - 1)
    place = lowest
    while place < len(head):
        voxel = head[place]
        if voxel < 0:
            place += 1
            continue
        _drop(lists, voxel)
        so_far, here, own = distance[voxel], np.int32(hu[voxel]), value[voxel]
        for n in range(len(offset)):
            other = voxel + offset[n]
            known = distance[other]
            if known <= so_far or parent[other] == BLOCKED:
                continue
            reach = so_far + abs(np.int32(hu[other]) - here) + penalty[n]
            if reach < known:
                distance[other] = reach
                value[other] = own
                parent[other] = len(offset) - 1 - n  # steps are listed so that the opposite of n is at the mirror place
                _drop(lists, other)
                _put(lists, other, reach)
                place = min(place, reach, len(head) - 1)


@njit(cache=True, nogil=True)
def forget(state, offset, gone):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take seeds away with everything that had grown from them; give the voxels from which it can grow in again."""
    distance, value, parent = state
    queue = [np.int64(-1) for _ in range(0)]
    for n in range(len(gone)):
        voxel = gone[n]
        if distance[voxel] < FAR:
            distance[voxel] = FAR
            queue.append(voxel)
    done = 0
    while done < len(queue):
        voxel = queue[done]
        done += 1
        value[voxel] = 0
        parent[voxel] = NO_PARENT
        for n in range(len(offset)):
            other = voxel + offset[n]
            if parent[other] == len(offset) - 1 - n and distance[other] < FAR:
                distance[other] = FAR
                queue.append(other)
    rim = [np.int64(-1) for _ in range(0)]
    for voxel in queue:
        for n in range(len(offset)):
            other = voxel + offset[n]
            if distance[other] < FAR and parent[other] != BLOCKED:
                rim.append(other)
    return np.array(rim)
