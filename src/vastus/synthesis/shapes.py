"""Simple shapes in mm, as signed distances: what soft tissue around the muscles is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Distances = NDArray[np.float32]
Point = tuple[float, float, float]


class Shape(Protocol):
    """A solid in mm."""

    def distance_mm(self, x: Distances, y: Distances, z: Distances) -> Distances:
        """Signed distance to the surface, negative inside; coordinates that broadcast."""

    def box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner."""


@dataclass(frozen=True, slots=True)
class Tube:
    """A bent tube: balls of changing radius along a line of points.

    Attributes:
        points_mm: of the line.
        radii_mm: at the points.
        flat: how much narrower it is across (x) and from front to back (y) than ``radii_mm`` says.
    """

    points_mm: tuple[Point, ...]
    radii_mm: tuple[float, ...]
    flat: tuple[float, float] = (1.0, 1.0)

    def distance_mm(self, x: Distances, y: Distances, z: Distances) -> Distances:
        """See ``Shape``; exact only where nothing is flattened."""
        # Rounding a chain of cones is as good as a spline at the width of these tubes.
        best: Distances | None = None
        fx, fy = self.flat
        for (a, ra), (b, rb) in zip(
            zip(self.points_mm[:-1], self.radii_mm[:-1], strict=True),
            zip(self.points_mm[1:], self.radii_mm[1:], strict=True),
            strict=True,
        ):
            way = [b[n] - a[n] for n in range(3)]
            length2 = max(sum(w * w for w in way), 1e-6)
            dx, dy, dz = x - np.float32(a[0]), y - np.float32(a[1]), z - np.float32(a[2])
            t = np.clip((dx * way[0] + dy * way[1] + dz * way[2]) / length2, 0.0, 1.0).astype(np.float32)
            away = ((dx - t * way[0]) / fx) ** 2 + ((dy - t * way[1]) / fy) ** 2 + (dz - t * way[2]) ** 2
            distance = np.sqrt(away) - (ra + (rb - ra) * t)
            best = distance if best is None else np.minimum(best, distance)
        assert best is not None, "a tube has two points"
        return np.asarray(best, np.float32)

    def box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``Shape``."""
        points, most = np.array(self.points_mm), max(self.radii_mm)
        return points.min(axis=0) - most, points.max(axis=0) + most


@dataclass(frozen=True, slots=True)
class Ball:
    """An ellipsoid with axes along x, y and z."""

    centre_mm: Point
    radii_mm: Point

    def distance_mm(self, x: Distances, y: Distances, z: Distances) -> Distances:
        """See ``Shape``; exact for a ball."""
        (cx, cy, cz), (rx, ry, rz) = self.centre_mm, self.radii_mm
        share = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2)
        return np.asarray((share - 1.0) * min(self.radii_mm), np.float32)

    def box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``Shape``."""
        centre, radii = np.array(self.centre_mm), np.array(self.radii_mm)
        return centre - radii, centre + radii


@dataclass(frozen=True, slots=True)
class Shell:
    """What of a shape lies within a thickness of its surface, on the inside."""

    of: Shape
    thick_mm: float

    def distance_mm(self, x: Distances, y: Distances, z: Distances) -> Distances:
        """See ``Shape``."""
        outer = self.of.distance_mm(x, y, z)
        return np.asarray(np.maximum(outer, -outer - self.thick_mm), np.float32)

    def box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``Shape``."""
        return self.of.box_mm()


@dataclass(frozen=True, slots=True)
class Together:
    """Several shapes, with rounded seams.

    Attributes:
        shapes: which.
        rounding_mm: how far a seam is filled.
    """

    shapes: tuple[Shape, ...]
    rounding_mm: float

    def distance_mm(self, x: Distances, y: Distances, z: Distances) -> Distances:
        """See ``Shape``."""
        soft = sum(np.exp(-np.clip(s.distance_mm(x, y, z) / self.rounding_mm, -40, 40)) for s in self.shapes)
        return np.asarray(-self.rounding_mm * np.log(np.maximum(soft, 1e-30)), np.float32)

    def box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``Shape``."""
        boxes = [s.box_mm() for s in self.shapes]
        more = self.rounding_mm * np.log(len(self.shapes))
        return np.min([b[0] for b in boxes], axis=0) - more, np.max([b[1] for b in boxes], axis=0) + more


