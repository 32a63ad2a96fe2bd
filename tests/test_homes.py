"""Some facts have one home: nobody else writes them down."""

import ast
import tomllib
from pathlib import Path

import pytest

from vastus.version import __version__

PACKAGE = Path(__file__).parents[1] / "src" / "vastus"
HOMES = {
    "io/nnunet_layout.py": ("imagesTr", "labelsTr", "dataset.json", "splits_final.json", "_0000", "_0000.nii.gz"),
    "dicom/pacs_address.py": ("dicomweb", "dicomwebs", "dicoms", "/studies/", "/series/", "dicomweb:", "dicoms:"),
    "version.py": ("0.1.0",),
    "io/tables.py": (
        "volumes.csv",
        "measures.csv",
        "levels.csv",
        "results.xlsx",
        "labels.seg.nrrd",
        "seg.dcm",
        "sr.dcm",
    ),
}


def texts(source: str) -> set[str]:
    """Text constants of a module, also the fixed parts of f-strings; no docstrings."""
    tree = ast.parse(source)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
    return {node.value for node in nodes if isinstance(node.value, str)}


def test_a_fact_in_an_f_string_is_seen_and_one_in_a_docstring_is_not() -> None:
    assert texts('"""Writes imagesTr."""\npath = f"{case}_0000.nii.gz"\n') == {"_0000.nii.gz"}


@pytest.mark.parametrize("home", HOMES)
def test_a_fact_stands_in_its_home_only(home: str) -> None:
    facts = set(HOMES[home])
    assert facts & texts((PACKAGE / home).read_text(encoding="utf-8"))
    found = {
        str(path.relative_to(PACKAGE)): sorted(facts & texts(path.read_text(encoding="utf-8")))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / home
    }
    assert {name: said for name, said in found.items() if said} == {}


def test_package_and_citation_say_the_version_of_the_program() -> None:
    root = PACKAGE.parents[1]
    package = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert package == __version__
    assert f"\nversion: {__version__}\n" in (root / "CITATION.cff").read_text(encoding="utf-8")
