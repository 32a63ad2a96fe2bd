"""The module for 3D Slicer: its logic with real processes, its glue with stand-ins for ``slicer`` and ``qt``.

The stand-ins take only calls that Slicer's documentation names; they are no 3D Slicer.
"""

import importlib
import os
import stat
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

MODULE = Path(__file__).parents[2] / "extensions" / "slicer" / "Vastus"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs of these tests are shell scripts")


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    monkeypatch.syspath_prepend(str(MODULE))
    yield importlib.import_module("VastusLib.running")
    for name in ("VastusLib", "VastusLib.running", "Vastus"):
        sys.modules.pop(name, None)


def program(folder: Path, body: str) -> str:
    path = folder / "vastus"
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


WRITES = 'echo "[1/1] scan.nrrd" >&2; mkdir -p "$4"; cp "$2" "$4/labels.seg.nrrd"; echo "näher" '


def wait_for(run: Any) -> None:
    limit = time.monotonic() + 20
    while not run.ended():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_the_logic_needs_nothing_but_python() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import VastusLib.running; print(sorted(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code, str(MODULE)], capture_output=True, text=True, check=True).stdout
    assert not {"'slicer'", "'qt'", "'vtk'", "'numpy'", "'vastus'"} & set(said.strip("[]\n").split(", "))


def test_the_command_is_one_that_vastus_knows(running: Any, tmp_path: Path) -> None:
    from typer.main import get_command

    from vastus.cli.main import app

    command = running.command_of(program(tmp_path, ""), Path("scan.nrrd"), Path("out"), 3, "unet")
    segment = get_command(app).commands["segment"]
    with segment.make_context("segment", command[2:], resilient_parsing=False) as context:
        assert context.params["threads"] == 3 and Path(context.params["output"]) == Path("out")
    assert command[1] == "segment" and "--threads" not in running.command_of(command[0], Path("s"), Path("o"))


def test_the_result_is_what_vastus_calls_it(running: Any) -> None:
    from vastus.io.tables import SEGMENTS_FILE

    assert running.SEGMENTS_FILE == SEGMENTS_FILE


def test_no_program_is_told(running: Any, tmp_path: Path) -> None:
    for given in ("", str(tmp_path / "none")):
        with pytest.raises(running.CanNotRun, match=r"vastus|no program"):
            running.command_of(given, Path("s"), Path("o"))
    (tmp_path / "odd").write_text("no program")
    with pytest.raises(running.CanNotRun, match="can't be started"):
        running.Run([str(tmp_path / "odd")], {})


def test_the_program_is_found_as_chosen_before_or_in_the_path(
    running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = program(tmp_path, "")
    monkeypatch.setenv("PATH", "/nowhere")
    assert running.find_program(own) == own and running.find_program(str(tmp_path / "gone")) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert running.find_program() == own


def test_slicers_own_python_does_not_reach_the_program(running: Any, tmp_path: Path) -> None:
    given = {"PYTHONHOME": "/slicer", "LD_LIBRARY_PATH": "/slicer/lib", "PYTHONPATH": "x", "PATH": os.environ["PATH"]}
    run = running.Run([program(tmp_path, "env")], running.plain_environment(given))
    wait_for(run)
    said = run.new_lines()
    assert "PYTHONIOENCODING=utf-8" in said and not [line for line in said if "/slicer" in line]


def test_a_run_shows_its_lines_and_gives_the_file(running: Any, tmp_path: Path) -> None:
    (tmp_path / "scan.nrrd").write_text("voxels")
    command = running.command_of(program(tmp_path, WRITES), tmp_path / "scan.nrrd", tmp_path / "out")
    run = running.Run(command, running.plain_environment(os.environ))
    wait_for(run)
    assert run.new_lines() == ["[1/1] scan.nrrd", "näher"] and run.new_lines() == []
    assert run.result(tmp_path / "out").read_text() == "voxels"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('echo "vastus: GeometryError: slices are missing." >&2; exit 2', "vastus: GeometryError: slices are missing."),
        ("exit 9", "exit code 9"),
        ("echo old", "wrote no labels.seg.nrrd"),
    ],
)
def test_a_failure_is_told_in_the_programs_words(running: Any, tmp_path: Path, body: str, said: str) -> None:
    run = running.Run([program(tmp_path, body)], dict(os.environ))
    wait_for(run)
    with pytest.raises(running.CanNotRun, match=said):
        run.result(tmp_path)


