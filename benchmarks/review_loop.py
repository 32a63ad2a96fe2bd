"""Play a reader of labels that a network made: which order of opening them saves corrections?

    python benchmarks/review_loop.py TABLE.csv [TABLE.csv ...] -o OUT [--repeats 3]

Each table has a row a structure with the columns ``scan``, ``label``, ``dice`` and ``expected``: what a network did,
and what ``vastus.quality`` expected of it without knowing. ``tools/fit_quality.py fit ... --results OUT`` writes two:
``agreement_folds.csv`` (training patients, each judged by a fit without this patient; several views of a scan) and
``agreement_test.csv`` (patients that nothing was fitted on).

The reader opens one scan after another and corrects every structure in it; a corrected structure has a Dice of 1. The
labels of the data set are as good as the mean Dice over all structures. A random order closes the gap to 1 evenly: the
mean over all random orders is a straight line, and is computed, not played. Where a scan has several views, each repeat
takes one of them at random, so that the repeats are different sets of scans.

Three readers are played. One opens whole scans, and a scan is the unit of work. One opens whole scans too, but the
structures in them are the unit: a scan with many costs more. One opens single structures, of whatever scan.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.io.atomic import ensure_folder, write_text

TURNED: Final = ("upside_down", "back_to_front")
"""Views in which a body is turned: such a scan stops a reader anyway."""
CLOSED: Final = (0.25, 0.5, 0.75)
"""Shares of the gap to perfect labels at which the orders are compared."""
WRONG_BELOW: Final = 0.7


@dataclass(frozen=True)
class Opened:
    """What is opened at once, a scan or a structure: Dice and expected agreement of its structures."""

    dice: NDArray[np.float64]
    expected: NDArray[np.float64]


Order = Callable[[Opened], float]
"""What is largest comes first."""
ORDERS: Final[dict[str, Order]] = {
    "sum of what is to mend": lambda one: float((1 - one.expected).sum()),
    "mean expected agreement": lambda one: float(-one.expected.mean()),
    "number of structures": lambda one: float(len(one.dice)),
    "sum, if it were known": lambda one: float((1 - one.dice).sum()),
    "mean, if it were known": lambda one: float((1 - one.dice).mean()),
}
OF_SCANS: Final = tuple(ORDERS)
OF_STRUCTURES: Final = ("mean expected agreement", "mean, if it were known")
"""Of a single structure sum and mean are one."""


def main() -> None:
    """Read the tables, play, write the curve and the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=Path("review-loop"))
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rows, curves = [], []
    for table in given.tables:
        scans = read_scans(table)
        several = any(len(views) > 1 for views in scans.values())
        for repeat in range(given.repeats if several else 1):
            chosen = choose(scans, repeat)
            for unit, opened, orders in (
                ("scans", chosen, OF_SCANS),
                ("structures of scans", chosen, OF_SCANS),
                ("single structures", single(chosen), OF_STRUCTURES),
            ):
                found = {name: curve(opened, ORDERS[name], count_scans=unit == "scans") for name in orders}
                rows += summarise((table.stem, str(repeat + 1), unit), opened, found)
                curves.append((table.stem, unit, found))
    ensure_folder(given.output)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(given.output / "review-loop.csv", stream.getvalue())
    print(stream.getvalue())
    draw(curves, given.output / "review-loop.png")


def read_scans(table: Path) -> dict[str, dict[tuple[str, ...], Opened]]:
    """Scan -> view -> its structures; turned views and single sections left out."""
    found: dict[str, dict[tuple[str, ...], list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    with table.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            view = tuple(row.get(name, "") for name in ("view", "weights"))
            if row.get("whole", "True") == "True" and view[0] not in TURNED and row.get("kind", "") != "synthetic":
                found[row["scan"]][view].append((float(row["dice"]), float(row["expected"])))
    return {
        scan: {view: Opened(*np.array(values).T) for view, values in views.items()} for scan, views in found.items()
    }


def choose(scans: dict[str, dict[tuple[str, ...], Opened]], repeat: int) -> list[Opened]:
    """Take one view of each scan."""
    rng = np.random.default_rng(repeat)
    return [views[sorted(views)[rng.integers(len(views))]] for _, views in sorted(scans.items())]


def single(scans: Sequence[Opened]) -> list[Opened]:
    """Each structure for itself."""
    return [Opened(s.dice[n : n + 1], s.expected[n : n + 1]) for s in scans for n in range(len(s.dice))]


Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Share of the work done, 0 to 1, and the mean Dice over all structures by then."""


def curve(opened: Sequence[Opened], order: Order, *, count_scans: bool) -> Curve:
    """Open and correct in an order; the work is what was opened, or the structures in it."""
    sorted_ = sorted(opened, key=order, reverse=True)
    gains = [float((1 - one.dice).sum()) for one in sorted_]
    work = np.cumsum([1 if count_scans else len(one.dice) for one in sorted_])
    count = sum(len(one.dice) for one in opened)
    start = sum(float(one.dice.sum()) for one in opened)
    return np.r_[0.0, work / work[-1]], (start + np.r_[0.0, np.cumsum(gains)]) / count


def saved(found: Curve, closed: float) -> float:
    """Share of the corrections of a random order that is not needed to close so much of the gap to 1."""
    work, dice = found
    needed = np.interp(dice[0] + closed * (1 - dice[0]), dice, work)
    return float(1 - needed / closed)


def summarise(where: tuple[str, str, str], opened: Sequence[Opened], found: dict[str, Curve]) -> list[dict[str, str]]:
    """One row an order."""
    dice = np.concatenate([one.dice for one in opened])
    rows = []
    for name, line in found.items():
        row = dict(zip(("table", "repeat", "unit"), where, strict=True))
        row |= {"order": name, "opened": str(len(opened)), "structures": str(len(dice))}
        row |= {"wrong": str(int((dice < WRONG_BELOW).sum())), "dice_before": f"{dice.mean():.3f}"}
        row |= {
            f"saved_percent_at_{closed:.0%}".replace("%", ""): f"{100 * saved(line, closed):.0f}" for closed in CLOSED
        }
        rows.append(row)
    return rows


def draw(curves: Sequence[tuple[str, str, dict[str, Curve]]], path: Path) -> None:
    """Mean Dice against the share that was opened; a panel a table and unit, a line a repeat and order."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    panels = list(dict.fromkeys((table, unit) for table, unit, _ in curves))
    rows = list(dict.fromkeys(table for table, _ in panels))
    across = len(panels) // len(rows)
    size = (3.5 * across, 3.2 * len(rows) + 0.5)
    figure, axes = pyplot.subplots(len(rows), across, figsize=size, dpi=110, squeeze=False)
    colours = dict(zip(ORDERS, ("#c2410c", "#7c3aed", "#0369a1", "#111827", "#94a3b8"), strict=True))
    shown = {}
    for panel, place in zip(panels, axes.ravel(), strict=True):
        for table, unit, found in curves:
            if (table, unit) != panel:
                continue
            for name, (work, dice) in found.items():
                (shown[name],) = place.plot(work, dice, color=colours[name], lw=1.1)
            (shown["random order"],) = place.plot([0, 1], [dice[0], 1], ":", color="#64748b")
        place.set(title=f"{panel[0].removeprefix('agreement_')}: {panel[1]}", xlabel="share of the work")
        place.set_ylabel("mean Dice of all structures")
        place.grid(alpha=0.3)
    figure.legend(shown.values(), shown.keys(), loc="lower center", ncols=3, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.35 / size[1] * 1.4, 1, 1))
    figure.savefig(path)


if __name__ == "__main__":
    main()
