"""The API of the viewer: cases, versions, volumes, tools, findings."""

import gzip
import json
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from annotation_server import (
    ONE_THREAD,
    SPACING_MM,
    Running,
    label_bytes,
    labels_of,
    make_project,
    phantom,
    save_ct,
    serving,
)
from vastus.anatomy import BY_VALUE, UNLABELLED
from vastus.annotation.project.project import Project, ServerSettings
from vastus.annotation.refusals import AlreadyThereError

TRUE = phantom(0)


def post_labels(running: Running, array: np.ndarray, folder: Path, path: str = "/api/cases/scan0/versions") -> int:
    answer = running.client.post(path, label_bytes(TRUE.labels.with_array(array), folder))
    assert answer.status == 201, answer.body
    return int(answer.json["version"])


def current(running: Running) -> np.ndarray:
    versions = running.client.get("/api/cases/scan0/versions").json
    return labels_of(running.client.get(f"/api/cases/scan0/versions/{len(versions)}/labels.nii.gz").body)


def test_structures_are_those_of_the_anatomy(running: Running) -> None:
    rows = running.client.get("/api/structures").json
    assert {r["value"] for r in rows} == set(BY_VALUE)
    assert rows[0] == {
        "value": 101,
        "key": "sartorius",
        "name": "Sartorius",
        "side": "right",
        "group": "anterior",
        "group_title": "Anterior thigh",
        "group_also": "Quadriceps and sartorius",
        "colour": "#{:02x}{:02x}{:02x}".format(*BY_VALUE[101].structure.colour),
        "abbreviation": "SAR",
    }


def test_a_case_goes_from_unlabelled_to_final(running: Running, tmp_path: Path) -> None:
    def state() -> str:
        return str(running.client.get("/api/cases").json[0]["state"])

    row = running.client.get("/api/cases").json[0]
    assert (row["id"], row["shape"], row["spacing_mm"]) == ("scan0", list(TRUE.ct.shape), list(SPACING_MM))
    assert state() == "unlabelled" and running.client.get("/api/cases/scan0/versions").json == []
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(running.client.get("/api/cases/scan0/image.nii.gz").body))
    assert np.array_equal(image.dataobj, TRUE.ct.array) and np.allclose(image.affine, TRUE.ct.affine)

    made = running.client.post("/api/cases/scan0/infer?model=toy").json
    assert (made["version"], made["kind"], made["tag"]) == (1, "model", "original") and state() == "model"
    assert post_labels(running, TRUE.labels.array, tmp_path, "/api/cases/scan0/versions?parent=1&note=mine") == 2
    assert state() == "corrected"
    assert post_labels(running, TRUE.labels.array, tmp_path, "/api/cases/scan0/versions?parent=2&tag=final") == 3
    assert state() == "final"
    assert running.client.post("/api/cases/scan0/undo").json["equals"] == 2 and state() == "corrected"
    versions = running.client.get("/api/cases/scan0/versions").json
    assert [v["kind"] for v in versions] == ["model", "human", "human", "undo"]
    assert versions[1]["note"] == "mine" and versions[3]["parent"] == 1


def test_volumes_are_those_of_the_voxels(running: Running, tmp_path: Path) -> None:
    post_labels(running, TRUE.labels.array, tmp_path)
    rows = {r["value"]: r for r in running.client.get("/api/cases/scan0/versions/1/volumes").json}
    assert set(rows) == {int(v) for v in np.unique(TRUE.labels.array) if v}
    inside = TRUE.labels.array == 128
    assert rows[128]["volume_ml"] == pytest.approx(inside.sum() * np.prod(SPACING_MM) / 1000, abs=1e-3)
    assert rows[128]["mean_hu"] == pytest.approx(TRUE.ct.array[inside].mean(), abs=0.01)
    assert rows[128]["side"] == "right"


