from __future__ import annotations

import os
import signal
import sys

import pytest
from typer.testing import CliRunner

from vastus import second_process
from vastus.cli import main, segment


@pytest.fixture
def _own_handler():
    """Whatever a command does about the signal, it must not end the tests, nor stay behind."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal to send")
@pytest.mark.usefixtures("_own_handler")
@pytest.mark.parametrize(
    ("command", "work"),
    [("evaluate", "vastus.evaluation.runner.evaluate"), ("cohort", "vastus.cohort.runner.run_cohort")],
)
def test_a_command_that_is_told_to_end_takes_its_second_process_along(tmp_path, monkeypatch, command, work):
    started = []
    start = second_process._start

    def start_and_note(modules):
        started.append(start(()))
        return started[-1]

    monkeypatch.setattr(second_process, "_start", start_and_note)
    monkeypatch.setattr(second_process, "usable_processors", lambda: 2)
    monkeypatch.setattr(work, lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    arguments = [command, str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main.app, arguments)
    assert result.exit_code == segment.INTERRUPTED, result.output
    assert len(started) == 1 and started[0].returncode is not None
