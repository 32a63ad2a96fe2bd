import numpy as np
import pytest

from vastus.errors import SettingsError
from vastus.refinement.between_slices import fill_between, signed_distance

MM = (1.0, 1.0, 2.0)


def disc(centre: tuple[float, float], radius: float, n: int = 40) -> np.ndarray:
    x, y = np.indices((n, n))
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_signed_distance_of_a_half_space() -> None:
    depth = signed_distance(np.arange(10) < 4, (2.0,))
    assert depth.tolist() == [7, 5, 3, 1, -1, -3, -5, -7, -9, -11]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_oblique_cone_comes_back_along_any_axis(axis: int) -> None:
    truth = np.stack([disc((12 + k, 12 + 1.5 * k), 4 + 0.4 * k) * 104 for k in range(11)], axis=2).astype(np.uint8)
    holed = truth.copy()
    holed[:, :, 1:10] = 0
    turned, reference = (np.moveaxis(a, 2, axis) for a in (holed, truth))
    filled = fill_between(turned, [0, 10], axis, MM)
    for k in range(1, 10):
        assert dice(np.take(filled, k, axis) == 104, np.take(reference, k, axis) == 104) > 0.93
    assert np.array_equal(np.take(filled, 0, axis), np.take(reference, 0, axis))


def test_neighbours_stay_neighbours_without_a_gap() -> None:
    labels = np.zeros((30, 30, 9), np.uint8)
    for k, edge in ((0, 10), (8, 18)):
        labels[4:edge, 5:25, k] = 1
        labels[edge:26, 5:25, k] = 2
    filled = fill_between(labels, [0, 8], 2, MM)
    assert (filled[5:25, 6:24, 4] > 0).all()
    assert abs(int((filled[:, 15, 4] == 1).sum()) - 10) <= 1


def test_a_structure_seen_on_one_side_only_ends_half_way() -> None:
    labels = np.zeros((40, 40, 9), np.uint8)
    labels[disc((20, 20), 8), 0] = 3
    filled = fill_between(labels, [0, 8], 2, MM)
    areas = [(filled[:, :, k] == 3).sum() for k in range(9)]
    assert areas == sorted(areas, reverse=True) and areas[3] > 0 and areas[5] == 0


def test_only_the_named_structures_change() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (20, 20, 9)).astype(np.uint8)
    filled = fill_between(labels, [0, 8], 2, MM, values=[1])
    others = np.isin(labels, [2, 3])
    assert np.array_equal(filled[others], labels[others])
    assert set(np.unique(filled[~others])) <= {0, 1}


def test_outside_the_corrected_slices_nothing_changes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (12, 12, 20)).astype(np.uint8)
    filled = fill_between(labels, [5, 9, 12], 2, MM)
    kept = [*range(6), 9, *range(12, 20)]
    assert np.array_equal(filled[:, :, kept], labels[:, :, kept])


@pytest.mark.parametrize("slices", [[3], [3, 3], [-1, 4], [0, 9]])
def test_too_few_or_foreign_slices_are_refused(slices: list[int]) -> None:
    with pytest.raises(SettingsError):
        fill_between(np.zeros((3, 3, 9), np.uint8), slices, 2, MM)
