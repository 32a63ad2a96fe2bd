"""Small bundles with networks that need no training: each class has its own intensity, and the nearest one wins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vastus.anatomy import BUILT_IN, BY_ID, CLASS_COUNT, StructureTable
from vastus.inference.bundle import ONNX_FILE, Bundle, BundleInfo, NetworkSpec, load_bundle, write_bundle_files
from vastus.preprocessing import PreprocessingSettings

CLASS_STEP_HU = 100.0
ALL_CLASSES = ("background", *(BY_ID[i].key for i in range(1, CLASS_COUNT)))
PAINTED = PreprocessingSettings(
    hu_window=(0.0, CLASS_STEP_HU * CLASS_COUNT), gamma=1.0, spacing_mm=(4.0, 4.0, 4.0), window_size=(32, 32, 24)
)
"""For scans in which class c is painted as 100 * c HU, on a grid of 4 mm."""


def write_toy_bundle(
    folder: Path,
    classes: Sequence[str] = ALL_CLASSES,
    levels: Sequence[float] | None = None,
    settings: PreprocessingSettings = PAINTED,
    table: StructureTable = BUILT_IN,
) -> Bundle:
    """A 1x1x1 convolution whose largest logit belongs to the class with the level nearest to the intensity."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    level = np.arange(len(classes)) / CLASS_COUNT if levels is None else np.asarray(levels, dtype=np.float64)
    sharpness = 2000.0
    weight = (2 * sharpness * level).astype(np.float32).reshape(-1, 1, 1, 1, 1)
    bias = (-sharpness * level**2).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"])],
        "nearest",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, *settings.window_size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(classes), *settings.window_size])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "models").mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / ONNX_FILE))
    info = BundleInfo("toy", NetworkSpec("none"), settings, tuple(classes), "nothing: a test network", table=table)
    write_bundle_files(folder, info, card="# Toy", licence="Apache-2.0")
    return load_bundle(folder)


def write_painted_scan(path: Path, z_range_mm: tuple[float, float] = (200.0, 342.0)) -> None:
    """A phantom in which each class has the intensity that the toy network knows it by."""
    import nibabel as nib

    from vastus.synthesis.phantom import make_phantom

    phantom = make_phantom(PAINTED.spacing_mm, z_range_mm=z_range_mm, noise_hu=0)
    classes = phantom.labels.array % 100
    hu = np.where(classes > 0, classes * CLASS_STEP_HU, np.where(phantom.ct.array > -900, -100.0, -1000.0))
    nib.save(nib.Nifti1Image(hu.astype(np.int16), phantom.ct.affine), path)
