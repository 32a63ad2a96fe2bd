"""The command itself: started as a user starts it, stopped, killed, started again."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from annotation_server import Client, label_bytes, phantom
from vastus.cli.main import app
from vastus.errors import MissingInputError, SettingsError


def start(project: Path, model: Path, *more: str) -> tuple[subprocess.Popen[str], Client]:
    command = [sys.executable, "-m", "vastus", "annotate", str(project), "--port", "0", "--weights", str(model), *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert process.stderr is not None
    assert process.stderr.readline() == "vastus annotate: loading\n"
    line = process.stderr.readline()
    found = re.search(r"3 scans\. .*(http://127\.0\.0\.1:\d+)", line)
    assert found, line + process.stderr.read()
    client = Client(found[1])
    for _ in range(200):
        try:
            client.get("/api/me")
            return process, client
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server does not answer")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_in_the_middle_of_saves_it_goes_on_where_it_was(project: Path, model: Path, tmp_path: Path) -> None:
    content = label_bytes(phantom(0).labels, tmp_path)
    process, client = start(project, model)
    saved: list[int] = []

    def save_on() -> None:
        try:
            while True:
                saved.append(client.post("/api/cases/scan0/versions?tag=final", content).json["version"])
        except (OSError, ValueError):
            return  # the server has gone

    threads = [threading.Thread(target=save_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(saved) < 5:
        time.sleep(0.01)
    process.kill()
    process.wait()
    for thread in threads:
        thread.join()

    process, client = start(project, model)
    versions = [v["version"] for v in client.get("/api/cases/scan0/versions").json]
    assert versions == list(range(1, len(versions) + 1)) and set(saved) <= set(versions)
    assert client.get(f"/api/cases/scan0/versions/{len(versions)}/labels.nii.gz").body == content
    newest = project / "annotation" / "cases" / "scan0" / "versions" / f"{len(versions):06d}.nii.gz"
    assert (project / "dataset" / "labelsTr" / "scan0.nii.gz").samefile(newest)
    assert not list((project / "annotation" / "incoming").iterdir())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (0, -signal.SIGTERM)


def test_what_can_not_be_started_is_said(project: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = runner.invoke(app, ["annotate", str(project), "--port", str(taken.getsockname()[1])])
    assert isinstance(result.exception, SettingsError) and "--port" in str(result.exception)
    assert isinstance(runner.invoke(app, ["annotate"]).exception, SettingsError)
    missing = runner.invoke(app, ["annotate", str(tmp_path / "nothing"), "--port", "0"])
    assert isinstance(missing.exception, MissingInputError)
    everywhere = ["annotate", str(project), "--host", "0.0.0.0", "--users", str(tmp_path / "u.json")]
    assert "--allow-host" in str(runner.invoke(app, everywhere).exception)
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"learning_speed": 1}))
    refused = runner.invoke(app, ["annotate", str(project), "--port", "0", "--train-config", str(bad)])
    assert isinstance(refused.exception, SettingsError) and "learning_speed" in str(refused.exception)
