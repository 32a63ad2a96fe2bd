from __future__ import annotations

import ast
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
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
    GROUPS,
    LABELS,
    LARGEST_CLASS_ID,
    MUSCLE_GROUPS,
    MUSCLES,
    SIDES,
    STRUCTURES,
    THIGH_GROUPS,
    Depth,
    Group,
    Region,
    Side,
    class_of,
    problems_of,
    structures_of,
)
from vastus.label_arrays import classes_of

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
    counts = {group: len(list(structures_of(group))) for group in GROUPS}
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


@given(st.sampled_from(STRUCTURES), st.sampled_from((*SIDES, Side.UNKNOWN)))
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


@pytest.mark.parametrize("text", ["key", "english", "latin", "abbreviation"])
def test_names_are_unique_and_tidy(text: str):
    values = [getattr(s, text) for s in STRUCTURES]
    assert len(set(values)) == 29
    assert all(value == value.strip() and value for value in values)


def test_class_of_a_value_is_that_of_its_label():
    assert [class_of(v) for v in (0, 1, 101, 201, 128, 229, 29, 30, 100, 130, 254, 255)] == [
        *(0, 1, 1, 1, 28, 29, 29),
        *(0, 0, 0, 0, 0),
    ]
    assert all(class_of(value) == label.structure.class_id for value, label in BY_VALUE.items())
    assert BY_KEY["femur"].label_values == (128, 228, 28)


def test_whole_arrays_get_the_same_classes():
    values = np.arange(256, dtype=np.uint8).reshape(2, 128)
    found = classes_of(values)
    assert found.dtype == np.uint8
    assert found.ravel().tolist() == [class_of(v) for v in range(256)]
    assert classes_of(np.array([228, 0], np.int64)).tolist() == [28, 0]


def test_groups_have_one_name_each():
    assert len({group.title for group in GROUPS}) == len(GROUPS)
    assert set(THIGH_GROUPS) < set(MUSCLE_GROUPS) == set(GROUPS) - {Group.BONE}


def test_regions_depths_and_lies_agree_with_each_other():
    at = {region: {s.key for s in STRUCTURES if s.region is region} for region in Region}
    assert at[Region.TRUNK] == {"psoas", "abdominal_oblique", "rectus_abdominis", "multifidus"}
    assert "hip_bone" in at[Region.PELVIS] and "femur" in at[Region.THIGH]
    # What belongs to the trunk lies higher than what belongs to the thigh.
    heights = {
        region: [s.height_mm for s in STRUCTURES if s.region is region and s.height_mm is not None] for region in Region
    }
    assert max(heights[Region.THIGH]) < min(heights[Region.HIP]) < max(heights[Region.HIP]) < min(heights[Region.TRUNK])
    assert {s.key for s in STRUCTURES if s.depth is Depth.FRONT and s.group == Group.POSTERIOR} == set()
    assert {s.key for s in STRUCTURES if s.depth is Depth.BACK and s.group == Group.ANTERIOR} == set()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_id": 31}, "class ids must be 1, 2, 3"),
        ({"class_id": 1}, "class ids must be 1, 2, 3"),
        ({"key": "femur"}, "key femur is given 2 times"),
        ({"abbreviation": "VL"}, "abbreviation VL is given 2 times"),
        ({"colour": (240, 234, 214)}, "colour (240, 234, 214) is given 2 times"),
    ],
)
def test_a_wrong_row_is_named(change: dict[str, object], said: str):
    new = replace(BY_KEY["hip_bone"], class_id=30, key="k", english="E", latin="L", abbreviation="A", colour=(1, 2, 3))
    assert problems_of((*STRUCTURES, new)) == ()
    assert said in " ".join(problems_of((*STRUCTURES, replace(new, **change))))


def test_a_table_is_not_longer_than_label_values_reach():
    rows = tuple(
        replace(
            BY_KEY["femur"], class_id=n, key=f"{n}", english=f"{n}", latin=f"{n}", abbreviation=f"{n}", colour=(n, 0, 0)
        )
        for n in range(1, LARGEST_CLASS_ID + 2)
    )
    assert problems_of(rows[:-1]) == ()
    assert "there is room for 51" in problems_of(rows)[0]
    assert rows[-2].label_value(Side.LEFT) == 251


SOURCE = Path(anatomy.__file__).parent
RULE = re.compile(r"% ?100\b|// ?100\b|\b[12]00 ?\+ ?\w*(?:id|class)|(?:==|<=?) ?(?:27|28|29)(?![.\w])|range\(1, 30\)")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_nobody_else_knows_how_values_and_classes_belong_together(path: Path):
    if path.name != "anatomy.py":
        code = ast.unparse(without_docstrings(ast.parse(path.read_text(encoding="utf-8"))))
        assert RULE.findall(code) == []


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))] or [
                ast.Pass()
            ]
    return tree


def test_imports_nothing_but_the_standard_library():
    tree = ast.parse(Path(anatomy.__file__).read_text())
    roots = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {root.split(".")[0] for root in roots} <= sys.stdlib_module_names
