"""Colours of the structures for readers who are colour-blind.

``tools/choose_colours.py`` chose them: structures that touch stay apart, by CIEDE2000, for normal sight and for protan,
deutan and tritan blindness at full strength (Machado 2009). A test measures it again.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vastus.anatomy import BUILT_IN, Structure, StructureTable

Colour = tuple[int, int, int]

SAFE_COLOURS: Final[dict[str, Colour]] = {
    "sartorius": (164, 137, 47),
    "rectus_femoris": (198, 195, 148),
    "vastus_lateralis": (149, 99, 125),
    "vastus_intermedius": (144, 141, 97),
    "vastus_medialis": (102, 178, 177),
    "adductor_magnus": (202, 232, 136),
    "adductor_brevis": (103, 97, 225),
    "adductor_longus": (220, 14, 117),
    "gracilis": (136, 206, 192),
    "pectineus": (239, 211, 255),
    "semitendinosus": (116, 118, 22),
    "semimembranosus": (45, 125, 124),
    "biceps_femoris": (168, 154, 244),
    "gluteus_maximus": (72, 111, 196),
    "gluteus_medius": (250, 215, 175),
    "gluteus_minimus": (106, 119, 77),
    "tensor_fasciae_latae": (132, 122, 254),
    "piriformis": (165, 195, 239),
    "obturator_internus": (226, 150, 2),
    "obturator_externus": (154, 98, 115),
    "quadratus_femoris": (154, 164, 209),
    "iliacus": (225, 228, 70),
    "iliopsoas": (141, 128, 215),
    "psoas": (188, 79, 74),
    "abdominal_oblique": (187, 57, 178),
    "rectus_abdominis": (247, 127, 168),
    "multifidus": (53, 160, 32),
    "femur": (245, 240, 225),
    "hip_bone": (172, 158, 124),
}


def safe_colour(structure: Structure) -> Colour:
    """Give the colour for colour-blind readers; a structure for which the tool chose none yet keeps its usual one."""
    return SAFE_COLOURS.get(structure.key, structure.colour)


def has_safe_colours(table: StructureTable) -> bool:
    """Tell whether each structure of a table has a colour that was chosen for colour-blind readers."""
    return all(s.key in SAFE_COLOURS for s in table.rows)


def safe_colour_table(table: StructureTable = BUILT_IN) -> NDArray[np.uint8]:
    """Colour of each class id, shape (classes, 3); background black."""
    colours = np.zeros((table.class_count, 3), dtype=np.uint8)
    for structure in table.rows:
        colours[structure.class_id] = safe_colour(structure)
    return colours
