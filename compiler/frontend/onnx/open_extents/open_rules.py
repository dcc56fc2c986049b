"""What operators make of tensors whose extents the data decide: the true shapes of their results.

Where an operator would mix filler with what is there, filler is first replaced by what changes nothing: 0 in a sum, the
lowest number in a maximum, a slice that is there for an index.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from .....ir.core import Value
from .....ir.op import Operator
from .....ir.ops import reduction
from .....ir.ops.comparison import GreaterOrEqual, Where
from .....ir.ops.elementwise import Add, Div, Elementwise, Min, Sub
from .....ir.ops.indexing import Gather, GatherElements, GatherND, OneHot, ScatterElements, ScatterND
from .....ir.ops.movement import Concat, Pad, Slice, Split, Tile, Transpose, Trilu
from .....ir.ops.normalization import LpNorm, NormalizeL2
from .....ir.ops.quantization import DequantizeLinear, DynamicQuantizeLinear, QuantizeLinear
from .....ir.ops.shape import Cast, Expand, Reshape
from .....ir.ops.softmax import AlongAxis
from .....ir.types import DType
from .intervals import Count, Extent, Shape, room
from .open_shapes import OpenShapes, of_open_shapes


def end_of(dtype: DType, *, lowest: bool) -> float | int | bool:
    """What no number of an element type is below, or above: an infinity where there is one."""
    if dtype is DType.BOOL:
        return not lowest
    if dtype.is_float:
        return -np.inf if lowest else np.inf
    span = np.iinfo(dtype.numpy)
    return span.min if lowest else span.max


@of_open_shapes(Elementwise)
def elementwise(open: OpenShapes, operator: Operator, *operands: Value | None) -> list[Value]:
    """Filler is computed with like any numbers."""
    shape = open.broadcast([open.shape(value) for value in operands if value is not None])
    fitted = [open.fitted(value, shape) if value is not None else None for value in operands]
    return [open.opened(open.apply_one(operator, *fitted), shape)]


@of_open_shapes(QuantizeLinear, DequantizeLinear, Trilu)
def like_the_first(open: OpenShapes, operator: Operator, x: Value, *parameters: Value | None) -> list[Value]:
    open.check_closed(operator.name, parameters)
    return [open.opened(open.apply_one(operator, x, *parameters), open.shape(x))]


@of_open_shapes(DynamicQuantizeLinear)
def dynamic_quantize(open: OpenShapes, operator: Operator, x: Value) -> list[Value]:
    """0 is always within the range that is measured."""
    y, *others = open.apply(operator, open.filled(x))
    return [open.opened(y, open.shape(x)), *others]


@of_open_shapes(Transpose)
def transposed(open: OpenShapes, operator: Transpose, x: Value) -> list[Value]:
    shape = open.shape(x)
    return [open.opened(open.apply_one(operator, x), [shape[axis] for axis in operator.perm])]


@of_open_shapes(Reshape)
def reshaped(open: OpenShapes, operator: Reshape, x: Value) -> list[Value]:
    """To a shape that was worked out of the room."""
    shape = regrouped(open, open.shape(x), operator.shape)
    if shape is None:
        raise open.refusal(f"a reshape to {list(operator.shape)}", [x])
    return [open.opened(open.apply_one(operator, x), shape)]


def regrouped(open: OpenShapes, shape: Shape, wanted: tuple[int, ...]) -> Shape | None:
    """The true shape of a tensor under another room: extents are equal, split, or joined with those behind them."""
    found: list[Extent] = []
    source = 0
    target = 0
    while source < len(shape) or target < len(wanted):
        if source < len(shape) and shape[source] == 1:
            source += 1
            continue
        if target < len(wanted) and wanted[target] == 1:
            found.append(1)
            target += 1
            continue
        if source == len(shape) or target == len(wanted):
            return None
        # As few extents of each as make the same product.
        first, start = source, target
        have, need = room(shape[source]), wanted[target]
        while have != need:
            if have < need and source + 1 < len(shape):
                source += 1
                have *= room(shape[source])
            elif need < have and target + 1 < len(wanted):
                target += 1
                need *= wanted[target]
            else:
                return None
        source, target = source + 1, target + 1
        leading, *others = shape[first:source]
        if any(isinstance(extent, Count) for extent in others):
            return None
        rest, behind = math.prod(map(room, others)), math.prod(wanted[start + 1 : target])
        if isinstance(leading, Count):
            if rest % behind:
                return None
            joined = open.product([leading, rest // behind])
            if room(joined) != wanted[start]:
                return None
            found += [joined, *wanted[start + 1 : target]]
        else:
            found += wanted[start:target]
    return tuple(found)


@of_open_shapes(Expand)
def expanded(open: OpenShapes, operator: Expand, x: Value) -> list[Value]:
    own, shape = open.shape(x), list[Extent](operator.shape)
    for d, extent in enumerate(own, len(shape) - len(own)):
        shape[d] = extent if isinstance(extent, Count) else shape[d]
    return [open.opened(open.apply_one(operator, x), shape)]


@of_open_shapes(Slice)
def sliced(open: OpenShapes, operator: Slice, x: Value) -> list[Value]:
    for axis in open.axes(x):
        if (operator.begin[axis], operator.extent[axis], operator.step[axis]) != (0, x.type.shape[axis], 1):
            raise open.refusal("a slice", [x])
    shape = [a if isinstance(a, Count) else b for a, b in zip(open.shape(x), operator.extent, strict=True)]
    return [open.opened(open.apply_one(operator, x), shape)]


@of_open_shapes(Split)
def split(open: OpenShapes, operator: Split, x: Value) -> list[Value]:
    if operator.axis in open.axes(x):
        raise open.refusal("a split", [x])
    shape = open.shape(x)
    parts = open.apply(operator, x)
    before, after = shape[: operator.axis], shape[operator.axis + 1 :]
    return [open.opened(part, (*before, size, *after)) for part, size in zip(parts, operator.sizes, strict=True)]


@of_open_shapes(Tile, Pad)
def tiled(open: OpenShapes, operator: Tile | Pad, x: Value) -> list[Value]:
    result = open.apply_one(operator, x)
    shape = list[Extent](result.type.shape)
    for axis in open.axes(x):
        if shape[axis] != x.type.shape[axis]:
            raise open.refusal(operator.name, [x])
        shape[axis] = open.shape(x)[axis]
    return [open.opened(result, shape)]


@of_open_shapes(Concat)
def joined(open: OpenShapes, operator: Concat, *operands: Value) -> list[Value]:
    """What is there of each part, without filler between them."""
    parts, axis = [*operands], operator.axis
    shapes = [list(open.shape(part)) for part in parts]
    whole = list(shapes[0])
    for shape in shapes[1:]:
        whole = [a if d == axis else open.same(a, b) for d, (a, b) in enumerate(zip(whole, shape, strict=True))]
    lengths = [shape[axis] for shape in shapes]
    for d, extent in enumerate(whole):
        if d != axis:
            parts = [
                open.cut(p, [min(e, room(extent)) if i == d else e for i, e in enumerate(p.type.shape)]) for p in parts
            ]
    starts = list(accumulate(lengths, open.add, initial=0))
    whole[axis] = starts[-1]
    y = open.apply_one(operator, *parts)
    if any(isinstance(length, Count) for length in lengths[:-1]):
        y = open.apply_one(Gather(axis), y, _sources(open, starts[:-1], lengths, room(whole[axis])))
    return [open.opened(open.cut(y, [min(e, room(w)) for e, w in zip(y.type.shape, whole, strict=True)]), whole)]


def _sources(open: OpenShapes, starts: Sequence[Extent], lengths: Sequence[Extent], count: int) -> Value:
    """Where each position of a whole lies in its parts' rooms, one behind the other."""
    position = source = open.positions(count)
    place = 0
    for start, length in zip(starts, lengths, strict=True):
        if place:
            behind = open.apply_one(GreaterOrEqual(), position, open.value(start))
            offset = open.value(open.subtract(place, start))
            source = open.apply_one(Where(), behind, open.apply_one(Add(), position, offset), source)
        place += room(length)
    return open.apply_one(Min(), source, open.value(place - 1))


