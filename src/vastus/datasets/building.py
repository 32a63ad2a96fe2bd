"""An open set of drawn slices and a download of its CTs -> a data set in nnU-Net layout."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vastus.anatomy import BACKGROUND_ID, STRUCTURES, UNLABELLED, ThighLevel
from vastus.datasets.layout import INDEX_FILE, OpenSet, index_text
from vastus.datasets.matching import ImageFolder
from vastus.datasets.split import Split
from vastus.errors import GeometryError, MissingInputError, OutputError, SettingsError
from vastus.io.atomic import atomic_folder, write_text
from vastus.io.labels import file_of_case, placed_on, read_labels, read_values, write_labels
from vastus.io.nnunet_layout import IMAGES, LABELS, image_path, labels_path, write_description
from vastus.refinement.outline_files import read_outline
from vastus.refinement.outlining import Outliner
from vastus.refinement.propagation import propagate
from vastus.synthesis.dataset import write_image
from vastus.volume import Volume, from_ras, to_ras

PROPAGATED = "propagated.csv"
_READ_TWICE = (ThighLevel.HIP, ThighLevel.PROXIMAL)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What is built.

    Attributes:
        split: which scans.
        allow_missing: leave scans out whose CT was not found, rather than refuse.
        redraw: draw every mask again from its strokes and refuse a difference.
        propagate: fill between drawn slices; which ones nobody has looked at stands in ``propagated.csv``. For training
            only.
        disease: folder of masks with the names of the scans; what lies in a mask and has no label becomes background.
            For training only.
    """

    split: Split = Split.TRAIN
    allow_missing: bool = False
    redraw: bool = False
    propagate: bool = False
    disease: Path | None = None

    def __post_init__(self) -> None:
        """Refuse to score against what nobody drew."""
        if self.propagate and self.split is Split.TEST:
            raise SettingsError("Test scans are not propagated: what nobody drew is no reference.")
        if self.disease is not None and self.split is Split.TEST:
            raise SettingsError("Masks of disease are for training: in test scans only what was drawn is a reference.")


@dataclass(frozen=True, slots=True)
class Built:
    """What was built: scans, drawn and propagated slices, scans left out, and scans with a mask of disease."""

    scans: tuple[str, ...]
    slices: int
    propagated: int
    missing: tuple[str, ...]
    diseased: tuple[str, ...] = ()


def build_dataset(
    source: OpenSet,
    images: Path,
    output: Path,
    options: BuildOptions,
    on_scan: Callable[[str], None] = lambda _: None,
) -> Built:
    """Write ``imagesTr``, ``labelsTr``, ``dataset.json`` and the rows of the index.

    Args:
        source: see ``read_open_set``.
        images: the user's download, searched with its subfolders.
        output: must not exist, or be empty; nothing is left of it when the build fails.
        options: see there.
        on_scan: told the name of each scan.

    Raises:
        MissingInputError: CTs (all named), label maps or the folder of masks are missing.
        GeometryError: a mask is not what its strokes give, or a mask of disease lies on another grid.
        OutputError: the folder holds something, or can't be written.
    """
    if output.exists() and any(output.iterdir()):
        raise OutputError("The output folder holds something already.", path=output, remedy="Choose another with -o.")
    if options.disease is not None and not options.disease.is_dir():
        raise MissingInputError("There is no such folder of masks.", path=options.disease)
    folder = ImageFolder(images)
    names = source.scans(options.split)
    missing: list[str] = []
    guessed: list[tuple[str, int]] = []
    diseased: list[str] = []
    with atomic_folder(output) as target:
        for name in (IMAGES, LABELS):
            (target / name).mkdir()
        for scan in names:
            on_scan(scan)
            labels = read_labels(source.labels(scan), partly=True)
            ct = folder.find(source.images[scan], labels)
            if ct is None:
                missing.append(scan)
                continue
            if options.redraw:
                _refuse_other_masks(source, scan, ct, labels)
            made = _labels_of(source, scan, (ct, labels), options)
            guessed += [(scan, k) for k in made.guessed]
            diseased += [scan] if made.diseased else []
            _write_scan(target, scan, ct, made.labels, source.labels(scan) if made.labels is labels else None)
        done = tuple(scan for scan in names if scan not in missing)
        if not done or (missing and not options.allow_missing):
            raise _refusal(source, missing, images)
        if options.disease is not None and not diseased:
            raise MissingInputError(
                f"No mask has the name of a scan ({', '.join(done[:3])} ...).",
                path=options.disease,
                remedy=f"Call them {done[0]}.nii.gz and so on.",
            )
        rows = tuple(s for s in source.slices if s.scan in done and s.reading == 1)
        write_text(target / INDEX_FILE, index_text(rows))
        if options.propagate:
            lines = [f"{scan},{k}\n" for scan, k in guessed]
            write_text(target / PROPAGATED, "".join(["scan,slice\n", *lines]))
        _describe(target, len(done))
    return Built(done, len(rows), len(guessed), tuple(missing), tuple(diseased))


