"""Post-training quantisation: from a network in floating point and the ranges of its values to 8-bit integers."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from tilewright.errors import PassError

from ...ir.accumulators import channel_axis
from ...ir.core import Constant, Function, Module, Op, Value, is_op
from ...ir.ops.activation import Activation
from ...ir.ops.convolution import ConvTranspose
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.movement import Concat
from ...ir.ops.quantization import Dequantize
from ...ir.ops.quantization import Quantize as QuantizeOperator
from ...ir.types import DType, Quantization, TensorType
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..named_ops import unless_kept
from ..pattern import Driver
from . import integer_rules, sink_dequantize_rules, transposed_rules
from .check_accumulator_overflow import SETTLED
from .parameters import LARGEST, Range, affine_parameters, has_numbers, on_own_grid, per_channel
from .plan import Plan, plan_quantization
from .quantizable import Anchor, factor_of, is_below_zero, is_moving
from .sink_dequantize_rules import is_interpolation

ACTIVATIONS = {"i8": DType.I8, "u8": DType.U8}


class Quantize(Pass):
    """Turns everything up to the last convolution or matrix product into ops on 8-bit types.

    Convolutions and products with constant weights are quantised, and every op with a rule for quantised tensors
    whose result one of them goes on to use. What follows the last of them, and what has no rule, stays in floating
    point between ``dequantize`` and ``quantize``. Activations are affine per tensor; ReLU and Clip after an op become
    part of its saturation, which cuts the range at their bounds. Weights keep the 8-bit grid that they lie on, if they
    do; else they are symmetric per channel. Biases are int32. Operands of a concatenation that nothing else reads are
    quantised as its result is. Transposed convolutions become ordinary ones, one for each phase of the result.

    Attributes:
        ranges: name, smallest and largest number of each value that
            :func:`tilewright.passes.quantization.plan.plan_quantization` lists.
        activations: ``i8`` or ``u8``. The device computes with signed integers, and onnxruntime multiplies u8 with i8
            exactly on some processors only; in accuracy the two are equal.
        keep: names of operators or of source nodes that stay in floating point.
        real_outputs: accumulators of the last convolutions and products become real numbers, and no integers of 8 bits.
        exact_sums: sums round the accumulators of a convolution and their other operand together.
        shortcuts, slopes: see :func:`tilewright.passes.quantization.plan.plan_quantization`.
        wide: names of values that are ``i16`` whatever the others are.
    """

    requires = (PLAIN, UNPLANNED)

    ranges: tuple[tuple[str, float, float], ...]
    activations: str = "i8"
    keep: tuple[str, ...] = ()
    real_outputs: bool = False
    exact_sums: bool = False
    shortcuts: bool = False
    slopes: bool = False
    wide: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        if self.activations not in ACTIVATIONS:
            raise PassError("no such activations", expected=" or ".join(ACTIVATIONS), found=self.activations)
        function = module.main
        forms = {"real_outputs": self.real_outputs, "exact_sums": self.exact_sums}
        forms |= {"shortcuts": self.shortcuts, "slopes": self.slopes}
        plan = plan_quantization(function, self.keep, **forms)
        _check_ranges(plan, self.ranges)
        if not plan.values:
            return False
        for op in function.ops:
            # Only here, where integers are rounded anyway: in floating point the two differ in the last bit.
            factor = factor_of(op) if op in plan.ops else None
            if factor is not None:
                op.operator = Mul()
                op.set_operand(1, module.add_constant(f"{op.result.name}_factor", factor))
        ranges = {name: (low, high) for name, low, high in self.ranges}
        types = quantized_types(plan, ranges, ACTIVATIONS[self.activations], self.wide)
        for op in function.ops:
            if op in plan.ops and has_numbers(op):
                store_numbers(module, op, types.get(op.result), ACTIVATIONS[self.activations])
        for value, type in types.items():
            insert_pair(function, value, type, plan.reads_quantized)
        for op in plan.anchors:
            self._quantize_weights(module, op, record)
        record.counts["quantised value"] = len(types)
        rules = (*sink_dequantize_rules.RULES, *transposed_rules.RULES, *integer_rules.RULES, *SETTLED)
        rules = (*rules, *integer_rules.REAL_RESULTS) if plan.real else rules
        # What moves numbers is exact in integers, too.
        kept = {op for op in plan.kept if not is_moving(op)}
        Driver(unless_kept(rules, kept, _with_maker)).run(module, record)
        module.drop_unused_constants()
        return True

    def _quantize_weights(self, module: Module, op: Anchor, record: Record) -> None:
        x, w = op.operands[:2]
        assert x is not None
        if not isinstance(w, Constant):
            record.counts["weights rounded before"] += 1
            return
        stored = stored_weights(op, w.array, _scale_of(x))
        quant = stored[1].quant
        record.counts["weights on their own grid" if quant and quant.axis is None else "weights per channel"] += 1
        set_weights(module, op, *stored)


def _with_maker(op: Op) -> list[Op | None]:
    """The op, and where it makes integers, what makes their numbers, with what is before an activation."""
    found: list[Op | None] = [op]
    if is_op(op, QuantizeOperator):
        found.append(op.inputs[0].producer)
        found += [value.producer for value in found[-1].inputs[:1]] if is_op(found[-1], Activation) else []
    return found


def store_numbers(module: Module, op: Op[Mul | Add | Concat], type: TensorType | None, dtype: DType) -> None:
    """Make the known operands of an op integers, with the parameters of its result where it joins them, else around 0
    and of as many bits.
    ``type``: of the result, if that is of integers.
    ``dtype``: of the result otherwise."""
    function = op.function
    assert function is not None
    for index, constant in enumerate(op.inputs):
        if not isinstance(constant, Constant):
            continue
        stored = type.with_shape(constant.type.shape) if type is not None and is_op(op, Concat) else None
        if stored is None:
            kind = type.dtype if type is not None else dtype
            steps = np.iinfo(np.int16).max if kind is DType.I16 else LARGEST
            scale, zero = np.float32(np.abs(constant.array).max() / steps), 128 * (kind is DType.U8)
            if is_op(op, Add) and kind is DType.I16:
                # Sums of 16 bits are of maps of one shape.
                constant = module.add_constant(constant.name, np.broadcast_to(constant.array, op.result.type.shape))
            stored = TensorType(constant.type.shape, kind, Quantization.per_tensor(float(scale), zero))
        integers = Op(QuantizeOperator(), [constant], [stored])
        real = Op(Dequantize(), [function.insert(integers, op).result])
        op.set_operand(index, function.insert(real, op).result)


def set_weights(module: Module, op: Op, integers: np.ndarray, type: TensorType) -> None:
    """Give an op integers as its weights, dequantised, which quantisation then leaves as they are."""
    w, function = op.operands[1], op.function
    assert w is not None and function is not None
    constant = module.add_constant(w.name, integers, type)
    real = function.insert(Op(Dequantize(), [constant], names=[w.name], loc=op.loc), op)
    op.set_operand(1, real.result)


def stored_weights(op: Anchor, weights: np.ndarray, x_scale: float) -> tuple[np.ndarray, TensorType]:
    """Weights of an op as 8-bit integers, on the grid that they lie on or else the nearest ones.
    ``x_scale``: of the activations that they are multiplied with."""
    b = op.operands[2]
    bias = b.array if isinstance(b, Constant) else None
    if bias is not None and is_op(op, ConvTranspose):
        # Of the groups, which share their scales, the largest.
        bias = np.abs(bias).reshape(op.operator.group, -1).max(0)
    stored = on_own_grid(weights, bias, x_scale)
    return stored or per_channel(weights, channel_axis(op), bias, x_scale)


def quantized_types(
    plan: Plan, ranges: Mapping[str, Range], dtype: DType = DType.I8, wide: Collection[str] = ()
) -> dict[Value, TensorType]:
    """The type that each value of a plan is quantised to, given the range of each by name.
    ``wide``: names of those that are ``i16``."""
    dtypes = {name: DType.I16 if name in wide else dtype for name in plan.values}
    found = {
        value: TensorType(value.type.shape, dtypes[name], affine_parameters(ranges[name], dtypes[name]))
        for name, value in plan.values.items()
    }

    for value, other in like_others(plan):
        found[value] = TensorType(value.type.shape, found[other].dtype, found[other].quant)
    return found


def like_others(plan: Plan) -> Iterator[tuple[Value, Value]]:
    """Values that are quantised as other ones, whatever their own range is, and these: what is joined, as all of it;
    interpolation, as its operand, and what is below zero, so that it is exact."""
    values = {*plan.values.values()}
    for value in plan.values.values():
        if is_op(value.producer, Concat):
            sources = (plan.only_source(operand) for operand in value.producer.inputs)
            yield from ((source, value) for source in sources if source in values)
    for value in plan.values.values():
        op = value.producer
        if op in plan.ops and (is_interpolation(op.operator) or is_below_zero(op)):
            source = plan.source(op.inputs[0])
            if source in values:
                yield value, source


def _check_ranges(plan: Plan, ranges: Sequence[tuple[str, float, float]]) -> None:
    known = {name for name, _, _ in ranges}
    missing, unknown = [name for name in plan.values if name not in known], sorted(known - set(plan.values))
    if missing or unknown:
        raise PassError(
            "the calibrated ranges are not those of this network",
            expected=f"{len(plan.values)} values, among them {', '.join([*missing, *plan.values][:3]) or 'none'}",
            found=f"{len(ranges)} ranges, unknown {', '.join(unknown[:3]) or 'none'}",
            hint="Calibrate the very module that is quantised.",
        )
    for name, low, high in ranges:
        if not np.isfinite([low, high]).all() or low > high:
            expected = "two finite numbers, the smaller one first"
            raise PassError("a calibrated range is no range", op=f"%{name}", expected=expected, found=(low, high))


def insert_pair(
    function: Function, value: Value, type: TensorType, reads: Callable[[Value, Op | Function], bool]
) -> Value:
    """Quantise ``value`` and let its readers, those of which ``reads`` says so, have the real form of that; this."""
    loc = value.producer.loc if value.producer is not None else ()
    first = Op(QuantizeOperator(), [value], [type], names=[value.name], loc=loc)
    function.insert_after(first, value.producer)
    second = function.insert_after(Op(Dequantize(), [first.result], names=[value.name], loc=loc), first)
    first.result.origin = second.result.origin = value.origin
    for user, index in [*value.uses]:
        if user is not first and reads(value, user):
            user.set_operand(index, second.result)
    return second.result


def _scale_of(x: Value) -> float:
    """The scale of a real value that is about to be that of integers: of its pair, through any movement."""
    assert x.producer is not None, x
    source = next(value for value in x.producer.inputs if value.type.dtype.is_float or value.type.quant is not None)
    return source.type.quant.scale[0] if source.type.quant is not None else _scale_of(source)
