"""De-identified copies of CT series for research, by the basic profile of DICOM PS3.15 Annex E.

What may stay is a list (``kept_attributes``); everything else goes: private attributes, overlays, what no dictionary
knows. The same key gives the same new UIDs and pseudonyms in every run, dates of a patient all move by the same number
of days, the time of day is never kept, nested items are treated like the top, and what still holds a name or number of
the patient is emptied. Only CT images are copied: documents, dose reports and screenshots stay behind.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vastus.attempts import Failure
from vastus.dicom.codestreams import without_comments
from vastus.dicom.extra import need
from vastus.dicom.kept_attributes import (
    CODE_STRINGS,
    DATES,
    DEVICE_TEXTS,
    EMPTIED,
    UIDS,
    is_harmless,
    may_stay,
    standard_codes,
)
from vastus.dicom.name_search import Names, names_of
from vastus.dicom.objects import DEVICE_UID, code_item
from vastus.dicom.pacs_address import file_name
from vastus.errors import InputError, MissingInputError, SettingsError, UnreadableScanError, VastusError
from vastus.io.atomic import atomic_path, ensure_folder
from vastus.io.dicom_store import DicomStore, open_store
from vastus.version import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

_CT: Final = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_KEY_BYTES: Final = 32
_SHIFT_DAYS: Final = 3650
_TEXT_VRS: Final = {"CS", "DS", "IS", "LO", "SH"}
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
        failures: folders of the source with a damaged file: nothing of them was kept.
    """

    images: int
    left_out: int
    warnings: tuple[str, ...]
    failures: tuple[Failure, ...] = ()


class Pseudonyms:
    """New UIDs, names and date shifts that only the holder of the key can link to the old ones."""

    def __init__(self, key: bytes) -> None:
        if len(key) < _KEY_BYTES:
            raise SettingsError(f"The key must have at least {_KEY_BYTES} bytes.")
        self._key = key

    def uid(self, uid: str) -> str:
        """The new UID of an old one; UIDs of the standard itself stay: those of its dictionary, nothing like them."""
        from pydicom._uid_dict import UID_dictionary

        if uid in UID_dictionary or not uid:
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
        UnreadableScanError: a DICOM file is damaged and nothing else is there; nothing is guessed.
        OutputError: the folder can't be written to.
    """
    need("De-identification", "dicomanonymizer")
    if not source.exists():
        raise MissingInputError("There is no such file or folder.", path=source)
    ensure_folder(folder)
    failures: dict[Path, Failure] = {}
    run = _Run(folder, pseudonyms)
    store = open_store(source)
    first: InputError | None = None
    for path in store.paths():
        try:
            run.take(store, path)
        except InputError as error:
            first = first or error
            failures.setdefault(path.parent, Failure(str(path.parent), str(error), error.exit_code))
    # A part of a series would look like a whole one: of a folder with a damaged file nothing is kept.
    run.drop(failures.keys())
    if not run.written:
        raise first or MissingInputError("There is no CT image here.", path=source)
    warnings = [FACES]
    if run.doubtful:
        warnings.append(f"{len(run.doubtful)} series do not say that they are free of burnt-in text.")
    return Copied(len(run.written), run.left_out, tuple(warnings), tuple(failures.values()))


@dataclass(slots=True)
class _Run:
    """One copy of many series.

    Attributes:
        written: the copies, with the folder that their source lies in.
        left_out: files that are no CT images.
        doubtful: series that may have text in their pixels.
    """

    folder: Path
    pseudonyms: Pseudonyms
    written: dict[Path, Path] = field(default_factory=dict)
    left_out: int = 0
    doubtful: set[str] = field(default_factory=set)

    def take(self, store: DicomStore, path: Path) -> None:
        """Copy one file, if it is a CT image."""
        dataset = _image(store, path)
        if dataset is None:
            self.left_out += 1
            return
        if str(dataset.get("BurnedInAnnotation", "")).upper() != "NO":
            self.doubtful.add(str(dataset.get("SeriesInstanceUID", "")))
        self.written[_copy(dataset, self.folder, self.pseudonyms, path)] = path.parent

    def drop(self, damaged: Collection[Path]) -> None:
        """Delete what was written of series that have files in these folders."""
        series = {copied.parent for copied, source in self.written.items() if source in damaged}
        for copied in [copied for copied in self.written if copied.parent in series]:
            copied.unlink(missing_ok=True)
            del self.written[copied]
        for folder in series:
            if not any(folder.iterdir()):
                folder.rmdir()


def _copy(dataset: Dataset, folder: Path, pseudonyms: Pseudonyms, source: Path) -> Path:
    try:
        deidentify(dataset, pseudonyms)
        target = folder / file_name(str(dataset.SeriesInstanceUID))[:12]
        target.mkdir(exist_ok=True)
        copied = target / file_name(str(dataset.SOPInstanceUID))
        with atomic_path(copied) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
    except (OSError, VastusError):
        raise
    except Exception as error:  # what pydicom could read, however damaged, it may refuse to write
        raise UnreadableScanError(
            f"A DICOM file is damaged ({type(error).__name__}); it can't be de-identified.", path=source
        ) from error
    return copied


def deidentify(dataset: Dataset, pseudonyms: Pseudonyms) -> None:
    """Remove what identifies a patient from a data set, in place."""
    patient_id = str(dataset.get("PatientID", ""))
    names = names_of(dataset)
    _clear_pixels(dataset)
    _keep_listed(dataset, _Treatment(pseudonyms, pseudonyms.shift(patient_id), names))
    dataset.PatientName = dataset.PatientID = pseudonyms.patient(patient_id)
    dataset.PatientBirthDate = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [
        f"Vastus {__version__}: PS3.15 basic profile",
        "kept by list, keyed UIDs",
        "shifted dates, no times of day",
    ]
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


def _image(store: DicomStore, path: Path) -> Any:
    """A CT image; None for every other file."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    with store.open(path) as file:
        try:
            dataset = dcmread(file)
            kind = dataset.get("SOPClassUID")
            # Reads every element now, so that a damaged one is noticed before anything is written.
            is_ct = kind in _CT and len(list(dataset.iterall())) > 0
            # A cut in the middle of the class makes another class of it; the file meta say it a second time.
            cut = kind != dataset.file_meta.get("MediaStorageSOPClassUID") or (is_ct and not _is_whole(dataset))
        except InvalidDicomError:
            return None
        except Exception as error:  # a damaged file makes pydicom raise nearly anything
            raise UnreadableScanError(
                f"The DICOM file is damaged ({type(error).__name__}); what can't be read can't be de-identified.",
                path=path,
            ) from error
    if cut:
        raise UnreadableScanError("The file is cut off.", path=path, remedy="Export the series again.")
    return dataset if is_ct else None


