"""Connected pieces of the parts on a grid: what is a crumb, and which parts are more than one piece."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from vastus.synthesis.kernels import NO_PART

CRUMB_SHARE = 0.15
"""A piece below this share of a part's largest is a crumb and becomes fat."""
_CLOSED_SHARE = 0.3
"""The same for a part whose crumbs did not count when volumes were fitted: they may have grown since."""
_EDGE_SHARE = 0.01
"""The same for a piece at the first or last slice: it may belong to something out of sight."""
_AROUND = 3
"""How many voxels around a crumb are closed to its part when volumes are fitted again."""

_LONGEST_BRIDGE, _BRIDGE_RADIUS = 10.0, 3.0
"""Over which gap two pieces of a structure are joined, and how thick the bridge is, in voxels."""
_JOINED_SHARE = 0.05
"""A piece above this share of the largest is joined to it, if it is near enough."""

Mask = NDArray[np.bool_]


def in_one_piece(mask: Mask) -> Mask:
    """A structure whose parts come from two people, in one piece: what is large and near is joined.

    The rest is left out.
    """
    import cc3d
    from scipy.ndimage import distance_transform_edt

    pieces, count = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26, return_N=True)
    if count <= 1:
        return mask
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")[:count]
    result: Mask = pieces == order[0]
    for number in order[1:]:
        if sizes[number] < _JOINED_SHARE * sizes[order[0]]:
            break
        way, nearest = distance_transform_edt(~result, return_indices=True)
        points = np.argwhere(pieces == number)
        at = tuple(points[way[tuple(points.T)].argmin()])
        if way[at] <= _LONGEST_BRIDGE:
            result |= pieces == number
            result |= _bridge(np.array(at), np.array([axis[at] for axis in nearest]), mask.shape)
    return result


def _bridge(start: NDArray[np.int64], end: NDArray[np.int64], shape: tuple[int, ...]) -> Mask:
    """A rod with round ends between two voxels."""
    points = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1) - start
    way = (end - start).astype(float)
    share = np.clip(points @ way / max(float(way @ way), 1e-9), 0.0, 1.0)
    return np.asarray(np.linalg.norm(points - share[..., None] * way, axis=-1) <= _BRIDGE_RADIUS)


def drop_crumbs(part: NDArray[np.uint8], whole: Mask, closed: Collection[int] = ()) -> None:
    """Turn the crumbs of parts to fat (in place).

    Args:
        part: part numbers on a grid.
        whole: by part number (256), whether the part should be one piece.
        closed: parts whose crumbs did not count when volumes were fitted.
    """
    window = _window(part)
    if window is None:
        return
    cut = part[window]
    pieces, _, crumb, _ = _label(cut, whole, closed)
    if crumb.any():
        cut[crumb[pieces]] = NO_PART


Crumb = tuple[int, tuple[slice, ...], Mask]


def crumbs_and_splits(
    part: NDArray[np.uint8], whole: Mask, closed: Collection[int] = ()
) -> tuple[list[Crumb], set[int]]:
    """Crumbs, and the parts that are still in more than one piece without them.

    Args:
        part: part numbers on a grid.
        whole: by part number (256), whether the part should be one piece.
        closed: as ``drop_crumbs`` takes it.

    Returns:
        Each crumb's part, box and surroundings (its voxels and those around it that aren't the part's main piece); and
        the numbers of the parts that are split.
    """
    import cc3d
    from scipy.ndimage import binary_dilation

    window = _window(part)
    if window is None:
        return [], set()
    pieces, owner, crumb, split = _label(part[window], whole, closed)
    if not crumb.any():
        return [], split
    boxes = cc3d.statistics(pieces, no_slice_conversion=False)["bounding_boxes"]
    found = []
    for number in np.flatnonzero(crumb):
        box = tuple(
            slice(max(s.start - _AROUND, 0), min(s.stop + _AROUND, n))
            for s, n in zip(boxes[number], pieces.shape, strict=True)
        )
        inside = pieces[box]
        around = binary_dilation(inside == number, iterations=_AROUND)
        around &= (owner[inside] != owner[number]) | (inside == number) | crumb[inside]
        outer = tuple(slice(s.start + w.start, s.stop + w.start) for s, w in zip(box, window, strict=True))
        found.append((int(owner[number]), outer, around))
    return found, split


def _window(part: NDArray[np.uint8]) -> tuple[slice, ...] | None:
    """The box of all parts; along z the whole grid, whose ends matter."""
    flat = part.min(axis=2) != NO_PART
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1), slice(0, part.shape[2])


def _label(
    part: NDArray[np.uint8], whole: Mask, closed: Collection[int]
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.uint8], Mask, set[int]]:
    """Piece numbers, the part of each piece, which pieces are crumbs, and which parts are split without them."""
    import cc3d

    part = np.ascontiguousarray(part)
    pieces, count = cc3d.connected_components(part + np.uint8(1), connectivity=26, return_N=True)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    owner = np.full(count + 1, NO_PART, np.uint8)
    owner[pieces.ravel()] = part.ravel()
    at_edge = np.zeros(count + 1, bool)
    at_edge[pieces[:, :, 0]] = True
    at_edge[pieces[:, :, -1]] = True
    largest = np.zeros(256, np.int64)
    np.maximum.at(largest, owner, sizes)
    share = np.where(np.isin(owner, list(closed)), _CLOSED_SHARE, CRUMB_SHARE)
    share[at_edge] = _EDGE_SHARE
    known = whole[owner]
    known[0] = False
    crumb = known & (sizes < share * largest[owner])
    kept = np.bincount(owner[known & ~crumb], minlength=256)
    return pieces, owner, crumb, {int(p) for p in np.flatnonzero(kept > 1)}
