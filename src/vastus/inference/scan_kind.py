"""Is this a scan of an adult's hips and thighs at all? What can't be one, or not a whole one, is named.

Everything is judged from labels and HU on a coarse grid, after the network: a few hundredths of a second. A scan is not
refused here, since the finding may be wrong and the labels useful; the warning says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, SIDES, STRUCTURES, Group, Region
from vastus.inference.remarks import Remark
from vastus.inference.scan_values import BODY_HU, odd_values, said_of_noise
from vastus.label_arrays import classes_of, on_side
from vastus.volume import Volume

COARSE_MM: Final = 4.0
_FEMUR, _HIP = BY_KEY["femur"].class_id, BY_KEY["hip_bone"].class_id
_THIGH: Final = (
    *(s.class_id for s in STRUCTURES if s.group in (Group.ANTERIOR, Group.MEDIAL, Group.POSTERIOR)),
    BY_KEY["tensor_fasciae_latae"].class_id,
    BY_KEY["gluteus_maximus"].class_id,
)
_TRUNK: Final = tuple(s.class_id for s in STRUCTURES if s.region is Region.TRUNK)

LEAST_BODY_MM3: Final = 200_000.0
LEAN_HU: Final = (-10, 130)
LEAST_LABELLED: Final = 0.08
"""Of the lean tissue: a hip or thigh has 0.5 to 0.9 of it labelled, a calf, an abdomen or a phantom next to none."""
LEAST_THIGH_MM3: Final = 20_000.0
LEAST_FEMUR_MM3: Final = 1000.0
BARE_SHARE: Final = 0.15
BARE_MM: Final = 150.0
"""A stretch as long as this with less of its lean tissue labelled is told."""
KNEE_MM: Final = 60.0
KNEE_MM2: Final = 1200.0
"""A femur seen over less than this, with a section larger than this: its condyles, thus a knee."""
CHILD_MM2: Final = 330.0
"""Section of a femur's shaft, marrow included: adults have 400 to 800 mm2."""
CHILD_HEADS_MM: Final = 150.0
"""Between the upper ends of the femora: adults have 165 to 220 mm."""
CHILD_HIP_MM: Final = 165.0
"""Height of a whole hip bone: adults have 195 to 230 mm."""
HEAD_MM: Final = 30.0
LEAST_BONE_MM3: Final = 15_000.0
SHAFT_MM: Final = 80.0
LEGS_APART_MM: Final = 70.0
LEAST_SECTION_MM2: Final = 150.0
THIRD_LEG_MM: Final = 40.0
LEG_ENDS_MM: Final = 60.0
STUMP_SHARE: Final = 0.15
METAL_HU: Final = 2500
CEILING_HU: Final = 1400
"""A scan whose values are cut off holds its metal at the highest one; bone alone does not fill it."""
STUMP_MM2: Final = 500.0
STUMP_MM: Final = 10.0
EMPTY_MM: Final = 30.0
BESIDE_MM: Final = 80.0
LEAST_METAL_MM3: Final = 3000.0

_LOOK = "Look at the page before using any number."
NOTHING: Final = (
    "Next to nothing of a hip or a thigh was found: {share:.0%} of the lean tissue is labelled. It may be another part"
    " of the body (abdomen, knee, calf), or a phantom. Use nothing of it; give a scan of the hips or thighs."
)
NO_THIGH: Final = (
    "No thigh is in the scan: only {what} was found. Its numbers are of the lower trunk; for the thigh give a scan that"
    " reaches below the hip."
)
BARE: Final = (
    "Over {mm:.0f} mm {where} the labelled part hardly anything is labelled: other parts of the body ({what}), which"
    " Vastus does not know. Labels near there may be wrong."
)
KNEE: Final = (
    "Only a knee is in the scan: {mm:.0f} mm of the femur's lower end. The muscles end there; no volume is that of a"
    " muscle. For the thigh give a scan that reaches above."
)
CHILD: Final = (
    "{what}: a child? The weights know adults only, and all published values are of adults. Use no number of it without"
    " a reader who has looked at the labels."
)
TWO_PEOPLE: Final = (
    "{count} thigh bones lie side by side: more than one person is in the scan? Left and right, and every sum, are"
    " wrong if so. Cut the scan to one person and run it again."
)
STUMPS: Final = (
    "{legs} within the scan, {mm:.0f} mm above its lower end: an amputation? The muscles are shorter than whole ones"
    f" and count as they are; compare them with no published value. {_LOOK}"
)
AMPUTATION: Final = (
    "The {side} leg ends {mm:.0f} mm above the other: an amputation? Its muscles are shorter than whole ones and count"
    f" as they are; do not compare the sides. {_LOOK}"
)
METAL_BOTH: Final = (
    "Metal on both sides ({right:.0f} and {left:.0f} mL): prostheses? Streaks make densities wrong, and labels near"
    f" them doubtful. Do not use densities there. {_LOOK}"
)
METAL_ONE: Final = (
    "Metal {where} ({ml:.0f} mL): a prosthesis or a nail? Streaks make densities wrong, and labels near it doubtful."
    " Do not use densities there, and do not compare the sides."
)


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Labels, class ids (no sides) and HU on a coarse grid, axes to the patient's right, front, head."""

    values: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    hu: NDArray[Any]
    spacing: NDArray[np.float64]

    @property
    def voxel_mm3(self) -> float:
        return float(np.prod(self.spacing))


