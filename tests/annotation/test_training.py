"""The loop is closed: final labels are trained on, and the new weights are used, without a restart."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotation_server import ONE_THREAD, Running, label_bytes, labels_of, make_project, phantom, serving
from slicer_stand_in import SlicerModule
from tiny_training import TINY_TRAINING
from vastus.annotation.models.trainer import TrainerSettings
from vastus.annotation.project.project import ServerSettings

pytest.importorskip("torch")
pytest.importorskip("monai")

TINY: dict[str, Any] = TINY_TRAINING | {
    "network": "resunet",
    "validation_steps": 2,
    "log_steps": 1,
    "checkpoint_steps": 1,
}


def wait_for_the_end(running: Running) -> dict[str, Any]:
    limit = time.monotonic() + 240
    while time.monotonic() < limit:
        status = dict(running.client.get("/api/train").json)
        assert status["details"], "3D Slicer takes the last one"
        if not status["running"]:
            return status
        time.sleep(0.3)
    raise AssertionError(f"no end: {status}")


def make_final(running: Running, folder: Path, numbers: range) -> None:
    for number in numbers:
        body = label_bytes(phantom(number).labels, folder)
        assert running.client.post(f"/api/cases/scan{number}/versions?tag=final", body).status == 201


@pytest.mark.slow
def test_two_rounds_of_training_and_the_weights_are_used(tmp_path: Path, model: Path) -> None:
    project = make_project(tmp_path / "project", 3)
    settings = ServerSettings(project, model, ONE_THREAD, TrainerSettings(TINY, "cpu", 1, 0))
    with serving(settings) as running:
        make_final(running, tmp_path, range(2))
        assert running.client.get("/api/train").json == {}
        refused = running.client.post_json("/api/train", {"steps": 3})
        assert refused.status == 409 and "weights" in refused.json["detail"], "the toy can't be trained on"
        assert running.client.post_json("/api/train", {"steps": "many"}).status == 400

        started = running.client.post_json("/api/train", {"steps": 3, "fresh": True})
        assert started.status == 201 and started.json["running"] and started.json["status"] == "RUNNING"
        slicer = SlicerModule(running.address, tmp_path / "slicer")
        assert slicer.is_training()
        assert running.client.post_json("/api/train", {"steps": 3}).json["error"] == "BusyError"
        # Saving goes on meanwhile; the training sees the labels as they were.
        make_final(running, tmp_path, range(2, 3))
        first = wait_for_the_end(running)
        assert first["status"] == "DONE", first
        assert first["step"] == 3 and first["progress"] == 1.0 and first["request"]["cases"] == 2
        models = {m["name"]: m for m in running.client.get("/api/models").json}
        assert models["round-001"]["selected"] and not models["toy"]["selected"]
        assert "round-001" in slicer.info()["models"]

        made = running.client.post("/api/cases/scan2/infer")
        assert made.status == 201 and made.json["note"] == "model round-001"
        one = labels_of(running.client.get(f"/api/cases/scan2/versions/{made.json['version']}/labels.nii.gz").body)

        # The second round starts from the first one's weights.
        assert (
            running.client.post_json("/train/vastus", {"vastus": {"steps": 2}}).json["request"]["init"] == "round-001"
        )
        second = wait_for_the_end(running)
        assert second["status"] == "DONE" and second["model"] == "round-002", second
        assert any("from round-001" in line for line in second["details"])
        made = running.client.post("/api/cases/scan2/infer?model=round-002")
        two = labels_of(running.client.get(f"/api/cases/scan2/versions/{made.json['version']}/labels.nii.gz").body)
        assert one.shape == two.shape == phantom(2).ct.shape
        loaded = running.project.registry.bundle("round-002")
        assert not np.array_equal(
            *[b.onnx_path.read_bytes() for b in (loaded, running.project.registry.bundle("round-001"))]
        )
        assert loaded.info.trained_on.startswith("3 final label maps")
        assert running.client.post("/api/models/round-001/select").status == 200
        assert running.project.registry.selected() == "round-001"
        assert running.client.post("/api/models/nothing/select").status == 404

        started = running.client.post_json("/api/train", {"minutes": 60})
        assert started.json["running"]
        stopped = running.client.ask("DELETE", "/api/train")
        assert stopped.json["status"] == "STOPPED" and not stopped.json["running"]
        assert not slicer.is_training()
        process = running.project.trainer.task().process
        assert process is None or process.poll() is not None
    assert not list((project / "annotation" / "models").glob(".vastus*"))


def test_a_training_that_fails_says_so(tmp_path: Path, model: Path) -> None:
    project = make_project(tmp_path / "project", 2)
    broken = TINY | {"network_arguments": {"channels": "none"}}
    with serving(ServerSettings(project, model, ONE_THREAD, TrainerSettings(broken, "cpu", 1, 0))) as running:
        make_final(running, tmp_path, range(2))
        assert running.client.post_json("/api/train", {"steps": 2, "fresh": True}).status == 201
        status = wait_for_the_end(running)
        assert status["status"] == "ERROR" and status["result"] is None
        assert str(project) not in " ".join(status["details"])
        assert [m["name"] for m in running.client.get("/api/models").json] == ["toy"]
