"""Rules that recognise activations which a framework wrote as arithmetic."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from ...ir.core import Op, Value, is_op
from ...ir.op import Operator
from ...ir.ops.activation import (
    Activation,
    Clip,
    Gelu,
    GeluTanh,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Mish,
    PRelu,
    Relu,
    Sigmoid,
    Softplus,
    Swish,
    Tanh,
)
from ...ir.ops.elementwise import Add, Div, Max, Min, Mul, Pow, Sub
from ...ir.ops.movement import Slice
from ...ir.ops.reduction import ReduceMax, ReduceSum
from ...ir.ops.shape import Reshape
from ...ir.ops.softmax import Softmax
from ...ir.ops.unary import Erf, Exp, Reciprocal
from ..pattern import Const, Match, Operand, OpPattern, Predicate, Rewrite, Rule, node, scalar


def _is_float(op: Op) -> bool:
    return op.results[0].type.dtype.is_float


def _emit(operator: Activation) -> Rewrite[Operator]:
    def rewrite(found: Match) -> Value | None:
        return found.emit(operator, found["x"]) if found["x"].type.shape == found.root.results[0].type.shape else None

    return rewrite


def _mul(*operands: Operand, where: Predicate[Mul] | None = None) -> OpPattern:
    return node(Mul, *operands, commutative=True, where=where)


def _add(*operands: Operand) -> OpPattern:
    return node(Add, *operands, commutative=True)


def _products(*factors: Operand) -> Iterator[OpPattern]:
    """Every way to multiply three factors in pairs."""
    for left, right, last in itertools.permutations(factors):
        if factors.index(left) < factors.index(right):
            yield _mul(_mul(left, right), last)


# Bounds


def _bound(found: Match) -> Value | None:
    """Clip for max or min with a constant of one element."""
    bound = found.constant("bound").array
    x = found["x"]
    if bound.size != 1 or x.type.shape != found.root.results[0].type.shape:
        return None
    value = float(bound.reshape(-1)[0])
    if math.isnan(value):
        return None
    return found.emit(Clip(min=value) if isinstance(found.root.operator, Max) else Clip(max=value), x)


def _bounds(op: Op[Relu | Clip]) -> tuple[float, float]:
    return (op.operator.min, op.operator.max) if isinstance(op.operator, Clip) else (0.0, math.inf)


def _merge_bounds(found: Match[Relu | Clip]) -> Value | None:
    low, high = _bounds(found.op("inner", Relu, Clip))
    outer_low, outer_high = _bounds(found.root)
    if low > high or outer_low > outer_high or found["x"].type != found.root.results[0].type:
        return None
    merged = Clip(min(max(low, outer_low), outer_high), min(max(high, outer_low), outer_high))
    return found.emit(merged, found["x"])


def _simplify_clip(found: Match[Clip]) -> Value | None:
    clip = found.root.operator
    if found["x"].type != found.root.results[0].type:
        return None
    if clip.min == -math.inf and clip.max == math.inf:
        return found["x"]
    if clip.min == 0 and clip.max == math.inf and found["x"].type.dtype in Relu.DTYPES:
        return found.emit(Relu(), found["x"])
    return None


BOUNDS: tuple[Rule, ...] = (
    Rule("max_or_min_with_constant", node((Max, Min), "x", Const("bound"), commutative=True, where=_is_float), _bound),
    Rule("clip_of_clip", node((Relu, Clip), node((Relu, Clip), "x", name="inner"), where=_is_float), _merge_bounds),
    Rule("clip_as_relu", node(Clip, "x"), _simplify_clip),
)


def _one_slope(found: Match[PRelu]) -> Value | None:
    slopes = found.constant("slopes").array.reshape(-1)
    if not slopes.size or not np.isfinite(slopes).all() or (slopes != slopes[0]).any():
        return None
    return found.emit(LeakyRelu(float(slopes[0])), found["x"])


# Sigmoid and its kin

_RELU6_OF_X_PLUS_3 = node(Clip, _add("x", scalar(3.0)), where=lambda op: op.operator == Clip(0.0, 6.0))


def _sigmoid_family() -> Iterator[Rule]:
    sixth = HardSigmoid(1 / 6, 0.5)
    yield Rule("hard_sigmoid", node(Div, _RELU6_OF_X_PLUS_3, scalar(6.0), where=_is_float), _emit(sixth))
    yield Rule("hard_sigmoid", _mul(_RELU6_OF_X_PLUS_3, scalar(1 / 6), where=_is_float), _emit(sixth))
    gate = node(HardSigmoid, "x", where=lambda op: abs(op.operator.alpha - 1 / 6) < 1e-6 and op.operator.beta == 0.5)
    yield Rule("hard_swish", _mul("x", gate), _emit(HardSwish()))
    yield Rule("hard_swish", node(Div, _mul("x", _RELU6_OF_X_PLUS_3), scalar(6.0), where=_is_float), _emit(HardSwish()))
    for product in _products("x", _RELU6_OF_X_PLUS_3, scalar(1 / 6)):
        yield Rule("hard_swish", product, _emit(HardSwish()))
    yield Rule("swish", _mul("x", node(Sigmoid, "x")), _emit(Swish()))
    yield Rule("mish", _mul("x", node(Tanh, node(Softplus, "x"))), _emit(Mish()))


# Gelu


def _gelu_family() -> Iterator[Rule]:
    for scaled in (node(Div, "x", scalar(math.sqrt(2))), _mul("x", scalar(math.sqrt(0.5)))):
        for product in _products("x", _add(node(Erf, scaled), scalar(1.0)), scalar(0.5)):
            yield Rule("gelu", product, _emit(Gelu()))
    square = (_mul("x", "x"), node(Pow, "x", scalar(2.0)))
    cubes = [node(Pow, "x", scalar(3.0)), *(_mul("x", s) for s in square)]
    arguments = [
        *(_mul(_add("x", _mul(cube, scalar(0.044715))), scalar(math.sqrt(2 / math.pi))) for cube in cubes),
        *(
            _mul(_mul("x", scalar(math.sqrt(2 / math.pi))), _add(_mul(s, scalar(0.044715)), scalar(1.0)))
            for s in square
        ),
    ]
    for argument in arguments:
        for product in _products("x", _add(node(Tanh, argument), scalar(1.0)), scalar(0.5)):
            yield Rule("gelu_tanh", product, _emit(GeluTanh()))


# Softmax


def _softmax(found: Match) -> Value | None:
    total = found.op("sum", ReduceSum).operator
    largest = found.op("max", ReduceMax).operator
    if len(total.axes) != 1 or total.axes != largest.axes or not (total.keepdims and largest.keepdims):
        return None
    return found.emit(Softmax(total.axes[0]), found["x"])


def _one_of_two(found: Match[Slice]) -> Value | None:
    """One of two weights that a softmax makes is a sigmoid of how far their operands lie apart."""
    cut, weights, x = found.root.operator, found.op("weights", Softmax), found["x"]
    axis, y = weights.operator.axis, found.root.result.type
    alone = (*x.type.shape[:axis], 1, *x.type.shape[axis + 1 :])
    are_alone = all(is_op(user, Slice) and user.operator.extent == alone for user in weights.result.users)
    if x.type.shape[axis] != 2 or not are_alone:
        return None
    shape, at = (*alone[:axis], *alone[axis + 1 :]), cut.begin[axis]
    begins = ((*cut.begin[:axis], number, *cut.begin[axis + 1 :]) for number in (at, 1 - at))
    this, other = (found.emit(Reshape(shape), found.emit(Slice(begin, alone, cut.step), x)) for begin in begins)
    return found.emit(Reshape(y.shape), found.emit(Sigmoid(), found.emit(Sub(), this, other)))


_EXPONENTIALS = node(Exp, node(Sub, "x", node(ReduceMax, "x", name="max")), single_use=False, name="exp")

RULES: tuple[Rule, ...] = (
    *BOUNDS,
    *_sigmoid_family(),
    *_gelu_family(),
    Rule("softmax", node(Div, _EXPONENTIALS, node(ReduceSum, _EXPONENTIALS, name="sum")), _softmax),
    Rule("one_of_two", node(Slice, node(Softmax, "x", name="weights", single_use=False), where=_is_float), _one_of_two),
    Rule("prelu_of_one_slope", node(PRelu, "x", Const("slopes"), where=_is_float), _one_slope),
    Rule(
        "times_reciprocal",
        _mul("x", node(Reciprocal, "y"), where=_is_float),
        lambda found: found.emit(Div(), found["x"], found["y"]),
    ),
)
"""Activations from arithmetic."""
