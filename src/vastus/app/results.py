"""The results in the app's folder: what is there, and what belongs to each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vastus.anatomy import StructureTable
from vastus.annotation.refusals import UnknownItemError
from vastus.app.layout import FACTS_FILE, AppLayout
from vastus.app.person import said_of, volume_table
from vastus.io.atomic import write_text
from vastus.io.csv_tables import VolumeRow, read_volume_rows
from vastus.io.structure_tables import table_in
from vastus.io.tables import ALARMS, PAGE_FILE, RECORD_FILE, VOLUMES_FILE


@dataclass(frozen=True, slots=True)
class Result:
    """One scan's result."""

    name: str
    folder: Path

    def record(self) -> dict[str, Any]:
        """What ``run.json`` says."""
        return _json(self.folder / RECORD_FILE)

    def facts(self) -> dict[str, Any]:
        """Where the scan lies, the case in the corrections, what is known of the person."""
        return _json(self.folder / FACTS_FILE)

    def keep(self, changes: Mapping[str, Any]) -> None:
        """Change what is kept beside the result."""
        write_text(self.folder / FACTS_FILE, json.dumps(self.facts() | dict(changes), indent=2) + "\n")

    @property
    def table(self) -> StructureTable:
        """Of its structures."""
        return table_in(self.folder)

    def volumes(self) -> tuple[VolumeRow, ...]:
        """Rows of its table of volumes."""
        return read_volume_rows(self.folder / VOLUMES_FILE, self.table)

    @property
    def page(self) -> Path:
        """The page to judge it by."""
        return self.folder / PAGE_FILE


class Results:
    """All results of a folder."""

    def __init__(self, layout: AppLayout) -> None:
        self._layout = layout
        self._rows: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {}

    def tidy(self) -> None:
        """Remove what a program that was ended in the middle left half-written."""
        for folder in _folders(self._layout.results):
            if not (folder / RECORD_FILE).is_file():
                shutil.rmtree(folder, ignore_errors=True)
                continue
            for path in folder.glob(".vastus-*"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def all(self) -> list[Result]:
        """By name."""
        return [Result(f.name, f) for f in _folders(self._layout.results) if (f / RECORD_FILE).is_file()]

    def get(self, name: str) -> Result:
        """One result.

        Raises:
            UnknownItemError: none of that name.
        """
        found = next((result for result in self.all() if result.name == name), None)
        if found is None:
            raise UnknownItemError("There is no such result any more.", remedy="Load the page anew.")
        return found

    def rows(self) -> list[dict[str, Any]]:
        """A row a result for the list, the newest first; what has not changed is not read again."""
        rows = {}
        for result in self.all():
            stamp = tuple(_stamp(result.folder / name) for name in (RECORD_FILE, FACTS_FILE, VOLUMES_FILE))
            known = self._rows.get(result.name)
            rows[result.name] = known if known is not None and known[0] == stamp else (stamp, _row(result))
        self._rows = rows
        return sorted((row for _, row in rows.values()), key=lambda row: row["made"], reverse=True)

    def details(self, result: Result) -> dict[str, Any]:
        """Everything that the page shows of one result."""
        person = result.facts().get("person", {})
        return _row(result) | {
            "person": person,
            "diagnosis": said_of(person),
            "volumes": volume_table(result.volumes(), person, result.table),
        }

    def cohorts(self) -> list[dict[str, Any]]:
        """The comparisons that are done, the newest first."""
        done = [f for f in _folders(self._layout.cohorts) if (f / PAGE_FILE).is_file()]
        rows = [{"name": folder.name, "made": _when(folder / PAGE_FILE)} for folder in done]
        return sorted(rows, key=lambda row: row["made"], reverse=True)

    def cohort(self, name: str) -> Path:
        """The folder of a comparison.

        Raises:
            UnknownItemError: none of that name.
        """
        if name not in {row["name"] for row in self.cohorts()}:
            raise UnknownItemError("There is no such comparison any more.", remedy="Load the page anew.")
        return self._layout.cohorts / name

    def uses(self, kept: str) -> bool:
        """Whether a result was made from a scan that is kept under this name."""
        return any(result.facts().get("kept") == kept for result in self.all())


def _row(result: Result) -> dict[str, Any]:
    record, facts = result.record(), result.facts()
    rows = result.volumes()
    diagnosis = said_of(facts.get("person", {}))
    return {
        "name": result.name,
        "made": _when(result.folder / RECORD_FILE),
        "found": sum(row.volume_mm3 is not None and not row.fragment for row in rows),
        "alarms": record.get(ALARMS, []),
        "warnings": record.get("warnings", []),
        "labels": record.get("labels", ""),
        "case": facts.get("case", ""),
        "stage": "" if diagnosis is None else diagnosis["stage"],
        "label": "" if diagnosis is None else diagnosis["label"],
    }


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")) if parent.is_dir() else []


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return {}


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _when(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
