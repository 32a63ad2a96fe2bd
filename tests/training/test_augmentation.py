import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.training.augmentation import Cut, Frame, cut_field, plain_cut, take, varied_cut, vary_intensity

WINDOW = (12, 10, 8)
SAME = (1.0, 1.0, 1.0)


def test_a_plain_cut_copies_the_box() -> None:
    volume = np.arange(20 * 18 * 16, dtype=np.float32).reshape(20, 18, 16)
    cut = plain_cut(np.array([9.5, 8.5, 7.5]), Frame(WINDOW, SAME, SAME))
    start = cut.offset.astype(int)
    expected = volume[tuple(slice(a, a + n) for a, n in zip(start, WINDOW, strict=True))]
    np.testing.assert_array_equal(take(volume, cut, WINDOW, order=1, outside=0.0), expected)
    np.testing.assert_array_equal(take(volume, cut, WINDOW, order=0, outside=0.0), expected)


def test_outside_the_scan_is_filled() -> None:
    labels = np.ones((4, 4, 4), dtype=np.uint8)
    taken = take(labels, plain_cut(np.array([1.5, 1.5, 1.5]), Frame(WINDOW, SAME, SAME)), WINDOW, order=0, outside=255)
    assert int((taken == 1).sum()) == 64
    assert set(np.unique(taken)) == {1, 255}
    far = take(labels, Cut(np.eye(3), np.array([99.0, 0, 0])), WINDOW, order=0, outside=255)
    assert (far == 255).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_only_left_and_right_are_ever_mirrored(seed: int) -> None:
    spacing = (2.0, 2.0, 4.0)
    cut = varied_cut(np.array([10.0, 10.0, 10.0]), Frame(WINDOW, spacing, spacing), np.random.default_rng(seed))
    in_mm = np.diag(spacing) @ cut.matrix @ np.diag(1 / np.array(spacing))
    # Front stays in front, the head above; x may turn round, and then the map mirrors.
    assert in_mm[1, 1] > 0.5
    assert in_mm[2, 2] > 0.5
    assert abs(in_mm[0, 0]) > 0.5
    assert np.sign(np.linalg.det(in_mm)) == np.sign(in_mm[0, 0])
    # Turned and scaled only: the axes stay at right angles in mm.
    scaled = in_mm.T @ in_mm
    np.testing.assert_allclose(scaled, scaled[0, 0] * np.eye(3), atol=1e-9)


def test_image_and_labels_move_together() -> None:
    labels = np.zeros((40, 40, 40), dtype=np.uint8)
    labels[12:22, 14:30, 10:26] = 1
    cut = varied_cut(
        np.array([18.0, 20.0, 18.0]), Frame((24, 24, 24), (2.0, 2.0, 2.0), (2.0, 2.0, 2.0)), np.random.default_rng(5)
    )
    image = take(labels.astype(np.float32), cut, (24, 24, 24), order=1, outside=0.0)
    moved = take(labels, cut, (24, 24, 24), order=0, outside=0)
    assert np.mean((image > 0.5) == (moved == 1)) > 0.98
    assert moved.any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_grey_values_stay_in_range_and_repeat(seed: int) -> None:
    image = np.random.default_rng(1).random(WINDOW, dtype=np.float32)
    varied = vary_intensity(image, np.random.default_rng(seed))
    assert varied.dtype == np.float32
    assert varied.shape == WINDOW
    assert 0.0 <= varied.min() <= varied.max() <= 1.0
    np.testing.assert_array_equal(varied, vary_intensity(image, np.random.default_rng(seed)))


def test_some_images_are_changed() -> None:
    image = np.full(WINDOW, 0.5, np.float32)
    changed = [not np.array_equal(vary_intensity(image, np.random.default_rng(s)), image) for s in range(20)]
    assert 10 < sum(changed) <= 20


def test_a_turn_of_nothing_is_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    class Still:
        def normal(self, mean: float, sd: float, size: int | None = None) -> object:
            return np.zeros(size) if size else 0.0

        def random(self) -> float:
            return 0.9

    cut = varied_cut(np.array([5.5, 4.5, 3.5]), Frame(WINDOW, (1.0, 2.0, 3.0), (1.0, 2.0, 3.0)), Still())  # type: ignore[arg-type]
    np.testing.assert_allclose(cut.matrix, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(cut.offset, 0.0, atol=1e-12)


def test_a_cropped_window_keeps_a_box_of_it() -> None:
    kept = []
    for seed in range(400):
        field = cut_field((40, 30, 20), np.random.default_rng(seed))
        box = [np.flatnonzero(field.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        assert all(len(b) == b[-1] - b[0] + 1 for b in box)
        assert field.sum() == len(box[0]) * len(box[1]) * len(box[2])
        kept.append([len(b) for b in box])
    shares = np.array(kept) / (40, 30, 20)
    whole = (shares == 1).all(axis=1).mean()
    assert 0.55 < whole < 0.75, "0.6, and those cropped windows that no edge meets"
    assert (shares.min(axis=0) >= (0.39, 0.39, 0.29)).all()
    assert (shares.min(axis=0) < 0.5).all()
