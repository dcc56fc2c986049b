"""Rules that leave out the way through real numbers between quantised tensors.

``quantize(f(dequantize(x)))`` becomes ``f`` on quantised types, by the rule that ``f`` declares. What moves elements
goes before ``dequantize`` first, so that chains of movements come to stand on the side of the integers.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeGuard

import numpy as np

from ...ir.core import Constant, Op, Value, is_op, types_of
from ...ir.interpolation import ERROR_LIMIT
from ...ir.op import QuantizationRule
from ...ir.ops.activation import Activation, Clamp, Clip, HardSigmoid, HardSwish, LeakyRelu, Relu
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.matmul import MatMul
from ...ir.ops.pooling import GlobalAveragePool
from ...ir.ops.quantization import Dequantize, Quantize, Requantize
from ...ir.ops.reduction import Reduce, ReduceMean
from ...ir.ops.resize import Resize
from ...ir.ops.shape import Reshape
from ...ir.ops.unary import Unary
from ...ir.quantized import EIGHT_BIT, WIDE, is_fused, is_redundant, is_wide, share_of
from ...ir.types import DType, Quantization, TensorType
from ..pattern import Match, Rule, node, on_quantized
from ..simplify.linear_rules import row_as_bias
from .quantized_rules import BETWEEN
from .sink_dequantize_rules import is_interpolation, under

BIAS_TOLERANCE = 1e-5
"""Relative difference up to which the scale of a bias passes for the product of the scales of x and w."""


def integers_of(value: Value | None) -> Value | None:
    """The quantised tensor that ``value`` is the real form of, ``None`` if it is none."""
    return under(Dequantize, value)


def is_fused_activation(op: Op) -> TypeGuard[Op[Activation]]:
    """Whether the op is an activation that products on integers may end with."""
    return is_op(op, Relu, Clip, LeakyRelu) and is_fused(op.operator.act, op.operator.act_args)


# What the result of an op is quantised to


def _collapse(found: Match) -> Value | None:
    """The op before a ``quantize`` on quantised types, a clamping activation between them included."""
    quantize, y_type = found.root, found.root.result.type
    source = only_producer(quantize)
    if (
        source is None
        or y_type.dtype not in (*EIGHT_BIT, *WIDE)
        or y_type.quant is None
        or y_type.quant.axis is not None
    ):
        return None
    activation: Op[Activation] | None = None
    if is_fused_activation(source) and integers_of(source.operands[0]) is None:
        activation, source = source, only_producer(source)
        if source is None:
            return None
    last: Op = activation or source
    found.origin = [source] if activation is None else [source, activation]
    residual: Value | None = None
    summed = _exact_sum(source) if is_op(source, Add) else None
    if summed is not None:
        source, residual = summed
        found.origin = [source, *found.origin]
    result = _quantized_form(found, source, activation, y_type, residual)
    if result is None:
        return None
    if (
        activation is not None
        and is_op(activation, Relu, Clip)
        and not isinstance(source.operator, (Conv, MatMul))
        and not is_redundant(y_type, activation.operator.act, activation.operator.act_args)
    ):
        result.name = source.result.name
        result = found.emit(activation.operator, result, result_types=[y_type], origin=[activation])
    # The tensor of the model whose numbers it stands for, and not the conversion behind it.
    result.name = last.result.name
    return result


def _exact_sum(op: Op[Add]) -> tuple[Op[Conv], Value] | None:
    """The convolution that nothing rounds before it is added to integers, and these; ``None`` if it is no such sum."""
    for value, other in (op.operands, op.operands[::-1]):
        conv, residual = value.producer, integers_of(other)
        if not is_op(conv, Conv) or len(value.uses) != 1 or residual is None or isinstance(residual, Constant):
            continue
        if value.type == other.type:
            return conv, residual
    return None


def only_producer(op: Op) -> Op | None:
    """The producer of the first operand, if nothing else needs its real result."""
    value = op.operands[0]
    if value is None or value.producer is None or len(value.producer.results) != 1 or value.is_returned:
        return None
    for user, _ in value.uses:
        same = isinstance(user, Op) and isinstance(user.operator, Quantize) and user.result.type == op.results[0].type
        if user is not op and not same:
            return None
    return value.producer


def _quantized_form(
    found: Match, source: Op, activation: Op[Activation] | None, y_type: TensorType, residual: Value | None
) -> Value | None:
    operator = source.operator
    if is_op(source, Conv, MatMul):
        return _product(found, source, activation, y_type, residual)
    if is_op(activation, LeakyRelu):
        # The numbers before it have another range.
        return None
    if is_op(source, ReduceMean):
        return _mean(found, source, y_type)
    if is_op(source, Resize):
        return _interpolated(found, source, y_type)
    if operator.QUANTIZATION is QuantizationRule.UNIFY:
        return _unified(found, source, y_type)
    if operator.QUANTIZATION not in (QuantizationRule.TABLE, QuantizationRule.RESCALE) or not source.inputs:
        return None
    operands = [_quantized_operand(found, value) for value in source.inputs]
    if any(value is None for value in operands):
        return None
    if is_wide(*types_of(operands), y_type):
        if isinstance(operator, Clamp):
            return _unified(found, source, y_type)
        return _of_words(found, source, [value for value in operands if value is not None], y_type)
    types = [value.type for value in operands if value is not None]
    if len({t.dtype for t in types}) > 1 or operator.check_quantized(types, [y_type]) is not None:
        return None
    return found.emit(operator, *operands, result_types=[y_type])


def _of_words(found: Match, source: Op, operands: Sequence[Value], y_type: TensorType) -> Value | None:
    """Functions, sums and products of 16 bits: what has 8 is brought to 16 first, exactly, and a result of 8 is rounded
    from one of 16. ``None`` also of a function that a table misses and that is no product."""
    operator, types = source.operator, [_widened(value.type) for value in operands]
    into = _widened(y_type)
    if operator.check_quantized(types, [into]) is not None:
        return None
    is_missed = isinstance(operator, Unary) and operator.HAS_KNOTS and operator.misses(types[0], into) > ERROR_LIMIT
    gate, gate_type = HardSigmoid(1 / 6, 0.5), TensorType(into.shape, DType.I16, Quantization.per_tensor(2.0**-14))
    if is_missed and (not isinstance(operator, HardSwish) or gate.check_quantized(types, [gate_type]) is not None):
        return None
    wide = [_brought(found, value, type) for value, type in zip(operands, types, strict=True)]
    if is_missed:
        # Its bends lie at no knots, and those of its factor in a clamp.
        operator = Mul()
        wide.append(found.emit(gate, wide[0], result_types=[gate_type]))
    result = found.emit(operator, *wide, result_types=[into])
    return _brought(found, result, y_type)


def _brought(found: Match, value: Value, type: TensorType) -> Value:
    """Integers with other parameters."""
    return value if value.type == type else found.emit(Requantize(), value, result_types=[type])


def _widened(type: TensorType) -> TensorType:
    """Of 16 bits, with every number of a type of 8."""
    if type.dtype not in EIGHT_BIT or type.quant is None or type.quant.axis is not None:
        return type
    return TensorType(type.shape, DType.I16, Quantization.per_tensor(type.quant.scale[0] / 128))


def _quantized_operand(found: Match, value: Value) -> Value | None:
    """The integers of a real tensor; one number that is a constant is taken as the scale itself."""
    integers = integers_of(value)
    if integers is not None or not isinstance(value, Constant) or value.array.size != 1:
        return integers
    number = float(value.array.reshape(())[()])
    sibling = next((i for v in found.root.inputs for i in [integers_of(v)] if i is not None), None)
    dtype = sibling.type.dtype if sibling is not None else DType.I8
    if not np.isfinite(number) or (number < 0 and dtype is DType.U8):
        return None
    quant = Quantization.per_tensor(abs(float(np.float32(number))) or 1.0)
    array = np.full(value.array.shape, np.sign(number), dtype.numpy)
    return found.add_constant(value.name, array, TensorType(value.type.shape, dtype, quant))


def _unified(found: Match, source: Op, y_type: TensorType) -> Value | None:
    """Each operand is brought to the parameters of the result first, which movement does not change."""
    reals = [value for value in source.inputs if value.type.dtype.is_float]
    integers = [integers_of(value) for value in reals]
    if any(value is None for value in integers):
        return None
    swapped: dict[Value, Value] = {}
    for real, value in zip(reals, integers, strict=True):
        assert value is not None
        swapped[real] = _brought(found, value, y_type.with_shape(value.type.shape))
    operands = [swapped.get(value, value) for value in source.inputs]
    return found.emit(source.operator, *operands, result_types=[y_type])


def _interpolated(found: Match, source: Op[Resize], y_type: TensorType) -> Value | None:
    """Interpolation keeps the parameters of its operand; others are given to the result."""
    x = integers_of(source.operands.x)
    if x is None or not is_interpolation(source.operator):
        return None
    own = x.type.with_shape(y_type.shape)
    if source.operator.check_quantized([x.type], [own]) is not None:
        return None
    return _brought(found, found.emit(source.operator, x, result_types=[own]), y_type)


def _mean(found: Match, source: Op[Reduce], y_type: TensorType) -> Value | None:
    """A mean over all spatial dimensions is a global average, that over channels a product with a share of one."""
    mean, x = source.operator, integers_of(source.operands.x)
    if x is not None and mean.axes == (1,) and x.type.rank == 4:
        return _mean_of_channels(found, x, y_type)
    if x is None or x.type.rank < 4 or mean.axes != tuple(range(2, x.type.rank)):
        return None
    pooled_type = y_type.with_shape((*x.type.shape[:2], *[1] * (x.type.rank - 2)))
    pooled = found.emit(GlobalAveragePool(), x, result_types=[pooled_type])
    if mean.keepdims:
        return pooled
    return found.emit(Reshape(y_type.shape), pooled, result_types=[y_type])


def _mean_of_channels(found: Match, x: Value, y_type: TensorType) -> Value | None:
    images, channels, *pixels = x.type.shape
    weights_type = TensorType((1, channels, 1, 1), DType.I8, Quantization.per_tensor(share_of(channels)))
    conv, type = Conv((1, 1), (0,) * 4, (1, 1), 1), y_type.with_shape((images, 1, *pixels))
    if conv.check_quantized([x.type, weights_type], [type]) is not None:
        return None
    ones = found.add_constant(f"{found.root.result.name}.ones", np.ones(weights_type.shape, np.int8), weights_type)
    mean = found.emit(conv, x, ones, result_types=[type])
    same = type.shape == y_type.shape
    return mean if same else found.emit(Reshape(y_type.shape), mean, result_types=[y_type])


# Convolutions and products


def _product(
    found: Match,
    source: Op[Conv | MatMul],
    activation: Op[Activation] | None,
    y_type: TensorType,
    residual: Value | None,
) -> Value | None:
    operator, (x, w, b, real_residual) = source.operator, source.operands
    x, w = integers_of(x), integers_of(w)
    if x is None or w is None or real_residual is not None or (residual is not None and operator.act != "none"):
        return None
    if activation is not None:
        if operator.act != "none":
            return None
        operator = replace(operator, act=activation.operator.act, act_args=activation.operator.act_args)
    bias = _bias(found, b, x.type, w.type) if b is not None else None
    added, into = residual.type if residual is not None else None, y_type
    if added is not None and is_wide(added, y_type):
        added, into = _widened(added), _widened(y_type)
    types = [*types_of((x, w, bias)), added]
    if (b is not None and bias is None) or operator.check_quantized(types, [into]) is not None:
        return None
    if residual is not None and added is not None:
        residual = _brought(found, residual, added)
    result = found.emit(operator, x, w, bias, residual, result_types=[into])
    return _brought(found, result, y_type)


def _real_product(found: Match[Conv | MatMul]) -> Value | None:
    """A product whose result nothing quantises, on integers."""
    op = found.root
    if any(map(_is_quantized_next, op.result.users)):
        return None
    return _product(found, op, None, op.result.type, None)


def _is_quantized_next(op: Op) -> bool:
    """Whether an op makes integers, or adds to or activates what becomes integers."""
    summed = (op, *(op.result.users if is_op(op, Add) else ()))
    clamped = [user for each in summed if is_fused_activation(each) for user in each.result.users]
    return any(isinstance(each.operator, Quantize) for each in (*summed, *clamped))


def _bias(found: Match, b: Value, x: TensorType, w: TensorType) -> Constant | None:
    """A constant bias as int32 at the scale of x times that of w; ``None`` if it is no constant or does not fit."""
    if x.quant is None or w.quant is None or x.quant.axis is not None:
        return None
    scale = np.float64(x.quant.scale[0]) * np.asarray(w.quant.scale, np.float64)
    integers = integers_of(b)
    if isinstance(integers, Constant) and integers.type.quant is not None:
        quant = integers.type.quant
        given = np.asarray(quant.scale, np.float64)
        difference = integers.array.astype(np.int64) - np.asarray(quant.zero_point, np.int64)
        if np.allclose(given, scale, rtol=BIAS_TOLERANCE, atol=0):
            values = difference.astype(np.float64)
        else:
            values = np.rint(difference * given / scale)
    elif isinstance(b, Constant):
        values = np.rint(b.array.astype(np.float64) / scale)
    else:
        return None
    if np.abs(values).max(initial=0) >= 2.0**31:
        return None
    return found.add_constant(b.name, values.astype(np.int32))


def _adds_constant(op: Op) -> bool:
    """Whether an operand is constant, in real numbers or integers, as a bias on integers has to be."""
    return any(isinstance(integers_of(value) or value, Constant) for value in op.inputs)


RULES = on_quantized(
    *BETWEEN,
    Rule(
        "row_into_product",
        node(Add, node(MatMul, name="linear"), "c", commutative=True, where=_adds_constant),
        row_as_bias,
    ),
    Rule("quantized_op", node(Quantize), _collapse),
)
"""From ``quantize(f(dequantize(x)))`` to ``f`` on quantised types."""

REAL_RESULTS = on_quantized(Rule("real_product", node((Conv, MatMul)), _real_product))
"""From products of dequantised tensors to accumulators that become real numbers."""
