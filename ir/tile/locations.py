"""Where the values of a tile program lie: a box of a place, in DRAM or on chip."""

from typing import NamedTuple

from tilewright.errors import IRError

from ..annotations import DRAM, MapAddress
from ..core import Op, Value, is_op
from ..layout import CHANNEL_BLOCK, in_whole_blocks
from ..types import DType
from .places import Part, Phase, Reshape, whole_of
from .types import TileType

Box = tuple[int, int, int, int, int, int, int, int]
"""First and one past the last image, row, column and channel."""

_WHOLE: Box = (0, 1, 0, 1, 0, 1, 0, 1)


class Located(NamedTuple):
    """A box of a place.

    Attributes:
        root: makes the place.
        shape: images, rows, columns and channels in which the box is counted.
        box: with the padding of the last channels; around the rows and columns, if there are others between them.
        address: of a place in DRAM.
        step: from row to row, and from column to column.
        first: row, column and channel at which it begins on chip; of a ring, the row of the ring.
    """

    root: Op
    type: TileType
    shape: tuple[int, int, int, int]
    box: Box
    address: MapAddress | None
    step: tuple[int, int] = (1, 1)
    first: tuple[int, int, int] = (0, 0, 0)

    @property
    def all(self) -> Box:
        """The box that is all of the place."""
        if self.shape == (1, 1, 1, 1):
            return _WHOLE
        images, rows, columns, channels = self.shape
        return (0, images, 0, rows, 0, columns, 0, in_whole_blocks(channels))

    @property
    def span(self) -> tuple[int, int]:
        """First byte of its region, and one past the last, between which a box in DRAM lies."""
        address, (_, rows, columns, _) = self.address, self.shape
        assert address is not None
        image, last_image, row, last_row, column, last_column, channel, last_channel = self.box
        first = (image * rows + row) * columns + column
        last = ((last_image - 1) * rows + last_row - 1) * columns + last_column - 1
        return address.offset + first * address.pixel + channel, address.offset + last * address.pixel + last_channel

    @property
    def distances(self) -> tuple[int, int, int]:
        """Bytes from image to image, row to row and pixel to pixel in DRAM."""
        assert self.address is not None
        _, rows, columns, _ = self.shape
        pixel = self.address.pixel
        return rows * columns * pixel, columns * pixel * self.step[0], pixel * self.step[1]

    @property
    def pitches(self) -> tuple[int, int]:
        """Bytes from row to row and from pixel to pixel on chip."""
        return self.type.row_bytes * self.step[0], self.type.blocks * CHANNEL_BLOCK * self.step[1]

    @property
    def is_flipped(self) -> bool:
        """Whether DRAM holds u8; on chip everything is i8, with the zero point 128 less."""
        return self.type.dtype is DType.U8

    @property
    def on_chip(self) -> int:
        """Bytes from the first of the place on chip to the first of the box."""
        row, column, channel = self.first
        return row * self.type.row_bytes + column * self.type.blocks * CHANNEL_BLOCK + channel if any(self.first) else 0


class Locations:
    """Where each value lies, noted as the ops of a program go by."""

    def __init__(self) -> None:
        self._found: dict[Value, Located] = {}

    def __contains__(self, value: Value) -> bool:
        return value in self._found

    def __getitem__(self, value: Value) -> Located:
        return self._found[value]

    def add(self, op: Op) -> Located | None:
        """Note where the result of an op lies; ``None`` if that is no place."""
        type = op.results[0].type if op.results else None
        if not isinstance(type, TileType):
            return None
        if is_op(op, Part):
            whole = self._found[op.inputs[0]]
            found = _part_of_ring(whole, op) if whole.type.ring else _part(whole, op.operator)
        elif is_op(op, Phase):
            found = _phase(self._found[op.inputs[0]], op.operator)
        elif is_op(op, Reshape):
            found = _reshaped(self._found[op.inputs[0]], op.operator.shape)
        else:
            value = whole_of(op)
            found = self._found[value] if value is not None else _place(op, type)
        self._found[op.result] = found
        return found


def _place(op: Op, type: TileType) -> Located:
    if type.memory not in ("dram", "maps") or type.packed:
        return Located(op, type, (1, 1, 1, 1), _WHOLE, None)
    images, rows, columns, channels = (1, *type.shape) if type.rank == 3 else type.shape
    if type.ring:
        rows = type.ring  # those that share memory meet
    address = DRAM.get(op)
    if type.memory == "dram" and address is None:
        raise IRError(
            f"%{op.result.name} has no address in device memory",
            op=op.name,
            node=op.node,
            hint="Run plan_device_memory before lower_to_tiles.",
        )
    place = Located(op, type, (images, rows, columns, channels), _WHOLE, address)
    return place._replace(box=place.all)


def _part(whole: Located, part: Part, rows: tuple[int, int] | None = None) -> Located:
    """``rows``: of a ring, where they lie."""
    first = _first(whole, part) if whole.address is None else whole.first
    if whole.shape == (1, 1, 1, 1) and whole.box == _WHOLE:
        return whole._replace(first=first)
    image, last, row, _, column, _, channel, _ = whole.box
    if part.image >= 0:
        image, last = image + part.image, image + part.image + 1
    (down, across), (top, count), (left, columns) = whole.step, rows or part.rows, part.columns
    row, column, channel = row + top * down, column + left * across, channel + part.channels[0]
    # What ends inside a block may be written with the rest of it.
    stop = in_whole_blocks(channel + part.channels[1])
    below, right = row + (count - 1) * down + 1, column + (columns - 1) * across + 1
    box = (image, last, row, below, column, right, channel, stop)
    return Located(whole.root, whole.type, whole.shape, box, whole.address, whole.step, first)


def _first(whole: Located, part: Part) -> tuple[int, int, int]:
    """Where a part begins on chip."""
    (row, column, channel), (down, across) = whole.first, whole.step
    row += part.rows[0] * down
    ring = whole.type.ring
    return row % ring if ring else row, column + part.columns[0] * across, channel + part.channels[0]


def _part_of_ring(whole: Located, op: Op[Part]) -> Located:
    """Rows of a ring are counted where they lie; around its end they count as all of it."""
    first, count = op.operator.rows
    if op.inputs[0].producer is not whole.root:
        # A part of rows of which it is not known any more where they begin.
        return whole._replace(first=_first(whole, op.operator))
    row = first % whole.type.ring
    if row + count > whole.type.ring:
        row, count = 0, whole.type.ring
    return _part(whole, op.operator, (row, count))


def _phase(whole: Located, phase: Phase) -> Located:
    image, last, row, below, column, right, *channels = whole.box
    box = (image, last, row + phase.first[0], below, column + phase.first[1], right, *channels)
    (top, left, channel), (down, across) = whole.first, phase.first
    return whole._replace(box=box, step=phase.step, first=(top + down, left + across, channel))


def _reshaped(whole: Located, shape: tuple[int, ...]) -> Located:
    if whole.box[:6] != whole.all[:6] or whole.step != (1, 1):
        raise IRError("only a whole map can be reshaped", found=whole.root.result.type)
    images, rows, columns, _ = shape
    # Channels are counted in the place, of which these may be some.
    return whole._replace(
        shape=(images, rows, columns, whole.shape[3]), box=(0, images, 0, rows, 0, columns, *whole.box[6:])
    )
