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


def test_json_lists_everything_that_a_label_is_known_by():
    rows = json.loads(output("--json"))
    assert len(rows) == 58
    assert rows[0] == {
        "value": 101,
        "key": "sartorius_right",
        "structure": "sartorius",
        "side": "right",
        "english": "Sartorius",
        "latin": "Musculus sartorius",
        "abbreviation": "SAR",
        "group": "anterior",
        "colour": list(STRUCTURES[0].colour),
        "snomed": "12595009",
        "totalsegmentator": "sartorius_right",
    }
    assert [(row["value"], row["key"]) for row in rows] == [(label.value, label.name) for label in SIDED]


def test_json_gives_other_names_only_where_they_mean_the_same():
    rows = {row["key"]: row for row in json.loads(output("--json"))}
    assert rows["hip_bone_left"]["totalsegmentator"] == "hip_left"
    assert rows["hip_bone_left"]["snomed"] is None  # a private code: two sources do not agree
    # There iliopsoas is all three of ours, and quadriceps all four.
    assert rows["iliopsoas_left"]["totalsegmentator"] is None
    assert rows["vastus_medialis_right"]["totalsegmentator"] is None


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
