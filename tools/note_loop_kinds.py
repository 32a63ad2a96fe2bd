"""Write ``src/vastus/loop_kinds.json``: which loops the commands use, and for which types of arguments.

Runs the commands on scans, with an empty folder for compiled loops, and reads from it what was compiled. Run it after a
loop or its arguments have changed (a test says when), on a processor with bfloat16:

    python tools/note_loop_kinds.py examples/sample_scan.nii.gz MORE_SCANS
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vastus.loops_ahead import FOLDER, KINDS, PACKAGE

SAMPLE = Path(__file__).parents[1] / "examples" / "sample_scan.nii.gz"
LEFT_OUT = {"vastus.synthesis"}
"""Rooms whose loops are compiled when they are used: they take as long to compile as all others, and few need them."""
PRECISIONS = ("fp32", "int8", "bf16")


def commands(scans: list[Path], out: Path) -> Iterator[list[str]]:
    """List what is run: each precision, and all that is done with one scan and its labels."""
    yield ["-m", "vastus", "warm"]
    scans = [*scans, _with_fractions(scans[0], out / "fractions.nii.gz")]
    for number, scan in enumerate(scans):
        folder = out / str(number)
        yield ["-m", "vastus", "segment", str(scan), "-o", str(folder)]
        labels = str(folder / "labels.nii.gz")
        yield ["-m", "vastus", "measure", str(scan), labels, "-o", str(out / f"measures{number}")]
        yield ["-m", "vastus", "evaluate", labels, labels, "-o", str(out / f"agreement{number}")]
    for precision in PRECISIONS:
        yield ["-m", "vastus", "segment", str(scans[0]), "-o", str(out / precision), "--precision", precision]
    labels = out / "0" / "labels.nii.gz"
    moved = _moved(labels, out / "moved.nii.gz")
    yield ["-m", "vastus", "evaluate", str(labels), str(moved), "-o", str(out / "agreement")]


def _with_fractions(scan: Path, path: Path) -> Path:
    """Copy a scan with values that are no whole numbers, as a slope of the file makes them."""
    import nibabel as nib
    import numpy as np

    image = nib.load(scan)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) + np.float32(0.25), image.affine), path)
    return path


def _moved(labels: Path, path: Path) -> Path:
    """Copy labels, all in another place: distances that are long are found by loops of their own."""
    import nibabel as nib
    import numpy as np

    image = nib.load(labels)
    values = np.roll(np.asanyarray(image.dataobj), image.shape[0] // 4, axis=0)
    nib.save(nib.Nifti1Image(values, image.affine, image.header), path)
    return path


def kinds() -> dict[str, dict[str, list[str]]]:
    """Read from the folder of kept loops of this process which kinds it holds."""
    from importlib import import_module

    noted: dict[str, dict[str, list[str]]] = {}
    for path in sorted(PACKAGE.rglob("*kernels.py")):
        module = ".".join(["vastus", *path.relative_to(PACKAGE).with_suffix("").parts])
        if module.rpartition(".")[0] in LEFT_OUT:
            continue
        loops = {}
        for name, loop in vars(import_module(module)).items():
            if hasattr(loop, "_cache") and loop.py_func.__module__ == module:
                found = sorted({", ".join(map(_written, key[0])) for key in loop._cache._cache_file._load_index()})
                if found:
                    loops[name] = found
        if loops:
            noted[module] = loops
    return noted


def _written(kind: Any) -> str:
    """Write one of numba's types in a way that numba reads again."""
    from numba import types

    if isinstance(kind, types.UniTuple):
        return f"UniTuple({_written(kind.dtype)}, {kind.count})"
    if isinstance(kind, types.Tuple):
        return f"Tuple(({', '.join(map(_written, kind.types))}))"
    return "boolean" if kind == types.boolean else repr(kind)


def main(scans: list[str]) -> None:
    """Run the commands with a copy of the package, which has no loops ready."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "source"
        shutil.copytree(PACKAGE, copy / "vastus", ignore=shutil.ignore_patterns(FOLDER, "__pycache__"))
        environment = os.environ | {
            "PYTHONPATH": str(copy),
            "NUMBA_CACHE_DIR": str(Path(name) / "loops"),
            "VASTUS_CACHE_DIR": str(Path(name) / "networks"),
        }
        for command in commands([Path(scan).resolve() for scan in scans], Path(name)):
            print(*command, flush=True)
            subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True, cwd=name)
        read = [sys.executable, __file__, "--read"]
        text = subprocess.run(read, env=environment, check=True, stdout=subprocess.PIPE, text=True, cwd=name).stdout
    KINDS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--read"]:
        print(json.dumps(kinds(), indent=1))
    else:
        main(sys.argv[1:] or [str(SAMPLE)])
