"""The cards of this computer, as PYNQ lists them, and what a virtual card draws, as modelled."""

from __future__ import annotations

from time import monotonic
from typing import ClassVar, NamedTuple

from tilewright.errors import ArtifactError, MachineError

from ...artifact.artifact import Artifact
from ...machines.machine import DEFAULT, load_energy
from ...waiting import Guard
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
    ``running``: what the card draws while the network runs that it was given last."""

    def __init__(self) -> None:
        self.running: Draw | None = None
        self._guard = Guard()
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
        with self._guard.lock:
            now = monotonic()
            if self._runs:
                self._busy += now - self._since
            self._since = now
            self._runs += change
            return now, self._busy


class Device:
    """A virtual card. There is one, whose name is that of the shell which the original programs look for.

    Attributes:
        devices: all cards.
        active_device: the one that an `Overlay` takes if it is given none; may be set.
        name: its name.
    """

    devices: ClassVar[list[Device]] = []
    active_device: ClassVar[Device | None] = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.meter = PowerMeter()

    def __repr__(self) -> str:
        return f"<Device {self.name!r}, virtual>"

    @staticmethod
    def choose(device: Device | None) -> Device:
        """The card given, or the active one, or the first."""
        return device or Device.active_device or Device.devices[0]


Device.active_device = Device("xilinx_u250_xdma_201830_2")
Device.devices.append(Device.active_device)
