"""What becomes of the sums of a convolution, channel by channel: bias, residual and activation, or requantisation.

Dot products take bytes x' and w'; w' are signed, and x' where the processor says so. They are the stored integers,
their highest bit flipped where the type is the other one, which moves them and their zero points by 128. With zx' and
zw' the zero points so moved,

    sum((x - zx) * (w - zw)) = sum(x' * w') - zw' * sum(x') - zx' * sum(w') + n * zx' * zw'

over all n taps of a window, where taps outside of the image hold the zero point zx'. The last two terms are constants
of an output channel and are folded into its bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, replace
from typing import ClassVar

import numpy as np

from tilewright.immutable import Immutable

from ....ir.accumulators import is_byte_product
from ....ir.core import Constant, Op, is_op
from ....ir.layout import CHANNEL_BLOCK
from ....ir.ops.convolution import Conv
from ....ir.ops.matmul import MatMul
from ....ir.quantized import accumulator_factors, parameters, residual_factor
from ....ir.types import DType
from ..llvm.builder import FunctionBuilder
from ..llvm.byte_dot_product import multiplies_signed
from ..llvm.quantized_math import NATURAL, StoredRange, single, widened
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I32, Register, Registers, Type, constant, partial_mask, type_of, zero
from ..spec import ConstantTable, KernelSpec
from .activation import ProductSpec
from .window import Reach
from .window_walk import Values, WindowSpec

Row = tuple[int, ...]

VECTOR = I32.of(CHANNEL_BLOCK)
"""A block of channels of accumulators, or of any table but the factors."""

VECTOR_BYTES = VECTOR.bytes
"""A block of channels of any table, of a bias, or of the weights of a step."""


class Residual(Immutable):
    """What is added to results before they are rounded: integers less their zero point, times a factor.
    ``dtype``: i8, u8 or i16."""

    dtype: DType
    zero_point: int
    factor: float

    @staticmethod
    def of(op: Op) -> "Residual | None":
        """That of a convolution, if it has one."""
        value = op.operands.residual if is_op(op, Conv) else None
        if value is None:
            return None
        return Residual(value.type.dtype, parameters(value.type)[1], float(residual_factor(value.type, op.result.type)))

    def added(
        self, b: FunctionBuilder, reals: Sequence[Register], address: Register, order: Sequence[int]
    ) -> list[Register]:
        """To results of neighbouring pixels, each a block of channels in an order, what lies from an address on."""
        zero_point, factor = constant(VECTOR, self.zero_point), constant(F32.of(CHANNEL_BLOCK), self.factor)
        found = []
        for index, real in enumerate(reals):
            type = type_of(self.dtype, CHANNEL_BLOCK)
            stored = b.load(type, b.at(address, index * type.bytes))
            stored = stored if order == NATURAL else b.shuffle(stored, stored, order)
            steps = single(b, b.binary("sub", widened(b, stored, self.dtype), zero_point))
            found.append(b.binary("fadd", real, b.binary("fmul", steps, factor)))
        return found


class Channels(Immutable):
    """Constants by output channel, which are part of a kernel; channels are filled up to whole blocks.

    Attributes:
        start: what accumulators start with, if all rows of the kernel are in reach.
        missing: for each kernel row what is added where it is out of reach; empty if that is nothing.
        zeros: zero points of the weights; empty if there are none.
        factors: of requantisation, single precision.
        fill: what taps outside of the image hold, -128 to 255.
        flips_x, flips_w: stored integers are signed where factors are not, or the other way round.
        result: what is made of the accumulators.
        is_signed: factors x' are.
        residual: what is added to the results.
    """

    start: Row
    missing: tuple[Row, ...]
    zeros: Row
    factors: tuple[float, ...]
    fill: int
    flips_x: bool
    flips_w: bool
    result: StoredRange
    is_signed: bool = False
    residual: Residual | None = None

    @property
    def without_zeros(self) -> "Channels":
        """The same for a kernel that multiplies with weights of which their zero points are taken off."""
        return replace(self, zeros=(), flips_w=False)

    @property
    def stored_fill(self) -> int:
        """What taps outside of the image hold, as it would be stored: 0 to 255."""
        return (self.fill + 128 * self.flips_x) % 256

    def reals(
        self, b: FunctionBuilder, totals: Registers, windows: Registers, factors: Register, zeros: Register | None
    ) -> list[Register]:
        """Results at their scale, of vectors of the same channels.
        ``totals``, ``windows``: accumulators, and what zero points of weights are multiplied with, if there are any.
        ``factors``, ``zeros``: where those of the channels lie."""
        factor = b.load(F32.of(CHANNEL_BLOCK), factors)
        zero = b.load(VECTOR, zeros) if zeros is not None else None
        reals = []
        for index, total in enumerate(totals):
            if zero is not None:
                total = b.binary("sub", total, b.binary("mul", zero, windows[index]))
            reals.append(b.binary("fmul", single(b, total), factor))
        return reals

    @property
    def are_small(self) -> bool:
        """Whether no result, of accumulators below 2^31 and residuals below 2^24, is above 2^30."""
        return max(self.factors) <= (0.5 if self.residual is None else 0.25)

    def define(self, b: FunctionBuilder, symbol: str, order: Sequence[int]) -> dict[str, Register]:
        """Addresses of the constants by name, as tables that become part of the module of ``b``.
        ``order``: of the channels of each block."""
        numbers = {"start": self.start, "factors": self.factors, "zeros": self.zeros}
        numbers["missing"] = tuple(n for row in self.missing for n in row)
        found: dict[str, Register] = {}
        for name, row in numbers.items():
            if row:
                blocks = range(0, len(row), CHANNEL_BLOCK)
                ordered = tuple(row[block + channel] for block in blocks for channel in order)
                dtype = DType.F32 if name == "factors" else DType.I32
                found[name] = ConstantTable(dtype, ordered).define(b, f"{symbol}_{name}")
        return found


def has_constant_channels(op: Op) -> bool:
    """Whether a convolution or matrix product is one of bytes, and its weights and bias are known."""
    return is_byte_product(op) and all(isinstance(value, Constant | None) for value in op.operands[1:3])


def without_zero_points(op: Op) -> np.ndarray:
    """The weights of an op that has constant channels, as integers from -255 to 255."""
    w = op.inputs[1]
    assert isinstance(w, Constant) and w.type.quant is not None
    return w.array.astype(np.int64) - w.type.quant.broadcast(w.type.rank)[1]


def channels_of(op: Op, target: TargetDescription | None) -> Channels:
    """The constants of an op that has constant channels: a convolution over one or two dimensions, or a product with
    a matrix, whose columns are the output channels.
    ``target``: x and w become what its dot products take; without one they stay as they are stored, x of 8 or 16
    bits."""
    operator, (x, w), b, y = op.operator, op.inputs[:2], op.operands[2], op.result.type
    assert isinstance(operator, Conv | MatMul) and isinstance(w, Constant) and w.type.quant is not None
    stored = x.type.dtype in (DType.I8, DType.I16)
    is_signed = multiplies_signed(target, stored) if target is not None else stored
    flips_x, flips_w = stored != is_signed, target is not None and w.type.dtype is DType.U8
    weights = w.array.astype(np.int64) - 128 * flips_w
    if isinstance(operator, MatMul):
        weights = (weights if operator.transpose_b else weights.T)[..., None]
    outputs = weights.shape[0]
    weights = weights.reshape(outputs, weights.shape[1], -1, weights.shape[-1])
    zero = parameters(x.type)[1] + 128 * (stored - is_signed)
    zeros = np.broadcast_to(np.asarray(w.type.quant.zero_point, np.int64), outputs) - 128 * flips_w
    bias = b.array.astype(np.int64) if isinstance(b, Constant) else np.zeros(outputs, np.int64)
    is_padded = isinstance(operator, Conv) and any(operator.pads)
    terms = weights[0, :, 0].size
    missing = zero * (weights.sum((1, 3)) - terms * zeros[:, None])
    start = bias - missing.sum(1)
    factors = np.broadcast_to(accumulator_factors(x.type, w.type, y), outputs)
    return Channels(
        start=filled(start),
        missing=tuple(filled(row) for row in missing.T) if zero and is_padded else (),
        zeros=filled(zeros) if zeros.any() else (),
        factors=tuple(np.pad(factors, (0, -outputs % CHANNEL_BLOCK)).tolist()),
        fill=zero,
        flips_x=flips_x,
        flips_w=flips_w,
        result=StoredRange.of_product(y, operator.act, operator.act_args),
        is_signed=is_signed,
        residual=Residual.of(op),
    )


def filled(numbers: np.ndarray) -> Row:
    """Integers modulo 2^32, for whole blocks of channels."""
    wrapped = numbers.astype(np.int64).astype(np.int32)
    return tuple(np.pad(wrapped, (0, -len(numbers) % CHANNEL_BLOCK)).tolist())


class FloatOutput(ProductSpec, WindowSpec):
    """Base of kernels that start from a bias and end with an activation, single precision."""

    @property
    def keeps_zero(self) -> bool:
        return self.activation.keeps_zero

    def item_values(self, b: FunctionBuilder, arguments: Values, block: Register, vectors: int, active: int) -> Values:
        vector = F32.of(CHANNEL_BLOCK)
        if not self.has_bias:
            return {f"start{q}": zero(vector) for q in range(vectors)}
        bias = b.at(arguments["bias"], b.multiply(block, VECTOR_BYTES))
        masks = {vectors - 1: partial_mask(CHANNEL_BLOCK, active)}
        return {f"start{q}": b.load_masked(vector, b.at(bias, q * VECTOR_BYTES), masks.get(q)) for q in range(vectors)}


class QuantizedProductSpec(KernelSpec):
    """Base of the specifications of products of bytes. A bias is part of the constants and not read."""

    OWN_WEIGHTS: ClassVar[bool] = False
    """Whether the weights ``w`` are data of the kernel, and those of the operand are not read."""

    _: KW_ONLY
    constants: Channels
    has_bias: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        optional = (("bias",) if self.has_bias else ()) + (("residual",) if self.constants.residual else ())
        return ("x", "stored_w", *optional, "w", "y") if self.OWN_WEIGHTS else ("x", "w", *optional, "y")

    def bind(self, b: FunctionBuilder) -> Values:
        return {**super().bind(b), **self.constants.define(b, b.name, self.order(b.target))}

    def order(self, target: TargetDescription) -> Sequence[int]:
        """In which order accumulators hold the channels of a block."""
        return NATURAL


class QuantizedOutput(QuantizedProductSpec, WindowSpec):
    """Base of kernels on bytes, or on integers of 16 bits, that requantise their sums."""

    @property
    def element(self) -> Type:
        return type_of(self.constants.result.dtype)

    def item_values(self, b: FunctionBuilder, arguments: Values, block: Register, vectors: int, active: int) -> Values:
        offset = b.multiply(block, VECTOR_BYTES)
        tables = [name for name in ("factors", "zeros", "missing") if name in arguments]
        addresses = {name: b.at(arguments[name], offset) for name in tables}
        start = b.at(arguments["start"], offset)
        return {**addresses, **{f"start{q}": b.load(VECTOR, b.at(start, q * VECTOR_BYTES)) for q in range(vectors)}}

    def row_values(self, b: FunctionBuilder, values: Values, row: Register, reach: Reach) -> Values:
        values = dict(values)
        address = values.pop("missing", None)
        if address is None or not self.rows.is_padded:
            return values
        starts = {name: value for name, value in values.items() if name.startswith("start")}

        def missing(index: Register, totals: Registers) -> list[Register]:
            at = b.at(address, b.multiply(index, 4 * len(self.constants.start)))
            terms = (b.load(VECTOR, b.at(at, q * VECTOR_BYTES)) for q in range(len(totals)))
            return [b.binary("add", total, term) for total, term in zip(totals, terms, strict=True)]

        (tap, taps), kernel = reach, self.rows.kernel
        before = b.minimum(tap, kernel)
        totals = b.loop(0, before, missing, tuple(starts.values()))
        totals = b.loop(b.maximum(b.add(tap, taps), before), kernel, missing, totals)
        return values | dict(zip(starts, totals, strict=True))

    def requantize(
        self,
        b: FunctionBuilder,
        call: Values,
        q: int,
        totals: Registers,
        windows: Registers,
        address: Callable[[str], Register],
    ) -> None:
        """Store the results of neighbouring pixels for the vector ``q`` of channels; see :meth:`Channels.reals`.
        ``address``: of the first of these in ``y`` or ``residual``."""
        offset, constants = q * VECTOR_BYTES, self.constants
        zeros = b.at(call["zeros"], offset) if constants.zeros else None
        reals = constants.reals(b, totals, windows, b.at(call["factors"], offset), zeros)
        if constants.residual is not None:
            reals = constants.residual.added(b, reals, address("residual"), self.order(b.target))
        offset = 0
        for packed in constants.result.store_forms(b, reals, self.order(b.target), are_small=constants.are_small):
            b.store(packed, b.at(address("y"), offset))
            offset += packed.type.bytes
