"""What a convolution or matrix product of stored integers does to each output channel besides summing products.

Dot products take unsigned by signed bytes, x' and w': stored integers, their highest bit flipped where the type is the
other one, which moves them and their zero points by 128. With zx' and zw' the zero points so moved,

    sum((x - zx) * (w - zw)) = sum(x' * w') - zw' * sum(x') - zx' * sum(w') + n * zx' * zw'

over all n taps of a window, where taps outside of the image hold the zero point zx'. The last two terms are constants
of an output channel and are folded into its bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....ir.core import Constant, Op
from ....ir.layout import BLOCK
from ....ir.ops.convolution import Conv
from ....ir.ops.matmul import MatMul
from ....ir.quantized import EIGHT_BIT, accumulator_factors, clamp_bounds, parameters
from ....ir.types import DType
from ..llvm.builder import FunctionBuilder
from ..llvm.quantized_math import StoredRange
from ..llvm.types import I32, Register, Registers
from ..spec import Table
from .window import Axis

Row = tuple[int, ...]

VECTOR = I32.of(BLOCK)
"""A block of channels of accumulators, or of any table but the factors."""


@dataclass(frozen=True)
class Channels:
    """Constants by output channel, which are part of a kernel; channels are filled up to whole blocks.

    Attributes:
        start: what accumulators start with, if all rows of the kernel are in reach.
        missing: for each kernel row what is added where it is out of reach; empty if that is nothing.
        zeros: zero points of the weights; empty if there are none.
        factors: of requantisation, single precision.
        fill: what taps outside of the image hold, 0 to 255.
        flips_x, flips_w: stored integers of x are signed, those of w unsigned.
        result: what is made of the accumulators.
    """

    start: Row
    missing: tuple[Row, ...]
    zeros: Row
    factors: tuple[float, ...]
    fill: int
    flips_x: bool
    flips_w: bool
    result: StoredRange

    def store(self, b: FunctionBuilder, values: Sequence[Register], place: Register) -> None:
        """Requantise products of accumulators and factors, vectors of channels, and store them side by side."""
        self.result.store_all(b, values, place, are_small=self.are_small)

    @property
    def are_small(self) -> bool:
        """Whether no product of an accumulator, which is below 2^31, and a factor is above 2^30."""
        return max(self.factors) <= 0.5

    def tables(self) -> dict[str, Table]:
        """The constants as tables of the kernel."""
        tables = {"start": Table(DType.I32, self.start), "factors": Table(DType.F32, self.factors)}
        if self.missing:
            tables["missing"] = Table(DType.I32, tuple(n for row in self.missing for n in row))
        if self.zeros:
            tables["zeros"] = Table(DType.I32, self.zeros)
        return tables

    def define(self, b: FunctionBuilder, symbol: str) -> dict[str, Register]:
        """Addresses of the tables by name, which become part of the module of ``b``."""
        return {name: table.define(b, f"{symbol}_{name}") for name, table in self.tables().items()}


def has_constant_channels(op: Op) -> bool:
    """Whether an op is a quantised convolution or matrix product whose weights and bias are known."""
    if not isinstance(op.operator, Conv | MatMul):
        return False
    x, w, *rest = op.inputs
    types = (x.type, w.type, op.result.type)
    eight_bit = all(type.quant is not None and type.dtype in EIGHT_BIT for type in types)
    return eight_bit and all(isinstance(v, Constant) for v in (w, *rest))


def channels_of(op: Op) -> Channels:
    """The constants of an op that has constant channels: a convolution over one or two dimensions, or a product with
    a matrix, whose columns are the output channels.
    """
    operator, (x, w, *rest), y = op.operator, op.inputs, op.result.type
    assert isinstance(operator, Conv | MatMul) and isinstance(w, Constant) and w.type.quant is not None
    flips_x, flips_w = x.type.dtype is DType.I8, w.type.dtype is DType.U8
    weights = w.array.astype(np.int64) - 128 * flips_w
    if isinstance(operator, MatMul):
        weights = (weights if operator.transpose_b else weights.T)[..., None]
    outputs = weights.shape[0]
    weights = weights.reshape(outputs, weights.shape[1], -1, weights.shape[-1])
    zero = parameters(x.type)[1] + 128 * flips_x
    zeros = np.broadcast_to(np.asarray(w.type.quant.zero_point, np.int64), outputs) - 128 * flips_w
    bias = rest[0].array.astype(np.int64) if rest and isinstance(rest[0], Constant) else np.zeros(outputs, np.int64)
    is_padded = isinstance(operator, Conv) and any(operator.pads)
    terms = weights[0, :, 0].size
    missing = zero * (weights.sum((1, 3)) - terms * zeros[:, None])
    start = bias - missing.sum(1)
    low, high = clamp_bounds(y, operator.act, operator.act_args)
    factors = np.broadcast_to(accumulator_factors(x.type, w.type, y), outputs)
    return Channels(
        start=_filled(start),
        missing=tuple(_filled(row) for row in missing.T) if zero and is_padded else (),
        zeros=_filled(zeros) if zeros.any() else (),
        factors=tuple(np.pad(factors, (0, -outputs % BLOCK)).tolist()),
        fill=zero,
        flips_x=flips_x,
        flips_w=flips_w,
        result=StoredRange(y.dtype, parameters(y)[1], low, high),
    )


def _filled(numbers: np.ndarray) -> Row:
    """Integers modulo 2^32, for whole blocks of channels."""
    wrapped = numbers.astype(np.int64).astype(np.int32)
    return tuple(np.pad(wrapped, (0, -len(numbers) % BLOCK)).tolist())


def row_start(
    b: FunctionBuilder,
    channels: Channels,
    tables: dict[str, Register],
    rows: Axis,
    table: Register,
    reach: tuple[Register, Register],
    vectors: int,
) -> Registers:
    """Accumulators at the start of an output row, one for each of some vectors of channels.

    Args:
        tables: from :meth:`Channels.define`.
        table: where the channels begin in them, in bytes.
        reach: first kernel row in reach, and number of them (not above 0 for none).
    """
    (tap, taps), kernel = reach, rows.kernel
    place = b.at(tables["start"], table)
    start = tuple(b.load(VECTOR, b.at(place, 4 * BLOCK * q)) for q in range(vectors))
    if not channels.missing or not rows.is_padded:
        return start

    def missing(index: Register, totals: Registers) -> list[Register]:
        place = b.at(tables["missing"], table, b.multiply(index, 4 * len(channels.start)))
        return [b.binary("add", total, b.load(VECTOR, b.at(place, 4 * BLOCK * q))) for q, total in enumerate(totals)]

    before = b.minimum(tap, kernel)
    start = b.loop(0, before, missing, start)
    return b.loop(b.maximum(b.add(tap, taps), before), kernel, missing, start)
