"""An atlas from meshes: each structure voxelised, heads and parts joined, what the meshes lack modelled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, SIDES, Side
from vastus.errors import MissingInputError
from vastus.synthesis.atlas import FEMORAL_HEAD_RADIUS_MM, Atlas, Landmarks, Part, PersonName, part_from_mask
from vastus.synthesis.kernels import VOXEL_MM
from vastus.synthesis.meshes import read_mesh, voxelise
from vastus.synthesis.procedural import add_procedural
from vastus.synthesis.tissues import Tissue

_JOIN_HEIGHT_MM, _JOIN_RADIUS_MM = 48.0, 12.0
"""Over which height above the lower end of the long head the gap between the heads of the biceps is closed, and how far
from both a voxel may lie to be closed in."""

_CALF = frozenset(
    (
        "extensor_digitorum_longus",
        "flexor_digitorum_longus",
        "flexor_hallucis_longus",
        "gastrocnemius_lateral",
        "gastrocnemius_medial",
        "peroneus_longus",
        "plantaris",
        "popliteus",
        "soleus",
        "tibialis_anterior",
        "tibialis_posterior",
    )
)
_OTHER_BONES = frozenset(("patella", "tibia", "fibula", "sacrum", "coccyx"))


def _mesh_mask(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    vertices, triangles = read_mesh(path)
    origin = np.floor(vertices.min(axis=0) / VOXEL_MM - 1) * VOXEL_MM
    shape = np.ceil((vertices.max(axis=0) - origin) / VOXEL_MM + 2).astype(int)
    return voxelise(vertices, triangles, origin, VOXEL_MM, (shape[0], shape[1], shape[2])), origin


def _union(masks: list[tuple[NDArray[np.bool_], NDArray[np.float64]]]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    low = np.min([origin for _, origin in masks], axis=0)
    high = np.max([origin + VOXEL_MM * np.array(mask.shape) for mask, origin in masks], axis=0)
    result = np.zeros(np.round((high - low) / VOXEL_MM).astype(int), dtype=bool)
    for mask, origin in masks:
        start = np.round((origin - low) / VOXEL_MM).astype(int)
        result[tuple(slice(a, a + n) for a, n in zip(start, mask.shape, strict=True))] |= mask
    return result, low


Placed = tuple[NDArray[np.bool_], NDArray[np.float64]]


def _join_heads(long_head: Placed, short_head: Placed, others: list[Placed]) -> Placed:
    """Both heads of the biceps, with the gap between them closed above the lower end of the long head.

    There the short head joins the tendon of the long one. In the meshes they only touch, and would part as soon as the
    muscle shrinks. Voxels of ``others`` stay free.
    """
    from scipy.ndimage import distance_transform_edt

    both, origin = _union([long_head, short_head])
    heads = [_on_grid(head, origin, both.shape) for head in (long_head, short_head)]
    taken = np.zeros(both.shape, dtype=bool)
    for other in others:
        taken |= _on_grid(other, origin, both.shape)
    first = int(np.flatnonzero(heads[0].any(axis=(0, 1)))[0])
    for k in range(first, min(first + round(_JOIN_HEIGHT_MM / VOXEL_MM), both.shape[2])):
        if all(head[:, :, k].any() for head in heads):
            reach = sum(distance_transform_edt(~head[:, :, k]) * VOXEL_MM for head in heads)
            both[:, :, k] |= (reach < _JOIN_RADIUS_MM) & ~taken[:, :, k]
    return both, origin


def _on_grid(placed: Placed, origin_mm: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask on another grid of the same voxels, cut to it."""
    mask, own_origin = placed
    start = np.round((own_origin - origin_mm) / VOXEL_MM).astype(int)
    result = np.zeros(shape, dtype=bool)
    inner = tuple(slice(max(-a, 0), max(min(m - a, n), 0)) for a, n, m in zip(start, mask.shape, shape, strict=True))
    outer = tuple(slice(max(a, 0), max(min(a + n, m), 0)) for a, n, m in zip(start, mask.shape, shape, strict=True))
    result[outer] = mask[inner]
    return result


def _landmarks(folder: Path, person: PersonName) -> Landmarks:
    raw = json.loads((folder / "manifest.json").read_text())["landmarks"][person.value]
    head = {side: tuple(raw[side.value]["femoral_head_centre_mm"]) for side in SIDES}
    knee = {}
    for side in SIDES:
        vertices, _ = read_mesh(folder / "meshes" / person.value / side.value / "femur.ply")
        level = raw[side.value]["knee_joint_level_z_mm"]
        distal = vertices[vertices[:, 2] < level + 35]
        centre = (distal.min(axis=0) + distal.max(axis=0)) / 2
        knee[side] = (float(centre[0]), float(centre[1]), float(level))
    crest = float(np.mean([raw[side.value]["iliac_crest_z_mm"] for side in SIDES]))
    return Landmarks(head, knee, crest, float(np.mean([h[0] for h in head.values()])))


def _side_parts(folder: Path, side: Side, cut_z_mm: float) -> Iterator[Part]:
    masks = {path.stem: _mesh_mask(path) for path in sorted(folder.glob("*.ply"))}
    heads = masks.pop("biceps_femoris_long"), masks.pop("biceps_femoris_short")
    masks["biceps_femoris"] = _join_heads(*heads, list(masks.values()))
    joined = []
    for source, upper in (("psoas_major", "psoas"), ("iliacus", "iliacus")):
        mask, origin = masks.pop(source)
        cut = int(np.clip(round((cut_z_mm - origin[2]) / VOXEL_MM), 0, mask.shape[2]))
        below, above = mask.copy(), mask.copy()
        below[:, :, cut:] = False
        above[:, :, :cut] = False
        masks[upper] = above, origin
        joined.append((below, origin))
    masks["iliopsoas"] = _union(joined)
    for name, (mask, origin) in sorted(masks.items()):
        if name in BY_KEY:
            tissue = BY_KEY[name].class_id
        elif name in _OTHER_BONES:
            tissue = int(Tissue.OTHER_BONE)
        else:
            tissue = int(Tissue.CALF_MUSCLE if name in _CALF else Tissue.OTHER_MUSCLE)
        yield part_from_mask(name, tissue, side, mask, origin, procedural=False)


def build_atlas(folder: Path, person: PersonName) -> Atlas:
    """Voxelise the meshes of one person and add the procedural parts. Takes about a minute on one core.

    Args:
        folder: the mesh pack: ``meshes/<person>/<side>/<structure>.ply`` and ``manifest.json``.
        person: which of the two.
    """
    base = folder / "meshes" / person.value
    if not base.is_dir():
        raise MissingInputError(
            "The atlas meshes are not there.", path=base, remedy="See the docs, 'Synthetic anatomy', for the download."
        )
    landmarks = _landmarks(folder, person)
    cut = float(np.mean([h[2] for h in landmarks.head_mm.values()])) + FEMORAL_HEAD_RADIUS_MM
    parts = [part for side in SIDES for part in _side_parts(base / side.value, side, cut)]
    for path in sorted((base / "midline").glob("*.ply")):
        if path.stem != "skin":
            mask, origin = _mesh_mask(path)
            parts.append(
                part_from_mask(path.stem, int(Tissue.OTHER_BONE), Side.UNKNOWN, mask, origin, procedural=False)
            )
    skin_mask, skin_origin = _mesh_mask(base / "midline" / "skin.ply")
    return add_procedural(person, parts, landmarks, skin_mask, skin_origin)
