import json
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest

from training.nnunet_folder import write_data_set

pytest.importorskip("torch")
from training.tiny import tiny_config
from vastus.errors import SettingsError
from vastus.preprocessing import PreprocessingSettings
from vastus.training import folder
from vastus.training.config import ANATOMY_CLASSES, TrainConfig
from vastus.training.folder import FolderData, open_folder
from vastus.training.losses import IGNORE

COARSE = PreprocessingSettings(spacing_mm=(12.0, 12.0, 12.0), window_size=(32, 32, 16))


def _config() -> TrainConfig:
    return tiny_config(preprocessing=COARSE.to_dict(), classes=ANATOMY_CLASSES)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> FolderData:
    data = tmp_path_factory.mktemp("data")
    write_data_set(data / "set", 3)
    return open_folder(data / "set", _config(), fold=0, cache=data / "cache")


def test_a_window_depends_on_its_index_only(opened: FolderData) -> None:
    again = pickle.loads(pickle.dumps(opened.training))
    for index in (0, 5, 11, 5):
        first, second = opened.training.patch(index), again.patch(index)
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.labels, second.labels)
        assert first.image.shape == first.labels.shape == COARSE.window_size
        assert first.image.dtype == np.float32
        assert first.labels.dtype == np.uint8
    assert not np.array_equal(opened.training.patch(0).image, opened.training.patch(1).image)


def test_labels_lie_on_the_structures(opened: FolderData) -> None:
    # In the phantom bone is far brighter than muscle, and muscle than fat.
    plain = opened.validation
    bone, muscle = [], []
    for index in range(8):
        patch = plain.patch(index)
        bone.append(patch.image[(patch.labels == 28) | (patch.labels == 29)])
        muscle.append(patch.image[(patch.labels > 0) & (patch.labels < 28)])
    assert np.median(np.concatenate(bone)) > 0.95
    assert 0.05 < np.median(np.concatenate(muscle)) < 0.6


def test_held_out_cases_are_not_trained_on(opened: FolderData) -> None:
    assert not set(opened.training.cases) & set(opened.validation.cases)
    assert len(opened.training.cases) + len(opened.validation.cases) == 3


def test_every_class_gets_its_turn(opened: FolderData) -> None:
    seen = set()
    for index in range(40):
        seen |= set(np.unique(opened.training.patch(index).labels).tolist())
    assert len(seen - {0, IGNORE}) >= 25


def test_a_window_larger_than_the_scan_is_filled_with_air_that_nobody_labelled(tmp_path: Path) -> None:
    write_data_set(tmp_path / "set", 2)
    large = PreprocessingSettings(spacing_mm=(12.0, 12.0, 12.0), window_size=(64, 64, 32))
    config = tiny_config(preprocessing=large.to_dict(), classes=ANATOMY_CLASSES)
    patch = open_folder(tmp_path / "set", config, fold=0, cache=tmp_path / "cache").validation.patch(0)
    outside = patch.labels == IGNORE
    assert outside.mean() > 0.3
    assert float(np.abs(patch.image[outside]).max()) < 0.05
    assert (patch.labels == 28).any()


def test_the_cache_is_used_and_follows_the_settings(opened: FolderData, tmp_path: Path) -> None:
    data, cache = write_data_set(tmp_path / "set", 2), tmp_path / "cache"
    open_folder(data, _config(), fold=0, cache=cache)
    before = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    open_folder(data, _config(), fold=0, cache=cache)
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")} == before
    other = tiny_config(preprocessing=COARSE.to_dict() | {"gamma": 1.0}, classes=ANATOMY_CLASSES)
    open_folder(data, other, fold=0, cache=cache)
    assert len(list(cache.iterdir())) == 4


def test_a_fold_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_data_set(tmp_path / "set", 2)
    with pytest.raises(SettingsError, match="no fold 7"):
        open_folder(tmp_path / "set", _config(), fold=7, cache=tmp_path / "cache")


def test_all_trains_on_every_case(tmp_path: Path) -> None:
    write_data_set(tmp_path / "set", 3)
    everything = open_folder(tmp_path / "set", _config(), fold=None, cache=tmp_path / "cache")
    assert len(everything.training.cases) == 3
    assert everything.validation.cases == everything.training.cases
    assert not (tmp_path / "set" / "splits_final.json").exists()


