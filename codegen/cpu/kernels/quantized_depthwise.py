"""Depthwise convolution of 8-bit tensors in blocked layouts, by dot products of four bytes.

Four neighbouring pixels of 16 channels lie in 64 bytes. Transposed, they hold four neighbours of each channel in each
lane, which a dot product sums up with four taps of a kernel row. Where neighbouring results see neighbouring pixels,
the same four serve all results that see them, with taps shifted along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....ir.core import Op
from ....ir.layout import BLOCK, QUAD
from ....ir.ops.convolution import Conv
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder, Integer
from ..llvm.byte_dot_product import BYTES, dot, flipped
from ..llvm.quantized_math import single
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, I64, PTR, Register, Registers, Type, constant, vector_constant, zero
from ..registry import lowers
from ..spec import KernelSpec
from .byte_tile import ALL, ByteTile, ByteTileRow, cut_bytes
from .convolution import image_axes
from .quantized_channels import VECTOR, Channels, channels_of, has_constant_channels, row_start
from .window import Axis

PIXEL = I8.of(BLOCK)
_STEP_BYTES = BLOCK * QUAD
_TRANSPOSED = [tap * BLOCK + channel for channel in range(BLOCK) for tap in range(QUAD)]


@dataclass(frozen=True)
class QuantizedDepthwise(KernelSpec):
    """Depthwise convolution over an image, bias, activation and requantisation.

    Arguments: x, layout ``c16``; w [C, 1, kernel], layout ``o16k4``; bias, which is not read; result, layout ``c16``.

    Attributes:
        batch, inputs: N and C.
        rows, columns: geometry along y and x. One dimension is an image of one row.
        channels: constants of the channels.
        has_bias: there is an argument for it.
    """

    batch: int
    inputs: int
    rows: Axis
    columns: Axis
    channels: Channels
    has_bias: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("x", "w", *(("bias",) if self.has_bias else ()), "y")

    @property
    def blocks(self) -> int:
        """Vectors of channels in an image."""
        return -(-self.inputs // BLOCK)

    @property
    def row_steps(self) -> int:
        """Dot products of a kernel row."""
        return -(-self.columns.kernel // QUAD)

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


class _Walker:
    """The function that walks over images, channels and rows, and the tile functions."""

    def __init__(self, spec: QuantizedDepthwise, target: TargetDescription) -> None:
        self.spec = spec
        self.target = target
        self.b = spec.entry(target, writes=("y",))
        self.arguments = spec.bind(self.b)
        self.tables = spec.channels.define(self.b, spec.name)
        self.tiles: dict[ByteTile, FunctionBuilder] = {}
        per_pixel = (2 if spec.channels.zeros else 1) * max(1, BLOCK // target.lanes)
        # The taps of a kernel row, shifted in four ways.
        taps = 4 * spec.row_steps * max(1, BLOCK // target.lanes)
        room = (target.registers - 2 - taps) // per_pixel
        self.pieces = cut_bytes(spec.columns, max(1, min(14, room)), neighbours=True)

    def generate(self) -> Kernel:
        spec, b = self.spec, self.b
        images = spec.batch * spec.blocks
        # Few channels are cut along y too, so that there is work for several threads.
        row_blocks = min(spec.rows.output, max(1, 16 // images))
        height = -(-spec.rows.output // row_blocks)
        row_blocks = -(-spec.rows.output // height)

        def unit(index: Register, _: Registers) -> Registers:
            image, block = b.divide(index, row_blocks), b.remainder(index, row_blocks)
            first = b.multiply(block, height)
            self._rows(image, b.remainder(image, spec.blocks), first, b.minimum(b.add(first, height), spec.rows.output))
            return ()

        b.loop(self.arguments["begin"], self.arguments["end"], unit)
        return spec.finish(b, list(self.tiles.values()), units=images * row_blocks)

    def _rows(self, image: Register, channel_block: Register, first: Register, last: Register) -> None:
        spec, b = self.spec, self.b
        rows, columns = spec.rows, spec.columns
        x_row, y_row = columns.input * BLOCK, columns.output * BLOCK
        table = b.multiply(channel_block, 4 * BLOCK)
        x_image = b.at(self.arguments["x"], b.multiply(image, rows.input * x_row))
        y_image = b.at(self.arguments["y"], b.multiply(image, rows.output * y_row))
        kernel_row = spec.row_steps * _STEP_BYTES
        w = b.at(self.arguments["w"], b.multiply(channel_block, rows.kernel * kernel_row))
        factor = b.load(F32.of(BLOCK), b.at(self.tables["factors"], table))
        w_zero = b.load(VECTOR, b.at(self.tables["zeros"], table)) if spec.channels.zeros else zero(VECTOR)

        def row(index: Register, _: Registers) -> Registers:
            tap, taps = rows.valid_taps(b, index)
            source_row = b.subtract(b.multiply(index, rows.stride), rows.before)
            source_row = b.add(source_row, b.multiply(tap, rows.dilation))
            (start,) = row_start(b, spec.channels, self.tables, rows, table, (tap, taps), 1)
            constants = (b.at(w, b.multiply(tap, kernel_row)), taps, start, factor, w_zero)
            self._row(b.at(x_image, b.multiply(source_row, x_row)), b.at(y_image, b.multiply(index, y_row)), constants)
            return ()

        b.loop(first, last, row)

    def _row(self, x: Register, y: Register, constants: Sequence[Register]) -> None:
        spec, b = self.spec, self.b
        for piece in self.pieces:
            if piece.tile not in self.tiles:
                self.tiles[piece.tile] = self._tile(piece.tile)
            name = self.tiles[piece.tile].name

            def tile(index: Register, _: Registers, piece: ByteTileRow = piece, name: str = name) -> Sequence[Register]:
                pixel = b.add(piece.start, b.multiply(index, piece.tile.pixels))
                source = b.subtract(b.multiply(pixel, spec.columns.stride), spec.columns.before)
                places = b.at(x, b.multiply(source, BLOCK)), b.at(y, b.multiply(pixel, BLOCK))
                b.call(name, None, (*places, *constants))
                return ()

            b.loop(0, piece.count, tile)

    def _tile(self, tile: ByteTile) -> FunctionBuilder:
        spec = self.spec
        parameters: list[tuple[str, Type]] = [("x", PTR), ("y", PTR), ("w", PTR), ("kernel_rows", I64)]
        parameters += [("start", VECTOR), ("factor", F32.of(BLOCK)), ("w_zero", VECTOR)]
        name = f"{spec.name}_tile{len(self.tiles)}"
        b = FunctionBuilder(self.target, name, parameters, internal=True, read_only=("x", "w"))
        x, y, w, kernel_rows, start, factor, w_zero = b.arguments
        has_sums = bool(spec.channels.zeros)
        totals = [start] * tile.pixels + [zero(VECTOR)] * (tile.pixels if has_sums else 0)

        def kernel_row(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, *totals = carried
            totals = self._kernel_row(b, tile, x, w, totals)
            return (
                b.at(x, spec.rows.dilation * spec.columns.input * BLOCK),
                b.at(w, spec.row_steps * _STEP_BYTES),
                *totals,
            )

        count: Integer = kernel_rows if spec.rows.is_padded else spec.rows.kernel
        _, _, *totals = b.loop(0, count, kernel_row, (x, w, *totals), runs=spec.rows.always_reaches or None)
        reals = []
        for p in range(tile.pixels):
            total = totals[p]
            if has_sums:
                total = b.binary("sub", total, b.binary("mul", w_zero, totals[tile.pixels + p]))
            reals.append(b.binary("fmul", single(b, total), factor))
        spec.channels.store(b, reals, y)
        b.return_()
        return b

    def _kernel_row(
        self, b: FunctionBuilder, tile: ByteTile, x: Register, w: Register, totals: Sequence[Register]
    ) -> list[Register]:
        """All taps of a kernel row."""
        channels, columns = self.spec.channels, self.spec.columns
        weights = [b.load(BYTES, b.at(w, step * _STEP_BYTES)) for step in range(self.spec.row_steps)]
        weights = [flipped(b, vector) for vector in weights] if channels.flips_w else weights
        if columns.stride == columns.dilation == 1:
            return self._shared_row(b, tile, x, weights, totals)
        result = list(totals)
        for step, masks in enumerate(tile.columns):
            present = min(QUAD, columns.kernel - step * QUAD)
            for p, mask in enumerate(masks):
                first = p * columns.stride + step * QUAD * columns.dilation
                value = self._neighbours(b, mask, present, b.at(x, first * BLOCK))
                self._add(b, tile, result, p, value, weights[step], _ones(range(present)))
        return result

    def _shared_row(
        self, b: FunctionBuilder, tile: ByteTile, x: Register, weights: Sequence[Register], totals: Sequence[Register]
    ) -> list[Register]:
        """The same where tap t of pixel p sees what tap t - 1 of pixel p + 1 sees."""
        kernel, result = self.spec.columns.kernel, list(totals)
        inside = {
            p + step * QUAD + i: bool(mask >> i & 1)
            for step, masks in enumerate(tile.columns)
            for p, mask in enumerate(masks)
            for i in range(QUAD)
        }
        shifted = [_shifted(b, weights, kernel, shift) for shift in range(min(QUAD, tile.pixels))]
        seen = tile.pixels + kernel - 1
        for first in range(0, seen, QUAD):
            mask = sum(inside.get(first + i, False) << i for i in range(QUAD))
            value = self._neighbours(b, mask, min(QUAD, seen - first), b.at(x, first * BLOCK))
            for p in range(tile.pixels):
                step, shift = (first - p // QUAD * QUAD) // QUAD, p % QUAD
                if 0 <= step < len(shifted[shift]):
                    ones = _ones([i for i in range(QUAD) if 0 <= step * QUAD + i - shift < kernel])
                    self._add(b, tile, result, p, value, shifted[shift][step], ones)
        return result

    def _add(
        self,
        b: FunctionBuilder,
        tile: ByteTile,
        totals: list[Register],
        p: int,
        x: Register | None,
        w: Register,
        ones: Register,
    ) -> None:
        """Add four taps to the accumulator of a pixel, and to its sum over the window where that is needed."""
        if x is None:
            return
        totals[p] = dot(b, totals[p], x, w)
        if self.spec.channels.zeros:
            totals[tile.pixels + p] = dot(b, totals[tile.pixels + p], x, ones)

    def _neighbours(self, b: FunctionBuilder, mask: int, present: int, place: Register) -> Register | None:
        """Four unsigned neighbours of each channel; those outside of the image hold the zero point, ``None`` if all
        do and it is zero.
        """
        channels, dilation = self.spec.channels, self.spec.columns.dilation
        mask &= (1 << QUAD) - 1 if mask == ALL else (1 << present) - 1
        if not mask and not channels.fill:
            return None
        stored = (channels.fill + 128 * channels.flips_x) % 256
        if mask == ALL and dilation == 1:
            pixels = b.load(BYTES, place)
        else:
            outside = constant(PIXEL, stored - 256 * (stored > 127))
            taps = [
                b.load(PIXEL, b.at(place, tap * dilation * BLOCK)) if mask >> tap & 1 else outside
                for tap in range(QUAD)
            ]
            halves = [b.shuffle(taps[i], taps[i + 1], range(2 * BLOCK)) for i in (0, 2)]
            pixels = b.shuffle(halves[0], halves[1], range(4 * BLOCK))
        value = b.shuffle(pixels, pixels, _TRANSPOSED)
        return flipped(b, value) if channels.flips_x else value


def _ones(bytes: Sequence[int]) -> Register:
    """A 1 in these bytes of every four."""
    return vector_constant(BYTES, ["1" if byte % QUAD in bytes else "0" for byte in range(BYTES.lanes)])


def _shifted(b: FunctionBuilder, weights: Sequence[Register], kernel: int, shift: int) -> list[Register]:
    """The taps of a kernel row, four a lane, so many bytes later."""
    if not shift:
        return list(weights)
    words = [b.convert("bitcast", vector, VECTOR) for vector in weights]
    result = []
    for step in range(-(-(kernel + shift) // QUAD)):
        parts = []
        if step < len(words):
            parts.append(b.binary("shl", words[step], constant(VECTOR, 8 * shift)))
        if step:
            parts.append(b.binary("lshr", words[step - 1], constant(VECTOR, 32 - 8 * shift)))
        result.append(b.convert("bitcast", parts[0] if len(parts) == 1 else b.binary("or", *parts), BYTES))
    return result


@lowers(Conv)
def quantized_depthwise(op: Op, target: TargetDescription) -> Kernel | None:
    """Depthwise convolution of 8-bit tensors with known weights, in layout ``c16``."""
    conv = op.operator
    assert isinstance(conv, Conv)
    if not has_constant_channels(op):
        return None
    x, w, y = op.inputs[0].type, op.inputs[1].type, op.result.type
    is_blocked = (x.layout, w.layout, y.layout) == ("c16", "o16k4", "c16")
    if not is_blocked or not conv.group == x.shape[1] == w.shape[0]:
        return None
    spatial = x.rank - 2
    windows = (w.shape[2:], conv.strides, conv.dilations, conv.pads[:spatial])
    axes = image_axes(x.shape[2:], y.shape[2:], *windows)
    if axes is None:
        return None
    batch, inputs = x.shape[:2]
    return QuantizedDepthwise(batch, inputs, *axes, channels_of(op), len(op.inputs) > 2).kernel(target)
