"""Attention without its matrix of scores, single precision.

By Dao, Fu, Ermon, Rudra and Ré, "FlashAttention" (2022), with the running maxima and sums of Milakov and Gimelshein,
"Online normalizer calculation for softmax" (2018): a work item is some rows of queries, which meets the keys block by
block; of the scores only those of a block exist. All is computed transposed, a row of queries in each lane: so maxima
and sums of rows are those of lanes, keys and values are broadcast as they lie, and only queries and results are turned.
"""

import math
from collections.abc import Callable, Sequence

from ....ir.core import Op
from ....ir.ops.attention import Attention
from ..kernel import Kernel, lowers
from ..llvm import vector_math as vm
from ..llvm.builder import FunctionBuilder, Integer
from ..llvm.row_vectors import first_lanes
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I64, PTR, Register, Registers, constant, partial_mask, vector_constant, zero
from ..spec import KernelSpec
from ..tensors import is_float, is_plain
from .layout import transpose_square
from .products.matrix_product import positions

_KEYS = 192
"""Of a block, at most: their scores and the values stay in the caches nearby."""

_LOWEST = -3.4028234663852886e38
"""Where maxima start: a number, so that rows that see nothing yet have weights of 0 and no NaN."""


class FlashAttention(KernelSpec):
    """Weighted means of values for each matrix of a batch; arguments q, k, v, mask if there is one, and the result.
    ``operator``: extents and views of the matrices."""

    operator: Attention

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("q", "k", "v", "mask", "y") if self.operator.mask_view else ("q", "k", "v", "y")

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


