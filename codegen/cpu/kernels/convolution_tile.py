"""The innermost functions of a direct convolution: one tile of output pixels by output channels, in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....ir.layout import BLOCK
from ..llvm.builder import FunctionBuilder, Integer
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I1, I64, PTR, Register, Registers, Type, mask_constant, zero
from .activation import Activation
from .window import Run, Tile

VECTOR = F32.of(BLOCK)
VECTOR_BYTES = 4 * BLOCK


@dataclass(frozen=True)
class TileShape:
    """What the tiles of one convolution have in common; strides are in bytes.

    Attributes:
        steps: input channels side by side in memory: 16, or 1 for a row-major input.
        pixel, column, row, block: distances in the input between neighbouring output pixels, kernel columns, kernel
            rows, and blocks of input channels.
        kernel_row, kernel_block, vector: distances in the weights between kernel rows, blocks of input channels, and
            vectors of output channels.
        output_vector: distance in residual and result between vectors of output channels.
        kernel_rows: rows of the kernel; all of them are always in reach if ``fixed_rows``, at least one if
            ``always_reaches``.
        blocks: blocks of input channels that a call goes through, unless chunked.
        chunked: the input channels are spread over several calls, which say which is the first and the last.
        prefetch: cache lines of following weights to ask for, by each call and for each vector.
        spread: how many of them after each round of the innermost loop; 0 for all of them at once, where they are few.
    """

    steps: int
    pixel: int
    column: int
    row: int
    block: int
    kernel_row: int
    kernel_block: int
    vector: int
    output_vector: int
    kernel_rows: int
    always_reaches: bool
    fixed_rows: bool
    blocks: int
    chunked: bool
    has_residual: bool
    activation: Activation
    prefetch: int = 0
    spread: int = 0

    @property
    def tap_bytes(self) -> int:
        """Weights of one tap for one vector and the channels of one block."""
        return self.steps * VECTOR_BYTES


def unrolled_steps(steps: int, pixels: int, vectors: int, target: TargetDescription) -> int:
    """Input channels that a round of the innermost loop works through.

    Four multiply-adds for each register hide the loop; with more of them, LLVM's scheduler moves loads so far up that
    it lacks registers for what they load.
    """
    sums = pixels * vectors * max(1, BLOCK // target.lanes)
    while steps > 1 and steps * sums > 4 * target.registers:
        steps //= 2
    return steps


@dataclass(frozen=True)
class TileCall:
    """Arguments of a tile function."""

    x: Register
    w: Register
    residual: Register | None
    y: Register
    kernel_rows: Register
    blocks: Register
    first: Register
    last: Register
    following: Register
    bias: Registers


class TileGenerator:
    """Makes the tile functions of a kernel, each once."""

    def __init__(self, target: TargetDescription, symbol: str, shape: TileShape) -> None:
        self.functions: dict[tuple[Tile, int, int], FunctionBuilder] = {}
        self._target = target
        self._symbol = symbol
        self._shape = shape

    def call(self, b: FunctionBuilder, tile: Tile, active: int, arguments: TileCall) -> None:
        """Call the function of a tile from ``b``.

        Args:
            active: channels in the last vector; the other lanes are set to zero where the activation does not.
        """
        a = arguments
        if self._shape.activation.keeps_zero:
            active = BLOCK
        key = (tile, len(a.bias), active)
        if key not in self.functions:
            self.functions[key] = self._generate(tile, len(a.bias), active, len(self.functions))
        residual = (a.residual,) if a.residual is not None else ()
        chunk = (a.blocks, a.first, a.last) if self._shape.chunked else ()
        values = (a.x, a.w, *residual, a.y, a.kernel_rows, *chunk, a.following, *a.bias)
        b.call(self.functions[key].name, None, values)

    def _generate(self, tile: Tile, vectors: int, active: int, number: int) -> FunctionBuilder:
        shape = self._shape
        parameters: list[tuple[str, Type]] = [("x", PTR), ("w", PTR)]
        parameters += [("residual", PTR)] if shape.has_residual else []
        parameters += [("y", PTR), ("kernel_rows", I64)]
        parameters += [("blocks", I64), ("first", I1), ("last", I1)] if shape.chunked else []
        parameters += [("following", PTR), *((f"bias{q}", VECTOR) for q in range(vectors))]
        name = f"{self._symbol}_tile{number}"
        b = FunctionBuilder(self._target, name, parameters, internal=True, read_only=("x", "w"))
        arguments = {parameter: value for (parameter, _), value in zip(parameters, b.arguments, strict=True)}
        _Tile(b, shape, tile, vectors, active, arguments).generate()
        return b


class _Tile:
    """The body of one tile function."""

    def __init__(
        self,
        b: FunctionBuilder,
        shape: TileShape,
        tile: Tile,
        vectors: int,
        active: int,
        arguments: dict[str, Register],
    ) -> None:
        self.b = b
        self.shape = shape
        self.tile = tile
        self.vectors = vectors
        self.active = active
        self.arguments = arguments
        self.places = [(p, q) for p in range(tile.pixels) for q in range(vectors)]

    def generate(self) -> None:
        b, shape, a = self.b, self.shape, self.arguments
        if not shape.spread:
            self._prefetch(a["following"], shape.prefetch)
        if shape.chunked:
            sums = b.if_(a["first"], self._start, self._resume)
            blocks = a["blocks"]
        else:
            sums = self._start()
            blocks = b.integer(shape.blocks)
        # The address to prefetch from goes through the loops behind the sums.
        *sums, _ = self._over_blocks(blocks, (*sums, a["following"]))
        if shape.chunked:
            b.if_(a["last"], lambda: self._finish(sums), lambda: self._suspend(sums))
        else:
            self._finish(sums)
        b.return_()

    def _prefetch(self, place: Register, lines: int) -> None:
        for q in range(self.vectors):
            for line in range(lines):
                self.b.prefetch(self.b.at(place, q * self.shape.vector + line * 64))

    def _output(self, name: str, p: int, q: int) -> Register:
        return self.b.at(self.arguments[name], q * self.shape.output_vector + p * VECTOR_BYTES)

    def _start(self) -> Registers:
        """Bias and residual. The residual comes first because the result may lie in its place."""
        b = self.b
        biases = [self.arguments[f"bias{q}"] for q in range(self.vectors)]
        if not self.shape.has_residual:
            return tuple(biases[q] for _, q in self.places)
        return tuple(
            b.binary("fadd", b.load(VECTOR, self._output("residual", p, q)), biases[q]) for p, q in self.places
        )

    def _resume(self) -> Registers:
        return tuple(self.b.load(VECTOR, self._output("y", p, q)) for p, q in self.places)

    def _suspend(self, sums: Sequence[Register]) -> Registers:
        for (p, q), value in zip(self.places, sums, strict=True):
            self.b.store(value, self._output("y", p, q))
        return ()

    def _finish(self, sums: Sequence[Register]) -> Registers:
        if self.shape.activation.is_light:
            self._suspend([self._activated(value, q) for (_, q), value in zip(self.places, sums, strict=True)])
            return ()
        self._suspend(sums)
        b = self.b

        def pixel(index: Register, _: Registers) -> Registers:
            base = b.at(self.arguments["y"], b.multiply(index, VECTOR_BYTES))
            for q in range(self.vectors):
                place = b.at(base, q * self.shape.output_vector)
                b.store(self._activated(b.load(VECTOR, place), q), place)
            return ()

        b.loop(0, self.tile.pixels, pixel)
        return ()

    def _activated(self, value: Register, q: int) -> Register:
        value = self.shape.activation.apply(self.b, value)
        if q == self.vectors - 1 and self.active < BLOCK:
            value = self.b.select(mask_constant(BLOCK, self.active), value, zero(VECTOR))
        return value

    def _over_blocks(self, blocks: Integer, sums: Sequence[Register]) -> Registers:
        b, shape = self.b, self.shape

        def block(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, *sums = carried
            sums = self._over_kernel_rows(x, w, sums)
            return (b.at(x, shape.block), b.at(w, shape.kernel_block), *sums)

        start = (self.arguments["x"], self.arguments["w"], *sums)
        return b.loop(0, blocks, block, start, runs=True)[2:]

    def _over_kernel_rows(self, x: Register, w: Register, sums: Sequence[Register]) -> Registers:
        b, shape = self.b, self.shape

        def row(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, *sums = carried
            for run in self.tile.runs:
                sums = self._over_run(run, x, w, sums)
            return (b.at(x, shape.row), b.at(w, shape.kernel_row), *sums)

        count = b.integer(shape.kernel_rows) if shape.fixed_rows else self.arguments["kernel_rows"]
        return b.loop(0, count, row, (x, w, *sums), runs=shape.always_reaches or None)[2:]

    def _over_run(self, run: Run, x: Register, w: Register, sums: Sequence[Register]) -> list[Register]:
        """Kernel columns that reach the same pixels.

        A loop, never unrolled: neighbouring columns read the same inputs, and LLVM would keep them in registers that
        the sums need.
        """
        b, shape = self.b, self.shape
        x, w = b.at(x, run.first * shape.column), b.at(w, run.first * shape.tap_bytes)

        def column(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, *sums = carried
            sums = self._over_steps(run, x, w, sums)
            return (b.at(x, shape.column), b.at(w, shape.tap_bytes), *sums)

        return list(b.loop(0, run.count, column, (x, w, *sums))[2:])

    def _over_steps(self, run: Run, x: Register, w: Register, sums: Sequence[Register]) -> list[Register]:
        b, shape = self.b, self.shape
        unroll = unrolled_steps(shape.steps, self.tile.pixels, self.vectors, b.target)

        def some(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, *sums = carried
            for step in range(unroll):
                sums = self._step(run, x, w, step, sums)
            *sums, following = sums
            if shape.spread:
                self._prefetch(following, shape.spread)
                following = b.at(following, 64 * shape.spread)
            return (b.at(x, 4 * unroll), b.at(w, VECTOR_BYTES * unroll), *sums, following)

        return list(b.loop(0, shape.steps // unroll, some, (x, w, *sums))[2:])

    def _step(self, run: Run, x: Register, w: Register, step: int, sums: Sequence[Register]) -> list[Register]:
        """One input channel at one tap: a multiply-add for each register that the tap reaches."""
        b, shape = self.b, self.shape
        weights = [b.load(VECTOR, b.at(w, q * shape.vector + step * VECTOR_BYTES)) for q in range(self.vectors)]
        result = list(sums)
        for p in range(run.low, run.high):
            value = b.splat(b.load(F32, b.at(x, p * shape.pixel + 4 * step)), BLOCK)
            for q in range(self.vectors):
                place = p * self.vectors + q
                result[place] = b.fma(value, weights[q], result[place])
        return result
