"""What `vastus doctor` says of sound and of broken installations."""

import dataclasses
import json
import socket
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vastus.anatomy import BY_KEY, Side
from vastus.cli.main import app
from vastus.doctor import examination, machine, packages, parts, trial
from vastus.doctor.findings import Finding, State, works
from vastus.errors import BundleError
from vastus.inference.predictor import Segmentation
from vastus.synthesis.phantom import LabelledScan, make_phantom
from vastus.volume import Volume

SLOW = machine.Machine("Linux x86_64", "3.11.9", "A processor", {"AVX2": True, "AMX": None}, 2, 8 * 2**30, 9 * 2**30)


def states(found: tuple[Finding, ...]) -> dict[str, State]:
    return {finding.name: finding.state for finding in found}


@pytest.fixture(scope="module")
def body() -> LabelledScan:
    return make_phantom((8.0, 8.0, 12.0), z_range_mm=(60.0, 400.0))


def segmentation(body: LabelledScan, labels: np.ndarray) -> Segmentation:
    return Segmentation(body.labels.with_array(labels), (), {}, 1, "test", confidence=None)


def test_what_lacks_is_named_with_the_command_that_brings_it() -> None:
    found = packages.look_at_packages(
        ["numpy>=1.0", "no-such-thing>=2", 'numpy>=999; extra == "dicom"', 'numpy; extra == "train"', "### odd"]
    )
    assert states(found) == {"packages": State.BROKEN, "extra dicom": State.MISSING, "extra train": State.OK}
    core, _, dicom = found
    assert "no-such-thing" in core.said and "numpy" not in core.said
    assert "numpy>=999 (here " in dicom.said and dicom.remedy == "pip install 'vastus[dicom]'"


def test_requirements_of_other_systems_are_not_missed() -> None:
    found = packages.look_at_packages(['no-such-thing; sys_platform == "nowhere"', "numpy"])
    assert states(found) == {"packages": State.OK}


def test_a_source_folder_without_metadata_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "requires", none)
    (found,) = packages.look_at_packages()
    assert found.state is State.WARNING and "pip install" in found.remedy


def test_every_extra_for_users_is_known_to_the_doctor() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["optional-dependencies"]) - {"test", "docs", "lint"} == set(packages.EXTRAS)


def test_changed_weights_are_broken_and_others_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(folder: Path) -> None:
        raise BundleError("A file of the bundle is damaged.", path=folder)

    assert set(states(parts.look_at_weights()).values()) == {State.OK}
    monkeypatch.setattr(parts, "load_bundle", damaged)
    found = states(parts.look_at_weights())
    assert found["weights hip-to-knee"] is State.BROKEN and found["weights unet"] is State.WARNING
    monkeypatch.setattr(parts, "shipped_bundles", lambda: ())
    assert states(parts.look_at_weights()) == {"weights hip-to-knee": State.BROKEN}


def test_a_machine_without_a_printer_misses_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "find_browser", lambda: None)
    monkeypatch.setattr(parts, "find_spec", lambda name: None)
    found = parts.look_at_printer()
    assert found.state is State.MISSING and works((found,))


def test_small_machines_are_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.loops_ahead, "folder", lambda: None)
    monkeypatch.setattr(machine.compiled, "keeps_compiled_loops", lambda *_: False)
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    small = machine.Machine("Linux x86_64", "3.11.9", "Old", {"AVX2": False}, 1, 2**30, 2**30)
    found = machine.findings_of(small)
    assert {n for n, s in states(found).items() if s is State.WARNING} == {
        "processor",
        "memory",
        "disk",
        "compiled loops",
    }
    assert works(found) and all(f.remedy for f in found if f.state is State.WARNING)
    assert all(f.state is not State.WARNING for f in machine.findings_of(SLOW) if f.name != "compiled loops")
    monkeypatch.setattr(machine.loops_ahead, "folder", lambda: Path("loops"))
    assert states(machine.findings_of(small))["compiled loops"] is State.OK
    monkeypatch.setattr(machine.loops_ahead, "folder", lambda: None)
    monkeypatch.setattr(machine.compiled, "keeps_compiled_loops", lambda *_: True)
    for lie_there, state in ((True, State.WARNING), (False, State.OK)):
        monkeypatch.setattr(machine.loops_ahead, "any_folder", lambda lie_there=lie_there: lie_there)
        assert states(machine.findings_of(small))["compiled loops"] is state


