"""Ranges by the error of the layers that read a value, instead of by that of the value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.types import DType, Quantization
from ...passes.quantization.parameters import Range, affine_parameters
from ..calibration.windows import Product, rows_of_weights, windows
from .round_weights import integers

FACTORS = (1.0, 0.7, 0.78, 0.86, 0.93, 1.08, 1.17, 1.3, 1.5)
"""Of a range, tried."""

PLACES = 16
"""Windows of each sample."""

LEAST_GAIN = 0.01
"""Of the error, for a range to change."""


class RangeSearch:
    """The errors that factors of a range make in the results of a layer, apart for even samples and odd ones."""

    def __init__(self, op: Product, weights: np.ndarray, range: Range) -> None:
        self._op = op
        self._rows = rows_of_weights(op, weights).astype(np.float32).transpose(0, 2, 1)
        self._quantizations = [_scaled(range, factor) for factor in FACTORS]
        self._errors = np.zeros((2, len(FACTORS)))
        self._signal = np.zeros((2, 1))

    def observe(self, x: np.ndarray, index: int) -> None:
        """Take in the operand of sample ``index``."""
        found = windows(self._op, x, index, PLACES).transpose(1, 0, 2)
        half = index % 2
        self._signal[half] += float(np.square(found @ self._rows, dtype=np.float64).sum())
        for at, quant in enumerate(self._quantizations):
            rounded = (integers(found, quant) * quant.scale[0]).astype(np.float32)
            self._errors[half, at] += float(np.square((rounded - found) @ self._rows, dtype=np.float64).sum())

    @property
    def errors(self) -> np.ndarray:
        """Noise over signal for each half of the samples and each factor."""
        return self._errors / np.maximum(self._signal, 1e-30)


def best_range(range: Range, readers: Sequence[RangeSearch]) -> Range:
    """The range with which the layers err least, if both halves of the samples say so; else as it is."""
    errors = np.sum([each.errors for each in readers], axis=0)
    best = int(errors.sum(0).argmin())
    is_better = bool((errors[:, best] < errors[:, 0] * (1 - LEAST_GAIN)).all())
    return (range[0] * FACTORS[best], range[1] * FACTORS[best]) if is_better else range


def _scaled(range: Range, factor: float) -> Quantization:
    return affine_parameters((range[0] * factor, range[1] * factor), DType.I8)
