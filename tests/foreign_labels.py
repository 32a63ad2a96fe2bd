"""Small scans and foreign labels with closed answers: boxes at known places."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from vastus.volume import Volume

SHAPE = (24, 20, 12)
AFFINE = np.array([[2.0, 0, 0, -20.0], [0, 2.0, 0, 5.0], [0, 0, 3.0, -100.0], [0, 0, 0, 1.0]])
BOXES = {
    "femur_right": np.s_[14:20, 6:12, 1:11],
    "femur_left": np.s_[4:10, 6:12, 1:11],
    "quadriceps_femoris_right": np.s_[14:20, 13:18, 2:9],
    "quadriceps_femoris_left": np.s_[4:10, 13:18, 2:9],
    "sartorius_right": np.s_[20:22, 6:12, 2:9],
    "spleen": np.s_[11:13, 2:4, 10:12],
}


def scan(seed: int = 0) -> Volume:
    """A CT of noise around 40 HU in air."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[2:22, 2:18, :] = np.random.default_rng(seed).integers(20, 60, (20, 16, 12))
    return Volume(hu, AFFINE)


def mask(name: str) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[BOXES[name]] = 1
    return array


def numbered(names: dict[str, int], dtype: type = np.uint8) -> np.ndarray:
    """A label map with these values in the boxes of these names."""
    array = np.zeros(SHAPE, dtype)
    for name, value in names.items():
        array[BOXES[name]] = value
    return array


def save(array: np.ndarray, path: Path, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def save_scan(path: Path, seed: int = 0) -> Path:
    return save(scan(seed).array, path)


def load(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)
