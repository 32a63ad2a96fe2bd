"""Compiled loops in several threads: a loop is cut into blocks, and leaves the interpreter free while it runs.

Threads of our own instead of numba's parallel loops: those take several seconds a loop to compile, on the first run of
every new installation.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Final, TypeVar

_BLOCKS: Final = 8

T = TypeVar("T")


def in_blocks(count: int, work: Callable[[int, int], T]) -> list[T]:
    """Do ``work(start, stop)`` for blocks of 0..count, in as many threads as numba may use.

    The blocks are the same for any number of threads, so that sums over them are too, to the last bit.

    Returns:
        What each block gave, in order.
    """
    from numba import get_num_threads

    parts = max(1, min(_BLOCKS, count))
    ends = [part * count // parts for part in range(parts + 1)]
    threads = min(parts, int(get_num_threads()))
    if threads == 1:
        return [work(start, stop) for start, stop in pairwise(ends)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, ends[:-1], ends[1:]))
