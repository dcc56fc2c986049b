"""Layers that hand a state from step to step in place of a cache: linear attention, and the convolution before it."""

import math

import numpy as np

from ......ir.core import Value
from ......ir.ops.activation import Swish
from ......ir.ops.convolution import Conv
from ......ir.ops.elementwise import Mul
from ......ir.ops.matmul import MatMul
from ......ir.ops.unary import Exp
from ......ir.types import DType
from ....builder import shape_text
from ....elementwise import scaled
from ....expression import Expression
from ....movement import cut, join, split, transpose
from ....shape import reshape
from ...exporter import MICROSOFT
from ...importer import Importer, Node, imports
from .attention import refuse


@imports("CausalConvWithState", domain=MICROSOFT)
def import_causal_convolution(node: Node, importer: Importer) -> list[Value]:
    """Each channel by its own window over the positions before it; the last of these are the state."""
    refuse(node, {}, ("state_window",))
    x, w, past = node.input(0), node.input(1), node.optional(3)
    if node.int("ndim", 1) != 1 or w.type.rank != 3:
        raise node.unsupported("only convolutions over one dimension are supported", found=node.int("ndim", 1))
    channels, dilation, is_last = w.type.shape[0], node.int("dilation", 1), node.bool("channels_last", 0)
    shape, held = x.type.shape, (w.type.shape[2] - 1) * dilation

    def channels_first(value: Value) -> Value:
        if not is_last:
            return value
        return transpose(importer, reshape(importer, value, (*value.type.shape[:2], channels)), (0, 2, 1))

    x = channels_first(x)
    if past is None:
        past = _nothing(node, importer, (shape[0], channels, held), x.type.dtype)
    else:
        past = channels_first(past)
    x = join(importer, [past, x], 2) if held else x
    y = importer.emit_one(Conv((1,), (0, 0), (dilation,), channels), x, w, node.optional(2))
    name = node.word("activation", "none")
    if name not in ("none", "silu", "swish"):
        raise node.unsupported("this activation is not supported", expected="silu, swish or none", found=name)
    y = y if name == "none" else importer.emit_one(Swish(), y)
    state = cut(importer, x, 2, x.type.shape[2] - held, held)
    if is_last:
        y, state = (transpose(importer, value, (0, 2, 1)) for value in (y, state))
        state = reshape(importer, state, (shape[0], held, *shape[2:]))
    return [reshape(importer, y, shape), state]


@imports("LinearAttention", domain=MICROSOFT)
def import_linear_attention(node: Node, importer: Importer) -> list[Value]:
    """A matrix for each head of keys, [batch, heads, keys' width, values' width], is the state: each step makes it less
    by its decay, writes its values under its keys, or what these lack, and reads it by its queries."""
    refuse(node, {}, ("state_window",))
    rule, heads, groups = node.word("update_rule", "gated_delta"), node.int("q_num_heads"), node.int("kv_num_heads")
    if rule not in ("linear", "gated", "delta", "gated_delta"):
        expected = "linear, gated, delta or gated_delta"
        raise node.unsupported("this rule is not supported", expected=expected, found=rule)
    q, k, v = (node.input(index) for index in range(3))
    if min(heads, groups) < 1 or max(heads, groups) % min(heads, groups):
        raise node.model_error("the heads of keys do not divide those of queries", found=f"{groups} and {heads}")
    batch, steps, width = *q.type.shape[:2], q.type.shape[2] // heads
    depth = v.type.shape[2] // groups
    state, held = node.optional(3), (batch, groups, width, depth)
    shapes = [(batch, steps, extent) for extent in (heads * width, groups * width, groups * depth)]
    if [x.type.shape for x in (q, k, v)] != shapes or (state and state.type.shape != held) or not q.type.dtype.is_float:
        expected = f"floats of {', '.join(map(shape_text, shapes))}, and a state of {shape_text(held)}"
        found = ", ".join(str(x.type) for x in (q, k, v, state) if x)
        raise node.model_error("queries, keys and values do not fit the heads", expected=expected, found=found)
    importer.unroll(node, steps)

    def by_head(x: Value, each: int) -> Value:
        """[batch, heads, steps, width]"""
        parts = reshape(importer, x, (batch, steps, each, x.type.shape[2] // each))
        return transpose(importer, parts, (0, 2, 1, 3))

    decay = by_head(node.input(4), groups) if rule.startswith("gated") else None
    rate = by_head(node.input(5), node.input(5).type.shape[2]) if rule.endswith("delta") else None
    q = by_head(scaled(importer, q, node.float("scale", 0.0) or 1 / math.sqrt(width)), heads)
    pairs = min(heads, groups)
    each, wholes = (batch, pairs, 1, heads // pairs, width), (batch, pairs, groups // pairs, width, depth)
    k, v = by_head(k, groups), by_head(v, groups)
    if state is None:
        state = _nothing(node, importer, held, v.type.dtype)

    def at(x: Value | None) -> list[Value | None]:
        return [None] * steps if x is None else list(split(importer, x, 2, (1,) * steps))

    results: list[Value] = []
    for queries, key, value, g, beta in zip(*map(at, (q, k, v, decay, rate)), strict=True):
        assert queries is not None and key is not None and value is not None
        if g is not None:
            state = importer.emit_one(Mul(), state, importer.emit_one(Exp(), transpose(importer, g, (0, 1, 3, 2))))
        if beta is not None:
            value = ((value - Expression(importer, key) @ state) * beta).value
        state = (state + Expression(importer, transpose(importer, key, (0, 1, 3, 2))) * value).value
        queries = reshape(importer, queries, each)
        read = importer.emit_one(MatMul(), queries, reshape(importer, state, wholes))
        results.append(reshape(importer, read, (batch, 1, max(heads, groups) * depth)))
    return [join(importer, results, 1), state]


def _nothing(node: Node, importer: Importer, shape: tuple[int, ...], dtype: DType) -> Value:
    """The state before the first step."""
    return importer.described(node, shape, dtype, lambda: np.zeros(shape, dtype.numpy), "_past")
