"""Boxes of labels: which of them lie below the pelvis is known by construction."""

import numpy as np
import pytest

from vastus.anatomy import BY_KEY
from vastus.inference.islands import find_parts
from vastus.inference.pelvis import MARGIN_MM, below_pelvis, said_below, said_without_bones

MM = 4.0
AFFINE = np.diag([MM, MM, MM, 1.0])
VOXEL_MM3 = MM**3


def volume(**boxes: tuple[int, int, int]) -> np.ndarray:
    """Structure -> first x, first and last slice of a box of 8 x 8 voxels; the right side's label values."""
    labels = np.zeros((80, 8, 60), np.uint8)
    for key, (x, low, high) in boxes.items():
        labels[x : x + 8, :, low : high + 1] = 100 + BY_KEY[key].class_id
    return labels


def keys_below(labels: np.ndarray) -> set[str]:
    parts = find_parts(labels)
    below = below_pelvis(parts, AFFINE, VOXEL_MM3)
    return {k for k, s in BY_KEY.items() if (parts.value[below] % 100 == s.class_id).any()}


def test_trunk_muscles_well_below_the_hip_bone_are_found() -> None:
    margin = int(MARGIN_MM / MM)
    labels = volume(
        hip_bone=(0, 30, 50),
        femur=(10, 0, 40),
        rectus_abdominis=(20, 5, 30 - margin - 1),
        abdominal_oblique=(30, 5, 30 - margin),
        psoas=(40, 0, 59),
        vastus_lateralis=(50, 0, 20),
    )
    assert keys_below(labels) == {"rectus_abdominis"}, "the others reach up to the pelvis, or belong into the thigh"


def test_the_part_beside_the_pelvis_stays() -> None:
    labels = volume(hip_bone=(0, 30, 50), femur=(10, 0, 40), multifidus=(20, 35, 55))
    labels[40:44, :, 2:6] = 100 + BY_KEY["multifidus"].class_id
    parts = find_parts(labels)
    below = below_pelvis(parts, AFFINE, VOXEL_MM3)
    assert parts.size[below].tolist() == [4 * 8 * 4]


def test_a_thigh_without_hip_bone_has_no_trunk() -> None:
    thigh = volume(femur=(0, 0, 59), gluteus_medius=(20, 40, 59), gluteus_maximus=(30, 40, 59))
    assert keys_below(thigh) == {"gluteus_medius"}
    crumb = thigh.copy()
    crumb[70:72, :2, 0] = 100 + BY_KEY["hip_bone"].class_id
    assert keys_below(crumb) == {"gluteus_medius"}, "a crumb of a hip bone is none"


@pytest.mark.parametrize("femur", [{}, {"femur": (0, 0, 3)}, {"femur": (0, 0, 30)}])
def test_an_abdomen_without_hip_bone_keeps_its_muscles(femur: dict[str, tuple[int, int, int]]) -> None:
    labels = volume(psoas=(20, 0, 59), multifidus=(30, 0, 59), **femur)
    assert keys_below(labels) == set()


def test_nothing_to_find() -> None:
    assert keys_below(volume(femur=(0, 0, 59))) == set()
    assert keys_below(np.zeros((4, 4, 4), np.uint8)) == set()


def test_it_is_said_when_it_is_more_than_a_crumb() -> None:
    labels = volume(femur=(0, 0, 59), rectus_abdominis=(20, 0, 9), abdominal_oblique=(40, 0, 9))
    parts = find_parts(labels)
    below = below_pelvis(parts, AFFINE, VOXEL_MM3)
    (warning,) = said_below(parts, below, VOXEL_MM3)
    assert "82 mL" in warning and "abdominal oblique, rectus abdominis" in warning  # 2 x 640 voxels of 64 mm3
    assert said_below(parts, below, 0.1) == ()
    assert said_below(parts, np.zeros_like(below), VOXEL_MM3) == ()


def test_muscles_without_any_bone_are_said() -> None:
    calf = volume(gracilis=(0, 0, 9))
    assert said_without_bones(find_parts(calf), VOXEL_MM3)[0].startswith("Neither a femur nor a hip bone")
    assert said_without_bones(find_parts(calf), 0.1) == (), "a crumb"
    for bone in ("femur", "hip_bone"):
        assert said_without_bones(find_parts(volume(gracilis=(0, 0, 9), **{bone: (20, 0, 3)})), VOXEL_MM3) == ()
    assert said_without_bones(find_parts(np.zeros((4, 4, 4), np.uint8)), VOXEL_MM3) == ()
