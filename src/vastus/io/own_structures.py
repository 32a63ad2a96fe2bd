"""Tables of structures of a lab's own: from plain entries to a ``StructureTable`` and back.

An entry says the name of a structure and, where one wants, its title, group, colour, whether it is paired, and its
kind. A name of the built-in table brings what is known of it there; everything left open takes a plain default.
"""

from __future__ import annotations

import colorsys
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from vastus.anatomy import (
    BUILT_IN,
    GROUPS,
    LARGEST_CLASS_ID,
    Coding,
    Group,
    Kind,
    Region,
    Structure,
    StructureTable,
)
from vastus.errors import SettingsError
from vastus.io.tables import (
    ALL,
    ALL_MUSCLES,
    BONES,
    BOTH_SIDES,
    FOREGROUND,
    INTERMUSCULAR_FAT,
    MUSCLES,
    SUBCUTANEOUS_FAT,
)
from vastus.terminology import structure_code

NAME: Final = "name"
TITLE: Final = "title"
GROUP: Final = "group"
COLOUR: Final = "colour"
PAIRED: Final = "paired"
KIND: Final = "kind"
CODE: Final = "code"
ENTRY_FIELDS: Final = (NAME, TITLE, GROUP, COLOUR, PAIRED, KIND, CODE)
"""Fields of an entry, and columns of the table file; all but ``name`` may be empty."""

OWN_GROUP: Final = Group("own", "Own structures")
"""The group of a structure for which none is given."""
_LONGEST_TITLE: Final = 58
"""With a side behind it, a title has the 64 characters that DICOM allows."""
_TAKEN_NAMES: Final = frozenset(
    {ALL, ALL_MUSCLES, "background", BOTH_SIDES, FOREGROUND, "ignore", MUSCLES, BONES}
    | {SUBCUTANEOUS_FAT, INTERMUSCULAR_FAT}
)
"""What tables of results call other things."""
_YES: Final = frozenset({"yes", "true", "1"})
_NO: Final = frozenset({"no", "false", "0"})


def key_of(name: str) -> str:
    """Make a machine name: ``Erector spinae`` -> ``erector_spinae``."""
    return "_".join(re.findall(r"[a-z0-9]+", name.lower()))


def own_table(entries: Iterable[Mapping[str, Any]]) -> StructureTable:
    """Make a table of entries; class ids follow their order.

    Args:
        entries: each with ``name`` and, if wanted, the other ``ENTRY_FIELDS``.

    Returns:
        The table; the built-in one itself where the entries describe just that.

    Raises:
        SettingsError: everything that is wrong with the entries, in one message.
    """
    given = list(entries)
    problems: list[str] = []
    keys = {str(entry.get(NAME) or "").strip() for entry in given}
    groups: dict[str, Group] = {}
    rows = [_row(number, entry, (keys, groups), problems) for number, entry in enumerate(given, start=1)]
    table = StructureTable(_recoloured(tuple(rows), given))
    problems += _problems_of(table)
    if problems:
        listed = "\n".join(f"  - {p}" for p in problems)
        raise SettingsError(f"The table of structures has {len(problems)} problem(s):\n{listed}\n")
    return BUILT_IN if table == BUILT_IN else table


def entries_of(table: StructureTable) -> list[dict[str, Any]]:
    """Describe a table so that ``own_table`` gives it back: plain values for JSON and CSV."""
    return [
        {
            NAME: s.key,
            TITLE: s.english,
            GROUP: s.group.title,
            COLOUR: "#{:02x}{:02x}{:02x}".format(*s.colour),
            PAIRED: "yes" if s.paired else "no",
            KIND: s.kind.value,
        }
        | ({} if s.own_code is None else {CODE: ":".join(s.own_code)})
        for s in table.rows
    ]


def table_digest(table: StructureTable) -> str:
    """Compute the SHA-256 of what ``entries_of`` says, as hex digits: it names a table."""
    return hashlib.sha256(json.dumps(entries_of(table), sort_keys=True).encode()).hexdigest()


def same_structures(one: StructureTable, other: StructureTable) -> bool:
    """Tell whether label values mean the same in both; titles, groups and colours may differ."""
    return [(s.key, s.paired) for s in one.rows] == [(s.key, s.paired) for s in other.rows]


def extends(table: StructureTable, other: StructureTable) -> bool:
    """Tell whether label values of ``other`` mean the same in ``table``, which may have more structures at its end."""
    return same_structures(StructureTable(table.rows[: len(other.rows)]), other)


def refuse_own(table: StructureTable, what: str) -> None:
    """Refuse a table that is not the built-in one, where nothing else is known how to be done.

    Raises:
        SettingsError: it is another one; names ``what`` does not work with it.
    """
    if not table.is_built_in:
        raise SettingsError(
            f"{what} knows the built-in structures only, and these are structures of your own"
            f" ({', '.join(s.key for s in table.rows[:4])} ...).",
            remedy="Weights of the built-in structures work here; `vastus classes` lists these.",
        )


