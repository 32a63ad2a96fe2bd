"""Compiled loops that resample along one or two axes at a time."""

from __future__ import annotations

import numpy as np

from vastus.loops import njit


@njit(cache=True, nogil=True)
def shrink_planes(flat, steps, taps_b, taps_c, out, block):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Resample the two inner axes of some planes; ``flat`` is the box as one row of memory, ``steps`` its strides."""
    first_b, weights_b = taps_b
    first_c, weights_c = taps_c
    n_c = steps[2]
    m_b, m_c = len(first_b), len(first_c)
    row = np.empty(n_c, np.float32)
    for a in range(block[0], block[1]):
        for b in range(m_b):
            row[:] = 0.0
            for t in range(weights_b.shape[1]):
                weight = weights_b[b, t]
                if weight != 0.0:
                    start = a * steps[0] + (first_b[b] + t) * steps[1]
                    source = flat[start : start + n_c]
                    for c in range(n_c):
                        row[c] += weight * source[c]
            for c in range(m_c):
                total = np.float32(0.0)
                first = first_c[c]
                for t in range(weights_c.shape[1]):
                    total += weights_c[c, t] * row[first + t]
                out[a, b, c] = total


@njit(cache=True, nogil=True)
def combine_planes(planes, first_a, weights_a, out, block):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Resample the outer axis: each plane of ``out`` is a weighted sum of ``planes``."""
    n_b, n_c = planes.shape[1], planes.shape[2]
    for a in range(block[0], block[1]):
        out[a] = 0.0
        for t in range(weights_a.shape[1]):
            weight = weights_a[a, t]
            if weight != 0.0:
                for b in range(n_b):
                    for c in range(n_c):
                        out[a, b, c] += weight * planes[first_a[a] + t, b, c]
