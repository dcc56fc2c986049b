"""Attention of onnxruntime: of one input and its weights, quantised or not, and of inputs projected already.

Where a node is given past keys and values it returns them joined with its own, as the second and third output.
"""

import math
from collections.abc import Sequence

import numpy as np

from ......ir.core import Value
from ......ir.ops.comparison import And, GreaterOrEqual, Less, Where
from ......ir.ops.elementwise import Add
from ......ir.ops.matmul import MatMul
from ......ir.ops.softmax import Softmax
from ......ir.types import DType
from ....elementwise import scaled
from ....matmul import product
from ....movement import join, split, transpose
from ....shape import cast, reshape
from ...exporter import MICROSOFT
from ...importer import Importer, Node, imports
from .fused import added, integer_product


@imports("Attention", domain=MICROSOFT)
def import_attention(node: Node, importer: Importer) -> list[Value]:
    """Past and present keys and values are in one tensor, [2, batch, heads, positions, width]."""
    refuse(node, {6: "shared buffers of past states"}, ("do_rotary", "past_present_share_buffer"))
    total = product(node, importer, node.input(0), node.input(1))
    past = node.optional(4)
    states = split(importer, past, 0, (1, 1)) if past is not None else ()
    states = [reshape(importer, state, state.type.shape[1:]) for state in states]
    total = added(importer, total, node.optional(2))
    y, *present = _projected(node, importer, total, node.optional(3), node.optional(5), states)
    if not node.wanted[1:]:
        return [y]
    return [y, join(importer, [reshape(importer, each, (1, *each.type.shape)) for each in present], 0)]


@imports("QAttention", domain=MICROSOFT)
def import_quantized_attention(node: Node, importer: Importer) -> Value:
    """As Attention, whose input and weights are integers."""
    refuse(node, {8: "past states"}, ("do_rotary", "past_present_share_buffer"))
    total = integer_product(node, importer, 3, node.optional(6), node.optional(7))
    return _projected(node, importer, added(importer, total, node.optional(2)), node.optional(5), None)[0]


def refuse(node: Node, inputs: dict[int, str], attributes: tuple[str, ...]) -> None:
    for index, what in inputs.items():
        if node.optional(index) is not None:
            raise node.unsupported(f"{what} are not supported (input {index})")
    for name in attributes:
        if node.int(name, 0):
            raise node.unsupported(f"attribute {name!r} is not supported", found=node.int(name))


