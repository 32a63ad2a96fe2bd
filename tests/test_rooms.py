"""The house: data flows one way. A room imports only rooms of lower floors, and no module imports itself by detours."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "vastus"
FLOORS: dict[str, int] = {
    "light_imports": -2,
    "loops_ahead": -2,
    "loops": -1,
    "compiled": 0,
    "priority": 0,
    "processors": 0,
    "garbage": 0,
    "second_process": 1,
    "blocks": 0,
    "resampling_kernels": 0,
    "compile_ahead": 0,
    "label_arrays": 1,
    "__init__": 11,
    "anatomy": 0,
    "errors": 0,
    "version": 0,
    "display_windows": 0,
    "attempts": 1,
    "volume": 1,
    "resampling": 1,
    "multiple_tests": 1,
    "muscle_volumes": 1,
    "terminology": 1,
    "sex": 1,
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
    "measuring": 5,
    "rehearsal": 5,
    "run_record": 5,
    "cohort": 5,
    "report": 5,
    "datasets": 5,
    "pipeline": 6,
    "curation": 6,
    "dicom": 7,
    "warm": 7,
    "formats": 8,
    "importing": 8,
    "node": 9,
    "batch": 9,
    "annotation": 9,
    "app": 10,
    "doctor": 10,
    "cli": 11,
    "__main__": 12,  # __init__ only names the public interface, and loads it when it is asked for
}


INSIDE_ANNOTATION: dict[str, int] = {
    "logs": 0,
    "extra": 0,
    "hosts": 0,
    "refusals": 0,
    "names": 1,
    "structures": 1,
    "uploads": 2,
    "project": 2,
    "models": 3,
    "project.uncertainty_queue": 4,  # asks the models
    "project.project": 5,  # where a project's parts come together
    "first_labels": 6,
    "http": 6,
}
"""Floors of the sub-rooms of annotation, and of single modules that lie on another than their room."""


def module_of(path: Path, package: Path = PACKAGE) -> str:
    name = ".".join((package.name, *path.relative_to(package).with_suffix("").parts))
    return name.removesuffix(".__init__")


def imported(text: str, modules: Mapping[str, object] | set[str]) -> Iterator[str]:
    """Modules that a module imports, also those inside functions and those for type checks only."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def import_graph(package: Path) -> dict[str, set[str]]:
    texts = {module_of(path, package): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    return {name: (set(imported(text, texts)) & texts.keys()) - {name} for name, text in texts.items()}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of a graph, its first member again at the end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


GRAPH = import_graph(PACKAGE)


def room(module: str) -> str:
    """The room of a module; that of the package itself is its front door."""
    return (*module.split("."), "__init__")[1]


def annotation_floor(module: str) -> int | None:
    """Floor of a module inside annotation: its own, or that of its room."""
    inside = module.removeprefix("vastus.annotation.")
    return INSIDE_ANNOTATION.get(inside, INSIDE_ANNOTATION.get(inside.split(".")[0]))


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_no_room_imports_one_above_it(module: str) -> None:
    own = room(module)
    assert own in FLOORS, f"{own} has no floor yet"
    others = {room(other) for other in GRAPH[module]} - {own}
    upwards = {other for other in others if FLOORS[other] >= FLOORS[own]}
    assert not upwards, f"{module} imports {sorted(upwards)}"


def test_no_module_imports_itself_by_detours() -> None:
    found = circle(GRAPH)
    assert not found, " -> ".join(found)


@pytest.mark.parametrize("module", sorted(name for name in GRAPH if name.startswith("vastus.annotation.")))
def test_no_sub_room_of_annotation_imports_one_above_it(module: str) -> None:
    own = annotation_floor(module)
    assert own is not None, f"{module} has no floor yet"
    for other in GRAPH[module]:
        if other.startswith("vastus.annotation."):
            floor = annotation_floor(other)
            assert floor is not None and floor <= own, f"{module} imports {other}, which lies above it"


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    package = tmp_path / "vastus"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").write_text("from vastus.version import __version__\n")
    (package / "version.py").write_text("__version__ = '1'\n")
    (package / "room" / "__init__.py").write_text("")
    (package / "room" / "a.py").write_text("from vastus.room import b\nfrom vastus.version import __version__\n")
    (package / "room" / "b.py").write_text("def late():\n    import vastus.room.c\n")
    (package / "room" / "c.py").write_text("import json\n")
    assert circle(import_graph(package)) == []
    (package / "room" / "c.py").write_text("if TYPE_CHECKING:\n    from vastus.room.a import A\n")
    found = circle(import_graph(package))
    assert found[0] == found[-1] and {name.rpartition(".")[2] for name in found} == {"a", "b", "c"}
