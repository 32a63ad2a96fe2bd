"""Compiled loops over one volume of the synthesis: sampling, filling, and the match of two persons' distances.

They take plain arrays; the modules that call them say what the arrays mean.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from vastus.loops import njit
from vastus.synthesis.kernels import NO_PART


@njit(parallel=True, cache=True, fastmath=True, nogil=True)
def trilinear(values, i, a, j, b, k, c):  # type: ignore[no-untyped-def] # pragma: no cover
    """Node values on a grid; ``i, j, k`` the lower nodes of its lines and ``a, b, c`` the shares of the upper ones."""
    out = np.empty((len(i), len(j), len(k)), np.float32)
    for x in prange(len(i)):
        row = values[i[x]] * (1 - a[x]) + values[i[x] + 1] * a[x]
        for y in range(len(j)):
            line = row[j[y]] * (1 - b[y]) + row[j[y] + 1] * b[y]
            for z in range(len(k)):
                out[x, y, z] = line[k[z]] * (1 - c[z]) + line[k[z] + 1] * c[z]
    return out


@njit(cache=True, fastmath=True, nogil=True)
def gather_affine(part, depth, matrix, shift, size):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Nearest values along an affine map; outside the body's box there is air."""
    out = np.full((size[0], size[1], size[2]), np.uint8(NO_PART))
    deep = np.full((size[0], size[1], size[2]), np.int8(127))
    for i in range(size[0]):
        for j in range(size[1]):
            x = matrix[0, 0] * i + matrix[0, 1] * j + shift[0] + 0.5
            y = matrix[1, 0] * i + matrix[1, 1] * j + shift[1] + 0.5
            z = matrix[2, 0] * i + matrix[2, 1] * j + shift[2] + 0.5
            for k in range(size[2]):
                a = int(np.floor(x + matrix[0, 2] * k))
                b = int(np.floor(y + matrix[1, 2] * k))
                c = int(np.floor(z + matrix[2, 2] * k))
                if a >= 0 and b >= 0 and c >= 0 and a < part.shape[0] and b < part.shape[1] and c < part.shape[2]:
                    out[i, j, k] = part[a, b, c]
                    deep[i, j, k] = depth[a, b, c]
    return out, deep


