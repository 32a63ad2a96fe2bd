"""What the processor is called."""

from __future__ import annotations

import platform
from pathlib import Path


def processor_name() -> str:
    """Return the name of the CPU, as the system gives it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            named = next((line for line in lines if line.startswith("model name")), "")
        return named.partition(":")[2].strip() or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
