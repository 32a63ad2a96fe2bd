"""Labels from a folder become the first version of the scans that have none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from annotation_server import ONE_THREAD, make_project, phantom
from vastus.anatomy import LABELS
from vastus.annotation.first_labels import AUTHOR, take_first_labels
from vastus.annotation.project.project import Project, ServerSettings
from vastus.annotation.project.store import Draft, Kind
from vastus.errors import MissingInputError
from vastus.io.labels import write_labels


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Project]:
    folder = make_project(tmp_path / "imagesTr")
    (folder / "scan0.nii.gz").rename(folder / "scan0_0000.nii.gz")
    project = Project(ServerSettings(folder, None, ONE_THREAD), None)
    yield project
    project.close()


def test_each_scan_without_labels_gets_its_own(opened: Project, tmp_path: Path) -> None:
    folder = tmp_path / "labelsTr"
    folder.mkdir()
    labels = phantom(0).labels
    values = np.where(labels.array == 128, 61, labels.array).astype(np.uint8)
    image = nibabel.Nifti1Image(values, labels.affine)
    nibabel.save(image, folder / "scan0.nii.gz")
    write_labels(labels.with_array(np.zeros_like(labels.array)), folder / "scan1.nii.gz")
    (folder / "scan2.nii.gz").write_bytes(b"broken")
    names = {"femur_or_hip_bone": 61, "background": 0}
    names |= {label.name: label.value for label in LABELS}
    merged = {"femur_or_hip_bone": ["femur", "hip_bone"]}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": names, "merged": merged}))
    before = opened.save("scan1", Draft(Kind.HUMAN, "reader"), phantom(1).labels)
    told: list[str] = []
    assert take_first_labels(opened, folder, told.append) == 1
    version = opened.store.current("scan0_0000")
    assert version is not None and (version.author, version.kind, version.number) == (AUTHOR, Kind.MODEL, 1)
    expected = np.where(labels.array == 128, 255, labels.array)
    assert np.array_equal(opened.current_labels("scan0_0000").array, expected)
    # What a reader has made already stays, and a broken file stops nobody.
    assert opened.store.current("scan1") == before
    assert opened.store.current("scan2") is None and any(line.startswith("scan2: Unreadable") for line in told)
    assert take_first_labels(opened, folder) == 0


def test_a_missing_folder_is_told(opened: Project, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        take_first_labels(opened, tmp_path / "none")
