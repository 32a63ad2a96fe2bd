"""The bundle under MONAI's own runner, and its metadata against the rules of MONAI's specification."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("ignite")
import jsonschema

from training.tiny import Stripes, tiny_config
from vastus.errors import MissingInputError
from vastus.inference.bundle import load_bundle
from vastus.inference.choices import RuntimeOptions
from vastus.inference.predictor import Predictor
from vastus.io.labels import read_labels, write_labels
from vastus.io.scans import read_scan
from vastus.training.export import CardFacts, export_run
from vastus.training.loop import TrainOptions, train
from vastus.training.monai_workflow import scans_in
from vastus.volume import Volume

TENSOR: dict[str, Any] = {
    "type": "object",
    "required": [
        "type",
        "format",
        "modality",
        "num_channels",
        "spatial_shape",
        "dtype",
        "value_range",
        "is_patch_data",
        "channel_def",
    ],
    "properties": {
        "type": {"enum": ["image", "series", "tuples", "probabilities"]},
        "format": {"enum": ["magnitude", "hounsfield", "kspace", "raw", "labels", "classes", "segmentation", "points"]},
        "modality": {"type": "string"},
        "num_channels": {"type": "integer", "minimum": 1},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}, "minItems": 1, "maxItems": 3},
        "dtype": {"type": "string"},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
TEXTS = ("version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors", "copyright")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["schema", "changelog", "required_packages_version", "network_data_format", *TEXTS],
    "properties": {
        **{name: {"type": "string", "minLength": 1} for name in ("schema", *TEXTS)},
        "changelog": {"type": "object", "additionalProperties": {"type": "string"}},
        "required_packages_version": {"type": "object", "additionalProperties": {"type": "string"}},
        "eval_metrics": {"type": "object", "additionalProperties": {"type": "number"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {
                "inputs": {"type": "object", "minProperties": 1, "additionalProperties": TENSOR},
                "outputs": {"type": "object", "minProperties": 1, "additionalProperties": TENSOR},
            },
        },
    },
}
"""The rules of the MONAI bundle specification, section "metadata.json File"."""
WEIGHTS = Path(__file__).parents[2] / "src" / "vastus" / "weights"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run, folder = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("bundle") / "tiny"
    options = TrainOptions(workers=0, progress=False)
    train(tiny_config(steps=10), Stripes(), Stripes(seed=9), run, options=options)
    export_run(run, folder, CardFacts("tiny", "Stripes."), licence="Text of a licence.")
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks of soft tissue with denser rods, one of them with its axes turned."""
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(3)
    for name, affine in (("one", np.diag([4.0, 4, 6, 1])), ("two", np.diag([-4.0, -4, 5, 1]))):
        hu = np.full((80, 70, 50), -1000, np.int16)
        hu[10:70, 12:60] = 40
        hu[20:40, 20:40, 5:45] = 120
        hu[44:60, 24:44, 5:45] = 220
        hu += rng.normal(0, 8, hu.shape).astype(np.int16)
        write_image(Volume(hu, affine), folder / f"{name}.nii.gz")
    return folder


def write_image(scan: Volume, path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(scan.array, scan.affine), path)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_monais_runner_writes_the_labels_of_vastus_segment(bundle: Path, scans: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--dataset_dir", str(scans), "--output_dir", str(tmp_path / "out")]
    subprocess.run(command, cwd=bundle, check=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, timeout=600)
    predictor = Predictor(load_bundle(bundle), RuntimeOptions(threads=1))
    for name in ("one", "two"):
        scan = read_scan(scans / f"{name}.nii.gz").volume
        expected, found = predictor.segment(scan).labels, read_labels(tmp_path / "out" / name / "labels.nii.gz")
        np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
        assert len(np.unique(expected.array)) >= 2  # the network does say something
        assert (np.asarray(found.array) == np.asarray(expected.array)).mean() > 0.9999


@pytest.mark.parametrize("name", ["hip-to-knee", "unet", "unetr"])
def test_the_metadata_of_the_shipped_weights_follow_the_specification(name: str) -> None:
    metadata = json.loads((WEIGHTS / name / "configs" / "metadata.json").read_text(encoding="utf-8"))
    jsonschema.validate(metadata, SCHEMA)


def test_the_metadata_of_an_export_follow_the_specification(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    jsonschema.validate(metadata, SCHEMA)
    del metadata["monai_version"]
    with pytest.raises(jsonschema.ValidationError, match="monai_version"):
        jsonschema.validate(metadata, SCHEMA)


def test_a_folder_without_a_scan_is_refused_and_other_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no scan")
    with pytest.raises(MissingInputError, match="no scan in this folder"):
        scans_in(tmp_path)
    write_labels(Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    assert [Path(item["image"]).name for item in scans_in(tmp_path)] == ["a.nii.gz"]
