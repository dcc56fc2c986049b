"""How much energy a virtual card has used, as modelled."""

from __future__ import annotations

import threading
from time import monotonic


class PowerMeter:
    """Adds up what the programs of a card use while they run; safe to call from many threads.

    Runs are assumed to follow one another without a gap, as on a card: while any is under way, the card draws what the
    network does that began last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._watts = 0.0
        self._joules = 0.0
        self._since = monotonic()

    def begin(self, watts: float) -> None:
        """A run has begun of a network that draws so much while it is computed."""
        with self._lock:
            self._advance()
            self._running += 1
            self._watts = watts

    def end(self) -> None:
        """A run has ended."""
        with self._lock:
            self._advance()
            self._running -= 1

    def read(self) -> tuple[float, float]:
        """Seconds of the monotonic clock, and joules used until then beyond what an idle card uses."""
        with self._lock:
            self._advance()
            return self._since, self._joules

    def _advance(self) -> None:
        now = monotonic()
        if self._running:
            self._joules += self._watts * (now - self._since)
        self._since = now
