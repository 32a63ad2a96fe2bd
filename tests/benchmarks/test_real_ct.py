import csv
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from programs import load_program
from vastus.anatomy import BY_KEY, Side
from vastus.io.labels import write_labels
from vastus.synthesis.phantom import LabelledScan, make_phantom
from vastus.volume import Volume

ROOT = Path(__file__).parents[2]
SCANS = ROOT.parent / "shared" / "ct" / "sts_thigh"


def load(folder: str, name: str) -> ModuleType:
    return load_program(ROOT / folder / f"{name}.py")


@pytest.fixture(scope="module")
def points() -> ModuleType:
    return load("benchmarks", "real_ct_points")


@pytest.fixture(scope="module")
def checks(points: ModuleType) -> ModuleType:
    return load("benchmarks", "real_ct_checks")


@pytest.fixture(scope="module")
def phantom() -> LabelledScan:
    return make_phantom((5.0, 5.0, 8.0), z_range_mm=(100.0, 300.0), noise_hu=0.0)


def marked(points: ModuleType, key: str, side: Side, labels: Volume) -> object:
    """A point at the voxel of a structure that is nearest to its middle."""
    at = np.argwhere(labels.array == BY_KEY[key].label_value(side))
    middle = at[np.linalg.norm(at - at.mean(axis=0), axis=1).argmin()]
    x, y, z = (labels.affine @ (*middle, 1.0))[:3]
    return points.MarkedPoint("phantom", side, points.Level.MIDDLE, key, (x, y, z))


KEYS = ("sartorius", "vastus_lateralis", "gracilis", "biceps_femoris")


def test_the_shipped_points_are_what_the_readme_says(points: ModuleType) -> None:
    table = points.read_points()
    assert len(table) == 415
    assert len({p.scan for p in table}) == 30
    assert len({p.key for p in table}) == 23
    assert {p.level for p in table} == set(points.Level)
    assert len({(p.scan, p.position_mm) for p in table}) == len(table)


def test_points_on_the_truth_are_right_in_every_axis_order(points: ModuleType, phantom: LabelledScan) -> None:
    truth = phantom.labels
    own = [marked(points, key, side, truth) for key in KEYS for side in (Side.RIGHT, Side.LEFT)]
    flipped = truth.affine.copy()
    flipped[:, 3] += flipped[:, 0] * (truth.shape[0] - 1)
    flipped[:, 0] *= -1
    for labels in (truth, Volume(truth.array[::-1], flipped)):
        verdicts = points.judge(own, labels)
        assert points.share(verdicts) == points.Share(8, 8)
        assert points.side_share(verdicts) == points.Share(8, 8)
        assert points.confusions(verdicts) == []


def test_wrong_names_wrong_sides_and_nothing_are_told_apart(points: ModuleType, phantom: LabelledScan) -> None:
    truth = phantom.labels
    own = [marked(points, key, Side.RIGHT, truth) for key in KEYS]
    array = truth.array.copy()
    value = {key: BY_KEY[key].label_value(Side.RIGHT) for key in KEYS}
    array[truth.array == value["sartorius"]] = value["gracilis"]
    array[truth.array == value["vastus_lateralis"]] = BY_KEY["vastus_lateralis"].label_value(Side.LEFT)
    array[truth.array == value["gracilis"]] = 0
    own.append(replace(own[3], position_mm=(9999.0, 0.0, 0.0)))
    verdicts = points.judge(own, truth.with_array(array))
    assert [v.found for v in verdicts] == ["gracilis", "vastus_lateralis", "background", "biceps_femoris", "outside"]
    assert points.share(verdicts) == points.Share(2, 5)
    assert points.side_share(verdicts) == points.Share(1, 2)
    assert points.confusions(verdicts)[1] == ("gracilis", "background", 1)
    assert "| sartorius | 0/1" in points.report(verdicts, "x")


def test_wilsons_interval(points: ModuleType) -> None:
    assert points.Share(9, 10).interval() == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert str(points.Share(9, 10)) == "9/10 | 90.0% | 59.6-98.2%"
    assert str(points.Share(0, 0)) == "0/0 | - | -"