def test_other_formats_and_new_scans_become_cases(running: Running, project: Path) -> None:
    import SimpleITK as sitk

    scan = phantom(5)
    lps = np.diag([-1.0, -1.0, 1.0])
    image = sitk.GetImageFromArray(np.ascontiguousarray(scan.ct.array.transpose(2, 1, 0)))
    image.SetSpacing(scan.ct.spacing_mm)
    image.SetDirection(lps.ravel())
    image.SetOrigin(lps @ scan.ct.affine[:3, 3])
    sitk.WriteImage(image, str(project / "new scan.nrrd"))
    rows = {r["id"]: r for r in running.client.get("/api/cases").json}
    assert rows["new_scan"]["shape"] == list(scan.ct.shape)
    served = running.client.get("/api/cases/new_scan/image.nii.gz").body
    found = nibabel.Nifti1Image.from_bytes(gzip.decompress(served))
    assert np.array_equal(found.dataobj, scan.ct.array) and np.allclose(found.affine, scan.ct.affine, atol=1e-4)


def test_a_scan_keeps_its_id_when_others_come(running: Running, project: Path, tmp_path: Path) -> None:
    """scan0.nii sorts before scan0.nii.gz: it must not take over its id, and with it its labels."""
    post_labels(running, TRUE.labels.array, tmp_path)
    nibabel.save(nibabel.Nifti1Image(TRUE.ct.array[:-1], TRUE.ct.affine), project / "scan0.nii")
    rows = {r["id"]: r for r in running.client.get("/api/cases").json}
    assert rows["scan0"]["state"] == "corrected" and rows["scan0"]["shape"] == list(TRUE.ct.shape)
    assert rows["scan0_2"]["state"] == "unlabelled" and rows["scan0_2"]["shape"][0] == TRUE.ct.shape[0] - 1
    (project / "scan0.nii.gz").unlink()
    assert "scan0" not in {r["id"] for r in running.client.get("/api/cases").json}
    assert len(running.project.store.versions("scan0")) == 1, "the history stays"


def test_a_locked_case_is_not_segmented_for_others(running: Running) -> None:
    running.project.store.lock("scan0", "bert")
    answer = running.client.post("/api/cases/scan0/infer")
    assert (answer.status, answer.json["error"]) == (423, "LockedCaseError")


def test_a_dicom_series_becomes_a_case(project: Path, model: Path, tmp_path: Path) -> None:
    from dicom_factory import series, write_series

    write_series(project / "series", series())
    with serving(ServerSettings(project, model, ONE_THREAD)) as running:
        rows = {r["id"]: r for r in running.client.get("/api/cases").json}
        assert rows["series"]["shape"] is None, "not known before it is read"
        image = running.client.get("/api/cases/series/image.nii.gz")
        assert image.status == 200, image.body
        row = next(r for r in running.client.get("/api/cases").json if r["id"] == "series")
        assert len(row["shape"]) == 3 and min(row["shape"]) > 1


