"""What ``vastus warm`` draws can be labelled and measured like a scan."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from toy_bundle import write_toy_bundle
from vastus import loops_ahead
from vastus.anatomy import BY_VALUE, Side
from vastus.cli.main import app
from vastus.inference import kernels
from vastus.morphometry import measure_scan
from vastus.morphometry.kernels import tally
from vastus.rehearsal import drawn_legs

EXAMPLE = Path(__file__).parents[1] / "examples/sample_scan.nii.gz"


def test_the_drawn_legs_have_two_sides_and_are_measured() -> None:
    scan, labels = drawn_legs()
    mean_x = {
        side: np.argwhere(np.isin(labels.array, [v for v, label in BY_VALUE.items() if label.side is side]))[
            :, 0
        ].mean()
        for side in (Side.RIGHT, Side.LEFT)
    }
    assert mean_x[Side.RIGHT] > mean_x[Side.LEFT]
    sides = {BY_VALUE[value].side for value in np.unique(labels.array) if value}
    assert sides == {Side.RIGHT, Side.LEFT}
    found = measure_scan(scan, labels, "warm")
    volumes = [row.volume_mm3 for row in found.volume_rows() if row.volume_mm3 is not None]
    assert len(volumes) >= 50 and min(volumes) > 0


@pytest.mark.slow
def test_the_command_compiles_what_a_scan_needs(tmp_path: Path) -> None:
    write_toy_bundle(tmp_path)
    done = CliRunner().invoke(app, ["warm", "--weights", str(tmp_path), "-t", "1"])
    assert done.exit_code == 0, done.output
    assert "Ready" in done.output
    for loop in (kernels.add_float32, kernels.reduce, kernels.restore, tally):
        assert loop.signatures


@pytest.mark.slow
def test_after_the_command_a_scan_compiles_nothing(tmp_path: Path) -> None:
    """In an installation without loops compiled ahead, as where its build could not compile them."""
    loops, package = tmp_path / "loops", Path(loops_ahead.__file__).parent
    shutil.copytree(
        package, tmp_path / "source" / "vastus", ignore=shutil.ignore_patterns("weights", loops_ahead.FOLDER)
    )
    (tmp_path / "source" / "vastus" / "weights").symlink_to(package / "weights")
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path / "source"),
        "NUMBA_CACHE_DIR": str(loops),
        "VASTUS_CACHE_DIR": str(tmp_path / "networks"),
    }

    def run(*arguments: str | Path) -> set[Path]:
        command = [sys.executable, "-m", "vastus", *map(str, arguments)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300, cwd=tmp_path)
        return set(loops.rglob("*.nbc"))

    kept = run("warm")
    assert len(kept) > 30
    assert run("segment", EXAMPLE, "-o", tmp_path / "out") == kept
