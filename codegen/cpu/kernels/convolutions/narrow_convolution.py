"""Convolution of numbers in bfloat16, on the tiles of AMX or on vectors: sums and what is stored are single
precision."""

from dataclasses import field
from typing import ClassVar

import numpy as np

from .....ir.arithmetic import bfloat16_bits
from .....ir.core import Constant, Op
from .....ir.layout import CHANNEL_BLOCK, NARROW, STEM_CHANNELS
from .....ir.ops.convolution import MOST_COPIED, NarrowConv, joined_groups
from ...kernel import Kernel, lowers
from ...llvm import tiles
from ...llvm.builder import FunctionBuilder
from ...llvm.target import TargetDescription
from ...llvm.types import F32, I16, I64, Register, Registers, constant, mask_constant, partial_mask, zero
from ...llvm.vector_arithmetic import narrow_to_single, single_to_narrow
from ..activation import what_follows
from ..output_channels import VECTOR_BYTES, FloatOutput
from ..products.tile_product import Ending
from ..window import rows_and_columns, walked
from ..window_walk import Values
from .joined_convolution import joined_array
from .tiled_window import Source, TiledWindow


class NarrowConvolution(TiledWindow, FloatOutput):
    """Of single precision numbers that the copy has in bfloat16; then bias, residual and activation.

    ``tiles`` has the bias of all outputs before the weights. The result lies apart from the residual.
    ``x_layout``: of x. In row-major order it has no more than four channels, and the copy has four.
    ``narrow``: those of ``residual`` and ``y`` that are in layout ``n32``."""

    SIZE: ClassVar[int] = 2

    x_layout: str = field(kw_only=True)
    narrow: tuple[str, ...] = field(kw_only=True)

    @property
    def source(self) -> Source:
        if self.x_layout == NARROW:
            planes = -(-self.input_blocks // 2)
            return Source(planes, I16.of(2 * CHANNEL_BLOCK), planes * tiles.ROW_BYTES)
        return super().source if self.x_layout else Source(self.channels, F32, self.SIZE * STEM_CHANNELS)

    @property
    def reads_x(self) -> bool:
        return self.x_layout == NARROW and self.rows.is_pointwise and self.columns.is_pointwise

    def placement(self, name: str) -> tuple[int, int, int]:
        if name not in self.narrow:
            return super().placement(name)
        size = self.SIZE * CHANNEL_BLOCK
        return self.rows.output * self.columns.output * size, 2 * size, size

    def copied(self, b: FunctionBuilder, part: Register) -> Register:
        return part if self.x_layout == NARROW else single_to_narrow(b, part)

    def copy_row(
        self, b: FunctionBuilder, lines: Registers, copy: Register, pixels: int, distances: tuple[int, int]
    ) -> None:
        if self.x_layout:
            return super().copy_row(b, lines, copy, pixels, distances)
        source, target = distances
        vector, pixel, cut = F32.of(CHANNEL_BLOCK), I64.of(CHANNEL_BLOCK), pixels % CHANNEL_BLOCK

        def some(first: Register, mask: Register | None = None) -> None:
            joined = zero(pixel)
            for number, line in enumerate(lines):
                part = self.copied(b, b.load_masked(vector, b.at(line, b.multiply(first, source)), mask))
                shift = constant(pixel, 8 * self.SIZE * number)
                joined = b.binary("or", joined, b.binary("shl", b.convert("zext", part, pixel), shift))
            b.store_masked(joined, b.at(copy, b.multiply(first, target)), mask)

        b.each(0, pixels - cut, some, step=CHANNEL_BLOCK)
        if cut:
            some(b.integer(pixels - cut), partial_mask(CHANNEL_BLOCK, cut))
        return None

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
        vector, words = F32.of(CHANNEL_BLOCK), I16.of(CHANNEL_BLOCK)

        def stored(b: FunctionBuilder, values: Values, row: int, column: int, active: int, sums: Register) -> None:
            def pixel(index: Register) -> None:
                def place(name: str) -> Register:
                    _, of_pixel, of_block = self.placement(name)
                    return b.at(values[f"{name}{row}"], column * of_block, b.multiply(index, of_pixel))

                total = b.load(vector, b.at(sums, b.multiply(index, VECTOR_BYTES)))
                if self.has_residual:
                    is_narrow = "residual" in self.narrow
                    residual = b.load(words if is_narrow else vector, place("residual"))
                    total = b.binary("fadd", total, narrow_to_single(b, residual) if is_narrow else residual)
                total = self.activation.apply(b, total)
                if active < CHANNEL_BLOCK:
                    total = b.select(mask_constant(CHANNEL_BLOCK, active), total, zero(vector))
                b.store(single_to_narrow(b, total) if "y" in self.narrow else total, place("y"))

            b.each(0, rows, pixel)

        return stored


@lowers(NarrowConv)
def narrow_convolution(op: Op[NarrowConv], target: TargetDescription) -> Kernel | None:
    """Convolution in blocked layouts, groups that are no whole blocks joined, or of few channels in row-major order."""
    conv, (x, w, b, residual) = op.operator, op.operands
    others = {"y": op.result, **({"residual": residual} if residual is not None else {})}
    narrow = tuple(name for name, value in others.items() if value.type.layout == NARROW)
    is_stem = conv.group == 1 and x.type.shape[1] <= STEM_CHANNELS and w.type.shape[-1] > 1
    is_plain = x.type.layout == "" and is_stem
    blocked = {"c16", NARROW} if conv.group == 1 else {"c16"}
    known = {value.type.layout for value in others.values()} <= blocked and (is_plain or x.type.layout in blocked)
    if not known or not isinstance(w, Constant) or (product := tiles.narrow_product(target)) is None:
        return None
    axes = rows_and_columns(walked(conv.conv.windows(x.type.shape, w.type.shape)))
    if axes is None or not isinstance(b, Constant | None):
        return None
    (batch, channels), outputs = x.type.shape[:2], w.type.shape[0]
    joined = joined_groups(conv.group, channels, outputs)
    if joined is None:
        return None
    groups = conv.group // joined
    image = (batch, channels, *axes, outputs, groups, product)
    spec = NarrowConvolution(*image, x_layout=x.type.layout, narrow=narrow, **what_follows(op))
    is_too_large = not spec.reads_x and spec.image(spec.cut(target)).bytes > MOST_COPIED
    if is_too_large or (narrow and spec.output_blocks % 2):
        return None
    weights = joined_array(w.array, conv.group, joined)
    return spec.kernel(target).reading(spec.data_of(weights, b.array if b is not None else None, target))
