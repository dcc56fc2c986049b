"""Attention whose scores are no product: maps of which a softmax makes weights, as queries or keys of known ones."""

import math
from functools import partial

import numpy as np

from ...ir.core import Value, is_op
from ...ir.layout import row_major
from ...ir.ops.attention import Attention
from ...ir.ops.elementwise import Mul
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Transpose
from ...ir.ops.quantization import Dequantize, Quantize
from ...ir.ops.reduction import Reduce, ReduceSum
from ...ir.ops.shape import Reshape
from ...ir.ops.softmax import Softmax
from ...ir.quantized import EIGHT_BIT
from ...ir.types import DType, Quantization, TensorType
from ...runtime.machines.machine import CHANNEL_BLOCK, MAP_EXTENT_LIMIT, Machine, load
from ..pattern import Match, Rule, node
from ..views import exchanged, matrix_views


def _sum(found: Match[Reduce]) -> Value | None:
    softmax, reduce = found.op("softmax", Softmax), found.root.operator
    axis = softmax.operator.axis
    y = _weighted(found, softmax.inputs[0], found["v"], axis) if reduce.axes == (axis,) else None
    return found.emit(Reshape(found.root.result.type.shape), y) if y is not None else None


def _column(found: Match[MatMul]) -> Value | None:
    """V w, where w is a column of weights."""
    softmax, y, v = found.op("softmax", Softmax), found.root, found["v"]
    (*lead, keys, columns), shape = y.inputs[1].type.shape, softmax.result.type.shape
    is_last = softmax.operator.axis == len(shape) - 1 and shape[-1:] == (keys,)
    if columns != 1 or not is_last or len(y.inputs) > 2 or y.operator != MatMul():
        return None
    return _weighted(found, found.emit(Reshape((*lead, 1, keys)), softmax.inputs[0]), v, v.type.rank - 1)


def _weighted(found: Match, scores: Value, v: Value, axis: int) -> Value | None:
    """The sum of values along an axis by weights, the softmax of scores, which have the extent 1 along one dimension:
    attention of a query that is 1. Of more keys than the accelerator takes it stays as it is."""
    real, (before, shape) = v.producer, (scores.type.shape, v.type.shape)
    channels = [d for d, (one, other) in enumerate(zip(before, shape, strict=False)) if one != other]
    if not is_op(real, Dequantize) or len(before) != len(shape) or [before[d] for d in channels] != [1]:
        return None
    dtype = real.inputs[0].type.dtype
    if dtype not in EIGHT_BIT or shape[axis] > MAP_EXTENT_LIMIT:
        return None
    order = (*(d for d in range(len(shape)) if d not in (*channels, axis)), axis, *channels)
    *batch, keys, depth = (shape[d] for d in order)
    k_view, v_view = ((0, *(row_major(each)[d] for d in order)) for each in (before, shape))
    query = _identity(found, 1, dtype)
    rows = (*batch, 1, depth)
    views = ((0,) * len(k_view), k_view, v_view, (0, *row_major(rows)))
    sums = found.emit(Attention(tuple(batch), 1, keys, 1, depth, rows, *views), query, scores, v, None)
    return found.emit(Transpose(tuple(map(order.index, range(len(shape))))), sums)


def _identity(found: Match, size: int, dtype: DType) -> Value:
    """Ones and zeros, of integers whose scale is 1."""
    type = TensorType((size, size), dtype, Quantization.per_tensor(1.0))
    return found.emit(Dequantize(), found.add_constant("identity", np.eye(size, dtype=dtype.numpy), type))


def holds(machine: Machine, keys: int, *columns: int) -> bool:
    """Whether a cluster has room for the keys, and the values, of a head, which are its weights, in whole blocks: those
    of attention that does not fit are the host's, whose products of matrices take far less time."""
    keys, *sizes = (-(-size // CHANNEL_BLOCK) * CHANNEL_BLOCK for size in (keys, *columns))
    return keys * sum(sizes) <= machine.weight_bytes


def _becomes_integers(value: Value) -> bool:
    """Whether all that reads a value, moved or not, rounds it."""
    return len(value.users) > 0 and all(
        is_op(user, Quantize) or (is_op(user, Reshape, Transpose) and _becomes_integers(user.result))
        for user in value.users
    )


def _given(found: Match[MatMul], *, machine: str) -> Value | None:
    """Means by weights that are the softmax of a map, along either of its dimensions: scores that queries and keys have
    if the ones or the others are the identity, whichever is smaller. Where the accelerator cannot have them, they stay
    a softmax and a product, which are less to compute."""
    op, softmax, y = found.root, found.op("softmax", Softmax), found.root.result.type
    scores, shape = softmax.inputs[0], softmax.result.type.shape
    is_second = op.inputs[0] is not softmax.result
    first, second = op.operator.transpose_a, op.operator.transpose_b
    # Whether keys run along the rows of what the softmax makes, and values along the columns of theirs.
    is_turned, v_turned = (not second, not first) if is_second else (first, second)
    if op.operator.act != "none" or len(op.inputs) > 2 or not y.elements or len(shape) < 2:
        return None
    rows, keys = shape[:-3:-1] if is_turned else shape[-2:]
    depth, v = y.shape[-2 if is_second else -1], op.inputs[0 if is_second else 1]
    level = y.shape[:-2]
    is_along_keys = softmax.operator.axis == len(shape) - (2 if is_turned else 1)
    is_repeated = any(math.prod(x.type.shape[:-2]) != math.prod(level) for x in (scores, v))
    if not is_along_keys or keys > MAP_EXTENT_LIMIT or is_repeated:
        return None
    if not holds(load(machine), keys, min(rows, keys), depth) or not _becomes_integers(op.result):
        return None
    as_keys = rows <= keys
    matrix = (keys, rows) if as_keys else (rows, keys)
    sides = (scores, is_turned is not as_keys, level), (v, v_turned, level)
    viewed = matrix_views(sides, level, (matrix, (keys, depth)))
    if viewed is None:
        return None
    batch, views = viewed
    types = [view.value.type for view in views]
    if any(not type.has_one_scale or type.dtype not in EIGHT_BIT for type in types):
        return None
    size = min(rows, keys)
    known = _identity(found, size, types[0].dtype)
    one = (0, *(0,) * len(batch), size, 1)
    given, v_view = views
    numbers = (one, given.numbers) if as_keys else (given.numbers, one)
    values = (known, real_form(found, given.value)) if as_keys else (real_form(found, given.value), known)
    order = (0, *row_major((*batch, rows, depth)))
    operator = Attention(batch, rows, keys, size, depth, (*level, rows, depth), *numbers, v_view.numbers, order)
    means = found.emit(operator, *values, real_form(found, v_view.value), None)
    return found.emit(Transpose(exchanged(means)), means) if is_second else means


def real_form(found: Match, value: Value) -> Value:
    """A value as numbers: views also look behind the conversion of stored integers."""
    return found.emit(Dequantize(), value) if value.type.quant is not None else value


_WEIGHTS = node(Softmax, name="softmax")


def given_on(machine: str) -> tuple[Rule, ...]:
    """For an accelerator, of integers."""
    given = partial(_given, machine=machine)
    return (
        Rule("weighted_sum", node(ReduceSum, node(Mul, "v", _WEIGHTS, commutative=True)), _sum),
        Rule("weighted_column", node(MatMul, "v", node(Reshape, _WEIGHTS)), _column),
        Rule("given_scores", node(MatMul, _WEIGHTS, "v"), given),
        Rule("given_scores_second", node(MatMul, "v", _WEIGHTS), given),
    )
