"""``vastus crossval``: k-fold cross-validation of one or two networks on labelled scans."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vastus.errors import SettingsError
from vastus.priority import lower_priority

if TYPE_CHECKING:
    from vastus.training.transfer import TrainedWeights


def crossval(
    data: Annotated[Path, typer.Option(help="Folder of labelled scans in nnU-Net layout.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the results; the same command continues there.")
    ],
    networks: Annotated[str, typer.Option(help="One or two networks, e.g. unetr,unet.")] = "unetr,unet",
    folds: Annotated[
        int | None, typer.Option(help="Number of folds if splits_final.json is missing (default: 5).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="File with the settings of every run, TOML or JSON.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of each run in minutes.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length of each run in steps.")] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Start from bundles, shipped weights or runs, with commas: one for each network."),
    ] = None,
    device: Annotated[str, typer.Option(help="Device for training: cpu or cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="Number of threads of the network.")] = None,
    workers: Annotated[int, typer.Option(help="Number of processes that prepare windows.")] = 1,
    nice: Annotated[int, typer.Option(help="Lower the priority of the processes by this number.")] = 0,
) -> None:
    """Train on every fold, segment the held-out scans, and write one table and one figure of all scans."""
    from vastus.training.networks import require_torch

    require_torch()
    names = [name.strip() for name in networks.split(",") if name.strip()]
    if not 1 <= len(names) <= 2 or len(set(names)) != len(names):
        raise SettingsError(f"Give one or two different networks, not {networks!r}.")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if nice and not lower_priority(nice):
        typer.echo("warning: this system knows no --nice; the priority is left as it is.", err=True)

    from vastus.training.crossval import CrossvalPlan, cross_validate
    from vastus.training.inputs import read_config
    from vastus.training.loop import TrainOptions
    from vastus.training.memory import keep_freed_memory

    def tell(notice: str) -> None:
        typer.echo(notice, err=True)

    keep_freed_memory()
    given: dict[str, Any] = {"minutes": minutes, "steps": steps}
    start = _read_starts(init, names)
    # A folder of several runs holds no settings of its own: nothing is continued from it here.
    configs = {
        name: read_config(config, output / name, given | {"network": name}, start.get(name), tell) for name in names
    }
    plan = CrossvalPlan(configs, folds, start)
    options = TrainOptions(device=device, workers=workers, threads=threads)
    cross_validate(data, output, plan, options, tell=tell)
    typer.echo(f"Tables and figures: {output}")


def _read_starts(init: str | None, networks: list[str]) -> dict[str, TrainedWeights]:
    """Read the starting weights of each network; the weights themselves name their network."""
    from vastus.training.transfer import read_weights

    starts: dict[str, TrainedWeights] = {}
    for path in (part.strip() for part in (init or "").split(",")):
        if not path:
            continue
        given = read_weights(Path(path))
        if given.network not in networks:
            raise SettingsError(
                f"The weights belong to the network {given.network!r}, the runs train {', '.join(networks)}.",
                path=path,
                remedy=f"Name the network: --networks {given.network}.",
            )
        if given.network in starts:
            raise SettingsError(f"Two weights are given for the network {given.network!r}.", path=path)
        starts[given.network] = given
    return starts
