from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

LIMIT_S = 180.0


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vastus", "app", "--folder", str(folder), "--no-browser", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def line_of(program: subprocess.Popen[str], words: str) -> str:
    assert program.stdout is not None
    seen = []
    for line in program.stdout:
        seen.append(line)
        if words in line:
            return line
    raise AssertionError(seen)


@pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal")
def test_it_starts_once_a_folder_and_ends_when_it_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "my Vastus"
    program = start(folder, "--port", "0")
    try:
        address = line_of(program, "Vastus is open:").split(": ", 1)[1].strip()
        limit = time.monotonic() + LIMIT_S
        while True:
            try:
                assert (
                    b"<title>Vastus</title>"
                    in urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
                    .open(address, timeout=30)
                    .read()
                )
                break
            except OSError:
                assert time.monotonic() < limit
        assert address.startswith("http://127.0.0.1:")
        again = start(folder)
        assert "open already: http://127.0.0.1:" in again.communicate(timeout=LIMIT_S)[0]
        assert again.returncode == 0
        taken = start(tmp_path / "other", "--port", address.split(":")[2].split("/")[0])
        assert "is taken" in taken.communicate(timeout=LIMIT_S)[0]
        assert taken.returncode != 0
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait(LIMIT_S)
    assert not (folder / "app" / "address").exists()
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "app" / "key").stat().st_mode & 0o077 == 0
