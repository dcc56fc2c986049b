"""The walk of kernels over their work items: image, block of output rows, tile of output channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..llvm.builder import FunctionBuilder
from ..llvm.types import Register


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


Visit = Callable[[WorkItem, int, int], None]
"""Generates the code for a work item, given the vectors of its tile and the channels that exist in the last of them."""


@dataclass(frozen=True)
class ChannelTiles:
    """How the work of a kernel is cut into items.

    Attributes:
        batch, groups: images, and independent convolutions of each.
        channels: output channels in a group.
        lanes: channels in a vector.
        vectors: most of them in a tile.
        rows: output rows.
        row_block: most of them in a work item.
    """

    batch: int
    groups: int
    channels: int
    lanes: int
    vectors: int
    rows: int
    row_block: int

    @property
    def blocks(self) -> int:
        """Vectors of output channels in a group."""
        return -(-self.channels // self.lanes)

    @property
    def in_group(self) -> int:
        """Tiles of output channels in a group."""
        return -(-self.blocks // self.vectors)

    @property
    def row_blocks(self) -> int:
        """Blocks of rows in an image."""
        return -(-self.rows // self.row_block)

    @property
    def units(self) -> int:
        """Work items."""
        return self.batch * self.row_blocks * self.groups * self.in_group

    def walk(self, b: FunctionBuilder, arguments: dict[str, Register], visit: Visit) -> None:
        """Generate the loop over the work items between the arguments ``begin`` and ``end``.

        Args:
            visit: called once, or once for the last tile of a group and once for the others, where they differ.
        """
        tiles = self.groups * self.in_group
        last = self.blocks - (self.in_group - 1) * self.vectors, (self.channels - 1) % self.lanes + 1
        others = self.vectors, self.lanes

        def unit(index: Register) -> None:
            tile = b.remainder(index, tiles)
            index = b.divide(index, tiles)
            image, row_block = b.divide(index, self.row_blocks), b.remainder(index, self.row_blocks)
            first_row = b.multiply(row_block, self.row_block)
            last_row = b.minimum(b.add(first_row, self.row_block), self.rows)
            group, within = b.divide(tile, self.in_group), b.remainder(tile, self.in_group)
            block = b.add(b.multiply(group, self.blocks), b.multiply(within, self.vectors))
            item = WorkItem(image, first_row, last_row, group, block)
            if self.in_group == 1 or last == others:
                visit(item, *last)
            else:
                is_last = b.compare("eq", within, self.in_group - 1)
                b.if_(is_last, lambda: visit(item, *last), lambda: visit(item, *others))

        b.each(arguments["begin"], arguments["end"], unit)
