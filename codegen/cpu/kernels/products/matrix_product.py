"""Products of matrices, with tiles of the result in registers: what numbers and stored integers share.

For each step along the inner dimension some vectors of the right factor are loaded once and multiplied with one element
of each row of the left factor, broadcast.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from tilewright.immutable import Immutable

from ...kernel import Kernel
from ...llvm.builder import FunctionBuilder, Integer
from ...llvm.target import TargetDescription
from ...llvm.types import PTR, Register, Registers, Type, partial_mask
from ...spec import KernelSpec
from ..channel_tiles import ChannelTiles, WorkItem

_UNROLL = 4

TileArguments = Callable[[Register], Sequence[Register]]
"""From the first row of a tile to the arguments of its function."""

OverRows = Callable[[WorkItem, int, int, TileArguments], None]
"""Generates the tiles of a strip, given its vectors and the columns that exist in the last of them."""


class MatrixShape(Immutable):
    """How a product is cut, and how its factors lie; distances in bytes.

    Attributes:
        cut: matrices as images, columns as channels; rows in blocks of whole tiles.
        tile_rows: rows of the largest tile.
        x_row, x_step: from row to row and from step to step of the left factor.
        w_step: from step to step of the right factor.
        steps: of both, along the inner dimension.
    """

    cut: ChannelTiles
    tile_rows: int
    x_row: int
    x_step: int
    w_step: int
    steps: int
    scratch: int = 0

    @property
    def lanes(self) -> int:
        """Columns in a vector."""
        return self.cut.lanes


class MatrixTile(Immutable):
    """A function for so many rows and vectors of the result; ``active`` columns exist in the last of them."""

    b: FunctionBuilder
    shape: MatrixShape
    rows: int
    vectors: int
    active: int

    def mask(self, vector: int) -> Register | None:
        """Which columns of a vector exist; ``None`` for all."""
        return partial_mask(self.shape.lanes, self.active) if vector == self.vectors - 1 else None


class MatrixProduct(KernelSpec):
    """Base of the specifications of products."""

    PARAMETERS: ClassVar[tuple[str, ...]]
    """Pointers that the function for a tile takes: x, w, then others."""
    WRITTEN: ClassVar[tuple[str, ...]]
    """What may be written among them and among the arguments of the kernel."""

    rows: int
    columns: int
    inner: int

    @abstractmethod
    def shape(self, target: TargetDescription) -> MatrixShape:
        """The cut of least estimated cost."""

    @abstractmethod
    def strip(self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, columns: int) -> TileArguments:
        """Prepare some columns of a matrix."""

    def visit(
        self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, vectors: int, active: int, over_rows: OverRows
    ) -> None:
        """Generate a work item: one strip, unless a subclass cuts it further."""
        over_rows(item, vectors, active, self.strip(b, shape, item, (vectors - 1) * shape.lanes + active))

    @abstractmethod
    def start(self, tile: MatrixTile) -> list[Register]:
        """Accumulators: for each row one for each of the :meth:`weights`."""

    @abstractmethod
    def weights(self, tile: MatrixTile, w: Register) -> list[Register]:
        """The vectors of a step."""

    @abstractmethod
    def multiply(self, b: FunctionBuilder, x: Register, weights: list[Register], totals: Registers) -> list[Register]:
        """The accumulators of a row after a step, for which the left factor has an element at ``x``."""

    @abstractmethod
    def end(self, tile: MatrixTile, totals: Registers) -> None:
        """Store what becomes of the accumulators."""

    def summed(self, tile: MatrixTile, totals: Registers) -> Registers:
        """The accumulators after all steps."""
        b, shape = tile.b, tile.shape

        def steps(_: Register, carried: Registers) -> Registers:
            x, w, *totals = carried
            for index in range(_UNROLL):
                totals = self.step(tile, index, x, w, tuple(totals))
            return (b.at(x, _UNROLL * shape.x_step), b.at(w, _UNROLL * shape.w_step), *totals)

        x, w, *found = b.loop(0, shape.steps // _UNROLL, steps, (*b.arguments[:2], *totals))
        for index in range(shape.steps % _UNROLL):
            found = self.step(tile, index, x, w, tuple(found))
        return tuple(found)

    def step(self, tile: MatrixTile, index: int, x: Register, w: Register, totals: Registers) -> Registers:
        """The accumulators after one more step, so many behind where ``x`` and ``w`` point."""
        shape = tile.shape
        weights = self.weights(tile, tile.b.at(w, index * shape.w_step))
        result: list[Register] = []
        for row in range(tile.rows):
            element = tile.b.at(x, row * shape.x_row + index * shape.x_step)
            result += self.multiply(tile.b, element, weights, totals[len(result) :])
        return tuple(result)

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


def choose_tile(
    rows: int, columns: int, inner: int, target: TargetDescription, together: int = 1, most: int = 12
) -> tuple[int, int]:
    """Rows and vectors of the tile of least estimated cost, for products of single precision numbers.
    ``together``: vectors that are not taken apart; ``most``: of vectors."""
    vectors_in_row = -(-columns // target.lanes)

    def cost(tile_rows: int, vectors: int) -> float:
        def tile(p: int, q: int) -> float:
            # Two multiply-adds and two loads a cycle, but one load where each product has its own; four cycles a link
            # of a chain; vectors come from the second level cache at about 28 bytes a cycle.
            loads = (p + q) / 2 if vectors > 1 else p
            step = max(p * q / 2, loads, 4 if p * q < 8 else 0, q * target.vector_bits / 8 / 28)
            return inner * step + 2 * p * q + 20

        across = -(-vectors_in_row // vectors)
        widths = ((across - 1, vectors), (1, vectors_in_row - (across - 1) * vectors))
        full, rest = divmod(rows, tile_rows)
        return sum(n * (full * tile(tile_rows, q) + (tile(rest, q) if rest else 0)) for n, q in widths)

    candidates = [
        (tile_rows, vectors)
        for vectors in range(together, min(vectors_in_row + together - 1, most) + 1, together)
        for tile_rows in range(1, min(rows, 28) + 1)
        if (tile_rows + 1) * vectors + 1 <= target.registers
    ]
    return min(candidates, key=lambda tile: cost(*tile))


def positions(
    b: FunctionBuilder, matrix: Register, batch: Sequence[int], *strides: Sequence[int]
) -> tuple[Register, ...]:
    """Where a matrix of a batch of results finds its factors, in matrices.
    ``batch``: extents of the batch dimensions.
    ``strides``: of each factor, along each of them; 0 where it is the same for all."""
    found = tuple(b.integer(0) for _ in strides)
    for extent, *steps in reversed(list(zip(batch, *strides, strict=True))):
        index, matrix = b.remainder(matrix, extent), b.divide(matrix, extent)
        found = tuple(b.add(number, b.multiply(index, step)) for number, step in zip(found, steps, strict=True))
    return found


class _Walker:
    """The function that walks over matrices, blocks of rows and strips of columns, and the functions for tiles."""

    def __init__(self, spec: MatrixProduct, target: TargetDescription) -> None:
        self.spec = spec
        self.shape = spec.shape(target)
        self.b, self.arguments = spec.entry(target, writes=spec.WRITTEN)
        self.tiles: dict[tuple[int, int, int], FunctionBuilder] = {}

    def generate(self) -> Kernel:
        b, spec, shape = self.b, self.spec, self.shape

        def visit(item: WorkItem, vectors: int, active: int) -> None:
            spec.visit(b, shape, item, vectors, active, self._over_rows)

        shape.cut.walk(b, self.arguments, visit)
        return spec.finish(b, list(self.tiles.values()), units=shape.cut.units, scratch_bytes=shape.scratch)

    def _over_rows(self, item: WorkItem, vectors: int, active: int, arguments: TileArguments) -> None:
        """The tiles of a strip of columns."""
        b, spec, shape = self.b, self.spec, self.shape

        def tiles(begin: Integer, end: Integer, rows: int) -> None:
            def call(row: Register) -> None:
                b.call(self._tile(rows, vectors, active), None, arguments(row))

            b.each(begin, end, call, step=rows)

        count = b.divide(b.subtract(item.last_row, item.first_row), shape.tile_rows)
        middle = b.add(item.first_row, b.multiply(count, shape.tile_rows))
        tiles(item.first_row, middle, shape.tile_rows)
        if spec.rows % shape.tile_rows:
            tiles(middle, item.last_row, spec.rows % shape.tile_rows)

    def _tile(self, rows: int, vectors: int, active: int) -> str:
        """Symbol of the function for a tile."""
        size = rows, vectors, active
        if size not in self.tiles:
            parameters: list[tuple[str, Type]] = [(name, PTR) for name in self.spec.PARAMETERS]
            read_only = [name for name in self.spec.PARAMETERS if name not in self.spec.WRITTEN]
            name = f"{self.spec.name}_tile{len(self.tiles)}"
            b = self.tiles[size] = FunctionBuilder(self.b.target, name, parameters, internal=True, read_only=read_only)
            tile = MatrixTile(b, self.shape, *size)
            self.spec.end(tile, self.spec.summed(tile, tuple(self.spec.start(tile))))
            b.return_()
        return self.tiles[size].name
