"""A whole synthetic scan: a body on a scanner's grid, imaged slab by slab, with its true label map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import Side
from vastus.errors import SettingsError
from vastus.synthesis.growth import Grid
from vastus.synthesis.look import at_voltage, sample_look
from vastus.synthesis.phantom import LabelledScan
from vastus.synthesis.protocols import SLICES_MM, sample_protocol
from vastus.synthesis.scanner import (
    Acquisition,
    Textures,
    acquire,
    acquisition_of,
    paint_hu,
    sample_exposure,
)
from vastus.synthesis.subject import Body, TissueMap
from vastus.synthesis.surroundings import (
    ARMS_FROM,
    Cloth,
    Couch,
    Forearms,
    add_cloth,
    add_forearms,
    draw_couch,
    lay_cloth,
    lowest_row,
    sample_couch,
    sample_drape,
    sample_forearms,
)
from vastus.synthesis.tissues import Tissue
from vastus.volume import Volume

_SLAB = 48
_HU_AIR = -1000


class Coverage(Enum):
    """Which part of the body a scan shows, as shares of the way from the knee (0) to the femoral head (1)."""

    HIP_TO_KNEE = (-0.06, 1.42)
    HIP = (0.72, 1.42)
    MID_THIGH = (0.3, 0.72)
    KNEE = (-0.15, 0.3)
    CALF = (-0.45, -0.08)
    FEW_SLICES = (0.5, 0.56)


@dataclass(frozen=True, slots=True)
class ScanSpec:
    """How a body is scanned.

    Attributes:
        spacing_mm: voxel size.
        matrix: voxels along x and y; None fits the field of view to the body.
        coverage: which part.
        leg: one leg only, or ``UNKNOWN`` for both.
        couch, cloth, forearms: whether they are in the picture.
        acquisition: None draws one.
    """

    spacing_mm: tuple[float, float, float] = (0.8, 0.8, 1.0)
    matrix: tuple[int, int] | None = None
    coverage: Coverage = Coverage.HIP_TO_KNEE
    leg: Side = Side.UNKNOWN
    couch: bool = True
    cloth: bool = False
    forearms: bool = False
    acquisition: Acquisition | None = None

    def __post_init__(self) -> None:
        if not all(0.2 <= s <= 10 for s in self.spacing_mm):
            raise SettingsError(f"A voxel of {self.spacing_mm} mm is outside 0.2..10 mm.")


def sample_spec(rng: np.random.Generator) -> ScanSpec:
    """Draw a scanner protocol: 0.6-1.2 mm in the plane, 1-5 mm slices; now and then a part of the body only."""
    plane = float(rng.uniform(0.6, 1.2))
    coverage = Coverage.HIP_TO_KNEE if rng.random() < 0.7 else list(Coverage)[int(rng.integers(1, 6))]
    leg = Side.UNKNOWN if rng.random() < 0.85 else (Side.RIGHT if rng.random() < 0.5 else Side.LEFT)
    slice_mm = float(rng.choice(SLICES_MM))
    return ScanSpec(
        (plane, plane, slice_mm),
        None,
        coverage,
        leg,
        bool(rng.random() < 0.85),
        bool(rng.random() < 0.3),
        bool(rng.random() < 0.15),
    )


def make_scan(body: Body, spec: ScanSpec, seed: int) -> LabelledScan:
    """Image a body.

    Returns:
        int16 HU and uint8 label values on a RAS grid in the subject's frame; the same for the same arguments.
    """
    rng = np.random.default_rng([seed, 6])
    grid = _grid(body, spec)
    tissue_map = body.tissue_map(grid)
    labels = np.asfortranarray(body.label_values()[tissue_map.part])
    look, protocol = sample_look(body.named, rng), replace(sample_protocol(rng), slice_mm=spec.spacing_mm[2])
    look = at_voltage(look, body.named, protocol.voltage_kv)
    acquisition = spec.acquisition or acquisition_of(protocol, spec.spacing_mm)
    # Noise is made in the scan's own voxels, however fine they are.
    textures = Textures(spec.spacing_mm, seed, size=160)
    starts = np.random.default_rng([seed, 7]).integers(textures.size, size=(3, 3))
    around = _surroundings(tissue_map, spec, body.length_mm, seed)
    image = np.full(grid.shape, _HU_AIR, np.int16, order="F")
    for first in range(0, grid.shape[2], _SLAB):
        slab = _slab(tissue_map, first)
        hu = paint_hu(slab, body.length_mm, look, textures, starts, first_slice=first)
        _surround(hu, slab, around, first)
        metal_slices = slab.grid.shape[2] if (slab.tissue == Tissue.METAL).any() else 0
        exposure = sample_exposure(acquisition, metal_slices, textures.size, np.random.default_rng([seed, 8]))
        hu = acquire(hu, slab, exposure, textures, first_slice=first)
        image[:, :, first : first + _SLAB] = np.round(hu)
    return LabelledScan(Volume(image, grid.affine), Volume(labels, grid.affine))


@dataclass(frozen=True, slots=True, eq=False)
class _Surroundings:
    """What lies around the body, placed once for the whole scan; None: not in the picture."""

    couch: Couch | None
    cloth: Cloth | None
    arms: Forearms | None


def _surroundings(whole: TissueMap, spec: ScanSpec, length_mm: float, seed: int) -> _Surroundings:
    row = lowest_row(whole.tissue) if spec.couch else None
    couch = sample_couch(row, np.random.default_rng([seed, 11]))
    cloth = None
    if spec.cloth:
        size = (whole.grid.shape[0], whole.grid.shape[2])
        drape = sample_drape(size, whole.grid.spacing_mm, np.random.default_rng([seed, 10]))
        cloth = lay_cloth(whole.tissue, drape)
    arms = None
    if spec.forearms:
        z = whole.grid.origin_mm[2] + whole.grid.spacing_mm[2] * np.arange(whole.grid.shape[2])
        wrists_mm = ARMS_FROM * length_mm
        columns = np.flatnonzero((whole.tissue[:, :, z >= wrists_mm] != Tissue.AIR).any(axis=(1, 2)))
        if len(columns):
            x = whole.grid.origin_mm[0] + whole.grid.spacing_mm[0] * columns[[0, -1]]
            arms = sample_forearms((float(x[0]), float(x[1])), wrists_mm, np.random.default_rng([seed, 9]))
    return _Surroundings(couch, cloth, arms)


def _surround(hu: NDArray[np.float32], slab: TissueMap, around: _Surroundings, first: int) -> None:
    if around.arms is not None:
        add_forearms(hu, slab.tissue, slab.grid, around.arms)
    if around.cloth is not None:
        row = around.cloth.row[:, first : first + _SLAB]
        add_cloth(hu, slab.tissue, Cloth(row, around.cloth.hu))
    if around.couch is not None:
        draw_couch(hu, slab.tissue == Tissue.AIR, around.couch)


def _slab(whole: TissueMap, first: int) -> TissueMap:
    window = slice(first, first + _SLAB)
    part = whole.part[:, :, window]
    origin = whole.grid.origin_mm + np.array([0, 0, first * whole.grid.spacing_mm[2]])
    grid = Grid(origin, whole.grid.spacing_mm, (part.shape[0], part.shape[1], part.shape[2]))
    return TissueMap(grid, part, whole.depth[:, :, window], whole.tissue[:, :, window])


def _grid(body: Body, spec: ScanSpec) -> Grid:
    spacing = np.array(spec.spacing_mm)
    share_low, share_high = spec.coverage.value
    low, high = body.skin_box_mm((share_low * body.length_mm, share_high * body.length_mm))
    if spec.leg is not Side.UNKNOWN:
        low[0] = max(low[0], -15.0) if spec.leg is Side.RIGHT else low[0]
        high[0] = min(high[0], 15.0) if spec.leg is Side.LEFT else high[0]
    low[1] -= 25.0 if spec.couch else 8.0
    high[:2] += 8.0
    low[0] -= 8.0
    if spec.forearms:
        low[0] -= 85.0
        high[0] += 85.0
    shape = np.maximum(np.round((high - low) / spacing).astype(int), 2)
    if spec.matrix is not None:
        centre = (low + high) / 2
        shape[:2] = spec.matrix
        low[:2] = centre[:2] - shape[:2] * spacing[:2] / 2
    return Grid(low, spec.spacing_mm, (int(shape[0]), int(shape[1]), int(shape[2])))
