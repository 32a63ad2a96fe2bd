"""What is wrong with a label map by itself: islands, swapped sides and names, missing and jumping slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_VALUE, SIDES, STRUCTURES, Side
from vastus.curation.facts import ROW_OF, VALUES, CaseFacts, name_of
from vastus.curation.suspicion import FindingKind, Suspicion
from vastus.inference.islands import Parts, find_parts
from vastus.volume import Volume


@dataclass(frozen=True, slots=True)
class StraySettings:
    """What counts as an island.

    Attributes:
        least_mm3: smaller parts are crumbs of drawing, not errors to look at.
        most_share: a part larger than this share of its structure's largest part is half of a cut muscle.
        away_mm: nearer parts are left out: thick slices tear thin tendons apart.
        agreed: a part of which a model says the same for at least this share is none.
    """

    least_mm3: float = 60.0
    most_share: float = 0.3
    away_mm: float = 6.0
    agreed: float = 0.5


STRAY_SETTINGS: Final = StraySettings()
USUAL_SHARE: Final = 0.2
"""Islands of a structure in this share of all label maps, counted by side, are no errors."""

WRONG_SIDE_SHARE: Final = 0.3
MIDLINE_MM: Final = 10.0
"""What lies nearer than this to the body's middle may be on either side."""

LEAST_SIDED_MM3: Final = 2000.0
WRONG_NAME_SHARE: Final = 0.5
GAP_MM2: Final = 40.0
"""Slices beside a gap must hold at least this much, or the gap is the frayed end of a muscle."""

CUT_MM: Final = 20.0
"""A part this near beyond a gap is the muscle's other end, not an island."""

JUMP_MM2: Final = 120.0
_AROUND = 4


def find_islands(case: str, labels: Volume, model: Volume | None) -> Iterator[Suspicion]:
    """Parts of a structure far from its main part; one suspicion a structure, the largest part named.

    Args:
        case: name.
        labels, model: RAS order, one grid.
    """
    parts = find_parts(labels.array)
    for value, doubtful in doubtful_parts(parts, labels, model):
        largest = max(doubtful, key=lambda s: s.volume_mm3)
        score = 1.0 + min(1.0, largest.volume_mm3 / 2000.0) + min(1.0, largest.away_mm / 100.0)
        words = f"{len(doubtful)} part(s) away from the rest; the largest has {largest.volume_mm3 / 1000:.1f} cm3"
        yield Suspicion(
            case, value, FindingKind.ISLAND, score, f"{words}, {largest.away_mm:.0f} mm away", (largest.slice_index,)
        )


def without_usual_islands(suspicions: Sequence[Suspicion], case_count: int) -> list[Suspicion]:
    """Leave out islands that are anatomy, or everybody's way of drawing: on both sides of a scan, or often in a folder.

    Args:
        suspicions: of a whole folder, of any kinds.
        case_count: scans of the folder.
    """
    islands = {(s.case, s.value) for s in suspicions if s.kind is FindingKind.ISLAND}
    often = Counter(BY_VALUE[value].structure.class_id for _, value in islands)
    usual = {class_id for class_id, count in often.items() if count >= max(4, USUAL_SHARE * len(SIDES) * case_count)}

    def is_usual(suspicion: Suspicion) -> bool:
        label = BY_VALUE[suspicion.value]
        other = label.structure.label_value(label.side.opposite)
        both = label.side is not Side.UNKNOWN and (suspicion.case, other) in islands
        return both or label.structure.class_id in usual

    return [s for s in suspicions if s.kind is not FindingKind.ISLAND or not is_usual(s)]


def doubtful_parts(parts: Parts, labels: Volume, model: Volume | None) -> Iterator[tuple[int, list[Stray]]]:
    """Stray parts of each label value, less those that a model has too, or that missing slices cut off.

    A model is the better judge of a gap: where it sees the muscle on both sides, it agrees with the part.
    """
    for value, strays in stray_parts(parts, labels, STRAY_SETTINGS):
        if model is None:
            areas = (labels.array == value).sum(axis=(0, 1)) * float(np.prod(labels.spacing_mm[:2]))
            gap = frozenset(missing_slices(areas))
            doubtful = [s for s in strays if not _cut_off(s, gap)]
        else:
            doubtful = [s for s in strays if not _agreed(parts, s.part, value, model)]
        if doubtful:
            yield value, doubtful


