"""Prove the addresses of a tile program from its annotations alone, by executing them.

Who wrote each unit of memory last is noted while the ops go by. Nothing here looks at live ranges, or shares code with
the planner beyond what a place is and how large: an op may read what it names if every unit of it is what was last
written there under a name of the same place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import PassError

from ....ir.annotations import ADDRESS, DRAM, LAYER, REGION_BYTES, SCRATCHPAD_BYTES, Annotation
from ....ir.core import Function, Module, Op, Value, is_op
from ....ir.tile.compute import Combine, Convolve, LookUp
from ....ir.tile.normalization import Normalize
from ....ir.tile.places import Buffer, Enter, InCluster, Leave, Part, Phase, Reshape, cluster_of, clusters_of
from ....ir.tile.requantization import Requantize
from ....ir.tile.transfer import Move, Send
from ....ir.tile.types import EVERY_CLUSTER, TileType
from ....ir.tile.wide import RequantizeWide
from ....runtime.machines.machine import CHANNEL_BLOCK
from ...base import proved
from ..outline_device import device_functions
from .scratchpads import UNITS, place_bytes


def check_scratchpads(function: Function) -> None:
    """Execute the addresses of a tile program without data.
    Raises PassError: a place has no address or leaves its memory; an op reads what has been written over, or what
    nobody wrote; it writes over what it reads; names op and node."""
    _Execution(function).run()


def _check_all(module: Module) -> None:
    for function in device_functions(module):
        check_scratchpads(function)


SCRATCHPADS_SOUND = proved("soundly planned on chip: what is read is what was last written there", _check_all)

Span = tuple[int, int]
"""First and count."""

Owners = NDArray[np.int32]
"""Who wrote each unit of a memory last."""


class PlacedUnits(NamedTuple):
    """How a place lies in its memory, in units of that.

    Attributes:
        memories: the owners of the units; of each cluster, if it lies in all of them.
        start: the first unit.
        extents: images, rows, columns, and channels, or units where it is not known what lies in them.
        strides: from image to image, row to row, and column to column.
        ring: rows that there is room for; 0 where each has its own.
        unit: channels that take a unit.
        reach: units of a pixel that may be written with its last channel.
        writer: owner of what is written there. Rows of a ring have a later one each time that they come round.
        copies: of a map on chip, the owners of each cluster that it lies in, in whichever it is taken.
    """

    memories: tuple[Owners, ...]
    start: int
    extents: tuple[int, int, int, int]
    strides: tuple[int, int, int] = (0, 0, 0)
    ring: int = 0
    unit: int = 1
    reach: int = 0
    writer: int = 0
    copies: tuple[Owners, ...] = ()


class Piece(NamedTuple):
    """A box of a place: images, rows, columns and channels, as (first, count)."""

    layout: PlacedUnits
    box: tuple[Span, Span, Span, Span]

    @staticmethod
    def whole(layout: PlacedUnits) -> Piece:
        """All of a place."""
        images, rows, columns, channels = layout.extents
        return Piece(layout, ((0, images), (0, rows), (0, columns), (0, channels)))

    def part(self, part: Part) -> Piece:
        """A box of the box. What cannot be cut stays whole."""
        if not any(self.layout.strides):
            return self
        (image, images), rows, columns, channels = self.box
        inner = (rows, part.rows), (columns, part.columns), (channels, part.channels)
        spans = [(outer + first, count) for (outer, _), (first, count) in inner]
        chosen = (image, images) if part.image < 0 else (image + part.image, 1)
        return Piece(self.layout, (chosen, spans[0], spans[1], spans[2]))

    def meets(self, other: Piece) -> bool:
        """Whether the two are boxes of one place and share an element, as far as can be told."""
        mine, theirs = self.layout, other.layout
        if mine.writer != theirs.writer:
            return False
        boxes = zip(self.box, other.box, strict=True)
        return mine.strides != theirs.strides or all(a < b + n and b < a + m for (a, m), (b, n) in boxes)

    @property
    def ends_in_block(self) -> bool:
        """Whether its last channels share a unit with others, which are written with them."""
        first, count = self.box[3]
        return (first + count) % self.layout.unit != 0 and first + count < self.layout.extents[3]

    def owners(self, memories: tuple[Owners, ...], *, padded: bool) -> Iterator[tuple[Owners, int]]:
        """The owners of all units, [images, rows, columns, units], as views, and who they should be.
        ``memories``: of those that the place lies in.
        ``padded``: with the padding behind the last channel."""
        layout = self.layout
        (image, images), (row, rows), (column, columns), (channel, channels) = self.box
        if not any(layout.strides):
            for memory in memories:
                yield memory[layout.start : layout.start + channels], layout.writer
            return
        first, stop = channel // layout.unit, -(-(channel + channels) // layout.unit)
        if padded and channel + channels == layout.extents[3]:
            stop = max(stop, layout.reach)
        last = row + rows
        while row < last:
            lap, slot = divmod(row, layout.ring) if layout.ring else (0, row)
            count = min(last - row, layout.ring - slot) if layout.ring else last - row
            row += count
            at = (image, slot, column)
            start = layout.start + first + sum(a * b for a, b in zip(at, layout.strides, strict=True))
            shape = (images, count, columns, stop - first)
            for memory in memories:
                strides = [stride * memory.itemsize for stride in (*layout.strides, 1)]
                yield np.ndarray(shape, memory.dtype, memory, start * memory.itemsize, strides), layout.writer + lap


class _Execution:
    def __init__(self, function: Function) -> None:
        self._function = function
        self._pieces: dict[Value, Piece] = {}
        self._writers = 1
        clusters = clusters_of(function)
        self._chip = {
            memory: [np.zeros(self._size(SCRATCHPAD_BYTES[memory], memory) // unit, np.int32) for _ in range(clusters)]
            for memory, unit in UNITS.items()
        }
        self._dram = {region: np.zeros(self._size(size, region), np.int32) for region, size in REGION_BYTES.items()}

    def _size(self, annotation: Annotation[int], memory: str) -> int:
        size = annotation.get(self._function)
        if size is None or size < 0:
            raise PassError(f"the tile program has no {memory}_bytes", op=f"@{self._function.name}", found=size)
        return size

    def run(self) -> None:
        leaving: list[tuple[Op, Value]] = []
        for op in self._function.ops:
            if is_op(op, Leave):
                leaving.append((op, op.inputs[0]))
            elif is_op(op, Send):
                self._read(op, op.inputs[0])
            elif is_op(op, Part):
                self._pieces[op.result] = self._piece(op, op.inputs[0]).part(op.operator)
            elif is_op(op, InCluster):
                layout, box = self._piece(op, op.inputs[0])
                memories = (layout.memories[op.operator.cluster],)
                self._pieces[op.result] = Piece(layout._replace(memories=memories), box)
            elif is_op(op, Phase):
                self._pieces[op.result] = self._phase(op)
            elif is_op(op, Reshape):
                self._pieces[op.result] = self._reshaped(op, op.operator.shape)
            else:
                self._execute(op)
        for op, value in leaving:
            self._read(op, value)

    def _execute(self, op: Op) -> None:
        named = zip(op.operator.OPERANDS or (), op.operands, strict=True)
        operands = {name: value for name, value in named if value is not None and value in self._pieces}
        into = operands.pop("into", None)
        reads = [*operands.values()]
        if into is not None and is_op(op, Convolve):
            reads.append(into)
        for value in reads:
            self._read(op, value)
        target = self._pieces[op.result] = self._piece(op, into) if into is not None else self._make(op)
        if is_op(op, Buffer):
            return
        if target.ends_in_block:
            raise self._error(op, f"the op fills the last block of %{op.result.name}, where other channels lie")
        # An instruction may write a part of its result before it has read all of its operands.
        written = {*map(id, self._write(op, target))}
        for value in operands.values():
            piece = self._pieces[value]
            if written.isdisjoint(map(id, piece.layout.memories)):
                continue
            if piece.meets(target) and not (
                is_op(op, Combine, LookUp, Normalize, Requantize, RequantizeWide) and piece.box == target.box
            ):
                raise self._error(op, f"the op writes over %{value.name}, which it reads")
            self._read(op, value)

    def _piece(self, op: Op, value: Value) -> Piece:
        if value not in self._pieces:
            raise self._error(op, f"%{value.name} is no place of the tile program")
        return self._pieces[value]

    def _make(self, op: Op) -> Piece:
        """The place that an op makes, all of it."""
        type = op.result.type
        if not isinstance(type, TileType):
            raise self._error(op, "the op is none of a tile program", found=type)
        if type.memory == "dram":
            layout = self._in_dram(op, type)
        else:
            layout = self._on_chip(op, type)
        laps = -(-type.shape[0] // type.ring) if type.ring else 1
        layout = layout._replace(writer=self._writers)
        self._writers += laps
        return Piece.whole(layout)

    def _on_chip(self, op: Op, type: TileType) -> PlacedUnits:
        memory, unit = type.memory, UNITS[type.memory]
        memories = self._chip[memory]
        address, size, available = ADDRESS.get(op), place_bytes(op), len(memories[0]) * unit
        if address is None or address % unit:
            raise self._error(op, f"%{op.result.name} has no address", f"a multiple of {unit}", address)
        if address < 0 or address + size > available:
            expected, found = f"bytes 0 to {available}", f"{address} to {address + size}"
            raise self._error(op, f"%{op.result.name} leaves the {memory} scratchpad", expected, found)
        mine = tuple(memories) if type.cluster == EVERY_CLUSTER else (memories[type.cluster],)
        if memory != "maps" or type.packed:
            return PlacedUnits(mine, address // unit, (1, 1, 1, size // unit))
        rows, columns, channels = type.shape
        extents, strides = (1, rows, columns, channels), (0, columns * type.blocks, type.blocks)
        return PlacedUnits(mine, address // unit, extents, strides, type.ring, CHANNEL_BLOCK, copies=mine)

    def _in_dram(self, op: Op, type: TileType) -> PlacedUnits:
        address = DRAM.get(op)
        if address is None:
            raise self._error(op, f"%{op.result.name} has no address", found=op.annotations.get(DRAM.key))
        region, offset, pixel, padded = address
        images, rows, columns, channels = type.shape
        reach = -(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK if padded else channels
        end = offset + (images * rows * columns - 1) * pixel + reach
        available = len(self._dram[region])
        if reach > pixel:
            raise self._error(op, f"the pixels of %{op.result.name} overlap", f"at least {reach} bytes apart", pixel)
        if offset < 0 or end > available:
            expected, found = f"bytes 0 to {available}", f"{offset} to {end}"
            raise self._error(op, f"%{op.result.name} leaves region {region!r}", expected, found)
        if (region == "input") != is_op(op, Enter):
            raise self._error(op, "what the host puts there, and nothing else, lies in the input", found=region)
        strides = (rows * columns * pixel, columns * pixel, pixel)
        return PlacedUnits((self._dram[region],), offset, (images, rows, columns, channels), strides, reach=reach)

    def _phase(self, op: Op[Phase]) -> Piece:
        """Every so many rows and columns of a map, or of a box of one on chip, all of its channels or some."""
        layout, box = self._piece(op, op.inputs[0])
        (row, column), (rows, columns) = op.operator.first, op.operator.step
        row, column = row + box[1][0], column + box[2][0]
        image_stride, row_stride, column_stride = layout.strides
        *_, height, width, _ = op.result.type.shape
        images, *_, channels = layout.extents
        found = layout._replace(
            start=layout.start + row * row_stride + column * column_stride,
            extents=(images, height, width, channels),
            strides=(image_stride, rows * row_stride, columns * column_stride),
        )
        return Piece(found, (*Piece.whole(found).box[:3], box[3]))

    def _reshaped(self, op: Op, shape: tuple[int, ...]) -> Piece:
        layout, box = self._piece(op, op.inputs[0])
        whole = [(0, extent) for extent in layout.extents[:3]]
        if [*box[:3]] != whole:
            raise self._error(op, "only a whole map can be reshaped", whole, box[:3])
        images, rows, columns, _ = shape
        pixel = layout.strides[2]
        strides = (rows * columns * pixel, columns * pixel, pixel)
        layout = layout._replace(extents=(images, rows, columns, layout.extents[3]), strides=strides)
        return Piece(layout, ((0, images), (0, rows), (0, columns), box[3]))

    def _read(self, op: Op, value: Value) -> None:
        piece = self._piece(op, value)
        memories = piece.layout.memories
        if len(memories) > 1:
            # Of what lies in all clusters, an instruction reads what lies in its own.
            memories = (memories[cluster_of(op)],)
        for owners, writer in piece.owners(memories, padded=False):
            if np.count_nonzero(owners != writer):
                raise self._error(op, f"%{value.name} does not hold what was written there before this op reads it")

    def _write(self, op: Op, target: Piece) -> tuple[Owners, ...]:
        """Write in the clusters where an instruction does, and give their memories; what others have is old then."""
        layout = target.layout
        memories = _written(op, layout.memories)
        for owners, writer in target.owners(memories, padded=True):
            owners[...] = writer
        source = self._pieces[op.inputs[0]] if is_op(op, Move) else None
        is_copied = source is not None and (source.layout.writer, source.box) == (layout.writer, target.box)
        if len(memories) < len(layout.copies) and not is_copied:
            own = {*map(id, memories)}
            others = tuple(each for each in layout.copies if id(each) not in own)
            for owners, writer in target.owners(others, padded=True):
                owners[owners == writer] = 0
        return memories

    def _error(self, op: Op, message: str, expected: object = None, found: object = None) -> PassError:
        layer = LAYER.get(op)
        where = f" (layer %{layer})" if layer else ""
        return PassError(f"{message}{where}", op=op.name, node=op.node, expected=expected, found=found)


def _written(op: Op, memories: tuple[Owners, ...]) -> tuple[Owners, ...]:
    """Where an instruction writes, of the clusters that a place lies in."""
    own = cluster_of(op)
    receiver: int = getattr(op.operator, "cluster", own)
    if receiver == EVERY_CLUSTER:
        # What the sender of a move has there is what it wrote there itself, if it did.
        return memories[:own] + memories[own + 1 :] if is_op(op, Move) else memories
    at = receiver if is_op(op, Move) else own
    return memories[at : at + 1] if len(memories) > 1 else memories
