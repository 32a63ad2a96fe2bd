"""What the values of a label map mean: names in its header, or in a table beside it, count for more than numbers.

3D Slicer numbers its segments 1, 2, 3 ... in the order of its list, nnU-Net its classes by ``dataset.json``. Such
values happen to be valid ones of ``vastus classes`` too, so that nothing but a name tells what they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, CLASS_COUNT, SIDES, UNLABELLED, Side, StructureTable
from vastus.errors import LabelError
from vastus.io.nnunet_layout import DATASET_FILE, IGNORE_NAME, MERGED

_BACKGROUND: Final = frozenset(
    {"background", "backgroundscribbles", "foregroundscribbles", "clear label", "???", "exterior"}
)
_SIDES: Final = {
    "r": "right",
    "right": "right",
    "rt": "right",
    "l": "left",
    "left": "left",
    "lt": "left",
    "unknown": "",
}
_ENDINGS: Final = r"(\.seg)?(\.nii(\.gz)?|\.nrrd|\.mha|\.mhd|\.nhdr)$"
SIDELESS: Final = (
    f"The label map holds only values from 1 to {CLASS_COUNT - 1} and names none of them: they are taken as the"
    " numbers of `vastus classes`, without side. If another program numbered them (3D Slicer's export, nnU-Net), every"
    " name is wrong: give the .seg.nrrd, or put the dataset.json of these labels beside them."
)


@cache
def _names(table: StructureTable) -> dict[str, int]:
    names: dict[str, int] = {}
    for label in table.labels:
        side = label.side.value if label.side in SIDES else ""
        structure = label.structure
        latin = re.sub(r"^(musculus|musculi|os) ", "", structure.latin.lower())
        own = {structure.key, structure.english.lower(), structure.latin.lower(), latin, *structure.other_names}
        for name in own:
            names[f"{_plain(name)} {side}".strip()] = label.value
    return names


def _plain(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name.lower()))


def value_of(name: str, table: StructureTable = BUILT_IN) -> int | None:
    """Return the label value of a name; 0 for background, None for a name that the table does not know.

    Case, order, and what stands between words do not matter: ``femur_left``, ``Left femur``, ``FEMUR (L)``.
    """
    words = _plain(name).split()
    if not words or " ".join(words) in _BACKGROUND or "".join(words) in _BACKGROUND:
        return 0
    names = _names(table)
    for rest, side in _readings(words):
        found = names.get(f"{rest} {side}".strip())
        if found is not None:
            return found
    return names.get(" ".join(words))


def split_side(name: str) -> tuple[str, Side]:
    """The plain words of a name without its side, and the side: ``Femur (L)`` -> ``femur``, left.

    A side counts at one of the ends only. ``UNKNOWN`` where the name says none.
    """
    words = _plain(name).split()
    for rest, side in _readings(words):
        if side:
            return rest, Side(side)
    return " ".join(words), Side.UNKNOWN


def _readings(words: list[str]) -> Iterator[tuple[str, str]]:
    """The other words and the side, for each single side word at one of the ends; "r" and "l" inside are no side."""
    if len(words) > 1:
        for place in (0, len(words) - 1):
            if words[place] in _SIDES:
                yield " ".join(words[:place] + words[place + 1 :]), _SIDES[words[place]]


def names_beside(path: Path) -> dict[int, str]:
    """Read names by value beside a label map; empty if there are none.

    From ``dataset.json`` of nnU-Net, a colour table of 3D Slicer, or label descriptions of ITK-SNAP.
    """
    for folder in (path.parent, path.parent.parent):
        names = _of_dataset(folder / DATASET_FILE)
        if names:
            return names
    stem = re.sub(_ENDINGS, "", path.name, flags=re.IGNORECASE)
    for ending in ("_ColorTable.ctbl", "-ColorTable.ctbl", "_ColorTable.csv", "-ColorTable.csv", ".ctbl"):
        names = _of_colour_table(path.parent / f"{stem}{ending}")
        if names:
            return names
    for name in (f"{stem}.txt", f"{stem}.label", f"{stem}_labels.txt", "labels.txt", "labels.label"):
        names = _of_itk_snap(path.parent / name)
        if names:
            return names
    return {}


def name_of_mask(path: Path, values: list[int], table: StructureTable = BUILT_IN) -> dict[int, str]:
    """Give the one value of a mask the name of its file, as TotalSegmentator names them: ``femur_left.nii.gz``.

    Args:
        path: of the label map.
        values: that occur, without 0.
        table: of the structures.

    Returns:
        Empty where other values than 1 occur, or the file has no name of a structure.
    """
    stem = re.sub(_ENDINGS, "", path.name, flags=re.IGNORECASE)
    return {1: stem} if values == [1] and value_of(stem, table) else {}


def _of_itk_snap(path: Path) -> dict[int, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    if "itk-snap" not in text.lower():
        return {}
    rows = re.findall(r'^\s*(\d+)(?:\s+[\d.]+){6}\s+"([^"]*)"', text, flags=re.MULTILINE)
    return {int(value): name for value, name in rows}


def _of_dataset(path: Path) -> dict[int, str]:
    try:
        labels = dict(json.loads(path.read_text(encoding="utf-8-sig"))["labels"])
    except (OSError, ValueError, TypeError, KeyError, UnicodeDecodeError):
        return {}
    if labels and all(str(key).isdigit() for key in labels):  # nnU-Net's first version has it the other way round
        return {int(key): str(name) for key, name in labels.items()}
    return {value: str(name) for name, value in labels.items() if isinstance(value, int)}


def undecided_beside(path: Path) -> dict[int, str]:
    """Names by value of the ``dataset.json`` beside a label map that mean no single structure.

    They stand for a set of structures (table ``merged``), or for voxels at which nobody looked (``ignore``).
    """
    for folder in (path.parent, path.parent.parent):
        try:
            said = json.loads((folder / DATASET_FILE).read_text(encoding="utf-8-sig"))
            sets = {IGNORE_NAME, *dict(said.get(MERGED, {}))}
        except (OSError, ValueError, TypeError, AttributeError):
            continue
        names = _of_dataset(folder / DATASET_FILE)
        return {value: name for value, name in names.items() if name in sets}
    return {}


def _of_colour_table(path: Path) -> dict[int, str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    names = {}
    for line in lines:
        words = line.split(",") if "," in line else line.split()
        if len(words) > 1 and words[0].strip().isdigit():
            names[int(words[0])] = words[1].strip().strip('"')
    return names


def renamed(
    array: NDArray[Any], names: Mapping[int, str], present: list[int], path: Path, table: StructureTable = BUILT_IN
) -> NDArray[Any]:
    """Return the label map with the values that its names mean.

    Args:
        array: whole numbers; ``UNLABELLED`` stays, if it has no name of its own.
        names: of values.
        present: the values besides 0 that occur.
        path: for messages.
        table: of the structures that a name may mean.

    Raises:
        LabelError: a value that occurs has a name that the table does not know, or none.
    """
    found = {value: value_of(names[value], table) if value in names else None for value in present}
    unknown = [value for value, label in found.items() if label is None]
    meaning = {value: label for value, label in found.items() if label is not None}
    if unknown:
        shown = ", ".join(f"{v} ({names.get(v, 'without a name')})" for v in unknown[:8])
        raise LabelError(
            f"The label map names its values, and some of these names are not known: {shown}.",
            path=path,
            remedy="Rename these segments as `vastus classes` does, with _right or _left, or delete them. If they are"
            " structures of your own, put their structure_table.csv beside the label map.",
        )
    if all(value == label for value, label in meaning.items()):
        return array
    most = max(present)
    if most < 1 << 16 and min(present) >= 0:
        lookup = np.zeros(max(most, UNLABELLED) + 1, np.uint8)
        lookup[UNLABELLED] = UNLABELLED
        for value, label in meaning.items():
            lookup[value] = label
        result: NDArray[Any] = lookup[array.astype(np.int64)]
        return result
    result = np.where(array == UNLABELLED, np.uint8(UNLABELLED), np.uint8(0))
    for value, label in meaning.items():
        result[array == value] = label
    return result
