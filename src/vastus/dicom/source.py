"""The DICOM images a label map belongs to, with the labels on exactly their slices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, Label, StructureTable
from vastus.dicom.patient import UTF_8, PatientAndStudy, patient_and_study
from vastus.errors import GeometryError, LabelError, UnsupportedScanError
from vastus.io.scan_types import Scan, ScanFormat, ScanSource
from vastus.volume import Affine, Volume, resample_like

if TYPE_CHECKING:
    from pydicom import Dataset

_NEEDED = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPClassUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
)
_OF_AN_IMAGE = (
    *_NEEDED,
    "Modality",
    "ImageType",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
)
_NUMBERS_OF_AN_IMAGE = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
)


@dataclass(frozen=True, slots=True)
class SliceReference:
    """The image of one slice: ``frame`` (from 1) only for a multi-frame object; position as in its header (LPS)."""

    sop_class_uid: str
    sop_instance_uid: str
    frame: int | None
    position_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSeries:
    """A CT series and the labels on its own slices.

    Attributes:
        datasets: headers without pixels, in slice order; one only for a multi-frame object.
        slices: the image of each slice.
        values: uint8 label values, shape (slices, rows, columns).
        affine: (column, row, slice) -> RAS+ mm, sheared for a tilted gantry.
        labels: the values that occur, in the order of ``StructureTable.labels``.
        counts: voxels of each label value in each slice, shape (slices, 256).
        table: of the structures.
    """

    datasets: tuple[Dataset, ...]
    slices: tuple[SliceReference, ...]
    values: NDArray[np.uint8]
    affine: Affine
    labels: tuple[Label, ...]
    counts: NDArray[np.int64]
    table: StructureTable = BUILT_IN

    @property
    def header(self) -> Dataset:
        """The first slice's header: patient, study, frame of reference."""
        return self.datasets[0]


def refuse_unless_dicom(source: ScanSource) -> None:
    """Refuse a scan that DICOM results can't refer to.

    Raises:
        UnsupportedScanError: it was not read from DICOM.
    """
    if source.kind is not ScanFormat.DICOM:
        raise UnsupportedScanError(
            f"DICOM results need a DICOM scan: patient, study and image references are not in {source.kind.value}.",
            path=source.path,
            remedy="Give the DICOM folder, or leave -f away.",
        )


def labelled_series(source: ScanSource, labels: Volume, table: StructureTable = BUILT_IN) -> LabelledSeries:
    """Bring labels and source images together.

    Args:
        source: where the scan came from.
        labels: uint8 label map on the grid of the scan as it was read.
        table: of the structures.

    Raises:
        UnsupportedScanError: not DICOM, or a header without what every result must repeat.
        GeometryError: the labels do not lie on the slices of the files.
        LabelError: a value that the table does not know, or no label at all.
    """
    refuse_unless_dicom(source)
    from vastus.io.dicom_series import read_headers

    datasets, _ = _fit_headers(read_headers(source), source)
    if source.acquired_grid is not None:
        grid = source.acquired_grid
        target = Volume(np.broadcast_to(np.uint8(0), grid.shape), grid.affine)
        labels = resample_like(labels, target, order=0)
    slices = _slice_references(datasets, labels, source)
    _fill_thickness(datasets, labels.affine)
    values = np.ascontiguousarray(labels.array.transpose(2, 1, 0), dtype=np.uint8)
    # Slice by slice: of the whole at once, bincount makes a copy of eight bytes a voxel.
    counts = np.stack([np.bincount(plane.ravel(), minlength=256) for plane in values])
    occurring = np.flatnonzero(counts[:, 1:].any(axis=0)) + 1
    unknown = [int(v) for v in occurring if int(v) not in table.by_value]
    if unknown:
        raise LabelError(f"The label map holds unknown values: {unknown[:5]}.", path=source.path)
    if not len(occurring):
        raise LabelError("Nothing was found in this scan: there is nothing to store as DICOM.", path=source.path)
    present = set(occurring.tolist())
    found = tuple(label for value, label in table.by_value.items() if value in present)
    if not all(label.structure.english.isascii() for label in found):
        for header in datasets:
            header.SpecificCharacterSet = UTF_8
    return LabelledSeries(datasets, slices, values, labels.affine, found, counts, table)


def _fill_thickness(datasets: tuple[Dataset, ...], affine: Affine) -> None:
    """Give a thickness, which highdicom insists on, where the header has no number: as far as slices lie apart."""
    from pydicom.valuerep import format_number_as_ds

    across, down, along = affine[:3, :3].T
    normal = np.cross(across, down)
    apart = format_number_as_ds(round(abs(float(along @ normal)) / float(np.linalg.norm(normal)), 6))
    for dataset in datasets:
        groups = [
            *(dataset.get("SharedFunctionalGroupsSequence") or ()),
            *(dataset.get("PerFrameFunctionalGroupsSequence") or ()),
        ]
        places = [g.PixelMeasuresSequence[0] for g in groups if g.get("PixelMeasuresSequence")] if groups else [dataset]
        for place in places:
            if not _numbers(place, "SliceThickness"):
                place.SliceThickness = apart


