"""Scales of pictures: numbers to pixels."""

import math
from collections.abc import Sequence

_FAR = 10
"""From which ratio on a scale is logarithmic."""


class Scale:
    """Numbers to pixels, and the numbers that a grid shows: round ones, or round multiples of the unit."""

    def __init__(self, numbers: Sequence[float], first: float, last: float, unit: float = 1) -> None:
        self._unit = unit
        low, high = min(numbers) / unit, max(numbers) / unit
        self._is_logarithmic = low > 0 and high > _FAR * low
        if self._is_logarithmic:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            every = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
            begin, end = max(each for each in every if each <= low), min(each for each in every if each >= high)
            ticks = [each for each in every if begin <= each <= end]
        else:
            power = 10.0 ** math.floor(math.log10(high)) if high else 1.0
            step = next(each * power for each in (0.2, 0.5, 1, 2) if high <= 6 * each * power)
            begin, end = 0.0, max(math.ceil(high / step), 1) * step
            ticks = [step * count for count in range(round(end / step) + 1)]
        self.ticks = [each * unit for each in ticks]
        self._begin, self._end, self._first, self._last = self._place(begin), self._place(end), first, last

    def _place(self, number: float) -> float:
        return math.log10(number) if self._is_logarithmic else number

    def __call__(self, number: float) -> float:
        share = (self._place(number / self._unit) - self._begin) / (self._end - self._begin)
        return self._first + share * (self._last - self._first)
