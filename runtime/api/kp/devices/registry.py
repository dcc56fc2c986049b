"""The devices of this process, and the groups that programs have connected them to."""

import os
import weakref
from collections import deque
from collections.abc import Sequence
from itertools import count

from ....waiting import Guard
from ..enums import ApiReturnCode
from ..exceptions import Refusal, instance
from ..values.descriptors import DeviceGroup
from .device import DEFAULT, DEVICES, VirtualDevice, describe
from .group import Group

MOST_IN_A_GROUP = 20


def devices() -> list[VirtualDevice]:
    """The devices that a scan finds, in the order in which the environment lists them."""
    text = os.environ.get(DEVICES) or DEFAULT
    with _guard.lock:
        if text not in _devices:
            _devices[text] = [VirtualDevice(description) for description in describe(text)]
        return [device for device in _devices[text] if not device.is_off]


def connect(ports: Sequence[int]) -> DeviceGroup:
    """Connect the devices at these ports; 0 alone is the first that can be connected. Raises Refusal: as
    `connect_devices` of ``kp.core`` tells."""
    if not 0 < len(ports) <= MOST_IN_A_GROUP:
        code = ApiReturnCode.KP_ERROR_DEVICES_NUMBER_26
        raise Refusal(
            code, "the number of devices is wrong", expected=f"1 to {MOST_IN_A_GROUP} ports", found=len(ports)
        )
    while _forgotten:
        _release(_forgotten.popleft())
    there = devices()
    with _guard.lock:
        chosen = [_first_free(there)] if tuple(ports) == (0,) else [_at(port, there) for port in ports]
        _check(chosen)
        group = Group(chosen)
        for device in chosen:
            device.holder = group
        address = next(_addresses)
        _groups[address] = group
    handle = DeviceGroup(address)
    # Whoever collects garbage may hold any lock: what is forgotten is seen to later.
    weakref.finalize(handle, _forgotten.append, address).atexit = False
    return handle


def _first_free(there: list[VirtualDevice]) -> VirtualDevice:
    if not there:
        raise _missing("there is no device", "some")
    return next((device for device in there if device.holder is None), there[0])


def _at(port: int, there: list[VirtualDevice]) -> VirtualDevice:
    for device in there:
        if device.port == port:
            return device
    ports = ", ".join(f"{device.port} ({device.description.product.name})" for device in there)
    raise _missing(f"there is no device at port {port}", f"one of {ports}" if there else "some")


def _missing(message: str, expected: str) -> Refusal:
    hint = f"{DEVICES} lists the virtual devices."
    return Refusal(ApiReturnCode.KP_ERROR_DEVICE_NOT_EXIST_10, message, expected=expected, hint=hint)


def _check(chosen: Sequence[VirtualDevice]) -> None:
    if any(device.holder is not None for device in chosen) or len({device.port for device in chosen}) < len(chosen):
        raise Refusal(
            ApiReturnCode.KP_ERROR_CONNECT_FAILED_28,
            "a device can be connected once",
            found=", ".join(f"port {d.port}{', connected already' if d.holder is not None else ''}" for d in chosen),
            hint="Disconnect its other group first."
            if any(device.holder is not None for device in chosen)
            else "Name each port once.",
        )
    if len({device.description.product for device in chosen}) > 1:
        raise Refusal(
            ApiReturnCode.KP_ERROR_DEVICE_GROUP_MIX_PRODUCT_29,
            "the devices of a group are of one product",
            found=", ".join(f"{device.description.product.name} at port {device.port}" for device in chosen),
        )
    for device in chosen:
        if not device.runs_kdp2:
            raise Refusal(
                ApiReturnCode.KP_ERROR_INVALID_FIRMWARE_24,
                f"the device at port {device.port} cannot be talked to",
                expected="firmware with KDP2 in its name",
                found=repr(device.firmware),
            )


def group_of(handle: object) -> Group:
    """The group that a program means, which is connected."""
    group = _found(handle)
    group.check_open()
    return group


def _found(handle: object) -> Group:
    group = _groups.get(instance("device_group", handle, DeviceGroup).address)
    if group is None:
        code = ApiReturnCode.KP_ERROR_USB_NO_DEVICE_N4
        raise Refusal(code, "the group was disconnected", hint="Connect its devices again.")
    return group


def disconnect(handle: object) -> None:
    """End a group; its devices can be connected again."""
    _found(handle)
    assert isinstance(handle, DeviceGroup)
    _release(handle.address)


def _release(address: int) -> None:
    with _guard.lock:
        group = _groups.pop(address, None)
    if group is not None:
        group.end("the group was disconnected")
        let_go(group)


def let_go(group: Group) -> None:
    """Make the devices of a group, which has ended, ready to be connected again."""
    for device in group.devices:
        if device.holder is group:
            device.holder = None


_devices: dict[str, list[VirtualDevice]] = {}
_groups: dict[int, Group] = {}
_forgotten: deque[int] = deque()
_addresses = count(0x10)
_guard = Guard()
