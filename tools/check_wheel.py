"""Look into a built wheel: all of the package is inside, its weights are whole, and nothing else is.

python tools/check_wheel.py dist/vastus-0.1.0-cp312-cp312-linux_x86_64.whl
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDED = (
    "vastus/weights/hip-to-knee/configs/vastus.json",
    "vastus/weights/hip-to-knee/models/model.onnx",
    "vastus/annotation/viewer/index.html",
    "vastus/annotation/viewer/vendor/niivue.umd.js",
    "vastus/app/page/index.html",
    "vastus/batch/templates/index.html",
    "vastus/muscle_volume_regression.csv",
    "vastus/py.typed",
)
"""One of each kind of data, named by hand: the list of the source folder alone could be empty."""
_BUNDLE = "/configs/vastus.json"


def problems_of(wheel: Path, package: Path = ROOT / "src" / "vastus") -> list[str]:
    """What is wrong with a wheel; empty if nothing is.

    Args:
        wheel: file.
        package: source folder of the package.
    """
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if not name.endswith("/")}
        wrong = [f"lacks {name}" for name in sorted(({*NEEDED} | source_files(package)) - inside)]
        ours = {name for name in inside if name.startswith("vastus/") and not _is_compiled_loop(name)}
        wrong += [f"holds {name}, which is not in the source" for name in sorted(ours - source_files(package))]
        loops = {name for name in inside if _is_compiled_loop(name)}
        if not loops and not wheel.name.endswith("-any.whl"):
            wrong.append("holds no compiled loops, but is for one processor and one Python")
        information = {name for name in inside - ours if name.partition("/")[0].endswith(".dist-info")}
        wrong += [
            f"holds {name}, which is no part of the package" for name in sorted(inside - ours - loops - information)
        ]
        named = {name.rpartition("/")[2] for name in information}
        wrong += [
            f"lacks {name}" for name in ("LICENSE", "NOTICE", "METADATA", "entry_points.txt") if name not in named
        ]
        for name in sorted(name for name in ours if name.endswith(_BUNDLE)):
            wrong += _changed_weights(archive, name)
    return wrong


def _is_compiled_loop(name: str) -> bool:
    return name.startswith("vastus/compiled_loops/") and name.endswith(".nbc")


def source_files(package: Path) -> set[str]:
    """Files of the package as a wheel calls them, without what Python writes beside them."""
    files = (path for path in package.rglob("*") if path.is_file())
    return {
        path.relative_to(package.parent).as_posix() for path in files if path.suffix not in {".pyc", ".nbi", ".nbc"}
    }


def _changed_weights(archive: zipfile.ZipFile, description: str) -> list[str]:
    """Files of a bundle that lack or have another hash than it names."""
    folder, wrong = description.removesuffix(_BUNDLE), []
    for name, digest in json.loads(archive.read(description))["files"].items():
        try:
            found = hashlib.sha256(archive.read(f"{folder}/{name}")).hexdigest()
        except KeyError:
            wrong.append(f"lacks {folder}/{name}")
            continue
        if found != digest:
            wrong.append(f"{folder}/{name} is not what its bundle says")
    return wrong


def main(arguments: list[str]) -> int:
    """Print what is wrong with each wheel; the exit code says whether anything is."""
    if not arguments:
        print("Which wheel? python tools/check_wheel.py FILE", file=sys.stderr)
        return 2
    wrong = [f"{name}: {problem}" for name in arguments for problem in problems_of(Path(name))]
    print("\n".join(wrong) or f"{len(arguments)} wheel(s): whole, and nothing too much.")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
