"""Fuzz what reads NIfTI, NRRD and MetaImage, as scans and as label maps: ``pip install atheris``, then

    nice -n 10 python tools/fuzz_images.py CORPUS -max_total_time=1800 -max_len=6000 -timeout=20 -rss_limit_mb=5000

The first byte says the format and what is changed: single bytes of a valid file, or fields of its header (place, units,
scaling, type, offset, names of segments). A named refusal is right. So is an image that has the voxels and the place
that nibabel and SimpleITK find in the same file; other ones are findings unless a warning says so. So is every other
exception, and what takes 20 s or 5 GB (atheris itself grows by some KB an input; without it nothing grows).
"""

from __future__ import annotations

import gzip
import io
import logging
import random
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["vastus.io", "vastus.volume", "nibabel.nifti1"]):
    from vastus.anatomy import BY_VALUE
    from vastus.errors import InputError, LabelError
    from vastus.io.labels import read_label_map
    from vastus.io.scans import read_scan

import nibabel
import numpy as np
import SimpleITK as sitk
from fuzz_choices import Choices, Target, fuzz

SHAPE = (9, 8, 7)
NUMBERS = [0.0, 1.0, -1.0, 0.001, 1000.0, 2.0, 1.5, 25.4, float("nan"), float("inf"), 1e-30, 1e30, -1024.0, 352.0]
CODES = [0, 1, 2, 3, 4, 255, -1, 8, 16, 512, 64]
MM_OF_UNIT = {1: 1000.0, 3: 0.001}
FIELDS = {
    "qform_code": (252, "<h"),
    "sform_code": (254, "<h"),
    "xyzt_units": (123, "<b"),
    "scl_slope": (112, "<f"),
    "scl_inter": (116, "<f"),
    "vox_offset": (108, "<f"),
    "datatype": (70, "<h"),
    "bitpix": (72, "<h"),
    "intent_code": (68, "<h"),
    **{f"dim{n}": (40 + 2 * n, "<h") for n in range(8)},
    **{f"pixdim{n}": (76 + 4 * n, "<f") for n in range(5)},
    **{f"quatern{n}": (256 + 4 * n, "<f") for n in range(6)},
    **{f"srow{n}": (280 + 4 * n, "<f") for n in range(12)},
}
"""Of a NIfTI-1 header: byte, type."""
LINES = {
    "space": ["left-posterior-superior", "RAS", "LAS", "scanner-xyz", "3D-right-handed", ""],
    "space directions": [
        "(2,0,0) (0,2,0) (0,0,3)",
        "(-2,0,0) (0,2,0) (0,0,3)",
        "(2,0,0) (2,0,0) (0,0,3)",
        "(0,0,0) (0,2,0) (0,0,3)",
        "(nan,0,0) (0,2,0) (0,0,3)",
        "none (0,2,0) (0,0,3)",
        "(2,0.5,0) (0,2,0) (0,0,3)",
    ],
    "space origin": ["(1,2,3)", "(nan,0,0)", "(1e300,0,0)", "(1,2)", ""],
    "space units": ['"mm" "mm" "mm"', '"cm" "cm" "cm"', '"m" "mm" "mm"', '"" "" ""', '"furlong" "mm" "mm"'],
    "measurement frame": ["(1,0,0) (0,1,0) (0,0,1)", "(-1,0,0) (0,-1,0) (0,0,1)", "(0,0,0) (0,0,0) (0,0,0)"],
    "type": ["short", "unsigned short", "float", "block", "signed char"],
    "sizes": ["9 8 7", "9 8 70", "0 8 7", "9 8", "7 8 9", "-9 8 7"],
    "encoding": ["raw", "gzip", "hex", "bzip2", "ascii"],
    "endian": ["little", "big"],
    "dimension": ["3", "4", "2"],
    "kinds": ["domain domain domain", "vector domain domain", "domain domain list"],
    "spacings": ["2 2 3", "nan 2 3", "0 0 0"],
    "Segment0_LabelValue": ["101", "1", "-1", "x"],
    "Segment0_Name": ["sartorius_right", "Femur (L)", "nonsense", ""],
    "Segment0_Layer": ["0", "3"],
    "Segment1_Name": ["femur_left", "sartorius_right"],
    "Segment1_LabelValue": ["101", "201"],
    "ElementToIntensityFunctionSlope": ["1", "0.5", "nan"],
    "data file": ["nowhere.raw", "LIST", "image.raw"],
    "ElementSpacing": ["2 2 3", "0 2 3", "-2 2 3", "nan 2 3", "2,5 2,5 3"],
    "TransformMatrix": ["1 0 0 0 1 0 0 0 1", "-1 0 0 0 1 0 0 0 1", "1 0 0 1 0 0 0 0 1", "0 0 0 0 0 0 0 0 0"],
    "ElementType": ["MET_SHORT", "MET_USHORT", "MET_FLOAT", "MET_CHAR", "MET_DOUBLE"],
    "DimSize": ["9 8 7", "7 8 9", "0 8 7", "9 8 700"],
    "CompressedData": ["False", "True"],
    "BinaryDataByteOrderMSB": ["False", "True"],
    "ElementNumberOfChannels": ["1", "3"],
    "Offset": ["0 0 0", "nan 0 0", "1 2"],
    "AnatomicalOrientation": ["RAI", "LPS", "???"],
}


def _values(labels: bool) -> np.ndarray:
    dice = np.random.default_rng(0)
    if labels:
        return dice.choice(np.array([0, 0, 101, 201, 110], np.int16), SHAPE)
    values = dice.integers(-120, 90, SHAPE).astype(np.int16)
    values[:2] = -1000
    return values


