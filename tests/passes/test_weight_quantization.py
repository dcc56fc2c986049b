"""Weights become 8-bit integers: those that lie on a grid exactly, others per channel."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.ir.types import DType
from tilewright.passes.quantization.parameters import grid_of, on_own_grid, per_channel


def real(stored: np.ndarray, type) -> np.ndarray:
    scale, zero = type.quant.broadcast(stored.ndim)
    return (stored.astype(np.int64) - zero) * scale.astype(np.float64)


def test_weights_of_a_u8_file_keep_their_grid(rng: np.random.Generator) -> None:
    integers = rng.integers(0, 256, (16, 8, 3, 3))
    integers.ravel()[:2] = (0, 255)
    weights = (np.float32(0.0117) * (integers - 157)).astype(np.float32)
    found = on_own_grid(weights)
    assert found is not None
    stored, type = found
    assert type.dtype is DType.I8
    assert type.quant is not None
    # The same integers and zero point, shifted from u8 to i8.
    np.testing.assert_array_equal(stored, integers - 128)
    assert type.quant.zero_point == (157 - 128,)
    np.testing.assert_allclose(type.quant.scale, 0.0117, rtol=1e-6)


def test_symmetric_grid_has_the_zero_point_0(rng: np.random.Generator) -> None:
    integers = rng.integers(-127, 128, (8, 4))
    found = on_own_grid((np.float32(2.0**-9) * integers).astype(np.float32))
    assert found is not None
    np.testing.assert_array_equal(found[0], integers)
    assert found[1].quant is not None
    assert found[1].quant.zero_point == (0,)


@pytest.mark.filterwarnings("error")
def test_numbers_too_small_for_a_scale_are_on_no_grid() -> None:
    for smallest in (1e-45, 1e-38, 1e-31):
        weights = np.array([[0, smallest], [0, 0]], np.float32)
        assert grid_of(weights) is None
        stored, type = per_channel(weights, 0, None, 1.0)
        assert not stored.any()
        assert type.quant is not None
        assert type.quant.scale == (1.0, 1.0)


def test_a_grid_of_which_few_points_are_used_is_made_finer() -> None:
    step, integers = grid_of(np.array([0.0, 0.5, -1.0]), 254) or (0, np.zeros(3))
    # The span of 3 steps fits 84 times into 254.
    np.testing.assert_allclose(step, 0.5 / 84)
    assert integers.tolist() == [0, 84, -168]


def test_differences_that_are_multiples_of_the_step() -> None:
    found = grid_of(np.array([-100, -97, 3, 50, 55, 150]) * 0.1)
    assert found is not None
    np.testing.assert_allclose(found[0], 0.1)
    np.testing.assert_array_equal(found[1], [-100, -97, 3, 50, 55, 150])


def test_ordinary_weights_are_on_no_grid(rng: np.random.Generator) -> None:
    assert on_own_grid(rng.standard_normal((3, 5, 3, 3)).astype(np.float32)) is None
    assert on_own_grid(rng.standard_normal(12).astype(np.float32)) is None
    # 257 levels do not fit 8 bits.
    assert on_own_grid(np.arange(257, dtype=np.float32)) is None
    assert on_own_grid(np.zeros((2, 2), np.float32)) is None


def test_per_channel_uses_all_of_each_channel_s_range(rng: np.random.Generator) -> None:
    weights = (rng.standard_normal((6, 40)) * 10.0 ** np.arange(-3, 3)[:, np.newaxis]).astype(np.float32)
    for axis, array in ((0, weights), (1, weights.T)):
        stored, type = per_channel(array, axis, None, 1.0)
        assert np.abs(stored).max(1 - axis).tolist() == [127] * 6
        largest = np.abs(weights).max(1)
        assert (np.abs(real(stored, type) - array).max(1 - axis) <= largest / 254 * 1.0001).all()


def test_channel_of_zeros_has_a_scale() -> None:
    stored, type = per_channel(np.array([[0, 0], [1, -2]], np.float32), 0, None, 1.0)
    assert stored.tolist()[0] == [0, 0]
    assert type.quant is not None
    assert type.quant.scale[0] == 1.0


def test_scale_makes_room_for_the_bias() -> None:
    weights = np.array([[1e-12, -3e-13], [0.5, 0.25]], np.float32)
    bias = np.array([6.0, 6.0], np.float32)
    stored, type = per_channel(weights, 0, bias, 0.02)
    assert type.quant is not None
    assert np.rint(bias / (0.02 * np.asarray(type.quant.scale))).max() <= 2**30 + 64
    assert stored[0].tolist() == [0, 0]
    # 0.5 and 0.25 lie on a grid, of which 126 and 63 are points.
    assert stored[1].tolist() == [126, 63]
