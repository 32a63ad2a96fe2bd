"""Tables of structures on disk: ``structure_table.csv``, and what ``dataset.json`` of a data set names.

The file lies in a data set beside ``dataset.json``, or beside a label map, and says what the names there are.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vastus.anatomy import BUILT_IN, SIDES, Side, StructureTable
from vastus.errors import MissingInputError, SettingsError
from vastus.io.atomic import write_text
from vastus.io.label_names import split_side, value_of
from vastus.io.nnunet_layout import BACKGROUND_NAME, DATASET_FILE, IGNORE_NAME, MERGED
from vastus.io.own_structures import ENTRY_FIELDS, NAME, entries_of, key_of, own_table
from vastus.io.tables import STRUCTURE_TABLE_FILE

_NEARLY: Final = 0.9
"""Names more alike than this are taken for a slip of the pen."""


@dataclass(frozen=True, slots=True)
class DatasetStructures:
    """What the names of a data set mean.

    Attributes:
        table: of its structures.
        meaning: name of a label -> key of a structure and side.
        problems: names that mean nothing, or may be misspelt.
        own: keys that the built-in table lacks, where no table file declares them.
    """

    table: StructureTable
    meaning: Mapping[str, tuple[str, Side]]
    problems: tuple[str, ...] = ()
    own: tuple[str, ...] = ()


def read_structure_table(path: Path) -> StructureTable:
    """Read a table file: CSV with a column ``name`` and, if wanted, the others of ``ENTRY_FIELDS``.

    Raises:
        MissingInputError: no such file.
        SettingsError: everything that is wrong with it, in one message.
    """
    if not path.is_file():
        raise MissingInputError("There is no such table of structures.", path=path)
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
        rows = [row for row in reader if any(isinstance(cell, str) and cell.strip() for cell in row.values())]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"The table of structures can't be read ({error}).", path=path) from error
    columns = set(reader.fieldnames or ())
    if NAME not in columns or columns - set(ENTRY_FIELDS):
        raise SettingsError(
            f"A table of structures has the columns {', '.join(ENTRY_FIELDS)} (all but {NAME} may be left out),"
            f" separated by commas; this one has {', '.join(sorted(map(str, columns))) or 'none'}.",
            path=path,
        )
    if any(None in row for row in rows):
        raise SettingsError("A line has more cells than there are columns.", path=path)
    try:
        return own_table(rows)
    except SettingsError as error:
        raise SettingsError(error.problem, path=path, remedy=error.remedy) from error


def write_structure_table(table: StructureTable, path: Path) -> None:
    """Write the file that ``read_structure_table`` reads, atomically.

    Raises:
        OutputError: it can't be written.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ENTRY_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries_of(table))
    write_text(path, stream.getvalue())


def write_table_beside(table: StructureTable, folder: Path) -> None:
    """Write the table file into a folder of label maps, so that they can be read; the built-in table needs none."""
    if not table.is_built_in:
        write_structure_table(table, folder / STRUCTURE_TABLE_FILE)


def table_in(folder: Path) -> StructureTable:
    """Read the table file of a folder of results; the built-in table where there is none.

    Raises:
        SettingsError: the file is wrong.
    """
    path = folder / STRUCTURE_TABLE_FILE
    return read_structure_table(path) if path.is_file() else BUILT_IN


