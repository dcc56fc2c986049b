"""Configurations: the keys that programs set, in one table, and their values, checked against the devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tilewright.errors import warn
from tilewright.immutable import Immutable

from ....native.host import processors
from ..constants import AUTO, CPU, FPGA, HETERO, MULTI, StatusCode
from ..errors import DeviceWarning, InferenceEngineError, checked, shown
from .names import LISTS, PRESENT, Device, base, parse_list

_MOST_STREAMS = 256

_NO_MAPPING = "a configuration is a dictionary of text to text"

_STREAMS = "CPU_THROUGHPUT_STREAMS"

_CHOSEN = "CPU_THROUGHPUT_"
"""What values of this key begin with that leave the number to the processors."""

_INTEGER_DIGITS = 9


class _Values(Immutable):
    """What a key may be: in words that follow "Expected only", and as a check."""

    words: str
    accepts: Callable[[str], bool]


class Key(Immutable):
    """A key of a configuration.

    Attributes:
        devices: which take it; those that are not there only inside lists of devices.
        since: the release that documents it first; ``Tilewright`` for our own.
        default: its value when nothing is given.
        help: what it does here.
    """

    devices: tuple[str, ...]
    since: str
    values: _Values
    default: str
    help: str


def _is_integer(text: str) -> bool:
    """Whether a text is an integer of a size that means something."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= _INTEGER_DIGITS


def _one_of(*values: str) -> _Values:
    return _Values("/".join(values), lambda text: text in values)


def _streams(*names: str) -> _Values:
    words = f"{'/'.join(names)} or integers from 0"
    return _Values(words, lambda text: text in names or (_is_integer(text) and int(text) >= 0))


_SWITCH = _one_of("YES", "NO")
_ANY = _Values("text", lambda text: True)
_PATH = _Values("a path", lambda text: "\0" not in text)
_WHOLE = _Values("integers", _is_integer)
_TUNING = _one_of("TUNING_CREATE", "TUNING_USE_EXISTING", "TUNING_DISABLED")
_LOG = _one_of("LOG_NONE", "LOG_ERROR", "LOG_WARNING", "LOG_INFO", "LOG_DEBUG", "LOG_TRACE")

_BOTH = (CPU, FPGA)
_R3, _R5, _OURS = "2018 R3", "2018 R5", "Tilewright"
_TURNS = "YES computes the requests of all networks that have it one after the other, in one stream."
_ONE_ITEM = "YES compiles the network for one item, so that `set_batch` chooses how many of the batch are computed."
_LIMIT = "With `DYN_BATCH_ENABLED` the largest number that `set_batch` takes; 0 and less: the batch of the network."
_CHOICE = "How many requests are computed at once. AUTO and NUMA choose by the number of processors."
_THREADS = "How many threads compute on the CPU, shared out to the streams. 0 and less: one for each core."
_FLOATS = "Nothing: a network in floating point is not quantised for the CPU."
_GRAPHS = "YES writes `hetero_affinity_NETWORK.dot` and `hetero_subgraphs_NETWORK.dot` into the current folder."
_PRIORITY = "The devices that layers are given to, in order of priority; `HETERO:` before them is ignored."
_FIRST = "The devices in order of priority: the first one that is here computes all requests."
_SAMPLES = (
    "Where the ranges of the accelerator's integers come from: a folder of images, or a .npy, .npz, .csv or .wav file "
    "of inputs. The environment variable of this name does the same."
)
_IMAGES = (
    "How images of that folder become inputs, in the words of `tilewright compile --preprocess`. By default they are "
    "stretched, blue before red, with pixels from 0 to 255, as samples of this API do."
)
_ABSENT = "Nothing: the device is not there."

