"""``TrainConfig``: every choice of a run, one small file saved with the result (TOML or JSON)."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vastus.anatomy import BUILT_IN, STRUCTURES, StructureTable
from vastus.errors import MissingInputError, SettingsError
from vastus.io.atomic import write_text
from vastus.io.own_structures import entries_of, own_table
from vastus.preprocessing import PreprocessingSettings
from vastus.training.networks import DEFAULT_NETWORK, build_network, network_entry

if TYPE_CHECKING:
    from torch import nn

CONFIG_FILE = "config.json"
ANATOMY_CLASSES: tuple[str, ...] = ("background", *(s.key for s in STRUCTURES))


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run.

    Attributes:
        network: name in the registry.
        network_arguments: laid over the entry's defaults.
        preprocessing: what the network sees; ``None`` in a file means the network's own default.
        classes: names of the classes in the order of their ids, background first.
        table: of the structures that classes name; comes from the data set. In a file: a list of entries.
        merged: the classes that each merged label of the data stands for; comes from the data set.
        optimiser: ``adamw`` (the paper's kind) or ``muon``.
        learning_rate, weight_decay: of that optimiser.
        warmup: share of the run during which the rate rises.
        final_rate: the rate at the end, as a share of the full one.
        gradient_clip: largest norm of all gradients together; 0 turns clipping off.
        batch_size: windows a step and process.
        steps: length of the run in steps, or ``None``.
        minutes: length of the run in minutes of training (over all resumes), or ``None``; one of the two is needed.
        dice_weight: of Dice against cross-entropy.
        auxiliary_weight: of the loss on auxiliary logits, for networks that have them.
        head_every: of networks with auxiliary logits, only every such step computes the full-resolution head; the
            others train on the auxiliary logits alone, at about half the cost. 1 computes it always.
        ema_decay: of the moving average of the weights that is validated and exported; 0 turns it off.
        bf16: run the network in bfloat16 (weights stay float32).
        seed: of weights, data order and augmentation.
        checkpoint_steps, checkpoint_seconds: a checkpoint is written whenever either has passed.
        validation_steps: steps between validations.
        validation_patches: windows of one validation.
        log_steps: steps between rows of the log.
    """

    network: str = DEFAULT_NETWORK
    network_arguments: dict[str, Any] = field(default_factory=dict)
    preprocessing: PreprocessingSettings | None = None
    classes: tuple[str, ...] = ANATOMY_CLASSES
    table: StructureTable = BUILT_IN
    merged: tuple[tuple[str, ...], ...] = ()
    optimiser: Literal["adamw", "muon"] = "muon"
    learning_rate: float = 0.02
    weight_decay: float = 0.01
    warmup: float = 0.03
    final_rate: float = 0.01
    gradient_clip: float = 5.0
    batch_size: int = 2
    steps: int | None = None
    minutes: float | None = None
    dice_weight: float = 1.0
    auxiliary_weight: float = 0.4
    head_every: int = 1
    ema_decay: float = 0.998
    bf16: bool = True
    seed: int = 0
    checkpoint_steps: int = 10_000
    checkpoint_seconds: float = 60.0
    validation_steps: int = 250
    validation_patches: int = 12
    log_steps: int = 10

    def __post_init__(self) -> None:
        """Fill the network's default preprocessing; refuse what can't work."""
        entry = network_entry(self.network)
        if self.preprocessing is None:
            object.__setattr__(self, "preprocessing", entry.settings)
        if self.optimiser not in ("adamw", "muon"):
            raise SettingsError(f"The optimiser is adamw or muon, not {self.optimiser!r}.")
        if self.steps is None and self.minutes is None:
            raise SettingsError("How long shall the training run?", remedy="Give steps or minutes.")
        positive = {"steps": self.steps, "minutes": self.minutes, "batch_size": self.batch_size}
        positive |= {"learning_rate": self.learning_rate, "checkpoint_steps": self.checkpoint_steps}
        positive |= {"validation_steps": self.validation_steps, "log_steps": self.log_steps}
        positive |= {"head_every": self.head_every}
        wrong = [name for name, value in positive.items() if value is not None and value <= 0]
        if wrong:
            raise SettingsError(f"Must be positive: {', '.join(wrong)}.")
        if not 0.0 <= self.ema_decay < 1.0:
            raise SettingsError(f"ema_decay must lie in 0..1, got {self.ema_decay}.")
        strangers = sorted({name for names in self.merged for name in names} - set(self.classes))
        if strangers:
            raise SettingsError(f"merged names what is no class of the run: {', '.join(strangers)}.")
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes) or self.classes[0] != "background":
            raise SettingsError("classes must start with background and name each class once.")

    @property
    def settings(self) -> PreprocessingSettings:
        """The preprocessing, never ``None``."""
        assert self.preprocessing is not None
        return self.preprocessing

    @property
    def class_count(self) -> int:
        """Number of classes, background included."""
        return len(self.classes)

    def new_network(self) -> nn.Module:
        """Build the network of the run, with fresh weights from torch's random state."""
        return build_network(
            self.network,
            class_count=self.class_count,
            window_size=self.settings.window_size,
            arguments=self.network_arguments,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = dataclasses.asdict(self)
        del values["table"]
        return values if self.table.is_built_in else values | {"table": entries_of(self.table)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """Read a table of settings; missing ones take their defaults, unknown ones are refused."""
        names = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown:
            raise SettingsError(f"Unknown training settings: {', '.join(unknown)}.")
        given = dict(values)
        if isinstance(given.get("preprocessing"), dict):
            entry = network_entry(given.get("network", DEFAULT_NETWORK))
            given["preprocessing"] = PreprocessingSettings.from_dict(entry.settings.to_dict() | given["preprocessing"])
        if "classes" in given:
            given["classes"] = tuple(given["classes"])
        if "table" in given:
            given["table"] = own_table(given["table"])
        if "merged" in given:
            given["merged"] = tuple(tuple(names) for names in given["merged"])
        try:
            return cls(**given)
        except TypeError as error:
            raise SettingsError(f"A training setting has the wrong type ({error}).") from error


def read_values(path: Path) -> dict[str, Any]:
    """The table of settings in a TOML or JSON file, as it stands there."""
    if not path.is_file():
        raise MissingInputError("There is no such settings file.", path=path)
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file can't be read ({error}).", path=path) from error
    if not isinstance(values, dict):
        raise SettingsError("The settings file must hold one table.", path=path)
    return values


def load_config(path: Path, **overrides: Any) -> TrainConfig:
    """Read a TOML or JSON file; ``overrides`` that are not ``None`` replace what it says."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return TrainConfig.from_dict(read_values(path) | given)


def save_config(config: TrainConfig, path: Path) -> None:
    """Write the file that ``load_config`` reads, every setting spelled out."""
    write_text(path, json.dumps(config.to_dict(), indent=2) + "\n")
