"""De-identified copies of CT series for research, by the basic profile of DICOM PS3.15 Annex E.

What each attribute becomes is dicom-anonymizer's table of the profile. Vastus adds what makes a cohort usable and
safe: the same key gives the same new UIDs and pseudonyms in every run, dates of a patient all move by the same number
of days, nested items are treated like the top, private attributes go, and what still holds a name or number of the
patient is emptied. Only CT images are copied: documents, dose reports and screenshots stay behind.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vastus import __version__
from vastus.dicom.extra import need
from vastus.dicom.objects import DEVICE_UID, code_item
from vastus.dicom.pacs import file_name
from vastus.errors import MissingInputError, SettingsError, UnreadableScanError, VastusError
from vastus.io.atomic import atomic_path, ensure_folder
from vastus.io.dicom_store import DicomStore, open_store

if TYPE_CHECKING:
    from pydicom import Dataset

_CT: Final = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_STANDARD_UIDS: Final = "1.2.840.10008."
_KEY_BYTES: Final = 32
_SHIFT_DAYS: Final = 3650
_TEXT_VRS: Final = {"AE", "AS", "CS", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "UN", "OB"}
_TELLING: Final = ("PatientName", "PatientID", "OtherPatientIDs", "AccessionNumber", "PatientBirthName",
                   "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "InstitutionName")  # fmt: skip
_SHORTEST_TOKEN: Final = 3
FACES: Final = (
    "Pixels are copied as they are. Look for text burnt into the images, and remember that a volume rendering of a "
    "CT shows the skin: genitals, scars, tattoos' outlines, and a face if the head is in the scan."
)


@dataclass(frozen=True, slots=True)
class Copied:
    """What was done.

    Attributes:
        images: written.
        left_out: files that are no CT images.
        warnings: what a person should look at.
    """

    images: int
    left_out: int
    warnings: tuple[str, ...]


class Pseudonyms:
    """New UIDs, names and date shifts that only the holder of the key can link to the old ones."""

    def __init__(self, key: bytes) -> None:
        if len(key) < _KEY_BYTES:
            raise SettingsError(f"The key must have at least {_KEY_BYTES} bytes.")
        self._key = key

    def uid(self, uid: str) -> str:
        """The new UID of an old one; UIDs of the standard itself stay."""
        if uid.startswith(_STANDARD_UIDS) or not uid:
            return uid
        return f"2.25.{int.from_bytes(self._mac('uid', uid)[:16], 'big')}"

    def patient(self, patient_id: str) -> str:
        """A pseudonym, e.g. ``V-3f2a90bc11d4``."""
        return f"V-{self._mac('patient', patient_id).hex()[:12]}"

    def shift(self, patient_id: str) -> timedelta:
        """By how much the dates of a patient move: 1 to 3650 days back."""
        return -timedelta(days=1 + int.from_bytes(self._mac("date", patient_id)[:8], "big") % _SHIFT_DAYS)

    def _mac(self, purpose: str, text: str) -> bytes:
        return hmac.new(self._key, f"{purpose}\0{text}".encode(), hashlib.sha256).digest()


def load_key(path: Path) -> bytes:
    """Read the key, or make one (readable by its owner only) if there is none.

    Raises:
        SettingsError: shorter than 32 bytes.
    """
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_bytes(secrets.token_bytes(_KEY_BYTES))
        path.chmod(0o600)
    return path.read_bytes()


def deidentify_folder(source: Path, folder: Path, pseudonyms: Pseudonyms) -> Copied:
    """Copy the CT images of a folder or zip without what identifies a patient.

    Args:
        source: DICOM folder, zip or file.
        folder: gets one folder a series; names are hashes of new UIDs.
        pseudonyms: with the key.

    Raises:
        MissingInputError: there is no CT image.
        UnreadableScanError: a DICOM file is damaged; nothing is guessed.
        OutputError: the folder can't be written to.
    """
    need("De-identification", "dicomanonymizer")
    if not source.exists():
        raise MissingInputError("There is no such file or folder.", path=source)
    ensure_folder(folder)
    images = left_out = 0
    doubtful: set[str] = set()
    for dataset in _images(open_store(source)):
        if dataset is None:
            left_out += 1
            continue
        if str(dataset.get("BurnedInAnnotation", "")).upper() != "NO":
            doubtful.add(str(dataset.get("SeriesInstanceUID", "")))
        _copy(dataset, folder, pseudonyms, source)
        images += 1
    if not images:
        raise MissingInputError("There is no CT image here.", path=source)
    warnings = [FACES]
    if doubtful:
        warnings.append(f"{len(doubtful)} series do not say that they are free of burnt-in text.")
    return Copied(images, left_out, tuple(warnings))


def _copy(dataset: Dataset, folder: Path, pseudonyms: Pseudonyms, source: Path) -> None:
    try:
        deidentify(dataset, pseudonyms)
        target = folder / file_name(str(dataset.SeriesInstanceUID))[:12]
        target.mkdir(exist_ok=True)
        with atomic_path(target / file_name(str(dataset.SOPInstanceUID))) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
    except (OSError, VastusError):
        raise
    except Exception as error:  # what pydicom could read, however damaged, it may refuse to write
        raise UnreadableScanError(
            f"A DICOM file is damaged ({type(error).__name__}); it can't be de-identified.", path=source
        ) from error


def deidentify(dataset: Dataset, pseudonyms: Pseudonyms) -> None:
    """Remove what identifies a patient from a data set, in place."""
    patient_id = str(dataset.get("PatientID", ""))
    tokens = _tokens(dataset)
    for level in [dataset, *_nested(dataset)]:
        _clean(level, pseudonyms, patient_id)
    for level in [dataset, *_nested(dataset)]:
        _scrub(level, tokens)
    dataset.PatientName = dataset.PatientID = pseudonyms.patient(patient_id)
    dataset.PatientBirthDate = ""  # the table's replacement is a date, which a reader could take for one
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"Vastus {__version__}: PS3.15 basic profile, keyed UIDs, shifted dates"
    dataset.DeidentificationMethodCodeSequence = [code_item(code) for code in _method_codes()]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    syntax = dataset.file_meta.TransferSyntaxUID
    meta: Any = type(dataset.file_meta)()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = DEVICE_UID
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128


def _images(store: DicomStore) -> Iterator[Any]:
    """The CT images; None for every other file."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    for path in store.paths():
        with store.open(path) as file:
            try:
                dataset = dcmread(file)
                kind = dataset.get("SOPClassUID")
                # Reads every element now, so that a damaged one is noticed before anything is written.
                is_ct = kind in _CT and len(list(dataset.iterall())) > 0
                # A cut in the middle of the class makes another class of it; the file meta say it a second time.
                cut = kind != dataset.file_meta.get("MediaStorageSOPClassUID") or (is_ct and not _is_whole(dataset))
            except InvalidDicomError:
                yield None
                continue
            except Exception as error:  # a damaged file makes pydicom raise nearly anything
                raise UnreadableScanError(
                    f"The DICOM file is damaged ({type(error).__name__}); what can't be read can't be de-identified.",
                    path=path,
                ) from error
        if cut:
            raise UnreadableScanError("The file is cut off.", path=path, remedy="Export the series again.")
        yield dataset if is_ct else None


