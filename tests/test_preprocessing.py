from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.ndimage import map_coordinates

from vastus.anatomy import Side
from vastus.errors import SettingsError, UnsupportedScanError
from vastus.preprocessing import (
    PreprocessingSettings,
    body_box,
    body_mask,
    fill_holes,
    normalise_hu,
    normalise_hu_tensor,
    preprocess,
)
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume, crop, from_ras, to_ras

SETTINGS = PreprocessingSettings()
AIR, FOAM, PLASTIC, CLOTH = -1000, -900, 150, -150


def test_defaults_are_the_papers():
    assert SETTINGS.hu_window == (-57.0, 164.0)
    assert SETTINGS.gamma == 2.0
    assert SETTINGS.spacing_mm == (1.5, 1.5, 2.0)
    assert SETTINGS.window_size == (96, 96, 96)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_a_tensor_is_normalised_like_an_array(gamma):
    torch = pytest.importorskip("torch")
    chosen = PreprocessingSettings(hu_window=(-150.0, 250.0), gamma=gamma)
    hu = np.linspace(-1024, 3000, 777, dtype=np.float32).reshape(7, 111)
    found = normalise_hu_tensor(torch.from_numpy(hu), chosen).numpy()
    assert found.min() == 0.0 and found.max() == 1.0
    np.testing.assert_allclose(found, normalise_hu(hu, chosen), atol=1e-6)


@pytest.mark.parametrize(
    ("hu", "expected"),
    [(-1024, 0.0), (-57, 0.0), (53.5, 0.25), (164, 1.0), (3071, 1.0), (-1.75, 0.0625), (108.75, 0.5625)],
)
def test_window_and_gamma_by_hand(hu: float, expected: float):
    assert normalise_hu(np.array([hu]), SETTINGS)[0] == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.floats(-3000, 4000), min_size=2, max_size=30), st.floats(0.2, 4))
def test_normalising_keeps_the_order_and_the_range(values: list[float], gamma: float):
    result = normalise_hu(np.sort(values), dataclasses.replace(SETTINGS, gamma=gamma))
    assert result.dtype == np.float32
    assert (np.diff(result) >= 0).all()
    assert result.min() >= 0 and result.max() <= 1


def test_input_is_left_alone():
    hu = np.array([100.0, -500.0], np.float32)
    normalise_hu(hu, SETTINGS)
    np.testing.assert_array_equal(hu, [100.0, -500.0])


@pytest.mark.parametrize("reverse", [False, True])
def test_all_steps_against_a_literal_computation(reverse: bool):
    """Clip, scale, gamma, crop and linear resampling, each written out with NumPy and SciPy."""
    scan = make_phantom((4.0, 3.0, 6.0)).ct
    if reverse:
        affine = scan.affine.copy()
        affine[:3, 3] += affine[:3, 0] * (scan.shape[0] - 1)
        affine[:3, 0] *= -1
        scan = Volume(scan.array[::-1], affine)
    upright = to_ras(scan)
    done = preprocess(scan, SETTINGS)

    hu = upright.array[tuple(slice(a, b) for a, b in zip(done.box_start, done.box_stop, strict=True))].astype(float)
    shape = tuple(
        round(n * s / new) for n, s, new in zip(hu.shape, upright.spacing_mm, SETTINGS.spacing_mm, strict=True)
    )
    places = [(np.arange(m) + 0.5) * n / m - 0.5 for n, m in zip(hu.shape, shape, strict=True)]
    resampled = map_coordinates(hu, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    expected = ((np.clip(resampled, -57.0, 164.0) + 57.0) / 221.0) ** 2

    assert done.image.shape == shape
    assert done.image.dtype == np.float32
    np.testing.assert_allclose(done.image, expected, atol=2e-5)
    box = crop(upright, done.box_start, done.box_stop)
    for corner in ([0, 0, 0], [1, 1, 1], [1, 0, 1]):
        before = box.affine @ [*(np.array(corner) * box.shape - 0.5), 1.0]
        after = done.affine @ [*(np.array(corner) * shape - 0.5), 1.0]
        np.testing.assert_allclose(before, after, atol=1e-8)


def test_network_sees_the_same_whatever_the_storage():
    scan = make_phantom((6.0, 5.0, 8.0)).ct
    affine = scan.affine.copy()
    order = [2, 0, 1]
    affine[:, :3] = scan.affine[:, order]
    turned = Volume(np.asfortranarray(scan.array.transpose(order)), affine)
    one, other = preprocess(scan, SETTINGS), preprocess(turned, SETTINGS)
    np.testing.assert_allclose(one.image, other.image, atol=1e-6)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-9)
    assert (one.box_start, one.box_stop) == (other.box_start, other.box_stop)


