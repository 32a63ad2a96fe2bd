"""DICOM Segmentation: one segment a structure and side."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import Label
from vastus.dicom.bit_planes import append_frames, frames_of
from vastus.dicom.codes import ARTIFICIAL_INTELLIGENCE
from vastus.dicom.objects import (
    MANUFACTURER,
    MODEL,
    Algorithm,
    concept,
    content_in_words,
    label_title,
    new_uid,
    software,
    stamp,
)
from vastus.dicom.source import LabelledSeries
from vastus.terminology import ANATOMICAL_STRUCTURE, side_code, structure_code
from vastus.version import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_NUMBER = 7301


class SegKind(Enum):
    """How voxels are stored.

    ``BINARY`` has one bit plane a segment and is what viewers of today read; ``LABELMAP`` (DICOM 2024c) has one byte
    a voxel, compressed without loss by RLE, and is much smaller.
    """

    BINARY = "binary"
    LABELMAP = "labelmap"


def write_seg(series: LabelledSeries, algorithm: Algorithm, path: Path, kind: SegKind = SegKind.BINARY) -> Dataset:
    """Write the Segmentation object.

    Segments are numbered from 1 in the order of ``series.labels``; absent structures have none, and frames without
    a voxel are left out.

    Args:
        series: labels on the slices of the source images.
        algorithm: named in every segment.
        path: of the file.
        kind: BINARY or LABELMAP.

    Returns:
        What a report needs to refer to it; of a BINARY one, without frames.

    Raises:
        UnsupportedScanError: too many frames for one BINARY object.
    """
    if kind is SegKind.LABELMAP:
        return _write_labelmap(series, algorithm, path)
    frames = frames_of(series)
    header = _binary_header(series, algorithm, len(frames))
    header.save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        append_frames(file, series, frames)
    return header


def _write_labelmap(series: LabelledSeries, algorithm: Algorithm, path: Path) -> Dataset:
    from pydicom.uid import RLELossless

    number_of_value = np.zeros(256, np.uint8)
    number_of_value[[label.value for label in series.labels]] = np.arange(1, len(series.labels) + 1)
    pixels = _in_source_order(np.take(number_of_value, series.values), series)
    seg = _segmentation(series, algorithm, SegKind.LABELMAP, RLELossless, pixels, series.datasets)
    seg.save_as(path, enforce_file_format=True)
    return seg


def _binary_header(series: LabelledSeries, algorithm: Algorithm, frames: int) -> Dataset:
    """Everything but functional groups and pixels of the frames: highdicom makes it for one image and one voxel."""
    from pydicom import Dataset
    from pydicom.uid import ExplicitVRLittleEndian

    count = int(series.header.get("NumberOfFrames") or 1)
    one_voxel = np.zeros((count, *series.values.shape[1:]), np.uint8)
    one_voxel[0, 0, 0] = 1
    seg = _segmentation(series, algorithm, SegKind.BINARY, ExplicitVRLittleEndian, one_voxel, series.datasets[:1])
    del seg.PerFrameFunctionalGroupsSequence, seg.PixelData
    shared = seg.SharedFunctionalGroupsSequence[0]
    # From one image highdicom can't know how far apart slices are; and a single segment it names once for all frames.
    shared.PixelMeasuresSequence = _pixel_measures(series)
    shared.pop("SegmentIdentificationSequence", None)
    references = []
    for uids in dict.fromkeys((s.sop_class_uid, s.sop_instance_uid) for s in series.slices):
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = uids
        references.append(reference)
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references
    seg.SourceImageSequence = references
    seg.NumberOfFrames = frames
    return seg


def _segmentation(
    series: LabelledSeries,
    algorithm: Algorithm,
    kind: SegKind,
    syntax: str,
    pixels: NDArray[np.uint8],
    images: tuple[Dataset, ...],
) -> Any:
    import highdicom as hd

    seg = hd.seg.Segmentation(
        source_images=list(images),
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues(kind.value.upper()),
        segment_descriptions=[_description(n, label, algorithm) for n, label in enumerate(series.labels, start=1)],
        series_instance_uid=new_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=software(algorithm),
        device_serial_number=__version__,
        content_label="MUSCLES" if series.table.is_built_in else "STRUCTURES",
        content_description=content_in_words(series.table),
        transfer_syntax_uid=syntax,
        series_description="Vastus segmentation",
        pixel_measures=_pixel_measures(series),
        omit_empty_frames=True,
    )
    stamp(seg)
    return seg


def _pixel_measures(series: LabelledSeries) -> Any:
    """Sizes of a voxel; slices lie apart by the way along their normal, also where the gantry was tilted."""
    import highdicom as hd

    across, down, along = series.affine[:3, :3].T
    normal = np.cross(across, down)
    apart = abs(float(along @ normal)) / float(np.linalg.norm(normal))
    return hd.PixelMeasuresSequence(
        pixel_spacing=(round(float(np.linalg.norm(down)), 6), round(float(np.linalg.norm(across)), 6)),
        slice_thickness=float(series.header.get("SliceThickness") or 0.0) or round(apart, 6),
        spacing_between_slices=round(apart, 6),
    )


def _in_source_order(segments: NDArray[np.uint8], series: LabelledSeries) -> NDArray[np.uint8]:
    """Slices as the source holds them: files in slice order, a multi-frame object in the order of its frames."""
    frames = [s.frame for s in series.slices if s.frame is not None]
    if not frames:
        return segments
    all_frames = np.zeros((int(series.header.NumberOfFrames), *segments.shape[1:]), np.uint8)
    all_frames[np.array(frames) - 1] = segments
    return all_frames


def _description(number: int, label: Label, algorithm: Algorithm) -> Any:
    import highdicom as hd

    identification = hd.AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=concept(ARTIFICIAL_INTELLIGENCE),
        version=algorithm.version,
        parameters={"weights": algorithm.weights},
    )
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label_title(label),
        segmented_property_category=concept(ANATOMICAL_STRUCTURE),
        segmented_property_type=concept(structure_code(label.structure)),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=identification,
        tracking_uid=new_uid(),
        tracking_id=label.name,
        display_color=hd.color.CIELabColor.from_rgb(*label.structure.colour),
    )
    side = side_code(label.side)
    if side is not None:
        item = description.SegmentedPropertyTypeCodeSequence[0]
        item.SegmentedPropertyTypeModifierCodeSequence = [concept(side)]
    return description
