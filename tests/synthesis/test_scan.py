"""Images of bodies: grey values, noise, whole scans, data sets, patches; on the small atlas of ellipsoids."""

import dataclasses
import json

import cc3d
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from synthesis.conftest import POOL_SEED
from vastus.anatomy import BY_VALUE, CLASS_COUNT
from vastus.errors import MissingInputError, SettingsError
from vastus.io.tables import VOLUME_COLUMNS
from vastus.synthesis.dataset import DatasetOptions, write_dataset
from vastus.synthesis.growth import Grid
from vastus.synthesis.look import sample_look
from vastus.synthesis.render import IGNORE, open_pool
from vastus.synthesis.scan import Coverage, ScanSpec, make_scan, sample_spec
from vastus.synthesis.scanner import (
    Acquisition,
    Textures,
    acquire,
    metal_streaks,
    paint_hu,
    sample_exposure,
    sample_rays,
)
from vastus.synthesis.store import fill_pool, load_body
from vastus.synthesis.subject import TissueMap, Variety, build_body, sample_plan
from vastus.synthesis.surroundings import Forearms, add_forearms, sample_forearms
from vastus.synthesis.tissues import Tissue

pytestmark = pytest.mark.slow  # bodies are made

QUIET = Acquisition(0.0, 0.0, 0.0, 0.0)
COARSE = ScanSpec((4.0, 4.0, 6.0), couch=True)


@pytest.fixture(scope="module")
def body(atlas):
    return build_body(sample_plan(2, [atlas], Variety.CLINICAL), atlas)


@pytest.fixture(scope="module")
def scan(body):
    return make_scan(body, COARSE, 5)


def test_tissues_have_their_grey_values(body):
    grid = Grid(body.low_mm, (4.0, 4.0, 4.0), tuple(int(n) for n in (body.high_mm - body.low_mm) / 4))
    tissue_map = body.tissue_map(grid)
    rng = np.random.default_rng(0)
    textures = Textures(grid.spacing_mm, 0, size=64)
    starts = rng.integers(textures.size, size=(3, 3))
    hu = paint_hu(tissue_map, body.length_mm, sample_look(body.parts, rng), textures, starts)
    tissue = tissue_map.tissue
    assert (hu[tissue == Tissue.AIR] == -1000).all()
    assert -125 < np.median(hu[tissue == Tissue.FAT]) < -80
    muscle = (tissue >= 1) & (tissue <= 27) & (tissue_map.depth < -24)
    assert 15 < np.median(hu[muscle]) < 75
    rim = (tissue == 28) & (tissue_map.depth > -6)
    assert np.median(hu[rim]) > 300
    assert np.isfinite(hu).all()


def test_noise_has_the_asked_spread():
    grid = Grid(np.zeros(3), (1.0, 1.0, 1.0), (64, 64, 64))
    empty = TissueMap(grid, *(np.zeros(grid.shape, t) for t in (np.uint8, np.int8, np.uint8)))
    textures = Textures(grid.spacing_mm, 1, size=64)
    flat = np.full(grid.shape, 40.0, np.float32)
    exposure = sample_exposure(Acquisition(0.0, 15.0, 0.0, 0.0), 0, textures.size, np.random.default_rng(0))
    noisy = acquire(flat, empty, exposure, textures)
    assert noisy.std() == pytest.approx(15.0, rel=0.02)
    assert noisy.mean() == pytest.approx(40.0, abs=0.3)
    assert (acquire(flat, empty, exposure, textures) == noisy).all()


def test_streaks_run_sideways_and_only_where_the_body_is_wide():
    grid = Grid(np.zeros(3), (4.0, 4.0, 4.0), (96, 48, 2))
    tissue = np.zeros(grid.shape, np.uint8)
    tissue[:, 10:30, 0] = Tissue.FAT
    tissue[40:60, 10:30, 1] = Tissue.FAT
    body = TissueMap(grid, tissue * 0, tissue.astype(np.int8) * 0, tissue)
    textures = Textures(grid.spacing_mm, 1, size=96)
    flat = np.zeros(grid.shape, np.float32)
    exposure = sample_exposure(Acquisition(0.0, 0.0, 10.0, 0.0), 0, textures.size, np.random.default_rng(0))
    image = acquire(flat, body, exposure, textures)
    assert image[..., 0].std() > 5
    assert image[..., 1].std() == 0
    along, across = (np.diff(image[..., 0], axis=axis).std() for axis in (0, 1))
    assert along < 0.4 * across


def test_metal_leaves_streaks_that_fade_with_distance():
    metal = np.zeros((80, 80, 3), bool)
    metal[38:43, 38:43, 1] = True
    streaks = metal_streaks(metal, (2.0, 2.0, 2.0), sample_rays(3, np.random.default_rng(0)))
    assert (streaks[..., [0, 2]] == 0).all()
    near, far = streaks[30:51, 30:51, 1], streaks[:10, :10, 1]
    assert near.std() > 3 * far.std() > 0


