"""The scanner's setting of a patch: streaks come with the width of the body, not with that of the patch."""

import numpy as np
import pytest

from vastus.synthesis.growth import Grid
from vastus.synthesis.protocols import Kernel, sample_protocol
from vastus.synthesis.scanner import Acquisition, Textures, acquire, acquisition_of, sample_exposure, streak_strength
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
    protocol = sample_protocol(np.random.default_rng(0))
    assert acquisition_of(protocol, (2.0, 2.0, 2.0), resampled=True, width_mm=333.0).width_mm == 333.0


def test_noise_of_a_kernel_has_its_grain_and_is_independent_between_slices() -> None:
    textures = Textures((1.0, 1.0, 3.0), 0)
    for kernel in Kernel:
        noise = textures.noise(kernel)
        assert noise.std() == pytest.approx(1.0, rel=1e-3)
        assert abs(float((noise[:, :, 1:] * noise[:, :, :-1]).mean())) < 0.01
    neighbours = [float((n[1:] * n[:-1]).mean()) for n in map(textures.noise, Kernel)]
    # Soft kernels: neighbours look alike; sharp ones: hardly.
    assert dict(zip(Kernel, neighbours, strict=True))[Kernel.PHILIPS_SOFT] == max(neighbours) > 0.4
    assert min(neighbours) < 0.2