def dataset_structures(folder: Path, labels: Mapping[str, Any], merged: Iterable[str] = ()) -> DatasetStructures:
    """Find the table of a data set: that of its table file, the built-in one, or one made of its names.

    Args:
        folder: holds ``dataset.json`` and, if there is one, the table file.
        labels: name -> value, as in ``dataset.json``.
        merged: names that stand for several structures.

    Raises:
        SettingsError: the table file is wrong.
    """
    others = {BACKGROUND_NAME, IGNORE_NAME, *merged}
    names = sorted((name for name in labels if name not in others), key=lambda name: _as_order(labels[name]))
    if (folder / STRUCTURE_TABLE_FILE).is_file():
        table = read_structure_table(folder / STRUCTURE_TABLE_FILE)
        meaning = {name: found for name in names if (found := meaning_of(name, table)) is not None}
        lost = tuple(f"{name!r} is not in {STRUCTURE_TABLE_FILE}" for name in names if name not in meaning)
        return DatasetStructures(table, meaning, (*lost, *_twice(meaning)))
    meaning = {name: found for name in names if (found := meaning_of(name, BUILT_IN)) is not None}
    if len(meaning) == len(names):
        return DatasetStructures(BUILT_IN, meaning, _twice(meaning))
    strange = [name for name in names if name not in meaning]
    problems = tuple(problem for name in strange if (problem := _problem_of(name)))
    if problems:
        return DatasetStructures(BUILT_IN, meaning, problems)
    meaning |= {name: (key_of(words), side) for name in strange for words, side in [split_side(name)]}
    keys = list(dict.fromkeys(meaning[name][0] for name in names))
    own = tuple(key for key in keys if key not in BUILT_IN.by_key)
    return DatasetStructures(own_table({NAME: key} for key in keys), meaning, _twice(meaning), own)


def meaning_of(name: str, table: StructureTable) -> tuple[str, Side] | None:
    """Find the structure and side that a name means; None for one that the table does not know."""
    key, side = _split(name)
    if key in table.by_key:
        paired = table.by_key[key].paired
        return (key, side if paired else Side.MIDLINE) if paired or side is Side.UNKNOWN else None
    label = table.by_value.get(value_of(name, table) or 0)
    return None if label is None else (label.structure.key, label.side)


def table_beside(path: Path, default: StructureTable = BUILT_IN) -> StructureTable:
    """Find the table that belongs to a label map: by a table file or a ``dataset.json`` in its folder or the one above.

    Args:
        path: of the label map.
        default: returned where nothing lies there.

    Raises:
        SettingsError: the table file there is wrong.
    """
    for folder in (path.parent, path.parent.parent):
        if (folder / STRUCTURE_TABLE_FILE).is_file():
            return read_structure_table(folder / STRUCTURE_TABLE_FILE)
        try:
            said = json.loads((folder / DATASET_FILE).read_text(encoding="utf-8-sig"))
            labels = {str(name): value for name, value in said["labels"].items() if isinstance(value, int)}
            merged = list(said.get(MERGED, {}))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if labels:
            found = dataset_structures(folder, labels, merged)
            return found.table
    return default


def _twice(meaning: Mapping[str, tuple[str, Side]]) -> tuple[str, ...]:
    """Say which names mean the same structure and side."""
    names: dict[tuple[str, Side], list[str]] = {}
    for name, meant in meaning.items():
        names.setdefault(meant, []).append(name)
    return tuple(f"{' and '.join(map(repr, same))} mean the same structure" for same in names.values() if len(same) > 1)


def _split(name: str) -> tuple[str, Side]:
    for side in SIDES:
        if name.endswith(f"_{side.value}"):
            return name.removesuffix(f"_{side.value}"), side
    return name, Side.UNKNOWN


def _problem_of(name: str) -> str | None:
    """A name that can't be a structure's, or is nearly that of a built-in one."""
    key = key_of(split_side(name)[0])
    try:
        own_table([{NAME: key}])
    except SettingsError:
        return f"{name!r} can't be the name of a structure"
    nearly = difflib.get_close_matches(key, BUILT_IN.by_key, n=1, cutoff=_NEARLY)
    if not nearly:
        return None
    return (
        f"{name!r} is no structure (see `vastus classes`); if it is not {nearly[0]!r} but a structure of your own,"
        f" list it in {STRUCTURE_TABLE_FILE}"
    )


def _as_order(value: Any) -> int:
    return value if isinstance(value, int) else 1 << 30
