"""Convolution of numbers in bfloat16 on the tiles of AMX: sums are single precision, and so is all that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .....ir.arithmetic import bfloat16_bits
from .....ir.core import Constant, Op
from .....ir.layout import CHANNEL_BLOCK
from .....ir.ops.convolution import NarrowConv, joined_groups
from ...kernel import Kernel, lowers
from ...llvm import tiles
from ...llvm.builder import FunctionBuilder
from ...llvm.target import TargetDescription
from ...llvm.types import F32, Register, mask_constant, zero
from ..activation import what_follows
from ..output_channels import VECTOR_BYTES, FloatOutput
from ..products.narrow_product import narrowed
from ..products.tile_product import Ending
from ..window import rows_and_columns, walked
from ..window_walk import Values
from .joined_convolution import joined_array
from .tiled_window import MOST_COPIED, TiledWindow


@dataclass(frozen=True)
class NarrowConvolution(TiledWindow, FloatOutput):
    """Of single precision numbers that the copy has in bfloat16; then bias, residual and activation.

    ``tiles`` has the bias of all outputs before the weights. The result lies apart from the residual.
    """

    SIZE: ClassVar[int] = 2

    def copied(self, b: FunctionBuilder, block: Register) -> Register:
        return narrowed(b, block)

    def data_of(self, weights: np.ndarray, bias: np.ndarray | None, target: TargetDescription) -> bytes:
        """What the kernel reads in place of weights [outputs, inputs, *window] and the bias."""
        starts = np.zeros(self.groups * self.output_blocks * CHANNEL_BLOCK, np.float32)
        if bias is not None:
            starts[: self.outputs] = bias
        return starts.tobytes() + self.weights_of(bfloat16_bits(weights), target)

    def of_columns(self, b: FunctionBuilder, arguments: Values, block: Register, vector_bytes: int) -> Values:
        start, biases = arguments["tiles"], self.groups * self.output_blocks * VECTOR_BYTES
        return {
            "w": b.at(start, biases, b.multiply(block, vector_bytes)),
            "start": b.at(start, b.multiply(block, VECTOR_BYTES)),
        }

    def ending(self, rows: int) -> Ending:
        plane = self.rows.output * self.columns.output * VECTOR_BYTES
        vector = F32.of(CHANNEL_BLOCK)

        def stored(b: FunctionBuilder, values: Values, row: int, column: int, active: int, sums: Register) -> None:
            def pixel(index: Register) -> None:
                offset = b.multiply(index, VECTOR_BYTES)
                total = b.load(vector, b.at(sums, offset))
                if self.has_residual:
                    residual = b.load(vector, b.at(values[f"residual{row}"], column * plane, offset))
                    total = b.binary("fadd", total, residual)
                total = self.activation.apply(b, total)
                if active < CHANNEL_BLOCK:
                    total = b.select(mask_constant(CHANNEL_BLOCK, active), total, zero(vector))
                b.store(total, b.at(values[f"y{row}"], column * plane, offset))

            b.each(0, rows, pixel)

        return stored


@lowers(NarrowConv)
def narrow_convolution(op: Op[NarrowConv], target: TargetDescription) -> Kernel | None:
    """Convolution in layout ``c16``, groups that are no whole blocks joined."""
    conv, (x, w, b, residual) = op.operator, op.operands
    layouts = {value.type.layout for value in (x, residual, op.result) if value is not None}
    if layouts != {"c16"} or not isinstance(w, Constant) or not tiles.has_tiles(target, tiles.NARROW_PRODUCT):
        return None
    axes = rows_and_columns(walked(conv.conv.windows(x.type.shape, w.type.shape)))
    if axes is None or not isinstance(b, Constant | None):
        return None
    (batch, channels), outputs = x.type.shape[:2], w.type.shape[0]
    joined = joined_groups(conv.group, channels, outputs)
    if joined is None:
        return None
    groups = conv.group // joined
    spec = NarrowConvolution(batch, channels, *axes, outputs, groups, tiles.NARROW_PRODUCT, **what_follows(op))
    if spec.image(spec.cut(target)).bytes > MOST_COPIED:
        return None
    weights = joined_array(w.array, conv.group, joined)
    return spec.kernel(target).reading(spec.data_of(weights, b.array if b is not None else None, target))
