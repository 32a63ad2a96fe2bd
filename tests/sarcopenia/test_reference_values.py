from __future__ import annotations

import dataclasses

import pytest

from vastus.anatomy import SIDES, Group, Side, structures_of
from vastus.morphometry import ScanMeasures, measure_scan
from vastus.muscle_volumes import regression_volume_mm3
from vastus.sarcopenia import ClinicalFacts, Sex, load_criteria
from vastus.sarcopenia.reference_values import (
    NO_REFERENCE,
    percent_of_expected,
    reference_rows,
    reference_sentences,
    thigh_reference,
)
from vastus.synthesis.phantom import make_phantom

MAN_75 = ClinicalFacts(sex=Sex.MAN, age_years=75)


@pytest.fixture(scope="module")
def measured() -> ScanMeasures:
    scan = make_phantom((5, 5, 6))
    return measure_scan(scan.ct, scan.labels, "s")


def test_the_table_is_the_published_one() -> None:
    reference = thigh_reference()
    by_name = {group.name: (group.sex, group.n, group.mean) for group in reference.groups}
    assert by_name == {
        "young men": (Sex.MAN, 20, 16.0),
        "young women": (Sex.WOMAN, 18, 14.6),
        "older men": (Sex.MAN, 25, 11.6),
        "older women": (Sex.WOMAN, 28, 11.5),
    }
    assert reference.method == "MR" and "doi:10.1007/s11357-013-9571-6" in reference.source


@pytest.mark.parametrize(
    ("sex", "age", "mean"),
    [
        (Sex.MAN, 18, 16.0),
        (Sex.MAN, 30.9, 16.0),
        (Sex.MAN, 31, None),
        (Sex.MAN, 68.9, None),
        (Sex.MAN, 69, 11.6),
        (Sex.WOMAN, 22, 14.6),
        (Sex.WOMAN, 81.9, 11.5),
        (Sex.WOMAN, 82, None),
        (Sex.MAN, None, None),
        (None, 75, None),
    ],
)
def test_who_has_a_reference(sex: Sex | None, age: float | None, mean: float | None) -> None:
    group = thigh_reference().of_age(sex, age)
    assert (None if group is None else group.mean) == mean


def test_why_there_is_no_z_score_is_told_with_numbers_that_hold() -> None:
    """The thigh muscles of a healthy man of 178 cm and 75 kg, by the lines, and the femur that a ratio of 16 means."""
    thigh_mm3 = sum(
        regression_volume_mm3(s.key, 178, 75) or 0.0
        for group in (Group.ANTERIOR, Group.MEDIAL, Group.POSTERIOR)
        for s in structures_of(group)
    )
    assert thigh_mm3 == pytest.approx(3.9e6, abs=5e4)
    assert thigh_mm3 / 16 == pytest.approx(246e3, abs=1e3)
    assert "178 cm and 75 kg has 3.9 litres" in thigh_reference().limits[0]
    assert "a femur of 246 mL" in thigh_reference().limits[0]


def test_percent_of_the_expected_volume() -> None:
    facts = ClinicalFacts(height_cm=170, weight_kg=70)
    expected = 1000 * (1.19 * 1.70 * 70 + 15.9)  # sartorius, as printed
    assert percent_of_expected("sartorius", expected / 2, facts) == pytest.approx(50)
    # Divided by atlases, or without a line: no reference.
    for key in ("psoas", "pectineus", "multifidus", "femur"):
        assert percent_of_expected(key, 1e5, facts) is None
    assert percent_of_expected("sartorius", 1e5, ClinicalFacts(height_cm=170)) is None


def test_the_ratio_is_all_thigh_muscles_by_the_femur(measured: ScanMeasures) -> None:
    thigh = {"anterior", "medial", "posterior"}
    muscle = {
        s: sum(m.volume_mm3 or 0 for m in measured.structures if m.side is s and m.structure.group.value in thigh)
        for s in SIDES
    }
    femur = {s: measured.structure("femur", s).volume_mm3 or 0 for s in SIDES}
    for side in SIDES:
        assert measured.thigh_muscle_to_femur(side) == pytest.approx(muscle[side] / femur[side])
    assert measured.thigh_muscle_to_femur() == pytest.approx(sum(muscle.values()) / sum(femur.values()))


def test_no_ratio_where_a_part_is_not_whole() -> None:
    cut = make_phantom((5, 5, 6), z_range_mm=(60.0, 610.0))
    one_leg = make_phantom((5, 5, 6), sides=(Side.LEFT,))
    assert measure_scan(cut.ct, cut.labels, "s").thigh_muscle_to_femur(Side.LEFT) is None
    found = measure_scan(one_leg.ct, one_leg.labels, "s")
    assert found.thigh_muscle_to_femur(Side.LEFT) is not None
    assert found.thigh_muscle_to_femur(Side.RIGHT) is found.thigh_muscle_to_femur() is None


def test_the_rows_are_the_same_for_everybody(measured: ScanMeasures) -> None:
    def keys(facts: ClinicalFacts) -> list[tuple[str, str, str]]:
        return [(r.structure, r.side, r.measure) for r in reference_rows(measured, facts)]

    full = ClinicalFacts(sex=Sex.WOMAN, age_years=70, height_cm=160, weight_kg=60)
    assert keys(full) == keys(ClinicalFacts()) and len(set(keys(full))) == len(keys(full)) == 2 * 27
    assert all(r.value is None for r in reference_rows(measured, ClinicalFacts()))
    values = {(r.structure, r.side, r.measure): r.value for r in reference_rows(measured, full)}
    volume = measured.structure("gracilis", Side.LEFT).volume_mm3 or 0
    assert values["gracilis", "left", "volume_of_expected"] == pytest.approx(volume / 10 / (0.58 * 1.6 * 60 + 32.1))


def test_what_is_said() -> None:
    assert reference_sentences(12.0, ClinicalFacts()) == ()
    text = " ".join(reference_sentences(6.5, MAN_75))
    assert "both sides: 6.5; published of older men: 11.6 (n = 25)." in text
    assert "Not comparable" in text and "there is no z-score" in text and "MR, not CT" in text
    assert "No diagnosis reads them." in text and "Percent of expected" not in text
    between = reference_sentences(6.5, ClinicalFacts(sex=Sex.MAN, age_years=50))[0]
    assert between == f"Thigh muscle to femur volume, both sides: 6.5; {NO_REFERENCE}."
    assert reference_sentences(6.5, ClinicalFacts(age_years=75))[0].endswith(f"6.5; {NO_REFERENCE}.")
    assert "not known" in reference_sentences(None, MAN_75)[0]
    assert "Percent of expected" in reference_sentences(None, ClinicalFacts(height_cm=170, weight_kg=70))[0]


def test_no_diagnosis_reads_a_reference() -> None:
    """Facts have no field for them, and no criteria a measure of that name."""
    names = {field.name for field in dataclasses.fields(ClinicalFacts)}
    assert not {name for name in names if "femur" in name or "expected" in name}
    for key in ("awgs_2019", "awgs_2025", "ewgsop2", "fnih", "kim_2024"):
        assert not [c for c in load_criteria(key).cutoffs if "femur" in c.measure.value]
