from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from vastus.cli.main import app
from vastus.errors import GeometryError, ImplausibleValueError, SettingsError
from vastus.io.csv_tables import read_volume_rows
from vastus.io.labels import write_labels
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("case")
    scan = make_phantom((5, 5, 6))
    nib.save(nib.Nifti1Image(scan.ct.array, scan.ct.affine), folder / "p7.nii.gz")
    write_labels(scan.labels, folder / "labels.nii.gz")
    return str(folder / "p7.nii.gz"), str(folder / "labels.nii.gz")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["measure", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_all_tables_are_written(case: tuple[str, str], tmp_path: Path) -> None:
    said = run(*case, "-o", str(tmp_path / "out"))
    assert "58 of 58" in said
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "levels.csv",
        "measures.csv",
        "measures.json",
        "volumes.csv",
    ]
    rows = read_volume_rows(tmp_path / "out" / "volumes.csv")
    assert len(rows) == 58 and {r.subject for r in rows} == {"p7"}
    record = json.loads((tmp_path / "out" / "measures.json").read_text())
    assert "diagnosis" not in record
    assert [femur["side"] for femur in record["femora"]] == ["right", "left"]


def test_a_muscle_larger_than_any_persons_is_said(tmp_path: Path) -> None:
    scan = make_phantom((5, 5, 6))
    twice = np.diag([2.0, 2.0, 2.0, 1.0]) @ scan.ct.affine
    nib.save(nib.Nifti1Image(scan.ct.array, twice), tmp_path / "p7.nii.gz")
    write_labels(Volume(scan.labels.array, twice), tmp_path / "labels.nii.gz")
    said = run(str(tmp_path / "p7.nii.gz"), str(tmp_path / "labels.nii.gz"), "-o", str(tmp_path / "out"))
    assert "Vastus medialis, left: " in said and "more than a person of 205 cm and 150 kg has" in said


def test_clinical_values_give_a_diagnosis_and_indices(case: tuple[str, str], tmp_path: Path) -> None:
    clinical = ["--sex", "F", "--height-cm", "155", "--smi-kg-m2", "5.0", "--grip-kg", "15", "--gait-m-s", "0.7"]
    record = json.loads(run(*case, "-o", str(tmp_path), *clinical, "--json"))
    assert record["diagnosis"]["stage"] == "severe"
    assert record["diagnosis"]["has_sarcopenia"] is True
    table = (tmp_path / "measures.csv").read_text()
    assert "p7,gracilis,medial,both,volume_per_height2," in table


