"""Mathematical functions on vectors of single precision numbers, for any number of lanes and any target.

Method: reduction of the argument to a small interval, there a polynomial, then reconstruction, as in Cephes (Moshier)
and in J.-M. Muller, "Elementary Functions". The coefficients are own minimax fits (Lawson's iteration on Chebyshev
nodes, against 40 digits), so that the error of a polynomial stays below a tenth of a unit in the last place; results
are within 2 to 4 units. NaN arguments give NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .builder import FunctionBuilder
from .types import Register, constant

_EXP = (0.50000001, 0.166665129, 0.0416661873, 0.00836959841, 0.00139517172)
"""(exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2."""

_LOG = (
    *(0.333333126, -0.250000096, 0.200021187, -0.166679957, 0.142195509),
    *(-0.124055914, 0.118881746, -0.116756413, 0.0674660124),
)
"""(log(1 + f) - f + f^2 / 2) / f^3 for 1 + f from sqrt(1/2) to sqrt(2)."""

_ERF_NEAR = (0.128379148, -0.376124811, 0.112816825, -0.0267617195, 0.00498594007, -0.000595373924)
"""erf(x) / x - 1 in x^2, for |x| <= 0.93."""

_ERF_FAR = (
    *(0.000178452337, -1.12953315, -0.633309876, -0.108321071),
    *(0.0251460789, -0.00418124117, 0.000436574988, -2.1278762e-05),
)
"""log(1 - erf(x)) for x from 0.93 to 4, where erf is one in single precision."""

_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
"""ln(2) as a number of few bits, whose products are exact, and the rest."""

ROUNDING = 1.5 * 2.0**23
"""Adding it to a number below 2^22 in magnitude leaves the nearest integer in the low bits."""


def number(like: Register, value: float) -> Register:
    """The constant in every lane of the type of ``like``."""
    return constant(like.type, value)


def polynomial(b: FunctionBuilder, x: Register, coefficients: Sequence[float]) -> Register:
    """Sum of coefficients[i] * x^i by Horner's rule."""
    result = number(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = b.fma(result, x, number(x, coefficient))
    return result


def maximum(b: FunctionBuilder, x: Register, bound: float) -> Register:
    """The larger of x and the bound; NaN stays."""
    return b.larger(number(x, bound), x)


def minimum(b: FunctionBuilder, x: Register, bound: float) -> Register:
    """The smaller of x and the bound; NaN stays."""
    return b.smaller(number(x, bound), x)


def with_sign(b: FunctionBuilder, magnitude: Register, sign: Register) -> Register:
    """``magnitude`` with the sign of ``sign``."""
    return b.intrinsic(f"llvm.copysign.{magnitude.type.suffix}", magnitude.type, [magnitude, sign])


def _power_of_two(b: FunctionBuilder, n: Register, like: Register) -> Register:
    """2^n for an integer n from -126 to 127, made in the exponent field."""
    biased = b.binary("add", n, constant(n.type, 127))
    return b.convert("bitcast", b.binary("shl", biased, constant(n.type, 23)), like.type)


def _reduce(b: FunctionBuilder, x: Register) -> tuple[Register, Register]:
    """n and r with x = n * ln(2) + r and |r| <= ln(2) / 2."""
    shifted = b.fma(x, number(x, 1 / math.log(2)), number(x, ROUNDING))
    whole = b.binary("fsub", shifted, number(x, ROUNDING))
    r = b.fma(whole, number(x, -_LN2_HIGH), x)
    r = b.fma(whole, number(x, -_LN2_LOW), r)
    integers = x.type.as_scalar("i32")
    n = b.binary("sub", b.convert("bitcast", shifted, integers), b.convert("bitcast", number(x, ROUNDING), integers))
    return n, r


def exp(b: FunctionBuilder, x: Register) -> Register:
    """e^x; 0 and infinity where single precision ends, subnormal numbers included."""
    x = maximum(b, minimum(b, x, 89.0), -104.0)
    n, r = _reduce(b, x)
    y = b.fma(b.binary("fmul", r, r), polynomial(b, r, _EXP), b.binary("fadd", r, number(r, 1)))
    # In two steps, because 2^n itself may be out of range where the result is not.
    half = b.binary("ashr", n, constant(n.type, 1))
    y = b.binary("fmul", y, _power_of_two(b, half, x))
    return b.binary("fmul", y, _power_of_two(b, b.binary("sub", n, half), x))


def _exp_limited(b: FunctionBuilder, x: Register) -> Register:
    """e^x where neither the exponent nor the result leaves the range of normal numbers."""
    n, r = _reduce(b, x)
    y = b.fma(b.binary("fmul", r, r), polynomial(b, r, _EXP), b.binary("fadd", r, number(r, 1)))
    return b.binary("fmul", y, _power_of_two(b, n, x))


def exp_below_zero(b: FunctionBuilder, x: Register) -> Register:
    """e^x for x up to 0; 0 where it is no normal number."""
    # The smallest exponent is no power of two any more but a field of zeros.
    return _exp_limited(b, maximum(b, x, -88.0))


def expm1(b: FunctionBuilder, x: Register) -> Register:
    """e^x - 1 for x up to 88, exact to the last digits near zero."""
    n, r = _reduce(b, maximum(b, x, -87.0))
    scale = _power_of_two(b, n, x)
    y = b.fma(b.binary("fmul", r, r), polynomial(b, r, _EXP), r)
    return b.fma(scale, y, b.binary("fsub", scale, number(x, 1)))


def log(b: FunctionBuilder, x: Register) -> Register:
    """The natural logarithm; -infinity at zero, NaN below."""
    integers = x.type.as_scalar("i32")
    is_small = b.compare("olt", x, number(x, 2.0**-126))
    scaled = b.select(is_small, b.binary("fmul", x, number(x, 2.0**23)), x)
    bits = b.convert("bitcast", scaled, integers)
    # The mantissa is taken from sqrt(1/2) to sqrt(2): 0x3F3504F3 is the first of them.
    shifted = b.binary("sub", bits, constant(integers, 0x3F3504F3))
    n = b.binary("ashr", shifted, constant(integers, 23))
    mantissa_bits = b.binary("sub", bits, b.binary("shl", n, constant(integers, 23)))
    f = b.binary("fsub", b.convert("bitcast", mantissa_bits, x.type), number(x, 1))
    exponent = b.convert("sitofp", n, x.type)
    exponent = b.binary("fadd", exponent, b.select(is_small, number(x, -23), number(x, 0)))
    square = b.binary("fmul", f, f)
    rest = b.binary("fmul", b.binary("fmul", square, f), polynomial(b, f, _LOG))
    rest = b.fma(exponent, number(x, _LN2_LOW), rest)
    rest = b.fma(square, number(x, -0.5), rest)
    y = b.fma(exponent, number(x, _LN2_HIGH), b.binary("fadd", f, rest))
    y = b.select(b.compare("olt", x, number(x, math.inf)), y, x)
    y = b.select(b.compare("oeq", x, number(x, 0)), number(x, -math.inf), y)
    return b.select(b.compare("olt", x, number(x, 0)), number(x, math.nan), y)


def log1p(b: FunctionBuilder, x: Register) -> Register:
    """log(1 + x) for x >= 0."""
    shifted = b.binary("fadd", number(x, 1), x)
    lost = b.binary("fsub", x, b.binary("fsub", shifted, number(x, 1)))
    correction = b.binary("fdiv", lost, shifted)
    y = b.binary("fadd", log(b, shifted), correction)
    return b.select(b.compare("olt", x, number(x, math.inf)), y, x)


def tanh(b: FunctionBuilder, x: Register) -> Register:
    """The hyperbolic tangent."""
    magnitude = minimum(b, b.unary_intrinsic("fabs", x), 10.0)
    growth = expm1(b, b.binary("fadd", magnitude, magnitude))
    return with_sign(b, b.binary("fdiv", growth, b.binary("fadd", growth, number(x, 2))), x)


def erf(b: FunctionBuilder, x: Register) -> Register:
    """The error function."""
    square = b.binary("fmul", x, x)
    near = b.fma(polynomial(b, square, _ERF_NEAR), x, x)
    magnitude = b.unary_intrinsic("fabs", x)
    exponent = polynomial(b, minimum(b, magnitude, 4.0), _ERF_FAR)
    far = with_sign(b, b.binary("fsub", number(x, 1), _exp_limited(b, exponent)), x)
    return b.select(b.compare("olt", magnitude, number(x, 0.93)), near, far)
