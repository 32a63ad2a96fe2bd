"""What the look into a wheel finds."""

import json
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest

from programs import load_program

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    return load_program(ROOT / "tools" / "check_wheel.py")


@pytest.fixture
def parts(checker: ModuleType, tmp_path: Path) -> dict[str, bytes]:
    """What a right wheel of a small package holds; the package lies in ``src/vastus``."""
    inside = dict.fromkeys(checker.NEEDED, b"x") | {"vastus/__init__.py": b""}
    inside["vastus/weights/hip-to-knee/configs/vastus.json"] = json.dumps(
        {"files": {"models/model.onnx": sha256(b"x").hexdigest()}}
    ).encode()
    for name, content in inside.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "src" / "vastus" / "left.pyc").write_bytes(b"")
    for name in ("METADATA", "entry_points.txt", "licenses/LICENSE", "licenses/NOTICE"):
        inside[f"vastus-1.dist-info/{name}"] = b"x"
    return inside


def look(checker: ModuleType, folder: Path, parts: dict[str, bytes]) -> list[str]:
    wheel = folder / "vastus-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return list(checker.problems_of(wheel, folder / "src" / "vastus"))


def test_a_whole_wheel_is_right(checker: ModuleType, tmp_path: Path, parts: dict[str, bytes]) -> None:
    assert look(checker, tmp_path, parts) == []


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ("vastus/annotation/viewer/index.html", "lacks vastus/annotation/viewer/index.html"),
        ("vastus/__init__.py", "lacks vastus/__init__.py"),
        ("vastus-1.dist-info/licenses/NOTICE", "lacks NOTICE"),
    ],
)
def test_what_lacks_is_named(
    checker: ModuleType, tmp_path: Path, parts: dict[str, bytes], lacking: str, said: str
) -> None:
    del parts[lacking]
    assert look(checker, tmp_path, parts) == [said]


def test_tests_and_strange_files_are_too_much(checker: ModuleType, tmp_path: Path, parts: dict[str, bytes]) -> None:
    found = look(checker, tmp_path, parts | {"tests/test_a.py": b"", "vastus/notes.txt": b""})
    assert found == [
        "holds vastus/notes.txt, which is not in the source",
        "holds tests/test_a.py, which is no part of the package",
    ]


def test_a_wheel_of_one_processor_holds_loops_and_others_need_none(
    checker: ModuleType, tmp_path: Path, parts: dict[str, bytes]
) -> None:
    loop = {"vastus/compiled_loops/cpython-312-generic-01/vastus.kernels.sum.02.nbc": b"x"}
    assert look(checker, tmp_path, parts | loop) == []
    wheel = next(tmp_path.glob("*.whl")).rename(tmp_path / "vastus-1-cp312-cp312-linux_x86_64.whl")
    assert checker.problems_of(wheel, tmp_path / "src" / "vastus") == []
    look(checker, tmp_path, parts)
    wheel = next(tmp_path.glob("*any.whl")).rename(wheel)
    assert checker.problems_of(wheel, tmp_path / "src" / "vastus") == [
        "holds no compiled loops, but is for one processor and one Python"
    ]


def test_changed_weights_are_found(checker: ModuleType, tmp_path: Path, parts: dict[str, bytes]) -> None:
    parts["vastus/weights/hip-to-knee/models/model.onnx"] = b"pointer to another place"
    assert look(checker, tmp_path, parts) == [
        "vastus/weights/hip-to-knee/models/model.onnx is not what its bundle says"
    ]


def test_the_list_of_the_source_holds_what_is_named_by_hand(checker: ModuleType) -> None:
    assert set(checker.NEEDED) <= checker.source_files(ROOT / "src" / "vastus")


@pytest.mark.slow
def test_the_wheel_of_this_checkout_is_whole(checker: ModuleType, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    subprocess.run([*command, str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert checker.problems_of(wheel) == []
