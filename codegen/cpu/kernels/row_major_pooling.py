"""Pooling in row-major order, over windows of any number of dimensions."""

import numpy as np

from ....ir.core import Op
from ....ir.ops.pooling import AveragePool, MaxPool
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I32, Register, constant, vector_constant
from ..llvm.vector_arithmetic import VectorArithmetic
from ..tensors import is_float, is_movement, is_plain
from .pooling import LEAST, has_form, larger
from .reduction import along
from .row_major_windows import Place, RowMajorWindows
from .window import Axis, walked


class RowMajorMaxPooling(RowMajorWindows):
    """The largest element of each window, f32, i8, u8 or i16; padding never counts."""

    @property
    def outside(self) -> float:
        return LEAST[self.dtype]

    def step(self, b: FunctionBuilder, weight: Register | None, value: Register, total: Register) -> Register:
        if self.dtype is DType.F32:
            return VectorArithmetic(b).apply("max", [total, value])
        return larger(b, self.dtype, total, value)


class RowMajorAveragePooling(RowMajorWindows):
    """The mean of each window.
    ``counted``: the same geometry over what counts as an element, see ``AveragePool.counted``."""

    counted: tuple[Axis, ...] = ()

    def step(self, b: FunctionBuilder, weight: Register | None, value: Register, total: Register) -> Register:
        return b.binary("fadd", total, value)

    def end(self, b: FunctionBuilder, total: Register, channel: Register, place: Place) -> Register:
        lanes, count = total.type.lanes, constant(total.type, 1)
        pixels = 4
        for depth, axis in reversed([*enumerate(self.counted)]):
            counts = axis.counts(0, axis.input)
            if not np.ptp(counts):
                taps = constant(total.type, int(counts[0]))
            elif depth == len(place.taps):
                taps = constant(total.type, axis.kernel)
                if place.column is not None:
                    taps = _counts(b, axis, place.column, lanes)
            else:
                row = b.remainder(b.divide(place.start, pixels), axis.output)
                seen = place.taps[depth] if axis == self.axes[depth] else axis.valid_taps(b, row)
                taps = b.splat(b.convert("sitofp", b.maximum(seen[1], 0), F32), lanes)
            count = b.binary("fmul", count, taps)
            pixels *= axis.output
        return b.binary("fdiv", total, count)


def _counts(b: FunctionBuilder, axis: Axis, first: Register, lanes: int) -> Register:
    """How many taps of windows side by side lie in the image, as numbers."""
    type = I32.of(lanes)

    def known(number: int) -> Register:
        return constant(type, number)

    steps = vector_constant(type, [str(lane * axis.stride - axis.before) for lane in range(lanes)])
    start = b.convert("trunc", b.multiply(first, axis.stride), I32)
    start = b.binary("add", b.splat(start, lanes), steps)

    def before(bound: int) -> Register:
        """The taps that lie before a place."""
        room = b.binary("sub", known(bound), start)
        room = b.select(b.compare("sgt", room, known(0)), room, known(0))
        if axis.dilation > 1:
            # Unsigned, as it may take 32 bits.
            room = b.binary("udiv", b.binary("add", room, known(axis.dilation - 1)), known(axis.dilation))
        return b.select(b.compare("ult", room, known(axis.kernel)), room, known(axis.kernel))

    return b.convert("sitofp", b.binary("sub", before(axis.input), before(0)), F32.of(lanes))


@lowers(MaxPool, AveragePool, needs=(is_plain, is_movement, has_form))
def row_major_pool(op: Op[MaxPool | AveragePool], target: TargetDescription) -> Kernel | None:
    """Maxima and means.

    Every tap of a window is looked at: so none may be longer than the image, as most of it would be padding."""
    operator, (batch, channels, *image) = op.operator, op.inputs[0].type.shape
    axes = walked(operator.windows(tuple(image)))
    is_real = is_float(op)
    if any(axis.kernel > axis.input for axis in axes) or not (is_real or isinstance(operator, MaxPool)):
        return None
    is_whole = [axis.output == axis.dilation == 1 and not axis.before and axis.kernel == axis.input for axis in axes]
    if is_whole[-1] and all(whole or axis.is_pointwise for whole, axis in zip(is_whole, axes, strict=True)):
        # Rows lie in memory as vectors do; pools have neighbouring windows in a vector.
        return along(op, [2 + index for index, whole in enumerate(is_whole) if whole], target) if is_real else None
    geometry = batch, channels, channels, axes, channels
    if isinstance(operator, MaxPool):
        return RowMajorMaxPooling(*geometry, op.result.type.dtype).kernel(target)
    return RowMajorAveragePooling(*geometry, counted=walked(operator.counted(tuple(image)))).kernel(target)
