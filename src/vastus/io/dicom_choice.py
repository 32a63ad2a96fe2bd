"""Which CT series of a folder is the one to segment, and why."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from vastus.errors import AmbiguousSeriesError, GeometryError, MissingInputError, UnsupportedScanError, VastusError
from vastus.io.dicom_headers import LOCALISER, Inventory, LeftOut, SliceHeader
from vastus.io.hounsfield import MIN_VOXELS_PER_AXIS

_AXIAL_COSINE = math.cos(math.radians(40.0))
_SIMILAR_LENGTH = 0.9
_SIMILAR_STEP = 1.1
_SAME_MM = 0.5
_ADJACENT_STEPS = 1.6
_ADJACENT_MM = 5.0
_MOST_OVERLAP = 0.5
_BEYOND_MM = 20.0
"""A series that reaches this far beyond the chosen one is named: something may be seen there alone."""


class Kernel(IntEnum):
    """Reconstruction kernel, the better for muscles the higher."""

    SHARP = 0
    UNKNOWN = 1
    SOFT = 2


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices of one series with one size, direction and frame of reference, in no order yet."""

    slices: tuple[SliceHeader, ...]

    @property
    def first(self) -> SliceHeader:
        """Any slice, for what all have in common."""
        return self.slices[0]

    @property
    def normal(self) -> np.ndarray:
        """Unit normal of the slices, LPS."""
        along_row, along_column = np.array(self.first.orientation).reshape(2, 3)
        normal: np.ndarray = np.cross(along_row, along_column)
        return normal / max(float(np.linalg.norm(normal)), 1e-9)

    @property
    def heights_mm(self) -> np.ndarray:
        """Distinct heights of the slices along the normal, rising."""
        heights: np.ndarray = np.unique(np.round([np.dot(s.position_mm, self.normal) for s in self.slices], 2))
        return heights

    @property
    def length_mm(self) -> float:
        """From the first to the last slice."""
        return float(self.heights_mm[-1] - self.heights_mm[0])

    @property
    def step_mm(self) -> float:
        """Usual distance of neighbouring slices."""
        return float(np.median(np.diff(self.heights_mm))) if len(self.heights_mm) > 1 else 0.0

    @property
    def axial(self) -> bool:
        """Whether the slices are axial, within 40 degrees (thighs can lie flexed, gantries tilted)."""
        return bool(abs(self.normal[2]) >= _AXIAL_COSINE)


def choose_stack(inventory: Inventory, path: Path, series: str | None) -> tuple[Stack, str, tuple[str, ...]]:
    """Choose the stack of slices to read.

    Args:
        inventory: of the folder.
        path: the folder, for messages.
        series: the wanted SeriesInstanceUID or an ending of it.

    Returns:
        The stack, why it was chosen, warnings.

    Raises:
        MissingInputError, UnsupportedScanError, GeometryError, AmbiguousSeriesError.
    """
    stacks: dict[str, Stack] = {}
    refused: dict[str, VastusError] = {}
    warnings = list(inventory.warnings)
    for uid in {**inventory.slices, **inventory.without_position}:
        try:
            stacks[uid], dropped = _one_stack(inventory, uid, path)
            if dropped and (series is None or uid.endswith(series)):
                warnings.append(
                    f"{len(dropped)} slices of other size or direction in the series were left out,"
                    f" e.g. {dropped[0].path.name}."
                )
        except VastusError as error:
            refused[uid] = error
    if series is not None:
        named = _named(stacks, refused, inventory, (path, series))
        return named, "named with --series", (*warnings, *_told_beyond(named, stacks.values()))
    if not stacks:
        raise next(iter(refused.values()), None) or _nothing(inventory, path)
    if refused:
        warnings.append(f"{len(refused)} other series that form no volume were left out.")
    if inventory.left_out:
        warnings.append(f"Left out: {_listing(inventory)}.")
    _refuse_split(list(stacks.values()), path)
    chosen, reason = _best(list(stacks.values()), path)
    return chosen, reason, (*warnings, *_told_beyond(chosen, stacks.values()))


def kernel_of(name: str) -> Kernel:
    """Tell how sharp a kernel is, from the names that makers use.

    Siemens B30f, Br40, I31f (number below 50 soft); GE SOFT, STANDARD, DETAIL; Canon FC01..FC29; Philips A, B, C.
    """
    text = name.strip().upper()
    canon = re.match(r"FC(\d{2})", text)
    siemens = re.match(r"[A-Z]{1,2}(\d{2})", text)
    if canon:
        return Kernel.SOFT if int(canon[1]) < 30 else Kernel.SHARP
    if siemens:
        return Kernel.SOFT if int(siemens[1]) < 50 else Kernel.SHARP
    if text.startswith(("SOFT", "STANDARD", "STND", "DETAIL")) or text in ("A", "B", "C"):
        return Kernel.SOFT
    if text.startswith(("BONE", "LUNG", "EDGE", "ULTRA", "SHARP")) or text in ("D", "E", "L", "YA", "YB", "YC", "YD"):
        return Kernel.SHARP
    return Kernel.UNKNOWN


