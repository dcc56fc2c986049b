"""Make ordinary convolutions of transposed ones in single precision."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.activation import Activation
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.indexing import Gather
from ...ir.ops.movement import Concat, Interleave, Pad, Transpose
from ...ir.ops.shape import Expand, Reshape
from ...ir.types import DType
from ..base import UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node
from ..quantization.transposed_rules import Phase, aligned_phases, phases, read

_MOST_ZEROS = 1.3
"""Taps of a convolution that makes all phases, zeros included, for each tap that there is."""
_MOST_CONVOLUTIONS = 64
_MOST_PHASES = 4096


class TransposedConvolutions(Pass):
    """Replaces transposed convolutions by ordinary ones of stride 1, whose results are interleaved; see
    :mod:`tilewright.passes.quantization.transposed_rules`. Weights that are computed are put in order in the run.

    Where all phases read about the same elements, one convolution makes them, as channels, and phases without taps are
    their bias, expanded. An activation behind it moves before the interleaving, where the convolution can take it."""

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        return Driver(RULES, 1).run(module, record)


def _has_phases(op: Op[ConvTranspose]) -> bool:
    b = op.operands[2]
    is_made = (
        isinstance(b, (Constant, type(None))) and op.result.type.dtype is DType.F32 and op.result.type.elements > 0
    )
    return is_made and math.prod(op.operator.strides) <= _MOST_PHASES


def _has_phases_alone(op: Op[ConvTranspose]) -> bool:
    """Whether no activation is to move along."""
    return _has_phases(op) and not is_op(op.result.only_user, Activation)


def _by_phases(found: Match) -> Value | None:
    op = found.op("transposed", ConvTranspose)
    operator, (x, w, b) = op.operator, op.operands
    group, (_, outputs, *kernel) = operator.group, w.type.shape
    windows = operator.windows(x.type.shape, w.type.shape)
    # Counted from where no padding would begin, so that phases of a kernel of whole strides read the same elements.
    begin = tuple(axis.before % axis.stride for axis in windows)
    pairs = zip(windows, begin, strict=True)
    axes = [replace(axis, before=axis.before - rest, input=axis.input + rest) for axis, rest in pairs]
    every = [phases(axis) for axis in axes]
    aligned = [aligned_phases(each) for each in every]
    taps = math.prod(sum(len(phase.taps) for phase in each) for each in aligned)
    joins = group == 1 and all(aligned) and taps <= _MOST_ZEROS * math.prod(kernel)
    key = _reads if group == 1 else lambda each: _reads(each) and each
    # Neighbours that read the same are channels of one convolution, without groups; those without taps are bias alone.
    runs = [[*run] for _, run in itertools.groupby(itertools.product(*(aligned if joins else every)), key)]
    if len(runs) > _MOST_CONVOLUTIONS:
        return None
    weights, parts = _turned(found, w, group), list[Value]()
    for run in runs:
        each, bias = run[0], b.array if isinstance(b, Constant) else np.zeros(group * outputs, np.float32)
        bias = np.tile(bias, len(run))
        if not _reads(each):
            bias = bias if found.root is op else np.asarray(found.root.operator.reference(bias))
            shape = (x.type.shape[0], bias.size, *(-(-axis.input // axis.stride) for axis in axes))
            parts.append(found.emit(Expand(shape), found.add_constant(w.name, bias.reshape(-1, *(1,) * len(each)))))
            continue
        kernels = [_kernel(found, weights, kernel, [phase.taps for phase in one]) for one in run]
        cropped, pads = read(found, x, each)
        conv = Conv((1,) * len(each), pads, tuple(phase.dilation for phase in each), group)
        constant = None if b is None else found.add_constant(w.name, bias)
        parts.append(found.emit(conv, cropped, _together(found, kernels, 0), constant))
        if found.root is not op:
            parts.append(found.emit(found.root.operator, parts.pop()))
    joined = _together(found, parts, 1)
    strides, shape = tuple(axis.stride for axis in axes), op.result.type.shape
    return joined if joined.type.shape == shape else found.emit(Interleave(strides, begin, shape[2:]), joined)


def _reads(each: Sequence[Phase]) -> tuple[tuple[int, ...], ...]:
    """What a phase along each dimension reads; nothing without taps along one of them."""
    read = tuple((phase.before, phase.after, len(phase.taps)) for phase in each)
    return read if all(phase.taps for phase in each) else ()


def _turned(found: Match, w: Value, group: int) -> Value:
    """Weights [C, O / group, *kernel] as a convolution has them, [O, C / group, taps + 1], with zeros at the end."""
    channels, outputs, *kernel = w.type.shape
    taps = math.prod(kernel)
    value = found.moved(Reshape((group, channels // group, outputs, taps)), w)
    value = found.moved(
        Reshape((group * outputs, channels // group, taps)), found.moved(Transpose((0, 2, 1, 3)), value)
    )
    return found.moved(Pad((0, 0, 0, 0, 0, 1)), value)


def _kernel(found: Match, weights: Value, kernel: Sequence[int], taps: Sequence[Sequence[int]]) -> Value:
    """Weights [O, C / group, *taps] of these taps along each dimension; zeros for -1."""
    numbers = np.arange(math.prod(kernel)).reshape(kernel)
    numbers = np.pad(numbers, [(0, 1)] * len(taps), constant_values=numbers.size)[np.ix_(*taps)]
    if isinstance(weights, Constant):
        return found.add_constant(weights.name, weights.array[..., numbers])
    return found.emit(Gather(2), weights, found.add_constant(weights.name, numbers))


def _together(found: Match, values: Sequence[Value], axis: int) -> Value:
    if len(values) == 1:
        return values[0]
    if all(isinstance(value, Constant) for value in values):
        arrays = [value.array for value in values if isinstance(value, Constant)]
        return found.add_constant(values[0].name, np.concatenate(arrays, axis))
    return found.emit(Concat(axis), *values)


_transposed = node(ConvTranspose, name="transposed", where=_has_phases)

RULES: tuple[Rule, ...] = (
    Rule("transposed_convolution", node(ConvTranspose, name="transposed", where=_has_phases_alone), _by_phases),
    Rule("transposed_convolution", node(Activation, _transposed), _by_phases),
)
