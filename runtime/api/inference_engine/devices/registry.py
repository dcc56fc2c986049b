"""The plugins that an IECore has: names of devices, and what stands behind them."""

from __future__ import annotations

import os
from xml.parsers import expat

from tilewright.errors import InputError

from ....files.input_file import input_file
from ..errors import InferenceEngineError, WrongTypeError
from ..status import StatusCode
from .names import CPU, FPGA, HETERO, NAMES, PRESENT, Device, parse_device

LIBRARIES = {
    "MKLDNNPlugin": CPU,
    "dliaPlugin": FPGA,
    "HeteroPlugin": HETERO,
    "clDNNPlugin": "GPU",
    "myriadPlugin": "MYRIAD",
    "HDDLPlugin": "HDDL",
    "MultiDevicePlugin": "MULTI",
}
"""The libraries of plugins, by the names that programs register them by."""

_FILE = 2**20
"""Bytes of a file that lists plugins."""


class Registry:
    """Devices by name; those of the API at the beginning."""

    def __init__(self) -> None:
        self._devices = {name: name for name in NAMES}

    @property
    def available(self) -> list[str]:
        """The names of devices that compute."""
        return [name for name, kind in self._devices.items() if kind in PRESENT]

    def device(self, text: object) -> Device:
        """The device of a text, which may begin with a name that was registered.

        Raises:
            WrongTypeError: it is no text.
            InferenceEngineError: no plugin is registered by that name, or its device is not here.
        """
        if not isinstance(text, str):
            raise WrongTypeError("a device is named by text", expected="such as 'CPU'", found=type(text).__name__)
        name, colon, rest = text.partition(":")
        kind = self._devices.get(name.partition(".")[0])
        if kind is None:
            raise InferenceEngineError(
                f'Device with "{name[:60]}" name is not registered in the InferenceEngine',
                StatusCode.NOT_FOUND,
                expected=", ".join(self._devices),
            )
        found = parse_device(f"{kind}{colon}{rest}")
        return Device(text, found.name, found.fallback)

    def register(self, plugin: object, device: object) -> None:
        """Give a plugin a name.

        Raises:
            InferenceEngineError: there is no such plugin, or a device has that name already.
            WrongTypeError: a name is no text.
        """
        for each in (plugin, device):
            if not isinstance(each, str):
                raise WrongTypeError("plugins and devices are named by text", found=type(each).__name__)
        name, library = str(device) or str(plugin), _library(str(plugin))
        if name in self._devices:
            raise InferenceEngineError(f'Device with "{name[:60]}" is already registered in the InferenceEngine')
        if library not in LIBRARIES:
            raise InferenceEngineError(
                f"cannot find plugin {str(plugin)[:60]!r}", StatusCode.NOT_FOUND, expected=", ".join(LIBRARIES)
            )
        self._devices[name] = LIBRARIES[library]

    def register_file(self, path: object) -> None:
        """Register the plugins that an XML file lists: ``<plugin name="DEVICE" location="LIBRARY"/>``.

        Raises:
            InferenceEngineError: it cannot be read, or as for `register`.
            WrongTypeError: it is no path.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise WrongTypeError("a file of plugins is named by its path", found=type(path).__name__)
        for device, location in _listed(os.fspath(path)):
            if self._devices.get(device) != LIBRARIES.get(_library(location), ""):
                self.register(location, device)

    def unregister(self, device: object) -> None:
        """Forget a device.

        Raises:
            InferenceEngineError: none has this name.
        """
        if self._devices.pop(str(device), None) is None:
            raise InferenceEngineError(
                f'Device with "{str(device)[:60]}" name is not registered in the InferenceEngine',
                StatusCode.NOT_FOUND,
            )


def _library(text: str) -> str:
    """The name of a library, without what platforms put around it."""
    name = text.replace("\\", "/").rpartition("/")[2]
    for suffix in (".so", ".dll", ".dylib"):
        name = name.removesuffix(suffix)
    return (
        name.removeprefix("lib").removesuffix("d") if name.removesuffix("d") in LIBRARIES else name.removeprefix("lib")
    )


def _listed(path: str) -> list[tuple[str, str]]:
    """(device, library) of each plugin in a file."""
    try:
        with input_file(path) as file:
            text = file.read(_FILE)
    except InputError as error:
        raise InferenceEngineError(str(error), StatusCode.NOT_FOUND) from error
    found: list[tuple[str, str]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "plugin":
            found.append((attributes.get("name", ""), attributes.get("location", "")))

    def doctype(*_: object) -> None:
        raise InferenceEngineError(f"{path!r} declares a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.StartDoctypeDeclHandler = start, doctype
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InferenceEngineError(f"{path!r} is no list of plugins ({error})") from None
    return found