def test_wrong_input_is_refused_before_anything_is_written(case: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for options, error in (
        (["--height-cm", "1.7"], ImplausibleValueError),
        (["--sex", "x"], SettingsError),
        (["--mass-method", "mri"], SettingsError),
        (["--criteria", "awgs"], SettingsError),
    ):
        with pytest.raises(error):
            run(*case, "-o", str(out), *options)
    assert not out.exists()


def test_a_label_map_of_another_grid_is_refused(case: tuple[str, str], tmp_path: Path) -> None:
    scan = make_phantom((6, 6, 6))
    write_labels(Volume(scan.labels.array, scan.labels.affine), tmp_path / "other.nii.gz")
    with pytest.raises(GeometryError, match="same grid"):
        run(case[0], str(tmp_path / "other.nii.gz"), "-o", str(tmp_path / "out"))


def test_what_must_be_known_of_the_criteria_is_said(case: tuple[str, str], tmp_path: Path) -> None:
    clinical = ["--sex", "F", "--age", "60", "--smi-kg-m2", "5.4", "--mass-method", "dxa", "--grip-kg", "19"]
    options = ["-o", str(tmp_path), *clinical, "--criteria", "awgs_2025"]
    said = run(*case, *options)
    assert "AWGS 2025: sarcopenia." in said and "not from the paper itself" in said
    record = json.loads((tmp_path / "measures.json").read_text())
    assert (
        record["diagnosis"]["stage"] == "sarcopenia" and "compare them with the original" in record["diagnosis"]["note"]
    )


class TestLabelsOfOtherPrograms:
    def slicer(self, path: Path, labels: Volume, *, cropped: bool) -> tuple[Path, int]:
        """Renumbered 1, 2, 3 ... with the names in the header, and cropped to what is labelled, as 3D Slicer saves."""
        import SimpleITK as sitk

        from vastus.anatomy import BY_VALUE

        values = [int(v) for v in np.unique(labels.array) if v]
        numbers = np.zeros(256, np.uint8)
        numbers[values] = np.arange(1, len(values) + 1)
        array = numbers[labels.array]
        start = np.argwhere(array).min(axis=0) if cropped else np.zeros(3, int)
        stop = np.argwhere(array).max(axis=0) + 1 if cropped else np.array(array.shape)
        array = array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        origin = labels.affine[:3, :3] @ start + labels.affine[:3, 3]
        image.SetSpacing(labels.spacing_mm)
        image.SetDirection((-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
        image.SetOrigin((-origin[0], -origin[1], origin[2]))
        for n, value in enumerate(values):
            for key, text in (("Name", BY_VALUE[value].name), ("LabelValue", str(n + 1)), ("Layer", "0")):
                image.SetMetaData(f"Segment{n}_{key}", text)
        sitk.WriteImage(image, str(path), True)
        return path, len(values)

    @pytest.mark.parametrize("cropped", [False, True])
    def test_slicers_segments_give_the_same_table(self, case: tuple[str, str], tmp_path: Path, cropped: bool) -> None:
        path, _ = self.slicer(tmp_path / "a.seg.nrrd", make_phantom((5, 5, 6)).labels, cropped=cropped)
        run(*case, "-o", str(tmp_path / "own"))
        run(case[0], str(path), "-o", str(tmp_path / "slicer"))
        for table in ("volumes.csv", "measures.csv", "levels.csv"):
            assert (tmp_path / "slicer" / table).read_text() == (tmp_path / "own" / table).read_text()

    def test_numbers_without_names_are_warned_of_twice(self, case: tuple[str, str], tmp_path: Path) -> None:
        labels = make_phantom((5, 5, 6)).labels
        order = np.zeros(256, np.uint8)
        order[[228, 128, 229, 129, 203, 103]] = [1, 2, 3, 4, 28, 29]
        array = order[labels.array]
        nib.save(nib.Nifti1Image(array, labels.affine), tmp_path / "a.nii.gz")
        said = run(case[0], str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / "out"))
        assert "every name is wrong" in said and "density does not fit the name" in said

    def test_grids_that_differ_by_rounding_are_one_and_others_are_described(
        self, case: tuple[str, str], tmp_path: Path
    ) -> None:
        labels = make_phantom((5, 5, 6)).labels
        rounded = labels.affine.copy()
        rounded[:3, :3] *= 1.0001
        nib.save(nib.Nifti1Image(labels.array, rounded), tmp_path / "rounded.nii.gz")
        run(case[0], str(tmp_path / "rounded.nii.gz"), "-o", str(tmp_path / "out"))
        larger = labels.affine.copy()
        larger[:3, :3] *= 1.1
        nib.save(nib.Nifti1Image(labels.array, larger), tmp_path / "larger.nii.gz")
        with pytest.raises(GeometryError, match=r"p7\.nii\.gz.*larger\.nii\.gz.*x 6 mm against 5\.5 x 5\.5 x 6\.6 mm"):
            run(case[0], str(tmp_path / "larger.nii.gz"), "-o", str(tmp_path / "other"))


def test_published_values_stand_beside_where_the_person_is_known(case: tuple[str, str], tmp_path: Path) -> None:
    person = ["--sex", "M", "--age", "50", "--height-cm", "170", "--weight-kg", "70"]
    said = run(*case, "-o", str(tmp_path), *person)
    assert "Thigh muscle to femur volume" in said and "no reference for this age and sex" in said
    table = (tmp_path / "measures.csv").read_text()
    assert "p7,femur,bone,both,thigh_muscle_to_femur," in table
    assert "p7,gracilis,medial,left,volume_of_expected," in table
    plain = run(*case, "-o", str(tmp_path / "plain"))
    assert "Thigh muscle to femur volume" not in plain
    assert json.loads((tmp_path / "plain" / "measures.json").read_text())["context"] == []