def _write_scan(target: Path, scan: str, ct: Volume, labels: Volume, as_stored: Path | None) -> None:
    """Write a CT and its labels; ``as_stored``: a file that holds these labels already, which is copied."""
    write_image(ct.with_array(ct.array.astype(np.int16)), image_path(target, scan))
    if as_stored is not None:
        shutil.copyfile(as_stored, labels_path(target, scan))
    else:
        write_labels(labels, labels_path(target, scan), partly=True)


@dataclass(frozen=True, slots=True, eq=False)
class _ScanLabels:
    """Labels of one scan as they are written; which slices were filled, and whether there is a mask of disease."""

    labels: Volume
    guessed: tuple[int, ...]
    diseased: bool


def _labels_of(source: OpenSet, scan: str, read: tuple[Volume, Volume], options: BuildOptions) -> _ScanLabels:
    """Make the labels of a scan from its CT and its first reading (``read``)."""
    ct, drawn = read
    labels = _agreed(source, scan, drawn)
    guessed: tuple[int, ...] = ()
    if options.propagate:
        between = propagate(to_ras(ct).array, np.ascontiguousarray(to_ras(labels).array), to_ras(ct).spacing_mm)
        labels, guessed = from_ras(between.labels, drawn), tuple(between.slices)
    mask = None if options.disease is None else file_of_case(scan, options.disease)
    if mask is not None:
        labels = _without_disease(labels, mask, (ct, source.images[scan].file))
    return _ScanLabels(labels, guessed, mask is not None)


def _without_disease(labels: Volume, path: Path, scan: tuple[Volume, str]) -> Volume:
    """Make background of what lies in a mask of disease and has no label, but for the outermost voxel of the mask."""
    from scipy import ndimage

    ct, name = scan
    mask = placed_on(read_values(path), path, ct, Path(name))
    inside = ndimage.binary_erosion(mask.array != 0)
    return labels.with_array(np.where(inside & (labels.array == UNLABELLED), np.uint8(BACKGROUND_ID), labels.array))


def _agreed(source: OpenSet, scan: str, labels: Volume) -> Volume:
    """Keep what both readings agree on in the slices of hip and proximal thigh that were read twice; the rest is 255.

    There readers of this kind err most against an expert. Elsewhere the first reading stands as it is.
    """
    twice = [s.slice for s in source.slices if s.scan == scan and s.reading == 2 and s.level in _READ_TWICE]
    if not twice:
        return labels
    first, second = to_ras(labels), to_ras(read_labels(source.labels(scan, reading=2), partly=True))
    kept = first.array.copy()
    for k in twice:
        kept[:, :, k][first.array[:, :, k] != second.array[:, :, k]] = UNLABELLED
    return from_ras(kept, labels)


def _refusal(source: OpenSet, missing: list[str], images: Path) -> MissingInputError:
    shown = ", ".join(f"{scan} ({source.images[scan].file})" for scan in missing[:10])
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    return MissingInputError(
        f"No image with the voxels that were drawn on, for {len(missing)} scan(s): {shown}{more}.",
        path=images,
        remedy="The data card says where they come from. With --allow-missing the others are built.",
    )


def _refuse_other_masks(source: OpenSet, scan: str, ct: Volume, labels: Volume) -> None:
    """Draw every slice again. Voxels of 255 are not compared: a tumour's are, and its mask is not part of the set."""
    upright, drawn = to_ras(ct), to_ras(labels)
    for row in source.slices:
        if row.scan != scan or row.reading != 1:
            continue
        again = Outliner(upright.array, row.slice).outline(read_outline(source.strokes(row))).labels
        kept = drawn.array[:, :, row.slice]
        different = int(((again != kept) & (kept != UNLABELLED)).sum())
        if different:
            raise GeometryError(
                f"Slice {row.slice} of {scan}: {different} voxels are not what its strokes give.",
                path=source.strokes(row),
            )


def _describe(folder: Path, count: int) -> None:
    values = {structure.key: structure.class_id for structure in STRUCTURES}
    notes = {"description": "Drawn slices of real CT; 255 where nothing was drawn. Class ids without a side."}
    write_description(folder, values, count, ignore=UNLABELLED, notes=notes)
