"""What lies between the thighs and in the small pelvis: genitals, perineum, bladder, rectum, natal cleft.

Nothing here is measured: sizes are textbook values of adults, spread as widely as people are. On real hip CT, networks
called these organs adductors, gracilis and obturators, because bodies without them leave only fat and air there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vastus.anatomy import SIDES, Side
from vastus.sex import Sex
from vastus.synthesis.anchors import Anchors
from vastus.synthesis.overlay import Overlay
from vastus.synthesis.shapes import Ball, Cleft, Funnel, Point, Shape, Shell, Together, Tube
from vastus.synthesis.tissues import Tissue

REPLACED = frozenset(("bladder", "womb", "rectum", "pelvic_floor"))
"""Sketches of the atlas that give way to what is made here."""
_INSIDE = (Tissue.FAT, Tissue.BOWEL)
_OUTSIDE = (Tissue.FAT, Tissue.SKIN, Tissue.AIR)
_HANGING = (Tissue.AIR,)

Room = Callable[[Point], float]
"""How far outside the skin a point lies (mm); negative inside the body."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where things are: short names for the arithmetic below."""

    anchors: Anchors
    rng: np.random.Generator

    @property
    def u(self) -> float:
        return self.anchors.unit

    @property
    def front(self) -> float:
        return self.anchors.symphysis_front_mm

    @property
    def back(self) -> float:
        return self.anchors.symphysis_back_mm

    @property
    def low(self) -> float:
        return self.anchors.symphysis_z_mm[0]

    @property
    def high(self) -> float:
        return self.anchors.symphysis_z_mm[1]

    def between(self, low: float, high: float) -> float:
        """A random length between two, times the size of the body."""
        return self.u * float(self.rng.uniform(low, high))

    def about(self, mean: float, log_sd: float) -> float:
        """A random length about one, times the size of the body."""
        return self.u * float(mean * np.exp(np.clip(self.rng.normal(0, log_sd), -2.5 * log_sd, 2.5 * log_sd)))

    @property
    def anus(self) -> tuple[float, float]:
        """y and z of the anus: before the tail, at the height of the ischia."""
        tail_y, _ = self.anchors.tail_mm
        ischium_y = float(np.mean([p[1] for p in self.anchors.ischium_mm.values()]))
        return min(ischium_y, tail_y + 30 * self.u), self.anchors.ischium_z_mm - 12 * self.u


def soft_tissue(
    anchors: Anchors, sex: Sex, age_years: float, room: Room, rng: np.random.Generator
) -> tuple[Overlay, ...]:
    """All overlays of one body; inner ones first, since an earlier one is not covered by a later one.

    Args:
        anchors: of the body.
        sex, age_years: of the person.
        room: where there is air, so that what hangs free finds its place between the thighs.
        rng: decides sizes and places.
    """
    place = _Place(anchors, rng)
    made = [*_bladder(place), *_rectum(place)]
    if sex is Sex.MAN:
        made += [*_prostate(place, age_years), *_root_of_penis(place), *_genitals_of_men(place, room)]
    else:
        made += [*_womb(place, age_years), *_genitals_of_women(place, room)]
    made += [*_bowel(place), *_pelvic_floor(place), *_nodes(place), *_cleft(place)]
    return tuple(made)


def _soft(name: str, shape: Shape, takes: tuple[Tissue, ...] = _INSIDE, tissue: Tissue = Tissue.SOFT) -> Overlay:
    return Overlay(name, tissue, shape, takes)


def _bladder(p: _Place) -> Iterator[Overlay]:
    volume_ml = float(np.exp(p.rng.uniform(np.log(25), np.log(450))))
    radius = p.u * (volume_ml * 3000 / (4 * np.pi)) ** (1 / 3)
    flat = float(p.rng.uniform(0.6, 0.95))
    radii = radius / flat**0.5, radius * flat**0.5, radius
    centre = p.between(-6, 6), p.back - 6 * p.u - radii[1], p.high - 14 * p.u + 0.75 * radii[2]
    wall = p.between(2, 6) if volume_ml < 100 else p.between(1.5, 4)
    full = Ball(centre, (radii[0], radii[1], radii[2]))
    yield _soft("bladder_wall", Shell(full, wall))
    yield _soft("bladder", full, tissue=Tissue.FLUID)


