"""Grow new strokes into structures without touching what is there: the safe way to use ``grow_from_seeds``.

- Only structures with new strokes grow. What is labelled already stays as it is, and stands in the way.
- Muscles grow into what is neither fat, air nor bone (marrow counts as bone); bones grow into bone only.
- Where there is nothing to decide (no new stroke, or one structure and nothing beside it) growing is refused.
- What would change is told in mL before anybody keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BACKGROUND_ID, BUILT_IN, UNLABELLED
from vastus.errors import GeometryError, SettingsError
from vastus.refinement.boxes import Box, box_of, voxels
from vastus.refinement.grow_from_seeds import BACKGROUND_SEED, SeedGrower

FAT_HU: Final = -40
"""Below it nothing is muscle or bone."""

BONE_HU: Final = 200
"""Above it all is bone."""

_CALM_MM: Final = 1.0
"""SD of the smoothing before HU are held against these limits."""

REACH_MM: Final = 45.0
"""Nothing grows further than this beyond the box of the new strokes."""

_LARGEST_HOLE_MM2: Final = 3000.0
"""Marrow of a femoral head fits; the inside of the pelvic ring does not."""

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Change:
    """What growing does to one structure, in mL."""

    value: int
    before_ml: float
    after_ml: float
    gained_ml: float
    lost_ml: float


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """Labels after growing, which structures grew, and what changed against the version before."""

    labels: Labels
    grown: tuple[int, ...]
    changes: tuple[Change, ...]


class StructureGrower:
    """One scan under work: keeps what grew near the last strokes, so that a further stroke costs little."""

    def __init__(
        self,
        hu: NDArray[Any],
        spacing_mm: tuple[float, float, float],
        *,
        axis: int = 2,
        margin_mm: float = REACH_MM,
        is_bone: Callable[[int], bool] = BUILT_IN.is_bone,
    ) -> None:
        """Nothing is computed before the first ``grow``.

        Args:
            hu: shape (I, J, K).
            spacing_mm: of its axes.
            axis: across the axial slices, in which marrow is enclosed by bone.
            margin_mm: nothing grows further than this beyond the box of the new strokes.
            is_bone: tells whether a label value is that of a bone.
        """
        if hu.ndim != 3:
            raise GeometryError(f"Growing needs three dimensions, not {hu.ndim}.")
        self._hu, self._spacing_mm, self._axis = hu, spacing_mm, axis
        self._margin, self._is_bone = voxels(margin_mm, spacing_mm), is_bone
        self._region: _Region | None = None

    def grow(self, drawn: Labels, before: Labels | None = None) -> Growth:
        """Grow the strokes that are new.

        Args:
            drawn: labels as they are on screen, strokes in them; ``BACKGROUND_SEED`` is a stroke of "none of them".
                What is ``UNLABELLED`` can be grown into.
            before: the version that was drawn on; None: everything drawn is new.

        Returns:
            ``drawn`` with what grew, without strokes of background.

        Raises:
            GeometryError: shapes differ.
            SettingsError: there is nothing to grow, or nothing to decide between.
        """
        base = np.zeros_like(drawn) if before is None else before
        if drawn.shape != self._hu.shape or base.shape != drawn.shape:
            raise GeometryError(f"Labels of shape {drawn.shape} do not fit the scan {self._hu.shape}.")
        new = (drawn != base) & (drawn > 0)
        growing = tuple(int(v) for v in np.unique(drawn[new]) if v not in (BACKGROUND_SEED, UNLABELLED))
        if not growing:
            raise SettingsError("There is no new stroke of a structure to grow.", remedy="Paint inside one first.")
        box = box_of(new, self._margin)
        assert box is not None
        region = self._region_of(box)
        result = np.where(drawn == BACKGROUND_SEED, 0, drawn).astype(np.uint8)
        result[region.box] = region.grow(drawn[region.box], base[region.box], growing)
        return Growth(result, growing, changes_between(base, result, self._spacing_mm))

    def _region_of(self, box: Box) -> _Region:
        known = self._region
        inside = known is not None and all(
            r.start <= b.start and b.stop <= r.stop for b, r in zip(box, known.box, strict=True)
        )
        if known is None or not inside:
            known = self._region = _Region(self._hu[box], box, self._spacing_mm, self._axis, self._is_bone)
        return known


class _Region:
    """The surroundings of the strokes: tissues, and the forest that grows there."""

    def __init__(
        self,
        hu: NDArray[Any],
        box: Box,
        spacing_mm: tuple[float, float, float],
        axis: int,
        is_bone: Callable[[int], bool],
    ) -> None:
        from scipy.ndimage import gaussian_filter

        self.box, self._is_bone = box, is_bone
        calm = gaussian_filter(np.clip(hu, -200, 600).astype(np.float32), [_CALM_MM / s for s in spacing_mm])
        self._lean = calm >= FAT_HU
        self._bone = _with_marrow(calm > BONE_HU, spacing_mm, axis)
        self._grower = SeedGrower(hu, spacing_mm)

    def grow(self, drawn: Labels, base: Labels, growing: tuple[int, ...]) -> Labels:
        """The region's labels after growing."""
        result = np.where(drawn == BACKGROUND_SEED, 0, drawn).astype(np.uint8)
        drawn, base = (np.where(labels == UNLABELLED, BACKGROUND_ID, labels) for labels in (drawn, base))
        painted = drawn[drawn > 0]
        if painted.min() == painted.max():
            raise SettingsError(
                "There is only one structure here: nothing says where it ends.",
                remedy="Paint Background, or a second structure, beside it, too.",
            )
        bones = [value for value in growing if self._is_bone(value)]
        nothing = ~self._lean | (np.zeros_like(self._bone) if bones else self._bone)
        if bones and len(bones) == len(growing):
            nothing |= ~self._bone
        seeds = np.where((drawn == 0) & (nothing | (base > 0)), BACKGROUND_SEED, drawn).astype(np.uint8)
        if (seeds == BACKGROUND_SEED).all() or seeds.min() == seeds.max():
            raise SettingsError("There is nothing to grow into here.")
        grown = self._grower.grow(seeds)
        free = seeds == 0
        for value in growing:
            own = self._bone if self._is_bone(value) else self._lean & ~self._bone
            reached = _joined((grown == value) & free & own, drawn == value)
            result[reached] = value
        return result


