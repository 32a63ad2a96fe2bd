"""How soft tissue without a class looks: mean HU, spread between people, share of fat inside.

Textbook values of native CT, rounded; the fat makes the streaks seen in cords, pads and scrotum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SoftLook:
    """Mean grey value, its standard deviation between people, typical share of fat, gain with contrast medium."""

    mean_hu: float
    sd_hu: float
    fat: float = 0.0
    contrast_hu: float = 0.0


LOOKS: Final[dict[str, SoftLook]] = {
    "penis": SoftLook(42, 8, 0.0, 25),
    "crus": SoftLook(48, 8, 0.0, 25),
    "bulb": SoftLook(46, 8, 0.02, 25),
    "testis": SoftLook(36, 6, 0.0, 8),
    "hydrocele": SoftLook(8, 5),
    "scrotum": SoftLook(26, 12, 0.12),
    "spermatic_cord": SoftLook(36, 10, 0.35),
    "vulva": SoftLook(38, 10, 0.12, 15),
    "vagina": SoftLook(42, 8, 0.03, 20),
    "uterus": SoftLook(48, 8, 0.0, 45),
    "ovary": SoftLook(28, 10),
    "prostate": SoftLook(42, 6, 0.0, 20),
    "seminal_vesicle": SoftLook(24, 10, 0.1),
    "bladder_wall": SoftLook(30, 8, 0.0, 15),
    "bowel_wall": SoftLook(42, 8, 0.02, 35),
    "bowel_fluid": SoftLook(20, 12),
    "bowel_contrast": SoftLook(260, 90),
    "anal_canal": SoftLook(45, 8, 0.03, 15),
    "rectal_wall": SoftLook(40, 8, 0.03, 20),
    "levator": SoftLook(48, 8, 0.06),
    "lymph_node": SoftLook(38, 12, 0.12, 25),
    "stool": SoftLook(25, 25, 0.3),
    "capsule": SoftLook(50, 10, 0.06),
    "hamstring_tendon": SoftLook(62, 14, 0.05),
    "tract": SoftLook(50, 14, 0.05),
    "nerve": SoftLook(34, 8, 0.2),
    "ligament": SoftLook(55, 15, 0.08),
    "oedema": SoftLook(12, 8, 0.45),
    "haematoma": SoftLook(60, 12, 0.02),
    "soft_tissue": SoftLook(40, 10, 0.05),
}
"""By the name of an overlay or a part of ``Tissue.SOFT``; ``soft_tissue`` stands in for a name that is not here."""


def look_of(name: str) -> SoftLook:
    """The look of a part by its name."""
    return LOOKS.get(name, LOOKS["soft_tissue"])
