"""Post-training quantisation: from a network in floating point and the ranges of its values to 8-bit integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tilewright.errors import PassError

from ...ir.core import Constant, Function, Module, Op, Value
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Concat
from ...ir.ops.quantization import Dequantize
from ...ir.ops.quantization import Quantize as QuantizeOperator
from ...ir.types import DType, Quantization, TensorType
from ..base import Pass, Record
from ..invariants import PLAIN, UNPLANNED, Invariant
from ..pattern import Driver
from . import accumulators, integer_rules, sink_dequantize_rules
from .parameters import Range, affine_parameters
from .plan import Plan, plan_quantization
from .weights import on_own_grid, per_channel

ACTIVATIONS = {"i8": DType.I8, "u8": DType.U8}

RANGE = "range"
"""Annotation of an op with the calibrated range of its result, and of a function with those of its parameters."""


def values_to_calibrate(module: Module, keep: tuple[str, ...] = ()) -> dict[str, Value]:
    """The values of ``main`` whose ranges :class:`Quantize` needs, by unique names.

    Args:
        keep: as for :class:`Quantize`.
    """
    names: dict[str, Value] = {}
    for value in plan_quantization(module.main, keep).values:
        name, count = value.name, 0
        while name in names:
            count += 1
            name = f"{value.name}.{count}"
        names[name] = value
    return names


def attach_ranges(module: Module, ranges: Mapping[str, Range], keep: tuple[str, ...] = ()) -> None:
    """Annotate ``main`` with calibrated ranges, given under the names of :func:`values_to_calibrate`.

    Raises:
        PassError: a range is missing or belongs to no value.
    """
    values = values_to_calibrate(module, keep)
    missing = [name for name in values if name not in ranges]
    unknown = [name for name in ranges if name not in values]
    if missing or unknown:
        raise PassError(
            "the calibrated ranges are not those of this network",
            stage=Quantize.name,
            expected=f"{len(values)} values, among them {', '.join([*missing[:3], *list(values)[:1]][:3]) or 'none'}",
            found=f"{len(ranges)} ranges, unknown {', '.join(unknown[:3]) or 'none'}",
            hint="Calibrate the very module that is quantised.",
        )
    of_parameters: list[tuple[str, float, float]] = []
    for name, value in values.items():
        low, high = (float(end) for end in ranges[name])
        if value.producer is None:
            of_parameters.append((value.name, low, high))
        else:
            value.producer.annotations[RANGE] = (low, high)
    module.main.annotations[RANGE] = tuple(of_parameters)


@dataclass(frozen=True)
class Quantize(Pass):
    """Turns everything up to the last convolution or matrix product into ops on 8-bit types.

    Convolutions and products with constant weights are quantised, and every op with a rule for quantised tensors
    whose result one of them goes on to use. What follows the last of them, and what has no rule, stays in floating
    point between ``dequantize`` and ``quantize``. Activations are affine per tensor; ReLU and Clip after an op become
    part of its saturation, which cuts the range at their bounds. Weights keep the 8-bit grid that they lie on, if they
    do; else they are symmetric per channel. Biases are int32. Operands of a concatenation that nothing else reads are
    quantised as its result is.

    Needs the ranges of :func:`attach_ranges`, which it takes away.

    Attributes:
        activations: ``i8`` or ``u8``. The device computes with signed integers, and onnxruntime multiplies u8 with i8
            exactly on some processors only; in accuracy the two are equal.
        keep_grids: look for weights that lie on an 8-bit grid.
        keep: names of operators or of source nodes that stay in floating point.
    """

    requires: ClassVar[tuple[Invariant, ...]] = (PLAIN, UNPLANNED)

    activations: str = "i8"
    keep_grids: bool = True
    keep: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        if self.activations not in ACTIVATIONS:
            raise PassError("no such activations", expected=" or ".join(ACTIVATIONS), found=self.activations)
        function = module.main
        plan = plan_quantization(function, self.keep)
        if not plan.values:
            return _forget_ranges(function)
        parameters = self._parameters(function, plan)
        _forget_ranges(function)
        reals = {value: _insert_pair(function, value, quant, plan) for value, quant in parameters.items()}
        for op in plan.anchors:
            self._quantize_weights(module, op, reals, record)
        record.counts["quantised value"] = len(parameters)
        Driver((*sink_dequantize_rules.RULES, *integer_rules.RULES, *accumulators.RULES)).run(module, record)
        module.drop_unused_constants()
        return True

    def _parameters(self, function: Function, plan: Plan) -> dict[Value, TensorType]:
        """The type that each value is quantised to."""
        dtype = ACTIVATIONS[self.activations]
        found = {
            value: TensorType(value.type.shape, dtype, affine_parameters(_range_of(function, value), dtype))
            for value in plan.values
        }
        for value in plan.values:
            if value.producer is not None and isinstance(value.producer.operator, Concat):
                for operand in value.producer.inputs:
                    source = plan.only_source(operand)
                    if source in found:
                        found[source] = found[source].with_quant(found[value].quant)
        return found

    def _quantize_weights(self, module: Module, op: Op, reals: Mapping[Value, Value], record: Record) -> None:
        x, w, b = (*op.operands, None)[:3]
        assert x is not None
        assert isinstance(w, Constant)
        bias = b.array if isinstance(b, Constant) else None
        axis = op.operator.column_axis(w.type) if isinstance(op.operator, MatMul) else 0
        scale = _scale_of(x)
        stored = on_own_grid(w.array) if self.keep_grids else None
        if stored is not None and bias is not None:
            quant = stored[1].quant
            assert quant is not None
            # One scale for all channels cannot make room for the bias of one.
            if np.abs(bias).max(initial=0) / (scale * quant.scale[0]) >= 2.0**30:
                stored = None
        record.counts["weights on their own grid" if stored is not None else "weights per channel"] += 1
        if stored is None:
            stored = per_channel(w.array, axis, bias, scale, keep_grids=self.keep_grids)
        constant = module.add_constant(w.name, *stored)
        assert op.function is not None
        real = op.function.insert(Op(Dequantize(), [constant], names=[w.name], loc=op.loc), op)
        op.set_operand(1, real.result)


def _range_of(function: Function, value: Value) -> Range:
    if value.producer is not None:
        found = value.producer.annotations.get(RANGE)
        op, node = value.producer.name, value.producer.node
    else:
        entries = function.annotations.get(RANGE, ())
        pairs = (
            [e for e in entries if isinstance(e, tuple) and e[0] == value.name] if isinstance(entries, tuple) else []
        )
        found = pairs[0][1:] if pairs else None
        op, node = f"%{value.name}", None
    if not isinstance(found, tuple) or len(found) != 2:
        raise PassError(
            "the range of a value is not known", op=op, node=node, hint="Calibrate first, then attach the ranges."
        )
    low, high = found
    if not isinstance(low, float) or not isinstance(high, float) or not np.isfinite([low, high]).all() or low > high:
        expected = "two finite numbers, the smaller one first"
        raise PassError("a calibrated range is no range", op=op, node=node, expected=expected, found=(low, high))
    return low, high


def _forget_ranges(function: Function) -> bool:
    changed = function.annotations.pop(RANGE, None) is not None
    for op in function.ops:
        changed |= op.annotations.pop(RANGE, None) is not None
    return changed


def _insert_pair(function: Function, value: Value, type: TensorType, plan: Plan) -> Value:
    """Quantise ``value`` and let its readers have the real form of that; the real form."""
    loc = value.producer.loc if value.producer is not None else ()
    first = Op(QuantizeOperator(), [value], [type], names=[value.name], loc=loc)
    if value.producer is not None:
        function.insert_after(first, value.producer)
    else:
        before = next(iter(function.ops), None)
        function.insert(first, before)
    second = function.insert_after(Op(Dequantize(), [first.result], names=[value.name], loc=loc), first)
    for user, index in value.uses:
        if user is not first and plan.reads_quantized(value, user):
            user.set_operand(index, second.result)
    return second.result


def _scale_of(x: Value) -> float:
    """The scale of a real value that is about to be that of integers: of its pair, through any movement."""
    while x.producer is not None:
        operator = x.producer.operator
        if isinstance(operator, Dequantize):
            quant = x.producer.inputs[0].type.quant
            assert isinstance(quant, Quantization)
            return quant.scale[0]
        x = next(value for value in x.producer.inputs if value.type.dtype.is_float)
    raise PassError("an operand was not quantised", found=f"%{x.name}")
