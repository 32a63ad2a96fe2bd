"""What lies around a body in a scanner: couch, clothes, arms. Drawn into the image; none of it carries a label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.synthesis.growth import Grid
from vastus.synthesis.tissues import Tissue

Image = NDArray[np.float32]
ARMS_FROM = 0.9
"""Height of the wrists as a share of the way from the knee to the femoral head."""


def lowest_row(tissue: NDArray[np.uint8]) -> int | None:
    """The hindmost row that holds body: what a couch lies under; None without a body."""
    solid = np.flatnonzero((tissue != Tissue.AIR).any(axis=(0, 2)))
    return int(solid[0]) if len(solid) else None


@dataclass(frozen=True, slots=True)
class Couch:
    """Two thin sheets below a body, with foam between them: their rows, and grey values."""

    top_row: int
    bottom_row: int
    top_hu: float
    bottom_hu: float
    foam_hu: float


def sample_couch(row: int | None, rng: np.random.Generator) -> Couch | None:
    """Place a couch below ``row``, the ``lowest_row`` of the whole scan."""
    if row is None:
        return None
    top = int(row - rng.integers(1, 5))
    bottom = top - int(rng.integers(4, 16))
    return Couch(
        top, bottom, float(rng.uniform(-500, 150)), float(rng.uniform(-500, 150)), float(rng.uniform(-990, -850))
    )


def draw_couch(hu: Any, air: Any, couch: Couch) -> None:
    """Draw a couch where there is no body (in place); image and mask are both of numpy or both of torch."""
    for row, value in ((couch.top_row, couch.top_hu), (couch.bottom_row, couch.bottom_hu)):
        if row >= 0:
            hu[:, row, :][air[:, row, :]] = value
    foam = slice(max(couch.bottom_row + 1, 0), max(couch.top_row, 0))
    hu[:, foam, :][air[:, foam, :]] = couch.foam_hu


@dataclass(frozen=True, slots=True, eq=False)
class Drape:
    """A cloth before it lies on a body: rows between the two at every (x, z), and its grey value."""

    gap: NDArray[np.int64]
    hu: float


def sample_drape(shape: tuple[int, int], spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> Drape:
    """Draw a cloth for a scan of so many columns and slices."""
    return Drape(cloth_gap(shape, spacing_mm, rng), float(rng.uniform(-850, -500)))


@dataclass(frozen=True, slots=True, eq=False)
class Cloth:
    """A sheet over the front of a body: its row at every (x, z), and its grey value."""

    row: NDArray[np.int64]
    hu: float


def lay_cloth(tissue: NDArray[np.uint8], drape: Drape) -> Cloth:
    """Lay a cloth over the front of a whole scan; no row (-1) where there is no body."""
    body = tissue != Tissue.AIR
    row = body.shape[1] - 1 - np.argmax(body[:, ::-1, :], axis=1) + drape.gap
    return Cloth(np.where(body.any(axis=1) & (row < body.shape[1]), row, -1), drape.hu)


def cloth_gap(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows between body and cloth at every (x, z): folds of about a centimetre."""
    from scipy.ndimage import gaussian_filter

    fold = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), (12 / spacing_mm[0], 12 / spacing_mm[2]))
    fold = 4.0 + 6.0 * np.abs(fold) / max(float(fold.std()), 1e-6)
    return np.asarray(np.round(fold / spacing_mm[1]), np.int64)


def add_cloth(hu: Image, tissue: NDArray[np.uint8], cloth: Cloth) -> None:
    """Draw a cloth where there is air (in place); ``cloth.row`` has the slices of ``hu``."""
    i, k = np.nonzero(cloth.row >= 0)
    j = cloth.row[i, k]
    free = tissue[i, j, k] == Tissue.AIR
    hu[i[free], j[free], k[free]] = cloth.hu


@dataclass(frozen=True, slots=True)
class Forearms:
    """Two forearms beside the hips.

    Attributes:
        x_mm: their axes at ``from_z_mm``, on the left and on the right.
        y_mm: the same.
        from_z_mm: the wrists.
        radius_mm: of the skin.
        lean: how far the axes run outwards and to the front per mm of height.
        turned_rad: of the hands: 0 with the palm towards the table, a quarter turn towards the thigh.
        hand: size of the hands, 1 for one of 185 mm; 0 for none.
    """

    x_mm: tuple[float, float]
    y_mm: float
    from_z_mm: float
    radius_mm: float
    lean: tuple[float, float]
    turned_rad: float = 0.0
    hand: float = 0.0

    @property
    def lowest_mm(self) -> float:
        """Height of the finger tips."""
        return self.from_z_mm - _HAND_MM * self.hand


def sample_forearms(edges_mm: tuple[float, float], from_z_mm: float, rng: np.random.Generator) -> Forearms:
    """Place forearms beside a body that reaches from the one edge to the other along x."""
    radius, lift = float(rng.uniform(26, 36)), float(rng.uniform(-10, 50))
    apart = radius + float(rng.uniform(2, 14))
    lean = float(rng.uniform(0.0, 0.12)), float(rng.uniform(-0.1, 0.1))
    turned = float(rng.uniform(-0.3, 1.9))
    hand = float(rng.uniform(0.85, 1.15)) if rng.random() < 0.8 else 0.0
    return Forearms((edges_mm[0] - apart, edges_mm[1] + apart), lift, from_z_mm, radius, lean, turned, hand)


