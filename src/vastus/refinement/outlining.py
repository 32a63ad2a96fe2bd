"""Edge-aware outlining of muscles in a slice: from strokes to a label mask.

A random walker on a grid twice as fine as the slice grows each stroke to dark septa, fat and drawn cuts. The mask of a
muscle is its region above a stated HU; it is closed, its small holes are filled, slivers are dropped. What nobody can
tell becomes ``UNLABELLED``. The same slices and strokes give the same mask, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BACKGROUND_ID, UNLABELLED
from vastus.errors import GeometryError
from vastus.refinement.outline import Outline, OutlineSettings, Polygon, Polyline, Strokes
from vastus.refinement.random_walk import HARDEST, walk
from vastus.refinement.shapes import Mask, disc, lines_mask, polygon_mask

Labels = NDArray[np.uint8]
Plane = NDArray[np.floating]

_FAT_MARGIN_HU = 15.0
"""Regions may grow this far below the HU of the mask, so that they meet across thin fat."""
_SOFT_HU, _DARK_STEP_HU = 20.0, 10.0
_TOP_HAT_VOXELS = 5
_TUMOUR_RIM_VOXELS = 2
_BONE_SPECK, _LEAST_PIECE, _LEAST_ISLAND, _LEAST_SECTION = 25, 40, 20, 25
"""Voxels: bone specks up to this, pieces without a stroke up to this, islands and whole sections below this go."""
_STROKE_ON_MUSCLE = 0.6


@dataclass(frozen=True, slots=True)
class Remark:
    """Something a reader should look at: a key of a structure and what is odd."""

    key: str
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """The mask of one slice.

    Attributes:
        labels: uint8 (I, J): class ids, 0 none of the structures, ``UNLABELLED`` where nobody can tell.
        unclaimed: soft tissue of the window that was called none: if it is muscle, it lacks a stroke.
        remarks: what is odd.
    """

    labels: Labels
    unclaimed: Mask
    remarks: tuple[Remark, ...]


class Outliner:
    """Turns outlines of one slice into masks; what depends on the image alone is computed once."""

    def __init__(self, slab: NDArray[Any], at: int, tumour: Mask | None = None) -> None:
        """Take the slice ``at`` of a stack of slices (I, J, K) in HU, and where the tumour is in it (I, J).

        Raises:
            GeometryError: another number of axes, no such slice, or a tumour mask of another shape.
        """
        if slab.ndim != 3 or not 0 <= at < slab.shape[2]:
            raise GeometryError(f"There is no slice {at} in an image of shape {slab.shape}.")
        low, high = max(at - 1, 0), min(at + 1, slab.shape[2] - 1)
        self._slices = tuple(slab[:, :, k].astype(np.float32) for k in (low, at, high))
        if tumour is not None and tumour.shape != slab.shape[:2]:
            raise GeometryError(f"A tumour mask of shape {tumour.shape} does not fit a slice {slab.shape[:2]}.")
        self._tumour = tumour
        self._fields: dict[OutlineSettings, Fields] = {}

    def outline(self, spec: Outline) -> Outlined:
        """Make the mask of an outline."""
        from scipy.ndimage import binary_dilation

        if spec.settings not in self._fields:
            self._fields = {spec.settings: fields_of(self._slices, spec.settings)}
        fields = self._fields[spec.settings]
        remarks: list[Remark] = []
        regions = _regions(spec, fields, remarks)
        labels = np.zeros(fields.soft.shape, np.uint8)
        for rank, strokes in enumerate(_muscles(spec), start=1):
            _put_muscle(labels, regions, rank, strokes, fields)
        for strokes in spec.strokes:
            if strokes.is_bone:
                _put_bone(labels, strokes, fields, remarks)
        for polygon in spec.polygons:
            _put_polygon(labels, polygon, fields)
        _tidy(labels, spec, fields, remarks)
        if self._tumour is not None and self._tumour.any():
            labels[binary_dilation(self._tumour, disc(_TUMOUR_RIM_VOXELS))] = UNLABELLED
        window = _window(spec, labels.shape)
        unclaimed = fields.tissue & window & (labels == BACKGROUND_ID)
        labels[~window] = UNLABELLED
        return Outlined(labels, unclaimed, tuple(remarks))


def outline_slice(slab: NDArray[Any], at: int, spec: Outline, tumour: Mask | None = None) -> Outlined:
    """Make one mask; see ``Outliner``, which is quicker for a second outline of the same slice."""
    return Outliner(slab, at, tumour).outline(spec)


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """What an image says by itself: masks of its voxels, the cost of its places on the finer grid."""

    settings: OutlineSettings
    soft: Mask
    bone: Mask
    tissue: Mask
    growable: Mask
    cost: Plane


def fields_of(slices: tuple[Plane, ...], settings: OutlineSettings) -> Fields:
    """What a slice says by itself, given it and the one before and after it, float32 HU."""
    from scipy import ndimage as ndi

    before, here, after = (np.clip(s, -200, 300) for s in slices)
    weight = settings.neighbour_weight
    mixed = ndi.gaussian_filter((1 - 2 * weight) * here + weight * (before + after), settings.edge_sigma_voxels)
    smooth = ndi.gaussian_filter(here, settings.mask_sigma_voxels)
    soft = smooth > settings.mask_hu
    body = ndi.binary_fill_holes(ndi.gaussian_filter(slices[1], 1) > -300)
    skin = settings.skin_voxels
    if skin:
        padded = np.pad(body, skin, mode="edge")
        body = ndi.binary_erosion(padded, disc(skin), border_value=1)[skin:-skin, skin:-skin]
    bone = _bone(slices[1], settings)
    fine = mixed.astype(np.float64)
    if settings.grid_factor > 1:
        fine = ndi.zoom(fine, settings.grid_factor, order=1, grid_mode=True, mode="nearest")
    cost = _cost(fine, settings)
    growable = (smooth > settings.mask_hu - _FAT_MARGIN_HU) & body & ~bone
    return Fields(settings, soft, bone, soft & body & ~bone, growable, cost)


def _bone(here: Plane, settings: OutlineSettings) -> Mask:
    from scipy import ndimage as ndi

    dense = ndi.gaussian_filter(np.clip(here, -200, 800), 0.4) > settings.bone_hu
    pieces, _ = ndi.label(ndi.binary_closing(dense, disc(1)))
    large = np.bincount(pieces.ravel()) > _BONE_SPECK
    large[0] = False
    bone = large[pieces]
    return np.asarray(ndi.binary_fill_holes(bone)) if settings.fill_bones else bone


def _cost(fine: Plane, settings: OutlineSettings) -> Plane:
    """Dark lines cost by their depth beside their surroundings, fat by its HU."""
    from scipy.ndimage import grey_closing

    depth = np.maximum(grey_closing(fine, footprint=disc(_TOP_HAT_VOXELS)) - fine, 0)
    return np.asarray(depth / settings.edge_scale_hu + np.maximum(0, _SOFT_HU - fine) / _DARK_STEP_HU)


def _class_of(strokes: Strokes) -> int:
    return strokes.table.by_key[strokes.key].class_id


def _muscles(spec: Outline) -> list[Strokes]:
    return [strokes for strokes in spec.strokes if not strokes.is_bone]


def _window(spec: Outline, shape: tuple[int, ...]) -> Mask:
    window = np.zeros(shape, bool)
    i0, i1, j0, j1 = spec.window or (0, shape[0], 0, shape[1])
    window[i0:i1, j0:j1] = True
    return window


def finer(mask: NDArray[Any], factor: int) -> NDArray[Any]:
    """A plane on the finer grid, each voxel repeated."""
    return mask.repeat(factor, axis=0).repeat(factor, axis=1)


def _regions(spec: Outline, fields: Fields, remarks: list[Remark]) -> NDArray[np.int64]:
    """Which muscle's region a voxel belongs to: its rank from 1, 0 for none."""
    from scipy.ndimage import binary_dilation

    factor = fields.settings.grid_factor
    domain = finer(fields.growable & _window(spec, fields.soft.shape), factor)
    cut = lines_mask(spec.cuts, domain.shape, finer=factor)
    if spec.cuts:
        cut = binary_dilation(cut, np.ones((2, 2)))
    muscle_like = finer(fields.soft & ~fields.bone, factor)
    seeds = np.zeros(domain.shape, np.int32)
    for rank, strokes in enumerate(_muscles(spec), start=1):
        drawn = _stroke(strokes.lines, domain.shape, factor)
        share = (muscle_like & drawn).sum() / max(drawn.sum(), 1)
        if share < _STROKE_ON_MUSCLE:
            remarks.append(Remark(strokes.key, f"{int(100 * share)}% of its stroke is on muscle-like HU"))
        seeds[drawn & ~cut] = rank + 1
    seeds[_stroke(spec.background, domain.shape, factor)] = 1
    seeds[~domain] = 0
    if not seeds.any():
        return np.zeros(fields.soft.shape, np.int64)
    box = _box(domain, 0)
    grown = np.zeros(domain.shape, np.int32)
    grown[box] = walk(np.where(cut[box], HARDEST, fields.cost[box]), domain[box], seeds[box])
    return coarser(grown, factor, len(_muscles(spec)))


