"""References in which only some slices were drawn, or nobody could tell everywhere: scored slice by slice.

Only voxels that both maps know are counted. A *section* is a structure in one axial slice. Distances run in the plane;
a border that faces unlabelled voxels is no border that anybody saw: nothing is measured from it. The scores of a
structure pool its sections: one Dice over all its voxels, one set of distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, BY_KEY, UNLABELLED, Label, Side, StructureTable, ThighLevel
from vastus.evaluation import metrics as m
from vastus.evaluation.distances import SurfaceDistances
from vastus.evaluation.overlap import OverlapCounts, count_overlap
from vastus.evaluation.policy import EmptyPolicy, Presence, presence_of
from vastus.evaluation.table import (
    SCORE_COLUMNS,
    ScoreContext,
    ScoreSettings,
    labels_to_score,
    merged,
    refuse_skewed,
    score_row,
)
from vastus.evaluation.thigh_level import levels_of
from vastus.io.tables import ALL, SIDE, STRUCTURE
from vastus.volume import Volume, to_ras

if TYPE_CHECKING:
    import pandas as pd

SLICE, Z_MM, LEVEL = "slice", "z_mm", "level"
AREA_PREDICTION_MM2, AREA_REFERENCE_MM2 = "area_prediction_mm2", "area_reference_mm2"
AREA_SIGNED_PERCENT, AREA_ABSOLUTE_PERCENT = "area_signed_percent", "area_absolute_percent"
SECTION_COLUMNS = (
    SLICE,
    Z_MM,
    LEVEL,
    STRUCTURE,
    SIDE,
    m.PRESENCE,
    m.DICE.column,
    m.SURFACE_DICE.column,
    m.ASSD.column,
    m.HD95.column,
    AREA_PREDICTION_MM2,
    AREA_REFERENCE_MM2,
    AREA_SIGNED_PERCENT,
    AREA_ABSOLUTE_PERCENT,
)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Scores of a pair of maps of which one at least is labelled in part.

    Attributes:
        scores: ``table.SCORE_COLUMNS``, a row a structure and side.
        sections: ``SECTION_COLUMNS``, a row a drawn slice and structure that is there in one of the maps.
        slices: numbers of the drawn slices, counted from the patient's feet.
    """

    scores: pd.DataFrame
    sections: pd.DataFrame
    slices: tuple[int, ...]


def drawn_slices(labels: Volume) -> tuple[int, ...]:
    """Find the axial slices with any label, "none" included, counted from the patient's feet."""
    known = to_ras(labels).array != UNLABELLED
    return tuple(int(k) for k in np.flatnonzero(known.any(axis=(0, 1))))


