"""``vastus train``: train a network on labelled scans, on synthetic subjects, or on both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vastus.errors import SettingsError
from vastus.priority import lower_priority


def train(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the run; the same command continues the run.")
    ],
    data: Annotated[Path | None, typer.Option(help="Folder of labelled scans in nnU-Net layout.")] = None,
    synthetic: Annotated[Path | None, typer.Option(help="Folder of the pool of synthetic bodies.")] = None,
    held_out: Annotated[Path | None, typer.Option(help="Pool for validation; default: the fold, or the pool.")] = None,
    fold: Annotated[str, typer.Option(help="Fold of splits_final.json to hold out; all: train on every scan.")] = "0",
    mix: Annotated[
        float, typer.Option(help="Share of synthetic windows if both --data and --synthetic are given.")
    ] = 0.5,
    config: Annotated[Path | None, typer.Option(help="File with the settings of the run, TOML or JSON.")] = None,
    network: Annotated[
        str | None, typer.Option(help="Name of the network, e.g. resunet, unetr, unetr_small, unet.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the run in minutes, all starts together.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length of the run in steps.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from a bundle, the name of shipped weights, or a run.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device for training: cpu or cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="Number of threads of the network.")] = None,
    workers: Annotated[int, typer.Option(help="Number of processes that prepare windows.")] = 1,
    nice: Annotated[int, typer.Option(help="Lower the priority of the run by this number.")] = 0,
) -> None:
    """Train a network. The run can be stopped and continued at any moment."""
    typer.echo("vastus train: reading settings and weights", err=True)
    from vastus.training.networks import require_torch

    require_torch()
    if data is None and synthetic is None:
        raise SettingsError("Nothing to train on.", remedy="Give --data, --synthetic or both.")
    # Threads that spin while they wait make a step several times slower as soon as anything else runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if nice and not lower_priority(nice):
        typer.echo("warning: this system knows no --nice; the priority is left as it is.", err=True)

    from vastus.training.inputs import Inputs, build_sources, read_config, read_fold
    from vastus.training.loop import TrainOptions
    from vastus.training.loop import train as run_training
    from vastus.training.memory import keep_freed_memory
    from vastus.training.transfer import initial_weights, read_weights, said_of_head

    keep_freed_memory()
    given = None if init is None else read_weights(init)

    def tell(notice: str) -> None:
        typer.echo(notice, err=True)

    settings = read_config(config, output, {"network": network, "minutes": minutes, "steps": steps}, given, tell)
    inputs = Inputs(data, synthetic, held_out, read_fold(fold), mix, output / "cache")
    source, validation, settings = build_sources(settings, inputs, tell, given)
    weights = None if given is None else initial_weights(given, settings)
    if given is not None and (said := said_of_head(given, settings)):
        tell(said)
    tell("training")
    run_training(
        settings,
        source,
        validation,
        output,
        initial_weights=weights,
        options=TrainOptions(device=device, workers=workers, threads=threads),
    )