def test_edges_that_cut_a_window_leave_air_without_labels(opened: FolderData, monkeypatch: pytest.MonkeyPatch) -> None:
    half = np.zeros(COARSE.window_size, bool)
    half[:16] = True
    whole = np.ones(COARSE.window_size, bool)
    monkeypatch.setattr(folder, "cut_field", lambda window, rng: whole)
    before = opened.training.patch(3)
    monkeypatch.setattr(folder, "cut_field", lambda window, rng: half)
    cut = opened.training.patch(3)
    assert (cut.labels[~half] == IGNORE).all()
    assert not cut.image[~half].any()
    np.testing.assert_array_equal(cut.labels[half], before.labels[half])
    np.testing.assert_array_equal(cut.image[half], before.image[half])
    assert before.image[~half].any()


def _sparse_data_set(folder: Path) -> tuple[Path, list[int]]:
    """Two phantoms of which only every fifth slice is labelled; the value 255 says so."""
    write_data_set(folder, 2, spacing_mm=8.0)
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"]["ignore"] = 255
    (folder / "dataset.json").write_text(json.dumps(description))
    for path in (folder / "labelsTr").iterdir():
        image = nibabel.load(path)
        labels = np.asarray(image.dataobj).copy()
        drawn = list(range(2, labels.shape[2], 5))
        hidden = np.setdiff1d(np.arange(labels.shape[2]), drawn)
        labels[:, :, hidden] = 255
        nibabel.save(nibabel.Nifti1Image(labels, image.affine), path)
    return folder, drawn


def test_a_scan_with_few_drawn_slices_keeps_its_own_slices(tmp_path: Path) -> None:
    data, drawn = _sparse_data_set(tmp_path / "set")
    # The network's slices are 1.5 times as thick as the scan's: on its grid a third of the drawn ones would be missed.
    settings = PreprocessingSettings(spacing_mm=(8.0, 8.0, 12.0), window_size=(32, 32, 16))
    config = tiny_config(preprocessing=settings.to_dict(), classes=ANATOMY_CLASSES)
    opened = open_folder(data, config, fold=None, cache=tmp_path / "cache")
    labels = np.load(opened.training.cases[0] / "labels.npy")
    known = (labels != IGNORE).any(axis=(0, 1))
    assert np.flatnonzero(known).tolist() == drawn


def test_windows_of_such_a_scan_hold_what_was_drawn_where_it_was_drawn(tmp_path: Path) -> None:
    data, _ = _sparse_data_set(tmp_path / "set")
    settings = PreprocessingSettings(spacing_mm=(8.0, 8.0, 12.0), window_size=(48, 48, 24))
    config = tiny_config(preprocessing=settings.to_dict(), classes=ANATOMY_CLASSES)
    opened = open_folder(data, config, fold=None, cache=tmp_path / "cache")
    bone, muscle = [], []
    for index in range(12):
        patch = opened.validation.patch(index)
        known = patch.labels != IGNORE
        assert 0.0 < known.mean() < 0.5
        bone.append(patch.image[(patch.labels == 28) | (patch.labels == 29)])
        muscle.append(patch.image[(patch.labels > 0) & (patch.labels < 28)])
    assert np.median(np.concatenate(bone)) > 0.95
    assert 0.05 < np.median(np.concatenate(muscle)) < 0.6


def test_merged_labels_reach_the_run(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "set", 2, sided=False)
    description = json.loads((data / "dataset.json").read_text())
    names = description["labels"]
    members = ["adductor_longus", "adductor_brevis"]
    for key in members:
        del names[key]
    names["short_adductors"] = 7
    description["merged"] = {"short_adductors": members}
    (data / "dataset.json").write_text(json.dumps(description))
    for path in (data / "labelsTr").iterdir():
        image = nibabel.load(path)
        labels = np.asarray(image.dataobj).copy()
        labels[labels == 8] = 7
        nibabel.save(nibabel.Nifti1Image(labels, image.affine), path)
    opened = open_folder(data, _config(), fold=None, cache=tmp_path / "cache")
    assert opened.settings_of_run.classes == ANATOMY_CLASSES
    assert opened.settings_of_run.merged == (("adductor_brevis", "adductor_longus"),)
    seen = {int(v) for i in range(8) for v in np.unique(opened.validation.patch(i).labels)}
    assert 30 in seen
    assert not {7, 8} & seen
