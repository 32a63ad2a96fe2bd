from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from vastus.anatomy import BY_KEY, STRUCTURES, Side
from vastus.errors import GeometryError, MissingInputError, SettingsError
from vastus.evaluation.files import as_markdown, as_record, write_evaluation
from vastus.evaluation.runner import Rater, RunSettings, case_name, evaluate, label_files
from vastus.io.labels import write_labels
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three cases: reference, a model that is off by a voxel, and one that is off by two and missed a muscle."""
    root = tmp_path_factory.mktemp("evaluation")
    for name in ("reference", "good", "bad"):
        (root / name).mkdir()
    labels = make_phantom((9.0, 8.0, 12.0), noise_hu=0.0).labels
    for case in range(3):
        affine = labels.affine.copy()
        affine[:3, :3] *= 1 + 0.05 * case
        bad = np.roll(labels.array, 2, axis=1)
        if case == 1:
            bad[bad == BY_KEY["piriformis"].label_value(Side.LEFT)] = 0
        arrays = {"reference": labels.array, "good": np.roll(labels.array, 1, axis=0), "bad": bad}
        for name, array in arrays.items():
            write_labels(Volume(np.asfortranarray(array), affine), root / name / f"case_{case}.nii.gz")
    return root


@pytest.fixture(scope="module")
def evaluation(folders):
    raters = (Rater("good", folders / "good"), Rater("bad", folders / "bad"))
    return evaluate(raters, folders / "reference", RunSettings())


def test_folders_are_matched_by_name_and_scored(evaluation):
    assert evaluation.models == ("good", "bad")
    assert evaluation.case_count == 3
    assert len(evaluation.scores) == 3 * 2 * 2 * len(STRUCTURES)
    missed = evaluation.scores[evaluation.scores["presence"] == "missed"]
    assert list(missed[["subject", "model", "structure"]].iloc[0]) == ["case_1", "bad", "piriformis"]
    mean = evaluation.scores.groupby("model")["dice"].mean()
    assert mean["good"] > mean["bad"]


def test_files_of_other_axis_order_need_no_resampling(folders, tmp_path):
    from vastus.io.labels import read_labels

    original = read_labels(folders / "good" / "case_0.nii.gz")
    affine = original.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (original.shape[0] - 1)
    affine[:3, 0] *= -1
    turned = Volume(np.asfortranarray(original.array[::-1].transpose(2, 0, 1)), affine[:, [2, 0, 1, 3]])
    write_labels(turned, tmp_path / "turned.nii.gz")
    reference = folders / "reference" / "case_0.nii.gz"
    straight = evaluate((Rater("a", folders / "good" / "case_0.nii.gz"),), reference, RunSettings())
    other = evaluate((Rater("a", tmp_path / "turned.nii.gz"),), reference, RunSettings())
    pd.testing.assert_frame_equal(straight.scores, other.scores)


def test_different_grids_are_refused_with_both_names_unless_resampled(folders, tmp_path):
    fine = make_phantom((4.5, 4.0, 6.0), noise_hu=0.0).labels
    write_labels(fine, tmp_path / "fine.nii.gz")
    reference = folders / "reference" / "case_0.nii.gz"
    rater = (Rater("fine", tmp_path / "fine.nii.gz"),)
    with pytest.raises(GeometryError) as refused:
        evaluate(rater, reference, RunSettings())
    assert "fine.nii.gz" in str(refused.value)
    assert "case_0.nii.gz" in str(refused.value)
    found = evaluate(rater, reference, RunSettings(resample=True))
    assert found.scores["dice"].mean() > 0.7


def test_a_missing_prediction_is_refused_by_name(folders, tmp_path):
    (tmp_path / "case_0.nii.gz").write_bytes((folders / "good" / "case_0.nii.gz").read_bytes())
    with pytest.raises(MissingInputError, match="case_1, case_2"):
        evaluate((Rater("good", tmp_path),), folders / "reference", RunSettings())


def test_inputs_that_do_not_fit_are_refused(folders, tmp_path):
    with pytest.raises(MissingInputError, match="no label maps"):
        label_files(tmp_path)
    with pytest.raises(MissingInputError, match="files only or folders only"):
        evaluate((Rater("x", folders / "good" / "case_0.nii.gz"),), folders / "reference", RunSettings())
    for names in (("a", "a"), ("reference", "b")):
        with pytest.raises(SettingsError, match="names"):
            evaluate(tuple(Rater(n, folders / "good") for n in names), folders / "reference", RunSettings())
    (tmp_path / "x.nii").touch()
    (tmp_path / "x.nii.gz").touch()
    with pytest.raises(SettingsError, match="'x'"):
        label_files(tmp_path)


def test_results_of_vastus_segment_are_found_in_their_folders(tmp_path):
    (tmp_path / "case_7").mkdir()
    (tmp_path / "case_7" / "labels.nii.gz").touch()
    (tmp_path / "case_8.nrrd").touch()
    assert sorted(label_files(tmp_path)) == ["case_7", "case_8"]
    assert case_name(tmp_path / "a.b.nii.gz") == "a.b"


def test_everything_is_written_and_agrees(evaluation, tmp_path):
    written = write_evaluation(evaluation, tmp_path / "out")
    names = {path.name for path in written}
    assert {"scores.csv", "summary.csv", "agreement.csv", "comparison.csv", "evaluation.json", "summary.md"} <= names
    for figure in ("boxplot_dice", "boxplot_assd_mm", "boxplot_hd95_mm", "bland_altman_1", "volume_correlation"):
        assert {f"{figure}.png", f"{figure}.svg"} <= names
    assert all(path.stat().st_size > 100 for path in written)
    assert not list((tmp_path / "out").rglob(".vastus-*"))
    table = pd.read_csv(tmp_path / "out" / "scores.csv")
    np.testing.assert_allclose(table["dice"], evaluation.scores["dice"], rtol=1e-6)
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert record["cases"] == 3
    assert len(record["scores"]) == len(table)


def test_json_holds_no_nan(evaluation):
    json.dumps(as_record(evaluation), allow_nan=False)


def test_the_markdown_table_states_what_was_missed(evaluation):
    text = as_markdown(evaluation)
    bad = text[text.index("## bad") :]
    piriformis = next(line for line in bad.splitlines() if line.startswith("| Piriformis"))
    assert piriformis.endswith("1 / 0 / 0 |")
    assert "Wilcoxon" in text
    header = next(line for line in text.splitlines() if line.startswith("| Structure"))
    body = [line for line in bad.splitlines()[2:40] if line.startswith("|")]
    assert {line.count("|") for line in body} == {header.count("|")}


def test_one_case_of_one_model_is_enough_for_every_figure(folders, tmp_path):
    one = evaluate(
        (Rater("m", folders / "good" / "case_0.nii.gz"),), folders / "reference" / "case_0.nii.gz", RunSettings()
    )
    names = {path.name for path in write_evaluation(one, tmp_path)}
    assert "bland_altman.png" in names
    assert "comparison.csv" not in names
