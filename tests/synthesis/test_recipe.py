import numpy as np

from vastus.synthesis.recipe import TableSheet, sample_sheet


def test_a_flat_sheet_is_as_thick_as_it_says() -> None:
    sheet = TableSheet(np.array([10.0, 5.0, 5.0]), np.array([2.0, 0.0, 0.0]), np.zeros(2), 3.0, 40.0)
    inside = np.broadcast_to(sheet.inside(*np.ogrid[:21, :11, :11]), (21, 11, 11))
    # Voxels of 2 mm: those less than 3 mm from the middle.
    assert np.flatnonzero(inside[:, 5, 5]).tolist() == [9, 10, 11]
    assert (inside == inside[:, :1, :1]).all()


def test_a_bent_sheet_leaves_its_plane_by_the_bend() -> None:
    sheet = TableSheet(np.array([20.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]), np.array([-0.01, 0.0]), 0.6, 40.0)
    inside = np.broadcast_to(sheet.inside(*np.ogrid[:41, :31, :1]), (41, 31, 1))
    # 30 mm along y the sheet stands 0.01 * 30^2 = 9 mm further along x.
    assert np.flatnonzero(inside[:, 0, 0]).tolist() == [20]
    assert np.flatnonzero(inside[:, 30, 0]).tolist() == [29]


def test_three_patches_in_ten_have_a_sheet_and_the_seed_says_which() -> None:
    drawn = [sample_sheet((96, 96, 64), (2.0, 2.0, 4.0), np.random.default_rng(seed)) for seed in range(1000)]
    sheets = [s for s in drawn if s is not None]
    assert 250 < len(sheets) < 350
    assert all(np.isclose(np.linalg.norm(s.normal_mm / np.array([2.0, 2.0, 4.0])), 1.0) for s in sheets)
    seed = next(n for n, sheet in enumerate(drawn) if sheet is not None)
    again = sample_sheet((96, 96, 64), (2.0, 2.0, 4.0), np.random.default_rng(seed))
    assert again is not None
    np.testing.assert_array_equal(again.centre, sheets[0].centre)
    assert (again.half_mm, again.hu) == (sheets[0].half_mm, sheets[0].hu)
