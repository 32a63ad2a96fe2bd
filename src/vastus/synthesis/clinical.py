"""A person and their muscles: a small stochastic model of body size, age, muscle volume and function.

Used to give synthetic bodies plausible muscle volumes and to write simulated cohorts. Nothing here is an estimate
about real people: effects are put in by hand, and each number below says where it comes from.

- *published*: taken from the cited source;
- *derived*: computed from published data (``tools/derive_muscle_regression.py``);
- *guessed*: chosen by us so that results look plausible.

Volume of a muscle = regression on height x mass (published, healthy young adults) x ageing (published rates, applied
by us from the age of 50) x muscle status (planted) x the person's muscularity x the muscle's own spread x side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from vastus.anatomy import BY_KEY, MUSCLES, SIDES, Group, Side
from vastus.errors import ImplausibleValueError
from vastus.muscle_volumes import regression_volume_mm3
from vastus.sex import Sex


class MuscleStatus(Enum):
    """Whether the person is made with or without sarcopenia."""

    NORMAL = "normal"
    SARCOPENIC = "sarcopenic"


class Population(Enum):
    """Whom to sample: older people with a hip fracture, or adults in general."""

    HIP_FRACTURE = "hip_fracture"
    ADULT = "adult"


@dataclass(frozen=True, slots=True)
class Person:
    """One simulated person.

    ``muscularity`` is the person's own log deviation of all muscles from what size and age predict (0 = average);
    ``fracture_side`` is the injured side, whose muscles are a little smaller (``UNKNOWN``: none).
    """

    sex: Sex
    age_years: float
    height_cm: float
    weight_kg: float
    muscle_status: MuscleStatus = MuscleStatus.NORMAL
    muscularity: float = 0.0
    fracture_side: Side = Side.UNKNOWN

    def __post_init__(self) -> None:
        limits = {"age_years": (18, 110), "height_cm": (120, 220), "weight_kg": (25, 250)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ImplausibleValueError(f"{name} must lie in {low}..{high}.", remedy="Check the unit.")

    @property
    def bmi_kg_m2(self) -> float:
        """Body mass index."""
        return self.weight_kg / (self.height_cm / 100) ** 2


@dataclass(frozen=True, slots=True)
class ClinicalMeasures:
    """What a clinic would measure on the person."""

    smi_kg_m2: float
    grip_kg: float
    gait_m_s: float
    chair_stand_s: float


@dataclass(frozen=True, slots=True)
class _Body:
    """Mean and SD of height (cm) and of BMI (kg/m2, spread lognormally)."""

    height_cm: tuple[float, float]
    bmi_kg_m2: tuple[float, float]


# Guessed: older Koreans with a hip fracture; adults roughly European. BMI is drawn independently of height, so that
# height and weight correlate at about 0.4 to 0.5.
_BODIES: Final = {
    (Population.HIP_FRACTURE, Sex.WOMAN): _Body((152.0, 6.0), (22.8, 3.2)),
    (Population.HIP_FRACTURE, Sex.MAN): _Body((164.5, 6.0), (23.0, 2.8)),
    (Population.ADULT, Sex.WOMAN): _Body((163.0, 6.5), (25.0, 4.0)),
    (Population.ADULT, Sex.MAN): _Body((176.5, 7.0), (25.5, 3.6)),
}
_HEIGHT_LOSS_CM_PER_YEAR = 0.1
"""Guessed, after the age of 50, in the general population (the other heights are of older people already)."""
_HIP_FRACTURE_AGE: Final = (77.3, 9.73)
"""Published: mean and SD in Kim et al. 2024; nobody under 51, as there."""
_SARCOPENIC_PART: Final = {Sex.WOMAN: 20 / 43, Sex.MAN: 21 / 26}
"""Published: Kim et al. 2024. In the general population 0.1 from the age of 65 is guessed."""
_FEMALE_PART: Final = {Population.HIP_FRACTURE: 43 / 69, Population.ADULT: 0.5}

# Loss of muscle size between about 25 and 75 years, cross-sectional. Published: Naruse, Trappe & Trappe, "Human
# skeletal muscle-specific atrophy with aging" (2023, PMC10069966, 47 studies): quadriceps 27 % (rectus femoris
# 33 %), hamstrings 19 %, adductors 13 %, psoas 29 %, paraspinals 24 %. Pelvis 15 %, men: "Thigh muscles are more
# susceptible to age-related muscle loss ..." (Exp Gerontol, May 2023). Guessed: sartorius as the hamstrings, iliacus
# as the psoas, the abdominal wall as the paraspinals.
_LOSS_AT_75: Final = {
    "sartorius": 0.19,
    "rectus_femoris": 0.33,
    "iliacus": 0.29,
    "iliopsoas": 0.29,
    "psoas": 0.29,
}
_GROUP_LOSS_AT_75: Final = {
    Group.ANTERIOR: 0.27,
    Group.POSTERIOR: 0.19,
    Group.MEDIAL: 0.13,
    Group.GLUTEAL: 0.15,
    Group.OTHER: 0.24,
}
_AGEING_STARTS, _AGEING_REFERENCE = 50.0, 75.0
_LEAST_AGEING_FACTOR = 0.4
_AGEING_SEX: Final = {Sex.MAN: 1.05, Sex.WOMAN: 0.95}
"""Guessed: men lose a little faster. The rate of about 1 % a year that follows agrees with a five-year MRI study of
people in their seventies (about 5 % in both sexes, Cameron et al. 2020, doi 10.1007/s40520-019-01248-w)."""

# Planted so that a cohort repeats the shape of Kim et al. 2024: strong and negative in men, nothing clear in women.
_STATUS_FACTOR: Final = {Sex.MAN: 0.72, Sex.WOMAN: 0.98}
_STATUS_BMI_FACTOR: Final = {Sex.MAN: 0.92, Sex.WOMAN: 0.98}

# Guessed log standard deviations: the whole person, one muscle (both sides), half of a left/right difference.
_MUSCULARITY_SD, _MUSCLE_SD, _ASYMMETRY_SD = 0.09, 0.06, 0.03
_FRACTURE_SIDE_LOG = -0.05
_VOLUME_RANGE = (1 / 3, 1.5)
"""A volume stays within this multiple of the regression's."""

