"""References on attributes at the ends of 64 bits, where a look at each number would take for ever."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.errors import IRError
from tilewright.ir.op import Operator
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.indexing import Gather, OneHot, ScatterElements
from tilewright.ir.ops.movement import Slice, Trilu
from tilewright.ir.ops.normalization import GroupNorm, Lrn
from tilewright.ir.ops.resize import Resize
from tilewright.ir.types import TensorType

LARGEST = 2**63 - 1
X = np.arange(12, dtype=np.float32).reshape(1, 3, 4)


def evaluated(operator: Operator, *arrays: np.ndarray) -> np.ndarray:
    types = [TensorType.of(array) for array in arrays]
    return operator.evaluate(arrays, types, operator.result_types(types))[0]


@pytest.mark.parametrize("k", [LARGEST, -LARGEST, 2**31, -(2**32)])
def test_the_diagonal_of_a_triangle_may_lie_anywhere(k: int) -> None:
    for upper in (True, False):
        expected = X if upper == (k < 0) else np.zeros_like(X)
        np.testing.assert_array_equal(evaluated(Trilu(upper, k), X), expected)


def test_the_window_of_lrn_may_be_larger_than_the_channels() -> None:
    whole, larger = (evaluated(Lrn(size, size * 1e-4, 0.5, 1.0), X) for size in (5, LARGEST))
    np.testing.assert_allclose(larger, whole, rtol=1e-6)


def test_the_step_of_a_single_element_does_not_matter() -> None:
    found = evaluated(Slice((0, 2, 3), (1, 1, 1), (LARGEST, -LARGEST, 2**40)), X)
    assert found.tolist() == [[[11.0]]]


def test_a_dimension_that_stays_is_not_resampled() -> None:
    x = np.array([[1.0, np.inf, 3.0]], np.float32)
    assert evaluated(Resize((1, 3), (1.0, 1.0), "linear"), x).tolist() == x.tolist()


def test_results_without_elements_are_not_computed() -> None:
    nothing = np.zeros((2, 0, 4), np.float32)
    assert evaluated(GroupNorm(1, 1e-5), nothing, np.zeros(0, np.float32), np.zeros(0, np.float32)).shape == (2, 0, 4)
    assert evaluated(Gather(0), np.zeros((3, 0), np.float32), np.array([99])).shape == (1, 0)


def test_no_updates_leave_everything_however_many_there_might_be() -> None:
    x, indices, updates = (
        np.ones((1, 4), np.float32),
        np.zeros((2**31 - 1, 0), np.int64),
        np.zeros((2**31 - 1, 0), np.float32),
    )
    assert evaluated(ScatterElements(0), x, indices, updates).tolist() == x.tolist()


def test_no_tensor_has_more_dimensions_than_numpy_and_kernels_take() -> None:
    with pytest.raises(
        IRError, match="a tensor has too many dimensions; expected at most 16 dimensions of a tensor, found 17"
    ):
        TensorType.of(np.zeros((1,) * 17))
    wide = np.zeros((1,) * 16, np.float32)
    assert evaluated(Add(), wide, wide).shape == wide.shape


def test_integers_of_attributes_fit_64_bits() -> None:
    for k in (LARGEST + 1, -LARGEST - 1, 10**6000):
        with pytest.raises(IRError, match="trilu: attribute 'k' is too large; expected at most 9223372036854775807"):
            Trilu(True, k)


def test_large_unsigned_indices_are_not_counted_from_the_back() -> None:
    found = evaluated(OneHot(3, 1), np.array([2, 3, 2**64 - 1], np.uint64), np.array([0, 1]))
    assert found.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
