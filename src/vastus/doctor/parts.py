"""The parts that are no Python libraries: weights, and what prints a page."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from vastus.doctor.findings import Finding, State
from vastus.errors import BundleError
from vastus.inference.bundle import DEFAULT_BUNDLE_NAME, load_bundle, shipped_bundles
from vastus.report.pdf import find_browser


def look_at_weights() -> tuple[Finding, ...]:
    """Compare each file of the shipped weights with its hash."""
    names = shipped_bundles()
    found = [_weights(name) for name in names]
    if DEFAULT_BUNDLE_NAME not in names:
        said = "The weights that are used by default are not there."
        found.append(Finding(f"weights {DEFAULT_BUNDLE_NAME}", State.BROKEN, said, _AGAIN))
    return tuple(found)


_AGAIN = "Install Vastus again: pip install --force-reinstall --no-deps vastus"


def _weights(name: str) -> Finding:
    try:
        bundle = load_bundle(Path(name))
    except BundleError as error:
        state = State.BROKEN if name == DEFAULT_BUNDLE_NAME else State.WARNING
        return Finding(f"weights {name}", state, error.problem, _AGAIN)
    files = len(bundle.info.files)
    return Finding(f"weights {name}", State.OK, f"{files} files, hashes right; {bundle.digest[:12]}")


def look_at_printer() -> Finding:
    """Say what makes a PDF of a page here."""
    browser = find_browser()
    if browser is not None:
        return Finding("PDF of the page", State.OK, f"printed by {Path(browser).stem}")
    if find_spec("weasyprint") is not None:
        return Finding("PDF of the page", State.OK, "set by weasyprint")
    return Finding(
        "PDF of the page",
        State.MISSING,
        "Neither Chromium (Chrome, Edge) nor weasyprint is here.",
        "Install one of them (pip install weasyprint), or print report.html from any browser.",
    )
