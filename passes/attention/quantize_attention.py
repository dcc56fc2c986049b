"""Attention between quantised tensors as an operator on their integers."""

from dataclasses import replace
from functools import partial

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.layout import row_major
from ...ir.ops.attention import Attention
from ...ir.ops.convolution import Conv
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Transpose
from ...ir.ops.quantization import Quantize
from ...ir.ops.shape import Reshape
from ...ir.quantized import EIGHT_BIT, is_redundant, limits, parameters
from ...ir.types import DType, Quantization, TensorType
from ...runtime.machines.machine import CHANNEL_BLOCK, DEFAULT, load
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node, on_quantized
from ..quantization import sink_dequantize_rules
from ..quantization.integer_rules import integers_of
from ..views import matrix_views
from .fuse_attention import MOVEMENT, guarded
from .given_scores import holds

_MASK_STEP = 1 / 8
"""Of masks that are computed; what is 16 or more below 0 hides a key."""

_FAR = 64.0
"""So far below the largest of its row what a known mask adds hides a key: its exponential is 0 beside that one's."""

_LARGE = 1e3
"""What is computed with such a number is 0 or hides a key."""


class QuantizeAttention(Pass):
    """Makes ``attention`` of integers what stands between ``dequantize`` and ``quantize``.

    Masks become i8, whose smallest integer hides a key: those that are computed of integers, of truth values or with a
    number that hides in steps of 1/8, known ones in steps of their own; what a product makes of integers to be added
    keeps those that it has, and saturates above the smallest. Of other masks nobody knows how far they reach, and
    attention stays as it is. Queries that a product makes for attention alone get the zero point 0, as the
    accelerator multiplies them by what is computed, and would have to take off another one by a product of its own.
    Products of two maps become scores where the accelerator can have them: of whole blocks of columns, and of no more
    than fit its clusters.
    ``machine``: name of a sample machine or path of a machine file."""

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    machine: str = DEFAULT

    def apply(self, module: Module, record: Record) -> bool:
        attention = node(Attention, name="attention")
        # Of integers, a row that sees no key has the result 0.
        product = Rule("product_of_maps", node(MatMul, "x", "w"), partial(_product_of_maps, machine=self.machine))
        results = attention, guarded(replace(attention, single_use=False))
        rules = (
            rule
            for y in results
            for rule in (
                Rule("attention_on_integers", node(Quantize, y), _attention),
                Rule("quantize_before_transposition", node(Quantize, node(Transpose, y)), _before_movement),
                Rule("quantize_before_reshape", node(Quantize, node(Reshape, node(Transpose, y))), _before_movement),
            )
        )
        return Driver((*on_quantized(*rules, product), *MOVEMENT, *sink_dequantize_rules.RULES)).run(module, record)


def _before_movement(found: Match[Quantize]) -> Value | None:
    """What moves the result of attention moves its integers."""
    moved, y = found.root.inputs[0].producer, found.root.result.type
    if moved is None or not y.has_one_scale:
        return None
    source = moved.inputs[0]
    return found.emit(moved.operator, found.emit(Quantize(), source, result_types=[y.with_shape(source.type.shape)]))


def _attention(found: Match[Quantize]) -> Value | None:
    op, y = found.op("attention", Attention), found.root.result.type
    integers = [integers_of(each) or (each if isinstance(each, Constant) else None) for each in op.inputs[:3]]
    operands = [value for value in integers if value is not None]
    stored = [value for value in operands if not value.type.dtype.is_float]
    is_fit = len(operands) == 3 and len(stored) > 0 and all(value.type.has_one_scale for value in stored)
    if not is_fit or not y.has_one_scale or y.dtype not in EIGHT_BIT:
        return None
    # Known rows are integers around 0.
    operands = [value if value in stored else _rounded(found, value, y.dtype) for value in operands]
    mask = op.operands.mask
    shown = _shown(found, mask)
    if shown is not None:
        operands.append(shown)
    elif mask is not None:
        if not _is_known_or_hides(mask):
            return None
        operands.append(_rounded(found, _centred(found, mask, op.operator), y.dtype))
    if operands[0] not in operands[1:]:
        operands[0] = _symmetric(found, operands[0], op)
    if len({value.type.dtype for value in operands} | {y.dtype}) > 1:
        return None
    return found.emit(op.operator, *operands, result_types=[y])


def _shown(found: Match, mask: Value | None) -> Value | None:
    """What a product makes to be added to scores, as integers of which none hides a key."""
    stored = integers_of(mask)
    op = stored.producer if stored is not None and stored.type.has_one_scale else None
    if stored is None or not is_op(op, Conv, MatMul) or op.operator.act != "none":
        return None
    (scale, zero), (hidden, most) = parameters(stored.type), limits(stored.type)
    clamp = tuple(float(scale) * (bound - int(zero)) for bound in (hidden + 1, most))
    clamped = replace(op.operator, act="clip", act_args=clamp)
    return found.emit(clamped, *op.operands, result_types=[stored.type], origin=[op])


