from pathlib import Path

from programs import load_program

ROOT = Path(__file__).parents[2]


def test_the_drawing_of_the_floors_is_the_tests_own_map() -> None:
    module = load_program(ROOT / "tools" / "draw_floors.py")
    assert {"io", "inference", "cli"} <= {room for rooms in module.floors().values() for room in rooms}
    assert module.table() in module.PAGE.read_text(encoding="utf-8"), "run python tools/draw_floors.py"


def test_the_recipes_name_files_that_exist() -> None:
    import re

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(src/vastus/[\w/.]+)`", text)) | set(re.findall(r"\]\((docs/[\w./-]+)\)", text))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
