"""Rules over ops that move elements: those that move nothing go, and neighbours merge."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tilewright import limits
from tilewright.errors import InputError

from ...ir.core import Constant, Op, Value, is_op
from ...ir.ops.elementwise import Add, Div, Elementwise, Mul, Pow, Sub
from ...ir.ops.indexing import Gather, ScatterND, from_front
from ...ir.ops.movement import Concat, DepthToSpace, Pad, Slice, SpaceToDepth, Split, Tile, Transpose
from ...ir.ops.reduction import Reduce, ReduceMax, ReduceMean, ReduceSum
from ...ir.ops.shape import BitCast, Cast, Expand, Reshape
from ..pattern import Const, Match, OpPattern, Rule, node, on_quantized, operand_of_the_same_type, scalar

_PARTS = 4
"""So many are summed up one by one at most."""


def _identity(name: str, pattern: OpPattern) -> Rule:
    return Rule(name, pattern, operand_of_the_same_type)


def _takes_neighbours(op: Op[Slice]) -> bool:
    return all(step == 1 or e <= 1 for step, e in zip(op.operator.step, op.operator.extent, strict=True))


def _keeps_order(shape: Sequence[int], perm: Sequence[int]) -> bool:
    """Whether a transpose moves nothing but dimensions of extent 1."""
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


def _as_reshape(found: Match) -> Value:
    return found.emit(Reshape(found.root.results[0].type.shape), found["x"])


def _transpose_as_reshape(found: Match[Transpose]) -> Value | None:
    return _as_reshape(found) if _keeps_order(found["x"].type.shape, found.root.operator.perm) else None


def _merge_transposes(found: Match[Transpose]) -> Value:
    inner, outer = found.op("inner", Transpose).operator, found.root.operator
    return found.emit(Transpose(tuple(inner.perm[axis] for axis in outer.perm)), found["x"])


def _merge_slices(found: Match[Slice]) -> Value:
    inner, outer = found.op("inner", Slice).operator, found.root.operator
    begin = tuple(b + o * s for b, s, o in zip(inner.begin, inner.step, outer.begin, strict=True))
    step = tuple(s * o for s, o in zip(inner.step, outer.step, strict=True))
    return found.emit(Slice(begin, outer.extent, step), found["x"])


def _slice_of_concat(found: Match[Slice]) -> Value | None:
    """What lies in one of joined tensors is a slice of that; whole ones, of which nothing else is read together, are
    joined by themselves."""
    cut, inner, axis = found.root.operator, found.op("inner", Concat), found.op("inner", Concat).operator.axis
    if not found.root.result.type.elements:
        return None
    ends = cut.begin[axis], cut.begin[axis] + (cut.extent[axis] - 1) * cut.step[axis]
    position, start, parts = 0, 0, list[Value]()
    for part in inner.inputs:
        size = part.type.shape[axis]
        if position <= max(ends) and position + size > min(ends) and size:
            start = start if parts else position
            parts.append(part)
        position += size
    if len(parts) > 1:
        is_whole = cut.step[axis] == 1 and sum(part.type.shape[axis] for part in parts) == cut.extent[axis]
        is_read_whole = inner.result.is_returned or not all(is_op(user, Slice) for user in inner.result.users)
        if not is_whole or is_read_whole or len(parts) == len(inner.inputs):
            return None
    x = found.emit(inner.operator, *parts) if len(parts) > 1 else parts[0]
    begin = (*cut.begin[:axis], cut.begin[axis] - start, *cut.begin[axis + 1 :])
    return found.emit(Slice(begin, cut.extent, cut.step), x)


def _repeated_element(found: Match[Tile]) -> Value | None:
    """What repeats dimensions of extent 1 is no matter of where one copy ends."""
    before, after = found["x"].type.shape, found.root.result.type.shape
    is_known = all(after) and all(extent in (1, whole) for extent, whole in zip(before, after, strict=True))
    return found.emit(Expand(after), found["x"]) if is_known else None


def _slice_of_reshape(found: Match[Slice]) -> Value | None:
    """A part along a dimension that another one was taken apart into is a part of that one."""
    cut, x, whole = found.root.operator, found["x"], found.root.inputs[0].type.shape
    axes = [axis for axis, extent in enumerate(cut.extent) if extent != whole[axis]]
    if len(axes) != 1 or not found.root.result.type.elements:
        return None
    before, unit = math.prod(whole[: axes[0]]), math.prod(whole[axes[0] + 1 :])
    for axis, extent in enumerate(x.type.shape):
        tail = math.prod(x.type.shape[axis + 1 :])
        if math.prod(x.type.shape[:axis]) != before or extent < 2 or unit % tail:
            continue
        begin, length = (number * unit // tail for number in (cut.begin[axes[0]], cut.extent[axes[0]]))
        return found.emit(Reshape(cut.extent), found.emit(Slice.along(axis, begin, length, x.type.shape), x))
    return None


def _sum_of_parts(found: Match[Reduce]) -> Value | None:
    """A sum along a dimension along which few maps were stacked, or into which channels were taken apart, perhaps with
    weights, is one of these maps."""
    axes, x, y = found.root.operator.axes, found["x"], found.root.result.type
    factors = x.producer.inputs if is_op(x.producer, Mul) and len(x.uses) == 1 else [x]
    rank, makers = x.type.rank, [value.producer for value in factors]
    if {value.type.rank for value in factors} != {rank} or len(axes) != 1 or not 1 < x.type.shape[axes[0]] <= _PARTS:
        return None
    is_stacked = any(is_op(op, Concat) and op.operator.axis == axes[0] for op in makers)
    if not is_stacked and (rank != 5 or not any(is_op(op, Concat, Reshape) for op in makers)):
        return None
    total: Value | None = None
    for at in range(x.type.shape[axes[0]]):
        parts = list[Value]()
        for value in factors:
            shape = value.type.shape
            part = found.emit(Slice.along(axes[0], at if shape[axes[0]] > 1 else 0, 1, shape), value)
            parts.append(found.emit(Reshape((*shape[: axes[0]], *shape[axes[0] + 1 :])), part))
        part = found.emit(Mul(), *parts) if len(parts) > 1 else parts[0]
        total = part if total is None else found.emit(Add(), total, part)
    assert total is not None
    return found.emit(Reshape(y.shape), total)


def _gather_as_slice(found: Match[Gather]) -> Value | None:
    """A gather of neighbours in their order, or of one element; out of range it stays, and fails when it runs."""
    x, axis = found["x"], found.root.operator.axis
    try:
        places = from_front(found.constant("indices").array.reshape(-1), x.type.shape[axis])
    except InputError:
        return None
    if not places.size or (np.diff(places) != 1).any():
        return None
    part = found.emit(Slice.along(axis, int(places[0]), places.size, x.type.shape), x)
    return found.emit(Reshape(found.root.result.type.shape), part)


def _gather_as_transpose(found: Match[Gather]) -> Value | None:
    """A gather of all elements in several dimensions, as patches are cut out, moves dimensions."""
    (shape, axis), indices = (found["x"].type.shape, found.root.operator.axis), found.constant("indices").array
    if indices.ndim < 2 or indices.size != shape[axis] or 1 in indices.shape:
        return None
    steps = [int(np.take(indices, 1, d).flat[0] - indices.flat[0]) for d in range(indices.ndim)]
    order = sorted(range(indices.ndim), key=lambda d: -steps[d])
    apart = tuple(indices.shape[d] for d in order)
    back = [order.index(d) for d in range(len(order))]
    if not np.array_equal(np.arange(indices.size).reshape(apart).transpose(back), indices):
        return None
    parts = found.emit(Reshape((*shape[:axis], *apart, *shape[axis + 1 :])), found["x"])
    behind = range(axis + len(order), parts.type.rank)
    return found.emit(Transpose((*range(axis), *(axis + each for each in back), *behind)), parts)


def _expanded_by_element(found: Match[Add | Sub | Mul | Div]) -> Value | None:
    """What is repeated for other operands of arithmetic is repeated by it."""
    y, operands = found.root.result.type, list[Value]()
    for value in found.root.inputs:
        x = value.producer.inputs[0] if is_op(value.producer, Expand) else value
        operands.append(x if x.type.rank == y.rank else value)
    shapes = [value.type.shape for value in operands]
    is_known = operands != [*found.root.inputs] and len(operands) > 1 and np.broadcast_shapes(*shapes) == y.shape
    return found.emit(found.root.operator, *operands, result_types=[y]) if is_known else None


def _scatter_as_concat(found: Match[ScatterND]) -> Value | None:
    """What replaces a box of a tensor stands between what is around it, as where a network writes ``x[:, 2:6] = u``."""
    x, begin, extent = found["x"], [0] * found["x"].type.rank, list(found["x"].type.shape)
    indices = found.constant("indices").array
    try:
        rows = [from_front(indices[..., i].reshape(-1), extent[i]) for i in range(indices.shape[-1])]
    except InputError:
        return None
    if not indices.size or found.root.operator.reduction != "none":
        return None
    for axis, places in enumerate(rows):
        begin[axis], extent[axis] = int(places.min()), int(np.ptp(places)) + 1
    box = np.indices(extent[: len(rows)]) if math.prod(extent[: len(rows)]) == len(rows[0]) else None
    if box is None or any((row != b + at.reshape(-1)).any() for row, b, at in zip(rows, begin, box, strict=False)):
        return None
    y = found.emit(Reshape(tuple(extent)), found["updates"])
    for axis, whole in enumerate(x.type.shape):
        parts, end = [y], begin[axis] + extent[axis]
        for first, size in ((0, begin[axis]), (end, whole - end)):
            if size:
                begin[axis], extent[axis] = first, size
                around = found.emit(Slice(tuple(begin), tuple(extent), (1,) * x.type.rank), x)
                parts.insert(0 if not first else len(parts), around)
        y = found.emit(Concat(axis), *parts) if len(parts) > 1 else y
        begin[axis], extent[axis] = 0, whole
    return y


def _flatten_concat(found: Match[Concat]) -> Value | None:
    outer = found.root.operator
    parts: list[Value] = []
    for part in found.root.inputs:
        producer = part.producer
        if producer is not None and producer.operator == outer and len(part.uses) == 1:
            parts += producer.inputs
        else:
            parts.append(part)
    changes = len(found.root.inputs) < len(parts) <= limits.OPERANDS
    return found.emit(outer, *parts) if changes else None


def _reduction_as_reshape(found: Match[Reduce]) -> Value | None:
    """A reduction over dimensions of extent 1 that changes no element."""
    reduce = found.root.operator
    keeps = reduce.name in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod")
    count = math.prod(found["x"].type.shape[axis] for axis in reduce.axes)
    return _as_reshape(found) if keeps and count == 1 else None


def _reduce_before_transpose(found: Match[Reduce]) -> Value | None:
    """What is left after a reduction is transposed, as where TensorFlow averages maps whose channels come last; where
    others read the transpose, if that moves nothing."""
    reduce, inner = found.root.operator, found.op("inner", Transpose)
    perm = inner.operator.perm
    axes = tuple(sorted(perm[axis] for axis in reduce.axes))
    left = [axis for axis in perm if reduce.keepdims or axis not in axes]
    y = found.emit(type(reduce)(axes, reduce.keepdims), found["x"])
    order = tuple(sorted(left).index(axis) for axis in left)
    return found.emit(Transpose(order), y) if len(inner.result.uses) == 1 or _keeps_order(y.type.shape, order) else None


def _untransposed(value: Value, perm: tuple[int, ...]) -> Value | None:
    """What a tensor is the transpose of, in another shape where that moves nothing, if all others who read it can be
    moved before it, too."""
    op = value.producer
    if not is_op(op, Transpose, Reshape) or value.is_returned or not all(is_op(user, *_MOVED) for user in value.users):
        return None
    x = op.inputs[0]
    if is_op(op, Transpose):
        # Heads of attention look alike, but are cut out of rows: their order is for the product that reads them.
        return x if op.operator.perm == perm and not is_op(x.producer, Reshape) else None
    shape = x.type.shape
    is_fitting = len(shape) == len(perm) and value.type.shape == tuple(shape[axis] for axis in perm)
    return x if is_fitting and _keeps_order(shape, perm) else None


def _by_element_before_transpose(found: Match[Elementwise]) -> Value | None:
    """Arithmetic with maps whose channels come last, as Keras has them between convolutions, is one with maps."""
    op, y, operands = found.root, found.root.result.type, list[Value]()
    perm, back = (0, *range(2, y.rank), 1), (0, y.rank - 1, *range(1, y.rank - 1))
    if y.rank < 4 or all(isinstance(value, Constant) or not value.type.rank for value in op.inputs):
        return None
    for value in op.inputs:
        x: Value | None = value
        if isinstance(value, Constant) and 0 < value.type.rank <= y.rank:
            aligned = (1,) * (y.rank - value.type.rank) + value.type.shape
            x = found.moved(Transpose(back), found.moved(Reshape(aligned), value))
        elif value.type.rank:
            x = _untransposed(value, perm)
        if x is None:
            return None
        operands.append(x)
    return found.emit(Transpose(perm), found.emit(op.operator, *operands))


def _before_pad(found: Match[Transpose | Reshape]) -> Value | None:
    """What gives a padded tensor another order, or dimensions of extent 1, comes before its pad, which then stands at
    the convolution."""
    moved, pad, x, y = found.root.operator, found.op("pad", Pad).operator, found["x"], found.root.result.type
    padded, axes = found.root.inputs[0].type, [d for d, extent in enumerate(y.shape) if extent != 1]
    sources = [d for d, extent in enumerate(padded.shape) if extent != 1]
    if isinstance(moved, Transpose):
        axes, sources = [*range(y.rank)], [*moved.perm]
    if [padded.shape[d] for d in sources] != [y.shape[d] for d in axes]:
        return None
    shape, pads = [*y.shape], [0] * 2 * y.rank
    for axis, source in zip(axes, sources, strict=True):
        shape[axis] = x.type.shape[source]
        pads[axis], pads[y.rank + axis] = pad.pads[source], pad.pads[x.type.rank + source]
    operator = moved if isinstance(moved, Transpose) else Reshape(tuple(shape))
    return found.emit(replace(pad, pads=tuple(pads)), found.emit(operator, x))


def _merge_reductions(found: Match[Reduce]) -> Value | None:
    """Means of means, as ``x.mean(3).mean(2)``, and maxima of maxima, in one."""
    inner, outer, x = found.op("inner", Reduce).operator, found.root.operator, found["x"]
    if type(inner) is not type(outer) or not x.type.dtype.is_float:
        return None
    left = [d for d in range(x.type.rank) if inner.keepdims or d not in inner.axes]
    axes = tuple(sorted({*inner.axes, *(left[axis] for axis in outer.axes)}))
    return found.emit(Reshape(found.root.result.type.shape), found.emit(type(outer)(axes), x))


def _square(found: Match[Pow]) -> Value | None:
    x = found["x"]
    return found.emit(Mul(), x, x) if x.type == found.root.result.type else None


def _cube(found: Match[Pow]) -> Value | None:
    """Of integers, whose powers are taken in double precision one by one; numbers have a formula."""
    x = found["x"]
    is_whole = x.type == found.root.result.type and x.type.dtype.is_integer
    return found.emit(Mul(), found.emit(Mul(), x, x), x) if is_whole else None


_MOVED = (Elementwise, Pad, Reduce, Transpose)
"""What can stand before a transpose as well as behind it."""

_ONE = scalar(1.0, 0.0)
_ZERO = scalar(0.0)

NEUTRAL: tuple[Rule, ...] = (
    _identity("times_one", node(Mul, "x", _ONE, commutative=True)),
    _identity("over_one", node(Div, "x", _ONE)),
    _identity("plus_zero", node(Add, "x", _ZERO, commutative=True)),
    _identity("minus_zero", node(Sub, "x", _ZERO)),
    _identity("to_the_first", node(Pow, "x", _ONE)),
)
"""Arithmetic that changes nothing."""

RULES: tuple[Rule, ...] = (
    *on_quantized(
        _identity("reshape_to_same_shape", node(Reshape, "x")),
        _identity("expand_to_same_shape", node(Expand, "x")),
        _identity("cast_to_same_type", node(Cast, "x")),
        _identity("bit_cast_to_same_type", node(BitCast, "x")),
        _identity("slice_of_everything", node(Slice, "x", where=_takes_neighbours)),
        _identity("tile_once", node(Tile, "x")),
        _identity("blocks_of_one_pixel", node((DepthToSpace, SpaceToDepth), "x")),
        _identity("pad_by_nothing", node(Pad, "x")),
        _identity("concat_of_one", node(Concat, "x", where=lambda op: len(op.inputs) == 1)),
        _identity("split_in_one", node(Split, "x", where=lambda op: len(op.results) == 1)),
        Rule("transpose_without_effect", node(Transpose, "x"), _transpose_as_reshape),
        Rule(
            "transpose_of_transpose",
            node(Transpose, node(Transpose, "x", name="inner", single_use=False)),
            _merge_transposes,
        ),
        Rule("reshape_of_reshape", node(Reshape, node(Reshape, "x", single_use=False)), _as_reshape),
        Rule("gather_of_neighbours", node(Gather, "x", Const("indices")), _gather_as_slice),
        Rule("gather_of_patches", node(Gather, "x", Const("indices")), _gather_as_transpose),
        Rule("expanded_by_element", node((Add, Sub, Mul, Div)), _expanded_by_element),
        Rule("scatter_of_a_box", node(ScatterND, "x", Const("indices"), "updates"), _scatter_as_concat),
        Rule("slice_of_slice", node(Slice, node(Slice, "x", name="inner", single_use=False)), _merge_slices),
        Rule("slice_of_concat", node(Slice, node(Concat, name="inner", single_use=False)), _slice_of_concat),
        Rule("repeated_element", node(Tile, "x"), _repeated_element),
        Rule(
            "slice_of_reshape",
            node(Slice, node(Reshape, "x", single_use=False), where=_takes_neighbours),
            _slice_of_reshape,
        ),
        Rule("concat_of_concat", node(Concat), _flatten_concat),
    ),
    Rule(
        "reduce_of_reduce",
        node((ReduceMean, ReduceMax), node((ReduceMean, ReduceMax), "x", name="inner")),
        _merge_reductions,
    ),
    Rule(
        "reduce_of_transpose",
        node(Reduce, node(Transpose, "x", name="inner", single_use=False)),
        _reduce_before_transpose,
    ),
    Rule("sum_of_parts", node(ReduceSum, "x"), _sum_of_parts),
    Rule("by_element_of_transpose", node(Elementwise), _by_element_before_transpose),
    Rule("movement_of_pad", node((Transpose, Reshape), node(Pad, "x", name="pad")), _before_pad),
    Rule("reduce_of_one", node(Reduce, "x"), _reduction_as_reshape),
    Rule("to_the_second", node(Pow, "x", scalar(2.0, 0.0)), _square),
    Rule("to_the_third", node(Pow, "x", scalar(3.0, 0.0)), _cube),
    *NEUTRAL,
)
"""Identities and merges of neighbours."""