def _rectum(p: _Place) -> Iterator[Overlay]:
    anus_y, anus_z = p.anus
    tail_y, tail_z = p.anchors.tail_mm
    bend: Point = (0.0, anus_y + 8 * p.u, anus_z + 38 * p.u)
    wide = p.about(17, 0.22)
    side = p.between(-12, 12)
    upper: tuple[Point, ...] = (
        (side * 0.4, max(tail_y + wide + 6 * p.u, bend[1] - 14 * p.u), tail_z + 14 * p.u),
        (side, tail_y + wide + 2 * p.u, tail_z + 55 * p.u),
        (side * 1.6 - 10 * p.u, tail_y + wide + 14 * p.u, tail_z + 90 * p.u),
    )
    radii = 0.75 * wide, wide, wide * float(p.rng.uniform(0.6, 1.1)), 0.7 * wide
    points = (bend, *upper)
    gas = p.rng.random() < 0.4
    if p.rng.random() < 0.75:
        share = float(p.rng.uniform(0.3, 0.8))
        inner = Tube(points, tuple(share * r for r in radii))
        yield _soft("rectal_gas" if gas else "stool", inner, tissue=Tissue.GAS if gas else Tissue.SOFT)
    yield _soft("rectal_wall", Tube(points, radii))
    canal = Tube(((0.0, anus_y, anus_z - 14 * p.u), bend), (p.about(13, 0.15), p.about(14, 0.15)))
    yield _soft("anal_canal", canal, (*_INSIDE, Tissue.SKIN))


def _bowel(p: _Place) -> Iterator[Overlay]:
    """Loops in the pelvis and before the spine, with fluid, stool, gas or swallowed contrast medium; or collapsed."""
    tail_y, _ = p.anchors.tail_mm
    swallowed = p.rng.random() < 0.25
    low, high = (
        np.array([-62, tail_y / p.u + 45, p.high / p.u + 8]),
        np.array([62, p.front / p.u - 12, p.high / p.u + 150]),
    )
    high = np.maximum(high, low + 10)
    inlet = np.array([0.55, 1.0, 1.0])
    for loop in range(int(p.rng.integers(9, 18))):
        # The small pelvis is full of bowel. Between its bones and behind the belly's wall, loops take fat, too.
        deep = loop % 2 == 1
        first, last = (
            (low * inlet, np.array([high[0] * inlet[0], p.back / p.u - 16, low[2] + 45])) if deep else (low, high)
        )
        last = np.maximum(last, first + 10)
        at = p.rng.uniform(first, last)
        steps = np.cumsum(p.rng.normal(0, [22, 14, 16], (int(p.rng.integers(2, 5)), 3)), axis=0)
        line = np.clip(np.vstack([at, at + steps]), first, last) * p.u
        takes = _INSIDE if deep else (Tissue.BOWEL,)
        points: tuple[Point, ...] = tuple((float(x), float(y), float(z)) for x, y, z in line)
        wide = p.about(13, 0.3)
        radii = tuple(float(wide * p.rng.uniform(0.8, 1.2)) for _ in points)
        kind = p.rng.choice(["bowel_fluid", "stool", "gas", "collapsed"], p=[0.4, 0.2, 0.2, 0.2])
        wall = p.between(1.5, 3.5)
        if kind != "collapsed":
            name = "bowel_contrast" if swallowed and kind != "gas" and p.rng.random() < 0.7 else str(kind)
            tissue = Tissue.GAS if kind == "gas" else Tissue.SOFT
            yield _soft(name, Tube(points, tuple(max(r - wall, 2.0) for r in radii)), takes, tissue)
        yield _soft("bowel_wall", Tube(points, radii), takes)


