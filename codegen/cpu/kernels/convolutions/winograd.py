"""Convolution by Winograd's algorithm in blocks of 16 channels; see `tilewright.ir.layout.Winograd`.

Larger windows than 3 x 3 are several of these side by side, each of which sees the image from another place: they count
as further input channels, so that their products are added up before the last transform. Along an axis where windows
see one input, nothing is transformed.

A work item is some vectors of output channels of some tiles of m x m outputs. The transformed inputs of the tiles, for
all input channels, are made in scratch memory by the first item of a call that needs them, and stay there for those
that follow. Then each of the n x n products, a matrix product of tiles by channels, is held in registers like a tile of
:mod:`.direct_convolution`, and the last transform ends with what follows the convolution.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from .....ir.layout import CHANNEL_BLOCK, WINDOW, Winograd
from ...kernel import Kernel
from ...llvm.builder import FunctionBuilder
from ...llvm.target import TargetDescription
from ...llvm.types import F32, I32, I64, Register, Registers, Type, constant, zero
from ..channel_tiles import ChannelTiles, WorkItem
from ..output_channels import VECTOR_BYTES
from ..products.blocking import Work, choose_tile, rows_of_item
from ..window import Axis
from ..window_walk import Values, WindowSpec, over

_LINE = 64
"""Bytes between products of one tile more than they take: at powers of two they would evict each other from caches."""

_AHEAD = 4096
"""Bytes of weights that are asked for before they are read: they are read once, one stream after the other, which the
processor alone does not foresee far enough."""

MOST_INPUTS = 4
"""Second level caches that transformed inputs may take: what is left of the third beside weights. With more, weights
are read for each block of tiles."""

_AS_IT_IS = np.ones((1, 1))
"""Transform along an axis where windows see one input each."""


def windows_of(rows: Axis, columns: Axis) -> tuple[int, int]:
    """Windows of 3 x 3 that a window is made of, down and across."""
    return -(-rows.kernel // WINDOW), -(-columns.kernel // WINDOW)


class WinogradSpec(WindowSpec):
    """Base: convolution of stride 1 over an image, of which subclasses say what is computed with.

    Arguments: x, layout ``c16``; w [O/16, n, n', windows, C/STEP, 16, STEP], transformed, C filled up to whole blocks;
    further operands and the result, layout ``c16``."""

    STEP: ClassVar[int]
    """Channels of four bytes of transformed inputs, which a product sums up."""

    outputs: int

    @property
    def windows(self) -> tuple[int, int]:
        """Windows of 3 x 3 that the window is made of, down and across."""
        return windows_of(self.rows, self.columns)

    @property
    @abstractmethod
    def transforms(self) -> Winograd:
        """The algorithm."""

    @property
    def fill(self) -> int:
        """What taps outside of the image hold, as it is stored."""
        return 0

    @property
    def inputs(self) -> Type:
        """Of 16 channels of transformed inputs, four bytes for each step."""
        return F32.of(CHANNEL_BLOCK)

    @property
    def sums(self) -> Type:
        """Of 16 output channels of products."""
        return F32.of(CHANNEL_BLOCK)

    @abstractmethod
    def load(self, f: FunctionBuilder, address: Register) -> Register:
        """16 channels of x, as transforms take them."""

    @abstractmethod
    def multiply(self, f: FunctionBuilder, x: Register, w: Register, total: Register) -> Register:
        """``total`` with the product of a step added, where ``x`` has the same four bytes in every lane."""

    @abstractmethod
    def of_block(self, b: FunctionBuilder, values: Values, q: int) -> Values:
        """Of what an item looked up what :meth:`write` needs for its vector ``q`` of output channels."""

    @abstractmethod
    def write(self, f: FunctionBuilder, call: Values, offset: Register, values: Registers, active: int) -> None:
        """Store what becomes of neighbouring pixels of 16 channels.
        ``call``: from :meth:`of_block`, and the pointers of the operands behind the weights and of the result.
        ``offset``: in bytes, of the first pixel there.
        ``active``: channels that exist."""

    def generate(self, target: TargetDescription) -> Kernel:
        return _Generator(self, target).generate()


class _Generator:
    """The kernel's function, and those of its three phases."""

    def __init__(self, spec: WinogradSpec, target: TargetDescription) -> None:
        self.spec = spec
        axes = spec.rows, spec.columns
        inputs, outputs = spec.transforms.inputs, spec.transforms.outputs
        self.inputs, self.outputs = ([m if a.kernel > 1 else _AS_IT_IS for a in axes] for m in (inputs, outputs))
        (self.n_down, self.n), (self.m_down, self.m) = map(len, self.inputs), map(len, self.outputs)
        self.products = self.n_down * self.n
        self.image_blocks, self.output_blocks = (-(-c // CHANNEL_BLOCK) for c in (spec.channels, spec.outputs))
        windows = math.prod(spec.windows)
        self.input_blocks = windows * self.image_blocks
        # Only those of one window end before their last block does.
        self.steps = -(-(spec.channels if windows == 1 else self.input_blocks * CHANNEL_BLOCK) // spec.STEP)
        self.down, self.across = -(-spec.rows.output // self.m_down), -(-spec.columns.output // self.m)
        self.x_pixel = CHANNEL_BLOCK * spec.element.bytes
        tiles = spec.batch * self.down * self.across
        work = Work(Axis.line(1), Axis.line(tiles), self.steps, self.output_blocks)
        _, self.together, self.vectors = choose_tile(work, target)
        self.together = -(-tiles // -(-tiles // self.together))
        runs, items = -(-tiles // self.together), -(-self.output_blocks // self.vectors)
        run_bytes = self.products * self.input_blocks * self.together * spec.inputs.bytes
        second = target.cache_bytes[1]
        # The transformed inputs of a work item stay in the second level cache, unless it is more to read all weights
        # for each such block than all inputs for each item.
        fitting = max(1, min(runs, second // 2 // run_bytes))
        inputs, weights = runs * run_bytes, self.products * self.input_blocks * self.output_blocks * CHANNEL_BLOCK
        weights *= CHANNEL_BLOCK // spec.STEP * I32.bytes
        if weights + items * inputs <= -(-runs // fitting) * weights and inputs <= MOST_INPUTS * second:
            fitting = runs
        runs_in_block = rows_of_item(runs, fitting, items, by_rows=False)
        self.block, self.tiles = runs_in_block * self.together, tiles
        self.cut = ChannelTiles(1, 1, spec.outputs, CHANNEL_BLOCK, self.vectors, runs, runs_in_block, is_even=True)
        self.v_step = self.input_blocks * self.block * spec.inputs.bytes + _LINE
        self.m_step = self.vectors * self.block * VECTOR_BYTES + _LINE
        self.w_step = self.input_blocks * CHANNEL_BLOCK // spec.STEP * VECTOR_BYTES
        self.b, self.arguments = spec.entry(target, writes=("residual", "y"))
        self.functions: dict[str, FunctionBuilder] = {}

    def generate(self) -> Kernel:
        b = self.b
        # The first of the tiles whose transformed inputs lie in the scratch memory.
        self.present = b.allocate(I64)
        b.store(constant(I64, -1), self.present)
        self.cut.walk(b, self.arguments, self._item)
        scratch = self.products * (self.v_step + self.m_step)
        helpers = [*self.functions.values()]
        return self.spec.finish(b, helpers, units=self.cut.units, scratch_bytes=scratch, common=self.cut.in_group)

    def _item(self, item: WorkItem, vectors: int, active: int) -> None:
        """Tiles in runs of those that are computed together."""
        first, last = (self.b.multiply(run, self.together) for run in (item.first_row, item.last_row))
        self._tiles(replace(item, first_row=first, last_row=self.b.minimum(last, self.tiles)), vectors, active)

    def _tiles(self, item: WorkItem, vectors: int, active: int) -> None:
        b, a, spec = self.b, self.arguments, self.spec
        scratch = a["scratch"]
        is_new = b.compare("ne", b.load(I64, self.present), item.first_row)
        b.if_(is_new, lambda: self._inputs(item))
        w = b.at(a["w"], b.multiply(item.block, self.products * self.w_step))
        sums = b.at(scratch, self.products * self.v_step)
        runs = b.divide(b.add(b.subtract(item.last_row, item.first_row), self.together - 1), self.together)

        def product(index: Register) -> None:
            v, products = (b.at(p, b.multiply(index, s)) for p, s in ((scratch, self.v_step), (sums, self.m_step)))
            weights = b.at(w, b.multiply(index, self.w_step))

            def run(index: Register) -> None:
                first = b.multiply(index, self.together)
                x, y = b.at(v, b.multiply(first, spec.inputs.bytes)), b.at(products, b.multiply(first, VECTOR_BYTES))
                self._call(f"product{vectors}", ("v", "w", "m"), (x, weights, y), lambda f: self._product(f, vectors))

            b.each(0, runs, run)

        b.each(0, self.products, product)
        values = spec.item_values(b, a, item.block, vectors, active)
        out_block = spec.rows.output * spec.columns.output * self.x_pixel

        def tile(index: Register) -> None:
            image, top, left = self._place(index)
            products = b.at(sums, b.multiply(b.subtract(index, item.first_row), VECTOR_BYTES))
            block = b.add(b.multiply(image, self.output_blocks), item.block)
            pixel = b.add(b.multiply(top, spec.columns.output), left)
            offset = b.add(b.multiply(block, out_block), b.multiply(pixel, self.x_pixel))
            bounds = b.subtract(spec.rows.output, top), b.subtract(spec.columns.output, left)
            for q in range(vectors):
                is_cut = q == vectors - 1 and spec.element.is_float and not spec.keeps_zero
                present = active if is_cut else CHANNEL_BLOCK
                call = {"m": b.at(products, q * self.block * VECTOR_BYTES), "rows": bounds[0], "columns": bounds[1]}
                written = [name for name in ("residual", "y") if name in self.arguments]
                call |= {name: b.at(a[name], b.add(offset, q * out_block)) for name in written}
                call |= spec.of_block(b, values, q)
                names = [*call]
                self._call(
                    f"output{present}",
                    names,
                    (*call.values(),),
                    lambda f, n=present, names=names: self._output(f, dict(zip(names, f.arguments, strict=True)), n),
                )

        b.each(item.first_row, item.last_row, tile)

    def _place(self, index: Register) -> tuple[Register, Register, Register]:
        """Image, and first output row and column, of a tile."""
        b, per_image = self.b, self.down * self.across
        image, within = b.divide(index, per_image), b.remainder(index, per_image)
        down, across = b.divide(within, self.across), b.remainder(within, self.across)
        return image, b.multiply(down, self.m_down), b.multiply(across, self.m)

    def _call(
        self, key: str, names: Sequence[str], arguments: Registers, generate: Callable[[FunctionBuilder], None]
    ) -> None:
        """Call an internal function, which is a unit of register allocation."""
        name = f"{self.b.name}_{key}"
        if key not in self.functions:
            parameters = [(n, value.type) for n, value in zip(names, arguments, strict=True)]
            read_only = ("x", "v", "w", "factors")
            self.functions[key] = FunctionBuilder(
                self.b.target, name, parameters, internal=True, read_only=[n for n in names if n in read_only]
            )
            generate(self.functions[key])
            self.functions[key].return_()
        self.b.call(name, None, arguments)

    def _inputs(self, item: WorkItem) -> None:
        """Transform the inputs of the tiles of a work item."""
        b, spec = self.b, self.spec
        image_bytes = self.image_blocks * spec.rows.input * spec.columns.input * self.x_pixel
        b.store(item.first_row, self.present)

        def tile(index: Register) -> None:
            image, top, left = self._place(index)
            x = b.at(self.arguments["x"], b.multiply(image, image_bytes))
            v = b.at(self.arguments["scratch"], b.multiply(b.subtract(index, item.first_row), spec.inputs.bytes))
            (count, columns), step = spec.windows, self.image_blocks * self.block * spec.inputs.bytes
            top, left = b.subtract(top, spec.rows.before), b.subtract(left, spec.columns.before)

            def window(down: Register, across: Register) -> None:
                here = b.at(v, b.multiply(b.add(b.multiply(down, columns), across), step))
                origin = b.add(top, b.multiply(down, WINDOW)), b.add(left, b.multiply(across, WINDOW))
                self._call("input", ("x", "v", "top", "left"), (x, here, *origin), self._input)

            b.each(0, count, lambda down: b.each(0, columns, lambda across: window(down, across)))

        b.each(item.first_row, item.last_row, tile)

    def _input(self, f: FunctionBuilder) -> None:
        """The tile whose first input, which may lie before the image, is at (top, left)."""
        x, v, top, left = f.arguments
        spec, rows, columns = self.spec, self.spec.rows, self.spec.columns
        (down, across), n_down, n = self.inputs, self.n_down, self.n
        outside = f.table(f"{f.name}_outside", spec.element, [spec.fill] * CHANNEL_BLOCK)
        type, size = spec.inputs, spec.inputs.bytes
        work = f.allocate(type, self.products)
        seen = [f.compare("ult", f.add(left, j), columns.input) for j in range(n)]

        def block(index: Register) -> None:
            image = f.at(x, f.multiply(index, rows.input * columns.input * self.x_pixel))
            image = f.at(image, f.multiply(left, self.x_pixel))

            def row(i: Register) -> None:
                y = f.add(top, i)
                line = f.at(image, f.multiply(y, columns.input * self.x_pixel))
                is_inside = f.compare("ult", y, rows.input)
                values = []
                for j in range(n):
                    here = f.binary("and", is_inside, seen[j])
                    values.append(spec.load(f, f.select(here, f.at(line, j * self.x_pixel), outside)))
                for j, value in enumerate(_apply(f, across, values)):
                    f.store(value, f.at(work, f.multiply(i, size), j * n_down * size))

            f.each(0, n_down, row)
            target = f.at(v, f.multiply(index, self.block * size))

            def column(j: Register) -> None:
                line = f.at(work, f.multiply(j, n_down * size))
                values = [f.load(type, line, i * size) for i in range(n_down)]
                place = f.at(target, f.multiply(j, self.v_step))
                for i, value in enumerate(_apply(f, down, values)):
                    f.store(value, f.at(place, i * n * self.v_step))

            f.each(0, n, column)

        f.each(0, self.image_blocks, block)

    def _product(self, f: FunctionBuilder, vectors: int) -> None:
        """Neighbouring tiles by vectors of output channels, over all input channels, at one of the n x n positions."""
        spec, (v, w, m) = self.spec, f.arguments
        positions = [(p, q) for p in range(self.together) for q in range(vectors)]
        step = I32.bytes, VECTOR_BYTES
        scalar = F32 if spec.inputs.is_float else I32

        def channels(pointers: Registers, sums: Registers) -> Registers:
            x, w = pointers
            weights = [f.load(scalar.of(CHANNEL_BLOCK), w, q * self.products * self.w_step) for q in range(vectors)]
            for q in range(vectors):
                f.prefetch(f.at(w, q * self.products * self.w_step + _AHEAD))
            sums_after = []
            for p in range(self.together):
                value = f.splat(f.load(scalar, x, p * spec.inputs.bytes), CHANNEL_BLOCK)
                sums_after += [spec.multiply(f, value, weights[q], sums[p * vectors + q]) for q in range(vectors)]
            return tuple(sums_after)

        def block(pointers: Registers, sums: Registers) -> Registers:
            return over(f, steps, step, pointers, sums, channels)

        steps = CHANNEL_BLOCK // spec.STEP
        distances = self.block * spec.inputs.bytes, steps * VECTOR_BYTES
        whole, rest = divmod(self.steps, steps)
        sums = over(f, whole, distances, (v, w), (zero(spec.sums),) * len(positions), block)
        last = tuple(f.at(p, whole * distance) for p, distance in zip((v, w), distances, strict=True))
        sums = over(f, rest, step, last, sums, channels)
        for (p, q), total in zip(positions, sums, strict=True):
            f.store(total, f.at(m, (q * self.block + p) * VECTOR_BYTES))

    def _output(self, f: FunctionBuilder, call: Values, active: int) -> None:
        """The outputs, as far as there are so many rows and columns, of a tile and a vector of channels."""
        spec, n, m, width = self.spec, self.n, self.m, self.spec.columns.output
        down, across = self.outputs
        work = f.allocate(spec.sums, n * self.m_down)

        def column(j: Register) -> None:
            place = f.at(call["m"], f.multiply(j, self.m_step))
            values = [f.load(spec.sums, place, i * n * self.m_step) for i in range(self.n_down)]
            for i, value in enumerate(_apply(f, down, values)):
                f.store(value, f.at(work, f.multiply(j, VECTOR_BYTES), i * n * VECTOR_BYTES))

        f.each(0, n, column)
        # Of the last tile of a row so many columns are in the image.
        surely = width % m or m

        def row(i: Register) -> None:
            line = f.at(work, f.multiply(i, n * VECTOR_BYTES))
            values = tuple(_apply(f, across, [f.load(spec.sums, line, j * VECTOR_BYTES) for j in range(n)]))
            offset = f.multiply(i, width * self.x_pixel)
            spec.write(f, call, offset, values[:surely], active)
            if surely < m:
                further = f.add(offset, surely * self.x_pixel)
                is_whole = f.compare("sgt", call["columns"], surely)
                f.if_(is_whole, lambda: spec.write(f, call, further, values[surely:], active))

        f.each(0, f.minimum(call["rows"], self.m_down), row)


def _apply(b: FunctionBuilder, matrix: np.ndarray, values: Sequence[Register]) -> list[Register]:
    """A matrix of constants times vectors.

    Rows, or columns, of opposite points share what they have in common: sums of even terms and of odd ones."""
    count, type = len(values), values[0].type
    add, subtract, multiply = ("fadd", "fsub", "fmul") if type.is_float else ("add", "sub", "mul")
    pairs = range(1, len(matrix) - 1, 2) if len(matrix) == count else range(1, count - 1, 2)

    def combined(terms: Sequence[tuple[float, Register]]) -> Register:
        terms = sorted(((c, v) for c, v in terms if c), key=lambda term: term[0] != 1)
        total: Register | None = None
        for factor, value in terms:
            if total is None:
                total = value if factor == 1 else b.binary(multiply, value, constant(type, factor))
            elif abs(factor) == 1:
                total = b.binary(add if factor == 1 else subtract, total, value)
            elif type.is_float:
                total = b.fma(value, constant(type, factor), total)
            else:
                term = b.binary(multiply, value, constant(type, abs(factor)))
                total = b.binary(add if factor > 0 else subtract, total, term)
        assert total is not None
        return total

    if len(matrix) == count:
        results = [
            combined([*zip(row, values, strict=True)]) if i in (0, count - 1) else None for i, row in enumerate(matrix)
        ]
        for i in pairs:
            even, odd = (combined([*zip(matrix[i][s::2], values[s::2], strict=True)]) for s in (0, 1))
            results[i : i + 2] = b.binary(add, even, odd), b.binary(subtract, even, odd)
        return [each for each in results if each is not None]
    sums = {i: [b.binary(how, values[i], values[i + 1]) for how in (add, subtract)] for i in pairs}
    ends = [(0, values[0]), (count - 1, values[-1])]
    return [
        combined([*((row[i], value) for i, value in ends), *((row[i], sums[i][k % 2]) for i in pairs)])
        for k, row in enumerate(matrix)
    ]