_ARM: tuple[tuple[float, float, float, float], ...] = (
    (0.0, 0.0, 0.0, -100.0),
    (0.0, 0.0, -6.0, 50.0),
    (-8.0, 3.0, 6.5, 700.0),
    (9.0, -3.0, 6.0, 700.0),
)
"""Fat, muscle, radius, ulna: place in the arm, size in mm (up to 0: less than the arm's radius), HU."""

_HAND_MM = 185.0
_PALM: tuple[float, float, float] = (95.0, 38.0, 14.0)
"""Length of the palm, half its width, half its thickness, in mm."""
_PALM_HU, _MUSCLE_HU, _BONE_HU = 15.0, 48.0, 550.0
_RAYS: tuple[tuple[float, float, float, float], ...] = (
    (46.0, 18.0, 95.0, 10.0),
    (26.0, 0.0, 165.0, 7.8),
    (9.0, 0.0, 185.0, 8.0),
    (-9.0, 0.0, 172.0, 7.8),
    (-26.0, 0.0, 145.0, 7.0),
)
"""Thumb and fingers: place across the hand, from and to which distance from the wrist, radius, in mm."""


def _draw_hand(hu: Any, free: Any, along: Any, across: Any, away: Any) -> None:
    """Palm with its muscles, thumb and fingers with their bones (in place).

    Args:
        hu: image.
        free: where there is no body.
        along: distance from the wrist towards the finger tips, over the size of the hand.
        across, away: place in the hand, from the little finger to the thumb and from the palm to its back, likewise.
    """
    free = free & (along >= 0) & (along < _HAND_MM) & (abs(across) < 58.0) & (abs(away) < 16.0)
    if not free.any():
        return
    length, half, thick = _PALM
    palm = free & (along >= 0) & (along < length)
    for share, value in ((1.0, _PALM_HU), (0.8, _MUSCLE_HU)):
        hu[palm & ((across / (share * half)) ** 2 + (away / (share * thick)) ** 2 < 1)] = value
    for place, start, end, radius in _RAYS:
        ray = free & (along >= start) & (along < end)
        beside = (across - place) ** 2 + away**2
        outside_palm = beside < radius**2 if place > half else (beside < radius**2) & (along >= length)
        hu[ray & outside_palm] = _PALM_HU
        hu[ray & (beside < (0.5 * radius) ** 2)] = _BONE_HU


def draw_forearms(hu: Any, air: Any, arms: Forearms, at_mm: tuple[Any, Any, Any]) -> None:
    """Draw forearms and hands into an image where there is air (in place).

    Args:
        hu: image, of numpy or torch.
        air: where there is no body, of the same kind.
        arms: which.
        at_mm: x, y and z of the voxels, arrays of the same kind that broadcast to the image.
    """
    x, y, z = at_mm
    above = z >= arms.from_z_mm
    height = z - arms.from_z_mm
    wide_mm = arm_reach_mm(arms, float(z.max()))
    hands = bool(arms.hand) and float(z.min()) < arms.from_z_mm
    for sign, centre in zip((-1.0, 1.0), arms.x_mm, strict=True):
        if float(x.max()) < centre - wide_mm or float(x.min()) > centre + wide_mm:
            continue
        dx = x - centre - sign * arms.lean[0] * height
        dy = y - arms.y_mm - arms.lean[1] * height
        for part_x, part_y, size, value in _ARM:
            radius = size if size > 0 else arms.radius_mm + size
            hu[(((dx - part_x) ** 2 + (dy - part_y) ** 2) < radius**2) & above & air] = value
        if hands:
            cos, sin = math.cos(arms.turned_rad) / arms.hand, math.sin(arms.turned_rad) / arms.hand
            out, front = (x - centre) * -sign, y - arms.y_mm
            _draw_hand(hu, air, -height / arms.hand, out * cos + front * sin, front * cos - out * sin)


def arm_reach_mm(arms: Forearms, top_z_mm: float) -> float:
    """How far from its axis at the wrist an arm or a hand reaches below a height."""
    return max(arms.radius_mm + arms.lean[0] * max(top_z_mm - arms.from_z_mm, 0.0), 58.0 * arms.hand)


def add_forearms(hu: Image, tissue: NDArray[np.uint8], grid: Grid, arms: Forearms) -> None:
    """Draw forearms into an image on a grid (in place): only the columns they can reach are looked at."""
    x, y, z = (grid.origin_mm[a] + grid.spacing_mm[a] * np.arange(grid.shape[a], dtype=np.float32) for a in range(3))
    if z[-1] < arms.lowest_mm:
        return
    reach = arm_reach_mm(arms, float(z[-1])) + 1.0
    for centre in arms.x_mm:
        near = slice(*np.searchsorted(x, [centre - reach, centre + reach]))
        if near.start < near.stop:
            air = tissue[near] == Tissue.AIR
            draw_forearms(hu[near], air, arms, (x[near, None, None], y[None, :, None], z[None, None, :]))
