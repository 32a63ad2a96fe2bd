from __future__ import annotations

import numpy as np
import pytest

from vastus.anatomy import BY_KEY, SIDES, STRUCTURES, Side
from vastus.morphometry import ScanMeasures, measure_scan
from vastus.morphometry.rows import MeasureRow
from vastus.sarcopenia import ClinicalFacts
from vastus.sarcopenia.scan_indices import index_rows
from vastus.synthesis.phantom import make_phantom

FACTS = ClinicalFacts(height_cm=160, weight_kg=64)


def measured(**options: object) -> ScanMeasures:
    scan = make_phantom((5, 5, 6), **options)  # type: ignore[arg-type]
    return measure_scan(scan.ct, scan.labels, "s")


def value(rows: list[MeasureRow], structure: str, side: str, measure: str, group: str | None = None) -> float | None:
    (row,) = [
        r for r in rows if (r.structure, r.side, r.measure) == (structure, side, measure) and group in (None, r.group)
    ]
    return row.value


def test_both_sides_together_are_the_papers_form() -> None:
    found = measured()
    rows = index_rows(found, FACTS)
    right, left = (found.structure("vastus_lateralis", side).volume_mm3 or 0.0 for side in SIDES)
    for side, volume in (("right", right), ("left", left), ("both", right + left)):
        assert value(rows, "vastus_lateralis", side, "volume_per_height2") == pytest.approx(volume / 1000 / 1.6**2)
        assert value(rows, "vastus_lateralis", side, "volume_per_bmi") == pytest.approx(volume / 1000 / 25)
    anterior = sum(s.volume_mm3 or 0.0 for s in found.structures if s.structure.group.value == "anterior")
    assert value(rows, "all", "both", "volume_per_height2", "anterior") == pytest.approx(anterior / 1000 / 1.6**2)
    femur = found.femur_length_mm(SIDES[0])
    assert femur is not None
    assert value(rows, "gracilis", "right", "volume_per_femur_length") == pytest.approx(
        (found.structure("gracilis", SIDES[0]).volume_mm3 or 0) / 1000 / (femur / 10)
    )


def test_cut_or_absent_volumes_have_no_index() -> None:
    rows = index_rows(measured(z_range_mm=(100.0, 610.0)), FACTS)
    assert value(rows, "vastus_lateralis", "right", "volume_per_height2") is None
    assert value(rows, "gluteus_maximus", "both", "volume_per_height2") is not None
    one_leg = index_rows(measured(sides=(SIDES[0],)), FACTS)
    assert value(one_leg, "gracilis", "both", "volume_per_height2") is None
    assert value(one_leg, "gracilis", "right", "volume_per_height2") is not None


def test_the_same_rows_without_clinical_facts() -> None:
    rows = index_rows(measured(), ClinicalFacts())
    assert len(rows) == (len(STRUCTURES) + 6) * 3 * 4
    assert {r.measure for r in rows if r.value is not None} == {"volume_per_femur_length"}


def test_a_fragment_has_no_index() -> None:
    scan = make_phantom((5, 5, 6))
    labels = scan.labels.array.copy()
    value_right = BY_KEY["gracilis"].label_value(Side.RIGHT)
    places = np.argwhere(labels == value_right)
    labels[labels == value_right] = 0
    labels[tuple(places[len(places) // 2])] = value_right
    rows = index_rows(measure_scan(scan.ct, scan.labels.with_array(labels), "s"), FACTS)
    for side in ("right", "both"):
        assert value(rows, "gracilis", side, "volume_per_height2") is None
        assert value(rows, "all", side, "volume_per_height2", "medial") is None
    assert value(rows, "gracilis", "left", "volume_per_height2") is not None
    assert {(r.structure, r.side) for r in rows if r.fragment} == {("gracilis", "right"), ("gracilis", "both")}
