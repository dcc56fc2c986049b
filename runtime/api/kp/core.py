"""Devices: finding, connecting and resetting them, and loading firmware and models.

The devices are virtual; ``TILEWRIGHT_KP_DEVICES`` says which there are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np

from ...files.input_file import InputFile, open_regular
from .devices import registry
from .devices.device import FROM_USB, VirtualDevice
from .devices.group import Group
from .devices.models import Loaded, load_models
from .enums import ApiReturnCode, ProductId, ResetMode
from .exceptions import Refusal, documented, instance, wrong
from .members import argument, content, enumeration, integer, integers
from .values.descriptors import DdrManageAttributes, DeviceDescriptorList, DeviceGroup, ModelNefDescriptor, SystemInfo

__all__ = ["connect_devices", "connect_devices_without_check", "disable_firmware_log", "disconnect_devices"]
__all__ += ["enable_firmware_log", "get_model_info", "get_system_info", "get_version", "install_driver_for_windows"]
__all__ += ["load_encrypted_models", "load_encrypted_models_from_file", "load_firmware", "load_firmware_from_file"]
__all__ += ["load_model", "load_model_from_file", "load_model_from_flash", "reset_device", "scan_devices"]
__all__ += ["set_npu_timeout", "set_timeout", "store_ddr_management_attributes"]

LONGEST_SLEEP = 2**20
"""Seconds."""

_NUMBER = integer(high=2**31 - 1)
"""Ports and times."""

Path = str | os.PathLike[str]
Bytes = bytes | bytearray | memoryview | np.ndarray


@documented
def scan_devices() -> DeviceDescriptorList:
    """The devices that there are, connected ones as well.
    Raises ApiKPException: `KP_ERROR_INVALID_PARAM_12`, ``TILEWRIGHT_KP_DEVICES`` cannot be read."""
    return DeviceDescriptorList([device.descriptor() for device in registry.devices()])


@documented
def connect_devices(usb_port_ids: Sequence[int]) -> DeviceGroup:
    """Connect devices of one product, which then work in turn.
    ``usb_port_ids``: the ports that the scan tells; [0] is the first device that nobody has connected.
    Raises ApiKPException: in this order: `KP_ERROR_INVALID_PARAM_12`, these are no numbers;
    `KP_ERROR_DEVICES_NUMBER_26`, none or more than 20; `KP_ERROR_DEVICE_NOT_EXIST_10`; `KP_ERROR_CONNECT_FAILED_28`,
    connected already; `KP_ERROR_DEVICE_GROUP_MIX_PRODUCT_29`; `KP_ERROR_INVALID_FIRMWARE_24`, none that programs can
    talk to."""
    return registry.connect(argument("usb_port_ids", usb_port_ids, integers()))


@documented
def connect_devices_without_check(usb_port_ids: Sequence[int]) -> DeviceGroup:
    """As `connect_devices`; here nothing is left out."""
    return registry.connect(argument("usb_port_ids", usb_port_ids, integers()))


@documented
def disconnect_devices(device_group: DeviceGroup) -> None:
    """Disconnect devices. What waits for them in other threads ends with `KP_ERROR_USB_NO_DEVICE_N4`.
    Raises ApiKPException: `KP_ERROR_USB_NO_DEVICE_N4`, they were disconnected before."""
    registry.disconnect(device_group)


@documented
def set_timeout(device_group: DeviceGroup, milliseconds: int) -> None:
    """How long sending and receiving wait, from the next call on.
    ``milliseconds``: 0, as at first, for as long as it takes. Even then a call ends, with `KP_ERROR_USB_TIMEOUT_N7`,
    when no other thread of the program is left that could make it go on.
    Raises ApiKPException: `KP_ERROR_INVALID_PARAM_12`, that is no such number."""
    group = registry.group_of(device_group)
    group.timeout = argument("milliseconds", milliseconds, _NUMBER)


@documented
def set_npu_timeout(device_group: DeviceGroup, seconds: int) -> None:
    """How long an inference may take, in API 3.x. Inferences of virtual devices come to an end; nothing is changed.
    Raises ApiKPException: `KP_ERROR_INVALID_PARAM_12`, that is no such number."""
    registry.group_of(device_group)
    argument("seconds", seconds, _NUMBER)


@documented
def load_firmware(device_group: DeviceGroup, scpu_fw_buffer: Bytes, ncpu_fw_buffer: Bytes) -> None:
    """Accept firmware, unread: virtual devices run none.
    Raises ApiKPException: `KP_ERROR_INVALID_PARAM_12`, these are no bytes."""
    group = registry.group_of(device_group)
    for name, buffer in (("scpu_fw_buffer", scpu_fw_buffer), ("ncpu_fw_buffer", ncpu_fw_buffer)):
        argument(name, buffer, content())
    _take_firmware(group)


@documented
def load_firmware_from_file(device_group: DeviceGroup, scpu_fw_path: Path, ncpu_fw_path: Path) -> None:
    """Accept files of firmware, unread: virtual devices run none.

    Args:
        scpu_fw_path, ncpu_fw_path: one of them may be empty, and is left out.

    Raises:
        ApiKPException: `KP_ERROR_FILE_OPEN_FAILED_20`, a file cannot be read, or both are left out.
    """
    group = registry.group_of(device_group)
    given = [path for path in (scpu_fw_path, ncpu_fw_path) if path != ""]
    for path in given or [""]:
        _read_file(path, 0)
    _take_firmware(group)


def _take_firmware(group: Group) -> None:
    for device in group.devices:
        device.firmware = FROM_USB


@documented
def load_model(device_group: DeviceGroup, nef_buffer: Bytes) -> ModelNefDescriptor:
    """Load a container of models to all devices of the group, in place of those that they have.
    Raises ApiKPException: `KP_ERROR_INVALID_PARAM_12`, these are no bytes; `KP_ERROR_INVALID_MODEL_21`, damaged, not
    made by ``tilewright compile``, or for another product or another accelerator; `KP_ERROR_FIFOQ_SETTING_FAILED_43`, a
    result is larger than `store_ddr_management_attributes` allows."""
    group = registry.group_of(device_group)
    return _load(group, [argument("nef_buffer", nef_buffer, content())] * len(group.devices))


@documented
def load_model_from_file(device_group: DeviceGroup, file_path: Path) -> ModelNefDescriptor:
    """As `load_model`, from a file.
    Raises ApiKPException: `KP_ERROR_FILE_OPEN_FAILED_20`, it cannot be read; otherwise as `load_model`."""
    group = registry.group_of(device_group)
    return _load(group, [_read_file(file_path)] * len(group.devices))


@documented
def load_model_from_flash(device_group: DeviceGroup) -> ModelNefDescriptor:
    """Load what the flash of each device holds, which ``TILEWRIGHT_KP_DEVICES`` tells.
    Raises ApiKPException: `KP_FW_LOAD_MODEL_FAILED_104`, a flash holds no models; otherwise as
    `load_model_from_file`."""
    group = registry.group_of(device_group)
    for device in group.devices:
        if device.description.flash is None:
            raise Refusal(
                ApiReturnCode.KP_FW_LOAD_MODEL_FAILED_104,
                f"the flash of the device at port {device.port} holds no models",
                hint=f'Give it some: TILEWRIGHT_KP_DEVICES="{device.description.product.name},flash=FILE".',
            )
    return _load(group, [_read_file(device.description.flash or "") for device in group.devices])


@documented
def load_encrypted_models(device_group: DeviceGroup, nef_buffer_list: Sequence[Bytes]) -> ModelNefDescriptor:
    """Load a container of models to each device. Those of ``tilewright compile`` are not encrypted.
    Raises ApiKPException: `KP_ERROR_INVALID_PARAM_12`, they are not as many as the devices, or no bytes; otherwise as
    `load_model`."""
    group = registry.group_of(device_group)
    buffers = _one_for_each("nef_buffer_list", nef_buffer_list, group)
    return _load(group, [argument("nef_buffer_list", buffer, content()) for buffer in buffers])


@documented
def load_encrypted_models_from_file(device_group: DeviceGroup, file_path_list: Sequence[Path]) -> ModelNefDescriptor:
    """As `load_encrypted_models`, from files.
    Raises ApiKPException: `KP_ERROR_FILE_OPEN_FAILED_20`, a file cannot be read; otherwise as
    `load_encrypted_models`."""
    group = registry.group_of(device_group)
    return _load(group, [_read_file(path) for path in _one_for_each("file_path_list", file_path_list, group)])


def _read_file(path: object, size: int = -1) -> bytes:
    """The content of a file, or its first bytes."""
    try:
        with open_regular(os.fsdecode(path), InputFile) as file:  # pyright: ignore[reportArgumentType]
            return file.read(size)
    except (OSError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        code = ApiReturnCode.KP_ERROR_FILE_OPEN_FAILED_20
        raise Refusal(code, f"cannot read {path!r:.400}: {reason}") from error


def _one_for_each(name: str, given: object, group: Group) -> Sequence:
    if not isinstance(given, (list, tuple)) or len(given) != len(group.devices):
        found = len(given) if isinstance(given, (list, tuple)) else type(given).__name__
        raise wrong(name, f"one for each of {len(group.devices)} devices", found)
    return given


def _load(group: Group, contents: Sequence[bytes]) -> ModelNefDescriptor:
    loaded: list[Loaded] = []
    for index, (device, buffer) in enumerate(zip(group.devices, contents, strict=True)):
        machine = device.description.machine
        # Devices with equal models share them.
        same = (
            loaded[before]
            for before in range(index)
            if contents[before] is buffer and group.devices[before].description.machine == machine
        )
        loaded.append(next(same, None) or load_models(buffer, device.description.product, machine))
    group.load(loaded)
    return loaded[0].descriptor


@documented
def get_model_info(device_group: DeviceGroup, usb_port_id: int) -> ModelNefDescriptor:
    """The models that a device of the group has.
    Raises ApiKPException: `KP_ERROR_DEVICE_NOT_EXIST_10`, the group has no such device;
    `KP_ERROR_MODEL_NOT_LOADED_35`."""
    group = registry.group_of(device_group)
    device = _of_group(group, usb_port_id)
    if group.loaded is None:
        raise Refusal(ApiReturnCode.KP_ERROR_MODEL_NOT_LOADED_35, "no models are loaded", hint="Call load_model first.")
    return group.loaded[group.devices.index(device)].descriptor


@documented
def get_system_info(device_group: DeviceGroup, usb_port_id: int) -> SystemInfo:
    """Serial number and version of a device of the group.
    Raises ApiKPException: `KP_ERROR_DEVICE_NOT_EXIST_10`, the group has no such device."""
    return _of_group(registry.group_of(device_group), usb_port_id).system_info()


def _of_group(group: Group, port: object) -> VirtualDevice:
    number = argument("usb_port_id", port, _NUMBER)
    for device in group.devices:
        if number in (0, device.port):
            return device
    raise Refusal(
        ApiReturnCode.KP_ERROR_DEVICE_NOT_EXIST_10,
        "the group has no such device",
        expected=f"port {' or '.join(str(device.port) for device in group.devices)}",
        found=number,
    )


def get_version() -> str:
    """The version of Kneron PLUS that this is modelled on."""
    return "1.3.0"


@documented
def reset_device(device_group: DeviceGroup, reset_mode: ResetMode, sleep_secs: float = 0) -> None:
    """Reset all devices of the group, and wait.

    Args:
        reset_mode: INFERENCE empties their queues; what waits for them in other threads ends with
            `KP_ERROR_USB_INTERRUPTED_N10`. REBOOT starts the devices anew: they can be connected again, and to this
            group nothing is left but to be disconnected, as what waits and comes learns by
            `KP_ERROR_USB_NO_DEVICE_N4`.
            After SHUTDOWN no scan finds them, for as long as the program runs.
        sleep_secs: how long to wait afterwards.

    Raises:
        ApiKPException: `KP_ERROR_INVALID_PARAM_12`, an argument is wrong.
    """
    group = registry.group_of(device_group)
    mode = argument("reset_mode", reset_mode, enumeration(ResetMode))
    if isinstance(sleep_secs, bool) or not isinstance(sleep_secs, (int, float)) or not 0 <= sleep_secs <= LONGEST_SLEEP:
        raise wrong("sleep_secs", "seconds, at least 0", sleep_secs)
    if mode is ResetMode.KP_RESET_INFERENCE:
        group.reset()
    else:
        is_off = mode is ResetMode.KP_RESET_SHUTDOWN
        group.end(f"the devices were {'shut down' if is_off else 'rebooted'}")
        for device in group.devices:
            device.firmware, device.is_off = device.description.firmware, is_off
        registry.let_go(group)
    time.sleep(sleep_secs)


@documented
def enable_firmware_log(device_group: DeviceGroup, usb_port_id: int, log_file_path: Path) -> None:
    """Have a device of the group write what it does into a file, a line for each result.
    ``log_file_path``: ``stdout`` is standard output.
    Raises ApiKPException: `KP_ERROR_DEVICE_NOT_EXIST_10`, the group has no such device;
    `KP_ERROR_FILE_OPEN_FAILED_20`."""
    group = registry.group_of(device_group)
    device = _of_group(group, usb_port_id)
    group.log.open(device, log_file_path)


@documented
def disable_firmware_log(device_group: DeviceGroup) -> None:
    """End all that `enable_firmware_log` began; there may be nothing."""
    registry.group_of(device_group).log.close()


@documented
def install_driver_for_windows(product_id: ProductId) -> None:
    """Refuse: virtual devices need no driver.
    Raises ApiKPException: `KP_ERROR_INVALID_PARAM_12`, there is no such product; otherwise
    `KP_ERROR_INVALID_HOST_38`."""
    argument("product_id", product_id, enumeration(ProductId))
    raise Refusal(ApiReturnCode.KP_ERROR_INVALID_HOST_38, "virtual devices need no driver")


@documented
def store_ddr_management_attributes(device_group: DeviceGroup, ddr_manage_attributes: DdrManageAttributes) -> None:
    """Say how the memory of the devices is shared out when models are loaded; only the first time counts.
    ``ddr_manage_attributes``: what is 0 follows from the models: three buffers each for inputs and results.
    Raises ApiKPException: `KP_ERROR_INVALID_PARAM_12`, these are no such attributes."""
    group = registry.group_of(device_group)
    group.share_out(instance("ddr_manage_attributes", ddr_manage_attributes, DdrManageAttributes))
