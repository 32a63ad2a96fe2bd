import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from training.nnunet_folder import write_data_set
from vastus.anatomy import BY_KEY, CLASS_COUNT, Side
from vastus.errors import MissingInputError, TrainingError
from vastus.training.config import ANATOMY_CLASSES
from vastus.training.dataset import check_dataset, read_dataset, require_sound
from vastus.training.losses import IGNORE


def _relabel(path: Path, change: object, affine: np.ndarray | None = None) -> None:
    image = nibabel.load(path)
    array = change(np.asarray(image.dataobj).copy())  # type: ignore[operator]
    nibabel.save(nibabel.Nifti1Image(array, image.affine if affine is None else affine), path)


def test_a_sound_data_set_has_no_problems(tmp_path: Path) -> None:
    report = check_dataset(write_data_set(tmp_path))
    assert report.problems == ()
    dataset = read_dataset(tmp_path)
    assert [c.name for c in dataset.cases] == ["case0", "case1", "case2"]
    assert dataset.classes == ANATOMY_CLASSES


def test_sides_share_a_class_and_bare_ids_are_taken(tmp_path: Path) -> None:
    sided = read_dataset(write_data_set(tmp_path / "sided", 1)).lookup(ANATOMY_CLASSES)
    bare = read_dataset(write_data_set(tmp_path / "bare", 1, sided=False)).lookup(ANATOMY_CLASSES)
    for class_id in range(1, CLASS_COUNT):
        assert sided[100 + class_id] == sided[200 + class_id] == bare[class_id] == class_id


def test_a_data_set_with_its_own_numbers_is_matched_by_name(tmp_path: Path) -> None:
    write_data_set(tmp_path, 1)
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": {"background": 0, "femur_left": 3, "femur_right": 4, "sartorius": 9, "ignore": 10}})
    )
    dataset = read_dataset(tmp_path)
    assert dataset.classes == ("background", "sartorius", "femur")
    table = dataset.lookup(dataset.classes)
    assert (table[3], table[4], table[9], table[10], table[0]) == (2, 2, 1, IGNORE, 0)
    assert dataset.anatomy_lookup()[3] == BY_KEY["femur"].label_value(Side.LEFT)
    # In a run with more classes nobody knows what its background is.
    assert dataset.lookup(ANATOMY_CLASSES)[0] == IGNORE


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    write_data_set(tmp_path, 5)
    (tmp_path / "labelsTr" / "case0.nii.gz").unlink()
    (tmp_path / "imagesTr" / "case1_0000.nii.gz").unlink()

    def unknown_value(array: np.ndarray) -> np.ndarray:
        array[0, 0, 0] = 77
        return array

    _relabel(tmp_path / "labelsTr" / "case2.nii.gz", unknown_value)
    _relabel(tmp_path / "labelsTr" / "case3.nii.gz", lambda a: a, affine=np.diag([12.0, 12.0, 13.0, 1.0]))
    image = tmp_path / "imagesTr" / "case4_0000.nii.gz"
    image.write_bytes(image.read_bytes()[:200])
    report = check_dataset(tmp_path)
    text = "\n".join(report.problems)
    assert len(report.problems) == 5
    for words in (
        "case0: an image without labels",
        "case1: labels without an image",
        "case2: label values without a name: 77",
        "case3: The scan",
        "case4:",
    ):
        assert words in text
    with pytest.raises(TrainingError, match=r"5 problem\(s\)"):
        require_sound(tmp_path)


def test_notices_name_labels_that_never_occur_and_empty_cases(tmp_path: Path) -> None:
    write_data_set(tmp_path, 2)
    for case in ("case0", "case1"):
        _relabel(tmp_path / "labelsTr" / f"{case}.nii.gz", lambda a: np.where(a % 100 == 9, 0, a).astype(np.uint8))
    _relabel(tmp_path / "labelsTr" / "case1.nii.gz", np.zeros_like)
    report = check_dataset(tmp_path)
    assert report.problems == ()
    assert any("case1: all background" in n for n in report.notices)
    assert any("never labelled" in n and "gracilis" in n for n in report.notices)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"background": 1}, "background must be 0"),
        ({"background": 0, "femur": 1, "sartorius": 1}, "two names"),
        ({"background": 0, "sartorious": 1}, "no structure"),
        ({"background": 0, "_": 1}, "can't be the name"),
        ({"background": 0, "psoas": 1, "Psoas major": 2}, "mean the same"),
        ({"background": 0, "femur": "one"}, "whole number"),
    ],
)
def test_a_wrong_description_is_a_problem(tmp_path: Path, labels: dict[str, object], words: str) -> None:
    write_data_set(tmp_path, 1)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(TrainingError, match=words):
        read_dataset(tmp_path)


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_dataset(tmp_path / "none")
    with pytest.raises(MissingInputError, match="No cases"):
        read_dataset(tmp_path)


def test_left_and_right_of_one_set_are_one_label_to_a_network(tmp_path: Path) -> None:
    write_data_set(tmp_path, 1)
    adductors = ["adductor_longus", "adductor_brevis"]
    description = {
        "labels": {"background": 0, "femur": 1, "mass_right": 61, "mass_left": 62, "nobody": 63},
        "merged": {"mass_right": adductors, "mass_left": adductors, "nobody": ["background", "gracilis"]},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    dataset = read_dataset(tmp_path)
    table = dataset.lookup(dataset.classes)
    assert table[61] == table[62] == len(dataset.classes) and table[63] == len(dataset.classes) + 1
    assert dataset.merged_classes(dataset.classes)[0] == ("adductor_brevis", "adductor_longus")


def test_what_nobody_drew_is_a_class_only_for_weights_that_know_it(tmp_path: Path) -> None:
    write_data_set(tmp_path, 1)
    description = {
        "labels": {"background": 0, "femur": 1, "nobody": 63},
        "merged": {"nobody": ["background", "gracilis", "sartorius"]},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    dataset = read_dataset(tmp_path)
    assert dataset.classes == ("background", "femur")
    assert dataset.merged_classes(dataset.classes) == (("background",),)
    assert dataset.classes_beside(("femur", "gracilis")) == ("background", "gracilis", "femur")
    # In a run that knows all three, 0 is still background: the data set says where it is not.
    known = ("background", "sartorius", "gracilis", "femur")
    assert dataset.lookup(known)[0] == 0
    assert dataset.merged_classes(known) == (("background", "sartorius", "gracilis"),)