def _stroke(lines: tuple[Polyline, ...], shape: tuple[int, ...], factor: int) -> Mask:
    """A stroke three places wide on the finer grid."""
    thin = lines_mask(lines, shape, finer=factor)
    thick = thin.copy()
    thick[1:] |= thin[:-1]
    thick[:-1] |= thin[1:]
    thick[:, 1:] |= thin[:, :-1]
    thick[:, :-1] |= thin[:, 1:]
    return thick


def coarser(grown: NDArray[np.int32], factor: int, muscles: int) -> NDArray[np.int64]:
    """Each voxel goes to the muscle that holds most of its places, if that has half of them at least.

    Of equals none comes first, then the muscles in their order.
    """
    parts = [grown[a::factor, b::factor] for a in range(factor) for b in range(factor)]
    ranks = np.stack([np.maximum(part - 1, 0) for part in parts])
    votes = (ranks[:, None] == ranks[None]).sum(axis=1)
    order = votes * (muscles + 1) - ranks
    best = order.argmax(axis=0)[None]
    chosen = np.take_along_axis(ranks, best, axis=0)[0]
    enough = 2 * np.take_along_axis(votes, best, axis=0)[0] >= len(parts)
    return np.where(enough, chosen, 0).astype(np.int64)


def _put_muscle(labels: Labels, regions: NDArray[np.int64], rank: int, strokes: Strokes, fields: Fields) -> None:
    """Write one muscle's mask: closed, filled, opened, without loose pieces that have no stroke."""
    from scipy import ndimage as ndi

    if not (regions == rank).any():
        return
    radius = fields.settings.opening_voxels if strokes.opening_voxels is None else strokes.opening_voxels
    box = _box(regions == rank, max(radius, 2) + 2)
    own, other, soft, bone = regions[box] == rank, regions[box], fields.soft[box], fields.bone[box]
    sure = own & soft
    closed = ndi.binary_closing(np.pad(sure, 3), disc(2))[3:-3, 3:-3] & own | sure
    whole = ndi.binary_fill_holes(closed) & (own | (other == 0)) & ~bone
    wide = radius + 2
    opened = ndi.binary_opening(np.pad(whole, wide, mode="edge"), disc(radius))[wide:-wide, wide:-wide]
    pieces, count = ndi.label(opened)
    if not count:
        return
    keep = np.bincount(pieces.ravel(), minlength=count + 1) > _LEAST_PIECE
    keep[np.unique(pieces[lines_mask(strokes.lines, fields.soft.shape)[box]])] = True
    keep[0] = False
    labels[box][keep[pieces]] = _class_of(strokes)


