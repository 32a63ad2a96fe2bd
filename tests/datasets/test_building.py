import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vastus.anatomy import UNLABELLED, ThighLevel
from vastus.cli.main import app
from vastus.datasets.building import BuildOptions, build_dataset
from vastus.datasets.layout import INDEX_FILE, index_text, read_open_set
from vastus.datasets.matching import on_grid
from vastus.datasets.split import Split
from vastus.errors import GeometryError, MissingInputError, OutputError, SettingsError
from vastus.evaluation.runner import Rater, RunSettings, evaluate
from vastus.io.atomic import write_text
from vastus.io.labels import read_labels, write_labels
from vastus.io.scans import read_scan
from vastus.refinement.outline import Outline, Strokes
from vastus.refinement.outline_files import write_outline
from vastus.synthesis.dataset import write_image
from vastus.training.dataset import check_dataset, read_dataset
from vastus.volume import Volume, from_ras, to_ras

LPS_MOVED = np.diag([1.0, 1.0, 1.3, 1.0])


def test_labels_and_cts_are_put_together_for_training(made, tmp_path: Path) -> None:
    built = build_dataset(made.source, made.download, tmp_path / "out", BuildOptions(redraw=True))
    assert (built.scans, built.slices, built.propagated, built.missing) == (("STS_001",), 2, 0, ())
    assert not (tmp_path / "out" / "propagated.csv").exists()
    ct = read_scan(tmp_path / "out" / "imagesTr" / "STS_001_0000.nii.gz").volume
    assert np.array_equal(ct.array, made.cts["STS_001"].array) and ct.same_grid(made.cts["STS_001"])
    labels = read_labels(tmp_path / "out" / "labelsTr" / "STS_001.nii.gz", partly=True)
    assert labels.same_grid(ct)
    assert set(np.unique(labels.array)) == {0, 1, 9, UNLABELLED}
    assert check_dataset(tmp_path / "out").problems == ()
    assert read_dataset(tmp_path / "out").ignore_value == UNLABELLED
    assert (tmp_path / "out" / "index.csv").read_text().count("STS_001") == 2


def test_the_test_split_is_scored_with_one_command(made, tmp_path: Path) -> None:
    build_dataset(made.source, made.download, tmp_path / "out", BuildOptions(Split.TEST))
    truth = read_labels(tmp_path / "out" / "labelsTr" / "STS_004.nii.gz", partly=True)
    place = tmp_path / "predictions" / "STS_004_0000"
    place.mkdir(parents=True)
    # A prediction with sides, as the network gives it.
    write_labels(
        truth.with_array(np.where(np.isin(truth.array, (1, 9)), truth.array + 200, 0).astype(np.uint8)),
        place / "labels.nii.gz",
    )
    result = evaluate((Rater("net", tmp_path / "predictions"),), tmp_path / "out" / "labelsTr", RunSettings())
    assert dict(result.drawn_slices) == {"STS_004": (1, 4)}
    assert len(result.sections) == 4 and (result.sections["dice"] == 1).all()


