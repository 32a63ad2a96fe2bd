from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pytest

from annotation_server import Client, label_bytes, phantom, save_ct
from app_server import KEY, RunningApp, cookie_of, phantom_dicom, serving_app
from vastus.cohort.example import write_example
from vastus.io.csv_tables import read_volume_rows, write_volume_rows
from vastus.io.labels import read_labels, write_labels
from vastus.synthesis.phantom import LabelledScan, make_phantom

WOMAN = {"sex": "F", "grip_kg": "15", "gait_m_s": "0.9", "smi_kg_m2": "5.0", "mass_method": "dxa", "height_cm": "160"}


def names(state: dict) -> list[str]:
    return sorted(row["name"] for row in state["results"])


def test_a_path_becomes_a_result_with_page_person_and_download(running: RunningApp, scan: Path) -> None:
    assert running.add(scan).json == {"names": ["thigh"]}
    (row,) = running.done()["results"]
    assert (row["name"], row["label"]) == ("thigh", "")
    assert row["found"] >= 1
    page = running.client.get("/app/results/thigh/page")
    policy = page.headers.get_all("content-security-policy")
    assert len(policy) == 1  # a second one, without scripts, would hold too
    assert "sandbox allow-scripts" in policy[0]
    assert "default-src 'none'" in policy[0]
    assert b"thigh" in page.body

    saved = running.client.ask(
        "PUT", "/app/results/thigh/person", json.dumps(WOMAN).encode(), {"content-type": "application/json"}
    )
    assert saved.json["diagnosis"]["label"] == "Severe sarcopenia"
    assert running.state()["results"][0]["label"] == "Severe sarcopenia"
    assert running.client.get("/app/results/thigh").json["person"]["grip_kg"] == 15.0

    packed = zipfile.ZipFile(io.BytesIO(running.client.get("/app/download").body))
    inside = set(packed.namelist())
    wanted = {"labels.nii.gz", "volumes.csv", "measures.csv", "levels.csv", "report.html", "run.json"}
    assert {f"results/thigh/{name}" for name in wanted} | {"volumes.csv", "people.csv"} == inside
    assert b"thigh,F," in packed.read("people.csv")
    running.wait(lambda _: list(running.app.layout.incoming.iterdir()) == [])  # the zip goes after it was sent
    assert not (running.app.layout.scans / "thigh").exists()  # a scan given by its path is not copied


def test_a_dicom_folder_a_zip_and_two_of_one_name(running: RunningApp, scan: Path, tmp_path: Path) -> None:
    slices = phantom_dicom(tmp_path / "series")
    assert running.upload(slices).json == {"names": ["patient 7"]}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in slices.items():
            archive.writestr(name, content)
    assert running.upload({"patient 7.zip": packed.getvalue()}).json == {"names": ["patient 7 2"]}
    assert running.upload({"thigh.nii.gz": scan.read_bytes()}).json == {"names": ["thigh"]}
    state = running.done()
    assert state["tasks"] == []
    assert names(state) == ["patient 7", "patient 7 2", "thigh"]
    volumes = [
        {
            (r.structure, r.side): r.volume_mm3
            for r in read_volume_rows(running.app.results.get(n).folder / "volumes.csv")
        }
        for n in names(state)
    ]
    assert volumes[0] == volumes[1]
    assert any(volumes[0].values())
    assert running.client.ask("DELETE", "/app/results/thigh").status == 204
    assert names(running.state()) == ["patient 7", "patient 7 2"]
    kept = {path.name for path in running.app.layout.scans.iterdir()}
    assert kept == {"patient 7", "patient 7 2"}


