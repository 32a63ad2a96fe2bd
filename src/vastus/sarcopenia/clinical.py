"""What is known of a person besides the scan, in fixed units, with every value checked against the human range."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from enum import Enum

from vastus.errors import ImplausibleValueError
from vastus.sex import Sex


class MassMethod(Enum):
    """How the appendicular skeletal muscle mass was measured."""

    DXA = "dxa"
    BIA = "bia"


# Field -> (lowest, highest, hint when outside). Wide on purpose: they catch wrong units and slips, not rare people.
HUMAN_RANGES: dict[str, tuple[float, float, str]] = {
    "age_years": (18, 120, "Give whole years of an adult."),
    "height_cm": (100, 230, "Give centimetres, not metres or inches."),
    "weight_kg": (20, 350, "Give kilograms, not grams or pounds."),
    "smi_kg_m2": (1.5, 20, "Give appendicular muscle mass / height squared in kg/m2."),
    "asm_kg": (3, 70, "Give kilograms, not grams."),
    "grip_kg": (0, 110, "Give kilograms, not newtons or pounds."),
    "gait_m_s": (0, 4, "Give metres per second, not seconds or cm/s."),
    "chair_stand_s": (2, 600, "Give the seconds for five rises."),
    "sppb": (0, 12, "The Short Physical Performance Battery has 0 to 12 points."),
    "tug_s": (2, 600, "Give seconds."),
    "calf_cm": (12, 70, "Give centimetres, not millimetres or inches."),
    "sarc_f": (0, 10, "SARC-F has 0 to 10 points."),
    "sarc_calf": (0, 20, "SARC-CalF has 0 to 20 points."),
}
_SMI_TOLERANCE = 0.08
"""How far a given SMI may lie from ASM / height squared (relative): rounding of both, not another person."""


@dataclass(frozen=True, slots=True)
class ClinicalFacts:
    """Clinical values of one person; ``None`` means unknown. The names hold the units.

    Attributes:
        sex: as the cut-offs use it.
        age_years, height_cm, weight_kg: of the person.
        smi_kg_m2: appendicular skeletal muscle mass / height squared.
        asm_kg: appendicular skeletal muscle mass (ALM in FNIH).
        mass_method: method that measured SMI or ASM; if it is unknown, the cut-offs of all methods must agree.
        grip_kg, gait_m_s, chair_stand_s (five rises), sppb (points), tug_s (timed up and go): tests.
        calf_cm, sarc_f, sarc_calf: screening.

    Raises:
        ImplausibleValueError: a value outside the human range, or an SMI that contradicts ASM and height. The message
            names the field, never the value.
    """

    sex: Sex | None = None
    age_years: float | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    smi_kg_m2: float | None = None
    asm_kg: float | None = None
    mass_method: MassMethod | None = None
    grip_kg: float | None = None
    gait_m_s: float | None = None
    chair_stand_s: float | None = None
    sppb: float | None = None
    tug_s: float | None = None
    calf_cm: float | None = None
    sarc_f: float | None = None
    sarc_calf: float | None = None

    def __post_init__(self) -> None:
        """Check every value that is given."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in HUMAN_RANGES and value is not None:
                check_human_range(field.name, value)
        if self.smi_kg_m2 is not None and self.asm_kg is not None and self.height_cm is not None:
            expected = self.asm_kg / (self.height_cm / 100) ** 2
            if abs(self.smi_kg_m2 - expected) > _SMI_TOLERANCE * expected:
                raise ImplausibleValueError(
                    "smi_kg_m2 is not asm_kg / height squared.", remedy="Check the units of the three, or give two."
                )

    @property
    def bmi_kg_m2(self) -> float | None:
        """Body mass index, where height and weight are known."""
        if self.height_cm is None or self.weight_kg is None:
            return None
        return self.weight_kg / (self.height_cm / 100) ** 2

    @property
    def asm_height2_kg_m2(self) -> float | None:
        """The SMI as given, else ASM / height squared."""
        if self.smi_kg_m2 is not None:
            return self.smi_kg_m2
        if self.asm_kg is None or self.height_cm is None:
            return None
        return self.asm_kg / (self.height_cm / 100) ** 2

    @property
    def asm_total_kg(self) -> float | None:
        """ASM as given, else SMI * height squared."""
        if self.asm_kg is not None:
            return self.asm_kg
        if self.smi_kg_m2 is None or self.height_cm is None:
            return None
        return self.smi_kg_m2 * (self.height_cm / 100) ** 2

    @property
    def asm_bmi_m2(self) -> float | None:
        """ASM / BMI, the FNIH form."""
        asm, bmi = self.asm_total_kg, self.bmi_kg_m2
        return None if asm is None or bmi is None else asm / bmi


def check_human_range(field: str, value: float) -> None:
    """Refuse a value outside ``HUMAN_RANGES``.

    Raises:
        ImplausibleValueError: names the field and the likely wrong unit.
    """
    low, high, hint = HUMAN_RANGES[field]
    if isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        guess = " It looks like metres." if field == "height_cm" and 1.0 <= value <= 2.3 else ""
        raise ImplausibleValueError(f"{field} lies outside the human range {low:g} to {high:g}.{guess}", remedy=hint)
