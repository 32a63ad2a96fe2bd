"""How a scanner is set: kernel, slice, tube voltage, dose; and what of it an image shows. One home for these numbers.

- **Kernel.** The point spread is Gaussian (Nickoloff and Riley 1985, doi 10.1118/1.595706). The noise of filtered
  backprojection has a power of ``|f| MTF(f)^2`` in the plane (Kijewski and Judy 1987, doi 10.1088/0031-9155/32/5/003).
  So one number, the width of the point spread, says how sharp an image is, how coarse its grain, and how much noisier
  one kernel is than another at the same dose.
- **Tube voltage.** Contrast against water falls from 80 to 140 kV by 12% (muscle), 21% (fat), 39% (bone) and 50%
  (iodine), with a mean energy of 52 and 72 keV (Huda et al. 2000, doi 10.1148/radiology.217.2.r00nv35430). Between
  them, the energy is taken as linear in the voltage, and contrast as a power of the energy.
- **Dose and streaks.** Ranges around what training patients of one GE and one Philips scanner show; see the docs and
  ``tools/real_against_synthetic.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

REFERENCE_KV: Final = 120
SLICES_MM: Final = (1.0, 1.25, 2.0, 3.0, 5.0)
_VOLTAGES_KV: Final = (80, 100, 120, 140)
_VOLTAGE_SHARES: Final = (0.05, 0.2, 0.55, 0.2)
"""Guessed: as often as adults' pelvis and thigh are scanned with each."""
_DOSE_HU: Final = (3.5, 30.0)
"""Least and most noise (log-uniform): SD in voxels of 1 x 1 x 3 mm with the first soft kernel."""
_STREAKS: Final = (0.3, 1.6)
"""SD of streaks over that of the noise, where a body is 380 mm wide."""
_NO_STREAKS, _SHARP = 0.15, 0.25
"""How often there are none; how often a sharp kernel is chosen."""
_CUPPING_HU: Final = 14.0
_REFERENCE_VOXEL_MM: Final = (1.0, 1.0, 3.0)
RESAMPLED_ALONG_MM: Final = 1.6
"""SD of the smoothing of noise along the body on the network's grid: slices of about 3 mm, cut into thinner ones."""
_FOLDS: Final = range(-2, 3)
"""Frequencies above the grid's limit appear below it: so many copies to either side count."""
Spacing = tuple[float, float, float]


class Kernel(Enum):
    """Reconstruction filters: SD of the point spread in the plane (mm).

    The soft ones were chosen so that the grain is that of the training patients of either vendor (half modulation at
    0.29 and 0.21 cycles per mm). The sharp ones are guessed: half modulation at 0.63 and 0.47, as for bone.
    """

    GE_SOFT = 0.65
    GE_SHARP = 0.3
    PHILIPS_SOFT = 0.9
    PHILIPS_SHARP = 0.4


SOFT_KERNELS: Final = (Kernel.GE_SOFT, Kernel.PHILIPS_SOFT)
SHARP_KERNELS: Final = (Kernel.GE_SHARP, Kernel.PHILIPS_SHARP)


@dataclass(frozen=True, slots=True)
class ScanProtocol:
    """How a scanner is set.

    Attributes:
        kernel: reconstruction filter.
        slice_mm: thickness of a slice.
        voltage_kv: of the tube.
        dose_hu: noise that the soft reference kernel would have in voxels of 1 x 1 x 3 mm.
        streaks: SD of streaks over that of the noise, where a body is wide.
        cupping_hu: darkening between dense bones.
    """

    kernel: Kernel
    slice_mm: float
    voltage_kv: int
    dose_hu: float
    streaks: float
    cupping_hu: float


def sample_protocol(rng: np.random.Generator) -> ScanProtocol:
    """Draw a setting."""
    kernels = SHARP_KERNELS if rng.random() < _SHARP else SOFT_KERNELS
    return ScanProtocol(
        kernels[int(rng.integers(len(kernels)))],
        SLICES_MM[int(rng.integers(len(SLICES_MM)))],
        int(rng.choice(_VOLTAGES_KV, p=_VOLTAGE_SHARES)),
        float(np.exp(rng.uniform(*np.log(_DOSE_HU)))),
        float(rng.uniform(*_STREAKS)) if rng.random() >= _NO_STREAKS else 0.0,
        float(rng.uniform(0, _CUPPING_HU)),
    )


