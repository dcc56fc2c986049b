"""Convolution of 3 x 3 windows by Winograd's algorithm in blocks of 16 channels; see :mod:`tilewright.ir.winograd`.

A work item is some vectors of output channels of some tiles of m x m outputs. The transformed inputs of the tiles, for
all input channels, are made in scratch memory by the first item of a call that needs them, and stay there for those
that follow. Then each of the n x n products, a matrix product of tiles by channels, is held in registers like a tile of
:mod:`.direct_convolution`, and the last transform ends with bias, residual and activation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK
from ....ir.ops.convolution import Conv
from ....ir.winograd import WINOGRAD, Winograd
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I64, Register, Registers, constant, partial_mask, zero
from ..tensors import is_float
from .activation import what_follows
from .channel_tiles import ChannelTiles, WorkItem
from .output_channels import VECTOR_BYTES, FloatOutput
from .products.blocking import Work, choose_tile
from .window import Axis, walked
from .window_walk import over

VECTOR = F32.of(CHANNEL_BLOCK)

_LINE = 64
"""Bytes between products of one tile more than they take: at powers of two they would evict each other from caches."""


@dataclass(frozen=True)
class WinogradConvolution(FloatOutput):
    """Convolution of stride 1 over an image, then bias, residual and activation; single precision.

    Arguments: x, layout ``c16``; w [O, C, 3, 3] in the layout of the algorithm; bias [O]; residual and result, layout
    ``c16``. The result may lie where the residual lies.

    Attributes:
        outputs: O.
        algorithm: layout of w.
    """

    outputs: int
    algorithm: str

    def generate(self, target: TargetDescription) -> Kernel:
        return _Generator(self, target).generate()


class _Generator:
    """The kernel's function, and those of its three phases."""

    def __init__(self, spec: WinogradConvolution, target: TargetDescription) -> None:
        self.spec = spec
        self.transforms: Winograd = WINOGRAD[spec.algorithm]
        self.n, self.m = self.transforms.extent, self.transforms.tile
        self.input_blocks, self.output_blocks = (-(-c // CHANNEL_BLOCK) for c in (spec.channels, spec.outputs))
        self.down, self.across = (-(-axis.output // self.m) for axis in (spec.rows, spec.columns))
        tiles = spec.batch * self.down * self.across
        line = Axis.line(tiles)
        work = Work(Axis.line(1), line, spec.channels, self.output_blocks)
        _, self.together, self.vectors = choose_tile(work, target)
        self.together = -(-tiles // -(-tiles // self.together))
        # The transformed inputs of a work item stay in the second level cache.
        runs = -(-tiles // self.together)
        run_bytes = self.n**2 * self.input_blocks * self.together * VECTOR_BYTES
        runs_in_block = max(1, min(runs, target.cache_bytes[1] // 2 // run_bytes))
        runs_in_block = -(-runs // -(-runs // runs_in_block))
        self.block = runs_in_block * self.together
        self.cut = ChannelTiles(1, 1, spec.outputs, CHANNEL_BLOCK, self.vectors, tiles, self.block)
        self.v_step = self.input_blocks * self.block * VECTOR_BYTES + _LINE
        self.m_step = self.vectors * self.block * VECTOR_BYTES + _LINE
        self.w_step = self.input_blocks * CHANNEL_BLOCK * VECTOR_BYTES
        self.b, self.arguments = spec.entry(target, writes=("residual", "y"))
        self.functions: dict[str, FunctionBuilder] = {}

    def generate(self) -> Kernel:
        b = self.b
        # The first of the tiles whose transformed inputs lie in the scratch memory.
        self.present = b.allocate(I64)
        b.store(constant(I64, -1), self.present)
        self.cut.walk(b, self.arguments, self._item)
        scratch = self.n**2 * (self.v_step + self.m_step)
        return self.spec.finish(b, [*self.functions.values()], units=self.cut.units, scratch_bytes=scratch)

    def _item(self, item: WorkItem, vectors: int, active: int) -> None:
        b, a, spec = self.b, self.arguments, self.spec
        scratch = a["scratch"]
        is_new = b.compare("ne", b.load(I64, self.present), item.first_row)
        b.if_(is_new, lambda: self._inputs(item), lambda: None)
        w = b.at(a["w"], b.multiply(item.block, self.n**2 * self.w_step))
        sums = b.at(scratch, self.n**2 * self.v_step)
        runs = b.divide(b.add(b.subtract(item.last_row, item.first_row), self.together - 1), self.together)

        def product(index: Register) -> None:
            v, products = (b.at(p, b.multiply(index, s)) for p, s in ((scratch, self.v_step), (sums, self.m_step)))
            weights = b.at(w, b.multiply(index, self.w_step))

            def run(index: Register) -> None:
                offset = b.multiply(index, self.together * VECTOR_BYTES)
                arguments = (b.at(v, offset), weights, b.at(products, offset))
                self._call(f"product{vectors}", ("v", "w", "m"), arguments, lambda f: self._product(f, vectors))

            b.each(0, runs, run)

        b.each(0, self.n**2, product)
        values = spec.item_values(b, a, item.block, vectors, active)
        out_block = spec.rows.output * spec.columns.output * VECTOR_BYTES

        def tile(index: Register) -> None:
            image, top, left = self._place(index)
            products = b.at(sums, b.multiply(b.subtract(index, item.first_row), VECTOR_BYTES))
            block = b.add(b.multiply(image, self.output_blocks), item.block)
            pixel = b.add(b.multiply(top, spec.columns.output), left)
            offset = b.add(b.multiply(block, out_block), b.multiply(pixel, VECTOR_BYTES))
            bounds = b.subtract(spec.rows.output, top), b.subtract(spec.columns.output, left)
            for q in range(vectors):
                present = active if q == vectors - 1 and not spec.keeps_zero else CHANNEL_BLOCK
                names = ["m", "start", "rows", "columns", *self._written]
                places = [b.at(a[name], b.add(offset, q * out_block)) for name in self._written]
                start = b.at(products, q * self.block * VECTOR_BYTES), values[f"start{q}"]
                self._call(
                    f"output{present}", names, (*start, *bounds, *places), lambda f, n=present: self._output(f, n)
                )

        b.each(item.first_row, item.last_row, tile)

    @property
    def _written(self) -> list[str]:
        return [name for name in ("residual", "y") if name in self.arguments]

    def _place(self, index: Register) -> tuple[Register, Register, Register]:
        """Image, and first output row and column, of a tile."""
        b, per_image = self.b, self.down * self.across
        image, within = b.divide(index, per_image), b.remainder(index, per_image)
        down, across = b.divide(within, self.across), b.remainder(within, self.across)
        return image, b.multiply(down, self.m), b.multiply(across, self.m)

    def _call(
        self, key: str, names: Sequence[str], arguments: Registers, generate: Callable[[FunctionBuilder], None]
    ) -> None:
        """Call an internal function, which is a unit of register allocation."""
        name = f"{self.b.name}_{key}"
        if key not in self.functions:
            parameters = [(n, value.type) for n, value in zip(names, arguments, strict=True)]
            read_only = ("x", "v", "w") if key != "output" else ()
            self.functions[key] = FunctionBuilder(
                self.b.target, name, parameters, internal=True, read_only=[n for n in names if n in read_only]
            )
            generate(self.functions[key])
            self.functions[key].return_()
        self.b.call(name, None, arguments)

    def _inputs(self, item: WorkItem) -> None:
        """Transform the inputs of the tiles of a work item."""
        b, spec = self.b, self.spec
        image_bytes = self.input_blocks * spec.rows.input * spec.columns.input * VECTOR_BYTES
        b.store(item.first_row, self.present)

        def tile(index: Register) -> None:
            image, top, left = self._place(index)
            x = b.at(self.arguments["x"], b.multiply(image, image_bytes))
            v = b.at(self.arguments["scratch"], b.multiply(b.subtract(index, item.first_row), VECTOR_BYTES))
            origin = b.subtract(top, spec.rows.before), b.subtract(left, spec.columns.before)
            self._call("input", ("x", "v", "top", "left"), (x, v, *origin), self._input)

        b.each(item.first_row, item.last_row, tile)

    def _input(self, f: FunctionBuilder) -> None:
        """The tile whose first input, which may lie before the image, is at (top, left)."""
        x, v, top, left = f.arguments
        n, rows, columns = self.n, self.spec.rows, self.spec.columns
        zeros = f.table(f"{f.name}_zeros", F32, [0.0] * CHANNEL_BLOCK)
        work = f.allocate(VECTOR, n * n)
        seen = [f.compare("ult", f.add(left, j), columns.input) for j in range(n)]

        def block(index: Register) -> None:
            image = f.at(x, f.multiply(index, rows.input * columns.input * VECTOR_BYTES))
            image = f.at(image, f.multiply(left, VECTOR_BYTES))

            def row(i: Register) -> None:
                y = f.add(top, i)
                line = f.at(image, f.multiply(y, columns.input * VECTOR_BYTES))
                is_inside = f.compare("ult", y, rows.input)
                values = []
                for j in range(n):
                    here = f.binary("and", is_inside, seen[j])
                    values.append(f.load(VECTOR, f.select(here, f.at(line, j * VECTOR_BYTES), zeros)))
                for j, value in enumerate(_apply(f, self.transforms.inputs, values)):
                    f.store(value, f.at(work, f.multiply(i, VECTOR_BYTES), j * n * VECTOR_BYTES))

            f.each(0, n, row)
            target = f.at(v, f.multiply(index, self.block * VECTOR_BYTES))

            def column(j: Register) -> None:
                line = f.at(work, f.multiply(j, n * VECTOR_BYTES))
                values = [f.load(VECTOR, line, i * VECTOR_BYTES) for i in range(n)]
                place = f.at(target, f.multiply(j, self.v_step))
                for i, value in enumerate(_apply(f, self.transforms.inputs, values)):
                    f.store(value, f.at(place, i * n * self.v_step))

            f.each(0, n, column)

        f.each(0, self.input_blocks, block)

    def _product(self, f: FunctionBuilder, vectors: int) -> None:
        """Neighbouring tiles by vectors of output channels, over all input channels, at one of the n x n positions."""
        v, w, m = f.arguments
        positions = [(p, q) for p in range(self.together) for q in range(vectors)]

        def channel(pointers: Registers, sums: Registers) -> Registers:
            x, w = pointers
            weights = [f.load(VECTOR, w, q * self.n**2 * self.w_step) for q in range(vectors)]
            sums_after = []
            for p in range(self.together):
                value = f.splat(f.load(F32, x, p * VECTOR_BYTES), CHANNEL_BLOCK)
                sums_after += [f.fma(value, weights[q], sums[p * vectors + q]) for q in range(vectors)]
            return tuple(sums_after)

        def block(pointers: Registers, sums: Registers) -> Registers:
            return over(f, CHANNEL_BLOCK, (F32.bytes, VECTOR_BYTES), pointers, sums, channel)

        distances = self.block * VECTOR_BYTES, CHANNEL_BLOCK * VECTOR_BYTES
        whole, rest = divmod(self.spec.channels, CHANNEL_BLOCK)
        sums = over(f, whole, distances, (v, w), (zero(VECTOR),) * len(positions), block)
        last = tuple(f.at(p, whole * distance) for p, distance in zip((v, w), distances, strict=True))
        sums = over(f, rest, (F32.bytes, VECTOR_BYTES), last, sums, channel)
        for (p, q), total in zip(positions, sums, strict=True):
            f.store(total, f.at(m, (q * self.block + p) * VECTOR_BYTES))

    def _output(self, f: FunctionBuilder, active: int) -> None:
        """The m x m outputs, as far as there are so many rows and columns, of a tile and a vector of channels."""
        spec, n, m, width = self.spec, self.n, self.m, self.spec.columns.output
        products, start, rows, columns, *places = f.arguments
        mask = partial_mask(CHANNEL_BLOCK, active)
        work = f.allocate(VECTOR, n * m)

        def column(j: Register) -> None:
            place = f.at(products, f.multiply(j, self.m_step))
            values = [f.load(VECTOR, place, i * n * self.m_step) for i in range(n)]
            for i, value in enumerate(_apply(f, self.transforms.outputs, values)):
                f.store(value, f.at(work, f.multiply(j, VECTOR_BYTES), i * n * VECTOR_BYTES))

        f.each(0, n, column)

        def row(i: Register) -> None:
            line = f.at(work, f.multiply(i, n * VECTOR_BYTES))
            values = [f.load(VECTOR, line, j * VECTOR_BYTES) for j in range(n)]
            offset = f.multiply(i, width * VECTOR_BYTES)
            for j, value in enumerate(_apply(f, self.transforms.outputs, values)):

                def write(j: int = j, value: Register = value) -> None:
                    total = f.binary("fadd", value, start)
                    *residual, y = (f.at(place, offset, j * VECTOR_BYTES) for place in places)
                    for each in residual:
                        total = f.binary("fadd", total, f.load(VECTOR, each))
                    total = spec.activation.apply(f, total)
                    f.store(total if mask is None else f.select(mask, total, zero(VECTOR)), y)

                if width % m and j >= width % m:
                    f.if_(f.compare("sgt", columns, j), write, lambda: None)
                else:
                    write()

        f.each(0, f.minimum(rows, m), row)


def _apply(b: FunctionBuilder, matrix: np.ndarray, values: Sequence[Register]) -> list[Register]:
    """A matrix of constants times vectors.

    Rows, or columns, of opposite points share what they have in common: sums of even terms and of odd ones.
    """
    count = len(values)
    pairs = range(1, len(matrix) - 1, 2) if len(matrix) == count else range(1, count - 1, 2)

    def combined(terms: Sequence[tuple[float, Register]]) -> Register:
        terms = sorted(((c, v) for c, v in terms if c), key=lambda term: term[0] != 1)
        total: Register | None = None
        for factor, value in terms:
            if total is None:
                total = value if factor == 1 else b.binary("fmul", value, constant(value.type, factor))
            elif abs(factor) == 1:
                total = b.binary("fadd" if factor == 1 else "fsub", total, value)
            else:
                total = b.fma(value, constant(value.type, factor), total)
        assert total is not None
        return total

    if len(matrix) == count:
        results = [
            combined([*zip(row, values, strict=True)]) if i in (0, count - 1) else None for i, row in enumerate(matrix)
        ]
        for i in pairs:
            even, odd = (combined([*zip(matrix[i][s::2], values[s::2], strict=True)]) for s in (0, 1))
            results[i : i + 2] = b.binary("fadd", even, odd), b.binary("fsub", even, odd)
        return [each for each in results if each is not None]
    sums = {i: [b.binary(how, values[i], values[i + 1]) for how in ("fadd", "fsub")] for i in pairs}
    ends = [(0, values[0]), (count - 1, values[-1])]
    return [
        combined([*((row[i], value) for i, value in ends), *((row[i], sums[i][k % 2]) for i in pairs)])
        for k, row in enumerate(matrix)
    ]


@lowers(Conv)
def winograd_convolution(op: Op[Conv], target: TargetDescription) -> Kernel | None:
    """Convolution whose weights have been transformed."""
    conv, x, w, residual = op.operator, op.operands.x.type, op.operands.w.type, op.operands.residual
    activations = [x, op.result.type, *([residual.type] if residual is not None else [])]
    if w.layout not in WINOGRAD or any(type.layout != "c16" for type in activations) or not is_float(op):
        return None
    if conv.group != 1 or {*conv.strides, *conv.dilations} != {1}:
        return None
    (batch, channels), (rows, columns) = x.shape[:2], walked(conv.windows(x.shape, w.shape))
    spec = WinogradConvolution(batch, channels, rows, columns, w.shape[0], w.layout, **what_follows(op))
    return spec.kernel(target)
