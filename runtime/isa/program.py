"""A device program: four queues of instructions, the DRAM regions they refer to, and the machine they were made for.

The bytes of a program are a 16-byte head (magic, version, length of the description), a JSON description (machine,
regions, names of layers, instruction counts), the queues in order LD, ST, MAC, VEC, and for every instruction the
index of its layer. Contents of constant regions are not part of it: the artifact holds them beside it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import InstructionError, MachineError

from ..machine import Machine, from_dictionary
from .encoding import INSTRUCTION_BYTES, Instruction, Queue, decode

MAGIC = b"TWDP"
VERSION = 1
MAX_REGIONS = 16
NO_LAYER = 0xFFFFFFFF
_HEAD = struct.Struct("<4sIQ")


class RegionKind(Enum):
    """What a DRAM region is for. Constants and inputs are never written by a program."""

    CONSTANT = "constant"
    INPUT = "input"
    OUTPUT = "output"
    SCRATCH = "scratch"


@dataclass(frozen=True)
class Region:
    """A range of DRAM that instructions address relative to its start; its place is chosen when a program is loaded."""

    name: str
    kind: RegionKind
    size: int


@dataclass(frozen=True)
class Program:
    """A device program in its binary form.

    Attributes:
        machine: what it was made for.
        regions: DRAM regions, at most 16; instructions name them by index.
        queues: the encoded instructions of each queue.
        layers: names for the debug map.
        layer_of: for each queue, uint32 [instructions], index into ``layers`` or ``NO_LAYER``.
    """

    machine: Machine
    regions: tuple[Region, ...]
    queues: Mapping[Queue, bytes]
    layers: tuple[str, ...]
    layer_of: Mapping[Queue, NDArray[np.uint32]]

    def instructions(self, queue: Queue) -> list[Instruction]:
        """Decode a queue.

        Raises:
            InstructionError: naming queue, index and field.
        """
        data = self.queues[queue]
        if len(data) % INSTRUCTION_BYTES:
            raise InstructionError(
                f"queue {queue.name}: the length is not a whole number of instructions",
                expected=f"a multiple of {INSTRUCTION_BYTES}",
                found=len(data),
            )
        decoded: list[Instruction] = []
        for index in range(len(data) // INSTRUCTION_BYTES):
            try:
                decoded.append(decode(data[index * INSTRUCTION_BYTES : (index + 1) * INSTRUCTION_BYTES]))
            except InstructionError as error:
                raise InstructionError(
                    f"queue {queue.name}, instruction {index}: {error.message}",
                    expected=error.expected,
                    found=error.found,
                ) from None
        return decoded

    def disassemble(self) -> str:
        """All instructions as text, one a line, queue by queue, with the layer as a comment where it changes."""
        lines: list[str] = []
        for queue in Queue:
            lines.append(f"queue {queue.name}")
            shown = NO_LAYER
            for index, item in enumerate(self.instructions(queue)):
                layer = int(self.layer_of[queue][index])
                if layer not in (shown, NO_LAYER):
                    lines.append(f"  ; {self.layers[layer]}")
                shown = layer
                lines.append(f"  {index:5} {item}")
        return "\n".join(lines)

    def to_bytes(self) -> bytes:
        """The file form; ``from_bytes`` is its inverse."""
        description = {
            "machine": self.machine.to_dictionary(),
            "machine_hash": self.machine.hash,
            "regions": [{"name": item.name, "kind": item.kind.value, "size": item.size} for item in self.regions],
            "layers": list(self.layers),
            "instructions": {queue.name: len(self.queues[queue]) // INSTRUCTION_BYTES for queue in Queue},
        }
        text = json.dumps(description, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 16)
        parts = [_HEAD.pack(MAGIC, VERSION, len(text)), text]
        parts += [self.queues[queue] for queue in Queue]
        parts += [self.layer_of[queue].astype("<u4").tobytes() for queue in Queue]
        return b"".join(parts)

    @staticmethod
    def from_bytes(data: bytes) -> Program:
        """Parse the file form.

        Raises:
            InstructionError: truncated, of another version, or not consistent.
            MachineError: the embedded machine description is invalid or does not match its hash.
        """
        if len(data) < _HEAD.size:
            raise _damaged("shorter than its head", _HEAD.size, len(data))
        magic, version, length = _HEAD.unpack_from(data)
        if magic != MAGIC:
            raise _damaged("wrong magic", MAGIC, magic)
        if version != VERSION:
            raise _damaged("unknown version", VERSION, version)
        if length > len(data) - _HEAD.size:
            raise _damaged("truncated description", length, len(data) - _HEAD.size)
        try:
            description = json.loads(data[_HEAD.size : _HEAD.size + length])
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise _damaged(f"description is not JSON ({error})", None, None) from None
        return _assemble(description, data[_HEAD.size + length :])


def _damaged(what: str, expected: object, found: object) -> InstructionError:
    return InstructionError(f"device program: {what}", expected=expected, found=found)


def _assemble(description: Any, body: bytes) -> Program:
    keys = {"machine", "machine_hash", "regions", "layers", "instructions"}
    if set(_mapping(description, "description")) != keys:
        raise _damaged("description has the wrong entries", sorted(keys), sorted(description)[:8])
    machine = from_dictionary(_mapping(description["machine"], "machine"), "device program")
    if machine.hash != description["machine_hash"]:
        raise MachineError("device program: machine description and hash disagree", found=description["machine_hash"])
    counts = _mapping(description["instructions"], "instructions")
    if set(counts) != {queue.name for queue in Queue} or not all(_is_size(count) for count in counts.values()):
        raise _damaged("instruction counts are wrong", "a count for each of LD, ST, MAC, VEC", counts)
    expected = sum(counts.values()) * (INSTRUCTION_BYTES + 4)
    if len(body) != expected:
        raise _damaged("length does not match the instruction counts", f"{expected} bytes", len(body))
    queues: dict[Queue, bytes] = {}
    layer_of: dict[Queue, NDArray[np.uint32]] = {}
    place = 0
    for queue in Queue:
        size = counts[queue.name] * INSTRUCTION_BYTES
        queues[queue] = body[place : place + size]
        place += size
    layers = description["layers"]
    if not isinstance(layers, list) or not all(isinstance(name, str) for name in layers):
        raise _damaged("layer names are not a list of texts", None, None)
    for queue in Queue:
        layer_of[queue] = np.frombuffer(body, "<u4", counts[queue.name], place).astype(np.uint32)
        place += 4 * counts[queue.name]
        known = (layer_of[queue] < len(layers)) | (layer_of[queue] == NO_LAYER)
        if not known.all():
            raise _damaged(f"layer index of queue {queue.name} is out of range", f"below {len(layers)}", None)
    return Program(machine, _regions(description["regions"]), queues, tuple(layers), layer_of)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40


def _mapping(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _damaged(f"entry '{name}' is not an object", None, type(value).__name__)
    return value


def _regions(entries: object) -> tuple[Region, ...]:
    if not isinstance(entries, list) or len(entries) > MAX_REGIONS:
        raise _damaged("entry 'regions' is not a list of at most 16", None, type(entries).__name__)
    kinds = {kind.value: kind for kind in RegionKind}
    regions: list[Region] = []
    for entry in entries:
        values = _mapping(entry, "regions")
        whole = set(values) == {"name", "kind", "size"} and isinstance(values["kind"], str) and _is_size(values["size"])
        if not whole or values["kind"] not in kinds:
            raise _damaged("a region is malformed", "name, kind and size", entry)
        if not isinstance(values["name"], str) or values["name"] in [region.name for region in regions]:
            raise _damaged("a region has no name of its own", None, values["name"])
        regions.append(Region(values["name"], kinds[values["kind"]], values["size"]))
    return tuple(regions)
