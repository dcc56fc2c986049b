"""Convolution, transposed convolution and blocks of images, row-major, of any dtype and groups, in three dimensions.

Straightforward loops whose innermost one runs along memory: what the kernels on vector registers do not cover.
"""

import math
from collections.abc import Sequence

from ....ir.core import Op
from ....ir.ops.convolution import Col2Im, Conv, ConvTranspose
from ....ir.ops.integer_products import ConvInteger
from ....ir.quantized import is_wide, parameters, residual_factor
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..tensors import has_real_meaning, is_integer_product, is_plain, pointers
from .generation.function import compile_kernel
from .generation.scalar import activation_statement, number
from .quantization import centred, requantization, sloped, zero_point

_FORWARD = """def kernel({tensors}, n, f, scratch, begin, end):
    outputs, per_group, channels = n[0], n[1], n[2]
    depth, height, width, od, oh, ow, kd, kh, kw = n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11]
    for u in range(begin, end):
        o = u % outputs
        first = (u // outputs * (outputs // per_group) + o // per_group) * channels
        for plane in range(od):
            i0, i1 = first_inside(plane * n[12] - n[18], n[15]), last_inside(plane * n[12] - n[18], n[15], depth, kd)
            for line in range(oh):
                j0, j1 = first_inside(line * n[13] - n[19], n[16]), last_inside(line * n[13] - n[19], n[16], height, kh)
                q = ((u * od + plane) * oh + line) * ow
                for c in range(ow):
                    scratch[c] = {bias}
                for s in range(channels):
                    for i in range(i0, i1):
                        for j in range(j0, j1):
                            p = ((first + s) * depth + plane * n[12] - n[18] + i * n[15]) * height
                            p = (p + line * n[13] - n[19] + j * n[16]) * width
                            r = (((o * channels + s) * kd + i) * kh + j) * kw
                            for k in range(kw):
                                start = k * n[17] - n[20]
                                factor = {weight}
                                for c in range(first_inside(start, n[14]), last_inside(start, n[14], width, ow)):
                                    scratch[c] += factor * {element}
                for c in range(ow):
                    {finish}
    return 0
"""
"""One work item an output channel of an image. Sums are not in the result, which may lie where a residual lies."""

_ELEMENT = "x[p + start + c * n[14]]"

_TRANSPOSED = """def kernel({tensors}, n, f, scratch, begin, end):
    outputs, per_group, channels = n[0], n[1], n[2]
    depth, height, width, od, oh, ow, kd, kh, kw = n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11]
    for u in range(begin, end):
        o = u % outputs
        group = o // per_group
        for c in range(od * oh * ow):
            y[u * od * oh * ow + c] = {bias}
        for s in range(channels):
            source = group * channels + s
            for plane in range(depth):
                i0, i1 = first_inside(plane * n[12] - n[18], n[15]), last_inside(plane * n[12] - n[18], n[15], od, kd)
                for line in range(height):
                    j0, j1 = first_inside(line * n[13] - n[19], n[16]), last_inside(line * n[13] - n[19], n[16], oh, kh)
                    p = (u // outputs * (outputs // per_group) * channels + source) * depth + plane
                    p = (p * height + line) * width
                    for i in range(i0, i1):
                        for j in range(j0, j1):
                            q = (u * od + plane * n[12] - n[18] + i * n[15]) * oh
                            q = (q + line * n[13] - n[19] + j * n[16]) * ow
                            r = (((source * per_group + o % per_group) * kd + i) * kh + j) * kw
                            for k in range(kw):
                                start = k * n[17] - n[20]
                                factor = w[r + k]
                                for c in range(first_inside(start, n[14]), last_inside(start, n[14], ow, width)):
                                    y[q + start + c * n[14]] += factor * x[p + c]
    return 0
"""

_COL2IM = """def kernel(x, y, n, f, scratch, begin, end):
    depth, height, width, od, oh, ow, kd, kh, kw = n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]
    down = n[10]
    for u in range(begin, end):
        for c in range(od * oh * ow):
            y[u * od * oh * ow + c] = 0
        for tap in range(kd * kh * kw):
            i, j, k = tap // kw // kh * n[12] - n[15], tap // kw % kh * n[13] - n[16], tap % kw * n[14] - n[17]
            first, last = first_inside(k, {stride}), last_inside(k, {stride}, ow, width)
            above, below = first_inside(j, down), last_inside(j, down, oh, height)
            for plane in range(first_inside(i, n[9]), last_inside(i, n[9], od, depth)):
                source = ((u * kd * kh * kw + tap) * depth + plane) * height * width
                result = ((u * od + plane * n[9] + i) * oh + j) * ow + k
                for line in range(above, below):
                    p, q = source + line * width, result + line * down * ow
                    for c in range(first, last):
                        y[q + c * {stride}] += x[p + c]
    return 0
"""
"""One work item an image of a channel."""


