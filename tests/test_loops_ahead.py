"""Loops compiled while Vastus is installed: they are used where they fit, and only there."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from vastus import compile_ahead, loops_ahead

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "sample_scan.nii.gz"
NOTES = {
    "vastus.report.kernels": {
        "look_up": json.loads(loops_ahead.KINDS.read_text(encoding="utf-8"))["vastus.report.kernels"]["look_up"]
    }
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, without weights and compiled loops, that compiles one loop ahead."""
    copy = tmp_path / "source" / "vastus"
    left_out = shutil.ignore_patterns("weights", "compiled_loops", "__pycache__", "viewer", "page")
    shutil.copytree(loops_ahead.PACKAGE, copy, ignore=left_out)
    (copy / loops_ahead.KINDS.name).write_text(json.dumps(NOTES))
    return copy


def run(package: Path, text: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(package.parent / "kept"), "PYTHONDONTWRITEBYTECODE": "1"}
    start = f"import sys; sys.path.insert(0, {str(package.parent)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(text)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def compiled(package: Path, before: str = "") -> list[Path]:
    done = run(package, f"{before}\nfrom vastus.compile_ahead import compile_ahead; compile_ahead()")
    assert done.returncode == 0, done.stderr
    return sorted((package / loops_ahead.FOLDER).iterdir())


LOOK_UP = """
    import numpy as np
    from vastus.report import kernels
    hu = np.arange(-8, 8, dtype=np.int16).reshape(4, 4)[1:3, 1:3]
    grey = np.zeros(hu.shape, np.uint8)
    kernels.look_up(hu, np.arange(2**16).astype(np.uint8), grey)
    print(grey.tolist(), sum(kernels.look_up.stats.cache_misses.values()))
"""
RIGHT = "[[253, 254], [1, 2]]"


def test_a_loop_compiled_ahead_is_used_and_nothing_is_compiled_or_kept(package: Path) -> None:
    (folder,) = compiled(package)
    assert folder.name.startswith(f"{loops_ahead.python_tag()}-{loops_ahead.processor_level()}-")
    done = run(package, LOOK_UP + "    from vastus.loops import is_kept; print(is_kept(kernels.look_up))")
    assert done.stdout.split("\n")[:2] == [f"{RIGHT} 0", "True"], done.stderr
    assert not list((package.parent / "kept").rglob("*.nbc"))


def test_without_it_the_loop_is_compiled_when_it_is_used(package: Path) -> None:
    done = run(package, LOOK_UP)
    assert done.stdout.strip() == f"{RIGHT} 1", done.stderr
    assert len(list((package.parent / "kept").rglob("*.nbc"))) == 1


def test_a_loop_whose_source_has_changed_is_compiled_anew(package: Path) -> None:
    (before,) = compiled(package)
    source = package / "report" / "kernels.py"
    source.write_text(source.read_text().replace("grey[row, column] = grey_of", "grey[row, column] = 1 + grey_of"))
    assert run(package, LOOK_UP).stdout.strip() == "[[254, 255], [2, 3]] 1"
    assert set(compiled(package)) > {before}  # another environment may use it
    assert run(package, LOOK_UP).stdout.strip() == "[[254, 255], [2, 3]] 0"


def test_a_damaged_file_is_passed_over(package: Path) -> None:
    (folder,) = compiled(package)
    for code in folder.glob("*.nbc"):
        code.write_bytes(code.read_bytes()[:100])
    assert run(package, LOOK_UP).stdout.strip() == f"{RIGHT} 1"


def test_what_lies_there_is_not_compiled_again_and_others_stay_for_a_month(package: Path) -> None:
    (folder,) = compiled(package)
    other, old, left = (
        folder.with_name(name) for name in ("cpython-311-generic-01", "cpython-39-generic-02", "making-x")
    )
    for path in (other, old, left):
        path.mkdir()
    for path in (old, left):
        os.utime(path, (0, 0))
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert compiled(package) == sorted([folder, other])
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times


def test_a_folder_that_we_may_not_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops_ahead, "PACKAGE", tmp_path)
    monkeypatch.setattr(loops_ahead, "folder_name", lambda: "cpython-311-generic-01")
    ready = tmp_path / loops_ahead.FOLDER / "cpython-311-generic-01"
    ready.mkdir(parents=True)
    assert loops_ahead.folder.__wrapped__() == ready
    monkeypatch.setattr("vastus.loops_ahead.os.access", lambda *_: False)
    assert loops_ahead.folder.__wrapped__() is None