def _cut_off(stray: Stray, gap: frozenset[int]) -> bool:
    return stray.away_mm <= CUT_MM and (stray.first_slice - 1 in gap or stray.last_slice + 1 in gap)


def _agreed(parts: Parts, part: int, value: int, model: Volume) -> bool:
    return bool((model.array[parts.index == part] == value).mean() >= STRAY_SETTINGS.agreed)


@dataclass(frozen=True, slots=True)
class Stray:
    """A part away from its structure: its number in ``Parts``, size, distance; its middle, first and last slice."""

    part: int
    volume_mm3: float
    away_mm: float
    slice_index: int
    first_slice: int
    last_slice: int


def stray_parts(parts: Parts, labels: Volume, settings: StraySettings) -> list[tuple[int, list[Stray]]]:
    """Islands of each label value; what the scan's first or last slice cuts is none."""
    from scipy.ndimage import find_objects
    from scipy.spatial import cKDTree

    voxel_mm3 = labels.voxel_volume_mm3
    spacing = np.array(labels.spacing_mm)
    boxes = find_objects(parts.index.astype(np.int32))
    found: list[tuple[int, list[Stray]]] = []
    for value in np.unique(parts.value[1:]):
        numbers = np.flatnonzero(parts.value == value)
        if value == 0 or len(numbers) < 2:
            continue
        main = int(numbers[parts.size[numbers].argmax()])
        least, most = settings.least_mm3 / voxel_mm3, settings.most_share * parts.size[main]
        small = [
            int(n)
            for n in numbers
            if n != main
            and least <= parts.size[n] <= most
            and boxes[n - 1][2].start > 0
            and boxes[n - 1][2].stop < labels.shape[2]
        ]
        if not small:
            continue
        tree = cKDTree(_points(parts.index, boxes[main - 1], main)[::3] * spacing)
        strays = []
        for number in small:
            points = _points(parts.index, boxes[number - 1], number)
            away = float(tree.query(points * spacing)[0].min())
            if away >= settings.away_mm:
                middle, along = int(np.median(points[:, 2])), boxes[number - 1][2]
                volume_mm3 = float(parts.size[number] * voxel_mm3)
                strays.append(Stray(number, volume_mm3, away, middle, along.start, along.stop - 1))
        if strays:
            found.append((int(value), strays))
    return found


def _points(index: NDArray[np.uint32], box: tuple[slice, ...], number: int) -> NDArray[np.int64]:
    return np.argwhere(index[box] == number) + [s.start for s in box]


def find_wrong_sides(facts: CaseFacts) -> Iterator[Suspicion]:
    """Structures of which much lies beyond the middle of the body; one suspicion of the scan if nearly all do."""
    middle = middle_mm(facts)
    if middle is None:
        return
    x_mm = _across_mm(facts.affine, facts.shape)
    found: list[Suspicion] = []
    named = 0
    for row in facts.present:
        label = BY_VALUE[VALUES[row]]
        volume = facts.across_mm3[row]
        if label.side is Side.UNKNOWN or volume.sum() < LEAST_SIDED_MM3:
            continue
        named += 1
        beyond = (x_mm < middle - MIDLINE_MM) if label.side is Side.RIGHT else (x_mm > middle + MIDLINE_MM)
        share = float(volume[beyond].sum() / volume.sum())
        if share >= WRONG_SIDE_SHARE:
            words = f"{share:.0%} of it lies on the {label.side.opposite.value} side of the body"
            other = label.structure.label_value(label.side.opposite)
            found.append(Suspicion(facts.case, label.value, FindingKind.SIDES, 1.0 + 2.0 * share, words, other=other))
    if len(found) > 0.6 * named:
        yield Suspicion(
            facts.case, 0, FindingKind.SIDES, 3.0, "nearly all structures lie on the other side of the body"
        )
    else:
        yield from found


def middle_mm(facts: CaseFacts) -> float | None:
    """x of the body's middle: half way between both sides of most structures; None where hardly any has both.

    Swapping the sides of a structure does not move it.
    """
    halves = []
    for structure in STRUCTURES:
        right, left = (facts.centre_mm[ROW_OF[structure.label_value(side)], 0] for side in SIDES)
        if np.isfinite(right) and np.isfinite(left):
            halves.append((right + left) / 2)
    return float(np.median(halves)) if len(halves) >= 3 else None


