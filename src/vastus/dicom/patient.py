"""Patient and study of a CT, made fit to be repeated in results.

Headers of hospitals hold values that break the rules of their types (dates with hyphens, a sex in words), and character
sets that the libraries which write results do not take. Nothing that results hardly need may end a run: such a value is
mended where only one meaning is possible, else left empty, and a warning names the attribute, never its value. Text is
handed on in UTF-8, which holds every name of every character set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydicom import Dataset

UTF_8: Final = "ISO_IR 192"
EMPTY_IF_ABSENT: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Type 2 attributes: they must be in every result, empty where the source has none."""
COPIED: Final = (
    *EMPTY_IF_ABSENT,
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyDescription",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
_SEXES: Final = {"M": "M", "F": "F", "O": "O", "MALE": "M", "FEMALE": "F", "OTHER": "O", "MAN": "M", "WOMAN": "F"}
_ESCAPES: Final = re.compile(r"\x1b\$?[()*+,\-./][@-~0-9]|\x1b\$[@-~]")
_KNOWN_SETS: Final = re.compile(r"ISO[_ ]IR \d+|ISO 2022 IR \d+|GB18030|GBK|")
_SPELT: Final = {"UTF-8": UTF_8, "UTF8": UTF_8, "UTF_8": UTF_8, "GB 18030": "GB18030", "GB2312": "GBK"}


@dataclass(frozen=True, slots=True, eq=False)
class PatientAndStudy:
    """Elements to be put into every result, and what was mended or left out."""

    elements: Dataset
    warnings: tuple[str, ...]


def patient_and_study(source: Dataset) -> PatientAndStudy:
    """Take over the patient and the study of a header."""
    from pydicom import Dataset
    from pydicom.datadict import dictionary_VR
    from pydicom.dataelem import DataElement
    from pydicom.tag import Tag

    kept = Dataset()
    mended: list[str] = []
    emptied: list[str] = []
    set_known = _correct_character_set(source)
    read = _texts if set_known else _raw_texts
    for keyword in COPIED:
        if keyword not in source:
            continue
        vr = dictionary_VR(keyword)
        values = read(source, keyword)
        if vr == "PN":
            emptied += [f"{keyword} (all but the first)"] if len(values) > 1 else []
            values = values[:1]
        fit = _FIT.get(keyword) or _FIT.get(vr, str)
        results = [fit(value) if value else "" for value in values]
        if any(result is None for result in results):
            emptied.append(keyword)
            results = []
        elif results != [value.strip() if fit is not str else value for value in values]:
            mended.append(keyword)
        kept.add(DataElement(Tag(keyword), vr, _one_or_many([r for r in results if r is not None])))
    for keyword in EMPTY_IF_ABSENT:
        if keyword not in kept:
            kept.add(DataElement(Tag(keyword), dictionary_VR(keyword), ""))
    if not all(str(element.value).isascii() for element in kept):
        kept.SpecificCharacterSet = UTF_8
    return PatientAndStudy(kept, _told(mended, emptied, set_known=set_known))


def _told(mended: list[str], emptied: list[str], *, set_known: bool) -> tuple[str, ...]:
    warnings = []
    if emptied:
        warnings.append(
            f"Values of the DICOM header that break its rules are empty in the DICOM results: {', '.join(emptied)}."
        )
    if mended:
        warnings.append(
            f"Values of the DICOM header were put into their right form in the results: {', '.join(mended)}."
        )
    if not set_known:
        warnings.append("The character set of the DICOM header is not known: names in the results may be garbled.")
    return tuple(warnings)


def _correct_character_set(source: Dataset) -> bool:
    """Spell it as the standard does, in place; False where it is none, and text is then read as UTF-8 or Latin-1."""
    try:
        charset = source.get("SpecificCharacterSet")
    except Exception:  # a damaged element; pydicom raises nearly anything
        charset = None
    terms = [] if charset in (None, "") else [charset] if isinstance(charset, str) else [str(term) for term in charset]
    terms = [_SPELT.get(term.strip().upper(), term.strip().upper().replace("ISO-IR", "ISO_IR")) for term in terms]
    known = all(_KNOWN_SETS.fullmatch(term) for term in terms) and _can_decode(terms)
    if not known:
        source.pop("SpecificCharacterSet", None)
        return False
    if terms:
        source.SpecificCharacterSet = terms[0] if len(terms) == 1 else terms
    return True


def _can_decode(terms: list[str]) -> bool:
    from pydicom.charset import convert_encodings, python_encoding

    if not all(term in python_encoding for term in terms):
        return False
    with suppress(Exception):
        convert_encodings(terms)
        return True
    return False


def _texts(source: Dataset, keyword: str) -> list[str]:
    """The values of an element as text, decoded by the character set of its header."""
    from pydicom.multival import MultiValue
    from pydicom.tag import Tag

    content = getattr(source.get_item(Tag(keyword)), "value", None)
    try:
        value = source[keyword].value
        values = list(value) if isinstance(value, (MultiValue, list)) else [value]
        # pydicom leaves the escapes of some character sets (ISO 2022 IR 58) in the text.
        return ["" if v is None else _ESCAPES.sub("", str(v)) for v in values]
    except Exception:  # the value breaks the rules of its type
        return _guessed(content).split("\\") if isinstance(content, bytes) else []


def _raw_texts(source: Dataset, keyword: str) -> list[str]:
    """The same where the character set is none."""
    from pydicom.tag import Tag

    content = getattr(source.get_item(Tag(keyword)), "value", None)
    return _guessed(content).split("\\") if isinstance(content, bytes) else _texts(source, keyword)


def _guessed(content: bytes) -> str:
    try:
        return content.decode("utf-8").strip(" \0")
    except UnicodeDecodeError:
        return content.decode("latin-1").strip(" \0")


def _one_or_many(values: list[str]) -> Any:
    return "" if not values else values[0] if len(values) == 1 else values


def _date(text: str) -> str | None:
    from pydicom.valuerep import DA

    match = re.fullmatch(r"\s*(\d{4})[-./]?(\d{1,2})[-./]?(\d{1,2})(?:[T ]?\d\d:?\d\d(?::?\d\d(?:\.\d*)?)?)?\s*", text)
    if match is None or (len(match[2]) + len(match[3]) < 4 and text.strip().isdigit()):
        return None
    mended = f"{match[1]}{int(match[2]):02}{int(match[3]):02}"
    with suppress(ValueError):
        return mended if DA(mended) and int(match[1]) > 0 else None
    return None


def _time(text: str) -> str | None:
    from pydicom.valuerep import TM

    mended = re.sub(r"(?<=\d):(?=\d)", "", text.strip())
    mended = re.sub(r"(\.\d{6})\d+$", r"\1", mended)
    if not re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", mended):
        return None
    with suppress(ValueError):
        return mended if TM(mended) is not None else None
    return None


def _age(text: str) -> str | None:
    match = re.fullmatch(r"\s*(\d{1,3})\s*([DWMYdwmy])\s*", text)
    return f"{int(match[1]):03}{match[2].upper()}" if match else None


def _decimal(text: str) -> str | None:
    from pydicom.valuerep import format_number_as_ds

    with suppress(ValueError):
        number = float(text.strip().replace(",", ".")) if text.count(",") <= 1 else math.nan
        if math.isfinite(number):
            return (
                text.strip()
                if text.strip().isascii() and "," not in text and len(text.strip()) <= 16
                else (format_number_as_ds(number))
            )
    return None


def _sex(text: str) -> str | None:
    return _SEXES.get(text.strip().upper())


def _yes_or_no(text: str) -> str | None:
    word = text.strip().upper()
    return word if word in ("YES", "NO") else None


_FIT: Final[dict[str, Callable[[str], str | None]]] = {
    "DA": _date,
    "TM": _time,
    "AS": _age,
    "DS": _decimal,
    "PatientSex": _sex,
    "PatientIdentityRemoved": _yes_or_no,
}
