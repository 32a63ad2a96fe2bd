"""A simulated cohort of the shape of Kim et al. 2024, to try the analysis on. The effect is planted, not found.

Women: 20 with and 23 without sarcopenia; men: 21 with and 5 without. Volumes come from ``vastus.synthesis.clinical``,
where sarcopenia makes men's muscles much smaller and women's hardly: so the analysis must show what the paper shows.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vastus.anatomy import BY_KEY, SIDES, STRUCTURES, Region, Side
from vastus.cohort import columns
from vastus.io import tables
from vastus.io.atomic import atomic_path, ensure_folder
from vastus.sex import Sex
from vastus.synthesis.clinical import MuscleStatus, Person, clinical_measures, sample_person, target_volumes_mm3

if TYPE_CHECKING:
    import pandas as pd

PAPER_COUNTS: dict[tuple[Sex, MuscleStatus], int] = {
    (Sex.WOMAN, MuscleStatus.SARCOPENIC): 20,
    (Sex.WOMAN, MuscleStatus.NORMAL): 23,
    (Sex.MAN, MuscleStatus.SARCOPENIC): 21,
    (Sex.MAN, MuscleStatus.NORMAL): 5,
}
EXAMPLE_NOTE = (
    "This cohort is simulated. The difference in men, and its absence in women, was planted by the program to repeat "
    "the shape of Kim et al. 2024; so were the losses at follow-up. Nothing here is evidence about people."
)
_PREFIX = "SIM"
TYPES = ("femoral neck", "intertrochanteric")

# Planted loss of muscle until the second scan, both sides together, cm3, as reported by the paper's group; the rest
# (a tenth of it as spread, and 60 % of it on the fractured side) is guessed.
_LOSS_CM3 = {
    (Sex.WOMAN, "intertrochanteric"): 97.4,
    (Sex.MAN, "intertrochanteric"): 178.2,
    (Sex.WOMAN, "femoral neck"): 83.0,
    (Sex.MAN, "femoral neck"): 147.2,
}
_FRACTURED_PART = 0.6
_CUT_OFF = frozenset(s.key for s in STRUCTURES if s.region is Region.TRUNK)
"""Structures that a hip-to-knee scan cuts off; they get a guessed visible volume and ``truncated``."""
_VISIBLE_CM3 = {"abdominal_oblique": 60.0, "rectus_abdominis": 45.0, "multifidus": 30.0, "psoas": 80.0}
_BONE_CM3 = {"femur": 430.0, "hip_bone": 330.0}
"""Guessed, at a height of 165 cm; grows with its cube."""


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedCohort:
    """``volumes``: the columns of volumes.csv for all scans; ``clinical``: one row a scan."""

    volumes: pd.DataFrame
    clinical: pd.DataFrame


def simulate_cohort(
    seed: int = 0, counts: dict[tuple[Sex, MuscleStatus], int] | None = None, *, follow_up_part: float = 0.5
) -> SimulatedCohort:
    """Make a cohort.

    Args:
        seed: same seed, same cohort.
        counts: people of each sex and status; the paper's by default.
        follow_up_part: part of the people with a second scan about half a year later.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    cells = [cell for cell, n in (counts or PAPER_COUNTS).items() for _ in range(n)]
    rng.shuffle(cells)
    volume_rows: list[tuple[object, ...]] = []
    clinical_rows: list[dict[str, object]] = []
    for number, (sex, status) in enumerate(cells, start=1):
        subject = f"{_PREFIX}{number:03d}"
        person = sample_person(rng, sex=sex, muscle_status=status)
        volumes = target_volumes_mm3(person, rng)
        kind = TYPES[int(rng.integers(len(TYPES)))]
        row = _clinical_row(subject, person, kind, rng)
        first = datetime.date(2023, 1, 1) + datetime.timedelta(days=int(rng.integers(365)))
        clinical_rows.append({**row, columns.SCAN: f"{subject}_1", columns.SCAN_DATE: first.isoformat()})
        volume_rows += _volume_rows(f"{subject}_1", person, volumes, rng)
        if rng.random() < follow_up_part:
            second = first + datetime.timedelta(days=int(rng.integers(120, 240)))
            clinical_rows.append({**row, columns.SCAN: f"{subject}_2", columns.SCAN_DATE: second.isoformat()})
            volume_rows += _volume_rows(f"{subject}_2", person, _after_loss(person, volumes, kind, rng), rng)
    order = [columns.SUBJECT, columns.SCAN, columns.SCAN_DATE]
    clinical = pd.DataFrame(clinical_rows)
    clinical = clinical[[*order, *(c for c in clinical.columns if c not in order)]]
    return SimulatedCohort(pd.DataFrame(volume_rows, columns=list(tables.VOLUME_COLUMNS)), clinical)