def test_a_scan_and_its_labels_share_a_grid_and_agree(scan):
    assert scan.ct.same_grid(scan.labels)
    assert scan.ct.array.dtype == np.int16 and scan.labels.array.dtype == np.uint8
    assert scan.ct.array.min() >= -1024 and scan.ct.array.max() <= 3071
    assert set(np.unique(scan.labels.array)) - {0} <= set(BY_VALUE)
    muscle = np.isin(scan.labels.array % 100, range(1, 28)) & (scan.labels.array > 0)
    assert 0 < np.median(scan.ct.array[muscle]) < 80


def test_a_scan_depends_on_nothing_but_its_arguments(body, scan):
    again = make_scan(body, COARSE, 5)
    assert (again.ct.array == scan.ct.array).all()
    assert (make_scan(body, COARSE, 6).ct.array != scan.ct.array).any()


def test_slabs_leave_no_seam(body):
    spec = ScanSpec((5.0, 5.0, 3.0), couch=False, acquisition=QUIET)
    image = make_scan(body, spec, 1).ct.array.astype(float)
    assert image.shape[2] > 60
    steps = np.abs(np.diff(image, axis=2)).mean(axis=(0, 1))
    assert steps[47] < 1.6 * np.median(steps[40:55])


def test_the_couch_is_one_plane_through_all_slabs(body):
    image = make_scan(body, ScanSpec((6.0, 6.0, 3.0), couch=True, acquisition=QUIET), 1).ct.array
    beside_the_body = image[0] > -995
    assert beside_the_body.shape[1] > 60 and beside_the_body.any()
    assert (beside_the_body == beside_the_body[:, :1]).all()


def test_forearms_and_cloth_go_through_all_slabs_without_a_step(body):
    spec = ScanSpec((6.0, 6.0, 2.0), coverage=Coverage.HIP, couch=False, cloth=True, forearms=True, acquisition=QUIET)
    plain = ScanSpec((6.0, 6.0, 2.0), coverage=Coverage.HIP, couch=False, forearms=True, acquisition=QUIET)
    image, bare = (make_scan(body, s, 1).ct.array.astype(float) for s in (spec, plain))
    assert image.shape[2] > 60
    bone = (bare > 600)[[*range(8), *range(-8, 0)]].any(axis=(0, 1))
    assert bone.any()
    cloth = image != bare
    assert cloth.any()
    assert len(np.unique(np.round(image[cloth]))) == 1
    rows = np.where(cloth.any(axis=1), cloth.argmax(axis=1), -1)
    known = (rows >= 0).all(axis=1)
    steps = np.abs(np.diff(rows[known], axis=1)).mean(axis=0)
    assert steps[47] <= 1.5 * np.median(steps[40:55]) + 1.0


def test_forearms_lie_beside_the_hips_and_leave_the_body_alone():
    arms = dataclasses.replace(sample_forearms((-150.0, 160.0), 100.0, np.random.default_rng(0)), hand=0.0)
    assert arms.x_mm[0] < -150 - arms.radius_mm and arms.x_mm[1] > 160 + arms.radius_mm
    grid = Grid(np.array([-260.0, -100.0, 0.0]), (4.0, 4.0, 10.0), (135, 50, 20))
    tissue = np.zeros(grid.shape, np.uint8)
    tissue[:40] = Tissue.FAT
    hu = np.full(grid.shape, -1000.0, np.float32)
    add_forearms(hu, tissue, grid, arms)
    assert (hu[:40] == -1000).all() and (hu[:, :, :10] == -1000).all()
    x, _, z = np.nonzero(hu > 600)
    assert len(x) and (-260 + 4 * x > 160).all() and set(z) == set(range(10, 20))


def test_a_hand_hangs_from_the_wrist_with_a_palm_and_separate_fingers():
    arms = Forearms((-100.0, 100.0), 0.0, 200.0, 30.0, (0.0, 0.0), 0.0, 1.0)
    grid = Grid(np.array([40.0, -60.0, 0.0]), (1.0, 1.0, 5.0), (120, 120, 40))
    hu = np.full(grid.shape, -1000.0, np.float32)
    add_forearms(hu, np.zeros(grid.shape, np.uint8), grid, arms)
    pieces = [cc3d.connected_components(hu[:, :, k] > -500, connectivity=4).max() for k in range(40)]
    # Finger tips at 15 mm; five rays in the palm are one piece with the thumb or two; then the arm.
    assert pieces[:3] == [0, 0, 0] and max(pieces[8:20]) == 4 and set(pieces[22:]) <= {1, 2}
    wide = [np.ptp(np.nonzero((hu[:, :, k] > -500).any(axis=1))[0]) for k in (15, 30)]
    assert all(60 < w < 100 for w in wide)


