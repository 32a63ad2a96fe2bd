"""Expected agreement: evidence counted rightly, the sum made rightly, and a spoilt structure expected to be worse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from label_evidence import evidence_of
from vastus.anatomy import BY_KEY, LABELS, STRUCTURES, Side
from vastus.inference.bundle import default_bundle
from vastus.inference.evidence import (
    IMAGE_EDGE,
    OTHER_SIDE,
    ROW_OF_VALUE,
    Count,
)
from vastus.inference.stitch import KEPT, STEPS_PER_LOGIT, ScoreMap, uniform_score_map
from vastus.quality import agreement_of_record, agreement_record, agreement_rows, expect_agreement, likely_wrong
from vastus.quality.agreement import Agreement, load_model, standardised, weights_hash
from vastus.quality.features import INPUTS, features, single_sections, whole_structures
from vastus.synthesis.phantom import make_phantom

A, B = BY_KEY["gracilis"], BY_KEY["sartorius"]


def test_voxels_borders_and_neighbours_are_counted():
    labels = np.zeros((6, 5, 3), np.uint8)
    labels[1:4, 1:4, 1] = A.label_value(Side.RIGHT)
    labels[4, 1:4, 1] = B.label_value(Side.RIGHT)
    labels[0, 2, 1] = A.label_value(Side.LEFT)
    found = evidence_of(labels)
    row = ROW_OF_VALUE[A.label_value(Side.RIGHT)]
    counts = found.counts[row, 1]
    assert counts[Count.VOXELS] == 9 and counts[Count.BORDER] == 8
    assert counts[Count.OWN] == pytest.approx(9) and counts[Count.MARGIN] == pytest.approx(9)
    assert counts[Count.HU] / 9 == pytest.approx(50, abs=1e-3)
    assert counts[Count.X] / 9 == 2 and counts[Count.Y] / 9 == 2
    touch = found.contacts[row, 1]
    assert touch[B.class_id] == 3 and touch[OTHER_SIDE] == 1 and touch[IMAGE_EDGE] == 0
    assert touch.sum() == 12 and touch[0] == 12 - 3 - 1
    assert found.contacts[ROW_OF_VALUE[A.label_value(Side.LEFT)], 1, IMAGE_EDGE] == 1
    assert not found.counts[:, [0, 2]].any()


def test_what_the_network_sees_outside_counts_for_its_side():
    labels = np.zeros((8, 4, 1), np.uint8)
    labels[0:2], labels[6:8] = A.label_value(Side.LEFT), A.label_value(Side.RIGHT)
    kept = np.zeros((1, 4, 8, KEPT), np.uint8)
    scores = np.zeros_like(kept)
    kept[..., 0] = (labels % 100).transpose(2, 1, 0)
    scores[..., 0] = 255
    kept[0, 0, 5, 1] = A.class_id  # background here, and the second choice lies two logits behind
    scores[0, 0, 5, 1] = 255 - int(2 * STEPS_PER_LOGIT)
    found = evidence_of(
        labels, ScoreMap(kept[..., 0].transpose(2, 1, 0), *(a.transpose(2, 1, 0, 3) for a in (kept, scores)))
    )
    share = np.exp(-2) / (1 + np.exp(-2))
    right, left = (found.counts[ROW_OF_VALUE[A.label_value(s)], 0, Count.OUTSIDE] for s in (Side.RIGHT, Side.LEFT))
    assert right == pytest.approx(share) and left == 0


def test_features_are_filled_cut_off_and_scaled():
    inputs = np.array([[5.0, 0.0, 10.0, 4.0, 2.0]])  # missing, least, most, mean, SD
    values = np.array([[4.0], [np.nan], [30.0], [-1.0]])
    assert standardised(values, inputs).ravel().tolist() == [0.0, 0.5, 3.0, -2.0]


def test_the_sum_gives_chance_and_range():
    model = replace(
        load_model(),
        inputs=np.tile([0.0, -9.0, 9.0, 0.0, 1.0], (len(INPUTS), 1)),
        weights=np.eye(len(INPUTS))[0],
        slope=2.0,
        offset=-1.0,
        band=np.array([[-1.0, 0.9, 0.8, 0.95], [1.0, 0.5, 0.2, 0.7]]),
    )
    values = np.zeros((3, len(INPUTS)))
    values[:, 0] = -5.0, 0.0, 1.0
    judged = model.judge_features(values)
    np.testing.assert_allclose(judged[:, :3], [[0.9, 0.8, 0.95], [0.7, 0.5, 0.825], [0.5, 0.2, 0.7]])
    np.testing.assert_allclose(judged[:, 3], 1 / (1 + np.exp([11.0, 1.0, -1.0])))


def test_the_shipped_model_belongs_to_the_shipped_weights():
    assert load_model().weights_sha256 == weights_hash(default_bundle()), "run tools/fit_quality.py for these weights"


def phantom() -> NDArray[np.uint8]:
    return make_phantom((2.0, 3.0, 4.0), z_range_mm=(100.0, 420.0)).labels.array


def test_a_structure_torn_apart_is_expected_to_be_worse():
    labels = phantom()
    whole = evidence_of(labels)
    value = BY_KEY["vastus_lateralis"].label_value(Side.RIGHT)
    torn = labels.copy()
    rng = np.random.default_rng(1)
    torn[(labels == value) & (rng.random(labels.shape) < 0.85)] = 0
    channels = np.where(torn == value, BY_KEY["vastus_lateralis"].class_id, labels % 100)
    scores = uniform_score_map(channels)
    before = expect_agreement(whole, None)[value]
    after = expect_agreement(evidence_of(torn, scores), None)[value]
    assert after.expected < before.expected - 0.1
    assert after.wrong > before.wrong


def test_every_number_is_a_share_and_the_interval_holds_the_expectation():
    for one in expect_agreement(evidence_of(phantom()), None).values():
        assert 0 <= one.low <= one.expected <= one.high <= 1 and 0 <= one.wrong <= 1


def test_other_weights_get_no_number(tmp_path: Path):
    from toy_bundle import write_toy_bundle

    found = evidence_of(phantom())
    assert expect_agreement(found, write_toy_bundle(tmp_path)) == {}
    assert expect_agreement(None, default_bundle()) == {}
    assert expect_agreement(found, default_bundle())


def test_sections_are_judged_with_the_features_of_whole_structures():
    found = evidence_of(phantom())
    model = load_model()
    values = features(found, single_sections(found), model.population)
    assert values.shape == ((found.counts[:, :, Count.VOXELS] > 0).sum(), len(INPUTS))
    assert model.judge(found, whole_structures(found)).shape == (len(found.present()), 4)


def test_record_rows_and_words_say_the_same():
    right, left = A.label_value(Side.RIGHT), A.label_value(Side.LEFT)
    found = {right: Agreement(0.91, 0.86, 0.94, 0.02), left: Agreement(0.4, 0.2, 0.65, 0.93)}
    record = json.loads(json.dumps(agreement_record(found, "abc")))
    assert record["model"] == "abc" and record["structures"]["gracilis"]["right"]["expected"] == 0.91
    assert agreement_of_record({"agreement": record}) == found
    assert agreement_of_record({}) == {}
    rows = agreement_rows("x", found)
    assert len(rows) == 4 * 2 * len(STRUCTURES)
    values = {(r.structure, r.side, r.measure): r.value for r in rows}
    assert values["gracilis", "left", "probability_wrong"] == 0.93
    assert values["sartorius", "left", "expected_agreement"] is None
    (sentence,) = likely_wrong(found)
    assert (
        sentence.startswith("1 structure is likely wrong") and "Gracilis, left: 0.40 (0.20 to 0.65), 93%." in sentence
    )
    assert likely_wrong({right: found[right]}) == ()


def test_every_label_has_a_row():
    assert [ROW_OF_VALUE[label.value] for label in LABELS] == list(range(len(LABELS)))


def test_a_structure_at_a_level_of_the_body_where_nobody_has_it_is_odd():
    labels = phantom()
    value = BY_KEY["quadratus_femoris"].label_value(Side.RIGHT)
    odd = labels.copy()
    odd[(labels == BY_KEY["vastus_medialis"].label_value(Side.RIGHT)) & (np.arange(labels.shape[2]) < 20)] = value
    model, column = load_model(), INPUTS.index("odd_level")

    def of(values: NDArray[np.uint8]) -> float:
        found = evidence_of(values)
        sections = whole_structures(found)
        row = sections.rows.tolist().index(ROW_OF_VALUE[value])
        return float(features(found, sections, model.population)[row, column])

    assert of(odd) > of(labels) + 1.0


def test_what_is_due_and_lacking_counts():
    labels = phantom()
    value = BY_KEY["sartorius"].label_value(Side.RIGHT)
    half = labels.copy()
    half[(labels == value) & (np.arange(labels.shape[2]) < labels.shape[2] // 2)] = 0
    model, column = load_model(), INPUTS.index("gaps_due")

    def of(values: NDArray[np.uint8]) -> float:
        found = evidence_of(values)
        sections = whole_structures(found)
        row = sections.rows.tolist().index(ROW_OF_VALUE[value])
        return float(features(found, sections, model.population)[row, column])

    assert of(labels) < 0.1 and of(half) > 0.3
