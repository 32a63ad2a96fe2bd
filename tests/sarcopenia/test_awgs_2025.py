"""AWGS 2025 at each of its cut-offs: the value on the cut-off is not low, the next one below is."""

from __future__ import annotations

import pytest

from vastus.sarcopenia import ClinicalFacts, Domain, DomainResult, MassMethod, Sex, Stage, diagnose, load_criteria

AWGS = load_criteria("awgs_2025")
M, F = Sex.MAN, Sex.WOMAN
DXA, BIA = MassMethod.DXA, MassMethod.BIA
YOUNGER, OLDER = (50.0, 64.9), (65.0, 99.0)

GRIP_KG = {(M, YOUNGER): 34, (F, YOUNGER): 20, (M, OLDER): 28, (F, OLDER): 18}
PER_HEIGHT2 = {
    (M, YOUNGER, DXA): 7.2,
    (F, YOUNGER, DXA): 5.5,
    (M, OLDER, DXA): 7.0,
    (F, OLDER, DXA): 5.4,
    (M, YOUNGER, BIA): 7.6,
    (F, YOUNGER, BIA): 5.7,
    (M, OLDER, BIA): 7.0,
    (F, OLDER, BIA): 5.7,
}
PER_BMI = {
    (M, YOUNGER, DXA): 0.80,
    (F, YOUNGER, DXA): 0.55,
    (M, OLDER, DXA): 0.73,
    (F, OLDER, DXA): 0.52,
    (M, YOUNGER, BIA): 0.90,
    (F, YOUNGER, BIA): 0.63,
    (M, OLDER, BIA): 0.83,
    (F, OLDER, BIA): 0.57,
}


def finding(domain: Domain, **values: object) -> DomainResult:
    return diagnose(ClinicalFacts(**values), AWGS).domains[domain]  # type: ignore[arg-type]


@pytest.mark.parametrize(("of", "cutoff"), GRIP_KG.items())
def test_grip(of: tuple[Sex, tuple[float, float]], cutoff: float) -> None:
    sex, ages = of
    for age in ages:
        assert finding(Domain.STRENGTH, sex=sex, age_years=age, grip_kg=cutoff) is DomainResult.NORMAL
        assert finding(Domain.STRENGTH, sex=sex, age_years=age, grip_kg=cutoff - 0.1) is DomainResult.LOW


@pytest.mark.parametrize(("of", "cutoff"), PER_HEIGHT2.items())
def test_mass_per_height_squared(of: tuple[Sex, tuple[float, float], MassMethod], cutoff: float) -> None:
    sex, ages, method = of
    for age in ages:
        known = {"sex": sex, "age_years": age, "mass_method": method}
        assert finding(Domain.MASS, **known, smi_kg_m2=cutoff) is DomainResult.NORMAL
        assert finding(Domain.MASS, **known, smi_kg_m2=cutoff - 0.01) is DomainResult.LOW


@pytest.mark.parametrize(("of", "cutoff"), PER_BMI.items())
def test_mass_per_bmi(of: tuple[Sex, tuple[float, float], MassMethod], cutoff: float) -> None:
    """At 100 cm and 32 kg the BMI is exactly 32 kg/m2, and the mass per height squared is far from low."""
    sex, ages, method = of
    for age in ages:
        known = {"sex": sex, "age_years": age, "mass_method": method, "height_cm": 100.0, "weight_kg": 32.0}
        assert finding(Domain.MASS, **known, asm_kg=32 * cutoff) is DomainResult.NORMAL
        assert finding(Domain.MASS, **known, asm_kg=32 * cutoff - 0.1) is DomainResult.LOW


def test_the_file_holds_these_numbers_and_no_others() -> None:
    held = {
        (sex, cutoff.age_years, cutoff.method, cutoff.measure.value): cutoff.threshold(sex)
        for cutoff in AWGS.cutoffs
        for sex in Sex
    }
    bands = {YOUNGER: (50.0, 65.0), OLDER: (65.0, 200.0)}
    expected = {(sex, bands[ages], None, "grip_kg"): value for (sex, ages), value in GRIP_KG.items()}
    for measure, table in (("asm_height2_kg_m2", PER_HEIGHT2), ("asm_bmi_m2", PER_BMI)):
        expected |= {(sex, bands[ages], method, measure): value for (sex, ages, method), value in table.items()}
    assert held == expected
    assert len(AWGS.cutoffs) == 10


def test_both_low_is_sarcopenia_and_there_is_no_other_stage() -> None:
    low = {"sex": F, "age_years": 70, "smi_kg_m2": 5.0, "mass_method": DXA, "grip_kg": 15}
    assert [rule.stage for rule in AWGS.rules] == [Stage.SARCOPENIA]
    # Slow gait and slow rising make nothing worse: they are outcomes, no criteria.
    worst = diagnose(ClinicalFacts(**low, gait_m_s=0.3, chair_stand_s=40, sppb=2), AWGS)  # type: ignore[arg-type]
    assert (worst.stage, worst.at_most) == (Stage.SARCOPENIA, Stage.SARCOPENIA)
    for change in ({"smi_kg_m2": 6.0}, {"grip_kg": 25}):
        assert diagnose(ClinicalFacts(**{**low, **change}), AWGS).stage is Stage.NONE  # type: ignore[arg-type]


def test_one_of_the_two_masses_is_enough() -> None:
    heavy = ClinicalFacts(sex=M, age_years=70, height_cm=165, weight_kg=90, asm_kg=20, mass_method=DXA, grip_kg=20)
    result = diagnose(heavy, AWGS)  # 7.35 kg/m2 is not low, 20 / 33.1 = 0.605 is
    assert result.stage is Stage.SARCOPENIA
    assert "asm_height2_kg_m2 7.346 not < 7" in result.reason and "asm_bmi_m2 0.605 < 0.73" in result.reason
    light = ClinicalFacts(sex=M, age_years=70, height_cm=180, weight_kg=55, asm_kg=21, mass_method=DXA, grip_kg=20)
    assert diagnose(light, AWGS).stage is Stage.SARCOPENIA  # 6.48 kg/m2 is low, 21 / 17.0 = 1.24 is not
    assert diagnose(heavy, load_criteria("awgs_2019")).stage is Stage.POSSIBLE


def test_under_50_years_nothing_is_judged() -> None:
    young = ClinicalFacts(sex=M, age_years=49.9, smi_kg_m2=5.0, mass_method=DXA, grip_kg=15)
    result = diagnose(young, AWGS)
    assert result.stage is Stage.UNDETERMINED
    assert "no cut-off for this method or age" in result.reason


def test_where_the_age_bands_disagree_the_age_is_asked_for() -> None:
    between = {"sex": M, "smi_kg_m2": 6.0, "mass_method": DXA}
    open_ = diagnose(ClinicalFacts(**between, grip_kg=30), AWGS)  # type: ignore[arg-type]
    assert open_.stage is Stage.UNDETERMINED and "grip_kg 30: age not known" in open_.reason
    assert diagnose(ClinicalFacts(**between, grip_kg=27.9), AWGS).stage is Stage.SARCOPENIA  # type: ignore[arg-type]
