"""What moves maps without computing: concatenation, slices, other names of the same bytes."""

from itertools import product

from ....ir.core import Op, Value
from ....ir.feature_map import exchanges, map_shape
from ....ir.ops.movement import Concat, DepthToSpace, Slice
from ....ir.tile.places import Part
from ..kept.chip_places import Begin, begins_of, slice_begin
from .chip_map import ChipMap
from .exchange import lower_exchange
from .program import TileProgram

_START = Begin()


def _copy(
    source: Value | ChipMap, target: Value | ChipMap, op: Op, program: TileProgram, begin: Begin = _START
) -> None:
    """Copy a map, or the part of one that begins at some image, row, column and channel, tile by tile."""
    for box in program.tiles(op, program.shape(target)):
        program.copy(source, _moved(box, begin), target, box)


def _moved(box: Part, by: Begin) -> Part:
    spans = zip((box.rows, box.columns, box.channels), by[1:], strict=True)
    return Part(box.image + by.image, *((first + more, count) for (first, count), more in spans))


def lower_concat(op: Op[Concat], program: TileProgram) -> None:
    """Copy the operands that have not been written into the buffer of the result in the first place."""
    whole, copied = program.map(op.result), program.copied(op)
    for value, begin in zip(op.inputs, begins_of(op), strict=True):
        source = program.map(value)
        in_place = not isinstance(source, ChipMap) and program.owner(value) is op.result
        if value in copied and not (in_place and not isinstance(whole, ChipMap)):
            for box in program.tiles(op, map_shape(value.type)):
                program.copy(source, box, whole, _moved(box, begin))


def lower_depth_to_space(op: Op[DepthToSpace], program: TileProgram) -> None:
    """Make the channels of each phase every so many rows and columns of the result."""
    step, count = op.operator.blocksize, map_shape(op.result.type).channels
    assert op.operator.mode == "DCR", "the channels of a phase follow each other"
    source, target = program.map(op.inputs[0]), program.map(op.result)
    phases = [
        (program.channels(source, index * count, count), first)
        for index, first in enumerate(product(range(step), range(step)))
    ]
    if not isinstance(target, ChipMap):
        for part, first in phases:
            _copy(part, program.phase(target, step, first), op, program)
        return
    for box in program.tiles(op, program.shape(phases[0][0])):
        rows, columns = ((first * step, extent * step) for first, extent in (box.rows, box.columns))
        whole = Part(box.image, rows, columns, box.channels)
        for part, first in phases:
            into = program.phase(program.held(target, whole), step, first)
            program.make(into, *program.copied_to_chip(part, box))
        program.hand_on(target, whole)


def lower_view(op: Op, program: TileProgram) -> None:
    """Nothing, where the result is another name for the operand; otherwise a copy of equal bytes, or of bytes that
    change places."""
    operand = op.inputs[0]
    if exchanges(op):
        lower_exchange(op, program)
        return
    if operand not in program.copied(op):
        return
    source, target = program.map(operand), program.map(op.result)
    if program.owner(op.result) is not operand or isinstance(target, ChipMap) or isinstance(source, ChipMap):
        _copy(program.reshaped(source, map_shape(op.result.type)), target, op, program)


def lower_slice(op: Op[Slice], program: TileProgram) -> None:
    """Copy a box of the operand."""
    if program.copied(op):
        _copy(program.map(op.inputs[0]), program.map(op.result), op, program, slice_begin(op))
