from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vastus.anatomy import BUILT_IN, LABELS, Side
from vastus.errors import LabelError, MissingInputError, SettingsError
from vastus.io.labels import read_label_map, write_labels
from vastus.io.own_structures import own_table
from vastus.io.structure_tables import (
    dataset_structures,
    read_structure_table,
    table_beside,
    write_structure_table,
    write_table_beside,
)
from vastus.io.tables import STRUCTURE_TABLE_FILE
from vastus.volume import Volume

CSV = "name,title,group,colour,paired,kind\nfemur,,,,,\nadductors,,Adductors,#37a0e6,,\nsacrum,,Bones,,no,bone\n"


def table_file(folder: Path, text: str = CSV) -> Path:
    path = folder / STRUCTURE_TABLE_FILE
    path.write_text(text)
    return path


def label_map(*values: int) -> Volume:
    array = np.zeros((len(values), 2, 2), np.uint8)
    array[:, 0, 0] = values
    return Volume(array, np.eye(4))


def test_a_table_file_is_read_and_written(tmp_path: Path) -> None:
    table = read_structure_table(table_file(tmp_path))
    assert [s.key for s in table.rows] == ["femur", "adductors", "sacrum"]
    write_structure_table(table, tmp_path / "again.csv")
    assert read_structure_table(tmp_path / "again.csv") == table


def test_only_the_column_of_names_is_needed(tmp_path: Path) -> None:
    table = read_structure_table(table_file(tmp_path, "\ufeffname\nfemur\n\nsoleus\n"))
    assert [s.key for s in table.rows] == ["femur", "soleus"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title\nFemur\n", "has the columns name"),
        ("name,side\nfemur,left\n", "has the columns name"),
        ("name,title\nfemur,Femur,more\n", "more cells"),
        ("name,kind\nsoleus,nerve\n", "muscle, bone or other"),
    ],
)
def test_a_wrong_table_file_is_refused_with_its_path(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        read_structure_table(table_file(tmp_path, text))
    assert caught.value.path == tmp_path / STRUCTURE_TABLE_FILE


def test_no_table_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_structure_table(tmp_path / "none.csv")


def test_built_in_names_need_no_table_of_their_own(tmp_path: Path) -> None:
    labels = {"background": 0, "ignore": 255} | {label.name: label.value for label in LABELS}
    found = dataset_structures(tmp_path, labels)
    assert found.table is BUILT_IN and not found.problems and not found.own
    assert found.meaning["femur_left"] == ("femur", Side.LEFT)


def test_names_of_a_labs_own_make_a_table_in_the_order_of_their_values(tmp_path: Path) -> None:
    labels = {"Erector spinae (L)": 4, "background": 0, "femur": 1, "adductors": 2, "Erector spinae (R)": 3}
    found = dataset_structures(tmp_path, labels)
    assert [s.key for s in found.table.rows] == ["femur", "adductors", "erector_spinae"]
    assert found.own == ("adductors", "erector_spinae")
    assert found.meaning["Erector spinae (L)"] == ("erector_spinae", Side.LEFT)


def test_a_table_file_says_what_the_names_are(tmp_path: Path) -> None:
    table_file(tmp_path)
    found = dataset_structures(tmp_path, {"femur_left": 1, "adductors": 2, "sacrum": 3})
    assert found.meaning["sacrum"] == ("sacrum", Side.MIDLINE) and not found.own and not found.problems
    lost = dataset_structures(tmp_path, {"soleus": 1, "sacrum_left": 2})
    assert len(lost.problems) == 2 and "'soleus' is not in structure_table.csv" in lost.problems


def test_a_slip_of_the_pen_is_no_new_structure(tmp_path: Path) -> None:
    (problem,) = dataset_structures(tmp_path, {"gluteus_maximsu": 1}).problems
    assert "gluteus_maximus" in problem and "structure_table.csv" in problem
    table_file(tmp_path, "name\ngluteus_maximsu\n")
    assert not dataset_structures(tmp_path, {"gluteus_maximsu": 1}).problems


def test_the_table_beside_labels_is_found_in_a_data_set_and_in_a_result(tmp_path: Path) -> None:
    (tmp_path / "labelsTr").mkdir()
    labels = tmp_path / "labelsTr" / "case.nii.gz"
    assert table_beside(labels) is BUILT_IN
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "soleus": 1}}))
    assert [s.key for s in table_beside(labels).rows] == ["soleus"]
    table_file(tmp_path)
    assert [s.key for s in table_beside(labels).rows] == ["femur", "adductors", "sacrum"]


def test_the_built_in_table_is_not_written_beside_labels(tmp_path: Path) -> None:
    write_table_beside(BUILT_IN, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_labels_of_a_labs_own_come_back_with_names(tmp_path: Path, suffix: str) -> None:
    table = read_structure_table(table_file(tmp_path))
    path = tmp_path / f"labels{suffix}"
    write_labels(label_map(0, 102, 202, 3, 101), path, table=table)
    found = read_label_map(path, table=None)
    assert found.table == table and found.volume.array[:, 0, 0].tolist() == [0, 102, 202, 3, 101]
    with pytest.raises(LabelError, match=r"adductors_right.*structure_table.csv"):
        read_label_map(path)


def test_a_value_that_the_table_lacks_is_refused(tmp_path: Path) -> None:
    table = read_structure_table(table_file(tmp_path))
    with pytest.raises(LabelError, match="103"):
        write_labels(label_map(103), tmp_path / "labels.nii.gz", table=table)


def test_names_bring_a_label_map_into_another_order_of_structures(tmp_path: Path) -> None:
    table = read_structure_table(table_file(tmp_path))
    other = own_table([{"name": "sacrum", "paired": "no"}, {"name": "adductors"}, {"name": "femur"}])
    for name in ("labels.nii.gz", "labels.mha"):  # with names in the header, and without
        write_labels(label_map(101, 202, 3), tmp_path / name, table=table)
        found = read_label_map(tmp_path / name, table=None, wanted=other)
        assert found.volume.array[:, 0, 0].tolist() == [103, 202, 1]
    write_labels(label_map(101, 202, 3), tmp_path / "labels.mha", table=table)
    with pytest.raises(LabelError, match="sacrum"):
        read_label_map(
            tmp_path / "labels.mha", table=None, wanted=own_table([{"name": "adductors"}, {"name": "femur"}])
        )
