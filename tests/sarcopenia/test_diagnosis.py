from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vastus.sarcopenia import (
    ClinicalFacts,
    Domain,
    DomainResult,
    MassMethod,
    Measure,
    Sex,
    Stage,
    diagnose,
    load_criteria,
    parse_criteria,
)

AWGS, EWGSOP2, FNIH = (load_criteria(name) for name in ("awgs_2019", "ewgsop2", "fnih"))

# low, normal and unknown values of each domain for a man under all three criteria (height 1.70 m, BMI 24.2)
GRIP = {"low": 20.0, "normal": 40.0, "unknown": None}
GAIT = {"low": 0.5, "normal": 1.2, "unknown": None}
SMI = {"low": 5.5, "normal": 8.0, "unknown": None}
N, P, S, V, U = Stage.NONE, Stage.POSSIBLE, Stage.SARCOPENIA, Stage.SEVERE, Stage.UNDETERMINED

# (strength, mass, performance) -> (stage, at most): the published rules, written out by hand
AWGS_TABLE = {
    "nnn": (N, N),
    "nnl": (P, P),
    "nnu": (U, P),
    "nln": (N, N),
    "nll": (S, S),
    "nlu": (U, S),
    "nun": (N, N),
    "nul": (P, S),
    "nuu": (U, S),
    "lnn": (P, P),
    "lnl": (P, P),
    "lnu": (P, P),
    "lln": (S, S),
    "lll": (V, V),
    "llu": (S, V),
    "lun": (P, S),
    "lul": (P, V),
    "luu": (P, V),
    "unn": (U, P),
    "unl": (P, P),
    "unu": (U, P),
    "uln": (U, S),
    "ull": (S, V),
    "ulu": (U, V),
    "uun": (U, S),
    "uul": (P, V),
    "uuu": (U, V),
}
EWGSOP2_TABLE = {
    "nnn": (N, N),
    "nnl": (N, N),
    "nnu": (N, N),
    "nln": (N, N),
    "nll": (N, N),
    "nlu": (N, N),
    "nun": (N, N),
    "nul": (N, N),
    "nuu": (N, N),
    "lnn": (P, P),
    "lnl": (P, P),
    "lnu": (P, P),
    "lln": (S, S),
    "lll": (V, V),
    "llu": (S, V),
    "lun": (P, S),
    "lul": (P, V),
    "luu": (P, V),
    "unn": (U, P),
    "unl": (U, P),
    "unu": (U, P),
    "uln": (U, S),
    "ull": (U, V),
    "ulu": (U, V),
    "uun": (U, S),
    "uul": (U, V),
    "uuu": (U, V),
}
FNIH_TABLE = {key: tuple(N if stage is P else stage for stage in row) for key, row in EWGSOP2_TABLE.items()}
FNIH_TABLE |= {"unn": (N, N), "unl": (N, N), "unu": (N, N), "lun": (U, S), "lul": (U, V), "luu": (U, V)}
WORD = {"l": "low", "n": "normal", "u": "unknown"}


def man(strength: str = "u", mass: str = "u", performance: str = "u") -> ClinicalFacts:
    return ClinicalFacts(
        sex=Sex.MAN,
        age_years=77,
        height_cm=170,
        weight_kg=70,
        grip_kg=GRIP[WORD[strength]],
        smi_kg_m2=SMI[WORD[mass]],
        gait_m_s=GAIT[WORD[performance]],
    )


@pytest.mark.parametrize(
    ("criteria", "table"),
    [(AWGS, AWGS_TABLE), (EWGSOP2, EWGSOP2_TABLE), (FNIH, FNIH_TABLE)],
    ids=lambda v: getattr(v, "key", ""),
)
def test_every_combination_of_the_three_domains(criteria: Any, table: dict[str, tuple[Stage, Stage]]) -> None:
    assert len(table) == 27
    for key, expected in table.items():
        result = diagnose(man(*key), criteria)
        assert (result.stage, result.at_most) == expected, key


def test_labels_are_the_criterias_own_words() -> None:
    assert diagnose(man("l", "u", "u"), AWGS).label == "possible sarcopenia"
    assert diagnose(man("l", "u", "u"), EWGSOP2).label == "probable sarcopenia"
    assert diagnose(man("l", "l", "n"), EWGSOP2).label == "confirmed sarcopenia"
    assert diagnose(man("n", "n", "n"), EWGSOP2).label == "no sarcopenia"


