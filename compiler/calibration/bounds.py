"""Ranges without samples: what values can be whatever the inputs are, by interval arithmetic, channel by channel.

Bounds are proved and not seen: no input leaves them, and most come nowhere near. A layer's bounds follow from those of
what it reads, as if all its channels could be at their ends at once, so that they widen from layer to layer until a
clamp narrows them. Integers of 16 bits have room for that in networks with clamps, such as ReLU6.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tilewright.errors import CalibrationError, InputError, UsageError

from ...ir.core import Constant, Function, Op, Value, is_op
from ...ir.op import QuantizationRule
from ...ir.ops.activation import Clip, Gelu, GeluTanh, HardSigmoid, HardSwish, LeakyRelu, Relu, Sigmoid, Swish, Tanh
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Mul, Sub
from ...ir.ops.matmul import MatMul
from ...ir.ops.pooling import AveragePool, GlobalAveragePool
from ...ir.ops.reduction import ReduceMean
from ...ir.ops.softmax import Softmax
from ...passes.quantization.parameters import Range
from ...runtime.pictures.inputs import Declaration, for_input

BOUNDS = "bounds"
"""The source of calibration that stands for ranges without samples."""

WIDEST = 2.0**16
"""Bounds beyond which nobody can hope that values come near: integers of 16 bits would be in steps of more than 2."""

MONOTONE = (Relu, Clip, Sigmoid, Tanh, HardSigmoid, LeakyRelu, AveragePool, GlobalAveragePool, ReduceMean)
"""Operators whose result grows with their operand, besides those that move or choose elements."""

LEAST = {Swish: -0.2785, HardSwish: -0.375, Gelu: -0.17, GeluTanh: -0.1701}
"""Functions that fall before they grow, and what none of their results is below."""


class Interval(NamedTuple):
    """Smallest and largest number of each element, or of all elements along the dimensions of extent 1, float64."""

    low: np.ndarray
    high: np.ndarray

    def of_channels(self) -> "Interval":
        """The same for all elements of a channel, axis 1."""
        axes = tuple(d for d in range(self.low.ndim) if d != 1)
        return Interval(self.low.min(axes, keepdims=True), self.high.max(axes, keepdims=True))

    def spread(self, shape: tuple[int, ...]) -> "Interval":
        """The same for each element of a tensor."""
        return Interval(np.broadcast_to(self.low, shape), np.broadcast_to(self.high, shape))


def is_bounds(source: object) -> bool:
    """Whether calibration is to do without samples."""
    return isinstance(source, str) and source == BOUNDS


def pixel_bounds(function: Function, declaration: Declaration | None) -> dict[str, Range]:
    """The range of each input by name, where preprocessing says what pixels become.
    Raises UsageError: it is not declared; CalibrationError: an input cannot be a picture."""
    if declaration is None:
        hint = "Say with --preprocess what becomes of pixels."
        raise UsageError("nothing tells the ranges of the inputs", stage="calibration", hint=hint)
    found: dict[str, Range] = {}
    for each in function.parameters:
        preprocessing = for_input(declaration, each.name).preprocessing
        try:
            preprocessing.check(each.type.shape, each.type.dtype.numpy)
        except InputError as error:
            raise CalibrationError(
                error.message, stage="calibration", op=f"%{each.name}", expected=error.expected, found=error.found
            ) from None
        found[each.name] = preprocessing.range()
    return found


def ranges_by_bounds(function: Function, values: Mapping[str, Value], inputs: Mapping[str, Range]) -> dict[str, Range]:
    """The range of each of the values of these names.
    ``inputs``: of each input, by name.
    Raises CalibrationError: an op has no bounds, or a value such wide ones that they say nothing."""
    known: dict[Value, Interval] = {}
    for parameter in function.parameters:
        low, high = inputs[parameter.name]
        shape = (1,) * parameter.type.rank
        known[parameter] = Interval(np.full(shape, low), np.full(shape, high))
    wanted = set(values.values())
    for op in function.ops:
        if wanted <= set(known):
            break
        found = _bounds(op, [_of(value, known) if value is not None else None for value in op.operands])
        if found is None:
            raise CalibrationError(
                "nothing tells the range of a value without samples",
                stage="calibration",
                op=op.name,
                node=op.node,
                expected="convolutions, products with constants, sums, pooling, movement and functions that grow",
                hint="Give samples.",
            )
        known[op.results[0]] = found
    ranges = {name: (float(known[v].low.min()), float(known[v].high.max())) for name, v in values.items()}
    for name, (low, high) in ranges.items():
        if not max(-low, high) < WIDEST:
            raise CalibrationError(
                "what a value can be at most is too much to be its range",
                stage="calibration",
                op=f"%{name}",
                expected=f"below {WIDEST:.0f}",
                found=f"{max(-low, high):.3g}",
                hint="Give samples: bounds widen from layer to layer where no clamp narrows them.",
            )
    return ranges


def _of(value: Value, known: Mapping[Value, Interval]) -> Interval | None:
    if isinstance(value, Constant):
        array = value.array.astype(np.float64) if value.type.dtype.is_float else value.array
        return Interval(array, array)
    return known.get(value)


def _bounds(op: Op[Any], operands: list[Interval | None]) -> Interval | None:
    present = [each for each in operands if each is not None]
    if len(op.results) != 1 or len(present) < len(op.inputs):
        return None
    if is_op(op, Conv):
        return _convolved(op, operands[0])
    if is_op(op, MatMul):
        return _multiplied(op, operands[0])
    if is_op(op, Softmax):
        shape = (1,) * op.result.type.rank
        return Interval(np.zeros(shape), np.ones(shape))
    if is_op(op, Add, Sub, Mul):
        return _corners(type(op.operator).FUNCTION, *present)
    moves = op.operator.QUANTIZATION in (QuantizationRule.PRESERVE, QuantizationRule.UNIFY)
    least = LEAST.get(type(op.operator))
    if not isinstance(op.operator, MONOTONE) and not moves and least is None:
        return None
    spread = [each.spread(v.type.shape) for v, each in zip(op.inputs, present, strict=True)]
    operator: Any = op.operator
    with np.errstate(all="ignore"):
        low, high = (
            np.asarray(operator.reference(*operator.padded([*arrays]))) for arrays in zip(*spread, strict=True)
        )
    found = Interval(low, high) if least is None else Interval(np.full_like(low, least), np.maximum(low, high))
    return found.of_channels() if low.ndim > 2 else found


def _corners(function: Callable[..., np.ndarray], x: Interval, y: Interval) -> Interval:
    every = [function(a, b) for a in x for b in y]
    low, high = every[0], every[0]
    for each in every[1:]:
        low, high = np.minimum(low, each), np.maximum(high, each)
    return Interval(low, high)


def _convolved(op: Op[Conv], x: Interval | None) -> Interval | None:
    w, b, residual = op.inputs[1], op.operands.b, op.operands.residual
    if x is None or not isinstance(w, Constant) or residual is not None or op.operator.act != "none":
        return None
    channels = op.inputs[0].type.shape[1]
    low, high = (np.broadcast_to(each.reshape(-1), channels) for each in x.of_channels())
    if any(op.operator.pads):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    outputs, inputs = w.type.shape[:2]
    groups = op.operator.group
    weights = w.array.astype(np.float64).reshape(groups, outputs // groups, inputs, -1)
    up, down = np.maximum(weights, 0).sum(3), np.minimum(weights, 0).sum(3)
    shape = (1, outputs, *[1] * (op.result.type.rank - 2))
    return _summed(up, down, low.reshape(groups, inputs), high.reshape(groups, inputs), b, shape)


def _multiplied(op: Op[MatMul], x: Interval | None) -> Interval | None:
    w, b, operator = op.inputs[1], op.operands.b, op.operator
    plain = not operator.transpose_a and operator.act == "none" and op.operands.residual is None
    if x is None or not plain or not isinstance(w, Constant) or w.type.rank != 2:
        return None
    rows = w.array if operator.transpose_b else w.array.T
    axes = tuple(range(op.inputs[0].type.rank - 1))
    low, high = (np.broadcast_to(each, (*each.shape[:-1], rows.shape[1])) for each in x)
    low, high = low.min(axes), high.max(axes)
    weights = rows.astype(np.float64)[None]
    shape = (*[1] * (op.result.type.rank - 1), len(rows))
    return _summed(np.maximum(weights, 0), np.minimum(weights, 0), low[None], high[None], b, shape)


def _summed(
    up: np.ndarray, down: np.ndarray, low: np.ndarray, high: np.ndarray, b: Value | None, shape: tuple[int, ...]
) -> Interval | None:
    """Sums of products with positive and with negative weights [groups, outputs, inputs] of inputs [groups, inputs]."""
    if not isinstance(b, (Constant, type(None))):
        return None
    bias = b.array.astype(np.float64).reshape(-1) if b is not None else 0.0
    least, most = (
        (np.einsum("goi,gi->go", up, first) + np.einsum("goi,gi->go", down, second)).reshape(-1) + bias
        for first, second in ((low, high), (high, low))
    )
    return Interval(least.reshape(shape), most.reshape(shape))