def said_of_kind(labels: Volume, ct: Volume) -> tuple[Remark, ...]:
    """Say it where the scan can't be what Vastus is for, or not a whole one.

    Args:
        labels: label values or class ids, in RAS order.
        ct: HU on the same grid.
    """
    steps = [max(1, round(COARSE_MM / s)) for s in labels.spacing_mm]
    cut = tuple(slice(None, None, n) for n in steps)
    # Copies: what is looked at many times must not lie scattered over the whole scan.
    values, hu = labels.array[cut].copy(order="K"), ct.array[cut].copy(order="K")
    view = _View(values, classes_of(values), hu, np.array(labels.spacing_mm) * np.array(steps))
    body = view.hu > BODY_HU
    if body.sum() * view.voxel_mm3 < LEAST_BODY_MM3:
        return ()
    odd = odd_values(view.hu, view.spacing)
    if odd is not None:
        return (odd,)
    lean = (view.hu >= LEAN_HU[0]) & (view.hu <= LEAN_HU[1])
    labelled = (view.values > 0) & lean
    share = float(labelled.sum() / max(1, lean.sum()))
    if share < LEAST_LABELLED:
        return (Remark(NOTHING.format(share=share), stops=True),)
    shafts = _Shafts(view)
    stops = (_knee(view, shafts), _two_people(shafts))
    warns = (
        _no_thigh(view),
        *_bare(view, lean, labelled),
        _child(view, shafts),
        _amputation(view, body) or _stumps(view, body),
        _metal(view),
    )
    return (
        *(Remark(text, stops=True) for text in stops if text),
        *(Remark(text) for text in warns if text),
        *said_of_noise(labels, ct),
    )


def _no_thigh(view: _View) -> str:
    mm3 = np.bincount(view.classes.ravel(), minlength=100) * view.voxel_mm3
    thigh, trunk = mm3[list(_THIGH)].sum(), mm3[list(_TRUNK)].sum()
    # Without a femur, and with more of the trunk, "thigh" is what a network makes of liver and bowel.
    if thigh + mm3[_FEMUR] >= LEAST_THIGH_MM3 and (mm3[_FEMUR] >= LEAST_FEMUR_MM3 or thigh > trunk):
        return ""
    found = [s for s in STRUCTURES if mm3[s.class_id] >= 1000.0 and s.class_id not in _THIGH]
    largest = sorted(found, key=lambda s: -mm3[s.class_id])[:3]
    return NO_THIGH.format(what=", ".join(s.english.lower() for s in largest)) if largest else ""


def _bare(view: _View, lean: NDArray[np.bool_], labelled: NDArray[np.bool_]) -> tuple[str, ...]:
    """Find long stretches at either end of the scan in which almost no lean tissue is labelled."""
    total, known = lean.sum(axis=(0, 1)), labelled.sum(axis=(0, 1))
    full = np.flatnonzero((known > BARE_SHARE * total) & (known > 0))
    tissue = np.flatnonzero(total * view.spacing[0] * view.spacing[1] > 1000.0)
    if not len(full) or not len(tissue):
        return ()
    below, above = ((tissue < full[0]).sum() * view.spacing[2], (tissue > full[-1]).sum() * view.spacing[2])
    told = []
    if below >= BARE_MM:
        told.append(BARE.format(mm=below, where="below", what="knee or calf"))
    if above >= BARE_MM:
        told.append(BARE.format(mm=above, where="above", what="abdomen"))
    return tuple(told)


