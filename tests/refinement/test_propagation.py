import numpy as np
import pytest

from vastus.anatomy import BY_KEY, UNLABELLED
from vastus.errors import GeometryError, SettingsError
from vastus.refinement.between_slices import fill_between
from vastus.refinement.propagation import PropagationSettings, propagate

MM = (1.0, 1.0, 5.0)
ONE, TWO, FEMUR = (BY_KEY[key].class_id for key in ("sartorius", "gracilis", "femur"))


def thigh(slices: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Two muscles with a septum that swings aside in the middle slices, a bone beside them; and the truth."""
    hu = np.full((80, 70, slices), -100, np.int16)
    truth = np.zeros(hu.shape, np.uint8)
    for k in range(slices):
        septum = 40 + round(4 * np.sin(np.pi * k / (slices - 1)))
        hu[12:68, 12:40, k] = 50
        hu[septum, 12:40, k] = -60
        truth[12:septum, 12:40, k] = ONE
        truth[septum + 1 : 68, 12:40, k] = TWO
    i, j, _ = np.indices(hu.shape)
    radius = np.hypot(i - 40, j - 54)
    hu[radius < 8] = 700
    truth[radius < 8] = FEMUR
    noise = np.random.default_rng(0).normal(0, 6, hu.shape)
    return (hu + noise).astype(np.int16), truth


def drawn_at(truth: np.ndarray, *slices: int) -> np.ndarray:
    labels = np.full_like(truth, UNLABELLED)
    labels[:, :, list(slices)] = truth[:, :, list(slices)]
    return labels


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_borders_move_to_the_edges_of_each_slice() -> None:
    hu, truth = thigh()
    done = propagate(hu, drawn_at(truth, 0, 6), MM)
    assert done.slices == (1, 2, 3, 4, 5)
    shapes = fill_between(truth, (0, 6), 2, MM)
    for value in (ONE, TWO):
        guess, moved = (dice(labels[:, :, 3] == value, truth[:, :, 3] == value) for labels in (shapes, done.labels))
        assert guess < 0.94 and moved > 0.965
    assert dice(done.labels[:, :, 3] == FEMUR, truth[:, :, 3] == FEMUR) > 0.95
    assert np.array_equal(done.labels[:, :, [0, 6]], truth[:, :, [0, 6]])


def test_nothing_outside_and_nothing_between_slices_far_apart() -> None:
    hu, truth = thigh(9)
    done = propagate(hu, drawn_at(truth, 1, 3), MM)
    assert done.slices == (2,)
    assert (done.labels[:, :, [0, 4, 5, 8]] == UNLABELLED).all()
    far = propagate(hu, drawn_at(truth, 0, 8), MM, PropagationSettings(farthest_mm=39.0))
    assert far.slices == () and np.array_equal(far.labels, drawn_at(truth, 0, 8))
    assert propagate(hu, drawn_at(truth, 2), MM).slices == ()
    assert propagate(hu, drawn_at(truth, 2, 3), MM).slices == ()


def test_what_ends_between_and_what_nobody_could_tell_is_unlabelled() -> None:
    hu, truth = thigh()
    labels = drawn_at(truth, 0, 6)
    labels[:, :, 6][labels[:, :, 6] == TWO] = 0
    labels[20:30, 20:30, [0, 6]] = UNLABELLED
    done = propagate(hu, labels, MM).labels
    assert not (done[:, :, 1:6] == TWO).any()
    assert (done[46:60, 14:38, 1] == UNLABELLED).all()
    assert (done[22:28, 22:28, 1:6] == UNLABELLED).all()
    assert (done[14:18, 14:38, 3] == ONE).all()


def test_it_is_the_same_each_time_and_refuses_what_does_not_fit() -> None:
    hu, truth = thigh()
    labels = drawn_at(truth, 0, 6)
    assert np.array_equal(propagate(hu, labels, MM).labels, propagate(hu, labels, MM).labels)
    with pytest.raises(GeometryError):
        propagate(hu[:5], labels, MM)
    for wrong in ({"farthest_mm": 0.0}, {"play_mm": 0.0}, {"core": 1.0}):
        with pytest.raises(SettingsError):
            PropagationSettings(**wrong)
