"""How muscles differ from person to person: ends, place, flatness; what must not move doesn't."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastus.anatomy import BY_ID, BY_KEY, SIDES, Group, Side
from vastus.synthesis.atlas import part_from_mask
from vastus.synthesis.deformation import Deformation, Girth, Pose
from vastus.synthesis.growth import Grid
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.muscle_variation import Belly, nearer, sample_bellies, spread_of, with_bellies, with_belly
from vastus.synthesis.subject import Variety, build_body, sample_plan

LENGTH_MM, WIDTH_MM = 120.0, 30.0


def _bar():
    """A bar of 30 x 30 x 120 mm, its lower end at z = 300 mm and its middle at x = y = 50 mm."""
    mask = np.ones((round(WIDTH_MM / VOXEL_MM),) * 2 + (round(LENGTH_MM / VOXEL_MM),), bool)
    origin = np.array([50 - WIDTH_MM / 2, 50 - WIDTH_MM / 2, 300.0]) + VOXEL_MM / 2
    return part_from_mask("rectus_femoris", 2, Side.RIGHT, mask, origin, procedural=False)


def _box_mm(part):
    """Lowest and highest surface along each axis, to a fraction of a voxel."""
    low, high = [], []
    middle = [int(np.argmin(part.distance.min(axis=tuple(a for a in range(3) if a != b)))) for b in range(3)]
    for axis in range(3):
        at = list(middle)
        at[axis] = slice(None)
        line = part.distance[tuple(at)].astype(float)
        inside = np.flatnonzero(line < 0)
        first, last = inside[0], inside[-1]
        before = first - 1 + line[first - 1] / (line[first - 1] - line[first])
        behind = last + line[last] / (line[last] - line[last + 1])
        low.append(part.origin_mm[axis] + part.voxel_mm[axis] * before)
        high.append(part.origin_mm[axis] + part.voxel_mm[axis] * behind)
    return np.array(low), np.array(high)


def test_the_ends_of_a_belly_go_where_they_are_sent():
    changed = with_belly(_bar(), Belly(upper_mm=9.0, lower_mm=-24.0))
    low, high = _box_mm(changed)
    np.testing.assert_allclose([low[2], high[2]], [300 - 24, 300 + LENGTH_MM + 9], atol=0.3)
    np.testing.assert_allclose(low[:2], 50 - WIDTH_MM / 2, atol=0.2)
    assert changed.volume_mm3 == pytest.approx(WIDTH_MM**2 * (LENGTH_MM + 33), rel=0.01)


def test_a_flatter_belly_elsewhere_keeps_its_cross_section():
    low, high = _box_mm(with_belly(_bar(), Belly(aside_mm=(4.0, -2.0), flatness=1.2)))
    np.testing.assert_allclose((low + high)[:2] / 2, [54, 48], atol=0.2)
    np.testing.assert_allclose((high - low)[:2], [36, 25], atol=0.3)
    np.testing.assert_allclose([low[2], high[2]], [300, 300 + LENGTH_MM], atol=0.2)


@given(st.floats(-300, 300), st.floats(-300, 300))
def test_no_belly_is_turned_inside_out(upper, lower):
    changed = with_belly(_bar(), Belly(upper, lower))
    assert min(changed.voxel_mm) >= 0.59 * VOXEL_MM
    assert changed.distance is not None and changed.volume_mm3 > 0.5 * WIDTH_MM**2 * LENGTH_MM


@given(st.integers(0, 10_000))
def test_what_is_cut_and_what_is_bone_stays(seed):
    drawn = sample_bellies(np.random.default_rng(seed), 1.0)
    assert {BY_KEY[key].group for key, _ in drawn} == {Group.ANTERIOR, Group.MEDIAL, Group.POSTERIOR, Group.GLUTEAL}
    assert not {"iliopsoas", "psoas", "iliacus", "femur", "multifidus"} & {key for key, _ in drawn}
    for (key, _), belly in drawn.items():
        spread = spread_of(key)
        assert (
            abs(belly.lower_mm - spread.lower_mean_mm) <= 2.21 * spread.lower_mm
            and abs(belly.upper_mm) <= 2.21 * spread.upper_mm
        )
    calm = nearer(drawn, 0.0)
    assert set(calm.values()) == {Belly()}


def test_the_two_sides_of_a_person_are_alike_and_people_are_not():
    drawn = [sample_bellies(np.random.default_rng(seed), 1.0) for seed in range(400)]
    ends = np.array([[d["semitendinosus", side].lower_mm for side in SIDES] for d in drawn])
    aside = np.array([[d["gracilis", side].aside_mm[0] for side in SIDES] for d in drawn])
    assert np.corrcoef(ends.T)[0, 1] > 0.75
    # Outwards is +x on the right and -x on the left.
    assert np.corrcoef(aside.T)[0, 1] < -0.75
    spread = spread_of("semitendinosus").lower_mm
    assert ends.std() == pytest.approx(spread, rel=0.12) and abs(ends.mean()) < 0.15 * spread


def test_only_the_named_muscle_of_the_named_side_changes(atlas):
    changed = with_bellies(atlas.parts, {("rectus_femoris", Side.LEFT): Belly(lower_mm=-10.0)})
    different = [a for a, b in zip(atlas.parts, changed, strict=True) if a is not b]
    assert [(BY_ID[p.tissue].key, p.side) for p in different] == [("rectus_femoris", Side.LEFT)]


def test_a_body_with_a_longer_belly_has_muscle_further_down_and_the_same_volume(atlas):
    still = Deformation((1.0, 1.0, 1.0), {s: Pose() for s in SIDES}, {s: Girth() for s in SIDES}, ((40.0, 0.1),), 3)
    plan = dataclasses.replace(
        sample_plan(7, [atlas], Variety.CLINICAL),
        mirrored=False,
        deformation=still,
        implants={},
        fat_mm=8.0,
        target_mm3={
            ("rectus_femoris", Side.RIGHT): next(
                p.volume_mm3 for p in atlas.parts if p.name == "rectus_femoris" and p.side is Side.RIGHT
            )
        },
        bellies={},
    )
    value = BY_KEY["rectus_femoris"].label_value(Side.RIGHT)
    lowest, volume = [], []
    for bellies in ({}, {("rectus_femoris", Side.RIGHT): Belly(lower_mm=-16.0)}):
        body = build_body(dataclasses.replace(plan, bellies=bellies), atlas)
        n_x, n_y, n_z = (int(n) for n in (body.high_mm - body.low_mm) / 1.0)
        grid = Grid(body.low_mm, (1.0, 1.0, 1.0), (n_x, n_y, n_z))
        inside = body.label_values()[body.tissue_map(grid).part] == value
        lowest.append(np.flatnonzero(inside.any(axis=(0, 1)))[0])
        volume.append(inside.sum())
    assert 9 <= lowest[0] - lowest[1] <= 20
    assert volume[1] == pytest.approx(volume[0], rel=0.03)
