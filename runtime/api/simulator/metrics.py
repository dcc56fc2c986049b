"""How far the arrays of two networks lie apart.

A metric is a formula over sums that one pass through both arrays gathers (`Sums`), so that there is one formula for
each, wherever the sums were made. The first array is the reference *r*, the second is compared with it: *t*. Both are
taken as float64.

- ``snr``: 10 log10(Σr² / Σ(r-t)²), in dB; inf where the arrays are equal, -inf where the reference alone is all zeros
- ``psnr``: 10 log10(max|r|² / mean (r-t)²), in dB; inf and -inf as for ``snr``
- ``cosine``: Σrt / √(Σr² Σt²), 1 for the same direction; 1 where both are all zeros, 0 where one is
- ``rmse``: √(mean (r-t)²)
- ``mse``: mean (r-t)²
- ``mae``: mean |r-t|
- ``max_abs``: max |r-t|

The first three pass where they are at least the threshold, the others where they are at most the threshold. Arrays
without elements are equal, and so are infinities of the same sign, such as masks of attention hold. Where arrays that
differ hold an infinity, or any a NaN, every metric is NaN, and NaN passes no threshold.
"""

import math
from collections.abc import Callable

import numpy as np

from tilewright.immutable import Immutable

_PIECE = 1 << 13
"""Elements taken at a time: they stay in a cache, and are too few for a BLAS to wake threads, which takes it longer."""


class Sums(Immutable):
    """What the metrics need to know of a pair of arrays.

    Attributes:
        count: elements of each.
        reference: Σr².
        test: Σt².
        product: Σrt.
        squared: Σ(r-t)².
        absolute: Σ|r-t|.
        largest: max |r-t|.
        peak: max |r|.
    """

    count: int
    reference: float = 0.0
    test: float = 0.0
    product: float = 0.0
    squared: float = 0.0
    absolute: float = 0.0
    largest: float = 0.0
    peak: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        """The sums of two pairs of arrays together."""
        pairs = {name: (mine, vars(other)[name]) for name, mine in vars(self).items()}
        return Sums(**{name: max(pair) if name in ("largest", "peak") else sum(pair) for name, pair in pairs.items()})

    @property
    def is_finite(self) -> bool:
        """Whether both arrays are finite, and their squares too."""
        return math.isfinite(self.reference + self.test + self.squared)


SumsOf = Callable[[np.ndarray, np.ndarray], Sums]
"""Gathers the sums of two arrays of as many elements, of real numbers."""


def sums(reference: np.ndarray, test: np.ndarray) -> Sums:
    """The sums of two arrays, gathered on the CPU in memory that does not grow with them."""
    r, t = reference.reshape(-1), test.reshape(-1)
    found = np.zeros(7)
    with np.errstate(all="ignore"):
        for start in range(0, r.size, _PIECE):
            a = r[start : start + _PIECE].astype(np.float64)
            b = t[start : start + _PIECE].astype(np.float64)
            d = np.abs(a - b)
            d[a == b] = 0  # Infinities, too.
            found[:5] += (a @ a, b @ b, a @ b, d @ d, d.sum())
            found[5:] = np.maximum(found[5:], (d.max(), np.abs(a).max()))
    return Sums(r.size, *found.tolist())


class Metric(Immutable):
    """A metric.

    Attributes:
        formula: its value for finite arrays of which an element differs.
        of_equals: its value for equal arrays.
        higher_passes: whether it passes from the threshold upwards, and not downwards.
        unit: of its value and of the threshold; empty where it has none, or that of the arrays.
    """

    formula: Callable[[Sums], float]
    of_equals: float
    higher_passes: bool = False
    unit: str = ""

    def value(self, sums: Sums) -> float:
        """The value for arrays with these sums."""
        if sums.largest == sums.absolute == 0:
            return self.of_equals
        return self.formula(sums) if sums.is_finite else math.nan

    def passes(self, value: float, threshold: float) -> bool:
        """Whether a value passes a threshold; NaN passes none."""
        return value >= threshold if self.higher_passes else value <= threshold


def _decibels(signal: float, noise: float) -> float:
    if not signal or not noise:  # Of differences that are not zero, squares may be.
        return math.inf if signal else -math.inf
    return 10 * (math.log10(signal) - math.log10(noise))


def _cosine(sums: Sums) -> float:
    norm = math.sqrt(sums.reference) * math.sqrt(sums.test)
    return min(max(sums.product / norm, -1.0), 1.0) if norm else 0.0


METRICS = {
    "snr": Metric(lambda sums: _decibels(sums.reference, sums.squared), math.inf, True, "dB"),
    "psnr": Metric(lambda sums: _decibels(sums.peak**2, sums.squared / sums.count), math.inf, True, "dB"),
    "cosine": Metric(_cosine, 1.0, True),
    "rmse": Metric(lambda sums: math.sqrt(sums.squared / sums.count), 0.0),
    "mse": Metric(lambda sums: sums.squared / sums.count, 0.0),
    "mae": Metric(lambda sums: sums.absolute / sums.count, 0.0),
    "max_abs": Metric(lambda sums: sums.largest, 0.0),
}
"""The metrics by name."""

_THRESHOLDS = {"snr": 30.0}


def metric_name(text: str) -> str | None:
    """The metric that a user means, in letters of either case and with ``-`` or ``_``; None if there is none."""
    name = text.strip().lower().replace("-", "_")
    return name if name in METRICS else None


def default_threshold(metric: str | None) -> float:
    """The threshold where none is given; NaN for a metric that has none."""
    return _THRESHOLDS.get(metric or "", math.nan)
