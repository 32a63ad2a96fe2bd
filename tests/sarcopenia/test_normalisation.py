from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.errors import ImplausibleValueError
from vastus.sarcopenia import ClinicalFacts, check_volume_unit, normalise

# cm3, the order of size of an old person's muscles
TYPICAL_CM3 = {
    "gluteus_maximus": 550.0,
    "vastus_lateralis": 400.0,
    "sartorius": 90.0,
    "piriformis": 20.0,
    "femur": 420.0,
}


def test_closed_values() -> None:
    facts = ClinicalFacts(height_cm=160, weight_kg=64)
    indices = normalise(512_000, facts, femur_length_mm=400)
    assert indices.per_height2_cm3_m2 == pytest.approx(200)
    assert indices.per_mass_cm3_kg == pytest.approx(8)
    assert indices.per_bmi_cm3_m2_kg == pytest.approx(20.48)
    assert indices.per_femur_length_cm2 == pytest.approx(12.8)


def test_unknown_divisors_leave_none() -> None:
    indices = normalise(1e5, ClinicalFacts(height_cm=170))
    assert indices.per_height2_cm3_m2 is not None
    assert (indices.per_mass_cm3_kg, indices.per_bmi_cm3_m2_kg, indices.per_femur_length_cm2) == (None, None, None)


@given(volume=st.floats(0, 5e6), height=st.floats(100, 230))
@settings(deadline=None)
def test_height_index_inverts(volume: float, height: float) -> None:
    index = normalise(volume, ClinicalFacts(height_cm=height)).per_height2_cm3_m2
    assert index is not None
    assert index * (height / 100) ** 2 * 1000 == pytest.approx(volume)


@pytest.mark.parametrize(
    ("volume", "femur"), [(-1.0, None), (float("nan"), None), (3e7, None), (1e5, 40.0), (1e5, 4e3)]
)
def test_implausible_input(volume: float, femur: float | None) -> None:
    with pytest.raises(ImplausibleValueError, match="mm"):
        normalise(volume, ClinicalFacts(height_cm=170), femur_length_mm=femur)


def test_cm3_for_mm3_is_refused() -> None:
    with pytest.raises(ImplausibleValueError, match="cm3"):
        check_volume_unit(TYPICAL_CM3)
    for key, value in TYPICAL_CM3.items():
        with pytest.raises(ImplausibleValueError, match="cm3"):
            check_volume_unit({key: value})
    with pytest.raises(ImplausibleValueError, match="gluteus_maximus"):
        check_volume_unit({"gluteus_maximus": 5.5e8})


def test_mm3_passes_even_with_one_wasted_muscle() -> None:
    check_volume_unit({key: 1000 * value for key, value in TYPICAL_CM3.items()} | {"sartorius": 900.0})
    check_volume_unit({})
