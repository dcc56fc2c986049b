"""Normalisations, softmax and its logarithm on row-major tensors. Means and variances are in double precision."""

import math
from collections.abc import Sequence

from ....ir.core import Op
from ....ir.layout import row_major
from ....ir.ops.normalization import BatchNorm, GroupNorm, LayerNorm, LpNorm, Lrn, NormalizeL2, RmsNorm
from ....ir.ops.softmax import LogSoftmax, Softmax
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..nest import Access, Nest, around
from ..tensors import is_plain
from .generation.function import compile_kernel
from .generation.nest_kernel import element_kernel
from .generation.scalar import number


def _computes(op: Op) -> bool:
    """Whether the op is one of floats that there is arithmetic for."""
    return is_plain(op) and op.inputs[0].type.dtype in (DType.F32, DType.F64)


@lowers(BatchNorm, needs=(_computes,))
def lower_batch_norm(op: Op[BatchNorm], target: TargetDescription) -> Kernel:
    shape, dtype = op.result.type.shape, op.result.type.dtype
    # What does not change along a channel, LLVM computes once.
    source = (
        "def kernel(x, scale, b, mean, var, y, p, s0, s1, s2, s3, q):\n"
        f"    factor = scale[s0] / math.sqrt(var[s3] + {number(op.operator.epsilon, dtype)})\n"
        "    y[q] = (x[p] - mean[s2]) * factor + b[s1]\n"
        "    return 0\n"
    )
    whole = Access(row_major((*shape[:2], math.prod(shape[2:]))))
    nest = Nest((*shape[:2], math.prod(shape[2:])), (whole, *[Access((0, 1, 0))] * 4, whole))
    return element_kernel(op, source, nest, target)


_STANDARDIZE = """def kernel({tensors}, n, f, scratch, begin, end):
    groups, channels, inner = n[0], n[1], n[2]
    length = channels * inner
    for u in range(begin, end):
        p, s = u * length, u % groups * channels
        mean = 0.0
        {mean}
        total = 0.0
        for i in range(length):
            v = np.float64(x[p + i]) - mean
            total += v * v
        factor = {real}(1.0 / math.sqrt(total / length + f[0]))
        shift = {real}(mean)
        for c in range(channels):
            for i in range(inner):
                q = p + c * inner + i
                y[q] = (x[q] - shift) * factor * scale[s + c]{bias}
    return 0
"""
_MEAN = "for i in range(length): mean += x[p + i]\n        mean = mean / length"


def _standardized(
    op: Op, extents: tuple[int, int, int, int], epsilon: float, target: TargetDescription, centred: bool = True
) -> Kernel:
    """A kernel for rows seen as [units, channels, inner], whose scale starts over after ``groups`` rows.
    ``extents``: units, groups, channels, inner.
    ``centred``: the mean is subtracted."""
    has_bias = len(op.inputs) == 3
    source = _STANDARDIZE.format(
        tensors="x, scale, b, y" if has_bias else "x, scale, y",
        mean=_MEAN if centred else "pass",
        real=f"np.{op.result.type.dtype.numpy.name}",
        bias=" + b[s + c]" if has_bias else "",
    )
    units, *numbers = extents
    return compile_kernel(op, source, target, units=units, integers=numbers, floats=(epsilon,), fastmath=True)


@lowers(LayerNorm, RmsNorm, needs=(_computes,))
def lower_trailing_norm(op: Op[LayerNorm | RmsNorm], target: TargetDescription) -> Kernel:
    operator, shape = op.operator, op.result.type.shape
    rows, length = math.prod(shape[: operator.axis]), math.prod(shape[operator.axis :])
    centred = isinstance(operator, LayerNorm)
    return _standardized(op, (rows, 1, length, 1), operator.epsilon, target, centred)


