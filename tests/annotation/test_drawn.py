"""``/drawn`` and what stays with a version: outlines, strokes of the brush, joined saves, previews."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from annotation_server import Answer, Running, label_bytes, phantom
from vastus.volume import Volume, to_ras

TRUE = phantom(0).labels
OUTLINE = {"format": "vastus-outline-1", "strokes": {"femur": [[[3, 4]]]}, "side": "left"}


def drawn(running: Running, labels: Volume, folder: Path, **about: Any) -> Answer:
    edge = "vastus-test-boundary"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="labels"; filename="l.nii.gz"\r\n\r\n'.encode()
    said = f'--{edge}\r\nContent-Disposition: form-data; name="about"\r\n\r\n{json.dumps(about)}\r\n--{edge}--\r\n'
    body = head + label_bytes(labels, folder) + b"\r\n" + said.encode()
    return running.client.post("/api/cases/scan0/drawn", body, f"multipart/form-data; boundary={edge}")


def changed(value: int, k: int, of: Volume = TRUE) -> Volume:
    """The labels with a block of a value in a slice (of the RAS order)."""
    array = to_ras(of).array.copy()
    array[4:7, 4:7, k] = value
    return Volume(array, to_ras(of).affine)


def test_outlines_and_strokes_stay_with_the_versions(running: Running, tmp_path: Path) -> None:
    stroke = {"kind": "brush", "value": 101, "points": [[5, 5, 3]], "slices": [3]}
    first = drawn(running, TRUE, tmp_path, outlines={"3": OUTLINE}, strokes=[stroke], note="one", tag="final")
    assert first.status == 201 and first.json["tag"] == "final", first.body
    second = drawn(running, changed(102, 5), tmp_path, parent=1, outlines={"5": OUTLINE}, strokes=[stroke])
    assert second.status == 201
    assert set(running.client.get("/api/cases/scan0/versions/2/outlines").json) == {"3", "5"}
    assert running.client.get("/api/cases/scan0/versions/2/strokes").json == [stroke, stroke]
    # Another client's version keeps the outlines of slices that did not change, and no other.
    body = label_bytes(changed(103, 5), tmp_path)
    assert running.client.post("/api/cases/scan0/versions?parent=2", body).status == 201
    assert set(running.client.get("/api/cases/scan0/versions/3/outlines").json) == {"3"}
    # An outline that is null goes; an undo brings it back.
    assert drawn(running, changed(103, 5), tmp_path, parent=3, outlines={"3": None}).status == 201
    assert running.client.get("/api/cases/scan0/versions/4/outlines").json == {}
    running.client.post("/api/cases/scan0/undo")
    assert set(running.client.get("/api/cases/scan0/versions/5/outlines").json) == {"3"}


def test_two_changes_join_and_a_clash_is_refused(running: Running, tmp_path: Path) -> None:
    assert drawn(running, TRUE, tmp_path).status == 201
    assert drawn(running, changed(102, 5), tmp_path, parent=1, merge=True).status == 201
    joined = drawn(running, changed(103, 6), tmp_path, parent=1, merge=True, note="mine")
    assert joined.status == 201 and joined.json["parent"] == 2
    assert joined.json["note"] == "mine (joined with version 2)"
    array = to_ras(running.project.current_labels("scan0")).array
    assert (array[4:7, 4:7, 5] == 102).all() and (array[4:7, 4:7, 6] == 103).all()
    clash = drawn(running, changed(104, 5), tmp_path, parent=1, merge=True)
    assert clash.status == 409
    assert "changed 9 of the same voxels" in clash.json["detail"] and "voxel 5, 5, 5" in clash.json["detail"]
    assert drawn(running, changed(104, 5), tmp_path, parent=1).status == 409  # without merge: as ever
    assert drawn(running, changed(104, 5), tmp_path, parent=1, merge=True, overwrite=True).status == 201
    array = to_ras(running.project.current_labels("scan0")).array
    assert (array[4:7, 4:7, 5] == 104).all() and (array[4:7, 4:7, 6] == 103).all()
    # Begun on an empty case that is not empty any more: nothing is passed over in silence.
    assert drawn(running, changed(105, 7), tmp_path, merge=True).status == 409


def test_nonsense_is_refused(running: Running, tmp_path: Path) -> None:
    assert drawn(running, TRUE, tmp_path, outlines={"3": {"format": "other"}}).status == 422
    assert drawn(running, TRUE, tmp_path, outlines={"a": OUTLINE}).status == 400
    assert drawn(running, TRUE, tmp_path, parent=7).status == 404
    assert drawn(running, TRUE, tmp_path, tag="../x").status in (400, 422)
    assert running.project.store.versions("scan0") == ()


def test_a_preview_saves_nothing_and_tells_what_would_change(running: Running, tmp_path: Path) -> None:
    running.client.post("/api/cases/scan0/versions", label_bytes(TRUE, tmp_path))
    told = running.client.post("/api/cases/scan0/tools/smooth?value=128&preview=true&width_mm=30&sigma_mm=20").json
    assert [row["value"] for row in told["changes"]] == [128]
    i0, j0, k0, i1, j1, k1 = told["box"]
    part = np.frombuffer(gzip.decompress(base64.b64decode(told["labels"])), np.uint8)
    part = part.reshape((i1 - i0 + 1, j1 - j0 + 1, k1 - k0 + 1), order="F")
    before = to_ras(TRUE).array[i0 : i1 + 1, j0 : j1 + 1, k0 : k1 + 1]
    differs = part != before
    assert differs[0].any() and differs[-1].any() and differs[:, :, 0].any() and differs[:, :, -1].any()  # no larger
    assert set(np.unique(part[differs])) | set(np.unique(before[differs])) <= {0, 128}
    assert len(running.project.store.versions("scan0")) == 1
    shown = running.client.post_json("/api/cases/scan0/outlines/3?preview=true", OUTLINE)
    assert shown.status == 200 and shown.json["remarks"]
    nx, ny = to_ras(TRUE).array.shape[:2]
    assert len(gzip.decompress(base64.b64decode(shown.json["labels"]))) == nx * ny
    assert len(running.project.store.versions("scan0")) == 1
