"""Normalisations of sums as transformers have them, between products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from before_after import random_inputs
from random_graphs import Builder

from tilewright.ir.core import Function, Module, Value, is_op
from tilewright.ir.ops.activation import Gelu
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.movement import Transpose
from tilewright.ir.ops.normalization import LayerNorm, RmsNorm
from tilewright.ir.ops.skip_normalization import SkipLayerNorm
from tilewright.ir.types import DType, Quantization, TensorType


def normalized(g: Builder, x: Value, skip: Value | None = None, *, centred: bool = True) -> Value:
    """What is normalised along the last dimension, or the sum of two."""
    channels = x.type.shape[-1]
    scale = g.constant(channels, low=0.5, high=2.0)
    total = g.op(Add(), x, skip) if skip is not None else x
    if not centred:
        return g.op(RmsNorm(x.type.rank - 1, 1e-5), total, scale)
    return g.op(LayerNorm(x.type.rank - 1, 1e-5), total, scale, g.constant(channels))


def random_layers(rng: np.random.Generator, shape: Sequence[int], *, layers: int = 2, centred: bool = True) -> Module:
    """Products whose results are added to what they read and normalised, which the next one reads; one behind."""
    g = Builder(rng)
    x = g.function.add_parameter("x", TensorType(tuple(shape), DType.F32))
    channels = shape[-1]
    value = normalized(g, x, centred=centred)
    for _ in range(layers):
        made = g.op(MatMul(), value, g.weights(channels, channels))
        value = normalized(g, made, value, centred=centred)
    g.function.set_results([g.op(MatMul(), value, g.weights(channels, 7))], ["y"])
    return g.module


def layers_with_shortcuts(
    rng: np.random.Generator, shape: Sequence[int], layers: int = 2, *, is_normalized: bool = False
) -> Module:
    """As vision transformers: what is normalised and multiplied is added to what was normalised.

    Args:
        is_normalized: so is, before all, what a first product makes.
    """
    g = Builder(rng)
    value = g.function.add_parameter("x", TensorType(tuple(shape), DType.F32))
    channels = shape[-1]
    if is_normalized:
        value = normalized(g, g.op(MatMul(), value, g.weights(channels, channels)))
    for _ in range(layers):
        value = g.op(Add(), value, g.op(MatMul(), normalized(g, value), g.weights(channels, channels)))
    g.function.set_results([g.op(MatMul(), normalized(g, value), g.weights(channels, 7))], ["y"])
    return g.module


def normalized_rows(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    *,
    is_sum: bool = True,
    centred: bool = True,
    dtype: DType = DType.I8,
    axis: int = 1,
    spread: float = 1.0,
    groups: int = 0,
    by_pixel: bool = False,
    alike: int = 1,
) -> Module:
    """One normalisation of integers, whose channels have factors that differ by so many powers of ten.
    ``alike``: so many parts of the channels have the same numbers."""
    module = Module("normalization")
    function = module.add_function(Function("main"))
    channels, least = shape[axis] // alike, 0 if dtype is DType.U8 else -128

    def type_of(*, is_result: bool = False) -> TensorType:
        step = float(np.float32(rng.uniform(0.01, 0.1)))
        if dtype is DType.I16 and not is_result:
            return TensorType(shape, dtype, Quantization.per_tensor(step / 256))
        quant = Quantization.per_tensor(step, least + int(rng.integers(256)))
        return TensorType(shape, DType.I8 if dtype is DType.I16 else dtype, quant)

    def numbers(name: str, low: float, high: float) -> Value:
        return module.add_constant(name, np.tile(rng.uniform(low, high, channels).astype(np.float32), alike))

    def factors(name: str) -> Value:
        return module.add_constant(name, np.tile((10.0 ** rng.uniform(-spread, 0, channels)).astype(np.float32), alike))

    x = function.add_parameter("x", type_of())
    skip = [function.add_parameter("skip", type_of()), factors("skip_factor")] if is_sum else []
    operands = [x, factors("factor"), numbers("scale", -2, 2), numbers("b", -1, 1), *skip]
    operator = SkipLayerNorm(axis, 1e-5, centred, groups, by_pixel)
    y = function.append(operator, operands, [type_of(is_result=True)]).result
    function.set_results([y], ["y"])
    return module


def quantized_layers(rng: np.random.Generator, rows: int, channels: int) -> Module:
    """Rows as the accelerator has them: two products, whose results are added to what they read and normalised."""
    module = Module("normalization")
    function = module.add_function(Function("main"))

    def type_of(channels: int, scale: float, zero: int) -> TensorType:
        return TensorType((rows, channels, 1, 1), DType.I8, Quantization.per_tensor(scale, zero))

    def constant(low: float, high: float) -> Value:
        return module.add_constant("c", rng.uniform(low, high, channels).astype(np.float32))

    value = function.add_parameter("x", type_of(channels, 0.03, 3))
    for centred in (True, False):
        array = rng.integers(-50, 51, (channels, channels, 1, 1)).astype(np.int8)
        w = module.add_constant("w", array, TensorType(array.shape, DType.I8, Quantization.per_tensor(0.01)))
        made = function.append(Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), [value, w], [type_of(channels, 0.1, -4)]).result
        numbers = [constant(0.2, 2), constant(-2, 2), constant(-1, 1)]
        operands = [made, *numbers, value, constant(0.2, 2)]
        value = function.append(SkipLayerNorm(1, 1e-5, centred), operands, [type_of(channels, 0.03, 3)]).result
    function.set_results([value], ["y"])
    return module


def convnext_blocks(
    rng: np.random.Generator, *, blocks: int = 2, channels: int = 24, first_is_normalized: bool = False
) -> Module:
    """Depthwise convolutions whose pixels are normalised between transpositions, and two products of them; at the end
    the sum is normalised so, and the first map where asked for, twice, as in FocalNet."""
    g = Builder(rng)
    x = g.function.add_parameter("x", TensorType((1, channels, 7, 6), DType.F32))

    def pixels_normalized(value: Value) -> Value:
        return g.op(Transpose((0, 3, 1, 2)), normalized(g, g.op(Transpose((0, 2, 3, 1)), value)))

    value = g.op(Conv((1, 1), (0,) * 4, (1, 1), 1), x, g.weights(channels, channels, 1, 1), None)
    value = pixels_normalized(value) if first_is_normalized else value
    for index in range(blocks):
        read = pixels_normalized(value) if first_is_normalized and not index else value
        made = g.op(Conv((1, 1), (1,) * 4, (1, 1), channels), read, g.weights(channels, 1, 3, 3), None)
        rows = normalized(g, g.op(Transpose((0, 2, 3, 1)), made))
        wide = g.op(Gelu(), g.op(MatMul(), rows, g.weights(channels, 2 * channels)))
        narrow = g.op(MatMul(), wide, g.weights(2 * channels, channels))
        value = g.op(Add(), value, g.op(Transpose((0, 3, 1, 2)), narrow))
    # To the next stage.
    value = g.op(Conv((2, 2), (0,) * 4, (1, 1), 1), pixels_normalized(value), g.weights(16, channels, 2, 2), None)
    g.function.set_results([value], ["y"])
    return g.module


def the_op(module: Module):
    (op,) = [each for each in module.main.ops if is_op(each, SkipLayerNorm)]
    return op


def extreme_inputs(module: Module, rng: np.random.Generator) -> Iterator[dict[str, np.ndarray]]:
    """Random integers, the ends of the type, rows of one number, and rows with one other number."""
    yield random_inputs(module, rng)
    types = {each.name: each.type for each in module.main.parameters}
    for make in (
        lambda info, shape: rng.choice([info.min, info.max], shape),
        lambda info, shape: np.full(shape, rng.choice([info.min, 3, info.max])),
        lambda info, shape: np.where(rng.random(shape) < 0.05, info.max, info.min),
    ):
        arrays = {n: np.asarray(make(np.iinfo(t.dtype.numpy), t.shape), t.dtype.numpy) for n, t in types.items()}
        yield arrays
