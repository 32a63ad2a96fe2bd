"""Leave one person out: train on bodies of the others, test on bodies of that person. How far do the weights carry?

``python benchmarks/leave_one_person_out.py --atlas ATLAS -o OUT --minutes 60 --people "vhf,vhm,pelvic004*"``

Each of ``--people`` is one person: a name of the atlas, or a pattern for several files of the same person. One after
the other is left out. Whoever has anatomy of the one left out is kept from the pool, too: people between or mixed, and
people from label maps whom that person completed. Older files that do not note this are judged by their names;
an old mixture (``mix_000``) is never taken. ``--others`` says who may be in the pools. Without ``--people``: one of
the two of the mesh pack against the other, and nobody else.

With ``--data`` drawn scans are mixed in, and ``--init`` starts from given weights. Nobody left out may be in these.
The shipped weights saw both people of the mesh pack.

Everything finished is kept: the same command goes on after a stop. Each direction makes a pool, trains on it, exports,
makes ``--scans`` labelled scans of the person left out (with ``--same`` as many new ones of the others too), segments
them as a user would and scores them. OUT gets a folder a direction with the tables and figures of ``vastus evaluate``,
``leave_one_person_out.csv`` with every structure, and ``directions.csv`` with one row a direction.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import pandas as pd

from vastus.cli.synth import people_files
from vastus.errors import OutputError, SettingsError
from vastus.evaluation.files import write_evaluation
from vastus.evaluation.runner import Rater, RunSettings, evaluate
from vastus.evaluation.table import ScoreSettings
from vastus.synthesis.atlas import UNKNOWN_PEOPLE, read_made_from
from vastus.training.crossval import predict_cases
from vastus.training.dataset import TrainingCase, read_dataset

PEOPLE: Final = ("vhf", "vhm")
SPACING: Final = "1.2,1.2,3"
_TEST_SEED: Final = 70_000
_POOL_SEED: Final = 80_000


@dataclass(frozen=True)
class Direction:
    """Whom a run may see, and on whom it is tested.

    Attributes:
        left_out: name or pattern of the person.
        pool: names of the people whose bodies it is trained on.
    """

    left_out: str
    pool: tuple[str, ...]

    @property
    def name(self) -> str:
        """For folders."""
        return f"without_{plain(self.left_out)}"


@dataclass(frozen=True)
class Plan:
    """What the command line says."""

    atlas: Path
    output: Path
    training: tuple[str, ...]
    bodies: int
    scans: int
    same: bool


def plain(pattern: str) -> str:
    """A pattern as a part of a file's name."""
    return re.sub(r"[^\w.-]", "", pattern)


def directions(atlas: Path, people: Sequence[str], others: Sequence[str]) -> list[Direction]:
    """Who is left out, one after the other, and who stays in the pool.

    Args:
        atlas: folder of people.
        people: names or patterns; each is one person.
        others: patterns of those who may be in the pools; none: all of the folder.

    Raises:
        MissingInputError: nobody fits one of the names.
        SettingsError: two names for one person, or nobody is left for a pool.
    """
    if len({plain(p) for p in people}) < len(people):
        raise SettingsError("Two of --people have the same name.")
    made_from = {p.stem.removeprefix("atlas_"): read_made_from(p) for p in people_files(atlas, others)}
    found = []
    for person in people:
        people_files(atlas, [person])
        pool = tuple(sorted(name for name, sources in made_from.items() if not _has(sources, person)))
        if not pool:
            raise SettingsError(f"Everybody has anatomy of {person!r}.", remedy="Add people made without this one.")
        found.append(Direction(person, pool))
    return found


def _has(sources: Sequence[str], person: str) -> bool:
    return any(name == UNKNOWN_PEOPLE or fnmatchcase(name, person) for name in sources)


def vastus(*arguments: object) -> None:
    """Run one command of the package, as a user would."""
    call = "from vastus.cli.main import run; run()"
    subprocess.run([sys.executable, "-c", call, *map(str, arguments)], check=True)


def trained_run(direction: Direction, plan: Plan) -> Path:
    """The run that saw only the people of the pool."""
    run = plan.output / f"run_{direction.name}"
    pool = plan.output / f"pool_{direction.name}"
    _keep_to_people(plan.output / f"people_{direction.name}.json", direction)
    named = [word for person in direction.pool for word in ("--person", person)]
    vastus("synth", "--atlas", plan.atlas, *named, "--pool", "-n", plan.bodies, "--seed", _POOL_SEED, "-o", pool)
    vastus("train", "--synthetic", pool, "-o", run, *plan.training)
    return run


