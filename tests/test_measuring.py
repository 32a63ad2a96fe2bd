from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from vastus.anatomy import BY_KEY, Side
from vastus.inference.confidence import Confidence
from vastus.io.csv_tables import read_volume_rows
from vastus.io.tables import CONFIDENCE, LEVELS_FILE, MEASURES_FILE, VOLUMES_FILE
from vastus.measuring import MeasuredScan, MeasureRequest, measure_to_folder
from vastus.morphometry import MeasureSettings
from vastus.quality import Agreement
from vastus.sarcopenia import ClinicalFacts, Sex
from vastus.synthesis.phantom import LabelledScan, make_phantom

FEMUR_RIGHT = BY_KEY["femur"].label_value(Side.RIGHT)


@pytest.fixture(scope="module")
def phantom() -> LabelledScan:
    return make_phantom((5.0, 5.0, 6.0))


def measured(phantom: LabelledScan, folder: Path, **wishes: object) -> MeasuredScan:
    return measure_to_folder(MeasureRequest(phantom.ct, phantom.labels, "p1", folder, **wishes))


def names_in(folder: Path) -> set[str]:
    with (folder / MEASURES_FILE).open(encoding="utf-8") as file:
        return {row["measure"] for row in csv.DictReader(file)}


def test_the_rows_are_those_of_the_tables(phantom: LabelledScan, tmp_path: Path) -> None:
    found = measured(phantom, tmp_path)
    in_file = read_volume_rows(tmp_path / VOLUMES_FILE)
    assert [(r.structure, r.side) for r in found.volumes] == [(r.structure, r.side) for r in in_file]
    assert {row.measure for row in found.rows} == names_in(tmp_path)
    assert len((tmp_path / LEVELS_FILE).read_text(encoding="utf-8").splitlines()) == len(found.found.areas) + 1
    assert {row.subject for row in found.rows} == {"p1"}


def test_settings_decide_what_is_measured(phantom: LabelledScan, tmp_path: Path) -> None:
    measured(phantom, tmp_path, settings=MeasureSettings(percentiles=(10.0,)))
    assert {name for name in names_in(tmp_path) if name.startswith("p") and name.endswith("_hu")} == {"p10_hu"}


def test_nothing_is_said_of_a_structure_that_lost_its_last_voxel(phantom: LabelledScan, tmp_path: Path) -> None:
    gone = BY_KEY["pectineus"].label_value(Side.RIGHT)
    labels = phantom.labels.array.copy()
    assert (labels == gone).any()
    labels[labels == gone] = 0
    judged = {value: Agreement(0.9, 0.8, 0.95, 0.1) for value in (gone, FEMUR_RIGHT)}
    wishes: dict[str, Any] = {"confidence": Confidence(0.8, {gone: 0.5, FEMUR_RIGHT: 0.9}), "agreement": judged}
    found = measured(LabelledScan(phantom.ct, phantom.labels.with_array(labels)), tmp_path, **wishes)
    assert gone not in found.found.present and FEMUR_RIGHT in found.found.present
    said = {(r.structure, r.measure): r.value for r in found.rows if r.side == "right"}
    for measure in (CONFIDENCE, "expected_agreement"):
        assert said["femur", measure] == 0.9
        assert said.get(("pectineus", measure)) is None


def test_only_what_was_asked_for_stands_among_the_measures(phantom: LabelledScan, tmp_path: Path) -> None:
    facts = ClinicalFacts(sex=Sex.MAN, age_years=70, height_cm=170, weight_kg=70)
    plain = measured(phantom, tmp_path)
    assert plain.context == () and CONFIDENCE not in names_in(tmp_path)
    before = names_in(tmp_path)
    measured(phantom, tmp_path, confidence=Confidence(0.8, {FEMUR_RIGHT: 0.9}))
    assert names_in(tmp_path) - before == {CONFIDENCE}
    measured(phantom, tmp_path, facts=facts)
    with_facts = names_in(tmp_path)
    assert with_facts > before and "volume_per_height2" not in with_facts
    measured(phantom, tmp_path, facts=facts, indices=True)
    assert "volume_per_height2" in names_in(tmp_path) and names_in(tmp_path) > with_facts
