"""Maps on chip: which can lie there, which lie inside another one, and which rows of them each cluster touches.

A map that stays on chip lies in the maps scratchpads of one or several clusters as rows of pixels with all their
channels, or with slices of them (:mod:`.apart`), those of further images behind those of the first. Its rows are
therefore counted through: row r of image i is row i * height + r.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from ....ir.annotations import SENDS, SPLIT, Split
from ....ir.core import Op, Value, is_op
from ....ir.feature_map import (
    VIEWS,
    MapShape,
    computed_map,
    convolution_maps,
    exchanges,
    is_by_pixel,
    is_product,
    is_view,
    map_axis,
    map_shape,
    window_of,
)
from ....ir.ops.attention import Attention
from ....ir.ops.movement import Concat, DepthToSpace, Slice
from ....ir.ops.resize import Resize
from ....runtime.machines.machine import CHANNEL_BLOCK
from ...placement.device_support import is_weight, map_operands
from ..attention_views import heads
from ..boxes import Lane, Span, lanes_of, rows_through
from ..fused_pairs import fused_convolution, fused_user, overwritten, residual_of
from ..resampling import resize_axes

Touched = Iterator[tuple[int, Span]]
"""Rows of a map, counted through its images, that an op touches on a cluster."""


class Inside(NamedTuple):
    """Where in another map a map begins. ``row``: counted through the images."""

    whole: Value
    row: int = 0
    column: int = 0
    channel: int = 0


class Begin(NamedTuple):
    """Where a part of a map begins."""

    image: int = 0
    row: int = 0
    column: int = 0
    channel: int = 0


def slice_begin(op: Op[Slice]) -> Begin:
    """Where a slice begins, in the map that it is taken of."""
    begin = [0] * len(Begin._fields)
    for axis, first in enumerate(op.operator.begin):
        begin[map_axis(op.result.type, axis)] = first
    return Begin(*begin)


def begins_of(op: Op[Concat]) -> list[Begin]:
    """Where each operand of a concatenation begins in the result."""
    axis = map_axis(op.result.type, op.operator.axis)
    extents = [map_shape(value.type)[axis] for value in op.inputs]
    return [Begin()._replace(**{Begin._fields[axis]: first}) for first in accumulate(extents[:-1], initial=0)]


def inside_of(value: Value) -> Inside | None:
    """The map in which a map lies where both stay on chip, so that no byte is copied; ``None`` where it lies alone.

    A slice and a view of the same rows are other names of their operand, and the operand of a concatenation is written
    into the result, into the first one that can have it. Some ops write over an operand."""
    same = part_of(value)
    if same is not None or value.producer is None:
        return same
    over = overwritten(value.producer)
    return Inside(over) if over is not None else None


def part_of(value: Value) -> Inside | None:
    """As `inside_of` of maps that have the same bytes where one lies in the other: of none that is written over."""
    op = value.producer
    if op is None:
        return None
    if is_view(op):
        same = map_shape(op.inputs[0].type) == map_shape(value.type)
        return Inside(op.inputs[0]) if same else None
    if is_op(op, Slice):
        return _inside_sliced(op)
    for user in value.users:
        if is_op(user, Concat) and user.operator.axis == 1 and user.inputs.count(value) == 1:
            ahead = user.inputs[: user.inputs.index(value)]
            return Inside(user.result, channel=sum([map_shape(each.type).channels for each in ahead]))
    return None


def _inside_sliced(op: Op[Slice]) -> Inside | None:
    image, row, column, channel = slice_begin(op)
    whole, part = map_shape(op.inputs[0].type), map_shape(op.result.type)
    if channel % CHANNEL_BLOCK or (part.images > 1 and part.height != whole.height):
        return None
    return Inside(op.inputs[0], image * whole.height + row, column, channel)


def obstacle(value: Value) -> str | None:
    """Why a map cannot stay on chip, in words that follow its name; ``None`` if every op that makes or reads it works
    there as well."""
    if value.producer is None:
        return "comes from the host"
    if value.is_returned:
        return _way_out(value, value.producer)
    if not value.uses:
        return "is read by no op"
    if fused_user(value.producer) is not None:
        return "goes into the op that reads it tile by tile"
    made = _cannot_make(value.producer)
    if made is not None:
        return f"is made by {value.producer.name}, {made}"
    for user in value.users:
        read = _cannot_read(user, value)
        if read is not None:
            return f"is read by {user.name} %{user.result.name}, {read}"
    return None


def _way_out(value: Value, producer: Op) -> str:
    """Where a result of its function goes."""
    function = producer.function
    assert function is not None
    peers = [end.card for end in SENDS.get(function) or () if function.results[end.position] is value]
    if len(peers) < function.results.count(value):
        return "leaves the device"
    return "is sent to " + " and ".join(f"card {peer}" for peer in peers)


def _cannot_make(op: Op) -> str | None:
    if is_op(op, Concat) and any(begin.channel % CHANNEL_BLOCK for begin in begins_of(op)):
        return f"whose operands do not begin at multiples of {CHANNEL_BLOCK} channels"
    return _cannot_multiply(fused_convolution(op) or op, 1)


def _cannot_read(op: Op, value: Value) -> str | None:
    if any(each is value and is_weight(op, index) for index, each in enumerate(op.operands)):
        return "as weights"
    if is_op(op, Slice) and slice_begin(op)[3] % CHANNEL_BLOCK:
        return f"which does not begin at a multiple of {CHANNEL_BLOCK} channels"
    if is_op(op, DepthToSpace) and map_shape(op.result.type).channels % CHANNEL_BLOCK:
        return f"whose phases do not begin at multiples of {CHANNEL_BLOCK} channels"
    if is_view(op) and map_shape(op.result.type) != map_shape(value.type):
        return "which makes other rows of it"
    fused = fused_convolution(op)
    return _cannot_multiply(fused or op, 0 if fused is None else 1)


def _cannot_multiply(op: Op, side: int) -> str | None:
    if not is_product(op):
        return None
    own = map_shape((op.inputs[0], op.result)[side].type)
    if convolution_maps(op)[side].width != own.width:
        return "which takes its rows as pixels of one"
    return None


def rows_made(op: Op) -> Touched:
    """The rows of its result that an op makes on each cluster."""
    op = fused_convolution(op) or op
    if is_op(op, DepthToSpace):
        phase, step = _phase(op), op.operator.blocksize
        for cluster, (first, count) in _through(phase, lanes_of(op, phase)):
            yield cluster, (step * first, step * count)
        return
    if not is_op(op, Concat):
        yield from _through(computed_map(op), lanes_of(op, computed_map(op)))
        return
    height = map_shape(op.result.type).height
    for value, begin in zip(op.inputs, begins_of(op), strict=True):
        shape = map_shape(value.type)
        for cluster, (first, count) in _through(shape, lanes_of(op, shape)):
            image, row = divmod(first, shape.height)
            yield cluster, ((begin.image + image) * height + begin.row + row, count)


def rows_read(op: Op, value: Value) -> Touched:
    """The rows of an operand that an op reads on each cluster."""
    shape = map_shape(value.type)
    if fused_convolution(op) is not None and value.type.shape == op.result.type.shape:
        yield from rows_made(op)
    elif is_product(op):
        source, target = convolution_maps(op)
        if value is residual_of(op):
            yield from rows_made(op)
        for lane in lanes_of(op, target) if value is op.inputs[0] else ():
            rows = rows_through(window_of(op), lane.rows, source.height)
            yield from _through(source, [lane], rows)
    elif is_op(op, Attention):
        every = 0, shape.images * shape.height
        # Where heads stand one below the other in the result, or in another order, its rows are not the queries'.
        is_by_row = value not in op.inputs[1:] and all(head.q.row == head.y.row for head in heads(op))
        for lane in lanes_of(op, computed_map(op)):
            yield lane.cluster, lane.rows if is_by_row else every
    elif is_by_pixel(op) and shape[:3] == map_shape(op.result.type)[:3]:
        yield from rows_made(op)
    elif is_op(op, Concat):
        yield from _through(shape, lanes_of(op, shape))
    elif is_op(op, DepthToSpace):
        yield from _through(_phase(op), lanes_of(op, _phase(op)))
    elif is_op(op, Slice):
        image, row, _, _ = slice_begin(op)
        for cluster, (first, count) in rows_made(op):
            # The images of the slice have fewer rows than those that it is taken of.
            height = map_shape(op.result.type).height
            at, inner = divmod(first, height)
            yield cluster, ((image + at) * shape.height + row + inner, count)
    else:
        for lane in lanes_of(op, computed_map(op)):
            yield from _through(shape, [lane], rows_below(op, shape, lane.rows))


def _phase(op: Op[DepthToSpace]) -> MapShape:
    """The pixels of the result that are made of the same channels of the operand."""
    return map_shape(op.inputs[0].type)._replace(channels=map_shape(op.result.type).channels)


def rows_below(op: Op, shape: MapShape, outputs: Span) -> Span:
    """The rows of an image that rows of the result need."""
    if is_op(op, Resize):
        return resize_axes(op)[0].part(*outputs).reads
    window = window_of(op)
    if exchanges(op):
        return 0, shape.height
    if window.taps == 1 and shape.height != computed_map(op).height and window.stride == (1, 1):
        return 0, shape.height  # one row, which is repeated
    return rows_through(window, outputs, shape.height)


class Rows:
    """The rows that ops make and read, remembered for each way to split an op.
    ``inside``: as `inside_of`, or what it is given, remembered."""

    def __init__(self, inside: Callable[[Value], Inside | None] = inside_of) -> None:
        self.inside = cache(inside)
        self._known: dict[tuple[Op, Value | None, Split | None], tuple[tuple[int, Span], ...]] = {}

    def of(self, op: Op, operand: Value | None = None) -> tuple[tuple[int, Span], ...]:
        """Those of an operand that an op reads on each cluster, or of its result that it makes."""
        key = op, operand, SPLIT.get(op)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = tuple(rows_made(op) if operand is None else rows_read(op, operand))
        return found


def _through(shape: MapShape, lanes: list[Lane], rows: Span | None = None) -> Touched:
    """Rows of each image of a map, those of the lanes themselves by default."""
    for lane in lanes:
        first, count = rows or lane.rows
        # The only image of an operand may be read for every image of the result.
        for image in range(lane.images[0], sum(lane.images)) if shape.images > 1 else (0,):
            yield lane.cluster, (image * shape.height + first, count)


def copied(op: Op, kept: AbstractSet[Value]) -> list[Value]:
    """The operands that an op really reads, given which maps stay on chip: those that only move maps read none that
    lies in the result, or the result in it."""
    operands = map_operands(op)
    if op.result not in kept or not isinstance(op.operator, (Concat, Slice, *VIEWS)):
        return operands
    return [value for value in operands if value not in kept or not _is_inside(op, value)]


def _is_inside(op: Op, value: Value) -> bool:
    inside = inside_of(value) if is_op(op, Concat) else inside_of(op.result)
    return inside is not None and inside.whole is (op.result if is_op(op, Concat) else value)
