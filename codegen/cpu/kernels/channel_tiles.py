"""The walk of kernels over their work items: image, block of output rows, tile of output channels."""

from collections.abc import Callable

from tilewright.immutable import Immutable

from ..llvm.builder import FunctionBuilder
from ..llvm.types import Register


class WorkItem(Immutable):
    """What one work item computes: rows [first_row, last_row) of an image, for vectors of channels from ``block`` on.
    ``group``: of channels.
    ``block``: first vector of output channels, counted over all groups."""

    image: Register
    first_row: Register
    last_row: Register
    group: Register
    block: Register


Visit = Callable[[WorkItem, int, int], None]
"""Generates the code for a work item, given the vectors of its tile and the channels that exist in the last of them."""


class ChannelTiles(Immutable):
    """How the work of a kernel is cut into items.

    Attributes:
        batch, groups: images, and independent convolutions of each.
        channels: output channels in a group.
        lanes: channels in a vector.
        vectors: most of them in a tile.
        rows: output rows.
        row_block: most of them in a work item.
        is_even: tiles of a group and blocks of rows are about equally large, so that threads which share them have
            equal work; otherwise all but the last have as many vectors and rows as they may.
    """

    batch: int
    groups: int
    channels: int
    lanes: int
    vectors: int
    rows: int
    row_block: int
    is_even: bool = False

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
        ``visit``: called once for each kind of tile in a group: the last one, and others that differ from it."""
        tiles, count = self.groups * self.in_group, self.in_group
        small, uneven = divmod(self.blocks, count) if self.is_even else (self.vectors, 0)
        full, less = (small + (uneven > 0), self.lanes), (small, self.lanes)
        of_last = full[0] if self.is_even else self.blocks - (count - 1) * self.vectors
        last = of_last, (self.channels - 1) % self.lanes + 1

        def first(tile: Register) -> Register:
            """The vector of a group where a tile begins."""
            return b.divide(b.multiply(tile, self.blocks), count) if uneven else b.multiply(tile, small)

        def rows(block: Register) -> tuple[Register, Register]:
            if self.is_even:
                bounds = (b.multiply(index, self.rows) for index in (block, b.add(block, 1)))
                begin, end = (b.divide(bound, self.row_blocks) for bound in bounds)
                return begin, end
            begin = b.multiply(block, self.row_block)
            return begin, b.minimum(b.add(begin, self.row_block), self.rows)

        def unit(index: Register) -> None:
            tile = b.remainder(index, tiles)
            index = b.divide(index, tiles)
            image, row_block = b.divide(index, self.row_blocks), b.remainder(index, self.row_blocks)
            first_row, last_row = rows(row_block)
            group, within = b.divide(tile, count), b.remainder(tile, count)
            begin = first(within)
            block = b.add(b.multiply(group, self.blocks), begin)
            item = WorkItem(image, first_row, last_row, group, block)

            def other() -> None:
                # Of uneven tiles, the last one is large.
                if uneven < 2:
                    visit(item, *less)
                    return
                size = b.subtract(first(b.add(within, 1)), begin)
                is_less = b.compare("eq", size, small)
                b.if_(is_less, lambda: visit(item, *less), lambda: visit(item, *full))

            if count == 1:
                visit(item, *last)
            elif last == full and uneven != 1:
                other()
            else:
                b.if_(b.compare("eq", within, count - 1), lambda: visit(item, *last), other)

        b.each(arguments["begin"], arguments["end"], unit)
