"""The rows of ``measures.csv`` that a reader of the page wants, right and left side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vastus.anatomy import BUILT_IN, Group, Side, Structure, StructureTable
from vastus.io.tables import ALL, INTERMUSCULAR_FAT, SUBCUTANEOUS_FAT
from vastus.morphometry.rows import MeasureRow


@dataclass(frozen=True, slots=True)
class LineKind:
    """A measure as the page names it: ``shown = stored * factor``, in ``unit``."""

    measure: str
    title: str
    unit: str
    factor: float


@dataclass(frozen=True, slots=True)
class LegKind(LineKind):
    """A measure of a whole leg: which structure (and group) its rows are of."""

    structure: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class MeasureCell:
    """One value; ``None`` where it is not known, or of a fragment. ``truncated``: of the visible part only."""

    value: float | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """A measure on both sides."""

    kind: LineKind
    right: MeasureCell
    left: MeasureCell


@dataclass(frozen=True, slots=True)
class MuscleLine:
    """The measures of one muscle, in the order of ``MUSCLE_KINDS``."""

    structure: Structure
    pairs: tuple[Pair, ...]


LEG_KINDS = (
    LegKind("femur_length", "Length of the femur", "mm", 1.0, "femur"),
    LegKind("volume", "Fat under the skin of the thigh", "cm³", 1e-3, SUBCUTANEOUS_FAT),
    LegKind("volume", "Fat between the muscles of the thigh", "cm³", 1e-3, INTERMUSCULAR_FAT),
    LegKind(
        "posterior_to_anterior",
        f"Volume of the {Group.POSTERIOR.title.lower()} to the {Group.ANTERIOR.title.lower()}",
        "%",
        100.0,
        ALL,
        Group.POSTERIOR.value,
    ),
    LegKind("thigh_muscle_to_femur", "Volume of the thigh's muscles to the femur", "1", 1.0, "femur"),
)
EXPECTED_KIND = LineKind("volume_of_expected", "Percent of expected", "%", 1.0)
"""Listed where height and mass are known."""
MUSCLE_KINDS = (
    LineKind("sd_hu", "SD of density", "HU", 1.0),
    LineKind("fat_fraction", "Fat inside", "%", 100.0),
    LineKind("length", "Length", "mm", 1.0),
    LineKind("max_area", "Largest section", "cm²", 1e-2),
)


def set_out_measures(
    rows: Iterable[MeasureRow], table: StructureTable = BUILT_IN
) -> tuple[tuple[Pair, ...], tuple[MuscleLine, ...]]:
    """The measures of the legs and those of the muscles; both empty when there are no rows.

    What a table of one's own does not allow to be measured has no row, and is not listed.
    """
    known = {(r.structure, r.group, r.side, r.measure): r for r in rows}
    if not known:
        return (), ()

    def pair(kind: LineKind, structure: str, group: str | None) -> Pair:
        return Pair(kind, *(_cell(_find(known, (structure, group, side), kind), kind) for side in _SIDES))

    measures = {row.measure for row in known.values() if row.value is not None}
    muscle_kinds = (*MUSCLE_KINDS, *([EXPECTED_KIND] if EXPECTED_KIND.measure in measures else ()))
    listed = {(row.structure, row.measure) for row in known.values()}
    kinds = [kind for kind in LEG_KINDS if table.is_built_in or (kind.structure, kind.measure) in listed]
    legs = tuple(pair(kind, kind.structure, kind.group) for kind in kinds)
    muscles = tuple(
        MuscleLine(muscle, tuple(pair(kind, muscle.key, muscle.group.value) for kind in muscle_kinds))
        for muscle in table.muscles
        if muscle.paired
    )
    return legs, muscles


_SIDES = (Side.RIGHT.value, Side.LEFT.value)


def _find(
    known: dict[tuple[str, str, str, str], MeasureRow], of: tuple[str, str | None, str], kind: LineKind
) -> MeasureRow | None:
    structure, group, side = of
    if group is not None:
        return known.get((structure, group, side, kind.measure))
    matches = (row for key, row in known.items() if (key[0], *key[2:]) == (structure, side, kind.measure))
    return next(matches, None)


def _cell(row: MeasureRow | None, kind: LineKind) -> MeasureCell:
    if row is None or row.value is None or row.fragment:
        return MeasureCell()
    return MeasureCell(row.value * kind.factor, row.truncated)
