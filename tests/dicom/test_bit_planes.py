"""The BINARY Segmentation that Vastus writes itself, against highdicom's own of the same labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

import dicom_factory as factory
from labelled_dicom import FULL_HEADER, content_of, label_values
from vastus.dicom.bit_planes import append_frames, frames_of
from vastus.dicom.draft import DicomContent
from vastus.dicom.objects import new_uid
from vastus.dicom.seg import _description, write_seg
from vastus.dicom.source import LabelledSeries, labelled_series
from vastus.errors import UnsupportedScanError


def series_of(folder: Path, values: np.ndarray, *, enhanced: bool = False) -> tuple[DicomContent, LabelledSeries]:
    spec = factory.series(len(values), hu=factory.ct_values(values.shape), pixel_spacing=(1.5, 2.0), extra=FULL_HEADER)
    folder.mkdir()
    if enhanced:
        factory.write_enhanced(folder / "multi.dcm", spec)
    else:
        factory.write_series(folder, spec)
    content = content_of(folder, values)
    return content, labelled_series(content.scan.source, content.labels)


def by_highdicom(content: DicomContent, series: LabelledSeries) -> hd.seg.Segmentation:
    numbers = {label.value: n for n, label in enumerate(series.labels, start=1)}
    pixels = np.vectorize(lambda v: numbers.get(int(v), 0))(series.values).astype(np.uint8)
    if series.slices[0].frame is not None:
        pixels = pixels[np.argsort([s.frame for s in series.slices])]
    return hd.seg.Segmentation(
        source_images=list(series.datasets),
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=[_description(n, la, content.algorithm) for n, la in enumerate(series.labels, start=1)],
        series_instance_uid=new_uid(),
        series_number=1,
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="x",
        device_serial_number="x",
        omit_empty_frames=True,
    )


def frames_by_place(seg: pydicom.Dataset) -> dict[tuple[int, float], tuple[bytes, str, int | None]]:
    """Pixels and source of every frame, by segment and height."""
    found = {}
    shared = seg.SharedFunctionalGroupsSequence[0]
    for frame, groups in zip(
        seg.pixel_array.reshape(-1, seg.Rows, seg.Columns), seg.PerFrameFunctionalGroupsSequence, strict=True
    ):
        holder = groups if "SegmentIdentificationSequence" in groups else shared
        number = holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        height = round(float(groups.PlanePositionSequence[0].ImagePositionPatient[2]), 3)
        assert (number, height) not in found
        found[number, height] = (frame.tobytes(), source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber"))
    return found


ODD = label_values()[:, :35, :33]  # 1155 pixels: frames begin in the middle of a byte
ONE = np.where(label_values() == 128, 128, 0).astype(np.uint8)


@pytest.mark.parametrize("values", [label_values(), ODD, ONE], ids=["whole bytes", "odd size", "one segment"])
@pytest.mark.parametrize("enhanced", [False, True])
def test_frames_are_those_of_highdicom(tmp_path: Path, errors_of, values: np.ndarray, enhanced: bool) -> None:
    content, series = series_of(tmp_path / "ct", values, enhanced=enhanced)
    path = tmp_path / "seg.dcm"
    write_seg(series, content.algorithm, path)
    ours, theirs = pydicom.dcmread(path), by_highdicom(content, series)
    assert ours.NumberOfFrames == theirs.NumberOfFrames
    assert frames_by_place(ours) == frames_by_place(theirs)
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        mine, other = (d.SharedFunctionalGroupsSequence[0][keyword][0] for d in (ours, theirs))
        # It takes the measures from an Enhanced CT as they are: there may be less in them.
        assert {e.keyword: mine.get(e.keyword) for e in other} == {e.keyword: e.value for e in other}
    mine, other = (
        [
            {i.ReferencedSOPInstanceUID for i in sequence}
            for sequence in (d.ReferencedSeriesSequence[0].ReferencedInstanceSequence, d.SourceImageSequence)
        ]
        for d in (ours, theirs)
    )
    assert mine == other
    # The same attributes at the top, in whatever values; "3D" it says of a single segment only.
    ours_only = {"CodingSchemeIdentificationSequence", "SeriesDescription"}
    assert {e.keyword for e in ours} == ({e.keyword for e in theirs} | ours_only) - {"DimensionOrganizationType"}
    assert errors_of(path) == []


def test_highdicom_reads_the_same_voxels(tmp_path: Path) -> None:
    content, series = series_of(tmp_path / "ct", ODD)
    write_seg(series, content.algorithm, tmp_path / "seg.dcm")
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    numbers = seg.get_pixels_by_source_instance(
        [s.sop_instance_uid for s in series.slices],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    values = np.array([0, *(label.value for label in series.labels)], np.uint8)[numbers]
    assert np.array_equal(values, ODD)
    volume = seg.get_volume(combine_segments=True, allow_missing_positions=True)
    assert volume.spacing == pytest.approx((3.0, 1.5, 2.0))


def test_too_many_frames_for_one_object_are_refused(tmp_path: Path) -> None:
    _, series = series_of(tmp_path / "ct", ONE)
    huge = dataclasses.replace(series, values=np.broadcast_to(np.uint8(0), (9, 65535, 65535)))
    with (tmp_path / "file").open("wb") as file, pytest.raises(UnsupportedScanError, match="labelmap"):
        append_frames(file, huge, frames_of(series) * 2)
