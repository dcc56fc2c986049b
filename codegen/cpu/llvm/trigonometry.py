"""Circular and hyperbolic functions and their inverses on vectors of single precision numbers.

Method, coefficients and errors are as in :mod:`.vector_math`: an argument is brought into a small interval, there a
polynomial is a fit of our own.
"""

import math

from .builder import FunctionBuilder
from .types import Register, constant
from .vector_math import ROUNDING, exp, log1p, number, polynomial, with_sign

REDUCED = 8192.0
"""Magnitude up to which sine, cosine and tangent are reduced exactly enough."""

_SIN = (-0.166666552, 0.008332178, -0.000195172994)
"""(sin(r) / r - 1) / r^2 in r^2, for |r| <= pi / 4."""

_COS = (0.0416666456, -0.00138873677, 2.44384519e-05)
"""(cos(r) - 1 + r^2 / 2) / r^4 in r^2, for |r| <= pi / 4."""

_ATAN = (
    *(-0.333331674, 0.199941367, -0.142142087, 0.106789403),
    *(-0.0758057758, 0.0435535312, -0.0165811777, 0.00297458889),
)
"""(atan(t) / t - 1) / t^2 in t^2, for |t| <= 1."""

_ASIN = (0.166667536, 0.0749524161, 0.0454770997, 0.0241475999, 0.0422185659)
"""(asin(t) / t - 1) / t^2 in t^2, for |t| <= 1/2."""

_SINH = (0.166666672, 0.00833335053, 0.000198360663, 2.81743951e-06)
"""(sinh(x) / x - 1) / x^2 in x^2, for |x| <= 1."""

_HALF_PI = (1.5703125, 0.00048351287841796875, 3.1391647326017846e-07)
"""pi / 2 in parts of so few bits that products of the first two with whole numbers up to 2^13 are exact."""

_LARGE = 1e9
"""From here on, 1 beside a square is lost, and later the square is out of range."""


def _odd(b: FunctionBuilder, x: Register, square: Register, coefficients: tuple[float, ...]) -> Register:
    """x + x * square * the polynomial of the square."""
    return b.fma(b.binary("fmul", polynomial(b, square, coefficients), square), x, x)


def _reduced(b: FunctionBuilder, x: Register) -> tuple[Register, Register, Register]:
    """Sine and cosine of x less the nearest multiple of pi / 2, and in the low bits which multiple it is."""
    shifted = b.fma(x, number(x, 2 / math.pi), number(x, ROUNDING))
    whole, r = b.binary("fsub", shifted, number(x, ROUNDING)), x
    for part in _HALF_PI:
        r = b.fma(whole, number(x, -part), r)
    square = b.binary("fmul", r, r)
    start = b.fma(square, number(x, -0.5), number(x, 1))
    cosine = b.fma(b.binary("fmul", square, square), polynomial(b, square, _COS), start)
    return _odd(b, r, square, _SIN), cosine, b.convert("bitcast", shifted, x.type.as_scalar("i32"))


def _is_odd(b: FunctionBuilder, quadrant: Register) -> Register:
    return b.compare("ne", b.binary("and", quadrant, constant(quadrant.type, 1)), constant(quadrant.type, 0))


def _turned(b: FunctionBuilder, value: Register, quadrant: Register) -> Register:
    """The value with its sign changed in the third and fourth quadrant."""
    sign = b.binary("shl", b.binary("and", quadrant, constant(quadrant.type, 2)), constant(quadrant.type, 30))
    return b.convert("bitcast", b.binary("xor", b.convert("bitcast", value, quadrant.type), sign), value.type)


def sin(b: FunctionBuilder, x: Register) -> Register:
    """The sine, for |x| up to `REDUCED`."""
    sine, cosine, quadrant = _reduced(b, x)
    return _turned(b, b.select(_is_odd(b, quadrant), cosine, sine), quadrant)


def cos(b: FunctionBuilder, x: Register) -> Register:
    """The cosine, for |x| up to `REDUCED`."""
    sine, cosine, quadrant = _reduced(b, x)
    following = b.binary("add", quadrant, constant(quadrant.type, 1))
    return _turned(b, b.select(_is_odd(b, quadrant), sine, cosine), following)


def tan(b: FunctionBuilder, x: Register) -> Register:
    """The tangent, for |x| up to `REDUCED`."""
    sine, cosine, quadrant = _reduced(b, x)
    is_odd = _is_odd(b, quadrant)
    above, below = b.select(is_odd, cosine, sine), b.select(is_odd, b.negate(sine), cosine)
    return b.binary("fdiv", above, below)


