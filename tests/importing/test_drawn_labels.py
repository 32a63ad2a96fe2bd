import numpy as np
import pytest

from vastus.anatomy import Side
from vastus.errors import GeometryError, LabelError
from vastus.importing.drawn_labels import read_drawn
from vastus.importing.name_tables import UserTable, read_user_table, shipped_names
from vastus.synthesis.dataset import write_image
from vastus.volume import Volume


def label_map(path, values, spacing=(2.0, 2.0, 3.0)):
    """One cube of each value, side by side."""
    array = np.zeros((10 * len(values) + 10, 20, 10), np.int16)
    for place, value in enumerate(values):
        array[10 * place + 2 : 10 * place + 9, 5:15, 2:8] = value
    volume = Volume(array, np.diag([*spacing, 1.0]))
    write_image(volume, path)
    return volume


def meant(drawn):
    return {(name.parts, name.side) for name in drawn.names}


def test_a_shipped_table_says_what_the_values_are(tmp_path):
    path = tmp_path / "p1_labels.nii.gz"
    label_map(path, [1, 2, 8, 13, 14, 24, 27])
    said = []
    drawn = read_drawn(path, UserTable(shipped_names("pelvic-reference")), None, said.append)
    both = Side.UNKNOWN
    assert {
        (("hip_bone",), both),
        (("iliacus", "iliopsoas"), both),
        (("iliopsoas", "psoas"), both),
        (("adductor_magnus", "adductor_brevis", "adductor_longus"), both),
        (("erector", "multifidus"), both),
        (("latissimus_dorsi",), both),
    } <= meant(drawn)
    assert not said
    present = {name.parts for name in drawn.names if name.value in np.unique(drawn.labels)}
    assert len(present) == 7


def test_sides_and_what_may_be_something_else(tmp_path):
    """A name that also covers what has no class is not drawn: its muscle comes from the whole person."""
    path = tmp_path / "labels.nii.gz"
    label_map(path, [1, 2, 3, 4])
    table = tmp_path / "names.csv"
    table.write_text(
        "value,name,ours\n1,right femur,\n2,left femur,\n3,Gemelli And Quadratus Femoris Left,\n4,stone,\n"
    )
    said = []
    drawn = read_drawn(path, read_user_table(table), None, said.append)
    assert meant(drawn) == {(("femur",), Side.RIGHT), (("femur",), Side.LEFT)}
    assert len(said) == 1
    assert "stone" in said[0]
    assert "Gemelli" in said[0]


def test_multifidus_with_a_name_of_its_own_is_no_part_of_erector_spinae(tmp_path):
    path = tmp_path / "labels.nii.gz"
    label_map(path, [1, 2])
    drawn = read_drawn(path, UserTable({1: "erector spinae left", 2: "multifidus left"}), None, print)
    assert meant(drawn) == {(("erector",), Side.LEFT), (("multifidus",), Side.LEFT)}


def test_the_skin_is_read_and_must_lie_on_the_labels(tmp_path):
    path, skin = tmp_path / "labels.nii.gz", tmp_path / "skin.nii.gz"
    volume = label_map(path, [2])
    write_image(volume.with_array(np.ones_like(volume.array)), skin)
    user = UserTable(shipped_names("pelvic-reference"))
    assert read_drawn(path, user, skin, print).skin.any()
    write_image(Volume(volume.array, np.diag([1.7, 2.0, 3.0, 1.0])), skin)
    with pytest.raises(GeometryError, match="outline"):
        read_drawn(path, user, skin, print)


def test_labels_without_a_structure_are_refused(tmp_path):
    path = tmp_path / "labels.nii.gz"
    label_map(path, [77])
    with pytest.raises(LabelError, match="names no structure"):
        read_drawn(path, UserTable({77: "stone"}), None, lambda _: None)
