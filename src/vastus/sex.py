"""The sex of a person: one type for cut-offs, published values and synthetic bodies."""

from __future__ import annotations

from enum import Enum

from vastus.errors import SettingsError


class Sex(Enum):
    """Sex, as published cut-offs and models of the body distinguish it."""

    MAN = "M"
    WOMAN = "F"

    @property
    def word(self) -> str:
        """``male`` or ``female``, for tables."""
        return "male" if self is Sex.MAN else "female"

    @staticmethod
    def from_word(word: str | None) -> Sex | None:
        """Give the sex that an option names: M, man, male, F, woman, female; None stays None.

        Raises:
            SettingsError: another word.
        """
        names = {"m": Sex.MAN, "man": Sex.MAN, "male": Sex.MAN}
        names |= {"f": Sex.WOMAN, "woman": Sex.WOMAN, "female": Sex.WOMAN}
        if word is not None and word.lower() not in names:
            raise SettingsError("--sex is M or F.")
        return None if word is None else names[word.lower()]
