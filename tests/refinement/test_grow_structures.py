import numpy as np
import pytest
from numpy.typing import NDArray

from vastus.errors import GeometryError, SettingsError
from vastus.refinement.grow_from_seeds import BACKGROUND_SEED
from vastus.refinement.grow_structures import Change, Growth, StructureGrower

MM = (1.0, 1.0, 2.0)
ONE, TWO, FEMUR = 101, 102, 128
Labels = NDArray[np.uint8]


def leg() -> NDArray[np.int16]:
    """Two muscles in fat with a thin septum between them, and a hollow bone inside the second."""
    hu = np.full((60, 44, 12), -100, np.int16)
    hu[8:29, 8:36] = 55
    hu[31:52, 8:36] = 55
    i, j, _ = np.indices(hu.shape)
    radius = np.hypot(i - 42, j - 22)
    hu[radius < 8] = 900
    hu[radius < 4] = 20
    hu[:2] = -1000
    return hu


def strokes(**at: tuple[int, int, int]) -> Labels:
    drawn = np.zeros(leg().shape, np.uint8)
    for value, place in at.items():
        drawn[place] = int(value.removeprefix("v"))
    return drawn


def grow(drawn: Labels, before: Labels | None = None) -> Growth:
    return StructureGrower(leg(), MM).grow(drawn, before)


def test_strokes_fill_their_muscles_and_neither_fat_nor_bone() -> None:
    hu = leg()
    grown = grow(strokes(v101=(18, 20, 6), v102=(34, 12, 6)))
    assert grown.grown == (ONE, TWO)
    assert (grown.labels[10:27, 10:34, 1:11] == ONE).all()
    assert not grown.labels[hu < -60].any()
    assert not grown.labels[hu > 300].any()
    i, j, _ = np.indices(hu.shape)
    assert not grown.labels[np.hypot(i - 42, j - 22) < 7].any(), "marrow is bone"


def test_in_a_labelled_case_only_structures_with_new_strokes_change() -> None:
    before = np.zeros(leg().shape, np.uint8)
    before[8:29, 8:36] = ONE
    before[33:50, 10:14] = 103
    i, j, _ = np.indices(before.shape)
    before[np.hypot(i - 42, j - 22) < 8] = FEMUR
    drawn = before.copy()
    drawn[34, 30, 6] = TWO
    grown = grow(drawn, before)
    assert grown.grown == (TWO,)
    for value in (ONE, 103, FEMUR):
        assert np.array_equal(grown.labels == value, before == value)
    assert [c.value for c in grown.changes] == [TWO]
    change = grown.changes[0]
    assert change.lost_ml == change.before_ml == 0
    assert change.gained_ml == change.after_ml == pytest.approx((grown.labels == TWO).sum() * 2 / 1000)


def test_a_structure_that_is_there_is_continued_from_a_new_stroke() -> None:
    before = np.zeros(leg().shape, np.uint8)
    before[8:29, 8:36, :6] = ONE
    before[31:34, 8:36] = TWO
    drawn = before.copy()
    drawn[18, 20, 9] = ONE
    grown = grow(drawn, before)
    assert (grown.labels[10:27, 10:34, 7:11] == ONE).all()
    assert (grown.labels == TWO).sum() == (before == TWO).sum()


def test_what_was_erased_does_not_grow_again_and_what_was_painted_over_is_told() -> None:
    before = np.zeros(leg().shape, np.uint8)
    before[8:29, 8:36] = ONE
    before[31:36, 8:36] = TWO
    drawn = before.copy()
    drawn[8:12, 8:36] = 0
    drawn[27:29, 20:24, 6] = TWO
    grown = grow(drawn, before)
    assert not grown.labels[8:12, 8:36].any()
    told = {c.value: c for c in grown.changes}
    assert told[ONE].lost_ml == pytest.approx((4 * 28 * 12 + 8) * 2 / 1000)
    assert told[ONE].gained_ml == 0


def test_bones_grow_into_bone_with_its_marrow_only() -> None:
    grown = grow(strokes(v128=(42, 28, 6), v101=(18, 20, 6), v102=(34, 12, 6)))
    i, j, _ = np.indices(grown.labels.shape)
    radius = np.hypot(i - 42, j - 22)
    assert (grown.labels[radius < 6.5] == FEMUR).all()
    assert not (grown.labels[radius > 9.5] == FEMUR).any()
    alone = grow(strokes(v128=(42, 28, 6), v254=(18, 20, 6)))
    assert set(np.unique(alone.labels)) == {0, FEMUR}
    assert not (alone.labels[radius > 9.5] == FEMUR).any()


def test_background_strokes_hold_it_back_and_are_not_kept() -> None:
    hu = leg()
    hu[29:31, 8:36] = 40  # no fat between the muscles
    drawn = strokes(v101=(12, 20, 6), v254=(36, 12, 6))
    grown = StructureGrower(hu, MM).grow(drawn)
    assert BACKGROUND_SEED not in grown.labels
    assert (grown.labels[10:20, 10:34, 2:10] == ONE).all()
    assert not grown.labels[33:, 8:36].any()


def test_what_nobody_labelled_can_be_grown_into_and_else_stays_so() -> None:
    before = np.full(leg().shape, 255, np.uint8)
    before[:, :, 5] = 0
    drawn = before.copy()
    drawn[18, 20, 6], drawn[34, 12, 6] = ONE, TWO
    grown = grow(drawn, before)
    assert (grown.labels[10:27, 10:34, 6:11] == ONE).all()
    assert (grown.labels[3:6, :, 6] == 255).all() and not grown.labels[3:6, :, 5].any()
    assert {c.value for c in grown.changes} == {ONE, TWO}


def test_it_refuses_where_there_is_nothing_to_grow_or_to_decide() -> None:
    nothing = np.zeros(leg().shape, np.uint8)
    with pytest.raises(SettingsError, match="no new stroke"):
        grow(nothing)
    labelled = nothing.copy()
    labelled[8:29, 8:36] = ONE
    with pytest.raises(SettingsError, match="no new stroke"):
        grow(labelled, labelled)
    background = labelled.copy()
    background[40, 12, 6] = BACKGROUND_SEED
    with pytest.raises(SettingsError, match="no new stroke"):
        grow(background, labelled)
    with pytest.raises(SettingsError, match="nothing says where it ends"):
        grow(strokes(v101=(18, 20, 6)))
    with pytest.raises(GeometryError):
        grow(np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(GeometryError):
        StructureGrower(np.zeros((3, 3)), MM)


def test_nothing_grows_beyond_the_margin_and_a_kept_state_gives_the_same() -> None:
    kept = StructureGrower(leg(), MM, margin_mm=5.0)
    drawn = strokes(v101=(18, 20, 6), v254=(18, 22, 6))
    first = kept.grow(drawn)
    assert not first.labels[24:].any() and not first.labels[:, 28:].any()
    more = drawn.copy()
    more[17, 20, 6] = ONE
    fresh = StructureGrower(leg(), MM, margin_mm=5.0)
    fresh.grow(drawn)
    assert np.array_equal(kept.grow(more).labels, fresh.grow(more).labels)
    assert first.changes == (Change(ONE, 0.0, first.changes[0].after_ml, first.changes[0].after_ml, 0.0),)
