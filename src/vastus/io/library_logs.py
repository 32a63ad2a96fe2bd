"""What libraries print, in programs whose log must hold no patient data.

pydicom, highdicom and others quote header values in their warnings ("Invalid value for VR DA: '...'"), log messages and
error texts. A service writes down who said something and of what kind, never what was said.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TextIO

Tell = Callable[[str, str], None]
"""Is given who spoke (a module or logger) and of what kind it was (a category, level or type of error)."""
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][\w.]{0,79}", re.ASCII)
_QUOTED: Final = re.compile(r"""(['"‘“])(?:(?!\1|['"’”]).)*['"’”]""", re.DOTALL)
_UID: Final = re.compile(r"\d+(?:\.\d+){3,}")
_MOST_KINDS: Final = 1000


class _Handler(logging.Handler):
    def __init__(self, tell: Tell, own: str) -> None:
        super().__init__(logging.WARNING)
        self._tell, self._own = tell, own

    def emit(self, record: logging.LogRecord) -> None:
        if not f"{record.name}.".startswith(f"{self._own}."):
            self._tell(record.name, record.levelname)


class LibraryLogs:
    """Takes over warnings, log records and uncaught errors of this process until ``release``; also a context.

    Of each kind the first is told, so that a thousand files with the same flaw make one line.

    Args:
        tell: see ``Tell``; only ever given plain identifiers. Called from any thread; what it raises is dropped.
        own: the logger whose records are our own and stay as they are.
    """

    def __init__(self, tell: Tell, own: str = "vastus") -> None:
        self._to, self._told = tell, set[tuple[str, str]]()
        self._handler = _Handler(self._tell, own)
        self._warnings = warnings.catch_warnings()
        self._hooks: tuple[Any, Any, Any] = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        self._warnings.__enter__()
        warnings.showwarning = self._warned
        root = logging.getLogger()
        self._were: list[tuple[logging.Logger, list[logging.Handler], bool]] = []
        for logger in (root, *_loggers_with_handlers(own)):
            self._were.append((logger, logger.handlers[:], logger.propagate))
            logger.handlers[:] = []
            logger.propagate = True
        root.addHandler(self._handler)
        sys.excepthook = self._uncaught
        threading.excepthook = self._uncaught_in_thread
        sys.unraisablehook = self._unraisable

    def release(self) -> None:
        """Restore the loggers as they were."""
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._hooks
        for logger, handlers, propagate in self._were:
            logger.handlers[:] = handlers
            logger.propagate = propagate
        self._warnings.__exit__(None, None, None)

    def __enter__(self) -> LibraryLogs:
        """Return the object, which is in force already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the loggers as they were."""
        self.release()

    def _tell(self, who: str, kind: str) -> None:
        message_key = (identifier(who), identifier(kind))
        if message_key in self._told or len(self._told) >= _MOST_KINDS:
            return
        self._told.add(message_key)
        try:
            self._to(*message_key)
        except Exception:  # a log that can't be written must not end what it tells of
            return

    def _warned(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        self._tell(_library_of(filename), category.__name__)

    def _uncaught(self, kind: type[BaseException], _error: BaseException, place: TracebackType | None) -> None:
        self._tell(_where(place), kind.__name__)

    def _uncaught_in_thread(self, given: Any) -> None:
        if given.exc_type is not SystemExit:
            self._tell(_where(given.exc_traceback), given.exc_type.__name__)

    def _unraisable(self, given: Any) -> None:
        self._tell(_where(given.exc_traceback), given.exc_type.__name__)


def identifier(text: str) -> str:
    """Return the name of a module or class; anything else becomes a question mark."""
    return text if _IDENTIFIER.fullmatch(text) else "?"


def without_values(text: str) -> str:
    """Remove quoted values and UIDs from a message, because they come out of headers."""
    return _UID.sub("(UID)", _QUOTED.sub("'...'", text))


def _loggers_with_handlers(own: str) -> list[logging.Logger]:
    """Find loggers of libraries that write by themselves; their records must come to ours."""
    known = [logging.getLogger(name) for name in list(logging.Logger.manager.loggerDict)]
    return [each for each in known if each.handlers and not f"{each.name}.".startswith(f"{own}.")]


def _library_of(filename: str) -> str:
    """Find the package of a source file, or the name of the module itself."""
    parts = re.split(r"[\\/]", filename)
    if "site-packages" in parts[:-1]:
        return parts[parts.index("site-packages") + 1].removesuffix(".py")
    return parts[-1].removesuffix(".py")


def _where(place: TracebackType | None) -> str:
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return "?" if place is None else _library_of(place.tb_frame.f_code.co_filename)
