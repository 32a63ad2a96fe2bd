from __future__ import annotations

import pytest

from vastus.anatomy import STRUCTURES, Group, Side
from vastus.app.person import FIELDS, form, said_of, tidy, volume_table
from vastus.errors import SettingsError
from vastus.io.csv_tables import VolumeRow
from vastus.sarcopenia import HUMAN_RANGES

WOMAN = {
    "sex": "F",
    "age_years": "74",
    "height_cm": "158",
    "grip_kg": "15,2",
    "gait_m_s": "0.9",
    "asm_kg": "12.9",
    "mass_method": "bia",
}


def test_every_value_that_criteria_can_need_is_asked() -> None:
    assert set(FIELDS) == set(HUMAN_RANGES)
    assert {field["name"] for field in form()["fields"]} == set(HUMAN_RANGES)


def test_the_stage_comes_with_its_reasons_in_words() -> None:
    said = said_of(tidy(WOMAN))
    assert said is not None
    assert (said["label"], said["criteria"], said["missing"]) == ("Severe sarcopenia", "AWGS 2019", [])
    told = {(t["name"], t["text"], t["unit"], t["finding"]) for t in said["tests"]}
    assert ("Grip strength", "15.2 is below 18", "kg", "low") in told
    assert ("Walking speed", "0.9 is below 1", "m/s", "low") in told
    assert not any("_" in t["text"] for t in said["tests"])


def test_what_is_missing_is_said() -> None:
    said = said_of(tidy({"sex": "M", "grip_kg": 20}))
    assert said is not None
    assert (said["stage"], said["at_most"]) == ("possible", "severe sarcopenia")
    assert "Muscle mass of arms and legs / height squared" in said["missing"]
    assert said_of({}) is None


def test_a_value_that_is_normal_is_said_so() -> None:
    said = said_of(tidy({"sex": "M", "grip_kg": 40, "chair_stand_s": 9}))
    assert said is not None
    assert {t["text"] for t in said["tests"]} == {"40 is not below 28", "9 is below 12"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"height_cm": "1.58"}, "Height lies outside the human range"),
        ({"grip_kg": "strong"}, "Grip strength: this is not a number"),
        ({"sex": "x"}, "M or F"),
        ({"mass_method": "scale"}, "DXA or BIA"),
        ({"criteria": "mine"}, "not known"),
        ({"grip_kg": "nan"}, "Grip strength lies outside"),
    ],
)
def test_what_can_not_be_is_refused_in_the_words_of_the_page(values: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        tidy(values)


def test_sums_and_indices_need_both_sides_whole() -> None:
    rows = []
    for structure in STRUCTURES:
        for side in (Side.RIGHT, Side.LEFT):
            cut = structure.key == "gracilis" and side is Side.LEFT
            rows.append(VolumeRow("p", structure.key, structure.group, side, 50_000.0, 50.0, cut))
    table = {row["name"]: row for row in volume_table(rows, {"height_cm": 200.0, "weight_kg": 50.0})}
    sartorius, gracilis = table["Sartorius"], table["Gracilis"]
    assert (sartorius["right_ml"], sartorius["both_ml"]) == (50.0, 100.0)
    assert (sartorius["per_height2"], sartorius["per_kg"]) == (25.0, 2.0)
    assert (gracilis["left_ml"], gracilis["left_cut"], gracilis["both_ml"]) == (50.0, True, None)
    members = sum(s.group == Group.ANTERIOR for s in STRUCTURES)
    assert table["Front of the thigh"]["both_ml"] == 100.0 * members
    assert table["Inner thigh"]["both_ml"] is None
