"""A fixed short run on the analytic phantom learns: the proof that the whole training system works."""

import csv
from pathlib import Path

import pytest

pytest.importorskip("torch")
from training.phantom_source import PhantomSource
from vastus.preprocessing import PreprocessingSettings
from vastus.training.config import TrainConfig
from vastus.training.loop import TrainOptions, train

BIG = (
    "gluteus_maximus",
    "vastus_lateralis",
    "vastus_intermedius",
    "adductor_magnus",
    "biceps_femoris",
    "rectus_femoris",
)


@pytest.mark.slow
def test_two_cpu_minutes_on_the_phantom_teach_the_big_muscles(tmp_path: Path) -> None:
    settings = PreprocessingSettings(
        hu_window=(-150.0, 250.0), gamma=1.0, spacing_mm=(8.0, 8.0, 12.0), window_size=(48, 32, 32)
    )
    config = TrainConfig(
        network_arguments={"channels": [24, 48, 64], "encoder_blocks": [1, 1, 1], "head_channels": 16},
        preprocessing=settings,
        steps=160,
        validation_steps=160,
        ema_decay=0.95,
        checkpoint_steps=1000,
        checkpoint_seconds=1e9,
    )
    train(config, PhantomSource(settings), PhantomSource(settings, seed=99), tmp_path, options=TrainOptions(workers=0))
    with (tmp_path / "validation.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    dice = {name: float(last[name]) for name in BIG}
    assert min(dice.values()) > 0.7, dice
