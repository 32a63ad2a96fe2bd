"""Write the floors of the house into docs/why-architecture.md, from the map that tests/test_rooms.py holds.

Run it after a room was added: python tools/draw_floors.py
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "why-architecture.md"
_BEGIN, _END = "<!-- floors -->", "<!-- end of floors -->"


def floors() -> dict[int, list[str]]:
    """Give the rooms of every floor, read from the test's own table."""
    tree = ast.parse((ROOT / "tests" / "test_rooms.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "FLOORS" and node.value is not None:
            table: dict[str, int] = ast.literal_eval(node.value)
            return {f: [room for room, at in table.items() if at == f] for f in sorted(set(table.values()))}
    raise SystemExit("tests/test_rooms.py holds no table FLOORS")


def purpose(room: str) -> str:
    """Give the first sentence of a room's docstring."""
    path = ROOT / "src" / "vastus" / room
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return text.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")


def table() -> str:
    """Write the table, the top floor first."""
    rows = ["| floor | room | what it is for |", "|---|---|---|"]
    for floor, rooms in sorted(floors().items(), reverse=True):
        rows += [f"| {floor} | `{room}` | {purpose(room).replace('|', '/')} |" for room in rooms if room != "__init__"]
    return "\n".join(rows)


def drawn(text: str) -> str:
    """Put the table into the text of the page."""
    head, _, rest = text.partition(_BEGIN)
    tail = rest.partition(_END)[2] if _END in rest else rest
    return f"{head}{_BEGIN}\n\n{table()}\n\n{_END}\n{tail.lstrip(chr(10)) and chr(10)}{tail.lstrip(chr(10))}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