@of_open_shapes(Gather)
def gathered(open: OpenShapes, operator: Gather, x: Value, indices: Value) -> list[Value]:
    shape, axis = open.shape(x), operator.axis
    indices = open.filled(open.indices_into(indices, [shape[axis]]))
    result = (*shape[:axis], *open.shape(indices), *shape[axis + 1 :])
    return [open.opened(open.apply_one(operator, x, indices), result)]


@of_open_shapes(GatherND)
def gathered_nd(open: OpenShapes, operator: GatherND, x: Value, indices: Value) -> list[Value]:
    """Open dimensions of the batch are those of both."""
    batch, shapes = operator.batch_dims, (open.shape(x), open.shape(indices))
    last = batch + indices.type.shape[-1]
    if indices.type.rank - 1 in open.axes(indices):
        raise open.refusal(operator.name, [x, indices])
    both = [open.same(a, b) for a, b in zip(*(shape[:batch] for shape in shapes), strict=True)]
    x, indices = (
        open.opened(open.cut(value, (*map(room, both), *value.type.shape[batch:])), (*both, *shape[batch:]))
        for value, shape in zip((x, indices), shapes, strict=True)
    )
    shape = open.shape(x)
    indices = open.filled(open.indices_into(indices, shape[batch:last], is_row=True))
    return [open.opened(open.apply_one(operator, x, indices), (*open.shape(indices)[:-1], *shape[last:]))]


@of_open_shapes(GatherElements)
def gathered_elements(open: OpenShapes, operator: GatherElements, x: Value, indices: Value) -> list[Value]:
    own, axis = open.shape(x), operator.axis
    shape = [e if d == axis else open.at_most(e, own[d]) for d, e in enumerate(open.shape(indices))]
    indices = open.filled(open.indices_into(indices, [own[axis]]))
    indices = open.cut(indices, [min(e, room(s)) for e, s in zip(indices.type.shape, shape, strict=True)])
    return [open.opened(open.apply_one(operator, x, indices), shape)]