def _prostate(p: _Place, age_years: float) -> Iterator[Overlay]:
    size = p.u * float(np.clip(0.85 + 0.008 * (age_years - 40) + p.rng.normal(0, 0.1), 0.75, 1.5))
    centre: Point = (0.0, p.back - 10 * p.u - 16 * size, (p.low + p.high) / 2 + 2 * p.u)
    yield _soft("prostate", Ball(centre, (23 * size, 16 * size, 18 * size)))
    for sign in (-1, 1):
        start: Point = (sign * 3 * p.u, centre[1] - 14 * p.u, centre[2] + 20 * size)
        end: Point = (sign * 30 * p.u, centre[1] - 20 * p.u, centre[2] + 26 * size + p.between(0, 8))
        yield _soft("seminal_vesicle", Tube((start, end), (p.about(5, 0.2), p.about(6, 0.2)), (1.0, 0.8)))


def _root_of_penis(p: _Place) -> Iterator[Overlay]:
    anus_y, anus_z = p.anus
    root: Point = (0.0, p.back + 2 * p.u, p.low - 8 * p.u)
    for ischium in p.anchors.ischium_mm.values():
        x, y, z = ischium
        start: Point = (0.55 * x, y + 0.45 * (p.back - y), z + 0.4 * (p.low - z) + 4 * p.u)
        crus = Tube((start, (np.sign(x) * 8 * p.u, root[1], root[2])), (p.about(6, 0.2), p.about(8, 0.15)))
        yield _soft("crus", crus)
    behind: Point = (0.0, anus_y + 22 * p.u, anus_z + 10 * p.u)
    middle: Point = (0.0, (anus_y + root[1]) / 2 + 10 * p.u, min(anus_z + 8 * p.u, p.low - 22 * p.u))
    bulb = Tube((behind, middle, root), (p.about(10, 0.15), p.about(13, 0.15), p.about(11, 0.15)))
    yield _soft("bulb", bulb)


def _genitals_of_men(p: _Place, room: Room) -> Iterator[Overlay]:
    thick = p.about(14.5, 0.13)
    root: Point = (0.0, p.back + 2 * p.u, p.low - 8 * p.u)
    bend: Point = (p.between(-4, 4), p.front + p.between(18, 34), p.low - p.between(2, 16))
    length = p.between(55, 115)
    if p.rng.random() < 0.08:  # laid up on the belly
        bend = _on_the_skin(bend, room, p)
        tip = _on_the_skin((p.between(-25, 25), bend[1] + p.between(0, 12), bend[2] + length), room, p)
    else:
        tip_z = bend[2] - length * float(p.rng.uniform(0.75, 1.0))
        tip = _into_the_open((p.between(-28, 28), bend[1] - p.between(0, 25), tip_z), room, p)
    yield _soft("penis", Tube((root, bend, tip), (0.8 * thick, thick, thick)), _OUTSIDE)

    top = p.low - p.between(22, 42)
    wide, tall = p.about(13, 0.13), p.about(20, 0.13)
    hang = p.between(20, 62)
    middle = _into_the_open((p.between(-6, 6), p.front - p.between(-5, 35), top - hang), room, p)
    testes, apart = [], wide + p.between(1, 6)
    for sign in (-1, 1):
        centre: Point = (middle[0] + sign * apart, middle[1] + p.between(-8, 8), middle[2] + p.between(-10, 10))
        # Between closed thighs they lie one before the other.
        if room((centre[0] + sign * wide, centre[1], centre[2])) < 0:
            centre = (middle[0] + sign * 4 * p.u, middle[1] + sign * (wide + 3 * p.u), centre[2])
        testes.append(Ball(centre, (wide, wide * float(p.rng.uniform(0.85, 1.25)), tall)))
    for testis in testes:
        yield _soft("testis", testis, _OUTSIDE)
    if p.rng.random() < 0.12:
        one = testes[int(p.rng.integers(2))]
        more = float(p.rng.uniform(1.3, 2.4))
        yield _soft("hydrocele", Ball(one.centre_mm, (more * wide, more * wide, more * tall)), _OUTSIDE)
    wall = p.between(3, 9)
    neck = Tube(((0.0, root[1] - 4 * p.u, top + 12 * p.u), middle), (p.about(13, 0.2), wide + wall))
    around = [Ball(t.centre_mm, (t.radii_mm[0] + wall, t.radii_mm[1] + wall, t.radii_mm[2] + wall)) for t in testes]
    for side in SIDES:
        sign = 1 if side is Side.RIGHT else -1
        ring: Point = (sign * 32 * p.u, p.front - 2 * p.u, p.high + 12 * p.u)
        over: Point = (sign * p.between(18, 24), p.front + p.between(6, 12), (p.low + p.high) / 2)
        cord = Tube(
            (ring, over, (sign * 14 * p.u, middle[1] + 6 * p.u, top)), (p.about(6, 0.2), p.about(8, 0.2), 8 * p.u)
        )
        yield _soft("spermatic_cord", cord)
    yield _soft("scrotum", Together((neck, *around), 4 * p.u), _OUTSIDE)


