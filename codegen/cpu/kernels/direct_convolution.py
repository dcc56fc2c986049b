"""Direct convolution in blocked layouts, single precision.

A tile of some output pixels by some vectors of 16 output channels is accumulated in registers: for each input channel
and tap, the weights of the vectors are loaded once and multiplied with each pixel's input, broadcast. Bias, residual
and activation are applied before the tile is stored. There is no padding in memory: tiles at the border leave out the
taps that fall outside (:mod:`.window`).

The scheme is that of oneDNN's direct convolution (Georganas et al., "Anatomy of High-Performance Deep Learning
Convolutions on SIMD Architectures", 2018), written anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from ....ir.layout import BLOCK
from ..kernel import Kernel
from ..llvm.builder import Integer
from ..llvm.target import TargetDescription
from ..llvm.types import Register, Registers, mask_constant, zero
from .blocking import Blocking, choose_blocking, merged
from .channel_tiles import ChannelTiles, WorkItem
from .convolution_tile import VECTOR, VECTOR_BYTES, TileCall, TileGenerator, TileShape, unrolled_steps
from .product_spec import ProductSpec
from .window import Axis, cut

FEW_LINES = 8
"""Cache lines that one call may prefetch at once; more of them would wait for each other."""


@dataclass(frozen=True)
class Convolution(ProductSpec):
    """Convolution over an image, then bias, residual and activation.

    Arguments: x, layout ``c16`` (or row-major, where ``plain_input``); w, layout ``o16i16`` (``o16``, where
    ``plain_input``); bias [outputs]; residual and result, layout ``c16``. All single precision. The result may lie
    where the residual lies.

    Attributes:
        batch, channels, outputs: N, C and O; each group has a multiple of 16 of both, unless there is only one group.
        rows, columns: geometry along y and x. One dimension is an image of one row.
        groups: independent convolutions.
        plain_input: x is row-major; for first layers of few channels, one group.
        blocking: how to cut the work; chosen by cost if absent.
    """

    batch: int
    channels: int
    outputs: int
    rows: Axis
    columns: Axis
    groups: int = 1
    plain_input: bool = False
    blocking: Blocking | None = None

    @property
    def input_blocks(self) -> int:
        """Steps of the loop over input channels of a group: blocks of 16, or single channels of a plain input."""
        return self.channels if self.plain_input else -(-(self.channels // self.groups) // BLOCK)

    @property
    def output_blocks(self) -> int:
        """Vectors of output channels in a group."""
        return -(-(self.outputs // self.groups) // BLOCK)

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, self.blocking or choose_blocking(self, target), target).generate()


class _Walker:
    """The function that walks over work items: image, block of rows, tile of output channels."""

    def __init__(self, spec: Convolution, blocking: Blocking, target: TargetDescription) -> None:
        self.spec = spec
        self.blocking = blocking
        self.rows, self.columns = merged(spec, blocking.merge)
        self.pieces = cut(self.columns, blocking.pixels)
        self.chunks = -(-spec.input_blocks // blocking.chunk)
        self.cut = ChannelTiles(
            spec.batch, spec.groups, spec.output_blocks, blocking.vectors, self.rows.output, blocking.row_block
        )
        self.shape = self._tile_shape(target)
        self.tiles = TileGenerator(target, spec.name, self.shape)
        self.b = spec.entry(target, writes=("residual", "y"))
        self.arguments = spec.bind(self.b)

    def _tile_shape(self, target: TargetDescription) -> TileShape:
        spec, rows, columns = self.spec, self.rows, self.columns
        steps, element = (1, 4) if spec.plain_input else (BLOCK, VECTOR_BYTES)
        kernel_row = columns.kernel * steps * VECTOR_BYTES
        calls = min(self.blocking.row_block, rows.output) * sum(piece.count for piece in self.pieces)
        chunk_lines = self.blocking.chunk * rows.kernel * columns.kernel * steps
        unrolled = unrolled_steps(steps, self.blocking.pixels, self.blocking.vectors, target)
        return TileShape(
            steps=steps,
            pixel=columns.stride * element,
            column=columns.dilation * element,
            row=rows.dilation * columns.input * element,
            block=rows.input * columns.input * element,
            kernel_row=kernel_row,
            kernel_block=rows.kernel * kernel_row,
            vector=spec.input_blocks * rows.kernel * kernel_row,
            output_vector=rows.output * columns.output * VECTOR_BYTES,
            kernel_rows=rows.kernel,
            always_reaches=rows.always_reaches,
            fixed_rows=not rows.is_padded,
            blocks=spec.input_blocks,
            chunked=self.chunks > 1,
            has_residual=spec.has_residual,
            activation=spec.activation,
            prefetch=-(-chunk_lines // calls),
            spread=-(-unrolled // calls) if chunk_lines > FEW_LINES * calls else 0,
        )

    def generate(self) -> Kernel:
        last_active = (self.spec.outputs // self.spec.groups - 1) % BLOCK + 1

        def visit(item: WorkItem, vectors: int, is_last: bool) -> None:
            self._rows(item, vectors, last_active if is_last else BLOCK)

        span = self.arguments["begin"], self.arguments["end"]
        self.cut.walk(self.b, span, visit, is_last_different=last_active < BLOCK)
        return self.spec.finish(self.b, list(self.tiles.functions.values()), units=self.cut.units)

    def _bias(self, block: Register, vectors: int, active: int) -> Registers:
        b = self.b
        if not self.spec.has_bias:
            return (zero(VECTOR),) * vectors
        place = b.at(self.arguments["bias"], b.multiply(block, VECTOR_BYTES))
        values = []
        for q in range(vectors):
            address = b.at(place, q * VECTOR_BYTES)
            if q == vectors - 1 and active < BLOCK:
                values.append(b.load_masked(VECTOR, address, mask_constant(BLOCK, active)))
            else:
                values.append(b.load(VECTOR, address))
        return tuple(values)

    def _rows(self, item: WorkItem, vectors: int, active: int) -> None:
        """All rows of a block for one tile of output channels, chunk of input channels by chunk."""
        spec, shape, b = self.spec, self.shape, self.b
        block = item.block
        bias = self._bias(block, vectors, active)
        output_block = b.add(b.multiply(item.image, spec.groups * spec.output_blocks), block)
        output = b.multiply(output_block, shape.output_vector)
        input_block = b.multiply(b.add(b.multiply(item.image, spec.groups), item.group), spec.input_blocks)
        w_vectors = b.at(self.arguments["w"], b.multiply(block, shape.vector))
        x_image = b.at(self.arguments["x"], b.multiply(input_block, shape.block))
        row_bytes = self.columns.output * VECTOR_BYTES

        def chunk(index: Register, _: Registers) -> Registers:
            start = b.multiply(index, self.blocking.chunk)
            blocks = b.minimum(b.subtract(spec.input_blocks, start), self.blocking.chunk)
            x_chunk = b.at(x_image, b.multiply(start, shape.block))
            w_chunk = b.at(w_vectors, b.multiply(start, shape.kernel_block))
            following = b.at(w_chunk, self._following(vectors))
            first, last = b.compare("eq", index, 0), b.compare("eq", index, self.chunks - 1)

            def row(y: Register, _: Registers) -> Registers:
                tap, taps = self.rows.valid_taps(b, y)
                input_row = b.subtract(b.multiply(y, self.rows.stride), self.rows.before)
                input_row = b.add(input_row, b.multiply(tap, self.rows.dilation))
                x_row = b.at(x_chunk, b.multiply(input_row, self.columns.input * shape.pixel // self.columns.stride))
                place = b.add(output, b.multiply(y, row_bytes))
                call = TileCall(
                    x=x_row,
                    w=b.at(w_chunk, b.multiply(tap, shape.kernel_row)),
                    residual=b.at(self.arguments["residual"], place) if spec.has_residual else None,
                    y=b.at(self.arguments["y"], place),
                    kernel_rows=taps,
                    blocks=blocks,
                    first=first,
                    last=last,
                    following=self._row_prefetch(following, b.subtract(y, item.first_row)),
                    bias=bias,
                )
                self._row(call, active)
                return ()

            b.loop(item.first_row, item.last_row, row, runs=True)
            return ()

        b.loop(0, self.chunks, chunk)

    def _following(self, vectors: int) -> int:
        """Where the weights lie that come after those of a chunk, from its own."""
        if self.chunks > 1:
            return self.blocking.chunk * self.shape.kernel_block
        return vectors * self.shape.vector

    def _row_prefetch(self, following: Register, row: Integer) -> Register:
        tiles = sum(piece.count for piece in self.pieces)
        return self.b.at(following, self.b.multiply(row, tiles * self.shape.prefetch * 64))

    def _row(self, call: TileCall, active: int) -> None:
        """The tiles of one output row."""
        b, shape = self.b, self.shape
        done = 0
        for piece in self.pieces:
            pixels = piece.tile.pixels

            def tile(index: Register, _: Registers, piece=piece, pixels=pixels, done=done) -> Registers:
                pixel = b.add(piece.start, b.multiply(index, pixels))
                place = b.multiply(pixel, VECTOR_BYTES)
                source = b.subtract(
                    b.multiply(pixel, shape.pixel), self.columns.before * (shape.pixel // self.columns.stride)
                )
                line = b.multiply(b.add(index, done), shape.prefetch * 64)
                self.tiles.call(
                    b,
                    piece.tile,
                    active,
                    TileCall(
                        x=b.at(call.x, source),
                        w=call.w,
                        residual=b.at(call.residual, place) if call.residual is not None else None,
                        y=b.at(call.y, place),
                        kernel_rows=call.kernel_rows,
                        blocks=call.blocks,
                        first=call.first,
                        last=call.last,
                        following=b.at(call.following, line),
                        bias=call.bias,
                    ),
                )
                return ()

            b.loop(0, piece.count, tile)
            done += piece.count
