"""The cards of this computer, as PYNQ lists them."""

from __future__ import annotations

from typing import ClassVar

from .power import PowerMeter


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
