"""The walk of direct convolutions over their work items: image, block of output rows, tile of output channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..llvm.builder import FunctionBuilder
from ..llvm.types import Register, Registers


@dataclass(frozen=True)
class WorkItem:
    """What one work item computes: rows [first_row, last_row) of an image, for vectors of channels from ``block`` on.

    Attributes:
        group: of channels.
        block: first vector of output channels, counted over all groups.
    """

    image: Register
    first_row: Register
    last_row: Register
    group: Register
    block: Register


@dataclass(frozen=True)
class ChannelTiles:
    """How a convolution is cut into work items.

    Attributes:
        batch, groups: images, and independent convolutions of each.
        output_blocks: vectors of output channels in a group.
        vectors: most of them in a tile.
        rows: output rows.
        row_block: most of them in a work item.
    """

    batch: int
    groups: int
    output_blocks: int
    vectors: int
    rows: int
    row_block: int

    @property
    def in_group(self) -> int:
        """Tiles of output channels in a group."""
        return -(-self.output_blocks // self.vectors)

    @property
    def row_blocks(self) -> int:
        """Blocks of rows in an image."""
        return -(-self.rows // self.row_block)

    @property
    def units(self) -> int:
        """Work items."""
        return self.batch * self.row_blocks * self.groups * self.in_group

    def walk(
        self,
        b: FunctionBuilder,
        span: tuple[Register, Register],
        visit: Callable[[WorkItem, int, bool], None],
        *,
        is_last_different: bool = False,
    ) -> None:
        """Generate the loop over the work items in ``span``.

        Args:
            visit: generates the code for an item, given the vectors of its tile and whether it is the last of its
                group; called once, or once for the last tiles and once for the others.
            is_last_different: the last tile of a group needs code of its own even if it has as many vectors.
        """
        tiles = self.groups * self.in_group
        left = self.output_blocks - (self.in_group - 1) * self.vectors

        def unit(index: Register, _: Registers) -> Registers:
            tile = b.remainder(index, tiles)
            index = b.divide(index, tiles)
            image, row_block = b.divide(index, self.row_blocks), b.remainder(index, self.row_blocks)
            first_row = b.multiply(row_block, self.row_block)
            last_row = b.minimum(b.add(first_row, self.row_block), self.rows)
            group, within = b.divide(tile, self.in_group), b.remainder(tile, self.in_group)
            block = b.add(b.multiply(group, self.output_blocks), b.multiply(within, self.vectors))
            item = WorkItem(image, first_row, last_row, group, block)

            def work(vectors: int, is_last: bool) -> Registers:
                visit(item, vectors, is_last)
                return ()

            if self.in_group == 1 or (left == self.vectors and not is_last_different):
                work(left, True)
            else:
                is_last = b.compare("eq", within, self.in_group - 1)
                b.if_(is_last, lambda: work(left, True), lambda: work(self.vectors, False))
            return ()

        b.loop(*span, unit)
