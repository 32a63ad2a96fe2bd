from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from vastus.errors import BundleError
from vastus.inference.bundle import (
    DEFAULT_BUNDLE_NAME,
    INFO_FILE,
    ONNX_FILE,
    BundleInfo,
    NetworkSpec,
    Precision,
    default_bundle_folder,
    load_bundle,
    shipped_bundles,
    write_bundle_files,
)
from vastus.preprocessing import PreprocessingSettings

INFO = BundleInfo(
    name="toy",
    network=NetworkSpec("unet", {"channels": [8, 16]}),
    preprocessing=PreprocessingSettings(spacing_mm=(2.0, 2.0, 4.0), window_size=(96, 96, 64)),
    classes=("background", "gracilis", "femur"),
    trained_on="nothing",
    metrics={"mean_dice": 0.5},
    precisions=(Precision.FP32, Precision.BF16),
)


# The smallest ONNX file: the field with the name of the program that wrote it.
NETWORK = b"\x12\x07network"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / ONNX_FILE).write_bytes(NETWORK)
    write_bundle_files(tmp_path, INFO, card="# Card", licence="Apache", inference={"network_def": "x"})
    return tmp_path


def test_what_is_written_is_read(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert dataclasses.replace(bundle.info, files={}) == INFO
    assert set(bundle.info.files) == {
        "LICENSE",
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "models/model.onnx",
    }
    assert bundle.info.class_ids == (0, 9, 28)
    assert json.loads((folder / "configs/inference.json").read_text())["network_def"] == "x"


def test_one_changed_byte_is_found(folder: Path) -> None:
    (folder / ONNX_FILE).write_bytes(NETWORK.replace(b"o", b"0"))
    with pytest.raises(BundleError, match="SHA-256"):
        load_bundle(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "LICENSE").unlink()
    with pytest.raises(BundleError, match="LICENSE"):
        load_bundle(folder)


def test_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No weights here"):
        load_bundle(tmp_path)


def test_a_shipped_bundle_is_taken_by_name_unless_a_folder_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert DEFAULT_BUNDLE_NAME in shipped_bundles()
    assert load_bundle(Path(DEFAULT_BUNDLE_NAME)).folder == default_bundle_folder()
    (tmp_path / DEFAULT_BUNDLE_NAME).mkdir()
    with pytest.raises(BundleError, match="No weights here") as caught:
        load_bundle(Path(DEFAULT_BUNDLE_NAME))
    assert DEFAULT_BUNDLE_NAME in str(caught.value)


def test_digest_follows_the_weights(folder: Path) -> None:
    before = load_bundle(folder).digest
    (folder / ONNX_FILE).write_bytes(NETWORK.replace(b"network", b"another"))
    write_bundle_files(folder, INFO, card="# Card", licence="Apache")
    assert load_bundle(folder).digest != before


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("format_version", 99, "format version 99"),
        ("classes", ["background", "biceps_brachii"], "biceps_brachii"),
        ("classes", ["femur", "background"], "background"),
        ("overlap", 1.0, "overlap"),
        ("preprocessing", {"gamma": 2.0}, "missing"),
        ("precisions", ["fp8"], "fp8"),
        ("files", {"../../etc/passwd": "00"}, "leads out"),
        ("surprise", 1, "surprise"),
    ],
)
def test_malformed_descriptions_are_refused(folder: Path, field: str, value: object, says: str) -> None:
    path = folder / INFO_FILE
    values = json.loads(path.read_text())
    values[field] = value
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=says):
        load_bundle(folder)