@pytest.mark.parametrize(
    ("criteria", "field", "sex", "at", "low_at", "low_side"),
    [
        (AWGS, "grip_kg", Sex.MAN, 28, False, -1),
        (AWGS, "grip_kg", Sex.WOMAN, 18, False, -1),
        (AWGS, "gait_m_s", Sex.MAN, 1.0, False, -1),
        (AWGS, "chair_stand_s", Sex.WOMAN, 12, True, 1),
        (AWGS, "sppb", Sex.MAN, 9, True, -1),
        (AWGS, "smi_kg_m2", Sex.MAN, 7.0, False, -1),
        (AWGS, "smi_kg_m2", Sex.WOMAN, 5.4, False, -1),
        (EWGSOP2, "grip_kg", Sex.MAN, 27, False, -1),
        (EWGSOP2, "grip_kg", Sex.WOMAN, 16, False, -1),
        (EWGSOP2, "chair_stand_s", Sex.MAN, 15, False, 1),
        (EWGSOP2, "smi_kg_m2", Sex.WOMAN, 5.5, False, -1),
        (EWGSOP2, "asm_kg", Sex.MAN, 20, False, -1),
        (EWGSOP2, "asm_kg", Sex.WOMAN, 15, False, -1),
        (EWGSOP2, "gait_m_s", Sex.WOMAN, 0.8, True, -1),
        (EWGSOP2, "sppb", Sex.WOMAN, 8, True, -1),
        (EWGSOP2, "tug_s", Sex.MAN, 20, True, 1),
        (FNIH, "grip_kg", Sex.MAN, 26, False, -1),
        (FNIH, "grip_kg", Sex.WOMAN, 16, False, -1),
        (FNIH, "gait_m_s", Sex.MAN, 0.8, True, -1),
    ],
)
def test_each_published_cutoff_at_and_beside_its_edge(
    criteria: Any, field: str, sex: Sex, at: float, low_at: bool, low_side: int
) -> None:
    def finding(value: float) -> DomainResult:
        method = MassMethod.DXA if field in ("smi_kg_m2", "asm_kg") else None
        result = diagnose(ClinicalFacts(sex=sex, mass_method=method, **{field: value}), criteria)
        return next(t.finding for t in result.tests if t.finding is not DomainResult.UNKNOWN)

    step = 0.01
    assert finding(at) is (DomainResult.LOW if low_at else DomainResult.NORMAL)
    assert finding(at + low_side * step) is DomainResult.LOW
    assert finding(at - low_side * step) is DomainResult.NORMAL


def test_fnih_mass_is_asm_over_bmi() -> None:
    # height 1.60 m, 64 kg: BMI 25; the woman's cut-off 0.512 is 12.8 kg
    facts = ClinicalFacts(sex=Sex.WOMAN, height_cm=160, weight_kg=64, asm_kg=12.79)
    assert diagnose(facts, FNIH).domains[Domain.MASS] is DomainResult.LOW
    assert diagnose(dataclasses.replace(facts, asm_kg=12.81), FNIH).domains[Domain.MASS] is DomainResult.NORMAL
    assert diagnose(dataclasses.replace(facts, weight_kg=None), FNIH).domains[Domain.MASS] is DomainResult.UNKNOWN


def test_method_matters_only_between_the_cutoffs() -> None:
    def mass(smi: float, method: MassMethod | None) -> DomainResult:
        return diagnose(ClinicalFacts(sex=Sex.WOMAN, smi_kg_m2=smi, mass_method=method), AWGS).domains[Domain.MASS]

    assert [mass(5.5, m) for m in (MassMethod.DXA, MassMethod.BIA, None)] == [
        DomainResult.NORMAL,
        DomainResult.LOW,
        DomainResult.UNKNOWN,
    ]
    assert mass(5.3, None) is DomainResult.LOW
    assert mass(5.8, None) is DomainResult.NORMAL


def test_bia_mass_is_not_judged_by_criteria_without_a_bia_cutoff() -> None:
    facts = ClinicalFacts(sex=Sex.MAN, smi_kg_m2=5.0, grip_kg=20, mass_method=MassMethod.BIA)
    result = diagnose(facts, EWGSOP2)
    assert (result.stage, result.has_sarcopenia) == (Stage.POSSIBLE, None)