@pytest.mark.skipif(sys.platform == "win32", reason="rights of folders")
def test_loops_can_be_read_by_those_who_can_read_the_package(package: Path) -> None:
    package.chmod(0o755)
    (folder,) = compiled(package, "import os; os.umask(0o077)")
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_what_the_builder_has_set_for_numba_does_not_reach_the_loops(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    monkeypatch.setenv("NUMBA_OPT", "0")
    (folder,) = compiled(package)
    codes = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.undo()
    shutil.rmtree(folder)
    (folder,) = compiled(package)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == codes


def test_without_the_compiler_every_loop_counts_as_kept(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    text = "from vastus.report import kernels; from vastus.loops import is_kept; print(is_kept(kernels.look_up))"
    assert run(package, text).stdout.strip() == "True"


def test_a_loop_that_cant_be_compiled_leaves_nothing_behind(package: Path) -> None:
    (package / loops_ahead.KINDS.name).write_text(json.dumps({"vastus.report.kernels": {"look_up": ["int64"]}}))
    done = run(package, "from vastus.compile_ahead import compile_ahead; compile_ahead()")
    assert "CalledProcessError" in done.stderr
    assert not list((package / loops_ahead.FOLDER).iterdir())


@pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="levels of x86-64")
@pytest.mark.parametrize(("lacks", "level"), [("avx512f", "x86-64-v3"), ("avx2", "generic"), ("bmi2", "generic")])
def test_code_for_avx2_is_made_and_used_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, lacks: str, level: str
) -> None:
    import llvmlite.binding as llvm

    features = dict.fromkeys(loops_ahead._AVX2_FEATURES, True) | {lacks: False}
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: features)
    assert loops_ahead.processor_level.__wrapped__() == level


def listed() -> list[tuple[str, str, str]]:
    notes: dict[str, dict[str, list[str]]] = json.loads(loops_ahead.KINDS.read_text(encoding="utf-8"))
    return [(module, name, kind) for module, loops in notes.items() for name, kinds in loops.items() for kind in kinds]


def test_the_listed_loops_exist_and_take_as_many_arguments() -> None:
    from numba.core.sigutils import normalize_signature

    assert len(listed()) > 40
    for module, name, kind in listed():
        loop: Any = getattr(import_module(module), name)
        types, _ = normalize_signature(f"({kind},)")
        assert len(types) == loop.py_func.__code__.co_argcount, (module, name)


def test_modules_of_loops_import_nothing_that_a_build_does_not_have() -> None:
    allowed = {"__future__", "typing", "numpy", "numpy.typing", "numba", "vastus.loops"}
    paths = sorted(loops_ahead.PACKAGE.rglob("*kernels.py"))
    assert len(paths) >= 9
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert all(n in allowed or str(n).endswith("kernels") for n in names), (path.name, names)


def test_loops_lie_in_kernels_alone() -> None:
    """Their change is what makes compiled ones stale."""
    outside = [
        path.name
        for path in loops_ahead.PACKAGE.rglob("*.py")
        if "import njit" in path.read_text(encoding="utf-8") and not path.name.endswith("kernels.py")
    ]
    assert outside == []
    assert set(loops_ahead.PACKAGE.rglob("*kernels.py")) <= set(loops_ahead.sources())


@pytest.mark.slow
@pytest.mark.skipif(loops_ahead.folder() is None, reason="Vastus was installed without loops compiled ahead")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_first_scan_of_an_installation_compiles_nothing(tmp_path: Path, precision: str) -> None:
    """Else ``tools/note_loop_kinds.py`` is to be run again."""
    loops = tmp_path / "loops"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(loops), "VASTUS_CACHE_DIR": str(tmp_path / "networks")}

    def command(*arguments: str | Path) -> None:
        line = [sys.executable, "-m", "vastus", *map(str, arguments)]
        subprocess.run(line, env=environment, check=True, capture_output=True, timeout=300)

    command("segment", EXAMPLE, "-o", tmp_path / "out", "--precision", precision)
    labels = tmp_path / "out" / "labels.nii.gz"
    command("measure", EXAMPLE, labels, "-o", tmp_path / "measures")
    image: Any = nib.load(labels)
    moved = np.roll(np.asanyarray(image.dataobj), image.shape[0] // 4, axis=0)  # distances are long
    nib.save(nib.Nifti1Image(moved, image.affine, image.header), tmp_path / "moved.nii.gz")
    command("evaluate", labels, tmp_path / "moved.nii.gz", "-o", tmp_path / "agreement")
    assert [path.name for path in loops.rglob("*.nbc")] == []


def test_a_build_that_fails_is_told_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``hatch_build.py`` sees it: no error leaves it."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said: list[str] = []

    class App:
        def display_warning(self, text: str) -> None:
            said.append(text)

    def fail() -> Path:
        raise OSError("no room")

    monkeypatch.setattr(compile_ahead, "compile_ahead", fail)
    hook = object.__new__(module.CompileLoops)
    monkeypatch.setattr(module.CompileLoops, "root", property(lambda _: str(ROOT)))
    monkeypatch.setattr(module.CompileLoops, "app", property(lambda _: App()))
    data: dict[str, Any] = {"artifacts": [], "pure_python": True}
    hook.initialize("standard", data)
    assert data == {"artifacts": [], "pure_python": True}
    assert "no room" in said[0]
    error = subprocess.CalledProcessError(1, ["worker"], stderr="Traceback\nValueError: no disk")
    monkeypatch.setattr(compile_ahead, "compile_ahead", lambda: (_ for _ in ()).throw(error))
    hook.initialize("standard", data)
    assert said[1] == "The loops are not compiled ahead: ValueError: no disk"
