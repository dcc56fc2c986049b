"""All keys of configurations in one table: which devices take them, their values, and what they do here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .names import CPU, FPGA, HETERO

Check = Callable[[str], bool]

_BOTH = (CPU, FPGA)
_INTEGER_DIGITS = 9


@dataclass(frozen=True)
class Key:
    """A key of a configuration.

    Attributes:
        name: as programs write it.
        devices: which take it; those that are not there only inside ``HETERO``.
        since: the release that documents it first; ``Tilewright`` for our own.
        values: what it may be, in words that follow "Expected only".
        accepts: tells a value that it may have.
        default: its value when nothing is given.
        help: what it does here.
    """

    name: str
    devices: tuple[str, ...]
    since: str
    values: str
    accepts: Check
    default: str
    help: str


def is_integer(text: str) -> bool:
    """Whether a text is an integer of a size that means something."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= _INTEGER_DIGITS


def _one_of(*values: str) -> tuple[str, Check]:
    return "/".join(values), lambda text: text in values


def _natural(text: str) -> bool:
    return is_integer(text) and int(text) >= 0


_SWITCH = _one_of("YES", "NO")
_ANY: tuple[str, Check] = ("text", lambda text: True)
_PATH: tuple[str, Check] = ("a path", lambda text: "\0" not in text)
_WHOLE: tuple[str, Check] = ("integers", is_integer)
_STREAMS: tuple[str, Check] = (
    "CPU_THROUGHPUT_NUMA/CPU_THROUGHPUT_AUTO or integers from 0",
    lambda text: text in ("CPU_THROUGHPUT_NUMA", "CPU_THROUGHPUT_AUTO") or _natural(text),
)
_GPU_STREAMS: tuple[str, Check] = (
    "GPU_THROUGHPUT_AUTO or integers from 0",
    lambda text: text == "GPU_THROUGHPUT_AUTO" or _natural(text),
)

_NOTHING = "Nothing: the device is not there."

KEYS: dict[str, Key] = {
    key.name: key
    for key in (
        Key(
            "PERF_COUNT",
            _BOTH,
            "2018 R3",
            *_SWITCH,
            "YES",
            "NO leaves times of layers out, and `get_perf_counts` shows none as executed.",
        ),
        Key(
            "DYN_BATCH_ENABLED",
            _BOTH,
            "2018 R3",
            *_SWITCH,
            "NO",
            "YES compiles the network for one item, so that `set_batch` chooses how many of the batch are computed.",
        ),
        Key(
            "DYN_BATCH_LIMIT",
            _BOTH,
            "2018 R3",
            *_WHOLE,
            "0",
            "With `DYN_BATCH_ENABLED` the largest number that `set_batch` takes; 0 and less: the batch of the network.",
        ),
        Key(
            "EXCLUSIVE_ASYNC_REQUESTS",
            _BOTH,
            "2018 R3",
            *_SWITCH,
            "NO",
            "YES computes the requests of all networks that have it one after the other, in one stream.",
        ),
        Key(
            "CPU_BIND_THREAD",
            _BOTH,
            "2018 R3",
            *_one_of("YES", "NO", "NUMA"),
            "YES",
            "Nothing: the system places threads.",
        ),
        Key(
            "CPU_THREADS_NUM",
            _BOTH,
            "2018 R5",
            *_WHOLE,
            "0",
            "Nothing: one thread computes a request.",
        ),
        Key(
            "CPU_THROUGHPUT_STREAMS",
            _BOTH,
            "2018 R5",
            *_STREAMS,
            "1",
            "How many requests are computed at once. AUTO and NUMA choose by the number of processors.",
        ),
        Key(
            "DUMP_EXEC_GRAPH_AS_DOT",
            _BOTH,
            "2018 R5",
            *_PATH,
            "",
            "Where `load` writes the executed graph: the path, with `_init.dot` behind it.",
        ),
        Key(
            "DUMP_QUANTIZED_GRAPH_AS_DOT",
            (CPU,),
            "2019 R1",
            *_PATH,
            "",
            "Nothing: a network in floating point is not quantised for the CPU.",
        ),
        Key(
            "DUMP_QUANTIZED_GRAPH_AS_IR",
            (CPU,),
            "2019 R1",
            *_PATH,
            "",
            "Nothing: a network in floating point is not quantised for the CPU.",
        ),
        Key(
            "ENFORCE_BF16",
            (CPU,),
            "2020.1",
            *_one_of("NO"),
            "NO",
            "Nothing: floating point is computed in 32 bits, and YES is refused.",
        ),
        Key(
            "DEVICE_ID",
            (FPGA, "GPU", "MYRIAD", "HDDL"),
            "2018 R3",
            *_ANY,
            "",
            "Nothing: there are as many accelerators as networks.",
        ),
        Key(
            "TARGET_FALLBACK",
            (HETERO,),
            "2018 R3",
            *_ANY,
            "",
            "The devices that layers are given to, in order of priority; `HETERO:` before them is ignored.",
        ),
        Key(
            "HETERO_DUMP_GRAPH_DOT",
            (HETERO,),
            "2018 R3",
            *_SWITCH,
            "NO",
            "YES writes `hetero_affinity_NETWORK.dot` and `hetero_subgraphs_NETWORK.dot` into the current folder.",
        ),
        Key(
            "TILEWRIGHT_CALIBRATION",
            (FPGA,),
            "Tilewright",
            *_PATH,
            "",
            "Where the ranges of the accelerator's integers come from: a folder of images, or a .npy or .npz file of "
            "inputs. The environment variable of this name does the same.",
        ),
        Key(
            "TILEWRIGHT_PREPROCESS",
            (FPGA,),
            "Tilewright",
            *_ANY,
            "",
            "How images of that folder become inputs, in the words of `tilewright compile --preprocess`. By default "
            "they are stretched, blue before red, with pixels from 0 to 255, as samples of this API do.",
        ),
        Key(
            "TILEWRIGHT_MACHINE",
            (FPGA,),
            "Tilewright",
            *_PATH,
            "",
            "The accelerator: the name or the path of the description of a machine.",
        ),
        Key("SINGLE_THREAD", ("GPU",), "2018 R3", *_SWITCH, "", _NOTHING),
        Key("CONFIG_FILE", ("GPU", "MYRIAD", "HDDL"), "2018 R3", *_PATH, "", _NOTHING),
        Key("DUMP_KERNELS", ("GPU",), "2018 R3", *_SWITCH, "", _NOTHING),
        Key(
            "TUNING_MODE",
            ("GPU",),
            "2018 R3",
            *_one_of("TUNING_CREATE", "TUNING_USE_EXISTING", "TUNING_DISABLED"),
            "",
            _NOTHING,
        ),
        Key("TUNING_FILE", ("GPU",), "2018 R3", *_PATH, "", _NOTHING),
        Key(
            "LOG_LEVEL",
            ("GPU", "MYRIAD", "HDDL"),
            "2018 R3",
            *_one_of("LOG_NONE", "LOG_ERROR", "LOG_WARNING", "LOG_INFO", "LOG_DEBUG", "LOG_TRACE"),
            "",
            _NOTHING,
        ),
        Key("GPU_THROUGHPUT_STREAMS", ("GPU",), "2019 R1", *_GPU_STREAMS, "", _NOTHING),
    )
}
