"""Value ranges of layers, as calibration tools of 2018 and 2019 kept them with a network."""

from __future__ import annotations

from collections.abc import Iterable


class LayerStats:
    """The range of what a layer gives.

    Args:
        min: the smallest value of each channel.
        max: the largest value of each channel.
    """

    def __init__(self, min: Iterable[float] = (), max: Iterable[float] = ()) -> None:
        self._min, self._max = tuple(min), tuple(max)

    @property
    def min(self) -> tuple[float, ...]:
        """The smallest value of each channel."""
        return self._min

    @property
    def max(self) -> tuple[float, ...]:
        """The largest value of each channel."""
        return self._max

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LayerStats) and (self.min, self.max) == (other.min, other.max)

    def __hash__(self) -> int:
        return hash((self._min, self._max))

    def __repr__(self) -> str:
        return f"LayerStats(min={self.min}, max={self.max})"


class LayersStatsMap(dict[str, LayerStats]):
    """Ranges by the names of layers. They are kept, and mean nothing to what is computed."""
