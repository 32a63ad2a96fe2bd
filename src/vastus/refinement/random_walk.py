"""Random walker on a plane (Grady 2006, doi 10.1109/TPAMI.2006.233), solved directly.

Each free place gets the label whose seed a random walker from there meets first most probably. Steps are the harder,
the higher the costs of the two places; between any two joined places a step is possible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

HARDEST = 14.0
"""Costs above it count as this: exp(-14) is one step in a million."""
_LEAST_STEP = 1e-7
_DIGITS = 9


def walk(cost: NDArray[np.floating], domain: NDArray[np.bool_], seeds: NDArray[np.integer]) -> NDArray[np.int32]:
    """Spread seeds over a domain.

    Args:
        cost: (I, J), 0 or more; a step is exp(-cost) easy.
        domain: (I, J); nothing passes outside.
        seeds: (I, J), 0 none, else the label; those outside the domain do not count.

    Returns:
        (I, J): the label of each place; 0 outside the domain and where no seed can be reached.
    """
    result = np.zeros(domain.shape, np.int32)
    count = int(domain.sum())
    steps = _steps(cost, domain, count)
    part = sparse.csgraph.connected_components(steps, directed=False)[1]
    seed = seeds[domain]
    labels, rank = np.unique(seed[seed > 0], return_inverse=True)
    if not len(labels):
        return result
    parts = int(part.max()) + 1
    held = np.zeros((parts, len(labels)), bool)
    held[part[seed > 0], rank] = True
    # Where only one label can be met there is nothing to solve.
    found = np.where(held.any(axis=1), labels[held.argmax(axis=1)], 0)[part]
    contested = (held.sum(axis=1) > 1)[part]
    found[seed > 0] = seed[seed > 0]
    if contested.any():
        free = np.flatnonzero(contested & (seed == 0))
        fixed = np.flatnonzero(contested & (seed > 0))
        if len(free):
            found[free] = labels[_most_probable(steps, free, fixed, np.searchsorted(labels, seed[fixed]))]
    result[domain] = found
    return result


def _steps(cost: NDArray[np.floating], domain: NDArray[np.bool_], count: int) -> sparse.csr_matrix:
    """How easy a step between two neighbours is, (places, places), symmetric."""
    place = np.full(domain.shape, -1, np.int32)
    place[domain] = np.arange(count, dtype=np.int32)
    one, other, ease = [], [], []
    for near, far in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        joined = domain[near] & domain[far]
        one.append(place[near][joined])
        other.append(place[far][joined])
        worse = np.maximum(cost[near][joined], cost[far][joined])
        ease.append(np.exp(-np.minimum(worse, HARDEST)) + _LEAST_STEP)
    i, j, w = (np.concatenate(x) for x in (one, other, ease))
    return sparse.coo_matrix((np.r_[w, w], (np.r_[i, j], np.r_[j, i])), shape=(count, count)).tocsr()


def _most_probable(
    steps: sparse.csr_matrix, free: NDArray[np.int64], fixed: NDArray[np.int64], rank: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each free place the rank of the label that is met first most probably."""
    from scipy.sparse.linalg import splu

    rows = steps[free]
    laplacian = (sparse.diags(np.asarray(rows.sum(axis=1)).ravel()) - rows[:, free]).tocsc()
    met = np.zeros((len(fixed), int(rank.max()) + 1))
    met[np.arange(len(fixed)), rank] = 1
    factors = splu(laplacian, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}, diag_pivot_thresh=0.0)
    probability = factors.solve(np.asarray(rows[:, fixed] @ met))
    # Rounded, so that the last bits of a processor don't decide a tie; then the lower label has it.
    return np.asarray(np.round(probability, _DIGITS).argmax(axis=1))
