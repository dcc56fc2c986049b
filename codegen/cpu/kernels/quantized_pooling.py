"""Pooling of 8-bit tensors in blocks of 16 channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ....ir import arithmetic
from ....ir.core import Op
from ....ir.layout import BLOCK
from ....ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ....ir.quantized import EIGHT_BIT, check_elementwise, parameters
from ....ir.types import DType
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder
from ..llvm.quantized_math import StoredRange, clamped, rounded, single, widened
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, I32, Register, Registers, Type, constant, zero
from ..registry import lowers
from ..spec import KernelSpec
from ..tensors import layouts
from .convolution import image_axes
from .pooling import counted_axes
from .windowed import AveragePooling, TileValues, Windowed

_BYTES = I8.of(BLOCK)
_SUMS = I32.of(BLOCK)


@dataclass(frozen=True)
class Input:
    """Stored integers of the operand.

    Attributes:
        dtype: i8 or u8.
        scale, zero_point: of the operand as a whole.
    """

    dtype: DType
    scale: float
    zero_point: int

    def centred(self, b: FunctionBuilder, value: Register) -> Register:
        """Stored integers less the zero point, i32."""
        wide = widened(b, value, self.dtype)
        return b.binary("sub", wide, constant(wide.type, self.zero_point))

    def larger(self, b: FunctionBuilder, x: Register, y: Register) -> Register:
        """The larger stored integers."""
        return b.select(b.compare("sgt" if self.dtype is DType.I8 else "ugt", x, y), x, y)

    @property
    def lowest(self) -> Register:
        """The smallest stored integer, as a byte in every lane."""
        return constant(_BYTES, -128 if self.dtype is DType.I8 else 0)


@dataclass(frozen=True)
class QuantizedMaxPooling(Windowed):
    """The largest stored integer of each window; padding never counts."""

    ELEMENT: ClassVar[Type] = I8

    x: Input

    @property
    def keeps_zero(self) -> bool:
        # Absent channels of bytes may hold anything.
        return True

    def start(self, b: FunctionBuilder, call: TileValues, pixel: int) -> Register:
        return self.x.lowest

    def combine(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        return self.x.larger(b, total, value)

    def end(self, b: FunctionBuilder, call: TileValues, pixel: int, total: Register) -> Register:
        return total


@dataclass(frozen=True)
class QuantizedAveragePooling(AveragePooling):
    """The mean of each window, step by step as ``arithmetic.average``.

    Attributes:
        scale: of the result.
        result: what is made of the means.
    """

    ELEMENT: ClassVar[Type] = I8

    x: Input
    scale: float
    result: StoredRange

    @property
    def keeps_zero(self) -> bool:
        return True

    def combine(self, b: FunctionBuilder, value: Register, weight: Register | None, total: Register) -> Register:
        real = single(b, self.x.centred(b, value))
        return b.binary("fadd", total, b.binary("fmul", real, constant(real.type, self.x.scale)))

    def end(self, b: FunctionBuilder, call: TileValues, pixel: int, total: Register) -> Register:
        mean = super().end(b, call, pixel, total)
        stored = b.binary("fdiv", mean, constant(mean.type, self.scale))
        stored = b.binary("fadd", stored, constant(mean.type, self.result.zero_point))
        bounds = (constant(mean.type, bound) for bound in (self.result.low, self.result.high))
        return b.convert("trunc", rounded(b, clamped(b, stored, *bounds)), _BYTES)


@dataclass(frozen=True)
class QuantizedGlobalPooling(KernelSpec):
    """One element from each channel; arguments x and result, layout ``c16``, bytes.

    Attributes:
        images: batch times blocks of channels.
        pixels: in each channel.
        factor: of requantisation of the sums for the mean; without one, the largest element.
        result: what is made of the means.
    """

    images: int
    pixels: int
    x: Input
    factor: float | None = None
    result: StoredRange | None = None

    def generate(self, target: TargetDescription) -> Kernel:
        b = self.entry(target, writes=("y",))
        arguments = self.bind(b)
        start = self.x.lowest if self.factor is None else zero(_SUMS)

        def image(index: Register, _: Registers) -> Sequence[Register]:
            x = b.at(arguments["x"], b.multiply(index, self.pixels * BLOCK))

            def pixel(place: Register, totals: Registers) -> Sequence[Register]:
                value = b.load(_BYTES, b.at(x, b.multiply(place, BLOCK)))
                if self.factor is None:
                    return [self.x.larger(b, totals[0], value)]
                return [b.binary("add", totals[0], widened(b, value, self.x.dtype))]

            (total,) = b.loop(0, self.pixels, pixel, [start])
            b.store(self._end(b, total), b.at(arguments["y"], b.multiply(index, BLOCK)))
            return ()

        b.loop(arguments["begin"], arguments["end"], image)
        return self.finish(b, units=self.images)

    def _end(self, b: FunctionBuilder, total: Register) -> Register:
        if self.factor is None or self.result is None:
            return total
        total = b.binary("sub", total, constant(_SUMS, self.x.zero_point * self.pixels))
        real = b.binary("fmul", single(b, total), constant(F32.of(BLOCK), self.factor))
        return self.result.store_form(b, real)


def _input(op: Op) -> Input:
    type = op.inputs[0].type
    scale, zero_point = parameters(type) if type.quant is not None else (1.0, 0)
    return Input(type.dtype, float(scale), zero_point)


@lowers(MaxPool, AveragePool)
def quantized_pool(op: Op, target: TargetDescription) -> Kernel | None:
    """Pooling of bytes over windows in layout ``c16``."""
    operator, x, y = op.operator, op.inputs[0].type, op.result.type
    assert isinstance(operator, MaxPool | AveragePool)
    if x.dtype not in EIGHT_BIT or layouts(op) != ("c16", "c16"):
        return None
    windows = (operator.kernel, operator.strides, operator.dilations, operator.pads[: x.rank - 2])
    axes = image_axes(x.shape[2:], y.shape[2:], *windows)
    if axes is None:
        return None
    batch, channels = x.shape[:2]
    if isinstance(operator, MaxPool):
        return QuantizedMaxPooling(batch, channels, *axes, _input(op)).kernel(target)
    counted = counted_axes(operator, x.shape[2:], y.shape[2:])
    if check_elementwise([x], [y]) is not None or counted is None:
        return None
    spec = QuantizedAveragePooling(
        batch, channels, *axes, *counted, _input(op), float(parameters(y)[0]), StoredRange.of(y)
    )
    return spec.kernel(target)


@lowers(GlobalAveragePool, GlobalMaxPool)
def quantized_global_pool(op: Op, target: TargetDescription) -> Kernel | None:
    """Pooling of bytes over whole images in layout ``c16``."""
    x, y = op.inputs[0].type, op.result.type
    if x.dtype not in EIGHT_BIT or layouts(op) != ("c16", "c16"):
        return None
    pixels = math.prod(x.shape[2:])
    images = x.shape[0] * -(-x.shape[1] // BLOCK)
    if isinstance(op.operator, GlobalMaxPool):
        return QuantizedGlobalPooling(images, pixels, _input(op)).kernel(target)
    if check_elementwise([x], [y]) is not None:
        return None
    factor = arithmetic.global_average_multiplier(parameters(x)[0], parameters(y)[0], pixels)
    return QuantizedGlobalPooling(images, pixels, _input(op), float(factor), StoredRange.of(y)).kernel(target)
