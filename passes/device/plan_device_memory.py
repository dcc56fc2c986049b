"""Give every value of a device function an address in the device's DRAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.core import Function, Module, Op, Value
from ...ir.feature_map import map_shape
from ...ir.ops.convolution import Conv
from ...ir.ops.movement import Concat
from ...ir.ops.shape import Reshape
from ...runtime.machine import CHANNEL_BLOCK
from ..base import Pass, Record
from ..cpu.allocation import STRATEGIES, Buffer, lower_bound, peak
from ..invariants import Invariant
from .check_device_memory import DEVICE_SOUND
from .outline_device import device_functions

ALIGNMENT = 64
"""Bytes: a DRAM burst."""


@dataclass(frozen=True)
class Place:
    """Where the map of a value lies.

    Attributes:
        region: ``scratch``, ``input`` or ``output``.
        offset: byte of channel 0 of pixel (0, 0) of image 0 inside the region.
        pixel: bytes from pixel to pixel; rows and images follow without gaps.
        owner: the value whose buffer this is a part of, itself for a buffer of its own.
        padded: whether the bytes up to the next multiple of 16 channels belong to the map as well.
    """

    region: str
    offset: int
    pixel: int
    owner: Value
    padded: bool

    @property
    def annotation(self) -> tuple[str, int, int, bool]:
        return (self.region, self.offset, self.pixel, self.padded)


def _first_unplanned(module: Module) -> str | None:
    return next((f"@{f.name}" for f in device_functions(module) if "scratch_bytes" not in f.annotations), None)


DEVICE_PLANNED = Invariant("planned for the device: every device function has its DRAM addresses", _first_unplanned)


@dataclass(frozen=True)
class PlanDeviceMemory(Pass):
    """Annotates device functions with ``scratch_bytes``, ``input_bytes`` and ``output_bytes`` and their ops with
    ``dram=[region, offset, bytes from pixel to pixel, whether the channel padding may be written]`` of the result;
    ``inputs`` of the function says the same of its parameters.

    Maps lie as pixels with their channels, padded to 16. A concatenation along channels costs nothing: its operands
    are written into its buffer. A reshape that does not move bytes is another name for its operand.
    """

    ensures: ClassVar[tuple[Invariant, ...]] = (DEVICE_PLANNED, DEVICE_SOUND)

    def apply(self, module: Module, record: Record) -> bool:
        functions = device_functions(module)
        for function in functions:
            places, facts = plan(function)
            function.annotations.update(facts)
            for op in function.ops:
                op.annotations["dram"] = places[op.result].annotation
            function.annotations["inputs"] = tuple(places[value].annotation for value in function.parameters)
            record.facts[f"scratch_bytes of @{function.name}"] = facts["scratch_bytes"]
        return bool(functions)


def is_packed(value: Value) -> bool:
    """Whether a parameter of few channels is kept without padding, for convolutions that read it row by row."""

    def reads_rows(op: Op) -> bool:
        conv = op.operator
        return isinstance(conv, Conv) and conv.group == 1 and conv.dilations[-1] == 1 and op.operands[0] is value

    few = value.producer is None and map_shape(value.type).channels < CHANNEL_BLOCK and value.type.rank > 2
    return few and not value.is_returned and all(reads_rows(op) for op in value.users)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def joins_in_place(op: Op) -> list[Value]:
    """The operands of a concatenation along channels that can be written into its buffer."""
    if not isinstance(op.operator, Concat) or op.operator.axis != 1 or op.result.type.rank < 3:
        return []
    found: list[Value] = []
    for value in op.inputs:
        producer = value.producer
        own = producer is not None and not isinstance(producer.operator, (Concat, Reshape))
        if own and not value.is_returned and op.inputs.count(value) == 1 and not _is_joined_elsewhere(value, op):
            found.append(value)
    return found


def _is_joined_elsewhere(value: Value, op: Op) -> bool:
    users = [user for user in value.users if isinstance(user.operator, Concat)]
    return bool(users) and users[0] is not op


def plan(function: Function) -> tuple[dict[Value, Place], dict[str, int]]:
    """The place of every value of a device function, and the sizes of its regions in bytes."""
    places: dict[Value, Place] = {}
    parts = _parts(function)
    facts = {"input_bytes": 0, "output_bytes": 0, "scratch_bytes": 0}
    for value in function.parameters:
        shape = map_shape(value.type)
        packed = is_packed(value)
        pixel = shape.channels if packed else shape.padded_channels
        places[value] = Place("input", facts["input_bytes"], pixel, value, not packed)
        facts["input_bytes"] += _aligned(shape.images * shape.height * shape.width * pixel)
    for value in function.results:
        if value in places:
            continue
        shape = map_shape(value.type)
        places[value] = Place("output", facts["output_bytes"], shape.padded_channels, value, True)
        facts["output_bytes"] += _aligned(shape.padded_elements)
    spans = _life_spans(function, parts)
    owners = [value for value in spans if value not in places]
    buffers = [Buffer(_aligned(map_shape(v.type).padded_elements), *spans[v]) for v in owners]
    plans = [strategy(buffers) for strategy in STRATEGIES.values()]
    best = min(plans, key=lambda offsets: peak(buffers, offsets))
    facts["scratch_bytes"] = peak(buffers, best)
    facts["scratch_lower_bound_bytes"] = lower_bound(buffers)
    for value, offset in zip(owners, best, strict=True):
        places[value] = Place("scratch", offset, map_shape(value.type).padded_channels, value, True)
    for value, (owner, channel) in parts.items():
        base = places[_root(owner, parts)]
        offset = base.offset + _channel(owner, parts) + channel
        places[value] = Place(base.region, offset, base.pixel, base.owner, base.padded and _fills(value, owner))
    return places, facts


def _fills(value: Value, owner: Value) -> bool:
    """Whether a part is the whole of its owner: then the padding of the channels is its own as well."""
    return map_shape(value.type).channels == map_shape(owner.type).channels


def _parts(function: Function) -> dict[Value, tuple[Value, int]]:
    """Values that live inside another one: its buffer, and the channel at which they start."""
    parts: dict[Value, tuple[Value, int]] = {}
    for op in function.ops:
        if isinstance(op.operator, Reshape) and not op.result.is_returned:
            parts[op.result] = (op.inputs[0], 0)
        inside = joins_in_place(op)
        channel = 0
        for value in op.inputs if inside else ():
            if value in inside:
                parts[value] = (op.result, channel)
            channel += map_shape(value.type).channels
    return parts


def _root(value: Value, parts: dict[Value, tuple[Value, int]]) -> Value:
    while value in parts:
        value = parts[value][0]
    return value


def _channel(value: Value, parts: dict[Value, tuple[Value, int]]) -> int:
    channel = 0
    while value in parts:
        value, start = parts[value]
        channel += start
    return channel


def _life_spans(function: Function, parts: dict[Value, tuple[Value, int]]) -> dict[Value, tuple[int, int]]:
    """First and last op that touches each buffer, through any of its parts."""
    spans: dict[Value, tuple[int, int]] = {}
    parameters = set(function.parameters)
    for index, op in enumerate(function.ops):
        for value in (*op.results, *(v for v in op.inputs if v.type.quant is not None and v.producer is not None)):
            root = _root(value, parts)
            if root in parameters:
                continue
            first, last = spans.get(root, (index, index))
            spans[root] = (min(first, index), max(last, index))
    return spans
