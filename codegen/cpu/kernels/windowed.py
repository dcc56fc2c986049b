"""Window operators that keep channels apart, in the layout ``c16``: depthwise convolution and pooling.

Some neighbouring pixels of 16 channels are held in registers. Each input vector of a kernel row is loaded once and used
by all pixels that see it. Borders are handled as in :mod:`.direct_convolution`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from tilewright.immutable import Immutable

from ....ir.layout import CHANNEL_BLOCK, QUAD
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder, Integer
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I64, Register, Registers, Type, constant, partial_mask, zero
from .channel_tiles import WorkItem
from .output_channels import VECTOR_BYTES
from .products.blocking import registers_per_vector, rows_of_item
from .window import Axis, PixelTile, cut
from .window_walk import FEW_LINES, Values, WindowSpec, WindowWalk, over

_LEAST_PIXELS = 4
"""Of a tile, although weights do not stay in registers then: with fewer, multiply-adds wait for those before them. Two
are enough where 16 channels take four of 16 registers, which more would not leave for anything else.
"""

_MANY_ROWS = 12
"""Of images that have so many, convolutions that make or read them mostly have less weights than pixels."""


class WindowTile(Immutable):
    """The body of the function of a tile.
    ``reach``: its pixels, and what the kernel reaches from them.
    ``divisors``: see :meth:`Windowed.divisors`.
    ``active``: channels that exist; the other lanes of the result are to be zero."""

    b: FunctionBuilder
    arguments: Values
    reach: PixelTile
    divisors: tuple[int, ...]
    active: int


class Windowed(WindowSpec):
    """Base: each output element comes from one window of one channel.

    Arguments: x and further operands, then the result, all of layout ``c16``, of type ``element`` unless said
    otherwise."""

    NEIGHBOURS: ClassVar[bool] = False
    """Whether a step along a kernel row is four neighbouring taps, and not one."""

    @property
    def vector(self) -> Type:
        """16 channels of a pixel."""
        return self.element.of(CHANNEL_BLOCK)

    @property
    def blocks(self) -> int:
        """Vectors of channels in an image."""
        return -(-self.channels // CHANNEL_BLOCK)

    @property
    def keeps_zero(self) -> bool:
        return self.rows.always_reaches and self.columns.always_reaches

    @property
    def row_steps(self) -> int:
        """Steps along a kernel row, each with 64 bytes of weights, where there are any."""
        return -(-self.columns.kernel // QUAD) if self.NEIGHBOURS else self.columns.kernel

    @abstractmethod
    def most_pixels(self, target: TargetDescription) -> int:
        """Pixels of the largest tile."""

    @abstractmethod
    def start(self, tile: WindowTile) -> list[Register]:
        """The accumulators before the first tap."""

    @abstractmethod
    def kernel_row(self, tile: WindowTile, pointers: Registers, totals: list[Register]) -> list[Register]:
        """The accumulators after the taps of one more kernel row."""

    def kernel_rows(
        self,
        tile: WindowTile,
        count: Integer,
        distances: Sequence[int],
        pointers: Registers,
        totals: Registers,
        *,
        runs: bool | None = None,
    ) -> Registers:
        """The accumulators after so many kernel rows, which lie ``distances`` apart. ``runs``: there are some."""

        def row(pointers: Registers, totals: Registers) -> Registers:
            return tuple(self.kernel_row(tile, pointers, list(totals)))

        return over(tile.b, count, distances, pointers, totals, row, runs=runs)

    @abstractmethod
    def end(self, tile: WindowTile, totals: Registers) -> None:
        """Store what becomes of the accumulators."""

    @property
    def divided(self) -> Axis | None:
        """The windows along a row over what divisors count, if there are any."""
        return None

    def divisors(self, first: int, count: int) -> tuple[int, ...]:
        """A number for each of ``count`` pixels from ``first`` on that :meth:`end` depends on."""
        return (1,) * count

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


class TapByTap(Windowed):
    """Base: one accumulator for each pixel, to which taps are added one after the other."""

    def most_pixels(self, target: TargetDescription) -> int:
        registers = target.registers // registers_per_vector(target)
        return min(14, max(min(_LEAST_PIXELS, registers // 2), registers - self.columns.kernel - 2))

    @abstractmethod
    def start_pixel(self, tile: WindowTile, pixel: int) -> Register:
        """The accumulator of a pixel before its first tap."""

    @abstractmethod
    def add_tap(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        """The accumulator after one more tap."""

    @abstractmethod
    def end_pixel(self, tile: WindowTile, pixel: int, total: Register) -> Register:
        """The element of the result."""

    def start(self, tile: WindowTile) -> list[Register]:
        return [self.start_pixel(tile, pixel) for pixel in range(tile.reach.pixels)]

    def kernel_row(self, tile: WindowTile, pointers: Registers, totals: list[Register]) -> list[Register]:
        """For each input vector, the pixels that see it."""
        b, columns, (x, *w) = tile.b, self.columns, pointers
        users: dict[int, list[tuple[int, int]]] = {}
        for tap, masks in enumerate(tile.reach.columns):
            for pixel, mask in enumerate(masks):
                if mask:
                    users.setdefault(pixel * columns.stride + tap * columns.dilation, []).append((pixel, tap))
        weights: dict[int, Register] = {}
        for position in sorted(users):
            value = b.load(self.vector, b.at(x, position * self.vector.bytes))
            for pixel, tap in users[position]:
                if w and tap not in weights:
                    weights[tap] = b.load(F32.of(CHANNEL_BLOCK), b.at(w[0], tap * VECTOR_BYTES))
                totals[pixel] = self.add_tap(b, value, weights.get(tap), totals[pixel])
        return totals

    def end(self, tile: WindowTile, totals: Registers) -> None:
        b, mask = tile.b, partial_mask(CHANNEL_BLOCK, tile.active)
        for pixel, total in enumerate(totals):
            value = self.end_pixel(tile, pixel, total)
            if mask is not None:
                value = b.select(mask, value, zero(value.type))
            b.store(value, b.at(tile.arguments["y"], pixel * self.vector.bytes))


class _Walker(WindowWalk):
    """The function that walks over images, channels and rows."""

    def __init__(self, spec: Windowed, target: TargetDescription) -> None:
        tiles = cut(spec.columns, spec.most_pixels(target), neighbours=spec.NEIGHBOURS, counted=spec.divided)
        w_row = spec.row_steps * VECTOR_BYTES
        super().__init__(spec, target, spec.rows, spec.columns, tiles, spec.vector.bytes, w_row)
        self.spec = spec
        self.w_row = w_row
        height = spec.rows.output
        self.row_block = rows_of_item(height, height, spec.batch * spec.blocks, by_rows=height >= _MANY_ROWS)
        # Cache lines of weights that each row of the first item of an image asks for, until all are.
        self.lines = spec.rows.kernel * spec.row_steps
        self.row_lines = min(FEW_LINES, -(-self.lines // (height // -(-height // self.row_block))))

    def generate(self) -> Kernel:
        return self.walk(self.spec, 1, self.spec.channels, 1, self.row_block, self._item)

    def _item(self, item: WorkItem, vectors: int, active: int) -> None:
        """Rows of an image for 16 channels."""
        spec, b = self.spec, self.b
        lanes = CHANNEL_BLOCK if spec.keeps_zero else active
        values = spec.item_values(b, self.arguments, item.block, vectors, active)
        image = b.add(b.multiply(item.image, spec.blocks), item.block)
        x = b.at(self.arguments["x"], b.multiply(image, spec.rows.input * spec.columns.input * spec.vector.bytes))
        output = b.multiply(image, spec.rows.output * spec.columns.output * spec.vector.bytes)
        w, asking = self.arguments.get("w"), None
        if w is not None:
            w = b.at(w, b.multiply(item.block, spec.rows.kernel * self.w_row))
            if spec.blocks > 1:
                is_followed = b.compare("slt", item.block, spec.blocks - 1)
                asking = b.select(is_followed, constant(I64, -(-self.lines // self.row_lines)), constant(I64, 0))

        def row(y: Register) -> None:
            if w is not None and asking is not None:
                b.if_(b.compare("slt", y, asking), lambda w=w: self._ask_ahead(w, y))
            call, reach = self.row(y, x, w, output)
            self.call_row(
                {**call, **spec.row_values(b, values, y, reach)},
                lambda run: (run.tile, spec.divisors(run.start, run.tile.pixels), lanes),
                lambda f, values, key: self._tile(WindowTile(f, values, *key)),
            )

        b.each(item.first_row, item.last_row, row)

    def _ask_ahead(self, w: Register, y: Register) -> None:
        """For weights of the next 16 channels: they are read once, some with gaps, which the processor does not
        foresee."""
        b, size = self.b, self.spec.rows.kernel * self.w_row
        first = b.minimum(b.multiply(y, self.row_lines * VECTOR_BYTES), size - self.row_lines * VECTOR_BYTES)
        for line in range(self.row_lines):
            b.prefetch(b.at(w, size + line * VECTOR_BYTES, first))

    def _tile(self, tile: WindowTile) -> None:
        spec, rows = self.spec, self.spec.rows
        pointers = tuple(tile.arguments[name] for name in ("x", "w") if name in tile.arguments)
        distances = rows.dilation * spec.columns.input * spec.vector.bytes, self.w_row
        count = tile.arguments["kernel_rows"] if rows.is_padded else rows.kernel
        start, runs = tuple(spec.start(tile)), rows.always_reaches or None
        spec.end(tile, spec.kernel_rows(tile, count, distances, pointers, start, runs=runs))
