"""MONAI's bundle runner: the parts of ``configs/inference.json`` that Vastus brings.

``python -m monai.bundle run --config_file configs/inference.json`` labels a folder of CTs with MONAI's own evaluator.
Reading, the body's windows, sides, islands and the way back to the scan's grid are the steps of ``vastus segment``, so
that both write the same labels.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.inferers.inferer import Inferer
from monai.transforms.transform import MapTransform
from torch import Tensor, nn

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.errors import MissingInputError, UnsupportedScanError
from vastus.inference.finish import channel_of_label, clean, on_scan_grid
from vastus.inference.stitch import ScoreMap, Stitcher
from vastus.inference.windows import pad_to_window, plan_of
from vastus.io.atomic import ensure_folder
from vastus.io.labels import write_labels
from vastus.io.own_structures import entries_of, own_table
from vastus.io.scans import read_scan, scan_format, subject_name
from vastus.io.structure_tables import write_table_beside
from vastus.preprocessing import Preprocessed, PreprocessingSettings, preprocess

IMAGE: Final = "image"
SCAN: Final = "scan"
"""Key of the ``Volume`` that was read."""
SEEN: Final = "seen"
"""Key of the ``Preprocessed`` that the network sees."""
NAME: Final = "name"


def scans_in(folder: Path | str) -> list[dict[str, Any]]:
    """List the scans of a folder for MONAI's ``Dataset``: a file or a folder of DICOM files each.

    Raises:
        MissingInputError: there is none.
    """
    found = [{IMAGE: str(path)} for path in sorted(Path(folder).glob("*")) if _is_scan(path)]
    if not found:
        raise MissingInputError("There is no scan in this folder.", path=Path(folder), remedy="Set dataset_dir.")
    return found


def _is_scan(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    try:
        scan_format(path)
    except UnsupportedScanError:
        return False
    return True


class ReadScand(MapTransform):
    """Read a path as a CT in HU, with the checks of ``vastus.read_scan``."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put the scan under ``SCAN`` and its name under ``NAME``."""
        found = dict(data)
        for key in self.key_iterator(found):
            path = Path(found[key])
            found |= {SCAN: read_scan(path).volume, NAME: subject_name(path)}
        return found


class Preprocessd(MapTransform):
    """Turn upright, crop to the body, resample, and bring HU to 0..1."""

    def __init__(self, keys: str | Sequence[str], settings: Mapping[str, Any]) -> None:
        """Take the settings as ``PreprocessingSettings.to_dict`` writes them."""
        super().__init__(keys)
        self._settings = PreprocessingSettings.from_dict(dict(settings))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the key by a tensor (1, X, Y, Z); put what belongs to it under ``SEEN``."""
        found = dict(data)
        for key in self.key_iterator(found):
            seen = preprocess(found[SCAN], self._settings)
            found |= {key: torch.from_numpy(np.ascontiguousarray(seen.image))[None], SEEN: seen}
        return found


def one_scan(items: Sequence[Mapping[Hashable, Any]]) -> dict[Hashable, Any]:
    """Collate a batch of one: scans differ in size."""
    (item,) = items
    return dict(item) | {IMAGE: item[IMAGE][None]}


def prepare_scan(
    batch: Mapping[Hashable, Any], device: torch.device | str | None, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, None, tuple[()], dict[str, Preprocessed]]:
    """Hand a batch to the evaluator: the image, no label, and what the inferer needs beside it."""
    return batch[IMAGE].to(device=device, non_blocking=non_blocking), None, (), {SEEN: batch[SEEN]}


class BodyWindowInferer(Inferer):
    """Sliding windows where there is a body, stitched as ``vastus segment`` stitches them."""

    def __init__(self, settings: Mapping[str, Any], overlap: float) -> None:
        """Take the preprocessing settings and the share by which windows overlap."""
        super().__init__()
        self._settings = PreprocessingSettings.from_dict(dict(settings))
        self._overlap = overlap

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> ScoreMap:
        """Run the network over an image (1, 1, X, Y, Z).

        Args:
            inputs: 0..1, on the network grid.
            network: logits (1, classes, *window) of a window (1, 1, *window).
            args: none.
            kwargs: ``seen``, what ``Preprocessd`` left.
        """
        seen: Preprocessed = kwargs[SEEN]
        a, b, c = window = self._settings.window_size
        image = pad_to_window(inputs[0, 0].cpu().numpy(), window)
        plan = plan_of(seen, self._settings, self._overlap)
        stitcher: Stitcher | None = None
        for layer in plan.layers:
            for x, y in layer.starts:
                part = np.ascontiguousarray(image[x : x + a, y : y + b, layer.z : layer.z + c])
                logits = network(torch.from_numpy(part)[None, None].to(inputs.device))[0]
                if stitcher is None:
                    stitcher = Stitcher(image.shape, len(logits), plan)
                stitcher.finish_below(layer.z)
                last = logits.float().permute(1, 2, 3, 0).contiguous().cpu().numpy()
                stitcher.add(last, x, y, layer.z)
        if stitcher is None:
            raise UnsupportedScanError("There is no body in this scan.")
        return stitcher.result()


class FinishLabelsd(MapTransform):
    """Sides, islands, and the way back to the grid of the scan."""

    def __init__(
        self, keys: str | Sequence[str], classes: Sequence[str], structures: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Take the keys of the network's channels, the background first, and the entries of a table of one's own."""
        super().__init__(keys)
        self._classes = tuple(classes)
        self._table = _table_of(structures)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace a ``ScoreMap`` by the labels, a ``Volume`` on the scan's grid."""
        found = dict(data)
        for key in self.key_iterator(found):
            scores, seen = found[key], found[SEEN]
            labels, _ = clean(scores, seen, self._classes, self._table)
            channels = channel_of_label(self._classes, self._table)
            found[key] = on_scan_grid(labels, scores, seen, channels, found[SCAN], self._table)
        return found


