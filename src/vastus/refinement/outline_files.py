"""Outlines as JSON files: readable, one line a structure, with the keys of a table of structures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from vastus.anatomy import BACKGROUND_ID, BUILT_IN, UNLABELLED, Side, StructureTable
from vastus.errors import MissingInputError, SettingsError
from vastus.io.atomic import write_text
from vastus.refinement.outline import Outline, OutlineSettings, Polygon, Polyline, Strokes

FORMAT: Final = "vastus-outline-1"
_NONE, _UNLABELLED = "none", "unlabelled"
_SURE = 3


def outline_text(spec: Outline) -> str:
    """Give an outline as JSON text; equal outlines give equal text."""
    settings = asdict(spec.settings)
    usual = asdict(OutlineSettings())
    parts: dict[str, Any] = {
        "format": FORMAT,
        "start": spec.start,
        "window": None if spec.window is None else list(spec.window),
        "strokes": {s.key: _plain(s.lines) for s in spec.strokes},
        "confidence": {s.key: s.confidence for s in spec.strokes if s.confidence != _SURE},
        "opening_voxels": {s.key: s.opening_voxels for s in spec.strokes if s.opening_voxels is not None},
        "background": _plain(spec.background),
        "cuts": _plain(spec.cuts),
        "undecided": [list(pair) for pair in spec.undecided],
        "polygons": [{"as": _polygon_name(p), "points": _plain([p.points])[0]} for p in spec.polygons],
        "dropped": list(spec.dropped),
        "settings": {name: value for name, value in settings.items() if value != usual[name]},
    }
    if spec.side is not Side.UNKNOWN:
        parts["side"] = spec.side.value
    if spec.middle is not None:
        parts["middle"] = spec.middle
    return "{\n" + ",\n".join(f' "{name}": {_json(value)}' for name, value in parts.items()) + "\n}\n"


def write_outline(spec: Outline, path: Path) -> None:
    """Write an outline atomically.

    Raises:
        OutputError: the file can't be written.
    """
    write_text(path, outline_text(spec))


def read_outline(path: Path) -> Outline:
    """Read what ``write_outline`` wrote.

    Raises:
        MissingInputError: no such file.
        SettingsError: not such a file; the message names what is wrong.
    """
    if not path.is_file():
        raise MissingInputError("There is no such outline.", path=path)
    try:
        return parse_outline(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError("The outline is not UTF-8 text.", path=path) from error
    except SettingsError as error:
        raise SettingsError(error.problem, path=path, remedy=error.remedy) from error


def parse_outline(text: str, table: StructureTable = BUILT_IN) -> Outline:
    """Read an outline from JSON text, with the keys of a table of structures.

    Raises:
        SettingsError: it is no outline, or holds something unknown or malformed.
    """
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError("The outline is not JSON.") from error
    if not isinstance(parts, dict) or parts.pop("format", None) != FORMAT:
        raise SettingsError(f"This is no outline of the form {FORMAT}.")
    unknown = sorted(parts.keys() - _READERS.keys() - {"strokes", "confidence", "opening_voxels", "polygons"})
    if unknown:
        raise SettingsError(f"An outline has no {', '.join(unknown)}.")
    try:
        read = {name: _READERS[name](value) for name, value in parts.items() if name in _READERS}
        polygons = _polygons(parts.get("polygons", []), table)
        return Outline(strokes=_strokes(parts, table), polygons=polygons, table=table, **read)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SettingsError(f"The outline is malformed: {error}.") from error


def _strokes(parts: dict[str, Any], table: StructureTable) -> tuple[Strokes, ...]:
    drawn = parts.get("strokes", {})
    confidence, opening = parts.get("confidence", {}), parts.get("opening_voxels", {})
    loose = sorted((confidence.keys() | opening.keys()) - drawn.keys())
    if loose:
        raise SettingsError(f"A confidence or an opening without strokes: {', '.join(loose)}.")
    sure = dict.fromkeys(drawn, _SURE) | {key: _whole(value) for key, value in confidence.items()}
    radius = {key: _whole(value) for key, value in opening.items()}
    return tuple(Strokes(key, _lines(lines), sure[key], radius.get(key), table) for key, lines in drawn.items())


def _window(value: Any) -> tuple[int, int, int, int] | None:
    if value is None:
        return None
    i0, i1, j0, j1 = (_whole(v) for v in value)
    return i0, i1, j0, j1


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple((one, other) for one, other in value)


def _polygons(value: Any, table: StructureTable) -> tuple[Polygon, ...]:
    return tuple(Polygon(_polygon_label(p["as"], table), _line(p["points"]), table) for p in value)


def _polygon_name(polygon: Polygon) -> str:
    named = {BACKGROUND_ID: _NONE, UNLABELLED: _UNLABELLED}
    return named.get(polygon.label) or polygon.table.by_id[polygon.label].key


def _polygon_label(name: str, table: StructureTable) -> int:
    named = {_NONE: BACKGROUND_ID, _UNLABELLED: UNLABELLED}
    return named[name] if name in named else table.by_key[name].class_id


def _settings(value: Any) -> OutlineSettings:
    kinds = {f.name: type(f.default) for f in fields(OutlineSettings)}
    for name, given in value.items():
        kind = kinds[name]
        if isinstance(given, bool) != (kind is bool) or not isinstance(given, (int, float) if kind is float else kind):
            raise ValueError(f"{name} can't be {given!r}")
    return OutlineSettings(**value)


def _lines(value: Any) -> tuple[Polyline, ...]:
    return tuple(_line(points) for points in value)


def _line(points: Any) -> Polyline:
    return tuple((_number(i), _number(j)) for i, j in points)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise ValueError(f"{value!r} is no place in a slice")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value


def _keys(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise ValueError("a list of keys is needed")
    return tuple(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("start must be a text")
    return value


def _middle(value: Any) -> float | None:
    return None if value is None else _number(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "start": _text,
    "window": _window,
    "background": _lines,
    "cuts": _lines,
    "undecided": _pairs,
    "dropped": _keys,
    "settings": _settings,
    "side": Side,
    "middle": _middle,
}


def _plain(lines: Iterable[Polyline]) -> list[list[list[int | float]]]:
    return [[[int(c) if float(c).is_integer() else c for c in point] for point in line] for line in lines]


def _json(value: Any) -> str:
    """On one line; a table of strokes and a list of polygons with one line an entry."""
    if isinstance(value, dict) and any(isinstance(v, list) for v in value.values()):
        return "{\n" + ",\n".join(f"  {json.dumps(k)}: {_short(v)}" for k, v in value.items()) + "\n }"
    if isinstance(value, list) and any(isinstance(v, dict) for v in value):
        return "[\n" + ",\n".join(f"  {_short(v)}" for v in value) + "\n ]"
    return _short(value)


def _short(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
