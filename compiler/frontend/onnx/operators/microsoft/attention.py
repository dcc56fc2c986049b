"""Attention of onnxruntime: of one input and its weights, quantised or not, and of inputs projected already."""

from __future__ import annotations

import math

import numpy as np

from ......ir.core import Value
from ......ir.ops.comparison import Where
from ......ir.ops.elementwise import Add
from ......ir.ops.matmul import MatMul
from ......ir.ops.softmax import Softmax
from ......ir.types import DType
from ....elementwise import scaled
from ....matmul import product
from ....movement import split, transpose
from ....shape import cast, reshape
from ...exporter import MICROSOFT
from ...importer import Importer, Node, imports
from .fused import added, integer_product


@imports("Attention", domain=MICROSOFT)
def import_attention(node: Node, importer: Importer) -> Value:
    _refuse(node, {4: "past states", 6: "shared buffers of past states"}, ("do_rotary", "past_present_share_buffer"))
    total = product(node, importer, node.input(0), node.input(1))
    return _projected(node, importer, added(importer, total, node.optional(2)), node.optional(3), node.optional(5))


@imports("QAttention", domain=MICROSOFT)
def import_quantized_attention(node: Node, importer: Importer) -> Value:
    """As Attention, whose input and weights are integers."""
    _refuse(node, {8: "past states"}, ("do_rotary", "past_present_share_buffer"))
    total = integer_product(node, importer, 3, node.optional(6), node.optional(7))
    return _projected(node, importer, added(importer, total, node.optional(2)), node.optional(5), None)


def _refuse(node: Node, inputs: dict[int, str], attributes: tuple[str, ...]) -> None:
    for index, what in inputs.items():
        if node.optional(index) is not None:
            raise node.unsupported(f"{what} are not supported (input {index})")
    for name in attributes:
        if node.int(name, 0):
            raise node.unsupported(f"attribute {name!r} is not supported", found=node.int(name))


def _projected(node: Node, importer: Importer, total: Value, mask: Value | None, bias: Value | None) -> Value:
    """Attention of queries, keys and values that stand side by side in the last dimension."""
    width = total.type.shape[-1]
    sizes = node.ints("qkv_hidden_sizes", (width // 3,) * 3)
    return _attention(node, importer, split(importer, total, 2, tuple(sizes)), mask, bias)


@imports("MultiHeadAttention", domain=MICROSOFT)
def import_multi_head_attention(node: Node, importer: Importer) -> Value:
    past = {6: "past keys", 7: "past values", 8: "lengths of past states", 9: "indirections of a cache"}
    _refuse(node, past, ())
    parts = [node.input(index) for index in range(3)]
    if any(part.type.rank not in (3, 4) for part in parts) or parts[0].type.rank != 3:
        found = ", ".join(str(part.type) for part in parts)
        raise node.unsupported("queries, keys and values in one tensor are not supported", found=found)
    if node.optional(3) is not None:
        sizes = tuple(part.type.shape[-1] for part in parts)
        biases = split(importer, node.input(3), 0, sizes)
        parts = [added(importer, part, bias) for part, bias in zip(parts, biases, strict=True)]
    return _attention(node, importer, parts, node.optional(4), node.optional(5))


def _attention(node: Node, importer: Importer, parts: list[Value], mask: Value | None, bias: Value | None) -> Value:
    """softmax(scale * Q K^T + bias, where the mask allows) V of all heads, side by side, [batch, rows, heads * width].

    Args:
        parts: queries, keys and values, each [batch, positions, heads * width], or [batch, heads, positions, width].
    """
    heads = node.int("num_heads")
    if heads < 1 or any(part.type.rank == 3 and part.type.shape[2] % heads for part in parts):
        raise node.model_error("the heads do not divide what they share", found=heads)
    q, k, v = (_heads(importer, part, heads) for part in parts)
    batch, _, positions, width = q.type.shape
    scale = node.float("scale", 0.0) or 1 / math.sqrt(width)
    scores = importer.emit_one(MatMul(transpose_b=True), scaled(importer, q, scale), k)
    if bias is not None:
        scores = importer.emit_one(Add(), scores, bias)
    low = node.float("mask_filter_value", -10000.0)
    if mask is not None:
        scores = importer.emit_one(Add(), scores, _filter(node, importer, mask, scores, low))
    if node.bool("unidirectional", 0):
        before = np.tril(np.ones((positions, k.type.shape[2]), np.bool_), k.type.shape[2] - positions)
        least = importer.constant(np.asarray(np.finfo(scores.type.dtype.numpy).min), "least")
        scores = importer.emit_one(Where(), importer.constant(before, f"{node.name}_causal"), scores, least)
    y = importer.emit_one(MatMul(), importer.emit_one(Softmax(3), scores), v)
    return reshape(importer, transpose(importer, y, (0, 2, 1, 3)), (batch, positions, heads * v.type.shape[3]))


def _heads(importer: Importer, x: Value, heads: int) -> Value:
    """``x`` as [batch, heads, positions, width]."""
    if x.type.rank == 4:
        return x
    batch, positions, total = x.type.shape
    return transpose(importer, reshape(importer, x, (batch, positions, heads, total // heads)), (0, 2, 1, 3))


def _filter(node: Node, importer: Importer, mask: Value, scores: Value, low: float) -> Value:
    """What is added to scores: ``low`` where the mask, 0 or 1 for [batch, keys] or [batch, rows, keys], is 0."""
    batch, _, rows, keys = scores.type.shape
    shapes = {(batch, keys): (batch, 1, 1, keys), (batch, rows, keys): (batch, 1, rows, keys)}
    if mask.type.shape not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise node.unsupported("this form of mask is not supported", expected=expected, found=mask.type)
    allowed = cast(importer, reshape(importer, mask, shapes[mask.type.shape]), DType.BOOL)
    dtype = scores.type.dtype.numpy
    values = (importer.constant(np.asarray(value, dtype), "filter") for value in (0.0, low))
    return importer.emit_one(Where(), allowed, *values)
