"""One scan in several series or folders, and several scans in one: never half the thighs without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dicom_factory as factory
from vastus.batch.inputs import find_scans
from vastus.errors import GeometryError, UnsupportedScanError
from vastus.io.scans import read_scan

STEP = 3.0


def part(folder: Path, first: int, count: int, **changes: object) -> factory.SeriesSpec:
    """Slices ``first`` to ``first + count`` of one long scan as a series of its own."""
    hu = factory.ct_values((40, 12, 10))[first : first + count]
    positions = [(-9.0, -11.0, 100.0 + STEP * k) for k in range(first, first + count)]
    spec = factory.SeriesSpec(hu, positions).but(**changes)
    factory.write_series(folder, spec, prefix=f"p{first:02d}_", seed=first)
    return spec


@pytest.mark.parametrize(("split", "overlap"), [(6, 0), (20, 0), (13, 2), (34, 0)])
def test_a_scan_that_was_cut_into_two_series_is_refused(tmp_path: Path, split: int, overlap: int) -> None:
    part(tmp_path, 0, split)
    part(tmp_path, split - overlap, 40 - split + overlap)
    with pytest.raises(GeometryError, match="two series continue each other") as refused:
        read_scan(tmp_path)
    assert "--series" in str(refused.value) and "Secret" not in str(refused.value)


def test_in_folders_of_their_own_and_in_an_archive_too(tmp_path: Path) -> None:
    part(tmp_path / "s" / "a", 0, 25)
    part(tmp_path / "s" / "b", 25, 15)
    with pytest.raises(GeometryError, match="continue each other"):
        read_scan(tmp_path / "s")
    # In a batch the scan is entered, so that its refusal stands in the ledger, under the study's folder.
    found = list(find_scans([tmp_path / "s"], tmp_path / "out"))
    assert [scan.series for scan in found] == [None]
    with pytest.raises(GeometryError, match="continue each other"):
        read_scan(found[0].path)


def test_a_part_that_is_asked_for_is_read_and_the_rest_named(tmp_path: Path) -> None:
    part(tmp_path, 0, 25)
    rest = part(tmp_path, 25, 15)
    scan = read_scan(tmp_path, series=rest.series_uid)
    assert scan.volume.shape[2] == 15
    assert any("reaches 75 mm beyond the one that was read" in w for w in scan.source.warnings)


def test_a_longer_series_of_another_kernel_is_named(tmp_path: Path) -> None:
    part(tmp_path, 0, 26, kernel="B30f")
    part(tmp_path, 16, 24, kernel="B70f")
    scan = read_scan(tmp_path)
    assert scan.volume.shape[2] == 26
    assert any("reaches 42 mm beyond" in w for w in scan.source.warnings)


@pytest.mark.parametrize("changes", [{"kernel": "B70f"}, {"description": "thin"}])
def test_two_reconstructions_of_one_range_are_no_parts(tmp_path: Path, changes: dict[str, str]) -> None:
    part(tmp_path, 0, 40)
    part(tmp_path, 1, 10, **changes)
    scan = read_scan(tmp_path)
    assert scan.volume.shape[2] == 40 and not any("beyond" in w for w in scan.source.warnings)


def test_one_series_over_several_folders_is_one_scan(tmp_path: Path) -> None:
    uid = "1.2.3.77"
    part(tmp_path / "a", 0, 23, series_uid=uid)
    part(tmp_path / "b" / "c", 23, 17, series_uid=uid)
    assert np.array_equal(read_scan(tmp_path).volume.array.transpose(2, 1, 0), factory.ct_values((40, 12, 10)))
    assert [scan.path for scan in find_scans([tmp_path], tmp_path / "out")] == [tmp_path]


def test_two_kernels_in_one_series_are_refused_though_evenly_spaced(tmp_path: Path) -> None:
    uid = "1.2.3.78"
    for offset, kernel in ((0.0, "B30f"), (STEP, "B70f")):
        positions = [(-9.0, -11.0, 100.0 + offset + 2 * STEP * k) for k in range(6)]
        spec = factory.SeriesSpec(factory.ct_values((6, 12, 10)), positions).but(kernel=kernel, series_uid=uid)
        factory.write_series(tmp_path, spec, prefix=kernel)
    with pytest.raises(GeometryError, match="kernels"):
        read_scan(tmp_path)


def test_the_same_height_twice_with_other_pixels_is_refused(tmp_path: Path) -> None:
    spec = part(tmp_path, 0, 8)
    twin = spec.but(hu=spec.hu[3:4] + 1, positions=spec.positions[3:4])
    factory.write_series(tmp_path, twin, prefix="twin")
    with pytest.raises(GeometryError, match="same height"):
        read_scan(tmp_path)


def test_slices_of_another_thickness_are_refused_where_they_lie_unevenly(tmp_path: Path) -> None:
    uid = "1.2.3.79"
    thick = [(-9.0, -11.0, 100.0 + 5.0 * k) for k in range(6)]
    thin = [(-9.0, -11.0, 127.5 + 2.5 * k) for k in range(6)]
    for name, positions, mm in (("thick", thick, 5.0), ("thin", thin, 2.5)):
        spec = factory.SeriesSpec(factory.ct_values((6, 12, 10)), positions)
        factory.write_series(tmp_path, spec.but(series_uid=uid, extra={"SliceThickness": mm}), prefix=name)
    with pytest.raises(GeometryError, match=r"unevenly|missing"):
        read_scan(tmp_path)


def test_localisers_and_dose_reports_beside_are_left_out_and_named(tmp_path: Path) -> None:
    spec = part(tmp_path, 0, 8)
    scout = spec.but(
        hu=spec.hu[:1],
        positions=spec.positions[:1],
        series_uid="1.2.3.80",
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
    )
    factory.write_series(tmp_path, scout, prefix="scout")
    shot = spec.but(
        hu=spec.hu[:1], positions=spec.positions[:1], series_uid="1.2.3.81", sop_class=factory.SECONDARY_CAPTURE
    )
    factory.write_series(tmp_path, shot, prefix="shot")
    scan = read_scan(tmp_path)
    assert scan.volume.shape[2] == 8 and any("localiser" in w and "secondary" in w for w in scan.source.warnings)


def test_only_a_localiser_is_no_scan(tmp_path: Path) -> None:
    spec = factory.series(4, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    factory.write_series(tmp_path, spec)
    with pytest.raises(UnsupportedScanError, match="localiser"):
        read_scan(tmp_path)


def test_two_patients_in_one_series_are_refused(tmp_path: Path) -> None:
    uid = "1.2.3.82"
    part(tmp_path, 0, 8, series_uid=uid)
    part(tmp_path, 8, 8, series_uid=uid, patient="P2")
    with pytest.raises(GeometryError, match="studies or patients"):
        read_scan(tmp_path)
