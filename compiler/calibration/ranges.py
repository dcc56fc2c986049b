"""Ranges of values: of what is seen of them, in memory that does not grow with it, or of a file."""

import math
import os
from collections.abc import Callable, Collection
from functools import cache

import numpy as np

from tilewright.errors import InputError, UsageError

from ...ir.types import DType
from ...passes.quantization.parameters import Range, scale_and_zero_point
from ..quantization.encodings import read_encodings

Function = Callable[[np.ndarray], np.ndarray]
"""Of each number of an array for itself."""

BINS = 8192
"""Bins of a histogram. 256 levels over a one-sided range meet at least 8 bins each."""


PART = 1 << 16
"""Values that are counted together, in the processor's caches."""


class MinMax:
    """The range from the smallest to the largest value of a tensor."""

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf

    def observe(self, values: np.ndarray) -> None:
        """Take in more values, finite ones of any shape."""
        if values.size:
            self._extend(float(values.min()), float(values.max()))

    def _extend(self, low: float, high: float) -> None:
        """Take in the smallest and the largest of some values."""
        self.low, self.high = min(self.low, low), max(self.high, high)

    def include(self, other: "MinMax") -> None:
        """Take in what statistics of the same kind have seen, as if it were seen here, and use them up."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def range(self) -> Range:
        """The range to quantise; (0, 0) before any value was seen."""
        return (self.low, self.high) if self.low <= self.high else (0.0, 0.0)


class Histogram(MinMax):
    """Counts too, over equal bins from ``-limit`` to ``limit``; the limit, a power of two, doubles as values demand.

    Counts depend on what was seen alone, not on its order: a value's bin follows from the limit in exact arithmetic,
    and what is at the limit itself has one of its own, which stays right when the limit doubles.
    ``counts``: int64[BINS + 1].
    ``limit``: the least power of two that no value is beyond; 0 while only zeros were seen, which ``zeros`` counts."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = np.zeros(BINS + 1, np.int64)
        self.limit = 0.0
        self.zeros = 0

    def observe(self, values: np.ndarray) -> None:
        if not values.size:
            return
        super().observe(values)
        largest = max(-self.low, self.high)
        if largest == 0:
            self.zeros += values.size
            return
        self._reach(largest)
        # Times a power of two of at least 1 float32 is exact, too, but where that would leave its range. Less than 1
        # would make zeros of the least numbers.
        is_exact = values.dtype == np.float32 and 2.0**-100 < self.limit <= BINS / 2
        exact = np.float32 if is_exact else np.float64
        flat, by = values.ravel(), exact(BINS / 2 / self.limit)
        for first in range(0, flat.size, PART):
            scaled = flat[first : first + PART] * by
            index = np.floor(scaled, out=scaled).astype(np.int64) + BINS // 2
            self.counts += np.bincount(index, minlength=BINS + 1)

    def include(self, other: MinMax) -> None:
        assert isinstance(other, Histogram)
        super().include(other)
        largest = max(-self.low, self.high)
        if largest > 0:
            self._reach(largest)
            other._reach(largest)
        self.counts += other.counts
        self.zeros += other.zeros

    def _reach(self, largest: float) -> None:
        """Have the limit be that of a larger value, more than 0."""
        if self.limit == 0:
            self.limit = 2.0 ** math.ceil(math.log2(largest))
            self.counts[BINS // 2] += self.zeros
            self.zeros = 0
        while largest > self.limit:
            halves = self.counts[:BINS].reshape(-1, 2).sum(1)
            counts = np.zeros(BINS + 1, np.int64)
            counts[BINS // 4 : BINS // 4 + BINS // 2] = halves
            counts[BINS // 4 + BINS // 2] = self.counts[BINS]
            self.counts = counts
            self.limit *= 2

    def in_bins(self) -> np.ndarray:
        """The counts, int64[BINS], with what is at the limit in the last one."""
        counts = self.counts[:BINS].copy()
        counts[-1] += self.counts[BINS]
        return counts


class Percentile(Histogram):
    """The narrowest range outside of which at most a given share of the values lies on either side.
    ``percentile``: in (50, 100]; 99.99 leaves out one value of 10,000 at either end."""

    def __init__(self, percentile: float = 99.99) -> None:
        if not 50 < percentile <= 100:
            raise UsageError("a percentile lies between 50 and 100", found=percentile)
        super().__init__()
        self.percentile = percentile

    def range(self) -> Range:
        low, high = super().range()
        counts = self.in_bins()
        total = int(counts.sum())
        if total == 0:
            return low, high
        outside = total * (1 - self.percentile / 100)
        width = 2 * self.limit / BINS
        below = np.cumsum(counts)
        first = int(np.searchsorted(below, outside, side="right"))
        above = np.cumsum(counts[::-1])
        last = BINS - 1 - int(np.searchsorted(above, outside, side="right"))
        return max(low, (first - BINS / 2) * width), min(high, (last + 1 - BINS / 2) * width)


class MeanSquaredError(Histogram):
    """The range whose quantisation to 8 bits changes the values least in the mean square.

    Both ends are narrowed from the extremes, in turn, as long as the error falls.
    ``function``: all that is made of the values, if it is one function: what it makes is to change least. Functions
    that are flat beyond some number need no integers for what lies there.

    An end that is not narrowed is moved out where samples have few numbers, of which each has the largest by chance:
    as far as what others are expected to have beyond it costs more than wider steps do.
    ``lows``, ``highs``: the smallest and the largest number of each sample."""

    STEPS = np.linspace(1.0, 0.2, 81)
    SMALL = np.geomspace(0.2, 0.005, 60)
    ROUNDS = 3

    def __init__(self, function: Function | None = None) -> None:
        super().__init__()
        self.function = function
        self.lows: list[float] = []
        self.highs: list[float] = []

    def _extend(self, low: float, high: float) -> None:
        super()._extend(low, high)
        self.lows.append(low)
        self.highs.append(high)

    def include(self, other: MinMax) -> None:
        super().include(other)
        assert isinstance(other, MeanSquaredError)
        self.lows += other.lows
        self.highs += other.highs

    def range(self) -> Range:
        low, high = super().range()
        counts = self.in_bins()
        seen = counts.nonzero()[0]
        if not seen.size:
            return low, high
        # The values of the outermost bins are known better than by their centres.
        centres = np.clip((seen + 0.5 - BINS / 2) * (2 * self.limit / BINS), low, high)
        weights = counts[seen] / counts.sum()
        best = (min(low, 0.0), max(high, 0.0))
        steps = self.STEPS if self.function is None else (*self.STEPS, *self.SMALL)
        exact = made_by(self.function, centres)
        # Rounds try many a pair again.
        error_of = cache(lambda range: _squared_error(centres, exact, weights, range, self.function))
        for _ in range(self.ROUNDS):
            before = best
            for side, end in enumerate((low, high)):
                if end * (1 if side else -1) > 0:
                    ends = [end * float(step) for step in steps]
                    best = min([best, *((best[0], each) if side else (each, best[1]) for each in ends)], key=error_of)
            if best == before:
                break
        if self.function is not None or len(self.highs) < SEVERAL:
            return best
        width, numbers = best[1] - best[0], float(counts.sum()) / len(self.highs)
        below, above = (
            _expected(np.array(each), width, numbers) for each in ([-each for each in self.lows], self.highs)
        )
        return -below if best[0] == low < 0 else best[0], above if best[1] == high > 0 else best[1]


SEVERAL = 16
"""Samples whose largest numbers tell what others have."""

TAIL, HEAVIER = 4, 4
"""One in so many of the largest numbers tells how they go on, exponentially; by that so many times too many are far out
for most values."""


def _expected(largest: np.ndarray, width: float, numbers: float) -> float:
    """How far a range of 8 bits so wide is to reach: James Pickands, "Statistical Inference Using Extreme Order
    Statistics", 1975. ``largest``: the largest number of each sample; ``numbers``: how many a sample has."""
    most, count = float(largest.max()), -(-len(largest) // TAIL)
    tail = np.sort(largest)[-count:]
    excess = float((tail - tail[0]).mean(dtype=np.float64))
    # What several samples end with is a bound, such as that of pixels.
    if np.count_nonzero(largest == most) > 1 or not excess > 0:
        return most
    # Farther out what is still cut off, squared, changes by less than the noise of wider steps.
    odds = count / len(largest) * 12 * (2**BITS - 1) ** 2 * excess / (numbers * width) / HEAVIER
    return max(most, float(tail[0]) + excess * math.log(odds))


def made_by(function: Function | None, values: np.ndarray) -> np.ndarray:
    """What a function makes of numbers, which are taken in single precision; themselves where there is none."""
    return values if function is None else np.asarray(function(values.astype(np.float32)), np.float64)


def _squared_error(
    values: np.ndarray, exact: np.ndarray, weights: np.ndarray, range: Range, function: Function | None
) -> float:
    scale, zero = scale_and_zero_point(range, DType.U8)
    steps = values / scale
    np.rint(steps, steps).clip(-zero, 2**BITS - 1 - zero, steps)
    if function is None:
        steps *= scale
    else:
        steps = made_by(function, (np.arange(2**BITS) - zero) * scale)[(steps + zero).astype(np.intp)]
    steps -= exact
    return float(weights @ np.square(steps, steps))


METHODS: dict[str, Callable[[float, Function | None], MinMax]] = {
    "minmax": lambda *_: MinMax(),
    "percentile": lambda percentile, _: Percentile(percentile),
    "mse": lambda _, function: MeanSquaredError(function),
}
"""Makers of statistics by name of the method; they are given the percentile and what is made of the values."""


def make_statistics(method: str, percentile: float = 99.99, function: Function | None = None) -> MinMax:
    """Empty statistics of a method."""
    return METHODS[method](percentile, function)


BITS = 8
"""Of the integers that networks are quantised to."""


def encoded_ranges(path: str | os.PathLike[str], names: Collection[str]) -> dict[str, Range]:
    """The ranges of those of ``names`` that an ``.encodings`` file gives 8 bits and one scale; quantising by them gives
    the same scale and zero point again.
    Raises InputError: the file cannot be read, is none, or is for other tensors; names file, tensor and field."""
    found: dict[str, Range] = {}
    given = read_encodings(path).activations
    if given and names and not any(name in names for name in given):
        raise InputError(
            f"{os.fspath(path)!r}: no encoding is for a tensor that is quantised",
            stage="calibration",
            expected=", ".join(map(repr, [*names][:5])),
            found=", ".join(repr(str(name)) for name in [*given][:5]),
            hint="Give the encodings that belong to this model.",
        )
    for name, encoding in given.items():
        if name not in names or not isinstance(name, str) or encoding.bits != BITS:
            continue
        if encoding.scale is not None and encoding.offset is not None and encoding.scale.ndim == 0:
            scale, lowest = encoding.scale.item(), encoding.offset.item()
            found[name] = (scale * lowest, scale * (lowest + 2**BITS - 1))
    return found