def test_cts_are_found_by_their_voxels_under_any_name_crop_order_and_type(made, tmp_path: Path) -> None:
    ct = to_ras(made.cts["STS_001"])
    wide = np.pad(ct.array.astype(np.float32), ((4, 3), (2, 5), (1, 0)), constant_values=-1000)
    affine = ct.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ (4, 2, 1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_image(Volume(wide, affine), elsewhere / "patient-one.nii.gz")
    built = build_dataset(made.source, elsewhere, tmp_path / "out", BuildOptions())
    found = read_scan(tmp_path / "out" / "imagesTr" / "STS_001_0000.nii.gz").volume
    assert built.scans == ("STS_001",)
    assert np.array_equal(found.array, made.cts["STS_001"].array)


def test_a_ct_of_other_voxels_is_not_taken_and_nothing_is_left_behind(made, tmp_path: Path) -> None:
    path = made.download / "deep" / "STS_001_CT.nii.gz"
    ct = made.cts["STS_001"]
    changed = ct.array.copy()
    changed[5, 5, 2] += 1
    write_image(ct.with_array(changed), path)
    with pytest.raises(MissingInputError, match=r"STS_001 \(STS_001_CT.nii.gz\)"):
        build_dataset(made.source, made.download, tmp_path / "out", BuildOptions())
    assert not (tmp_path / "out").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_missing_scans_may_be_left_out_but_not_all(made, tmp_path: Path) -> None:
    rows = made.source.folder / "index.csv"
    rows.write_text(rows.read_text().replace(",test,", ",train,"))
    (made.source.folder / "splits.json").write_text(json.dumps({"train": ["STS_001", "STS_004"], "test": []}))
    (made.download / "deep" / "STS_004_CT.nii.gz").unlink()
    command = ["dataset", "build", str(made.source.folder), "--images", str(made.download), "-o", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, MissingInputError)
    done = CliRunner().invoke(app, [*command, "--allow-missing"])
    assert done.exit_code == 0 and "1 scans with 2 drawn slices" in done.output and "STS_004" in done.output
    shutil.rmtree(made.download / "deep")
    with pytest.raises(MissingInputError):
        build_dataset(made.source, made.download, tmp_path / "none", BuildOptions(allow_missing=True))


def test_a_mask_that_its_strokes_do_not_give_is_named(made, tmp_path: Path) -> None:
    other = Outline((Strokes("sartorius", (((40, 20),),)),))
    write_outline(other, made.source.folder / "strokes" / "STS_001" / "k004.json")
    with pytest.raises(GeometryError, match="Slice 4 of STS_001"):
        build_dataset(made.source, made.download, tmp_path / "out", BuildOptions(redraw=True))


def test_slices_between_are_propagated_on_wish_and_listed_and_never_in_the_test_set(made, tmp_path: Path) -> None:
    built = build_dataset(made.source, made.download, tmp_path / "out", BuildOptions(propagate=True))
    assert (built.slices, built.propagated) == (2, 2)
    assert (tmp_path / "out" / "propagated.csv").read_text() == "scan,slice\nSTS_001,2\nSTS_001,3\n"
    labels = read_labels(tmp_path / "out" / "labelsTr" / "STS_001.nii.gz", partly=True)
    assert labels.same_grid(made.cts["STS_001"])
    known = (labels.array != UNLABELLED).any(axis=(0, 1))
    assert known.tolist() == [False, True, True, True, True, False]
    drawn = read_labels(made.source.labels("STS_001"), partly=True)
    assert np.array_equal(labels.array[:, :, [1, 4]], drawn.array[:, :, [1, 4]])
    with pytest.raises(SettingsError):
        BuildOptions(Split.TEST, propagate=True)


def test_a_tumour_becomes_background_where_nobody_named_anything_and_never_in_the_test_set(
    made, tmp_path: Path
) -> None:
    mask = np.zeros(made.cts["STS_001"].shape, np.uint8)
    mask[5:30, 8:30, 1:6] = 1
    (tmp_path / "masks").mkdir()
    write_labels(made.cts["STS_001"].with_array(mask), tmp_path / "masks" / "STS_001.nii.gz")
    result = CliRunner().invoke(
        app,
        [
            *("dataset", "build", str(made.source.folder), "--images", str(made.download)),
            *("-o", str(tmp_path / "out"), "--disease", str(tmp_path / "masks")),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "became background in 1 scan(s)" in result.output
    found = read_labels(tmp_path / "out" / "labelsTr" / "STS_001.nii.gz", partly=True).array
    drawn = read_labels(made.source.labels("STS_001"), partly=True).array
    inside = np.zeros(mask.shape, bool)
    inside[6:29, 9:29, 2:5] = True  # the outermost voxels of a mask may hold muscle
    assert (drawn[inside] != UNLABELLED).any() and (drawn[inside] == UNLABELLED).any()
    assert np.array_equal(found, np.where(inside & (drawn == UNLABELLED), 0, drawn))
    with pytest.raises(SettingsError, match="training"):
        BuildOptions(Split.TEST, disease=tmp_path / "masks")


def test_a_mask_of_disease_on_another_grid_and_a_missing_folder_are_refused(made, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="folder of masks"):
        build_dataset(made.source, made.download, tmp_path / "out", BuildOptions(disease=tmp_path / "none"))
    (tmp_path / "masks").mkdir()
    moved = LPS_MOVED @ made.cts["STS_001"].affine
    write_labels(Volume(np.zeros((60, 50, 6), np.uint8), moved), tmp_path / "masks" / "STS_001.nii.gz")
    with pytest.raises(GeometryError, match=r"STS_001_CT.nii.gz .* do not lie on the same grid"):
        build_dataset(made.source, made.download, tmp_path / "out", BuildOptions(disease=tmp_path / "masks"))
    assert not (tmp_path / "out").exists()


def test_masks_of_disease_with_other_names_are_refused(made, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    write_labels(Volume(np.zeros((60, 50, 6), np.uint8), np.eye(4)), tmp_path / "masks" / "STS_001_GTV_mask.nii.gz")
    with pytest.raises(MissingInputError, match="No mask has the name of a scan") as refusal:
        build_dataset(made.source, made.download, tmp_path / "out", BuildOptions(disease=tmp_path / "masks"))
    assert "STS_001.nii.gz" in str(refusal.value)


def test_a_folder_with_something_in_it_is_left_alone(made, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(OutputError):
        build_dataset(made.source, made.download, tmp_path / "out", BuildOptions())
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_grid_that_a_ct_does_not_hold_has_no_part_of_it(made) -> None:
    ct = made.cts["STS_001"]
    moved = ct.affine.copy()
    moved[0, 3] += 0.9  # half a voxel
    grid = Volume(np.zeros((50, 40, 5), np.uint8), moved)
    assert on_grid(ct, grid) is None
    beyond = ct.affine.copy()
    beyond[2, 3] += 8
    assert on_grid(ct, Volume(np.zeros((60, 50, 5), np.uint8), beyond)) is None
    same = on_grid(Volume(ct.array, ct.affine + np.eye(4) * 0.0), ct)
    assert same is not None and np.array_equal(same.array, ct.array)
    lost = on_grid(Volume(ct.array, np.diag([-1.0, -1.0, 1.0, 1.0])), ct)
    assert lost is not None and np.array_equal(lost.array, ct.array)


def test_of_hip_slices_read_twice_only_what_both_agree_on_is_kept(made, tmp_path: Path) -> None:
    folder = made.source.folder
    first = read_labels(folder / "labels" / "STS_004.nii.gz", partly=True)
    second = to_ras(first).array.copy()
    second[:30, :, 1][second[:30, :, 1] == 9] = 1  # another name in a part of slice 1
    second[:30, :, 4][second[:30, :, 4] == 9] = 1  # and of slice 4, which is no hip
    (folder / "labels_2").mkdir()
    write_labels(from_ras(second, first), folder / "labels_2" / "STS_004.nii.gz", partly=True)
    rows = [s for s in made.source.slices if s.scan == "STS_004"]
    again = [replace(row, reading=2, level=ThighLevel.HIP if row.slice == 1 else ThighLevel.MIDDLE) for row in rows]
    write_text(folder / INDEX_FILE, index_text([*made.source.slices, *again]))
    build_dataset(read_open_set(folder), made.download, tmp_path / "out", BuildOptions(Split.TEST))
    built = to_ras(read_labels(tmp_path / "out" / "labelsTr" / "STS_004.nii.gz", partly=True)).array
    before = to_ras(first).array
    changed = (before == 9) & (np.arange(before.shape[0]) < 30)[:, None, None] & (np.arange(6) == 1)
    assert changed.any()
    assert (built[changed] == UNLABELLED).all()
    np.testing.assert_array_equal(built[~changed], before[~changed])
