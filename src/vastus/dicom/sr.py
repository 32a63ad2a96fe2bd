"""Structured Report by template 1500: volume, mean HU and largest cross-section of every structure and side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from vastus.dicom.codes import (
    AREA,
    ATTENUATION,
    COMPUTED_TOMOGRAPHY,
    CUBIC_MILLIMETRE,
    CUT_BY_SCAN,
    FRAGMENT,
    HOUNSFIELD_UNIT,
    LARGEST_SLICE,
    LIKELY_WRONG,
    MAXIMUM,
    MEAN,
    NO,
    SQUARE_MILLIMETRE,
    VOLUME,
    YES,
)
from vastus.dicom.objects import (
    DEVICE_UID,
    MANUFACTURER,
    MODEL,
    Algorithm,
    concept,
    label_title,
    new_uid,
    stamp,
    stop_title,
)
from vastus.dicom.source import LabelledSeries
from vastus.errors import LabelError
from vastus.io.csv_tables import VolumeRow
from vastus.io.stops import NO_STOPS, Stops
from vastus.terminology import ANATOMICAL_STRUCTURE, side_code, structure_code
from vastus.version import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_NUMBER = 7302
_MEASUREMENTS = "126010"


def make_sr(
    series: LabelledSeries,
    seg: Dataset,
    rows: Iterable[VolumeRow],
    algorithm: Algorithm,
    stops: Stops = NO_STOPS,
) -> Dataset:
    """Build the report (Comprehensive 3D SR), one measurement group a segment of ``seg``.

    Args:
        series: labels on the slices of the source images.
        seg: the Segmentation of the same series, from ``write_seg``.
        rows: volume and mean HU, as in ``volumes.csv``.
        algorithm: named in every group.
        stops: what must stop a reader: said in every group that it is about, and in the name of the series.

    Raises:
        LabelError: a label has no row.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    by_label = {(row.structure, row.side): row for row in rows}
    areas_mm2 = largest_areas_mm2(series)
    groups = []
    for number, label in enumerate(series.labels, start=1):
        row = by_label.get((label.structure.key, label.side))
        if row is None or row.volume_mm3 is None:
            raise LabelError(f"There is no volume of {label.name}.")
        wrong = stops.unusable or (row.structure, row.side.value) in stops.wrong
        groups.append(_group((series, seg, number), row, areas_mm2[label.value], algorithm, wrong=wrong))
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=DEVICE_UID, name=MODEL, manufacturer_name=MANUFACTURER, model_name=MODEL, serial_number=__version__
        ),
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=concept(COMPUTED_TOMOGRAPHY),
        imaging_measurements=groups[:1],
        title=codes.DCM.ImagingMeasurementReport,
    )
    result = hd.sr.Comprehensive3DSR(
        evidence=[seg],
        content=report,
        series_instance_uid=new_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=stop_title("Vastus measurements", stops),
    )
    # highdicom copies and walks what it is given several times; one group is enough to make the document from.
    container = next(i for i in result.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == _MEASUREMENTS)
    for group in groups[1:]:
        container.ContentSequence.extend(group)
    stamp(result)
    return result


def largest_areas_mm2(series: LabelledSeries) -> dict[int, float]:
    """Largest cross-section among the slices, in the plane of the slices, by label value."""
    pixel_mm2 = float(np.linalg.norm(np.cross(series.affine[:3, 0], series.affine[:3, 1])))
    most = series.counts.max(axis=0)
    return {label.value: float(most[label.value]) * pixel_mm2 for label in series.labels}


def _group(
    place: tuple[LabelledSeries, Dataset, int], row: VolumeRow, area_mm2: float, algorithm: Algorithm, *, wrong: bool
) -> Any:
    """Make the group of one segment; ``place``: the series, the segmentation, the number of the segment."""
    import highdicom as hd

    series, seg, number = place
    label = series.labels[number - 1]
    # By number: a LABELMAP also describes the background, as segment 0.
    item = next(item for item in seg.SegmentSequence if item.SegmentNumber == number)
    side = side_code(label.side)
    measurements = [
        hd.sr.Measurement(concept(VOLUME), round(row.volume_mm3 or 0.0, 1), concept(CUBIC_MILLIMETRE)),
        hd.sr.Measurement(
            concept(AREA),
            round(area_mm2, 1),
            concept(SQUARE_MILLIMETRE),
            derivation=concept(MAXIMUM),
            method=concept(LARGEST_SLICE),
        ),
    ]
    if row.mean_hu is not None:
        measurements.append(
            hd.sr.Measurement(
                concept(ATTENUATION), round(row.mean_hu, 2), concept(HOUNSFIELD_UNIT), derivation=concept(MEAN)
            )
        )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=item.TrackingUID, identifier=label_title(label)),
        referenced_segment=_referenced_segment(series, seg, number),
        finding_category=concept(ANATOMICAL_STRUCTURE),
        finding_type=concept(structure_code(label.structure)),
        finding_sites=[
            hd.sr.FindingSite(concept(structure_code(label.structure)), laterality=concept(side) if side else None)
        ],
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=algorithm.name, version=algorithm.version, parameters=[f"weights: {algorithm.weights}"]
        ),
        measurements=measurements,
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(concept(CUT_BY_SCAN), concept(YES if row.truncated else NO)),
            hd.sr.QualitativeEvaluation(concept(FRAGMENT), concept(YES if row.fragment else NO)),
            hd.sr.QualitativeEvaluation(concept(LIKELY_WRONG), concept(YES if wrong else NO)),
        ],
    )


def _referenced_segment(series: LabelledSeries, seg: Dataset, number: int) -> Any:
    """By hand: highdicom's own ``from_segmentation`` walks all frames for every segment and refuses LABELMAP."""
    import highdicom as hd

    return hd.sr.ReferencedSegment(
        sop_class_uid=seg.SOPClassUID,
        sop_instance_uid=seg.SOPInstanceUID,
        segment_number=number,
        source_series=hd.sr.SourceSeriesForSegmentation(str(series.header.SeriesInstanceUID)),
    )