def _keep_to_people(path: Path, direction: Direction) -> None:
    """Note who may be in a pool; refuse to fill it up with others.

    Raises:
        OutputError: the folder has a pool of other people.
    """
    asked = {"left_out": direction.left_out, "pool": list(direction.pool)}
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != asked:
        raise OutputError("This folder has a pool of other people.", path=path, remedy="Take a new folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asked, indent=1), encoding="utf-8")


def test_cases(person: str, plan: Plan) -> list[TrainingCase]:
    """Scans of a person that nothing was trained on."""
    folder = plan.output / f"test_{plain(person)}"
    if not (folder / "dataset.json").is_file():
        how = ("-n", plan.scans, "--seed", _TEST_SEED, "--spacing", SPACING, "-o", folder)
        vastus("synth", "--atlas", plan.atlas, "--person", person, *how)
    return list(read_dataset(folder).cases)


def score(run: Path, direction: Direction, tested: str, plan: Plan) -> pd.DataFrame:
    """Segment and score; returns the summary with columns for the direction."""
    folder = plan.output / f"{direction.name}_on_{plain(tested)}"
    cases = test_cases(tested, plan)
    predictions = folder / "predictions"
    predict_cases(run, [c for c in cases if not (predictions / f"{c.name}.nii.gz").is_file()], predictions)
    rater = Rater(run.name, predictions)
    settings = RunSettings(ScoreSettings(merge_sides=True))
    result = evaluate((rater,), plan.output / f"test_{plain(tested)}" / "labelsTr", settings)
    write_evaluation(result, folder)
    return result.summary.assign(left_out=direction.left_out, tested_on=tested, trained_on=" ".join(direction.pool))


def one_row_each(table: pd.DataFrame) -> pd.DataFrame:
    """One row a direction: the mean of all structures, a column each measure."""
    foreground = table[(table["name"] == "foreground") & (table["over"] == "cases")]
    keys = ["left_out", "tested_on", "trained_on"]
    rows = foreground.pivot_table(index=keys, columns="metric", values="mean")
    return rows.loc[list(foreground[keys].drop_duplicates().itertuples(index=False, name=None))].reset_index()


def tested_people(direction: Direction, people: Sequence[str], plan: Plan) -> list[str]:
    """The one left out; if asked, also those of the people whose bodies are in the pool."""
    known = [p for p in people if any(fnmatchcase(name, p) for name in direction.pool)]
    return [direction.left_out, *(known if plan.same else ())]


def _comma(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def read_plan(arguments: Sequence[str] | None = None) -> tuple[Plan, list[Direction], tuple[str, ...]]:
    """Read the command line: how, in which directions, and the people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, required=True, help="folder that `vastus atlas` wrote")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=_comma, help="each is left out once: names or patterns with commas")
    parser.add_argument("--others", type=_comma, help="who may be in the pools: patterns; default: all of the atlas")
    parser.add_argument("--minutes", type=float, required=True, help="of training, each direction")
    parser.add_argument("--network", help="default: resunet, or that of --init")
    parser.add_argument("--config", type=Path, help="settings of the runs")
    parser.add_argument("--data", type=Path, help="drawn scans, mixed into the training")
    parser.add_argument("--fold", help="of --data, held out; all: none")
    parser.add_argument("--mix", type=float, help="share of synthetic windows beside --data")
    parser.add_argument("--init", help="weights to start from: a bundle, a name, or a run")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bodies", type=int, default=150, help="of each pool")
    parser.add_argument("--scans", type=int, default=24, help="held out, of each person")
    parser.add_argument("--same", action="store_true", help="test on new bodies of the people of the pool, too")
    o = parser.parse_args(arguments)
    network = o.network or (None if o.init else "resunet")
    options = {"--network": network, "--config": o.config, "--data": o.data, "--fold": o.fold, "--mix": o.mix}
    options["--init"] = o.init
    training = ["--minutes", str(o.minutes), "--device", o.device, "--threads", str(o.threads)]
    training += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    people = o.people or PEOPLE
    others = o.others or (() if o.people else PEOPLE)
    plan = Plan(o.atlas, o.output, tuple(training), o.bodies, o.scans, o.same)
    return plan, directions(o.atlas, people, others), people


def main(arguments: Sequence[str] | None = None) -> None:
    """All directions; the tables are written anew after each."""
    plan, ways, people = read_plan(arguments)
    tables = []
    for direction in ways:
        print(f"{direction.name}: bodies of {', '.join(direction.pool)}", flush=True)
        run = trained_run(direction, plan)
        tables += [score(run, direction, tested, plan) for tested in tested_people(direction, people, plan)]
        table = pd.concat(tables)
        table.to_csv(plan.output / "leave_one_person_out.csv", index=False)
        one_row_each(table).to_csv(plan.output / "directions.csv", index=False)
    print(one_row_each(table).drop(columns="trained_on").round(3).to_string(index=False))


if __name__ == "__main__":
    main()
