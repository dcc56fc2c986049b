"""Elementwise operators on row-major tensors, a loop nest around a formula with any broadcasting; and functions of
integers of 16 bits, of any layout.
"""

from collections.abc import Sequence

import numpy as np

from ....ir.core import Op
from ....ir.interpolation import SIDE
from ....ir.layout import bytes_of
from ....ir.ops.elementwise import Elementwise
from ....ir.ops.fused import FusedElementwise, Step
from ....ir.ops.unary import Unary
from ....ir.quantized import check_words
from ....ir.types import DType, TensorType
from ..element import Element
from ..formulas import formula_of
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import Nest, broadcast
from ..tensors import dtypes_of, has_real_meaning, is_plain
from .generation.function import compile_kernel
from .generation.nest_kernel import element_kernel
from .generation.scalar import Scalar, ScalarArithmetic, load, store


def _stored(value: Scalar, dtype: DType) -> str:
    """A value that is computed on with, brought to what its element type holds; numba's integers are wider."""
    if dtype is DType.F16:
        return f"half_to_single({'double' if value.dtype is DType.F64 else 'single'}_to_half({value.text}))"
    return value.text if dtype is DType.BOOL else f"np.{dtype.numpy.name}({value.text})"


def _statements(operator: Elementwise, names: Sequence[str], dtypes: Sequence[DType]) -> list[str] | None:
    """Statements that compute one element of the result; ``None`` if there is no formula for it.
    ``names``: of the tensors, operands then result, whose elements ``p0``, ``p1`` … are meant."""
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
