"""How a scanner is set, and what follows from it in voxels."""

import numpy as np
import pytest

from vastus.synthesis.look import at_voltage, sample_look
from vastus.synthesis.protocols import (
    SHARP_KERNELS,
    SOFT_KERNELS,
    Contrast,
    Kernel,
    ScanProtocol,
    blur_mm,
    contrast_factor,
    mean_energy_kev,
    neighbour_weight,
    noise_hu,
    noise_power,
    sample_protocol,
)
from vastus.synthesis.store import StoredPart
from vastus.synthesis.tissues import FEMUR, Tissue

REFERENCE = ScanProtocol(Kernel.GE_SOFT, 3.0, 120, 10.0, 0.0, 0.0)


def with_kernel(kernel: Kernel) -> ScanProtocol:
    return ScanProtocol(kernel, 3.0, 120, 10.0, 0.0, 0.0)


def test_the_dose_is_the_noise_of_the_reference() -> None:
    assert noise_hu(REFERENCE, (1.0, 1.0, 3.0), resampled=False) == pytest.approx(10.0)


def test_four_times_the_slice_halves_the_noise() -> None:
    thin, thick = (noise_hu(REFERENCE, (1.0, 1.0, z), resampled=False) for z in (1.25, 5.0))
    assert thin == pytest.approx(2 * thick)


def test_variance_grows_with_the_third_power_of_sharpness_where_nothing_is_folded() -> None:
    # The integral of f^2 exp(-(2 pi s f)^2) over the plane's rings is proportional to s^-3.
    soft, softer = (noise_power(k, 0.2, 256, resampled=False) for k in (Kernel.GE_SOFT, Kernel.PHILIPS_SOFT))
    ratio = Kernel.PHILIPS_SOFT.value / Kernel.GE_SOFT.value
    assert soft.sum() / softer.sum() == pytest.approx(ratio**3, rel=0.02)


def test_sharp_kernels_are_noisier_and_averaging_takes_most_of_it() -> None:
    for soft, sharp in zip(SOFT_KERNELS, SHARP_KERNELS, strict=True):
        own = [noise_hu(with_kernel(k), (0.8, 0.8, 3.0), resampled=False) for k in (soft, sharp)]
        small = [noise_hu(with_kernel(k), (2.0, 2.0, 3.0), resampled=True) for k in (soft, sharp)]
        assert own[1] > 2 * own[0]
        assert small[1] < 0.5 * own[1] and small[0] < own[0]
        assert blur_mm(sharp, 0.8, resampled=False) < blur_mm(soft, 0.8, resampled=False)


def test_resampling_blurs_as_a_triangle_does() -> None:
    taps = np.linspace(-2, 2, 4001)
    weights = 2 - np.abs(taps)
    assert blur_mm(Kernel.GE_SHARP, 2.0, resampled=True) ** 2 - Kernel.GE_SHARP.value**2 == pytest.approx(
        np.average(taps**2, weights=weights), rel=1e-3
    )


def test_the_slice_profile_has_the_variance_of_box_and_triangle() -> None:
    weight = neighbour_weight(3.0, 4.0)
    assert 2 * weight * 4.0**2 + 4.0**2 / 12 == pytest.approx(3.0**2 / 12 + 4.0**2 / 6)
    assert 0 < neighbour_weight(1.0, 4.0) < weight < neighbour_weight(5.0, 4.0) <= 1 / 3


def test_contrast_falls_with_the_voltage_as_published() -> None:
    assert [mean_energy_kev(v) for v in (80, 140)] == [52.0, 72.0]
    for contrast in Contrast:
        assert contrast_factor(120, contrast) == 1.0
        ratio = contrast_factor(140, contrast) / contrast_factor(80, contrast)
        assert ratio == pytest.approx(contrast.value)


def test_a_low_voltage_makes_fat_darker_and_bone_and_contrast_medium_brighter() -> None:
    parts = [StoredPart("femur", FEMUR), StoredPart("artery", Tissue.VESSEL), StoredPart("implant", Tissue.METAL)]
    look = next(
        found for seed in range(100) if (found := sample_look(parts, np.random.default_rng(seed))).mean_hu[1] > 150
    )
    low = at_voltage(look, parts, 80)
    assert low.fat_hu == pytest.approx(look.fat_hu * contrast_factor(80, Contrast.FAT))
    assert low.fat_hu < look.fat_hu - 10
    assert low.cortex_hu > 1.3 * look.cortex_hu
    assert low.mean_hu[1] > 1.25 * look.mean_hu[1]
    assert low.mean_hu[2] == look.mean_hu[2]
    assert at_voltage(look, parts, 120).fat_hu == look.fat_hu


def test_protocols_show_every_kernel_slice_and_voltage() -> None:
    drawn = [sample_protocol(np.random.default_rng(seed)) for seed in range(300)]
    assert {p.kernel for p in drawn} == set(Kernel)
    assert {p.voltage_kv for p in drawn} == {80, 100, 120, 140}
    assert {p.slice_mm for p in drawn} == {1.0, 1.25, 2.0, 3.0, 5.0}
    assert 0.15 < np.mean([p.kernel in SHARP_KERNELS for p in drawn]) < 0.35
