"""Label maps on disk: written with the names of their values inside, read back with every value checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, UNLABELLED, Label, Side, StructureTable
from vastus.errors import GeometryError, LabelError, MissingInputError, OutputError
from vastus.io.folders import is_file, refuse_pipe
from vastus.io.itk_images import META_IMAGE_SUFFIXES, NRRD_SUFFIXES, write_itk_labels
from vastus.io.label_names import SIDELESS, name_of_mask, names_beside, renamed, undecided_beside
from vastus.io.nifti import NIFTI_SUFFIXES, NiftiText, read_nifti_image, write_nifti_labels
from vastus.io.own_structures import same_structures
from vastus.io.scan_types import ReadImage
from vastus.io.slicer_segments import read_segments, segment_list
from vastus.io.structure_tables import table_beside
from vastus.volume import Volume, place_on

LABEL_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".mha")
_CHUNK = 1 << 16
_ROUNDED = 0.01
_DESCRIPTION = f"Vastus labels: {Side.RIGHT.offset}+id right, {Side.LEFT.offset}+id left; names in the extension"


def write_labels(
    volume: Volume,
    path: Path | str,
    *,
    like: Path | None = None,
    partly: bool = False,
    table: StructureTable = BUILT_IN,
) -> None:
    """Write a label map atomically, as uint8, with the names and colours of its values in the header.

    NIfTI carries a Connectome Workbench label table (as TotalSegmentator's files do), NRRD the segment list of
    3D Slicer; MetaImage has no room for names.

    Args:
        volume: label values of the table and 0.
        path: ends in ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``.
        like: the segmented scan, if it is a NIfTI: its sform, qform and codes are copied bit by bit.
        partly: also allow ``UNLABELLED``, for a reference that nobody labelled completely.
        table: of the structures.

    Raises:
        LabelError: a value that the table does not know.
        OutputError: unknown suffix, or the file can't be written.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(LABEL_SUFFIXES):
        raise OutputError(
            "Label maps are written in " + ", ".join(LABEL_SUFFIXES) + ".", path=path, remedy="Choose one of these."
        )
    array, occurring = _as_label_values(volume.array, path, table, partly=partly)
    checked, present = volume.with_array(array), [label for label in table.labels if occurring[label.value]]
    if name.endswith(NIFTI_SUFFIXES):
        write_nifti_labels(checked, path, NiftiText(_DESCRIPTION, _label_table(present, table)), like)
    else:
        write_itk_labels(checked, path, segment_list(present, array))


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """A label map (uint8, label values of ``table`` and 0), and what a user should know of the file."""

    volume: Volume
    warnings: tuple[str, ...] = ()
    table: StructureTable = BUILT_IN


def read_labels(path: Path | str, *, partly: bool = False) -> Volume:
    """Read a label map; whole numbers stored as floats are accepted.

    If the file, or a table beside it, names its values, the names count (``vastus.io.label_names``).

    Args:
        path: NIfTI, NRRD or MetaImage.
        partly: also allow ``UNLABELLED``, for a reference that nobody labelled completely.

    Returns:
        uint8, values of ``anatomy.LABELS`` and 0 (and ``UNLABELLED``).

    Raises:
        MissingInputError: the path is not a file.
        LabelError: values or names that the anatomy table does not know, all named.
        UnreadableScanError, UnsupportedScanError, GeometryError: as for scans.
    """
    return read_label_map(Path(path), partly=partly).volume


def read_label_map(
    path: Path, *, partly: bool = False, table: StructureTable | None = BUILT_IN, wanted: StructureTable | None = None
) -> LabelMap:
    """Do the same as ``read_labels``, with warnings about the orientation and about values without a known meaning.

    Args:
        path: NIfTI, NRRD or MetaImage.
        partly: also allow ``UNLABELLED``.
        table: of the structures in the file; None: the one beside it (``structure_tables.table_beside``).
        wanted: table whose values the result shall have; None: as ``table``.

    Raises:
        MissingInputError, LabelError, UnreadableScanError, UnsupportedScanError, GeometryError: as ``read_labels``.
    """
    image = read_named_image(path)
    known = table_beside(path) if table is None else table
    if wanted is not None and not image.names and not same_structures(known, wanted):
        return _brought_to(wanted, read_label_map(path, partly=partly, table=known), path)
    known = wanted or known
    array, warnings = image.volume.array, image.warnings
    present = _whole_values(array)
    if present is not None and not image.names:
        array, present = _without_undecided(array, present, path, partly=partly)
    values = [value for value in present or () if value and not (partly and value == UNLABELLED)]
    names, beside = image.names, {} if image.names else names_beside(path) or name_of_mask(path, values, known)
    if beside and all(value in beside for value in values):
        names = beside
    if present is not None and names and values:
        array = renamed(array, names, values, path, known)
    elif values and max(values) < known.class_count and known.is_built_in:
        warnings = (*warnings, SIDELESS)
    # As they are in the file: not counted twice.
    counted = present if array is image.volume.array else None
    checked = _as_label_values(array, path, known, partly=partly, counted=counted)[0]
    return LabelMap(image.volume.with_array(checked), warnings, known)


def _brought_to(wanted: StructureTable, found: LabelMap, path: Path) -> LabelMap:
    """The label map with the values that its structures have in another table, by their keys."""
    lookup = np.zeros(256, np.uint8)
    lookup[UNLABELLED] = UNLABELLED
    lost = []
    for value in np.flatnonzero(_occurring(found.volume.array)):
        label = found.table.by_value.get(int(value))
        if label is None:
            continue
        target = wanted.by_key.get(label.structure.key)
        if target is None or target.paired != label.structure.paired:
            lost.append(label.name)
        else:
            lookup[value] = target.label_value(label.side)
    if lost:
        raise LabelError(
            f"The label map holds structures that the other table of structures lacks: {', '.join(lost)}.",
            path=path,
            remedy="Give label maps of the same structures.",
        )
    return LabelMap(found.volume.with_array(lookup[found.volume.array]), found.warnings, wanted)


def _without_undecided(
    array: NDArray[Any], present: list[int], path: Path, *, partly: bool
) -> tuple[NDArray[Any], list[int]]:
    """``UNLABELLED`` where the data set says that a value means several structures or none; and what then occurs."""
    undecided = {value: name for value, name in undecided_beside(path).items() if value in present and value}
    if not undecided or set(undecided) == {UNLABELLED}:
        return array, present
    if not partly:
        raise LabelError(
            f"Some values stand for no single structure: {', '.join(undecided.values())}.",
            path=path,
            remedy="`train`, `evaluate` and `check-labels` read such labels; a measurement needs single structures.",
        )
    decided = np.where(np.isin(array, list(undecided)), np.array(UNLABELLED, array.dtype), array)
    return decided, sorted({UNLABELLED, *(value for value in present if value not in undecided)})


def read_labels_on(
    path: Path,
    scan: Volume,
    scan_path: Path,
    *,
    partly: bool = False,
    table: StructureTable | None = BUILT_IN,
    wanted: StructureTable | None = None,
) -> LabelMap:
    """Read a label map and put it onto the grid of its scan: a cropped or flipped one finds its place there.

    Args:
        path: file of the label map.
        scan: the scan, whose grid is used.
        scan_path: file of the scan, for messages.
        partly: accept value 255, which means that nobody labelled the voxel.
        table: of the structures in the file; None: the one beside it.
        wanted: table whose values the result shall have; None: as ``table``.

    Returns:
        The label map on the grid of the scan, with warnings.

    Raises:
        GeometryError: its voxels are not those of the scan; says by how much, and names both files.
        MissingInputError, LabelError, UnreadableScanError, UnsupportedScanError: as ``read_labels``.
    """
    found = read_label_map(path, partly=partly, table=table, wanted=wanted)
    return LabelMap(placed_on(found.volume, path, scan, scan_path), found.warnings, found.table)


def placed_on(labels: Volume, path: Path, scan: Volume, scan_path: Path) -> Volume:
    """Bring labels to the grid of a scan, by whole voxels.

    Args:
        labels: the label map.
        path: its file, for messages.
        scan: the scan, whose grid is used.
        scan_path: file of the scan, for messages.

    Returns:
        The label map on the grid of the scan.

    Raises:
        GeometryError: as ``read_labels_on``.
    """
    placed = place_on(labels, scan)
    if placed is None:
        difference = scan.difference_to(labels)
        raise GeometryError(
            f"The scan {scan_path.name} and the label map {path.name} do not lie on the same grid: {difference}.",
            path=path,
            remedy="Give the labels of this very scan, or resample them onto it with nearest neighbours.",
        )
    return placed


def read_named_image(path: Path) -> ReadImage:
    """Read an image of labels with the values of the file, and the names that its header has for them.

    Raises:
        MissingInputError: the path is not a file.
        LabelError: no format of label maps, or segments that overlap.
        UnreadableScanError, UnsupportedScanError, GeometryError: as for scans.
    """
    refuse_pipe(path)
    if not is_file(path):
        raise MissingInputError("There is no such label map.", path=path)
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        image = read_nifti_image(path)
        return ReadImage(image.volume.with_array(_rounded(image.volume.array)), image.warnings, image.names)
    if name.endswith((*NRRD_SUFFIXES, *META_IMAGE_SUFFIXES)):
        return read_segments(path)
    raise LabelError("Label maps are read from " + ", ".join(LABEL_SUFFIXES) + ".", path=path)


def _rounded(array: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers where a program stored them by a scale: nibabel makes 104.999 of 105."""
    if array.dtype.kind != "f":
        return array
    found = np.unique(array)
    if not np.isfinite(found).all() or np.abs(found - np.rint(found)).max() > _ROUNDED:
        return array
    return np.rint(array)


def _whole_values(array: NDArray[Any]) -> list[int] | None:
    """Return the values that occur; None if one is no whole number."""
    if array.dtype == np.uint8:
        return [int(v) for v in np.flatnonzero(_occurring(array))]
    found = np.unique(array)
    if array.dtype.kind == "f" and not (np.isfinite(found).all() and (found == np.rint(found)).all()):
        return None
    return [int(v) for v in found]


def _as_label_values(
    array: NDArray[np.generic], path: Path, table: StructureTable, *, partly: bool, counted: list[int] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the label map as uint8, and which of the 256 values it holds; refuse unknown values.

    Args:
        array: the label map.
        path: its file, for messages.
        table: of the structures.
        partly: also allow ``UNLABELLED``.
        counted: the values that it holds, where they are known.
    """
    known = np.zeros(256, dtype=bool)
    known[[0, *table.by_value]] = True
    known[UNLABELLED] = partly
    if array.dtype == np.uint8:
        present = _occurring(array) if counted is None else np.isin(np.arange(256), counted)
        _refuse_unknown([float(v) for v in np.flatnonzero(present & ~known)], path)
        return array, present  # type: ignore[return-value]
    present_values = [float(v) for v in np.unique(array)]
    _refuse_unknown([v for v in present_values if not (0 <= v < 256 and v.is_integer() and known[int(v)])], path)
    present = np.isin(np.arange(256), present_values)
    return array.astype(np.uint8), present


def _refuse_unknown(values: list[float], path: Path) -> None:
    if values:
        shown = ", ".join(f"{v:g}" for v in values[:12]) + (f" and {len(values) - 12} more" if len(values) > 12 else "")
        raise LabelError(
            f"The label map holds unknown values: {shown}.", path=path, remedy="`vastus classes` lists the known ones."
        )


def _occurring(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which of the 256 values a uint8 array holds.

    Most of a label map is background: eight voxels are looked at at a time, and counted only where one is not 0.
    """
    flat = array.ravel(order="K")
    whole = flat.size // 8 * 8
    words = flat[:whole].view(np.uint64)
    counts = np.bincount(flat[whole:], minlength=256)
    for start in range(0, words.size, _CHUNK):  # in chunks, as bincount widens its input eightfold
        part = words[start : start + _CHUNK]
        counts += np.bincount(part[part != 0].view(np.uint8), minlength=256)
    present = counts > 0
    present[0] |= counts.sum() < flat.size
    return present


def _label_table(present: list[Label], table: StructureTable) -> str:
    """List all values but those of an unknown side, and of these the occurring ones, so that all files of a cohort
    have one table.
    """
    listed = [label for label in table.labels if label.side is not Side.UNKNOWN or label in present]
    rows = []
    for label in listed:
        red, green, blue = (f"{channel / 255:.4f}" for channel in label.structure.colour)
        colour = f'Red="{red}" Green="{green}" Blue="{blue}" Alpha="1"'
        rows.append(f"<Label Key={quoteattr(str(label.value))} {colour}><![CDATA[{label.name}]]></Label>")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<CaretExtension>\n<VolumeInformation Index="0">\n<LabelTable>\n'
        + "\n".join(rows)
        + "\n</LabelTable>\n<StudyMetaDataLinkSet>\n</StudyMetaDataLinkSet>\n"
        "<VolumeType><![CDATA[Label]]></VolumeType>\n</VolumeInformation>\n</CaretExtension>\n"
    )


def read_values(path: Path) -> Volume:
    """A label map with any whole values of 0..255."""
    volume = read_named_image(path).volume
    array = volume.array
    if array.dtype != np.uint8:
        whole = np.asarray(np.rint(array))
        if not np.array_equal(whole, array) or whole.min() < 0 or whole.max() > 255:
            raise LabelError("Label values must be whole numbers of 0..255.", path=path)
        array = whole.astype(np.uint8)
    return volume.with_array(array)


def file_of_case(name: str, folder: Path) -> Path | None:
    """Find the label map or mask in a folder that has the name of a scan, or None."""
    return next((path for suffix in LABEL_SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