def _numbers(op: Op[Conv | ConvTranspose | ConvInteger], channels: int) -> tuple[int, ...] | None:
    """The beginning of the kernel's table, which ends with extents, strides, dilations and pads in three dimensions."""
    operator, image, result = op.operator, op.inputs[0].type.shape[2:], op.result.type.shape
    dimensions = len(image)
    axes = (image, result[2:], op.inputs[1].type.shape[2:], operator.strides, operator.dilations)
    axes = (*axes, operator.pads[:dimensions])
    if axes == (image, image, *[(1,) * dimensions] * 3, (0,) * dimensions):
        # Pixels that do not see their neighbours are one long row.
        axes, dimensions = (*[(math.prod(image),)] * 2, *[(1,)] * 3, (0,)), 1
    return (result[1], result[1] // operator.group, channels, *_in_three(*axes)) if dimensions <= 3 else None


def _in_three(*axes: tuple[int, ...]) -> list[int]:
    """Extents, strides, dilations, and last pads, in three dimensions."""
    missing = 3 - len(axes[0])
    return [e for axis in axes[:-1] for e in ((1,) * missing + axis)] + [0] * missing + list(axes[-1])


def _compiled(
    op: Op, source: str, numbers: tuple[int, ...], sums: DType, target: TargetDescription, floats: Sequence[float] = ()
) -> Kernel:
    # What rounds to integers is computed as it is written.
    fast = op.result.type.dtype.is_float
    units, scratch = math.prod(op.result.type.shape[:2]), (sums, numbers[8])
    return compile_kernel(
        op, source, target, units=units, integers=numbers, floats=floats, scratch=scratch, fastmath=fast
    )


@lowers(Conv, ConvTranspose, needs=(is_plain, has_real_meaning))
def lower_convolution(op: Op[Conv | ConvTranspose], target: TargetDescription) -> Kernel | None:
    operator, dtype, w = op.operator, op.result.type.dtype, op.inputs[1].type
    is_forward = isinstance(operator, Conv)
    numbers = _numbers(op, w.shape[1] if is_forward else w.shape[0] // operator.group)
    if dtype not in (DType.F32, DType.F64) or numbers is None:
        return None
    names = pointers(op)
    bias = "b[o]" if "b" in names else number(0, dtype)
    if not is_forward:
        return _compiled(op, _TRANSPOSED.format(tensors=", ".join(names), bias=bias), numbers, dtype, target)
    value = "scratch[c] + residual[q + c]" if "residual" in names else "scratch[c]"
    source = _FORWARD.format(
        tensors=", ".join(names),
        bias=bias,
        weight="w[r + k]",
        element=_ELEMENT,
        finish=f"v = {value}; {activation_statement(operator.act, operator.act_args, dtype)}; y[q + c] = v",
    )
    return _compiled(op, source, numbers, dtype, target)


@lowers(Col2Im, needs=(is_plain,))
def lower_col2im(op: Op[Col2Im], target: TargetDescription) -> Kernel | None:
    operator, dtype, dimensions = op.operator, op.result.type.dtype, len(op.operator.image)
    if dtype not in (DType.F32, DType.F64) or dimensions > 3:
        return None
    counts = tuple(axis.output for axis in operator.windows())
    axes = (counts, operator.image, operator.block, operator.strides, operator.dilations, operator.pads[:dimensions])
    source, units = _COL2IM.format(stride=operator.strides[-1]), math.prod(op.result.type.shape[:2])
    return compile_kernel(op, source, target, units=units, integers=_in_three(*axes))


@lowers(Conv, needs=(is_plain, is_integer_product))
def lower_quantized_convolution(op: Op[Conv], target: TargetDescription) -> Kernel | None:
    """Sums are of 32 bits, or of double precision where activations have 16 bits, in which they are exact as well."""
    w = op.inputs[1].type
    numbers = _numbers(op, w.shape[1])
    if numbers is None:
        return None
    names, added = pointers(op), ""
    integers, factors = requantization(op, w.shape[0])
    if op.operands.residual is not None:
        # Behind the numbers of channels.
        type = op.operands.residual.type
        added = f" + np.float32(np.int32(residual[q + c]) - n[{25 + w.shape[0]}]) * np.float32(f[{w.shape[0]}])"
        integers, factors = [*integers, parameters(type)[1]], [*factors, residual_factor(type, op.result.type)]
    sums = DType.F64 if is_wide(op.inputs[0].type) else DType.I32
    exact, value = f"np.{sums.numpy.name}", f"np.float32(scratch[c]) * np.float32(f[o]){added}"
    source = _FORWARD.format(
        tensors=", ".join(names),
        bias="b[o]" if "b" in names else "0",
        weight=f"{exact}(w[r + k] - n[25 + o])",
        element=f"{exact}({_ELEMENT} - n[21])",
        finish=f"y[q + c] = stored_form({sloped(op, value)}, n[23], n[24], n[22])",
    )
    return _compiled(op, source, (*numbers, *integers), sums, target, factors)


@lowers(ConvInteger, needs=(is_plain,))
def lower_integer_convolution(op: Op[ConvInteger], target: TargetDescription) -> Kernel | None:
    numbers = _numbers(op, op.inputs[1].type.shape[1])
    if numbers is None:
        return None
    source = _FORWARD.format(
        tensors=", ".join(pointers(op)),
        bias="0",
        weight=centred("w[r + k]", zero_point("w_zero_point", op.operands[3], "o")),
        element=centred(_ELEMENT, zero_point("x_zero_point", op.operands[2], "0")),
        finish="y[q + c] = scratch[c]",
    )
    return _compiled(op, source, numbers, DType.I32, target)
