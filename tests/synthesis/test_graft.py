"""A person of ellipsoids, drawn and grafted onto a thinner one."""

import numpy as np
import pytest

from synthesis.conftest import made_once
from vastus.anatomy import BY_KEY, SIDES, STRUCTURES, Side
from vastus.errors import SettingsError
from vastus.synthesis import graft
from vastus.synthesis.atlas import load_atlas, save_atlas
from vastus.synthesis.bundles import lines_of, resampled
from vastus.synthesis.deformation import person_origin
from vastus.synthesis.drawn import DrawnName, drawn_person
from vastus.synthesis.subject import Variety, build_body, sample_plan
from vastus.volume import Volume

pytestmark = pytest.mark.slow  # two people are matched

SPACING_MM = (1.0, 1.0, 2.0)
ADDUCTORS = ("adductor_brevis", "adductor_longus", "adductor_magnus")
NOT_DRAWN = ("quadratus_femoris", "multifidus", *ADDUCTORS)
LOWEST_MM = 90.0
"""The drawing ends here: below the middle of the thigh."""


def labels_of(person, low, shape):
    """Class ids of a person's structures on a grid: the deepest wins."""
    lines = [a + s * np.arange(n) for a, s, n in zip(low, SPACING_MM, shape, strict=True)]
    best, labels = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    for part in person.parts:
        if part.tissue >= 30:
            continue
        distance = resampled(part.distance.astype(np.float32) / 8, lines_of(part), lines)
        nearer = distance < best
        best[nearer], labels[nearer] = distance[nearer], part.tissue
    return labels


@pytest.fixture(scope="module")
def drawn(two):
    thick = two[1]
    low, shape = np.array([-110.0, -80.0, LOWEST_MM]), (220, 160, 120)
    labels = labels_of(thick, low, shape)
    keys = {s.class_id: s.key for s in STRUCTURES if s.key not in NOT_DRAWN}
    for key in ADDUCTORS:
        labels[labels == BY_KEY[key].class_id] = 60
    for key in ("quadratus_femoris", "multifidus"):
        labels[labels == BY_KEY[key].class_id] = 0
    names = [DrawnName(value, (key,)) for value, key in keys.items()]
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = low
    return drawn_person(Volume(labels, affine), [*names, DrawnName(60, ADDUCTORS)])


@pytest.fixture(scope="module")
def person(two, drawn, tmp_path_factory):
    def make(path):
        # The ellipsoids have no round femoral heads to be found.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graft, "find_landmarks", lambda *_: two[1].landmarks)
            save_atlas(graft.grafted_person(drawn, [two[0]]).atlas, path)

    return load_atlas(made_once(tmp_path_factory, "grafted.npz", make))


def part_of(person, key, side=Side.RIGHT):
    return next(p for p in person.parts if p.tissue == BY_KEY[key].class_id and p.side is side)


@pytest.mark.parametrize("key", ["gluteus_maximus", "sartorius", "hip_bone", "rectus_abdominis"])
def test_what_is_drawn_is_the_body(two, person, key):
    """Where both ends of the drawing are far, its structures are those of the person, voxel by voxel."""
    origin = person_origin(two[1])
    for side in SIDES:
        wanted, found = part_of(two[1], key, side), part_of(person, key, side)
        lines = lines_of(wanted)
        moved = [line - origin[axis] for axis, line in enumerate(lines)]
        distance = resampled(found.distance.astype(np.float32), lines_of(found), moved)
        middle = (lines[2] > LOWEST_MM + 45) & (lines[2] < LOWEST_MM + 190)
        a, b = (wanted.distance < 0)[:, :, middle], (distance < 0)[:, :, middle]
        # The ellipsoids overlap; the drawing shows only the deepest one at each place.
        assert (a & b).sum() > 0.9 * b.sum(), (key, side)


def test_what_was_drawn_as_one_is_divided_completely(two, person, drawn):
    for key in ADDUCTORS:
        for side in SIDES:
            ratio = part_of(person, key, side).volume_mm3 / part_of(two[1], key, side).volume_mm3
            assert 0.4 < ratio < 1.6, (key, side)


def test_everything_is_there_on_both_sides_and_below_the_drawing(person):
    for structure in STRUCTURES:
        for side in SIDES:
            assert part_of(person, structure.key, side).volume_mm3 > 0, structure.key
    femur = part_of(person, "femur")
    levels = np.flatnonzero((femur.distance < 0).any(axis=(0, 1)))
    assert (np.diff(levels) == 1).all()
    assert femur.origin_mm[2] + 1.5 * levels[0] < person.landmarks.knee_mm[Side.RIGHT][2] + 15


def test_what_is_drawn_is_measured_and_not_modelled(person):
    assert not part_of(person, "rectus_abdominis").procedural
    assert part_of(person, "multifidus").procedural
    names = [(p.name, p.side) for p in person.parts]
    assert len(set(names)) == len(names)


def test_bodies_can_be_made_of_it(person):
    body = build_body(sample_plan(5, [person], Variety.CLINICAL), person)
    assert all(body.volumes_mm3.get(BY_KEY["gluteus_maximus"].label_value(side), 0) > 0 for side in SIDES)


def test_somebody_must_complete_it(drawn):
    with pytest.raises(SettingsError, match="whole person"):
        graft.grafted_person(drawn, [])
