"""Where a patch lies in a body, how it is turned, and what of it the scan covers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vastus.synthesis.growth import NO_PART, Grid
from vastus.synthesis.store import POOL_SPACING_MM, StoredBody
from vastus.synthesis.surroundings import ARMS_FROM, Forearms, arm_reach_mm, sample_forearms

Size = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class WindowPlace:
    """Where a patch lies in a body: ``body index = matrix @ (patch voxel) + shift``, and the scan's limits.

    ``low`` and ``high`` bound, in patch voxels, what the scan covers; outside there is no image.
    """

    matrix: NDArray[np.float32]
    shift: NDArray[np.float32]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def in_halves(self, halves: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Matrix and shift of the same patch with every slice cut into so many."""
        matrix = self.matrix.copy()
        matrix[:, 2] /= halves
        return matrix, self.shift - matrix[:, 2] * np.float32((halves - 1) / 2)

    @property
    def covered(self) -> tuple[slice, ...]:
        """What the scan covers of the patch."""
        return tuple(slice(int(a), int(b)) for a, b in zip(self.low, self.high, strict=True))


def halves_of(size: Size, spacing_mm: Spacing) -> tuple[int, Spacing, Size]:
    """Thick slices are painted in halves, so that partial volume along z is real: how many, their spacing and shape."""
    halves = 2 if spacing_mm[2] > 1.5 * spacing_mm[0] else 1
    return halves, (spacing_mm[0], spacing_mm[1], spacing_mm[2] / halves), (size[0], size[1], size[2] * halves)


def patch_grid(body: StoredBody, view: WindowPlace, fine_mm: Spacing, tall: Size) -> Grid:
    """Where a patch lies: only the height counts, which says what part of the bone it shows."""
    height = POOL_SPACING_MM * (view.shift[2] + view.matrix[2] @ np.array([tall[0] / 2, tall[1] / 2, 0]))
    return Grid(np.array([0, 0, body.origin_mm[2] + height]), fine_mm, tall)


def width_at(body: StoredBody, view: WindowPlace, size: Size) -> float:
    """How wide a body is at the middle of a patch, in mm, from the outermost fat on the left to that on the right."""
    middle = view.shift[2] + view.matrix[2] @ ((np.array(size) - 1) / 2)
    level = int(np.clip(round(float(middle)), 0, body.part.shape[2] - 1))
    columns = np.flatnonzero((body.part[::4, ::8, level] != NO_PART).any(axis=1))
    return float(4 * POOL_SPACING_MM * (columns[-1] - columns[0] + 1)) if len(columns) else 0.0


def sample_view(body: StoredBody, size: Size, spacing_mm: Spacing, rng: np.random.Generator) -> WindowPlace:
    """Choose centre, rotation, size and the scan's limits of one patch.

    Six in ten patches are centred near a voxel of a random class, so that small muscles are seen; the others anywhere.
    Six in ten patches meet an edge of the scan: few slices, one leg, a field of view that cuts through the thigh.
    """
    shape = np.array(body.part.shape)
    if rng.random() < 0.6:
        classes = np.unique(body.points[:, 0])
        rows = body.points[body.points[:, 0] == rng.choice(classes)]
        centre = rows[rng.integers(len(rows)), 1:].astype(float)
        centre += rng.normal(0, 0.18, 3) * np.array(size) * np.array(spacing_mm) / POOL_SPACING_MM
    else:
        centre = _place_in_body(body, rng)
    centre[2] = np.clip(centre[2], 0, shape[2] - 1)
    angles = np.radians(rng.normal(0, [4.0, 4.0, 8.0]))
    zoom = np.exp(rng.normal(0, 0.06)) * np.exp(rng.normal(0, 0.03, 3))
    matrix = _rotation(angles) @ np.diag(np.array(spacing_mm) / POOL_SPACING_MM / zoom)
    middle = (np.array(size) - 1) / 2
    shift = centre - matrix @ middle
    low, high = np.zeros(3, np.int64), np.array(size)
    if rng.random() < 0.6:
        for axis, chance in ((0, 0.5), (1, 0.3), (2, 0.7)):
            if rng.random() < chance:
                keep = int(size[axis] * rng.uniform(0.3 if axis == 2 else 0.4, 0.95))
                low[axis] = int(
                    rng.integers(max(0, size[axis] // 2 - keep), min(size[axis] // 2, size[axis] - keep) + 1)
                )
                high[axis] = low[axis] + keep
    # Nothing is known beyond the ends of the modelled body.
    ends = [
        (-shift[2] - matrix[2, :2] @ middle[:2]) / matrix[2, 2],
        (shape[2] - 1 - shift[2] - matrix[2, :2] @ middle[:2]) / matrix[2, 2],
    ]
    low[2] = int(np.clip(max(low[2], math.ceil(ends[0]) + 2), 0, size[2] - 4))
    high[2] = int(np.clip(min(high[2], math.floor(ends[1]) - 1), low[2] + 2, size[2]))
    return WindowPlace(matrix.astype(np.float32), shift.astype(np.float32), low, high)


def _place_in_body(body: StoredBody, rng: np.random.Generator) -> NDArray[np.float64]:
    """A point that is not air, the height drawn first so that thin legs get their share."""
    shape = np.array(body.part.shape)
    for _ in range(20):
        k = int(rng.integers(4, shape[2] - 4))
        solid = np.argwhere(body.part[::4, ::4, k] != NO_PART)
        if len(solid):
            i, j = solid[rng.integers(len(solid))] * 4
            return np.array([i, j, k], dtype=np.float64)
    return shape / 2


def _rotation(angles_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.eye(3)
    for axis, angle in enumerate(angles_rad):
        i, j = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        result = result @ turn
    return result


def arms_beside(body: StoredBody, rng: np.random.Generator) -> Forearms | None:
    """Forearms beside the hips of a body; None where the body doesn't reach up to the wrists."""
    wrists_mm = ARMS_FROM * body.length_mm
    first = max(math.ceil((wrists_mm - body.origin_mm[2]) / POOL_SPACING_MM), 0)
    columns = np.flatnonzero((body.part[:, ::4, first::8] != NO_PART).any(axis=(1, 2)))
    if not len(columns):
        return None
    x = body.origin_mm[0] + POOL_SPACING_MM * columns[[0, -1]]
    return sample_forearms((float(x[0]), float(x[1])), wrists_mm, rng)


def arms_in_reach(
    arms: Forearms,
    body: StoredBody,
    matrix: NDArray[np.float32],
    shift: NDArray[np.float32],
    size: Size,
) -> bool:
    """Whether a patch may show a forearm, judged by its corners."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size], indexing="ij")).reshape(3, -1)
    x, _, z = body.origin_mm[:, None] + POOL_SPACING_MM * (matrix @ corners + shift[:, None])
    reach = arm_reach_mm(arms, float(z.max()))
    beside = x.min() < arms.x_mm[0] + reach or x.max() > arms.x_mm[1] - reach
    return bool(beside and z.max() > arms.lowest_mm)


def patch_to_mm(
    body: StoredBody, matrix: NDArray[np.float32], shift: NDArray[np.float32], size: Size
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """x, y, z in the body's frame of all voxels of a patch."""
    i, j, k = np.ogrid[: size[0], : size[1], : size[2]]
    at = (m[0] * i + m[1] * j + m[2] * k + s for m, s in zip(matrix, shift, strict=True))
    x, y, z = (np.asarray(o + POOL_SPACING_MM * a, np.float32) for o, a in zip(body.origin_mm, at, strict=True))
    return x, y, z
