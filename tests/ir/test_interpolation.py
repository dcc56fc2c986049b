"""Functions of 16 bits: the rule of the document, its bound, and what no table is made of."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tilewright.ir import interpolation
from tilewright.ir.ops.activation import Elu, Gelu, HardSwish, LeakyRelu, Mish, Selu, Sigmoid, Softplus, Swish, Tanh
from tilewright.ir.ops.elementwise import Mul
from tilewright.ir.ops.unary import Exp, Floor, Reciprocal, Sqrt, Unary
from tilewright.ir.types import DType, Quantization, TensorType

EVERY = np.arange(-(2**15), 2**15)


def words(scale: float, zero: int = 0, dtype: DType = DType.I16) -> TensorType:
    return TensorType((len(EVERY),), dtype, Quantization.per_tensor(scale, zero))


def results(function: Unary, x: TensorType, y: TensorType) -> np.ndarray:
    """For every integer."""
    (found,) = function.evaluate([EVERY.astype(np.int16)], [x], [y])
    return found.astype(np.int64)


def test_the_rule_is_that_of_the_document(rng: np.random.Generator) -> None:
    table = rng.integers(-(2**19), 2**19, interpolation.KNOTS)
    found = interpolation.interpolate(EVERY, table)
    some = rng.integers(-(2**15), 2**15, 500).tolist()
    for q in [*some, -(2**15), -65, -64, -33, -1, 0, 1, 31, 63, 64, 65, 2**15 - 1]:
        m, side = (q, 0) if q >= 0 else (-1 - q, 360)
        e = max(m.bit_length() - 6, 0)
        first, f = side + 32 * e + (m >> e), Fraction(m % 2**e, 2**e)
        exact = (int(table[first]) * (1 - f) + int(table[first + 1]) * f) / 4
        assert found[q + 2**15] == min(max(round(exact), -(2**15)), 2**15 - 1)


def test_small_integers_are_knots_and_straight_lines_exact() -> None:
    x = words(2.0**-10)
    np.testing.assert_array_equal(results(LeakyRelu(0.5), x, x)[EVERY >= 0], EVERY[EVERY >= 0])
    found = results(Swish(), x, words(2.0**-11))[abs(EVERY) < 64]
    number = EVERY[abs(EVERY) < 64] * 2.0**-10
    assert abs(found - number / (1 + np.exp(-number)) * 2**11).max() <= 0.625 + 1e-3


CURVED: list[tuple[Unary, float]] = [
    *((Swish(), 0.54), (Sigmoid(), 0.38), (Tanh(), 0.76), (Gelu(), 0.50), (HardSwish(), 3.0), (Mish(), 0.56)),
    *((Softplus(), 0.45), (Elu(1.0), 0.55)),
]
"""Functions, and what x² times the second derivative is at most."""


@pytest.mark.parametrize("reach", [2.0, 16.0, 1000.0])
@pytest.mark.parametrize(("function", "curvature"), CURVED)
def test_results_are_within_the_bound_of_the_document(function: Unary, curvature: float, reach: float) -> None:
    x = words(reach / 2**15)
    exact = function.reference((EVERY * np.float32(x.quant.scale[0] if x.quant else 0)).astype(np.float64))
    y = words(float(abs(exact).max()) / 2**15 * 1.01)
    scale = y.quant.scale[0] if y.quant else 0
    # A segment ends 1/32 farther from 0 than it begins.
    found = results(function, x, y)
    assert abs(found - exact / scale).max() <= 0.5 + 0.125 + 1.07 * curvature / 8192 / scale + 0.01
    assert function.misses(x, y) <= interpolation.ERROR_LIMIT


@pytest.mark.parametrize("function", [Floor(), Exp(), Selu(1.6, 1.05), Sqrt()])
def test_what_a_table_misses_is_told(function: Unary) -> None:
    """Steps, and what grows by more than a straight line follows; bends at 0 are at a knot."""
    found = function.misses(words(8.0 / 2**15), words(8.0 / 2**15))
    assert (found > interpolation.ERROR_LIMIT) is isinstance(function, Floor | Exp)


def test_a_reciprocal_may_miss_a_share_of_itself() -> None:
    """Straight lines miss it by 1/4224 of itself everywhere, more than steps where results are large."""
    x, y = words(2.0 / 2**15), words(4.0 / 2**15)
    steps = results(Reciprocal(), x, y)[EVERY > 0]
    exact = 2.0**27 / EVERY[EVERY > 0]
    inside = exact < 2**15 - 1
    missed = abs(steps - exact)[inside]
    assert missed.max() > interpolation.ERROR_LIMIT
    assert (missed < 0.5 + 0.125 + exact[inside] / 4096).all()
    assert Reciprocal().misses(x, y) <= interpolation.ERROR_LIMIT


def test_types_of_16_bits_have_the_zero_point_0() -> None:
    for operator, count in ((Sigmoid(), 1), (Mul(), 2)):
        assert operator.check_quantized([words(0.5)] * count, [words(0.5)]) is None
        others = [words(0.5, 3), words(0.5, 2**15, DType.U16), words(0.5, 0, DType.I8)]
        for other in others:
            problem = operator.check_quantized([words(0.5)] * count, [other])
            assert problem is not None and problem.startswith("of 16 bits are i16 with the zero point 0, not ")
