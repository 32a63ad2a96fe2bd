"""The tables of the page as data: a column is an entry in a list, so that one more needs no new markup.

Every cell knows what a reader sees and, apart from it, the bare number and the remark that a spreadsheet gets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Final

from vastus.anatomy import SIDES, Side, Structure
from vastus.io.tables import EXPECTED_AGREEMENT, EXPECTED_HIGH, EXPECTED_LOW, LIKELY_WRONG, PROBABILITY_WRONG
from vastus.report.lines import Block, Cell, Line

if TYPE_CHECKING:
    from vastus.morphometry.rows import MeasureRow
    from vastus.report.measure_lines import MeasureCell, MuscleLine, Pair

CUT: Final = "cut by the scan's edge"
FRAGMENT: Final = "fragment"
LIKELY: Final = "likely wrong"
MISSED: Final = "missed"
_PART: Final = "The sum of what is visible; a muscle of the group is cut off, absent or a fragment"


@dataclass(frozen=True, slots=True)
class TableCell:
    """A number as it is shown and as it is copied.

    Attributes:
        text: shown; empty where there is nothing to say, ``–`` where a value is absent.
        value: the bare number.
        cut, fragment: shown behind the number, and copied as a remark.
        at_least: a sum of which a part is missing: shown with a ≥.
        wrong: likely wrong: shown in red, and copied as a remark.
        missed: should be in the scan and was not found: shown and copied likewise.
    """

    text: str
    value: float | None = None
    cut: bool = False
    fragment: bool = False
    at_least: bool = False
    wrong: bool = False
    missed: bool = False

    @property
    def remark(self) -> str:
        """In words what the sign behind or before the number says."""
        remarks = [
            (self.wrong, LIKELY),
            (self.missed, MISSED),
            (self.cut, CUT),
            (self.fragment, FRAGMENT),
            (self.at_least, "sum of what is visible"),
        ]
        return ", ".join(words for holds, words in remarks if holds)


@dataclass(frozen=True, slots=True)
class TableColumn:
    """Heading of a column; neighbours with the same ``title`` stand under one heading."""

    title: str
    part: str = ""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line: of a structure, or of a whole group (set off, and left out when the table is sorted)."""

    name: str
    cells: tuple[TableCell, ...]
    structure: Structure | None = None
    is_group: bool = False


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table; ``bodies`` are blocks of rows that belong together."""

    key: str
    spoken: str
    first: str
    columns: tuple[TableColumn, ...]
    bodies: tuple[tuple[TableRow, ...], ...]

    @property
    def headings(self) -> Iterator[tuple[str, tuple[TableColumn, ...]]]:
        """Headings of the first line, each with its columns."""
        for title, columns in groupby(self.columns, key=lambda column: column.title):
            yield title, tuple(columns)

    @property
    def is_two_lined(self) -> bool:
        """Whether any heading has columns with names of their own."""
        return any(column.part for column in self.columns)


@dataclass(frozen=True, slots=True)
class VolumeColumn:
    """A column of the table of volumes: what it shows of a structure and of a group."""

    column: TableColumn
    of_line: Callable[[Line], TableCell]
    of_block: Callable[[Block], TableCell]


def decimal(value: float, digits: int = 1) -> str:
    """Write a number with a true minus sign and never "-0.0"."""
    return f"{value:z.{digits}f}".replace("-", "−")


def signed(value: float) -> str:
    """Write one decimal with its sign; zero has none."""
    text = f"{value:+z.1f}".replace("-", "−")
    return "0.0" if text == "+0.0" else text


_NOTHING: Final = TableCell("")
_ABSENT: Final = TableCell("–")


def _number(value: float | None) -> TableCell:
    return _ABSENT if value is None else TableCell(decimal(value), value)


def _difference(value: float | None) -> TableCell:
    return _ABSENT if value is None else TableCell(signed(value), value)


def _volume(cell: Cell) -> TableCell:
    if cell.volume_cm3 is None:
        return TableCell("–", cut=cell.truncated, fragment=cell.fragment)
    return TableCell(decimal(cell.volume_cm3), cell.volume_cm3, cell.truncated, cell.fragment)


def _total(cell: Cell) -> TableCell:
    if cell.volume_cm3 is None:
        return _ABSENT
    return TableCell(decimal(cell.volume_cm3), cell.volume_cm3, at_least=cell.truncated)


def volume_columns(missing: Collection[tuple[str, str]] = ()) -> tuple[VolumeColumn, ...]:
    """Give the columns of volumes and densities.

    Args:
        missing: key and side of structures that should be in the scan: their cells say that they were missed.
    """

    def volume(side: Side) -> VolumeColumn:
        def of_line(line: Line) -> TableCell:
            found = _volume(line.right if side is Side.RIGHT else line.left)
            return replace(found, missed=(line.structure.key, side.value) in missing)

        def of_block(block: Block) -> TableCell:
            return _total(block.right if side is Side.RIGHT else block.left)

        return VolumeColumn(TableColumn("Volume, cm³", side.value.capitalize()), of_line, of_block)

    return (
        *(volume(side) for side in SIDES),
        VolumeColumn(
            TableColumn("Volume, cm³", "Difference, %"),
            lambda line: _difference(line.asymmetry_percent),
            lambda block: _difference(block.asymmetry_percent),
        ),
        VolumeColumn(
            TableColumn("Mean density, HU", "Right"), lambda line: _number(line.right.mean_hu), lambda _: _NOTHING
        ),
        VolumeColumn(
            TableColumn("Mean density, HU", "Left"), lambda line: _number(line.left.mean_hu), lambda _: _NOTHING
        ),
    )


@dataclass(frozen=True, slots=True)
class Expected:
    """What agreement is expected of one structure on one side: Dice, its range, and the chance of a Dice below 0.7."""

    value: float
    low: float
    high: float
    wrong: float

    @property
    def text(self) -> str:
        """``0.91 (0.86 to 0.94)``."""
        return f"{decimal(self.value, 2)} ({decimal(self.low, 2)} to {decimal(self.high, 2)})"

    @property
    def is_likely_wrong(self) -> bool:
        """Whether a reader must look before using a number of it."""
        return self.wrong >= LIKELY_WRONG


def expected_agreement(measures: Iterable[MeasureRow]) -> dict[tuple[str, str], Expected]:
    """Structure and side -> what is expected of it; only where the measures say all of it."""
    names = (EXPECTED_AGREEMENT, EXPECTED_LOW, EXPECTED_HIGH, PROBABILITY_WRONG)
    known: dict[tuple[str, str], dict[str, float]] = {}
    for row in measures:
        if row.measure in names and row.value is not None:
            known.setdefault((row.structure, row.side), {})[row.measure] = row.value
    return {
        place: Expected(*(values[name] for name in names))
        for place, values in known.items()
        if len(values) == len(names)
    }


def agreement_columns(measures: Iterable[MeasureRow]) -> tuple[VolumeColumn, ...]:
    """Give the two columns of the expected agreement, or none where no measure says any."""
    known = expected_agreement(measures)
    if not known:
        return ()

    def column(side: Side) -> VolumeColumn:
        def of_line(line: Line) -> TableCell:
            found = known.get((line.structure.key, side.value))
            return TableCell(found.text, found.value, wrong=found.is_likely_wrong) if found else _ABSENT

        return VolumeColumn(TableColumn("Expected agreement", side.value.capitalize()), of_line, lambda _: _NOTHING)

    return tuple(column(side) for side in SIDES)


def volume_table(blocks: Iterable[Block], titles: Callable[[Block], str], columns: Sequence[VolumeColumn]) -> PageTable:
    """Give the table of all structures by group; ``titles`` names a group."""
    bodies = []
    for block in blocks:
        total = TableRow(titles(block), tuple(c.of_block(block) for c in columns), is_group=True)
        lines = (
            TableRow(line.structure.english, tuple(c.of_line(line) for c in columns), line.structure)
            for line in block.lines
        )
        bodies.append((total, *lines))
    return PageTable("volumes", "Table of volumes", "Structure", tuple(c.column for c in columns), tuple(bodies))


def unsided_table(lines: Iterable[Line], key: str = "unsided", spoken: str = "Structures without a side") -> PageTable:
    """Give the table of what carries no side, or has none."""
    rows = tuple(
        TableRow(line.structure.english, (_volume(line.unknown), _number(line.unknown.mean_hu)), line.structure)
        for line in lines
    )
    columns = (TableColumn("Volume, cm³"), TableColumn("Mean density, HU"))
    return PageTable(key, spoken, "Structure", columns, (rows,))


def leg_table(pairs: Iterable[Pair]) -> PageTable:
    """Give the table of the measures of whole legs."""
    rows = tuple(
        TableRow(pair.kind.title, (TableCell(pair.kind.unit), _measured(pair.right), _measured(pair.left)))
        for pair in pairs
    )
    columns = (TableColumn("Unit"), TableColumn("Right"), TableColumn("Left"))
    return PageTable("legs", "Measures of a leg", "Leg", columns, (rows,))


def muscle_table(lines: Sequence[MuscleLine]) -> PageTable:
    """Give the table of the measures of each muscle."""
    columns = tuple(
        TableColumn(f"{pair.kind.title}, {pair.kind.unit}", side)
        for pair in (lines[0].pairs if lines else ())
        for side in ("Right", "Left")
    )
    rows = tuple(
        TableRow(
            line.structure.english,
            tuple(_measured(cell) for pair in line.pairs for cell in (pair.right, pair.left)),
            line.structure,
        )
        for line in lines
    )
    return PageTable("muscles", "Measures of each muscle", "Muscle", columns, (rows,))


def _measured(cell: MeasureCell) -> TableCell:
    return _ABSENT if cell.value is None else TableCell(decimal(cell.value), cell.value, cell.truncated)
