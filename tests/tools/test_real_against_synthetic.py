"""Real and synthetic images side by side: the measures on images of known noise, and which scans are read."""

import csv
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from programs import load_program

ROOT = Path(__file__).parents[2]
SPACING = (1.0, 1.0, 3.0)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_program(ROOT / "tools" / "real_against_synthetic.py")


def phantom(noise: np.ndarray) -> np.ndarray:
    """A block of muscle in fat, with air around."""
    hu = np.full(noise.shape, -1000.0, np.float32)
    hu[4:-4, 4:-4] = -100.0
    hu[40:-8, 8:-8] = 50.0
    return np.asarray(hu + noise, np.float32)


def test_white_noise_has_its_spread_along_every_axis(tool: ModuleType) -> None:
    rng = np.random.default_rng(0)
    found = tool.measure(phantom(rng.normal(0, 10, (96, 96, 20))), SPACING, np.zeros((96, 96, 20), bool))
    assert found is not None
    assert [found.noise_x, found.noise_y, found.noise_z] == pytest.approx([10, 10, 10], rel=0.05)
    assert found.muscle == pytest.approx(50, abs=1) and found.fat == pytest.approx(-100, abs=1)
    assert found.fine_x == pytest.approx(found.fine_y, abs=0.05) and found.fine_x > 0.3


def test_noise_that_runs_across_is_coarse_across(tool: ModuleType) -> None:
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.normal(0, 10, (12, 96, 20)), 8, axis=0)
    found = tool.measure(phantom(noise), SPACING, np.zeros(noise.shape, bool))
    assert found is not None
    assert found.noise_x < 2 and found.noise_y == pytest.approx(10, rel=0.1)
    assert found.fine_x < 0.5 * found.fine_y


def test_an_image_without_muscle_is_left_out_and_the_grid_is_the_networks(tool: ModuleType) -> None:
    fat = np.full((40, 40, 12), -100.0, np.float32)
    assert tool.measure(fat, SPACING, np.zeros(fat.shape, bool)) is None
    small, spacing, apart = tool.on_grid((fat, SPACING, np.zeros(fat.shape, bool)))
    assert spacing == (2.0, 2.0, 4.0) and small.shape == apart.shape == (20, 20, 9)


def test_scans_of_the_test_split_are_never_read(tool: ModuleType, tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    with index.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("scan", "split"), ("STS_001", "train"), ("STS_004", "test"), ("STS_001", "train")])
    folder = tmp_path / "sts_thigh"
    folder.mkdir()
    for name in ("STS_001", "STS_004"):
        (folder / f"{name}_CT.nii.gz").touch()
    ge, _ = tool.training_scans(tmp_path, index)
    assert [path.name for path in ge] == ["STS_001_CT.nii.gz"]
