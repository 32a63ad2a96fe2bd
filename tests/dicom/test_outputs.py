from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Polygon

import dicom_factory as factory
from labelled_dicom import FULL_HEADER, SHAPE, content_of, ct_series, label_values
from vastus.anatomy import BY_KEY
from vastus.dicom import formats
from vastus.dicom.draft import DicomContent
from vastus.dicom.outputs import parse_formats, write_dicom
from vastus.errors import GeometryError, LabelError, OutputError, SettingsError, UnsupportedScanError
from vastus.io.scans import read_scan
from vastus.io.stops import Stops
from vastus.terminology import structure_code
from vastus.volume import Volume

ALL = (formats.SEG, formats.SR, formats.RTSTRUCT, formats.PDF)


@pytest.fixture(scope="module")
def written(content: DicomContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    paths = write_dicom(content, ALL, folder)
    assert [p.name for p in paths] == ["seg.dcm", "sr.dcm", "rtstruct.dcm", "report.dcm"]
    return folder / "dicom"


def _values_of(seg_path: Path, content: DicomContent) -> np.ndarray:
    """Label values back from a segmentation, by position, not by the order of frames."""
    seg = pydicom.dcmread(seg_path)
    names = {s.SegmentNumber: s.TrackingID for s in seg.SegmentSequence if s.SegmentNumber}
    values = np.zeros(SHAPE, np.uint8)
    to_voxel = np.linalg.inv(content.scan.volume.affine)
    frames = seg.pixel_array.reshape(-1, *SHAPE[1:])
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        x, y, z = groups.PlanePositionSequence[0].ImagePositionPatient
        k = round(float((to_voxel @ [-x, -y, z, 1.0])[2]))
        assert seg.SegmentationType != "BINARY" or frame.any()
        numbers = (
            frame
            if seg.SegmentationType == "LABELMAP"
            else frame * groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        )
        for number in np.unique(numbers[numbers > 0]):
            values[k][numbers == number] = _value(names[int(number)])
    return values


def _value(name: str) -> int:
    key, _, side = name.rpartition("_")
    offset = {"right": 100, "left": 200}.get(side, 0)
    return offset + BY_KEY[key if offset else name].class_id


@pytest.mark.parametrize("name", ["seg.dcm", "sr.dcm", "rtstruct.dcm", "report.dcm"])
def test_every_object_is_valid(written: Path, errors_of, name: str) -> None:
    assert errors_of(written / name) == []


def test_the_validator_finds_a_planted_error(written: Path, errors_of, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(written / "rtstruct.dcm")
    del dataset.StructureSetLabel
    dataset.save_as(tmp_path / "bad.dcm")
    assert any("StructureSetLabel" in line for line in errors_of(tmp_path / "bad.dcm"))


def test_all_objects_belong_to_one_patient_and_study(written: Path, ct_folder: Path) -> None:
    if shutil.which("dcentvfy") is None:
        pytest.skip("dcentvfy (dicom3tools) is not installed")
    files = [*map(str, ct_folder.iterdir()), *map(str, written.iterdir())]
    done = subprocess.run(["dcentvfy", *files], capture_output=True, text=True, check=False)
    assert "Error" not in done.stdout + done.stderr
    objects = [pydicom.dcmread(path) for path in written.iterdir()]
    assert len({o.SOPInstanceUID for o in objects}) == len({o.SeriesInstanceUID for o in objects}) == 4
    assert {(o.StudyInstanceUID, o.PatientID, str(o.PatientName)) for o in objects} == {
        ("1.2.3.4", "P1", "Secret^Name")
    }


def test_the_binary_segmentation_holds_the_same_voxels(written: Path, content: DicomContent) -> None:
    assert np.array_equal(_values_of(written / "seg.dcm", content), label_values())


def test_the_labelmap_holds_the_same_voxels_and_highdicom_reads_it(content: DicomContent, tmp_path: Path) -> None:
    (path,) = write_dicom(content, (formats.LABELMAP,), tmp_path)
    assert np.array_equal(_values_of(path, content), label_values())
    seg = hd.seg.segread(path)
    assert seg.SegmentationType == "LABELMAP"
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
    assert [s.SegmentNumber for s in seg.SegmentSequence] == [0, 1, 2, 3, 4, 5]


def test_segments_say_what_they_are(written: Path) -> None:
    seg = pydicom.dcmread(written / "seg.dcm")
    by_name = {s.TrackingID: s for s in seg.SegmentSequence}
    assert set(by_name) == {
        "sartorius_right",
        "sartorius_left",
        "femur_right",
        "gluteus_medius_left",
        "tensor_fasciae_latae",
    }
    left = by_name["sartorius_left"]
    kind = left.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodingSchemeDesignator, kind.CodeValue) == ("SCT", "12595009")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert left.SegmentLabel == "Sartorius left"
    assert left.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "Vastus"
    unknown = by_name["tensor_fasciae_latae"].SegmentedPropertyTypeCodeSequence[0]
    assert unknown.CodingSchemeDesignator == "99VASTUS"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in unknown
    colour = hd.color.CIELabColor.from_dicom_value(left.RecommendedDisplayCIELabValue).to_rgb()
    assert np.abs(np.subtract(colour, BY_KEY["sartorius"].colour)).max() <= 2
    references = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert len(references) == SHAPE[0]


def test_code_values_fit_and_differ() -> None:
    found = [structure_code(s) for s in BY_KEY.values()]
    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in found)
    assert len({code.value for code in found}) == len(found)


