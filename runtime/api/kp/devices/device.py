"""A virtual device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..values.devices import DeviceDescriptor, FirmwareVersion, SystemInfo
from .description import Description
from .product import FROM_USB

if TYPE_CHECKING:
    from .group import Group

VENDOR = 0x3231
"""The USB vendor number of all devices."""

_VERSION = (1, 3, 0)


class VirtualDevice:
    """What a computer has at a USB port.

    Attributes:
        description: as the environment describes it.
        firmware: what runs on it now.
        holder: the group that it is connected to.
        is_off: whether it was shut down; no scan finds it then.
    """

    def __init__(self, description: Description) -> None:
        self.description = description
        self.firmware = description.firmware
        self.holder: Group | None = None
        self.is_off = False

    @property
    def port(self) -> int:
        """The number by which programs connect it."""
        return self.description.port

    @property
    def kn_number(self) -> int:
        """Its serial number."""
        return self.description.product.kn_number + self.port % 2**24

    @property
    def runs_kdp2(self) -> bool:
        """Whether its firmware is one that programs can talk to."""
        return "KDP2" in self.firmware

    def take_firmware(self) -> None:
        """Run what was sent over USB."""
        self.firmware = FROM_USB

    def reboot(self) -> None:
        """Be as it was when it was plugged in."""
        self.firmware = self.description.firmware

    def descriptor(self) -> DeviceDescriptor:
        """As a scan finds it."""
        return DeviceDescriptor(
            usb_port_id=self.port,
            vendor_id=VENDOR,
            product_id=self.description.product.id,
            link_speed=self.description.speed,
            kn_number=self.kn_number,
            is_connectable=self.holder is None,
            usb_port_path=f"1-{self.port}",
            firmware=self.firmware,
        )

    def system_info(self) -> SystemInfo:
        """What it says of itself; its firmware is of the version of the API."""
        major, minor, update = _VERSION
        return SystemInfo(self.kn_number, FirmwareVersion(0, major, minor, update, 0))
