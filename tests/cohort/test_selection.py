import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastus.cohort.selection import Action, Test, flow_table, load_rules, parse_rules, select
from vastus.errors import MissingInputError, SettingsError

RULES = """
[[rule]]
name = "Old enough"
action = "include"
column = "age_years"
above = 50
[[rule]]
name = "Amputation"
action = "exclude"
column = "amputation"
any_of = ["YES"]
[[rule]]
name = "Cover"
action = "include"
coverage = ["femur"]
[[rule]]
name = "Never there"
action = "exclude"
column = "nothing"
below = 3
"""
SIDES = pd.MultiIndex.from_product([["femur", "sartorius"], ["right", "left"]])


def grid(n, cells=()):
    frame = pd.DataFrame(False, index=range(n), columns=SIDES)
    for cell in cells:
        frame.loc[cell[0], cell[1:]] = True
    return frame


def test_rules_one_after_the_other():
    people = pd.DataFrame(
        {"age_years": [80, 50, np.nan, 70, 60, 90], "amputation": ["no", "yes", "no", "Yes", None, None]}
    )
    truncated = grid(6, [(4, "femur", "left"), (5, "sartorius", "left")])
    found = select(people, truncated, grid(6), parse_rules(RULES, origin="test"))
    assert found.kept == (0, 5)
    assert found.removed == {1: "Old enough", 2: "Old enough", 3: "Amputation", 4: "Cover"}
    assert [(s.before, s.removed, s.after) for s in found.steps] == [(6, 2, 4), (4, 1, 3), (3, 1, 2)]
    assert found.steps[0].note == "1 of them: not known"
    assert found.steps[1].excludes
    assert found.not_applied == ("Never there",)


def test_absent_counts_as_not_covered():
    people = pd.DataFrame({"age_years": [80.0, 80.0]})
    found = select(people, grid(2), grid(2, [(1, "femur", "right")]), parse_rules(RULES, origin="test"))
    assert found.kept == (0,)


def test_missing_can_be_kept():
    rules = parse_rules(RULES.replace("above = 50", 'above = 50\nif_missing = "keep"'), origin="test")
    people = pd.DataFrame({"age_years": [np.nan, 40]})
    assert select(people, grid(2), grid(2), rules).kept == (0,)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.none() | st.integers(20, 100), st.sampled_from(["yes", "no", None])), min_size=1, max_size=30)
)
def test_counts_add_up(rows):
    people = pd.DataFrame({"age_years": [r[0] for r in rows], "amputation": [r[1] for r in rows]})
    found = select(people, grid(len(rows)), grid(len(rows)), parse_rules(RULES, origin="test"))
    table = flow_table(found.steps)
    assert (table["before"] == table["removed"] + table["after"]).all()
    assert (table["before"].iloc[1:].to_numpy() == table["after"].iloc[:-1].to_numpy()).all()
    assert len(found.kept) + len(found.removed) == len(rows)


def test_default_rules_follow_the_paper():
    rules = load_rules()
    assert rules[0].test is Test.ABOVE
    assert rules[0].limit == 50
    assert {r.column for r in rules if r.action is Action.EXCLUDE} >= {"amputation", "fracture_type"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule]]\nname='a'\naction='include'\ncolumn='x'", "exactly one"),
        ("[[rule]]\nname='a'\naction='maybe'\ncolumn='x'\nabove=1", "include"),
        ("[[rule]]\nname='a'\naction='include'\ncolumn='x'\nabove='1'", "number"),
        ("[[rule]]\nname='a'\naction='include'\ncolumn='x'\nany_of='1'", "list"),
        ("[[rule]]\nname='a'\naction='include'\nabove=1", "column"),
        ("[[rule]]\nname='a'\naction='include'\ncoverage=['tibia']", "tibia"),
        ("[[rule]]\nname='a'\naction='include'\ncolumn='x'\nabove=1\nif_missing='x'", "if_missing"),
        ("[[rules]]\nname='a'", "unknown"),
        ("[[rule]", "TOML"),
    ],
)
def test_malformed_rules_are_refused(text, says):
    with pytest.raises(SettingsError, match=says):
        parse_rules(text, origin="test")


def test_no_such_file(tmp_path):
    with pytest.raises(MissingInputError):
        load_rules(tmp_path / "none.toml")
