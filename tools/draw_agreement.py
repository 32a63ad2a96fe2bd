"""Draw how good the expected agreement is, and write its numbers into the docs, from what ``fit_quality.py`` stored.

python tools/draw_agreement.py FOLDER    FOLDER holds agreement_test.csv, agreement_test.json and agreement_folds.csv
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "why-expected-agreement.md"
PICTURE = ROOT / "docs" / "images" / "expected-agreement.png"
_BEGIN, _END = "<!-- results -->", "<!-- end of results -->"
_WRONG_BELOW = 0.7
_BINS = np.array([0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0001])


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of whole structures."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["whole"] == "True"]


def column(rows: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    """One column as numbers."""
    return np.array([float(row[name]) for row in rows])


def roc(score: NDArray[np.float64], wrong: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates, the surest first."""
    order = np.argsort(-score, kind="stable")
    hits = wrong[order]
    return np.r_[0, np.cumsum(~hits) / max(1, (~hits).sum())], np.r_[0, np.cumsum(hits) / max(1, hits.sum())]


def draw(rows: list[dict[str, Any]]) -> None:
    """Three panels: telling right from wrong, chances against what came, expected against measured."""
    from matplotlib.figure import Figure

    dice, chance, expected, sure = (column(rows, name) for name in ("dice", "wrong", "expected", "confidence"))
    wrong = dice < _WRONG_BELOW
    figure = Figure(figsize=(11, 3.7), layout="constrained")
    one, two, three = figure.subplots(1, 3)
    one.plot(*roc(chance, wrong), color="#0b6e75", label="chance of being wrong")
    one.plot(*roc(-sure, wrong), color="#999999", label="plain confidence")
    one.plot([0, 1], [0, 1], ":", color="#cccccc")
    one.set(xlabel="good structures called wrong", ylabel="wrong structures found", title="Dice below 0.7")
    one.legend(loc="lower right", fontsize=8)
    at = np.digitize(chance, _BINS) - 1
    for n in range(len(_BINS) - 1):
        here = at == n
        if here.any():
            two.plot(chance[here].mean(), wrong[here].mean(), "o", color="#0b6e75", ms=4 + 1.2 * np.sqrt(here.sum()))
            two.annotate(str(here.sum()), (chance[here].mean(), wrong[here].mean()), fontsize=7)
    two.plot([0, 1], [0, 1], ":", color="#cccccc")
    two.set(xlabel="foreseen chance", ylabel="share that is wrong", title="Reliability (number of structures)")
    three.plot([0, 1], [0, 1], ":", color="#cccccc")
    low, high = expected - column(rows, "low"), column(rows, "high") - expected
    three.errorbar(expected, dice, xerr=[low, high], fmt="o", ms=2.5, lw=0.3, color="#0b6e75")
    three.set(xlabel="expected agreement and its range", ylabel="Dice", title="Expected and measured")
    for axes in (one, two, three):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    figure.savefig(PICTURE, dpi=110)


def table(summary: dict[str, Any]) -> str:
    """Numbers in a table of Markdown."""
    lines = [
        "| test | structures | wrong | AUROC (95% interval) | AUROC of plain confidence | calibration error |"
        " in the interval (80% wanted) | mean width |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, s in summary.items():
        a, c = s["auroc"], s["auroc_confidence"]
        lines.append(
            f"| {name} | {s['n']} | {s['wrong']} | {a[0]:.2f} ({a[1]:.2f} to {a[2]:.2f}) | {c[0]:.2f} ({c[1]:.2f} to"
            f" {c[2]:.2f}) | {s['ece']:.3f} | {s['coverage']:.0%} | {s['mean_width']:.2f} |"
        )
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Draw and write."""
    draw(read(folder / "agreement_test.csv"))
    for name in ("agreement_test.csv", "agreement_test.json"):
        shutil.copy(folder / name, PICTURE.with_name("expected-agreement" + Path(name).suffix))
    shutil.copy(folder / "agreement_folds.csv", PICTURE.with_name("expected-agreement-folds.csv"))
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN)
    after = rest.split(_END)[1]
    summary = json.loads((folder / "agreement_test.json").read_text(encoding="utf-8"))
    PAGE.write_text(f"{before}{_BEGIN}\n{table(summary)}\n{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
