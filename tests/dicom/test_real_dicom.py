"""The real DICOM slices, the whole way from the files to valid objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from labelled_dicom import content_of
from vastus.dicom import formats
from vastus.dicom.outputs import write_dicom
from vastus.io.scans import read_scan

SHARED = Path(__file__).parents[2].parent / "shared" / "ct"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["vhf_knee_dicom", "vhf_pelvis_dicom"])
def test_real_slices_become_valid_objects(tmp_path: Path, errors_of, name: str) -> None:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip("the real scans are not here")
    scan = read_scan(folder)
    values = np.zeros(scan.volume.shape[::-1], np.uint8)
    middle = values.shape[1] // 2
    values[1:-1, middle - 40 : middle + 40, 100:180] = 103
    values[1:-1, middle - 40 : middle + 40, 300:380] = 203
    paths = write_dicom(content_of(folder, values), (formats.SEG, formats.SR, formats.RTSTRUCT), tmp_path / "out")
    # What the source itself has wrong is repeated in every object and is not ours.
    source = {_tag_of(line) for line in errors_of(next(folder.glob("*.dcm")))}
    for path in paths:
        assert [line for line in errors_of(path) if _tag_of(line) not in source] == []
    seg = pydicom.dcmread(paths[0])
    assert seg.pixel_array.sum() == (values > 0).sum()


def _tag_of(line: str) -> str:
    start = line.find("(0x")
    return line[start : start + 15] if start >= 0 else line
