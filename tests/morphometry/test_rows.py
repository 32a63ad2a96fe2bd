from __future__ import annotations

import csv
from pathlib import Path

import pytest

from vastus.errors import MissingInputError, SettingsError
from vastus.io.tables import LEVEL_COLUMNS, MEASURE_COLUMNS
from vastus.morphometry import (
    MeasureSettings,
    load_measure_settings,
    measure_rows,
    measure_scan,
    write_level_rows,
    write_measure_rows,
)
from vastus.synthesis.phantom import make_phantom


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_tables_are_tidy_and_hold_what_was_measured(tmp_path: Path) -> None:
    scan = make_phantom((5, 5, 6), z_range_mm=(60.0, 610.0))
    found = measure_scan(scan.ct, scan.labels, "p1")
    write_measure_rows(measure_rows(found), tmp_path / "measures.csv")
    write_level_rows("p1", found.areas, tmp_path / "levels.csv")
    measures, levels = read(tmp_path / "measures.csv"), read(tmp_path / "levels.csv")
    assert tuple(measures[0]) == MEASURE_COLUMNS
    assert tuple(levels[0]) == LEVEL_COLUMNS
    keys = [(r["structure"], r["group"], r["side"], r["measure"]) for r in measures]
    assert len(set(keys)) == len(keys)
    assert len({(r["side"], r["level"], r["structure"], r["group"]) for r in levels}) == len(levels)
    by_key = dict(zip(keys, measures, strict=True))
    gluteus = by_key["gluteus_maximus", "gluteal", "left", "volume"]
    expected = next(s for s in found.structures if s.structure.key == "gluteus_maximus" and s.side.value == "left")
    assert float(gluteus["value"]) == pytest.approx(expected.volume_mm3)
    assert (gluteus["unit"], gluteus["truncated"]) == ("mm3", "false")
    assert by_key["femur", "bone", "left", "femur_length"]["value"] == ""
    assert by_key["femur", "bone", "left", "femur_length"]["truncated"] == "true"
    assert by_key["all", "posterior", "left", "posterior_to_anterior"]["value"] == ""


def test_the_same_rows_for_every_label_map() -> None:
    full, part = make_phantom((6, 6, 8)), make_phantom((6, 6, 8))
    fewer = part.labels.array.copy()
    fewer[fewer % 100 == 5] = 0

    def names(rows: list) -> list[tuple[str, ...]]:
        return [(r.structure, r.group, r.side, r.measure) for r in rows]

    rows = measure_rows(measure_scan(full.ct, full.labels, "a"))
    assert names(rows) == names(measure_rows(measure_scan(part.ct, part.labels.with_array(fewer), "b")))


def test_settings_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("lean_hu = [0, 120]\nslab_mm = 10\n", encoding="utf-8")
    assert load_measure_settings(path) == MeasureSettings(lean_hu=(0, 120), slab_mm=10)
    for text in ("lean = [0, 1]", "lean_hu = 5", "slab_mm = 'x'", "slab_mm = -1", "= 3"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError):
            load_measure_settings(path)
    with pytest.raises(MissingInputError):
        load_measure_settings(tmp_path / "none.toml")
