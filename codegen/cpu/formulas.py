"""Elementwise operators and activations as formulas, written once for vector kernels and for those of numba.

The meaning of activations stands in :mod:`tilewright.ir.activation`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ...ir.activation import clip_bounds
from ...ir.op import Operator
from ...ir.ops.activation import Activation, PRelu
from ...ir.ops.elementwise import BitShift, Mod
from ...ir.ops.quantization import FakeQuantize
from ...ir.ops.shape import BitCast, Cast
from ...ir.ops.unary import IsInf, Reciprocal
from .element import OPERATORS, Element, where

Formula = Callable[..., Element]
FormulaFunction = TypeVar("FormulaFunction", bound=Formula)

_FORMULAS: dict[type[Operator], Formula] = {}


def formula(cls: type[Operator]) -> Callable[[FormulaFunction], FormulaFunction]:
    """Register the formula of an elementwise operator: from it and an element of each operand to one of the result."""

    def register(function: FormulaFunction) -> FormulaFunction:
        _FORMULAS[cls] = function
        return function

    return register


def formula_of(operator: Operator) -> Formula | None:
    """The formula for elements of the operands, ``None`` if nobody wrote one."""
    if isinstance(operator, Activation):
        return lambda x: ACTIVATIONS[operator.act](x, *operator.act_args)
    if operator.name in OPERATORS:
        return lambda x, *others: x.apply(operator.name, *others)
    function = _FORMULAS.get(type(operator))
    return partial(function, operator) if function else None


def _below_zero(x: Element, below: Element) -> Element:
    return where(x < 0, below, x)


def _clip(x: Element, low: float, high: float) -> Element:
    bounds = clip_bounds((low, high), x.dtype.numpy)
    x = x if low == -math.inf else x.apply("at_least", bounds[0].item())
    return x if high == math.inf else x.apply("at_most", bounds[1].item())


def _relu(x: Element) -> Element:
    return x.apply("at_least", 0)


def _sigmoid(x: Element) -> Element:
    return x.apply("sigmoid")


def _hard_sigmoid(x: Element, alpha: float, beta: float) -> Element:
    return (x * alpha + beta).apply("at_least", 0).apply("at_most", 1)


def _elu(x: Element, alpha: float) -> Element:
    return _below_zero(x, x.apply("at_most", 0).apply("expm1") * alpha)


def _celu(x: Element, alpha: float) -> Element:
    if alpha > 0:
        growth = (x.apply("at_most", 0) / alpha).apply("expm1")
    else:
        quotient = x / alpha
        growth = where(quotient > 80, quotient.apply("exp"), quotient.apply("at_most", 80).apply("expm1"))
    return _relu(x) + (growth * alpha).apply("at_most", 0)


def _softplus(x: Element) -> Element:
    tail = (-abs(x)).apply("exp").apply("log1p")
    return _relu(x) + tail


def _mish(x: Element) -> Element:
    """By tanh(log(1 + e)) = n / (n + 2) with n = e * (e + 2)."""
    e = x.apply("at_most", 20).apply("exp")
    n = e * (e + 2)
    return x * (n / (n + 2))


def _gelu(x: Element) -> Element:
    inner = (x * math.sqrt(0.5)).apply("erf")
    return x * 0.5 * (inner + 1)


def _gelu_tanh(x: Element) -> Element:
    inner = (x * x * x).apply("multiply_add", 0.044715, x)
    inner = (inner * math.sqrt(2 / math.pi)).apply("tanh")
    return x * 0.5 * (inner + 1)


ACTIVATIONS: dict[str, Formula] = {
    "none": lambda x: x,
    "relu": _relu,
    "clip": _clip,
    "leaky_relu": lambda x, alpha: _below_zero(x, x * alpha),
    "thresholded_relu": lambda x, alpha: where(x > alpha, x, 0),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x, 1 / 6, 0.5),
    "sigmoid": _sigmoid,
    "swish": lambda x: x * _sigmoid(x),
    "tanh": lambda x: x.apply("tanh"),
    "elu": _elu,
    "selu": lambda x, alpha, gamma: _elu(x, alpha) * gamma,
    "celu": _celu,
    "softplus": _softplus,
    "softsign": lambda x: x / (abs(x) + 1),
    "mish": _mish,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
}
"""By name, from an element and the arguments of the activation."""


def _root(x: Element) -> Element:
    """The square root as a power: without the sign of -0, and of -infinity infinite."""
    return where(x.apply("equal", -math.inf), x.number(math.inf), (x + 0.0).apply("sqrt"))


POWERS: dict[float, Formula] = {
    1.0: lambda x: x,
    2.0: lambda x: x * x,
    3.0: lambda x: x * x * x,
    0.5: _root,
    -0.5: lambda x: 1 / _root(x),
    -1.0: lambda x: 1 / x,
}
"""Powers with a constant exponent that need no logarithm."""

formula(PRelu)(lambda _, x, slope: where(x < 0, x * slope, x))
formula(Reciprocal)(lambda _, x: 1 / x)


@formula(IsInf)
def _is_infinite(operator: IsInf, x: Element) -> Element:
    below = x.apply("equal", -math.inf if operator.negative else math.nan)
    return below.apply("or", x.apply("equal", math.inf if operator.positive else math.nan))


@formula(Mod)
def _remainder(operator: Mod, x: Element, y: Element) -> Element:
    if operator.fmod or x.dtype.is_integer:
        return x.apply("fmod" if operator.fmod else "mod", y)
    cut = x.apply("fmod", y)
    is_other = (cut < 0).apply("xor", y < 0).apply("and", cut.apply("equal", 0).apply("not"))
    return where(cut.apply("equal", 0), where(y < 0, cut.number(-0.0), 0), where(is_other, cut + y, cut))


formula(BitShift)(lambda operator, x, y: x.apply("left_shift" if operator.left else "right_shift", y))
formula(Cast)(lambda operator, x: x.cast(operator.to))
formula(BitCast)(lambda operator, x: x.bit_cast(operator.to))


@formula(FakeQuantize)
def _fake_quantize(_: FakeQuantize, x: Element, scale: Element, low: Element, high: Element) -> Element:
    return ((x / scale).apply("round") * scale).apply("max", low).apply("min", high)
