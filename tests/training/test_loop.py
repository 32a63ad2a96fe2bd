import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch

from training.tiny import SETTINGS, Stripes, tiny_config
from vastus.errors import SettingsError, TrainingError
from vastus.training.checkpoint import CHECKPOINT_FILE, load_state
from vastus.training.config import CONFIG_FILE
from vastus.training.loop import TrainOptions, train
from vastus.training.sources import Patch

HERE = Path(__file__).parent
QUIET = TrainOptions(workers=0, progress=False)
RUN_TINY = [sys.executable, "-m", "training.run_tiny"]
ALONE = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}


def _losses(run: Path) -> dict[int, str]:
    with (run / "log.csv").open() as file:
        return {int(row["step"]): row["loss"] for row in csv.DictReader(file)}


def _weights(run: Path) -> dict[str, torch.Tensor]:
    state = load_state(run)
    assert state is not None
    return state.network | {f"average.{k}": v for k, v in state.average.items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_writes_its_settings_logs_picture_and_checkpoint(tmp_path: Path) -> None:
    result = train(tiny_config(), Stripes(), Stripes(seed=9), tmp_path, options=QUIET)
    assert result.steps == 8
    assert sorted(_losses(tmp_path)) == list(range(1, 9))
    with (tmp_path / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == [4, 8]
    assert set(rows[0]) == {"step", "mean_dice", "femur", "sartorius"}
    assert (tmp_path / CONFIG_FILE).is_file()
    assert (tmp_path / "pictures" / "step_000008.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").iterdir())


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    class Intruder(Stripes):
        """Starts a second run in the folder while the first asks for a window."""

        refused = 0

        def patch(self, index: int) -> Patch:
            with pytest.raises(SettingsError, match="Another process trains"):
                train(tiny_config(), Stripes(), Stripes(seed=9), tmp_path, options=QUIET)
            Intruder.refused += 1
            return super().patch(index)

    train(tiny_config(steps=2), Intruder(), Stripes(seed=9), tmp_path, options=QUIET)
    assert Intruder.refused
    train(tiny_config(steps=3), Stripes(), Stripes(seed=9), tmp_path, options=QUIET)  # free again


def test_it_learns(tmp_path: Path) -> None:
    config = tiny_config(steps=40, validation_steps=40, ema_decay=0.8, checkpoint_steps=100)
    result = train(config, Stripes(), Stripes(seed=9), tmp_path, options=QUIET)
    assert result.mean_dice > 0.8


def test_only_every_third_step_trains_the_full_resolution_head(tmp_path: Path) -> None:
    start = tmp_path / "start"
    train(tiny_config(steps=1, head_every=3), Stripes(), Stripes(seed=9), start, options=QUIET)
    first = _weights(start)
    train(tiny_config(steps=3, head_every=3), Stripes(), Stripes(seed=9), start, options=QUIET)
    second = _weights(start)
    train(tiny_config(steps=4, head_every=3), Stripes(), Stripes(seed=9), start, options=QUIET)
    third = _weights(start)
    head = "logits.weight"
    assert torch.equal(first[head], second[head])
    assert not torch.equal(second[head], third[head])
    assert not torch.equal(first["stem.weight"], second["stem.weight"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_whatever_the_number_of_workers(tmp_path: Path) -> None:
    # As programs of their own, as users train. In a pytest process that had run tests of other parts before, this was
    # seen to die of SIGSEGV once in a few runs of the whole suite.
    for name, workers in (("a", "0"), ("b", "1")):
        result = subprocess.run(
            [*RUN_TINY, tmp_path / name, "muon", "0.02", workers],
            cwd=HERE.parent,
            env=ALONE,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert result.returncode == 0, result.stderr
    assert _losses(tmp_path / "a") == _losses(tmp_path / "b")
    assert _same(_weights(tmp_path / "a"), _weights(tmp_path / "b"))


def test_another_seed_gives_another_run(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tiny_config(steps=3, seed=seed), Stripes(), Stripes(seed=9), tmp_path / name, options=QUIET)
    assert _same(_weights(tmp_path / "a"), _weights(tmp_path / "b"))
    assert not _same(_weights(tmp_path / "a"), _weights(tmp_path / "c"))


def test_the_network_has_the_threads_asked_for(tmp_path: Path) -> None:
    # Whatever number compiled loops, which share OpenMP with torch, left behind.
    torch.set_num_threads(2)
    train(tiny_config(steps=1), Stripes(), Stripes(seed=9), tmp_path, options=TrainOptions(workers=0, threads=1))
    assert torch.get_num_threads() == 1


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_killed_at_random_it_ends_bit_by_bit_like_a_run_that_was_not(tmp_path: Path, optimiser: str) -> None:
    def run(folder: Path) -> subprocess.Popen[bytes]:
        command = [*RUN_TINY, str(folder), optimiser, "0.02"]
        return subprocess.Popen(command, cwd=HERE.parent, env=ALONE, stderr=subprocess.PIPE, start_new_session=True)

    straight = run(tmp_path / "straight")
    assert straight.wait(240) == 0, straight.stderr.read().decode() if straight.stderr else ""
    chance = random.Random(3)
    kills = 0
    while True:
        process = run(tmp_path / "killed")
        log = tmp_path / "killed" / "log.csv"
        begun = len(log.read_text().splitlines()) if log.is_file() else 1
        while process.poll() is None and not (log.is_file() and len(log.read_text().splitlines()) > begun + 1):
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.06))
        if process.poll() is not None or kills == 3:
            assert process.wait(240) == 0, process.stderr.read().decode() if process.stderr else ""
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 2
    assert _losses(tmp_path / "straight") == _losses(tmp_path / "killed")
    assert _same(_weights(tmp_path / "straight"), _weights(tmp_path / "killed"))


def test_a_longer_length_continues_and_other_settings_are_refused(tmp_path: Path) -> None:
    train(tiny_config(steps=2), Stripes(), Stripes(seed=9), tmp_path, options=QUIET)
    assert train(tiny_config(steps=4), Stripes(), Stripes(seed=9), tmp_path, options=QUIET).steps == 4
    with pytest.raises(SettingsError, match="learning_rate"):
        train(tiny_config(steps=4, learning_rate=0.5), Stripes(), Stripes(seed=9), tmp_path, options=QUIET)


def test_a_wall_clock_limit_ends_the_run_annealed(tmp_path: Path) -> None:
    config = tiny_config(steps=None, minutes=0.05, warmup=0.1)
    result = train(config, Stripes(), Stripes(seed=9), tmp_path, options=QUIET)
    assert 3.0 <= result.seconds < 30.0
    with (tmp_path / "log.csv").open() as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert max(rates) > 0.015
    assert rates[-1] < 0.25 * max(rates)


def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not finite at step 20 .* windows 20"):
        train(tiny_config(steps=30, validation_steps=100), Stripes(broken=20), Stripes(seed=9), tmp_path, options=QUIET)
    state = load_state(tmp_path)
    assert state is not None
    assert state.step == 20
    assert all(bool(v.isfinite().all()) for v in state.network.values())


def test_only_background_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="all background"):
        train(tiny_config(), Stripes(empty=True), Stripes(seed=9), tmp_path, options=QUIET)


def test_a_class_id_beyond_the_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"\[7\]"):
        train(tiny_config(), Stripes(highest=7), Stripes(seed=9), tmp_path, options=QUIET)


