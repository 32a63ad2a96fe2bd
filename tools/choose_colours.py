"""Choose the colours of the result page for colour-blind readers, and print them for ``vastus.report.palette``.

Structures that touch must stay apart for normal sight and for the three kinds of colour blindness at full strength
(Machado 2009), by CIEDE2000. Which structures touch is in tests/report/touching.csv: counted on six synthetic people
(pairs with voxels of 1.2 x 1.2 x 3 mm at most 3.6 mm apart). Needs coloraide (of the extra ``test``):

    python tools/choose_colours.py
"""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from coloraide import Color
from numpy.typing import NDArray

from vastus.anatomy import BONES, MUSCLES, STRUCTURES

TOUCHING = Path(__file__).parents[1] / "tests" / "report" / "touching.csv"
SIGHTS = (None, "protan", "deutan", "tritan")
_LIGHTNESS = (48, 58, 68, 78, 88)
_CHROMA = (25, 50, 75)
_HUES = range(0, 360, 15)
_STEPS = 400_000
_BONES = ((245, 240, 225), (172, 158, 124))
"""Femur and hip bone keep colours of bone, further apart than those of the anatomy table."""
_NEAREST = 9.0
"""What two structures that do not touch should be apart by, if it costs nothing."""


def candidates() -> list[Color]:
    """Colours of the screen that can be seen over dark muscle and are no greys."""
    found = [Color("lch-d65", [light, chroma, hue]) for light in _LIGHTNESS for chroma in _CHROMA for hue in _HUES]
    inside = [colour.convert("srgb") for colour in found if colour.convert("srgb").in_gamut()]
    # What is printed are whole numbers, so these are what is compared.
    whole = [Color("srgb", [round(255 * c) / 255 for c in colour.coords()]) for colour in inside]
    return [*whole, *(Color("srgb", [c / 255 for c in bone]) for bone in _BONES)]


def apart(colours: list[Color]) -> NDArray[np.float64]:
    """Least CIEDE2000 of each pair over all kinds of sight."""
    seen = [
        [c if s is None else c.filter(s, 1, method="machado", space="srgb-linear") for c in colours] for s in SIGHTS
    ]
    least = np.full((len(colours), len(colours)), np.inf)
    np.fill_diagonal(least, 0.0)
    for sight in seen:
        for a, b in itertools.combinations(range(len(colours)), 2):
            distance = sight[a].delta_e(sight[b], method="2000")
            least[a, b] = least[b, a] = min(least[a, b], distance)
    return least


def touching() -> list[tuple[int, int]]:
    """Pairs of positions in ``STRUCTURES``."""
    place = {s.key: n for n, s in enumerate(STRUCTURES)}
    with TOUCHING.open(encoding="utf-8", newline="") as file:
        return [(place[row["first"]], place[row["second"]]) for row in csv.DictReader(file)]


def choose(least: NDArray[np.float64], pairs: list[tuple[int, int]], seed: int = 0) -> NDArray[np.int64]:
    """Anneal: which candidate each structure gets; the two last candidates are the bones' own."""
    rng: Any = np.random.default_rng(seed)
    count = len(least) - len(BONES)
    near = np.zeros((len(STRUCTURES), len(STRUCTURES)), dtype=bool)
    for a, b in pairs:
        near[a, b] = near[b, a] = True
    chosen = np.concatenate([rng.permutation(count)[: len(MUSCLES)], count + np.arange(len(BONES))])

    def cost(structure: int, colour: int) -> float:
        distances = least[colour, chosen]
        others = np.arange(len(chosen)) != structure
        touch = distances[near[structure] & others]
        rest = distances[~near[structure] & others]
        return float(np.exp(-touch / 1.5).sum() * 1e4 + 0.3 * np.clip(_NEAREST - rest, 0, None).sum())

    best, best_value = chosen.copy(), -1.0
    for step in range(_STEPS):
        heat = 30.0 * (1 - step / _STEPS) ** 2 + 1e-6
        structure, colour = int(rng.integers(len(MUSCLES))), int(rng.integers(count))
        change = cost(structure, colour) - cost(structure, int(chosen[structure]))
        if change < 0 or rng.random() < np.exp(-change / heat):
            chosen[structure] = colour
        if step % 500 == 0 or step == _STEPS - 1:
            value = min(least[chosen[a], chosen[b]] for a, b in pairs)
            if value >= best_value:
                best, best_value = chosen.copy(), value
    return best


def made_different(
    chosen: NDArray[np.int64], least: NDArray[np.float64], pairs: list[tuple[int, int]]
) -> NDArray[np.int64]:
    """Give a structure that shares its colour with one far away the free colour that its neighbours bear best."""
    chosen = chosen.copy()
    for structure in range(len(chosen)):
        if chosen[structure] in chosen[:structure]:
            near = [chosen[b if a == structure else a] for a, b in pairs if structure in (a, b)]
            free = [c for c in range(len(least) - len(BONES)) if c not in chosen]
            chosen[structure] = max(free, key=lambda colour: least[colour, near].min())
    return chosen


def main() -> None:
    """Print the table."""
    colours = candidates()
    least, pairs = apart(colours), touching()
    chosen = made_different(choose(least, pairs), least, pairs)
    nearest = min(least[chosen[a], chosen[b]] for a, b in pairs)
    print(f"{len(colours)} candidates; touching pairs are at least {nearest:.1f} apart")
    for structure, colour in zip(STRUCTURES, chosen, strict=True):
        print(f'    "{structure.key}": {tuple(round(255 * c) for c in colours[colour].coords())},')


if __name__ == "__main__":
    main()
