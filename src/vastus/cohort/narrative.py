"""Sentences of the report, made from the tables: methods and results in the words of a paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vastus.cohort.association import ALPHA, CONTINUOUS, SMALL_GROUP
from vastus.cohort.follow_up import BOTH, FRACTURED, OTHER, TOTAL
from vastus.cohort.prediction import RESAMPLES
from vastus.cohort.problems import Problem, ProblemKind
from vastus.cohort.results import CohortResults
from vastus.cohort.table_one import LABELS, NORMAL_P, SMALL_EXPECTED
from vastus.cohort.two_criteria import OPEN, WITH, WITHOUT, TwoCriteria

if TYPE_CHECKING:
    import pandas as pd

NAMED_AT_MOST = 8
"""Muscles named in a sentence; the others are counted."""


def format_p(p: float) -> str:
    """Write a p value: ``p < 0.001``, ``p = 0.03``; an en dash if there is none."""
    if math.isnan(p):
        return "–"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def number(value: float, digits: int = 2) -> str:
    """Write a number with a true minus; an en dash if there is none."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def methods(results: CohortResults) -> list[str]:
    """Write the paragraphs of the methods."""
    criteria = results.criteria
    rules = results.dataset.not_applied
    not_applied = f" Not applied, for want of values: {'; '.join(rules)}." if rules else ""
    follow_up = (
        " People with two or more dated scans were compared between the first and the last one."
        if len(results.changes)
        else ""
    )
    note = f" {criteria.note}" if criteria.note else ""
    return [
        "The volume of each muscle is the sum of its right and left side; a muscle that is missing, or cut off by the "
        "field of view, on either side has no value. A group is the sum of its muscles. Volumes were divided by height "
        "squared (cm³/m²), the form of the skeletal muscle index, as in Kim et al. 2024.",
        f"Sarcopenia was diagnosed by {criteria.name} ({criteria.source}).{note} People whose values do not settle the "
        "diagnosis are not in the comparison of the groups. Each person counts once, with the first scan. Inclusion "
        f"and exclusion are listed in the flow diagram.{not_applied}",
        f"Groups were compared by Welch's t-test where Shapiro-Wilk did not reject normality in either (p > "
        f"{NORMAL_P:g}; mean ± SD), else by the Mann-Whitney U test (median [quartiles]); categories by the "
        f"chi-squared test, or Fisher's exact test where an expected count was below {SMALL_EXPECTED}.",
        "Association with sarcopenia (1 with, 0 without) is the point-biserial correlation r with its 95 % interval "
        "(Fisher z), for each sex; p was corrected within each sex over the muscles, and over the groups, by Holm and "
        "by Benjamini-Hochberg (false discovery rate), and r was repeated with age held constant (partial "
        "correlation). Association with SMI, grip, gait speed and chair stands is Pearson's r and Spearman's rho.",
        "The muscles with the largest |r|, and the best group, were rated by logistic regression (odds ratio per "
        f"standard deviation) and by the area under the ROC curve (AUC) with a stratified bootstrap interval "
        f"({RESAMPLES} resamples, percentiles). They were chosen on the same people, so these figures are apparent "
        "and too favourable for new people.",
        "Sides and scans of one person were compared by the paired t-test where the differences did not deviate from "
        f"normality, else by Wilcoxon's signed-rank test.{follow_up} Tests are two-sided at {ALPHA:g}.",
    ]


def stop_sentences(problems: Sequence[Problem]) -> list[str]:
    """Say which scans and structures must stop a reader: before any result; none where there are none."""
    stopped = sorted({p.subject for p in problems if p.kind is ProblemKind.STOPPED_SCAN})
    doubted = {p.subject for p in problems if p.kind is ProblemKind.WRONG_STRUCTURE}
    said = []
    if stopped:
        more = f" and {len(stopped) - NAMED_AT_MOST} more" if len(stopped) > NAMED_AT_MOST else ""
        said.append(
            f"STOP. No number is to be used of {len(stopped)} scan{'s' if len(stopped) > 1 else ''}; left out:"
            f" {', '.join(stopped[:NAMED_AT_MOST])}{more}."
        )
    if doubted:
        said.append(
            f"STOP. In {len(doubted)} scan{'s' if len(doubted) > 1 else ''} some structures are likely wrong. They"
            " count all the same. Look at the pictures of these scans before you use a result. tables/problems.csv"
            " names the structures."
        )
    return said


def people_sentence(results: CohortResults) -> str:
    """Say who was analysed."""
    flow = results.dataset.flow
    counts = results.counts
    named, left = flow[0].before, flow[-1].after
    parts = []
    for sex, word in (("F", "women"), ("M", "men")):
        own = counts[counts["sex"] == sex]
        with_, without = (int(own.loc[own["sarcopenia"] == v, "n"].sum()) for v in (1, 0))
        parts.append(f"{with_ + without} {word} ({with_} with, {without} without sarcopenia)")
    age = results.dataset.people["age_years"]
    ages = f" The mean age was {age.mean():.1f} ± {age.std(ddof=1):.1f} years." if age.notna().sum() > 1 else ""
    return f"Of {named} people in the clinical table, {left} were analysed: {' and '.join(parts)}.{ages}"


