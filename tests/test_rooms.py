"""The house: data flows one way, so a room may import only rooms on its own floor's list or below."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "vastus"
FLOORS: dict[str, int] = {
    "compiled": 0,
    "__init__": 9,
    "anatomy": 0,
    "errors": 0,
    "volume": 1,
    "resampling": 1,
    "multiple_tests": 1,
    "muscle_volumes": 1,
    "io": 2,
    "preprocessing": 2,
    "inference": 3,
    "morphometry": 3,
    "evaluation": 3,
    "synthesis": 3,
    "refinement": 3,
    "training": 4,
    "sarcopenia": 4,
    "quality": 4,
    "cohort": 5,
    "report": 5,
    "datasets": 5,
    "pipeline": 6,
    "curation": 6,
    "dicom": 7,
    "node": 8,
    "batch": 8,
    "annotation": 8,
    "cli": 9,
    "__main__": 10,  # __init__ only names the public interface, and loads it when it is asked for
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vastus":
            names = [node.module] if node.module != "vastus" else [f"vastus.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("vastus.")]
        else:
            continue
        found |= {name.split(".")[1] for name in names if "." in name}
    return found & set(FLOORS)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_room_imports_one_above_it(path: Path) -> None:
    own = room(path)
    assert own in FLOORS, f"{own} has no floor yet"
    upwards = {other for other in imports(path) if other != own and FLOORS[other] >= FLOORS[own]}
    assert not upwards, f"{path.name} imports {sorted(upwards)}"
