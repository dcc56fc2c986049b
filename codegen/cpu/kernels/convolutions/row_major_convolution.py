"""Convolution in row-major order: any number of dimensions, any groups; for what the blocked layouts do not cover."""

from __future__ import annotations

from dataclasses import dataclass

from ...llvm.builder import FunctionBuilder
from ...llvm.types import F32, Register
from ..activation import ProductSpec
from ..row_major_windows import RowMajorWindows


@dataclass(frozen=True)
class RowMajorConvolution(ProductSpec, RowMajorWindows):
    """Convolution, then bias, residual and activation.

    Further arguments: bias [O], residual like the result, which may lie where it lies.
    """

    def step(self, b: FunctionBuilder, weight: Register | None, value: Register, total: Register) -> Register:
        assert weight is not None
        return b.fma(weight, value, total)

    def end(
        self, b: FunctionBuilder, total: Register, channel: Register, place: Register, inside: Register | None
    ) -> Register:
        vector, arguments = total.type, self.bind(b)
        if self.has_bias:
            bias = b.splat(b.load(F32, b.at(arguments["bias"], b.multiply(channel, 4))), vector.lanes)
            total = b.binary("fadd", total, bias)
        if self.has_residual:
            total = b.binary("fadd", total, b.load_masked(vector, b.at(arguments["residual"], place), inside))
        return self.activation.apply(b, total)
