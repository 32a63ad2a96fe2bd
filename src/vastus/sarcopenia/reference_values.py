"""Numbers in context: a person's values beside published ones. Never part of a diagnosis.

Two references: the volume of the thigh's muscles by that of the femur (Maden-Wilkinson 2014, by sex and age), and the
volume of each muscle by height and mass (Handsfield 2014). Both are MR of small groups; what is not published is not
given, and what was measured otherwise is told without a score.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from vastus.anatomy import BUILT_IN, SIDES, Side, StructureTable
from vastus.muscle_volumes import muscle_regression, regression_volume_mm3
from vastus.sarcopenia.clinical import ClinicalFacts
from vastus.sex import Sex

if TYPE_CHECKING:
    from vastus.morphometry.rows import MeasureRow
    from vastus.morphometry.scan import ScanMeasures

NO_REFERENCE: Final = "no reference for this age and sex"
PERCENT_OF_EXPECTED: Final = "volume_of_expected"
PUBLISHED: Final = "handsfield2014"
"""Basis of the lines that are printed; those that were divided by atlases are no reference."""

HANDSFIELD_SOURCE: Final = (
    "Handsfield GG et al. Relationships of 35 lower limb muscles to height and body mass quantified using MRI. J "
    "Biomech 2014;47:631-638"
)


@dataclass(frozen=True, slots=True)
class ReferenceGroup:
    """One group of a published table.

    Attributes:
        name, sex, age_years, n: who; ages from the first (included) to the second (excluded).
        mean: of the measure.
    """

    name: str
    sex: Sex
    age_years: tuple[float, float]
    n: int
    mean: float


@dataclass(frozen=True, slots=True)
class Reference:
    """A published table: ``method`` is MR or CT, ``limits`` what a reader has to know."""

    key: str
    measure: str
    source: str
    method: str
    population: str
    limits: tuple[str, ...]
    groups: tuple[ReferenceGroup, ...]

    def of_age(self, sex: Sex | None, age_years: float | None) -> ReferenceGroup | None:
        """Return the group of that sex and age; None if the table has none, or sex or age is not known."""
        if age_years is None:
            return None
        return next((g for g in self.groups if g.sex is sex and g.age_years[0] <= age_years < g.age_years[1]), None)


@cache
def thigh_reference() -> Reference:
    """Load the values of Maden-Wilkinson 2014: means, for a part of the femur."""
    text = files("vastus.sarcopenia").joinpath("reference", "thigh_muscle_to_femur.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    groups = tuple(
        ReferenceGroup(
            row["name"],
            Sex(row["sex"]),
            (float(row["age_years"][0]), float(row["age_years"][1])),
            row["n"],
            row["mean"],
        )
        for row in table["groups"]
    )
    return Reference(
        table["key"],
        table["measure"],
        table["source"],
        table["method"],
        table["population"],
        tuple(table["limits"]),
        groups,
    )


def percent_of_expected(key: str, volume_mm3: float, facts: ClinicalFacts) -> float | None:
    """Compute the volume in percent of that of a healthy young adult of this height and mass (Handsfield 2014).

    None without height or mass, and for muscles without a printed line. There is no z-score: the scatter around the
    lines is not at hand.

    Args:
        key: key of the muscle.
        volume_mm3: measured volume of one side.
        facts: height and mass of the person.

    Returns:
        Percent, or None.
    """
    line = muscle_regression().get(key)
    if line is None or line.basis != PUBLISHED or facts.height_cm is None or facts.weight_kg is None:
        return None
    expected = regression_volume_mm3(key, facts.height_cm, facts.weight_kg)
    return None if expected is None else 100 * volume_mm3 / expected


def reference_rows(measures: ScanMeasures, facts: ClinicalFacts) -> list[MeasureRow]:
    """Make rows of ``measures.csv``; the same for every scan, with empty values if there is no reference."""
    return [row for side in SIDES for row in _muscle_rows(measures, side, facts)]


def _muscle_rows(measures: ScanMeasures, side: Side, facts: ClinicalFacts) -> list[MeasureRow]:
    # Measuring is compiled code that takes a second to load; what only compares numbers does without.
    from vastus.morphometry.rows import MeasureRow

    rows = []
    for muscle in measures.table.muscles:
        if not muscle.paired:
            continue
        found = measures.structure(muscle.key, side)
        percent = None
        if found.is_whole and found.volume_mm3 is not None:
            percent = percent_of_expected(muscle.key, found.volume_mm3, facts)
        rows.append(
            MeasureRow(
                measures.subject,
                muscle.key,
                muscle.group.value,
                side.value,
                PERCENT_OF_EXPECTED,
                percent,
                "%",
                found.truncated,
                found.fragment,
            )
        )
    return rows


def reference_sentences(ratio: float | None, facts: ClinicalFacts, table: StructureTable = BUILT_IN) -> tuple[str, ...]:
    """Describe a person's thigh muscle / femur (both sides) for page and command, with source and limits.

    Empty where nothing is known of the person: then nobody asked for a comparison.
    """
    asked = facts.sex is not None or facts.age_years is not None
    sized = facts.height_cm is not None and facts.weight_kg is not None
    sentences = [*_thigh_sentences(ratio, facts, table)] if asked else []
    if sized:
        sentences.append(
            "Percent of expected: the volume of a muscle by what 24 healthy young adults of that height and mass had "
            f"on MR ({HANDSFIELD_SOURCE}). Old and sick people have less; muscles without a printed line have none. "
            "The scatter around the lines is not at hand, so there is no z-score."
        )
        lacking = [m.english for m in table.muscles if m.key not in BUILT_IN.by_key]
        if lacking:
            sentences.append(f"Nothing is published for: {', '.join(lacking)}.")
    return (*sentences, "These numbers are context. No diagnosis reads them.") if sentences else ()


def _thigh_sentences(ratio: float | None, facts: ClinicalFacts, table: StructureTable) -> list[str]:
    reference = thigh_reference()
    name = "Thigh muscle to femur volume"
    if not table.has_whole_thigh:
        return [f"{name}: not known, as the table of structures lacks single muscles of the thigh."]
    if ratio is None:
        return [f"{name}: not known, as a thigh muscle or the femur is absent, cut by the scan or a fragment."]
    own = reference.of_age(facts.sex, facts.age_years)
    published = NO_REFERENCE if own is None else f"published of {own.name}: {own.mean:.1f} (n = {own.n})"
    return [
        f"{name}, both sides: {ratio:.1f}; {published}.",
        f"Reference: {reference.source}; {reference.method}; {reference.population}. {' '.join(reference.limits)}",
    ]
