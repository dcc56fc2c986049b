"""Geometry of windows: what is refused, what is seen, and that padding costs nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tilewright.errors import IRError
from tilewright.ir.op import Operator
from tilewright.ir.ops.convolution import Col2Im, Conv, ConvTranspose
from tilewright.ir.ops.integer_products import ConvInteger
from tilewright.ir.ops.pooling import AveragePool, LpPool, MaxPool
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.ir.windows import WindowAxis

IMAGE = TensorType((1, 6, 8), DType.F32)
BYTES = TensorType((1, 6, 8), DType.I8, Quantization.per_tensor(0.5))
HUGE = (2**31, 2**32, 2**32 + 1, 2**61, 2**62, 2**63 - 1)


def windowed(number: int) -> list[tuple[str, Operator, tuple[TensorType, ...]]]:
    """Operators with this number as one of their attributes."""
    one, w = (1,), TensorType((4, 3, 1), DType.F32)
    cases: list[tuple[str, Operator, tuple[TensorType, ...]]] = []
    for strides, pads, dilations in (
        ((number,), (0, 0), one),
        (one, (number, 0), one),
        (one, (0, number), one),
        (one, (0, 0), (number,)),
    ):
        cases += [
            ("conv", Conv(strides, pads, dilations, 2), (IMAGE, w)),
            ("quantised conv", Conv(strides, pads, dilations, 2), (BYTES, w.with_dtype(DType.I8))),
            (
                "conv_integer",
                ConvInteger(strides, pads, dilations, 2),
                (BYTES.with_quant(None), w.with_dtype(DType.I8)),
            ),
            ("max_pool", MaxPool(one, strides, pads, dilations), (IMAGE,)),
            ("average_pool", AveragePool(one, strides, pads, dilations, True, (0,)), (IMAGE,)),
            ("lp_pool", LpPool(one, strides, pads, dilations, 2), (IMAGE,)),
        ]
        transposed = ConvTranspose(strides, pads, dilations, (number,), 2)
        cases.append(("conv_transpose", transposed, (IMAGE, TensorType((6, 2, 1), DType.F32))))
        cases.append(("col2im", Col2Im((5,), one, dilations, pads, strides), (TensorType((1, 1, 5), DType.F32),)))
    cases.append(("kernel", MaxPool((number,), one, (number, number), one), (IMAGE,)))
    cases.append(("overhang", AveragePool(one, one, (0, 0), one, False, (number,)), (IMAGE,)))
    return cases


@pytest.mark.parametrize("number", HUGE)
def test_numbers_beyond_the_largest_extent_are_refused(number: int) -> None:
    for what, operator, operands in windowed(number):
        with pytest.raises(IRError) as caught:
            operator.result_types(operands)
        assert "too large" in str(caught.value), what


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        (
            Conv((2**32,), (0, 2**32), (1,), 2),
            "conv: a number of the window is too large; expected at most 2147483647 positions along a dimension, "
            "padding included, found 4294967296",
        ),
        (Conv((1,), (0, 2**31 - 8), (1,), 2), "conv: the padded x is too large; expected at most 2147483647"),
    ],
)
def test_the_message_names_the_limit(operator: Operator, text: str) -> None:
    with pytest.raises(IRError, match=re.escape(text)):
        operator.result_types((IMAGE, TensorType((4, 3, 1), DType.F32)))


def test_a_window_has_no_more_taps_than_a_tensor_elements() -> None:
    pool = MaxPool((2**16, 2**16), (1, 1), (2**15,) * 4, (1, 1))
    with pytest.raises(IRError, match="the window has too many taps; expected at most 2147483647"):
        pool.result_types((TensorType((1, 1, 1, 1), DType.F32),))


def axes(rng: np.random.Generator) -> WindowAxis:
    return WindowAxis(
        *(int(rng.integers(low, high)) for low, high in ((0, 20), (1, 20), (1, 9), (1, 7), (1, 6), (0, 12)))
    )


def test_what_windows_see_is_what_their_positions_say(rng: np.random.Generator) -> None:
    for _ in range(500):
        axis = axes(rng)
        places = np.array([[axis.position(window, tap) for tap in range(axis.kernel)] for window in range(axis.output)])
        inside = (places >= 0) & (places < axis.input)
        assert list(axis.seen_taps()) == np.flatnonzero(inside.any(0)).tolist(), axis
        assert axis.is_padded == (not inside.all()), axis
        np.testing.assert_array_equal(axis.counts(0, axis.input), inside.sum(1), str(axis))
        for tap in range(axis.kernel):
            seen, here = axis.seen(tap)
            assert np.arange(axis.output)[seen].tolist() == np.flatnonzero(inside[:, tap]).tolist(), axis
            assert np.arange(axis.input)[here].tolist() == places[inside[:, tap], tap].tolist(), axis


LONGEST = 2**31 - 1


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (MaxPool((LONGEST - 8,), (1,), (2**30, LONGEST - 8 - 2**30), (1,)), [7.0] * 9),
        (MaxPool((2**29,), (2**29,), (2**29, 2**30 - 9), (1,)), [-np.inf, 7.0]),
        (LpPool((2**30 - 8,), (1,), (2**30 - 8, 0), (1,), 1), [0, 0, 1, 3, 6, 10, 15, 21, 28]),
        (AveragePool((2**30,), (2**30,), (0, 2**30 - 8), (1,), True, (0,)), [28 / 2**30]),
        (AveragePool((2**30,), (2**30,), (0, 2**30 - 8), (1,), False, (0,)), [3.5]),
    ],
)
def test_references_do_not_build_the_padding(pool: MaxPool, expected: list[float]) -> None:
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 8)
    types = [TensorType.of(x)]
    (found,) = pool.evaluate([x], types, pool.result_types(types))
    np.testing.assert_array_equal(found, np.array(expected, np.float32).reshape(1, 1, -1))


def test_a_convolution_does_not_build_the_padding() -> None:
    x, w = np.arange(1.0, 4.0).reshape(1, 1, 3), np.array([[[10.0, 1.0]]])
    conv = Conv((2**30,), (2**30, 2**30 - 4), (1,))
    types = [TensorType.of(x), TensorType.of(w), None, None]
    (found,) = conv.evaluate([x, w, None, None], types, conv.result_types(types))
    assert found.tolist() == [[[0.0, 12.0]]]


def test_a_transposed_convolution_does_not_build_what_is_cut_off() -> None:
    x, w = np.arange(1.0, 4.0).reshape(1, 1, 3), np.array([[[10.0, 1.0]]])
    operands = [TensorType.of(x), TensorType.of(w)]
    conv = ConvTranspose((2**29,), (2**29 - 1, 2**29 - 1), (1,), (0,))
    (found,) = conv.evaluate([x, w], operands, conv.result_types(operands))
    assert found.tolist() == [[[0.0, 20.0, 2.0, 0.0]]]


def test_a_transposed_convolution_of_nothing_is_its_bias() -> None:
    arrays = [np.zeros((1, 1, 0)), np.ones((1, 1, 3)), np.array([5.0])]
    operands = [TensorType.of(array) for array in arrays]
    conv = ConvTranspose((1,), (0, 0), (1,), (1,))
    (found,) = conv.evaluate(arrays, operands, conv.result_types(operands))
    assert found.tolist() == [[[5.0, 5.0, 5.0]]]
