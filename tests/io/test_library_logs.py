"""A service's log: who spoke and of what kind, never what was said."""

from __future__ import annotations

import logging
import sys
import threading
import warnings

import pytest

from vastus.io.library_logs import LibraryLogs, identifier, without_values

SECRET = "PLANTEDNAME"


def test_warnings_records_and_uncaught_errors_lose_their_text(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[str, str]] = []
    noisy = logging.getLogger("noisy")
    noisy.addHandler(logging.StreamHandler())
    before = (warnings.showwarning, sys.excepthook, threading.excepthook, list(noisy.handlers))
    with LibraryLogs(lambda who, kind: told.append((who, kind))):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for _ in range(3):
                warnings.warn(f"The string {SECRET}", stacklevel=1)
        noisy.error("Invalid value %s", SECRET)
        logging.getLogger("never.seen").warning(SECRET)
        logging.getLogger("vastus.annotation").warning("our own")
        thread = threading.Thread(target=lambda: int(SECRET))
        thread.start()
        thread.join()
        sys.excepthook(ValueError, ValueError(SECRET), None)
    printed = "".join(capfd.readouterr())
    assert SECRET not in printed and "Traceback" not in printed
    assert told == [
        ("test_library_logs", "UserWarning"),
        ("noisy", "ERROR"),
        ("never.seen", "WARNING"),
        ("test_library_logs", "ValueError"),
        ("?", "ValueError"),
    ]
    assert before == (warnings.showwarning, sys.excepthook, threading.excepthook, list(noisy.handlers))
    noisy.handlers.clear()


def test_a_log_that_cannot_be_written_ends_nothing() -> None:
    def full(_who: str, _kind: str) -> None:
        raise OSError(28, "No space left on device")

    with LibraryLogs(full):
        logging.getLogger("noisy").error("x")


def test_only_names_of_modules_and_classes_get_through() -> None:
    assert identifier("pydicom.valuerep") == "pydicom.valuerep"
    assert identifier(f"{SECRET} of ward 7") == identifier("홍길동") == identifier("") == "?"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Series 1.2.840.10008.5.1 'CT of Jane', 12 slices", "Series (UID) '...', 12 slices"),
        ('The string "Doe" and "Roe".', "The string '...' and '...'."),
        ("slices missing: 6.00 mm apart", "slices missing: 6.00 mm apart"),
    ],
)
def test_a_message_loses_what_it_quotes(text: str, left: str) -> None:
    assert without_values(text) == left
