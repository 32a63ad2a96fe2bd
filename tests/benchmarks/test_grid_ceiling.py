"""Labels brought onto a grid and back: whole blocks stay, what is finer than the grid is lost."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from programs import load_program
from vastus.anatomy import UNLABELLED

SPACING_MM = np.ones(3)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_program(Path(__file__).parents[2] / "benchmarks" / "grid_ceiling.py")


def test_the_same_grid_changes_nothing(benchmark: ModuleType) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (12, 10, 8)).astype(np.uint8)
    assert np.array_equal(benchmark.there_and_back(labels, SPACING_MM, (1.0, 1.0, 1.0)), labels)


def test_a_large_block_stays_and_a_thin_sheet_is_lost(benchmark: ModuleType) -> None:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[4:24, 4:24, 4:24] = 101
    labels[32] = 102
    found = benchmark.there_and_back(labels, SPACING_MM, (4.0, 4.0, 4.0))
    assert not (found == 102).any()
    both = np.count_nonzero((found == 101) & (labels == 101))
    assert 0.85 < 2 * both / (np.count_nonzero(found == 101) + 20**3) < 1.0


def test_unlabelled_voxels_come_back_as_something_else(benchmark: ModuleType) -> None:
    labels = np.full((8, 8, 8), UNLABELLED, np.uint8)
    labels[:4] = 101
    found = benchmark.there_and_back(labels, SPACING_MM, (2.0, 2.0, 2.0))
    assert set(np.unique(found)) == {0, 101}
