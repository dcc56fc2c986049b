"""Random layers of every family that IR v11 has, built by openvino: what importers are compared on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Make = Callable[["Layers"], Sequence[Any]]
MAKERS: dict[str, Make] = {}


def maker(function: Make) -> Make:
    MAKERS[function.__name__] = function
    return function


class Layers:
    """What a maker is given: random numbers, openvino's operator sets, and parameters of the network in the making."""

    def __init__(self, rng: np.random.Generator, opsets: Callable[[int], Any], parameter: Callable[..., Any]) -> None:
        self.rng = rng
        self.opset = opsets
        self.new_parameter = parameter
        self.parameters: list[Any] = []
        self.arrays: list[np.ndarray] = []

    def pick(self, *things: Any) -> Any:
        return things[int(self.rng.integers(len(things)))]

    def integers(self, low: int, high: int, count: int) -> list[int]:
        """So many integers, from ``low`` to ``high``, both included."""
        return [int(i) for i in self.rng.integers(low, high + 1, count)]

    def input(self, shape: Sequence[int], dtype: type = np.float32, low: float = -3, high: float = 3) -> Any:
        """A parameter, and random elements for it."""
        kind = np.dtype(dtype).kind
        if kind == "f":
            array = self.rng.uniform(low, high, shape).astype(dtype)
        elif kind == "b":
            array = self.rng.integers(0, 2, shape) != 0
        else:
            array = self.rng.integers(max(int(low), np.iinfo(dtype).min), int(high) + 1, shape).astype(dtype)
        self.arrays.append(array)
        self.parameters.append(self.new_parameter(list(shape), dtype))
        return self.parameters[-1]

    def array(self, *shape: int) -> np.ndarray:
        return self.rng.uniform(-1, 1, shape).astype(np.float32)

    def part(self, shape: Sequence[int]) -> list[int]:
        """A shape that broadcasts to another one."""
        kept = list(shape[int(self.rng.integers(0, len(shape) + 1)) :])
        return [extent if self.rng.integers(3) else 1 for extent in kept]


@maker
def convolution(layers: Layers) -> Sequence[Any]:
    spatial = layers.pick(1, 2, 2, 3)
    groups = layers.pick(0, 0, 1, 2, 3)
    inputs, outputs = layers.integers(1, 3, 2)
    kernel = layers.integers(1, 3, spatial)
    strides, dilations, extents = (layers.integers(1, m, spatial) for m in (3, 2, 3))
    extents = [e + (k - 1) * d + 2 for e, k, d in zip(extents, kernel, dilations, strict=True)]
    begin, end = layers.integers(0, 2, spatial), layers.integers(0, 2, spatial)
    x = layers.input([2, inputs * max(groups, 1), *extents])
    opset, mode = layers.opset(1), layers.pick("explicit", "same_upper", "same_lower", "valid")
    if groups:
        w = layers.array(groups, outputs, inputs, *kernel)
        return [opset.group_convolution(x, w, strides, begin, end, dilations, mode)]
    return [opset.convolution(x, layers.array(outputs, inputs, *kernel), strides, begin, end, dilations, mode)]


