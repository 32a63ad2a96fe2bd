"""The grey windows in which people look at CT. Not what a network reads: that stands in its bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class DisplayWindow:
    """A grey window.

    Attributes:
        title: for people.
        low_hu, high_hu: what is black and what is white.
    """

    title: str
    low_hu: float
    high_hu: float

    @property
    def hu(self) -> tuple[float, float]:
        """Black and white end in HU."""
        return self.low_hu, self.high_hu


SOFT_TISSUE: Final = DisplayWindow("Soft tissue", -160.0, 240.0)
MUSCLE: Final = DisplayWindow("Muscle", -57.0, 164.0)
"""The window of Kim et al. 2024: it lies inside the one of soft tissue, so that a browser can stretch its greys."""
MUSCLE_DETAIL: Final = DisplayWindow("Muscle", -50.0, 150.0)
FAT_AND_MUSCLE: Final = DisplayWindow("Fat and muscle", -150.0, 110.0)
"""Fat inside and between the muscles stands out; it lies inside the one of soft tissue, too."""
FAT: Final = DisplayWindow("Fat", -200.0, 0.0)
BONE: Final = DisplayWindow("Bone", -300.0, 1300.0)

CHOICES_ON_THE_PAGE: Final = {"muscle": MUSCLE, "fat": FAT_AND_MUSCLE}
"""The page of a scan, by its own keys, beside the one of soft tissue with which it begins."""
IN_THE_VIEWER: Final = {"soft": SOFT_TISSUE, "muscle": MUSCLE_DETAIL, "fat": FAT, "bone": BONE}
"""The annotation viewer, by its own keys; it begins with the first."""
