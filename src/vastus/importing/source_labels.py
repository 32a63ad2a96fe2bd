"""What a reader of foreign labels gives: numbered parts on one grid, with the names that the source has for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from vastus.volume import AnyArray, Volume

SEVERAL: Final = (1 << 16) - 1
"""Number of voxels that the source gives several names at once: nobody can tell which is right."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceLabels:
    """Labels as their source has them.

    Attributes:
        volume: uint16, 0 where nothing is drawn, ``SEVERAL`` where names overlap.
        names: of the numbers; also of what the source draws but this case does not show. Numbers without a name may
            occur.
        warnings: what a user should know of the file.
    """

    volume: Volume
    names: Mapping[int, str]
    warnings: tuple[str, ...] = ()


def add_part(into: AnyArray, mask: AnyArray, number: int) -> None:
    """Write a part's number into an array; where another part lies already, ``SEVERAL``."""
    taken = mask & (into > 0)
    into[mask] = number
    into[taken] = SEVERAL


def no_parts(shape: tuple[int, int, int]) -> AnyArray:
    """An empty array of numbers."""
    return np.zeros(shape, np.uint16, order="F")