def test_absolute_mass_decides_only_without_height() -> None:
    short = ClinicalFacts(sex=Sex.MAN, height_cm=155, asm_kg=18, grip_kg=20)  # 7.49 kg/m2
    assert diagnose(short, EWGSOP2).stage is Stage.POSSIBLE
    assert diagnose(dataclasses.replace(short, height_cm=None), EWGSOP2).stage is Stage.SARCOPENIA


def test_unknown_sex_is_settled_where_both_cutoffs_agree() -> None:
    assert diagnose(ClinicalFacts(grip_kg=10), AWGS).stage is Stage.POSSIBLE
    undecided = diagnose(ClinicalFacts(grip_kg=20), AWGS)
    assert undecided.domains[Domain.STRENGTH] is DomainResult.UNKNOWN
    assert "sex not known" in undecided.reason


def test_one_low_test_makes_its_domain_low_whatever_the_others_say() -> None:
    facts = ClinicalFacts(sex=Sex.MAN, gait_m_s=1.3, sppb=12, chair_stand_s=14)
    assert diagnose(facts, AWGS).stage is Stage.POSSIBLE
    assert (
        diagnose(dataclasses.replace(facts, chair_stand_s=11), AWGS).domains[Domain.PERFORMANCE] is DomainResult.NORMAL
    )


def test_screening_never_makes_a_stage() -> None:
    facts = ClinicalFacts(sex=Sex.WOMAN, calf_cm=30, grip_kg=25, gait_m_s=1.2, smi_kg_m2=6)
    result = diagnose(facts, AWGS)
    assert result.domains[Domain.SCREENING] is DomainResult.LOW
    assert (result.stage, result.has_sarcopenia) == (Stage.NONE, False)


def test_reason_names_values_cutoffs_and_what_is_missing() -> None:
    result = diagnose(ClinicalFacts(sex=Sex.MAN, grip_kg=25), AWGS)
    assert "grip_kg 25 < 28" in result.reason
    assert "asm_height2_kg_m2 not known" in result.reason
    assert Measure.ASM_HEIGHT2 in result.missing and Measure.GRIP not in result.missing
    settled = diagnose(man("l", "l", "l"), AWGS)
    assert settled.missing == () and "Open" not in settled.reason


def test_the_papers_own_definition_is_mass_alone() -> None:
    kim = load_criteria("kim_2024")
    assert diagnose(ClinicalFacts(sex=Sex.WOMAN, smi_kg_m2=5.39, grip_kg=40), kim).has_sarcopenia is True
    assert diagnose(ClinicalFacts(sex=Sex.WOMAN, smi_kg_m2=5.4, grip_kg=5), kim).has_sarcopenia is False


def test_age_bands_of_a_users_file() -> None:
    criteria = parse_criteria(
        """
        key = "own"
        name = "Own"
        source = "none"
        cutoffs = [
            {domain = "strength", measure = "grip_kg", low_if = "<", men = 34, women = 20, age_years = [50, 65]},
            {domain = "strength", measure = "grip_kg", low_if = "<", men = 28, women = 18, age_years = [65, 200]},
        ]
        stages = [{stage = "possible", label = "weak", all_of = ["strength"]}]
        """,
        origin="own.toml",
    )

    def stage(age: float | None, grip: float = 30) -> Stage:
        return diagnose(ClinicalFacts(sex=Sex.MAN, age_years=age, grip_kg=grip), criteria).stage

    assert [stage(a) for a in (64.9, 65, 40, None)] == [
        Stage.POSSIBLE,
        Stage.NONE,
        Stage.UNDETERMINED,
        Stage.UNDETERMINED,
    ]
    assert stage(None, 25) is Stage.POSSIBLE


_VALUES: dict[str, Any] = {
    "sex": st.sampled_from(Sex),
    "mass_method": st.sampled_from(MassMethod),
    "smi_kg_m2": st.floats(3, 10),
    "grip_kg": st.floats(5, 60),
    "gait_m_s": st.floats(0.2, 2),
    "chair_stand_s": st.floats(5, 40),
    "sppb": st.integers(0, 12),
    "tug_s": st.floats(5, 40),
    "height_cm": st.floats(140, 200),
    "weight_kg": st.floats(40, 120),
    "age_years": st.floats(50, 95),
}


