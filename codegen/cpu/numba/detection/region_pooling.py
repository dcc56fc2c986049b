"""Pooling over regions on row-major tensors; a work item is a region, and none before it may have ended the list."""

import textwrap

from tilewright.limits import SAMPLES

from .....ir.core import Op
from .....ir.ops.detection.region_pooling import FAR, OFFSETS, PsroiPool, RegionPool, RoiAlign, RoiPool
from .....ir.types import DType
from ...kernel import Kernel, lowers
from ...llvm.target import TargetDescription
from ...tensors import has_real_meaning, is_plain
from ..generation.function import compile_kernel

_SOURCE = """def kernel(x, regions, y, n, f, scratch, begin, end):
    images, channels, height, width = n[0], n[1], n[2], n[3]
    pooled, rows, columns = n[4], n[5], n[6]
    scale, half = np.float32(f[0]), np.float32(0.5)
    last = 0
    while last < end and regions[last * 5] != -1:
        last += 1
    for u in range(begin, end):
        if u >= last:
            for q in range(u * pooled * rows * columns, (u + 1) * pooled * rows * columns):
                y[q] = 0
            continue
        number = regions[u * 5]
        if not (-1 <= number < images):
            return 1
        image = np.int64(number) * channels * height * width
        left_end, top_end = regions[u * 5 + 1], regions[u * 5 + 2]
        right_end, bottom_end = regions[u * 5 + 3], regions[u * 5 + 4]
        {head}
        for i in range(rows):
            for j in range(columns):
                {bin}
                for c in range(pooled):
                    q = ((u * pooled + c) * rows + i) * columns + j
                    {element}
    return 0
"""


def _indented(text: str, width: int) -> str:
    """Lines as they follow such an indentation."""
    return textwrap.indent(text, width * " ").lstrip()


_MAX_HEAD = """first_y, first_x = nearest_pixel(top_end * scale, n[7]), nearest_pixel(left_end * scale, n[7])
long = max(nearest_pixel(bottom_end * scale, n[7]) - first_y + 1, 1)
wide = max(nearest_pixel(right_end * scale, n[7]) - first_x + 1, 1)"""
_MAX_BIN = """top = min(max(first_y + i * long // rows, 0), height)
bottom = min(max(first_y + ((i + 1) * long + rows - 1) // rows, 0), height)
left = min(max(first_x + j * wide // columns, 0), width)
right = min(max(first_x + ((j + 1) * wide + columns - 1) // columns, 0), width)"""
_MAX_ELEMENT = """best = np.float32(-np.inf if top < bottom and left < right else 0)
for h in range(top, bottom):
    for w in range(left, right):
        best = larger(best, x[image + (c * height + h) * width + w])
y[q] = best"""

_AVERAGE_HEAD = """one, least = np.float32(1), np.float32(0.1)
first_y = np.float32(nearest_pixel(top_end, n[7])) * scale
first_x = np.float32(nearest_pixel(left_end, n[7])) * scale
long = larger(np.float32(nearest_pixel(bottom_end + one, n[7])) * scale - first_y, least) / np.float32(rows)
wide = larger(np.float32(nearest_pixel(right_end + one, n[7])) * scale - first_x, least) / np.float32(columns)"""
_AVERAGE_BIN = """top = pixel_inside(np.floor(np.float32(i) * long + first_y), height)
bottom = pixel_inside(np.ceil(np.float32(i + 1) * long + first_y), height)
left = pixel_inside(np.floor(np.float32(j) * wide + first_x), width)
right = pixel_inside(np.ceil(np.float32(j + 1) * wide + first_x), width)
count = max(bottom - top, 0) * max(right - left, 0)"""
_AVERAGE_ELEMENT = """total = 0.0
channel = (c * rows + i) * columns + j
for h in range(top, bottom):
    for w in range(left, right):
        total += x[image + (channel * height + h) * width + w]
y[q] = total / count if count > 0 else 0.0"""

