"""Names of devices, as programs give them, and what stands behind each."""

import re
from collections.abc import Sequence
from xml.parsers import expat

from tilewright.errors import InputError
from tilewright.immutable import Immutable

from ....files.input_file import input_file
from ..constants import AUTO, CPU, FPGA, HETERO, MULTI, StatusCode, known_plugins
from ..errors import InferenceEngineError, WrongValueError, checked_path, checked_text

PRESENT = (CPU, FPGA)
"""The devices that compute: kernels of this processor, and the accelerator."""

LISTS = {HETERO: "TARGET_FALLBACK", MULTI: "MULTI_DEVICE_PRIORITIES", AUTO: "AUTO_DEVICE_LIST"}
"""The devices that stand for others, with the key of the list of those."""

ABSENT = tuple(name for name in known_plugins if name not in (*PRESENT, *LISTS))
"""The devices that have a name in the releases of the API and are not there."""

DESCRIPTIONS = {
    CPU: "Tilewright: kernels of the host processor",
    FPGA: "Tilewright: the accelerator",
    HETERO: "Tilewright: layers on several devices",
    MULTI: "Tilewright: the first of several devices",
    AUTO: "Tilewright: the first of several devices",
}

_LIBRARIES = {
    "MKLDNNPlugin": CPU,
    "dliaPlugin": FPGA,
    "HeteroPlugin": HETERO,
    "clDNNPlugin": "GPU",
    "myriadPlugin": "MYRIAD",
    "HDDLPlugin": "HDDL",
    "MultiDevicePlugin": MULTI,
    "AutoPlugin": AUTO,
    "openvino_intel_cpu_plugin": CPU,
    "openvino_intel_gpu_plugin": "GPU",
    "openvino_hetero_plugin": HETERO,
    "openvino_auto_plugin": AUTO,
}
"""The libraries of plugins, by the names that programs register them by."""

_MOST = 64
"""Devices in a list."""

_FILE = 2**20
"""Bytes of a file that lists plugins."""

_REQUESTS = re.compile(r"\([0-9]{1,9}\)$")
"""How many requests each device of ``MULTI`` was to get."""


class Device(Immutable):
    """What a program named as its device.
    ``text``: as it was given.
    ``name``: one of those that are present, or of `LISTS`.
    ``fallback``: the devices that follow the colon, in order of priority."""

    text: str
    name: str
    fallback: tuple[str, ...] = ()


def base(name: str) -> str:
    """A name of a list without the number behind it: ``FPGA`` of ``FPGA.0``."""
    return name.partition(".")[0]


def parse_device(text: object) -> Device:
    """The device of a text such as ``CPU`` or ``HETERO:FPGA,CPU``.
    Raises WrongValueError: the API has no device of that name; InferenceEngineError: the device is not there, or a name
    behind the colon is unknown; WrongTypeError: it is no text."""
    text = checked_text(text, "a device", "'CPU'")
    name, colon, rest = text.partition(":")
    name = base(name)
    if name not in known_plugins:
        expected = f"one of {', '.join(known_plugins)}"
        raise WrongValueError(f"unknown device {name[:60]!r}", expected=expected, found=text[:80])
    if name in ABSENT:
        raise InferenceEngineError(
            f"there is no device {name} here",
            StatusCode.NOT_FOUND,
            expected=" or ".join((*PRESENT, f"{HETERO}:{FPGA},{CPU}")),
            hint=f"Inside {HETERO}:…, layers for {name} run on the next device of the list.",
        )
    return Device(text, name, parse_list(rest, name) if colon and name in LISTS else ())


