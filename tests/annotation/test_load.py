"""Fifty annotators at once, and a network at work beside them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from annotation_server import Client, Running, label_bytes, labels_of, phantom
from vastus.annotation.http.access import AUTHOR_HEADER

CLIENTS = 50


def test_fifty_clients_read_and_save_without_loss(running: Running, tmp_path: Path) -> None:
    truth = phantom(0).labels
    contents: dict[str, np.ndarray] = {}
    for number in range(CLIENTS):
        array = truth.array.copy()
        array[number % array.shape[0], 3, number // array.shape[0]] = 101 + number % 29
        contents[f"user{number}"] = array
    bodies = {name: label_bytes(truth.with_array(a), tmp_path, f"{name}.nii.gz") for name, a in contents.items()}
    begin = threading.Barrier(CLIENTS)

    def work(name: str) -> list[int]:
        client = Client(running.address, {AUTHOR_HEADER: name})
        case = f"scan{int(name.removeprefix('user')) % 3}"
        begin.wait(30)
        assert client.get("/api/cases").status == 200
        assert client.get(f"/api/cases/{case}/image.nii.gz").status == 200
        saved = []
        for _ in range(2):
            answer = client.post(f"/api/cases/{case}/versions", bodies[name])
            assert answer.status == 201, answer.body
            saved.append(answer.json["version"])
            back = client.get(f"/api/cases/{case}/versions/{saved[-1]}/labels.nii.gz")
            assert np.array_equal(labels_of(back.body), contents[name])
        return saved

    with ThreadPoolExecutor(CLIENTS) as pool:
        given = dict(zip(contents, pool.map(work, contents), strict=True))
    for case in range(3):
        versions = running.client.get(f"/api/cases/scan{case}/versions").json
        assert [v["version"] for v in versions] == list(range(1, len(versions) + 1))
        by_author = {name: [v["version"] for v in versions if v["author"] == name] for name in given}
        assert all(
            numbers == given[name] for name, numbers in by_author.items() if int(name.removeprefix("user")) % 3 == case
        )
    assert sum(len(running.project.store.versions(f"scan{c}")) for c in range(3)) == 2 * CLIENTS


def test_only_one_of_many_who_edit_the_same_version_gets_through(running: Running, tmp_path: Path) -> None:
    truth = phantom(0).labels
    assert running.client.post("/api/cases/scan0/versions", label_bytes(truth, tmp_path)).status == 201

    def change(number: int) -> int:
        array = truth.array.copy()
        array[number, 2, 2] = 128
        body = label_bytes(truth.with_array(array), tmp_path, f"{number}.nii.gz")
        return running.client.post("/api/cases/scan0/versions?parent=1", body).status

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(change, range(8)))
    assert sorted(answers) == [201] + [409] * 7


def test_the_server_answers_while_the_network_works(running: Running) -> None:
    """Inference runs in one thread of its own: lists come at once meanwhile."""
    project = running.project
    going, enough = threading.Event(), threading.Event()

    def slow(_load: object) -> None:
        going.set()
        enough.wait(30)

    blocker = project.engine.submit(slow)
    assert going.wait(10)
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(running.client.post, f"/api/cases/scan{n % 3}/infer") for n in range(20)]
        time.sleep(0.3)
        start = time.perf_counter()
        assert running.client.get("/api/cases").status == 200
        assert time.perf_counter() - start < 5.0
        enough.set()
        assert [w.result().status for w in waiting] == [201] * 20
    assert blocker.result() is None
    assert {v.made_by.value for v in project.store.versions("scan0")} == {"model"}


def test_too_many_requests_for_the_network_are_turned_away(running: Running) -> None:
    project = running.project
    enough = threading.Event()
    queued = [project.engine.submit(lambda _load: enough.wait(30)) for _ in range(32)]
    refused = running.client.post("/api/cases/scan0/infer")
    assert (refused.status, refused.json["error"]) == (429, "BusyError")
    enough.set()
    assert all(q.result() for q in queued)
    assert running.client.post("/api/cases/scan0/infer").status == 201