def test_the_report_says_the_numbers_of_the_table(written: Path, content: DicomContent) -> None:
    report = hd.sr.srread(written / "sr.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    seg = pydicom.dcmread(written / "seg.dcm")
    numbers = {s.TrackingUID: (s.SegmentNumber, s.TrackingID) for s in seg.SegmentSequence}
    rows = {row.structure + f"_{row.side.value}": row for row in content.rows}
    assert len(groups) == 5
    for group in groups:
        number, name = numbers[group.tracking_uid]
        row = rows.get(name) or rows[f"{name}_unknown"]
        (referenced,) = (i.ReferencedSOPSequence[0] for i in group.referenced_segment if "ReferencedSOPSequence" in i)
        values = {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}
        assert values["Volume"] == (pytest.approx(row.volume_mm3, abs=0.05), "mm3")
        assert values["Attenuation Coefficient"] == (pytest.approx(row.mean_hu, abs=0.005), "[hnsf'U]")
        assert referenced.ReferencedSegmentNumber == number
        if name == "sartorius_left":
            assert values["Area"] == (pytest.approx((100 - 9) * 1.5 * 2.0), "mm2")
            assert group.finding_sites[0].laterality.meaning == "Left"


def test_contours_enclose_exactly_the_voxels(written: Path) -> None:
    structures = pydicom.dcmread(written / "rtstruct.dcm")
    names = {r.ROINumber: r.ROIName for r in structures.StructureSetROISequence}
    columns, rows = np.meshgrid(np.arange(SHAPE[2]), np.arange(SHAPE[1]))
    values = label_values()
    expected = {"Sartorius left": 201, "Sartorius right": 101, "Femur right": 128, "Gluteus medius left": 215}
    for roi in structures.ROIContourSequence:
        name = names[roi.ReferencedROINumber]
        if name not in expected:
            continue
        inside = np.zeros(SHAPE, int)
        for contour in roi.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            k = round((points[0, 2] - 100.0) / 3.0)
            assert np.allclose(points[:, 2], 100.0 + 3.0 * k)
            pixels = np.column_stack([(points[:, 0] + 9.0) / 2.0, (points[:, 1] + 11.0) / 1.5])
            polygon = Polygon(np.vstack([pixels, pixels[:1]]))
            inside[k] += polygon.contains_points(np.column_stack([columns.ravel(), rows.ravel()])).reshape(SHAPE[1:])
        assert np.array_equal(inside == 1, values == expected[name])
    assert structures.FrameOfReferenceUID == "1.2.3.5"


def test_numbers_of_the_contours_are_short_enough(written: Path) -> None:
    structures = pydicom.dcmread(written / "rtstruct.dcm")
    texts = [
        text
        for roi in structures.ROIContourSequence
        for contour in roi.ContourSequence
        for text in contour.get_item("ContourData").value.decode().strip().split("\\")
    ]
    assert len(texts) > 100
    assert max(map(len, texts)) <= 16


def test_the_pdf_inside_is_a_pdf_without_the_patient(written: Path) -> None:
    dataset = pydicom.dcmread(written / "report.dcm")
    pdf = dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip(b"\r\n").endswith(b"%%EOF")
    assert pdf.count(b"/Type /Page\n") == 2
    assert b"Secret" not in pdf


def test_a_multi_frame_source_is_referred_to_by_frame(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    factory.write_enhanced(tmp_path / "ct" / "multi.dcm", ct_series())
    content = content_of(tmp_path / "ct", label_values())
    chosen = (formats.LABELMAP, formats.RTSTRUCT)
    seg, structures = write_dicom(content, chosen, tmp_path / "out")
    assert np.array_equal(_values_of(seg, content), label_values())
    roi = pydicom.dcmread(structures).ROIContourSequence[0]
    for contour in roi.ContourSequence:
        # The frames of the file run from the head down.
        k = round((contour.ContourData[2] - 100.0) / 3.0)
        assert contour.ContourImageSequence[0].ReferencedFrameNumber == SHAPE[0] - k


def test_a_tilted_gantry_gets_labels_on_its_own_slices(tmp_path: Path) -> None:
    count, tilt = 9, np.radians(10.0)
    orientation = (1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(-np.sin(tilt)))
    positions = [(-9.0, -11.0, 100.0 + 3.0 * k) for k in range(count)]
    spec = factory.SeriesSpec(factory.ct_values(SHAPE), positions, orientation, pixel_spacing=(2.0, 2.0))
    factory.write_series(tmp_path / "ct", spec.but(extra=FULL_HEADER))
    scan = read_scan(tmp_path / "ct")
    assert scan.source.acquired_grid is not None
    values = np.zeros(scan.volume.shape, np.uint8)
    values[10:20, 10:20, 3:6] = 101
    content = DicomContent(scan, scan.volume.with_array(values), (), algorithm=_algorithm())
    (path,) = write_dicom(content, (formats.SEG,), tmp_path / "out")
    seg = pydicom.dcmread(path)
    assert 2 <= seg.NumberOfFrames <= 6
    got = [float(v) for v in seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient]
    assert got == pytest.approx(orientation, abs=1e-6)


def _algorithm():
    from vastus.dicom.objects import Algorithm

    return Algorithm("toy")


def test_a_scan_that_was_not_dicom_is_refused(tmp_path: Path, content: DicomContent) -> None:
    nib.save(nib.Nifti1Image(factory.ct_values((20, 20, 9)), np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "ct.nii.gz")
    scan = read_scan(tmp_path / "ct.nii.gz")
    other = DicomContent(scan, scan.volume, (), content.algorithm)
    with pytest.raises(UnsupportedScanError, match="NIfTI"):
        write_dicom(other, ALL, tmp_path)
    assert not (tmp_path / "dicom").exists()


def test_labels_on_another_grid_are_refused(content: DicomContent, tmp_path: Path) -> None:
    moved = content.scan.volume.affine.copy()
    moved[2, 3] += 3.0
    labels = Volume(content.labels.array, moved)
    with pytest.raises(GeometryError):
        write_dicom(DicomContent(content.scan, labels, content.rows, content.algorithm), ALL, tmp_path)


@pytest.mark.parametrize("value", [0, 99])
def test_empty_and_unknown_labels_are_refused(content: DicomContent, tmp_path: Path, value: int) -> None:
    labels = content.labels.with_array(np.full(content.labels.shape, value, np.uint8))
    with pytest.raises(LabelError):
        write_dicom(DicomContent(content.scan, labels, content.rows, content.algorithm), ALL, tmp_path)


def test_older_results_are_replaced_as_a_whole(content: DicomContent, tmp_path: Path) -> None:
    write_dicom(content, (formats.RTSTRUCT, formats.PDF), tmp_path)
    write_dicom(content, (formats.RTSTRUCT,), tmp_path)
    assert [p.name for p in (tmp_path / "dicom").iterdir()] == ["rtstruct.dcm"]


def test_a_folder_with_other_files_is_never_replaced(content: DicomContent, tmp_path: Path) -> None:
    source = tmp_path / "dicom" / "IM0001"
    source.parent.mkdir()
    source.write_bytes(b"an image of the scan itself")
    with pytest.raises(OutputError, match="IM0001"):
        write_dicom(content, (formats.RTSTRUCT,), tmp_path)
    assert source.read_bytes() == b"an image of the scan itself"


def test_formats_are_read_and_checked() -> None:
    assert parse_formats(" SR,dicom-seg,sr ") == (formats.SR, formats.SEG)
    for bad in ("", "nifti", "dicom-seg,dicom-labelmap"):
        with pytest.raises(SettingsError):
            parse_formats(bad)


def test_a_report_can_stand_on_a_labelmap(content: DicomContent, tmp_path: Path) -> None:
    write_dicom(content, (formats.LABELMAP, formats.SR), tmp_path)
    report = hd.sr.srread(io.BytesIO((tmp_path / "dicom" / "sr.dcm").read_bytes()))
    assert len(report.content.get_volumetric_roi_measurement_groups()) == 5


STOPS = Stops(
    ("Turned over. Use nothing.", "1 structure is likely wrong: Sartorius, left."),
    unusable=True,
    wrong=frozenset({("sartorius", "left")}),
)


def texts_of(pdf: bytes) -> str:
    """What a PDF of reportlab shows, its streams unpacked."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    shown = []
    for stream in streams:
        try:
            page = zlib.decompress(base64.a85decode(stream.strip(), adobe=stream.strip().startswith(b"<~")))
        except ValueError:
            try:
                page = zlib.decompress(base64.a85decode(b"<~" + stream.strip(), adobe=True))
            except (ValueError, zlib.error):
                continue
        except zlib.error:
            continue
        shown += re.findall(rb"\((.*?)(?<!\\)\) Tj", page)
    return b"\n".join(shown).decode("latin-1")


@pytest.mark.parametrize("unusable", [False, True])
def test_what_stops_a_reader_stands_in_the_pdf_and_in_the_list_of_series(
    content: DicomContent, errors_of, tmp_path: Path, unusable: bool
) -> None:
    whole = tuple(replace(row, fragment=False) for row in content.rows)
    told = replace(content, rows=whole, stops=replace(STOPS, unusable=unusable))
    write_dicom(told, (formats.PDF, formats.SR), tmp_path)
    dataset = pydicom.dcmread(tmp_path / "dicom" / "report.dcm")
    assert dataset.SeriesDescription == "STOP - Vastus report" and dataset.DocumentTitle.startswith("STOP - ")
    shown = texts_of(dataset.EncapsulatedDocument)
    assert shown.count("STOP: USE NO NUMBER OF THIS SCAN") == (2 if unusable else 0)  # on both pages
    assert shown.count("STOP: LIKELY WRONG") == (0 if unusable else 2)
    assert "Turned over. Use nothing." in shown
    assert "likely wrong" in shown.partition("Sartorius\n")[2].split("Rectus femoris")[0]
    for name in ("report.dcm", "sr.dcm"):
        assert errors_of(tmp_path / "dicom" / name) == []


@pytest.mark.parametrize(("unusable", "wrong"), [(False, {"sartorius_left"}), (True, None)])
def test_the_report_says_which_numbers_are_likely_wrong(
    content: DicomContent, tmp_path: Path, unusable: bool, wrong: set[str] | None
) -> None:
    write_dicom(replace(content, stops=replace(STOPS, unusable=unusable)), (formats.SR,), tmp_path)
    report = hd.sr.srread(tmp_path / "dicom" / "sr.dcm")
    seg = pydicom.dcmread(tmp_path / "dicom" / "seg.dcm")
    names = {s.TrackingUID: s.TrackingID for s in seg.SegmentSequence}
    told = set()
    for group in report.content.get_volumetric_roi_measurement_groups():
        said = {e.name.value: e.value.meaning for e in group.get_qualitative_evaluations()}
        if said["likely_wrong"] == "Yes":
            told.add(names[group.tracking_uid])
    assert told == (set(names.values()) if wrong is None else wrong)
    assert report.SeriesDescription.startswith("STOP - ")


def test_without_an_alarm_nothing_says_stop(written: Path) -> None:
    dataset = pydicom.dcmread(written / "report.dcm")
    assert "STOP" not in texts_of(dataset.EncapsulatedDocument) + dataset.SeriesDescription + dataset.DocumentTitle
    assert "Sartorius" in texts_of(dataset.EncapsulatedDocument)