def _nifti(labels: bool) -> bytes:
    image = nibabel.Nifti1Image(_values(labels), np.diag([2.0, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm")
    image.set_qform(image.affine, 1)
    return image.to_bytes()


def _text(suffix: str, labels: bool) -> bytes:
    raw = _values(labels).ravel(order="F").tobytes()
    sizes = " ".join(str(n) for n in SHAPE)
    if suffix == ".nrrd":
        names = b"Segment0_ID:=a\nSegment0_Name:=sartorius_right\nSegment0_LabelValue:=101\n" if labels else b""
        head = (
            f"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
            "space directions: (2,0,0) (0,2,0) (0,0,3)\nkinds: domain domain domain\nendian: little\n"
            "encoding: raw\nspace origin: (0,0,0)\n"
        )
        return head.encode() + names + b"\n" + raw
    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 2 2 3\nDimSize = {sizes}\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    return head.encode() + raw


def _change_nifti(data: bytes, choices: Choices) -> bytes:
    changed = bytearray(data)
    for _ in range(1 + choices.below(5)):
        place, kind = FIELDS[choices.of(list(FIELDS))]
        with suppress(struct.error, OverflowError):
            struct.pack_into(kind, changed, place, choices.of(NUMBERS) if kind == "<f" else choices.of(CODES))
    return bytes(changed)


def _change_text(data: bytes, choices: Choices) -> bytes:
    nrrd = data.startswith(b"NRRD")
    for _ in range(1 + choices.below(4)):
        field = choices.of(list(LINES))
        sign = " = " if not nrrd else ":=" if field.startswith("Segment") else ": "
        line = f"{field}{sign}{choices.of(LINES[field])}\n".encode()
        lines = data.split(b"\n")
        found = [n for n, old in enumerate(lines[:24]) if old.startswith(f"{field}{sign}".encode())]
        if found and choices.yes():
            del lines[found[0]]
        elif found:
            lines[found[0]] = line[:-1]
        else:
            lines.insert(1, line[:-1])
        data = b"\n".join(lines)
    return data


def _change_bytes(data: bytes, choices: Choices) -> bytes:
    changed = bytearray(data)
    for _ in range(1 + choices.below(8)):
        changed[choices.below(min(len(changed), 600))] = choices.byte()
    end = choices.below(8)
    return bytes(changed[: len(changed) - 40 * end] if end < 4 else changed)


def _zipped(data: bytes, choices: Choices) -> bytes:
    packed = gzip.compress(data, mtime=0)
    kind = choices.below(4)
    return packed[: len(packed) // 2] if kind == 3 else packed + packed if kind == 2 else packed


class ImageTarget:
    """Files of one image, read by ours and by the library that everybody uses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        logging.disable(logging.CRITICAL)
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        self._plain = {
            (kind, labels): _nifti(labels) if kind == ".nii" else _text(kind, labels)
            for kind in (".nii", ".nrrd", ".mha")
            for labels in (False, True)
        }

    def __call__(self, data: bytes) -> None:
        """Fail on anything but the same image or a named refusal."""
        choices = Choices(data)
        kind, labels = choices.of([".nii", ".nrrd", ".mha"]), choices.yes()
        content = self._plain[kind, labels]
        by_field = _change_nifti if kind == ".nii" else _change_text
        change: Callable[[bytes, Choices], bytes] = choices.of([by_field, by_field, _change_bytes])
        content = change(content, choices)
        name = f"image{kind}"
        if kind == ".nii" and choices.yes():
            name, content = "image.nii.gz", _zipped(content, choices)
        elif labels and kind == ".nrrd" and choices.yes():
            name = "image.seg.nrrd"
        path = self._folder / name
        path.write_bytes(content)
        (self._labels if labels else self._scan)(path)

    def _labels(self, path: Path) -> None:
        with suppress(InputError, LabelError):
            found = read_label_map(path)
            assert set(np.unique(found.volume.array)) <= {0, *BY_VALUE}
            if not found.warnings:
                self._same_place(path, found.volume)

    def _scan(self, path: Path) -> None:
        with suppress(InputError):
            scan = read_scan(path)
            assert np.isfinite(scan.volume.array).all()
            if scan.source.warnings:
                return
            values = self._same_place(path, scan.volume)
            if values is not None:
                assert np.allclose(values, scan.volume.array, atol=0.01), "other HU without a word"

    def _same_place(self, path: Path, volume: Any) -> Any:
        """Compare with the other library; its values, or None where it can't read the file."""
        try:
            values, affine = _by_nibabel(path) if ".nii" in path.name else _by_itk(path)
        except Exception:
            return None
        if values.shape != volume.shape:
            raise AssertionError(f"{volume.shape} voxels, {values.shape} by the other library")
        assert np.allclose(affine, volume.affine, rtol=1e-4, atol=1e-3), "another place without a word"
        return values


def _by_nibabel(path: Path) -> tuple[Any, Any]:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    image = nibabel.Nifti1Image.from_stream(io.BytesIO(data))
    affine = image.affine.copy()
    affine[:3] *= MM_OF_UNIT.get(int(image.header["xyzt_units"]) & 7, 1.0)
    values = image.get_fdata()
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    return values, affine


def _by_itk(path: Path) -> tuple[Any, Any]:
    image = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(image)
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return values.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def seeds() -> dict[str, bytes]:
    """One list of choices for each field and format, and random ones."""
    dice = random.Random(2)
    return {f"image{n:03d}": bytes([n % 3, n // 3 % 2, n // 6 % 3]) + dice.randbytes(20) for n in range(180)}


def make_target(folder: Path) -> Target:
    """The target."""
    return ImageTarget(folder)


if __name__ == "__main__":
    fuzz(make_target, seeds)