_POINTS = """whole_y, whole_x = np.float32(height - 1), np.float32(width - 1)
at_y = half * (begin_y + end_y) * whole_y
if rows > 1:
    at_y = np.float32(i) * ((end_y - begin_y) * whole_y / np.float32(rows - 1)) + begin_y * whole_y
    {last_y}
at_x = half * (begin_x + end_x) * whole_x
if columns > 1:
    at_x = np.float32(j) * ((end_x - begin_x) * whole_x / np.float32(columns - 1)) + begin_x * whole_x
    {last_x}
is_inside = 0 <= at_y <= whole_y and 0 <= at_x <= whole_x
top, left = (np.int64(np.floor(at_y)), np.int64(np.floor(at_x))) if is_inside else (0, 0)
bottom, right = (np.int64(np.ceil(at_y)), np.int64(np.ceil(at_x))) if is_inside else (0, 0)
down, across = at_y - np.float32(top), at_x - np.float32(left)"""
_INTERPOLATED = """p = image + {channel} * height * width
upper = x[p + top * width + left]
upper += (x[p + top * width + right] - upper) * across
lower = x[p + bottom * width + left]
lower += (x[p + bottom * width + right] - lower) * across
upper += (lower - upper) * down"""
_BILINEAR_HEAD = "begin_y, end_y, begin_x, end_x = top_end, bottom_end, left_end, right_end"
_BILINEAR_BIN = _POINTS.format(
    last_y="at_y = end_y * whole_y if i == rows - 1 else at_y",
    last_x="at_x = end_x * whole_x if j == columns - 1 else at_x",
)
_BILINEAR_ELEMENT = f"""{_INTERPOLATED.format(channel="c")}
y[q] = upper if is_inside else np.float32(0)"""

_PARTS_HEAD = """first_y, first_x = top_end * scale, left_end * scale
long = (bottom_end * scale - first_y) / np.float32(n[8])
wide = (right_end * scale - first_x) / np.float32(n[9])"""
_PARTS_ELEMENT = """total = 0.0
for k in range(n[8]):
    begin_y, end_y = first_y + np.float32(k) * long, first_y + np.float32(k + 1) * long
    for l in range(n[9]):
        begin_x, end_x = first_x + np.float32(l) * wide, first_x + np.float32(l + 1) * wide
        {points}
        if is_inside:
            {interpolated}
            total += upper
y[q] = total / (n[8] * n[9])""".format(
    points=_indented(_POINTS.format(last_y="pass", last_x="pass"), 8),
    interpolated=_indented(_INTERPOLATED.format(channel="((k * n[9] + l) * pooled + c)"), 12),
)

_FORMS = {
    (RoiPool, "max"): (_MAX_HEAD, _MAX_BIN, _MAX_ELEMENT),
    (RoiPool, "bilinear"): (_BILINEAR_HEAD, _BILINEAR_BIN, _BILINEAR_ELEMENT),
    (PsroiPool, "average"): (_AVERAGE_HEAD, _AVERAGE_BIN, _AVERAGE_ELEMENT),
    (PsroiPool, "bilinear"): (_PARTS_HEAD, "pass", _PARTS_ELEMENT),
}
"""How a kernel prepares a region, a bin, and computes an element of it."""


