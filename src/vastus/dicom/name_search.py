"""Does a text still name somebody? For names of any script, written with or without spaces, in either order.

Texts are compared after folding: no case, no accents, wide and half-width forms alike, katakana as hiragana. How much
of a name says something depends on the script: one Latin letter says nothing, two Han or Hangul characters are a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

_SHORTEST_WORD: Final = 3
_SHORTEST_PART: Final = 4
"""Letters of an alphabet that say something as a part of a longer word."""
_SHORTEST_IDEOGRAPHS: Final = 2
_MOST_WORDS: Final = 5
_UNSAID: Final = frozenset({"unknown", "anonymous", "none", "null"})
_GERMAN: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae"})
_NOT_WORD: Final = re.compile(r"[\W_]+")
_DENSE: Final = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Scripts in which few characters make a name, or which put no space between words."""
_NUMBERS: Final = (
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "MedicalRecordLocator",
    "AdmissionID",
    "StudyID",
    "PatientTelephoneNumbers",
    "PatientAddress",
    "InstitutionName",
    "DeviceSerialNumber",
)


@dataclass(frozen=True, slots=True)
class Names:
    """What names the patient and those around them, folded.

    Attributes:
        words: name somebody where they stand as a whole word.
        parts: name somebody anywhere in a text, whatever stands around them.
    """

    words: frozenset[str]
    parts: frozenset[str]

    def are_in(self, text: str) -> bool:
        """Whether a text holds one of them."""
        for folded in _foldings(text):
            if not self.words.isdisjoint(_NOT_WORD.split(folded)):
                return True
            together = _NOT_WORD.sub("", folded)
            if any(part in together for part in self.parts):
                return True
        return False


def names_of(dataset: Any) -> Names:
    """Look for names of persons everywhere in a data set, and for the patient's numbers at its top."""
    words: set[str] = set()
    parts: set[str] = set()
    for element in dataset.iterall():
        if element.VR == "PN" and element.value:
            values = element.value if element.VM > 1 else [element.value]
            for value in values:
                _add_name(str(value), words, parts)
    for keyword in _NUMBERS:
        value = dataset.get(keyword)
        for each in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
            _add_words(_foldings(str(each or "")), words, parts)
    return Names(frozenset(words - _UNSAID), frozenset(parts - _UNSAID))


def _add_name(text: str, words: set[str], parts: set[str]) -> None:
    for group in text.split("="):
        for folded in _foldings(group):
            found = [word for word in _NOT_WORD.split(folded) if word]
            if "".join(found) in _UNSAID:
                continue
            _add_words([folded], words, parts)
            _add_joined(found[:_MOST_WORDS], words, parts)
            for word in found:
                _add_undivided(word, parts)


def _add_words(foldings: Iterable[str], words: set[str], parts: set[str]) -> None:
    for folded in foldings:
        found = [word for word in _NOT_WORD.split(folded) if word]
        for word in [*found, "".join(found)]:
            _add(word, words, parts)


def _add_joined(found: list[str], words: set[str], parts: set[str]) -> None:
    """Any two parts of a name in either order, all in both orders, and a part with the initial of another."""
    for first, second in permutations(found, 2):
        _add(first + second, words, parts)
        if len(first) >= _SHORTEST_WORD and not _is_dense(first):
            words |= {first + second[0], second[0] + first}
    for start in range(len(found)):
        _add("".join([*found[start:], *found[:start]]), words, parts)
    _add("".join(reversed(found)), words, parts)


def _add_undivided(word: str, parts: set[str]) -> None:
    """A name of two to five characters without a mark between family and given name, as Hong Gildong's in Hangul."""
    characters = _characters(word)
    if not _is_dense(word) or not 2 <= len(characters) <= 5:
        return
    for cut in (1, 2):
        family, given = "".join(characters[:cut]), "".join(characters[cut:])
        if len(characters) - cut >= _SHORTEST_IDEOGRAPHS:
            parts.add(given)
        if given:
            parts.add(given + family)


def _add(word: str, words: set[str], parts: set[str]) -> None:
    if _is_dense(word):
        if len(_characters(word)) >= _SHORTEST_IDEOGRAPHS:
            parts.add(word)
    elif len(word) >= _SHORTEST_WORD:
        words.add(word)
        if len(word) >= _SHORTEST_PART:
            parts.add(word)


def _is_dense(word: str) -> bool:
    return any(unicodedata.name(letter, "").startswith(_DENSE) for letter in word)


def _characters(word: str) -> list[str]:
    """As a reader counts them: the letters of a Hangul syllable, which folding takes apart, are one."""
    return [unicodedata.normalize("NFD", c) for c in unicodedata.normalize("NFC", word)]


def _foldings(text: str) -> set[str]:
    """A text as it is compared; German umlauts are written in two ways."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return {_folded(plain), _folded(plain.translate(_GERMAN))}


def _folded(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    kept = "".join(c for c in apart if unicodedata.category(c) != "Mn")
    # Katakana lie 0x60 above hiragana.
    return "".join(chr(ord(c) - 0x60) if 0x30A1 <= ord(c) <= 0x30F6 else c for c in kept)
