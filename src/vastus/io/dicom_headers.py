"""The headers of DICOM files, as far as they matter for finding and ordering the slices of a CT."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vastus.errors import UnreadableScanError
from vastus.io.dicom_files import DICOM_SUFFIXES, is_packed, is_text, is_unfinished, read_dataset, suffix_class
from vastus.io.dicom_store import DicomStore
from vastus.io.image_types import how_computed

if TYPE_CHECKING:
    from pydicom import Dataset

LOCALISER = "localiser"
_NAMED = 3
_LOSSY_SYNTAXES = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_KEYWORDS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "ImageType",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "FrameOfReferenceUID",
    "SeriesDescription",
    "ConvolutionKernel",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
    "BitsAllocated",
    "InstanceNumber",
    "SliceThickness",
    "ImagesInAcquisition",
    "NumberOfSeriesRelatedInstances",
    "AcquisitionNumber",
    "KVP",
    "LossyImageCompression",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "PatientPosition",
    "PatientOrientation",
    "Laterality",
    "ImageLaterality",
]


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """One slice: a file, or one frame of a multi-frame file. Geometry in DICOM's LPS millimetres.

    Attributes:
        path, frame: where its pixels are.
        series_uid, study_uid, patient: what it belongs to; ``patient`` is only compared, never shown.
        frame_of_reference: of its coordinates.
        description, kernel: of the series.
        original: not derived by reformatting.
        rows, columns: of the matrix.
        pixel_spacing_mm: between rows, between columns.
        orientation: direction cosines along a row, then along a column.
        position_mm: centre of the first voxel.
        slope, intercept: stored value -> HU.
        rescaled: whether the header says both.
        padding: first and last stored value of voxels outside the field of view; several ranges or none.
        number: InstanceNumber of a single-frame file.
        thickness_mm: of the slice.
        announced: how many images its acquisition or series has, by the header.
        acquisition: number of the acquisition and voltage of the tube, as the header says them; only compared.
        lossy: its values were changed by lossy compression.
        altered: how its values were computed from those of a plain CT, in words; empty for a plain CT.
        patient_position: how the patient lay on the table, e.g. ``HFS``; empty where the header does not say.
        patient_orientation: where rows and columns run to, e.g. ``("L", "P")``; empty likewise.
        laterality: ``R``, ``L`` or another word of the series, and of the image; empty likewise.
    """

    path: Path
    frame: int
    series_uid: str
    study_uid: str
    patient: int
    frame_of_reference: str
    description: str
    kernel: str
    original: bool
    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float]
    orientation: tuple[float, ...]
    position_mm: tuple[float, float, float]
    slope: float
    intercept: float
    rescaled: bool
    padding: tuple[tuple[int, int], ...]
    number: int | None
    thickness_mm: float | None
    announced: int | None
    acquisition: tuple[str, str]
    lossy: bool
    altered: str
    patient_position: str
    patient_orientation: tuple[str, ...]
    laterality: tuple[str, str]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image of a series that is no CT slice by its header: its file, why, and its size."""

    path: Path
    why: str
    rows: int
    columns: int


@dataclass(slots=True)
class Inventory:
    """What a folder holds.

    Attributes:
        slices: CT slices by series UID.
        without_position: a CT file that says no position, by series UID.
        left_out: how many images of which kind are no CT slices, e.g. ``MR``, ``localiser``.
        left_out_of: the same images with their files, by series UID.
        modality_of: of every series, for messages.
        warnings: for the user.
    """

    slices: dict[str, list[SliceHeader]] = field(default_factory=dict)
    without_position: dict[str, Path] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_of: dict[str, list[LeftOut]] = field(default_factory=dict)
    modality_of: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def take_inventory(store: DicomStore) -> Inventory:
    """Read the headers of all files.

    Raises:
        UnreadableScanError: a file that should be DICOM is empty or damaged, or one among slices can't be read as
            DICOM (a slice may be lost with it).
    """
    inventory = Inventory()
    ignored: list[Path] = []
    for path in store.paths():
        dataset = _header(store, path)
        if dataset is None:
            ignored.append(path)
        else:
            _sort_in_safely(inventory, path, dataset)
    _refuse_lost_links(store, inventory)
    if inventory.slices or inventory.left_out:
        _refuse_unread_slices(store, inventory, ignored)
        if ignored:
            shown = ", ".join(path.name for path in ignored[:_NAMED]) + (" ..." if len(ignored) > _NAMED else "")
            inventory.warnings.append(f"{len(ignored)} files that are not DICOM were ignored: {shown}.")
    return inventory


