"""What lies below the pelvis is no muscle of the trunk.

A network that has seen little disease calls a tumour or a swollen muscle of the thigh now and then abdominal wall. No
larger context than its window tells it otherwise, but the hip bone does.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BONES, BY_KEY, CLASS_COUNT, MUSCLES, STRUCTURES, Region
from vastus.inference import kernels
from vastus.inference.islands import Parts
from vastus.label_arrays import classes_of
from vastus.volume import Affine

_ABOVE: Final = tuple(m.class_id for m in MUSCLES if m.region in (Region.PELVIS, Region.TRUNK))
"""Muscles that end above the lower end of the ischium, the lowest point of the hip bone."""

MARGIN_MM: Final = 20.0
LEAST_HIP_MM3: Final = 1000.0  # a smaller part is no hip bone to go by
LEAST_FEMUR_MM3: Final = 20_000.0
LEAST_BONES_MM3: Final = 1000.0
LEAST_TOLD_MM3: Final = 1000.0
NAMED_SHARE: Final = 0.05


def below_pelvis(parts: Parts, affine: Affine, voxel_mm3: float) -> NDArray[np.bool_]:
    """Find the parts of pelvic muscles that lie wholly below the hip bones, shape (n + 1,).

    Where no hip bone is seen, a scan with a femur larger than all of these muscles shows a thigh: they all lie below.

    Args:
        parts: of a label map (class ids or label values) whose third axis runs upwards.
        affine: of its grid.
        voxel_mm3: volume of a voxel.
    """
    class_id, volume_mm3 = classes_of(parts.value), parts.size * voxel_mm3
    above = np.isin(class_id, _ABOVE)
    if not above.any():
        return above
    hips = (class_id == BY_KEY["hip_bone"].class_id) & (volume_mm3 >= LEAST_HIP_MM3)
    if not hips.any():
        femur_mm3 = volume_mm3[class_id == BY_KEY["femur"].class_id].sum()
        thigh = femur_mm3 >= LEAST_FEMUR_MM3 and femur_mm3 > volume_mm3[above].sum()
        return above if thigh else np.zeros_like(above)
    first, last = kernels.slices_of(parts.index, len(parts.size))
    lowest = first[hips].min() - MARGIN_MM / float(np.linalg.norm(affine[:3, 2]))
    below: NDArray[np.bool_] = above & (last < lowest)
    return below


def said_without_bones(parts: Parts, voxel_mm3: float) -> tuple[str, ...]:
    """Warn if muscles are labelled without any femur or hip bone: perhaps a calf, an arm or a chest."""
    volume_mm3 = parts.size * voxel_mm3
    bones = np.isin(classes_of(parts.value), [bone.class_id for bone in BONES])
    if volume_mm3[bones].sum() >= LEAST_BONES_MM3 or volume_mm3.sum() < LEAST_TOLD_MM3:
        return ()
    return ("Neither a femur nor a hip bone was found. Only hips and thighs are labelled: trust nothing here.",)


def said_below(parts: Parts, below: NDArray[np.bool_], voxel_mm3: float) -> tuple[str, ...]:
    """Warn if such parts are large: the network was unsure there, perhaps because of a tumour.

    Args:
        parts: connected parts of a label map.
        below: which parts lie below the pelvis, shape (n + 1,).
        voxel_mm3: volume of a voxel.

    Returns:
        The warning, or nothing.
    """
    removed_mm3 = float(parts.size[below].sum()) * voxel_mm3
    if removed_mm3 < LEAST_TOLD_MM3:
        return ()
    by_class = np.bincount(classes_of(parts.value[below]), parts.size[below], minlength=CLASS_COUNT)
    names = ", ".join(s.english.lower() for s in STRUCTURES if by_class[s.class_id] >= NAMED_SHARE * by_class.sum())
    return (f"Below the pelvis {removed_mm3 / 1000:.0f} mL were taken for {names}: left out. Look at the page there.",)
