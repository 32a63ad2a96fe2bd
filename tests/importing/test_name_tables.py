from __future__ import annotations

import csv
import json
from importlib.resources import files
from pathlib import Path

import pytest

from vastus.anatomy import BY_KEY, LABELS, Side
from vastus.errors import SettingsError
from vastus.importing.name_tables import (
    Meaning,
    is_background,
    meaning_of,
    meanings_of,
    read_user_table,
    shipped_names,
    sources,
    table_names,
    wholly_drawn,
)

QUADRICEPS = ("rectus_femoris", "vastus_lateralis", "vastus_intermedius", "vastus_medialis")
FLEXOR = ("iliacus", "iliopsoas", "psoas")


def test_the_shipped_tables_hold_what_their_sources_publish():
    counts = {name: len(shipped_names(name)) for name in table_names()}
    assert counts == {
        "totalsegmentator-total": 117,
        "totalsegmentator-total-v1": 104,
        "totalsegmentator-thigh": 18,
        "musclemap": 99,
        "musclemap-thigh": 28,
        "musclemap-pelvis": 13,
        "pelvic-reference": 28,
    }
    assert shipped_names("totalsegmentator-total")[75] == "femur_left"
    assert shipped_names("totalsegmentator-total-v1")[103] == "iliopsoas_right"
    assert shipped_names("musclemap")[7121] == "vastus medialis left"
    with pytest.raises(SettingsError, match="no table"):
        shipped_names("other")


def test_every_table_says_where_it_comes_from():
    text = (files("vastus.importing") / "tables" / "meanings.csv").read_text(encoding="utf-8")
    named = {row["source"] for row in csv.DictReader(text.splitlines())} | {t.split("-")[0] for t in table_names()}
    assert named == set(sources())
    assert all(entry["title"] and entry["source"] for entry in sources().values())


@pytest.mark.parametrize(
    ("name", "members", "side"),
    [
        ("hip_left", ("hip_bone",), Side.LEFT),
        ("thigh_posterior_compartment_left", ("semitendinosus", "semimembranosus", "biceps_femoris"), Side.LEFT),
        ("autochthon_right", ("background", "multifidus"), Side.RIGHT),
        ("quadriceps_femoris_right", QUADRICEPS, Side.RIGHT),
        ("Left Gemelli And Quadratus Femoris", ("background", "quadratus_femoris"), Side.LEFT),
        ("Biceps femoris long head R", ("biceps_femoris",), Side.RIGHT),
        ("Gluteus medius muscle", ("gluteus_medius",), Side.UNKNOWN),
        ("FEMUR (L)", ("femur",), Side.LEFT),
        ("Musculus sartorius", ("sartorius",), Side.UNKNOWN),
    ],
)
def test_a_name_means_what_its_source_means(name, members, side):
    meaning = meaning_of(name)
    assert meaning is not None and (meaning.members, meaning.side) == (members, side)


@pytest.mark.parametrize("name", ["spleen", "erector spinae left", "lower", ""])
def test_what_nobody_knows_has_no_meaning(name):
    assert meaning_of(name) is None


def test_our_own_names_mean_themselves():
    for label in LABELS:
        assert meaning_of(label.name) == Meaning((label.structure.key,), side=label.side)


def test_nothing_is_called_background():
    assert is_background("Background") and not is_background("") and not is_background("femur")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["iliopsoas_left"], {"iliopsoas_left": FLEXOR}),
        (["iliacus", "psoas major"], {"iliacus": ("iliacus", "iliopsoas"), "psoas major": ("iliopsoas", "psoas")}),
        (
            ["iliacus", "iliopsoas", "psoas"],
            {"iliacus": ("iliacus",), "iliopsoas": ("iliopsoas",), "psoas": ("psoas",)},
        ),
    ],
)
def test_the_hip_flexor_is_a_set_where_the_source_has_fewer_names_for_it(names, expected):
    found = meanings_of(names)
    assert {name: meaning.members for name, meaning in found.items()} == expected


def test_whole_is_what_lies_wholly_under_names_on_both_sides():
    def whole(*names: str) -> frozenset[str]:
        return wholly_drawn(meanings_of(names).values())

    assert whole("femur_left", "femur_right") == {"femur"}
    assert whole("femur_left") == frozenset()
    assert whole("femur") == {"femur"}
    assert whole("quadriceps") == set(QUADRICEPS)
    assert whole("biceps femoris long head") == frozenset()
    assert whole("biceps femoris long head", "biceps femoris short head") == {"biceps_femoris"}
    assert whole("ilium left", "ilium right") == frozenset()
    assert whole("iliacus", "psoas") == set(FLEXOR)
    assert whole("iliacus") == {"iliacus"}
    assert whole(*(s.key for s in BY_KEY.values())) == set(BY_KEY)


def test_a_users_table_counts_before_ours(tmp_path: Path):
    path = tmp_path / "names.csv"
    path.write_text(
        "Value;Name;Ours;Perhaps;Note\n3;Adductor mass;adductor_magnus; gracilis ;seen\n4;Hip left;femur;;\n5;Hip;;;\n"
    )
    table = read_user_table(path)
    assert table.names == {3: "Adductor mass", 4: "Hip left", 5: "Hip"}
    assert meaning_of("adductor mass (right)", table) == Meaning(
        ("adductor_magnus",), ("gracilis",), side=Side.RIGHT, note="seen"
    )
    assert meaning_of("hip_left", table).members == ("femur",)
    assert meaning_of("hip_right", table).members == ("hip_bone",)


def test_json_tables_are_read_either_way_round(tmp_path: Path):
    for number, table in enumerate(({"femur": 4}, {"4": "femur"}, {"labels": {"femur": 4}})):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(table))
        assert read_user_table(path).names == {4: "femur"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("value,ours\n1,femur\n", "no column 'name'"),
        ("value,name\n1.5,femur\n", "Line 2: a value is a whole number"),
        ("value,name\n1,femur\n1,hip\n", "Line 3: the value 1 has two names"),
        ("value,name,ours\n1,thing,thigh\n", "No structures of ours: thigh"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, text: str, problem: str):
    path = tmp_path / "names.csv"
    path.write_text(text)
    with pytest.raises(SettingsError, match=problem):
        read_user_table(path)
