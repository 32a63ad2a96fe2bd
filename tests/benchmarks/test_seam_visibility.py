"""How well a border shows, against slices whose answer is known."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from programs import load_program

SARTORIUS_RIGHT, GRACILIS_RIGHT, GRACILIS_LEFT = 101, 109, 209


@pytest.fixture(scope="module")
def seams() -> ModuleType:
    return load_program(Path(__file__).parents[2] / "benchmarks" / "muscle_boundary_visibility.py")


def slice_of(seams: ModuleType, border_hu: float, other: int = GRACILIS_RIGHT):  # type: ignore[no-untyped-def]
    """Two muscles of 50 HU, 40 mm wide each, that meet in a line of two voxels."""
    hu = np.full((80, 40), 50.0, np.float32)
    hu[39:41] = border_hu
    labels = np.full((80, 40), SARTORIUS_RIGHT, np.uint8)
    labels[40:] = other
    return seams.Slice(hu, labels, np.zeros((80, 40), bool))


def test_a_dark_line_is_seen_by_as_much_as_smoothing_leaves_of_it(seams: ModuleType) -> None:
    table = seams.measure(iter([slice_of(seams, 0.0)]), (1.0, 1.0))
    assert list(table.one) == ["sartorius"] and list(table.other) == ["gracilis"]
    weights = np.exp(-0.5 * (np.arange(-4, 5) / 0.7) ** 2)
    left = (weights[4] + weights[5]) / weights.sum()
    assert table.fall_hu[0] == pytest.approx(50.0 * left, abs=0.5)
    assert table.visible[0] == 1.0


def test_without_a_line_nothing_is_seen(seams: ModuleType) -> None:
    table = seams.measure(iter([slice_of(seams, 50.0)]), (1.0, 1.0))
    assert table.fall_hu[0] == pytest.approx(0.0, abs=0.01)
    assert table.visible[0] == 0.0


def test_the_other_leg_is_no_neighbour(seams: ModuleType) -> None:
    assert seams.measure(iter([slice_of(seams, 0.0, GRACILIS_LEFT)]), (1.0, 1.0)).empty


def test_nothing_is_taken_from_around_a_tumour(seams: ModuleType) -> None:
    one = slice_of(seams, 0.0)
    one.tumour[39, 20] = True
    assert len(seams.borders(one, (1.0, 1.0))[1][1, 9]) < len(seams.borders(slice_of(seams, 0.0), (1.0, 1.0))[1][1, 9])
    one.tumour[30:50] = True
    assert (1, 9) not in seams.borders(one, (1.0, 1.0))[1]
