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
"""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.errors import TilewrightError, UsageError

from ....machines import machine as machines
from ..enums import UsbSpeed
from .product import PRODUCTS, Product

DEVICES = "TILEWRIGHT_KP_DEVICES"
"""The environment variable."""

DEFAULT = "KL520;KL720"
NONE = "none"

_KEYS = ("port", "speed", "flash", "machine", "firmware")
_SPEEDS = {speed.name.removeprefix("KP_USB_SPEED_").lower(): speed for speed in list(UsbSpeed)[1:]}
_MOST = 64
_LARGEST_PORT = 2**31 - 1


@dataclass(frozen=True)
class Description:
    """A device as the environment describes it; None for a flash without models, and for any machine."""

    product: Product
    port: int
    speed: UsbSpeed
    firmware: str
    flash: str | None
    machine: machines.Machine | None


def describe(text: str) -> list[Description]:
    """The devices that a text lists.

    Raises:
        UsageError: it is wrong; says where and what would be right.
    """
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


def _parse(entry: str) -> tuple[Product, dict[str, str]]:
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
