"""The last layers of YOLO networks, and priors, whose boxes of a cell are a table; both on row-major tensors."""

import math

import numpy as np

from .....ir.core import Op
from .....ir.ops.detection.priors import Priors
from .....ir.ops.detection.yolo import RegionYolo
from .....ir.types import DType
from ...kernel import Kernel, lowers
from ...llvm.target import TargetDescription
from ...tensors import has_real_meaning, is_plain
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


def _priors(y, n, f, scratch, begin, end):
    height, width, count, clip = n[0], n[1], n[2], n[3]
    step_y, step_x, offset = np.float32(f[0]), np.float32(f[1]), np.float32(f[2])
    pixels_y, pixels_x = np.float32(f[3]), np.float32(f[4])
    zero, one = np.float32(0), np.float32(1)
    for h in range(begin, end):
        for w in range(width):
            centre_x, centre_y = (np.float32(w) + offset) * step_x, (np.float32(h) + offset) * step_y
            for k in range(count):
                t, q = 9 + 4 * k, ((h * width + w) * count + k) * 4
                x, y_ = centre_x + np.float32(f[t]), centre_y + np.float32(f[t + 1])
                half_x, half_y = np.float32(f[t + 2]), np.float32(f[t + 3])
                left, top = (x - half_x) / pixels_x, (y_ - half_y) / pixels_y
                right, bottom = (x + half_x) / pixels_x, (y_ + half_y) / pixels_y
                if clip or n[4 + k]:
                    left, top, right, bottom = max(left, zero), max(top, zero), min(right, one), min(bottom, one)
                if clip:
                    left, top, right, bottom = min(left, one), min(top, one), max(right, zero), max(bottom, zero)
                y[q] = left
                y[q + 1] = top
                y[q + 2] = right
                y[q + 3] = bottom
                for v in range(4):
                    y[height * width * count * 4 + q + v] = f[5 + v]
    return 0


@lowers(Priors, needs=(is_plain,))
def lower_priors(op: Op[Priors], target: TargetDescription) -> Kernel:
    operator = op.operator
    shapes = operator.shapes()
    integers = (*operator.grid, len(shapes), operator.clip, *(shape.is_cut for shape in shapes))
    boxes = [number for shape in shapes for number in shape[:4]]
    floats = (*operator.spacing(), *operator.image, *operator.variances(), *boxes)
    return compile_kernel(
        op, _priors, target, dtypes=(DType.F32,), units=operator.grid[0], integers=integers, floats=floats
    )
