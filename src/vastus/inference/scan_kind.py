"""Is this a scan of an adult's hips and thighs at all? What can't be one, or not a whole one, is named.

Everything is judged from labels and HU on a coarse grid, after the network: a few hundredths of a second. A scan is not
refused here, since the finding may be wrong and the labels useful; the warning says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_KEY, SIDES, STRUCTURES, Group
from vastus.label_arrays import classes_of, on_side
from vastus.volume import Volume

COARSE_MM: Final = 4.0
_FEMUR, _HIP = BY_KEY["femur"].class_id, BY_KEY["hip_bone"].class_id
_THIGH: Final = (
    *(s.class_id for s in STRUCTURES if s.group in (Group.ANTERIOR, Group.MEDIAL, Group.POSTERIOR)),
    BY_KEY["tensor_fasciae_latae"].class_id,
    BY_KEY["gluteus_maximus"].class_id,
)

LEAST_BODY_MM3: Final = 200_000.0
DENSE_HU: Final = 300
DENSE_SHARE: Final = (0.0004, 0.2)
"""Of the body: bone. Below it there is none (a phantom of soft plastic); above, most of it would be bone (an MR)."""
LEAN_HU: Final = (-10, 130)
LEAST_LABELLED: Final = 0.08
"""Of the lean tissue: a hip or thigh has 0.5 to 0.9 of it labelled, a calf, an abdomen or a phantom next to none."""
LEAST_THIGH_MM3: Final = 20_000.0
BARE_SHARE: Final = 0.15
BARE_MM: Final = 150.0
"""A stretch as long as this with less of its lean tissue labelled is told."""
CHILD_MM2: Final = 330.0
"""Section of a femur's shaft, marrow included: adults have 400 to 800 mm2."""
SHAFT_MM: Final = 80.0
LEGS_APART_MM: Final = 70.0
LEAST_SECTION_MM2: Final = 150.0
THIRD_LEG_MM: Final = 40.0
LEG_ENDS_MM: Final = 60.0
STUMP_SHARE: Final = 0.15
METAL_HU: Final = 2500
LEAST_METAL_MM3: Final = 3000.0

