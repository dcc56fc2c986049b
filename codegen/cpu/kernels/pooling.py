"""Pooling operators on activations in blocks of 16 channels: floats, bytes, and maxima of integers of 16 bits."""

import math
from abc import abstractmethod
from dataclasses import KW_ONLY

from ....ir import arithmetic
from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK
from ....ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ....ir.quantized import EIGHT_BIT, check_elementwise, parameters
from ....ir.types import DType
from ....ir.windows import SHORT
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.quantized_math import StoredRange, clamped, rounded, single, widened
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, I32, Register, Registers, Type, constant, type_of, zero
from ..spec import KernelSpec
from ..tensors import layouts
from .window import Axis, Reach, rows_and_columns, walked
from .window_walk import Values
from .windowed import TapByTap, WindowTile

LEAST = {DType.F32: -math.inf, DType.I8: -128, DType.U8: 0, DType.I16: -(2**15)}
"""The smallest number of each type."""


def lowest(dtype: DType) -> Register:
    """The smallest number of a type in every lane."""
    return constant(type_of(dtype, CHANNEL_BLOCK), LEAST[dtype])


def larger(b: FunctionBuilder, dtype: DType, x: Register, y: Register) -> Register:
    """The larger numbers of two vectors."""
    if dtype is DType.F32:
        return b.larger(x, y)
    return b.select(b.compare("ugt" if dtype is DType.U8 else "sgt", x, y), x, y)


