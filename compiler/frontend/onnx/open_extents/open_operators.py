"""Operators that read or make extents, where the data decide these: what the importers do then."""

import math
from collections.abc import Sequence

import numpy as np

from .....ir.core import Value
from .....ir.ops.elementwise import Add, Div, Max, Min, Mod, Mul
from .....ir.ops.indexing import Gather
from .....ir.ops.movement import Concat, Pad, Slice
from .....ir.ops.reduction import TopK
from .....ir.ops.shape import Expand, Reshape
from .....ir.types import DType
from ...builder import SourceNode
from ...movement import filler_of
from ...shape import cast
from .intervals import UNKNOWN, Count, Extent, factors, room, span, text_of
from .missing_bounds import bound_hint
from .open_rules import end_of, regrouped
from .open_shapes import OPEN_HINT, OpenShapes


def extents_of(node: SourceNode, open: OpenShapes, index: int, what: str) -> list[Extent]:
    """The elements of an input that holds extents, positions or their like.
    Raises UnsupportedError: it is no small tensor of integers."""
    found = open.elements(node.input(index))
    if found is None:
        raise node.unsupported(f"{what} must be integers, known at compile time or few", found=node.input(index).type)
    return found


def bounded(node: SourceNode, open: OpenShapes, extents: Sequence[Extent], what: str) -> list[Extent]:
    """The extents, none below 0 and each with a bound. Raises UnsupportedError: there is no bound for one."""
    for extent in extents:
        if span(extent)[1] >= UNKNOWN:
            raise node.unsupported(
                f"{what} follows from the data, and nothing says how large it can be",
                found=text_of(extents),
                hint=f"{bound_hint(open, extent)}{OPEN_HINT}",
            )
    return list(extents)


def selected(open: OpenShapes, value: Value, axis: int, count: Value, least: int = 0) -> Value:
    """What an operator selected along an axis, of a true extent, i64[], as a tensor of open extent.
    ``least``: the least that the extent can be where there is room for any."""
    extents = list[Extent](value.type.shape)
    most = value.type.shape[axis]
    extents[axis] = open.count(count, least, most) if most else 0
    if room(extents[axis]) > most:
        shape = [1 if d == axis else e for d, e in enumerate(value.type.shape)]
        value = open.apply_one(Concat(axis), value, open.constant(np.zeros(shape), value.type.dtype, "filler"))
    return open.opened(open.cut(value, [*map(room, extents)]), extents)


def reshaped(node: SourceNode, open: OpenShapes, x: Value, wanted: Sequence[Extent], *, zero_copies: bool) -> Value:
    """``x`` under another shape, of which one extent may be -1.
    Raises UnsupportedError: nothing says that the shape has as many elements."""
    own = open.shape(x)
    shape = [own[d] if zero_copies and e == 0 and d < len(own) else e for d, e in enumerate(wanted)]
    left = [d for d, extent in enumerate(shape) if span(extent)[0] < 0]
    if len(left) == 1:
        others = [extent for d, extent in enumerate(shape) if d != left[0]]
        whole, known = open.product(own), open.product(others)
        rest = open.divide(whole, known) if known != 0 else None
        if rest is not None and factors(own) != factors([*others, rest]):
            # Where the data leave elements over, the run ends.
            rest = open.divide(open.same(whole, open.product([*others, rest])), known)
        if rest is not None:
            shape[left[0]] = rest
    if not left and factors(own) != factors(shape):
        x, shape = _with_one_count(open, x, shape)
        own = open.shape(x)
    if any(span(extent)[0] < 0 for extent in shape) or (not left and factors(own) != factors(shape)):
        raise node.unsupported(
            "nothing says at compile time that the shape has as many elements as x",
            expected=text_of(own),
            found=text_of(shape),
            hint=OPEN_HINT,
        )
    rooms = tuple(map(room, shape))
    same_room = math.prod(rooms) == math.prod(x.type.shape)
    if same_room and regrouped(open, own, rooms) == tuple(shape):
        return open.opened(open.apply_one(Reshape(rooms), x), shape)
    return _repacked(open, x, shape)


