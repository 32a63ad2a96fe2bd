"""A CT whose values were cut off at a window."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vastus.io.scans import read_scan


def scan(low: int, high: int, path: Path) -> tuple[str, ...]:
    values = np.random.default_rng(0).normal(40, 60, (30, 28, 12)).astype(np.int16)
    values[:6] = -1000
    nib.save(nib.Nifti1Image(np.clip(values, low, high), np.diag([4.0, 4.0, 5.0, 1.0])), path)
    return read_scan(path).source.warnings


@pytest.mark.parametrize("low", [-200, -160, -100])
def test_it_is_said(tmp_path: Path, low: int) -> None:
    (told,) = scan(low, 240, tmp_path / "ct.nii")
    assert f"are {low} HU and none lies below" in told


def test_air_is_no_window(tmp_path: Path) -> None:
    assert scan(-1024, 3000, tmp_path / "ct.nii") == ()