@lowers(GroupNorm, needs=(_computes,))
def lower_group_norm(op: Op[GroupNorm], target: TargetDescription) -> Kernel:
    batch, channels, *spatial = op.result.type.shape
    groups = op.operator.groups
    extents = (batch * groups, groups, channels // groups, math.prod(spatial))
    return _standardized(op, extents, op.operator.epsilon, target)


_LRN = """def kernel(x, y, n, f, scratch, begin, end):
    channels, inner, before, after = n[0], n[1], n[2], n[3]
    alpha, bias = {real}(f[0]), {real}(f[1])
    for u in range(begin, end):
        c = u % channels
        first, last = max(c - before, 0) - c + u, min(c + after, channels - 1) - c + u
        for i in range(inner):
            scratch[i] = 0
        for k in range(first, last + 1):
            for i in range(inner):
                v = x[k * inner + i]
                scratch[i] += v * v
        for i in range(inner):
            base = bias + alpha * scratch[i]
            y[u * inner + i] = x[u * inner + i] / base ** {real}(f[2])
    return 0
"""


@lowers(Lrn, needs=(_computes,))
def lower_lrn(op: Op[Lrn], target: TargetDescription) -> Kernel:
    operator, dtype = op.operator, op.result.type.dtype
    batch, channels, *spatial = op.result.type.shape
    inner, units = math.prod(spatial), batch * channels
    before = (operator.size - 1) // 2
    source = _LRN.replace("{real}", f"np.{dtype.numpy.name}")
    numbers = channels, inner, before, operator.size - 1 - before
    floats = operator.alpha / operator.size, operator.bias, operator.beta
    return compile_kernel(op, source, target, units=units, integers=numbers, floats=floats, scratch=(dtype, inner))


STRIP = 1024
"""Lines side by side that are divided together."""

_DIVIDED = """def kernel(x, y, n, f, scratch, begin, end):
    length, inner, strip = n[0], n[1], n[2]
    for u in range(begin, end):
        for first in range(u * length * inner, u * length * inner + inner, strip):
            count = min(strip, u * length * inner + inner - first)
            for i in range(count):
                scratch[i] = 0
            for k in range(length):
                for i in range(count):
                    v = np.float64(x[first + k * inner + i])
                    scratch[i] += {term}
            for i in range(count):
                total = scratch[i]
                scratch[i] = {norm}
            for k in range(length):
                for i in range(count):
                    v, norm = x[first + k * inner + i], scratch[i]
                    y[first + k * inner + i] = {quotient}
    return 0
"""
"""Lines divided by their norms."""


def _divided(
    op: Op, extents: tuple[int, int, int], target: TargetDescription, floats: Sequence[float], **texts: str
) -> Kernel:
    """The kernel for units, length and inner."""
    (units, *numbers), strip = extents, min(extents[2], STRIP)
    source, scratch = _DIVIDED.format(**texts), (DType.F64, strip)
    return compile_kernel(
        op, source, target, units=units, integers=(*numbers, strip), floats=floats, scratch=scratch, fastmath=strip == 1
    )


@lowers(LpNorm, needs=(_computes,))
def lower_lp_norm(op: Op[LpNorm], target: TargetDescription) -> Kernel:
    operator = op.operator
    term, norm = ("abs(v)", "total") if operator.p == 1 else ("v * v", "math.sqrt(total)")
    real = f"np.{op.result.type.dtype.numpy.name}"
    quotient = f"v / {real}(norm) if {real}(norm) != 0 else {real}(0)"
    extents = around(op.result.type.shape, operator.axis)
    return _divided(op, extents, target, (), term=term, norm=norm, quotient=quotient)


@lowers(NormalizeL2, needs=(_computes,))
def lower_normalize_l2(op: Op[NormalizeL2], target: TargetDescription) -> Kernel | None:
    operator, shape = op.operator, op.result.type.shape
    # Dimensions of extent 1 may count or not.
    axes = [axis for axis in operator.axes if shape[axis] != 1]
    first, last = (axes[0], axes[-1] + 1) if axes else (len(shape), len(shape))
    if any(shape[d] != 1 and d not in axes for d in range(first, last)):
        return None
    extents = math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])
    total = "total + f[0]" if operator.epsilon_mode == "add" else "larger(total, f[0])"
    texts = {"term": "v * v", "norm": f"math.sqrt({total})", "quotient": "np.float64(v) / norm"}
    return _divided(op, extents, target, (operator.epsilon,), **texts)


_SOFTMAX = """def kernel(x, y, n, f, scratch, begin, end):
    length, inner = n[0], n[1]
    for u in range(begin * inner, end * inner):
        p = u // inner * length * inner + u % inner
        largest, total = -np.inf, 0.0
        for k in range(length):
            largest = larger(largest, np.float64(x[p + k * inner]))
        for k in range(length):
            e = math.exp(x[p + k * inner] - largest)
            y[p + k * inner] = e
            total += e
        scale = {scale}
        for k in range(length):
            y[p + k * inner] = {result}
    return 0
"""


@lowers(Softmax, LogSoftmax, needs=(is_plain,))
def lower_softmax(op: Op[Softmax | LogSoftmax], target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if op.result.type.dtype is DType.F16:
        return None
    outer, length, inner = around(op.result.type.shape, operator.axis)
    is_log = isinstance(operator, LogSoftmax)
    source = _SOFTMAX.format(
        scale="math.log(total)" if is_log else "1.0 / total",
        result="x[p + k * inner] - largest - scale" if is_log else "y[p + k * inner] * scale",
    )
    return compile_kernel(op, source, target, units=outer, integers=(length, inner))
