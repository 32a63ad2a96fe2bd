import json
import math
from pathlib import Path

import numpy as np
import pytest

from vastus.anatomy import BY_KEY, STRUCTURES, UNLABELLED, Side
from vastus.errors import LabelError
from vastus.evaluation.drawn import drawn_slices, score_drawn, summarise_sections
from vastus.evaluation.files import write_evaluation
from vastus.evaluation.pair import evaluate_pair
from vastus.evaluation.policy import EmptyPolicy
from vastus.evaluation.runner import Rater, RunSettings, evaluate
from vastus.evaluation.table import ScoreSettings
from vastus.io.labels import read_labels, write_labels
from vastus.volume import Volume

SARTORIUS, GRACILIS = 1, 9
MM = np.diag([2.0, 1.0, 5.0, 1.0])


def volume(*slices: np.ndarray) -> Volume:
    return Volume(np.stack(slices, axis=2).astype(np.uint8), MM)


def plane(fill: int = 0) -> np.ndarray:
    return np.full((30, 40), fill, np.uint8)


def square(i: int, j: int, value: int = SARTORIUS, size: int = 10, under: np.ndarray | None = None) -> np.ndarray:
    result = plane() if under is None else under.copy()
    result[i : i + size, j : j + size] = value
    return result


NOBODY = plane(UNLABELLED)


def row(table, key: str = "sartorius", **wanted):  # type: ignore[no-untyped-def]
    chosen = table[table["structure"] == key]
    for column, value in wanted.items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_only_drawn_slices_count_and_all_of_a_perfect_prediction_is_right() -> None:
    reference = volume(NOBODY, square(5, 5), NOBODY, square(6, 6))
    prediction = volume(square(1, 1), square(5, 5), square(20, 1), square(6, 6))
    drawn = score_drawn(prediction, reference, ScoreSettings())
    assert drawn.slices == (1, 3) == drawn_slices(reference)
    score = row(drawn.scores)
    assert (score["dice"], score["hausdorff_mm"], score["surface_dice"]) == (1.0, 0.0, 1.0)
    assert score["volume_prediction_mm3"] == pytest.approx(2 * 100 * 10.0)
    assert list(drawn.sections["slice"]) == [1, 3]
    assert list(drawn.sections["z_mm"]) == [5.0, 15.0]


def test_distances_run_in_the_plane_and_pool_over_slices() -> None:
    # In the second slice the prediction is one voxel of 2 mm aside; the neighbouring slice, 5 mm away, is no help.
    reference = volume(square(5, 5), square(5, 5), NOBODY)
    prediction = volume(square(5, 5), square(6, 5), plane())
    drawn = score_drawn(prediction, reference, ScoreSettings(tolerance_mm=1.0))
    score, section = row(drawn.scores), row(drawn.sections, slice=1)
    assert score["hausdorff_mm"] == 2.0
    assert section["dice"] == 0.9
    assert score["dice"] == 0.95
    # Of the 36 border voxels of each square 10 lie 2 mm away, 8 of the opposite side 1 to 2 mm, 18 on the other border.
    assert 10 * 2.0 / 36 < section["assd_mm"] < 18 * 2.0 / 36
    assert score["assd_mm"] == pytest.approx(section["assd_mm"] / 2)
    assert section["surface_dice"] < score["surface_dice"] < 1


def test_voxels_of_255_are_left_out_of_both_maps_and_their_rim_is_no_border() -> None:
    reference = square(5, 5)
    reference[5:15, 10:15] = UNLABELLED  # half of it can't be told
    prediction = square(5, 5, size=10)
    prediction[5:15, 15:25] = SARTORIUS  # too much, but the reference knows only what lies beyond j = 15
    drawn = score_drawn(volume(prediction, plane()), volume(reference, NOBODY), ScoreSettings())
    section = row(drawn.sections)
    assert section["area_reference_mm2"] == 50 * 2.0
    assert section["area_prediction_mm2"] == 150 * 2.0
    half = score_drawn(volume(square(5, 5), plane()), volume(reference, NOBODY), ScoreSettings())
    assert row(half.sections)["dice"] == 1.0
    assert row(half.scores)["hausdorff_mm"] == 0.0
    # A prediction that ends at the rim of what is known has a border there that nobody can judge.
    short = prediction.copy()
    short[:, 10:] = 0
    assert row(score_drawn(volume(short), volume(reference), ScoreSettings()).scores)["hausdorff_mm"] == 0.0