def changes_between(before: Labels, after: Labels, spacing_mm: tuple[float, float, float]) -> tuple[Change, ...]:
    """What changed, structure by structure; structures that stay as they are do not occur."""
    differs = before != after
    ml = float(np.prod(spacing_mm)) / 1000.0
    values = np.union1d(before[differs], after[differs])
    sizes = [np.bincount(a.ravel(), minlength=256) * ml for a in (before, after)]
    gained, lost = (np.bincount(a[differs], minlength=256) * ml for a in (after, before))
    shown = [int(v) for v in values if v not in (BACKGROUND_ID, UNLABELLED)]
    return tuple(Change(v, *(float(volumes[v]) for volumes in (*sizes, gained, lost))) for v in shown)


def _with_marrow(bone: Mask, spacing_mm: tuple[float, float, float], axis: int) -> Mask:
    """Bone with the holes that it encloses in its slices, if they are no larger than a marrow cavity."""
    from scipy.ndimage import binary_fill_holes, label

    area_mm2 = float(np.prod([s for a, s in enumerate(spacing_mm) if a != axis]))
    result = bone.copy()
    for plane in np.moveaxis(result, axis, 0):
        if not plane.any():
            continue
        holes, count = label(binary_fill_holes(plane) & ~plane)
        if count:
            small = np.bincount(holes.ravel()) * area_mm2 <= _LARGEST_HOLE_MM2
            small[0] = False
            plane[small[holes]] = True
    return result


def _joined(mask: Mask, start: Mask) -> Mask:
    """The parts of a mask that touch ``start``."""
    from scipy.ndimage import label

    parts, count = label(mask | start)
    if not count:
        return mask
    touched = np.zeros(count + 1, bool)
    touched[np.unique(parts[start])] = True
    touched[0] = False
    return np.asarray(mask & touched[parts])