def test_an_old_python_can_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "OLDEST_PYTHON", (99, 0))
    assert not works(machine.findings_of(SLOW))


def test_processor_features_come_from_the_systems_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_linux_flags", lambda: {"avx2", "avx512f", "amx_tile", "amx_bf16", "avx_vnni"})
    assert all(machine.processor_features().values())
    monkeypatch.setattr(machine, "_linux_flags", lambda: {"avx2"})
    assert [name for name, has in machine.processor_features().items() if has] == ["AVX2"]
    monkeypatch.setattr(machine, "_linux_flags", set)
    monkeypatch.setattr(machine, "_numpy_features", lambda: {"AVX2": True, "AVX512F": False})
    assert machine.processor_features() == {
        "AVX2": True,
        "AVX-512": False,
        "VNNI": None,
        "bfloat16": None,
        "AMX": None,
    }


def test_right_labels_pass_and_wrong_ones_are_named(body: LabelledScan) -> None:
    truth = body.labels.array
    assert trial.judge(body, segmentation(body, truth)) == []
    femur = BY_KEY["femur"]
    right, left = femur.label_value(Side.RIGHT), femur.label_value(Side.LEFT)
    swapped = truth.copy()
    swapped[truth == right], swapped[truth == left] = left, right
    assert trial.judge(body, segmentation(body, swapped)) == ["femur right has Dice 0.00", "femur left has Dice 0.00"]
    odd = truth.copy()
    odd[0, 0, 0] = 99
    assert trial.judge(body, segmentation(body, odd)) == ["unknown values [99]"]
    moved = dataclasses.replace(segmentation(body, truth), labels=Volume(truth, np.eye(4)))
    assert trial.judge(body, moved) == ["not on the grid of the scan"]


def test_a_library_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ImportError("libgomp.so.1 of /home/somebody")

    monkeypatch.setattr(trial, "Predictor", fail)
    found, speed = trial.try_out()
    assert found.state is State.BROKEN and speed is None
    assert "ImportError" in found.said and "somebody" not in found.said


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """The findings of the self-test; the rest as it is."""
    found = [Finding("self-test", State.OK, "fine")]
    speed = trial.Speed("OpenVINO on CPU, 2 thread(s)", 0.5, 10, 4.0)
    monkeypatch.setattr(examination, "try_out", lambda threads: (found[0], speed))
    return found


@pytest.mark.usefixtures("examined")
def test_json_is_for_programs_and_names_no_host() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    said = json.loads(result.stdout)
    assert result.exit_code == 0 and said["works"] is True and said["report_version"] == 1
    assert said["speed"]["thigh_s"] == 5.0 and said["machine"]["cores"] >= 1
    assert {"Python", "packages", "weights hip-to-knee", "PDF of the page", "self-test"} <= {
        finding["name"] for finding in said["findings"]
    }
    for private in (socket.gethostname(), str(Path.home()), str(Path.cwd())):
        assert len(private) < 6 or private not in result.stdout


def test_text_ends_with_the_verdict_and_the_exit_code_agrees(examined: list[Finding]) -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0 and result.stdout.rstrip().endswith("Scans can be segmented here.")
    assert "0.50 s a window" in result.stdout and "about 10: 5 s for the network" in result.stdout
    examined[0] = Finding("self-test", State.BROKEN, "wrong", "Report it.")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1 and "BROKEN  self-test: wrong" in result.stdout and "-> Report it." in result.stdout


def test_without_the_test_nothing_is_run(examined: list[Finding]) -> None:
    examined[0] = Finding("self-test", State.BROKEN, "must not be asked")
    said = json.loads(CliRunner().invoke(app, ["doctor", "--json", "--no-test"]).stdout)
    assert said["works"] and said["speed"] is None


@pytest.mark.slow
def test_the_shipped_weights_pass_the_self_test() -> None:
    found, speed = trial.try_out(1)
    assert found.state is State.OK, found.said
    assert speed is not None and speed.window_s > 0 and 4 <= speed.thigh_windows <= 30
