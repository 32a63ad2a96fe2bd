"""``vastus evaluate``: predicted label maps against reference label maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vastus.errors import SettingsError
from vastus.evaluation.policy import EmptyPolicy

if TYPE_CHECKING:
    from vastus.evaluation.runner import Evaluation


def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Predicted label map, or a folder of them.")],
    reference: Annotated[Path, typer.Argument(help="Reference label map, or a folder with the same names.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the tables and figures.")],
    resample: Annotated[
        bool, typer.Option("--resample", help="Resample predictions to the grid of the reference (nearest neighbour).")
    ] = False,
    tolerance_mm: Annotated[float, typer.Option("--tolerance-mm", help="Tolerance of the surface Dice, in mm.")] = 2.0,
    second: Annotated[
        Path | None, typer.Option("--second", help="Label maps of a second model or reader: file or folder.")
    ] = None,
    names: Annotated[
        tuple[str, str] | None, typer.Option("--names", help="Names of the first and the second model or reader.")
    ] = None,
    reader: Annotated[
        list[str] | None,
        typer.Option("--reader", help="Another model or reader, NAME=PATH: a file or folder (repeatable)."),
    ] = None,
    listwise: Annotated[
        bool, typer.Option("--listwise", help="Leave out, for all readers, every case that one of them did not label.")
    ] = False,
    empty: Annotated[
        EmptyPolicy, typer.Option("--empty", help="How missed, invented and absent structures count.")
    ] = EmptyPolicy.PENALISE,
    structures: Annotated[
        Path | None,
        typer.Option("--structures", help="Table of structures of your own (CSV); default: the one beside the labels."),
    ] = None,
    merge_sides: Annotated[
        bool, typer.Option("--merge-sides", help="Score left and right as one structure, as in the paper.")
    ] = False,
) -> None:
    """Score label maps: overlap, surface distances in mm, volumes; agreement and comparison over cases."""
    typer.echo("vastus evaluate: loading", err=True)
    from vastus.cli.segment import stop_politely
    from vastus.evaluation.drawing import LIBRARIES, draw_into
    from vastus.garbage import search_rarely
    from vastus.second_process import second_process

    stop_politely()  # the second process ends with this one
    search_rarely()
    # Before anything heavy is loaded here: the second process, which draws the figures, loads its libraries meanwhile.
    with second_process(*LIBRARIES) as beside:
        from vastus.evaluation.files import write_evaluation
        from vastus.evaluation.icc import MissingCells
        from vastus.evaluation.runner import DEFAULT_NAMES, Rater, RunSettings
        from vastus.evaluation.runner import evaluate as run
        from vastus.evaluation.table import ScoreSettings
        from vastus.io.structure_tables import read_structure_table

        called = names or DEFAULT_NAMES
        raters = [Rater(called[0], prediction)] + ([Rater(called[1], second)] if second else [])
        raters += [Rater(*_named(text)) for text in reader or []]
        missing = MissingCells.LISTWISE if listwise else MissingCells.REFUSE
        own = None if structures is None else read_structure_table(structures)
        result = run(
            tuple(raters),
            reference,
            RunSettings(ScoreSettings(tolerance_mm, empty, merge_sides), resample, missing, own),
            progress=lambda case: typer.echo(f"scoring {case}", err=True),
            warn=lambda text: typer.echo(f"vastus: {text}", err=True),
            on_scores=lambda scores, table: draw_into(output, scores, table, beside),
        )
        write_evaluation(result, output, figures=False)
        beside.finish()
    for model in result.models:
        typer.echo(_headline(result, model))
        if result.drawn_slices:
            typer.echo(_sections_line(result, model))
    if len(result.models) > 1:
        typer.echo(_readers_line(result))
    typer.echo(f"Tables and figures: {output}")
    if result.failures:
        names_of = ", ".join(failure.name for failure in result.failures)
        typer.echo(f"vastus: {len(result.failures)} case(s) failed and are not in the numbers: {names_of}", err=True)
        raise typer.Exit(result.failures[0].exit_code)


def _named(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not (sign and name.strip() and path):
        raise SettingsError(f"--reader takes NAME=PATH, not {text!r}.", remedy="For example --reader anna=labels_anna.")
    return name.strip(), Path(path)


def _readers_line(result: Evaluation) -> str:
    from vastus.evaluation.icc import IccForm
    from vastus.evaluation.readers import READERS, column_of
    from vastus.evaluation.summary import NAME
    from vastus.io.tables import FOREGROUND

    rows: Any = result.readers
    row = rows[rows[NAME] == FOREGROUND].iloc[0]
    column = column_of(IccForm.TWO_WAY_RANDOM_SINGLE)
    return (
        f"{row[READERS]}: ICC(2,1) {row[column]:.3f} ({row[f'{column}_low']:.3f} to {row[f'{column}_high']:.3f}) of the"
        f" foreground volume over {row['n']} case(s)"
    )


def _sections_line(result: Evaluation, model: str) -> str:
    from vastus.evaluation import metrics as m
    from vastus.evaluation.drawn import LEVEL
    from vastus.io.tables import ALL, STRUCTURE

    slices = f"{sum(map(len, result.drawn_slices.values()))} drawn slices of {len(result.drawn_slices)} case(s)"
    rows: Any = result.section_summary
    if not len(rows):
        return f"{model}: {slices}: no section in them."
    row = rows[(rows[m.MODEL] == model) & (rows[STRUCTURE] == ALL) & (rows[LEVEL] == ALL)].iloc[0]
    return (
        f"{model}: {slices}, unlabelled voxels left out, distances in the plane: {row['sections']} sections, "
        f"mean Dice {row['dice_mean']:.3f}, surface Dice {row['surface_dice_mean']:.3f}, "
        f"ASSD {row['assd_mm_mean']:.2f} mm; {row['missed']} missed, {row['invented']} invented"
    )


def _headline(result: Evaluation, model: str) -> str:
    from vastus.evaluation import metrics as m
    from vastus.evaluation.summary import METRIC, NAME, OVER, Over
    from vastus.io.tables import FOREGROUND

    rows: Any = result.summary
    rows = rows[(rows[m.MODEL] == model) & (rows[NAME] == FOREGROUND) & (rows[OVER] == Over.CASES.value)]
    of = rows.set_index(METRIC)
    shown = ", ".join(f"{x.title} {of.loc[x.column, 'mean']:.{x.digits}f}" for x in (m.DICE, m.ASSD, m.HD95))
    first = of.iloc[0]
    return (
        f"{model}: {shown} (foreground, {result.case_count} case(s); "
        f"{first['missed']} missed, {first['invented']} invented, {first['absent']} absent)"
    )
