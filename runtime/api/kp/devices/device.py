"""Which virtual devices there are: ``TILEWRIGHT_KP_DEVICES``.

Without it, a KL520 and a KL720. Otherwise one device after the other, with semicolons between them, each a product and
what it has of its own::

    TILEWRIGHT_KP_DEVICES="KL520,flash=FILE;KL720,port=14"

- ``port``: the number that programs connect it by; by default the smallest that no other device has, from 1;
- ``speed``: of its USB link, ``low``, ``full``, ``high`` or ``super``; by default high for KL520 and super for KL720;
- ``flash``: the container of models that `load_model_from_flash` finds;
- ``machine``: the description of the accelerator, by name or path; models that were compiled for another are refused;
- ``firmware``: what the scan tells; programs can connect only what contains ``KDP2``.

``TILEWRIGHT_KP_DEVICES=none`` is a computer without devices. No file's name can have commas or semicolons in it.
Programs for KL630 and KL730 take a KL720 for theirs, with models compiled for it: ``TILEWRIGHT_KP_DEVICES=KL720``;
those for KL630 end where the link is not of high speed: ``TILEWRIGHT_KP_DEVICES=KL720,speed=high``.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from tilewright.errors import TilewrightError, UsageError
from tilewright.immutable import Immutable

from ....machines import machine as machines
from ....waiting import Guard
from ..enums import ApiReturnCode, ModelTargetChip, ProductId, UsbSpeed
from ..exceptions import Refusal
from ..preprocessing.pipeline import Abilities
from ..values.descriptors import DeviceDescriptor, FirmwareVersion, SystemInfo

if TYPE_CHECKING:
    from .group import Group
    from .jobs import Result


class DeviceKind(Immutable):
    """A kind of device.

    Attributes:
        name: as environments and containers have it.
        id: its USB product number.
        chip: which models are for it.
        speed: of its USB link.
        firmware: what runs on it when it is plugged in.
        abilities: what its preprocessing can do.
        kn_number: serial numbers start with it.
    """

    name: str
    id: ProductId
    chip: ModelTargetChip
    speed: UsbSpeed
    firmware: str
    abilities: Abilities
    kn_number: int


LOADER, FROM_USB, FROM_FLASH = "KDP2 Loader", "KDP2 Comp/U", "KDP2 Comp/F"
"""Firmware: waiting to be given one, given one over USB, started from flash."""

_KL520 = DeviceKind(
    "KL520",
    ProductId.KP_DEVICE_KL520,
    ModelTargetChip.KP_MODEL_TARGET_CHIP_KL520,
    UsbSpeed.KP_USB_SPEED_HIGH,
    LOADER,
    Abilities(width_multiple=4, padding=127),
    0x52000000,
)
_KL720 = DeviceKind(
    "KL720",
    ProductId.KP_DEVICE_KL720,
    ModelTargetChip.KP_MODEL_TARGET_CHIP_KL720,
    UsbSpeed.KP_USB_SPEED_SUPER,
    FROM_FLASH,
    Abilities(width_multiple=1, padding=255),
    0x72000000,
)

PRODUCTS = {product.name: product for product in (_KL520, _KL720)}


DEVICES = "TILEWRIGHT_KP_DEVICES"
"""The environment variable."""

DEFAULT = "KL520;KL720"
NONE = "none"

_KEYS = ("port", "speed", "flash", "machine", "firmware")
_SPEEDS = {speed.name.removeprefix("KP_USB_SPEED_").lower(): speed for speed in list(UsbSpeed)[1:]}
_MOST = 64
_LARGEST_PORT = 2**31 - 1


class Description(Immutable):
    """A device as the environment describes it; None for a flash without models, and for any machine."""

    product: DeviceKind
    port: int
    speed: UsbSpeed
    firmware: str
    flash: str | None
    machine: machines.Machine | None


def describe(text: str) -> list[Description]:
    """The devices that a text lists. Raises UsageError: it is wrong; says where and what would be right."""
    if text.strip().lower() == NONE:
        return []
    entries = [entry for entry in text.split(";") if entry.strip()]
    if not 0 < len(entries) <= _MOST:
        raise _wrong("the number of devices", f"1 to {_MOST}, or {NONE!r} for none", str(len(entries)))
    parsed = [_parse(entry) for entry in entries]
    taken = [fields["port"] for _, fields in parsed if "port" in fields]
    ports = {_port(port) for port in taken}
    if len(ports) < len(taken):
        raise _wrong("the ports", "different ones", ", ".join(taken))
    found: list[Description] = []
    for product, fields in parsed:
        port = _port(fields["port"]) if "port" in fields else next(n for n in range(1, 2 * _MOST + 2) if n not in ports)
        ports.add(port)
        found.append(
            Description(
                product,
                port,
                _speed(fields["speed"]) if "speed" in fields else product.speed,
                fields.get("firmware", product.firmware),
                fields.get("flash"),
                _machine(fields["machine"]) if "machine" in fields else None,
            )
        )
    return found


def _parse(entry: str) -> tuple[DeviceKind, dict[str, str]]:
    name, *pairs = (part.strip() for part in entry.split(","))
    product = PRODUCTS.get(name.upper())
    if product is None:
        raise _wrong("a product", " or ".join(PRODUCTS), repr(name))
    fields: dict[str, str] = {}
    for pair in pairs:
        key, _, value = (part.strip() for part in pair.partition("="))
        if key not in _KEYS or not value or key in fields:
            raise _wrong(f"{pair!r} of {entry.strip()!r}", f"{', '.join(_KEYS)}, each at most once, as key=value", None)
        fields[key] = value
    return product, fields


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
    if not 0 < port <= _LARGEST_PORT:
        raise _wrong("a port", f"a number from 1 to {_LARGEST_PORT}", repr(text))
    return port


def _speed(text: str) -> UsbSpeed:
    if text.lower() not in _SPEEDS:
        raise _wrong("a speed", " or ".join(_SPEEDS), repr(text))
    return _SPEEDS[text.lower()]


def _machine(text: str) -> machines.Machine:
    try:
        return machines.load(text)
    except TilewrightError as error:
        raise _wrong("a machine", "the name or the path of a description", str(error)) from error


def _wrong(what: str, expected: str, found: str | None) -> UsageError:
    shown = found if found is None or len(found) < 400 else f"{found[:400]}…"
    hint = f'Set it as in {DEVICES}="KL520,flash=FILE;KL720,port=14", or leave it out.'
    return UsageError(f"{what} cannot be read", stage=DEVICES, expected=expected, found=shown, hint=hint)


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


STDOUT = "stdout"


class FirmwareLog:
    """A file for each device of a group that a program wants to hear of."""

    def __init__(self) -> None:
        self._files: dict[VirtualDevice, TextIO | None] = {}
        self._guard = Guard()

    def open(self, device: VirtualDevice, path: str | os.PathLike[str]) -> None:
        """Begin a file, or write to standard output for ``stdout``. Raises Refusal: `KP_ERROR_FILE_OPEN_FAILED_20`."""
        file = None
        if path != STDOUT:
            try:
                file = open(os.fsdecode(path), "w", encoding="utf-8", buffering=1)  # noqa: SIM115
            except (OSError, TypeError, ValueError) as error:
                code = ApiReturnCode.KP_ERROR_FILE_OPEN_FAILED_20
                raise Refusal(code, f"cannot write {path!r:.400}: {getattr(error, 'strerror', error)}") from error
        with self._guard.lock:
            before, self._files[device] = self._files.get(device), file
        if before is not None:
            before.close()

    def write(self, device: VirtualDevice, result: Result) -> None:
        """A line for a result."""
        if device not in self._files:
            return
        number = f"inference {result.job.inference_number} of model {result.job.model.id}, crop {result.crop_number}"
        line = f"{number}: {'done' if result.error is None else result.error}"
        # A full disk must not end inferences.
        with self._guard.lock, suppress(OSError, ValueError):
            if device in self._files:
                name = device.description.product.name
                print(f"[{name} {device.port}] {line}", file=self._files[device] or sys.stdout)

    def close(self) -> None:
        """End all files."""
        with self._guard.lock:
            files, self._files = self._files, {}
        for file in files.values():
            if file is not None:
                file.close()
