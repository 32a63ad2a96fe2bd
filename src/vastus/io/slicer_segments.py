"""3D Slicer's segmentations (``.seg.nrrd``): the list of segments in the header, and layers of segments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from vastus.anatomy import Code, Label
from vastus.errors import LabelError
from vastus.io.itk_images import as_volume, open_itk
from vastus.io.scan_types import ReadImage
from vastus.terminology import ANATOMICAL_STRUCTURE, SCHEME_NAME, side_code, structure_code
from vastus.volume import AnyArray

_MITK_GROUPS: Final = "org.mitk.multilabel.segmentation.labelgroups"
_TERM: Final = "TerminologyEntry"


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
        _refuse_two_names(segments, volume.array, path)
        names = {segment.value: segment.name for segment in segments} or _of_mitk(keys)
        return ReadImage(volume, warnings, names)
    if not segments:
        raise LabelError("The label map has several values a voxel and no list of segments.", path=path)
    return _merged(image, factor, segments, path, warnings)


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment as the header lists it; of several layers it lies in one."""

    name: str
    value: int
    layer: int


def _segments(keys: dict[str, str]) -> list[_Segment]:
    """List the segments; older programs give no value, then the number counts."""
    found = []
    numbers = sorted({int(m[1]) for key in keys if (m := re.fullmatch(r"Segment(\d+)_(?:Name|ID)", key))})
    for number in numbers:
        name = keys.get(f"Segment{number}_Name") or keys.get(f"Segment{number}_ID", "")
        value = keys.get(f"Segment{number}_LabelValue", str(number + 1))
        layer = keys.get(f"Segment{number}_Layer", "0")
        if value.strip().isdigit() and layer.strip().isdigit():
            found.append(_Segment(name.strip(), int(value), int(layer)))
    return found


def _refuse_two_names(segments: list[_Segment], array: AnyArray, path: Path) -> None:
    """Refuse a value that two segments of other names claim, if it occurs: nobody knows which one it means."""
    names: dict[int, str] = {}
    for segment in segments:
        other = names.setdefault(segment.value, segment.name)
        if other != segment.name and (array == segment.value).any():
            raise LabelError(
                f"The label value {segment.value} has two names: {other!r} and {segment.name!r}.",
                path=path,
                remedy="Save the segmentation again, with a value of its own for each segment.",
            )


def _of_mitk(keys: dict[str, str]) -> dict[int, str]:
    """Read the names by value of a segmentation that MITK wrote, of one group of labels; empty if it is none."""
    try:
        groups = json.loads(keys.get(_MITK_GROUPS, "[]"))
        return {int(label["value"]): str(label["name"]) for group in groups for label in group["labels"]}
    except (ValueError, TypeError, KeyError):
        return {}


def _merged(image: Any, factor: float, segments: list[_Segment], path: Path, warnings: tuple[str, ...]) -> ReadImage:
    import SimpleITK as sitk

    layers = sitk.GetArrayFromImage(image)
    merged = np.zeros(layers.shape[:3], np.uint16)
    names: dict[int, str] = {}
    overlapping = 0
    for number, segment in enumerate(segments, start=1):
        if segment.layer >= layers.shape[3]:
            raise LabelError(
                f"The segment {segment.name!r} lies in layer {segment.layer}, which the file does not have.", path=path
            )
        inside = layers[..., segment.layer] == segment.value
        overlapping += int((merged[inside] > 0).sum())
        merged[inside] = number
        names[number] = segment.name
    if overlapping:
        raise LabelError(
            f"Segments overlap in {overlapping} voxels: a voxel can have one label only.",
            path=path,
            remedy="In 3D Slicer's Segment Editor, let 'Modify other segments' be 'Overwrite all', and mend it.",
        )
    first = as_volume(image, factor, path)
    return ReadImage(first.with_array(merged.transpose(2, 1, 0)), warnings, names)


def segment_list(present: Iterable[Label], array: AnyArray) -> dict[str, str]:
    """Make the header entries from which 3D Slicer takes names, colours and meanings of label values.

    Args:
        present: the labels that occur.
        array: label values (X, Y, Z), uint8.

    Returns:
        Key/value pairs of the NRRD header, ``Segment0_Name`` and so on.
    """
    from scipy.ndimage import find_objects

    entries = {
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_MasterRepresentation": "Binary labelmap",  # its name before Slicer 5.2
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    boxes = find_objects(array)
    for number, label in enumerate(present):
        segment = {
            "ID": label.name,
            "Name": label.name,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{channel / 255:.4f}" for channel in label.structure.colour),
            "ColorAutoGenerated": "0",
            "LabelValue": str(label.value),
            "Layer": "0",
            "Extent": " ".join(f"{side.start} {side.stop - 1}" for side in boxes[label.value - 1]),
            "Tags": f"{_TERM}:{_term(label)}|",
        }
        entries |= {f"Segment{number}_{key}": value for key, value in segment.items()}
    return entries


def _term(label: Label) -> str:
    """Name context, category, type and side of a segment, then nothing about an anatomic region: it is the type."""
    none = "^^"
    parts = (
        SCHEME_NAME,
        _coded(ANATOMICAL_STRUCTURE),
        _coded(structure_code(label.structure)),
        _coded(side_code(label.side)),
        "",
        none,
        none,
    )
    return "~".join(parts)


def _coded(code: Code | None) -> str:
    return "^^" if code is None else f"{code.scheme}^{code.value}^{code.meaning}"