def _with_one_count(open: OpenShapes, x: Value, shape: list[Extent]) -> tuple[Value, list[Extent]]:
    """``x`` and a shape which have the same elements if one count of each is the same: the run ends where it is not."""
    own = list(open.shape(x))
    apart = [next((e for e in a if isinstance(e, Count) and e not in b), None) for a, b in ((own, shape), (shape, own))]
    given, wanted = apart
    others = [[e for e in s if e is not each] for s, each in ((own, given), (shape, wanted))]
    if given is None or wanted is None or factors(others[0]) != factors(others[1]):
        return x, shape
    both = open.same(given, wanted)
    own, shape = ([both if e is each else e for e in s] for s, each in ((own, given), (shape, wanted)))
    rooms = [*map(room, own)]
    return open.opened(open.apply_one(Reshape(tuple(rooms)), open.cut(x, rooms)), own), shape


def _repacked(open: OpenShapes, x: Value, shape: Sequence[Extent]) -> Value:
    """``x`` under a shape whose elements lie elsewhere in its room: each is looked up by its number in the whole."""
    rooms, own = tuple(map(room, shape)), open.shape(x)
    numbers = open.constant(np.zeros(rooms), DType.I64, "numbers")
    for d in range(len(shape)):
        step = open.value(open.product(shape[d + 1 :]))
        numbers = open.apply_one(Add(), numbers, open.apply_one(Mul(), open.positions(rooms[d], d, len(rooms)), step))
    places = open.constant(np.zeros(rooms), DType.I64, "places")
    for d, extent in enumerate(own):
        part = open.apply_one(Div(), numbers, open.value(open.product(own[d + 1 :])))
        part = open.apply_one(Mod(), part, open.value(extent)) if d else part
        pitch = open.constant(math.prod(x.type.shape[d + 1 :]), DType.I64, "pitch")
        places = open.apply_one(Add(), places, open.apply_one(Mul(), part, pitch))
    last = open.constant(max(0, x.type.elements - 1), DType.I64, "last")
    flat = open.apply_one(Reshape((x.type.elements,)), x)
    return open.opened(open.apply_one(Gather(0), flat, open.apply_one(Min(), places, last)), shape)


def expanded(node: SourceNode, open: OpenShapes, x: Value, wanted: Sequence[Extent]) -> Value:
    """``x`` repeated until it has the shape that it and ``wanted`` broadcast to."""
    shape = open.broadcast([open.shape(x), tuple(bounded(node, open, wanted, "the shape"))])
    return open.opened(open.apply_one(Expand(tuple(map(room, shape))), open.fitted(x, shape)), shape)


def slices(
    node: SourceNode,
    open: OpenShapes,
    x: Value,
    starts: Sequence[Extent],
    ends: Sequence[Extent],
    axes: Sequence[int],
    steps: Sequence[int],
) -> Value:
    """A part of ``x``, as :func:`..movement.sliced` has it."""
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.model_error("starts, ends, axes and steps have different lengths")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = part_of(node, open, x, node.from_front(axis, x.type.rank), start, end, step)
    return x


def part_of(
    node: SourceNode, open: OpenShapes, x: Value, axis: int, start: Extent, end: Extent, step: int = 1
) -> Value:
    """A part of ``x`` along one axis."""
    extent = open.shape(x)[axis]
    if step == 0:
        raise node.model_error("the step of a slice must not be 0")
    if step < 0:
        # All of it, from the last on.
        is_last = start == -1 or (isinstance(start, int) and start >= span(extent)[1] - 1)
        if not is_last or not isinstance(end, int) or end >= -span(extent)[1]:
            raise node.unsupported("the data decide where a slice that goes backwards begins or ends", hint=OPEN_HINT)
        begin, length = open.subtract(extent, 1), extent
    else:
        begin = open.clipped_index(start, extent)
        length = open.larger(open.subtract(open.clipped_index(end, extent), begin), 0)
    count = length
    if abs(step) != 1:
        rounded = open.divide(open.add(length, abs(step) - 1), abs(step))
        assert rounded is not None
        count = rounded
    shape = [count if d == axis else e for d, e in enumerate(open.shape(x))]
    most, rooms = room(count), x.type.shape
    if isinstance(begin, int) and step > 0 and begin + (most - 1) * step < rooms[axis]:
        begins = tuple(begin if d == axis and most else 0 for d in range(len(rooms)))
        extents = tuple(most if d == axis else e for d, e in enumerate(rooms))
        part = Slice(begins, extents, tuple(step if d == axis else 1 for d in range(len(rooms))))
        return open.opened(open.apply_one(part, x), shape)
    offsets = open.constant(np.arange(most) * step, DType.I64, "offsets")
    places = open.apply_one(Add(), offsets, open.value(begin))
    places = open.apply_one(Min(), places, open.value(max(rooms[axis] - 1, 0)))
    places = open.apply_one(Max(), places, open.value(0))
    return open.opened(open.apply_one(Gather(axis), x, places), shape)


