"""What lies around a body in a scanner: couch, clothes, forearms. Drawn into the image; none of it carries a label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vastus.synthesis.growth import Grid
from vastus.synthesis.tissues import Tissue

Image = NDArray[np.float32]


def lowest_row(tissue: NDArray[np.uint8]) -> int | None:
    """The hindmost row that holds body: what a couch lies under; None without a body."""
    solid = np.flatnonzero((tissue != Tissue.AIR).any(axis=(0, 2)))
    return int(solid[0]) if len(solid) else None


def add_couch(hu: Image, tissue: NDArray[np.uint8], row: int | None, rng: np.random.Generator) -> None:
    """Two thin sheets with foam between them below ``row``, the ``lowest_row`` of the whole scan (in place)."""
    if row is None:
        return
    top = int(row - rng.integers(1, 5))
    bottom = top - int(rng.integers(4, 16))
    for sheet, value in ((top, rng.uniform(-500, 150)), (bottom, rng.uniform(-500, 150))):
        if sheet >= 0:
            hu[:, sheet, :] = np.where(tissue[:, sheet, :] == Tissue.AIR, value, hu[:, sheet, :])
    foam = slice(max(bottom + 1, 0), max(top, 0))
    hu[:, foam, :] = np.where(tissue[:, foam, :] == Tissue.AIR, rng.uniform(-990, -850), hu[:, foam, :])


def add_cloth(hu: Image, tissue: NDArray[np.uint8], grid: Grid, rng: np.random.Generator) -> None:
    """A sheet of cloth that hangs a few millimetres off the front of the body (in place)."""
    from scipy.ndimage import gaussian_filter

    body = tissue != Tissue.AIR
    height = body.shape[1] - 1 - np.argmax(body[:, ::-1, :], axis=1)
    covered = body.any(axis=1)
    gap = gaussian_filter(rng.standard_normal(covered.shape), 12 / grid.spacing_mm[0])
    gap = 4.0 + 6.0 * np.abs(gap) / max(float(gap.std()), 1e-6)
    row = height + np.round(gap / grid.spacing_mm[1]).astype(int)
    i, k = np.nonzero(covered & (row < body.shape[1]))
    free = tissue[i, row[i, k], k] == Tissue.AIR
    hu[i[free], row[i, k][free], k[free]] = rng.uniform(-850, -500)


def add_forearms(hu: Image, tissue: NDArray[np.uint8], grid: Grid, level_mm: float, rng: np.random.Generator) -> None:
    """Two forearms beside the hips from ``level_mm`` upwards: fat, muscle, radius and ulna (in place)."""
    x = grid.origin_mm[0] + grid.spacing_mm[0] * np.arange(grid.shape[0])
    y = grid.origin_mm[1] + grid.spacing_mm[1] * np.arange(grid.shape[1])
    z = grid.origin_mm[2] + grid.spacing_mm[2] * np.arange(grid.shape[2])
    first = int(np.searchsorted(z, level_mm))
    if first >= grid.shape[2]:
        return
    body = tissue[:, :, first:] != Tissue.AIR
    wide = x[body.any(axis=(1, 2))]
    if len(wide) == 0:
        return
    air = ~body
    radius = rng.uniform(26, 36)
    lift = rng.uniform(-10, 50)
    for centre in (wide.min() - radius - 6, wide.max() + radius + 6):
        for part, (dx, dy, size, value) in enumerate(
            ((0, 0, radius, -100.0), (0, 0, radius - 6, 50.0), (-8, 3, 6.5, 700.0), (9, -3, 6.0, 700.0))
        ):
            inside = ((x - centre - dx)[:, None] ** 2 + (y - lift - dy)[None, :] ** 2) < size**2
            if part == 0 and not inside.any():
                break
            hu[:, :, first:] = np.where(inside[..., None] & air, value, hu[:, :, first:])
