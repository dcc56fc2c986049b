"""The last layers of YOLO networks, on row-major tensors."""

from __future__ import annotations

import math

import numpy as np

from .....ir.core import Op
from .....ir.ops.detection.yolo import RegionYolo, ReorgYolo
from ...kernel import Kernel, lowers
from ...llvm.target import TargetDescription
from ...tensors import bits, has_real_meaning, is_movement, is_plain
from ..generation.function import compile_kernel
from ..generation.scalar_functions import larger


def _region(x, y, n, f, scratch, begin, end):
    coords, classes, area, do_softmax = n[0], n[1], n[2], n[3]
    channels = coords + 1 + classes
    one = np.float32(1)
    for u in range(begin, end):
        p = u * channels * area
        for k in range(channels):
            is_probability = k < 2 or k == coords or (k > coords and not do_softmax)
            for i in range(p + k * area, p + (k + 1) * area):
                y[i] = one / (one + math.exp(-x[i])) if is_probability else x[i]
        if do_softmax:
            p += (coords + 1) * area
            for i in range(p, p + area):
                largest = x[i]
                for k in range(classes):
                    largest = larger(largest, x[i + k * area])
                total = np.float32(0)
                for k in range(classes):
                    y[i + k * area] = math.exp(x[i + k * area] - largest)
                    total += y[i + k * area]
                for k in range(classes):
                    y[i + k * area] /= total
    return 0


@lowers(RegionYolo, needs=(is_plain, has_real_meaning))
def lower_region_yolo(op: Op[RegionYolo], target: TargetDescription) -> Kernel:
    operator = op.operator
    batch, _, height, width = op.inputs[0].type.shape
    integers = operator.coords, operator.classes, height * width, operator.do_softmax
    units = batch * operator.regions
    return compile_kernel(op, _region, target, units=units, integers=integers)


def _reorg(x, y, n, f, scratch, begin, end):
    stride, channels, height, width = n[0], n[1], n[2], n[3]
    inner = channels // (stride * stride)
    for u in range(begin, end):
        image, channel = u // channels, u % channels
        c, place = channel % inner, channel // inner
        for h in range(height):
            row = ((image * inner + c) * height + h) * stride + place // stride
            for w in range(width):
                y[(u * height + h) * width + w] = x[(row * width + w) * stride + place % stride]
    return 0


@lowers(ReorgYolo, needs=(is_plain, is_movement))
def lower_reorg_yolo(op: Op[ReorgYolo], target: TargetDescription) -> Kernel:
    batch, channels, height, width = op.inputs[0].type.shape
    dtype = bits(op.inputs[0].type.dtype)
    integers = op.operator.stride, channels, height, width
    return compile_kernel(op, _reorg, target, dtypes=(dtype, dtype), units=batch * channels, integers=integers)
