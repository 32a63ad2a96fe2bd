"""The training loop: one run, in one folder, that can be killed at any moment and continued by the same command."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vastus.errors import SettingsError, TrainingError
from vastus.io.atomic import ensure_folder
from vastus.io.folder_lock import FolderLock, take_folder_lock
from vastus.training.checkpoint import TrainState, load_state, save_state
from vastus.training.config import CONFIG_FILE, TrainConfig, load_config, save_config
from vastus.training.loader import Place, batches
from vastus.training.logs import LogRow, RunLog
from vastus.training.losses import IGNORE, dice_cross_entropy, reduce_labels
from vastus.training.networks import network_entry
from vastus.training.optimisers import build_optimiser, schedule_factor, set_class_prior, set_learning_rate
from vastus.training.precision import has_bf16
from vastus.training.sources import PatchSource
from vastus.training.validation import Validation, save_picture, validate

LOCK_FILE = "lock"
_PRIOR_WINDOWS = 16
# What may differ when a run is continued: its length, and what only says when something is written.
_FREE_TO_CHANGE = {
    "steps",
    "minutes",
    "checkpoint_steps",
    "checkpoint_seconds",
    "validation_steps",
    "validation_patches",
    "log_steps",
}


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How a run is carried out; nothing here changes what is learnt (but for rounding).

    Attributes:
        device: ``cpu`` or ``cuda``.
        workers: processes that prepare windows.
        threads: of the network; ``None`` leaves torch's own number.
        progress: show a bar when there is a terminal.
    """

    device: str = "cpu"
    workers: int = 1
    threads: int | None = None
    progress: bool = True


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run came to: steps done, seconds of training, mean Dice of the last validation (NaN without one)."""

    steps: int
    seconds: float
    mean_dice: float


def train(
    config: TrainConfig,
    source: PatchSource,
    validation: PatchSource,
    run: Path,
    *,
    initial_weights: dict[str, Tensor] | None = None,
    options: TrainOptions | None = None,
) -> TrainResult:
    """Train, or continue the run that is in the folder.

    Args:
        config: the choices; when a run is continued they must be the saved ones, but for length and logging.
        source: of the training windows.
        validation: of the windows that are never trained on.
        run: folder of the run, made if missing.
        initial_weights: to start from instead of random ones (see ``transfer``); not read when continuing.
        options: how to carry it out.

    Raises:
        TrainingError: the loss is not finite, the checkpoint can't be written or read.
        SettingsError: the folder holds a run with other settings, or another process trains in it.
    """
    chosen = options or TrainOptions()
    team = _Team.join(chosen.device)
    with _claim_folder(config, run) if team.rank == 0 else nullcontext():
        team.wait()
        trainer = _Trainer(config, run, team)
        trainer.start(source, initial_weights)
        if chosen.threads:
            # Not before: compiled loops that prepared the scans share OpenMP with torch, and reset its number.
            torch.set_num_threads(chosen.threads)
        try:
            return trainer.go(source, validation, chosen)
        finally:
            team.leave()


class _Team:
    """The processes that train together (torchrun); one process alone is a team of one."""

    def __init__(self, device: torch.device, rank: int, ranks: int) -> None:
        self.device = device
        self.rank = rank
        self.ranks = ranks

    @classmethod
    def join(cls, device: str) -> _Team:
        if device.startswith("cuda") and not torch.cuda.is_available():
            from vastus.errors import DeviceError

            raise DeviceError("There is no CUDA device.", remedy="Use --device cpu.")
        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        if ranks == 1:
            return cls(torch.device(device), 0, 1)
        cuda = device.startswith("cuda")
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
        return cls(place, torch.distributed.get_rank(), ranks)

    def wait(self) -> None:
        if self.ranks > 1:
            torch.distributed.barrier()

    def agree(self, value: float) -> float:
        """The value of the first process, so that all take the same rate and stop at the same step."""
        if self.ranks == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared.item())

    def leave(self) -> None:
        if self.ranks > 1:
            torch.distributed.destroy_process_group()


class _Trainer:
    """Network, average, optimiser and counters of one run."""

    def __init__(self, config: TrainConfig, run: Path, team: _Team) -> None:
        self.config = config
        self.run = run
        self.team = team
        self.entry = network_entry(config.network)
        self.half = config.bf16 and has_bf16(team.device)
        torch.manual_seed(config.seed)
        self.network = config.new_network().to(  # type: ignore[call-overload]
            team.device, memory_format=torch.channels_last_3d
        )
        self.step = 0
        self.seconds = 0.0
        self.classes_seen = np.zeros(config.class_count, dtype=np.int64)
        self.best_dice = 0.0

    def start(self, source: PatchSource, initial_weights: dict[str, Tensor] | None) -> None:
        """Take up the checkpoint, or prepare the first step."""
        state = load_state(self.run)
        if state is None:
            if initial_weights is None:
                frequencies = class_frequencies(source, self.config.class_count, len(self.config.merged))
                set_class_prior(self.network, torch.from_numpy(frequencies), self.entry.class_parameters)
            else:
                self.network.load_state_dict(initial_weights)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        config = self.config
        self.optimiser = build_optimiser(
            self.network,
            name=config.optimiser,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            class_parameters=self.entry.class_parameters,
        )
        if state is not None:
            self._take_up(state)

    def _take_up(self, state: TrainState) -> None:
        self.network.load_state_dict(state.network)
        self.average.load_state_dict(state.average)
        self.optimiser.load_state_dict(state.optimiser)
        torch.set_rng_state(state.random_state)
        self.step, self.seconds, self.best_dice = state.step, state.seconds, state.best_dice
        self.classes_seen = np.array(state.classes_seen, dtype=np.int64)

    def save(self) -> None:
        """Write the checkpoint (first process only)."""
        if self.team.rank == 0:
            save_state(
                TrainState(
                    self.step,
                    self.seconds,
                    self.network.state_dict(),
                    self.average.state_dict(),
                    self.optimiser.state_dict(),
                    torch.get_rng_state(),
                    self.classes_seen.tolist(),
                    self.best_dice,
                ),
                self.run,
            )

    def share(self, seconds: float) -> float:
        """Share of the run that is over, by whichever limit is nearer."""
        by_steps = self.step / self.config.steps if self.config.steps else 0.0
        by_time = seconds / (60.0 * self.config.minutes) if self.config.minutes else 0.0
        return max(by_steps, by_time)

    def go(self, source: PatchSource, validation: PatchSource, options: TrainOptions) -> TrainResult:
        """Train to the end of the run."""
        config, team = self.config, self.team
        model: nn.Module = self.network
        if team.ranks > 1:
            # In steps without the full-resolution head its parameters get no gradient.
            model = nn.parallel.DistributedDataParallel(self.network, find_unused_parameters=config.head_every > 1)
        place = Place(config.batch_size, team.rank, team.ranks)
        mean_dice = math.nan
        active = team.rank == 0
        with RunLog(self.run, config.classes, from_step=self.step, active=active, progress=options.progress) as log:
            log.say(_opening(self, options))
            before = self.seconds
            clock = _Clock(config.log_steps)
            last_save = time.monotonic()
            data: Iterator[tuple[Tensor, Tensor]]
            data = (
                iter(())
                if self.share(before) >= 1.0
                else iter(batches(source, place, first_step=self.step, workers=options.workers, device=team.device))
            )
            while (share := team.agree(self.share(self.seconds))) < 1.0:
                clock.begin()
                image, labels = next(data)
                clock.data_came()
                loss, norm = self._step(model, image.to(team.device), labels.to(team.device), share)
                self._check(loss, norm, place)
                self.step += 1
                self.seconds = before + clock.since_start()
                clock.end(loss, norm)
                now_over = team.agree(self.share(self.seconds)) >= 1.0
                if self.step % config.log_steps == 0 or now_over:
                    self._count(labels)
                    rate = self.optimiser.param_groups[0]["lr"]
                    log.row(clock.row(self.step, self.seconds, self.share(self.seconds), rate))
                if self.step % config.validation_steps == 0 or now_over:
                    mean_dice = self._validate(validation, log)
                    self.seconds = before + clock.since_start()
                due = self.step % config.checkpoint_steps == 0
                if due or now_over or time.monotonic() - last_save > config.checkpoint_seconds:
                    self.save()
                    last_save = time.monotonic()
            log.say(f"Finished: {self.step} steps in {self.seconds / 60:.1f} min.{self._never_seen()}")
        return TrainResult(self.step, self.seconds, mean_dice)

    def _step(self, model: nn.Module, image: Tensor, labels: Tensor, share: float) -> tuple[float, float]:
        config = self.config
        set_learning_rate(self.optimiser, schedule_factor(share, warmup=config.warmup, final=config.final_rate))
        model.train()
        image = image.contiguous(memory_format=torch.channels_last_3d)
        coarse_only = self.entry.auxiliary and self.step % config.head_every != 0
        with torch.autocast(self.team.device.type, torch.bfloat16, enabled=self.half):
            output = model(image, coarse_only=True) if coarse_only else model(image)
        loss = total_loss(output, labels, config)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        limit = config.gradient_clip if config.gradient_clip > 0 else math.inf
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), limit))
        value = float(loss.detach())
        if math.isfinite(norm) and math.isfinite(value):
            self.optimiser.step()
            self._average()
        return value, norm

    @torch.no_grad()
    def _average(self) -> None:
        # Early on the average follows fast: the first weights are not worth remembering.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)
        for mean, value in zip(self.average.buffers(), self.network.buffers(), strict=True):
            mean.copy_(value)

    def _check(self, loss: float, norm: float, place: Place) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        windows = place.indices(self.step)
        raise TrainingError(
            f"The loss is not finite at step {self.step} (loss {loss}, gradient {norm}, windows "
            f"{windows[0]}..{windows[-1]}); the last checkpoint is kept.",
            remedy="Check those images for values that are no HU, or lower the learning rate.",
        )

    def _count(self, labels: Tensor) -> None:
        counts = torch.bincount(labels.reshape(-1).long().cpu(), minlength=256).numpy()
        self.classes_seen += counts[: self.config.class_count]

    def _validate(self, source: PatchSource, log: RunLog) -> float:
        if self.team.rank != 0:
            self.team.wait()
            return math.nan
        config = self.config
        result: Validation = validate(
            self.average, source, config.validation_patches, class_count=config.class_count, bf16=self.half
        )
        log.validation(self.step, result.mean_dice, [float(d) for d in result.dice])
        self.best_dice = max(self.best_dice, result.mean_dice)
        pictures = ensure_folder(self.run / "pictures")
        if result.pairs:
            save_picture(result, config.classes, pictures / f"step_{self.step:06d}.png", config.table)
        self.team.wait()
        return result.mean_dice

    def _never_seen(self) -> str:
        absent = [name for name, n in zip(self.config.classes, self.classes_seen, strict=True) if n == 0]
        return f" Never seen in the logged batches: {', '.join(absent)}." if absent else ""


class _Clock:
    """Times the steps: how long, and how much of it was waiting for data."""

    def __init__(self, log_steps: int) -> None:
        self._start = time.monotonic()
        self._log_steps = log_steps
        self._reset()

    def _reset(self) -> None:
        self._steps = 0
        self._busy = self._waited = self._loss = self._norm = 0.0

    def begin(self) -> None:
        self._begun = time.monotonic()

    def data_came(self) -> None:
        self._waited += time.monotonic() - self._begun

    def end(self, loss: float, norm: float) -> None:
        self._busy += time.monotonic() - self._begun
        self._loss += loss
        self._norm += norm
        self._steps += 1

    def since_start(self) -> float:
        return time.monotonic() - self._start

    def row(self, step: int, seconds: float, share: float, rate: float) -> LogRow:
        """Means since the row before."""
        n = max(self._steps, 1)
        waiting = self._waited / max(self._busy, 1e-9)
        row = LogRow(step, seconds, share, rate, self._loss / n, self._norm / n, self._busy / n, waiting)
        self._reset()
        return row


def total_loss(output: Tensor | tuple[Tensor | None, Tensor], labels: Tensor, config: TrainConfig) -> Tensor:
    """Loss of the logits, plus that of the auxiliary logits for networks that have them; of these alone if need be."""
    merged = merged_members(config).to(labels.device) if config.merged else None
    if isinstance(output, Tensor):
        return dice_cross_entropy(output, labels, dice_weight=config.dice_weight, merged=merged)
    logits, auxiliary = output
    x, y, z = auxiliary.shape[2:]
    coarse = reduce_labels(labels, (x, y, z))
    coarse_loss = dice_cross_entropy(auxiliary, coarse, dice_weight=config.dice_weight, merged=merged)
    if logits is None:
        return coarse_loss
    fine_loss = dice_cross_entropy(logits, labels, dice_weight=config.dice_weight, merged=merged)
    return fine_loss + config.auxiliary_weight * coarse_loss


def merged_members(config: TrainConfig) -> Tensor:
    """Build the bool table (merged labels, classes) of who belongs to which merged label."""
    return torch.tensor([[name in names for name in config.classes] for names in config.merged])


def class_frequencies(
    source: PatchSource, class_count: int, merged_count: int = 0
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Voxels of each class in the first windows of a source; refuses class ids that the run does not have.

    Raises:
        TrainingError: a window holds a class id beyond the run's classes, or no labelled voxel at all.
    """
    counts = np.zeros(256, dtype=np.int64)
    for index in range(_PRIOR_WINDOWS):
        counts += np.bincount(source.patch(index).labels.ravel(), minlength=256)
    beyond = [int(v) for v in np.flatnonzero(counts[:IGNORE]) if v >= class_count + merged_count]
    if beyond:
        raise TrainingError(f"Class ids {beyond} occur in the data, but the run has only {class_count} classes.")
    if counts[1:class_count].sum() == 0:
        raise TrainingError(
            f"The first {_PRIOR_WINDOWS} training windows are all background: there is nothing to learn.",
            remedy="Check that the label maps fit the images and hold labels.",
        )
    return counts[:class_count].astype(np.float64)


