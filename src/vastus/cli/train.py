"""``vastus train``: train a network on labelled scans, on synthetic subjects, or on both."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vastus.errors import SettingsError

if TYPE_CHECKING:
    from vastus.training.config import TrainConfig
    from vastus.training.sources import PatchSource
    from vastus.training.transfer import TrainedWeights


def train(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; the same command continues it.")],
    data: Annotated[Path | None, typer.Option(help="Labelled scans in nnU-Net layout.")] = None,
    synthetic: Annotated[Path | None, typer.Option(help="Pool of synthetic subjects.")] = None,
    held_out: Annotated[Path | None, typer.Option(help="Pool to validate on (default: the fold, or the pool).")] = None,
    fold: Annotated[
        str, typer.Option(help="Fold of splits_final.json that is held out; all: train on every scan.")
    ] = "0",
    mix: Annotated[float, typer.Option(help="Share of synthetic windows when both sources are given.")] = 0.5,
    config: Annotated[Path | None, typer.Option(help="Settings of the run, TOML or JSON.")] = None,
    network: Annotated[str | None, typer.Option(help="Network of the registry.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the run in minutes, over all resumes.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length of the run in steps.")] = None,
    init: Annotated[Path | None, typer.Option(help="Start from a bundle, a shipped one's name, or a run.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="Threads of the network.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that prepare windows.")] = 1,
    nice: Annotated[int, typer.Option(help="Lower the priority of the run by this much.")] = 0,
) -> None:
    """Train a network, resumable at any moment."""
    from vastus.training.networks import require_torch

    require_torch()
    if data is None and synthetic is None:
        raise SettingsError("Nothing to train on.", remedy="Give --data, --synthetic or both.")
    # Threads that spin while they wait make a step several times slower as soon as anything else runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if nice:
        os.nice(nice)

    from vastus.training.loop import TrainOptions
    from vastus.training.loop import train as run_training
    from vastus.training.memory import keep_freed_memory
    from vastus.training.transfer import initial_weights, read_weights

    keep_freed_memory()
    given = None if init is None else read_weights(init)
    settings = read_config(config, output, {"network": network, "minutes": minutes, "steps": steps}, given)
    source, validation, settings = build_sources(
        settings, Inputs(data, synthetic, held_out, read_fold(fold), mix, output / "cache")
    )
    weights = None if given is None else initial_weights(given, settings)
    run_training(
        settings,
        source,
        validation,
        output,
        initial_weights=weights,
        options=TrainOptions(device=device, workers=workers, threads=threads),
    )


def read_config(
    file: Path | None, run: Path, overrides: dict[str, Any], start: TrainedWeights | None = None
) -> TrainConfig:
    """The settings: the options, then the file (or the run that is continued), the starting weights, the defaults."""
    from vastus.training.config import CONFIG_FILE, TrainConfig, read_values
    from vastus.training.transfer import differing_preprocessing, inherit_settings

    if file is None and (run / CONFIG_FILE).is_file():
        file = run / CONFIG_FILE
    values = {} if file is None else read_values(file)
    values |= {name: value for name, value in overrides.items() if value is not None}
    if start is None:
        return TrainConfig.from_dict(values)
    settings = TrainConfig.from_dict(inherit_settings(values, start))
    if notice := differing_preprocessing(start, settings):
        typer.echo(notice, err=True)
    return settings


def read_fold(text: str) -> int | None:
    """A fold's number, or ``None`` for nnU-Net's ``all``."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise SettingsError(f"A fold is a number or 'all', not {text!r}.")
    return int(text)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where the windows come from: a data set with its fold, a pool, a pool to validate on, or a mix."""

    data: Path | None
    synthetic: Path | None
    held_out: Path | None
    fold: int | None
    mix: float
    cache: Path


def build_sources(settings: TrainConfig, inputs: Inputs) -> tuple[PatchSource, PatchSource, TrainConfig]:
    """Training windows, validation windows, and the settings with the classes of the data."""
    from vastus.training.sources import MixedSource, SyntheticSource

    sources: list[PatchSource] = []
    validation: PatchSource | None = None
    if inputs.data is not None:
        from vastus.training.folder import open_folder

        # A pool holds all of the anatomy: beside one, a data set with fewer structures can't set the classes.
        folder = open_folder(
            inputs.data, settings, fold=inputs.fold, cache=inputs.cache, keep_classes=inputs.synthetic is not None
        )
        for notice in folder.notices:
            typer.echo(notice, err=True)
        settings = folder.settings_of_run
        sources.append(folder.training)
        validation = folder.validation
    if inputs.synthetic is not None:
        sources.append(SyntheticSource(inputs.synthetic, settings.settings, settings.seed))
    pool = inputs.held_out or (inputs.synthetic if validation is None else None)
    if pool is not None:
        # Another seed: looks, crops and noise that training never draws.
        validation = SyntheticSource(pool, settings.settings, settings.seed + 1_000_003, mirror=False)
    assert validation is not None
    if len(sources) == 1:
        return sources[0], validation, settings
    return MixedSource(tuple(sources), (1.0 - inputs.mix, inputs.mix), settings.seed), validation, settings
