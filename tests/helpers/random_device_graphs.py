"""Makers of random graphs that use what the device has to its limits: windows, strides, pads, groups, boxes, grids.

Channels are mostly no multiples of 16, and parts of maps begin anywhere.
"""

from __future__ import annotations

import math

import numpy as np
from attention_blocks import attend, known_mask
from normalization_blocks import normalized
from random_graphs import CONVOLUTIONAL, Builder, Maker

from tilewright.ir.core import Module, Value
from tilewright.ir.ops.activation import Gelu, HardSwish, LeakyRelu, Sigmoid, Tanh
from tilewright.ir.ops.convolution import Conv, ConvTranspose
from tilewright.ir.ops.elementwise import Add, Max, Min, Mul, Sub
from tilewright.ir.ops.indexing import Gather
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.movement import Concat, DepthToSpace, Pad, Slice, SpaceToDepth, Transpose
from tilewright.ir.ops.pooling import AveragePool, MaxPool
from tilewright.ir.ops.resize import Resize
from tilewright.ir.ops.shape import Reshape
from tilewright.ir.types import DType, Quantization


def _is_map(x: Value) -> bool:
    return x.type.rank in (3, 4) and min(x.type.shape) > 0 and x.type.elements <= 16384


def _numbers(g: Builder, low: int, high: int, count: int) -> tuple[int, ...]:
    return tuple(int(n) for n in g.rng.integers(low, high + 1, count))