def _claim_folder(config: TrainConfig, run: Path) -> FolderLock:
    """Keep other processes out of the folder; save the settings in a new run, check them in one that is continued."""
    ensure_folder(run)
    claim = take_folder_lock(run / LOCK_FILE)
    if claim is None:
        raise SettingsError(
            "Another process trains in this folder.", path=run, remedy="Stop it, or choose another folder with -o."
        )
    try:
        _settle_config(config, run)
    except BaseException:
        claim.release()
        raise
    return claim


def _settle_config(config: TrainConfig, run: Path) -> None:
    path = run / CONFIG_FILE
    if not path.is_file():
        save_config(config, path)
        return
    saved = load_config(path)
    # Compared as they are written, so that a list and a tuple count as the same.
    before, now = (json.loads(json.dumps(c.to_dict())) for c in (saved, config))
    odd = sorted(name for name in now if name not in _FREE_TO_CHANGE and before[name] != now[name])
    if odd:
        raise SettingsError(
            f"The folder holds a run with other settings ({', '.join(odd)}).",
            path=run,
            remedy="Choose another folder with -o, or give the settings of the run to continue it.",
        )
    if saved != config:
        save_config(config, path)


def _opening(trainer: _Trainer, options: TrainOptions) -> str:
    config = trainer.config
    limits = [f"{config.minutes:g} min"] if config.minutes else []
    limits += [f"{config.steps} steps"] if config.steps else []
    begun = f"continues at step {trainer.step}" if trainer.step else "starts"
    return (
        f"Training {begun}: {config.network}, {' or '.join(limits)}, batch {config.batch_size}, "
        f"device {trainer.team.device}, {'bfloat16' if trainer.half else 'float32'}, "
        f"{torch.get_num_threads()} threads, {options.workers} loader processes, {trainer.team.ranks} process(es)."
    )
