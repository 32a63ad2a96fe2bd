import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from training.tiny import SETTINGS, Stripes
from vastus.errors import SettingsError
from vastus.training import sources
from vastus.training.loader import Place, batches, rendered_batches
from vastus.training.sources import MixedSource, SyntheticSource


class _Pool:
    def patch(
        self, seed: int, index: int, window_size: tuple[int, int, int], spacing_mm: tuple[float, float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        assert spacing_mm == SETTINGS.spacing_mm
        rng = np.random.default_rng((seed, index))
        labels = rng.integers(0, 3, window_size).astype(np.uint8)
        return np.where(labels == 2, 164.0, -57.0).astype(np.float32), labels


def test_synthetic_windows_are_normalised_and_mirrored_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sources, "open_pool", lambda folder: _Pool())
    source = SyntheticSource(tmp_path, SETTINGS, seed=4)
    mirrored = 0
    for index in range(30):
        patch = source.patch(index)
        _, labels = _Pool().patch(4, index, SETTINGS.window_size, SETTINGS.spacing_mm)
        np.testing.assert_array_equal(patch.image, (patch.labels == 2).astype(np.float32))
        same = np.array_equal(patch.labels, labels)
        assert same or np.array_equal(patch.labels[::-1], labels)
        mirrored += not same
    assert 5 < mirrored < 25


def test_a_source_travels_without_its_open_pool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "open_pool", lambda folder: _Pool())
    source = SyntheticSource(tmp_path, SETTINGS, seed=4)
    first = source.patch(3)
    again = pickle.loads(pickle.dumps(source))
    assert again._pool is None
    np.testing.assert_array_equal(again.patch(3).labels, first.labels)


def test_a_pool_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="pool"):
        SyntheticSource(tmp_path / "none", SETTINGS, seed=0).patch(0)


def test_a_mix_draws_by_weight_and_always_the_same() -> None:
    class Marked(Stripes):
        def patch(self, index: int):  # type: ignore[no-untyped-def]
            return f"{self.seed}"

    mixed = MixedSource((Marked(seed=1), Marked(seed=2), Marked(seed=3)), (1.0, 3.0, 0.0), seed=0)
    drawn = [mixed.patch(i) for i in range(400)]
    assert drawn == [mixed.patch(i) for i in range(400)]
    assert 0.19 < drawn.count("1") / 400 < 0.31
    assert drawn.count("3") == 0
    with pytest.raises(SettingsError):
        MixedSource((Marked(),), (0.0,), seed=0)


def test_processes_share_the_windows_without_overlap() -> None:
    taken = [i for step in range(3) for rank in range(2) for i in Place(2, rank, 2).indices(step)]
    assert taken == list(range(12))


def test_batches_continue_where_a_run_stopped() -> None:
    whole = iter(batches(Stripes(), Place(2), first_step=0, workers=0))
    for _ in range(3):
        next(whole)
    image, labels = next(whole)
    again_image, again_labels = next(iter(batches(Stripes(), Place(2), first_step=3, workers=0)))
    np.testing.assert_array_equal(image.numpy(), again_image.numpy())
    np.testing.assert_array_equal(labels.numpy(), again_labels.numpy())
    assert tuple(image.shape) == (2, 1, *SETTINGS.window_size)


def test_windows_made_on_the_device_are_those_of_the_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    class OnDevice(_Pool):
        def __init__(self, folder: Path, device: object) -> None:
            assert folder == tmp_path

        def patch(self, *arguments: object) -> tuple[object, object]:
            return tuple(torch.from_numpy(array) for array in super().patch(*arguments))

    monkeypatch.setattr("vastus.synthesis.torch_patches.TorchPool", OnDevice)
    monkeypatch.setattr(sources, "open_pool", lambda folder: _Pool())
    source = SyntheticSource(tmp_path, SETTINGS, seed=5)
    place = Place(4)
    image, labels = next(rendered_batches(source, place, first_step=3, device=torch.device("cpu")))
    true_image, true_labels = next(iter(batches(source, place, first_step=3, workers=0)))
    assert image.shape == true_image.shape and labels.dtype == true_labels.dtype
    assert torch.allclose(image, true_image, atol=1e-5) and (labels == true_labels).all()
