import numpy as np
import pytest

from vastus.anatomy import BY_KEY, SIDES, STRUCTURES, Side
from vastus.errors import SettingsError
from vastus.synthesis.mixing import BEYOND, Mix, mixed_person, sample_mix
from vastus.synthesis.tissues import MUSCLE_IDS

pytestmark = pytest.mark.slow  # people are bent


def part_of(atlas, key, side=Side.RIGHT):
    return next(p for p in atlas.parts if p.tissue == BY_KEY[key].class_id and p.side is side)


@pytest.fixture(scope="module")
def mixed(two, match):
    """A fifth beyond the thick person, away from the thin one; gluteus maximus most of the way to the thin one."""
    own = dict.fromkeys(MUSCLE_IDS, (0.0,)) | {BY_KEY["gluteus_maximus"].class_id: (0.9,)}
    return mixed_person(two[1], [match], Mix((-0.2,), own))


def test_a_person_may_lie_beyond_all(two, mixed):
    for key in ("vastus_lateralis", "gracilis", "semitendinosus"):
        assert part_of(mixed, key).volume_mm3 > 1.01 * part_of(two[1], key).volume_mm3


def test_a_muscle_has_shares_of_its_own(two, mixed):
    thin, found, thick = (part_of(x, "gluteus_maximus").volume_mm3 for x in (two[0], mixed, two[1]))
    assert thin < found < 0.97 * thick


def test_everything_is_there_and_the_landmarks_are_the_firsts(two, mixed):
    for structure in STRUCTURES:
        for side in SIDES:
            assert part_of(mixed, structure.key, side).volume_mm3 > 0, structure.key
    # Both people have their joints in the same places.
    for side in SIDES:
        assert mixed.landmarks.leg_mm == pytest.approx(two[1].landmarks.leg_mm, abs=4)
        assert mixed.landmarks.head_mm[side][0] == pytest.approx(
            two[1].landmarks.head_mm[side][0] - two[1].landmarks.midline_x_mm, abs=4
        )


def test_a_share_of_nothing_is_the_person(two, match):
    same = mixed_person(two[1], [match], Mix((0.0,), {}))
    for key in ("gluteus_maximus", "vastus_lateralis", "hip_bone"):
        assert part_of(same, key).volume_mm3 == pytest.approx(part_of(two[1], key).volume_mm3, rel=0.02)


def test_shares_are_drawn_moderately_beyond():
    drawn = [sample_mix(np.random.default_rng(seed), 3) for seed in range(300)]
    shares = np.array([mix.shares for mix in drawn])
    rest = 1 - shares.sum(axis=1)
    every = np.column_stack([shares, rest])
    lowest = 0.25 * (1 - BEYOND)
    assert every.min() >= lowest - 1e-9
    assert every.min() < 0
    assert every.mean(axis=0) == pytest.approx(np.full(4, 0.25), abs=0.05)
    assert drawn[7] == sample_mix(np.random.default_rng(7), 3)
    assert drawn[7] != drawn[8]


def test_shares_must_fit_the_people(two, match):
    with pytest.raises(SettingsError, match="2 shares for 1"):
        mixed_person(two[1], [match], Mix((0.1, 0.2), {}))
    with pytest.raises(SettingsError, match="two people"):
        sample_mix(np.random.default_rng(0), 0)