def _into_the_open(point: Point, room: Room, p: _Place) -> Point:
    """The place, moved to the front or back to where there is air: thighs leave no room for what hangs free."""
    x, y, z = point
    places = [(x * share, y + step * p.u, z) for step in (0.0, -15.0, 15.0, -30.0, 30.0) for share in (1.0, 0.3)]
    wanted = 8 * p.u
    return max(places, key=lambda at: min(room(at), wanted) - 0.2 * abs(at[1] - y) - 0.05 * abs(at[0] - x))


def _on_the_skin(point: Point, room: Room, p: _Place) -> Point:
    """The place, moved back to where it touches the body, lest a fold floats in front of it."""
    x, y, z = point
    places = [(x, y - step * p.u, z) for step in range(0, 100, 4)]
    return next((at for at in places if room(at) < 3 * p.u), point)


def _womb(p: _Place, age_years: float) -> Iterator[Overlay]:
    size = p.u * float(np.exp(p.rng.normal(0, 0.12))) * (0.72 if age_years > 58 else 1.0)
    tilt = p.between(-12, 12)
    neck: Point = (p.between(-4, 4), p.back - 48 * p.u, p.high + 2 * p.u)
    body: Point = (p.between(-14, 14), neck[1] + 14 * p.u, neck[2] + 38 * size)
    if p.rng.random() > 0.2:  # not taken out
        yield _soft("uterus", Tube((neck, body), (13 * size, 24 * size)))
        for sign in (-1, 1):
            at: Point = (body[0] + sign * p.between(34, 46), body[1] - p.between(4, 20), body[2] + tilt)
            yield _soft("ovary", Ball(at, (0.8 * 13 * size, 10 * size, 13 * size)))
    outlet: Point = (0.0, p.back - 20 * p.u, p.low - 30 * p.u)
    yield _soft("vagina", Tube((outlet, neck), (9 * p.u, 13 * p.u), (1.0, 0.45)))


