"""What the scans of an open set may be used for. Light: the command line imports it for its help."""

from __future__ import annotations

from enum import Enum


class Split(Enum):
    """What a scan may be used for. Test scans are never trained on or adapted to."""

    TRAIN = "train"
    TEST = "test"