def test_one_bad_scan_says_why_and_leaves_the_rest(running: RunningApp, scan: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.nii.gz"
    torn.write_bytes(scan.read_bytes()[:-2000])
    air = tmp_path / "air.nii.gz"
    nothing = phantom(0)
    save_ct(LabelledScan(nothing.ct.with_array(np.full_like(nothing.ct.array, -1000)), nothing.labels), air)
    for path in (torn, air, scan):
        assert running.add(path).status == 201
    state = running.done()
    assert names(state) == ["thigh"]
    failed = {task["name"]: task for task in state["tasks"]}
    assert set(failed) == {"torn", "air"}
    assert failed["torn"]["problem"]
    assert "every voxel is -1000" in failed["air"]["problem"]
    assert sorted(path.name for path in running.app.layout.results.iterdir()) == ["thigh"]
    torn.write_bytes(scan.read_bytes())
    assert running.client.post(f"/app/tasks/{failed['torn']['id']}").status == 204
    assert running.client.ask("DELETE", f"/app/tasks/{failed['air']['id']}").status == 204
    state = running.done()
    assert (names(state), state["tasks"]) == (["thigh", "torn"], [])
    assert running.client.ask("DELETE", f"/app/tasks/{failed['air']['id']}").status == 404


@pytest.mark.parametrize("path", ["", "thigh.nii.gz", "/nowhere/at/all.nii.gz"])
def test_a_path_that_names_nothing_is_refused_with_what_to_do(running: RunningApp, path: str) -> None:
    answer = running.client.post_json("/app/scans", {"path": path})
    assert answer.status in (400, 404)
    assert answer.json["detail"] and answer.json["remedy"]
    assert running.state()["tasks"] == []


@pytest.mark.parametrize("name", ["letters/letter.dat", "letter.txt", "list.csv"])
def test_what_holds_no_scan_is_refused_and_not_kept(running: RunningApp, name: str) -> None:
    answer = running.upload({name: b"path\n/etc/passwd\n"})
    assert (answer.status, answer.json["error"]) == (404, "MissingInputError")
    assert list(running.app.layout.scans.iterdir()) == []
    assert list(running.app.layout.incoming.iterdir()) == []


@pytest.mark.parametrize("name", ["../../../stolen.dcm", "/etc/stolen.dcm", "a/../../stolen.dcm", "..\\..\\stolen.dcm"])
def test_a_name_can_not_lead_out_of_the_upload(running: RunningApp, name: str) -> None:
    upload = running.app.open_upload()
    place = running.app.place_for(upload, name)
    assert place.resolve().is_relative_to((running.app.layout.incoming / upload).resolve())
    assert running.app.place_for(upload, name) != place  # two files of one name are two


def test_results_and_work_survive_a_restart(tmp_path: Path, model: Path, scan: Path) -> None:
    folder = tmp_path / "Vastus"
    with serving_app(folder, model) as first:
        first.add(scan)
        first.done()
    with serving_app(folder, model, work=False) as second:
        second.add(scan)
        assert [task["state"] for task in second.state()["tasks"]] == ["waiting"]
        half = second.app.layout.results / "thigh 2"
        half.mkdir()
        (half / "labels.nii.gz").write_bytes(b"half")
    with serving_app(folder, model) as third:
        assert not half.exists() or (half / "run.json").exists()
        assert names(third.done()) == ["thigh", "thigh 2"]


def test_without_the_key_nothing_is_answered(running: RunningApp) -> None:
    stranger = Client(running.address)
    for path in ("/app", "/app/state", "/", "/api/cases", "/app?key=wrong", "/app/state?key=" + KEY):
        assert stranger.get(path).status == 401, path
    own = {"cookie": cookie_of(running.address)}
    assert Client(running.address, own).get("/app").status == 200
    foreign = own | {"origin": "http://evil.example"}
    assert Client(running.address, foreign).post_json("/app/scans", {"path": "/"}).status == 403
    enclosed = own | {"origin": "null"}  # what a result's page would send
    assert Client(running.address, enclosed).post_json("/app/scans", {"path": "/"}).status == 403
    assert Client(running.address, own | {"host": "evil.example"}).get("/app").status == 403
    policy = Client(running.address, own).get("/app").headers["content-security-policy"]
    assert "script-src 'self'" in policy


def test_corrected_labels_are_measured_again(running: RunningApp, scan: Path, tmp_path: Path) -> None:
    running.add(scan)
    running.done()
    assert running.client.post("/app/results/thigh/measures").status == 400
    source = running.app.results.get("thigh").facts()["source"]
    other = tmp_path / "other.nii.gz"
    save_ct(make_phantom((12.0, 10.0, 12.0)), other)
    running.app.results.get("thigh").keep({"source": str(other)})
    assert "not the one any more" in running.client.post("/app/results/thigh/correction").json["detail"]
    running.app.results.get("thigh").keep({"source": source})
    case = running.client.post("/app/results/thigh/correction").json["case"]
    assert running.client.post("/app/results/thigh/correction").json["case"] == case
    folder = running.app.results.get("thigh").folder
    opened = running.app.project.current_labels(case)
    assert np.array_equal(opened.array, read_labels(folder / "labels.nii.gz").array)
    truth = phantom(0).labels
    saved = running.client.post(f"/api/cases/{case}/versions", label_bytes(truth, tmp_path))
    assert saved.status == 201
    assert running.state()["results"][0]["corrected"] is True
    assert running.client.post("/app/results/thigh/measures").status == 202
    state = running.done()
    assert state["tasks"] == []
    assert state["results"][0]["corrected"] is False
    assert state["results"][0]["labels"] == "labels corrected by hand (version 2)"
    assert np.array_equal(read_labels(folder / "labels.nii.gz").array, truth.array)
    value = next(r for r in read_volume_rows(folder / "volumes.csv") if r.structure == "vastus_lateralis")
    inside = (truth.array == 103).sum() if value.side.value == "right" else (truth.array == 203).sum()
    assert value.volume_mm3 == pytest.approx(inside * truth.voxel_volume_mm3, abs=0.1)
    assert "corrected by hand" in (folder / "report.html").read_text(encoding="utf-8")


def fill(app: RunningApp, folder: Path) -> Path:
    """Results as if each person of the simulated cohort had been scanned; gives the clinical table."""
    volumes, clinical = write_example(folder)
    by_subject: dict[str, list] = {}
    for row in read_volume_rows(volumes):
        by_subject.setdefault(row.subject, []).append(row)
    for subject, rows in by_subject.items():
        result = app.app.layout.results / subject
        result.mkdir()
        write_volume_rows(rows, result / "volumes.csv")
        (result / "run.json").write_text("{}")
    return clinical


@pytest.mark.slow
def test_many_results_are_compared(running: RunningApp, tmp_path: Path) -> None:
    (tmp_path / "example").mkdir()
    clinical = fill(running, tmp_path / "example")
    ticked = [("names", name) for name in names(running.state())]
    refused = running.client.post(f"/app/cohorts?{urlencode(ticked)}")
    assert "Nothing is known of these people" in refused.json["detail"]
    query = urlencode([*ticked, ("criteria", "awgs_2019"), ("table", "people.csv")])
    made = running.client.post(f"/app/cohorts?{query}", clinical.read_bytes())
    assert made.status == 201, made.body
    state = running.done()
    assert state["tasks"] == []
    assert [row["name"] for row in state["cohorts"]] == [made.json["name"]]
    page = running.client.get(f"/app/cohorts/{quote(made.json['name'])}/page")
    assert b"Table 1" in page.body
    assert running.client.get("/app/cohorts/..%2Fapp/page").status == 404


def test_a_comparison_that_can_not_be_made_says_why(running: RunningApp, scan: Path) -> None:
    for _ in range(2):
        running.add(scan)
    running.done()
    for name in ("thigh", "thigh%202"):
        running.client.ask(
            "PUT", f"/app/results/{name}/person", json.dumps(WOMAN).encode(), {"content-type": "application/json"}
        )
    both = "/app/cohorts?names=thigh&names=thigh%202"
    assert running.client.post(f"{both}&criteria=mine").status == 422
    assert running.client.post("/app/cohorts?names=thigh").status == 422
    assert running.client.post(f"{both}&table=letter.docx", b"Dear").status == 422
    assert running.client.post(f"{both}&table=people.csv", b"a,b\n1,2\n").status == 201
    (task,) = running.done()["tasks"]
    assert (task["work"], task["problem"]) == ("cohort", "The clinical table has no column for: subject, sex.")
    running.client.ask("DELETE", f"/app/tasks/{task['id']}")
    assert list(running.app.layout.cohorts.iterdir()) == []


def test_structures_of_a_lab_s_own_are_measured_and_corrected(tmp_path: Path, model: Path) -> None:
    from own_scan import SACRUM, write_own_bundle, write_own_data_set

    scan = write_own_data_set(tmp_path / "set") / "imagesTr" / "case0_0000.nii.gz"
    with serving_app(tmp_path / "Vastus", write_own_bundle(tmp_path / "weights")) as own:
        (name,) = own.add(scan).json["names"]
        (row,) = own.done()["results"]
        assert (row["name"], row["found"], row["alarms"]) == (name, 7, [])
        table = own.client.get(f"/app/results/{quote(name)}").json["volumes"]
        lines = {line["name"]: line for line in table if not line["group"]}
        assert set(lines) == {"Thigh muscles", "Femur", "Sacrum", "Hip bone"}
        assert lines["Sacrum"]["right_ml"] is None and lines["Femur"]["right_ml"] > 0
        assert [line["name"] for line in table if line["group"]] == ["Merged", "Bones"]
        packed = zipfile.ZipFile(io.BytesIO(own.client.get("/app/download").body))
        assert f"results/{name}/structure_table.csv" in packed.namelist()
        assert b"sacrum,bone,midline" in packed.read("volumes.csv")
        # Corrected in the viewer, and measured anew under the same names.
        case = own.client.post(f"/app/results/{quote(name)}/correction").json["case"]
        labels = own.app.project.current_labels(case)
        without = labels.with_array(np.where(labels.array == SACRUM, 0, labels.array).astype(np.uint8))
        write_labels(without, tmp_path / "own.nii.gz", table=own.app.project.table)
        saved = own.client.post(f"/api/cases/{case}/versions", (tmp_path / "own.nii.gz").read_bytes())
        assert saved.status == 201, saved.body
        assert own.client.post(f"/app/results/{quote(name)}/measures").status == 202
        (row,) = own.done()["results"]
        assert (row["found"], row["labels"]) == (6, "labels corrected by hand (version 2)")
        assert "Thigh muscles" in (own.app.results.get(name).folder / "report.html").read_text(encoding="utf-8")
    with serving_app(tmp_path / "Vastus", model, work=False) as plain:  # other weights: another viewer
        assert plain.state()["results"][0]["corrected"] is False
        refused = plain.client.post(f"/app/results/{quote(name)}/correction")
        assert refused.status == 422 and b"other structures than the app's weights" in refused.body


def test_the_list_says_what_the_page_stops_the_reader_for(running: RunningApp, scan: Path) -> None:
    running.add(scan)
    running.done()
    path = running.app.layout.results / "thigh" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alarms": ["1 structure is likely wrong: Femur."]}))
    (row,) = running.state()["results"]
    assert row["alarms"] == ["1 structure is likely wrong: Femur."]