KEYS: dict[str, Key] = {
    "PERF_COUNT": Key(
        _BOTH, _R3, _SWITCH, "YES", "NO leaves times of layers out, and `get_perf_counts` shows none as executed."
    ),
    "DYN_BATCH_ENABLED": Key(_BOTH, _R3, _SWITCH, "NO", _ONE_ITEM),
    "DYN_BATCH_LIMIT": Key(_BOTH, _R3, _WHOLE, "0", _LIMIT),
    "EXCLUSIVE_ASYNC_REQUESTS": Key(_BOTH, _R3, _SWITCH, "NO", _TURNS),
    "CPU_BIND_THREAD": Key(_BOTH, _R3, _one_of("YES", "NO", "NUMA"), "YES", "Nothing: the system places threads."),
    "CPU_THREADS_NUM": Key(_BOTH, _R5, _WHOLE, "0", _THREADS),
    _STREAMS: Key(_BOTH, _R5, _streams("CPU_THROUGHPUT_NUMA", "CPU_THROUGHPUT_AUTO"), "1", _CHOICE),
    "DUMP_EXEC_GRAPH_AS_DOT": Key(
        _BOTH, _R5, _PATH, "", "Where `load` writes the executed graph: the path, with `_init.dot` behind it."
    ),
    "DUMP_QUANTIZED_GRAPH_AS_DOT": Key((CPU,), "2019 R1", _PATH, "", _FLOATS),
    "DUMP_QUANTIZED_GRAPH_AS_IR": Key((CPU,), "2019 R1", _PATH, "", _FLOATS),
    "ENFORCE_BF16": Key(
        (CPU,), "2020.1", _one_of("NO"), "NO", "Nothing: floating point is computed in 32 bits, and YES is refused."
    ),
    "DEVICE_ID": Key(
        (FPGA, "GPU", "MYRIAD", "HDDL"), _R3, _ANY, "", "Nothing: there are as many accelerators as networks."
    ),
    "TARGET_FALLBACK": Key((HETERO,), _R3, _ANY, "", _PRIORITY),
    "HETERO_DUMP_GRAPH_DOT": Key((HETERO,), _R3, _SWITCH, "NO", _GRAPHS),
    "MULTI_DEVICE_PRIORITIES": Key((MULTI,), "2019 R2", _ANY, "", _FIRST),
    "AUTO_DEVICE_LIST": Key((AUTO,), "2021.4", _ANY, CPU, _FIRST),
    "TILEWRIGHT_CALIBRATION": Key((FPGA,), _OURS, _PATH, "", _SAMPLES),
    "TILEWRIGHT_PREPROCESS": Key((FPGA,), _OURS, _ANY, "", _IMAGES),
    "TILEWRIGHT_MACHINE": Key(
        (FPGA,), _OURS, _PATH, "", "The accelerator: the name or the path of the description of a machine."
    ),
    "SINGLE_THREAD": Key(("GPU",), _R3, _SWITCH, "", _ABSENT),
    "CONFIG_FILE": Key(("GPU", "MYRIAD", "HDDL"), _R3, _PATH, "", _ABSENT),
    "DUMP_KERNELS": Key(("GPU",), _R3, _SWITCH, "", _ABSENT),
    "TUNING_MODE": Key(("GPU",), _R3, _TUNING, "", _ABSENT),
    "TUNING_FILE": Key(("GPU",), _R3, _PATH, "", _ABSENT),
    "LOG_LEVEL": Key(("GPU", "MYRIAD", "HDDL"), _R3, _LOG, "", _ABSENT),
    "CLDNN_PLUGIN_PRIORITY": Key(("GPU",), "2019 R1", _one_of("0", "1", "2", "3"), "", _ABSENT),
    "CLDNN_PLUGIN_THROTTLE": Key(("GPU",), "2019 R1", _one_of("0", "1", "2", "3"), "", _ABSENT),
    "GPU_THROUGHPUT_STREAMS": Key(("GPU",), "2019 R1", _streams("GPU_THROUGHPUT_AUTO"), "", _ABSENT),
    **{f"GNA_{name}": Key(("GNA",), _R5, _ANY, "", _ABSENT) for name in ("DEVICE_MODE", "PRECISION", "SCALE_FACTOR")},
}


