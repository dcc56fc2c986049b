"""Products of matrices on the tiles of AMX, where a convolution is one over all its taps.

A *block* is up to 16 rows of x, twice, by 16 columns of w, once or twice. For each step 64 bytes (or fewer) of a row of
x meet as many of the inner dimension of w. Where each step finds them, from where a row begins, is a table: so taps of
a window are further steps, and nothing is copied for them. Steps that do not fill a tile begin earlier, over bytes that
the step before has had, for which w is zero.

The weights are packed when compiling: [16 columns][step][4 bytes of the inner dimension][column][byte].
"""

from collections.abc import Callable, Sequence

import numpy as np

from tilewright.immutable import Immutable

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK, QUAD
from ...llvm import tiles
from ...llvm.builder import FunctionBuilder, Integer
from ...llvm.narrow_speed import add_pairs
from ...llvm.target import TargetDescription
from ...llvm.types import F32, I32, I64, Register, Registers
from ..output_channels import VECTOR, without_zero_points
from ..window_walk import Values
from .blocking import Work, cheapest

BLOCK_BYTES = 4 * tiles.TILE_BYTES
"""Work memory for the sums of a block."""

_MARGIN = 0.8
"""What tiles must cost at most, measured by vectors: the model of their costs is the rougher one."""


class TileSteps(Immutable):
    """The steps of a product.
    ``run``: bytes of the inner dimension that lie side by side in x, a multiple of four.
    ``starts``: where each run begins, from where a row of x begins."""

    run: int
    starts: tuple[int, ...]

    @property
    def inner(self) -> int:
        """Bytes of a step: as few as possible, in as many steps as tiles need."""
        return QUAD * -(-self.run // (QUAD * -(-self.run // tiles.ROW_BYTES)))

    @property
    def cuts(self) -> list[int]:
        """Where the steps of a run begin."""
        return [min(first, self.run - self.inner) for first in range(0, self.run, self.inner)]

    @property
    def count(self) -> int:
        return len(self.starts) * len(self.cuts)

    @property
    def vector_bytes(self) -> int:
        """Packed weights of 16 columns."""
        return self.count * self.inner * CHANNEL_BLOCK

    def offsets(self) -> list[int]:
        """Where each step begins in x."""
        return [start + cut for start in self.starts for cut in self.cuts]

    def packed(self, weights: np.ndarray) -> bytes:
        """Weights [columns, runs, elements of a run], of bytes or of 16 bits, as they are multiplied."""
        columns, runs, elements = weights.shape
        size, inner = weights.itemsize, self.inner // weights.itemsize
        group = QUAD // size
        cut = np.zeros((-(-columns // CHANNEL_BLOCK) * CHANNEL_BLOCK, runs, len(self.cuts), inner), weights.dtype)
        for index, start in enumerate(self.cuts):
            first, begin = index * inner, start // size
            cut[:columns, :, index, first - begin :] = weights[:, :, first : begin + inner]
        assert elements * size == self.run
        cut = cut.reshape(-1, CHANNEL_BLOCK, self.count, inner // group, group)
        return cut.transpose(0, 2, 3, 1, 4).tobytes()


Ending = Callable[[FunctionBuilder, Values, int, int, int, Register], None]
"""Stores what becomes of a tile, given the arguments of the block, whether it is of its first or second rows (0 or 1),
the vector of columns, how many of these exist, and where the sums lie."""


OverRows = Callable[[Values, Integer, Callable[[Register], Values]], None]
"""Generates the blocks of all rows, given values of the columns, the number of tiles, and values of each of them."""


class TileBlocks:
    """The functions of a kernel that compute blocks, and the loops that call them.

    Args:
        product: the instruction; see :mod:`...llvm.tiles`.
        rows: of tiles, or half of the rows whose sums vectors hold.
        x_stride: bytes from row to row of x.
        end: see `Ending`.
    """

    def __init__(
        self, b: FunctionBuilder, product: str, steps: TileSteps, rows: int, x_stride: int, end: Ending
    ) -> None:
        self._b, self._product, self._steps, self._rows = b, product, steps, rows
        self._x_stride, self._end = x_stride, end
        self._functions: dict[tuple[int, int, int], FunctionBuilder] = {}

    def over_columns(self, vectors: int, active: int, visit: Callable[[Register, OverRows], None]) -> None:
        """Generate what visits columns, one or two vectors at a time.
        ``active``: columns in the last vector.
        ``visit``: called with the number of the first vector, and with what generates the blocks of all rows. Values of
        the columns are ``w``, ``start``, with which sums begin, and ``scratch``, those of tiles ``x`` and ``y``, and
        whatever the end takes."""
        b = self._b

        def visited(first: Register, count: int, active: int) -> None:
            def over_rows(values: Values, total: Integer, of_tile: Callable[[Register], Values]) -> None:
                def block(tile: Register, number: int = 2) -> None:
                    each = ((i, of_tile(b.add(tile, i)).items()) for i in range(number))
                    self._call((number, count, active), values | {f"{name}{i}": v for i, of in each for name, v in of})

                odd = b.remainder(b.integer(total), 2)
                b.each(0, b.subtract(total, odd), block, step=2)
                b.each(b.subtract(total, odd), total, lambda tile: block(tile, 1))

            visit(first, over_rows)

        whole = (vectors if active == CHANNEL_BLOCK else vectors - 1) // 2 * 2
        b.each(0, whole, lambda first: visited(first, 2, CHANNEL_BLOCK), step=2)
        if whole < vectors:
            visited(b.integer(whole), vectors - whole, active)

    def begin(self) -> None:
        """What comes before the first block."""
        if self._product != tiles.VECTOR_PRODUCT:
            tiles.configure(self._b, self._rows, self._steps.inner)

    def finish(self) -> list[FunctionBuilder]:
        """What comes behind the last block; the functions."""
        if self._product != tiles.VECTOR_PRODUCT:
            tiles.release(self._b)
        return list(self._functions.values())

    def _call(self, key: tuple[int, int, int], values: Values) -> None:
        if key not in self._functions:
            parameters = [(name, value.type) for name, value in values.items()]
            name = f"{self._b.name}_block{len(self._functions)}"
            self._functions[key] = FunctionBuilder(self._b.target, name, parameters, internal=True)
            self._generate(self._functions[key], dict(zip(values, self._functions[key].arguments, strict=True)), *key)
        self._b.call(self._functions[key].name, None, tuple(values.values()))

    def _generate(self, b: FunctionBuilder, values: Values, number: int, count: int, active: int) -> None:
        """So many tiles by so many vectors of columns, of the last of which so many exist."""
        table = b.table(f"{b.name}_steps", I64, self._steps.offsets())
        multiply = self._on_vectors if self._product == tiles.VECTOR_PRODUCT else self._on_tiles
        stored = [b.at(values["scratch"], total * tiles.TILE_BYTES) for total in range(number * count)]
        multiply(b, values, table, stored, count)
        for total, address in enumerate(stored):
            row, column = divmod(total, count)
            of_column = active if column == count - 1 else CHANNEL_BLOCK
            self._end(b, values, row, column, of_column, address)
        b.return_()

    def _on_vectors(
        self, b: FunctionBuilder, values: Values, table: Register, stored: Sequence[Register], count: int
    ) -> None:
        """Each pair of numbers of a row of x meets that of all columns."""
        steps, vector = self._steps, F32.of(CHANNEL_BLOCK)
        places = [(number, row) for number in range(len(stored) // count) for row in range(self._rows)]
        starts = [b.load(vector, values["start"], column * vector.bytes) for column in range(count)]

        def step(index: Register, carried: Registers) -> Registers:
            ws, sums = carried[:count], [*carried[count:]]
            offset = b.load(I64, b.at(table, b.multiply(index, I64.bytes)))
            xs = [b.at(values[f"x{number}"], offset) for number in range(len(stored) // count)]
            for inner in range(0, steps.inner, QUAD):
                b.fence()
                factors = [b.load(I32.of(CHANNEL_BLOCK), w, inner * CHANNEL_BLOCK) for w in ws]
                for place, (number, row) in enumerate(places):
                    pair = b.splat(b.load(I32, xs[number], row * self._x_stride + inner), CHANNEL_BLOCK)
                    for at, factor in enumerate(factors, place * count):
                        sums[at] = add_pairs(b, sums[at], pair, factor)
            return (*(b.at(w, steps.inner * CHANNEL_BLOCK) for w in ws), *sums)

        ws = [b.at(values["w"], column * steps.vector_bytes) for column in range(count)]
        found = b.loop(0, steps.count, step, (*ws, *starts * len(places)))[count:]
        for place, (number, row) in enumerate(places):
            for column in range(count):
                b.store(found[place * count + column], stored[number * count + column], row * tiles.ROW_BYTES)

    def _on_tiles(
        self, b: FunctionBuilder, values: Values, table: Register, stored: Sequence[Register], count: int
    ) -> None:
        steps, product = self._steps, self._product
        sums = [tiles.SUMS[first : first + count] for first in range(0, len(stored), count)]
        for row in sums:
            for column, total in enumerate(row):
                tiles.load(b, total, b.at(values["start"], column * 4 * CHANNEL_BLOCK), 0)

        def step(index: Register, carried: Registers) -> Registers:
            offset = b.load(I64, b.at(table, b.multiply(index, I64.bytes)))
            for number, row in enumerate(sums):
                tiles.load(b, tiles.LEFT[number], b.at(values[f"x{number}"], offset), self._x_stride)
                for column, (w, total) in enumerate(zip(carried, row, strict=True)):
                    if not number:
                        tiles.load(b, tiles.RIGHT[column], w, tiles.ROW_BYTES)
                    tiles.multiply(b, product, total, tiles.LEFT[number], tiles.RIGHT[column])
            return tuple(b.at(w, steps.inner * CHANNEL_BLOCK) for w in carried)

        ws = tuple(b.at(values["w"], column * steps.vector_bytes) for column in range(count))
        b.loop(0, steps.count, step, ws)
        for total, address in enumerate(stored):
            tiles.store(b, total, address)


def each_four_rows(b: FunctionBuilder, rows: int, sums: Register, some: Callable[[Register, Registers], None]) -> None:
    """The sums of rows of a tile, four rows at a time and then the others, with the number of the first of them."""

    def visit(first: Register, count: int) -> None:
        source = b.at(sums, b.multiply(first, tiles.ROW_BYTES))
        some(first, tuple(b.load(VECTOR, b.at(source, row * tiles.ROW_BYTES)) for row in range(count)))

    b.in_steps(rows, 4, visit)


_VECTOR_ROWS = 7
"""Rows of which registers of vectors hold the sums, twice."""


def tile_rows(extent: int, product: str) -> int:
    """Rows of tiles that cut an extent about equally."""
    most = _VECTOR_ROWS if product == tiles.VECTOR_PRODUCT else tiles.ROWS
    return -(-extent // -(-extent // most))


def pays(work: Work, steps: TileSteps, rows: int, blocks: int, packed: int, target: TargetDescription) -> bool:
    """Whether tiles are estimated to cost less than vectors.
    ``rows``, ``blocks``: of tiles, and pairs of them that cover the image.
    ``packed``: 64 bytes of x that are copied before."""
    columns = work.output_blocks
    # A product takes a cycle a row and some more, half of that again goes where tiles do not come from the first level
    # cache, weights from the second at about 28 bytes a cycle; requantisation takes four for each result.
    step = max(3 * (4 + 0.75 * rows), steps.inner * CHANNEL_BLOCK / 28)
    cost = blocks * columns * (steps.count * step + 8 * rows + 12) + 5 * packed
    return cost < _MARGIN * cheapest(work, target)


def signed_weights(op: Op) -> tuple[np.ndarray, bool] | None:
    """The weights of an op that has constant channels as bytes, zero points taken off, and whether they are signed;
    ``None`` where they need nine bits."""
    weights = without_zero_points(op)
    for dtype in (np.int8, np.uint8):
        info = np.iinfo(dtype)
        if info.min <= weights.min() and weights.max() <= info.max:
            return weights.astype(dtype), dtype is np.int8
    return None
