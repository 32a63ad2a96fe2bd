"""``/api/cases/{id}/overview``: a large scan and its labels on a coarser grid, to look at before the whole."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Depends, Response
from numpy.typing import NDArray

from vastus.annotation.http.access import CurrentProject, user_of
from vastus.io.nifti import GZIP_LEVEL
from vastus.volume import Volume

router = APIRouter(prefix="/api/cases/{case_id}", dependencies=[Depends(user_of)], tags=["Overview"])

MOST_VOXELS: Final = 8_000_000
"""What a browser without a graphics card shows within seconds: half a second for a million, by one core."""
_FACTORS_HEADER: Final = "x-vastus-factors"
_GZIP_WRAPPER: Final = 31


@router.get("/overview.nii", response_class=Response)
def overview(case_id: str, project: CurrentProject) -> Response:
    """The scan in HU; each voxel is the mean of a block. ``x-vastus-factors`` tells the size of the block."""
    scan = project.image(case_id)
    factors = factors_for(scan)
    return _nifti(coarser_scan(scan, factors), factors)


@router.get("/versions/{version}/overview.nii", response_class=Response)
def overview_of_labels(case_id: str, version: int, project: CurrentProject) -> Response:
    """A version of the labels on the same grid; each voxel has the label at the middle of its block."""
    project.cases.get(case_id)
    labels = project.label_map(project.store.version(case_id, version))
    factors = factors_for(labels)
    return _nifti(coarser_labels(labels, factors), factors)


def factors_for(volume: Volume, most_voxels: int = MOST_VOXELS) -> tuple[int, int, int]:
    """How many voxels along each axis become one, so that at most ``most_voxels`` remain, near to cubes."""
    factors = [1, 1, 1]
    while np.prod([n // f for n, f in zip(volume.shape, factors, strict=True)]) > most_voxels:
        free = [a for a in range(3) if volume.shape[a] >= 2 * (factors[a] + 1)]
        if not free:
            break
        factors[min(free, key=lambda a: volume.spacing_mm[a] * factors[a])] += 1
    return factors[0], factors[1], factors[2]


def coarser_scan(scan: Volume, factors: tuple[int, int, int]) -> Volume:
    """Means of whole blocks, rounded; what is left over at the far ends is cut off."""
    i, j, k = (n // f for n, f in zip(scan.shape, factors, strict=True))
    a, b, c = factors
    whole = scan.array[: i * a, : j * b, : k * c]
    means = np.empty((i, j, k), np.int16, order="F")
    for z in range(k):  # slab by slab: a whole scan as float64 would not fit beside it
        slab = whole[:, :, z * c : (z + 1) * c].reshape((a, i, b, j, c), order="F")
        means[:, :, z] = np.rint(slab.mean(axis=(0, 2, 4), dtype=np.float32)).clip(-32768, 32767).astype(np.int16)
    return Volume(means, _affine(scan, factors))


def coarser_labels(labels: Volume, factors: tuple[int, int, int]) -> Volume:
    """The label at the middle of each block, on the grid of ``coarser_scan``."""
    picked = tuple(slice(f // 2, (n // f) * f, f) for n, f in zip(labels.shape, factors, strict=True))
    return Volume(np.asfortranarray(labels.array[picked]), _affine(labels, factors))


def _affine(volume: Volume, factors: tuple[int, int, int]) -> NDArray[np.float64]:
    """Voxel to mm of the blocks: their middles."""
    block = np.diag([*map(float, factors), 1.0])
    block[:3, 3] = [(f - 1) / 2 for f in factors]
    return np.asarray(volume.affine @ block, np.float64)


def _nifti(volume: Volume, factors: tuple[int, int, int]) -> Response:
    """A NIfTI that the browser itself unpacks."""
    import nibabel
    from isal import isal_zlib

    image = nibabel.Nifti1Image(np.asfortranarray(volume.array), volume.affine)
    image.header.set_xyzt_units("mm")
    deflate: Any = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WRAPPER)
    packed = deflate.compress(image.to_bytes()) + deflate.flush()
    headers = {"content-encoding": "gzip", _FACTORS_HEADER: ",".join(map(str, factors))}
    return Response(packed, media_type="application/octet-stream", headers=headers)
