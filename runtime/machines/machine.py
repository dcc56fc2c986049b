"""The description of an accelerator: a validated, hashed JSON file that everything else reads its sizes from.

A machine is a value: frozen, compared by its fields, identified by ``hash``. Programs carry the whole description they
were compiled for, so that a mismatch can say which fields differ. Fields of ``Machine`` are facts of the hardware
build; fields of ``CycleConstants`` are assumptions of the cycle model, and a machine file states for each of them where
the number comes from.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from importlib.resources import files
from io import FileIO
from pathlib import Path
from reprlib import repr as shortened
from typing import Annotated, Any, NamedTuple

from tilewright.blocks import CARD_LIMIT as CARD_LIMIT
from tilewright.blocks import CHANNEL_BLOCK as CHANNEL_BLOCK
from tilewright.blocks import cached_property
from tilewright.errors import MachineError, similar
from tilewright.limits import MACHINE_DESCRIPTION

from ..artifact.json_dataclasses import Bounds, Source, check, parse, read, write
from ..files.input_file import open_regular
from .constants import CycleConstants, EnergyConstants

FORMAT_VERSION = 1

DEFAULT = "m4096"
"""The sample that stands for the accelerator where none is named."""

_SAMPLES = files(f"{__package__}")
_SOURCE = Source("machine description", MachineError)
_NAME_LIMIT = 255

# Granularity of the scratchpads and of the layouts in them; fixed by the instruction set, not by a machine file.
MAPS_UNIT = 16
WEIGHT_UNIT = 64
ACCUMULATOR_UNIT = 64
PARAMETER_UNIT = 64
LINE_BYTES = 64
"""What a bank of a scratchpad reads or writes in a cycle."""

# What the address fields of an instruction can reach.
MAPS_ADDRESS_BITS = 20
"""Of places and distances in the maps scratchpad, in its unit."""
MAPS_LIMIT = MAPS_UNIT << MAPS_ADDRESS_BITS
WEIGHT_LIMIT = WEIGHT_UNIT << 14
ACCUMULATOR_LIMIT = ACCUMULATOR_UNIT << 14
PARAMETER_LIMIT = PARAMETER_UNIT << 12
DRAM_LIMIT = 1 << 36

CARD_MAPS_LIMIT = 1 << 26
"""Bytes of the maps scratchpads of a card together: whoever verifies a program notes which streams touch each unit."""

CLUSTER_LIMIT = 16
"""Clusters of a card that streams, masks and counters can name."""

# What the size fields of convolution, pooling and elementwise instructions can hold.
OUTPUT_ROWS_LIMIT = (1 << 12) - 1
OUTPUT_COLUMNS_LIMIT = (1 << 12) - 1
OUTPUT_BLOCKS_LIMIT = (1 << 10) - 1
KERNEL_LIMIT = (1 << 5) - 1
POOL_KERNEL_LIMIT = (1 << 8) - 1
STRIDE_LIMIT = (1 << 5) - 1
DILATION_LIMIT = (1 << 5) - 1
MAP_EXTENT_LIMIT = (1 << 12) - 1
ORIGIN_LIMIT = (1 << 12) - 1
RESIZE_LIMIT = (1 << 20) - 1
INTERPOLATION_LIMIT = (1 << 31) - 1
ROW_LIMIT = (1 << 24) - 1
RUN_LIMIT = (1 << 20) - 1
MESSAGE_RUNS_LIMIT = (1 << 16) - 1

REDUCIBLE = (
    *("maps_bytes", "weight_bytes", "accumulator_bytes", "parameter_bytes", "maps_banks"),
    *("pixel_lanes", "vector_lanes", "dram_bytes_per_second"),
)
"""What a program may be planned for as if there were less of it."""


@dataclass(frozen=True)
class Machine:
    """One accelerator build. Make it with ``load``; the constructor validates as well.
    Raises MachineError: a value is out of range or two values contradict each other; the message names the field."""

    name: str
    timing: CycleConstants
    cards: Annotated[int, Bounds(1, CARD_LIMIT, "", "accelerator cards")]
    clusters: Annotated[int, Bounds(1, CLUSTER_LIMIT, "", "clusters on a card, each with its own scratchpads")]
    input_lanes: Annotated[int, Bounds(1, 64, "lanes", "input channels multiplied at once")]
    output_lanes: Annotated[int, Bounds(1, 64, "lanes", "output channels computed at once")]
    pixel_lanes: Annotated[int, Bounds(1, 64, "lanes", "output pixels computed at once")]
    depthwise_taps: Annotated[int, Bounds(1, 64, "taps", "taps of a channel that a depthwise convolution does at once")]
    vector_lanes: Annotated[int, Bounds(1, 1024, "lanes", "elements the vector unit handles at once")]
    clock_hertz: Annotated[int, Bounds(1_000_000, 4_000_000_000, "Hz", "clock")]
    maps_bytes: Annotated[int, Bounds(1024, MAPS_LIMIT, "B", "feature-map scratchpad of a cluster", multiple=64)]
    maps_banks: Annotated[int, Bounds(1, 64, "", "banks of the feature-map scratchpad")]
    line_registers: Annotated[int, Bounds(1, 4096, "lines", "lines of maps that the array holds for a group of pixels")]
    weight_bytes: Annotated[int, Bounds(512, WEIGHT_LIMIT, "B", "weight scratchpad of a cluster", multiple=64)]
    weight_banks: Annotated[int, Bounds(1, 64, "", "banks of the weight scratchpad")]
    accumulator_bytes: Annotated[int, Bounds(512, ACCUMULATOR_LIMIT, "B", "accumulators of a cluster", multiple=64)]
    accumulator_banks: Annotated[int, Bounds(1, 64, "", "banks of the accumulators")]
    parameter_bytes: Annotated[
        int, Bounds(512, PARAMETER_LIMIT, "B", "requantisation parameters and tables of a cluster", multiple=64)
    ]
    dram_bytes: Annotated[int, Bounds(1 << 16, DRAM_LIMIT, "B", "DRAM of a card")]
    dram_bytes_per_second: Annotated[int, Bounds(1_000_000, 10**13, "B/s", "peak DRAM bandwidth of a card")]
    dram_efficiency: Annotated[float, Bounds(0.01, 1.0, "", "share of the peak that is reached", whole=False)]
    dram_burst_bytes: Annotated[int, Bounds(16, 4096, "B", "smallest DRAM access")]
    dram_row_bytes: Annotated[int, Bounds(64, 1 << 20, "B", "what an open row of the DRAM holds")]
    dram_banks: Annotated[int, Bounds(1, 1 << 10, "", "banks of the DRAM, each of which keeps a row open")]
    link_bytes_per_second: Annotated[int, Bounds(1_000_000, 10**13, "B/s", "bandwidth between two cards")]
    link_latency: Annotated[int, Bounds(0, 1 << 20, "cycles", "latency between two cards")]
    host_link_bytes_per_second: Annotated[int, Bounds(1_000_000, 10**13, "B/s", "bandwidth between host and card")]
    host_link_latency: Annotated[int, Bounds(0, 1 << 20, "cycles", "latency between host and card, once a message")]
    queue_depth: Annotated[int, Bounds(1, 1 << 16, "", "instructions a queue holds ahead")]
    fetch_instructions: Annotated[int, Bounds(1, 1 << 16, "", "instructions that are fetched from DRAM at once")]

    def __post_init__(self) -> None:
        check(self, _SOURCE)
        _check_consistency(self)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Costs are looked up by machine, many a million times. Of numbers alone: those of texts differ by process."""
        return hash((self.timing, *(getattr(self, each.name) for each in fields(self)[2:])))

    @property
    def cluster_macs_per_cycle(self) -> int:
        """Multiply-accumulates of one cluster in a cycle."""
        return self.input_lanes * self.output_lanes * self.pixel_lanes

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates of all clusters of all cards in a cycle."""
        return self.cluster_macs_per_cycle * self.clusters * self.cards

    @property
    def scratchpad_bytes(self) -> int:
        """Memory on chip, of all clusters of all cards."""
        own = self.maps_bytes + self.weight_bytes + self.accumulator_bytes + self.parameter_bytes
        return own * self.clusters * self.cards

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Bytes a card moves to or from DRAM in one cycle, efficiency included."""
        return self.dram_bytes_per_second * self.dram_efficiency / self.clock_hertz

    @property
    def link_bytes_per_cycle(self) -> float:
        """Bytes that cross from one card to another in one cycle."""
        return self.link_bytes_per_second / self.clock_hertz

    def to_dictionary(self) -> dict[str, object]:
        """All values, timing nested, without the notes on their origin."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """SHA-256, in hexadecimal, of the canonical JSON of all values except the name."""
        values = self.to_dictionary()
        del values["name"]
        return hashlib.sha256(write(values)).hexdigest()

    def reduced(self, values: Mapping[str, int]) -> "Machine":
        """The machine with less of some of what is `REDUCIBLE`.
        Raises MachineError: a field is none of these or would be more than it is, or there is no such machine."""
        for name, value in values.items():
            if name not in REDUCIBLE:
                raise MachineError(
                    f"a machine cannot be reduced in field {shortened(name)}", expected=f"one of {', '.join(REDUCIBLE)}"
                )
            if value > getattr(self, name):
                raise MachineError(
                    f"a machine that is reduced has no more of '{name}'",
                    expected=f"at most {getattr(self, name)}",
                    found=value,
                )
        return replace(self, **dict[str, Any](values)) if values else self

    def differences(self, other: "Machine") -> list[str]:
        """One line for each value that differs: ``field: mine, theirs`` (the name does not count)."""
        mine, theirs = _flatten(self.to_dictionary()), _flatten(other.to_dictionary())
        return [f"{key}: {mine[key]}, {theirs[key]}" for key in mine if key != "name" and mine[key] != theirs[key]]


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _check_consistency(machine: Machine) -> None:
    if not 0 < len(machine.name) <= _NAME_LIMIT:
        raise MachineError(
            "machine description: field 'name' is not a non-empty text",
            expected=f"1 to {_NAME_LIMIT} characters",
            found=shortened(machine.name),
        )
    for lanes in ("input_lanes", "output_lanes", "pixel_lanes"):
        value = getattr(machine, lanes)
        if value & (value - 1):
            raise MachineError(f"machine description: field '{lanes}' is not a power of two", found=value)
    for memory in ("maps", "weight", "accumulator"):
        size, banks = getattr(machine, f"{memory}_bytes"), getattr(machine, f"{memory}_banks")
        if size % (banks * LINE_BYTES):
            raise MachineError(
                f"machine description: field '{memory}_bytes' does not divide into '{memory}_banks' banks of lines",
                expected=f"a multiple of {banks * LINE_BYTES}",
                found=size,
            )
    for size in ("dram_burst_bytes", "dram_row_bytes"):
        value = getattr(machine, size)
        if value & (value - 1):
            raise MachineError(f"machine description: field '{size}' is not a power of two", found=value)
    if machine.depthwise_taps > machine.input_lanes:
        raise MachineError(
            "machine description: field 'depthwise_taps' asks for more multipliers than a lane of outputs has",
            expected=f"at most {machine.input_lanes} (input_lanes)",
            found=machine.depthwise_taps,
        )
    _check_ports(machine)
    if machine.clusters * machine.maps_bytes > CARD_MAPS_LIMIT:
        raise MachineError(
            "machine description: field 'maps_bytes' gives the clusters of a card more than is supported together",
            expected=f"at most {CARD_MAPS_LIMIT // machine.clusters} for {machine.clusters} clusters",
            found=machine.maps_bytes,
        )
    on_chip = machine.clusters * (machine.maps_bytes + machine.weight_bytes + machine.accumulator_bytes)
    if machine.dram_bytes < on_chip:
        raise MachineError(
            "machine description: field 'dram_bytes' is smaller than the scratchpads of the card together",
            expected=f"at least {on_chip}",
            found=machine.dram_bytes,
        )


def _check_ports(machine: Machine) -> None:
    """The banks must give what the array multiplies in every cycle; what is needed less often only waits."""
    for memory, lanes in (("maps", ("pixel_lanes", "input_lanes")), ("weight", ("input_lanes", "output_lanes"))):
        needed = getattr(machine, lanes[0]) * getattr(machine, lanes[1])
        available = getattr(machine, f"{memory}_banks") * LINE_BYTES
        if needed > available:
            raise MachineError(
                f"machine description: the {memory} port cannot feed the array",
                expected=f"at least {needed} bytes a cycle ({lanes[0]} x {lanes[1]})",
                found=f"{available} ({memory}_banks x {LINE_BYTES})",
                hint=f"Give it more '{memory}_banks', or the array fewer lanes.",
            )


class MachineFile(NamedTuple):
    """All that a machine file says; ``origins`` has a text for each field, by its name, that says where it is from."""

    machine: Machine
    energy: EnergyConstants | None
    origins: Mapping[str, str]


@lru_cache(64)
def read_file(text: str, source: str) -> MachineFile:
    """Parse and validate a machine description.
    ``text``: a JSON object with ``format``, every field of ``Machine``, ``timing``, and ``energy`` or not. A number may
    be written as an object ``{"value": number, "origin": text}`` that says where it comes from.
    ``source``: what to call the text in messages, usually its path.
    Raises MachineError: the text is not JSON, a field is missing, unknown, of the wrong kind, out of range or
    contradicts another; the message names the field."""
    origin = Source(source, MachineError)
    values = parse(text, origin, parse_constant=float)
    stated: dict[str, object] = {}
    origins: dict[str, str] = {}
    if isinstance(values, dict):
        version = values.pop("format", None)
        if version != FORMAT_VERSION:
            origin.refuse("format", "is not a known version", FORMAT_VERSION, shortened(version))
        values = _without_notes(values, origin, origins)
        stated = {name: values.pop(name) for name in ("energy",) if name in values}
    try:
        constants = read(_Energy, stated, origin).energy if stated else None
        return MachineFile(read(Machine, values, origin), constants, origins)
    except MachineError as error:
        # The constructor knows the rules between fields, but not the name of the file.
        error.message = error.message.replace(_SOURCE.name, source, 1)
        raise


@dataclass(frozen=True)
class _Energy:
    """What a machine file has beside the machine, so that messages name its fields in full."""

    energy: EnergyConstants


def _without_notes(
    values: Mapping[str, object], source: Source, origins: dict[str, str], prefix: str = ""
) -> dict[str, object]:
    """Numbers as such, where a description has objects that also say where they come from; that goes to ``origins``."""
    plain = dict(values)
    for name, entry in values.items():
        if not isinstance(entry, dict):
            continue
        if name in ("timing", "energy") and not prefix:
            plain[name] = _without_notes(entry, source, origins, f"{name}.")
        elif set(entry) == {"value", "origin"} and isinstance(entry["origin"], str) and entry["origin"]:
            plain[name], origins[prefix + name] = entry["value"], entry["origin"]
        else:
            source.refuse(prefix + name, "is not an object of 'value' and a text 'origin'", found=shortened(entry))
    return plain


def samples() -> list[str]:
    """Names of the machines that come with Tilewright."""
    return sorted(each.name[:-5] for each in _SAMPLES.iterdir() if each.name.endswith(".json"))


def load(name_or_path: str | Path) -> Machine:
    """Load a machine by the name of a sample (``m4096``, ``s256``, in any case) or from a JSON file.
    Raises MachineError: neither a sample nor a readable file, or an invalid description."""
    return load_file(name_or_path).machine


def load_energy(name_or_path: str | Path) -> EnergyConstants | None:
    """The constants of the energy model of a machine, by its name or file as for `load`; None where it states none.
    Raises MachineError: as for `load`."""
    return load_file(name_or_path).energy


def load_file(name_or_path: str | Path) -> MachineFile:
    """All that the file of a machine says, by its name or path as for `load`. Raises MachineError: as for `load`."""
    name = str(name_or_path).lower()
    if name in samples():
        return read_file((_SAMPLES / f"{name}.json").read_text("utf-8"), f"{name}.json")
    try:
        with open_regular(str(name_or_path), FileIO) as file:
            content = file.read(MACHINE_DESCRIPTION + 1)
        if len(content) > MACHINE_DESCRIPTION:
            raise ValueError(f"longer than {MACHINE_DESCRIPTION} bytes")
        text = content.decode()
    except (OSError, ValueError) as error:  # of which those of paths and of UTF-8 are
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        if isinstance(error, UnicodeDecodeError):
            reason = "it holds no text in UTF-8, as JSON is"
        raise MachineError(
            f"machine {str(name_or_path)!r} is neither a sample nor a readable file ({reason})",
            hint=" ".join(filter(None, (similar(name, samples()), f"Samples: {', '.join(samples())}."))),
        ) from None
    return read_file(text, Path(name_or_path).name)
