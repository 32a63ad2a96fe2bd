"""DICOM Segmentation: one segment a structure and side."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vastus import __version__
from vastus.anatomy import Label
from vastus.dicom.codes import ANATOMICAL_STRUCTURE, ARTIFICIAL_INTELLIGENCE, side_code, structure_code
from vastus.dicom.objects import MANUFACTURER, MODEL, Algorithm, concept, label_title, new_uid, software, stamp
from vastus.dicom.source import LabelledSeries

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


def make_seg(series: LabelledSeries, algorithm: Algorithm, kind: SegKind = SegKind.BINARY) -> Dataset:
    """Build the Segmentation object.

    Segments are numbered from 1 in the order of ``series.labels``; absent structures have none, and frames without
    a voxel are left out.

    Args:
        series: labels on the slices of the source images.
        algorithm: named in every segment.
        kind: BINARY or LABELMAP.
    """
    import highdicom as hd
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless

    number_of_value = np.zeros(256, np.uint8)
    number_of_value[[label.value for label in series.labels]] = np.arange(1, len(series.labels) + 1)
    pixels = _in_source_order(np.take(number_of_value, series.values), series)
    labelmap = kind is SegKind.LABELMAP
    seg = hd.seg.Segmentation(
        source_images=list(series.datasets),
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
        content_label="MUSCLES",
        content_description="Thigh and hip muscles and bones",
        transfer_syntax_uid=RLELossless if labelmap else ExplicitVRLittleEndian,
        series_description="Vastus segmentation",
        omit_empty_frames=True,
    )
    stamp(seg)
    return seg


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
        name=algorithm.name, family=concept(ARTIFICIAL_INTELLIGENCE), version=algorithm.version,
        parameters={"weights": algorithm.weights},
    )  # fmt: skip
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
