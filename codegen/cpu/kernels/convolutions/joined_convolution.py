"""Quantised convolutions in groups that are no whole blocks of channels: neighbouring groups are computed as one.

Weights between them count as zero: they are the zero point. So sums over windows, which weights with zero points take,
are over all channels of the joined groups, and every result is what it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from .....ir.core import Constant, Op, Value
from .....ir.layout import pack
from .....ir.ops.convolution import Conv
from .quantized_convolution import QuantizedConvolution


@dataclass(frozen=True)
class JoinedConvolution(QuantizedConvolution):
    """The same as its base, but that the weights are joined."""

    OWN_WEIGHTS: ClassVar[bool] = True


def with_joined_groups(op: Op[Conv], count: int) -> Op[Conv]:
    """A quantised convolution of so many times fewer groups, in no function, that computes the same."""
    conv, (x, w, b, residual), result = op.operator, op.operands, op.result.type
    assert isinstance(w, Constant) and w.type.quant is not None
    outputs, inputs = w.type.shape[:2]
    zero = np.broadcast_to(w.type.quant.broadcast(w.type.rank)[1], (outputs, *(1,) * (w.type.rank - 1)))
    shape = outputs, count * inputs, *w.type.shape[2:]
    joined = np.broadcast_to(zero, shape).astype(w.array.dtype).reshape(outputs, count, *w.type.shape[1:])
    groups = np.arange(outputs) // (outputs // conv.group)
    joined[np.arange(outputs), groups % count] = w.array
    weights = Constant(w.name, joined.reshape(shape), w.type.with_shape(shape))
    bias = Constant(b.name, b.array, b.type) if isinstance(b, Constant) else None
    added = Value(residual.name, residual.type) if residual is not None else None
    operands = Value(x.name, x.type), weights, bias, added
    return Op(replace(conv, group=conv.group // count), operands, [result], names=[op.result.name], loc=op.loc)


def joined_weights(op: Op[Conv]) -> bytes:
    """What the kernel reads in place of the weights of a convolution whose groups are joined."""
    w = op.operands.w
    assert isinstance(w, Constant)
    return pack(w.array, "o16i4").tobytes()
