"""Products of matrices on tiles: the walk over rows and columns, and those of bytes."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK, QUAD
from .....ir.ops.matmul import MatMul
from .....ir.types import DType
from ...kernel import Kernel
from ...llvm import tiles
from ...llvm.builder import FunctionBuilder
from ...llvm.target import TargetDescription
from ...llvm.types import I64, Register, Registers, constant, partial_mask
from ...spec import KernelSpec
from ..channel_tiles import ChannelTiles, WorkItem
from ..output_channels import VECTOR_BYTES, channels_of
from ..window_walk import Values
from .byte_product import ByteProduct
from .tile_product import BLOCK_BYTES, OverRows, TileBlocks, TileSteps, each_four_rows, pays, signed_weights, tile_rows

_ITEM_TILES, _ITEM_VECTORS = 4, 8
"""Tiles of rows, and vectors of columns, in a work item."""


class TiledRows(KernelSpec):
    """Base: products of a matrix of rows and one of weights, which are read from ``tiles``, as :class:`TileSteps` packs
    them. The result lies apart from all operands.
    ``product``: the instruction; see :mod:`...llvm.tiles`.
    ``rows``, ``columns``: of the result."""

    RESULT_BYTES: ClassVar[int] = 1
    """Of an element of the result."""

    product: str
    rows: int
    columns: int

    @property
    def arguments(self) -> tuple[str, ...]:
        *operands, y = super().arguments
        return (*operands, "tiles", y)

    @property
    @abstractmethod
    def steps(self) -> TileSteps:
        """Of one run, which is a row of x as tiles read it."""

    @abstractmethod
    def of_columns(self, b: FunctionBuilder, arguments: Values, first: Register) -> Values:
        """What a block takes for vectors of columns from ``first`` on: ``w``, ``start``, and what `stored` reads."""

    @abstractmethod
    def stored(self, b: FunctionBuilder, values: Values, row: int, column: int, active: int, sums: Register) -> None:
        """Store the results of a tile: an :data:`.tile_product.Ending`, whose ``y`` is where its first row begins."""

    def copied_bytes(self, rows: int) -> int:
        """Work memory for so many rows of x; none where tiles read them as they are."""
        return 0

    def copy(self, b: FunctionBuilder, x: Register, first: Register, last: Register, target: Register) -> None:
        """Write rows of x as tiles read them."""

    @property
    def tile_rows(self) -> int:
        # Blocks have two tiles of rows, for which they read weights once: few are to be left without a second.
        return tile_rows(-(-self.rows // 2), self.product)

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y",))
        rows, steps = self.tile_rows, self.steps
        row_block = _ITEM_TILES * rows
        # The last tile of rows lies over the one before, which belongs to the same work item.
        while 0 < self.rows % row_block < rows:
            row_block += rows
        cut = ChannelTiles(1, 1, self.columns, CHANNEL_BLOCK, _ITEM_VECTORS, self.rows, row_block)
        blocks = TileBlocks(b, self.product, steps, rows, steps.run, self.stored)
        copied = self.copied_bytes(row_block)
        # The first of the rows that have been copied.
        present = b.allocate(I64)
        b.store(constant(I64, -1), present)
        outputs = [name for name in ("residual", "y") if name in arguments]

        def copy(item: WorkItem, target: Register) -> None:
            self.copy(b, arguments["x"], item.first_row, item.last_row, target)
            b.store(item.first_row, present)

        def visit(item: WorkItem, vectors: int, active: int) -> None:
            total = b.divide(b.add(b.subtract(item.last_row, item.first_row), rows - 1), rows)
            x = b.at(arguments["x"], b.multiply(item.first_row, steps.run))
            if copied:
                x = b.at(arguments["scratch"], BLOCK_BYTES)
                is_new = b.compare("ne", b.load(I64, present), item.first_row)
                b.if_(is_new, lambda: copy(item, x))

            def columns(first: Register, over_rows: OverRows) -> None:
                first = b.add(item.block, first)
                values = self.of_columns(b, arguments, first)

                def of_tile(tile: Register) -> Values:
                    row = b.minimum(b.add(item.first_row, b.multiply(tile, rows)), self.rows - rows)
                    place = b.add(b.multiply(row, self.columns), b.multiply(first, CHANNEL_BLOCK))
                    place = b.multiply(place, self.RESULT_BYTES)
                    left = b.at(x, b.multiply(b.subtract(row, item.first_row), steps.run))
                    return {"x": left, **{name: b.at(arguments[name], place) for name in outputs}}

                over_rows({**values, "scratch": arguments["scratch"]}, total, of_tile)

            blocks.over_columns(vectors, active, columns)

        blocks.begin()
        cut.walk(b, arguments, visit)
        common = cut.in_group if copied else 1
        return self.finish(b, blocks.finish(), units=cut.units, scratch_bytes=BLOCK_BYTES + copied, common=common)


class TiledProduct(TiledRows, ByteProduct):
    """The same as its base of bytes, on tiles."""

    @property
    def steps(self) -> TileSteps:
        return TileSteps(self.inner, (0,))

    def pays(self, target: TargetDescription) -> bool:
        """Whether it is estimated to take less time than its base."""
        blocks = -(-self.rows // (2 * self.tile_rows))
        return pays(self.work, self.steps, self.tile_rows, blocks, 0, target)

    def of_columns(self, b: FunctionBuilder, arguments: Values, first: Register) -> Values:
        tables = {name: b.at(arguments[name], b.multiply(first, VECTOR_BYTES)) for name in ("start", "factors")}
        return {"w": b.at(arguments["tiles"], b.multiply(first, self.steps.vector_bytes)), **tables}

    def stored(self, b: FunctionBuilder, values: Values, row: int, column: int, active: int, sums: Register) -> None:
        factors, mask = b.at(values["factors"], column * VECTOR_BYTES), partial_mask(CHANNEL_BLOCK, active)
        y = b.at(values[f"y{row}"], column * CHANNEL_BLOCK)

        def some(first: Register, totals: Registers) -> None:
            reals = self.constants.reals(b, totals, (), factors, None)
            self.store(b, reals, b.at(y, b.multiply(first, self.columns)), mask)

        each_four_rows(b, self.tile_rows, sums, some)


def tiled_product(op: Op[MatMul], spec: ByteProduct, target: TargetDescription) -> Kernel | None:
    """The kernel on tiles for a product of bytes, where the processor has them and that pays."""
    found = signed_weights(op) if tiles.has_tiles(target, "tdpbusd") and spec.inner % QUAD == 0 else None
    if found is None:
        return None
    weights, is_signed = found
    weights = weights if op.operator.transpose_b else weights.T
    product = tiles.byte_product(op.operands.x.type.dtype is DType.I8, is_signed)
    constants = channels_of(op, None).without_zeros
    tiled = TiledProduct(**{**vars(spec), "constants": constants}, product=product)
    packed = tiled.steps.packed(np.ascontiguousarray(weights)[:, None])
    return tiled.kernel(target).reading(packed) if tiled.pays(target) else None
