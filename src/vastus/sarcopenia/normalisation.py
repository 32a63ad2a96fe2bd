"""Volumes made comparable between people: per height squared (the paper's form), body mass, BMI, femur length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vastus.anatomy import STRUCTURES
from vastus.errors import ImplausibleValueError
from vastus.sarcopenia.clinical import ClinicalFacts

_MM3_IN_CM3 = 1000.0
_LARGEST_MM3 = 2e7
FEMUR_RANGE_MM = (250.0, 650.0)

# A whole adult structure below this is not plausible, but its number in cm3 always is: that is how the unit is told.
_FLOOR_LARGE_MM3 = 5000.0
_FLOOR_SMALL_MM3 = 400.0
_LARGE = frozenset(s.key for s in STRUCTURES if s.large)


@dataclass(frozen=True, slots=True)
class VolumeIndices:
    """One volume, normalised; ``None`` where the divisor is not known.

    Attributes:
        per_height2_cm3_m2: volume / height squared, as Kim et al. 2024.
        per_mass_cm3_kg: volume / body mass.
        per_bmi_cm3_m2_kg: volume / body mass index.
        per_femur_length_cm2: volume / femur length.
    """

    per_height2_cm3_m2: float | None
    per_mass_cm3_kg: float | None
    per_bmi_cm3_m2_kg: float | None
    per_femur_length_cm2: float | None


def normalise(volume_mm3: float, facts: ClinicalFacts, *, femur_length_mm: float | None = None) -> VolumeIndices:
    """Normalise one volume.

    Args:
        volume_mm3: of a structure or a group, in mm3.
        facts: height and mass are read.
        femur_length_mm: of the same side.

    Raises:
        ImplausibleValueError: negative, not finite or larger than 20 litres; a femur outside 250 to 650 mm.
    """
    if not 0 <= volume_mm3 <= _LARGEST_MM3:
        raise ImplausibleValueError("volume_mm3 lies outside 0 to 20 litres.", remedy="Give mm3.")
    if femur_length_mm is not None and not FEMUR_RANGE_MM[0] <= femur_length_mm <= FEMUR_RANGE_MM[1]:
        raise ImplausibleValueError("femur_length_mm lies outside 250 to 650.", remedy="Give the length in mm.")
    volume_cm3 = volume_mm3 / _MM3_IN_CM3
    height_m = None if facts.height_cm is None else facts.height_cm / 100
    return VolumeIndices(
        per_height2_cm3_m2=None if height_m is None else volume_cm3 / height_m**2,
        per_mass_cm3_kg=None if facts.weight_kg is None else volume_cm3 / facts.weight_kg,
        per_bmi_cm3_m2_kg=None if facts.bmi_kg_m2 is None else volume_cm3 / facts.bmi_kg_m2,
        per_femur_length_cm2=None if femur_length_mm is None else volume_cm3 / (femur_length_mm / 10),
    )


def check_volume_unit(volumes_mm3: Mapping[str, float]) -> None:
    """Refuse a person's volumes that are not in mm3.

    Args:
        volumes_mm3: structure key -> volume of the whole structure (truncated ones left out).

    Raises:
        ImplausibleValueError: a value that no body holds, or more than half of the volumes so small that they must be
            in cm3. Single small volumes pass: they can be a wasted or badly segmented muscle.
    """
    values = {key: value for key, value in volumes_mm3.items() if math.isfinite(value)}
    too_large = sorted(key for key, value in values.items() if not 0 <= value <= _LARGEST_MM3)
    if too_large:
        raise ImplausibleValueError(
            f"Volumes outside 0 to 20 litres: {', '.join(too_large)}.", remedy="Volumes must be in mm3."
        )
    small = [key for key, v in values.items() if v < (_FLOOR_LARGE_MM3 if key in _LARGE else _FLOOR_SMALL_MM3)]
    if values and 2 * len(small) > len(values):
        raise ImplausibleValueError(
            f"{len(small)} of {len(values)} volumes are too small for an adult.",
            remedy="They look like cm3: give mm3.",
        )
