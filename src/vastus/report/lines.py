"""The volume rows of one scan set out as a reader wants them: one line a structure, right and left side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vastus.anatomy import BUILT_IN, SIDES, Group, Side, Structure, StructureTable
from vastus.io.csv_tables import VolumeRow


@dataclass(frozen=True, slots=True)
class Cell:
    """One side of a structure; both ``None`` where it is absent. ``truncated``: cut off by the scan's edge.

    ``fragment``: too small to be the structure; it is shown and counts nowhere.
    """

    volume_cm3: float | None = None
    mean_hu: float | None = None
    truncated: bool = False
    fragment: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the volume is there and complete."""
        return self.volume_cm3 is not None and not self.truncated and not self.fragment


@dataclass(frozen=True, slots=True)
class Line:
    """One structure, both sides."""

    structure: Structure
    right: Cell
    left: Cell
    unknown: Cell

    @property
    def asymmetry_percent(self) -> float | None:
        """See ``asymmetry_percent``; ``None`` unless both sides are whole."""
        return asymmetry_percent(self.right, self.left)


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of one group, with the sum of the visible volumes on each side."""

    group: Group
    lines: tuple[Line, ...]
    right: Cell
    left: Cell

    @property
    def asymmetry_percent(self) -> float | None:
        """See ``asymmetry_percent``; ``None`` unless every member is whole on both sides."""
        return asymmetry_percent(self.right, self.left)


def asymmetry_percent(right: Cell, left: Cell) -> float | None:
    """Right minus left in percent of their mean, as in ``measures.csv``; ``None`` unless both are whole."""
    if not (right.is_whole and left.is_whole) or right.volume_cm3 is None or left.volume_cm3 is None:
        return None
    total = right.volume_cm3 + left.volume_cm3
    return 200.0 * (right.volume_cm3 - left.volume_cm3) / total if total > 0 else None


def set_out(rows: Iterable[VolumeRow], table: StructureTable = BUILT_IN) -> tuple[Block, ...]:
    """All structures that both sides have, by group, in the order of the table; what has no row is absent."""
    cells = _cells(rows)
    blocks = []
    for group in table.groups:
        members = tuple(
            Line(s, *(cells.get((s.key, side), Cell()) for side in (*SIDES, Side.UNKNOWN)))
            for s in table.structures_of(group)
            if s.paired
        )
        if members:
            blocks.append(Block(group, members, _sum([m.right for m in members]), _sum([m.left for m in members])))
    return tuple(blocks)


def midline_lines(rows: Iterable[VolumeRow], table: StructureTable) -> tuple[Line, ...]:
    """The structures of the midline, in the order of the table; their one cell stands where the side is not known."""
    cells = _cells(rows)
    return tuple(Line(s, Cell(), Cell(), cells.get((s.key, Side.MIDLINE), Cell())) for s in table.rows if not s.paired)


def _cells(rows: Iterable[VolumeRow]) -> dict[tuple[str, Side], Cell]:
    cells: dict[tuple[str, Side], Cell] = {}
    for row in rows:
        volume = None if row.volume_mm3 is None else row.volume_mm3 / 1000.0
        cells[row.structure, row.side] = Cell(
            volume, None if volume is None else row.mean_hu, row.truncated, row.fragment
        )
    return cells


def _sum(cells: list[Cell]) -> Cell:
    """Sum of what is visible, without fragments. Not whole when a member is cut off, absent or a fragment."""
    volumes = [c.volume_cm3 for c in cells if c.volume_cm3 is not None and not c.fragment]
    if not volumes:
        return Cell()
    return Cell(sum(volumes), None, any(not c.is_whole for c in cells))
