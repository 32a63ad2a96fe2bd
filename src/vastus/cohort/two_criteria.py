"""Two criteria side by side on the same people: who is in which group by each, and who changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vastus.cohort import columns
from vastus.cohort.dataset import REASON, STAGE, STATUS, facts_of_row
from vastus.sarcopenia import Criteria, diagnose

if TYPE_CHECKING:
    import pandas as pd

WITH = "with"
WITHOUT = "without"
OPEN = "not settled"
STATES = (WITH, WITHOUT, OPEN)
"""The group of a person by one criteria; ``OPEN`` where the values don't settle it."""


@dataclass(frozen=True, slots=True, eq=False)
class TwoCriteria:
    """What a second criteria says of the people that were analysed by the first.

    Attributes:
        first, second: the criteria.
        people: one row a person in the order of the dataset: ``subject``, ``sex``, ``age_years``, ``first`` and
            ``second`` (one of ``STATES``), ``first_stage``, ``second_stage``, ``changed`` (0, 1), ``first_reason``,
            ``second_reason``.
        counts: one row a sex and pair of groups: ``sex``, ``first``, ``second``, ``n``; pairs without people too.
        kappa: Cohen's kappa over those whom both settle; NaN where a group is empty by both.
    """

    first: Criteria
    second: Criteria
    people: pd.DataFrame
    counts: pd.DataFrame
    kappa: float

    @property
    def changed(self) -> pd.DataFrame:
        """The rows of ``people`` who change group, as settled or as open."""
        return self.people[self.people["changed"] == 1]

    def number(self, first: str, second: str, sex: str | None = None) -> int:
        """Count the people who are in ``first`` by the first and in ``second`` by the second criteria.

        Args:
            first, second: groups.
            sex: ``F`` or ``M``; None counts both.

        Returns:
            The number of people.
        """
        own = self.counts[(self.counts["first"] == first) & (self.counts["second"] == second)]
        return int((own if sex is None else own[own["sex"] == sex])["n"].sum())


def compare_criteria(people: pd.DataFrame, first: Criteria, second: Criteria) -> TwoCriteria:
    """Diagnose the people of a dataset by a second criteria.

    Args:
        people: ``Dataset.people``, with stage, status and reason by ``first``.
        first: what they were diagnosed by.
        second: what to compare with. Nothing else in the analysis reads it.
    """
    import pandas as pd

    rows = []
    for subject, row in people.iterrows():
        found = diagnose(facts_of_row(row, str(subject), []), second)
        before, after = _state(row[STATUS]), _state(found.has_sarcopenia)
        rows.append(
            (
                str(subject),
                row[columns.SEX],
                row[columns.AGE],
                before,
                after,
                row[STAGE],
                found.stage.value,
                int(before != after),
                row[REASON],
                found.reason,
            )
        )
    names = [
        columns.SUBJECT,
        columns.SEX,
        columns.AGE,
        "first",
        "second",
        "first_stage",
        "second_stage",
        "changed",
        "first_reason",
        "second_reason",
    ]
    table = pd.DataFrame(rows, columns=names)
    pairs = [
        (sex, a, b, int(((table["sex"] == sex) & (table["first"] == a) & (table["second"] == b)).sum()))
        for sex in ("F", "M")
        for a in STATES
        for b in STATES
    ]
    counts = pd.DataFrame(pairs, columns=["sex", "first", "second", "n"])
    return TwoCriteria(first, second, table, counts, _kappa(table))


def _state(status: float | bool | None) -> str:
    if status is None or math.isnan(status):
        return OPEN
    return WITH if status else WITHOUT


def _kappa(table: pd.DataFrame) -> float:
    """Compute Cohen's kappa of the two columns where neither is open."""
    from sklearn.metrics import cohen_kappa_score

    settled = table[(table["first"] != OPEN) & (table["second"] != OPEN)]
    if len({*settled["first"], *settled["second"]}) < len((WITH, WITHOUT)):
        return math.nan
    return float(cohen_kappa_score(settled["first"], settled["second"]))
