"""``vastus cohort``: many scans and one clinical table to a Results section."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_MOST_PAIRS = 5


def cohort(
    scans: Annotated[
        Path | None, typer.Argument(help="Folder of results of `vastus segment`, or one table like volumes.csv.")
    ] = None,
    clinical: Annotated[
        Path | None,
        typer.Argument(help="CSV or .xlsx with subject, sex and other columns (age, height_cm, smi_kg_m2 ...)."),
    ] = None,
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the results.")] = None,
    criteria: Annotated[
        str,
        typer.Option(
            help="awgs_2019, awgs_2025, ewgsop2, fnih, kim_2024 (mass alone, as in the paper), or a TOML file."
        ),
    ] = "awgs_2019",
    compare_criteria: Annotated[str | None, typer.Option(help="Second criteria: show who changes group.")] = None,
    rules: Annotated[Path | None, typer.Option(help="TOML file with inclusion and exclusion rules.")] = None,
    sex_codes: Annotated[
        str | None, typer.Option(help="Meaning of the words for the sex in the table, e.g. 1=M,2=F.")
    ] = None,
    structures: Annotated[
        Path | None,
        typer.Option(
            help="Table of structures of your own (structure_table.csv); default: the one beside the volumes."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap, or of the example.")] = 0,
    example: Annotated[
        Path | None, typer.Option(help="Write a simulated cohort with a planted effect into this folder, and stop.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run record as JSON instead of text.")] = False,
) -> None:
    """Relate muscle volumes to sarcopenia: selection, Table 1, correlations, heatmaps, follow-up, report."""
    if example is not None:
        _write_example(example, seed)
        return
    if scans is None or clinical is None or output is None:
        raise typer.BadParameter("give SCANS, CLINICAL and -o OUT, or --example DIR to make example data")
    typer.echo("vastus cohort: loading", err=True)
    from vastus.cli.segment import stop_politely
    from vastus.cohort.drawing import LIBRARIES
    from vastus.garbage import search_rarely
    from vastus.second_process import second_process

    stop_politely()  # the second process ends with this one
    search_rarely()
    # Before anything heavy is loaded here: the second process, which draws the figures, loads its libraries meanwhile.
    with second_process(*LIBRARIES) as beside:
        from vastus.cohort.runner import CohortRun, parse_sex_codes, run_cohort

        codes = parse_sex_codes(sex_codes) if sex_codes else {}
        run = CohortRun(scans, clinical, output, criteria, rules, seed, codes, compare_criteria, structures)
        record = run_cohort(run, lambda step: typer.echo(f"vastus cohort: {step}", err=True), beside)
    if as_json:
        import json

        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        _tell(record, output)


def _write_example(folder: Path, seed: int) -> None:
    from vastus.cohort.example import EXAMPLE_NOTE, write_example

    volumes, clinical = write_example(folder, seed)
    typer.echo(EXAMPLE_NOTE)
    typer.echo(f"Try: vastus cohort {volumes} {clinical} -o {folder / 'results'}")


def _tell(record: dict[str, Any], output: Path) -> None:
    for step in record["flow"]:
        if step["removed"]:
            typer.echo(f"{step['step']}: {step['removed']} left out")
    for cell in record["counts"]:
        sex = {"F": "women", "M": "men"}[cell["sex"]]
        typer.echo(f"{cell['n']:>5} {sex} {'with' if cell['sarcopenia'] else 'without'} sarcopenia")
    if record["compared_with"]:
        typer.echo(f"{record['changed_group']:>5} change group by {record['compared_with']}")
    for name in ("Women", "Men"):
        rows = [r for r in record["correlation_sarcopenia"] if r["stratum"] == name and ":" not in r["feature"]]
        found = sum(r["p_holm"] is not None and r["p_holm"] < 0.05 for r in rows)
        typer.echo(f"{name}: {found} of {len(rows)} muscles correlate with sarcopenia after Holm's correction")
    if record["problems"]:
        kinds = ", ".join(f"{kind}: {n}" for kind, n in record["problems"].items())
        typer.echo(f"Problems in the input ({kinds}); see {output / 'tables' / 'problems.csv'}", err=True)
    for pair in record["names_alike"][:_MOST_PAIRS]:
        typer.echo(f"Not matched, although the names look alike: {pair}", err=True)
    if len(record["names_alike"]) > _MOST_PAIRS:
        typer.echo(f"... and {len(record['names_alike']) - _MOST_PAIRS} more such pairs", err=True)
    if record["simulated"]:
        typer.echo("The cohort is simulated: its effect was planted.")
    typer.echo(f"Report: {output / record['page']}")
