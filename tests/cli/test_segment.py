from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from toy_bundle import CLASS_STEP_HU, PAINTED, write_toy_bundle
from vastus.anatomy import BY_KEY
from vastus.cli.main import app
from vastus.cli.segment import warning_lines
from vastus.errors import InputError, MissingInputError, OutputError, VastusError
from vastus.synthesis.phantom import make_phantom
from without_tails import without_tails

FILES = {"labels.nii.gz", "volumes.csv", "measures.csv", "levels.csv", "report.html", "run.json"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_bundle(tmp_path_factory.mktemp("weights")).folder


def _write_scan(path: Path, z: tuple[float, float] = (200.0, 440.0)) -> np.ndarray:
    phantom = make_phantom(PAINTED.spacing_mm, z_range_mm=z, noise_hu=0)
    truth = without_tails(phantom.labels).array
    classes = truth % 100
    outside = np.where(phantom.ct.array > -900, -100.0, -1000.0)
    hu = np.where(classes > 0, classes * CLASS_STEP_HU, outside).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, phantom.ct.affine), path)
    return truth


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["segment", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_what_can_not_be_is_left_out_or_said(tmp_path: Path, weights: Path) -> None:
    truth = _write_scan(tmp_path / "thigh.nii.gz", (200.0, 380.0))
    scan = nib.load(tmp_path / "thigh.nii.gz")
    hu = np.asarray(scan.dataobj).copy()
    gracilis = truth % 100 == BY_KEY["gracilis"].class_id
    hu[gracilis] = BY_KEY["rectus_abdominis"].class_id * CLASS_STEP_HU
    nib.save(nib.Nifti1Image(hu, scan.affine), tmp_path / "thigh.nii.gz")
    larger = np.diag([1.6, 1.6, 1.6, 1.0]) @ scan.affine  # four times the volume
    nib.save(nib.Nifti1Image(hu, larger), tmp_path / "giant.nii.gz")
    _run(tmp_path / "thigh.nii.gz", tmp_path / "giant.nii.gz", "-o", tmp_path / "out", "--weights", weights, "-t", 1)
    labels = np.asarray(nib.load(tmp_path / "out" / "thigh" / "labels.nii.gz").dataobj)
    assert not np.isin(labels, [26, 126, 226]).any()
    np.testing.assert_array_equal(labels[~gracilis], truth[~gracilis])
    said, of_giant = (
        json.loads((tmp_path / "out" / n / "run.json").read_text())["warnings"] for n in ("thigh", "giant")
    )
    assert [w for w in said if "were taken for rectus abdominis: left out" in w]
    assert not any("205 cm" in w for w in said)
    assert any(w.startswith("Iliopsoas, left: 193 mL") and "205 cm" in w for w in of_giant)


def test_one_scan_gives_its_files_in_the_folder(tmp_path: Path, weights: Path) -> None:
    truth = _write_scan(tmp_path / "thigh.nii.gz")
    out = tmp_path / "out"
    said = _run(tmp_path / "thigh.nii.gz", "-o", out, "--weights", weights, "--threads", 1)
    assert {p.name for p in out.iterdir()} == FILES
    assert "OpenVINO on CPU" in said and "windows" in said
    labels = nib.load(out / "labels.nii.gz")
    np.testing.assert_array_equal(np.asarray(labels.dataobj), truth)
    rows = {(r["structure"], r["side"]): r for r in csv.DictReader((out / "volumes.csv").open())}
    assert len(rows) == 58
    femur = rows["femur", "left"]
    assert float(femur["volume_mm3"]) == pytest.approx((truth == 228).sum() * 64.0)
    assert femur["truncated"] == "true" and femur["subject"] == "thigh"
    assert rows["psoas", "left"]["volume_mm3"] == ""
    record = json.loads((out / "run.json").read_text())
    assert record["weights"]["name"] == "toy" and len(record["weights"]["sha256"]) == 64
    assert record["input"]["spacing_mm"] == [4.0, 4.0, 4.0]
    assert set(record["seconds"]) >= {"read", "preprocess", "network", "clean", "restore", "measure", "page", "total"}
    assert str(tmp_path) not in (out / "run.json").read_text()
    sure = record["confidence"]
    assert 0.8 < sure["scan"] < 0.9 and set(sure["structures"]["femur"]) == {"right", "left"}
    told = [r for r in csv.DictReader((out / "measures.csv").open()) if r["measure"] == "confidence"]
    assert (
        len(told) == 59
        and told[0]["structure"] == "all"
        and float(told[0]["value"]) == pytest.approx(sure["scan"], abs=1e-4)
    )
    assert next(r for r in told if (r["structure"], r["side"]) == ("psoas", "left"))["value"] == ""


def test_many_scans_load_the_model_once_and_share_a_table(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vastus.inference import predictor, runtime

    loads: list[object] = []
    load = runtime.open_runtime
    for module in (runtime, predictor):  # the command loads it; a predictor that gave it back would load it again
        monkeypatch.setattr(module, "open_runtime", lambda *a: (loads.append(a), load(*a))[1])
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        _write_scan(tmp_path / folder / "scan.nii.gz", (250.0, 330.0))
    out = tmp_path / "out"
    _run(tmp_path / "a/scan.nii.gz", tmp_path / "b/scan.nii.gz", "-o", out, "--weights", weights, "-t", 1)
    assert len(loads) == 1
    assert {p.name for p in out.iterdir()} == {"scan", "scan_2", "volumes.csv"}
    assert {p.name for p in (out / "scan_2").iterdir()} == FILES
    subjects = [row["subject"] for row in csv.DictReader((out / "volumes.csv").open())]
    assert sorted(set(subjects)) == ["scan", "scan_2"] and len(subjects) == 116


def test_a_bad_scan_among_good_ones(tmp_path: Path, weights: Path) -> None:
    _write_scan(tmp_path / "good.nii.gz", (250.0, 330.0))
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app,
        [
            "segment",
            str(tmp_path / "bad.nii.gz"),
            str(tmp_path / "good.nii.gz"),
            "-o",
            str(out),
            "--weights",
            str(weights),
            "-t",
            "1",
        ],
    )
    assert result.exit_code == InputError.exit_code
    assert "bad.nii.gz" in result.output and "1 of 2 scans done" in result.output
    assert {p.name for p in out.iterdir()} == {"good", "volumes.csv"}


def test_a_refused_scan_leaves_nothing(tmp_path: Path, weights: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(MissingInputError):
        _run(tmp_path / "none.nii.gz", "-o", out, "--weights", weights)
    assert not out.exists()


def test_an_output_that_is_a_file_is_refused(tmp_path: Path, weights: Path) -> None:
    _write_scan(tmp_path / "scan.nii.gz", (250.0, 330.0))
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError):
        _run(tmp_path / "scan.nii.gz", "-o", tmp_path / "out", "--weights", weights)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_failure_while_writing_keeps_the_older_results(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_scan(tmp_path / "scan.nii.gz", (250.0, 330.0))
    out = tmp_path / "out"
    _run(tmp_path / "scan.nii.gz", "-o", out, "--weights", weights, "-t", 1)
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vastus.measuring.write_volume_rows", fail)
    with pytest.raises(OutputError, match="No space"):
        _run(tmp_path / "scan.nii.gz", "-o", out, "--weights", weights, "-t", 1)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


_STAGES = {
    "read": """
import vastus.io.scans as scans
def read_scan(*a, **k):
    print("in read", file=sys.stderr, flush=True)
    time.sleep(60)
scans.read_scan = read_scan
""",
    "network": """
import vastus.inference.predictor as predictor
segment = predictor.Predictor.segment
def slowly(self, scan, on_progress, *others, **named):
    def tell(progress):
        on_progress(progress)
        if progress.done == 2:
            print("in network", file=sys.stderr, flush=True)
    return segment(self, scan, tell, *others, **named)
predictor.Predictor.segment = slowly
""",
    "measure": """
import vastus.pipeline as pipeline
measure = pipeline._measure
def again_and_again(*a):
    print("in measure", file=sys.stderr, flush=True)
    while True:
        measure(*a)
pipeline._measure = again_and_again
""",
}
"""Code that says where the command is and holds it there."""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("stage", "sent"),
    [("network", signal.SIGINT), ("network", signal.SIGTERM), ("read", signal.SIGINT), ("measure", signal.SIGINT)],
)
def test_ctrl_c_stops_soon_and_leaves_nothing(tmp_path: Path, weights: Path, stage: str, sent: signal.Signals) -> None:
    _write_scan(tmp_path / "scan.nii.gz", (-20.0, 600.0) if stage == "network" else (250.0, 330.0))
    big = nib.load(tmp_path / "scan.nii.gz")
    slices = (1, 1, 8 if stage == "network" else 1)
    # Many windows, but no longer than a person: else the scan is refused.
    affine = big.affine @ np.diag([1.0, 1.0, 1.0 / slices[2] ** 0.5, 1.0])
    nib.save(nib.Nifti1Image(np.tile(np.asarray(big.dataobj), slices), affine), tmp_path / "long.nii")
    out = tmp_path / "out"
    code = f"import sys, time\n{_STAGES[stage]}\nfrom vastus.cli.main import run\nrun()"
    command = [
        sys.executable,
        "-c",
        code,
        "segment",
        str(tmp_path / "long.nii"),
        "-o",
        str(out),
        "--weights",
        str(weights),
        "-t",
        "1",
        "--overlap",
        "0.8" if stage == "network" else "0",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert process.stderr is not None
    for line in process.stderr:
        if f"in {stage}" in line:
            break
    if stage == "read":
        time.sleep(1.0)  # until the main thread waits for the scan
    process.send_signal(sent)
    start = time.monotonic()
    try:
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
    assert time.monotonic() - start < 15.0  # well under 2 s on a quiet machine; a busy one gives it its share only
    assert not out.exists()


@pytest.mark.parametrize("slices", [5, 40, 2000])
def test_long_and_short_scans(tmp_path: Path, weights: Path, slices: int) -> None:
    _write_scan(tmp_path / "piece.nii.gz", (200.0, 440.0))
    piece = nib.load(tmp_path / "piece.nii.gz")
    hu = np.asarray(piece.dataobj)[: piece.shape[0] // 2 : 2, ::2]  # one leg, coarse: the slices are what matters
    there_and_back = np.concatenate([np.arange(hu.shape[2]), np.arange(hu.shape[2])[::-1]])
    affine = piece.affine @ np.diag([2.0, 2.0, 0.25, 1.0])
    nib.save(nib.Nifti1Image(hu[:, :, np.resize(there_and_back, slices)], affine), tmp_path / "scan.nii.gz")
    _run(tmp_path / "scan.nii.gz", "-o", tmp_path / "out", "--weights", weights, "-t", 2)
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES
    labels = np.asarray(nib.load(tmp_path / "out/labels.nii.gz").dataobj)
    assert labels.shape[2] == slices and (labels > 0).any(axis=(0, 1)).mean() > 0.9


@pytest.mark.slow
def test_labels_and_tables_are_the_same_for_any_number_of_threads_and_from_run_to_run(tmp_path: Path) -> None:
    ct = make_phantom((2.0, 2.0, 3.0), z_range_mm=(180.0, 460.0)).ct
    nib.save(nib.Nifti1Image(ct.array, ct.affine), tmp_path / "scan.nii.gz")
    for name, threads in (("first", 1), ("second", 2), ("third", 2)):
        _run(tmp_path / "scan.nii.gz", "-o", tmp_path / name, "-t", threads)
    for file in ("labels.nii.gz", "volumes.csv", "measures.csv", "levels.csv"):
        wanted = (tmp_path / "first" / file).read_bytes()
        assert all((tmp_path / name / file).read_bytes() == wanted for name in ("second", "third")), file


def test_no_result_depends_on_free_memory() -> None:
    import vastus

    package = Path(vastus.__file__).parent
    rooms = ("inference", "morphometry", "io", "preprocessing.py", "resampling.py", "pipeline.py")
    sources = [
        p for room in rooms for p in ([package / room] if room.endswith(".py") else (package / room).glob("*.py"))
    ]
    asks = ("psutil", "virtual_memory", "SC_AVPHYS_PAGES", "MemAvailable", "MemFree", "mem_get_info")
    assert len(sources) > 30
    assert not [p.name for p in sources if any(word in p.read_text(encoding="utf-8") for word in asks)]


def test_the_network_can_be_named_in_the_anatomy(weights: Path) -> None:
    described = json.loads((weights / "configs/vastus.json").read_text())
    assert set(described["classes"][1:]) == set(BY_KEY)


def test_published_values_stand_beside_where_the_person_is_known(tmp_path: Path, weights: Path) -> None:
    _write_scan(tmp_path / "a.nii.gz")
    person = ["--sex", "M", "--age", 75, "--height-cm", 170, "--weight-kg", 70]
    _run(tmp_path / "a.nii.gz", "-o", tmp_path / "out", "--weights", weights, *person)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Beside published values" in page and "Handsfield GG et al." in page
    measures = (tmp_path / "out" / "measures.csv").read_text()
    assert "a,gracilis,medial,left,volume_of_expected," in measures
    assert "older men" not in (tmp_path / "out" / "run.json").read_text()  # nothing of the person is in the record
    _run(tmp_path / "a.nii.gz", "-o", tmp_path / "plain", "--weights", weights)
    assert "Beside published values" not in (tmp_path / "plain" / "report.html").read_text()
    assert "volume_of_expected" not in (tmp_path / "plain" / "measures.csv").read_text()


def test_a_person_goes_with_one_scan_and_is_checked_first(tmp_path: Path) -> None:
    for arguments, said in (
        ((tmp_path / "a", tmp_path / "b", "--sex", "M"), "single scan"),
        ((tmp_path / "a", "--sex", "x"), "M or F"),
        ((tmp_path / "a", "--height-cm", "1.7"), "looks like metres"),
    ):
        found = CliRunner().invoke(app, ["segment", *map(str, arguments), "-o", str(tmp_path / "out")])
        assert isinstance(found.exception, VastusError) and said in str(found.exception)
    assert not (tmp_path / "out").exists()


def test_only_the_pages_of_this_call_are_printed_and_named(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vastus.report import pdf

    monkeypatch.setattr(pdf, "require_printer", lambda: None)
    monkeypatch.setattr(pdf, "print_page", lambda page, target: target.write_bytes(page.name.encode()))
    for name in ("a", "b"):
        _write_scan(tmp_path / f"{name}.nii.gz")
    older = tmp_path / "out" / "older"
    older.mkdir(parents=True)
    (older / "report.html").write_text("of another day")
    scans = (tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    result = CliRunner().invoke(
        app, [*map(str, ["segment", *scans, "-o", tmp_path / "out", "--weights", weights]), "--pdf"]
    )
    assert result.exit_code == 0, result.output
    assert sorted(p.parent.name for p in (tmp_path / "out").rglob("report.pdf")) == ["a", "b"]
    said = [line for line in result.stderr.splitlines() if line.startswith("printed: ")]
    assert [Path(line.removeprefix("printed: ")).parent.name for line in said] == ["a", "b"]


def test_stop_is_said_of_whole_scans_only() -> None:
    record = {"alarms": ["Knee only.", "2 structures are likely wrong."], "warnings": ["Metal.", "Knee only."]}
    assert warning_lines(record) == ["STOP: Knee only.", "warning: 2 structures are likely wrong.", "warning: Metal."]
