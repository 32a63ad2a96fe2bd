"""What should be in a scan and was not found is named; what lies outside the image, or was never due, is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from label_evidence import AFFINE, evidence_of
from vastus.anatomy import BY_KEY, STRUCTURES, Side
from vastus.inference.evidence import ROW_OF_VALUE, Count, Evidence
from vastus.quality.agreement import load_model
from vastus.quality.features import Population, raw_features, whole_structures
from vastus.quality.levels import LEVELS_MM, count_presence, levels, steps_of
from vastus.quality.missing import find_missing
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume

Z = (100.0, 420.0)
PHANTOM = make_phantom((2.0, 3.0, 4.0), z_range_mm=Z)
SARTORIUS, GLUTEUS = BY_KEY["sartorius"], BY_KEY["gluteus_maximus"]


def population() -> Population:
    """The phantom's own: what it holds at each level, and where."""
    found = evidence_of(PHANTOM.labels.array)
    total, held = count_presence(found)
    sections = whole_structures(found)
    raw = raw_features(found, sections)
    shipped = load_model().population
    curve = shipped.curve.copy()
    curve[:, :, :3] = np.nan
    for n, row in enumerate(sections.rows):
        for number, name in enumerate(("share_of_side", "to_femur", "right_mm", "front_mm")):
            curve[row % 29 + 1, number, :3] = raw[name][n], 0.0, 0.0
    return replace(shipped, curve=curve, presence=np.where(total > 0, held / np.maximum(total, 1), 0.0))


POPULATION = population()


def found_in(labels: np.ndarray, ct: np.ndarray | None = None) -> dict[tuple[str, str], tuple[float, float]]:
    hu = PHANTOM.ct.array if ct is None else ct
    missing = find_missing(evidence_of(labels), Volume(hu[: labels.shape[0]], AFFINE), POPULATION)
    return {(m.structure.key, m.side.value): (m.absent_mm, m.found_mm3) for m in missing}


def without(structure: str, side: Side) -> np.ndarray:
    labels = PHANTOM.labels.array.copy()
    labels[labels == BY_KEY[structure].label_value(side)] = 0
    return labels


def test_nothing_is_missing_in_a_whole_body():
    assert found_in(PHANTOM.labels.array) == {}


@pytest.mark.parametrize("side", [Side.RIGHT, Side.LEFT])
@pytest.mark.parametrize("key", ["sartorius", "vastus_lateralis", "adductor_magnus"])
def test_a_structure_that_is_gone_is_named_alone_with_its_side(key: str, side: Side):
    found = found_in(without(key, side))
    assert set(found) == {(key, side.value)}
    absent_mm, found_mm3 = found[key, side.value]
    assert absent_mm >= 40 and found_mm3 == 0


def test_a_sliver_is_as_good_as_nothing_and_half_a_muscle_is_not_missing():
    value = SARTORIUS.label_value(Side.RIGHT)
    where = np.argwhere(PHANTOM.labels.array == value)
    sliver = without("sartorius", Side.RIGHT)
    sliver[tuple(where[::60].T)] = value
    assert found_in(sliver)["sartorius", "right"][1] > 0
    half = without("sartorius", Side.RIGHT)
    half[tuple(where[::2].T)] = value
    assert found_in(half) == {}


def test_no_air_and_no_place_outside_the_image_is_called_a_miss():
    labels = without("sartorius", Side.RIGHT)
    air = np.full(PHANTOM.ct.array.shape, -1000, np.int16)
    assert found_in(labels, air) == {}


def test_a_leg_that_the_image_cuts_is_left_alone():
    labels = without("sartorius", Side.RIGHT)
    whole = PHANTOM.labels.array
    right = np.flatnonzero(((whole > 100) & (whole < 200)).any(axis=(1, 2)))
    assert any(side == "right" for _, side in found_in(labels))
    cut = labels[: (right[0] + right[-1]) // 2]
    assert not any(side == "right" for _, side in found_in(cut))


def test_levels_rise_with_the_body_and_do_not_ask_the_structure_itself():
    found: Evidence = evidence_of(PHANTOM.labels.array)
    level = levels(found, 0)
    assert np.nanmean(level[0][-5:]) > np.nanmean(level[0][:5]) + 60
    counts = found.counts.copy()
    counts[ROW_OF_VALUE[SARTORIUS.label_value(Side.RIGHT)], :, Count.VOXELS] = 0
    np.testing.assert_allclose(levels(replace(found, counts=counts), 0)[0], level[0])


def test_levels_fall_into_steps():
    found = steps_of(np.array([LEVELS_MM[0], LEVELS_MM[1] - 0.1, LEVELS_MM[1], np.nan, -50.0, 5000.0]))
    assert found.tolist() == [0, 0, 1, -1, -1, -1]


def test_the_sentence_names_structure_side_and_length():
    (one,) = find_missing(evidence_of(without("sartorius", Side.LEFT)), Volume(PHANTOM.ct.array, AFFINE), POPULATION)
    assert one.text.startswith("Sartorius, left: it was not found") and f"{one.absent_mm:.0f} mm" in one.text
    assert find_missing(None, Volume(PHANTOM.ct.array, AFFINE), POPULATION) == ()


def test_the_shipped_population_knows_where_muscles_are():
    presence = load_model().population.presence
    assert presence.shape == (len(STRUCTURES) + 1, len(LEVELS_MM))
    middle = int(steps_of(np.array([240.0]))[0])
    assert presence[SARTORIUS.class_id, middle] > 0.9 and presence[BY_KEY["psoas"].class_id, middle] < 0.1
