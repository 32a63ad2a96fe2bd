"""What the names of other programs mean in ours, and what the numbers of those programs are called.

The tables are data files in ``tables/``: ``meanings.csv`` (name -> ours), ``values.csv`` (number -> name) and
``sources.toml`` (where both come from, what was verified). A user's own table counts before them.
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from vastus.anatomy import BACKGROUND_ID, BY_KEY, BY_VALUE, SIDES, Label, Side
from vastus.errors import SettingsError
from vastus.io.label_names import split_side, value_of
from vastus.io.nnunet_layout import BACKGROUND_NAME

_ORDER: Final = ("totalsegmentator", "musclemap", "pelvic", "common")
_FILLERS: Final = frozenset({"muscle", "muscles", "musculus", "musculi", "bone", "os", "m"})
_FLEXORS: Final = ("iliacus", "iliopsoas", "psoas")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a name of another program means.

    Attributes:
        whole: keys of our structures that lie in it with all their voxels.
        perhaps: keys of which a part may lie in it, or ``background``.
        parts: how many names with the same single ``perhaps`` make that structure whole (heads of a muscle); 0: none.
        side: of the patient.
        note: what a person should know of it.
    """

    whole: tuple[str, ...]
    perhaps: tuple[str, ...] = ()
    parts: int = 0
    side: Side = Side.UNKNOWN
    note: str = ""

    @property
    def members(self) -> tuple[str, ...]:
        """Everything that a voxel with this name may be, background first, then in the order of the anatomy table."""
        named = {*self.whole, *self.perhaps}
        first = (BACKGROUND_NAME,) if BACKGROUND_NAME in named else ()
        return (*first, *(key for key in BY_KEY if key in named))


@dataclass(frozen=True, slots=True)
class UserTable:
    """A user's own table: names by value, and what names mean where the user says it."""

    names: Mapping[int, str] = field(default_factory=dict)
    meanings: Mapping[str, Meaning] = field(default_factory=dict)


def table_names() -> tuple[str, ...]:
    """Names of the shipped tables of numbers."""
    return tuple(_numbers())


def shipped_names(table: str) -> Mapping[int, str]:
    """Names by number of a shipped table.

    Raises:
        SettingsError: there is no such table; names those that there are.
    """
    if table not in _numbers():
        raise SettingsError(f"There is no table {table!r}.", remedy=f"Give a file, or one of: {', '.join(_numbers())}.")
    return _numbers()[table]


@lru_cache(maxsize=1)
def sources() -> dict[str, dict[str, str]]:
    """Where each table comes from: title, source, verified, unverified."""
    return tomllib.loads(_text("sources.toml"))


def meaning_of(name: str, user: UserTable = UserTable()) -> Meaning | None:
    """What a name means: by the user's table, the shipped ones, then by our own names; None if nobody knows.

    Case, order of the side, and what stands between words do not matter.
    """
    plain, side = split_side(name)
    for said in (user.meanings.get(f"{plain} {side.value}"), user.meanings.get(plain)):
        if said is not None:
            return _on_side(said, side)
    for words in dict.fromkeys((plain, " ".join(word for word in plain.split() if word not in _FILLERS))):
        if words in _meanings():
            return _on_side(_meanings()[words], side)
        value = value_of(words)
        if value is not None and value in BY_VALUE:
            return Meaning((BY_VALUE[value].structure.key,), side=side)
    return None


def totalsegmentator_name(label: Label) -> str | None:
    """What TotalSegmentator calls a label of ours; None where it draws no such structure on its own."""
    return _of_totalsegmentator().get(((label.structure.key,), label.side))


@lru_cache(maxsize=1)
def _of_totalsegmentator() -> dict[tuple[tuple[str, ...], Side], str]:
    names = (*_numbers()["totalsegmentator-total"].values(), *_numbers()["totalsegmentator-thigh"].values())
    return {(meaning.members, meaning.side): name for name, meaning in meanings_of(names).items()}


def is_background(name: str) -> bool:
    """Whether a name says that nothing is there."""
    return bool(name.strip()) and value_of(name) == BACKGROUND_ID


def meanings_of(names: Iterable[str], user: UserTable = UserTable()) -> dict[str, Meaning]:
    """What the names of one source mean together; those that nobody knows are left out.

    The hip flexor has three names in ours. A source that lacks one of them calls it by the others: their meaning is
    then a set.
    """
    known = {name: meaning for name in names if (meaning := meaning_of(name, user)) is not None}
    drawn = {key for meaning in known.values() for key in meaning.members}
    return {name: _with_hip_flexor(meaning, drawn) for name, meaning in known.items()}


def wholly_drawn(meanings: Iterable[Meaning]) -> frozenset[str]:
    """Keys of the structures of which every voxel lies under a name of the source.

    What has a name on one side only is not among them: nobody drew the other.
    """
    listed = tuple(meanings)
    return frozenset(key for key in BY_KEY if _on_both_sides(_whole_sides(key, listed)))


def _whole_sides(key: str, meanings: tuple[Meaning, ...]) -> set[Side]:
    parts = [meaning for meaning in meanings if meaning.parts and meaning.members == (key,)]
    complete = {part.side for part in parts if sum(p.side is part.side for p in parts) >= part.parts}
    return complete | {meaning.side for meaning in meanings if key in meaning.whole}


