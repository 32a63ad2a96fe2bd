"""Write the list of all packages that Vastus needs, with their licences: docs/reference-licences.md.

Run it in an environment with all extras: python tools/list_licences.py
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference-licences.md"
USED_EXTRAS = ("train", "dicom", "batch", "annotate", "documents")
"""Extras that a user installs; those for tests and documentation are not passed on."""

HEAD = """# Licences of what Vastus needs

Vastus itself is under Apache-2.0. `pip install .` and its extras bring these packages. None is under the GPL or the
AGPL. `python tools/list_licences.py` writes this page; a test compares it with what is installed. `make sbom` writes
the same as a CycloneDX file, `make audit` asks for known weaknesses.

| package | licence | needed by |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Package:
    """A package, its licence as its own metadata say, and the extras that need it (``core``: always)."""

    name: str
    licence: str
    needed_by: tuple[str, ...]


def needed_packages() -> tuple[Package, ...]:
    """List everything that the core and the used extras need, through all levels, in the order of the names."""
    users: dict[str, list[str]] = {}
    for extra in ("", *USED_EXTRAS):
        for name in _closure(extra):
            users.setdefault(name, []).append(extra or "core")
    return tuple(
        Package(name, licence_of(name), ("core",) if "core" in users[name] else tuple(users[name]))
        for name in sorted(users)
    )


def licence_of(name: str) -> str:
    """Give the licence of an installed package: its SPDX expression, else its short text, else its classifiers."""
    about = metadata(name)
    expression = about.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [c.rsplit(" :: ", 1)[-1] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    text = str(about.get("License") or "").strip().splitlines()
    if text and len(text[0]) < 60 and (len(text) == 1 or not classifiers):
        return text[0]
    return ", ".join(c for c in classifiers if c != "OSI Approved") or (text[0][:60] if text else "not said")


def _closure(extra: str) -> set[str]:
    """Names of all installed packages that Vastus needs with an extra ('' is none)."""
    seen: set[str] = set()
    waiting = [("vastus", frozenset({extra}))]
    while waiting:
        name, extras = waiting.pop()
        for line in _requirements(name):
            wanted = Requirement(line)
            if not any(_applies(wanted, e) for e in extras | {""}):
                continue
            plain = re.sub(r"[-_.]+", "-", wanted.name).lower()
            if plain not in seen and _is_installed(plain):
                seen.add(plain)
                waiting.append((plain, frozenset(wanted.extras)))
    return seen


def _applies(wanted: Requirement, extra: str) -> bool:
    environment = {key: str(value) for key, value in default_environment().items()}
    return wanted.marker is None or wanted.marker.evaluate(environment | {"extra": extra})


def _requirements(name: str) -> list[str]:
    """What a package needs; Vastus itself by its pyproject.toml, as an installation of it may be older."""
    if name == "vastus":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"]
        return [*project["dependencies"], *(_with_extra(line, extra) for extra in extras for line in extras[extra])]
    try:
        return list(requires(name) or ())
    except PackageNotFoundError:
        return []


def _with_extra(line: str, extra: str) -> str:
    wanted = Requirement(line)
    own = f'extra == "{extra}"'
    wanted.marker = Marker(own if wanted.marker is None else f"({wanted.marker}) and {own}")
    return str(wanted)


def _is_installed(name: str) -> bool:
    try:
        metadata(name)
    except PackageNotFoundError:
        return False
    return True


def page() -> str:
    """Write the page."""
    rows = [f"| {p.name} | {p.licence.replace('|', '/')} | {', '.join(p.needed_by)} |" for p in needed_packages()]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(needed_packages())} packages")
