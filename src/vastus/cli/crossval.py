"""``vastus crossval``: k-fold cross-validation of one or two networks on labelled scans."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vastus.errors import SettingsError


def crossval(
    data: Annotated[Path, typer.Option(help="Labelled scans in nnU-Net layout.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder; the same command continues it.")],
    networks: Annotated[str, typer.Option(help="One or two networks, e.g. unetr,unet.")] = "unetr,unet",
    folds: Annotated[int | None, typer.Option(help="Folds, if splits_final.json is missing (default 5).")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings of every run, TOML or JSON.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of each run in minutes.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length of each run in steps.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="Threads of the network.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that prepare windows.")] = 1,
) -> None:
    """Train on every fold, segment the held-out scans, and write one table and figure over all of them."""
    from vastus.training.networks import require_torch

    require_torch()
    names = [name.strip() for name in networks.split(",") if name.strip()]
    if not 1 <= len(names) <= 2 or len(set(names)) != len(names):
        raise SettingsError(f"Give one or two different networks, not {networks!r}.")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from vastus.training.config import TrainConfig, load_config
    from vastus.training.crossval import CrossvalPlan, cross_validate
    from vastus.training.loop import TrainOptions
    from vastus.training.memory import keep_freed_memory

    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    given = {"minutes": minutes, "steps": steps}
    configs = {}
    for name in names:
        if config is not None:
            configs[name] = load_config(config, network=name, **given)
        else:
            configs[name] = TrainConfig.from_dict({k: v for k, v in given.items() if v is not None} | {"network": name})
    options = TrainOptions(device=device, workers=workers)
    cross_validate(data, output, CrossvalPlan(configs, folds), options, tell=lambda text: typer.echo(text, err=True))
    typer.echo(f"Tables and figures: {output}")
