"""Positions that queries are multiplied with and that are added to scores, as products of maps."""

import itertools
import math
from collections.abc import Iterable

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.layout import in_whole_blocks
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Div, Mul, Sub
from ...ir.ops.indexing import Gather, GatherElements
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Concat, Pad, Slice, Split, Transpose
from ...ir.ops.shape import Expand, Reshape
from ...ir.ops.softmax import Softmax
from ...ir.ops.unary import Neg
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..named_ops import kept_ops
from ..pattern import Driver, Match, Rule, node
from ..quantization.quantizable import is_anchor, moved
from ..simplify.linear_rules import factored
from ..views import LEVELS, is_known
from .fuse_attention import scores_of

_MOVING = (Reshape, Transpose, Slice, Split, Expand, Gather, GatherElements, Neg, Div)

_MOST = 1 << 27
"""Numbers that are computed here to find out what queries are multiplied with."""

_MOST_PRODUCTS = 64
"""One for each row and each column of the image that tokens are of."""


class RelativePositions(Pass):
    """Replaces what is added to scores and depends on a query's place in an image, ``q · (R[y, y'] + S[x, x'])`` for a
    query in row y and column x and a key in row y' and column x', by convolutions of the map of queries.

    However tables of positions are looked up, padded, shifted and repeated: what is added is linear in the queries, and
    its factors are found by computing it. One product for each row of queries and one for each column make a few
    numbers for each row and column of keys, another repeats their sums for all keys. The accelerator has these,
    and no product whose matrix differs from image to image. Comes before calibration.
    ``keep``: names of operators, of source nodes or of results that stay as they are."""

    requires = (PLAIN, UNPLANNED)

    keep: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        kept = kept_ops(module, self.keep, self.name)
        rule = Rule("relative_positions", node(Softmax), lambda found: _as_products(found, kept))
        return Driver((rule,)).run(module, record)


def _is_linear(value: Value, base: Value, seen: dict[Op, bool], levels: int = 2 * LEVELS) -> bool:
    """Whether a value is linear in ``base`` and known otherwise; the ops between go into ``seen``, in order."""
    op = value.producer
    if value is base or op is None or op in seen or not levels:
        return value is base or (op is not None and seen.get(op, False))
    computed = [each for each in op.inputs if not isinstance(each, Constant)]
    seen[op] = False
    if not computed or not all(_is_linear(each, base, seen, levels - 1) for each in computed):
        return False
    is_first = len(computed) == 1 and op.inputs[0] is computed[0]
    is_sum = is_op(op, Add, Sub, Concat) and len(computed) == len(op.inputs)
    is_product = is_op(op, Mul) or (is_op(op, MatMul) and len(op.inputs) == 2 and op.operator.act == "none")
    is_moved = is_op(op, *_MOVING) or (is_op(op, Pad) and op.operator.mode == "constant" and not op.operator.value)
    del seen[op]  # It comes behind what it reads.
    seen[op] = is_sum or (is_product and len(computed) == 1) or (is_moved and is_first)
    return seen[op]


def _computed(ops: Iterable[Op], base: Value, array: np.ndarray) -> dict[Value, np.ndarray]:
    """What the results of ops are where ``base`` is ``array``."""
    made = {base: array}
    for op in ops:
        operands = [each.array if isinstance(each, Constant) else each and made[each] for each in op.operands]
        made.update(zip(op.results, op.evaluate(operands), strict=True))
    return made


