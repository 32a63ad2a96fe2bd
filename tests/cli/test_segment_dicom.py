from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

import dicom_factory as factory
from labelled_dicom import FULL_HEADER
from toy_bundle import write_toy_bundle
from vastus.cli.main import app
from vastus.errors import SettingsError, UnsupportedScanError
from vastus.io.own_structures import own_table


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "toy"
    write_toy_bundle(folder)
    return folder


def _run(*args: object):
    return CliRunner().invoke(app, ["segment", *map(str, args)], catch_exceptions=False)


def test_a_dicom_folder_becomes_dicom_results(tmp_path: Path, weights: Path) -> None:
    hu = np.full((16, 40, 40), -1000, np.int16)
    hu[:, 4:36, 4:36] = 40
    hu[3:13, 10:30, 10:30] = 600  # class 6 of the toy network
    spec = factory.series(16, hu=hu, step=4.0, pixel_spacing=(4.0, 4.0), extra=FULL_HEADER)
    factory.write_series(tmp_path / "ct", spec)
    out = tmp_path / "out"
    done = _run(tmp_path / "ct", "-o", out, "--weights", weights, "-t", 1, "-f", "dicom-seg,sr,rtstruct")
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (out / "dicom").iterdir()) == ["rtstruct.dcm", "seg.dcm", "sr.dcm"]
    seg = pydicom.dcmread(out / "dicom" / "seg.dcm")
    assert any(s.TrackingID.startswith("adductor_magnus") for s in seg.SegmentSequence)
    assert seg.StudyInstanceUID == spec.study_uid


def test_an_input_that_is_not_dicom_is_refused_before_any_work(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"never read")
    with pytest.raises(UnsupportedScanError, match="NIfTI"):
        _run(tmp_path / "scan.nii.gz", "-o", tmp_path / "out", "--weights", weights, "-f", "sr")
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(SettingsError, match="dicom-rt"):
        _run(tmp_path, "-o", tmp_path / "out", "--weights", weights, "-f", "dicom-rt")


def test_structures_of_a_labs_own_are_in_dicom_with_private_codes(tmp_path: Path) -> None:
    keys = ("femur", "hip_bone", "sartorius", "extensor_digitorum_longus", "sacrum", "calf")
    table = own_table([{"name": key, "paired": "no" if key == "sacrum" else "yes"} for key in keys])
    write_toy_bundle(tmp_path / "own", ("background", *keys), table=table)
    hu = np.full((16, 40, 40), -1000, np.int16)
    hu[:, 4:36, 4:36] = 40
    hu[3:13, 6:14, 10:30] = 600  # calf
    hu[3:13, 16:22, 15:25] = 500  # sacrum
    hu[3:13, 26:34, 10:30] = 400  # extensor digitorum longus
    spec = factory.series(16, hu=hu, step=4.0, pixel_spacing=(4.0, 4.0), extra=FULL_HEADER)
    factory.write_series(tmp_path / "ct", spec)
    common = (tmp_path / "ct", "-o", tmp_path / "out", "--weights", tmp_path / "own", "-t", 1)
    assert _run(*common, "-f", "dicom-seg,sr,rtstruct,pdf").exit_code == 0
    assert pydicom.dcmread(tmp_path / "out" / "dicom" / "report.dcm").DocumentTitle == "Structures and their volumes"
    seg = pydicom.dcmread(tmp_path / "out" / "dicom" / "seg.dcm")
    codes = {s.SegmentLabel: s.SegmentedPropertyTypeCodeSequence[0] for s in seg.SegmentSequence}
    found = {label: (code.CodingSchemeDesignator, code.CodeValue) for label, code in codes.items()}
    assert found["Sacrum"] == ("99VASTUS", "sacrum")
    calf = {code for label, code in found.items() if label.startswith("Calf")}
    assert calf == {("99VASTUS", "calf")}
    assert ("99VASTUS", "extnsr_dgtrm_lng") in found.values()
    names = {roi.ROIName for roi in pydicom.dcmread(tmp_path / "out/dicom/rtstruct.dcm").StructureSetROISequence}
    assert "Sacrum" in names and not any(name.startswith("Sacrum ") for name in names)
