"""Make ordinary convolutions of transposed ones in single precision."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.activation import Activation
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.movement import Concat, Interleave
from ...ir.ops.shape import Expand
from ...ir.types import DType
from ..base import UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node
from ..quantization.transposed_rules import Phase, aligned_phases, phases, read, turned

_MOST_ZEROS = 1.3
"""Taps of a convolution that makes all phases, zeros included, for each tap that there is."""
_MOST_CONVOLUTIONS = 64
_MOST_PHASES = 4096


class TransposedConvolutions(Pass):
    """Replaces transposed convolutions of constant weights by ordinary ones of stride 1, whose results are interleaved;
    see :mod:`tilewright.passes.quantization.transposed_rules`.

    Where all phases read about the same elements, one convolution makes them, as channels, and phases without taps are
    their bias, expanded. An activation behind it moves before the interleaving, where the convolution can take it.
    """

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        return Driver(RULES, 1).run(module, record)


def _has_phases(op: Op[ConvTranspose]) -> bool:
    _, w, b = op.operands
    is_constant = isinstance(w, Constant) and isinstance(b, (Constant, type(None)))
    is_made = is_constant and op.result.type.dtype is DType.F32 and op.result.type.elements > 0
    return is_made and math.prod(op.operator.strides) <= _MOST_PHASES


def _has_phases_alone(op: Op[ConvTranspose]) -> bool:
    """Whether no activation is to move along."""
    users = list(op.result.users)
    return _has_phases(op) and not (len(op.result.uses) == len(users) == 1 and is_op(users[0], Activation))


def _by_phases(found: Match) -> Value | None:
    op = found.op("transposed", ConvTranspose)
    operator, (x, w, b) = op.operator, op.operands
    assert isinstance(w, Constant)
    group, (_, outputs, *kernel), array = operator.group, w.type.shape, turned(w.array, operator.group)
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
    parts: list[Value] = []
    for run in runs:
        each, bias = run[0], b.array if isinstance(b, Constant) else np.zeros(group * outputs, np.float32)
        bias = np.tile(bias, len(run))
        if not _reads(each):
            bias = bias if found.root is op else np.asarray(found.root.operator.reference(bias))
            shape = (x.type.shape[0], bias.size, *(-(-axis.input // axis.stride) for axis in axes))
            parts.append(found.emit(Expand(shape), found.add_constant(w.name, bias.reshape(-1, *(1,) * len(each)))))
            continue
        weights = np.concatenate([_kernel(array, [phase.taps for phase in one]) for one in run])
        cropped, pads = read(found, x, each)
        conv = Conv((1,) * len(each), pads, tuple(phase.dilation for phase in each), group)
        constants = found.add_constant(w.name, weights), None if b is None else found.add_constant(w.name, bias)
        parts.append(found.emit(conv, cropped, *constants))
        if found.root is not op:
            parts.append(found.emit(found.root.operator, parts.pop()))
    joined = parts[0] if len(parts) == 1 else found.emit(Concat(1), *parts)
    strides, shape = tuple(axis.stride for axis in axes), op.result.type.shape
    return joined if joined.type.shape == shape else found.emit(Interleave(strides, begin, shape[2:]), joined)


def _reads(each: Sequence[Phase]) -> tuple[tuple[int, ...], ...]:
    """What a phase along each dimension reads; nothing without taps along one of them."""
    read = tuple((phase.before, phase.after, len(phase.taps)) for phase in each)
    return read if all(phase.taps for phase in each) else ()


def _kernel(array: np.ndarray, taps: Sequence[Sequence[int]]) -> np.ndarray:
    """Weights [O, C / group, *taps] of these taps along each dimension; zeros for -1."""
    padded = np.pad(array, [(0, 0), (0, 0), *[(0, 1)] * len(taps)])
    return padded[np.ix_(*map(range, array.shape[:2]), *taps)]


_transposed = node(ConvTranspose, name="transposed", where=_has_phases)

RULES: tuple[Rule, ...] = (
    Rule("transposed_convolution", node(ConvTranspose, name="transposed", where=_has_phases_alone), _by_phases),
    Rule("transposed_convolution", node(Activation, _transposed), _by_phases),
)
