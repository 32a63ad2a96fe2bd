"""Train on one person's anatomy, test on the other's, both ways: how far do the weights carry?

``python benchmarks/leave_one_person_out.py --atlas ATLAS -o OUT --minutes 60 [--network resunet] [--config FILE]``

Everything finished is kept: the same command goes on after a stop. Each direction makes a pool of bodies of one
person, trains on it, exports, makes ``--scans`` labelled scans of the other person (with ``--same`` as many new ones of
the same person too), segments them as a user would and scores them. OUT gets a folder a direction with the tables and
figures of ``vastus evaluate`` and one ``leave_one_person_out.csv``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vastus.evaluation.files import write_evaluation
from vastus.evaluation.runner import Rater, RunSettings, evaluate
from vastus.evaluation.table import ScoreSettings
from vastus.training.crossval import predict_cases
from vastus.training.dataset import TrainingCase, read_dataset

PEOPLE = ("vhf", "vhm")
SPACING = "1.2,1.2,3"
_TEST_SEED = {"vhf": 70_000, "vhm": 71_000}
_POOL_SEED = {"vhf": 80_000, "vhm": 81_000}


@dataclass(frozen=True)
class Plan:
    """What the command line says."""

    atlas: Path
    output: Path
    training: tuple[str, ...]
    bodies: int
    scans: int
    same: bool


def vastus(*arguments: object) -> None:
    """Run one command of the package, as a user would."""
    call = "from vastus.cli.main import run; run()"
    subprocess.run([sys.executable, "-c", call, *map(str, arguments)], check=True)


def trained_run(person: str, plan: Plan) -> Path:
    """The run that saw only this person."""
    run = plan.output / f"run_{person}"
    pool = plan.output / f"pool_{person}"
    vastus(
        "synth",
        "--atlas",
        plan.atlas,
        "--person",
        person,
        "--pool",
        "-n",
        plan.bodies,
        "--seed",
        _POOL_SEED[person],
        "-o",
        pool,
    )
    vastus("train", "--synthetic", pool, "-o", run, *plan.training)
    return run


def test_cases(person: str, plan: Plan) -> list[TrainingCase]:
    """Scans of a person that nothing was trained on."""
    folder = plan.output / f"test_{person}"
    if not (folder / "dataset.json").is_file():
        vastus(
            "synth",
            "--atlas",
            plan.atlas,
            "--person",
            person,
            "-n",
            plan.scans,
            "--seed",
            _TEST_SEED[person],
            "--spacing",
            SPACING,
            "-o",
            folder,
        )
    return list(read_dataset(folder).cases)


def score(run: Path, tested: str, plan: Plan) -> pd.DataFrame:
    """Segment and score; returns the summary with a column for the direction."""
    trained = run.name.removeprefix("run_")
    folder = plan.output / f"{trained}_to_{tested}"
    cases = test_cases(tested, plan)
    predictions = folder / "predictions"
    predict_cases(run, [c for c in cases if not (predictions / f"{c.name}.nii.gz").is_file()], predictions)
    rater = Rater(run.name, predictions)
    settings = RunSettings(ScoreSettings(merge_sides=True))
    result = evaluate((rater,), plan.output / f"test_{tested}" / "labelsTr", settings)
    write_evaluation(result, folder)
    return result.summary.assign(trained_on=trained, tested_on=tested)


def main() -> None:
    """Both directions, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, required=True, help="folder that `vastus atlas` wrote")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of training, each direction")
    parser.add_argument("--network", default="resunet")
    parser.add_argument("--config", type=Path, help="settings of the runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bodies", type=int, default=150, help="of each pool")
    parser.add_argument("--scans", type=int, default=24, help="held out, of each person")
    parser.add_argument("--same", action="store_true", help="test on new bodies of the same person too")
    o = parser.parse_args()
    training = ["--minutes", str(o.minutes), "--network", o.network, "--device", o.device, "--threads", str(o.threads)]
    training += ["--config", str(o.config)] if o.config else []
    plan = Plan(o.atlas, o.output, tuple(training), o.bodies, o.scans, o.same)
    tables = []
    for person in PEOPLE:
        run = trained_run(person, plan)
        others = PEOPLE if plan.same else tuple(p for p in PEOPLE if p != person)
        tables += [score(run, tested, plan) for tested in others]
    table = pd.concat(tables)
    table.to_csv(plan.output / "leave_one_person_out.csv", index=False)
    foreground = table[(table["name"] == "foreground") & (table["over"] == "cases")]
    print(
        foreground.pivot_table(index=["trained_on", "tested_on"], columns="metric", values="mean").round(3).to_string()
    )


if __name__ == "__main__":
    main()
