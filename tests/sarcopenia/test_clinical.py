from __future__ import annotations

import math

import pytest

from vastus.errors import ImplausibleValueError
from vastus.sarcopenia import HUMAN_RANGES, ClinicalFacts


@pytest.mark.parametrize("field", sorted(HUMAN_RANGES))
def test_values_outside_the_human_range_are_refused_by_name(field: str) -> None:
    low, high, hint = HUMAN_RANGES[field]
    ClinicalFacts(**{field: low})
    ClinicalFacts(**{field: high})
    for value in (low - 0.5, high + 0.5, math.nan, math.inf, True):
        with pytest.raises(ImplausibleValueError, match=field) as caught:
            ClinicalFacts(**{field: value})
        assert hint in str(caught.value)


def test_height_in_metres_is_recognised_and_not_repeated() -> None:
    with pytest.raises(ImplausibleValueError, match="looks like metres") as caught:
        ClinicalFacts(height_cm=1.73)
    assert "1.73" not in str(caught.value)


def test_derived_values() -> None:
    facts = ClinicalFacts(height_cm=160, weight_kg=64, asm_kg=12.8)
    assert facts.bmi_kg_m2 == pytest.approx(25)
    assert facts.asm_height2_kg_m2 == pytest.approx(5.0)
    assert facts.asm_bmi_m2 == pytest.approx(0.512)
    assert ClinicalFacts(height_cm=160, smi_kg_m2=5).asm_total_kg == pytest.approx(12.8)
    empty = ClinicalFacts()
    assert (empty.bmi_kg_m2, empty.asm_height2_kg_m2, empty.asm_total_kg, empty.asm_bmi_m2) == (None,) * 4


def test_contradicting_mass_values() -> None:
    ClinicalFacts(height_cm=160, asm_kg=12.8, smi_kg_m2=5.2)
    with pytest.raises(ImplausibleValueError, match="smi_kg_m2"):
        ClinicalFacts(height_cm=160, asm_kg=12.8, smi_kg_m2=6.0)
