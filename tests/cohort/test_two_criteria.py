import math

import pandas as pd
import pytest

from vastus.cohort.clinical_table import read_clinical_table
from vastus.cohort.narrative import methods, two_criteria_sentences
from vastus.cohort.page import render_page
from vastus.cohort.results import analyse
from vastus.cohort.selection import load_rules
from vastus.cohort.two_criteria import OPEN, STATES, WITH, WITHOUT
from vastus.cohort.volumes_table import read_volumes
from vastus.sarcopenia import load_criteria

# (age, SMI by DXA, grip, gait) of women -> by AWGS 2019, by AWGS 2025; height and weight make ASM / BMI normal.
PEOPLE = [
    ((70, 5.0, 15, 1.2), WITH, WITH),
    ((70, 5.0, 25, 0.8), WITH, WITHOUT),  # slow, not weak: gait is no criterion any more
    ((60, 5.45, 25, 1.2), WITHOUT, WITHOUT),
    ((60, 5.45, 19, 1.2), WITHOUT, WITH),  # low only by the cut-offs for 50 to 64
    ((70, 6.5, 15, 0.8), WITHOUT, WITHOUT),
    ((70, 5.0, None, 0.8), WITH, OPEN),
    ((70, 5.0, 25, None), OPEN, WITHOUT),
]


@pytest.fixture(scope="module")
def two(example, tmp_path_factory):
    clinical = pd.read_csv(example[1], dtype={"subject": str, "scan": str})
    clinical = clinical[clinical["sex"] == "F"].drop_duplicates("subject").head(len(PEOPLE))
    for name, values in zip(
        ("age_years", "smi_kg_m2", "grip_kg", "gait_m_s"), zip(*(p[0] for p in PEOPLE), strict=True), strict=True
    ):
        clinical[name] = values
    clinical = clinical.assign(mass_method="dxa", height_cm=160, weight_kg=50, chair_stand_s=None)
    path = tmp_path_factory.mktemp("two") / "c.csv"
    clinical.to_csv(path, index=False)
    first, second = load_criteria("awgs_2019"), load_criteria("awgs_2025")
    volumes = read_volumes(example[0])
    return analyse(volumes, read_clinical_table(path), first, load_rules(), compare=second)


def test_who_changes_group(two):
    people = two.two_criteria.people
    assert list(zip(people["first"], people["second"], strict=True)) == [p[1:] for p in PEOPLE]
    assert list(people["changed"]) == [0, 1, 0, 1, 0, 1, 1]
    assert people["second_reason"].str.startswith("AWGS 2025: ").all()
    assert people["first_reason"].str.startswith("AWGS 2019: ").all()


def test_the_counts_are_those_of_the_people_and_name_the_empty_pairs(two):
    found = two.two_criteria
    assert len(found.counts) == 2 * len(STATES) ** 2
    assert found.counts["n"].sum() == len(PEOPLE)
    assert found.number(WITH, WITH) == found.number(WITHOUT, WITH) == found.number(WITH, WITHOUT) == 1
    assert found.number(WITHOUT, WITHOUT) == 2
    assert found.number(WITHOUT, WITHOUT, "M") == 0
    # Of five settled by both three agree: (3/5 - (2/5 * 2/5 + 3/5 * 3/5)) / (1 - 13/25) = 1/6
    assert found.kappa == pytest.approx(1 / 6)


def test_the_page_says_it(two):
    text = " ".join(two_criteria_sentences(two.two_criteria))
    assert "both settle the status of 5 of 7 people. 1 of them have sarcopenia only by AWGS 2025, 1 only by" in text
    assert "1 are settled by AWGS 2019 and not by AWGS 2025, 1 the other way round" in text
    assert "Cohen's kappa is 0.17." in text and "compare them with the original" in text
    page = render_page(two, {}, {"vastus": "0"})
    assert "<h2>Two criteria</h2>" in page and "4 change group" in page
    assert page.count("10.1038/s43587-025-01004-y") == 1
    assert "asm_height2_kg_m2 5.45 &lt; 5.5" in page


def test_without_a_second_criteria_nothing_is_said(results):
    assert two_criteria_sentences(results.two_criteria) == []
    assert "Two criteria" not in render_page(results, {}, {"vastus": "0"})
    assert "not from the paper itself" not in " ".join(methods(results))


def test_no_kappa_where_all_are_in_one_group(two):
    from vastus.cohort.two_criteria import compare_criteria

    alone = two.dataset.people.head(1)
    assert math.isnan(compare_criteria(alone, two.criteria, load_criteria("awgs_2025")).kappa)
