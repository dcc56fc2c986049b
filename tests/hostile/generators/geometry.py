"""Huge numbers that fit together: windows, paddings and shapes beside 2**31, 2**32 and 2**63 with small results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tilewright.ir.op import Operator
from tilewright.ir.ops.convolution import Conv, ConvTranspose
from tilewright.ir.ops.indexing import Gather, GatherElements, GatherND, OneHot, ScatterElements, ScatterND
from tilewright.ir.ops.integer_products import ConvInteger
from tilewright.ir.ops.movement import Concat, DepthToSpace, Pad, Slice, SpaceToDepth, Split, Tile, Transpose, Trilu
from tilewright.ir.ops.normalization import Lrn
from tilewright.ir.ops.pooling import AveragePool, LpPool, MaxPool, MaxPoolWithIndices
from tilewright.ir.ops.reduction import ArgMax, CumProd, CumSum, ReduceMax, ReduceSum, TopK
from tilewright.ir.ops.resize import COORDINATES, NEAREST, TAPS, Resize
from tilewright.ir.ops.shape import Expand, Reshape
from tilewright.ir.ops.softmax import Softmax
from tilewright.ir.types import DType, Quantization, TensorType

from ..execution import run_guarded, single_op_module
from ..generator import Case, generator
from ..mutation import pick
from .attributes import prepare, random_sample

Application = tuple[Operator, tuple[TensorType | None, ...], tuple[TensorType, ...] | None]

POWERS = (15, 16, 24, *(28, 29, 30, 31) * 4, *(32, 33) * 3, 40, 47, 48, 52, 60, 61, 62, 63, 64)
"""Those below the limits are the likelier ones: beyond them everything is refused."""


def huge(rng: np.random.Generator) -> int:
    """A number beside a power of two that wraps or loses bits somewhere; rarely its negative."""
    number = 2 ** pick(rng, POWERS) + pick(rng, (-3, -2, -1, *[0] * 6, 1, 2, 3))
    return -number if rng.integers(12) == 0 else number


def small(rng: np.random.Generator, least: int = 1, most: int = 6) -> int:
    return int(rng.integers(least, most + 1))


def any_size(rng: np.random.Generator) -> int:
    return huge(rng) if rng.integers(2) else small(rng, 0)


class Window:
    """One dimension of a window: extent of the input, kernel, stride, dilation and paddings, with a result of few
    positions, whatever the others are."""

    def __init__(self, rng: np.random.Generator, *, small_kernel: bool) -> None:
        self.extent = small(rng) if rng.integers(8) else 0
        self.kernel = small(rng, 1, 3) if small_kernel or rng.integers(2) else huge(rng)
        self.dilation = huge(rng) if rng.integers(3) == 0 else small(rng, 1, 3)
        self.stride = huge(rng) if rng.integers(2) else small(rng, 1, 3)
        span = (self.kernel - 1) * self.dilation + 1
        positions = small(rng, 0, 3)
        padding = (positions - 1) * self.stride + span - self.extent + (small(rng, 0, 2) if rng.integers(3) == 0 else 0)
        kind = rng.integers(6)
        if kind < 2:
            self.before = 0
        elif kind == 2:
            self.before = padding
        elif kind == 3:
            self.before = padding // 2
        elif kind == 4:
            self.before = pick(rng, (span - 1, self.stride, self.stride * positions, small(rng)))
        else:
            # One padding cancels the other.
            self.before = huge(rng)
        self.after = padding - self.before


def windows(rng: np.random.Generator, *, small_kernel: bool) -> list[Window]:
    """One huge dimension at least, small ones beside it."""
    found = [Window(rng, small_kernel=small_kernel)]
    for _ in range(int(rng.integers(3))):
        found.append(Window(rng, small_kernel=True) if rng.integers(3) == 0 else _plain(rng))
    return found


def _plain(rng: np.random.Generator) -> Window:
    window = Window(rng, small_kernel=True)
    window.extent, window.kernel, window.dilation, window.stride = small(rng, 2, 8), 1, 1, 1
    window.before = window.after = 0
    return window


Ints = tuple[int, ...]


def _attributes(dimensions: list[Window]) -> tuple[Ints, Ints, Ints]:
    """Strides, paddings and dilations."""
    pads = (*(d.before for d in dimensions), *(d.after for d in dimensions))
    return tuple(d.stride for d in dimensions), pads, tuple(d.dilation for d in dimensions)


def convolution(rng: np.random.Generator) -> Application:
    dimensions = windows(rng, small_kernel=bool(rng.integers(8)))
    group = pick(rng, (1, 1, 2, 2, 2, 3, any_size(rng)))
    outputs, inputs = group * small(rng, 1, 2), group * small(rng, 1, 3)
    kernel = tuple(d.kernel for d in dimensions)
    dtype = pick(rng, (DType.F32, DType.F32, DType.F32, DType.F64, DType.I8, DType.I8, DType.F16))
    x = TensorType((pick(rng, (0, 1, 1, 1, 2, 2)), inputs, *(d.extent for d in dimensions)), dtype)
    w = TensorType((outputs, inputs // max(1, abs(group)), *kernel), dtype)
    bias = TensorType((outputs,), dtype) if rng.integers(2) and dtype is not DType.I8 else None
    if dtype is not DType.I8:
        return Conv(*_attributes(dimensions), group), (x, w, bias, None), None
    if rng.integers(2):
        return ConvInteger(*_attributes(dimensions), group), (x, w), None
    quantized = [t.with_quant(Quantization.per_tensor(0.5, pick(rng, (0, -128, 127, 3)))) for t in (x, w)]
    conv = Conv(*_attributes(dimensions), group)
    (result,) = conv.result_types((x.with_dtype(DType.F32), w.with_dtype(DType.F32)))
    given = (TensorType(result.shape, DType.I8, Quantization.per_tensor(0.25, -3)),)
    return conv, (*quantized, None, None), given


def transposed_convolution(rng: np.random.Generator) -> Application:
    dimensions = windows(rng, small_kernel=bool(rng.integers(4)))
    group = pick(rng, (1, 2, any_size(rng)))
    x = TensorType((small(rng, 0, 2), group * small(rng, 1, 2), *(d.extent for d in dimensions)), DType.F32)
    w = TensorType((x.shape[1], small(rng, 1, 2), *(d.kernel for d in dimensions)), DType.F32)
    strides, _, dilations = _attributes(dimensions)
    # The result is what the paddings leave of (extent - 1) * stride + span.
    whole = [(d.extent - 1) * d.stride + (d.kernel - 1) * d.dilation + 1 - small(rng, 0, 3) for d in dimensions]
    first = [pick(rng, (0, p, p // 2, huge(rng))) for p in whole]
    pads = (*first, *(p - f for p, f in zip(whole, first, strict=True)))
    extra = tuple(pick(rng, (0, 0, 1, huge(rng))) for _ in dimensions)
    return ConvTranspose(strides, pads, dilations, extra, group), (x, w), None


def pool(rng: np.random.Generator) -> Application:
    dimensions = windows(rng, small_kernel=False)
    kernel = tuple(d.kernel for d in dimensions)
    dtype = pick(rng, (DType.F32, DType.F32, DType.F64, DType.I8, DType.U8))
    x = TensorType((small(rng, 0, 2), small(rng, 0, 3), *(d.extent for d in dimensions)), dtype)
    attributes = _attributes(dimensions)
    kind = rng.integers(3)
    if kind == 0:
        if rng.integers(2):
            return MaxPoolWithIndices(kernel, *attributes, bool(rng.integers(2))), (x,), None
        return MaxPool(kernel, *attributes), (x,), None
    if kind == 1:
        return LpPool(kernel, *attributes, pick(rng, (1, 2, 3, huge(rng)))), (x,), None
    overhang = tuple(pick(rng, (0, 0, 1, huge(rng))) for _ in dimensions)
    return AveragePool(kernel, *attributes, bool(rng.integers(2)), overhang), (x,), None


def shape_with_zero(rng: np.random.Generator, rank: int | None = None) -> tuple[int, ...]:
    """Extents of which one is 0 more often than not, and others are huge."""
    rank = rank or small(rng, 1, 4)
    extents = [any_size(rng) if rng.integers(2) else small(rng, 1, 4) for _ in range(rank)]
    if rng.integers(4):
        extents[int(rng.integers(rank))] = 0
    return tuple(map(abs, extents))


def movement(rng: np.random.Generator) -> Application:
    shape = shape_with_zero(rng) if rng.integers(2) else tuple(small(rng, 0, 5) for _ in range(small(rng, 1, 4)))
    rank, dtype = len(shape), pick(rng, (DType.F32, DType.I8, DType.I64, DType.BOOL))
    x = TensorType(shape, dtype)
    axis = int(rng.integers(rank))
    kind = rng.integers(12)
    if kind == 0:
        first = tuple(any_size(rng) for _ in shape)
        # Cutting off what the other side adds.
        last = tuple(small(rng, 0, 4) - e - f for e, f in zip(shape, first, strict=True))
        mode = pick(rng, ("constant", "constant", "reflect", "edge", "wrap"))
        return Pad((*first, *last), mode, 0.0), (x,), None
    if kind == 1:
        begin = tuple(any_size(rng) for _ in shape)
        extent = tuple(pick(rng, (0, 1, e, any_size(rng))) for e in shape)
        step = tuple(pick(rng, (1, -1, huge(rng), -huge(rng))) for _ in shape)
        return Slice(begin, extent, step), (x,), None
    if kind == 2:
        return Tile(tuple(any_size(rng) for _ in shape)), (x,), None
    if kind == 3:
        return Expand(tuple(pick(rng, (e, any_size(rng))) for e in shape)), (x.with_shape([1] * rank),), None
    if kind == 4:
        return Transpose(tuple(int(i) for i in rng.permutation(rank))), (x,), None
    if kind == 5:
        first = any_size(rng)
        return Split(axis, (first, shape[axis] - first)), (x,), None
    if kind == 6:
        others = [x.with_shape([abs(any_size(rng)) if i == axis else e for i, e in enumerate(shape)]) for _ in range(2)]
        return Concat(axis), (x, *others), None
    if kind == 7:
        target = shape_with_zero(rng) if 0 in shape else (*shape[::-1], *([1] * small(rng, 0, 20)))
        return Reshape(target), (x,), None
    if kind == 8:
        block = pick(rng, (small(rng), huge(rng)))
        deep = (1, abs(block) ** 2 * small(rng, 0, 2), small(rng, 0, 2), abs(any_size(rng)))
        return DepthToSpace(block, pick(rng, ("DCR", "CRD"))), (x.with_shape(deep),), None
    if kind == 9:
        block = pick(rng, (small(rng), huge(rng)))
        wide = (1, small(rng, 0, 3), abs(block) * small(rng, 0, 1), abs(block) * small(rng, 0, 2))
        return SpaceToDepth(block), (x.with_shape(wide),), None
    if kind == 10:
        return Trilu(bool(rng.integers(2)), any_size(rng)), (x,), None
    return _resize(rng, shape)


def _resize(rng: np.random.Generator, shape: tuple[int, ...]) -> Application:
    extents = tuple(pick(rng, (e, 1, 3, any_size(rng))) for e in shape)
    ratios = [t / e if e else 1.0 for e, t in zip(shape, extents, strict=True)]
    scales = tuple(pick(rng, (1.0, 0.5, ratio, float(abs(huge(rng))))) for ratio in ratios)
    crops = rng.integers(3) == 0
    roi = tuple(float(pick(rng, (0, 1, -1e30, 1e30, 1e300))) for _ in range(2 * len(shape) if crops else 0))
    operator = Resize(
        extents,
        scales,
        mode=pick(rng, list(TAPS)),
        coordinates="tf_crop_and_resize" if roi else pick(rng, COORDINATES),
        nearest_mode=pick(rng, NEAREST),
        exclude_outside=bool(rng.integers(2)),
        roi=roi,
    )
    return operator, (TensorType(shape, pick(rng, (DType.F32, DType.I8, DType.U8))),), None


def indexing(rng: np.random.Generator) -> Application:
    shape = shape_with_zero(rng)
    rank = len(shape)
    x = TensorType(shape, pick(rng, (DType.F32, DType.I8, DType.I64)))
    indices = TensorType(shape_with_zero(rng) if rng.integers(2) else (small(rng, 0, 3),), DType.I64)
    axis = pick(rng, (*range(rank), huge(rng)))
    kind = rng.integers(6)
    if kind == 0:
        return Gather(axis), (x, indices), None
    if kind == 1:
        same = TensorType(tuple(pick(rng, (e, 0, 1)) for e in shape), DType.I64)
        return GatherElements(axis), (x, same), None
    if kind == 2:
        return (
            GatherND(pick(rng, (0, 1, huge(rng)))),
            (x, TensorType((*indices.shape, small(rng, 0, rank)), DType.I64)),
            None,
        )
    if kind == 3:
        same = TensorType(tuple(pick(rng, (e, 0, 1)) for e in shape), DType.I64)
        return ScatterElements(axis, pick(rng, ("none", "add"))), (x, same, x.with_shape(same.shape)), None
    if kind == 4:
        depth = small(rng, 0, rank)
        updates = x.with_shape((*indices.shape, *shape[depth:]))
        return ScatterND("none"), (x, TensorType((*indices.shape, depth), DType.I64), updates), None
    return OneHot(any_size(rng), pick(rng, (0, -1, huge(rng)))), (indices, TensorType((2,), DType.F32)), None


def along_axes(rng: np.random.Generator) -> Application:
    shape = shape_with_zero(rng)
    x = TensorType(shape, DType.F32)
    axis = int(rng.integers(len(shape)))
    axes = tuple(sorted({axis, pick(rng, (axis, int(rng.integers(len(shape)))))}))
    operator = pick(
        rng,
        (
            ReduceSum(axes, bool(rng.integers(2))),
            ReduceMax(axes, bool(rng.integers(2))),
            ArgMax(axis),
            TopK(axis, any_size(rng)),
            CumSum(axis),
            CumProd(axis, bool(rng.integers(2)), bool(rng.integers(2))),
            Softmax(axis),
            Lrn(any_size(rng), 1.0, 0.5, 1.0),
        ),
    )
    return operator, (x,), None


def sample_of_other_shape(rng: np.random.Generator) -> Application:
    """Any operator on tensors of which some have no elements and others huge extents."""
    sample = random_sample(rng)
    types = tuple(
        t and TensorType(tuple(pick(rng, (e, e, 0, abs(huge(rng)))) for e in t.shape), t.dtype, None)
        for t in sample.operand_types()
    )
    return sample.operator, types, None


KINDS: tuple[Callable[[np.random.Generator], Application], ...] = (
    convolution,
    convolution,
    transposed_convolution,
    pool,
    pool,
    movement,
    movement,
    indexing,
    along_axes,
    sample_of_other_shape,
)


@generator("geometry", prepare=prepare, cases=5_000)
def geometry(rng: np.random.Generator) -> Case:
    operator, types, given = pick(rng, KINDS)(rng)
    return Case(f"{operator!r}\n{', '.join(map(str, types))}", partial(_run, rng, operator, types, given))


def _run(
    rng: np.random.Generator,
    operator: Operator,
    types: tuple[TensorType | None, ...],
    given: tuple[TensorType, ...] | None,
) -> None:
    run_guarded(single_op_module(operator, types, given), rng)
