"""Thighs laid straight: what was scanned with bent hips, in the pose of another person.

Patients lie on their belly or with a cushion under the knees. What is modelled (vessels, knee tendons), and the poses
that are drawn for new bodies, start from legs that lie along the body. So the thighs are turned about the hips first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from vastus.anatomy import SIDES, Side
from vastus.synthesis.atlas import Anatomy, Landmarks, Part, part_from_mask
from vastus.synthesis.deformation import Deformation, Girth, NodeMap, Pose, backward_map, person_origin
from vastus.synthesis.growth import Grid
from vastus.synthesis.kernels import NODE_MM, VOXEL_MM
from vastus.synthesis.outline import sample_nodes

_AS_GOOD_AS_STRAIGHT_DEG = 3.0
_BELOW_MM, _BESIDE_MM, _ABOVE_MM = 330.0, 400.0, 500.0
"""The box of the map: below the knee, beside the midline, above the hip joint."""

_TURNED_ABOVE_HIP_MM = 30.0
"""Above this height over the hip joint nothing is turned."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Marked:
    """Landmarks alone."""

    landmarks: Landmarks
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Straightening:
    """How a person gets the pose of another.

    Attributes:
        node_map: from the new pose back to the old one.
        landmarks: in the new pose.
    """

    node_map: NodeMap
    landmarks: Landmarks

    def part(self, part: Part) -> Part:
        """A part in the new pose."""
        if part.origin_mm[2] > max(head[2] for head in self.landmarks.head_mm.values()) + _TURNED_ABOVE_HIP_MM:
            return part
        end = part.origin_mm + VOXEL_MM * np.array(part.distance.shape)
        grid = self._grid_of(part.origin_mm, end, VOXEL_MM)
        at = (self._sources(grid) - part.origin_mm.astype(np.float32)[:, None, None, None]) / np.float32(VOXEL_MM)
        distance = map_coordinates(part.distance, at, output=np.float32, order=1, mode="constant", cval=127.0)
        return part_from_mask(
            part.name, part.tissue, part.side, distance < 0, grid.origin_mm, procedural=part.procedural
        )

    def mask(self, mask: Mask, origin_mm: NDArray[np.float64], voxel_mm: float) -> tuple[Mask, NDArray[np.float64]]:
        """A mask of some voxel size in the new pose; it ends at the same height."""
        grid = self._grid_of(origin_mm, origin_mm + voxel_mm * np.array(mask.shape), voxel_mm)
        top = round((origin_mm[2] - grid.origin_mm[2]) / voxel_mm) + mask.shape[2]
        grid = Grid(grid.origin_mm, grid.spacing_mm, (*grid.shape[:2], min(top, grid.shape[2])))
        at = (self._sources(grid) - origin_mm.astype(np.float32)[:, None, None, None]) / np.float32(voxel_mm)
        inside = map_coordinates(mask.astype(np.float32), at, order=1, mode="constant", cval=0.0)
        return inside > 0.5, grid.origin_mm

    def _sources(self, grid: Grid) -> NDArray[np.float32]:
        source = self.node_map.source_mm
        return np.stack([sample_nodes(source[..., axis], self.node_map.origin_mm, grid) for axis in range(3)])

    def _grid_of(self, low: NDArray[np.float64], high: NDArray[np.float64], voxel_mm: float) -> Grid:
        """The voxels that see a box of the old pose."""
        source = self.node_map.source_mm
        near = ((source > low - 2 * NODE_MM) & (source < high + 2 * NODE_MM)).all(axis=-1)
        ends = np.argwhere(near)
        first = self.node_map.origin_mm + NODE_MM * ends.min(axis=0)
        last = self.node_map.origin_mm + NODE_MM * ends.max(axis=0)
        first = np.floor(first / voxel_mm) * voxel_mm
        n_x, n_y, n_z = (int(n) for n in np.ceil((last - first) / voxel_mm) + 1)
        return Grid(first, (voxel_mm,) * 3, (n_x, n_y, n_z))


def straightening(marks: Landmarks, like: Landmarks) -> Straightening | None:
    """Turn the thighs of one person into the directions of another's; None where they agree.

    Args:
        marks: of the person to turn.
        like: of the other person.
    """
    poses, knees = {}, {}
    for side in SIDES:
        have, wanted = (np.array(m.knee_mm[side]) - np.array(m.head_mm[side]) for m in (marks, like))
        outwards = 1.0 if side is Side.RIGHT else -1.0
        (forward, aside), (their_forward, their_aside) = (_angles(v, outwards) for v in (have, wanted))
        # The shank was left hanging down: the knee turns back as far as the hip.
        turn = their_forward - forward
        poses[side] = Pose(turn, their_aside - aside, knee_flexion_deg=turn)
        knee = np.array(marks.head_mm[side]) + np.linalg.norm(have) * wanted / np.linalg.norm(wanted)
        knees[side] = (float(knee[0]), float(knee[1]), float(knee[2]))
    turns = [abs(a) for pose in poses.values() for a in (pose.hip_flexion_deg, pose.hip_abduction_deg)]
    if max(turns) < _AS_GOOD_AS_STRAIGHT_DEG:
        return None
    still = Deformation((1.0, 1.0, 1.0), poses, dict.fromkeys(SIDES, Girth()), (), 0)
    lowest = min(k[2] for k in (*knees.values(), *marks.knee_mm.values()))
    head_z = float(np.mean([h[2] for h in marks.head_mm.values()]))
    origin = person_origin(_Marked(marks))
    low = np.array([-_BESIDE_MM, -_BESIDE_MM, lowest - origin[2] - _BELOW_MM])
    high = np.array([_BESIDE_MM, _BESIDE_MM, head_z - origin[2] + _ABOVE_MM])
    person: Anatomy = _Marked(marks)
    found = backward_map(person, still, low, high)
    # The map of a subject starts at that subject's origin; here both poses share one frame.
    found = replace(found, origin_mm=found.origin_mm + origin)
    return Straightening(found, replace(marks, knee_mm=knees))


def _angles(thigh: NDArray[np.float64], outwards: float) -> tuple[float, float]:
    """Forward and outwards of a thigh, degrees."""
    forward = np.degrees(np.arctan2(thigh[1], -thigh[2]))
    aside = np.degrees(np.arctan2(outwards * thigh[0], -thigh[2]))
    return float(forward), float(aside)
