"""Scales and zero points for known ranges of values."""

from __future__ import annotations

import math

import numpy as np

from ...ir.types import DType, Quantization

Range = tuple[float, float]
"""Smallest and largest real value of a tensor."""

SMALLEST_SCALE = 2.0**-100
"""Scales are kept above this, so that products and quotients of two of them stay normal float32 numbers."""


def affine_parameters(range: Range, dtype: DType) -> Quantization:
    """Scale and zero point per tensor with which the integers of ``dtype`` cover ``range``.

    The range is widened to contain zero, which is represented exactly: padding and ReLU need it. A range of no
    width, such as that of a tensor that is always zero, gets the scale 1.

    Args:
        range: finite numbers, the smaller one first.
        dtype: ``i8``, ``u8`` or another integer type.
    """
    low, high = min(range[0], 0.0), max(range[1], 0.0)
    limits = np.iinfo(dtype.numpy)
    scale = float(np.float32((high - low) / (limits.max - limits.min)))
    if not scale > SMALLEST_SCALE or not math.isfinite(scale):
        return Quantization.per_tensor(1.0 if scale <= SMALLEST_SCALE else float(np.finfo(np.float32).max))
    zero_point = round(limits.min - low / scale)
    return Quantization.per_tensor(scale, min(max(zero_point, limits.min), limits.max))
