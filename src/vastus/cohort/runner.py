"""The whole analysis of a cohort, from two paths to an output folder."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vastus.cohort.clinical_table import read_clinical_table
from vastus.cohort.document import DOCUMENT_FILE, write_document
from vastus.cohort.drawing import LIBRARIES, FigureFolder
from vastus.cohort.example import EXAMPLE_NOTE, is_example
from vastus.cohort.page import render_page
from vastus.cohort.problems import EmptyCohortError, ProblemKind, count_by_kind, problems_table
from vastus.cohort.results import CohortResults, analyse
from vastus.cohort.selection import load_rules
from vastus.cohort.volumes_table import read_volumes
from vastus.cohort.workbook import write_cohort_workbook
from vastus.errors import SettingsError
from vastus.io import tables
from vastus.io.atomic import atomic_path, ensure_folder, write_text
from vastus.io.structure_tables import read_structure_table, write_table_beside
from vastus.io.tables import WORKBOOK_FILE
from vastus.light_imports import load_statistics
from vastus.sarcopenia import criteria_names, load_criteria
from vastus.second_process import SecondProcess, second_process
from vastus.version import __version__

TABLES_FOLDER = "tables"
FIGURES_FOLDER = "figures"
PROBLEMS_FILE = "problems.csv"
_LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels", "scikit-learn", "matplotlib")


@dataclass(frozen=True, slots=True)
class CohortRun:
    """What to analyse.

    Attributes:
        scans: folder of ``segment`` outputs, or one table of volumes.
        clinical: clinical CSV.
        output: folder to write.
        criteria: name (``awgs_2019``; also without the underscore) or path of a TOML file.
        rules: TOML file of inclusion and exclusion rules; the paper's by default.
        seed: of the bootstrap.
        sex_codes: what the clinical table's own words for the sex mean: word -> F or M.
        compare_criteria: name or path of a second criteria to set beside the first.
        structures: table file of the structures; None: the one beside the volumes, else the built-in ones.
    """

    scans: Path
    clinical: Path
    output: Path
    criteria: str = "awgs_2019"
    rules: Path | None = None
    seed: int = 0
    sex_codes: Mapping[str, str] = field(default_factory=dict)
    compare_criteria: str | None = None
    structures: Path | None = None


def run_cohort(
    run: CohortRun, tell: Callable[[str], None] = lambda _: None, beside: SecondProcess | None = None
) -> dict[str, Any]:
    """Analyse and write tables (CSV and parquet), figures (SVG, PDF, PNG), the page, workbook and record.

    ``tables.docx`` is written too where python-docx is installed.

    Args:
        run: what to analyse.
        tell: called with a line before each step that takes time.
        beside: draws the figures; None: one is started here.

    Returns:
        The content of ``run.json``: settings, versions, counts, problems by kind, main results, files.
    """
    criteria = load_criteria(criteria_name(run.criteria))
    compare = None if run.compare_criteria is None else load_criteria(criteria_name(run.compare_criteria))
    if compare is not None and compare.key == criteria.key:
        raise SettingsError(
            f"--compare-criteria names the same criteria as --criteria ({criteria.key}).",
            remedy="Give another one, or leave it out.",
        )
    with second_process(*LIBRARIES) if beside is None else nullcontext(beside) as drawing:
        figures = FigureFolder(run.output / FIGURES_FOLDER, drawing)
        load_statistics()
        tell("reading the tables")
        clinical = read_clinical_table(run.clinical, run.sex_codes)
        volumes = read_volumes(run.scans, None if run.structures is None else read_structure_table(run.structures))
        rules = load_rules(run.rules, volumes.table)
        tell("selecting, diagnosing, relating volumes to sarcopenia")
        try:
            results = analyse(volumes, clinical, criteria, rules, seed=run.seed, compare=compare, draw=figures.add)
        except EmptyCohortError as error:
            raise _with_problems_written(error, run.output) from error
        output = ensure_folder(run.output)
        tell("writing tables")
        _write_tables(results, ensure_folder(output / TABLES_FOLDER))
        note = EXAMPLE_NOTE if is_example(results.dataset.people.index) else ""
        write_table_beside(volumes.table, output)
        tell("writing the workbook and the document")
        write_cohort_workbook(output / WORKBOOK_FILE, results)
        document = write_document(output / DOCUMENT_FILE, results, note)
        tell("drawing figures")
        texts = figures.svg_texts()
    tell("writing the page")
    write_text(output / tables.PAGE_FILE, render_page(results, texts, software_versions(), note))
    record = _record(run, results) | {"workbook": WORKBOOK_FILE, "document": DOCUMENT_FILE if document else None}
    write_text(output / tables.RECORD_FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return record


def _with_problems_written(error: EmptyCohortError, output: Path) -> EmptyCohortError:
    """Write ``problems.csv``, which is needed most if nobody is left, and name it in the message."""
    path = ensure_folder(output / TABLES_FOLDER) / PROBLEMS_FILE
    with atomic_path(path) as temporary:
        problems_table(error.problems).to_csv(temporary, index=False)
    remedy = f"{error.remedy} " if error.remedy else ""
    return EmptyCohortError(error.problem, error.problems, remedy=f"{remedy}All problems: {path}")


def parse_sex_codes(text: str) -> dict[str, str]:
    """Read ``1=M,2=F``.

    Raises:
        SettingsError: malformed, or a sex other than F and M.
    """
    codes = {}
    for part in text.split(","):
        word, sign, sex = (piece.strip() for piece in part.partition("="))
        if not (word and sign) or sex.upper() not in ("F", "M"):
            raise SettingsError(f"--sex-codes can't be read: {part.strip()!r}.", remedy="Write for example 1=M,2=F.")
        codes[word] = sex.upper()
    return codes


def criteria_name(given: str) -> str:
    """Find the name of known criteria, whatever the underscores, hyphens and case; else return the text (a path)."""
    plain = {name.replace("_", ""): name for name in criteria_names()}
    return plain.get(given.casefold().replace("_", "").replace("-", ""), given)


def software_versions() -> dict[str, str]:
    """Return the versions of Vastus, Python and the libraries that computed the results."""
    from importlib.metadata import version

    return {"vastus": __version__, "Python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def _write_tables(results: CohortResults, folder: Path) -> None:
    for stem, table in results.tables():
        with atomic_path(folder / f"{stem}.csv") as temporary:
            table.to_csv(temporary, index=False)
        with atomic_path(folder / f"{stem}.parquet") as temporary:
            table.to_parquet(temporary, index=False)


def _record(run: CohortRun, results: CohortResults) -> dict[str, Any]:
    import math

    main = results.status_correlations
    main = main[main["r"].notna()]
    columns = ["stratum", "feature", "n_without", "n_with", "r", "ci_low", "ci_high", "p", "p_holm", "p_fdr"]
    rows = [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in main[columns].to_dict("records")
    ]
    two = results.two_criteria
    return {
        "command": "cohort",
        "criteria": results.criteria.key,
        "criteria_note": results.criteria.note,
        "compared_with": None if two is None else two.second.key,
        "two_criteria": [] if two is None else two.counts.to_dict("records"),
        "changed_group": None if two is None else len(two.changed),
        "rules": str(run.rules) if run.rules else "default",
        "seed": run.seed,
        "versions": software_versions(),
        "simulated": is_example(results.dataset.people.index),
        "counts": [
            {"sex": str(r.sex), "sarcopenia": bool(r.sarcopenia), "n": int(r.n)} for r in results.counts.itertuples()
        ],
        "flow": [
            {"step": s.name, "before": s.before, "removed": s.removed, "after": s.after} for s in results.dataset.flow
        ],
        "rules_not_applied": list(results.dataset.not_applied),
        "left_out": len(results.dataset.left_out),
        "problems": count_by_kind(results.dataset.problems),
        "names_alike": [p.what for p in results.dataset.problems if p.kind is ProblemKind.NAMES_ALIKE],
        "correlation_sarcopenia": rows,
        "page": tables.PAGE_FILE,
    }
