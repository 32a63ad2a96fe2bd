import pandas as pd
import pytest

from vastus.cohort.example import is_example, simulate_cohort
from vastus.io.tables import VOLUME_COLUMNS
from vastus.sarcopenia import load_criteria
from vastus.sarcopenia.clinical import MassMethod
from vastus.sarcopenia.criteria import Domain
from vastus.sex import Sex
from vastus.synthesis.clinical import GRIP_CUTOFF_KG, SMI_CUTOFF_KG_M2


def test_shape_of_the_paper(results):
    counts = results.counts.set_index(["sex", "sarcopenia"])["n"].to_dict()
    assert counts == {("F", 0): 23, ("F", 1): 20, ("M", 0): 5, ("M", 1): 21}
    assert results.dataset.problems == ()


@pytest.mark.parametrize("criteria", ["awgs_2019", "kim_2024"])
def test_both_criteria_give_the_planned_groups(example, criteria):
    from vastus.cohort.clinical_table import read_clinical_table
    from vastus.cohort.dataset import build_dataset
    from vastus.cohort.selection import load_rules
    from vastus.cohort.volumes_table import read_volumes

    found = build_dataset(
        read_volumes(example[0]), read_clinical_table(example[1]), load_criteria(criteria), load_rules()
    )
    assert found.people["sarcopenia"].sum() == 41


def test_table_has_the_columns_of_volumes_csv():
    cohort = simulate_cohort(1)
    assert tuple(cohort.volumes.columns) == VOLUME_COLUMNS
    assert (cohort.volumes.groupby("subject").size() == 58).all()
    assert set(cohort.clinical["scan"]) == set(cohort.volumes["subject"])


def test_same_seed_same_cohort():
    first, second, third = simulate_cohort(2), simulate_cohort(2), simulate_cohort(3)
    pd.testing.assert_frame_equal(first.volumes, second.volumes)
    assert not first.volumes.equals(third.volumes)


def test_restated_cut_offs_are_those_of_the_criteria():
    for cutoff in load_criteria("awgs_2019").cutoffs:
        for sex in Sex:
            if cutoff.domain is Domain.MASS and cutoff.method is MassMethod.DXA:
                assert SMI_CUTOFF_KG_M2[sex] == cutoff.threshold(sex)
            if cutoff.domain is Domain.STRENGTH:
                assert GRIP_CUTOFF_KG[sex] == cutoff.threshold(sex)


def test_only_simulated_ids_count_as_simulated():
    assert is_example(["SIM001", "SIM1234"])
    assert not is_example(["SIM001", "P2"])
