"""nnU-Net's layout of a data set: the one place that knows its folders, its file names and ``dataset.json``.

``imagesTr/case_0000.nii.gz`` is a scan (channel 0), ``labelsTr/case.nii.gz`` its label map, ``dataset.json`` names the
label values, and ``splits_final.json`` the folds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vastus.io.atomic import write_text

IMAGES: Final = "imagesTr"
LABELS: Final = "labelsTr"
DATASET_FILE: Final = "dataset.json"
SPLITS_FILE: Final = "splits_final.json"
CHANNEL: Final = "_0000"
"""What the name of a scan ends in: the CT is channel 0, and there is no other."""
FILE_ENDING: Final = ".nii.gz"
BACKGROUND_NAME: Final = "background"
MERGED: Final = "merged"
"""The table of labels that stand for several structures, ours beside nnU-Net's own entries."""
IGNORE_NAME: Final = "ignore"
"""The name of the value of voxels at which nobody looked."""


def image_name(case: str) -> str:
    """Name the file of a scan."""
    return f"{case}{CHANNEL}{FILE_ENDING}"


def labels_name(case: str) -> str:
    """Name the file of a label map."""
    return f"{case}{FILE_ENDING}"


def image_path(folder: Path, case: str) -> Path:
    """Return the path of the scan of a case in a data set."""
    return folder / IMAGES / image_name(case)


def labels_path(folder: Path, case: str) -> Path:
    """Return the path of the label map of a case in a data set."""
    return folder / LABELS / labels_name(case)


def case_of(stem: str) -> str:
    """Take the channel off a file name without suffix; a name without a channel stays."""
    return stem.removesuffix(CHANNEL)


def write_description(
    folder: Path, values: Mapping[str, int], count: int, *, ignore: int | None = None, notes: Mapping[str, object] = {}
) -> None:
    """Write ``dataset.json``.

    Args:
        folder: of the data set; must exist.
        values: name of each structure -> its label value; background is 0 and stands not among them.
        count: labelled scans.
        ignore: value of voxels at which nobody looked; None: there are none.
        notes: further entries, such as ``description``, ``licence`` and ``merged``.

    Raises:
        OutputError: it can't be written.
    """
    labels = {BACKGROUND_NAME: 0, **values} | ({} if ignore is None else {IGNORE_NAME: ignore})
    description: dict[str, Any] = {
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": count,
        "file_ending": FILE_ENDING,
        **notes,
    }
    write_text(folder / DATASET_FILE, json.dumps(description, indent=2) + "\n")


def write_splits(folder: Path, folds: Iterable[tuple[Sequence[str], Sequence[str]]]) -> None:
    """Write ``splits_final.json``.

    Args:
        folder: of the data set; must exist.
        folds: names of the cases to train on, and of those held out.

    Raises:
        OutputError: it can't be written.
    """
    rows = [{"train": list(training), "val": list(validation)} for training, validation in folds]
    write_text(folder / SPLITS_FILE, json.dumps(rows, indent=2) + "\n")
