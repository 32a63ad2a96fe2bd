"""An invented 30th structure: one row in the anatomy table takes it through the whole house."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vastus.synthesis.atlas import Atlas, save_atlas

TESTS = Path(__file__).parents[1]


def walk(tmp_path: Path, atlas: Path, decision: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TESTS / "walk_new_structure.py"), str(tmp_path), str(atlas), decision]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_one_row_takes_a_structure_from_synthesis_to_dicom_and_the_viewer(atlas: Atlas, tmp_path: Path) -> None:
    save_atlas(atlas, tmp_path / "atlas.npz")
    done = walk(tmp_path, tmp_path / "atlas.npz", "private")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("walked\n")


def test_a_structure_whose_dicom_code_nobody_decided_on_is_refused_by_name(tmp_path: Path) -> None:
    done = walk(tmp_path, Path("none"), "undecided")
    assert done.returncode != 0
    assert "OutputError" in done.stderr
    assert "Nobody has decided which DICOM code Gemellus superior has." in done.stderr
    assert not list((tmp_path / "objects").rglob("*.dcm"))


def test_the_recipe_names_the_one_file_that_the_walk_changes() -> None:
    guide = (TESTS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipe = guide.partition("### Add a structure")[2].partition("\n### ")[0]
    assert set(re.findall(r"`(src/[^`]+)`", recipe)) == {"src/vastus/anatomy.py"}
