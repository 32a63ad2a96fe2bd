from __future__ import annotations

import json
from pathlib import Path

from vastus.io import nnunet_layout as layout


def test_names_are_those_of_nnunet(tmp_path: Path) -> None:
    assert layout.image_path(tmp_path, "a") == tmp_path / "imagesTr" / "a_0000.nii.gz"
    assert layout.labels_path(tmp_path, "a") == tmp_path / "labelsTr" / "a.nii.gz"
    assert [layout.case_of(stem) for stem in ("a_0000", "a", "a_0001")] == ["a", "a", "a_0001"]


def test_the_description_names_background_first_and_what_is_ignored_last(tmp_path: Path) -> None:
    layout.write_description(tmp_path, {"femur": 28}, 3, ignore=255, notes={"licence": "CC BY 4.0"})
    found = json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))
    assert list(found["labels"].items()) == [("background", 0), ("femur", 28), ("ignore", 255)]
    assert (found["numTraining"], found["file_ending"], found["licence"]) == (3, ".nii.gz", "CC BY 4.0")
    assert found["channel_names"] == {"0": "CT"}


def test_without_a_value_for_it_nothing_is_ignored(tmp_path: Path) -> None:
    layout.write_description(tmp_path, {"femur": 28}, 1)
    assert json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))["labels"] == {
        "background": 0,
        "femur": 28,
    }


def test_folds_are_written_as_nnunet_reads_them(tmp_path: Path) -> None:
    layout.write_splits(tmp_path, [(("a", "b"), ("c",))])
    assert json.loads((tmp_path / "splits_final.json").read_text(encoding="utf-8")) == [
        {"train": ["a", "b"], "val": ["c"]}
    ]
