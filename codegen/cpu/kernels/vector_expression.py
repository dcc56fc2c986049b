"""Elementwise operators on vectors: what each of them computes on registers of single precision or truth values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ....ir.op import Operator
from ....ir.ops import comparison, elementwise, unary
from ....ir.ops.activation import Activation as ActivationOperator
from ....ir.ops.activation import PRelu
from ....ir.ops.shape import Cast
from ....ir.types import DType
from ..llvm import vector_math as vm
from ..llvm.builder import FunctionBuilder
from ..llvm.types import Register, constant, poison
from .activation import Activation

Rule = Callable[[FunctionBuilder, Sequence[Register]], Register]

DTYPES = (DType.F32, DType.BOOL)
"""Element types that the expressions work on."""


def _binary(operation: str) -> Rule:
    return lambda b, x: b.binary(operation, x[0], x[1])


def _compare(relation: str) -> Rule:
    return lambda b, x: b.compare(relation, x[0], x[1])


def _intrinsic(name: str) -> Rule:
    return lambda b, x: b.unary_intrinsic(name, x[0])


def _extreme(name: str) -> Rule:
    """The larger or smaller number; NaN if one is NaN."""

    def rule(b: FunctionBuilder, x: Sequence[Register]) -> Register:
        pick = b.larger if name == "max" else b.smaller
        # pick gives its second argument where one is NaN; where the first is, that is put right.
        is_number = b.compare("ord", x[0], x[0])
        return b.select(is_number, pick(x[0], x[1]), x[0])

    return rule


def _equal(b: FunctionBuilder, x: Sequence[Register]) -> Register:
    return b.compare("oeq" if x[0].type.is_float else "eq", x[0], x[1])


def _reciprocal(b: FunctionBuilder, x: Sequence[Register]) -> Register:
    return b.binary("fdiv", vm.number(x[0], 1), x[0])


def _sign(b: FunctionBuilder, x: Sequence[Register]) -> Register:
    ones = vm.with_sign(b, vm.number(x[0], 1), x[0])
    is_zero_or_nan = b.compare("ueq", x[0], vm.number(x[0], 0))
    return b.select(is_zero_or_nan, x[0], ones)


def _prelu(b: FunctionBuilder, x: Sequence[Register]) -> Register:
    return b.select(b.compare("olt", x[0], vm.number(x[0], 0)), b.binary("fmul", x[0], x[1]), x[0])


def _not(b: FunctionBuilder, x: Sequence[Register]) -> Register:
    return b.binary("xor", x[0], constant(x[0].type, True))


def _per_lane(symbol: str) -> Rule:
    """A function of the C library for each lane by itself."""

    def rule(b: FunctionBuilder, x: Sequence[Register]) -> Register:
        element = x[0].type.element
        b.declare(symbol, element, [element] * len(x))
        result = poison(x[0].type)
        for lane in range(result.type.lanes):
            result = b.insert(result, b.call(symbol, element, [b.extract(v, lane) for v in x]), lane)
        return result

    return rule


def _is_infinite(operator: unary.IsInf) -> Rule:
    def rule(b: FunctionBuilder, x: Sequence[Register]) -> Register:
        below = b.compare("oeq", x[0], vm.number(x[0], -math.inf if operator.negative else math.nan))
        above = b.compare("oeq", x[0], vm.number(x[0], math.inf if operator.positive else math.nan))
        return b.binary("or", below, above)

    return rule


def _cast(b: FunctionBuilder, x: Register, to: DType) -> Register:
    if to is DType.BOOL:
        return b.compare("une", x, vm.number(x, 0)) if x.type.is_float else x
    return x if x.type.is_float else b.convert("uitofp", x, x.type.as_scalar("float"))


RULES: dict[type[Operator], Rule] = {
    elementwise.Add: _binary("fadd"),
    elementwise.Sub: _binary("fsub"),
    elementwise.Mul: _binary("fmul"),
    elementwise.Div: _binary("fdiv"),
    elementwise.Min: _extreme("min"),
    elementwise.Max: _extreme("max"),
    elementwise.Pow: _per_lane("powf"),
    elementwise.Mod: _per_lane("fmodf"),
    unary.Neg: lambda b, x: b.negate(x[0]),
    unary.Abs: _intrinsic("fabs"),
    unary.Sqrt: _intrinsic("sqrt"),
    unary.Floor: _intrinsic("floor"),
    unary.Ceil: _intrinsic("ceil"),
    unary.Round: _intrinsic("rint"),
    unary.Sin: _per_lane("sinf"),
    unary.Cos: _per_lane("cosf"),
    unary.Tan: _per_lane("tanf"),
    unary.Asin: _per_lane("asinf"),
    unary.Acos: _per_lane("acosf"),
    unary.Atan: _per_lane("atanf"),
    unary.Sinh: _per_lane("sinhf"),
    unary.Cosh: _per_lane("coshf"),
    unary.Asinh: _per_lane("asinhf"),
    unary.Acosh: _per_lane("acoshf"),
    unary.Atanh: _per_lane("atanhf"),
    unary.Reciprocal: _reciprocal,
    unary.Sign: _sign,
    unary.Exp: lambda b, x: vm.exp(b, x[0]),
    unary.Log: lambda b, x: vm.log(b, x[0]),
    unary.Erf: lambda b, x: vm.erf(b, x[0]),
    unary.IsNan: lambda b, x: b.compare("uno", x[0], x[0]),
    unary.Not: _not,
    comparison.Equal: _equal,
    comparison.Less: _compare("olt"),
    comparison.LessOrEqual: _compare("ole"),
    comparison.Greater: _compare("ogt"),
    comparison.GreaterOrEqual: _compare("oge"),
    comparison.And: _binary("and"),
    comparison.Or: _binary("or"),
    comparison.Xor: _binary("xor"),
    comparison.Where: lambda b, x: b.select(x[0], x[1], x[2]),
    PRelu: _prelu,
}
"""By operator class; activations have a rule of their own."""


def rule_of(operator: Operator) -> Rule | None:
    """The code of an operator, ``None`` if it has no vector form."""
    if isinstance(operator, ActivationOperator):
        activation = Activation(operator.act, operator.act_args)
        return lambda b, x: activation.apply(b, x[0])
    if isinstance(operator, unary.IsInf):
        return _is_infinite(operator)
    if isinstance(operator, Cast) and operator.to in DTYPES:
        return lambda b, x: _cast(b, x[0], operator.to)
    return RULES.get(type(operator))


POWERS: dict[float, Rule] = {
    1.0: lambda b, x: x[0],
    2.0: lambda b, x: b.binary("fmul", x[0], x[0]),
    3.0: lambda b, x: b.binary("fmul", b.binary("fmul", x[0], x[0]), x[0]),
    0.5: _intrinsic("sqrt"),
    -0.5: lambda b, x: _reciprocal(b, [b.unary_intrinsic("sqrt", x[0])]),
    -1.0: _reciprocal,
}
"""Powers with a constant exponent that need no logarithm."""
