"""Elementwise operators on row-major tensors, a loop nest around a formula with any broadcasting; functions of integers
of 16 bits, of any layout; and conversions between real numbers and integers with computed scales and zero points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....ir.core import Op, Value
from ....ir.interpolation import SIDE
from ....ir.layout import bytes_of, row_major
from ....ir.ops.convolution import Conv
from ....ir.ops.elementwise import Elementwise
from ....ir.ops.fused import FusedElementwise, Step
from ....ir.ops.matmul import MatMul
from ....ir.ops.quantization import DequantizeLinear, DynamicQuantizeLinear, QuantizeLinear
from ....ir.ops.unary import Unary
from ....ir.quantized import accumulator_factors, check_words, clamp_bounds, parameters
from ....ir.types import DType, TensorType
from ..element import Element
from ..formulas import formula_of
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import Access, Nest, broadcast
from ..tensors import dtypes_of, has_real_meaning, is_plain
from .generation.function import compile_kernel
from .generation.nest_kernel import element_kernel
from .generation.scalar import Scalar, ScalarArithmetic, load, store
from .generation.scalar_functions import from_ordered, ordered, quantized


def _stored(value: Scalar, dtype: DType) -> str:
    """A value that is computed on with, brought to what its element type holds; numba's integers are wider."""
    if dtype is DType.F16:
        return f"half_to_single({'double' if value.dtype is DType.F64 else 'single'}_to_half({value.text}))"
    return value.text if dtype is DType.BOOL else f"np.{dtype.numpy.name}({value.text})"


def _statements(operator: Elementwise, names: Sequence[str], dtypes: Sequence[DType]) -> list[str] | None:
    """Statements that compute one element of the result; ``None`` if there is no formula for it.

    Args:
        names: of the tensors, operands then result, whose elements ``p0``, ``p1`` … are meant.
        dtypes: their element types.
    """
    arithmetic = ScalarArithmetic()
    operands = zip(names, dtypes[:-1], strict=False)
    values = [arithmetic.variable(load(name, f"p{i}", dtype), dtype) for i, (name, dtype) in enumerate(operands)]
    steps, types = (Step(operator, tuple(range(len(values)))),), [dtypes[-1]]
    if isinstance(operator, FusedElementwise):
        steps = operator.steps
        types = [type.dtype for type in operator.step_types(tuple(TensorType((), dtype) for dtype in dtypes[:-1]))]
    for step, dtype in zip(steps, types, strict=True):
        formula = formula_of(step.operator)
        if formula is None:
            return None
        value = formula(*(Element(arithmetic, values[position]) for position in step.arguments)).value
        values.append(value if step is steps[-1] else arithmetic.variable(_stored(value, dtype), dtype))
    result = store(names[-1], f"p{len(names) - 1}", values[-1].text, dtypes[-1], values[-1].dtype)
    return [*arithmetic.statements, result]


@lowers(Elementwise, needs=(is_plain, has_real_meaning))
def lower_elementwise(op: Op[Elementwise], target: TargetDescription) -> Kernel | None:
    names = [f"x{i}" for i in range(len(op.inputs))] + ["y"]
    statements = _statements(op.operator, names, dtypes_of(op))
    if statements is None:
        return None
    shape = op.result.type.shape
    accesses = tuple(broadcast(value.type.shape, shape) for value in (*op.inputs, op.result))
    parameters = [*names, *(f"p{i}" for i in range(len(names)))]
    lines = [f"def kernel({', '.join(parameters)}):", *statements, "return 0"]
    return element_kernel(op, "\n    ".join(lines), Nest(shape, accesses), target)


CHUNK = 4096
"""Integers of a work item."""


def _interpolated(x, knots, y, n, f, scratch, begin, end):
    for i in range(begin * n[1], min(end * n[1], n[0])):
        number = np.int32(x[i])
        below = number >> np.int32(31)
        magnitude = number ^ below
        # The exponent of single precision tells how many bits there are.
        bits = np.int32(np.float32(magnitude).view(np.int32) >> np.int32(23))
        length = max(bits - np.int32(132), np.int32(0))
        first = (length << np.int32(5)) + (magnitude >> length) - below * np.int32(n[2])
        least = knots[first]
        behind = magnitude & ((np.int32(1) << length) - np.int32(1))
        total = np.int32((least << length) + np.int32((knots[first + 1] - least) * behind))
        shift = length + np.int32(2)
        # Ties go to even: half of a step less one, and one more where the floor is odd.
        odd = (total >> shift) & np.int32(1)
        rounded = (total + ((np.int32(1) << (shift - np.int32(1))) - np.int32(1)) + odd) >> shift
        y[i] = max(min(rounded, np.int32(32767)), np.int32(-32768))
    return 0


@lowers(Unary)
def lower_interpolation(op: Op[Unary], target: TargetDescription) -> Kernel | None:
    x, y = op.inputs[0].type, op.result.type
    if not op.operator.HAS_KNOTS or check_words([x], [y]) is not None or x.layout != y.layout:
        return None
    count = bytes_of(x) // DType.I16.bytes
    dtypes, numbers = (DType.I16, DType.I32, DType.I16), (count, CHUNK, SIDE)
    kernel = compile_kernel(op, _interpolated, target, units=-(-count // CHUNK), dtypes=dtypes, integers=numbers)
    return kernel.reading(op.operator.knots(x, y).tobytes())


def requantization(op: Op[Conv | MatMul], outputs: int) -> tuple[list[int], list[float]]:
    """Zero points of x and y, the bounds of y less its own, zero points of the channels of w; their factors."""
    operator, x, w, y = op.operator, op.operands.x.type, op.operands.w.type, op.result.type
    assert w.quant is not None
    low, high = clamp_bounds(y, operator.act, operator.act_args)
    zero = parameters(y)[1]
    zeros = np.broadcast_to(np.asarray(w.quant.zero_point), outputs).tolist()
    factors = np.broadcast_to(accumulator_factors(x, w, y), outputs).tolist()
    return [parameters(x)[1], zero, low - zero, high - zero, *zeros], factors


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


def _dynamic(x, y, scale, zero, n, f, scratch, begin, end):
    # Compared as integers, which vectorises.
    least, most = np.int32(0), np.int32(0)
    count = n[0] * (end - begin)
    for i in range(count):
        key = ordered(x[i]) if x[i] == x[i] else np.int32(0)
        least, most = min(least, key), max(most, key)
    low, high = from_ordered(least), from_ordered(most)
    step = (high - low) / np.float32(255) if high > low else np.float32(1)
    offset = -low / step
    middle = np.uint8(np.rint(offset)) if offset <= np.float32(255) else np.uint8(255)
    scale[0], zero[0] = step, middle
    for i in range(count):
        y[i] = quantized(x[i], step, middle, 0, 255)
    return 0


@lowers(DynamicQuantizeLinear, needs=(is_plain,))
def lower_dynamic(op: Op[DynamicQuantizeLinear], target: TargetDescription) -> Kernel:
    # One work item: every element needs the range of all.
    numbers = (op.inputs[0].type.elements,)
    return compile_kernel(op, _dynamic, target, units=1, integers=numbers)