def _refuse_lost_links(store: DicomStore, inventory: Inventory) -> None:
    among = _places(inventory)
    for path in store.lost():
        like_dicom = suffix_class(path) in ("", *DICOM_SUFFIXES)
        if (like_dicom and not among) or _is_among(path, among):
            raise UnreadableScanError(
                "This link leads nowhere; a slice may be lost.",
                path=path,
                remedy="Fetch what it stands for (e.g. `datalad get`), or take the link out of the folder.",
            )


def _refuse_unread_slices(store: DicomStore, inventory: Inventory, ignored: list[Path]) -> None:
    """Refuse a folder in which some files are not recognised: they may be slices, and the scan would lack them."""
    among = _places(inventory)
    for path in ignored:
        packed = is_packed(path) or is_unfinished(path)
        if not (_is_among(path, among) or (packed and _is_among(path.with_suffix(""), among))):
            continue
        if not packed:
            with store.open(path) as file:
                if is_text(file.read(4096)):
                    continue
        what = "is compressed or half copied" if packed else "can't be read as DICOM"
        raise UnreadableScanError(
            f"This file lies among the slices of a CT but {what}; a slice may be lost.",
            path=path,
            remedy="Export the series again, or take the file out of the folder.",
        )


def _places(inventory: Inventory) -> set[tuple[Path, str]]:
    """Find the folders that hold slices, and the suffixes of the slices there."""
    return {(s.path.parent, suffix_class(s.path)) for slices in inventory.slices.values() for s in slices}


def _is_among(path: Path, places: set[tuple[Path, str]]) -> bool:
    return (path.parent, suffix_class(path)) in places


def _header(store: DicomStore, path: Path) -> Dataset | None:
    from pydicom.errors import InvalidDicomError

    named_dicom = path.suffix.lower() in DICOM_SUFFIXES
    if store.size(path) == 0:
        if named_dicom or not suffix_class(path):
            raise UnreadableScanError(
                "The file is empty (0 bytes); a slice may be lost.", path=path, remedy="Export the series again."
            )
        return None
    try:
        with store.open(path) as file:
            dataset = read_dataset(file, force=named_dicom, stop_before_pixels=True, specific_tags=_KEYWORDS)
            readable = "SOPClassUID" in dataset or "Modality" in dataset
    except InvalidDicomError:
        return None
    except UnreadableScanError:
        raise
    except Exception as error:  # a damaged header makes pydicom raise nearly anything
        raise UnreadableScanError(
            f"The DICOM header is damaged ({type(error).__name__}).", path=path, remedy="Export the series again."
        ) from error
    if not readable:
        if named_dicom:
            raise UnreadableScanError(
                "This file is named like DICOM but holds none, or is cut off.",
                path=path,
                remedy="Export the series again, or take the file out of the folder.",
            )
        return None
    return dataset


def _sort_in_safely(inventory: Inventory, path: Path, dataset: Dataset) -> None:
    try:
        _sort_in(inventory, path, dataset)
    except UnreadableScanError:
        raise
    except Exception as error:  # pydicom decodes a value when it is asked for; a damaged one raises nearly anything
        raise UnreadableScanError(
            f"The DICOM header is damaged ({type(error).__name__}).", path=path, remedy="Export the series again."
        ) from error


