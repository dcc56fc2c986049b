"""Attention as exporters write it, between products."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from random_graphs import Builder

from tilewright.ir.core import Function, Module, Value
from tilewright.ir.ops.activation import Relu
from tilewright.ir.ops.attention import Attention
from tilewright.ir.ops.comparison import Where
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add, Div, Mul, Sub
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.movement import Pad, Slice, Split, Transpose
from tilewright.ir.ops.quantization import Dequantize, Quantize
from tilewright.ir.ops.shape import Cast, Reshape
from tilewright.ir.ops.softmax import Softmax
from tilewright.ir.ops.unary import IsNan
from tilewright.ir.types import DType, Quantization, TensorType


def attend(g: Builder, x: Value, heads: int, depth: int, mask: Value | None, *, is_guarded: bool = False) -> Value:
    """Heads side by side of three products of [images, tokens, channels], and a product of what they make; weights that
    are NaN may be guarded."""
    images, tokens, channels = x.type.shape

    def rows(value: Value, inner: int, outputs: int) -> Value:
        size = 1.7 / inner**0.5  # as large as what it is made of
        return g.op(Add(), g.op(MatMul(), value, g.constant(inner, outputs, low=-size, high=size)), g.constant(outputs))

    apart = (images, tokens, heads, depth)
    q, k, v = (g.op(Reshape(apart), rows(x, channels, heads * depth)) for _ in range(3))
    q, k, v = g.op(Transpose((0, 2, 1, 3)), q), g.op(Transpose((0, 2, 3, 1)), k), g.op(Transpose((0, 2, 1, 3)), v)
    scores = g.op(Mul(), g.op(MatMul(), q, k), g.scalar(depth**-0.5))
    scores = g.op(Add(), scores, mask) if mask is not None else scores
    weights = g.op(Softmax(3), scores)
    weights = g.op(Where(), g.op(IsNan(), weights), g.scalar(0.0), weights) if is_guarded else weights
    means = g.op(Transpose((0, 2, 1, 3)), g.op(MatMul(), weights, v))
    return rows(g.op(Reshape((images, tokens, heads * depth)), means), heads * depth, channels)


def known_mask(g: Builder, kind: str, tokens: int) -> Value | None:
    """What is added to scores: a triangle of rows that see keys, numbers of either sign, or one for each row."""
    if kind == "causal":
        return g.module.add_constant("mask", np.where(np.tri(tokens, dtype=bool), 0, -1e9).astype(np.float32))
    bias = g.rng.normal(size=(1, 1, tokens, 1 if kind == "rows" else tokens)).astype(np.float32)
    if kind in ("far", "rows"):
        # Of which a softmax sees as much as of numbers around 0.
        bias -= g.rng.uniform(100, 300, (1, 1, tokens, 1)).astype(np.float32)
    return g.module.add_constant("mask", bias) if kind in ("bias", "far", "rows") else None


def random_block(rng: np.random.Generator, *, tokens: int, mask: str, images: int = 1, depth: int = 16) -> Module:
    """One product before and behind, two heads.

    Args:
        depth: channels of a head.
        mask: ``none``; known, ``causal``, ``bias``, ``far`` from 0 or one number for each of the ``rows``; made of an
            input, ``keys`` that are hidden, by minus infinity and weights ``guarded`` against NaN, or ``given``
            numbers, or such that were ``stored`` as integers.
    """
    g = Builder(rng)
    x = g.function.add_parameter("x", TensorType((images, tokens, 24), DType.F32))
    hidden = known_mask(g, mask, tokens)
    if mask == "keys":
        given = g.function.add_parameter("mask", TensorType((images, 1, 1, tokens), DType.F32))
        hidden = g.op(Mul(), g.op(Sub(), g.scalar(1.0), given), g.scalar(-1e9))
    elif mask in ("given", "stored"):
        hidden = g.function.add_parameter("mask", TensorType((images, 1, 1, tokens), DType.F32))
    if mask == "stored":
        type = TensorType((images, 1, 1, tokens), DType.I8, Quantization.per_tensor(0.01))
        hidden = g.op(Dequantize(), g.function.append(Quantize(), [hidden], [type]).result)
    if mask == "guarded":
        given = g.function.add_parameter("mask", TensorType((images, 1, 1, tokens), DType.F32))
        hidden = g.op(Where(), g.op(Cast(DType.BOOL), given), g.scalar(0.0), g.scalar(-np.inf))
    g.function.set_results([attend(g, x, 2, depth, hidden, is_guarded=mask == "guarded")], ["y"])
    return g.module


def attend_by_shares(g: Builder, x: Value, depth: int, *, is_turned: bool = False) -> Value:
    """Keys times values first, of heads of a map, and of ones beside these, by whose sums the others are divided.
    ``is_turned``: channels come before pixels, as in the map."""
    images, channels, height, width = x.type.shape
    apart, first = (images, channels // (3 * depth), 3 * depth, height * width), (0, 1, 3, 2)
    x = g.op(Reshape(apart), x)
    x, axis = (x, 2) if is_turned else (g.op(Transpose(first), x), 3)
    q, k, v = g.function.append(Split(axis, (depth,) * 3), [x]).results
    q, k = g.op(Relu(), q), g.op(Relu(), k)
    v = g.op(Pad((0,) * (4 + axis) + (1,) + (0,) * (3 - axis), value=1.0), v)
    if is_turned:
        sums = g.op(MatMul(), g.op(MatMul(transpose_b=True), v, k), q)
    else:
        sums = g.op(MatMul(), q, g.op(MatMul(), g.op(Transpose(first), k), v))
    (means, total) = (
        g.op(Slice(begin, extent, (1,) * 4), sums)
        for begin, extent in (
            ((0,) * 4, (*sums.type.shape[:axis], depth, *sums.type.shape[axis + 1 :])),
            (
                tuple(depth * (d == axis) for d in range(4)),
                (*sums.type.shape[:axis], 1, *sums.type.shape[axis + 1 :]),
            ),
        )
    )
    means = g.op(Div(), means, g.op(Add(), total, g.scalar(1e-5)))
    means = means if is_turned else g.op(Transpose(first), means)
    return g.op(Reshape((images, channels // 3, height, width)), means)


def random_channel_block(rng: np.random.Generator, size: tuple[int, int], *, depth: int = 16) -> Module:
    """Channels of two heads that attend to each other, parts of one product of the pixels of a map, as DaViT has
    them."""
    g = Builder(rng)

    def product(x: Value, outputs: int) -> Value:
        size = 1.7 / x.type.shape[-1] ** 0.5
        rows = g.op(MatMul(), x, g.constant(x.type.shape[-1], outputs, low=-size, high=size))
        return g.op(Add(), rows, g.constant(outputs))

    x, tokens = g.function.add_parameter("x", TensorType((1, 24, *size), DType.F32)), math.prod(size)
    x = g.op(Conv((1, 1), (1, 1, 1, 1), (1, 1), 24), x, g.weights(24, 1, 3, 3), None)
    pixels = g.op(Transpose((0, 2, 1)), g.op(Reshape((1, 24, tokens)), x))
    apart = g.op(Reshape((1, tokens, 3, 2, depth)), product(pixels, 6 * depth))
    parts = g.function.append(Split(0, (1, 1, 1)), [g.op(Transpose((2, 0, 3, 1, 4)), apart)]).results
    q, k, v = (g.op(Reshape((1, 2, tokens, depth)), part) for part in parts)
    k = g.op(Mul(), k, g.scalar(depth**-0.5))
    weights = g.op(Softmax(3), g.op(MatMul(), g.op(Transpose((0, 1, 3, 2)), k), v))
    means = g.op(MatMul(), weights, g.op(Transpose((0, 1, 3, 2)), q))
    rows = g.op(Reshape((1, tokens, 2 * depth)), g.op(Transpose((0, 3, 1, 2)), means))
    y = g.op(Reshape((1, 24, *size)), g.op(Transpose((0, 2, 1)), product(rows, 24)))
    y = g.op(Conv((1, 1), (1, 1, 1, 1), (1, 1), 24), g.op(Add(), x, y), g.weights(24, 1, 3, 3), None)
    g.function.set_results([y], ["y"])
    return g.module


def random_linear_block(
    rng: np.random.Generator, size: tuple[int, int], *, images: int = 1, depth: int = 16, is_turned: bool = False
) -> Module:
    """Two heads of a map, between convolutions; see :func:`attend_by_shares`."""
    g = Builder(rng)

    def product(x: Value, outputs: int) -> Value:
        return g.op(Conv((1, 1), (0,) * 4, (1, 1), 1), x, g.weights(outputs, x.type.shape[1], 1, 1), None)

    x = g.function.add_parameter("x", TensorType((images, 24, *size), DType.F32))
    y = product(attend_by_shares(g, product(x, 6 * depth), depth, is_turned=is_turned), 8)
    g.function.set_results([y], ["y"])
    return g.module


def quantized_block(
    rng: np.random.Generator,
    tokens: int,
    zero: int | None = None,
    *,
    in_numbers: bool = False,
    depth: int = 16,
    act: str = "none",
    is_joined: bool = False,
) -> Module:
    """Two heads of rows as the accelerator has them, between convolutions, with a mask for all rows.

    Args:
        zero: zero point of the queries, by default one of several.
        in_numbers: attention is of what the integers stand for, without the mask.
        depth: channels of a head.
        act: of the convolutions.
        is_joined: keys and values are parts of one tensor.
    """
    module = Module("attention")
    function = module.add_function(Function("main"))

    def type_of(shape: tuple[int, ...], scale: float, zero: int) -> TensorType:
        return TensorType(shape, DType.I8, Quantization.per_tensor(scale, zero))

    def product(x: Value, outputs: int, zero: int) -> Value:
        inputs = x.type.shape[1]
        array = rng.integers(-50, 51, (outputs, inputs, 1, 1)).astype(np.int8)
        w = module.add_constant("w", array, type_of(array.shape, 0.01, 0))
        types = [type_of((tokens, outputs, 1, 1), 0.02 * inputs**0.5, zero)]
        return function.append(Conv((1, 1), (0, 0, 0, 0), (1, 1), 1, act), [x, w], types).result

    x = function.add_parameter("x", type_of((tokens, 16, 1, 1), 0.05, 3))
    mask = function.add_parameter("mask", type_of((1, tokens, 1, 1), 0.1, 0))
    zero = int(rng.choice([0, -128, 5])) if zero is None else zero
    width = 2 * depth
    q, k = product(x, width, zero), product(x, width * (1 + is_joined), -7)
    v = k if is_joined else product(x, width, 9)
    view, k_view = (0, depth, width, 1), (0, depth, k.type.shape[1], 1)
    v_view, shape = (k.type.shape[1] - width, *k_view[1:]), (tokens, width, 1, 1)
    views = (view, k_view, v_view, view, (0, 0, 0, 1))
    attention = Attention((2,), tokens, tokens, depth, depth, shape, *views, 0.25)
    made = type_of(shape, 0.05, -4)
    if in_numbers:
        numbers = [function.append(Dequantize(), [value]).result for value in (q, k, v)]
        means = function.append(replace(attention, mask_view=()), [*numbers, None]).result
        y = function.append(Quantize(), [means], [made]).result
    else:
        y = function.append(attention, [q, k, v, mask], [made]).result
    function.set_results([product(y, 24, 0)], ["y"])
    return module
