"""The published lines, by hand and against the script that derives them."""

import csv

import pytest

from vastus.anatomy import MUSCLES, SIDES, Side
from vastus.muscle_volumes import (
    find_fragments,
    largest_volume_mm3,
    muscle_regression,
    regression_volume_mm3,
    smallest_volume_mm3,
)

NO_MODEL = {"abdominal_oblique", "rectus_abdominis", "multifidus"}


def test_every_muscle_but_the_trunk_wall_has_a_line():
    assert set(muscle_regression()) == {m.key for m in MUSCLES} - NO_MODEL


def test_regression_by_hand():
    # biceps femoris = long (1.24, 53) + short head (0.738, 8.64)
    expected = 1000 * ((1.24 + 0.738) * 1.75 * 75 + 53 + 8.64)
    assert regression_volume_mm3("biceps_femoris", 175, 75) == pytest.approx(expected, rel=1e-6)


def test_psoas_and_iliacus_are_shared_out_whole():
    parts = [regression_volume_mm3(k, 175, 75) for k in ("iliacus", "psoas", "iliopsoas")]
    whole = 1000 * ((1.11 + 2.43) * 1.75 * 75 + 39.4 - 26.3)
    assert sum(parts) == pytest.approx(whole, rel=1e-3)


def test_the_largest_muscle_is_that_of_the_largest_person():
    assert largest_volume_mm3("gracilis") == pytest.approx(1000 * (0.58 * 2.05 * 150 + 32.1))
    assert largest_volume_mm3("multifidus") is None
    ordinary = {m.key: regression_volume_mm3(m.key, 175, 75) for m in MUSCLES}
    assert all(largest_volume_mm3(key) > 1.4 * volume for key, volume in ordinary.items() if volume is not None)


@pytest.mark.shared
def test_shipped_table_is_what_the_script_derives():
    from pathlib import Path

    from programs import load_program

    root = Path(__file__).resolve().parents[1]
    shared = root.parent / "shared"
    if not (shared / "stats/handsfield2014.csv").exists():
        pytest.skip("no shared data")
    module = load_program(root / "tools/derive_muscle_regression.py")
    shipped = {
        r["structure"]: (float(r["slope_cm3_per_m_kg"]), float(r["intercept_cm3"]), r["basis"])
        for r in csv.DictReader(module.OUTPUT.open(encoding="utf-8"))
    }
    for key, slope, intercept, basis in module.derive(shared):
        assert shipped.pop(key) == (pytest.approx(slope, abs=1e-4), pytest.approx(intercept, abs=1e-3), basis)
    assert not shipped


RIGHT, LEFT = Side.RIGHT, Side.LEFT


def test_a_fragment_is_below_a_tenth_of_the_smallest_adults_muscle():
    limit = 100 * (1.978 * 1.40 * 30 + 61.64)
    assert smallest_volume_mm3("biceps_femoris") == pytest.approx(limit)
    assert smallest_volume_mm3("femur") == smallest_volume_mm3("multifidus") == 1000
    below, above = {("biceps_femoris", RIGHT): limit - 1}, {("biceps_femoris", RIGHT): limit + 1}
    assert find_fragments(above) == {}
    assert find_fragments(below) == {("biceps_femoris", RIGHT): "less than the least that an adult can have (14.5 mL)"}
    assert set(find_fragments({("femur", LEFT): 999.0, ("hip_bone", LEFT): 1001.0})) == {("femur", LEFT)}


def test_a_fragment_is_below_a_twentieth_of_the_other_side():
    for volume, found in ((49_999.0, {("gluteus_maximus", LEFT)}), (50_001.0, set())):
        assert set(find_fragments({("gluteus_maximus", RIGHT): 1e6, ("gluteus_maximus", LEFT): volume})) == found
    reason = find_fragments({("femur", RIGHT): 400_000.0, ("femur", LEFT): 10_000.0})["femur", LEFT]
    assert reason == "less than 5% of the other side (20.0 mL)"


def test_a_fragment_is_below_a_twentieth_of_what_the_persons_other_muscles_let_expect():
    others = ["sartorius", "gracilis", "rectus_femoris", "vastus_medialis", "adductor_longus", "semitendinosus"]
    person = {(key, RIGHT): 3 * regression_volume_mm3(key, 170, 70) for key in others}
    limit = 0.05 * 3 * 1000 * (1.978 * 1.70 * 70 + 61.64)
    for volume, found in ((limit - 1, {("biceps_femoris", RIGHT)}), (limit + 1, set())):
        assert set(find_fragments({**person, ("biceps_femoris", RIGHT): volume})) == found
    few = dict(list(person.items())[:5])
    assert find_fragments({**few, ("biceps_femoris", RIGHT): limit - 1}) == {}


def test_a_wasted_or_paralysed_leg_has_no_fragments():
    old = {
        (m.key, side): regression_volume_mm3(m.key, 150, 45) for m in MUSCLES if m.key not in NO_MODEL for side in SIDES
    }
    assert find_fragments({at: 0.4 * volume for at, volume in old.items()}) == {}
    assert find_fragments({at: volume * (0.3 if at[1] is LEFT else 1.0) for at, volume in old.items()}) == {}


def test_what_the_scan_cuts_is_no_fragment_and_judges_nothing():
    person = {("gluteus_maximus", RIGHT): 1e6, ("gluteus_maximus", LEFT): 40_000.0, ("psoas", RIGHT): 5.0}
    assert set(find_fragments(person)) == {("gluteus_maximus", LEFT), ("psoas", RIGHT)}
    assert find_fragments(person, cut=[("gluteus_maximus", RIGHT), ("psoas", RIGHT)]) == {}
    assert find_fragments({("psoas", Side.UNKNOWN): 5.0}) == {}
