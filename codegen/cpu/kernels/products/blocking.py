"""How convolutions are cut into tiles and blocks, chosen by a cost model of registers, ports and caches."""

from tilewright.immutable import Immutable

from .....ir.layout import CHANNEL_BLOCK
from ...llvm.byte_dot_product import widens
from ...llvm.target import TargetDescription
from ..window import Axis


class Blocking(Immutable):
    """How a convolution is cut.

    Attributes:
        merge: rows of the image treated as one, where pixels do not see their neighbours.
        pixels, vectors: largest tile held in registers: output pixels by vectors of 16 output channels.
        chunk: blocks of input channels before the tile is stored for the time being.
        row_block: output rows for which all output channels are computed before going on.
        pieces: so many parts of each row count as rows, where a row is too much for that.
    """

    merge: int
    pixels: int
    vectors: int
    chunk: int
    row_block: int
    pieces: int = 1


PARTS = 4
"""Work items that a kernel has at least, where threads are to have parts of the image: blocks of rows."""

MOST_VECTORS = 8
"""Of output channels in a tile."""


def rows_of_item(rows: int, fitting: int, tiles: int, *, by_rows: bool) -> int:
    """Output rows of a work item: few enough for several threads, which share out the items in order.
    ``fitting``: the most.
    ``tiles``: of output channels, of which each is an item.
    ``by_rows``: a thread is to have a part of the image and not of the channels. Where all steps are cut alike, it
    reads what it wrote."""
    blocks = max(-(-rows // fitting), PARTS if by_rows else 1, -(-PARTS // tiles))
    # An even number has the middle of the image between two blocks.
    return -(-rows // min(rows, blocks + blocks % 2)) if blocks > 1 else rows


class Work(Immutable):
    """What the choice of a tile depends on.

    Attributes:
        rows, columns: geometry of the output image.
        steps: products for each output pixel and vector.
        output_blocks: vectors of output channels in a group.
        may_merge: pixels do not see their neighbours.
        seen: the products for each output pixel and vector of tiles of 1, 2 and more vectors, where these differ.
        is_quantized: products are dot products of bytes, results are requantised.
        has_sums: sums over the window take one more register for each pixel.
        narrow_sums: of one register, whatever others have.
        is_paired: three instructions for a product, of one vector; see :mod:`.weight_pairs`.
    """

    rows: Axis
    columns: Axis
    steps: int
    output_blocks: int
    may_merge: bool = False
    seen: tuple[float, ...] = ()
    is_quantized: bool = False
    has_sums: bool = False
    narrow_sums: bool = False
    is_paired: bool = False

    def merged(self, merge: int) -> tuple[Axis, Axis]:
        """Rows and columns with ``merge`` rows laid end to end."""
        if merge == 1:
            return self.rows, self.columns
        return Axis.line(self.rows.output // merge), Axis.line(self.columns.output * merge)

    def merges(self) -> list[int]:
        """Numbers of rows that can be treated as one."""
        height, width = self.rows.output, self.columns.output
        most = min(height, max(1, 448 // width)) if self.may_merge else 1
        return [m for m in range(1, most + 1) if height % m == 0]


def registers_per_vector(target: TargetDescription) -> int:
    """Registers that 16 elements of four bytes take."""
    return max(1, CHANNEL_BLOCK // target.lanes)


def choose_tile(work: Work, target: TargetDescription) -> tuple[int, int, int]:
    """Merge, pixels and vectors of the tile of least estimated cost; see :class:`Blocking`."""
    parts = registers_per_vector(target)
    # Besides sums and weights: inputs, and what is made of them before it is summed up.
    others = 2 if work.is_paired else 4 if work.is_quantized and widens(target) else 1

    def fits(pixels: int, vectors: int) -> bool:
        """Whether sums, weights of a step and inputs are in registers, as far as possible."""
        sums = pixels * work.has_sums * (1 if work.narrow_sums else parts)
        registers = (pixels + 1) * vectors * parts + sums + others
        return registers <= target.registers or (pixels == 1 and (vectors == 1 or work.is_quantized))

    most = 1 if work.is_paired else 4 if work.is_quantized else MOST_VECTORS
    candidates = [
        (merge, pixels, vectors)
        for merge in work.merges()
        for vectors in range(1, min(work.output_blocks, most) + 1)
        for pixels in range(1, min(work.merged(merge)[1].output, 28) + 1)
        if fits(pixels, vectors)
    ]

    def preference(tile: tuple[int, int, int]) -> tuple[float, ...]:
        # At the same cost, few vectors; few pixels where each of them is to be requantised.
        merge, pixels, vectors = tile
        return _cost(work, parts, *tile), merge, pixels if work.is_quantized else vectors

    return min(candidates, key=preference, default=(1, 1, 1))


def cheapest(work: Work, target: TargetDescription) -> float:
    """The estimated cost of the tile that is chosen, in processor cycles."""
    return _cost(work, registers_per_vector(target), *choose_tile(work, target))


def _cost(work: Work, parts: int, merge: int, pixels: int, vectors: int) -> float:
    """Estimated processor cycles of one pass over the image and the output channels of a group."""
    finish = 4 + 2 * work.has_sums if work.is_quantized else 2

    def tile(p: int, q: int) -> float:
        # Two products and two loads a cycle; a chain of dependent ones takes four cycles a link; weights come from the
        # second level cache at about 28 bytes a cycle. Requantisation takes some more instructions for each result.
        products = p * (q * parts + work.has_sums * (1 if work.narrow_sums else parts))
        if work.is_paired:
            return work.steps * (products + 1) + finish * products + 25
        step = max(products / 2, (q * parts + p) / 2, 4 if products < 8 else 0, q * 64 / 28)
        steps = work.seen[q - 1] if work.seen else work.steps
        return steps * step + finish * p * q * parts + 25

    rows, columns = work.merged(merge)
    sizes, parts_of_group = _even(columns.output, pixels), _even(work.output_blocks, vectors)
    total = sum(n * m * tile(p, q) for p, n in sizes for q, m in parts_of_group)
    # Each further shape of tile is code to generate and to keep in the instruction cache.
    shapes = len(sizes) + (2 if columns.is_padded else 0)
    return rows.output * total * (1 + 0.004 * shapes * len(parts_of_group))


def _even(extent: int, most: int) -> list[tuple[int, int]]:
    """The sizes of equal parts, of at most so much, and how many there are of each."""
    count = -(-extent // most)
    small, larger = divmod(extent, count)
    return [(size, n) for size, n in ((small + 1, larger), (small, count - larger)) if n]
