from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from programs import load_program
from vastus.volume import Volume


@pytest.fixture(scope="module")
def visible_human() -> ModuleType:
    return load_program(Path(__file__).parents[2] / "benchmarks" / "visible_human.py")


def test_dice_of_half_an_overlap(visible_human: ModuleType) -> None:
    a, b = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    a[:2], b[1:3] = True, True
    assert visible_human.dice(a, b) == 0.5
    assert np.isnan(visible_human.dice(~a & a, ~b & b))


def test_bones_that_were_moved_are_found_again(visible_human: ModuleType) -> None:
    margin = visible_human._MARGIN
    x, y, z = np.ogrid[: 40 + 2 * margin, : 36 + 2 * margin, : 12 + 2 * margin]
    femur = ((x - 44) / 9.0) ** 2 + ((y - 40) / 6.0) ** 2 + ((z - 30) / 14.0) ** 2 < 1
    truth = (5, -3, 2)
    ct = Volume(np.where(visible_human.shifted(femur, truth), 700, 40).astype(np.int16), np.eye(4))
    shift, fit = visible_human.best_shift(ct, {"femur": femur})
    assert shift == truth
    assert fit > 0.95
