"""What a run trains on and with: its settings and its windows, from what the user gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vastus.errors import SettingsError
from vastus.io.own_structures import refuse_own
from vastus.training.config import CONFIG_FILE, TrainConfig, read_values
from vastus.training.folder import open_folder
from vastus.training.sources import MixedSource, PatchSource, SyntheticSource
from vastus.training.transfer import TrainedWeights, differing_preprocessing, inherit_settings

Tell = Callable[[str], None]


def read_config(
    file: Path | None, run: Path, overrides: dict[str, Any], start: TrainedWeights | None, tell: Tell
) -> TrainConfig:
    """Settle the settings: the options, then the file (or the continued run), the starting weights, the defaults.

    Args:
        file: TOML or JSON; None: that of the run, if it is continued.
        run: folder of the run.
        overrides: values of the options by name; None: not given.
        start: weights to start from; what they were made for stands where neither file nor option says otherwise.
        tell: called where the settings differ from those of the starting weights.

    Raises:
        SettingsError: unknown names, or values that don't work.
    """
    if file is None and (run / CONFIG_FILE).is_file():
        file = run / CONFIG_FILE
    values = {} if file is None else read_values(file)
    values |= {name: value for name, value in overrides.items() if value is not None}
    if start is None:
        return TrainConfig.from_dict(values)
    settings = TrainConfig.from_dict(inherit_settings(values, start))
    if notice := differing_preprocessing(start, settings):
        tell(notice)
    return settings


def read_fold(text: str) -> int | None:
    """Read a fold's number; ``None`` for nnU-Net's ``all``."""
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


def build_sources(
    settings: TrainConfig, inputs: Inputs, tell: Tell, start: TrainedWeights | None = None
) -> tuple[PatchSource, PatchSource, TrainConfig]:
    """Open the data.

    Args:
        settings: of the run.
        inputs: where the windows come from; a data set or a pool at least.
        tell: called for each scan that is checked and prepared, and for what was noticed about the data.
        start: weights to start from.

    Returns:
        Training windows, validation windows, and the settings with the classes of the data.
    """
    sources: list[PatchSource] = []
    validation: PatchSource | None = None
    if inputs.data is not None:
        # A pool holds all of the anatomy: beside one, a data set with fewer structures can't set the classes.
        known = None if inputs.synthetic is not None else () if start is None else start.classes
        folder = open_folder(inputs.data, settings, fold=inputs.fold, cache=inputs.cache, known=known, tell=tell)
        for notice in folder.notices:
            tell(notice)
        settings = folder.settings_of_run
        sources.append(folder.training)
        validation = folder.validation
    if inputs.synthetic is not None or inputs.held_out is not None:
        refuse_own(settings.table, "A pool of synthetic bodies")
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
