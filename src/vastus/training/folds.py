"""Folds of a data set: those of ``splits_final.json``, or the same ones every time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vastus.errors import OutputError, SettingsError, TrainingError
from vastus.io.nnunet_layout import SPLITS_FILE, write_splits

DEFAULT_FOLDS = 5
_SEED = 12345


@dataclass(frozen=True, slots=True)
class Fold:
    """Names of the cases to train on, and of those held out."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def make_folds(names: tuple[str, ...], count: int = DEFAULT_FOLDS) -> tuple[Fold, ...]:
    """Shuffle the sorted names with a fixed seed and deal them out: the paper's 72 scans in 6 folds are 60/12.

    Raises:
        TrainingError: fewer than two cases: nothing can be held out.
    """
    if len(names) < 2:
        raise TrainingError("At least two cases are needed: one to train on, one to hold out.")
    if count < 2:
        raise SettingsError(f"At least two folds are needed, got {count}.")
    order = np.random.default_rng(_SEED).permutation(len(names))
    shuffled = [sorted(names)[i] for i in order]
    folds = []
    for fold in range(min(count, len(names))):
        held_out = shuffled[fold :: min(count, len(names))]
        folds.append(Fold(tuple(sorted(set(names) - set(held_out))), tuple(sorted(held_out))))
    return tuple(folds)


def all_of(names: tuple[str, ...]) -> Fold:
    """nnU-Net's fold "all": train on every case, and watch the loss on the same ones."""
    return Fold(names, names)


def folds_of(folder: Path, names: tuple[str, ...], count: int | None = None) -> tuple[Fold, ...]:
    """The folds in ``splits_final.json``; made, and written there if the folder allows it, when it is missing.

    Raises:
        SettingsError: the file is malformed, names cases that are not there, mixes training and validation, or holds
            another number of folds than asked for.
    """
    path = folder / SPLITS_FILE
    if not path.is_file():
        folds = make_folds(names, count or DEFAULT_FOLDS)
        try:
            write_splits(folder, [(fold.training, fold.validation) for fold in folds])
        except OutputError:
            # A read-only data set gets the same folds every time without the file.
            return folds
        return folds
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        folds = tuple(Fold(tuple(row["train"]), tuple(row["val"])) for row in rows)
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError("The list of folds is malformed.", path=path) from error
    for number, fold in enumerate(folds):
        unknown = sorted({*fold.training, *fold.validation} - set(names))
        if unknown:
            raise SettingsError(f"Fold {number} names cases that are not there: {', '.join(unknown)}.", path=path)
        both = sorted(set(fold.training) & set(fold.validation))
        if both or not fold.training or not fold.validation:
            raise SettingsError(f"Fold {number} is empty on one side, or has cases on both: {both}.", path=path)
    if count is not None and count != len(folds):
        raise SettingsError(
            f"The file holds {len(folds)} folds, not {count}.", path=path, remedy="Remove it, or --folds."
        )
    return folds
