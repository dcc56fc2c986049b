"""What moves maps without computing: concatenation, slices, reshapes that change no byte."""

from __future__ import annotations

from dataclasses import replace

from ...ir.core import Op
from ...ir.ops.movement import Concat, Slice
from ...ir.ops.shape import Reshape
from .emit import Emitter, lowers
from .maps import Box, MapView, tiles_of


def _copy(
    source: MapView, target: MapView, op: Op, emitter: Emitter, begin: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> None:
    """Copy a map, or the part of one that begins at some image, row, column and channel, tile by tile."""
    image, row, column, channel = begin
    for box in tiles_of(op, target.shape):
        read = Box(
            box.image + image,
            (box.rows[0] + row, box.rows[1]),
            (box.columns[0] + column, box.columns[1]),
            (box.channels[0] + channel, box.channels[1]),
        )
        address = emitter.maps.take(box.chip_bytes)
        emitter.load_map(source, read, address)
        emitter.store_map(target, box, address)


def _same_address(a: MapView, b: MapView) -> bool:
    return (a.region, a.offset, a.pixel) == (b.region, b.offset, b.pixel)


@lowers(Concat)
def lower_concat(op: Op[Concat], emitter: Emitter) -> None:
    """Copy the operands that have not been written into the buffer of the result in the first place."""
    assert op.operator.axis == 1, "the device concatenates channels"
    channel = 0
    for value in op.inputs:
        source = emitter.views[value]
        part = emitter.views[op.result].channels(channel, source.shape.channels)
        channel += source.shape.channels
        if not _same_address(source, part):
            _copy(source, part, op, emitter)


@lowers(Reshape)
def lower_reshape(op: Op, emitter: Emitter) -> None:
    """Nothing, where the result is another name for the operand; otherwise a copy of equal bytes."""
    source, target = emitter.views[op.inputs[0]], emitter.views[op.result]
    if not _same_address(source, target):
        _copy(replace(source, shape=target.shape), target, op, emitter)


@lowers(Slice)
def lower_slice(op: Op[Slice], emitter: Emitter) -> None:
    """Copy a box of the operand."""
    begin = op.operator.begin
    # As in map_shape, but from 0.
    if len(begin) == 4:
        first = (begin[0], begin[2], begin[3], begin[1])
    elif len(begin) == 3:
        first = (begin[0], 0, begin[2], begin[1])
    else:
        first = (0, 0, begin[0], begin[1])
    _copy(emitter.views[op.inputs[0]], emitter.views[op.result], op, emitter, first)
