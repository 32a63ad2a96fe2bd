"""An evaluation -> CSV, JSON, Markdown and figures, each written atomically."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vastus.anatomy import StructureTable
from vastus.evaluation import metrics as m
from vastus.evaluation.drawing import draw_here
from vastus.evaluation.drawn import AREA_ABSOLUTE_PERCENT, AREA_SIGNED_PERCENT
from vastus.evaluation.drawn import LEVEL as SECTION_LEVEL
from vastus.evaluation.icc import IccForm
from vastus.evaluation.metrics import Metric
from vastus.evaluation.policy import Presence
from vastus.evaluation.readers import READERS, column_of
from vastus.evaluation.runner import Evaluation
from vastus.evaluation.slices import SummaryLevel
from vastus.evaluation.summary import FIRST, LEVEL, METRIC, NAME, OVER, REFERENCE_NAME, SECOND, Over
from vastus.io.atomic import ensure_folder, write_text
from vastus.io.own_structures import entries_of
from vastus.io.tables import ALL, BONES, BOTH_SIDES, FOREGROUND, MUSCLES, SIDE, STRUCTURE
from vastus.version import __version__

if TYPE_CHECKING:
    import pandas as pd

SCORES_FILE = "scores.csv"
SUMMARY_FILE = "summary.csv"
AGREEMENT_FILE = "agreement.csv"
READERS_FILE = "readers.csv"
COMPARISON_FILE = "comparison.csv"
SECTIONS_FILE = "sections.csv"
SECTION_SUMMARY_FILE = "section_summary.csv"
JSON_FILE = "evaluation.json"
MARKDOWN_FILE = "summary.md"
_SHOWN = (m.DICE, m.ASSD, m.HAUSDORFF, m.HD95, m.SURFACE_DICE, m.RAVD_SIGNED, m.RAVD_ABSOLUTE)
_SIGNIFICANT_DIGITS = "%.8g"


def write_evaluation(evaluation: Evaluation, folder: Path, *, figures: bool = True) -> list[Path]:
    """Write everything into a folder (made if needed); return the files.

    Args:
        evaluation: what was found.
        folder: for the files.
        figures: draw the figures, too (``drawing.draw_into`` lets another process do it).

    Raises:
        OutputError: the folder can't be written to.
    """
    ensure_folder(folder)
    tables = {
        SCORES_FILE: evaluation.scores,
        SUMMARY_FILE: evaluation.summary,
        AGREEMENT_FILE: evaluation.agreement,
        READERS_FILE: evaluation.readers,
        COMPARISON_FILE: evaluation.comparison,
        SECTIONS_FILE: evaluation.sections,
        SECTION_SUMMARY_FILE: evaluation.section_summary,
    }
    texts = {
        name: table.to_csv(index=False, float_format=_SIGNIFICANT_DIGITS, lineterminator="\n")
        for name, table in tables.items()
        if len(table)
    }
    texts[JSON_FILE] = json.dumps(as_record(evaluation), indent=1, allow_nan=False) + "\n"
    texts[MARKDOWN_FILE] = as_markdown(evaluation)
    for name, text in texts.items():
        write_text(folder / name, text)
    drawn = draw_here(folder, _plain(evaluation.scores), evaluation.table) if figures else []
    return [folder / name for name in texts] + drawn


def as_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return plain values for JSON; an empty cell becomes ``null``."""
    settings = evaluation.settings
    return {
        "vastus_version": __version__,
        "models": list(evaluation.models),
        "cases": evaluation.case_count,
        "settings": {
            "tolerance_mm": settings.scores.tolerance_mm,
            "empty_policy": settings.scores.policy.value,
            "merge_sides": settings.scores.merge_sides,
            "resample": settings.resample,
            "missing": settings.missing.value,
            **({} if evaluation.table.is_built_in else {"structures": entries_of(evaluation.table)}),
        },
        "failed": {failure.name: failure.problem for failure in evaluation.failures},
        "left_out": list(evaluation.left_out),
        "scores": _records(evaluation.scores),
        "summary": _records(evaluation.summary),
        "agreement": _records(evaluation.agreement),
        "readers": _records(evaluation.readers),
        "comparison": _records(evaluation.comparison),
        "drawn_slices": {case: list(slices) for case, slices in evaluation.drawn_slices.items()},
        "sections": _records(evaluation.sections),
        "section_summary": _records(evaluation.section_summary),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in _plain(table)
    ]


