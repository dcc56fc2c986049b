"""The description of an accelerator: a validated, hashed JSON file that everything else reads its sizes from.

A machine is a value: frozen, compared by its fields, identified by ``hash``. Programs carry the whole description they
were compiled for, so that a mismatch can say which fields differ. Fields of ``Machine`` are facts of the hardware
build; fields of ``Timing`` are the constants of the cycle model, and a machine file states for each of them where the
number comes from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tilewright.errors import MachineError

FORMAT_VERSION = 1

# Granularity of the scratchpads and of the layouts in them; fixed by the instruction set, not by a machine file.
CHANNEL_BLOCK = 16
MAPS_UNIT = 16
WEIGHT_UNIT = 64
ACCUMULATOR_UNIT = 64
PARAMETER_UNIT = 64

# What the address fields of an instruction can reach.
MAPS_LIMIT = MAPS_UNIT << 16
WEIGHT_LIMIT = WEIGHT_UNIT << 14
ACCUMULATOR_LIMIT = ACCUMULATOR_UNIT << 14
PARAMETER_LIMIT = PARAMETER_UNIT << 12
DRAM_LIMIT = 1 << 36

# What the size fields of convolution, pooling and elementwise instructions can hold.
OUTPUT_ROWS_LIMIT = (1 << 8) - 1
OUTPUT_COLUMNS_LIMIT = (1 << 10) - 1
OUTPUT_BLOCKS_LIMIT = (1 << 6) - 1
KERNEL_LIMIT = (1 << 5) - 1
POOL_KERNEL_LIMIT = (1 << 8) - 1
STRIDE_LIMIT = (1 << 5) - 1
DILATION_LIMIT = (1 << 5) - 1
MAP_EXTENT_LIMIT = (1 << 10) - 1
ORIGIN_LIMIT = (1 << 8) - 1
RESIZE_LIMIT = (1 << 20) - 1
ROW_LIMIT = (1 << 24) - 1


def _number(doc: str, unit: str, *, minimum: float, maximum: float, whole: bool = True, multiple: int = 1):
    """A dataclass field whose range is checked when a machine is made."""
    rule = {"doc": doc, "unit": unit, "minimum": minimum, "maximum": maximum, "whole": whole, "multiple": multiple}
    return field(metadata=rule)


@dataclass(frozen=True)
class Timing:
    """Constants of the cycle model, in cycles unless said otherwise. None of them changes a result, only its time."""

    mac_setup: int = _number("decode and address setup of a MAC instruction", "cycles", minimum=0, maximum=1 << 16)
    mac_drain: int = _number(
        "depth of the MAC pipeline, paid once an instruction", "cycles", minimum=0, maximum=1 << 16
    )
    vector_setup: int = _number("decode and setup of a vector instruction", "cycles", minimum=0, maximum=1 << 16)
    vector_drain: int = _number("depth of the vector pipeline", "cycles", minimum=0, maximum=1 << 16)
    divide: int = _number(
        "extra cycles a lane group spends on one binary32 division", "cycles", minimum=0, maximum=1 << 10
    )
    transfer_setup: int = _number("descriptor setup of a DRAM transfer", "cycles", minimum=0, maximum=1 << 16)
    dram_latency: int = _number("first byte after a DRAM request", "cycles", minimum=0, maximum=1 << 20)
    barrier: int = _number("issue of a barrier or end", "cycles", minimum=0, maximum=1 << 16)


@dataclass(frozen=True)
class Machine:
    """One accelerator build. Make it with ``load`` or ``from_json``; the constructor validates as well.

    Raises:
        MachineError: a value is out of range or two values contradict each other; the message names the field.
    """

    name: str
    timing: Timing
    cards: int = _number("accelerator cards", "", minimum=1, maximum=16)
    clusters: int = _number("clusters on a card, each with its own scratchpads", "", minimum=1, maximum=16)
    input_lanes: int = _number("input channels multiplied at once", "lanes", minimum=1, maximum=64)
    output_lanes: int = _number("output channels computed at once", "lanes", minimum=1, maximum=64)
    pixel_lanes: int = _number("output pixels computed at once", "lanes", minimum=1, maximum=64)
    vector_lanes: int = _number("elements the vector unit handles at once", "lanes", minimum=1, maximum=1024)
    clock_hertz: int = _number("clock", "Hz", minimum=1_000_000, maximum=4_000_000_000)
    maps_bytes: int = _number("feature-map scratchpad of a cluster", "B", minimum=1024, maximum=MAPS_LIMIT, multiple=64)
    maps_banks: int = _number("banks of the feature-map scratchpad", "", minimum=1, maximum=64)
    weight_bytes: int = _number("weight scratchpad of a cluster", "B", minimum=512, maximum=WEIGHT_LIMIT, multiple=64)
    weight_banks: int = _number("banks of the weight scratchpad", "", minimum=1, maximum=64)
    accumulator_bytes: int = _number(
        "accumulators of a cluster", "B", minimum=512, maximum=ACCUMULATOR_LIMIT, multiple=64
    )
    accumulator_banks: int = _number("banks of the accumulators", "", minimum=1, maximum=64)
    parameter_bytes: int = _number(
        "requantisation parameters and tables of a cluster", "B", minimum=512, maximum=PARAMETER_LIMIT, multiple=64
    )
    dram_bytes: int = _number("DRAM of a card", "B", minimum=1 << 16, maximum=DRAM_LIMIT)
    dram_bytes_per_second: int = _number("peak DRAM bandwidth of a card", "B/s", minimum=1_000_000, maximum=10**13)
    dram_efficiency: float = _number("share of the peak that is reached", "", minimum=0.01, maximum=1.0, whole=False)
    dram_burst_bytes: int = _number("smallest DRAM access", "B", minimum=16, maximum=4096)
    link_bytes_per_second: int = _number("bandwidth between two cards", "B/s", minimum=1_000_000, maximum=10**13)
    link_latency: int = _number("latency between two cards", "cycles", minimum=0, maximum=1 << 20)
    queue_depth: int = _number("instructions a queue holds ahead", "", minimum=1, maximum=1 << 16)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise MachineError("machine description: field 'name' is not a non-empty text", found=repr(self.name))
        if not isinstance(self.timing, Timing):
            raise MachineError("machine description: field 'timing' is not an object", found=repr(self.timing))
        _check_ranges(self, "")
        _check_ranges(self.timing, "timing.")
        _check_consistency(self)

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates of all clusters of one card in a cycle."""
        return self.clusters * self.cluster_macs_per_cycle

    @property
    def cluster_macs_per_cycle(self) -> int:
        """Multiply-accumulates of one cluster in a cycle."""
        return self.input_lanes * self.output_lanes * self.pixel_lanes

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Bytes a card moves to or from DRAM in one cycle, efficiency included."""
        return self.dram_bytes_per_second * self.dram_efficiency / self.clock_hertz

    def to_dictionary(self) -> dict[str, object]:
        """All values, timing nested, without the notes on their origin."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """SHA-256, in hexadecimal, of the canonical JSON of all values except the name."""
        values = self.to_dictionary()
        del values["name"]
        return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def differences(self, other: Machine) -> list[str]:
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


def _check_ranges(record: Machine | Timing, prefix: str) -> None:
    for item in fields(record):
        rule = item.metadata
        if not rule:
            continue
        value, place = getattr(record, item.name), f"machine description: field '{prefix}{item.name}'"
        kinds = (int,) if rule["whole"] else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool):
            kind = "a whole number" if rule["whole"] else "a number"
            raise MachineError(f"{place} ({rule['doc']}) is not {kind}", found=repr(value))
        if not rule["minimum"] <= value <= rule["maximum"]:
            unit = f" {rule['unit']}" if rule["unit"] else ""
            raise MachineError(
                f"{place} ({rule['doc']}) is out of range",
                expected=f"{rule['minimum']} to {rule['maximum']}{unit}",
                found=value,
            )
        if rule["whole"] and value % rule["multiple"]:
            raise MachineError(
                f"{place} ({rule['doc']}) has the wrong size", expected=f"a multiple of {rule['multiple']}", found=value
            )


def _check_consistency(machine: Machine) -> None:
    for lanes in ("input_lanes", "output_lanes", "pixel_lanes"):
        value = getattr(machine, lanes)
        if value & (value - 1):
            raise MachineError(f"machine description: field '{lanes}' is not a power of two", found=value)
    for memory in ("maps", "weight", "accumulator"):
        size, banks = getattr(machine, f"{memory}_bytes"), getattr(machine, f"{memory}_banks")
        if size % (banks * 64):
            raise MachineError(
                f"machine description: field '{memory}_bytes' does not divide into '{memory}_banks' banks of lines",
                expected=f"a multiple of {banks * 64}",
                found=size,
            )
    if machine.dram_burst_bytes & (machine.dram_burst_bytes - 1):
        raise MachineError(
            "machine description: field 'dram_burst_bytes' is not a power of two", found=machine.dram_burst_bytes
        )
    on_chip = machine.clusters * (machine.maps_bytes + machine.weight_bytes + machine.accumulator_bytes)
    if machine.dram_bytes < on_chip:
        raise MachineError(
            "machine description: field 'dram_bytes' is smaller than the scratchpads of the card together",
            expected=f"at least {on_chip}",
            found=machine.dram_bytes,
        )


def from_json(text: str, source: str = "machine description") -> Machine:
    """Parse and validate a machine description.

    Args:
        text: a JSON object with ``format``, every field of ``Machine``, and ``timing``. A number may be written as an
            object ``{"value": number, "origin": text}`` that says where it comes from.
        source: what to call the text in messages, usually its path.

    Raises:
        MachineError: the text is not JSON, a field is missing, unknown, of the wrong kind, out of range or contradicts
            another; the message names the field.
    """
    try:
        values = json.loads(text, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise MachineError(f"{source}: not JSON: nested too deeply") from None
    except ValueError as error:
        raise MachineError(f"{source}: not JSON: {error}") from None
    except MachineError as error:
        raise _within(error, source) from None
    if not isinstance(values, dict):
        raise MachineError(f"{source}: the top level is not an object", found=type(values).__name__)
    version = values.pop("format", None)
    if version != FORMAT_VERSION:
        raise MachineError(f"{source}: field 'format' is not a known version", expected=FORMAT_VERSION, found=version)
    return from_dictionary(values, source)


def from_dictionary(values: Mapping[str, object], source: str = "machine description") -> Machine:
    """As ``from_json``, from the object inside it, without ``format``."""
    _check_names(values, {item.name for item in fields(Machine)}, source, "")
    timing = values["timing"]
    if not isinstance(timing, Mapping):
        raise MachineError(f"{source}: field 'timing' is not an object", found=repr(timing))
    _check_names(timing, {item.name for item in fields(Timing)}, source, "timing.")
    constants = {key: _constant(entry, f"{source}: field 'timing.{key}'") for key, entry in timing.items()}
    numbers = {key: _constant(entry, f"{source}: field '{key}'") for key, entry in values.items() if key != "timing"}
    try:
        return Machine(timing=Timing(**constants), **numbers)
    except MachineError as error:
        raise _within(error, source) from None


def _within(error: MachineError, source: str) -> MachineError:
    """The error with the name of the file instead of the words that stand for any description."""
    error.message = error.message.replace("machine description", source, 1)
    return error


def _constant(entry: Any, place: str) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    if set(entry) != {"value", "origin"} or not isinstance(entry["origin"], str) or not entry["origin"]:
        raise MachineError(f"{place} is not an object of 'value' and a text 'origin'", found=dict(entry))
    return entry["value"]


def _check_names(values: Mapping[str, object], known: set[str], source: str, prefix: str) -> None:
    missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
    if missing:
        raise MachineError(
            f"{source}: field '{prefix}{missing[0]}' is missing", hint=_others(missing[1:], prefix, "missing")
        )
    if unknown:
        raise MachineError(
            f"{source}: field '{prefix}{unknown[0]}' is unknown", hint=_others(unknown[1:], prefix, "unknown")
        )


def _others(names: list[str], prefix: str, what: str) -> str | None:
    return f"Also {what}: {', '.join(prefix + name for name in names)}." if names else None


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise MachineError(f"machine description: field '{twice}' is given twice")
    return values


def samples() -> list[str]:
    """Names of the machines that come with Tilewright."""
    return sorted(path.stem for path in (Path(__file__).parent / "machines").glob("*.json"))


def load(name_or_path: str | Path) -> Machine:
    """Load a machine by the name of a sample (``m4096``, ``s256``, in any case) or from a JSON file.

    Raises:
        MachineError: neither a sample nor a readable file, or an invalid description.
    """
    folder = Path(__file__).parent / "machines"
    path = folder / f"{str(name_or_path).lower()}.json"
    if path.parent != folder or not path.is_file():
        path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise MachineError(
            f"machine {str(name_or_path)!r} is neither a sample nor a readable file ({reason})",
            hint=f"Samples: {', '.join(samples())}.",
        ) from None
    return from_json(text, str(path.name))
