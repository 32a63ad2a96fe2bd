"""What the ImageType of a CT says of how its values were computed: projections and maps of a substance are no HU."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_NO_HU: Final[Mapping[str, tuple[str, ...]]] = {
    "projection of the highest or lowest values (MIP, MinIP)": (
        *("mip", "csamip", "minip", "mnip", "tmip", "csaminip", "maximum", "minimum", "projection"),
    ),
    "difference of two images": ("subtract", "subtraction", "subtracted", "csasub", "sub"),
    "map of a substance, not of the attenuation": (
        *("iodine", "water", "calcium", "fat map", "mat specific", "mat fractional", "mat value based"),
        *("uric", "pbv", "lung vessels", "z eff", "zeff", "eff atomic num", "electron density", "ed", "rho"),
    ),
    "map of blood flow": ("perfusion", "cbf", "cbv", "mtt", "ttp", "tmax", "permeability"),
    "quotient or spread of images": ("division", "std deviation", "quantity", "multiplication"),
}
_OTHER_HU: Final[Mapping[str, tuple[str, ...]]] = {
    "with the contrast agent taken out (virtual non-contrast)": (
        *("vnc", "virtual non contrast", "vue", "mat removed", "mat modified", "pure lumen", "calcium suppressed"),
    ),
    "as for rays of one energy (monoenergetic)": (
        *("vmi", "mono", "mono e", "monoenergetic", "virtual monoenergetic", "monoe", "monoplus", "mono plus"),
    ),
}


@dataclass(frozen=True, slots=True)
class Computed:
    """How the values of an image were computed, in words.

    Attributes:
        no_hu: they are no HU; empty if they are.
        other_hu: they are HU, but not those of a plain CT; empty if they are.
    """

    no_hu: str
    other_hu: str


def how_computed(image_type: Iterable[str]) -> Computed:
    """Read the values of ImageType (and FrameType); makers write several words into one value."""
    values = [" ".join(re.findall(r"[a-z]+", value.lower())) for value in image_type]
    return Computed(_first(_NO_HU, values), _first(_OTHER_HU, values))


def _first(names: Mapping[str, tuple[str, ...]], values: list[str]) -> str:
    for meaning, words in names.items():
        if any(f" {word} " in f" {value} " for word in words for value in values):
            return meaning
    return ""
