from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from vastus.resampling import axis_weights, resample_box

sizes = st.integers(1, 60)


def dense(n_in: int, n_out: int, antialias: bool) -> np.ndarray:
    """The taps as a matrix (n_out, n_in)."""
    first, weights = axis_weights(n_in, n_out, antialias=antialias)
    matrix = np.zeros((n_out, n_in))
    for row in range(n_out):
        assert first[row] >= 0 and first[row] + weights.shape[1] <= n_in
        matrix[row, first[row] : first[row] + weights.shape[1]] = weights[row]
    return matrix


def centres(n_in: int, n_out: int) -> np.ndarray:
    return (np.arange(n_out) + 0.5) * n_in / n_out - 0.5


@given(sizes, sizes, st.booleans())
def test_rows_are_averages(n_in: int, n_out: int, antialias: bool):
    matrix = dense(n_in, n_out, antialias)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-6)
    assert (matrix >= 0).all()


@given(sizes, sizes)
def test_linear_weights_reproduce_a_ramp_and_repeat_the_edge(n_in: int, n_out: int):
    ramp = np.arange(n_in, dtype=float)
    expected = np.clip(centres(n_in, n_out), 0, n_in - 1)
    np.testing.assert_allclose(dense(n_in, n_out, False) @ ramp, expected, atol=1e-4)


@given(sizes, sizes)
def test_antialiased_ramp_is_off_by_at_most_a_tenth_of_a_voxel_inside(n_in: int, n_out: int):
    scale = n_in / n_out
    inner = (centres(n_in, n_out) >= scale) & (centres(n_in, n_out) <= n_in - 1 - scale)
    got = dense(n_in, n_out, True) @ np.arange(n_in)
    np.testing.assert_allclose(got[inner], centres(n_in, n_out)[inner], atol=0.1)


@given(sizes, sizes, st.booleans())
def test_mirrored_input_gives_mirrored_output(n_in: int, n_out: int, antialias: bool):
    matrix = dense(n_in, n_out, antialias)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-5)


@settings(deadline=None)  # the first call compiles
@given(sizes, st.booleans())
def test_same_size_changes_nothing(n: int, antialias: bool):
    np.testing.assert_allclose(dense(n, n, antialias), np.eye(n), atol=1e-6)


@given(st.integers(2, 20), st.integers(2, 6))
def test_antialiasing_sees_every_input_voxel(n_out: int, factor: int):
    seen = dense(n_out * factor, n_out, True).sum(axis=0)
    assert (seen > 0).all()
    np.testing.assert_allclose(seen[factor:-factor], 1 / factor, atol=0.35 / factor)


def layouts(values: np.ndarray) -> list[np.ndarray]:
    """The same values under every memory order and every reversal of axes, as readers and to_ras give them."""
    arrays = []
    for order in permutations(range(3)):
        stored = np.ascontiguousarray(values.transpose(order)).transpose(np.argsort(order))
        for flips in product((False, True), repeat=3):
            axes = tuple(a for a in range(3) if flips[a])
            arrays.append(
                np.flip(np.ascontiguousarray(np.flip(stored, axes).transpose(order)).transpose(np.argsort(order)), axes)
            )
    return arrays


@pytest.mark.parametrize("antialias", [False, True])
def test_every_memory_layout_gives_the_same(antialias: bool):
    values = np.random.default_rng(0).integers(-1000, 1000, size=(9, 14, 11)).astype(np.int16)
    shape = (5, 20, 4)
    matrices = [dense(n, m, antialias) for n, m in zip(values.shape, shape, strict=True)]
    expected = np.einsum("ai,bj,ck,ijk->abc", *matrices, values.astype(float))
    arrays = layouts(values)
    assert len(arrays) == 48
    for array in arrays:
        np.testing.assert_array_equal(array, values)
        result = resample_box(array, shape, antialias=antialias)
        assert result.dtype == np.float32
        assert result.flags.f_contiguous
        np.testing.assert_allclose(result, expected, atol=2e-3)


def test_linear_resampling_is_scipys():
    values = np.random.default_rng(1).normal(size=(12, 9, 15))
    shape = (7, 13, 6)
    places = np.meshgrid(*[centres(n, m) for n, m in zip(values.shape, shape, strict=True)], indexing="ij")
    expected = map_coordinates(values, places, order=1, mode="nearest")
    np.testing.assert_allclose(resample_box(values, shape, antialias=False), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, np.uint16, np.float32, np.float64, np.int8])
def test_every_type_is_taken(dtype: type):
    values = np.random.default_rng(2).integers(0, 100, size=(4, 6, 5)).astype(dtype)
    np.testing.assert_allclose(resample_box(values, (4, 6, 5), antialias=False), values, atol=1e-5)


def test_read_only_and_sliced_arrays_are_taken():
    values = np.random.default_rng(3).integers(0, 100, size=(8, 12, 10)).astype(np.int16)
    sliced = values[::2, 1:9, ::3]
    sliced.flags.writeable = False
    np.testing.assert_allclose(resample_box(sliced, sliced.shape, antialias=True), sliced, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.integers(1, 12)] * 3), st.tuples(*[st.integers(1, 12)] * 3), st.floats(-1000, 1000), st.booleans()
)
def test_a_constant_stays(shape, new_shape, value, antialias):
    result = resample_box(np.full(shape, value, np.float32), new_shape, antialias=antialias)
    assert result.shape == new_shape
    np.testing.assert_allclose(result, value, rtol=1e-5, atol=1e-4)
