"""One tiny run as a program of its own, to be killed or started by torchrun: FOLDER OPTIMISER RATE [WORKERS]."""

import os
import sys
from pathlib import Path

import torch

from training.tiny import Stripes, tiny_config
from vastus.training.loop import TrainOptions, train

if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    config = tiny_config(
        steps=6 if distributed else 24,
        optimiser=sys.argv[2],
        learning_rate=float(sys.argv[3]),
        validation_steps=6,
        dice_weight=0.0 if distributed else 1.0,
    )
    workers = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    train(config, Stripes(), Stripes(seed=9), Path(sys.argv[1]), options=TrainOptions(workers=workers))