def _is_whole(dataset: Dataset) -> bool:
    if any(not dataset.get(keyword) for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "PixelData", "Rows")):
        return False
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return True
    pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    return len(dataset.PixelData) >= pixels * int(dataset.BitsAllocated) // 8


@dataclass(frozen=True, slots=True)
class _Treatment:
    """What is done to the attributes of one data set."""

    pseudonyms: Pseudonyms
    shift: timedelta
    names: Names


def _keep_listed(level: Dataset, treatment: _Treatment) -> None:
    """Remove all but what is on the list, and change that as its kind wants it, here and in nested items."""
    for element in list(level):
        keyword = str(element.keyword)
        if not may_stay(element):
            del level[element.tag]
        elif keyword == "AnatomicRegionSequence":
            element.value = standard_codes(element.value)
        elif element.VR == "SQ":
            for item in element.value:
                _keep_listed(item, treatment)
        elif keyword in EMPTIED:
            element.value = ""
        elif keyword in UIDS:
            element.value = _each(element.value, treatment.pseudonyms.uid)
        elif keyword in DATES:
            element.value = _each(element.value, lambda text: shifted(text[:8], treatment.shift))
        elif element.VR in _TEXT_VRS:
            element.value = _each(element.value, partial(_unnamed, keyword, treatment.names))


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """Change a value, or each of several."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [change(str(each)) for each in value]
    return change("" if value is None else str(value))


def _unnamed(keyword: str, names: Names, text: str) -> str:
    """A text, or nothing if it is not of the form that it should have, or names somebody."""
    if not is_harmless(keyword, text):
        return ""
    free = keyword in DEVICE_TEXTS or keyword in CODE_STRINGS
    return "" if free and names.are_in(text) else text


def _clear_pixels(dataset: Dataset) -> None:
    """Remove what hides beside the pixels: comments of codecs, bytes behind the last one, overlays in unused bits."""
    pixels = dataset.get("PixelData")
    if not isinstance(pixels, bytes):
        return
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        cleared = without_comments(pixels)
    else:
        cleared = _without_embedded_overlays(dataset, pixels[: _native_size(dataset)])
        cleared += b"\0" * (len(cleared) % 2)
    if cleared != pixels:
        dataset["PixelData"].value = cleared


def _native_size(dataset: Dataset) -> int:
    frames = int(dataset.get("NumberOfFrames") or 1) * int(dataset.get("SamplesPerPixel") or 1)
    return (int(dataset.Rows) * int(dataset.Columns) * frames * int(dataset.BitsAllocated) + 7) // 8


def _without_embedded_overlays(dataset: Dataset, pixels: bytes) -> bytes:
    """Unused bits of every pixel set as its sign says, where an overlay lies in them (a practice of before 2004)."""
    embedded = any(
        element.tag.group >> 8 == 0x60 and element.tag.element == 0x0102 and element.value for element in dataset
    )
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if not embedded or allocated != 16 or not 0 < stored < 16 or int(dataset.HighBit) != stored - 1:
        return pixels
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    unused = 16 - stored
    whole = np.frombuffer(pixels, dtype=f"{order}u2") << unused
    signed = whole.view(f"{order}i2") if int(dataset.PixelRepresentation) else whole
    return (signed >> unused).tobytes()


def shifted(text: str, shift: timedelta) -> str:
    """A DICOM date or date-time, moved; empty when it is none."""
    try:
        moved = datetime.strptime(text[:8], "%Y%m%d") + shift
    except (ValueError, OverflowError):
        return ""
    return moved.strftime("%Y%m%d") + text[8:]


def _method_codes() -> tuple[Any, ...]:
    from vastus.anatomy import Code

    return (
        Code("DCM", "113100", "Basic Application Confidentiality Profile"),
        Code("DCM", "113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    )
