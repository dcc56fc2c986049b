"""A scale for each channel of what only depthwise convolutions read, folded into the weights on both sides.

A depthwise convolution multiplies each channel with weights of its own, so a channel divided by a number before is
multiplied by it there, and all channels fill the 8 bits that they share. The producer's weights and bias are divided by
the number, the depthwise weights multiplied with it: nothing is computed that was not computed before. After Nagel,
van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, but by
what samples show of the activations instead of by the weights.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TypeGuard

import numpy as np

from tilewright.immutable import Immutable

from ...ir.accumulators import channel_axis
from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.activation import Clip, Relu
from ...ir.ops.convolution import Conv
from ...ir.ops.quantization import Dequantize
from ...ir.types import Quantization, TensorType
from ...passes.quantization.parameters import Range, on_own_grid
from ...passes.quantization.plan import Plan
from ...passes.quantization.quantize import set_weights
from ...passes.quantization.sink_dequantize_rules import under
from ..calibration.windows import Product

MARGIN = 1.25
"""Channels have room for so many times the largest number that samples show of them, at least, for each shows them less
than all channels together."""

MORE_SAMPLES = 10
"""Channels have room for what so many times as many samples are expected to show of them."""

SMALLEST = 2.0**-20
"""Channels are multiplied by at most the reverse of this."""


class ChannelScales(Immutable):
    """What a value is divided by, float32[channels], and the range of the quotient.
    ``shifts``: what is taken off before, float32[channels], where something is.
    ``is_wide``: whether the quotient is to be of 16 bits."""

    factors: np.ndarray
    range: Range
    shifts: np.ndarray | None = None
    is_wide: bool = False

    def divided(self, value: np.ndarray) -> np.ndarray:
        """The quotient, of the value as it was."""
        return value / self.factors.reshape(-1, *[1] * (value.ndim - 2))


class Candidate(Immutable):
    """A value that only depthwise convolutions read.

    Attributes:
        producer: the convolution whose result it is, clamped by an activation or not.
        readers: the depthwise convolutions.
        most: the upper bound of the activation.
        low, high: the smallest and largest number of each channel, and 0, of each sample.
    """

    value: Value
    producer: Op[Conv]
    readers: tuple[Op[Conv], ...]
    is_positive: bool
    most: float
    low: list[np.ndarray] = field(default_factory=list)
    high: list[np.ndarray] = field(default_factory=list)

    def observe(self, x: np.ndarray, index: int, samples: int) -> None:
        """Take in the value on sample ``index`` of so many."""
        axes = (0, *range(2, x.ndim))
        self.low.append(np.minimum(x.min(axes), 0))
        self.high.append(np.maximum(x.max(axes), 0))

    def scales(self) -> ChannelScales | None:
        """What to divide by."""
        low, high = -with_margin(-np.stack(self.low)), with_margin(np.stack(self.high))
        reach = np.minimum(np.maximum(-low, high), self.most)
        largest = float(reach.max())
        if not largest > 0:
            return None
        factors = np.where(reach > 0, np.maximum(reach / largest, SMALLEST), 1.0).astype(np.float32)
        if self.is_positive:
            return ChannelScales(factors, (0.0, largest))
        return ChannelScales(factors, (float((low / factors).min()), float((high / factors).max())))


def with_margin(largest: np.ndarray) -> np.ndarray:
    """How far each channel is to reach, given the largest number of each sample, [samples, channels].

    Largest numbers of samples are taken to be distributed as Gumbel found. With so many times as many samples the
    largest of all is then farther by the logarithm of that, times what single samples differ by: a channel that all
    show alike has been seen, one that few show has not. E. J. Gumbel, "Statistics of Extremes", 1958."""
    spread = np.sqrt(6) / np.pi * largest.std(0, dtype=np.float64)
    found = largest.max(0)
    return np.maximum(MARGIN * found, found + np.log(MORE_SAMPLES) * np.where(found > 0, spread, 0.0))


def candidates(plan: Plan) -> dict[str, Candidate]:
    """The values of a plan that can have scales per channel, by their names."""
    found = ((name, _candidate(value, plan)) for name, value in plan.values.items())
    return {name: each for name, each in found if each is not None}


def is_depthwise(op: Op) -> TypeGuard[Op[Conv]]:
    """Whether each channel of what the op reads meets weights of its own."""
    return is_op(op, Conv) and op.operator.group == op.operands.x.type.shape[1]


def _candidate(value: Value, plan: Plan) -> Candidate | None:
    producer, clamp = value.producer, None
    if is_op(producer, Relu, Clip):
        clamp, producer = producer, producer.operands.x.producer
        if producer is None or len(producer.result.uses) != 1:
            return None
    if isinstance(clamp, Op) and isinstance(clamp.operator, Clip) and clamp.operator.act_args[0] != 0:
        return None
    readers = [user for user in value.users if is_op(user, Conv)]
    if not is_op(producer, Conv) or value.is_returned or len(readers) != len(value.uses) or not readers:
        return None
    convolutions = [producer, *readers]
    if any(op not in plan.anchors for op in convolutions):
        return None
    channels = value.type.shape[1]
    if channels < 2 or any(op.operands.x is not value or not is_depthwise(op) for op in readers):
        return None
    most = clamp.operator.act_args[1] if clamp is not None and isinstance(clamp.operator, Clip) else np.inf
    return Candidate(value, producer, tuple(readers), clamp is not None, float(most))


def set_scales(module: Module, plan: Plan, scales: Mapping[str, ChannelScales]) -> None:
    """Divide the values of these names, and multiply the weights that read them."""
    for name, candidate in candidates(plan).items():
        if name in scales:
            factors = scales[name].factors
            for value in (candidate.producer.result, plan.values[name]):
                # It holds other numbers than the tensor of the source.
                value.origin = None
            divide_channels(module, candidate.producer, candidate.readers, factors)


def divide_channels(module: Module, producer: Op[Conv] | None, readers: Iterable[Op[Conv]], by: np.ndarray) -> None:
    """Divide a value in the weights that make it, and multiply those of the depthwise convolutions that read it."""
    if producer is not None:
        scale_results(module, producer, 1 / by.astype(np.float64), has_bias=True)
    for op in readers:
        scale_results(module, op, np.repeat(by, op.operands.w.type.shape[0] // len(by)), has_bias=False)


def scale_results(module: Module, op: Product, by: np.ndarray, *, has_bias: bool) -> None:
    """Multiply weights, and the bias, by a number for each output channel."""
    w, b = op.operands.w, op.operands.b
    rows = by.reshape([-1 if d == channel_axis(op) else 1 for d in range(w.type.rank)])
    stored = under(Dequantize, w)
    if isinstance(stored, Constant):
        _set_integers(module, op, stored.array, stored.type, by)
    elif isinstance(w, Constant):
        # Integers of one scale for all channels would not be found again.
        grid = on_own_grid(w.array)
        if grid is not None:
            _set_integers(module, op, *grid, by)
        else:
            op.set_operand(1, module.add_constant(w.name, (w.array * rows).astype(w.array.dtype)))
    if has_bias and isinstance(b, Constant):
        op.set_operand(2, module.add_constant(b.name, (b.array * by).astype(b.array.dtype)))


def _set_integers(module: Module, op: Product, integers: np.ndarray, type: TensorType, by: np.ndarray) -> None:
    assert type.quant is not None
    scales = np.broadcast_to(np.asarray(type.quant.scale, np.float64), by.shape) * by
    zeros = np.broadcast_to(np.asarray(type.quant.zero_point, np.int64), by.shape)
    quant = Quantization.per_channel(scales.astype(np.float32), channel_axis(op), zeros.tolist())
    set_weights(module, op, integers, TensorType(type.shape, type.dtype, quant))
