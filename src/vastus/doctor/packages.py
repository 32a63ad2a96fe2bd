"""The libraries that this release asks for, as its own metadata names them: the core's and those of each extra."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from vastus.doctor.findings import Finding, State

EXTRAS: Final = {
    "train": "training on your own labels, and CUDA",
    "dicom": "DICOM results, PACS, the node, de-identification",
    "batch": "Dask clusters",
    "annotate": "the annotation server and the app",
    "documents": "Word documents of a cohort",
}
"""The extras that a user may want, and what for."""
_NOT_INSTALLED: Final = Finding(
    "packages",
    State.WARNING,
    "Vastus runs from its source folder: nothing says which libraries it needs.",
    "Install it: pip install .",
)


def look_at_packages(wanted: Sequence[str] | None = None) -> tuple[Finding, ...]:
    """Compare the installed libraries with those asked for.

    Args:
        wanted: requirements as in package metadata; None: those of the installed Vastus.
    """
    if wanted is None:
        try:
            wanted = requires("vastus") or []
        except PackageNotFoundError:
            return (_NOT_INSTALLED,)
    by_extra = _by_extra(wanted)
    return (_core(by_extra[""]), *(_extra(name, by_extra[name]) for name in EXTRAS if by_extra[name]))


def _by_extra(wanted: Sequence[str]) -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = defaultdict(list)
    for text in wanted:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            found[""].append(requirement)
            continue
        for name in EXTRAS:
            if marker.evaluate({"extra": name}):
                found[name].append(requirement)
    return found


def _core(wanted: list[Requirement]) -> Finding:
    lacking = _lacking(wanted)
    if lacking:
        return Finding("packages", State.BROKEN, f"Lacking: {', '.join(lacking)}.", "pip install --upgrade vastus")
    return Finding("packages", State.OK, f"All {len(wanted)} libraries of the core are there.")


def _extra(name: str, wanted: list[Requirement]) -> Finding:
    lacking = _lacking(wanted)
    title = f"extra {name}"
    if lacking:
        return Finding(
            title,
            State.MISSING,
            f"For {EXTRAS[name]}. Lacking: {', '.join(lacking)}.",
            f"pip install 'vastus[{name}]'",
        )
    return Finding(title, State.OK, f"For {EXTRAS[name]}.")


def _lacking(wanted: list[Requirement]) -> list[str]:
    """What is not installed, or too old."""
    found = []
    for requirement in wanted:
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            found.append(requirement.name)
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            found.append(f"{requirement.name}{requirement.specifier} (here {installed})")
    return found
