"""The HTML report: one self-contained, printable file that reads like a Results section."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vastus.cohort import narrative
from vastus.cohort.association import ALPHA, CONTINUOUS
from vastus.cohort.problems import count_by_kind
from vastus.cohort.results import CohortResults
from vastus.cohort.table_one import LABELS, STRATA
from vastus.cohort.two_criteria import STATES, TwoCriteria

if TYPE_CHECKING:
    import pandas as pd

LISTED_AT_MOST = 40
"""Problems and people left out listed in the page; all of them are in the tables."""


@dataclass(frozen=True, slots=True)
class PageTable:
    """One table of the page: header, rows of text, and which columns are numbers (set right-aligned)."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric_from: int = 1


def render_page(results: CohortResults, figures: Mapping[str, str], versions: Mapping[str, str], note: str = "") -> str:
    """Make the page.

    Args:
        results: what to tell.
        figures: name (``muscles``, ``groups``, ``flow``, ``roc``, ``change``) -> SVG text; absent ones are left out.
        versions: software -> version.
        note: printed at the top (a simulated cohort says so there).
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vastus.cohort", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    dataset = results.dataset
    context: dict[str, Any] = {
        "note": note,
        "criteria": results.criteria,
        "versions": versions,
        "figures": {name: inline_svg(svg, name) for name, svg in figures.items()},
        "people": narrative.people_sentence(results),
        "methods": narrative.methods(results),
        "title": narrative.title(results),
        "published": narrative.published_sentences(results),
        "two_criteria": results.two_criteria,
        "two_criteria_words": narrative.two_criteria_sentences(results.two_criteria),
        "two_criteria_tables": _two_criteria(results.two_criteria),
        "changed_table": _changed(results.two_criteria),
        "association": narrative.association_sentences(results),
        "power": results.power_notes(),
        "measures": narrative.measure_sentences(results),
        "side": narrative.side_sentence(results),
        "change": narrative.change_sentences(results),
        "not_measured": results.not_measured(),
        "table_one": {name: _table_one(results.table_one, name) for name, _ in STRATA},
        "correlations": _correlations(results.status_correlations),
        "measures_table": _measures(results.continuous_correlations),
        "prediction": _prediction(results.prediction.table),
        "prediction_caution": narrative.prediction_caution(results),
        "sides_table": _sides(results.sides),
        "change_table": _changes(results.change_by_fracture_type),
        "left_out": list(dataset.left_out.items())[:LISTED_AT_MOST],
        "left_out_count": len(dataset.left_out),
        "stops": narrative.stop_sentences(dataset.problems),
        "problems": dataset.problems[:LISTED_AT_MOST],
        "problem_counts": count_by_kind(dataset.problems),
        "problem_total": len(dataset.problems),
        "alpha": ALPHA,
    }
    return environment.get_template("report.html").render(context)


def inline_svg(svg: str, name: str) -> Any:
    """Return an SVG without XML head, with unique ids (several SVGs share one page), free to scale."""
    from markupsafe import Markup

    body = svg[svg.index("<svg") :]
    body = re.sub(r'(\bid=")', rf"\g<1>{name}-", body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", body)
    width = re.search(r'<svg[^>]*? width="([\d.]+)pt"', body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]+"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]+"', r"\1", body, count=1)
    style = f' style="width:{float(width[1]):.0f}pt;max-width:100%"' if width else ""
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    return Markup(body.replace("<svg", f'<svg role="img"{style}', 1))


def word_tables(results: CohortResults) -> list[tuple[str, PageTable]]:
    """Return the tables of the page with their captions, for a document; those without rows are left out."""
    found = [
        (
            f"Table 1{'abc'[n]}. {'All participants' if name == 'All' else name}, by sarcopenia.",
            _table_one(results.table_one, name),
        )
        for n, (name, _) in enumerate(STRATA)
    ]
    found += [
        (f"Table 2{'ab'[n]}. {name}: point-biserial correlation with sarcopenia.", table)
        for n, (name, table) in enumerate(_correlations(results.status_correlations).items())
    ]
    found += [
        (f"Table 3{'ab'[n]}. {name}: Pearson's r / Spearman's rho; * p of r < {ALPHA:g} after Holm.", table)
        for n, (name, table) in enumerate(_measures(results.continuous_correlations).items())
    ]
    found += [
        ("Table 4. Logistic regression and area under the ROC curve.", _prediction(results.prediction.table)),
        ("Table 5. Fractured and other side, first scan.", _sides(results.sides)),
        ("Table 6. Change of all whole muscles together, by fracture type.", _changes(results.change_by_fracture_type)),
    ]
    return [(caption, table) for caption, table in found if table.rows]


def _table_one(table: pd.DataFrame, stratum: str) -> PageTable:
    rows = []
    own = table[table["stratum"] == stratum].rename(columns={"with": "with_"})  # a keyword is no attribute name
    for row in own.itertuples():
        label = LABELS[row.variable]
        if row.level:
            label = f"{label}: { {'F': 'women', 'M': 'men'}.get(row.level, row.level) }"
        rows.append((label, str(row.n_without), row.without, str(row.n_with), row.with_, _p(row.p), row.test))
    return PageTable(("", "n", "Without", "n", "With sarcopenia", "p", "Test"), tuple(rows))


def _two_criteria(two: TwoCriteria | None) -> dict[str, PageTable]:
    """Make a table for each sex: rows are groups by the first criteria, columns those by the second."""
    if two is None:
        return {}
    header = (f"By {two.first.name}", *(f"{two.second.name}: {state}" for state in STATES))
    return {
        name: PageTable(header, tuple((a, *(str(two.number(a, b, sex)) for b in STATES)) for a in STATES))
        for name, sex in (("Women", "F"), ("Men", "M"))
    }


def _changed(two: TwoCriteria | None) -> PageTable:
    """List who changes group, at most ``LISTED_AT_MOST`` people."""
    if two is None:
        return PageTable((), ())
    rows = [
        (r.subject, r.sex, narrative.number(r.age_years, 0), r.first, r.second, r.second_reason)
        for r in two.changed.head(LISTED_AT_MOST).itertuples()
    ]
    return PageTable(("Who", "Sex", "Age", two.first.name, two.second.name, "Note"), tuple(rows), numeric_from=6)


def _correlations(table: pd.DataFrame) -> dict[str, PageTable]:
    pages = {}
    for name in ("Women", "Men"):
        rows = [
            (
                r.label,
                f"{r.n_with} / {r.n_without}",
                narrative.number(r.r),
                _interval(r.ci_low, r.ci_high),
                _p(r.p),
                _p(r.p_holm),
                _p(r.p_fdr),
                narrative.number(r.r_age),
                _p(r.p_age),
            )
            for r in table[(table["stratum"] == name) & table["r"].notna()].itertuples()
        ]
        header = ("", "n with / without", "r", "95 % CI", "p", "p Holm", "p FDR", "r, age held constant", "p")
        pages[name] = PageTable(header, tuple(rows))
    return pages


def _measures(table: pd.DataFrame) -> dict[str, PageTable]:
    pages = {}
    for name in ("Women", "Men"):
        own = table[(table["stratum"] == name) & table["r"].notna()]
        outcomes = [o for o in CONTINUOUS if (own["outcome"] == o).any()]
        cells = {(row["label"], row["outcome"]): _cell(row) for row in own.to_dict("records")}
        rows = [
            (label, *(cells.get((label, outcome), "–") for outcome in outcomes))
            for label in dict.fromkeys(own["label"])
        ]
        pages[name] = PageTable(("", *(LABELS[o] for o in outcomes)), tuple(rows))
    return pages


def _cell(row: Mapping[Hashable, Any]) -> str:
    mark = " *" if row["p_holm"] < ALPHA else ""
    return f"{narrative.number(row['r'])} / {narrative.number(row['rho'])}{mark}"


def _prediction(table: pd.DataFrame) -> PageTable:
    rows = [
        (
            r.stratum,
            r.label,
            f"{r.n_with} / {r.n_without}",
            _ratio(r.odds_ratio),
            _ratio_interval(r.or_low, r.or_high),
            _p(r.p_logistic),
            _p(r.p_age_adjusted),
            narrative.number(r.auc),
            _interval(r.auc_low, r.auc_high),
            r.note,
        )
        for r in table.itertuples()
    ]
    header = (
        "",
        "Volume / height²",
        "n with / without",
        "OR per SD",
        "95 % CI",
        "p",
        "p, with age",
        "AUC",
        "95 % CI",
        "Note",
    )
    return PageTable(header, tuple(rows), numeric_from=2)


def _sides(table: pd.DataFrame) -> PageTable:
    rows = [
        (
            r.label,
            str(r.n),
            narrative.number(r.fractured_cm3, 1),
            narrative.number(r.other_cm3, 1),
            narrative.number(r.difference_cm3, 1),
            narrative.number(r.difference_percent, 1),
            _p(r.p),
            _p(r.p_holm),
            r.test,
        )
        for r in table[table["stratum"] == "All"].itertuples()
    ]
    header = ("", "n", "Fractured (cm³)", "Other (cm³)", "Difference (cm³)", "%", "p", "p Holm", "Test")
    return PageTable(header, tuple(rows))


def _changes(table: pd.DataFrame) -> PageTable:
    rows = [
        (
            r.stratum,
            r.fracture_type,
            str(r.n),
            f"{r.days:.0f}",
            f"{narrative.number(r.change_cm3, 1)} ± {narrative.number(r.sd_cm3, 1)}",
            narrative.number(r.change_percent, 1),
            _p(r.p),
            _p(r.p_between),
        )
        for r in table.itertuples()
    ]
    header = ("", "Fracture", "n", "Days (median)", "Change (cm³)", "%", "p (paired)", "p (between types)")
    return PageTable(header, tuple(rows), numeric_from=2)


def _p(p: float) -> str:
    text = narrative.format_p(p)
    return text.removeprefix("p = ").removeprefix("p ").replace("< ", "<\u202f")


def _interval(low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return "–"
    return f"{narrative.number(low)} to {narrative.number(high)}"


def _ratio(value: float) -> str:
    """Write an odds ratio; below 0.01 or above 10,000 only the limit is given."""
    if value < 0.01:
        return "< 0.01"
    return "> 10,000" if value > 1e4 else narrative.number(value)


def _ratio_interval(low: float, high: float) -> str:
    return "–" if math.isnan(low) or math.isnan(high) else f"{_ratio(low)} to {_ratio(high)}"
