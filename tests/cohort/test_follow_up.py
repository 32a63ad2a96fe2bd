import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vastus.cohort.example import _LOSS_CM3
from vastus.cohort.follow_up import compare_pairs
from vastus.sex import Sex


@pytest.fixture(scope="module")
def tables(example):
    volumes = pd.read_csv(example[0])
    volumes = volumes[~volumes["truncated"] & volumes["structure"].ne("femur") & volumes["structure"].ne("hip_bone")]
    return volumes, pd.read_csv(example[1])


def test_total_change_of_one_person_by_hand(results, tables):
    volumes, _ = tables
    row = results.changes.query("feature == 'total' and side == 'both'").iloc[3]
    first, last = (
        volumes.loc[volumes["subject"] == f"{row['subject']}_{n}", "volume_mm3"].sum() / 1000 for n in (1, 2)
    )
    assert row["first_cm3"] == pytest.approx(first)
    assert row["change_cm3"] == pytest.approx(last - first)
    assert row["change_percent"] == pytest.approx(100 * (last - first) / first)
    assert 120 <= row["days"] < 240


def test_sides_follow_the_fracture(results, tables):
    volumes, clinical = tables
    row = results.changes.query("feature == 'vastus_lateralis' and side == 'fractured'").iloc[0]
    side = clinical.loc[clinical["subject"] == row["subject"], "fracture_side"].iloc[0]
    own = volumes[(volumes["structure"] == "vastus_lateralis") & (volumes["side"] == side)]
    own = own.set_index("subject")["volume_mm3"]
    assert row["first_cm3"] == pytest.approx(own[f"{row['subject']}_1"] / 1000)
    assert row["last_cm3"] == pytest.approx(own[f"{row['subject']}_2"] / 1000)


def test_fractured_and_other_add_up_to_both(results):
    wide = results.changes.query("feature == 'total'").pivot(index="subject", columns="side", values="change_cm3")
    np.testing.assert_allclose(wide["fractured"] + wide["other"], wide["both"])


def test_summary_by_hand(results):
    own = results.changes.query("feature == 'group:gluteal' and side == 'fractured' and sex == 'F'")
    found = results.change_summary.query(
        "feature == 'group:gluteal' and side == 'fractured' and stratum == 'Women'"
    ).iloc[0]
    assert found["n"] == len(own)
    assert found["change_cm3"] == pytest.approx(own["change_cm3"].mean())
    assert found["sd_percent"] == pytest.approx(own["change_percent"].std())
    difference = own["change_cm3"].to_numpy()
    t = difference.mean() / (difference.std(ddof=1) / np.sqrt(len(difference)))
    expected = 2 * stats.t.sf(abs(t), len(difference) - 1)
    if found["test"] == "paired t":
        assert found["p"] == pytest.approx(expected, rel=1e-6)
    else:
        assert found["p"] == pytest.approx(stats.wilcoxon(difference).pvalue)


def test_planted_losses_are_found(results):
    table = results.change_by_fracture_type
    for name, sex in (("Women", Sex.WOMAN), ("Men", Sex.MAN)):
        for row in table[table["stratum"] == name].itertuples():
            planted = _LOSS_CM3[sex, row.fracture_type]
            assert row.change_cm3 == pytest.approx(-planted, abs=4 * 0.3 * planted / np.sqrt(row.n))
    total = results.change_summary.query("feature == 'total' and stratum == 'All'").set_index("side")
    assert total.loc["fractured", "change_cm3"] < total.loc["other", "change_cm3"] < 0
    assert total.loc["both", "p"] < 1e-6


def test_side_differences_by_hand(results, tables):
    volumes, clinical = tables
    side = clinical.drop_duplicates("subject").set_index("subject")["fracture_side"]
    first = volumes[volumes["subject"].str.endswith("_1") & (volumes["structure"] == "gracilis")]
    wide = (
        first.assign(person=first["subject"].str[:-2]).pivot(index="person", columns="side", values="volume_mm3") / 1000
    )
    hurt = np.where(side[wide.index] == "right", wide["right"], wide["left"])
    other = np.where(side[wide.index] == "right", wide["left"], wide["right"])
    found = results.sides.query("feature == 'gracilis' and stratum == 'All'").iloc[0]
    assert found["difference_cm3"] == pytest.approx((hurt - other).mean())
    assert found["difference_percent"] == pytest.approx((100 * (hurt - other) / other).mean())
    assert found["n"] == 69


def test_pairs_that_do_not_change():
    assert compare_pairs(np.ones(5), np.ones(5))["test"] == "no change"
