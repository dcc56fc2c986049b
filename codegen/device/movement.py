"""What moves maps without computing: concatenation, slices, reshapes that change no byte."""

from __future__ import annotations

from dataclasses import replace

from ...ir.core import Op
from ...ir.feature_map import MapShape
from ...ir.ops.movement import Concat, Slice
from ...ir.ops.shape import Reshape
from .emit import Emitter, lowers
from .maps import Box, MapView, tiles_of


def copy_map(source: MapView, target: MapView, op: Op, emitter: Emitter) -> None:
    """Copy a map through the scratchpad, tile by tile."""
    for box in tiles_of(op, target.shape):
        address = emitter.maps.take(box.chip_bytes)
        emitter.load_map(source, box, address)
        emitter.store_map(target, box, address)


def _same_address(a: MapView, b: MapView) -> bool:
    return (a.region, a.offset, a.pixel) == (b.region, b.offset, b.pixel)


@lowers(Concat)
def lower_concat(op: Op, emitter: Emitter) -> None:
    """Copy the operands that have not been written into the buffer of the result in the first place."""
    concat, whole = op.operator, emitter.views[op.result]
    assert isinstance(concat, Concat)
    position = 0
    for value in op.inputs:
        source = emitter.views[value]
        part = _part(whole, concat.axis, position, source.shape, op.result.type.rank)
        position += value.type.shape[concat.axis]
        if not _same_address(source, part):
            copy_map(source, part, op, emitter)


def _part(whole: MapView, axis: int, first: int, shape: MapShape, rank: int) -> MapView:
    """The view of one operand inside the result of a concatenation along channels."""
    if axis == 1:
        return whole.channels(first, shape.channels)
    raise AssertionError(f"concatenation along axis {axis} of rank {rank} is not placed on the device")


@lowers(Reshape)
def lower_reshape(op: Op, emitter: Emitter) -> None:
    """Nothing, where the result is another name for the operand; otherwise a copy of equal bytes."""
    source, target = emitter.views[op.inputs[0]], emitter.views[op.result]
    if not _same_address(source, target):
        copy_map(replace(source, shape=target.shape, pixel=source.pixel), target, op, emitter)


@lowers(Slice)
def lower_slice(op: Op, emitter: Emitter) -> None:
    """Copy a box of the operand."""
    cut = op.operator
    assert isinstance(cut, Slice)
    source, target = emitter.views[op.inputs[0]], emitter.views[op.result]
    begin = _begin(cut.begin)
    for box in tiles_of(op):
        read = Box(
            box.image + begin.images,
            (box.rows[0] + begin.height, box.rows[1]),
            (box.columns[0] + begin.width, box.columns[1]),
            (box.channels[0] + begin.channels, box.channels[1]),
        )
        address = emitter.maps.take(box.chip_bytes)
        emitter.load_map(source, read, address)
        emitter.store_map(target, box, address)


def _begin(begin: tuple[int, ...]) -> MapShape:
    """Where a slice begins, as image, row, column and channel."""
    if len(begin) == 4:
        return MapShape(begin[0], begin[2], begin[3], begin[1])
    if len(begin) == 3:
        return MapShape(begin[0], 0, begin[2], begin[1])
    return MapShape(0, 0, begin[0], begin[1])
