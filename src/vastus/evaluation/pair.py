"""One pair of label maps -> one row of scores for every structure and side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vastus.errors import GeometryError
from vastus.evaluation.distances import DEFAULT_TOLERANCE_MM
from vastus.evaluation.drawn import score_drawn
from vastus.evaluation.overlap import label_overlap
from vastus.evaluation.scan import joint_histogram, paired_maps
from vastus.evaluation.surface import label_surface_distances
from vastus.evaluation.table import (
    SCORE_COLUMNS,
    ScoreContext,
    ScoreRow,
    ScoreSettings,
    is_partly_labelled,
    labels_to_score,
    merged,
    refuse_skewed,
    score_row,
)
from vastus.volume import Volume

if TYPE_CHECKING:
    import pandas as pd


def evaluate_pair(prediction: Volume, reference: Volume, tolerance_mm: float = DEFAULT_TOLERANCE_MM) -> pd.DataFrame:
    """Score a predicted label map against its reference, with the default policy; see ``score_pair``.

    Args:
        prediction: predicted label map.
        reference: reference label map on the same grid.
        tolerance_mm: tolerance of the surface Dice.

    Returns:
        A table with a row for each structure and side.

    Raises:
        GeometryError, LabelError, SettingsError: as ``score_pair``.
    """
    return score_pair(prediction, reference, ScoreSettings(tolerance_mm))


def score_pair(prediction: Volume, reference: Volume, settings: ScoreSettings) -> pd.DataFrame:
    """Score every structure and side of a predicted label map against its reference.

    Args:
        prediction, reference: label maps (label values of the table and 0) on one grid; ``UNLABELLED`` voxels of
            either are left out, and then the drawn slices are scored one by one (see ``drawn``).
        settings: see there.

    Returns:
        One row a structure and side with ``SCORE_COLUMNS``: 58 rows for maps with sides, 29 for maps without (side
        ``unknown``); both where a map holds both. Volumes in mm3, 0 for an empty mask. Empty cells by the policy.

    Raises:
        GeometryError: the grids differ or have skewed axes.
        LabelError: unknown values, or only one of the maps tells the sides apart.
    """
    import pandas as pd

    if is_partly_labelled(prediction) or is_partly_labelled(reference):
        return score_drawn(prediction, reference, settings).scores
    return pd.DataFrame(score_rows(prediction, reference, settings), columns=list(SCORE_COLUMNS))


def score_rows(prediction: Volume, reference: Volume, settings: ScoreSettings) -> list[ScoreRow]:
    """Do the same as ``score_pair`` for maps without ``UNLABELLED`` voxels, and without a table: pandas is not loaded.

    Args:
        prediction, reference: label maps on one grid.
        settings: see there.

    Returns:
        The rows.

    Raises:
        GeometryError, LabelError: as ``score_pair``.
    """
    if not prediction.same_grid(reference):
        raise GeometryError(f"The grids differ: {reference.difference_to(prediction)}.")
    refuse_skewed(reference)
    maps = paired_maps(
        merged(prediction.array, settings.table) if settings.merge_sides else prediction.array,
        merged(reference.array, settings.table) if settings.merge_sides else reference.array,
        reference.spacing_mm,
    )
    histogram = joint_histogram(maps)
    labels = labels_to_score(histogram, settings.table)
    surfaces = dict(label_surface_distances(maps))
    frame = ScoreContext(reference.voxel_volume_mm3, _diagonal_mm(reference), settings)
    return [
        score_row(label, label_overlap(histogram, label.value), surfaces.get(label.value), frame) for label in labels
    ]


def _diagonal_mm(volume: Volume) -> float:
    return float(np.linalg.norm(np.array(volume.shape) * volume.spacing_mm))