def parse_list(text: str, owner: str) -> tuple[str, ...]:
    """The devices of a list, in order of priority. Blanks, and ``HETERO:`` and the like before them, mean nothing.
    ``owner``: the device that stands for them.
    Raises InferenceEngineError: a name is none of a device, or there are none."""
    names = [_REQUESTS.sub("", name.strip()) for name in text.strip().removeprefix(f"{owner}:").split(",")]
    known = (*PRESENT, *ABSENT)
    for name in names:
        if base(name) not in known:
            raise InferenceEngineError(
                f"{LISTS[owner]} names no device by {name[:60]!r}",
                StatusCode.NOT_FOUND,
                expected=f"{' or '.join(known)}, with commas between them",
                found=repr(text[:80]),
            )
    if len(names) > _MOST:
        raise InferenceEngineError(f"{LISTS[owner]} is too long", expected=f"at most {_MOST} devices", found=len(names))
    return tuple(dict.fromkeys(names))


def next_present(name: str, fallback: Sequence[str]) -> list[str]:
    """Where a layer may run that was given to a device: the device itself, else those after it in the list, in turn.

    After the last device of the list comes the first one; a device that is not in the list stands before all of it."""
    if base(name) in PRESENT:
        return [base(name)]
    start = fallback.index(name) + 1 if name in fallback else 0
    rotated = [base(each) for each in (*fallback[start:], *fallback[:start])]
    return [each for each in dict.fromkeys(rotated) if each in PRESENT]


class Registry:
    """The devices that an IECore has, by name; those of the API at the beginning."""

    def __init__(self) -> None:
        self._devices = {name: name for name in known_plugins}

    @property
    def available(self) -> list[str]:
        """The names of devices that compute."""
        return [name for name, kind in self._devices.items() if kind in PRESENT]

    def device(self, text: object) -> Device:
        """The device of a text, which may begin with a name that was registered; ``AUTO`` of an empty one.
        Raises InferenceEngineError: no plugin is registered by that name."""
        text = checked_text(text, "a device", "'CPU'") or AUTO
        name, colon, rest = text.partition(":")
        kind = self._devices.get(base(name))
        if kind is None:
            raise _unregistered(name, ", ".join(self._devices))
        found = parse_device(f"{kind}{colon}{rest}")
        return Device(text, found.name, found.fallback)

    def register(self, plugin: object, device: object) -> None:
        """Give a plugin a name.
        Raises InferenceEngineError: there is no such plugin, or a device has that name already."""
        plugin, device = checked_text(plugin, "a plugin", "'MKLDNNPlugin'"), checked_text(device, "a device", "'MINE'")
        name, kind = device or plugin, _kind(plugin)
        if name in self._devices:
            raise InferenceEngineError(f'Device with "{name[:60]}" is already registered in the InferenceEngine')
        if kind is None:
            raise InferenceEngineError(
                f"cannot find plugin {plugin[:60]!r}", StatusCode.NOT_FOUND, expected=", ".join(_LIBRARIES)
            )
        self._devices[name] = kind

    def register_file(self, path: object) -> None:
        """Register the plugins that an XML file lists: ``<plugin name="DEVICE" location="LIBRARY"/>``."""
        for device, location in _listed(checked_path(path, "a file of plugins")):
            kind = self._devices.get(device)
            if kind is None or kind != _kind(location):
                self.register(location, device)

    def unregister(self, device: object) -> None:
        """Forget a device. Raises InferenceEngineError: none has this name; WrongTypeError: it is no text."""
        name = checked_text(device, "a device", "'CPU'")
        if self._devices.pop(name, None) is None:
            raise _unregistered(name)


def _unregistered(name: str, known: str | None = None) -> InferenceEngineError:
    text = f'Device with "{name[:60]}" name is not registered in the InferenceEngine'
    return InferenceEngineError(text, StatusCode.NOT_FOUND, expected=known)


def _kind(library: str) -> str | None:
    """The device of a library, whatever platforms put around its name."""
    name = re.sub(r"\.(so|dll|dylib)$", "", re.split(r"[/\\]", library)[-1]).removeprefix("lib")
    return _LIBRARIES.get(name) or _LIBRARIES.get(name.removesuffix("d"))


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
