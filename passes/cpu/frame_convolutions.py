"""Make other products of convolutions of few channels: of frames, such as Fourier transforms, or of phases."""

import math
from collections.abc import Hashable
from dataclasses import replace
from functools import partial

import numpy as np

from ...ir.core import Constant, Module, Value
from ...ir.ops.convolution import Conv
from ...ir.ops.indexing import Gather
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Pad, Slice, Transpose
from ...ir.ops.shape import Reshape
from ..base import UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node, on_quantized

_LEAST_TAPS, _LEAST_STRIDE, _LEAST_OUTPUTS, _LEAST_UNIT = 32, 4, 8, 4
_MOST_BYTES = 1 << 25
_FEW_CHANNELS, _MOST_WASTE, _MOST_BESIDE_FRAMES = 4, 1.25, 1.1
"""Channels for which phases pay, and taps below which a whole number of phases has to stay for each that there is:
fewer where frames lie together as well, as of spectrograms of windows of 400, 160 apart."""


class FrameConvolutions(Pass):
    """Replaces convolutions of few channels by strided windows along the last dimension.

    Kernels for convolutions compute neighbouring columns or many channels at once: of few channels with strides neither
    lies together. Of numbers the columns that are a stride apart become rows, and the phases between them channels: the
    taps of a stride are one tap. So do all columns, where one window sees them, as it does the numbers of each word.
    Of integers, and where phases had far more taps, of one channel and long windows, frames [N * windows, taps]
    times weights lie together, at the price of each number being copied taps / stride times, which pays where many
    outputs read them. Weights that are computed are put in order in the run."""

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        made: dict[Hashable, Value] = {}
        rules = (
            Rule("phase_convolution", node(Conv, "x"), _of_phases),
            *on_quantized(Rule("frame_convolution", node(Conv, "x"), partial(_product, made))),
        )
        return Driver(rules, 1).run(module, record)


def _product(made: dict[Hashable, Value], found: Match[Conv]) -> Value | None:
    """The convolution by frames; those ``made`` before of the same signal are taken again, as by the real and the
    imaginary part of a spectrum."""
    conv, x, (_, w, b, _) = found.root.operator, found["x"], found.root.operands
    if not _lie_together(found):
        return None
    outputs, taps, windows = w.type.shape[0], w.type.shape[-1], found.root.result.type.shape[-1]
    images = x.type.shape[0]
    key = (x, taps, windows, conv.strides, conv.pads, conv.dilations)
    if key not in made:
        made[key] = _frames(found, taps)
    weights = found.moved(Reshape((outputs, taps)), w)
    product = MatMul(transpose_b=True, act=conv.act, act_args=conv.act_args)
    type = found.root.result.type
    y = found.emit(product, made[key], weights, b, result_types=[type.with_shape((images, windows, outputs))])
    y = found.emit(Transpose((0, 2, 1)), y)
    return found.emit(Reshape(type.shape), y)


def _lie_together(found: Match[Conv]) -> bool:
    """Whether frames are worth their copies."""
    conv, x, (_, w, _, residual) = found.root.operator, found["x"], found.root.operands
    is_known_or_real = isinstance(w, Constant) or w.type.dtype.is_float
    if residual is not None or conv.group != 1 or not is_known_or_real:
        return False
    outputs, taps, windows = w.type.shape[0], w.type.shape[-1], found.root.result.type.shape[-1]
    last = len(conv.strides) - 1
    around = [pad for d, pad in enumerate(conv.pads) if d not in (last, 2 * last + 1)]
    if any(around) or math.prod((*x.type.shape[1:-1], *w.type.shape[1:-1])) != 1:
        return False
    copied = x.type.shape[0] * windows * taps * x.type.dtype.bytes
    if taps < _LEAST_TAPS or conv.strides[last] < _LEAST_STRIDE or outputs < _LEAST_OUTPUTS or copied > _MOST_BYTES:
        return False
    return not x.type.dtype.is_float or math.gcd(conv.strides[last], taps) >= _LEAST_UNIT


def _frames(found: Match[Conv], taps: int) -> Value:
    """What each window sees: [N, windows, taps]."""
    conv, x, windows = found.root.operator, found["x"], found.root.result.type.shape[-1]
    last, images = len(conv.strides) - 1, x.type.shape[0]
    signal = found.emit(Reshape((images, x.type.shape[-1])), x)
    if any(conv.pads):
        signal = found.emit(Pad((0, conv.pads[last], 0, conv.pads[-1])), signal)
    # Elements that all windows begin and end with together are moved together.
    unit = math.gcd(conv.strides[last], taps) if conv.dilations[last] == 1 else 1
    reach = (windows - 1) * conv.strides[last] + (taps - 1) * conv.dilations[last] + 1
    if unit > 1:
        if reach < signal.type.shape[-1]:
            signal = found.emit(Slice((0, 0), (images, reach), (1, 1)), signal)
        signal = found.emit(Reshape((images, reach // unit, unit)), signal)
    steps = np.arange(taps // unit) * conv.dilations[last]
    places = np.arange(windows)[:, None] * (conv.strides[last] // unit) + steps
    indices = found.add_constant(f"{found.root.result.name}_frames", places.astype(np.int32))
    return found.emit(Reshape((images, windows, taps)), found.emit(Gather(1), signal, indices))


def _of_phases(found: Match[Conv]) -> Value | None:
    """The convolution of the phases of the last dimension, in single steps."""
    conv, x, (_, w, b, residual) = found.root.operator, found["x"], found.root.operands
    (outputs, channels, *rows, taps), windows = w.type.shape, found.root.result.type.shape[-1]
    if conv.group != 1 or channels > _FEW_CHANNELS or not w.type.dtype.is_float:
        return None
    stride = taps if windows == 1 else conv.strides[-1] if not rows else 1
    steps = -(-taps // stride)
    most = _MOST_BESIDE_FRAMES if _lie_together(found) else _MOST_WASTE
    if stride == 1 or conv.dilations[-1] != 1 or steps * stride >= most * taps:
        return None
    extent, rank = windows + steps - 1, x.type.rank
    before, after = conv.pads[rank - 3], extent * stride - x.type.shape[-1] - conv.pads[rank - 3]
    if before or after > 0:
        x = found.emit(Pad((*(0,) * (rank - 1), before, *(0,) * (rank - 1), max(after, 0))), x)
    if after < 0:
        shape = (*x.type.shape[:-1], extent * stride)
        x = found.emit(Slice((0,) * rank, shape, (1,) * rank), x)
    behind = (0, 1, rank, *range(2, rank))
    images = found.emit(Reshape((*x.type.shape[:-1], extent, stride)), x)
    shape = (x.type.shape[0], channels * stride, *x.type.shape[2:-1], extent)
    images = found.emit(Reshape(shape), found.emit(Transpose(behind), images))
    filled = Pad((*(0,) * (2 * rank - 1), steps * stride - taps))
    parts = Reshape((outputs, channels, *rows, steps, stride))
    taken = Reshape((outputs, channels * stride, *rows, steps))
    for movement in (filled, parts, Transpose(behind), taken):
        w = found.moved(movement, w)
    pads = (*conv.pads[: rank - 3], 0, *conv.pads[rank - 2 : -1], 0)
    phases = replace(conv, strides=(*conv.strides[:-1], 1), pads=pads)
    return found.emit(phases, images, w, b, residual)
