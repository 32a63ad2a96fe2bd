"""Loops loaded ahead: a drawn body is cleaned and measured, so that a real scan finds every loop loaded.

To load a kept loop takes some hundredths of a second, to compile it up to two seconds. Both are done while the network
runs. Where nothing is kept yet (the first run of an installation), a helper process compiles one half of the loops
while this process compiles the other half; each then finds the other's on disk.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, LABELS, STRUCTURES, Side
from vastus.garbage import no_collecting
from vastus.processors import usable_processors
from vastus.volume import Volume

_SPACING_MM = (6.0, 6.0, 6.0)
_SHAPE = (60, 36, 40)
_FAT_HU, _MUSCLE_HU, _BONE_HU, _AIR_HU = -100, 55, 900, -1000
_LEG_MM, _LEAN_MM, _BONE_MM = 75.0, 60.0, 15.0
_HIP_SLICES = 8
_RIM = 4
"""Voxels that the box of a body is smaller than its scan, at each side, as in a real scan."""


def begin() -> subprocess.Popen[bytes] | None:
    """Start the helper process where loops must be compiled and kept, and a second processor is there for it.

    Returns:
        The process, for ``load_loops``; None where none is needed.
    """
    from vastus.inference import kernels
    from vastus.loops import is_kept

    if is_kept(kernels.restore) or usable_processors() < 2:
        return None
    silent = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-m", __name__], stdin=silent, stdout=silent, stderr=silent)


@cache
def load_loops(helper: subprocess.Popen[bytes] | None = None, *, shows_septa: bool = True) -> None:
    """Load every loop that comes after the network; once a process.

    Args:
        helper: of ``begin``; what it compiles is loaded when it is done.
        shows_septa: the scan is fine enough to follow septa. In a coarse one, these loops are not needed.
    """
    from vastus.morphometry import measure_scan

    scan, labels = drawn_legs()
    measure_scan(scan, labels, "rehearsal")
    if shows_septa:
        rehearse_septa()
    if helper is not None:
        helper.wait()
    rehearse_cleaning()


def rehearse_cleaning(*, fills_scan: bool = False) -> None:
    """Clean a drawn body on the grid of the network and bring it back to that of its scan.

    Args:
        fills_scan: the body reaches all faces of its scan, as in some scans; else the scan has a rim of air.
    """
    from vastus.inference.finish import channel_of_label, label_scores, on_scan_grid
    from vastus.inference.stitch import uniform_score_map
    from vastus.preprocessing import Preprocessed, PreprocessingSettings

    scan, labels = drawn_legs()
    rim = 0 if fills_scan else _RIM
    inside = tuple(slice(rim, n - rim) for n in _SHAPE)
    channels = labels.array[inside] % Side.RIGHT.offset
    channels[0, 0, channels.shape[2] // 2] = 1  # an island in the air
    femur, hip = BY_KEY["femur"].class_id, BY_KEY["hip_bone"].class_id
    channels[:, :, -_HIP_SLICES:][channels[:, :, -_HIP_SLICES:] == femur] = hip
    affine = labels.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.full(3, float(rim))
    start, stop = (rim, rim, rim), (_SHAPE[0] - rim, _SHAPE[1] - rim, _SHAPE[2] - rim)
    image = np.asfortranarray(np.zeros(channels.shape, np.float32))
    seen = Preprocessed(image, affine, start, stop, channels > 0)
    scores = uniform_score_map(channels)
    classes = ("background", *(structure.key for structure in STRUCTURES))
    labelled = label_scores(scores, seen, classes, PreprocessingSettings())
    on_scan_grid(labelled.labels, scores, seen, channel_of_label(classes), scan)


def rehearse_septa() -> None:
    """Let a border between two muscles follow what lies beside it; the drawn body is too coarse for that."""
    from vastus.inference.septa import follow_septa

    muscles = [label.value for label in LABELS if label.structure.is_muscle]
    values = np.zeros((24, 24, 1), np.uint8, order="F")
    values[:, :12], values[:, 12:] = muscles[0], muscles[1]
    is_muscle = np.zeros(256, np.bool_)
    is_muscle[muscles] = True
    follow_septa(values, np.full(values.shape, _MUSCLE_HU, np.int16), (1.0, 1.0, 1.0), is_muscle)


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
    truth[:, :, -2:] = 0  # a femur that is cut has no trochanters to measure
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


if __name__ == "__main__":
    with no_collecting():
        rehearse_cleaning()
