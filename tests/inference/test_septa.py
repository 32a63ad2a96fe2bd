"""Borders between muscles move to the dark lines beside them, or stay; slivers get the names around them."""

from __future__ import annotations

import heapq
from itertools import count

import numpy as np
import pytest

from vastus.anatomy import BUILT_IN
from vastus.inference.predictor import compute_threads
from vastus.inference.septa import COARSEST_MM, DARKNESS_STEP_HU, REACH_MM, SLIVER_MM, follow_septa

MUSCLE, NEIGHBOUR, THIRD, FEMUR = 103, 104, 105, 128
MUSCLE_HU, SEPTUM_HU, FAT_HU = 55, -20, -100
SPACING_MM = (1.0, 1.0, 3.0)
MUSCLES = np.zeros(256, np.bool_)
MUSCLES[[value for structure in BUILT_IN.muscles for value in structure.label_values]] = True


def _two_muscles(border: int, septum: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Two muscles of 20 x 24 voxels side by side in fat, named as far as ``border``, with a dark line at ``septum``."""
    hu = np.full((60, 40, 2), FAT_HU, np.int16)
    hu[10:50, 8:32] = MUSCLE_HU
    labels = np.zeros(hu.shape, np.uint8)
    labels[10:border, 8:32] = MUSCLE
    labels[border:50, 8:32] = NEIGHBOUR
    if septum is not None:
        hu[septum, 8:32] = SEPTUM_HU
    return labels, hu


def _followed(labels: np.ndarray, hu: np.ndarray, spacing_mm: tuple[float, float, float] = SPACING_MM) -> np.ndarray:
    result = labels.copy()
    follow_septa(result, hu, spacing_mm, MUSCLES)
    return result


@pytest.mark.parametrize("off", [-4, -3, -2, 2, 3, 4])
def test_a_border_moves_to_the_septum_beside_it(off: int) -> None:
    labels, hu = _two_muscles(30 + off, septum=30)
    found = _followed(labels, hu)
    # The line itself may go to either muscle; what lies beyond it belongs to the other one.
    assert (found[10:29, 8:32] == MUSCLE).all()
    assert (found[32:50, 8:32] == NEIGHBOUR).all()


def test_a_border_without_a_septum_stays() -> None:
    labels, hu = _two_muscles(30, septum=None)
    np.testing.assert_array_equal(_followed(labels, hu), labels)


def test_a_round_border_without_a_septum_stays() -> None:
    x, y = np.ogrid[:60, :60]
    labels = np.full((60, 60, 1), NEIGHBOUR, np.uint8)
    labels[(x - 30) ** 2 + (y - 29) ** 2 < 15**2] = MUSCLE
    np.testing.assert_array_equal(_followed(labels, np.full(labels.shape, MUSCLE_HU, np.int16)), labels)


def test_a_septum_out_of_reach_changes_nothing() -> None:
    labels, hu = _two_muscles(30, septum=30 + int(REACH_MM) + 3)
    np.testing.assert_array_equal(_followed(labels, hu), labels)


def test_pixels_too_coarse_to_show_a_septum_change_nothing() -> None:
    labels, hu = _two_muscles(32, septum=30)
    np.testing.assert_array_equal(_followed(labels, hu, (COARSEST_MM + 0.01, 1.0, 3.0)), labels)


def test_differences_below_the_step_are_noise() -> None:
    labels, hu = _two_muscles(33, septum=None)
    hu[30, 8:32] -= int(DARKNESS_STEP_HU / 2)
    np.testing.assert_array_equal(_followed(labels, hu), labels)


def test_a_sliver_between_two_muscles_gets_their_names() -> None:
    labels, hu = _two_muscles(30, septum=None)
    labels[28:32, 8:32] = THIRD  # four millimetres wide: its inside is 1.5 mm from the next muscle
    found = _followed(labels, hu)
    assert not (found == THIRD).any()
    assert (found[10:29, 8:32] == MUSCLE).all() and (found[31:50, 8:32] == NEIGHBOUR).all()


def test_a_slim_muscle_that_is_deeper_than_a_sliver_stays() -> None:
    labels, hu = _two_muscles(30, septum=None)
    labels[26 : 26 + 2 * int(SLIVER_MM) + 3, 8:32] = THIRD
    np.testing.assert_array_equal(_followed(labels, hu), labels)


def test_a_thin_muscle_in_fat_touches_no_other_and_stays() -> None:
    labels = np.zeros((40, 40, 1), np.uint8)
    labels[5:35, 10:12] = MUSCLE
    labels[5:35, 20:34] = NEIGHBOUR
    np.testing.assert_array_equal(_followed(labels, np.full(labels.shape, MUSCLE_HU, np.int16)), labels)


def test_slivers_without_a_muscle_beside_them_that_is_deeper_keep_their_names() -> None:
    labels = np.zeros((40, 40, 1), np.uint8)
    labels[10:12, 10:30], labels[12:14, 10:30] = MUSCLE, NEIGHBOUR
    np.testing.assert_array_equal(_followed(labels, np.full(labels.shape, MUSCLE_HU, np.int16)), labels)


def test_bone_and_what_has_no_label_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    labels = _random_labels(rng)
    found = _followed(labels, rng.integers(-100, 100, labels.shape))
    other = ~MUSCLES[labels]
    np.testing.assert_array_equal(found[other], labels[other])
    assert MUSCLES[found[~other]].all()
    assert (found != labels).any()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_memory_order_and_type_do_not_matter(order: str, dtype: type) -> None:
    rng = np.random.default_rng(3)
    labels, spacing_mm = _random_labels(rng), (0.8, 0.9, 3.0)
    hu = rng.integers(-120, 120, labels.shape)
    expected = _followed(labels, hu, spacing_mm)
    given = np.array(np.flip(labels, (0, 1)), order=order)
    follow_septa(np.flip(given, (0, 1)), hu.astype(dtype), spacing_mm, MUSCLES)  # as to_ras turns a scan
    np.testing.assert_array_equal(np.flip(given, (0, 1)), expected)


def test_numbers_of_threads_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    labels = np.concatenate([_random_labels(rng) for _ in range(5)], axis=2)
    hu = rng.integers(-120, 120, labels.shape)
    found = []
    for threads in (1, 2):
        with compute_threads(threads):
            found.append(_followed(labels, hu))
    np.testing.assert_array_equal(*found)


def test_the_loop_is_the_watershed_of_its_rules() -> None:
    """The names are those of a plain flood with a heap, pixel by pixel, from the rules as the text says them."""
    rng = np.random.default_rng(5)
    labels = _random_labels(rng)
    hu = rng.integers(-100, 120, labels.shape)
    found = _followed(labels, hu)
    for k in range(labels.shape[2]):
        np.testing.assert_array_equal(found[:, :, k].T, _flooded(labels[:, :, k].T, hu[:, :, k].T))


def _random_labels(rng: np.random.Generator) -> np.ndarray:
    """Cells of several muscles, bone and gaps, some of them slivers."""
    points = rng.uniform(0, 50, (14, 2))
    names = rng.choice(np.array([0, MUSCLE, NEIGHBOUR, THIRD, MUSCLE, NEIGHBOUR, FEMUR], np.uint8), 14)
    x, y = np.mgrid[:50, :44]
    nearest = ((x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2).argmin(-1)
    plane = names[nearest]
    plane[:, 20:22] = THIRD
    return np.repeat(plane[:, :, None], 3, axis=2)


def _flooded(labels: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """Flood one slice with voxels of 1 mm; rows run along Y."""
    rows, columns = labels.shape
    muscle = MUSCLES[labels]

    def beside(i: int, j: int) -> list[tuple[int, int]]:
        four = ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1))
        return [(a, b) for a, b in four if 0 <= a < rows and 0 <= b < columns]

    places = [(i, j) for i in range(rows) for j in range(columns) if muscle[i, j]]
    edges = np.array([p for p in places if any(muscle[q] and labels[q] != labels[p] for q in beside(*p))])
    depth = np.full(labels.shape, np.inf)
    for p in places:
        depth[p] = np.sqrt(((edges - p) ** 2).sum(axis=1).min())
    core = np.zeros(labels.shape, bool)
    for value in np.unique(labels[muscle]):
        own = labels == value
        deepest = depth[own].max()
        if deepest > REACH_MM:
            core |= own & (depth > REACH_MM)
        elif deepest >= SLIVER_MM:
            core |= own & (depth > deepest / 2)
    dark = _darkness(np.clip(hu.astype(float), -150, 150), muscle)
    order, heap, found, done = count(), [], labels.copy(), core.copy()
    for p in places:
        if core[p] and any(muscle[q] and not core[q] for q in beside(*p)):
            heapq.heappush(heap, (0, next(order), p))
    while heap:
        _, _, p = heapq.heappop(heap)
        for q in beside(*p):
            if muscle[q] and not done[q]:
                done[q], found[q] = True, found[p]
                level = min(int(max(dark[q], 0.0) / DARKNESS_STEP_HU), 15)
                tier = int((REACH_MM - min(depth[q], REACH_MM)) / 0.25)
                heapq.heappush(heap, (level * 22 + 1 + tier, next(order), q))
    return found


def _darkness(hu: np.ndarray, muscle: np.ndarray) -> np.ndarray:
    """How far a pixel, smoothed by 1 mm, lies below the mean of the muscle in the 9 x 9 mm around it."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(hu, 1.0, truncate=3.0, mode="nearest")
    box, inside = np.ones((9, 9)), muscle.astype(float)
    count = ndimage.convolve(inside, box, mode="constant")
    return ndimage.convolve(hu * inside, box, mode="constant") / np.maximum(count, 1.0) - smooth
