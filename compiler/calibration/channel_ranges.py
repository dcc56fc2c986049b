"""The ranges of the channels of a value, each by the error that rounding to integers makes of it."""

from collections.abc import Callable
from functools import partial

import numpy as np

from .ranges import Function, made_by

BINS = 512
"""Bins of a channel. They tell what cutting off changes; what rounding changes follows from the width of a step."""

SHARES = np.concatenate([[0.0], np.geomspace(1 / 256, 1.0, 49)])
"""Of the extremes of a channel: ends that are tried."""

LEVELS = 255
"""Steps of the range that all channels share."""


class ChannelHistogram:
    """Counts of the numbers of each channel, over equal bins from minus to plus a limit of its own, a power of two.
    ``low``, ``high``: the smallest and largest number of each channel, and 0."""

    def __init__(self, channels: int) -> None:
        self.low = np.zeros(channels, np.float32)
        self.high = np.zeros(channels, np.float32)
        self._limits = np.full(channels, 2.0**-100)
        self._counts = np.zeros((channels, BINS), np.int64)

    def observe(self, values: np.ndarray) -> None:
        """Take in numbers, [channels, any]."""
        channels = len(values)
        np.minimum(self.low, values.min(1, initial=0), out=self.low)
        np.maximum(self.high, values.max(1, initial=0), out=self.high)
        reach = np.maximum(np.maximum(-self.low, self.high), 2.0**-100).astype(np.float64)
        limits = np.maximum(self._limits, 2.0 ** np.ceil(np.log2(reach)))
        self._widen(np.rint(np.log2(limits / self._limits)).astype(np.int64))
        self._limits = limits
        bins = np.floor(values * (BINS / 2 / limits)[:, None].astype(np.float32)).astype(np.int64) + BINS // 2
        bins = np.minimum(bins, BINS - 1) + BINS * np.arange(channels)[:, None]
        self._counts += np.bincount(bins.ravel(), minlength=self._counts.size).reshape(self._counts.shape)

    def _widen(self, doublings: np.ndarray) -> None:
        """Have the bins of each channel be as many times twice as wide."""
        at = np.arange(BINS) - BINS // 2
        for channel in doublings.nonzero()[0]:
            into = (at >> min(int(doublings[channel]), 30)) + BINS // 2
            self._counts[channel] = np.bincount(into, self._counts[channel], BINS).astype(np.int64)

    def ranges(self, function: Function | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The ends by which rounding the channel to 8 bits for itself changes it least, two float64[channels].
        ``function``: what is made of the numbers, whose changes then count."""
        centres = (np.arange(BINS) + 0.5 - BINS / 2) / (BINS / 2) * self._limits[:, None]
        centres = np.clip(centres, self.low[:, None], self.high[:, None])
        of = partial(made_by, function)
        slope = np.gradient(of(centres), axis=1) / np.maximum(np.gradient(centres, axis=1), 1e-30)
        steep = np.square(np.where(np.isfinite(slope), slope, 0.0)) if function is not None else np.ones_like(centres)
        weights = self._counts / np.maximum(self._counts.sum(1, keepdims=True), 1)
        rounding = (weights * steep).sum(1) / (12 * LEVELS**2)
        ends = [end[:, None].astype(np.float64) * SHARES for end in (self.low, self.high)]
        cut = [self._cut(centres, weights, each, of, side) for each, side in zip(ends, (-1, 1), strict=True)]
        widths = ends[1][:, None, :] - ends[0][:, :, None]
        errors = cut[0][:, :, None] + cut[1][:, None, :] + np.square(widths) * rounding[:, None, None]
        low, high = np.divmod(errors.reshape(len(errors), -1).argmin(1), len(SHARES))
        rows = np.arange(len(errors))
        return ends[0][rows, low], ends[1][rows, high]

    @staticmethod
    def _cut(
        centres: np.ndarray, weights: np.ndarray, ends: np.ndarray, of: Callable[[np.ndarray], np.ndarray], side: int
    ) -> np.ndarray:
        """The mean square of what changes where numbers beyond each end become that end."""
        exact, found = of(centres), np.empty(ends.shape)
        for index, end in enumerate(ends.T):
            beyond = (centres - end[:, None]) * side > 0
            found[:, index] = (weights * np.square(np.where(beyond, exact - of(end)[:, None], 0.0))).sum(1)
        return found
