"""Values that describe devices."""

from __future__ import annotations

from dataclasses import dataclass

from ..enums import UsbSpeed
from ..members import Member, Value, by_index, enumeration, flag, integer, item, items, text


@dataclass(repr=False, eq=False)
class DeviceDescriptor(Value):
    """A device as a scan finds it.

    Attributes:
        usb_port_id: by which it is connected.
        vendor_id: USB vendor number, 0x3231.
        product_id: USB product number, one of `ProductId`.
        link_speed: HIGH for KL520, SUPER for KL720.
        kn_number: serial number.
        is_connectable: whether no other process holds it.
        usb_port_path: bus and port, such as "1-3".
        firmware: what runs on it, such as "KDP2 Loader".
    """

    usb_port_id: Member[int] = integer(0)
    vendor_id: Member[int] = integer(0, is_hexadecimal=True)
    product_id: Member[int] = integer(0, is_hexadecimal=True)
    link_speed: Member[UsbSpeed] = enumeration(UsbSpeed.KP_USB_SPEED_UNKNOWN)
    kn_number: Member[int] = integer(0, is_hexadecimal=True)
    is_connectable: Member[bool] = flag(False)
    usb_port_path: Member[str] = text("")
    firmware: Member[str] = text("")


@dataclass(repr=False, eq=False)
class DeviceDescriptorList(Value):
    """The devices of a scan. JSON has them by index.

    Attributes:
        device_descriptor_list: in the order of the ports.
    """

    device_descriptor_list: Member[list[DeviceDescriptor]] = items(DeviceDescriptor)

    @property
    def device_descriptor_number(self) -> int:
        """How many there are."""
        return len(self.device_descriptor_list)

    def get_member_variable_dict(self) -> dict:
        """The descriptors by index."""
        return by_index(self.device_descriptor_list)


@dataclass(repr=False, eq=False)
class DeviceGroup(Value):
    """Connected devices, which work in turn. A copy is the group itself.

    Attributes:
        address: what stands for them; functions know a group by it.
    """

    address: Member[int] = integer(high=2**64 - 1)

    # The devices are disconnected when nobody has the group any more, as where a configuration that holds it was copied
    # and the copy alone is kept.
    def __copy__(self) -> DeviceGroup:
        return self

    def __deepcopy__(self, memo: object) -> DeviceGroup:
        return self


@dataclass(repr=False, eq=False)
class FirmwareVersion(Value):
    """The version of a firmware, which JSON has as text such as "1.5.0-build.113".

    Attributes:
        reserved, major, minor, update, build: its parts.
    """

    reserved: Member[int] = integer(0)
    major: Member[int] = integer(0)
    minor: Member[int] = integer(0)
    update: Member[int] = integer(0)
    build: Member[int] = integer(0)

    def get_member_variable_dict(self) -> dict:
        """The version as one text."""
        return {"firmware_version": f"{self.major}.{self.minor}.{self.update}-build.{self.build}"}


@dataclass(repr=False, eq=False)
class SystemInfo(Value):
    """What a device says of itself.

    Attributes:
        kn_number: serial number.
        firmware_version: of what runs on it.
    """

    kn_number: Member[int] = integer(0, is_hexadecimal=True)
    firmware_version: Member[FirmwareVersion] = item(FirmwareVersion)

    def get_member_variable_dict(self) -> dict:
        """The serial number in hexadecimal digits, and the version as text."""
        return {**super().get_member_variable_dict(), **self.firmware_version.get_member_variable_dict()}


@dataclass(repr=False, eq=False)
class DdrManageAttributes(Value):
    """How the memory of a device is shared out; what is 0 follows from the models.

    Attributes:
        model_size: bytes for models.
        input_buffer_size, input_buffer_count: bytes of an input buffer, and how many there are.
        result_buffer_size, result_buffer_count: bytes of a result buffer, and how many there are.
    """

    model_size: Member[int] = integer(0)
    input_buffer_size: Member[int] = integer(0)
    input_buffer_count: Member[int] = integer(0)
    result_buffer_size: Member[int] = integer(0)
    result_buffer_count: Member[int] = integer(0)
