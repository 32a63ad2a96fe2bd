import numpy as np
import pytest

from vastus.anatomy import BY_KEY, SIDES, STRUCTURES, Side
from vastus.errors import SettingsError
from vastus.synthesis.atlas import FEMORAL_HEAD_RADIUS_MM
from vastus.synthesis.between import person_between
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.subject import Variety, build_body, sample_plan

pytestmark = pytest.mark.slow  # bodies are made


@pytest.fixture(scope="module")
def middle(two, match):
    return person_between(*two, match, 0.5)


def part_of(atlas, key, side=Side.RIGHT):
    return next(p for p in atlas.parts if p.tissue == BY_KEY[key].class_id and p.side is side)


@pytest.mark.parametrize("key", ["gluteus_maximus", "vastus_lateralis"])
def test_half_way_a_structure_has_half_of_the_difference(two, middle, key):
    thin, between, thick = (part_of(x, key).volume_mm3 for x in (two[0], middle, two[1]))
    # Both widths grow by half of the difference.
    expected = thin * ((1 + (thick / thin) ** 0.5) / 2) ** 2
    assert thin < between < thick
    assert between == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("key", ["adductor_magnus", "hip_bone", "femur", "biceps_femoris"])
def test_half_way_every_structure_is_between(two, middle, key):
    # In the pack these overlap their neighbours, which pull at the same points: no closed answer.
    thin, between, thick = (part_of(x, key).volume_mm3 for x in (two[0], middle, two[1]))
    assert 1.05 * thin < between < 0.95 * thick


def test_a_small_share_hardly_changes_the_person(two, match):
    near = person_between(*two, match, 0.02)
    for key in ("gluteus_maximus", "vastus_lateralis", "femur"):
        assert part_of(near, key).volume_mm3 == pytest.approx(part_of(two[0], key).volume_mm3, rel=0.06)


def test_every_structure_is_there_on_both_sides(middle):
    for structure in STRUCTURES:
        for side in SIDES:
            assert part_of(middle, structure.key, side).volume_mm3 > 0, structure.key


def test_the_cut_of_the_iliopsoas_is_level_again(middle):
    cut = middle.landmarks.head_mm[Side.RIGHT][2] + FEMORAL_HEAD_RADIUS_MM
    for side in SIDES:
        for key in ("iliopsoas", "psoas", "iliacus"):
            part = part_of(middle, key, side)
            heights = part.origin_mm[2] + VOXEL_MM * np.flatnonzero((part.distance < 0).any(axis=(0, 1)))
            if key == "iliopsoas":
                assert heights[-1] <= cut + VOXEL_MM
            else:
                assert heights[0] >= cut - VOXEL_MM


def test_landmarks_lie_half_way(two, middle, match):
    for side in SIDES:
        frames = zip((match.a, match.b), two, strict=True)
        ends = [frame.from_person(np.array(person.landmarks.head_mm[side])) for frame, person in frames]
        assert middle.landmarks.head_mm[side] == pytest.approx(tuple(np.mean(ends, axis=0)))


def test_bodies_can_be_made_of_it(middle):
    body = build_body(sample_plan(5, [middle], Variety.CLINICAL), middle)
    assert all(body.volumes_mm3.get(BY_KEY["gluteus_maximus"].label_value(side), 0) > 0 for side in SIDES)


@pytest.mark.parametrize("share", [-0.1, 0.0, 1.0, 2.0])
def test_beyond_the_two_there_is_nobody(two, match, share):
    with pytest.raises(SettingsError, match="between 0 and 1"):
        person_between(*two, match, share)
