"""3D Slicer's MONAI Label module against the server, by a stand-in that does on the wire what it does."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from annotation_server import Running, phantom, save_ct
from slicer_stand_in import ServerSaysNo, SlicerModule


@pytest.fixture(params=[".nii.gz", ".nrrd", ".seg.nrrd"])
def slicer(running: Running, tmp_path: Path, request: pytest.FixtureRequest) -> SlicerModule:
    return SlicerModule(running.address, tmp_path / "slicer", request.param)


def xyz(array: np.ndarray) -> np.ndarray:
    return array.transpose(2, 1, 0)


def test_a_whole_round_of_annotation(running: Running, slicer: SlicerModule) -> None:
    assert not slicer.auth_enabled()
    info = slicer.info()
    assert info["config"] == {} and info["datastore"] == {"total": 3, "completed": 0, "label_tags": {}}
    assert info["models"]["toy"]["type"] == "segmentation" and info["labels"][:1] == ["sartorius_right"]
    assert set(info["strategies"]) >= {"uncertainty", "diversity", "random"}

    assert slicer.next_sample("random")
    truth = phantom(int(slicer.sample["id"].removeprefix("scan")))
    assert np.array_equal(xyz(sitk.GetArrayFromImage(slicer.volume)), truth.ct.array)

    result = slicer.infer("toy")
    assert set(slicer.segments) == {"sartorius_right", "sartorius_left", "femur_right", "femur_left"}
    bone = truth.ct.array > 300
    found = xyz(slicer.segments["femur_right"] | slicer.segments["femur_left"])
    assert (found & bone).sum() / bone.sum() > 0.5
    assert list(result["label_names"].values()) == sorted(result["label_names"].values())
    assert running.project.store.current(slicer.sample["id"]) is None, "nothing is kept before it is submitted"

    # The annotator deletes a segment and paints another: the order and numbers of the segments are Slicer's own.
    slicer.segments.pop("sartorius_left")
    slicer.segments["gracilis_left"] = np.zeros(slicer.volume.GetSize()[::-1], bool)
    slicer.segments["gracilis_left"][3:6, 4:8, 5:9] = True
    for name in set(slicer.segments) - {"gracilis_left"}:
        slicer.segments[name] = slicer.segments[name] & ~slicer.segments["gracilis_left"]
    saved = slicer.save_label()
    assert saved["image"] == slicer.sample["id"] and saved["tag"] == "final" and saved["author"] == "user-one"
    stored = running.project.label_map(running.project.store.current(slicer.sample["id"]))
    for name, value in {"gracilis_left": 209, "femur_right": 128, "sartorius_right": 101}.items():
        assert np.array_equal(stored.array == value, xyz(slicer.segments[name])), name
    assert not (stored.array == 201).any()
    assert slicer.info()["datastore"]["completed"] == 1

    kept = {name: mask.copy() for name, mask in slicer.segments.items()}
    slicer.segments = {}
    slicer.download_label("final")
    assert set(slicer.segments) == {name for name, mask in kept.items() if mask.any()}
    assert all(np.array_equal(slicer.segments[name], kept[name]) for name in slicer.segments)


def test_own_numbers_of_vastus_are_taken_too(running: Running, tmp_path: Path) -> None:
    slicer = SlicerModule(running.address, tmp_path / "slicer")
    slicer.next_sample("random")
    slicer.infer("toy")
    path = tmp_path / "slicer" / "label.nii.gz"
    saved = json.loads(
        slicer.wire.form("PUT", f"/datastore/label?image={slicer.sample['id']}&tag=original", {}, {"label": path})[0]
    )
    assert saved["kind"] == "model" and saved["tag"] == "original"


def test_a_scan_of_the_client_becomes_a_case(running: Running, tmp_path: Path) -> None:
    slicer = SlicerModule(running.address, tmp_path / "slicer")
    scan = tmp_path / "patient name 1970.nii.gz"
    save_ct(phantom(7), scan)
    assert slicer.upload_image(scan, "Series 4: ../thin") == "Series_4_._thin"
    assert [c.id for c in running.project.cases.all()] == ["Series_4_._thin", "scan0", "scan1", "scan2"]
    slicer.infer("toy")
    assert "femur_left" in slicer.segments
    written = [p.name for p in running.project.layout.root.rglob("*")]
    assert not any("patient" in name for name in written)
    with pytest.raises(ServerSaysNo, match="AlreadyThereError"):
        slicer.upload_image(scan, "scan0")


def test_inference_on_an_upload_and_on_a_session(running: Running, tmp_path: Path) -> None:
    slicer = SlicerModule(running.address, tmp_path / "slicer")
    scan = tmp_path / "x.nii.gz"
    save_ct(phantom(8), scan)
    slicer.volume, slicer.sample = sitk.ReadImage(str(scan)), {"id": "x"}
    form, files, _ = slicer.wire.form("POST", "/infer/toy?image=x", {"params": "{}"}, {"file": scan})
    assert "femur_left" in json.loads(form["params"])["label_names"] and list(files) == ["label.nii.gz"]

    body, _, _ = slicer.wire.form("PUT", "/session/", {"client_id": "user-one"}, {"files": scan})
    session = json.loads(body)["session_id"]
    assert json.loads(slicer.wire.plain("GET", f"/session/{session}")[0])["path"] == ""
    slicer.infer("toy", session_id=session)
    assert "femur_left" in slicer.segments
    slicer.wire.plain("DELETE", f"/session/{session}")
    with pytest.raises(ServerSaysNo) as refused:
        slicer.wire.plain("GET", f"/session/{session}")
    assert refused.value.status == 404
    assert {c.id for c in running.project.cases.all()} == {"scan0", "scan1", "scan2"}


def test_scribbles_of_many_classes_and_of_one(running: Running, slicer: SlicerModule) -> None:
    slicer.next_sample("random")
    truth = phantom(int(slicer.sample["id"].removeprefix("scan"))).labels.array
    for name, value in {"femur_right": 128, "gluteus_maximus_left": 214}.items():
        stroke = np.zeros(truth.shape, bool)
        middle = np.argwhere(truth == value)[len(np.argwhere(truth == value)) // 2]
        stroke[tuple(middle)] = True
        slicer.segments[name] = xyz(stroke)
    path, label_info = slicer.export("id")
    slicer.infer("grow_from_seeds", path, label_info=label_info)
    femur = xyz(slicer.segments["femur_right"])
    assert 2 * (femur & (truth == 128)).sum() / (femur.sum() + (truth == 128).sum()) > 0.5

    # Slicer's own scribble panel: two segments of strokes for the structure that is selected there.
    slicer.segments = {
        "femur_right": np.zeros_like(xyz(femur)),
        "background_scribbles": xyz((truth > 0) & (truth != 128)),
        "foreground_scribbles": xyz(truth == 128) & (np.arange(truth.shape[2]) % 8 == 3)[:, None, None],
    }
    path, label_info = slicer.export("id")
    result = slicer.infer("grow_from_seeds", path, label_info=label_info, selected_label_name="femur_right", roi=[])
    assert result["label_names"] == {"femur_right": 128}
    femur = xyz(slicer.segments["femur_right"])
    assert 2 * (femur & (truth == 128)).sum() / (femur.sum() + (truth == 128).sum()) > 0.9


def test_two_annotators_get_different_scans_and_then_none(running: Running, tmp_path: Path) -> None:
    module = [SlicerModule(running.address, tmp_path / str(n), client_id=f"user-{n}") for n in range(4)]
    given = [m.sample["id"] for m in module[:3] if m.next_sample("random")]
    assert sorted(given) == ["scan0", "scan1", "scan2"]
    assert not module[3].next_sample("random")
    assert module[0].next_sample("random") and module[0].sample["id"] == given[0], "one's own scan is given again"


def test_a_scan_that_can_not_be_read_is_not_handed_out(running: Running, project: Path, tmp_path: Path) -> None:
    for number in range(3):
        (project / f"scan{number}.nii.gz").write_bytes(b"\x1f\x8b broken")
    save_ct(phantom(4), project / "whole.nii.gz")
    running.client.get("/api/cases")
    slicer = SlicerModule(running.address, tmp_path / "slicer")
    assert slicer.next_sample("random") and slicer.sample["id"] == "whole"


def test_no_training_is_told_as_the_module_expects(running: Running, tmp_path: Path) -> None:
    slicer = SlicerModule(running.address, tmp_path / "slicer")
    assert not slicer.is_training()
    with pytest.raises(ServerSaysNo) as refused:
        slicer.wire.plain("POST", "/train/vastus", {"minutes": 1, "client_id": "user-one"})
    assert refused.value.status == 409 and b"two final labels" in refused.value.body


def test_ranking_by_uncertainty_computes_in_the_background(running: Running, tmp_path: Path) -> None:
    slicer = SlicerModule(running.address, tmp_path / "slicer")
    slicer.next_sample("uncertainty")
    limit = time.monotonic() + 60
    while len(running.project.store.scores("toy")) < 3 and time.monotonic() < limit:
        time.sleep(0.2)
    scores = running.project.store.scores("toy")
    ranked = running.client.get("/api/ranking?strategy=uncertainty")
    assert [row["id"] for row in ranked.json] == sorted(scores, key=lambda c: (-scores[c], c))
    assert ranked.headers["x-vastus-pending"] == "0"
