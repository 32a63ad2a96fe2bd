"""How the expected agreement stands in ``run.json``, in ``measures.csv`` and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from vastus.anatomy import BY_KEY, BY_VALUE, SIDES, STRUCTURES, Side
from vastus.io.tables import AGREEMENT, EXPECTED_AGREEMENT, EXPECTED_HIGH, EXPECTED_LOW, PROBABILITY_WRONG
from vastus.morphometry.rows import MeasureRow
from vastus.quality.agreement import Agreement

MEASURES: Final = (
    (EXPECTED_AGREEMENT, "expected"),
    (EXPECTED_LOW, "low"),
    (EXPECTED_HIGH, "high"),
    (PROBABILITY_WRONG, "wrong"),
)
"""Rows of ``measures.csv``, and the field of ``Agreement`` that each holds."""
MOST_NAMED: Final = 6


def agreement_record(found: Mapping[int, Agreement], model: str = "") -> dict[str, Any]:
    """For ``run.json``: ``{"model": ..., "structures": {"gracilis": {"right": {"expected": 0.91, ...}}}}``."""
    structures: dict[str, dict[str, dict[str, float]]] = {}
    for value in sorted(found):
        label = BY_VALUE[value]
        cells = {field: round(float(getattr(found[value], field)), 4) for _, field in MEASURES}
        structures.setdefault(label.structure.key, {})[label.side.value] = cells
    return {"model": model, "structures": structures}


def agreement_of_record(record: Mapping[str, Any]) -> dict[int, Agreement]:
    """Back from ``run.json``; empty where the record says nothing of it."""
    structures = record.get(AGREEMENT, {}).get("structures", {})
    return {
        BY_KEY[key].label_value(Side(side)): Agreement(**cells)
        for key, sides in structures.items()
        for side, cells in sides.items()
    }


def agreement_rows(subject: str, found: Mapping[int, Agreement]) -> list[MeasureRow]:
    """Rows of ``measures.csv``: four values of each of the 58 structures of known side; what is not known is empty."""
    return list(_rows(subject, found))


def _rows(subject: str, found: Mapping[int, Agreement]) -> Iterator[MeasureRow]:
    for side in SIDES:
        for structure in STRUCTURES:
            one = found.get(structure.label_value(side))
            for measure, field in MEASURES:
                value = None if one is None else float(getattr(one, field))
                yield MeasureRow(
                    subject, structure.key, structure.group.value, side.value, measure, value, "1", truncated=False
                )


def in_words(one: Agreement) -> str:
    """``0.91 (0.86 to 0.94)``."""
    return f"{one.expected:.2f} ({one.low:.2f} to {one.high:.2f})"


def likely_wrong(found: Mapping[int, Agreement]) -> tuple[str, ...]:
    """Sentences that stop a reader, the worst structures first; none where nothing is likely wrong."""
    wrong = sorted((value for value in found if found[value].is_likely_wrong), key=lambda v: -found[v].wrong)
    if not wrong:
        return ()
    named = [
        f"{_name(value)}: {in_words(found[value])}, {100 * found[value].wrong:.0f}%" for value in wrong[:MOST_NAMED]
    ]
    more = f"; and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
    what = "1 structure is" if len(wrong) == 1 else f"{len(wrong)} structures are"
    return (
        f"{what} likely wrong (expected agreement, chance of being wrong): {'; '.join(named)}{more}."
        f" Do not use a number of {'it' if len(wrong) == 1 else 'them'} before you have looked at the pictures.",
    )


def _name(value: int) -> str:
    label = BY_VALUE[value]
    side = "" if label.side is Side.UNKNOWN else f", {label.side.value}"
    return f"{label.structure.english}{side}"
