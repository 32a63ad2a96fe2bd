"""Settings of a network so small that some steps of it take a second."""

from __future__ import annotations

from typing import Any, Final

TINY_TRAINING: Final[dict[str, Any]] = {
    "network_arguments": {"channels": [8, 16], "encoder_blocks": [1, 1], "head_channels": 8},
    "preprocessing": {"spacing_mm": [12.0, 12.0, 12.0], "window_size": [32, 32, 16]},
    "batch_size": 1,
    "bf16": False,
    "validation_patches": 1,
}
