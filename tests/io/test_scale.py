"""Values of another scale than Hounsfield's are refused, whatever made them so: air lies at -1000."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vastus.errors import UnsupportedScanError
from vastus.io.scans import read_scan


def body() -> np.ndarray:
    """Two thirds air, then fat, muscle and a bone, all with noise."""
    values = np.full((30, 28, 12), -1000.0)
    values[10:26, 6:22] = -100
    values[11:25, 7:21] = 55
    values[16:19, 12:15] = 1000
    noise = np.random.default_rng(0).normal(0, 12, values.shape)
    return (values + noise).astype(np.int16)


def saved(path: Path, slope: float, intercept: float) -> Path:
    raw = bytearray(nib.Nifti1Image(body(), np.diag([4.0, 4.0, 5.0, 1.0])).to_bytes())
    struct.pack_into("<h", raw, 254, 1)
    struct.pack_into("<2f", raw, 112, slope, intercept)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("slope", "intercept", "why"),
    [
        (-1.0, 0.0, "black and white exchanged"),
        (0.5, 0.0, "air lies at -500"),
        (0.75, 0.0, "air lies at -750"),
        (1.2, 0.0, "air lies at -(1199|1200)"),
        (1.0, 250.0, "air lies at -750"),
        (1.0, -200.0, "air lies at -(1199|1200)"),
        (2.0, 0.0, "lie around -2000"),
        (1.0, -1024.0, "applied twice"),
        (0.1, 0.0, "another slope"),
    ],
)
def test_another_scale_is_refused(tmp_path: Path, slope: float, intercept: float, why: str) -> None:
    with pytest.raises(UnsupportedScanError, match=why):
        read_scan(saved(tmp_path / "ct.nii", slope, intercept))


def test_hu_are_read_as_they_are(tmp_path: Path) -> None:
    scan = read_scan(saved(tmp_path / "ct.nii", 1.0, 0.0))
    assert scan.source.warnings == () and np.array_equal(scan.volume.array, body())


@pytest.mark.parametrize("low", [-700, -500])
def test_air_cut_off_is_named(tmp_path: Path, low: int) -> None:
    values = np.maximum(body(), low).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([4.0, 4.0, 5.0, 1.0])), tmp_path / "ct.nii")
    (told,) = read_scan(tmp_path / "ct.nii").source.warnings
    assert f"are {low} HU and none lies below" in told
