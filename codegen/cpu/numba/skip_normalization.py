"""Normalisation of sums of quantised tensors, pixel by pixel."""

from ....ir.core import Constant, Op
from ....ir.ops.skip_normalization import SkipLayerNorm, standardization_of
from ....ir.quantized import limits, parameters
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import around
from ..tensors import is_plain, pointers
from .generation.function import compile_kernel

_SOURCE = """def kernel({tensors}, n, f, scratch, begin, end):
    groups, channels, inner, every = n[0], n[1], n[2], n[0] * n[1]
    x_zero, skip_zero, y_zero, low, high = np.int32(n[3]), np.int32(n[4]), n[5], n[6], n[7]
    pixels = {pixels}
    apart, count = inner // pixels, channels * pixels
    for u in range(begin, end):
        p, first = u // apart * channels * inner + u % apart, u // apart % groups * channels
        total = np.int64(0)
        for c in range(channels):
            for i in range(pixels):
                at = p + c * inner + i
                v = np.int32(n[8 + first + c]) * np.int32(np.int32(x[at]) - x_zero)
                {skip}
                scratch[c * pixels + i] = v
                total += v
        mean = np.int32(0)
        {mean}
        squares = np.int64(0)
        for c in range(count):
            d = np.int32(scratch[c] - mean)
            scratch[c] = d
            squares += np.int64(d) * np.int64(d)
        size = max(np.float32(squares) + np.float32(f[0]), np.float32(1))
        quotient = np.float32(1) / np.float32(math.sqrt(np.float64(size)))
        for c in range(channels):
            gain, offset = np.float32(f[1 + first + c]), np.float32(f[1 + every + first + c])
            for i in range(pixels):
                scaled = np.float32(np.float32(scratch[c * pixels + i]) * gain) * quotient
                y[p + c * inner + i] = stored_form(scaled + offset, low, high, y_zero)
    return 0
"""
"""The root in double precision, rounded to single, is that of single precision rounded once."""

_SKIP = "v += np.int32(n[8 + every + first + c]) * np.int32(np.int32(skip[at]) - skip_zero)"
_MEAN = """floor = total // count
        twice = 2 * (total - floor * count)
        if twice > count or (twice == count and floor & 1 == 1):
            floor += 1
        mean = np.int32(floor)"""


def _is_quantized(op: Op[SkipLayerNorm]) -> bool:
    operands = op.operands
    known = all(isinstance(value, Constant) for value in (*operands[1:4], *operands[5:]) if value is not None)
    return known and operands[0].type.quant is not None


@lowers(SkipLayerNorm, needs=(is_plain, _is_quantized))
def lower_skip_layer_norm(op: Op[SkipLayerNorm], target: TargetDescription) -> Kernel:
    operator, y, skip = op.operator, op.result.type, op.operands[4]
    by = standardization_of(op)
    _, channels, inner = around(y.shape, operator.axis)
    zero, groups, together = parameters(y)[1], operator.groups or 1, operator.together(y.shape)
    zeros = [parameters(op.inputs[0].type)[1], parameters(skip.type)[1] if skip is not None else 0, zero]
    integers = [groups, channels // groups, inner, *zeros, *(bound - zero for bound in limits(y))]
    for each in by.multipliers:
        integers += each.tolist()
    source = _SOURCE.format(
        tensors=", ".join(pointers(op)),
        skip=_SKIP if skip is not None else "pass",
        mean=_MEAN if operator.centred else "pass",
        pixels="inner" if operator.groups and not operator.by_pixel else "1",
    )
    floats = [float(by.epsilon), *by.gain.tolist(), *by.offset.tolist()]
    tables = {"integers": integers, "floats": floats}
    return compile_kernel(
        op, source, target, units=y.elements // max(together, 1), scratch=(DType.I32, together), **tables
    )