def _genitals_of_women(p: _Place, room: Room) -> Iterator[Overlay]:
    anus_y, anus_z = p.anus
    front: Point = (0.0, p.front + p.between(4, 14), p.low - 10 * p.u)
    middle: Point = (0.0, (front[1] + anus_y) / 2 + 6 * p.u, p.low - p.between(26, 36))
    behind: Point = (0.0, anus_y + 22 * p.u, anus_z + 2 * p.u)
    flat = float(p.rng.uniform(0.55, 0.95)), 1.0
    vulva = Tube((front, middle, behind), (p.about(9, 0.25), p.about(15, 0.2), p.about(10, 0.2)), flat)
    yield _soft("vulva", vulva, (*_INSIDE, Tissue.SKIN, Tissue.AIR))
    urethra = Tube(
        ((0.0, p.back - 12 * p.u, p.low - 26 * p.u), (0.0, p.back - 18 * p.u, p.high - 8 * p.u)), (8 * p.u, 7 * p.u)
    )
    yield _soft("vulva", urethra)
    for ischium in p.anchors.ischium_mm.values():
        x, y, z = ischium
        start: Point = (0.55 * x, y + 0.45 * (p.back - y), z + 0.4 * (p.low - z) + 4 * p.u)
        crus = Tube((start, (np.sign(x) * 7 * p.u, p.back, p.low - 8 * p.u)), (p.about(4, 0.2), p.about(5, 0.2)))
        yield _soft("crus", crus)
    # Folds of fat with skin between them.
    hang = p.between(0, 12)
    for sign in (-1, 1):
        fold: tuple[Point, ...] = (
            (sign * 12 * p.u, front[1] + 2 * p.u, front[2] + 8 * p.u),
            (sign * 13 * p.u, middle[1] + 8 * p.u, middle[2] - hang),
            (sign * 10 * p.u, behind[1] + 6 * p.u, middle[2]),
        )
        fold = tuple(_on_the_skin(at, room, p) for at in fold)
        yield Overlay("labium", Tissue.FAT, Tube(fold, (9 * p.u, p.about(11, 0.2), 7 * p.u)), _HANGING)


def _pelvic_floor(p: _Place) -> Iterator[Overlay]:
    anus_y, anus_z = p.anus
    tail_y, _ = p.anchors.tail_mm
    behind, before = tail_y + 4 * p.u, p.back - 6 * p.u
    low: Point = (0.0, anus_y + 10 * p.u, anus_z + p.between(12, 22))
    high: Point = (0.0, (behind + before) / 2, max(p.high - p.between(4, 16), low[2] + 30 * p.u))
    radii = ((p.about(14, 0.1), p.about(22, 0.1)), (p.about(35, 0.08), (before - behind) / 2))
    yield _soft("levator", Funnel(low, high, radii, p.between(3.5, 8)))


def _nodes(p: _Place) -> Iterator[Overlay]:
    for x, y, z in p.anchors.head_mm.values():
        sign = np.sign(x)
        for _ in range(int(p.rng.integers(2, 6))):
            at: Point = (x - sign * p.between(-4, 34), y + p.between(40, 62), z - p.between(0, 75))
            size = p.about(5, 0.35)
            yield _soft("lymph_node", Ball(at, (size, 0.7 * size, 1.3 * size)), (Tissue.FAT,))
        for _ in range(int(p.rng.integers(1, 4))):
            at = (x - sign * p.between(24, 38), y + p.between(-10, 40), z + p.between(15, 80))
            size = p.about(4, 0.35)
            yield _soft("lymph_node", Ball(at, (size, 0.8 * size, 1.3 * size)), _INSIDE)


def _cleft(p: _Place) -> Iterator[Overlay]:
    """Two skins that touch between the buttocks: shallow over the sacrum, down to the perineum below the anus."""
    anus_y, anus_z = p.anus
    tail_y, tail_z = p.anchors.tail_mm
    below = anus_z - 150 * p.u
    heights = (below, anus_z - 40 * p.u, anus_z, tail_z, tail_z + p.between(30, 60))
    front = (p.front, p.front - 15 * p.u, anus_y - 2 * p.u, tail_y - p.between(10, 22), tail_y - 40 * p.u)
    rising = tuple(np.maximum.accumulate(heights).tolist())
    yield Overlay(
        "natal_cleft", Tissue.SKIN, Cleft(rising, front, p.between(1.2, 2.6), p.between(-8, 8)), (Tissue.FAT,)
    )
