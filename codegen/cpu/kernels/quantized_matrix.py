"""Products of 8-bit matrices with a known right factor, by dot products of four bytes; all activations row-major."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....ir.core import Op
from ....ir.layout import BLOCK, QUAD
from ....ir.ops.matmul import MatMul
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder
from ..llvm.byte_dot_product import ACCUMULATOR, BYTES, dot, flipped
from ..llvm.quantized_math import single
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, I32, PTR, Register, Registers, Type, constant, mask_constant, zero
from ..registry import lowers
from ..spec import KernelSpec
from .quantized_blocking import Work, choose_quantized_blocking
from .quantized_channels import Channels, channels_of, has_constant_channels
from .window import Axis

_STEP_BYTES = BLOCK * QUAD


@dataclass(frozen=True)
class QuantizedMatrix(KernelSpec):
    """Product of a matrix of activations and one of weights, bias, activation and requantisation.

    Arguments: x [rows, inner], row-major; w in layout ``o16i4`` or ``i4o16``; bias, which is not read; result [rows,
    outputs], row-major.

    Attributes:
        rows, outputs, inner: extents; ``inner`` is a multiple of four.
        channels: constants of the columns of the result.
        has_bias: there is an argument for it.
    """

    rows: int
    outputs: int
    inner: int
    channels: Channels
    has_bias: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("x", "w", *(("bias",) if self.has_bias else ()), "y")

    @property
    def vector_bytes(self) -> int:
        """Weights of 16 columns."""
        return -(-self.inner // BLOCK) * BLOCK * BLOCK

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


class _Walker:
    """The function that walks over blocks of rows and tiles of columns, and the tile functions."""

    def __init__(self, spec: QuantizedMatrix, target: TargetDescription) -> None:
        self.spec = spec
        self.target = target
        self.b = spec.entry(target, writes=("y",))
        self.arguments = spec.bind(self.b)
        self.tables = spec.channels.define(self.b, spec.name)
        self.tiles: dict[tuple[int, int, int], FunctionBuilder] = {}
        self.blocks = -(-spec.outputs // BLOCK)
        has_sums = bool(spec.channels.zeros)
        line = Axis(spec.rows, spec.rows, 1, 1, 1, 0)
        work = Work(Axis(1, 1, 1, 1, 1, 0), line, spec.inner // QUAD, 0, self.blocks, False, has_sums)
        blocking = choose_quantized_blocking(work, target)
        self.pixels, self.vectors = blocking.pixels, blocking.vectors

    def generate(self) -> Kernel:
        spec, b = self.spec, self.b
        column_tiles = -(-self.blocks // self.vectors)
        left = self.blocks - (column_tiles - 1) * self.vectors
        # Rows of x that stay in the cache while all columns go over them.
        height = max(1, self.target.cache_bytes[1] // 4 // max(1, spec.inner) // self.pixels) * self.pixels
        row_blocks = -(-spec.rows // height)

        def unit(index: Register, _: Registers) -> Sequence[Register]:
            tile, block = b.remainder(index, column_tiles), b.divide(index, column_tiles)
            first = b.multiply(block, height)
            last = b.minimum(b.add(first, height), spec.rows)

            def work(vectors: int, active: int) -> Registers:
                self._rows(first, last, b.multiply(tile, self.vectors), vectors, active)
                return ()

            active = (spec.outputs - 1) % BLOCK + 1
            if column_tiles == 1 or (left == self.vectors and active == BLOCK):
                work(left, active)
            else:
                is_last = b.compare("eq", tile, column_tiles - 1)
                b.if_(is_last, lambda: work(left, active), lambda: work(self.vectors, BLOCK))
            return ()

        b.loop(self.arguments["begin"], self.arguments["end"], unit)
        return spec.finish(b, list(self.tiles.values()), units=row_blocks * column_tiles)

    def _rows(self, first: Register, last: Register, block: Register, vectors: int, active: int) -> None:
        """Rows [first, last) of some vectors of columns; whole tiles, then what is left."""
        spec, b = self.spec, self.b
        w = b.at(self.arguments["w"], b.multiply(block, spec.vector_bytes))
        y = b.at(self.arguments["y"], b.multiply(block, BLOCK))
        offset = b.multiply(block, 4 * BLOCK)
        tables = [b.at(self.tables.get(n, self.tables["start"]), offset) for n in ("start", "factors", "zeros")]

        def tiles(count: int, begin: Register, end: Register) -> None:
            key = (count, vectors, active)
            if key not in self.tiles:
                self.tiles[key] = self._tile(*key)

            def tile(row: Register, _: Registers) -> Sequence[Register]:
                places = b.at(self.arguments["x"], b.multiply(row, spec.inner)), b.at(y, b.multiply(row, spec.outputs))
                b.call(self.tiles[key].name, None, (places[0], w, places[1], *tables))
                return ()

            b.loop(begin, end, tile, step=count)

        whole = b.multiply(b.divide(b.subtract(last, first), self.pixels), self.pixels)
        middle = b.add(first, whole)
        tiles(self.pixels, first, middle)
        left = spec.rows % self.pixels
        if left:
            tiles(left, middle, last)

    def _tile(self, rows: int, vectors: int, active: int) -> FunctionBuilder:
        spec, channels = self.spec, self.spec.channels
        parameters: list[tuple[str, Type]] = [(n, PTR) for n in ("x", "w", "y", "start", "factors", "zeros")]
        name = f"{spec.name}_tile{len(self.tiles)}"
        read_only = ("x", "w", "start", "factors", "zeros")
        b = FunctionBuilder(self.target, name, parameters, internal=True, read_only=read_only)
        x, w, y, start, factors, zeros = b.arguments
        starts = [b.load(ACCUMULATOR, b.at(start, 4 * BLOCK * q)) for q in range(vectors)]
        totals = [starts[q] for _ in range(rows) for q in range(vectors)]
        if channels.zeros:
            totals += [zero(ACCUMULATOR)] * rows

        def block(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, *totals = carried
            totals = self._steps(b, x, w, totals, rows, vectors, BLOCK // QUAD)
            return (b.at(x, BLOCK), b.at(w, BLOCK * BLOCK), *totals)

        x, w, *totals = b.loop(0, spec.inner // BLOCK, block, (x, w, *totals))
        totals = self._steps(b, x, w, totals, rows, vectors, spec.inner % BLOCK // QUAD)
        for q in range(vectors):
            factor = b.load(F32.of(BLOCK), b.at(factors, 4 * BLOCK * q))
            reals = []
            for p in range(rows):
                total = totals[p * vectors + q]
                if channels.zeros:
                    w_zero = b.load(ACCUMULATOR, b.at(zeros, 4 * BLOCK * q))
                    total = b.binary("sub", total, b.binary("mul", w_zero, totals[rows * vectors + p]))
                reals.append(b.binary("fmul", single(b, total), factor))
            is_partial = q == vectors - 1 and active < BLOCK
            self._store(b, reals, b.at(y, q * BLOCK), active if is_partial else BLOCK)
        b.return_()
        return b

    def _store(self, b: FunctionBuilder, reals: Sequence[Register], place: Register, active: int) -> None:
        """Vectors of neighbouring rows, of which the first lanes exist."""
        row = 0
        for packed in self.spec.channels.result.store_forms(b, reals, are_small=self.spec.channels.are_small):
            for first in range(0, packed.type.lanes, BLOCK):
                part = packed
                if packed.type.lanes > BLOCK:
                    part = b.shuffle(packed, packed, range(first, first + BLOCK))
                at = b.at(place, row * self.spec.outputs)
                if active == BLOCK:
                    b.store(part, at)
                else:
                    b.store_masked(part, at, mask_constant(BLOCK, active))
                row += 1

    def _steps(
        self,
        b: FunctionBuilder,
        x: Register,
        w: Register,
        totals: Sequence[Register],
        rows: int,
        vectors: int,
        count: int,
    ) -> list[Register]:
        """So many groups of four inputs."""
        channels, result = self.spec.channels, list(totals)
        for step in range(count):
            weights = [b.load(BYTES, b.at(w, q * self.spec.vector_bytes + step * _STEP_BYTES)) for q in range(vectors)]
            weights = [flipped(b, vector) for vector in weights] if channels.flips_w else weights
            for p in range(rows):
                word = b.load(I8.of(QUAD), b.at(x, p * self.spec.inner + QUAD * step))
                value = b.splat(b.convert("bitcast", word, I32), BLOCK)
                value = flipped(b, value) if channels.flips_x else value
                for q in range(vectors):
                    result[p * vectors + q] = dot(b, result[p * vectors + q], value, weights[q])
                if channels.zeros:
                    place = rows * vectors + p
                    result[place] = dot(b, result[place], value, constant(BYTES, 1))
        return result


@lowers(MatMul)
def quantized_matrix(op: Op, target: TargetDescription) -> Kernel | None:
    """Products with a known matrix that lies in order for dot products."""
    matmul = op.operator
    assert isinstance(matmul, MatMul)
    if not has_constant_channels(op) or op.inputs[0].type.layout or op.result.type.layout:
        return None
    x, w = op.inputs[0].type, op.inputs[1].type
    if matmul.transpose_a or w.layout != ("o16i4" if matmul.transpose_b else "i4o16") or x.shape[-1] % QUAD:
        return None
    inner = x.shape[-1]
    outputs = op.result.type.shape[-1]
    rows = x.elements // max(1, inner)
    if not rows * inner:
        return None
    return QuantizedMatrix(rows, outputs, inner, channels_of(op), len(op.inputs) > 2).kernel(target)
