from __future__ import annotations

import pickle

import pytest

from vastus.anatomy import BUILT_IN, SIDES, Group, Kind, Side
from vastus.errors import SettingsError
from vastus.io.own_structures import entries_of, own_table, refuse_own, same_structures, table_digest

ENTRIES = [
    {"name": "femur"},
    {"name": "adductors", "title": "Adductors (merged)", "group": "Adductors", "colour": "#0a0b0c"},
    {"name": "sacrum", "group": "bones", "paired": "no", "kind": "bone"},
    {"name": "bladder", "kind": "other", "paired": "no"},
]


def test_the_built_in_table_described_by_its_entries_is_itself() -> None:
    assert own_table(entries_of(BUILT_IN)) is BUILT_IN


def test_a_built_in_name_brings_what_is_known_and_the_rest_is_as_told() -> None:
    femur, adductors, sacrum, bladder = own_table(ENTRIES).rows
    known = BUILT_IN.by_key["femur"]
    assert (femur.class_id, femur.english, femur.group, femur.colour) == (1, "Femur", Group.BONE, known.colour)
    assert (adductors.english, adductors.group.title, adductors.colour) == (
        "Adductors (merged)",
        "Adductors",
        (10, 11, 12),
    )
    assert adductors.kind is Kind.MUSCLE and adductors.paired
    assert sacrum.group == Group.BONE and sacrum.kind is Kind.BONE and not sacrum.paired
    assert bladder.kind is Kind.OTHER and not bladder.is_muscle


def test_label_values_of_pairs_and_of_the_midline() -> None:
    table = own_table(ENTRIES)
    assert [table.by_key["adductors"].label_value(side) for side in SIDES] == [102, 202]
    assert {table.by_key["sacrum"].label_value(side) for side in Side} == {3}
    assert table.by_value[3].side is Side.MIDLINE and table.by_value[2].side is Side.UNKNOWN
    assert [label.name for label in table.whole_labels] == [
        "femur_right",
        "adductors_right",
        "femur_left",
        "adductors_left",
        "sacrum",
        "bladder",
    ]
    assert table.class_of_value[102] == table.class_of_value[2] == 2 and table.class_of_value[103] == 0


def test_a_group_never_bears_the_name_of_a_structure() -> None:
    # Tables of results tell groups from structures by these names.
    assert own_table(ENTRIES).by_key["adductors"].group.value == "adductors_group"


def test_muscles_bones_and_groups_follow_the_table() -> None:
    table = own_table(ENTRIES)
    assert [s.key for s in table.muscles] == ["adductors"]
    assert [s.key for s in table.bones] == ["femur", "sacrum"]
    assert [g.value for g in table.groups] == ["bone", "adductors_group", "own"]
    assert [g.value for g in table.muscle_groups] == ["adductors_group"]
    assert not table.has_whole_thigh and BUILT_IN.has_whole_thigh


def test_structures_added_to_the_built_in_ones_leave_these_as_they_are() -> None:
    table = own_table([*entries_of(BUILT_IN), {"name": "soleus", "group": "Calf"}])
    assert table.rows[:29] == BUILT_IN.rows and table.has_whole_thigh and not table.is_built_in


def test_entries_give_the_table_back_also_through_pickle() -> None:
    table = own_table(ENTRIES)
    assert own_table(entries_of(table)) == table
    assert pickle.loads(pickle.dumps(table)) == table
    assert table_digest(table) != table_digest(BUILT_IN)


def test_colours_that_are_not_given_differ() -> None:
    table = own_table([{"name": f"part_{n}"} for n in range(51)])
    assert len({s.colour for s in table.rows}) == 51


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "no structure"),
        ([{"name": "Erector spinae"}], "small letters"),
        ([{"name": "psoas_left"}], "must not say a side"),
        ([{"name": "all"}], "another meaning"),
        ([{"name": "calf"}, {"name": "calf"}], "name 'calf' is given more than once"),
        ([{"name": "a", "title": "Calf"}, {"name": "b", "title": "calf"}], "title 'calf' is given more than once"),
        ([{"name": "a", "colour": "red"}], "#d11a3b"),
        ([{"name": "a", "paired": "maybe"}], "yes or no"),
        ([{"name": "a", "kind": "nerve"}], "muscle, bone or other"),
        ([{"name": f"p{n}"} for n in range(52)], "room for 51"),
        # Both would be "xtnsr_dgtrm_lngs" in DICOM.
        ([{"name": "extensor_digitorum_longus"}, {"name": "extensor_digitorom_longus"}], "DICOM code"),
    ],
)
def test_what_can_not_be_a_table_is_refused_by_name(entries: list[dict[str, str]], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        own_table(entries)


def test_all_problems_stand_in_one_message() -> None:
    with pytest.raises(SettingsError, match=r"2 problem\(s\)"):
        own_table([{"name": "a", "colour": "red"}, {"name": "b", "kind": "nerve"}])


def test_titles_and_colours_do_not_change_what_values_mean() -> None:
    other = own_table([ENTRIES[0], ENTRIES[1] | {"title": "Adductors", "colour": "#ffffff"}, *ENTRIES[2:]])
    assert same_structures(own_table(ENTRIES), other)
    assert not same_structures(own_table(ENTRIES), own_table(ENTRIES[::-1]))


def test_a_room_that_knows_the_built_in_structures_only_says_so() -> None:
    refuse_own(BUILT_IN, "A batch")
    with pytest.raises(SettingsError, match=r"A batch knows the built-in structures only.*adductors"):
        refuse_own(own_table(ENTRIES), "A batch")