class _Walker:
    """The function that walks over the work items, and those for their parts.
    ``vectors``: of rows in a work item, at most.
    ``tile``: keys, or columns of values, whose sums are in registers at a time.
    ``block``: keys of a block, whole tiles of them."""

    def __init__(self, spec: FlashAttention, target: TargetDescription) -> None:
        self.spec, self.operator = spec, spec.operator
        self.lanes = target.lanes
        self.vectors = min(4 if target.registers >= 32 else 2, -(-self.operator.rows // self.lanes))
        self.tile = min(12, (target.registers - 2) // self.vectors - 1)
        blocks = -(-self.operator.keys // _KEYS)
        self.block = -(-self.operator.keys // (blocks * self.tile)) * self.tile
        self.b, self.arguments = spec.entry(target, writes=("y",))
        self.helpers: dict[str, FunctionBuilder] = {}
        operator, strip = self.operator, 4 * self.vectors * self.lanes
        # Queries, scores and sums of values, transposed; maxima, sums of weights and what both are to be scaled by.
        sizes = (operator.width, self.block, operator.depth, 1, 1, 1)
        self.places = [strip * sum(sizes[:index]) for index in range(len(sizes))]
        self.scratch = strip * sum(sizes)

    def generate(self) -> Kernel:
        b, operator = self.b, self.operator
        vectors = -(-operator.rows // self.lanes)
        blocks = -(-vectors // self.vectors)

        def unit(index: Register) -> None:
            matrix, block = b.divide(index, blocks), b.remainder(index, blocks)
            first = b.multiply(block, self.vectors * self.lanes)
            b.of_part(block, vectors, self.vectors, lambda count: self._rows(matrix, first, count))

        b.each(self.arguments["begin"], self.arguments["end"], unit)
        units = math.prod(operator.batch) * blocks
        return self.spec.finish(b, [*self.helpers.values()], units=units, scratch_bytes=self.scratch)

    def _rows(self, matrix: Register, first: Register, vectors: int) -> None:
        """One work item: so many vectors of rows."""
        b, operator = self.b, self.operator
        names = [name for name in self.spec.arguments if name != "scratch"]
        views = {name: getattr(operator, f"{name}_view") for name in names}
        starts = positions(b, matrix, operator.batch, *(views[name][1:-2] for name in names))
        at = {}
        for name, start in zip(names, starts, strict=True):
            at[name] = b.at(self.arguments[name], 4 * views[name][0], b.multiply(start, 4))
            if name in ("q", "mask", "y"):
                at[name] = b.at(at[name], b.multiply(first, 4 * views[name][-2]))
        scratch = self.arguments["scratch"]
        q, scores, sums, top, total, factor = (b.at(scratch, place) for place in self.places)
        rest = b.subtract(operator.rows, first)
        self._call("pack", vectors, [at["q"], q, sums, top, total, rest])
        end: Integer = operator.keys
        if operator.causal:
            # Beyond what the last of the rows sees, rounded up to whole tiles.
            seen = b.add(first, vectors * self.lanes + operator.keys - operator.rows + self.tile - 1)
            end = b.minimum(b.multiply(b.divide(seen, self.tile), self.tile), operator.keys)

        def block(begin: Register) -> None:
            count = b.minimum(b.subtract(end, begin), self.block)
            k, v = (b.at(at[name], b.multiply(begin, 4 * views[name][-2])) for name in ("k", "v"))
            mask = zero(PTR)
            if operator.mask_view:
                mask = b.at(at["mask"], b.multiply(begin, 4 * operator.mask_view[-1]))
            # The first of the keys, counted from the one that the first row sees last.
            ahead = b.subtract(begin, b.add(first, operator.keys - operator.rows))
            self._call("scores", vectors, [k, q, scores, mask, count, rest, ahead])
            self._call("weights", vectors, [scores, top, total, factor, count])
            self._call("means", vectors, [v, scores, sums, factor, count])

        b.each(0, end, block, step=self.block)
        self._call("store", vectors, [sums, total, at["y"], rest])

    def _call(self, part: str, vectors: int, arguments: Sequence[Register]) -> None:
        """Call the function of a part of a work item of so many vectors of rows."""
        name = f"{self.spec.name}_{part}{vectors}"
        if name not in self.helpers:
            parameters = [(f"a{index}", argument.type) for index, argument in enumerate(arguments)]
            b = self.helpers[name] = FunctionBuilder(self.b.target, name, parameters, internal=True)
            getattr(_Part(self, b, vectors), part)(*b.arguments)
            b.return_()
        self.b.call(name, None, arguments)


class _Part:
    """The code of the parts of a work item; ``vectors`` of rows lie side by side in what is transposed."""

    def __init__(self, walker: _Walker, b: FunctionBuilder, vectors: int) -> None:
        self.b, self.operator, self.tile = b, walker.operator, walker.tile
        self.lanes, self.vectors = walker.lanes, vectors
        self.vector = F32.of(walker.lanes)
        self.strip = 4 * walker.lanes * vectors

    def _load(self, row: Register) -> list[Register]:
        return [self.b.load(self.vector, row, self.vector.bytes * index) for index in range(self.vectors)]

    def _store(self, values: Sequence[Register], row: Register) -> None:
        for index, value in enumerate(values):
            self.b.store(value, row, self.vector.bytes * index)

    def _transposed(
        self, source: Register, view: tuple[int, ...], columns: Integer, rest: Register, target: Register, factor: float
    ) -> None:
        """Columns of rows, as far as there are ``rest`` rows, times a factor, as rows of a strip; zero elsewhere."""
        b, lanes = self.b, self.lanes
        *_, row_stride, column_stride = view
        columns = b.integer(columns)

        def square(column: Register) -> None:
            mask = first_lanes(b, b.subtract(columns, column), lanes)
            for index in range(self.vectors):
                first = b.at(source, b.multiply(column, 4 * column_stride), 4 * index * lanes * row_stride)
                rows = []
                for lane in range(lanes):
                    row, here = index * lanes + lane, mask
                    exists = b.splat(b.compare("slt", b.integer(row), rest), lanes)
                    here = b.binary("and", mask, exists)
                    address = b.at(first, 4 * lane * row_stride)
                    if column_stride == 1:
                        rows.append(b.load_masked(self.vector, address, here))
                    else:
                        rows.append(b.load_strided(self.vector, address, 4 * column_stride, here))
                place = b.at(target, b.multiply(column, self.strip), self.vector.bytes * index)
                for lane, value in enumerate(transpose_square(b, rows)):

                    def store(value: Register = value, lane: int = lane, place: Register = place) -> None:
                        scaled = value if factor == 1 else b.binary("fmul", value, constant(self.vector, factor))
                        scaled = b.larger(scaled, zero(self.vector)) if self.operator.shares else scaled
                        b.store(scaled, place, lane * self.strip)

                    if columns.constant is not None and columns.constant % lanes == 0:
                        store()
                    else:
                        b.if_(b.compare("slt", b.add(column, lane), columns), store)

        b.each(0, columns, square, step=lanes)

    def pack(
        self, q: Register, packed: Register, sums: Register, top: Register, total: Register, rest: Register
    ) -> None:
        """Transposed queries times the scale; nothing summed yet."""
        b, operator = self.b, self.operator
        self._transposed(q, operator.q_view, operator.width, rest, packed, operator.scale)
        nothing = [zero(self.vector)] * self.vectors
        b.each(0, operator.depth, lambda row: self._store(nothing, b.at(sums, b.multiply(row, self.strip))))
        self._store([constant(self.vector, _LOWEST)] * self.vectors, top)
        self._store(nothing, total)

    def _tiles(self, count: Integer, remainder: int, tile: Callable[[Register, int], None]) -> None:
        """Visit so many rows of a product by whole tiles, then the remainder of the last."""
        b = self.b
        count = b.integer(count)
        whole = b.multiply(b.divide(count, self.tile), self.tile)
        b.each(0, whole, lambda row: tile(row, self.tile), step=self.tile)
        if remainder:
            b.if_(b.compare("slt", whole, count), lambda: tile(whole, remainder))

    def _product(
        self,
        x: Register,
        row_stride: int,
        step_stride: int,
        w: Register,
        steps: Integer,
        totals: Sequence[Register],
        *,
        above: bool = False,
    ) -> Registers:
        """The sums after so many steps, each of a vector of w, for each of the elements of x below each other.
        ``above``: as far as these are above 0."""
        b = self.b
        rows = len(totals) // self.vectors

        def step(_: Register, carried: Registers) -> Registers:
            x, w, *sums = carried
            weights = self._load(w)
            result = []
            for row in range(rows):
                value = b.load(F32, x, 4 * row * row_stride)
                value = b.splat(b.larger(value, zero(F32)) if above else value, self.lanes)
                result += [b.fma(value, weight, sums[len(result) + i]) for i, weight in enumerate(weights)]
            return (b.at(x, 4 * step_stride), b.at(w, self.strip), *result)

        return b.loop(0, steps, step, (x, w, *totals))[2:]

    def scores(
        self,
        k: Register,
        q: Register,
        scores: Register,
        mask: Register,
        count: Register,
        rest: Register,
        ahead: Register,
    ) -> None:
        """Transposed scores of a block of keys."""
        b, operator = self.b, self.operator
        *_, row_stride, column_stride = operator.k_view
        view = operator.mask_view
        has_rows = bool(view) and view[-2] != 0
        if has_rows:
            self._transposed(mask, view, count, rest, scores, 1.0)
        numbers = vector_constant(I64.of(self.lanes), [str(lane) for lane in range(self.lanes)])

        def tile(key: Register, rows: int) -> None:
            target = b.at(scores, b.multiply(key, self.strip))
            x = b.at(k, b.multiply(key, 4 * row_stride))
            totals = [zero(self.vector)] * (rows * self.vectors)
            values = self._product(x, row_stride, column_stride, q, operator.width, totals, above=operator.shares)
            for row in range(rows):
                line = list(values[row * self.vectors : (row + 1) * self.vectors])
                added: list[Register] = []
                if has_rows:
                    added = self._load(b.at(target, row * self.strip))
                elif view:
                    address = b.at(mask, b.multiply(b.add(key, row), 4 * view[-1]))
                    added = [b.splat(b.load(F32, address), self.lanes)] * self.vectors
                if added:
                    # Not before the product: its sums would be rounded as coarsely as the mask.
                    line = [b.binary("fadd", value, each) for value, each in zip(line, added, strict=True)]
                if operator.causal:
                    position = b.splat(b.add(b.add(ahead, key), row), self.lanes)
                    for index, value in enumerate(line):
                        lane = b.binary("add", numbers, constant(I64.of(self.lanes), index * self.lanes))
                        is_seen = b.compare("sge", lane, position)
                        hidden = zero(self.vector) if operator.shares else constant(self.vector, -math.inf)
                        line[index] = b.select(is_seen, value, hidden)
                self._store(line, b.at(target, row * self.strip))

        self._tiles(count, operator.keys % self.tile, tile)

    def weights(self, scores: Register, top: Register, total: Register, factor: Register, count: Register) -> None:
        """Exponentials of the scores over the running maxima, in their place; maxima and sums with them."""
        b = self.b
        if self.operator.shares:
            self._shares(scores, total, factor, count)
            return
        before = self._load(top)

        def largest(key: Register, carried: Registers) -> Registers:
            row = self._load(b.at(scores, b.multiply(key, self.strip)))
            return tuple(b.larger(value, most) for value, most in zip(row, carried, strict=True))

        now = b.loop(0, count, largest, before)
        scale = [vm.exp_below_zero(b, b.binary("fsub", old, new)) for old, new in zip(before, now, strict=True)]
        sums = [b.binary("fmul", old, by) for old, by in zip(self._load(total), scale, strict=True)]

        def exponential(key: Register, carried: Registers) -> Registers:
            address = b.at(scores, b.multiply(key, self.strip))
            row = [vm.exp_below_zero(b, b.binary("fsub", s, m)) for s, m in zip(self._load(address), now, strict=True)]
            self._store(row, address)
            return tuple(b.binary("fadd", a, value) for a, value in zip(carried, row, strict=True))

        self._store(b.loop(0, count, exponential, sums), total)
        self._store(now, top)
        self._store(scale, factor)

    def _shares(self, scores: Register, total: Register, factor: Register, count: Register) -> None:
        """Scores are weights as they are; sums with them."""
        b = self.b

        def share(key: Register, carried: Registers) -> Registers:
            row = self._load(b.at(scores, b.multiply(key, self.strip)))
            return tuple(b.binary("fadd", a, value) for a, value in zip(carried, row, strict=True))

        self._store(b.loop(0, count, share, self._load(total)), total)
        self._store([constant(self.vector, 1)] * self.vectors, factor)

    def means(self, v: Register, weights: Register, sums: Register, factor: Register, count: Register) -> None:
        """Transposed sums of weighted values: those before, scaled, and those of a block."""
        b, operator = self.b, self.operator
        *_, row_stride, column_stride = operator.v_view
        scale = self._load(factor)

        def tile(column: Register, rows: int) -> None:
            target = b.at(sums, b.multiply(column, self.strip))
            totals: list[Register] = []
            for row in range(rows):
                old = self._load(b.at(target, row * self.strip))
                totals += [b.binary("fmul", value, by) for value, by in zip(old, scale, strict=True)]
            x = b.at(v, b.multiply(column, 4 * column_stride))
            values = self._product(x, column_stride, row_stride, weights, count, totals)
            for row in range(rows):
                self._store(values[row * self.vectors : (row + 1) * self.vectors], b.at(target, row * self.strip))

        self._tiles(operator.depth, operator.depth % self.tile, tile)

    def store(self, sums: Register, total: Register, y: Register, rest: Register) -> None:
        """The sums over those of their weights, as rows of the result."""
        b, operator, lanes = self.b, self.operator, self.lanes
        one, totals = constant(self.vector, 1), self._load(total)
        if self.operator.shares:
            # The sums of what has no weights are 0.
            totals = [b.select(b.compare("ogt", each, zero(self.vector)), each, one) for each in totals]
        inverse = [b.binary("fdiv", one, value) for value in totals]

        def square(column: Register, count: int) -> None:
            for index, factor in enumerate(inverse):
                source = b.at(sums, b.multiply(column, self.strip), self.vector.bytes * index)
                columns = [zero(self.vector)] * lanes
                for lane in range(count):
                    columns[lane] = b.binary("fmul", b.load(self.vector, source, lane * self.strip), factor)
                for lane, value in enumerate(transpose_square(b, columns)):
                    row = index * lanes + lane
                    address = b.at(y, 4 * row * operator.y_view[-2], b.multiply(column, 4))

                    def store(value: Register = value, address: Register = address) -> None:
                        b.store_masked(value, address, partial_mask(lanes, count))

                    b.if_(b.compare("slt", b.integer(row), rest), store)

        b.in_steps(operator.depth, lanes, square)


@lowers(Attention, needs=(is_float, is_plain))
def attention(op: Op[Attention], target: TargetDescription) -> Kernel | None:
    """Of any matrices of single precision; scores alone are the reference's."""
    return FlashAttention(op.operator).kernel(target) if op.operands.v is not None else None
