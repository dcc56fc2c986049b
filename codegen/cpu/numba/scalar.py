"""What elementwise operators compute on one element, as Python expressions that numba compiles.

Each expression is a scalar statement of the operator's reference. Arguments are names of variables, so an expression
may read them several times. Half floats arrive and leave as float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np

from ....ir.activation import clip_bounds
from ....ir.op import Operator
from ....ir.ops.activation import Activation, Clip
from ....ir.ops.elementwise import BitShift, Mod
from ....ir.ops.shape import Cast
from ....ir.ops.unary import IsInf
from ....ir.types import DType
from .half import double_to_half, half_to_single, single_to_half

_njit = numba.njit(error_model="numpy")


@_njit
def smaller(a, b):
    """NaN if one is NaN."""
    return a if a < b or a != a else b


@_njit
def larger(a, b):
    """NaN if one is NaN."""
    return a if a > b or a != a else b


@_njit
def divide_integers(a, b):
    """Quotient cut toward zero; 0 of a division by zero."""
    if b == 0:
        return a - a
    if b + 1 == 0:
        return a - a - a
    quotient = a // b
    if a != quotient * b and (a < 0) != (b < 0):
        quotient += 1
    return quotient


@_njit
def remainder(a, b):
    """Remainder with the sign of the divisor; 0 of a division by zero."""
    if b == 0 or b + 1 == 0:
        return a - a
    return a % b


@_njit
def truncated_remainder(a, b):
    """Remainder of integers with the sign of the dividend; 0 of a division by zero."""
    return a - a if b == 0 else a - divide_integers(a, b) * b


@_njit
def to_int32(x):
    """The fraction dropped; the smallest integer for what does not fit."""
    return np.int32(x) if -2147483648.0 <= np.trunc(x) < 2147483648.0 else np.int32(-2147483648)


@_njit
def to_int64(x):
    """The fraction dropped; the smallest integer for what does not fit."""
    fits = -9223372036854775808.0 <= x < 9223372036854775808.0
    return np.int64(x) if fits else np.int64(-9223372036854775808)


@_njit
def to_uint64(x):
    """The fraction dropped; beyond the range what :func:`tilewright.ir.ops.shape.truncate` says."""
    if x >= 9223372036854775808.0:
        return np.uint64(to_int64(np.float64(x) - 9223372036854775808.0)) ^ np.uint64(1 << 63)
    return np.uint64(to_int64(x))


@_njit
def exponential(x):
    """e to the power of a float32, to about one unit in the last place, in steps that vectorise.

    Cephes' expf: x = n log 2 + r, a polynomial in r, and n added to the exponent. Below -87 the result is 0.
    """
    n = np.rint(x * np.float32(1.44269504088896341))
    r = x - n * np.float32(0.693359375) - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    y = p * (r * r) + r + np.float32(1)
    inside = min(max(n, np.float32(-126)), np.float32(127))
    power = np.int32((np.int32(inside) + np.int32(127)) << np.int32(23)).view(np.float32)
    result = np.float32(0) if x < np.float32(-87.3) else np.float32(np.inf) if x > np.float32(88.02) else y * power
    return result if x == x else x


@_njit
def ordered(x):
    """An int32 that compares as the float32 does; NaN is the largest or smallest of all."""
    bits = np.float32(x).view(np.int32)
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@_njit
def from_ordered(key):
    """The float32 of :func:`ordered`."""
    return np.int32(key ^ ((key >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


NAMESPACE: tuple[tuple[str, object], ...] = (
    ("math", math),
    ("np", np),
    ("njit", _njit),
    *((f.__name__, f) for f in (smaller, larger, divide_integers, remainder, truncated_remainder)),
    *((f.__name__, f) for f in (exponential, ordered, from_ordered)),
    *((f.__name__, f) for f in (to_int32, to_int64, to_uint64, half_to_single, single_to_half, double_to_half)),
)
"""What the expressions may name."""

_FUNCTIONS = (
    *("exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
    *("sqrt", "erf"),
)
_SIGMOID = "({one} if {0} >= 0 else math.exp(-abs({0}))) / ({one} + math.exp(-abs({0})))"
_SOFTPLUS = "(larger({0}, {zero}) + math.log1p(math.exp(-abs({0}))))"
_ELU = "({a0} * math.expm1({0}) if {0} < 0 else {0})"
_HARD_SIGMOID = "smaller(larger({a0} * {0} + {a1}, {zero}), {one})"

_TEMPLATES: dict[str, str] = {
    **{name: f"math.{name}({{0}})" for name in _FUNCTIONS},
    "floor": "np.floor({0})",
    "ceil": "np.ceil({0})",
    "round": "np.rint({0})",
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "min": "smaller({0}, {1})",
    "max": "larger({0}, {1})",
    "equal": "{0} == {1}",
    "less": "{0} < {1}",
    "less_or_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_or_equal": "{0} >= {1}",
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} != {1}",
    "not": "not {0}",
    "where": "{1} if {0} else {2}",
    "neg": "-{0}",
    "abs": "abs({0})",
    "is_nan": "{0} != {0}",
    "reciprocal": "{one} / {0}",
    "bitwise_not": "~{0}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "relu": "larger({0}, {zero})",
    "leaky_relu": "{a0} * {0} if {0} < 0 else {0}",
    "prelu": "{1} * {0} if {0} < 0 else {0}",
    "thresholded_relu": "{0} if {0} > {a0} else {zero}",
    "sigmoid": _SIGMOID,
    "swish": "{0} * (" + _SIGMOID + ")",
    "hard_sigmoid": _HARD_SIGMOID,
    "hard_swish": "{0} * smaller(larger({sixth} * {0} + {half}, {zero}), {one})",
    "softplus": _SOFTPLUS,
    "mish": "{0} * math.tanh(" + _SOFTPLUS + ")",
    "elu": _ELU,
    "selu": "{a1} * " + _ELU,
    "celu": "larger({0}, {zero}) + smaller({a0} * math.expm1({0} / {a0}), {zero})",
    "softsign": "{0} / ({one} + abs({0}))",
    "gelu": "{half} * {0} * ({one} + math.erf({0} / {root_two}))",
    "gelu_tanh": "{half} * {0} * ({one} + math.tanh({root_two_over_pi} * ({0} + {cubic} * ({0} * {0} * {0}))))",
}
_NUMBERS = {
    "half": 0.5,
    "sixth": 1 / 6,
    "root_two": math.sqrt(2),
    "root_two_over_pi": math.sqrt(2 / math.pi),
    "cubic": 0.044715,
}


def number(value: float, dtype: DType) -> str:
    """A constant of an element type as Python source; of half floats, as float32."""
    if dtype.is_float:
        kind = "np.float64" if dtype is DType.F64 else "np.float32"
        return f"{kind}(np.nan)" if math.isnan(value) else f"{kind}({float(value)!r})".replace("inf", "np.inf")
    return f"np.{dtype.numpy.name}({int(value)})"


def scalar_expression(operator: Operator, arguments: Sequence[str], dtypes: Sequence[DType]) -> str | None:
    """An expression for one element of the result, or ``None`` where there is none.

    Args:
        arguments: names of variables that hold the operands.
        dtypes: their element types.
    """
    name, first = operator.name, dtypes[0]
    x = arguments[0]
    if name == "div":
        return f"divide_integers({x}, {arguments[1]})" if first.is_integer else f"{x} / {arguments[1]}"
    if isinstance(operator, Mod):
        if first.is_float:
            return f"np.fmod({x}, {arguments[1]})"
        return f"{'truncated_remainder' if operator.fmod else 'remainder'}({x}, {arguments[1]})"
    if name == "pow":
        return _power(x, arguments[1], first)
    if name == "sign":
        return _sign(x, first)
    if isinstance(operator, IsInf):
        signs = [s for s, wanted in (("-", operator.negative), ("", operator.positive)) if wanted]
        return " or ".join(f"{x} == {sign}np.inf" for sign in signs) or f"{x} < {x}"
    if isinstance(operator, BitShift):
        shift = f"np.{first.numpy.name}({x} {'<<' if operator.left else '>>'} {arguments[1]})"
        return f"{shift} if {arguments[1]} < {8 * first.bytes} else {number(0, first)}"
    if isinstance(operator, Cast):
        return _cast(x, first, operator.to)
    if isinstance(operator, Activation):
        return activation_expression(name, operator.act_args, x, first)
    template = _TEMPLATES.get(name)
    return template.format(*arguments, zero=number(0, first), one=number(1, first)) if template else None


def activation_expression(act: str, act_args: Sequence[float], x: str, dtype: DType) -> str | None:
    """An expression for one element of a fused activation or of the operator of that name."""
    if act == "none":
        return x
    if act == Clip.name:
        wide = np.dtype(np.float32) if dtype is DType.F16 else dtype.numpy
        low, high = clip_bounds(tuple(act_args), wide)
        return f"smaller(larger({x}, {number(low.item(), dtype)}), {number(high.item(), dtype)})"
    template = _TEMPLATES.get(act)
    if template is None:
        return None
    constants = {"zero": number(0, dtype), "one": number(1, dtype)}
    if dtype.is_float:
        constants.update({key: number(value, dtype) for key, value in _NUMBERS.items()})
        constants.update({f"a{i}": number(a, dtype) for i, a in enumerate(act_args)})
    return template.format(x, **constants)


def _power(x: str, y: str, base: DType) -> str:
    if base.is_float:
        return f"{x} ** {'np.float64' if base is DType.F64 else 'np.float32'}({y})"
    return f"{'to_int32' if base is DType.I32 else 'to_int64'}(np.float64({x}) ** np.float64({y}))"


def _sign(x: str, dtype: DType) -> str:
    zero, one = number(0, dtype), number(1, dtype)
    negative = zero if dtype.name.startswith("U") else number(-1, dtype)
    signed = f"({one} if {x} > 0 else ({negative} if {x} < 0 else {zero}))"
    return f"{x} if {x} != {x} else {signed}" if dtype.is_float else signed


def _cast(x: str, source: DType, to: DType) -> str:
    if to is DType.BOOL:
        return f"{x} != 0"
    if to is DType.F16:
        # Rounded when the result is stored.
        return x if source is DType.F64 else f"np.float32({x})"
    if source.is_float and to.is_integer:
        function = "to_uint64" if to is DType.U64 else "to_int32" if to.bytes < 4 or to is DType.I32 else "to_int64"
        return f"np.{to.numpy.name}({function}({x}))"
    return f"np.{to.numpy.name}({x})"
