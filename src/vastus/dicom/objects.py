"""What every DICOM result of Vastus shares: UIDs, equipment, patient and study, dates."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from vastus.anatomy import SIDES, Code, Label, StructureTable
from vastus.dicom.patient import COPIED
from vastus.dicom.source import LabelledSeries
from vastus.io.stops import Stops
from vastus.terminology import SCHEME, SCHEME_NAME
from vastus.version import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER: Final = "Vastus developers"
MODEL: Final = "Vastus"
DEVICE_UID: Final = f"2.25.{uuid.uuid5(uuid.NAMESPACE_DNS, 'vastus').int}"
"""Names the software as an observer; the same for every installation."""

_COPIED = ("SpecificCharacterSet", *COPIED)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What made the labels.

    Attributes:
        version: of Vastus.
        weights: name and SHA-256 of the network's weights.
    """

    weights: str
    name: str = "Vastus"
    version: str = __version__


def stop_title(title: str, stops: Stops) -> str:
    """A title that stops a reader already in a list of series."""
    return f"STOP - {title}" if stops.alarms else title


def new_uid() -> str:
    """A fresh UID of the 2.25 arc, which needs no registration."""
    return f"2.25.{uuid.uuid4().int}"


def concept(code: Code) -> Any:
    """A code as highdicom's data set item."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def code_item(code: Code) -> Dataset:
    """A code as a plain data set item."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item


def label_title(label: Label) -> str:
    """What a viewer shows, e.g. ``Gluteus medius right``."""
    name = label.structure.english
    return f"{name} {label.side.value}" if label.side in SIDES else name


def content_in_words(table: StructureTable) -> str:
    """What an object as a whole shows, for its description."""
    return "Thigh and hip muscles and bones" if table.is_built_in else "Structures of a data set of its own"


def software(algorithm: Algorithm) -> str:
    """Version of what made an object."""
    return f"vastus {algorithm.version}"


def stamp(dataset: Dataset) -> None:
    """Declare the private coding scheme in an object that uses it."""
    from pydicom import Dataset

    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = SCHEME_NAME
    dataset.CodingSchemeIdentificationSequence = [item]


def new_object(series: LabelledSeries, sop_class_uid: str, transfer_syntax_uid: str) -> Any:
    """A data set with file meta, patient, study, equipment and time, for objects written on pydicom.

    The caller adds modality, series number and what the IOD asks for.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class_uid
    meta.MediaStorageSOPInstanceUID = new_uid()
    meta.TransferSyntaxUID = transfer_syntax_uid
    meta.ImplementationClassUID = DEVICE_UID
    dataset: Any = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword in _COPIED:
        if keyword in series.header:
            dataset[keyword] = series.header[keyword]
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class_uid, meta.MediaStorageSOPInstanceUID
    now = datetime.now()
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.SeriesInstanceUID, dataset.InstanceNumber = new_uid(), 1
    dataset.Manufacturer, dataset.ManufacturerModelName = MANUFACTURER, MODEL
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = __version__, f"vastus {__version__}"
    return dataset