def _one_stack(inventory: Inventory, uid: str, path: Path) -> tuple[Stack, list[SliceHeader]]:
    lost = inventory.without_position.get(uid)
    if lost is not None:
        raise GeometryError(
            "This CT slice says no usable position, direction, pixel spacing or rescale values, so that its place or"
            " its HU are unknown.",
            path=lost,
            remedy="Export the series again.",
        )
    groups: list[list[SliceHeader]] = []
    for header in inventory.slices[uid]:
        for group in groups:
            if _alike(header, group[0]):
                group.append(header)
                break
        else:
            groups.append([header])
    volumes = [Stack(tuple(group)) for group in groups if len(group) >= MIN_VOXELS_PER_AXIS]
    if not volumes:
        count = len(inventory.slices[uid])
        raise UnsupportedScanError(
            f"The series has {count} usable slice{'s' * (count != 1)}; a volume needs at least {MIN_VOXELS_PER_AXIS}.",
            path=path,
            remedy="Give the whole series.",
        )
    if len(volumes) > 1:
        raise GeometryError(
            f"One series mixes slices of {len(volumes)} sizes, directions, kernels, frames of reference, studies or"
            f" patients, as in {volumes[0].first.path.name} and {volumes[1].first.path.name}.",
            path=path,
            remedy="Export each reconstruction as its own series.",
        )
    stack = volumes[0]
    dropped = [header for group in groups if len(group) < MIN_VOXELS_PER_AXIS for header in group]
    _refuse_lost_slices(stack, dropped, inventory.left_out_of.get(uid, []))
    return stack, dropped


def _refuse_lost_slices(stack: Stack, dropped: list[SliceHeader], left_out: list[LeftOut]) -> None:
    """Refuse a series if images that look like its slices are left out: the scan would be incomplete."""
    parallel = [s for s in dropped if np.allclose(s.orientation, stack.first.orientation, atol=1e-2)]
    missing = [s for s in parallel if np.abs(stack.heights_mm - np.dot(s.position_mm, stack.normal)).min() > _SAME_MM]
    if missing:
        raise GeometryError(
            f"{len(missing)} slices of the series have another size, voxel size or frame of reference than the others,"
            " so that the scan would lack them.",
            path=missing[0].path,
            remedy="Export each reconstruction as its own series.",
        )
    size = (stack.first.rows, stack.first.columns)
    alike = [image for image in left_out if image.why != LOCALISER and (image.rows, image.columns) == size]
    if alike:
        raise GeometryError(
            f"{len(alike)} images of the series are no CT slices by their header ({alike[0].why}) though they have the"
            " size of its slices, so that the scan would lack them.",
            path=alike[0].path,
            remedy="Export the series again, or take these files out of the folder.",
        )


def _alike(one: SliceHeader, other: SliceHeader) -> bool:
    return (
        (one.rows, one.columns, one.frame_of_reference) == (other.rows, other.columns, other.frame_of_reference)
        and (one.patient, one.study_uid) == (other.patient, other.study_uid)
        and bool(np.allclose(one.orientation, other.orientation, atol=1e-3))
        and bool(np.allclose(one.pixel_spacing_mm, other.pixel_spacing_mm, atol=1e-4))
        and _same_kernel(one, other)
    )


def _same_kernel(one: SliceHeader, other: SliceHeader) -> bool:
    return not one.kernel or not other.kernel or one.kernel == other.kernel


def _refuse_split(stacks: list[Stack], path: Path) -> None:
    """Refuse a scan that the scanner or the PACS cut into several series: one of them is only a part of it."""
    for place, one in enumerate(stacks):
        for other in stacks[place + 1 :]:
            if _continues(one, other):
                raise GeometryError(
                    "These two series continue each other, as parts of one scan; one of them alone would lack the rest:"
                    f" {_line(one)}; {_line(other)}.",
                    path=path,
                    remedy="Put them together as one series, or take one part on purpose with --series UID.",
                )