def test_a_value_that_waits_for_the_sex_is_not_outvoted_by_a_normal_one() -> None:
    # 16 kg are weak for a man and not for a woman; the chair stand is normal for both.
    facts = ClinicalFacts(grip_kg=16.0, chair_stand_s=10.0, smi_kg_m2=3.0, mass_method=MassMethod.DXA, gait_m_s=0.5)
    open_yet = diagnose(facts, EWGSOP2)
    assert open_yet.domains[Domain.STRENGTH] is DomainResult.UNKNOWN
    assert (open_yet.stage, open_yet.at_most) == (Stage.UNDETERMINED, Stage.SEVERE)
    assert open_yet.missing == (Measure.GRIP,)
    assert "grip_kg 16: sex not known" in open_yet.reason
    assert diagnose(dataclasses.replace(facts, sex=Sex.MAN), EWGSOP2).stage is Stage.SEVERE
    assert diagnose(dataclasses.replace(facts, sex=Sex.WOMAN), EWGSOP2).stage is Stage.NONE
    # 6.5 kg/m2 are low for a man, not for a woman. 14.6 kg are low for both, but count only where height is unknown.
    thin = ClinicalFacts(smi_kg_m2=6.5, height_cm=150.0, mass_method=MassMethod.DXA)
    assert diagnose(thin, EWGSOP2).domains[Domain.MASS] is DomainResult.UNKNOWN
    assert diagnose(dataclasses.replace(thin, sex=Sex.WOMAN), EWGSOP2).domains[Domain.MASS] is DomainResult.NORMAL
    # A low test decides whatever the open one says.
    assert (
        diagnose(dataclasses.replace(facts, chair_stand_s=20.0), EWGSOP2).domains[Domain.STRENGTH] is DomainResult.LOW
    )


@given(
    full=st.fixed_dictionaries(_VALUES),
    hidden=st.sets(st.sampled_from(sorted(_VALUES))),
    key=st.sampled_from(["awgs_2019", "ewgsop2", "fnih", "kim_2024"]),
)
@example(
    full={
        "sex": Sex.MAN,
        "mass_method": MassMethod.DXA,
        "smi_kg_m2": 3.0,
        "grip_kg": 16.0,
        "gait_m_s": 0.5,
        "chair_stand_s": 5.0,
        "sppb": 12,
        "tug_s": 5.0,
        "height_cm": 170.0,
        "weight_kg": 70.0,
        "age_years": 70.0,
    },
    hidden={"age_years", "sex"},
    key="ewgsop2",
)
@settings(deadline=None)
def test_what_is_certain_without_some_values_stays_true_with_them(
    full: dict[str, Any], hidden: set[str], key: str
) -> None:
    # One test of a domain alone may be normal and a further one low, so whole domains are hidden, not single tests.
    if "gait_m_s" in hidden:
        hidden = hidden | {"chair_stand_s", "sppb", "tug_s", "grip_kg"}
    else:
        hidden = hidden - {"chair_stand_s", "sppb", "tug_s", "grip_kg"}
    criteria = load_criteria(key)
    # A method that is not stated is taken as one that the criteria know.
    if key != "awgs_2019":
        full = full | {"mass_method": MassMethod.DXA}
    complete = diagnose(ClinicalFacts(**full), criteria)
    partial = diagnose(ClinicalFacts(**{k: v for k, v in full.items() if k not in hidden}), criteria)
    order = [Stage.NONE, Stage.POSSIBLE, Stage.SARCOPENIA, Stage.SEVERE]
    lowest = Stage.NONE if partial.stage is Stage.UNDETERMINED else partial.stage
    reached = Stage.NONE if complete.stage is Stage.UNDETERMINED else complete.stage
    assert order.index(lowest) <= order.index(reached) <= order.index(partial.at_most)
    if partial.has_sarcopenia is not None:
        assert complete.has_sarcopenia is partial.has_sarcopenia


def test_the_hand_written_tables_follow_the_rules_word_for_word() -> None:
    # AWGS 2019 in plain booleans over every completion of the unknowns, against the table above.
    for key, expected in AWGS_TABLE.items():
        outcomes = set()
        for strength, mass, performance in itertools.product(*("ln" if c == "u" else c for c in key)):
            weak, thin, slow = (c == "l" for c in (strength, mass, performance))
            outcomes.add(V if weak and thin and slow else S if thin and (weak or slow) else P if weak or slow else N)
        order = [N, P, S, V]
        ranks = [order.index(o) for o in outcomes]
        low, high = order[min(ranks)], order[max(ranks)]
        assert expected == (U if low is N and high is not N else low, high), key
