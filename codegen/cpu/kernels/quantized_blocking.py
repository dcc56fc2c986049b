"""How quantised convolutions are cut into tiles, chosen by a cost model of registers, ports and caches."""

from __future__ import annotations

from dataclasses import dataclass

from ....ir.layout import BLOCK
from ..llvm.target import TargetDescription
from .blocking import tiled_cost
from .window import Axis


@dataclass(frozen=True)
class QuantizedBlocking:
    """How a convolution is cut.

    Attributes:
        merge: rows of the image treated as one, where pixels do not see their neighbours.
        pixels, vectors: largest tile held in registers: output pixels by vectors of 16 output channels.
        row_block: output rows for which all output channels are computed before going on.
    """

    merge: int
    pixels: int
    vectors: int
    row_block: int


@dataclass(frozen=True)
class Work:
    """What the choice depends on.

    Attributes:
        rows, columns: geometry of the output image.
        steps: dot products for each output pixel and vector.
        row_bytes: of the input, for each output row.
        output_blocks: vectors of output channels in a group.
        may_merge: pixels do not see their neighbours.
        has_sums: sums over the window take one more register for each pixel.
    """

    rows: Axis
    columns: Axis
    steps: int
    row_bytes: int
    output_blocks: int
    may_merge: bool
    has_sums: bool

    def merged(self, merge: int) -> tuple[Axis, Axis]:
        """Rows and columns with ``merge`` rows laid end to end."""
        if merge == 1:
            return self.rows, self.columns
        height, width = self.rows.output // merge, self.columns.output * merge
        return Axis(height, height, 1, 1, 1, 0), Axis(width, width, 1, 1, 1, 0)


def choose_quantized_blocking(work: Work, target: TargetDescription) -> QuantizedBlocking:
    """The blocking of least estimated cost."""
    parts = max(1, BLOCK // target.lanes)
    best: tuple[float, int, int, int] = (float("inf"), 1, 1, 1)
    for merge in _merges(work):
        rows, columns = work.merged(merge)
        for vectors in range(1, min(work.output_blocks, 4) + 1):
            for pixels in range(1, min(columns.output, 28) + 1):
                if pixels > 1 and ((pixels + 1) * vectors + pixels * work.has_sums) * parts + 1 > target.registers:
                    break
                cost = _cost(work, rows, columns, pixels, vectors, parts)
                best = min(best, (cost, merge, pixels, vectors))
    _, merge, pixels, vectors = best
    rows, _ = work.merged(merge)
    # Input rows stay in the second level cache while all channel tiles go over them.
    budget = target.cache_bytes[1] // 4
    row_block = max(1, min(rows.output, budget // max(1, merge * work.row_bytes)))
    return QuantizedBlocking(merge, pixels, vectors, row_block)


def _merges(work: Work) -> list[int]:
    if not work.may_merge:
        return [1]
    height, width = work.rows.output, work.columns.output
    return [m for m in range(1, height + 1) if height % m == 0 and (m == 1 or m * width <= 448)]


def _cost(work: Work, rows: Axis, columns: Axis, pixels: int, vectors: int, parts: int) -> float:
    """Estimated processor cycles of one pass over the image and the output channels of a group."""

    def tile(p: int, q: int) -> float:
        # Two dot products and two loads a cycle; a chain of dependent ones takes four cycles a link; weights come from
        # the second level cache at about 28 bytes a cycle. Each result takes some ten instructions to requantise.
        products = p * (q + work.has_sums) * parts
        step = max(products / 2, (q * parts + p) / 2, 4 if products < 8 else 0, q * 64 / 28)
        return work.steps * step + (4 + 2 * work.has_sums) * p * q * parts + 25

    return tiled_cost(tile, (rows, columns), (pixels, vectors), work.output_blocks)
