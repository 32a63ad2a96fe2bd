"""The headers of DICOM files, as far as they matter for finding and ordering the slices of a CT."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vastus.errors import UnreadableScanError
from vastus.io.dicom_store import DicomStore

if TYPE_CHECKING:
    from pydicom import Dataset

_CT = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom", ".dic")
_KEYWORDS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "SeriesInstanceUID", "StudyInstanceUID", "PatientID",
    "FrameOfReferenceUID", "SeriesDescription", "ConvolutionKernel", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "PixelPaddingValue", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


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
        padding: stored value of voxels outside the field of view.
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
    padding: int | None


@dataclass(slots=True)
class Inventory:
    """What a folder holds.

    Attributes:
        slices: CT slices by series UID.
        without_position: a CT file that says no position, by series UID.
        left_out: how many images of which kind are no CT slices, e.g. ``MR``, ``localiser``.
        modality_of: of every series, for messages.
        warnings: for the user.
    """

    slices: dict[str, list[SliceHeader]] = field(default_factory=dict)
    without_position: dict[str, Path] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    modality_of: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def take_inventory(store: DicomStore) -> Inventory:
    """Read the headers of all files.

    Raises:
        UnreadableScanError: a file that should be DICOM is empty or damaged (a slice may be lost with it).
    """
    inventory = Inventory()
    ignored = 0
    for path in store.paths():
        dataset = _header(store, path)
        if dataset is None:
            ignored += 1
        else:
            _sort_in_safely(inventory, path, dataset)
    if ignored and (inventory.slices or inventory.left_out):
        inventory.warnings.append(f"{ignored} files that are not DICOM were ignored.")
    return inventory


def _header(store: DicomStore, path: Path) -> Dataset | None:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    named_dicom = path.suffix.lower() in _DICOM_SUFFIXES
    if store.size(path) == 0:
        if named_dicom or not path.suffix:
            raise UnreadableScanError(
                "The file is empty (0 bytes); a slice may be lost.", path=path, remedy="Export the series again."
            )
        return None
    try:
        with store.open(path) as file:
            dataset = dcmread(file, force=named_dicom, stop_before_pixels=True, specific_tags=_KEYWORDS)
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
                "This file is named like DICOM but holds none, or is cut off.", path=path,
                remedy="Export the series again, or take the file out of the folder.",
            )  # fmt: skip
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
            "The DICOM header says no series or modality; the file may be cut off.", path=path,
            remedy="Export the series again, or take the file out of the folder.",
        )  # fmt: skip
    inventory.modality_of[uid] = modality
    other = _why_not_a_slice(dataset, modality)
    if other:
        inventory.left_out[other] += 1
        return
    try:
        slices = _frames(path, dataset, uid) if dataset.get("SOPClassUID") in _ENHANCED_CT else [
            _slice(path, dataset, uid, 0, dataset)
        ]  # fmt: skip
    except (AttributeError, TypeError, ValueError, IndexError):
        inventory.without_position[uid] = path
        return
    inventory.slices.setdefault(uid, []).extend(slices)


def _why_not_a_slice(dataset: Dataset, modality: str) -> str:
    if modality != "CT":
        return modality
    if dataset.get("SOPClassUID") != _CT and dataset.get("SOPClassUID") not in _ENHANCED_CT:
        return "secondary capture or other CT object"
    image_type = {str(part).upper() for part in dataset.get("ImageType") or ()}
    if image_type & {"LOCALIZER", "SCOUT"}:
        return "localiser"
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        return "colour image"
    if str(dataset.get("RescaleType") or "HU").upper() not in ("HU", "US"):
        return f"image in units of {dataset.RescaleType}, not HU"
    return ""


def _frames(path: Path, dataset: Dataset, uid: str) -> list[SliceHeader]:
    """The slices of an Enhanced CT: what a frame does not say itself, the shared groups say."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    return [
        _slice(path, _Groups(dataset, shared, frame), uid, number, dataset)
        for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence)
    ]


class _Groups:
    """Attributes of one frame, looked up in its functional groups, then the shared ones, then the data set."""

    _SEQUENCES = (
        "PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence",
        "PixelValueTransformationSequence", "CTReconstructionSequence",
    )  # fmt: skip

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
    if len(orientation) != 6 or min(between_rows, between_columns) <= 0:
        raise ValueError("no usable plane")
    kernel = place.get("ConvolutionKernel") or ""
    padding = dataset.get("PixelPaddingValue")
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
        slope=_number(place.get("RescaleSlope"), 1.0),
        intercept=_number(place.get("RescaleIntercept"), 0.0),
        padding=int(padding) if isinstance(padding, int) else None,
    )


def _number(value: Any, default: float) -> float:
    return default if value in (None, "") else float(value)


def _is_original(dataset: Dataset) -> bool:
    image_type = [str(part).upper() for part in dataset.get("ImageType") or ()]
    return "REFORMATTED" not in image_type and "MPR" not in image_type and image_type[:1] != ["DERIVED"]
