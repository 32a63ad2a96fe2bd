"""NRRD and MetaImage whose text headers leave open what ITK fills in by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vastus.errors import GeometryError, UnsupportedScanError
from vastus.io.scans import read_scan

PLACE = "space directions: (2,0,0) (0,2,0) (0,0,3)\nspace origin: (0,0,0)\n"


def _voxels() -> bytes:
    values = np.random.default_rng(0).integers(-130, 100, size=(8, 7, 6)).astype("<i2")
    values[:, :, 0] = -1000
    return values.tobytes()


def nrrd(path: Path, fields: str) -> Path:
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 7 8\n{fields}encoding: raw\nendian: little\n\n"
    path.write_bytes(head.encode() + _voxels())
    return path


def meta(path: Path, fields: str) -> Path:
    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        f"{fields}DimSize = 6 7 8\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(head.encode() + _voxels())
    return path


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "LPS", "RAS"])
def test_a_nrrd_in_order_is_read_without_a_word(tmp_path: Path, space: str):
    scan = read_scan(nrrd(tmp_path / "a.nrrd", f"space: {space}\n{PLACE}"))
    assert scan.source.warnings == ()
    assert scan.volume.spacing_mm == (2.0, 2.0, 3.0)


@pytest.mark.parametrize(
    "fields", ["spacings: 2 2 3\n", f"space dimension: 3\n{PLACE}", f"space: scanner-xyz\n{PLACE}"]
)
def test_a_nrrd_without_space_is_said(tmp_path: Path, fields: str):
    warnings = read_scan(nrrd(tmp_path / "a.nrrd", fields)).source.warnings
    assert any("no orientation" in w and "sides" in w for w in warnings)


@pytest.mark.parametrize("fields", ["", "spacings: nan nan nan\n", "spacings: 2 2 nan\n"])
def test_a_nrrd_without_sizes_is_refused(tmp_path: Path, fields: str):
    with pytest.raises(GeometryError, match=r"no voxel sizes.*a\.nrrd"):
        read_scan(nrrd(tmp_path / "a.nrrd", fields))


@pytest.mark.parametrize(("unit", "factor"), [("um", 1000), ("mm", 1), ("cm", 0.1), ("m", 0.001)])
def test_units_are_converted(tmp_path: Path, unit: str, factor: float):
    sizes = " ".join(f"({', '.join(str(v * factor) for v in row)})" for row in np.diag([2.0, 2.0, 3.0]))
    fields = f'space: LPS\nspace directions: {sizes}\nspace units: "{unit}" "{unit}" "{unit}"\nspace origin: (0,0,0)\n'
    np.testing.assert_allclose(read_scan(nrrd(tmp_path / "a.nrrd", fields)).volume.spacing_mm, (2, 2, 3), rtol=1e-6)
    of_meta = f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementSpacing = {2 * factor} {2 * factor} {3 * factor}\n"
    path = meta(tmp_path / "a.mha", f"{of_meta}DistanceUnits = {unit}\n")
    np.testing.assert_allclose(read_scan(path).volume.spacing_mm, (2, 2, 3), rtol=1e-6)


def test_unknown_units_are_refused(tmp_path: Path):
    with pytest.raises(GeometryError, match="parsec"):
        read_scan(nrrd(tmp_path / "a.nrrd", f'space: LPS\nspace units: "parsec" "parsec" "parsec"\n{PLACE}'))


def test_a_meta_image_without_orientation_or_sizes(tmp_path: Path):
    warnings = read_scan(meta(tmp_path / "a.mha", "ElementSpacing = 2 2 3\n")).source.warnings
    assert any("no TransformMatrix" in w for w in warnings)
    with pytest.raises(GeometryError, match="no voxel sizes"):
        read_scan(meta(tmp_path / "b.mha", "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"))


def test_a_scale_that_other_programs_ignore_is_refused(tmp_path: Path):
    place = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementSpacing = 2 2 3\nElementToIntensityFunction"
    assert read_scan(meta(tmp_path / "a.mha", f"{place}Slope = 1\n")).source.warnings == ()
    for said in ("Slope = 0.5", "Offset = -1024"):
        with pytest.raises(UnsupportedScanError, match="scaled"):
            read_scan(meta(tmp_path / "b.mha", f"{place}{said}\n"))
