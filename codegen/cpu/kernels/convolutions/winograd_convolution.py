"""What Winograd's algorithm computes with: single precision, or exact integers of 16 bits for what is quantised."""

from typing import ClassVar

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK, WINOGRAD, Winograd
from .....ir.ops.convolution import Conv
from ...kernel import Kernel, lowers
from ...llvm.builder import FunctionBuilder
from ...llvm.target import TargetDescription
from ...llvm.types import Register, Registers, partial_mask, zero
from ...tensors import is_float
from ..activation import what_follows
from ..output_channels import VECTOR_BYTES, FloatOutput
from ..window import walked
from ..window_walk import Values
from .winograd import WinogradSpec


class WinogradConvolution(FloatOutput, WinogradSpec):
    """Convolution of stride 1 over an image, then bias, residual and activation; single precision.

    Arguments: x, layout ``c16``; w [O, C, 3, 3] in the layout of the algorithm; bias [O]; residual and result, layout
    ``c16``. The result may lie where the residual lies.
    ``algorithm``: layout of w."""

    STEP: ClassVar[int] = 1

    algorithm: str

    @property
    def transforms(self) -> Winograd:
        return WINOGRAD[self.algorithm]

    def load(self, f: FunctionBuilder, address: Register) -> Register:
        return f.load(self.inputs, address)

    def multiply(self, f: FunctionBuilder, x: Register, w: Register, total: Register) -> Register:
        return f.fma(x, w, total)

    def of_block(self, b: FunctionBuilder, values: Values, q: int) -> Values:
        return {"start": values[f"start{q}"]}

    def write(self, f: FunctionBuilder, call: Values, offset: Register, values: Registers, active: int) -> None:
        mask = partial_mask(CHANNEL_BLOCK, active)
        for index, value in enumerate(values):
            *residual, y = (
                f.at(call[name], offset, index * VECTOR_BYTES) for name in ("residual", "y") if name in call
            )
            total = f.binary("fadd", value, call["start"])
            for each in residual:
                total = f.binary("fadd", total, f.load(self.sums, each))
            total = self.activation.apply(f, total)
            f.store(total if mask is None else f.select(mask, total, zero(self.sums)), y)


@lowers(Conv)
def winograd_convolution(op: Op[Conv], target: TargetDescription) -> Kernel | None:
    """Convolution whose weights have been transformed."""
    conv, x, w, residual = op.operator, op.operands.x.type, op.operands.w.type, op.operands.residual
    activations = [x, op.result.type, *([residual.type] if residual is not None else [])]
    if w.layout not in WINOGRAD or any(type.layout != "c16" for type in activations) or not is_float(op):
        return None
    if conv.group != 1 or {*conv.strides, *conv.dilations} != {1}:
        return None
    (batch, channels), (rows, columns) = x.shape[:2], walked(conv.windows(x.shape, w.shape))
    spec = WinogradConvolution(batch, channels, rows, columns, w.shape[0], w.layout, **what_follows(op))
    return spec.kernel(target)
