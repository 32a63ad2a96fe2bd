"""What must stop a reader of a scan, from its ``run.json``: for the page, PDFs, workbooks and tables alike."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from vastus.io.tables import AGREEMENT, ALARMS, LIKELY_WRONG, MISSING, SIDE, STRUCTURE

STOP_RED: Final = "C4001D"
"""Colour of what stops a reader, in PDFs, workbooks and documents: red, green and blue in hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Stops:
    """What must stop a reader of a scan: for every form in which its numbers are shown.

    Attributes:
        alarms: sentences, in the order in which they are shown.
        unusable: no number of the scan is to be used.
        wrong: structure key and side of what is likely wrong.
        missed: of what should be in the scan and was not found.
    """

    alarms: tuple[str, ...] = ()
    unusable: bool = False
    wrong: frozenset[tuple[str, str]] = frozenset()
    missed: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of_texts(cls, alarms: Iterable[str], warnings: Collection[str]) -> Stops:
        """Tell from the sentences alone: an alarm that is a warning too is of the whole scan."""
        told = tuple(alarms)
        return cls(told, any(alarm in warnings for alarm in told))

    @property
    def title(self) -> str:
        """Heading of the alarms; empty where there are none."""
        if not self.alarms:
            return ""
        return "Stop: use no number of this scan" if self.unusable else "Stop: likely wrong"


NO_STOPS: Final = Stops()
"""Of a scan that nothing is said against."""


def stops_of_record(record: Mapping[str, Any]) -> Stops:
    """What ``run.json`` says must stop a reader; nothing where the record is older than these entries."""
    structures = record.get(AGREEMENT, {}).get("structures", {})
    return replace(
        Stops.of_texts(record.get(ALARMS, ()), record.get("warnings", ())),
        wrong=frozenset(
            (key, side)
            for key, sides in structures.items()
            for side, cells in sides.items()
            if cells["wrong"] >= LIKELY_WRONG
        ),
        missed=frozenset((one[STRUCTURE], one[SIDE]) for one in record.get(MISSING, ())),
    )


def read_stops(path: Path) -> Stops:
    """What a ``run.json`` says must stop a reader; nothing where there is no such file, or none that can be read."""
    try:
        return stops_of_record(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return NO_STOPS
