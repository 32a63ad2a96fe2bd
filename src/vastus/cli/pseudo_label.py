"""``vastus pseudo-label``: make a training set of unlabelled scans, to adapt a network to them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vastus.errors import MissingInputError, SettingsError

if TYPE_CHECKING:
    from vastus.training.pseudo_labels import PseudoCase


def pseudo_label(
    scans: Annotated[list[Path], typer.Argument(help="CTs: NIfTI, NRRD, MetaImage, or folders of DICOM.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the data set; what is there is kept.")],
    weights: Annotated[Path | None, typer.Option("--weights", help="Bundle; default: the shipped one.")] = None,
    exclude: Annotated[
        Path | None, typer.Option("--exclude", help="Folder of masks of disease, named after the scans.")
    ] = None,
    doubt: Annotated[
        str, typer.Option(help="Structures or groups, with commas, that it is known to confuse: left unlabelled.")
    ] = "",
    agreement: Annotated[float, typer.Option(help="Share of the six views that must agree.")] = 0.8,
    threads: Annotated[int | None, typer.Option("--threads", "-t", min=1, help="Processor threads.")] = None,
) -> None:
    """Label unlabelled scans where the network agrees with itself, for `vastus train --data`."""
    from vastus.inference.bundle import default_bundle, load_bundle
    from vastus.inference.choices import RuntimeOptions
    from vastus.inference.predictor import Predictor
    from vastus.io.scans import subject_name
    from vastus.training.pseudo_labels import Trust, doubted_classes, write_pseudo_set

    names = [subject_name(path) for path in scans]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"Scans share a name: {', '.join(twice)}.", remedy="Rename the files.")
    if exclude is not None and not exclude.is_dir():
        raise MissingInputError("There is no such folder of masks.", path=exclude)
    trust = Trust(agreement, doubted_classes([name for name in doubt.split(",") if name]))
    predictor = Predictor(load_bundle(weights) if weights else default_bundle(), RuntimeOptions(threads=threads))
    cases = [partial(_read, name, path, exclude) for name, path in zip(names, scans, strict=True)]
    write_pseudo_set(
        cases, lambda scan: predictor.segment(scan).labels, output, trust=trust, tell=partial(typer.echo, err=True)
    )
    typer.echo(f"{len(scans)} scan(s) in {output}")


def _read(name: str, path: Path, masks: Path | None) -> PseudoCase:
    from vastus.io.labels import LABEL_SUFFIXES
    from vastus.io.scans import read_scan
    from vastus.training.dataset import read_values
    from vastus.training.pseudo_labels import PseudoCase

    mask = next((p for s in LABEL_SUFFIXES if (p := masks / f"{name}{s}").is_file()), None) if masks else None
    return PseudoCase(name, read_scan(path).volume, read_values(mask) if mask else None)