class WriteLabelsd(MapTransform):
    """Write ``FOLDER/NAME/labels.nii.gz``, as ``vastus segment`` does."""

    def __init__(
        self, keys: str | Sequence[str], folder: Path | str, structures: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Take the folder, which is made when the first scan is there, and the entries of a table of one's own."""
        super().__init__(keys)
        self._folder = Path(folder)
        self._table = _table_of(structures)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the labels; hand the data on as they are."""
        for key in self.key_iterator(dict(data)):
            folder = self._folder / str(data[NAME])
            ensure_folder(folder)
            write_table_beside(self._table, folder)
            write_labels(data[key], folder / "labels.nii.gz", table=self._table)
        return dict(data)


def _table_of(structures: Sequence[Mapping[str, Any]] | None) -> StructureTable:
    return BUILT_IN if structures is None else own_table(structures)


def load_weights(network: nn.Module, file: Path | str) -> nn.Module:
    """Load a bundle's safetensors into its network, as float32."""
    from safetensors.torch import load_file

    tensors = load_file(str(file))
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
    return network


def workflow(
    settings: PreprocessingSettings,
    classes: Sequence[str],
    overlap: float,
    network: Mapping[str, Any],
    table: StructureTable = BUILT_IN,
) -> dict[str, Any]:
    """``configs/inference.json`` for MONAI's bundle runner.

    Args:
        settings: of the bundle.
        classes: of the bundle.
        overlap: of the bundle.
        network: ``network_def``.
        table: of the structures.
    """
    own = {} if table.is_built_in else {"structures": entries_of(table)}
    here = "vastus.training.monai_workflow"
    return {
        "imports": ["$import torch", "$import vastus", f"$import {here}"],
        "bundle_root": ".",
        "dataset_dir": "scans",
        "output_dir": "$@bundle_root + '/labels'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "settings": settings.to_dict(),
        "classes": list(classes),
        "network_def": dict(network),
        "network": f"${here}.load_weights(@network_def, @bundle_root + '/models/model.safetensors').to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{here}.ReadScand", "keys": IMAGE},
                {"_target_": f"{here}.Preprocessd", "keys": IMAGE, "settings": "@settings"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": f"${here}.scans_in(@dataset_dir)", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "num_workers": 0,
            "collate_fn": f"${here}.one_scan",
        },
        "inferer": {"_target_": f"{here}.BodyWindowInferer", "settings": "@settings", "overlap": overlap},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{here}.FinishLabelsd", "keys": "pred", "classes": "@classes"} | own,
                {"_target_": f"{here}.WriteLabelsd", "keys": "pred", "folder": "@output_dir"} | own,
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "prepare_batch": f"${here}.prepare_scan",
            "postprocessing": "@postprocessing",
            "decollate": False,
        },
        "run": ["$@evaluator.run()"],
    }
