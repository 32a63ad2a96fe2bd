"""The checkpoint of a run: one file, replaced as a whole, that holds everything the next step depends on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from vastus.errors import OutputError, TrainingError
from vastus.io.atomic import atomic_path

CHECKPOINT_FILE = "checkpoint.pt"
_FORMAT = 1


@dataclass(slots=True)
class TrainState:
    """Everything that the next step depends on.

    Attributes:
        step: steps done; the data position follows from it (see ``loader.Place``).
        seconds: training time so far, over all resumes.
        network, average, optimiser: their ``state_dict``s; ``average`` is the moving average of the weights.
        random_state: of torch.
        classes_seen: voxels of each class in the logged batches.
        best_dice: best validation so far.
    """

    step: int
    seconds: float
    network: dict[str, Any]
    average: dict[str, Any]
    optimiser: dict[str, Any]
    random_state: torch.Tensor
    classes_seen: list[int]
    best_dice: float


def save_state(state: TrainState, run: Path) -> None:
    """Write the checkpoint of a run atomically.

    Raises:
        TrainingError: the disk is full or can't be written; the checkpoint before stays as it is.
    """
    values = {f.name: getattr(state, f.name) for f in fields(state)} | {"format": _FORMAT}
    path = run / CHECKPOINT_FILE
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            torch.save(values, file)
            file.flush()
    except (OSError, OutputError, RuntimeError) as error:
        # torch reports a failed write as RuntimeError, whatever the cause.
        raise TrainingError(
            f"The checkpoint can't be written ({error}); the one before is untouched.",
            path=path,
            remedy="Free space on the disk and run the same command again: it resumes.",
        ) from error


def load_state(run: Path) -> TrainState | None:
    """Read the checkpoint of a run, or ``None`` if it has none yet. Nothing in the file is executed."""
    path = run / CHECKPOINT_FILE
    if not path.is_file():
        return None
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        if values.pop("format") != _FORMAT:
            raise ValueError("another format")
        return TrainState(**values)
    except Exception as error:
        raise TrainingError(
            f"The checkpoint is damaged or of another version ({type(error).__name__}).",
            path=path,
            remedy="Start in another folder, or remove the file to start anew.",
        ) from error
