"""Between real numbers and integers with computed scales and zero points: the operators of ONNX, row-major."""

import numpy as np

from ....ir.core import Op, Value
from ....ir.layout import row_major
from ....ir.ops.convolution import Conv
from ....ir.ops.matmul import MatMul
from ....ir.ops.quantization import DequantizeLinear, QuantizeLinear
from ....ir.quantized import accumulator_factors, clamp_bounds, parameters, slope_of
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import Access, Nest
from ..tensors import is_plain
from .generation.nest_kernel import element_kernel
from .generation.scalar import load, store


def requantization(op: Op[Conv | MatMul], outputs: int) -> tuple[list[int], list[float]]:
    """Zero points of x and y, the bounds of y less its own, zero points of the channels of w; their factors."""
    operator, x, w, y = op.operator, op.operands.x.type, op.operands.w.type, op.result.type
    assert w.quant is not None
    low, high = clamp_bounds(y, operator.act, operator.act_args)
    zero = parameters(y)[1]
    zeros = np.broadcast_to(np.asarray(w.quant.zero_point), outputs).tolist()
    factors = np.broadcast_to(accumulator_factors(x, w, y), outputs).tolist()
    return [parameters(x)[1], zero, low - zero, high - zero, *zeros], factors


def sloped(op: Op[Conv | MatMul], value: str) -> str:
    """A result at its scale, after a fused leaky ReLU."""
    slope = slope_of(op.operator.act, op.operator.act_args)
    return value if slope == 1 else f"leaky({value}, np.float32({slope!r}))"


def zero_point(name: str, operand: Value | None, index: str) -> str:
    """An operand as i32: one zero point for all, one for each ``index``, or 0 where it is absent."""
    if operand is None:
        return "np.int32(0)"
    return f"np.int32({name}[{index if operand.type.elements > 1 else 0}])"


def centred(element: str, zero: str) -> str:
    """An integer less a zero point."""
    return f"np.int32(np.int32({element}) - {zero})"


@lowers(QuantizeLinear, DequantizeLinear, needs=(is_plain,))
def lower_conversion(op: Op[QuantizeLinear | DequantizeLinear], target: TargetDescription) -> Kernel:
    operator = op.operator
    x, y = op.inputs[0].type, op.result.type
    scale, zero = load("scale", "p1", op.inputs[1].type.dtype), "zero[p2]" if len(op.inputs) == 3 else "0"
    if isinstance(operator, QuantizeLinear):
        limits = np.iinfo(y.dtype.numpy)
        value = f"quantized({load('x', 'p0', x.dtype)}, {scale}, {zero}, {limits.min}, {limits.max})"
    else:
        value = f"dequantized(x[p0], {scale}, {zero})"
    tensors = ["x", "scale", "zero"][: len(op.inputs)]
    positions = ", ".join(f"p{i}" for i in range(len(tensors) + 1))
    lines = [f"def kernel({', '.join(tensors)}, y, {positions}):"]
    lines += [store("y", f"p{len(tensors)}", value, y.dtype, DType.F32), "return 0"]
    whole = Access(row_major(x.shape))
    parameter = Access(tuple(int(d == operator.axis) for d in range(x.rank)))
    nest = Nest(x.shape, (whole, *[parameter] * (len(tensors) - 1), whole))
    return element_kernel(op, "\n    ".join(lines), nest, target)