def across_mm(labels: Volume) -> NDArray[np.float64]:
    """x of each plane across the body, at the middle of the grid."""
    return _across_mm(labels.affine, labels.shape)


def _across_mm(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    middle = (np.array(shape) - 1) / 2
    return np.asarray(
        affine[0, 0] * np.arange(shape[0]) + affine[0, 1] * middle[1] + affine[0, 2] * middle[2] + affine[0, 3]
    )


def find_wrong_names(facts: CaseFacts) -> Iterator[Suspicion]:
    """Structures that a model calls by another name: most of what they cover is one other structure to it."""
    if not facts.has_model:
        return
    for row in facts.present:
        volume = facts.joint_mm3[row].sum()
        overlap_mm3 = facts.joint_mm3[row].copy()
        overlap_mm3[[0, row, *_same_structure(row)]] = 0.0
        other = int(overlap_mm3.argmax())
        share = overlap_mm3[other] / volume
        own = facts.joint_mm3[row, row] / volume
        if volume >= 1000.0 and share >= WRONG_NAME_SHARE and own < 0.25:
            words = f"the model calls {share:.0%} of it {name_of(other)}"
            yield Suspicion(facts.case, VALUES[row], FindingKind.SWAPPED, 1.0 + 2.0 * share, words, other=VALUES[other])


def _same_structure(row: int) -> list[int]:
    """Rows of the structure on the other side and without a side: which of them it is, is another question."""
    structure = BY_VALUE[VALUES[row]].structure
    return [ROW_OF[structure.label_value(side)] for side in (*SIDES, Side.UNKNOWN)]


def find_missing(facts: CaseFacts) -> Iterator[Suspicion]:
    """Structures that a model sees well inside the scan and the label map lacks, though it has the other side."""
    if not facts.has_model:
        return
    for row in range(1, len(VALUES)):
        label = BY_VALUE[VALUES[row]]
        if label.side is Side.UNKNOWN or facts.volume_mm3[row] > 0 or facts.model_volume_mm3[row] < 3000.0:
            continue
        partner = ROW_OF[label.structure.label_value(label.side.opposite)]
        if facts.volume_mm3[partner] > 0:
            words = f"the model sees {facts.model_volume_mm3[row] / 1000:.0f} cm3 of it"
            yield Suspicion(facts.case, label.value, FindingKind.MISSING, 2.0, words)


def find_missing_slices(facts: CaseFacts) -> Iterator[Suspicion]:
    """Slices in which a structure is missing though those above and below have it."""
    for row in facts.present:
        gap = missing_slices(facts.area_mm2[row])
        if gap and not (facts.has_model and (facts.said_area_mm2[row][list(gap)] <= 0).all()):
            words = f"{len(gap)} slice(s) without it between slices that have it"
            yield Suspicion(facts.case, VALUES[row], FindingKind.MISSING_SLICES, 2.0, words, gap)


def missing_slices(areas: NDArray[np.float64]) -> tuple[int, ...]:
    """Empty slices between two filled ones of at least ``GAP_MM2``."""
    filled = np.flatnonzero(areas > 0)
    missing: list[int] = []
    for a, b in pairwise(filled):
        if b - a > 1 and min(areas[a], areas[b]) >= GAP_MM2:
            missing.extend(range(int(a) + 1, int(b)))
    return tuple(missing)


def worst_jump(areas: NDArray[np.float64], shared: NDArray[np.float64]) -> tuple[int, float] | None:
    """Slice after which the overlap falls most below that of the slices around, and by how much."""
    sums = areas[:-1] + areas[1:]
    able = np.minimum(areas[:-1], areas[1:]) >= JUMP_MM2
    dice = np.where(able, 2.0 * shared[:-1] / np.maximum(sums, 1e-9), np.nan)
    best: tuple[int, float] | None = None
    for k in np.flatnonzero(able):
        around = np.r_[dice[max(0, k - _AROUND) : max(0, k - 1)], dice[k + 2 : k + 2 + _AROUND]]
        known = around[np.isfinite(around)]
        if len(known) >= 3:
            fall = float(np.median(known) - dice[k])
            if best is None or fall > best[1]:
                best = int(k), fall
    return best
