from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastus import anatomy
from vastus.anatomy import (
    BONES,
    BY_ID,
    BY_KEY,
    BY_VALUE,
    CLASS_COUNT,
    LABELS,
    MUSCLES,
    SIDES,
    STRUCTURES,
    Group,
    Side,
    structures_of,
)

# The order of the paper's table: stored label maps and weights depend on it, so that it must never change.
ORDER = [
    "sartorius",
    "rectus_femoris",
    "vastus_lateralis",
    "vastus_intermedius",
    "vastus_medialis",
    "adductor_magnus",
    "adductor_brevis",
    "adductor_longus",
    "gracilis",
    "pectineus",
    "semitendinosus",
    "semimembranosus",
    "biceps_femoris",
    "gluteus_maximus",
    "gluteus_medius",
    "gluteus_minimus",
    "tensor_fasciae_latae",
    "piriformis",
    "obturator_internus",
    "obturator_externus",
    "quadratus_femoris",
    "iliacus",
    "iliopsoas",
    "psoas",
    "abdominal_oblique",
    "rectus_abdominis",
    "multifidus",
    "femur",
    "hip_bone",
]


def test_ids_and_order_are_fixed():
    assert [s.key for s in STRUCTURES] == ORDER
    assert [s.class_id for s in STRUCTURES] == list(range(1, 30))
    assert CLASS_COUNT == 30


def test_numbers_of_the_paper():
    assert len(MUSCLES) == 27
    assert [s.key for s in BONES] == ["femur", "hip_bone"]
    counts = {group: len(list(structures_of(group))) for group in Group}
    assert counts == {
        Group.ANTERIOR: 5,
        Group.MEDIAL: 5,
        Group.POSTERIOR: 3,
        Group.GLUTEAL: 8,
        Group.OTHER: 6,
        Group.BONE: 2,
    }


def test_label_values_are_the_documented_ones():
    assert len(LABELS) == len(BY_VALUE) == 87
    assert BY_KEY["sartorius"].label_value(Side.RIGHT) == 101
    assert BY_KEY["hip_bone"].label_value(Side.LEFT) == 229
    assert BY_KEY["femur"].label_value(Side.UNKNOWN) == 28
    assert all(0 < value < 256 for value in BY_VALUE)


def test_label_names():
    assert BY_VALUE[228].name == "femur_left"
    assert BY_VALUE[124].name == "psoas_right"
    assert BY_VALUE[24].name == "psoas"
    assert len({label.name for label in LABELS}) == 87


@given(st.sampled_from(STRUCTURES), st.sampled_from(Side))
def test_values_lead_back(structure: anatomy.Structure, side: Side):
    label = BY_VALUE[structure.label_value(side)]
    assert (label.structure, label.side) == (structure, side)
    assert BY_ID[structure.class_id] is BY_KEY[structure.key] is structure


def test_opposite_sides():
    assert [side.opposite for side in (Side.RIGHT, Side.LEFT, Side.UNKNOWN)] == [Side.LEFT, Side.RIGHT, Side.UNKNOWN]
    assert SIDES == (Side.RIGHT, Side.LEFT)


def test_colours_can_be_told_apart():
    colours = {s.colour for s in STRUCTURES}
    assert len(colours) == 29
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)
    closest = min(
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
        for one in colours
        for other in colours
        if one != other
    )
    assert closest > 15


def test_codes_are_numbers_with_a_scheme():
    coded = [s.code for s in STRUCTURES if s.code]
    assert {code.scheme for code in coded} == {"SCT"}
    assert all(code.value.isdigit() for code in coded)
    assert len({code.value for code in coded}) == len(coded)


@pytest.mark.parametrize("text", ["key", "english", "latin"])
def test_names_are_unique_and_tidy(text: str):
    values = [getattr(s, text) for s in STRUCTURES]
    assert len(set(values)) == 29
    assert all(value == value.strip() and value for value in values)


def test_imports_nothing_but_the_standard_library():
    tree = ast.parse(Path(anatomy.__file__).read_text())
    roots = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {root.split(".")[0] for root in roots} <= sys.stdlib_module_names