# Restated from AWGS 2019 (women, men), because this room may not import the criteria; a test compares the two.
SMI_CUTOFF_KG_M2: Final = {Sex.WOMAN: 5.4, Sex.MAN: 7.0}
GRIP_CUTOFF_KG: Final = {Sex.WOMAN: 18.0, Sex.MAN: 28.0}

# Guessed: mean SMI (sarcopenic, normal) and SD, and how strongly SMI and grip follow the muscularity (correlation
# inside a group): much in men, hardly in women.
_SMI_MEAN: Final = {Sex.WOMAN: (4.8, 6.0), Sex.MAN: (6.2, 7.8)}
_SMI_SD: Final = {Sex.WOMAN: 0.40, Sex.MAN: 0.50}
_COUPLING: Final = {Sex.WOMAN: 0.10, Sex.MAN: 0.70}
# Guessed: mean grip (sarcopenic, normal) at 75 years, SD, and the loss a year of age.
_GRIP_MEAN: Final = {Sex.WOMAN: (14.0, 20.0), Sex.MAN: (22.0, 32.0)}
_GRIP_SD: Final = {Sex.WOMAN: 3.0, Sex.MAN: 4.5}
_GRIP_LOSS_KG_PER_YEAR = 0.25


def ageing_factor(key: str, age_years: float, sex: Sex) -> float:
    """What is left of a muscle at that age: 1 until 50, then a straight line through the published loss at 75."""
    structure = BY_KEY[key]
    loss = _LOSS_AT_75.get(key, _GROUP_LOSS_AT_75[structure.group])
    years = max(0.0, age_years - _AGEING_STARTS) / (_AGEING_REFERENCE - _AGEING_STARTS)
    return max(_LEAST_AGEING_FACTOR, 1 - loss * _AGEING_SEX[sex] * years)


def status_factor(person: Person) -> float:
    """The planted effect of sarcopenia on every volume."""
    return _STATUS_FACTOR[person.sex] if person.muscle_status is MuscleStatus.SARCOPENIC else 1.0


def sample_person(
    rng: np.random.Generator | int,
    population: Population = Population.HIP_FRACTURE,
    *,
    sex: Sex | None = None,
    muscle_status: MuscleStatus | None = None,
) -> Person:
    """Draw a person; sex and status are drawn too unless given.

    Args:
        rng: generator or seed.
        population: whose age, size and status to draw.
        sex: fixed sex.
        muscle_status: fixed status.
    """
    rng = np.random.default_rng(rng)
    if sex is None:
        sex = Sex.WOMAN if rng.random() < _FEMALE_PART[population] else Sex.MAN
    age = _sample_age(rng, population)
    if muscle_status is None:
        part = _SARCOPENIC_PART[sex] if population is Population.HIP_FRACTURE else 0.1 * (age >= 65)
        muscle_status = MuscleStatus.SARCOPENIC if rng.random() < part else MuscleStatus.NORMAL
    body = _BODIES[population, sex]
    height = float(np.clip(rng.normal(*body.height_cm), 125, 215))
    if population is Population.ADULT:
        height -= _HEIGHT_LOSS_CM_PER_YEAR * max(0.0, age - 50)
    mean, sd = body.bmi_kg_m2
    bmi = mean * math.exp(rng.normal(0, sd / mean) - 0.5 * (sd / mean) ** 2)
    if muscle_status is MuscleStatus.SARCOPENIC:
        bmi *= _STATUS_BMI_FACTOR[sex]
    bmi = float(np.clip(bmi, 16, 42))
    muscularity = float(rng.normal(0, _MUSCULARITY_SD))
    injured = SIDES[int(rng.integers(2))] if population is Population.HIP_FRACTURE else Side.UNKNOWN
    return Person(sex, age, height, bmi * (height / 100) ** 2, muscle_status, muscularity, injured)


