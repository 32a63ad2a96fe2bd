"""The published lines, by hand and against the script that derives them."""

import csv

import pytest

from vastus.anatomy import MUSCLES
from vastus.muscle_volumes import largest_volume_mm3, muscle_regression, regression_volume_mm3

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
    import importlib.util
    from pathlib import Path

    root = Path(__file__).resolve().parents[1]
    shared = root.parent / "shared"
    if not (shared / "stats/handsfield2014.csv").exists():
        pytest.skip("no shared data")
    spec = importlib.util.spec_from_file_location("derive", root / "tools/derive_muscle_regression.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shipped = {
        r["structure"]: (float(r["slope_cm3_per_m_kg"]), float(r["intercept_cm3"]), r["basis"])
        for r in csv.DictReader(module.OUTPUT.open(encoding="utf-8"))
    }
    for key, slope, intercept, basis in module.derive(shared):
        assert shipped.pop(key) == (pytest.approx(slope, abs=1e-4), pytest.approx(intercept, abs=1e-3), basis)
    assert not shipped
