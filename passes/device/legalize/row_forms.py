"""Rows of matrices as pixels of maps, [M, K, 1, 1], and what is between products of them. All rules are exact."""

import math
from dataclasses import replace
from itertools import islice

import numpy as np

from ....ir.core import Constant, Op, Value, is_op
from ....ir.feature_map import MAP_RANKS, Window, is_of_images, window_of
from ....ir.layout import row_major
from ....ir.ops.attention import Attention
from ....ir.ops.convolution import Conv
from ....ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ....ir.ops.indexing import Gather
from ....ir.ops.movement import Slice, Transpose
from ....ir.ops.shape import Reshape
from ....ir.ops.skip_normalization import SkipLayerNorm
from ....ir.ops.unary import Unary
from ....ir.types import TensorType
from ....runtime.machines.machine import CHANNEL_BLOCK
from ...pattern import Match, Rule, node, on_quantized
from ...views import LEVELS, exchanged, view_of, written
from ..attention_views import row_width, views_of
from .movement_forms import is_quantized

BY_ELEMENT = (Unary, Add, Sub, Mul, Max, Min)

_NEAR = 8
"""So many ops are between a normalisation and attention at most: a product, and views before and behind it."""


def has_rows(type: TensorType) -> bool:
    """Whether a tensor is rows of a matrix as pixels with their elements as channels."""
    return type.rank == 4 and type.shape[2:] == (1, 1)


def _on_rows(found: Match) -> Value | None:
    """What works element by element has no shape of its own: it gets that of the product before it, whose rows are
    pixels, and the reshape between them follows."""
    y, rows = found.root.result.type, found["x"].type
    fits = has_rows(rows) and not has_rows(y) and y.elements == rows.elements
    return on_rows(found, rows.shape) if fits else None


