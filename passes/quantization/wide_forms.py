"""Sums, means, clamps and changes of parameters of 16 bits as convolutions of each channel, as which they are defined.

One kernel on the CPU, and the multipliers and the requantisation of the accelerator, do for all of them.
"""

import math
from collections.abc import Sequence

import numpy as np

from ...ir.core import Constant, Module, Value, is_op, types_of
from ...ir.ops.activation import Clip, HardSigmoid, Relu
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.pooling import AveragePool, GlobalAveragePool
from ...ir.ops.quantization import Requantize
from ...ir.ops.shape import Reshape
from ...ir.quantized import is_wide, parameters, share_of
from ...ir.types import DType, Quantization, TensorType
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node, on_quantized
from . import integer_rules


class WideForms(Pass):
    """Replaces ``add``, ``average_pool``, ``global_average_pool``, ``relu``, ``clip``, ``hard_sigmoid``, ``requantize``
    and products with a number, all of 16 bits, by convolutions with weights of one, of each channel for itself; a clamp
    behind one goes into it.

    No output changes by a bit."""

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    def apply(self, module: Module, record: Record) -> bool:
        return Driver(RULES).run(module, record)


Wide = Add | Relu | Clip | HardSigmoid | Mul | Requantize


def _elementwise(found: Match[Wide]) -> Value | None:
    op = found.root
    x, *others = sorted(op.inputs, key=lambda value: isinstance(value, Constant)) if is_op(op, Add) else op.inputs
    residual, y = others[0] if others else None, op.result.type
    share = 1.0
    if is_op(op, Mul):
        x, share = _by_number(op.inputs) or _by_number(op.inputs[::-1]) or (x, 0.0)
        if not share:
            return None
        residual = None
    if not is_wide(*types_of(op.inputs), y) or isinstance(x, Constant):
        return None
    if isinstance(residual, Constant) and residual.type.shape != x.type.shape:
        return None
    if not (x.type.has_one_scale and y.has_one_scale):
        return None
    if x.type.rank < 3:
        # As the pixels of a map, whose rows are images.
        shape = (*(1,) * (2 - x.type.rank), *x.type.shape, 1)
        maps = [value for value in (x, residual) if value is not None]
        x, *others = (found.emit(Reshape(shape), v, result_types=[v.type.with_shape(shape)]) for v in maps)
        residual = others[0] if others else None
    clamp = (op.operator.act, op.operator.act_args) if is_op(op, Relu, Clip) else ("none", ())
    bias: Constant | None = None
    if is_op(op, HardSigmoid):
        share, clamp = float(np.float32(op.operator.alpha)), ("clip", (0.0, 1.0))
        numbers = np.full(x.type.shape[1], op.operator.bias(x.type), np.int32)
        bias = found.add_constant(f"{op.result.name}.bias", numbers)
    ones = (1,) * (x.type.rank - 2)
    conv = Conv(ones, (0,) * 2 * len(ones), ones, x.type.shape[1], *clamp)
    type = y.with_shape(x.type.shape)
    result = found.emit(conv, x, weights_of_one(found, x, ones, share), bias, residual, result_types=[type])
    return result if type.shape == y.shape else found.emit(Reshape(y.shape), result, result_types=[y])


def _by_number(operands: Sequence[Value]) -> tuple[Value, float] | None:
    """An operand, and the number that it is multiplied with, if that is one and no rounding tells it from a scale."""
    x, other = operands
    if not isinstance(other, Constant) or other.type.elements != 1 or other.type.rank > x.type.rank:
        return None
    if not other.type.dtype.is_integer:
        return None
    integer = int(other.array.reshape(()))
    return (x, integer * float(parameters(other.type)[0])) if integer > 0 and not integer & (integer - 1) else None


def _mean(found: Match[AveragePool | GlobalAveragePool]) -> Value | None:
    op = found.root
    x, y = op.inputs[0], op.result.type
    if not is_wide(x.type, y):
        return None
    ones = (1,) * (x.type.rank - 2)
    if is_op(op, AveragePool):
        pool = op.operator
        if any(pool.overhang):
            return None
        count = int(pool.counts(x.type.shape[2:]).flat[0])
        kernel, window = pool.kernel, (pool.strides, pool.pads, pool.dilations)
    else:
        kernel, window = x.type.shape[2:], (ones, (0,) * 2 * len(ones), ones)
        count = math.prod(kernel)
    weights = weights_of_one(found, x, kernel, share_of(count))
    return found.emit(Conv(*window, x.type.shape[1]), x, weights, result_types=[y])


def weights_of_one(found: Match, x: Value, kernel: tuple[int, ...], share: float = 1.0) -> Constant:
    """Weights of ones for each channel of a map, whose scale is ``share``; ``kernel``: of how many pixels."""
    ones = np.ones((x.type.shape[1], 1, *kernel), np.int8)
    type = TensorType(ones.shape, DType.I8, Quantization.per_tensor(share))
    return found.add_constant(f"{found.root.result.name}.ones", ones, type)


RULES = on_quantized(
    *(rule for rule in integer_rules.RULES if rule.name in ("redundant_activation", "activation_into_product")),
    Rule("wide_elementwise", node((Add, Relu, Clip, HardSigmoid, Mul, Requantize)), _elementwise),
    Rule("wide_mean", node((AveragePool, GlobalAveragePool)), _mean),
)
