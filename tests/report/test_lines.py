from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastus.anatomy import GROUPS, STRUCTURES, Group, Side
from vastus.morphometry.scan import measure_scan
from vastus.report.lines import Cell, asymmetry_percent, set_out


def test_all_structures_in_the_order_of_the_anatomy(rows):
    blocks = set_out(rows)
    assert [b.group for b in blocks] == list(GROUPS)
    assert [line.structure for b in blocks for line in b.lines] == list(STRUCTURES)


def test_a_structure_without_a_row_is_absent():
    blocks = set_out([])
    assert all(line.right == line.left == Cell() for b in blocks for line in b.lines)
    assert all(b.right.volume_cm3 is None for b in blocks)


def test_asymmetry_is_a_percentage_of_the_mean(rows):
    line = set_out(rows)[0].lines[0]
    assert line.asymmetry_percent == pytest.approx(100 * (100 - 90) / 95)


@pytest.mark.parametrize("values", [{"truncated": True}, {"volume_mm3": None, "mean_hu": None}])
def test_no_asymmetry_unless_both_are_whole(rows, changed, values):
    block = set_out(changed(rows, "sartorius", Side.LEFT, **values))[0]
    assert block.lines[0].asymmetry_percent is None
    assert block.asymmetry_percent is None
    assert block.lines[1].asymmetry_percent is not None


def test_group_sum_is_of_what_is_visible(rows, changed):
    block = set_out(changed(rows, "sartorius", Side.LEFT, volume_mm3=None, mean_hu=None))[0]
    assert block.right == Cell(500.0)
    assert block.left == Cell(360.0, None, True)


@given(st.floats(0.1, 1e5), st.floats(0.1, 1e5))
def test_asymmetry_is_antisymmetric_and_bounded(right, left):
    value = asymmetry_percent(Cell(right), Cell(left))
    assert value == -asymmetry_percent(Cell(left), Cell(right))
    assert abs(value) <= 200


def test_asymmetry_is_that_of_measures_csv(phantom):
    measured = measure_scan(phantom.ct, phantom.labels, "s1")
    expected = {a.name: a.percent for a in measured.asymmetries}
    blocks = set_out(measured.volume_rows())
    for line in (line for block in blocks for line in block.lines):
        assert line.asymmetry_percent == pytest.approx(expected[line.structure.key], abs=1e-9)
    for block in blocks:
        if block.group != Group.BONE:
            assert block.asymmetry_percent == pytest.approx(expected[block.group.value], abs=1e-9)


def test_a_fragment_is_shown_and_counts_in_no_sum_and_no_difference(rows, changed):
    block = set_out(changed(rows, "sartorius", Side.LEFT, volume_mm3=30.0, fragment=True))[0]
    assert block.lines[0].left == Cell(0.03, 51.5, False, True)
    assert block.lines[0].asymmetry_percent is block.asymmetry_percent is None
    assert block.left == Cell(360.0, None, True)
