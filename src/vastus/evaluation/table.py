"""The rows of scores of a pair of label maps: their columns, settings and cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, SIDES, UNLABELLED, Label, Side, StructureTable
from vastus.errors import GeometryError, LabelError, SettingsError
from vastus.evaluation import metrics as m
from vastus.evaluation.distances import DEFAULT_TOLERANCE_MM, SurfaceDistances
from vastus.evaluation.overlap import OverlapCounts
from vastus.evaluation.policy import EmptyPolicy, Presence, empty_scores, presence_of
from vastus.io.tables import GROUP, SIDE, STRUCTURE
from vastus.volume import Volume

SCORE_COLUMNS = (
    STRUCTURE,
    GROUP,
    SIDE,
    m.PRESENCE,
    *m.METRIC_COLUMNS,
    m.VOLUME_PREDICTION_MM3,
    m.VOLUME_REFERENCE_MM3,
)
_SHEAR_TOLERANCE = 1e-3

ScoreRow = dict[str, Any]
"""Cells by column name: ``SCORE_COLUMNS``, in any order."""


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """What can be chosen about the scores of one pair.

    Attributes:
        tolerance_mm: of the surface Dice.
        policy: what empty masks mean.
        merge_sides: left and right as one structure, as in Kim et al. 2024.
        table: of the structures.
    """

    tolerance_mm: float = DEFAULT_TOLERANCE_MM
    policy: EmptyPolicy = EmptyPolicy.PENALISE
    merge_sides: bool = False
    table: StructureTable = BUILT_IN

    def __post_init__(self) -> None:
        """Refuse a tolerance that is no length."""
        if not (np.isfinite(self.tolerance_mm) and self.tolerance_mm >= 0):
            raise SettingsError(f"The tolerance must be a length in mm, got {self.tolerance_mm}.")


def is_partly_labelled(labels: Volume) -> bool:
    """Tell whether a label map has voxels that nobody looked at, or about which nobody can tell."""
    if labels.array.dtype == np.uint8:
        return int(labels.array.max(initial=0)) == UNLABELLED  # the highest value that there is
    return bool((labels.array == UNLABELLED).any())


@dataclass(frozen=True, slots=True)
class ScoreContext:
    """What turns voxels into mm3, the bound of every distance, and the settings."""

    voxel_volume_mm3: float
    diagonal_mm: float
    settings: ScoreSettings


def score_row(label: Label, counts: OverlapCounts, surface: SurfaceDistances | None, frame: ScoreContext) -> ScoreRow:
    """Make one row of ``SCORE_COLUMNS``; ``surface`` is None if a mask is empty.

    Args:
        label: structure and side.
        counts: voxels of both masks and of their overlap.
        surface: distances between the surfaces, or None.
        frame: voxel size, diagonal and settings of the case.

    Returns:
        The cells by column name.
    """
    presence = presence_of(counts.prediction, counts.reference)
    row: ScoreRow = {
        STRUCTURE: label.structure.key,
        GROUP: label.structure.group.value,
        SIDE: label.side.value,
        m.PRESENCE: presence.value,
        m.VOLUME_PREDICTION_MM3: counts.prediction * frame.voxel_volume_mm3,
        m.VOLUME_REFERENCE_MM3: counts.reference * frame.voxel_volume_mm3,
    }
    if surface is None:
        row |= _empty_cells(presence, frame)
    else:
        row |= {
            m.DICE.column: counts.dice,
            m.JACCARD.column: counts.jaccard,
            m.SENSITIVITY.column: counts.sensitivity,
            m.PRECISION.column: counts.precision,
            m.RAVD_SIGNED.column: counts.ravd_signed_percent,
            m.RAVD_ABSOLUTE.column: counts.ravd_absolute_percent,
        } | distance_cells(surface, frame.settings.tolerance_mm)
    return row


def distance_cells(surface: SurfaceDistances, tolerance_mm: float) -> dict[str, float]:
    """Compute the cells that come from the surfaces; no value if all of a surface faces unlabelled voxels."""
    if not len(surface.from_prediction_mm) or not len(surface.from_reference_mm):
        return {metric.column: math.nan for metric in (*m.DISTANCES, m.SURFACE_DICE)}
    return {
        m.ASSD.column: surface.assd_mm,
        m.HAUSDORFF.column: surface.hausdorff_mm,
        m.HD95.column: surface.hd95_mm,
        m.SURFACE_DICE.column: surface.surface_dice(tolerance_mm),
    }


def _empty_cells(presence: Presence, frame: ScoreContext) -> dict[str, float]:
    scores = empty_scores(frame.settings.policy, presence, frame.diagonal_mm)
    cells = {metric.column: scores.overlap for metric in m.OVERLAPS}
    cells |= {metric.column: scores.distance_mm for metric in m.DISTANCES}
    return cells | {m.RAVD_SIGNED.column: scores.ravd_percent, m.RAVD_ABSOLUTE.column: abs(scores.ravd_percent)}


def labels_to_score(histogram: NDArray[np.int64], table: StructureTable = BUILT_IN) -> list[Label]:
    """List the rows of a table from the joint histogram; refuse unknown values, and sides in one map only."""
    in_prediction = set(np.flatnonzero(histogram.sum(axis=1)).tolist()) - {0}
    in_reference = set(np.flatnonzero(histogram.sum(axis=0)).tolist()) - {0}
    unknown = sorted((in_prediction | in_reference) - table.by_value.keys())
    if unknown:
        raise LabelError(
            f"Label values that the table of structures does not know: {', '.join(map(str, unknown))}.",
            remedy="`vastus classes` lists the values.",
        )
    # What lies in the midline says nothing of whether a map tells sides.
    told = [{table.by_value[v].side for v in values} - {Side.MIDLINE} for values in (in_prediction, in_reference)]
    sided = [bool(sides - {Side.UNKNOWN}) for sides in told]
    bare_beside = any(len(sides) > 1 and Side.UNKNOWN in sides for sides in told)
    if told[0] and told[1] and sided[0] != sided[1] and not bare_beside:
        raise LabelError(
            "One label map tells left from right, the other does not.",
            remedy="Use --merge-sides to score left and right as one structure.",
        )
    present = in_prediction | in_reference
    any_sided = any(sided)
    label_values = [s.label_value(side) for side in SIDES for s in table.rows if s.paired] if any_sided else []
    label_values += [s.class_id for s in table.rows if s.class_id in present or not any_sided or not s.paired]
    return [table.by_value[value] for value in label_values]


def merged(array: NDArray[Any], table: StructureTable = BUILT_IN) -> NDArray[Any]:
    """Return label values without their side; values that are no label stay and are refused later."""
    if array.dtype == np.bool_ or array.min() < 0 or array.max() > 255:
        return array
    lookup = np.arange(256, dtype=np.uint8)
    for value, label in table.by_value.items():  # UNLABELLED is not among them and stays
        lookup[value] = label.structure.class_id
    # Indexing the transpose of an F-ordered array keeps its order; indexing the array itself would cost a copy.
    straight = array.T if array.flags.f_contiguous else array
    merged = lookup[straight.astype(np.uint8, copy=False)]
    return merged.T if array.flags.f_contiguous else merged


def refuse_skewed(volume: Volume) -> None:
    """Refuse a grid whose axes are not at right angles: distances along them would be wrong."""
    axes = volume.affine[:3, :3] / np.array(volume.spacing_mm)
    if np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR_TOLERANCE:
        raise GeometryError(
            "The image axes are not at right angles (gantry tilt?): distances along them would be wrong.",
            remedy="Resample both label maps onto a straight grid first.",
        )