@dataclass(frozen=True, slots=True)
class Funnel:
    """A thin sheet around a tilted vertical axis, narrow below and wide above: the floor of the pelvis.

    Attributes:
        low_mm, high_mm: centre of its lowest and its highest ring.
        radii_mm: across (x) and from front to back (y), of the lowest and of the highest ring.
        thick_mm: of the sheet.
    """

    low_mm: Point
    high_mm: Point
    radii_mm: tuple[tuple[float, float], tuple[float, float]]
    thick_mm: float

    def distance_mm(self, x: Distances, y: Distances, z: Distances) -> Distances:
        """See ``Shape``; near the sheet."""
        (x0, y0, z0), (x1, y1, z1) = self.low_mm, self.high_mm
        (rx0, ry0), (rx1, ry1) = self.radii_mm
        share = (z - z0) / (z1 - z0)
        t = np.clip(share, 0.0, 1.0)
        # It hugs the gut for long before it spreads to the sides.
        rx, ry = rx0 + (rx1 - rx0) * t**1.8, ry0 + (ry1 - ry0) * t**0.8
        radial = np.sqrt(((x - (x0 + (x1 - x0) * t)) / rx) ** 2 + ((y - (y0 + (y1 - y0) * t)) / ry) ** 2)
        slope = (z1 - z0) / np.hypot(z1 - z0, rx1 - rx0)
        sheet = np.abs(radial - 1.0) * np.minimum(rx, ry) * slope - self.thick_mm / 2
        ends = np.maximum(-share, share - 1.0) * (z1 - z0)
        return np.asarray(np.maximum(sheet, ends), np.float32)

    def box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``Shape``."""
        centres = np.array([self.low_mm, self.high_mm])
        wide = np.array([*np.max(self.radii_mm, axis=0) + self.thick_mm, 0.0])
        return centres.min(axis=0) - wide, centres.max(axis=0) + wide


@dataclass(frozen=True, slots=True)
class Crack:
    """A thin wavy sheet through a place: the line of a fracture.

    Attributes:
        centre_mm: of it.
        normal: unit vector across it.
        half_mm: half its thickness.
        radius_mm: how far it reaches.
        waves: amplitude (mm), direction of a wave over its length (1/mm), phase (rad).
    """

    centre_mm: Point
    normal: Point
    half_mm: float
    radius_mm: float
    waves: tuple[tuple[float, Point, float], ...] = ()

    def distance_mm(self, x: Distances, y: Distances, z: Distances) -> Distances:
        """See ``Shape``."""
        dx, dy, dz = (v - np.float32(c) for v, c in zip((x, y, z), self.centre_mm, strict=True))
        across = dx * self.normal[0] + dy * self.normal[1] + dz * self.normal[2]
        for amplitude, (a, b, c), phase in self.waves:
            across = across + amplitude * np.sin(2 * np.pi * (a * dx + b * dy + c * dz) + phase)
        away = np.sqrt(dx**2 + dy**2 + dz**2)
        return np.asarray(np.maximum(np.abs(across) - self.half_mm, away - self.radius_mm), np.float32)

    def box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``Shape``."""
        centre = np.array(self.centre_mm)
        return centre - self.radius_mm, centre + self.radius_mm


@dataclass(frozen=True, slots=True)
class Cleft:
    """A sheet near the midline that reaches from the back to a depth that changes with height.

    Attributes:
        z_mm: heights, rising.
        front_mm: y up to which it reaches, at these heights.
        half_mm: half its thickness.
        lean_mm: how far it strays to the side at its back end.
    """

    z_mm: tuple[float, ...]
    front_mm: tuple[float, ...]
    half_mm: float
    lean_mm: float

    def distance_mm(self, x: Distances, y: Distances, z: Distances) -> Distances:
        """See ``Shape``."""
        front = np.interp(z, self.z_mm, self.front_mm).astype(np.float32)
        behind = front - y
        middle = self.lean_mm * np.clip(behind / 60.0, 0.0, 1.0)
        ends = np.maximum(self.z_mm[0] - z, z - self.z_mm[-1])
        return np.asarray(np.maximum(np.maximum(np.abs(x - middle) - self.half_mm, -behind), ends), np.float32)

    def box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``Shape``; without an end at the back."""
        wide = self.half_mm + abs(self.lean_mm)
        return np.array([-wide, -1e4, self.z_mm[0]]), np.array([wide, max(self.front_mm), self.z_mm[-1]])