@maker
def gradient(layers: Layers) -> Sequence[Any]:
    spatial = layers.pick(1, 2, 2)
    groups = layers.pick(0, 0, 1, 2)
    inputs, outputs = layers.integers(1, 3, 2)
    kernel = layers.integers(2, 4, spatial)
    strides, dilations = layers.integers(1, 3, spatial), layers.integers(1, 2, spatial)
    extents = layers.integers(2, 5, spatial)
    begin, end = layers.integers(0, 1, spatial), layers.integers(0, 1, spatial)
    extra = [int(layers.rng.integers(0, max(1, s))) for s in strides]
    x = layers.input([2, inputs * max(groups, 1), *extents])
    mode = layers.pick("explicit", "same_upper", "same_lower", "valid")
    full = [s * (e - 1) + d * (k - 1) + 1 for s, e, d, k in zip(strides, extents, dilations, kernel, strict=True)]
    wanted = None
    if layers.pick(True, False):
        wanted = np.array([f - int(layers.rng.integers(0, 2)) for f in full], np.int64)
        # Its CPU has no primitive for some shapes with dilations.
        dilations = [1] * spatial
    opset = layers.opset(1)
    kwargs: dict[str, Any] = {
        "pads_begin": begin,
        "pads_end": end,
        "dilations": dilations,
        "auto_pad": mode,
        "output_padding": extra,
    }
    if groups:
        w = layers.array(groups, inputs, outputs, *kernel)
        return [opset.group_convolution_backprop_data(x, w, strides, wanted, **kwargs)]
    w = layers.array(inputs, outputs, *kernel)
    return [opset.convolution_backprop_data(x, w, strides, wanted, **kwargs)]


