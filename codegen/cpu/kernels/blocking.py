"""How convolutions are cut into tiles and blocks, chosen by a cost model of registers, ports and caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....ir.layout import BLOCK
from ..llvm.target import TargetDescription
from .window import Axis

if TYPE_CHECKING:
    from .direct_convolution import Convolution


@dataclass(frozen=True)
class Blocking:
    """How a convolution is cut.

    Attributes:
        merge: rows of the image treated as one, where pixels do not see their neighbours.
        pixels, vectors: largest tile held in registers: output pixels by vectors of 16 output channels.
        chunk: steps over input channels before the tile is stored for the time being.
        row_block: output rows for which all output channels are computed before going on.
    """

    merge: int
    pixels: int
    vectors: int
    chunk: int
    row_block: int


def fits(pixels: int, vectors: int, target: TargetDescription) -> bool:
    """Whether the tile, the weights of a step and one broadcast input fit into the vector registers."""
    parts = max(1, BLOCK // target.lanes)
    return (pixels + 1) * vectors * parts + 1 <= target.registers or pixels == vectors == 1


def choose_blocking(spec: Convolution, target: TargetDescription) -> Blocking:
    """The blocking of least estimated cost."""
    best: tuple[float, int, int, int] | None = None
    for merge in _merges(spec):
        columns = merged(spec, merge)[1]
        for vectors in range(1, min(spec.output_blocks, 8) + 1):
            for pixels in range(1, min(columns.output, 28) + 1):
                if fits(pixels, vectors, target):
                    cost = _cost(spec, target, merge, pixels, vectors)
                    if best is None or cost < best[0]:
                        best = (cost, merge, pixels, vectors)
    if best is None:
        best = (0, 1, 1, 1)
    _, merge, pixels, vectors = best
    return block_for_caches(spec, target, merge, pixels, vectors)


def _merges(spec: Convolution) -> list[int]:
    x, y = spec.columns, spec.rows
    pointwise = all(a.kernel == a.stride == 1 and a.before == 0 and a.input == a.output for a in (x, y))
    if spec.plain_input or not pointwise:
        return [1]
    return [m for m in range(1, y.output + 1) if y.output % m == 0 and (m == 1 or m * x.output <= 448)]


def merged(spec: Convolution, merge: int) -> tuple[Axis, Axis]:
    """Rows and columns with ``merge`` rows laid end to end."""
    if merge == 1:
        return spec.rows, spec.columns
    height, width = spec.rows.output // merge, spec.columns.output * merge
    return Axis(height, height, 1, 1, 1, 0), Axis(width, width, 1, 1, 1, 0)


def _cost(spec: Convolution, target: TargetDescription, merge: int, pixels: int, vectors: int) -> float:
    """Estimated processor cycles of one pass over the image and the output channels of a group."""
    rows, columns = merged(spec, merge)
    parts = max(1, BLOCK // target.lanes)
    lanes_in = 1 if spec.plain_input else BLOCK
    steps = spec.input_blocks * lanes_in * spec.rows.kernel * spec.columns.kernel

    def tile(p: int, q: int) -> float:
        # Two multiply-adds and two loads a cycle; a chain of dependent ones takes four cycles a link; weights come
        # from the second level cache at about 28 bytes a cycle.
        step = max(p * q * parts / 2, (q * parts + p) / 2, 4 if p * q * parts < 8 else 0, q * 64 / 28)
        return steps * step + 2 * p * q * parts + 25

    return tiled_cost(tile, (rows, columns), (pixels, vectors), spec.output_blocks)


def tiled_cost(
    tile: Callable[[int, int], float], axes: tuple[Axis, Axis], size: tuple[int, int], output_blocks: int
) -> float:
    """Estimated processor cycles of all tiles of an image.

    Args:
        tile: cycles of a tile of so many pixels by so many vectors.
        axes: rows and columns.
        size: pixels and vectors of the largest tile.
        output_blocks: vectors of output channels.
    """
    (rows, columns), (pixels, vectors) = axes, size
    count = -(-columns.output // pixels)
    small, larger = divmod(columns.output, count)
    sizes = ((small + 1, larger), (small, count - larger))
    full, rest = divmod(output_blocks, vectors)
    total = sum(n * (full * tile(p, vectors) + (tile(p, rest) if rest else 0)) for p, n in sizes if n)
    # Each further shape of tile is code to generate and to keep in the instruction cache.
    shapes = (2 if larger else 1) + (2 if columns.is_padded else 0)
    return rows.output * total * (1 + 0.004 * shapes * (2 if rest else 1))


def block_for_caches(spec: Convolution, target: TargetDescription, merge: int, pixels: int, vectors: int) -> Blocking:
    """Channel chunks whose weights, and row blocks whose inputs, stay in the second level cache."""
    first, second = target.cache_bytes
    rows, columns = merged(spec, merge)
    lanes_in = 1 if spec.plain_input else BLOCK
    step_bytes = vectors * 64 * lanes_in * spec.rows.kernel * spec.columns.kernel
    # A tile of few pixels reads weights faster than the second level cache gives them: there, weights are cut so far
    # that the other tiles find them in the first level.
    is_hungry = pixels < 10 and rows.output * columns.output >= 4 * pixels and rows.kernel * columns.kernel > 1
    weights_budget = first // 2 if is_hungry else second // 4
    chunks = 1 if spec.plain_input else -(-spec.input_blocks * step_bytes // weights_budget)
    chunk = -(-spec.input_blocks // max(1, min(chunks, spec.input_blocks)))
    weight_bytes = spec.input_blocks * step_bytes // vectors * spec.output_blocks
    row_bytes = chunk * lanes_in * 4 * columns.input * rows.stride
    budget = second // 8 if weight_bytes <= second // 2 else second // 2
    return Blocking(merge, pixels, vectors, chunk, max(1, min(rows.output, budget // max(1, row_bytes))))
