"""What the label check knows of one scan: tables small enough to keep those of a whole folder in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_VALUE, LABELS
from vastus.curation.kernels import survey
from vastus.errors import GeometryError
from vastus.volume import Affine, Volume

VALUES: Final[tuple[int, ...]] = (0, *(label.value for label in LABELS))
"""Label value of each row of the tables; row 0 is the background."""

ROW_OF: Final[dict[int, int]] = {value: row for row, value in enumerate(VALUES)}

_ROW_TABLE = np.zeros(256, np.int64)
_ROW_TABLE[list(VALUES)] = np.arange(len(VALUES))

_LEAST_FACES = 200

Table = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CaseFacts:
    """Tables of one scan (RAS order); rows are those of ``VALUES``.

    Attributes:
        case: name.
        affine: of the RAS grid.
        shape: of it.
        joint_mm3: (R, R) volume labelled r that the model calls m.
        area_mm2: (R, K) of each axial slice.
        shared_mm2: (R, K) area of a slice that the next one has too.
        contact_mm2: (R, R) shared surface of two rows; symmetric.
        across_mm3: (R, I) volume in each plane across the body.
        said_area_mm2, said_shared_mm2: as ``area_mm2`` and ``shared_mm2``, of the model.
        outwards_hu: (R, 2) mean HU inside and outside of the faces to the background in the slice; NaN for few of them.
        centre_mm: (R, 3) centroid, RAS+; NaN for an absent one. model_centre_mm: the same for the model.
        has_model: whether a model's labels were compared.
        cut: (R,) whether the scan's first or last slice cuts through the structure.
    """

    case: str
    affine: Affine
    shape: tuple[int, int, int]
    joint_mm3: Table
    area_mm2: Table
    shared_mm2: Table
    contact_mm2: Table
    across_mm3: Table
    said_area_mm2: Table
    said_shared_mm2: Table
    outwards_hu: Table
    centre_mm: Table
    model_centre_mm: Table
    has_model: bool
    cut: NDArray[np.bool_]

    @property
    def volume_mm3(self) -> Table:
        """(R,) volume of each row."""
        return np.asarray(self.joint_mm3.sum(axis=1))

    @property
    def model_volume_mm3(self) -> Table:
        """(R,) volume of each row in the model's labels."""
        return np.asarray(self.joint_mm3.sum(axis=0))

    @property
    def surface_mm2(self) -> Table:
        """(R,) whole surface, counted in voxel faces."""
        return np.asarray(self.contact_mm2.sum(axis=1))

    @property
    def present(self) -> list[int]:
        """Rows that the label map holds, background left out."""
        return [row for row in range(1, len(VALUES)) if self.joint_mm3[row].sum() > 0]

    @property
    def slice_mm(self) -> float:
        """Distance of two axial slices."""
        return float(np.linalg.norm(self.affine[:3, 2]))


def gather(case: str, scan: Volume, labels: Volume, model: Volume | None) -> CaseFacts:
    """Survey a scan.

    Args:
        case: name.
        scan, labels, model: in RAS order, on one grid.

    Raises:
        GeometryError: they are not.
    """
    if not scan.same_grid(labels) or (model is not None and not scan.same_grid(model)):
        other = labels if model is None or not scan.same_grid(labels) else model
        raise GeometryError(f"Scan and labels are not on one grid: {scan.difference_to(other)}.")
    model_labels = labels if model is None else model
    counts = survey(labels.array, model_labels.array, scan.array, _ROW_TABLE, len(VALUES))
    spacing = np.array(scan.spacing_mm)
    voxel_mm3 = scan.voxel_volume_mm3
    faces = counts.contact @ np.array([spacing[1] * spacing[2], spacing[0] * spacing[2], spacing[0] * spacing[1]])
    pixel_mm2 = spacing[0] * spacing[1]
    voxels = counts.slices[:, :, 0]
    heights = (voxels * np.arange(labels.shape[2])).sum(axis=1)
    own = np.stack([counts.slices[:, :, 1].sum(axis=1), counts.slices[:, :, 2].sum(axis=1), heights], axis=1)
    return CaseFacts(
        case=case,
        affine=scan.affine,
        shape=scan.shape,
        joint_mm3=np.asarray(counts.joint * voxel_mm3, np.float64),
        area_mm2=voxels * pixel_mm2,
        shared_mm2=counts.slices[:, :, 3] * pixel_mm2,
        contact_mm2=faces + faces.T,
        across_mm3=np.asarray(counts.columns * voxel_mm3, np.float64),
        said_area_mm2=counts.said[:, :, 0] * pixel_mm2,
        said_shared_mm2=counts.said[:, :, 1] * pixel_mm2,
        outwards_hu=_outwards(counts.outwards),
        centre_mm=_centres(own, voxels.sum(axis=1), scan.affine),
        model_centre_mm=_centres(counts.centre[:, 1:], counts.centre[:, 0], scan.affine),
        has_model=model is not None,
        cut=(voxels[:, 0] > 0) | (voxels[:, -1] > 0),
    )


def _centres(sums: Table, count: Table, affine: Affine) -> Table:
    index = sums / np.where(count > 0, count, np.nan)[:, None]
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def _outwards(sums: Table) -> Table:
    return np.asarray(sums[:, 1:] / np.where(sums[:, :1] >= _LEAST_FACES, sums[:, :1], np.nan))


def name_of(row: int) -> str:
    """Name of a row: ``femur_left``."""
    return "background" if row == 0 else BY_VALUE[VALUES[row]].name