def _on_both_sides(sides: set[Side]) -> bool:
    return Side.UNKNOWN in sides or set(SIDES) <= sides


def _with_hip_flexor(meaning: Meaning, drawn: set[str]) -> Meaning:
    iliacus, iliopsoas, psoas = _FLEXORS
    if meaning.members == (iliopsoas,) and not {iliacus, psoas} & drawn:
        return Meaning(_FLEXORS, side=meaning.side, note="drawn as one: the source has no iliacus and no psoas")
    if meaning.members in ((iliacus,), (psoas,)) and iliopsoas not in drawn:
        both = {iliacus, psoas} <= drawn
        whole, perhaps = ((*meaning.whole, iliopsoas), ()) if both else (meaning.whole, (iliopsoas,))
        note = "the source has no iliopsoas: where both have joined, it bears this name"
        return Meaning(whole, perhaps, side=meaning.side, note=note)
    return meaning


def read_user_table(path: Path) -> UserTable:
    """Read a table of names.

    Args:
        path: CSV (or any table that a spreadsheet saves) with the columns ``value`` and ``name``, and if wanted
            ``ours`` (our key, or several with ``;`` between), ``perhaps`` and ``note``; or JSON: ``{"name": value}``,
            ``{"value": "name"}``, or nnU-Net's ``dataset.json``.

    Raises:
        SettingsError: columns are missing, or a row is wrong; says which.
        MissingInputError, UnreadableScanError: as ``read_edited_table``.
    """
    if path.suffix.lower() == ".json":
        return UserTable(_json_names(path))
    from vastus.io.edited_tables import read_edited_table

    table = read_edited_table(path, "table of names")
    columns = {cell.strip().lower(): place for place, cell in enumerate(table.header)}
    if "name" not in columns:
        raise SettingsError("The table of names has no column 'name'.", path=path, remedy="Columns: value, name, ours.")
    names: dict[int, str] = {}
    meanings: dict[str, Meaning] = {}
    for row in table.rows:
        cells = {
            column: row.cells[place].strip() if place < len(row.cells) else "" for column, place in columns.items()
        }
        name = cells["name"]
        if value := cells.get("value", ""):
            number = _whole_number(value, row.line, path)
            if number in names:
                raise SettingsError(f"Line {row.line}: the value {number} has two names.", path=path)
            names[number] = name
        if cells.get("ours") or cells.get("perhaps"):
            plain, side = split_side(name)
            words = plain if side is Side.UNKNOWN else f"{plain} {side.value}"
            meanings[words] = _row(cells.get("ours", ""), cells.get("perhaps", ""), "", cells.get("note", ""), path)
    return UserTable(names, meanings)


def _whole_number(text: str, line: int, path: Path) -> int:
    if not text.removesuffix(".0").isdecimal():
        raise SettingsError(f"Line {line}: a value is a whole number, not {text!r}.", path=path)
    return int(text.removesuffix(".0"))


def _json_names(path: Path) -> dict[int, str]:
    try:
        said: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"The table of names can't be read ({type(error).__name__}).", path=path) from error
    table = said.get("labels", said) if isinstance(said, dict) else None
    if not isinstance(table, dict):
        raise SettingsError("The table of names is a list of names and values.", path=path)
    if table and all(str(key).isdecimal() for key in table):
        return {int(key): str(name) for key, name in table.items()}
    names = {value: str(name) for name, value in table.items() if isinstance(value, int)}
    if len(names) < len(table):
        raise SettingsError("In the table of names a value is no whole number, or has two names.", path=path)
    return names


def _row(whole: str, perhaps: str, parts: str, note: str, path: Path | None = None) -> Meaning:
    keys = [tuple(key.strip() for key in cell.split(";") if key.strip()) for cell in (whole, perhaps)]
    unknown = [key for key in (*keys[0], *keys[1]) if key not in BY_KEY and key != BACKGROUND_NAME]
    if unknown:
        raise SettingsError(
            f"No structures of ours: {', '.join(unknown)}.", path=path, remedy="`vastus classes --json` lists the keys."
        )
    # Background is never a structure that is wholly there.
    certain = tuple(key for key in keys[0] if key != BACKGROUND_NAME)
    return Meaning(certain, (*keys[1], *(key for key in keys[0] if key == BACKGROUND_NAME)), int(parts or 0), note=note)


def _on_side(meaning: Meaning, side: Side) -> Meaning:
    return Meaning(meaning.whole, meaning.perhaps, meaning.parts, side, meaning.note)


@lru_cache(maxsize=1)
def _meanings() -> dict[str, Meaning]:
    found: dict[str, Meaning] = {}
    rows = list(csv.DictReader(io.StringIO(_text("meanings.csv"))))
    for source in _ORDER:
        for row in rows:
            if row["source"] == source:
                found.setdefault(row["name"], _row(row["whole"], row["perhaps"], row["parts"], row["note"]))
    return found


@lru_cache(maxsize=1)
def _numbers() -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for row in csv.DictReader(io.StringIO(_text("values.csv"))):
        found.setdefault(row["table"], {})[int(row["value"])] = row["name"]
    return found


def _text(name: str) -> str:
    return (files("vastus.importing") / "tables" / name).read_text(encoding="utf-8")
