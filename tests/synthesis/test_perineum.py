"""Soft tissue of the small pelvis: who has what, where it hangs, and that the seed decides."""

import numpy as np
import pytest

from vastus.anatomy import Side
from vastus.sex import Sex
from vastus.synthesis.anchors import Anchors
from vastus.synthesis.overlay import Overlay
from vastus.synthesis.perineum import soft_tissue
from vastus.synthesis.shapes import Point, Tube
from vastus.synthesis.soft_tissues import LOOKS
from vastus.synthesis.tissues import CLASS_OF_TISSUE, Tissue

ANCHORS = Anchors(
    1.0,
    40.0,
    20.0,
    (375.0, 410.0),
    {Side.RIGHT: (55.0, -30.0, 340.0), Side.LEFT: (-55.0, -30.0, 340.0)},
    (-85.0, 395.0),
    {Side.RIGHT: (88.0, 0.0, 420.0), Side.LEFT: (-88.0, 0.0, 420.0)},
)


def thighs(point: Point) -> float:
    """Two round thighs that nearly touch at the midline, below the symphysis; solid above."""
    x, y, z = point
    return float(np.hypot(abs(x) - 82, y) - 80) if z < 375 else float(np.hypot(x / 2, y) - 90)


def made(sex: Sex, seed: int = 0) -> tuple[Overlay, ...]:
    return soft_tissue(ANCHORS, sex, 70.0, thighs, np.random.default_rng(seed))


@pytest.mark.parametrize("sex", list(Sex))
def test_no_overlay_carries_a_class_and_every_soft_one_has_a_look(sex: Sex) -> None:
    for seed in range(20):
        for overlay in made(sex, seed):
            assert CLASS_OF_TISSUE[overlay.tissue] == 0
            assert overlay.tissue is not Tissue.SOFT or overlay.name in LOOKS


def test_men_and_women_have_their_own() -> None:
    men, women = ({o.name for o in made(sex)} for sex in (Sex.MAN, Sex.WOMAN))
    assert {"penis", "testis", "scrotum", "prostate", "spermatic_cord"} <= men - women
    assert {"vulva", "vagina"} <= women - men
    assert {"bladder", "rectal_wall", "anal_canal", "levator", "natal_cleft"} <= men & women


def test_what_hangs_free_lies_in_front_of_the_thighs_or_between_them() -> None:
    for seed in range(30):
        testes = [o.shape for o in made(Sex.MAN, seed) if o.name == "testis"]
        assert len(testes) == 2
        low, high = (np.mean([s.box_mm()[n] for s in testes], axis=0) for n in (0, 1))
        x, y, z = (low + high) / 2
        assert abs(x) < 15 and 270 < z < 375
        assert thighs((float(x), float(y), float(z))) > -3


def test_the_seed_decides() -> None:
    assert [o.shape for o in made(Sex.MAN, 3)] == [o.shape for o in made(Sex.MAN, 3)]
    assert [o.shape for o in made(Sex.MAN, 3)] != [o.shape for o in made(Sex.MAN, 4)]


def test_folds_of_fat_touch_the_body_in_front() -> None:
    for seed in range(20):
        for fold in (o.shape for o in made(Sex.WOMAN, seed) if o.name == "labium"):
            assert isinstance(fold, Tube)
            assert thighs(fold.points_mm[0]) < 3
