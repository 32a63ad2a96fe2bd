"""Small label maps with closed answers."""

import numpy as np

from vastus.anatomy import BY_KEY
from vastus.training.losses import IGNORE
from vastus.training.renaming import RIM_MM, renamed

RECTUS, VASTUS, GRACILIS, FEMUR = (
    BY_KEY[k].class_id for k in ("rectus_femoris", "vastus_medialis", "gracilis", "femur")
)
AMONG = (RECTUS, VASTUS)
MM = (2.0, 2.0, 4.0)


def row(*classes: int) -> np.ndarray:
    return np.array(classes, np.uint8).reshape(-1, 1, 1)


def merged(outlines: np.ndarray, names: np.ndarray) -> list[int]:
    return renamed(outlines, names, AMONG, MM).ravel().tolist()


def test_inside_the_outlines_the_newer_names_count() -> None:
    outlines = row(RECTUS, RECTUS, VASTUS, VASTUS, VASTUS)
    names = row(RECTUS, VASTUS, VASTUS, GRACILIS, IGNORE)
    assert merged(outlines, names) == [RECTUS, VASTUS, VASTUS, IGNORE, IGNORE]


def test_a_rim_that_the_newer_round_left_out_gets_its_nearest_name() -> None:
    reach = int(RIM_MM / MM[0])
    outlines = row(*[RECTUS] * 12)
    names = row(VASTUS, *[0] * 11)
    assert merged(outlines, names) == [VASTUS] * (1 + reach) + [IGNORE] * (11 - reach)
    assert merged(outlines, row(*[0] * 12)) == [IGNORE] * 12, "no name is near"


def test_other_structures_stay_unless_the_newer_round_names_another() -> None:
    outlines = row(GRACILIS, GRACILIS, GRACILIS, GRACILIS, FEMUR)
    names = row(GRACILIS, 0, FEMUR, IGNORE, VASTUS)
    assert merged(outlines, names) == [GRACILIS, GRACILIS, IGNORE, IGNORE, IGNORE]


def test_background_stays_unless_the_newer_round_sees_a_structure() -> None:
    outlines = row(0, 0, 0, 0, IGNORE, IGNORE)
    names = row(0, IGNORE, GRACILIS, VASTUS, 0, VASTUS)
    assert merged(outlines, names) == [0, 0, IGNORE, IGNORE, IGNORE, IGNORE]


def test_a_round_with_itself_changes_nothing() -> None:
    both = np.random.default_rng(5).choice([0, RECTUS, VASTUS, GRACILIS, IGNORE], (6, 5, 4)).astype(np.uint8)
    np.testing.assert_array_equal(renamed(both, both, AMONG, MM), both)