def _sort_in(inventory: Inventory, path: Path, dataset: Dataset) -> None:
    uid, modality = str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("Modality", ""))
    if not uid or not modality:
        raise UnreadableScanError(
            "The DICOM header says no series or modality; the file may be cut off.",
            path=path,
            remedy="Export the series again, or take the file out of the folder.",
        )
    inventory.modality_of[uid] = modality
    other = _why_not_a_slice(dataset, modality)
    if other:
        inventory.left_out[other] += 1
        size = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        inventory.left_out_of.setdefault(uid, []).append(LeftOut(path, other, *size))
        return
    try:
        slices = (
            _frames(path, dataset, uid)
            if dataset.get("SOPClassUID") in _ENHANCED_CT
            else [_slice(path, dataset, uid, 0, dataset)]
        )
    except (AttributeError, TypeError, ValueError, IndexError):
        inventory.without_position[uid] = path
        return
    inventory.slices.setdefault(uid, []).extend(slices)


def _why_not_a_slice(dataset: Dataset, modality: str) -> str:
    if modality != "CT":
        return modality
    if dataset.get("SOPClassUID") != CT_IMAGE and dataset.get("SOPClassUID") not in _ENHANCED_CT:
        return "secondary capture or other CT object"
    if set(_image_type(dataset)) & {"LOCALIZER", "SCOUT"}:
        return LOCALISER
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        return "colour image"
    if dataset.get("SOPClassUID") == CT_IMAGE and (_whole(dataset.get("NumberOfFrames")) or 1) > 1:
        return "file of several frames that says the place of one only"
    return how_computed(_image_type(dataset)).no_hu or _why_not_hounsfield(dataset)


def _why_not_hounsfield(dataset: Dataset) -> str:
    if dataset.get("ModalityLUTSequence"):
        return "image whose values stand in a table (Modality LUT)"
    units = {str(place.get("RescaleType") or "HU").strip().upper() for place in _rescaled_places(dataset)}
    if not units <= {"HU", "US"}:
        return f"image in units of {', '.join(sorted(units - {'HU', 'US'}))}, not HU"
    return ""


def _rescaled_places(dataset: Dataset) -> list[Dataset]:
    """Return the data set and, for an Enhanced CT, the groups that say how its values are rescaled."""
    groups = [
        *(dataset.get("SharedFunctionalGroupsSequence") or ()),
        *(dataset.get("PerFrameFunctionalGroupsSequence") or ()),
    ]
    name = "PixelValueTransformationSequence"
    return [dataset, *(group[name][0] for group in groups if name in group and group[name].value)]