def _product_of_maps(found: Match[MatMul], *, machine: str) -> Value | None:
    """The product of two maps of integers, as the scores of attention are one."""
    op, y, (x, w) = found.root, found.root.result.type, (found["x"], found["w"])
    product, level = op.operator, y.shape[:-2]
    types = x.type, w.type, y
    is_plain = product.act == "none" or is_redundant(y, product.act, product.act_args)
    if isinstance(x, Constant) or isinstance(w, Constant) or not is_plain or len(op.inputs) > 2 or not y.elements:
        return None
    if len({type.dtype for type in types}) > 1 or y.dtype not in EIGHT_BIT:
        return None
    if not all(type.has_one_scale for type in types):
        return None
    rows, keys, width = product.extents(x.type, w.type)
    if keys % CHANNEL_BLOCK or not holds(load(machine), keys, width):
        return None
    sides = (x, product.transpose_a, level), (w, not product.transpose_b, level)
    viewed = matrix_views(sides, level, ((rows, width), (keys, width)))
    if viewed is None:
        return None
    batch, (q, k) = viewed
    order = (0, *row_major((*batch, rows, keys)))
    operator = Attention(batch, rows, keys, width, keys, y.shape, q.numbers, k.numbers, (), order)
    if operator.check_quantized([x.type, w.type, None, None], [y]) is not None:
        return None
    return found.emit(operator, q.value, k.value, None, None, result_types=[y])


def _is_known_or_hides(mask: Value) -> bool:
    pending, seen = [mask], set[Value]()
    while pending:
        value = pending.pop()
        if value in seen or isinstance(value, Constant):
            continue
        seen.add(value)
        if value.producer is None:
            if value.type.dtype.is_float or value.type.quant is not None:
                return False
            continue
        constants = [each.array for each in value.producer.inputs if isinstance(each, Constant)]
        if not any(np.abs(each).max(initial=0) >= _LARGE for each in constants if each.dtype.kind == "f"):
            pending += value.producer.inputs
    return True


def _centred(found: Match, mask: Value, attention: Attention) -> Value:
    """A known mask whose rows reach as far below 0 as above it, which changes no softmax, with minus infinity for keys
    that are hidden."""
    if not isinstance(mask, Constant):
        return mask
    array = mask.array.astype(np.float64)
    if not attention.mask_view[-1]:
        # One number for all keys of a row hides them all or changes nothing.
        array = np.where(array > -np.inf, 0.0, -np.inf)
    is_by_rows = array.ndim and attention.mask_view[-1] == 1 and array.shape[-1] == attention.keys
    top = array.max(-1 if is_by_rows else None, keepdims=True)
    shown = array > top - _FAR
    middle = (top + np.where(shown, array, top).min(-1 if is_by_rows else None, keepdims=True)) / 2
    with np.errstate(invalid="ignore"):
        centred = np.where(shown, array - middle, -np.inf)
    return found.add_constant(mask.name, centred.astype(np.float32))


def _rounded(found: Match, value: Value, dtype: DType) -> Value:
    """What is added to scores as integers, or what is known of queries, keys or values."""
    step = _MASK_STEP
    if isinstance(value, Constant):
        added = np.abs(value.array[np.isfinite(value.array)])
        step = float(np.float32(added.max(initial=0.0) / 127)) or 1.0
    low, high = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
    quant = Quantization.per_tensor(step, (int(low) + int(high) + 1) // 2)
    return found.emit(Quantize(), value, result_types=[TensorType(value.type.shape, dtype, quant)])


def _symmetric(found: Match, q: Value, attention: Op) -> Value:
    """Queries with the zero point 0, if a product makes them for this op alone."""
    op, (scale, zero) = q.producer, parameters(q.type)
    middle = sum(limits(q.type)) // 2 + 1
    if op is None or not is_op(op, Conv, MatMul) or zero == middle or q.type.dtype is not DType.I8:
        return q
    if zero in limits(q.type):
        # Saturation clamps at 0, as a ReLU that an exporter left out.
        return q
    if any(user is not attention.inputs[0].producer for user in q.users) or op.operator.act != "none":
        return q
    low, high = ((bound - zero) * float(scale) for bound in limits(q.type))
    quant = Quantization.per_tensor(float(np.float32(max(-low, high) / 127)))
    return found.emit(replace(op.operator), *op.operands, result_types=[q.type.with_quant(quant)], origin=[op])
