"""What exports of language models are made of: rotated positions, and attention of grouped heads with its cache."""

import math

import numpy as np

from ......ir.core import Value
from ......ir.ops.activation import Tanh
from ......ir.ops.comparison import Where
from ......ir.ops.elementwise import Add, Min
from ......ir.ops.indexing import GatherElements
from ......ir.ops.matmul import MatMul
from ......ir.ops.softmax import Softmax
from ......ir.types import DType
from ....elementwise import scaled
from ....expression import Expression
from ....movement import cut, join, split, transpose
from ....shape import cast, expand, reshape
from ...exporter import MICROSOFT
from ...importer import Importer, Node, imports
from ..layers.rotary_positions import rotated
from .attention import heads_of, refuse
from .fused import added


@imports("RotaryEmbedding", domain=MICROSOFT)
def import_rotary_embedding(node: Node, importer: Importer) -> Value:
    refuse(node, {}, ("is_packed_batching",))
    x, places, cos, sin = (node.input(index) for index in range(4))
    rows = x.type.shape[1 if x.type.rank == 3 else 2]
    if places.type.elements == 1:
        steps = importer.constant(np.arange(rows), f"{node.name}_steps")
        places = importer.emit_one(Add(), reshape(importer, cast(importer, places, DType.I64), (1, 1)), steps)
    return rotated(node, importer, x, places, cos, sin, interleaved=node.bool("interleaved", 0))


@imports("GroupQueryAttention", domain=MICROSOFT)
def import_group_query_attention(node: Node, importer: Importer) -> list[Value]:
    """Attention in which several heads of queries share keys and values, which are written behind those of the past.

    Sinks are scores, one a head, that take weight from the keys and have no values.
    A sequence has ``seqlens_k`` + 1 positions in all. The longest has ``total_sequence_length``, so that a batch of
    one is placed when compiling; of others each has its place."""
    refuse(node, {12: "scales of keys", 13: "scales of values"}, ("qk_output", "k_quant_type", "v_quant_type"))
    heads, groups = node.int("num_heads"), node.int("kv_num_heads")
    parts = [node.input(0), node.optional(1), node.optional(2)]
    if min(heads, groups) < 1 or heads % groups:
        raise node.model_error("the heads of keys do not divide those of queries", found=f"{groups} and {heads}")
    if (parts[1] is None) != (parts[2] is None):
        raise node.model_error("keys and values come both, or both within the queries", found="one of the two")
    if parts[1] is None:
        width = parts[0].type.shape[2] // (heads + 2 * groups)
        parts = [*split(importer, parts[0], 2, (heads * width, groups * width, groups * width))]
    q, k, v = (heads_of(importer, part, n) for part, n in zip(parts, (heads, groups, groups), strict=True))
    batch, _, rows, width = q.type.shape
    past = [node.input(index) for index in (3, 4)] if node.optional(3) is not None else ()
    total, room = node.scalar(6, "total_sequence_length"), past[0].type.shape[2] if past else 0
    if not rows <= total <= room + rows:
        expected = f"{rows} to {room + rows}, what queries and past have room for"
        raise node.model_error("there is no such total length", expected=expected, found=total)
    steps = importer.constant(np.arange(rows), f"{node.name}_steps")
    first: Value = importer.constant(np.full((1, 1), total - rows), f"{node.name}_first")
    if batch > 1 and total > rows:
        lengths = reshape(importer, node.input(5), (batch, 1))
        first = (Expression(importer, lengths).cast(DType.I64) - (rows - 1)).value
    ends = importer.emit_one(Add(), first, steps)
    if node.bool("do_rotary", 0):
        places, turned = node.optional(9), node.bool("rotary_interleaved", 0)
        tables = (ends if places is None else places), node.input(7), node.input(8)
        q, k = (rotated(node, importer, x, *tables, interleaved=turned) for x in (q, k))
    if past:
        k, v = (_written(node, importer, old, new, first, total) for old, new in zip(past, (k, v), strict=True))
    present = k, v
    k, v = (cut(importer, x, 2, 0, total) for x in present)

    scale = node.float("scale", 0.0) or 1 / math.sqrt(width)
    apart = batch, groups, heads // groups
    q = scaled(importer, reshape(importer, q, (*apart, rows, width)), scale)
    # Keys and values of a group are those of each of its heads.
    k, v = (reshape(importer, x, (batch, groups, 1, *x.type.shape[2:])) for x in (k, v))
    scores = importer.emit_one(MatMul(transpose_b=True), q, k)
    softcap = node.float("softcap", 0.0)
    if softcap:
        scores = scaled(importer, importer.emit_one(Tanh(), scaled(importer, scores, 1 / softcap)), softcap)
    if node.optional(10) is not None:
        scores = added(importer, reshape(importer, scores, (batch, heads, rows, total)), node.input(10))
        scores = reshape(importer, scores, (*apart, rows, total))
    least = importer.constant(np.asarray(np.finfo(scores.type.dtype.numpy).min), "least")
    scores = importer.emit_one(Where(), _allowed(node, importer, ends, total), scores, least)
    sinks = node.optional(11)
    if sinks is None and node.bool("smooth_softmax", 0):
        sinks = importer.constant(np.zeros(heads, scores.type.dtype.numpy), "sinks")
    if sinks is not None:
        sinks = reshape(importer, sinks, (*apart[1:], 1, 1))
        scores = join(importer, [scores, expand(node, importer, sinks, (*apart, rows, 1))], 4)
    weights = importer.emit_one(Softmax(4), scores)
    weights = cut(importer, weights, 4, 0, total)
    y = importer.emit_one(MatMul(), weights, v)
    y = transpose(importer, reshape(importer, y, (batch, heads, rows, v.type.shape[4])), (0, 2, 1, 3))
    return [reshape(importer, y, (batch, rows, heads * v.type.shape[4])), *present]


def _written(node: Node, importer: Importer, past: Value, new: Value, first: Value, total: int) -> Value:
    """Past keys or values, [batch, heads, positions, width], with new ones from position ``first`` of each sequence."""
    batch, groups, room, width = past.type.shape
    rows = new.type.shape[2]
    held = max(room, total)
    if first.type.elements == 1:
        ends = (0, total - rows), (total, room)
        before, after = (cut(importer, past, 2, begin, max(end - begin, 0)) for begin, end in ends)
        return join(importer, [part for part in (before, new, after) if part.type.elements], 2)
    places = Expression(importer, importer.constant(np.arange(held), f"{node.name}_places"))
    offsets = (places - first + room).apply(Min(), room + rows - 1)
    source = places.where(places < first, places, offsets).reshape((batch, 1, held, 1))
    index = expand(node, importer, source.value, (batch, groups, held, width))
    return importer.emit_one(GatherElements(2), join(importer, [past, new], 2), index)


def _allowed(node: Node, importer: Importer, ends: Value, total: int) -> Value:
    """Which keys each row may read, [batch or 1, 1, 1, rows, total]: none after its own, nor too long before."""
    ends = reshape(importer, ends, (ends.type.shape[0], 1, 1, ends.type.shape[1], 1))
    places = Expression(importer, importer.constant(np.arange(total), f"{node.name}_keys"))
    allowed, window = places <= ends, node.int("local_window_size", -1)
    return (allowed if window < 0 else allowed & (places > Expression(importer, ends) - window)).value