def _projected(
    node: Node, importer: Importer, total: Value, mask: Value | None, bias: Value | None, past: Sequence[Value] = ()
) -> list[Value]:
    """Attention of queries, keys and values that stand side by side in the last dimension."""
    width = total.type.shape[-1]
    sizes = node.ints("qkv_hidden_sizes", (width // 3,) * 3)
    return _attention(node, importer, split(importer, total, 2, tuple(sizes)), mask, bias, past)


@imports("MultiHeadAttention", domain=MICROSOFT)
def import_multi_head_attention(node: Node, importer: Importer) -> list[Value]:
    """Queries, keys and values are apart, or side by side behind the heads, all three or the last two of them."""
    refuse(node, {8: "lengths of past states", 9: "indirections of a cache"}, ())
    given = [value for index in range(3) if (value := node.optional(index)) is not None]
    parts = [part for value in given for part in (_unpacked(importer, value) if value.type.rank == 5 else [value])]
    if len(parts) != 3 or any(part.type.rank not in (3, 4) for part in parts) or parts[0].type.rank != 3:
        found = ", ".join(str(part.type) for part in parts)
        raise node.model_error("there are no queries, keys and values of such shapes", found=found)
    if node.optional(3) is not None:
        sizes = tuple(math.prod(part.type.shape[2 if part.type.rank == 3 else 1 :: 2]) for part in parts)
        biases = split(importer, node.input(3), 0, sizes)
        # Keys and values by heads, of another sequence, have theirs already.
        pairs = zip(parts, biases, strict=True)
        parts = [added(importer, part, bias) if part.type.rank == 3 else part for part, bias in pairs]
    past = [node.input(index) for index in (6, 7)] if node.optional(6) is not None else ()
    return _attention(node, importer, parts, node.optional(4), node.optional(5), past)


def _unpacked(importer: Importer, packed: Value) -> list[Value]:
    """The parts of [batch, positions, heads, parts, width], each [batch, positions, heads * width]."""
    batch, positions, heads, parts, width = packed.type.shape
    split_up = split(importer, packed, 3, (1,) * parts)
    return [reshape(importer, part, (batch, positions, heads * width)) for part in split_up]


def _attention(
    node: Node,
    importer: Importer,
    parts: Sequence[Value],
    mask: Value | None,
    bias: Value | None,
    past: Sequence[Value] = (),
) -> list[Value]:
    """softmax(scale * Q K^T + bias, where the mask allows) V of all heads, side by side, [batch, rows, heads * width];
    the keys and the values, those of the past first, [batch, heads, positions, width].
    ``parts``: queries, keys and values, each [batch, positions, heads * width], or [batch, heads, positions, width].
    ``past``: keys and values, [batch, heads, positions, width], or nothing."""
    heads = node.int("num_heads")
    if heads < 1 or any(part.type.rank == 3 and part.type.shape[2] % heads for part in parts):
        raise node.model_error("the heads do not divide what they share", found=heads)
    q, k, v = (heads_of(importer, part, heads) for part in parts)
    if past:
        k, v = (join(importer, list(pair), 2) for pair in zip(past, (k, v), strict=True))
    batch, _, positions, width = q.type.shape
    scale = node.float("scale", 0.0) or 1 / math.sqrt(width)
    scores = importer.emit_one(MatMul(transpose_b=True), scaled(importer, q, scale), k)
    if bias is not None:
        scores = importer.emit_one(Add(), scores, bias)
    low = node.float("mask_filter_value", -10000.0)
    if mask is not None:
        scores = importer.emit_one(Add(), scores, _filter(node, importer, mask, scores, low))
    if node.bool("unidirectional", 0):
        before = np.tri(positions, k.type.shape[2], past[0].type.shape[2] if past else 0, np.bool_)
        before[-1:] = True  # as onnxruntime has it, where the keys are of a longer sequence
        least = importer.constant(np.asarray(np.finfo(scores.type.dtype.numpy).min), "least")
        scores = importer.emit_one(Where(), importer.constant(before, f"{node.name}_causal"), scores, least)
    y = importer.emit_one(MatMul(), importer.emit_one(Softmax(3), scores), v)
    y = reshape(importer, transpose(importer, y, (0, 2, 1, 3)), (batch, positions, heads * v.type.shape[3]))
    return [y, k, v]


def heads_of(importer: Importer, x: Value, heads: int) -> Value:
    """``x`` as [batch, heads, positions, width]."""
    if x.type.rank == 4:
        return x
    batch, positions, total = x.type.shape
    return transpose(importer, reshape(importer, x, (batch, positions, heads, total // heads)), (0, 2, 1, 3))


def _filter(node: Node, importer: Importer, mask: Value, scores: Value, low: float) -> Value:
    """What is added to scores: ``low`` where the mask forbids.

    The mask is 0 or 1 for [batch, keys] or [batch, rows, keys], or says where the keys of each sequence end, [batch],
    and, in a second half, where they start."""
    batch, _, rows, keys = scores.type.shape
    shapes = {(batch, keys): (batch, 1, 1, keys), (batch, rows, keys): (batch, 1, rows, keys)}
    dtype = scores.type.dtype.numpy
    if mask.type.shape in ((batch,), (2 * batch,)):
        limits = split(importer, mask, 0, (batch,) * (mask.type.shape[0] // batch))
        limits = [reshape(importer, each, (batch, 1, 1, 1)) for each in limits]
        places = importer.constant(np.arange(keys).astype(mask.type.dtype.numpy), "places")
        allowed = importer.emit_one(Less(), places, limits[0])
        if limits[1:]:
            allowed = importer.emit_one(And(), allowed, importer.emit_one(GreaterOrEqual(), places, limits[1]))
    elif mask.type.shape in shapes:
        allowed = cast(importer, reshape(importer, mask, shapes[mask.type.shape]), DType.BOOL)
    else:
        expected = " or ".join(str(list(shape)) for shape in ((batch,), (2 * batch,), *shapes))
        raise node.unsupported("this form of mask is not supported", expected=expected, found=mask.type)
    values = (importer.constant(np.asarray(value, dtype), "filter") for value in (0.0, low))
    return importer.emit_one(Where(), allowed, *values)