class MaxPooling(TapByTap):
    """The largest element of each window; padding never counts. ``dtype``: f32, i8, u8 or i16."""

    dtype: DType = DType.F32

    @property
    def element(self) -> Type:
        return type_of(self.dtype)

    def start_pixel(self, tile: WindowTile, pixel: int) -> Register:
        return lowest(self.dtype)

    def add_tap(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        return larger(b, self.dtype, total, value)

    def end_pixel(self, tile: WindowTile, pixel: int, total: Register) -> Register:
        return total


class AveragePooling(TapByTap):
    """The mean of each window, single precision.
    ``counted_rows``, ``counted_columns``: the same geometry over what counts as an element: the image, or the image
    with its padding."""

    counted_rows: Axis
    counted_columns: Axis

    def row_values(self, b: FunctionBuilder, values: Values, row: Register, reach: Reach) -> Values:
        return {"counted_rows": b.convert("sitofp", b.maximum(self.counted_rows.valid_taps(b, row)[1], 0), F32)}

    def start_pixel(self, tile: WindowTile, pixel: int) -> Register:
        return zero(F32.of(CHANNEL_BLOCK))

    def add_tap(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        return b.binary("fadd", total, value)

    def end_pixel(self, tile: WindowTile, pixel: int, total: Register) -> Register:
        count = tile.b.binary("fmul", tile.arguments["counted_rows"], constant(F32, tile.divisors[pixel]))
        return tile.b.binary("fdiv", total, tile.b.splat(count, CHANNEL_BLOCK))

    @property
    def divided(self) -> Axis:
        return self.counted_columns

    def divisors(self, first: int, count: int) -> tuple[int, ...]:
        axis = self.counted_columns
        reaches = [axis.reach(tap, first, count) for tap in range(axis.kernel)]
        return tuple(sum(low <= pixel < high for low, high in reaches) for pixel in range(count))


class QuantizedAveragePooling(AveragePooling):
    """The mean of each window of stored integers, step by step as ``arithmetic.average``.
    ``dtype``, ``x_scale``, ``x_zero_point``: of x, i8 or u8.
    ``scale``: of the result.
    ``result``: what is made of the means."""

    dtype: DType
    x_scale: float
    x_zero_point: int
    scale: float
    result: StoredRange

    @property
    def element(self) -> Type:
        return I8

    def add_tap(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        wide = widened(b, value, self.dtype)
        real = single(b, b.binary("sub", wide, constant(wide.type, self.x_zero_point)))
        return b.binary("fadd", total, b.binary("fmul", real, constant(real.type, self.x_scale)))

    def end_pixel(self, tile: WindowTile, pixel: int, total: Register) -> Register:
        b, mean = tile.b, super().end_pixel(tile, pixel, total)
        stored = b.binary("fdiv", mean, constant(mean.type, self.scale))
        stored = b.binary("fadd", stored, constant(mean.type, self.result.zero_point))
        bounds = (constant(mean.type, bound) for bound in (self.result.low, self.result.high))
        return b.convert("trunc", rounded(b, clamped(b, stored, *bounds)), self.vector)


def has_form(op: Op) -> bool:
    """Whether pooling has a kernel for its elements."""
    words = (DType.I16,) if isinstance(op.operator, (MaxPool, GlobalMaxPool)) else ()
    return op.inputs[0].type.dtype in (DType.F32, *EIGHT_BIT, *words)


@lowers(MaxPool, AveragePool)
def pool(op: Op[MaxPool | AveragePool], target: TargetDescription) -> Kernel | None:
    """Pooling over windows in layout ``c16``."""
    operator, x, y = op.operator, op.inputs[0].type, op.result.type
    if not has_form(op) or layouts(op) != ("c16", "c16"):
        return None
    axes = rows_and_columns(walked(operator.windows(x.shape[2:])))
    if axes is None or max(axis.kernel for axis in axes) > SHORT:
        return None
    batch, channels = x.shape[:2]
    geometry = (batch, channels, *axes)
    if isinstance(operator, MaxPool):
        return MaxPooling(*geometry, x.dtype).kernel(target)
    counted = rows_and_columns(walked(operator.counted(x.shape[2:])))
    assert counted is not None
    if x.dtype is DType.F32:
        return AveragePooling(*geometry, *counted).kernel(target)
    if check_elementwise([x], [y]) is not None:
        return None
    (x_scale, x_zero), (scale, _) = parameters(x), parameters(y)
    return QuantizedAveragePooling(
        *geometry, *counted, x.dtype, float(x_scale), x_zero, float(scale), StoredRange.of(y)
    ).kernel(target)


class GlobalPooling(KernelSpec):
    """Base: one element from each channel; arguments x and result, layout ``c16``.
    ``images``: batch times blocks of channels.
    ``pixels``: in each channel.
    ``dtype``: f32, i8 or u8."""

    images: int
    pixels: int
    dtype: DType = DType.F32

    @abstractmethod
    def start(self) -> Register:
        """The accumulator before the first element."""

    @abstractmethod
    def combine(self, b: FunctionBuilder, total: Register, value: Register) -> Register:
        """Two accumulators as one."""

    def widened(self, b: FunctionBuilder, value: Register) -> Register:
        """An element as an accumulator."""
        return value

    def end(self, b: FunctionBuilder, total: Register) -> Register:
        """The element of the result."""
        return total

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y",))
        chains = min(4, self.pixels)
        vector = type_of(self.dtype, CHANNEL_BLOCK)

        def add(total: Register, address: Register) -> Register:
            return self.combine(b, total, self.widened(b, b.load(vector, address)))

        def image(index: Register) -> None:
            x = b.at(arguments["x"], b.multiply(index, self.pixels * vector.bytes))

            def pixels(pixel: Register, totals: Registers) -> list[Register]:
                address = b.at(x, b.multiply(pixel, vector.bytes))
                return [add(total, b.at(address, i * vector.bytes)) for i, total in enumerate(totals)]

            whole = self.pixels // chains * chains
            total, *others = b.loop(0, whole, pixels, [self.start()] * chains, step=chains)
            for pixel in range(whole, self.pixels):
                total = add(total, b.at(x, pixel * vector.bytes))
            for other in others:
                total = self.combine(b, total, other)
            b.store(self.end(b, total), b.at(arguments["y"], b.multiply(index, vector.bytes)))

        return self.each_unit(b, image, units=self.images)


class GlobalMaxPooling(GlobalPooling):
    """The largest element of each channel."""

    def start(self) -> Register:
        return lowest(self.dtype)

    def combine(self, b: FunctionBuilder, total: Register, value: Register) -> Register:
        return larger(b, self.dtype, total, value)


class GlobalAveragePooling(GlobalPooling):
    """The mean of each channel, single precision."""

    def start(self) -> Register:
        return zero(F32.of(CHANNEL_BLOCK))

    def combine(self, b: FunctionBuilder, total: Register, value: Register) -> Register:
        return b.binary("fadd", total, value)

    def end(self, b: FunctionBuilder, total: Register) -> Register:
        return b.binary("fdiv", total, constant(total.type, self.pixels))


class QuantizedGlobalAveragePooling(GlobalPooling):
    """The mean of each channel of stored integers.
    ``zero_point``: of x.
    ``factor``: of requantisation of the sums.
    ``result``: what is made of the means."""

    _: KW_ONLY
    zero_point: int
    factor: float
    result: StoredRange

    def start(self) -> Register:
        return zero(I32.of(CHANNEL_BLOCK))

    def widened(self, b: FunctionBuilder, value: Register) -> Register:
        return widened(b, value, self.dtype)

    def combine(self, b: FunctionBuilder, total: Register, value: Register) -> Register:
        return b.binary("add", total, value)

    def end(self, b: FunctionBuilder, total: Register) -> Register:
        centred = b.binary("sub", total, constant(total.type, self.zero_point * self.pixels))
        real = b.binary("fmul", single(b, centred), constant(F32.of(CHANNEL_BLOCK), self.factor))
        return self.result.store_form(b, real)


@lowers(GlobalAveragePool, GlobalMaxPool)
def global_pool(op: Op, target: TargetDescription) -> Kernel | None:
    """Pooling over whole images in layout ``c16``."""
    x, y = op.inputs[0].type, op.result.type
    if not has_form(op) or layouts(op) != ("c16", "c16"):
        return None
    pixels = math.prod(x.shape[2:])
    images = x.shape[0] * -(-x.shape[1] // CHANNEL_BLOCK)
    if isinstance(op.operator, GlobalMaxPool):
        return GlobalMaxPooling(images, pixels, x.dtype).kernel(target)
    if x.dtype is DType.F32:
        return GlobalAveragePooling(images, pixels).kernel(target)
    if check_elementwise([x], [y]) is not None:
        return None
    if pixels >= 2**31 // 256:
        # Sums would not fit 32 bits.
        return None
    (x_scale, zero_point), (scale, _) = parameters(x), parameters(y)
    factor = float(arithmetic.global_average_multiplier(x_scale, scale, pixels))
    return QuantizedGlobalAveragePooling(
        images, pixels, x.dtype, zero_point=zero_point, factor=factor, result=StoredRange.of(y)
    ).kernel(target)
