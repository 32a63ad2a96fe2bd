from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from toy_bundle import write_painted_scan, write_toy_bundle
from vastus.cli.main import app
from vastus.errors import MissingExtraError, SettingsError
from vastus.formats.table import OUTPUT_FORMATS, PLAIN_FORMATS, has_dicom
from vastus.io.labels import read_labels
from vastus.io.output_format import OutputFormat, choose_formats, in_words
from vastus.io.tables import FURTHER_FILES


def test_the_help_names_every_format() -> None:
    shown = " ".join(CliRunner().invoke(app, ["segment", "--help"]).output.split())
    for entry in OUTPUT_FORMATS:
        assert entry.name in shown and entry.summary.split(",")[0] in shown


def test_names_are_unique_and_every_one_can_be_chosen_alone() -> None:
    names = [entry.name for entry in OUTPUT_FORMATS]
    assert len(set(names)) == len(names)
    assert [choose_formats(name, OUTPUT_FORMATS) for name in names] == [(entry,) for entry in OUTPUT_FORMATS]


def test_a_new_format_is_one_entry() -> None:
    made = OutputFormat("txt", "plain text", ("a.txt",), lambda _: None)
    table = (*OUTPUT_FORMATS, made)
    assert choose_formats("xlsx, TXT", table)[1] is made
    assert in_words(table).endswith("txt (plain text)")


def test_a_new_run_removes_what_an_older_one_was_asked_for() -> None:
    assert {name for entry in PLAIN_FORMATS for name in entry.files} == set(FURTHER_FILES)


def test_what_is_unknown_or_excluded_or_not_installed_is_refused() -> None:
    with pytest.raises(SettingsError, match="docx"):
        choose_formats("xlsx,docx", OUTPUT_FORMATS)
    with pytest.raises(SettingsError, match="not both"):
        choose_formats("dicom-seg,dicom-labelmap", OUTPUT_FORMATS)
    lacking = OutputFormat("x", "needs more", (), lambda _: None, needs=("This", ("no_such_module_at_all",)))
    with pytest.raises(MissingExtraError):
        choose_formats("x", (lacking,))


def test_only_dicom_results_need_a_dicom_scan() -> None:
    assert not has_dicom(choose_formats("xlsx,seg.nrrd", OUTPUT_FORMATS))
    assert has_dicom(choose_formats("xlsx,sr", OUTPUT_FORMATS))


def test_plain_formats_can_not_be_sent(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="DICOM"):
        command = ["segment", str(tmp_path), "-o", str(tmp_path / "o"), "-f", "xlsx", "--send-to", "dicom://a:1"]
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_a_nifti_scan_gets_them_and_an_older_run_leaves_none(tmp_path: Path) -> None:
    write_painted_scan(tmp_path / "ct.nii.gz")
    weights = write_toy_bundle(tmp_path / "weights").folder
    command = ["segment", str(tmp_path / "ct.nii.gz"), "-o", str(tmp_path / "out"), "--weights", str(weights)]
    first = CliRunner().invoke(app, [*command, "-t", "1", "-f", "seg.nrrd,xlsx"], catch_exceptions=False)
    assert first.exit_code == 0, first.output
    in_slicer = read_labels(tmp_path / "out" / "labels.seg.nrrd")
    kept = read_labels(tmp_path / "out" / "labels.nii.gz")
    assert in_slicer.same_grid(kept)
    np.testing.assert_array_equal(in_slicer.array, kept.array)
    assert (tmp_path / "out" / "results.xlsx").is_file()
    again = CliRunner().invoke(app, [*command, "-t", "1"], catch_exceptions=False)
    assert again.exit_code == 0, again.output
    assert not {"labels.seg.nrrd", "results.xlsx"} & {path.name for path in (tmp_path / "out").iterdir()}
