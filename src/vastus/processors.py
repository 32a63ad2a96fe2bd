"""How many processors this process may use."""

from __future__ import annotations

import os
from typing import Any


def usable_processors() -> int:
    """Count the processors that the system grants to this process; at least 1."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else (os.cpu_count() or 1)