def test_antialiasing_averages_noise():
    scan = make_phantom((0.75, 0.75, 8.0), z_range_mm=(180.0, 230.0), noise_hu=60.0).ct
    plain = preprocess(scan, dataclasses.replace(SETTINGS, spacing_mm=(3.0, 3.0, 8.0), gamma=1.0))
    smooth = preprocess(scan, dataclasses.replace(SETTINGS, spacing_mm=(3.0, 3.0, 8.0), gamma=1.0, antialias=True))
    assert plain.image.shape == smooth.image.shape
    assert np.std(np.diff(smooth.image, axis=2)) < 0.5 * np.std(np.diff(plain.image, axis=2))


def on_table(scan: Volume, *, blanket: bool = True) -> Volume:
    """The phantom on a curved table shell with foam inside, under a blanket that touches it, with a line beside it."""
    padded = np.pad(scan.array, ((15, 15), (30, 20), (0, 0)), constant_values=AIR)
    affine = scan.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [15, 30, 0]
    x, y = (affine[a, 3] + affine[a, a] * np.arange(padded.shape[a]) for a in range(2))
    top = -150.0 + (x / 60.0) ** 2
    shell = np.abs(y[None, :] - top[:, None]) < 2.5
    foam = (y[None, :] < top[:, None] - 2.5) & (y[None, :] > top[:, None] - 40)
    bottom = np.abs(y[None, :] - top[:, None] + 42.0) < 2.5
    lying = padded.copy()
    lying[(shell | bottom)[:, :, None] & (padded == AIR)] = PLASTIC
    lying[foam[:, :, None] & (padded == AIR)] = FOAM
    if blanket:
        cloth = np.abs(y[None, :] - (118.0 - (x[:, None] / 40.0) ** 2)) < 3.0
        lying[cloth[:, :, None] & (padded == AIR)] = CLOTH
    line = (np.abs(x - 200.0) < 4)[:, None] & (np.abs(y) < 4)[None, :]
    lying[line[:, :, None] & (padded == AIR)] = PLASTIC
    return Volume(np.asfortranarray(lying), affine)


def fraction_inside(volume: Volume, what: np.ndarray) -> float:
    start, stop = body_box(volume, SETTINGS)
    return what[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].sum() / what.sum()


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 10.0), (3.0, 3.0, 6.0), (1.5, 1.5, 20.0)])
class TestTableAndClothes:
    def test_all_anatomy_is_kept_and_the_table_is_not(self, spacing_mm):
        phantom = make_phantom(spacing_mm)
        lying = on_table(phantom.ct)
        labels = np.pad(phantom.labels.array, ((15, 15), (30, 20), (0, 0)))
        assert fraction_inside(lying, labels > 0) == 1.0
        start, _ = body_box(lying, SETTINGS)
        lowest_mm = lying.affine[1, 3] + lying.affine[1, 1] * start[1]
        assert lowest_mm > -150.0 + 10.0

    def test_box_is_that_of_the_body_alone(self, spacing_mm):
        phantom = make_phantom(spacing_mm)
        empty = np.pad(phantom.ct.array, ((15, 15), (30, 20), (0, 0)), constant_values=AIR)
        lying = on_table(phantom.ct)
        bare = body_box(lying.with_array(np.asfortranarray(empty)), SETTINGS)
        dressed = body_box(lying, SETTINGS)
        for one, other in zip(np.ravel(bare), np.ravel(dressed), strict=True):
            assert abs(int(one) - int(other)) * 2.0 <= 12.0

    def test_mask_is_the_body(self, spacing_mm):
        phantom = make_phantom(spacing_mm)
        mask, coarse_mm = body_mask(on_table(phantom.ct), SETTINGS)
        body_mm3 = (phantom.ct.array > -250).sum() * phantom.ct.voxel_volume_mm3
        assert mask.sum() * np.prod(coarse_mm) == pytest.approx(body_mm3, rel=0.06)


