import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from annotation_server import Running, label_bytes, phantom
from vastus.anatomy import UNLABELLED, Side
from vastus.annotation.http.outline_routes import _on_side
from vastus.io.labels import read_labels
from vastus.refinement.outline import Outline, Strokes
from vastus.refinement.outline_files import outline_text, parse_outline
from vastus.refinement.outlining import outline_slice
from vastus.volume import to_ras

TRUE = phantom(0)
UPRIGHT = to_ras(TRUE.labels).array


def thigh_outline(k: int) -> Outline:
    """A point on the right femur and in its largest muscle."""
    points = {}
    for key, value in (("femur", 128), ("vastus_lateralis", 103)):
        found = np.argwhere(UPRIGHT[:, :, k] == value)
        points[key] = tuple(map(float, found[len(found) // 2]))
    return Outline(tuple(Strokes(key, ((point,),)) for key, point in points.items()), window=(0, 38, 0, 20))


def draw(running: Running, k: int, spec: Outline, query: str = ""):  # type: ignore[no-untyped-def]
    return running.client.post(f"/api/cases/scan0/outlines/{k}{query}", outline_text(spec).encode(), "application/json")


def current(running: Running) -> np.ndarray:
    return to_ras(running.project.current_labels("scan0")).array


def test_a_drawn_slice_is_a_version_that_keeps_its_strokes(running: Running) -> None:
    k = int(np.flatnonzero((UPRIGHT == 103).any(axis=(0, 1)))[5])
    spec = thigh_outline(k)
    made = draw(running, k, spec, "?side=right")
    assert made.status == 201, made.body
    assert made.json["kind"] == "tool" and made.json["note"] == f"slice {k} drawn"
    labels = current(running)
    wanted = outline_slice(to_ras(running.project.image("scan0")).array, k, spec).labels
    known = labels[:, :, k] != UNLABELLED
    assert known.any() and np.array_equal(labels[:, :, k], _on_side(wanted, Side.RIGHT))
    assert (np.delete(labels, k, axis=2) == UNLABELLED).all()
    kept = running.client.get("/api/cases/scan0/versions/1/outlines").json
    assert parse_outline(json.dumps(kept[str(k)])) == replace(spec, side=Side.RIGHT)
    # A second slice and a correction of the first: all that was drawn is there, and an undo brings it back.
    assert draw(running, k + 1, thigh_outline(k + 1)).status == 201
    assert set(running.client.get("/api/cases/scan0/versions/2/outlines").json) == {str(k), str(k + 1)}
    running.client.post("/api/cases/scan0/undo")
    assert set(running.client.get("/api/cases/scan0/versions/3/outlines").json) == {str(k)}
    assert np.array_equal(current(running), labels)


def test_class_ids_become_values_of_a_side() -> None:
    classes = np.array([0, 1, 28, UNLABELLED], np.uint8)
    assert _on_side(classes, Side.LEFT).tolist() == [0, 201, 228, UNLABELLED]
    assert _on_side(classes, Side.UNKNOWN).tolist() == [0, 1, 28, UNLABELLED]


def test_the_rest_of_a_labelled_case_stays(running: Running, tmp_path: Path) -> None:
    running.client.post("/api/cases/scan0/versions", label_bytes(TRUE.labels, tmp_path))
    k = int(np.flatnonzero((UPRIGHT == 103).any(axis=(0, 1)))[5])
    assert draw(running, k, thigh_outline(k), "?side=right&parent=1").status == 201
    labels = current(running)
    assert np.array_equal(np.delete(labels, k, axis=2), np.delete(UPRIGHT, k, axis=2))
    assert read_labels(running.project.store.file(running.project.store.version("scan0", 1))).array.any()
    assert running.client.get("/api/cases/scan0/versions/1/outlines").json == {}


def test_what_can_not_be_drawn_is_refused(running: Running) -> None:
    good = json.loads(
        outline_text(thigh_outline(20)) if (UPRIGHT[:, :, 20] == 103).any() else outline_text(Outline(()))
    )
    far = good | {"cuts": [[[0, 0], [900000, 0]]]}
    many = good | {"background": [[[1, 1]] * 20_001]}
    for path, body, status in (
        ("outlines/5000", good, 400),
        ("outlines/3", {"format": "other"}, 422),
        ("outlines/3", [], 422),
        ("outlines/3", good | {"strokes": {"soleus": [[[1, 1]]]}}, 422),
        ("outlines/3", far, 400),
        ("outlines/3", many, 413),
        ("outlines/3?side=upper", good, 422),
        ("outlines/3?parent=9", good, 404),
        ("outlines/3", good | {"settings": {"skin_voxels": 10**9}}, 422),
    ):
        answer = running.client.post(f"/api/cases/scan0/{path}", json.dumps(body).encode(), "application/json")
        assert answer.status == status, (path, body, answer.body)
    assert running.client.get("/api/cases/scan0/versions/1/outlines").status == 404
    assert running.project.store.versions("scan0") == ()