def _row(
    number: int, entry: Mapping[str, Any], seen: tuple[set[str], dict[str, Group]], problems: list[str]
) -> Structure:
    said = {name: str(entry.get(name) if entry.get(name) is not None else "").strip() for name in ENTRY_FIELDS}
    key = said[NAME]
    problems += [f"row {number}: {problem}" for problem in _problems_of_name(key)]
    known = BUILT_IN.by_key.get(key)
    title = said[TITLE] or (known.english if known else key.replace("_", " ").capitalize())
    group = _group(said[GROUP], *seen) if said[GROUP] else (known.group if known else OWN_GROUP)
    kind = _kind(said[KIND], number, problems)
    base = known or Structure(number, key, title, title, key, group, Region.HIP, (0, 0, 0), snomed=Coding.PRIVATE)
    if kind is not None:
        base = replace(base, own_kind=None if kind is replace(base, group=group, own_kind=None).kind else kind)
    return replace(
        base,
        class_id=number,
        english=title,
        group=group,
        colour=_colour(said[COLOUR], number, problems) or base.colour,
        paired=_paired(said[PAIRED], number, problems),
        own_code=_code(said[CODE], number, problems),
    )


def _problems_of_name(key: str) -> list[str]:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", key):
        return [f"the name {key!r} must be of small letters, digits and _, and begin with a letter"]
    if key in _TAKEN_NAMES:
        return [f"the name {key!r} has another meaning in the tables of results"]
    if key.endswith(("_right", "_left")):
        return [f"the name {key!r} must not say a side; both sides are one structure"]
    return []


def _group(text: str, keys: set[str], groups: dict[str, Group]) -> Group:
    """The built-in group of this value or title, else one of its own; its value is never the name of a structure."""
    plain = text.casefold()
    for group in (*GROUPS, OWN_GROUP):
        if plain in (group.value, group.title.casefold()):
            return group
    value = key_of(text) or "own"
    if value in keys or value in _TAKEN_NAMES:
        value += "_group"
    return groups.setdefault(value, Group(value, text))


def _kind(text: str, number: int, problems: list[str]) -> Kind | None:
    if not text:
        return None
    try:
        return Kind(text.lower())
    except ValueError:
        problems.append(f"row {number}: the kind is muscle, bone or other, not {text!r}")
        return None


def _paired(text: str, number: int, problems: list[str]) -> bool:
    if text.lower() not in _YES | _NO | {""}:
        problems.append(f"row {number}: paired is yes or no, not {text!r}")
    return text.lower() not in _NO


def _colour(text: str, number: int, problems: list[str]) -> tuple[int, int, int] | None:
    if not text:
        return None
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        problems.append(f"row {number}: a colour is written like #d11a3b, not {text!r}")
        return None
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def _code(text: str, number: int, problems: list[str]) -> tuple[str, str] | None:
    """Scheme and value of ``SCT:68905001``; both have at most 16 characters in DICOM."""
    if not text:
        return None
    scheme, _, value = text.partition(":")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,16}", scheme) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,16}", value):
        problems.append(
            f"row {number}: a code is written as scheme:value, like SCT:68905001, both of 16 characters at most,"
            f" not {text!r}"
        )
        return None
    return scheme, value


def _recoloured(rows: tuple[Structure, ...], entries: list[Mapping[str, Any]]) -> tuple[Structure, ...]:
    """Give structures without a colour one that no other has: around the colour wheel by the golden ratio."""
    taken = {row.colour for row in rows}
    result, turn = [], 0
    for row, entry in zip(rows, entries, strict=True):
        colour = row.colour
        while colour == (0, 0, 0) and not str(entry.get(COLOUR) or ""):
            channels = colorsys.hsv_to_rgb((turn * 0.618) % 1.0, (0.75, 0.5)[turn % 2], 0.9)
            turn += 1
            red, green, blue = (round(255 * channel) for channel in channels)
            if (red, green, blue) not in taken:
                colour = (red, green, blue)
        taken.add(colour)
        result.append(replace(row, colour=colour))
    return tuple(result)


def _problems_of(table: StructureTable) -> list[str]:
    """What is wrong with a table as a whole: nothing in it, too much in it, or something given twice."""
    found = []
    if not table.rows:
        found.append("there is no structure in it")
    if len(table.rows) > LARGEST_CLASS_ID:
        found.append(f"there is room for {LARGEST_CLASS_ID} structures, because a label value is one byte")
    told = {
        "name": [s.key for s in table.rows],
        "title": [s.english.casefold() for s in table.rows],
        # Long names are shortened for DICOM.
        "DICOM code": [structure_code(s).value for s in table.rows],
    }
    found += [
        f"the title {title!r} has {len(title)} characters; {_LONGEST_TITLE} is the most that DICOM can hold"
        for title in (s.english for s in table.rows)
        if len(title) > _LONGEST_TITLE
    ]
    for what, values in told.items():
        twice = sorted({value for value in values if values.count(value) > 1})
        found += [f"the {what} {value!r} is given more than once" for value in twice]
    return found
