"""Quantised convolutions in groups that are no whole blocks of channels: neighbouring groups are computed as one.

Weights between them count as zero: they are the zero point. So sums over windows, which weights with zero points take,
are over all channels of the joined groups, and every result is what it was.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np

from .....ir.core import Constant, Op, Value
from .....ir.layout import pack
from .....ir.ops.convolution import Conv
from .quantized_convolution import QuantizedConvolution


class JoinedConvolution(QuantizedConvolution):
    """The same as its base, but that the weights are joined."""

    OWN_WEIGHTS: ClassVar[bool] = True


def joined_array(w: np.ndarray, groups: int, count: int, zero: np.ndarray | int = 0) -> np.ndarray:
    """Weights [outputs, inputs, *window] of so many times fewer groups, with zero points between them, which are one or
    those of each output."""
    outputs, inputs, *window = w.shape
    zeros = np.broadcast_to(zero, (outputs, count * inputs, *window))
    joined = zeros.astype(w.dtype).reshape(outputs, count, inputs, *window)
    numbers = np.arange(outputs)
    joined[numbers, numbers // (outputs // groups) % count] = w
    return joined.reshape(zeros.shape)


def with_joined_groups(op: Op[Conv], count: int) -> Op[Conv]:
    """A quantised convolution of so many times fewer groups, in no function, that computes the same."""
    conv, (x, w, b, residual), result = op.operator, op.operands, op.result.type
    assert isinstance(w, Constant) and w.type.quant is not None
    joined = joined_array(w.array, conv.group, count, w.type.quant.broadcast(w.type.rank)[1])
    weights = Constant(w.name, joined, w.type.with_shape(joined.shape))
    bias = Constant(b.name, b.array, b.type) if isinstance(b, Constant) else None
    added = Value(residual.name, residual.type) if residual is not None else None
    operands = Value(x.name, x.type), weights, bias, added
    return Op(replace(conv, group=conv.group // count), operands, [result], names=[op.result.name], loc=op.loc)


def joined_weights(op: Op[Conv]) -> bytes:
    """What the kernel reads in place of the weights of a convolution whose groups are joined."""
    w = op.operands.w
    assert isinstance(w, Constant)
    return pack(w.array, "o16i4").tobytes()
