"""``vastus pseudo-label``: make a training set of unlabelled scans, to adapt a network to them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vastus.attempts import Attempts
from vastus.errors import MissingInputError, SettingsError

if TYPE_CHECKING:
    from vastus.training.pseudo_labels import PseudoCase


def pseudo_label(
    scans: Annotated[list[Path], typer.Argument(help="CT scans: NIfTI, NRRD, MetaImage, or folders of DICOM.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the data set; existing cases are kept.")],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Bundle of weights; default: the shipped one.")
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option("--exclude", help="Folder of masks of disease, with the names of the scans.")
    ] = None,
    doubt: Annotated[
        str, typer.Option(help="Structures or groups, with commas, that the network confuses: they stay unlabelled.")
    ] = "",
    outlines: Annotated[
        Path | None,
        typer.Option("--outlines", help="Folder of label maps of an earlier round, with the names of the scans."),
    ] = None,
    rename: Annotated[
        str, typer.Option(help="Structures or groups that get new names inside the outlines of --outlines.")
    ] = "",
    agreement: Annotated[float, typer.Option(help="Share of the six segmentations that must agree.")] = 0.8,
    threads: Annotated[int | None, typer.Option("--threads", "-t", min=1, help="Number of processor threads.")] = None,
) -> None:
    """Label unlabelled scans where six segmentations of the network agree, for `vastus train --data`."""
    typer.echo("vastus pseudo-label: loading", err=True)
    from vastus.inference.bundle import default_bundle, load_bundle
    from vastus.inference.choices import RuntimeOptions
    from vastus.inference.predictor import Predictor
    from vastus.io.scans import subject_name
    from vastus.training.pseudo_labels import Trust, class_ids_of, write_pseudo_set

    names = [subject_name(path) for path in scans]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"Scans share a name: {', '.join(twice)}.", remedy="Rename the files.")
    if exclude is not None and not exclude.is_dir():
        raise MissingInputError("The folder of masks does not exist.", path=exclude)
    if (outlines is None) == bool(rename):
        raise SettingsError("--outlines and --rename belong together.", remedy="Give both, or neither.")
    earlier = [_earlier(name, outlines) for name in names]
    bundle = load_bundle(weights) if weights else default_bundle()
    table = bundle.info.table
    doubted, renamed = (class_ids_of([n for n in listed.split(",") if n], table) for listed in (doubt, rename))
    trust = Trust(agreement, doubted, renamed, table)
    predictor = Predictor(bundle, RuntimeOptions(threads=threads))
    cases = {given[0]: partial(_read, *given, exclude) for given in zip(names, scans, earlier, strict=True)}
    attempts = Attempts(lambda text: typer.echo(f"vastus: {text}", err=True))
    write_pseudo_set(
        cases,
        lambda scan: predictor.segment(scan).labels,
        output,
        trust=trust,
        tell=partial(typer.echo, err=True),
        attempts=attempts if len(scans) > 1 else None,
    )
    failures = attempts.failures
    typer.echo(f"{len(scans) - len(failures)} of {len(scans)} scan(s) in {output}")
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _earlier(name: str, folder: Path | None) -> Path | None:
    """Find the label map of an earlier round; if a folder is given, every scan needs one."""
    from vastus.io.labels import file_of_case

    found = file_of_case(name, folder) if folder else None
    if folder is not None and found is None:
        raise MissingInputError(
            f"There is no earlier label map of {name}.", path=folder, remedy="Give the labelsTr of an earlier round."
        )
    return found


def _read(name: str, path: Path, earlier: Path | None, masks: Path | None) -> PseudoCase:
    from vastus.io.labels import file_of_case, read_values
    from vastus.io.scans import read_scan
    from vastus.training.pseudo_labels import PseudoCase

    mask, outlines = (read_values(p) if p else None for p in (file_of_case(name, masks) if masks else None, earlier))
    scan = read_scan(path)
    for warning in scan.source.warnings:
        typer.echo(f"vastus: {name}: {warning}", err=True)
    return PseudoCase(name, scan.volume, mask, outlines)
