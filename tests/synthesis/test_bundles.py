"""Layers on a bone: from outside they give way, between them no gap opens, and their border stays where it was."""

import numpy as np
import pytest

from vastus.anatomy import BY_KEY, SIDES, Side
from vastus.synthesis.atlas import UNIT_MM, Atlas, Part, part_from_mask
from vastus.synthesis.bundles import grown_together
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.subject import Variety, sample_plan

WIDE, LONG = 60.0, 90.0
"""Of each layer across x, in mm."""


def layer(key: str, first_mm: float, last_mm: float, side: Side = Side.RIGHT) -> Part:
    """A plate between two planes of x."""
    counts = [round(v / VOXEL_MM) for v in (last_mm - first_mm, WIDE, LONG)]
    origin = np.array([first_mm, -WIDE / 2, -LONG / 2]) + VOXEL_MM / 2
    return part_from_mask(key, BY_KEY[key].class_id, side, np.ones(counts, bool), origin, procedural=False)


def along_x(part: Part, x_mm: np.ndarray) -> np.ndarray:
    """Distances in mm on the middle line."""
    j, k = (round(-part.origin_mm[a] / VOXEL_MM) for a in (1, 2))
    at = part.origin_mm[0] + VOXEL_MM * np.arange(part.distance.shape[0])
    return np.interp(x_mm, at, part.distance[:, j, k] * UNIT_MM, left=np.nan, right=np.nan)


def thigh(gap_mm: float = 0.0, side: Side = Side.RIGHT) -> tuple[Part, Part, Part]:
    """Bone to x = 15 mm, vastus intermedius of 15 mm, vastus lateralis of 24 mm."""
    start = 15.0 + gap_mm
    return (
        layer("femur", 0.0, 15.0, side),
        layer("vastus_intermedius", start, start + 15.0, side),
        layer("vastus_lateralis", start + 15.0, start + 39.0, side),
    )


@pytest.mark.parametrize("gap_mm", [0.0, 1.5, 3.0])
def test_what_shrinks_leaves_no_gap_at_the_bone_or_between(gap_mm: float) -> None:
    _, inner, outer = grown_together(thigh(gap_mm))
    x = np.arange(15.0, 15.0 + gap_mm + 39.0 - 6.0, 0.5)
    deepest = np.fmin(along_x(inner, x), along_x(outer, x))
    assert (deepest < -4.0).all()


def test_from_outside_it_is_as_far_as_it_was() -> None:
    _, _, plain = thigh()
    _, _, outer = grown_together(thigh())
    x = np.arange(50.0, 66.0, 0.5)
    np.testing.assert_allclose(along_x(outer, x), along_x(plain, x), atol=0.3)


def test_the_border_between_two_stays_and_moves_by_half_the_difference_of_their_offsets() -> None:
    _, inner, outer = grown_together(thigh())
    x = np.arange(22.0, 38.0, 0.05)
    one, other = along_x(inner, x), along_x(outer, x)
    assert x[np.argmin(np.abs(one - other))] == pytest.approx(30.0, abs=0.2)
    assert x[np.argmin(np.abs((one - 3.0) - (other + 1.0)))] == pytest.approx(32.0, abs=0.3)


def test_deep_inside_distances_still_grow() -> None:
    _, inner, outer = grown_together(thigh())
    x = np.arange(32.0, 50.0, 1.0)
    deepest = np.fmin(along_x(inner, x), along_x(outer, x))
    assert (np.diff(deepest) > 0.1).all()


def test_bones_and_all_others_stay_as_they_are() -> None:
    parts = (*thigh(), layer("sartorius", 60.0, 75.0), layer("vastus_medialis", 60.0, 75.0, Side.LEFT))
    result = grown_together(parts)
    assert [a is b for a, b in zip(result, parts, strict=True)] == [True, False, False, True, True]
    for old, new in zip(parts, result, strict=True):
        assert new.distance.shape == old.distance.shape
        np.testing.assert_array_equal(new.origin_mm, old.origin_mm)


def test_rectus_femoris_joins_only_where_it_is_asked_to() -> None:
    parts = (*thigh(), layer("rectus_femoris", 54.0, 69.0))
    assert grown_together(parts)[3] is parts[3]
    assert grown_together(parts, frozenset({Side.LEFT}))[3] is parts[3]
    joined = grown_together(parts, frozenset({Side.RIGHT}))
    x = np.array([54.0])
    assert min(along_x(joined[2], x)[0], along_x(joined[3], x)[0]) < -4.0


def test_a_muscle_on_the_ilium_leaves_no_gap_either() -> None:
    _, muscle = grown_together((layer("hip_bone", 0.0, 15.0), layer("gluteus_minimus", 16.5, 31.5)))
    assert (along_x(muscle, np.arange(15.0, 26.0, 0.5)) < -4.0).all()


def test_a_person_has_rectus_joined_on_both_sides_or_on_none(atlas: Atlas) -> None:
    drawn = [sample_plan(seed, [atlas], Variety.WIDE).rectus_joined for seed in range(40)]
    assert set(drawn) == {frozenset(), frozenset(SIDES)}
    assert 8 < sum(bool(d) for d in drawn) < 32
