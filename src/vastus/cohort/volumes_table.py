"""Reading the volumes of many scans: a folder of ``segment`` outputs, or one table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vastus.anatomy import BUILT_IN, BY_KEY, Group, Side, StructureTable
from vastus.cohort.problems import Problem, ProblemKind
from vastus.errors import ImplausibleValueError, MissingInputError, SettingsError, VastusError
from vastus.io import tables
from vastus.io.edited_tables import decimal_comma, plain_name, read_edited_table, read_number
from vastus.io.own_structures import same_structures
from vastus.io.stops import read_stops
from vastus.io.structure_tables import table_in
from vastus.muscle_volumes import find_fragments

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class Volumes:
    """Volumes of all scans.

    Attributes:
        sides_mm3: one row a scan, columns (structure key, side); empty where absent, cut off by the field of view, or a
            fragment.
        truncated: the same shape; whether the structure was cut off.
        problems: what was left out.
        listed: structures that have a row in the table at all, whatever it says.
        table: of the structures.
    """

    sides_mm3: pd.DataFrame
    truncated: pd.DataFrame
    problems: tuple[Problem, ...]
    listed: frozenset[str] = frozenset(BY_KEY)
    table: StructureTable = BUILT_IN


def read_volumes(scans: Path, structures: StructureTable | None = None) -> Volumes:
    """Read the volumes of every scan.

    Args:
        scans: a folder with one ``segment`` output folder a scan, or one table (CSV in any common form, or .xlsx) with
            the columns of ``volumes.csv``.
        structures: table of the structures; None: the one that lies beside the volumes.

    Raises:
        MissingInputError: no such path, or not one readable scan in it.
        SettingsError: the scans have different tables of structures, or one without a muscle.
    """
    import pandas as pd

    if not scans.exists():
        raise MissingInputError("The scans do not exist.", path=scans)
    files = sorted(scans.rglob(tables.VOLUMES_FILE)) if scans.is_dir() else [scans]
    read: list[tuple[Path, pd.DataFrame]] = []
    problems: list[Problem] = []
    for file in files:
        frame, fault = _read_one(file)
        if fault:
            problems.append(Problem(ProblemKind.UNREADABLE_SCAN, fault, _name_of(file, scans)))
        elif frame is not None:
            read.append((file, frame.assign(file=str(file))))
    known = structures or (_structures_of(files, scans) if read else BUILT_IN)
    frames = [_without_stopped(frame, file, known, problems) for file, frame in read]
    if not any(len(frame) for frame in frames):
        found = "; ".join(sorted({p.what for p in problems})) or f"no {tables.VOLUMES_FILE} found"
        raise MissingInputError(
            f"No scan can be read ({found}).",
            path=scans,
            remedy="Give the folder that `vastus segment` wrote, or one table with the columns of its volumes.csv.",
        )
    if not known.muscles:
        raise SettingsError(
            "There is no muscle in the table of structures, so nothing can be related to sarcopenia.",
            path=scans,
            remedy="Say kind = muscle in structure_table.csv where a structure is one.",
        )
    return volumes_from_table(pd.concat(frames, ignore_index=True), problems, known)


def _structures_of(files: Sequence[Path], scans: Path) -> StructureTable:
    """Find the one table that lies beside all files, or in the folder of the scans."""
    above = table_in(scans if scans.is_dir() else scans.parent)
    beside = {file: table_in(file.parent) for file in files}
    found = {file: above if table.is_built_in else table for file, table in beside.items()}
    first = found[files[0]]
    others = [file for file, table in found.items() if not same_structures(table, first)]
    if others:
        raise SettingsError(
            f"The scans have different structures: those of {files[0].parent.name} are not those of"
            f" {others[0].parent.name}.",
            path=scans,
            remedy="Compare scans that were segmented with the same weights.",
        )
    return first


def volumes_from_table(
    table: pd.DataFrame, problems: Sequence[Problem] = (), structures: StructureTable = BUILT_IN
) -> Volumes:
    """Make ``Volumes`` from rows with the columns of ``volumes.csv`` (and ``file`` if several were read)."""
    import pandas as pd

    found = list(problems)
    table = table.assign(file=table.get("file", ""))
    table[tables.SUBJECT] = table[tables.SUBJECT].astype(str).map(plain_name)
    listed = frozenset(table[tables.STRUCTURE]) & structures.by_key.keys()
    for subject, files in table.groupby(tables.SUBJECT)["file"].nunique().items():
        if files > 1:
            found.append(Problem(ProblemKind.DUPLICATE_SCAN, f"in {files} files; all left out", str(subject)))
            table = table[table[tables.SUBJECT] != subject]
    table = _usable_rows(table, found, structures)
    places = [(s.key, side.value) for s in structures.rows for side in s.sides]
    keys = pd.MultiIndex.from_tuples(places, names=["structure", "side"])
    index = [tables.STRUCTURE, tables.SIDE]
    volumes = table.set_index([tables.SUBJECT, *index])[tables.VOLUME_MM3].unstack(index).reindex(columns=keys)
    cut = table.set_index([tables.SUBJECT, *index])[tables.TRUNCATED].unstack(index).reindex(columns=keys)
    cut = cut.eq(True)
    volumes = _unit_checked(volumes.mask(cut).astype(float), found)
    volumes = volumes.mask(_fragments(table, volumes, found))
    return Volumes(volumes, cut.loc[volumes.index], tuple(found), listed, structures)


def total_muscles_mm3(volumes: Volumes) -> pd.DataFrame:
    """Sum right plus left of each muscle in mm3, one row for each scan; empty unless both sides are whole.

    One of the midline has no sides, and counts as it is.
    """
    import pandas as pd

    muscles = volumes.table.muscles
    parts = {m.key: volumes.sides_mm3[m.key].sum(axis=1, min_count=len(m.sides)) for m in muscles}
    return pd.DataFrame(parts, index=volumes.sides_mm3.index)


def with_groups(muscles: pd.DataFrame, table: StructureTable = BUILT_IN) -> pd.DataFrame:
    """Add a column for each group (``group:anterior`` ...): the sum of its muscles, empty unless all are known."""
    import pandas as pd

    groups = {}
    for group in table.muscle_groups:
        members = members_of(group, table)
        groups[group_column(group)] = muscles[members].sum(axis=1, min_count=len(members))
    return pd.concat([muscles, pd.DataFrame(groups, index=muscles.index)], axis=1)


def group_column(group: Group) -> str:
    """Return the column name of a group."""
    return f"group:{group.value}"


def members_of(group: Group, table: StructureTable) -> list[str]:
    """Return the keys of the muscles of a group."""
    return [s.key for s in table.structures_of(group) if s.is_muscle]


def features_of(table: StructureTable) -> tuple[str, ...]:
    """Return the columns of ``with_groups``: the muscles, then the groups."""
    return (*(m.key for m in table.muscles), *(group_column(g) for g in table.muscle_groups))


FEATURES: tuple[str, ...] = features_of(BUILT_IN)
"""Those of the built-in table: 27 muscles, then the groups."""


def feature_label(feature: str, table: StructureTable = BUILT_IN) -> str:
    """Return the name of a feature for people."""
    if feature in table.by_key:
        return table.by_key[feature].english
    value = feature.partition(":")[2]
    return next(group.title for group in table.groups if group.value == value)


def _without_stopped(frame: pd.DataFrame, file: Path, table: StructureTable, problems: list[Problem]) -> pd.DataFrame:
    """Leave out scans of which no number is to be used, and name structures that are likely wrong.

    Both stand in the ``run.json`` of a scan: beside its table, or in the folder of an archive whose table this is.
    """
    stopped = []
    for subject in frame[tables.SUBJECT].unique():
        own = file.with_name(tables.RECORD_FILE)
        archived = file.parent / tables.SCANS_FOLDER / str(subject) / tables.RECORD_FILE
        stops = read_stops(own if own.is_file() else archived)
        who = plain_name(str(subject))
        if stops.unusable:
            stopped.append(subject)
            problems.append(Problem(ProblemKind.STOPPED_SCAN, f"left out: {stops.alarms[0]}", who))
        elif stops.wrong:
            known = table.by_key
            named = sorted(f"{known[key].english.lower()} {side}" for key, side in stops.wrong if key in known)
            what = f"used, but look at the pictures first: {', '.join(named)}"
            problems.append(Problem(ProblemKind.WRONG_STRUCTURE, what, who))
    return frame[~frame[tables.SUBJECT].isin(stopped)]


def _name_of(file: Path, scans: Path) -> str:
    return file.parent.relative_to(scans).as_posix() if scans.is_dir() else file.name


def _read_one(file: Path) -> tuple[pd.DataFrame | None, str]:
    import pandas as pd

    needed = [c for c in tables.VOLUME_COLUMNS if c not in (tables.GROUP, tables.MEAN_HU, tables.FRAGMENT)]
    try:
        table = read_edited_table(file, "table of volumes")
    except VastusError as error:
        return None, error.problem
    width = len(table.header)
    cells = [(*row.cells, *[""] * width)[:width] for row in table.rows]
    frame = pd.DataFrame(cells, columns=list(table.header), dtype=str)
    lacking = [c for c in needed if c not in frame]
    if lacking:
        return None, f"columns lacking: {', '.join(lacking)}"
    twice = sorted({c for c in tables.VOLUME_COLUMNS if table.header.count(c) > 1})
    if twice:
        return None, f"columns given more than once: {', '.join(twice)}"
    comma = decimal_comma(frame[tables.VOLUME_MM3])
    numbers = [read_number(cell, comma=comma and "," in cell) if cell else None for cell in frame[tables.VOLUME_MM3]]
    # A cell that is no number stays as it is, so that it is told with the others.
    frame[tables.VOLUME_MM3] = [
        cell if number is None and cell else number
        for cell, number in zip(frame[tables.VOLUME_MM3], numbers, strict=True)
    ]
    return (frame, "") if len(frame) else (None, "no rows")


def _usable_rows(table: pd.DataFrame, problems: list[Problem], structures: StructureTable) -> pd.DataFrame:
    """Keep the rows of known structure and side, once each, with a number or nothing as volume."""
    import pandas as pd

    truncated = table[tables.TRUNCATED].astype(str).str.strip().str.lower()
    volume = pd.to_numeric(table[tables.VOLUME_MM3], errors="coerce").replace([math.inf, -math.inf], math.nan)
    known = table[tables.STRUCTURE].isin(list(structures.by_key))
    places = {(s.key, side.value) for s in structures.rows for side in s.sides}
    given = zip(table[tables.STRUCTURE], table[tables.SIDE], strict=True)
    sided = pd.Series([place in places for place in given], index=table.index, dtype=bool)
    is_bad = ~known | (table[tables.VOLUME_MM3].notna() & volume.isna()) | (volume <= 0)
    is_bad |= ~truncated.isin(["true", "false", "1", "0"])
    twice = table.duplicated([tables.SUBJECT, tables.STRUCTURE, tables.SIDE], keep=False) & sided
    for mask, what in (
        (
            is_bad,
            "row(s) with an unknown structure, a volume that is no positive number, or no true/false in truncated",
        ),
        (~sided & volume.notna() & known, "structure(s) whose side is not known"),
        (twice, "row(s) that give a structure and side more than once"),
    ):
        for subject, count in table.loc[mask, tables.SUBJECT].value_counts(sort=False).items():
            problems.append(Problem(ProblemKind.BAD_VOLUME, f"{count} {what}; left out", str(subject)))
    table = table.assign(**{tables.VOLUME_MM3: volume, tables.TRUNCATED: truncated.isin(["true", "1"])})
    return table[~is_bad & sided & ~twice]


def _fragments(table: pd.DataFrame, volumes: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
    """Find the fragments: as the table says, or by the rule if the table has no such column."""
    import pandas as pd

    given = _given_fragments(table) if tables.FRAGMENT in table else {}
    places = [(key, Side(side)) for key, side in volumes.columns]
    rows = []
    for subject, row in zip(volumes.index, volumes.to_numpy(), strict=True):
        known = {at: value for at, value in zip(places, row.tolist(), strict=True) if not math.isnan(value)}
        found = find_fragments(known)
        flags = [at in known and given.get((subject, at[0], at[1].value), at in found) for at in places]
        if any(flags):
            what = f"{sum(flags)} fragment(s), far too small to be the structure; left out"
            problems.append(Problem(ProblemKind.BAD_VOLUME, what, str(subject)))
        rows.append(flags)
    return pd.DataFrame(rows, index=volumes.index, columns=volumes.columns, dtype=bool)


def _given_fragments(table: pd.DataFrame) -> dict[tuple[str, str, str], bool]:
    """Read subject, structure and side -> whether it is a fragment, where the table says so."""
    words = table[tables.FRAGMENT].astype(str).str.strip().str.lower()
    cells = (table[column] for column in (tables.SUBJECT, tables.STRUCTURE, tables.SIDE))
    return {
        (subject, structure, side): word in ("true", "1")
        for subject, structure, side, word in zip(*cells, words, strict=True)
        if word in ("true", "1", "false", "0")
    }


def _unit_checked(volumes: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
    """Leave out scans whose volumes are not in mm3."""
    from vastus.sarcopenia import check_volume_unit

    keys, kept = [key for key, _ in volumes.columns], []
    for subject, row in zip(volumes.index, volumes.to_numpy(), strict=True):
        by_key: dict[str, float] = {}
        for key, value in zip(keys, row.tolist(), strict=True):
            if not math.isnan(value):
                by_key[key] = by_key.get(key, 0.0) + value
        try:
            check_volume_unit(by_key)
            kept.append(True)
        except ImplausibleValueError as error:
            kept.append(False)
            problems.append(Problem(ProblemKind.BAD_VOLUME, f"{error} Left out.", str(subject)))
    return volumes[kept]
