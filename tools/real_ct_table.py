"""Print the table of docs/example-real-ct.md from two results of ``vastus evaluate`` on the test slices.

    python tools/real_ct_table.py SCORES_BEFORE SCORES_NOW

Both folders hold ``scores.csv`` (Dice of all drawn slices of a muscle in a patient together) and ``sections.csv`` (Dice
of one muscle in one slice; missed and invented sections count 0).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from vastus.anatomy import BUILT_IN


def patient_dice(folder: Path) -> pd.Series:
    """Compute the mean Dice over the patients who have a structure: structure -> Dice."""
    scores = pd.read_csv(folder / "scores.csv")
    drawn = scores[scores["presence"].isin(["both", "missed"])]
    return drawn.assign(dice=drawn["dice"].fillna(0.0)).groupby("structure")["dice"].mean()


def sections(folder: Path) -> pd.DataFrame:
    """Read the drawn and the invented sections; what is missing of a missed or invented one counts 0."""
    table = pd.read_csv(folder / "sections.csv")
    table = table[table["presence"] != "absent"].copy()
    table[["dice", "surface_dice"]] = table[["dice", "surface_dice"]].fillna(0.0)
    return table


def rows(before: Path, now: Path) -> list[str]:
    """Make the rows of the table, in the order of the anatomy."""
    old, new = sections(before), sections(now)
    old_patients, new_patients = patient_dice(before), patient_dice(now)
    lines = []
    for structure in BUILT_IN.rows:
        a, b = old[old["structure"] == structure.key], new[new["structure"] == structure.key]
        if structure.key not in new_patients.index:
            continue
        count = {kind: int((b["presence"] == kind).sum()) for kind in ("both", "missed", "invented")}
        lines.append(
            f"| {structure.english.capitalize()} | {count['both'] + count['missed']} "
            f"| {old_patients[structure.key]:.2f}, **{new_patients[structure.key]:.2f}** "
            f"| {a['dice'].mean():.2f}, {b['dice'].mean():.2f} | {b['surface_dice'].mean():.2f} "
            f"| {b['area_absolute_percent'].mean():.0f}% | {count['missed']}, {count['invented']} |"
        )
    return lines


def summary(folder: Path) -> str:
    """Sum up the muscles in one line."""
    muscles = [structure.key for structure in BUILT_IN.muscles]
    table, patients = sections(folder), patient_dice(folder)
    own = table[table["structure"].isin(muscles)]
    kinds = table["presence"].value_counts()
    levels = own.groupby("level")["dice"].mean().round(3).to_dict()
    return (
        f"{len(own)} muscle sections: Dice {own['dice'].mean():.3f}, median {own['dice'].median():.3f}, surface Dice "
        f"{own['surface_dice'].mean():.3f}; missed {kinds.get('missed', 0)}, invented {kinds.get('invented', 0)} with "
        f"bones; Dice a patient {patients[patients.index.isin(muscles)].mean():.3f} over "
        f"{patients.index.isin(muscles).sum()} muscles; area error "
        f"{own['area_absolute_percent'].mean():.1f}%; levels {levels}"
    )


def main() -> int:
    """Print both summaries and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("now", type=Path)
    given = parser.parse_args()
    print("before:", summary(given.before))
    print("now:", summary(given.now))
    print("\n".join(rows(given.before, given.now)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
