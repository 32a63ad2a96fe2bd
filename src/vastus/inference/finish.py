"""From what the network says of every voxel to labels on the scan's own grid: sides, islands, the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BACKGROUND_ID, BUILT_IN, StructureTable
from vastus.inference.border_fat import trim_border_fat
from vastus.inference.confidence import Confidence, find_confidence
from vastus.inference.evidence import Evidence, NetworkView, gather_evidence
from vastus.inference.islands import Parts, dissolve, find_parts, islands
from vastus.inference.pelvis import below_pelvis, said_below, said_without_bones
from vastus.inference.restore import restore
from vastus.inference.septa import follow_septa
from vastus.inference.sides import side_rules, tell_sides
from vastus.inference.stitch import ScoreMap
from vastus.inference.tails import dissolve_tails
from vastus.preprocessing import Preprocessed, PreprocessingSettings
from vastus.volume import Volume, to_ras


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """Label values on the network's grid, what the user should know, and the parts that they were made from."""

    labels: NDArray[np.uint8]
    warnings: tuple[str, ...]
    parts: Parts


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """How sure the network is of its labels, and what was counted of them.

    ``evidence`` is None for structures outside the built-in table: no model of agreement was made for them.
    """

    confidence: Confidence
    evidence: Evidence | None


def judge(
    cleaned: Cleaned,
    scores: ScoreMap,
    seen: Preprocessed,
    classes: Sequence[str],
    settings: PreprocessingSettings,
    table: StructureTable = BUILT_IN,
) -> Judged:
    """Find how sure the network is of cleaned labels, and count the evidence on them.

    Args:
        cleaned: of ``clean_scores``.
        scores: of the network grid.
        seen: what the network saw.
        classes: keys of the network's channels, the background first.
        settings: of the network's preprocessing.
        table: of the structures.
    """
    confidence = find_confidence(cleaned.labels, channel_of_label(classes, table), scores, table)
    if not table.is_built_in:
        return Judged(confidence, None)
    ids = (BACKGROUND_ID, *(table.by_key[key].class_id for key in classes[1:]))
    view = NetworkView(seen.image, seen.affine, settings)
    parts = cleaned.parts.value, cleaned.parts.size
    return Judged(confidence, gather_evidence(cleaned.labels, parts, ids, scores, view))


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Label values on the network's grid, what the user should know, and what is known of them (see ``Judged``)."""

    labels: NDArray[np.uint8]
    warnings: tuple[str, ...]
    confidence: Confidence
    evidence: Evidence | None


def label_scores(
    scores: ScoreMap,
    seen: Preprocessed,
    classes: Sequence[str],
    settings: PreprocessingSettings,
    table: StructureTable = BUILT_IN,
) -> Labelled:
    """Clean label values from what the network said, how sure it is, and what was counted of them."""
    cleaned = clean_scores(scores, seen, classes, table)
    judged = judge(cleaned, scores, seen, classes, settings, table)
    return Labelled(cleaned.labels, cleaned.warnings, judged.confidence, judged.evidence)


def clean(
    scores: ScoreMap, seen: Preprocessed, classes: Sequence[str], table: StructureTable = BUILT_IN
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Tell left from right, and remove islands and impossible parts.

    Args:
        scores: of the network grid; it may be larger than the image at the far ends.
        seen: what the network saw.
        classes: keys of the network's channels, the background first.
        table: of the structures.

    Returns:
        Label values, uint8, shape (X, Y, Z) of the image, and what the user should know.
    """
    cleaned = clean_scores(scores, seen, classes, table)
    return cleaned.labels, cleaned.warnings


def clean_scores(
    scores: ScoreMap, seen: Preprocessed, classes: Sequence[str], table: StructureTable = BUILT_IN
) -> Cleaned:
    """Do the same as ``clean``, and keep the parts for ``judge``."""
    x, y, z = seen.image.shape
    ids = np.array([BACKGROUND_ID, *(table.by_key[key].class_id for key in classes[1:])], np.uint8)
    sided = tell_sides(np.take(ids, scores.channels[:x, :y, :z]), seen.affine, side_rules(table))
    voxel_mm3 = abs(float(np.linalg.det(seen.affine[:3, :3])))
    parts = find_parts(sided.labels)
    if not table.is_built_in:
        return Cleaned(dissolve(sided.labels, parts, islands(parts, voxel_mm3)), sided.warnings, parts)
    below = below_pelvis(parts, seen.affine, voxel_mm3)
    labels = dissolve(sided.labels, parts, below | islands(parts, voxel_mm3, below))
    section_mm2, slice_mm = _section_mm2(seen.affine), float(np.linalg.norm(seen.affine[:3, 2]))
    labels = dissolve_tails(labels, _muscles(table), voxel_mm2=section_mm2, slice_mm=slice_mm)
    warnings = (*said_below(parts, below, voxel_mm3), *said_without_bones(parts, voxel_mm3))
    return Cleaned(labels, (*sided.warnings, *warnings), parts)


def _section_mm2(affine: NDArray[np.float64]) -> float:
    """Area of a voxel in a slice across the body."""
    return float(np.linalg.norm(np.cross(affine[:3, 0], affine[:3, 1])))


def channel_of_label(classes: Sequence[str], table: StructureTable = BUILT_IN) -> NDArray[np.int64]:
    """Return the output channel of each of the 256 label values; values that do not occur get that of background."""
    channel = np.zeros(256, np.int64)
    for number, key in enumerate(classes[1:], start=1):
        channel[list(table.by_key[key].label_values)] = number
    return channel


def on_scan_grid(
    labels: NDArray[np.uint8],
    scores: ScoreMap,
    seen: Preprocessed,
    channel_of: NDArray[np.int64],
    scan: Volume,
    table: StructureTable = BUILT_IN,
) -> Volume:
    """Bring cleaned labels of the network grid to the grid of the scan, in its axis order.

    Borders become smooth, and fat at the border of a muscle becomes background (see ``border_fat``).

    Args:
        labels: label values on the grid of the network, (X, Y, Z).
        scores: the best classes of each voxel there.
        seen: the preprocessed scan, with the box of the body.
        channel_of: (256,), output channel of each label value (``channel_of_label``).
        scan: the scan in HU, whose grid is used.
        table: of the structures; says which are muscles.

    Returns:
        Label values on the grid of the scan, uint8; 0 outside the box of the body.
    """
    full = np.zeros(scan.array.shape, np.uint8, order="F" if _is_f_ordered(scan) else "C")
    box = tuple(slice(a, b) for a, b in zip(seen.box_start, seen.box_stop, strict=True))
    upright = to_ras(scan.with_array(full))
    restore(labels, channel_of, scores, upright.array[box])
    inside, hu, muscles = upright.array[box], to_ras(scan).array[box], _muscles(table)
    trim_border_fat(inside, hu, upright.spacing_mm, muscles)
    follow_septa(inside, hu, upright.spacing_mm, muscles)
    return scan.with_array(full)


def _muscles(table: StructureTable) -> NDArray[np.bool_]:
    """Find which label values are muscles, (256,)."""
    found = np.zeros(256, np.bool_)
    found[[value for entry in table.muscles for value in entry.label_values]] = True
    return found


def _is_f_ordered(scan: Volume) -> bool:
    strides = np.abs(scan.array.strides)
    return bool(strides[0] <= strides[2])