@njit(cache=True)
def column_crossings(corners, n_x, n_y, n_z):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Where columns along z enter or leave a closed surface: toggles, to be accumulated with exclusive or."""
    toggles = np.zeros((n_x, n_y, n_z + 1), np.uint8)
    for t in range(corners.shape[0]):
        ax, ay, az = corners[t, 0]
        bx, by, bz = corners[t, 1]
        cx, cy, cz = corners[t, 2]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0.0:
            continue
        i_low = max(0, int(np.ceil(min(ax, bx, cx))))
        i_high = min(n_x - 1, int(np.floor(max(ax, bx, cx))))
        j_low = max(0, int(np.ceil(min(ay, by, cy))))
        j_high = min(n_y - 1, int(np.floor(max(ay, by, cy))))
        for i in range(i_low, i_high + 1):
            for j in range(j_low, j_high + 1):
                u = ((bx - i) * (cy - j) - (cx - i) * (by - j)) / area
                v = ((cx - i) * (ay - j) - (ax - i) * (cy - j)) / area
                w = 1.0 - u - v
                if u >= 0 and v >= 0 and w >= 0:
                    height = u * az + v * bz + w * cz
                    k = min(max(int(np.ceil(height)), 0), n_z)
                    toggles[i, j, k] ^= 1
    return toggles


@njit(parallel=True, cache=True, fastmath=True, nogil=True)
def match_distances(moving, fixed, shift, reach, step_mm):  # type: ignore[no-untyped-def] # pragma: no cover
    """One Gauss-Newton step towards equal distances at every node: (X, Y, Z, 3) float32 mm.

    ``moving, fixed``: (X, Y, Z, C) distances in mm of C structures; ``shift``: (X, Y, Z, 3) from a node of ``fixed`` to
    its place in ``moving``. A structure counts by how near its surface is, up to ``reach`` mm.
    """
    n_x, n_y, n_z, channels = fixed.shape
    step = np.zeros_like(shift)
    for i in prange(n_x):
        for j in range(n_y):
            for k in range(n_z):
                x = min(max(i + shift[i, j, k, 0] / step_mm, np.float32(0)), np.float32(n_x - 1.001))
                y = min(max(j + shift[i, j, k, 1] / step_mm, np.float32(0)), np.float32(n_y - 1.001))
                z = min(max(k + shift[i, j, k, 2] / step_mm, np.float32(0)), np.float32(n_z - 1.001))
                p, q, r = int(x), int(y), int(z)
                a, b, c = x - p, y - q, z - r
                xx = yy = zz = np.float32(0.2)
                xy = xz = yz = bx = by = bz = np.float32(0)
                for m in range(channels):
                    target = fixed[i, j, k, m]
                    if abs(target) >= 2 * reach:
                        continue
                    v000, v001 = moving[p, q, r, m], moving[p, q, r + 1, m]
                    v010, v011 = moving[p, q + 1, r, m], moving[p, q + 1, r + 1, m]
                    v100, v101 = moving[p + 1, q, r, m], moving[p + 1, q, r + 1, m]
                    v110, v111 = moving[p + 1, q + 1, r, m], moving[p + 1, q + 1, r + 1, m]
                    w00, w01 = v000 * (1 - c) + v001 * c, v010 * (1 - c) + v011 * c
                    w10, w11 = v100 * (1 - c) + v101 * c, v110 * (1 - c) + v111 * c
                    low, high = w00 * (1 - b) + w01 * b, w10 * (1 - b) + w11 * b
                    value = low * (1 - a) + high * a
                    gx = (high - low) / step_mm
                    gy = ((w01 - w00) * (1 - a) + (w11 - w10) * a) / step_mm
                    gz = (
                        ((v001 - v000) * (1 - b) + (v011 - v010) * b) * (1 - a)
                        + ((v101 - v100) * (1 - b) + (v111 - v110) * b) * a
                    ) / step_mm
                    near = min(abs(target), abs(value)) / reach
                    weight = np.exp(-near * near)
                    miss = min(max(target - value, -reach), reach)
                    xx += weight * gx * gx
                    yy += weight * gy * gy
                    zz += weight * gz * gz
                    xy += weight * gx * gy
                    xz += weight * gx * gz
                    yz += weight * gy * gz
                    bx += weight * gx * miss
                    by += weight * gy * miss
                    bz += weight * gz * miss
                # A structure that is flat here says nothing along its surface: the diagonal keeps the step finite.
                damp = np.float32(0.3) * (xx + yy + zz) / 3
                xx, yy, zz = xx + damp, yy + damp, zz + damp
                cx, cy, cz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
                whole = xx * cx + xy * cy + xz * cz
                step[i, j, k, 0] = (bx * cx + by * cy + bz * cz) / whole
                step[i, j, k, 1] = (bx * cy + by * (xx * zz - xz * xz) + bz * (xy * xz - xx * yz)) / whole
                step[i, j, k, 2] = (bx * cz + by * (xy * xz - xx * yz) + bz * (xx * yy - xy * xy)) / whole
    return step


@njit(parallel=True, cache=True, nogil=True)
def near_squares(mask, reach):  # type: ignore[no-untyped-def] # pragma: no cover
    """Squared distance in voxels to the nearest voxel of a mask, (X, Y, Z) float32; ``reach`` squared where it is more.

    Exact up to there: the smallest of sums of three squares, axis by axis.
    """
    n_x, n_y, n_z = mask.shape
    far = np.float32(reach * reach)
    lines = np.empty(mask.shape, np.float32)
    planes = np.empty(mask.shape, np.float32)
    for i in prange(n_x):
        for j in range(n_y):
            since = reach
            for k in range(n_z):
                since = 0 if mask[i, j, k] else min(since + 1, reach)
                lines[i, j, k] = since * since
            since = reach
            for k in range(n_z - 1, -1, -1):
                since = 0 if mask[i, j, k] else min(since + 1, reach)
                lines[i, j, k] = min(lines[i, j, k], np.float32(since * since))
        planes[i] = lines[i]
        for j in range(n_y):
            for other in range(max(0, j - reach + 1), min(n_y, j + reach)):
                more = np.float32((other - j) * (other - j))
                for k in range(n_z):
                    planes[i, j, k] = min(planes[i, j, k], lines[i, other, k] + more)
    squares = np.full(mask.shape, far, np.float32)
    for i in prange(n_x):
        for other in range(max(0, i - reach + 1), min(n_x, i + reach)):
            more = np.float32((other - i) * (other - i))
            for j in range(n_y):
                for k in range(n_z):
                    squares[i, j, k] = min(squares[i, j, k], planes[other, j, k] + more)
    return squares