def test_missed_and_invented_sections_are_counted_and_penalised() -> None:
    reference = volume(square(5, 5), square(5, 5), plane(), NOBODY)
    prediction = volume(square(5, 5), plane(), square(15, 20), plane())
    drawn = score_drawn(prediction, reference, ScoreSettings())
    assert list(drawn.sections["presence"]) == ["both", "missed", "invented"]
    missed, invented = row(drawn.sections, presence="missed"), row(drawn.sections, presence="invented")
    assert (missed["dice"], missed["area_signed_percent"]) == (0.0, -100.0)
    assert invented["dice"] == 0.0 and math.isnan(invented["area_signed_percent"])
    assert math.isnan(missed["assd_mm"])
    score = row(drawn.scores)
    assert score["dice"] == 0.5
    assert score["surface_dice"] == 0.5  # one slice of two is right, in each map
    assert score["hausdorff_mm"] == 0.0, "distances are those of sections that both maps have"
    apart = score_drawn(volume(square(5, 5), plane(), NOBODY), volume(plane(), square(5, 5), NOBODY), ScoreSettings())
    assert row(apart.scores)["hausdorff_mm"] == pytest.approx(math.hypot(60, 40))
    assert row(apart.scores)["surface_dice"] == 0.0
    kind = score_drawn(prediction, reference, ScoreSettings(policy=EmptyPolicy.EXCLUDE))
    assert row(kind.scores)["surface_dice"] == 1.0
    assert math.isnan(row(kind.sections, presence="missed")["dice"])


def test_what_nobody_can_tell_is_neither_missed_nor_invented() -> None:
    unsure = square(5, 5, UNLABELLED)
    prediction = square(5, 5)
    prediction[15, 5:15] = SARTORIUS  # a row over the rim
    drawn = score_drawn(volume(prediction), volume(unsure), ScoreSettings())
    assert not len(drawn.sections)
    assert row(drawn.scores)["presence"] == "absent"
    second = score_drawn(volume(unsure), volume(prediction), ScoreSettings())
    assert not len(second.sections)
    prediction[15:28, 5:15] = SARTORIUS  # mostly where the reference says none
    assert row(score_drawn(volume(prediction), volume(unsure), ScoreSettings()).sections)["presence"] == "invented"


def test_sides_are_merged_where_the_reference_has_none() -> None:
    right = BY_KEY["sartorius"].label_value(Side.RIGHT)
    left = BY_KEY["sartorius"].label_value(Side.LEFT)
    reference = volume(square(18, 5, under=square(2, 5)), NOBODY)
    prediction = volume(square(18, 5, right, under=square(2, 5, left)), plane())
    table = evaluate_pair(prediction, reference)
    assert len(table) == len(STRUCTURES)
    assert row(table)["dice"] == 1.0
    sided = volume(square(18, 5, right, under=square(2, 5, left)), NOBODY)
    assert set(score_drawn(prediction, sided, ScoreSettings()).sections["side"]) == {"right", "left"}


def test_slices_are_axial_however_the_array_lies() -> None:
    reference = volume(NOBODY, square(5, 5), square(6, 6))
    prediction = volume(plane(), square(5, 6), square(6, 6))

    def turned(v: Volume) -> Volume:
        array = np.flip(v.array, (0, 2)).transpose(1, 2, 0)
        affine = np.zeros((4, 4))
        affine[:3, 0], affine[:3, 1], affine[:3, 2] = MM[:3, 1], -MM[:3, 2], -MM[:3, 0]
        affine[:, 3] = MM @ [v.shape[0] - 1, 0, v.shape[2] - 1, 1]
        return Volume(array, affine)

    straight = score_drawn(prediction, reference, ScoreSettings())
    other = score_drawn(turned(prediction), turned(reference), ScoreSettings())
    assert other.slices == straight.slices == (1, 2)
    assert other.sections.equals(straight.sections)


