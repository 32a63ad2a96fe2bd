"""Fat at the border of a muscle becomes background; fat inside, bone and lean borders stay."""

from __future__ import annotations

import numpy as np
import pytest

from vastus.anatomy import BUILT_IN
from vastus.inference.border_fat import trim_border_fat

MUSCLE, NEIGHBOUR, FEMUR = 103, 104, 128
MUSCLE_HU, FAT_HU = 50.0, -100.0
SOFT = np.zeros(256, np.bool_)
SOFT[[value for structure in BUILT_IN.muscles for value in structure.label_values]] = True


def _muscle_in_fat() -> tuple[np.ndarray, np.ndarray]:
    """A muscle of 10 x 10 voxels in fat, labelled with a rim of two voxels of fat around it."""
    hu = np.full((20, 20, 3), FAT_HU)
    hu[5:15, 5:15] = MUSCLE_HU
    labels = np.zeros(hu.shape, np.uint8)
    labels[3:17, 3:17] = MUSCLE
    return labels, hu


@pytest.mark.parametrize(("spacing_mm", "rings"), [(2.0, 1), (1.0, 1), (0.5, 2)])
def test_the_outermost_millimetre_of_fat_is_taken_off(spacing_mm: float, rings: int) -> None:
    labels, hu = _muscle_in_fat()
    trim_border_fat(labels, hu, (spacing_mm, spacing_mm, 5.0), SOFT)
    left = np.argwhere(labels[:, :, 1] == MUSCLE)
    assert left.min(axis=0).tolist() == [3 + rings, 3 + rings]
    assert left.max(axis=0).tolist() == [16 - rings, 16 - rings]


def test_a_layer_of_fat_between_two_muscles_belongs_to_neither() -> None:
    hu = np.full((20, 12, 2), MUSCLE_HU)
    hu[9:11] = FAT_HU
    labels = np.full(hu.shape, MUSCLE, np.uint8)
    labels[10:] = NEIGHBOUR
    trim_border_fat(labels, hu, (1.0, 1.0, 3.0), SOFT)
    assert (labels[9:11] == 0).all()
    assert (labels[:9] == MUSCLE).all() and (labels[11:] == NEIGHBOUR).all()


def test_fat_inside_a_muscle_lean_borders_and_bone_stay() -> None:
    hu = np.full((20, 20, 2), MUSCLE_HU)
    hu[9:12, 9:12] = FAT_HU
    hu[0:4] = FAT_HU  # fatty marrow
    labels = np.full(hu.shape, MUSCLE, np.uint8)
    labels[0:4] = FEMUR
    labels[:, 15:] = np.where(labels[:, 15:] == MUSCLE, NEIGHBOUR, labels[:, 15:])
    before = labels.copy()
    trim_border_fat(labels, hu, (1.0, 1.0, 3.0), SOFT)
    np.testing.assert_array_equal(labels, before)


def test_one_noisy_voxel_does_not_decide() -> None:
    labels, hu = _muscle_in_fat()
    labels[:] = np.where(hu == MUSCLE_HU, MUSCLE, 0)
    hu[:] = MUSCLE_HU  # lean everywhere, but for one dark voxel at the border
    hu[5, 9, 1] = -120.0
    trim_border_fat(labels, hu, (0.5, 0.5, 3.0), SOFT)
    assert labels[5, 9, 1] == MUSCLE


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_memory_order_and_type_do_not_matter(order: str, dtype: type) -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice(np.array([0, MUSCLE, NEIGHBOUR, FEMUR], np.uint8), (15, 17, 5))
    hu = rng.integers(-120, 80, labels.shape).astype(np.float64)
    expected = labels.copy()
    trim_border_fat(expected, hu, (0.8, 0.9, 3.0), SOFT)
    assert 0 < np.count_nonzero(expected != labels) < labels.size / 2
    given = np.array(labels, order=order)
    turned = np.flip(given, (0, 1))  # as to_ras turns a scan of axes L, P, S
    trim_border_fat(turned, np.flip(hu.astype(dtype), (0, 1)), (0.8, 0.9, 3.0), SOFT)
    np.testing.assert_array_equal(given, expected)