class TestBothLegs:
    def test_separate_legs_are_both_kept(self):
        phantom = make_phantom((3.0, 3.0, 8.0), z_range_mm=(-20.0, 300.0))
        assert (
            fraction_inside(on_table(phantom.ct), np.pad(phantom.labels.array, ((15, 15), (30, 20), (0, 0))) > 0) == 1
        )

    @pytest.mark.parametrize("kept_mm", [25.0, 40.0, 100.0])
    def test_a_sliver_of_the_other_leg_is_kept(self, kept_mm: float):
        phantom = make_phantom((3.0, 3.0, 8.0), z_range_mm=(-20.0, 300.0))
        first = int(np.searchsorted(phantom.ct.affine[0, 3] + 3.0 * np.arange(phantom.ct.shape[0]), -10.0 - kept_mm))
        stop = phantom.ct.shape
        cut, labels = crop(phantom.ct, (first, 0, 0), stop), crop(phantom.labels, (first, 0, 0), stop)
        left = labels.array >= Side.LEFT.offset
        assert left.any()
        assert fraction_inside(cut, left) == 1.0

    def test_one_leg_only(self):
        phantom = make_phantom((3.0, 3.0, 8.0), sides=(Side.LEFT,))
        _, stop = body_box(phantom.ct, SETTINGS)
        assert fraction_inside(phantom.ct, phantom.labels.array > 0) == 1.0
        middle = phantom.ct.affine[0, 3] + 3.0 * stop[0]
        assert middle < 30.0

    def test_a_body_cut_by_every_side_fills_the_box(self):
        phantom = make_phantom((3.0, 3.0, 8.0))
        cut = crop(phantom.ct, (75, 25, 5), (105, 60, 40))
        assert body_box(cut, SETTINGS) == ((0, 0, 0), cut.shape)


def test_empty_slices_above_and_below_are_cropped():
    phantom = make_phantom((4.0, 4.0, 8.0))
    array = np.pad(phantom.ct.array, ((0, 0), (0, 0), (12, 9)), constant_values=AIR)
    affine = phantom.ct.affine.copy()
    start, stop = body_box(Volume(np.asfortranarray(array), affine), SETTINGS)
    assert 12 - 2 <= start[2] <= 12
    assert array.shape[2] - 9 <= stop[2] <= array.shape[2] - 9 + 2