def _continues(one: Stack, other: Stack) -> bool:
    """Tell whether one stack begins where the other ends, on the same grid and by the same reconstruction."""
    first, second = one.first, other.first
    if (first.patient, first.study_uid) != (second.patient, second.study_uid) or not _alike(first, second):
        return False
    if first.original != second.original or max(one.step_mm, other.step_mm) > _SIMILAR_STEP * min(
        one.step_mm, other.step_mm
    ):
        return False
    low, high = sorted(((s.heights_mm[0], s.heights_mm[-1]) for s in (one, other)), key=lambda ends: ends[0])
    gap = high[0] - low[1]
    if high[1] <= low[1] + _SAME_MM:
        return False
    reach = max(_ADJACENT_STEPS * one.step_mm, one.step_mm + _ADJACENT_MM)
    return bool(-_MOST_OVERLAP * min(one.length_mm, other.length_mm) < gap <= reach)


def _told_beyond(chosen: Stack, stacks: Iterable[Stack]) -> Iterator[str]:
    """Name the series in the same coordinates that reach beyond the chosen one."""
    for other in stacks:
        if other is chosen or not other.axial or not chosen.axial:
            continue
        same = other.first.frame_of_reference == chosen.first.frame_of_reference
        if not same or other.first.patient != chosen.first.patient:
            continue
        heights = [float(np.dot(s.position_mm, chosen.normal)) for s in other.slices]
        above, below = max(heights) - chosen.heights_mm[-1], chosen.heights_mm[0] - min(heights)
        if max(above, below) > _BEYOND_MM:
            yield (
                f"Another series reaches {max(above, below):.0f} mm beyond the one that was read, which may lack"
                f" something: {_line(other)}."
            )


def _named(
    stacks: dict[str, Stack], refused: dict[str, VastusError], inventory: Inventory, asked: tuple[Path, str]
) -> Stack:
    path, series = asked
    fitting = [uid for uid in inventory.modality_of if uid.endswith(series)]
    if series in inventory.modality_of:
        fitting = [series]
    if len(fitting) > 1:
        raise AmbiguousSeriesError(f"{len(fitting)} series end with {series}.", path=path, remedy="Give the whole UID.")
    if not fitting:
        listing = "; ".join(_line(stack) for stack in stacks.values()) or "none is a CT volume"
        raise MissingInputError(f"There is no series {series} here. There are: {listing}.", path=path)
    uid = fitting[0]
    if uid in refused:
        raise refused[uid]
    if uid not in stacks:
        why = ", ".join(sorted({image.why for image in inventory.left_out_of.get(uid, [])}))
        raise UnsupportedScanError(
            f"Series {series} is not a CT volume (modality {inventory.modality_of[uid]}; {why or 'no image'}).",
            path=path,
        )
    return stacks[uid]


def _nothing(inventory: Inventory, path: Path) -> VastusError:
    if inventory.left_out:
        return UnsupportedScanError(f"There is no CT volume here, only: {_listing(inventory)}.", path=path)
    return MissingInputError("There is no DICOM file here.", path=path, remedy="Give the folder of a CT series.")


def _listing(inventory: Inventory) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(inventory.left_out.items()))


def _best(stacks: list[Stack], path: Path) -> tuple[Stack, str]:
    if len({stack.first.patient for stack in stacks}) > 1 or len({stack.first.study_uid for stack in stacks}) > 1:
        raise _ambiguous(stacks, path, "These series are of several studies or patients.")
    if len(stacks) == 1:
        return stacks[0], "the only CT series"
    total = len(stacks)
    rules: tuple[tuple[str, Callable[[Stack, list[Stack]], bool]], ...] = (
        ("axial", lambda s, _: s.axial),
        ("not reformatted", lambda s, _: s.first.original),
        ("longest", lambda s, all_: s.length_mm >= _SIMILAR_LENGTH * max(o.length_mm for o in all_)),
        (
            "softest kernel",
            lambda s, all_: kernel_of(s.first.kernel) == max(kernel_of(o.first.kernel) for o in all_),
        ),
        ("thinnest slices", lambda s, all_: s.step_mm <= _SIMILAR_STEP * min(o.step_mm for o in all_)),
    )
    reasons = []
    for name, rule in rules:
        kept = [stack for stack in stacks if rule(stack, stacks)]
        if kept and len(kept) < len(stacks):
            reasons.append(name)
            stacks = kept
    if len(stacks) > 1:
        raise _ambiguous(stacks, path, f"{len(stacks)} CT series fit equally well.")
    return stacks[0], f"of {total} CT series: {', '.join(reasons)}"


def _ambiguous(stacks: list[Stack], path: Path, problem: str) -> AmbiguousSeriesError:
    listing = "; ".join(_line(stack) for stack in stacks)
    return AmbiguousSeriesError(f"{problem} {listing}.", path=path, remedy="Choose one with --series UID.")


def _line(stack: Stack) -> str:
    description = f" '{stack.first.description}'" if stack.first.description else ""
    return (
        f"{stack.first.series_uid}{description}, {len(stack.slices)} slices, {stack.length_mm:.0f} mm,"
        f" kernel {stack.first.kernel or 'unknown'}"
    )