def padded(
    node: SourceNode,
    open: OpenShapes,
    x: Value,
    before: Sequence[Extent],
    after: Sequence[Extent],
    value: np.ndarray | None,
) -> Value:
    """``x`` with further elements around it, all the same, where the data decide how many go behind what is there.
    Raises UnsupportedError: they decide how many go in front."""
    front = [max(0, pad) for pad in before if isinstance(pad, int)]
    if len(front) < len(before):
        raise node.unsupported("the data decide how a pad moves what is there", found=text_of(before), hint=OPEN_HINT)
    for axis, pad in enumerate(before):
        if isinstance(pad, int) and pad < 0:
            x = part_of(node, open, x, axis, -pad, open.shape(x)[axis])
    sums = [open.add(open.add(e, pad), b) for e, pad, b in zip(open.shape(x), front, after, strict=True)]
    shape = bounded(node, open, [open.larger(extent, 0) for extent in sums], "a padded extent")
    filler = filler_of(node, value)
    x = open.filled(x, filler)
    behind = (max(0, room(s) - pad - e) for s, pad, e in zip(shape, front, x.type.shape, strict=True))
    whole = open.apply_one(Pad((*front, *behind), "constant", filler), x)
    return open.opened(open.cut(whole, [*map(room, shape)]), shape)


def split_into(node: SourceNode, open: OpenShapes, x: Value, axis: int, sizes: Sequence[Extent]) -> list[Value]:
    """Parts of ``x`` of these sizes, one behind the other."""
    parts, start = list[Value](), list[Extent]([0])
    for size in sizes:
        end = open.add(start[-1], size)
        parts.append(part_of(node, open, x, axis, start[-1], end))
        start.append(end)
    return parts


def best(node: SourceNode, open: OpenShapes, x: Value, axis: int, count: Extent, *, largest: bool) -> list[Value]:
    """As TopK; the run ends where there are fewer than so many."""
    whole = open.shape(x)
    count = open.at_most(count, whole[axis])
    most = room(count)
    if most > x.type.shape[axis]:
        raise node.unsupported("the data decide how many of a single element are taken", found=text_of(whole))
    x = open.filled(x, end_of(x.type.dtype, lowest=largest), [axis])
    shape = (*whole[:axis], count, *whole[axis + 1 :])
    return [open.opened(result, shape) for result in open.apply(TopK(axis, most, largest), x)]


def progression(node: SourceNode, open: OpenShapes, numbers: Sequence[Extent], dtype: DType) -> Value:
    """The numbers from the first on in steps of the third, the second not reached."""
    start, stop, step = numbers
    if not isinstance(step, int) or step == 0:
        raise node.unsupported("the data decide the step of a range", hint=OPEN_HINT)
    length = open.subtract(stop, start) if step > 0 else open.subtract(start, stop)
    count = open.larger(open.divide(open.add(open.larger(length, 0), abs(step) - 1), abs(step)) or 0, 0)
    (count,) = bounded(node, open, [count], "the length of a range")
    most = room(count)
    steps = open.builder.described(node, (most,), DType.I64, lambda: np.arange(most) * step)
    return cast(open.builder, open.opened(open.apply_one(Add(), steps, open.value(start)), [count]), dtype)


def scalar_extent(node: SourceNode, open: OpenShapes, index: int, what: str) -> Extent:
    """The only element of an input."""
    found = extents_of(node, open, index, what)
    if len(found) != 1:
        raise node.model_error(f"{what} must be one integer", found=f"{len(found)} elements")
    return found[0]
