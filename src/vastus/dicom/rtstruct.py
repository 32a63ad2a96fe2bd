"""RT Structure Set: the outlines of every structure and side, written on pydicom to the standard.

A contour runs halfway between the voxels inside and outside; a hole is joined to its outline by a channel of no
width ("keyhole", PS3.3 C.8.8.6.3), so that every contour is a CLOSED_PLANAR one that any planning system reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import Label
from vastus.dicom.objects import Algorithm, code_item, content_in_words, label_title, new_object, stamp
from vastus.dicom.source import LabelledSeries, SliceReference
from vastus.terminology import structure_code

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_NUMBER = 7303
_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
_NAME_LIMIT = 64
_DESCRIPTION_LIMIT = 1024
_CHANNELS_TRIED = 100

Points = NDArray[np.float64]


def make_rtstruct(series: LabelledSeries, algorithm: Algorithm) -> Dataset:
    """Build the structure set.

    Args:
        series: labels on the slices of the source images.
        algorithm: named in the description.
    """
    from pydicom import Dataset
    from pydicom.uid import ImplicitVRLittleEndian
    from scipy.ndimage import find_objects

    # Implicit VR, because in explicit VR a contour could not be longer than 64 KB.
    result = new_object(series, _SOP_CLASS, ImplicitVRLittleEndian)
    result.Modality, result.SeriesNumber, result.OperatorsName = "RTSTRUCT", SERIES_NUMBER, ""
    result.SeriesDescription = "Vastus contours"
    result.FrameOfReferenceUID = series.header.FrameOfReferenceUID
    result.PositionReferenceIndicator = series.header.get("PositionReferenceIndicator", "")
    result.StructureSetLabel, result.StructureSetName = "VASTUS", content_in_words(series.table)
    result.StructureSetDescription = f"{algorithm.name} {algorithm.version}, {algorithm.weights}"[:_DESCRIPTION_LIMIT]
    result.StructureSetDate, result.StructureSetTime = result.InstanceCreationDate, result.InstanceCreationTime
    result.ApprovalStatus = "UNAPPROVED"
    result.ReferencedFrameOfReferenceSequence = [_frame_of_reference(series)]
    boxes = find_objects(series.values)
    rois, contours, observations = [], [], []
    for number, label in enumerate(series.labels, start=1):
        roi = Dataset()
        roi.ROINumber, roi.ReferencedFrameOfReferenceUID = number, series.header.FrameOfReferenceUID
        roi.ROIName, roi.ROIGenerationAlgorithm = label_title(label)[:_NAME_LIMIT], "AUTOMATIC"
        rois.append(roi)
        contours.append(_roi_contours(series, number, label, boxes[label.value - 1]))
        observation = Dataset()
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = "ORGAN"
        observation.RTROIIdentificationCodeSequence = [code_item(structure_code(label.structure))]
        observation.ROIInterpreter = ""
        observations.append(observation)
    result.StructureSetROISequence = rois
    result.ROIContourSequence = contours
    result.RTROIObservationsSequence = observations
    stamp(result)
    return result


def outlines(mask: NDArray[np.bool_]) -> Iterator[Points]:
    """Closed outlines of a mask, holes joined in.

    Args:
        mask: shape (rows, columns).

    Yields:
        Points (n, 2) as (column, row) in pixels, pixel centres at whole numbers; the last point is not the first
        again. The centres inside are exactly the pixels of the mask.
    """
    from contourpy import FillType, contour_generator

    if not mask.any():
        return
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    field = np.pad(box, 1).astype(np.float64)
    shift = np.array([columns[0] - 1.0, rows[0] - 1.0])
    filled: Any = contour_generator(z=field, fill_type=FillType.OuterOffset).filled(0.5, 2.0)
    for points, offsets in zip(*filled, strict=True):
        rings = [points[a : b - 1] for a, b in itertools.pairwise(offsets)]
        joined = rings[0]
        for hole in rings[1:]:
            joined = _keyhole(joined, hole)
        yield joined + shift


def _keyhole(outer: Points, hole: Points) -> Points:
    """Walk the outline to a point near the hole, around the hole, and back by the same way."""
    distance = np.linalg.norm(outer[:, None] - hole[None], axis=2)
    nearest = np.argsort(distance, axis=None)[:_CHANNELS_TRIED]
    pairs = [np.unravel_index(int(flat), distance.shape) for flat in nearest]
    a, b = next((pair for pair in pairs if _misses_centres(outer[pair[0]], hole[pair[1]])), pairs[0])
    around = np.concatenate([hole[b:], hole[: b + 1]])
    return np.concatenate([outer[: a + 1], around, outer[a:]])


def _misses_centres(start: Points, stop: Points) -> bool:
    """Whether a channel passes no pixel centre: one that lies on the contour would be neither inside nor outside."""
    step = stop - start
    axis = int(np.abs(step).argmax())
    low, high = sorted((start[axis], stop[axis]))
    whole = np.arange(np.ceil(low), np.floor(high) + 1)
    crossing = start[1 - axis] + (whole - start[axis]) / step[axis] * step[1 - axis]
    return bool((np.abs(crossing - np.round(crossing)) > 1e-6).all())


def _roi_contours(series: LabelledSeries, number: int, label: Label, box: tuple[slice, slice, slice]) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ROIDisplayColor = list(label.structure.colour)
    item.ReferencedROINumber = number
    contours = []
    slices, rows, columns = box
    corner = np.array([columns.start, rows.start], dtype=np.float64)
    for k in range(slices.start, slices.stop):
        for points in outlines(series.values[k, rows, columns] == label.value):
            contour = Dataset()
            contour.ContourImageSequence = [_image(series.slices[k])]
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            _put_contour_data(contour, _patient_mm(series, points + corner, k))
            contours.append(contour)
    item.ContourSequence = contours
    return item


def _patient_mm(series: LabelledSeries, points: Points, k: int) -> Points:
    """Points in the patient's coordinates of DICOM (LPS), mm."""
    matrix = series.affine
    ras = points @ matrix[:3, :2].T + (matrix[:3, 2] * k + matrix[:3, 3])
    return ras * (-1.0, -1.0, 1.0)


def _put_contour_data(contour: Dataset, points: Points) -> None:
    """Three decimals, at most 16 characters a number.

    Put in as bytes, because pydicom would parse and check every number, which takes minutes. The VR "OB" is only in
    memory: implicit VR writes none, and a reader takes DS from the dictionary.
    """
    text = "\\".join(f"{value:.3f}" for value in np.round(points, 3).ravel() + 0.0).encode()
    contour.add_new("ContourData", "OB", text + b" " * (len(text) % 2))


def _image(reference: SliceReference) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reference.frame is not None:
        item.ReferencedFrameNumber = reference.frame
    return item


def _frame_of_reference(series: LabelledSeries) -> Dataset:
    from pydicom import Dataset

    images: dict[str, Dataset] = {}
    for reference in series.slices:
        whole = replace(reference, frame=None)
        images.setdefault(reference.sop_instance_uid, _image(whole))
    in_series = Dataset()
    in_series.SeriesInstanceUID = series.header.SeriesInstanceUID
    in_series.ContourImageSequence = list(images.values())
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY_CLASS
    study.ReferencedSOPInstanceUID = series.header.StudyInstanceUID
    study.RTReferencedSeriesSequence = [in_series]
    frame = Dataset()
    frame.FrameOfReferenceUID = series.header.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame
