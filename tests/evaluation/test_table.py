from __future__ import annotations

import math

import numpy as np
import pytest

from vastus.anatomy import BY_KEY, STRUCTURES, Side
from vastus.errors import GeometryError, LabelError, SettingsError
from vastus.evaluation import metrics as m
from vastus.evaluation.overlap import count_overlap
from vastus.evaluation.pair import evaluate_pair, score_pair
from vastus.evaluation.policy import EmptyPolicy
from vastus.evaluation.surface import surface_distances
from vastus.evaluation.table import SCORE_COLUMNS, ScoreSettings
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume

FEMUR_RIGHT = BY_KEY["femur"].label_value(Side.RIGHT)
FEMUR_LEFT = BY_KEY["femur"].label_value(Side.LEFT)
PSOAS_RIGHT = BY_KEY["psoas"].label_value(Side.RIGHT)


@pytest.fixture(scope="module")
def phantom():
    return make_phantom((6.0, 5.0, 8.0), noise_hu=0.0).labels


def _small(values, affine=None):
    array = np.zeros((8, 6, 5), np.uint8)
    for place, value in enumerate(values):
        array[place * 2 : place * 2 + 2, 1:4, 1:3] = value
    return Volume(array, np.diag([2.0, 1.0, 3.0, 1.0]) if affine is None else affine)


def _row(table, key, side):
    return table[(table["structure"] == key) & (table["side"] == side)].iloc[0]


def test_a_map_against_itself_is_perfect(phantom):
    table = evaluate_pair(phantom, phantom)
    assert tuple(table.columns) == SCORE_COLUMNS
    assert len(table) == 2 * len(STRUCTURES)
    assert (table["dice"] == 1.0).all()
    assert (table["hausdorff_mm"] == 0.0).all()
    assert (table["ravd_signed_percent"] == 0.0).all()
    assert (table["presence"] == "both").all()


def test_every_cell_is_that_of_the_pure_functions(phantom):
    prediction = phantom.with_array(np.roll(phantom.array, (1, 0, 1), (0, 1, 2)))
    table = evaluate_pair(prediction, phantom, tolerance_mm=6.0)
    for key in ("femur", "psoas", "gracilis"):
        for side in (Side.RIGHT, Side.LEFT):
            value = BY_KEY[key].label_value(side)
            masks = prediction.array == value, phantom.array == value
            surface = surface_distances(*masks, phantom.spacing_mm)
            counts = count_overlap(*masks)
            row = _row(table, key, side.value)
            assert row["dice"] == counts.dice
            assert row["assd_mm"] == pytest.approx(surface.assd_mm, abs=1e-9)
            assert row["hausdorff_mm"] == pytest.approx(surface.hausdorff_mm)
            assert row["hd95_mm"] == pytest.approx(surface.hd95_mm)
            assert row["surface_dice"] == surface.surface_dice(6.0)
            assert row["volume_prediction_mm3"] == pytest.approx(counts.prediction * 240.0)
            assert row["volume_reference_mm3"] == pytest.approx(counts.reference * 240.0)


def test_empty_masks_are_named_scored_and_finite():
    table = evaluate_pair(_small([FEMUR_RIGHT, FEMUR_LEFT]), _small([FEMUR_RIGHT, 0, PSOAS_RIGHT]))
    diagonal = math.dist((0, 0, 0), (16.0, 6.0, 15.0))
    missed, invented, absent = (
        _row(table, "psoas", "right"),
        _row(table, "femur", "left"),
        _row(table, "gracilis", "left"),
    )
    assert missed["presence"] == "missed"
    assert (missed["dice"], missed["assd_mm"], missed["ravd_signed_percent"]) == (0.0, pytest.approx(diagonal), -100.0)
    assert invented["presence"] == "invented"
    assert (invented["dice"], invented["hd95_mm"]) == (0.0, pytest.approx(diagonal))
    assert math.isnan(invented["ravd_signed_percent"])
    assert invented["volume_prediction_mm3"] == 12 * 6.0
    assert absent["presence"] == "absent"
    assert math.isnan(absent["dice"])
    assert not np.isinf(table[list(m.METRIC_COLUMNS)].to_numpy(float)).any()


def test_exclude_leaves_empty_cells():
    maps = _small([FEMUR_RIGHT]), _small([FEMUR_RIGHT, PSOAS_RIGHT])
    table = score_pair(*maps, ScoreSettings(policy=EmptyPolicy.EXCLUDE))
    assert math.isnan(_row(table, "psoas", "right")["dice"])
    assert _row(table, "psoas", "right")["presence"] == "missed"


def test_wholly_empty_maps_are_58_or_29_rows_without_scores():
    table = evaluate_pair(_small([]), _small([]))
    assert len(table) == len(STRUCTURES)
    assert (table["presence"] == "absent").all()
    assert table["dice"].isna().all()
    assert (evaluate_pair(_small([]), _small([FEMUR_RIGHT]))["presence"] == "missed").sum() == 1


def test_maps_without_sides_give_29_rows():
    table = evaluate_pair(_small([28, 1]), _small([28, 1]))
    assert len(table) == len(STRUCTURES)
    assert (table["side"] == "unknown").all()


def test_merging_sides_counts_left_and_right_as_one():
    prediction, reference = _small([FEMUR_RIGHT, FEMUR_LEFT]), _small([FEMUR_LEFT, 28])
    with pytest.raises(LabelError, match="merge-sides"):
        evaluate_pair(_small([FEMUR_RIGHT, FEMUR_LEFT]), _small([28, 28]))
    table = score_pair(prediction, reference, ScoreSettings(merge_sides=True))
    assert len(table) == len(STRUCTURES)
    assert _row(table, "femur", "unknown")["dice"] == 1.0
    ordered = Volume(np.asfortranarray(prediction.array), prediction.affine)
    assert score_pair(ordered, reference, ScoreSettings(merge_sides=True)).equals(table)


def test_left_for_right_is_an_error_and_not_forgiven():
    table = evaluate_pair(_small([FEMUR_LEFT]), _small([FEMUR_RIGHT]))
    assert _row(table, "femur", "right")["presence"] == "missed"
    assert _row(table, "femur", "left")["presence"] == "invented"


def test_refusals():
    with pytest.raises(GeometryError, match="grids differ"):
        evaluate_pair(_small([1]), _small([1], np.diag([2.0, 1.0, 4.5, 1.0])))
    with pytest.raises(LabelError, match="57"):
        evaluate_pair(_small([57]), _small([28]))
    skewed = np.diag([2.0, 1.0, 3.0, 1.0])
    skewed[1, 2] = 0.5
    with pytest.raises(GeometryError, match="right angles"):
        evaluate_pair(_small([1], skewed), _small([1], skewed))
    with pytest.raises(SettingsError):
        ScoreSettings(tolerance_mm=math.nan)


def test_rotated_grids_are_scored_like_straight_ones():
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    straight = evaluate_pair(_small([1, 1]), _small([1, 0, 1]))
    turned = evaluate_pair(
        _small([1, 1], turn @ np.diag([2.0, 1, 3, 1])), _small([1, 0, 1], turn @ np.diag([2.0, 1, 3, 1]))
    )
    assert _row(turned, "sartorius", "unknown")["assd_mm"] == pytest.approx(
        _row(straight, "sartorius", "unknown")["assd_mm"]
    )
