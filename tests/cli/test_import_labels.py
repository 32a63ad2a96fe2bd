from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from foreign_labels import numbered, save, save_scan
from vastus.cli.main import app
from vastus.errors import SettingsError

runner = CliRunner()


def test_a_folder_is_brought_in_and_told_of(tmp_path: Path) -> None:
    save(numbered({"femur_left": 1, "spleen": 2, "quadriceps_femoris_left": 3}), tmp_path / "a_labels.nii.gz")
    save_scan(tmp_path / "a.nii.gz")
    (tmp_path / "names.csv").write_text("value,name\n1,left femur\n2,spleen\n3,left quadriceps\n")
    arguments = ["import-labels", str(tmp_path / "a_labels.nii.gz"), "--images", str(tmp_path / "a.nii.gz")]
    result = runner.invoke(app, [*arguments, "--names", str(tmp_path / "names.csv"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("vastus import-labels: looking for labels and scans\n1 of 1: a\n")
    assert "Did not map, so 255 (nobody can tell): spleen 0 mL" in result.output
    assert (
        "quadriceps_left: one of rectus_femoris, vastus_lateralis, vastus_intermedius, vastus_medialis" in result.output
    )
    assert (tmp_path / "out" / "dataset.json").is_file()


def test_a_failed_case_sets_the_exit_code(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(numbered({"femur_left": 75}), tmp_path / "labels" / f"{name}.nii.gz")
    save_scan(tmp_path / "scans" / "a.nii.gz")
    arguments = ["import-labels", str(tmp_path / "labels"), "--images", str(tmp_path / "scans")]
    result = runner.invoke(app, [*arguments, "--names", "totalsegmentator-total", "-o", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "1 of 2 cases could not be brought in: b" in result.output
    assert (tmp_path / "out" / "labelsTr" / "a.nii.gz").is_file()


def test_the_shipped_tables_are_listed_with_their_sources() -> None:
    result = runner.invoke(app, ["import-labels", "--list-names"])
    assert result.exit_code == 0
    (line,) = [line for line in result.output.splitlines() if line.startswith("totalsegmentator-total ")]
    assert "117 names" in line and "github.com/wasserth/TotalSegmentator" in line


def test_without_labels_it_says_what_it_needs() -> None:
    result = runner.invoke(app, ["import-labels"])
    assert isinstance(result.exception, SettingsError)


def test_neither_a_file_nor_a_shipped_table(tmp_path: Path) -> None:
    labels = save(numbered({"femur_left": 1}), tmp_path / "a.nii.gz")
    result = runner.invoke(app, ["import-labels", str(labels), "--names", "mine", "-o", str(tmp_path / "out")])
    assert isinstance(result.exception, SettingsError) and "totalsegmentator-total" in str(result.exception)