def as_markdown(evaluation: Evaluation) -> str:
    """Make the table of the paper: a row for each structure (both sides), group and whole; one table for each model."""
    lines = [f"# Evaluation of {evaluation.case_count} case(s)", "", *_preamble(evaluation), ""]
    for model in evaluation.models:
        lines += [f"## {model}", "", *_model_table(evaluation, model), ""]
    for model in evaluation.models if len(evaluation.sections) else ():
        lines += [f"## {model}: sections", "", *_section_table(evaluation, model), ""]
    if len(evaluation.models) > 1:
        lines += ["## Agreement of the readers", "", *_readers_table(evaluation), ""]
    if len(evaluation.comparison):
        lines += [f"## {evaluation.models[0]} against {evaluation.models[1]}", "", *_comparison_table(evaluation), ""]
    return "\n".join(lines)


def _preamble(evaluation: Evaluation) -> Iterator[str]:
    scores = evaluation.settings.scores
    yield (
        f"Mean ± SD over cases (sides and structures averaged within a case first); surface Dice at "
        f"{scores.tolerance_mm:g} mm; empty masks: `{scores.policy.value}`. *missed / invented / absent* count the "
        "masks that were empty in the prediction, in the reference, in both. r, ICC: volumes over cases."
        + _partly(evaluation)
    )
    if evaluation.failures:
        yield ""
        yield f"**{len(evaluation.failures)} case(s) could not be scored and are not in the numbers:** " + "; ".join(
            f"{failure.name} ({failure.problem})" for failure in evaluation.failures
        )
    if evaluation.left_out:
        yield ""
        yield (
            f"**{len(evaluation.left_out)} case(s) were not labelled by every model or reader and are left out:** "
            + ", ".join(evaluation.left_out)
        )


def _partly(evaluation: Evaluation) -> str:
    """Explain how references that are labelled in part were scored; empty if there are none."""
    drawn = evaluation.drawn_slices
    if not drawn:
        return ""
    return (
        f" {len(drawn)} of {evaluation.case_count} case(s) are labelled in part: only their "
        f"{sum(map(len, drawn.values()))} drawn slices count, without the voxels that nobody labelled (255); distances "
        "run in the plane of the slice, volumes are those of the drawn slices."
    )


def _section_table(evaluation: Evaluation, model: str) -> Iterator[str]:
    import pandas as pd

    yield (
        "A section is a structure in one drawn slice. Mean ± SD over sections; ASSD: of those that both maps hold; "
        "area error: of those that the reference holds."
    )
    yield ""
    titles = (
        "sections",
        "missed",
        "invented",
        "Dice",
        "Surface Dice",
        "ASSD (mm)",
        "area error (%)",
        "absolute area error (%)",
    )
    yield "| Structure | " + " | ".join(titles) + " |"
    yield "|---|" + "---:|" * len(titles)
    rows = evaluation.section_summary
    rows = rows[rows[m.MODEL] == model]
    of_levels = rows[(rows[SECTION_LEVEL] != ALL) & (rows[STRUCTURE] == ALL)]
    for _, row in pd.concat([rows[rows[SECTION_LEVEL] == ALL], of_levels]).iterrows():
        name = _section_title(row[SECTION_LEVEL], row[STRUCTURE], evaluation.table)
        cells = [
            _mean_sd({"mean": row[f"{metric.column}_mean"], "sd": row[f"{metric.column}_sd"]}, metric)
            for metric in (m.DICE, m.SURFACE_DICE)
        ]
        cells += [_number(row[f"{m.ASSD.column}_mean"], m.ASSD.digits)]
        cells += [_number(row[f"{AREA_SIGNED_PERCENT}_mean"], 1, signed=True)]
        cells += [_number(row[f"{AREA_ABSOLUTE_PERCENT}_mean"], 1)]
        counts = [str(row["sections"]), str(row[Presence.MISSED.value]), str(row[Presence.INVENTED.value])]
        yield f"| {name} | " + " | ".join([*counts, *cells]) + " |"


def _model_table(evaluation: Evaluation, model: str) -> Iterator[str]:
    titles = [metric.title for metric in _SHOWN]
    yield "| Structure | " + " | ".join(titles) + " | r | ICC(2,1) | missed / invented / absent |"
    yield "|---|" + "---:|" * (len(titles) + 2) + "---|"
    # Plain dictionaries: pandas needs a millisecond for each row of the table.
    of_slices: dict[tuple[str, str], dict[str, dict[str, dict[str, Any]]]] = {}
    for row in _plain(evaluation.summary):
        if row[m.MODEL] == model and row[SIDE] == BOTH_SIDES:
            of_slices.setdefault((row[LEVEL], row[NAME]), {}).setdefault(row[OVER], {})[row[METRIC]] = row
    agreement = {
        (row[LEVEL], row[NAME]): row
        for row in _plain(evaluation.agreement)
        if row[FIRST] == model and row[SECOND] == REFERENCE_NAME and row[SIDE] == BOTH_SIDES
    }
    for (level, name), rows in of_slices.items():
        found, over_cases = agreement[level, name], rows[Over.CASES.value]
        cells = [_mean_sd(over_cases[metric.column], metric) for metric in _SHOWN]
        cells += [_number(found["pearson_r"], 3), _icc_cell(found)]
        counts = _counts(over_cases[_SHOWN[0].column])  # each row of a slice has them
        yield f"| {_title(level, name, evaluation.table)} | " + " | ".join(cells) + f" | {counts} |"
        if level == SummaryLevel.WHOLE.value:
            over_classes = rows[Over.CLASSES.value]
            cells = [_mean_sd(over_classes[metric.column], metric) for metric in _SHOWN] + ["", "", ""]
            yield f"| {_title(level, name, evaluation.table)}, SD over classes | " + " | ".join(cells) + " |"


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(column): cell for column, cell in row.items()} for row in table.to_dict(orient="records")]