def test_a_cancelled_run_ends_at_once(running: Any, tmp_path: Path) -> None:
    run = running.Run([program(tmp_path, "exec sleep 60")], dict(os.environ))
    start = time.monotonic()
    run.cancel()
    wait_for(run)
    assert time.monotonic() - start < 10
    with pytest.raises(running.CanNotRun, match="Cancelled"):
        run.result(tmp_path)


def test_no_black_window_opens_on_windows(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running._without_window() == {}
    monkeypatch.setattr(running.sys, "platform", "win32")
    assert running._without_window() == {"creationflags": 0x08000000}


# --- the part that touches 3D Slicer ---


class Base:
    """Stands in for the base classes of scripted modules."""

    def __init__(self, parent: Any = None) -> None:
        self.parent, self.layout = parent, MagicMock()

    def setup(self) -> None:
        pass


class Signals:
    """Stands in for the Qt widgets of the panel: attributes as Slicer's Python has them, and ``connect``."""

    def __init__(self, *_: Any) -> None:
        self.text, self.value, self.checked, self.enabled, self.running = "", 0, False, True, False
        self.shown: list[str] = []
        self.slots: dict[str, Any] = {}

    def connect(self, signal: str, slot: Any) -> None:
        self.slots[signal] = slot

    def setInterval(self, ms: int) -> None:
        assert ms > 0

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def clear(self) -> None:
        self.shown.clear()

    def appendPlainText(self, text: str) -> None:
        self.shown.append(text)


class Slicer:
    """The parts of ``slicer`` that the module uses, as documented."""

    def __init__(self, folder: Path) -> None:
        self.errors: list[str] = []
        self.loaded: list[str] = []
        self.segmentation = MagicMock()
        self.volume = MagicMock()
        self.volume.GetName.return_value = "CT"
        self.volume.GetTransformNodeID.return_value = "vtkMRMLLinearTransformNode1"
        self.mrmlScene = object()
        self.app = types.SimpleNamespace(temporaryPath=str(folder))
        self.util = types.SimpleNamespace(
            saveNode=self.save,
            loadSegmentation=self.load,
            errorDisplay=self.errors.append,
            startupEnvironment=lambda: dict(os.environ),
        )

    def save(self, node: Any, path: str, properties: dict[str, Any]) -> bool:
        assert node is self.volume and properties == {"useCompression": 0}
        Path(path).write_text("voxels")
        return True

    def load(self, path: str) -> Any:
        self.loaded.append(Path(path).read_text())
        return self.segmentation

    def qMRMLNodeComboBox(self) -> Any:
        box = MagicMock()
        box.currentNode.return_value = self.volume
        return box


@pytest.fixture
def slicer(monkeypatch: pytest.MonkeyPatch, running: Any, tmp_path: Path) -> Slicer:
    folder = tmp_path / "temporary"
    folder.mkdir()
    stand_in = Slicer(folder)
    kept: dict[str, str] = {}
    settings = types.SimpleNamespace(value=kept.get, setValue=kept.__setitem__)
    qt = types.SimpleNamespace(QSettings=lambda: settings, QFormLayout=MagicMock, QFileDialog=MagicMock())
    for name in ("QLineEdit", "QPushButton", "QSpinBox", "QCheckBox", "QPlainTextEdit", "QTimer"):
        setattr(qt, name, type(name, (Signals,), {}))
    names = ("ScriptedLoadableModule", "ScriptedLoadableModuleWidget", "ScriptedLoadableModuleLogic")
    base = types.SimpleNamespace(**dict.fromkeys(names, Base))
    monkeypatch.setitem(sys.modules, "qt", qt)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "slicer", stand_in)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "slicer.ScriptedLoadableModule", base)  # type: ignore[arg-type]
    stand_in.kept = kept  # type: ignore[attr-defined]
    return stand_in