def noise_power(kernel: Kernel, pixel_mm: float, size: int, *, resampled: bool) -> NDArray[np.float64]:
    """Power of the noise at the frequencies of a square of pixels, as ``numpy.fft.rfft2`` orders them.

    Args:
        kernel: reconstruction filter.
        pixel_mm: edge of a pixel.
        size: pixels along an edge.
        resampled: whether finer voxels were averaged with a triangle, as they are for the network.

    Returns:
        (size, size // 2 + 1); the sum over all frequencies is the variance, in arbitrary units.
    """
    power = np.zeros((size, size // 2 + 1))
    for k in _FOLDS:
        for m in _FOLDS:
            x = (np.fft.fftfreq(size, pixel_mm) + k / pixel_mm)[:, None]
            y = (np.fft.rfftfreq(size, pixel_mm) + m / pixel_mm)[None, :]
            f = np.hypot(x, y)
            one = f * np.exp(-((2 * np.pi * kernel.value * f) ** 2))
            power += one * (np.sinc(x * pixel_mm) * np.sinc(y * pixel_mm)) ** 4 if resampled else one
    return power / (size * pixel_mm) ** 2


@lru_cache(maxsize=64)
def _variance(kernel: Kernel, pixel_mm: float, *, resampled: bool) -> float:
    power = noise_power(kernel, pixel_mm, 64, resampled=resampled)
    return float(2 * power.sum() - power[:, 0].sum() - power[:, -1].sum())


def noise_hu(protocol: ScanProtocol, spacing_mm: Spacing, *, resampled: bool) -> float:
    """SD of the noise in voxels of a size: of the scan itself, or of a grid onto which it is resampled.

    On a grid with finer steps than the scan's slices, noise is not more than in a slice.
    """
    thick_mm = max(protocol.slice_mm, spacing_mm[2]) if resampled else spacing_mm[2]
    reference = _variance(Kernel.GE_SOFT, _REFERENCE_VOXEL_MM[0], resampled=False)
    plane = _variance(protocol.kernel, spacing_mm[0], resampled=resampled) / reference
    return protocol.dose_hu * float(np.sqrt(plane * _REFERENCE_VOXEL_MM[2] / thick_mm))


def blur_mm(kernel: Kernel, pixel_mm: float, *, resampled: bool) -> float:
    """SD of the blur in the plane: the kernel's, and that of a triangle of the pixel's width where it is resampled."""
    return float(np.sqrt(kernel.value**2 + (pixel_mm**2 / 6 if resampled else 0.0)))


def neighbour_weight(slice_mm: float, step_mm: float) -> float:
    """Weight of either neighbour, when slices of a thickness are resampled to a step: 0..1/3.

    Whole slices of the step have the variance of a box; the true profile is a box of the scan's slice and the triangle
    of linear resampling. Three taps make up the difference.
    """
    reach = max(slice_mm, step_mm)
    more = slice_mm**2 / 12 + reach**2 / 6 - step_mm**2 / 12
    return float(np.clip(more / (2 * step_mm**2), 0.0, 1 / 3))


class Contrast(Enum):
    """What is left at 140 kV of the contrast against water at 80 kV."""

    MUSCLE = 0.88
    FAT = 0.79
    BONE = 0.61
    IODINE = 0.50


_ENERGY_KEV: Final = {80: 52.0, 140: 72.0}


def mean_energy_kev(voltage_kv: float) -> float:
    """Mean energy behind a patient."""
    return float(np.interp(voltage_kv, list(_ENERGY_KEV), list(_ENERGY_KEV.values())))


def contrast_factor(voltage_kv: float, contrast: Contrast) -> float:
    """By how much contrast against water differs from that at ``REFERENCE_KV``."""
    power = np.log(contrast.value) / np.log(_ENERGY_KEV[140] / _ENERGY_KEV[80])
    return float((mean_energy_kev(voltage_kv) / mean_energy_kev(REFERENCE_KV)) ** power)