def on_rows(found: Match, rows: tuple[int, ...]) -> Value | None:
    """What works element by element as one on rows of this shape; ``None`` where it repeats another operand that
    is no row for all and no number for each."""
    root, y, operands = found.root, found.root.result.type, list[Value]()
    for value in root.inputs:
        if isinstance(value, Constant):
            array = np.broadcast_to(value.array, y.shape).reshape(rows)
            array = array[:1] if (array == array[:1]).all() else array
            operands.append(found.add_constant(value.name, array, value.type.with_shape(array.shape)))
        elif value.type.shape == y.shape:
            operands.append(found.emit(Reshape(rows), value))
        elif rows[1] == y.shape[-1] and value.type.shape in ((*y.shape[:-1], 1), (*(1,) * (y.rank - 1), rows[1])):
            size = value.type.shape[-1]
            operands.append(found.emit(Reshape((value.type.elements // size, size, 1, 1)), value))
        else:
            return None
    return found.emit(Reshape(y.shape), found.emit(root.operator, *operands, result_types=[y.with_shape(rows)]))


def _channels_of_rows(found: Match[Gather]) -> Value | None:
    """Elements along the last dimension of rows are channels."""
    gather, rows, y = found.root, found["x"].type, found.root.result.type
    is_last = gather.operator.axis == y.rank - 1 and gather.inputs[1].type.rank == 1
    if not is_last or not has_rows(rows) or rows.shape[1] != gather.inputs[0].type.shape[-1]:
        return None
    chosen = found.emit(Gather(1), found["x"], gather.inputs[1])
    return found.emit(Reshape(y.shape), chosen)


def _before_transposition(found: Match[Transpose]) -> Value | None:
    """What is computed on rows and then becomes a map, channels first, is computed on the map."""
    op, shape = found.op("op"), found.root.result.type.shape
    if found.root.operator.perm != channels_first(len(shape)) or op.result.type.shape[1:2] != shape[1:2]:
        return None
    return _on_map(found, op, (*shape[:1], *shape[2:]))


def _behind_transposition(found: Match) -> Value | None:
    """What is computed on the pixels of a map as rows is computed on the map."""
    op, shape, last = found.root, found["x"].type.shape, found.op("last", Transpose).operator
    rows = next(value for value in op.inputs if value.producer in found.ops).type
    if _comes_of_rows(found["x"]) and any(map(_comes_of_rows, op.inputs)):
        return None  # Either would be turned for the other for ever.
    if last.perm != (0, *range(2, len(shape)), 1) or rows.shape[1:2] != shape[1:2]:
        return None
    if len(shape) == 3 and _is_near_attention(op):
        return None  # Clusters share out rows, and attention reads them on chip; all pixels of a line are one row.
    result = _on_map(found, op, (*shape[:1], *shape[2:]))
    return found.emit(Reshape(op.result.type.shape), found.emit(last, result)) if result is not None else None


def _is_near_attention(op: Op) -> bool:
    """Whether attention reads what becomes of a result within few ops, as of what queries, keys and values are made."""
    ops = {op: None}
    for _ in range(_NEAR):
        ops = {user: None for each in islice(ops, LEVELS) for value in each.results for user in value.users}
        if any(is_op(each, Attention) for each in ops):
            return True
    return False


def _comes_of_rows(value: Value) -> bool:
    """Whether a value is rows, perhaps under another shape."""
    while is_op(value.producer, Reshape):
        value = value.producer.inputs[0]
    return has_rows(value.type) and not isinstance(value, Constant)


def _before_any_transposition(found: Match) -> Value | None:
    """What works element by element on what was transposed alike, and on numbers along one axis, comes before that."""
    root, moved, y = found.root, found.op("last", Transpose).operator, found.root.result.type
    back = [moved.perm.index(axis) for axis in range(y.rank)]
    operands: list[Value] = []
    for value in root.inputs:
        maker, shape = value.producer, (1,) * (y.rank - value.type.rank) + value.type.shape
        if isinstance(value, Constant):
            array = value.array.reshape(shape).transpose(back)
            operands.append(found.add_constant(value.name, array, value.type.with_shape(array.shape)))
        elif maker is not None and maker.operator == moved and value.type.shape == y.shape:
            source = maker.inputs[0].producer
            if is_op(source, Reshape) and has_rows(source.inputs[0].type):
                return None  # What is computed on rows has just come behind the transposition.
            operands.append(maker.inputs[0])
        elif max(shape) == value.type.elements < y.elements:
            if y.rank == 4 and moved.perm == channels_first(4) and shape[1] > 1:
                return None  # What is computed of a map for each of its channels is repeated over it as it is.
            operands.append(found.emit(Reshape(tuple(shape[axis] for axis in back)), value))
        else:
            return None
    type = y.with_shape([y.shape[axis] for axis in back])
    return found.emit(moved, found.emit(root.operator, *operands, result_types=[type]))


def channels_first(rank: int) -> tuple[int, ...]:
    """The permutation from [N, …, C] to [N, C, …]."""
    return (0, rank - 1, *range(1, rank - 1))


def _on_map(found: Match, op: Op, pixels: tuple[int, ...]) -> Value | None:
    """The result, [N, C, …], of an op on rows as one on a map of ``pixels``, images first; ``None`` if it is not one
    that treats each row by itself."""
    y, ones = op.result.type, (1,) * (len(pixels) - 1)
    if len(ones) not in (1, 2) or not has_rows(y) or is_of_images(op):
        return None
    operator = op.operator
    if is_op(op, Conv):
        if op.operator.group > 1 or window_of(op) != Window() or any(op.operator.pads) or len(op.inputs) > 3:
            return None
        operator = Conv(ones, (0,) * 2 * len(ones), ones, 1, op.operator.act, op.operator.act_args)
    operands: list[Value | None] = []
    for value in op.operands:
        if isinstance(value, Constant) and not is_op(op, SkipLayerNorm):
            shape = (*value.type.shape[:2], *ones)[: value.type.rank]
            if not is_op(op, Conv) and value.type.shape[0] > 1:
                return None
            value = found.add_constant(value.name, value.array.reshape(shape), value.type.with_shape(shape))
        elif value is not None and not isinstance(value, Constant):
            if value.type.shape[0] != y.shape[0]:
                return None
            apart = found.emit(Reshape((*pixels, value.type.shape[1])), value)
            value = found.emit(Transpose(channels_first(2 + len(ones))), apart)
        operands.append(value)
    type = y.with_shape((pixels[0], y.shape[1], *pixels[1:]))
    return found.emit(operator, *operands, result_types=[type])


def _attention_on_rows(found: Match[Attention]) -> Value | None:
    """Operands and result as rows of as many elements as lie between rows of their matrices."""
    op = found.root
    views, one = views_of(op), op.operator.rows == 1 and len(op.operator.batch) > 0
    beside = {"q": "k", "y": "v"} if one else {}
    rows: dict[str, tuple[int, ...]] = {}
    for name, (value, view) in views.items():
        width = row_width(view, value)
        if beside.get(name) in views:
            width = _beside_each_other(op, name, beside[name]) or width
        if width < 1 or value.type.elements % width:
            return None
        rows[name] = value.type.elements // width, width, 1, 1
    if all(value.type.shape == rows[name] for name, (value, _) in views.items()):
        return None
    moved = [
        found.moved(Reshape(rows[name]), value) if value is not None and value.type.shape != rows[name] else value
        for name, value in zip(("q", "k", "v", "mask"), op.operands, strict=True)
    ]
    y, target = op.result, rows["y"]
    result = found.emit(replace(op.operator, shape=target), *moved, result_types=[y.type.with_shape(target)])
    return found.emit(Reshape(y.type.shape), result)


def _beside_each_other(op: Op[Attention], name: str, beside: str) -> int:
    """The width of all heads that stand side by side in a row of keys, or of values, if queries of one row, or their
    results, do so, too: as products before and after have them; else 0."""
    batch, (_, known), (value, view) = op.operator.batch, views_of(op)[beside], views_of(op)[name]
    width = op.operator.width if beside == "k" else op.operator.depth
    apart = [axis for axis, stride in enumerate(known[1:-2]) if batch[axis] > 1 and 0 < stride < known[-2]]
    extents = [*(batch[axis] for axis in apart), width]
    strides = [*(view[1 + axis] for axis in apart), view[-1]]
    whole = math.prod(extents)
    fits = tuple(strides) == row_major(tuple(extents)) and not view[0] % whole and not value.type.elements % whole
    others = (stride for axis, stride in enumerate(view[1:-2]) if axis not in apart)
    return whole if apart and fits and not any(stride % whole for stride in others) else 0


def _columns_as_rows(found: Match[Attention]) -> Value | None:
    """Operands whose matrices have their rows along the pixels of maps, channels first, as what has them last; also
    those that were made of such maps for vectors of the host."""
    op, turned, seen_as = found.root, dict[str, tuple[Value, tuple[int, ...]]](), views_of(found.root)
    for name in [each for each in (*"qkv", "mask") if each in seen_as]:
        value, view = seen_as[name]
        rows = op.operator.keys if name in "kv" else op.operator.rows
        width = {"v": op.operator.depth, "mask": op.operator.keys}.get(name, op.operator.width)
        extents, maker = (*op.operator.batch, rows, width), value.producer
        if view == (0, *row_major(extents)) and value.type.elements == math.prod(extents):
            seen = view_of(value, extents)
            value, view = (seen.value, seen.numbers) if seen.value.type.quant == value.type.quant else (value, view)
        shape, pixels = value.type.shape, view[-1]
        axis = next((axis for axis in range(1, value.type.rank) if math.prod(shape[axis + 1 :]) == pixels), 0)
        if rows < 2 or view[-2] != 1 or pixels < 2 or not axis:
            continue
        channels, batch = shape[axis], op.operator.batch
        apart = (math.prod(shape[:axis]), channels, pixels)
        while is_op(maker, Reshape):
            maker = maker.inputs[0].producer
        if is_op(maker, Transpose) and maker.operator.perm == (0, 2, 1) and maker.inputs[0].type.shape == apart:
            continue  # It is that already.
        first = view[0] + np.tensordot(np.indices(batch), view[1:-2], (0, 0)) if batch else np.array(view[0])
        channel, pixel = first // pixels % channels, first % pixels
        first = first - channel * pixels - pixel + pixel * channels + channel
        units = [(*(int(at == one and extent > 1) for at in range(len(batch))),) for one, extent in enumerate(batch)]
        corner = int(first[(0,) * len(batch)])
        strides = [int(first[unit]) - corner for unit in units]
        expected = corner + np.tensordot(np.indices(batch), strides, (0, 0)) if batch else corner
        if (first != expected).any() or channel.max() + width > channels or pixel.max() + rows > pixels:
            continue
        turned[name] = (
            found.emit(Transpose((0, 2, 1)), found.emit(Reshape(apart), value)),
            (corner, *strides, channels, 1),
        )
    if not turned:
        return None
    views = {f"{name}_view": view for name, (_, view) in turned.items()}
    names = "q", "k", "v", "mask"
    operands = [turned[name][0] if name in turned else value for name, value in zip(names, op.operands, strict=True)]
    return found.emit(replace(op.operator, **views), *operands, result_types=[op.result.type])


def _heads_as_channels(found: Match[Attention]) -> Value | None:
    """Heads that become the channels of a map, one after the other, are written so: rows are its pixels."""
    op, y = found.root, found.root.result
    attention, users = op.operator, [*y.users]
    if len(users) != 1 or not is_op(users[0], Transpose) or users[0].operator.perm != exchanged(y):
        return None
    target = users[0].result
    target = next((user.result for user in target.users if len(target.uses) == 1 and is_op(user, Reshape)), target)
    images, channels = target.type.shape[:2]
    rows, depth = attention.rows, attention.depth
    if target.type.rank not in MAP_RANKS[1:] or channels % depth or channels == depth:
        return None
    apart, rows_first = (images, channels // depth, rows, depth), (images, rows, channels // depth, depth)
    if y.type.elements != math.prod(apart):
        return None
    operator = written(attention, apart, (rows * channels, depth, channels, 1), rows_first)
    if operator is None:
        return None
    result = found.emit(operator, *op.operands, result_types=[y.type.with_shape(rows_first)])
    return found.emit(Reshape(y.type.shape), found.emit(Transpose((0, 2, 1, 3)), result))


def _normalization_on_rows(found: Match[SkipLayerNorm]) -> Value | None:
    """Along the last dimension, everything before it is rows; along channels of a volume, each of its planes is one.
    Parts of longer rows, whole blocks of 16 channels, are normalised where they lie."""
    op, y = found.root, found.root.result.type
    is_volume = y.rank == 5 and op.operator.axis == 1
    if not is_volume and (op.operator.axis != y.rank - 1 or y.rank < 2 or is_of_images(op)):
        return None
    operator, operands, size = replace(op.operator, axis=1), op.operands, y.shape[-1]
    x, *numbers = op.inputs
    source = x.producer
    whole = source.inputs[0].type if is_op(source, Reshape) and source.inputs[0].type.rank else y
    channels = whole.shape[1 if has_rows(whole) else -1]
    rows = (*y.shape[:3], math.prod(y.shape[3:])) if is_volume else (y.elements // size, size, 1, 1)
    known: dict[Value, np.ndarray] = {
        v: v.array for v in numbers if isinstance(v, Constant) and v.type.shape == (size,)
    }
    is_part = 0 < size < channels and not channels % size and not size % CHANNEL_BLOCK and op.operands[4] is None
    if not is_volume and is_part and all(value in known for value in numbers):
        rows, count = (y.elements // channels, channels, 1, 1), channels // size
        operator = replace(operator, groups=count, by_pixel=True)
        operands = [x, *(found.add_constant(v.name, np.tile(known[v], count)) for v in numbers)]
    moved = [
        found.emit(Reshape(rows), value) if value is not None and value.type.shape == y.shape else value
        for value in operands
    ]
    result = found.emit(operator, *moved, result_types=[y.with_shape(rows)])
    return found.emit(Reshape(y.shape), result)


def _columns_of_rows(found: Match[Reshape]) -> Value | None:
    """Some columns of rows, as rows of their own, that were cut out in other dimensions, as channels of queries that
    look at each other: cut out of the rows, before they are turned."""
    y, source, passed = found.root.result, found.root.inputs[0], 1
    while passed < LEVELS and not has_rows(source.type) and is_op(source.producer, Reshape, Transpose, Slice):
        source, passed = source.producer.inputs[0], passed + 1
    if not has_rows(y.type) or not has_rows(source.type) or source.type.elements == y.type.elements:
        return None
    (count, pixels), (rows, width) = y.type.shape[:2], source.type.shape[:2]
    images = rows // pixels
    if rows % pixels or count % images:
        return None
    extents, strides = (images, count // images, pixels), (pixels * width, 1, width)
    seen = view_of(y, extents, passed)
    is_turned = all(n == 1 or a == b for n, a, b in zip(extents, seen.strides, strides, strict=True))
    if seen.value is not source or not is_turned or seen.offset + extents[1] > width:
        return None
    part = found.emit(Slice((0, seen.offset, 0, 0), (rows, extents[1], 1, 1), (1,) * 4), source)
    turned = found.emit(Transpose((0, 2, 1)), found.emit(Reshape((images, pixels, extents[1])), part))
    return found.emit(Reshape(y.type.shape), turned)


_ROWS = (Conv, SkipLayerNorm, *BY_ELEMENT)

RULES: tuple[Rule, ...] = on_quantized(
    Rule("attention_of_columns", node(Attention, where=is_quantized), _columns_as_rows),
    Rule("heads_as_channels", node(Attention, where=is_quantized), _heads_as_channels),
    Rule("columns_of_rows", node(Reshape, where=is_quantized), _columns_of_rows),
    Rule("attention_on_rows", node(Attention, where=is_quantized), _attention_on_rows),
    Rule("normalization_on_rows", node(SkipLayerNorm, where=is_quantized), _normalization_on_rows),
    Rule(
        "elementwise_on_rows",
        node(BY_ELEMENT, node(Reshape, "x", single_use=False), where=is_quantized, commutative=True),
        _on_rows,
    ),
    Rule("channels_of_rows", node(Gather, node(Reshape, "x", single_use=False), where=is_quantized), _channels_of_rows),
    Rule(
        "before_any_transposition",
        node(BY_ELEMENT, node(Transpose, name="last", single_use=False), where=is_quantized, commutative=True),
        _before_any_transposition,
    ),
    Rule(
        "before_transposition",
        node(Transpose, node(Reshape, node(_ROWS, name="op")), where=is_quantized),
        _before_transposition,
    ),
    Rule(
        "behind_transposition",
        node(
            _ROWS,
            node(Reshape, node(Transpose, "x", name="last", single_use=False), single_use=False),
            where=is_quantized,
            commutative=True,
        ),
        _behind_transposition,
    ),
)
"""In the order in which they are tried at each op."""