@pytest.mark.parametrize("value", [-1000, -300])
def test_no_body_is_refused(value: int):
    air = Volume(np.full((20, 20, 20), value, np.int16), np.diag([4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(UnsupportedScanError, match="No body"):
        preprocess(air, SETTINGS)


def test_labels_on_the_box_come_back_to_the_scans_grid():
    phantom = make_phantom((4.0, 4.0, 8.0))
    turned = Volume(phantom.labels.array[:, ::-1], phantom.labels.affine @ np.diag([1.0, -1.0, 1.0, 1.0]))
    start, stop = body_box(to_ras(turned.with_array(phantom.ct.array[:, ::-1])), SETTINGS)
    full = np.zeros(turned.shape, np.uint8)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    full[window] = to_ras(turned).array[window]
    np.testing.assert_array_equal(from_ras(full, turned).array, turned.array)


class TestSettings:
    def test_round_trip_through_json(self):
        odd = PreprocessingSettings((-100.0, 200.0), 1.5, -300.0, 5.0, (1.0, 1.1, 3.0), (64, 64, 32), True)
        assert PreprocessingSettings.from_dict(json.loads(json.dumps(odd.to_dict()))) == odd

    @pytest.mark.parametrize("change", ["missing", "unknown"])
    def test_missing_or_unknown_names_are_refused(self, change: str):
        values = SETTINGS.to_dict()
        if change == "missing":
            del values["gamma"]
        else:
            values["gama"] = values["gamma"]
        with pytest.raises(SettingsError, match="gam"):
            PreprocessingSettings.from_dict(values)

    @pytest.mark.parametrize(
        "wrong",
        [{"hu_window": (5.0, 5.0)}, {"gamma": 0.0}, {"spacing_mm": (1.0, -1.0, 1.0)}, {"window_size": (0, 96, 96)}],
    )
    def test_impossible_values_are_refused(self, wrong: dict[str, object]):
        with pytest.raises(SettingsError):
            dataclasses.replace(SETTINGS, **wrong)


@settings(max_examples=15, deadline=None)
@given(st.tuples(st.floats(2, 6), st.floats(2, 6), st.floats(6, 12)), st.tuples(*[st.floats(2, 5)] * 3))
def test_spacing_comes_closest_to_the_wanted(spacing, wanted):
    scan = make_phantom(spacing, z_range_mm=(0.0, 200.0)).ct
    done = preprocess(scan, dataclasses.replace(SETTINGS, spacing_mm=wanted))
    got = np.linalg.norm(done.affine[:3, :3], axis=0)
    size = np.array(done.image.shape)
    assert (np.abs(size * got / np.array(wanted) - size) <= 0.5 + 1e-6).all()


SHARED = Path(__file__).parents[1].parent / "shared" / "ct"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="the real scans are not here")
@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("vhf_knee.nii.gz", False),
        ("totalsegmentator_hip_3mm.nii.gz", False),
        ("vhf_pelvis_dicom", True),
        ("sts_thigh/STS_004_CT.nii.gz", True),
        ("sts_thigh/STS_010_CT.nii.gz", True),
        ("sts_thigh/STS_013_CT.nii.gz", False),
        ("sts_thigh/STS_051_CT.nii.gz", True),
    ],
)
def test_real_scans_lose_no_bone_and_their_table(name: str, table: bool):
    """Femur, tibia and hip lie in the box; where a table lies lowest in the image it is left out."""
    from scipy import ndimage

    from vastus.io.scans import read_scan

    volume = to_ras(read_scan(SHARED / name).volume)
    start, stop = body_box(volume, SETTINGS)
    parts, _ = ndimage.label(ndimage.binary_erosion(volume.array > 250, np.ones((3, 3, 1))))
    sizes = np.bincount(parts.ravel())[1:]
    bones = np.isin(parts, 1 + np.flatnonzero(sizes * volume.voxel_volume_mm3 > 1000))
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    inside = bones[window].sum() / bones.sum()
    assert inside > 0.999
    assert (start[1] > 0) is (table or name == "vhf_knee.nii.gz")


@pytest.mark.parametrize("seed", range(5))
def test_holes_are_filled_slice_by_slice_as_scipy_does_it(seed: int) -> None:
    mask = np.random.default_rng(seed).random((24, 18, 6)) < 0.6
    expected = np.stack([ndimage.binary_fill_holes(mask[..., k]) for k in range(mask.shape[2])], axis=2)
    assert (expected != mask).any()
    np.testing.assert_array_equal(fill_holes(mask), expected)