def check_headers(source: ScanSource) -> tuple[str, ...]:
    """Find out before the network runs whether DICOM results can be made of a scan.

    Returns:
        Warnings about values that the results can't repeat as they are.

    Raises:
        UnsupportedScanError: not DICOM, or a header without what every result must repeat.
    """
    refuse_unless_dicom(source)
    from vastus.io.dicom_series import read_headers

    _, warnings = _fit_headers(read_headers(source), source)
    return warnings


def with_checked_headers(scan: Scan) -> Scan:
    """The scan, with the warnings of ``check_headers`` among its own.

    Raises:
        UnsupportedScanError: as ``check_headers``.
    """
    source = scan.source
    return replace(scan, source=replace(source, warnings=source.warnings + check_headers(source)))


def _fit_headers(headers: Iterable[Dataset], source: ScanSource) -> tuple[tuple[Dataset, ...], tuple[str, ...]]:
    """What results need of each header, in a form that any library takes; the patient is the first header's."""
    import warnings as python_warnings

    found: PatientAndStudy | None = None
    fit = []
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")  # pydicom's warnings about a value quote it: patient data
        for header in headers:
            found = found or patient_and_study(header)
            fit.append(_fit_header(header, found, source))
    return tuple(fit), found.warnings if found else ()


def _fit_header(header: Dataset, patient: PatientAndStudy, source: ScanSource) -> Dataset:
    from pydicom import Dataset

    missing = [keyword for keyword in _NEEDED if not header.get(keyword)]
    if missing:
        raise UnsupportedScanError(
            f"The DICOM header lacks {', '.join(missing)}, which DICOM results must repeat.",
            path=source.path,
            remedy="Leave -f away: labels and tables do not need it.",
        )
    result = Dataset()
    for keyword in _OF_AN_IMAGE:
        if keyword in header:
            result[keyword] = header[keyword]
    for keyword in _NUMBERS_OF_AN_IMAGE:
        numbers = _numbers(header, keyword)
        if numbers:
            setattr(result, keyword, numbers if len(numbers) > 1 else numbers[0])
    indicator = str(header.get("PositionReferenceIndicator") or "")
    result.PositionReferenceIndicator = indicator if len(indicator) <= 64 and indicator.isascii() else ""
    result.update(patient.elements)
    # Of each image its own, though they are all of one study.
    result.StudyInstanceUID = header.StudyInstanceUID
    return result


def _numbers(header: Dataset, keyword: str) -> list[str]:
    """Decimals of at most 16 characters, or none where one is no number."""
    from pydicom.valuerep import format_number_as_ds

    try:
        value = header.get(keyword)
        values = [] if value in (None, "") else [float(v) for v in np.atleast_1d(np.asarray(value, dtype=np.float64))]
    except (TypeError, ValueError, OverflowError):
        return []
    return [format_number_as_ds(v) for v in values] if all(np.isfinite(values)) else []


def _slice_references(datasets: tuple[Dataset, ...], labels: Volume, source: ScanSource) -> tuple[SliceReference, ...]:
    """One image a slice, checked by place: the k-th position must lie at voxel (0, 0, k)."""
    found: dict[int, SliceReference] = {}
    to_voxel = np.linalg.inv(labels.affine)
    for dataset in datasets:
        for frame, position in _positions(dataset):
            x, y, z = position
            voxel = to_voxel @ np.array([-x, -y, z, 1.0])
            k = round(float(voxel[2]))
            if np.abs(voxel[:3] - (0, 0, k)).max() < 0.5 and 0 <= k < labels.shape[2]:
                reference = SliceReference(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), frame, (x, y, z))
                found.setdefault(k, reference)
    fits = all((int(d.Columns), int(d.Rows)) == labels.shape[:2] for d in datasets)
    if len(found) != labels.shape[2] or not fits:
        raise GeometryError("The labels do not lie on the slices of the DICOM files.", path=source.path)
    return tuple(found[k] for k in range(labels.shape[2]))


def _positions(dataset: Dataset) -> list[tuple[int | None, list[float]]]:
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        return [(None, [float(v) for v in dataset.ImagePositionPatient])]
    shared: Any = dataset.SharedFunctionalGroupsSequence[0]
    found: list[tuple[int | None, list[float]]] = []
    for number, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        holder = groups if "PlanePositionSequence" in groups else shared
        found.append((number, [float(v) for v in holder.PlanePositionSequence[0].ImagePositionPatient]))
    return found