def two_criteria_sentences(two: TwoCriteria | None) -> list[str]:
    """Say who changes group by the second criteria; nothing if there is none."""
    if two is None:
        return []
    first, second = two.first.name, two.second.name
    gained, lost = two.number(WITHOUT, WITH), two.number(WITH, WITHOUT)
    both, neither = two.number(WITH, WITH), two.number(WITHOUT, WITHOUT)
    settled = gained + lost + both + neither
    newly_open = two.number(WITH, OPEN) + two.number(WITHOUT, OPEN)
    closed = two.number(OPEN, WITH) + two.number(OPEN, WITHOUT)
    kappa = "" if math.isnan(two.kappa) else f" Cohen's kappa is {number(two.kappa)}."
    sentences = [
        f"{first} and {second} both settle the status of {settled} of {len(two.people)} people. {gained} of them "
        f"have sarcopenia only by {second}, {lost} only by {first}; {both} have it by both and {neither} by "
        f"neither.{kappa}",
    ]
    if newly_open or closed:
        sentences.append(
            f"{newly_open} are settled by {first} and not by {second}, {closed} the other way round: the values of "
            "these people do not suffice for one of the two."
        )
    sentences.append(f"Everything else on this page is by {first}.")
    if two.second.note:
        sentences.append(two.second.note)
    return sentences


def title(results: CohortResults) -> str:
    """Name what the report is about; of structures of a lab's own it is not known where they lie."""
    where = "Thigh and hip muscle volumes" if results.dataset.table.is_built_in else "Muscle volumes"
    return f"{where} and sarcopenia"


def published_sentences(results: CohortResults) -> list[str]:
    """Compare the people with published values, by sex, with source and limits; nothing if nobody has the ratio."""
    from vastus.sarcopenia.reference_values import NO_REFERENCE, thigh_reference

    table = results.published.thigh
    sentences = []
    for word, sex in (("Women", "F"), ("Men", "M")):
        own = table[(table["sex"] == sex) & table["thigh_muscle_to_femur"].notna()]
        if own.empty:
            continue
        means = own["published_mean"]
        ratio = _mean_sd(own["thigh_muscle_to_femur"], 1)
        text = f"{word}: thigh muscle to femur volume {ratio} (n = {len(own)})"
        if aged := int(means.notna().sum()):
            of_age = " or ".join(number(mean, 1) for mean in sorted(means.dropna().unique()))
            text += f"; published of the age of {aged} of them: {of_age}"
        if missing := len(own) - aged:
            text += f"; {missing} have {NO_REFERENCE}"
        sentences.append(text + ".")
    if sentences:
        reference = thigh_reference()
        sentences.append(
            f"Reference: {reference.source}; {reference.method}; {reference.population}. {' '.join(reference.limits)} "
            "These numbers are context: no diagnosis and no test on this page reads them."
        )
    return sentences


def _mean_sd(values: pd.Series, digits: int) -> str:
    """Write ``11.8 ± 1.2``; for a single person the value alone."""
    known = values.dropna()
    spread = f" ± {number(known.std(ddof=1), digits)}" if len(known) > 1 else ""
    return f"{number(known.mean(), digits)}{spread}"


def association_sentences(results: CohortResults) -> list[str]:
    """Say which muscles correlate with sarcopenia, for each sex."""
    sentences = []
    for name in ("Women", "Men"):
        own = results.status_correlations[results.status_correlations["stratum"] == name]
        muscles = own[(own["kind"] == "muscle") & own["r"].notna()]
        if muscles.empty:
            sentences.append(f"{name}: no correlation can be computed.")
            continue
        words = f"{name}: {_muscle_words(muscles)}".removesuffix(".") + f"{_caution(own, name)}."
        sentences.append(f"{words} {_group_words(own)}".strip())
    return sentences


def _caution(rows: pd.DataFrame, name: str) -> str:
    """Warn in the sentence itself if a group is so small that one person can change it: nobody reads a list below."""
    counts = [(int(rows[column].max()), word) for column, word in (("n_without", "without"), ("n_with", "with"))]
    small = [f"{n} {_people(name, n)} {word} sarcopenia" for n, word in counts if n < SMALL_GROUP]
    if not small:
        return ""
    return f"; this rests on only {' and '.join(small)}: intervals are wide, and one person can change it"


def _people(name: str, count: int) -> str:
    one = {"Women": "woman", "Men": "man"}.get(name, "person")
    return one if count == 1 else {"Women": "women", "Men": "men"}.get(name, "people")