def _is_whole(dataset: Dataset) -> bool:
    if any(not dataset.get(keyword) for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "PixelData", "Rows")):
        return False
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return True
    pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    return len(dataset.PixelData) >= pixels * int(dataset.BitsAllocated) // 8


def _nested(dataset: Dataset) -> Iterator[Dataset]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from _nested(item)


def _clean(level: Dataset, pseudonyms: Pseudonyms, patient_id: str) -> None:
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset

    def uid(dataset: Dataset, tag: tuple[int, int]) -> None:
        element = dataset.get(tag)
        if element is not None and element.VR == "UI":
            many = isinstance(element.value, list) or element.VM > 1
            new = [pseudonyms.uid(str(v)) for v in (element.value if many else [element.value or ""])]
            element.value = new if many else new[0]

    def date(dataset: Dataset, tag: tuple[int, int]) -> None:
        element = dataset.get(tag)
        if element is not None:
            element.value = shifted(str(element.value or ""), pseudonyms.shift(patient_id))

    rules: dict[Any, Callable[..., None]] = dict.fromkeys(_tags_of("UI"), uid)
    rules |= {tag: date for tag in _tags_of("DA", "DT") if tag[0] != 0x0010}
    anonymize_dataset(level, extra_anonymization_rules=rules, delete_private_tags=True)
    # UIDs that the profile does not list, such as those of new attributes, are mapped too.
    for element in list(level):
        if element.VR == "UI" and (element.tag.group, element.tag.element) not in rules:
            uid(level, (element.tag.group, element.tag.element))


def shifted(text: str, shift: timedelta) -> str:
    """A DICOM date or date-time, moved; empty when it is none."""
    try:
        moved = datetime.strptime(text[:8], "%Y%m%d") + shift
    except (ValueError, OverflowError):
        return ""
    return moved.strftime("%Y%m%d") + text[8:]


@cache
def _tags_of(*vrs: str) -> tuple[tuple[int, int], ...]:
    """Tags of the profile with these VRs, file meta excepted."""
    from dicomanonymizer.simpledicomanonymizer import initialize_actions
    from pydicom.datadict import dictionary_VR

    found = []
    for tag in initialize_actions():
        if len(tag) > 2 or tag[0] == 0x0002:
            continue
        try:
            if dictionary_VR(tag) in vrs:
                found.append((int(tag[0]), int(tag[1])))
        except KeyError:
            continue
    return tuple(found)


def _tokens(dataset: Dataset) -> tuple[str, ...]:
    """Words that name the patient or those around them, in lower case."""
    found: set[str] = set()
    for keyword in _TELLING:
        words = re.split(r"[\W_]+", str(dataset.get(keyword, "")).lower())
        found |= {word for word in words if len(word) >= _SHORTEST_TOKEN and word != "unknown"}
    return tuple(found)


def _scrub(level: Dataset, tokens: tuple[str, ...]) -> None:
    """Empty what still holds one of the words, wherever the profile did not expect it."""
    for element in list(level):
        if element.VR not in _TEXT_VRS or element.keyword == "PixelData" or element.value is None:
            continue
        value = element.value
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        words = set(re.split(r"[\W_]+", text.lower()))
        if words & set(tokens):
            element.value = b"" if isinstance(value, bytes) else ""


def _method_codes() -> tuple[Any, ...]:
    from vastus.anatomy import Code

    return (
        Code("DCM", "113100", "Basic Application Confidentiality Profile"),
        Code("DCM", "113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    )