def test_a_label_that_never_occurs_is_named_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(steps=2, classes=["background", "femur", "sartorius", "gracilis"])
    train(config, Stripes(), Stripes(seed=9), tmp_path, options=QUIET)
    assert "Never seen in the logged batches: gracilis" in capsys.readouterr().err


def test_a_full_disk_is_named_and_leaves_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny_config(steps=2), Stripes(), Stripes(seed=9), tmp_path, options=QUIET)
    before = (tmp_path / CHECKPOINT_FILE).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="No space left"):
        train(tiny_config(steps=4), Stripes(), Stripes(seed=9), tmp_path, options=QUIET)
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".vastus-")]


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"half a file")
    with pytest.raises(TrainingError, match="damaged"):
        train(tiny_config(), Stripes(), Stripes(seed=9), tmp_path, options=QUIET)


@pytest.mark.slow
def test_two_processes_train_like_one_with_twice_the_batch(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--master_addr=127.0.0.1",
        "--master_port=29631",
        "-m",
        "training.run_tiny",
        str(tmp_path / "two"),
        "adamw",
        "0.001",
    ]
    done = subprocess.run(
        command, cwd=HERE.parent, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    state = load_state(tmp_path / "two")
    assert state is not None
    assert state.step == 6
    # Dice is taken over each process's own batch, so that only cross-entropy makes both exactly equal.
    config = tiny_config(steps=6, batch_size=2, optimiser="adamw", learning_rate=0.001, dice_weight=0.0)
    torch.set_num_threads(1)
    train(config, Stripes(), Stripes(seed=9), tmp_path / "one", options=QUIET)
    other = load_state(tmp_path / "one")
    assert other is not None
    for name, value in state.network.items():
        torch.testing.assert_close(value, other.network[name], rtol=2e-3, atol=2e-4)


def test_the_window_of_the_settings_is_what_the_network_sees() -> None:
    assert Stripes().patch(0).image.shape == SETTINGS.window_size