def _readers_table(evaluation: Evaluation) -> Iterator[str]:
    yield (
        "Intraclass correlation of the volumes (Shrout & Fleiss 1979) with 95% limits, all readers at once. "
        "(.,1): of one reading; (.,k): of the mean of the readers."
    )
    for names, of_set in evaluation.readers.groupby(READERS, sort=False):
        yield ""
        yield f"Readers: {names}."
        yield ""
        yield "| Structure | cases | " + " | ".join(form.value for form in IccForm) + " |"
        yield "|---|" + "---:|" * (1 + len(IccForm))
        for _, row in of_set[of_set[SIDE] == BOTH_SIDES].iterrows():
            cells = [str(row["n"]), *(_limits(row, column_of(form)) for form in IccForm)]
            yield f"| {_title(row[LEVEL], row[NAME], evaluation.table)} | " + " | ".join(cells) + " |"


def _limits(row: Any, column: str) -> str:
    if math.isnan(row[column]):
        return "–"
    return f"{row[column]:.3f} ({row[f'{column}_low']:.2f}–{row[f'{column}_high']:.2f})"


def _comparison_table(evaluation: Evaluation) -> Iterator[str]:
    yield (
        "Wilcoxon signed-rank test over cases, p corrected by Holm over the structures (groups, wholes) of a metric. "
        "Difference: median of first minus second."
    )
    yield ""
    shown = (m.DICE, m.ASSD, m.HD95, m.RAVD_ABSOLUTE)
    yield "| Structure | pairs | " + " | ".join(f"{metric.title}: difference | p" for metric in shown) + " |"
    yield "|---|---:|" + "---:|---:|" * len(shown)
    for (level, name), rows in evaluation.comparison.groupby([LEVEL, NAME], sort=False):
        of = rows.set_index(METRIC)
        cells = []
        for metric in shown:
            row = of.loc[metric.column]
            cells += [_number(row["median_difference"], metric.digits, signed=True), _p_value(row["p_holm"])]
        yield (f"| {_title(level, name, evaluation.table)} | {of['pairs'].max()} | " + " | ".join(cells) + " |")


def _section_title(level: str, structure: str, table: StructureTable) -> str:
    """Return the name of a structure; for all structures, the level of the thigh."""
    if structure != ALL:
        return table.by_key[structure].english
    return "**All**" if level == ALL else f"**{level.capitalize()}**"


def _title(level: str, name: str, table: StructureTable) -> str:
    if level == SummaryLevel.STRUCTURE.value:
        return table.by_key[name].english
    if level == SummaryLevel.GROUP.value:
        return next(f"**{group.title}**" for group in table.groups if group.value == name)
    return {MUSCLES: "**All muscles**", BONES: "**All bones**", FOREGROUND: "**Foreground**"}[name]


def _mean_sd(row: Any, metric: Metric) -> str:
    mean, sd = row["mean"], row["sd"]
    if math.isnan(mean):
        return "–"
    spread = "" if math.isnan(sd) else f" ± {sd:.{metric.digits}f}"
    return f"{mean:.{metric.digits}f}{spread}"


def _icc_cell(row: Any) -> str:
    if math.isnan(row["icc_2_1"]):
        return "–"
    limits = f"{row['icc_2_1_low']:.2f}–{row['icc_2_1_high']:.2f}"
    return f"{row['icc_2_1']:.3f} ({limits}) {row['icc_2_1_band']}"


def _counts(row: Any) -> str:
    counts = [int(row[p.value]) for p in (Presence.MISSED, Presence.INVENTED, Presence.ABSENT)]
    return " / ".join(map(str, counts))


def _number(value: float, digits: int, *, signed: bool = False) -> str:
    return "–" if math.isnan(value) else f"{value:{'+' if signed else ''}.{digits}f}"


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