@pytest.fixture
def panel(slicer: Slicer, tmp_path: Path) -> Iterator[Any]:
    widget = importlib.import_module("Vastus").VastusWidget()
    widget.setup()
    widget.program.text = program(tmp_path, WRITES)
    yield widget
    widget.cleanup()


def let_run(panel: Any) -> None:
    limit = time.monotonic() + 20
    while panel.timer.running:
        assert time.monotonic() < limit
        panel.timer.slots["timeout()"]()
        time.sleep(0.02)


def test_a_click_labels_the_volume(panel: Any, slicer: Slicer) -> None:
    panel.apply.slots["clicked(bool)"](True)
    assert not panel.apply.enabled and panel.cancel.enabled and panel.timer.running
    let_run(panel)
    assert slicer.loaded == ["voxels"] and panel.messages.shown[0] == "[1/1] scan.nrrd"
    segmentation = slicer.segmentation
    segmentation.SetName.assert_called_once_with("CT muscles")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode.assert_called_once_with(slicer.volume)
    segmentation.SetAndObserveTransformNodeID.assert_called_once_with("vtkMRMLLinearTransformNode1")
    segmentation.CreateClosedSurfaceRepresentation.assert_not_called()
    assert panel.apply.enabled and not panel.cancel.enabled
    assert not list(Path(slicer.app.temporaryPath).iterdir()), "the patient's images are removed"
    assert slicer.kept["Vastus/program"] == panel.program.text  # type: ignore[attr-defined]


def test_surfaces_are_made_on_request(panel: Any, slicer: Slicer) -> None:
    panel.surfaces.checked = True
    panel.start()
    let_run(panel)
    slicer.segmentation.CreateClosedSurfaceRepresentation.assert_called_once_with()


def test_a_failure_is_shown_and_leaves_nothing(panel: Any, slicer: Slicer, tmp_path: Path) -> None:
    panel.program.text = program(tmp_path, 'echo "vastus: UnsupportedScanError: not in HU." >&2; exit 2')
    panel.start()
    let_run(panel)
    assert panel.messages.shown[-1] == "vastus: UnsupportedScanError: not in HU." and not slicer.loaded
    assert panel.apply.enabled and not list(Path(slicer.app.temporaryPath).iterdir())


def test_cancel_ends_the_run(panel: Any, slicer: Slicer, tmp_path: Path) -> None:
    panel.program.text = program(tmp_path, "exec sleep 60")
    panel.start()
    panel.cancel.slots["clicked(bool)"](True)
    let_run(panel)
    assert panel.messages.shown == ["Cancelled."] and not list(Path(slicer.app.temporaryPath).iterdir())


@pytest.mark.parametrize("what", ["program", "volume", "disk"])
def test_what_is_missing_is_told_before_anything_runs(panel: Any, slicer: Slicer, what: str) -> None:
    if what == "program":
        panel.program.text = ""
    elif what == "volume":
        panel.volume.currentNode.return_value = None
    else:
        slicer.util.saveNode = lambda *_: False
    panel.start()
    assert len(slicer.errors) == 1 and not panel.timer.running and panel.apply.enabled
    assert not list(Path(slicer.app.temporaryPath).iterdir())


def test_closing_the_module_ends_the_program(panel: Any, slicer: Slicer, tmp_path: Path) -> None:
    panel.program.text = program(tmp_path, "exec sleep 60")
    panel.start()
    process = panel.logic._run._process
    panel.cleanup()
    assert process.poll() is not None and not list(Path(slicer.app.temporaryPath).iterdir())


def test_all_scripts_are_installed() -> None:
    listed = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    scripts = {path.relative_to(MODULE).as_posix() for path in MODULE.rglob("*.py")}
    assert {name for name in scripts if name.replace("Vastus.py", "${MODULE_NAME}.py") not in listed} == set()