@pytest.mark.parametrize("coverage", list(Coverage))
def test_coverage_is_what_was_asked(body, coverage):
    scan = make_scan(body, ScanSpec((6.0, 6.0, 6.0), coverage=coverage), 3)
    low, high = coverage.value
    z = scan.ct.affine[2, 3] + np.array([0, 6.0 * scan.ct.shape[2]])
    assert z[0] >= max(low * body.length_mm, body.low_mm[2]) - 6
    assert z[1] <= min(high * body.length_mm, body.high_mm[2]) + 6


def test_matrix_and_field_of_view_are_kept(body):
    spec = ScanSpec((5.0, 5.0, 8.0), (96, 80), Coverage.HIP, forearms=True, cloth=True)
    assert make_scan(body, spec, 3).ct.shape[:2] == (96, 80)


def test_protocols_stay_in_range():
    specs = [sample_spec(np.random.default_rng(s)) for s in range(60)]
    assert all(0.6 <= s.spacing_mm[0] <= 1.2 and 1 <= s.spacing_mm[2] <= 5 for s in specs)
    assert {s.coverage for s in specs} == set(Coverage)
    with pytest.raises(SettingsError):
        ScanSpec((0.05, 1, 1))


def test_a_data_set_has_nnunet_layout_and_true_volumes(atlas, tmp_path):
    write_dataset(tmp_path, [atlas], DatasetOptions(2, seed=4, spec=ScanSpec((6.0, 6.0, 8.0))))
    assert sorted(p.name for p in (tmp_path / "imagesTr").iterdir()) == [
        "synth_00004_0000.nii.gz",
        "synth_00005_0000.nii.gz",
    ]
    labels = nib.load(tmp_path / "labelsTr" / "synth_00005.nii.gz")
    assert labels.shape == nib.load(tmp_path / "imagesTr" / "synth_00005_0000.nii.gz").shape
    description = json.loads((tmp_path / "dataset.json").read_text())
    assert description["numTraining"] == 2 and description["labels"]["femur_left"] == 228
    clinical = pd.read_csv(tmp_path / "clinical.csv")
    assert list(clinical["subject"]) == ["synth_00004", "synth_00005"]
    volumes = pd.read_csv(tmp_path / "volumes.csv")
    assert tuple(volumes.columns) == VOLUME_COLUMNS and len(volumes) == 116
    assert (volumes["volume_mm3"] > 0).all()


class TestPool:
    WINDOW = ((32, 32, 16), (6.0, 6.0, 12.0))

    @pytest.fixture(scope="class")
    def folder(self, pool_folder):
        return pool_folder

    def test_filling_again_adds_only_what_is_missing(self, atlas, folder):
        names = [f"body_{seed:06d}" for seed in (POOL_SEED, POOL_SEED + 1)]
        assert sorted(body.name for body in folder.iterdir()) == names
        assert fill_pool(folder, [atlas], 2, first_seed=POOL_SEED) == 0

    def test_stored_points_lie_in_their_class(self, folder):
        body = load_body(folder / f"body_{POOL_SEED:06d}")
        rows = body.points[::97]
        assert (body.tissues[body.part[rows[:, 1], rows[:, 2], rows[:, 3]]] == rows[:, 0]).all()

    def test_a_patch_depends_on_seed_and_index_only(self, folder):
        hu, labels = open_pool(folder).patch(3, 8, *self.WINDOW)
        pool = open_pool(folder)
        pool.patch(3, 7, *self.WINDOW)
        again, same = pool.patch(3, 8, *self.WINDOW)
        assert (hu == again).all() and (labels == same).all()
        assert (pool.patch(3, 9, *self.WINDOW)[0] != hu).any()

    def test_patches_are_sound(self, folder):
        pool = open_pool(folder)
        seen = set()
        for index in range(24):
            hu, labels = pool.patch(1, index, *self.WINDOW)
            assert hu.shape == labels.shape == self.WINDOW[0]
            assert hu.dtype == np.float32 and labels.dtype == np.uint8
            assert np.isfinite(hu).all()
            classes = set(np.unique(labels))
            assert classes <= {*range(CLASS_COUNT), IGNORE}
            muscle = (labels > 0) & (labels < 28)
            if muscle.sum() > 200:
                assert -30 < np.median(hu[muscle]) < 90
            seen |= classes
        assert len(seen) > 20

    def test_an_empty_pool_is_named(self, tmp_path):
        with pytest.raises(MissingInputError, match="no bodies"):
            open_pool(tmp_path)