def _frames(path: Path, dataset: Dataset, uid: str) -> list[SliceHeader]:
    """List the slices of an Enhanced CT. Values that a frame lacks come from the shared groups."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    announced, said = _whole(dataset.get("NumberOfFrames")), len(dataset.PerFrameFunctionalGroupsSequence)
    if announced is not None and announced != said:
        raise UnreadableScanError(
            f"The file announces {announced} frames but says the place of {said}.",
            path=path,
            remedy="Export the series again.",
        )
    return [
        _slice(path, _Groups(dataset, shared, frame), uid, number, dataset)
        for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence)
    ]


class _Groups:
    """Attributes of one frame, looked up in its functional groups, then the shared ones, then the data set."""

    _SEQUENCES = (
        "PixelMeasuresSequence",
        "PlaneOrientationSequence",
        "PlanePositionSequence",
        "PixelValueTransformationSequence",
        "CTReconstructionSequence",
        "CTXRayDetailsSequence",
        "FrameAnatomySequence",
    )

    def __init__(self, dataset: Dataset, shared: Dataset, frame: Dataset) -> None:
        self._holders = [
            group[name][0]
            for group in (frame, shared)
            for name in self._SEQUENCES
            if name in group and group[name].value
        ]
        self._holders.append(dataset)

    def get(self, keyword: str, default: Any = None) -> Any:
        return next((holder.get(keyword) for holder in self._holders if keyword in holder), default)


def _slice(path: Path, place: Any, uid: str, frame: int, dataset: Dataset) -> SliceHeader:
    orientation = tuple(float(v) for v in place.get("ImageOrientationPatient"))
    x, y, z = (float(v) for v in place.get("ImagePositionPatient"))
    between_rows, between_columns = (float(v) for v in place.get("PixelSpacing"))
    numbers = (*orientation, x, y, z, between_rows, between_columns)
    if len(orientation) != 6 or min(between_rows, between_columns) <= 0 or not all(map(math.isfinite, numbers)):
        raise ValueError("no usable plane")
    kernel = place.get("ConvolutionKernel") or ""
    slope, intercept = place.get("RescaleSlope"), place.get("RescaleIntercept")
    return SliceHeader(
        path=path,
        frame=frame,
        series_uid=uid,
        study_uid=str(dataset.get("StudyInstanceUID", "")),
        patient=hash(str(dataset.get("PatientID", ""))),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
        description=str(dataset.get("SeriesDescription", "")),
        kernel=kernel if isinstance(kernel, str) else str(kernel[0]),
        original=_is_original(dataset),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        pixel_spacing_mm=(between_rows, between_columns),
        orientation=orientation,
        position_mm=(x, y, z),
        slope=_number(slope, 1.0),
        intercept=_number(intercept, 0.0),
        rescaled=slope not in (None, "") and intercept not in (None, ""),
        padding=_padding(dataset),
        number=None if place is not dataset else _whole(dataset.get("InstanceNumber")),
        thickness_mm=_or_none(place.get("SliceThickness")),
        announced=_whole(dataset.get("NumberOfSeriesRelatedInstances")) or _whole(dataset.get("ImagesInAcquisition")),
        acquisition=(str(dataset.get("AcquisitionNumber") or ""), str(place.get("KVP") or "")),
        lossy=_is_lossy(dataset),
        altered=how_computed(_image_type(dataset)).other_hu,
        patient_position=_word(dataset.get("PatientPosition")),
        patient_orientation=_words(dataset.get("PatientOrientation")),
        laterality=(
            _word(dataset.get("Laterality")),
            _word(place.get("FrameLaterality") or place.get("ImageLaterality")),
        ),
    )


def _word(value: Any) -> str:
    return str(value or "").strip().upper()


def _words(value: Any) -> tuple[str, ...]:
    parts = value.split("\\") if isinstance(value, str) else (value or ())
    return tuple(_word(part) for part in parts)


def _is_lossy(dataset: Dataset) -> bool:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", "")
    return str(dataset.get("LossyImageCompression") or "").strip() == "01" or syntax in _LOSSY_SYNTAXES


def _number(value: Any, default: float) -> float:
    return default if value in (None, "") else float(value)


def _or_none(value: Any) -> float | None:
    """Read a number that hardly matters; None if it can't be read."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _padding(dataset: Dataset) -> tuple[tuple[int, int], ...]:
    """Return the range of stored values outside the field of view, for any type in the header."""
    first = _pixel_value(dataset, "PixelPaddingValue")
    if first is None:
        return ()
    last = _pixel_value(dataset, "PixelPaddingRangeLimit")
    last = first if last is None else last
    return ((min(first, last), max(first, last)),)


def _pixel_value(dataset: Dataset, keyword: str) -> int | None:
    """Read a pixel value: bytes in implicit VR, sometimes unsigned for signed pixels in explicit VR."""
    value = dataset.get(keyword)
    if isinstance(value, bytes) and len(value) >= 2:
        value = int.from_bytes(value[:2], "little")
    if not isinstance(value, int):
        return None
    if int(dataset.get("BitsAllocated") or 16) != 16:
        return value
    value %= 1 << 16
    signed = bool(dataset.get("PixelRepresentation"))
    return value - (1 << 16) if signed and value >= 1 << 15 else value


def _image_type(dataset: Dataset) -> list[str]:
    """Return the image type as a list, those of all frames with it; a value without a backslash comes as one text."""
    values = [dataset.get("ImageType")]
    for group in (
        *(dataset.get("SharedFunctionalGroupsSequence") or ()),
        *(dataset.get("PerFrameFunctionalGroupsSequence") or ()),
    ):
        values += [item.get("FrameType") for item in group.get("CTImageFrameTypeSequence") or ()]
    parts = [part for value in values if value for part in ([value] if isinstance(value, str) else value)]
    return list(dict.fromkeys(str(part).upper() for part in parts))


def _is_original(dataset: Dataset) -> bool:
    image_type = _image_type(dataset)
    return "REFORMATTED" not in image_type and "MPR" not in image_type and image_type[:1] != ["DERIVED"]
