"""The server's log: to standard error as any program's, and its last lines for clients that ask."""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

LOG: Final = logging.getLogger("vastus.annotation")
_LOG_LINES: Final = 2000


class LogLines(logging.Handler):
    """The last lines of the log, for clients that ask. Nothing of a patient's is ever logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=_LOG_LINES)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(self.format(record))
