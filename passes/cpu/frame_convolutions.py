"""Make matrix products of convolutions that a signal is cut into frames by, such as Fourier transforms."""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import partial

import numpy as np

from ...ir.core import Constant, Module, Value
from ...ir.ops.convolution import Conv
from ...ir.ops.indexing import Gather
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Pad, Slice, Transpose
from ...ir.ops.shape import Reshape
from ..base import UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node

_LEAST_TAPS, _LEAST_STRIDE, _LEAST_OUTPUTS = 32, 4, 8
_MOST_BYTES = 1 << 25


class FrameConvolutions(Pass):
    """Replaces convolutions of one channel by long strided windows along the last dimension.

    Kernels for convolutions compute neighbouring columns or many channels at once: of one channel with strides neither
    lies together. Frames [N * windows, taps] times weights do, at the price of each number being copied taps / stride
    times, which pays where many outputs read them: from 2 to 30 billion multiplications a second for a spectrogram of
    windows of 512, 160 apart.
    """

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        made: dict[Hashable, Value] = {}
        return Driver((Rule("frame_convolution", node(Conv, "x"), partial(_product, made)),), 1).run(module, record)


def _product(made: dict[Hashable, Value], found: Match[Conv]) -> Value | None:
    """The convolution by frames; those ``made`` before of the same signal are taken again, as by the real and the
    imaginary part of a spectrum.
    """
    conv, x, (_, w, b, residual) = found.root.operator, found["x"], found.root.operands
    if residual is not None or not isinstance(w, Constant) or not w.type.dtype.is_float or conv.group != 1:
        return None
    outputs, taps, windows = w.type.shape[0], w.type.shape[-1], found.root.result.type.shape[-1]
    last, images = len(conv.strides) - 1, x.type.shape[0]
    around = [pad for d, pad in enumerate(conv.pads) if d not in (last, 2 * last + 1)]
    if any(around) or math.prod((*x.type.shape[1:-1], *w.type.shape[1:-1])) != 1:
        return None
    copied = images * windows * taps * x.type.dtype.bytes
    if taps < _LEAST_TAPS or conv.strides[last] < _LEAST_STRIDE or outputs < _LEAST_OUTPUTS or copied > _MOST_BYTES:
        return None
    name = found.root.result.name
    key = (x, taps, windows, conv.strides, conv.pads, conv.dilations)
    if key not in made:
        made[key] = _frames(found, taps)
    weights = found.add_constant(f"{name}_taps", w.array.reshape(outputs, taps).T)
    product = MatMul(act=conv.act, act_args=conv.act_args)
    y = found.emit(product, made[key], weights, b)
    y = found.emit(Transpose((0, 2, 1)), y)
    return found.emit(Reshape(found.root.result.type.shape), y)


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
