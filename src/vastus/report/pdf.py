"""The page as a PDF: printed by the machine's own Chromium, else set by weasyprint, else refused with a remedy.

What goes into a PACS is another PDF (``vastus.dicom.pdf``): drawn without a browser, and without a name in it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from vastus.errors import OutputError, SettingsError
from vastus.io.atomic import atomic_path

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
MOST_SECONDS: Final = 120.0
"""A browser that is not done by then is ended: some wait for ever for what is not there."""


def find_browser() -> str | None:
    """Path of a Chromium on this machine; None if there is none."""
    in_path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    return in_path or next((str(path) for path in _usual_places() if path.is_file()), None)


def _usual_places() -> list[Path]:
    """Where Windows and macOS keep browsers, whose folders are not in the search path there."""
    if sys.platform == "darwin":
        names = ("Google Chrome", "Chromium", "Microsoft Edge")
        return [Path(f"/Applications/{name}.app/Contents/MacOS/{name}") for name in names]
    if sys.platform != "win32":
        return []
    roots = [os.environ.get(name) for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
    programs = ("Google/Chrome/Application/chrome.exe", "Microsoft/Edge/Application/msedge.exe")
    return [Path(root) / program for program in programs for root in roots if root]


def require_printer() -> None:
    """Refuse where nothing on this machine can print a page.

    Raises:
        SettingsError: there is neither Chromium nor weasyprint.
    """
    if find_browser() is None and find_spec("weasyprint") is None:
        raise SettingsError(
            "A PDF of the page needs Chromium (or Chrome, Edge) or weasyprint; none is here.",
            remedy="Install one of them (pip install weasyprint), or print report.html from any browser.",
        )


def print_page(page: Path, pdf: Path, seconds: float = MOST_SECONDS) -> None:
    """Write a page as a PDF, atomically.

    Args:
        page: ``report.html``.
        pdf: to write.
        seconds: that the browser may take.

    Raises:
        SettingsError: there is neither Chromium nor weasyprint.
        OutputError: the browser fails or takes too long, or the file can't be written.
    """
    require_printer()
    browser = find_browser()
    with atomic_path(pdf) as temporary:
        if browser is not None:
            _by_browser(browser, page, temporary, seconds)
        else:
            from weasyprint import HTML

            HTML(filename=str(page)).write_pdf(str(temporary))
        if temporary.stat().st_size == 0:
            raise OutputError("The PDF of the page is empty.", path=pdf, remedy="Print report.html from a browser.")


def _by_browser(browser: str, page: Path, pdf: Path, seconds: float) -> None:
    """Run a browser of its own profile, so that an open window of the user is not asked."""
    with tempfile.TemporaryDirectory(prefix="vastus-print-", ignore_cleanup_errors=True) as profile:
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
            f"--print-to-pdf={pdf.resolve()}",
            page.resolve().as_uri(),
        ]
        if os.name == "posix" and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium refuses to start for root with it; the page is our own
        running = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=os.name == "posix"
        )
        try:
            code = running.wait(seconds)
        except subprocess.TimeoutExpired as error:
            _end(running)
            raise OutputError(
                f"The browser did not print the page within {seconds:.0f} s.",
                path=page,
                remedy="Print report.html by hand.",
            ) from error
    if code != 0:
        raise OutputError(
            f"The browser could not print the page (exit {code}).", path=page, remedy="Print report.html by hand."
        )


def _end(running: subprocess.Popen[bytes]) -> None:
    """End the browser with the processes that it started."""
    if os.name == "posix":
        os.killpg(running.pid, signal.SIGKILL)
    else:
        running.kill()
    running.wait()
