"""A foreign label map as what is drawn of a person, ready to become a body (``vastus.synthesis.graft``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from vastus.anatomy import Side
from vastus.errors import GeometryError, LabelError
from vastus.importing.label_maps import read_label_file
from vastus.importing.name_tables import UserTable, is_background, meanings_of
from vastus.io.label_names import split_side
from vastus.io.labels import read_named_image
from vastus.io.nnunet_layout import BACKGROUND_NAME
from vastus.synthesis.drawn import Drawn, DrawnName, drawn_person
from vastus.synthesis.graft import UNCLASSED
from vastus.volume import Volume, place_on


def read_drawn(path: Path, user: UserTable, skin: Path | None, tell: Callable[[str], None]) -> Drawn:
    """Read a label map, and an outline of the body if there is one.

    Args:
        path: of the label map.
        user: the user's table of names, if the file does not name its values.
        skin: a mask on the same grid, above 0 under the skin; None where there is none.
        tell: told what is left out.

    Raises:
        LabelError: no value means anything that a body needs.
        GeometryError: the mask of the skin lies elsewhere.
    """
    source = read_label_file(path, user.names)
    for warning in source.warnings:
        tell(warning)
    known = list(_meant(source.names, user))
    there = set(np.unique(source.volume.array).tolist()) - {0}
    left_out = sorted(there - {value for value, _, _ in known})
    if left_out:
        said = ", ".join(source.names.get(value, "") or f"value {value}" for value in left_out)
        tell(f"left out, because nobody says what they are in a body: {said}")
    if not there & {value for value, _, _ in known}:
        raise LabelError("The label map names no structure of a body.", path=path, remedy="Give a table with --names.")
    table = np.zeros(int(source.volume.array.max()) + 1, np.uint8)
    names = []
    for number, (value, parts, side) in enumerate(known, start=1):
        if value < len(table):
            table[value] = number
        names.append(DrawnName(number, parts, side))
    labels = source.volume.with_array(table[source.volume.array])
    return drawn_person(labels, names, None if skin is None else _skin_on(skin, labels))


def _meant(names: Mapping[int, str], user: UserTable) -> Iterator[tuple[int, tuple[str, ...], Side]]:
    """Value, parts of a body and side of each name that has a place in a body."""
    meanings = meanings_of(names.values(), user)
    own = {meaning.members[0] for meaning in meanings.values() if len(meaning.members) == 1}
    for value, name in sorted(names.items()):
        if not value or is_background(name):
            continue
        plain, side = split_side(name)
        unclassed = "vertebrae" if plain.startswith("vertebra") else plain
        if unclassed in UNCLASSED:
            yield value, tuple(part for part in UNCLASSED[unclassed][0] if part not in own), side
        elif name in meanings and BACKGROUND_NAME not in meanings[name].members:
            # What may also be something without a class is left to the whole person.
            yield value, meanings[name].members, meanings[name].side


def _skin_on(path: Path, labels: Volume) -> Volume:
    mask = read_named_image(path).volume
    placed = place_on(mask.with_array((mask.array > 0).astype(np.uint8)), labels)
    if placed is None:
        raise GeometryError(f"The outline does not lie on the label map: {labels.difference_to(mask)}.", path=path)
    return placed
