from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from vastus.errors import OutputError
from vastus.io.atomic import atomic_folder, atomic_path, clean_up_all, ensure_folder, ensure_private_folder, write_text


def test_file_appears_only_when_whole(tmp_path: Path):
    target = tmp_path / "labels.nii.gz"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists()
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".nii.gz")
    assert target.read_bytes() == b"half"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(failure), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise failure
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match=r"No space left.*a\.csv"), atomic_path(tmp_path / "a.csv"):
        raise OSError(28, os.strerror(28))
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match=r"a\.csv"):
        write_text(tmp_path / "none" / "a.csv", "x")


def test_permissions_follow_the_umask(tmp_path: Path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "ä\n")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()


def test_folder_appears_only_when_whole(tmp_path: Path):
    target = tmp_path / "deep" / "bundle"
    with atomic_folder(target) as temporary:
        (temporary / "weights").write_bytes(b"1")
        assert not target.exists()
    assert (target / "weights").read_bytes() == b"1"
    assert list(target.parent.iterdir()) == [target]


def test_folder_failure_leaves_nothing(tmp_path: Path):
    with pytest.raises(ValueError, match="stop"), atomic_folder(tmp_path / "bundle") as temporary:
        (temporary / "weights").write_bytes(b"1")
        raise ValueError("stop")
    assert not list(tmp_path.iterdir())


def test_folder_with_content_is_not_replaced(tmp_path: Path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").touch()
    with pytest.raises(OutputError), atomic_folder(tmp_path / "bundle"):
        pass
    assert [p.name for p in tmp_path.rglob("*")] == ["bundle", "mine"]


def test_output_folder_is_made_or_refused(tmp_path: Path):
    assert ensure_folder(tmp_path / "a" / "b").is_dir()
    assert not list((tmp_path / "a" / "b").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't be written"):
        ensure_folder(tmp_path / "file")
    with pytest.raises(OutputError):
        ensure_folder(tmp_path / "file" / "below")


def test_what_is_unfinished_goes_when_the_process_is_stopped(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "folder") as folder, atomic_path(tmp_path / "file.txt") as file:
        (folder / "inside").write_text("x")
        file.write_text("y")
        clean_up_all()
        assert not folder.exists()
        assert not file.exists()
        folder.mkdir()
        file.touch()
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "file.txt"}
    clean_up_all()
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "file.txt"}


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_a_stop_right_after_something_was_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make):
    def make_and_stop(self: Path, *args: object, **options: object) -> None:
        make(self, *args, **options)
        if self.name.startswith(".vastus-"):
            assert self.exists()
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, make.__name__, make_and_stop)
    open_it = atomic_folder if make.__name__ == "mkdir" else atomic_path
    with pytest.raises(KeyboardInterrupt), open_it(tmp_path / "result"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_path_below_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "report.html").touch()
    with pytest.raises(OutputError, match=r"Not a directory.*below\.html"):
        write_text(tmp_path / "report.html" / "below.html", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_a_folder_for_patients_is_for_its_owner_and_one_that_was_there_stays_as_it_is(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert not ensure_private_folder(tmp_path / "new" / "data")
        assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700
        assert not ensure_private_folder(tmp_path / "new" / "data")
        (tmp_path / "old").mkdir()
        assert ensure_private_folder(tmp_path / "old")
        assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o755
    finally:
        os.umask(before)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        ensure_private_folder(tmp_path / "file" / "data")
