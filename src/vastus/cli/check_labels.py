"""``vastus check-labels``: which labels of a folder are not to be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vastus.attempts import Attempts
from vastus.errors import SettingsError

if TYPE_CHECKING:
    from vastus.curation.label_noise import CheckProgress, Predict
    from vastus.volume import Volume

MODEL_FOLDER = "model"


def check_labels(
    folder: Annotated[
        Path, typer.Argument(help="Folder of labelled scans: imagesTr and labelsTr, or images and labels.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the results; default: label-check in FOLDER.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Bundle of the model that checks the labels; default: the shipped one."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="Folder of label maps that a model has made, e.g. in `vastus crossval`."),
    ] = None,
    no_model: Annotated[bool, typer.Option("--no-model", help="Compare the labels with each other only.")] = False,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw a picture of each finding.")] = True,
    threads: Annotated[int | None, typer.Option("--threads", "-t", min=1, help="Number of processor threads.")] = None,
) -> None:
    """Find labels that look wrong: a ranked list with pictures and proposals. No label file is changed."""
    if sum([weights is not None, predictions is not None, no_model]) > 1:
        raise SettingsError("Give one of --weights, --predictions and --no-model.")
    typer.echo("vastus check-labels: loading", err=True)
    from vastus.curation.label_noise import CheckOptions, find_cases
    from vastus.curation.label_noise import check_labels as check
    from vastus.curation.page import PAGE_FILE

    target = output or folder / "label-check"
    attempts = Attempts(_warn)
    cases = find_cases(folder, _warn)
    predict: Predict | None = None
    if predictions is not None:
        predict = _from_folder(predictions)
    elif not no_model:
        predict = _from_weights(weights, target / MODEL_FOLDER, threads)
    findings = check(
        cases, target, CheckOptions(predict, pictures, warn=_warn), _tell, attempts if len(cases) > 1 else None
    )
    for finding in findings[:10]:
        typer.echo(f"{finding.score:5.1f}  {finding.case}  {finding.name}: {finding.kind.value}")
    failures = attempts.failures
    typer.echo(f"{len(findings)} finding(s) in {len(cases) - len(failures)} scans: {target / PAGE_FILE}")
    if failures:
        names = ", ".join(failure.name for failure in failures)
        typer.echo(f"vastus: {len(failures)} of {len(cases)} scans could not be checked: {names}", err=True)
        raise typer.Exit(failures[0].exit_code)


def _warn(text: str) -> None:
    typer.echo(f"vastus: {text}", err=True)


def _tell(progress: CheckProgress) -> None:
    typer.echo(f"{progress.stage} {progress.done}/{progress.total}", err=True)


def _from_folder(folder: Path) -> Predict:
    from vastus.errors import MissingInputError
    from vastus.io.labels import LABEL_SUFFIXES, read_labels

    if not folder.is_dir():
        raise MissingInputError("The folder of predictions does not exist.", path=folder)

    def read(name: str, _scan: Volume) -> Volume | None:
        path = next((p for s in LABEL_SUFFIXES if (p := folder / f"{name}{s}").is_file()), None)
        return None if path is None else read_labels(path)

    return read


def _from_weights(weights: Path | None, kept: Path, threads: int | None) -> Predict:
    """Segment each scan once; the labels are stored beside the result and used again with the same weights."""
    from vastus.inference.bundle import default_bundle, load_bundle
    from vastus.inference.choices import RuntimeOptions
    from vastus.inference.predictor import Predictor
    from vastus.io.atomic import ensure_folder
    from vastus.io.labels import read_labels, write_labels
    from vastus.io.own_structures import refuse_own

    bundle = load_bundle(weights) if weights else default_bundle()
    refuse_own(bundle.info.table, "The check of labels by a network")
    folder = ensure_folder(kept / bundle.digest[:12])
    loaded: list[Predictor] = []

    def predict(name: str, scan: Volume) -> Volume | None:
        path = folder / f"{name}.nii.gz"
        if path.is_file():
            stored = read_labels(path)
            if stored.same_grid(scan):
                return stored
        if not loaded:
            loaded.append(Predictor(bundle, RuntimeOptions(threads=threads)))
        labels = loaded[0].segment(scan).labels
        write_labels(labels, path)
        return labels

    return predict