def _sample_age(rng: np.random.Generator, population: Population) -> float:
    if population is Population.ADULT:
        return float(rng.uniform(20, 90))
    while True:  # redraw the few outside, as the study's inclusion rule does
        age = float(rng.normal(*_HIP_FRACTURE_AGE))
        if 51 <= age <= 100:
            return age


def target_volumes_mm3(person: Person, rng: np.random.Generator | int) -> dict[tuple[str, Side], float | None]:
    """Volume of each of the 27 muscles on both sides; None where no model exists.

    Args:
        person: whose muscles.
        rng: generator or seed of the spread of single muscles and sides.

    Returns:
        (structure key, side) -> mm3, in the order of the anatomy table, right before left.
    """
    rng = np.random.default_rng(rng)
    volumes: dict[tuple[str, Side], float | None] = {}
    for structure in MUSCLES:
        own, half_difference = rng.normal(0, (_MUSCLE_SD, _ASYMMETRY_SD))
        young = regression_volume_mm3(structure.key, person.height_cm, person.weight_kg)
        for side in SIDES:
            if young is None:
                volumes[structure.key, side] = None
                continue
            ratio = individual_factor(person, structure.key, side, (float(own), float(half_difference)))
            volumes[structure.key, side] = young * float(np.clip(ratio, *_VOLUME_RANGE))
    return volumes


def individual_factor(person: Person, key: str, side: Side, log_spread: tuple[float, float]) -> float:
    """A muscle's volume over the regression's: age, status, muscularity, own spread, side.

    Args:
        person: whose muscle.
        key: the muscle.
        side: right or left.
        log_spread: the muscle's own log deviation, and half of its right-left log difference.
    """
    own, half_difference = log_spread
    log = person.muscularity + own + (half_difference if side is Side.RIGHT else -half_difference)
    if side is person.fracture_side and side is not Side.UNKNOWN:
        log += _FRACTURE_SIDE_LOG
    return ageing_factor(key, person.age_years, person.sex) * status_factor(person) * math.exp(log)


def clinical_measures(person: Person, rng: np.random.Generator | int) -> ClinicalMeasures:
    """Draw skeletal muscle index and function that agree with the person's status and muscularity.

    SMI and grip are normal with a mean by status, follow the muscularity with a sex-specific correlation, and are cut
    so that a sarcopenic person lies below both AWGS 2019 cut-offs and any other above that of the SMI. Gait speed and
    chair stands follow the grip loosely (guessed).
    """
    from scipy import stats

    rng = np.random.default_rng(rng)
    sarcopenic = person.muscle_status is MuscleStatus.SARCOPENIC
    column = 0 if sarcopenic else 1
    coupling = _COUPLING[person.sex]
    shift = coupling * person.muscularity / _MUSCULARITY_SD
    rest = math.sqrt(1 - coupling**2)

    def draw(mean: float, sd: float, limits: tuple[float, float]) -> float:
        centre, spread = mean + sd * shift, sd * rest
        low, high = ((limit - centre) / spread for limit in limits)
        return float(stats.truncnorm.ppf(rng.random(), low, high, loc=centre, scale=spread))

    cut = SMI_CUTOFF_KG_M2[person.sex]
    smi = draw(_SMI_MEAN[person.sex][column], _SMI_SD[person.sex], (2.5, cut - 0.02) if sarcopenic else (cut, 12.0))
    mean_grip = _GRIP_MEAN[person.sex][column] - _GRIP_LOSS_KG_PER_YEAR * (person.age_years - 75)
    top = GRIP_CUTOFF_KG[person.sex] - 0.1 if sarcopenic else 70.0
    grip = draw(mean_grip, _GRIP_SD[person.sex], (4.0, top))
    strength = (grip - _GRIP_MEAN[person.sex][1]) / _GRIP_MEAN[person.sex][1]
    gait = float(np.clip(0.95 + 0.6 * strength - 0.006 * (person.age_years - 75) + rng.normal(0, 0.15), 0.15, 1.9))
    chair = float(np.clip(13.0 - 10 * strength + 0.12 * (person.age_years - 75) + rng.normal(0, 2.5), 6, 60))
    return ClinicalMeasures(smi, grip, gait, chair)
