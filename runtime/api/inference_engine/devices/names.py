"""Names of devices, as programs give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InferenceEngineError, WrongTypeError, WrongValueError
from ..status import StatusCode

CPU, FPGA, HETERO = "CPU", "FPGA", "HETERO"

PRESENT = (CPU, FPGA)
"""The devices that compute: kernels of this processor, and the accelerator."""

ABSENT = ("GPU", "MYRIAD", "HDDL", "MULTI", "GNA")
"""The devices that have a name in the releases of the API and are not there."""

NAMES = (CPU, "GPU", FPGA, "MYRIAD", HETERO, "HDDL", "MULTI", "GNA")

DESCRIPTIONS = {
    CPU: "Tilewright: kernels of the host processor",
    FPGA: "Tilewright: the accelerator",
    HETERO: "Tilewright: layers on several devices",
}

_MOST = 64
"""Devices in a list."""


@dataclass(frozen=True)
class Device:
    """What a program named as its device.

    Attributes:
        text: as it was given.
        name: ``CPU``, ``FPGA`` or ``HETERO``.
        fallback: the devices that follow ``HETERO:``, in order of priority.
    """

    text: str
    name: str
    fallback: tuple[str, ...] = ()


def base(name: str) -> str:
    """A name of a list without the number behind it: ``FPGA`` of ``FPGA.0``."""
    return name.partition(".")[0]


def parse_device(text: object) -> Device:
    """The device of a text such as ``CPU`` or ``HETERO:FPGA,CPU``.

    Raises:
        WrongValueError: the API has no device of that name.
        InferenceEngineError: the device is not there, or a name behind ``HETERO:`` is unknown.
        WrongTypeError: it is no text.
    """
    if not isinstance(text, str):
        raise WrongTypeError("a device is named by text", expected="such as 'CPU'", found=type(text).__name__)
    name, colon, rest = text.partition(":")
    name = base(name)
    if name not in NAMES:
        raise WrongValueError(f"unknown device {name[:60]!r}", expected=f"one of {', '.join(NAMES)}", found=text[:80])
    if name in ABSENT:
        raise absent(name)
    if name == HETERO:
        return Device(text, name, parse_fallback(rest) if colon else ())
    return Device(text, name)


def absent(name: str) -> InferenceEngineError:
    """The error about a device that is not there."""
    return InferenceEngineError(
        f"there is no device {name} here",
        StatusCode.NOT_FOUND,
        expected=" or ".join((*PRESENT, f"{HETERO}:{FPGA},{CPU}")),
        hint=f"Inside {HETERO}:…, layers for {name} run on the next device of the list.",
    )


def parse_fallback(text: str) -> tuple[str, ...]:
    """The devices of ``TARGET_FALLBACK``, in order of priority. Blanks, and ``HETERO:`` before them, mean nothing.

    Raises:
        InferenceEngineError: a name is none of a device, or there are none.
    """
    names = tuple(name.strip() for name in text.strip().removeprefix(f"{HETERO}:").split(","))
    known = [name for name in NAMES if name not in (HETERO, "MULTI")]
    for name in names:
        if base(name) not in known:
            raise InferenceEngineError(
                f"TARGET_FALLBACK names no device by {name[:60]!r}",
                StatusCode.NOT_FOUND,
                expected=f"{' or '.join(known)}, with commas between them",
                found=repr(text[:80]),
            )
    if len(names) > _MOST:
        raise InferenceEngineError("TARGET_FALLBACK is too long", expected=f"at most {_MOST} devices", found=len(names))
    return tuple(dict.fromkeys(names))


def next_present(name: str, fallback: Sequence[str]) -> list[str]:
    """Where a layer may run that was given to a device: the device itself, else those after it in the list, in turn.

    After the last device of the list comes the first one; a device that is not in the list stands before all of it.
    """
    if base(name) in PRESENT:
        return [base(name)]
    start = fallback.index(name) + 1 if name in fallback else 0
    rotated = [base(each) for each in (*fallback[start:], *fallback[:start])]
    return [each for each in dict.fromkeys(rotated) if each in PRESENT]
