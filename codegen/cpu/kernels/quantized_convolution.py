"""Direct convolution of 8-bit tensors in blocked layouts, by dot products of four bytes.

The scheme is that of :mod:`.direct_convolution`; padding counts as the zero point, and accumulators are requantised
before the tile is stored, so that the 32-bit sums never reach memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from ....ir.core import Op
from ....ir.layout import BLOCK, QUAD
from ....ir.ops.convolution import Conv
from ....ir.types import DType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..llvm.types import Register, Registers
from ..registry import lowers
from ..spec import KernelSpec, Table
from ..tensors import layouts
from .byte_tile import ByteTileRow, cut_bytes
from .channel_tiles import ChannelTiles, WorkItem
from .convolution import image_axes
from .quantized_blocking import QuantizedBlocking, Work, choose_quantized_blocking
from .quantized_channels import Channels, channels_of, has_constant_channels, row_start
from .quantized_tile import STEP_BYTES, QuantizedTileCall, QuantizedTileGenerator, QuantizedTileShape
from .window import Axis

FEW_LINES = 8
"""Cache lines that one call may ask for at once; more of them would wait for each other."""


@dataclass(frozen=True)
class QuantizedConvolution(KernelSpec):
    """Convolution over an image, bias, activation and requantisation.

    Arguments: x, layout ``c16`` (or row-major, where ``plain_input``); w, layout ``o16i4`` (``o16k4``, where
    ``plain_input``); bias, which is not read; result, layout ``c16``.

    Attributes:
        batch, inputs, outputs: N, C and O; each group has a multiple of 16 of both, unless there is only one group.
        rows, columns: geometry along y and x. One dimension is an image of one row.
        channels: constants of the output channels.
        groups: independent convolutions.
        has_bias: there is an argument for it.
        plain_input: x is row-major, rows of at least four bytes, no dilation along x; for first layers of few channels,
            one group.
        blocking: how to cut the work; chosen by cost if absent.
    """

    batch: int
    inputs: int
    outputs: int
    rows: Axis
    columns: Axis
    channels: Channels
    groups: int = 1
    has_bias: bool = False
    plain_input: bool = False
    blocking: QuantizedBlocking | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("x", "w", *(("bias",) if self.has_bias else ()), "y")

    @property
    def input_blocks(self) -> int:
        """Steps of the loop over input channels of a group: blocks of 16, or single channels of a plain input."""
        return self.inputs if self.plain_input else -(-(self.inputs // self.groups) // BLOCK)

    @property
    def output_blocks(self) -> int:
        """Vectors of output channels in a group."""
        return -(-(self.outputs // self.groups) // BLOCK)

    @property
    def column_steps(self) -> int:
        """Dot products of a kernel row and a block of input channels."""
        return -(-self.columns.kernel // QUAD) if self.plain_input else self.columns.kernel * BLOCK // QUAD

    def work(self) -> Work:
        """What the choice of blocking depends on."""
        pointwise = all(a.kernel == a.stride == 1 and a.before == 0 and a.input == a.output for a in self.axes)
        return Work(
            self.rows,
            self.columns,
            steps=self.input_blocks * self.rows.kernel * self.column_steps,
            row_bytes=self.input_blocks * (1 if self.plain_input else BLOCK) * self.columns.input * self.rows.stride,
            output_blocks=self.output_blocks,
            may_merge=pointwise and not self.plain_input,
            has_sums=bool(self.channels.zeros),
        )

    @property
    def axes(self) -> tuple[Axis, Axis]:
        return self.rows, self.columns

    def ones(self) -> Table:
        """For each block of input channels and step along a kernel row, a 1 in every byte that is there."""
        words: list[int] = []
        for block in range(self.input_blocks):
            if self.plain_input:
                present = [self.columns.kernel - step * QUAD for step in range(self.column_steps)]
            else:
                left = self.inputs // self.groups - block * BLOCK
                present = [left - step * QUAD for step in range(BLOCK // QUAD)] * self.columns.kernel
            words += [sum(1 << 8 * i for i in range(QUAD) if i < count) for count in present]
        return Table(DType.I32, tuple(words))

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, self.blocking or choose_quantized_blocking(self.work(), target), target).generate()


class _Walker:
    """The function that walks over work items: image, block of rows, tile of output channels."""

    def __init__(self, spec: QuantizedConvolution, blocking: QuantizedBlocking, target: TargetDescription) -> None:
        self.spec = spec
        self.blocking = blocking
        self.rows, self.columns = spec.work().merged(blocking.merge)
        self.pieces = cut_bytes(self.columns, blocking.pixels, neighbours=spec.plain_input)
        self.cut = ChannelTiles(
            spec.batch, spec.groups, spec.output_blocks, blocking.vectors, self.rows.output, blocking.row_block
        )
        self.b = spec.entry(target, writes=("y",))
        self.arguments = spec.bind(self.b)
        self.tables = spec.channels.define(self.b, spec.name)
        if spec.channels.zeros:
            spec.ones().define(self.b, f"{spec.name}_ones")
        self.shape = self._tile_shape()
        self.tiles = QuantizedTileGenerator(target, spec.name, self.shape)

    def _tile_shape(self) -> QuantizedTileShape:
        spec, rows, columns = self.spec, self.rows, self.columns
        element = 1 if spec.plain_input else BLOCK
        kernel_row = spec.column_steps * STEP_BYTES
        calls = min(self.blocking.row_block, rows.output) * sum(piece.count for piece in self.pieces)
        return QuantizedTileShape(
            steps=1 if spec.plain_input else BLOCK // QUAD,
            pixel=columns.stride * element,
            column=QUAD if spec.plain_input else columns.dilation * element,
            row=rows.dilation * columns.input * element,
            block=rows.input * columns.input * element,
            kernel_row=kernel_row,
            kernel_block=rows.kernel * kernel_row,
            vector=spec.input_blocks * rows.kernel * kernel_row,
            output_vector=rows.output * columns.output * BLOCK,
            kernel_rows=rows.kernel,
            always_reaches=rows.always_reaches,
            fixed_rows=not rows.is_padded,
            blocks=spec.input_blocks,
            ones=f"{spec.name}_ones" if spec.channels.zeros else "",
            channels=spec.channels,
            prefetch=min(FEW_LINES, -(-spec.input_blocks * rows.kernel * spec.column_steps // calls)),
        )

    def generate(self) -> Kernel:
        self.cut.walk(self.b, (self.arguments["begin"], self.arguments["end"]), self._rows)
        return self.spec.finish(self.b, list(self.tiles.functions.values()), units=self.cut.units)

    def _rows(self, item: WorkItem, vectors: int, is_last: bool) -> None:
        """All rows of a block for one tile of output channels; padding channels are computed like the others."""
        spec, shape, b = self.spec, self.shape, self.b
        block = item.block
        output_block = b.add(b.multiply(item.image, spec.groups * spec.output_blocks), block)
        output = b.multiply(output_block, shape.output_vector)
        input_block = b.multiply(b.add(b.multiply(item.image, spec.groups), item.group), spec.input_blocks)
        w = b.at(self.arguments["w"], b.multiply(block, shape.vector))
        x_image = b.at(self.arguments["x"], b.multiply(input_block, shape.block))
        table = b.multiply(block, 4 * BLOCK)
        row_bytes = self.columns.output * BLOCK
        element = shape.pixel // self.columns.stride
        following, tiles = b.at(w, vectors * shape.vector), sum(piece.count for piece in self.pieces)

        def row(y: Register, _: Registers) -> Registers:
            tap, taps = self.rows.valid_taps(b, y)
            input_row = b.subtract(b.multiply(y, self.rows.stride), self.rows.before)
            input_row = b.add(input_row, b.multiply(tap, self.rows.dilation))
            call = QuantizedTileCall(
                x=b.at(x_image, b.multiply(input_row, self.columns.input * element)),
                w=b.at(w, b.multiply(tap, shape.kernel_row)),
                y=b.at(self.arguments["y"], b.add(output, b.multiply(y, row_bytes))),
                kernel_rows=taps,
                factors=b.at(self.tables["factors"], table),
                zeros=b.at(self.tables.get("zeros", self.tables["factors"]), table),
                following=b.at(following, b.multiply(b.subtract(y, item.first_row), tiles * shape.prefetch * 64)),
                start=row_start(b, spec.channels, self.tables, self.rows, table, (tap, taps), vectors),
            )
            self._row(call)
            return ()

        b.loop(item.first_row, item.last_row, row, runs=True)

    def _row(self, call: QuantizedTileCall) -> None:
        """The tiles of one output row."""
        b, shape = self.b, self.shape
        before = self.columns.before * (shape.pixel // self.columns.stride)
        done = 0
        for piece in self.pieces:

            def tile(index: Register, _: Registers, piece: ByteTileRow = piece, done: int = done) -> Registers:
                pixel = b.add(piece.start, b.multiply(index, piece.tile.pixels))
                source = b.subtract(b.multiply(pixel, shape.pixel), before)
                moved = QuantizedTileCall(
                    x=b.at(call.x, source),
                    w=call.w,
                    y=b.at(call.y, b.multiply(pixel, BLOCK)),
                    kernel_rows=call.kernel_rows,
                    factors=call.factors,
                    zeros=call.zeros,
                    following=b.at(call.following, b.multiply(b.add(index, done), shape.prefetch * 64)),
                    start=call.start,
                )
                self.tiles.call(b, piece.tile, moved)
                return ()

            b.loop(0, piece.count, tile)
            done += piece.count


@lowers(Conv)
def quantized_convolution(op: Op, target: TargetDescription) -> Kernel | None:
    """Direct convolution of 8-bit tensors with known weights; result in layout ``c16``."""
    conv = op.operator
    assert isinstance(conv, Conv)
    if op.result.type.layout != "c16" or not has_constant_channels(op):
        return None
    x, w = op.inputs[0].type, op.inputs[1].type
    spatial = x.rank - 2
    windows = (w.shape[2:], conv.strides, conv.dilations, conv.pads[:spatial])
    axes = image_axes(x.shape[2:], op.result.type.shape[2:], *windows)
    if axes is None:
        return None
    (batch, inputs), outputs = x.shape[:2], w.shape[0]
    kinds = layouts(op)[:2]
    is_plain = kinds == ("", "o16k4") and conv.group == 1 and axes[1].dilation == 1 and axes[1].input >= QUAD
    whole = conv.group == 1 or (inputs // conv.group % BLOCK == 0 and outputs // conv.group % BLOCK == 0)
    if not is_plain and (kinds != ("c16", "o16i4") or not whole):
        return None
    has_bias = len(op.inputs) > 2
    return QuantizedConvolution(batch, inputs, outputs, *axes, channels_of(op), conv.group, has_bias, is_plain).kernel(
        target
    )
