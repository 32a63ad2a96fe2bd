"""Soft tissue laid over a body takes what it may and nothing else."""

import numpy as np
import pytest

from vastus.anatomy import BY_KEY
from vastus.synthesis.growth import NO_PART, Grid
from vastus.synthesis.overlay import Overlay, lay_over
from vastus.synthesis.shapes import Ball
from vastus.synthesis.tissues import Tissue

GRID = Grid(np.array([-10.0, -10.0, -10.0]), (1.0, 1.0, 1.0), (21, 21, 21))
MUSCLE = BY_KEY["gracilis"].class_id


def body() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Muscle on the left, fat on the right, air above."""
    part, depth = np.full(GRID.shape, NO_PART, np.uint8), np.full(GRID.shape, 127, np.int8)
    tissue = np.full(GRID.shape, Tissue.FAT, np.uint8)
    part[:10], depth[:10], tissue[:10] = 3, -40, MUSCLE
    part[:, :, 15:], tissue[:, :, 15:] = NO_PART, Tissue.AIR
    return part, depth, tissue


def test_only_what_may_be_taken_is_taken() -> None:
    part, depth, tissue = body()
    before = tissue.copy()
    ball = Overlay("penis", Tissue.SOFT, Ball((0.0, 0.0, 0.0), (8.0, 8.0, 8.0)), (Tissue.FAT,))
    lay_over(part, depth, tissue, GRID, [ball], 7)
    changed = tissue != before
    assert (before[changed] == Tissue.FAT).all() and (tissue[changed] == Tissue.SOFT).all()
    assert (part == 7).sum() == changed.sum() > 500
    assert depth[10, 10, 10] == -64  # 8 mm deep


def test_an_earlier_shape_is_not_covered_and_skin_is_no_part() -> None:
    part, depth, tissue = body()
    small = Overlay("testis", Tissue.SOFT, Ball((4.0, 0.0, 0.0), (3.0, 3.0, 3.0)), (Tissue.FAT,))
    large = Overlay("natal_cleft", Tissue.SKIN, Ball((4.0, 0.0, 0.0), (6.0, 6.0, 6.0)), (Tissue.FAT, Tissue.AIR))
    lay_over(part, depth, tissue, GRID, [small, large], 7)
    assert (tissue[14, 10, 10], part[14, 10, 10]) == (Tissue.SOFT, 7)
    assert (tissue[19, 10, 10], part[19, 10, 10]) == (Tissue.SKIN, NO_PART)


def test_a_shape_outside_the_grid_changes_nothing() -> None:
    part, depth, tissue = body()
    before = tissue.copy()
    far = Overlay("penis", Tissue.SOFT, Ball((50.0, 0.0, 0.0), (8.0, 8.0, 8.0)), (Tissue.FAT, Tissue.AIR))
    lay_over(part, depth, tissue, GRID, [far], 7)
    assert (tissue == before).all()


def test_an_overlay_takes_no_structure() -> None:
    with pytest.raises(AssertionError):
        Overlay("penis", Tissue.SOFT, Ball((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), (MUSCLE,))  # type: ignore[arg-type]
