from __future__ import annotations

import re
from pathlib import Path

import pytest

from vastus.errors import MissingInputError, SettingsError
from vastus.sarcopenia import criteria_names, load_criteria, parse_criteria

GOOD = """
key = "own"
name = "Own"
source = "thesis"
[[cutoffs]]
domain = "mass"
measure = "asm_height2_kg_m2"
low_if = "<"
men = 7
women = 5.5
[[stages]]
stage = "sarcopenia"
label = "low mass"
all_of = ["mass"]
"""


def test_all_named_criteria_load() -> None:
    names = criteria_names()
    assert {"awgs_2019", "awgs_2025", "ewgsop2", "fnih", "kim_2024"} <= set(names)
    for name in names:
        criteria = load_criteria(name)
        assert criteria.key == name
        assert "doi:" in criteria.source
    assert "not from the paper itself" in load_criteria("awgs_2025").note
    assert load_criteria("awgs_2019").note == ""


def test_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("\ufeff" + GOOD, encoding="utf-8")
    assert load_criteria(path) == load_criteria(str(path)) == parse_criteria(GOOD, origin="x")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('key = "own"', "key = ", "not valid TOML"),
        ('source = "thesis"', "", "lack 'source'"),
        ("men = 7", 'men = "seven"', "does not fit"),
        ("men = 7", "", "lack 'men'"),
        ('low_if = "<"', 'low_if = "less"', "does not fit"),
        ('domain = "mass"', 'domain = "luck"', "does not fit"),
        ("women = 5.5", "women = 5.5\nwomem = 5.4", "unknown names: womem"),
        ('all_of = ["mass"]', 'all_of = ["strength"]', "No cut-off for: strength"),
        ('all_of = ["mass"]', "", "asks for nothing"),
        ('stage = "sarcopenia"', 'stage = "none"', "in this order"),
    ],
)
def test_malformed_files_are_refused_by_name(old: str, new: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        parse_criteria(GOOD.replace(old, new), origin="own.toml")
    assert "own.toml" in str(caught.value)


def test_unknown_name_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="awgs_2019"):
        load_criteria("awgs")
    with pytest.raises(MissingInputError):
        load_criteria(tmp_path / "none.toml")


def test_the_form_shown_in_the_documentation_is_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference-criteria.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    assert parse_criteria(shown, origin="page").key == "own"
