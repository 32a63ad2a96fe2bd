"""Analytic scans: where views agree by construction, and where they cannot."""

import json
from pathlib import Path

import numpy as np
import pytest

from vastus.anatomy import BY_KEY
from vastus.errors import GeometryError, SettingsError
from vastus.training.dataset import check_dataset, read_dataset, read_pair
from vastus.training.losses import IGNORE
from vastus.training.pseudo_labels import (
    IMAGE_VARIANTS,
    ImageVariant,
    PseudoCase,
    Trust,
    class_ids_of,
    passed_over,
    pseudo_label,
    settle,
    skin,
    specks,
    vote,
    write_pseudo_set,
)
from vastus.volume import Volume, axis_order

MUSCLE, FAT, AIR = 50.0, -100.0, -1000.0
GRACILIS, SARTORIUS = BY_KEY["gracilis"].class_id, BY_KEY["sartorius"].class_id


def volume(array: np.ndarray, spacing_mm: tuple[float, float, float] = (2.0, 2.0, 4.0)) -> Volume:
    return Volume(array, np.diag([*spacing_mm, 1.0]))


def cylinder(shape: tuple[int, int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return (np.hypot(x - centre[0], y - centre[1]) <= radius) & (z >= 0)


def thigh(shape: tuple[int, int, int] = (60, 60, 8)) -> tuple[Volume, np.ndarray]:
    """Muscle of 32 mm radius in fat in air, and where the muscle is."""
    muscle = cylinder(shape, (30, 30), 16)
    hu = np.where(muscle, MUSCLE, np.where(cylinder(shape, (30, 30), 24), FAT, AIR)).astype(np.float32)
    return volume(hu), muscle


def by_hu(class_id: int):  # type: ignore[no-untyped-def]
    return lambda scan: scan.with_array(np.where(scan.array > 0, 100 + class_id, 0).astype(np.uint8))


def test_views_that_see_the_same_agree_whatever_the_axes() -> None:
    scan, muscle = thigh()
    turned = Volume(scan.array.transpose(2, 0, 1)[::-1], scan.affine[:, [2, 0, 1, 3]] @ np.diag([-1, 1, 1, 1]))
    for given in (scan, turned):
        classes, agreement = vote(given, by_hu(GRACILIS))
        np.testing.assert_array_equal(classes, np.where(muscle, GRACILIS, 0))
        assert (agreement == 1.0).all()


def test_what_turns_with_the_mirror_or_the_size_does_not_settle() -> None:
    scan, _ = thigh()

    def left_of_array(seen: Volume) -> Volume:
        x = np.arange(seen.shape[0])[:, None, None]
        return seen.with_array(np.where(np.broadcast_to(x < 30, seen.shape), GRACILIS, SARTORIUS).astype(np.uint8))

    _, agreement = vote(scan, left_of_array)
    assert (agreement == 0.5).all()
    spacings = []

    def note_the_spacing(seen: Volume) -> Volume:
        spacings.append(seen.spacing_mm[0])
        large = seen.spacing_mm[0] > 2.05
        return seen.with_array(np.full(seen.shape, SARTORIUS if large else GRACILIS, np.uint8))

    classes, agreement = vote(scan, note_the_spacing)
    np.testing.assert_allclose(sorted(spacings), sorted(2.0 * v.zoom for v in IMAGE_VARIANTS))
    assert (classes == GRACILIS).all()
    np.testing.assert_allclose(agreement, 4 / 6)
    settled = settle(classes, agreement, 0.7)
    assert (settled == IGNORE).all()
    assert (settle(classes, agreement, 0.6) == GRACILIS).all()


def test_the_scan_itself_is_one_of_the_views() -> None:
    assert ImageVariant(False, 1.0) in IMAGE_VARIANTS
    assert len(set(IMAGE_VARIANTS)) == len(IMAGE_VARIANTS)


def test_a_sheet_that_reaches_the_air_is_skin_and_a_muscle_is_not() -> None:
    shape = (80, 60, 4)
    fat = cylinder(shape, (28, 30), 26) | cylinder(shape, (52, 30), 26)
    hu = np.where(fat, FAT, AIR)
    muscles = cylinder(shape, (20, 30), 9) | cylinder(shape, (60, 30), 9)
    sheet = np.zeros(shape, bool)
    sheet[39:41] = fat[39:41]
    fascia = np.zeros(shape, bool)
    fascia[30:32, 20:40] = True
    for part in (muscles, sheet, fascia):
        hu[part] = MUSCLE
    found = skin(volume(hu.astype(np.float32), (1.0, 1.0, 4.0)))
    assert found[sheet].mean() > 0.9
    assert not found[muscles].any()
    assert not found[fascia].any(), "thin, but inside"


def test_a_muscle_cut_by_the_edge_of_the_scan_is_no_skin() -> None:
    hu = np.full((60, 60, 3), AIR)
    hu[:, :40] = FAT
    hu[0:3, 5:30] = MUSCLE
    assert not skin(volume(hu.astype(np.float32), (1.0, 1.0, 4.0))).any()


def test_thick_soft_tissue_called_background_is_passed_over() -> None:
    scan, muscle = thigh()
    vessel = cylinder(scan.shape, (30, 50), 1)
    scan.array[vessel] = MUSCLE
    missed = passed_over(scan, np.zeros(scan.shape, np.uint8))
    assert missed[muscle].mean() > 0.9
    assert not missed[~muscle].any()
    assert not passed_over(scan, np.where(muscle, GRACILIS, 0).astype(np.uint8)).any()


def test_a_rim_left_beside_a_muscle_is_passed_over_too() -> None:
    scan, muscle = thigh()
    core = cylinder(scan.shape, (30, 30), 14)  # 4 mm of muscle all around are called background
    missed = passed_over(scan, np.where(core, GRACILIS, 0).astype(np.uint8))
    assert missed[muscle & ~core].mean() > 0.8
    assert not missed[core].any()
    assert not missed[~muscle].any()


def test_small_parts_that_are_not_the_largest_are_specks() -> None:
    labels = np.zeros((60, 40, 20), np.uint8)
    labels[2:22, 2:22] = GRACILIS  # 8,000 voxels of 1 mm3
    labels[30:45, 2:22, :10] = GRACILIS  # 3,000: another part, but large
    labels[50:55, 2:12, :10] = GRACILIS  # 500
    labels[50:53, 30:35, :10] = SARTORIUS  # 150, and the largest of its class
    labels[2:4, 30:35] = IGNORE
    found = specks(labels, 1.0)
    assert found.sum() == 500
    assert found[50:55, 2:12, :10].all()


def test_labels_are_those_of_the_network_but_near_the_lesion() -> None:
    scan, muscle = thigh()
    lesion = cylinder(scan.shape, (30, 40), 3)
    case = PseudoCase("a", scan, volume(lesion.astype(np.uint8)))
    labels = pseudo_label(case, by_hu(GRACILIS), Trust(1.0))
    assert labels.same_grid(scan)
    near = cylinder(scan.shape, (30, 40), 3 + 5)  # 10 mm
    np.testing.assert_array_equal(labels.array[near], IGNORE)
    far = ~cylinder(scan.shape, (30, 40), 3 + 6)
    np.testing.assert_array_equal(labels.array[far], np.where(muscle, GRACILIS, 0)[far])


def test_the_axes_of_the_scan_are_kept() -> None:
    scan, muscle = thigh()
    affine = scan.affine.copy()
    affine[0] *= -1
    labels = pseudo_label(PseudoCase("a", Volume(scan.array, affine)), by_hu(GRACILIS), Trust())
    assert axis_order(labels.affine) == axis_order(affine)
    np.testing.assert_array_equal(labels.array == GRACILIS, muscle)


def test_what_cannot_be_done_is_refused() -> None:
    scan, _ = thigh()
    with pytest.raises(SettingsError, match="agreement"):
        Trust(80.0)
    other = volume(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(GeometryError, match="mask of a"):
        pseudo_label(PseudoCase("a", scan, other), by_hu(GRACILIS), Trust())


def test_the_set_is_one_that_training_takes_and_is_continued(tmp_path: Path) -> None:
    scan, muscle = thigh()
    asked: list[str] = []

    def segment(seen: Volume) -> Volume:
        asked.append("seen")
        labelled: Volume = by_hu(GRACILIS)(seen)
        return labelled

    def case(name: str) -> PseudoCase:
        return PseudoCase(name, scan)

    said: list[str] = []
    for names in (("one",), ("one", "two")):
        cases = {name: lambda name=name: case(name) for name in names}
        write_pseudo_set(cases, segment, tmp_path / "set", trust=Trust(), tell=said.append)
    assert len(asked) == 2 * len(IMAGE_VARIANTS), "the first case was not labelled again"
    assert [line.split(":")[0] for line in said] == ["one", "two"]
    assert check_dataset(tmp_path / "set").problems == ()
    dataset = read_dataset(tmp_path / "set")
    assert [c.name for c in dataset.cases] == ["one", "two"]
    assert dataset.ignore_value == IGNORE
    image, labels = read_pair(dataset.cases[1])
    np.testing.assert_array_equal(image.array, scan.array)
    np.testing.assert_array_equal(labels.array, np.where(muscle, GRACILIS, 0))
    assert "Not for evaluation" in json.loads((tmp_path / "set" / "dataset.json").read_text())["description"]


def test_doubted_structures_and_groups_stay_unlabelled() -> None:
    assert class_ids_of(["gracilis", "bone"]) == {GRACILIS, 28, 29}
    with pytest.raises(SettingsError, match="no structure or group 'gracile'"):
        class_ids_of(["gracile"])
    with pytest.raises(SettingsError):
        Trust(doubted=frozenset([0]))
    scan, muscle = thigh()
    believed = pseudo_label(PseudoCase("a", scan), by_hu(GRACILIS), Trust()).array
    doubted = pseudo_label(PseudoCase("a", scan), by_hu(GRACILIS), Trust(doubted=frozenset([GRACILIS]))).array
    assert (believed[muscle] == GRACILIS).mean() > 0.8
    assert (doubted[believed == GRACILIS] == IGNORE).all()
    np.testing.assert_array_equal(doubted[believed != GRACILIS], believed[believed != GRACILIS])


def test_within_earlier_outlines_only_the_names_are_new() -> None:
    scan, muscle = thigh()
    vastus, femur = BY_KEY["vastus_medialis"].class_id, BY_KEY["femur"].class_id
    bone = cylinder(scan.shape, (30, 30), 4)
    earlier = volume(np.where(bone, femur, np.where(muscle, SARTORIUS, 0)).astype(np.uint8))
    # The newer network leaves a rim of some 6 mm, the same in a mirror, and knows no bone.
    core = cylinder(scan.shape, (29.5, 29.5), 13)

    def newer(seen: Volume) -> Volume:
        return seen.with_array(np.where(core, 100 + vastus, 0).astype(np.uint8))

    trust = Trust(1.0, renamed=frozenset([SARTORIUS, vastus]))
    labels = pseudo_label(PseudoCase("a", scan, outlines=earlier), newer, trust).array
    np.testing.assert_array_equal(labels[muscle & ~bone], vastus)
    assert (labels[bone] == IGNORE).all(), "bone and muscle contradict each other"
    assert (labels[~muscle] == 0).all()
    with pytest.raises(GeometryError, match="earlier label map of a"):
        pseudo_label(PseudoCase("a", scan, outlines=volume(np.zeros((4, 4, 4), np.uint8))), newer, trust)
