import pandas as pd
import pytest

from vastus.cohort.clinical_table import read_clinical_table
from vastus.cohort.dataset import STATUS, build_dataset
from vastus.cohort.problems import ProblemKind
from vastus.cohort.selection import load_rules
from vastus.cohort.volumes_table import read_volumes
from vastus.errors import InputError
from vastus.sarcopenia import load_criteria


def build(folder, clinical, volumes):
    path = folder / "c.csv"
    clinical.to_csv(path, index=False)
    return build_dataset(read_volumes(volumes), read_clinical_table(path), load_criteria("awgs_2019"), load_rules())


@pytest.fixture
def tables(example):
    return pd.read_csv(example[1], dtype={"subject": str, "scan": str}), example[0]


def test_everybody_is_accounted_for(tmp_path, tables):
    clinical, volumes = tables
    ids = list(clinical["subject"].unique())
    clinical = clinical[clinical["subject"] != ids[0]]  # scan without a row
    clinical.loc[clinical["subject"] == ids[1], "scan"] += "x"  # row without a scan
    clinical.loc[clinical["subject"] == ids[2], "sex"] = ""
    clinical.loc[clinical["subject"] == ids[3], "age_years"] = 45
    clinical.loc[clinical["subject"] == ids[5], "height_cm"] = 1.6
    clinical.loc[clinical["subject"] == ids[4], ["smi_kg_m2", "grip_kg", "gait_m_s", "chair_stand_s"]] = None
    found = build(tmp_path, clinical, volumes)
    assert [s.after for s in found.flow][-1] == found.people[STATUS].notna().sum() == 69 - 5
    for before, after in zip(found.flow[:-1], found.flow[1:], strict=True):
        assert before.after == after.before
    assert all(s.before == s.removed + s.after for s in found.flow)
    assert {ids[1], ids[2], ids[3], ids[4]} <= set(found.left_out)
    assert found.left_out[ids[3]] == "Age over 50 years"
    assert found.left_out[ids[5]].startswith("height")
    assert found.index_cm3_m2.loc[ids[5]].isna().all()
    assert {p.kind for p in found.problems} == {
        ProblemKind.NO_CLINICAL_ROW,
        ProblemKind.NO_SCAN,
        ProblemKind.BAD_VALUE,
    }
    assert pd.isna(found.people.loc[ids[4], STATUS])


def test_index_by_hand(tmp_path, tables):
    clinical, path = tables
    found = build(tmp_path, clinical, path)
    volumes = pd.read_csv(path)
    subject = found.people.index[5]
    own = volumes[(volumes["subject"] == f"{subject}_1") & (volumes["structure"] == "gluteus_maximus")]
    height = clinical.loc[clinical["subject"] == subject, "height_cm"].iloc[0]
    expected = own["volume_mm3"].sum() / 1000 / (height / 100) ** 2
    assert found.index_cm3_m2.loc[subject, "gluteus_maximus"] == pytest.approx(expected, rel=1e-12)


def test_first_scan_by_date_counts(tmp_path, tables):
    clinical, path = tables
    subject = clinical.loc[clinical["scan"].str.endswith("_2"), "subject"].iloc[0]
    rows = clinical["subject"] == subject
    clinical.loc[rows, "scan_date"] = list(clinical.loc[rows, "scan_date"])[::-1]
    assert build(tmp_path, clinical, path).people.loc[subject, "scan"] == f"{subject}_2"


def test_contradicting_mass_is_not_used(tmp_path, tables):
    clinical, path = tables
    clinical["asm_kg"] = 40.0
    found = build(tmp_path, clinical.head(4), path)
    assert [p.kind for p in found.problems if p.kind is ProblemKind.CONTRADICTION]
    assert (found.people["stage"] != "sarcopenia").all()


def test_nobody_left(tmp_path, tables):
    clinical, path = tables
    with pytest.raises(InputError, match="Nobody"):
        build(tmp_path, clinical.assign(age_years=30), path)
    with pytest.raises(InputError, match="both a usable scan"):
        build(tmp_path, clinical.assign(scan=clinical["scan"] + "?"), path)


def test_names_that_only_look_alike_are_told_and_not_matched(tmp_path, tables):
    clinical, path = tables
    volumes = pd.read_csv(path)
    scans = list(clinical["scan"].unique())
    volumes["subject"] = volumes["subject"].replace({scans[0]: "007", scans[1]: "P 8"})
    clinical["scan"] = clinical["scan"].replace({scans[0]: "7", scans[1]: "p-8"})
    volumes.to_csv(tmp_path / "v.csv", index=False)
    found = build(tmp_path, clinical, tmp_path / "v.csv")
    told = [p.what for p in found.problems if p.kind is ProblemKind.NAMES_ALIKE]
    assert len(told) == 2
    assert any("'007' among the scans, '7' in the clinical table" in what for what in told)
    assert not {"7", "p-8"} & set(found.scans.index)


def test_decomposed_letters_are_the_same_name(tmp_path, tables):
    import unicodedata

    clinical, path = tables
    volumes = pd.read_csv(path)
    names = {scan: f"홍길동{n}" for n, scan in enumerate(clinical["scan"].unique())}
    whole = len(build(tmp_path, clinical, path).scans)
    volumes["subject"] = volumes["subject"].map(lambda s: unicodedata.normalize("NFD", names.get(s, s)))
    clinical["scan"] = clinical["scan"].map(names)
    volumes.to_csv(tmp_path / "v.csv", index=False)
    assert len(build(tmp_path, clinical, tmp_path / "v.csv").scans) == whole


def test_a_rule_about_a_structure_that_the_table_does_not_list_is_not_applied(tmp_path, tables):
    clinical, path = tables
    volumes = pd.read_csv(path)
    few = volumes[volumes["structure"].isin(["gluteus_maximus", "sartorius"])]
    few.to_csv(tmp_path / "v.csv", index=False)
    found = build(tmp_path, clinical, tmp_path / "v.csv")
    assert len(found.people) > 50
    assert any("cover" in name.casefold() or "scan" in name.casefold() for name in found.not_applied), found.not_applied
