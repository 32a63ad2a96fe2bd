"""The real worker, with a toy network, behind the node."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_factory as factory
from labelled_dicom import FULL_HEADER
from toy_bundle import write_toy_bundle
from vastus.node.config import Processing
from vastus.node.worker_process import WorkerFailure, WorkerProcess


@pytest.mark.skipif(sys.platform == "win32", reason="the node runs on Linux and macOS")
def test_the_worker_makes_dicom_results_and_survives_a_refusal(tmp_path: Path) -> None:
    hu = np.full((12, 40, 40), -1000, np.int16)
    hu[:, 4:36, 4:36] = 40
    hu[3:10, 10:30, 10:30] = 600  # class 6 of the toy network
    spec = factory.series(12, hu=hu, step=4.0, pixel_spacing=(4.0, 4.0), extra=FULL_HEADER)
    paths = factory.write_series(tmp_path / "ct", spec)
    write_toy_bundle(tmp_path / "toy")
    worker = WorkerProcess(Processing("rtstruct", weights=tmp_path / "toy", threads=1, timeout_s=120))
    try:
        (tmp_path / "empty").mkdir()
        with pytest.raises(WorkerFailure, match="MissingInputError") as caught:
            worker.run(tmp_path / "empty", tmp_path / "out1", "job_1")
        assert caught.value.final
        assert str(tmp_path) not in caught.value.reason
        worker.run(tmp_path / "ct", tmp_path / "out2", "job_2")
    finally:
        worker.stop()
    result = pydicom.dcmread(tmp_path / "out2" / "dicom" / "rtstruct.dcm")
    assert result.StudyInstanceUID == pydicom.dcmread(io.BytesIO(paths[0].read_bytes())).StudyInstanceUID


def test_a_worker_that_speaks_nonsense_is_a_failure(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys\nfor line in sys.stdin: print('hello', flush=True)")
    worker = WorkerProcess(Processing(command=command, timeout_s=20))
    try:
        with pytest.raises(WorkerFailure, match="protocol"):
            worker.run(tmp_path, tmp_path / "out", "job_1")
    finally:
        worker.stop()


def _worker(code: str, told: list[tuple[str, str]], timeout_s: float = 20) -> WorkerProcess:
    command = (sys.executable, "-c", code)
    return WorkerProcess(Processing(command=command, timeout_s=timeout_s), lambda who, kind: told.append((who, kind)))


ANSWER = "    print('{\"ok\": true}', flush=True)\n"
LOOP = "import sys, os, time\nfor line in sys.stdin:\n"


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_series(tmp_path: Path) -> None:
    first = LOOP + '    print(\'{"ok": true}\\n{"ok": true}\', flush=True)\n    time.sleep(0.1)\n'
    worker = _worker(first, [])
    try:
        worker.run(tmp_path, tmp_path / "out", "job_1")
        before = worker._process
        time.sleep(0.3)
        worker.run(tmp_path, tmp_path / "out", "job_2")
        assert worker._process is not before
    finally:
        worker.stop()


@pytest.mark.parametrize("code", ["    os.close(1)\n    time.sleep(60)\n", "    os.write(1, b'\\xff\\xfe\\n')\n"])
def test_a_worker_that_closes_its_output_or_writes_no_text_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr("vastus.node.worker_process._ENDING_S", 0.2)
    worker = _worker(LOOP + code, [])
    try:
        with pytest.raises(WorkerFailure):
            worker.run(tmp_path, tmp_path / "out", "job_1")
    finally:
        worker.stop()


def test_what_a_worker_prints_does_not_reach_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[str, str]] = []
    line = json.dumps({"event": "library message", "by": "pydicom", "kind": "PLANTED NAME"})
    code = f"import os\nos.write(2, b'Invalid: PLANTED\\n')\nprint({line!r}, file=__import__('sys').stderr)\n"
    worker = _worker(code + LOOP + ANSWER, told)
    try:
        worker.run(tmp_path, tmp_path / "out", "job_1")
        time.sleep(0.3)
    finally:
        worker.stop()
    assert told == [("worker", "output"), ("pydicom", "?")]
    assert "PLANTED" not in "".join(capfd.readouterr())


def test_reasons_hold_no_uid_and_nothing_quoted(tmp_path: Path) -> None:
    answer = {
        "ok": False,
        "error": "AmbiguousSeriesError",
        "reason": "Several: 1.2.3.4.5 'CT of Jane', 9 slices",
        "hindered": True,
    }
    worker = _worker(LOOP + f"    print({json.dumps(answer)!r}, flush=True)\n", [])
    try:
        with pytest.raises(WorkerFailure) as caught:
            worker.run(tmp_path, tmp_path / "out", "job_1")
    finally:
        worker.stop()
    assert caught.value.reason == "AmbiguousSeriesError: Several: (UID) '...', 9 slices" and caught.value.hindered


def test_a_worker_that_cannot_load_its_network_is_no_fault_of_the_series(tmp_path: Path) -> None:
    worker = WorkerProcess(Processing("rtstruct", weights=tmp_path / "missing", timeout_s=60))
    try:
        with pytest.raises(WorkerFailure, match="exit code 78") as caught:
            worker.run(tmp_path, tmp_path / "out", "job_1")
    finally:
        worker.stop()
    assert caught.value.hindered


def test_the_log_of_the_real_worker_names_nobody(tmp_path: Path) -> None:
    """One-component names make highdicom warn, strange dates make pydicom warn; both quote what they warn of."""
    hu = np.full((12, 40, 40), -1000, np.int16)
    hu[:, 4:36, 4:36] = 40
    hu[3:10, 10:30, 10:30] = 600
    extra = FULL_HEADER | {
        "PatientName": "PLANTEDNAME",
        "ReferringPhysicianName": "PLANTEDDOCTOR",
        "PatientID": "PLANTEDID",
    }
    spec = factory.series(12, hu=hu, step=4.0, pixel_spacing=(4.0, 4.0), extra=extra)
    factory.write_series(tmp_path / "ct", spec)
    write_toy_bundle(tmp_path / "toy")
    request = json.dumps({"series": str(tmp_path / "ct"), "output": str(tmp_path / "out"), "subject": "job_1"})
    done = subprocess.run(
        [sys.executable, "-m", "vastus.node.worker", "dicom-seg,sr", str(tmp_path / "toy"), "1"],
        check=False,
        input=request + "\n",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert '"ok": true' in done.stdout and "PLANTED" not in done.stdout
    assert "PLANTED" not in done.stderr
    assert all(json.loads(line)["event"] == "library message" for line in done.stderr.splitlines())


def test_what_results_can_not_be_made_of_is_refused_before_the_network(tmp_path: Path) -> None:
    from vastus.node.worker import _answer

    class NeverAsked:
        threads = 1

        def segment(self, *_: object) -> None:
            pytest.fail("the network ran")

    hu = np.full((4, 40, 40), -1000, np.int16)
    hu[:, 4:36, 4:36] = np.random.default_rng(0).integers(-120, 90, (4, 32, 32))
    for path in factory.write_series(tmp_path / "ct", factory.series(4, hu=hu, extra=FULL_HEADER)):
        dataset = pydicom.dcmread(path)
        del dataset.FrameOfReferenceUID
        dataset.save_as(path)
    request = {"series": str(tmp_path / "ct"), "output": str(tmp_path / "out"), "subject": "job_1"}
    answer = _answer(NeverAsked(), "sr", request)
    assert (answer["ok"], answer["error"], answer["final"]) == (False, "UnsupportedScanError", True)
    assert not (tmp_path / "out").exists()
