from dataclasses import dataclass

import numpy as np
import pytest

from vastus.anatomy import BY_KEY, Side
from vastus.curation.uncertainty import UncertaintySettings, compare, estimate_uncertainty
from vastus.errors import SettingsError
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume

FEMUR = BY_KEY["femur"].label_value(Side.RIGHT)
OTHER = BY_KEY["femur"].label_value(Side.LEFT)


@dataclass
class Labelled:
    labels: Volume


class Thresholds:
    """Calls dense voxels femur, by side; a network that is perfectly sure."""

    def __init__(self, level_hu: float = 250.0) -> None:
        self.level_hu = level_hu
        self.asked = 0

    def segment(self, scan: Volume) -> Labelled:
        self.asked += 1
        i, j, k = np.indices(scan.shape, sparse=True)
        x = scan.affine[0, 0] * i + scan.affine[0, 1] * j + scan.affine[0, 2] * k + scan.affine[0, 3]
        dense = scan.array > self.level_hu
        side = np.where(x >= 0, FEMUR, OTHER)
        return Labelled(scan.with_array(np.where(dense, side, 0).astype(np.uint8)))


def centred() -> Volume:
    scan = make_phantom((6.0, 6.0, 8.0)).ct
    affine = scan.affine.copy()
    affine[0, 3] = -affine[0, 0] * (scan.shape[0] - 1) / 2
    return Volume(scan.array, affine)


def test_a_sure_model_is_sure_and_mirroring_gives_the_sides_back() -> None:
    model = Thresholds()
    found = estimate_uncertainty(model, centred(), UncertaintySettings(noise_hu=0.0, brightness_hu=0.0, shift_voxels=0))
    assert model.asked == 5
    assert found.score == 0.0 and not found.voxels.array.any()
    assert set(found.by_value) == {FEMUR, OTHER}


def test_a_model_at_its_limit_is_unsure_and_the_map_shows_where() -> None:
    scan = centred()
    bone = scan.array > 250
    unsure = estimate_uncertainty(Thresholds(level_hu=420.0), scan)
    sure = estimate_uncertainty(Thresholds(level_hu=200.0), scan)
    assert unsure.score > 5 * sure.score + 0.05
    assert unsure.voxels.array[bone].mean() > 10 * max(unsure.voxels.array[~bone].mean(), 0.01)
    assert unsure.voxels.same_grid(scan)


def test_a_scan_of_any_orientation_gives_the_map_on_its_own_grid() -> None:
    scan = centred()
    turned = Volume(scan.array.transpose(2, 1, 0), scan.affine[:, [2, 1, 0, 3]])
    found = estimate_uncertainty(Thresholds(), turned, UncertaintySettings(variations=1, shift_voxels=0))
    assert found.labels.shape == found.voxels.shape == turned.shape
    assert not found.voxels.array.any()


def test_disagreement_in_numbers() -> None:
    plain = np.zeros((4, 10, 10), np.uint8)
    plain[:2] = FEMUR
    half = plain.copy()
    half[1] = 0
    found = compare(Volume(plain, np.diag([10, 10, 10, 1.0])), [plain, half])
    assert found.by_value[FEMUR] == pytest.approx(1 - (1 + 2 / 3) / 2)
    assert found.voxels.array[1].min() == found.voxels.array.max() == 50
    assert not found.voxels.array[[0, 2, 3]].any()


def test_a_model_that_finds_nothing_knows_nothing() -> None:
    nothing = Volume(np.zeros((3, 3, 3), np.uint8), np.eye(4))
    assert compare(nothing, [nothing.array]).score == 1.0


def test_a_number_of_variations_that_says_nothing_is_refused() -> None:
    with pytest.raises(SettingsError):
        UncertaintySettings(variations=0)


def test_which_side_a_lonely_leg_is_called_does_not_matter() -> None:
    plain = np.zeros((6, 10, 10), np.uint8)
    plain[:3] = FEMUR
    called_left = np.where(plain == FEMUR, OTHER, 0).astype(np.uint8)
    found = compare(Volume(plain, np.diag([10, 10, 10, 1.0])), [called_left])
    assert found.score == 0.0 and not found.voxels.array.any()


def test_two_legs_are_two_structures() -> None:
    plain = np.zeros((10, 10, 10), np.uint8)
    plain[:3], plain[7:] = OTHER, FEMUR
    right_only = np.where(plain == FEMUR, FEMUR, 0).astype(np.uint8)
    found = compare(Volume(plain, np.diag([10, 10, 10, 1.0])), [right_only])
    assert found.by_value == {FEMUR: 0.0, OTHER: 1.0}
