"""k-fold cross-validation: train, predict the held-out scans, score them together, one network beside another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vastus.attempts import Attempts, Failure
from vastus.errors import UnreadableScanError
from vastus.io.atomic import ensure_folder
from vastus.io.structure_tables import write_table_beside
from vastus.training.config import TrainConfig
from vastus.training.dataset import TrainingCase, TrainingSet, read_pair, require_sound
from vastus.training.folder import open_folder
from vastus.training.folds import Fold, folds_of

if TYPE_CHECKING:
    from vastus.evaluation.runner import Evaluation
    from vastus.training.loop import TrainOptions
    from vastus.training.transfer import TrainedWeights

REFERENCE_FOLDER = "reference"
PREDICTION_FOLDER = "predictions"
_LABELS = ".nii.gz"


@dataclass(frozen=True, slots=True)
class CrossvalPlan:
    """What is compared.

    Attributes:
        configs: one or two runs' settings by the name under which they appear in table and figure.
        fold_count: folds to make when the data set has no ``splits_final.json``; ``None``: five.
        initial: weights from which the runs of a name start, on every fold; names that are missing start at random.
    """

    configs: dict[str, TrainConfig]
    fold_count: int | None = None
    initial: dict[str, TrainedWeights] = field(default_factory=dict)


def cross_validate(
    data: Path, output: Path, plan: CrossvalPlan, options: TrainOptions, tell: Callable[[str], None] = lambda _: None
) -> Evaluation:
    """Train every network on every fold, predict the held-out cases on their own grid, score all cases.

    Everything finished is kept: the same command continues after a stop, inside the run in which it stopped.

    Args:
        data: nnU-Net layout.
        output: gets ``<network>/fold_<n>/`` (run and bundle), ``predictions/<network>/``, ``reference/``, and the
            tables and figures of ``vastus.evaluation``.
        plan: see there.
        options: how training is carried out.
        tell: told one line a stage.

    Raises:
        UnreadableScanError: held-out cases could not be segmented (all named); the tables of the others are written.
    """
    from vastus.evaluation.files import write_evaluation
    from vastus.evaluation.icc import MissingCells
    from vastus.evaluation.runner import Rater, RunSettings, evaluate
    from vastus.evaluation.table import ScoreSettings

    dataset, notices = require_sound(data, tell)
    for notice in notices:
        tell(notice)
    folds = folds_of(data, tuple(c.name for c in dataset.cases), plan.fold_count)
    ensure_folder(output)
    held_out = [name for fold in folds for name in fold.validation]
    _write_references([c for c in dataset.cases if c.name in held_out], dataset, output / REFERENCE_FOLDER)
    failures: list[Failure] = []
    for name in plan.configs:
        for number, fold in enumerate(folds):
            sizes = f"{len(fold.training)} cases, {len(fold.validation)} held out"
            tell(f"{name}, fold {number + 1} of {len(folds)}: {sizes}")
            failures += _one_fold(dataset, plan, number, fold, places=_Places(output, name, tell), options=options)
    raters = tuple(Rater(name, output / PREDICTION_FOLDER / name) for name in plan.configs)
    # Both sides of a structure as one, as in the paper: labels without sides can be compared too.
    missing = MissingCells.LISTWISE if failures else MissingCells.REFUSE
    settings = RunSettings(ScoreSettings(merge_sides=True), missing=missing)
    result = evaluate(raters, output / REFERENCE_FOLDER, settings, progress=lambda case: tell(f"scoring {case}"))
    write_evaluation(result, output)
    if failures:
        names = ", ".join(dict.fromkeys(failure.name for failure in failures))
        raise UnreadableScanError(
            f"Cases that could not be segmented are not in the numbers: {names}. All others are scored.",
            path=output,
            remedy="Mend or remove them, and give the same command again.",
        )
    return result


@dataclass(frozen=True, slots=True)
class _Places:
    output: Path
    network: str
    tell: Callable[[str], None]

    def run(self, fold: int) -> Path:
        return self.output / self.network / f"fold_{fold}"

    @property
    def predictions(self) -> Path:
        return self.output / PREDICTION_FOLDER / self.network

    @property
    def cache(self) -> Path:
        return self.output / "cache"


def _one_fold(
    dataset: TrainingSet, plan: CrossvalPlan, number: int, fold: Fold, *, places: _Places, options: TrainOptions
) -> tuple[Failure, ...]:
    from vastus.training.loop import train
    from vastus.training.transfer import initial_weights

    missing = [n for n in fold.validation if not (places.predictions / f"{n}{_LABELS}").is_file()]
    if not missing:
        return ()
    run = places.run(number)
    given = plan.initial.get(places.network)
    known = () if given is None else given.classes
    folder = open_folder(
        dataset.folder, plan.configs[places.network], fold=number, cache=places.cache, known=known, tell=places.tell
    )
    weights = None if given is None else initial_weights(given, folder.settings_of_run)
    train(folder.settings_of_run, folder.training, folder.validation, run, initial_weights=weights, options=options)
    cases = {c.name: c for c in dataset.cases}
    wanted = [cases[n] for n in missing]
    return predict_cases(run, wanted, places.predictions, threads=options.threads, tell=places.tell)


def predict_cases(
    run: Path,
    cases: list[TrainingCase],
    folder: Path,
    *,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Failure, ...]:
    """Export a run next to it and segment cases with it as any user would; label maps on the cases' own grids.

    Returns:
        The cases that could not be segmented, each told at once; the others are done.
    """
    from vastus.inference.bundle import load_bundle
    from vastus.inference.choices import RuntimeOptions
    from vastus.inference.predictor import Predictor
    from vastus.io.labels import write_labels
    from vastus.io.scans import read_scan
    from vastus.training.export import CardFacts, export_run

    bundle = run / "bundle"
    if not bundle.is_dir():
        facts = CardFacts(run.parent.name, "One fold of a cross-validation.")
        export_run(run, bundle, facts, licence="Not for distribution: one fold of a cross-validation.\n")
    predictor = Predictor(load_bundle(bundle), RuntimeOptions(threads=threads))
    ensure_folder(folder)
    write_table_beside(predictor.bundle.info.table, folder)
    attempts = Attempts(tell)
    for case in cases:
        with attempts.of(case.name):
            result = predictor.segment(read_scan(case.image).volume)
            write_labels(result.labels, folder / f"{case.name}{_LABELS}", table=result.table)
    return tuple(attempts.failures)


def _write_references(cases: list[TrainingCase], dataset: TrainingSet, folder: Path) -> None:
    """Label maps of the data set with the values of the anatomy table."""
    from vastus.io.labels import write_labels

    ensure_folder(folder)
    write_table_beside(dataset.table, folder)
    lookup = dataset.anatomy_lookup()
    for case in cases:
        path = folder / f"{case.name}{_LABELS}"
        if not path.is_file():
            _, labels = read_pair(case)
            write_labels(labels.with_array(lookup[labels.array]), path, table=dataset.table)
