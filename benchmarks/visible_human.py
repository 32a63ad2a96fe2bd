"""Score a network on the one real CT whose anatomy is known: the Visible Human Female's own.

``python benchmarks/visible_human.py --ct ../shared/ct --atlas ../shared/atlas [--weights BUNDLE]``

The atlas meshes of the woman come with a rigid transform to her CT, fitted on the lower legs: about 1.5 mm there and
1 cm at the pelvis. At each piece of CT the meshes are therefore moved (a translation only) to where the bones agree
best, and what is left of the misfit of the bones is printed: no network can be judged more finely than that. Where the
skeleton was fitted to soft tissue (``provenance: fitted``) its Dice says little about the network.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, STRUCTURES
from vastus.inference.bundle import default_bundle, load_bundle
from vastus.inference.predictor import Predictor
from vastus.io.scans import read_scan
from vastus.synthesis.meshes import read_mesh, voxelise
from vastus.volume import Volume, to_ras

PIECES = ("vhf_knee.nii.gz", "vhf_pelvis_dicom")
BONE_HU = 180
_SEARCH_MM = 16
_MARGIN = 24
_OTHER_BONES = ("tibia", "fibula", "patella", "sacrum")


@dataclass(frozen=True)
class Score:
    """Dice of one structure (both sides together) in one piece of CT."""

    piece: str
    key: str
    mesh_ml: float
    network_ml: float
    dice: float


def mesh_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(structure key or name of a bone without class, mesh) of every mesh that is compared."""
    special = {"biceps_femoris_long": "biceps_femoris", "biceps_femoris_short": "biceps_femoris"}
    for path in sorted(folder.rglob("*.ply")):
        name = special.get(path.stem, path.stem)
        if name in BY_KEY or name in _OTHER_BONES:
            yield name, path


def to_ct(vertices_mm: NDArray[np.float64], manifest: Path) -> NDArray[np.float64]:
    """Vertices of the pack's frame in the CT's RAS millimetres."""
    matrix = np.array(json.loads(manifest.read_text())["vhf_pack_to_ct_lps"])
    lps = vertices_mm @ matrix[:3, :3].T + matrix[:3, 3]
    return lps * np.array([-1.0, -1.0, 1.0])


def wide_masks(ct: Volume, atlas: Path) -> dict[str, NDArray[np.bool_]]:
    """Each structure's voxels on the CT's grid with ``_MARGIN`` voxels more on every side."""
    shape = tuple(n + 2 * _MARGIN for n in ct.shape)
    step = ct.spacing_mm[0]
    origin = ct.affine[:3, 3] - _MARGIN * step
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, path in mesh_files(atlas / "meshes" / "vhf"):
        vertices, triangles = read_mesh(path)
        moved = to_ct(vertices, atlas / "manifest.json")
        low = np.minimum(np.floor((moved.min(axis=0) - origin) / step).astype(int) - 2, 0)
        high = np.maximum(np.ceil((moved.max(axis=0) - origin) / step).astype(int) + 3, shape)
        size = tuple(int(n) for n in high - low)
        inside = voxelise(moved, triangles, origin + low * step, step, (size[0], size[1], size[2]))
        part = inside[tuple(slice(-a, -a + n) for a, n in zip(low, shape, strict=True))]
        if part.any():
            masks[name] = masks[name] | part if name in masks else part
    return masks


def shifted(mask: NDArray[np.bool_], shift: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The CT's part of a wide mask after a move by whole voxels."""
    return mask[tuple(slice(_MARGIN - s, n - _MARGIN - s) for s, n in zip(shift, mask.shape, strict=True))]


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice of two masks, NaN if both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else float("nan")


def best_shift(ct: Volume, masks: dict[str, NDArray[np.bool_]]) -> tuple[tuple[int, int, int], float]:
    """Move of the meshes (voxels) at which their bones agree best with the CT's, coarse then fine; and that Dice."""
    from scipy.ndimage import binary_closing, binary_fill_holes

    dense = binary_closing(ct.array > BONE_HU, np.ones((5, 5, 1)))
    bone = np.stack([binary_fill_holes(dense[:, :, k]) for k in range(dense.shape[2])], axis=2)
    solid = np.logical_or.reduce([m for name, m in masks.items() if name in (*_OTHER_BONES, "femur", "hip_bone")])
    best, at = -1.0, (0, 0, 0)
    for step in (4, 2, 1):
        reach = range(-_SEARCH_MM, _SEARCH_MM + 1, step) if step == 4 else range(-step, step + 1, step)
        centre = at
        for move in product(reach, repeat=3):
            shift = (centre[0] + move[0], centre[1] + move[1], centre[2] + move[2])
            if max(map(abs, shift)) <= _MARGIN:
                value = dice(bone[::2, ::2], shifted(solid, shift)[::2, ::2])
                if value > best:
                    best, at = value, shift
    return at, best


def score(piece: str, ct: Volume, labels: Volume, atlas: Path) -> list[Score]:
    """Dice of every class that the meshes have in this piece (at least 2 mL)."""
    masks = wide_masks(ct, atlas)
    shift, fit = best_shift(ct, masks)
    print(f"{piece}: meshes moved by {shift} voxels, bones agree with the CT's with Dice {fit:.2f}")
    classes = labels.array % 100
    rows = []
    for structure in STRUCTURES:
        if structure.key not in masks:
            continue
        mesh = shifted(masks[structure.key], shift)
        network = classes == structure.class_id
        volumes = [np.count_nonzero(m) * ct.voxel_volume_mm3 / 1000 for m in (mesh, network)]
        if volumes[0] >= 2.0:
            rows.append(Score(piece, structure.key, volumes[0], volumes[1], dice(mesh, network)))
    return rows


def main() -> None:
    """Print one line a structure and write them as CSV on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", type=Path, required=True, help="folder with vhf_knee.nii.gz and vhf_pelvis_dicom")
    parser.add_argument("--atlas", type=Path, required=True, help="folder with meshes/ and manifest.json")
    parser.add_argument("--weights", type=Path, help="bundle; default: the shipped one")
    parser.add_argument("--csv", type=Path, help="write the rows here")
    options = parser.parse_args()
    predictor = Predictor(load_bundle(options.weights) if options.weights else default_bundle())
    rows = []
    for piece in PIECES:
        scan = read_scan(options.ct / piece).volume
        ct, labels = to_ras(scan), to_ras(predictor.segment(scan).labels)
        rows += score(piece, ct, labels, options.atlas)
    for row in rows:
        volumes = f"mesh {row.mesh_ml:7.1f} mL  network {row.network_ml:7.1f} mL"
        print(f"{row.piece:18s} {row.key:24s} {volumes}  Dice {row.dice:.2f}")
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["piece", "structure", "mesh_ml", "network_ml", "dice"])
            writer.writerows([r.piece, r.key, f"{r.mesh_ml:.2f}", f"{r.network_ml:.2f}", f"{r.dice:.3f}"] for r in rows)


if __name__ == "__main__":
    sys.exit(main())