class _Shafts:
    """Sections of femora in the slices without hip bone: how many lie apart from each other, and how large each is."""

    def __init__(self, view: _View) -> None:
        from scipy import ndimage

        self.step_mm = float(view.spacing[2])
        pixel = float(view.spacing[0] * view.spacing[1])
        self.counts: list[int] = []
        self.areas: list[float] = []
        classes = view.classes
        femora, hips = classes == _FEMUR, classes == _HIP
        for k in np.flatnonzero(femora.any(axis=(0, 1)) & ~hips.any(axis=(0, 1))):
            parts, count = ndimage.label(femora[:, :, k])
            sizes = np.bincount(parts.ravel())[1:] * pixel
            large = [n + 1 for n in range(count) if sizes[n] >= LEAST_SECTION_MM2]
            if not large:
                continue
            centres = _centres(parts)[large] * view.spacing[:2]
            legs: list[NDArray[np.float64]] = []
            for centre in centres:
                if all(np.linalg.norm(centre - other) > LEGS_APART_MM for other in legs):
                    legs.append(centre)
            self.counts.append(len(legs))
            edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
            if not edge.any():  # a femur at the edge of the image is cut, not thin
                self.areas.append(float(sizes.sum()) / len(legs))


def _centres(parts: NDArray[np.int32]) -> NDArray[np.float64]:
    """Find the centre of each part of one slice, (parts + 1, 2) in voxels; that of part 0 means nothing."""
    where = np.nonzero(parts)
    part = parts[where]
    counts = np.maximum(1, np.bincount(part))
    return np.stack([np.bincount(part, weights=along) / counts for along in where], axis=1)


def _knee(view: _View, shafts: _Shafts) -> str:
    """Tell a stretch of nothing but condyles."""
    seen_mm = len(shafts.areas) * shafts.step_mm
    if not 0 < seen_mm < KNEE_MM or (view.classes == _HIP).any():
        return ""
    return KNEE.format(mm=seen_mm) if float(np.median(shafts.areas)) > KNEE_MM2 else ""


def _child(view: _View, shafts: _Shafts) -> str:
    """By the middle section of the shafts (unless little more than the knee is seen), else by the pelvis."""
    if len(shafts.areas) * shafts.step_mm >= SHAFT_MM:
        usual = float(np.median(shafts.areas))
        if usual < CHILD_MM2:
            return CHILD.format(what=f"The shaft of the femur is thin ({usual:.0f} mm²; adults have 400 to 800)")
    height = _hip_height_mm(view)
    if height is not None and height < CHILD_HIP_MM:
        return CHILD.format(what=f"The hip bone is small ({height:.0f} mm high; adults have 195 to 230)")
    apart = _heads_apart_mm(view)
    if apart is not None and apart < CHILD_HEADS_MM:
        return CHILD.format(what=f"The upper ends of the femora lie close together ({apart:.0f} mm; adults 165 to 220)")
    return ""


def _hip_height_mm(view: _View) -> float | None:
    """Height of the higher hip bone; None where it is not seen whole."""
    heights = []
    for side in SIDES:
        bone = on_side(view.values, side) & (view.classes == _HIP)
        if bone.sum() * view.voxel_mm3 < LEAST_BONE_MM3:
            continue
        at = np.flatnonzero(bone.any(axis=(0, 1)))
        ends = round(2 * COARSE_MM / view.spacing[2])
        if at[0] > ends and at[-1] < bone.shape[2] - 1 - ends:
            heights.append(float(at[-1] - at[0] + 1) * float(view.spacing[2]))
    return max(heights) if heights else None


def _heads_apart_mm(view: _View) -> float | None:
    """Distance of the upper ends of both femora across the body; None where they do not reach the hip bones."""
    ends = []
    for side in SIDES:
        own = on_side(view.values, side)
        bone, hip = own & (view.classes == _FEMUR), own & (view.classes == _HIP)
        if min(bone.sum(), hip.sum()) * view.voxel_mm3 < LEAST_BONE_MM3:
            return None
        top = int(np.flatnonzero(bone.any(axis=(0, 1)))[-1])
        if top < int(np.flatnonzero(hip.any(axis=(0, 1)))[0]) or top == bone.shape[2] - 1:
            return None
        end = np.argwhere(bone[:, :, max(0, top - round(HEAD_MM / view.spacing[2])) : top + 1])
        ends.append(end[:, :2].mean(axis=0) * view.spacing[:2])
    return float(np.linalg.norm(ends[0] - ends[1]))


