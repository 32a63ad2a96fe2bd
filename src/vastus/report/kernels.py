"""Compiled loops over the slices that a page shows."""

from __future__ import annotations

import numpy as np

from vastus.loops import njit


@njit(cache=True, nogil=True)
def note_changes(plane, per_row, columns, bits, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Note where a row differs from the one above, and count values; return the number of places."""
    found = 0
    rows, width = plane.shape
    for row in range(rows):
        begin = found
        last, since = plane[row, 0], 0
        for column in range(width):
            value = plane[row, column]
            if value != last:
                counts[last] += column - since
                last, since = value, column
            changed = value if row == 0 else value ^ plane[row - 1, column]
            if changed != 0:
                columns[found] = column
                bits[found] = changed
                found += 1
        counts[last] += width - since
        per_row[row] = found - begin
    return found


@njit(cache=True, nogil=True)
def look_up(hu, grey_of_value, grey):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill in the grey value of each pixel: a quarter of the time of ``numpy.take`` on a slice that lies reversed."""
    rows, columns = hu.shape
    for row in range(rows):
        for column in range(columns):
            # Read as unsigned, negative values lie behind the others.
            grey[row, column] = grey_of_value[np.uint16(hu[row, column])]
