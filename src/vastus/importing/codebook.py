"""Values of a data set for what foreign names mean: ours for one structure, new ones for sets of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from vastus.anatomy import BY_KEY, UNLABELLED, Side
from vastus.errors import SettingsError
from vastus.importing.name_tables import Meaning
from vastus.io.label_names import split_side, value_of
from vastus.io.nnunet_layout import BACKGROUND_NAME

NOT_DRAWN: Final = "not_drawn"
NOT_DRAWN_VALUE: Final = 60
_FREE_VALUES: Final = (*range(NOT_DRAWN_VALUE + 1, 100), *range(160, 200))
"""Between the sides of ours, and beyond the largest class id."""


@dataclass(slots=True)
class Codebook:
    """The values of one data set, given out as meanings come.

    Attributes:
        join_sides: left and right get one value.
        values: name in ``dataset.json`` -> value.
        merged: name of a set -> what a voxel of it may be.
    """

    join_sides: bool = False
    values: dict[str, int] = field(default_factory=dict)
    merged: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _sets: dict[tuple[tuple[str, ...], Side], int] = field(default_factory=dict)
    _shown: dict[int, int] = field(default_factory=dict)
    _never: set[str] = field(default_factory=set)

    def value_for(self, name: str, meaning: Meaning) -> int:
        """The value of a meaning.

        Raises:
            SettingsError: there is no value left.
        """
        side = Side.UNKNOWN if self.join_sides else meaning.side
        members = meaning.members
        if len(members) == 1:
            structure = BY_KEY[members[0]]
            value = structure.label_value(side)
            self.values[structure.key if side is Side.UNKNOWN else f"{structure.key}_{side.value}"] = value
            return value
        if (members, side) not in self._sets:
            self._add_set(name, members, side)
        return self._sets[members, side]

    def background_value(self, drawn: frozenset[str]) -> int:
        """The value of voxels without a name, in a case of which these structures are wholly drawn.

        It is 0 only where everything is drawn; else the voxel may be one of those that are not.
        """
        never = BY_KEY.keys() - drawn
        if not never:
            return 0
        self._never |= never
        self.values[NOT_DRAWN] = NOT_DRAWN_VALUE
        self.merged[NOT_DRAWN] = (BACKGROUND_NAME, *(key for key in BY_KEY if key in self._never))
        return NOT_DRAWN_VALUE

    def shown_values(self) -> Mapping[int, int]:
        """For pictures: for each value of a set that of its first structure; 0 for what nobody drew or can tell."""
        return {**self._shown, NOT_DRAWN_VALUE: 0, UNLABELLED: 0}

    def name_of(self, value: int) -> str:
        """The name of a value in ``dataset.json``; empty for one that has none."""
        return next((name for name, given in self.values.items() if given == value), "")

    def _add_set(self, name: str, members: tuple[str, ...], side: Side) -> None:
        left = [value for value in _FREE_VALUES if value not in self._sets.values()]
        if not left:
            raise SettingsError("The source has more names for sets of structures than there are values.")
        plain = split_side(name)[0].replace(" ", "_")
        if value_of(plain) is not None or not plain:
            plain = "_or_".join(members)
        ending = "" if side is Side.UNKNOWN else f"_{side.value}"
        tried = chain((plain,), (f"{plain}_{n}" for n in range(2, 256)))
        final = next(f"{stem}{ending}" for stem in tried if f"{stem}{ending}" not in self.values)
        self._sets[members, side] = self.values[final] = left[0]
        self.merged[final] = members
        first = next(member for member in members if member != BACKGROUND_NAME)
        self._shown[left[0]] = BY_KEY[first].label_value(side)