class Configuration:
    """The values of one plugin, or of one loaded network.
    ``device``: whose keys are accepted."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._given: dict[str, str] = {}
        if device.fallback:
            self._given[LISTS[device.name]] = ",".join(device.fallback)

    @property
    def fallback(self) -> tuple[str, ...]:
        """The devices that stand behind this one, in order of priority."""
        text = self[LISTS[self._device.name]] if self._device.name in LISTS else ""
        return parse_list(text, self._device.name) if text else ()

    @property
    def device(self) -> Device:
        """The device that computes; of ``MULTI`` and ``AUTO`` the first of the list that is here.
        Raises InferenceEngineError: there is no list, or none of it is here."""
        if self._device.name not in (MULTI, AUTO):
            return self._device
        chosen = next((name for name in self.fallback if base(name) in PRESENT), None)
        if chosen is None:
            raise InferenceEngineError(
                f"{self._device.name} has no device that is here",
                StatusCode.NOT_FOUND,
                expected=f"a list with {' or '.join(PRESENT)}, such as '{self._device.name}:CPU'",
                found=", ".join(self.fallback) or "no list",
            )
        return Device(chosen, base(chosen))

    def warn_of_absent(self) -> None:
        """Tell of devices that ``MULTI`` was to divide requests among and that are not here."""
        absent = [name for name in self.fallback if base(name) not in PRESENT]
        if self._device.name == MULTI and absent:
            are = f"{' and '.join(absent)} {'are' if len(absent) > 1 else 'is'} not here"
            warn(f"{self._device.text}: {are}, and all requests run on {self.device.name}", DeviceWarning)

    def names(self) -> list[str]:
        """The keys that are accepted."""
        return [name for name, key in KEYS.items() if self._takes(key)]

    def _takes(self, key: Key) -> bool:
        return any(base(name) in key.devices for name in (self._device.name, *self.fallback))

    def set(self, values: object) -> None:
        """Set several keys, or none of them."""
        self._given = self.with_values(checked(values, Mapping, _NO_MAPPING, "a dict"))._given

    def with_values(self, values: object) -> Configuration:
        """A copy, with further values; None for no further ones."""
        given: Mapping[object, object] = {} if values is None else checked(values, Mapping, _NO_MAPPING, "a dict")
        copy = self.with_defaults(self)
        # What the list of devices accepts follows from it.
        for name in sorted(given, key=lambda name: name not in LISTS.values()):
            copy._set_one(name, given[name])
        return copy

    def with_defaults(self, other: Configuration) -> Configuration:
        """A copy, with the values of another one where this one has none."""
        copy = Configuration(self._device)
        copy._given = {**other._given, **self._given}
        return copy

    def _set_one(self, name: object, value: object) -> None:
        what, expected = (
            f"an entry of a configuration is no text: {shown(name)}",
            "keys and values such as {'PERF_COUNT': 'YES'}",
        )
        name, value = (checked(each, str, what, expected) for each in (name, value))
        key = KEYS.get(name)
        if key is None or not self._takes(key):
            where = f"; it is a key of {' and '.join(key.devices)}" if key is not None else ""
            raise InferenceEngineError(
                f"Unsupported property {name[:60]} by {self._device.name} plugin{where}",
                StatusCode.NOT_FOUND,
                expected=", ".join(self.names()),
            )
        if not key.values.accepts(value):
            raise InferenceEngineError(
                f"Wrong value for property key {name}. Expected only {key.values.words}", found=repr(value[:60])
            )
        if name in LISTS.values():
            value = ",".join(parse_list(value, self._device.name)) if value.strip() else ""
        self._given[name] = value

    def __getitem__(self, name: str) -> str:
        return self._given.get(name, KEYS[name].default)

    def value(self, name: object) -> str:
        """The value of a key, for a program that asks; streams are a number even where they were left to be chosen.
        Raises InferenceEngineError: the device has no such key."""
        names = self.names()
        if not isinstance(name, str) or name not in names:
            raise InferenceEngineError(
                f"there is no key {shown(name)}", StatusCode.NOT_FOUND, expected=", ".join(names)
            )
        value = self[name]
        return str(self.streams) if name == _STREAMS and value.startswith(_CHOSEN) else value

    def is_on(self, name: str) -> bool:
        """Whether a key is ``YES``."""
        return self[name] == "YES"

    def limit(self, name: str) -> int | None:
        """The number of a key; None for 0 and less, which mean that there is no limit."""
        number = int(self[name])
        return number if number > 0 else None

    @property
    def threads(self) -> int | None:
        """How many threads compute one request; None leaves that to the session."""
        number = self.limit("CPU_THREADS_NUM")
        return None if number is None else max(1, number // self.streams)

    @property
    def is_exclusive(self) -> bool:
        """Whether requests take turns with those of all networks that are exclusive, too; for HETERO unless said
        otherwise."""
        given = self._given.get("EXCLUSIVE_ASYNC_REQUESTS")
        return self._device.name == HETERO if given is None else given == "YES"

    @property
    def streams(self) -> int:
        """How many requests are computed at once."""
        if self._given.get("EXCLUSIVE_ASYNC_REQUESTS") == "YES":
            return 1
        text = self[_STREAMS]
        number = automatic_streams(processors()) if text.startswith(_CHOSEN) else int(text)
        return min(max(number, 1), _MOST_STREAMS)


def automatic_streams(processors: int) -> int:
    """How many streams ``CPU_THROUGHPUT_AUTO`` makes, as the release 2018 R5 chose."""
    for divisor in (4, 5, 3):
        if processors % divisor == 0:
            return max(divisor, processors // divisor)
    return 1
