"""What a first run would compile or lay down, done ahead: after an installation, or into a container image."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import LABELS, Side
from vastus.inference.predictor import Predictor
from vastus.volume import Volume

_SPACING_MM = (3.0, 3.0, 6.0)
_SHAPE = (120, 70, 70)
_FAT_HU, _MUSCLE_HU, _BONE_HU, _AIR_HU = -100, 55, 900, -1000
_LEG_MM, _LEAN_MM, _BONE_MM = 75.0, 60.0, 15.0


def warm(predictor: Predictor) -> None:
    """Label and measure a drawn body once, so that all loops of ``segment`` are compiled and kept.

    Args:
        predictor: as later runs will load it: the compiled network is kept, too.
    """
    from vastus.morphometry import measure_scan
    from vastus.pipeline import ScanRequest, segment_to_folder

    scan, labels = drawn_legs()
    with tempfile.TemporaryDirectory(prefix="vastus-warm-") as name:
        path = Path(name) / "scan.nii.gz"
        _write_scan(scan, path)
        segment_to_folder(predictor, ScanRequest(path, Path(name) / "out"))
    # The network finds little in such a drawing: what is measured only where there are legs is measured here.
    measure_scan(scan, labels, "warm")


def drawn_legs() -> tuple[Volume, Volume]:
    """Two thighs of cylinders, a bone in each and all labels of its side around it: a CT in HU, and its labels."""
    affine = np.diag([*_SPACING_MM, 1.0])
    x, y = (np.arange(n) * s for n, s in zip(_SHAPE[:2], _SPACING_MM[:2], strict=True))
    hu = np.full(_SHAPE[:2], _AIR_HU, np.int16)
    values = np.zeros(_SHAPE[:2], np.uint8)
    for side, share in ((Side.RIGHT, 0.75), (Side.LEFT, 0.25)):  # the right leg lies at high x: x rises to the right
        across, up = np.meshgrid(x - share * x[-1], y - 0.5 * y[-1], indexing="ij")
        _draw_leg(hu, values, side, np.hypot(across, up), np.arctan2(up, across))
    depth = _SHAPE[2]
    ct, truth = (np.asfortranarray(np.repeat(plane[:, :, None], depth, axis=2)) for plane in (hu, values))
    return Volume(ct, affine), Volume(truth, affine)


def _draw_leg(
    hu: NDArray[np.int16],
    values: NDArray[np.uint8],
    side: Side,
    distance_mm: NDArray[np.float64],
    angle: NDArray[np.float64],
) -> None:
    own = [label for label in LABELS if label.side is side]
    muscles = [label.value for label in own if label.structure.is_muscle]
    femur = next(label.value for label in own if label.structure.key == "femur")
    sector = ((angle + np.pi) / (2 * np.pi) * len(muscles)).astype(np.int64) % len(muscles)
    hu[distance_mm < _LEG_MM] = _FAT_HU
    lean = distance_mm < _LEAN_MM
    hu[lean] = _MUSCLE_HU
    values[lean] = np.array(muscles, np.uint8)[sector[lean]]
    bone = distance_mm < _BONE_MM
    hu[bone] = _BONE_HU
    values[bone] = femur


def _write_scan(scan: Volume, path: Path) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Image(scan.array, scan.affine), path)
