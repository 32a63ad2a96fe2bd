"""Python's search for garbage, less often: it takes a tenth of the time of commands that load much and end soon."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Objects made and not yet dropped between two searches: tables and figures make hundreds of thousands that live.
_BETWEEN = 200_000


def search_rarely() -> None:
    """Search for garbage only after many new objects, and never again among those that are there now.

    What nobody refers to is dropped at once all the same: only circles of objects wait.
    """
    gc.freeze()
    gc.set_threshold(_BETWEEN)


@contextmanager
def no_collecting() -> Iterator[None]:
    """Load within this block without looking for rubbish: code that is loaded stays, and is looked through in vain."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
