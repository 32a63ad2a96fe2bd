import subprocess
import sys
from pathlib import Path

import pytest

from vastus.errors import OutputError
from vastus.io.folder_lock import take_folder_lock

_HOLD = (
    "import sys; from pathlib import Path; from vastus.io.folder_lock import take_folder_lock\n"
    "claim = take_folder_lock(Path(sys.argv[1])); print(claim is not None, flush=True); sys.stdin.read()"
)


def test_one_at_a_time_in_one_process(tmp_path: Path) -> None:
    first = take_folder_lock(tmp_path / "lock")
    assert first is not None
    assert take_folder_lock(tmp_path / "lock") is None
    first.release()
    first.release()
    with take_folder_lock(tmp_path / "lock") as second:
        assert second is not None
    assert take_folder_lock(tmp_path / "lock") is not None


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline().strip() == "True"
    assert take_folder_lock(file) is None
    other.kill()
    other.wait()
    assert take_folder_lock(file) is not None


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="can't be locked"):
        take_folder_lock(tmp_path / "none" / "lock")
