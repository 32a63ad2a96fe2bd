"""From tissues to Hounsfield units: what a CT would show of a body, with its textures, blur, noise and streaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.special import ndtri

from vastus.synthesis.growth import Grid
from vastus.synthesis.look import Look
from vastus.synthesis.muscle_boundaries import REACH_MM, SEAMS
from vastus.synthesis.paint_kernels import paint_tissues
from vastus.synthesis.protocols import (
    RESAMPLED_ALONG_MM,
    Kernel,
    ScanProtocol,
    blur_mm,
    noise_hu,
    noise_power,
)
from vastus.synthesis.subject import TissueMap
from vastus.synthesis.tissues import BONE_IDS, KIND_OF_TISSUE, Tissue, any_of

Image = NDArray[np.float32]
HU_RANGE = (-1024.0, 3071.0)
_RIM_MM = 1.5 * REACH_MM
"""Deeper inside a muscle its edge is not felt."""
_MOST_FAT = 0.95
NO_BLUR = 0.15
"""A point spread below so many voxels changes nothing."""
BLUR_REACH = 2.5
"""Standard deviations after which a point spread is cut off."""
BONE_FULL_MM = 30.0
"""So much dense bone on either side darkens what lies between as far as it gets."""
TILE = 128
"""Edge of a texture in voxels."""
_STREAK_MM = (10.0, 0.5, 0.5)
"""Along, across and between streaks: SD of the smoothing. In GE scans of training patients, rows and slices hardly
depend on their neighbours, and streaks are a few centimetres long."""
_STREAKS_FROM_MM, _STREAKS_FULL_MM, _STREAKS_MOST = 200.0, 180.0, 1.3
RAY_COUNT = 360
"""Directions in which metal streaks are drawn."""

Starts = NDArray[np.int64]
"""Where textures are taken from: (3,) for one, (3, 3) for fibres, blotches and grain."""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """The scanner's share: sharpness and disturbances.

    Attributes:
        blur_mm: SD of the in-plane point spread.
        noise_hu: SD of the noise in the scan's own voxels.
        streak_hu: SD of horizontal streaks where the body is widest.
        cupping_hu: darkening between dense bones.
        width_mm: of the body, which makes streaks; None measures it in every slice. A patch does not show it.
        kernel: whose grain the noise has.
    """

    blur_mm: float
    noise_hu: float
    streak_hu: float
    cupping_hu: float
    width_mm: float | None = None
    kernel: Kernel = Kernel.GE_SOFT


def _streak_mm(spacing_mm: tuple[float, float, float], *, resampled: bool) -> tuple[float, float, float]:
    """Smoothing of streaks; that of resampling comes on top."""
    along, across, between = _STREAK_MM
    if not resampled:
        return _STREAK_MM
    return along, float(np.hypot(across, spacing_mm[1] / np.sqrt(6))), max(between, RESAMPLED_ALONG_MM)


def acquisition_of(
    protocol: ScanProtocol,
    spacing_mm: tuple[float, float, float],
    *,
    resampled: bool = False,
    width_mm: float | None = None,
) -> Acquisition:
    """What a protocol means in voxels of a size.

    Args:
        protocol: how the scanner is set.
        spacing_mm: of the image.
        resampled: whether the image is on a coarser grid than the scan was.
        width_mm: see ``Acquisition``.
    """
    noise = noise_hu(protocol, spacing_mm, resampled=resampled)
    blur = blur_mm(protocol.kernel, spacing_mm[0], resampled=resampled)
    return Acquisition(blur, noise, protocol.streaks * noise, protocol.cupping_hu, width_mm, protocol.kernel)


class Textures:
    """Unit-variance random textures that tile without a seam, made once for a voxel size and then rolled about.

    ``grain`` is fine (under a millimetre), ``fibre`` runs along z as muscle fibres do, ``blotch`` is coarse, ``streak``
    runs across the body. ``noise`` is that of a kernel.

    Args:
        spacing_mm: of the image.
        seed: of the textures.
        size: edge of a tile in voxels.
        resampled: whether the image is on a coarser grid than the scan was.
    """

    def __init__(
        self, spacing_mm: tuple[float, float, float], seed: int, size: int = TILE, *, resampled: bool = False
    ) -> None:
        rng = np.random.default_rng([seed, 3])
        self.size = size
        self._spacing_mm, self._seed, self._resampled = spacing_mm, seed, resampled
        self._noise: dict[Kernel, Image] = {}
        self.grain = self._make(rng, (0.8, 0.8, 0.8), spacing_mm)
        self.fibre = self._make(rng, (1.7, 1.7, 9.0), spacing_mm)
        self.blotch = self._make(rng, (7.0, 7.0, 7.0), spacing_mm)
        self.streak = self._make(rng, _streak_mm(spacing_mm, resampled=resampled), spacing_mm)

    def _make(
        self, rng: np.random.Generator, sigma_mm: tuple[float, float, float], spacing_mm: tuple[float, float, float]
    ) -> Image:
        noise = rng.standard_normal((self.size,) * 3, dtype=np.float32)
        noise = gaussian_filter(noise, [s / d for s, d in zip(sigma_mm, spacing_mm, strict=True)], mode="wrap")
        return np.asarray(noise / noise.std(), np.float32)

    def noise(self, kernel: Kernel) -> Image:
        """Grain of a kernel: coloured in the plane, independent from slice to slice of the scan."""
        if kernel not in self._noise:
            rng = np.random.default_rng([self._seed, 3, 1 + list(Kernel).index(kernel)])
            power = noise_power(kernel, self._spacing_mm[0], self.size, resampled=self._resampled)
            white = rng.standard_normal((self.size,) * 3, dtype=np.float32)
            grain = fft.irfft2(fft.rfft2(white) * np.sqrt(power).astype(np.float32), s=white.shape[1:])
            if self._resampled:
                grain = gaussian_filter1d(grain, RESAMPLED_ALONG_MM / self._spacing_mm[2], axis=0, mode="wrap")
            self._noise[kernel] = np.asarray(np.moveaxis(grain, 0, -1) / grain.std(), np.float32, order="C")
        return self._noise[kernel]

    def take(self, texture: Image, shape: tuple[int, int, int], start: Starts) -> Image:
        """A piece of the given shape from a place on, repeated where it is larger than the tile."""
        index = [(int(s) + np.arange(n)) % self.size for s, n in zip(start, shape, strict=True)]
        return texture[np.ix_(*index)]


def paint_hu(
    tissue_map: TissueMap,
    length_mm: float,
    look: Look,
    textures: Textures,
    starts: Starts,
    *,
    first_slice: int = 0,
) -> Image:
    """The body without a scanner: HU of every voxel, float32, air -1000.

    Args:
        tissue_map: the body on a grid; also one slab of it.
        length_mm: from knee to femoral head.
        look, textures: see there.
        starts: where fibres, blotches and grain are taken from (3, 3); the same in every slab.
        first_slice: number of the slab's first slice in the scan.

    Muscle: streaks of fat along the fibres, in patches, and more of it towards the edge. Fat: fine strands. Bone: a
    cortex that is thickest in mid-shaft, around spongy bone and marrow. Bowel: fat, content and gas by quantiles.
    """
    bias, shaft, numbers, edges = paint_tables(tissue_map.grid, length_mm, look)
    reach = seam_reach(tissue_map.grid.spacing_mm)
    return paint_tissues(
        tissue_map.part,
        tissue_map.depth,
        tissue_map.tissue,
        KIND_OF_TISSUE,
        int(Tissue.FAT),
        look.mean_hu,
        bias,
        look.layer_mm,
        shaft,
        numbers,
        edges,
        reach,
        textures.fibre,
        textures.blotch,
        textures.grain,
        starts + np.array([0, 0, first_slice]),
    )


def paint_tables(
    grid: Grid, length_mm: float, look: Look
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """What painting needs beside textures.

    Returns:
        By part number, where the share of fat starts (-99: no muscle); for every slice, how far it lies in the shaft of
        the femur; the numbers of ``kernels.paint_tissues``; by tissue and neighbouring tissue, the share of fat at the
        edge.
    """
    z_mm = grid.origin_mm[2] + grid.spacing_mm[2] * np.arange(grid.shape[2])
    along = z_mm / length_mm
    shaft = np.clip(np.minimum((along - 0.1) / 0.2, (0.88 - along) / 0.16), 0, 1).astype(np.float32)
    share = np.clip(look.infiltration, 1e-6, 0.95)
    bias = np.where(look.infiltration > 0, np.log(share / (1 - share)) * 0.75, -99.0).astype(np.float32)
    # The bowel's mixture has unit variance, so that its quantiles are those of the normal distribution.
    low, high = (float(v) for v in ndtri([look.bowel_fat, 1 - look.gas]))
    numbers = np.array(
        [
            look.fat_hu,
            look.skin_hu,
            look.septa_hu,
            look.fibre_contrast,
            -_RIM_MM,
            look.cortex_hu,
            look.spongy_hu,
            look.marrow_hu,
            *look.cortex_mm,
            low,
            high,
        ],
        np.float32,
    )
    return bias, shaft, numbers, np.minimum(look.seam * SEAMS, _MOST_FAT)


def seam_reach(spacing_mm: tuple[float, float, float]) -> int:
    """Voxels in the plane within which a neighbour shapes an edge."""
    return max(1, round(REACH_MM / spacing_mm[0]))


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """One setting of the scanner, and everything random in the image that it makes.

    Attributes:
        setting: of the scanner.
        grain_start: where the noise is taken from.
        streak_start: where the streaks are taken from; None without any.
        rays: of metal; None without any.
    """

    setting: Acquisition
    grain_start: Starts
    streak_start: Starts | None = None
    rays: Rays | None = None


def sample_exposure(setting: Acquisition, metal_slices: int, tile: int, rng: np.random.Generator) -> Exposure:
    """Draw what is random in an image.

    Args:
        setting: of the scanner.
        metal_slices: number of slices; 0 without metal.
        tile: edge of the textures in voxels.
        rng: decides.
    """
    rays = sample_rays(metal_slices, rng) if metal_slices else None
    grain = rng.integers(tile, size=3)
    return Exposure(setting, grain, rng.integers(tile, size=3) if setting.streak_hu > 0 else None, rays)


def acquire(hu: Image, tissue_map: TissueMap, exposure: Exposure, textures: Textures, *, first_slice: int = 0) -> Image:
    """Blur, beam hardening, metal streaks and noise; the result is cut to the CT's range.

    Args:
        hu: the body without a scanner.
        tissue_map: the same body; what it shows of it.
        exposure: the scanner's setting and what was drawn for it.
        textures: noise.
        first_slice: number of the slab's first slice in the scan.
    """
    spacing, shape = tissue_map.grid.spacing_mm, tissue_map.grid.shape
    setting, along = exposure.setting, np.array([0, 0, first_slice])
    image = hu
    for axis in range(2):
        sigma = setting.blur_mm / spacing[axis]
        if sigma > NO_BLUR:
            image = gaussian_filter1d(image, sigma, axis=axis, truncate=BLUR_REACH)
    if exposure.rays is not None:
        image = image + metal_streaks(tissue_map.tissue == Tissue.METAL, spacing, exposure.rays)
    if setting.cupping_hu > 1:
        image = image - np.float32(setting.cupping_hu) * _between_bones(tissue_map)
    noise = np.float32(setting.noise_hu) * textures.take(
        textures.noise(setting.kernel), shape, exposure.grain_start + along
    )
    if exposure.streak_start is not None:
        seen = (tissue_map.tissue != Tissue.AIR).any(axis=1).sum(axis=0) * spacing[0]
        width = seen if setting.width_mm is None else np.full(len(seen), setting.width_mm)
        streaks = textures.take(textures.streak, shape, exposure.streak_start + along)
        noise = noise + streak_strength(width, setting)[None, None, :] * streaks
    return np.clip(image + noise, *HU_RANGE).astype(np.float32)


def streak_strength(width_mm: NDArray[np.float64], acquisition: Acquisition) -> Image:
    """SD of the streaks (HU) in slices where the body is so wide."""
    return np.clip((width_mm - _STREAKS_FROM_MM) / _STREAKS_FULL_MM, 0, _STREAKS_MOST).astype(np.float32) * np.float32(
        acquisition.streak_hu
    )


def _between_bones(tissue_map: TissueMap) -> Image:
    """0..1: how much dense bone lies left and right of a voxel in its row (beam hardening darkens there)."""
    dense = any_of(tissue_map.tissue, BONE_IDS)
    rows = dense.astype(np.float32) * np.float32(tissue_map.grid.spacing_mm[0])
    before = np.cumsum(rows, axis=0)
    after = before[-1:] - before
    return np.asarray(np.clip(np.minimum(before, after) / BONE_FULL_MM, 0, 1), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Rays:
    """Streaks that leave metal.

    Attributes:
        strength_hu: of the brightest, near a large implant.
        course: by degree and slice, unit variance.
    """

    strength_hu: float
    course: Image

    def hu(self, away: Any, along_y: Any, size_mm: Any, course: Any, of: Any) -> Any:
        """HU at places around one piece of metal; arrays of numpy or torch that broadcast.

        Args:
            away, along_y: distance from its centre, and its share along y, in mm.
            size_mm: root of its area in the slice.
            course: the value of ``course`` in the direction of each place.
            of: module of the arrays.
        """
        fall = of.exp(-away / (35 + 2.2 * size_mm)) * (size_mm / 18.0).clip(None, 1.0)
        dark = -0.7 * of.exp(-((along_y / (0.4 * size_mm + 4)) ** 2))
        return self.strength_hu * fall * (course + dark)


def sample_rays(slices: int, rng: np.random.Generator) -> Rays:
    """Draw metal streaks."""
    strength = float(rng.uniform(60, 420))
    rays = gaussian_filter1d(rng.standard_normal((RAY_COUNT, slices), dtype=np.float32), 2.2, axis=0, mode="wrap")
    rays = gaussian_filter1d(rays, 1.2, axis=1)
    return Rays(strength, np.asarray(rays / (rays.std() + 1e-6), np.float32))


def metal_streaks(metal: NDArray[np.bool_], spacing_mm: tuple[float, float, float], rays: Rays) -> Image:
    """Dark and bright rays that leave the metal, slice by slice, strongest near it and along its long axis."""
    result = np.zeros(metal.shape, np.float32)
    x = np.arange(metal.shape[0])[:, None] * spacing_mm[0]
    y = np.arange(metal.shape[1])[None, :] * spacing_mm[1]
    for k in np.flatnonzero(metal.any(axis=(0, 1))):
        points = np.argwhere(metal[..., k]) * np.array(spacing_mm[:2])
        cx, cy = points.mean(axis=0)
        size = np.sqrt(len(points) * spacing_mm[0] * spacing_mm[1])
        angle = np.degrees(np.arctan2(y - cy, x - cx)).astype(int) % RAY_COUNT
        result[..., k] = rays.hu(np.hypot(x - cx, y - cy), y - cy, size, rays.course[angle, k], np)
    result[metal] = 0
    return result
