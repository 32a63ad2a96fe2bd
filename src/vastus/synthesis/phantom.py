"""A small analytic body: two legs and a pelvis with all structures as ellipsoids, for tests and trials.

It needs no data. The layout is a caricature of the anatomy: what lies in front is in front, what is medial is medial,
so that sides, levels and neighbours can be tested.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vastus.anatomy import SIDES, STRUCTURES, Depth, Lie, Side, Structure
from vastus.volume import Volume

# Semi-axes and centre of each structure on the right side in mm: (x, y, z, rx, ry, rz); x from the midline outwards,
# y to the front, z from the knee upwards (knee joint 0, femoral head about 400, iliac crest about 540).
_Ellipsoid = tuple[float, float, float, float, float, float]
_ELLIPSOIDS: dict[str, _Ellipsoid] = {
    "sartorius": (70, 62, 240, 9, 8, 190),
    "rectus_femoris": (95, 60, 240, 16, 12, 150),
    "vastus_lateralis": (138, 25, 200, 15, 30, 160),
    "vastus_intermedius": (105, 38, 190, 22, 9, 140),
    "vastus_medialis": (72, 32, 140, 14, 18, 120),
    "adductor_magnus": (62, -25, 250, 18, 22, 120),
    "adductor_brevis": (58, 10, 335, 13, 9, 40),
    "adductor_longus": (50, 26, 300, 12, 12, 80),
    "gracilis": (34, 0, 230, 7, 14, 180),
    "pectineus": (62, 32, 385, 14, 9, 26),
    "semitendinosus": (85, -66, 200, 11, 9, 150),
    "semimembranosus": (68, -58, 140, 13, 11, 110),
    "biceps_femoris": (115, -52, 170, 14, 13, 140),
    "gluteus_maximus": (95, -78, 420, 45, 22, 80),
    "gluteus_medius": (130, -12, 480, 16, 28, 50),
    "gluteus_minimus": (112, 4, 465, 10, 18, 32),
    "tensor_fasciae_latae": (140, 40, 430, 10, 14, 60),
    "piriformis": (65, -48, 455, 30, 9, 12),
    "obturator_internus": (48, -18, 410, 8, 20, 28),
    "obturator_externus": (66, 4, 370, 18, 10, 12),
    "quadratus_femoris": (84, -44, 355, 18, 9, 22),
    "iliacus": (88, 22, 500, 18, 10, 30),
    "iliopsoas": (90, 46, 415, 14, 12, 40),
    "psoas": (48, 10, 545, 14, 14, 60),
    "abdominal_oblique": (138, 60, 560, 12, 35, 45),
    "rectus_abdominis": (28, 88, 550, 20, 7, 60),
    "multifidus": (20, -70, 545, 14, 16, 55),
    "femur": (105, 5, 200, 15, 15, 215),
    "hip_bone": (88, -8, 460, 22, 26, 85),
}
_HU_FAT, _HU_MUSCLE, _HU_BONE, _HU_AIR = -100.0, 52.0, 420.0, -1000.0
_BALL_MM = 9.0
_NO_HEIGHT_MM = 300.0


def ellipsoid_of(structure: Structure) -> _Ellipsoid:
    """Centre and semi-axes of a structure on the right side, in mm as above.

    A structure that nobody has laid out here is a ball that lies where the columns of the anatomy table say.
    """
    if structure.key in _ELLIPSOIDS:
        return _ELLIPSOIDS[structure.key]
    x = 85.0 if structure.lie is None else {Lie.MEDIAL: 45.0, Lie.LATERAL: 135.0}[structure.lie]
    y = 0.0 if structure.depth is None else {Depth.FRONT: 45.0, Depth.BACK: -45.0}[structure.depth]
    z = _NO_HEIGHT_MM if structure.height_mm is None else structure.height_mm
    return x, y, z, _BALL_MM, _BALL_MM, _BALL_MM


@dataclass(frozen=True, slots=True, eq=False)
class LabelledScan:
    """A CT in HU and its label map (values of ``anatomy.LABELS``) on the same grid."""

    ct: Volume
    labels: Volume


def make_phantom(
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 4.0),
    *,
    sides: tuple[Side, ...] = SIDES,
    z_range_mm: tuple[float, float] = (-20.0, 610.0),
    noise_hu: float = 12.0,
    seed: int = 0,
) -> LabelledScan:
    """Make the phantom on a RAS grid with the origin of the world at knee height on the midline.

    Args:
        spacing_mm: voxel size.
        sides: which legs and half pelves to draw.
        z_range_mm: extent in height; less than the default cuts the scan off.
        noise_hu: SD of white noise.
        seed: of the noise.

    Returns:
        int16 CT and uint8 labels, F-ordered.
    """
    first = np.array([-190.0, -130.0, z_range_mm[0]])
    last = np.array([190.0, 130.0, z_range_mm[1]])
    shape = np.maximum(1, np.round((last - first) / spacing_mm)).astype(int)
    axes = [first[a] + (np.arange(shape[a]) + 0.5) * spacing_mm[a] for a in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    hu = np.full(shape, _HU_AIR, dtype=np.float32)
    labels = np.zeros(shape, dtype=np.uint8)
    sign = {Side.RIGHT: 1.0, Side.LEFT: -1.0}
    for side in sides:
        outwards = x * sign[side]
        leg = (((outwards - 88) / 78) ** 2 + (y / 100) ** 2 < 1) & (z < 400)
        trunk = ((x / 175) ** 2 + (y / 108) ** 2 < 1) & (z >= 400) & (outwards >= 0)
        hu[leg | trunk] = _HU_FAT
    for side in sides:
        outwards = x * sign[side]
        for structure in STRUCTURES:
            cx, cy, cz, rx, ry, rz = ellipsoid_of(structure)
            inside = ((outwards - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1
            inside &= outwards >= 0
            labels[inside] = structure.label_value(side)
            hu[inside] = _HU_MUSCLE if structure.is_muscle else _HU_BONE
    body = hu > _HU_AIR
    hu[body] += np.random.default_rng(seed).normal(0.0, noise_hu, size=int(body.sum())).astype(np.float32)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    ct = np.asfortranarray(np.round(hu).astype(np.int16))
    return LabelledScan(Volume(ct, affine), Volume(np.asfortranarray(labels), affine))