def _muscle_words(muscles: pd.DataFrame) -> str:
    found = muscles[muscles["p_holm"] < ALPHA].sort_values("r", key=abs, ascending=False)
    nominal = int((muscles["p"] < ALPHA).sum())
    if found.empty:
        strongest = muscles.loc[muscles["r"].abs().idxmax()]
        return (
            f"no muscle was significant after Holm's correction ({nominal} of {len(muscles)} before it); the largest "
            f"was the {strongest['label'].lower()} (r = {number(strongest['r'])}, 95 % CI "
            f"{number(strongest['ci_low'])} to {number(strongest['ci_high'])}, {format_p(strongest['p'])})."
        )
    named = ", ".join(f"{row.label.lower()} {number(row.r)}" for row in found.head(NAMED_AT_MOST).itertuples())
    more = f" and {len(found) - NAMED_AT_MOST} more" if len(found) > NAMED_AT_MOST else ""
    age = int((found["p_age"] < ALPHA).sum())
    return (
        f"{len(found)} of {len(muscles)} muscles were significant after Holm's correction (r: {named}{more}); with age "
        f"held constant {age} of these kept p < {ALPHA:g}, uncorrected."
    )


def _group_words(own: pd.DataFrame) -> str:
    groups = own[(own["kind"] == "group") & own["r"].notna()]
    if groups.empty:
        return ""
    named = ", ".join(f"{row.label.lower()} {number(row.r)} ({format_p(row.p)})" for row in groups.itertuples())
    return f"By group, r: {named}."


def measure_sentences(results: CohortResults) -> list[str]:
    """Say which muscle correlates most with each continuous measure, for each sex."""
    table = results.continuous_correlations
    sentences = []
    for outcome in CONTINUOUS:
        parts = []
        for name in ("Women", "Men"):
            own = table[
                (table["stratum"] == name)
                & (table["outcome"] == outcome)
                & (table["kind"] == "muscle")
                & table["r"].notna()
            ]
            if own.empty:
                continue
            best = own.loc[own["r"].abs().idxmax()]
            significant = int((own["p_holm"] < ALPHA).sum())
            parts.append(
                f"in {name.lower()} {significant} of {len(own)} muscles were significant after Holm's correction "
                f"(largest: "
                f"{best['label'].lower()}, r = {number(best['r'])}, 95 % CI {number(best['ci_low'])} to "
                f"{number(best['ci_high'])}, rho = {number(best['rho'])}, n = {best['n']}{_few(int(best['n']))})"
            )
        if parts:
            sentences.append(f"{LABELS[outcome]}: {'; '.join(parts)}.")
    return sentences


def _few(count: int) -> str:
    """Add a caution behind the number of people if they are few."""
    return ", too few to rely on" if count < 2 * SMALL_GROUP else ""


def prediction_caution(results: CohortResults) -> str:
    """Write one sentence on the sexes with a tiny group; empty if there is none."""
    cautions = [
        f"in {name.lower()}{caution.removeprefix('; this')}"
        for name, own in results.prediction.table.groupby("stratum", sort=False)
        if name != "All" and (caution := _caution(own, str(name)))
    ]
    return f"What is shown {'; '.join(cautions)}." if cautions else ""


def side_sentence(results: CohortResults) -> str:
    """Compare the fractured with the other side."""
    table = results.sides
    own = table[(table["stratum"] == "All") & (table["kind"] == "muscle")]
    if own.empty:
        return ""
    found = own[own["p_holm"] < ALPHA]
    largest = own.loc[own["difference_percent"].idxmin()]
    return (
        f"{len(found)} of {len(own)} muscles differed between the fractured and the other side after Holm's "
        f"correction; the largest deficit was in the {largest['label'].lower()} "
        f"({number(largest['difference_percent'], 1)} %, "
        f"{number(largest['difference_cm3'], 1)} cm³, n = {largest['n']}{_few(int(largest['n']))}, "
        f"{format_p(largest['p'])})."
    )


def change_sentences(results: CohortResults) -> list[str]:
    """Describe the change between scans: the total by sex and side, then by fracture type."""
    table = results.change_summary
    total = table[(table["feature"] == TOTAL)]
    sentences = []
    for name in ("Women", "Men"):
        own = total[total["stratum"] == name].set_index("side")
        if BOTH not in own.index:
            continue
        both = own.loc[BOTH]
        text = (
            f"{name} (n = {both['n']}{_few(int(both['n']))}, median interval {both['days']:.0f} days): "
            f"the whole muscles together changed "
            f"by {number(both['change_cm3'], 1)} ± {number(both['sd_cm3'], 1)} cm³ "
            f"({number(both['change_percent'], 1)} %, {format_p(both['p'])})"
        )
        if FRACTURED in own.index and OTHER in own.index:
            text += (
                f"; fractured side {number(own.loc[FRACTURED, 'change_percent'], 1)} %, other side "
                f"{number(own.loc[OTHER, 'change_percent'], 1)} %"
            )
        sentences.append(text + ".")
    for name in ("Women", "Men"):
        own = results.change_by_fracture_type
        own = own[own["stratum"] == name]
        if own.empty:
            continue
        parts = [f"{r.fracture_type} {number(r.change_cm3, 1)} cm³ (n = {r.n})" for r in own.itertuples()]
        between = own["p_between"].iloc[0]
        test = f"; between types {format_p(between)} ({own['test_between'].iloc[0]})" if not math.isnan(between) else ""
        sentences.append(f"{name}, by fracture type: {', '.join(parts)}{test}.")
    return sentences
