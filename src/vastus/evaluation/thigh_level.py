"""Where along the thigh a drawn slice lies, told from the structures that are drawn in it."""

from __future__ import annotations

from collections.abc import Iterable

from vastus.anatomy import BY_KEY, ThighLevel


def levels_of(structures: Iterable[Iterable[str]]) -> tuple[ThighLevel, ...]:
    """Find the levels of the slices of one scan from the structures in each slice, from the feet upwards.

    The highest mark among the structures counts (``anatomy.Structure.lowest_level``), and no slice lies lower than one
    below it.

    Args:
        structures: keys of the anatomy table, slice by slice.
    """
    order = tuple(ThighLevel)
    highest, found = 0, []
    for keys in structures:
        levels = [BY_KEY[key].lowest_level or ThighLevel.DISTAL for key in keys]
        highest = max([highest, *map(order.index, levels)])
        found.append(order[highest])
    return tuple(found)
