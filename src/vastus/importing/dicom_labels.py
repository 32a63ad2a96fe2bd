"""DICOM SEG and RTSTRUCT as labels on the grid of their CT."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vastus.dicom.extra import need
from vastus.errors import GeometryError, LabelError, UnreadableScanError
from vastus.importing.source_labels import SourceLabels, add_part, no_parts
from vastus.io.scan_types import Scan
from vastus.volume import AnyArray, Volume, place_on, resample_like

if TYPE_CHECKING:
    from pydicom import Dataset

_SEG, _RTSTRUCT = "SEG", "RTSTRUCT"
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_OFF_SLICE = 0.3
"""Of the distance of two slices: how far a contour may lie off the slice that it was drawn in."""

Points = NDArray[np.float64]


def referenced_series(path: Path) -> str | None:
    """UID of the series that a SEG or RTSTRUCT was made on; None where it does not say.

    Raises:
        UnreadableScanError: no DICOM.
        LabelError: neither of the two.
    """
    header = _header(path)
    if header.Modality == _SEG:
        series = header.get("ReferencedSeriesSequence") or []
        return str(series[0].SeriesInstanceUID) if series else None
    for frame in header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                return str(series.SeriesInstanceUID)
    return None


def read_dicom_labels(path: Path, scan: Scan) -> SourceLabels:
    """Read a SEG or RTSTRUCT.

    Args:
        path: of the object.
        scan: the CT; the labels lie on its grid, straightened where its gantry was tilted.

    Raises:
        MissingExtraError: the extra ``dicom`` is not installed (for SEG).
        GeometryError: the object lies elsewhere than the CT.
        LabelError: an object of another kind, or one that does not say yes or no for a voxel.
        UnreadableScanError: no DICOM, or damaged.
    """
    tilted = scan.source.acquired_grid
    drawn_on = scan.volume
    if tilted is not None:
        drawn_on = Volume(np.broadcast_to(np.uint8(0), tilted.shape), tilted.affine)
    header = _header(path)
    found = _read_seg(path, drawn_on) if header.Modality == _SEG else _read_contours(path, drawn_on)
    if tilted is None:
        return found
    return SourceLabels(resample_like(found.volume, scan.volume, order=0), found.names, found.warnings)


def _header(path: Path) -> Dataset:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, ValueError, AttributeError) as error:
        raise UnreadableScanError("This is not a DICOM file.", path=path) from error
    if header.get("Modality") not in (_SEG, _RTSTRUCT):
        raise LabelError(
            f"Labels in DICOM are SEG or RTSTRUCT, not {header.get('Modality') or 'of no modality'}.", path=path
        )
    return header


def _read_seg(path: Path, drawn_on: Volume) -> SourceLabels:
    need("Reading DICOM SEG", "highdicom")
    import highdicom as hd

    try:
        seg = hd.seg.segread(path)
        numbers = [int(number) for number in seg.segment_numbers]
        names = {number: _segment_name(seg.get_segment_description(number)) for number in numbers}
        array, affine = _frames(seg, numbers)
    except (ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise LabelError(f"The segmentation can't be read ({type(error).__name__}: {error}).", path=path) from error
    found = Volume(array, _LPS_TO_RAS @ affine)
    placed = place_on(found, drawn_on)
    if placed is None:
        raise GeometryError(
            f"The segmentation does not lie on its CT: {drawn_on.difference_to(found)}.",
            path=path,
            remedy="Give the series that it was drawn on.",
        )
    return SourceLabels(placed, names)


def _frames(seg: Any, numbers: list[int]) -> tuple[AnyArray, Any]:
    """The numbers of segments as one array, and its affine in DICOM's directions."""
    first = seg.get_volume(segment_numbers=numbers[:1], combine_segments=True)
    array = no_parts(first.array.shape)
    for number in numbers:
        part = first if number == numbers[0] else seg.get_volume(segment_numbers=[number], combine_segments=True)
        add_part(array, part.array > 0, number)
    return array, np.asarray(first.affine)


def _segment_name(description: Any) -> str:
    """The label of a segment, with the side of its code where the label says none."""
    name = str(description.segment_label)
    kind = description.get("SegmentedPropertyTypeCodeSequence") or []
    sides = [m.CodeMeaning for k in kind for m in k.get("SegmentedPropertyTypeModifierCodeSequence") or []]
    said = [side.lower() for side in sides if side.lower() in ("left", "right")]
    if not said or any(side in name.lower() for side in ("left", "right")):
        return name
    return f"{name} {said[0]}"


def _read_contours(path: Path, drawn_on: Volume) -> SourceLabels:
    import pydicom

    structures = pydicom.dcmread(path)
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in structures.get("StructureSetROISequence") or []}
    numbers = {roi: number for number, roi in enumerate(sorted(names), start=1)}
    array = no_parts(drawn_on.shape)
    skipped = 0
    for item in structures.get("ROIContourSequence") or []:
        roi = int(item.ReferencedROINumber)
        closed = []
        for contour in item.get("ContourSequence") or []:
            if str(contour.ContourGeometricType).startswith("CLOSED"):
                closed.append(np.asarray(contour.ContourData, np.float64).reshape(-1, 3))
            else:
                skipped += 1
        if roi in numbers and closed:
            add_part(array, filled(closed, drawn_on, path), numbers[roi])
    warnings = (f"{skipped} contours are points or open lines: they have no area.",) if skipped else ()
    return SourceLabels(drawn_on.with_array(array), {numbers[roi]: name for roi, name in names.items()}, warnings)


def filled(contours: list[Points], grid: Volume, path: Path) -> NDArray[np.bool_]:
    """The voxels whose centres lie inside an odd number of contours: a contour inside another one is a hole.

    Args:
        contours: points (n, 3) in the patient's coordinates of DICOM (LPS), mm; each in one slice.
        grid: of the CT.
        path: for messages.

    Raises:
        GeometryError: a contour that lies in no slice of the CT.
    """
    mask = np.zeros(grid.shape, bool, order="F")
    to_voxel = np.linalg.inv(grid.affine) @ _LPS_TO_RAS
    voxels = [points @ to_voxel[:3, :3].T + to_voxel[:3, 3] for points in contours]
    axis = int(np.argmin(np.max([np.ptp(points, axis=0) for points in voxels], axis=0)))
    by_slice: dict[int, list[Points]] = defaultdict(list)
    for points in voxels:
        heights = points[:, axis]
        place = round(float(heights.mean()))
        if np.abs(heights - place).max() > _OFF_SLICE or not 0 <= place < grid.shape[axis]:
            raise GeometryError(
                "A contour lies in no slice of the CT.", path=path, remedy="Give the series that it was drawn on."
            )
        by_slice[place].append(np.delete(points, axis, axis=1))
    for place, outlines in by_slice.items():
        plane = mask[tuple(place if a == axis else slice(None) for a in range(3))]
        for outline in outlines:
            _turn_over(plane, outline)
    return mask


def _turn_over(plane: NDArray[np.bool_], outline: Points) -> None:
    """Turn over what lies inside an outline, in place."""
    from matplotlib.path import Path as Outline

    low = np.maximum(np.ceil(outline.min(axis=0)), 0).astype(int)
    high = np.minimum(np.floor(outline.max(axis=0)) + 1, plane.shape).astype(int)
    if (low >= high).any() or len(outline) < 3:
        return
    centres = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    inside = Outline(outline).contains_points(centres.reshape(-1, 2)).reshape(centres.shape[:2])
    plane[low[0] : high[0], low[1] : high[1]] ^= inside
