"""Convolution in row-major order: any number of dimensions, any groups; for what the blocked layouts do not cover."""

import math

from ...llvm.builder import FunctionBuilder
from ...llvm.types import F32, Register
from ..activation import FEW_PRODUCTS, ProductSpec
from ..row_major_windows import Place, RowMajorWindows


class RowMajorConvolution(ProductSpec, RowMajorWindows):
    """Convolution, then bias, residual and activation.

    Further arguments: bias [O], residual like the result, which may lie where it lies."""

    def start(self, b: FunctionBuilder, channel: Register) -> Register:
        return self._bias(b, channel) if self._starts_with_bias else super().start(b, channel)

    def step(self, b: FunctionBuilder, weight: Register | None, value: Register, total: Register) -> Register:
        assert weight is not None
        return b.fma(weight, value, total)

    def end(self, b: FunctionBuilder, total: Register, channel: Register, place: Place) -> Register:
        if self.has_bias and not self._starts_with_bias:
            total = b.binary("fadd", total, self._bias(b, channel))
        if self.has_residual:
            residual = b.load_masked(total.type, b.at(self.bind(b)["residual"], place.start), place.inside)
            total = b.binary("fadd", total, residual)
        return self.activation.apply(b, total)

    @property
    def _starts_with_bias(self) -> bool:
        products = self.channels // self.groups * math.prod(axis.kernel for axis in self.axes)
        return self.has_bias and products <= FEW_PRODUCTS

    def _bias(self, b: FunctionBuilder, channel: Register) -> Register:
        return b.splat(b.load(F32, b.at(self.bind(b)["bias"], b.multiply(channel, 4))), b.target.lanes)