def write_example(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write a simulated cohort, ``volumes.csv`` and ``clinical.csv``; return their paths."""
    ensure_folder(folder)
    cohort = simulate_cohort(seed)
    paths = folder / tables.VOLUMES_FILE, folder / "clinical.csv"
    for path, frame in zip(paths, (cohort.volumes, cohort.clinical), strict=True):
        with atomic_path(path) as temporary:
            frame.to_csv(temporary, index=False)
    return paths


def is_example(subjects: Iterable[str]) -> bool:
    """Tell whether all ids are those of ``simulate_cohort``, so that a page about them says so."""
    return all(re.fullmatch(rf"{_PREFIX}\d{{3,}}", str(subject)) for subject in subjects)


def _clinical_row(subject: str, person: Person, kind: str, rng: np.random.Generator) -> dict[str, object]:
    measures = clinical_measures(person, rng)
    return {
        columns.SUBJECT: subject,
        columns.SEX: "F" if person.sex is Sex.WOMAN else "M",
        columns.AGE: round(person.age_years),
        columns.HEIGHT: round(person.height_cm, 1),
        columns.WEIGHT: round(person.weight_kg, 1),
        # Cut, not rounded, below the cut-off: rounding must not move a person to the other side.
        columns.SMI: math.floor(100 * measures.smi_kg_m2) / 100
        if person.muscle_status is MuscleStatus.SARCOPENIC
        else math.ceil(100 * measures.smi_kg_m2) / 100,
        columns.MASS_METHOD: "DXA",
        columns.GRIP: math.floor(10 * measures.grip_kg) / 10,
        columns.GAIT: round(measures.gait_m_s, 2),
        columns.CHAIR: round(measures.chair_stand_s, 1),
        columns.FRACTURE_SIDE: person.fracture_side.value,
        columns.FRACTURE_TYPE: kind,
    }


def _after_loss(
    person: Person, volumes: dict[tuple[str, Side], float | None], kind: str, rng: np.random.Generator
) -> dict[tuple[str, Side], float | None]:
    """Compute the volumes at the second scan: the planted loss, spread over the muscles in proportion to their size."""
    loss = 1000 * _LOSS_CM3[person.sex, kind] * float(rng.normal(1, 0.25))
    after = dict(volumes)
    for side in SIDES:
        whole = {k: v for k, v in volumes.items() if v is not None and k[1] is side and k[0] not in _CUT_OFF}
        part = loss * (_FRACTURED_PART if side is person.fracture_side else 1 - _FRACTURED_PART)
        for key, volume in whole.items():
            after[key] = volume * (1 - part / sum(whole.values())) * float(rng.normal(1, 0.01))
    return after


def _volume_rows(
    scan: str, person: Person, volumes: dict[tuple[str, Side], float | None], rng: np.random.Generator
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for side in SIDES:
        for structure in STRUCTURES:
            cut = structure.key in _CUT_OFF
            volume: float | None
            if cut:
                volume = 1000 * _VISIBLE_CM3[structure.key] * float(rng.lognormal(0, 0.2))
            elif structure.is_muscle:
                volume = volumes[structure.key, side]
            else:
                volume = 1000 * _BONE_CM3[structure.key] * (person.height_cm / 165) ** 3 * float(rng.lognormal(0, 0.05))
            hu = rng.normal(42, 5) if structure.is_muscle else rng.normal(380, 40)
            group = BY_KEY[structure.key].group.value
            rows.append(
                (
                    scan,
                    structure.key,
                    group,
                    side.value,
                    None if volume is None else round(volume, 1),
                    round(hu, 1),
                    "true" if cut else "false",
                    "false",
                )
            )
    return rows