def test_grow_from_seeds(running: Running, tmp_path: Path) -> None:
    strokes = np.zeros_like(TRUE.labels.array)
    for value in (128, 228, 114, 214):
        places = np.argwhere(TRUE.labels.array == value)
        strokes[tuple(places[len(places) // 2])] = value
    version = post_labels(running, strokes, tmp_path, "/api/cases/scan0/tools/grow")
    grown = current(running)
    assert running.project.store.version("scan0", version).kind.value == "tool"
    for value in (128, 228):
        mask, truth = grown == value, TRUE.labels.array == value
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.5
    assert not grown[TRUE.ct.array < -150].any()


def test_one_stroke_in_a_labelled_case_changes_one_structure_and_is_told_before(
    running: Running, tmp_path: Path
) -> None:
    labels = np.where(TRUE.labels.array == 128, 0, TRUE.labels.array)
    post_labels(running, labels, tmp_path)
    femur = np.argwhere(TRUE.labels.array == 128)
    drawn = labels.copy()
    drawn[tuple(femur[len(femur) // 2])] = 128
    content = label_bytes(TRUE.labels.with_array(drawn), tmp_path)
    told = running.client.post("/api/cases/scan0/tools/grow?preview=true", content)
    assert told.status == 200 and len(running.project.store.versions("scan0")) == 1, "nothing is saved"
    assert "Femur" in told.json["note"]
    (change,) = told.json["changes"]
    assert (change["value"], change["before_ml"], change["lost_ml"]) == (128, 0, 0)
    post_labels(running, drawn, tmp_path, "/api/cases/scan0/tools/grow")
    grown = current(running)
    ml = float(np.prod(TRUE.labels.spacing_mm)) / 1000
    assert (grown == 128).sum() * ml == pytest.approx(change["after_ml"], abs=0.01)
    assert np.array_equal(grown[labels > 0], labels[labels > 0])
    again = running.client.post("/api/cases/scan0/tools/grow", label_bytes(TRUE.labels.with_array(grown), tmp_path))
    assert again.status == 422 and "no new stroke" in again.json["detail"]
    assert len(running.project.store.versions("scan0")) == 2


def test_one_stroke_in_an_unlabelled_case_is_refused(running: Running, tmp_path: Path) -> None:
    drawn = np.zeros_like(TRUE.labels.array)
    drawn[tuple(np.argwhere(TRUE.labels.array == 101)[20])] = 101
    answer = running.client.post("/api/cases/scan0/tools/grow", label_bytes(TRUE.labels.with_array(drawn), tmp_path))
    assert answer.status == 422 and "Background" in answer.json["remedy"]
    assert running.project.store.versions("scan0") == ()


def test_a_case_of_which_some_slices_are_drawn_is_saved_served_and_trained_on_as_it_is(
    running: Running, project: Path, tmp_path: Path
) -> None:
    sparse = np.full_like(TRUE.labels.array, UNLABELLED)
    sparse[:, :, 10:12] = TRUE.labels.array[:, :, 10:12]
    post_labels(running, sparse, tmp_path, "/api/cases/scan0/versions?tag=final")
    assert np.array_equal(current(running), sparse)
    rows = running.client.get("/api/cases/scan0/versions/1/volumes").json
    ml = float(np.prod(TRUE.labels.spacing_mm)) / 1000
    assert sum(r["volume_ml"] for r in rows) == pytest.approx(((sparse > 0) & (sparse < 255)).sum() * ml, rel=1e-3)
    described = json.loads((project / "dataset" / "dataset.json").read_text())
    assert described["labels"]["ignore"] == UNLABELLED


def test_fill_between_the_slices_that_were_drawn(running: Running, tmp_path: Path) -> None:
    truth = np.where(TRUE.labels.array == 128, 128, 0).astype(np.uint8)
    drawn = np.zeros_like(truth)
    rows = np.flatnonzero(truth.any(axis=(0, 1)))[2:-2]
    drawn[:, :, rows[::5]] = truth[:, :, rows[::5]]
    post_labels(running, drawn, tmp_path, "/api/cases/scan0/tools/between-slices?value=128")
    filled = current(running)[:, :, rows[0] : rows[::5][-1] + 1]
    wanted = truth[:, :, rows[0] : rows[::5][-1] + 1]
    assert 2 * ((filled == 128) & (wanted == 128)).sum() / ((filled > 0).sum() + (wanted > 0).sum()) > 0.9
    listed = ",".join(map(str, rows[[0, 5]]))
    post_labels(running, drawn, tmp_path, f"/api/cases/scan0/tools/between-slices?value=128&slices={listed}")
    assert current(running)[:, :, rows[0] : rows[5] + 1].any(axis=(0, 1)).all()
    assert not current(running)[:, :, rows[6]].any()


def test_smooth_and_fix_change_one_structure(running: Running, tmp_path: Path) -> None:
    rough = TRUE.labels.array.copy()
    post_labels(running, rough, tmp_path)
    femur = np.argwhere(rough == 128)
    spot = tuple(femur[len(femur) // 2])
    drawn = rough.copy()
    drawn[spot[0] + 3 : spot[0] + 6, spot[1], spot[2]] = 128  # runs into the neighbours
    post_labels(running, drawn, tmp_path, "/api/cases/scan0/tools/fix?parent=1&value=128")
    fixed = current(running)
    others = (rough > 0) & (rough != 128)
    assert np.array_equal(fixed[others], rough[others]), "neighbours keep what is theirs"
    assert (fixed == 128).sum() >= (rough == 128).sum()
    post_labels(running, fixed, tmp_path, "/api/cases/scan0/tools/smooth?value=128&width_mm=12&sigma_mm=8")
    smooth = current(running)
    assert (smooth != fixed).any() and (smooth == 128).sum() == (fixed == 128).sum()


@pytest.mark.parametrize(
    ("tool", "query", "status"),
    [
        ("smooth", "", 400),
        ("smooth", "value=7000", 400),
        ("smooth", "value=101&width_mm=0", 422),
        ("fix", "", 400),
        ("between-slices", "slices=1,x", 400),
        ("between-slices", "slices=1,9999", 422),
        ("between-slices", "", 422),
        ("magic", "", 422),
        ("grow", "", 422),
        ("smooth", "value=101&parent=9", 404),
        ("fix", "value=1&give_way=77", 400),
    ],
)
def test_tools_say_what_they_lack(running: Running, tmp_path: Path, tool: str, query: str, status: int) -> None:
    content = label_bytes(TRUE.labels.with_array(np.zeros_like(TRUE.labels.array)), tmp_path)
    answer = running.client.post(f"/api/cases/scan0/tools/{tool}?{query}", content)
    assert answer.status == status and answer.json["detail"], answer.body
    assert running.project.store.versions("scan0") == ()


def test_a_tool_without_any_label_has_nothing_to_work_on(running: Running) -> None:
    answer = running.client.post("/api/cases/scan0/tools/smooth?value=101")
    assert (answer.status, answer.json["error"]) == (409, "NotReadyError")


def test_uncertainty_of_a_case(running: Running) -> None:
    rows = running.client.get("/api/cases/scan0/uncertainty").json
    assert {r["value"] for r in rows} == {101, 201, 128, 228}
    assert all(0 <= r["uncertainty"] <= 1 for r in rows)
    assert [r["uncertainty"] for r in rows] == sorted((r["uncertainty"] for r in rows), reverse=True)
    voxels = labels_of(running.client.get("/api/cases/scan0/uncertainty.nii.gz").body)
    assert voxels.shape == TRUE.ct.shape and 0 < voxels.max() <= 100
    assert running.client.get("/api/cases").json[0]["score"] == running.project.store.scores("toy")["scan0"]


def test_rankings_leave_out_what_is_corrected(running: Running, tmp_path: Path) -> None:
    for strategy in ("random", "uncertainty", "diversity"):
        assert {r["id"] for r in running.client.get(f"/api/ranking?strategy={strategy}").json} == {
            "scan0",
            "scan1",
            "scan2",
        }
    post_labels(running, TRUE.labels.array, tmp_path)
    assert {r["id"] for r in running.client.get("/api/ranking?strategy=random&seed=3").json} == {"scan1", "scan2"}
    assert running.client.get("/api/ranking?strategy=wisdom").status == 422


def test_findings_are_judged_and_corrections_become_versions(project: Path, model: Path, tmp_path: Path) -> None:
    make_project(project, 8)
    with serving(ServerSettings(project, model, ONE_THREAD)) as running:
        assert running.client.get("/api/findings").json == []
        for number in range(8):
            labels = phantom(number).labels
            array = labels.array.copy()
            if number == 3:  # thighs swapped: right is left
                for right in (101, 102, 103):
                    a, b = array == right, array == right + 100
                    array[a], array[b] = right + 100, right
            body = label_bytes(labels.with_array(array), tmp_path)
            assert running.client.post(f"/api/cases/scan{number}/versions?tag=final", body).status == 201
        limit = time.monotonic() + 120
        answer = running.client.get("/api/findings")
        while answer.headers["x-vastus-check"] != "current" and time.monotonic() < limit:
            time.sleep(0.5)
            answer = running.client.get("/api/findings")
        rows = answer.json
        assert rows and rows[0]["case"] == "scan3" and rows[0]["value"] in (0, 101, 102, 103, 201, 202, 203)
        assert all(r["state"] == "open" for r in rows)
        picture = running.client.get(rows[0]["picture"])
        assert picture.body[:8] == b"\x89PNG\r\n\x1a\n"
        proposed = next(r for r in rows if r["case"] == "scan3" and r["has_proposal"])
        accepted = running.client.post(f"/api/findings/{proposed['id']}/accept").json
        assert (accepted["state"], accepted["version"], accepted["kind"]) == ("accepted", 2, "tool")
        corrected = labels_of(running.client.get("/api/cases/scan3/versions/2/labels.nii.gz").body)
        before = labels_of(running.client.get("/api/cases/scan3/versions/1/labels.nii.gz").body)
        truth = phantom(3).labels.array
        assert (corrected != truth).sum() < (before != truth).sum()
        rest = [r for r in rows if r["id"] != proposed["id"]]
        if rest:
            assert running.client.post(f"/api/findings/{rest[-1]['id']}/reject").json["state"] == "rejected"
        after = running.client.get("/api/findings")
        assert after.headers["x-vastus-check"] == "current", "accepting is no reason to check again"
        states = {r["id"]: r["state"] for r in after.json}
        assert states[proposed["id"]] == "accepted"
        assert (project / "dataset" / "labelsTr" / "scan3.nii.gz").samefile(
            running.project.store.file(running.project.store.version("scan3", 2))
        )
        assert running.client.post("/api/findings/1-f9999/accept").status == 404


def test_the_data_set_follows_the_history(running: Running, project: Path, tmp_path: Path) -> None:
    folder = project / "dataset"
    for number in range(3):
        body = label_bytes(phantom(number).labels, tmp_path)
        assert running.client.post(f"/api/cases/scan{number}/versions?tag=final", body).status == 201
    folds = json.loads((folder / "splits_final.json").read_text())
    assert [f["val"] for f in folds] == [["scan0"], ["scan1"], ["scan2"]]
    save_ct(phantom(3), project / "aaa.nii.gz")
    body = label_bytes(phantom(3).labels, tmp_path)
    assert running.client.post("/api/cases/aaa/versions?tag=final", body).status == 201
    assert json.loads((folder / "splits_final.json").read_text())[0]["val"] == ["scan0"], "held out for good"
    from vastus.training.dataset import read_dataset

    assert [c.name for c in read_dataset(folder).cases] == ["aaa", "scan0", "scan1", "scan2"]
    changed = phantom(1).labels.array.copy()
    changed[changed == 128] = 0
    body = label_bytes(phantom(1).labels.with_array(changed), tmp_path)
    assert running.client.post("/api/cases/scan1/versions?tag=final", body).status == 201
    assert np.array_equal(labels_of((folder / "labelsTr" / "scan1.nii.gz").read_bytes()), changed)
    for _ in range(1):
        running.client.post("/api/cases/scan1/undo")
    assert (labels_of((folder / "labelsTr" / "scan1.nii.gz").read_bytes()) == 128).any()
    (folder / "labelsTr" / "scan2.nii.gz").unlink()
    running.project.labels.refresh_all()
    assert (folder / "labelsTr" / "scan2.nii.gz").is_file(), "mended from the history"


def test_one_server_works_on_a_project(running: Running, project: Path) -> None:
    with pytest.raises(AlreadyThereError, match="Another server"):
        Project(ServerSettings(project))
