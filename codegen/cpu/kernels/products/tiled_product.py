"""Products of matrices of bytes on the tiles of AMX, which read rows of x where they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK
from .....ir.ops.matmul import MatMul
from .....ir.types import DType
from ...kernel import Kernel
from ...llvm import tiles
from ...llvm.builder import FunctionBuilder
from ...llvm.target import TargetDescription
from ...llvm.types import Register, Registers, partial_mask
from ..channel_tiles import ChannelTiles, WorkItem
from ..output_channels import VECTOR_BYTES, channels_of
from ..window_walk import Values
from .byte_product import ByteProduct
from .tile_product import (
    BLOCK_BYTES,
    OverRows,
    TileBlocks,
    TileSteps,
    each_four_rows,
    pays,
    signed_weights,
    tile_rows,
)

_ITEM_TILES, _ITEM_VECTORS = 4, 8
"""Tiles of rows, and vectors of columns, in a work item."""


@dataclass(frozen=True)
class TiledProduct(ByteProduct):
    """The same as its base, but that the weights are read from ``tiles``, as :class:`TileSteps` packs them.

    Attributes:
        product: the instruction; see :func:`...llvm.tiles.byte_product`.
    """

    product: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        *operands, y = super().arguments
        return (*operands, "tiles", y)

    @property
    def steps(self) -> TileSteps:
        return TileSteps(self.inner, (0,))

    @property
    def tile_rows(self) -> int:
        return tile_rows(self.rows)

    def pays(self, target: TargetDescription) -> bool:
        """Whether it is estimated to take less time than its base."""
        blocks = -(-self.rows // (2 * self.tile_rows))
        return pays(self.work, self.steps, self.tile_rows, blocks, 0, target)

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=self.WRITTEN)
        rows, steps = self.tile_rows, self.steps
        row_block = _ITEM_TILES * rows
        # The last tile of rows lies over the one before, which belongs to the same work item.
        while 0 < self.rows % row_block < rows:
            row_block += rows
        cut = ChannelTiles(1, 1, self.columns, CHANNEL_BLOCK, _ITEM_VECTORS, self.rows, row_block)
        blocks = TileBlocks(b, self.product, steps, rows, self.inner, self._stored)

        def visit(item: WorkItem, vectors: int, active: int) -> None:
            total = b.divide(b.add(b.subtract(item.last_row, item.first_row), rows - 1), rows)

            def columns(first: Register, over_rows: OverRows) -> None:
                first = b.add(item.block, first)
                tables = {n: b.at(arguments[n], b.multiply(first, VECTOR_BYTES)) for n in ("start", "factors")}
                w = b.at(arguments["tiles"], b.multiply(first, steps.vector_bytes))
                y = b.at(arguments["y"], b.multiply(first, CHANNEL_BLOCK))

                def of_tile(tile: Register) -> Values:
                    row = b.minimum(b.add(item.first_row, b.multiply(tile, rows)), self.rows - rows)
                    x = b.at(arguments["x"], b.multiply(row, self.inner))
                    return {"x": x, "y": b.at(y, b.multiply(row, self.columns))}

                over_rows({"w": w, **tables, "scratch": arguments["scratch"]}, total, of_tile)

            blocks.over_columns(vectors, active, columns)

        tiles.configure(b, rows, steps.inner)
        cut.walk(b, arguments, visit)
        tiles.release(b)
        return self.finish(b, blocks.finish(), units=cut.units, scratch_bytes=BLOCK_BYTES)

    def _stored(self, b: FunctionBuilder, values: Values, row: int, column: int, active: int, sums: Register) -> None:
        factors, mask = b.at(values["factors"], column * VECTOR_BYTES), partial_mask(CHANNEL_BLOCK, active)
        y = b.at(values[f"y{row}"], column * CHANNEL_BLOCK)

        def some(first: Register, totals: Registers) -> None:
            reals = self.constants.reals(b, totals, (), factors, None)
            self.store(b, reals, b.at(y, b.multiply(first, self.columns)), mask)

        each_four_rows(b, self.tile_rows, sums, some)


def tiled_product(op: Op[MatMul], spec: ByteProduct, target: TargetDescription) -> Kernel | None:
    """The kernel on tiles for a product of bytes, where the processor has them and that pays."""
    found = signed_weights(op) if tiles.has_tiles(target, "tdpbusd") else None
    if found is None:
        return None
    weights, is_signed = found
    weights = weights if op.operator.transpose_b else weights.T
    product = tiles.byte_product(op.operands.x.type.dtype is DType.I8, is_signed)
    constants = channels_of(op, None).without_zeros
    tiled = TiledProduct(**{**vars(spec), "constants": constants}, product=product)
    packed = tiled.steps.packed(np.ascontiguousarray(weights)[:, None])
    return tiled.kernel(target).reading(packed) if tiled.pays(target) else None
