"""Pseudo-labels: what a network says about unlabelled scans wherever it says the same from several points of view.

For adapting a network to a new scanner or population without annotations (self-training). Each scan is segmented as it
is, mirrored, and as the scan of a smaller and a larger person; where enough of these agree, the class is taken for a
label, everywhere else nobody labelled (``IGNORE``). Four rules take out what all views get wrong alike: skin where the
thighs touch, specks, soft tissue that was passed over, and whatever lies near a mask of disease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BACKGROUND_ID, BUILT_IN, StructureTable
from vastus.attempts import Attempts
from vastus.errors import GeometryError, MissingInputError, SettingsError
from vastus.inference.islands import find_parts
from vastus.io.atomic import ensure_folder
from vastus.io.nnunet_layout import IMAGES, LABELS, image_name, labels_name, write_description
from vastus.io.structure_tables import write_table_beside
from vastus.label_arrays import classes_of
from vastus.training.losses import IGNORE
from vastus.training.renaming import renamed
from vastus.volume import Volume, from_ras, to_ras

SOFT_TISSUE_HU = (-20.0, 150.0)
MOST_AIR_HU = -400.0
SHEET_MM = 6.0
"""Soft tissue thinner than this that reaches the air is skin."""
SPECK_MM3 = 2000.0
SPECK_SHARE = 0.1
"""A part below either is left out: of the volume, and of the largest part of its class."""
LESION_MARGIN_MM = 10.0

Classes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Segment = Callable[[Volume], Volume]
"""Scan in HU -> label map on its grid, label values or class ids."""


@dataclass(frozen=True, slots=True)
class ImageVariant:
    """One way to look at a scan: in a mirror, and with voxels said to be ``zoom`` times as large."""

    mirror: bool
    zoom: float


IMAGE_VARIANTS = tuple(ImageVariant(mirror, zoom) for zoom in (1.0, 0.93, 1.07) for mirror in (False, True))


@dataclass(frozen=True, slots=True)
class PseudoCase:
    """A scan to be labelled.

    Attributes:
        name: in the data set.
        scan: in HU.
        excluded: mask (not 0) of what must not be labelled.
        outlines: label map of an earlier round, whose outlines are kept.
    """

    name: str
    scan: Volume
    excluded: Volume | None = None
    outlines: Volume | None = None


def vote(
    scan: Volume,
    segment: Segment,
    views: Sequence[ImageVariant] = IMAGE_VARIANTS,
    table: StructureTable = BUILT_IN,
) -> tuple[Classes, NDArray[np.float32]]:
    """Class ids that most views give, and the share of the views that do; axes of ``to_ras``.

    Of classes with equally many votes the one with the smaller id is given; its share tells that it is no majority.
    """
    votes = np.stack([_classes_seen(scan, segment, view, table) for view in views])
    winner = np.zeros(votes.shape[1:], np.uint8)
    count = np.zeros(votes.shape[1:], np.uint8)
    for class_id in np.unique(votes):
        own = (votes == class_id).sum(axis=0, dtype=np.uint8)
        more = own > count
        winner[more], count[more] = class_id, own[more]
    return winner, (count / len(views)).astype(np.float32)


def _classes_seen(scan: Volume, segment: Segment, view: ImageVariant, table: StructureTable) -> Classes:
    upright = to_ras(scan)
    array = upright.array[::-1] if view.mirror else upright.array
    affine = upright.affine.copy()
    affine[:3, :3] *= view.zoom
    class_ids = classes_of(segment(Volume(np.ascontiguousarray(array), affine)).array, table)
    return np.ascontiguousarray(class_ids[::-1] if view.mirror else class_ids)


def settle(classes: Classes, agreement: NDArray[np.float32], least: float) -> Classes:
    """``IGNORE`` where less than this share of the views agree."""
    return np.where(agreement >= least, classes, np.uint8(IGNORE))


def skin(ct: Volume) -> Mask:
    """Thin soft tissue that reaches the air, slice by slice: the skin, also where two thighs touch.

    Args:
        ct: HU, axes of ``to_ras``.
    """
    from scipy.ndimage import binary_dilation, binary_opening, gaussian_filter, label

    soft = gaussian_filter(ct.array.astype(np.float32), (0.7, 0.7, 0.0)) > SOFT_TISSUE_HU[0]
    disc = _disc(SHEET_MM / 2, ct.spacing_mm)
    near_air = _disc(SHEET_MM, ct.spacing_mm)
    found = np.zeros(soft.shape, bool)
    for k in range(soft.shape[2]):
        air = ct.array[:, :, k] < MOST_AIR_HU
        if not air.any() or not soft[:, :, k].any():
            continue
        # A border of soft tissue around the slice: what the edge of the scan cuts is not thin.
        wide = binary_opening(np.pad(soft[:, :, k], disc.shape[0], mode="edge"), disc)
        thin = soft[:, :, k] & ~wide[disc.shape[0] : -disc.shape[0], disc.shape[0] : -disc.shape[0]]
        parts, count = label(thin, np.ones((3, 3)))
        reached = np.zeros(count + 1, bool)
        reached[np.unique(parts[binary_dilation(air, near_air)])] = True
        reached[0] = False
        found[:, :, k] = reached[parts]
    return found


def passed_over(ct: Volume, classes: Classes) -> Mask:
    """Soft tissue of a thick layer that is called background: a muscle, or its rim, may have been missed there.

    The layer is judged as a whole, named or not: a thin rim that the network leaves beside a muscle is no skin, and
    would teach it to leave more. Axes of ``to_ras``.
    """
    from scipy.ndimage import binary_opening, gaussian_filter

    smooth = gaussian_filter(ct.array.astype(np.float32), (0.7, 0.7, 0.0))
    soft = (smooth > SOFT_TISSUE_HU[0]) & (smooth < SOFT_TISSUE_HU[1])
    thick = binary_opening(soft, _disc(SHEET_MM / 2, ct.spacing_mm)[:, :, None])
    missed: Mask = thick & (classes == BACKGROUND_ID)
    return missed


def specks(classes: Classes, voxel_mm3: float) -> Mask:
    """Parts of a class that are small and not its largest."""
    known = np.where(classes == IGNORE, np.uint8(0), classes)
    parts = find_parts(known)
    largest = np.zeros(256, np.int64)
    np.maximum.at(largest, parts.value, parts.size)
    limit = np.maximum(SPECK_MM3 / voxel_mm3, SPECK_SHARE * largest)[parts.value]
    small = (parts.size < limit) & (parts.size < largest[parts.value])
    small[0] = False
    return small[parts.index]


@dataclass(frozen=True, slots=True)
class Trust:
    """What of a network's output is taken for a label.

    Attributes:
        agreement: share of the views that must agree, 0..1.
        doubted: class ids that the network is known to confuse: never labelled. What it gets wrong from every view
            would be taught to it again.
        renamed: class ids that it tells apart better than it draws them: within an earlier round's outlines of these
            only the names are its own (``vastus.training.renaming``).
        table: of the structures that the network knows.
    """

    agreement: float = 0.8
    doubted: frozenset[int] = frozenset()
    renamed: frozenset[int] = frozenset()
    table: StructureTable = BUILT_IN

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        if not 0.0 < self.agreement <= 1.0:
            raise SettingsError(f"The agreement must lie in 0..1, got {self.agreement}.")
        if BACKGROUND_ID in self.doubted | self.renamed:
            raise SettingsError("Without background no scan can be labelled.")


def class_ids_of(names: Sequence[str], table: StructureTable = BUILT_IN) -> frozenset[int]:
    """Class ids of structures (``rectus_femoris``) and of whole groups (``anterior``) of a table.

    Raises:
        SettingsError: a name is neither.
    """
    found: set[int] = set()
    for name in names:
        ids = {s.class_id for s in table.rows if name in (s.key, s.group.value)}
        if not ids:
            groups = ", ".join(g.value for g in table.groups)
            keys = "See `vastus classes`" if table.is_built_in else f"Structures are {', '.join(table.by_key)}"
            raise SettingsError(f"There is no structure or group {name!r}.", remedy=f"{keys}; groups are {groups}.")
        found |= ids
    return frozenset(found)


def pseudo_label(case: PseudoCase, segment: Segment, trust: Trust) -> Volume:
    """Class ids on the grid of the scan, ``IGNORE`` where the network is not to be trusted.

    Args:
        case: the scan.
        segment: the network.
        trust: what is taken for a label.

    Raises:
        GeometryError: the mask or the earlier label map does not lie on the scan's grid.
    """
    for what, volume in (("mask", case.excluded), ("earlier label map", case.outlines)):
        if volume is not None and not volume.same_grid(case.scan):
            difference = case.scan.difference_to(volume)
            raise GeometryError(f"The {what} of {case.name} does not lie on the grid of its scan: {difference}.")
    ct = to_ras(case.scan)
    classes, agreement = vote(case.scan, segment, table=trust.table)
    labels = settle(classes, agreement, trust.agreement)
    if case.outlines is not None:
        labels = renamed(to_ras(case.outlines).array, labels, trust.renamed, ct.spacing_mm)
    labels[specks(labels, ct.voxel_volume_mm3)] = IGNORE
    labels[passed_over(ct, labels)] = IGNORE
    labels[np.isin(labels, tuple(trust.doubted))] = IGNORE
    labels[skin(ct)] = BACKGROUND_ID
    if case.excluded is not None:
        labels[_grown(to_ras(case.excluded).array != 0, ct.spacing_mm)] = IGNORE
    return from_ras(labels, case.scan)


def write_pseudo_set(
    cases: Mapping[str, Callable[[], PseudoCase]],
    segment: Segment,
    folder: Path,
    *,
    trust: Trust,
    tell: Callable[[str], None] = lambda _: None,
    attempts: Attempts | None = None,
) -> None:
    """Write a data set in nnU-Net layout that ``vastus train --data`` takes.

    Args:
        cases: by name; each read when its turn comes.
        segment: the network.
        folder: gets ``imagesTr``, ``labelsTr`` and ``dataset.json``; cases that are there already are kept.
        trust: what is taken for a label.
        tell: told one line a case.
        attempts: gets the cases that fail, which do not stop the others; without it the first one does.

    Raises:
        MissingInputError: no case could be labelled.
    """
    from vastus.synthesis.dataset import write_image

    each = attempts.of if attempts is not None else lambda _: nullcontext()

    images, maps = ensure_folder(folder / IMAGES), ensure_folder(folder / LABELS)
    for name, read in cases.items():
        target = maps / labels_name(name)
        with each(name):
            if not target.is_file():
                case = read()
                labels = pseudo_label(case, segment, trust)
                write_image(case.scan, images / image_name(name))
                write_image(labels, target)
                known = labels.array != IGNORE
                named = known & (labels.array != BACKGROUND_ID)
                tell(f"{name}: {known.mean():.0%} of the voxels labelled, {named.mean():.0%} with a structure")
    made = [name for name in cases if (maps / labels_name(name)).is_file()]
    if not made:
        raise MissingInputError("No scan could be labelled.", path=folder)
    notes = {"description": "Pseudo-labels: a network's own output where several views agree. Not for evaluation."}
    values = {s.key: s.class_id for s in trust.table.rows}
    write_description(folder, values, len(made), ignore=IGNORE, notes=notes)
    write_table_beside(trust.table, folder)


def _disc(radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    reach = [max(1, round(radius_mm / mm)) for mm in spacing_mm[:2]]
    x, y = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    inside: Mask = np.hypot(x * spacing_mm[0], y * spacing_mm[1]) <= radius_mm + 0.01
    return inside


def _grown(mask: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return mask
    near: Mask = distance_transform_edt(~mask, sampling=spacing_mm) <= LESION_MARGIN_MM
    return near
