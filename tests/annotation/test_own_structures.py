"""Structures of a lab's own in the annotation server: from the weights or a table file, to a data set and weights."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from annotation_server import ONE_THREAD, Running, labels_of, serving
from own_scan import FEMUR, NAMES, SACRUM, TABLE, THIGH, own_labels, write_own_bundle, write_own_data_set
from tiny_training import TINY_TRAINING
from toy_bundle import write_toy_bundle
from vastus.anatomy import UNLABELLED
from vastus.annotation.first_labels import take_first_labels
from vastus.annotation.models.trainer import TrainerSettings
from vastus.annotation.project.project import Project, ServerSettings
from vastus.errors import SettingsError
from vastus.io.labels import write_labels
from vastus.io.structure_tables import read_structure_table
from vastus.training.dataset import read_dataset
from vastus.volume import Volume, to_ras

RIGHT, LEFT = 100, 200


def project_of(folder: Path, scans: int = 1) -> Path:
    folder.mkdir()
    ct, _ = own_labels()
    for number in range(scans):
        nibabel.save(nibabel.Nifti1Image(ct.array, ct.affine), folder / f"scan{number}.nii.gz")
    return folder


def label_body(labels: Volume, folder: Path) -> bytes:
    (folder / "structure_table.csv").write_text(TABLE)
    table = read_structure_table(folder / "structure_table.csv")
    write_labels(labels, folder / "own.nii.gz", partly=True, table=table)
    return (folder / "own.nii.gz").read_bytes()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("own")
    weights = write_own_bundle(folder / "weights")
    with serving(ServerSettings(project_of(folder / "scans", 2), weights, ONE_THREAD)) as server:
        yield server


def current(running: Running, case: str = "scan0") -> np.ndarray:
    version = running.client.get(f"/api/cases/{case}/versions").json[-1]["version"]
    return labels_of(running.client.get(f"/api/cases/{case}/versions/{version}/labels.nii.gz").body)


def test_clients_get_the_names_groups_and_colours_of_the_table(running: Running) -> None:
    rows = running.client.get("/api/structures").json
    by_value = {row["value"]: row for row in rows}
    assert set(by_value) == {101, 102, 104, 201, 202, 204, 1, 2, 3, 4}
    assert (by_value[101]["name"], by_value[101]["group_title"], by_value[101]["colour"]) == (
        "Thigh muscles",
        "Merged",
        "#37a0e6",
    )
    assert by_value[SACRUM]["side"] == "midline" and by_value[4]["side"] == "unknown"
    info = running.client.get("/info/").json
    assert set(info["labels"]) == {
        "sacrum",
        *(f"{key}_{side}" for key in NAMES if key != "sacrum" for side in ("right", "left")),
    }
    assert info["models"]["bundle"]["labels"]["sacrum"] == SACRUM


def test_the_network_labels_and_everything_counts_under_their_names(running: Running) -> None:
    made = running.client.post("/api/cases/scan0/infer")
    assert made.status == 201, made.body
    _, wanted = own_labels()
    found = current(running)
    assert np.mean(found == wanted.array) > 0.99
    volumes = running.client.get(f"/api/cases/scan0/versions/{made.json['version']}/volumes").json
    names = {(row["name"], row["side"]) for row in volumes}
    assert ("Sacrum", "midline") in names and ("Thigh muscles", "left") in names and len(names) == 7
    unsure = running.client.get("/api/cases/scan0/uncertainty").json
    assert {row["name"] for row in unsure} >= {"Sacrum", "Thigh muscles, right"}
    assert "expected" not in unsure[0]
    findings = running.client.get("/api/findings")
    assert findings.json == [] and findings.headers["x-vastus-check"] == "left out"
    names_of = running.client.get("/datastore/label/info?label=scan0&tag=original").json["params"]["label_names"]
    assert names_of["sacrum"] == SACRUM and names_of["femur_left"] == LEFT + FEMUR


def test_tools_work_on_them(running: Running, tmp_path: Path) -> None:
    _, wanted = own_labels()
    running.client.post("/api/cases/scan1/versions", label_body(wanted, tmp_path))
    address = "/api/cases/scan1/tools/smooth?preview=true&width_mm=12&sigma_mm=8&value="
    shown = running.client.post(f"{address}{SACRUM}").json
    assert shown["note"] == "Sacrum smoothed" and shown["changes"][0]["name"] == "Sacrum"
    assert running.client.post(f"{address}{RIGHT + SACRUM}").status == 400
    table = running.project.table
    assert [value for value in table.by_value if table.is_bone(value)] == [102, 104, 202, 204, 2, 3, 4]


def test_a_drawn_slice_has_sides_and_a_midline(running: Running) -> None:
    scan = running.project.image("scan1")
    values = to_ras(own_labels()[1]).array
    k = int((values == SACRUM).sum(axis=(0, 1)).argmax())
    middle = values.shape[0] / 2

    def inside(value: int) -> list[list[int]]:
        where = np.argwhere(values[:, :, k] == value)
        i, j = where[len(where) // 2]
        return [[int(i), int(j)]]

    outline = {
        "format": "vastus-outline-1",
        "strokes": {"sacrum": [inside(SACRUM)], "hip_bone": [inside(RIGHT + 4), inside(LEFT + 4)]},
        "middle": middle,
        "settings": {"grid_factor": 1},
    }
    shown = running.client.post_json(f"/api/cases/scan1/outlines/{k}?preview=true", outline)
    assert shown.status == 200, shown.body
    plane = np.frombuffer(gzip.decompress(base64.b64decode(shown.json["labels"])), np.uint8)
    found = set(np.unique(plane)) - {0, UNLABELLED}
    assert SACRUM in found and not found & {RIGHT + SACRUM, LEFT + SACRUM}
    assert scan.shape == values.shape
    wrong = outline | {"strokes": {"sartorius": [[[3, 3]]]}}
    refused = running.client.post_json(f"/api/cases/scan1/outlines/{k}?preview=true", wrong)
    assert refused.status == 422 and "thigh_muscles" in refused.json["remedy"]


def test_final_labels_are_a_set_of_these_structures(running: Running, tmp_path: Path) -> None:
    _, wanted = own_labels()
    saved = running.client.post("/api/cases/scan1/versions?tag=final", label_body(wanted, tmp_path))
    assert saved.status == 201, saved.body
    found = read_dataset(running.project.layout.dataset)
    assert found.table == running.project.table and len(found.cases) == 1
    strange = wanted.with_array(np.where(wanted.array == LEFT + FEMUR, 228, wanted.array).astype(np.uint8))
    (tmp_path / "wrong").mkdir()
    nibabel.save(nibabel.Nifti1Image(strange.array, strange.affine), tmp_path / "wrong" / "x.nii.gz")
    refused = running.client.post("/api/cases/scan1/versions", (tmp_path / "wrong" / "x.nii.gz").read_bytes())
    assert refused.status == 422 and b"228" in refused.body


def test_a_project_keeps_its_table_and_refuses_another(tmp_path: Path) -> None:
    folder, weights = project_of(tmp_path / "scans"), write_own_bundle(tmp_path / "weights")
    first = Project(ServerSettings(folder, weights, ONE_THREAD))
    kept = folder / "annotation" / "structure_table.csv"
    assert read_structure_table(kept) == first.table and tuple(first.table.by_key) == NAMES
    first.close()
    again = Project(ServerSettings(folder, None, ONE_THREAD))
    assert again.table == first.table and again.registry.selected() is None  # the shipped weights know others
    labels = tmp_path / "labels"
    labels.mkdir()
    own = own_labels()[1]
    nibabel.save(nibabel.Nifti1Image(own.array, own.affine), labels / "scan0.nii.gz")
    assert take_first_labels(again, labels) == 1
    version = again.store.current("scan0")
    assert version is not None and np.array_equal(again.label_map(version).array, own.array)
    again.close()

    other = tmp_path / "other.csv"
    other.write_text("name\nfemur\nthigh_muscles\n")
    with pytest.raises(SettingsError, match=r"labels already, of other structures \(thigh_muscles, femur"):
        Project(ServerSettings(folder, weights, ONE_THREAD, structures=other))
    longer = tmp_path / "longer.csv"
    longer.write_text(TABLE + "soleus,Soleus,Calf,,,\n")
    more = Project(ServerSettings(folder, weights, ONE_THREAD, structures=longer))
    assert tuple(more.table.by_key) == (*NAMES, "soleus")
    assert more.registry.selected() == "bundle"  # its values mean the same in the longer table
    more.close()


def test_labels_of_another_table_come_in_by_their_names(tmp_path: Path) -> None:
    folder, weights = project_of(tmp_path / "scans"), write_own_bundle(tmp_path / "weights")
    project = Project(ServerSettings(folder, weights, ONE_THREAD))
    labels = tmp_path / "set" / "labelsTr"
    labels.mkdir(parents=True)
    turned = {"background": 0, "hip_bone_left": 1, "hip_bone_right": 2, "sacrum": 3}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"labels": turned, "file_ending": ".nii.gz"}))
    own = own_labels()[1]
    values = np.select([own.array == 204, own.array == 104, own.array == SACRUM], [1, 2, 3], 0).astype(np.uint8)
    (tmp_path / "set" / "structure_table.csv").write_text("name,paired\nhip_bone,\nsacrum,no\n")
    nibabel.save(nibabel.Nifti1Image(values, own.affine), labels / "scan0.nii.gz")
    assert take_first_labels(project, labels) == 1
    version = project.store.current("scan0")
    assert version is not None
    wanted = np.where(np.isin(own.array, (104, 204, SACRUM)), own.array, 0)
    assert np.array_equal(project.label_map(version).array, wanted)
    project.close()


def test_built_in_labels_never_become_others(tmp_path: Path) -> None:
    folder = project_of(tmp_path / "scans")
    plain = Project(ServerSettings(folder, write_toy_bundle(tmp_path / "toy").folder, ONE_THREAD))
    (tmp_path / "l").mkdir()
    own = own_labels()[1]
    bones = np.where(own.array == 102, 128, 0).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(bones, own.affine), tmp_path / "l" / "scan0.nii.gz")
    assert take_first_labels(plain, tmp_path / "l") == 1
    plain.close()
    with pytest.raises(SettingsError, match=r"of other structures \(sartorius"):
        Project(ServerSettings(folder, write_own_bundle(tmp_path / "weights"), ONE_THREAD))


@pytest.mark.slow
def test_a_training_on_final_labels_makes_weights_of_these_structures(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("monai")
    folder, table = project_of(tmp_path / "scans", 2), tmp_path / "structure_table.csv"
    table.write_text(TABLE)
    tiny: dict[str, Any] = TINY_TRAINING | {"network": "resunet", "validation_steps": 2, "log_steps": 1}
    settings = ServerSettings(folder, None, ONE_THREAD, TrainerSettings(tiny, "cpu", 1, 0), structures=table)
    _, wanted = own_labels()
    with serving(settings) as running:
        refused = running.client.post("/api/cases/scan0/infer")
        assert refused.status == 404 and "No model knows the structures of this project yet" in refused.json["detail"]
        for number in range(2):
            body = label_body(wanted, tmp_path)
            assert running.client.post(f"/api/cases/scan{number}/versions?tag=final", body).status == 201
        started = running.client.post_json("/api/train", {"steps": 3, "fresh": True})
        assert started.status == 201, started.body
        running.project.trainer._watcher.join(300)  # type: ignore[union-attr]
        assert running.client.get("/api/train").json["status"] == "DONE", running.client.get("/api/train").json
        assert running.project.registry.bundle().info.table == running.project.table
        assert running.client.post("/api/cases/scan0/infer").status == 201


def test_a_set_of_one_s_own_can_be_opened_with_its_labels(tmp_path: Path) -> None:
    data = write_own_data_set(tmp_path / "set")
    project = Project(ServerSettings(data / "imagesTr", None, ONE_THREAD, structures=data / "structure_table.csv"))
    assert take_first_labels(project, data / "labelsTr") == 1
    (case,) = project.cases.all()
    version = project.store.current(case.id)
    assert version is not None
    assert set(np.unique(project.label_map(version).array)) == {0, THIGH, FEMUR, SACRUM, 4}  # its sides are not told
    project.close()
