"""Files and folders -> scores: matches cases by name, reads one case at a time."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.attempts import Attempts, Failure
from vastus.errors import GeometryError, MissingInputError, SettingsError
from vastus.evaluation import metrics as m
from vastus.evaluation.comparison import compare_models
from vastus.evaluation.drawn import SECTION_COLUMNS, score_drawn, summarise_sections
from vastus.evaluation.icc import MissingCells
from vastus.evaluation.readers import readers_of
from vastus.evaluation.summary import REFERENCE_NAME, agreement_of, summarise
from vastus.evaluation.table import SCORE_COLUMNS, ScoreRow, ScoreSettings, is_partly_labelled
from vastus.io.nnunet_layout import case_of
from vastus.io.prefetch import Prefetch
from vastus.io.tables import LABELS_FILE, SUBJECT
from vastus.volume import Volume, place_on, resample_like, to_ras

if TYPE_CHECKING:
    import pandas as pd

SCORED_COLUMNS = (SUBJECT, m.MODEL, *SCORE_COLUMNS)
DEFAULT_NAMES = ("prediction", "second")


@dataclass(frozen=True, slots=True)
class Rater:
    """A model or a reader: what it is called, and its label map or folder of label maps."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Settings of a run.

    Attributes:
        scores: see ``ScoreSettings``.
        resample: bring predictions of another grid onto the reference's (nearest neighbour) rather than refuse them.
        missing: what happens to a case that a model or reader did not label: refused, or left out for all of them.
        structures: what the label maps hold; None: as a table beside the reference or the predictions says.
    """

    scores: ScoreSettings = field(default_factory=ScoreSettings)
    resample: bool = False
    missing: MissingCells = MissingCells.REFUSE
    structures: StructureTable | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Everything that was found; each table is tidy.

    Attributes:
        scores: one row a case, model, structure and side (``SCORED_COLUMNS``).
        summary, agreement, comparison: see ``summary`` and ``comparison``; the last is empty unless two are compared.
        readers: agreement of all readers at once; see ``readers``.
        settings: with which it was made.
        sections: cases of which only some slices are labelled: one row a case, model, slice, structure and side
            (``drawn.SECTION_COLUMNS``); empty without such cases.
        section_summary: the same by model and structure.
        drawn_slices: numbers of the drawn slices of such cases, by case.
        failures: cases whose files could not be scored; they are in no table.
        left_out: cases that a model or reader did not label; they are in no table.
    """

    scores: pd.DataFrame
    summary: pd.DataFrame
    agreement: pd.DataFrame
    readers: pd.DataFrame
    comparison: pd.DataFrame
    settings: RunSettings
    sections: pd.DataFrame
    section_summary: pd.DataFrame
    drawn_slices: Mapping[str, tuple[int, ...]]
    failures: tuple[Failure, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models or readers, in the order given."""
        return tuple(str(name) for name in self.scores[m.MODEL].unique())

    @property
    def table(self) -> StructureTable:
        """The table of the structures that were scored."""
        return self.settings.scores.table

    @property
    def case_count(self) -> int:
        """Number of cases."""
        return int(self.scores[SUBJECT].nunique())


def evaluate(
    raters: tuple[Rater, ...],
    reference: Path,
    settings: RunSettings,
    progress: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
    on_scores: Callable[[list[ScoreRow], StructureTable], None] = lambda *_: None,
) -> Evaluation:
    """Score models or readers against a reference, and against each other.

    In folders a case that can't be scored is told and left out of every table, for all raters; the others go on.

    Args:
        raters: one or more, of different names.
        reference: a label map, or a folder of them; decides which cases are scored.
        settings: see there.
        progress: told one line a case.
        warn: told what a user should know of a file.
        on_scores: given the scores of all cases (rows of ``SCORED_COLUMNS``) before they are summed up, and the table
            of their structures.

    Raises:
        MissingInputError: nothing to read, or a reference without its prediction (all named).
        VastusError: of the one case, or of the first one where none can be scored, e.g.
        GeometryError: grids differ (both files named) and ``resample`` is off.
        SettingsError: names that are not distinct or are taken.
    """
    names = [rater.name for rater in raters]
    if not names or len(set(names)) != len(names) or REFERENCE_NAME in names:
        raise SettingsError(
            f"Models or readers have different names, none of them '{REFERENCE_NAME}'; got {names}.",
            remedy="Give them with --names A B.",
        )
    settings = _with_table(settings, (reference, *(rater.path for rater in raters)))
    table = settings.scores.table
    found = _score_cases(raters, reference, settings, progress, warn)
    on_scores(found.rows, table)
    # Only now: whoever draws the figures is at work meanwhile.
    import pandas as pd

    scores = pd.DataFrame(found.rows, columns=list(SCORED_COLUMNS))
    no_sections = pd.DataFrame(columns=[SUBJECT, m.MODEL, *SECTION_COLUMNS])
    of_sections = pd.concat(found.sections, ignore_index=True) if found.sections else no_sections
    return Evaluation(
        scores,
        summarise(scores, table),
        agreement_of(scores, table),
        readers_of(scores, table),
        compare_models(scores, table),
        settings,
        of_sections,
        summarise_sections(of_sections, table),
        found.slices,
        found.failures,
        found.left_out,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """Scores of all cases.

    Attributes:
        rows: of ``SCORED_COLUMNS``.
        sections: a table a case and rater with drawn slices.
        slices: drawn slices by case.
        failures: cases that could not be scored.
        left_out: cases that a rater did not label.
    """

    rows: list[ScoreRow]
    sections: list[pd.DataFrame]
    slices: Mapping[str, tuple[int, ...]]
    failures: tuple[Failure, ...]
    left_out: tuple[str, ...]


def _score_cases(
    raters: tuple[Rater, ...],
    reference: Path,
    settings: RunSettings,
    progress: Callable[[str], None],
    warn: Callable[[str], None],
) -> _Scored:
    """Score every case for every rater; arguments and errors of ``evaluate``."""
    rows: list[ScoreRow] = []
    sections: list[pd.DataFrame] = []
    slices: dict[str, tuple[int, ...]] = {}
    left_out: list[str] = []
    attempts, alone = Attempts(warn), not reference.is_dir()
    for case, truth, predictions in matched_cases(raters, reference, settings.missing, left_out):
        progress(case)
        with nullcontext() if alone else attempts.of(case):
            # All raters before any is kept: a case counts for every one of them or for none.
            each = [_score_files(path, truth, settings, warn) for path in predictions]
            for rater, found in zip(raters, each, strict=True):
                rows += [{SUBJECT: case, m.MODEL: rater.name} | row for row in found.scores]
                if found.sections is not None:
                    sections.append(_headed(found.sections, case, rater.name))
                if found.slices is not None:
                    slices[case] = found.slices
    for case in left_out:
        warn(f"{case}: left out of everything, as not every model or reader has labelled it")
    if not rows:
        first = attempts.failures[0].problem if attempts.failures else "every case lacks a prediction"
        raise MissingInputError(f"No case can be scored. {first}", path=reference)
    return _Scored(rows, sections, slices, tuple(attempts.failures), tuple(left_out))


def _with_table(settings: RunSettings, paths: tuple[Path, ...]) -> RunSettings:
    """The settings with the table of structures: the given one, or the first beside a path that is not built in."""
    from vastus.io.structure_tables import table_beside

    found = settings.structures
    for path in paths if found is None else ():
        files = list(label_files(path).values())[:1] if path.is_dir() else [path]
        beside = table_beside(files[0])
        if not beside.is_built_in:
            found = beside
            break
    return replace(settings, scores=replace(settings.scores, table=found or BUILT_IN))


def _headed(table: pd.DataFrame, case: str, model: str) -> pd.DataFrame:
    table.insert(0, m.MODEL, model)
    table.insert(0, SUBJECT, case)
    return table


def matched_cases(
    raters: tuple[Rater, ...],
    reference: Path,
    missing: MissingCells = MissingCells.REFUSE,
    left_out: list[str] | None = None,
) -> Iterator[tuple[str, Path, tuple[Path, ...]]]:
    """List the name, the reference file and the prediction file of every rater for each case, sorted by name.

    Two files match whatever they are called; in folders the name without suffix decides, or the name of the folder
    that holds a ``labels.nii.gz``. Predictions without a reference are not scored. Where ``missing`` says so, the
    references without a prediction of every rater are added to ``left_out`` instead of being refused.

    Args:
        raters: models or readers, with their files or folders.
        reference: reference file or folder.
        missing: what happens to cases that a rater lacks.
        left_out: gets the names of the cases that are left out.

    Raises:
        MissingInputError: as ``evaluate``.
    """
    for path in (reference, *(rater.path for rater in raters)):
        if path.is_dir() != reference.is_dir():
            raise MissingInputError("Give either files only or folders only.", path=path)
    if not reference.is_dir():
        yield case_name(reference), reference, tuple(rater.path for rater in raters)
        return
    truths = label_files(reference)
    found = [_named_as(truths, label_files(rater.path)) for rater in raters]
    lacking: set[str] = set()
    for rater, files in zip(raters, found, strict=True):
        without = sorted(truths.keys() - files.keys())
        if without and missing is MissingCells.REFUSE:
            raise MissingInputError(
                f"No prediction for {len(without)} of {len(truths)} references: {', '.join(without[:10])}"
                f"{' ...' if len(without) > 10 else ''}.",
                path=rater.path,
                remedy="A failed case must not vanish from a mean: add it, or remove its reference."
                " With --listwise such cases are left out for all.",
            )
        lacking.update(without)
    if left_out is not None:
        left_out += sorted(lacking)
    for case in sorted(truths.keys() - lacking):
        yield case, truths[case], tuple(files[case] for files in found)


def _named_as(truths: Mapping[str, Path], files: dict[str, Path]) -> dict[str, Path]:
    """Match predictions made from ``imagesTr/CASE_0000.nii.gz`` (name of a scan in nnU-Net) to the reference CASE."""
    renamed = {case_of(name): path for name, path in files.items() if case_of(name) != name}
    return {name: path for name, path in renamed.items() if name in truths} | files


def label_files(folder: Path) -> dict[str, Path]:
    """Find the label maps of a folder by case name.

    Raises:
        MissingInputError: there is none.
        SettingsError: two files have the same case name.
    """
    from vastus.io.labels import LABEL_SUFFIXES

    found: dict[str, Path] = {}
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    files = [p for p in entries if p.is_file() and p.name.lower().endswith(LABEL_SUFFIXES)]
    files += [p / LABELS_FILE for p in entries if (p / LABELS_FILE).is_file()]
    for path in files:
        case = case_name(path)
        if case in found:
            raise SettingsError(f"Two label maps are called '{case}': {found[case].name} and {path.name}.", path=folder)
        found[case] = path
    if not found:
        raise MissingInputError(
            "The folder holds no label maps.",
            path=folder,
            remedy=f"Looked for *{', *'.join(LABEL_SUFFIXES)} and */{LABELS_FILE}.",
        )
    return found


def case_name(path: Path) -> str:
    """Return the case name of a label map: its file name without suffixes, or its folder's for ``labels.nii.gz``."""
    if path.name == LABELS_FILE and path.parent.name:
        return unicodedata.normalize("NFC", path.parent.name)
    # macOS, and zips made there, decompose accents and Korean letters.
    name = unicodedata.normalize("NFC", path.name)
    for suffix in (".gz", ".nii", ".nrrd", ".mha"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Scores of one pair; ``sections`` and ``slices`` are None unless one of the maps is labelled in part."""

    scores: list[ScoreRow]
    sections: pd.DataFrame | None
    slices: tuple[int, ...] | None


def _score_files(prediction: Path, reference: Path, settings: RunSettings, warn: Callable[[str], None]) -> _Found:
    from vastus.io.labels import read_label_map

    wanted = settings.scores.table
    # Both files are read at once, and while the libraries are loaded.
    reading = [
        Prefetch(partial(read_label_map, path, partly=True, table=None, wanted=wanted))
        for path in (prediction, reference)
    ]
    from vastus.evaluation.pair import score_rows

    found_prediction, found_reference = (map_of.result() for map_of in reading)
    for path, found in ((prediction, found_prediction), (reference, found_reference)):
        for warning in found.warnings:
            warn(f"{path}: {warning}")
    predicted, truth = _on_one_grid(
        to_ras(found_prediction.volume), to_ras(found_reference.volume), (prediction, reference), settings
    )
    if is_partly_labelled(predicted) or is_partly_labelled(truth):
        drawn = score_drawn(predicted, truth, settings.scores)
        scores: Any = drawn.scores
        return _Found(scores.to_dict("records"), drawn.sections if len(drawn.sections) else None, drawn.slices)
    return _Found(score_rows(predicted, truth, settings.scores), None, None)


def _on_one_grid(
    predicted: Volume, truth: Volume, paths: tuple[Path, Path], settings: RunSettings
) -> tuple[Volume, Volume]:
    """Bring both maps to one grid. If one is cropped, as 3D Slicer saves it, the larger grid is used for both."""
    placed = place_on(predicted, truth)
    if placed is not None and _contains(truth, predicted):
        return placed, truth
    grown = place_on(truth, predicted)
    if grown is not None:
        return predicted, grown
    if placed is not None:
        return placed, truth
    if not settings.resample:
        raise GeometryError(
            f"The grid of the prediction is not that of the reference in {paths[1]}: {truth.difference_to(predicted)}.",
            path=paths[0],
            remedy="With --resample the prediction is brought onto the reference's grid.",
        )
    return resample_like(predicted, truth, order=0), truth


def _contains(larger: Volume, smaller: Volume) -> bool:
    return larger.array.size >= smaller.array.size
