"""Convolution operators: which kernels they get, and what direct convolution does with floats and with bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK, QUAD
from ....ir.ops.convolution import Conv
from ....ir.types import DType
from ....ir.windows import SHORT
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.byte_dot_product import ACCUMULATOR, BYTES, dot, flipped
from ..llvm.quantized_math import signed_byte
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, I32, Register, Registers, constant, partial_mask, zero
from ..spec import ConstantTable
from ..tensors import is_float, is_plain
from .activation import what_follows
from .blocking import Blocking, Work, choose_tile
from .depthwise import Depthwise, QuantizedDepthwise
from .direct_convolution import ConvolutionTile, DirectConvolution
from .output_channels import VECTOR_BYTES, FloatOutput, QuantizedOutput, channels_of, has_constant_channels
from .row_major_convolution import RowMajorConvolution
from .window import ALL, Axis, rows_and_columns, walked
from .window_walk import Values

VECTOR = F32.of(CHANNEL_BLOCK)


@dataclass(frozen=True)
class Convolution(FloatOutput, DirectConvolution):
    """Convolution over an image, then bias, residual and activation; single precision.

    Arguments: x; w, layout ``o16i16`` (``o16``, where ``plain_input``); bias [outputs]; residual and result, layout
    ``c16``. The result may lie where the residual lies.
    """

    STEP: ClassVar[int] = 1

    @property
    def present_steps(self) -> int:
        return self.input_blocks if self.plain_input else self.channels // self.groups

    def choose_blocking(self, target: TargetDescription) -> Blocking:
        """Channel chunks whose weights, and row blocks whose inputs, stay in the second level cache."""
        merge, pixels, vectors = choose_tile(self.work, target)
        first, second = target.cache_bytes
        rows, columns = self.work.merged(merge)
        block_bytes = self.rows.kernel * self.column_steps * VECTOR_BYTES
        # A tile of few pixels reads weights faster than the second level cache gives them: there, weights are cut so
        # far that the other tiles find them in the first level.
        is_hungry = pixels < 10 and rows.output * columns.output >= 4 * pixels and rows.kernel * columns.kernel > 1
        weights_budget = first // 2 if is_hungry else second // 4
        chunks = 1 if self.plain_input else -(-self.input_blocks * vectors * block_bytes // weights_budget)
        chunk = -(-self.input_blocks // max(1, min(chunks, self.input_blocks)))
        weight_bytes = self.input_blocks * block_bytes * self.output_blocks
        row_bytes = chunk * self.x_pixel * columns.input * rows.stride
        budget = second // 8 if weight_bytes <= second // 2 else second // 2
        return Blocking(merge, pixels, vectors, chunk, max(1, min(rows.output, budget // max(1, row_bytes))))

    def start(self, tile: ConvolutionTile) -> Sequence[Register]:
        a, b = tile.arguments, tile.b

        def first() -> list[Register]:
            # The residual comes first because the result may lie where it lies.
            starts = [a[f"start{q}"] for _, q in tile.positions]
            if not self.has_residual:
                return starts
            residuals = (b.load(VECTOR, tile.output("residual", *address)) for address in tile.positions)
            return [b.binary("fadd", residual, start) for residual, start in zip(residuals, starts, strict=True)]

        def resume() -> list[Register]:
            return [b.load(VECTOR, tile.output("y", *position)) for position in tile.positions]

        return b.if_(a["first"], first, resume) if "first" in a else first()

    def step(
        self, tile: ConvolutionTile, masks: Sequence[int], pointers: Registers, step: int, sums: list[Register]
    ) -> None:
        b, (x, w) = tile.b, pointers
        vectors = range(tile.vectors)
        weights = [b.load(VECTOR, b.at(w, q * tile.distances.vector + step * VECTOR_BYTES)) for q in vectors]
        for p, mask in enumerate(masks):
            if mask:
                value = b.splat(b.load(F32, b.at(x, p * tile.distances.pixel + 4 * step)), CHANNEL_BLOCK)
                for q in vectors:
                    index = p * tile.vectors + q
                    sums[index] = b.fma(value, weights[q], sums[index])

    def end(self, tile: ConvolutionTile, sums: Registers) -> None:
        a, b = tile.arguments, tile.b

        def activated(value: Register, q: int) -> Register:
            value = self.activation.apply(b, value)
            mask = partial_mask(CHANNEL_BLOCK, tile.active) if q == tile.vectors - 1 else None
            return value if mask is None else b.select(mask, value, zero(VECTOR))

        def suspend(values: Sequence[Register]) -> None:
            for value, position in zip(values, tile.positions, strict=True):
                b.store(value, tile.output("y", *position))

        def finish() -> None:
            if self.activation.is_light:
                return suspend([activated(value, q) for (_, q), value in zip(tile.positions, sums, strict=True)])
            suspend(sums)

            def pixel(index: Register) -> None:
                base = b.at(a["y"], b.multiply(index, VECTOR_BYTES))
                for q in range(tile.vectors):
                    address = b.at(base, q * tile.distances.output_vector)
                    b.store(activated(b.load(VECTOR, address), q), address)

            return b.each(0, tile.pixels, pixel)

        if "last" in a:
            b.if_(a["last"], finish, lambda: suspend(sums))
        else:
            finish()


@dataclass(frozen=True)
class QuantizedConvolution(QuantizedOutput, DirectConvolution):
    """Convolution over an image, bias, activation and requantisation, by dot products of four bytes.

    Padding counts as the zero point. Accumulators are requantised before the tile is stored, so that the 32-bit sums
    never reach memory.

    Arguments: x, of rows of at least four bytes and without dilation along them, where ``plain_input``; w, layout
    ``o16i4`` (``o16k4``, where ``plain_input``); bias; result, layout ``c16``.
    """

    STEP: ClassVar[int] = QUAD
    UNROLLED: ClassVar[int] = 128

    @property
    def fill(self) -> int:
        return self.constants.fill

    @property
    def work(self) -> Work:
        return replace(super().work, is_quantized=True, has_sums=bool(self.constants.zeros))

    def choose_blocking(self, target: TargetDescription) -> Blocking:
        """Row blocks whose inputs stay in the second level cache while all channel tiles go over them."""
        merge, pixels, vectors = choose_tile(self.work, target)
        height = self.rows.output // merge
        row_bytes = self.input_blocks * self.x_pixel * self.columns.input * self.rows.stride * merge
        row_block = max(1, min(height, target.cache_bytes[1] // 4 // max(1, row_bytes)))
        return Blocking(merge, pixels, vectors, self.input_blocks, row_block)

    def bind(self, b: FunctionBuilder) -> Values:
        arguments = super().bind(b)
        if self.constants.zeros:
            arguments["ones"] = self.ones().define(b, f"{b.name}_ones")
        return arguments

    def ones(self) -> ConstantTable:
        """For each block of input channels and step along a kernel row, a 1 in every byte that counts in sums over the
        window.
        """
        words: list[int] = []
        for block in range(self.input_blocks):
            if self.plain_input:
                present = [self.columns.kernel - step * QUAD for step in range(self.column_steps)]
            else:
                left = self.channels // self.groups - block * CHANNEL_BLOCK
                present = [left - step * QUAD for step in range(self.steps)] * self.columns.kernel
            words += [sum(1 << 8 * i for i in range(QUAD) if i < count) for count in present]
        return ConstantTable(DType.I32, tuple(words))

    def item_values(self, b: FunctionBuilder, arguments: Values, block: Register, vectors: int, active: int) -> Values:
        ones = {"ones": arguments["ones"]} if self.constants.zeros else {}
        return {**ones, **super().item_values(b, arguments, block, vectors, active)}

    def start(self, tile: ConvolutionTile) -> Sequence[Register]:
        """Sums over the window follow the accumulators, one for each pixel."""
        windows = [zero(ACCUMULATOR)] * tile.pixels if self.constants.zeros else []
        return [*(tile.arguments[f"start{q}"] for _, q in tile.positions), *windows]

    def step(
        self, tile: ConvolutionTile, masks: Sequence[int], pointers: Registers, step: int, sums: list[Register]
    ) -> None:
        b, (x, w, *ones) = tile.b, pointers
        b.fence()
        weights = []
        for q in range(tile.vectors):
            vector = b.load(BYTES, b.at(w, q * tile.distances.vector + step * VECTOR_BYTES))
            weights.append(flipped(b, vector) if self.constants.flips_w else vector)
        counted = b.splat(b.load(I32, b.at(ones[0], 4 * step)), CHANNEL_BLOCK) if ones else None
        for p, mask in enumerate(masks):
            if not mask and not self.fill:
                continue
            value = self._four_bytes(b, mask, b.at(x, p * tile.distances.pixel + QUAD * step))
            for q in range(tile.vectors):
                index = p * tile.vectors + q
                sums[index] = dot(b, sums[index], value, weights[q])
            if counted is not None:
                index = tile.pixels * tile.vectors + p
                sums[index] = dot(b, sums[index], value, counted)

    def _four_bytes(self, b: FunctionBuilder, mask: int, address: Register) -> Register:
        """Four unsigned bytes in every lane; those outside of the image hold the zero point."""
        if not mask:
            return constant(BYTES, signed_byte(self.fill))

        def word(address: Register) -> Register:
            return b.convert("bitcast", b.load(I8.of(QUAD), address), I32)

        if mask == ALL:
            value = word(address)
        else:
            # Read four bytes that are all in the image, and shift those that are meant to their positions.
            before = (mask & -mask).bit_length() - 1
            after = QUAD - mask.bit_length()
            shift = constant(I32, 8 * (before or after))
            value = b.binary("shl" if before else "lshr", word(b.at(address, before - after)), shift)
            outside = sum(self.constants.stored_fill << 8 * i for i in range(QUAD) if not mask >> i & 1)
            value = b.binary("or", value, constant(I32, outside - (outside >> 31 << 32)))
        value = b.splat(value, CHANNEL_BLOCK)
        return flipped(b, value) if self.constants.flips_x else value

    def end(self, tile: ConvolutionTile, sums: Registers) -> None:
        count = len(tile.positions)
        for q in range(tile.vectors):
            totals, address = sums[q : count : tile.vectors], tile.output("y", 0, q)
            self.requantize(tile.b, tile.arguments, q, totals, sums[count:], address)


@lowers(Conv)
def convolution(op: Op[Conv], target: TargetDescription) -> Kernel | None:
    """Direct or depthwise convolution of floats, or of bytes by known weights; the result in layout ``c16``."""
    conv, operands = op.operator, op.operands
    is_quantized = has_constant_channels(op)
    if not (is_quantized or is_float(op)) or op.result.type.layout != "c16":
        return None
    if operands.residual is not None and operands.residual.type.layout != "c16":
        return None
    x, w = operands.x.type, operands.w.type
    axes = rows_and_columns(walked(conv.windows(x.shape, w.shape)))
    if axes is None or max(axis.kernel for axis in axes) > SHORT:
        return None
    (batch, channels), outputs = x.shape[:2], w.shape[0]
    single, blocked = ("o16k4", "o16i4") if is_quantized else ("o16", "o16i16")
    is_depthwise = (x.layout, w.layout) == ("c16", single) and conv.group == channels == outputs
    is_plain = (x.layout, w.layout) == ("", single) and conv.group == 1
    if is_quantized:
        is_plain = is_plain and axes[1].dilation == 1 and axes[1].input >= QUAD
    is_whole = conv.group == 1 or not any(count // conv.group % CHANNEL_BLOCK for count in (channels, outputs))
    is_blocked = (x.layout, w.layout) == ("c16", blocked) and is_whole
    if not (is_depthwise or is_plain or is_blocked):
        return None
    image = batch, channels, *axes
    if is_quantized:
        constants, has_bias = channels_of(op), operands.b is not None
        if is_depthwise:
            return QuantizedDepthwise(*image, constants=constants, has_bias=has_bias).kernel(target)
        spec = QuantizedConvolution(*image, outputs, conv.group, is_plain, constants=constants, has_bias=has_bias)
        return spec.kernel(target)
    if is_depthwise:
        return Depthwise(*image, **what_follows(op)).kernel(target)
    return Convolution(*image, outputs, conv.group, is_plain, **what_follows(op)).kernel(target)


@lowers(Conv, needs=(is_float, is_plain))
def plain_convolution(op: Op[Conv], target: TargetDescription) -> Kernel:
    """Any convolution whose tensors are all row-major."""
    conv, operands = op.operator, op.operands
    x, w = operands.x.type, operands.w.type
    (batch, channels), image = x.shape[:2], x.shape[2:]
    axes = walked(conv.windows(x.shape, w.shape))
    if all(axis.is_pointwise for axis in axes):
        axes = (Axis.line(math.prod(image)),)
    spec = RowMajorConvolution(batch, channels, w.shape[0], axes, conv.group, **what_follows(op))
    return spec.kernel(target)
