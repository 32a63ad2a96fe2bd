"""Many scans at a glance as one PNG: a band a scan, six axial pictures and a coronal one, the CT above its labels.

For judging a batch by eye and for the pictures in the documentation. Drawn with Pillow alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, Structure, StructureTable
from vastus.errors import SettingsError
from vastus.io.atomic import atomic_path
from vastus.report.pictures import INK, PAPER, Picture, blend, take_picture
from vastus.report.planes import Scene, axial_planes, coronal_planes, make_scene
from vastus.volume import Volume

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_AXIAL_COUNT = 6
_AXIAL_PX = 380
_FINEST_MM = 0.3
_GAP = 8
_EDGE = 20
_CAPTION = 24
_TITLE = 34
_LEGEND_LINE = 22
_LEGEND_LINES = 12
_QUIET = (150, 160, 165)

RGB = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class MontageScan:
    """One scan of a montage; ``labels`` is ``None`` to show the CT alone. All scans of one have the same table."""

    title: str
    ct: Volume
    labels: Volume | None = None
    table: StructureTable = BUILT_IN


def write_montage(path: Path, ct: Volume, labels: Volume | None = None, *, title: str = "") -> None:
    """Write the montage of one scan as a PNG; see ``write_contact_sheet``."""
    write_contact_sheet(path, [MontageScan(title, ct, labels)])


def write_contact_sheet(path: Path, scans: Iterable[MontageScan]) -> None:
    """Write the montage of many scans as a PNG, atomically. The scans are taken one by one and not kept.

    Raises:
        GeometryError: a label map is not on the grid of its CT.
        SettingsError: there is no scan.
        OutputError: the file can't be written.
    """
    from PIL import Image

    image = Image.fromarray(draw_montage(scans))
    with atomic_path(path) as temporary:
        image.save(temporary, "PNG", compress_level=6)


def draw_montage(scans: Iterable[MontageScan]) -> RGB:
    """The montage as RGB pixels, shape (H, W, 3). Legend only when there are labels."""
    bands = []
    explained: StructureTable | None = None
    for scan in scans:
        bands.append(_band(scan))
        if scan.labels is not None:
            explained = scan.table
    if not bands:
        raise SettingsError("A montage needs at least one scan.")
    width = max(band.shape[1] for band in bands)
    if explained is not None:
        bands.append(_legend(width, explained))
    return np.concatenate([_widen(band, width) for band in bands])


def _band(scan: MontageScan) -> RGB:
    scene = make_scene(scan.ct, scan.labels, scan.table)
    axial = [
        take_picture(scene, plane, longest_px=_AXIAL_PX, finest_mm=_FINEST_MM)
        for plane in axial_planes(scene, _AXIAL_COUNT)
    ]
    rows = 1 if scan.labels is None else 2
    axial_height, axial_width = axial[0].grey.shape
    band_height = axial_height * rows + _GAP * (rows - 1)
    coronal = _coronal(scene, (max(band_height, 3 * axial_height // 2), 2 * axial_width))
    height = _EDGE + (_TITLE if scan.title else 0) + _CAPTION + max(band_height, coronal[0].shape[0])
    width = 2 * _EDGE + len(axial) * (axial_width + _GAP) + sum(p.shape[1] + _GAP for p in coronal) - _GAP
    canvas, draw = _canvas(width, height)
    top = _EDGE
    if scan.title:
        draw.text((_EDGE, top - 6), scan.title, fill=INK, font=_font(20))
        top += _TITLE
    top += _CAPTION
    left = _EDGE
    for picture in axial:
        caption = "   ".join(part for part in (picture.plane.title, picture.plane.detail) if part)
        caption = caption.replace("\N{MINUS SIGN}", "-")  # Pillow's font has none
        draw.text((left, top - _CAPTION + 2), caption, fill=_QUIET, font=_font(14))
        for row, pixels in enumerate((_grey(picture), blend(picture, scan.table))[:rows]):
            _paste(canvas, pixels, left, top + row * (axial_height + _GAP), picture.marks)
        left += axial_width + _GAP
    for pixels in coronal:
        _paste(canvas, pixels, left, top, ("R", "L"))
        left += pixels.shape[1] + _GAP
    return np.asarray(canvas)


def _coronal(scene: Scene, room_px: tuple[int, int]) -> list[RGB]:
    """The first coronal plane, CT and (if there are labels) under colours, as large as fits (height, width)."""
    extent_mm = [(scene.frame.stop[axis] - scene.frame.start[axis]) * scene.ct.spacing_mm[axis] for axis in (2, 0)]
    pixels_per_mm = min(room / mm for room, mm in zip(room_px, extent_mm, strict=True))
    longest = int(pixels_per_mm * max(extent_mm))
    picture = take_picture(scene, coronal_planes(scene)[0], longest_px=longest, finest_mm=0.0)
    return [_grey(picture)] if scene.labels is None else [_grey(picture), blend(picture, scene.table)]


def _legend(width: int, table: StructureTable) -> RGB:
    """Swatches of all structures, a column a group, or several for a long one."""
    columns = [
        (group.title if start == 0 else "", members[start : start + _LEGEND_LINES])
        for group in table.groups
        for members in [list(table.structures_of(group))]
        for start in range(0, len(members), _LEGEND_LINES)
    ]
    column_px = (width - 2 * _EDGE) // len(columns)
    height = _EDGE + _LEGEND_LINE * (1 + max(len(members) for _, members in columns)) + _EDGE
    canvas, draw = _canvas(width, height)
    for n, (title, members) in enumerate(columns):
        _legend_column(draw, _EDGE + n * column_px, title, members)
    return np.asarray(canvas)


def _legend_column(draw: ImageDraw, left: int, title: str, structures: Sequence[Structure]) -> None:
    top = _EDGE
    draw.text((left, top), title, fill=_QUIET, font=_font(14))
    for structure in structures:
        top += _LEGEND_LINE
        draw.rounded_rectangle((left, top + 2, left + 13, top + 15), 3, fill=structure.colour)
        draw.text((left + 22, top), structure.drawn_name, fill=INK, font=_font(14))


def _paste(canvas: Any, pixels: RGB, left: int, top: int, marks: tuple[str, str]) -> None:
    from PIL import Image, ImageDraw

    canvas.paste(Image.fromarray(pixels), (left, top))
    draw = ImageDraw.Draw(canvas)
    height, width = pixels.shape[:2]
    style: dict[str, Any] = {"fill": INK, "font": _font(16), "stroke_width": 2, "stroke_fill": (0, 0, 0)}
    draw.text((left + 6, top + height // 2), marks[0], anchor="lm", **style)
    draw.text((left + width - 6, top + height // 2), marks[1], anchor="rm", **style)


def _grey(picture: Picture) -> RGB:
    return np.repeat(picture.grey[:, :, None], 3, axis=2)


def _widen(pixels: RGB, width: int) -> RGB:
    missing = width - pixels.shape[1]
    side = np.full((pixels.shape[0], missing, 3), PAPER, dtype=np.uint8)
    return np.concatenate([pixels, side], axis=1)


def _canvas(width: int, height: int) -> tuple[Any, ImageDraw]:
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width, height), PAPER)
    return canvas, ImageDraw.Draw(canvas)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
