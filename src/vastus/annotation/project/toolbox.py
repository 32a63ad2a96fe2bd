"""The tools of ``vastus.refinement`` on the cases of a project."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.annotation.refusals import BadRequestError
from vastus.annotation.structures import name_of_value
from vastus.refinement.between_slices import fill_between
from vastus.refinement.grow_structures import Change, Growth, StructureGrower, changes_between
from vastus.refinement.one_structure import replace_structure
from vastus.refinement.smoothing import SmoothingBand, smooth_structure
from vastus.volume import Volume, axis_order

GROWERS_KEPT: Final = 4
"""Scans whose strokes are remembered, so that a further stroke costs little."""

Labels = NDArray[np.uint8]


class Tool(Enum):
    """The tools by their names in addresses."""

    GROW = "grow"
    BETWEEN_SLICES = "between-slices"
    SMOOTH = "smooth"
    FIX = "fix"


class SlicePlane(Enum):
    """Planes that slices are counted in, with the world axis across them."""

    SAGITTAL = "sagittal"
    CORONAL = "coronal"
    AXIAL = "axial"

    @property
    def world_axis(self) -> int:
        """0 across sagittal planes, 1 across coronal, 2 across axial ones."""
        return {SlicePlane.SAGITTAL: 0, SlicePlane.CORONAL: 1, SlicePlane.AXIAL: 2}[self]


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """What a client may say to a tool.

    Attributes:
        value: the structure; needed by smooth and fix, optional for between-slices.
        plane: for between-slices: how the corrected slices lie.
        slices: for between-slices: their numbers in the file, 0 first; empty: those that differ from the version
            before, or else those in which the structure is.
        width_mm, sigma_mm: for smooth: how far the boundary may move, and how strongly.
        give_way: for fix: structures that the new mask may push back.
    """

    value: int | None = None
    plane: SlicePlane = SlicePlane.AXIAL
    slices: tuple[int, ...] = ()
    width_mm: float = 3.0
    sigma_mm: float = 2.0
    give_way: frozenset[int] = frozenset()

    def structure(self, table: StructureTable) -> int:
        """The value of the structure.

        Raises:
            BadRequestError: none is named, or one that is not in the table.
        """
        if self.value is None:
            raise BadRequestError("Which structure?", remedy="Give value=..., one of GET /api/structures.")
        if self.value not in table.by_value:
            raise BadRequestError(f"There is no structure {self.value}.", remedy="GET /api/structures lists them.")
        return self.value


@dataclass(frozen=True, slots=True, eq=False)
class ToolWork:
    """What a tool works on.

    Attributes:
        case_id: the case.
        drawn: the labels as they are on the annotator's screen.
        before: the last version, or nothing if there is none.
        scan: gives the CT.
    """

    case_id: str
    drawn: Volume
    before: Volume | None
    scan: Callable[[], Volume]


class Toolbox:
    """Runs tools; remembers what grew in the last cases."""

    def __init__(self, table: StructureTable = BUILT_IN) -> None:
        self._table = table
        self._growers: OrderedDict[str, tuple[threading.Lock, StructureGrower]] = OrderedDict()
        self._guard = threading.Lock()

    def run(self, tool: Tool, work: ToolWork, options: ToolOptions) -> tuple[Volume, str]:
        """The new label map, and a note that says what was done.

        Raises:
            BadRequestError, SettingsError: something is missing that the tool needs.
        """
        drawn, spacing_mm = work.drawn, work.drawn.spacing_mm
        if tool is Tool.GROW:
            growth = self.grow(work)
            names = ", ".join(name_of_value(value, self._table) for value in growth.grown)
            return drawn.with_array(growth.labels), f"grown from strokes: {names}"
        if tool is Tool.SMOOTH:
            value = options.structure(self._table)
            smooth = smooth_structure(drawn.array, value, spacing_mm, SmoothingBand(options.width_mm, options.sigma_mm))
            return drawn.with_array(smooth), f"{name_of_value(value, self._table)} smoothed"
        if tool is Tool.FIX:
            value = options.structure(self._table)
            base = work.before if work.before is not None else drawn
            mask = drawn.array == value
            fixed = replace_structure(base.array, mask, value, spacing_mm, options.give_way)
            return drawn.with_array(fixed), f"only {name_of_value(value, self._table)} changed"
        axis = axis_order(drawn.affine).source[options.plane.world_axis]
        slices = options.slices or corrected_slices(work, axis, options.value)
        values = None if options.value is None else (options.structure(self._table),)
        filled = fill_between(drawn.array, slices, axis, spacing_mm, values)
        return drawn.with_array(filled), f"filled between {len(slices)} {options.plane.value} slices"

    def grow(self, work: ToolWork) -> Growth:
        """Grow the strokes that are new against the version before. Strokes of background are 254."""
        lock, grower = self._grower(work)
        with lock:
            return grower.grow(work.drawn.array, None if work.before is None else work.before.array)

    def _grower(self, work: ToolWork) -> tuple[threading.Lock, StructureGrower]:
        with self._guard:
            known = self._growers.pop(work.case_id, None)
        if known is None:
            scan = work.scan()
            across = axis_order(scan.affine).source[SlicePlane.AXIAL.world_axis]
            known = (
                threading.Lock(),
                StructureGrower(scan.array, scan.spacing_mm, axis=across, is_bone=self._table.is_bone),
            )
        with self._guard:
            self._growers[work.case_id] = known
            while len(self._growers) > GROWERS_KEPT:
                self._growers.popitem(last=False)
        return known


def changes_of(work: ToolWork, labels: Volume) -> tuple[Change, ...]:
    """What a tool's result would change against the version before (or against nothing), in mL a structure."""
    before = np.zeros_like(labels.array) if work.before is None else work.before.array
    return changes_between(before, labels.array, labels.spacing_mm)


def corrected_slices(work: ToolWork, axis: int, value: int | None) -> tuple[int, ...]:
    """The slices that the annotator has worked on since the version before; else those that hold the structure."""
    others = tuple(a for a in range(3) if a != axis)
    if work.before is not None:
        changed = np.flatnonzero((work.drawn.array != work.before.array).any(axis=others))
        if len(changed) >= 2:
            return tuple(int(k) for k in changed)
    structure_mask = work.drawn.array > 0 if value is None else work.drawn.array == value
    return tuple(int(k) for k in np.flatnonzero(structure_mask.any(axis=others)))
