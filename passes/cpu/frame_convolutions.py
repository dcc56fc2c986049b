"""Make matrix products of convolutions that a signal is cut into frames by, such as Fourier transforms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...ir.core import Constant, Module, Value
from ...ir.ops.convolution import Conv
from ...ir.ops.indexing import Gather
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Pad, Transpose
from ...ir.ops.shape import Reshape
from ..base import UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node

_LEAST_TAPS, _LEAST_STRIDE, _LEAST_OUTPUTS = 32, 4, 8
_MOST_BYTES = 1 << 25


@dataclass(frozen=True)
class FrameConvolutions(Pass):
    """Replaces convolutions of one channel by long strided windows along the last dimension.

    Kernels for convolutions compute neighbouring columns or many channels at once: of one channel with strides neither
    lies together. Frames [N * windows, taps] times weights do, at the price of each number being copied taps / stride
    times, which pays where many outputs read them: from 2 to 30 billion multiplications a second for a spectrogram of
    windows of 512, 160 apart.
    """

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        return Driver((Rule("frame_convolution", node(Conv, "x"), _frames),), 1).run(module, record)


def _frames(found: Match[Conv]) -> Value | None:
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
    signal = found.emit(Reshape((images, x.type.shape[-1])), x)
    if any(conv.pads):
        signal = found.emit(Pad((0, conv.pads[last], 0, conv.pads[-1])), signal)
    places = np.arange(windows)[:, None] * conv.strides[last] + np.arange(taps) * conv.dilations[last]
    name = found.root.result.name
    indices = found.add_constant(f"{name}_frames", places.astype(np.int32))
    weights = found.add_constant(f"{name}_taps", w.array.reshape(outputs, taps).T)
    product = MatMul(act=conv.act, act_args=conv.act_args)
    y = found.emit(product, found.emit(Gather(1), signal, indices), weights, b)
    y = found.emit(Transpose((0, 2, 1)), y)
    return found.emit(Reshape(found.root.result.type.shape), y)
