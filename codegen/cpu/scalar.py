"""What elementwise operators compute on one element, as Python expressions that numba compiles.

The expressions call the functions below, each a scalar statement of the operator's reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numba
import numpy as np

from ...ir.op import Operator
from ...ir.ops.activation import Activation, Clip
from ...ir.ops.shape import Cast
from ...ir.types import DType

_njit = numba.njit(error_model="numpy", inline="always")


@_njit
def divide_integers(a, b):
    """Quotient cut toward zero."""
    if b == 0:
        return a - a
    quotient = a // b
    if a - quotient * b != 0 and (a < 0) != (b < 0):
        quotient += 1
    return quotient


@_njit
def smaller(a, b):
    return a if a < b or a != a else b


@_njit
def larger(a, b):
    return a if a > b or a != a else b


@_njit
def sigmoid(x):
    one = x - x + np.float32(1)
    return one / (one + math.exp(-x))


@_njit
def softplus(x):
    return max(x, x - x) + math.log1p(math.exp(-abs(x)))


@_njit
def elu(x, alpha):
    return alpha * math.expm1(x) if x < 0 else x


@_njit
def hard_sigmoid(x, alpha, beta):
    y = alpha * x + beta
    return min(max(y, y - y), y - y + np.float32(1))


@_njit
def gelu(x):
    return np.float32(0.5) * x * (np.float32(1) + math.erf(x * np.float32(0.7071067811865476)))


@_njit
def gelu_tanh(x):
    inner = np.float32(0.7978845608028654) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (np.float32(1) + math.tanh(inner))


@_njit
def round_half_even(x):
    return np.rint(x)


@_njit
def sign(x):
    return x if x != x else (x > 0) - (x < 0)


NAMESPACE: dict[str, object] = {
    "math": math,
    "np": np,
    **{f.__name__: f for f in (divide_integers, smaller, larger, sigmoid, softplus, elu, hard_sigmoid)},
    **{f.__name__: f for f in (gelu, gelu_tanh, round_half_even, sign)},
}
"""What the expressions may name."""

_MATH = {
    name: f"math.{name}({{0}})"
    for name in [
        "exp",
        "log",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
        "sqrt",
        "floor",
        "ceil",
        "erf",
    ]
}
_TEMPLATES: dict[str, str] = {
    **_MATH,
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
    "and": "{0} and {1}",
    "or": "{0} or {1}",
    "xor": "{0} != {1}",
    "not": "not {0}",
    "where": "({1} if {0} else {2})",
    "neg": "-{0}",
    "abs": "abs({0})",
    "round": "round_half_even({0})",
    "sign": "sign({0})",
    "is_nan": "{0} != {0}",
    "bitwise_not": "~{0}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "relu": "larger({0}, {zero})",
    "sigmoid": "sigmoid({0})",
    "softplus": "softplus({0})",
    "mish": "{0} * math.tanh(softplus({0}))",
    "swish": "{0} * sigmoid({0})",
    "hard_swish": "{0} * hard_sigmoid({0}, {one} / {six}, {half})",
    "hard_sigmoid": "hard_sigmoid({0}, {a0}, {a1})",
    "leaky_relu": "({a0} * {0} if {0} < 0 else {0})",
    "thresholded_relu": "({0} if {0} > {a0} else {zero})",
    "elu": "elu({0}, {a0})",
    "celu": "(larger({0}, {zero}) + smaller({zero}, {a0} * math.expm1({0} / {a0})))",
    "selu": "({a1} * elu({0}, {a0}))",
    "softsign": "{0} / ({one} + abs({0}))",
    "gelu": "gelu({0})",
    "gelu_tanh": "gelu_tanh({0})",
    "prelu": "({1} * {0} if {0} < 0 else {0})",
}


def _number(value: float, dtype: DType) -> str:
    kind = f"np.{dtype.numpy.name}"
    if dtype.is_float and not math.isfinite(value):
        return f"{kind}({'-' if value < 0 else ''}np.inf)" if not math.isnan(value) else f"{kind}(np.nan)"
    return f"{kind}({float(value)!r})" if dtype.is_float else f"{kind}({int(value)})"


def scalar_expression(operator: Operator, arguments: Sequence[str], dtypes: Sequence[DType]) -> str | None:
    """An expression for one element of the result, or ``None`` where there is none.

    Args:
        arguments: expressions for the operands.
        dtypes: their element types.
    """
    name = operator.name
    first = dtypes[0]
    if DType.F16 in dtypes:
        return None
    if name == "div":
        return f"divide_integers({', '.join(arguments)})" if first.is_integer else " / ".join(arguments)
    if name == "reciprocal":
        return f"{_number(1, first)} / {arguments[0]}"
    if name == "pow":
        power = f"math.pow({arguments[0]}, {arguments[1]})" if first.is_integer else f"{arguments[0]} ** {arguments[1]}"
        return power if first.is_integer or dtypes[1] is first else power.replace(" ** ", f" ** np.{first.numpy.name}")
    if isinstance(operator, Clip):
        return _clip(operator, arguments[0], first)
    if isinstance(operator, Cast):
        return _cast(arguments[0], first, operator.to)
    template = _TEMPLATES.get(name)
    if template is None:
        return None
    constants = {"zero": _number(0, first), "one": _number(1, first), "six": _number(6, first)}
    if first.is_float:
        constants["half"] = _number(0.5, first)
    if isinstance(operator, Activation):
        constants.update({f"a{i}": _number(a, first) for i, a in enumerate(operator.act_args)})
    return template.format(*arguments, **constants)


def _clip(operator: Clip, x: str, dtype: DType) -> str | None:
    for bound, function in ((operator.min, "larger"), (operator.max, "smaller")):
        if math.isfinite(bound):
            if dtype.is_integer and not (np.iinfo(dtype.numpy).min <= bound <= np.iinfo(dtype.numpy).max):
                return None
            x = f"{function}({x}, {_number(bound, dtype)})"
    return x


def _cast(x: str, source: DType, to: DType) -> str | None:
    if to is DType.BOOL:
        return f"{x} != 0"
    if source.is_float and to.is_integer:
        return None
    return f"np.{to.numpy.name}({x})"


Scalar = Callable[..., object]
