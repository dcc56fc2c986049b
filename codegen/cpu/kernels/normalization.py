"""Normalisation on vectors, row-major tensors of single precision."""

import math

from ....ir.core import Op
from ....ir.ops.normalization import LayerNorm, Lrn, RmsNorm
from ..kernel import Kernel, lowers
from ..llvm import vector_math as vm
from ..llvm.builder import FunctionBuilder
from ..llvm.row_vectors import RowVector, over_row
from ..llvm.target import TargetDescription
from ..llvm.types import F32, Register, Registers, constant, zero
from ..spec import KernelSpec
from ..tensors import is_float, is_plain


class RowNormalization(KernelSpec):
    """Each row of x [rows, length] divided by its spread; arguments x, scale and bias [length], and the result.
    ``epsilon``: added under the square root.
    ``is_centred``: the mean is subtracted first (layer normalisation); else the spread is that around zero.
    ``has_bias``: added at the end."""

    rows: int
    length: int
    epsilon: float
    is_centred: bool
    has_bias: bool

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("x", "scale", "bias", "y") if self.has_bias else ("x", "scale", "y")

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y",))

        def row(index: Register) -> None:
            offset = b.multiply(index, 4 * self.length)
            x, y = b.at(arguments["x"], offset), b.at(arguments["y"], offset)
            self._row(b, x, arguments["scale"], arguments.get("bias"), y)

        return self.each_unit(b, row, units=self.rows)

    def _row(self, b: FunctionBuilder, x: Register, scale: Register, bias: Register | None, y: Register) -> None:
        vector = F32.of(b.target.lanes)

        def average(sums: Register) -> Register:
            mean = b.binary("fdiv", b.sum_of_lanes(sums), constant(F32, self.length))
            return b.splat(mean, vector.lanes)

        mean = zero(vector)
        if self.is_centred:

            def add(part: RowVector, carried: Registers) -> list[Register]:
                return [b.binary("fadd", carried[0], part.load(x))]

            mean = average(over_row(b, self.length, add, [zero(vector)])[0])

        def add_square(part: RowVector, carried: Registers) -> list[Register]:
            centred = b.binary("fsub", part.load(x), mean)
            return [part.only(b.fma(centred, centred, carried[0]), carried[0])]

        variance = average(over_row(b, self.length, add_square, [zero(vector)])[0])
        spread = b.unary_intrinsic("sqrt", b.binary("fadd", variance, constant(vector, self.epsilon)))
        factor = b.binary("fdiv", constant(vector, 1), spread)

        def finish(part: RowVector, _: Registers) -> None:
            centred = b.binary("fsub", part.load(x), mean)
            value = b.binary("fmul", b.binary("fmul", centred, factor), part.load(scale))
            part.store(b.binary("fadd", value, part.load(bias)) if bias is not None else value, y)

        over_row(b, self.length, finish)


class LocalResponse(KernelSpec):
    """Local response normalisation of x [batch, channels, pixels]; arguments x and result."""

    batch: int
    channels: int
    pixels: int
    size: int
    alpha: float
    beta: float
    bias: float

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y",))
        before = (self.size - 1) // 2
        row_bytes = 4 * self.pixels

        def unit(index: Register) -> None:
            channel = b.remainder(index, self.channels)
            first = b.maximum(b.subtract(channel, before), 0)
            last = b.minimum(b.add(channel, self.size - before), self.channels)
            x, y = (b.at(arguments[name], b.multiply(index, row_bytes)) for name in ("x", "y"))
            window = b.at(x, b.multiply(b.subtract(first, channel), row_bytes))
            self._channel(b, x, y, window, b.subtract(last, first))

        return self.each_unit(b, unit, units=self.batch * self.channels)

    def _channel(self, b: FunctionBuilder, x: Register, y: Register, window: Register, count: Register) -> None:
        vector = F32.of(b.target.lanes)

        def pixels(part: RowVector, _: Registers) -> None:
            def add_channel(channel: Register, carried: Registers) -> list[Register]:
                row, total = carried
                value = part.load(row)
                return [b.at(row, 4 * self.pixels), b.fma(value, value, total)]

            total = b.loop(0, count, add_channel, [window, zero(vector)], runs=True)[1]
            scaled = b.fma(total, constant(vector, self.alpha / self.size), constant(vector, self.bias))
            part.store(b.binary("fdiv", part.load(x), self._power(b, scaled)), y)

        over_row(b, self.pixels, pixels)

    def _power(self, b: FunctionBuilder, value: Register) -> Register:
        """``value`` to the power of beta."""
        if self.beta == 0.75:
            root = b.unary_intrinsic("sqrt", value)
            return b.binary("fmul", root, b.unary_intrinsic("sqrt", root))
        return vm.exp(b, b.binary("fmul", vm.log(b, value), vm.number(value, self.beta)))


@lowers(LayerNorm, RmsNorm, needs=(is_float, is_plain))
def trailing_norm(op: Op[LayerNorm | RmsNorm], target: TargetDescription) -> Kernel:
    """Normalisation of contiguous rows."""
    operator, shape = op.operator, op.result.type.shape
    rows, length = math.prod(shape[: operator.axis]), math.prod(shape[operator.axis :])
    spec = RowNormalization(rows, length, operator.epsilon, isinstance(operator, LayerNorm), len(op.inputs) == 3)
    return spec.kernel(target)


@lowers(Lrn, needs=(is_float, is_plain))
def local_response(op: Op[Lrn], target: TargetDescription) -> Kernel | None:
    """Local response normalisation, pixels side by side."""
    operator, shape = op.operator, op.result.type.shape
    if not operator.has_plain_power:
        return None
    window = (operator.size, operator.alpha, operator.beta, operator.bias)
    return LocalResponse(shape[0], shape[1], math.prod(shape[2:]), *window).kernel(target)
