"""Are these the densities of a CT of a body? MR, lost rescaling, phantoms, and CTs that are noisy or coarse.

Judged from HU alone, and for noise from the voxels that were labelled muscle.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import MUSCLES
from vastus.inference.remarks import Remark
from vastus.label_arrays import classes_of
from vastus.volume import Volume

BODY_HU: Final = -500
DENSE_HU: Final = 300
DENSE_SHARE: Final = (0.0004, 0.2)
"""Of the body: bone. Below it there is none (a phantom of soft plastic); above, most of it would be bone (an MR)."""
FAT_HU: Final = (-150, -50)
LEAST_FAT: Final = 0.06
"""Of the body: 37 real scans have 0.12 to 0.56 of it; in an MR, whatever its values, fat and muscle are not where they
are in a CT."""
UNTHINNED_HU: Final = -30
"""Where nothing is thinner than this there is neither air nor fat: the values were never turned into HU."""
SAME_MM: Final = 40.0
SAME_HU: Final = 6.0
"""Mean difference of slices this far apart, after smoothing: bodies have 28 HU and more, cast cylinders 2 to 3."""
NOISY_HU: Final = 35.0
"""SD from voxel to voxel within muscle; 34 scans of a PET/CT have 3 to 23."""
COARSE_MM: Final = 3.5
NOISE_SLICES: Final = 12
LEAST_VOXELS: Final = 300

_FEW = "No number of this scan is right if so."
NO_CT: Final = (
    "The densities are not those of a CT of a body: {what}. It may be an MR with values that look like those of a CT,"
    f" or a phantom. Vastus is for CT only; give the CT. {_FEW}"
)
NO_HU: Final = (
    "The densities are not those of a CT of a body: nothing is as thin as air or fat. The values may never have been"
    " turned into HU (rescale slope and intercept lost), or it is an MR. Export the CT again from its DICOM files."
    f" {_FEW}"
)
PHANTOM: Final = (
    "The scan is the same at every height: slices 4 cm apart differ by {hu:.0f} HU, those of a body by 30 and more. It"
    " is a phantom, not a body. Use nothing of it."
)
NOISY: Final = (
    "The scan is noisy: {hu:.0f} HU from voxel to voxel within muscle, usual scans have up to 25. It may be a CT that"
    " was made only to correct a PET. Slim muscles may be wrong, and fat within muscle is not to be used. If the person"
    " has a diagnostic CT, take that."
)
COARSE: Final = (
    "The voxels are large: {mm:.1f} mm across the body. It may be a CT that was made only to correct a PET. Slim"
    " muscles may be wrong, and so may be densities at borders. If there is a finer series, take that."
)


def odd_values(hu: NDArray[Any], spacing_mm: NDArray[np.float64]) -> Remark | None:
    """Say why these are not the densities of a body's CT; None if they may be.

    Args:
        hu: shape (x, y, slices), on a grid of some millimetres.
        spacing_mm: of the grid.
    """
    body = hu[hu > BODY_HU]
    if hu.min() > UNTHINNED_HU:
        return Remark(NO_HU, stops=True)
    dense = float((body > DENSE_HU).mean())
    fat = float(((body > FAT_HU[0]) & (body < FAT_HU[1])).mean())
    if dense < DENSE_SHARE[0]:
        return Remark(NO_CT.format(what="nothing in it is as dense as bone"), stops=True)
    if dense > DENSE_SHARE[1]:
        return Remark(NO_CT.format(what=f"{dense:.0%} of the body would be as dense as bone"), stops=True)
    if fat < LEAST_FAT:
        return Remark(NO_CT.format(what=f"only {fat:.0%} of the body would be as thin as fat"), stops=True)
    change = change_along(hu, spacing_mm)
    return Remark(PHANTOM.format(hu=change), stops=True) if change < SAME_HU else None


def change_along(hu: NDArray[Any], spacing_mm: NDArray[np.float64]) -> float:
    """Compute the mean difference within the body of smoothed slices 4 cm apart, HU; infinite in shorter scans."""
    from scipy import ndimage

    apart = max(1, round(SAME_MM / float(spacing_mm[2])))
    if hu.shape[2] <= apart + 1:
        return float("inf")
    smooth = ndimage.uniform_filter(np.clip(hu, -200, 300).astype(np.float32), 3)
    body = hu > BODY_HU
    either = body[:, :, apart:] | body[:, :, :-apart]
    difference = np.abs(smooth[:, :, apart:] - smooth[:, :, :-apart])
    held = either.sum(axis=(0, 1))
    means = (difference * either).sum(axis=(0, 1))[held > 0] / held[held > 0]
    return float(np.median(means)) if len(means) else float("inf")


def said_of_noise(labels: Volume, ct: Volume) -> tuple[Remark, ...]:
    """Remark on noise within muscle, and on large voxels.

    Args:
        labels: label values or class ids, in RAS order.
        ct: HU on the same grid.
    """
    told = []
    noise = muscle_noise(labels.array, ct.array)
    if noise >= NOISY_HU:
        told.append(Remark(NOISY.format(hu=noise)))
    across = max(ct.spacing_mm[:2])
    if across >= COARSE_MM:
        told.append(Remark(COARSE.format(mm=across)))
    return tuple(told)


def muscle_noise(values: NDArray[Any], hu: NDArray[Any]) -> float:
    """Estimate the SD of the noise from voxel to voxel within muscle, HU; 0 where too little muscle is seen.

    A second difference along both axes of a slice lets edges and slopes out. It has six times the SD of a voxel.
    """
    is_muscle = np.zeros(256, np.bool_)
    is_muscle[[m.class_id for m in MUSCLES]] = True
    held = np.flatnonzero(values.any(axis=(0, 1)))
    found = []
    for k in held[:: max(1, len(held) // NOISE_SLICES)]:
        plane = np.asarray(values[:, :, k])
        inside = _eroded(is_muscle[classes_of(plane)])
        a = np.asarray(hu[:, :, k], np.float32)
        b = a[:-2] - 2 * a[1:-1] + a[2:]
        c = b[:, :-2] - 2 * b[:, 1:-1] + b[:, 2:]
        found.append(np.abs(c[inside]))
    sizes = np.concatenate(found) if found else np.zeros(0)
    return float(np.median(sizes)) / 0.6745 / 6.0 if len(sizes) >= LEAST_VOXELS else 0.0


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep pixels whose eight neighbours are set, too; shape less by two along both axes."""
    rows = mask[:-2] & mask[1:-1] & mask[2:]
    both: NDArray[np.bool_] = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return both
