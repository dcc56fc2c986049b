"""Weights whose zero point is 0, which is all that fast integer kernels of other runtimes take."""

import numpy as np

from ...ir.accumulators import channel_axis
from ...ir.core import Constant, Module, Value
from ...ir.ops.convolution import Conv
from ...ir.ops.matmul import MatMul
from ...ir.types import DType, Quantization, TensorType
from ..base import UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node, on_quantized
from .parameters import LARGEST


class SymmetricWeights(Pass):
    """Gives the constant weights of convolutions and products a scale for each channel and the zero point 0.

    Weights that lie on a grid of 256 levels around another zero point fit -127 to 127 in nearly all channels, and keep
    every number there. The others are rounded to a coarser grid, their biases with them.
    ``rounds``: without it, weights with such a channel stay as they are."""

    requires = (UNPLANNED,)

    rounds: bool = True

    def apply(self, module: Module, record: Record) -> bool:
        def symmetric(found: Match[Conv | MatMul]) -> Value | None:
            return _symmetric(found, self.rounds)

        changed = Driver(on_quantized(Rule("symmetric_weights", node((Conv, MatMul)), symmetric))).run(module, record)
        module.drop_unused_constants()
        return changed


def _symmetric(found: Match[Conv | MatMul], rounds: bool) -> Value | None:
    op = found.root
    x, w, b, residual = op.operands
    if x.type.quant is None or w.type.quant is None or not isinstance(w, Constant) or not any(w.type.quant.zero_point):
        return None
    if residual is not None or not isinstance(b, (Constant, type(None))):
        return None
    axis = channel_axis(op)
    scale, zero = w.type.quant.broadcast(w.type.rank)
    centred = np.moveaxis(w.array.astype(np.int32) - zero, axis, 0)
    rows = centred.reshape(len(centred), -1)
    factor = np.maximum(np.abs(rows).max(1, initial=0) / LARGEST, 1.0)
    if not rounds and (factor > 1).any():
        return None
    stored = np.array([_rounded(row / by) for row, by in zip(rows, factor, strict=True)], np.int8)
    quant = Quantization.per_channel(
        (np.broadcast_to(scale.reshape(-1), factor.shape) * factor).astype(np.float32), axis
    )
    weights = found.add_constant(
        w.name, np.moveaxis(stored.reshape(centred.shape), 0, axis), TensorType(w.type.shape, DType.I8, quant)
    )
    bias = b and found.add_constant(b.name, np.rint(b.array / factor).astype(np.int32), b.type)
    return found.emit(op.operator, x, weights, bias, result_types=[op.result.type])


def _rounded(row: np.ndarray) -> np.ndarray:
    """Whole numbers near those of a channel, whose sum is kept: it is what most of the mean of the result hangs on."""
    whole = np.rint(row)
    rest = row - whole
    missing = round(float(rest.sum()))
    nearest = np.argsort(-rest * np.sign(missing), kind="stable")[: abs(missing)]
    whole[nearest] += np.sign(missing)
    return np.clip(whole, -LARGEST, LARGEST)
