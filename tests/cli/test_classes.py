from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from vastus.anatomy import BY_VALUE, LABELS, STRUCTURES, Side
from vastus.cli.main import app

SIDED = [label for label in LABELS if label.side is not Side.UNKNOWN]


def output(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["classes", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_json_lists_value_structure_side_group_and_colour():
    rows = json.loads(output("--json"))
    assert len(rows) == 58
    assert rows[0] == {
        "value": 101,
        "structure": "sartorius",
        "side": "right",
        "group": "anterior",
        "colour": list(STRUCTURES[0].colour),
    }
    assert [row["value"] for row in rows] == [label.value for label in SIDED]


def test_colour_table_is_slicers():
    lines = [line for line in output("--ctbl").splitlines() if not line.startswith("#")]
    assert lines[0].split() == ["0", "background", "0", "0", "0", "0"]
    assert len(lines) == 1 + len(LABELS)
    for line in lines[1:]:
        value, name, *colour, alpha = line.split()
        label = BY_VALUE[int(value)]
        assert name == label.name
        assert tuple(map(int, colour)) == label.structure.colour
        assert alpha == "255"


@pytest.mark.parametrize("label", SIDED[::9], ids=lambda label: label.name)
def test_table_has_a_row_for_each_value(label):
    lines = output().splitlines()
    assert len(lines) == 59
    (line,) = [line for line in lines if line.split()[0] == str(label.value)]
    assert label.structure.english in line and label.side.value in line and line.endswith(label.structure.latin)
