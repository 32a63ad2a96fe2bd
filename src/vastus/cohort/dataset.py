"""Scans and clinical rows brought together: who is in the study, with what status and which normalised volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.cohort import columns
from vastus.cohort.clinical_table import UNKNOWN_SEX, ClinicalTable
from vastus.cohort.problems import EmptyCohortError, Problem, ProblemKind
from vastus.cohort.selection import FlowStep, Rule, Selection, select
from vastus.cohort.volumes_table import Volumes, total_muscles_mm3, with_groups
from vastus.errors import ImplausibleValueError
from vastus.io.edited_tables import likeness
from vastus.sarcopenia import ClinicalFacts, Criteria, MassMethod, Sex, diagnose

if TYPE_CHECKING:
    import pandas as pd

STATUS = "sarcopenia"
"""1 with, 0 without, empty where the values do not settle it."""
STAGE = "stage"
REASON = "stage_reason"
BMI = "bmi_kg_m2"
MM3_IN_CM3 = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class StudyData:
    """What is analysed.

    Attributes:
        people: one row a selected person (index: subject), first scan; clinical columns, BMI, stage, status.
        index_cm3_m2: same index; volume / height squared of each of ``features_of(table)``, both sides together.
        scans: one row a usable scan of the selected people, all dates; index scan; has ``subject``.
        sides_cm3: same index as ``scans``; columns (structure, side).
        flow: from everybody to those whose status is known.
        left_out: id -> reason, for everybody not analysed.
        not_applied: rules whose column does not exist.
        problems: of all stages.
        table: of the structures.
    """

    people: pd.DataFrame
    index_cm3_m2: pd.DataFrame
    scans: pd.DataFrame
    sides_cm3: pd.DataFrame
    flow: tuple[FlowStep, ...]
    left_out: dict[str, str]
    not_applied: tuple[str, ...]
    problems: tuple[Problem, ...]
    table: StructureTable = BUILT_IN


def build_dataset(volumes: Volumes, clinical: ClinicalTable, criteria: Criteria, rules: Sequence[Rule]) -> StudyData:
    """Match, select, diagnose and normalise.

    Args:
        volumes: volumes of every scan.
        clinical: the clinical table.
        criteria: criteria of the diagnosis.
        rules: inclusion and exclusion rules, in order.

    Returns:
        The people of the study, their scans and volumes, and who was left out.

    Raises:
        EmptyCohortError: nobody is left.
    """
    problems = [*volumes.problems, *clinical.problems]
    scans, steps, left_out = _match(volumes, clinical, problems)
    first = scans.sort_values([columns.SCAN_DATE, "row"], na_position="first").groupby(columns.SUBJECT, sort=False)
    baseline = first.head(1).sort_values("row")
    people = baseline.reset_index().set_index(columns.SUBJECT)
    selection = _select(people, volumes, rules)
    steps += selection.steps
    left_out.update(selection.removed)
    people = people.loc[list(selection.kept)].copy()
    people = _with_status(people, criteria, problems)
    known = people[STATUS].notna()
    steps.append(FlowStep(f"Status by {criteria.name} known", len(people), int((~known).sum()), int(known.sum())))
    for subject, stage_reason in people.loc[~known, REASON].items():
        left_out[str(subject)] = f"status not determined ({stage_reason})"
    for subject in people.index[known & people[columns.HEIGHT].isna()]:
        left_out[str(subject)] = "height not known: no volume / height²"
    if people.empty:
        raise EmptyCohortError("Nobody is left to analyse.", problems, remedy=_summary(steps))
    muscles = total_muscles_mm3(volumes).loc[people[columns.SCAN]].set_axis(people.index)
    height_m2 = (people[columns.HEIGHT] / 100) ** 2
    index = with_groups(muscles, volumes.table).div(MM3_IN_CM3).div(height_m2, axis=0)
    kept_scans = scans[scans[columns.SUBJECT].isin(people.index)]
    sides = volumes.sides_mm3.loc[kept_scans.index] / MM3_IN_CM3
    not_applied = selection.not_applied
    return StudyData(
        people, index, kept_scans, sides, tuple(steps), left_out, not_applied, tuple(problems), volumes.table
    )


def _match(
    volumes: Volumes, clinical: ClinicalTable, problems: list[Problem]
) -> tuple[pd.DataFrame, list[FlowStep], dict[str, str]]:
    """Match clinical rows with a sex to readable scans (index: scan); also give the first flow steps and who is out."""
    frame = clinical.frame.astype({columns.SCAN: str, columns.SUBJECT: str}).set_index(columns.SCAN)
    left_out: dict[str, str] = {}
    for scan in volumes.sides_mm3.index.difference(frame.index):
        problems.append(Problem(ProblemKind.NO_CLINICAL_ROW, "left out", str(scan)))
        left_out[str(scan)] = "no (usable) clinical row"
    _note_names_alike(set(volumes.sides_mm3.index), set(frame.index), problems)
    has_scan = frame.index.isin(volumes.sides_mm3.index)
    for subject, row in zip(frame.loc[~has_scan, columns.SUBJECT], frame.loc[~has_scan, "row"], strict=True):
        problems.append(Problem(ProblemKind.NO_SCAN, "left out", subject, int(row)))
    everybody = dict.fromkeys(frame[columns.SUBJECT])
    left_out |= {s: "rows of the clinical table contradict each other" for s in clinical.subjects if s not in everybody}
    scans = frame[has_scan]
    with_scan = dict.fromkeys(scans[columns.SUBJECT])
    left_out |= {s: "no (usable) scan" for s in everybody if s not in with_scan}
    scans = scans[scans[columns.SEX].notna()]
    sexed = dict.fromkeys(scans[columns.SUBJECT])
    left_out |= {s: "sex not known" for s in with_scan if s not in sexed}
    if not len(sexed):
        raise _nobody_matched(volumes, frame, list(with_scan), problems)
    steps = [
        FlowStep(
            "Usable clinical row", len(clinical.subjects), len(clinical.subjects) - len(everybody), len(everybody)
        ),
        FlowStep("Usable scan", len(everybody), len(everybody) - len(with_scan), len(with_scan)),
        FlowStep("Sex known", len(with_scan), len(with_scan) - len(sexed), len(sexed)),
    ]
    return scans, steps, left_out


def _note_names_alike(scans: set[str], rows: set[str], problems: list[Problem]) -> None:
    """Note scans without a row whose name looks like that of a row without a scan: ``001`` and ``1``, case, spaces."""
    rows_by_likeness = {likeness(name): name for name in sorted(rows - scans)}
    for scan in sorted(scans - rows):
        if (row := rows_by_likeness.get(likeness(scan))) is not None:
            what = f"{scan!r} among the scans, {row!r} in the clinical table; not taken as one"
            problems.append(Problem(ProblemKind.NAMES_ALIKE, what, scan, column=columns.SCAN))


def _nobody_matched(
    volumes: Volumes, frame: pd.DataFrame, with_scan: Sequence[str], problems: list[Problem]
) -> EmptyCohortError:
    """Say why nobody has scan, row and sex: the words for the sex, the volumes, or the names."""
    if len(with_scan):
        unknown_sexes = [p.what for p in problems if p.what.startswith(UNKNOWN_SEX)]
        words = ", ".join(dict.fromkeys(what.split(": ", 1)[1].split("; ")[0] for what in unknown_sexes))
        return EmptyCohortError(
            f"The sex of nobody is known: the column sex holds {words[:200] or 'nothing'}.",
            problems,
            remedy="Write F or M, or say what the words mean, for example --sex-codes 1=M,2=F.",
        )
    if not len(volumes.sides_mm3):
        return EmptyCohortError(
            "No scan has a volume that can be used.",
            problems,
            remedy="volume_mm3 must hold positive numbers in mm3, structure and side the words of volumes.csv.",
        )
    alike = [p.what for p in problems if p.kind is ProblemKind.NAMES_ALIKE]
    scan, row = str(volumes.sides_mm3.index[0]), str(frame.index[0]) if len(frame) else "none"
    example = alike[0] if alike else f"{scan!r} is among the scans, {row!r} in the clinical table"
    return EmptyCohortError(
        f"No person has both a usable scan and a clinical row: {example}.",
        problems,
        remedy="The names in the clinical table must be those of the scans (column scan, else subject).",
    )


def _select(people: pd.DataFrame, volumes: Volumes, rules: Sequence[Rule]) -> Selection:
    truncated = volumes.truncated.loc[people[columns.SCAN]].set_axis(people.index)
    empty = volumes.sides_mm3.loc[people[columns.SCAN]].set_axis(people.index).isna()
    return select(people, truncated, empty & ~truncated, rules, listed=volumes.listed)


def _with_status(people: pd.DataFrame, criteria: Criteria, problems: list[Problem]) -> pd.DataFrame:
    stages, reasons, statuses = [], [], []
    for subject, row in people.iterrows():
        facts = facts_of_row(row, str(subject), problems)
        diagnosis = diagnose(facts, criteria)
        stages.append(diagnosis.stage.value)
        reasons.append(diagnosis.reason)
        statuses.append(None if diagnosis.has_sarcopenia is None else float(diagnosis.has_sarcopenia))
    people = people.assign(**{STAGE: stages, REASON: reasons, STATUS: statuses})
    people[STATUS] = people[STATUS].astype(float)
    people[BMI] = people[columns.WEIGHT] / (people[columns.HEIGHT] / 100) ** 2
    computed = people[columns.ASM] / (people[columns.HEIGHT] / 100) ** 2
    people[columns.SMI] = people[columns.SMI].fillna(computed)
    return people


def facts_of_row(row: pd.Series, subject: str, problems: list[Problem]) -> ClinicalFacts:
    """Read the values of one clinical row; if SMI and ASM contradict each other, neither is used, and this is noted.

    Args:
        row: the clinical row, with standard columns.
        subject: name of the person.
        problems: gets a contradiction of SMI and ASM.

    Returns:
        The facts for the diagnosis.
    """
    import pandas as pd

    values = {name: None if pd.isna(row[name]) else float(row[name]) for name in columns.NUMBERS}
    method = row[columns.MASS_METHOD]
    words = {
        "sex": Sex(row[columns.SEX]),
        "mass_method": None if pd.isna(method) else MassMethod(method),
    }
    try:
        return ClinicalFacts(**words, **values)  # type: ignore[arg-type]
    except ImplausibleValueError as error:
        problems.append(Problem(ProblemKind.CONTRADICTION, f"{error} Neither is used.", subject, int(row["row"])))
        return ClinicalFacts(**words, **{**values, columns.SMI: None, columns.ASM: None})  # type: ignore[arg-type]


def _summary(steps: Sequence[FlowStep]) -> str:
    return "Left out: " + "; ".join(f"{s.name}: {s.removed} of {s.before}" for s in steps if s.removed) + "."
