"""How large muscles are: the published volume of each in healthy young adults, by body size.

Derived by ``tools/derive_muscle_regression.py`` from Handsfield et al. 2014 (J Biomech 47(3), 631-638) and, for a few
muscles without a published line, from their shares in two atlases.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

LARGEST_HEIGHT_CM: Final = 205.0
LARGEST_WEIGHT_KG: Final = 150.0
"""A person of whom muscles may be expected to be the largest."""


@dataclass(frozen=True, slots=True)
class RegressionLine:
    """volume_cm3 = slope x height_m x mass_kg + intercept, one leg; ``basis`` as in the derivation script."""

    slope_cm3_per_m_kg: float
    intercept_cm3: float
    basis: str


@cache
def muscle_regression() -> dict[str, RegressionLine]:
    """The volume line of each muscle that has one.

    The published psoas and iliacus are divided between ``psoas``, ``iliacus`` and ``iliopsoas`` at the level where
    the femoral head starts. ``abdominal_oblique``, ``rectus_abdominis`` and ``multifidus`` have no line. The psoas is
    the whole muscle: a scan that starts at the hip shows less of it.
    """
    file = resources.files("vastus") / "muscle_volume_regression.csv"
    return {
        row["structure"]: RegressionLine(float(row["slope_cm3_per_m_kg"]), float(row["intercept_cm3"]), row["basis"])
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    }


def regression_volume_mm3(key: str, height_cm: float, weight_kg: float) -> float | None:
    """Volume of one muscle of one leg of a healthy young adult of that size; None where there is no line."""
    line = muscle_regression().get(key)
    if line is None:
        return None
    volume_cm3 = line.slope_cm3_per_m_kg * height_cm / 100 * weight_kg + line.intercept_cm3
    return 1000 * max(volume_cm3, 1.0)


def largest_volume_mm3(key: str) -> float | None:
    """What one muscle of one leg may measure: in a person of 205 cm and 150 kg. None where there is no line."""
    return regression_volume_mm3(key, LARGEST_HEIGHT_CM, LARGEST_WEIGHT_KG)
