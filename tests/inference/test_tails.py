from __future__ import annotations

import numpy as np
import pytest

from vastus.anatomy import LABELS
from vastus.inference.tails import PROPER_SECTION_MM2, PROPER_SHARE, TIP_MM, dissolve_tails

MM2, SLICE_MM = 4.0, 4.0
MUSCLES = np.zeros(256, np.bool_)
MUSCLES[[label.value for label in LABELS if label.structure.is_muscle]] = True
FEMUR = next(label.value for label in LABELS if label.structure.key == "femur")
FIRST, SECOND = [label.value for label in LABELS if label.structure.is_muscle][:2]
BELLY, TIP = 12, 14  # the first slice after the proper sections, and after the tip of 8 mm


def _without_tails(labels: np.ndarray, voxel_mm2: float = MM2) -> np.ndarray:
    return dissolve_tails(labels, MUSCLES, voxel_mm2=voxel_mm2, slice_mm=SLICE_MM)


def _muscle(value: int = FIRST) -> np.ndarray:
    labels = np.zeros((30, 30, 20), np.uint8, order="F")
    labels[5:17, 5:17, :BELLY] = value  # 144 voxels a slice, 576 mm²
    labels[8:11, 8:12, BELLY:TIP] = value  # a tip: 12 voxels a slice, 48 mm²
    return labels


def test_the_tip_stays_and_the_tail_beyond_it_becomes_background() -> None:
    assert (TIP - BELLY) * SLICE_MM == TIP_MM
    labels = _muscle()
    tailed = labels.copy()
    tailed[8:11, 8:12, TIP:18] = FIRST
    np.testing.assert_array_equal(_without_tails(labels), labels)
    np.testing.assert_array_equal(_without_tails(tailed), labels)


def test_a_tail_inside_a_neighbour_becomes_the_neighbour() -> None:
    labels = _muscle()
    labels[3:20, 3:20, TIP:] = SECOND
    tailed = labels.copy()
    tailed[8:11, 8:12, TIP:17] = FIRST
    np.testing.assert_array_equal(_without_tails(tailed), labels)


def test_a_section_of_the_proper_size_stays_however_far_it_is() -> None:
    labels = _muscle()
    labels[8:13, 8:13, 18] = FIRST  # 25 voxels
    assert 25 * MM2 == PROPER_SECTION_MM2
    np.testing.assert_array_equal(_without_tails(labels), labels)


def test_a_muscle_that_is_thin_everywhere_stays() -> None:
    labels = np.zeros((30, 30, 20), np.uint8, order="F")
    labels[8:11, 8:12, :BELLY] = FIRST
    labels[8:11, 8:10, BELLY:] = FIRST  # half of its usual section
    assert PROPER_SHARE <= 6 / 12
    np.testing.assert_array_equal(_without_tails(labels), labels)


def test_pieces_of_one_section_are_judged_together() -> None:
    labels = _muscle()
    labels[8:11, 8:13, 18] = FIRST
    labels[20:22, 8:13, 18] = FIRST  # 15 + 10 voxels: a proper section
    np.testing.assert_array_equal(_without_tails(labels), labels)


def test_bones_keep_their_tips() -> None:
    labels = _muscle(FEMUR)
    labels[8, 8, TIP:] = FEMUR
    np.testing.assert_array_equal(_without_tails(labels), labels)


@pytest.mark.parametrize("voxel_mm2", [0.5, 4.0, 25.0])
def test_the_input_is_left_alone_and_only_muscles_change(voxel_mm2: float) -> None:
    labels = _muscle()
    labels[:12, :12, 15:] = np.random.default_rng(3).choice(
        [0, FIRST, SECOND, FEMUR], (12, 12, 5), p=[0.9, 0.04, 0.03, 0.03]
    )
    before = labels.copy()
    cleaned = _without_tails(labels, voxel_mm2)
    np.testing.assert_array_equal(labels, before)
    assert set(np.unique(labels[cleaned != labels])) <= {FIRST, SECOND}


def test_an_empty_map_stays_empty() -> None:
    assert not _without_tails(np.zeros((4, 4, 3), np.uint8, order="F")).any()