def test_two_readers_are_compared_where_both_have_drawn() -> None:
    first = volume(square(5, 5), NOBODY, square(5, 5))
    second = volume(square(5, 5), square(9, 9), NOBODY)
    drawn = score_drawn(second, first, ScoreSettings())
    assert drawn.slices == (0,)
    assert row(drawn.scores)["dice"] == 1.0


def test_unknown_values_are_refused_and_255_alone_is_nothing() -> None:
    with pytest.raises(LabelError, match="57"):
        score_drawn(volume(plane(57)), volume(square(5, 5)), ScoreSettings())
    nothing = score_drawn(volume(square(5, 5)), volume(NOBODY), ScoreSettings())
    assert nothing.slices == () and not len(nothing.sections)
    assert (nothing.scores["presence"] == "absent").all()


def test_a_run_over_files_says_that_it_is_partial(tmp_path: Path) -> None:
    for folder, slices in (
        ("reference", (square(5, 5), NOBODY, square(3, 20, GRACILIS))),
        ("prediction", (square(6, 5), square(1, 1), plane())),
    ):
        (tmp_path / folder).mkdir()
        write_labels(volume(*slices), tmp_path / folder / "one.nii.gz", partly=True)
    result = evaluate((Rater("net", tmp_path / "prediction"),), tmp_path / "reference", RunSettings())
    assert dict(result.drawn_slices) == {"one": (0, 2)}
    assert len(result.sections) == 2
    levels = summarise_sections(result.sections).set_index("level")
    summary = levels.loc["all"].set_index("structure")
    assert summary.loc["gracilis", "missed"] == 1
    assert (summary.loc["all", "sections"], summary.loc["all", "dice_mean"]) == (2, pytest.approx(0.45))
    write_evaluation(result, tmp_path / "out")
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "1 of 1 case(s) are labelled in part" in text and "2 drawn slices" in text
    assert "| Gracilis | 1 | 1 | 0 | 0.000 |" in text
    assert (tmp_path / "out" / "sections.csv").read_text().count("\n") == 3
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert record["drawn_slices"] == {"one": [0, 2]}


def test_sections_are_summed_up_by_the_level_that_the_reference_shows() -> None:
    """Adductor longus marks the middle of the thigh, gluteus medius the hip; the prediction marks nothing."""
    longus, medius = 8, 15  # adductor longus, gluteus medius
    reference = volume(square(5, 5), square(5, 5, longus), square(5, 5), square(5, 5, medius))
    prediction = volume(square(5, 5, medius), square(5, 5, longus), square(5, 5), plane())
    sections = score_drawn(prediction, reference, ScoreSettings()).sections
    assert sections.groupby("slice")["level"].first().tolist() == ["distal", "middle", "middle", "hip"]
    summary = summarise_sections(sections.assign(subject="one", model="net")).set_index(["level", "structure"])
    assert summary.index.get_level_values("level").unique().tolist() == ["all", "distal", "middle", "hip"]
    found = summary.xs("all", level="structure")[["sections", "missed", "invented"]]
    assert found.loc["distal"].tolist() == [2, 1, 1]
    assert found.loc["middle"].tolist() == [2, 0, 0]
    assert found.loc["hip"].tolist() == [1, 1, 0]
    assert found.loc["all", "sections"] == 5


def test_a_dense_run_has_no_word_of_sections(tmp_path: Path) -> None:
    for folder in ("reference", "prediction"):
        (tmp_path / folder).mkdir()
        write_labels(volume(square(5, 5), square(6, 6)), tmp_path / folder / "one.nii.gz")
    result = evaluate((Rater("net", tmp_path / "prediction"),), tmp_path / "reference", RunSettings())
    assert not result.drawn_slices
    write_evaluation(result, tmp_path / "out")
    assert "in part" not in (tmp_path / "out" / "summary.md").read_text()
    assert not (tmp_path / "out" / "sections.csv").exists()


def test_255_is_read_and_written_only_where_it_is_asked_for(tmp_path: Path) -> None:
    labels, path = volume(square(5, 5), NOBODY), tmp_path / "labels.nii.gz"
    with pytest.raises(LabelError, match="255"):
        write_labels(labels, path)
    write_labels(labels, path, partly=True)
    with pytest.raises(LabelError, match="255"):
        read_labels(path)
    assert np.array_equal(read_labels(path, partly=True).array, labels.array)
