"""Priors: the boxes of a cell are a table, made when compiling; a work item is a row of cells."""

from __future__ import annotations

import numpy as np

from .....ir.core import Op
from .....ir.ops.detection.priors import Priors
from .....ir.types import DType
from ...kernel import Kernel, lowers
from ...llvm.target import TargetDescription
from ...tensors import is_plain
from ..generation.function import compile_kernel


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
