"""The paper's five preprocessing steps, defined once for training and inference.

Kim et al. 2024: clip HU to a window and scale to 0..1, raise to a gamma, crop to the foreground, resample. The crop is
done on the scan before resampling (the result is the same and costs less). Every number is a field of
``PreprocessingSettings``, saved with the weights.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.errors import SettingsError, UnsupportedScanError
from vastus.light_imports import load_ndimage
from vastus.volume import Volume, centred_affine, crop, shape_for_spacing, to_ras

if TYPE_CHECKING:
    from torch import Tensor

FloatImage = NDArray[np.float32]
PAPER_HU_WINDOW: Final = (-57.0, 164.0)
"""Of Kim et al. 2024. What a network reads stands in its bundle; what a new one is trained with, in
``vastus.training.networks``."""


@dataclass(frozen=True, slots=True)
class PreprocessingSettings:
    """Settings of the five steps. The defaults are the paper's; those of a network are in its bundle.

    Attributes:
        hu_window: lower and upper HU, mapped to 0 and 1, clipped outside.
        gamma: exponent of the contrast step.
        body_threshold_hu: voxels above it can be body; the largest connected part, holes filled, is the foreground.
        body_margin_mm: what is kept around the body.
        spacing_mm: voxel size that the network sees, along patient right, front, head.
        window_size: voxels of one network window.
        antialias: average over the new voxel when shrinking (True), or plain linear interpolation as in the paper.
    """

    hu_window: tuple[float, float] = PAPER_HU_WINDOW
    gamma: float = 2.0
    body_threshold_hu: float = -250.0
    body_margin_mm: float = 10.0
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 2.0)
    window_size: tuple[int, int, int] = (96, 96, 96)
    antialias: bool = False

    def __post_init__(self) -> None:
        """Refuse values with which a step can't work."""
        low, high = self.hu_window
        if not low < high:
            raise SettingsError(f"hu_window must rise, got {self.hu_window}.")
        if not (self.gamma > 0 and all(s > 0 for s in self.spacing_mm) and all(w > 0 for w in self.window_size)):
            raise SettingsError("gamma, spacing_mm and window_size must be positive.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PreprocessingSettings:
        """Read the result of ``to_dict``; refuse unknown or missing names."""
        names = {field.name for field in dataclasses.fields(cls)}
        if set(values) != names:
            odd = sorted(set(values) ^ names)
            raise SettingsError(f"Preprocessing settings missing or unknown: {', '.join(odd)}.")
        as_tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**as_tuples)


@dataclass(frozen=True, slots=True, eq=False)
class Preprocessed:
    """What a network sees, and how it lies in the scan.

    Attributes:
        image: float32, shape (X, Y, Z), 0..1, axes to the patient's right, front, head.
        affine: of that grid.
        box_start, box_stop: the foreground box in voxels of ``to_ras(scan)``; the grid's faces coincide with the box's.
        body: bool, shape (X, Y, Z): the body mask on that grid, as coarse as it was found.
    """

    image: FloatImage
    affine: NDArray[np.float64]
    box_start: tuple[int, int, int]
    box_stop: tuple[int, int, int]
    body: NDArray[np.bool_]


