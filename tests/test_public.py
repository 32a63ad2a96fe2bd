"""The public names: all there, loaded late, documented."""

import subprocess
import sys
from pathlib import Path

import pytest

import vastus

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", vastus.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(vastus, name)
    page = (ROOT / "docs" / "reference-python.md").read_text(encoding="utf-8")
    assert name == "__version__" or f"`{name}`" in page
    if callable(value):
        assert value.__doc__


def test_the_list_and_the_map_name_the_same() -> None:
    assert sorted(vastus._ROOM_OF) == sorted(set(vastus.__all__) - {"__version__"})
    assert set(vastus.__all__) <= set(dir(vastus))


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = vastus.no_such_name


@pytest.mark.parametrize("module", ["vastus", "vastus.cli.main"])
def test_importing_loads_no_library(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "loaded = {m.split('.')[0] for m in sys.modules}; "
        "print(sorted(loaded & {'numpy', 'scipy', 'pandas', 'numba', 'torch', 'pydantic', 'openvino'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
