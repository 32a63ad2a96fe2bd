from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from vastus.compiled import cache_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="rights of folders")


@pytest.fixture
def nothing_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Even for root: nothing may be written but the folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("vastus.compiled.os.access", lambda *_: False)
    return tmp_path


def test_numbas_own_choice_is_left_where_it_works(tmp_path: Path) -> None:
    assert cache_folder(tmp_path, {"HOME": "/nonexistent"}) is None
    assert cache_folder(Path("/nonexistent"), {"HOME": str(tmp_path)}) is None or os.getuid() == 0


def test_without_a_place_it_is_a_private_folder_that_stays_the_same(nothing_writable: Path) -> None:
    folder = cache_folder(Path("/nonexistent"), {"HOME": "/nonexistent"})
    assert folder is not None and folder.parent == nothing_writable
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache_folder(Path("/nonexistent"), {"HOME": "/nonexistent"}) == folder
    # The one that was named is closed to us, as in the container for a user other than its own.
    assert cache_folder(Path("/nonexistent"), {"HOME": "/nonexistent", "NUMBA_CACHE_DIR": "/mine"}) == folder


def test_a_folder_that_was_named_is_taken(tmp_path: Path) -> None:
    assert cache_folder(Path("/nonexistent"), {"HOME": "/nonexistent", "NUMBA_CACHE_DIR": str(tmp_path / "a")}) is None


def test_a_folder_within_a_closed_one_can_not_be_written_to(
    nothing_writable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(place: Path) -> bool:
        if place.is_relative_to("/closed/in"):
            raise PermissionError(13, "Permission denied", str(place))
        return True

    monkeypatch.setattr("vastus.compiled.Path.exists", closed)
    named = {"HOME": "/closed/in", "NUMBA_CACHE_DIR": "/closed/in/loops"}
    folder = cache_folder(Path("/closed/in/package"), named)
    assert folder is not None and folder.parent == nothing_writable


@pytest.mark.parametrize("how", ["open to others", "a link"])
def test_a_folder_that_others_could_have_filled_is_not_trusted(nothing_writable: Path, how: str) -> None:
    expected = nothing_writable / f"vastus-compiled-{os.getuid()}"
    if how == "a link":
        (nothing_writable / "elsewhere").mkdir(mode=0o700)
        expected.symlink_to(nothing_writable / "elsewhere")
    else:
        expected.mkdir()
        expected.chmod(0o777)
    folder = cache_folder(Path("/nonexistent"), {"HOME": "/nonexistent"})
    assert folder is not None and folder != expected and folder.stat().st_mode & 0o077 == 0
