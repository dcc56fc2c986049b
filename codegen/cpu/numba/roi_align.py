"""RoiAlign on row-major tensors; a work item is a region."""

from __future__ import annotations

from tilewright.limits import SAMPLES

from ....ir.core import Op
from ....ir.ops.roi_align import OFFSETS, RoiAlign
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..registry import lowers
from ..tensors import dtypes_of, has_real_meaning, is_plain
from .function import compile_kernel, python_function

_SOURCE = """def kernel(x, regions, images, y, n, f, scratch, begin, end):
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
        for c in range(channels):
            p = (np.int64(image) * channels + c) * height * width
            for i in range(rows):
                for j in range(columns):
                    a = {initial} if down * across > 0 else 0.0
                    for k in range(down):
                        at_y = (np.float32(k) + half) * long / np.float32(down)
                        at_y = first_y + np.float32(i) * long + at_y
                        for l in range(across):
                            at_x = (np.float32(l) + half) * wide / np.float32(across)
                            at_x = first_x + np.float32(j) * wide + at_x
                            if not (-1 <= at_y <= height and -1 <= at_x <= width):
                                v0, v1, v2, v3 = 0.0, 0.0, 0.0, 0.0
                            else:
                                top, left = np.int64(max(at_y, 0.0)), np.int64(max(at_x, 0.0))
                                below, beyond = max(at_y, 0.0) - np.float32(top), max(at_x, 0.0) - np.float32(left)
                                bottom, right = top + 1, left + 1
                                if top >= height - 1:
                                    top, bottom, below = height - 1, height - 1, 0.0
                                if left >= width - 1:
                                    left, right, beyond = width - 1, width - 1, 0.0
                                v0 = np.float64(x[p + top * width + left]) * ((1 - below) * (1 - beyond))
                                v1 = np.float64(x[p + top * width + right]) * ((1 - below) * beyond)
                                v2 = np.float64(x[p + bottom * width + left]) * (below * (1 - beyond))
                                v3 = np.float64(x[p + bottom * width + right]) * (below * beyond)
                            a = {step}
                    y[((u * channels + c) * rows + i) * columns + j] = {finish}
    return 0
"""
_STEPS = {
    "avg": ("0.0", "a + (v0 + v1 + v2 + v3)", "a / max(down * across, 1)"),
    "max": ("-np.inf", "larger(a, larger(larger(v0, v1), larger(v2, v3)))", "a"),
    "max_interpolated": ("0.0", "larger(a, v0 + v1 + v2 + v3)", "a"),
}


@lowers(RoiAlign)
def lower_roi_align(op: Op[RoiAlign], target: TargetDescription) -> Kernel | None:
    operator = op.operator
    if not (is_plain(op) and has_real_meaning(op)):
        return None
    x, regions, _ = (value.type for value in op.inputs)
    initial, step, finish = _STEPS[operator.mode]
    source = _SOURCE.format(is_long=operator.alignment == "asymmetric", initial=initial, step=step, finish=finish)
    return compile_kernel(
        "roi_align",
        python_function(source),
        dtypes_of(op),
        target,
        units=regions.shape[0],
        integers=(*x.shape, *operator.size, operator.sampling_ratio, SAMPLES),
        floats=(operator.spatial_scale, *OFFSETS[operator.alignment]),
    )
