from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastus.anatomy import BY_KEY, STRUCTURES, Group, Side
from vastus.errors import MissingInputError, SettingsError
from vastus.io.csv_tables import VolumeRow, read_volume_rows, write_volume_rows
from vastus.io.tables import VOLUME_COLUMNS

FEMUR = VolumeRow("P1", "femur", Group.BONE, Side.LEFT, 412345.6, 380.25, True)
ABSENT = VolumeRow("P1", "psoas", Group.OTHER, Side.RIGHT, None, None, False)


def test_file_is_exactly_this(tmp_path: Path):
    write_volume_rows([FEMUR, ABSENT], tmp_path / "volumes.csv")
    assert (tmp_path / "volumes.csv").read_bytes() == (
        b"subject,structure,group,side,volume_mm3,mean_hu,truncated,fragment\n"
        b"P1,femur,bone,left,412345.6,380.25,true,false\n"
        b"P1,psoas,other,right,,,false,false\n"
    )


def test_a_fragment_is_said_and_a_table_without_the_column_has_none(tmp_path: Path):
    path = tmp_path / "volumes.csv"
    speck = replace(FEMUR, truncated=False, fragment=True)
    write_volume_rows([speck], path)
    assert path.read_text().splitlines()[1].endswith(",false,true")
    assert read_volume_rows(path) == (speck,)
    path.write_text(path.read_text().replace(",fragment", "").replace(",false,true", ",false"))
    assert read_volume_rows(path) == (replace(speck, fragment=False),)


rows = st.builds(
    lambda subject, structure, side, numbers, flags: VolumeRow(
        subject, structure.key, structure.group, side, *(numbers or (None, None)), *flags
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1),
    st.sampled_from(STRUCTURES),
    st.sampled_from(Side),
    st.none()
    | st.tuples(st.integers(1, 10**8).map(lambda n: n / 10), st.integers(-(10**5), 10**5).map(lambda n: n / 100)),
    st.tuples(st.booleans(), st.booleans()),
)


@given(st.lists(rows, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, written: list[VolumeRow]):
    path = tmp_path_factory.mktemp("csv") / "volumes.csv"
    write_volume_rows(written, path)
    assert read_volume_rows(path) == tuple(written)


def test_a_spreadsheets_byte_order_mark_and_line_ends_are_taken(tmp_path: Path):
    path = tmp_path / "volumes.csv"
    write_volume_rows([FEMUR], path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_volume_rows(path) == (FEMUR,)


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("structure", "tibia"),
        ("group", "gluteal"),
        ("side", "middle"),
        ("volume_mm3", "12,5"),
        ("mean_hu", "nan"),
        ("truncated", "maybe"),
        ("fragment", "perhaps"),
    ],
)
def test_wrong_cells_are_named_with_their_line(tmp_path: Path, column: str, cell: str):
    path = tmp_path / "volumes.csv"
    write_volume_rows([ABSENT, FEMUR], path)
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    cells[VOLUME_COLUMNS.index(column)] = f'"{cell}"'
    path.write_text("\n".join([*lines[:2], ",".join(cells)]) + "\n")
    with pytest.raises(SettingsError, match=r"Line 3.*volumes\.csv"):
        read_volume_rows(path)


def test_missing_column_and_missing_file(tmp_path: Path):
    path = tmp_path / "volumes.csv"
    path.write_text("subject,structure,group,side,volume_mm3,truncated\n")
    with pytest.raises(SettingsError, match="missing: mean_hu"):
        read_volume_rows(path)
    with pytest.raises(MissingInputError):
        read_volume_rows(tmp_path / "none.csv")


def test_group_is_the_tables_own():
    assert BY_KEY[FEMUR.structure].group is FEMUR.group
