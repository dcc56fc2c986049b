"""Pooling of floats in row-major order, over windows of any number of dimensions."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from ....ir.core import Op
from ....ir.ops.pooling import AveragePool, MaxPool
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import Register, constant
from ..llvm.vector_arithmetic import VectorArithmetic
from ..tensors import is_float, is_plain
from .reduction import along
from .row_major_windows import SIDE_BY_SIDE, RowMajorWindows
from .window import walked


@dataclass(frozen=True)
class RowMajorMaxPooling(RowMajorWindows):
    """The largest element of each window; padding never counts."""

    OUTSIDE: ClassVar[float] = -math.inf

    def step(self, b: FunctionBuilder, weight: Register | None, value: Register, total: Register) -> Register:
        return VectorArithmetic(b).apply("max", [total, value])


@dataclass(frozen=True)
class RowMajorAveragePooling(RowMajorWindows):
    """The mean of each window, all taps of which count."""

    def step(self, b: FunctionBuilder, weight: Register | None, value: Register, total: Register) -> Register:
        return b.binary("fadd", total, value)

    def end(
        self, b: FunctionBuilder, total: Register, channel: Register, place: Register, inside: Register | None
    ) -> Register:
        return b.binary("fdiv", total, constant(total.type, math.prod(axis.kernel for axis in self.axes)))


@lowers(MaxPool, AveragePool, needs=(is_float, is_plain))
def row_major_pool(op: Op[MaxPool | AveragePool], target: TargetDescription) -> Kernel | None:
    """Maxima, and means of windows that lie in the image, or in its padding where that counts.

    Every tap of a window is looked at: so none may be longer than the image, as most of it would be padding.
    """
    operator, (batch, channels, *image) = op.operator, op.inputs[0].type.shape
    axes = walked(operator.windows(tuple(image)))
    if any(axis.kernel > axis.input for axis in axes):
        return None
    is_whole = [axis.output == axis.dilation == 1 and not axis.before and axis.kernel == axis.input for axis in axes]
    if is_whole[-1] and all(whole or axis.is_pointwise for whole, axis in zip(is_whole, axes, strict=True)):
        # Rows lie in memory as vectors do; pools have neighbouring windows in a vector.
        return along(op, [2 + index for index, whole in enumerate(is_whole) if whole], target)
    geometry = batch, channels, channels, axes, channels
    if isinstance(operator, MaxPool):
        return RowMajorMaxPooling(*geometry).kernel(target)
    counted = axes
    if operator.count_include_pad:
        after = operator.pads[len(axes) :]
        counted = tuple(replace(a, input=a.before + a.input + e, before=0) for a, e in zip(axes, after, strict=True))
    # Of columns further apart, sums of rows are loaded together, which those of windows cannot be.
    is_far = axes[-1].stride > SIDE_BY_SIDE and len(axes) > 1
    return (
        None if is_far or any(axis.is_padded for axis in counted) else RowMajorAveragePooling(*geometry).kernel(target)
    )
