"""A network, settings and sources so small that a step takes milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vastus.preprocessing import PreprocessingSettings
from vastus.training.config import TrainConfig
from vastus.training.sources import Patch

SETTINGS = PreprocessingSettings(spacing_mm=(8.0, 8.0, 8.0), window_size=(32, 32, 16))
ARGUMENTS = {"channels": [8, 16], "encoder_blocks": [1, 1], "head_channels": 8}


@dataclass
class Stripes:
    """Bright boxes of class 1 and 2 on black; ``broken`` gives NaN from that index on."""

    seed: int = 0
    broken: int | None = None
    empty: bool = False
    highest: int = 2

    def patch(self, index: int) -> Patch:
        rng = np.random.default_rng((self.seed, index))
        labels = np.zeros(SETTINGS.window_size, np.uint8)
        if not self.empty:
            start = rng.integers(2, 14)
            labels[start : start + 10, 6:20, 4:12] = 1
            labels[start : start + 10, 20:28, 4:12] = self.highest
        image = (labels * 0.4 + rng.normal(0, 0.05, labels.shape)).astype(np.float32)
        if self.broken is not None and index >= self.broken:
            image[:] = np.nan
        return Patch(image, labels)


def tiny_config(**changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "network": "resunet",
        "network_arguments": ARGUMENTS,
        "preprocessing": SETTINGS.to_dict(),
        "classes": ("background", "femur", "sartorius"),
        "steps": 8,
        "batch_size": 1,
        "bf16": False,
        "checkpoint_steps": 1,
        "validation_steps": 4,
        "validation_patches": 2,
        "log_steps": 1,
    }
    return TrainConfig.from_dict(values | changes)
