from __future__ import annotations

import numpy as np

from vastus.inference.islands import dissolve, find_parts, islands


def remove_islands(labels: np.ndarray, voxel_mm3: float) -> np.ndarray:
    parts = find_parts(labels)
    return dissolve(labels, parts, islands(parts, voxel_mm3))


def _map() -> np.ndarray:
    labels = np.zeros((30, 20, 20), np.uint8)
    labels[2:12, 2:12, 2:12] = 101
    return labels


def test_an_island_in_fat_becomes_background() -> None:
    labels = _map()
    labels[20:22, 5:7, 5:7] = 101
    np.testing.assert_array_equal(remove_islands(labels, 30.0), _map())


def test_an_island_inside_another_muscle_becomes_that_muscle() -> None:
    labels = _map()
    labels[5:7, 5:7, 5:7] = 105
    labels[20:26, 5:15, 5:15] = 105
    cleaned = remove_islands(labels, 30.0)
    assert (cleaned[2:12, 2:12, 2:12] == 101).all() and (cleaned[20:26, 5:15, 5:15] == 105).all()


def test_a_part_that_its_own_label_surrounds_may_be_told_to_leave_it() -> None:
    labels = _map()
    end = np.zeros_like(labels)
    end[11, 5:7, 5:7] = 101  # a piece of the last layer of the block: 12 faces touch the block, 4 the background
    parts = find_parts(end)
    gone = np.array([False, True])
    np.testing.assert_array_equal(dissolve(labels, parts, gone), labels)
    dented = np.where(end, np.uint8(0), labels)
    np.testing.assert_array_equal(dissolve(labels, parts, gone, into_own=False), dented)


def test_large_second_parts_stay() -> None:
    labels = _map()
    labels[20:25, 5:10, 5:10] = 101  # 125 of 1000 voxels
    np.testing.assert_array_equal(remove_islands(labels, 8.0), labels)


def test_sides_are_judged_apart() -> None:
    labels = _map()
    labels[20:22, 5:7, 5:7] = 201  # small, but all there is of the left one
    np.testing.assert_array_equal(remove_islands(labels, 1.0), labels)


def test_the_largest_part_of_a_value_is_never_an_island() -> None:
    labels = np.random.default_rng(0).integers(0, 30, (20, 20, 20)).astype(np.uint8)
    parts = find_parts(labels)
    small = islands(parts, 1.0)
    assert set(parts.value[1:][~small[1:]]) == set(range(1, 30))
    assert set(np.unique(remove_islands(labels, 1.0))) <= set(range(30))


def test_parts_name_value_and_size_of_every_voxel() -> None:
    labels = np.random.default_rng(1).integers(0, 4, (9, 8, 7)).astype(np.uint8)
    parts = find_parts(labels)
    np.testing.assert_array_equal(parts.value[parts.index], labels)
    assert parts.size.sum() == (labels > 0).sum()


def test_the_input_is_left_alone() -> None:
    labels = _map()
    labels[20, 5, 5] = 101
    before = labels.copy()
    remove_islands(labels, 1.0)
    np.testing.assert_array_equal(labels, before)


def test_what_does_not_belong_does_not_make_the_rest_islands() -> None:
    labels = _map()
    labels[20:22, 5:7, 5:7] = 101  # 8 of 1000 voxels
    parts = find_parts(labels)
    wrong = parts.size == 1000
    small = islands(parts, 30.0, wrong)
    assert not small[parts.size == 8].any()
    assert (dissolve(labels, parts, wrong | small) == 101).sum() == 8
