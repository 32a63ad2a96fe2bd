from __future__ import annotations

from vastus.anatomy import BY_KEY, BY_VALUE, UNLABELLED, Side
from vastus.importing.codebook import NOT_DRAWN_VALUE, Codebook
from vastus.importing.name_tables import Meaning

VASTI = ("vastus_lateralis", "vastus_intermedius")


def test_single_structures_keep_our_values_and_sides():
    codes = Codebook()
    assert codes.value_for("hip_left", Meaning(("hip_bone",), side=Side.LEFT)) == 229
    assert codes.value_for("hip", Meaning(("hip_bone",))) == 29
    assert codes.values == {"hip_bone_left": 229, "hip_bone": 29}
    assert Codebook(join_sides=True).value_for("hip_left", Meaning(("hip_bone",), side=Side.LEFT)) == 29


def test_sets_get_values_of_their_own_once_a_side():
    codes = Codebook()
    right = codes.value_for("outer vasti right", Meaning(VASTI, side=Side.RIGHT))
    assert codes.value_for("VL + VI right", Meaning(VASTI[::-1], side=Side.RIGHT)) == right
    left = codes.value_for("outer vasti left", Meaning(VASTI, side=Side.LEFT))
    assert codes.values == {"outer_vasti_right": right, "outer_vasti_left": left} and right != left
    assert codes.merged == {"outer_vasti_right": VASTI, "outer_vasti_left": VASTI}
    assert not {left, right} & {0, NOT_DRAWN_VALUE, UNLABELLED, *BY_VALUE}
    assert codes.shown_values()[right] == 103


def test_a_set_never_takes_the_name_of_a_structure():
    codes = Codebook()
    codes.value_for("iliopsoas", Meaning(("iliacus", "iliopsoas", "psoas")))
    codes.value_for("vasti", Meaning(VASTI))
    codes.value_for("vasti", Meaning((*VASTI, "vastus_medialis")))
    assert list(codes.merged) == ["iliacus_or_iliopsoas_or_psoas", "vasti", "vasti_2"]


def test_background_is_0_only_where_everything_is_drawn():
    codes = Codebook()
    everything = frozenset(BY_KEY)
    assert codes.background_value(everything) == 0 and codes.values == {}
    assert codes.background_value(everything - {"gracilis"}) == NOT_DRAWN_VALUE
    codes.background_value(everything - {"femur"})
    assert codes.merged == {"not_drawn": ("background", "gracilis", "femur")}
    assert codes.name_of(NOT_DRAWN_VALUE) == "not_drawn" and codes.name_of(3) == ""