def atan(b: FunctionBuilder, x: Register) -> Register:
    """The inverse of the tangent, beyond 1 by that of the reciprocal."""
    magnitude, one = b.unary_intrinsic("fabs", x), number(x, 1)
    is_far = b.compare("ogt", magnitude, one)
    t = b.binary("fdiv", b.select(is_far, one, magnitude), b.select(is_far, magnitude, one))
    near = _odd(b, t, b.binary("fmul", t, t), _ATAN)
    far = b.binary("fsub", number(x, math.pi / 2), near)
    return with_sign(b, b.select(is_far, far, near), x)


def _half_angle(b: FunctionBuilder, x: Register) -> tuple[Register, Register]:
    """Whether |x| is beyond 1/2, and the inverse of the sine: of |x|, or beyond of sqrt((1 - |x|) / 2)."""
    magnitude = b.unary_intrinsic("fabs", x)
    is_far = b.compare("ogt", magnitude, number(x, 0.5))
    rest = b.fma(magnitude, number(x, -0.5), number(x, 0.5))
    square = b.select(is_far, rest, b.binary("fmul", magnitude, magnitude))
    return is_far, _odd(b, b.select(is_far, b.unary_intrinsic("sqrt", square), magnitude), square, _ASIN)


def asin(b: FunctionBuilder, x: Register) -> Register:
    """The inverse of the sine; NaN beyond 1."""
    is_far, angle = _half_angle(b, x)
    far = b.fma(angle, number(x, -2), number(x, math.pi / 2))
    return with_sign(b, b.select(is_far, far, angle), x)


def acos(b: FunctionBuilder, x: Register) -> Register:
    """The inverse of the cosine; NaN beyond 1."""
    is_far, angle = _half_angle(b, x)
    double = b.binary("fadd", angle, angle)
    below = b.compare("olt", x, number(x, 0))
    far = b.select(below, b.binary("fsub", number(x, math.pi), double), double)
    return b.select(is_far, far, b.binary("fsub", number(x, math.pi / 2), with_sign(b, angle, x)))


def _half_exponential(b: FunctionBuilder, magnitude: Register) -> tuple[Register, Register]:
    """e^x / 2 and e^-x / 2, the first without leaving the range before it does."""
    root = exp(b, b.binary("fmul", magnitude, number(magnitude, 0.5)))
    large = b.binary("fmul", b.binary("fmul", root, number(root, 0.5)), root)
    return large, b.binary("fdiv", number(root, 0.25), large)


def sinh(b: FunctionBuilder, x: Register) -> Register:
    """The hyperbolic sine."""
    magnitude = b.unary_intrinsic("fabs", x)
    far = with_sign(b, b.binary("fsub", *_half_exponential(b, magnitude)), x)
    near = _odd(b, x, b.binary("fmul", x, x), _SINH)
    return b.select(b.compare("olt", magnitude, number(x, 1)), near, far)


def cosh(b: FunctionBuilder, x: Register) -> Register:
    """The hyperbolic cosine."""
    return b.binary("fadd", *_half_exponential(b, b.unary_intrinsic("fabs", x)))


def _logarithm(b: FunctionBuilder, x: Register, inner: Register) -> Register:
    """log(1 + inner), or log(2 x) where x is large."""
    is_large = b.compare("ogt", x, number(x, _LARGE))
    y = log1p(b, b.select(is_large, x, inner))
    return b.binary("fadd", y, b.select(is_large, number(x, math.log(2)), number(x, 0)))


def asinh(b: FunctionBuilder, x: Register) -> Register:
    """The inverse of the hyperbolic sine."""
    magnitude, one = b.unary_intrinsic("fabs", x), number(x, 1)
    square = b.binary("fmul", magnitude, magnitude)
    root = b.unary_intrinsic("sqrt", b.binary("fadd", square, one))
    inner = b.binary("fadd", magnitude, b.binary("fdiv", square, b.binary("fadd", root, one)))
    return with_sign(b, _logarithm(b, magnitude, inner), x)


def acosh(b: FunctionBuilder, x: Register) -> Register:
    """The inverse of the hyperbolic cosine; NaN below 1."""
    rest = b.binary("fsub", x, number(x, 1))
    root = b.unary_intrinsic("sqrt", b.fma(rest, rest, b.binary("fadd", rest, rest)))
    y = _logarithm(b, x, b.binary("fadd", rest, root))
    return b.select(b.compare("olt", x, number(x, 1)), number(x, math.nan), y)


def atanh(b: FunctionBuilder, x: Register) -> Register:
    """The inverse of the hyperbolic tangent; NaN beyond 1."""
    magnitude = b.unary_intrinsic("fabs", x)
    ratio = b.binary("fdiv", b.binary("fadd", magnitude, magnitude), b.binary("fsub", number(x, 1), magnitude))
    return with_sign(b, b.binary("fmul", log1p(b, ratio), number(x, 0.5)), x)