def _as_products(found: Match[Softmax], kept: set[Op]) -> Value | None:
    scores, y = scores_of(found.root.inputs[0], anyhow=True), found.root.result.type
    if scores is None or found.root.operator.axis != y.rank - 1:
        return None
    masks = [(mask, level) for mask, level in scores.masks if isinstance(mask, Value) and not is_known(mask)]
    product, shape, linear = scores.product, scores.product.result.type.shape, dict[Op, bool]()
    query = factored(product.inputs[0])[0]
    base = moved(query)
    if not masks or len(masks) < len(scores.masks) or query is base or base.producer is None:
        return None
    are_linear = all(_is_linear(value, base, linear) for value in (query, *(mask for mask, _ in masks)))
    ops = [op for op, is_linear in linear.items() if is_linear]
    if not (are_linear and is_anchor(base.producer) and kept.isdisjoint(ops)) or 0 in shape:
        return None
    is_map, (*_, rows, keys) = is_op(base.producer, Conv), shape
    channels, lead = base.type.shape[1 if is_map else -1], math.prod(shape[:-2])
    images, rest = divmod(base.type.elements, channels * rows)
    width = query.type.shape[-2 if product.operator.transpose_a else -1]
    is_large = max(lead * rows * keys * width, base.type.elements << 4) > _MOST
    if rest or lead % images or query.type.elements != lead * rows * width or is_large:
        return None
    heads = lead // images

    def seen(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Queries [images, heads, rows, width], and what is added [images, heads, rows, keys]."""
        made = _computed(ops, base, array.reshape(base.type.shape))
        queries = np.swapaxes(made[query], -1, -2) if product.operator.transpose_a else made[query]
        added = sum(np.broadcast_to(made[mask], level).reshape(images, heads, rows, keys) for mask, level in masks)
        return queries.reshape(images, heads, rows, width), np.asarray(added)

    # Where queries are: heads beside each other, of rows in order.
    apart = (images, channels, rows) if is_map else (images, rows, channels)
    places = seen(np.arange(base.type.elements, dtype=np.float32))[0].astype(np.int64)
    order = np.arange(base.type.elements).reshape(apart)
    order = np.swapaxes(order, 1, 2) if is_map else order
    start = int(np.argwhere(order == places.flat[0])[0, 2])
    expected = order[..., start : start + heads * width]
    if not np.array_equal(np.moveaxis(places, 1, 2).reshape(images, rows, -1), expected):
        return None
    factors = np.empty((heads, rows, keys, width), np.float32)
    for channel in range(width):
        unit = np.zeros(base.type.elements, np.float32)
        unit[places[..., channel]] = 1
        added = seen(unit)[1]
        if not _equal(added[..., None], added[:1, ..., None]):
            return None
        factors[..., channel] = added[0]
    # What depends on other numbers than those of the query is no such product.
    queries, added = seen(np.random.default_rng(0).normal(size=base.type.elements).astype(np.float32))
    is_of_queries = _equal(np.einsum("ihrc,hrkc->ihrk", queries, factors)[..., None], added[..., None])
    tables = _separated(factors) if is_of_queries and not _equal(factors, factors[:, :1]) else None
    if tables is None:
        return None
    size = tuple(table.shape[1] for table in tables)
    x = found.emit(Reshape((images, channels, *size) if is_map else (images, *size, channels)), base)
    x = x if is_map else found.emit(Transpose((0, 3, 1, 2)), x)
    x = _positions(found, found.emit(Slice.along(1, start, heads * width, x.type.shape), x), tables)
    x = found.emit(Reshape((images, heads, in_whole_blocks(keys), rows)), x)
    x = found.emit(Transpose((0, 1, 3, 2)), found.emit(Slice.along(2, 0, keys, x.type.shape), x))
    total = found.emit(Mul(), product.result, found.add_constant("scale", np.asarray(scores.scale, np.float32)))
    total = found.emit(Add(), total, found.emit(Reshape(shape), x))
    return found.emit(found.root.operator, found.emit(Reshape(y.shape), total))


def _equal(some: np.ndarray, others: np.ndarray) -> bool:
    """Of arrays [.., rows, keys, width]: but for what is far less than the largest number of each row."""
    largest = np.maximum(others.max((-2, -1), keepdims=True), -others.min((-2, -1), keepdims=True))
    return bool((np.abs(some - others) <= 1e-5 * largest + 1e-12 * largest.max()).all())


def _separated(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Factors [heads, rows, keys, width] as the sum of some for each row of an image, [heads, rows of queries, rows of
    keys, width], and such for each column; ``None`` if they are none."""
    heads, rows, keys, width = factors.shape
    for height, key_height in itertools.product(_divisors(rows), _divisors(keys)):
        across, key_across = rows // height, keys // key_height
        if height + across > _MOST_PRODUCTS:
            continue
        apart = factors.reshape(heads, height, across, key_height, key_across, width)
        # One head or row may be far smaller than the others.
        by_row, by_column, mean = (apart.mean(axes, np.float64) for axes in ((2, 4), (1, 3), (1, 2, 3, 4)))
        tables = by_row.astype(np.float32), (by_column - mean[:, None, None]).astype(np.float32)
        total = tables[0][:, :, None, :, None] + tables[1][:, None, :, None]
        if _equal(total.reshape(factors.shape), factors):
            return tables
    return None


def _divisors(number: int) -> list[int]:
    """Those next to the square root first, without 1 and the number itself."""
    found = (each for each in range(2, number) if number % each == 0)
    return sorted(found, key=lambda each: abs(each * each - number))


def _positions(found: Match, x: Value, tables: tuple[np.ndarray, np.ndarray]) -> Value:
    """What is added to the scores of a map of queries [images, heads x width, rows, columns], with keys as channels,
    as many for each head as whole blocks hold."""
    heads, _, key_rows, width = tables[0].shape
    key_columns = tables[1].shape[2]
    step, whole = (in_whole_blocks(n) for n in (key_rows + key_columns, key_rows * key_columns))
    sums: list[Value] = []
    for axis, first, table in zip((2, 3), (0, key_rows), tables, strict=True):
        parts: list[Value] = []
        for place in range(table.shape[1]):
            weights = np.zeros((heads, step, width), np.float32)
            weights[:, first : first + table.shape[2]] = table[:, place]
            line = found.emit(Slice.along(axis, place, 1, x.type.shape), x)
            parts.append(_product(found, line, weights))
        sums.append(found.emit(Concat(axis), *parts))
    repeated = np.zeros((whole, step), np.float32)
    of_row, of_column = np.divmod(np.arange(key_rows * key_columns), key_columns)
    for index in (of_row, key_rows + of_column):
        repeated[np.arange(len(index)), index] = 1
    return _product(found, found.emit(Add(), *sums), np.broadcast_to(repeated, (heads, whole, step)))


def _product(found: Match, x: Value, weights: np.ndarray) -> Value:
    """A map of heads, each multiplied with weights [outputs, inputs] of its own."""
    heads, _, inputs = weights.shape
    w = found.add_constant("positions", weights.reshape(-1, inputs, 1, 1))
    return found.emit(Conv((1, 1), (0,) * 4, (1, 1), heads), x, w, None, None)
