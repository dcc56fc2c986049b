"""What a virtual card draws, as modelled."""

from __future__ import annotations

import threading
from time import monotonic
from typing import NamedTuple

from tilewright.errors import ArtifactError, MachineError

from ...artifact.artifact import Artifact
from ...machines.machine import DEFAULT, load_energy
from ..classify.power import model


class Draw(NamedTuple):
    """Mean power in watts: of the chip, and of the board with the chip on it."""

    chip: float
    board: float


def idle_draw() -> Draw:
    """What a card draws while nothing runs: that of the default machine."""
    constants = load_energy(DEFAULT)
    assert constants is not None
    return Draw(constants.idle_watts, constants.idle_watts + constants.board_watts)


def draw_of(artifact: Artifact) -> Draw:
    """What a card draws while runs of a network follow one another; as if idle where the models know nothing of it."""
    try:
        modelled = model(artifact, batch=1)
    except (ArtifactError, MachineError):
        return idle_draw()
    return Draw(modelled.chip_watts, modelled.board_watts)


class PowerMeter:
    """Knows how long a card has been busy, and what it draws then; safe to call from many threads.

    Attributes:
        running: what the card draws while the network runs that it was given last.
    """

    def __init__(self) -> None:
        self.running: Draw | None = None
        self._lock = threading.Lock()
        self._runs = 0
        self._busy = 0.0
        self._since = monotonic()

    def begin(self) -> None:
        """A call has begun."""
        self._count(1)

    def end(self) -> None:
        """A call has ended."""
        self._count(-1)

    def read(self) -> tuple[float, float]:
        """Seconds of the monotonic clock, and for how many of them the card was busy."""
        return self._count(0)

    def _count(self, change: int) -> tuple[float, float]:
        with self._lock:
            now = monotonic()
            if self._runs:
                self._busy += now - self._since
            self._since = now
            self._runs += change
            return now, self._busy
