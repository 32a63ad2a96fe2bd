from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import dicom_factory as factory
from foreign_labels import AFFINE, BOXES, SHAPE, load, mask, numbered, save, save_scan, scan
from labelled_dicom import FULL_HEADER, content_of, label_values
from labelled_dicom import SHAPE as DICOM_SHAPE
from vastus.anatomy import UNLABELLED
from vastus.dicom import formats
from vastus.dicom.outputs import write_dicom
from vastus.errors import GeometryError, InputError, LabelError, OutputError
from vastus.importing.discovery import find_cases
from vastus.importing.importer import Imported, ImportOptions, import_labels
from vastus.importing.name_tables import read_user_table
from vastus.io.labels import read_labels
from vastus.training.dataset import check_dataset, read_dataset

QUADRICEPS = ["rectus_femoris", "vastus_lateralis", "vastus_intermedius", "vastus_medialis"]
VOXEL_ML = 2.0 * 2.0 * 3.0 / 1000


def rows_of(folder: Path, name: str = "mapping.csv") -> dict[str, dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return {row["source_name"]: row for row in csv.DictReader(file)}


def description_of(folder: Path) -> dict:
    return json.loads((folder / "dataset.json").read_text())


def totalsegmentator(folder: Path, names: list[str] | None = None) -> Path:
    for name in names or BOXES:
        save(mask(name), folder / f"{name}.nii.gz")
    return folder


def bring_in(sources: list[Path], images: Path, output: Path, **options: object) -> Imported:
    return import_labels(find_cases(sources, images), output, ImportOptions(**options))  # type: ignore[arg-type]


def test_masks_of_totalsegmentator_voxel_for_voxel(tmp_path: Path):
    image = save_scan(tmp_path / "ct.nii.gz")
    out = tmp_path / "out"
    imported = bring_in([totalsegmentator(tmp_path / "case")], image, out)
    values = description_of(out)["labels"]
    assert (values["femur_right"], values["femur_left"], values["sartorius_right"]) == (128, 228, 101)
    assert (values["background"], values["ignore"]) == (0, UNLABELLED)
    expected = np.full(SHAPE, values["not_drawn"], np.uint8)
    for name, box in BOXES.items():
        expected[box] = UNLABELLED if name == "spleen" else values[name]
    assert np.array_equal(load(out / "labelsTr" / "case.nii.gz"), expected)
    assert np.array_equal(load(out / "imagesTr" / "case_0000.nii.gz"), scan().array)
    assert imported.cases == ("case",) and not imported.failures


def test_a_set_stands_for_its_structures_and_background_for_all_that_nobody_drew(tmp_path: Path):
    image = save_scan(tmp_path / "ct.nii.gz")
    bring_in([totalsegmentator(tmp_path / "case")], image, tmp_path / "out")
    merged = description_of(tmp_path / "out")["merged"]
    assert merged["quadriceps_femoris_left"] == merged["quadriceps_femoris_right"] == QUADRICEPS
    never = merged["not_drawn"]
    # The femora and both quadriceps are drawn; of sartorius only the right one.
    assert never[0] == "background" and {"sartorius", "gracilis", "hip_bone"} <= set(never)
    assert not {"femur", *QUADRICEPS} & set(never) and len(never) == 1 + 29 - 5


def test_the_lists_say_what_became_of_each_name(tmp_path: Path):
    image = save_scan(tmp_path / "ct.nii.gz")
    bring_in([totalsegmentator(tmp_path / "case")], image, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    femur, spleen = rows["femur_left"], rows["spleen"]
    assert (femur["ours"], femur["value"], femur["voxels"], femur["cases"]) == ("femur", "228", "360", "1")
    assert float(femur["ml"]) == pytest.approx(360 * VOXEL_ML, abs=0.005)
    assert (spleen["ours"], spleen["value"]) == ("ignore", "255")
    assert set(rows_of(tmp_path / "out", "not_mapped.csv")) == {"spleen"}
    assert sum(int(row["voxels"]) for row in rows.values()) == np.prod(SHAPE)
    assert (tmp_path / "out" / "contact_sheet.png").read_bytes()[:4] == b"\x89PNG"


def test_what_the_user_calls_background_is(tmp_path: Path):
    image = save_scan(tmp_path / "ct.nii.gz")
    out = tmp_path / "out"
    bring_in([totalsegmentator(tmp_path / "case")], image, out, background=("Spleen",))
    assert (load(out / "labelsTr" / "case.nii.gz")[BOXES["spleen"]] == 0).all()
    assert rows_of(out, "not_mapped.csv") == {}


def test_sides_are_joined_where_asked(tmp_path: Path):
    image = save_scan(tmp_path / "ct.nii.gz")
    out = tmp_path / "out"
    bring_in([totalsegmentator(tmp_path / "case")], image, out, join_sides=True)
    description = description_of(out)
    assert not any(name.endswith(("_left", "_right")) for name in description["labels"])
    array = load(out / "labelsTr" / "case.nii.gz")
    assert (array[BOXES["femur_left"]] == 28).all() and (array[BOXES["femur_right"]] == 28).all()
    assert list(description["merged"]) == ["not_drawn", "quadriceps_femoris"]


def test_training_and_the_other_readers_read_what_was_written(tmp_path: Path):
    image = save_scan(tmp_path / "ct.nii.gz")
    out = tmp_path / "out"
    bring_in([totalsegmentator(tmp_path / "case")], image, out)
    assert check_dataset(out).problems == ()
    dataset = read_dataset(out)
    # Left and right quadriceps are one set; gracilis, which nobody drew, can't be learnt here.
    assert dataset.classes == ("background", "sartorius", *QUADRICEPS, "femur")
    classes = dataset.lookup(dataset.classes)[load(out / "labelsTr" / "case.nii.gz")]
    sets = dataset.merged_classes(dataset.classes)
    quadriceps = len(dataset.classes) + sets.index(tuple(QUADRICEPS))
    assert (classes[BOXES["quadriceps_femoris_left"]] == quadriceps).all()
    assert (classes[BOXES["quadriceps_femoris_right"]] == quadriceps).all()
    assert (classes[BOXES["femur_left"]] == dataset.classes.index("femur")).all()
    assert (classes[BOXES["spleen"]] == UNLABELLED).all()
    assert sets[int(classes[0, 0, 0]) - len(dataset.classes)] == ("background", "sartorius")
    # For measuring and checking only what is one structure counts; the rest is 255, never background.
    seen = read_labels(out / "labelsTr" / "case.nii.gz", partly=True).array
    expected = np.full(SHAPE, UNLABELLED, np.uint8)
    for name, value in {"femur_left": 228, "femur_right": 128, "sartorius_right": 101}.items():
        expected[BOXES[name]] = value
    assert np.array_equal(seen, expected)
    with pytest.raises(LabelError, match="no single structure"):
        read_labels(out / "labelsTr" / "case.nii.gz")


def test_numbers_of_musclemap(tmp_path: Path):
    values = {"femur_right": 6172, "femur_left": 6171, "quadriceps_femoris_left": 7101, "spleen": 5111}
    labels = save(numbered(values, np.uint16), tmp_path / "a_dseg.nii.gz")
    out = tmp_path / "out"
    from vastus.importing.name_tables import shipped_names

    bring_in([labels], save_scan(tmp_path / "a.nii.gz"), out, names=shipped_names("musclemap"))
    array = load(out / "labelsTr" / "a.nii.gz")
    assert (array[BOXES["femur_right"]] == 128).all() and (array[BOXES["femur_left"]] == 228).all()
    assert (array[BOXES["quadriceps_femoris_left"]] == 203).all()
    assert (array[BOXES["spleen"]] == UNLABELLED).all()  # erector spinae
    never = set(description_of(out)["merged"]["not_drawn"])
    # It draws no rectus abdominis, and of the hip bone perhaps only the ilium.
    assert {"rectus_abdominis", "abdominal_oblique", "hip_bone"} == never - {"background"}


def test_names_and_layers_of_3d_slicer(tmp_path: Path):
    layers = np.stack([numbered({"femur_left": 1, "spleen": 2}), numbered({"sartorius_right": 1})], axis=-1)
    image = sitk.GetImageFromArray(layers.transpose(2, 1, 0, 3), isVector=True)
    image.SetSpacing((2.0, 2.0, 3.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetOrigin(tuple(float(v) for v in AFFINE[:3, 3] * (-1, -1, 1)))
    for number, (name, value, layer) in enumerate(
        [("Femur L", 1, 0), ("Lesion", 2, 0), ("Right sartorius muscle", 1, 1)]
    ):
        for key, said in {"Name": name, "LabelValue": value, "Layer": layer, "ID": f"S{number}"}.items():
            image.SetMetaData(f"Segment{number}_{key}", str(said))
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    out = tmp_path / "out"
    bring_in([tmp_path / "a.seg.nrrd"], save_scan(tmp_path / "a.nii.gz"), out)
    array = load(out / "labelsTr" / "a.nii.gz")
    expected = np.full(SHAPE, 60, np.uint8)
    for name, value in {"femur_left": 228, "spleen": 255, "sartorius_right": 101}.items():
        expected[BOXES[name]] = value
    assert np.array_equal(array, expected)


def test_an_nnunet_data_set_keeps_its_meaning(tmp_path: Path):
    save(numbered({"femur_left": 1, "sartorius_right": 2}), tmp_path / "set" / "labelsTr" / "x.nii.gz")
    save_scan(tmp_path / "set" / "imagesTr" / "x_0000.nii.gz")
    (tmp_path / "set" / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "Femur": 1, "tumour": 2}, "file_ending": ".nii.gz"})
    )
    import_labels(find_cases([tmp_path / "set"], None), tmp_path / "out", ImportOptions())
    array = load(tmp_path / "out" / "labelsTr" / "x.nii.gz")
    assert (array[BOXES["femur_left"]] == 28).all() and (array[BOXES["sartorius_right"]] == UNLABELLED).all()


@pytest.mark.parametrize("name", ["seg.dcm", "rtstruct.dcm"])
def test_dicom_voxel_for_voxel(tmp_path: Path, name: str):
    spec = factory.series(
        DICOM_SHAPE[0], hu=factory.ct_values(DICOM_SHAPE), pixel_spacing=(1.5, 2.0), extra=FULL_HEADER
    )
    factory.write_series(tmp_path / "ct", spec)
    write_dicom(content_of(tmp_path / "ct", label_values()), (formats.SEG, formats.RTSTRUCT), tmp_path / "made")
    out = tmp_path / "out"
    bring_in([tmp_path / "made" / "dicom" / name], tmp_path / "ct", out)
    array = load(out / "labelsTr" / f"{Path(name).stem}.nii.gz").transpose(2, 1, 0)
    expected = label_values()
    expected[expected == 0] = 60
    assert np.array_equal(array, expected)


def test_a_users_table(tmp_path: Path):
    labels = save(numbered({"femur_left": 1, "femur_right": 2, "spleen": 3}), tmp_path / "a_labels.nii.gz")
    (tmp_path / "names.csv").write_text("value,name,ours\n1,adductor mass,adductor_magnus;adductor_longus\n2,Femur\n")
    table = read_user_table(tmp_path / "names.csv")
    out = tmp_path / "out"
    bring_in([labels], save_scan(tmp_path / "a.nii.gz"), out, user=table, names=table.names)
    values = description_of(out)["labels"]
    array = load(out / "labelsTr" / "a.nii.gz")
    assert (array[BOXES["femur_left"]] == values["adductor_mass"]).all()
    assert (array[BOXES["femur_right"]] == 28).all()
    assert rows_of(out, "not_mapped.csv")["(without a name) 3"]["source_value"] == "3"


def test_one_bad_case_never_takes_the_others_with_it(tmp_path: Path):
    elsewhere = AFFINE.copy()
    elsewhere[0, 3] += 1.0
    for name, affine in (("a", AFFINE), ("b", elsewhere), ("c", AFFINE), ("d", AFFINE)):
        save(numbered({"femur_left": 1}), tmp_path / "labels" / f"{name}.nii.gz", affine)
        if name != "d":
            save_scan(tmp_path / "scans" / f"{name}.nii.gz")
    out = tmp_path / "out"
    told: list[str] = []
    cases = find_cases([tmp_path / "labels"], tmp_path / "scans")
    imported = import_labels(cases, out, ImportOptions(names={1: "femur"}), told.append)
    assert imported.cases == ("a", "c")
    assert [failure.name for failure in imported.failures] == ["b", "d"]
    assert sorted(path.name for path in (out / "labelsTr").iterdir()) == ["a.nii.gz", "c.nii.gz"]
    assert sorted(path.name for path in (out / "imagesTr").iterdir()) == ["a_0000.nii.gz", "c_0000.nii.gz"]
    assert description_of(out)["numTraining"] == 2 and rows_of(out)["femur"]["cases"] == "2"
    assert any(line.startswith("d: MissingInputError") for line in told)


def test_nothing_is_left_when_nothing_could_be_read(tmp_path: Path):
    elsewhere = AFFINE.copy()
    elsewhere[0, 3] += 1.0
    for name in ("a", "b"):
        save(numbered({"femur_left": 1}), tmp_path / "labels" / f"{name}.nii.gz", elsewhere)
        save_scan(tmp_path / "scans" / f"{name}.nii.gz")
    names = {1: "femur"}
    with pytest.raises(InputError, match="No case could be brought in"):
        bring_in([tmp_path / "labels"], tmp_path / "scans", tmp_path / "out", names=names)
    with pytest.raises(GeometryError):
        bring_in([tmp_path / "labels" / "a.nii.gz"], tmp_path / "scans" / "a.nii.gz", tmp_path / "out", names=names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels", "scans"]


def test_a_folder_that_holds_something_is_kept(tmp_path: Path):
    labels = save(numbered({"femur_left": 1}), tmp_path / "out" / "a.nii.gz")
    with pytest.raises(OutputError, match="holds something"):
        bring_in([labels], save_scan(tmp_path / "ct.nii.gz"), tmp_path / "out", names={1: "femur"})
    assert labels.is_file()