def score_drawn(prediction: Volume, reference: Volume, settings: ScoreSettings) -> Drawn:
    """Score the voxels that both maps know, slice by slice.

    Where one map holds bare class ids only, left and right are scored as one structure.

    Args:
        prediction, reference: label maps with ``UNLABELLED`` voxels, on one grid.
        settings: see there.

    Raises:
        GeometryError: skewed axes.
        LabelError: unknown values.
    """
    import pandas as pd

    refuse_skewed(reference)
    first, second = to_ras(prediction), to_ras(reference)
    one, other = np.asarray(first.array), np.asarray(second.array)
    table = settings.table
    if settings.merge_sides or _without_sides(one, table) or _without_sides(other, table):
        one, other = merged(one, table), merged(other, table)
    known = (one != UNLABELLED) & (other != UNLABELLED)
    labels = labels_to_score(_histogram(one[known], other[known]), table)
    slices = tuple(int(k) for k in np.flatnonzero(known.any(axis=(0, 1))))
    plane_mm = second.spacing_mm[0], second.spacing_mm[1]
    size = np.array(second.shape[:2]) * plane_mm
    frame = ScoreContext(second.voxel_volume_mm3, float(np.hypot(*size)), settings)
    found: dict[int, list[_Section]] = {label.value: [] for label in labels}
    for k in slices:
        plane = _Plane(one[:, :, k], other[:, :, k], known[:, :, k], plane_mm)
        for label in labels:
            section = plane.section(label, k, frame)
            if section is not None:
                found[label.value].append(section)
    rows = [_structure_row(label, found[label.value], frame) for label in labels]
    area = float(np.prod(plane_mm))
    levels = _levels(other, slices, table)
    sections = [
        _section_row(s, second.affine, area, settings) | {LEVEL: levels[s.slice].value}
        for label in labels
        for s in found[label.value]
    ]
    return Drawn(
        pd.DataFrame(rows, columns=list(SCORE_COLUMNS)),
        pd.DataFrame(sections, columns=list(SECTION_COLUMNS)).sort_values(SLICE, kind="stable", ignore_index=True),
        slices,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Section:
    """A structure in a slice.

    ``surface`` holds the bound of distances where the other mask is empty; it is None where that has no value.
    """

    label: Label
    slice: int
    counts: OverlapCounts
    surface: SurfaceDistances | None

    @property
    def presence(self) -> Presence:
        return presence_of(self.counts.prediction, self.counts.reference)


@dataclass(frozen=True, slots=True, eq=False)
class _Plane:
    """One slice of both maps (I, J), where both know, and the spacing."""

    one: NDArray[Any]
    other: NDArray[Any]
    known: Mask
    spacing_mm: tuple[float, float]

    def section(self, label: Label, k: int, frame: ScoreContext) -> _Section | None:
        """Score one section; None if it is in neither map, or in one map and mostly unlabelled in the other."""
        masks = self.one == label.value, self.other == label.value
        if not masks[0].any() and not masks[1].any():
            return None
        seen = masks[0] & self.known, masks[1] & self.known
        presence = presence_of(int(seen[0].sum()), int(seen[1].sum()))
        if presence is Presence.ABSENT:
            return None
        if presence is not Presence.BOTH:
            alone = 0 if presence is Presence.INVENTED else 1
            if 2 * seen[alone].sum() < masks[alone].sum():
                return None
        box = _box(seen[0] | seen[1])
        inside = seen[0][box], seen[1][box], self.known[box]
        surface = _distances(*inside, self.spacing_mm, frame)
        return _Section(label, k, count_overlap(seen[0], seen[1]), surface)


def _distances(
    one: Mask, other: Mask, known: Mask, spacing_mm: tuple[float, float], frame: ScoreContext
) -> SurfaceDistances | None:
    """Compute distances from each border that faces known voxels to the nearest border of the other mask."""
    if one.any() and other.any():
        return SurfaceDistances(_from(one, other, known, spacing_mm), _from(other, one, known, spacing_mm))
    if frame.settings.policy is EmptyPolicy.EXCLUDE:
        return None
    here = _border(one | other, known)
    bound, nothing = np.full(int(here.sum()), frame.diagonal_mm), np.zeros(0)
    return SurfaceDistances(bound, nothing) if one.any() else SurfaceDistances(nothing, bound)


def _from(here: Mask, there: Mask, known: Mask, spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    from scipy.ndimage import distance_transform_edt

    target = _border(there, np.ones_like(known))
    return np.asarray(distance_transform_edt(~target, sampling=spacing_mm)[_border(here, known)])


def _border(mask: Mask, known: Mask) -> Mask:
    """Find voxels of the mask with a known neighbour (of four) outside it; the edge of the image counts as outside."""
    outside = np.pad(~mask & known, 1, constant_values=True)
    near = outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2] | outside[1:-1, 2:]
    return np.asarray(mask & near)


def summarise_sections(sections: pd.DataFrame, table: StructureTable = BUILT_IN) -> pd.DataFrame:
    """Summarise the sections of many cases by model, level of the thigh and structure, and all together (``all``).

    Args:
        sections: ``SECTION_COLUMNS`` and ``subject`` and ``model``.
        table: of the structures.

    Returns:
        One row a model, level (``all`` first, then from the feet upwards) and structure: number of sections, missed,
        invented; mean and SD (n - 1) of Dice and surface Dice over sections, empty ones by the policy; mean ASSD of
        those that both maps hold; mean signed and absolute area error of those that the reference holds.
    """
    import pandas as pd

    rows = []
    for model, of_model in sections.groupby(m.MODEL, sort=False):
        for level in (ALL, *(level.value for level in ThighLevel)):
            of_level = of_model if level == ALL else of_model[of_model[LEVEL] == level]
            keys = [s.key for s in table.rows if (of_level[STRUCTURE] == s.key).any()]
            for name in [*keys, *([ALL] if keys else [])]:
                chosen = of_level if name == ALL else of_level[of_level[STRUCTURE] == name]
                rows.append({m.MODEL: model, LEVEL: level, STRUCTURE: name} | _section_means(chosen))
    return pd.DataFrame(rows)


def _section_means(sections: pd.DataFrame) -> dict[str, Any]:
    """Make one row of ``summarise_sections`` without its names."""
    row: dict[str, Any] = {"sections": len(sections)}
    row |= {p.value: int((sections[m.PRESENCE] == p.value).sum()) for p in (Presence.MISSED, Presence.INVENTED)}
    for column in (m.DICE.column, m.SURFACE_DICE.column):
        row |= {f"{column}_mean": sections[column].mean(), f"{column}_sd": sections[column].std(ddof=1)}
    for column in (m.ASSD.column, AREA_SIGNED_PERCENT, AREA_ABSOLUTE_PERCENT):
        row[f"{column}_mean"] = sections[column].mean()
    return row


def _levels(reference: NDArray[Any], slices: tuple[int, ...], table: StructureTable) -> dict[int, ThighLevel]:
    """Find the level of each drawn slice (I, J, K), by the built-in structures of the reference in it."""
    present = [
        {table.by_value[int(v)].structure.key for v in np.unique(reference[:, :, k]) if v not in (0, UNLABELLED)}
        & BY_KEY.keys()
        for k in slices
    ]
    return dict(zip(slices, levels_of(present), strict=True))


def _structure_row(label: Label, sections: list[_Section], frame: ScoreContext) -> dict[str, Any]:
    counts = OverlapCounts(
        sum(s.counts.both for s in sections),
        sum(s.counts.only_prediction for s in sections),
        sum(s.counts.only_reference for s in sections),
    )
    if presence_of(counts.prediction, counts.reference) is not Presence.BOTH:
        return score_row(label, counts, None, frame)
    # In mm a section that stands alone has no distance, and the size of the image is none: it would drown the others.
    # Its border counts against the surface Dice.
    met = [s.surface for s in sections if s.surface is not None and s.presence is Presence.BOTH]
    row = score_row(label, counts, _pooled(met), frame)
    if not met and frame.settings.policy is not EmptyPolicy.EXCLUDE:
        row |= {metric.column: frame.diagonal_mm for metric in m.DISTANCES}
    everywhere = _pooled([s.surface for s in sections if s.surface is not None])
    return row | {m.SURFACE_DICE.column: _surface_dice(everywhere, frame.settings.tolerance_mm)}


def _pooled(surfaces: list[SurfaceDistances]) -> SurfaceDistances:
    return SurfaceDistances(
        np.concatenate([np.zeros(0), *(s.from_prediction_mm for s in surfaces)]),
        np.concatenate([np.zeros(0), *(s.from_reference_mm for s in surfaces)]),
    )


def _surface_dice(surface: SurfaceDistances, tolerance_mm: float) -> float:
    """Compute the surface Dice; no value if no border was seen in either map."""
    seen = len(surface.from_prediction_mm) + len(surface.from_reference_mm)
    return surface.surface_dice(tolerance_mm) if seen else float("nan")


def _section_row(
    section: _Section, affine: NDArray[np.float64], area_mm2: float, settings: ScoreSettings
) -> dict[str, Any]:
    counts, both = section.counts, section.presence is Presence.BOTH
    frame = ScoreContext(area_mm2, 0.0, settings)
    cells = score_row(section.label, counts, section.surface if both else None, frame)
    row = {
        SLICE: section.slice,
        Z_MM: float((affine @ np.array([0, 0, section.slice, 1.0]))[2]),
        STRUCTURE: section.label.structure.key,
        SIDE: section.label.side.value,
        m.PRESENCE: section.presence.value,
        m.DICE.column: cells[m.DICE.column],
        m.SURFACE_DICE.column: cells[m.SURFACE_DICE.column],
        AREA_PREDICTION_MM2: counts.prediction * area_mm2,
        AREA_REFERENCE_MM2: counts.reference * area_mm2,
        AREA_SIGNED_PERCENT: counts.ravd_signed_percent,
        AREA_ABSOLUTE_PERCENT: counts.ravd_absolute_percent,
    }
    distances = {metric.column: cells[metric.column] if both else np.nan for metric in (m.ASSD, m.HD95)}
    return row | distances


def _histogram(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.int64]:
    pairs = one.astype(np.int64) * 256 + other.astype(np.int64)
    return np.bincount(pairs, minlength=65536).reshape(256, 256)


def _without_sides(array: NDArray[Any], table: StructureTable) -> bool:
    """Tell whether a map holds labels and none of them has a side."""
    sides = {table.by_value[int(v)].side for v in np.unique(array) if int(v) in table.by_value}
    return sides - {Side.MIDLINE} == {Side.UNKNOWN}


def _box(mask: Mask) -> tuple[slice, slice]:
    """Find the box of a mask with a margin of one voxel inside the array, from which a border is visible."""
    i, j = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    sides = zip((i, j), mask.shape, strict=True)
    first, second = (slice(max(0, int(n[0]) - 1), min(size, int(n[-1]) + 2)) for n, size in sides)
    return first, second
