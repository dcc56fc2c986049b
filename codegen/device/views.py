"""Where the places of a tile program lie: bytes in DRAM, bytes in a scratchpad, and the distances between pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tilewright.errors import CodegenError

from ...ir.annotations import ADDRESS, DRAM
from ...ir.core import Function, Op, Value, is_op
from ...ir.tile.fields import moved_channels
from ...ir.tile.link import Receive, Send
from ...ir.tile.places import Buffer, Enter, Leave, Part, Phase, Reshape
from ...ir.tile.program import whole_of
from ...ir.tile.types import TileType
from ...ir.types import DType
from ...runtime.artifact.manifest import FeatureMapRef
from ...runtime.machines.machine import CHANNEL_BLOCK

REGIONS = ("constants", "scratch", "input", "output")
"""DRAM regions of a device program, by index."""


@dataclass(frozen=True)
class MapView:
    """A feature map in DRAM, or a box of one. All distances are bytes; an element is one byte.

    Attributes:
        region: index into ``REGIONS``.
        offset: of the first element.
        shape: images, rows, columns, channels.
        image, row, pixel: from one to the next.
        channel: of the whole map, at which the box begins.
        channels: of the whole map.
        padded: whether the channels that fill the last block of 16 may be read and written with the rest.
        flip: whether DRAM holds u8; on chip everything is i8, with the zero point 128 less.
    """

    region: int
    offset: int
    shape: tuple[int, int, int, int]
    image: int
    row: int
    pixel: int
    channel: int
    channels: int
    padded: bool
    flip: bool

    @property
    def reference(self) -> FeatureMapRef:
        """What the runtime must know of an input or output."""
        return FeatureMapRef(self.offset, self.shape, self.pixel)

    @property
    def run(self) -> int:
        """Bytes to move of a pixel: with padding where that is allowed."""
        return moved_channels(self.channel, self.shape[3], self.channels, self.padded)

    def part(self, part: Part) -> MapView:
        """A box of the box."""
        (row, rows), (column, columns), (channel, channels) = part.rows, part.columns, part.channels
        image, images = (0, self.shape[0]) if part.image < 0 else (part.image, 1)
        offset = self.offset + image * self.image + row * self.row + column * self.pixel + channel
        shape = images, rows, columns, channels
        return replace(self, offset=offset, shape=shape, channel=self.channel + channel)

    def phase(self, phase: Phase) -> MapView:
        """Every so many rows and columns."""
        (row, column), (rows, columns) = phase.first, phase.step
        height, width = (-(-(self.shape[axis + 1] - phase.first[axis]) // phase.step[axis]) for axis in (0, 1))
        return replace(
            self,
            offset=self.offset + row * self.row + column * self.pixel,
            shape=(self.shape[0], height, width, self.shape[3]),
            row=rows * self.row,
            pixel=columns * self.pixel,
        )

    def reshaped(self, images: int, rows: int, columns: int) -> MapView:
        """All pixels as other images, rows and columns.

        Raises:
            CodegenError: rows or images do not follow each other without gaps.
        """
        _, height, width, channels = self.shape
        if (self.row, self.image) != (width * self.pixel, height * width * self.pixel):
            raise CodegenError("only a whole map can be reshaped", found=list(self.shape))
        row = columns * self.pixel
        return replace(self, shape=(images, rows, columns, channels), row=row, image=rows * row)


@dataclass(frozen=True)
class ChipView:
    """A place in a scratchpad. All distances are bytes.

    Attributes:
        cluster: whose, or ``EVERY_CLUSTER``.
        address: of the first element.
        row, pixel: of a map, from one to the next.
        ring: of a map whose rows share memory, how many there is room for, and which of them the first one is.
        packed: see :class:`tilewright.ir.tile.types.TileType`.
    """

    cluster: int
    address: int
    shape: tuple[int, ...]
    row: int
    pixel: int
    ring: tuple[int, int]
    packed: bool

    @property
    def blocks(self) -> int:
        """Channels in blocks of 16."""
        return -(-self.shape[-1] // CHANNEL_BLOCK)

    def part(self, part: Part) -> ChipView:
        """A box of the box.

        Raises:
            CodegenError: the pixels are packed.
        """
        if self.packed:
            raise CodegenError("packed maps have no parts", found=list(self.shape))
        size, slot = self.ring
        distance = part.rows[0]
        if size:
            after = (slot + distance) % size
            distance, slot = after - slot, after
        address = self.address + distance * self.row + part.columns[0] * self.pixel + part.channels[0]
        shape = part.rows[1], part.columns[1], part.channels[1]
        return replace(self, address=address, shape=shape, ring=(size, slot))

    def box(self) -> ChipView:
        """Itself, as what an instruction reads or writes.

        Raises:
            CodegenError: its rows go round the end of a ring.
        """
        size, slot = self.ring
        if size and slot + self.shape[0] > size:
            found = f"{self.shape[0]} from row {slot}"
            raise CodegenError(
                "an instruction does not go round the end of a ring", expected=f"{size} rows", found=found
            )
        return self


class Views:
    """The views of all places of a tile program, made as its ops go by."""

    def __init__(self) -> None:
        self._dram: dict[Value, MapView] = {}
        self._chip: dict[Value, ChipView] = {}

    def add(self, op: Op) -> None:
        """Say where the result of an op lies.

        Raises:
            CodegenError: it has no address.
        """
        type = op.result.type
        if is_op(op, Leave, Send) or not isinstance(type, TileType):
            return
        whole = whole_of(op)
        if type.memory == "dram":
            if is_op(op, Part):
                self._dram[op.result] = self._dram[op.inputs[0]].part(op.operator)
            elif is_op(op, Phase):
                self._dram[op.result] = self._dram[op.inputs[0]].phase(op.operator)
            elif is_op(op, Reshape):
                images, rows, columns, _ = op.operator.shape
                self._dram[op.result] = self._dram[op.inputs[0]].reshaped(images, rows, columns)
            else:
                self._dram[op.result] = self._dram[whole] if whole is not None else _in_dram(op, type)
        elif is_op(op, Part):
            self._chip[op.result] = self._chip[op.inputs[0]].part(op.operator)
        else:
            self._chip[op.result] = self._chip[whole] if whole is not None else _on_chip(op, type)

    def dram(self, value: Value) -> MapView:
        return self._dram[value]

    def chip(self, value: Value) -> ChipView:
        return self._chip[value].box()

    def ring(self, value: Value) -> ChipView:
        """A place whose rows may go round the end of a ring."""
        return self._chip[value]

    def references(self, function: Function) -> tuple[tuple[FeatureMapRef, ...], tuple[FeatureMapRef, ...]]:
        """How the parameters from the host, and the results for it, lie in their regions, in order."""
        entering = {op.inputs[0]: op.result for op in function.ops if is_op(op, Enter)}
        leaving = {op.result: op.inputs[0] for op in function.ops if is_op(op, Leave)}
        return (
            tuple(self._dram[entering[value]].reference for value in function.parameters if value in entering),
            tuple(self._dram[leaving[value]].reference for value in function.results if value in leaving),
        )


def _in_dram(op: Op, type: TileType) -> MapView:
    address = DRAM.get(op)
    if address is None or not is_op(op, Buffer, Enter, Receive):
        raise CodegenError(
            f"%{op.result.name} has no address in device memory",
            op=op.name,
            node=op.node,
            hint="Run plan_device_memory before lower_to_tiles.",
        )
    images, rows, columns, channels = type.shape
    row = columns * address.pixel
    return MapView(
        REGIONS.index(address.region),
        address.offset,
        (images, rows, columns, channels),
        rows * row,
        row,
        address.pixel,
        0,
        channels,
        address.padded,
        type.dtype is DType.U8,
    )


def _on_chip(op: Op, type: TileType) -> ChipView:
    address = ADDRESS.get(op)
    if address is None:
        raise CodegenError(
            f"%{op.result.name} has no address on chip", op=op.name, node=op.node, hint="Run plan_scratchpads first."
        )
    row, pixel = (type.row_bytes, type.blocks * CHANNEL_BLOCK) if type.memory == "maps" else (0, 0)
    return ChipView(type.cluster, address, type.shape, row, pixel, (type.ring, 0), type.packed)
