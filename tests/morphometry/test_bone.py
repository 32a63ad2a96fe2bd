from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from vastus.morphometry.bone import Bone, StraightLine, find_bone
from vastus.morphometry.voxels import tally_labels
from vastus.volume import Volume, to_ras

FEMUR = 128
AFFINE = np.array([[0.9, 0.1, 0, -20], [-0.1, 1.1, 0.2, 30], [0, -0.2, 2.5, 100], [0, 0, 0, 1.0]])


def _labels(seed: int = 0) -> np.ndarray:
    array = np.zeros((14, 12, 20), np.uint8)
    rng = np.random.default_rng(seed)
    array[4:10, 3:8, 2:18][rng.random((6, 5, 16)) < 0.8] = FEMUR
    array[5:9, 4:7, 3:17] = FEMUR
    array[0, 0, 0] = FEMUR  # an island
    array[12:, 10:] = 110
    return array


def _bone(volume: Volume) -> Bone:
    upright = to_ras(volume)
    bone = find_bone(upright, tally_labels(upright.array, None), FEMUR)
    assert bone is not None
    return bone


def _points(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    wanted = array == FEMUR
    wanted[:2] = False
    return np.argwhere(wanted) @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_sums_are_those_of_the_listed_points_in_any_layout(order: tuple[int, ...]) -> None:
    array, back = _labels(), np.argsort(order)
    points = _points(array, AFFINE)
    line = StraightLine(np.array([3.0, -2.0, 90.0]), np.array([0.1, -0.2, np.sqrt(0.95)]))
    along = (points - line.origin_mm) @ line.direction
    for flips in product((1, -1), repeat=3):
        turned = tuple(slice(None, None, f) for f in flips)
        stored = np.ascontiguousarray(array[turned].transpose(order)).transpose(back)[turned]
        bone = _bone(Volume(stored, AFFINE))
        centre, covariance = bone.centre_and_covariance()
        np.testing.assert_allclose(centre, points.mean(axis=0), rtol=1e-10)
        np.testing.assert_allclose(covariance, np.cov(points.T), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(bone.extent_mm(line), (along.min(), along.max()), rtol=1e-10)


def test_sections_hold_every_voxel_once() -> None:
    array = _labels()
    points = _points(array, AFFINE)
    line = StraightLine(points.mean(axis=0), np.array([0.0, 0.0, 1.0]))
    along = points[:, 2] - line.origin_mm[2]
    bins = np.floor((along - along.min()) / 5.0).astype(int)
    sections = _bone(Volume(array, AFFINE)).sections(line, 5.0)
    np.testing.assert_array_equal(sections.count, np.bincount(bins))
    for n in range(len(sections.count)):
        np.testing.assert_allclose(sections.centre_mm[n], points[bins == n].mean(axis=0))


def test_the_farthest_voxel_of_each_mm() -> None:
    array = np.zeros((9, 5, 30), np.uint8)
    array[2, 2, 2:28] = FEMUR
    array[2:7, 2, 10] = FEMUR
    bone = _bone(Volume(array, np.eye(4)))
    line = StraightLine(np.array([2.0, 2.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    reach = bone.farthest_mm(line, np.array([1.0, 0.0, 0.0]), (7.5, 12.5))
    assert reach.tolist()[:5] == [0, 0, 4, 0, 0] and reach[5] == -np.inf


def test_a_bone_that_is_not_there() -> None:
    volume = to_ras(Volume(_labels(), AFFINE))
    assert find_bone(volume, tally_labels(volume.array, None), 228) is None
