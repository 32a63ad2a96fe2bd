"""Errors of annotators, planted into true label maps: what `bench_label_noise.py` asks the check to find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vastus.anatomy import BY_VALUE, LABELS, Side
from vastus.refinement.boxes import Box, box_of, nearest_other, voxels

Labels = NDArray[np.uint8]
Spacing = tuple[float, float, float]
LEAST_MM3 = 5000.0
SHIFT_MM = (3.0, 6.0)


class ErrorKind(Enum):
    SWAPPED = "swapped neighbours"
    MISSING_SLICES = "missing slices"
    BOUNDARY = "boundary shifted 3-6 mm"
    SIDES = "left and right swapped"
    ISLAND = "island"


@dataclass(frozen=True, slots=True)
class Planted:
    """An error: what kind, which label values it concerns, and how it was made."""

    kind: ErrorKind
    values: tuple[int, ...]
    detail: str


def candidates(labels: Labels, spacing_mm: Spacing) -> list[int]:
    """Sided muscles of at least 5 cm3."""
    counts = np.bincount(labels.ravel(order="K"), minlength=256) * np.prod(spacing_mm)
    return [
        label.value
        for label in LABELS
        if label.side is not Side.UNKNOWN and label.structure.is_muscle and counts[label.value] >= LEAST_MM3
    ]


def plant(
    labels: Labels, spacing_mm: Spacing, kinds: Sequence[ErrorKind], rng: np.random.Generator
) -> tuple[Labels, list[Planted]]:
    """Plant an error of each kind into a RAS label map; no structure gets two, and neighbours of one get none."""
    spoilt = labels.copy(order="K")
    errors: list[Planted] = []
    taken: set[int] = set()
    able = candidates(labels, spacing_mm)
    for kind in kinds:
        for _ in range(30):
            free = [v for v in able if v not in taken]
            if not free:
                break
            made = _MAKERS[kind](spoilt, int(rng.choice(free)), spacing_mm, rng)
            if made is None or taken & set(made[1].values):
                continue
            spoilt, error = made
            errors.append(error)
            for value in error.values:
                taken |= {value, *_touching(labels, value)}
            break
    return spoilt, errors


def _around(labels: Labels, value: int, margin_mm: float, spacing_mm: Spacing) -> Box:
    box = box_of(labels == value, voxels(margin_mm, spacing_mm))
    assert box is not None
    return box


def _touching(labels: Labels, value: int) -> dict[int, int]:
    """Label values that share faces with one, and how many voxels they share them with."""
    box = _around(labels, value, 1.0, (1.0, 1.0, 1.0))
    inner = labels[box]
    rim = ndimage.binary_dilation(inner == value) & (inner != value)
    found = np.bincount(inner[rim], minlength=256)
    return {int(v): int(found[v]) for v in np.flatnonzero(found) if v}


def _swap(labels: Labels, value: int, spacing_mm: Spacing, rng: np.random.Generator) -> tuple[Labels, Planted] | None:
    near = [
        v
        for v, n in _touching(labels, value).items()
        if n > 40 and BY_VALUE[v].structure.is_muscle and (labels == v).sum() * np.prod(spacing_mm) >= LEAST_MM3
    ]
    if not near:
        return None
    other = int(rng.choice(near))
    table = np.arange(256, dtype=np.uint8)
    table[[value, other]] = other, value
    names = f"{BY_VALUE[value].name} and {BY_VALUE[other].name}"
    return table[labels], Planted(ErrorKind.SWAPPED, (value, other), names)


def _drop_slices(
    labels: Labels, value: int, spacing_mm: Spacing, rng: np.random.Generator
) -> tuple[Labels, Planted] | None:
    heights = np.flatnonzero((labels == value).any(axis=(0, 1)))
    length = int(rng.integers(1, 4))
    low, high = heights[0] + len(heights) // 5, heights[-1] - len(heights) // 5 - length
    if high <= low:
        return None
    first = int(rng.integers(low, high))
    spoilt = labels.copy(order="K")
    slab = spoilt[:, :, first : first + length]
    slab[slab == value] = 0
    return spoilt, Planted(ErrorKind.MISSING_SLICES, (value,), f"{length} slices from {first}")


def _shift(labels: Labels, value: int, spacing_mm: Spacing, rng: np.random.Generator) -> tuple[Labels, Planted] | None:
    distance = float(rng.uniform(*SHIFT_MM))
    mode = ("grown", "shrunk", "moved")[int(rng.integers(3))]
    box = _around(labels, value, 12.0, spacing_mm)
    inner = labels[box].copy()
    old = inner == value
    bone = np.isin(inner % 100, [28, 29])
    if mode == "grown":
        new = ndimage.distance_transform_edt(~old, sampling=spacing_mm) <= distance
    elif mode == "shrunk":
        new = ndimage.distance_transform_edt(old, sampling=spacing_mm) > distance
    else:
        angle = rng.uniform(0, 2 * np.pi)
        way = (distance * np.cos(angle) / spacing_mm[0], distance * np.sin(angle) / spacing_mm[1], 0.0)
        new = ndimage.shift(old.astype(np.float32), way, order=1) > 0.5
    new &= old | ~bone
    if new.sum() < 0.2 * old.sum():
        return None
    left = old & ~new
    filler = np.zeros(inner.shape, np.uint8)
    filler[old | new] = nearest_other(inner, old | new, spacing_mm)
    inner[left] = filler[left]
    inner[new] = value
    spoilt = labels.copy(order="K")
    spoilt[box] = inner
    return spoilt, Planted(ErrorKind.BOUNDARY, (value,), f"{mode} by {distance:.1f} mm")


def _other_side(labels: Labels, value: int, spacing_mm: Spacing, rng: np.random.Generator) -> tuple[Labels, Planted]:
    label = BY_VALUE[value]
    other = label.structure.label_value(label.side.opposite)
    table = np.arange(256, dtype=np.uint8)
    both = bool(rng.random() < 0.5)
    table[value] = other
    if both:
        table[other] = value
    return table[labels], Planted(ErrorKind.SIDES, (value, other), "both sides" if both else "one side")


def _island(labels: Labels, value: int, spacing_mm: Spacing, rng: np.random.Generator) -> tuple[Labels, Planted] | None:
    radius = float(rng.uniform(4.0, 7.0))
    muscle = np.argwhere((labels[::4, ::4, ::2] > 0) & (labels[::4, ::4, ::2] != value)) * [4, 4, 2]
    centre = muscle[int(rng.integers(len(muscle)))]
    own = np.argwhere(labels[::4, ::4, ::2] == value) * [4, 4, 2]
    away = np.linalg.norm((own - centre) * np.array(spacing_mm), axis=1).min()
    if not 15.0 < away < 120.0:
        return None
    reach = voxels(radius, spacing_mm)
    box = tuple(
        slice(max(0, int(c) - r), min(n, int(c) + r + 1)) for c, r, n in zip(centre, reach, labels.shape, strict=True)
    )
    grid = np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij")
    ball = sum(((g - c) * mm) ** 2 for g, c, mm in zip(grid, centre, spacing_mm, strict=True)) <= radius**2
    spoilt = labels.copy(order="K")
    spoilt[box][ball] = value
    return spoilt, Planted(ErrorKind.ISLAND, (value,), f"radius {radius:.1f} mm, {away:.0f} mm away")


_MAKERS = {
    ErrorKind.SWAPPED: _swap,
    ErrorKind.MISSING_SLICES: _drop_slices,
    ErrorKind.BOUNDARY: _shift,
    ErrorKind.SIDES: _other_side,
    ErrorKind.ISLAND: _island,
}
