from __future__ import annotations

import csv
from pathlib import Path

import pytest

from vastus.anatomy import STRUCTURES
from vastus.report.palette import SAFE_COLOURS, safe_colour_table

# Pairs that touch in six synthetic people. A difference of about 2 is just noticeable, one of 10 and more is clear.
TOUCHING = Path(__file__).with_name("touching.csv")
LEAST_APART = 12.0


@pytest.fixture(scope="module")
def touching() -> list[tuple[str, str]]:
    with TOUCHING.open(encoding="utf-8", newline="") as file:
        return [(row["first"], row["second"]) for row in csv.DictReader(file)]


def seen(rgb: tuple[int, int, int], blindness: str | None):
    coloraide = pytest.importorskip("coloraide")
    colour = coloraide.Color("srgb", [c / 255 for c in rgb])
    return colour if blindness is None else colour.filter(blindness, 1, method="machado", space="srgb-linear")


def nearest(colours, pairs, blindness) -> float:
    return min(seen(colours[a], blindness).delta_e(seen(colours[b], blindness), method="2000") for a, b in pairs)


def test_what_touches_is_known(touching):
    # The muscle beside the spine touches the hip bone only; the list is no shorter than what it was counted from.
    named = {name for pair in touching for name in pair}
    assert len(touching) == 102 and named <= {s.key for s in STRUCTURES}
    assert ("vastus_lateralis", "vastus_intermedius") in touching


@pytest.mark.parametrize("blindness", [None, "protan", "deutan", "tritan"])
def test_structures_that_touch_stay_apart(touching, blindness):
    assert nearest(SAFE_COLOURS, touching, blindness) >= LEAST_APART


def test_the_colours_by_group_do_not(touching):
    # Why there is a second palette at all; and that the measure can tell.
    by_group = {s.key: s.colour for s in STRUCTURES}
    assert nearest(by_group, touching, "deutan") < 5


def test_every_structure_has_a_colour_of_its_own():
    assert set(SAFE_COLOURS) == {s.key for s in STRUCTURES}
    assert len(set(SAFE_COLOURS.values())) == len(STRUCTURES)
    table = safe_colour_table()
    assert table.shape == (30, 3) and not table[0].any()
    assert tuple(table[STRUCTURES[4].class_id]) == SAFE_COLOURS[STRUCTURES[4].key]
