"""How large muscles are: the published volume of each in healthy young adults, by body size.

Derived by ``tools/derive_muscle_regression.py`` from Handsfield et al. 2014 (J Biomech 47(3), 631-638) and, for a few
muscles without a published line, from their shares in two atlases.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from statistics import median
from typing import Final

from vastus.anatomy import BY_KEY, SIDES, Side

LARGEST_HEIGHT_CM: Final = 205.0
LARGEST_WEIGHT_KG: Final = 150.0
"""A person of whom muscles may be expected to be the largest."""

SMALLEST_HEIGHT_CM: Final = 140.0
SMALLEST_WEIGHT_KG: Final = 30.0
"""An adult of whom muscles may be expected to be the smallest."""
_OF_SMALLEST: Final = 0.10
_OF_EXPECTED: Final = 0.05
_FEWEST_MUSCLES: Final = 6
_LEAST_MM3: Final = 1000.0

Place = tuple[str, Side]
"""Key and side of a structure."""


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


@cache
def smallest_volume_mm3(key: str) -> float:
    """Below this a label on one side is a fragment, whoever the person is.

    A tenth of the muscle of a healthy adult of 140 cm and 30 kg: wasting halves a thigh muscle, paralysis may leave a
    third, and neither leaves a tenth of the smallest. Where there is no published line (bones, muscles of the trunk)
    it is 1 mL, which no adult's structure is.
    """
    whole = regression_volume_mm3(key, SMALLEST_HEIGHT_CM, SMALLEST_WEIGHT_KG)
    return _LEAST_MM3 if whole is None else max(_OF_SMALLEST * whole, _LEAST_MM3)


def find_fragments(volumes_mm3: Mapping[Place, float], cut: Collection[Place] = ()) -> dict[Place, str]:
    """Which labels of one person are far below any person's structure, and are not cut by the edge of the scan.

    A label is a fragment when it is smaller than ``smallest_volume_mm3``, than 5% of the same structure on the other
    side, or than 5% of what the person's other muscles let one expect: the published volume times the median of
    what the others have of theirs (at least six others, so that size and wasting of the whole body do not count).
    Of structures outside the built-in table nothing is known, and none is a fragment.

    Args:
        volumes_mm3: visible volumes; absent structures are left out.
        cut: those that the edge of the scan cuts: they are parts by their nature, never fragments, and judge nothing.

    Returns:
        The fragments, each with the reason in words.
    """
    whole = {at: volume for at, volume in volumes_mm3.items() if at not in cut and at[1] in SIDES and at[0] in BY_KEY}
    shares = {at: volume / usual for at, volume in whole.items() if (usual := _usual_volume_mm3(at[0])) is not None}
    found = {}
    for at, volume in whole.items():
        limits = [(smallest_volume_mm3(at[0]), "the least that an adult can have")]
        other = whole.get((at[0], _other(at[1])))
        if other is not None:
            limits.append((_OF_EXPECTED * other, "5% of the other side"))
        others = [share for place, share in shares.items() if place != at]
        if at in shares and len(others) >= _FEWEST_MUSCLES:
            expected = median(others) * (_usual_volume_mm3(at[0]) or 0.0)
            limits.append((_OF_EXPECTED * expected, "5% of what this person's other muscles let one expect"))
        limit, why = max(limits)
        if volume < limit:
            found[at] = f"less than {why} ({limit / 1000:.1f} mL)"
    return found


@cache
def _usual_volume_mm3(key: str) -> float | None:
    """Of a person of 170 cm and 70 kg: only the proportions of the muscles are used."""
    return regression_volume_mm3(key, 170.0, 70.0)


def _other(side: Side) -> Side:
    return next(other for other in SIDES if other is not side)
