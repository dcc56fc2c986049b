"""Average pooling of quantised tensors in row-major order, with any number of spatial dimensions."""

from __future__ import annotations

import math

import numpy as np

from ....ir import arithmetic
from ....ir.core import Op
from ....ir.ops.pooling import AveragePool, GlobalAveragePool
from ....ir.quantized import check_elementwise, limits, parameters
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..registry import lowers
from ..tensors import dtypes_of, is_plain
from .function import compile_kernel, python_function
from .quantized_products import NAMES


def _average_source(rank: int) -> str:
    """One work item is a channel. Sums run over the window in row-major order, in binary32, as the definition says."""
    lines = ["def kernel(x, y, n, f, scratch, begin, end):"]
    for d in range(rank):
        fields = (f"input{d}", f"output{d}", f"kernel{d}", f"stride{d}", f"dilation{d}", f"before{d}")
        lines += [f"    {field} = n[{4 + 6 * d + i}]" for i, field in enumerate(fields)]
    lines += [
        "    x_zero, low, high, counts = n[0], n[1], n[2], n[3]",
        "    x_scale, y_scale, y_zero = np.float32(f[0]), np.float32(f[1]), np.float32(f[2])",
        "    for unit in range(begin, end):",
    ]
    indent, position = " " * 8, "0"
    for d in range(rank):
        lines.append(f"{indent}for p{d} in range(output{d}):")
        indent += "    "
        position = f"({position} * output{d} + p{d})"
    lines += [f"{indent}place = {position}", f"{indent}total = np.float32(0)"]
    outer, source = indent, "unit"
    for d in range(rank):
        lines += [
            f"{indent}for k{d} in range(kernel{d}):",
            f"{indent}    s{d} = p{d} * stride{d} - before{d} + k{d} * dilation{d}",
            f"{indent}    if s{d} < 0 or s{d} >= input{d}:",
            f"{indent}        continue",
        ]
        indent += "    "
        source = f"({source} * input{d} + s{d})"
    pixels = " * ".join(f"output{d}" for d in range(rank))
    lines += [
        f"{indent}total += x_scale * np.float32(x[{source}] - x_zero)",
        f"{outer}value = total / np.float32(n[counts + place]) / y_scale + y_zero",
        f"{outer}y[unit * {pixels} + place] = stored_form(value, low, high, 0)",
        "    return 0",
        "",
    ]
    return "\n".join(lines)


@lowers(AveragePool)
def quantized_average_pool(op: Op, target: TargetDescription) -> Kernel | None:
    """The mean of each window of a row-major tensor."""
    operator, x, y = op.operator, op.inputs[0].type, op.result.type
    assert isinstance(operator, AveragePool)
    if not is_plain(op) or check_elementwise([x], [y]) is not None:
        return None
    rank = x.rank - 2
    geometry = zip(
        x.shape[2:],
        y.shape[2:],
        operator.kernel,
        operator.strides,
        operator.dilations,
        operator.pads[:rank],
        strict=True,
    )
    counts = operator.counts(x.shape[2:]).reshape(-1).tolist()
    numbers = [parameters(x)[1], *limits(y), 4 + 6 * rank, *(n for axis in geometry for n in axis), *counts]
    floats = (float(parameters(x)[0]), float(parameters(y)[0]), float(parameters(y)[1]))
    return compile_kernel(
        "quantized_average_pool",
        python_function(_average_source(rank), NAMES),
        dtypes_of(op),
        target,
        units=math.prod(x.shape[:2]),
        integers=numbers,
        floats=floats,
    )


_GLOBAL = """def kernel(x, y, n, f, scratch, begin, end):
    pixels, x_zero, y_zero, low, high = n[0], n[1], n[2], n[3], n[4]
    for unit in range(begin, end):
        total = 0
        for i in range(pixels):
            total += np.int32(x[unit * pixels + i])
        value = np.float32(total - x_zero * pixels) * np.float32(f[0])
        y[unit] = stored_form(value, low, high, y_zero)
    return 0
"""


@lowers(GlobalAveragePool)
def quantized_global_average_pool(op: Op, target: TargetDescription) -> Kernel | None:
    """The mean of each channel of a row-major tensor."""
    x, y = op.inputs[0].type, op.result.type
    if not is_plain(op) or check_elementwise([x], [y]) is not None:
        return None
    pixels = math.prod(x.shape[2:])
    (scale_x, zero_x), (scale_y, zero_y) = parameters(x), parameters(y)
    low, high = limits(y)
    factor = arithmetic.global_average_multiplier(scale_x, scale_y, pixels)
    return compile_kernel(
        "quantized_global_average_pool",
        python_function(_GLOBAL, NAMES),
        dtypes_of(op),
        target,
        units=math.prod(x.shape[:2]),
        integers=(pixels, zero_x, zero_y, low - zero_y, high - zero_y),
        floats=(float(np.float32(factor)),),
    )
