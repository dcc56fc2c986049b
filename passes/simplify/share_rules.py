"""Rules over what compares channels of a map with each other, as global response normalisation does, in steps that
integers have: squares, means, square roots and reciprocals of few numbers, and one product with the map."""

import math

import numpy as np

from ...ir.core import Function, Value, is_op
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Div, Mul
from ...ir.ops.movement import Transpose
from ...ir.ops.pooling import AveragePool, GlobalAveragePool
from ...ir.ops.quantization import Dequantize
from ...ir.ops.reduction import ReduceL2, ReduceMean
from ...ir.ops.unary import Reciprocal, Sqrt
from ...ir.types import DType, Quantization, TensorType
from ...runtime.machines.machine import KERNEL_LIMIT
from ..pattern import Const, Match, Rule, node
from ..views import is_known


def made_of_squares(function: Function) -> set[Value]:
    """Squares of which means are taken, and what is made of these alone up to what multiplies other maps: they reach
    too far for 8 bits."""
    found: set[Value] = set()
    for op in function.ops:
        is_square = is_op(op, Mul) and len({*op.inputs}) == 1
        if is_square and all(is_op(user, AveragePool, GlobalAveragePool) for user in op.result.users):
            found.update(op.results)
        elif is_op(op, AveragePool, GlobalAveragePool, Sqrt, Reciprocal, Mul, Conv):
            computed = (value for value in op.inputs if not is_known(value))
            found.update(op.results if found.issuperset(computed) else ())
    products = {user for value in found for user in value.users if is_op(user, Mul)}
    return found.difference(*(op.inputs for op in products if not found.issuperset(op.inputs)))


_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)
_POINTWISE = (1, 1), (0,) * 4, (1, 1)
"""Strides, pads and dilations."""


def _ones(found: Match, shape: tuple[int, ...], number: float) -> Value:
    """Weights that all have one number: as the scale of ones, whose sums have fewer bits than those of a grid."""
    type = TensorType(shape, DType.I8, Quantization.per_tensor(float(np.float32(number))))
    stored = found.add_constant(f"{found.root.result.name}.ones", np.ones(shape, np.int8), type)
    return found.emit(Dequantize(), stored)


def _mean(found: Match, x: Value) -> Value | None:
    """Over rows and columns, in two steps where these are too many for one window of 16 bits."""
    blocks = [
        next((b for b in range(1, KERNEL_LIMIT + 1) if not extent % b and extent // b <= KERNEL_LIMIT), 0)
        for extent in x.type.shape[2:]
    ]
    if not all(blocks):
        return None
    if max(blocks) > 1:
        x = found.emit(AveragePool((*blocks,), (*blocks,), (0,) * 4, (1, 1), True, (0, 0)), x)
    return found.emit(GlobalAveragePool(), x)


def _share_of_length(found: Match[Div]) -> Value | None:
    """The length of each channel over rows and columns, divided by the mean of all of them."""
    x, length, mean = found["x"], found.op("length", ReduceL2), found.op("mean", GlobalAveragePool, ReduceMean)
    axes, epsilon = length.operator.axes, found.constant("epsilon").array.reshape(-1)
    is_mean = mean.result.type.shape == (x.type.shape[0], 1, 1, 1) and found.root.result.type == length.result.type
    if (
        x.type.rank != 4
        or axes not in ((2, 3), (1, 2))
        or epsilon.size != 1
        or not is_mean
        or x.type.dtype is not DType.F32
    ):
        return None
    is_last = axes == (1, 2)
    x = found.emit(Transpose(_FIRST), x) if is_last else x
    channels, pixels = x.type.shape[1], math.prod(x.type.shape[2:])
    squares = _mean(found, found.emit(Mul(), x, x)) if channels > 1 and pixels else None
    if squares is None:
        return None
    lengths = found.emit(Sqrt(), squares)
    bias = found.add_constant(f"{found.root.result.name}.epsilon", (epsilon / math.sqrt(pixels)).astype(np.float32))
    total = found.emit(Conv(*_POINTWISE, 1), lengths, _ones(found, (1, channels, 1, 1), 1 / channels), bias)
    parts = found.emit(Reciprocal(), total)
    factor = found.emit(Conv(*_POINTWISE, 1), parts, _ones(found, (channels, 1, 1, 1), 1.0), None)
    share = found.emit(Mul(), lengths, factor)
    return found.emit(Transpose(_LAST), share) if is_last else share


def _sum_with_share(found: Match[Add]) -> Value | None:
    """A map and its product with few computed numbers and a known one for each channel, plus one more: one product."""
    x, few, y = found["x"], found["few"], found.root.result.type
    axes = [axis for axis in range(1, few.type.rank) if few.type.shape[axis] > 1]
    if x.type != y or few.type.rank != 4 or y.rank != 4 or axes not in ([1], [3]):
        return None
    shape = tuple(extent if [axis] == axes else 1 for axis, extent in enumerate(y.shape))
    known: list[np.ndarray] = []
    for name in ("w", "b"):
        array = found.constant(name).array
        if np.broadcast_shapes(array.shape, shape) != shape:
            return None
        known.append(np.broadcast_to(array, shape).reshape(-1).astype(np.float32))
    is_last, name = axes == [3], found.root.result.name
    w = found.add_constant(f"{name}_scale", known[0].reshape(-1, 1, 1, 1))
    one = found.add_constant(f"{name}_one", np.ones(shape[axes[0]], np.float32))
    b = found.add_constant(f"{name}_shift", known[1].reshape(shape))
    x, few = (found.emit(Transpose(_FIRST), v) for v in (x, few)) if is_last else (x, few)
    gate = found.emit(Conv(*_POINTWISE, len(known[0])), few, w, one)
    product = found.emit(Mul(), x, gate)
    return found.emit(Add(), found.emit(Transpose(_LAST), product) if is_last else product, b)


_LENGTH = node(ReduceL2, "x", name="length", single_use=False, where=lambda op: op.operator.keepdims)
_MEAN = node((GlobalAveragePool, ReduceMean), _LENGTH, name="mean")
_PRODUCT = node(Mul, node(Mul, "x", "few", commutative=True), Const("w"), commutative=True)

RULES: tuple[Rule, ...] = (
    Rule("share_of_length", node(Div, _LENGTH, node(Add, _MEAN, Const("epsilon"), commutative=True)), _share_of_length),
    Rule(
        "sum_with_share",
        node(Add, "x", node(Add, _PRODUCT, Const("b"), commutative=True), commutative=True),
        _sum_with_share,
    ),
    Rule(
        "sum_with_share",
        node(Add, node(Add, "x", _PRODUCT, commutative=True), Const("b"), commutative=True),
        _sum_with_share,
    ),
)
