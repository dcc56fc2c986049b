"""Make one operator of the products and the softmax that attention is made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.layout import row_major
from ...ir.ops.attention import Attention
from ...ir.ops.comparison import Where
from ...ir.ops.elementwise import Add, Div, Mul
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Transpose
from ...ir.ops.shape import Expand, Reshape
from ...ir.ops.softmax import Softmax
from ...ir.ops.unary import IsNan
from ...ir.quantized import EIGHT_BIT
from ...ir.types import DType
from ...runtime.machines.machine import DEFAULT, load
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..named_ops import computed_with, kept_ops, unless_kept
from ..pattern import Const, Driver, Match, OpPattern, Rule, node, on_quantized, scalar
from ..simplify.linear_rules import factored, matrices, scalar_of
from ..views import LEVELS, View, broadcast, exchanged, matrix_views, regrouped, view_of, written
from .given_scores import given_on, real_form
from .linear_attention import pays, shares_of

_HIDDEN = -1e4
"""What masks add, or less: beside any score that is seen its exponential is 0."""

_NEVER = -1e30
"""What scores are replaced by, or less: added to them, it leaves nothing of them."""


class FuseAttention(Pass):
    """Replaces softmax(Q K^T) V by ``attention``, with factors of scores or of queries and keys, masks that are added
    or chosen, and whatever moves its operands and result without changing them: transpositions, reshapes, parts of
    larger tensors and repetitions become views, which also look behind the conversion of stored integers to numbers.
    Masks that are known and hide what follows a row become ``causal``. Products that stay, of few rows, take factors
    of the smaller matrix, and matrices that are repeated for the rows of several heads once.

    Attributes:
        least_rows: of each matrix of queries. Kernels compute a row in each lane: with few of them, most would idle.
            The device computes any number, as of the one that sums up an image for its class.
        sums: also sums of integers by weights, the softmax of as many scores, as ``attention`` of queries that are ones
            and zeros, those whose weights are guarded against NaN, with the guard behind it, and those whose weights
            are shares.
        machine: name of a sample machine or path of a machine file, on which shares have to pay, and given scores fit.
        keep: names of operators, of source nodes or of results that become no part of ``attention``.
    """

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    least_rows: int = 16
    sums: bool = False
    machine: str = DEFAULT
    keep: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        weights = node(Softmax, name="softmax", where=lambda op: op.result.type.shape[-2] >= self.least_rows)
        first, second = node(MatMul, weights), node(MatMul, "v", weights)
        attention = partial(_attention, in_vectors=not self.sums)
        rules = Rule("attention", first, attention), Rule("attention_of_columns", second, attention), RESHAPED
        more = sums_on(self.machine) if self.sums else matrices(self.least_rows)
        kept = kept_ops(module, self.keep, self.name)
        return Driver((*unless_kept((*rules, *more), kept, computed_with), *MOVEMENT)).run(module, record)


@dataclass
class _Scores:
    """The product of queries and keys, its factor, and what is then added, or the op that chooses a low number, each
    with the shape that scores have there."""

    product: Op[MatMul]
    scale: float
    masks: list[tuple[Value | Op[Where], tuple[int, ...]]]
    shape: tuple[int, ...]


def scores_of(value: Value, levels: int = LEVELS, *, anyhow: bool = False) -> _Scores | None:
    """Go back from scores, which nothing else reads, to the product.
    ``anyhow``: also where rows or keys are of several dimensions between."""
    op = value.producer
    if op is None or len(value.uses) != 1 or not levels:
        return None
    shape = value.type.shape
    if is_op(op, MatMul):
        is_bare = op.operator.act == "none" and op.operands.residual is None
        masks = [(op.operands.b, shape)] if op.operands.b is not None else []
        return _Scores(op, 1.0, [*masks], shape) if is_bare else None
    for index, x in enumerate(op.inputs):
        if (x.type.shape[-2:] != shape[-2:] and not anyhow) or x.type.elements != value.type.elements:
            continue
        others = [other for place, other in enumerate(op.inputs) if place != index]
        if is_op(op, Where) and index:
            low = scalar_of(others[1])
            is_known = low is not None and low <= _NEVER
        elif is_op(op, Mul, Div):
            is_known = bool(scalar_of(others[0])) and (index == 0 or is_op(op, Mul))
        else:
            is_known = is_op(op, Add, Reshape)
        before = scores_of(x, levels - 1, anyhow=anyhow) if is_known else None
        if before is None:
            continue
        if is_op(op, Reshape):
            return before
        is_factor = is_op(op, Mul, Div)
        if before.masks and is_factor:
            return None
        if is_factor:
            factor = scalar_of(others[0]) or 1.0
            before.scale *= factor if is_op(op, Mul) else 1 / factor
        else:
            before.masks.append((op if is_op(op, Where) else others[0], shape))
        before.shape = shape
        return before
    return None


def _added(found: Match, mask: Value | Op[Where]) -> Value:
    """What is added to scores; a low number in place of a choice of it."""
    if isinstance(mask, Value):
        return mask
    condition, yes, no = mask.inputs
    is_seen = scalar_of(no) is not None
    low, zero = (np.asarray(number, np.float32) for number in (scalar_of(no if is_seen else yes), 0))
    choices = (zero, low) if is_seen else (low, zero)
    if isinstance(condition, Constant):
        return found.add_constant("mask", np.where(condition.array, *choices))
    return found.emit(Where(), condition, *(found.add_constant("mask", choice) for choice in choices))


def _is_causal(mask: Value, rows: int, keys: int) -> bool:
    """Whether a known mask hides what follows each row and nothing else."""
    if not isinstance(mask, Constant) or keys < rows or rows == 1:
        return False
    if mask.type.shape[-2:] != (rows, keys) or mask.type.elements != rows * keys:
        return False
    is_seen = np.tri(rows, keys, keys - rows, bool)
    array = mask.array.reshape(rows, keys)
    return bool((array[is_seen] == 0).all() and (array[~is_seen] <= _HIDDEN).all())


def _attention(found: Match[MatMul], *, in_vectors: bool) -> Value | None:
    """``in_vectors``: queries are read so, and turned where they lie in columns; else where no stride is 1."""
    final, softmax = found.root, found.op("softmax", Softmax)
    scores = scores_of(softmax.inputs[0])
    y, shape = final.result.type, softmax.result.type.shape
    # V softmax(Q K^T)^T is the transposed result.
    is_second = final.inputs[0] is not softmax.result
    value, is_turned = final.inputs[not is_second], final.operator.transpose_b
    if is_second:
        is_turned = not final.operator.transpose_a
    if (
        scores is None
        or final.operands.b is not None
        or final.operands.residual is not None
        or final.operator.act != "none"
        or (not final.operator.transpose_b if is_second else final.operator.transpose_a)
        or softmax.operator.axis != len(shape) - 1
        or y.dtype is not DType.F32
        or 0 in (*y.shape, *shape)
    ):
        return None
    rows, keys, width = scores.product.operator.extents(*(value.type for value in scores.product.inputs[:2]))
    depth, scale = y.shape[-2 if is_second else -1], scores.scale
    level = scores.product.result.type.shape[:-2]
    sides = [(scores.product.inputs[0], scores.product.operator.transpose_a, level)]
    sides += [(scores.product.inputs[1], not scores.product.operator.transpose_b, level)]
    sides += [(value, is_turned, y.shape[:-2])]
    elements = math.prod(scores.shape[:-2])
    # Keys and values of one head may be for the queries of all: known matrices are none.
    for value, _, level in sides:
        is_shared = math.prod(value.type.shape[:-2]) != elements
        if math.prod(level) != elements or (is_shared and isinstance(value, Constant)):
            return None
    for index in range(2):
        base, factor = factored(sides[index][0])
        sides[index], scale = (base, *sides[index][1:]), scale * factor
    added = [(_added(found, mask), level) for mask, level in scores.masks]
    causal = [mask for mask, _ in added if _is_causal(mask, rows, keys)]
    masks = [_at(found, mask, level, scores.shape) for mask, level in added if mask not in causal]
    viewed = matrix_views(sides, scores.shape[:-2], ((rows, width), (keys, width), (keys, depth)))
    if viewed is None:
        return None
    batch, views = viewed
    if views[0].strides[-1] != 1 and (in_vectors or views[0].strides[-2] != 1):
        query, is_turned, _ = sides[0]
        query = found.emit(Transpose(exchanged(query)), query) if is_turned else query
        views[0] = View(query, 0, row_major((*batch, rows, width)))
    mask, mask_view = _mask(found, masks, scores.shape, (*batch, rows, keys))
    q, k, v = views
    order = (0, *row_major((*batch, rows, depth)))
    operator = Attention(
        *(batch, rows, keys, width, depth, (*y.shape[:-2], rows, depth)),
        *(q.numbers, k.numbers, v.numbers, order, mask_view, scale, bool(causal)),
    )
    result = found.emit(operator, *(real_form(found, view.value) for view in views), mask)
    return found.emit(Transpose(exchanged(result)), result) if is_second else result


def _linear_attention(found: Match[Div], *, machine: str) -> Value | None:
    """Keys times values first, of integers. Scores of all queries and keys, of which the accelerator makes shares, are
    more products where there are more rows than columns; their context would need integers of its own."""
    shares, y = shares_of(found.root), found.root.result.type
    if shares is None or y.dtype is not DType.F32 or 0 in y.shape:
        return None
    level, matrix = y.shape[:-2], y.shape[:-3:-1] if shares.is_turned else y.shape[-2:]
    key = shares.k.value.type.shape[:-3:-1] if shares.k.is_turned else shares.k.value.type.shape[-2:]
    (rows, depth), (keys, width) = matrix, key
    sides = [(side.value, side.is_turned, level) for side in (shares.q, shares.k, shares.v)]
    if not pays(keys, width * depth, load(machine)):
        return None
    if any(math.prod(value.type.shape[:-2]) != math.prod(level) for value, *_ in sides):
        return None
    viewed = matrix_views(sides, level, ((rows, width), (keys, width), (keys, depth)))
    if viewed is None:
        return None
    batch, views = viewed
    q, k, v = views
    quants = [view.value.type.quant for view in views if view.value.type.dtype in EIGHT_BIT]
    scales = [quant.scale[0] for quant in quants if quant is not None and quant.axis is None]
    # A step of queries and keys is the least that a score can be.
    if len(scales) < 3 or shares.least > keys * scales[0] * scales[1]:
        return None
    order = (0, *row_major((*batch, rows, depth)))
    seen = q.numbers, k.numbers, v.numbers, order
    operator = Attention(batch, rows, keys, width, depth, (*level, rows, depth), *seen, shares=True)
    result = found.emit(operator, *(real_form(found, view.value) for view in views), None)
    return found.emit(Transpose(exchanged(result)), result) if shares.is_turned else result


def _guarded(found: Match[MatMul]) -> Value | None:
    """Weights guarded against NaN, as of rows that see no key: all of a row are NaN or none, so that of products with
    numbers, as those of integers, the result can be guarded instead."""
    op, softmax, v = found.root, found.op("softmax", Softmax), found["v"]
    is_plain = op.operator == MatMul() and len(op.inputs) == 2
    if not is_plain or softmax.operator.axis != softmax.result.type.rank - 1:
        return None
    if view_of(v, v.type.shape).value.type.quant is None:
        return None
    y = found.emit(op.operator, softmax.result, v)
    return found.emit(Where(), found.emit(IsNan(), y), found.add_constant("zero", np.zeros((), np.float32)), y)


def _at(found: Match, mask: Value, level: tuple[int, ...], shape: tuple[int, ...]) -> Value:
    """A mask that is added to scores of the shape ``level``, for scores that were reshaped: in other dimensions, and
    repeated where one of those would be repeated in part."""
    if level == shape:
        return mask
    strides = regrouped(level, broadcast(mask.type.shape, row_major(mask.type.shape), level), shape)
    if strides is None:
        return found.emit(Reshape(shape), found.emit(Expand(level), mask))
    own = tuple(extent if stride else 1 for extent, stride in zip(shape, strides, strict=True))
    return found.emit(Reshape(own), mask)


def _mask(
    found: Match, masks: Sequence[Value], level: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[Value | None, tuple[int, ...]]:
    """The sum of masks, each of which is added to scores of the shape ``level``, and its view along another shape."""
    if not masks:
        return None, ()
    total = masks[0]
    for mask in masks[1:]:
        total = found.emit(Add(), total, mask)
    seen = view_of(total, total.type.shape)
    strides = regrouped(level, broadcast(total.type.shape, seen.strides, level), shape)
    if strides is None:
        return found.emit(Expand(level), total), (0, *row_major(shape))
    return real_form(found, seen.value), (seen.offset, *strides)


def _placed(found: Match[Transpose]) -> Value | None:
    """Attention that writes its result in the order of a transposition."""
    op, perm = found.op("attention", Attention), found.root.operator.perm
    shape = found.root.result.type.shape
    order = row_major(shape)
    strides = [order[perm.index(axis)] for axis in range(len(perm))]
    operator = written(op.operator, op.operator.shape, strides, shape)
    if operator is None or operator.y_view[-1] != 1:
        return None
    return found.emit(operator, *op.operands, result_types=[found.root.result.type])


def _reshaped(found: Match[Reshape]) -> Value:
    op = found.op("attention", Attention)
    type = found.root.result.type
    return found.emit(replace(op.operator, shape=type.shape), *op.operands, result_types=[type])


def _heads_in_order(found: Match[MatMul]) -> Value | None:
    """Heads behind their channels, or between them, in front of a product: its weights have their order instead."""
    x, w, product = found.root.inputs[0], found.constant("w"), found.root.operator
    transposed, axis = found.op("transposed", Transpose), w.type.rank - (1 if product.transpose_b else 2)
    perm, extents = transposed.operator.perm, transposed.result.type.shape
    first = next((d for d in range(len(perm)) if math.prod(extents[d:]) == x.type.shape[-1]), 0)
    tail, inner = perm[first:], math.prod(extents[first:])
    is_by_row = product.transpose_a or (w.type.quant is not None and w.type.quant.axis == axis)
    if tail == (*sorted(tail),) or is_by_row or not w.type.shape[axis] == x.type.shape[-1] == inner:
        return None
    order = np.arange(inner).reshape(extents[first:]).transpose(np.argsort(tail)).reshape(-1)
    moved = found.emit(Transpose((*perm[:first], *sorted(tail))), transposed.inputs[0])
    weights = found.add_constant(w.name, w.array.take(order, axis), w.type)
    rows = found.emit(Reshape(x.type.shape), moved)
    return found.emit(product, rows, weights, *found.root.operands[2:], result_types=[found.root.result.type])


def _before_softmax(found: Match[Reshape]) -> Value | None:
    """Weights of the matrices of all images and heads as of one dimension, as products of three want them."""
    softmax, shape = found.op("softmax", Softmax), found.root.result.type.shape
    (x,), last = softmax.inputs, softmax.result.type.rank - 1
    if softmax.operator.axis != last or shape[-2:] != x.type.shape[-2:] or not x.type.elements:
        return None
    return found.emit(Softmax(len(shape) - 1), found.emit(Reshape(shape), x))


RESHAPED = Rule("reshape_before_softmax", node(Reshape, node(Softmax, name="softmax")), _before_softmax)


def guarded(many: OpPattern) -> OpPattern:
    """What ``many``, which may have several readers, gives, with 0 where that is NaN."""
    return node(Where, node(IsNan, many), scalar(0.0), many)


def sums_on(machine: str) -> tuple[Rule, ...]:
    """Rules for an accelerator, by the name of a sample machine or the path of a machine file."""
    return (
        Rule("linear_attention", node(Div), partial(_linear_attention, machine=machine)),
        Rule("guarded_weights", node(MatMul, guarded(node(Softmax, name="softmax", single_use=False)), "v"), _guarded),
        *given_on(machine),
    )


SUMS = sums_on(DEFAULT)

MOVEMENT: tuple[Rule, ...] = on_quantized(
    Rule("attention_reshaped", node(Reshape, node(Attention, name="attention")), _reshaped),
    Rule("attention_transposed", node(Transpose, node(Attention, name="attention")), _placed),
    Rule(
        "heads_in_order",
        node(MatMul, node(Reshape, node(Transpose, node(Attention), name="transposed")), Const("w")),
        _heads_in_order,
    ),
)
"""What moves the result of attention becomes its view."""
