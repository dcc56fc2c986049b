"""The DRAM in modelled time: who asks for it when it is busy gets what is left."""

from __future__ import annotations

_SLOT = 128
"""Cycles in which its work is counted together."""


class DramTimeline:
    """How busy the DRAM is from cycle 0 on. Requests may come in any order, those of later times first."""

    def __init__(self) -> None:
        self._busy: list[float] = [0.0] * 1024
        self._full = 0

    def serve(self, asked: float, cycles: float, *, take: bool = True) -> float:
        """When the DRAM has worked so many cycles for a request that is asked for then; ``take``: whether it does."""
        if not cycles:
            return asked
        busy = self._busy
        slot = int(asked // _SLOT)
        if slot < self._full:
            slot, asked = self._full, self._full * _SLOT
        left = cycles
        while True:
            if slot >= len(busy):
                busy.extend([0.0] * max(len(busy), slot - len(busy) + 1))
            start = slot * _SLOT
            # What is busy counts as if it came first.
            begin = max(asked - start, busy[slot])
            room = _SLOT - begin
            if room >= left:
                if take:
                    busy[slot] += left
                return start + begin + left
            if room > 0:
                left -= room
                if take:
                    busy[slot] += room
            slot += 1

    def forget(self, time: float) -> None:
        """Nobody will ask for a time before that."""
        self._full = max(self._full, int(time // _SLOT))
