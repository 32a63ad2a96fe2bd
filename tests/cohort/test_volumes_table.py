import json
import math

import numpy as np
import pandas as pd
import pytest

from vastus.anatomy import SIDES, STRUCTURES
from vastus.cohort.problems import ProblemKind
from vastus.cohort.volumes_table import FEATURES, read_volumes, total_muscles_mm3, volumes_from_table, with_groups
from vastus.errors import MissingInputError
from vastus.io.tables import VOLUME_COLUMNS


def scan(subject, volume=100_000.0):
    rows = [
        (subject, s.key, s.group.value, side.value, volume + s.class_id, 40.0, "false", "false")
        for side in SIDES
        for s in STRUCTURES
    ]
    return pd.DataFrame(rows, columns=list(VOLUME_COLUMNS))


def test_folder_of_scans_with_one_broken(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    scan("a").to_csv(tmp_path / "a/volumes.csv", index=False)
    scan("b").drop(columns="truncated").to_csv(tmp_path / "b/volumes.csv", index=False)
    (tmp_path / "c/volumes.csv").write_bytes(b"")
    found = read_volumes(tmp_path)
    assert list(found.sides_mm3.index) == ["a"]
    assert sorted((p.kind, p.subject) for p in found.problems) == [
        (ProblemKind.UNREADABLE_SCAN, "b"),
        (ProblemKind.UNREADABLE_SCAN, "c"),
    ]


def test_sum_of_sides_and_groups():
    muscles = total_muscles_mm3(volumes_from_table(scan("a")))
    assert muscles.loc["a", "sartorius"] == 2 * 100_001
    all_features = with_groups(muscles)
    assert list(all_features.columns) == list(FEATURES)
    assert all_features.loc["a", "group:posterior"] == 2 * (100_011 + 100_012 + 100_013)


def test_cut_off_or_absent_side_leaves_no_total():
    table = scan("a")
    table.loc[(table.structure == "sartorius") & (table.side == "left"), "truncated"] = "true"
    table.loc[(table.structure == "gracilis") & (table.side == "right"), "volume_mm3"] = None
    found = volumes_from_table(table)
    features = with_groups(total_muscles_mm3(found))
    assert features.loc["a", ["sartorius", "gracilis", "group:anterior", "group:medial"]].isna().all()
    assert features.loc["a", "group:posterior"] > 0
    assert found.truncated.loc["a", ("sartorius", "left")]
    assert not found.truncated.loc["a", ("gracilis", "right")]


def test_bad_rows_are_told_and_left_out():
    table = scan("a").astype({"volume_mm3": object})
    table.loc[0, "structure"] = "soleus"
    table.loc[1, "volume_mm3"] = "much"
    table.loc[2, "volume_mm3"] = 0
    table.loc[3, "side"] = "unknown"
    table = pd.concat([table, table.iloc[[10]]])
    found = volumes_from_table(table)
    assert {p.kind for p in found.problems} == {ProblemKind.BAD_VOLUME}
    counts = sorted(p.what.split()[0] for p in found.problems)
    assert counts == ["1", "2", "3"]
    assert found.sides_mm3.loc["a"].isna().sum() == 5


def test_volumes_in_cm3_are_refused():
    found = volumes_from_table(pd.concat([scan("a"), scan("b", volume=100.0)]))
    assert list(found.sides_mm3.index) == ["a"]
    assert "cm3" in found.problems[0].what


def test_same_subject_in_two_files_is_left_out(tmp_path):
    for name in ("x", "y", "z"):
        (tmp_path / name).mkdir()
        scan("a" if name != "z" else "z").to_csv(tmp_path / name / "volumes.csv", index=False)
    found = read_volumes(tmp_path)
    assert list(found.sides_mm3.index) == ["z"]
    assert found.problems[0].kind is ProblemKind.DUPLICATE_SCAN


def test_nothing_there(tmp_path):
    with pytest.raises(MissingInputError, match=r"volumes\.csv"):
        read_volumes(tmp_path)
    with pytest.raises(MissingInputError):
        read_volumes(tmp_path / "no")


def test_a_fragment_is_no_volume_whether_or_not_the_table_says_so():
    table = scan("a")
    speck = (table["structure"] == "biceps_femoris") & (table["side"] == "right")
    table.loc[speck, "volume_mm3"] = 30.0
    for given, missing in (({}, True), ({"fragment": "true"}, True), ({"fragment": "false"}, False)):
        own = table.drop(columns="fragment")
        own = own.assign(fragment=np.where(speck, given["fragment"], "false")) if given else own
        found = volumes_from_table(own)
        assert math.isnan(found.sides_mm3.loc["a", ("biceps_femoris", "right")]) is missing
        assert found.sides_mm3.loc["a", ("biceps_femoris", "left")] > 0
        assert ["1 fragment(s)" in p.what for p in found.problems] == [True] * missing
        posterior = with_groups(total_muscles_mm3(found))["group:posterior"]
        assert posterior.isna().all() == missing


def test_volumes_in_cm3_are_told_by_their_unit_not_as_fragments():
    found = volumes_from_table(scan("a", 100.0))
    assert len(found.sides_mm3) == 0 and "mm3" in found.problems[0].what


def test_a_column_given_twice_is_named(tmp_path):
    for column in ("volume_mm3", "subject", "truncated"):
        table = scan("a")
        text = table.assign(again=table[column]).rename(columns={"again": column}).to_csv(index=False)
        (tmp_path / "volumes.csv").write_text(text)
        with pytest.raises(MissingInputError, match=f"more than once: {column}"):
            read_volumes(tmp_path / "volumes.csv")


@pytest.mark.parametrize("word", ["inf", "-inf", "1e999", "nan"])
def test_a_volume_that_is_no_number_is_left_out(tmp_path, word):
    table = scan("a").astype({"volume_mm3": object})
    table.loc[0, "volume_mm3"] = word
    table.to_csv(tmp_path / "volumes.csv", index=False)
    found = read_volumes(tmp_path / "volumes.csv")
    assert math.isnan(found.sides_mm3.iloc[0][table.loc[0, "structure"], table.loc[0, "side"]])
    assert any("no positive number" in problem.what for problem in found.problems)


WRONG = {"gracilis": {"left": {"expected": 0.4, "low": 0.2, "high": 0.6, "wrong": 0.9}}}
RECORDS = {
    "a": {"warnings": [], "alarms": []},
    "b": {"warnings": ["Turned over."], "alarms": ["Turned over."]},
    "c": {"warnings": [], "alarms": ["Gracilis is likely wrong."], "agreement": {"structures": WRONG}},
}


@pytest.mark.parametrize("archive", [False, True])
def test_scans_that_must_stop_a_reader_are_left_out_or_named(tmp_path, archive):
    for name, record in RECORDS.items():
        folder = tmp_path / "scans" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(record))
        scan(name).to_csv(folder / "volumes.csv", index=False)
    table = tmp_path / "volumes.csv"
    if archive:
        pd.concat(scan(name) for name in RECORDS).to_csv(table, index=False)
    found = read_volumes(table if archive else tmp_path / "scans")
    assert list(found.sides_mm3.index) == ["a", "c"]
    assert sorted((p.kind.name, p.subject, p.what) for p in found.problems) == [
        ("STOPPED_SCAN", "b", "left out: Turned over."),
        ("WRONG_STRUCTURE", "c", "used, but look at the pictures first: gracilis left"),
    ]


def test_nothing_but_a_scan_of_no_use_is_refused_with_the_reason(tmp_path):
    scan("b").to_csv(tmp_path / "volumes.csv", index=False)
    (tmp_path / "run.json").write_text(json.dumps(RECORDS["b"]))
    with pytest.raises(MissingInputError, match="Turned over"):
        read_volumes(tmp_path)