def _two_people(shafts: _Shafts) -> str:
    many = [count for count in shafts.counts if count > 2]
    if len(many) * shafts.step_mm < THIRD_LEG_MM:
        return ""
    return TWO_PEOPLE.format(count=max(many))


def _amputation(view: _View, body: NDArray[np.bool_]) -> str:
    """One leg ends within the scan, and so does what is around it, while the femur of the other goes on."""
    right, left = (on_side(view.values, side) for side in SIDES)
    at = np.arange(view.values.shape[0])
    pixel = float(view.spacing[0] * view.spacing[1])
    low, bone = [], []
    for side in (right, left):
        held = np.flatnonzero(side.sum(axis=(0, 1)) * pixel >= STUMP_MM2)
        shaft = np.flatnonzero((side & (view.classes == _FEMUR)).any(axis=(0, 1)))
        if not len(held):
            return ""
        low.append(int(held[0]))
        bone.append(int(shaft[0]) if len(shaft) else body.shape[2])
    short = 0 if low[0] > low[1] else 1
    apart = abs(low[0] - low[1]) * view.spacing[2]
    goes_on = (low[short] - bone[1 - short]) * view.spacing[2]
    if min(apart, goes_on) < LEG_ENDS_MM:
        return ""
    level = low[short]
    middle = [float((at[:, None, None] * s[:, :, level:]).sum() / s[:, :, level:].sum()) for s in (right, left)]
    cut = sum(middle) / 2
    own = at > cut if short == 0 else at <= cut
    # Where the image ends close beside the middle, the leg is not missing but not seen.
    if own.sum() * view.spacing[0] < BESIDE_MM:
        return ""
    below = body[:, :, low[1 - short] : level - round(20.0 / view.spacing[2])]
    if below.shape[2] == 0 or below[own].sum() > STUMP_SHARE * below[~own].sum():
        return ""
    return AMPUTATION.format(side=("right", "left")[short], mm=apart)


def _stumps(view: _View, body: NDArray[np.bool_]) -> str:
    """All of the body ends within the scan, below the end of a femur; the scan goes on in air."""
    pixel = float(view.spacing[0] * view.spacing[1])
    held = np.flatnonzero(body.sum(axis=(0, 1)) * pixel >= STUMP_MM2)
    bone = np.flatnonzero((view.classes == _FEMUR).any(axis=(0, 1)))
    if not len(bone) or held[0] * view.spacing[2] < EMPTY_MM:
        return ""
    # A scan that was cut and filled with air ends in the bone; a stump has soft tissue over it.
    if (bone[0] - held[0]) * view.spacing[2] < STUMP_MM or (bone[-1] - bone[0]) * view.spacing[2] < LEG_ENDS_MM:
        return ""
    sides = [bool((on_side(view.values, side) & (view.classes == _FEMUR)).any()) for side in SIDES]
    return STUMPS.format(legs="Both legs end" if all(sides) else "The leg ends", mm=held[0] * view.spacing[2])


def _metal(view: _View) -> str:
    metal = view.hu >= METAL_HU
    if view.hu.max() >= CEILING_HU and not metal.any():
        metal = view.hu == view.hu.max()
    if metal.sum() * view.voxel_mm3 < LEAST_METAL_MM3:
        return ""
    at = np.broadcast_to(np.arange(metal.shape[0])[:, None, None], metal.shape)
    right, left = (on_side(view.values, side) for side in SIDES)
    if not right.any() or not left.any():
        return METAL_ONE.format(where="in the leg", ml=metal.sum() * view.voxel_mm3 / 1000)
    cut = (at[right].mean() + at[left].mean()) / 2
    volumes = [float(metal[at > cut].sum()) * view.voxel_mm3, float(metal[at <= cut].sum()) * view.voxel_mm3]
    if min(volumes) >= LEAST_METAL_MM3:
        return METAL_BOTH.format(right=volumes[0] / 1000, left=volumes[1] / 1000)
    where = "on the right" if volumes[0] > volumes[1] else "on the left"
    return METAL_ONE.format(where=where, ml=max(volumes) / 1000)
