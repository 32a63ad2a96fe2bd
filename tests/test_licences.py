"""No package that is installed with Vastus may bind its users to the GPL, and the list of licences is complete."""

import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from programs import load_program

ROOT = Path(__file__).parents[1]
# Strong copyleft; the lesser kind (LGPL) is fine for a library that is used unchanged.
STRONG = re.compile(r"(?<!L)\bA?GPL|Affero|(?<!Lesser )General Public License", re.IGNORECASE)


@pytest.fixture(scope="module")
def lister() -> ModuleType:
    return load_program(ROOT / "tools" / "list_licences.py")


def test_the_pattern_knows_the_strong_licences() -> None:
    for text in ("GPL-3.0", "GPLv2+", "AGPL-3.0-only", "GNU General Public License v3 (GPLv3)", "GNU Affero GPL"):
        assert STRONG.search(text), text
    for text in ("LGPL-3.0-or-later", "GNU Lesser General Public License v3 (LGPLv3)", "MIT", "MPL-2.0"):
        assert not STRONG.search(text), text


def test_nothing_that_users_install_is_under_the_gpl(lister: ModuleType) -> None:
    packages = lister.needed_packages()
    assert {"numpy", "pydicom", "torch", "fastapi", "distributed"} <= {p.name for p in packages}
    assert {p.name: p.licence for p in packages if STRONG.search(p.licence)} == {}
    assert {p.name for p in packages if p.licence in ("", "not said")} == set()


def test_what_pyproject_asks_for_counts_even_in_an_older_installation(lister: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed_by = {p.name: p.needed_by for p in lister.needed_packages()}
    asked = {"core": project["dependencies"], **project["optional-dependencies"]}
    for extra in ("core", *lister.USED_EXTRAS):
        for name in (Requirement(line).name.lower() for line in asked[extra]):
            assert {"core", extra} & set(needed_by.get(name, ())), f"{name} of {extra}"


def test_the_page_lists_every_package(lister: ModuleType) -> None:
    # Not the other way round: other systems and Python versions need a few packages less.
    listed = set(re.findall(r"^\| ([a-z0-9-]+) \|", lister.PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    lacking = {p.name for p in lister.needed_packages()} - listed
    assert not lacking, f"run python tools/list_licences.py: {sorted(lacking)}"
