"""Random small networks: typed, always valid, different for each seed.

A graph grows by makers: each looks at one value of the graph and appends an op or a typical group of ops to it, or
declines. ``random_graph(rng, makers=CONVOLUTIONAL)`` keeps to what quantised networks are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tilewright.ir.core import Function, Module, Value
from tilewright.ir.op import Operator
from tilewright.ir.ops.activation import (
    Clip,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Mish,
    PRelu,
    Relu,
    Sigmoid,
    Softplus,
    Swish,
    Tanh,
)
from tilewright.ir.ops.comparison import Greater, Where
from tilewright.ir.ops.convolution import Conv, ConvTranspose
from tilewright.ir.ops.elementwise import Add, Div, Max, Min, Mul, Pow, Sub
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.movement import Concat, Pad, Slice, Split, Transpose
from tilewright.ir.ops.normalization import BatchNorm, LayerNorm
from tilewright.ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from tilewright.ir.ops.reduction import ReduceMax, ReduceMean, ReduceSum
from tilewright.ir.ops.shape import Cast, Expand, Reshape
from tilewright.ir.ops.softmax import Softmax
from tilewright.ir.ops.unary import Abs, Erf, Exp, Neg, Sqrt
from tilewright.ir.types import DType, TensorType

CHANNELS = (1, 3, 8, 16, 19, 32, 48)


class Builder:
    """A graph under construction: ops on values, with constants of its own random numbers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.module = Module("random")
        self.function = self.module.add_function(Function("main"))
        self.values: list[Value] = []

    def constant(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Value:
        return self.module.add_constant("c", self.rng.uniform(low, high, shape).astype(np.float32))

    def scalar(self, value: float) -> Value:
        shape = ((), (1,), (1, 1))[self.rng.integers(3)]
        return self.module.add_constant("s", np.full(shape, value, np.float32))

    def weights(self, *shape: int) -> Value:
        """Weights that keep the size of what they sum up."""
        size = 1.7 / max(1, int(np.prod(shape[1:]))) ** 0.5
        return self.constant(*shape, low=-size, high=size)

    def op(self, operator: Operator, *operands: Value | None) -> Value:
        results = self.function.append(operator, operands, loc=[f"node{len(self.function)}"]).results
        self.values += results
        return results[0]

    def choose(self, *options):
        return options[self.rng.integers(len(options))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def other(self, type: TensorType) -> Value | None:
        """Some value of this type."""
        fitting = [value for value in self.values if value.type == type]
        return self.choose(*fitting) if fitting else None

    def commuted(self, operator: Operator, x: Value, y: Value) -> Value:
        return self.op(operator, x, y) if self.chance(0.5) else self.op(operator, y, x)


Maker = Callable[[Builder, Value], "Value | None"]


def _is_image(x: Value) -> bool:
    return x.type.rank in (3, 4) and min(x.type.shape) > 0


def _convolution(g: Builder, x: Value) -> Value | None:
    if not _is_image(x):
        return None
    spatial, channels = x.type.rank - 2, x.type.shape[1]
    outputs, group = g.choose(*CHANNELS), 1
    style = g.choose("dense", "dense", "depthwise", "grouped")
    if style == "depthwise":
        outputs, group = channels, channels
    elif style == "grouped" and channels % 2 == 0:
        outputs, group = g.choose(2, 32, 64), 2
    kernel = tuple(int(g.rng.integers(1, 1 + min(3, extent))) for extent in x.type.shape[2:])
    strides = tuple(int(s) for s in g.rng.integers(1, 3, spatial))
    pads = tuple(int(p) for p in g.rng.integers(0, 2, 2 * spatial))
    bias = g.constant(outputs) if g.chance(0.5) else None
    conv = Conv(strides, pads, (1,) * spatial, group)
    return g.op(conv, x, g.weights(outputs, channels // group, *kernel), bias)


def _transposed_convolution(g: Builder, x: Value) -> Value | None:
    if x.type.rank != 4 or x.type.elements > 4096:
        return None
    operator = ConvTranspose((2, 2), (0, 0, 1, 1), (1, 1), (0, 1))
    return g.op(operator, x, g.weights(x.type.shape[1], g.choose(3, 16), 3, 3))


def _batch_norm(g: Builder, x: Value) -> Value | None:
    if x.type.rank < 2:
        return None
    channels = x.type.shape[1]
    parameters = [g.constant(channels) for _ in range(3)]
    return g.op(BatchNorm(1e-3), x, *parameters, g.constant(channels, low=0.5, high=2.0))


def _activation(g: Builder, x: Value) -> Value | None:
    simple = (Relu(), Clip(0.0, 6.0), LeakyRelu(0.1), Sigmoid(), HardSigmoid(0.2, 0.5), HardSwish(), Tanh(), Elu(1.0))
    return g.op(g.choose(*simple, Gelu(), Swish(), Mish(), Softplus(), Neg(), Abs()), x)


def _relu(g: Builder, x: Value) -> Value | None:
    return g.op(g.choose(Relu(), Clip(0.0, 6.0)), x)


def _prelu(g: Builder, x: Value) -> Value | None:
    return g.op(PRelu(), x, g.constant(x.type.shape[1], *[1] * (x.type.rank - 2))) if x.type.rank > 1 else None


def _spelled_activation(g: Builder, x: Value) -> Value | None:
    """Activations as frameworks write them."""
    style = g.choose("gelu", "swish", "hard_swish", "clip", "softmax")
    if style == "gelu":
        inner = g.op(Erf(), g.op(Div(), x, g.scalar(2**0.5)))
        return g.commuted(Mul(), g.commuted(Mul(), x, g.commuted(Add(), inner, g.scalar(1.0))), g.scalar(0.5))
    if style == "swish":
        return g.commuted(Mul(), x, g.op(Sigmoid(), x))
    if style == "hard_swish":
        return g.op(Div(), g.commuted(Mul(), x, g.op(Clip(0.0, 6.0), g.op(Add(), x, g.scalar(3.0)))), g.scalar(6.0))
    if style == "clip":
        return g.op(Min(), g.commuted(Max(), x, g.scalar(-1.0)), g.scalar(2.0))
    axis = x.type.rank - 1
    exponentials = g.op(Exp(), g.op(Sub(), x, g.op(ReduceMax((axis,), True), x)))
    return g.op(Div(), exponentials, g.op(ReduceSum((axis,), True), exponentials))


def _spelled_layer_norm(g: Builder, x: Value) -> Value | None:
    axis = x.type.rank - 1
    if x.type.shape[axis] < 4:
        return None
    centred = g.op(Sub(), x, g.op(ReduceMean((axis,), True), x))
    square = g.op(Pow(), centred, g.scalar(2.0)) if g.chance(0.5) else g.op(Mul(), centred, centred)
    deviation = g.op(Sqrt(), g.op(Add(), g.op(ReduceMean((axis,), True), square), g.scalar(1e-2)))
    scaled = g.commuted(Mul(), g.op(Div(), centred, deviation), g.constant(x.type.shape[axis]))
    return g.commuted(Add(), scaled, g.constant(x.type.shape[axis]))


def _layer_norm(g: Builder, x: Value) -> Value | None:
    shape = x.type.shape[-1:]
    return g.op(LayerNorm(x.type.rank - 1, 1e-2), x, g.constant(*shape), g.constant(*shape)) if shape[0] > 3 else None


def _with_constant(g: Builder, x: Value) -> Value | None:
    shape = g.choose((), (1,), (x.type.shape[1], *[1] * (x.type.rank - 2)), x.type.shape[-1:])
    operator = g.choose(Add(), Mul(), Sub(), Div(), Max())
    return g.op(operator, x, g.constant(*shape, low=0.5, high=2.0))


def _with_other(g: Builder, x: Value) -> Value | None:
    other = g.other(x.type)
    return g.op(g.choose(Add(), Add(), Mul(), Sub(), Max()), x, other) if other is not None else None


def _residual(g: Builder, x: Value) -> Value | None:
    other = g.other(x.type)
    return g.op(Add(), x, other) if other is not None else None


def _selection(g: Builder, x: Value) -> Value | None:
    return g.op(Where(), g.op(Greater(), x, g.scalar(0.1)), x, g.constant())


def squeeze_and_excite(g: Builder, x: Value) -> Value | None:
    if not _is_image(x):
        return None
    pooled = g.op(GlobalAveragePool(), x)
    channels, ones = x.type.shape[1], (1,) * (x.type.rank - 2)
    conv = Conv(ones, (0,) * 2 * len(ones), ones)
    hidden = g.op(Relu(), g.op(conv, pooled, g.weights(8, channels, *ones)))
    return g.commuted(Mul(), x, g.op(Sigmoid(), g.op(conv, hidden, g.weights(channels, 8, *ones))))


def _pooling(g: Builder, x: Value) -> Value | None:
    if not _is_image(x) or min(x.type.shape[2:]) < 2:
        return None
    spatial = x.type.rank - 2
    window = ((2,) * spatial, (g.choose(1, 2),) * spatial, (g.choose(0, 1),) * 2 * spatial, (1,) * spatial)
    if g.chance(0.5):
        return g.op(MaxPool(*window), x)
    return g.op(AveragePool(*window, g.chance(0.5), (0,) * spatial), x)


def _global_pooling(g: Builder, x: Value) -> Value | None:
    return g.op(g.choose(GlobalAveragePool(), GlobalMaxPool()), x) if _is_image(x) else None


def _padding(g: Builder, x: Value) -> Value | None:
    if x.type.rank < 3 or x.type.elements > 8192:
        return None
    pads = [0] * 2 * x.type.rank
    for dimension in range(2, x.type.rank):
        pads[dimension], pads[dimension + x.type.rank] = (int(p) for p in g.rng.integers(0, 2, 2))
    return g.op(Pad(tuple(pads)), x)


def _join(g: Builder, x: Value) -> Value | None:
    if x.type.rank < 2 or x.type.elements > 8192:
        return None
    others = [v for v in g.values if v.type.rank == x.type.rank and v.type.dtype is x.type.dtype]
    rest = (x.type.shape[0], *x.type.shape[2:])
    fitting = [v for v in others if (v.type.shape[0], *v.type.shape[2:]) == rest]
    parts = [g.choose(*fitting) for _ in range(g.choose(1, 2, 2, 3))]
    if sum(part.type.shape[1] for part in parts) > 128:
        return None
    return g.op(Concat(1), *parts)


def _cut(g: Builder, x: Value) -> Value | None:
    axis = int(g.rng.integers(0, x.type.rank))
    extent = x.type.shape[axis]
    if extent < 2:
        return None
    if g.chance(0.5):
        return g.op(Split(axis, (extent // 2, extent - extent // 2)), x)
    begin, shape = [0] * x.type.rank, list(x.type.shape)
    begin[axis], shape[axis] = 1, extent - 1
    return g.op(Slice(tuple(begin), tuple(shape), (1,) * x.type.rank), x)


def _permutation(g: Builder, x: Value) -> Value | None:
    y = g.op(Transpose(tuple(int(d) for d in g.rng.permutation(x.type.rank))), x)
    return g.op(Transpose(tuple(int(d) for d in g.rng.permutation(x.type.rank))), y) if g.chance(0.3) else y


def _reshaping(g: Builder, x: Value) -> Value | None:
    flat = g.op(Reshape((x.type.shape[0], x.type.elements // x.type.shape[0])), x)
    if g.chance(0.5):
        return flat
    return g.op(Reshape((1, x.type.elements)), flat) if g.chance(0.5) else g.op(Reshape(x.type.shape), flat)


def _flattening(g: Builder, x: Value) -> Value | None:
    return g.op(Reshape((x.type.shape[0], x.type.elements // x.type.shape[0])), x) if x.type.rank > 2 else None


def _dense(g: Builder, x: Value) -> Value | None:
    if x.type.rank < 2 or x.type.shape[-1] > 2048:
        return None
    inner, outputs, flipped = x.type.shape[-1], g.choose(5, 16, 33), g.chance(0.5)
    w = g.weights(outputs, inner) if flipped else g.op(Transpose((1, 0)), g.weights(outputs, inner))
    y = g.op(MatMul(transpose_b=flipped), x, w)
    return g.commuted(Add(), y, g.constant(outputs)) if g.chance(0.6) else y


def _attention(g: Builder, x: Value) -> Value | None:
    if x.type.rank != 3 or x.type.elements > 4096:
        return None
    scores = g.op(MatMul(), x, g.op(Transpose((0, 2, 1)), x))
    weights = g.op(Softmax(2), g.op(Div(), scores, g.scalar(float(x.type.shape[2]) ** 0.5)))
    return g.op(MatMul(), weights, x)


def _without_effect(g: Builder, x: Value) -> Value | None:
    rank = x.type.rank
    operator = g.choose(
        Reshape(x.type.shape),
        Expand(x.type.shape),
        Cast(x.type.dtype),
        Transpose(tuple(range(rank))),
        Pad((0,) * 2 * rank),
    )
    return g.op(operator, x)


CONVOLUTIONAL: tuple[Maker, ...] = (
    *(_convolution, _convolution, _convolution, _batch_norm, _relu, _relu, _residual, _pooling, _global_pooling),
    *(_padding, _join, _flattening, _dense),
)
"""What image classifiers are made of."""

EVERYTHING: tuple[Maker, ...] = (
    *CONVOLUTIONAL,
    *(_transposed_convolution, _activation, _activation, _prelu, _spelled_activation, _spelled_layer_norm),
    *(_layer_norm, _with_constant, _with_constant, _with_other, _selection, squeeze_and_excite, _cut, _permutation),
    *(_reshaping, _attention, _without_effect),
)


def random_graph(
    rng: np.random.Generator,
    *,
    groups: int = 12,
    makers: Sequence[Maker] = EVERYTHING,
    spatial: int | None = None,
    images: int | None = None,
) -> Module:
    """A float network of one or two inputs whose last values, and sometimes others, are returned.

    Args:
        groups: how many makers to apply.
        makers: the ones to draw from.
        spatial: number of spatial dimensions of the inputs; drawn from 1 and 2 by default, 2 more often.
        images: how many the inputs hold; 1 or 2 by default.
    """
    g = Builder(rng)
    spatial = spatial if spatial is not None else g.choose(1, 2, 2)
    shape = (images or g.choose(1, 1, 2), g.choose(*CHANNELS), *(int(e) for e in rng.integers(4, 10, spatial)))
    for index in range(g.choose(1, 2)):
        g.values.append(g.function.add_parameter(f"x{index}", TensorType(shape, DType.F32)))
    latest = g.values[0]
    for _ in range(groups):
        source = latest if g.chance(0.7) else g.choose(*(v for v in g.values if v.type.dtype is DType.F32))
        for _ in range(20):
            made = g.choose(*makers)(g, source)
            if made is not None:
                latest = made
                break
    results = [latest]
    results += [v for v in g.values if v is not latest and (not v.uses or g.chance(0.05))]
    if g.chance(0.1):
        results.append(latest)
    g.function.set_results(results, [f"y{index}" for index in range(len(results))])
    return g.module