def _put_bone(labels: Labels, strokes: Strokes, fields: Fields, remarks: list[Remark]) -> None:
    from scipy.ndimage import label

    pieces, _ = label(fields.bone)
    touched = np.unique(pieces[lines_mask(strokes.lines, fields.bone.shape) & fields.bone])
    if len(touched):
        labels[np.isin(pieces, touched)] = _class_of(strokes)
    else:
        remarks.append(Remark(strokes.key, "its stroke does not touch bone"))


def _put_polygon(labels: Labels, polygon: Polygon, fields: Fields) -> None:
    inside = polygon_mask(polygon.points, labels.shape)
    if polygon.label in (BACKGROUND_ID, UNLABELLED):
        inside &= ~fields.bone
    elif not polygon.table.is_bone(polygon.label):
        inside &= fields.soft & ~fields.bone
    labels[inside] = polygon.label


def _tidy(labels: Labels, spec: Outline, fields: Fields, remarks: list[Remark]) -> None:
    """Undecided borders, small islands, structures that can't be separated, sections too small to be one."""
    before = labels.copy()
    for pair in spec.undecided:
        one, other = (before == spec.table.by_key[key].class_id for key in pair)
        _put_band(labels, one, other, (before == BACKGROUND_ID) & fields.soft, fields.settings.undecided_radius_voxels)
    for key in spec.keys:
        _drop_islands(labels, spec.table.by_key[key].class_id)
    for key in spec.dropped:
        labels[before == spec.table.by_key[key].class_id] = UNLABELLED
    for strokes in _muscles(spec):
        mask = labels == _class_of(strokes)
        size = int(mask.sum())
        if 0 < size < _LEAST_SECTION:
            labels[mask] = UNLABELLED
            remarks.append(Remark(strokes.key, f"only {size} voxels: they are unlabelled now"))
        elif not size and strokes.key not in spec.dropped:
            remarks.append(Remark(strokes.key, "nothing was drawn"))


def _put_band(labels: Labels, one: Mask, other: Mask, free: Mask, radius: float) -> None:
    from scipy.ndimage import distance_transform_edt

    if not (one.any() and other.any()):
        return
    box = _box(one, int(np.ceil(radius)) + 1)
    if not other[box].any():
        return
    near = [distance_transform_edt(~mask[box]) <= radius for mask in (one, other)]
    labels[box][near[0] & near[1] & (one | other | free)[box]] = UNLABELLED


def _drop_islands(labels: Labels, value: int) -> None:
    from scipy.ndimage import label

    mask = labels == value
    if not mask.any():
        return
    box = _box(mask, 0)
    pieces, count = label(mask[box])
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    small = (sizes < _LEAST_ISLAND) & (sizes < sizes[1:].max())
    small[0] = False
    labels[box][small[pieces]] = BACKGROUND_ID


def _box(mask: Mask, margin: int) -> tuple[slice, slice]:
    """The smallest box around what is True in a mask that is not empty, widened inside the array."""
    i, j = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    sides = zip((i, j), mask.shape, strict=True)
    first, second = (slice(max(0, int(n[0]) - margin), min(size, int(n[-1]) + 1 + margin)) for n, size in sides)
    return first, second
