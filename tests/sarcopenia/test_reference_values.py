from __future__ import annotations

import dataclasses

import pytest

from vastus.anatomy import SIDES, Side
from vastus.morphometry import ScanMeasures, measure_scan
from vastus.sarcopenia import ClinicalFacts, Sex, load_criteria
from vastus.sarcopenia.reference_values import (
    NO_REFERENCE,
    percent_of_expected,
    reference_rows,
    reference_sentences,
    thigh_reference,
    thigh_z_scores,
)
from vastus.synthesis.phantom import make_phantom

MAN_75 = ClinicalFacts(sex=Sex.MAN, age_years=75)
WOMAN_22 = ClinicalFacts(sex=Sex.WOMAN, age_years=22)


@pytest.fixture(scope="module")
def measured() -> ScanMeasures:
    scan = make_phantom((5, 5, 6))
    return measure_scan(scan.ct, scan.labels, "s")


def test_the_table_is_the_published_one_and_its_sds_follow_from_the_z_scores() -> None:
    reference = thigh_reference()
    by_name = {group.name: (group.sex, group.n, group.mean) for group in reference.groups}
    assert by_name == {
        "young men": (Sex.MAN, 20, 16.0), "young women": (Sex.WOMAN, 18, 14.6),
        "older men": (Sex.MAN, 25, 11.6), "older women": (Sex.WOMAN, 28, 11.5),
    }  # fmt: skip
    sds = {group.name: group.sd for group in reference.groups}
    assert sds["young men"] == pytest.approx(4.4 / 2.2) and sds["older men"] == pytest.approx(0.7 * 4.4 / 2.2)
    assert sds["young women"] == pytest.approx(3.1 / 1.4) and sds["older women"] == pytest.approx(0.8 * 3.1 / 1.4)
    # The other way round it is what the abstract prints: the older people's mean z-scores.
    assert thigh_z_scores(11.6, MAN_75)[0] == pytest.approx(-2.2)
    assert thigh_z_scores(11.5, ClinicalFacts(sex=Sex.WOMAN))[0] == pytest.approx(-1.4)
    assert reference.method == "MR" and "doi:10.1007/s11357-013-9571-6" in reference.source


@pytest.mark.parametrize(
    ("ratio", "facts", "young", "own"),
    [
        (16.0, ClinicalFacts(sex=Sex.MAN, age_years=25), 0.0, 0.0),
        (18.0, ClinicalFacts(sex=Sex.MAN, age_years=30.9), 1.0, 1.0),
        (13.0, MAN_75, -1.5, 1.0),
        (14.6, WOMAN_22, 0.0, 0.0),
        (11.5, ClinicalFacts(sex=Sex.WOMAN, age_years=69), -1.4, 0.0),
        (16.0, ClinicalFacts(sex=Sex.MAN, age_years=31), 0.0, None),
        (16.0, ClinicalFacts(sex=Sex.MAN, age_years=68.9), 0.0, None),
        (16.0, ClinicalFacts(sex=Sex.MAN, age_years=82), 0.0, None),
        (16.0, ClinicalFacts(sex=Sex.MAN), 0.0, None),
        (16.0, ClinicalFacts(age_years=75), None, None),
        (None, MAN_75, None, None),
    ],
)
def test_z_scores(ratio: float | None, facts: ClinicalFacts, young: float | None, own: float | None) -> None:
    found = thigh_z_scores(ratio, facts)
    assert found == tuple(None if value is None else pytest.approx(value) for value in (young, own))


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
    muscle = {s: sum(m.volume_mm3 or 0 for m in measured.structures if m.side is s and m.structure.group.value in thigh)
              for s in SIDES}  # fmt: skip
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
    assert keys(full) == keys(ClinicalFacts()) and len(set(keys(full))) == len(keys(full)) == 3 * 2 + 2 * 27
    assert all(r.value is None for r in reference_rows(measured, ClinicalFacts()))
    values = {(r.structure, r.side, r.measure): r.value for r in reference_rows(measured, full)}
    ratio = measured.thigh_muscle_to_femur()
    assert ratio is not None
    assert values["femur", "both", "thigh_muscle_to_femur_z_young"] == pytest.approx((ratio - 14.6) / (3.1 / 1.4))
    volume = measured.structure("gracilis", Side.LEFT).volume_mm3 or 0
    assert values["gracilis", "left", "volume_of_expected"] == pytest.approx(volume / 10 / (0.58 * 1.6 * 60 + 32.1))


def test_what_is_said() -> None:
    assert reference_sentences(12.0, ClinicalFacts()) == ()
    text = " ".join(reference_sentences(11.6, MAN_75))
    assert "both sides: 11.6; z −2.2 against young men (16.0 ± 2.0, n = 20); z +0.0 against older men (11.6" in text
    assert "MR, not CT" in text and "No diagnosis reads them." in text and "Percent of expected" not in text
    between = reference_sentences(14.0, ClinicalFacts(sex=Sex.MAN, age_years=50))[0]
    assert between == (
        "Thigh muscle to femur volume, both sides: 14.0; z −1.0 against young men (16.0 ± 2.0, n = 20); "
        f"{NO_REFERENCE}."
    )
    assert reference_sentences(14.0, ClinicalFacts(age_years=50))[0].endswith(f"14.0; {NO_REFERENCE}.")
    assert "not known" in reference_sentences(None, MAN_75)[0]
    assert "Percent of expected" in reference_sentences(None, ClinicalFacts(height_cm=170, weight_kg=70))[0]


def test_no_diagnosis_reads_a_reference() -> None:
    """Facts have no field for them, and no criteria a measure of that name."""
    names = {field.name for field in dataclasses.fields(ClinicalFacts)}
    assert not {name for name in names if "femur" in name or "expected" in name}
    for key in ("awgs_2019", "awgs_2025", "ewgsop2", "fnih", "kim_2024"):
        assert not [c for c in load_criteria(key).cutoffs if "femur" in c.measure.value]
