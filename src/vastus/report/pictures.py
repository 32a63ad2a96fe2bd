"""One plane as pixels: grey values, label classes, and their colours; sampled straight from the arrays."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, StructureTable
from vastus.display_windows import SOFT_TISSUE
from vastus.report.planes import Plane, Scene, View

FILL_OPACITY = 0.42
"""Opacity of a structure's area; its outline is opaque, in the colour of the anatomy table."""

PAPER = (16, 18, 20)
"""Background of pictures in which several planes stand side by side."""
INK = (232, 236, 238)
"""Letters on it."""

_FEWEST_COLOURS = 32
_JPEG_QUALITY = 82

GreyPixels = NDArray[np.uint8]


def colour_table(table: StructureTable = BUILT_IN) -> NDArray[np.uint8]:
    """Colour of each class id, shape (classes, 3); background black."""
    colours = np.zeros((table.class_count, 3), dtype=np.uint8)
    for structure in table.rows:
        colours[structure.class_id] = structure.colour
    return colours


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A plane as the reader sees it.

    Rows run downwards (axial: front to back; others: head to feet). Columns run from the patient's right to the left
    (axial and coronal: radiological convention), or from the front to the back (sagittal).

    Attributes:
        plane: what it shows.
        grey: uint8 (H, W), the CT in the soft-tissue window.
        classes: uint8 (H, W), class ids, 0 where nothing is labelled.
        pixel_mm: edge of the square pixels.
    """

    plane: Plane
    grey: GreyPixels
    classes: NDArray[np.uint8]
    pixel_mm: float

    @property
    def marks(self) -> tuple[str, str]:
        """Letters for the left and the right edge of the picture: patient right/left, or anterior/posterior."""
        return ("A", "P") if self.plane.view is View.SAGITTAL else ("R", "L")


def take_picture(scene: Scene, plane: Plane, *, longest_px: int, finest_mm: float = 0.75) -> Picture:
    """Sample one plane inside the scene's frame, with square pixels whatever the voxels are.

    Args:
        scene: the CT and labels.
        plane: which plane.
        longest_px: no edge gets longer than that.
        finest_mm: pixels never get finer than that.
    """
    from PIL import Image

    axis = plane.view.value
    across, up = (a for a in range(3) if a != axis)
    window: list[slice | int] = [slice(a, b) for a, b in zip(scene.frame.start, scene.frame.stop, strict=True)]
    window[axis] = plane.index
    spacing = scene.ct.spacing_mm
    width_mm = (scene.frame.stop[across] - scene.frame.start[across]) * spacing[across]
    height_mm = (scene.frame.stop[up] - scene.frame.start[up]) * spacing[up]
    pixel_mm = max(finest_mm, max(width_mm, height_mm) / longest_px)
    size = max(1, round(width_mm / pixel_mm)), max(1, round(height_mm / pixel_mm))

    # Both RAS axes of every plane run against the rows and columns of the picture.
    hu = scene.ct.array[tuple(window)].T[::-1, ::-1]
    grey = np.asarray(Image.fromarray(_window(hu)).resize(size, Image.Resampling.BILINEAR))
    if scene.labels is None:
        classes = np.zeros_like(grey)
    else:
        values = scene.labels.array[tuple(window)].T[::-1, ::-1]
        class_of = np.frombuffer(scene.table.class_of_value, np.uint8)
        ids = class_of[np.ascontiguousarray(values).astype(np.uint8)]
        classes = np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))
    return Picture(plane, grey, classes, pixel_mm)


def _window(hu: NDArray[np.generic]) -> GreyPixels:
    low, high = SOFT_TISSUE.hu
    scaled = (np.asarray(hu, dtype=np.float32) - low) * (255.0 / (high - low))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class GreyStretch:
    """A narrower window shown by stretching the greys of ``display_windows.SOFT_TISSUE`` in the browser.

    A pixel v (0 to 1) becomes ``contrast * (brightness * v) + (1 - contrast) / 2``, clipped: the two CSS filters.
    """

    hu: tuple[float, float]
    brightness: float
    contrast: float

    @property
    def css(self) -> str:
        """Value of the CSS property ``filter``."""
        return f"brightness({self.brightness:.4f}) contrast({self.contrast:.4f})"


def narrower(hu: tuple[float, float]) -> GreyStretch:
    """The stretch that shows a window (black and white end in HU) that lies inside the soft-tissue window."""
    low, high = SOFT_TISSUE.hu
    width = hu[1] - hu[0]
    contrast = 1.0 - 2.0 * (low - hu[0]) / width
    return GreyStretch(hu, (high - low) / width / contrast, contrast)


def outlines(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels of a structure that touch another structure or the background (four neighbours)."""
    edge = np.zeros(classes.shape, dtype=bool)
    across = classes[:, 1:] != classes[:, :-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    down = classes[1:] != classes[:-1]
    edge[1:] |= down
    edge[:-1] |= down
    return edge & (classes > 0)


def blend(picture: Picture, table: StructureTable = BUILT_IN) -> NDArray[np.uint8]:
    """The CT under the label colours as RGB, shape (H, W, 3): translucent areas, opaque outlines."""
    colours = colour_table(table)
    rgb = np.repeat(picture.grey[:, :, None], 3, axis=2)
    inside = picture.classes > 0
    mixed = (1 - FILL_OPACITY) * rgb[inside] + FILL_OPACITY * colours[picture.classes[inside]]
    rgb[inside] = np.round(mixed).astype(np.uint8)
    edge = outlines(picture.classes)
    rgb[edge] = colours[picture.classes[edge]]
    return rgb


def encode_grey(picture: Picture) -> bytes:
    """The CT as a grey JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.grey).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def encode_overlay(picture: Picture, class_colours: NDArray[np.uint8] | None = None) -> bytes:
    """The label colours alone as a PNG with transparency, to lie over the CT.

    Args:
        picture: the plane.
        class_colours: (classes, 3); ``None``: those of the anatomy table.
    """
    from PIL import Image

    chosen = colour_table() if class_colours is None else class_colours
    count = len(chosen)
    first_outline = max(_FEWEST_COLOURS, count)
    indices = picture.classes + np.where(outlines(picture.classes), np.uint8(first_outline), np.uint8(0))
    image = Image.fromarray(indices.astype(np.uint8))
    colours = np.zeros((2 * first_outline, 3), dtype=np.uint8)
    colours[:count] = colours[first_outline : first_outline + count] = chosen
    image.putpalette(colours.tobytes())
    opacity = bytes([0] + [round(255 * FILL_OPACITY)] * (first_outline - 1) + [255] * first_outline)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=opacity)
    return buffer.getvalue()
