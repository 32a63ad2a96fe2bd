"""``vastus export``: a training run as a weights bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vastus.errors import SettingsError


def export(
    run: Annotated[Path, typer.Argument(help="Folder of the training run.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the bundle; must not exist yet.")],
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "own",
    trained_on: Annotated[
        str, typer.Option(help="Data on which the weights were trained, for the model card.")
    ] = "Not stated.",
    limits: Annotated[str, typer.Option(help="Weak points of the weights, for the model card.")] = "",
    metrics: Annotated[Path | None, typer.Option(help="JSON file of metrics on held-out data: name -> value.")] = None,
    bf16_checked: Annotated[
        bool, typer.Option("--bf16-checked", help="Allow bfloat16, because it gave the same labels as fp32 (>= 99.5%).")
    ] = False,
    mean_with: Annotated[
        list[Path] | None,
        typer.Option(
            "--mean-with",
            help="Bundle, name of shipped weights, or run from the same start: its weights and the run's are averaged. "
            "Repeat for several; one given twice counts twice.",
        ),
    ] = None,
    licence: Annotated[
        Path | None, typer.Option(help="File with the licence text; default: the licence of Vastus, Apache-2.0.")
    ] = None,
) -> None:
    """Write the averaged weights of a run as a bundle: ONNX, safetensors, settings, model card, SHA-256."""
    from vastus.training.networks import require_torch

    require_torch()
    from vastus.training.export import CardFacts, export_run

    values = _read_metrics(metrics) if metrics else {}
    facts = CardFacts(name, trained_on, limits, values, bf16_checked, tuple(mean_with or ()))
    text = licence.read_text(encoding="utf-8") if licence else apache_licence()
    result = export_run(run, output, facts, licence=text)
    typer.echo(f"Bundle: {output} (ONNX and torch agree within {result.largest_difference:.1e})")


def _read_metrics(path: Path) -> dict[str, float]:
    try:
        return {str(k): float(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SettingsError(f"The metrics must be a JSON table of numbers ({error}).", path=path) from error


def apache_licence() -> str:
    """Return the text of the licence of Vastus, or a link to the licence if the text is not installed."""
    from importlib.metadata import files

    for file in files("vastus") or []:
        if file.name == "LICENSE":
            return file.read_text()
    beside = Path(__file__).parents[3] / "LICENSE"
    return (
        beside.read_text(encoding="utf-8")
        if beside.is_file()
        else "Apache-2.0: https://www.apache.org/licenses/LICENSE-2.0\n"
    )