def _window(layers: Layers, roundings: Sequence[str]) -> tuple[Any, dict[str, Any], list[int]]:
    spatial = layers.pick(1, 2, 2, 3)
    kernel = layers.integers(1, 3, spatial)
    dilations = layers.integers(1, 2, spatial)
    extents = [layers.integers(2, 7, 1)[0] + (k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    pads = {name: [int(layers.rng.integers(0, k)) for k in kernel] for name in ("pads_begin", "pads_end")}
    x = layers.input([2, 3, *extents])
    settings = {"strides": layers.integers(1, 3, spatial), "kernel_shape": kernel, **pads}
    settings["auto_pad"] = layers.pick("explicit", "explicit", "same_upper", "same_lower", "valid")
    settings["rounding_type"] = layers.pick("floor", *roundings)
    if settings["rounding_type"] != "floor":
        # Of windows that see no element, engines make what they like.
        settings |= {"strides": [min(s, k) for s, k in zip(settings["strides"], kernel, strict=True)]}
        settings |= {"pads_end": [0] * spatial}
    return x, settings, dilations


@maker
def max_pool(layers: Layers) -> Sequence[Any]:
    version = layers.pick(1, 8, 14)
    x, settings, dilations = _window(layers, ["ceil", "ceil_torch"] if version == 14 else ["ceil"])
    if version > 1:
        settings["dilations"] = dilations
    return [layers.opset(version).max_pool(x, **settings).output(0)]


@maker
def average_pool(layers: Layers) -> Sequence[Any]:
    version = layers.pick(1, 14, 16)
    x, settings, dilations = _window(layers, ["ceil", "ceil_torch"] if version >= 14 else ["ceil"])
    settings["exclude_pad"] = layers.pick(True, False)
    if version == 16:
        # What lies behind the end padding, its CPU counts or not, as dilations are.
        settings["dilations"] = dilations if settings["rounding_type"] == "floor" else [1] * len(dilations)
    return [layers.opset(version).avg_pool(x, **settings)]


@maker
def adaptive_pool(layers: Layers) -> Sequence[Any]:
    spatial = layers.pick(1, 2, 3)
    x = layers.input([2, 3, *layers.integers(3, 7, spatial)])
    # Of AdaptiveMaxPool, its CPU runs only networks that were read from files.
    return [layers.opset(8).adaptive_avg_pool(x, np.array(layers.integers(1, 3, spatial), np.int64))]


@maker
def batch_norm(layers: Layers) -> Sequence[Any]:
    x = layers.input([2, 3, *layers.integers(1, 4, layers.pick(0, 1, 2))])
    gamma, beta, mean = (layers.array(3) for _ in range(3))
    variance = np.abs(layers.array(3)) + np.float32(0.1)
    opset = layers.opset(layers.pick(1, 5))
    return [opset.batch_norm_inference(x, gamma, beta, mean, variance, 1e-3)]


@maker
def lrn(layers: Layers) -> Sequence[Any]:
    x = layers.input([2, *layers.integers(2, 7, 3)])
    # The CPU of openvino knows these axes alone, and no bias but 1.
    axes = layers.pick([1], [2, 3])
    return [layers.opset(1).lrn(x, np.array(axes, np.int64), 0.5, 0.75, 1.0, layers.pick(1, 3, 5))]


@maker
def mvn(layers: Layers) -> Sequence[Any]:
    rank = layers.pick(3, 4)
    x = layers.input([2, *layers.integers(2, 5, rank - 1)])
    if layers.pick(True, False):
        return (
            [layers.opset(1).mvn(x, layers.pick(True, False), layers.pick(True, False), 1e-3)]
            if hasattr(layers.opset(1), "mvn")
            else [layers.opset(2).mvn(x, layers.pick(True, False), layers.pick(True, False), 1e-3)]
        )
    axes = layers.pick([2], [rank - 1], [1, 2], [-1, -2], [1], list(range(1, rank)))
    mode = layers.pick("inside_sqrt", "outside_sqrt")
    return [layers.opset(6).mvn(x, np.array(axes, np.int64), layers.pick(True, True, False), 1e-3, mode)]


@maker
def group_norm(layers: Layers) -> Sequence[Any]:
    x = layers.input([2, 6, *layers.integers(1, 4, layers.pick(1, 2))])
    return [layers.opset(12).group_normalization(x, layers.array(6), layers.array(6), layers.pick(1, 2, 3, 6), 1e-3)]


@maker
def grn(layers: Layers) -> Sequence[Any]:
    return [layers.opset(1).grn(layers.input([2, *layers.integers(1, 4, 3)]), 0.5)]


@maker
def activation(layers: Layers) -> Sequence[Any]:
    x = layers.input([2, 3, 4], low=-6, high=6)
    number = np.float32
    latest = layers.opset(13)
    return [
        layers.pick(
            lambda: latest.relu(x),
            lambda: latest.sigmoid(x),
            lambda: latest.tanh(x),
            lambda: latest.hswish(x),
            lambda: latest.hsigmoid(x),
            lambda: latest.mish(x),
            lambda: latest.softplus(x),
            lambda: latest.softsign(x),
            lambda: latest.clamp(x, -0.5, 2.0),
            lambda: latest.clamp(x, 0.0, float("inf")),
            lambda: latest.elu(x, 0.7),
            lambda: latest.selu(x, number(1.5), number(0.9)),
            lambda: latest.hard_sigmoid(x, number(0.3), number(0.4)),
            lambda: latest.gelu(x, layers.pick("erf", "tanh")),
            lambda: layers.opset(2).gelu(x),
            lambda: latest.swish(x),
            lambda: latest.swish(x, number(1.7)),
            lambda: latest.prelu(x, layers.array(3)),
            lambda: latest.prelu(x, layers.array(1)),
            lambda: latest.prelu(x, layers.array(1, 3, 1)),
        )()
    ]


@maker
def unary(layers: Layers) -> Sequence[Any]:
    latest = layers.opset(13)
    name, low, high = layers.pick(
        ("abs", -3, 3), ("acos", -0.9, 0.9), ("acosh", 1.1, 4), ("asin", -0.9, 0.9), ("asinh", -3, 3), ("atan", -3, 3),
        ("atanh", -0.9, 0.9), ("ceiling", -3, 3), ("cos", -3, 3), ("cosh", -3, 3), ("erf", -3, 3), ("exp", -3, 3),
        ("floor", -3, 3), ("log", 0.1, 3), ("negative", -3, 3), ("sign", -3, 3), ("sin", -3, 3), ("sinh", -3, 3),
        ("sqrt", 0.1, 3), ("tan", -1, 1), ("round", -3, 3), ("is_nan", -1, 1), ("is_inf", -1, 1), ("is_finite", -1, 1),
    )  # fmt: skip
    x = layers.input([3, 4], low=low, high=high)
    if name == "round":
        layers.arrays[-1] = np.round(layers.arrays[-1] * 2) / 2
        return [latest.round(x, layers.pick("half_to_even", "half_away_from_zero"))]
    if name.startswith("is_"):
        layers.arrays[-1].flat[:3] = np.nan, np.inf, -np.inf
    if name == "is_inf":
        detect = {"detect_negative": layers.pick(True, False), "detect_positive": layers.pick(True, False)}
        return [latest.is_inf(x, attributes=detect)]
    return [getattr(latest, name)(x)]


_ANY = (np.float32, np.int32, np.int64)


@maker
def arithmetic(layers: Layers) -> Sequence[Any]:
    name = layers.pick(
        "add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "mod", "floor_mod", "squared_difference"
    )
    dtype: Any = np.float32 if name == "power" else layers.pick(*_ANY)
    shape = layers.integers(1, 4, layers.pick(1, 2, 3, 4))
    other = layers.part(shape)
    # The CPU of openvino divides integers toward zero whatever the layer says.
    positive = name == "power" or (name == "divide" and dtype is not np.float32)
    x = layers.input(shape, dtype, low=1 if positive else -20, high=3 if name == "power" else 20)
    y = layers.input(other, dtype, low=1, high=7)
    if (name in ("mod", "floor_mod") or dtype is np.float32) and layers.pick(True, False):
        layers.arrays[-1] = -layers.arrays[-1]
    if layers.pick(True, True, False):
        return [getattr(layers.opset(1), name)(x, y)]
    del layers.parameters[-1], layers.arrays[-1]
    return [getattr(layers.opset(1), name)(x, layers.input(shape, dtype, low=1, high=7), auto_broadcast="none")]


@maker
def bitwise(layers: Layers) -> Sequence[Any]:
    shape, dtype = layers.integers(1, 4, 3), layers.pick(np.int32, np.uint8)
    x = layers.input(shape, dtype, low=-100, high=100)
    if layers.pick(True, False, False):
        return [layers.opset(13).bitwise_not(x)]
    y = layers.input(layers.part(shape), dtype, low=-100, high=100)
    return [getattr(layers.opset(13), layers.pick("bitwise_and", "bitwise_or", "bitwise_xor"))(x, y)]


@maker
def comparison(layers: Layers) -> Sequence[Any]:
    name = layers.pick("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
    shape, dtype = layers.integers(1, 4, layers.pick(1, 3)), layers.pick(*_ANY)
    x = layers.input(shape, dtype, low=0, high=3)
    y = layers.input(layers.part(shape), dtype, low=0, high=3)
    layers.arrays = [np.round(array).astype(array.dtype) for array in layers.arrays]
    return [getattr(layers.opset(1), name)(x, y)]


@maker
def logic(layers: Layers) -> Sequence[Any]:
    shape = layers.integers(1, 4, 3)
    name = layers.pick("logical_and", "logical_or", "logical_xor", "logical_not")
    x = layers.input(shape, np.bool_)
    if name == "logical_not":
        return [layers.opset(1).logical_not(x)]
    return [getattr(layers.opset(1), name)(x, layers.input(layers.part(shape), np.bool_))]


@maker
def select(layers: Layers) -> Sequence[Any]:
    shape, dtype = layers.integers(1, 4, 3), layers.pick(*_ANY)
    condition = layers.input(layers.part(shape), np.bool_)
    x, y = layers.input(shape, dtype), layers.input(layers.part(shape), dtype)
    return [layers.opset(1).select(condition, x, y)]


@maker
def softmax(layers: Layers) -> Sequence[Any]:
    rank = layers.pick(2, 3, 4)
    x = layers.input(layers.integers(1, 5, rank))
    if layers.pick(True, False):
        return [layers.opset(1).softmax(x, int(layers.rng.integers(rank)))]
    axis = int(layers.rng.integers(-rank, rank))
    return [getattr(layers.opset(8), layers.pick("softmax", "log_softmax"))(x, axis)]


@maker
def matmul(layers: Layers) -> Sequence[Any]:
    rows, inner, columns = layers.integers(1, 5, 3)
    transpose_a, transpose_b = layers.pick(True, False), layers.pick(True, False)
    batch = layers.integers(1, 3, layers.pick(0, 1, 2))
    a = [inner, rows] if transpose_a else [rows, inner]
    b = [columns, inner] if transpose_b else [inner, columns]
    a = [inner] if layers.pick(True, *[False] * 4) else [*batch, *a]
    b = [inner] if layers.pick(True, *[False] * 4) else [*layers.part(batch), *b] if batch else b
    x = layers.input(a)
    w = layers.input(b) if layers.pick(True, False) else layers.array(*b)
    return [layers.opset(1).matmul(x, w, transpose_a, transpose_b)]


@maker
def einsum(layers: Layers) -> Sequence[Any]:
    x, y = layers.input([2, 3, 4]), layers.input([2, 4, 5])
    return [layers.opset(7).einsum([x, y], layers.pick("abc,acd->abd", "abc,acd->adb"))]


@maker
def attention(layers: Layers) -> Sequence[Any]:
    queries, keys, width = layers.integers(2, 5, 3)
    q, k, v = (layers.input([2, 3, n, width]) for n in (queries, keys, keys))
    return layers.pick(
        lambda: [layers.opset(13).scaled_dot_product_attention(q, k, v)],
        lambda: [layers.opset(13).scaled_dot_product_attention(q, k, v, causal=True)],
        lambda: [layers.opset(13).scaled_dot_product_attention(q, k, v, layers.array(1, 1, queries, keys))],
        lambda: [layers.opset(13).scaled_dot_product_attention(q, k, v, layers.array(queries, keys), np.float32(0.7))],
    )()


@maker
def reduction(layers: Layers) -> Sequence[Any]:
    rank = layers.pick(1, 2, 3, 4)
    shape = layers.integers(1, 4, rank)
    axes = sorted({int(a) for a in layers.rng.integers(0, rank, layers.pick(1, 2, 3))})
    given = np.array([a - rank if layers.pick(True, False) else a for a in axes], np.int64)
    given = given[0] if len(given) == 1 and layers.pick(True, False) else given
    keep = layers.pick(True, False)
    name = layers.pick("sum", "mean", "max", "min", "prod", "l1", "l2", "logical_and", "logical_or")
    opset = layers.opset(4 if name in ("l1", "l2") else 1)
    x = layers.input(shape, np.bool_ if name.startswith("logical") else np.float32)
    return [getattr(opset, f"reduce_{name}")(x, given, keep)]


@maker
def top_k(layers: Layers) -> Sequence[Any]:
    rank = layers.pick(1, 2, 3)
    shape = layers.integers(3, 6, rank)
    axis = int(layers.rng.integers(-rank, rank))
    k = np.array(layers.pick(1, 2, 3), layers.pick(np.int32, np.int64))
    x, version = layers.input(shape), layers.pick(1, 3, 11)
    # No two elements are equal: which of them comes first is left open.
    layers.arrays[-1] = layers.rng.permutation(layers.arrays[-1].size).reshape(shape).astype(np.float32)
    settings = {} if version == 1 else {"index_element_type": layers.pick("i32", "i64")}
    node = layers.opset(version).topk(x, k, axis, layers.pick("max", "min"), layers.pick("value", "index"), **settings)
    return [node.output(0), node.output(1)]


@maker
def cum_sum(layers: Layers) -> Sequence[Any]:
    rank = layers.pick(1, 2, 3)
    x = layers.input(layers.integers(1, 5, rank))
    axis = np.array(int(layers.rng.integers(-rank, rank)), layers.pick(np.int32, np.int64))
    return [layers.opset(3).cum_sum(x, axis, layers.pick(True, False), layers.pick(True, False))]