def test_maps_are_found_by_the_name_of_the_scan(points: ModuleType, phantom: LabelledScan, tmp_path: Path) -> None:
    (tmp_path / "A_01_CT").mkdir()
    write_labels(phantom.labels, tmp_path / "A_01_CT" / "labels.nii.gz")
    write_labels(phantom.labels, tmp_path / "A_011.nii.gz")
    assert [name for name, _ in points.read_maps(tmp_path, ["A_01", "A_011"])] == ["A_01", "A_011"]
    with pytest.raises(SystemExit, match="0 label maps for A_02"):
        list(points.read_maps(tmp_path, ["A_02"]))


def test_results_hold_every_point(points: ModuleType, phantom: LabelledScan, tmp_path: Path) -> None:
    verdicts = points.judge([marked(points, key, Side.LEFT, phantom.labels) for key in KEYS], phantom.labels)
    points.write_results(verdicts, tmp_path / "out", "truth")
    with (tmp_path / "out" / "real_ct_points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["found"] for r in rows] == list(KEYS)
    assert "| all | 4/4 | 100.0% |" in (tmp_path / "out" / "real_ct_points.md").read_text()


def by_density(scan: Volume) -> Volume:
    """A network that goes by HU and by the side of the midline."""
    femur, muscle = BY_KEY["femur"].class_id, BY_KEY["vastus_lateralis"].class_id
    classes = np.select([scan.array > 250, scan.array > 0], [femur, muscle], 0)
    x = scan.affine[0, 0] * np.arange(scan.shape[0])[:, None, None] + scan.affine[0, 3]
    return Volume(np.where(classes > 0, classes + np.where(x > 0, 100, 200), 0).astype(np.uint8), scan.affine)


def always_right(scan: Volume) -> Volume:
    labels = by_density(scan)
    return labels.with_array(np.where(labels.array > 0, labels.array % 100 + 100, 0).astype(np.uint8))


def test_what_goes_by_the_image_agrees_with_itself(checks: ModuleType, phantom: LabelledScan) -> None:
    found = dict(checks.repeat_findings(phantom.ct, by_density(phantom.ct), by_density))
    assert found["mirrored"] == 1.0
    assert set(found) == {"mirrored", "shifted", "spacing_0.8x0.8x5", "spacing_1.5x1.5x1.5"}
    assert all(0.8 < value < 1.0 for name, value in found.items() if name != "mirrored")


def test_a_side_that_is_always_right_fails_in_the_mirror(checks: ModuleType, phantom: LabelledScan) -> None:
    found = dict(checks.repeat_findings(phantom.ct, always_right(phantom.ct), always_right))
    assert found["mirrored"] == 0.0
    assert found["shifted"] > 0.8


def leg(shift: int = 0) -> tuple[Volume, Volume]:
    """A tube of cortex around marrow in muscle, and a femur label moved by some voxels."""
    i, j, _ = np.ogrid[:80, :80, :6]
    radius = np.hypot(i - 40, j - 40) + np.zeros((1, 1, 6))
    hu = np.select([radius < 5, radius < 13, radius < 35], [-60, 1200, 50], -1000).astype(np.int16)
    femur = np.roll(np.where(radius < 13, BY_KEY["femur"].label_value(Side.LEFT), 0), shift, axis=0)
    return Volume(hu, np.eye(4)), Volume(femur.astype(np.uint8), np.eye(4))


def test_a_femur_is_held_against_its_cortex(checks: ModuleType) -> None:
    assert dict(checks.bone_findings(*leg())) == {"bone_inside": 1.0, "shaft_dice": 1.0}
    moved = dict(checks.bone_findings(*leg(shift=8)))
    assert moved["bone_inside"] < 0.8 and moved["shaft_dice"] < 0.7
    ct, labels = leg()
    solid = ct.with_array(np.where(ct.array == -60, 1200, ct.array))
    nothing = dict(checks.bone_findings(solid, labels.with_array(np.zeros_like(labels.array))))
    assert all(np.isnan(value) for value in nothing.values())  # a rod of metal is no shaft


def test_a_rim_that_is_left_out_lowers_the_share_of_named_soft_tissue(checks: ModuleType) -> None:
    x, y, _ = np.ogrid[:80, :80, :6]
    radius = np.hypot(x - 40, y - 40)
    hu = np.where(radius < 20, 50.0, np.where(radius < 30, -100.0, -1000.0)) * np.ones((1, 1, 6))
    ct = Volume(hu.astype(np.float32), np.diag([2.0, 2.0, 4.0, 1.0]))

    def share(of: np.ndarray, lesion: np.ndarray | None = None) -> float:
        mask = None if lesion is None else ct.with_array((lesion * np.ones(ct.shape)).astype(np.uint8))
        labels = ct.with_array((3 * of * np.ones(ct.shape)).astype(np.uint8))
        return float(dict(checks.soft_tissue_findings(ct, labels, mask))["soft_tissue_named"])

    assert share(radius < 22) == 1.0
    assert share(radius < 18) == pytest.approx((18 / 20) ** 2, abs=0.03)
    assert share(radius < 0) == 0.0
    # A tumour in the middle of 10 voxels with its margin of 5 doesn't count.
    ring = (radius >= 14.6) & (radius < 22)
    assert share(ring, radius < 10) > 0.99
    assert share(ring) < 0.5
    assert np.isnan(dict(checks.soft_tissue_findings(ct.with_array(hu * 0 - 1000), ct, None))["soft_tissue_named"])


def test_islands_and_volumes_no_person_has(checks: ModuleType) -> None:
    array = np.zeros((60, 60, 60), np.uint8)
    value = BY_KEY["gracilis"].label_value(Side.RIGHT)
    array[5:35, 5:35, 5:35], array[50:53, 50:53, 50:53] = value, value
    found = dict(checks.island_findings(Volume(array, np.eye(4))))
    assert found == {"islands_per_label": 1.0, "island_share": pytest.approx(27 / 27027)}
    small, large = Volume(array, np.eye(4)), Volume(array, np.diag([3.0, 3.0, 3.0, 1.0]))
    assert dict(checks.volume_findings(small))["volume_too_large"] == 0
    assert dict(checks.volume_findings(large))["volume_too_large"] == 1
    assert np.isnan(dict(checks.island_findings(small.with_array(array * 0)))["island_share"])


def test_a_scan_makes_one_row_of_the_page(checks: ModuleType, phantom: LabelledScan, tmp_path: Path) -> None:
    findings = checks.check("one", phantom.ct, by_density)
    checks.write_results(findings, tmp_path, "by density")
    page = (tmp_path / "real_ct_checks.md").read_text()
    assert page.count("\n| one |") == 1 and "mirrored" in page and "**median**" in page
    assert len((tmp_path / "real_ct_checks.csv").read_text().splitlines()) == 1 + len(findings)


@pytest.mark.shared
def test_shipped_points_lie_in_muscle_on_slices_without_tumour() -> None:
    if not SCANS.exists():
        pytest.skip("no real scans beside the checkout")
    tool = load("tools", "mark_real_ct")
    with (ROOT / "benchmarks" / "data" / "real_ct_points.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["scan"] in ("STS_003", "STS_042")]
    assert len(rows) > 10
    for name in {row["scan"] for row in rows}:
        scan = tool.read_marked_scan(SCANS, name)
        for row in (r for r in rows if r["scan"] == name):
            i, j, k = (int(row[c]) for c in "ijk")
            xyz = (scan.ct.affine @ (i, j, k, 1))[:3]
            assert xyz == pytest.approx([float(row[c]) for c in ("x_mm", "y_mm", "z_mm")], abs=0.06)
            assert scan.ct.array[i - 1 : i + 2, j - 1 : j + 2, k].mean() == pytest.approx(float(row["hu"]), abs=0.6)
            assert scan.clear(k)
