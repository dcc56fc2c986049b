"""Matrix products on row-major tensors of any dtype: what the kernels on vector registers do not cover."""

import math
from collections.abc import Sequence

from ....ir.core import Op
from ....ir.ops.integer_products import MatMulInteger
from ....ir.ops.matmul import Determinant, MatMul
from ....ir.quantized import is_wide
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import broadcast
from ..tensors import has_real_meaning, is_integer_product, is_plain, pointers
from .generation.function import compile_kernel
from .generation.scalar import activation_statement, load, number, store
from .quantization import centred, requantization, sloped, zero_point

_DTYPES = (DType.F32, DType.F64, DType.I32, DType.I64, DType.U32, DType.U64)

_SOURCE = """def kernel({tensors}, n, f, scratch, begin, end):
    rows, columns, inner = n[0], n[1], n[2]
    for u in range(begin, end):
        batch, p, r, q = u // rows, u % rows * n[3], 0, u * columns
        for d in range(n[7]):
            index, batch = batch % n[8 + 3 * d], batch // n[8 + 3 * d]
            p, r = p + index * n[9 + 3 * d], r + index * n[10 + 3 * d]
        {before}
        if n[6] == 1:
            for j in range(columns):
                scratch[j] = 0
            for k in range(inner):
                i = p + k * n[4]
                factor = {left}
                for j in range(columns):
                    i = r + k * n[5] + j
                    scratch[j] += factor * {right}
        else:
            for j in range(columns):
                total = {zero}
                for k in range(inner):
                    i = p + k * n[4]
                    factor = {left}
                    i = r + k * n[5] + j * n[6]
                    total += factor * {right}
                scratch[j] = total
        for j in range(columns):
            {finish}
    return 0
"""
"""One work item a row of the result; ``i`` is the position of an element of an operand.

Sums are not in the result, which may lie where a residual lies.
"""


def _batch(x: tuple[int, ...], w: tuple[int, ...], batch: tuple[int, ...]) -> list[int]:
    """The number of batch dimensions, then the extent of each, the last one first, and its strides in both operands."""
    sizes = [math.prod(shape[-2:]) for shape in (x, w)]
    strides = [broadcast(shape[:-2], batch).strides for shape in (x, w)]
    dimensions = reversed(list(zip(batch, *strides, strict=True)))
    numbers = (n for extent, *steps in dimensions for n in (extent, steps[0] * sizes[0], steps[1] * sizes[1]))
    return [len(batch), *numbers]


def _compiled(
    op: Op,
    product: MatMul,
    source: str,
    sums: DType,
    target: TargetDescription,
    integers: Sequence[int] = (),
    floats: Sequence[float] = (),
) -> Kernel:
    x, w, shape = op.inputs[0].type, op.inputs[1].type, op.result.type.shape
    rows, columns, inner = product.extents(x, w)
    along_x = (1, rows) if product.transpose_a else (inner, 1)
    along_w = (1, inner) if product.transpose_b else (columns, 1)
    integers = (rows, columns, inner, *along_x, *along_w, *_batch(x.shape, w.shape, shape[:-2]), *integers)
    # What rounds to integers is computed as it is written.
    units, scratch, fast = math.prod(shape[:-1]), (sums, columns), op.result.type.dtype.is_float
    return compile_kernel(
        op, source, target, units=units, integers=integers, floats=floats, scratch=scratch, fastmath=fast
    )


@lowers(MatMul, needs=(is_plain, has_real_meaning))
def lower_matmul(op: Op[MatMul], target: TargetDescription) -> Kernel | None:
    operator, dtype = op.operator, op.result.type.dtype
    if dtype not in _DTYPES:
        return None
    names = pointers(op)
    terms = ["scratch[j]", *["b[j]"] * ("b" in names), *["residual[q + j]"] * ("residual" in names)]
    activation = activation_statement(operator.act, operator.act_args, dtype)
    source = _SOURCE.format(
        tensors=", ".join(names),
        before="pass",
        zero=number(0, dtype if dtype.is_float else DType.U64 if dtype is DType.U64 else DType.I64),
        left="x[i]",
        right="w[i]",
        finish=f"v = {' + '.join(terms)}; {activation}; y[q + j] = v",
    )
    return _compiled(op, operator, source, dtype, target)


@lowers(MatMul, needs=(is_plain, is_integer_product))
def lower_quantized_matmul(op: Op[MatMul], target: TargetDescription) -> Kernel:
    operator = op.operator
    # Behind the numbers that _compiled puts into the table.
    names, first = pointers(op), 8 + 3 * (op.result.type.rank - 2)
    integers, factors = requantization(op, op.result.type.shape[-1])
    sums = DType.F64 if is_wide(op.inputs[0].type) else DType.I32
    exact = f"np.{sums.numpy.name}"
    # The zero points of w are taken off at the end, times the sum of a row of x.
    source = _SOURCE.format(
        tensors=", ".join(names),
        before=f"x_zero, y_zero, low, high = n[{first}], n[{first + 1}], n[{first + 2}], n[{first + 3}]; row = 0\n"
        f"        for k in range(inner): row += np.int32(x[p + k * n[4]] - x_zero)",
        zero=number(0, sums) if sums.is_float else "0",
        left=f"{exact}(x[i] - x_zero)",
        right="w[i]",
        finish=f"v = scratch[j] - n[{first + 4} + j] * row{' + b[j]' if 'b' in names else ''}; "
        f"y[q + j] = stored_form({sloped(op, 'np.float32(v) * np.float32(f[j])')}, low, high, y_zero)",
    )
    return _compiled(op, operator, source, sums, target, integers, factors)


@lowers(MatMulInteger, needs=(is_plain,))
def lower_integer_matmul(op: Op[MatMulInteger], target: TargetDescription) -> Kernel:
    source = _SOURCE.format(
        tensors=", ".join(pointers(op)),
        before=f"zero = {zero_point('a_zero_point', op.operands[2], 'u % rows')}",
        zero="np.int32(0)",
        left=centred("a[i]", "zero"),
        right=centred("b[i]", zero_point("b_zero_point", op.operands[3], "j")),
        finish="y[q + j] = scratch[j]",
    )
    return _compiled(op, MatMul(), source, DType.I32, target)


_DETERMINANT = """def kernel(x, y, n, f, scratch, begin, end):
    size = n[0]
    for u in range(begin, end):
        for i in range(size * size):
            scratch[i] = {element}
        total = 1.0
        for k in range(size):
            largest = k
            for i in range(k + 1, size):
                if abs(scratch[i * size + k]) > abs(scratch[largest * size + k]):
                    largest = i
            if largest != k:
                for j in range(size):
                    p, q = k * size + j, largest * size + j
                    scratch[p], scratch[q] = scratch[q], scratch[p]
                total = -total
            pivot = scratch[k * size + k]
            total *= pivot
            if pivot != 0:
                for i in range(k + 1, size):
                    factor = scratch[i * size + k] / pivot
                    for j in range(k, size):
                        scratch[i * size + j] -= factor * scratch[k * size + j]
        {result}
    return 0
"""


@lowers(Determinant, needs=(is_plain, has_real_meaning))
def lower_determinant(op: Op[Determinant], target: TargetDescription) -> Kernel:
    x = op.inputs[0].type
    size = x.shape[-1]
    element, result = load("x", "u * size * size + i", x.dtype), store("y", "u", "total", x.dtype, DType.F64)
    source = _DETERMINANT.format(element=element, result=result)
    scratch = DType.F64, size * size
    return compile_kernel(op, source, target, units=op.result.type.elements, integers=(size,), scratch=scratch)
