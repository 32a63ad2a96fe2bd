"""What was wrong with the input, gathered instead of stopping: the rest is still analysed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from vastus.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


class ProblemKind(Enum):
    """What kind of trouble; the value is the word used in tables."""

    UNREADABLE_SCAN = "unreadable scan"
    STOPPED_SCAN = "scan of which no number is to be used"
    WRONG_STRUCTURE = "structure that is likely wrong"
    BAD_VOLUME = "volume can't be used"
    DUPLICATE_SCAN = "scan given twice"
    DUPLICATE_ROW = "person given twice"
    BAD_ROW = "row can't be read"
    BAD_VALUE = "value can't be used"
    BAD_COLUMN = "column can't be used"
    NO_CLINICAL_ROW = "scan without a clinical row"
    NO_SCAN = "clinical row without a scan"
    CONTRADICTION = "values contradict each other"
    NAMES_ALIKE = "names that look alike but differ"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    Attributes:
        kind: of trouble.
        what: in words, without the value itself.
        subject: whose, where known.
        row: line of the clinical table as a spreadsheet counts it (the header is line 1), where it is about one.
        column: standard name of the column, where it is about one.
    """

    kind: ProblemKind
    what: str
    subject: str = ""
    row: int | None = None
    column: str = ""


class EmptyCohortError(InputError):
    """Nobody is left to analyse. ``problems`` holds everything that was found on the way."""

    def __init__(self, problem: str, problems: Sequence[Problem], *, remedy: str | None = None) -> None:
        super().__init__(problem, remedy=remedy)
        self.problems = tuple(problems)


def problems_table(problems: Sequence[Problem]) -> pd.DataFrame:
    """Make a table with one row for each problem: kind, subject, row, column, what."""
    import pandas as pd

    rows = [(p.kind.value, p.subject, p.row, p.column, p.what) for p in problems]
    table = pd.DataFrame(rows, columns=["kind", "subject", "row", "column", "what"])
    return table.astype({"row": "Int64"})


def count_by_kind(problems: Sequence[Problem]) -> dict[str, int]:
    """Count the problems of each kind that occurs, in the order of ``ProblemKind``."""
    counts = Counter(p.kind for p in problems)
    return {kind.value: counts[kind] for kind in ProblemKind if counts[kind]}
