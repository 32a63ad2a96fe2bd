"""The people of a cohort beside published values: context only, no diagnosis and no test reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vastus.anatomy import BUILT_IN, SIDES, THIGH_GROUPS, StructureTable
from vastus.cohort import columns
from vastus.cohort.dataset import STATUS, StudyData, facts_of_row
from vastus.sarcopenia.reference_values import NO_REFERENCE, percent_of_expected, thigh_reference

if TYPE_CHECKING:
    import pandas as pd

RATIO = "thigh_muscle_to_femur"
PUBLISHED_MEAN = "published_mean"
_FEMUR = "femur"
_THIGH = tuple(s.key for group in THIGH_GROUPS for s in BUILT_IN.structures_of(group))


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """What the references say of each person's first scan.

    Attributes:
        thigh: one row a person: ``subject``, ``sex``, ``age_years``, ``sarcopenia``, ``thigh_muscle_to_femur`` (both
            sides; empty unless all is whole), ``published_mean`` of this sex and age (of another part of the femur: no
            score can be made of the two; empty where there is no reference), ``note``.
        muscles: one row a person, muscle and side of known height and mass: ``subject``, ``structure``, ``side``,
            ``percent_of_expected``.
    """

    thigh: pd.DataFrame
    muscles: pd.DataFrame


def published_values(dataset: StudyData) -> Published:
    """Compare the people of a dataset with ``vastus.sarcopenia.reference_values``."""
    import pandas as pd

    people, sides = dataset.people, dataset.sides_cm3
    measurable = _has_thigh_and_femur(dataset.table)
    lacking = "" if measurable else "the table of structures lacks single muscles of the thigh, or the femur"
    thigh, muscles = [], []
    for subject, person in people.iterrows():
        facts = facts_of_row(person, str(subject), [])
        volumes_cm3 = sides.loc[person[columns.SCAN]].to_dict()
        ratio = _ratio(volumes_cm3) if measurable else None
        group = thigh_reference().of_age(facts.sex, facts.age_years)
        note = lacking or "not all is whole" if ratio is None else NO_REFERENCE if group is None else ""
        mean = None if group is None else group.mean
        thigh.append((str(subject), person[columns.SEX], person[columns.AGE], person[STATUS], ratio, mean, note))
        for muscle in dataset.table.muscles:
            for side in muscle.sides:
                volume_cm3 = float(volumes_cm3[muscle.key, side.value])
                percent = percent_of_expected(muscle.key, 1000 * volume_cm3, facts)
                if percent is not None and not pd.isna(volume_cm3):
                    muscles.append((str(subject), muscle.key, side.value, percent))
    names = [columns.SUBJECT, columns.SEX, columns.AGE, STATUS, RATIO, PUBLISHED_MEAN, "note"]
    table = pd.DataFrame(thigh, columns=names)
    table[[RATIO, PUBLISHED_MEAN]] = table[[RATIO, PUBLISHED_MEAN]].astype(float)
    own_names = [columns.SUBJECT, "structure", "side", "percent_of_expected"]
    return Published(table, pd.DataFrame(muscles, columns=own_names))


def _has_thigh_and_femur(table: StructureTable) -> bool:
    return table.has_whole_thigh and _FEMUR in table.by_key


def _ratio(volumes_cm3: Mapping[tuple[str, str], float]) -> float | None:
    """Compute thigh muscles / femur of both sides together; None unless every part is there and whole.

    Args:
        volumes_cm3: structure and side -> cm3, NaN where it is not whole.
    """
    import math

    sides = [side.value for side in SIDES]
    muscle = [float(volumes_cm3[key, side]) for key in _THIGH for side in sides]
    femur = [float(volumes_cm3[_FEMUR, side]) for side in sides]
    if any(math.isnan(value) for value in (*muscle, *femur)):
        return None
    return sum(muscle) / sum(femur)
