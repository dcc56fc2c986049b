"""What kernels of window operators have in common: a walk over rows of output pixels, cut into tiles.

The tiles are internal functions: units of register allocation, each of them generated once.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from ....ir.layout import CHANNEL_BLOCK
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder, Integer
from ..llvm.target import TargetDescription
from ..llvm.types import F32, Register, Registers, Type
from ..spec import KernelSpec
from .channel_tiles import ChannelTiles, Visit
from .window import Axis, Reach, TileRow

FEW_LINES = 8
"""Cache lines that one call may prefetch at once; more of them would wait for each other."""

Key = TypeVar("Key", bound=Hashable)

Values = dict[str, Register]
"""Arguments by name, in the order in which functions take them."""


class WindowSpec(KernelSpec):
    """Base of the specifications of operators over windows, in layout ``c16`` unless said otherwise.
    ``batch``, ``channels``: N and C.
    ``rows``, ``columns``: geometry along y and x. One dimension is an image of one row."""

    batch: int
    channels: int
    rows: Axis
    columns: Axis

    @property
    def element(self) -> Type:
        """Type of the elements of x and of the result."""
        return F32

    @property
    def keeps_zero(self) -> bool:
        """Whether the lanes of absent channels become zero by themselves; those of bytes may hold anything."""
        return False

    def item_values(self, b: FunctionBuilder, arguments: Values, block: Register, vectors: int, active: int) -> Values:
        """What a work item looks up for its output channels.
        ``block``: the first vector of channels, of ``vectors``.
        ``active``: channels in the last of them."""
        return {}

    def row_values(self, b: FunctionBuilder, values: Values, row: Register, reach: Reach) -> Values:
        """What an output row passes on to its tiles."""
        return values


def moved(b: FunctionBuilder, pointers: Registers, distances: Sequence[int], times: int = 1) -> Registers:
    """Pointers so many times the distances further; there may be fewer pointers than distances."""
    return tuple(b.at(pointer, times * distance) for pointer, distance in zip(pointers, distances, strict=False))


def over(
    b: FunctionBuilder,
    count: Integer,
    distances: Sequence[int],
    pointers: Registers,
    carried: Registers,
    body: Callable[[Registers, Registers], Registers],
    *,
    runs: bool | None = None,
) -> Registers:
    """What is carried after ``body`` has run ``count`` times, on pointers that move by the distances each time."""
    head = len(pointers)

    def once(_: Register, values: Registers) -> Registers:
        results = body(values[:head], values[head:])
        return (*moved(b, values[:head], distances), *results)

    return b.loop(0, count, once, (*pointers, *carried), runs=runs)[head:]


class WindowWalk:
    """The kernel's function, and those of its tiles.
    ``rows``, ``columns``: geometry of the image as it is walked over.
    ``tiles``: what a row is cut into.
    ``x_pixel``, ``w_row``: bytes of a pixel of x, and of a kernel row of w."""

    def __init__(
        self,
        spec: WindowSpec,
        target: TargetDescription,
        rows: Axis,
        columns: Axis,
        tiles: list[TileRow],
        x_pixel: int,
        w_row: int,
    ) -> None:
        self.rows, self.columns, self.tiles = rows, columns, tiles
        self.b, self.arguments = spec.entry(target, writes=("residual", "y"))
        self._x_pixel, self._w_row = x_pixel, w_row
        self._y_pixel = spec.element.bytes * CHANNEL_BLOCK
        self._outputs = [name for name in ("residual", "y") if name in self.arguments]
        self._functions: dict[Hashable, FunctionBuilder] = {}

    def walk(
        self,
        spec: WindowSpec,
        groups: int,
        channels: int,
        vectors: int,
        row_block: int,
        visit: Visit,
        *,
        whole: int = CHANNEL_BLOCK,
        pieces: int = 1,
        scratch_bytes: int = 0,
    ) -> Kernel:
        """The kernel that visits every work item; see :class:`.channel_tiles.ChannelTiles`.

        Absent channels of bytes, which may hold anything, count as present up to the next multiple of ``whole``. Pieces
        of rows count as rows."""
        if not spec.element.is_float:
            channels += -channels % whole
        rows = self.rows.output * pieces
        cut = ChannelTiles(spec.batch, groups, channels, CHANNEL_BLOCK, vectors, rows, row_block, is_even=True)
        cut.walk(self.b, self.arguments, visit)
        return spec.finish(self.b, list(self._functions.values()), units=cut.units, scratch_bytes=scratch_bytes)

    def tiles_of(self, piece: Register, pieces: int) -> Iterator[tuple[TileRow, Register, Register]]:
        """The tiles of one of so many equal pieces of a row: of each run, the first one and the one behind the last."""
        b, count, done = self.b, sum(run.count for run in self.tiles), 0
        bounds = [b.divide(b.multiply(index, count), pieces) for index in (piece, b.add(piece, 1))]
        for run in self.tiles:
            begin, end = (b.subtract(bound, done) for bound in bounds)
            yield run, b.maximum(begin, 0), b.minimum(end, run.count)
            done += run.count

    def row(self, y: Register, x: Register, w: Register | None, output: Register) -> tuple[Values, Reach]:
        """Arguments of tiles at the beginning of an output row, and the kernel rows in reach.
        ``output``: where its result begins, in bytes."""
        b = self.b
        tap, taps = self.rows.valid_taps(b, y)
        source = self.rows.coordinate(b, y, tap)
        offset = b.add(output, b.multiply(y, self.columns.output * self._y_pixel))
        call = {"x": b.at(x, b.multiply(source, self.columns.input * self._x_pixel))}
        if w is not None:
            call["w"] = b.at(w, b.multiply(tap, self._w_row))
        call |= {name: b.at(self.arguments[name], offset) for name in self._outputs}
        return {**call, "kernel_rows": taps}, (tap, taps)

    def call_row(
        self,
        arguments: Values,
        key_of: Callable[[TileRow], Key],
        generate: Callable[[FunctionBuilder, Values, Key], None],
    ) -> None:
        """Call every tile of an output row; those of equal keys are one function."""
        b = self.b
        for run in self.tiles:
            key = key_of(run)

            def tile(index: Register, run: TileRow = run, key: Key = key) -> None:
                pixel = b.add(run.start, b.multiply(index, run.tile.pixels))
                self.call(key, arguments, pixel, lambda f, values: generate(f, values, key))

            b.each(0, run.count, tile)

    def call(
        self, key: Hashable, arguments: Values, pixel: Register, generate: Callable[[FunctionBuilder, Values], None]
    ) -> None:
        """Call a tile at an output pixel."""
        b = self.b
        source = b.multiply(self.columns.coordinate(b, pixel), self._x_pixel)
        offset = b.multiply(pixel, self._y_pixel)
        moved = {name: b.at(arguments[name], offset) for name in self._outputs}
        arguments = {**arguments, "x": b.at(arguments["x"], source), **moved}
        if key not in self._functions:
            name = f"{b.name}_tile{len(self._functions)}"
            parameters = [(name, value.type) for name, value in arguments.items()]
            read_only = ("x", "w", "pairs", "windows", "weights", "factors", "zeros", "ones")
            function = FunctionBuilder(b.target, name, parameters, internal=True, read_only=read_only)
            generate(function, dict(zip(arguments, function.arguments, strict=True)))
            function.return_()
            self._functions[key] = function
        b.call(self._functions[key].name, None, tuple(arguments.values()))