_LOOK = "Look at the page before using any number."
NO_CT: Final = (
    "The densities are not those of a CT of a body: {what}. It may be an MR with values that look like those of a CT,"
    " or a phantom. Vastus is for CT only; no number of this scan is right if so."
)
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
CHILD: Final = (
    "The shaft of the femur is thin ({mm2:.0f} mm²; adults have 400 to 800): a child? The weights know adults only, and"
    f" all published values are of adults. {_LOOK}"
)
TWO_PEOPLE: Final = (
    "{count} thigh bones lie side by side: more than one person is in the scan? Left and right, and every sum, are"
    " wrong if so. Cut the scan to one person and run it again."
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
    """Labels and HU on a coarse grid, axes to the patient's right, front, head."""

    values: NDArray[np.uint8]
    hu: NDArray[Any]
    spacing: NDArray[np.float64]

    @property
    def classes(self) -> NDArray[np.uint8]:
        """Class ids, sides dropped."""
        return classes_of(self.values)

    @property
    def voxel_mm3(self) -> float:
        return float(np.prod(self.spacing))


def said_of_kind(labels: Volume, ct: Volume) -> tuple[str, ...]:
    """Warnings where the scan can't be what Vastus is for, or not a whole one.

    Args:
        labels: label values or class ids, in RAS order.
        ct: HU on the same grid.
    """
    steps = [max(1, round(COARSE_MM / s)) for s in labels.spacing_mm]
    cut = tuple(slice(None, None, n) for n in steps)
    view = _View(
        np.asarray(labels.array[cut]), np.asarray(ct.array[cut]), np.array(labels.spacing_mm) * np.array(steps)
    )
    body = view.hu > -500
    if body.sum() * view.voxel_mm3 < LEAST_BODY_MM3:
        return ()
    odd = _odd_density(view, body)
    lean = (view.hu >= LEAN_HU[0]) & (view.hu <= LEAN_HU[1])
    labelled = (view.values > 0) & lean
    share = float(labelled.sum() / max(1, lean.sum()))
    if odd:
        return (NO_CT.format(what=odd),)
    if share < LEAST_LABELLED:
        return (NOTHING.format(share=share),)
    shafts = _Shafts(view)
    return tuple(
        text
        for text in (
            _no_thigh(view),
            *_bare(view, lean, labelled),
            _child(shafts),
            _two_people(shafts),
            _amputation(view, body),
            _metal(view),
        )
        if text
    )


def _odd_density(view: _View, body: NDArray[np.bool_]) -> str:
    dense = float((view.hu[body] > DENSE_HU).mean())
    if dense < DENSE_SHARE[0]:
        return "nothing in it is as dense as bone"
    if dense > DENSE_SHARE[1]:
        return f"{dense:.0%} of the body would be as dense as bone"
    return ""


def _no_thigh(view: _View) -> str:
    mm3 = np.bincount(view.classes.ravel(), minlength=100) * view.voxel_mm3
    if mm3[list(_THIGH)].sum() + mm3[_FEMUR] >= LEAST_THIGH_MM3:
        return ""
    found = [s for s in STRUCTURES if mm3[s.class_id] >= 1000.0]
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
            centres = np.array(ndimage.center_of_mass(parts > 0, parts, large)) * view.spacing[:2]
            legs: list[NDArray[np.float64]] = []
            for centre in centres:
                if all(np.linalg.norm(centre - other) > LEGS_APART_MM for other in legs):
                    legs.append(centre)
            self.counts.append(len(legs))
            edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
            if not edge.any():  # a femur at the edge of the image is cut, not thin
                self.areas.append(float(sizes.sum()) / len(legs))


def _child(shafts: _Shafts) -> str:
    """By the middle section of all: the shaft's, unless little more than the knee is seen."""
    if len(shafts.areas) * shafts.step_mm < SHAFT_MM:
        return ""
    usual = float(np.median(shafts.areas))
    return CHILD.format(mm2=usual) if usual < CHILD_MM2 else ""


def _two_people(shafts: _Shafts) -> str:
    many = [count for count in shafts.counts if count > 2]
    if len(many) * shafts.step_mm < THIRD_LEG_MM:
        return ""
    return TWO_PEOPLE.format(count=max(many))


def _amputation(view: _View, body: NDArray[np.bool_]) -> str:
    """One femur ends within the scan and so does what is around it, while the other leg goes on."""
    right, left = (on_side(view.values, side) for side in SIDES)
    at = np.arange(view.values.shape[0])[:, None, None]
    low = []
    for side in (right, left):
        bone = np.flatnonzero((side & (view.classes == _FEMUR)).any(axis=(0, 1)))
        if len(bone) * view.spacing[2] < LEG_ENDS_MM:
            return ""
        low.append(int(bone[0]))
    apart = abs(low[0] - low[1]) * view.spacing[2]
    if apart < LEG_ENDS_MM:
        return ""
    short = 0 if low[0] > low[1] else 1
    level = max(low)
    middle = [float((at * side[:, :, level:]).sum() / max(1, side[:, :, level:].sum())) for side in (right, left)]
    cut = sum(middle) / 2
    below = body[:, :, min(low) : level - round(20.0 / view.spacing[2])]
    if below.shape[2] == 0:
        return ""
    sides = [float(below[at[:, 0, 0] > cut].sum()), float(below[at[:, 0, 0] <= cut].sum())]
    if sides[short] > STUMP_SHARE * sides[1 - short]:
        return ""
    return AMPUTATION.format(side=("right", "left")[short], mm=apart)


def _metal(view: _View) -> str:
    metal = view.hu >= METAL_HU
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
