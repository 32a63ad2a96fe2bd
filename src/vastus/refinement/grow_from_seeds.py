"""Grow from seeds: every voxel takes the value of the stroke it is best connected to.

The result is that of GrowCut in its fast form (Vezhnevets and Konouchine 2005; Zhu et al., "An effective interactive
medical image segmentation method using fast GrowCut", MICCAI IMIC project 2014): the path from a voxel to a stroke
costs the HU it climbs plus a little for its length, and the cheapest path wins. Later strokes only touch the voxels
that change. A stroke that is taken away, or painted over, gives back all that had grown from it; that is why this is
not itk-growcut, whose filter keeps what grew from erased strokes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.errors import GeometryError, SettingsError
from vastus.refinement.boxes import Box, box_of, voxels

BACKGROUND_SEED: Final = 254
"""Value of a stroke that says "nothing of interest here"; 255 is ``anatomy.UNLABELLED``."""

MARGIN_MM: Final = 30.0
"""How far beyond the outermost strokes anything grows."""

HU_RANGE: Final = (-250, 400)
"""Outside of it differences mean nothing: air, and the inside of bone."""

COST_PER_MM: Final = 0.5
"""What a path costs for its length, in HU a mm: settles flat regions by nearness; more makes thin muscles leak."""

_STEPS_PER_HU: Final = 4
_LISTS: Final = 1 << 19
Labels = NDArray[np.uint8]


class SeedGrower:
    """One scan under work: remembers the strokes and what grew from them, so that a further stroke costs little."""

    def __init__(self, hu: NDArray[Any], spacing_mm: tuple[float, float, float], margin_mm: float = MARGIN_MM) -> None:
        """Nothing is computed before the first ``grow``.

        Args:
            hu: shape (I, J, K).
            spacing_mm: of its axes.
            margin_mm: the region is the box of all strokes and this much around.
        """
        if hu.ndim != 3:
            raise GeometryError(f"Growing needs three dimensions, not {hu.ndim}.")
        self._hu = hu
        self._spacing_mm = spacing_mm
        self._margin = voxels(margin_mm, spacing_mm)
        self._region: Box | None = None
        self._forest: _Forest | None = None
        self._seeds: Labels | None = None

    def grow(self, seeds: Labels) -> Labels:
        """Labels from strokes.

        Args:
            seeds: uint8, the shape of the scan: 0 no stroke, ``BACKGROUND_SEED`` background, else the value to give.

        Returns:
            uint8 label map; 0 where background won, and outside the region.

        Raises:
            GeometryError: another shape.
            SettingsError: fewer than two different values: there is nothing to decide.
        """
        if seeds.shape != self._hu.shape:
            raise GeometryError(f"Strokes of shape {seeds.shape} do not fit the scan {self._hu.shape}.")
        box = box_of(seeds > 0)
        strokes = seeds[box][seeds[box] > 0] if box is not None else seeds[:0]
        if not strokes.size or strokes.min() == strokes.max():
            raise SettingsError("Growing needs strokes of at least two values.", remedy="Paint background too.")
        if self._forest is None or not _inside(box, self._region):
            self._region = _widened(box, self._margin, seeds.shape)
            self._forest = _Forest(self._hu[self._region], self._spacing_mm)
            self._seeds = np.zeros(self._hu[self._region].shape, np.uint8)
        assert self._region is not None and self._seeds is not None
        strokes_here = seeds[self._region]
        changed = strokes_here != self._seeds
        if changed.any():
            self._forest.change(self._seeds, strokes_here, changed)
            self._seeds = strokes_here.copy()
        result = np.zeros_like(seeds)
        grown = self._forest.values()
        result[self._region] = np.where(grown == BACKGROUND_SEED, 0, grown)
        return result


class _Forest:
    """Distance, value and parent of each voxel of the region, padded by one."""

    def __init__(self, hu: NDArray[Any], spacing_mm: tuple[float, float, float]) -> None:
        from vastus.refinement.kernels import BLOCKED, FAR, NO_PARENT

        steps_high = np.round(np.clip(hu, *HU_RANGE) * np.float32(_STEPS_PER_HU)).astype(np.int16)
        self._hu = np.ascontiguousarray(np.pad(steps_high, 1, mode="edge"))
        shape = self._hu.shape
        self._inner = tuple(slice(1, n - 1) for n in shape)
        parent = np.full(shape, BLOCKED, np.uint8)
        parent[self._inner] = NO_PARENT
        size = self._hu.size
        self._state = (np.full(size, FAR, np.int32), np.zeros(size, np.uint8), parent.ravel())
        self._lists = (np.full(_LISTS, -1, np.int32), np.full(size, -1, np.int32), np.full(size, -1, np.int32))
        steps = [(a, b, c) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1) if (a, b, c) != (0, 0, 0)]
        offset = [a * shape[1] * shape[2] + b * shape[2] + c for a, b, c in steps]
        length_mm = np.linalg.norm(np.array(steps) * spacing_mm, axis=1)
        penalty = np.maximum(1, np.round(_STEPS_PER_HU * COST_PER_MM * length_mm)).astype(np.int32)
        self._steps = (np.array(offset, np.int64), penalty)

    def change(self, before: Labels, after: Labels, changed: NDArray[np.bool_]) -> None:
        """Bring the forest from one set of strokes to another."""
        from vastus.refinement.kernels import forget, grow

        gone = self._flat(changed & (before != 0))
        rim = forget(self._state, self._steps[0], gone) if len(gone) else np.zeros(0, np.int64)
        # Strokes inside what was forgotten still stand: they are set again with the new ones.
        added = self._flat((changed & (after != 0)) if not len(gone) else after != 0)
        if len(gone):
            added = added[self._state[0][added] != 0]
        values = self._pad(after).ravel()[added]
        starts = np.concatenate([rim, added])
        grow(
            self._hu.ravel(),
            self._state,
            self._lists,
            self._steps,
            starts,
            np.concatenate([np.zeros(len(rim), np.uint8), values]),
        )

    def values(self) -> Labels:
        """What has grown, in the shape of the region."""
        return self._state[1].reshape(self._hu.shape)[self._inner]

    def _flat(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.flatnonzero(np.pad(mask, 1))

    def _pad(self, labels: Labels) -> Labels:
        return np.pad(labels, 1)


def _widened(box: Box | None, margin: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    assert box is not None
    wide = [slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(box, margin, shape, strict=True)]
    return wide[0], wide[1], wide[2]


def _inside(box: Box | None, region: Box | None) -> bool:
    if box is None or region is None:
        return False
    return all(r.start <= b.start and b.stop <= r.stop for b, r in zip(box, region, strict=True))