def normalise_hu(hu: NDArray[Any], settings: PreprocessingSettings) -> FloatImage:
    """Clip HU to the window, scale to 0..1 and raise to gamma (steps 1 and 2). Any shape in, float32 out."""
    low, high = settings.hu_window
    scaled = (np.asarray(hu, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    np.clip(scaled, 0.0, 1.0, out=scaled)
    return scaled if settings.gamma == 1.0 else np.power(scaled, np.float32(settings.gamma))


def normalise_hu_tensor(hu: Tensor, settings: PreprocessingSettings) -> Tensor:
    """Do the same as ``normalise_hu`` for a float tensor of any shape, on its own device."""
    low, high = settings.hu_window
    return ((hu - low) / (high - low)).clamp(0.0, 1.0) ** settings.gamma


def preprocess(scan: Volume, settings: PreprocessingSettings) -> Preprocessed:
    """Turn a scan in HU, in any orientation, into the input of the network (all five steps).

    Raises:
        UnsupportedScanError: nothing in the scan is dense enough to be a body.
    """
    from vastus.resampling import resample_box  # its compiled loops load numba, which who reads settings does not need

    upright = to_ras(scan)
    mask, coarse_mm = body_mask(upright, settings)
    start, stop = _box_of(mask, coarse_mm, upright, settings)
    box = crop(upright, start, stop)
    shape = shape_for_spacing(box.shape, box.spacing_mm, settings.spacing_mm)
    resampled = resample_box(box.array, shape, antialias=settings.antialias)
    affine = centred_affine(box.affine, box.shape, shape)
    at = [
        np.clip(((a + (np.arange(n) + 0.5) * (b - a) / n) * m / full).astype(np.int64), 0, m - 1)
        for a, b, n, m, full in zip(start, stop, shape, mask.shape, upright.shape, strict=True)
    ]
    return Preprocessed(normalise_hu(resampled, settings), affine, start, stop, mask[np.ix_(*at)])


def body_box(upright: Volume, settings: PreprocessingSettings) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Find the box of the body (step 3), in voxels of the RAS scan; all slices with body are kept.

    Found on a coarse grid (about 4 mm). Table, clothes and lines are thin: an opening of the mask drops them, and
    of what remains only parts of at least a fiftieth of the largest count, so that both legs stay, cut ones too.
    """
    mask, coarse_mm = body_mask(upright, settings)
    return _box_of(mask, coarse_mm, upright, settings)


def _box_of(
    mask: NDArray[np.bool_], coarse_mm: tuple[float, float, float], upright: Volume, settings: PreprocessingSettings
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    if not mask.any():
        raise UnsupportedScanError(
            f"No body found: nothing solid above {settings.body_threshold_hu:g} HU.",
            remedy="Check that the values are Hounsfield units.",
        )
    start, stop = [], []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        ratio = upright.shape[axis] / mask.shape[axis]
        margin = math.ceil(settings.body_margin_mm / coarse_mm[axis])
        start.append(max(0, math.floor((hit[0] - margin) * ratio)))
        stop.append(min(upright.shape[axis], math.ceil((hit[-1] + 1 + margin) * ratio)))
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def body_mask(
    upright: Volume, settings: PreprocessingSettings, coarse_mm: float = 4.0
) -> tuple[NDArray[np.bool_], tuple[float, float, float]]:
    """Find the body without table and clothes, on a grid of about ``coarse_mm`` that covers the whole scan.

    Args:
        upright: scan in HU, RAS order.
        settings: the HU threshold of the body.
        coarse_mm: smallest spacing of the mask's grid.

    Returns:
        The mask, and the exact spacing of its grid in mm.
    """
    import cc3d

    from vastus.resampling import resample_box

    ndimage = load_ndimage()
    target = tuple(max(coarse_mm, s) for s in upright.spacing_mm)
    shape = shape_for_spacing(upright.shape, upright.spacing_mm, (target[0], target[1], target[2]))
    coarse = resample_box(upright.array, shape, antialias=True)
    spacing = tuple(n * s / m for n, s, m in zip(upright.shape, upright.spacing_mm, shape, strict=True))
    solid = coarse > settings.body_threshold_hu
    # A table or a blanket is a sheet: opening in the axial plane by about 8 mm removes it. Fat is thicker.
    disk = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 2)[:, :, None]
    opened = ndimage.binary_opening(np.pad(solid, ((3, 3), (3, 3), (0, 0)), mode="edge"), disk)[3:-3, 3:-3]
    parts, count = cc3d.connected_components(opened.astype(np.uint8), connectivity=6, return_N=True)
    if count:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        opened = (sizes >= max(1, sizes.max() // 50))[parts]
    return fill_holes(opened), (spacing[0], spacing[1], spacing[2])


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what is enclosed in each slice (last axis): what no path by sides of pixels joins with the slice's edge."""
    gaps, count = load_ndimage().label(~mask, structure=in_slices())
    open_to_edge = np.zeros(count + 1, np.bool_)
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        open_to_edge[edge] = True
    open_to_edge[0] = False
    filled: NDArray[np.bool_] = ~open_to_edge[gaps]
    return filled


def in_slices() -> NDArray[np.bool_]:
    """Make SciPy's structure of neighbours within a slice (last axis), by the sides of pixels."""
    structure = np.zeros((3, 3, 3), np.bool_)
    structure[1, :, 1] = structure[:, 1, 1] = True
    return structure
