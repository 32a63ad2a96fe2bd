import numpy as np

from annotation_server import Running, label_bytes, phantom
from vastus.annotation.http.overview_routes import coarser_labels, coarser_scan, factors_for
from vastus.volume import Volume


def test_large_scans_get_coarser_and_small_ones_stay() -> None:
    affine = np.diag([0.8, 0.8, 1.0, 1.0])
    large = Volume(np.broadcast_to(np.int16(0), (512, 512, 450)), affine)
    assert factors_for(large) == (3, 3, 2)
    assert factors_for(Volume(np.broadcast_to(np.int16(0), (200, 200, 60)), affine)) == (1, 1, 1)
    assert factors_for(Volume(np.broadcast_to(np.int16(0), (512, 512, 450)), np.diag([0.8, 0.8, 5.0, 1.0]))) == (
        4,
        4,
        1,
    )


def test_blocks_keep_their_place_in_mm() -> None:
    affine = np.array([[-1.0, 0, 0, 10], [0, 2.0, 0, -4], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    array = np.arange(7 * 6 * 4, dtype=np.int16).reshape(7, 6, 4)
    small = coarser_scan(Volume(array, affine), (2, 3, 1))
    assert small.shape == (3, 2, 4)
    assert small.array[1, 1, 2] == np.rint(array[2:4, 3:6, 2].mean())
    middle = affine @ [2.5, 4, 2, 1]
    assert np.allclose(small.affine @ [1, 1, 2, 1], middle)
    labels = coarser_labels(Volume((array % 7).astype(np.uint8), affine), (2, 3, 1))
    assert labels.same_grid(small)
    assert labels.array[1, 1, 2] == array[3, 4, 2] % 7


def test_overview_of_a_case(running: Running, tmp_path) -> None:  # type: ignore[no-untyped-def]
    labels = phantom(0).labels
    running.client.post("/api/cases/scan0/versions", label_bytes(labels, tmp_path))
    for path in ("overview.nii", "versions/1/overview.nii"):
        answer = running.client.get(f"/api/cases/scan0/{path}")
        assert answer.status == 200 and answer.headers["x-vastus-factors"] == "1,1,1"
    assert running.client.get("/api/cases/scan0/versions/2/overview.nii").status == 404
    assert running.client.get("/api/cases/nothing/overview.nii").status == 404
