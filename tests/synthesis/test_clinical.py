import numpy as np
import pytest

from vastus.anatomy import MUSCLES, SIDES, Side
from vastus.errors import ImplausibleValueError
from vastus.muscle_volumes import regression_volume_mm3
from vastus.sex import Sex
from vastus.synthesis import clinical
from vastus.synthesis.clinical import (
    GRIP_CUTOFF_KG,
    SMI_CUTOFF_KG_M2,
    MuscleStatus,
    Person,
    Population,
    clinical_measures,
    sample_person,
    target_volumes_mm3,
)

MAN = Person(Sex.MAN, 40, 175, 75)


def test_ageing_reaches_the_published_loss_at_75():
    both = [clinical.ageing_factor("vastus_lateralis", 75, sex) for sex in Sex]
    assert np.mean(both) == pytest.approx(1 - 0.27)
    assert clinical.ageing_factor("vastus_lateralis", 50, Sex.MAN) == 1
    assert clinical.ageing_factor("gluteus_maximus", 85, Sex.MAN) > clinical.ageing_factor(
        "rectus_femoris", 85, Sex.MAN
    )


def test_targets_cover_all_muscles_and_stay_plausible():
    for seed in range(60):
        person = sample_person(seed, Population.ADULT if seed % 2 else Population.HIP_FRACTURE)
        targets = target_volumes_mm3(person, seed)
        assert set(targets) == {(m.key, side) for m in MUSCLES for side in SIDES}
        for (key, _), volume in targets.items():
            young = regression_volume_mm3(key, person.height_cm, person.weight_kg)
            if young is None:
                assert volume is None
            else:
                assert young / 3 - 1e-6 <= volume <= 1.5 * young + 1e-6


def test_same_seed_same_volumes():
    assert target_volumes_mm3(MAN, 4) == target_volumes_mm3(MAN, 4)
    assert target_volumes_mm3(MAN, 4) != target_volumes_mm3(MAN, 5)


def test_fracture_side_is_smaller_on_average():
    hurt = Person(Sex.WOMAN, 80, 150, 50, fracture_side=Side.LEFT)
    logs = []
    for seed in range(100):
        v = target_volumes_mm3(hurt, seed)
        logs.append(np.log(v["vastus_lateralis", Side.LEFT] / v["vastus_lateralis", Side.RIGHT]))
    assert np.mean(logs) == pytest.approx(-0.05, abs=4 * 0.06 / 10)


def test_planted_effect_is_large_in_men_only():
    factors = {sex: clinical.status_factor(Person(sex, 70, 160, 60, MuscleStatus.SARCOPENIC)) for sex in Sex}
    assert factors[Sex.MAN] < 0.8
    assert factors[Sex.WOMAN] > 0.95


def test_people_look_like_the_study():
    people = [sample_person(seed) for seed in range(600)]
    ages = np.array([p.age_years for p in people])
    assert ages.min() >= 51
    assert ages.mean() == pytest.approx(77.3, abs=1.5)
    assert np.mean([p.sex is Sex.WOMAN for p in people]) == pytest.approx(43 / 69, abs=0.08)
    women = [p for p in people if p.sex is Sex.WOMAN]
    r = np.corrcoef([p.height_cm for p in women], [p.weight_kg for p in women])[0, 1]
    assert 0.3 < r < 0.65


@pytest.mark.parametrize("sex", list(Sex))
@pytest.mark.parametrize("status", list(MuscleStatus))
def test_measures_agree_with_the_status(sex, status):
    for seed in range(80):
        person = sample_person(seed, sex=sex, muscle_status=status)
        found = clinical_measures(person, seed)
        low = found.smi_kg_m2 < SMI_CUTOFF_KG_M2[sex]
        assert low == (status is MuscleStatus.SARCOPENIC)
        if status is MuscleStatus.SARCOPENIC:
            assert found.grip_kg < GRIP_CUTOFF_KG[sex]
        assert 0.1 < found.gait_m_s < 2
        assert 5 < found.chair_stand_s < 61


def test_wrong_unit_is_refused():
    with pytest.raises(ImplausibleValueError, match="height_cm"):
        Person(Sex.MAN, 70, 1.75, 70)