@of_open_shapes(ScatterElements, ScatterND)
def scattered(open: OpenShapes, operator: ScatterElements | ScatterND, *operands: Value) -> list[Value]:
    """Updates of filler go to a slice behind x that is cut off again."""
    x, indices, updates = operands
    shape = open.shape(x)
    is_row = isinstance(operator, ScatterND)
    axis = 0 if isinstance(operator, ScatterND) else operator.axis
    if is_row and indices.type.rank - 1 in open.axes(indices):
        raise open.refusal(operator.name, operands)
    for d in open.axes(updates):
        if d not in open.axes(indices):
            raise open.refusal(operator.name, operands)
    count = indices.type.shape[-1]
    indices = open.indices_into(indices, shape[:count] if is_row else [shape[axis]], is_row=is_row)
    extents = list(x.type.shape)
    if open.axes(indices):
        behind = [extents[axis]] + [0] * (count - 1) if is_row else extents[axis]
        there = open.is_there(indices, open.axes(indices))
        filler = open.constant(behind, indices.type.dtype, "behind")
        indices = open.apply_one(Where(), there, indices, filler)
        room_behind = [1 if d == axis else e for d, e in enumerate(extents)]
        x = open.apply_one(Concat(axis), x, open.constant(np.zeros(room_behind), x.type.dtype, "behind"))
    result = open.apply_one(operator, x, indices, updates)
    return [open.opened(open.cut(result, extents), shape)]


@of_open_shapes(OneHot)
def one_hot(open: OpenShapes, operator: OneHot, indices: Value, values: Value) -> list[Value]:
    open.check_closed(operator.name, [values])
    shape = open.shape(indices)
    result = (*shape[: operator.axis], operator.depth, *shape[operator.axis :])
    return [open.opened(open.apply_one(operator, indices, values), result)]


@of_open_shapes(reduction.Reduce)
def reduced(open: OpenShapes, operator: reduction.Reduce, x: Value) -> list[Value]:
    whole, axes = open.shape(x), operator.axes
    inside = [axis for axis in open.axes(x) if axis in axes]
    applied = operator
    if isinstance(operator, reduction.ReduceMean) and inside:
        applied = reduction.ReduceSum(axes, operator.keepdims)
    filler: object = 1 if isinstance(operator, reduction.ReduceProd) else 0
    if isinstance(operator, (reduction.ReduceMax, reduction.ReduceMin, reduction.ReduceLogSumExp)):
        filler = end_of(x.type.dtype, lowest=not isinstance(operator, reduction.ReduceMin))
    y = open.apply_one(applied, open.filled(x, filler, inside))
    if applied is not operator:
        count = open.value(open.product([whole[axis] for axis in axes]))
        y = open.apply_one(Div(), y, open.apply_one(Cast(y.type.dtype), count))
    shape = [1 if d in axes else e for d, e in enumerate(whole) if operator.keepdims or d not in axes]
    return [open.opened(y, shape)]


@of_open_shapes(reduction.ArgExtreme)
def extreme_position(open: OpenShapes, operator: reduction.ArgExtreme, x: Value) -> list[Value]:
    whole, axis = open.shape(x), operator.axis
    lowest = end_of(x.type.dtype, lowest=isinstance(operator, reduction.ArgMax))
    y = open.apply_one(operator, open.filled(x, lowest, [axis]))
    if axis in open.axes(x) and operator.select_last_index:
        # Filler counts where nothing differs from it, and then the last that is there does.
        last = open.apply_one(Sub(), open.value(whole[axis]), open.constant(1, DType.I64))
        y = open.apply_one(Min(), y, last)
    shape = [1 if d == axis else e for d, e in enumerate(whole) if operator.keepdims or d != axis]
    return [open.opened(y, shape)]


@of_open_shapes(reduction.TopK)
def best(open: OpenShapes, operator: reduction.TopK, x: Value) -> list[Value]:
    whole, axis = open.shape(x), operator.axis
    if axis in open.axes(x):
        raise open.refusal(operator.name, [x])
    results = open.apply(operator, x)
    shape = (*whole[:axis], operator.k, *whole[axis + 1 :])
    return [open.opened(result, shape) for result in results]


@of_open_shapes(reduction.CumSum, AlongAxis, LpNorm, NormalizeL2)
def along_axes(open: OpenShapes, operator: Operator, x: Value) -> list[Value]:
    """Results in the place of what they are made of, from all that is there along some axes."""
    filler = end_of(x.type.dtype, lowest=True) if isinstance(operator, AlongAxis) else 0
    axes = [operator.axis] if isinstance(operator, (reduction.CumSum, AlongAxis)) else None
    return [open.opened(open.apply_one(operator, open.filled(x, filler, axes)), open.shape(x))]
