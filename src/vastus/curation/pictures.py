"""The picture of a finding: CT, labels, and proposal side by side, around the structure, in one axial slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BY_VALUE
from vastus.display_windows import SOFT_TISSUE
from vastus.io.atomic import atomic_path
from vastus.report.pictures import FILL_OPACITY, INK, PAPER, colour_table, outlines
from vastus.volume import Volume

PANEL_PX: Final = 300
_MARGIN_MM = 35.0
_GAP = 6
_DIMMED = 0.35
_OTHER_SIDE = (255, 255, 255)

RGB = NDArray[np.uint8]


def write_picture(
    path: Path, ct: Volume, maps: tuple[NDArray[np.uint8], NDArray[np.uint8] | None], value: int, slice_index: int
) -> None:
    """Draw a finding as a PNG, atomically.

    Args:
        path: of the file.
        ct: RAS order.
        maps: the labels, and the proposal if there is one.
        value: the structure in question; it is drawn bright, the others dimmed. 0: all bright.
        slice_index: axial slice.
    """
    from PIL import Image, ImageDraw

    labels, proposal = maps
    rows, columns = _frame(ct, maps, value, slice_index)
    window = (columns, rows, slice_index)
    spacing = ct.spacing_mm
    width_mm = (columns.stop - columns.start) * spacing[0]
    height_mm = (rows.stop - rows.start) * spacing[1]
    scale = PANEL_PX / max(width_mm, height_mm)
    size = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    grey = _grey(ct.array[window], size)
    panels = [("CT", grey), ("labels", _over(grey, labels[window], value, size))]
    if proposal is not None:
        panels.append(("proposal", _over(grey, proposal[window], value, size)))
    canvas = Image.new("RGB", (len(panels) * (size[0] + _GAP) - _GAP, size[1] + 20), PAPER)
    draw: Any = ImageDraw.Draw(canvas)
    for n, (title, pixels) in enumerate(panels):
        left = n * (size[0] + _GAP)
        canvas.paste(Image.fromarray(pixels), (left, 20))
        draw.text((left + 2, 3), title, fill=INK)
        draw.text((left + 3, 20 + size[1] // 2), "R", fill=INK)
    with atomic_path(path) as temporary:
        canvas.save(temporary, "PNG")


def _frame(
    ct: Volume, maps: tuple[NDArray[np.uint8], NDArray[np.uint8] | None], value: int, slice_index: int
) -> tuple[slice, slice]:
    shown = np.zeros(ct.shape[:2], bool)
    for one in maps:
        if one is not None:
            plane = one[:, :, slice_index]
            shown |= (plane == value) if value else (plane > 0)
    if not shown.any():
        shown[:] = True
    sides = []
    for axis in (1, 0):
        hit = np.flatnonzero(shown.any(axis=1 - axis))
        margin = int(np.ceil(_MARGIN_MM / ct.spacing_mm[axis]))
        sides.append(slice(max(0, int(hit[0]) - margin), min(ct.shape[axis], int(hit[-1]) + margin + 1)))
    return sides[0], sides[1]


def _grey(plane: NDArray[Any], size: tuple[int, int]) -> RGB:
    from PIL import Image

    low, high = SOFT_TISSUE.hu
    scaled = np.clip((plane.astype(np.float32) - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
    # Columns run from the patient's right to the left, rows from the front to the back.
    image = Image.fromarray(np.ascontiguousarray(scaled.T[::-1, ::-1])).resize(size, Image.Resampling.BILINEAR)
    return np.repeat(np.asarray(image)[:, :, None], 3, axis=2)


def _over(grey: RGB, plane: NDArray[np.uint8], value: int, size: tuple[int, int]) -> RGB:
    from PIL import Image

    turned = np.ascontiguousarray(plane.T[::-1, ::-1])
    values = np.asarray(Image.fromarray(turned).resize(size, Image.Resampling.NEAREST))
    colours = np.zeros((256, 3), np.uint8)
    for known, label in BY_VALUE.items():
        colours[known] = colour_table()[label.structure.class_id]
    opacity = np.where((values == value) | (value == 0), FILL_OPACITY, FILL_OPACITY * _DIMMED) * (values > 0)
    mixed = (1 - opacity[..., None]) * grey + opacity[..., None] * colours[values]
    result = np.round(mixed).astype(np.uint8)
    own = outlines(np.where(values == value, values, 0).astype(np.uint8)) if value else outlines(values)
    result[own] = _OTHER_SIDE if value else colours[values[own]]
    return result
