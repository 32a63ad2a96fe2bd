"""Does the body lie as the file says? Head and feet, front and back, against labels, bones and table.

The network calls each muscle by what it looks like, so that of a scan that stands on its head the gluteal muscles are
found below and the vasti above; the hip bones lie below the femora; and a thigh grows thinner upwards. The front is
harder, since the network goes by it: there the femur, which runs through the front half of a thigh, and the table under
the patient must both speak against the file, so that neither a tumour nor a patient lying prone raises a false alarm.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, CLASS_COUNT, STRUCTURES
from vastus.inference.remarks import Remark
from vastus.label_arrays import classes_of
from vastus.volume import Volume

COARSE_MM: Final = 4.0
LEAST_LENGTH_MM: Final = 80.0  # in a shorter stretch the muscles hardly change
LEAST_BONE_MM3: Final = 100_000.0
FEW_HIP_MM3: Final = 30_000.0
HIP_BELOW_MM: Final = 10.0
TELLING_CORRELATION: Final = -0.25
FLAT_SLOPE: Final = 0.12  # upright bodies have 0.2 to 1.5; thighs full of a tumour lie about 0, and prove nothing
WIDENING: Final = 1.25  # upper over lower third: a thigh that is this much thicker below stands on its head
FEMUR_BACK_MM: Final = 4.0
TABLE_FLAT_MM: Final = 4.0
SKIN_ROUND_MM: Final = 7.0
_FEMUR, _HIP = BY_KEY["femur"].class_id, BY_KEY["hip_bone"].class_id
_WHAT_TO_DO = (
    "No number of this scan is right if so. Look at the page; export the scan again with its orientation (from the"
    " DICOM files, not from a converted copy), or correct the header."
)
_OTHERWISE = "The body lies the other way round than the file says: "


class Turn(Enum):
    """How a body may lie otherwise than its header says; ``value``: the axes of a RAS grid to be reversed."""

    FRONT_BACK = (1,)
    HEAD_FOOT = (2,)
    BOTH = (1, 2)


_REVERSED: Final = {
    Turn.HEAD_FOOT: "Head and feet are reversed",
    Turn.FRONT_BACK: "Front and back are reversed",
    Turn.BOTH: "Head and feet are reversed, and so are front and back",
}


def turned(turn: Turn, why: str) -> Remark:
    """Say that the body is turned."""
    return Remark(f"{_OTHERWISE}{why}. {_REVERSED[turn]}, and left and right may be swapped. {_WHAT_TO_DO}", stops=True)


def said_of_lie(labels: Volume, ct: Volume) -> tuple[Remark, ...]:
    """Warn if the body does not lie as the affine says.

    Args:
        labels: label values or class ids, in RAS order.
        ct: HU on the same grid.
    """
    steps = [max(1, round(COARSE_MM / s)) for s in labels.spacing_mm]
    view = tuple(slice(None, None, n) for n in steps)
    spacing = np.array(labels.spacing_mm) * steps
    classes, hu = classes_of(labels.array[view]), ct.array[view].copy(order="K")
    counts = np.stack([np.bincount(classes[:, :, k].ravel(), minlength=CLASS_COUNT) for k in range(classes.shape[2])])
    warnings = []
    why = upside_down(counts, hu, spacing)
    if why:
        warnings.append(turned(Turn.HEAD_FOOT, why))
    if _femur_lies_back(classes, counts, hu, spacing) and table_side(hu, spacing) > 0:
        why = "the femur runs through the back half of the thigh, and the table lies on its front"
        warnings.append(turned(Turn.FRONT_BACK, why))
    return tuple(warnings)


def upside_down(counts: NDArray[np.int64], hu: NDArray[np.int16], spacing: NDArray[np.float64]) -> str:
    """Say why the feet must lie where the file places the head; empty if they do not.

    Args:
        counts: shape (slices, classes): voxels of each class in each slice, the lowest first.
        hu: shape (x, y, slices).
        spacing: mm of the grid.
    """
    voxel_mm3 = float(np.prod(spacing))
    height = np.arange(len(counts)) * spacing[2]
    hips, femora = counts[:, _HIP], counts[:, _FEMUR]
    if min(hips.sum(), femora.sum()) * voxel_mm3 >= LEAST_BONE_MM3:
        below = float(height @ femora / femora.sum() - height @ hips / hips.sum())
        if below > HIP_BELOW_MM:
            return "the hip bones lie below the femora"
    slope, correlation = _composition(counts, height)
    if slope < -FLAT_SLOPE and correlation < TELLING_CORRELATION:
        return "the muscles of the hip lie below those of the knee"
    if slope < FLAT_SLOPE and hips.sum() * voxel_mm3 < FEW_HIP_MM3 and _widens_downwards(counts, hu, spacing[2]):
        return "the thigh is thicker below than above"
    return ""


def _composition(counts: NDArray[np.int64], height: NDArray[np.float64]) -> tuple[float, float]:
    """Measure how fast and how steadily the usual height of the structures in a slice rises with its own height."""
    usual = np.full(counts.shape[1], np.nan)
    for structure in STRUCTURES:
        if structure.height_mm is not None:
            usual[structure.class_id] = structure.height_mm
    known = np.isfinite(usual)
    held = counts[:, known].sum(axis=1)
    if not held.any():
        return 1.0, 1.0
    full = held > 0.2 * np.median(held[held > 0])
    at = height[full]
    if len(at) < 5 or np.ptp(at) < LEAST_LENGTH_MM:
        return 1.0, 1.0
    mean = counts[full][:, known] @ usual[known] / held[full]
    if np.ptp(mean) == 0:
        return 1.0, 1.0
    return float(np.polyfit(at, mean, 1)[0]), float(np.corrcoef(at, mean)[0, 1])


def _widens_downwards(counts: NDArray[np.int64], hu: NDArray[np.int16], step_mm: float) -> bool:
    """Tell whether the lower third of the labelled slices has thicker soft tissue than the upper third."""
    labelled = np.flatnonzero(counts[:, 1:].any(axis=1))
    if len(labelled) * step_mm < LEAST_LENGTH_MM:
        return False
    inside = hu[:, :, labelled[0] : labelled[-1] + 1]
    area = ((inside > -200) & (inside < 200)).sum(axis=(0, 1))
    third = len(area) // 3
    return bool(area[:third].mean() > WIDENING * max(1.0, float(area[-third:].mean())))


def _femur_lies_back(
    classes: NDArray[np.uint8], counts: NDArray[np.int64], hu: NDArray[np.int16], spacing: NDArray[np.float64]
) -> bool:
    """Tell whether the femur lies behind the middle of the lean tissue, in the slices of the thigh."""
    thigh = np.flatnonzero((counts[:, _FEMUR] > 0) & (counts[:, _HIP] == 0))
    if len(thigh) * spacing[2] < LEAST_LENGTH_MM / 2:
        return False
    y = np.arange(hu.shape[1]) * spacing[1]
    ahead = []
    for k in thigh:
        bone = (classes[:, :, k] == _FEMUR).sum(axis=0)
        lean = ((hu[:, :, k] > 0) & (hu[:, :, k] < 120)).sum(axis=0)
        if lean.sum():
            ahead.append(float(y @ bone / bone.sum() - y @ lean / lean.sum()))
    return bool(ahead) and float(np.median(ahead)) < -FEMUR_BACK_MM


def table_side(hu: NDArray[np.int16], spacing: NDArray[np.float64]) -> int:
    """Tell where the table lies: -1 at the back (by the file), +1 at the front, 0 if no table is seen.

    Seen from its side, a table begins at the same depth in every slice, while skin rises and falls along the body.
    """
    solid = hu > -500
    columns = np.flatnonzero(solid.any(axis=(1, 2)))
    if not len(columns):
        return 0
    margin = (columns[-1] - columns[0]) // 5
    middle = solid[columns[0] + margin : columns[-1] + 1 - margin]
    rough = []
    for seen in (middle, middle[:, ::-1]):
        depth = np.where(seen.any(axis=1), seen.argmax(axis=1) * spacing[1], np.nan)
        hit = np.isfinite(depth).mean(axis=1) > 0.9
        rough.append(float(np.median(np.nanstd(depth[hit], axis=1))) if hit.sum() >= 5 else np.inf)
    back, front = rough
    if back < TABLE_FLAT_MM and front > SKIN_ROUND_MM:
        return -1
    return 1 if front < TABLE_FLAT_MM and back > SKIN_ROUND_MM else 0
