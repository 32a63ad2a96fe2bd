"""3D Slicer's segmentations (``.seg.nrrd``): the list of segments in the header, and layers of segments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from vastus.errors import LabelError
from vastus.io.itk_images import as_volume, open_itk
from vastus.io.scan_types import ReadImage


def read_segments(path: Path) -> ReadImage:
    """Read a NRRD or MetaImage of labels; with a list of segments, its names by value.

    Several layers become one: each segment gets a value of its own.

    Raises:
        LabelError: segments of several layers overlap, or layers without a list of segments.
        UnreadableScanError, UnsupportedScanError, GeometryError: as ``itk_images.read_itk``.
    """
    image, factor, warnings = open_itk(path, layers=True)
    # A key that is no UTF-8 can't be asked for; none of ours is one.
    keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.isascii()}
    segments = _segments(keys)
    volume = as_volume(image, factor, path)
    if image.GetNumberOfComponentsPerPixel() == 1:
        names = {value: name for name, value, _ in segments}
        return ReadImage(volume, warnings, names)
    if not segments:
        raise LabelError("The label map has several values a voxel and no list of segments.", path=path)
    return _merged(image, factor, segments, path, warnings)


def _segments(keys: dict[str, str]) -> list[tuple[str, int, int]]:
    """Name, label value and layer of each segment; files of older programs say no value, then its number counts."""
    found = []
    numbers = sorted({int(m[1]) for key in keys if (m := re.fullmatch(r"Segment(\d+)_(?:Name|ID)", key))})
    for number in numbers:
        name = keys.get(f"Segment{number}_Name") or keys.get(f"Segment{number}_ID", "")
        value = keys.get(f"Segment{number}_LabelValue", str(number + 1))
        layer = keys.get(f"Segment{number}_Layer", "0")
        if value.strip().isdigit() and layer.strip().isdigit():
            found.append((name.strip(), int(value), int(layer)))
    return found


def _merged(
    image: Any, factor: float, segments: list[tuple[str, int, int]], path: Path, warnings: tuple[str, ...]
) -> ReadImage:
    import SimpleITK as sitk

    layers = sitk.GetArrayFromImage(image)
    merged = np.zeros(layers.shape[:3], np.uint16)
    names: dict[int, str] = {}
    overlapping = 0
    for number, (name, value, layer) in enumerate(segments, start=1):
        if layer >= layers.shape[3]:
            raise LabelError(f"The segment {name!r} lies in layer {layer}, which the file does not have.", path=path)
        inside = layers[..., layer] == value
        overlapping += int((merged[inside] > 0).sum())
        merged[inside] = number
        names[number] = name
    if overlapping:
        raise LabelError(
            f"Segments overlap in {overlapping} voxels: a voxel can have one label only.",
            path=path,
            remedy="In 3D Slicer's Segment Editor, let 'Modify other segments' be 'Overwrite all', and mend it.",
        )
    first = as_volume(image, factor, path)
    return ReadImage(first.with_array(merged.transpose(2, 1, 0)), warnings, names)
