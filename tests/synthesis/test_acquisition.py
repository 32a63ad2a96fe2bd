"""The scanner's setting of a patch: streaks come with the width of the body, not with that of the patch."""

import numpy as np
import pytest

from vastus.synthesis.growth import Grid
from vastus.synthesis.recipe import patch_acquisition
from vastus.synthesis.scanner import Acquisition, Textures, acquire, sample_exposure, streak_strength
from vastus.synthesis.subject import TissueMap
from vastus.synthesis.tissues import Tissue


def test_streaks_grow_from_200_mm_on() -> None:
    setting = Acquisition(0.5, 5.0, 10.0, 0.0)
    assert streak_strength(np.array([150.0, 200.0, 290.0, 380.0]), setting).tolist() == pytest.approx([0, 0, 5, 10])


def test_a_narrow_patch_of_a_wide_body_has_streaks_across() -> None:
    shape = (48, 48, 12)
    whole = TissueMap(
        Grid(np.zeros(3), (2.0, 2.0, 2.0), shape),
        np.zeros(shape, np.uint8),
        np.zeros(shape, np.int8),
        np.full(shape, Tissue.ORGAN, np.uint8),
    )
    textures = Textures((2.0, 2.0, 2.0), 0)
    seen = {}
    for width in (None, 380.0):
        setting = Acquisition(0.0, 5.0, 10.0, 0.0, width)
        exposure = sample_exposure(setting, 0, textures.size, np.random.default_rng(0))
        image = acquire(np.zeros(shape, np.float32), whole, exposure, textures)
        seen[width] = [float(np.diff(image, axis=axis).std()) for axis in (0, 1)]
    # 96 mm alone make no streaks; with them, rows differ more than columns.
    assert seen[None][1] == pytest.approx(seen[None][0], rel=0.1)
    assert seen[380.0][1] > 1.5 * seen[380.0][0]


def test_the_setting_of_a_patch_knows_the_width_of_the_body() -> None:
    assert patch_acquisition(333.0, np.random.default_rng(0)).width_mm == 333.0
