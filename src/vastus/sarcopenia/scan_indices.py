"""The volumes of one scan, normalised, as rows of ``measures.csv``."""

from __future__ import annotations

from vastus.anatomy import SIDES, Side
from vastus.io.tables import ALL, BOTH_SIDES
from vastus.morphometry.rows import MeasureRow
from vastus.morphometry.scan import ScanMeasures
from vastus.sarcopenia.clinical import ClinicalFacts
from vastus.sarcopenia.normalisation import FEMUR_RANGE_MM, VolumeIndices, normalise


def index_rows(measures: ScanMeasures, facts: ClinicalFacts) -> list[MeasureRow]:
    """Normalise the volumes of every structure and group: right, left, and both (no side in the paper's classes).

    A volume that the scan cuts, that is absent or a fragment gives empty indices: a part is not comparable between
    people.
    The femur's length divides only its own side; of both sides together the mean length does.
    """
    volumes: dict[tuple[str, str, Side], float | None] = {}
    cut: dict[tuple[str, str, Side], bool] = {}
    fragments = {(s.structure.key, s.structure.group.value, s.side) for s in measures.structures if s.fragment}
    for s in measures.structures:
        volumes[s.structure.key, s.structure.group.value, s.side] = s.volume_mm3
        cut[s.structure.key, s.structure.group.value, s.side] = s.truncated
    for g in measures.groups:
        name = ALL if g.group is None else g.group.value
        volumes[ALL, name, g.side], cut[ALL, name, g.side] = g.volume_mm3, g.truncated
    lengths = {side: _plausible(measures.femur_length_mm(side)) for side in SIDES}
    right, left = lengths[Side.RIGHT], lengths[Side.LEFT]
    mean_length = None if right is None or left is None else (right + left) / 2
    names = [(s.key, s.group.value) for s in measures.table.rows if s.paired]
    names += [(ALL, ALL if group is None else group.value) for group in dict.fromkeys(g.group for g in measures.groups)]
    rows: list[MeasureRow] = []
    for structure, group in names:
        keys = [(structure, group, side) for side in SIDES]
        whole = [None if cut[key] or key in fragments else volumes[key] for key in keys]
        for key, volume in zip(keys, whole, strict=True):
            indices = None if volume is None else normalise(volume, facts, femur_length_mm=lengths[key[2]])
            rows.extend(_rows(measures.subject, key[:2], key[2].value, indices, (cut[key], key in fragments)))
        known = [volume for volume in whole if volume is not None]
        indices = normalise(sum(known), facts, femur_length_mm=mean_length) if len(known) == len(SIDES) else None
        flags = (any(cut[key] for key in keys), any(key in fragments for key in keys))
        rows.extend(_rows(measures.subject, (structure, group), BOTH_SIDES, indices, flags))
    return rows


def _plausible(length_mm: float | None) -> float | None:
    """Return a femur length that an adult can have, else None: a wrong label map gives others, and no index."""
    low, high = FEMUR_RANGE_MM
    return length_mm if length_mm is not None and low <= length_mm <= high else None


def _rows(
    subject: str, of: tuple[str, str], side: str, indices: VolumeIndices | None, flags: tuple[bool, bool]
) -> list[MeasureRow]:
    found = indices or VolumeIndices(None, None, None, None)
    values = (
        ("volume_per_height2", found.per_height2_cm3_m2, "cm3/m2"),
        ("volume_per_mass", found.per_mass_cm3_kg, "cm3/kg"),
        ("volume_per_bmi", found.per_bmi_cm3_m2_kg, "cm3 m2/kg"),
        ("volume_per_femur_length", found.per_femur_length_cm2, "cm2"),
    )
    return [MeasureRow(subject, *of, side, measure, value, unit, *flags) for measure, value, unit in values]
