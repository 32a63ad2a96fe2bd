"""Files and folders -> scores: matches cases by name, reads one case at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vastus.errors import GeometryError, MissingInputError, SettingsError
from vastus.evaluation import metrics as m
from vastus.evaluation.comparison import compare_models
from vastus.evaluation.drawn import SECTION_COLUMNS, score_drawn, summarise_sections
from vastus.evaluation.pair import score_pair
from vastus.evaluation.summary import REFERENCE_NAME, agreement_of, summarise
from vastus.evaluation.table import SCORE_COLUMNS, ScoreSettings, is_partly_labelled
from vastus.io.nnunet_layout import case_of
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
    """

    scores: ScoreSettings = field(default_factory=ScoreSettings)
    resample: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Everything that was found; each table is tidy.

    Attributes:
        scores: one row a case, model, structure and side (``SCORED_COLUMNS``).
        summary, agreement, comparison: see ``summary`` and ``comparison``; the last is empty for one model.
        settings: with which it was made.
        sections: cases of which only some slices are labelled: one row a case, model, slice, structure and side
            (``drawn.SECTION_COLUMNS``); empty without such cases.
        section_summary: the same by model and structure.
        drawn_slices: numbers of the drawn slices of such cases, by case.
    """

    scores: pd.DataFrame
    summary: pd.DataFrame
    agreement: pd.DataFrame
    comparison: pd.DataFrame
    settings: RunSettings
    sections: pd.DataFrame
    section_summary: pd.DataFrame
    drawn_slices: Mapping[str, tuple[int, ...]]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models or readers, in the order given."""
        return tuple(str(name) for name in self.scores[m.MODEL].unique())

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
) -> Evaluation:
    """Score one or two models or readers against a reference, and against each other.

    Args:
        raters: one or two, of different names.
        reference: a label map, or a folder of them; decides which cases are scored.
        settings: see there.
        progress: told one line a case.
        warn: told what a user should know of a file.

    Raises:
        MissingInputError: nothing to read, or a reference without its prediction (all named).
        GeometryError: grids differ (both files named) and ``resample`` is off.
        SettingsError: names that are not distinct or are taken.
    """
    import pandas as pd

    names = [rater.name for rater in raters]
    if not 1 <= len(names) <= 2 or len(set(names)) != len(names) or REFERENCE_NAME in names:
        raise SettingsError(
            f"One or two models of different names are compared, none called '{REFERENCE_NAME}'; got {names}.",
            remedy="Give them with --names A B.",
        )
    tables, sections = [], [pd.DataFrame(columns=[SUBJECT, m.MODEL, *SECTION_COLUMNS])]
    slices: dict[str, tuple[int, ...]] = {}
    for case, truth, predictions in matched_cases(raters, reference):
        progress(case)
        for rater, path in zip(raters, predictions, strict=True):
            found = _score_files(path, truth, settings, warn)
            tables.append(_headed(found.scores, case, rater.name))
            if len(found.sections):
                sections.append(_headed(found.sections, case, rater.name))
            if found.slices is not None:
                slices[case] = found.slices
    scores = pd.concat(tables, ignore_index=True)
    of_sections = pd.concat(sections[1:], ignore_index=True) if len(sections) > 1 else sections[0]
    return Evaluation(
        scores,
        summarise(scores),
        agreement_of(scores),
        compare_models(scores),
        settings,
        of_sections,
        summarise_sections(of_sections),
        slices,
    )


def _headed(table: pd.DataFrame, case: str, model: str) -> pd.DataFrame:
    table.insert(0, m.MODEL, model)
    table.insert(0, SUBJECT, case)
    return table


def matched_cases(raters: tuple[Rater, ...], reference: Path) -> Iterator[tuple[str, Path, tuple[Path, ...]]]:
    """Case name, reference file and the prediction file of every rater, sorted by name.

    Two files match whatever they are called; in folders the name without suffix decides, or the name of the folder
    that holds a ``labels.nii.gz``. Predictions without a reference are not scored.

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
    for rater, files in zip(raters, found, strict=True):
        missing = sorted(truths.keys() - files.keys())
        if missing:
            raise MissingInputError(
                f"No prediction for {len(missing)} of {len(truths)} references: {', '.join(missing[:10])}"
                f"{' ...' if len(missing) > 10 else ''}.",
                path=rater.path,
                remedy="A failed case must not vanish from a mean: add it, or remove its reference.",
            )
    for case in sorted(truths):
        yield case, truths[case], tuple(files[case] for files in found)


def _named_as(truths: Mapping[str, Path], files: dict[str, Path]) -> dict[str, Path]:
    """Predictions made from ``imagesTr/CASE_0000.nii.gz`` (nnU-Net's name of a scan) belong to the reference CASE."""
    renamed = {case_of(name): path for name, path in files.items() if case_of(name) != name}
    return {name: path for name, path in renamed.items() if name in truths} | files


def label_files(folder: Path) -> dict[str, Path]:
    """Label maps of a folder by case name.

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
    """Name of the case that a label map belongs to: its own without suffixes, or its folder's for ``labels.nii.gz``."""
    if path.name == LABELS_FILE and path.parent.name:
        return path.parent.name
    name = path.name
    for suffix in (".gz", ".nii", ".nrrd", ".mha"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Tables of one pair; ``slices`` is None unless one of the maps is labelled in part."""

    scores: pd.DataFrame
    sections: pd.DataFrame
    slices: tuple[int, ...] | None


def _score_files(prediction: Path, reference: Path, settings: RunSettings, warn: Callable[[str], None]) -> _Found:
    import pandas as pd

    from vastus.io.labels import read_label_map

    said, known = read_label_map(prediction, partly=True), read_label_map(reference, partly=True)
    for path, found in ((prediction, said), (reference, known)):
        for warning in found.warnings:
            warn(f"{path}: {warning}")
    predicted, truth = _on_one_grid(to_ras(said.volume), to_ras(known.volume), (prediction, reference), settings)
    if is_partly_labelled(predicted) or is_partly_labelled(truth):
        drawn = score_drawn(predicted, truth, settings.scores)
        return _Found(drawn.scores, drawn.sections, drawn.slices)
    return _Found(score_pair(predicted, truth, settings.scores), pd.DataFrame(), None)


def _on_one_grid(
    predicted: Volume, truth: Volume, paths: tuple[Path, Path], settings: RunSettings
) -> tuple[Volume, Volume]:
    """Both on one grid. Where one is cropped, as 3D Slicer saves it, the larger grid is taken for both."""
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
