"""Mathematical functions on vectors of single precision numbers, for any number of lanes and any target.

Method: reduction of the argument to a small interval, there a polynomial, then reconstruction, as in Cephes (Moshier)
and in J.-M. Muller, "Elementary Functions". The coefficients are own minimax fits (Lawson's iteration on Chebyshev
nodes, against 40 digits), so that the error of a polynomial stays below a tenth of a unit in the last place; results
are within 2 to 6 units. NaN arguments give NaN.
"""

import math
from collections.abc import Callable, Sequence

from .builder import FunctionBuilder
from .types import I1, Register, constant

_EXP = (0.50000001, 0.166665129, 0.0416661873, 0.00836959841, 0.00139517172)
"""(exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2."""

_LOG = (
    *(0.333333126, -0.250000096, 0.200021187, -0.166679957, 0.142195509),
    *(-0.124055914, 0.118881746, -0.116756413, 0.0674660124),
)
"""(log(1 + f) - f + f^2 / 2) / f^3 for 1 + f from sqrt(1/2) to sqrt(2)."""

_TANH = (
    (1.0, 0.131050602, 0.00312697375, 1.13786054e-05, -2.10141753e-08, 5.57556987e-11, -8.98474004e-14),
    (1.0, 0.46438399, 0.024588244, 0.00025787481),
)
_ERF = (
    (1.12837911, 0.200941682, 0.0540591888, 0.00418448681, 0.000289024319, 1.90976834e-06),
    (1.0, 0.511411905, 0.118386224, 0.0158253498, 0.00125333061, 3.68277324e-05),
)
"""tanh(x) / x up to 9.2 and erf(x) / x up to 4.1 in x^2, numerator and denominator. There the functions are one in
single precision, and the quotients larger by a millionth: cut off at one, they are that however they round."""

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


def rarely(b: FunctionBuilder, is_rare: Register, function: Callable[[], Register], otherwise: Register) -> Register:
    """A function in the lanes where something holds, which is computed only if there are such."""
    name = f"llvm.vector.reduce.or.{is_rare.type.suffix}"
    some = is_rare if is_rare.type.lanes == 1 else b.intrinsic(name, I1, [is_rare])
    return b.if_(some, lambda: [b.select(is_rare, function(), otherwise)], lambda: [otherwise])[0]


def _power_of_two(b: FunctionBuilder, shifted: Register, half: bool = False) -> Register:
    """2^n, or half of it, for an n from -126 to 127 to which `ROUNDING` was added; made in the exponent field."""
    integers = shifted.type.as_scalar("i32")
    field = b.binary("shl", b.convert("bitcast", shifted, integers), constant(integers, 23))
    field = b.binary("add", field, constant(integers, (126 if half else 127) << 23))
    return b.convert("bitcast", field, shifted.type)


def _reduce(b: FunctionBuilder, x: Register) -> tuple[Register, Register]:
    """n, with `ROUNDING` added, and r with x = n * ln(2) + r and |r| <= ln(2) / 2."""
    shifted = b.fma(x, number(x, 1 / math.log(2)), number(x, ROUNDING))
    whole = b.binary("fsub", shifted, number(x, ROUNDING))
    r = b.fma(whole, number(x, -_LN2_HIGH), x)
    return shifted, b.fma(whole, number(x, -_LN2_LOW), r)


def _reduced_exp(b: FunctionBuilder, x: Register) -> tuple[Register, Register]:
    """n, with `ROUNDING` added, and e^r."""
    shifted, r = _reduce(b, x)
    return shifted, b.fma(b.binary("fmul", r, r), polynomial(b, r, _EXP), b.binary("fadd", r, number(r, 1)))


def exp(b: FunctionBuilder, x: Register) -> Register:
    """e^x; 0 and infinity where single precision ends, subnormal numbers included."""
    shift = number(x, ROUNDING)

    def everywhere() -> Register:
        shifted, y = _reduced_exp(b, maximum(b, minimum(b, x, 89.0), -104.0))
        # In two steps, because 2^n itself may be out of range where the result is not.
        half = b.fma(b.binary("fsub", shifted, shift), number(x, 0.5), shift)
        rest = b.binary("fsub", shifted, b.binary("fsub", half, shift))
        return b.binary("fmul", b.binary("fmul", y, _power_of_two(b, half)), _power_of_two(b, rest))

    is_far = b.compare("ugt", b.unary_intrinsic("fabs", x), number(x, 87.0))
    return rarely(b, is_far, everywhere, _exp_limited(b, x))


def _exp_limited(b: FunctionBuilder, x: Register) -> Register:
    """e^x where neither the exponent nor the result leaves the range of normal numbers."""
    shifted, y = _reduced_exp(b, x)
    return b.binary("fmul", y, _power_of_two(b, shifted))


def exp_below_zero(b: FunctionBuilder, x: Register) -> Register:
    """e^x for x up to 0; 0 where it is no normal number."""
    # The smallest exponent is no power of two any more but a field of zeros.
    return _exp_limited(b, maximum(b, x, -88.0))


def expm1(b: FunctionBuilder, x: Register) -> Register:
    """e^x - 1 for x up to 88, exact to the last digits near zero."""
    shifted, r = _reduce(b, maximum(b, x, -87.0))
    scale = _power_of_two(b, shifted)
    y = b.fma(b.binary("fmul", r, r), polynomial(b, r, _EXP), r)
    return b.fma(scale, y, b.binary("fsub", scale, number(x, 1)))


def sigmoid(b: FunctionBuilder, x: Register) -> Register:
    """1 / (1 + e^-x); 0 where it is no normal number."""
    shifted, y = _reduced_exp(b, b.negate(minimum(b, maximum(b, x, -89.0), 87.0)))
    # Doubled later, since twice the largest power of two is out of range.
    half = b.binary("fmul", y, _power_of_two(b, shifted, half=True))
    return b.binary("fdiv", number(x, 1), b.fma(half, number(x, 2), number(x, 1)))


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


def _bounded_ratio(b: FunctionBuilder, x: Register, limit: float, ratio: Sequence[Sequence[float]]) -> Register:
    """x times a quotient of polynomials in x^2, from -1 to 1, which it is beyond the limit."""
    x = maximum(b, minimum(b, x, limit), -limit)
    above, below = (polynomial(b, b.binary("fmul", x, x), coefficients) for coefficients in ratio)
    quotient = b.binary("fdiv", b.binary("fmul", x, above), below)
    return maximum(b, minimum(b, quotient, 1.0), -1.0)


def tanh(b: FunctionBuilder, x: Register) -> Register:
    """The hyperbolic tangent."""
    return _bounded_ratio(b, x, 9.2, _TANH)


def erf(b: FunctionBuilder, x: Register) -> Register:
    """The error function."""
    return _bounded_ratio(b, x, 4.1, _ERF)