def _wide_convolution(g: Builder, x: Value) -> Value | None:
    """Kernels up to 7, strides up to 4, dilations up to 3, groups, and pads that may exceed the kernel."""
    if not _is_map(x):
        return None
    spatial, channels = x.type.rank - 2, x.type.shape[1]
    groups = [n for n in (1, 1, 2, 3, 4, channels) if channels % n == 0]
    group = g.choose(*groups)
    outputs = group * g.choose(1, 2, 5) if group > 1 else g.choose(1, 7, 16, 33, 70)
    kernel, dilations = _numbers(g, 1, 7, spatial), _numbers(g, 1, 3, spatial)
    strides, pads = _numbers(g, 1, 4, spatial), _numbers(g, 0, 8, 2 * spatial)
    for axis, extent in enumerate(x.type.shape[2:]):
        if extent + pads[axis] + pads[axis + spatial] < (kernel[axis] - 1) * dilations[axis] + 1:
            return None
    bias = g.constant(outputs) if g.chance(0.5) else None
    return g.op(Conv(strides, pads, dilations, group), x, g.weights(outputs, channels // group, *kernel), bias)


def _grouped_convolution(g: Builder, x: Value) -> Value | None:
    """Groups that are neither one nor one for each channel, where the channels can be divided so."""
    if not _is_map(x):
        return None
    channels, spatial = x.type.shape[1], x.type.rank - 2
    groups = [n for n in range(2, channels) if channels % n == 0]
    if not groups:
        return None
    group = g.choose(*groups)
    kernel = tuple(g.choose(1, min(3, extent)) for extent in x.type.shape[2:])
    conv = Conv((g.choose(1, 2),) * spatial, (g.choose(0, 1),) * 2 * spatial, (1,) * spatial, group)
    outputs = group * g.choose(1, 2, 3, 16)
    bias = g.constant(outputs) if g.chance(0.5) else None
    return g.op(conv, x, g.weights(outputs, channels // group, *kernel), bias)


def _transposed_convolution(g: Builder, x: Value) -> Value | None:
    """One stride up to 3, kernels that leave gaps or overlap, padding at each end of its own, groups."""
    if not _is_map(x) or x.type.elements > 4096:
        return None
    spatial, channels = x.type.rank - 2, x.type.shape[1]
    group = g.choose(*(n for n in (1, 1, 2, channels) if channels % n == 0))
    # Of different strides there is no form in integers.
    kernel, strides = _numbers(g, 1, 4, spatial), (g.choose(1, 2, 2, 3),) * spatial
    padding = tuple(int(g.rng.integers(0, stride)) for stride in strides)
    pads = tuple(int(g.rng.integers(0, size)) for size in (*kernel, *kernel))
    for axis, extent in enumerate(x.type.shape[2:]):
        whole = strides[axis] * (extent - 1) + kernel[axis] + padding[axis]
        if whole <= pads[axis] + pads[axis + spatial]:
            return None
    operator = ConvTranspose(strides, pads, (1,) * spatial, padding, group)
    outputs = g.choose(1, 3, 16) if group != channels else 1
    bias = g.constant(outputs * group) if g.chance(0.5) else None
    return g.op(operator, x, g.weights(channels, outputs, *kernel), bias)


def _wide_pooling(g: Builder, x: Value) -> Value | None:
    if not _is_map(x):
        return None
    spatial = x.type.rank - 2
    kernel = tuple(int(g.rng.integers(1, extent + 1)) for extent in x.type.shape[2:])
    pads = tuple(int(g.rng.integers(0, size)) for size in (*kernel, *kernel))
    strides = _numbers(g, 1, 5, spatial)
    if g.chance(0.5):
        return g.op(MaxPool(kernel, strides, pads, (1,) * spatial), x)
    return g.op(AveragePool(kernel, strides, pads, (1,) * spatial, g.chance(0.5), (0,) * spatial), x)


def _table(g: Builder, x: Value) -> Value | None:
    return g.op(g.choose(Sigmoid(), Tanh(), HardSwish(), LeakyRelu(0.1)), x)


def _two_maps(g: Builder, x: Value) -> Value | None:
    """With another of its shape, or with one pixel an image, on either side."""
    shapes = {x.type.shape, (*x.type.shape[:2], *[1] * (x.type.rank - 2)), (1, *x.type.shape[1:])}
    others = [v for v in g.values if v.type.shape in shapes]
    return g.commuted(g.choose(Add(), Mul(), Sub(), Max(), Min()), x, g.choose(*others)) if others else None


def _residual(g: Builder, x: Value) -> Value | None:
    """A convolution that keeps rows and columns, combined with a map of its shape."""
    others = [v for v in g.values if v.type.rank == x.type.rank and v.type.shape[2:] == x.type.shape[2:]]
    others = [v for v in others if v.type.shape[0] == x.type.shape[0]]
    if not _is_map(x) or not others:
        return None
    other, spatial, kernel = g.choose(*others), x.type.rank - 2, g.choose(1, 1, 3)
    conv = Conv((1,) * spatial, (kernel // 2,) * 2 * spatial, (1,) * spatial, 1)
    weights = g.weights(other.type.shape[1], x.type.shape[1], *[kernel] * spatial)
    return g.commuted(g.choose(Add(), Add(), Mul(), Sub(), Max(), Min()), g.op(conv, x, weights, None), other)


def _box(g: Builder, x: Value) -> Value | None:
    begin = tuple(int(g.rng.integers(0, extent)) for extent in x.type.shape)
    shape = tuple(int(g.rng.integers(1, e - b + 1)) for b, e in zip(begin, x.type.shape, strict=True))
    return g.op(Slice(begin, shape, (1,) * x.type.rank), x)


def _grid(g: Builder, x: Value) -> Value | None:
    if not _is_map(x) or x.type.elements > 4096:
        return None
    factors = [float(g.choose(0.5, 1.0, 1.5, 2.0, 3.0)) for _ in x.type.shape[2:]]
    extents = [max(1, int(extent * factor)) for extent, factor in zip(x.type.shape[2:], factors, strict=True)]
    coordinates = g.choose("asymmetric", "half_pixel")
    operator = Resize((*x.type.shape[:2], *extents), (1.0, 1.0, *factors), "nearest", coordinates, "floor")
    return g.op(operator, x)


def _linear_grid(g: Builder, x: Value) -> Value | None:
    """Between the pixels, along rows or columns or both, larger or smaller."""
    if not _is_map(x) or x.type.elements > 4096:
        return None
    factors = [float(g.choose(0.5, 1.0, 1.5, 2.0, 3.0)) for _ in x.type.shape[2:]]
    extents = [max(1, int(extent * factor)) for extent, factor in zip(x.type.shape[2:], factors, strict=True)]
    coordinates = g.choose("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel")
    return g.op(Resize((*x.type.shape[:2], *extents), (1.0, 1.0, *factors), "linear", coordinates), x)


def _spread_channels(g: Builder, x: Value) -> Value | None:
    """Blocks of 2 or 3 pixels, after a convolution that makes the channels where they are too few."""
    if x.type.rank != 4 or not _is_map(x) or x.type.elements > 4096:
        return None
    size = g.choose(2, 2, 3)
    if x.type.shape[1] % (size * size):
        outputs = g.choose(1, 3, 5, 16) * size * size
        x = g.op(Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), x, g.weights(outputs, x.type.shape[1], 1, 1), None)
    return g.op(DepthToSpace(size, g.choose("DCR", "CRD")), x)


def _moved(g: Builder, x: Value) -> Value | None:
    """Every so many rows and columns, blocks of pixels as channels, channels as blocks of pixels spelled out, or zeros
    around everything."""
    if not _is_map(x) or x.type.elements > 4096:
        return None
    images, channels, *spatial = x.type.shape
    kind = g.choose("steps", "steps", "zeros", "zeros", "blocks", "spread")
    if kind == "steps":
        steps = (1, 1, *_numbers(g, 1, 4, len(spatial)))
        begin = (0, 0, *(int(g.rng.integers(0, extent)) for extent in spatial))
        most = [(e - b - 1) // s + 1 for e, b, s in zip(x.type.shape, begin, steps, strict=True)]
        return g.op(Slice(begin, tuple(int(g.rng.integers(max(1, m - 1), m + 1)) for m in most), steps), x)
    if kind == "zeros":
        pads = [*_numbers(g, 0, 2, 2 * x.type.rank)]
        pads[0] = pads[x.type.rank] = 0
        return g.op(Pad(tuple(pads)), x)
    if x.type.rank == 4 and kind == "blocks" and not any(extent % 2 for extent in spatial):
        return g.op(SpaceToDepth(2), x)
    if x.type.rank == 4 and kind == "spread" and channels % 4 == 0:
        parts = g.op(Reshape((images, channels // 4, 2, 2, *spatial)), x)
        rows, columns = spatial
        spread = g.op(Transpose((0, 1, 4, 2, 5, 3)), parts)
        return g.op(Reshape((images, channels // 4, 2 * rows, 2 * columns)), spread)
    return None


def _odd_channels(g: Builder, x: Value) -> Value | None:
    """Two parts of the channels that meet or overlap anywhere, the other way round."""
    if not _is_map(x) or x.type.shape[1] < 3:
        return None
    channels = x.type.shape[1]
    cut, start = int(g.rng.integers(1, channels)), int(g.rng.integers(0, channels))
    rank, rest = x.type.rank, (x.type.shape[0], *x.type.shape[2:])
    parts: list[Value] = []
    for first, count in ((start, channels - start), (0, cut)):
        begin = (0, first, *[0] * (rank - 2))
        parts.append(g.op(Slice(begin, (rest[0], count, *rest[1:]), (1,) * rank), x))
    return g.op(Concat(1), *parts)


def _shuffled_channels(g: Builder, x: Value) -> Value | None:
    """Groups of channels that change places with what is in them, as exporters spell it."""
    if not _is_map(x) or x.type.shape[1] < 4:
        return None
    images, channels, *spatial = x.type.shape
    group = g.choose(*(n for n in range(1, channels + 1) if channels % n == 0))
    axes = (0, 2, 1, *range(3, 3 + len(spatial)))
    parts = g.op(Reshape((images, group, channels // group, *spatial)), x)
    return g.op(Reshape(x.type.shape), g.op(Transpose(axes), parts))


def _picked_channels(g: Builder, x: Value) -> Value | None:
    """Any channels in any order, some of them several times, counted from either end."""
    if not _is_map(x) or x.type.elements > 4096:
        return None
    channels = x.type.shape[1]
    picked = g.rng.integers(-channels, channels, g.choose(1, 5, 16, 40))
    return g.op(Gather(1), x, g.module.add_constant("channels", picked))


def _join_many(g: Builder, x: Value) -> Value | None:
    """Parts of any number of channels, some of them several times, joined again."""
    if x.type.rank < 3 or x.type.elements > 4096:
        return None
    rest = (x.type.shape[0], *x.type.shape[2:])
    fitting = [v for v in g.values if v.type.rank == x.type.rank and (v.type.shape[0], *v.type.shape[2:]) == rest]
    y = g.op(Concat(1), *(g.choose(*fitting) for _ in range(g.choose(2, 3, 4))))
    return g.op(Concat(1), y, g.choose(*fitting)) if g.chance(0.4) else y


ON_THE_DEVICE: tuple[Maker, ...] = (
    *CONVOLUTIONAL,
    *(_wide_convolution, _wide_convolution, _wide_convolution, _wide_pooling, _table, _two_maps, _two_maps),
    *(_residual, _residual, _grouped_convolution, _transposed_convolution),
    *(_box, _grid, _linear_grid, _join_many, _odd_channels, _spread_channels),
    *(_shuffled_channels, _shuffled_channels, _picked_channels),
)
"""Everything that the device has a form for."""


def _rows(g: Builder, x: Value) -> Value | None:
    """A product of the last dimension that mostly keeps its size, and often a function of it; sometimes of channels,
    which are the last dimension as long as that takes."""
    rank, is_turned = x.type.rank, g.chance(0.4)
    if rank < 2 or max(x.type.shape) > 64:
        return None
    x = g.op(Transpose((0, *range(2, rank), 1)), x) if is_turned else x
    inner = x.type.shape[-1]
    outputs = g.choose(inner, inner, inner, 5, 40)
    y = g.op(MatMul(), x, g.constant(inner, outputs))
    y = g.op(g.choose(Gelu(), Sigmoid(), HardSwish()), y) if g.chance(0.5) else y
    return g.op(Transpose((0, rank - 1, *range(1, rank - 1))), y) if is_turned and g.chance(0.8) else y


def _with_number(g: Builder, x: Value) -> Value | None:
    return g.commuted(g.choose(Add(), Mul(), Sub()), x, g.scalar(g.choose(0.125, -0.5, 1.5)))


def _attention(g: Builder, x: Value) -> Value | None:
    """Heads of whole blocks of channels, mostly, with a mask or without."""
    if x.type.rank != 3 or x.type.shape[1] < 16 or max(x.type.shape) > 64 or x.type.shape[0] > 4:
        return None
    mask = known_mask(g, g.choose("none", "none", "causal", "bias"), x.type.shape[1])
    return attend(g, x, g.choose(1, 2, 3), g.choose(16, 16, 32, 8), mask)


def _normalization(g: Builder, x: Value) -> Value | None:
    """Of rows that a product makes, mostly added to what it reads, and a product of the result."""
    if x.type.rank not in (2, 3) or x.type.shape[-1] < 4 or max(x.type.shape) > 64:
        return None
    channels = x.type.shape[-1]
    made = g.op(MatMul(), x, g.weights(channels, channels))
    y = normalized(g, made, x if g.chance(0.7) else None, centred=g.chance(0.8))
    return g.op(MatMul(), y, g.weights(channels, g.choose(channels, channels, 5)))


def _shortcut(g: Builder, x: Value) -> Value | None:
    """A product of what is normalised, added to that."""
    if x.type.rank not in (2, 3) or x.type.shape[-1] < 4 or max(x.type.shape) > 64:
        return None
    channels = x.type.shape[-1]
    made = g.op(MatMul(), normalized(g, x, centred=g.chance(0.8)), g.weights(channels, channels))
    return g.op(Add(), x, made) if g.chance(0.5) else g.op(Add(), made, x)


def _mixed_pixels(g: Builder, x: Value) -> Value | None:
    """A product of all pixels of each channel, as mixers have it, between exchanges of channels and pixels."""
    if not _is_map(x) or x.type.elements > 2048:
        return None
    images, channels, *spatial = x.type.shape
    pixels = math.prod(spatial)
    rows = g.op(Reshape((images, channels, pixels)), x)
    if g.chance(0.5):
        y = g.op(MatMul(), rows, g.weights(pixels, g.choose(pixels, pixels, 5, 33)))
    else:
        y = g.op(Transpose((0, 2, 1)), rows)
        y = g.op(Conv((1,), (0, 0), (1,), 1), y, g.weights(g.choose(pixels, pixels, 5, 33), pixels, 1), None)
        y = g.op(Transpose((0, 2, 1)), y)
    return g.op(Reshape(x.type.shape), y) if y.type.shape[-1] == pixels else y


OF_ATTENTION: tuple[Maker, ...] = (
    *(_attention, _attention, _attention, _normalization, _normalization, _rows, _two_maps, _with_number, _box),
    *(_shortcut, _shortcut),
)
"""What transformers are made of."""

OF_ROWS: tuple[Maker, ...] = (
    *(_rows, _rows, _rows, _rows, _normalization, _wide_convolution, _table, _two_maps, _two_maps, _with_number, _box),
    *(_join_many, _shortcut),
)
"""What transformers are made of but for attention."""

OF_MOVEMENT: tuple[Maker, ...] = (
    *CONVOLUTIONAL[:3],
    *(_moved,) * 4,
    *(_mixed_pixels,) * 2,
    _spread_channels,
    _table,
    _residual,
    _join_many,
    _box,
)
"""Maps whose elements move between convolutions."""


def shift_weights(module: Module, rng: np.random.Generator) -> int:
    """Give weights of convolutions u8 and a zero point of their own, as older files have them; how many."""
    count = 0
    for op in module.ops:
        w = op.operands[1] if isinstance(op.operator, Conv) else None
        constant = module.constants.get(w.name) if w is not None else None
        if constant is None or constant is not w or constant.type.quant is None or len(constant.users) > 1:
            continue
        zero = int(rng.integers(100, 150))
        stored = np.clip(constant.array.astype(np.int32) + zero, 0, 255).astype(np.uint8)
        quant = constant.type.quant
        shifted = Quantization(quant.scale, (zero,) * len(quant.scale), quant.axis)
        type = constant.type.with_dtype(DType.U8).with_quant(shifted)
        op.set_operand(1, module.add_constant(f"{constant.name}_shifted", stored, type))
        count += 1
    module.drop_unused_constants()
    return count