@lowers(RegionPool, needs=(is_plain, has_real_meaning))
def lower_region_pool(op: Op[RegionPool], target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if not isinstance(operator, (RoiPool, PsroiPool)):
        return None
    x, regions = (value.type for value in op.inputs)
    bins = operator.bins if isinstance(operator, PsroiPool) else (1, 1)
    head, bin, element = _FORMS[type(operator), operator.mode]
    source = _SOURCE.format(head=_indented(head, 8), bin=_indented(bin, 16), element=_indented(element, 20))
    numbers, floats = (*x.shape, *operator.pooled(x), FAR, *bins), (operator.spatial_scale,)
    return compile_kernel(op, source, target, units=regions.shape[0], integers=numbers, floats=floats)


_ALIGN_SOURCE = """def kernel(x, regions, images, y, n, f, scratch, begin, end):
    count, channels, height, width, rows, columns, ratio = n[0], n[1], n[2], n[3], n[4], n[5], n[6]
    scale, before, after = np.float32(f[0]), np.float32(f[1]), np.float32(f[2])
    half, one = np.float32(0.5), np.float32(1)
    for u in range(begin, end):
        image = images[u]
        if not 0 <= image < count:
            return 1
        first_x, first_y = (regions[u * 4] + before) * scale + after, (regions[u * 4 + 1] + before) * scale + after
        wide = (regions[u * 4 + 2] + before) * scale + after - first_x
        long = (regions[u * 4 + 3] + before) * scale + after - first_y
        if {is_long}:
            wide, long = larger(wide, one), larger(long, one)
        wide, long = wide / np.float32(columns), long / np.float32(rows)
        if ratio == 0 and not (wide <= n[7] and long <= n[7]):
            return 1
        down = ratio if ratio > 0 else np.int64(np.ceil(long)) if long > 0 else 0
        across = ratio if ratio > 0 else np.int64(np.ceil(wide)) if wide > 0 else 0
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    scratch[c] = {initial} if down * across > 0 else 0.0
                for k in range(down):
                    at_y = (np.float32(k) + half) * long / np.float32(down)
                    at_y = first_y + np.float32(i) * long + at_y
                    for l in range(across):
                        at_x = (np.float32(l) + half) * wide / np.float32(across)
                        at_x = first_x + np.float32(j) * wide + at_x
                        if not (-1 <= at_y <= height and -1 <= at_x <= width):
                            v0, v1, v2, v3 = 0.0, 0.0, 0.0, 0.0
                            for c in range(channels):
                                a = scratch[c]
                                scratch[c] = {step}
                            continue
                        top, left = np.int64(max(at_y, 0.0)), np.int64(max(at_x, 0.0))
                        below, beyond = max(at_y, 0.0) - np.float32(top), max(at_x, 0.0) - np.float32(left)
                        bottom, right = top + 1, left + 1
                        if top >= height - 1:
                            top, bottom, below = height - 1, height - 1, 0.0
                        if left >= width - 1:
                            left, right, beyond = width - 1, width - 1, 0.0
                        w0, w1 = (1 - below) * (1 - beyond), (1 - below) * beyond
                        w2, w3 = below * (1 - beyond), below * beyond
                        for c in range(channels):
                            p = (np.int64(image) * channels + c) * height * width
                            v0 = np.float64(x[p + top * width + left]) * w0
                            v1 = np.float64(x[p + top * width + right]) * w1
                            v2 = np.float64(x[p + bottom * width + left]) * w2
                            v3 = np.float64(x[p + bottom * width + right]) * w3
                            a = scratch[c]
                            scratch[c] = {step}
                for c in range(channels):
                    a = scratch[c]
                    y[((u * channels + c) * rows + i) * columns + j] = {finish}
    return 0
"""
_ALIGN_STEPS = {
    "avg": ("0.0", "a + (v0 + v1 + v2 + v3)", "a / max(down * across, 1)"),
    "max": ("-np.inf", "larger(a, larger(larger(v0, v1), larger(v2, v3)))", "a"),
    "max_interpolated": ("0.0", "larger(a, v0 + v1 + v2 + v3)", "a"),
}


@lowers(RoiAlign, needs=(is_plain, has_real_meaning))
def lower_roi_align(op: Op[RoiAlign], target: TargetDescription) -> Kernel:
    operator = op.operator
    x, regions, _ = (value.type for value in op.inputs)
    initial, step, finish = _ALIGN_STEPS[operator.mode]
    source = _ALIGN_SOURCE.format(is_long=operator.alignment == "asymmetric", initial=initial, step=step, finish=finish)
    numbers = (*x.shape, *operator.size, operator.sampling_ratio, SAMPLES)
    floats = (operator.spatial_scale, *OFFSETS[operator.alignment])
    scratch = DType.F64, x.shape[1]
    return compile_kernel(op, source, target, units=regions.shape[0], integers=numbers, floats=floats, scratch=scratch)
