"""What a reader draws in one slice: strokes, cuts, bands, polygons. Data only; ``outlining`` makes the mask of it.

Points are voxel indices (i, j) of the slice as it is given, whole or broken; a voxel's centre has whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from vastus.anatomy import BACKGROUND_ID, BUILT_IN, UNLABELLED, Kind, Side, StructureTable
from vastus.errors import SettingsError

_FARTHEST_VOXELS = 50
Point = tuple[float, float]
Polyline = tuple[Point, ...]
"""A stroke: one point, or two and more that are joined."""
Window = tuple[int, int, int, int]
"""First i, last i + 1, first j, last j + 1."""


@dataclass(frozen=True, slots=True)
class Strokes:
    """The strokes inside one structure. For a bone one point a piece is enough.

    Attributes:
        key: of the table.
        lines: at least one.
        confidence: 1 (guessed) to 3 (sure), of the whole section.
        opening_voxels: radius of the opening that takes slivers away; None: that of the settings.
        table: of the structures.
    """

    key: str
    lines: tuple[Polyline, ...]
    confidence: int = 3
    opening_voxels: int | None = None
    table: StructureTable = field(default=BUILT_IN, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no structure, no stroke or no confidence."""
        _refuse_unknown([self.key], self.table)
        if not self.lines or not all(self.lines):
            raise SettingsError(f"{self.key} has no stroke.")
        if self.confidence not in (1, 2, 3):
            raise SettingsError(f"The confidence of {self.key} must be 1, 2 or 3, not {self.confidence}.")
        if self.opening_voxels is not None and not 0 <= self.opening_voxels <= _FARTHEST_VOXELS:
            raise SettingsError(f"The opening of {self.key} must lie between 0 and {_FARTHEST_VOXELS} voxels.")

    @property
    def is_bone(self) -> bool:
        """Whether this is a bone, as the femur or the hip bone."""
        return self.table.by_key[self.key].kind is Kind.BONE


@dataclass(frozen=True, slots=True)
class Polygon:
    """A verdict by hand: ``label`` (class id, 0 for none, ``UNLABELLED``) inside a polygon of three or more points."""

    label: int
    points: Polyline
    table: StructureTable = field(default=BUILT_IN, repr=False)

    def __post_init__(self) -> None:
        """Refuse another label, or fewer than three points."""
        if self.label not in self.table.by_id and self.label not in (BACKGROUND_ID, UNLABELLED):
            raise SettingsError(
                f"A polygon can't become {self.label}: that is no class id, not 0, and not {UNLABELLED}."
            )
        if len(self.points) < 3:
            raise SettingsError("A polygon needs three points or more.")


@dataclass(frozen=True, slots=True)
class OutlineSettings:
    """The rules by which strokes become a mask. The defaults are those of the shipped data set.

    Attributes:
        grid_factor: how many places of the grid on which strokes grow lie along a voxel: 2, or 1 for voxels below
            about 0.6 mm, which are fine enough by themselves.
        neighbour_weight: of each of the two neighbouring slices when borders are looked for (0 to 0.5).
        edge_sigma_voxels: smoothing before borders are looked for.
        edge_scale_hu: how dark a septum must be beside its surroundings to make a step e times harder.
        mask_sigma_voxels, mask_hu: a muscle is what lies above this HU after this smoothing; below it is fat.
        bone_hu: what lies above is bone.
        fill_bones: marrow counts as bone.
        skin_voxels: rim of the body that is no muscle.
        opening_voxels: radius of the opening that takes slivers away.
        undecided_radius_voxels: an undecided border is ``UNLABELLED`` where both structures are this near.
    """

    grid_factor: int = 2
    neighbour_weight: float = 0.2
    edge_sigma_voxels: float = 0.8
    edge_scale_hu: float = 5.0
    mask_sigma_voxels: float = 0.6
    mask_hu: float = -25.0
    bone_hu: float = 160.0
    fill_bones: bool = True
    skin_voxels: int = 3
    opening_voxels: int = 1
    undecided_radius_voxels: float = 1.6

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        if self.grid_factor not in (1, 2):
            raise SettingsError(f"The grid on which strokes grow has 1 or 2 places a voxel, not {self.grid_factor}.")
        if not 0 <= self.neighbour_weight <= 0.5:
            raise SettingsError("The weight of the neighbouring slices must lie between 0 and 0.5.")
        sizes = (self.edge_sigma_voxels, self.mask_sigma_voxels, self.skin_voxels, self.opening_voxels)
        reach = (*sizes, self.undecided_radius_voxels)
        if not self.edge_scale_hu > 0 or not all(0 <= size <= _FARTHEST_VOXELS for size in reach):
            raise SettingsError(
                f"Lengths of outlining lie between 0 and {_FARTHEST_VOXELS} voxels, and the scale of edges above 0."
            )
        if not all(math.isfinite(hu) for hu in (self.mask_hu, self.bone_hu, self.edge_scale_hu)):
            raise SettingsError("HU of outlining must be numbers.")


@dataclass(frozen=True, slots=True)
class Outline:
    """All that is drawn in one slice.

    Attributes:
        strokes: one entry a structure. Of two that claim the same hole the later one has it.
        background: strokes on what is none of the structures: vessels, nerves, tendons, bowel, other muscles.
        cuts: drawn borders that nothing passes, where two muscles touch without visible fat.
        undecided: pairs of keys whose common border can't be seen.
        polygons: verdicts by hand, in their order.
        dropped: keys of structures that are seen but can't be separated: ``UNLABELLED`` as a whole.
        window: where there is a verdict; None: the whole slice.
        settings: see there.
        start: what the reader started from: "" nothing, else for instance "network".
        side: on which side the structures lie; with ``middle`` it is not looked at.
        middle: for both thighs in one slice: the i between them; what lies above it is the patient's right.
        table: of the structures.
    """

    strokes: tuple[Strokes, ...]
    background: tuple[Polyline, ...] = ()
    cuts: tuple[Polyline, ...] = ()
    undecided: tuple[tuple[str, str], ...] = ()
    polygons: tuple[Polygon, ...] = ()
    dropped: tuple[str, ...] = ()
    window: Window | None = None
    settings: OutlineSettings = field(default_factory=OutlineSettings)
    start: str = ""
    side: Side = Side.UNKNOWN
    middle: float | None = None
    table: StructureTable = field(default=BUILT_IN, repr=False)

    def __post_init__(self) -> None:
        """Refuse unknown keys, a structure given twice and an empty window."""
        keys = [strokes.key for strokes in self.strokes]
        _refuse_unknown([*keys, *self.dropped, *(key for pair in self.undecided for key in pair)], self.table)
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise SettingsError(f"Strokes of {', '.join(twice)} are given twice.", remedy="Join them.")
        if self.window is not None:
            i0, i1, j0, j1 = self.window
            if not (0 <= i0 < i1 and 0 <= j0 < j1):
                raise SettingsError(f"The window {self.window} is empty or begins below 0.")

    @property
    def keys(self) -> tuple[str, ...]:
        """The structures with strokes, in their order."""
        return tuple(strokes.key for strokes in self.strokes)


def _refuse_unknown(keys: Iterable[str], table: StructureTable) -> None:
    unknown = sorted(set(keys) - table.by_key.keys())
    if unknown:
        listed = "`vastus classes` lists the keys." if table.is_built_in else f"The keys are {', '.join(table.by_key)}."
        raise SettingsError(f"Unknown structures in an outline: {', '.join(unknown)}.", remedy=listed)
