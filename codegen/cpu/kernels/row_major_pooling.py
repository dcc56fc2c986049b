"""Pooling of floats in row-major order, over windows of any number of dimensions."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....ir.core import Op
from ....ir.ops.pooling import AveragePool, MaxPool
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import Register, constant
from ..llvm.vector_arithmetic import VectorArithmetic
from ..spec import ConstantTable
from ..tensors import is_float, is_plain
from .reduction import along
from .row_major_windows import RowMajorWindows
from .window import walked

MOST = 16384
"""Windows of a channel whose counts are written down."""


@dataclass(frozen=True)
class RowMajorMaxPooling(RowMajorWindows):
    """The largest element of each window; padding never counts."""

    OUTSIDE: ClassVar[float] = -math.inf

    def step(self, b: FunctionBuilder, weight: Register | None, value: Register, total: Register) -> Register:
        return VectorArithmetic(b).apply("max", [total, value])


@dataclass(frozen=True)
class RowMajorAveragePooling(RowMajorWindows):
    """The mean of each window.

    Attributes:
        counts: by how many elements the windows of a channel are divided, one after the other; or one number for all.
    """

    counts: tuple[float, ...] = ()

    def step(self, b: FunctionBuilder, weight: Register | None, value: Register, total: Register) -> Register:
        return b.binary("fadd", total, value)

    def end(
        self, b: FunctionBuilder, total: Register, channel: Register, place: Register, inside: Register | None
    ) -> Register:
        if len(self.counts) == 1:
            return b.binary("fdiv", total, constant(total.type, self.counts[0]))
        counts = ConstantTable(DType.F32, self.counts).define(b, f"{self.name}_counts")
        count = b.load_masked(total.type, b.at(counts, b.remainder(place, 4 * len(self.counts))), inside)
        return b.binary("fdiv", total, count)


@lowers(MaxPool, AveragePool, needs=(is_float, is_plain))
def row_major_pool(op: Op[MaxPool | AveragePool], target: TargetDescription) -> Kernel | None:
    """Maxima and means.

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
    counts = operator.counts(tuple(image)).reshape(-1)
    counts = counts if np.ptp(counts) else counts[:1]
    return RowMajorAveragePooling(*geometry, tuple(counts.tolist())).kernel(target) if counts.size <= MOST else None
