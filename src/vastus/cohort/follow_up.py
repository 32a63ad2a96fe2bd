"""Change between scans of one person, and the fractured against the other side; paired tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vastus.anatomy import SIDES, Side, StructureTable
from vastus.cohort import columns
from vastus.cohort.association import adjust
from vastus.cohort.dataset import StudyData
from vastus.cohort.table_one import STRATA, compare_two, is_normal, stratum
from vastus.cohort.volumes_table import feature_label, group_column, members_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LEAST_PAIRS = 3
FRACTURED, OTHER, BOTH = "fractured", "other", "both"
TOTAL = "total"
"""Sum of the muscles that are whole in every scan compared."""
_SUMMARISED = ("label", "kind", "days", "first_cm3", "last_cm3", "change_cm3", "change_percent")
_SIDE_OF = {Side.RIGHT.value: Side.RIGHT, Side.LEFT.value: Side.LEFT}


def side_differences(dataset: StudyData) -> pd.DataFrame:
    """Compute fractured side minus other side in the first scan, for people with one fractured side.

    Returns:
        Rows: stratum, feature, label, kind, n, fractured_cm3, other_cm3 (means), difference_cm3, difference_percent
        (mean of each person's), test, p, p_holm, p_fdr.
    """
    import numpy as np
    import pandas as pd

    people = dataset.people[dataset.people[columns.FRACTURE_SIDE].isin(list(_SIDE_OF))]
    rows = []
    if len(people):
        hurt, other = (_by_side(dataset, people, people[columns.SCAN], flip) for flip in (False, True))
        for name, sex in STRATA:
            parts = [stratum(f, people, sex) for f in (hurt, other)]
            for feature in hurt.columns:
                a, b = (part[feature].to_numpy(float) for part in parts)
                known = ~(np.isnan(a) | np.isnan(b))
                x, y = a[known], b[known]
                if len(x) < LEAST_PAIRS:
                    continue
                rows.append(
                    {
                        "stratum": name,
                        "feature": feature,
                        "label": feature_label(feature, dataset.table),
                        "kind": _kind(feature),
                        "n": len(x),
                        "fractured_cm3": x.mean(),
                        "other_cm3": y.mean(),
                        "difference_cm3": (x - y).mean(),
                        "difference_percent": (100 * (x - y) / y).mean(),
                        **compare_pairs(x, y),
                    }
                )
    names = [
        "stratum",
        "feature",
        "label",
        "kind",
        "n",
        "fractured_cm3",
        "other_cm3",
        "difference_cm3",
        "difference_percent",
        "test",
        "p",
    ]
    return adjust(pd.DataFrame(rows, columns=names), ["stratum", "kind"])


def changes(dataset: StudyData) -> pd.DataFrame:
    """Compute the change of each person from the first to the last dated scan.

    Returns:
        Rows: subject, sex, fracture_type, days, side (fractured, other, both), feature, label, kind, first_cm3,
        last_cm3, change_cm3, change_percent. ``total`` is the sum of the muscles that are whole in both scans.
    """
    import pandas as pd

    dated = dataset.scans[dataset.scans[columns.SCAN_DATE].notna()].sort_values(columns.SCAN_DATE)
    grouped = dated.groupby(columns.SUBJECT)
    first, last = grouped.head(1), grouped.tail(1)
    pairs = pd.DataFrame(
        {
            "first": first.reset_index().set_index(columns.SUBJECT)[columns.SCAN],
            "last": last.reset_index().set_index(columns.SUBJECT)[columns.SCAN],
            "days": (
                last.set_index(columns.SUBJECT)[columns.SCAN_DATE] - first.set_index(columns.SUBJECT)[columns.SCAN_DATE]
            ).dt.days,
        }
    )
    pairs = pairs[pairs["days"] > 0]
    people = dataset.people.loc[[s for s in dataset.people.index if s in pairs.index]]
    names = [
        "subject",
        "sex",
        "fracture_type",
        "days",
        "side",
        "feature",
        "label",
        "kind",
        "first_cm3",
        "last_cm3",
        "change_cm3",
        "change_percent",
    ]
    if people.empty:
        return pd.DataFrame(columns=names)
    parts = []
    for side in (BOTH, FRACTURED, OTHER):
        some = people if side == BOTH else people[people[columns.FRACTURE_SIDE].isin(list(_SIDE_OF))]
        if some.empty:
            continue
        before, after = (_volumes_of(dataset, some, pairs.loc[some.index, when], side) for when in ("first", "last"))
        shared = before.where(after.notna())[[m.key for m in dataset.table.muscles if m.key in before]]
        before[TOTAL] = shared.sum(axis=1, min_count=1)
        after[TOTAL] = after[shared.columns].where(shared.notna()).sum(axis=1, min_count=1)
        long = pd.DataFrame({"first_cm3": before.stack(), "last_cm3": after.stack()}).dropna().reset_index()
        long.columns = pd.Index(["subject", "feature", "first_cm3", "last_cm3"])
        parts.append(long.assign(side=side))
    table = pd.concat(parts, ignore_index=True)
    for column in (columns.SEX, columns.FRACTURE_TYPE):
        table[column] = table["subject"].map(people[column])
    table["days"] = table["subject"].map(pairs["days"])
    table["label"] = [_label(f, dataset.table) for f in table["feature"]]
    table["kind"] = [_kind(f) for f in table["feature"]]
    table["change_cm3"] = table["last_cm3"] - table["first_cm3"]
    table["change_percent"] = 100 * table["change_cm3"] / table["first_cm3"]
    return table[names]


def change_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Compute the mean change with a paired test, for each stratum, side and muscle, group and the total.

    Args:
        table: of ``changes``.

    Returns:
        Rows: stratum, side, feature, label, kind, n, days (median), change_cm3, sd_cm3, change_percent, sd_percent,
        test, p, p_holm, p_fdr.
    """
    import pandas as pd

    rows = []
    for name, sex in STRATA:
        part = table if sex is None else table[table["sex"] == sex]
        of_columns = {column: part[column].to_numpy() for column in _SUMMARISED}
        for (side, feature), at in part.groupby(["side", "feature"], sort=False).indices.items():
            if len(at) >= LEAST_PAIRS:
                one = {column: values[at] for column, values in of_columns.items()}
                rows.append({"stratum": name, "side": side, "feature": feature, **_summarise(one)})
    names = [
        "stratum",
        "side",
        "feature",
        "label",
        "kind",
        "n",
        "days",
        "change_cm3",
        "sd_cm3",
        "change_percent",
        "sd_percent",
        "test",
        "p",
    ]
    return adjust(pd.DataFrame(rows, columns=names), ["stratum", "side", "kind"])


def change_by_fracture_type(table: pd.DataFrame) -> pd.DataFrame:
    """Compute the change of the total volume (both sides) by fracture type and sex; test the two commonest types.

    Returns:
        Rows: stratum, fracture_type, n, days, change_cm3, sd_cm3, change_percent, sd_percent, test, p (paired, within
        the type), test_between, p_between (on the first row of a stratum).
    """
    import pandas as pd

    names = [
        "stratum",
        "fracture_type",
        "n",
        "days",
        "change_cm3",
        "sd_cm3",
        "change_percent",
        "sd_percent",
        "test",
        "p",
        "test_between",
        "p_between",
    ]
    total = table[(table["feature"] == TOTAL) & (table["side"] == BOTH) & table["fracture_type"].notna()]
    rows = []
    for name, sex in STRATA:
        part = total if sex is None else total[total["sex"] == sex]
        types = [(kind, part[part["fracture_type"] == kind]) for kind in part["fracture_type"].value_counts().index]
        types = [(kind, one) for kind, one in types if len(one) >= LEAST_PAIRS]
        between: dict[str, object] = {"test_between": "", "p_between": float("nan")}
        if len(types) >= 2:
            test, p = compare_two(*(one["change_cm3"].to_numpy(float) for _, one in types[:2]))
            between = {"test_between": test, "p_between": p}
        for kind, one in types:
            of_columns = {column: one[column].to_numpy() for column in _SUMMARISED}
            summary = {k: v for k, v in _summarise(of_columns).items() if k not in ("label", "kind")}
            rows.append({"stratum": name, "fracture_type": kind, **summary, **between})
            between = {"test_between": "", "p_between": float("nan")}
    return pd.DataFrame(rows, columns=names)


def compare_pairs(x: np.ndarray, y: np.ndarray) -> dict[str, object]:
    """Test pairs: paired t-test if the differences look normal, else Wilcoxon's signed-rank test."""
    from scipy import stats

    if is_normal(x - y):
        return {"test": "paired t", "p": float(stats.ttest_rel(x, y).pvalue)}
    if (x == y).all():
        return {"test": "no change", "p": float("nan")}
    return {"test": "Wilcoxon", "p": float(stats.wilcoxon(x, y).pvalue)}


def _summarise(one: Mapping[str, np.ndarray]) -> dict[str, object]:
    """Sum up the changes of some people; every array has a value for each of them."""
    import numpy as np

    before, after = one["first_cm3"], one["last_cm3"]
    return {
        "label": one["label"][0],
        "kind": one["kind"][0],
        "n": len(before),
        "days": float(np.median(one["days"])),
        "change_cm3": one["change_cm3"].mean(),
        "sd_cm3": one["change_cm3"].std(ddof=1),
        "change_percent": one["change_percent"].mean(),
        "sd_percent": one["change_percent"].std(ddof=1),
        **compare_pairs(after, before),
    }


def _volumes_of(dataset: StudyData, people: pd.DataFrame, scans: pd.Series, side: str) -> pd.DataFrame:
    if side != BOTH:
        return _by_side(dataset, people, scans, side == OTHER)
    right, left = (_one_side(dataset, scans, s) for s in SIDES)
    return _with_midline(dataset, scans, right + left)


def _with_midline(dataset: StudyData, scans: pd.Series, both: pd.DataFrame) -> pd.DataFrame:
    """Add the muscles of the midline, and the groups that hold one, to the sums of both sides."""
    table = dataset.table
    for muscle in table.muscles:
        if not muscle.paired:
            volumes = dataset.sides_cm3.loc[scans][muscle.key, Side.MIDLINE.value]
            both[muscle.key] = volumes.to_numpy()
    for group in table.muscle_groups:
        if group_column(group) not in both:
            members = members_of(group, table)
            both[group_column(group)] = both[members].sum(axis=1, min_count=len(members))
    return both


def _by_side(dataset: StudyData, people: pd.DataFrame, scans: pd.Series, opposite: bool) -> pd.DataFrame:
    """Return volumes (cm3) of paired muscles and groups of the fractured side, or of the opposite one; by subject."""
    is_right = (people[columns.FRACTURE_SIDE] == Side.RIGHT.value) != opposite
    right, left = (_one_side(dataset, scans, s) for s in SIDES)
    return right.where(is_right, left)


def _one_side(dataset: StudyData, scans: pd.Series, side: Side) -> pd.DataFrame:
    sides = dataset.sides_cm3.loc[scans].xs(side.value, axis=1, level="side")
    table = dataset.table
    volumes = sides[[m.key for m in table.muscles if m.paired]].set_axis(scans.index)
    members = {group_column(g): members_of(g, table) for g in table.muscle_groups}
    whole = {name: keys for name, keys in members.items() if set(keys) <= set(volumes)}
    return volumes.assign(**{n: volumes[keys].sum(axis=1, min_count=len(keys)) for n, keys in whole.items()})


def _kind(feature: str) -> str:
    if feature == TOTAL:
        return TOTAL
    return "group" if feature.startswith("group:") else "muscle"


def _label(feature: str, table: StructureTable) -> str:
    return "All whole muscles" if feature == TOTAL else feature_label(feature, table)
