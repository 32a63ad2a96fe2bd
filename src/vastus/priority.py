"""A lower priority for work that can wait. Not every system has the one of Unix."""

from __future__ import annotations

import os
from typing import Any


def lower_priority(steps: int) -> bool:
    """Let other programs go first.

    Args:
        steps: by which the niceness rises; 0 or less does nothing.

    Returns:
        Whether the priority is lower now. On Windows it is left as it is.
    """
    nice: Any = getattr(os, "nice", None)
    if nice is None or steps <= 0:
        return False
    nice(steps)
    return True
