"""Everything random in one patch, drawn before anything is painted. Each renderer only carries it out.

So a patch is the same on every device but for rounding, and no number is drawn in two places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.synthesis.look import Look, at_voltage, sample_look
from vastus.synthesis.protocols import ScanProtocol, neighbour_weight, sample_protocol
from vastus.synthesis.scanner import (
    TILE,
    Exposure,
    Starts,
    acquisition_of,
    sample_exposure,
)
from vastus.synthesis.store import StoredBody
from vastus.synthesis.surroundings import Couch, Drape, Forearms, sample_couch, sample_drape
from vastus.synthesis.view import Size, Spacing, WindowPlace, arms_beside, arms_in_reach, halves_of, width_at

COUCH, CLOTH, ARMS = 0.7, 0.15, 0.25
"""How often each is drawn; forearms show only in patches that reach beside the hips."""
SOFT_HU: Final = (-150.0, 250.0)
"""What a lesion takes the place of."""
LESION_BLOTCH_HU: Final = 8


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a body lies in a patch, as far as drawing depends on it.

    Attributes:
        lowest_row: the hindmost row that holds body; None without a body.
        metal: whether there is metal.
    """

    lowest_row: int | None
    metal: bool


@dataclass(frozen=True, slots=True, eq=False)
class Lesion:
    """An ellipsoid in voxels of a patch."""

    centre: NDArray[np.float64]
    radius: NDArray[np.float64]

    def inside(self, x: Any, y: Any, z: Any) -> Any:
        """Which voxels it holds; arrays of numpy or torch that broadcast."""
        (a, b, c), (ra, rb, rc) = (map(float, v) for v in (self.centre, self.radius))
        return ((x - a) / ra) ** 2 + ((y - b) / rb) ** 2 + ((z - c) / rc) ** 2 < 1


def sample_lesion(shape: Size, spacing_mm: Spacing, rng: np.random.Generator) -> Lesion | None:
    """One patch in five has a blob of soft tissue or fluid in it, up to the size of a large tumour."""
    if rng.random() > 0.2:
        return None
    centre = rng.uniform(0.2, 0.8, 3) * np.array(shape)
    radius = np.exp(rng.uniform(np.log(8), np.log(60))) * np.exp(rng.normal(0, 0.2, 3)) / np.array(spacing_mm)
    return Lesion(centre, radius)


@dataclass(frozen=True, slots=True, eq=False)
class TableSheet:
    """A curved sheet of skin in fat: where two thighs touch, or the skin folds.

    Attributes:
        centre: a point on it, in voxels.
        normal_mm: unit normal in mm, over the spacing: voxel offsets times it are mm.
        bend: how far it bends, in mm for each mm2 along y and z.
        half_mm: half its thickness.
        hu: of it.
    """

    centre: NDArray[np.float64]
    normal_mm: NDArray[np.float64]
    bend: NDArray[np.float64]
    half_mm: float
    hu: float

    def inside(self, x: Any, y: Any, z: Any) -> Any:
        """Which voxels it holds; arrays of numpy or torch that broadcast."""
        a, b, c = (axis - float(centre) for axis, centre in zip((x, y, z), self.centre, strict=True))
        nx, ny, nz = map(float, self.normal_mm)
        along = a * nx + b * ny + c * nz + float(self.bend[0]) * b**2 + float(self.bend[1]) * c**2
        return abs(along) < self.half_mm


def sample_sheet(shape: Size, spacing_mm: Spacing, rng: np.random.Generator) -> TableSheet | None:
    """Three patches in ten have such a sheet, mostly sagittal; it is drawn in fat only and carries no class."""
    if rng.random() > 0.3:
        return None
    spacing = np.array(spacing_mm)
    normal = np.array([1.0, *rng.normal(0, [0.5, 0.15])])
    normal /= np.linalg.norm(normal)
    bend = rng.normal(0, 1.5e-3, 2) * spacing[1:] ** 2
    centre = rng.uniform(0.05, 0.95, 3) * np.array(shape)
    return TableSheet(centre, normal * spacing, bend, float(rng.uniform(1.0, 3.0)), float(rng.uniform(-30, 60)))


@dataclass(frozen=True, slots=True, eq=False)
class Filling:
    """What a lesion is made of: mean HU, and where its blotches are taken from."""

    hu: float
    start: Starts


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """One patch of one body; whatever is None is not in the picture.

    Attributes:
        view: where it lies.
        halves, fine_mm, tall: slices are painted in so many parts each, of this spacing; shape of what is painted.
        matrix, shift: from painted voxels to those of the body.
        look, starts: grey values of the tissues, and where fibres, blotches and grain are taken from.
        couch, drape, arms: around the body.
        sheet: skin in fat.
        lesion, filling: both or none.
        exposure: the scanner's share.
        profile: weight of either neighbour in the slice profile.
        gain, offset_hu: of the scanner's calibration.
    """

    view: WindowPlace
    halves: int
    fine_mm: Spacing
    tall: Size
    matrix: NDArray[np.float32]
    shift: NDArray[np.float32]
    look: Look
    starts: Starts
    couch: Couch | None
    drape: Drape | None
    arms: Forearms | None
    sheet: TableSheet | None
    lesion: Lesion | None
    filling: Filling | None
    exposure: Exposure
    profile: np.float32
    gain: np.float32
    offset_hu: np.float32


def draw_recipe(
    body: StoredBody,
    view: WindowPlace,
    window: tuple[Size, Spacing],
    shown: Shown,
    rng: np.random.Generator,
    protocol: ScanProtocol | None = None,
) -> Recipe:
    """Draw all that is left to chance once a place is chosen.

    Args:
        body, view: which body, and where in it.
        window: shape and spacing of the patch.
        shown: what lies there.
        rng: decides.
        protocol: how the scanner is set; None draws it.
    """
    size, spacing_mm = window
    halves, fine, tall = halves_of(size, spacing_mm)
    matrix, shift = view.in_halves(halves)
    drawn = sample_protocol(rng)
    protocol = protocol or drawn
    look = at_voltage(sample_look(body.parts, rng), body.parts, protocol.voltage_kv)
    starts = rng.integers(TILE, size=(3, 3))
    couch = sample_couch(shown.lowest_row, rng) if rng.random() < COUCH else None
    drape = sample_drape((tall[0], tall[2]), fine, rng) if rng.random() < CLOTH else None
    arms = arms_beside(body, rng) if rng.random() < ARMS else None
    if arms is not None and not arms_in_reach(arms, body, matrix, shift, tall):
        arms = None
    sheet, lesion = sample_sheet(tall, fine, rng), sample_lesion(tall, fine, rng)
    filling = Filling(float(rng.uniform(0, 65)), rng.integers(TILE, size=3)) if lesion is not None else None
    setting = acquisition_of(protocol, fine, resampled=True, width_mm=width_at(body, view, size))
    exposure = sample_exposure(setting, tall[2] if shown.metal else 0, TILE, rng)
    profile = np.float32(neighbour_weight(protocol.slice_mm, spacing_mm[2]))
    gain, offset_hu = np.float32(rng.normal(1, 0.02)), np.float32(rng.normal(0, 5))
    return Recipe(
        view,
        halves,
        fine,
        tall,
        matrix,
        shift,
        look,
        starts,
        couch,
        drape,
        arms,
        sheet,
        lesion,
        filling,
        exposure,
        profile,
        gain,
        offset_hu,
    )
