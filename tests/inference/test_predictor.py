from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from toy_bundle import CLASS_STEP_HU, PAINTED, write_toy_bundle
from vastus.anatomy import SIDES, Side
from vastus.errors import DeviceError, SettingsError, UnsupportedScanError
from vastus.inference import predictor as predictor_module
from vastus.inference.bundle import Bundle
from vastus.inference.choices import Device, PrecisionChoice, RuntimeName, RuntimeOptions
from vastus.inference.predictor import Predictor, Progress, SegmentStage, make_ready
from vastus.inference.runtime import choose
from vastus.synthesis.phantom import make_phantom
from vastus.volume import Volume, resample_like
from without_tails import without_tails


def _painted(sides: tuple[Side, ...] = SIDES, z: tuple[float, float] = (200.0, 520.0)) -> tuple[Volume, Volume]:
    """A scan in which class c has 100 * c HU, and its labels, on the toy network's own grid."""
    phantom = make_phantom(PAINTED.spacing_mm, sides=sides, z_range_mm=z, noise_hu=0)
    labels = without_tails(phantom.labels)
    classes = labels.array % 100
    outside = np.where(phantom.ct.array > -900, -100.0, -1000.0)
    hu = np.where(classes > 0, classes * CLASS_STEP_HU, outside).astype(np.int16)
    return Volume(np.asfortranarray(hu), phantom.ct.affine), labels


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_toy_bundle(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def predictor(bundle: Bundle) -> Predictor:
    return Predictor(bundle, RuntimeOptions(threads=1))


@pytest.fixture(scope="module")
def scan() -> Volume:
    return _painted()[0]


def test_a_painted_phantom_comes_back_exactly(predictor: Predictor) -> None:
    scan, truth = _painted()
    found = predictor.segment(scan)
    np.testing.assert_array_equal(found.labels.array, truth.array)
    assert found.labels.same_grid(scan)
    assert found.windows > 1 and set(found.seconds) >= {stage.value for stage in SegmentStage}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_all_48_orientations_give_the_same_labels(predictor: Predictor, order: tuple[int, ...]) -> None:
    scan, truth = _painted(z=(330.0, 450.0))
    for flips in product([False, True], repeat=3):
        affine = scan.affine[:, [*order, 3]].copy()
        at = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
        turned, expected = (v.array.transpose(order)[at] for v in (scan, truth))
        for axis, flip in enumerate(flips):
            if flip:
                affine[:, 3] += affine[:, axis] * (turned.shape[axis] - 1)
                affine[:, axis] *= -1
        for stored in (np.asfortranarray(turned), np.ascontiguousarray(turned)):
            found = predictor.segment(Volume(stored, affine))
            np.testing.assert_array_equal(found.labels.array, expected)


def test_another_spacing_keeps_volumes_and_sides(tmp_path: Path) -> None:
    # Muscle and bone only, so that partial volume at a boundary is no third class.
    settings = PAINTED.__class__(
        hu_window=(-200.0, 600.0), gamma=1.0, spacing_mm=(4.0, 4.0, 4.0), window_size=(32, 32, 24)
    )
    levels = [(hu + 200) / 800 for hu in (-100, 420)]
    bones = write_toy_bundle(tmp_path, ("background", "femur"), levels, settings)
    phantom = make_phantom((1.7, 2.1, 3.0), z_range_mm=(50.0, 330.0), noise_hu=5)
    found = Predictor(bones, RuntimeOptions(threads=2)).segment(phantom.ct)
    for value in (128, 228):
        truth, got = phantom.labels.array == value, found.labels.array == value
        assert 2 * (truth & got).sum() / (truth.sum() + got.sum()) > 0.95
        assert got.sum() / truth.sum() == pytest.approx(1.0, abs=0.08)


def test_an_oblique_scan_gives_the_same_volumes(predictor: Predictor) -> None:
    scan, truth = _painted(z=(150.0, 560.0))
    c, s = np.cos(np.radians(12)), np.sin(np.radians(12))
    affine = scan.affine.copy()
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ affine[:3, :3]
    grid = Volume(np.zeros((100, 90, scan.shape[2]), np.uint8), affine)
    middle = (scan.affine @ [*(np.array(scan.shape) / 2), 1])[:3]
    grid.affine[:3, 3] += middle - (affine @ [*(np.array(grid.shape) / 2), 1])[:3]
    tilted = resample_like(scan, grid, order=0, outside=-1000)
    expected = resample_like(truth, grid, order=0)
    assert (expected.array > 0).sum() == pytest.approx((truth.array > 0).sum(), rel=0.005)
    found = predictor.segment(tilted)
    np.testing.assert_array_equal(found.labels.array, expected.array)


def test_labels_do_not_depend_on_threads_runtime_or_run(bundle: Bundle) -> None:
    noisy = _painted()[0]
    noise = np.random.default_rng(0).normal(0, 60, noisy.shape).astype(np.int16)
    scan = noisy.with_array(np.asfortranarray(noisy.array + noise * (noisy.array > -500)))
    results = [
        Predictor(bundle, RuntimeOptions(threads=threads)).segment(scan).labels.array for threads in (1, 2, 2, 3)
    ]
    portable = Predictor(bundle, RuntimeOptions(runtime=RuntimeName.ONNXRUNTIME, threads=2)).segment(scan).labels.array
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    assert (portable != results[0]).mean() < 1e-4


def test_a_predictor_is_used_again_after_an_interruption(predictor: Predictor, scan: Volume) -> None:
    expected = predictor.segment(scan).labels.array

    def stop(progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predictor.segment(scan, stop)
    np.testing.assert_array_equal(predictor.segment(scan).labels.array, expected)


def test_a_network_that_was_given_back_is_loaded_again(bundle: Bundle, scan: Volume) -> None:
    loaded: list[str] = []
    load = predictor_module.open_runtime
    with mock.patch.object(predictor_module, "open_runtime", lambda *a: (loaded.append("anew"), load(*a))[1]):
        own = Predictor(bundle)
        before = own.segment(scan).labels.array
        assert loaded == ["anew"]
        own.release()
        own.release()
        np.testing.assert_array_equal(own.segment(scan).labels.array, before)
        assert loaded == ["anew", "anew"]


def test_progress_counts_every_window(predictor: Predictor, scan: Volume) -> None:
    seen: list[Progress] = []
    found = predictor.segment(scan, seen.append)
    network = [p for p in seen if p.stage is SegmentStage.NETWORK]
    assert [p.done for p in network] == list(range(found.windows + 1))
    assert [s for s in SegmentStage if any(p.stage is s for p in seen)] == list(SegmentStage)


def test_what_was_begun_before_is_taken_and_labels_are_told_first(predictor: Predictor, scan: Volume) -> None:
    told: list[tuple[Volume, Volume]] = []
    begun = make_ready(scan, predictor.bundle.info, 1)
    with mock.patch.object(predictor_module, "preprocess", side_effect=AssertionError):
        found = predictor.segment(scan, seen=lambda: begun, on_labels=lambda *both: told.append(both))
    np.testing.assert_array_equal(found.labels.array, predictor.segment(scan).labels.array)
    assert told == [(found.labels, found.doubt)]


def test_labels_alone_are_those_of_segment_and_nothing_is_judged(
    predictor: Predictor, scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = predictor.segment(scan).labels
    told: list[SegmentStage] = []
    for name in ("doubt_map", "judge", "said_of_kind", "said_of_lie"):
        monkeypatch.setattr(predictor_module, name, mock.Mock(side_effect=AssertionError(name)))
    found = predictor.label(scan, lambda progress: told.append(progress.stage))
    assert found.same_grid(scan) and np.array_equal(found.array, expected.array)
    assert list(dict.fromkeys(told)) == list(SegmentStage)


def test_a_scan_smaller_than_a_window(predictor: Predictor) -> None:
    scan, truth = _painted((Side.RIGHT,), (250.0, 290.0))
    assert scan.shape[2] < PAINTED.window_size[2]
    found = predictor.segment(scan)
    np.testing.assert_array_equal(found.labels.array, truth.array)


def test_a_very_long_scan_needs_no_more_memory_for_scores(predictor: Predictor) -> None:
    scan, _ = _painted(z=(250.0, 290.0))
    long = Volume(np.asfortranarray(np.tile(scan.array, (1, 1, 60))), scan.affine)
    found = predictor.segment(long)
    middle = found.labels.array[:, :, 300:310]
    assert (middle > 100).any() and set(np.unique(middle // 100)) == {0, 1, 2}


def test_air_is_refused(predictor: Predictor) -> None:
    with pytest.raises(UnsupportedScanError, match="No body"):
        predictor.segment(Volume(np.full((40, 40, 40), -1000, np.int16), np.diag([4.0, 4.0, 4.0, 1.0])))


def test_what_is_not_there_is_refused_not_replaced(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vastus.inference.runtime._torch_sees", lambda _: False)
    for device in (Device.CUDA, Device.MPS):
        with pytest.raises(DeviceError, match=device.value):
            Predictor(bundle, RuntimeOptions(device=device))
    with pytest.raises(DeviceError, match="thread"):
        Predictor(bundle, RuntimeOptions(threads=0))
    with pytest.raises(DeviceError, match="bfloat16"):
        Predictor(bundle, RuntimeOptions(runtime=RuntimeName.ONNXRUNTIME, precision=PrecisionChoice.BF16))
    monkeypatch.setattr("vastus.inference.runtime._installed", lambda name: name is not RuntimeName.OPENVINO)
    with pytest.raises(DeviceError, match="openvino"):
        Predictor(bundle, RuntimeOptions(runtime=RuntimeName.OPENVINO))
    assert choose(RuntimeOptions()) == (Device.CPU, RuntimeName.ONNXRUNTIME)


def test_a_graphics_card_is_taken_only_when_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vastus.inference.runtime._torch_sees", lambda device: device is Device.CUDA)
    assert choose(RuntimeOptions()) == (Device.CUDA, RuntimeName.TORCH)
    assert choose(RuntimeOptions(device=Device.CPU)) == (Device.CPU, RuntimeName.OPENVINO)
    with pytest.raises(DeviceError, match="runs on the CPU only"):
        choose(RuntimeOptions(device=Device.CUDA, runtime=RuntimeName.OPENVINO))


def test_bf16_is_the_default_only_where_it_was_checked(bundle: Bundle, predictor: Predictor) -> None:
    assert "fp32" in predictor.device
    with pytest.raises(SettingsError, match="overlap"):
        Predictor(bundle, overlap=1.0)
