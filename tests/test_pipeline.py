from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from annotation_server import phantom, save_ct
from toy_bundle import write_toy_bundle
from vastus.anatomy import BUILT_IN
from vastus.errors import OutputError
from vastus.inference.choices import RuntimeName, RuntimeOptions
from vastus.inference.predictor import Predictor
from vastus.pipeline import ScanRequest, segment_to_folder, write_scan_page
from vastus.run_record import HU_WINDOW
from vastus.volume import Volume

RECORD: dict[str, Any] = {
    "subject": "p1",
    "weights": {"name": "toy", "sha256": "0123456789abcdef", "trained_on": "nothing"},
    "device": "CPU",
    "seconds": {"network": 1.0},
    "versions": {"vastus": "0.1.0"},
    "warnings": [],
}


@pytest.mark.parametrize(("window", "shown"), [([-150.0, 250.0], True), ([-57.0, 164.0], True), (None, False)])
def test_the_page_says_which_window_the_network_of_this_run_read(
    tmp_path: Path, window: list[float] | None, shown: bool
) -> None:
    values = np.zeros((12, 12, 12), np.uint8)
    values[3:9, 3:9, 3:9] = 128
    ct = Volume(np.where(values > 0, 300, -80).astype(np.int16), np.diag([4.0, 4.0, 4.0, 1.0]))
    record = RECORD if window is None else RECORD | {HU_WINDOW: window}
    measured: Any = SimpleNamespace(volumes=(), rows=(), context=(), found=SimpleNamespace(table=BUILT_IN))
    write_scan_page(tmp_path / "report.html", ct, ct.with_array(values), measured, record)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("HU window of the network" in page) is shown
    if window is not None:
        low, high = window
        assert f"{low:.0f} to {high:.0f} HU</dd>".replace("-", "−") in page


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    save_ct(phantom(0), path)
    return path


def toy(folder: Path, threads: int) -> Predictor:
    return Predictor(write_toy_bundle(folder / "toy"), RuntimeOptions(runtime=RuntimeName.ONNXRUNTIME, threads=threads))


@pytest.mark.parametrize(("threads", "beside"), [(1, False), (2, True)])
def test_one_thread_means_that_nothing_runs_beside(
    tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch, threads: int, beside: bool
) -> None:
    predictor = toy(tmp_path, threads)
    workers: set[str] = set()
    for name in ("vastus.inference.predictor.doubt_map", "vastus.inference.predictor.judge"):
        note_thread(monkeypatch, name, workers)
    for name in ("_draw", "write_labels", "_load_later"):
        note_thread(monkeypatch, f"vastus.pipeline.{name}", workers)
    segment_to_folder(predictor, ScanRequest(scan, tmp_path / "out"))
    ours = threading.current_thread().name
    assert (ours not in workers) if beside else (workers == {ours})


def note_thread(monkeypatch: pytest.MonkeyPatch, name: str, workers: set[str]) -> None:
    """Have a function note in which thread it is called."""
    module, _, function = name.rpartition(".")
    call = getattr(__import__(module, fromlist=[function]), function)

    def noting(*args: Any, **kwargs: Any) -> Any:
        workers.add(threading.current_thread().name)
        return call(*args, **kwargs)

    monkeypatch.setattr(name, noting)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_fails_beside_is_said_and_leaves_nothing(
    tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    def no_room(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    predictor = toy(tmp_path, threads)
    monkeypatch.setattr("vastus.pipeline.write_labels", no_room)
    with pytest.raises(OutputError, match="No space left"):
        segment_to_folder(predictor, ScanRequest(scan, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_structure_that_is_gone_on_the_grid_of_the_scan_is_not_judged(
    tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vastus.inference import finish
    from vastus.quality import Agreement

    plain = segment_to_folder(toy(tmp_path, 1), ScanRequest(scan, tmp_path / "plain", page=False))
    gone = min(plain.measured.found.present)

    def without(labels: np.ndarray, *_: object) -> None:
        labels[labels == gone] = 0

    worst = Agreement(0.1, 0.0, 0.2, 0.99)
    everything = dict.fromkeys(plain.segmentation.confidence.labels, worst)
    monkeypatch.setattr(finish, "follow_septa", without)
    monkeypatch.setattr("vastus.quality.expect_agreement", lambda *_: everything)
    record = segment_to_folder(toy(tmp_path, 1), ScanRequest(scan, tmp_path / "out", page=False)).record
    label = BUILT_IN.by_value[gone]
    for said in (record["confidence"]["structures"], record["agreement"]["structures"]):
        assert label.side.value not in said.get(label.structure.key, {})
        assert said
