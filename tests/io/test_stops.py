from __future__ import annotations

import json
from pathlib import Path

import pytest

from vastus.io.stops import NO_STOPS, Stops, read_stops, stops_of_record


def record(*, whole: bool) -> dict[str, object]:
    cells = {"expected": 0.4, "low": 0.2, "high": 0.6}
    return {
        "warnings": ["Metal.", *(["Turned."] if whole else [])],
        "alarms": [*(["Turned."] if whole else []), "1 structure is likely wrong."],
        "agreement": {
            "structures": {"gracilis": {"left": cells | {"wrong": 0.5}, "right": cells | {"wrong": 0.49}}},
        },
        "missing": [{"structure": "psoas", "side": "right", "absent_mm": 50}],
    }


def test_an_alarm_that_is_a_warning_too_is_of_the_whole_scan():
    found = stops_of_record(record(whole=True))
    assert found.unusable and found.title == "Stop: use no number of this scan"
    doubted = stops_of_record(record(whole=False))
    assert not doubted.unusable and doubted.title == "Stop: likely wrong"


def test_structures_are_named_from_the_chance_on_from_which_they_are_called_wrong():
    found = stops_of_record(record(whole=False))
    assert found.wrong == {("gracilis", "left")} and found.missed == {("psoas", "right")}


def test_an_old_record_stops_nobody():
    assert stops_of_record({"warnings": ["Metal."]}) == NO_STOPS and NO_STOPS.title == ""


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"agreement": {"structures": {"femur": {"left": {}}}}}'])
def test_a_file_that_can_not_be_read_stops_nobody(tmp_path: Path, text: str):
    path = tmp_path / "run.json"
    assert read_stops(path) == NO_STOPS
    path.write_text(text, encoding="utf-8")
    assert read_stops(path) == NO_STOPS


def test_a_file_says_what_its_record_says(tmp_path: Path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(record(whole=True)), encoding="utf-8")
    assert read_stops(path) == stops_of_record(record(whole=True)) != Stops()
