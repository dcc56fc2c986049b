"""Window operators that keep channels apart, in the layout ``c16``: depthwise convolution and pooling.

Some neighbouring pixels of 16 channels are held in registers. Each input vector of a kernel row is loaded once and used
by all pixels that see it. Borders are handled as in :mod:`.direct_convolution`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ....ir.layout import BLOCK
from ..kernel import Kernel
from ..llvm import vector_math as vm
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I64, PTR, Register, Registers, Type, constant, mask_constant, zero
from ..spec import KernelSpec
from .product_spec import ProductSpec
from .window import Axis, Tile, cut

VECTOR = F32.of(BLOCK)
VECTOR_BYTES = 4 * BLOCK


@dataclass(frozen=True)
class Windowed(KernelSpec):
    """Base: each output element comes from one window of one channel.

    Arguments: x and further operands, then the result, all of layout ``c16``, of type ``ELEMENT`` unless said
    otherwise.

    Attributes:
        batch, channels: N and C.
        rows, columns: geometry along y and x. One dimension is an image of one row.
    """

    ELEMENT: ClassVar[Type] = F32
    """Type of the elements of x and of the result."""

    batch: int
    channels: int
    rows: Axis
    columns: Axis

    @property
    def pixel_bytes(self) -> int:
        """Memory that 16 channels of a pixel take."""
        return self.ELEMENT.bytes * BLOCK

    @property
    def blocks(self) -> int:
        """Vectors of channels in an image."""
        return -(-self.channels // BLOCK)

    @property
    def keeps_zero(self) -> bool:
        """Whether padding lanes become zero by themselves."""
        return self.rows.always_reaches and self.columns.always_reaches

    @abstractmethod
    def start(self, b: FunctionBuilder, call: TileValues, pixel: int) -> Register:
        """The accumulator of a pixel before its first tap."""

    @abstractmethod
    def combine(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        """The accumulator after one more tap."""

    @abstractmethod
    def end(self, b: FunctionBuilder, call: TileValues, pixel: int, total: Register) -> Register:
        """The element of the result."""

    def divisors(self, first: int, count: int) -> tuple[int, ...]:
        """A number for each of ``count`` pixels from ``first`` on that :meth:`end` depends on."""
        return (1,) * count

    def row_divisor(self, b: FunctionBuilder, row: Register, taps: Register) -> Register:
        """A number for an output row that :meth:`end` depends on."""
        return taps

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


@dataclass(frozen=True)
class TileValues:
    """Arguments of a tile function.

    Attributes:
        bias: to start with; zero where there is none.
        row_divisor: single precision.
        divisors: one for each pixel.
    """

    x: Register
    w: Register
    residual: Register
    y: Register
    kernel_rows: Register
    bias: Register
    row_divisor: Register
    divisors: tuple[int, ...]


@dataclass(frozen=True)
class Depthwise(ProductSpec, Windowed):
    """Depthwise convolution: w [C, 1, kernel] in layout ``o16``, bias [C], residual; then the activation.

    The result may lie where the residual lies.
    """

    @property
    def keeps_zero(self) -> bool:
        return self.activation.keeps_zero

    def start(self, b: FunctionBuilder, call: TileValues, pixel: int) -> Register:
        if not self.has_residual:
            return call.bias
        return b.binary("fadd", b.load(VECTOR, b.at(call.residual, pixel * VECTOR_BYTES)), call.bias)

    def combine(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        assert weight is not None
        return b.fma(value, weight, total)

    def end(self, b: FunctionBuilder, call: TileValues, pixel: int, total: Register) -> Register:
        return self.activation.apply(b, total)


@dataclass(frozen=True)
class MaxPooling(Windowed):
    """The largest element of each window; padding never counts."""

    def start(self, b: FunctionBuilder, call: TileValues, pixel: int) -> Register:
        return constant(VECTOR, float("-inf"))

    def combine(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        return b.larger(total, value)

    def end(self, b: FunctionBuilder, call: TileValues, pixel: int, total: Register) -> Register:
        return total


@dataclass(frozen=True)
class AveragePooling(Windowed):
    """The mean of each window.

    Attributes:
        counted_rows, counted_columns: the same geometry over what counts as an element: the image, or the image with
            its padding.
    """

    counted_rows: Axis
    counted_columns: Axis

    def start(self, b: FunctionBuilder, call: TileValues, pixel: int) -> Register:
        return zero(VECTOR)

    def combine(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        return b.binary("fadd", total, value)

    def end(self, b: FunctionBuilder, call: TileValues, pixel: int, total: Register) -> Register:
        count = b.binary("fmul", call.row_divisor, constant(F32, call.divisors[pixel]))
        return b.binary("fdiv", total, b.splat(count, BLOCK))

    def divisors(self, first: int, count: int) -> tuple[int, ...]:
        axis = self.counted_columns
        reaches = [axis.reach(tap, first, count) for tap in range(axis.kernel)]
        return tuple(sum(low <= pixel < high for low, high in reaches) for pixel in range(count))

    def row_divisor(self, b: FunctionBuilder, row: Register, taps: Register) -> Register:
        return self.counted_rows.valid_taps(b, row)[1]


class _Walker:
    """The function that walks over images, channels and rows, and the tile functions."""

    def __init__(self, spec: Windowed, target: TargetDescription) -> None:
        self.spec = spec
        self.target = target
        writes = ("residual", "y")
        self.b = spec.entry(target, writes=writes)
        self.arguments = spec.bind(self.b)
        self.tiles: dict[tuple[Tile, tuple[int, ...], int], FunctionBuilder] = {}
        registers = target.registers // max(1, BLOCK // target.lanes)
        self.pieces = cut(spec.columns, min(14, max(1, registers - spec.columns.kernel - 2)))

    def generate(self) -> Kernel:
        spec, b = self.spec, self.b
        images = spec.batch * spec.blocks
        # Few channels are cut along y too, so that there is work for several threads.
        row_blocks = min(spec.rows.output, max(1, 16 // max(1, images)))
        height = -(-spec.rows.output // row_blocks)
        row_blocks = -(-spec.rows.output // height)

        def unit(index: Register, _: Registers) -> Registers:
            image, block = b.divide(index, row_blocks), b.remainder(index, row_blocks)
            first = b.multiply(block, height)
            last = b.minimum(b.add(first, height), spec.rows.output)
            channel_block = b.remainder(image, spec.blocks)
            active = (spec.channels - 1) % BLOCK + 1
            if active == BLOCK:
                self._rows(image, channel_block, first, last, BLOCK)
            else:
                is_last = b.compare("eq", channel_block, spec.blocks - 1)
                b.when(is_last, lambda: self._rows(image, channel_block, first, last, active))
                if spec.blocks > 1:
                    others = b.compare("ne", channel_block, spec.blocks - 1)
                    b.when(others, lambda: self._rows(image, channel_block, first, last, BLOCK))
            return ()

        b.loop(self.arguments["begin"], self.arguments["end"], unit)
        return spec.finish(b, list(self.tiles.values()), units=images * row_blocks)

    def _bias(self, channel_block: Register, active: int) -> Register:
        if "bias" not in self.arguments:
            return zero(VECTOR)
        place = self.b.at(self.arguments["bias"], self.b.multiply(channel_block, VECTOR_BYTES))
        if active < BLOCK:
            return self.b.load_masked(VECTOR, place, mask_constant(BLOCK, active))
        return self.b.load(VECTOR, place)

    def _rows(self, image: Register, channel_block: Register, first: Register, last: Register, active: int) -> None:
        spec, b = self.spec, self.b
        rows, columns = spec.rows, spec.columns
        x_row, y_row = columns.input * spec.pixel_bytes, columns.output * spec.pixel_bytes
        bias = self._bias(channel_block, active)
        x_image = b.at(self.arguments["x"], b.multiply(image, rows.input * x_row))
        y_image = b.multiply(image, rows.output * y_row)
        weights = self.arguments.get("w", zero(PTR))
        if "w" in self.arguments:
            weights = b.at(weights, b.multiply(channel_block, rows.kernel * columns.kernel * VECTOR_BYTES))

        def row(index: Register, _: Registers) -> Registers:
            tap, taps = rows.valid_taps(b, index)
            source_row = b.subtract(b.multiply(index, rows.stride), rows.before)
            source_row = b.add(source_row, b.multiply(tap, rows.dilation))
            place = b.add(y_image, b.multiply(index, y_row))
            divisor = b.convert("sitofp", spec.row_divisor(b, index, taps), F32)
            residual = self.arguments.get("residual", zero(PTR))
            values = TileValues(
                x=b.at(x_image, b.multiply(source_row, x_row)),
                w=b.at(weights, b.multiply(tap, columns.kernel * VECTOR_BYTES)),
                residual=b.at(residual, place) if "residual" in self.arguments else residual,
                y=b.at(self.arguments["y"], place),
                kernel_rows=taps,
                bias=bias,
                row_divisor=divisor,
                divisors=(),
            )
            self._row(values, active)
            return ()

        b.loop(first, last, row)

    def _row(self, row: TileValues, active: int) -> None:
        spec, b = self.spec, self.b
        for piece in self.pieces:
            pixels = piece.tile.pixels
            groups: list[tuple[tuple[int, ...], int, int]] = []
            for index in range(piece.count):
                divisors = spec.divisors(piece.start + index * pixels, pixels)
                if groups and groups[-1][0] == divisors:
                    groups[-1] = (divisors, groups[-1][1], groups[-1][2] + 1)
                else:
                    groups.append((divisors, index, 1))
            for divisors, first, count in groups:
                name = self._tile(piece.tile, divisors, active)

                def tile(index: Register, _: Registers, piece=piece, name=name) -> Registers:
                    pixel = b.add(piece.start, b.multiply(index, piece.tile.pixels))
                    source = b.subtract(b.multiply(pixel, spec.columns.stride), spec.columns.before)
                    place = b.multiply(pixel, spec.pixel_bytes)
                    residual = b.at(row.residual, place) if "residual" in self.arguments else row.residual
                    pointers = (b.at(row.x, b.multiply(source, spec.pixel_bytes)), row.w, residual, b.at(row.y, place))
                    b.call(name, None, (*pointers, row.kernel_rows, row.bias, row.row_divisor))
                    return ()

                b.loop(first, first + count, tile)

    def _tile(self, tile: Tile, divisors: tuple[int, ...], active: int) -> str:
        """Symbol of the function for a tile."""
        active = BLOCK if self.spec.keeps_zero else active
        key = (tile, divisors, active)
        if key not in self.tiles:
            self.tiles[key] = self._generate_tile(tile, divisors, active)
        return self.tiles[key].name

    def _generate_tile(self, tile: Tile, divisors: tuple[int, ...], active: int) -> FunctionBuilder:
        spec = self.spec
        parameters: list[tuple[str, Type]] = [("x", PTR), ("w", PTR), ("residual", PTR), ("y", PTR)]
        parameters += [("kernel_rows", I64), ("bias", VECTOR), ("row_divisor", F32)]
        name = f"{spec.name}_tile{len(self.tiles)}"
        b = FunctionBuilder(self.target, name, parameters, internal=True, read_only=("x", "w"))
        call = TileValues(*b.arguments, divisors=divisors)
        totals = [spec.start(b, call, pixel) for pixel in range(tile.pixels)]

        def kernel_row(_: Register, carried: Registers) -> Sequence[Register]:
            x, w, *sums = carried
            sums = self._kernel_row(b, tile, x, w, list(sums))
            x = b.at(x, spec.rows.dilation * spec.columns.input * spec.pixel_bytes)
            return (x, b.at(w, spec.columns.kernel * VECTOR_BYTES), *sums)

        runs = spec.rows.always_reaches or None
        count = spec.rows.kernel if not spec.rows.is_padded else call.kernel_rows
        _, _, *totals = b.loop(0, count, kernel_row, (call.x, call.w, *totals), runs=runs)
        for pixel, total in enumerate(totals):
            value = spec.end(b, call, pixel, total)
            if active < BLOCK:
                value = b.select(mask_constant(BLOCK, active), value, vm.number(value, 0))
            b.store(value, b.at(call.y, pixel * spec.pixel_bytes))
        b.return_()
        return b

    def _kernel_row(
        self, b: FunctionBuilder, tile: Tile, x: Register, w: Register, totals: list[Register]
    ) -> list[Register]:
        """All taps of a kernel row: for each input vector, the pixels that see it."""
        columns = self.spec.columns
        has_weights = "w" in self.arguments
        users: dict[int, list[tuple[int, int]]] = {}
        for run in tile.runs:
            for tap in range(run.first, run.first + run.count):
                for pixel in range(run.low, run.high):
                    users.setdefault(pixel * columns.stride + tap * columns.dilation, []).append((pixel, tap))
        weights: dict[int, Register] = {}
        for place in sorted(users):
            value = b.load(self.spec.ELEMENT.of(BLOCK), b.at(x, place * self.spec.pixel_bytes))
            for pixel, tap in users[place]:
                if has_weights and tap not in weights:
                    weights[tap] = b.load(VECTOR, b.at(w, tap * VECTOR_BYTES))
                totals[pixel] = self.spec.combine(b, value, weights.get(tap), totals[pixel])
        return totals
